//! The composition root: opens the data directory, recovers, starts the views, listens; and stops in reverse.
//!
//! One rule: a failure for a reason outside the program (port, directory, password) is an error with its
//! own words and ends the process with a failure code; it is never a panic.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::catalog::Catalog;
use crate::config::{PASSWORD_VARIABLE, Serve, Tls, is_loopback};
use crate::error::SqlError;
use crate::log::{Log, LogError, LogOptions, Recovered};
use crate::query::{Process, Query, QueryOptions};
use crate::relief::Relief;
use crate::session::Engine;
use crate::storage::{Disk, RealDisk, SharedClock, SystemClock, resident_bytes};
use crate::views::{Views, idle, ticks};
use crate::wire;

mod descriptors;
mod tools;
mod views;

use descriptors::Share;
pub use tools::{backup, check, repair};
pub use views::ViewOptions;

use views::Deaths;

/// Niceness of the threads that compute, relative to those that talk to clients and write.
const COMPUTING_NICENESS: i32 = 5;

/// Time between two looks at the memory of the process, whether or not anything runs.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Why the server did not start, or why it stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address}: {error}")]
    Listen { address: String, error: std::io::Error },
    #[error("\"{address}\" is not an address to listen on: {error}; give HOST:PORT, such as 127.0.0.1:5440")]
    Address { address: String, error: std::io::Error },
    #[error(
        "refusing to listen on {0}, which other machines can reach, without a password; set {PASSWORD_VARIABLE} or \
         --password-file, or listen on 127.0.0.1"
    )]
    NoPassword(SocketAddr),
    #[error("cannot read the password file {path}: {error}")]
    PasswordFile { path: PathBuf, error: std::io::Error },
    #[error("the password must not be empty")]
    EmptyPassword,
    #[error("--tls required needs a certificate: give --tls-cert and --tls-key")]
    NoCertificate,
    #[error("cannot serve: {0}")]
    Wire(SqlError),
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("the catalog in {dir} cannot be read: {reason}")]
    Catalog { dir: PathBuf, reason: String },
    #[error("the data directory is damaged in {places} place(s)")]
    Damaged { places: usize },
    #[error(
        "the data directory is damaged in {places} place(s), and nothing was changed; --yes repairs it as said above"
    )]
    Unrepaired { places: usize },
    #[error("the log failed and the server stopped, to recover at its next start: {0}")]
    LogFailed(String),
    #[error("{0}")]
    Sql(#[from] SqlError),
}

/// A server that is ready to accept.
pub struct Server {
    pub engine: Arc<Engine>,
    pub address: SocketAddr,
    pub recovered: Recovered,
    listener: TcpListener,
    wire: wire::WireServer,
    deaths: Arc<Deaths>,
}

/// The part of memory if the machine's memory is unknown, bytes.
const PART_BYTES: usize = 1 << 30;

/// Memory for queries, or for views, bytes: by default a quarter of the machine's.
fn part_of_memory(mib: Option<usize>) -> usize {
    let of_machine = || crate::storage::memory_bytes().and_then(|bytes| usize::try_from(bytes / 4).ok());
    match mib {
        Some(mib) => mib << 20,
        None => of_machine().unwrap_or(PART_BYTES),
    }
}

/// The memory of queries.
#[derive(Clone, Copy, Debug)]
pub struct QueryMemory {
    /// Memory for all of them together, bytes.
    pub bytes_max: usize,
    /// Returns free memory to the system; `None`: the memory of the process is not held against queries.
    pub give_back: Option<fn()>,
}

