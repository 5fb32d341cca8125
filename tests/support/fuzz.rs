//! The fuzzers' engine: valid samples, mutated by seed, given to a check that must neither panic, nor take long, nor
//! allocate far more than its input.
//!
//! One rule: an input is a function of the target's samples and its seed alone, so `FUZZ_SEED` repeats it. A failure is
//! made smaller and printed as bytes for a regression test. `FUZZ_SECONDS` gives the time of each target (2 without
//! it). A process that dies (a stack that overflows) leaves the seed in `target/fuzz/NAME.seed`; the next run begins
//! with it.
//!
//! Used by the unit tests of private decoders and by `tests/fuzz`. Not here: the decoders.

#![allow(dead_code, reason = "unit and integration tests each use their own part")]
#![allow(
    clippy::disallowed_methods,
    reason = "seeds of runs are kept in files, outside of what is tested"
)]

use std::cell::RefCell;
use std::fmt::Write;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Once, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Seconds that a target runs unless `FUZZ_SECONDS` says otherwise.
const SECONDS: u64 = 2;
/// Time for one input, on a busy machine and without optimization.
const INPUT_LIMIT: Duration = Duration::from_secs(5);
/// After this long an input is taken to hang.
const HANG_LIMIT: Duration = Duration::from_secs(60);
/// Inputs do not grow beyond this, but for the samples themselves.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// Attempts at making a failing input smaller.
const SHRINK_STEPS: usize = 2_000;
/// The stack of the threads that serve clients.
const STACK_BYTES: usize = 16 << 20;

/// A decoder to fuzz, and its inputs.
pub struct Target {
    pub name: &'static str,
    /// Valid inputs.
    pub samples: Vec<Vec<u8>>,
    /// Pieces that mean something to the decoder.
    pub words: &'static [&'static [u8]],
    /// Bytes that may be allocated at once for each byte of the input, beside a fixed amount.
    pub growth: usize,
}

/// Bytes that are allocated for every input: tables, builders with room for rows.
const ALLOCATION_BASE: usize = 4 << 20;

/// The results of a run.
#[derive(Debug)]
pub struct Report {
    pub inputs: u64,
    /// Inputs that the check accepted as valid.
    pub accepted: u64,
}

/// An input that fails.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub input: Vec<u8>,
    pub reason: String,
}

/// Runs `check` on mutated samples until the time is over; panics with the first failure, ready to be kept as a test.
/// `check` says whether the input was valid, and panics where it finds something wrong.
pub fn run(target: &Target, check: impl Fn(&[u8]) -> bool + Sync) {
    let seconds = number("FUZZ_SECONDS").unwrap_or(SECONDS);
    match search(target, Duration::from_secs(seconds), &check) {
        Ok(Report { inputs, accepted }) => {
            println!(
                "fuzz {}: {inputs} inputs, {accepted} of them valid, {seconds} s",
                target.name
            );
            assert!(inputs > 0, "no input was tried");
        }
        Err(failure) => panic!(
            "fuzz {}: {}\nFUZZ_SEED={} repeats it; made smaller:\n{}",
            target.name,
            failure.reason,
            failure.seed,
            literal(&failure.input)
        ),
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number")))
}

/// The first failure within that time, if there is one.
pub fn search(
    target: &Target,
    time: Duration,
    check: &(impl Fn(&[u8]) -> bool + Sync),
) -> Result<Report, Box<Failure>> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(STACK_BYTES);
        let (beat, beats) = mpsc::channel::<u64>();
        let name = target.name;
        // Ends the process with the seed, since a loop without an end cannot be interrupted.
        scope.spawn(move || {
            let mut seed = 0;
            loop {
                match beats.recv_timeout(HANG_LIMIT) {
                    Ok(next) => seed = next,
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        eprintln!("fuzz {name}: FUZZ_SEED={seed} takes longer than {HANG_LIMIT:?}");
                        std::process::abort();
                    }
                }
            }
        });
        let running = builder.spawn_scoped(scope, move || search_here(target, time, check, &beat));
        running
            .expect("a thread can be started")
            .join()
            .expect("panics of inputs are caught")
    })
}

