//! Retention: expired rows are gone for good, needed ones stay, and files go once nothing names them.

use std::path::PathBuf;

use futures::executor::block_on;

use crate::storage::FaultDisk;

use super::*;

const DIR: &str = "/d";
const HOUR_US: i64 = 60 * 60 * 1_000_000;

/// Needs everything since some time of topic 2, and nothing of others.
struct Needs(Option<i64>);

impl DdlObserver for Needs {
    fn apply(&self, _lsn: Lsn, _record: &[u8]) {}

    fn needed_since(&self, topic: TopicId) -> Option<i64> {
        self.0.filter(|_| topic == TopicId(2))
    }
}

struct World {
    disk: FaultDisk,
    clock: Arc<TestClock>,
    log: Arc<Log>,
    options: LogOptions,
}

/// Looks after retention each minute.
fn looking(options: LogOptions) -> LogOptions {
    LogOptions {
        retire_every_us: HOUR_US / 60,
        ..options
    }
}

impl World {
    /// Topics 1 and 2 with this retention.
    fn new(us: Option<i64>, bytes: Option<u64>, needed_since: Option<i64>) -> World {
        World::with(looking(tiny()), us, bytes, needed_since)
    }

    fn with(options: LogOptions, us: Option<i64>, bytes: Option<u64>, needed_since: Option<i64>) -> World {
        let (disk, clock) = (FaultDisk::new(), TestClock::at(NOW_US));
        let log = World::open(&disk, &clock, &options, needed_since);
        let spec = |id| TopicSpec {
            retention: Retention { us, bytes },
            ..spec(id)
        };
        let ddl = Ddl {
            based_on: 0,
            record: b"create".to_vec(),
            topics: [1, 2].map(|id| TopicChange::Create(spec(id))).to_vec(),
        };
        let create = Commit {
            ddl: Some(ddl),
            ..Commit::default()
        };
        block_on(log.commit(create, Acknowledge::Synced)).expect("created");
        World {
            disk,
            clock,
            log,
            options,
        }
    }

    fn open(disk: &FaultDisk, clock: &Arc<TestClock>, options: &LogOptions, needed_since: Option<i64>) -> Arc<Log> {
        let opened = Log::open(disk.shared(), Path::new(DIR), options.clone(), clock.clone()).expect("opened");
        opened.0.observe_ddl(Arc::new(Needs(needed_since)));
        opened.0
    }

    /// One commit of twenty rows in each topic; then some time passes.
    fn fill(&self, commits: std::ops::Range<i64>, apart_us: i64) {
        for i in commits {
            let values: Vec<(i64, Option<i64>)> = (0..20).map(|j| (i * 20 + j, None)).collect();
            let appends = vec![append(1, 0, &values), append(2, 0, &values)];
            let commit = Commit {
                appends,
                ..Commit::default()
            };
            block_on(self.log.commit(commit, Acknowledge::Synced)).expect("inserted");
            // The writer flushes and looks after retention behind the acknowledgement: wait for it.
            self.log.look_after_retention();
            self.clock.pass(apart_us);
        }
    }

    fn restart(self, needed_since: Option<i64>) -> World {
        let World {
            disk,
            clock,
            log,
            options,
        } = self;
        drop(log);
        let log = World::open(&disk, &clock, &options, needed_since);
        World {
            disk,
            clock,
            log,
            options,
        }
    }

    fn partition(&self, topic: u32) -> PartitionStats {
        self.log
            .topic_stats(TopicId(topic))
            .expect("the topic exists")
            .partitions[0]
            .clone()
    }

    fn files(&self) -> usize {
        self.disk
            .list(&PathBuf::from(DIR).join("segments"))
            .expect("the directory exists")
            .len()
    }
}

