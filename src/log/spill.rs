//! Spilling: rows of a transaction that are too many for memory become the segment file that its commit adopts, and
//! are written once.
//!
//! One rule: a file is synced and named before the commit that adopts it is put in order, so every frame that survives
//! a crash finds its file. The file goes with a transaction that is rolled back; once it is adopted it goes no sooner
//! than both images that are kept can do without the frame: an older image reads that again.
//!
//! ```text
//!  SpillWriter --finish--> Spilled --commit--> frame with an adopt block --> the tail takes the segment at its offset
//!       \ dropped: the file goes    \ dropped
//! ```
//!
//! A file knows nothing of its commit: offsets in it count from 0, and its LSNs and times are 0. [`Adoption`] has the
//! commit's values, and a merge bakes them in. Not here: the choice of the rows to spill (`session`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::storage::Disk;

use super::claims::FileClaim;
use super::columns::{Range, Reader};
use super::encoding::slice_bytes;
use super::events::Events;
use super::extent::{Extent, Stored};
use super::flusher::{FlushOptions, FlushState};
use super::frame::{AdoptedFile, BlockRun, Placement, ROW_BYTES_MAX};
use super::image::Image;
use super::segment::{self, Adoption, Index, Layout, Segment, SegmentInfo, SegmentWriter};
use super::{Chunk, Log, LogError, Run, TopicId, TopicSpec};

/// A file with more rows is ended, however small they are.
const FILE_ROWS_MAX: u64 = 1 << 30;

/// The directory of segments, and the state of flushing that its files belong to.
struct Home {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    flush: Arc<FlushState>,
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Home({})", self.dir.display())
    }
}

/// Writes rows of one partition to a file that a commit may adopt. Dropped, it removes the file.
#[derive(Debug)]
pub struct SpillWriter {
    writer: SegmentWriter,
    claim: FileClaim,
    home: Home,
    info: SegmentInfo,
    schema: SchemaRef,
    bytes_max: u64,
}

impl SpillWriter {
    /// A new file. `schema` is the topic's, with its columns' ids; a file is full with `bytes_max`.
    pub(super) fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        flush: Arc<FlushState>,
        (topic, schema_id, partition): (TopicId, u32, u32),
        schema: SchemaRef,
        (layout, bytes_max): (Layout, u64),
    ) -> Result<SpillWriter, LogError> {
        let id = flush.next_segment.fetch_add(1, Ordering::Relaxed);
        let files = [segment::temporary_name(id), segment::file_name(id)].map(|name| dir.join(name));
        let claim = FileClaim::new(id, files, Arc::clone(&disk), Arc::clone(&flush.spills));
        let home = Home {
            disk: Arc::clone(&disk),
            dir: dir.to_path_buf(),
            flush,
        };
        let info = SegmentInfo::begun(id, topic, partition, schema_id, 0);
        let writer = SegmentWriter::create(disk, dir, info.clone(), Arc::clone(&schema), layout)?;
        Ok(SpillWriter {
            writer,
            claim,
            home,
            info,
            schema,
            bytes_max,
        })
    }

    pub fn topic(&self) -> TopicId {
        self.info.topic
    }

    pub fn schema_id(&self) -> u32 {
        self.info.schema_id
    }

    pub fn partition(&self) -> u32 {
        self.info.partition
    }

    /// Of the rows.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Adds rows, which follow those before them. After an error the file is of no use.
    pub fn push(&mut self, rows: RecordBatch) -> Result<(), LogError> {
        let count = rows.num_rows();
        if count == 0 {
            return Ok(());
        }
        check_rows(&rows)?;
        let run = Run {
            rows: count,
            lsn: 0,
            timestamp_us: 0,
            watermark: None,
        };
        let chunk = Chunk {
            partition: self.info.partition,
            base_offset: self.info.rows,
            rows,
            runs: Arc::from([run]),
        };
        self.info.rows += count as u64;
        self.writer.push(chunk)
    }

    /// Writes the rows added so far: nothing of them stays in memory.
    pub fn write_out(&mut self) -> Result<(), LogError> {
        self.writer.write_batch()
    }

    /// Whether more rows should go to another file.
    pub fn is_full(&self) -> bool {
        self.writer.bytes() >= self.bytes_max || self.info.rows >= FILE_ROWS_MAX
    }

    /// Syncs and names the file. `None` if it has no rows.
    pub fn finish(self) -> Result<Option<Arc<Spilled>>, LogError> {
        if self.info.rows == 0 {
            return Ok(None);
        }
        let SpillWriter {
            writer,
            claim,
            home,
            schema,
            ..
        } = self;
        let finished = writer.finish_file()?;
        home.disk
            .sync_dir(&home.dir)
            .map_err(LogError::io("sync directory", &home.dir))?;
        Ok(Some(Arc::new(Spilled {
            info: finished.info,
            trailer_crc: finished.trailer_crc,
            index: finished.index,
            schema,
            claim: Arc::new(claim),
            home,
        })))
    }
}

