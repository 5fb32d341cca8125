//! The threads that keep views: views that read one another share one, others may have threads of their own.
//!
//! One rule: a reading of several views is of one LSN, whatever threads keep them. Threads that have not come to that LSN go on
//! to it, and none goes further until all have answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::depth::STACK_BYTES;
use crate::error::{SqlError, state};
use crate::log::Lsn;

use super::driver::{Driver, Published, REQUESTS_MAX, Request, Shared};

/// A thread and the views that it keeps.
pub struct Keeper {
    pub published: Arc<Mutex<Published>>,
    requests: mpsc::Sender<Request>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    pub fn start(shared: Shared, newest: watch::Receiver<Lsn>) -> Result<Arc<Keeper>, SqlError> {
        let published = Arc::new(Mutex::new(Published::default()));
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let driver = Driver::new(shared, published.clone(), (&requests, receiver), newest);
        let thread = std::thread::Builder::new()
            .name("views".to_string())
            .stack_size(STACK_BYTES)
            .spawn(move || driver.run())
            .map_err(|error| {
                SqlError::new(
                    state::INSUFFICIENT_RESOURCES,
                    format!("could not start a thread: {error}"),
                )
            })?;
        Ok(Arc::new(Keeper {
            published,
            requests,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Hands in a request. `None` if the thread has ended.
    pub async fn send(&self, request: Request) -> Option<()> {
        self.requests.send(request).await.ok()
    }

    /// The answer to a request. `None` if the thread has ended, or did so before it answered.
    pub async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, wait) = oneshot::channel();
        self.send(request(reply)).await?;
        wait.await.ok()
    }

    /// Hands in a request without waiting for room.
    pub fn send_now(&self, request: Request) {
        if let Err(error) = self.requests.try_send(request) {
            // The queue is full: hand it in from a thread that may wait.
            let requests = self.requests.clone();
            let request = error.into_inner();
            let sender = std::thread::Builder::new()
                .name("view request".to_string())
                .spawn(move || requests.blocking_send(request));
            if let Err(error) = sender {
                tracing::error!(%error, "a dropped view is kept until the server restarts");
            }
        }
    }

    /// Stops the views at their frontier, which is returned, until the hold is moved on or dropped.
    pub async fn hold(self: &Arc<Keeper>) -> Option<(FrontierHold, Lsn)> {
        let bound = Arc::new(AtomicU64::new(0));
        let held = Arc::downgrade(&bound);
        let frontier = self.ask(|reply| Request::Hold { bound: held, reply }).await?;
        let hold = FrontierHold {
            bound,
            keeper: self.clone(),
        };
        Some((hold, frontier))
    }

    /// Whether it takes no more requests.
    pub fn has_ended(&self) -> bool {
        self.requests.is_closed()
    }

    /// Ends the thread, and waits for it.
    pub async fn stop(&self) {
        // It may have ended by itself.
        let _ = self.send(Request::Stop).await;
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && let Ok(Err(_)) = tokio::task::spawn_blocking(move || thread.join()).await
        {
            tracing::error!("a thread of the views ended by a panic");
        }
    }
}

/// While it lives the views of a keeper go no further than its bound.
pub struct FrontierHold {
    bound: Arc<AtomicU64>,
    keeper: Arc<Keeper>,
}

impl FrontierHold {
    /// Lets the views go on to an LSN.
    pub fn move_to(&self, lsn: Lsn) {
        self.bound.store(lsn, Ordering::Release);
    }
}

impl Drop for FrontierHold {
    fn drop(&mut self) {
        self.move_to(Lsn::MAX);
        // A thread with a full queue is awake.
        let _ = self.keeper.requests.try_send(Request::Wake);
    }
}
