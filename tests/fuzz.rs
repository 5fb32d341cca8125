//! A real server, sent mutated bytes from the first one on and within a session: it answers, closes or waits, and others
//! notice nothing.
//!
//! `FUZZ_SECONDS` gives the length, `FUZZ_SEED` repeats an input. Private decoders are fuzzed beside them, in `src`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::storm::mutated_messages;
use crate::support::raw::{self, Raw};
use crate::support::{self, Server, fuzz};

/// Packets that a connection may begin with.
fn openings() -> Vec<Vec<u8>> {
    let request = |code: u32| [&8_u32.to_be_bytes()[..], &code.to_be_bytes()].concat();
    vec![
        raw::startup(&["user", "millstream", "database", "millstream"]),
        raw::startup(&["user", "millstream", "options", "-c TimeZone=UTC", "_pq_.x", "1"]),
        request(80_877_103),
        request(80_877_104),
        raw::cancel(&(1, vec![0, 0, 0, 2])),
    ]
}

#[test]
fn bytes_from_the_network_hurt_nobody() {
    /// Inputs between two looks at the server.
    const BETWEEN: u64 = 50;
    let seconds = support::repeat("FUZZ_SECONDS", 2);
    let first = support::seed("FUZZ_SEED");
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let mut bystander = Raw::connect(&server);
    bystander.query("CREATE TOPIC t0 (a INT, b TEXT)");
    let target = fuzz::Target {
        name: "openings",
        samples: openings(),
        words: &[
            b"\0\x03\0\0",
            b"\0\x03\0\x02",
            b"user\0",
            b"\0\0",
            b"\x04\xd2\x16\x2f",
            b"\xff\xff\xff\xff",
            b"replication\0",
        ],
        growth: 0,
    };
    let began = Instant::now();
    let mut inputs = 0;
    for seed in first.. {
        let mut random = support::random(seed);
        let mut bytes = Vec::new();
        if random.random_bool(0.5) {
            bytes = openings().choose(&mut random).expect("there are some").clone();
            fuzz::mutate(&target, &mut bytes, &mut random);
        } else {
            bytes.extend_from_slice(&openings()[0]);
        }
        bytes.extend(mutated_messages("SELECT $1::int, $2", &mut random));
        let mut stream = TcpStream::connect(server.address()).expect("the server takes connections");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a timeout can be set");
        // It may close before it has read all.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        if let Err(error) = (&stream).take(16 << 20).read_to_end(&mut Vec::new()) {
            let is_silent = matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            );
            assert!(
                !is_silent,
                "FUZZ_SEED={seed}: neither an answer nor an end: {}",
                fuzz::literal(&bytes)
            );
        }
        inputs += 1;
        let is_last = began.elapsed() >= Duration::from_secs(seconds) || std::env::var("FUZZ_SEED").is_ok();
        if inputs % BETWEEN == 0 || is_last {
            assert_eq!(raw::rows(&bystander.query("SELECT 1")), [["1"]]);
            let panics = bystander.query("SELECT value FROM millstream.metrics WHERE name = 'panics'");
            assert_eq!(
                raw::rows(&panics),
                [["0"]],
                "within {BETWEEN} before FUZZ_SEED={seed}: {}",
                server.log_tail()
            );
        }
        if is_last {
            break;
        }
    }
    println!("fuzz network: {inputs} inputs, {seconds} s");
    assert!(server.stop().success());
}
