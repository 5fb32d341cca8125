//! The storm: eight clients send a real server the input of a seed (`storm/generator.rs`): statements of every kind,
//! odd parameters, COPY data, bytes that are no messages, cancels, and ends in the middle. Others notice nothing.
//!
//! At all times the process is there; every panic in its log is counted in `millstream.metrics`; its memory
//! stays below tail + query memory + view memory + 300 MiB (2,000 without `STORM_STRICT`); bystanders, who read and write a
//! topic of their own, get right answers, and soon; every error has an SQLSTATE, and every statement an answer. Afterwards
//! the server stops on request, starts again, and `millstream check` finds nothing. Statements that met XX000 are
//! listed: each is a defect to mend.
//!
//! `STORM_SECONDS` gives the length (15 without it), `STORM_SEED` the storm, `STORM_SERVER` the binary (the one under
//! test without it), `STORM_BYSTANDERS` their number. With `STORM_STRICT=1`, on a release build by hand, the bounds are
//! those that the documentation promises; without it they are those of a debug build on a machine that does other
//! things too.

mod generator;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;

use self::generator::{Generator, Kind};
use crate::support::{self, Server, fuzz, raw};

const CLIENTS: usize = 8;
const QUERY_MIB: u64 = 256;
const TAIL_MIB: u64 = 64;
const VIEW_MIB: u64 = 128;
/// `statement_timeout` of the clients.
const STATEMENT_MS: u64 = 5_000;

/// Bounds that the run must keep.
struct Bounds {
    /// Until a statement is answered.
    answer: Duration,
    bystander_p99: Duration,
    stop: Duration,
    /// Memory that the process may have beside its configured parts.
    other_mib: u64,
}

impl Bounds {
    fn of_environment() -> Bounds {
        let is_strict = std::env::var("STORM_STRICT").is_ok_and(|value| value == "1");
        let seconds = |strict, usual| Duration::from_secs(if is_strict { strict } else { usual });
        Bounds {
            answer: seconds(15, 60),
            bystander_p99: if is_strict {
                Duration::from_millis(50)
            } else {
                Duration::from_secs(10)
            },
            stop: seconds(10, 60),
            other_mib: if is_strict { 300 } else { 2000 },
        }
    }
}

fn binary() -> PathBuf {
    std::env::var_os("STORM_SERVER").map_or_else(|| env!("CARGO_BIN_EXE_millstream").into(), PathBuf::from)
}

