//! [`Image`]: everything that the log knows at one LSN, in one file: the catalog, and for each topic its definition,
//! offsets, watermark, segments, and the few rows that are in none.
//!
//! One rule: an image is complete: with it, and the write-ahead log after its position, nothing older is needed. It is
//! written under a temporary name, synced, named, and the directory is synced, before anything older is removed. Two
//! are kept, so that a damaged one costs nothing.
//!
//! ```text
//! meta/00000000000000000042.ckpt    by LSN
//!
//!  0 8  magic "MILLCKP\0"
//!  8 4  format version
//! 12 4  CRC32C of bytes 0..12, 16..end
//! 16 8  bytes of the manifest
//! 24 .. manifest, JSON; then the blobs that it counts, in its order: catalog records; for each topic its definition,
//!       its older schemas, and for each partition its rows (Arrow IPC messages of rows and of runs)
//! ```

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::storage::Disk;

use super::damage::Damage;
use super::frame::{decode_schema, decode_spec, encode_schema, encode_spec};
use super::offsets::KnownOffsets;
use super::producers::KnownProducers;
use super::retention::ClockReading;
use super::segment::{SegmentInfo, decode_chunk, encode_chunk};
use super::wal::Position;
use super::{Chunk, LogError, Lsn, TopicSpec};

use arrow::datatypes::SchemaRef;

/// 4: segments may be of version 2, 5: with differences in several columns, which an older server cannot read. 6:
/// topics may bound event times ahead of the clock. 7: producers and consumer groups, which an older server
/// would forget.
const FORMAT_VERSION: u32 = 7;
const MAGIC: [u8; 8] = *b"MILLCKP\0";
const HEADER_BYTES: usize = 24;
const TEMPORARY_NAME: &str = "next.tmp";

/// One partition at the image's LSN.
#[derive(Clone, Debug)]
pub struct PartitionImage {
    /// Rows before it are gone.
    pub start: u64,
    pub next_offset: u64,
    /// In offset order.
    pub segments: Vec<SegmentInfo>,
    /// In offset order, rows that are in no segment.
    pub chunks: Vec<Chunk>,
}

/// One topic at the image's LSN. Times in microseconds.
#[derive(Clone, Debug)]
pub struct TopicImage {
    pub spec: Arc<TopicSpec>,
    /// By schema id, those that segments have and the newest.
    pub schemas: Vec<(u32, SchemaRef)>,
    pub watermark: Option<i64>,
    /// Newest event time, and when it was appended.
    pub newest_event: Option<(i64, i64)>,
    pub newest_append_us: Option<i64>,
    pub partitions: Vec<PartitionImage>,
}

/// The state of the log at one LSN.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Position where the write-ahead log goes on.
    pub position: Position,
    /// No segment has this id or a larger one.
    pub next_segment: u64,
    /// LSN and id of segment files that commits adopted and that an older image may need, whether or not this one does.
    pub adopted: Vec<(Lsn, u64)>,
    /// Position of the retention clock.
    pub retention: Option<ClockReading>,
    /// In commit order.
    pub catalog: Vec<(Lsn, Vec<u8>)>,
    /// The newest transactions of each producer, by name.
    pub producers: KnownProducers,
    /// The offsets of consumer groups: group, partition, next offset.
    pub groups: KnownOffsets,
    pub topics: Vec<TopicImage>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    position: Position,
    next_segment: u64,
    #[serde(default)]
    adopted: Vec<(Lsn, u64)>,
    #[serde(default)]
    retention: Option<ClockReading>,
    /// LSN and bytes of each record.
    catalog: Vec<(Lsn, usize)>,
    #[serde(default)]
    producers: KnownProducers,
    #[serde(default)]
    groups: KnownOffsets,
    topics: Vec<TopicRecord>,
}

#[derive(Serialize, Deserialize)]
struct TopicRecord {
    spec_bytes: usize,
    /// Schema id and bytes.
    schemas: Vec<(u32, usize)>,
    watermark: Option<i64>,
    newest_event: Option<(i64, i64)>,
    newest_append_us: Option<i64>,
    partitions: Vec<PartitionRecord>,
}

#[derive(Serialize, Deserialize)]
struct PartitionRecord {
    #[serde(default)]
    start: u64,
    next_offset: u64,
    segments: Vec<SegmentInfo>,
    chunks: Vec<ChunkRecord>,
}

#[derive(Serialize, Deserialize)]
struct ChunkRecord {
    base_offset: u64,
    /// Of the message with the rows; the rest of `bytes` is the one with the runs.
    rows_bytes: usize,
    bytes: usize,
}

