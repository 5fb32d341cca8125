//! Clients that break the protocol, take room, leave, or do not read: each gets an error, and no other client notices.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::raw::{self, Raw, bare, bind, describe, error, execute, kinds, odd, parse, query, rows, tags};
use crate::support::server::{PASSWORD, command};
use crate::support::{self, Server};

/// Longest wait, on a busy machine, for an event that is to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

fn one(raw: &mut Raw, sql: &str) -> String {
    rows(&raw.query(sql)).concat().concat()
}

fn metric(raw: &mut Raw, name: &str) -> u64 {
    let value = one(
        raw,
        &format!("SELECT value FROM millstream.metrics WHERE name = '{name}'"),
    );
    value.parse().expect("a count")
}

/// Sockets that connect and say nothing. Both their ends are in descriptors of somebody: this process may have many.
fn silent(server: &Server, count: usize) -> Vec<TcpStream> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit can be raised");
    let connect = |_| TcpStream::connect(server.address()).expect("the system queues connections");
    (0..count).map(connect).collect()
}

/// The server with at most this many descriptors.
fn with_descriptors(data_dir: &std::path::Path, limit: u32, arguments: &[&str]) -> Server {
    let inner = command(data_dir, arguments);
    let mut outer = Command::new("sh");
    outer.arg("-c").arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\""));
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    Server::spawn(outer, data_dir).expect("the server starts")
}

#[test]
fn malformed_messages_are_errors_and_the_session_goes_on() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let mut raw = Raw::connect(&server);
    raw.query("CREATE TOPIC t (a INT)");
    let malformed: [(char, &[u8]); 16] = [
        ('B', b"\0\0"),
        ('B', b""),
        ('B', b"\0\0\0\0\0\x01\0\0\0\x05x"),
        ('B', b"\0\0\xff\xff"),
        ('B', b"\0\0\0\0\xff\xff"),
        ('P', b""),
        ('P', b"\0"),
        ('P', b"\0SELECT 1\0"),
        ('P', b"\0SELECT 1\0\xff\xff"),
        ('D', b""),
        ('D', b"S"),
        ('D', b"x\0"),
        ('C', b""),
        ('C', b"P"),
        ('E', b""),
        ('E', b"\0\0"),
    ];
    for (kind, body) in malformed {
        raw.write(&[odd(kind, body), bare('S')].concat());
        let messages = raw.until_ready();
        assert_eq!(
            (kinds(&messages).as_str(), error(&messages).0.as_str()),
            ("E Z", "08P01"),
            "{kind} {body:?}"
        );
        assert_eq!(one(&mut raw, "SELECT 1"), "1");
    }
    for (kind, body) in [('Q', &b"SELECT 1"[..]), ('Q', b""), ('S', b"x")] {
        raw.write(&odd(kind, body));
        let messages = raw.until_ready();
        assert_eq!(
            (kinds(&messages).as_str(), error(&messages).0.as_str()),
            ("E Z", "08P01"),
            "{kind} {body:?}"
        );
    }
    raw.write(&odd('F', b"\0"));
    assert_eq!(error(&raw.until_ready()).0, "0A000");
    // In a COPY.
    raw.write(&query("COPY t FROM STDIN"));
    assert_eq!(raw.next().map(|message| message.kind), Some('G'));
    raw.write(&odd('f', b"no end"));
    assert_eq!(error(&raw.until_ready()).0, "08P01");
    assert_eq!(one(&mut raw, "SELECT count(*) FROM t"), "0");
    // A length or a type that cannot be: the beginning of the next message is unknown.
    let fatal: [&[u8]; 6] = [
        b"d\0\0\0\x01",
        b"Q\0\0\0\x03",
        b"Q\x7f\xff\xff\xff",
        b"S\0\0\x80\0",
        b"?\0\0\0\x04",
        b"p\0\0\0\x04",
    ];
    for bytes in fatal {
        let mut ended = Raw::connect(&server);
        ended.write(bytes);
        let messages = ended.until_closed();
        assert_eq!(
            (kinds(&messages).as_str(), error(&messages).0.as_str()),
            ("E", "08P01"),
            "{bytes:?}"
        );
        assert_eq!(raw::field(&messages[0], 'S').as_deref(), Some("FATAL"));
    }
    assert_eq!(metric(&mut raw, "panics"), 0, "{}", server.log_tail());
}

