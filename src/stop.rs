//! The end of work on a result that nobody waits for any more.
//!
//! One rule: the starter of work gives it a [`Stop`] and requests the stop when it goes. A loop whose length a client decides
//! calls [`check`] now and then, and ends with its error. The stop belongs to the thread of the work, so a
//! function deep in a plan needs no argument for it; [`Stop::scope`] and [`Stop::within`] set it.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use crate::error::{SqlError, state};

thread_local! {
    static CURRENT: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// A request that work end, and the work's view of it.
#[derive(Clone, Default, Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// That of the work which this thread does now.
    pub fn current() -> Option<Stop> {
        CURRENT.with_borrow(Clone::clone)
    }

    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks for it when dropped.
    pub fn on_drop(&self) -> OnDrop {
        OnDrop(self.clone())
    }

    /// Runs `work` under this stop.
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        let _outer = Outer(CURRENT.replace(Some(self.clone())));
        work()
    }

    /// The future, polled under this stop wherever it is polled.
    pub fn within<T>(self, future: impl Future<Output = T> + Send + 'static) -> Within<T> {
        Within {
            stop: self,
            future: Box::pin(future),
        }
    }
}

/// Whether the work that this thread does shall end: an error that ends it. Nobody reads it.
pub fn check() -> Result<(), SqlError> {
    match is_requested() {
        false => Ok(()),
        true => Err(SqlError::new(
            state::QUERY_CANCELED,
            "canceling statement due to user request",
        )),
    }
}

/// The same for loops that cannot fail.
pub fn is_requested() -> bool {
    CURRENT.with_borrow(|current| current.as_ref().is_some_and(Stop::is_requested))
}

/// Asks for a stop when dropped.
#[derive(Debug)]
pub struct OnDrop(Stop);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// The stop that was current before; dropping this restores it, also in a panic.
struct Outer(Option<Stop>);

impl Drop for Outer {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

pub struct Within<T> {
    stop: Stop,
    future: Pin<Box<dyn Future<Output = T> + Send>>,
}

impl<T> Future for Within<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let within = &mut *self;
        within.stop.scope(|| within.future.as_mut().poll(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_sees_the_stop_that_it_runs_under_and_no_other() {
        let (outer, inner) = (Stop::default(), Stop::default());
        outer.scope(|| {
            inner.request();
            inner.scope(|| assert_eq!(check().map_err(|error| error.state), Err(state::QUERY_CANCELED)));
            assert_eq!(check(), Ok(()), "what ran within has ended");
        });
        assert!(Stop::current().is_none());
    }

    #[test]
    fn a_future_carries_its_stop_to_the_thread_that_polls_it() {
        let stop = Stop::default();
        let mut future = stop.clone().within(async { check().is_err() });
        drop(stop.on_drop());
        let polled =
            std::thread::spawn(move || Pin::new(&mut future).poll(&mut Context::from_waker(std::task::Waker::noop())));
        assert_eq!(polled.join().expect("it does not panic"), Poll::Ready(true));
    }
}
