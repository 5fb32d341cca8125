//! Copies of data directories: of logs that are written to meanwhile, on disks that lose power, of files that vanish.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64};

use futures::executor::block_on;
use parking_lot::Mutex;

use crate::storage::{DiskFile, DiskLock, Fault, FaultDisk, FaultKind, Purpose, RealDisk, Space};

use super::*;

const DIR: &str = "/d";
const TO: &str = "/b";
/// Of a group with one small commit, and of the header of a file of the log.
const GROUP_BYTES: u64 = 4096;

fn open(disk: &Arc<dyn Disk>, dir: &Path, options: LogOptions) -> Arc<Log> {
    open_with(Arc::clone(disk), dir, options).expect("opened").0
}

/// Commit number `i`: three rows, in turn over topic 1's partitions. After the creation it has LSN `i + 2`.
fn commit(log: &Log, i: i64) {
    let values = [(i * 3, Some(NOW_US + i)), (i * 3 + 1, None), (i * 3 + 2, None)];
    block_on(log.commit(insert(1, (i % 2) as u32, &values), Acknowledge::Synced)).expect("inserted");
}

fn create_and_fill(log: &Log, commits: i64) {
    block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
    (0..commits).for_each(|i| commit(log, i));
}

/// Flushes all the time, and has small files of the log.
fn small() -> LogOptions {
    LogOptions {
        wal_file_bytes_max: 32 << 10,
        ..tiny()
    }
}

/// The copy opens and holds exactly the transactions up to `lsn`, and it takes more.
fn check_copy(disk: &Arc<dyn Disk>, dir: &Path, lsn: Lsn) {
    let log = open_copy(disk, dir, lsn);
    (0..5).for_each(|i| commit(&log, lsn as i64 - 1 + i));
}

/// The copy opens and holds exactly the transactions up to `lsn`.
fn open_copy(disk: &Arc<dyn Disk>, dir: &Path, lsn: Lsn) -> Arc<Log> {
    let (log, recovered) = open_with(Arc::clone(disk), dir, small()).expect("the copy opens");
    assert_eq!(recovered.newest, lsn);
    let commits = lsn as i64 - 1;
    for partition in 0..2 {
        let mine = (0..commits).filter(|i| i % 2 == partition);
        let expected: Vec<i64> = mine.flat_map(|i| [i * 3, i * 3 + 1, i * 3 + 2]).collect();
        assert_eq!(ids(&log, 1, partition as u32), expected);
    }
    log
}

#[test]
fn nothing_need_be_written_to_check_and_back_up() {
    let disk = FaultDisk::new();
    let log = open(&disk.shared(), Path::new(DIR), small());
    create_and_fill(&log, 100);
    drop(log);
    let found = super::check(&disk.copy().shared(), Path::new(DIR)).expect("checked");
    disk.set_read_only(Path::new(DIR));
    let checked = super::check(&disk.shared(), Path::new(DIR)).expect("checked");
    assert_eq!((checked.damage.len(), checked.newest), (0, found.newest));
    assert!(checked.segments > 5);
    let made = backup(&disk.shared(), Path::new(DIR), Path::new(TO), true).expect("copied");
    assert_eq!(made.linked, 0);
    check_copy(&disk.shared(), Path::new(TO), made.lsn);
    assert!(
        repair(&disk.shared(), Path::new(DIR), false)
            .expect("nothing to do")
            .damage
            .is_empty()
    );
    assert!(open_with(disk.shared(), Path::new(DIR), small()).is_err());
}

#[test]
fn a_backup_of_a_log_that_is_written_to_is_what_it_was_at_one_lsn() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let disk = RealDisk::shared();
    let dir = scratch.path().join("data");
    let options = LogOptions {
        background: true,
        ..small()
    };
    // Flushed by the committer, so that there are segments even on a busy machine.
    let log = open(&disk, &dir, small());
    create_and_fill(&log, 200);
    drop(log);
    let log = open(&disk, &dir, options);
    let done = Arc::new(AtomicBool::new(false));
    // More commits in each round: rows written meanwhile are to be read again.
    let (allowed, per_round) = (Arc::new(AtomicI64::new(200)), 50);
    let writing = std::thread::spawn({
        let (log, done, allowed) = (Arc::clone(&log), Arc::clone(&done), Arc::clone(&allowed));
        move || {
            let mut next = 200;
            while !done.load(Ordering::Relaxed) {
                if next < allowed.load(Ordering::Relaxed) {
                    commit(&log, next);
                    next += 1;
                } else {
                    std::thread::yield_now();
                }
            }
        }
    });
    let mut newest = 0;
    for round in 0..6 {
        allowed.fetch_add(per_round, Ordering::Relaxed);
        let acknowledged = log.newest();
        let to = scratch.path().join(format!("backup-{round}"));
        let made = backup(&disk, &dir, &to, round % 2 == 0).expect("copied");
        assert!(made.lsn >= acknowledged.max(newest), "{made:?} after {acknowledged}");
        assert!(made.segments > 10 && made.segment_rows > 100, "{made:?}");
        assert_eq!(made.linked, if round % 2 == 0 { made.segments } else { 0 });
        assert!(!disk.list(&to).expect("it is there").contains(&"lock".to_string()));
        newest = made.lsn;
        check_copy(&disk, &to, made.lsn);
    }
    done.store(true, Ordering::Relaxed);
    writing.join().expect("the writer ends");
    // The original is unaffected by the copies' use of their links.
    drop(log);
    let found = check(&disk, &dir).expect("it can be checked");
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    open(&disk, &dir, small());
}

