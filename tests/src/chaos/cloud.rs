//! The far side as it is run: PostgreSQL, gateway instances and HAProxy with the configuration that we ship, each a real
//! process that can be killed, with a breakable proxy on every way between them.
//!
//! hub → proxy → HAProxy (ends TLS) → proxy → instance → proxy → PostgreSQL.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use cairn_gateway::cluster::Cluster;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use super::proxy::{Beyond, Proxy, Weather};
use crate::{environment, wait};

/// How long a process may take to come up on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(120);
/// An origin whose pages may use the gateways' record API.
pub const TRUSTED_ORIGIN: &str = "https://pages.example.org";
/// The configuration that is tested is the one that is shipped.
const BALANCER: &str = include_str!("../../../ota/gateway/deploy/haproxy.cfg");

/// Everything beyond the hubs.
pub struct Cloud {
    folder: PathBuf,
    database: Cluster,
    to_database: Proxy,
    instances: Vec<Instance>,
    balancer: Child,
    to_balancer: Proxy,
    port: u16,
    community: String,
}

/// One gateway instance and the proxy before it.
struct Instance {
    process: Child,
    before: Proxy,
    log: PathBuf,
}

impl Cloud {
    /// Starts everything in `folder`, with so many instances, and makes a community.
    ///
    /// # Errors
    /// When a part does not come up; the message says which.
    pub async fn start(folder: &Path, instances: usize, weather: &Arc<Weather>) -> Result<Self> {
        // PostgreSQL runs as another user and has to get there.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        let cluster = folder.join("pg");
        let database = tokio::task::spawn_blocking(move || Cluster::start(&cluster)).await??;
        run(&["migrate", "--database", &database.url("owner")]).await?;
        let app = database.url("cairn_app");
        let community = run(&["community", "add", "Lower Valley", "--database", &app]).await?;

        let way = folder.join("way");
        fs::create_dir(&way)?;
        let socket = Beyond::Unix(folder.join("pg/.s.PGSQL.5432"));
        let to_database = Proxy::on_socket(&way.join(".s.PGSQL.5432"), socket, weather)?;
        let mut started = Vec::new();
        for number in 0..instances {
            let log = folder.join(format!("instance-{number}.log"));
            let (process, at) = serve(&way, &log).await?;
            let before = Proxy::on_socket(&instance_socket(folder, number), at, weather)?;
            started.push(Instance { process, before, log });
        }
        certificates(folder).await?;
        configure(folder, instances)?;
        let balancer = balance(folder).await?;
        let behind = Beyond::Unix(folder.join("balancer.sock"));
        let (to_balancer, port) = Proxy::on_port(behind, weather).await?;
        let folder = folder.to_owned();
        Ok(Self { folder, database, to_database, instances: started, balancer, to_balancer, port, community })
    }

