//! Counts the values that a statement makes against the memory of queries: one [`Account`] a piece of work.
//!
//! One rule: a function asks for memory before it takes it, and gives it back with the array, or when the work ends.
//! The transaction and the log count the rows that the work leaves behind.
//!
//! The thread finds the account: `query/run.rs` enters the [`AccountScope`] of a piece of work on each thread that runs it.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use arrow::array::{ArrayData, ArrayRef, make_array};
use arrow::buffer::Buffer;
use bytes::Bytes;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use parking_lot::Mutex;

use super::SMALL_BYTES;

/// Buffers smaller than this are not worth following.
const FOLLOWED_BYTES_MIN: usize = 64 << 10;

/// Memory of a piece of work.
#[derive(Debug)]
pub struct Account {
    reservation: Mutex<MemoryReservation>,
    /// Settlements so far; claims of before are forgotten.
    settled: AtomicU64,
}

/// Settles an account when dropped.
#[derive(Debug)]
pub struct SettledOnDrop(Arc<Account>);

impl Drop for SettledOnDrop {
    fn drop(&mut self) {
        self.0.settle();
    }
}

/// A part of an account, given back when dropped.
#[derive(Debug)]
pub struct Claim {
    account: Arc<Account>,
    settled: u64,
    bytes: usize,
}

/// The account that a thread works for.
#[derive(Clone, Default, Debug)]
pub struct AccountScope {
    pub account: Option<Arc<Account>>,
    /// It runs a plan, batch by batch: values that are not in an array go with the batch.
    pub runs: bool,
}

thread_local! {
    static CURRENT: RefCell<AccountScope> = const { RefCell::new(AccountScope { account: None, runs: false }) };
    static MODE: Cell<Mode> = const { Cell::new(Mode::Whole) };
}

/// The treatment of a batch that would be large.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It is made, up to the bounds.
    Whole,
    /// It is refused with `TooWide`: the caller tries fewer rows.
    Sliced,
    /// A constant of a plan that is being optimized: it is left to the run.
    Folded,
}

/// The account that the thread worked for before, and goes back to.
pub struct Entered(AccountScope);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|current| *current.borrow_mut() = std::mem::take(&mut self.0));
    }
}

impl AccountScope {
    pub fn current() -> AccountScope {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// The thread works for this until the guard goes.
    pub fn enter(self) -> Entered {
        Entered(CURRENT.with(|current| std::mem::replace(&mut *current.borrow_mut(), self)))
    }

    /// The same, running a plan.
    pub fn running(mut self) -> AccountScope {
        self.runs = true;
        self
    }
}

impl Account {
    pub fn new(pool: &Arc<dyn MemoryPool>) -> Arc<Account> {
        Arc::new(Account {
            reservation: Mutex::new(MemoryConsumer::new("values").register(pool)),
            settled: AtomicU64::new(0),
        })
    }

    /// Takes `bytes`; 53200 if there are none left.
    pub fn claim(self: &Arc<Account>, bytes: u64) -> Result<Claim> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX / 4);
        let reservation = self.reservation.lock();
        reservation.try_grow(bytes)?;
        Ok(Claim {
            account: self.clone(),
            settled: self.settled.load(Ordering::Relaxed),
            bytes,
        })
    }

    /// The work ended: nothing of it counts any more.
    pub fn settle(&self) {
        let reservation = self.reservation.lock();
        self.settled.fetch_add(1, Ordering::Relaxed);
        reservation.free();
    }

    /// Settles it when dropped.
    pub fn settled_on_drop(self: &Arc<Account>) -> SettledOnDrop {
        SettledOnDrop(self.clone())
    }

    /// Bytes that are claimed.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.reservation.lock().size()
    }
}

impl Claim {
    /// Gives back all but `bytes`.
    fn keep(&mut self, bytes: usize) {
        let reservation = self.account.reservation.lock();
        if bytes < self.bytes && self.settled == self.account.settled.load(Ordering::Relaxed) {
            reservation.shrink(self.bytes - bytes);
        }
        self.bytes = self.bytes.min(bytes);
    }

    /// Counts until the account is settled.
    pub fn until_settled(mut self) {
        self.bytes = 0;
    }

    /// Counts until the array goes, for the bytes that it has.
    pub fn follow(mut self, array: ArrayRef) -> Result<ArrayRef> {
        self.keep(array.get_buffer_memory_size());
        let claim = Arc::new(self);
        Ok(make_array(followed(array.to_data(), &claim)?))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// A buffer, and the claim for it.
struct Claimed {
    buffer: Buffer,
    _claim: Arc<Claim>,
}

impl AsRef<[u8]> for Claimed {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_slice()
    }
}

/// The same data, whose large buffers hold the claim.
fn followed(data: ArrayData, claim: &Arc<Claim>) -> Result<ArrayData> {
    let buffers = data.buffers().iter().map(|buffer| {
        if buffer.len() < FOLLOWED_BYTES_MIN {
            return buffer.clone();
        }
        Buffer::from(Bytes::from_owner(Claimed {
            buffer: buffer.clone(),
            _claim: claim.clone(),
        }))
    });
    let buffers = buffers.collect();
    let children = data.child_data().iter().cloned();
    let children = children
        .map(|child| followed(child, claim))
        .collect::<Result<Vec<_>>>()?;
    Ok(data.into_builder().buffers(buffers).child_data(children).build()?)
}

/// Takes `bytes` for the work that this thread does, until it ends; 53200 if there are none left.
pub fn claim(bytes: u64) -> Result<()> {
    if let Some(claim) = hold(bytes)? {
        claim.until_settled();
    }
    Ok(())
}

/// The same, until the claim goes. `None` for little, or where there is no account.
pub fn hold(bytes: u64) -> Result<Option<Claim>> {
    let account = AccountScope::current().account.filter(|_| bytes > SMALL_BYTES);
    account.map(|account| account.claim(bytes)).transpose()
}

/// The treatment of large batches on this thread.
pub fn mode() -> Mode {
    MODE.get()
}

/// Runs `work` with large batches treated by `mode`.
pub fn with_mode<T>(mode: Mode, work: impl FnOnce() -> T) -> T {
    struct Back(Mode);
    impl Drop for Back {
        fn drop(&mut self) {
            MODE.set(self.0);
        }
    }
    let _back = Back(MODE.replace(mode));
    work()
}

/// A future that is polled in a scope.
pub struct Accounted<F> {
    scope: AccountScope,
    future: Pin<Box<F>>,
}

impl<F: Future> Accounted<F> {
    pub fn new(scope: AccountScope, future: F) -> Accounted<F> {
        Accounted {
            scope,
            future: Box::pin(future),
        }
    }
}

impl<F: Future> Future for Accounted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = self.scope.clone().enter();
        self.future.as_mut().poll(context)
    }
}
