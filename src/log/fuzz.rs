//! The decoders of what is on disk, each as a function of any bytes: for fuzzers, which find no way through checksums.
//!
//! One rule: none of them panics, or asks for memory by a length that it has not compared with what is there; what is
//! wrong is an error, which nobody looks at here. Checksums are mended on the way in, so that the insides are reached.
//!
//! Not here: what the bytes mean (`frame`, `segment`, `image`).

use std::path::Path;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};

use crate::storage::{Disk, FaultDisk};

use super::encode::decode_message;
use super::flusher::SEGMENTS_DIR;
use super::frame::{Block, FileHeader, FrameHeader, decode_blocks, decode_schema, decode_spec};
use super::segment::{self, Segment, SegmentInfo, extremes};
use super::{TopicId, encoding, image, rows, wal};

/// A column of each type that a topic can have.
fn types() -> Vec<DataType> {
    let list = |item: DataType| DataType::List(Arc::new(Field::new_list_field(item, true)));
    vec![
        DataType::Boolean,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(20, 4),
        DataType::Utf8,
        DataType::Binary,
        DataType::Date32,
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Interval(IntervalUnit::MonthDayNano),
        list(DataType::Int64),
        list(DataType::Utf8),
    ]
}

fn schemas() -> Vec<SchemaRef> {
    let fields = types().into_iter().map(|of| Field::new("c", of, true));
    let all = Arc::new(Schema::new(fields.clone().collect::<Vec<_>>()));
    let each = fields.map(|field| Arc::new(Schema::new(vec![field])));
    each.chain([all]).collect()
}

/// Headers of a file of the write-ahead log, and of a frame.
pub fn wal_header(bytes: &[u8]) {
    let _ = FileHeader::decode(bytes);
    let salt = FrameHeader::salt_of(bytes).unwrap_or_default();
    let _ = FrameHeader::decode(bytes, salt);
}

/// The payload of a frame, and what its blocks hold.
pub fn wal_payload(bytes: &[u8]) {
    for block in decode_blocks(bytes).unwrap_or_default() {
        match block {
            Block::Rows { rows, bytes: place, .. } => {
                for schema in schemas() {
                    let _ = rows::decode(schema, &bytes[place.clone()], rows);
                }
            }
            Block::Batch { bytes: place, .. } => batch(&bytes[place]),
            _ => {}
        }
    }
}

/// Rows in the row codec.
pub fn rows(bytes: &[u8]) {
    let Some((count, bytes)) = bytes.split_first() else {
        return;
    };
    for schema in schemas() {
        let _ = rows::decode(schema, bytes, usize::from(*count));
    }
}

/// An Arrow message with rows.
pub fn batch(bytes: &[u8]) {
    let message = Buffer::from_slice_ref(bytes);
    for schema in schemas() {
        let _ = decode_message(&message, &schema, None);
        let _ = decode_message(&message, &schema, Some(&[0]));
    }
}

/// A topic's definition, and a schema.
pub fn spec(bytes: &[u8]) {
    let _ = decode_spec(bytes);
    let _ = decode_schema(bytes);
}

/// A file of the write-ahead log, read as a check reads it.
pub fn wal_file(bytes: &[u8]) {
    let dir = Path::new("/d");
    let disk = FaultDisk::new();
    let path = dir.join(super::flusher::WAL_DIR).join(wal::file_name(1));
    if put(&disk, &path, bytes) {
        let _ = super::check(&disk.shared(), dir);
    }
}

/// A metadata image.
pub fn image(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    image::mend(&mut bytes);
    let _ = image::decode(&bytes, Path::new("image"));
}

/// A segment: all of it, in each schema.
pub fn segment(bytes: &[u8]) {
    let dir = Path::new("/d").join(SEGMENTS_DIR);
    let mut bytes = bytes.to_vec();
    segment::mend(&mut bytes);
    let disk = FaultDisk::new();
    if !put(&disk, &dir.join(segment::file_name(0)), &bytes) {
        return;
    }
    for schema in schemas() {
        let info = SegmentInfo {
            bytes: bytes.len() as u64,
            rows: 1,
            ..SegmentInfo::begun(0, TopicId(1), 0, 1, 0)
        };
        let _ = Segment::known(disk.shared(), &dir, info, schema).check();
    }
}

/// A column of a segment's batch, as each type.
pub fn column(bytes: &[u8]) {
    for data_type in types() {
        let least: ArrayRef = arrow::array::new_null_array(&data_type, 1);
        let least = extremes(least.as_ref()).map(|(least, _)| least);
        let bytes = Buffer::from_slice_ref(bytes);
        let _ = encoding::decode(bytes.clone(), &data_type, least.as_ref());
        let _ = encoding::decode_lazily(bytes, &data_type, least.as_ref());
    }
}

/// Makes a file; false if that cannot be.
fn put(disk: &FaultDisk, path: &Path, bytes: &[u8]) -> bool {
    let made = disk.create(path);
    made.is_ok_and(|file| file.write_at(0, &[bytes]).is_ok())
}