    /// Where hubs dial.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// A way to the first instance without HAProxy and without TLS, for measuring: the proxy and its port.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn plain(&self, weather: &Arc<Weather>) -> Result<(Proxy, u16)> {
        Ok(Proxy::on_port(Beyond::Unix(instance_socket(&self.folder, 0)), weather).await?)
    }

    /// The authority that hubs have to trust.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A token that enrols one hub.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn token(&self) -> Result<String> {
        let app = self.database.url("cairn_app");
        run(&["token", "enrol", &self.community, "--database", &app]).await
    }

    /// A token for the record API in this person's name.
    ///
    /// # Errors
    /// When the person is not known there.
    pub async fn api_token(&self, person: &str) -> Result<String> {
        let app = self.database.url("cairn_app");
        run(&["token", "api", &self.community, person, "--days", "1", "--database", &app]).await
    }

    /// What hubs said of system versions, as a maintainer pipes it to `cairn-publish watch`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn updates(&self) -> Result<String> {
        run(&["updates", &self.community, "--database", &self.database.url("cairn_app")]).await
    }

    /// How many instances there are.
    #[must_use]
    pub const fn instances(&self) -> usize {
        self.instances.len()
    }

    /// Ends an instance, in order or at once, and starts it again.
    ///
    /// # Errors
    /// When it does not come up again, or does not end in order.
    pub async fn restart_instance(&mut self, number: usize, how: Signal) -> Result<()> {
        let way = self.folder.join("way");
        let instance = self.instances.get_mut(number).context("there is no such instance")?;
        signal(&instance.process, how)?;
        let ended = tokio::time::timeout(STARTS_WITHIN, instance.process.wait());
        let status = ended.await.context("an instance does not end")??;
        ensure!(
            how == Signal::SIGKILL || status.success(),
            "an instance that was drained ended with {status}"
        );
        let (process, at) = serve(&way, &instance.log).await?;
        instance.process = process;
        instance.before.lead(at);
        Ok(())
    }

    /// Kills HAProxy and starts it again.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn restart_balancer(&mut self) -> Result<()> {
        self.balancer.kill().await?;
        self.balancer = balance(&self.folder).await?;
        Ok(())
    }

    /// Gives HAProxy a certificate that is valid from now on, as a renewal does.
    ///
    /// # Errors
    /// When it cannot be made, or HAProxy does not come up with it.
    pub async fn renew_certificate(&mut self) -> Result<()> {
        certificate(&self.folder).await?;
        self.restart_balancer().await
    }

    /// Kills PostgreSQL and starts it again.
    ///
    /// # Errors
    /// When it does not come up again.
    pub fn restart_database(&mut self) -> Result<()> {
        // Blocks this task's thread; everything else goes on on the others.
        tokio::task::block_in_place(|| {
            self.database.kill()?;
            self.database.start_again()
        })
        .context("PostgreSQL does not come up again")
    }

    /// Kills one of PostgreSQL's processes that serves an instance: it then breaks off all of them and recovers. Says
    /// whether there was one.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill_backend(&self, choose: impl FnOnce(usize) -> usize) -> Result<bool> {
        let parent = self.database.process().to_string();
        let backends: Vec<i32> = fs::read_dir("/proc")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|id| serves(*id, &parent))
            .collect();
        if backends.is_empty() {
            return Ok(false);
        }
        let Some(id) = backends.get(choose(backends.len())) else { return Ok(false) };
        // One that has just gone is as dead as we want it.
        kill(Pid::from_raw(*id), Signal::SIGKILL).ok();
        Ok(true)
    }

    /// The ways that can be cut, the one from the hubs first.
    pub fn ways(&self) -> impl Iterator<Item = &Proxy> {
        [&self.to_balancer, &self.to_database].into_iter().chain(self.instances.iter().map(|i| &i.before))
    }

    /// Rounds that came to HAProxy over HTTP/2, and those that came another way.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn rounds_by_http(&self) -> Result<(usize, usize)> {
        let log = fs::read_to_string(self.folder.join("haproxy.log"))?;
        let rounds = log.lines().filter(|line| line.ends_with(" POST /v1/sync"));
        let (two, other): (Vec<_>, Vec<_>) = rounds.partition(|line| line.starts_with("HTTP/2"));
        Ok((two.len(), other.len()))
    }

    /// What a query gives, as its owner sees it: one line for each row, columns parted by `|`.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn query(&self, sql: &str) -> Result<Vec<String>> {
        let mut psql = Command::new("psql");
        psql.arg("--host").arg(self.folder.join("pg"));
        psql.args(["--username=owner", "--dbname=postgres", "--no-align", "--tuples-only", "--command", sql]);
        let output = psql.output().await.context("psql cannot be started")?;
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }
}

fn serves(id: i32, parent: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let its_parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    its_parent == Some(parent) && String::from_utf8_lossy(&line).contains("cairn_app")
}

fn signal(process: &Child, signal: Signal) -> Result<()> {
    let id = process.id().and_then(|id| i32::try_from(id).ok()).context("the process has ended by itself")?;
    Ok(kill(Pid::from_raw(id), signal)?)
}

async fn run(words: &[&str]) -> Result<String> {
    let output = Command::new(environment::gateway()?).args(words).output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cairn-gateway {}: {errors}", words.join(" "));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Starts an instance whose way to the database begins in `way`; it says itself where it listens.
async fn serve(way: &Path, log: &Path) -> Result<(Child, Beyond)> {
    let database = format!("postgres://cairn_app@localhost/postgres?host={}", way.display());
    let mut told = 0;
    if let Ok(before) = fs::metadata(log) {
        told = before.len();
    }
    let start = || -> Result<Child> {
        let errors = fs::File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(environment::gateway()?);
        command.args(["serve", "--listen", "127.0.0.1:0"]).env("CAIRN_GATEWAY_DATABASE", &database);
        command.env("CAIRN_GATEWAY_ORIGINS", TRUSTED_ORIGIN);
        command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        Ok(command.kill_on_drop(true).spawn()?)
    };
    let mut process = start()?;
    let address = wait::until("an instance serves", STARTS_WITHIN, async || {
        if let Ok(Some(_)) = process.try_wait() {
            // Without its database an instance ends; whoever runs it starts it again.
            process = start().ok()?;
        }
        address_after(log, told).ok().flatten()
    });
    let address = address.await?;
    Ok((process, Beyond::Tcp(address)))
}

/// The address in the log behind the first `told` bytes.
fn address_after(log: &Path, told: u64) -> io::Result<Option<std::net::SocketAddr>> {
    use std::io::Seek;
    let mut file = fs::File::open(log)?;
    file.seek(io::SeekFrom::Start(told))?;
    let mut found = None;
    for line in BufReader::new(file).lines() {
        let line = line?;
        let address = line.split_once("address=").map(|(_, rest)| rest.split(' ').next().unwrap_or(rest));
        found = address.and_then(|address| address.parse().ok()).or(found);
    }
    Ok(found)
}

fn instance_socket(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("instance-{number}.sock"))
}

