//! Damages one file of a data directory, by seed. A check, a start or a read names the damage, or nothing is missing; a repair
//! names its losses and keeps to them, and afterwards the log goes on.
//!
//! One rule: rows are never wrong, and none goes missing unnamed. `DAMAGE_SEED=17` repeats one case and prints it;
//! `DAMAGE_SEEDS=20000` tries more.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;

use futures::executor::block_on;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::storage::FaultDisk;

use super::*;

const DIR: &str = "/d";
const CASES: u64 = 2000;

/// Partition, offset, id.
type Rows = BTreeSet<(u32, u64, i64)>;

/// A data directory as a server left it.
struct Source {
    disk: FaultDisk,
    rows: Rows,
    newest: Lsn,
}

/// Commit number `i`: three rows, in turn over topic 1's partitions. After the creation it has LSN `i + 2`.
fn commit(log: &Log, i: i64) {
    let values = [(i * 3, Some(NOW_US + i)), (i * 3 + 1, None), (i * 3 + 2, None)];
    let mut commit = insert(1, (i % 2) as u32, &values);
    if i % 8 == 7 {
        // Its rows are in a file that it adopts.
        let append = &mut commit.appends[0];
        let rows = append.rows.memory().expect("they are in memory").clone();
        let spilled = log.spill(append.topic, append.schema_id, append.partition, rows.schema());
        let mut spilled = spilled.expect("a file");
        spilled.push(rows).expect("written");
        append.rows = super::super::AppendRows::Spilled(spilled.finish().expect("synced").expect("it has rows"));
    }
    block_on(log.commit(commit, Acknowledge::Synced)).expect("inserted");
}

fn options(kind: usize) -> LogOptions {
    let options = match kind {
        0 => steady(),
        1 | 2 => tiny(),
        _ => merging(),
    };
    LogOptions {
        wal_file_bytes_max: if kind == 0 { 256 << 10 } else { 64 << 10 },
        mark_every_ms: 0,
        ..options
    }
}

fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let ends = (0..4).flat_map(|kind| [false, true].map(|clean| (kind, clean)));
        let made = ends.map(|(kind, clean)| {
            let disk = FaultDisk::new();
            let (log, _) = open_with(disk.shared(), Path::new(DIR), options(kind)).expect("opened");
            block_on(log.commit(create(0, &[1]), Acknowledge::Synced)).expect("created");
            (0..60 + kind as i64).for_each(|i| commit(&log, i));
            // In a second life, too.
            drop(log);
            let disk = disk.kill();
            let (log, _) = open_with(disk.shared(), Path::new(DIR), options(kind)).expect("opened");
            (60 + kind as i64..75).for_each(|i| commit(&log, i));
            let newest = log.newest();
            let rows = rows_of(&log, &mut Vec::new());
            if clean {
                close(&log).expect("closed");
            }
            drop(log);
            assert_eq!(rows.len(), 225);
            Source {
                // Without the removed files: copies of it are made all the time.
                disk: disk.kill().copy().reboot(0),
                rows,
                newest,
            }
        });
        made.collect()
    })
}

/// The rows that can be read; the damage to the others.
fn rows_of(log: &Log, damage: &mut Vec<LogError>) -> Rows {
    let mut found = Rows::new();
    let Ok(extents) = log.read(&reader(log, 1), 0, log.newest()) else {
        return found;
    };
    for extent in extents {
        let chunk = match extent.load() {
            Ok(Some(chunk)) => chunk,
            Ok(None) => continue,
            Err(error) => {
                damage.push(error);
                continue;
            }
        };
        let ids = chunk.rows.column(0).as_primitive::<Int64Type>().values();
        let placed = (chunk.base_offset..).zip(ids.iter());
        found.extend(placed.map(|(offset, id)| (chunk.partition, offset, *id)));
    }
    found
}

fn files(disk: &FaultDisk) -> Vec<PathBuf> {
    let dirs = ["", "wal", "meta", "segments"].map(|name| Path::new(DIR).join(name));
    let names = dirs.iter().flat_map(|dir| {
        let names = disk.list(dir).expect("it is there");
        names.into_iter().map(move |name| dir.join(name))
    });
    names.collect()
}