fn search_here(
    target: &Target,
    time: Duration,
    check: &impl Fn(&[u8]) -> bool,
    beat: &mpsc::Sender<u64>,
) -> Result<Report, Box<Failure>> {
    listen_to_panics();
    let begun = Instant::now();
    let mark = Mark::new(target.name);
    let mut report = Report { inputs: 0, accepted: 0 };
    for sample in &target.samples {
        let valid = attempt(target, sample, check).map_err(|reason| Failure {
            seed: 0,
            input: sample.clone(),
            reason,
        })?;
        assert!(valid, "a sample of {} is not valid: {}", target.name, literal(sample));
    }
    let replayed = number("FUZZ_SEED");
    let first = replayed
        .or_else(|| mark.left())
        .unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 16);
    for seed in first.. {
        mark.set(seed);
        let _ = beat.send(seed);
        let input = input_of(target, seed);
        match attempt(target, &input, check) {
            Ok(valid) => {
                report.inputs += 1;
                report.accepted += u64::from(valid);
            }
            Err(reason) => {
                let input = shrunk(target, input, check, &reason, beat);
                return Err(Box::new(Failure { seed, input, reason }));
            }
        }
        if replayed.is_some() || begun.elapsed() >= time {
            break;
        }
    }
    Ok(report)
}

/// Runs the check once; returns the failure, if there is one.
fn attempt(target: &Target, input: &[u8], check: &impl Fn(&[u8]) -> bool) -> Result<bool, String> {
    let begun = Instant::now();
    memory::begin();
    PANIC.set(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(|| check(input)));
    let panic = PANIC.take().unwrap_or_default();
    let peak = memory::peak();
    let took = begun.elapsed();
    let valid = outcome.map_err(|_| panic)?;
    if took > INPUT_LIMIT {
        return Err("took too long".to_string());
    }
    if peak > ALLOCATION_BASE + input.len() * target.growth {
        return Err(format!("allocated {} MiB", peak >> 20));
    }
    Ok(valid)
}

thread_local! {
    /// Message and place of a panic of this thread, while an input is tried; nothing is printed then.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let taken = PANIC.with_borrow_mut(|said| match said {
                Some(said) => {
                    let text = info.payload_as_str().unwrap_or("(no text)");
                    let place = info
                        .location()
                        .map_or(String::new(), |at| format!(" at {}:{}", at.file(), at.line()));
                    *said = format!("panicked{place}: {text}");
                    true
                }
                None => false,
            });
            if !taken {
                before(info);
            }
        }));
    });
}

/// A smaller input that fails in the same way, as far as leaving out pieces finds one.
fn shrunk(
    target: &Target,
    mut input: Vec<u8>,
    check: &impl Fn(&[u8]) -> bool,
    reason: &str,
    beat: &mpsc::Sender<u64>,
) -> Vec<u8> {
    // Numbers in a text vary with the input: its beginning is the kind.
    let kind = |text: &str| {
        text.chars()
            .filter(|c| !c.is_ascii_digit())
            .take(80)
            .collect::<String>()
    };
    let mut piece = input.len() / 2;
    let mut steps = 0;
    while piece > 0 && steps < SHRINK_STEPS {
        let mut at = 0;
        while at + piece <= input.len() && steps < SHRINK_STEPS {
            let smaller = [&input[..at], &input[at + piece..]].concat();
            let _ = beat.send(0);
            steps += 1;
            match attempt(target, &smaller, check) {
                Err(other) if kind(&other) == kind(reason) => input = smaller,
                _ => at += piece,
            }
        }
        piece /= 2;
    }
    input
}

/// Bytes as a Rust literal; long ones in part.
pub fn literal(input: &[u8]) -> String {
    const SHOWN: usize = 4 << 10;
    let shown = &input[..input.len().min(SHOWN)];
    let mut text = format!("b\"{}\"", shown.escape_ascii());
    if input.len() > SHOWN {
        write!(text, " and {} more bytes", input.len() - SHOWN).expect("a String grows");
    }
    text
}

