//! Accepts connections, bounds their number, gives each to a thread, and ends them all at a stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::cancel::Cancels;
use super::startup::{self, Admission, Login};
use super::threads::Threads;
use super::tls;
use crate::error::{SqlError, state};
use crate::session::Engine;

pub struct Options {
    /// What every client must give (SCRAM-SHA-256); `None` asks nobody.
    pub password: Option<String>,
    /// PEM files of certificate chain and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub max_connections: usize,
}

/// How long open connections may take to end at a stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);

pub struct Server {
    shared: Arc<Shared>,
    threads: Threads,
    max_connections: usize,
}

/// What all connections of a server share.
pub(super) struct Shared {
    pub engine: Arc<Engine>,
    pub login: Login,
    pub tls: Option<tokio_rustls::TlsAcceptor>,
    pub cancels: Cancels,
}

impl Server {
    pub fn new(engine: Arc<Engine>, options: Options) -> Result<Server, SqlError> {
        let tls = options
            .tls
            .map(|(chain, key)| tls::acceptor(&chain, &key))
            .transpose()?;
        let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get());
        let threads = Threads::start(threads).map_err(|error| {
            let message = format!("cannot start the threads of sessions: {error}");
            SqlError::new(state::INSUFFICIENT_RESOURCES, message)
        })?;
        let login = Login::new(options.password);
        let shared = Shared {
            engine,
            login,
            tls,
            cancels: Cancels::default(),
        };
        Ok(Server {
            shared: Arc::new(shared),
            threads,
            max_connections: options.max_connections,
        })
    }

    /// Serves until `stop` resolves and every connection has ended.
    pub async fn run(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(self.max_connections));
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let shared = self.shared.clone();
                        let place = places.clone().try_acquire_owned().ok();
                        let stopped = stopped.clone();
                        let thread = self.threads.place();
                        let held = thread.held;
                        let serving = async move {
                            let admission = if place.is_some() { Admission::Free } else { Admission::Full };
                            serve(stream, &shared, admission, stopped).await;
                            drop((place, held));
                        };
                        connections.spawn_on(serving, &thread.handle);
                    }
                    // Out of file descriptors, or a client that left again: the next one may do better.
                    Err(error) => {
                        warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        }
        drop(listener);
        // Fails only if nobody listens, that is, if no connection is open.
        let _ = stopping.send(true);
        self.shared.cancels.stop_all();
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_LIMIT, ended).await.is_err() {
            warn!("connections that did not end in time are cut");
        }
    }
}

async fn serve(stream: TcpStream, shared: &Arc<Shared>, admission: Admission, stopped: watch::Receiver<bool>) {
    // Its events are to come to this thread, not to the one that accepted it.
    let stream = match stream.into_std().and_then(TcpStream::from_std) {
        Ok(stream) => stream,
        Err(error) => {
            warn!(%error, "a connection could not be given to a thread");
            return;
        }
    };
    // Small answers must not wait for the client's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    if let Err(error) = startup::serve(stream, shared, admission, stopped).await {
        debug!(%error, "a connection ended");
    }
}