fn write(disk: &FaultDisk, path: &Path, offset: u64, bytes: &[u8]) {
    let file = disk.open(path).expect("it is there");
    file.write_at(offset, &[bytes]).expect("written");
}

/// Damages one file, or swaps two; returns their paths, and the damage in words. `None` if that changes nothing.
fn harm(disk: &FaultDisk, random: &mut StdRng) -> Option<(Vec<PathBuf>, String)> {
    let files = files(disk);
    // Each kind of file is chosen as often, no matter the number of its files.
    let dir = ["", "wal", "wal", "meta", "segments"][random.random_range(0..5)];
    let of: Vec<&PathBuf> = files
        .iter()
        .filter(|path| path.parent() == Some(&Path::new(DIR).join(dir)))
        .collect();
    if of.is_empty() {
        return None;
    }
    let path = match random.random_bool(0.5) {
        true => of[of.len() - 1],
        false => of[random.random_range(0..of.len())],
    };
    let before = disk.content(path).expect("it is there");
    let length = before.len() as u64;
    // Of a file of the log most is zeros: where it matters.
    let used = before
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last as u64 + 1);
    let mut at = || random.random_range(0..used.max(1));
    let (from, to) = (at(), at());
    let done = match random.random_range(0..9) {
        0 | 1 if length > 0 => {
            disk.flip_bit(path, from, (to % 8) as u8).expect("it is there");
            format!("bit {} of byte {from} is flipped", to % 8)
        }
        2 if length > 0 => {
            let bytes: Vec<u8> = (0..600).map(|i| (i * 7 + from) as u8 | 1).collect();
            let bytes = &bytes[..((length - from) as usize).min(1 + to as usize % 600)];
            write(disk, path, from, bytes);
            format!("{} bytes at {from} are others", bytes.len())
        }
        3 => {
            disk.open(path)
                .and_then(|file| file.set_len(from))
                .expect("it is there");
            format!("it is cut at {from} of {length}")
        }
        4 => {
            write(disk, path, from, &vec![0; (length - from) as usize]);
            format!("it is zeros from {from} on")
        }
        5 => {
            let (from, to) = (from.min(to), from.max(to));
            write(disk, path, from, &vec![0; (to - from) as usize]);
            format!("it is zeros from {from} to {to}")
        }
        6 => {
            let other = of[random.random_range(0..of.len())];
            if other == path {
                return None;
            }
            let aside = Path::new(DIR).join("aside");
            disk.rename(path, &aside).expect("renamed");
            disk.rename(other, path).expect("renamed");
            disk.rename(&aside, other).expect("renamed");
            let done = format!("it is swapped with {}", other.display());
            return Some((vec![path.clone(), other.clone()], done));
        }
        7 => {
            disk.remove(path).expect("it is there");
            return Some((vec![path.clone()], "it is deleted".to_string()));
        }
        _ => {
            let more = vec![b'x'; 1 + to as usize % 5000];
            write(disk, path, length, &more);
            format!("{} bytes are appended", more.len())
        }
    };
    (disk.content(path).expect("it is there") != before).then(|| (vec![path.clone()], done))
}

