//! Which sticks are mounted, how, and what is remembered of it over an end without notice. That they are read is tested on the card itself
//! (`tests/image/stick.rs`).

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use crate::{on_the_card, program};

/// A running system, in a folder.
struct System {
    folder: tempfile::TempDir,
}

impl System {
    fn new() -> Self {
        let system = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["run/cairn/sticks", "data", "bin", "sys/class/block", "dev"] {
            fs::create_dir_all(system.path(name)).unwrap();
        }
        fs::write(system.path("run/cairn/boot"), "CARD=/dev/sda\nSLOT=a\nTRIAL=0\n").unwrap();
        for disk in ["sda", "sdaa", "sdb"] {
            for part in ["", "1", "2", "3", "4", "5"] {
                let device = system.path("sys/devices/block").join(disk).join(format!("{disk}{part}"));
                let device =
                    if part.is_empty() { system.path("sys/devices/block").join(disk) } else { device };
                fs::create_dir_all(&device).unwrap();
                symlink(&device, system.path("sys/class/block").join(format!("{disk}{part}"))).unwrap();
            }
        }
        let mut script = on_the_card("usr/lib/cairn/stick");
        let begins = ["/run/cairn", "/data/system", "/proc/sys/kernel/random/boot_id", "/sys/class/block"];
        for begin in begins {
            assert!(script.contains(begin), "{begin} is no longer in the script");
            let place = if begin.ends_with("boot_id") { "boot_id" } else { &begin[1..] };
            script = script.replace(begin, system.path(place).to_str().unwrap());
        }
        fs::write(system.path("stick"), script).unwrap();
        let told = system.path("told").display().to_string();
        for name in ["mount", "umount", "blockdev", "sync"] {
            // `mount` takes no exFAT here, and nothing where a file says so.
            let refused = system.path("refused").display().to_string();
            let takes =
                if name == "mount" { format!("[ ! -e {refused} ] && [ $2 = vfat ]") } else { String::new() };
            program(&system.path("bin").join(name), &format!("echo {name} \"$*\" >> {told}\n{takes}"));
        }
        system.started("first");
        system
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The system starts; what lay in memory is gone.
    fn started(&self, start: &str) {
        fs::write(self.path("boot_id"), format!("{start}\n")).unwrap();
        fs::remove_dir_all(self.path("run/cairn/sticks")).unwrap();
        fs::create_dir(self.path("run/cairn/sticks")).unwrap();
    }

    /// Calls the script; what it says, and what it had done.
    fn call(&self, what: &str, name: &str) -> (String, Vec<String>) {
        fs::write(self.path("told"), "").unwrap();
        let path = format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", self.path("bin").display());
        let done =
            Command::new("sh").arg(self.path("stick")).args([what, name]).env("PATH", path).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        let told = fs::read_to_string(self.path("told")).unwrap();
        (String::from_utf8(done.stdout).unwrap(), told.lines().map(str::to_owned).collect())
    }

    fn sticks(&self) -> usize {
        fs::read_dir(self.path("run/cairn/sticks")).unwrap().count()
    }

    fn marked(&self) -> bool {
        self.path("data/system/stick").exists()
    }
}

#[test]
fn a_stick_is_mounted_for_reading_and_nothing_else() {
    let system = System::new();
    let (said, done) = system.call("add", "sdb1");
    assert_eq!(said, "cairn: stick sdb1 can be read\n");
    let mount = done.iter().find(|line| line.starts_with("mount ")).unwrap();
    let options = mount.split("-o ").nth(1).unwrap().split(' ').next().unwrap();
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options.split(',').any(|given| given == option), "{mount}");
    }
    let before = |what: &str| done.iter().position(|line| line.starts_with(what)).unwrap();
    assert!(
        before("sync") < before("mount") && before("blockdev --setro /dev/sdb1") < before("mount"),
        "{done:?}"
    );
    assert!(system.marked());
    let (_, done) = system.call("remove", "sdb1");
    assert!(done[0].starts_with("umount -l "), "{done:?}");
    assert_eq!((system.sticks(), system.marked()), (0, false));
}

#[test]
fn the_hubs_own_disk_is_no_stick() {
    let system = System::new();
    for own in ["sda", "sda1"] {
        assert_eq!(system.call("add", own), (String::new(), Vec::new()), "{own}");
    }
    assert!(system.call("add", "sdaa1").0.contains("can be read"));
}

#[test]
fn what_cannot_be_mounted_leaves_nothing() {
    let system = System::new();
    fs::write(system.path("refused"), "").unwrap();
    let (said, done) = system.call("add", "sdb1");
    assert!(said.contains("neither FAT nor exFAT, or damaged"), "{said}");
    assert_eq!(done.iter().filter(|line| line.starts_with("mount -t")).count(), 2, "{done:?}");
    assert_eq!((system.sticks(), system.marked()), (0, false));
}

#[test]
fn four_can_be_read_at_a_time() {
    let system = System::new();
    for part in 1..=4 {
        assert!(system.call("add", &format!("sdb{part}")).0.contains("can be read"), "{part}");
    }
    assert!(system.call("add", "sdb5").0.contains("one too many"));
    assert_eq!(system.sticks(), 4);
    system.call("remove", "sdb2");
    assert!(system.marked(), "others are in");
    assert!(system.call("add", "sdb5").0.contains("can be read"));
}

#[test]
fn a_start_after_one_that_ended_without_notice_reads_no_stick_until_it_was_out() {
    let system = System::new();
    system.call("add", "sdb1");
    system.started("second");
    for _ in 0..2 {
        let (said, done) = system.call("add", "sdb1");
        assert!(said.contains("pull it out and put it in again") && done.is_empty(), "{said}{done:?}");
    }
    // Also at the one after that.
    system.started("third");
    assert!(system.call("add", "sdb1").1.is_empty());
    system.call("remove", "sdb1");
    assert!(system.call("add", "sdb1").0.contains("can be read"));
    // In order: it was taken away before the end.
    system.call("remove", "sdb1");
    system.started("fourth");
    assert!(system.call("add", "sdb1").0.contains("can be read"));
}
