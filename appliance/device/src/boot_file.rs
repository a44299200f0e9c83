//! The provisioning file on the boot partition, after it was used: a secret that works once does not stay in it.
//!
//! FAT does not replace files atomically, and a power cut has made whole files on it unreadable. So what the file shall
//! say is first made durable on the data partition; a start that finds it there writes it again, until it stands.

use std::{fs, io, path::Path};

use crate::durable::Disk;

/// On the data partition: what the provisioning file shall say.
const INTENT: &str = "device/cairn.toml.next";
/// Largest file that is rewritten, bytes; as large as one that is read.
const MAX_FILE: u64 = 64 * 1024;

/// `text` without the value of `key` in `[section]`; `None` when it has none. Everything else stays to the byte.
#[must_use]
pub fn without(text: &str, section: &str, key: &str, note: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    let mut found = false;
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = name.trim() == section;
        }
        let is_it = inside && bare.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        if is_it {
            found = true;
            let end = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
            out.push_str(&format!("# {key}: {note}{end}"));
        } else {
            out.push_str(line);
        }
    }
    found.then_some(out)
}

/// What became of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// There was none.
    Nothing,
    /// It is gone.
    Now,
    /// It goes at the next start: the boot partition is mounted read-only while the hub runs.
    AtTheNextStart,
}

/// Takes the value of `key` out of the provisioning file, for good.
///
/// # Errors
/// When the intent cannot be made durable; the file keeps its secret then.
pub fn forget(boot_file: &Path, data: &Path, section: &str, key: &str, disk: &Disk) -> io::Result<Forgotten> {
    if fs::metadata(boot_file)?.len() > MAX_FILE {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let text = fs::read_to_string(boot_file)?;
    let Some(next) = without(&text, section, key, "used, and taken out by the hub") else {
        return Ok(Forgotten::Nothing);
    };
    let intent = data.join(INTENT);
    fs::create_dir_all(data.join("device"))?;
    disk.write(&intent, next.as_bytes(), 0o600)?;
    Ok(if finish(boot_file, data, disk).is_ok() { Forgotten::Now } else { Forgotten::AtTheNextStart })
}

/// Writes what an interrupted [`forget`] had decided; to be called at every start before the file is read.
///
/// # Errors
/// When the boot partition cannot be written; the file keeps its secret then.
pub fn finish(boot_file: &Path, data: &Path, disk: &Disk) -> io::Result<()> {
    let Some(next) = intended(data)? else { return Ok(()) };
    if fs::read(boot_file).ok().as_deref() != Some(&next) {
        disk.write(boot_file, &next, 0o600)?;
    }
    disk.remove(&data.join(INTENT))
}

fn intended(data: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(data.join(INTENT)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        next => next.map(Some),
    }
}

/// Whether [`finish`] has something to write.
#[must_use]
pub fn is_unfinished(data: &Path) -> bool {
    data.join(INTENT).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\r\n[hub]\r\nenrolment_token = \"not this\"\r\n\r\n[gateway]\r\nurl = \"https://g.example\"\r\nenrolment_token = \"s3cret\" # once\r\nenrolment_token_note = 1\r\n";

    #[test]
    fn only_the_value_of_that_key_in_that_section_goes() {
        let next = without(FILE, "gateway", "enrolment_token", "used").unwrap();
        assert!(!next.contains("s3cret") && next.contains("not this") && next.contains("_note = 1"));
        assert_eq!(next.replace("# enrolment_token: used", "enrolment_token = \"s3cret\" # once"), FILE);
        assert_eq!(without(&next, "gateway", "enrolment_token", "used"), None);
    }

    #[test]
    fn a_cut_at_any_step_leaves_a_whole_file_and_the_next_start_finishes() {
        for step in 0.. {
            let (boot, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let file = boot.path().join("cairn.toml");
            fs::write(&file, FILE).unwrap();
            let forget = |disk: &Disk| forget(&file, data.path(), "gateway", "enrolment_token", disk);
            let whole = forget(&Disk::cut_before(step)).is_ok_and(|done| done == Forgotten::Now);
            if data.path().join(INTENT).exists() {
                // What FAT may make of a file that was being replaced.
                fs::write(&file, "").unwrap();
                finish(&file, data.path(), &Disk::new()).unwrap();
                assert!(!fs::read_to_string(&file).unwrap().contains("s3cret"), "cut at {step}");
                assert!(!data.path().join(INTENT).exists());
            }
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.contains("https://g.example"), "cut at {step}: {text}");
            if whole {
                assert!(!text.contains("s3cret") && step > 4);
                assert_eq!(forget(&Disk::new()).unwrap(), Forgotten::Nothing);
                break;
            }
        }
    }
}
