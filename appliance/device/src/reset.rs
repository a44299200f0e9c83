//! Factory reset: everything of the community goes, the device starts as on its first day.
//!
//! It is asked for by a keeper on the page, or by a file called `reset` on the boot partition, and done early at the
//! next start, before anything uses the data. A marker on the data partition makes it certain: from the moment that it
//! is durable until everything is gone the hub does not start, however often the power goes. The file on the boot
//! partition is obeyed once: what was obeyed is remembered on the data partition, because a FAT that cannot be written,
//! or that a power cut threw back, would bring the file back and erase the hub at every start.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::durable::Disk;

/// On the data partition: a reset is asked for or not finished.
const MARKER: &str = "reset-asked";
/// On the data partition: which file of the boot partition was obeyed.
const OBEYED: &str = "device/reset-obeyed";
/// On the boot partition, in any of the forms that editors leave.
const ASKING_FILES: [&str; 2] = ["reset", "reset.txt"];
/// What stays: models (large, nobody's secret), what protects updates against going back, the clock and what was
/// obeyed, and the file system's own.
const KEPT: [&str; 4] = ["models", "trust", "device", "lost+found"];
/// What stays in `device`.
const KEPT_OF_DEVICE: [&str; 2] = ["trusted-time", "reset-obeyed"];

/// What happened at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody asked.
    NotAsked,
    /// The file on the boot partition was obeyed before and could not be removed.
    ObeyedBefore,
    /// Everything is gone.
    Done,
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("factory reset, {doing}: {source}")]
pub struct ResetError {
    doing: &'static str,
    source: io::Error,
}

fn while_doing(doing: &'static str) -> impl FnOnce(io::Error) -> ResetError {
    move |source| ResetError { doing, source }
}

/// Asks for a reset at the next start.
///
/// # Errors
/// When the marker cannot be made durable; nothing will happen then.
pub fn ask(data: &Path, disk: &Disk) -> Result<(), ResetError> {
    disk.write(&data.join(MARKER), b"asked for\n", 0o600).map_err(while_doing("leaving the marker"))
}

/// Whether a file on the boot partition asks for a reset.
#[must_use]
pub fn is_asked_by_file(boot: &Path) -> bool {
    ASKING_FILES.iter().any(|name| boot.join(name).is_file())
}

/// Does what was asked for, if anything; to be called at every start, before anything uses `data`.
///
/// # Errors
/// When a step failed. The marker is still there then, and the hub must not start.
pub fn at_start(data: &Path, boot: &Path, disk: &Disk) -> Result<Outcome, ResetError> {
    let marked = data.join(MARKER).exists();
    let asking = ASKING_FILES.iter().map(|name| boot.join(name)).find(|path| path.is_file());
    match (asking, marked) {
        (None, false) => return Ok(Outcome::NotAsked),
        (None, true) => {}
        (Some(file), _) => {
            let print = print_of(&file).map_err(while_doing("reading the file on the boot partition"))?;
            let obeyed = data.join(OBEYED);
            let before = fs::read_to_string(&obeyed).is_ok_and(|before| before == print);
            if !before {
                // First the marker: a cut between the two steps must not lose what was asked for.
                ask(data, disk)?;
                make_folder(&obeyed).map_err(while_doing("remembering the file"))?;
                disk.write(&obeyed, print.as_bytes(), 0o644).map_err(while_doing("remembering the file"))?;
            }
            // A boot partition that cannot be written keeps its file, which is known now.
            let removed = disk.remove(&file).is_ok();
            if before && !marked {
                return Ok(if removed { Outcome::NotAsked } else { Outcome::ObeyedBefore });
            }
        }
    }
    erase(data, &KEPT, disk).map_err(while_doing("erasing"))?;
    erase(&data.join("device"), &KEPT_OF_DEVICE, disk).map_err(while_doing("erasing"))?;
    disk.remove(&data.join(MARKER)).map_err(while_doing("removing the marker"))?;
    Ok(Outcome::Done)
}

fn make_folder(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Empties `folder` but for `kept` and the marker, and makes that durable.
fn erase(folder: &Path, kept: &[&str], disk: &Disk) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let stays = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| kept.contains(&name) || name == MARKER)
    };
    for entry in entries {
        let path = entry?.path();
        if !stays(&path) {
            disk.remove_tree(&path)?;
        }
    }
    disk.sync_folder(folder)
}

