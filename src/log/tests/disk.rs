//! The log over a disk that loses unsynced writes, or fails. The canary proves that these tests can fail.

use futures::executor::block_on;
use futures::future::join_all;

use crate::error::SqlError;
use crate::storage::{Fault, FaultDisk, FaultKind};

use super::*;

const DIR: &str = "/d";

/// The workload: transactions to be committed one after another within a step, together.
fn steps() -> Vec<Vec<Commit>> {
    let mut steps = vec![vec![create(0, &[1])], vec![insert(1, 0, &[(1, Some(NOW_US))])]];
    let mut next = 100;
    for round in 0..6u32 {
        let mut step = Vec::new();
        for i in 0..4u32 {
            next += 10;
            let mut commit = insert(1, (round + i) % 2, &[(next, Some(NOW_US + next)), (next + 1, None)]);
            commit.appends.push(append(1, (round + i + 1) % 2, &[(next + 2, None)]));
            if i == 2 {
                // Large enough for an Arrow message over several sectors.
                let many: Vec<(i64, Option<i64>)> = (0..300).map(|j| (next * 1000 + j, None)).collect();
                commit.appends.push(append(1, 0, &many));
            }
            step.push(commit);
        }
        steps.push(step);
        if round == 2 {
            steps.push(vec![create(1, &[2])]);
        }
        if round > 2 {
            steps.push(vec![
                insert(2, 0, &[(next, Some(NOW_US + next))]),
                insert(1, 1, &[(next + 5, None)]),
            ]);
        }
    }
    steps
}

/// Ids in topics 1 and 2, by partition, after the first `commits` transactions.
fn expected(commits: u64) -> Vec<Vec<i64>> {
    let mut found = vec![Vec::new(); 4];
    for commit in steps().into_iter().flatten().take(commits as usize) {
        for append in commit.appends {
            let ids = append
                .rows
                .memory()
                .expect("in memory")
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec();
            found[(append.topic.0 as usize - 1) * 2 + append.partition as usize].extend(ids);
        }
    }
    found
}

fn small_files(acknowledge_before_sync: bool) -> LogOptions {
    LogOptions {
        wal_file_bytes_max: 32 << 10,
        acknowledge_before_sync,
        ..steady()
    }
}

/// Runs the workload until an error; returns the newest LSN that was acknowledged.
fn run(disk: &FaultDisk, options: &LogOptions) -> Lsn {
    let mut acknowledged = 0;
    let Ok((log, _)) = open_with(disk.shared(), Path::new(DIR), options.clone()) else {
        return 0;
    };
    for step in steps() {
        let receipts = block_on(join_all(
            step.into_iter().map(|commit| log.commit(commit, Acknowledge::Synced)),
        ));
        for receipt in receipts {
            match receipt {
                Ok(receipt) => acknowledged = acknowledged.max(receipt.lsn),
                Err(error) => {
                    assert_eq!(SqlError::from(error).state.0, "08007");
                    return acknowledged;
                }
            }
        }
    }
    acknowledged
}

/// Recovers and checks: every acknowledged transaction survives, whole, and nothing else.
fn check(disk: &FaultDisk, options: &LogOptions, acknowledged: Lsn) -> Result<(Arc<Log>, Lsn), String> {
    let opened = open_with(disk.shared(), Path::new(DIR), options.clone());
    let (log, recovered) = opened.map_err(|error| format!("recovery refused: {error}"))?;
    let newest = recovered.newest;
    if newest < acknowledged {
        return Err(format!(
            "LSN {acknowledged} was acknowledged, {newest} is the newest recovered"
        ));
    }
    let mut found = vec![Vec::new(); 4];
    for topic in 1..=2 {
        for partition in 0..2 {
            if log.topic_stats(TopicId(topic)).is_some() {
                found[(topic as usize - 1) * 2 + partition as usize] = ids(&log, topic, partition);
            }
        }
    }
    if found != expected(newest) {
        return Err(format!("L5: not the first {newest} transactions: {found:?}"));
    }
    Ok((log, newest))
}

/// Cuts the power after every operation, loses by several seeds, and recovers; also cuts recovery's own operations.
fn power_cuts(options: &LogOptions, seeds: u64) -> Result<u64, String> {
    let sound = LogOptions {
        acknowledge_before_sync: false,
        ..options.clone()
    };
    let mut nth = 0;
    loop {
        nth += 1;
        let disk = FaultDisk::new();
        let kind = FaultKind::PowerCut;
        disk.plan(Fault { kind, nth });
        let acknowledged = run(&disk, options);
        let finished = !disk.is_off();
        for seed in 0..seeds {
            let seed = nth * 1000 + seed;
            let at = |error| format!("power cut after operation {nth}, seed {seed}: {error}");
            let after = disk.reboot(seed);
            // A second cut, while recovery runs.
            after.plan(Fault {
                kind,
                nth: 1 + seed % 7,
            });
            let interrupted = open_with(after.shared(), Path::new(DIR), sound.clone());
            drop(interrupted);
            let after = after.reboot(seed + 1);
            let (log, newest) = check(&after, &sound, acknowledged).map_err(at)?;
            // Life goes on, and later commits survive, too.
            if newest > 0 {
                let receipt = block_on(log.commit(insert(1, 0, &[(-1, None)]), Acknowledge::Synced));
                let receipt = receipt.map_err(|error| at(error.to_string()))?;
                assert_eq!(receipt.lsn, newest + 1);
                drop(log);
                let again = after.reboot(seed + 2);
                let opened = open_with(again.shared(), Path::new(DIR), sound.clone());
                let (log, recovered) = opened.map_err(|error| at(error.to_string()))?;
                if recovered.newest != newest + 1 || ids(&log, 1, 0).last() != Some(&-1) {
                    return Err(at("what was committed after the recovery is lost".to_string()));
                }
            }
        }
        if finished {
            return Ok(nth);
        }
    }
}

