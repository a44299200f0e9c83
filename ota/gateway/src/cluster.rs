//! A PostgreSQL of one's own, in a folder, for developers and tests: a fresh cluster on a Unix socket, gone with its
//! handle.
//!
//! PostgreSQL refuses to run as root; where we are root it runs as `postgres`, by way of `setpriv`.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long the database may take to come up or go down. Generous: the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(180);

/// Where Debian puts the programs, newest version last.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A running cluster; stopped and removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    postgres: Child,
}

impl Cluster {
    /// Makes a cluster in `folder`, which must not exist, and waits until it answers.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not come up; the message holds its own words.
    pub fn start(folder: &Path) -> io::Result<Self> {
        let bin = programs()?;
        let root = is_root()?;
        fs::create_dir_all(folder)?;
        if root {
            let owner = user_of("postgres")?;
            chown(folder, Some(owner.0), Some(owner.1))?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        let data = folder.join("data");
        let initdb = command(&bin.join("initdb"), root)
            .args(["--username=owner", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(&data)
            .stdin(Stdio::null())
            .output()?;
        if !initdb.status.success() {
            return Err(io::Error::other(format!("initdb: {}", String::from_utf8_lossy(&initdb.stderr))));
        }
        let postgres = serve(folder, &bin, root)?;
        let mut cluster = Self { folder: folder.to_owned(), postgres };
        cluster.wait(&bin, root)?;
        Ok(cluster)
    }

    fn wait(&mut self, bin: &Path, root: bool) -> io::Result<()> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.postgres.try_wait()? {
                return Err(io::Error::other(format!("postgres ended with {status}: {}", self.log())));
            }
            let ready = command(&bin.join("pg_isready"), root)
                .args(["--quiet", "-U", "owner", "-d", "postgres", "-h"])
                .arg(&self.folder)
                .status()?;
            if ready.success() {
                return Ok(());
            }
            if began.elapsed() > DEADLINE {
                return Err(io::Error::other(format!("postgres does not answer: {}", self.log())));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        let mut text = String::new();
        let read = fs::File::open(self.folder.join("log"))
            .and_then(|file| file.take(16 * 1024).read_to_string(&mut text));
        match read {
            Ok(_) => text,
            Err(error) => error.to_string(),
        }
    }

    /// The address for `user` (`owner` or `cairn_app`).
    #[must_use]
    pub fn url(&self, user: &str) -> String {
        format!("postgres://{user}@localhost/postgres?host={}", self.folder.display())
    }

    /// The server's process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.postgres.id()
    }

    /// Starts the server again after [`Cluster::kill`] and waits until it answers.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_again(&mut self) -> io::Result<()> {
        let (bin, root) = (programs()?, is_root()?);
        let began = Instant::now();
        loop {
            self.postgres = serve(&self.folder, &bin, root)?;
            match self.wait(&bin, root) {
                Ok(()) => return Ok(()),
                // The children of the server before hold its memory until they have noticed that it is gone.
                Err(_) if began.elapsed() < DEADLINE => std::thread::sleep(Duration::from_millis(200)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the server at once, as a power cut would; what was committed is kept.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> io::Result<()> {
        self.postgres.kill()?;
        self.postgres.wait().map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // An immediate shutdown (SIGQUIT) ends the server's children as well, which SIGKILL would leave behind.
        let signalled = Command::new("kill").args(["-QUIT", &self.postgres.id().to_string()]).status();
        if signalled.is_ok_and(|status| status.success()) {
            let began = Instant::now();
            while began.elapsed() < DEADLINE && matches!(self.postgres.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _killed = self.postgres.kill();
        let _ended = self.postgres.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

fn serve(folder: &Path, bin: &Path, root: bool) -> io::Result<Child> {
    let log = fs::File::options().create(true).append(true).open(folder.join("log"))?;
    command(&bin.join("postgres"), root)
        .arg("-D")
        .arg(folder.join("data"))
        // Only the socket: nothing to collide with, nothing for strangers. Safety against power cuts stays on.
        .args(["-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=64MB", "-k"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// The folder of PostgreSQL's programs.
fn programs() -> io::Result<PathBuf> {
    let versions = fs::read_dir(DEBIAN).map(|entries| {
        entries
            .filter_map(Result::ok)
            .map(|entry| entry.path().join("bin"))
            .filter(|bin| bin.join("initdb").exists())
    });
    let number = |bin: &PathBuf| {
        let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|name| name.parse::<u32>().ok()).unwrap_or(0)
    };
    if let Some(newest) = versions.ok().and_then(|bins| bins.max_by_key(number)) {
        return Ok(newest);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .ok_or_else(|| io::Error::other("PostgreSQL is not installed: apt-get install postgresql"))
}

fn command(program: &Path, root: bool) -> Command {
    if root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
        command.current_dir("/");
        command
    } else {
        Command::new(program)
    }
}

fn is_root() -> io::Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    Ok(uid.split_whitespace().nth(1) == Some("0"))
}

/// User and group of a name in `/etc/passwd`.
fn user_of(name: &str) -> io::Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name));
    let mut numbers = line.into_iter().flat_map(|line| line.split(':').skip(2)).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(user)), Some(Ok(group))) => Ok((user, group)),
        _ => Err(io::Error::other(format!("there is no user {name}"))),
    }
}
