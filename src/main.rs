//! The thin binary: reads the command line, sets up logging and the runtime, and exits with the result.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use millstream::config::{Cli, Command};
use millstream::depth::STACK_BYTES;
use millstream::{demo, panics, server};

/// Rows are allocated on one thread and freed on another, in small pieces: see `docs/decisions/0007`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// mimalloc's own, which its crate does not pass on. With `force` it visits every arena, and unmaps free memory.
    safe fn mi_collect(force: bool);
}

/// The allocator keeps freed memory for a second, and longer on threads that rest: this returns it to the system.
fn give_back() {
    mi_collect(true);
}

/// The log filter, such as `debug` or `warn,millstream=debug`.
const LOG_VARIABLE: &str = "MILLSTREAM_LOG";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = match std::env::var(LOG_VARIABLE).ok().filter(|value| !value.is_empty()) {
        None => tracing_subscriber::EnvFilter::new("warn,millstream=info"),
        Some(value) => match tracing_subscriber::EnvFilter::try_new(&value) {
            Ok(filter) => filter,
            Err(error) => {
                eprintln!("millstream: {LOG_VARIABLE}=\"{value}\" is not a log filter: {error}");
                return ExitCode::FAILURE;
            }
        },
    };
    tracing_subscriber::fmt()
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    panics::install();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("millstream: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    // On a thread of the runtime, whose stack is large: recovery compiles the views that sessions made on such a one.
    let work = runtime.spawn(async {
        match cli.command {
            None => server::serve(cli.serve, give_back).await,
            Some(Command::Serve(serve)) => server::serve(serve, give_back).await,
            Some(Command::Check(check)) => server::check(&check),
            Some(Command::Repair(repair)) => server::repair(&repair),
            Some(Command::Backup(backup)) => server::backup(&backup),
            Some(Command::Demo(demo)) => demo::run(demo, give_back).await,
        }
    });
    let result = match runtime.block_on(work) {
        Ok(result) => result,
        // It was reported when it happened.
        Err(_) => return ExitCode::FAILURE,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millstream: {error}");
            ExitCode::FAILURE
        }
    }
}
