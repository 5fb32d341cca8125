//! The PostgreSQL to compare with: one that runs already, or one of our own in a scratch directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const BINARIES: &str = "/usr/lib/postgresql/15/bin";
const PORT: u16 = 5999;

/// A PostgreSQL; ours ends with it.
pub struct Postgres {
    pub socket: PathBuf,
    pub user: String,
    ours: Option<(Child, TempDir)>,
}

impl Postgres {
    /// `None`: there is none on this machine.
    pub fn find() -> Option<Postgres> {
        if let Ok(settings) = std::env::var("DIFFERENTIAL_POSTGRES") {
            let setting = |name: &str, usual: &str| {
                let mut words = settings.split_whitespace().filter_map(|word| word.split_once('='));
                words
                    .find(|(key, _)| *key == name)
                    .map_or(usual, |(_, value)| value)
                    .to_string()
            };
            return Some(Postgres {
                socket: Path::new(&setting("host", "/tmp")).join(format!(".s.PGSQL.{}", setting("port", "5432"))),
                user: setting("user", "postgres"),
                ours: None,
            });
        }
        Path::new(BINARIES).join("initdb").exists().then(Postgres::start)
    }

    fn start() -> Postgres {
        let scratch = tempfile::tempdir_in("/tmp").expect("a scratch directory can be made");
        let folder = scratch.path();
        let is_root = rustix::process::getuid().is_root();
        if is_root {
            run(Command::new("chown").arg("postgres").arg(folder));
        }
        let command = |name: &str| {
            let binary = Path::new(BINARIES).join(name);
            if !is_root {
                return Command::new(binary);
            }
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
                .arg(binary);
            command
        };
        let data = folder.join("data");
        run(command("initdb")
            .args([
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--auth=trust",
                "-N",
                "-D",
            ])
            .arg(&data));
        let mut server = command("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(folder);
        server.args(["-p", &PORT.to_string(), "-c", "listen_addresses=", "-c", "fsync=off"]);
        let log = fs::File::create(folder.join("log")).expect("a log can be made");
        let child = server
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("PostgreSQL can be started");
        let postgres = Postgres {
            socket: folder.join(format!(".s.PGSQL.{PORT}")),
            user: "postgres".to_string(),
            ours: Some((child, scratch)),
        };
        let began = Instant::now();
        while std::os::unix::net::UnixStream::connect(&postgres.socket).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "PostgreSQL did not start");
            thread::yield_now();
        }
        postgres
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some((child, _)) = &mut self.ours else { return };
        // SIGINT is a fast shutdown, which waits for no client.
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::INT);
        }
        let _ = child.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the command is there");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
