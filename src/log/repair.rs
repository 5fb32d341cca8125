//! [`repair`]: makes a damaged data directory one that opens again, names the losses, and keeps the files that it
//! replaces.
//!
//! One rule: every loss is named, and nothing is deleted: files that are damaged, or that are behind
//! damage, end up in `lost/`.
//!
//! 1. A start reads an image and the log after it. Each whole image is tried, newest first, and the log alone if it goes
//!    back to its first file: the first that costs nothing is taken, or else the newest one.
//! 2. The log is cut before the first frame that is damaged: commits behind it cannot be put in order any more.
//! 3. Batches of segments that are whole become new segments. Their rows keep their offsets, so that the lost ones
//!    leave a gap (L2: no offset is given out again), and a new image at the same LSN names them. If a file that a
//!    commit in the log adopted is damaged, the new image is one of the log's end: it alone is kept, for nobody is to
//!    read that commit again.
//!
//! A repair that is cut off can be begun again. Not here: the definition of damage (`check`, `recovery`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::storage::{Disk, Purpose};

use super::backup::{copy, remove, sync_dir};
use super::check::check_locked;
use super::flusher::Capture;
use super::flusher::{LOST_DIR, META_DIR, SEGMENTS_DIR, WAL_DIR};
use super::frame::{
    Block, FILE_HEADER_BYTES, FRAME_ALIGNMENT, FRAME_HEADER_BYTES, FileHeader, FrameHeader, GROUP_ALIGNMENT,
    decode_blocks,
};
use super::image::{self, Image};
use super::mark;
use super::recovery::{Salvage, salvage};
use super::retention::ClockReading;
use super::segment::{self, Entry, Segment, SegmentInfo, SegmentWriter};
use super::spill::Adopted;
use super::tail::Tail;
use super::wal::{self, Position};
use super::{LogError, LogOptions, Lsn, TopicId};

/// Rows of one partition that are gone. Times in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRows {
    pub topic: TopicId,
    pub partition: u32,
    pub first_offset: u64,
    pub rows: u64,
    /// LSNs and times of the commits that they, and maybe others, were in.
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    pub first_us: i64,
    pub last_us: i64,
}

/// Commits that are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostCommits {
    /// All after this one.
    pub after: Lsn,
    /// The newest that can still be seen, if any.
    pub newest_seen: Option<Lsn>,
    /// Rows that can still be counted, by topic.
    pub rows: Vec<(TopicId, u64)>,
    /// Catalog changes that can still be read: LSN and record of each.
    pub catalog: Vec<(Lsn, Vec<u8>)>,
}

/// The steps and losses of a repair, done or planned.
#[derive(Debug, Default)]
pub struct Repaired {
    /// Nothing: there is nothing to do.
    pub damage: Vec<LogError>,
    /// The image that is kept; `None` if all is read from the log.
    pub image_lsn: Option<Lsn>,
    pub commits: Option<LostCommits>,
    pub rows: Vec<LostRows>,
    /// Files that end up in `lost/`, some of them with a whole part that stays.
    pub lost_files: Vec<PathBuf>,
    /// The catalog records that are left, in commit order.
    pub catalog: Vec<(Lsn, Vec<u8>)>,
}

/// Repairs the data directory in `dir`, which no server may have open; unless `apply`, only finds out the consequences.
pub fn repair(disk: &Arc<dyn Disk>, dir: &Path, apply: bool) -> Result<Repaired, LogError> {
    let wal = dir.join(WAL_DIR);
    disk.list(&wal).map_err(LogError::io("list directory", &wal))?;
    let purpose = if apply { Purpose::Write } else { Purpose::Look };
    let _lock = super::directory::lock(disk.as_ref(), dir, purpose)?;
    let damage = check_locked(disk, dir)?.damage;
    if let Some(newer) = damage
        .iter()
        .find(|error| matches!(error, LogError::NewerFormat { .. }))
    {
        return Err(newer.clone());
    }
    if damage.is_empty() {
        return Ok(Repaired::default());
    }
    let mut shop = Shop {
        disk,
        dir,
        images: Vec::new(),
        damaged_images: Vec::new(),
        misnamed: Vec::new(),
        segments: HashMap::new(),
        adopted: Vec::new(),
    };
    let plan = shop.plan()?;
    let mut repaired = shop.report(&plan)?;
    repaired.damage = damage;
    if apply {
        shop.apply(&plan, &repaired)?;
        if let Some(left) = check_locked(disk, dir)?.damage.into_iter().next() {
            return Err(left);
        }
    }
    Ok(repaired)
}

