//! Rows that have left memory: they are read as before, restarts know them, unneeded files go away, and damage to
//! them is reported.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use arrow::array::Array;
use futures::executor::block_on;

use crate::error::SqlError;
use crate::storage::{DiskFile, DiskLock, FaultDisk, Purpose, Space};

use super::super::segment;
use super::*;

const DIR: &str = "/d";

fn open(disk: &FaultDisk, options: &LogOptions) -> Arc<Log> {
    open_with(disk.shared(), Path::new(DIR), options.clone())
        .expect("opened")
        .0
}

/// Topic 1 with `commits` commits of three rows in turn over its partitions.
fn fill(log: &Log, commits: i64) {
    for i in 0..commits {
        let values = [(i * 3, Some(NOW_US + i)), (i * 3 + 1, None), (i * 3 + 2, None)];
        let insert = insert(1, (i % 2) as u32, &values);
        block_on(log.commit(insert, Acknowledge::Synced)).expect("inserted");
    }
}

fn expected(commits: i64, partition: i64) -> Vec<i64> {
    let mine = (0..commits).filter(|i| i % 2 == partition);
    mine.flat_map(|i| [i * 3, i * 3 + 1, i * 3 + 2]).collect()
}

fn names(disk: &FaultDisk, dir: &str) -> Vec<String> {
    disk.list(&PathBuf::from(DIR).join(dir)).expect("the directory exists")
}

fn segments(log: &Log) -> u64 {
    let stats = log.topic_stats(TopicId(1)).expect("the topic exists");
    stats.partitions.iter().map(|partition| partition.segments).sum()
}

