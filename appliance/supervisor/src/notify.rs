//! Telling the service manager how we are, by the protocol of `sd_notify(3)`.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// The service manager's socket, when there is one.
#[derive(Debug)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// As `NOTIFY_SOCKET` and `WATCHDOG_USEC` say; silent without them.
    ///
    /// # Errors
    /// When a socket is named but cannot be used.
    pub fn from_environment() -> io::Result<Self> {
        let socket = match env::var_os("NOTIFY_SOCKET") {
            None => None,
            Some(path) => {
                let address = match path.as_bytes().split_first() {
                    Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
                    _ => SocketAddr::from_pathname(&path)?,
                };
                let socket = UnixDatagram::unbound()?;
                // A service manager that does not read must not stop us.
                socket.set_nonblocking(true)?;
                Some((socket, address))
            }
        };
        let ours = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let micros = env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok()).filter(|_| ours);
        let watchdog =
            micros.filter(|micros| *micros > 0).map(Duration::from_micros).filter(|_| socket.is_some());
        Ok(Self { socket, watchdog })
    }

    /// Tells nobody.
    #[must_use]
    pub const fn silent() -> Self {
        Self { socket: None, watchdog: None }
    }

    /// How often [`Notify::alive`] is to be called: half of what the service manager waits.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        self.watchdog.map(|whole| whole / 2)
    }

    /// The service works.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// One line for whoever looks.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    /// The supervisor is alive.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The service is about to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}
