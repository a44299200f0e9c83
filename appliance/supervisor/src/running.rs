//! One running process of a role: its control channel and its end, as events.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::ExitStatus,
};

use cairn_process::{Channel, ConfinementReport, Receiver, Sender, spawn};
use tokio::{
    process::Child,
    sync::{mpsc, oneshot},
};

use crate::{
    message::{FromRole, Role, ToRole},
    tree::RoleSpec,
};

/// Messages that may wait for a role to read them. A role that lets more pile up has stopped reading.
const MAX_WAITING: usize = 32;

/// Something that a process did.
#[derive(Debug)]
pub(crate) enum Heard {
    /// It said something.
    Message(FromRole),
    /// Its channel failed.
    Broken(String),
    /// It ended.
    Exited(String),
}

/// Where it comes from: a role and which of its processes, so that the words of a dead one are not taken for the
/// words of its successor.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) role: Role,
    pub(crate) generation: u64,
    pub(crate) heard: Heard,
}

/// A process that was started.
pub(crate) struct Running {
    pub(crate) generation: u64,
    pub(crate) pid: Option<u32>,
    pub(crate) confinement: Option<ConfinementReport>,
    outgoing: mpsc::Sender<(ToRole, Option<OwnedFd>)>,
    kill: Option<oneshot::Sender<()>>,
}

impl Running {
    /// Starts `role` as `spec` says; `inference` becomes its descriptor for the channel to the hub.
    pub(crate) fn start(
        role: Role,
        generation: u64,
        spec: &RoleSpec,
        inference: Option<UnixStream>,
        news: mpsc::Sender<News>,
    ) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let (sender, receiver) = Channel::<ToRole, FromRole>::new(ours)?.split();
        let mut command = spawn::RoleCommand::new(&spec.arguments)
            .environment(spec.environment.clone())
            .inherit(theirs, spawn::CONTROL);
        if let Some(inference) = inference {
            command = command.inherit(inference, spawn::INFERENCE);
        }
        let child = command.spawn()?;
        let pid = child.id();
        let (outgoing, waiting) = mpsc::channel(MAX_WAITING);
        let (kill, killed) = oneshot::channel();
        tokio::spawn(write(sender, waiting));
        tokio::spawn(follow(role, generation, child, receiver, killed, news));
        Ok(Self { generation, pid, confinement: None, outgoing, kill: Some(kill) })
    }

    /// Queues a message; `false` when the role has stopped reading.
    pub(crate) fn tell(&self, message: ToRole, descriptor: Option<OwnedFd>) -> bool {
        self.outgoing.try_send((message, descriptor)).is_ok()
    }

    /// Kills it. Its end is told as news.
    pub(crate) fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            // Nobody listens any more when it has ended already.
            let _already_ended = kill.send(());
        }
    }
}

async fn write(sender: Sender<ToRole>, mut waiting: mpsc::Receiver<(ToRole, Option<OwnedFd>)>) {
    while let Some((message, descriptor)) = waiting.recv().await {
        let sent = match descriptor {
            Some(descriptor) => sender.send_with_fd(&message, descriptor).await,
            None => sender.send(&message).await,
        };
        // The queue fills up then, and a full queue is noticed.
        if sent.is_err() {
            return;
        }
    }
}

/// Listens to the process until it has ended. Its last words are delivered before its end is.
async fn follow(
    role: Role,
    generation: u64,
    mut child: Child,
    receiver: Receiver<FromRole>,
    mut killed: oneshot::Receiver<()>,
    news: mpsc::Sender<News>,
) {
    let tell = async |heard| {
        // When the tree is gone, so is the interest in its leaves.
        drop(news.send(News { role, generation, heard }).await);
    };
    let mut listening = true;
    loop {
        tokio::select! {
            biased;
            message = receiver.recv(), if listening => match message {
                Ok(Some(message)) => tell(Heard::Message(message)).await,
                // It is ending, or has closed its channel and must.
                Ok(None) => listening = false,
                Err(error) => {
                    listening = false;
                    tell(Heard::Broken(error.to_string())).await;
                }
            },
            Ok(()) = &mut killed, if !killed.is_terminated() => {
                if let Err(error) = child.start_kill() {
                    tracing::warn!(%role, %error, "a process could not be killed");
                }
            }
            status = child.wait() => {
                tell(Heard::Exited(describe(status))).await;
                return;
            }
        }
    }
}

fn describe(status: io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => {
                let name =
                    nix::sys::signal::Signal::try_from(signal).map_or("unknown", |signal| signal.as_str());
                format!("it was ended by signal {signal} ({name})")
            }
            (None, Some(0)) => "it ended by itself".to_owned(),
            (None, code) => format!("it ended with code {}", code.unwrap_or(-1)),
        },
        Err(error) => format!("its end could not be read: {error}"),
    }
}
