//! "Is this the internet?" Phones and computers ask it of hosts of their makers, over plain HTTP, as soon as they join a
//! network. On the hub's own Wi-Fi the honest answer is "no, but there is a page": the names of those hosts lead to the
//! hub, and it answers with its own page's address instead of what would mean "yes". The device then shows that page by
//! itself. No other name is claimed: whoever asks for one is told that it is not answered here.

use std::{net::Ipv4Addr, path::Path};

/// Below `/run`: the access point's address and, on the next line, its name; while there is one.
pub(super) const PATH: &str = "cairn/access-point";

/// The hosts that are asked, in lower case: Android and ChromeOS, Apple, Windows, Firefox, GNOME and KDE on the common
/// distributions, Kindle, Huawei, Samsung and Xiaomi.
pub const PROBES: &[&str] = &[
    "captive.apple.com",
    "connectivitycheck.gstatic.com",
    "connectivitycheck.android.com",
    "clients3.google.com",
    "play.googleapis.com",
    "www.msftconnecttest.com",
    "ipv6.msftconnecttest.com",
    "www.msftncsi.com",
    "detectportal.firefox.com",
    "nmcheck.gnome.org",
    "network-test.debian.org",
    "connectivity-check.ubuntu.com",
    "networkcheck.kde.org",
    "fedoraproject.org",
    "spectrum.s3.amazonaws.com",
    "connectivitycheck.platform.hicloud.com",
    "connect.rom.miui.com",
];

/// Whether `host` (without a port) is one of them.
#[must_use]
pub fn is_probe(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    PROBES.iter().any(|probe| probe.eq_ignore_ascii_case(host))
}

/// The access point's address and name, while there is one, below `run`.
#[must_use]
pub fn read(run: &Path) -> Option<(Ipv4Addr, String)> {
    let text = crate::text(&run.join(PATH))?;
    let (address, name) = text.trim_end().split_once('\n')?;
    Some((address.parse().ok()?, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(read(run.path()), None);
        let wish = crate::network::Wish { name: "spring".into(), ..Default::default() };
        crate::network::apply(&wish, run.path()).unwrap();
        assert_eq!(read(run.path()), Some((crate::network::ACCESS_POINT, "Cairn spring".to_owned())));
    }

    #[test]
    fn only_the_hosts_that_ask_are_claimed() {
        assert!(is_probe("captive.apple.com") && is_probe("Connectivitycheck.Gstatic.com."));
        assert!(!is_probe("apple.com") && !is_probe("evil.captive.apple.com") && !is_probe(""));
        assert!(PROBES.iter().all(|probe| {
            probe.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
        }));
    }
}
