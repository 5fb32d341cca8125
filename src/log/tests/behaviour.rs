//! A log in which nothing goes wrong.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::join_all;
use parking_lot::Mutex;

use crate::error::SqlError;
use crate::storage::{FaultDisk, RealDisk};

use super::*;

fn open(dir: &Path) -> (Arc<Log>, Recovered) {
    open_with(RealDisk::shared(), dir, LogOptions::default()).expect("opened")
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let many: Vec<(i64, Option<i64>)> = (0..5000).map(|i| (i, Some(NOW_US + i))).collect();
    {
        let (log, recovered) = open(dir.path());
        assert_eq!((recovered.newest, recovered.clean), (0, true));
        log.commit(create(0, &[1, 2]), Acknowledge::Synced)
            .await
            .expect("created");
        let receipt = log
            .commit(insert(1, 0, &[(1, None), (2, Some(5))]), Acknowledge::Synced)
            .await
            .expect("inserted");
        assert_eq!((receipt.lsn, receipt.timestamp_us), (2, NOW_US));
        assert_eq!(
            receipt.appended,
            [Appended {
                base_offset: 0,
                watermark: None
            }]
        );
        log.commit(insert(1, 0, &many), Acknowledge::Synced)
            .await
            .expect("loaded");
        let both = Commit {
            appends: vec![
                append(1, 1, &[(7, None)]),
                append(2, 0, &[(8, None)]),
                append(1, 0, &[(9, None)]),
            ],
            ..Commit::default()
        };
        let receipt = log.commit(both, Acknowledge::Synced).await.expect("inserted");
        assert_eq!(receipt.appended[2].base_offset, 5002);
        log.close().await.expect("closed");
        let refused = log.commit(insert(1, 0, &[(1, None)]), Acknowledge::Synced).await;
        assert_eq!(refused.unwrap_err(), LogError::Closed);
    }
    for restart in 0..3 {
        let (log, recovered) = open(dir.path());
        assert_eq!((recovered.newest, recovered.rows), (4, 5005));
        assert_eq!(
            recovered.clean,
            restart == 0,
            "only the first came after an orderly stop"
        );
        assert_eq!(recovered.catalog, [(1, b"create [1, 2]".to_vec())]);
        let mut expected = vec![1, 2];
        expected.extend(0..5000);
        expected.push(9);
        assert_eq!(ids(&log, 1, 0), expected);
        assert_eq!((ids(&log, 1, 1), ids(&log, 2, 0)), (vec![7], vec![8]));
        let moved = Some(NOW_US + 4999 - 1_000_000);
        assert_eq!(log.watermark(TopicId(1), 4), moved);
        let stats = log.topic_stats(TopicId(1)).expect("it exists");
        assert_eq!(stats.partitions[0].next_offset, 5003);
        assert_eq!((stats.watermark, stats.newest_event_us), (moved, Some(NOW_US + 4999)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_commits_are_ordered_dense_and_share_syncs() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path());
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    let tasks = (0..32i64).map(|task| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for i in 0..25 {
                let id = task * 1000 + i;
                let commit = insert(1, (id % 2) as u32, &[(id, Some(NOW_US + i))]);
                let receipt = log.commit(commit, Acknowledge::Synced).await.expect("inserted");
                assert!(log.newest() >= receipt.lsn, "acknowledged means published");
                receipts.push((receipt.lsn, receipt.appended[0].base_offset, id));
            }
            receipts
        })
    });
    let mut receipts: Vec<(Lsn, u64, i64)> = Vec::new();
    for task in join_all(tasks).await {
        receipts.extend(task.expect("it did not panic"));
    }
    receipts.sort_unstable();
    let lsns: Vec<Lsn> = receipts.iter().map(|(lsn, _, _)| *lsn).collect();
    assert_eq!(lsns, (2..802).collect::<Vec<_>>(), "one LSN per transaction");
    let check = |log: &Log| {
        for partition in 0..2 {
            let expected: Vec<(u64, Lsn, i64)> = receipts
                .iter()
                .filter(|(_, _, id)| id % 2 == i64::from(partition))
                .map(|(lsn, offset, id)| (*offset, *lsn, *id))
                .collect();
            assert_eq!(content(log, 1, partition as u32), expected);
        }
    };
    check(&log);
    assert!(
        log.stats().syncs < 800,
        "commits that queue during a sync share the next"
    );
    drop(log);
    check(&open(dir.path()).0);
}

