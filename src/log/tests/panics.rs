//! Panics of the log's own threads: a panic of the flusher is a failed flush, one of the writer fails the log.

use futures::executor::block_on;

use crate::storage::{Fault, FaultDisk, FaultKind};

use super::*;

const DIR: &str = "/d";

fn plan(disk: &FaultDisk, nth: u64) {
    let kind = FaultKind::Panic;
    disk.plan(Fault { kind, nth });
}

fn commit(log: &Log, i: i64) -> Result<Receipt, LogError> {
    block_on(log.commit(insert(1, 0, &[(i, None)]), Acknowledge::Synced))
}

#[test]
fn a_panic_while_rows_are_flushed_is_a_flush_that_failed() {
    // On the flusher's thread or on that of the writer; at each operation of a flush or a merge.
    let mut failed = 0;
    for (background, nth) in [false, true]
        .into_iter()
        .flat_map(|background| (1..40).map(move |nth| (background, nth)))
    {
        let disk = FaultDisk::new();
        let mut options = LogOptions {
            background,
            flush_retry_after_ms: 0,
            flush_bytes: usize::MAX,
            ..merging()
        };
        let (log, _) = open_with(disk.shared(), Path::new(DIR), options.clone()).expect("opened");
        block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
        for i in 0..100 {
            commit(&log, i).expect("inserted");
        }
        drop(log);
        options.flush_bytes = 1;
        options.seal_after_ms = 1;
        let (log, _) = open_with(disk.shared(), Path::new(DIR), options).expect("opened");
        commit(&log, 100).expect("inserted");
        plan(&disk, nth);
        let mut next = 101;
        while next < 110 || log.stats().flush_failure.is_some() || log.stats().image_lsn.is_none() {
            match commit(&log, next) {
                Ok(_) => next += 1,
                // Commits are written to the same disk.
                Err(LogError::Failed { .. }) => {
                    let reason = block_on(log.failed());
                    assert!(reason.contains("internal error"), "{reason}");
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        if log.stats().flush_failure.is_none() {
            failed += 1;
        }
        drop(log);
        let (log, _) = open_with(disk.kill().shared(), Path::new(DIR), merging()).expect("opened");
        let found = ids(&log, 1, 0);
        assert!(found.len() as i64 >= next, "{} of {next} rows", found.len());
        assert!(found.iter().copied().eq(0..found.len() as i64));
    }
    assert!(failed > 20, "{failed} flushes were done at last");
}

#[test]
fn a_panic_while_commits_are_written_fails_the_log() {
    // By the writer's thread, and by the committer.
    for inline_sync_us_max in [None, Some(u64::MAX)] {
        let disk = FaultDisk::new();
        let options = LogOptions {
            inline_sync_us_max,
            ..steady()
        };
        let (log, _) = open_with(disk.shared(), Path::new(DIR), options.clone()).expect("opened");
        block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
        commit(&log, 0).expect("inserted");
        // The writer acknowledges before it puts the pen down, and a commit writes by itself only if that is free.
        log.settle();
        plan(&disk, 1);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| commit(&log, 1)));
        // A committer that writes panics; others get an error.
        assert_eq!(outcome.is_err(), inline_sync_us_max.is_some());
        if let Ok(outcome) = outcome {
            assert!(matches!(outcome, Err(LogError::Failed { .. })), "{outcome:?}");
        }
        // L4: the process ends, and nothing more is acknowledged.
        let reason = block_on(log.failed());
        assert!(reason.contains("internal error"), "{reason}");
        let later = commit(&log, 2);
        assert!(matches!(later, Err(LogError::Failed { .. })), "{later:?}");
        let closed = close(&log);
        assert!(matches!(closed, Err(LogError::Failed { .. })), "{closed:?}");
        drop(log);
        let (log, _) = open_with(disk.kill().shared(), Path::new(DIR), options).expect("opened");
        assert_eq!(ids(&log, 1, 0)[..1], [0]);
    }
}