#[test]
fn rows_in_segments_are_read_as_those_in_memory() {
    let disk = FaultDisk::new();
    let log = open(&disk, &tiny());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    fill(&log, 400);
    assert!(segments(&log) > 4, "{} segments", segments(&log));
    for partition in 0..2 {
        assert_eq!(ids(&log, 1, partition), expected(400, i64::from(partition)));
    }
    // The commit at LSN n + 2 is number n.
    for (after, upto) in [(0, 401), (1, 2), (5, 5), (7, 140), (63, 66), (200, 201), (399, 401)] {
        let mut found: Vec<i64> = read(&log, 1, after, upto)
            .iter()
            .flat_map(|chunk| chunk.rows.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        found.sort_unstable();
        let commits = (after as i64 - 1).max(0)..(upto as i64 - 1);
        let expected: Vec<i64> = commits.flat_map(|i| [i * 3, i * 3 + 1, i * 3 + 2]).collect();
        assert_eq!(found, expected, "after {after} up to {upto}");
    }
    // Each row still carries the watermark from before its commit.
    for chunk in read(&log, 1, 0, log.newest()) {
        let watermarks = chunk.system_column(HiddenColumn::Watermark, None);
        let watermarks = watermarks.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        let ids = chunk.rows.column(0).as_primitive::<Int64Type>();
        for row in 0..chunk.rows.num_rows() {
            let commit = ids.value(row) / 3;
            let before = (commit > 0).then(|| NOW_US + commit - 1 - 1_000_000);
            assert_eq!(watermarks.is_valid(row).then(|| watermarks.value(row)), before);
        }
    }
}

#[test]
fn segments_are_merged_and_read_the_same() {
    let disk = FaultDisk::new();
    let log = open(&disk, &merging());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    fill(&log, 1200);
    log.settle();
    let infos = log.segments(TopicId(1));
    assert!(infos.iter().filter(|info| info.is_merged).count() > 1, "{infos:?}");
    assert!(infos.len() < 60, "{} segments", infos.len());
    for partition in 0..2 {
        assert_eq!(ids(&log, 1, partition), expected(1200, i64::from(partition)));
    }
    for (after, upto) in [(0, 1201), (5, 5), (7, 140), (463, 466), (1199, 1201)] {
        let found: usize = read(&log, 1, after, upto)
            .iter()
            .map(|chunk| chunk.rows.num_rows())
            .sum();
        assert_eq!(found as u64, (upto - after.max(1)) * 3, "after {after} up to {upto}");
    }
    // Of the merged segments only those are left that the older image names, and a restart knows them.
    close(&log).expect("closed");
    drop(log);
    let log = open(&disk, &merging());
    assert_eq!(ids(&log, 1, 1), expected(1200, 1));
    fill(&log, 400);
    log.settle();
    let named = log.segments(TopicId(1)).len();
    let files = names(&disk, "segments").len();
    assert!(files < 2 * named + 20, "{files} files, {named} segments");
    drop(log);
    let checked = super::check(&disk.shared(), Path::new(DIR)).expect("checked");
    assert_eq!((checked.damage, checked.unused_segments), (Vec::new(), 0));
}

#[test]
fn segments_are_merged_without_quiet_once_they_have_waited() {
    for (latest_ms, merges) in [(0, true), (u64::MAX, false)] {
        let disk = FaultDisk::new();
        let mut options = merging();
        options.flush.merge.after_ms = 1 << 40;
        options.flush.merge.latest_ms = latest_ms;
        let log = open(&disk, &options);
        block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
        fill(&log, 400);
        log.settle();
        let segments = log.segments(TopicId(1));
        assert_eq!(segments.iter().any(|info| info.is_merged), merges, "{segments:?}");
        let rows: usize = read(&log, 1, 0, log.newest())
            .iter()
            .map(|chunk| chunk.rows.num_rows())
            .sum();
        assert_eq!(rows, 1200);
    }
}

#[test]
fn merging_goes_on_after_a_restart_without_a_flush() {
    let disk = FaultDisk::new();
    let log = open(&disk, &tiny());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    fill(&log, 400);
    close(&log).expect("closed");
    drop(log);
    // Quiet from the first moment on: a millisecond of it will do.
    let mut options = merging();
    options.seal_after_ms = 1;
    options.flush.merge.after_ms = 1;
    let log = open(&disk, &options);
    let before = log.segments(TopicId(1)).len();
    assert!(before > 10, "{before} segments");
    while !log.segments(TopicId(1)).iter().any(|segment| segment.is_merged) {
        std::thread::yield_now();
    }
    for partition in 0..2 {
        assert_eq!(ids(&log, 1, partition), expected(400, i64::from(partition)));
    }
}

#[test]
fn a_merged_segment_has_the_columns_of_today_and_a_damaged_one_is_left_alone() {
    let disk = FaultDisk::new();
    let log = open(&disk, &tiny());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    fill(&log, 200);
    log.settle();
    let before = log.segments(TopicId(1));
    drop(log);
    let damaged = PathBuf::from(DIR)
        .join("segments")
        .join(names(&disk, "segments")[4].clone());
    // Of the second column: the first is about to go.
    disk.flip_bit(&damaged, 900, 5).expect("it is there");
    let log = open(&disk, &merging());
    let fields = schema().fields().iter().skip(1).cloned().collect::<Vec<_>>();
    let fields: Vec<Field> = (2..)
        .zip(fields)
        .map(|(id, field)| column_field(field.as_ref().clone(), id, None))
        .collect();
    let altered = TopicSpec {
        schema_id: 2,
        schema: Arc::new(Schema::new(fields)),
        event_time: None,
        ..spec(1)
    };
    let alter = Commit {
        ddl: Some(Ddl {
            based_on: 1,
            record: b"alter".to_vec(),
            topics: vec![TopicChange::Alter(altered)],
        }),
        ..Commit::default()
    };
    block_on(log.commit(alter, Acknowledge::Synced)).expect("altered");
    for _ in 0..600 {
        let mut insert = insert(1, 0, &[(1, None)]);
        insert.appends[0].schema_id = 2;
        let rows = insert.appends[0].rows.memory().expect("in memory");
        insert.appends[0].rows = rows.project(&[1, 2]).expect("two columns").into();
        block_on(log.commit(insert, Acknowledge::Synced)).expect("inserted");
    }
    log.settle();
    let after = log.segments(TopicId(1));
    assert!(
        after.iter().any(|info| info.is_merged && info.schema_id == 2),
        "{after:?}"
    );
    assert!(
        after.len() < before.len(),
        "{} segments of {}",
        after.len(),
        before.len()
    );
    let mut whole = 0;
    for extent in log.read(&reader(&log, 1), 0, log.newest()).expect("the topic exists") {
        match extent.load() {
            Ok(chunk) => whole += chunk.map_or(0, |chunk| chunk.rows.num_rows()),
            Err(error) => assert!(matches!(error, LogError::Damaged { .. }), "{error}"),
        }
    }
    assert!((1190..1200).contains(&whole), "{whole} rows of 1200 are whole");
}

#[test]
fn a_segment_knows_the_bounds_of_its_batches() {
    let disk = FaultDisk::new();
    let log = open(&disk, &tiny());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    fill(&log, 100);
    let mut batches = 0;
    for extent in log.read(&reader(&log, 1), 0, log.newest()).expect("the topic exists") {
        let Extent::Stored(stored) = extent else { continue };
        batches += 1;
        let chunk = stored.load(Some(&[1, 0])).expect("it is whole").expect("it has rows");
        let (min, max) = stored.column_bounds(0).expect("integers have bounds");
        let ids = chunk.rows.column(1).as_primitive::<Int64Type>();
        assert_eq!(min.as_primitive::<Int64Type>().value(0), ids.values()[0]);
        assert_eq!(max.as_primitive::<Int64Type>().value(0), ids.values()[ids.len() - 1]);
        let nulls = stored.column_nulls(1).expect("nulls are counted");
        let nulls = nulls.as_primitive::<arrow::datatypes::UInt64Type>().value(0);
        assert_eq!(nulls, chunk.rows.column(0).null_count() as u64);
        let bounds = stored.bounds();
        assert_eq!(
            (bounds.first_offset, bounds.first_lsn),
            (chunk.base_offset, chunk.first_lsn())
        );
        assert_eq!(bounds.last_lsn, chunk.last_lsn());
    }
    assert!(batches > 50, "{batches} batches");
}

#[test]
fn a_restart_reads_the_newest_image_and_the_log_after_it() {
    let disk = FaultDisk::new();
    let log = open(&disk, &tiny());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    fill(&log, 300);
    let stats = log.topic_stats(TopicId(1)).expect("the topic exists");
    for clean in [false, true] {
        if clean {
            close(&log).expect("closed");
        }
        let copy = disk.copy();
        let (again, recovered) = open_with(copy.shared(), Path::new(DIR), tiny()).expect("opened");
        assert_eq!((recovered.newest, recovered.rows, recovered.clean), (301, 900, clean));
        assert_eq!(recovered.catalog.len(), 1);
        for partition in 0..2 {
            assert_eq!(ids(&again, 1, partition), expected(300, i64::from(partition)));
        }
        let known = again.topic_stats(TopicId(1)).expect("the topic exists");
        assert_eq!(
            (known.watermark, known.newest_event_us, known.newest_append_us),
            (stats.watermark, stats.newest_event_us, stats.newest_append_us)
        );
        let receipt = block_on(again.commit(insert(1, 0, &[(-1, None)]), Acknowledge::Synced)).expect("inserted");
        assert_eq!((receipt.lsn, receipt.appended[0].base_offset), (302, 450));
        assert_eq!(receipt.appended[0].watermark, stats.watermark);
    }
}

#[test]
fn the_log_is_given_up_behind_the_older_image() {
    let disk = FaultDisk::new();
    let options = LogOptions {
        wal_file_bytes_max: 32 << 10,
        ..tiny()
    };
    let log = open(&disk, &options);
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    fill(&log, 600);
    // Once it has ended no flush goes on.
    drop(log);
    let wal = names(&disk, "wal");
    assert!(!wal.contains(&"00000001.wal".to_string()), "{wal:?}");
    assert!(wal.len() < 5, "{wal:?}");
    let images = names(&disk, "meta");
    assert_eq!(images.len(), 2, "{images:?}");
    // A damaged image costs nothing: the other one and the log after it remain.
    for image in &images {
        let damaged = disk.copy();
        let path = PathBuf::from(DIR).join("meta").join(image);
        damaged.flip_bit(&path, 200, 3).expect("it is there");
        let again = open(&damaged, &options);
        assert_eq!(again.stats().wal_files, names(&damaged, "wal").len() as u64);
        for partition in 0..2 {
            assert_eq!(ids(&again, 1, partition), expected(600, i64::from(partition)));
        }
        fill(&again, 10);
        drop(again);
        open(&damaged, &options);
    }
    let damaged = disk.copy();
    for image in &images {
        let path = PathBuf::from(DIR).join("meta").join(image);
        damaged.flip_bit(&path, 200, 3).expect("it is there");
    }
    let refused = open_with(damaged.shared(), Path::new(DIR), options).err();
    assert!(matches!(refused, Some(LogError::Corrupt { .. })), "{refused:?}");
}

#[test]
fn a_dropped_topics_segments_go_once_nobody_reads_them() {
    let disk = FaultDisk::new();
    let log = open(&disk, &tiny());
    block_on(log.commit(create(0, &[1, 2]), Acknowledge::Synced)).expect("created");
    fill(&log, 200);
    let reader = log.read(&reader(&log, 1), 0, log.newest()).expect("the topic exists");
    let dropped = Commit {
        ddl: Some(Ddl {
            based_on: 1,
            record: b"drop".to_vec(),
            topics: vec![TopicChange::Drop(TopicId(1))],
        }),
        ..Commit::default()
    };
    block_on(log.commit(dropped, Acknowledge::Synced)).expect("dropped");
    let fill_other = |log: &Log, from: i64| {
        for i in from..from + 200 {
            let values: Vec<(i64, Option<i64>)> = (0..20).map(|j| (i * 20 + j, None)).collect();
            block_on(log.commit(insert(2, 0, &values), Acknowledge::Synced)).expect("inserted");
        }
    };
    fill_other(&log, 0);
    let loaded = reader.iter().map(|extent| extent.load().expect("it is still there"));
    assert_eq!(loaded.flatten().map(|chunk| chunk.rows.num_rows()).sum::<usize>(), 600);
    drop(reader);
    fill_other(&log, 200);
    drop(log);
    let log = open(&disk, &tiny());
    let mine = log.topic_stats(TopicId(2)).expect("the topic exists").partitions[0].segments;
    assert_eq!(names(&disk, "segments").len() as u64, mine);
}

#[test]
fn a_damaged_batch_fails_its_readers_alone() {
    let disk = FaultDisk::new();
    let log = open(&disk, &tiny());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    fill(&log, 200);
    drop(log);
    let name = names(&disk, "segments")[0].clone();
    let path = PathBuf::from(DIR).join("segments").join(name);
    let size = disk.content(&path).expect("it is there").len() as u64;
    let (mut found, mut flips) = (0, 0);
    for offset in (0..size).step_by((size as usize / 200) | 1) {
        flips += 1;
        let damaged = disk.copy();
        damaged.flip_bit(&path, offset, 5).expect("it is there");
        let log = open(&damaged, &tiny());
        let read = |after, upto| -> Result<usize, LogError> {
            let mut rows = 0;
            for extent in log.read(&reader(&log, 1), after, upto)? {
                rows += extent.load()?.map_or(0, |chunk| chunk.rows.num_rows());
            }
            Ok(rows)
        };
        match read(0, log.newest()) {
            Ok(rows) => assert_eq!(rows, 600, "a flipped bit at {offset}"),
            Err(error) => {
                found += 1;
                assert!(matches!(error, LogError::Damaged { .. }), "{error}");
                assert_eq!(SqlError::from(error).state.0, "XX001");
            }
        }
        assert_eq!(read(150, log.newest()).expect("others are whole"), 153);
    }
    assert!(found > flips * 9 / 10, "{found} of {flips} flips were found");
    disk.remove(&path).expect("it is there");
    let log = open(&disk, &tiny());
    assert!(matches!(
        log.read(&reader(&log, 1), 0, log.newest()),
        Err(LogError::Damaged { .. })
    ));
}

#[test]
fn a_check_finds_damage_wherever_it_is_and_changes_nothing() {
    let disk = FaultDisk::new();
    let log = open(&disk, &tiny());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    fill(&log, 200);
    assert!(matches!(check_disk(&disk), Err(LogError::Locked { .. })));
    close(&log).expect("closed");
    drop(log);
    let operations = disk.operations();
    let checked = check_disk(&disk).expect("nobody has it open");
    assert!(checked.damage.is_empty(), "{:?}", checked.damage);
    assert_eq!((checked.newest, checked.clean, checked.images), (Some(201), true, 2));
    assert!(checked.segments > 4 && checked.segment_rows > 500, "{checked:?}");
    assert_eq!(
        (checked.segments, checked.unused_segments),
        (names(&disk, "segments").len(), 0)
    );
    assert_eq!(disk.operations(), operations);

    let damaged = disk.copy();
    for (dir, offset) in [("segments", 100), ("meta", 300)] {
        let name = names(&damaged, dir)[0].clone();
        let path = PathBuf::from(DIR).join(dir).join(name);
        damaged.flip_bit(&path, offset, 1).expect("it is there");
    }
    let checked = check_disk(&damaged).expect("nobody has it open");
    assert_eq!(checked.damage.len(), 2, "{:?}", checked.damage);
    let wal = names(&disk, "wal").pop().expect("there is one");
    let path = PathBuf::from(DIR).join("wal").join(wal);
    disk.remove(&path).expect("it is there");
    let checked = check_disk(&disk).expect("nobody has it open");
    assert!(
        matches!(checked.damage[..], [LogError::Corrupt { .. }]),
        "{:?}",
        checked.damage
    );
}

fn check_disk(disk: &FaultDisk) -> Result<Checked, LogError> {
    super::check(&disk.shared(), Path::new(DIR))
}

#[test]
fn a_flush_that_fails_loses_nothing_and_is_tried_again() {
    use crate::storage::{Fault, FaultKind};
    // Writes of the log itself fail too, at some of these: those end the log, and are others' tests.
    let mut survived = 0;
    for nth in 1..60 {
        let disk = FaultDisk::new();
        let log = open(&disk, &tiny());
        block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
        let kind = FaultKind::FailWrite;
        disk.plan(Fault { kind, nth });
        let mut done = 0;
        for i in 0..150 {
            match block_on(log.commit(insert(1, 0, &[(i, None)]), Acknowledge::Synced)) {
                Ok(_) => done += 1,
                Err(_) => break,
            }
        }
        if done == 150 {
            survived += 1;
            assert_eq!(ids(&log, 1, 0), (0..150).collect::<Vec<_>>());
        }
        drop(log);
        let log = open(&disk.reboot(nth), &tiny());
        let found = ids(&log, 1, 0);
        assert!(
            found.len() as i64 >= done,
            "{done} were acknowledged, {} are there",
            found.len()
        );
        assert!(found.iter().copied().eq(0..found.len() as i64));
    }
    assert!(survived > 0, "some flush failed and the log went on");
}

/// A disk on which no segment can be made while it is full.
struct FullDisk {
    disk: Arc<dyn Disk>,
    full: Arc<AtomicBool>,
}

impl Disk for FullDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if self.full.load(Ordering::Relaxed) && path.to_string_lossy().contains("segments") {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.hard_link(from, to)
    }

    fn is_vacant(&self, path: &Path) -> io::Result<bool> {
        self.disk.is_vacant(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, dir: &Path, purpose: Purpose) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(dir, purpose)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.disk.space(dir)
    }

    fn salt(&self) -> u64 {
        self.disk.salt()
    }
}

