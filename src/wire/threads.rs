//! The threads that talk to clients: one for each core, each with a runtime of its own.
//!
//! One rule: a connection stays on the thread that it was given to. Threads that share their tasks wake each other for
//! each message; that is more than half of the cost of a small commit. Long computations run
//! elsewhere: queries and views have threads of their own.

use std::sync::Arc;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use crate::depth::STACK_BYTES;

pub struct Threads {
    threads: Vec<Thread>,
    /// The threads end when it is dropped.
    _running: watch::Sender<()>,
}

struct Thread {
    handle: Handle,
    /// A copy is with each connection.
    place: Arc<()>,
}

/// The thread that serves a connection.
pub struct Place {
    pub handle: Handle,
    /// Held for as long as it is.
    pub held: Arc<()>,
}

impl Threads {
    pub fn start(count: usize) -> std::io::Result<Threads> {
        let (running, ended) = watch::channel(());
        let threads = (0..count.max(1)).map(|number| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let mut ended = ended.clone();
            std::thread::Builder::new()
                .name(format!("session-{number}"))
                .stack_size(STACK_BYTES)
                // Nothing is ever sent: the wait ends when the sender is dropped.
                .spawn(move || runtime.block_on(async move { drop(ended.changed().await) }))?;
            let place = Arc::new(());
            Ok(Thread { handle, place })
        });
        Ok(Threads {
            threads: threads.collect::<std::io::Result<_>>()?,
            _running: running,
        })
    }

    /// The thread with the fewest connections.
    pub fn place(&self) -> Place {
        let thread = self
            .threads
            .iter()
            .min_by_key(|thread| Arc::strong_count(&thread.place));
        let thread = thread.expect("there is at least one");
        Place {
            handle: thread.handle.clone(),
            held: Arc::clone(&thread.place),
        }
    }
}
