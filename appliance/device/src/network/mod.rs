//! The network: from what a keeper wants to the files that systemd-networkd and wpa_supplicant read.
//!
//! The wire needs no wish: the image's own file for it (DHCP, and a link-local address where nobody answers) holds also
//! when nothing here works. Wi-Fi: the keeper's network, else an access
//! point of the hub's own with addresses, names and an honest answer to the question whether this is the internet
//! ([`captive`]). wpa_supplicant does both; hostapd and dnsmasq would be two more programs to keep up.
//!
//! [`files`] is a plain function; [`apply`] writes what it says below `/run`, so that nothing of it outlives a start.

pub mod captive;
pub mod dns;
mod networkd;
mod supplicant;
mod wish;

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use crate::durable::Disk;

pub use wish::{AccessPoint, Passphrase, Ssid, Wifi, WifiMode, Wish, WishError};

/// The access point's own address; phones get theirs from the same /24.
pub const ACCESS_POINT: Ipv4Addr = Ipv4Addr::new(192, 168, 73, 1);

/// A file below `/run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFile {
    /// Its path, relative to `/run`.
    pub path: &'static str,
    /// What it says.
    pub content: String,
    /// Its mode: what holds a passphrase is root's alone.
    pub mode: u32,
}

/// Everything that may be written, so that what is no longer wanted can be removed.
const PATHS: [&str; 3] = [networkd::WIFI, supplicant::PATH, captive::PATH];

/// The files that `wish` needs.
#[must_use]
pub fn files(wish: &Wish) -> Vec<RunFile> {
    let mut files = Vec::new();
    match wish.wifi_mode() {
        WifiMode::Off => {}
        WifiMode::Join(wifi) => {
            files.push(RunFile { path: networkd::WIFI, content: networkd::wifi_client(), mode: 0o644 });
            let content = supplicant::client(wifi, wish.country.as_deref());
            files.push(RunFile { path: supplicant::PATH, content, mode: 0o600 });
        }
        WifiMode::AccessPoint { ssid, passphrase } => {
            files.push(RunFile { path: networkd::WIFI, content: networkd::access_point(), mode: 0o644 });
            let content = supplicant::access_point(&ssid, passphrase, wish.country.as_deref());
            files.push(RunFile { path: supplicant::PATH, content, mode: 0o600 });
            // Its presence starts the name answers and tells the hub that it may be asked for the internet.
            let content = format!("{ACCESS_POINT}\n{}\n", ssid.as_str());
            files.push(RunFile { path: captive::PATH, content, mode: 0o644 });
        }
    }
    files
}

/// Writes the files of `wish` below `run` and removes those of an earlier one.
///
/// # Errors
/// When one cannot be written.
pub fn apply(wish: &Wish, run: &Path) -> io::Result<()> {
    let files = files(wish);
    let disk = Disk::new();
    for path in PATHS {
        match files.iter().find(|file| file.path == path) {
            Some(file) => {
                let path = run.join(path);
                fs::create_dir_all(path.parent().unwrap_or(run))?;
                disk.write(&path, file.content.as_bytes(), file.mode)?;
            }
            None => match fs::remove_file(run.join(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
        }
    }
    Ok(())
}

/// Where a keeper's own choice of network is kept, in the data folder.
#[must_use]
pub fn wish_file(data: &Path) -> PathBuf {
    data.join("device/network.toml")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

    use super::*;

    fn paths(wish: &Wish) -> BTreeSet<&'static str> {
        files(wish).iter().map(|file| file.path).collect()
    }

    fn joined() -> Wish {
        let wifi = Wifi {
            ssid: Ssid::new("village").unwrap(),
            passphrase: Some(Passphrase::new("correct horse").unwrap()),
        };
        Wish { wifi: Some(wifi), ..Wish::default() }
    }

    #[test]
    fn without_a_network_to_join_the_hub_makes_its_own() {
        let own = Wish::default();
        assert!(paths(&own).contains(captive::PATH), "{own:?}");
        assert!(!paths(&joined()).contains(captive::PATH));
        let forbidden =
            Wish { access_point: AccessPoint { wanted: Some(false), ..Default::default() }, ..own };
        assert_eq!(paths(&forbidden), BTreeSet::new());
        let instead =
            Wish { access_point: AccessPoint { wanted: Some(true), ..Default::default() }, ..joined() };
        assert!(paths(&instead).contains(captive::PATH), "asked for by name, it comes before joining");
    }

    #[test]
    fn secrets_are_roots_alone_and_nothing_of_an_earlier_wish_stays() {
        let run = tempfile::tempdir().unwrap();
        apply(&Wish::default(), run.path()).unwrap();
        assert!(run.path().join(captive::PATH).exists());
        apply(&joined(), run.path()).unwrap();
        assert!(!run.path().join(captive::PATH).exists());
        let secret = run.path().join(supplicant::PATH);
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&secret).unwrap().contains("correct horse"));
        assert!(!format!("{:?}", joined()).contains("correct horse"), "never printed");
        let others = files(&joined());
        assert!(
            others.iter().filter(|file| file.mode != 0o600).all(|file| !file.content.contains("correct"))
        );
    }
}