#[tokio::test]
async fn malformed_messages_before_the_login_are_refused() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start_with_password(&data_dir, &[]);
    let refused = |bytes: &[u8]| {
        let mut raw = Raw::open(&server);
        let _ = raw.try_write(bytes);
        let messages = raw.until_closed();
        let last = messages.last().unwrap_or_else(|| panic!("no word about {bytes:?}"));
        assert_eq!(last.kind, 'E', "{bytes:?}: {messages:?}");
        assert_eq!(raw::field(last, 'S').as_deref(), Some("FATAL"));
        raw::field(last, 'C').expect("a SQLSTATE")
    };
    let startup = raw::greeting(0, &[]);
    let after_startup = |bytes: &[u8]| refused(&[&startup, bytes].concat());
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\0\0\0\x04",
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\0\x01\0\0\0\x03\0\0",
        b"\0\0\0\x0b\0\x03\0\0abc",
        b"\0\0\0\x08\0\x03\0\0",
        b"\0\0\0\x0c\x04\xd2\x16\x2e\0\0\0\x01",
    ] {
        assert_eq!(refused(bytes), "08P01", "{bytes:?}");
    }
    assert_eq!(refused(b"\0\0\0\x08\0\x02\0\0"), "0A000", "an old protocol");
    for body in [
        &b""[..],
        b"SCRAM-SHA-256",
        b"SCRAM-SHA-256\0",
        b"SCRAM-SHA-256\0\0\0\0\x20n,,",
        b"SCRAM-SHA-256\0\xff\xff\xff\xf0",
        b"SCRAM-SHA-512\0\0\0\0\x03n,,",
    ] {
        assert_eq!(after_startup(&odd('p', body)), "08P01", "{body:?}");
    }
    let words = [
        &b"n,,"[..],
        b"",
        b"n,,n=,r=",
        b"y,,n=\xff,r=x",
        b"p=x,,n=,r=a",
        b"n,,n=,r=a,b=c",
    ];
    for words in words {
        let body = [b"SCRAM-SHA-256\0", &(words.len() as u32).to_be_bytes()[..], words].concat();
        let then = odd('p', b"c=biws,r=,p=");
        assert_eq!(after_startup(&[odd('p', &body), then].concat()), "28P01", "{words:?}");
    }
    // A message that does not belong to the login; and one of 1 GiB, which is refused by its length.
    assert_eq!(after_startup(&query("SELECT 1")), "08P01");
    assert_eq!(after_startup(b"p\x3f\xff\xff\xff"), "08P01");
    let client = support::log_in(server.port(), "millstream", PASSWORD)
        .await
        .expect("the server goes on");
    let panics = support::value(&client, "SELECT value FROM millstream.metrics WHERE name = 'panics'").await;
    assert_eq!(panics, "0", "{}", server.log_tail());
}

#[test]
fn a_length_that_is_claimed_takes_no_memory() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let mut raw = Raw::connect(&server);
    let mut claiming: Vec<Raw> = (0..30).map(|_| Raw::connect(&server)).collect();
    let before = server.memory_mib();
    for raw in &mut claiming {
        raw.write(&[b"Q\x3f\xff\xff\xff".as_slice(), &[b' '; 100_000]].concat());
    }
    for _ in 0..100 {
        assert_eq!(one(&mut raw, "SELECT 1"), "1");
    }
    let after = server.memory_mib();
    assert!(after < before + 100, "{before} MiB, then {after} MiB");
}