impl Log {
    /// Rows of a transaction that take more bytes of memory than this are better spilled.
    pub fn spill_bytes(&self) -> usize {
        self.shared.options.spill_bytes
    }

    /// An error if the disk is so full now that commits with rows are refused: for a transaction that writes more to a file.
    pub fn admit_spill(&self) -> Result<(), LogError> {
        self.shared.space.admit_now()
    }

    /// Begins a file for rows of a transaction: those of one partition of a topic with that schema id. Blocks while it
    /// writes. Refused as a commit with rows is.
    pub fn spill(
        &self,
        topic: TopicId,
        schema_id: u32,
        partition: u32,
        schema: SchemaRef,
    ) -> Result<SpillWriter, LogError> {
        self.admit_spill()?;
        let FlushOptions {
            layout,
            segment_bytes_max,
            ..
        } = self.shared.options.flush;
        SpillWriter::create(
            Arc::clone(&self.disk),
            &self.segments_dir,
            Arc::clone(&self.shared.flush),
            (topic, schema_id, partition),
            schema,
            (layout, segment_bytes_max),
        )
    }
}

/// Rows that the log refuses in memory are refused here, too.
fn check_rows(rows: &RecordBatch) -> Result<(), LogError> {
    if slice_bytes(rows) <= ROW_BYTES_MAX {
        return Ok(());
    }
    let bytes_max = ROW_BYTES_MAX;
    let sizes = (0..rows.num_rows()).map(|row| slice_bytes(&rows.slice(row, 1)));
    match sizes.max() {
        Some(bytes) if bytes > bytes_max => Err(LogError::RowTooBig { bytes, bytes_max }),
        _ => Ok(()),
    }
}

/// Rows of one partition in a file that no commit has adopted yet.
#[derive(Debug)]
pub struct Spilled {
    info: SegmentInfo,
    trailer_crc: u32,
    /// As it is in the file.
    index: Index,
    schema: SchemaRef,
    claim: Arc<FileClaim>,
    home: Home,
}

impl Spilled {
    pub fn rows(&self) -> u64 {
        self.info.rows
    }