/// A server of the storm's binary; `--view-memory-mib` if it knows it.
fn start(data_dir: &Path) -> Server {
    let help = Command::new(binary())
        .args(["serve", "--help"])
        .output()
        .expect("the binary can be run");
    let mut arguments = vec![
        "--query-memory-mib".to_string(),
        QUERY_MIB.to_string(),
        "--tail-memory-mib".to_string(),
        TAIL_MIB.to_string(),
    ];
    if String::from_utf8_lossy(&help.stdout).contains("--view-memory-mib") {
        arguments.extend(["--view-memory-mib".to_string(), VIEW_MIB.to_string()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let command = support::server::command_of(&binary(), data_dir, &arguments);
    Server::spawn(command, data_dir).unwrap_or_else(|refused| panic!("the server did not start:\n{}", refused.output))
}

/// State that all threads of the storm share.
struct Storm {
    address: SocketAddr,
    bounds: Bounds,
    over: AtomicBool,
    /// The present work of each client.
    doing: Vec<Mutex<String>>,
    statements: AtomicU64,
    /// By SQLSTATE.
    errors: Mutex<BTreeMap<String, u64>>,
    /// Messages of XX000 with the first statement that met each, and the number of them.
    internal: Mutex<BTreeMap<String, (String, u64)>>,
    /// By bystander, the longest wait above a quarter of a second and the clients' work at its end.
    slowest: Vec<Mutex<String>>,
    /// Broken expectations, with the client that found each.
    broken: Mutex<Vec<String>>,
}

impl Storm {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn breaks(&self, what: String) {
        let mut broken = self.broken.lock().expect("no thread panics with it");
        if broken.len() < 20 {
            eprintln!("storm: {what}");
            broken.push(what);
        }
    }

    fn error(&self, state: &str, message: &str, statement: &str) {
        *self
            .errors
            .lock()
            .expect("no thread panics with it")
            .entry(state.to_string())
            .or_default() += 1;
        if state.len() != 5 {
            self.breaks(format!("an error without SQLSTATE: {message}: {}", shown(statement)));
        }
        if state == "XX000" {
            let kind: String = message
                .chars()
                .map(|c| if c.is_ascii_digit() { '#' } else { c })
                .take(120)
                .collect();
            let mut internal = self.internal.lock().expect("no thread panics with it");
            internal
                .entry(kind)
                .or_insert_with(|| (format!("{message}\n      {}", shown(statement)), 0))
                .1 += 1;
        }
    }

    fn running(&self) -> String {
        let doing = self
            .doing
            .iter()
            .map(|doing| shown(&doing.lock().expect("no thread panics with it")));
        doing.collect::<Vec<_>>().join("\n      ")
    }
}

fn shown(statement: &str) -> String {
    const BYTES: usize = 300;
    let end = statement.floor_char_boundary(BYTES);
    let more = if end < statement.len() {
        format!("... ({} bytes)", statement.len())
    } else {
        String::new()
    };
    format!("{}{more}", &statement[..end])
}

/// Why a client has no connection any more.
enum Lost {
    /// It was closed or reset, maybe after a FATAL error.
    Closed,
    /// Nothing came for longer than an answer may take.
    Silent,
}

/// A connection that drops its input, but for errors.
struct Client {
    stream: TcpStream,
    key: (i32, Vec<u8>),
}

/// The answer to a message.
#[derive(Default)]
struct Answer {
    errors: Vec<(String, String)>,
    /// The server waits for COPY data.
    copies: bool,
    /// The last DataRow's body, if it was short.
    row: Vec<u8>,
}

impl Client {
    fn connect(storm: &Storm) -> Result<Client, Lost> {
        let stream = TcpStream::connect(storm.address).map_err(|_| Lost::Closed)?;
        stream
            .set_read_timeout(Some(storm.bounds.answer))
            .expect("a timeout can be set");
        stream
            .set_write_timeout(Some(storm.bounds.answer))
            .expect("a timeout can be set");
        stream.set_nodelay(true).expect("nodelay can be set");
        let mut client = Client {
            stream,
            key: (0, Vec::new()),
        };
        client.write(&raw::startup(&["user", "millstream", "database", "millstream"]))?;
        client.answer(&mut Answer::default())?;
        Ok(client)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        self.stream.write_all(bytes).map_err(|error| lost(&error))
    }

    /// Reads up to ReadyForQuery, or up to where COPY data is expected.
    fn answer(&mut self, answer: &mut Answer) -> Result<(), Lost> {
        const KEPT_BYTES: usize = 8 << 10;
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head).map_err(|error| lost(&error))?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
            let mut body = vec![0; length.min(KEPT_BYTES)];
            self.stream.read_exact(&mut body).map_err(|error| lost(&error))?;
            let rest = (length - body.len()) as u64;
            std::io::copy(&mut (&self.stream).take(rest), &mut std::io::sink()).map_err(|error| lost(&error))?;
            match head[0] {
                b'E' => {
                    let message = raw::Message { kind: 'E', body };
                    let field = |code| raw::field(&message, code).unwrap_or_default();
                    answer.errors.push((field('C'), field('M')));
                }
                b'K' => {
                    let id = body[..4].try_into().expect("a process id of four bytes");
                    self.key = (i32::from_be_bytes(id), body[4..].to_vec());
                }
                b'D' => answer.row = body,
                b'G' => {
                    answer.copies = true;
                    return Ok(());
                }
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }

    fn query(&mut self, sql: &str) -> Result<Answer, Lost> {
        let mut answer = Answer::default();
        self.write(&raw::query(sql))?;
        self.answer(&mut answer)?;
        if answer.copies {
            self.write(&raw::copy_fail("not now"))?;
            self.answer(&mut answer)?;
        }
        Ok(answer)
    }
}

fn lost(error: &std::io::Error) -> Lost {
    match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Lost::Silent,
        _ => Lost::Closed,
    }
}

/// One client of the storm, until it is over.
fn rage(storm: &Storm, number: usize, mut random: StdRng) {
    let mut client = None;
    while !storm.is_over() {
        let Some(connected) = client.as_mut() else {
            match Client::connect(storm) {
                Ok(mut new) => {
                    let _ = new.query(&format!("SET statement_timeout = {STATEMENT_MS}"));
                    client = Some(new);
                }
                Err(Lost::Silent) => storm.breaks("a new connection got no answer".to_string()),
                Err(Lost::Closed) if storm.is_over() => {}
                Err(Lost::Closed) => {
                    storm.breaks("a new connection was refused".to_string());
                    return;
                }
            }
            continue;
        };
        let (statement, step) = Step::of(&mut random);
        *storm.doing[number].lock().expect("no thread panics with it") = statement.clone();
        let began = Instant::now();
        let outcome = step.run(storm, connected, &statement, &mut random);
        storm.statements.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(Some(answer)) => {
                for (state, message) in &answer.errors {
                    storm.error(state, message, &statement);
                }
            }
            Ok(None) => client = None,
            Err(Lost::Closed) => client = None,
            Err(Lost::Silent) => {
                storm.breaks(format!("no answer in {:?}: {}", began.elapsed(), shown(&statement)));
                client = None;
            }
        }
        storm.doing[number].lock().expect("no thread panics with it").clear();
    }
}

/// The way to send a statement.
enum Step {
    Simple,
    Extended,
    Copy(Vec<u8>),
    Cancelled,
    Left,
    Bytes(Vec<u8>),
}

impl Step {
    fn of(random: &mut StdRng) -> (String, Step) {
        let choice = random.random_range(0..100);
        let mut generator = Generator::new(random);
        match choice {
            0..=64 => (generator.statement(), Step::Simple),
            65..=79 => {
                let kind = if choice % 2 == 0 { Kind::Text } else { Kind::Numeric };
                let statement = match choice % 3 {
                    0 => generator.insert(),
                    1 => format!("SELECT $1, {}", generator.expression(kind, 2)),
                    _ => generator.query(2),
                };
                (statement, Step::Extended)
            }
            80..=87 => {
                let (statement, data) = generator.copy_in();
                (statement, Step::Copy(data))
            }
            88..=91 => (generator.statement(), Step::Cancelled),
            92..=95 => (generator.statement(), Step::Left),
            _ => {
                let statement = generator.query(1);
                let bytes = mutated_messages(&statement, generator.random);
                (
                    format!("mutated messages: {}", fuzz::literal(&bytes)),
                    Step::Bytes(bytes),
                )
            }
        }
    }

    /// `None`: the connection is not to be used again.
    fn run(
        self,
        storm: &Storm,
        client: &mut Client,
        statement: &str,
        random: &mut StdRng,
    ) -> Result<Option<Answer>, Lost> {
        // A NUL ends the text in a message; `Bytes` tests the bytes behind it.
        let statement = statement.split('\0').next().unwrap_or_default();
        match self {
            Step::Simple => client.query(statement).map(Some),
            Step::Extended => {
                let oids: Vec<u32> = (0..random.random_range(0..3))
                    .map(|_| [0, 23, 25, 1700, 1114, 999_999][random.random_range(0..6)])
                    .collect();
                let values: [Option<&[u8]>; 6] = [
                    None,
                    Some(b"1"),
                    Some(b""),
                    Some(&[0, 0, 0, 1]),
                    Some(&[0xff; 9]),
                    Some(b"2024-01-01"),
                ];
                let parameters: Vec<_> = (0..random.random_range(0..3))
                    .map(|_| values[random.random_range(0..6)])
                    .collect();
                let formats = (random.random_range(0..2), random.random_range(0..2));
                let messages = [
                    raw::parse("", statement, &oids),
                    raw::describe('S', ""),
                    raw::bind("", "", formats.0, &parameters, formats.1),
                    raw::describe('P', ""),
                    raw::execute("", [0, 1, 100, -1][random.random_range(0..4)]),
                    raw::bare('S'),
                ];
                client.write(&messages.concat())?;
                let mut answer = Answer::default();
                client.answer(&mut answer)?;
                Ok(Some(answer))
            }
            Step::Copy(data) => {
                let mut answer = Answer::default();
                client.write(&raw::query(statement))?;
                client.answer(&mut answer)?;
                if !answer.copies {
                    return Ok(Some(answer));
                }
                for chunk in data.chunks(random.random_range(1..64 << 10)) {
                    client.write(&raw::copy_data(chunk))?;
                }
                match random.random_range(0..10) {
                    0 => return Ok(None),
                    1 => client.write(&raw::copy_fail("enough"))?,
                    _ => client.write(&raw::bare('c'))?,
                }
                client.answer(&mut answer)?;
                Ok(Some(answer))
            }
            Step::Cancelled => {
                client.write(&raw::query(statement))?;
                if let Ok(mut other) = TcpStream::connect(storm.address) {
                    let _ = other.write_all(&raw::cancel(&client.key));
                    let _ = other.set_read_timeout(Some(storm.bounds.answer));
                    let _ = other.read(&mut [0; 8]);
                }
                let mut answer = Answer::default();
                client.answer(&mut answer)?;
                // The statement waits for data: the connection is of no more use.
                Ok((!answer.copies).then_some(answer))
            }
            Step::Left => {
                client.write(&raw::query(statement))?;
                let _ = client.stream.shutdown(Shutdown::Both);
                Ok(None)
            }
            Step::Bytes(bytes) => {
                let _ = client.stream.write_all(&bytes);
                let _ = client.stream.shutdown(Shutdown::Write);
                let mut dropped = Vec::new();
                match (&client.stream).take(1 << 20).read_to_end(&mut dropped) {
                    Err(error) if matches!(lost(&error), Lost::Silent) => Err(Lost::Silent),
                    _ => Ok(None),
                }
            }
        }
    }
}

/// Messages of an extended query, changed as the fuzzers do.
pub fn mutated_messages(statement: &str, random: &mut StdRng) -> Vec<u8> {
    let statement = statement.replace('\0', "");
    let valid = [
        raw::parse("s", &statement, &[23, 25]),
        raw::describe('S', "s"),
        raw::bind("p", "s", 1, &[Some(&[0, 0, 0, 1]), None], 1),
        raw::execute("p", 5),
        raw::bare('S'),
        raw::query("COPY t0 (b) FROM STDIN"),
        raw::copy_data(b"x\ny\n"),
        raw::bare('c'),
        raw::query(&statement),
        raw::named('C', 'S', "s"),
        raw::bare('H'),
    ];
    let target = fuzz::Target {
        name: "live_messages",
        samples: valid.to_vec(),
        words: &[
            b"\0\0\0\x04",
            b"\0\0\0\x05",
            b"\xff\xff\xff\xff",
            b"\0\0",
            b"B\0\0\0\x06\0\0",
            b"d\0\0\0\x01",
            b"p\0\0\0\x04",
            b"F\0\0\0\x10",
        ],
        growth: 0,
    };
    let mut bytes = valid.concat();
    for _ in 0..random.random_range(1..4) {
        fuzz::mutate(&target, &mut bytes, random);
    }
    bytes
}

/// A bystander: reads and writes a topic of its own, and measures.
fn stand_by(storm: &Storm, number: usize, pace: &mpsc::Receiver<()>) -> Vec<Duration> {
    let mut taken = Vec::new();
    let mut client = None;
    let mut rows = 0_u64;
    // The worst answer so far, with the statements that ran beside it.
    let mut worst = Duration::from_millis(250);
    while !storm.is_over() {
        let began = Instant::now();
        let outcome = match client.as_mut() {
            None => Client::connect(storm).map(|new| client = Some(new)),
            Some(client) => by(client, number, &mut rows).map(|wrong| {
                if let Some(wrong) = wrong {
                    storm.breaks(format!(
                        "bystander {number}: {wrong}; beside\n      {}",
                        storm.running()
                    ));
                }
            }),
        };
        let took = began.elapsed();
        taken.push(took);
        if took > worst {
            worst = took;
            *storm.slowest[number].lock().expect("no thread panics with it") =
                format!("{took:?} beside\n      {}", storm.running());
        }
        if outcome.is_err() {
            if !storm.is_over() {
                storm.breaks(format!(
                    "bystander {number} lost its connection after {took:?}; beside\n      {}",
                    storm.running()
                ));
            }
            return taken;
        }
        // A beat that ends with the storm.
        let _ = pace.recv_timeout(Duration::from_millis(10));
    }
    taken
}

/// One exchange of a bystander; returns its fault, if any.
fn by(client: &mut Client, number: usize, rows: &mut u64) -> Result<Option<String>, Lost> {
    let (sql, expected) = match *rows % 4 {
        3 => (
            format!("SELECT count(*) FROM calm.b{number}"),
            Some((*rows / 4 + 1).to_string()),
        ),
        2 => (format!("INSERT INTO calm.b{number} VALUES ({rows})"), None),
        _ => ("SELECT 1".to_string(), Some("1".to_string())),
    };
    let answer = client.query(&sql)?;
    *rows += 1;
    if let Some((state, message)) = answer.errors.first() {
        return Ok(Some(format!("{state} {message}: {sql}")));
    }
    // Two bytes of count and four of length come before the value.
    let value = answer
        .row
        .get(6..)
        .map(|value| String::from_utf8_lossy(value).into_owned());
    Ok((expected.is_some() && value != expected).then(|| format!("{value:?} instead of {expected:?}: {sql}")))
}

/// A line of `/proc/PID/status`, KiB.
fn memory(pid: u32, line: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|text| text.strip_prefix(line))?;
    line.trim_start_matches(':').trim().split(' ').next()?.parse().ok()
}

