//! The command's end.

use std::{fs::File, io, os::unix::net::UnixStream};

use cairn_process::{Channel, ChannelError};

use super::protocol::{Request, Step};
use crate::{
    data::Folder,
    outcome::{Code, Failure},
};

/// A connection to the running hub.
pub(crate) struct Connection {
    channel: Channel<Request, Step>,
}

/// Connects to the hub that runs on `folder`. Must be called inside a tokio runtime.
///
/// # Errors
/// A sentence that says that none is running, or that this user may not speak to it.
pub(crate) fn connect(folder: &Folder) -> Result<Connection, Failure> {
    let path = folder.console();
    let connected =
        super::short(&path).and_then(|(_folder, short)| UnixStream::connect(short)).and_then(Channel::new);
    let channel = connected.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(
            Code::Refused,
            format!("the hub in {} belongs to another user", folder.root().display()),
        )
        .next("Run this command as the user that started the hub, or as root."),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Failure::new(Code::NotRunning, format!("no hub is running on {}", folder.root().display()))
                .next("Start it with `cairn run`, or name its folder with --data FOLDER.")
        }
        _ => Failure::new(Code::Failed, format!("the hub cannot be reached: {error}")),
    })?;
    Ok(Connection { channel })
}

impl Connection {
    /// Says what is wanted, with the file that belongs to it.
    pub(crate) async fn ask(&self, request: Request, file: Option<File>) -> Result<(), Failure> {
        let sent = match file {
            Some(file) => self.channel.send_with_fd(&request, file.into()).await,
            None => self.channel.send(&request).await,
        };
        sent.map_err(broken)
    }

    /// The next step; a failed one is a failure here.
    pub(crate) async fn next(&self) -> Result<Step, Failure> {
        match self.channel.recv().await.map_err(broken)? {
            Some(Step::Failed(trouble)) => {
                let mut failure = Failure::new(Code::Refused, trouble.happened);
                if let Some(kept) = trouble.kept {
                    failure = failure.kept(kept);
                }
                if let Some(next) = trouble.next {
                    failure = failure.next(next);
                }
                Err(failure)
            }
            Some(step) => Ok(step),
            None => Err(broken(ChannelError::Closed)),
        }
    }
}

fn broken(error: ChannelError) -> Failure {
    Failure::new(Code::Failed, format!("the hub broke the connection off: {error}"))
        .next("See `cairn health`, and try again in a moment: the hub may have been restarted.")
}
