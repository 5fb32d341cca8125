//! Mutates all bytes that the log reads from a disk, behind checksums that fit. The log decodes headers, blocks, rows, columns,
//! images and segments, or names the damage.
//!
//! A checksum keeps chance away from these decoders; the tests make it good again after each change, so that they must
//! hold by themselves. Not here: damaged files of a whole log (`repair` and the simulation).

use std::path::PathBuf;

use arrow::buffer::Buffer;
use arrow::ipc::CompressionType;

use crate::fuzz::{self, Target};
use crate::log::frame::{FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, FrameHeader, decode_blocks};
use crate::log::message::{MessageEncoder, decode_message};
use crate::log::segment::Segment;
use crate::log::{encoding, image, rows as row_codec, segment};
use crate::storage::FaultDisk;

use super::*;

const WORDS: &[&[u8]] = &[
    b"\0\0\0\0",
    b"\x01\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x01",
    b"\x02",
    b"\x03",
    b"\x04",
    b"\x05",
    b"\x06",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\0\0\0\0",
];

const DIR: &str = "/d";

/// The files of a log with catalog changes, rows of all forms, an advance, images and segments.
fn files(options: LogOptions) -> Vec<(PathBuf, Vec<u8>)> {
    let disk = FaultDisk::new();
    let (log, _) = open_with(disk.shared(), Path::new(DIR), options).expect("opened");
    let many: Vec<(i64, Option<i64>)> = (0..200).map(|i| (i * 1_000, Some(NOW_US + i))).collect();
    commit_each_kind(&log, &many, &[(2, None)]);
    close(&log).expect("closed");
    drop(log);
    let disk = disk.copy();
    let mut files = Vec::new();
    let shared = disk.shared();
    let folders = shared
        .list(Path::new(DIR))
        .unwrap_or_default()
        .into_iter()
        .chain(["wal", "meta", "segments"].map(String::from));
    for folder in folders.collect::<std::collections::BTreeSet<_>>() {
        let folder = Path::new(DIR).join(folder);
        for name in shared.list(&folder).unwrap_or_default() {
            let path = folder.join(name);
            if let Ok(content) = disk.content(&path) {
                files.push((path, content));
            }
        }
    }
    files
}

fn of_kind(files: &[(PathBuf, Vec<u8>)], extension: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let found = files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|found| found == extension));
    let found: Vec<_> = found.cloned().collect();
    assert!(
        !found.is_empty(),
        "no {extension} file among {:?}",
        files.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
    found
}

fn set(bytes: &mut [u8], at: usize, crc: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn headers_and_blocks_of_the_write_ahead_log() {
    let wal = of_kind(&files(steady()), "wal").remove(0).1;
    let header = FileHeader::decode(&wal).expect("a file header");
    // An input's first byte gives its kind: a file header, a frame header, a payload.
    let mut samples = vec![[&[0][..], &wal[..144]].concat()];
    for at in (FILE_HEADER_BYTES as usize..wal.len()).step_by(8) {
        if let Ok((frame, _)) = FrameHeader::decode(&wal[at..], header.salt) {
            samples.push([&[1][..], &wal[at..at + FRAME_HEADER_BYTES]].concat());
            let payload = at + FRAME_HEADER_BYTES;
            samples.push([&[2][..], &wal[payload..payload + frame.payload_bytes as usize]].concat());
        }
    }
    samples.retain(|sample| sample.len() > 1);
    assert!(samples.len() > 8, "frames were found");
    let target = Target {
        name: "wal",
        samples,
        words: WORDS,
        growth: 256,
    };
    fuzz::run(&target, |input| {
        let Some((kind, bytes)) = input.split_first() else {
            return false;
        };
        let mut bytes = bytes.to_vec();
        match kind % 3 {
            0 => {
                if bytes.len() >= 144 {
                    let crc = crc32c::crc32c(&bytes[104..144]);
                    set(&mut bytes, 96, crc);
                }
                if bytes.len() >= 96 {
                    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..96]);
                    set(&mut bytes, 12, crc);
                }
                let Ok(header) = FileHeader::decode(&bytes) else {
                    return false;
                };
                assert_eq!(FileHeader::decode(&header.encode()), Ok(header));
                true
            }
            1 => {
                if bytes.len() >= FRAME_HEADER_BYTES {
                    let crc = crc32c::crc32c(&bytes[8..FRAME_HEADER_BYTES]);
                    set(&mut bytes, 4, crc);
                }
                let salt = FrameHeader::salt_of(&bytes).unwrap_or(0);
                let Ok((header, crc)) = FrameHeader::decode(&bytes, salt) else {
                    return false;
                };
                let (again, again_crc) = header.encode();
                assert_eq!(FrameHeader::decode(&again, salt), Ok((header, again_crc)));
                // Fields that the header does not know are lost: unknown flags and the bytes behind them.
                assert!(
                    crc == again_crc || bytes[70] > 3 || bytes[71..80] != [0; 9],
                    "{header:?}"
                );
                true
            }
            _ => decode_blocks(&bytes).is_ok(),
        }
    });
}