#[tokio::test]
async fn a_read_gives_exactly_the_commits_asked_for() {
    let disk = FaultDisk::new();
    let (log, _) = open_with(disk.shared(), Path::new("/d"), steady()).expect("opened");
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    for i in 0..200 {
        let values = [(i * 2, None), (i * 2 + 1, None)];
        log.commit(insert(1, 0, &values), Acknowledge::Synced)
            .await
            .expect("inserted");
    }
    for (after, upto) in [(0, 201), (1, 2), (5, 5), (7, 140), (64, 66), (200, 201), (100, 50)] {
        let chunks = read(&log, 1, after, upto);
        let found: Vec<i64> = chunks
            .iter()
            .flat_map(|chunk| chunk.rows.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        let expected: Vec<i64> = (after.max(1) + 1..=upto)
            .flat_map(|lsn| [lsn as i64 * 2 - 4, lsn as i64 * 2 - 3])
            .collect();
        assert_eq!(found, expected, "after {after} up to {upto}");
        if let Some(first) = chunks.first() {
            assert_eq!(first.base_offset as i64, expected[0]);
        }
    }
    assert!(log.read(&reader(&log, 9), 0, 1).is_err());
    let chunks = log
        .read(&reader(&log, 1), 0, log.newest())
        .expect("the topic exists")
        .len();
    assert!(chunks < 40, "small chunks are merged: {chunks}");
}

/// A reader makes a chunk of the rows that have come, beside the writer, which merges chunks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_whole_commits_while_others_come() {
    let disk = FaultDisk::new();
    let (log, _) = open_with(disk.shared(), Path::new("/d"), steady()).expect("opened");
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    let done = Arc::new(AtomicBool::new(false));
    let reading = std::thread::spawn({
        let (log, done) = (Arc::clone(&log), Arc::clone(&done));
        move || {
            let mut seen = 0;
            loop {
                let last = done.load(Ordering::Acquire);
                // Both partitions at one LSN: a commit is in both or in neither.
                let chunks = read(&log, 1, 0, log.newest());
                let ids = |partition: u32| -> Vec<i64> {
                    let mut next = 0;
                    let of = chunks.iter().filter(|chunk| chunk.partition == partition);
                    of.flat_map(|chunk| {
                        assert_eq!(chunk.base_offset, next, "L2: offsets are dense");
                        next += chunk.rows.num_rows() as u64;
                        chunk.rows.column(0).as_primitive::<Int64Type>().values().to_vec()
                    })
                    .collect()
                };
                let found = ids(0);
                assert_eq!(found, (0..found.len() as i64).collect::<Vec<_>>());
                assert_eq!(found, ids(1));
                assert!(found.len() >= seen, "what was seen stays");
                seen = found.len();
                if last {
                    return seen;
                }
            }
        }
    });
    for i in 0..3000 {
        let both = Commit {
            appends: vec![append(1, 0, &[(i, None)]), append(1, 1, &[(i, None)])],
            ..Commit::default()
        };
        log.commit(both, Acknowledge::Synced).await.expect("inserted");
    }
    done.store(true, Ordering::Release);
    assert_eq!(reading.join().expect("no read failed"), 3000);
}