/// The shipped configuration, with sockets of this folder in the place of a container's names.
fn configure(folder: &Path, instances: usize) -> Result<()> {
    let mut text = String::new();
    for line in BALANCER.lines() {
        let words = line.trim_start();
        if let Some(rest) = words.strip_prefix("bind :8443 ssl crt /run/secrets/tls.pem ") {
            let (socket, pem) = (folder.join("balancer.sock"), folder.join("tls.pem"));
            text += &format!("    bind unix@{} ssl crt {} {rest}\n", socket.display(), pem.display());
        } else if words.starts_with("default-server check") {
            text += "    default-server check inter 500 fall 2 rise 1\n";
        } else if words.starts_with("server ") {
            if words.starts_with("server one ") {
                for number in 0..instances {
                    let socket = instance_socket(folder, number);
                    text += &format!("    server s{number} unix@{}\n", socket.display());
                }
            }
        } else if words == "mode http" {
            // What was asked, and by which version of HTTP.
            text += "    mode http\n    log stdout format raw local0\n    log-format \"%HV %HM %HPO\"\n";
        } else if words.starts_with("maxconn ") {
            // The shipped number needs more descriptors than a developer's shell may have.
            text += "    maxconn 500\n";
        } else if words.starts_with("resolvers ") || words.starts_with("nameserver ") {
        } else {
            text += line;
            text.push('\n');
        }
    }
    ensure!(text.contains("unix@") && text.contains("ssl crt"), "haproxy.cfg has another form than expected");
    Ok(fs::write(folder.join("haproxy.cfg"), text)?)
}

async fn balance(folder: &Path) -> Result<Child> {
    let log = fs::File::options().create(true).append(true).open(folder.join("haproxy.log"))?;
    let socket = folder.join("balancer.sock");
    fs::remove_file(&socket).ok();
    let mut command = Command::new("haproxy");
    command.arg("-f").arg(folder.join("haproxy.cfg")).arg("-db").stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    let mut process = command.kill_on_drop(true).spawn().context("haproxy cannot be started")?;
    wait::until("haproxy listens", STARTS_WITHIN, async || {
        if let Ok(Some(status)) = process.try_wait() {
            let why = fs::read_to_string(folder.join("haproxy.log")).unwrap_or_default();
            return Some(Err(anyhow::anyhow!("haproxy ended with {status}: {why}")));
        }
        tokio::net::UnixStream::connect(&socket).await.ok().map(|_| Ok(()))
    })
    .await??;
    Ok(process)
}

/// What every certificate begins with.
const NEW_CERTIFICATE: [&str; 9] =
    ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"];

/// An authority of the test's own and a certificate of it for this machine.
async fn certificates(folder: &Path) -> Result<()> {
    authority(folder).await?;
    certificate(folder).await
}

/// An authority: `ca.pem` and `ca.key` in this folder.
///
/// # Errors
/// When openssl cannot make it.
pub async fn authority(folder: &Path) -> Result<()> {
    let authority = ["-subj", "/CN=Test authority", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(folder, &NEW_CERTIFICATE, &authority).await
}

async fn certificate(folder: &Path) -> Result<()> {
    let certificate = [
        "-subj",
        "/CN=localhost",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-keyout",
        "tls.key",
        "-out",
        "tls.crt",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-addext",
        "subjectAltName=DNS:localhost",
    ];
    openssl(folder, &NEW_CERTIFICATE, &certificate).await?;
    let pem = fs::read_to_string(folder.join("tls.crt"))? + &fs::read_to_string(folder.join("tls.key"))?;
    Ok(fs::write(folder.join("tls.pem"), pem)?)
}

async fn openssl(folder: &Path, first: &[&str], then: &[&str]) -> Result<()> {
    let output = Command::new("openssl").args(first).args(then).current_dir(folder).output().await;
    let output = output.context("openssl cannot be started")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