/// Watches memory until the storm is over; the most that there was, MiB.
fn watch(storm: &Storm, pid: u32, limit_mib: u64, pace: &mpsc::Receiver<()>) {
    let mut reported = limit_mib;
    while !storm.is_over() {
        let Some(resident) = memory(pid, "VmRSS") else {
            storm.breaks(format!("the server is gone; it did\n      {}", storm.running()));
            storm.over.store(true, Ordering::Relaxed);
            return;
        };
        if resident >> 10 > reported {
            reported = (resident >> 10) + 64;
            storm.breaks(format!(
                "{} MiB in memory, of {limit_mib} MiB, beside\n      {}",
                resident >> 10,
                storm.running()
            ));
        }
        let _ = pace.recv_timeout(Duration::from_millis(20));
    }
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

#[test]
#[ignore = "measures how long others wait, so it runs alone: .ci/run"]
fn whatever_clients_send_the_server_goes_on() {
    let seconds = support::repeat("STORM_SECONDS", 15);
    let bystanders = usize::try_from(support::repeat("STORM_BYSTANDERS", 8)).expect("a small number");
    let seed = support::seed("STORM_SEED");
    let (_scratch, data_dir) = support::data_dir();
    let server = start(&data_dir);
    let storm = Storm {
        address: server.address(),
        bounds: Bounds::of_environment(),
        over: AtomicBool::new(false),
        doing: (0..CLIENTS).map(|_| Mutex::default()).collect(),
        statements: AtomicU64::new(0),
        errors: Mutex::default(),
        internal: Mutex::default(),
        slowest: (0..bystanders).map(|_| Mutex::default()).collect(),
        broken: Mutex::default(),
    };
    let mut first = Client::connect(&storm).unwrap_or_else(|_| panic!("the server takes connections"));
    let mut setup = Generator::setup();
    setup.push("CREATE SCHEMA calm".to_string());
    setup.extend((0..bystanders).map(|number| format!("CREATE TOPIC calm.b{number} (n BIGINT)")));
    for statement in setup {
        let answer = first
            .query(&statement)
            .unwrap_or_else(|_| panic!("no answer: {statement}"));
        assert!(answer.errors.is_empty(), "{:?}: {statement}", answer.errors);
    }

    let limit_mib = QUERY_MIB + TAIL_MIB + VIEW_MIB + storm.bounds.other_mib;
    let mut taken = thread::scope(|scope| {
        let storm = &storm;
        for number in 0..CLIENTS {
            scope.spawn(move || rage(storm, number, support::random(seed + number as u64)));
        }
        let mut paces = Vec::new();
        let mut pace = || {
            let (sender, receiver) = mpsc::channel();
            paces.push(sender);
            receiver
        };
        let (watching, pid) = (pace(), server.pid());
        scope.spawn(move || watch(storm, pid, limit_mib, &watching));
        let standing: Vec<_> = (0..bystanders)
            .map(|number| {
                let pace = pace();
                scope.spawn(move || stand_by(storm, number, &pace))
            })
            .collect();
        let (_never, end) = mpsc::channel::<()>();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds) && !storm.is_over() {
            let _ = end.recv_timeout(Duration::from_millis(100));
        }
        storm.over.store(true, Ordering::Relaxed);
        drop(paces);
        standing
            .into_iter()
            .flat_map(|thread| thread.join().expect("bystanders do not panic"))
            .collect::<Vec<_>>()
    });
    taken.sort_unstable();

    report(&storm, &taken, &server);
    let p99 = percentile(&taken, 0.99);
    assert!(
        memory(server.pid(), "VmRSS").is_some(),
        "the server is gone:\n{}",
        server.log_tail()
    );
    if p99 > storm.bounds.bystander_p99 {
        storm.breaks(format!("bystanders' p99 is {p99:?}"));
    }
    let counted = Client::connect(&storm)
        .and_then(|mut client| client.query("SELECT value FROM millstream.metrics WHERE name = 'panics'"));
    let counted = counted.unwrap_or_else(|_| panic!("the server answers after the storm:\n{}", server.log_tail()));
    let counted: u64 = String::from_utf8_lossy(counted.row.get(6..).unwrap_or_default())
        .parse()
        .unwrap_or(u64::MAX);
    let log = fs::read_to_string(data_dir.with_extension("log")).unwrap_or_default();
    println!("panics, contained and counted: {counted}");
    // The hook that counts writes its own line; Rust's own means that it did not run.
    if log.contains("panicked at") {
        storm.breaks(format!("a panic that was not counted:\n{}", server.log_tail()));
    }
    if let Ok(path) = std::env::var("STORM_LOG") {
        fs::write(path, &log).expect("the log can be kept");
    }

    let began = Instant::now();
    let status = server.stop();
    let stopped = began.elapsed();
    println!("stopped in {stopped:?}: {status}");
    assert!(status.success(), "a stop is clean: {status}");
    assert!(stopped < storm.bounds.stop, "it took {stopped:?} to stop");
    let check = || {
        Command::new(binary())
            .arg("check")
            .arg("--data-dir")
            .arg(&data_dir)
            .output()
            .expect("the binary can be run")
    };
    let checked = check();
    assert!(
        checked.status.success(),
        "check: {}{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
    let server = start(&data_dir);
    let storm_again = Storm {
        address: server.address(),
        ..storm
    };
    let answer = Client::connect(&storm_again).and_then(|mut client| client.query("SELECT count(*) FROM calm.b0"));
    let answer = answer.unwrap_or_else(|_| panic!("the server answers after a start"));
    assert!(answer.errors.is_empty(), "{:?}", answer.errors);
    assert!(server.stop().success());
    let broken = storm_again.broken.into_inner().expect("no thread panicked with it");
    assert!(
        broken.is_empty(),
        "STORM_SEED={seed} STORM_SECONDS={seconds}:\n{}",
        broken.join("\n")
    );
}

fn report(storm: &Storm, taken: &[Duration], server: &Server) {
    let statements = storm.statements.load(Ordering::Relaxed);
    println!(
        "{statements} statements; most memory {} MiB",
        memory(server.pid(), "VmHWM").unwrap_or(0) >> 10
    );
    println!(
        "bystanders: {} exchanges, p50 {:?}, p99 {:?}, max {:?}",
        taken.len(),
        percentile(taken, 0.5),
        percentile(taken, 0.99),
        taken.last().copied().unwrap_or_default()
    );
    let mut slowest = storm
        .slowest
        .iter()
        .map(|slowest| slowest.lock().expect("no thread panicked with it").clone());
    if let Some(slowest) = slowest.find(|slowest| !slowest.is_empty()) {
        println!("a bystander waited {slowest}");
    }
    println!("errors: {:?}", storm.errors.lock().expect("no thread panicked with it"));
    for (statement, times) in storm.internal.lock().expect("no thread panicked with it").values() {
        println!("XX000, {times} times: {statement}");
    }
}