/// The whole part of a segment.
struct Inspected {
    info: SegmentInfo,
    segment: Segment,
    /// Batches that are whole, in order, by their places in the index.
    whole: Vec<(usize, Entry)>,
    lost: Vec<LostRows>,
}

/// One way to read the directory: an image, or none, and the log after it.
struct Plan {
    /// Index of the image.
    image: Option<usize>,
    salvage: Salvage,
    /// Ids of the image's segments that are damaged; if it is not kept, of all segments at the end of the log.
    damaged: Vec<u64>,
    /// Commits after the image adopted files that are damaged: an image of the end of the log is made.
    renews: bool,
}

impl Plan {
    fn costs(&self) -> bool {
        self.salvage.damage.is_some() || !self.damaged.is_empty() || self.renews
    }

    fn position(&self) -> &Position {
        &self.salvage.outcome.position
    }
}

/// A repair under way.
struct Shop<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: &'a Path,
    /// Whole ones, oldest first.
    images: Vec<Image>,
    damaged_images: Vec<PathBuf>,
    /// LSNs of whole images whose files have another's name.
    misnamed: Vec<Lsn>,
    /// Segments of the images and those that the log adopts, by id.
    segments: HashMap<u64, Inspected>,
    /// By image, ids of the segments that the log after it adopts.
    adopted: Vec<Vec<u64>>,
}