/// The outcome of a case, in one word.
fn case(seed: u64, says: bool) -> &'static str {
    let mut random = StdRng::seed_from_u64(seed);
    let source = &sources()[random.random_range(0..sources().len())];
    let (disk, dir) = (source.disk.copy(), Path::new(DIR));
    let Some((paths, done)) = harm(&disk, &mut random) else {
        return "unchanged";
    };
    if says {
        eprintln!("{paths:?}: {done}");
    }
    let checked = super::check(&disk.copy().shared(), dir).expect("it can be checked");
    let mut told = checked.damage.clone();
    let started = disk.copy();
    match open_with(started.shared(), dir, options(0)) {
        Ok((log, _)) => {
            let found = rows_of(&log, &mut told);
            assert!(found.is_subset(&source.rows), "rows that nobody inserted");
            assert!(
                !told.is_empty() || found == source.rows,
                "rows are missing, and nothing tells"
            );
        }
        Err(error) => {
            assert!(!checked.damage.is_empty(), "{error}, but a check finds nothing");
            told.push(error);
        }
    }
    if told.is_empty() {
        return "nothing needs it";
    }
    let named = |path: &PathBuf| {
        let name = path.file_name().expect("it has a name").to_string_lossy().to_string();
        told.iter().any(|error| error.to_string().contains(&name))
    };
    // The file before a lost end of the log tells of it.
    let is_end = paths[0].starts_with(dir.join("wal")) && told.iter().any(|error| error.to_string().contains(".wal"));
    assert!(
        paths.iter().any(named) || is_end,
        "none of {paths:?} is named: {told:?}"
    );

    let repaired = match repair(&disk.shared(), dir, true) {
        Ok(repaired) => repaired,
        Err(LogError::Irreparable { .. }) => {
            // The log alone does not go back, and of two images one would do.
            let images = disk.list(&dir.join("meta")).expect("it is there");
            assert!(images.len() < 2, "{paths:?}: {done}");
            return "irreparable";
        }
        Err(error) => panic!("it cannot be repaired: {error}"),
    };
    assert!(!repaired.damage.is_empty());
    let after = super::check(&disk.shared(), dir).expect("it can be checked");
    assert_eq!(after.damage, [], "the check is green after");
    let (log, recovered) = open_with(disk.shared(), dir, options(1)).expect("it opens");
    let cut = repaired.commits.as_ref().map(|commits| commits.after);
    assert!(recovered.newest >= cut.unwrap_or(source.newest).min(source.newest));
    if log.spec(TopicId(1)).is_err() {
        assert_eq!(cut, Some(0), "the topic is gone");
        return "cut before the first commit";
    }
    let mut damage = Vec::new();
    let left = rows_of(&log, &mut damage);
    assert_eq!(damage, []);
    assert!(left.is_subset(&source.rows));
    for (partition, offset, id) in source.rows.difference(&left) {
        let lsn = (id / 3 + 2) as Lsn;
        let named = repaired.rows.iter().any(|lost| {
            lost.partition == *partition && (lost.first_offset..lost.first_offset + lost.rows).contains(offset)
        });
        assert!(
            named || cut.is_some_and(|cut| lsn > cut),
            "offset {offset} of partition {partition} is lost, and nothing says so: {repaired:?}"
        );
    }
    // It goes on, with flushes, restarts and all.
    (0..24).for_each(|i| commit(&log, 10_000 + i));
    drop(log);
    let (log, _) = open_with(disk.kill().shared(), dir, options(1)).expect("it opens");
    let mut damage = Vec::new();
    let more = rows_of(&log, &mut damage);
    assert_eq!(damage, []);
    assert!(more.is_superset(&left) && more.len() == left.len() + 72, "L2");
    match (cut, repaired.rows.is_empty()) {
        (Some(_), _) => "commits lost",
        (None, false) => "rows lost",
        (None, true) => "nothing lost",
    }
}

#[test]
fn whatever_is_damaged_is_told_and_repaired() {
    if let Some(seed) = number("DAMAGE_SEED") {
        println!("{}", case(seed, true));
        return;
    }
    let cases = number("DAMAGE_SEEDS").unwrap_or(CASES);
    let outcomes = parking_lot::Mutex::new(std::collections::BTreeMap::new());
    sources();
    let failures = each_seed(cases, 20, |seed| {
        let outcome = std::panic::catch_unwind(|| case(seed, false)).map_err(drop)?;
        *outcomes.lock().entry(outcome).or_insert(0) += 1;
        Ok(())
    });
    println!("{:?}", outcomes.lock());
    let failures: Vec<u64> = failures.into_iter().map(|(seed, ())| seed).collect();
    assert!(
        failures.is_empty(),
        "cases {failures:?} failed; DAMAGE_SEED={} cargo test --lib log::tests::damage",
        failures[0]
    );
    for outcome in ["nothing needs it", "commits lost", "rows lost", "nothing lost"] {
        assert!(
            cases < CASES || outcomes.lock().contains_key(outcome),
            "nothing of \"{outcome}\""
        );
    }
}
