//! A data directory that is damaged, meddled with or not to be written to, as an operator meets it: with processes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio_postgres::Client;

use crate::support::{self, Server, bag, value};

/// Exit code and everything said.
fn millstream(arguments: &[&str], data_dir: &Path) -> (Option<i32>, String) {
    run(Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(arguments)
        .arg("--data-dir")
        .arg(data_dir))
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("copied")),
        }
    }
}

/// Files of a directory of the data directory, by name.
fn files(data_dir: &Path, dir: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir.join(dir)).expect("readable");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    found.sort();
    found
}

async fn run_script(data_dir: &Path, arguments: &[&str], script: &str, stops: bool) {
    let server = Server::start_with(data_dir, arguments);
    let client = support::connect(&server).await;
    // Each is a transaction of its own.
    for statement in script.split(';').filter(|statement| !statement.trim().is_empty()) {
        client.batch_execute(statement).await.expect(statement);
    }
    drop(client);
    match stops {
        true => assert!(server.stop().success()),
        false => server.kill(),
    }
}

/// Offsets of the commits in a file of the log.
fn commits(bytes: &[u8]) -> Vec<usize> {
    let groups = (1..bytes.len() / 4096).map(|page| page * 4096);
    let found = groups.filter(|at| &bytes[*at..*at + 4] == b"MSFR" && bytes[*at + 68] == 1);
    found.collect()
}

fn change(path: &Path, by: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("readable");
    by(&mut bytes);
    fs::write(path, bytes).expect("writable");
}

/// The answer of the view is that of its query.
async fn check_view(client: &Client) {
    let view = bag(client, "SELECT * FROM v").await.expect("v");
    let batch = bag(
        client,
        "SELECT a % 10 AS k, count(*) AS n, sum(a) AS s FROM t GROUP BY a % 10",
    )
    .await;
    assert_eq!(view, batch.expect("its query"));
}

/// The LSN that the log is marked to have reached.
fn reached(data_dir: &Path) -> u64 {
    let bytes = fs::read(data_dir.join("reached")).expect("it is there");
    let places = bytes.chunks_exact(4096);
    let lsns = places.map(|place| u64::from_le_bytes(place[24..32].try_into().expect("eight bytes")));
    lsns.max().expect("there are places")
}

type Harm = fn(&Path) -> Vec<PathBuf>;

/// Each kind of file, damaged in each way: which files that were.
const HARMS: [(&str, Harm); 13] = [
    ("a bit of the log", |dir| {
        let path = files(dir, "wal").pop().expect("a file");
        change(&path, |bytes| {
            let frame = commits(bytes)[0];
            bytes[frame + 90] ^= 1;
        });
        vec![path]
    }),
    ("a bit of the newest frame", |dir| {
        let path = files(dir, "wal").pop().expect("a file");
        change(&path, |bytes| {
            let frame = commits(bytes).pop().expect("there are commits");
            bytes[frame + 90] ^= 4;
            // Without a seal, if there is one.
            bytes[frame + 4096..].fill(0);
        });
        vec![path]
    }),
    ("the log is zeros", |dir| {
        let path = files(dir, "wal").pop().expect("a file");
        change(&path, |bytes| bytes[4096..].fill(0));
        vec![path]
    }),
    ("the log is cut", |dir| {
        let path = files(dir, "wal").pop().expect("a file");
        change(&path, |bytes| bytes.truncate(8192));
        vec![path]
    }),
    ("a file of the log is gone", |dir| {
        let mut paths = files(dir, "wal");
        fs::remove_file(paths.last().expect("a file")).expect("it is there");
        // The loss shows at the present end of the log.
        paths.split_off(paths.len() - 2)
    }),
    ("files of the log are swapped", |dir| {
        let mut paths = files(dir, "wal");
        let paths = paths.split_off(paths.len() - 2);
        fs::rename(&paths[0], dir.join("aside")).expect("renamed");
        fs::rename(&paths[1], &paths[0]).expect("renamed");
        fs::rename(dir.join("aside"), &paths[1]).expect("renamed");
        paths
    }),
    ("a bit of an image", |dir| {
        let path = files(dir, "meta").pop().expect("an image");
        change(&path, |bytes| bytes[100] ^= 1);
        vec![path]
    }),
    ("an image is cut", |dir| {
        let path = files(dir, "meta").remove(0);
        change(&path, |bytes| bytes.truncate(100));
        vec![path]
    }),
    ("an image has something appended", |dir| {
        let path = files(dir, "meta").pop().expect("an image");
        change(&path, |bytes| bytes.extend_from_slice(b"more"));
        vec![path]
    }),
    ("bits of all segments", |dir| {
        let paths = files(dir, "segments");
        paths.iter().for_each(|path| change(path, |bytes| bytes[100] ^= 1));
        paths
    }),
    ("all segments are gone", |dir| {
        let paths = files(dir, "segments");
        paths
            .iter()
            .for_each(|path| fs::remove_file(path).expect("it is there"));
        paths
    }),
    ("all segments have something appended", |dir| {
        let paths = files(dir, "segments");
        paths
            .iter()
            .for_each(|path| change(path, |bytes| bytes.extend_from_slice(b"more")));
        paths
    }),
    ("the mark is zeros", |dir| {
        let path = dir.join("reached");
        change(&path, |bytes| bytes.fill(0));
        vec![path]
    }),
];

