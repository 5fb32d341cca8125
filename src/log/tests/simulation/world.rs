//! [`World`]: one log on one disk with one clock, from its first start to its end, all of it decided by a seed.
//!
//! One rule: every choice comes from the world's own random source, and the writer's thread has settled before the next
//! one is made; so a seed always gives the same history.
//!
//! ```text
//!  life   a fault is planned -> open, which it may strike -> check all -> steps -> an end: power cut, kill, close
//! ```
//!
//! Not here: the checks (`oracle`), the commits (`workload`).

mod oracle;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use futures::FutureExt;
use futures::executor::block_on;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::storage::{Fault, FaultDisk, FaultKind};

use super::super::*;
use super::model::Model;
use super::workload::{self, Workload};
use oracle::Held;

pub const DIR: &str = "/d";

/// The events so far, in words.
pub type History = Rc<RefCell<Vec<String>>>;

/// The faults that a seed may bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weather {
    /// Power cuts, deaths of the process, failed writes and syncs.
    Crashes,
    /// The same, and once a misdirected write or a rotten sector.
    Damage,
}

/// Needs rows since some time, in topics with an odd id.
struct Needs(Option<i64>);

impl DdlObserver for Needs {
    fn apply(&self, _lsn: Lsn, _record: &[u8]) {}

    fn needed_since(&self, topic: TopicId) -> Option<i64> {
        self.0.filter(|_| topic.0 % 2 == 1)
    }
}

pub struct World {
    random: StdRng,
    /// Decides about spilling.
    spills: StdRng,
    weather: Weather,
    disk: FaultDisk,
    clock: Arc<TestClock>,
    now_us: i64,
    options: LogOptions,
    workload: Workload,
    model: Model,
    /// Newest LSN that was acknowledged or visible.
    acknowledged: Lsn,
    /// Up to here the log holds evidence of the sync in a later group.
    confirmed: Lsn,
    damaged: bool,
    held: Vec<Held>,
    /// Of transactions that are under way.
    spilled: Vec<Arc<Spilled>>,
    /// Readers that began before topics were altered.
    readers: Vec<Reader>,
    /// The oldest time whose rows the observer needs.
    needed_us: Option<i64>,
    /// The furthest position of the retention clock: it goes on as time passes, even when the machine's clock is set,
    /// but for stops in which the machine was off.
    retention_us: i64,
    /// The machine has started again since the last life.
    rebooted: bool,
    /// A fault has come that another plan has replaced since.
    struck: bool,
    lives: u64,
    /// Starts since the last life that failed: each may have logged a record of its own.
    failed_starts: u64,
    /// Bytes that one group added to the log, at most.
    largest_group: u64,
    /// An image is late, then.
    has_failed_flush: bool,
    history: History,
    runtime: tokio::runtime::Runtime,
}

/// The state of a life.
#[derive(PartialEq, Eq)]
enum Goes {
    On,
    /// The log has failed.
    Over,
}