fn since(log: &Log, topic: u32, since_us: i64) -> Vec<i64> {
    let reader = Reader {
        since_us: Some(since_us),
        ..reader(log, topic)
    };
    let extents = log.read(&reader, 0, log.newest()).expect("the topic exists");
    let chunks = extents
        .iter()
        .filter_map(|extent| extent.load().expect("it is not damaged"));
    chunks
        .flat_map(|chunk| chunk.rows.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect()
}

#[test]
fn rows_are_read_since_a_time_to_the_row() {
    let world = World::new(None, None, None);
    world.fill(0..200, HOUR_US / 100);
    assert!(world.partition(1).segments > 2, "{:?}", world.partition(1));
    for commit in [0, 1, 7, 63, 150, 199, 200] {
        let expected: Vec<i64> = (commit * 20..4000).collect();
        let at = NOW_US + commit * HOUR_US / 100;
        assert_eq!(since(&world.log, 1, at), expected, "commit {commit}");
        assert_eq!(since(&world.log, 1, at - 1), expected, "just before commit {commit}");
    }
}

#[test]
fn old_rows_go_with_their_files_and_what_a_view_needs_stays() {
    let needed = Some(NOW_US + 150 * HOUR_US / 100);
    let world = World::new(Some(HOUR_US), None, needed);
    world.fill(0..400, HOUR_US / 100);
    let (gone, kept) = (world.partition(1), world.partition(2));
    // The last hundred commits are those of the last hour; whole segments go.
    assert!((4000..=6000).contains(&gone.start_offset), "{gone:?}");
    assert!((2000..=3000).contains(&kept.start_offset), "{kept:?}");
    assert_eq!((gone.next_offset, gone.rows), (8000, 8000 - gone.start_offset));
    assert_eq!(ids(&world.log, 1, 0).first(), Some(&(gone.start_offset as i64)));
    // After a crash as before it, and offsets go on.
    let world = world.restart(needed);
    assert_eq!(world.partition(1).start_offset, gone.start_offset);
    assert_eq!(world.partition(1).rows, gone.rows);
    world.fill(400..401, HOUR_US / 10);
    assert_eq!(world.partition(1).next_offset, 8020);
    // Quiet for long: all that is left goes, and after two images its files, too.
    world.clock.pass(10 * HOUR_US);
    for i in 0..4 {
        world.fill(401 + i..402 + i, HOUR_US);
    }
    for _ in 0..3 {
        world.clock.pass(HOUR_US / 60);
        world.log.look_after_retention();
    }
    let left = world.partition(1);
    assert!(left.rows <= 40, "{left:?}");
    let named = [1, 2].map(|topic| world.log.segments(TopicId(topic)).len());
    assert_eq!(world.files(), named[0] + named[1]);
    let world = world.restart(needed);
    assert_eq!(world.partition(1), left);
}

#[test]
fn a_quiet_log_is_looked_after_too() {
    let world = World::new(Some(HOUR_US), None, None);
    world.fill(0..100, HOUR_US / 100);
    assert!(world.files() > 0);
    // Each look may write one record; then nothing is left to do, and nothing is written any more.
    let mut newest = Vec::new();
    for _ in 0..6 {
        world.clock.pass(2 * HOUR_US);
        world.log.look_after_retention();
        newest.push(world.log.newest());
    }
    assert_eq!(world.files(), 0, "{newest:?}");
    assert_eq!(world.partition(1).rows, 0);
    assert_eq!(world.partition(1).start_offset, 2000);
    assert_eq!(newest[4], newest[3], "{newest:?}");
    let world = world.restart(None);
    world.fill(100..101, 0);
    assert_eq!(world.partition(1).next_offset, 2020);
    assert_eq!(since(&world.log, 1, i64::MIN), (2000..2020).collect::<Vec<i64>>());
}

#[test]
fn the_newest_bytes_are_kept() {
    let world = World::new(None, Some(100 << 10), None);
    world.fill(0..1000, HOUR_US / 60);
    let partition = world.partition(1);
    let bytes = partition.bytes + partition.segment_bytes;
    assert!(partition.start_offset > 1000, "{partition:?}");
    assert!((100 << 10..120 << 10).contains(&bytes), "{partition:?}");
}

#[test]
fn a_reader_at_an_earlier_time_keeps_its_rows() {
    let world = World::new(Some(HOUR_US), None, None);
    world.fill(0..100, HOUR_US / 100);
    let pin = world.log.pin();
    let before = since(&world.log, 1, pin.at_us - HOUR_US);
    world.fill(100..400, HOUR_US / 100);
    let after = since(&world.log, 1, pin.at_us - HOUR_US);
    assert_eq!(after[..before.len()], before);
    drop(pin);
    world.fill(400..420, HOUR_US / 100);
    assert!(world.partition(1).start_offset > 2000);
}

#[test]
fn setting_the_clock_deletes_nothing() {
    let world = World::new(Some(HOUR_US), None, None);
    world.fill(0..50, HOUR_US / 100);
    world.clock.set(NOW_US + 400 * DAY_US);
    world.fill(50..60, HOUR_US / 100);
    world.clock.set(NOW_US - 400 * DAY_US);
    world.fill(60..70, HOUR_US / 100);
    assert_eq!(world.partition(1).start_offset, 0);
    let world = world.restart(None);
    world.fill(70..80, HOUR_US / 100);
    assert_eq!(world.partition(1).start_offset, 0);
}

#[test]
fn setting_the_clock_before_a_crash_deletes_nothing_either() {
    // Set ahead for a commit, and back or not; before the first image, and behind one.
    for (set_back, reboots, images) in [
        (true, false, false),
        (false, false, false),
        (true, true, false),
        (false, true, false),
        (true, false, true),
        (false, false, true),
        (false, true, true),
    ] {
        let options = looking(if images { tiny() } else { steady() });
        let mut world = World::with(options, Some(HOUR_US), None, None);
        world.fill(0..if images { 50 } else { 1 }, 1000);
        assert_eq!(world.log.stats().image_lsn.is_some(), images);
        let before = world.partition(1).next_offset;
        let now_us = world.clock.now_us();
        world.clock.set(now_us + 2 * HOUR_US);
        world.fill(1000..1001, 1000);
        if set_back {
            world.clock.set(now_us);
        }
        for _ in 0..3 {
            if reboots {
                world.clock.reboot();
            }
            world = world.restart(None);
            world.fill(1001..1002, HOUR_US / 60);
            let at_us = world.log.pin().at_us;
            let case = format!("set back {set_back}, reboots {reboots}, images {images}");
            assert!(at_us <= now_us + HOUR_US / 10, "{case}: {} us too far", at_us - now_us);
            assert_eq!(world.partition(1).start_offset, 0, "{case}");
            assert_eq!(since(&world.log, 1, at_us - HOUR_US).first(), Some(&0), "{case}");
            assert!(world.partition(1).next_offset > before);
        }
    }
}

#[test]
fn a_power_cut_brings_nothing_back_and_takes_nothing_more() {
    for nth in 1.. {
        let disk = FaultDisk::new();
        let clock = TestClock::at(NOW_US);
        disk.plan(crate::storage::Fault {
            kind: crate::storage::FaultKind::PowerCut,
            nth: 40 + nth * 61,
        });
        let mut acknowledged = 0;
        let mut start = 0;
        let options = LogOptions {
            retire_every_us: HOUR_US / 60,
            ..tiny()
        };
        let open = |disk: &FaultDisk| Log::open(disk.shared(), Path::new(DIR), options.clone(), clock.clone());
        if let Ok((log, _)) = open(&disk) {
            log.observe_ddl(Arc::new(Needs(None)));
            let mut created = create(0, &[1]);
            if let Some(TopicChange::Create(spec)) = created.ddl.as_mut().and_then(|ddl| ddl.topics.first_mut()) {
                spec.retention.us = Some(HOUR_US);
            }
            let mut goes_on = block_on(log.commit(created, Acknowledge::Synced)).is_ok();
            for i in 0..150 {
                clock.pass(HOUR_US / 50);
                goes_on = goes_on && block_on(log.commit(insert(1, 0, &[(i, None)]), Acknowledge::Synced)).is_ok();
                if goes_on {
                    acknowledged = i + 1;
                    start = log.topic_stats(TopicId(1)).expect("the topic exists").partitions[0].start_offset;
                }
            }
        }
        let finished = !disk.is_off();
        let (log, _) = open(&disk.reboot(nth)).expect("recovers");
        let stats = log.topic_stats(TopicId(1)).map(|stats| stats.partitions[0].clone());
        let Some(stats) = stats else {
            assert_eq!(acknowledged, 0);
            continue;
        };
        // The records of an interrupted operation may be in the log, or not.
        assert!(stats.start_offset >= start, "cut {nth}: {stats:?} is before {start}");
        assert!(
            stats.next_offset as i64 >= acknowledged,
            "cut {nth}: {stats:?}, acknowledged {acknowledged}"
        );
        let expected: Vec<i64> = (stats.start_offset as i64..stats.next_offset as i64).collect();
        assert_eq!(ids(&log, 1, 0), expected, "cut {nth}");
        assert!(
            acknowledged - stats.start_offset as i64 >= 50.min(acknowledged),
            "cut {nth}: {stats:?}"
        );
        if finished {
            assert!(start > 0, "something went");
            return;
        }
    }
}