#[test]
fn answers_are_sent_when_they_have_become_much() {
    const TIMES: usize = 2000;
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let mut raw = Raw::connect(&server);
    let columns: Vec<String> = (0..800)
        .map(|at| format!("1 AS a_column_with_a_long_name_{at}"))
        .collect();
    raw.write(&[parse("wide", &format!("SELECT {}", columns.join(", ")), &[]), bare('S')].concat());
    assert_eq!(kinds(&raw.until_ready()), "1 Z");
    let before = server.memory_mib();
    raw.write(&[describe('S', "wide").repeat(TIMES), bare('S')].concat());
    let (mut bytes, mut most, mut answers) = (0, 0, 0);
    loop {
        let message = raw.next().expect("the session goes on");
        bytes += message.body.len();
        match message.kind {
            'T' if answers % 100 == 0 => most = most.max(server.memory_mib()),
            'Z' => break,
            _ => {}
        }
        answers += usize::from(message.kind == 'T');
    }
    assert_eq!(answers, TIMES);
    assert!(bytes > 64 << 20, "enough to be seen: {bytes}");
    assert!(
        most < before + 32,
        "{before} MiB, then {most} MiB for {bytes} bytes of answers"
    );
}

#[test]
fn a_client_that_does_not_read_takes_little_memory_and_nobodys_time() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let mut raw = Raw::connect(&server);
    assert_eq!(one(&mut raw, "SELECT 1"), "1");
    let mut slow: Vec<Raw> = (0..4).map(|_| Raw::connect(&server)).collect();
    let before = server.memory_mib();
    for slow in &mut slow {
        slow.write(&query("SELECT repeat('x', 1000) FROM generate_series(1, 2000000)"));
    }
    let mut most = 0;
    let began = Instant::now();
    for _ in 0..300 {
        assert_eq!(one(&mut raw, "SELECT 1"), "1");
        most = most.max(server.memory_mib());
    }
    assert!(began.elapsed() < PATIENCE, "others waited: {:?}", began.elapsed());
    assert!(most < before + 300, "{before} MiB, then {most} MiB");
    // One of them reads after all, and gets its answer.
    let answered = slow.pop().map(|mut slow| tags(&slow.until_ready()));
    assert_eq!(answered, Some(vec!["SELECT 2000000".to_string()]));
}

#[test]
fn what_a_client_has_sent_is_not_done_once_it_is_gone() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let mut raw = Raw::connect(&server);
    let columns: Vec<String> = (0..1600).map(|at| format!("{at} + 1 AS c{at}")).collect();
    let sql = format!("SELECT {}", columns.join(", "));
    let mut leaving = Raw::connect(&server);
    leaving.write(&[parse("", &sql, &[]).repeat(200), bare('S')].concat());
    drop(leaving);
    let began = Instant::now();
    while one(&mut raw, "SELECT count(*) FROM millstream.sessions") != "1" {
        assert!(began.elapsed() < PATIENCE, "it works on after {PATIENCE:?}");
    }
}

#[test]
fn silent_connections_take_no_descriptor_that_the_log_needs() {
    let (_scratch, data_dir) = support::data_dir();
    let server = with_descriptors(&data_dir, 1024, &[]);
    let mut raw = Raw::connect(&server);
    raw.query("CREATE TOPIC t (a INT, b TEXT)");
    let silent = silent(&server, 1100);
    // Somebody else gets in all the same, and is not bothered by those.
    let mut late = Raw::connect(&server);
    for raw in [&mut raw, &mut late] {
        for _ in 0..5 {
            let messages = raw.query("INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 5000) g");
            assert_eq!(tags(&messages), ["INSERT 0 5000"]);
        }
    }
    assert_eq!(one(&mut late, "SELECT count(*) FROM t"), "50000");
    let open = server.descriptors();
    assert!(open < 512, "{open} descriptors are open");
    assert!(
        server.log().contains("file descriptors are enough for 368 connections"),
        "{}",
        server.log_tail()
    );
    drop(silent);
}