/// Columns of every kind that the row codec and the segments have a form for.
fn wide() -> (SchemaRef, RecordBatch) {
    use crate::types::{ColumnBuilder, PgType};
    let columns = [
        ("boolean", ["t", "f"]),
        ("smallint", ["-2", "7"]),
        ("integer", ["1", "2"]),
        ("bigint", ["1", "-9"]),
        ("real", ["1.5", "NaN"]),
        ("double precision", ["0.1", "-0"]),
        ("numeric(10,2)", ["1.25", "-7"]),
        ("text", ["größe", ""]),
        ("bytea", ["\\x00ff", ""]),
        ("date", ["2024-01-02", "1999-01-01"]),
        ("time", ["01:02:03.4", "24:00"]),
        ("timestamp", ["2024-01-02 03:04:05", "epoch"]),
        ("timestamptz", ["2024-01-02 03:04:05+02", "epoch"]),
        ("interval", ["1 mon 2 days 3 s", "-1 y"]),
        ("integer[]", ["{1,NULL,3}", "{}"]),
        ("text[]", ["{a,\"\",NULL}", "{b}"]),
    ];
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (name, values) in columns {
        let pg_type = PgType::parse(name).expect(name);
        let mut column = ColumnBuilder::new(&pg_type, 40);
        for row in 0..40 {
            match row % 3 {
                2 => column.append_null(),
                value => column.append_text(values[value]).expect(name),
            }
        }
        fields.push(pg_type.field(name, true));
        arrays.push(column.finish());
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).expect("columns fit the schema");
    (schema, batch)
}

/// The first two bytes of an input are the number of rows.
#[test]
fn rows_of_the_row_codec() {
    let (schema, batch) = wide();
    let sample = |rows: usize| {
        let mut bytes = (rows as u16).to_le_bytes().to_vec();
        assert!(
            row_codec::encode(&batch.slice(0, rows), &mut bytes),
            "every type has a form"
        );
        bytes
    };
    let target = Target {
        name: "row_codec",
        samples: vec![sample(0), sample(1), sample(2), sample(3), sample(40)],
        words: WORDS,
        growth: 256,
    };
    fuzz::run(&target, |input| {
        let Some((rows, bytes)) = input.split_first_chunk() else {
            return false;
        };
        let rows = usize::from(u16::from_le_bytes(*rows));
        let Ok(batch) = row_codec::decode(Arc::clone(&schema), bytes, rows) else {
            return false;
        };
        assert_eq!(batch.num_rows(), rows);
        let mut again = Vec::new();
        assert!(row_codec::encode(&batch, &mut again));
        let again = row_codec::decode(Arc::clone(&schema), &again, rows).expect("what was encoded is decoded");
        assert_eq!(format!("{again:?}"), format!("{batch:?}"));
        true
    });
}

fn joined(pieces: &[Buffer]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| piece.iter().copied()).collect()
}

#[test]
fn messages_of_rows() {
    let (schema, batch) = wide();
    let sample = |rows: usize, compression| {
        let mut encoder = MessageEncoder::new(&batch, compression).expect("an encoder");
        joined(&encoder.encode(&batch.slice(0, rows)).expect("a message"))
    };
    let target = Target {
        name: "messages_of_rows",
        samples: vec![
            sample(0, None),
            sample(2, None),
            sample(40, None),
            sample(40, Some(CompressionType::LZ4_FRAME)),
        ],
        words: WORDS,
        // A compressed buffer says how large it is.
        growth: 1 << 14,
    };
    fuzz::run(&target, |bytes| {
        let Ok(batch) = decode_message(&Buffer::from_slice_ref(bytes), &schema, None) else {
            return false;
        };
        // Every value can be looked at.
        assert!(!format!("{batch:?}").is_empty());
        true
    });
}