#[test]
fn a_backup_can_be_made_of_a_log_without_image_and_of_one_that_is_closed() {
    let disk = FaultDisk::new().shared();
    let log = open(&disk, Path::new(DIR), steady());
    create_and_fill(&log, 10);
    let made = backup(&disk, Path::new(DIR), Path::new(TO), true).expect("copied");
    assert_eq!((made.lsn, made.segments), (11, 0));
    drop(log);
    let log = open(&disk, Path::new(DIR), small());
    (10..100).for_each(|i| commit(&log, i));
    drop(log);
    let made = backup(&disk, Path::new(DIR), Path::new("/c"), true).expect("copied");
    assert_eq!(made.lsn, 101);
    check_copy(&disk, Path::new(TO), 11);
    check_copy(&disk, Path::new("/c"), 101);
    for taken in [DIR, TO] {
        let refused = backup(&disk, Path::new("/c"), Path::new(taken), true);
        assert!(matches!(refused, Err(LogError::Occupied { .. })), "{refused:?}");
    }
}

#[test]
fn every_byte_of_a_copied_log_is_known_to_be_synced() {
    let disk = FaultDisk::new();
    let log = open(&disk.shared(), Path::new(DIR), steady());
    create_and_fill(&log, 3);
    // The newest group is not sealed: on the original, damage to it passes for a torn write.
    backup(&disk.shared(), Path::new(DIR), Path::new(TO), true).expect("copied");
    let wal = Path::new(TO).join("wal").join("00000001.wal");
    disk.flip_bit(&wal, GROUP_BYTES * 4 + 100, 1).expect("it is there");
    let refused = open_with(disk.shared(), Path::new(TO), steady()).err();
    assert!(matches!(refused, Some(LogError::Corrupt { lsn: 4, .. })), "{refused:?}");
}

#[test]
fn a_power_cut_during_a_backup_leaves_a_whole_one_or_none() {
    let source = FaultDisk::new();
    let log = open(&source.shared(), Path::new(DIR), small());
    create_and_fill(&log, 60);
    drop(log);
    let (mut whole, mut none) = (0, 0);
    for nth in 1.. {
        let disk = source.copy();
        let kind = FaultKind::PowerCut;
        disk.plan(Fault { kind, nth });
        let made = backup(&disk.shared(), Path::new(DIR), Path::new(TO), nth % 2 == 0);
        let finished = !disk.is_off();
        for seed in 0..2 {
            let after = disk.reboot(nth * 10 + seed);
            if after.is_vacant(Path::new(TO)).expect("listed") {
                assert!(made.is_err(), "a backup that was reported is gone after a cut at {nth}");
                none += 1;
                // The rest of the attempt is in nobody's way.
                backup(&after.shared(), Path::new(DIR), Path::new(TO), true).expect("copied");
            } else {
                whole += 1;
            }
            open_copy(&after.shared(), Path::new(TO), 61);
            open_copy(&after.shared(), Path::new(DIR), 61);
        }
        if finished {
            break;
        }
    }
    assert!(whole > 1 && none > 50, "{whole} whole, {none} none");
}

#[test]
fn what_is_damaged_is_not_backed_up() {
    let disk = FaultDisk::new();
    let log = open(&disk.shared(), Path::new(DIR), small());
    create_and_fill(&log, 60);
    drop(log);
    let segments = Path::new(DIR).join("segments");
    let name = disk.list(&segments).expect("it is there").remove(0);
    disk.flip_bit(&segments.join(&name), 100, 1).expect("it is there");
    match backup(&disk.shared(), Path::new(DIR), Path::new(TO), true) {
        Err(LogError::Damaged { file, .. }) => assert_eq!(file, segments.join(name)),
        other => panic!("{other:?}"),
    }
    assert!(disk.is_vacant(Path::new(TO)).expect("listed"));
}

/// Called between two steps of the reader of the disk.
type Hook = Arc<Mutex<Box<dyn FnMut() + Send>>>;

/// A disk on which something happens before each hard link, and between two halves of each large read of the log.
struct Meddled {
    disk: FaultDisk,
    before_link: Hook,
    between_reads: Hook,
    /// The boundary between the halves.
    split: u64,
}