impl Server {
    /// Opens everything; when it returns, connections to `address` are queued.
    /// `give_back` has the allocator return free memory to the system.
    pub async fn open(config: &Serve, give_back: fn()) -> Result<Server, ServerError> {
        let password = password(config)?;
        let tls = config.tls_cert.clone().zip(config.tls_key.clone());
        let tls_required = config.tls == Tls::Required;
        if tls_required && tls.is_none() {
            return Err(ServerError::NoCertificate);
        }
        let share = descriptors(config.max_connections);
        let listener = listen(&config.listen).await?;
        let address = listener.local_addr().map_err(|error| ServerError::Listen {
            address: config.listen.clone(),
            error,
        })?;
        if !is_loopback(&address) && password.is_none() {
            return Err(ServerError::NoPassword(address));
        }
        let disk: Arc<dyn Disk> = RealDisk::shared();
        let clock: SharedClock = Arc::new(SystemClock);
        let mut log_options = match config.tiny_segments {
            true => LogOptions::tiny(),
            false => LogOptions::with_memory(config.tail_memory_mib << 20),
        };
        log_options.disk_reserve_bytes = config.disk_reserve_mib.map(|mib| mib << 20);
        let query_memory = QueryMemory {
            bytes_max: part_of_memory(config.query_memory_mib),
            give_back: Some(give_back),
        };
        let views = ViewOptions {
            memory_bytes_max: part_of_memory(config.view_memory_mib),
            off: config.without_views,
        };
        let dir = &config.data.data_dir;
        let (engine, recovered, deaths) = open_counted(disk, dir, clock, log_options, query_memory, views).await?;
        let options = wire::Options {
            password,
            tls,
            tls_required,
            sessions_max: share.sessions,
            guests_max: share.guests,
        };
        let wire = wire::WireServer::new(engine.clone(), options).map_err(ServerError::Wire)?;
        Ok(Server {
            engine,
            address,
            recovered,
            listener,
            wire,
            deaths,
        })
    }

    /// Serves until `stop` resolves or the log fails; then closes connections, views and log, in this order.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let log = self.engine.log.clone();
        let failed = async { log.failed().await };
        let (idle_stop, idle_stopped) = tokio::sync::watch::channel(false);
        let idle = idle::run(
            log.clone(),
            self.engine.views.clone(),
            self.engine.catalog.clone(),
            self.engine.clock.clone(),
            idle_stopped.clone(),
        );
        let idle = tokio::spawn(idle);
        let views = self.engine.views.clone();
        let ticks = tokio::spawn(ticks::run(log.clone(), views, self.engine.clock.clone(), idle_stopped));
        let relieving = tokio::spawn(relieve(self.engine.clone()));
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let serving = self.wire.run(self.listener, async {
            // An error is the sender's end, which means the same.
            let _ = ended.await;
        });
        tokio::pin!(serving, failed, stop);
        let reason = tokio::select! {
            () = &mut serving => None,
            reason = &mut failed => Some(reason),
            () = &mut stop => {
                info!("stopping");
                drop(end);
                serving.await;
                None
            }
        };
        relieving.abort();
        // If it ends now while it builds views, they are not why.
        self.deaths.clear();
        if let Some(reason) = reason {
            return Err(ServerError::LogFailed(reason));
        }
        // Fails only if the task is gone already.
        let _ = idle_stop.send(true);
        let _ = idle.await;
        let _ = ticks.await;
        self.engine.views.stop().await;
        self.engine.log.close().await?;
        Ok(())
    }
}

/// Keeps the allocator's free memory small while much is in use.
async fn relieve(engine: Arc<Engine>) {
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        engine.query.relieve();
    }
}

/// Recovers a data directory: the log, the catalog from it, and the views from both.
pub async fn open_engine(
    disk: Arc<dyn Disk>,
    dir: &Path,
    clock: SharedClock,
    log_options: LogOptions,
    query_memory: QueryMemory,
    view_options: ViewOptions,
) -> Result<(Arc<Engine>, Recovered), ServerError> {
    let opened = open_counted(disk, dir, clock, log_options, query_memory, view_options).await?;
    Ok((opened.0, opened.1))
}

/// An engine over an empty directory in memory.
#[cfg(test)]
pub async fn open_empty_engine() -> Arc<Engine> {
    let query_memory = QueryMemory {
        bytes_max: 64 << 20,
        give_back: None,
    };
    let view_options = ViewOptions {
        memory_bytes_max: 64 << 20,
        off: false,
    };
    let opened = open_engine(
        crate::storage::FaultDisk::new().shared(),
        Path::new("/data"),
        Arc::new(SystemClock),
        LogOptions::tiny(),
        query_memory,
        view_options,
    );
    opened.await.expect("an empty directory").0
}

