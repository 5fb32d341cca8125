//! Rows that a commit adopts as a file: they are as any others, before and after the file is merged, moved or removed;
//! and a file that no commit adopted goes.

use std::path::PathBuf;

use futures::executor::block_on;

use crate::error::SqlError;
use crate::storage::{Fault, FaultDisk, FaultKind, Space};

use super::super::{image, segment};
use super::*;

const DIR: &str = "/d";

fn open(disk: &FaultDisk, options: &LogOptions) -> Arc<Log> {
    open_with(disk.shared(), Path::new(DIR), options.clone())
        .expect("opened")
        .0
}

fn names(disk: &FaultDisk, dir: &str) -> Vec<String> {
    disk.list(&PathBuf::from(DIR).join(dir)).expect("the directory exists")
}

fn path(dir: &str, name: &str) -> PathBuf {
    Path::new(DIR).join(dir).join(name)
}

/// Rows in a file, written in two pieces.
fn spilled(log: &Log, partition: u32, values: &[(i64, Option<i64>)]) -> Append {
    let mut writer = log.spill(TopicId(1), 1, partition, schema()).expect("begun");
    let (first, second) = values.split_at(values.len() / 2);
    writer.push(rows(first)).expect("written");
    writer.write_out().expect("written");
    writer.push(rows(second)).expect("written");
    Append {
        topic: TopicId(1),
        schema_id: 1,
        partition,
        rows: AppendRows::Spilled(writer.finish().expect("finished").expect("it has rows")),
    }
}

fn commit(log: &Log, appends: Vec<Append>) -> Receipt {
    let commit = Commit {
        appends,
        ..Commit::default()
    };
    block_on(log.commit(commit, Acknowledge::Synced)).expect("committed")
}

fn values(ids: std::ops::Range<i64>) -> Vec<(i64, Option<i64>)> {
    ids.map(|id| (id, Some(NOW_US + id * 1000))).collect()
}

/// Everything of topic 1's rows: partition, offset, id, LSN, timestamp, watermark.
fn all(log: &Log) -> Vec<(u32, u64, i64, Lsn, i64, Option<i64>)> {
    let mut found = Vec::new();
    for chunk in read(log, 1, 0, log.newest()) {
        let ids = chunk.rows.column(0).as_primitive::<Int64Type>();
        let runs = chunk.runs.iter().flat_map(|run| std::iter::repeat_n(run, run.rows));
        for ((row, id), run) in (0..).zip(ids.values()).zip(runs) {
            let offset = chunk.base_offset + row;
            found.push((chunk.partition, offset, *id, run.lsn, run.timestamp_us, run.watermark));
        }
    }
    found
}

/// A log with rows in memory, adopted ones behind them, and others behind those; and the same all from memory.
fn filled(options: &LogOptions) -> (FaultDisk, Arc<Log>) {
    let disks = [true, false].map(|spills| {
        let disk = FaultDisk::new();
        let log = open(&disk, options);
        block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
        let put = |partition: u32, values: &[(i64, Option<i64>)]| match spills {
            true => spilled(&log, partition, values),
            false => append(1, partition, values),
        };
        let mut receipts = vec![commit(&log, vec![append(1, 0, &values(0..3))])];
        // One transaction: in memory before and behind it, of both partitions.
        receipts.push(commit(
            &log,
            vec![
                append(1, 0, &values(3..5)),
                put(0, &values(5..105)),
                put(1, &values(105..107)),
                append(1, 0, &values(107..109)),
                put(0, &values(109..120)),
            ],
        ));
        receipts.push(commit(&log, vec![append(1, 0, &values(120..125))]));
        // Event times that do not count, for they are too far ahead.
        let far = [
            (200, Some(NOW_US + 10 * DAY_US)),
            (201, Some(NOW_US + 201_000)),
            (202, None),
        ];
        receipts.push(commit(&log, vec![put(1, &far)]));
        receipts.push(commit(&log, vec![append(1, 1, &values(203..204))]));
        (disk, log, receipts)
    });
    let [(disk, log, receipts), (_, plain, expected)] = disks;
    let told = |receipts: &[Receipt]| -> Vec<_> {
        let of = |receipt: &Receipt| (receipt.lsn, receipt.timestamp_us, receipt.appended.clone());
        receipts.iter().map(of).collect()
    };
    assert_eq!(told(&receipts), told(&expected), "receipts");
    assert_eq!(all(&log), all(&plain), "rows");
    let (stats, expected) = (log.topic_stats(TopicId(1)), plain.topic_stats(TopicId(1)));
    let (stats, expected) = (stats.expect("it exists"), expected.expect("it exists"));
    assert_eq!(stats.watermark, expected.watermark);
    assert_eq!(stats.newest_event_us, expected.newest_event_us);
    assert_eq!(stats.newest_event_append_us, expected.newest_event_append_us);
    for at in 0..=log.newest() {
        assert_eq!(log.watermark(TopicId(1), at), plain.watermark(TopicId(1), at));
    }
    (disk, log)
}