    /// Of the rows.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn segment(&self, base_offset: u64, adoption: Adoption, schema: &SchemaRef) -> Segment {
        let info = self.info.clone().adopted(base_offset, adoption);
        let (disk, schema) = (Arc::clone(&self.home.disk), Arc::clone(schema));
        Segment::known(disk, &self.home.dir, info, schema).with_index(&self.index)
    }

    /// The rows as a reader sees them before they are committed: as if the commit had that LSN and time. They can be
    /// loaded while somebody holds them, even after the transaction has ended.
    pub fn read(&self, reader: &Reader, base_offset: u64, adoption: Adoption) -> Result<Vec<Extent>, LogError> {
        let mut segment = self.segment(base_offset, adoption, &self.schema);
        segment.claim = Some(Arc::clone(&self.claim));
        let (segment, range) = (Arc::new(segment), Range::all(adoption.lsn));
        let index = segment.index()?;
        let extents = (0..index.entries.len()).map(|batch| {
            let (segment, index) = (Arc::clone(&segment), Arc::clone(&index));
            Extent::Stored(Stored::new(segment, index, batch, range, reader))
        });
        Ok(extents.collect())
    }

    /// The rows, batch by batch.
    pub fn batches(&self) -> Result<impl Iterator<Item = Result<RecordBatch, LogError>>, LogError> {
        let nowhere = Adoption {
            lsn: 1,
            timestamp_us: 0,
            watermark: None,
        };
        let mut segment = self.segment(0, nowhere, &self.schema);
        segment.claim = Some(Arc::clone(&self.claim));
        let index = segment.index()?;
        let batches = (0..index.entries.len()).map(move |batch| Ok(segment.load(batch, None)?.rows));
        Ok(batches)
    }

    /// The event times of the rows for a topic with `spec`, were they committed now.
    pub(super) fn events(&self, spec: &TopicSpec, now_us: i64) -> Result<Events, LogError> {
        let Some(event) = spec.event_time else {
            return Ok(Events::default());
        };
        let nowhere = Adoption {
            lsn: 1,
            timestamp_us: now_us,
            watermark: None,
        };
        let segment = self.segment(0, nowhere, &self.schema);
        let index = segment.index()?;
        let limit_us = event.limit_us(now_us);
        let known = index.newest_events(event.column);
        let mut events = Events::default();
        for batch in 0..index.entries.len() {
            let of_batch = match known.as_ref().map(|known| known[batch]) {
                Some(newest_us) if newest_us.is_none_or(|newest_us| newest_us <= limit_us) => Events {
                    newest_us: newest_us.and_then(Events::moving),
                    ahead: 0,
                },
                // Some are too far ahead to count.
                _ => {
                    let column = segment.load(batch, Some(&[event.column]))?;
                    Events::of(column.rows.columns().first(), limit_us)
                }
            };
            events.newest_us = events.newest_us.max(of_batch.newest_us);
            events.ahead += of_batch.ahead;
        }
        Ok(events)
    }

    /// The description of the file in the commit's frame.
    pub(super) fn file(&self) -> AdoptedFile {
        AdoptedFile {
            segment: self.info.id,
            bytes: self.info.bytes,
            trailer_crc: self.trailer_crc,
        }
    }

    /// From here on the commit may be in the log, and the file stays.
    pub(super) fn put_in_order(&self) {
        self.claim.put_in_order();
    }

    /// The segment that the file is from here on.
    pub(super) fn adopt(
        &self,
        place: &Placement,
        run: &BlockRun,
        timestamp_us: i64,
        schema: &SchemaRef,
    ) -> Arc<Segment> {
        let adoption = Adoption {
            lsn: run.lsn,
            timestamp_us,
            watermark: run.watermark,
        };
        let segment = self.segment(place.base_offset, adoption, schema);
        let segment = self.home.flush.registry.register(segment);
        self.claim.adopted(run.lsn);
        segment
    }
}

/// A file that a commit in the log adopted, as a recovery meets it.
pub struct Adopted {
    pub info: SegmentInfo,
    pub trailer_crc: u32,
    pub schema: SchemaRef,
}

impl Adopted {
    pub fn new(
        place: &Placement,
        run: &BlockRun,
        file: &AdoptedFile,
        timestamp_us: i64,
        schema: &SchemaRef,
    ) -> Adopted {
        let begun = SegmentInfo::begun(file.segment, place.topic, place.partition, place.schema_id, 0);
        let adoption = Adoption {
            lsn: run.lsn,
            timestamp_us,
            watermark: run.watermark,
        };
        let info = SegmentInfo {
            rows: u64::from(run.rows),
            bytes: file.bytes,
            ..begun
        };
        Adopted {
            info: info.adopted(place.base_offset, adoption),
            trailer_crc: file.trailer_crc,
            schema: Arc::clone(schema),
        }
    }

    pub fn segment(&self, disk: &Arc<dyn Disk>, dir: &Path) -> Segment {
        Segment::known(Arc::clone(disk), dir, self.info.clone(), Arc::clone(&self.schema))
    }

    /// The same, if the file is the one that the commit adopted.
    pub fn checked(&self, disk: &Arc<dyn Disk>, dir: &Path) -> Result<Segment, LogError> {
        let segment = self.segment(disk, dir);
        segment.check_trailer(self.trailer_crc)?;
        Ok(segment)
    }
}

/// The first id that no segment file has or had: neither a file on the disk, finished or not, nor one that an image
/// knows. A start removes the files that transactions left and nobody names.
pub fn next_segment(disk: &dyn Disk, dir: &Path, images: &[Image]) -> Result<u64, LogError> {
    let names = disk.list(dir).map_err(LogError::io("list directory", dir))?;
    let ids = names
        .iter()
        .filter_map(|name| segment::parse_name(name).or_else(|| segment::parse_temporary_name(name)));
    let known = images.iter().map(|image| image.next_segment);
    Ok(ids.map(|id| id + 1).chain(known).max().unwrap_or(0))
}
