//! `wpa_supplicant.conf(5)`: joining a network, and being one.

use std::fmt::Write;

use super::wish::{Passphrase, Ssid, Wifi};

/// Below `/run`; the unit `cairn-wifi@.service` reads it.
pub(super) const PATH: &str = "cairn/wifi.conf";
/// Channel 6: allowed everywhere, and in the middle of what old phones can hear. MHz.
const FREQUENCY_MHZ: u32 = 2437;

/// The head of both: nobody but the hub configures it, so that there is no control socket.
fn head(country: Option<&str>) -> String {
    let mut text = "# Written by the hub at every start.\nupdate_config=0\n".to_owned();
    if let Some(country) = country {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "country={country}");
    }
    text
}

pub(super) fn client(wifi: &Wifi, country: Option<&str>) -> String {
    let mut text = head(country);
    let ssid = wifi.ssid.hexadecimal();
    // Scanning for it by name finds hidden networks too.
    text.push_str(&format!("\nnetwork={{\n\tssid={ssid}\n\tscan_ssid=1\n"));
    match &wifi.passphrase {
        // WPA3 where it is offered, else WPA2; nothing older.
        Some(passphrase) => text.push_str(&format!(
            "\tkey_mgmt=SAE WPA-PSK-SHA256 WPA-PSK\n\tproto=RSN\n\tpairwise=CCMP\n\tieee80211w=1\n\tpsk={}\n",
            quoted(passphrase)
        )),
        None => text.push_str("\tkey_mgmt=NONE\n"),
    }
    text.push_str("}\n");
    text
}

pub(super) fn access_point(ssid: &Ssid, passphrase: Option<&Passphrase>, country: Option<&str>) -> String {
    let mut text = head(country);
    let ssid = ssid.hexadecimal();
    text.push_str(&format!("\nnetwork={{\n\tssid={ssid}\n\tmode=2\n\tfrequency={FREQUENCY_MHZ}\n"));
    match passphrase {
        // The boards' radios do not offer SAE as an access point.
        Some(passphrase) => text.push_str(&format!(
            "\tkey_mgmt=WPA-PSK\n\tproto=RSN\n\tpairwise=CCMP\n\tpsk={}\n",
            quoted(passphrase)
        )),
        None => text.push_str("\tkey_mgmt=NONE\n"),
    }
    text.push_str("}\n");
    text
}

/// Between quotation marks. The parser takes everything up to the last one in the line, and a passphrase holds no line
/// ends, so that nothing has to be escaped.
fn quoted(passphrase: &Passphrase) -> String {
    format!("\"{}\"", passphrase.reveal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_and_no_passphrase_can_add_a_line() {
        let wifi = Wifi {
            ssid: Ssid::new("x\"\n}\nnetwork={").unwrap(),
            passphrase: Some(Passphrase::new("p\"} # key_mgmt=NONE").unwrap()),
        };
        for text in [
            client(&wifi, Some("CH")),
            access_point(&wifi.ssid, wifi.passphrase.as_ref(), None),
            client(&Wifi { passphrase: None, ..wifi.clone() }, None),
        ] {
            assert_eq!(text.matches("\nnetwork={\n").count(), 1, "{text}");
            assert_eq!(text.matches("\n}\n").count(), 1, "{text}");
            let lines = text.lines().filter(|line| line.trim().starts_with("key_mgmt=")).count();
            assert_eq!(lines, 1, "{text}");
        }
        assert!(client(&wifi, Some("CH")).contains("\ncountry=CH\n"));
        assert!(client(&wifi, None).contains("\tpsk=\"p\"} # key_mgmt=NONE\"\n"));
    }
}
