//! Early at every start: factory reset if somebody asked, the clock's floor, the network's files, the name. Each step
//! stands alone: one that fails is told on the console, and the others are done all the same.

use std::{fs, io, path::Path};

use cairn_device::{
    boot_file,
    clock::{self, Clock, Moment},
    durable::Disk,
    facts::Facts,
    network, reset,
};

use nix::mount::MsFlags;

use super::TROUBLE;
use crate::{
    cli::DeviceArguments,
    data::Folder,
    outcome::{Code, Failure},
    provisioning,
};

/// The name of the provisioning file on the boot partition.
const PROVISIONING: &str = "cairn.toml";

/// Prepares a start. Only a factory reset that is not finished is a failure: the hub must not start on half of its data.
pub(super) fn run(folder: &Folder, paths: &DeviceArguments) -> Result<(), Failure> {
    let mut trouble = Vec::new();
    // The boot partition is mounted read-only: nothing on FAT is written unless somebody asked for it.
    let to_write = reset::is_asked_by_file(&paths.boot) || boot_file::is_unfinished(folder.root());
    let writable = to_write.then(|| Writable::make(&paths.boot));
    let reset = reset::at_start(folder.root(), &paths.boot, &Disk::new());
    match &reset {
        Ok(reset::Outcome::NotAsked) => {}
        Ok(reset::Outcome::Done) => eprintln!("factory reset: everything of the community was erased"),
        Ok(reset::Outcome::ObeyedBefore) => trouble.push(
            "The file \"reset\" on the card was obeyed and cannot be removed: the card may be at its end."
                .to_owned(),
        ),
        Err(error) => trouble.push(format!("{error}. It is tried again at the next start.")),
    }
    if let Err(error) = advance_clock(&paths.root, folder.root()) {
        trouble.push(format!("The clock could not be set to the last known time: {error}."));
    }
    let file = paths.boot.join(PROVISIONING);
    if let Err(error) = boot_file::finish(&file, folder.root(), &Disk::new()) {
        trouble.push(format!("A used secret could not be taken out of {PROVISIONING}: {error}."));
    }
    drop(writable);
    // A card without the file is a card whose keeper uses the page.
    let (provisioning, findings) = provisioning::read(file.exists().then_some(file.as_path()));
    for finding in findings {
        eprintln!("{finding}");
    }
    let mut wish = provisioning.wish();
    if Facts::read(&paths.root).is_ok_and(|facts| !facts.devices.wifi) && wish.wifi.is_none() {
        // No radio on the board. A dongle is used when somebody names a network for it, never unasked.
        wish.access_point.wanted.get_or_insert(false);
    }
    if let Err(error) = network::apply(&wish, &paths.run) {
        trouble.push(format!("The network could not be set up: {error}."));
    }
    if paths.root == Path::new("/")
        && let Err(error) = nix::unistd::sethostname(&wish.name)
    {
        trouble.push(format!("The device could not be given its name: {error}."));
    }
    // An address from before a power cut must not be taken for today's.
    if let Err(error) = fs::remove_file(folder.address())
        && error.kind() != io::ErrorKind::NotFound
    {
        trouble.push(format!("An old address could not be removed: {error}."));
    }
    for line in &trouble {
        eprintln!("{line}");
    }
    if let Err(error) = tell(&paths.run, &trouble) {
        eprintln!("the console cannot be told: {error}");
    }
    match reset {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(Code::Failed, error.to_string())
            .kept("What is already gone is gone; the hub does not start until the rest is.")
            .next("Cut the power and start again. If this stays, the card is at its end.")),
    }
}

/// The boot partition while it may be written. Read-only again when dropped.
struct Writable<'p>(&'p Path);

impl<'p> Writable<'p> {
    fn make(boot: &'p Path) -> Self {
        remount(boot, MsFlags::empty());
        Self(boot)
    }
}

impl Drop for Writable<'_> {
    fn drop(&mut self) {
        nix::unistd::sync();
        remount(self.0, MsFlags::MS_RDONLY);
    }
}

/// With the options that the image mounts it with. A failure shows in the writing that follows.
fn remount(boot: &Path, access: MsFlags) {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | access;
    if let Err(error) = nix::mount::mount(None::<&str>, boot, None::<&str>, flags, None::<&str>) {
        eprintln!("{} cannot be mounted anew: {error}", boot.display());
    }
}

fn advance_clock(root: &Path, data: &Path) -> io::Result<()> {
    match clock::at_start(Moment::now(), Clock::read(root, data).floor()) {
        Some(to) => clock::set(to),
        None => Ok(()),
    }
}

fn tell(run: &Path, trouble: &[String]) -> io::Result<()> {
    let path = run.join(TROUBLE);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, trouble.iter().map(|line| format!("{line}\n")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Device(tempfile::TempDir);

    impl Device {
        fn new(wifi: bool) -> Self {
            let device = Self(tempfile::tempdir().unwrap());
            let at = |name: &str| device.0.path().join("root").join(name);
            let board = at(cairn_device::facts::FACTS).join("test");
            for folder in [&board, &at("proc/device-tree"), &at("../boot"), &at("../run"), &at("../data/hub")]
            {
                fs::create_dir_all(folder).unwrap();
            }
            let facts = format!("name = \"Test\"\ncompatible = [\"test\"]\n[devices]\nwifi = {wifi}\n");
            fs::write(board.join("board.toml"), facts).unwrap();
            fs::write(at("proc/device-tree/compatible"), "test\0").unwrap();
            device
        }

        fn prepare(&self) -> Result<(), Failure> {
            let at = |name: &str| self.0.path().join(name);
            let paths = DeviceArguments { root: at("root"), boot: at("boot"), run: at("run"), bind: None };
            run(&Folder::at(at("data")), &paths)
        }

        fn has(&self, path: &str) -> bool {
            self.0.path().join(path).exists()
        }
    }

    #[test]
    fn a_new_card_makes_its_own_wifi_where_the_board_has_a_radio() {
        for radio in [true, false] {
            let device = Device::new(radio);
            device.prepare().unwrap();
            assert_eq!(device.has("run/cairn/access-point"), radio);
            assert_eq!(fs::read(device.0.path().join("run/cairn/trouble")).unwrap(), b"");
        }
    }

    #[test]
    fn a_reset_comes_before_everything_and_an_old_address_is_gone() {
        let device = Device::new(true);
        fs::write(device.0.path().join("data/hub/address.json"), "{}").unwrap();
        device.prepare().unwrap();
        assert!(!device.has("data/hub/address.json") && device.has("data/hub"));
        fs::write(device.0.path().join("boot/reset.txt"), "").unwrap();
        device.prepare().unwrap();
        assert!(!device.has("data/hub") && !device.has("boot/reset.txt"));
    }

    #[test]
    fn the_file_on_the_card_joins_its_wifi() {
        let device = Device::new(true);
        let file = "[wifi]\nssid = \"village\"\npassphrase = \"correct horse\"\nbogus = 1\n";
        fs::write(device.0.path().join("boot/cairn.toml"), file).unwrap();
        device.prepare().unwrap();
        let written = fs::read_to_string(device.0.path().join("run/cairn/wifi.conf")).unwrap();
        assert!(written.contains("correct horse") && !device.has("run/cairn/access-point"));
    }
}
