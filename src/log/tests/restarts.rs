//! Restarts: the state that one must keep, or miss aloud. The simulation found each of these cases.

use futures::executor::block_on;

use crate::storage::{Disk, Fault, FaultDisk, FaultKind};

use super::*;

const DIR: &str = "/d";

fn open_at(disk: &FaultDisk, options: &LogOptions, clock: &Arc<TestClock>) -> Arc<Log> {
    let clock = Arc::clone(clock) as SharedClock;
    let opened = Log::open(disk.shared(), Path::new(DIR), options.clone(), clock);
    opened.expect("opened").0
}

#[test]
fn the_newest_rows_and_events_keep_the_time_of_their_append() {
    let disk = FaultDisk::new();
    let clock = TestClock::at(NOW_US);
    let log = open_at(&disk, &steady(), &clock);
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    for (after_us, partition, event_us) in [
        (1, 0, Some(NOW_US)),
        (2, 0, None),
        (3, 1, Some(NOW_US - 7)),
        (4, 0, None),
    ] {
        clock.set(NOW_US + after_us * 1_000_000);
        let insert = insert(1, partition, &[(after_us, event_us)]);
        block_on(log.commit(insert, Acknowledge::Synced)).expect("inserted");
    }
    drop(log);
    // Partitions come back in any order.
    for _ in 0..10 {
        let log = open_at(&disk.copy(), &steady(), &clock);
        let stats = log.topic_stats(TopicId(1)).expect("it exists");
        assert_eq!(stats.newest_event_us, Some(NOW_US));
        assert_eq!(stats.newest_event_append_us, Some(NOW_US + 1_000_000));
        assert_eq!(stats.newest_append_us, Some(NOW_US + 4_000_000));
    }
}

#[test]
fn crashes_do_not_make_the_log_longer_than_an_orderly_life() {
    let mut disk = FaultDisk::new();
    let options = LogOptions {
        image_after_bytes: 64 << 10,
        wal_file_bytes_max: 32 << 10,
        flush_bytes: usize::MAX,
        ..tiny()
    };
    let clock = TestClock::at(NOW_US);
    for life in 0..60 {
        let log = open_at(&disk, &options, &clock);
        if life == 0 {
            block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
        }
        for i in 0..3 {
            block_on(log.commit(insert(1, 0, &[(i, None)]), Acknowledge::Synced)).expect("inserted");
        }
        log.settle();
        let stats = log.stats();
        assert!(stats.wal_bytes < 256 << 10, "life {life}: {} bytes", stats.wal_bytes);
        assert!(stats.wal_files < 20, "life {life}: {} files", stats.wal_files);
        let wal = Path::new(DIR).join("wal");
        let names = disk.list(&wal).expect("the directory exists");
        let sizes = names
            .iter()
            .map(|name| disk.content(&wal.join(name)).expect("it is there").len());
        let size: usize = sizes.sum();
        assert!(size < 300 << 10, "life {life}: {size} bytes on disk");
        disk = disk.kill();
    }
}

#[test]
fn rows_that_a_failed_sync_left_in_the_page_cache_alone_are_written_again() {
    let disk = FaultDisk::new();
    let clock = TestClock::at(NOW_US);
    let log = open_at(&disk, &steady(), &clock);
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    let kind = FaultKind::ForgetSync;
    disk.plan(Fault { kind, nth: 1 });
    block_on(log.commit(insert(1, 0, &[(1, None)]), Acknowledge::Synced)).expect_err("the sync failed");
    let disk = disk.kill();
    drop(log);
    let log = open_at(&disk, &steady(), &clock);
    assert_eq!(ids(&log, 1, 0), [1], "it is read back, so it counts");
    block_on(log.commit(insert(1, 0, &[(2, None)]), Acknowledge::Synced)).expect("inserted");
    for seed in 0..10 {
        let log = open_at(&disk.reboot(seed), &steady(), &clock);
        assert_eq!(ids(&log, 1, 0), [1, 2]);
    }
}

fn refused(disk: &FaultDisk, options: &LogOptions) -> bool {
    let opened = open_with(disk.shared(), Path::new(DIR), options.clone());
    matches!(opened, Err(LogError::Corrupt { .. }))
}

#[test]
fn a_group_that_was_written_over_the_one_before_it_is_noticed() {
    let disk = FaultDisk::new();
    let clock = TestClock::at(NOW_US);
    let log = open_at(&disk, &steady(), &clock);
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    for first in [100, 200] {
        let values: Vec<(i64, Option<i64>)> = (first..first + 100).map(|id| (id, Some(NOW_US))).collect();
        block_on(log.commit(insert(1, 0, &values), Acknowledge::Synced)).expect("inserted");
    }
    drop(log);
    let path = Path::new(DIR).join("wal/00000001.wal");
    let content = disk.content(&path).expect("it is there");
    let group = |number: usize| number * 4096..(number + 1) * 4096;
    // The third group should be behind the second one, and is nowhere else.
    for sector in 0..6 {
        let disk = disk.copy();
        let file = disk.open(&path).expect("it is there");
        file.write_at(3 * 4096, &[&[0; 4096]]).expect("written");
        file.write_at(2 * 4096 + sector * 512, &[&content[group(3)]])
            .expect("written");
        assert!(
            refused(&disk, &steady()),
            "moved to sector {sector} of the group before"
        );
    }
}

#[test]
fn the_name_of_a_damaged_image_tells_how_far_the_log_went() {
    let disk = FaultDisk::new();
    let clock = TestClock::at(NOW_US);
    let options = LogOptions {
        flush_bytes: usize::MAX,
        ..tiny()
    };
    let log = open_at(&disk, &options, &clock);
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    let meta = Path::new(DIR).join("meta");
    let images = || disk.list(&meta).expect("the directory exists");
    while images().len() < 2 {
        block_on(log.commit(insert(1, 0, &[(1, None)]), Acknowledge::Synced)).expect("inserted");
        log.settle();
    }
    let lsn = log.newest();
    drop(log);
    let newest = meta.join(&images()[1]);
    // The older image, and the log after it, are enough.
    disk.flip_bit(&newest, 100, 1).expect("it is there");
    assert!(!refused(&disk.copy(), &options));
    // But not if the same write destroyed the end of the log.
    let path = Path::new(DIR).join("wal/00000001.wal");
    let file = disk.open(&path).expect("it is there");
    file.write_at((lsn - 1) * 4096, &[&[7; 8192]]).expect("written");
    assert!(refused(&disk, &options));
}
