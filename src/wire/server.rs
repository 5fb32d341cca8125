//! The listener: accepts connections, bounds their number, gives each to a thread, and ends them all at a stop.
//!
//! One rule: a socket is accepted only if there is a descriptor for it. A connection that has not logged in is a guest
//! (`guests.rs`); a place among the sessions is taken at the login.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::context::{ConnectionContext, Login};
use super::guests::Guests;
use super::startup::{self, Arrival};
use super::threads::Threads;
use super::tls;
use crate::error::{SqlError, state};
use crate::log_limit::LogLimit;
use crate::panics;
use crate::session::Engine;

pub struct Options {
    /// The password of all clients (SCRAM-SHA-256); `None` asks nobody.
    pub password: Option<String>,
    /// PEM files of certificate chain and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Sessions without TLS are refused.
    pub tls_required: bool,
    /// Sessions at once.
    pub sessions_max: usize,
    /// Connections at once that have not logged in.
    pub guests_max: usize,
}

/// Time that open connections may take to end at a stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Sockets on their way out, beside those of sessions and guests.
pub const LEAVING_MAX: usize = 16;
/// The wait after a failure to accept: a descriptor or memory that is short does not come back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A peer that is gone without a word is found in two minutes.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 6;

pub struct WireServer {
    context: Arc<ConnectionContext>,
    threads: Threads,
    guests: Arc<Guests>,
    sockets: Arc<Semaphore>,
}

impl WireServer {
    pub fn new(engine: Arc<Engine>, options: Options) -> Result<WireServer, SqlError> {
        let tls = options
            .tls
            .map(|(chain, key)| tls::acceptor(&chain, &key))
            .transpose()?;
        let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get());
        let threads = Threads::start(threads).map_err(|error| {
            let message = format!("cannot start the threads of sessions: {error}");
            SqlError::new(state::INSUFFICIENT_RESOURCES, message)
        })?;
        let (sessions_max, guests_max) = (options.sessions_max, options.guests_max);
        let context = ConnectionContext {
            engine,
            login: Login::new(options.password),
            tls,
            tls_required: options.tls_required,
            cancels: Arc::default(),
            places: Arc::new(Semaphore::new(sessions_max.min(Semaphore::MAX_PERMITS))),
            login_failures: LogLimit::default(),
        };
        let sockets = sessions_max.saturating_add(guests_max).saturating_add(LEAVING_MAX);
        Ok(WireServer {
            context: Arc::new(context),
            threads,
            guests: Arc::new(Guests::new(guests_max)),
            sockets: Arc::new(Semaphore::new(sockets.min(Semaphore::MAX_PERMITS))),
        })
    }

    /// Serves until `stop` resolves and every connection has ended.
    pub async fn run(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let failures = LogLimit::default();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.accept(&listener) => match accepted {
                    Ok((stream, address, socket)) => {
                        let context = self.context.clone();
                        let thread = self.threads.place();
                        let held = thread.held;
                        let arrival = Arrival::new(address, self.guests.admit(), stopped.clone());
                        let serving = async move {
                            serve(stream, &context, arrival).await;
                            drop((socket, held));
                        };
                        connections.spawn_on(serving, &thread.handle);
                    }
                    Err(error) => {
                        if let Some(unlogged) = failures.admit() {
                            warn!(%error, unlogged, "a connection could not be accepted");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        drop(listener);
        // Fails only if nobody listens, that is, if no connection is open.
        let _ = stopping.send(true);
        self.context.cancels.stop_all();
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_LIMIT, ended).await.is_err() {
            warn!("connections that did not end in time are cut");
        }
    }

    /// The next connection, once there is a descriptor for it: until then it waits in the system's queue.
    async fn accept(&self, listener: &TcpListener) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let socket = self.sockets.clone().acquire_owned().await;
        let socket = socket.expect("the semaphore is never closed");
        let (stream, address) = listener.accept().await?;
        Ok((stream, address, socket))
    }
}

async fn serve(stream: TcpStream, context: &Arc<ConnectionContext>, arrival: Arrival) {
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
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
        debug!(%error, "no keepalive for a connection");
    }
    match panics::caught(startup::serve(stream, context, arrival)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection ended"),
        // It was logged where it happened.
        Err(error) => debug!(%error, "a connection broke off"),
    }
}