#[tokio::test]
async fn the_watermark_follows_event_times_and_never_goes_back() {
    let disk = FaultDisk::new();
    let (log, _) = open_with(disk.shared(), Path::new("/d"), steady()).expect("opened");
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    let second = 1_000_000;
    let mut carried = Vec::new();
    for events in [
        vec![Some(NOW_US), Some(NOW_US - 5)],
        vec![Some(NOW_US - 100)],
        vec![None],
        vec![Some(NOW_US + DAY_US + 1)],
        vec![Some(NOW_US + DAY_US + 1), Some(NOW_US + 7)],
        vec![Some(NOW_US + DAY_US)],
    ] {
        let values: Vec<(i64, Option<i64>)> = events.into_iter().map(|event| (1, event)).collect();
        let receipt = log
            .commit(insert(1, 0, &values), Acknowledge::Synced)
            .await
            .expect("inserted");
        carried.push(receipt.appended[0].watermark);
        assert_eq!(
            log.watermark(TopicId(1), receipt.lsn - 1),
            receipt.appended[0].watermark
        );
    }
    let first = Some(NOW_US - second);
    assert_eq!(carried, [None, first, first, first, first, Some(NOW_US + 7 - second)]);
    let advance = |watermark| Commit {
        advances: vec![(TopicId(1), watermark)],
        ..Commit::default()
    };
    assert_eq!(log.watermark(TopicId(1), log.newest()), Some(NOW_US + DAY_US - second));
    let receipt = log
        .commit(advance(NOW_US + 2 * DAY_US), Acknowledge::Synced)
        .await
        .expect("advanced");
    assert_eq!(log.watermark(TopicId(1), receipt.lsn), Some(NOW_US + 2 * DAY_US));
    log.commit(advance(5), Acknowledge::Synced)
        .await
        .expect("accepted, without effect");
    assert_eq!(log.watermark(TopicId(1), log.newest()), Some(NOW_US + 2 * DAY_US));

    let all = read(&log, 1, 0, log.newest());
    let watermarks: Vec<Option<i64>> = all
        .iter()
        .flat_map(|chunk| {
            let column = chunk.system_column(HiddenColumn::Watermark, None);
            column
                .as_primitive::<arrow::datatypes::TimestampMicrosecondType>()
                .iter()
                .collect::<Vec<_>>()
        })
        .collect();
    let late = Some(NOW_US + 7 - second);
    assert_eq!(watermarks, [None, None, first, first, first, first, first, late]);
    let stats = |log: &Log| {
        let mut stats = log.topic_stats(TopicId(1)).expect("it exists");
        // The memory in use depends on earlier merges of chunks.
        stats.partitions.iter_mut().for_each(|partition| partition.bytes = 0);
        // They are counted since the start.
        stats.rows_ahead = 0;
        stats
    };
    let before = stats(&log);
    drop(log);
    let (log, _) = open_with(disk.shared(), Path::new("/d"), steady()).expect("opened");
    assert_eq!(stats(&log), before);
    assert_eq!(log.watermark(TopicId(1), log.newest()), Some(NOW_US + 2 * DAY_US));
    assert_eq!(log.watermark(TopicId(1), 3), first);
}

#[tokio::test]
async fn timestamps_never_go_back() {
    let disk = FaultDisk::new();
    let clock = TestClock::at(NOW_US);
    let shared: SharedClock = Arc::clone(&clock) as SharedClock;
    let (log, _) = Log::open(disk.shared(), Path::new("/d"), steady(), shared).expect("opened");
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    clock.set(NOW_US - 5_000_000);
    let receipt = log
        .commit(insert(1, 0, &[(1, None)]), Acknowledge::Synced)
        .await
        .expect("inserted");
    assert_eq!(receipt.timestamp_us, NOW_US);
    clock.set(NOW_US + 1);
    let receipt = log
        .commit(insert(1, 0, &[(1, None)]), Acknowledge::Synced)
        .await
        .expect("inserted");
    assert_eq!(receipt.timestamp_us, NOW_US + 1);
}

#[tokio::test]
async fn a_tick_brings_the_time_of_the_log_on() {
    let disk = FaultDisk::new();
    let clock = TestClock::at(NOW_US);
    let open = || {
        Log::open(disk.shared(), Path::new("/d"), steady(), clock.clone() as SharedClock)
            .expect("opened")
            .0
    };
    let log = open();
    let tick = || Commit {
        tick: true,
        ..Commit::default()
    };
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    clock.set(NOW_US + 5);
    assert_eq!(log.time(log.newest()), NOW_US);
    let nothing = log
        .commit(Commit::default(), Acknowledge::Synced)
        .await
        .expect("unchanged");
    assert_eq!((nothing.lsn, log.time(log.newest())), (1, NOW_US));
    let ticked = log.commit(tick(), Acknowledge::Synced).await.expect("ticked");
    assert_eq!((ticked.lsn, ticked.timestamp_us), (2, NOW_US + 5));
    clock.set(NOW_US + 9);
    log.commit(insert(1, 0, &[(1, None)]), Acknowledge::Synced)
        .await
        .expect("inserted");
    clock.set(NOW_US + 12);
    log.commit(tick(), Acknowledge::Synced).await.expect("ticked");
    let times: Vec<i64> = (1..=4).map(|lsn| log.time(lsn) - NOW_US).collect();
    assert_eq!(times, [0, 5, 9, 12]);
    drop(log);
    clock.set(NOW_US);
    let log = open();
    assert_eq!((log.newest(), log.time(4)), (4, NOW_US + 12));
    log.commit(tick(), Acknowledge::Synced).await.expect("ticked");
    assert_eq!((log.newest(), log.time(5)), (5, NOW_US + 12));
}