#[test]
fn a_power_cut_after_any_operation_loses_nothing_acknowledged() {
    let operations = power_cuts(&small_files(false), 5).unwrap_or_else(|error| panic!("{error}"));
    assert!(operations > 45, "the workload has {operations} operations");
}

#[test]
fn a_power_cut_while_committers_write_themselves_loses_nothing_acknowledged() {
    let options = LogOptions {
        inline_sync_us_max: Some(u64::MAX),
        ..small_files(false)
    };
    let operations = power_cuts(&options, 5).unwrap_or_else(|error| panic!("{error}"));
    assert!(operations > 45, "the workload has {operations} operations");
}

#[test]
fn a_power_cut_while_rows_are_flushed_loses_nothing_acknowledged() {
    let mut options = LogOptions {
        wal_file_bytes_max: 32 << 10,
        flush_bytes: 16 << 10,
        ..tiny()
    };
    options.flush.layout.batch_rows = 100;
    options.flush.segment_bytes_max = 1 << 20;
    let operations = power_cuts(&options, 5).unwrap_or_else(|error| panic!("{error}"));
    assert!(operations > 100, "the workload has {operations} operations");
}

#[test]
fn a_log_that_acknowledges_before_the_sync_is_caught() {
    let inline = LogOptions {
        inline_sync_us_max: Some(u64::MAX),
        ..small_files(false)
    };
    for options in [small_files(false), inline, tiny()] {
        let options = LogOptions {
            acknowledge_before_sync: true,
            ..options
        };
        let caught = power_cuts(&options, 5);
        assert!(caught.is_err(), "L1 is broken on purpose, and nothing noticed");
    }
}

#[test]
fn a_failed_write_or_sync_poisons_the_log() {
    for kind in [FaultKind::FailWrite, FaultKind::FailSync] {
        let disk = FaultDisk::new();
        let (log, _) = open_with(disk.shared(), Path::new(DIR), steady()).expect("opened");
        block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
        disk.plan(Fault { kind, nth: 2 });
        block_on(log.commit(insert(1, 0, &[(1, None)]), Acknowledge::Synced)).expect("inserted");
        let in_flight = block_on(log.commit(insert(1, 0, &[(2, None)]), Acknowledge::Synced));
        assert_eq!(SqlError::from(in_flight.unwrap_err()).state.0, "08007", "{kind:?}");
        let operations = disk.operations();
        let later = block_on(log.commit(insert(1, 0, &[(3, None)]), Acknowledge::Synced));
        assert_eq!(SqlError::from(later.unwrap_err()).state.0, "08007", "L4 after {kind:?}");
        assert!(block_on(log.failed()).contains("00000001.wal"));
        assert_eq!(ids(&log, 1, 0), [1], "nothing that is not synced is visible");
        assert!(block_on(log.wait_published(log.newest() + 1)).is_err());
        drop(log);
        assert_eq!(disk.operations(), operations, "nothing is written any more");
        for seed in 0..20 {
            let (log, _) = open_with(disk.reboot(seed).shared(), Path::new(DIR), steady()).expect("opened");
            let found = ids(&log, 1, 0);
            assert!(found == [1] || found == [1, 2], "{found:?}");
        }
    }
}

#[test]
fn a_failed_log_is_not_sealed() {
    let options = LogOptions {
        seal_after_ms: 0,
        inline_sync_us_max: Some(u64::MAX),
        ..steady()
    };
    // The writer's thread may have decided to seal while the committer fails.
    for _ in 0..50 {
        let disk = FaultDisk::new();
        let (log, _) = open_with(disk.shared(), Path::new(DIR), options.clone()).expect("opened");
        block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
        log.settle();
        let kind = FaultKind::FailSync;
        disk.plan(Fault { kind, nth: 1 });
        block_on(log.commit(insert(1, 0, &[(1, None)]), Acknowledge::Synced)).expect_err("the sync failed");
        drop(log);
        assert_eq!(disk.operations(), 2, "a write, a sync, and nothing after them");
    }
}

#[test]
fn opening_fails_cleanly_on_a_disk_that_fails() {
    for nth in 1.. {
        let disk = FaultDisk::new();
        let kind = FaultKind::FailSync;
        disk.plan(Fault { kind, nth });
        match open_with(disk.shared(), Path::new(DIR), steady()) {
            Ok(_) => break,
            Err(error) => assert_eq!(SqlError::from(error).state.0, "58030"),
        }
    }
}