#[test]
fn a_full_disk_refuses_commits_until_there_is_room_again() {
    let full = Arc::new(AtomicBool::new(true));
    let disk = FullDisk {
        disk: FaultDisk::new().shared(),
        full: Arc::clone(&full),
    };
    let options = LogOptions {
        background: true,
        tail_bytes_max: 64 << 10,
        ..tiny()
    };
    let (log, _) = open_with(Arc::new(disk), Path::new(DIR), options).expect("opened");
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    let mut next = 0;
    let mut commit = || {
        let committed = block_on(log.commit(insert(1, 0, &[(next, None)]), Acknowledge::Synced));
        next += i64::from(committed.is_ok());
        committed.map(|_| ())
    };
    let refused = loop {
        if let Err(error) = commit() {
            break error;
        }
    };
    assert_eq!(SqlError::from(refused).state.0, "53100");
    assert!(commit().is_err(), "nothing has changed");
    full.store(false, Ordering::Relaxed);
    // The log tries again by itself, about each second.
    while commit().is_err() {
        std::thread::yield_now();
    }
    for _ in 0..100 {
        commit().expect("there is room again");
    }
    assert!(ids(&log, 1, 0).into_iter().eq(0..next));
}

#[test]
fn segments_of_an_older_schema_are_read_with_the_new_one() {
    let disk = FaultDisk::new();
    let log = open(&disk, &tiny());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    fill(&log, 100);
    let mut fields: Vec<Field> = schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.remove(1);
    fields.push(Field::new("more", DataType::Boolean, true));
    let mut altered = spec(1);
    (altered.schema_id, altered.schema) = (2, Arc::new(Schema::new(fields)));
    altered.event_time = Some(EventTime {
        column: 1,
        delay_us: 1_000_000,
        ahead_us: AHEAD_US,
    });
    let alter = Commit {
        ddl: Some(Ddl {
            based_on: 1,
            record: b"alter".to_vec(),
            topics: vec![TopicChange::Alter(altered.clone())],
        }),
        ..Commit::default()
    };
    block_on(log.commit(alter, Acknowledge::Synced)).expect("altered");
    for i in 0..100 {
        let at = TimestampMicrosecondArray::from(vec![NOW_US]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![300 + i])),
            Arc::new(at),
            Arc::new(arrow::array::BooleanArray::from(vec![true])),
        ];
        let mut new = insert(1, 0, &[]);
        let rows = RecordBatch::try_new(Arc::clone(&altered.schema), columns).expect("it fits");
        new.appends[0].rows = rows.into();
        new.appends[0].schema_id = 2;
        block_on(log.commit(new, Acknowledge::Synced)).expect("inserted");
    }
    let check = |log: &Log| {
        let mut found = Vec::new();
        for chunk in read(log, 1, 0, log.newest()) {
            assert_eq!(chunk.rows.num_columns(), 3);
            let more = chunk.rows.column(2).as_boolean();
            let ids = chunk.rows.column(0).as_primitive::<Int64Type>();
            for row in 0..chunk.rows.num_rows() {
                assert_eq!(more.is_valid(row), ids.value(row) >= 300);
                found.push(ids.value(row));
            }
        }
        found.sort_unstable();
        assert!(found.into_iter().eq(0..400));
    };
    check(&log);
    drop(log);
    check(&open(&disk, &tiny()));
}