/// The input of a seed.
fn input_of(target: &Target, seed: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut input = target
        .samples
        .choose(&mut random)
        .expect("a target has samples")
        .clone();
    for _ in 0..random.random_range(1..=6) {
        mutate(target, &mut input, &mut random);
    }
    let longest = target.samples.iter().map(Vec::len).max().unwrap_or(0);
    input.truncate(INPUT_BYTES_MAX.max(longest));
    input
}

/// A range of `input`, empty at most if `input` is; short ones most often.
fn range(input: &[u8], random: &mut StdRng) -> std::ops::Range<usize> {
    let start = random.random_range(0..=input.len());
    let left = input.len() - start;
    let longest = if random.random_bool(0.8) { left.min(16) } else { left };
    start..start + random.random_range(0..=longest)
}

/// Changes `input` in one of the ways that decoders stumble over.
pub fn mutate(target: &Target, input: &mut Vec<u8>, random: &mut StdRng) {
    const BYTES: &[u8] = b"\0\x01\x7f\x80\xff\xc3\xe2\xf0 \t\n\r\"'\\,;:.-+()[]{}0919eE_$";
    const NUMBERS: &[&str] = &[
        "0",
        "-0",
        "1",
        "-1",
        "127",
        "32767",
        "32768",
        "65535",
        "2147483647",
        "-2147483648",
        "2147483648",
        "4294967295",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551615",
        "170141183460469231731687303715884105727",
        "1e308",
        "1e-400",
        "1e1000000000",
        "0.0000000000000000000001",
        "NaN",
        "99999999999999999999999999999999999999999999999999",
    ];
    let at = random.random_range(0..=input.len());
    match random.random_range(0..13) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 if at < input.len() => input[at] = *BYTES.choose(random).expect("there are some"),
        2 => input.truncate(at),
        3 => drop(input.drain(range(input, random))),
        // A piece again and again.
        4 => {
            let piece = input[range(input, random)].to_vec();
            let times = *[1, 1, 2, 8, 100, 2_000].choose(random).expect("there are some");
            let times = times.min(INPUT_BYTES_MAX / piece.len().max(1));
            input.splice(at..at, piece.repeat(times));
        }
        5 => {
            let noise: Vec<u8> = (0..random.random_range(1..8)).map(|_| random.random()).collect();
            input.splice(at..at, noise);
        }
        // The end of another sample.
        6 => {
            let other = target.samples.choose(random).expect("a target has samples");
            input.truncate(at);
            input.extend_from_slice(&other[random.random_range(0..=other.len())..]);
        }
        7 | 8 if !target.words.is_empty() => {
            let word = *target.words.choose(random).expect("there are some");
            let end = if random.random_bool(0.5) {
                at
            } else {
                (at + word.len()).min(input.len())
            };
            input.splice(at..end, word.iter().copied());
        }
        // Digits become a number at an edge.
        9 => {
            let start = input[at..]
                .iter()
                .position(u8::is_ascii_digit)
                .map_or(at, |found| at + found);
            let digits = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number = NUMBERS.choose(random).expect("there are some");
            input.splice(start..start + digits, number.bytes());
        }
        // A length or a count at an edge.
        _ => length(input, at, random),
    }
}