struct Seen(Mutex<Vec<(Lsn, Vec<u8>)>>);

impl DdlObserver for Seen {
    fn apply(&self, lsn: Lsn, record: &[u8]) {
        self.0.lock().push((lsn, record.to_vec()));
    }
}

#[tokio::test]
async fn stale_plans_are_refused_and_nothing_else_is() {
    let disk = FaultDisk::new();
    let (log, _) = open_with(disk.shared(), Path::new("/d"), steady()).expect("opened");
    let seen = Arc::new(Seen(Mutex::new(Vec::new())));
    log.observe_ddl(Arc::clone(&seen) as Arc<dyn DdlObserver>);
    let state = |error: LogError| SqlError::from(error).state.0;
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    let stale = log.commit(create(0, &[2]), Acknowledge::Synced).await;
    assert_eq!(state(stale.unwrap_err()), "40001");
    // A transaction may create a topic and fill it.
    let mut filled = create(1, &[2]);
    filled.appends.push(append(2, 1, &[(5, None)]));
    let receipt = log
        .commit(filled, Acknowledge::Synced)
        .await
        .expect("created and filled");
    assert_eq!(receipt.lsn, 2, "a refused commit takes no LSN");
    let mut other_schema = insert(1, 0, &[(1, None)]);
    other_schema.appends[0].schema_id = 2;
    assert_eq!(
        state(log.commit(other_schema, Acknowledge::Synced).await.unwrap_err()),
        "40001"
    );
    let no_partition = insert(1, 2, &[(1, None)]);
    assert_eq!(
        state(log.commit(no_partition, Acknowledge::Synced).await.unwrap_err()),
        "40001"
    );
    // Rows that rest on topics as they were.
    let resting = |since, topics: &[u32]| Commit {
        read: Some((since, topics.iter().map(|id| TopicId(*id)).collect())),
        ..insert(1, 0, &[(1, None)])
    };
    let changed = log.commit(resting(1, &[1, 2]), Acknowledge::Synced).await;
    assert_eq!(
        state(changed.unwrap_err()),
        "40001",
        "topic 2 was made and filled at LSN 2"
    );
    let receipt = log.commit(resting(1, &[1]), Acknowledge::Synced).await;
    assert_eq!(receipt.expect("topic 1 has not changed").lsn, 3);
    let own = log.commit(resting(2, &[1]), Acknowledge::Synced).await;
    assert_eq!(state(own.unwrap_err()), "40001");
    log.commit(resting(3, &[1, 2]), Acknowledge::Synced)
        .await
        .expect("nothing has changed since");
    let drop_topic = Commit {
        appends: vec![append(1, 0, &[(1, None)])],
        ddl: Some(Ddl {
            based_on: 2,
            record: b"drop".to_vec(),
            topics: vec![TopicChange::Drop(TopicId(1))],
        }),
        ..Commit::default()
    };
    log.commit(drop_topic, Acknowledge::Synced).await.expect("dropped");
    let gone = log.commit(insert(1, 0, &[(1, None)]), Acknowledge::Synced).await;
    assert_eq!(state(gone.unwrap_err()), "42P01");
    assert!(log.read(&reader(&log, 1), 0, log.newest()).is_err());
    let nothing = log
        .commit(Commit::default(), Acknowledge::Synced)
        .await
        .expect("nothing to do");
    assert_eq!(nothing.lsn, 5);
    let records = seen.0.lock().clone();
    let expected = [
        (1, b"create [1]".to_vec()),
        (2, b"create [2]".to_vec()),
        (5, b"drop".to_vec()),
    ];
    assert_eq!(records, expected);
    drop(log);
    let (log, recovered) = open_with(disk.shared(), Path::new("/d"), steady()).expect("opened");
    assert_eq!(recovered.catalog, expected);
    assert_eq!(ids(&log, 2, 1), [5]);
}

