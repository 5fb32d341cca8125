//! A disk that fills up: rows are refused in time, work that frees room goes on, and the log does not end before it
//! must.

use futures::executor::block_on;

use crate::error::SqlError;
use crate::storage::{FaultDisk, Space};

use super::*;

const DIR: &str = "/d";
const GIB: u64 = 1 << 30;

struct Bench {
    disk: FaultDisk,
    clock: Arc<TestClock>,
    log: Arc<Log>,
}

/// A log with topic 1 on a disk with this room, part of which is to be kept free.
fn bench(space: Space, disk_reserve_bytes: Option<u64>) -> Bench {
    let options = LogOptions {
        disk_reserve_bytes,
        image_after_bytes: 256 << 20,
        ..steady()
    };
    let (disk, clock) = (FaultDisk::new(), TestClock::at(NOW_US));
    disk.set_space(space);
    let shared: SharedClock = clock.clone();
    let (log, _) = Log::open(disk.shared(), Path::new(DIR), options, shared).expect("opened");
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    Bench { disk, clock, log }
}

impl Bench {
    /// Sets the available bytes, and lets a second pass.
    fn leave(&self, available: u64) {
        let space = self.disk.space(Path::new(DIR)).expect("it says");
        self.disk.set_space(Space { available, ..space });
        self.clock.pass(1_000_000);
    }

    /// SQLSTATE of an insert's error.
    fn insert(&self) -> Result<(), &'static str> {
        let inserted = block_on(self.log.commit(insert(1, 0, &[(1, None)]), Acknowledge::Synced));
        inserted.map(|_| ()).map_err(|error| SqlError::from(error).state.0)
    }
}

fn space(total: u64) -> Space {
    Space {
        total,
        available: total / 2,
    }
}

#[test]
fn the_mark_is_two_gib_or_a_share_of_a_small_disk_or_what_is_set() {
    let mark = |total, reserve| bench(space(total), reserve).log.stats().disk.mark;
    assert_eq!(mark(1000 * GIB, None), 2 * GIB);
    assert_eq!(mark(20 * GIB, None), GIB);
    assert_eq!(mark(20 * GIB, Some(3 * GIB)), 3 * GIB);
    assert_eq!(mark(20 * GIB, Some(0)), 0);
    // Twice the budgets of the log and of the rows in memory.
    let large = LogOptions {
        image_after_bytes: 3 * GIB,
        tail_bytes_max: GIB as usize,
        ..steady()
    };
    let disk = FaultDisk::new();
    disk.set_space(space(1000 * GIB));
    let (log, _) = open_with(disk.shared(), Path::new(DIR), large).expect("opened");
    assert_eq!(log.stats().disk.mark, 8 * GIB);
}

#[test]
fn below_the_mark_rows_are_refused_and_nothing_else() {
    let bench = bench(space(1000 * GIB), None);
    bench.insert().expect("there is room");
    bench.leave(2 * GIB - 1);
    assert_eq!(bench.insert(), Err("53100"));
    let stats = bench.log.stats().disk;
    assert_eq!(
        (stats.available, stats.mark, stats.refusing),
        (Some(2 * GIB - 1), 2 * GIB, true)
    );
    assert_eq!(ids(&bench.log, 1, 0), [1], "rows are read");
    block_on(bench.log.commit(create(1, &[2]), Acknowledge::Synced)).expect("the catalog changes");
    let advance = Commit {
        advances: vec![(TopicId(1), NOW_US)],
        ..Commit::default()
    };
    block_on(bench.log.commit(advance, Acknowledge::Synced)).expect("watermarks move");
    let drop = Commit {
        ddl: Some(Ddl {
            based_on: 2,
            record: b"drop".to_vec(),
            topics: vec![TopicChange::Drop(TopicId(2))],
        }),
        ..Commit::default()
    };
    block_on(bench.log.commit(drop, Acknowledge::Synced)).expect("dropped");
    // It clears at 1.25 times the mark, by itself.
    bench.leave(2 * GIB + GIB / 2 - 1);
    assert_eq!(bench.insert(), Err("53100"));
    bench.leave(2 * GIB + GIB / 2);
    bench.insert().expect("there is room again");
    bench.leave(2 * GIB);
    bench.insert().expect("it is the mark");
}

#[test]
fn the_disk_is_looked_at_once_a_second_or_after_many_bytes() {
    let bench = bench(space(1000 * GIB), None);
    bench.insert().expect("there is room");
    let set = |available| {
        bench.disk.set_space(Space {
            total: 1000 * GIB,
            available,
        });
    };
    set(GIB);
    bench.insert().expect("nobody has looked");
    bench.clock.pass(999_999);
    bench.insert().expect("nobody has looked");
    bench.clock.pass(1);
    assert_eq!(bench.insert(), Err("53100"));
    bench.leave(10 * GIB);
    bench.insert().expect("there is room again");
    set(GIB);
    let many: Vec<(i64, Option<i64>)> = (0..200_000).map(|i| (i, Some(NOW_US))).collect();
    let mut commits = 0;
    while block_on(bench.log.commit(insert(1, 0, &many), Acknowledge::Synced)).is_ok() {
        commits += 1;
    }
    let written = bench.log.stats().wal_bytes;
    assert!(
        commits > 1 && (64 << 20..96 << 20).contains(&written),
        "{commits} commits, {written} bytes"
    );
}

#[test]
fn without_room_for_a_large_file_the_log_goes_on_in_a_small_one() {
    let options = LogOptions {
        wal_file_bytes_max: 4 << 20,
        disk_reserve_bytes: Some(0),
        ..steady()
    };
    for background in [false, true] {
        let options = LogOptions {
            background,
            ..options.clone()
        };
        let disk = FaultDisk::new();
        let (log, _) = open_with(disk.shared(), Path::new(DIR), options.clone()).expect("opened");
        block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
        let rows: Vec<(i64, Option<i64>)> = (0..10_000).map(|i| (i, None)).collect();
        let mut commits = 0;
        let mut commit = || {
            let committed = block_on(log.commit(insert(1, 0, &rows), Acknowledge::Synced));
            commits += usize::from(committed.is_ok());
            committed.map(|_| ()).map_err(|error| SqlError::from(error).state.0)
        };
        // Larger files come with a larger log: the next one wants more than the room that is left.
        for _ in 0..8 {
            commit().expect("there is room");
        }
        disk.set_space(Space {
            total: GIB,
            available: (1 << 20) + (1 << 19),
        });
        let failed = loop {
            if let Err(state) = commit() {
                break state;
            }
        };
        // With no room at all it ends as it does after any write that fails, and nothing that was acknowledged is lost.
        assert_eq!(failed, "08007");
        let files = disk.list(&Path::new(DIR).join("wal")).expect("listed");
        assert!(!files.contains(&"next.tmp".to_string()), "{files:?}");
        let newest = files.last().expect("there are files");
        let length = disk
            .content(&Path::new(DIR).join("wal").join(newest))
            .expect("it is there")
            .len();
        assert_eq!(length, 1 << 20, "{files:?}");
        drop(log);
        let (log, _) = open_with(disk.copy().shared(), Path::new(DIR), options.clone()).expect("opened");
        let found = ids(&log, 1, 0).len();
        assert!(found >= commits * 10_000, "{found} rows, {commits} commits");
    }
}
