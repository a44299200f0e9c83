//! A maintainers' repository as the cards of `cargo xtask test-image` expect it: served to the guest over HTTPS, under a certificate of
//! the authority that they believe beside the public ones. The line to it counts, and can be slow.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::machine::prepared;

/// The board of the machine.
const BOARD: &str = "qemu-virt";
/// Bytes that the line carries at once.
const PIECE: usize = 16 << 10;

/// A workshop, its server, and the line to it. Dropping it takes it from the network.
pub(crate) struct Repository {
    folder: tempfile::TempDir,
    systems: PathBuf,
    server: Child,
    line: Arc<Line>,
    listening: tokio::task::JoinHandle<()>,
}

/// What the line carries.
#[derive(Default)]
struct Line {
    carried: AtomicU64,
    /// Between two pieces, milliseconds.
    pause: AtomicU64,
}

impl Repository {
    /// Serves a copy of the workshop that the cards believe, at the address that they know.
    pub(crate) async fn serve() -> Result<Self> {
        let prepared = prepared("CAIRN_UPDATES")?;
        let folder = tempfile::TempDir::with_prefix("cairn-workshop-")?;
        let copied =
            Command::new("cp").arg("-r").arg(prepared.join("workshop")).arg(folder.path()).status()?;
        ensure!(copied.success(), "the workshop cannot be copied");
        let mut server = command(folder.path())?
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .context("cairn-publish cannot be started")?;
        let mut said = String::new();
        BufReader::new(server.stderr.take().context("no output")?).read_line(&mut said)?;
        let far = said.trim().trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();

        let url = std::fs::read_to_string(prepared.join("url"))?;
        let port = url.trim().rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        let port = port.with_context(|| format!("{url} names no port"))?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.with_context(|| format!("port {port}, which the cards know, is taken"))?;
        let acceptor = acceptor(&prepared)?;
        let line = Arc::new(Line::default());
        let carrying = Arc::clone(&line);
        let listening = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (acceptor, line, far) = (acceptor.clone(), Arc::clone(&carrying), far.clone());
                // Whatever goes wrong on one connection is seen by the guest.
                tokio::spawn(async move { carry(&acceptor, near, &far, &line).await.ok() });
            }
        });
        Ok(Self { folder, systems: prepared, server, line, listening })
    }

    /// The versions that were prepared, oldest first. The card carries the first.
    pub(crate) fn versions(&self) -> Result<Vec<String>> {
        let all = std::fs::read_to_string(self.systems.join("versions"))?;
        let versions: Vec<String> = all.lines().map(str::to_owned).collect();
        ensure!(versions.len() >= 3, "only {versions:?} were prepared");
        Ok(versions)
    }

    /// Publishes a system that `cargo xtask test-image` has built, for everybody at once.
    pub(crate) fn publish(&self, version: &str) -> Result<()> {
        let system = self.systems.join(format!("system-stable-{version}"));
        self.publish_parts(version, &system.join("boot.img"), &system.join("root.img"))
    }

    /// Publishes `boot` and `root` as a version.
    pub(crate) fn publish_parts(&self, version: &str, boot: &Path, root: &Path) -> Result<()> {
        let name = ["--board", BOARD, "--version", version];
        let mut add = command(self.folder.path())?;
        run(add.arg("add-system").args(name).arg("--boot").arg(boot).arg("--root").arg(root))?;
        run(command(self.folder.path())?.arg("rollout").args(name).args(["--over-hours", "0"]))?;
        run(command(self.folder.path())?.args(["sign", "--key", "release-1"]))
    }

    /// Where it lies.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().join("workshop/repository")
    }

    /// Length of a version's bundle.
    pub(crate) fn bundle(&self, version: &str) -> Result<u64> {
        let ends = format!("system-{BOARD}-{version}.cairn");
        let targets = std::fs::read_dir(self.folder().join("targets"))?;
        let mut named = targets.flatten().filter(|file| file.file_name().to_string_lossy().ends_with(&ends));
        Ok(named.next().with_context(|| format!("no bundle {ends}"))?.metadata()?.len())
    }

    /// Bytes that went to guests so far.
    pub(crate) fn carried(&self) -> u64 {
        self.line.carried.load(Relaxed)
    }

    /// Carries a piece of 16 KiB, then pauses for so long.
    pub(crate) fn slow(&self, pause: Duration) {
        self.line.pause.store(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.listening.abort();
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

fn command(folder: &Path) -> Result<Command> {
    let mut command = Command::new(prepared("CAIRN_PUBLISH")?);
    command.arg("--folder").arg(folder.join("workshop")).arg("--json");
    command.arg("--passphrase-file").arg(prepared("CAIRN_UPDATES")?.join("passphrase"));
    Ok(command)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("cairn-publish cannot be started")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

fn acceptor(folder: &Path) -> Result<TlsAcceptor> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let certificate = CertificateDer::from_pem_file(folder.join("tls.crt"))?;
    let key = PrivateKeyDer::from_pem_file(folder.join("tls.key"))?;
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    Ok(TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key)?)))
}

async fn carry(acceptor: &TlsAcceptor, near: TcpStream, far: &str, line: &Line) -> std::io::Result<()> {
    let (mut near_in, mut near_out) = tokio::io::split(acceptor.accept(near).await?);
    let (mut far_in, mut far_out) = TcpStream::connect(far).await?.into_split();
    let answering = async {
        let mut piece = vec![0; PIECE];
        loop {
            let count = far_in.read(&mut piece).await?;
            if count == 0 {
                return near_out.shutdown().await;
            }
            near_out.write_all(piece.get(..count).unwrap_or_default()).await?;
            near_out.flush().await?;
            line.carried.fetch_add(count as u64, Relaxed);
            tokio::time::sleep(Duration::from_millis(line.pause.load(Relaxed))).await;
        }
    };
    tokio::select! {
        done = answering => done,
        done = tokio::io::copy(&mut near_in, &mut far_out) => done.map(drop),
    }
}
