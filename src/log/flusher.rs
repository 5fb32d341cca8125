//! [`Flusher`]: moves rows from the memory tail to segments, writes the metadata image that knows them, and then
//! removes the files that nothing needs any more: of the write-ahead log, images, segments.
//!
//! One rule: a file is removed only once both images that are kept can do without it, and a segment only once its last
//! reader has left, too. An attempt that fails changes nothing but files that no image names.
//!
//! ```text
//!  writer --Capture--> segments written, synced, named --> image written, synced, named --> tail gives up the chunks
//!         --> older image, files of the log, segments removed
//! ```
//!
//! Not here: the schedule (`writer`), the content of an image (`image`).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::panics;
use crate::storage::Disk;

use super::claims::Spills;
use super::encoding::slice_bytes;
use super::image::{self, Image, TopicImage};
use super::merge::{self, MergeOptions};
use super::offsets::KnownOffsets;
use super::producers::KnownProducers;
use super::retention::ClockReading;
use super::segment::{self, Layout, Segment, SegmentInfo, SegmentWriter};
use super::tail::{Tail, TopicTail};
use super::wal::{self, Position};
use super::{Chunk, LogError, Lsn};

/// Names of the directories in the data directory.
pub const SEGMENTS_DIR: &str = "segments";
pub const META_DIR: &str = "meta";
pub const WAL_DIR: &str = "wal";
/// The directory of files that a repair took out of the others.
pub const LOST_DIR: &str = "lost";

/// Images that are kept.
const IMAGES_KEPT: usize = 2;

/// Settings of the flusher.
#[derive(Clone, Copy, Debug)]
pub struct FlushOptions {
    /// A partition with fewer bytes leaves its rows in the image.
    pub segment_bytes_min: usize,
    /// A segment that a flush writes is ended at this size.
    pub segment_bytes_max: u64,
    /// Bytes of rows in an image, at most.
    pub image_rows_bytes_max: usize,
    pub layout: Layout,
    pub merge: MergeOptions,
}

/// The log as of one LSN, taken between two groups.
pub struct Capture {
    pub position: Position,
    pub retention: ClockReading,
    pub catalog: Vec<(Lsn, Vec<u8>)>,
    pub producers: KnownProducers,
    pub groups: KnownOffsets,
    pub topics: Vec<CapturedTopic>,
    /// There is time to merge segments, too.
    pub merges: bool,
}

pub struct CapturedTopic {
    topic: Arc<TopicTail>,
    image: TopicImage,
    /// By partition. Kept alive until the image names them.
    segments: Vec<Vec<Arc<Segment>>>,
}

impl Capture {
    /// The caller is the writer.
    pub fn take(
        tail: &Tail,
        position: Position,
        retention: ClockReading,
        catalog: Vec<(Lsn, Vec<u8>)>,
        (producers, groups): (KnownProducers, KnownOffsets),
    ) -> Capture {
        let topics = tail.topics().into_iter().map(|(_, topic)| {
            let (image, segments) = topic.capture();
            CapturedTopic { topic, image, segments }
        });
        let mut topics: Vec<CapturedTopic> = topics.collect();
        topics.sort_by_key(|topic| topic.image.spec.id);
        Capture {
            position,
            retention,
            catalog,
            producers,
            groups,
            topics,
            merges: false,
        }
    }

    /// The image of the capture, all rows in memory in the image, for a log without a flusher.
    pub fn into_image(self) -> Image {
        Image {
            position: self.position,
            next_segment: 0,
            adopted: Vec::new(),
            retention: Some(self.retention),
            catalog: self.catalog,
            producers: self.producers,
            groups: self.groups,
            topics: self.topics.into_iter().map(|captured| captured.image).collect(),
        }
    }
}

/// Segments by id, while someone has them.
#[derive(Default)]
pub struct Registry {
    alive: Mutex<HashMap<u64, Weak<Segment>>>,
}

impl Registry {
    pub fn register(&self, segment: Segment) -> Arc<Segment> {
        let segment = Arc::new(segment);
        self.alive.lock().insert(segment.info.id, Arc::downgrade(&segment));
        segment
    }

    /// Ids of segments that someone holds.
    fn alive(&self) -> HashSet<u64> {
        let mut alive = self.alive.lock();
        alive.retain(|_, segment| segment.strong_count() > 0);
        alive.keys().copied().collect()
    }
}