#[tokio::test]
async fn whatever_is_damaged_is_named_and_repaired_and_views_are_right() {
    let (scratch, whole) = support::data_dir();
    let tiny = ["--tiny-segments"];
    let create = "CREATE TOPIC t (a BIGINT) WITH (partitions = 2); CREATE MATERIALIZED VIEW v AS \
                  SELECT a % 10 AS k, count(*) AS n, sum(a) AS s FROM t GROUP BY a % 10";
    run_script(&whole, &tiny, create, true).await;
    for part in 0..3 {
        let insert = format!("INSERT INTO t SELECT * FROM generate_series({part} * 100 + 1, {part} * 100 + 100)");
        run_script(&whole, &tiny, &insert, true).await;
    }
    // In the log alone.
    let server = Server::start(&whole);
    let client = support::connect(&server).await;
    let before = reached(&whole);
    for a in 301..=320 {
        let insert = format!("INSERT INTO t VALUES ({a})");
        client.batch_execute(&insert).await.expect("inserted");
    }
    while reached(&whole) == before {
        tokio::task::yield_now().await;
    }
    drop(client);
    server.kill();
    let (code, said) = millstream(&["check"], &whole);
    assert!(code == Some(0) && said.contains("the log ends at LSN"), "{said}");

    for (number, (what, harm)) in HARMS.iter().enumerate() {
        let dir = scratch.path().join(format!("damaged-{number}"));
        copy(&whole, &dir);
        let harmed = harm(&dir);
        let is_named = |said: &str| {
            let name = |path: &PathBuf| path.file_name().expect("it has one").to_string_lossy().to_string();
            harmed.iter().any(|path| said.contains(&name(path)))
        };
        let (code, said) = millstream(&["check"], &dir);
        assert!(code == Some(1) && is_named(&said), "{what}: {said}");
        // A start refuses, or goes on without the damaged part; then readers of damaged rows get an error.
        let again = scratch.path().join(format!("started-{number}"));
        copy(&dir, &again);
        match Server::try_start(&again, &[]) {
            Err(refused) => assert!(
                refused.status.code() == Some(1) && is_named(&refused.output),
                "{what}: {refused:?}"
            ),
            Ok(server) => {
                let client = support::connect(&server).await;
                match bag(&client, "SELECT count(*) FROM t").await {
                    Err(state) => assert_eq!(state, "XX001", "{what}"),
                    Ok(rows) => assert_eq!(rows, [["320"]], "{what}"),
                }
            }
        }
        let (code, said) = millstream(&["repair"], &dir);
        assert!(code == Some(1) && is_named(&said), "{what}: {said}");
        let (code, said) = millstream(&["repair", "--yes"], &dir);
        assert_eq!(code, Some(0), "{what}: {said}");
        let says_loss = !said.contains("lost             nothing");
        let (code, said) = millstream(&["check"], &dir);
        assert_eq!(code, Some(0), "{what}: {said}");
        let server = Server::start(&dir);
        let client = support::connect(&server).await;
        let left: i64 = value(&client, "SELECT count(*) FROM t")
            .await
            .parse()
            .expect("a number");
        assert!(
            left <= 320 && (says_loss || left == 320),
            "{what}: {left} rows are left"
        );
        check_view(&client).await;
        let insert = "INSERT INTO t SELECT * FROM generate_series(1000, 1049)";
        client.batch_execute(insert).await.expect("it goes on");
        let more: i64 = value(&client, "SELECT count(*) FROM t")
            .await
            .parse()
            .expect("a number");
        assert_eq!(more, left + 50, "{what}");
        check_view(&client).await;
        drop(client);
        assert!(server.stop().success(), "{what}");
        let (code, said) = millstream(&["check"], &dir);
        assert_eq!(code, Some(0), "{what}: {said}");
    }
}