#[tokio::test]
async fn an_altered_topic_shows_old_rows_with_its_new_columns() {
    let disk = FaultDisk::new();
    let (log, _) = open_with(disk.shared(), Path::new("/d"), steady()).expect("opened");
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    log.commit(insert(1, 0, &[(1, None)]), Acknowledge::Synced)
        .await
        .expect("inserted");
    let mut fields: Vec<Field> = schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("more", DataType::Boolean, true));
    let mut altered = spec(1);
    (altered.schema_id, altered.schema) = (2, Arc::new(Schema::new(fields)));
    let alter = Commit {
        ddl: Some(Ddl {
            based_on: 1,
            record: b"alter".to_vec(),
            topics: vec![TopicChange::Alter(altered.clone())],
        }),
        ..Commit::default()
    };
    log.commit(alter, Acknowledge::Synced).await.expect("altered");
    let old = log.commit(insert(1, 0, &[(1, None)]), Acknowledge::Synced).await;
    assert_eq!(old.unwrap_err(), LogError::StaleSchema { topic: TopicId(1) });
    let mut new = insert(1, 0, &[(2, None)]);
    let mut columns = new.appends[0].rows.memory().expect("in memory").columns().to_vec();
    columns.push(Arc::new(arrow::array::BooleanArray::from(vec![true])));
    new.appends[0].rows = RecordBatch::try_new(Arc::clone(&altered.schema), columns)
        .expect("it fits")
        .into();
    new.appends[0].schema_id = 2;
    log.commit(new, Acknowledge::Synced).await.expect("inserted");
    let check = |log: &Log| {
        let chunks = read(log, 1, 0, log.newest());
        let more: Vec<Option<bool>> = chunks
            .iter()
            .flat_map(|chunk| chunk.rows.column(3).as_boolean().iter().collect::<Vec<_>>())
            .collect();
        assert_eq!(more, [None, Some(true)]);
    };
    check(&log);
    drop(log);
    check(&open_with(disk.shared(), Path::new("/d"), steady()).expect("opened").0);
}

#[tokio::test]
async fn a_queued_commit_is_in_order_at_once_and_visible_once_synced() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path());
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    let receipt = log
        .commit(insert(1, 0, &[(1, None)]), Acknowledge::Queued)
        .await
        .expect("queued");
    assert_eq!((receipt.lsn, receipt.timestamp_us), (2, 0));
    log.wait_published(2).await.expect("published");
    assert_eq!(ids(&log, 1, 0), [1]);
    assert_eq!(*log.subscribe().borrow(), 2);
}

#[tokio::test]
async fn a_large_transaction_takes_several_frames_and_a_larger_one_is_refused() {
    let disk = FaultDisk::new();
    let options = LogOptions {
        transaction_bytes_max: 30 << 20,
        ..steady()
    };
    let (log, _) = open_with(disk.shared(), Path::new("/d"), options.clone()).expect("opened");
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    let values: Vec<(i64, Option<i64>)> = (0..700_000).map(|i| (i, Some(i))).collect();
    let mut commit = insert(1, 0, &values);
    commit.appends.push(append(1, 1, &[(3, None)]));
    log.commit(commit.clone(), Acknowledge::Synced).await.expect("loaded");
    log.commit(insert(1, 0, &[(-1, None)]), Acknowledge::Synced)
        .await
        .expect("inserted");
    commit.appends.push(commit.appends[0].clone());
    let refused = log.commit(commit, Acknowledge::Synced).await.unwrap_err();
    assert_eq!(SqlError::from(refused).state.0, "54000");
    drop(log);
    let (log, recovered) = open_with(disk.shared(), Path::new("/d"), options).expect("opened");
    assert_eq!((recovered.newest, recovered.rows), (3, 700_002));
    let found = ids(&log, 1, 0);
    assert!(found[..700_000].iter().copied().eq(0..700_000));
    assert_eq!((found[700_000], ids(&log, 1, 1)), (-1, vec![3]));
}