impl Shop<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Looks at everything and chooses the plan.
    fn plan(&mut self) -> Result<Plan, LogError> {
        let (disk, meta) = (self.disk.as_ref(), self.path(META_DIR));
        for lsn in image::list(disk, &meta)? {
            let path = meta.join(image::file_name(lsn));
            match image::read(disk, &path) {
                Ok(image) => self.images.push(image),
                Err(_) => {
                    let bytes = image::read_bytes(disk, &path);
                    self.damaged_images.push(path);
                    if let Some(image) = bytes.ok().and_then(|bytes| image::decode_misnamed(&bytes)) {
                        self.misnamed.push(image.lsn());
                        self.images.push(image);
                    }
                }
            }
        }
        self.images.sort_by_key(Image::lsn);
        self.images.dedup_by_key(|image| image.lsn());
        self.inspect();
        let wal = self.path(WAL_DIR);
        let names = disk.list(&wal).map_err(LogError::io("list directory", &wal))?;
        let goes_back = names.contains(&wal::file_name(1));
        let mut newest = None;
        let mut free = None;
        self.adopted = vec![Vec::new(); self.images.len()];
        for image in (0..self.images.len()).rev().map(Some).chain(goes_back.then_some(None)) {
            if image.is_none() && free.is_some() {
                break;
            }
            // Older ones, too, though one that costs nothing has been found: whether they can be kept is to be known.
            let plan = self.consider(image)?;
            if !plan.costs() {
                free = free.or(Some(plan));
            } else if image.is_some() || plan.position().last_lsn > 0 {
                newest = newest.or(Some(plan));
            }
        }
        free.or(newest).ok_or_else(|| LogError::Irreparable {
            dir: self.dir.to_path_buf(),
        })
    }

    /// Reads every batch of every segment that an image names.
    fn inspect(&mut self) {
        let dir = self.path(SEGMENTS_DIR);
        for topic in self.images.iter().flat_map(|image| &image.topics) {
            for info in topic.partitions.iter().flat_map(|partition| &partition.segments) {
                let schema = topic.schemas.iter().find(|(id, _)| *id == info.schema_id);
                let schema = schema.map_or(&topic.spec.schema, |(_, schema)| schema);
                let known = || Segment::known(Arc::clone(self.disk), &dir, info.clone(), Arc::clone(schema));
                self.segments.entry(info.id).or_insert_with(|| inspect(known()));
            }
        }
    }

    /// Reads an image, or none, and the log after it: the state at the end, and the files that were adopted.
    fn replay(&self, image: Option<usize>) -> Result<(Tail, Salvage, Vec<Adopted>), LogError> {
        let image_read = image.map(|index| &self.images[index]);
        let segments = self.path(SEGMENTS_DIR);
        let tail = Tail::default();
        let mut adopted = Vec::new();
        for topic in image_read.iter().flat_map(|image| &image.topics) {
            tail.restore(topic, 0, |info, schema| {
                let (disk, schema) = (Arc::clone(self.disk), Arc::clone(schema));
                Arc::new(Segment::known(disk, &segments, info.clone(), schema))
            });
        }
        let wal = self.path(WAL_DIR);
        let salvage = salvage(self.disk.as_ref(), &wal, &tail, image_read, &mut |found| {
            let segment = Arc::new(found.segment(self.disk, &segments));
            adopted.push(found);
            Ok(segment)
        })?;
        Ok((tail, salvage, adopted))
    }

    fn consider(&mut self, image: Option<usize>) -> Result<Plan, LogError> {
        let (tail, mut salvage, adopted) = self.replay(image)?;
        if salvage.damage.is_none() {
            let (outcome, wal) = (&salvage.outcome, self.path(WAL_DIR));
            salvage.damage = mark::missing(self.reached(), outcome.position.last_lsn, outcome.end(&wal));
        }
        let dir = self.path(SEGMENTS_DIR);
        for found in &adopted {
            let disk = self.disk;
            self.segments
                .entry(found.info.id)
                .or_insert_with(|| match found.checked(disk, &dir) {
                    Ok(segment) => inspect(segment),
                    Err(_) => all_lost(found.segment(disk, &dir)),
                });
        }
        let is_damaged = |id: &u64| !self.segments[id].lost.is_empty();
        let adopted: Vec<u64> = adopted.iter().map(|found| found.info.id).collect();
        let renews = adopted.iter().any(is_damaged);
        let mut damaged: Vec<u64> = match (renews, image) {
            (true, _) => {
                let topics = tail.topics().into_iter();
                let segments = topics.flat_map(|(_, topic)| topic.segments());
                segments.map(|segment| segment.info.id).collect()
            }
            (false, Some(index)) => self.images[index].segments().map(|info| info.id).collect(),
            (false, None) => Vec::new(),
        };
        damaged.retain(is_damaged);
        damaged.sort_unstable();
        if let Some(index) = image {
            self.adopted[index] = adopted;
        }
        Ok(Plan {
            image,
            salvage,
            damaged,
            renews,
        })
    }

    /// The LSN that the log is known to have reached.
    fn reached(&self) -> Option<Lsn> {
        mark::read(self.disk.as_ref(), self.dir).ok().flatten()
    }

    /// An image of the end of the log.
    fn renewed(&self, plan: &Plan) -> Result<Image, LogError> {
        let (tail, salvage, _) = self.replay(plan.image)?;
        let position = salvage.outcome.position;
        let stood = ClockReading {
            at_us: position.last_timestamp_us,
            now_us: position.last_timestamp_us,
            up: None,
        };
        let retention = salvage.outcome.retention.unwrap_or(stood);
        let mut outcome = salvage.outcome;
        let producers = outcome.producers.upto(position.last_lsn);
        let capture = Capture::take(
            &tail,
            position,
            retention,
            outcome.catalog,
            (producers, outcome.offsets.all()),
        );
        Ok(capture.into_image())
    }

    /// The losses of the plan.
    fn report(&self, plan: &Plan) -> Result<Repaired, LogError> {
        let mut lost_files = self.damaged_images.clone();
        let meta = self.path(META_DIR);
        let commits = match &plan.salvage.damage {
            None => None,
            Some(_) => {
                let behind = self.behind(plan)?;
                let commits = self.commits(plan, &behind)?;
                lost_files.extend(behind);
                Some(commits)
            }
        };
        let mark = self.path(mark::NAME);
        let is_wrong = match mark::read(self.disk.as_ref(), self.dir) {
            Ok(reached) => reached > Some(plan.position().last_lsn),
            Err(_) => true,
        };
        if is_wrong && self.disk.open_to_read(&mark).is_ok() {
            lost_files.push(mark);
        }
        lost_files.extend(self.strays(plan).map(|(file, _)| file));
        for index in self.given_up(plan) {
            let path = meta.join(image::file_name(self.images[index].lsn()));
            if !lost_files.contains(&path) && self.disk.open_to_read(&path).is_ok() {
                lost_files.push(path);
            }
        }
        let segments = self.path(SEGMENTS_DIR);
        let mut damaged: Vec<u64> = self
            .segments
            .values()
            .filter(|found| !found.lost.is_empty())
            .map(|found| found.info.id)
            .collect();
        damaged.sort_unstable();
        for id in damaged {
            let path = segments.join(segment::file_name(id));
            if self.disk.open_to_read(&path).is_ok() {
                lost_files.push(path);
            }
        }
        let rows = plan
            .damaged
            .iter()
            .flat_map(|id| self.segments[id].lost.iter().cloned());
        Ok(Repaired {
            damage: Vec::new(),
            image_lsn: plan.image.map(|index| self.images[index].lsn()),
            commits,
            rows: rows.collect(),
            lost_files,
            catalog: plan.salvage.outcome.catalog.clone(),
        })
    }

    /// Images that cannot be kept beside the plan's: newer ones, older ones with damaged segments or with a damaged log
    /// before the plan's position, and, if it gets new segments, the plan's own as it is.
    fn given_up(&self, plan: &Plan) -> Vec<usize> {
        let is_lost = |id: &u64| !self.segments[id].lost.is_empty();
        let is_damaged = |index: usize| {
            let named = self.images[index].segments().any(|info| is_lost(&info.id));
            named || self.adopted[index].iter().any(is_lost)
        };
        (0..self.images.len())
            .filter(|index| match plan.image {
                _ if plan.renews => true,
                Some(kept) if *index == kept => !plan.damaged.is_empty(),
                Some(kept) => *index > kept || plan.salvage.damage.is_some() || is_damaged(*index),
                None => true,
            })
            .collect()
    }

    /// Files of the log that stay and have something behind their end, and where that is.
    fn strays(&self, plan: &Plan) -> impl Iterator<Item = (PathBuf, u64)> {
        let cut = match plan.salvage.damage {
            None if !plan.renews => PathBuf::new(),
            _ => self.path(WAL_DIR).join(wal::file_name(plan.position().sequence)),
        };
        let strays = plan.salvage.outcome.strays.clone().into_iter();
        strays.filter_map(move |stray| match stray {
            LogError::Damaged { file, offset, .. } if file != cut => Some((file, offset)),
            _ => None,
        })
    }

    /// Files of the log from the plan's position on.
    fn behind(&self, plan: &Plan) -> Result<Vec<PathBuf>, LogError> {
        let wal = self.path(WAL_DIR);
        let names = self.disk.list(&wal).map_err(LogError::io("list directory", &wal))?;
        let mut sequences: Vec<u64> = names.iter().filter_map(|name| wal::parse_name(name)).collect();
        sequences.retain(|sequence| *sequence >= plan.position().sequence);
        sequences.sort_unstable();
        Ok(sequences
            .into_iter()
            .map(|sequence| wal.join(wal::file_name(sequence)))
            .collect())
    }

    /// Counts the commits that can still be read behind the plan's position, in these files.
    fn commits(&self, plan: &Plan, behind: &[PathBuf]) -> Result<LostCommits, LogError> {
        let position = plan.position();
        let mut lost = LostCommits {
            after: position.last_lsn,
            ..LostCommits::default()
        };
        let mut rows: HashMap<TopicId, u64> = HashMap::new();
        for path in behind {
            let content = self.content(path)?;
            let is_cut =
                wal::parse_name(&path.file_name().unwrap_or_default().to_string_lossy()) == Some(position.sequence);
            let salt = match FileHeader::decode(&content) {
                Ok(header) => header.salt,
                Err(_) if is_cut => position.salt,
                // The frames know it, too.
                Err(_) => match content.get(FILE_HEADER_BYTES as usize..).and_then(FrameHeader::salt_of) {
                    Some(salt) => salt,
                    None => continue,
                },
            };
            let mut at = if is_cut { plan.salvage.end } else { FILE_HEADER_BYTES } as usize;
            while at < content.len() {
                let Ok((header, _)) = FrameHeader::decode(&content[at..], salt) else {
                    at = (at + 1).next_multiple_of(GROUP_ALIGNMENT as usize);
                    continue;
                };
                if header.last_lsn > position.last_lsn {
                    lost.newest_seen = lost.newest_seen.max(Some(header.last_lsn));
                }
                let start = at + FRAME_HEADER_BYTES;
                let payload = content.get(start..start + header.payload_bytes as usize);
                let Some(payload) = payload.filter(|payload| crc32c::crc32c(payload) == header.payload_crc) else {
                    at = (at + 1).next_multiple_of(GROUP_ALIGNMENT as usize);
                    continue;
                };
                for block in decode_blocks(payload).unwrap_or_default() {
                    match block {
                        Block::Rows { place, rows: count, .. } => *rows.entry(place.topic).or_default() += count as u64,
                        Block::Batch { place, run, .. } | Block::Adopt { place, run, .. } => {
                            *rows.entry(place.topic).or_default() += u64::from(run.rows);
                        }
                        Block::Ddl { lsn, record, .. } => lost.catalog.push((lsn, record)),
                        _ => {}
                    }
                }
                at = (start + payload.len()).next_multiple_of(FRAME_ALIGNMENT);
            }
        }
        lost.newest_seen = lost
            .newest_seen
            .max(self.reached().filter(|reached| *reached > position.last_lsn));
        lost.rows = rows.into_iter().collect();
        lost.rows.sort_unstable();
        Ok(lost)
    }

    fn content(&self, path: &Path) -> Result<Vec<u8>, LogError> {
        let file = self.disk.open_to_read(path).map_err(LogError::io("open file", path))?;
        let bytes = file.len().map_err(LogError::io("read file", path))?;
        let mut content = vec![0; usize::try_from(bytes).expect("files fit the address space")];
        file.read_at(0, &mut content).map_err(LogError::io("read file", path))?;
        Ok(content)
    }

    /// Carries out the plan. All that is replaced is in `lost/`, synced, before anything changes.
    fn apply(&self, plan: &Plan, repaired: &Repaired) -> Result<(), LogError> {
        let disk = self.disk.as_ref();
        let lost = self.path(LOST_DIR);
        disk.create_dir_all(&lost)
            .map_err(LogError::io("create directory", &lost))?;
        sync_dir(disk, self.dir)?;
        for path in &repaired.lost_files {
            self.keep(path, &lost)?;
        }
        sync_dir(disk, &lost)?;
        let image = match plan.image {
            _ if plan.renews => Some(self.rewrite_segments(plan, self.renewed(plan)?)?),
            Some(index) if !plan.damaged.is_empty() => Some(self.rewrite_segments(plan, self.images[index].clone())?),
            Some(index) if self.misnamed.contains(&self.images[index].lsn()) => Some(self.images[index].clone()),
            _ => None,
        };
        let mark = self.path(mark::NAME);
        let is_marked = repaired.lost_files.contains(&mark);
        if is_marked {
            // The mark goes first: it would report that the log ends too early.
            remove(disk, &mark)?;
            sync_dir(disk, self.dir)?;
        }
        // An image of the end of the log stands behind all frames, so that the file must tell by itself where it ends.
        if plan.salvage.damage.is_some() || plan.renews {
            self.cut(plan)?;
        }
        for (path, end) in self.strays(plan) {
            let file = disk.open(&path).map_err(LogError::io("open file", &path))?;
            let cut = file.set_len(end).and_then(|()| file.sync_data());
            cut.map_err(LogError::io("cut file", &path))?;
        }
        let meta = self.path(META_DIR);
        if let Some(image) = &image {
            image.save(disk, &meta)?;
        }
        let kept = image.map(|image| meta.join(image::file_name(image.lsn())));
        let (wal, segments) = (self.path(WAL_DIR), self.path(SEGMENTS_DIR));
        // Images first, since the files that they name must exist; the log was cut.
        for dir in [&meta, &segments] {
            for path in &repaired.lost_files {
                if path.parent() == Some(dir.as_path()) && Some(path) != kept.as_ref() {
                    remove(disk, path)?;
                }
            }
            sync_dir(disk, dir)?;
        }
        sync_dir(disk, &wal)?;
        match is_marked {
            true => mark::make(disk, self.dir, plan.position().last_lsn),
            false => Ok(()),
        }
    }

    /// A second name for a file in `lost/`, or a copy.
    fn keep(&self, path: &Path, lost: &Path) -> Result<(), LogError> {
        let disk = self.disk.as_ref();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let names = disk.list(lost).map_err(LogError::io("list directory", lost))?;
        let free = |number: usize| match number {
            0 => name.to_string(),
            number => format!("{name}.{number}"),
        };
        let mut candidates = (0..).map(free);
        let free = candidates
            .find(|name| !names.contains(name))
            .expect("numbers do not end");
        let to = lost.join(free);
        if disk.hard_link(path, &to).is_ok() {
            return Ok(());
        }
        let file = disk.open_to_read(path).map_err(LogError::io("open file", path))?;
        let bytes = file.len().map_err(LogError::io("read file", path))?;
        let copied = copy(disk, (file.as_ref(), path), &to, bytes)?;
        copied.sync_data().map_err(LogError::io("sync file", &to))
    }

    /// Writes the whole batches of damaged segments as new segments; the image that names those.
    fn rewrite_segments(&self, plan: &Plan, mut image: Image) -> Result<Image, LogError> {
        let (disk, dir) = (self.disk.as_ref(), self.path(SEGMENTS_DIR));
        let names = disk.list(&dir).map_err(LogError::io("list directory", &dir))?;
        let newest = names.iter().filter_map(|name| segment::parse_name(name)).max();
        image.next_segment = image.next_segment.max(newest.map_or(0, |newest| newest + 1));
        for name in names.iter().filter(|name| name.ends_with(".tmp")) {
            // Left by a flush or repair that was cut off.
            remove(disk, &dir.join(name))?;
        }
        let damaged: HashSet<u64> = plan.damaged.iter().copied().collect();
        for partition in image.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            let mut segments = Vec::with_capacity(partition.segments.len());
            for info in partition.segments.drain(..) {
                if damaged.contains(&info.id) {
                    segments.extend(self.rewrite(&self.segments[&info.id], &mut image.next_segment)?);
                } else {
                    segments.push(info);
                }
            }
            partition.segments = segments;
        }
        sync_dir(disk, &dir)?;
        Ok(image)
    }

    /// One new segment for each row of whole batches without a gap.
    fn rewrite(&self, found: &Inspected, next_segment: &mut u64) -> Result<Vec<SegmentInfo>, LogError> {
        let mut made = Vec::new();
        let layout = LogOptions::default().flush.layout;
        let follows = |(_, one): &(usize, Entry), (_, next): &(usize, Entry)| {
            one.base_offset + u64::from(one.rows) == next.base_offset
        };
        for entries in found.whole.chunk_by(follows) {
            let info = SegmentInfo {
                id: *next_segment,
                base_offset: entries[0].1.base_offset,
                adoption: None,
                ..found.info.clone()
            };
            *next_segment += 1;
            let schema = Arc::clone(&found.segment.schema);
            let mut writer =
                SegmentWriter::create(Arc::clone(self.disk), &self.path(SEGMENTS_DIR), info, schema, layout)?;
            for (batch, _) in entries {
                writer.push(found.segment.load(*batch, None)?)?;
            }
            made.push(writer.finish()?.info);
        }
        Ok(made)
    }

    /// Ends the log where the plan's position is. From the newest file back, so that at any moment it is damaged, or cut.
    fn cut(&self, plan: &Plan) -> Result<(), LogError> {
        let (disk, wal) = (self.disk.as_ref(), self.path(WAL_DIR));
        let position = plan.position();
        let named = wal.join(wal::file_name(position.sequence));
        for path in self.behind(plan)?.iter().rev().filter(|path| **path != named) {
            remove(disk, path)?;
        }
        sync_dir(disk, &wal)?;
        let made = wal.join(wal::NEXT_NAME);
        remove(disk, &made)?;
        let source = disk.open_to_read(&named).ok();
        let length = source.as_ref().and_then(|file| file.len().ok()).unwrap_or(0);
        let bytes = plan.salvage.end.min(length);
        let copied = match &source {
            Some(source) => copy(disk, (source.as_ref(), &named), &made, bytes)?,
            None => disk.create(&made).map_err(LogError::io("create file", &made))?,
        };
        let write = || {
            copied.write_zeros(bytes, plan.salvage.end)?;
            let mut head = vec![0; FILE_HEADER_BYTES as usize];
            copied.read_at(0, &mut head)?;
            if !FileHeader::decode(&head).is_ok_and(|header| header.salt == position.salt) {
                // It is the image's file, and a start needs only its salt.
                let header = FileHeader {
                    sequence: position.sequence,
                    salt: position.salt,
                    predecessor: position.sequence - 1,
                    predecessor_end: 0,
                    predecessor_salt: 0,
                    last_lsn: position.last_lsn,
                    last_timestamp_us: position.last_timestamp_us,
                    last_crc: position.last_crc,
                    made: None,
                };
                copied.write_at(0, &[&header.encode()])?;
            }
            wal::seal_at(copied.as_ref(), plan.salvage.end, position)
        };
        write().map_err(LogError::io("write file", &made))?;
        disk.rename(&made, &named).map_err(LogError::io("rename file", &made))?;
        sync_dir(disk, &wal)
    }
}