/// Flushes when it is closed.
fn flushing() -> LogOptions {
    LogOptions {
        image_after_bytes: 1 << 30,
        flush: FlushOptions {
            segment_bytes_min: 1,
            ..tiny().flush
        },
        ..steady()
    }
}

#[test]
fn adopted_rows_are_as_those_in_memory_before_and_after_restart_flush_and_merge() {
    let (disk, log) = filled(&flushing());
    let expected = all(&log);
    let adopted = log.segments(TopicId(1));
    assert_eq!(adopted.len(), 4);
    assert!(adopted.iter().all(|info| info.adoption.is_some()));
    // Partly read: by LSN, and held while all else changes.
    let newest = log.newest();
    assert_eq!(
        read(&log, 1, 2, 3)
            .iter()
            .map(|chunk| chunk.rows.num_rows())
            .sum::<usize>(),
        117
    );
    drop(log);
    let disk = disk.kill();
    let log = open(&disk, &flushing());
    assert_eq!(all(&log), expected, "read from the log");
    close(&log).expect("closed");
    drop(log);
    let log = open(&disk, &flushing());
    assert_eq!(all(&log), expected, "flushed: between segments of both kinds");
    assert_eq!(log.newest(), newest);
    let kinds: Vec<bool> = log
        .segments(TopicId(1))
        .iter()
        .filter(|info| info.partition == 0)
        .map(|info| info.adoption.is_some())
        .collect();
    assert_eq!(kinds, [false, true, false, true, false]);
    drop(log);
    let log = open(&disk, &merging());
    let mut more = 0;
    while log.segments(TopicId(1)).iter().any(|info| info.adoption.is_some()) {
        commit(&log, vec![append(1, more % 2, &values(1000..1020))]);
        log.settle();
        more += 1;
        assert!(more < 1000, "they are never merged");
    }
    let merged: Vec<_> = all(&log).into_iter().filter(|(_, _, id, ..)| *id < 1000).collect();
    assert_eq!(merged, expected, "merged");
    drop(log);
    let log = open(&disk, &merging());
    let merged: Vec<_> = all(&log).into_iter().filter(|(_, _, id, ..)| *id < 1000).collect();
    assert_eq!(merged, expected, "merged, after a restart");
}