#[tokio::test]
async fn two_openers_of_one_directory_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path());
    let refused = open_with(RealDisk::shared(), dir.path(), LogOptions::default());
    let refused = refused.err().expect("it is locked");
    assert!(
        refused.to_string().contains("in use by another server (process "),
        "{refused}"
    );
    log.close().await.expect("closed");
    open(dir.path());
}

#[tokio::test]
async fn many_files_are_one_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = LogOptions {
        wal_file_bytes_max: 1 << 20,
        seal_after_ms: 1,
        compress: true,
        ..LogOptions::default()
    };
    let open = || {
        open_with(RealDisk::shared(), dir.path(), options.clone())
            .expect("opened")
            .0
    };
    let log = open();
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    for i in 0..600 {
        log.commit(insert(1, 0, &[(i, None)]), Acknowledge::Synced)
            .await
            .expect("inserted");
    }
    assert!(log.stats().wal_files >= 3);
    log.close().await.expect("closed");
    let log = open();
    log.commit(insert(1, 0, &[(600, None)]), Acknowledge::Synced)
        .await
        .expect("inserted");
    drop(log);
    assert_eq!(ids(&open(), 1, 0), (0..=600).collect::<Vec<_>>());
}

fn stamped(producer: &str, sequence: u64, commit: Commit) -> Commit {
    let producer = producer.into();
    Commit {
        producer: Some(ProducerStamp { producer, sequence }),
        ..commit
    }
}

#[tokio::test]
async fn a_producers_transaction_is_made_once_also_after_a_restart() {
    let disk = FaultDisk::new();
    let open = |options: LogOptions| {
        let clock = TestClock::at(NOW_US) as SharedClock;
        Log::open(disk.shared(), Path::new("/d"), options, clock)
            .expect("opened")
            .0
    };
    let log = open(steady());
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    let one = |value: i64| insert(1, 0, &[(value, None)]);
    let made = log
        .commit(stamped("p", 7, one(1)), Acknowledge::Synced)
        .await
        .expect("made");
    let nothing = stamped("p", 8, Commit::default());
    let empty = log.commit(nothing.clone(), Acknowledge::Synced).await.expect("made");
    assert_eq!(
        (made.lsn, empty.lsn),
        (2, 3),
        "a transaction without rows has its place, too"
    );
    let repeated = |sequence, lsn, rows| {
        Some(LogError::Repeated {
            first: Produced { sequence, lsn, rows },
        })
    };
    drop(log);
    // Once from the log, once from an image.
    for clean in [false, true] {
        let log = open(steady());
        let again = log.commit(stamped("p", 7, one(2)), Acknowledge::Synced).await;
        assert_eq!(again.err(), repeated(7, 2, 1));
        assert_eq!(log.commit(&nothing, Acknowledge::Queued).await.err(), repeated(8, 3, 0));
        let gap = log
            .commit(stamped("p", 10, one(3)), Acknowledge::Synced)
            .await
            .expect_err("a gap");
        assert_eq!(gap.state(), crate::error::state::OBJECT_NOT_IN_PREREQUISITE_STATE);
        let old = log
            .commit(stamped("p", 6, one(3)), Acknowledge::Synced)
            .await
            .expect_err("unknown");
        assert!(matches!(old, LogError::OutOfSequence { known: (7, 8), .. }), "{old}");
        assert_eq!(log.newest(), 3);
        let stats = log.topic_stats(TopicId(1)).expect("it is there");
        assert_eq!(
            stats
                .partitions
                .iter()
                .map(|partition| partition.next_offset)
                .sum::<u64>(),
            1
        );
        match clean {
            false => log.close().await.expect("closed"),
            true => drop(log),
        }
    }
}

