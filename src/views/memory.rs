//! The memory of views: one budget for the states of all of them, and an account for each.
//!
//! One rule: a view asks before it doubles a table, and counts everything else after each slice of rows,
//! so that it passes the budget by no more than one slice. Rows rendered for readers are no state: views give them up when
//! room is short.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::array::{Array, RecordBatch};

use crate::error::{SqlError, state};

/// Growth by less is not asked for: it is counted soon enough.
const ASKED_BYTES_MIN: usize = 1 << 20;

/// What all views together may take, their building included.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    used: AtomicUsize,
}

impl Budget {
    pub fn new(bytes_max: usize) -> Arc<Budget> {
        Arc::new(Budget {
            bytes_max,
            used: AtomicUsize::new(0),
        })
    }

    /// For what is thrown away at once, and bounded by what it is made of.
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

    /// Whether there is room for so many bytes more.
    pub fn fits(&self, more: usize) -> bool {
        more < ASKED_BYTES_MIN || self.used().saturating_add(more) <= self.bytes_max
    }
}

/// 53200, for a state that takes or would take so many bytes.
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
pub struct Account {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Account {
    pub fn new(budget: Arc<Budget>) -> Account {
        Account { budget, bytes: 0 }
    }

    /// The state takes so many bytes now; 53200 if it has grown past the budget.
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

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Ends what is being computed for a view that nobody wants any more. Clones are one.
#[derive(Clone, Default, Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a view's instance is made under.
#[derive(Clone, Debug)]
pub struct Limits {
    pub budget: Arc<Budget>,
    pub stop: Stop,
}

impl Limits {
    pub fn new(budget: Arc<Budget>) -> Limits {
        Limits {
            budget,
            stop: Stop::default(),
        }
    }
}

/// Bytes of a batch's own rows: of arrays that are slices, the slices.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    let bytes = |column: &Arc<dyn Array>| column.to_data().get_slice_memory_size().unwrap_or(0);
    batch.columns().iter().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_share_a_budget_and_give_it_back() {
        let budget = Budget::new(10 << 20);
        let (mut one, mut other) = (Account::new(budget.clone()), Account::new(budget.clone()));
        one.set(6 << 20).expect("fits");
        assert!(budget.fits(4 << 20) && !budget.fits((4 << 20) + 1));
        let error = other.set(5 << 20).expect_err("11 of 10 MiB");
        assert_eq!(error.state, state::OUT_OF_MEMORY);
        assert!(error.message.contains("5 MiB"), "{}", error.message);
        // Who shrinks is never refused, nor who stays.
        other.set(5 << 20).expect("no more than before");
        other.set(4 << 20).expect("less");
        drop(one);
        assert_eq!(budget.used(), 4 << 20);
        drop(other);
        assert_eq!(budget.used(), 0);
    }
}