/// The state of flushing, as others see it.
#[derive(Default)]
pub struct FlushState {
    /// Sequence and bytes of the files of the write-ahead log.
    pub wal_files: Mutex<std::collections::BTreeMap<u64, u64>>,
    pub registry: Registry,
    pub spills: Arc<Spills>,
    /// No segment file has had this id or a larger one.
    pub next_segment: AtomicU64,
    /// A capture is being flushed.
    pub busy: AtomicBool,
    /// The older image names segments that the newer one does not.
    pub stale: AtomicBool,
    /// There are segments to merge.
    pub mergeable: AtomicBool,
    /// Time that the newest merge took, microseconds.
    pub merge_us: AtomicU64,
    /// Why the newest attempt failed, if it did.
    pub failure: Mutex<Option<String>>,
    /// LSNs of the images that are kept, oldest first.
    pub images: Mutex<Vec<Lsn>>,
    /// A flush ended.
    pub flushed: Notify,
}

/// Files that a kept image needs.
struct KeptImage {
    lsn: Lsn,
    wal_sequence: u64,
    segments: HashSet<u64>,
}

impl KeptImage {
    fn of(image: &Image) -> KeptImage {
        KeptImage {
            lsn: image.lsn(),
            wal_sequence: image.position.sequence,
            segments: image.segments().map(|segment| segment.id).collect(),
        }
    }
}

/// A topic and by partition the segments that it had.
type Captured = (Arc<TopicTail>, Vec<Vec<Arc<Segment>>>);
/// A segment of a partition of a topic.
type MadeSegment = (Arc<TopicTail>, u32, Arc<Segment>);

/// Flushes captures.
pub struct Flusher {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: FlushOptions,
    state: Arc<FlushState>,
    kept: Vec<KeptImage>,
    /// Segments that cannot be merged, because one of them is damaged.
    spoilt: HashSet<u64>,
}

impl Flusher {
    /// Goes on from the images that were found, oldest first, and removes the files that neither of them needs. `state`
    /// has the files that the log after them adopted.
    pub fn start(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: FlushOptions,
        state: Arc<FlushState>,
        images: &[Image],
    ) -> Result<Flusher, LogError> {
        let newest = &images[images.len().saturating_sub(IMAGES_KEPT)..];
        let mut flusher = Flusher {
            disk,
            dir: dir.to_path_buf(),
            options,
            state,
            kept: newest.iter().map(KeptImage::of).collect(),
            spoilt: HashSet::new(),
        };
        flusher.give_up()?;
        Ok(flusher)
    }

