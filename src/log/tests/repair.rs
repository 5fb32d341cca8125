//! Damage of each kind: a check names it, a repair names its cost and makes it good, and the rest is as before.

use std::collections::BTreeSet;
use std::path::PathBuf;

use futures::executor::block_on;

use crate::storage::FaultDisk;

use super::super::image::{self, Image};
use super::super::{segment, wal};
use super::*;

const DIR: &str = "/d";
/// Of a group with one small commit, and of the header of a file of the log.
const GROUP_BYTES: u64 = 4096;

/// Flushes all the time, into segments of several batches.
fn small() -> LogOptions {
    LogOptions {
        wal_file_bytes_max: 64 << 10,
        ..tiny()
    }
}

/// Commit number `i`: three rows, in turn over topic 1's partitions. After the creation it has LSN `i + 2`.
fn commit(log: &Log, i: i64) {
    let values = [(i * 3, Some(NOW_US + i)), (i * 3 + 1, None), (i * 3 + 2, None)];
    block_on(log.commit(insert(1, (i % 2) as u32, &values), Acknowledge::Synced)).expect("inserted");
}

/// A log with that many commits, not closed in order.
fn filled(options: LogOptions, commits: i64) -> FaultDisk {
    let disk = FaultDisk::new();
    let (log, _) = open_with(disk.shared(), Path::new(DIR), options).expect("opened");
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    (0..commits).for_each(|i| commit(&log, i));
    drop(log);
    disk
}

fn path(dir: &str, name: &str) -> PathBuf {
    Path::new(DIR).join(dir).join(name)
}

fn names(disk: &FaultDisk, dir: &str) -> Vec<String> {
    disk.list(&Path::new(DIR).join(dir)).expect("the directory exists")
}

/// Ids of topic 1 by partition and offset.
fn rows_of(disk: &FaultDisk) -> BTreeSet<(u32, u64, i64)> {
    let (log, _) = open_with(disk.copy().shared(), Path::new(DIR), steady()).expect("it opens");
    let mut found = BTreeSet::new();
    for chunk in read(&log, 1, 0, log.newest()) {
        let ids = chunk.rows.column(0).as_primitive::<Int64Type>();
        found.extend(
            (0..chunk.base_offset.max(ids.len() as u64))
                .zip(ids.values())
                .map(|(row, id)| (chunk.partition, chunk.base_offset + row, *id)),
        );
    }
    found
}

fn damage(disk: &FaultDisk) -> Vec<LogError> {
    super::check(&disk.shared(), Path::new(DIR))
        .expect("it can be checked")
        .damage
}

/// Repairs a damaged disk: says the same before it does it, changes nothing before that, leaves nothing damaged, and the
/// log goes on.
fn repaired(disk: &FaultDisk) -> Repaired {
    assert!(!damage(disk).is_empty(), "the check is red before");
    let dir = Path::new(DIR);
    let operations = disk.operations();
    let planned = repair(&disk.shared(), dir, false).expect("a plan");
    assert_eq!(disk.operations(), operations, "nothing is written");
    assert!(!damage(disk).is_empty(), "nothing was changed");
    let done = repair(&disk.shared(), dir, true).expect("repaired");
    assert_eq!(
        (&planned.commits, &planned.rows, &planned.lost_files),
        (&done.commits, &done.rows, &done.lost_files)
    );
    assert_eq!(names(disk, "lost").len(), done.lost_files.len());
    assert_eq!(damage(disk), [], "the check is green after");
    assert!(
        repair(&disk.shared(), dir, true)
            .expect("nothing to do")
            .damage
            .is_empty()
    );
    // It goes on, with flushes, restarts and all.
    let again = disk.copy();
    let before = rows_of(&again);
    let (log, _) = open_with(again.shared(), dir, small()).expect("opened");
    (0..100).for_each(|i| commit(&log, 10_000 + i));
    drop(log);
    assert_eq!(damage(&again), []);
    let after = rows_of(&again);
    assert!(after.is_superset(&before) && after.len() == before.len() + 300, "L2");
    done
}

#[test]
fn a_log_that_is_damaged_below_what_was_acknowledged_is_cut_there() {
    let disk = filled(steady(), 20);
    let before = rows_of(&disk);
    // The group of commit number 10: LSN 12.
    disk.flip_bit(&path("wal", "00000001.wal"), GROUP_BYTES * 12 + 90, 3)
        .expect("it is there");
    let done = repaired(&disk);
    let lost = done.commits.expect("commits are lost");
    assert_eq!((lost.after, lost.newest_seen), (11, Some(21)));
    // The damaged one cannot be counted.
    assert_eq!((lost.rows, lost.catalog), (vec![(TopicId(1), 27)], Vec::new()));
    let kept: BTreeSet<_> = before.into_iter().filter(|(.., id)| *id < 30).collect();
    assert_eq!(rows_of(&disk), kept);
}