#[test]
fn a_file_that_a_commit_adopted_and_that_is_lost_or_another_is_named() {
    let (disk, log) = filled(&steady());
    let lost = log.segments(TopicId(1))[1].clone();
    drop(log);
    let file = path("segments", &segment::file_name(lost.id));
    let refused = |disk: &FaultDisk| {
        let error = open_with(disk.shared(), Path::new(DIR), steady()).err();
        let Some(LogError::Damaged { file: named, .. }) = &error else {
            panic!("it opens: {error:?}")
        };
        assert_eq!(*named, file);
        let damage = check(&disk.shared(), Path::new(DIR)).expect("checked").damage;
        assert_eq!(damage, [error.expect("an error")]);
    };
    let without = disk.copy();
    without.remove(&file).expect("removed");
    refused(&without);
    // Another whole file in its place, of the same size or not.
    let other = disk.copy();
    let content = other
        .content(&path("segments", &names(&disk, "segments")[0]))
        .expect("it is there");
    other.remove(&file).expect("removed");
    other
        .create(&file)
        .expect("created")
        .write_at(0, &[&content])
        .expect("written");
    refused(&other);
    let flipped = disk.copy();
    flipped.flip_bit(&file, lost.bytes - 20, 3).expect("flipped");
    refused(&flipped);
    // A damaged batch is an error of its reader; nothing else is concerned.
    let inside = disk.copy();
    inside.flip_bit(&file, 300, 3).expect("flipped");
    let damage = check(&inside.shared(), Path::new(DIR)).expect("checked").damage;
    assert!(
        matches!(damage.as_slice(), [LogError::Damaged { file: named, .. }] if *named == file),
        "{damage:?}"
    );
    drop(open(&inside, &steady()));
}

#[test]
fn files_that_no_commit_adopts_go_with_their_transaction() {
    let disk = FaultDisk::new();
    let log = open(&disk, &flushing());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    let unfinished = log.spill(TopicId(1), 1, 0, schema()).expect("begun");
    let finished = spilled(&log, 1, &values(0..10));
    let second = finished.clone();
    assert_eq!(names(&disk, "segments").len(), 2);
    drop(unfinished);
    drop(finished);
    assert_eq!(names(&disk, "segments").len(), 1, "somebody has it yet");
    drop(second);
    assert_eq!(names(&disk, "segments"), [""; 0]);
    // A commit that is refused.
    let stale = Append {
        schema_id: 7,
        ..spilled(&log, 0, &values(0..10))
    };
    let refused = Commit {
        appends: vec![stale],
        ..Commit::default()
    };
    let error = block_on(log.commit(refused, Acknowledge::Synced)).err();
    assert_eq!(error, Some(LogError::StaleSchema { topic: TopicId(1) }));
    assert_eq!(names(&disk, "segments"), [""; 0]);
    // Of rows for a topic that the same commit drops, nothing is kept.
    let nobody = Commit {
        appends: vec![spilled(&log, 0, &values(0..10))],
        ddl: Some(Ddl {
            based_on: 1,
            record: b"drop".to_vec(),
            topics: vec![TopicChange::Drop(TopicId(1))],
        }),
        ..Commit::default()
    };
    block_on(log.commit(nobody, Acknowledge::Synced)).expect("committed");
    assert_eq!(names(&disk, "segments"), [""; 0]);
}

#[test]
fn a_flush_leaves_the_files_of_transactions_under_way_alone() {
    let disk = FaultDisk::new();
    let log = open(&disk, &tiny());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    let mut unfinished = log.spill(TopicId(1), 1, 0, schema()).expect("begun");
    let finished = spilled(&log, 1, &values(0..10));
    for i in 0..400 {
        commit(&log, vec![append(1, 0, &values(1000 + i..1003 + i))]);
    }
    log.settle();
    assert!(log.stats().image_lsn.is_some(), "it has been flushed");
    unfinished.push(rows(&values(10..20))).expect("written");
    let unfinished = Append {
        partition: 0,
        rows: AppendRows::Spilled(unfinished.finish().expect("finished").expect("it has rows")),
        ..finished.clone()
    };
    commit(&log, vec![unfinished, finished]);
    assert_eq!(ids(&log, 1, 1), (0..10).collect::<Vec<_>>());
    assert!(ids(&log, 1, 0).ends_with(&(10..20).collect::<Vec<_>>()));
}

