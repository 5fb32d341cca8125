//! The thin binary: reads the command line, sets up logging and the runtime, and exits with what came of it.

use std::process::ExitCode;

use clap::Parser;
use millstream::config::{Cli, Command};
use millstream::{demo, server};

/// Plans are walked by recursion; a deep one must not end the server.
const STACK_BYTES: usize = 16 << 20;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("MILLSTREAM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,millstream=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
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
    let result = runtime.block_on(async {
        match cli.command {
            None => server::serve(cli.serve).await,
            Some(Command::Serve(serve)) => server::serve(serve).await,
            Some(Command::Demo(demo)) => demo::run(demo).await,
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millstream: {error}");
            ExitCode::FAILURE
        }
    }
}
