//! systemd-networkd's files (`systemd.network(5)`).

use super::ACCESS_POINT;

/// The Wi-Fi's file, below `/run`.
pub(super) const WIFI: &str = "systemd/network/25-cairn-wifi.network";

/// How long a phone keeps its address, seconds: short enough that a village passes through 200 addresses.
const LEASE_S: u32 = 3600;

/// A Wi-Fi that was joined; slower than the wire, so the wire is used where both are there.
pub(super) fn wifi_client() -> String {
    "# Written by the hub at every start.\n\
     [Match]\nType=wlan\n\n\
     [Link]\nRequiredForOnline=no\n\n\
     [Network]\nDHCP=yes\nLinkLocalAddressing=yes\nIPv6AcceptRA=yes\nIgnoreCarrierLoss=3s\nMulticastDNS=no\nLLMNR=no\n\n\
     [DHCPv4]\nRouteMetric=600\nClientIdentifier=mac\nUseHostname=no\nUseDomains=no\n"
        .to_owned()
}

/// The hub's own Wi-Fi. A router is named although there is none, because phones take no network without one for
/// complete; nothing is forwarded. Addresses that were given out are not kept: a server that keeps them (systemd's, from 256 on) gives none out
/// before a service has said that its folder can be written, and our root has neither. A phone gets the same address again, because it is
/// chosen by the phone's own number.
pub(super) fn access_point() -> String {
    format!(
        "# Written by the hub at every start.\n\
         [Match]\nType=wlan\n\n\
         [Link]\nRequiredForOnline=no\n\n\
         [Network]\nAddress={ACCESS_POINT}/24\nDHCPServer=yes\nDHCP=no\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=no\nConfigureWithoutCarrier=yes\nMulticastDNS=no\nLLMNR=no\n\n\
         [DHCPServer]\nPoolOffset=20\nPoolSize=200\nDefaultLeaseTimeSec={LEASE_S}\nMaxLeaseTimeSec={LEASE_S}\nEmitDNS=yes\nDNS={ACCESS_POINT}\nEmitRouter=yes\nEmitNTP=no\nEmitTimezone=no\nPersistLeases=no\n"
    )
}