#[test]
fn files_of_transactions_that_a_crash_ended_are_removed_at_the_start() {
    for dies in [true, false] {
        let disk = FaultDisk::new();
        let log = open(&disk, &flushing());
        block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
        let adopted = spilled(&log, 0, &values(0..10));
        commit(&log, vec![adopted]);
        let finished = spilled(&log, 1, &values(10..20));
        let unfinished = log.spill(TopicId(1), 1, 0, schema()).expect("begun");
        assert_eq!(names(&disk, "segments").len(), 3);
        let after = if dies { disk.kill() } else { disk.reboot(7) };
        drop((finished, unfinished, log));
        let log = open(&after, &flushing());
        assert_eq!(names(&after, "segments").len(), 1);
        // Ids are not given again.
        let next = spilled(&log, 0, &values(20..30));
        commit(&log, vec![next]);
        let ids: Vec<u64> = log.segments(TopicId(1)).iter().map(|info| info.id).collect();
        assert!(ids[1] > ids[0]);
        assert_eq!(super::ids(&log, 1, 0), (0..10).chain(20..30).collect::<Vec<_>>());
    }
}

#[test]
fn a_commit_whose_outcome_nobody_knows_keeps_its_file() {
    let disk = FaultDisk::new();
    let log = open(&disk, &flushing());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    let append = spilled(&log, 0, &values(0..10));
    // Its write comes to the page cache, and the sync fails.
    disk.plan(Fault {
        kind: FaultKind::FailSync,
        nth: 1,
    });
    let failed = Commit {
        appends: vec![append],
        ..Commit::default()
    };
    let error = block_on(log.commit(failed, Acknowledge::Synced)).expect_err("it fails");
    assert_eq!(SqlError::from(error).state.0, "08007");
    assert_eq!(names(&disk, "segments").len(), 1);
    drop(log);
    let disk = disk.kill();
    let log = open(&disk, &flushing());
    assert_eq!(ids(&log, 1, 0), (0..10).collect::<Vec<_>>());
}

#[test]
fn an_older_image_and_the_log_find_the_files_that_were_merged_since() {
    let options = merging();
    let disk = FaultDisk::new();
    let log = open(&disk, &options);
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    let images = |log: &Log| {
        log.settle();
        log.stats().image_lsn
    };
    let mut next = 0;
    let mut more = |log: &Log| {
        commit(log, vec![append(1, 0, &values(next..next + 5))]);
        next += 5;
    };
    // Two images first.
    let mut count = 0;
    let mut seen = None;
    while count < 2 {
        more(&log);
        let image = images(&log);
        count += usize::from(image != seen);
        seen = image;
    }
    // Adopted, then merged in the flush of the next image.
    let values_of = |ids| values(ids);
    for ids in [10_000..10_040, 10_040..10_080, 10_080..10_120] {
        let append = spilled(&log, 0, &values_of(ids));
        commit(&log, vec![append]);
    }
    while log.segments(TopicId(1)).iter().any(|info| info.adoption.is_some()) {
        more(&log);
        log.settle();
    }
    let before = all(&log);
    let listed = image::list(disk.shared().as_ref(), &Path::new(DIR).join("meta")).expect("listed");
    assert_eq!(listed.len(), 2);
    // A start removes nothing that the older image needs.
    for restarts in [false, true] {
        let copy = disk.copy();
        if restarts {
            drop(open(&copy, &LogOptions { ..steady() }));
        }
        let damage = check(&copy.shared(), Path::new(DIR)).expect("checked");
        assert_eq!((damage.damage, damage.unused_segments), (Vec::new(), 0));
        copy.flip_bit(&path("meta", &image::file_name(listed[1])), 40, 1)
            .expect("flipped");
        let log = open(&copy, &options);
        assert_eq!(log.stats().image_lsn, Some(listed[0]));
        assert_eq!(all(&log), before);
    }
    // Once both images are from after it, they go.
    let mut rounds = 0;
    loop {
        more(&log);
        let checked = check_running(&disk);
        let listed = image::list(disk.shared().as_ref(), &Path::new(DIR).join("meta")).expect("listed");
        if checked == 0 && listed[0] > before.last().expect("there are rows").3 {
            break;
        }
        rounds += 1;
        assert!(rounds < 2000, "files are never given up");
    }
    assert!(log.segments(TopicId(1)).iter().all(|info| info.adoption.is_none()));
}