    /// Whether a start finds segments to merge: no flush need come before that is done.
    pub fn look_for_merges(&self, tail: &Tail) {
        let waits = tail.topics().iter().any(|(_, topic)| {
            let infos = topic.segments().into_iter().map(|segment| segment.info.clone());
            let mut segments: Vec<SegmentInfo> = infos.collect();
            segments.sort_by_key(|info| (info.partition, info.base_offset));
            let mut partitions = segments.chunk_by(|one, next| one.partition == next.partition);
            partitions.any(|partition| self.mergeable(partition).is_some())
        });
        self.state.mergeable.store(waits, Ordering::Release);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes the capture. After an error the rows are still in memory and in the write-ahead log.
    pub fn flush(&mut self, capture: Capture) -> Result<(), LogError> {
        let Capture {
            position,
            retention,
            catalog,
            producers,
            groups,
            mut topics,
            merges,
        } = capture;
        let mut made: Vec<MadeSegment> = Vec::new();
        for (index, partition) in self.chosen(&topics) {
            let captured = &mut topics[index];
            let (spec, number) = (Arc::clone(&captured.image.spec), partition as u32);
            let image = &mut captured.image.partitions[partition];
            let base_offset = image.chunks[0].base_offset;
            let info = SegmentInfo::begun(0, spec.id, number, spec.schema_id, base_offset);
            for segment in self.write(info, &spec.schema, std::mem::take(&mut image.chunks))? {
                image.segments.push(segment.info.clone());
                made.push((Arc::clone(&captured.topic), number, segment));
            }
            // Some may come before segments that commits adopted.
            image.segments.sort_by_key(|segment| segment.base_offset);
        }
        if !made.is_empty() {
            self.sync_segments()?;
        }
        let mut captured: Vec<Captured> = Vec::with_capacity(topics.len());
        let mut images = Vec::with_capacity(topics.len());
        for CapturedTopic { topic, image, segments } in topics {
            captured.push((topic, segments));
            images.push(image);
        }
        let mut image = Image {
            position,
            next_segment: self.state.next_segment.load(Ordering::Relaxed),
            adopted: self.state.spills.adopted_upto(position.last_lsn),
            retention: Some(retention),
            catalog,
            producers,
            groups,
            topics: images,
        };
        self.save(&image)?;
        for (topic, partition, segment) in made {
            topic.replace(partition, segment);
        }
        if merges {
            // A commit that waits for room goes on, and a merge that fails takes no flush with it.
            self.state.flushed.notify_waiters();
            let started = Instant::now();
            let merged = self.merge(&mut image.topics, &captured);
            let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.state.merge_us.store(took_us, Ordering::Relaxed);
            if let Some((topic, partition, segment)) = merged? {
                self.sync_segments()?;
                image.next_segment = self.state.next_segment.load(Ordering::Relaxed);
                self.save(&image)?;
                topic.swap(partition, segment);
            }
        }
        let mut partitions = image.topics.iter().flat_map(|topic| &topic.partitions);
        let mergeable = partitions.any(|partition| self.mergeable(&partition.segments).is_some());
        self.state.mergeable.store(mergeable, Ordering::Release);
        // Files of segments that somebody has stay.
        drop(captured);
        self.give_up()
    }

    fn sync_segments(&self) -> Result<(), LogError> {
        let segments = self.path(SEGMENTS_DIR);
        self.disk
            .sync_dir(&segments)
            .map_err(LogError::io("sync directory", &segments))
    }

    /// Makes an image the newest; one at the same LSN is replaced.
    fn save(&mut self, image: &Image) -> Result<(), LogError> {
        image.save(self.disk.as_ref(), &self.path(META_DIR))?;
        self.kept.retain(|kept| kept.lsn != image.lsn());
        self.kept.push(KeptImage::of(image));
        self.kept.drain(..self.kept.len().saturating_sub(IMAGES_KEPT));
        let needed = self.kept.last().map(|kept| &kept.segments);
        let is_stale = |kept: &KeptImage| needed.is_some_and(|needed| !kept.segments.is_subset(needed));
        let older = self.kept[0].lsn;
        let held = image.adopted.iter().filter(|(lsn, _)| *lsn > older);
        let mut held = held.filter(|(_, id)| needed.is_some_and(|needed| !needed.contains(id)));
        let stale = self.kept.iter().any(is_stale) || held.next().is_some();
        self.state.stale.store(stale, Ordering::Release);
        Ok(())
    }

    fn mergeable(&self, segments: &[SegmentInfo]) -> Option<std::ops::Range<usize>> {
        merge::choose(segments, &self.options.merge, |id| self.spoilt.contains(&id))
    }

    /// Merges segments of the partition that has the most bytes to merge, and has the image name the result.
    fn merge(&mut self, images: &mut [TopicImage], captured: &[Captured]) -> Result<Option<MadeSegment>, LogError> {
        let mut best: Option<(u64, usize, usize, std::ops::Range<usize>)> = None;
        for (index, (image, (_, segments))) in images.iter().zip(captured).enumerate() {
            for (partition, image) in image.partitions.iter().enumerate() {
                // Segments that this flush has just made wait for the next one.
                let known = segments[partition].iter().map(|segment| segment.info.clone());
                let known: Vec<SegmentInfo> = known.collect();
                assert!(known.len() <= image.segments.len(), "a flush takes no segments away");
                if let Some(run) = self.mergeable(&known) {
                    let bytes = known[run.clone()].iter().map(|segment| segment.bytes).sum();
                    if best.as_ref().is_none_or(|(most, ..)| bytes > *most) {
                        best = Some((bytes, index, partition, run));
                    }
                }
            }
        }
        let Some((_, index, partition, run)) = best else {
            return Ok(None);
        };
        let (image, (topic, segments)) = (&mut images[index], &captured[index]);
        let spec = Arc::clone(&image.spec);
        let id = self.state.next_segment.fetch_add(1, Ordering::Relaxed);
        let sources = &segments[partition][run.clone()];
        let (disk, dir) = (Arc::clone(&self.disk), self.dir.join(SEGMENTS_DIR));
        let schema = (spec.schema_id, &spec.schema);
        let merged = panics::catch(|| merge::merge(disk, &dir, id, sources, schema, self.options.merge.layout));
        // Readers of the damage get an error; the rest of the log goes on.
        let reason = match merged {
            Ok(Ok(merged)) => Ok(merged),
            Ok(Err(error @ LogError::Damaged { .. })) => Err(error.to_string()),
            Ok(Err(error)) => return Err(error),
            Err(panic) => Err(panic.message.clone()),
        };
        let merged = match reason {
            Ok(merged) => merged,
            Err(reason) => {
                tracing::warn!(reason, "segments are not merged because one of them is damaged");
                self.spoilt.extend(sources.iter().map(|segment| segment.info.id));
                return Ok(None);
            }
        };
        let merged = self.state.registry.register(merged);
        // They follow one another, so that none that this flush made is between them.
        let segments = &mut image.partitions[partition].segments;
        let first = segments.partition_point(|segment| segment.base_offset < merged.info.base_offset);
        segments.splice(first..first + run.len(), [merged.info.clone()]);
        let number = u32::try_from(partition).expect("partitions are counted in u32");
        Ok(Some((Arc::clone(topic), number, merged)))
    }

    /// Topics and partitions whose rows become segments: those with many, and the largest of the others while an image
    /// would hold too many rows.
    fn chosen(&self, topics: &[CapturedTopic]) -> Vec<(usize, usize)> {
        let mut sizes: Vec<(usize, usize, usize)> = Vec::new();
        for (index, captured) in topics.iter().enumerate() {
            for (partition, image) in captured.image.partitions.iter().enumerate() {
                let bytes: usize = image.chunks.iter().map(|chunk| slice_bytes(&chunk.rows)).sum();
                if !image.chunks.is_empty() {
                    sizes.push((bytes, index, partition));
                }
            }
        }
        sizes.sort_unstable_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
        let mut left: usize = sizes.iter().map(|(bytes, ..)| bytes).sum();
        let mut chosen = Vec::new();
        for (bytes, index, partition) in sizes {
            if bytes >= self.options.segment_bytes_min || left > self.options.image_rows_bytes_max {
                left -= bytes;
                chosen.push((index, partition));
            }
        }
        chosen.sort_unstable();
        chosen
    }

    /// Writes the chunks of one partition as one or more segments.
    fn write(
        &mut self,
        info: SegmentInfo,
        schema: &SchemaRef,
        chunks: Vec<Chunk>,
    ) -> Result<Vec<Arc<Segment>>, LogError> {
        let mut segments = Vec::new();
        let mut writer: Option<SegmentWriter> = None;
        let dir = self.path(SEGMENTS_DIR);
        for chunk in chunks {
            let open = match writer.take() {
                Some(open) if open.end_offset() == chunk.base_offset => open,
                ended => {
                    // A segment that a commit adopted lies between.
                    if let Some(ended) = ended {
                        segments.push(self.state.registry.register(ended.finish()?));
                    }
                    let id = self.state.next_segment.fetch_add(1, Ordering::Relaxed);
                    let info = SegmentInfo {
                        id,
                        base_offset: chunk.base_offset,
                        ..info.clone()
                    };
                    let disk = Arc::clone(&self.disk);
                    SegmentWriter::create(disk, &dir, info, Arc::clone(schema), self.options.layout)?
                }
            };
            let open = writer.insert(open);
            open.push(chunk)?;
            if open.bytes() >= self.options.segment_bytes_max
                && let Some(full) = writer.take()
            {
                segments.push(self.state.registry.register(full.finish()?));
            }
        }
        if let Some(last) = writer {
            segments.push(self.state.registry.register(last.finish()?));
        }
        Ok(segments)
    }

    /// Removes images that are not kept, and the files that only they needed.
    fn give_up(&mut self) -> Result<(), LogError> {
        let disk = self.disk.as_ref();
        let meta = self.path(META_DIR);
        let mut removed = false;
        for lsn in image::list(disk, &meta)? {
            if !self.kept.iter().any(|kept| kept.lsn == lsn) {
                remove(disk, &meta.join(image::file_name(lsn)))?;
                removed = true;
            }
        }
        if removed {
            disk.sync_dir(&meta).map_err(LogError::io("sync directory", &meta))?;
        }
        *self.state.images.lock() = self.kept.iter().map(|kept| kept.lsn).collect();
        // With one image alone the whole log stands behind it.
        if let [older, _newer] = self.kept.as_slice() {
            let dir = self.path(WAL_DIR);
            let names = disk.list(&dir).map_err(LogError::io("list directory", &dir))?;
            for sequence in names.iter().filter_map(|name| wal::parse_name(name)) {
                if sequence < older.wal_sequence {
                    remove(disk, &dir.join(wal::file_name(sequence)))?;
                    self.state.wal_files.lock().remove(&sequence);
                }
            }
        }
        if let [older, _newer] = self.kept.as_slice() {
            self.state.spills.release(older.lsn);
        }
        let dir = self.path(SEGMENTS_DIR);
        // Listed first: a transaction claims its file before it makes it.
        let names = disk.list(&dir).map_err(LogError::io("list directory", &dir))?;
        let (held, alive) = (self.state.spills.held(), self.state.registry.alive());
        for name in names {
            let needed = match segment::parse_name(&name) {
                Some(id) => {
                    let is_named = self.kept.iter().any(|kept| kept.segments.contains(&id));
                    is_named || alive.contains(&id) || held.contains(&id)
                }
                None => match segment::parse_temporary_name(&name) {
                    Some(id) => held.contains(&id),
                    None => !name.ends_with(".tmp"),
                },
            };
            if !needed {
                match disk.remove(&dir.join(&name)) {
                    // Its transaction was faster.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    removed => removed.map_err(LogError::io("remove file", &dir.join(&name)))?,
                }
            }
        }
        Ok(())
    }
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    disk.remove(path).map_err(LogError::io("remove file", path))
}

/// The place where captures are flushed: a thread of its own, or the caller's.
pub enum Flushing {
    Thread {
        captures: Option<SyncSender<Capture>>,
        thread: Option<JoinHandle<Flusher>>,
        state: Arc<FlushState>,
    },
    Inline(Flusher),
}

impl Flushing {
    pub fn start(flusher: Flusher, background: bool) -> std::io::Result<Flushing> {
        if !background {
            return Ok(Flushing::Inline(flusher));
        }
        let state = Arc::clone(&flusher.state);
        let (captures, receiver) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("millstream-flush".to_string())
            .spawn(move || run(flusher, &receiver))?;
        Ok(Flushing::Thread {
            captures: Some(captures),
            thread: Some(thread),
            state,
        })
    }

