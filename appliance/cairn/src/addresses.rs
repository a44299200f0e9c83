//! The addresses under which people on the local network reach this hub.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};
use qrcode::{QrCode, render::unicode::Dense1x2};
use serde::{Deserialize, Serialize};

/// Interfaces whose addresses lead to containers and virtual machines, not to people, by the beginning of their names.
const VIRTUAL: &[&str] =
    &["docker", "br-", "veth", "virbr", "vmnet", "podman", "cni", "flannel", "lxc", "tap"];

/// The addresses of this machine that others on the network can use, best first.
pub(crate) fn of_this_machine() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let found: BTreeSet<(u8, IpAddr)> = interfaces
        .filter(|interface| {
            interface.flags.contains(InterfaceFlags::IFF_UP)
                && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        })
        .filter_map(|interface| {
            let address = interface.address?;
            let address = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::V4(v4.ip()),
                (None, Some(v6)) => IpAddr::V6(v6.ip()),
                (None, None) => return None,
            };
            Some((rank(&interface.interface_name, address)?, address))
        })
        .collect();
    found.into_iter().map(|(_, address)| address).collect()
}

/// How good an address is for a person to type or scan, lower is better; `None` when it is of no use to others.
fn rank(interface: &str, address: IpAddr) -> Option<u8> {
    if VIRTUAL.iter().any(|start| interface.starts_with(start)) {
        return None;
    }
    match address {
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_unspecified() => None,
        IpAddr::V4(v4) if v4.is_private() => Some(0),
        IpAddr::V4(v4) if v4.is_link_local() => Some(2),
        IpAddr::V4(_) => Some(1),
        // Link-local IPv6 needs a zone, which no browser takes.
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() => None,
        IpAddr::V6(v6) if v6.is_unique_local() => Some(3),
        IpAddr::V6(_) => Some(4),
    }
}

/// Where the hub listens, and so under which addresses it can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reach {
    listening: Vec<SocketAddr>,
}

impl Reach {
    pub(crate) const fn new(listening: Vec<SocketAddr>) -> Self {
        Self { listening }
    }

    /// The port that is told to people: the first.
    pub(crate) fn port(&self) -> u16 {
        self.listening.first().map_or(0, SocketAddr::port)
    }

    /// Whether only this machine itself can reach the hub.
    pub(crate) fn only_here(&self) -> bool {
        self.listening.iter().all(|address| address.ip().is_loopback())
    }

    /// Addresses of the hub's page, best first, given those of the machine.
    pub(crate) fn pages(&self, machine: &[IpAddr]) -> Vec<String> {
        let mut pages = Vec::new();
        for listening in &self.listening {
            let port = listening.port();
            match listening.ip() {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
                    pages.extend(machine.iter().filter(|ip| ip.is_ipv4()).map(|ip| page(*ip, port)));
                }
                // Both families: Linux maps IPv4 into a socket bound to [::].
                IpAddr::V6(Ipv6Addr::UNSPECIFIED) => pages.extend(machine.iter().map(|ip| page(*ip, port))),
                ip => pages.push(page(ip, port)),
            }
        }
        if pages.is_empty() {
            pages.extend(
                self.listening.first().map(|listening| page(Ipv4Addr::LOCALHOST.into(), listening.port())),
            );
        }
        let mut seen = BTreeSet::new();
        pages.retain(|page| seen.insert(page.clone()));
        pages
    }
}

fn page(ip: IpAddr, port: u16) -> String {
    let host = match ip.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    if port == 80 { format!("http://{host}") } else { format!("http://{host}:{port}") }
}

/// The file that tells other programs on this machine where the hub listens.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AddressFile {
    /// Pages, best first.
    pub(crate) addresses: Vec<String>,
    /// What the hub is bound to.
    pub(crate) listening: Vec<SocketAddr>,
    /// The page by the name in force on the network, where it is announced.
    #[serde(default)]
    pub(crate) local: Option<String>,
    /// Mistakes in the provisioning file.
    #[serde(default)]
    pub(crate) findings: Vec<String>,
}

/// What a hub that did not end in order had bound for `wanted`, where that differs in chosen ports only.
pub(crate) fn listened_on(file: &Path, wanted: &[SocketAddr]) -> Option<Vec<SocketAddr>> {
    let before: AddressFile = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let same = |(before, wanted): (&SocketAddr, &SocketAddr)| {
        before.ip() == wanted.ip() && (wanted.port() == 0 || wanted.port() == before.port())
    };
    let fits = before.listening.len() == wanted.len() && before.listening.iter().zip(wanted).all(same);
    fits.then_some(before.listening)
}

/// A QR code of `text` for a terminal, two rows of dots in each line; empty when it does not fit.
pub(crate) fn qr_code(text: &str) -> String {
    QrCode::new(text).map_or_else(
        |_| String::new(),
        // Dark on light whatever the terminal's colours: scanners want it so.
        |code| code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn reach(texts: &[&str]) -> Reach {
        Reach::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn addresses_that_lead_nowhere_are_not_told() {
        let rank = |interface: &str, ip: &str| super::rank(interface, ip.parse().unwrap());
        assert_eq!(rank("docker0", "172.17.0.1"), None);
        assert_eq!(rank("lo", "127.0.0.1"), None);
        assert_eq!(rank("eth0", "fe80::1"), None);
        assert!(rank("wlan0", "192.168.1.5") < rank("eth0", "203.0.113.5"));
        assert!(rank("eth0", "203.0.113.5") < rank("eth0", "169.254.1.1"));
        assert!(rank("eth0", "169.254.1.1") < rank("eth0", "fd00::1"));
    }

    #[test]
    fn pages_follow_from_where_the_hub_listens() {
        let machine = ips(&["192.168.1.5", "fd00::1"]);
        assert_eq!(reach(&["127.0.0.1:4000"]).pages(&machine), ["http://127.0.0.1:4000"]);
        assert_eq!(reach(&["0.0.0.0:80"]).pages(&machine), ["http://192.168.1.5"]);
        assert_eq!(
            reach(&["[::]:8080"]).pages(&machine),
            ["http://192.168.1.5:8080", "http://[fd00::1]:8080"]
        );
        assert_eq!(reach(&["[::]:8080", "0.0.0.0:8080"]).pages(&machine).len(), 2, "no address twice");
        assert_eq!(reach(&["0.0.0.0:8080"]).pages(&[]), ["http://127.0.0.1:8080"], "a hub without a network");
        assert!(reach(&["127.0.0.1:1", "[::1]:1"]).only_here());
        assert!(!reach(&["127.0.0.1:1", "10.0.0.1:1"]).only_here());
    }

    #[test]
    fn a_code_for_the_terminal_is_a_square_of_blocks() {
        let code = qr_code("http://192.168.178.123:8080");
        let lines: Vec<_> = code.lines().collect();
        let width = lines.first().unwrap().chars().count();
        assert!(lines.len() * 2 >= width && lines.len() * 2 <= width + 2, "{width} by {}", lines.len());
        assert!(lines.iter().all(|line| line.chars().count() == width));
    }
}
