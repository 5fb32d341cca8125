//! [`Measured`]: the memory of queries, held against what the process really has.
//!
//! Operators ask for memory mostly after they took it. Nobody asks for copies that are made on the way, nor for memory
//! that the allocator has not given back. So a request of any size is also refused while the process has more than all
//! of its parts may have together.
//!
//! One rule: nothing is refused for memory that queries do not have. Memory that the process has while no query runs is
//! never held against one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use parking_lot::Mutex;

use crate::relief::Relief;

/// The process is looked at each time that queries have asked for this much more, bytes.
const LOOK_BYTES: usize = 1 << 20;
/// Free memory is given back from this far below the limit of the process: this part of the memory of queries.
const SOON_PART: usize = 4;
/// Everything beside queries may grow by this much between two looks at it, bytes.
const BESIDE_BYTES: usize = 64 << 20;
/// Time between two looks at the process while no query runs.
const REST_INTERVAL: Duration = Duration::from_secs(1);
/// Looks of this long are kept: the least of them counts.
const REST_KEPT: Duration = Duration::from_secs(30);

/// The memory of a process, and its limit.
#[derive(Clone)]
pub struct Process {
    /// Bytes that the parts beside queries may take.
    pub others_max: Arc<dyn Fn() -> usize + Send + Sync>,
    /// Bytes of memory that the process has for itself; `None` where nothing says so.
    pub resident: fn() -> Option<u64>,
    pub relief: Arc<Relief>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Process")
    }
}

/// A pool whose requests are refused when the process has too much.
#[derive(Debug)]
pub struct Measured<P> {
    pool: P,
    bytes_max: usize,
    process: Process,
    /// Consumers there are: none while no query runs.
    consumers: AtomicUsize,
    /// Bytes granted since the process was looked at.
    granted: AtomicUsize,
    rest: Mutex<Rest>,
}

/// Memory of the process while no query runs, bytes.
#[derive(Debug)]
struct Rest {
    looked: Option<Instant>,
    /// When `least` began.
    since: Option<Instant>,
    least: usize,
    least_before: usize,
}

impl<P: MemoryPool> Measured<P> {
    pub fn new(pool: P, bytes_max: usize, process: Process) -> Measured<P> {
        Measured {
            pool,
            bytes_max,
            process,
            consumers: AtomicUsize::new(0),
            granted: AtomicUsize::new(LOOK_BYTES),
            rest: Mutex::new(Rest {
                looked: None,
                since: None,
                least: 0,
                least_before: 0,
            }),
        }
    }

    fn resident(&self) -> Option<usize> {
        (self.process.resident)().and_then(|bytes| usize::try_from(bytes).ok())
    }

    /// Bytes that the process may have.
    fn allowed(&self) -> usize {
        let at_rest = self.rest.lock().bytes();
        let others = (self.process.others_max)().saturating_add(BESIDE_BYTES);
        self.bytes_max.saturating_add(others.max(at_rest))
    }

    /// Refuses `more` bytes if the process has no room for them.
    fn look(&self, more: usize) -> Result<()> {
        let Some(resident) = self.resident() else { return Ok(()) };
        let allowed = self.allowed();
        let wanted = resident.saturating_add(more);
        if wanted <= allowed {
            if wanted > allowed - self.bytes_max / SOON_PART {
                self.process.relief.soon();
            }
            return Ok(());
        }
        self.process.relief.now();
        match self.resident() {
            Some(resident) if resident.saturating_add(more) > allowed => {
                Err(DataFusionError::ResourcesExhausted(format!(
                    "The server has {} MiB of the {} MiB that it may have, and {} MiB more were needed.",
                    resident >> 20,
                    allowed >> 20,
                    more.div_ceil(1 << 20),
                )))
            }
            _ => Ok(()),
        }
    }

    /// Gives back free memory if the process is near its limit: memory that no query asks for grows, too.
    pub fn relieve(&self) {
        let near = self.allowed() - self.bytes_max / SOON_PART;
        if self.resident().is_some_and(|resident| resident > near) {
            self.process.relief.soon();
        }
    }

