//! The command line and its environment: the settings of one run of the program.
//!
//! Every flag of `serve` can also be given by the environment variable named beside it. No secret is taken from a
//! flag (a process list shows flags): the password comes from the environment or a file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A SQL streaming database: durable topics and always-current views over the Postgres wire protocol.
#[derive(Parser, Debug)]
#[command(name = "millstream", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: Serve,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the server (the default)
    Serve(Serve),
    /// Read a whole data directory that no server has open, and say whether it is damaged
    Check(CheckOptions),
    /// Say what it takes to make a damaged data directory usable again, and do it with --yes; rows may be lost
    Repair(Repair),
    /// Copy a data directory at one point, while a server has it open or not
    Backup(Backup),
    /// Run a server on a temporary data directory with a generated auction stream and three views
    Demo(Demo),
}

#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// Address to listen on; beyond loopback a password is required
    #[arg(
        long,
        env = "MILLSTREAM_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:5440"
    )]
    pub listen: String,
    #[command(flatten)]
    pub data: Data,
    /// File whose first line is the password that clients must give (or set MILLSTREAM_PASSWORD)
    #[arg(long, env = "MILLSTREAM_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// PEM certificate chain for TLS
    #[arg(long, env = "MILLSTREAM_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM private key for TLS
    #[arg(long, env = "MILLSTREAM_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Whether sessions without TLS are taken
    #[arg(
        long,
        env = "MILLSTREAM_TLS",
        value_name = "WHICH",
        value_enum,
        default_value_t = Tls::Allowed
    )]
    pub tls: Tls,
    /// Sessions at once; one more is refused with 53300
    #[arg(
        long,
        env = "MILLSTREAM_MAX_CONNECTIONS",
        value_name = "N",
        default_value_t = 1000,
        value_parser = at_least_one
    )]
    pub max_connections: usize,
    /// Memory for running queries, in MiB; a query that needs more gets 53200
    /// [default: a quarter of what the machine, or the process's control group, has]
    #[arg(
        long,
        env = "MILLSTREAM_QUERY_MEMORY_MIB",
        value_name = "MIB",
        value_parser = at_least_one
    )]
    pub query_memory_mib: Option<usize>,
    /// Memory for the states of materialized views and for building them, in MiB; a view that needs more fails with 53200
    /// [default: a quarter of what the machine, or the process's control group, has]
    #[arg(
        long,
        env = "MILLSTREAM_VIEW_MEMORY_MIB",
        value_name = "MIB",
        value_parser = at_least_one
    )]
    pub view_memory_mib: Option<usize>,
    /// Leave all materialized views off: they can be listed and dropped, not read
    #[arg(long, env = "MILLSTREAM_WITHOUT_VIEWS")]
    pub without_views: bool,
    /// Memory for rows that are not in segment files yet, in MiB; loads wait while it is full
    #[arg(
        long,
        env = "MILLSTREAM_TAIL_MEMORY_MIB",
        value_name = "MIB",
        default_value_t = 256,
        value_parser = at_least_one
    )]
    pub tail_memory_mib: usize,
    /// Refuse new rows while the disk has less room left, in MiB; 0: never [default: 2048, or twice what the log and the
    /// tail may take, but no more than 5 % of the file system]
    #[arg(
        long,
        env = "MILLSTREAM_DISK_RESERVE_MIB",
        value_name = "MIB",
        value_parser = clap::value_parser!(u64).range(..=u64::MAX >> 20)
    )]
    pub disk_reserve_mib: Option<u64>,
    /// For tests: segments and batches of next to no rows
    #[arg(long, env = "MILLSTREAM_TINY_SEGMENTS", hide = true)]
    pub tiny_segments: bool,
}

/// The value of `--tls`.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tls {
    /// Clients choose, if there is a certificate
    Allowed,
    /// Sessions without TLS are refused
    Required,
}

/// A number that leaves room for something, and whose bytes can still be counted.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number) if (1..=usize::MAX >> 20).contains(&number) => Ok(number),
        _ => Err(format!("a number from 1 to {}", usize::MAX >> 20)),
    }
}

/// The data directory, the same flag for everything that takes one.
#[derive(Args, Clone, Debug)]
pub struct Data {
    /// Directory that holds all data; a server makes it if it is not there
    #[arg(
        long,
        env = "MILLSTREAM_DATA_DIR",
        value_name = "DIR",
        default_value = "./millstream-data"
    )]
    pub data_dir: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub struct CheckOptions {
    #[command(flatten)]
    pub data: Data,
}

#[derive(Args, Clone, Debug)]
pub struct Repair {
    #[command(flatten)]
    pub data: Data,
    /// Do it, and lose what is said to be lost
    #[arg(long)]
    pub yes: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Backup {
    #[command(flatten)]
    pub data: Data,
    /// Directory to make, on a path that is free
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Copy segments even where hard links to them would do
    #[arg(long)]
    pub copy: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// Stop after this many rows instead of at ctrl-C
    #[arg(long, value_name = "N")]
    pub rows: Option<u64>,
    /// Rows generated per second
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub rate: u64,
    /// Address to listen on while the demo runs
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5440")]
    pub listen: String,
}

/// The environment variable that carries the password.
pub const PASSWORD_VARIABLE: &str = "MILLSTREAM_PASSWORD";

/// Whether only this machine can reach the address.
pub fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().is_loopback()
}