/// A segment that is not the one that it should be.
fn all_lost(segment: Segment) -> Inspected {
    let info = segment.info.clone();
    let lost = LostRows {
        topic: info.topic,
        partition: info.partition,
        first_offset: info.base_offset,
        rows: info.rows,
        first_lsn: info.first_lsn,
        last_lsn: info.last_lsn,
        first_us: info.first_us,
        last_us: info.last_us,
    };
    Inspected {
        info,
        segment,
        whole: Vec::new(),
        lost: vec![lost],
    }
}

/// Reads all of a segment.
fn inspect(segment: Segment) -> Inspected {
    let info = segment.info.clone();
    let lost = |first_offset: u64, end: u64, at: Option<&Entry>| LostRows {
        topic: info.topic,
        partition: info.partition,
        first_offset,
        rows: end - first_offset,
        first_lsn: at.map_or(info.first_lsn, |entry| entry.first_lsn),
        last_lsn: at.map_or(info.last_lsn, |entry| entry.last_lsn),
        first_us: at.map_or(info.first_us, |entry| entry.first_us),
        last_us: at.map_or(info.last_us, |entry| entry.last_us),
    };
    let mut found: Vec<LostRows> = Vec::new();
    let mut whole: Vec<(usize, Entry)> = Vec::new();
    let mut next = info.base_offset;
    for (batch, entry) in segment
        .index()
        .iter()
        .flat_map(|index| index.entries.iter().enumerate())
    {
        if entry.base_offset != next {
            // The index is not to be trusted from here on.
            break;
        }
        next += u64::from(entry.rows);
        if segment.load(batch, None).is_ok() {
            whole.push((batch, *entry));
            continue;
        }
        let more = lost(entry.base_offset, next, Some(entry));
        match found.last_mut() {
            Some(last) if last.first_offset + last.rows == more.first_offset => {
                last.rows += more.rows;
                (last.last_lsn, last.last_us) = (more.last_lsn, more.last_us);
            }
            _ => found.push(more),
        }
    }
    if next < info.end_offset() {
        found.push(lost(next, info.end_offset(), None));
    }
    Inspected {
        info,
        segment,
        whole,
        lost: found,
    }
}
