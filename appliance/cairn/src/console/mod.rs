//! How commands on this machine speak to the running hub.
//!
//! Over a Unix socket in the hub's folder that only the hub's own user (and root) may open: whoever can open it could
//! read the database as well, so it asks for no password, and the hub acts as [`Part::Console`]. Not over HTTP, because
//! both ends are the same program and can exchange types, and because files travel as open descriptors: a backup goes
//! straight to the file that the person opened, and an added document is read from where it lies, neither of which the
//! confined hub could open itself.
//!
//! One request for each connection; the hub answers with steps until one of them is the last. Closing the connection
//! cancels.

mod answer;
mod client;
mod protocol;
mod sync;
mod work;

use std::{
    io,
    os::{
        fd::AsRawFd,
        unix::{fs::PermissionsExt, net::UnixListener as StdListener},
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_inference::InferenceClient;
use cairn_library::Library;
use cairn_process::Channel;
use cairn_store::{Part, Store, Viewer};
use nix::unistd::Uid;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, watch},
};

use crate::{host::SharedHost, uplink::HubUplink};

pub(crate) use client::{Connection, connect};
pub(crate) use protocol::{AskStep, Health, HitLine, ModelState, Request, Step, SyncLine};

/// Most commands at a time.
const MAX_COMMANDS: usize = 16;
/// How long a new connection may take to say what it wants.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// What commands work with.
#[derive(Clone)]
pub(crate) struct Console {
    pub(crate) store: Store,
    pub(crate) library: Library,
    pub(crate) inference: InferenceClient,
    pub(crate) host: SharedHost,
    pub(crate) uplink: Arc<HubUplink>,
    /// When the hub became ready.
    pub(crate) ready: Instant,
}

impl Console {
    pub(super) const fn viewer() -> Viewer {
        Viewer::system(Part::Console)
    }
}

/// The socket's address below 108 bytes, however deep the folder lies: through the open folder.
fn short(path: &Path) -> io::Result<(std::fs::File, std::path::PathBuf)> {
    let folder = std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((folder, short))
}

/// Opens the socket, in the place of one that an earlier run left.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (_folder, short) = short(path)?;
    let listener = StdListener::bind(short)?;
    // The folder above is closed to others already; the socket itself is as well.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Carries out commands until the hub ends.
pub(crate) async fn serve(listener: UnixListener, console: Console, mut ending: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_COMMANDS));
    let mut commands = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a command's connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = crate::serve::ended(&mut ending) => break,
        };
        while commands.try_join_next().is_some() {}
        if !allowed(&stream) {
            tracing::warn!("someone without the right to it opened the console's socket");
            continue;
        }
        // Beyond that many, a command's connection is closed at once, which it tells.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let console = console.clone();
        commands.spawn(async move {
            if let Err(error) = converse(stream, console).await {
                tracing::debug!(%error, "a command's connection ended early");
            }
            drop(place);
        });
    }
    commands.shutdown().await;
}

/// Root, or whoever the hub runs as.
fn allowed(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == Uid::effective().as_raw())
}

async fn converse(stream: UnixStream, console: Console) -> Result<(), cairn_process::ChannelError> {
    let channel = Channel::<Step, Request>::new(stream.into_std()?)?;
    let (sender, receiver) = channel.split();
    let request = tokio::time::timeout(REQUEST_WITHIN, receiver.recv_with_fd()).await;
    let Some((request, file)) =
        request.map_err(|_| cairn_process::ChannelError::Silent(REQUEST_WITHIN))??
    else {
        return Ok(());
    };
    let file = file.map(std::fs::File::from);
    tokio::select! {
        done = work::carry_out(&console, request, file, &sender) => done,
        // The other end speaks once; when it ends, nobody waits for the rest.
        _ = receiver.recv() => Ok(()),
    }
}
