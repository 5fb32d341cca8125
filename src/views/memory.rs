//! The memory of views: one budget for the states of all, and an account for each.
//!
//! One rule: a view asks before it doubles a table, and counts everything else after each slice of rows,
//! so that it passes the budget by no more than one slice. Rows rendered for readers are no state: views give them up when
//! room is short.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use datafusion::execution::memory_pool::{MemoryPool, MemoryReservation};
use tokio::sync::Notify;

use crate::error::{SqlError, state};
use crate::relief::Relief;
use crate::sql::functions::growth;

/// Growth by less is not asked for: it is counted soon enough.
const ASKED_BYTES_MIN: usize = 1 << 20;

/// Values that views make on the way may have this much, however little their states may take, bytes.
const MADE_BYTES_MIN: usize = 64 << 20;
/// The system gets free memory back each time that views have released this much of it, bytes.
const GIVEN_UP_BYTES: usize = 16 << 20;

/// The memory of all views together, their building included.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    used: AtomicUsize,
    /// Bytes of the rows rendered for readers.
    rendered: AtomicUsize,
    made: Arc<PassingValues>,
}

/// Large values that expressions of views make on the way from rows to states. They are no state, and bounded by themselves.
#[derive(Debug)]
struct PassingValues {
    bytes_max: usize,
    used: AtomicUsize,
    /// Bytes released since the system last got free memory back.
    given_up: AtomicUsize,
    relief: OnceLock<Arc<Relief>>,
}

impl fmt::Display for PassingValues {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl MemoryPool for PassingValues {
    fn name(&self) -> &'static str {
        "values of views"
    }

    fn grow(&self, _reservation: &MemoryReservation, additional: usize) {
        self.used.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, _reservation: &MemoryReservation, shrink: usize) {
        self.used.fetch_sub(shrink, Ordering::Relaxed);
        let given_up = self.given_up.fetch_add(shrink, Ordering::Relaxed) + shrink;
        if given_up >= GIVEN_UP_BYTES && self.relief.get().is_some_and(|relief| relief.soon()) {
            self.given_up.store(0, Ordering::Relaxed);
        }
    }