/// The first byte of an input says which column of [`wide`] it is.
#[test]
fn columns_of_segments() {
    let (_, batch) = wide();
    let mut samples = Vec::new();
    for (index, column) in (0_u8..).zip(batch.columns()) {
        let bounds = segment::extremes(column.as_ref());
        for compression in [None, Some(CompressionType::ZSTD)] {
            let pieces = encoding::encode(column, bounds.as_ref(), compression).expect("encoded");
            samples.push([&[index][..], &joined(&pieces)].concat());
        }
    }
    let target = Target {
        name: "columns",
        samples,
        words: WORDS,
        growth: 1 << 14,
    };
    fuzz::run(&target, |input| {
        let Some((index, bytes)) = input.split_first() else {
            return false;
        };
        let column = batch.column(usize::from(*index) % batch.num_columns());
        let least = segment::extremes(column.as_ref()).map(|(least, _)| least);
        let bytes = Buffer::from_slice_ref(bytes);
        if let Ok(lazily) = encoding::decode_lazily(bytes.clone(), column.data_type(), least.as_ref()) {
            assert!(!format!("{lazily:?}").is_empty());
        }
        let Ok(values) = encoding::decode(bytes, column.data_type(), least.as_ref()) else {
            return false;
        };
        assert!(!format!("{values:?}").is_empty());
        true
    });
}

#[test]
fn metadata_images() {
    let found = [files(steady()), files(tiny())].concat();
    let samples: Vec<_> = of_kind(&found, "ckpt").into_iter().map(|(_, bytes)| bytes).collect();
    let target = Target {
        name: "images",
        samples,
        words: WORDS,
        growth: 1 << 10,
    };
    let path = Path::new("/d/meta/00000000000000000042.ckpt");
    fuzz::run(&target, |bytes| {
        let mut bytes = bytes.to_vec();
        image::mend(&mut bytes);
        match image::decode(&bytes, path) {
            Ok(_) | Err(LogError::Corrupt { .. } | LogError::NewerFormat { .. }) => {}
            Err(other) => panic!("damage is named as such: {other}"),
        }
        // The image may be of any LSN.
        let image = image::decode_misnamed(&bytes);
        image.is_some_and(|image| !format!("{image:?}").is_empty())
    });
}

#[test]
fn segment_files() {
    let found = files(tiny());
    let newest = of_kind(&found, "ckpt").pop().expect("an image");
    let known = image::decode(&newest.1, &newest.0).expect("a good image");
    let infos: Vec<SegmentInfo> = known.segments().cloned().collect();
    let samples = infos.iter().map(|info| {
        let name = segment::file_name(info.id);
        let file = found
            .iter()
            .find(|(path, _)| path.ends_with(&name))
            .expect("a file of each segment");
        [&info.id.to_le_bytes()[..], &file.1].concat()
    });
    let target = Target {
        name: "segments",
        samples: samples.collect(),
        words: WORDS,
        growth: 1 << 10,
    };
    fuzz::run(&target, |input| {
        let Some((id, bytes)) = input.split_first_chunk() else {
            return false;
        };
        let id = u64::from_le_bytes(*id);
        let mut info = infos.iter().find(|info| info.id == id).unwrap_or(&infos[0]).clone();
        let mut bytes = bytes.to_vec();
        segment::mend(&mut bytes);
        info.bytes = bytes.len() as u64;
        let disk = FaultDisk::new().shared();
        let dir = Path::new(DIR);
        disk.create_dir_all(dir).expect("a directory in memory");
        let file = disk
            .create(&dir.join(segment::file_name(info.id)))
            .expect("a file in memory");
        file.write_at(0, &[&bytes]).expect("a write to memory");
        let segment = Segment::known(disk, dir, info, schema());
        match segment.check() {
            Ok(_) => true,
            Err(LogError::Damaged { .. } | LogError::NewerFormat { .. }) => false,
            Err(other) => panic!("damage is named as such: {other}"),
        }
    });
}

/// A whole file, as a check of the directory reads it: damage is found, and nothing else happens.
#[test]
fn write_ahead_log_files() {
    let samples = of_kind(&files(steady()), "wal").into_iter().map(|(_, bytes)| bytes);
    let target = Target {
        name: "wal_files",
        samples: samples.collect(),
        words: WORDS,
        growth: 1 << 10,
    };
    fuzz::run(&target, |bytes| {
        let disk = FaultDisk::new().shared();
        let dir = Path::new(DIR);
        disk.create_dir_all(&dir.join("wal")).expect("a directory in memory");
        let path = dir.join("wal").join(crate::log::wal::file_name(1));
        let file = disk.create(&path).expect("a file in memory");
        file.write_at(0, &[bytes]).expect("a write to memory");
        check(&disk, dir).is_ok()
    });
}
