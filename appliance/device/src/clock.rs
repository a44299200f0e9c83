//! The clock of a board without one: it never stands before the image was built, nor before the last moment that was
//! known for certain. Only authenticated time is remembered; the uplink brings it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_settime},
};

use crate::durable::Disk;

/// Where the image says when it was built, below the root: seconds since 1970, in digits.
pub const BUILD_TIME_FILE: &str = "usr/share/cairn/build-time";
/// Where the last trusted time is kept, below the data folder.
const TRUSTED_FILE: &str = "device/trusted-time";
/// How much later the trusted time must be before it is written again: the card is spared.
const REMEMBER_EVERY: Duration = Duration::from_secs(3600);
/// No trusted time lies after the year 2200; a later one is damage, and would stop the clock for ever.
const LATEST: u64 = 7_258_118_400;

/// Seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// By the wall clock.
    #[must_use]
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().filter(|seconds| *seconds <= LATEST).map(Self)
    }
}

/// The earliest that it can be.
#[must_use]
pub fn floor(built: Option<Moment>, trusted: Option<Moment>) -> Option<Moment> {
    built.max(trusted)
}

/// To what the clock is to be set at the start: only ever forward.
#[must_use]
pub fn at_start(now: Moment, floor: Option<Moment>) -> Option<Moment> {
    floor.filter(|floor| *floor > now)
}

/// What an authenticated time may do to the clock: nothing before the floor is believed, whoever signed it.
#[must_use]
pub fn accept(told: Moment, floor: Option<Moment>) -> Option<Moment> {
    (told.0 <= LATEST && floor.is_none_or(|floor| told >= floor)).then_some(told)
}

/// What is kept about time.
#[derive(Debug)]
pub struct Clock {
    built: Option<Moment>,
    trusted: Option<Moment>,
    file: PathBuf,
}

impl Clock {
    /// What the image at `root` and the data folder `data` say.
    #[must_use]
    pub fn read(root: &Path, data: &Path) -> Self {
        let moment = |path: &Path| Moment::parse(&crate::text(path)?);
        let file = data.join(TRUSTED_FILE);
        Self { built: moment(&root.join(BUILD_TIME_FILE)), trusted: moment(&file), file }
    }

    /// The earliest that it can be.
    #[must_use]
    pub fn floor(&self) -> Option<Moment> {
        floor(self.built, self.trusted)
    }

    /// Remembers an authenticated time for the next start, at most once an hour.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remember(&mut self, told: Moment, disk: &Disk) -> io::Result<()> {
        let due =
            self.trusted.is_none_or(|before| told.0 >= before.0.saturating_add(REMEMBER_EVERY.as_secs()));
        if !due {
            return Ok(());
        }
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        disk.write(&self.file, format!("{}\n", told.0).as_bytes(), 0o644)?;
        self.trusted = Some(told);
        Ok(())
    }
}

/// Sets the wall clock. The caller has decided that it may.
///
/// # Errors
/// When this process may not.
pub fn set(to: Moment) -> io::Result<()> {
    let seconds = i64::try_from(to.0).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds, 0)).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: Moment = Moment(1_790_000_000);
    const LATER: Moment = Moment(1_800_000_000);

    #[test]
    fn the_clock_goes_forward_at_the_start_and_never_back() {
        assert_eq!(floor(Some(BUILT), None), Some(BUILT));
        assert_eq!(floor(Some(BUILT), Some(LATER)), Some(LATER));
        assert_eq!(floor(Some(LATER), Some(BUILT)), Some(LATER), "a newer image than the last trusted time");
        assert_eq!(at_start(Moment(0), Some(BUILT)), Some(BUILT));
        assert_eq!(at_start(LATER, Some(BUILT)), None, "a board with a clock of its own");
        assert_eq!(at_start(Moment(0), None), None);
    }

    #[test]
    fn nobody_is_believed_who_tells_a_time_before_the_floor_or_after_the_end() {
        assert_eq!(accept(LATER, Some(BUILT)), Some(LATER));
        assert_eq!(accept(BUILT, Some(LATER)), None);
        assert_eq!(accept(Moment(LATEST + 1), None), None);
    }

    #[test]
    fn trusted_time_is_kept_over_a_start_written_seldom_and_whole_at_every_cut() {
        let (root, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(root.path().join("usr/share/cairn")).unwrap();
        fs::write(root.path().join(BUILD_TIME_FILE), "1790000000\n").unwrap();
        let read = || Clock::read(root.path(), data.path());
        assert_eq!(read().floor(), Some(BUILT));
        read().remember(LATER, &Disk::new()).unwrap();
        assert_eq!(read().floor(), Some(LATER));
        let soon = Moment(LATER.0 + 60);
        read().remember(soon, &Disk::cut_before(0)).unwrap();
        assert_eq!(read().floor(), Some(LATER), "an hour's worth is lost at most");
        let next = Moment(LATER.0 + 3600);
        for step in 0..4 {
            read().remember(next, &Disk::cut_before(step)).unwrap_err();
            assert!([LATER, next].map(Some).contains(&read().floor()), "cut at {step}");
            fs::write(data.path().join(TRUSTED_FILE), LATER.0.to_string()).unwrap();
        }
        fs::write(data.path().join(TRUSTED_FILE), "99999999999999").unwrap();
        assert_eq!(read().floor(), Some(BUILT), "damage does not stop the clock");
    }
}
