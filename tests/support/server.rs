//! One millstream process under test: started on a free port, killed by its own pid when dropped, also on a panic.
//!
//! One rule: nothing here waits by sleeping; it waits for a line, an exit or a deadline.
//! Not here: talking to the server (each suite uses the client that it is about).

#![allow(dead_code, reason = "each suite uses its own part")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Time that a start or a clean stop may take before the test fails. Generous: machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The password of servers that have one.
pub const PASSWORD: &str = "correct horse";

/// A running server. Its data directory belongs to the caller and outlives it.
pub struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

/// The end of a server that did not come up.
#[derive(Debug)]
pub struct Refused {
    pub status: ExitStatus,
    /// Its standard output and standard error together.
    pub output: String,
}

impl Server {
    /// Starts the server on `data_dir` and a free port of the loopback; panics with its output if it does not come up.
    pub fn start(data_dir: &Path) -> Server {
        Server::start_with(data_dir, &[])
    }

    /// The same with further arguments.
    pub fn start_with(data_dir: &Path, arguments: &[&str]) -> Server {
        Server::try_start(data_dir, arguments)
            .unwrap_or_else(|refused| panic!("the server did not start ({}):\n{}", refused.status, refused.output))
    }

    /// The same with further arguments (`--listen` among them replaces the default).
    pub fn try_start(data_dir: &Path, arguments: &[&str]) -> Result<Server, Refused> {
        Server::spawn(command(data_dir, arguments), data_dir)
    }

    /// Starts it with further arguments and [`PASSWORD`].
    pub fn start_with_password(data_dir: &Path, arguments: &[&str]) -> Server {
        let mut command = command(data_dir, arguments);
        command.env("MILLSTREAM_PASSWORD", PASSWORD);
        Server::spawn(command, data_dir).expect("a password is set")
    }

    /// Runs a command made by [`command`], maybe with a changed environment.
    pub fn spawn(mut command: Command, data_dir: &Path) -> Result<Server, Refused> {
        let log = data_dir.with_extension("log");
        let stderr = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .expect("the log beside the data directory can be written");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the server binary can be run");
        let stdout = child.stdout.take().expect("standard output is piped");
        let (sender, lines) = mpsc::channel();
        // Reads to the end, so that the server never blocks on a full pipe.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });

        let mut printed = String::new();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    printed.push_str(&line);
                    printed.push('\n');
                    if let Some(address) = listening(&line) {
                        return Ok(Server { child, address, log });
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = wait(&mut child).expect("a server that closed its output ends");
                    printed.push_str(&fs::read_to_string(&log).unwrap_or_default());
                    return Err(Refused {
                        status,
                        output: printed,
                    });
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    panic!("the server said nothing about listening for {PATIENCE:?}:\n{printed}");
                }
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, then waits for the end of the process.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        wait(&mut self.child).unwrap_or_else(|| panic!("SIGTERM did not stop the server in {PATIENCE:?}"))
    }

    /// SIGKILL, then waits for the end of the process.
    pub fn kill(mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("our own child can be waited for");
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).expect("our own child can be signalled");
    }

    /// Waits until the process ends by itself.
    pub fn wait(mut self) -> ExitStatus {
        wait(&mut self.child).unwrap_or_else(|| panic!("the server did not end in {PATIENCE:?}"))
    }

    /// Memory of the process that is in use, MiB.
    pub fn memory_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("our own child has a status");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("its memory");
        let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
        kib.expect("a number of KiB") / 1024
    }

    /// Descriptors that the process has open.
    pub fn descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("our own child has descriptors");
        open.count()
    }

    /// Everything that it logged to standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log on standard error.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn process(&self) -> Pid {
        let pid = i32::try_from(self.child.id()).expect("a process id fits in 31 bits");
        Pid::from_raw(pid).expect("a process id is not zero")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that [`Server::try_start`] runs. Settings from the caller's environment do not reach the server.
pub fn command(data_dir: &Path, arguments: &[&str]) -> Command {
    command_of(Path::new(env!("CARGO_BIN_EXE_millstream")), data_dir, arguments)
}

/// The same of another binary.
pub fn command_of(binary: &Path, data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.arg("serve").arg("--data-dir").arg(data_dir);
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command.args(arguments);
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("MILLSTREAM_")) {
        command.env_remove(name);
    }
    command
}

/// The address in a line such as `  listening   127.0.0.1:5440`.
fn listening(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    (words.next()? == "listening").then(|| words.next()?.parse().ok())?
}

/// Waits for the end of `child`, or kills it and answers `None` when [`PATIENCE`] is over.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw)?;
    let (done, over) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let late = over.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            let _ = kill_process(pid, Signal::KILL);
        }
        late
    });
    let status = child.wait().expect("our own child can be waited for");
    drop(done);
    let late = watchdog.join().expect("the watchdog does not panic");
    (!late).then_some(status)
}