#[test]
fn files_of_the_log_behind_damage_are_kept_aside() {
    let options = LogOptions {
        wal_file_bytes_max: 32 << 10,
        ..steady()
    };
    for at in [100, 20] {
        let disk = filled(options.clone(), 40);
        let before = rows_of(&disk);
        let files = names(&disk, "wal").len();
        assert!(files > 4, "{files} files");
        // In the header of the third file, or in a group of the second.
        let (name, offset) = match at {
            100 => ("00000003.wal", 30),
            _ => ("00000002.wal", GROUP_BYTES * 2 + 90),
        };
        disk.flip_bit(&path("wal", name), offset, 3).expect("it is there");
        let done = repaired(&disk);
        let lost = done.commits.expect("commits are lost");
        assert_eq!(lost.newest_seen, Some(41));
        assert_eq!(done.lost_files.len(), files - 1);
        let kept: BTreeSet<_> = before
            .into_iter()
            .filter(|(.., id)| id / 3 + 2 <= lost.after as i64)
            .collect();
        assert_eq!(rows_of(&disk), kept);
        assert!(!kept.is_empty());
    }
}

#[test]
fn a_log_that_is_damaged_after_an_image_keeps_what_the_image_has() {
    let source = filled(small(), 150);
    let (log, _) = open_with(source.shared(), Path::new(DIR), steady()).expect("opened");
    (150..160).for_each(|i| commit(&log, i));
    drop(log);
    let image = newest_images(&source, 1).remove(0).position;
    let wal = path("wal", &wal::file_name(image.sequence));
    let newest = path("wal", &names(&source, "wal").pop().expect("there are files"));
    assert_ne!(wal, newest);
    let before = rows_of(&source);
    // The image's file: its header, all of it. The newest file: its second group.
    for (case, after) in [(0, image.last_lsn), (1, image.last_lsn), (2, 152)] {
        let disk = source.copy();
        match case {
            0 => disk.flip_bit(&wal, 17, 1).expect("it is there"),
            1 => disk.remove(&wal).expect("it is there"),
            _ => disk.flip_bit(&newest, GROUP_BYTES * 2 + 100, 1).expect("it is there"),
        }
        let done = repaired(&disk);
        let lost = done.commits.expect("commits are lost");
        assert_eq!((lost.after, lost.newest_seen), (after, Some(161)), "case {case}");
        let kept = before.iter().filter(|(.., id)| id / 3 + 2 <= after as i64).copied();
        assert_eq!(rows_of(&disk), kept.collect(), "case {case}");
    }
}

/// Newest first.
fn newest_images(disk: &FaultDisk, count: usize) -> Vec<Image> {
    let names = names(disk, "meta");
    let read = |name: &String| image::read(disk, &path("meta", name)).expect("it is whole");
    names.iter().rev().take(count).map(read).collect()
}

#[test]
fn a_damaged_image_costs_nothing_while_the_other_one_is_whole() {
    let source = filled(small(), 150);
    let before = rows_of(&source);
    for name in names(&source, "meta") {
        let disk = source.copy();
        disk.flip_bit(&path("meta", &name), 200, 1).expect("it is there");
        let done = repaired(&disk);
        assert_eq!((done.commits, done.rows), (None, vec![]));
        assert_eq!(done.lost_files, [path("meta", &name)]);
        assert_eq!(rows_of(&disk), before);
    }
}

#[test]
fn images_under_each_others_names_cost_nothing() {
    let source = filled(small(), 150);
    let before = rows_of(&source);
    let images = names(&source, "meta");
    assert_eq!(images.len(), 2);
    let (one, other, aside) = (path("meta", &images[0]), path("meta", &images[1]), Path::new("/aside"));
    for (from, to) in [(one.as_path(), aside), (&other, &one), (aside, &other)] {
        source.rename(from, to).expect("renamed");
    }
    assert!(open_with(source.shared(), Path::new(DIR), steady()).is_err());
    let said = damage(&source);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].to_string().contains("under another name"), "{said:?}");
    let done = repaired(&source);
    assert_eq!((done.commits, done.rows), (None, vec![]));
    assert_eq!(rows_of(&source), before);
}

#[test]
fn without_an_image_the_log_alone_must_go_back_to_its_beginning() {
    // In one file from the first commit on.
    let young = LogOptions {
        wal_file_bytes_max: 4 << 20,
        ..tiny()
    };
    for (options, is_young) in [(young, true), (small(), false)] {
        let disk = filled(options, 200);
        let before = rows_of(&disk);
        for name in names(&disk, "meta") {
            disk.flip_bit(&path("meta", &name), 200, 1).expect("it is there");
        }
        if is_young {
            let done = repaired(&disk);
            assert_eq!((done.commits, done.rows, done.image_lsn), (None, vec![], None));
            assert_eq!(rows_of(&disk), before);
        } else {
            let operations = disk.operations();
            let refused = repair(&disk.shared(), Path::new(DIR), true).expect_err("nothing can be saved");
            assert!(matches!(refused, LogError::Irreparable { .. }), "{refused:?}");
            assert_eq!(disk.operations(), operations);
        }
    }
}