/// What tells one asking file from another: when it was written, and its length.
fn print_of(file: &Path) -> io::Result<String> {
    let meta = fs::metadata(file)?;
    let written = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(format!("{written} {}\n", meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Device {
        data: tempfile::TempDir,
        boot: tempfile::TempDir,
    }

    impl Device {
        /// A hub in use.
        fn new() -> Self {
            let device = Self { data: tempfile::tempdir().unwrap(), boot: tempfile::tempdir().unwrap() };
            device.use_it();
            device
        }

        fn use_it(&self) {
            for (path, text) in [
                ("hub/records.db", "everything"),
                ("hub/blobs/ab/cd", "a file"),
                ("models/small.gguf", "weights"),
                ("trust/root.json", "keys"),
                ("device/network.toml", "a passphrase"),
                ("device/trusted-time", "1800000000"),
                ("journal/system.journal", "words"),
                ("lock", ""),
            ] {
                let path = self.data.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }

        fn put_file(&self) {
            fs::write(self.boot.path().join("reset"), "").unwrap();
        }

        fn start(&self, disk: &Disk) -> Result<Outcome, ResetError> {
            at_start(self.data.path(), self.boot.path(), disk)
        }

        fn has(&self, path: &str) -> bool {
            self.data.path().join(path).exists()
        }

        fn assert_empty(&self) {
            for gone in ["hub", "journal", "lock", "device/network.toml", MARKER] {
                assert!(!self.has(gone), "{gone} is still there");
            }
            for kept in ["models/small.gguf", "trust/root.json", "device/trusted-time"] {
                assert!(self.has(kept), "{kept} is gone");
            }
        }
    }

    #[test]
    fn nothing_happens_unasked() {
        let device = Device::new();
        assert_eq!(device.start(&Disk::new()).unwrap(), Outcome::NotAsked);
        assert!(device.has("hub/records.db"));
    }

    #[test]
    fn asked_on_the_page_it_is_done_at_the_next_start_and_once() {
        let device = Device::new();
        ask(device.data.path(), &Disk::new()).unwrap();
        assert!(device.has("hub/records.db"), "not before the next start");
        assert_eq!(device.start(&Disk::new()).unwrap(), Outcome::Done);
        device.assert_empty();
        device.use_it();
        assert_eq!(device.start(&Disk::new()).unwrap(), Outcome::NotAsked);
        assert!(device.has("hub/records.db"));
    }

    /// Cuts the power at every step, and once more at every step of the start after it.
    #[test]
    fn wherever_the_power_goes_it_is_finished_before_the_hub_starts_and_never_repeated() {
        for by_file in [false, true] {
            let mut first = 0;
            loop {
                let device = Device::new();
                if by_file {
                    device.put_file()
                } else {
                    ask(device.data.path(), &Disk::new()).unwrap()
                }
                let cut = device.start(&Disk::cut_before(first));
                if let Ok(outcome) = cut {
                    assert_eq!(outcome, Outcome::Done);
                    device.assert_empty();
                    assert!(first > 10, "the cuts must have reached into the erasing: {first}");
                    break;
                }
                for second in 0.. {
                    // A hub that was not finished with must still be marked, or untouched and still asked for.
                    let asked = device.has(MARKER) || device.boot.path().join("reset").exists();
                    assert!(asked || !device.has("hub"), "cut at {first} forgot the reset half way");
                    if device.start(&Disk::cut_before(second)).is_ok() {
                        break;
                    }
                }
                assert!(!device.has("hub"), "cut at {first}");
                // Somebody uses the hub again; it must stay.
                device.use_it();
                device.start(&Disk::new()).unwrap();
                assert!(device.has("hub/records.db"), "cut at {first} erased twice");
                first += 1;
            }
        }
    }

    #[test]
    fn a_boot_partition_that_brings_the_file_back_does_not_erase_the_hub_again() {
        let device = Device::new();
        device.put_file();
        let file = device.boot.path().join("reset");
        let written = fs::metadata(&file).unwrap().modified().unwrap();
        assert_eq!(device.start(&Disk::new()).unwrap(), Outcome::Done);
        device.use_it();
        device.put_file();
        fs::File::options().write(true).open(&file).unwrap().set_modified(written).unwrap();
        assert_eq!(device.start(&Disk::new()).unwrap(), Outcome::NotAsked);
        assert!(device.has("hub/records.db") && !file.exists());
        // One that was made anew is another wish.
        device.put_file();
        let later = written + std::time::Duration::from_secs(60);
        fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
        assert_eq!(device.start(&Disk::new()).unwrap(), Outcome::Done);
        device.assert_empty();
    }
}