#[test]
fn a_place_is_taken_at_the_login_and_a_cancel_needs_none() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start_with(&data_dir, &["--max-connections", "2"]);
    let _silent = silent(&server, 50);
    let (mut first, mut second) = (Raw::connect(&server), Raw::connect(&server));
    let mut third = Raw::open(&server);
    third.write(&raw::greeting(0, &[]));
    assert_eq!(error(&third.until_closed()).0, "53300");
    first.write(&query(
        "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b",
    ));
    let began = Instant::now();
    while one(
        &mut second,
        "SELECT count(*) FROM millstream.sessions WHERE state = 'active'",
    ) != "2"
    {
        assert!(began.elapsed() < PATIENCE, "it does not begin");
    }
    let mut cancelling = Raw::open(&server);
    cancelling.write(&raw::cancel(&first.key));
    assert!(cancelling.until_closed().is_empty());
    assert_eq!(error(&first.until_ready()).0, "57014");
    assert_eq!(metric(&mut second, "connections_refused"), 1);
    // A place that is left is free again.
    drop(first);
    while one(&mut second, "SELECT count(*) FROM millstream.sessions") != "1" {
        assert!(began.elapsed() < PATIENCE, "it does not end");
    }
    assert_eq!(one(&mut Raw::connect(&server), "SELECT 1"), "1");
}

#[test]
fn who_has_not_logged_in_holds_little_and_is_closed_in_time() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let mut raw = Raw::connect(&server);
    assert_eq!(one(&mut raw, "SELECT 1"), "1");
    let (before, open) = (server.memory_mib(), server.descriptors());
    let began = Instant::now();
    let mut silent = silent(&server, 900);
    while server.descriptors() < open + 900 {
        assert!(began.elapsed() < PATIENCE, "they are not accepted");
    }
    let after = server.memory_mib();
    // Of the 20 MiB, the pages of the program that they make it touch are a part.
    assert!(after <= before + 20, "{before} MiB, then {after} MiB with 900 more");
    let last = silent.last_mut().expect("900 of them");
    last.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let read = std::io::Read::read(last, &mut [0]).expect("it is closed, not forgotten");
    assert_eq!(read, 0);
    assert!(began.elapsed() > Duration::from_secs(5), "it had time for its login");
}

#[tokio::test]
async fn failed_logins_are_logged_a_few_times_and_counted() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start_with_password(&data_dir, &[]);
    let connect = async |password: &str| support::log_in(server.port(), "mall\nory", password).await;
    for _ in 0..20 {
        let refused = connect("battery staple")
            .await
            .map(drop)
            .expect_err("the wrong password");
        assert_eq!(support::state(&refused), "28P01");
    }
    let client = connect(PASSWORD).await.expect("the right password");
    let failed = support::value(
        &client,
        "SELECT value FROM millstream.metrics WHERE name = 'logins_failed'",
    )
    .await;
    assert_eq!(failed, "20");
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("a login failed")).collect();
    assert!((1..20).contains(&lines.len()), "{log}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("mall\\nory") && lines[0].contains("127.0.0.1:"),
        "{log}"
    );
    assert!(!log.contains("battery") && !log.contains("horse"), "no secrets: {log}");
}

