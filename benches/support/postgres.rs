//! A PostgreSQL to compare with, where `initdb` and `postgres` are installed: its own data directory, free port, settings
//! as it comes with. Killed when dropped.
//!
//! Not here: what is measured with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio_postgres::Config;

/// A PostgreSQL of its own, with the settings that it comes with.
pub struct Postgres {
    child: Child,
    port: u16,
    data_dir: PathBuf,
}

impl Postgres {
    /// `None` if it is not installed, or does not run as this user.
    pub fn start(scratch: &Path) -> Option<Postgres> {
        let data_dir = scratch.join("postgres");
        fs::create_dir(&data_dir).ok()?;
        let root = rustix::process::geteuid().is_root();
        if root {
            // It refuses to run as root; the packages make a user for it.
            let open = |path: &Path, mode: &str| Command::new("chmod").arg(mode).arg(path).status();
            open(scratch, "755").ok()?;
            Command::new("chown")
                .arg("postgres")
                .arg(&data_dir)
                .status()
                .ok()
                .filter(|status| status.success())?;
        }
        let tool = |name: &str| {
            let path = find(name)?;
            let mut command = Command::new(if root { Path::new("runuser") } else { path.as_path() });
            if root {
                command.args(["-u", "postgres", "--"]).arg(&path);
            }
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            Some(command)
        };
        let made = tool("initdb")?
            .args(["-U", "postgres", "-A", "trust", "-D"])
            .arg(&data_dir)
            .status()
            .ok()?;
        if !made.success() {
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .ok()?
            .local_addr()
            .ok()?
            .port();
        let settings = [
            "listen_addresses=127.0.0.1",
            "max_connections=300",
            "unix_socket_directories=",
        ];
        let mut command = tool("postgres")?;
        command.arg("-D").arg(&data_dir).arg("-p").arg(port.to_string());
        for setting in settings {
            command.args(["-c", setting]);
        }
        let child = command.spawn().ok()?;
        let postgres = Postgres { child, port, data_dir };
        let up = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            postgres.is_ready()
        });
        up.then_some(postgres)
    }

    /// It takes connections before it answers them; the last line of its pid file is its status.
    fn is_ready(&self) -> bool {
        let file = fs::read_to_string(self.data_dir.join("postmaster.pid")).unwrap_or_default();
        file.lines().last().is_some_and(|status| status.trim() == "ready")
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user("postgres")
            .dbname("postgres");
        config
    }

    /// Its first process, the parent of all others. Under `runuser` that is a child of the child.
    pub fn pid(&self) -> u32 {
        self.running().expect("a server that runs writes its pid")
    }

    fn running(&self) -> Option<u32> {
        let file = fs::read_to_string(self.data_dir.join("postmaster.pid")).ok()?;
        file.lines().next()?.parse().ok()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = self.running().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // Immediate shutdown.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
        let _ = self.child.wait();
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let packaged = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"));
    std::env::split_paths(&path)
        .chain(packaged)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