    fn try_grow(&self, _reservation: &MemoryReservation, additional: usize) -> Result<(), DataFusionError> {
        let used = self
            .used
            .fetch_add(additional, Ordering::Relaxed)
            .saturating_add(additional);
        if used <= self.bytes_max {
            return Ok(());
        }
        self.used.fetch_sub(additional, Ordering::Relaxed);
        Err(DataFusionError::ResourcesExhausted(format!(
            "A value of a view needs {}, and all views together may make values of {}.",
            size(additional),
            size(self.bytes_max)
        )))
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Budget {
    pub fn new(bytes_max: usize) -> Arc<Budget> {
        Arc::new(Budget {
            bytes_max,
            used: AtomicUsize::new(0),
            rendered: AtomicUsize::new(0),
            made: Arc::new(PassingValues {
                bytes_max: bytes_max.max(MADE_BYTES_MIN),
                used: AtomicUsize::new(0),
                given_up: AtomicUsize::new(0),
                relief: OnceLock::new(),
            }),
        })
    }

    /// Has free memory returned to the system, from now on, when large values go.
    pub fn set_relief(&self, relief: Arc<Relief>) {
        // It is set once, when the server starts.
        let _ = self.made.relief.set(relief);
    }

    /// The account of a thread that computes for views.
    pub fn scope(&self) -> growth::AccountScope {
        let made: Arc<dyn MemoryPool> = self.made.clone();
        growth::AccountScope {
            account: Some(growth::Account::new(&made)),
            runs: true,
        }
    }

    /// For states that are thrown away at once, and bounded by their input.
    pub fn unlimited() -> Arc<Budget> {
        Budget::new(usize::MAX)
    }

    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes of all accounts.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether there is room for `more` bytes more.
    pub fn fits(&self, more: usize) -> bool {
        more < ASKED_BYTES_MIN || self.used().saturating_add(more) <= self.bytes_max
    }
}

/// The rows rendered by one thread of views, as a part of all that are rendered.
pub struct Rendered {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Rendered {
    pub fn new(budget: Arc<Budget>) -> Rendered {
        Rendered { budget, bytes: 0 }
    }

    /// Notes the bytes that its views have rendered by now. Whether all have room beside the states.
    pub fn fits(&mut self, bytes: usize) -> bool {
        let all = &self.budget.rendered;
        all.fetch_add(bytes, Ordering::Relaxed);
        all.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
        bytes == 0 || self.budget.used().saturating_add(all.load(Ordering::Relaxed)) <= self.budget.bytes_max
    }
}

impl Drop for Rendered {
    fn drop(&mut self) {
        self.budget.rendered.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// 53200, for a state that takes or would take `bytes` bytes.
pub fn exceeded(bytes: usize, bytes_max: usize) -> SqlError {
    SqlError::new(
        state::OUT_OF_MEMORY,
        format!("out of memory: the state of the view takes {}", size(bytes)),
    )
    .detail(format!("All views together may take {}.", size(bytes_max)))
    .hint("Start the server with a larger --view-memory-mib, drop views, or create the view again with fewer groups.")
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// One view's part of the budget, given back when it is dropped.
pub struct ViewAccount {
    budget: Arc<Budget>,
    bytes: usize,
}

impl ViewAccount {
    pub fn new(budget: Arc<Budget>) -> ViewAccount {
        ViewAccount { budget, bytes: 0 }
    }

    /// The state takes `bytes` bytes now; 53200 if it has grown past the budget.
    pub fn set(&mut self, bytes: usize) -> Result<(), SqlError> {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes <= before {
            self.budget.used.fetch_sub(before - bytes, Ordering::Relaxed);
            return Ok(());
        }
        let used = self.budget.used.fetch_add(bytes - before, Ordering::Relaxed) + (bytes - before);
        match used <= self.budget.bytes_max {
            true => Ok(()),
            false => Err(exceeded(bytes, self.budget.bytes_max)),
        }
    }
}

impl Drop for ViewAccount {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Ends the computation for a view that is no longer wanted. Clones are one.
#[derive(Clone, Default, Debug)]
pub struct ViewStop(Arc<Stopping>);

#[derive(Default, Debug)]
struct Stopping {
    is_set: AtomicBool,
    changed: Notify,
}

impl ViewStop {
    pub fn set(&self) {
        self.0.is_set.store(true, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }

    pub fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Relaxed)
    }

    /// Resolves once it is set.
    pub async fn stopped(&self) {
        loop {
            // Made before the look at the flag, so that it sees a change in between.
            let changed = self.0.changed.notified();
            if self.0.is_set.load(Ordering::SeqCst) {
                return;
            }
            changed.await;
        }
    }
}

/// The limits of a view's instance.
#[derive(Clone, Debug)]
pub struct Limits {
    pub budget: Arc<Budget>,
    pub stop: ViewStop,
}

impl Limits {
    pub fn new(budget: Arc<Budget>) -> Limits {
        Limits {
            budget,
            stop: ViewStop::default(),
        }
    }

    /// 57014 if nobody wants the view any longer.
    pub fn check_wanted(&self) -> Result<(), SqlError> {
        match self.stop.is_set() {
            true => Err(SqlError::new(state::QUERY_CANCELED, "the view is no longer wanted")),
            false => Ok(()),
        }
    }
}

/// Bytes of a batch's own rows: of arrays that are slices, the slices.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    let bytes = |column: &Arc<dyn Array>| column.to_data().get_slice_memory_size().unwrap_or(0);
    batch.columns().iter().map(bytes).sum()
}

/// Bytes of a batch's largest row, or somewhat more.
pub fn row_bytes_max(batch: &RecordBatch) -> usize {
    fn longest<O: OffsetSizeTrait>(offsets: &[O]) -> usize {
        let lengths = offsets.windows(2).map(|pair| (pair[1] - pair[0]).as_usize());
        lengths.max().unwrap_or(0)
    }
    let of = |column: &Arc<dyn Array>| match column.data_type() {
        DataType::Utf8 => longest(column.as_string::<i32>().value_offsets()),
        DataType::Binary => longest(column.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => longest(column.as_binary::<i64>().value_offsets()),
        DataType::Boolean => 1,
        other => match other.primitive_width() {
            Some(width) => width,
            None => column.to_data().get_slice_memory_size().unwrap_or(0),
        },
    };
    batch.columns().iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_on_the_way_are_bounded_by_themselves() {
        static GIVEN_BACK: AtomicUsize = AtomicUsize::new(0);
        let budget = Budget::new(1 << 20);
        budget.set_relief(Arc::new(Relief::new(|| {
            GIVEN_BACK.fetch_add(1, Ordering::Relaxed);
        })));
        let _scope = budget.scope().enter();
        let held = growth::hold(MADE_BYTES_MIN as u64)
            .expect("it fits")
            .expect("there is an account");
        let error = SqlError::from(growth::hold(2 << 20).expect_err("there is no room"));
        assert_eq!(error.state, state::OUT_OF_MEMORY);
        assert_eq!(budget.used(), 0, "they are no state");
        drop(held);
        assert_eq!(GIVEN_BACK.load(Ordering::Relaxed), 1);
        drop(growth::hold(2 << 20).expect("there is room again"));
    }

    #[test]
    fn accounts_share_a_budget_and_give_it_back() {
        let budget = Budget::new(10 << 20);
        let (mut one, mut other) = (ViewAccount::new(budget.clone()), ViewAccount::new(budget.clone()));
        one.set(6 << 20).expect("fits");
        assert!(budget.fits(4 << 20) && !budget.fits((4 << 20) + 1));
        let error = other.set(5 << 20).expect_err("11 of 10 MiB");
        assert_eq!(error.state, state::OUT_OF_MEMORY);
        assert!(error.message.contains("5 MiB"), "{}", error.message);
        // A state that shrinks or stays is never refused.
        other.set(5 << 20).expect("no more than before");
        other.set(4 << 20).expect("less");
        drop(one);
        assert_eq!(budget.used(), 4 << 20);
        drop(other);
        assert_eq!(budget.used(), 0);
    }
}