#[test]
fn tls_can_be_required() {
    let (scratch, data_dir) = support::data_dir();
    let refused = Server::try_start(&data_dir, &["--tls", "required"])
        .map(drop)
        .expect_err("no certificate");
    assert!(
        refused.output.contains("--tls required needs a certificate"),
        "{}",
        refused.output
    );
    let (key, certificate) = (scratch.path().join("key.pem"), scratch.path().join("cert.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
        ])
        .args(["-subj", "/CN=localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    let has_psql = Command::new("psql").arg("--version").output().is_ok();
    let Some(made) = made.ok().filter(|_| has_psql) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "openssl and psql must be installed where CI is set"
        );
        println!("skipped: openssl or psql is not installed");
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (key, certificate) = (key.display().to_string(), certificate.display().to_string());
    let arguments = [
        "--tls",
        "required",
        "--tls-cert",
        certificate.as_str(),
        "--tls-key",
        key.as_str(),
    ];
    let server = Server::start_with(&data_dir, &arguments);
    let mut plain = Raw::open(&server);
    plain.write(&raw::greeting(0, &[]));
    let (state, message) = error(&plain.until_closed());
    assert_eq!(state, "28000");
    assert!(message.starts_with("no pg_hba.conf entry for host \"127.0.0.1\"") && message.ends_with("no encryption"));
    let psql = |mode: &str| {
        let to = format!(
            "host=127.0.0.1 port={} user=millstream dbname=millstream sslmode={mode}",
            server.port()
        );
        let run = Command::new("psql")
            .arg(to)
            .args(["-Atc", "SELECT 1"])
            .output()
            .expect("psql runs");
        (
            String::from_utf8_lossy(&run.stdout).trim().to_string(),
            run.status.success(),
        )
    };
    assert_eq!(psql("require"), ("1".to_string(), true));
    assert_eq!(psql("disable"), (String::new(), false));
}

#[test]
fn a_key_of_cancellation_is_as_long_as_the_protocol_version_allows() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let negotiated = |minor: i32, parameters: &[(&str, &str)]| {
        let (raw, messages) = Raw::connect_as(&server, minor, parameters);
        let answer = messages
            .into_iter()
            .find(|message| message.kind == 'v')
            .map(|message| message.body);
        (raw, answer)
    };
    let version = |minor: i32| (3 << 16 | minor).to_be_bytes();
    let none = 0_i32.to_be_bytes();
    for (minor, length) in [(0, 4), (1, 4), (2, 32)] {
        let (raw, answer) = negotiated(minor, &[]);
        assert_eq!((raw.key.1.len(), answer), (length, None), "3.{minor}");
    }
    let (newer, answer) = negotiated(9999, &[]);
    assert_eq!((newer.key.1.len(), answer), (32, Some([version(2), none].concat())));
    let (_, answer) = negotiated(0, &[("_pq_.x", "1")]);
    assert_eq!(
        answer,
        Some([&version(0)[..], &1_i32.to_be_bytes(), b"_pq_.x\0"].concat())
    );

    let (mut raw, _) = negotiated(2, &[]);
    let mut other = Raw::connect(&server);
    raw.write(&query(
        "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b",
    ));
    let began = Instant::now();
    while one(
        &mut other,
        "SELECT count(*) FROM millstream.sessions WHERE state = 'active'",
    ) != "2"
    {
        assert!(began.elapsed() < PATIENCE, "it does not begin");
    }
    let cancel = |key: &(i32, Vec<u8>)| {
        let mut cancelling = Raw::open(&server);
        cancelling.write(&raw::cancel(key));
        assert!(cancelling.until_closed().is_empty());
    };
    let (id, key) = raw.key.clone();
    for wrong in [
        key[..4].to_vec(),
        [&key[..31], &[key[31] ^ 1]].concat(),
        [&key[..], &[0]].concat(),
    ] {
        cancel(&(id, wrong));
    }
    assert_eq!(
        one(
            &mut other,
            "SELECT count(*) FROM millstream.sessions WHERE state = 'active'"
        ),
        "2"
    );
    cancel(&(id, key));
    assert_eq!(error(&raw.until_ready()).0, "57014");
}

#[test]
fn a_long_pipeline_lets_others_go_on() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    // More than there are threads of sessions, so that some share one with a pipeline.
    let mut others: Vec<Raw> = (0..8).map(|_| Raw::connect(&server)).collect();
    let mut busy: Vec<Raw> = (0..8).map(|_| Raw::connect(&server)).collect();
    for busy in &mut busy {
        busy.write(&parse("one", "SELECT 1", &[]));
        let run = [bind("", "one", 0, &[], 0), execute("", 0)].concat();
        busy.write(&run.repeat(2000));
    }
    for other in &mut others {
        let began = Instant::now();
        assert_eq!(one(other, "SELECT 1"), "1");
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it waited {:?}",
            began.elapsed()
        );
    }
    for busy in &mut busy {
        busy.write(&bare('S'));
        assert_eq!(tags(&busy.until_ready()).len(), 2000);
    }
}