    /// Looks at the process while no query runs.
    fn rest(&self) {
        let now = Instant::now();
        let Some(mut rest) = self.rest.try_lock() else { return };
        if rest.looked.is_some_and(|looked| now - looked < REST_INTERVAL) {
            return;
        }
        rest.looked = Some(now);
        let Some(mut resident) = self.resident() else { return };
        if resident > (self.process.others_max)() {
            self.process.relief.now();
            resident = self.resident().unwrap_or(resident);
        }
        rest.add(now, resident);
    }
}

impl Rest {
    fn bytes(&self) -> usize {
        match self.least_before {
            0 => self.least,
            before => before.min(self.least),
        }
    }

    fn add(&mut self, now: Instant, resident: usize) {
        match self.since {
            Some(since) if now - since < REST_KEPT => self.least = self.least.min(resident),
            _ => {
                self.least_before = self.least;
                self.least = resident;
                self.since = Some(now);
            }
        }
    }
}

impl<P: MemoryPool> fmt::Display for Measured<P> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "measured {}", self.pool)
    }
}

impl<P: MemoryPool> MemoryPool for Measured<P> {
    fn name(&self) -> &str {
        "measured"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.consumers.fetch_add(1, Ordering::Relaxed);
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
        if self.consumers.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.rest();
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let granted = self.granted.fetch_add(additional, Ordering::Relaxed);
        if granted.saturating_add(additional) >= LOOK_BYTES {
            self.granted.store(0, Ordering::Relaxed);
            self.look(additional)?;
        }
        self.pool.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    const MIB: usize = 1 << 20;

    static RESIDENT_MIB: AtomicU64 = AtomicU64::new(0);
    static FREE_MIB: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn requests_are_refused_while_the_process_has_too_much_and_not_for_what_queries_do_not_have() {
        let process = Process {
            others_max: Arc::new(|| 100 * MIB),
            resident: || Some((RESIDENT_MIB.load(Ordering::Relaxed) + FREE_MIB.load(Ordering::Relaxed)) << 20),
            relief: Arc::new(Relief::new(|| FREE_MIB.store(0, Ordering::Relaxed))),
        };
        let beside = (BESIDE_BYTES / MIB) as u64;
        let measured = Measured::new(GreedyMemoryPool::new(200 * MIB), 200 * MIB, process);
        let pool: Arc<dyn MemoryPool> = Arc::new(measured);
        let reservation = MemoryConsumer::new("query").register(&pool);

        // Near the limit of the process, free memory is given back before it has to be.
        RESIDENT_MIB.store(250, Ordering::Relaxed);
        FREE_MIB.store(40 + beside, Ordering::Relaxed);
        reservation.try_grow(2 * MIB).expect("there is room");
        assert_eq!(FREE_MIB.load(Ordering::Relaxed), 0);
        reservation.free();
        RESIDENT_MIB.store(290 + beside, Ordering::Relaxed);
        reservation.try_grow(10 * MIB).expect("there is room for 10 MiB");
        reservation.free();
        let error = reservation.try_grow(11 * MIB).expect_err("not for 11");
        assert!(matches!(error, DataFusionError::ResourcesExhausted(_)), "{error}");
        // Free memory is no reason.
        RESIDENT_MIB.store(200, Ordering::Relaxed);
        FREE_MIB.store(500, Ordering::Relaxed);
        reservation.try_grow(11 * MIB).expect("the rest is free");
        // Nor is memory that the process has anyway.
        drop(reservation);
        RESIDENT_MIB.store(1000, Ordering::Relaxed);
        let reservation = MemoryConsumer::new("idle").register(&pool);
        reservation
            .try_grow(11 * MIB)
            .expect_err("800 MiB more since the last look");
        drop(reservation);
        let reservation = MemoryConsumer::new("query").register(&pool);
        assert!(reservation.try_grow(11 * MIB).is_err(), "it was looked at a moment ago");
    }

    #[test]
    fn the_least_of_the_last_looks_counts() {
        let mut rest = Rest {
            looked: None,
            since: None,
            least: 0,
            least_before: 0,
        };
        let begin = Instant::now();
        rest.add(begin, 100);
        rest.add(begin + REST_KEPT / 2, 900);
        assert_eq!(rest.bytes(), 100);
        rest.add(begin + REST_KEPT, 900);
        assert_eq!(rest.bytes(), 100, "of the time before");
        rest.add(begin + 2 * REST_KEPT, 900);
        assert_eq!(rest.bytes(), 900);
    }
}