#[test]
fn a_damaged_segment_loses_its_damaged_batches_and_no_more() {
    let source = filled(small(), 150);
    let before = rows_of(&source);
    let segment = names(&source, "segments").remove(1);
    let size = source.content(&path("segments", &segment)).expect("it is there").len() as u64;
    let mut lost_rows = BTreeSet::new();
    // In batches; in the index, which loses all of it; in the trailer.
    for offset in [70, size / 4, size / 2, size - 100, size - 3] {
        let disk = source.copy();
        disk.flip_bit(&path("segments", &segment), offset, 1)
            .expect("it is there");
        if damage(&disk).is_empty() {
            // Between two batches nothing means anything.
            continue;
        }
        check_lost(&disk, &before, &mut lost_rows);
        assert!(names(&disk, "lost").contains(&segment));
    }
    let disk = source.copy();
    disk.remove(&path("segments", &segment)).expect("it is there");
    check_lost(&disk, &before, &mut lost_rows);
    assert!(lost_rows.len() > 1, "{lost_rows:?}");
}

/// Repairs; exactly the rows that it names are gone.
fn check_lost(disk: &FaultDisk, before: &BTreeSet<(u32, u64, i64)>, lost_rows: &mut BTreeSet<u64>) {
    let done = repaired(disk);
    assert_eq!(done.commits, None);
    let lost = |partition: u32, offset: u64| {
        let of = |lost: &&LostRows| {
            lost.partition == partition && (lost.first_offset..lost.first_offset + lost.rows).contains(&offset)
        };
        done.rows.iter().find(of)
    };
    let after = rows_of(disk);
    for row in before {
        let (partition, offset, id) = *row;
        let lost = lost(partition, offset);
        assert_eq!(after.contains(row), lost.is_none(), "{row:?}");
        if let Some(lost) = lost {
            let lsn = (id / 3 + 2) as Lsn;
            assert!((lost.first_lsn..=lost.last_lsn).contains(&lsn), "{row:?}: {lost:?}");
            assert_eq!((lost.first_us, lost.last_us), (NOW_US, NOW_US));
        }
    }
    assert!(after.is_subset(before));
    lost_rows.insert(done.rows.iter().map(|lost| lost.rows).sum());
}

#[test]
fn a_damaged_segment_that_the_log_still_has_costs_nothing() {
    let (disk, newest) = (0..)
        .find_map(|more| {
            let disk = filled(small(), 150 + more);
            let images = newest_images(&disk, 2);
            let older: Vec<u64> = images[1].segments().map(|segment| segment.id).collect();
            let newer = images[0].segments().find(|segment| !older.contains(&segment.id))?.id;
            Some((disk, newer))
        })
        .expect("numbers do not end");
    let before = rows_of(&disk);
    disk.flip_bit(&path("segments", &segment::file_name(newest)), 100, 1)
        .expect("it is there");
    let done = repaired(&disk);
    assert_eq!((done.commits, done.rows), (None, vec![]));
    assert_eq!(rows_of(&disk), before);
}

#[test]
fn a_repair_that_is_cut_off_can_be_begun_again() {
    use crate::storage::{Fault, FaultKind};
    let source = filled(small(), 200);
    let segment = names(&source, "segments").remove(0);
    source
        .flip_bit(&path("segments", &segment), 100, 1)
        .expect("it is there");
    let image = newest_images(&source, 1).remove(0).position;
    let wal = path("wal", &wal::file_name(image.sequence));
    source.flip_bit(&wal, image.end + 100, 1).expect("it is there");
    let whole = source.copy();
    repair(&whole.shared(), Path::new(DIR), true).expect("repaired");
    let expected = rows_of(&whole);
    for nth in 1.. {
        let disk = source.copy();
        let kind = FaultKind::PowerCut;
        disk.plan(Fault { kind, nth });
        let cut_off = repair(&disk.shared(), Path::new(DIR), true).is_err();
        for seed in 0..2 {
            let after = disk.reboot(nth * 10 + seed);
            repair(&after.shared(), Path::new(DIR), true).expect("repaired");
            assert_eq!(damage(&after), []);
            assert_eq!(rows_of(&after), expected, "cut at operation {nth}");
        }
        if !cut_off {
            assert!(nth > 10, "{nth} operations");
            break;
        }
    }
}