    /// Flushes, or begins to. The caller has seen that none is under way.
    pub fn begin(&mut self, capture: Capture) {
        match self {
            Flushing::Inline(flusher) => flush_one(flusher, capture),
            Flushing::Thread { captures, state, .. } => {
                state.busy.store(true, Ordering::Release);
                let sent = captures.as_ref().is_some_and(|captures| captures.send(capture).is_ok());
                if !sent {
                    *state.failure.lock() = Some("the flusher has ended".to_string());
                    state.busy.store(false, Ordering::Release);
                    state.flushed.notify_waiters();
                }
            }
        }
    }

    /// Waits for the flush that runs, then flushes a last capture, if there is one: taken only now, it holds no rows
    /// that have just gone to a segment.
    pub fn finish(mut self, capture: impl FnOnce() -> Option<Capture>) {
        if let Flushing::Thread { captures, thread, .. } = &mut self {
            *captures = None;
            if let Some(Ok(flusher)) = thread.take().map(JoinHandle::join) {
                self = Flushing::Inline(flusher);
            }
        }
        if let Some(capture) = capture() {
            self.begin(capture);
        }
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        if let Flushing::Thread { captures, thread, .. } = self {
            *captures = None;
            if let Some(thread) = thread.take() {
                // A panic in it has been reported; only the log counts.
                let _ = thread.join();
            }
        }
    }
}

fn run(mut flusher: Flusher, captures: &Receiver<Capture>) -> Flusher {
    while let Ok(capture) = captures.recv() {
        flush_one(&mut flusher, capture);
        flusher.state.busy.store(false, Ordering::Release);
        flusher.state.flushed.notify_waiters();
    }
    flusher
}

fn flush_one(flusher: &mut Flusher, capture: Capture) {
    let failure = attempt(|| flusher.flush(capture));
    if let Some(error) = &failure {
        tracing::warn!(
            error,
            "could not flush rows to segments; they stay in memory and in the write-ahead log"
        );
        // Files of the failed attempt take the room that the next one needs.
        if let Some(error) = attempt(|| flusher.give_up()) {
            tracing::warn!(error, "could not remove what a failed flush left");
        }
    }
    *flusher.state.failure.lock() = failure;
    flusher.state.flushed.notify_waiters();
}

/// Why it failed, if it did. A panic has been logged where it happened, and is a failure like others: it is tried again.
fn attempt(work: impl FnOnce() -> Result<(), LogError>) -> Option<String> {
    match panics::catch(work) {
        Ok(done) => done.err().map(|error| error.to_string()),
        Err(panic) => Some(panic.message.clone()),
    }
}
