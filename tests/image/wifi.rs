//! Wi-Fi, with the kernel's simulated radios (`mac80211_hwsim`): the hub's own, which a phone joins, and a village's, which the hub joins. The other
//! device is the second radio, in a network of its own in the same guest; what it does stands in `phone/`.
//! Nothing of the card is another than what is flashed: the boot partition brings what a keeper could put there.

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    machine::{Card, STARTS_WITHIN},
    serial::{plain, unexplained},
};

/// Starts `phone` once the hub is up. The second radio is none of the hub's.
fn bring_phone(card: &Card, role: &str) -> Result<()> {
    let unit = "[Unit]\nAfter=cairn.service\n[Service]\nExecStart=/bin/sh /boot/phone\n";
    let options = format!(
        "modules_load=mac80211_hwsim systemd.mask=cairn-wifi@wlan1.service systemd.wants=phone.service \
         systemd.set_credential_binary=systemd.extra-unit.phone.service:{}",
        STANDARD.encode(unit)
    );
    card.put_on_boot_partition("extra.txt", &options)?;
    card.put_on_boot_partition("phone", include_str!("phone/phone"))?;
    card.put_on_boot_partition("role", role)
}

/// What the phone said.
fn said(serial: &str) -> Vec<String> {
    serial.lines().map(plain).filter_map(|line| Some(line.split_once("phone: ")?.1.to_owned())).collect()
}

#[tokio::test]
async fn a_phone_joins_the_hubs_own_wifi_and_is_led_to_its_page() {
    let card = Card::new().unwrap();
    bring_phone(&card, include_str!("phone/joins")).unwrap();
    // QEMU's board has no radio by its facts, so that its hub opens a Wi-Fi only when told to.
    let file = "[hub]\nname = \"mill\"\n[access_point]\nenabled = true\n";
    card.put_on_boot_partition("cairn.toml", file).unwrap();
    let mut machine = card.start("wifi-own").unwrap();
    let serial = machine.until_it_says("phone: read the page", STARTS_WITHIN).await.unwrap();
    let said = said(&serial);
    println!("{}", said.join("\n"));
    let has = |part: &str| said.iter().any(|line| line.contains(part));
    assert!(has("of 192.168.73.1, router 192.168.73.1, names from 192.168.73.1"), "no address");
    assert!(has("captive.apple.com is at 192.168.73.1") && has("mill.local is at 192.168.73.1"));
    assert!(has("nobody knows example.org"), "it answers for the internet");
    // Not the 204 and not the page that would mean that this is the internet.
    for asked in ["connectivitycheck.gstatic.com/generate_204", "captive.apple.com/hotspot-detect.html"] {
        let line = said.iter().find(|line| line.contains(asked)).unwrap().to_lowercase();
        assert!(line.contains(" 302 ") && line.contains("location: http://192.168.73.1/"), "{line}");
    }
    assert!(has("read the page: 1 title"), "the page cannot be read");
    let console = machine.until_it_says("Cairn mill", STARTS_WITHIN).await.unwrap();
    assert!(console.contains("http://192.168.73.1"), "the console does not tell the address");
    assert_eq!(unexplained(&machine.serial(), &[]), Vec::<String>::new());
}

#[tokio::test]
async fn the_hub_joins_a_wifi_and_is_reached_there() {
    let card = Card::new().unwrap();
    bring_phone(&card, include_str!("phone/router")).unwrap();
    let file = "[hub]\nname = \"mill\"\n[wifi]\nssid = \"village\"\npassphrase = \"correct horse\"\n";
    card.put_on_boot_partition("cairn.toml", file).unwrap();
    let mut machine = card.start("wifi-joined").unwrap();
    let serial = machine.until_it_says("phone: is done", STARTS_WITHIN).await.unwrap();
    let said = said(&serial);
    println!("{}", said.join("\n"));
    assert!(
        said.iter().any(|line| line.contains("over its Wi-Fi: {\"status\":\"ok\"")),
        "not reached: {said:?}"
    );
    machine.until_it_says("http://192.168.50.20", STARTS_WITHIN).await.unwrap();
    assert_eq!(unexplained(&machine.serial(), &[]), Vec::<String>::new());
}