struct MeddledFile {
    file: Arc<dyn DiskFile>,
    between_reads: Hook,
    split: u64,
}

fn nothing() -> Hook {
    Arc::new(Mutex::new(Box::new(|| {})))
}

impl Disk for Meddled {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path)?;
        if !path.starts_with(Path::new(DIR).join("wal")) {
            return Ok(file);
        }
        Ok(Arc::new(MeddledFile {
            file,
            between_reads: Arc::clone(&self.between_reads),
            split: self.split,
        }))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.before_link.lock())();
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

impl DiskFile for MeddledFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let Some((first, second)) = usize::try_from(self.split)
            .ok()
            .and_then(|at| buf.split_at_mut_checked(at))
        else {
            return self.file.read_at(offset, buf);
        };
        self.file.read_at(offset, first)?;
        (self.between_reads.lock())();
        self.file.read_at(offset + self.split, second)
    }

    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.file.write_at(offset, pieces)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[test]
fn a_group_that_is_seen_before_the_one_before_it_is_no_damage() {
    let disk = FaultDisk::new();
    let log = open(&disk.shared(), Path::new(DIR), steady());
    create_and_fill(&log, 10);
    // Two groups of a page each come while the log is read: the first one where it was read already.
    let split = GROUP_BYTES * (1 + 11 + 1);
    let mut next = 10;
    let writes = move || {
        if next < 14 {
            commit(&log, next);
            commit(&log, next + 1);
            next += 2;
        }
    };
    let meddled: Arc<dyn Disk> = Arc::new(Meddled {
        disk: disk.clone(),
        before_link: nothing(),
        between_reads: Arc::new(Mutex::new(Box::new(writes))),
        split,
    });
    let made = backup(&meddled, Path::new(DIR), Path::new(TO), true).expect("copied");
    assert!((11..=15).contains(&made.lsn), "{made:?}");
    check_copy(&disk.shared(), Path::new(TO), made.lsn);
}

#[test]
fn damage_in_the_log_is_told_from_a_group_that_is_on_its_way() {
    let disk = FaultDisk::new();
    let log = open(&disk.shared(), Path::new(DIR), steady());
    create_and_fill(&log, 10);
    let wal = Path::new(DIR).join("wal").join("00000001.wal");
    disk.flip_bit(&wal, GROUP_BYTES * 5 + 90, 1).expect("it is there");
    let refused = backup(&disk.shared(), Path::new(DIR), Path::new(TO), true);
    assert!(matches!(refused, Err(LogError::Corrupt { lsn: 5, .. })), "{refused:?}");
}

#[test]
fn a_backup_whose_files_vanish_begins_again_and_gives_up_at_last() {
    let disk = FaultDisk::new();
    let log = open(&disk.shared(), Path::new(DIR), small());
    create_and_fill(&log, 60);
    // Each time all files that the newest image names are removed: another topic with the rows takes the place of the
    // first.
    let turns_left = Arc::new(Mutex::new(2));
    let give_up = {
        let (log, turns_left) = (Arc::clone(&log), Arc::clone(&turns_left));
        let mut version = 1;
        move || {
            let mut left = turns_left.lock();
            if *left == 0 {
                return;
            }
            *left -= 1;
            let topic = version as u32;
            let swap = Commit {
                ddl: Some(Ddl {
                    based_on: version,
                    record: b"swap".to_vec(),
                    topics: vec![TopicChange::Drop(TopicId(topic)), TopicChange::Create(spec(topic + 1))],
                }),
                ..Commit::default()
            };
            version += 1;
            block_on(log.commit(swap, Acknowledge::Synced)).expect("swapped");
            for i in 0..100 {
                block_on(log.commit(insert(topic + 1, 0, &[(i, None)]), Acknowledge::Synced)).expect("inserted");
            }
        }
    };
    let meddled: Arc<dyn Disk> = Arc::new(Meddled {
        disk: disk.clone(),
        before_link: Arc::new(Mutex::new(Box::new(give_up))),
        between_reads: nothing(),
        split: u64::MAX,
    });
    let newest = log.newest();
    let made = backup(&meddled, Path::new(DIR), Path::new(TO), true).expect("the third attempt finds all");
    assert_eq!(made.lsn, newest + 2 * 101);
    let found = check(&disk.shared(), Path::new(TO)).expect("it can be checked");
    assert!(found.damage.is_empty() && found.unused_segments == 0, "{found:?}");
    let copied = open(&disk.shared(), Path::new(TO), small());
    assert!(ids(&copied, 3, 0).into_iter().eq(0..100));

    *turns_left.lock() = i32::MAX;
    let refused = backup(&meddled, Path::new(DIR), Path::new("/c"), true);
    assert!(matches!(refused, Err(LogError::Overtaken { .. })), "{refused:?}");
    assert!(disk.is_vacant(Path::new("/c")).expect("listed"));
}
