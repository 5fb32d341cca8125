//! Bytes that recovery accepts, cuts or refuses, one by one.

use std::path::PathBuf;

use futures::executor::block_on;

use crate::error::SqlError;
use crate::log::frame::{FILE_HEADER_BYTES, FORMAT_VERSION, FRAME_HEADER_BYTES, FileHeader, FrameHeader};
use crate::storage::FaultDisk;

use super::*;

fn file(sequence: u64) -> PathBuf {
    PathBuf::from(format!("/d/wal/{sequence:08}.wal"))
}

fn open(disk: &FaultDisk) -> Result<(Arc<Log>, Recovered), LogError> {
    open_with(disk.shared(), Path::new("/d"), steady())
}

/// A disk with catalog changes, rows of both kinds, an advance, and, if closed, a seal.
fn written(close: bool) -> FaultDisk {
    written_with(close, &[(2, None)])
}

/// The same, with these rows in the last commit.
fn written_with(close: bool, last: &[(i64, Option<i64>)]) -> FaultDisk {
    let disk = FaultDisk::new();
    let (log, _) = open(&disk).expect("opened");
    let many: Vec<(i64, Option<i64>)> = (0..200).map(|i| (i, Some(NOW_US))).collect();
    commit_each_kind(&log, &many, last);
    if close {
        super::close(&log).expect("closed");
    }
    drop(log);
    disk.copy()
}

/// The places of each frame's header and payload, in order.
fn frames(disk: &FaultDisk) -> Vec<(usize, usize, FrameHeader)> {
    let content = disk.content(&file(1)).expect("it is there");
    let header = FileHeader::decode(&content).expect("a file header");
    let mut found = Vec::new();
    let mut at = FILE_HEADER_BYTES as usize;
    while at < content.len() {
        if let Ok((frame, _)) = FrameHeader::decode(&content[at..], header.salt) {
            found.push((at, at + FRAME_HEADER_BYTES + frame.payload_bytes as usize, frame));
        }
        at += 8;
    }
    found
}