/// Name of the image at this LSN.
pub fn file_name(lsn: Lsn) -> String {
    format!("{lsn:020}.ckpt")
}

impl Image {
    pub fn lsn(&self) -> Lsn {
        self.position.last_lsn
    }

    /// Ids of the segments that it needs.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentInfo> {
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.flat_map(|partition| &partition.segments)
    }

    fn encode(&self) -> Result<Vec<u8>, LogError> {
        let mut blobs: Vec<Vec<u8>> = self.catalog.iter().map(|(_, record)| record.clone()).collect();
        let mut topics = Vec::with_capacity(self.topics.len());
        for topic in &self.topics {
            let spec = encode_spec(&topic.spec);
            let spec_bytes = spec.len();
            blobs.push(spec);
            let mut schemas = Vec::new();
            for (id, schema) in &topic.schemas {
                let schema = encode_schema(schema);
                schemas.push((*id, schema.len()));
                blobs.push(schema);
            }
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let mut chunks = Vec::new();
                for chunk in &partition.chunks {
                    let (rows_bytes, blob) = encode_chunk(chunk)?;
                    chunks.push(ChunkRecord {
                        base_offset: chunk.base_offset,
                        rows_bytes,
                        bytes: blob.len(),
                    });
                    blobs.push(blob);
                }
                partitions.push(PartitionRecord {
                    start: partition.start,
                    next_offset: partition.next_offset,
                    segments: partition.segments.clone(),
                    chunks,
                });
            }
            topics.push(TopicRecord {
                spec_bytes,
                schemas,
                watermark: topic.watermark,
                newest_event: topic.newest_event,
                newest_append_us: topic.newest_append_us,
                partitions,
            });
        }
        let manifest = Manifest {
            position: self.position,
            next_segment: self.next_segment,
            adopted: self.adopted.clone(),
            retention: self.retention,
            catalog: self.catalog.iter().map(|(lsn, record)| (*lsn, record.len())).collect(),
            producers: self.producers.clone(),
            groups: self.groups.clone(),
            topics,
        };
        let manifest = serde_json::to_vec(&manifest).expect("a manifest is plain data");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + manifest.len() + blobs.iter().map(Vec::len).sum::<usize>());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(manifest.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&manifest);
        blobs.iter().for_each(|blob| bytes.extend_from_slice(blob));
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Image, Damage> {
        let early = Damage::Contents("they end early");
        if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
            return Err(Damage::Contents("it is not a metadata image"));
        }
        let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were taken"));
        if field(12) != checksum(bytes) {
            return Err(Damage::Contents("the checksum does not match"));
        }
        if field(8) > FORMAT_VERSION {
            return Err(Damage::NewerVersion(field(8)));
        }
        let length = u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes were taken"));
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| HEADER_BYTES.checked_add(length));
        let end = end.filter(|end| *end <= bytes.len()).ok_or(early)?;
        let manifest: Manifest = serde_json::from_slice(&bytes[HEADER_BYTES..end])
            .map_err(|_| Damage::Contents("the manifest is unreadable"))?;
        let mut blobs = &bytes[end..];
        let mut blob = |length: usize| -> Result<&[u8], Damage> {
            let (taken, rest) = blobs.split_at_checked(length).ok_or(early)?;
            blobs = rest;
            Ok(taken)
        };
        let mut catalog = Vec::with_capacity(manifest.catalog.len());
        for (lsn, length) in manifest.catalog {
            catalog.push((lsn, blob(length)?.to_vec()));
        }
        let mut topics = Vec::with_capacity(manifest.topics.len());
        for record in manifest.topics {
            let spec = Arc::new(decode_spec(blob(record.spec_bytes)?)?);
            let mut schemas = Vec::new();
            for (id, length) in record.schemas {
                schemas.push((id, Arc::new(decode_schema(blob(length)?)?)));
            }
            let mut partitions = Vec::with_capacity(record.partitions.len());
            for (number, partition) in (0..).zip(record.partitions) {
                let mut chunks = Vec::new();
                for chunk in partition.chunks {
                    let place = (number, chunk.base_offset);
                    chunks.push(decode_chunk(place, chunk.rows_bytes, blob(chunk.bytes)?, &spec.schema)?);
                }
                partitions.push(PartitionImage {
                    start: partition.start,
                    next_offset: partition.next_offset,
                    segments: partition.segments,
                    chunks,
                });
            }
            topics.push(TopicImage {
                spec,
                schemas,
                watermark: record.watermark,
                newest_event: record.newest_event,
                newest_append_us: record.newest_append_us,
                partitions,
            });
        }
        Ok(Image {
            position: manifest.position,
            next_segment: manifest.next_segment,
            adopted: manifest.adopted,
            retention: manifest.retention,
            catalog,
            producers: manifest.producers,
            groups: manifest.groups,
            topics,
        })
    }

    /// Writes and syncs the image under its name in `dir`.
    pub fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        let bytes = self.encode()?;
        let temporary = dir.join(TEMPORARY_NAME);
        // Left by an attempt that failed.
        let names = disk.list(dir).map_err(LogError::io("list directory", dir))?;
        if names.iter().any(|name| name == TEMPORARY_NAME) {
            disk.remove(&temporary)
                .map_err(LogError::io("remove file", &temporary))?;
        }
        let file = disk
            .create(&temporary)
            .map_err(LogError::io("create file", &temporary))?;
        file.write_at(0, &[&bytes])
            .map_err(LogError::io("write file", &temporary))?;
        file.sync_data().map_err(LogError::io("sync file", &temporary))?;
        let named = dir.join(file_name(self.lsn()));
        disk.rename(&temporary, &named)
            .map_err(LogError::io("rename file", &temporary))?;
        disk.sync_dir(dir).map_err(LogError::io("sync directory", dir))
    }
}

