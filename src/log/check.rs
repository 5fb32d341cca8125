//! [`check`]: reads a whole data directory, every byte that counts, and says what is wrong with it.
//!
//! One rule: nothing is changed, and damage in one place does not keep the others from being looked at.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::storage::Disk;

use super::flusher::{META_DIR, SEGMENTS_DIR, WAL_DIR};
use super::image::{self, Image};
use super::recovery::recover;
use super::segment::{Segment, parse_name};
use super::tail::Tail;
use super::{LogError, Lsn};

/// What a check found.
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
    let (wal, lock_path) = (dir.join(WAL_DIR), dir.join("lock"));
    // Without a log there is no data directory to check.
    disk.list(&wal).map_err(LogError::io("list directory", &wal))?;
    let _lock = super::facade::lock(disk.as_ref(), dir, &lock_path)?;
    check_locked(disk, dir)
}

/// The same for who has locked the directory.
pub(super) fn check_locked(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Checked, LogError> {
    let [wal, meta, segments] = [WAL_DIR, META_DIR, SEGMENTS_DIR].map(|name| dir.join(name));
    let mut checked = Checked::default();

    let mut images: Vec<Image> = Vec::new();
    for lsn in image::list(disk.as_ref(), &meta)? {
        checked.images += 1;
        match image::read(disk.as_ref(), &meta.join(image::file_name(lsn))) {
            Ok(image) => images.push(image),
            Err(error) => checked.damage.push(error),
        }
    }
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
    for segment in known.values() {
        checked.segments += 1;
        checked.segment_bytes += segment.info.bytes;
        match segment.check() {
            Ok(rows) => checked.segment_rows += rows,
            Err(error) => checked.damage.push(error),
        }
    }
    let names = disk
        .list(&segments)
        .map_err(LogError::io("list directory", &segments))?;
    let unused = |name: &&String| parse_name(name).is_none_or(|id| !known.contains_key(&id));
    checked.unused_segments = names.iter().filter(unused).count();

    let tail = Tail::default();
    for topic in images.last().iter().flat_map(|image| &image.topics) {
        tail.restore(topic, 0, |info, schema| {
            Arc::new(Segment::known(
                Arc::clone(disk),
                &segments,
                info.clone(),
                Arc::clone(schema),
            ))
        });
    }
    match recover(disk.as_ref(), &wal, &tail, images.last()) {
        Ok(outcome) => {
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