/// Overwrites 2, 4 or 8 bytes, of either order, with a number at an edge.
fn length(input: &mut [u8], at: usize, random: &mut StdRng) {
    let left = (input.len() - at) as u64;
    let edges = [
        0,
        1,
        2,
        3,
        4,
        5,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x3fff_ffff,
        0x4000_0000,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_fffe,
        0xffff_ffff,
        i64::MAX as u64,
        i64::MIN as u64,
        u64::MAX,
        left,
        left.wrapping_sub(4),
        left + 1,
    ];
    let value = *edges.choose(random).expect("there are some");
    let width = *[2, 4, 4, 8].choose(random).expect("there are some");
    let Some(place) = input.get_mut(at..at + width) else {
        return;
    };
    if random.random_bool(0.5) {
        place.copy_from_slice(&value.to_be_bytes()[8 - width..]);
    } else {
        place.copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

/// The seed that runs, in a file that outlives the process.
struct Mark {
    path: PathBuf,
    file: Option<fs::File>,
    left: Option<u64>,
}

impl Mark {
    fn new(name: &str) -> Mark {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
        let path = dir.join(format!("{name}.seed"));
        let left = fs::read(&path)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_le_bytes);
        if let Some(seed) = left {
            println!("fuzz {name}: begins with FUZZ_SEED={seed}, during which a process ended");
        }
        // Without a place to write, only such a death loses its seed.
        let file = fs::create_dir_all(&dir).and_then(|()| fs::File::create(&path)).ok();
        Mark { path, file, left }
    }

    fn left(&self) -> Option<u64> {
        self.left
    }

    fn set(&self, seed: u64) {
        use std::os::unix::fs::FileExt;
        if let Some(file) = &self.file {
            let _ = file.write_all_at(&seed.to_le_bytes(), 0);
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Counts the allocations of a thread.
pub mod memory {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    thread_local! {
        static LIVE: Cell<isize> = const { Cell::new(0) };
        static PEAK: Cell<isize> = const { Cell::new(0) };
    }

    struct Counting;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    fn count(bytes: isize) {
        // A thread that ends allocates after its counters are gone.
        let _ = LIVE.try_with(|live| {
            live.set(live.get().wrapping_add(bytes));
            let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
        });
    }

    // SAFETY: all is the system allocator's; counting touches two cells of the thread, which need no allocation.
    #[allow(unsafe_code, reason = "an allocator is unsafe to write; this one only counts")]
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(layout.size() as isize);
            // SAFETY: the caller's promise.
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            count(layout.size() as isize);
            // SAFETY: the caller's promise.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
            count(-(layout.size() as isize));
            // SAFETY: the caller's promise.
            unsafe { System.dealloc(place, layout) }
        }

        unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            count(size as isize - layout.size() as isize);
            // SAFETY: the caller's promise.
            unsafe { System.realloc(place, layout, size) }
        }
    }

    /// From here on the peak is counted.
    pub fn begin() {
        LIVE.set(0);
        PEAK.set(0);
    }

    /// The most bytes that this thread had since [`begin`], beyond those that it had then.
    pub fn peak() -> usize {
        usize::try_from(PEAK.get()).unwrap_or(0)
    }
}

/// A check that cannot fail is a defect: these must be found.
#[cfg(test)]
mod canary {
    use super::*;

    fn target(name: &'static str) -> Target {
        Target {
            name,
            samples: vec![b"\0\0\0\x05hello".to_vec()],
            words: &[],
            growth: 16,
        }
    }

    fn found(name: &'static str, check: impl Fn(&[u8]) -> bool + Sync) -> Failure {
        *search(&target(name), Duration::from_secs(60), &check).expect_err("the defect is found")
    }

    #[test]
    fn a_length_that_is_believed_is_found() {
        let failure = found("canary_length", |input| {
            let length = input.first_chunk().map_or(0, |length| u32::from_be_bytes(*length)) as usize;
            length == 5 || input[4..][..length % 1_000_000].len() > 1
        });
        assert!(failure.reason.starts_with("panicked at "), "{failure:?}");
        assert!(failure.input.len() <= 9, "it was made smaller: {failure:?}");
        assert_eq!(
            input_of(&target("canary_length"), failure.seed),
            input_of(&target("again"), failure.seed)
        );
    }

    #[test]
    fn an_allocation_by_a_length_field_is_found() {
        let failure = found("canary_memory", |input| {
            let length = input.first_chunk().map_or(0, |length| u32::from_be_bytes(*length)) as usize;
            Vec::<u8>::with_capacity(length.min(64 << 20)).capacity() < usize::MAX
        });
        assert!(failure.reason.starts_with("allocated "), "{failure:?}");
    }
}
