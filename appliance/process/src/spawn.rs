//! Starting this same binary in another role, and what that finds when it wakes.
//!
//! The program started is `/proc/self/exe`: the very file that is running, also after an update has put another under
//! its name, so both ends of every channel always speak the same version.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{OwnedFd, RawFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::Stdio,
};

use tokio::process::{Child, Command};

use crate::os;

/// Number under which a role finds its control channel.
pub const CONTROL: RawFd = 3;
/// Number under which `infer` finds its channel to the hub.
pub const INFERENCE: RawFd = 4;
/// Most descriptors that a role can be given.
pub const MAX_DESCRIPTORS: usize = 8;

/// The running program's own file.
const SELF: &str = "/proc/self/exe";

/// Variables that a role gets from its parent. Nothing else is handed on: what a person or a service put into the
/// environment of the supervisor (tokens, sockets) is not a role's business.
const HANDED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TERM",
    "NO_COLOR",
    "JOURNAL_STREAM",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "LLVM_PROFILE_FILE",
];

/// A role to be started.
#[derive(Debug)]
pub struct RoleCommand {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    descriptors: Vec<(OwnedFd, RawFd)>,
    streams: [Stdio; 3],
}

impl RoleCommand {
    /// This binary with `arguments`; standard input is empty, output and errors go where ours go.
    pub fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self::of_program(SELF, arguments)
    }

    /// Another program, for tests that bring their own.
    pub fn of_program<A: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect(),
            environment: Vec::new(),
            descriptors: Vec::new(),
            streams: [Stdio::null(), Stdio::inherit(), Stdio::inherit()],
        }
    }

    /// Lets the role find `descriptor` under `number`.
    #[must_use]
    pub fn inherit(mut self, descriptor: impl Into<OwnedFd>, number: RawFd) -> Self {
        self.descriptors.push((descriptor.into(), number));
        self
    }

    /// Sets variables of the role's environment, besides the few that are handed on to every role.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Sets standard input, output and errors.
    #[must_use]
    pub fn streams(mut self, input: Stdio, output: Stdio, errors: Stdio) -> Self {
        self.streams = [input, output, errors];
        self
    }

    /// Starts it. It is killed when the returned value is dropped, and, where it confines itself, when the calling
    /// thread ends: call this from a thread that lives as long as the role may.
    ///
    /// # Errors
    /// When more than [`MAX_DESCRIPTORS`] are to be inherited, or the operating system cannot start it.
    pub fn spawn(self) -> io::Result<Child> {
        if self.descriptors.len() > MAX_DESCRIPTORS {
            return Err(io::Error::from(io::ErrorKind::ArgumentListTooLong));
        }
        let [input, output, errors] = self.streams;
        let mut command = std::process::Command::new(self.program);
        command.arg0("cairn");
        command.args(self.arguments).env_clear().stdin(input).stdout(output).stderr(errors);
        // A Ctrl-C on the terminal is for the supervisor, which ends the roles in order.
        command.process_group(0);
        command.envs(HANDED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.environment);
        os::inherit_only(&mut command, self.descriptors);
        Command::from(command).kill_on_drop(true).spawn()
    }
}

/// The socket that the parent left under `number`. Each can be taken once.
///
/// # Errors
/// When there is none, it was taken before, or it is not a socket.
pub fn inherited(number: RawFd) -> io::Result<UnixStream> {
    let descriptor = os::take_inherited(number)?;
    let kind = nix::sys::stat::SFlag::from_bits_truncate(nix::sys::stat::fstat(&descriptor)?.st_mode);
    if !kind.contains(nix::sys::stat::SFlag::S_IFSOCK) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the inherited descriptor is not a socket"));
    }
    Ok(UnixStream::from(descriptor))
}