/// Segment files that nobody needs.
fn check_running(disk: &FaultDisk) -> usize {
    let copy = disk.copy();
    let checked = check(&copy.shared(), Path::new(DIR)).expect("checked");
    assert_eq!(checked.damage, []);
    checked.unused_segments
}

#[test]
fn a_disk_without_room_refuses_the_file_and_nothing_is_lost() {
    let gib = 1 << 30;
    let disk = FaultDisk::new();
    disk.set_space(Space {
        total: 1000 * gib,
        available: 100 * gib,
    });
    let log = open(&disk, &steady());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    let append = spilled(&log, 0, &values(0..10));
    let available = |available| {
        disk.set_space(Space {
            total: 1000 * gib,
            available,
        });
    };
    // A writer of many rows looks at once.
    available(gib);
    let error = log.spill(TopicId(1), 1, 0, schema()).expect_err("refused");
    assert_eq!(SqlError::from(error).state.0, "53100");
    available(100 * gib);
    let mut writer = log.spill(TopicId(1), 1, 0, schema()).expect("begun");
    disk.plan(Fault {
        kind: FaultKind::FailWrite,
        nth: 1,
    });
    writer.push(rows(&values(10..20))).expect("in memory");
    let error = writer.finish().expect_err("the disk fails");
    assert_eq!(SqlError::from(error).state.0, "58030");
    commit(&log, vec![append]);
    assert_eq!(ids(&log, 1, 0), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_backup_has_the_files_that_commits_adopted() {
    for closes in [false, true] {
        let (disk, log) = filled(&flushing());
        let expected = all(&log);
        if closes {
            close(&log).expect("closed");
            drop(log);
            let log = open(&disk, &flushing());
            commit(&log, vec![spilled(&log, 0, &values(3000..3010))]);
            drop(log);
        }
        let to = Path::new("/copy");
        backup(&disk.shared(), Path::new(DIR), to, false).expect("backed up");
        let (log, _) = open_with(disk.shared(), to, flushing()).expect("it opens");
        let found: Vec<_> = all(&log).into_iter().filter(|(_, _, id, ..)| *id < 3000).collect();
        assert_eq!(found, expected);
        assert_eq!(all(&log).len(), expected.len() + if closes { 10 } else { 0 });
    }
}

#[test]
fn a_repair_names_the_rows_of_a_lost_file_and_keeps_all_others() {
    let (disk, log) = filled(&flushing());
    let before = all(&log);
    let lost = log.segments(TopicId(1))[0].clone();
    drop(log);
    disk.remove(&path("segments", &segment::file_name(lost.id)))
        .expect("removed");
    for applies in [false, true] {
        let repaired = repair(&disk.shared(), Path::new(DIR), applies).expect("repaired");
        assert_eq!((repaired.damage.len(), repaired.commits), (1, None));
        let [rows] = repaired.rows.as_slice() else {
            panic!("rows of one file: {:?}", repaired.rows)
        };
        assert_eq!((rows.first_offset, rows.rows), (lost.base_offset, lost.rows));
        assert_eq!((rows.first_lsn, rows.last_lsn), (lost.first_lsn, lost.last_lsn));
    }
    let checked = check(&disk.shared(), Path::new(DIR)).expect("checked");
    assert_eq!(checked.damage, []);
    let is_lost = |partition: u32, offset: u64| {
        partition == lost.partition && (lost.base_offset..lost.end_offset()).contains(&offset)
    };
    let kept: Vec<_> = before
        .into_iter()
        .filter(|(partition, offset, ..)| !is_lost(*partition, *offset))
        .collect();
    let log = open(&disk, &flushing());
    assert_eq!(all(&log), kept);
    // It goes on.
    commit(&log, vec![append(1, 0, &values(500..510))]);
    drop(log);
    let log = open(&disk, &flushing());
    assert_eq!(all(&log).len(), kept.len() + 10);
}
