//! The screen and the serial port: shows what the running hub has written down, and again whenever it changes.

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use cairn_device::{
    board::Board,
    concern::Concern,
    console::{Screen, show, text},
    facts::Facts,
    network::captive,
};

use super::TROUBLE;
use crate::{
    addresses::{AddressFile, qr_code},
    cli::DeviceArguments,
    data::Folder,
    outcome::Failure,
    system,
};

/// How often it looks. A person who plugs in a cable looks up about then.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Longest file that is read, bytes.
const MAX_FILE: u64 = 64 * 1024;

/// What a person can do about a card whose data partition did not come up; the log says why.
const NOT_MOUNTED: &str = "The data partition is not in use; what was written is still on the card. Switch off and on \
                           again. If this stays, copy the card first.";

/// Shows it until the unit is stopped.
pub(super) fn run(folder: &Folder, paths: &DeviceArguments) -> Result<(), Failure> {
    let facts = Facts::read(&paths.root).ok();
    let names = facts.map_or_else(|| vec!["tty1".to_owned()], |facts| facts.terminals());
    let mut terminals: Vec<(PathBuf, String)> =
        names.iter().map(|name| (paths.root.join("dev").join(name), String::new())).collect();
    loop {
        let text = text(&screen(folder, paths));
        for (terminal, shown) in &mut terminals {
            // A screen that is not there yet, or does not listen, is tried again.
            if *shown != text && show(terminal, &text).is_ok() {
                shown.clone_from(&text);
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What is known at this moment.
fn screen(folder: &Folder, paths: &DeviceArguments) -> Screen {
    let told: Option<AddressFile> = read(&folder.address()).and_then(|text| serde_json::from_str(&text).ok());
    let trouble = read(&paths.run.join(TROUBLE)).unwrap_or_default();
    let mut findings: Vec<String> = trouble.lines().map(str::to_owned).collect();
    // In a folder of somebody's computer there is no partition to miss.
    if paths.root == Path::new("/") && !is_partition(folder.root(), &paths.root) {
        findings.insert(0, NOT_MOUNTED.to_owned());
    }
    let ready = told.is_some();
    let mut screen = Screen {
        version: system::version(&paths.root),
        ready,
        claim_code: read(&folder.claim_code()).map(|code| code.trim().to_owned()),
        ..Screen::default()
    };
    if let Some(told) = told {
        findings.extend(told.findings);
        screen.local = told.local;
        // Loopback is where a hub without a network says that it is.
        screen.pages = told.addresses.into_iter().filter(|page| !page.contains("//127.")).collect();
    }
    let concerns = Concern::of(&Board::read_below(&paths.root, folder.root()));
    findings.extend(
        concerns
            .into_iter()
            .filter(|concern| *concern != Concern::MemoryNearlyFull)
            .map(|concern| concern.sentence().to_owned()),
    );
    screen.findings = findings;
    if let Some((address, name)) = captive::read(&paths.run) {
        // The phone that joins it reaches this address only; where no radio was found, there is none.
        let own = format!("//{address}");
        if let Some(at) = screen.pages.iter().position(|page| page.contains(&own)) {
            screen.access_point = Some(name);
            screen.pages.swap(0, at);
        }
    }
    screen.qr = screen.pages.first().map(|page| qr_code(page)).unwrap_or_default();
    screen
}

/// Whether `folder` lies on another file system than `root`.
fn is_partition(folder: &Path, root: &Path) -> bool {
    let device = |path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    matches!((device(folder), device(root)), (Some(one), Some(other)) if one != other)
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_what_the_hub_wrote_down_and_the_code_while_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["data/hub", "run/cairn"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let paths = DeviceArguments { root: at("root"), boot: at("boot"), run: at("run"), bind: None };
        let hub = Folder::at(at("data"));
        fs::write(at("run/cairn/trouble"), "Something.\n").unwrap();
        let before = screen(&hub, &paths);
        assert_eq!(before.version, env!("CARGO_PKG_VERSION"));
        assert!(!before.ready && before.findings.contains(&"Something.".to_owned()));
        let mut file = AddressFile {
            addresses: vec!["http://10.0.0.9".into(), "http://192.168.73.1".into()],
            listening: Vec::new(),
            local: Some("http://cairn-2.local".into()),
            findings: vec!["cairn.toml, line 3: wrong".into()],
        };
        fs::write(hub.address(), serde_json::to_string(&file).unwrap()).unwrap();
        fs::write(hub.claim_code(), "ABCD2345").unwrap();
        fs::write(at("run/cairn/access-point"), "192.168.73.1\nCairn\n").unwrap();
        // A card may carry a number of its own; what a computer's system says of itself is not the hub's.
        fs::create_dir_all(at("root/usr/lib")).unwrap();
        let says = |text: &str| {
            fs::write(at("root/usr/lib/os-release"), text).unwrap();
            screen(&hub, &paths).version
        };
        assert_eq!(says("ID=debian\nVERSION_ID=\"13\"\n"), env!("CARGO_PKG_VERSION"));
        assert_eq!(says("NAME=Cairn\nID=cairn\nVERSION_ID=7.8.9\n"), "7.8.9");
        let with_radio = screen(&hub, &paths);
        assert_eq!(with_radio.pages.first().unwrap(), "http://192.168.73.1");
        assert_eq!(with_radio.access_point.as_deref(), Some("Cairn"));
        assert_eq!(with_radio.claim_code.as_deref(), Some("ABCD2345"));
        assert_eq!(with_radio.findings.len(), 2);
        assert!(with_radio.qr.lines().count() > 10);
        // A board whose radio was not found: nobody is told to join what is not there.
        file.addresses.pop();
        fs::write(hub.address(), serde_json::to_string(&file).unwrap()).unwrap();
        let without = screen(&hub, &paths);
        assert_eq!((without.pages.len(), without.access_point), (1, None));
    }

    #[test]
    fn a_folder_is_told_from_a_partition() {
        assert!(is_partition(Path::new("/proc"), Path::new("/")));
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        assert!(!is_partition(&folder.path().join("data"), folder.path()));
        assert!(!is_partition(&folder.path().join("none"), folder.path()));
    }
}