/// Gives bytes that are to be taken for an image its magic, version and checksum, for fuzzers.
#[cfg(test)]
pub fn mend(bytes: &mut [u8]) {
    if bytes.len() >= HEADER_BYTES {
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        let crc = checksum(bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

/// LSNs of the images in `dir`, oldest first.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Lsn>, LogError> {
    let names = disk.list(dir).map_err(LogError::io("list directory", dir))?;
    let lsns = names.iter().filter_map(|name| name.strip_suffix(".ckpt")?.parse().ok());
    let mut lsns: Vec<Lsn> = lsns.collect();
    lsns.sort_unstable();
    Ok(lsns)
}

/// Reads one image. Damage is [`LogError::Corrupt`].
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Image, LogError> {
    decode(&read_bytes(disk, path)?, path)
}

/// The bytes of the file at `path`, unchecked.
pub fn read_bytes(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, LogError> {
    let file = disk.open_to_read(path).map_err(LogError::io("open file", path))?;
    let length = file.len().map_err(LogError::io("read file", path))?;
    let mut bytes = vec![0; usize::try_from(length).expect("an image fits memory")];
    file.read_at(0, &mut bytes).map_err(LogError::io("read file", path))?;
    Ok(bytes)
}

/// The image that these bytes of the file at `path` are. Damage is [`LogError::Corrupt`].
pub fn decode(bytes: &[u8], path: &Path) -> Result<Image, LogError> {
    let corrupt = |reason: String| LogError::Corrupt {
        file: path.to_path_buf(),
        offset: 0,
        lsn: lsn_of(path),
        reason,
    };
    let image = Image::decode(bytes).map_err(|damage| match damage {
        Damage::NewerVersion(version) => LogError::NewerFormat {
            file: path.to_path_buf(),
            version,
            supported: FORMAT_VERSION,
        },
        damage => corrupt(damage.to_string()),
    })?;
    match image.lsn() == lsn_of(path) {
        true => Ok(image),
        false => Err(corrupt(format!(
            "it is the image of LSN {}, under another name",
            image.lsn()
        ))),
    }
}

/// The image in the bytes of a file whose name may be another image's.
pub fn decode_misnamed(bytes: &[u8]) -> Option<Image> {
    Image::decode(bytes).ok()
}

/// An image is named only once all that it stands for is synced: a log that ends before the newest name is damaged,
/// whether or not that image can be read.
pub fn check_newest(disk: &dyn Disk, dir: &Path, newest: Lsn) -> Result<(), LogError> {
    match list(disk, dir)?.last() {
        Some(named) if *named > newest => Err(LogError::Corrupt {
            file: dir.join(file_name(*named)),
            offset: 0,
            lsn: newest + 1,
            reason: format!("the write-ahead log ends at LSN {newest}"),
        }),
        _ => Ok(()),
    }
}

fn lsn_of(path: &Path) -> Lsn {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.and_then(|stem| stem.parse().ok()).unwrap_or(0)
}

/// Reads the images in `dir`, oldest first; damaged ones are left out with a warning, unless all of them are damaged.
pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Vec<Image>, LogError> {
    let mut images = Vec::new();
    let mut damage = None;
    for lsn in list(disk, dir)? {
        match read(disk, &dir.join(file_name(lsn))) {
            Ok(image) => images.push(image),
            Err(error @ LogError::Corrupt { .. }) => {
                tracing::warn!(%error, "a metadata image is damaged; the other one is used");
                damage = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match damage {
        Some(error) if images.is_empty() => Err(error),
        _ => Ok(images),
    }
}