#[test]
fn a_flipped_bit_in_any_frame_is_found() {
    let disk = written(true);
    let all = frames(&disk);
    assert_eq!(all.len(), 6);
    // A second file continues the first; damage is refused with and without it.
    let continued = disk.copy();
    drop(open(&continued).expect("opened"));
    let continued = continued.copy();
    for (index, (start, end, header)) in all.iter().enumerate() {
        let is_seal = index == all.len() - 1;
        for at in (*start..*end).filter(|at| at - start < 400 || at % 61 == 0) {
            let bit = (at % 8) as u8;
            for (disk, refused) in [(&disk, !is_seal), (&continued, true)] {
                let damaged = disk.copy();
                damaged.flip_bit(&file(1), at as u64, bit).expect("it is there");
                match open(&damaged) {
                    Err(LogError::Corrupt {
                        file: path,
                        offset,
                        lsn,
                        ..
                    }) => {
                        assert!(refused, "a damaged seal loses nothing");
                        assert_eq!((path, offset), (file(1), *start as u64));
                        assert_eq!(lsn, header.first_lsn + u64::from(is_seal));
                    }
                    Ok((_, recovered)) => {
                        assert!(!refused, "byte {at} of frame {index} changed and nothing noticed");
                        assert_eq!(recovered.newest, 5);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_a_file_header_is_found() {
    let disk = written(true);
    for at in (0..100).chain(104..144) {
        let damaged = disk.copy();
        damaged.flip_bit(&file(1), at, (at % 8) as u8).expect("it is there");
        let error = open(&damaged).err().expect("it is damaged");
        assert!(
            matches!(error, LogError::Corrupt { offset: 0, .. }),
            "byte {at}: {error}"
        );
    }
}

#[test]
fn a_flipped_bit_in_the_padding_between_groups_harms_nothing() {
    let disk = written(true);
    for (_, end, _) in frames(&disk) {
        let damaged = disk.copy();
        let padding = end.next_multiple_of(8) + 8;
        damaged.flip_bit(&file(1), padding as u64, 3).expect("it is there");
        assert_eq!(open(&damaged).expect("nothing is lost").1.newest, 5);
    }
}

#[test]
fn recovery_cuts_a_torn_tail_and_continues_in_a_new_file() {
    let many: Vec<(i64, Option<i64>)> = (0..120).map(|i| (i, Some(NOW_US))).collect();
    let disk = written_with(false, &many);
    let all = frames(&disk);
    let (start, end, _) = all[all.len() - 1];
    let sectors = (end - start).div_ceil(512);
    assert!((4..10).contains(&sectors), "{sectors} sectors");
    // Any of its sectors are missing.
    for missing in 1..1 << sectors {
        let torn = disk.copy();
        let handle = torn.open(&file(1)).expect("it is there");
        for sector in (0..sectors).filter(|sector| missing >> sector & 1 == 1) {
            let at = (start + sector * 512) as u64;
            handle.write_at(at, &[&[0; 512]]).expect("written");
        }
        let (log, recovered) = open(&torn).expect("nobody knows that it was acknowledged");
        assert_eq!((recovered.newest, recovered.clean), (4, false));
        block_on(log.commit(insert(1, 1, &[(3, None)]), Acknowledge::Synced)).expect("inserted");
        drop(log);
        let (log, recovered) = open(&torn).expect("the cut is remembered");
        assert_eq!((recovered.newest, ids(&log, 1, 1)), (5, vec![3]));
        let header = FileHeader::decode(&torn.content(&file(2)).expect("it is there")).expect("a header");
        assert_eq!(
            (header.predecessor, header.predecessor_end, header.last_lsn),
            (1, start as u64, 4)
        );
    }
}

#[test]
fn damage_to_the_newest_frame_is_no_torn_tail() {
    let many: Vec<(i64, Option<i64>)> = (0..120).map(|i| (i, Some(NOW_US))).collect();
    // The last one has sectors that are zeros by themselves.
    let zeros: Vec<(i64, Option<i64>)> = (0..128).map(|_| (0, Some(0))).collect();
    for last in [vec![(2, None)], many, [zeros.clone(), zeros].concat()] {
        let disk = written_with(false, &last);
        let all = frames(&disk);
        let (start, end, _) = all[all.len() - 1];
        for at in (start..end).filter(|at| at - start < 300 || at % 37 == 0) {
            let damaged = disk.copy();
            damaged
                .flip_bit(&file(1), at as u64, (at % 8) as u8)
                .expect("it is there");
            let error = open(&damaged).err().expect("it was acknowledged").to_string();
            assert!(error.contains(&format!("offset {start}, LSN 5: ")), "{error}");
        }
        // A file that is shorter than it was made lacks an unknown part.
        for length in [end + 4096, end, start + 90, start, start - 4096] {
            let cut = disk.copy();
            cut.open(&file(1))
                .and_then(|file| file.set_len(length as u64))
                .expect("it is there");
            assert!(matches!(open(&cut), Err(LogError::Corrupt { .. })), "cut at {length}");
        }
    }
}

#[test]
fn an_end_of_the_log_that_is_gone_is_missed() {
    let disk = FaultDisk::new();
    let options = LogOptions {
        mark_every_ms: 0,
        ..steady()
    };
    let dir = Path::new("/d");
    let (log, _) = open_with(disk.shared(), dir, options.clone()).expect("opened");
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    (0..9).for_each(|i| {
        block_on(log.commit(insert(1, 0, &[(i, None)]), Acknowledge::Synced)).expect("inserted");
    });
    drop(log);
    let disk = disk.kill();
    // Zeros from the group of LSN 6 on.
    let handle = disk.open(&file(1)).expect("it is there");
    let end = handle.len().expect("a length");
    handle.write_zeros(4096 * 6, end).expect("written");
    let said = "the log ends at LSN 5, and is known to have reached LSN 10";
    let error = open_with(disk.shared(), dir, options.clone())
        .err()
        .expect("it is missed");
    assert!(error.to_string().contains(said), "{error}");
    let checked = super::check(&disk.shared(), dir).expect("checked");
    assert_eq!((checked.damage, checked.reached), (vec![error], Some(10)));
    // All files are gone.
    let empty = disk.copy();
    empty.remove(&file(1)).expect("it is there");
    assert!(open_with(empty.shared(), dir, options.clone()).is_err());
    let repaired = repair(&disk.shared(), dir, true).expect("repaired");
    let lost = repaired.commits.expect("commits are lost");
    assert_eq!((lost.after, lost.newest_seen), (5, Some(10)));
    let (log, recovered) = open_with(disk.shared(), dir, options).expect("opened");
    assert_eq!((recovered.newest, ids(&log, 1, 0)), (5, vec![0, 1, 2, 3]));
}

#[test]
fn damage_below_what_a_later_frame_knows_to_be_durable_is_refused() {
    let disk = written(false);
    let all = frames(&disk);
    let (start, _, _) = all[2];
    disk.flip_bit(&file(1), start as u64 + 90, 0).expect("it is there");
    let error = open(&disk).err().expect("LSN 3 was acknowledged");
    let expected =
        format!("file \"/d/wal/00000001.wal\", offset {start}, LSN 3: the payload's checksum does not match");
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert_eq!(SqlError::from(error).state.0, "XX001");
}

#[test]
fn a_missing_or_foreign_file_is_refused() {
    let disk = written(true);
    drop(open(&disk).expect("opened"));
    drop(open(&disk).expect("opened"));
    let missing = disk.copy();
    missing.remove(&file(2)).expect("it is there");
    let error = open(&missing).err().expect("a file is missing").to_string();
    assert!(error.ends_with("file \"00000002.wal\" before it is missing"), "{error}");
    let foreign = disk.copy();
    let path = file(1);
    let other = foreign.create(Path::new("/d/other")).expect("new");
    let stranger = written(true);
    // Another salt, for it is another disk's second file.
    drop(open(&stranger).expect("opened"));
    other
        .write_at(0, &[&stranger.content(&file(2)).expect("it is there")])
        .expect("written");
    foreign.rename(Path::new("/d/other"), &path).expect("renamed");
    assert!(matches!(open(&foreign), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_newer_format_is_refused() {
    let disk = written(true);
    let content = disk.content(&file(1)).expect("it is there");
    let mut header = content[..4096].to_vec();
    header[8] = FORMAT_VERSION as u8 + 1;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..96]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    let handle = disk.open(&file(1)).expect("it is there");
    handle.write_at(0, &[&header]).expect("written");
    let error = open(&disk).err().expect("it is newer");
    assert!(
        matches!(error, LogError::NewerFormat { version, .. } if version == FORMAT_VERSION + 1),
        "{error}"
    );
    assert_eq!(SqlError::from(error).state.0, "0A000");
}
