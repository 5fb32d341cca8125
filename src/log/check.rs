//! [`check`]: reads a whole data directory, every byte that counts, and names all damage.
//!
//! One rule: nothing is changed, and damage in one place does not keep the others from being looked at.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::storage::{Disk, Purpose};

use super::flusher::{META_DIR, SEGMENTS_DIR, WAL_DIR};
use super::image::{self, Image};
use super::mark;
use super::recovery::{RecoveryOutcome, recover};
use super::segment::{Segment, parse_name};
use super::spill::Adopted;
use super::tail::Tail;
use super::{LogError, Lsn};

/// The findings of a check.
#[derive(Debug, Default)]
pub struct Checked {
    pub images: usize,
    /// LSN of the newest whole one.
    pub image_lsn: Option<Lsn>,
    pub wal_files: usize,
    pub wal_bytes: u64,
    /// Newest commit, if the write-ahead log is whole.
    pub newest: Option<Lsn>,
    /// The last stop was an orderly one.
    pub clean: bool,
    /// A mark beside the log says that it has reached this LSN.
    pub reached: Option<Lsn>,
    pub segments: usize,
    pub segment_bytes: u64,
    pub segment_rows: u64,
    /// Segment files that nothing needs; the next start removes them.
    pub unused_segments: usize,
    /// In no order of importance.
    pub damage: Vec<LogError>,
}

/// Checks the data directory in `dir`, which no server may have open.
pub fn check(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Checked, LogError> {
    let wal = dir.join(WAL_DIR);
    // Without a log there is no data directory to check.
    disk.list(&wal).map_err(LogError::io("list directory", &wal))?;
    let _lock = super::directory::lock(disk.as_ref(), dir, Purpose::Look)?;
    check_locked(disk, dir)
}

/// The same for a caller that has locked the directory.
pub(super) fn check_locked(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Checked, LogError> {
    let [meta, segments] = [META_DIR, SEGMENTS_DIR].map(|name| dir.join(name));
    let mut checked = Checked::default();

    let mut images: Vec<Image> = Vec::new();
    for lsn in image::list(disk.as_ref(), &meta)? {
        checked.images += 1;
        let path = meta.join(image::file_name(lsn));
        match image::read(disk.as_ref(), &path) {
            Ok(image) => images.push(image),
            Err(error) => {
                checked.damage.push(error);
                // Under another's name it is as good.
                let bytes = image::read_bytes(disk.as_ref(), &path).ok();
                images.extend(bytes.and_then(|bytes| image::decode_misnamed(&bytes)));
            }
        }
    }
    images.sort_by_key(Image::lsn);
    checked.image_lsn = images.last().map(Image::lsn);

    let mut known: HashMap<u64, Segment> = HashMap::new();
    for topic in images.iter().flat_map(|image| &image.topics) {
        for info in topic.partitions.iter().flat_map(|partition| &partition.segments) {
            let schema = topic.schemas.iter().find(|(id, _)| *id == info.schema_id);
            let schema = schema.map_or(&topic.spec.schema, |(_, schema)| schema);
            known
                .entry(info.id)
                .or_insert_with(|| Segment::known(Arc::clone(disk), &segments, info.clone(), Arc::clone(schema)));
        }
    }
    let mut adopted: Vec<Adopted> = Vec::new();
    let newest = images.last();
    if let [.., older, newer] = images.as_slice()
        && !newer.adopted.is_empty()
    {
        // Collects the files that the older image would find in the log; the newer one's part reports damage to that.
        let _ = replay(disk, dir, Some(older), &mut adopted);
    }
    let recovered = replay(disk, dir, newest, &mut adopted);
    for found in &adopted {
        // An image has that of a file, too, but for its checksum.
        let segment = match found.checked(disk, &segments) {
            Ok(segment) => segment,
            Err(error) => {
                if !known.contains_key(&found.info.id) {
                    checked.damage.push(error);
                }
                found.segment(disk, &segments)
            }
        };
        known.entry(found.info.id).or_insert(segment);
    }
    for segment in known.values() {
        checked.segments += 1;
        checked.segment_bytes += segment.info.bytes;
        match segment.check() {
            Ok(rows) => checked.segment_rows += rows,
            Err(error) if checked.damage.contains(&error) => {}
            Err(error) => checked.damage.push(error),
        }
    }
    let names = disk
        .list(&segments)
        .map_err(LogError::io("list directory", &segments))?;
    let unused = |name: &&String| parse_name(name).is_none_or(|id| !known.contains_key(&id));
    checked.unused_segments = names.iter().filter(unused).count();

    match mark::read(disk.as_ref(), dir) {
        Ok(reached) => checked.reached = reached,
        Err(error @ LogError::Damaged { .. }) => checked.damage.push(error),
        Err(error) => return Err(error),
    }
    match recovered {
        Ok(outcome) => {
            let end = outcome.end(&dir.join(WAL_DIR));
            checked
                .damage
                .extend(mark::missing(checked.reached, outcome.position.last_lsn, end));
            checked.damage.extend(outcome.strays.iter().cloned());
            let newest = outcome.position.last_lsn;
            if let Err(error) = image::check_newest(disk.as_ref(), &meta, newest) {
                checked.damage.push(error);
            }
            checked.newest = Some(newest);
            checked.clean = outcome.clean;
            checked.wal_files = outcome.files.len();
            checked.wal_bytes = outcome.files.iter().map(|(_, bytes)| bytes).sum();
        }
        Err(error) => checked.damage.push(error),
    }
    Ok(checked)
}

/// Reads the log after an image, and collects the files that it adopts, without reading them.
pub(super) fn replay(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    image: Option<&Image>,
    adopted: &mut Vec<Adopted>,
) -> Result<RecoveryOutcome, LogError> {
    let segments = dir.join(SEGMENTS_DIR);
    let tail = Tail::default();
    for topic in image.iter().flat_map(|image| &image.topics) {
        tail.restore(topic, 0, |info, schema| {
            let (disk, schema) = (Arc::clone(disk), Arc::clone(schema));
            Arc::new(Segment::known(disk, &segments, info.clone(), schema))
        });
    }
    recover(disk.as_ref(), &dir.join(WAL_DIR), &tail, image, &mut |found| {
        let segment = Arc::new(found.segment(disk, &segments));
        adopted.push(found);
        Ok(segment)
    })
}