impl World {
    pub fn new(seed: u64, canary: bool, history: History) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let weather = match !canary && random.random_bool(0.25) {
            true => Weather::Damage,
            false => Weather::Crashes,
        };
        let mut options = workload::options(&mut random);
        options.acknowledge_before_sync = canary;
        history
            .borrow_mut()
            .push(format!("seed {seed}, {weather:?}, {options:?}"));
        let workload = Workload::new(&mut random);
        let needed_us = random.random_bool(0.3).then_some(NOW_US + 100_000_000);
        World {
            random,
            spills: StdRng::seed_from_u64(!seed),
            weather,
            disk: FaultDisk::new(),
            clock: TestClock::at(NOW_US),
            now_us: NOW_US,
            options,
            workload,
            model: Model::default(),
            acknowledged: 0,
            confirmed: 0,
            damaged: false,
            held: Vec::new(),
            spilled: Vec::new(),
            needed_us,
            retention_us: NOW_US,
            rebooted: false,
            struck: false,
            readers: Vec::new(),
            lives: 0,
            failed_starts: 0,
            largest_group: 0,
            has_failed_flush: false,
            history,
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime"),
        }
    }

    /// Whether the disk has failed in this life.
    fn has_failed(&self) -> bool {
        self.struck || self.disk.has_failed()
    }

    /// Whether the log has commits of its own: records of retention, or commits so that files can go after a merge or
    /// with a dropped topic.
    fn logs_by_itself(&self) -> bool {
        self.model.retains() || self.options.flush.merge.after_ms == 0 || self.model.dropped().next().is_some()
    }

    fn note(&self, what: impl Into<String>) {
        self.history.borrow_mut().push(what.into());
    }

    /// Lives through some lives, then checks that a quiet log keeps no more files than it needs.
    pub fn run(mut self) {
        let lives = self.random.random_range(2..=5);
        for life in 0..lives {
            if self.random.random_bool(0.3) {
                // A start takes about ten operations.
                self.plan(14);
            }
            let Some(log) = self.open() else {
                if self.is_refused() {
                    return;
                }
                continue;
            };
            self.lives += 1;
            let steps = self.random.random_range(0..=self.workload.steps_max);
            let mut goes = Goes::On;
            let strikes = self.random.random_range(0..=2 * steps);
            for step in 0..steps {
                if goes == Goes::Over {
                    break;
                }
                if step == strikes {
                    // A commit takes two operations, a flush ten.
                    self.plan([2, 6, 24][step % 3]);
                }
                goes = self.step(&log);
            }
            self.note(format!("end of life {life}, {} operations", self.disk.operations()));
            if self.random.random_bool(0.2) && !self.has_failed() {
                self.plan(10);
            }
            self.end(log);
        }
        self.quiet_end();
    }

    /// Whether damage has made the log refuse to start: nothing more can happen then.
    fn is_refused(&self) -> bool {
        self.damaged
            && self
                .history
                .borrow()
                .last()
                .is_some_and(|last| last.starts_with("refused"))
    }

    /// Plans a fault, at one of the next operations up to `last`.
    fn plan(&mut self, last: u64) {
        let nth = self.random.random_range(1..=last);
        let kind = match self.random.random_range(0..9) {
            0..4 => FaultKind::PowerCut,
            8 => FaultKind::FailOperation,
            4 => FaultKind::FailWrite,
            5 => match self.random.random_bool(0.5) {
                true => FaultKind::FailSync,
                false => FaultKind::ForgetSync,
            },
            _ if self.weather == Weather::Damage && !self.damaged => FaultKind::Misdirect {
                seed: self.random.random(),
            },
            _ => return,
        };
        self.note(format!("planned: {kind:?}, number {nth}"));
        self.struck |= self.disk.has_failed();
        self.disk.plan(Fault { kind, nth });
        // It counts as damage from here on: when it strikes is not asked.
        self.damaged |= matches!(kind, FaultKind::Misdirect { .. });
    }

    /// Opens the log and checks all that it holds. `None` if the disk failed meanwhile, or damage was found.
    fn open(&mut self) -> Option<Arc<Log>> {
        let checked = self.random.random_bool(0.15).then(|| self.check_disk());
        let clock: SharedClock = Arc::clone(&self.clock) as SharedClock;
        let opened = Log::open(self.disk.shared(), Path::new(DIR), self.options.clone(), clock);
        let (log, recovered) = match opened {
            Ok(opened) => opened,
            Err(LogError::Io { reason, .. }) if self.has_failed() => {
                self.note(format!("the disk failed while opening: {reason}"));
                self.failed_starts += 1;
                self.restart();
                return None;
            }
            Err(error @ (LogError::Corrupt { .. } | LogError::Damaged { .. })) if self.damaged => {
                let checked = self.check_disk();
                assert!(!checked.damage.is_empty(), "{error}, but a check finds nothing");
                self.note(format!("refused: {error}"));
                return None;
            }
            Err(error) => panic!("the log does not open: {error}"),
        };
        log.observe_ddl(Arc::new(Needs(self.needed_us)));
        log.settle();
        self.note(format!(
            "opened: LSN {} of {}, {} acknowledged, image {:?}",
            recovered.newest,
            self.model.newest(),
            self.acknowledged,
            log.stats().image_lsn
        ));
        let least = if self.damaged {
            self.confirmed
        } else {
            self.acknowledged
        };
        assert!(
            recovered.newest >= least,
            "L3: LSN {least} was acknowledged, {} is the newest recovered",
            recovered.newest
        );
        if recovered.newest < self.acknowledged {
            self.note("lost: a group that damage took before a later one could tell of it");
        }
        self.forget_lost(&log, &recovered, least);
        if std::mem::take(&mut self.rebooted) {
            // A clock that was set forward past the newest commit looks like a stop.
            self.retention_us = match recovered.newest {
                0 => self.retention_us.max(self.now_us),
                _ => {
                    let stopped_us = self.now_us - self.model.last_timestamp_us();
                    self.retention_us + stopped_us.clamp(0, 31 * DAY_US)
                }
            };
        }
        self.readers.retain(|reader| self.model.knows(reader));
        (self.acknowledged, self.confirmed) = (recovered.newest, recovered.newest);
        assert_eq!(
            recovered.catalog,
            self.model.catalog(),
            "C1: the catalog's records after a restart"
        );
        self.workload.exact_from = log.stats().image_lsn.unwrap_or(0);
        let damaged = self.damaged;
        if let Some(checked) = checked {
            assert!(
                self.damaged || checked.damage.is_empty(),
                "a check finds damage: {:?}",
                checked.damage
            );
            if checked.damage.is_empty() {
                assert_eq!(
                    checked.newest,
                    Some(recovered.newest),
                    "a check and a start find the same"
                );
                // A file that a check finds whole can be read, unless a write of the start went elsewhere.
                self.damaged &= self.has_failed();
            }
        }
        self.check_all(&log);
        self.damaged = damaged;
        Some(log)
    }

    /// Forgets the commits after `least` that the log does not have. Behind those that it has there may be records of
    /// its own that the model does not know.
    fn forget_lost(&mut self, log: &Log, recovered: &Recovered, least: Lsn) {
        let newest = recovered.newest;
        let failed_starts = std::mem::take(&mut self.failed_starts);
        let records_max = match self.logs_by_itself() {
            true => 1 + failed_starts,
            false => 0,
        };
        let last = newest.min(self.model.newest());
        // Only a start puts them where commits were that were never acknowledged.
        let first = last.saturating_sub(records_max.min(failed_starts)).max(least);
        let kept = (first..=last).rev().find(|kept| {
            let mut model = self.model.clone();
            model.truncate(*kept);
            model.catalog() == recovered.catalog
                && model.producers() == log.producers()
                && model.groups() == group_offsets(log)
                && model.fits(|id| log.topic_stats(TopicId(id)))
        });
        let kept =
            kept.unwrap_or_else(|| panic!("L5: at LSN {newest}, the newest recovered, is what nobody committed"));
        assert!(
            newest - kept <= records_max,
            "LSN {newest} was never put in order, after {kept}"
        );
        self.model.truncate(kept);
        for lsn in kept + 1..=newest {
            self.note(format!("retention: LSN {lsn}, by a start or an end"));
            self.model.skip(self.now_us);
        }
    }

    fn step(&mut self, log: &Arc<Log>) -> Goes {
        match self.random.random_range(0..100) {
            0..66 => return self.commit(log),
            66..77 => self.move_clock(),
            77..88 => self.read(log),
            88..92 => self.hold(log),
            92..95 => self.load_held(),
            95..97 => self.check_all(log),
            _ => self.rot(),
        }
        Goes::On
    }

    /// Commits one transaction, or several as one group.
    fn commit(&mut self, log: &Arc<Log>) -> Goes {
        self.confirmed = self.acknowledged;
        let before = log.stats().wal_bytes;
        let count = match self.random.random_bool(0.6) {
            true => 1,
            false => self.random.random_range(2..=6),
        };
        let held = (count > 1 || self.random.random_bool(0.3)).then(|| log.hold());
        let mut waiting = Vec::new();
        let mut failed = false;
        self.workload.begin_group(&self.model);
        for _ in 0..count {
            let Some((draft, mut commit, record)) = self.workload.draft(&mut self.random, &self.model, self.now_us)
            else {
                continue;
            };
            if self.spills.random_bool(0.3)
                && let Err(error) = self.spill(log, &mut commit)
            {
                assert!(self.has_failed(), "rows cannot be spilled: {error}");
                self.note(format!("not spilled: {}: {error}", workload::describe(&draft)));
                continue;
            }
            let acknowledge = match self.random.random_bool(0.7) {
                true => Acknowledge::Synced,
                false => Acknowledge::Queued,
            };
            let (task_log, described) = (Arc::clone(log), workload::describe(&draft));
            let mut task = async move { task_log.commit(commit, acknowledge).await }.boxed_local();
            let polled = task.as_mut().now_or_never();
            // The second: event times far ahead are looked for in the file once more.
            if let Some(Err(error @ (LogError::Unflushed { .. } | LogError::Io { .. }))) = &polled {
                assert!(self.has_failed(), "a flush failed by itself: {error}");
                self.note(format!("refused: {described}: {error}"));
                continue;
            }
            let expected = self.model.apply(&draft, record, self.now_us);
            self.note(format!("LSN {}, {acknowledge:?}: {described}", expected.lsn));
            match polled {
                Some(Ok(receipt)) => check_receipt(&receipt, &expected, acknowledge == Acknowledge::Synced),
                Some(Err(error)) => failed |= self.is_failure(error),
                None => waiting.push((task, expected)),
            }
        }
        drop(held);
        for (task, expected) in waiting {
            match block_on(task) {
                Ok(receipt) => check_receipt(&receipt, &expected, true),
                Err(error) => failed |= self.is_failure(error),
            }
        }
        log.settle();
        while log.newest() > self.model.newest() {
            assert!(self.logs_by_itself(), "LSN {} was never put in order", log.newest());
            self.model.skip(self.now_us);
            self.note(format!("retention: LSN {}", self.model.newest()));
        }
        // A queued commit says nothing of a failure.
        failed |= log.newest() < self.model.newest();
        self.acknowledged = self.acknowledged.max(log.newest());
        if failed {
            assert!(self.has_failed(), "the log failed by itself");
            self.note(format!("the log failed, LSN {} is the newest", log.newest()));
            let later = self.workload.draft(&mut self.random, &self.model, self.now_us);
            if let Some((_, commit, _)) = later {
                let refused = block_on(log.commit(commit, Acknowledge::Synced)).err();
                let is_right = matches!(refused, Some(LogError::Failed { .. } | LogError::Unflushed { .. }));
                assert!(is_right, "L4: a failed log takes a commit: {refused:?}");
            }
            return Goes::Over;
        }
        if let Some(failure) = log.stats().flush_failure {
            self.has_failed_flush = true;
            assert!(self.has_failed(), "a flush failed by itself: {failure}");
            assert!(!failure.starts_with("internal error"), "{failure}");
        }
        self.check_size(log, before);
        Goes::On
    }

    /// Puts rows of a transaction into files, as a session does that has too many; and now and then rows of one that comes
    /// to nothing.
    fn spill(&mut self, log: &Log, commit: &mut Commit) -> Result<(), LogError> {
        for append in &mut commit.appends {
            let Some(rows) = append.rows.memory().cloned() else {
                continue;
            };
            if self.spills.random_bool(0.3) {
                continue;
            }
            let mut writer = log.spill(append.topic, append.schema_id, append.partition, rows.schema())?;
            let first = self.spills.random_range(0..=rows.num_rows());
            writer.push(rows.slice(0, first))?;
            if self.spills.random_bool(0.5) {
                writer.write_out()?;
            }
            writer.push(rows.slice(first, rows.num_rows() - first))?;
            match self.spills.random_range(0..10) {
                // The rows are committed from memory after these.
                0 => self.note("a spill is left unfinished"),
                1 => {
                    let spilled = writer.finish()?;
                    self.note("a spill is given up, soon or later");
                    self.spilled.extend(spilled.filter(|_| self.spills.random_bool(0.5)));
                }
                2 => {
                    self.note("a spill is refused");
                    let stale = Append {
                        schema_id: append.schema_id + 1,
                        rows: AppendRows::Spilled(writer.finish()?.expect("it has rows")),
                        ..append.clone()
                    };
                    let stale = Commit {
                        appends: vec![stale],
                        ..Commit::default()
                    };
                    let refused = block_on(log.commit(stale, Acknowledge::Synced)).err();
                    let is_right = matches!(
                        refused,
                        Some(LogError::StaleSchema { .. } | LogError::UnknownTopic { .. } | LogError::Unflushed { .. })
                    );
                    assert!(is_right, "a stale commit: {refused:?}");
                }
                _ => {
                    let spilled = writer.finish()?.expect("it has rows");
                    self.note(format!("spilled {} rows", spilled.rows()));
                    append.rows = AppendRows::Spilled(spilled);
                }
            }
        }
        Ok(())
    }

    /// True: a failure was to be expected.
    fn is_failure(&self, error: LogError) -> bool {
        let is_expected = matches!(error, LogError::Failed { .. }) && self.has_failed();
        assert!(is_expected, "a commit failed: {error}");
        true
    }

    fn move_clock(&mut self) {
        let (by_us, passed) = match self.random.random_range(0..6) {
            0 | 1 => (self.random.random_range(0..5_000_000), true),
            2 => (self.random.random_range(0..100_000_000), true),
            3 => (self.random.random_range(-5_000_000..0), false),
            4 => (self.random.random_range(0..100_000_000), false),
            _ => (self.random.random_range(-3..=3) * DAY_US, false),
        };
        self.now_us += by_us;
        if passed {
            self.clock.pass(by_us);
            self.retention_us += by_us;
        } else {
            self.clock.set(self.now_us);
        }
        let how = if passed { "passes" } else { "is set" };
        self.note(format!("the clock {how} by {by_us} us"));
    }

    /// Flips a bit somewhere, if this seed may.
    fn rot(&mut self) {
        if self.weather == Weather::Crashes || self.damaged || self.disk.is_off() {
            return;
        }
        let dir = ["wal", "meta", "segments"][self.random.random_range(0..3)];
        let dir = PathBuf::from(DIR).join(dir);
        let names = self.disk.list(&dir).expect("the directory exists");
        if names.is_empty() {
            return;
        }
        let path = dir.join(&names[self.random.random_range(0..names.len())]);
        let bytes = self.disk.content(&path).expect("it is there").len() as u64;
        if bytes > 0 {
            let offset = self.random.random_range(0..bytes);
            let bit = self.random.random_range(0..8);
            self.disk.flip_bit(&path, offset, bit).expect("it is there");
            self.damaged = true;
            self.note(format!("bit {bit} at {offset} of {bytes} of {} rots", path.display()));
        }
    }

    /// Ends a life in some way; the disk is then as the next one finds it.
    fn end(&mut self, log: Arc<Log>) {
        if !self.disk.is_off() && self.random.random_bool(0.5) {
            self.load_held();
        }
        self.held.clear();
        if self.spills.random_bool(0.5) {
            // Else they go once the log has ended.
            self.spilled.clear();
        }
        match self.random.random_range(0..4) {
            0 if !self.disk.is_off() => {
                let closed = self.runtime.block_on(log.close());
                self.note(format!("closed: {closed:?}"));
                let failed = self.has_failed();
                assert!(closed.is_ok() || failed, "the log does not close: {closed:?}");
                if closed.is_ok() {
                    self.confirmed = self.acknowledged;
                }
            }
            1 => {
                self.note("left without being closed");
                drop(log);
                self.restart();
                return;
            }
            _ => {
                self.note("power cut");
                self.disk.cut();
            }
        }
        drop(log);
        self.restart();
    }

    /// The machine or the process alone starts again.
    fn restart(&mut self) {
        self.spilled.clear();
        self.struck = false;
        if !self.disk.is_off() && self.random.random_bool(0.5) {
            self.note("the process starts again");
            self.disk = self.disk.kill();
        } else {
            let seed = self.random.random();
            self.note(format!("the machine starts again, seed {seed}"));
            self.clock.reboot();
            self.rebooted = true;
            self.disk = self.disk.reboot(seed);
        }
    }

    /// Last lives without faults: the rest is checked, and once two images stand on a log without further drops of
    /// topics, the only files are those that they need.
    fn quiet_end(&mut self) {
        let rounds = if self.options.image_after_bytes < u64::MAX {
            3
        } else {
            1
        };
        for round in 0..rounds {
            let Some(log) = self.open() else {
                assert!(self.is_refused(), "a quiet disk has failed");
                return;
            };
            if round > 0 && !self.damaged {
                self.check_files(round);
            }
            self.commit_rows(&log);
            self.check_all(&log);
            let closed = self.runtime.block_on(log.close());
            assert!(closed.is_ok(), "the log does not close: {closed:?}");
            self.confirmed = self.acknowledged;
            self.note("closed in quiet");
            drop(log);
            self.restart();
        }
    }

    /// One row into some topic, which there is then.
    fn commit_rows(&mut self, log: &Arc<Log>) {
        self.workload.begin_group(&self.model);
        let (draft, commit, record) = self.workload.plain(&mut self.random, &self.model, self.now_us);
        let expected = self.model.apply(&draft, record, self.now_us);
        let receipt = block_on(log.commit(commit, Acknowledge::Synced)).expect("nothing fails in quiet");
        check_receipt(&receipt, &expected, true);
        log.settle();
        while log.newest() > self.model.newest() {
            self.model.skip(self.now_us);
        }
        self.acknowledged = log.newest();
    }
}

/// The offsets of consumer groups that a log has published.
pub fn group_offsets(log: &Log) -> BTreeMap<u32, BTreeMap<u32, u64>> {
    let groups = log.shared.offsets.lock().all().into_iter();
    groups
        .map(|(group, offsets)| (group, offsets.into_iter().collect()))
        .collect()
}

fn check_receipt(receipt: &Receipt, expected: &Receipt, synced: bool) {
    assert_eq!(
        (receipt.lsn, &receipt.appended),
        (expected.lsn, &expected.appended),
        "LSN and offsets of a receipt"
    );
    let timestamp_us = if synced { expected.timestamp_us } else { 0 };
    assert_eq!(receipt.timestamp_us, timestamp_us, "_timestamp of LSN {}", receipt.lsn);
}