#[test]
fn a_reader_that_pauses_looks_at_nothing_behind() {
    let disk = FaultDisk::new();
    let log = open(&disk, &tiny());
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    fill(&log, 400);
    let newest = log.newest();
    let rows = |after: Lsn, upto: Lsn| -> usize {
        let chunks = read(&log, 1, after, upto);
        chunks.iter().map(|chunk| chunk.rows.num_rows()).sum()
    };
    let mut frontier = 0;
    while frontier < newest {
        let next = log.pause(&[TopicId(1)], frontier, newest, 30).expect("known");
        assert!(next > frontier);
        let taken = rows(frontier, next);
        assert!((30..60).contains(&taken) || next == newest, "{taken} rows up to {next}");
        frontier = next;
    }
    // One commit of many rows is taken whole.
    let values: Vec<_> = (0..100).map(|id| (id, None)).collect();
    block_on(log.commit(insert(1, 0, &values), Acknowledge::Synced)).expect("inserted");
    fill(&log, 20);
    let large = newest + 1;
    assert_eq!(
        log.pause(&[TopicId(1)], newest, log.newest(), 30).expect("known"),
        large
    );
    // The indexes of later files are not needed.
    close(&log).expect("closed");
    drop(log);
    let log = open(&disk, &tiny());
    let later = |segment: &SegmentInfo| segment.first_lsn > newest / 2;
    for segment in log.segments(TopicId(1)).iter().filter(|segment| later(segment)) {
        disk.remove(&PathBuf::from(DIR).join("segments").join(segment::file_name(segment.id)))
            .expect("it is there");
    }
    assert!(log.pause(&[TopicId(1)], 0, log.newest(), 30).expect("known") < newest / 2);
}