#[test]
fn two_that_are_sent_at_once_are_made_once() {
    let (log, _) = open_with(FaultDisk::new().shared(), Path::new("/d"), steady()).expect("opened");
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    let held = log.hold();
    let commit = stamped("p", 1, insert(1, 0, &[(1, None)]));
    let first = block_on(log.commit(&commit, Acknowledge::Queued)).expect("in order");
    let stamp = commit.producer.clone().expect("it has one");
    let mut waits = Box::pin(log.produced(&stamp));
    let told = waits.as_mut().now_or_never();
    assert!(told.is_none(), "its outcome is told once it is durable");
    assert!(log.producers().is_empty());
    let second = block_on(log.commit(&commit, Acknowledge::Synced)).expect_err("repeated");
    drop(held);
    let outcome = block_on(waits).expect("published").expect("it is known");
    assert_eq!(outcome.lsn, first.lsn);
    assert_eq!(second, LogError::Repeated { first: outcome });
    assert_eq!(log.producers(), [("p".to_string(), vec![outcome])]);
}

#[tokio::test]
async fn offsets_are_committed_from_where_the_group_stands_and_last() {
    let disk = FaultDisk::new();
    let open = || open_with(disk.shared(), Path::new("/d"), steady()).expect("opened").0;
    let log = open();
    log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
    let (group, partition) = (GroupId(9), 0);
    let change = |changes: Vec<GroupChange>, commit: Commit| Commit {
        groups: changes,
        ..commit
    };
    let consumed = |from, to| GroupChange::Commit {
        group,
        partition,
        from,
        to,
    };
    let with_row = change(vec![consumed(0, 3)], insert(1, 0, &[(1, None)]));
    log.commit(&with_row, Acknowledge::Synced).await.expect("committed");
    let again = log
        .commit(&with_row, Acknowledge::Synced)
        .await
        .expect_err("another has them");
    assert_eq!(again, LogError::StaleOffsets { group, partition });
    assert_eq!(again.state(), crate::error::state::SERIALIZATION_FAILURE);
    let stats = log.topic_stats(TopicId(1)).expect("it is there");
    assert_eq!(stats.partitions[0].next_offset, 1, "its row is not there either");
    let both = change(vec![consumed(3, 4), consumed(4, 9)], Commit::default());
    let refused = log
        .commit(&both, Acknowledge::Synced)
        .await
        .expect_err("one stands elsewhere");
    assert_eq!(refused, LogError::StaleOffsets { group, partition });
    log.commit(change(vec![consumed(3, 4)], Commit::default()), Acknowledge::Queued)
        .await
        .expect("in order");
    log.wait_published(log.newest() + 1).await.expect("published");
    assert_eq!(log.group_offset(group, partition), 4);
    drop(log);
    for clean in [false, true] {
        let log = open();
        assert_eq!((log.group_offset(group, 0), log.group_offset(group, 1)), (4, 0));
        match clean {
            false => log.close().await.expect("closed"),
            true => {
                let forget = change(vec![GroupChange::Forget { group }], Commit::default());
                log.commit(forget, Acknowledge::Synced).await.expect("forgotten");
                assert_eq!(log.group_offset(group, 0), 0);
            }
        }
    }
}

#[tokio::test]
async fn a_partition_is_read_by_offset_wherever_its_rows_are() {
    let disk = FaultDisk::new();
    for options in [LogOptions::tiny(), steady()] {
        let dir = format!("/{}", options.flush_bytes);
        let (log, _) = open_with(disk.shared(), Path::new(&dir), options).expect("opened");
        log.commit(create(0, &[1]), Acknowledge::Synced).await.expect("created");
        for value in 0..40 {
            log.commit(insert(1, 0, &[(value, None), (-value, None)]), Acknowledge::Synced)
                .await
                .expect("inserted");
        }
        let reader = Reader::of(&log.spec(TopicId(1)).expect("it is there"));
        for from in 0..=81 {
            for rows_max in [1, 2, 7, 1000] {
                let extents = log
                    .read_partition(&reader, (0, from), log.newest(), rows_max)
                    .expect("read");
                let mut next = from;
                for chunk in extents.iter().filter_map(|extent| extent.load().expect("loaded")) {
                    assert_eq!(chunk.base_offset, next, "rows from {from} on are dense");
                    next += chunk.rows.num_rows() as u64;
                }
                let least = (80_u64.saturating_sub(from)).min(rows_max as u64);
                assert!(next - from >= least, "{} rows of {least} from {from} on", next - from);
                assert!(next <= 80.max(from));
            }
        }
        assert!(
            log.read_partition(&reader, (7, 0), log.newest(), 1)
                .expect("read")
                .is_empty()
        );
    }
}
