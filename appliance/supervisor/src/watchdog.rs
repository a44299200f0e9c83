//! The hardware watchdog: resets the board when nobody writes to it any more.
//!
//! By Linux' watchdog API (`Documentation/watchdog/watchdog-api.rst`): any write is a sign of life; closing after a
//! `V` switches it off, closing without it does not, so that a supervisor that dies is noticed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

/// Where Linux puts it.
pub(crate) const DEVICE: &str = "/dev/watchdog";
/// Where Linux tells its timeout, seconds.
const TIMEOUT: &str = "/sys/class/watchdog/watchdog0/timeout";
/// Longest pause between two signs of life, whatever the timeout.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An open watchdog.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    interval: Duration,
}

impl Watchdog {
    /// Opens it; from then on it must be fed. `None` when the machine has none.
    ///
    /// # Errors
    /// When there is one that we may not use, for example because the service manager feeds it already.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let device = match OpenOptions::new().write(true).custom_flags(nix::libc::O_CLOEXEC).open(path) {
            Ok(device) => device,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let timeout = std::fs::read_to_string(TIMEOUT).ok().and_then(|text| text.trim().parse().ok());
        let interval = timeout.map_or(LONGEST_PAUSE, |seconds: u32| Duration::from_secs(seconds.into()) / 3);
        Ok(Some(Self { device, interval: interval.clamp(Duration::from_millis(300), LONGEST_PAUSE) }))
    }

    /// How often it is to be fed.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// A sign of life.
    ///
    /// # Errors
    /// When the device does not take it.
    pub fn feed(&mut self) -> io::Result<()> {
        self.device.write_all(b"\0")
    }

    /// Switches it off: an orderly end is no reason for a reset.
    ///
    /// # Errors
    /// When the device does not take it; the board will be reset then.
    pub fn disarm(mut self) -> io::Result<()> {
        self.device.write_all(b"V")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_and_only_an_orderly_end_disarms_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        assert!(Watchdog::open(&path).unwrap().is_none(), "a machine without one is no error");
        for (orderly, expected) in [(true, b"\0\0V".as_slice()), (false, b"\0\0".as_slice())] {
            std::fs::write(&path, b"").unwrap();
            let mut watchdog = Watchdog::open(&path).unwrap().unwrap();
            watchdog.feed().unwrap();
            watchdog.feed().unwrap();
            if orderly {
                watchdog.disarm().unwrap();
            }
            assert_eq!(std::fs::read(&path).unwrap(), expected);
        }
    }
}