async fn open_counted(
    disk: Arc<dyn Disk>,
    dir: &Path,
    clock: SharedClock,
    log_options: LogOptions,
    query_memory: QueryMemory,
    view_options: ViewOptions,
) -> Result<(Arc<Engine>, Recovered, Arc<Deaths>), ServerError> {
    let tail_bytes_max = log_options.tail_bytes_max;
    let (log, recovered) = Log::open(disk.clone(), dir, log_options, clock.clone())?;
    let catalog = Catalog::recover(&recovered.catalog).map_err(|reason| ServerError::Catalog {
        dir: dir.to_path_buf(),
        reason,
    })?;
    let catalog = Arc::new(catalog);
    log.observe_ddl(catalog.clone());
    let views = Views::start(log.clone(), view_options.memory_bytes_max);
    let process = query_memory.give_back.map(|give_back| {
        let budget = views.budget();
        let relief = Arc::new(Relief::new(give_back));
        budget.set_relief(relief.clone());
        Process {
            others_max: Arc::new(move || tail_bytes_max + budget.used()),
            resident: resident_bytes,
            relief,
        }
    });
    let options = QueryOptions {
        memory_bytes_max: query_memory.bytes_max,
        on_thread_start: behind_sessions,
        process,
        ..QueryOptions::default()
    };
    let query = Query::new(log.clone(), options)?;
    let engine = Arc::new(Engine::new(log, catalog, views, query, clock));
    let deaths = views::start(&engine, disk, dir, view_options).await?;
    Ok((engine, recovered, deaths))
}

/// Puts the calling thread behind those of sessions and the log: long computations leave them the processors.
fn behind_sessions() {
    // Without the right to, it competes with them.
    let _ = rustix::process::nice(COMPUTING_NICENESS);
}

/// The descriptors of the process, shared out.
fn descriptors(max_connections: usize) -> Share {
    let limit = descriptors::raise();
    let share = Share::of(limit, max_connections);
    if share.sessions < max_connections {
        warn!(
            "{limit} file descriptors are enough for {} connections, not for {max_connections}: raise the hard limit \
             (ulimit -Hn), or lower --max-connections",
            share.sessions
        );
    }
    share
}

async fn listen(address: &str) -> Result<TcpListener, ServerError> {
    let mut resolved = tokio::net::lookup_host(address)
        .await
        .map_err(|error| ServerError::Address {
            address: address.to_string(),
            error,
        })?;
    let first = resolved.next().ok_or_else(|| ServerError::Address {
        address: address.to_string(),
        error: std::io::Error::from(std::io::ErrorKind::AddrNotAvailable),
    })?;
    TcpListener::bind(first).await.map_err(|error| ServerError::Listen {
        address: address.to_string(),
        error,
    })
}

fn password(config: &Serve) -> Result<Option<String>, ServerError> {
    let password = match &config.password_file {
        Some(path) => {
            let text = crate::storage::read_text(path).map_err(|error| ServerError::PasswordFile {
                path: path.clone(),
                error,
            })?;
            Some(text.lines().next().unwrap_or_default().to_string())
        }
        None => std::env::var(PASSWORD_VARIABLE).ok(),
    };
    match password {
        Some(password) if password.is_empty() => Err(ServerError::EmptyPassword),
        password => Ok(password),
    }
}

/// Resolves at SIGTERM or ctrl-C. The handlers are in place when this returns, so that a signal that comes before the
/// future is first polled is not lost (or, worse, ends the process where it stands).
pub fn stop_signal() -> impl Future<Output = ()> {
    let handler = |kind| signal(kind).expect("a signal handler can be installed in a running runtime");
    let (mut terminate, mut interrupt) = (handler(SignalKind::terminate()), handler(SignalKind::interrupt()));
    async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// `millstream serve`.
pub async fn serve(config: Serve, give_back: fn()) -> Result<(), ServerError> {
    let server = Server::open(&config, give_back).await?;
    let stop = stop_signal();
    print!("{}", banner(&server, &config));
    server.run(stop).await
}

fn banner(server: &Server, config: &Serve) -> String {
    let address = server.address;
    let host = if address.ip().is_unspecified() {
        "127.0.0.1".to_string()
    } else {
        address.ip().to_string()
    };
    let recovered = &server.recovered;
    let state = match recovered.newest {
        0 => "new".to_string(),
        lsn => format!("{} rows, newest commit {lsn}", recovered.rows),
    };
    format!(
        "millstream {}\n  listening   {address}\n  connect     {}\n  data        {} ({state})\n  sync        {:.2} ms a write\n",
        env!("CARGO_PKG_VERSION"),
        connect_line(&host, address.port()),
        config.data.data_dir.display(),
        server.engine.log.sync_latency_us() as f64 / 1000.0,
    )
}

/// The psql line to paste.
pub fn connect_line(host: &str, port: u16) -> String {
    format!("psql -h {host} -p {port} -U millstream millstream")
}