#[tokio::test]
async fn a_repair_names_the_columns_that_it_gives_up() {
    let (_scratch, dir) = support::data_dir();
    let script = "CREATE TOPIC t (a BIGINT); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)";
    run_script(&dir, &[], script, false).await;
    let wal = files(&dir, "wal").pop().expect("a file");
    let more = "INSERT INTO t VALUES (3); ALTER TABLE t ADD COLUMN c TEXT; INSERT INTO t VALUES (4, 'x'); CREATE TOPIC u (b INT)";
    run_script(&dir, &[], more, false).await;
    let newest = files(&dir, "wal").pop().expect("a file");
    assert_ne!(wal, newest);
    // The insert before the column.
    change(&newest, |bytes| {
        let frame = commits(bytes)[0];
        bytes[frame + 90] ^= 1;
    });
    let (code, said) = millstream(&["repair", "--yes"], &dir);
    assert_eq!(code, Some(0), "{said}");
    for words in [
        "a change of topic public.t: it has no column \"c\" any more",
        "topic public.u: it does not exist",
        "lost             all commits after LSN",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let server = Server::start(&dir);
    let client = support::connect(&server).await;
    assert_eq!(bag(&client, "SELECT * FROM t").await.expect("t"), [["1"], ["2"]]);
    let refused = client.batch_execute("INSERT INTO t (a, c) VALUES (5, 'y')").await;
    assert_eq!(support::state(&refused.expect_err("there is no such column")), "42703");
    client
        .batch_execute("INSERT INTO t VALUES (5)")
        .await
        .expect("it goes on");
}

#[tokio::test]
async fn a_data_directory_is_its_owners_alone() {
    let (scratch, dir) = support::data_dir();
    let script = "CREATE TOPIC t (a BIGINT); INSERT INTO t SELECT * FROM generate_series(1, 100)";
    run_script(&dir, &["--tiny-segments"], script, true).await;
    fn modes(dir: &Path) -> Vec<(PathBuf, u32)> {
        let mut found = vec![(
            dir.to_path_buf(),
            fs::metadata(dir).expect("there").permissions().mode() & 0o777,
        )];
        for entry in fs::read_dir(dir).expect("readable") {
            let path = entry.expect("readable").path();
            match path.is_dir() {
                true => found.extend(modes(&path)),
                false => found.push((
                    path.clone(),
                    fs::metadata(&path).expect("there").permissions().mode() & 0o777,
                )),
            }
        }
        found
    }
    fn check(dir: &Path) {
        let found = modes(dir);
        assert!(found.len() > 6, "{found:?}");
        for (path, mode) in found {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, expected, "{}: {mode:o}", path.display());
        }
    }
    check(&dir);
    let backup = scratch.path().join("backup");
    for arguments in [&["backup", "--copy"][..], &["backup"]] {
        let arguments = [arguments, &["--to", backup.to_str().expect("text")]].concat();
        let (code, said) = millstream(&arguments, &dir);
        assert_eq!(code, Some(0), "{said}");
        check(&backup);
        fs::remove_dir_all(&backup).expect("it is there");
    }
    for (path, mode) in modes(&dir) {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o055)).expect("ours");
    }
    let server = Server::start(&dir);
    assert!(server.log_tail().contains("owner's alone"), "{}", server.log_tail());
    check(&dir);
    // Nobody else comes in without the lock's file, either.
    fs::remove_file(dir.join("lock")).expect("it is there");
    let refused = Server::try_start(&dir, &[]).err().expect("it is in use");
    assert!(refused.output.contains("is in use by another server"), "{refused:?}");
    for tool in [&["check"][..], &["repair"], &["repair", "--yes"]] {
        let (code, said) = millstream(tool, &dir);
        assert!(
            code == Some(1) && said.contains("is in use by another server"),
            "{said}"
        );
    }
    assert!(server.stop().success());
}

#[tokio::test]
async fn a_check_and_a_backup_need_nothing_to_be_written() {
    let (scratch, dir) = support::data_dir();
    let script = "CREATE TOPIC t (a BIGINT); INSERT INTO t SELECT * FROM generate_series(1, 100)";
    run_script(&dir, &["--tiny-segments"], script, false).await;
    let backup = scratch.path().join("backup");
    let (mounted, program) = (dir.display(), env!("CARGO_BIN_EXE_millstream"));
    let mount = format!("mount --bind '{mounted}' '{mounted}' && mount -o remount,ro,bind '{mounted}'");
    let read_only = |command: String| {
        let script = format!("{mount} && ! touch '{mounted}/x' 2>/dev/null && {command}");
        run(Command::new("unshare").args(["-m", "sh", "-c", &script]))
    };
    if read_only("true".to_string()).0 != Some(0) {
        // Only the superuser can; the log's own tests have a disk that refuses.
        eprintln!("nothing can be mounted here");
        return;
    }
    let (code, said) = read_only(format!("'{program}' check --data-dir '{mounted}'"));
    assert!(code == Some(0) && said.contains("nothing is damaged"), "{said}");
    let (code, said) = read_only(format!(
        "'{program}' backup --data-dir '{mounted}' --to '{}'",
        backup.display()
    ));
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = read_only(format!("'{program}' serve --listen 127.0.0.1:0 --data-dir '{mounted}'"));
    assert!(code == Some(1) && said.contains("Read-only"), "{said}");
    let server = Server::start(&backup);
    let client = support::connect(&server).await;
    assert_eq!(value(&client, "SELECT count(*) FROM t").await, "100");
}
