//! The card of a Raspberry Pi 3 in the machine that QEMU plays of it: U-Boot from the card, the card behind the SD controller, a network adapter on
//! USB. What the board's firmware does before U-Boot is not played; the files that it looks for are checked when a card is built.

use cairn_slots::{SlotId, boot_control::block};

use crate::{
    FIRST, SECOND, in_force,
    keeper::Kept,
    life::{CLAIM, code_on},
    machine::{Card, STARTS_WITHIN},
    serial::unexplained,
    state,
};

/// Parts of the chip that QEMU does not play.
const ABSENT: &[&str] = &[
    "Unable to read \"uboot.env\"",
    "Loading Boot0000 'mmc 0' failed",
    "raspberrypi-exp-gpio",
    "pwrseq_simple wifi-pwrseq",
    "leds-gpio leds",
    "i2c-bcm2835",
    "Cannot get clock for CPU0",
    "raspberrypi-cpufreq",
    "vc4_",
    "bcm2835_wdt",
    "dwc2 3f980000.usb",
];

#[tokio::test]
async fn a_raspberry_pi_3_starts_from_its_sd_card() {
    let card = Card::of_raspi3().unwrap();
    let mut machine = card.start("raspi3b-first").unwrap();
    let whole = "cairn: slot a (trial: 0) is whole; starting it from /dev/mmcblk0";
    machine.until_it_says(whole, STARTS_WITHIN).await.unwrap();
    // Without a network the console says so, and does not show the code before there is an address to type it in at.
    machine.until_it_says("No network yet", STARTS_WITHIN).await.unwrap();
    machine.plug_network().unwrap();
    let serial = machine.until_it_says(CLAIM, STARTS_WITHIN).await.unwrap();
    let health = machine.until_healthy().await.unwrap();
    assert_eq!(health["status"], "ok", "{health}");
    let hub = Kept::by_code(&machine, &code_on(&serial).unwrap()).await.unwrap();
    let notice = hub.notice("on a Pi").await.unwrap();
    assert!(
        machine.serial().contains("cairn: slot=a trial=0 copies=10"),
        "the new card's boot state was not read"
    );
    assert_eq!(unexplained(&machine.serial(), ABSENT), Vec::<String>::new());
    drop(machine);

    // After a power cut the other slot is on trial: it is tried once, nobody confirms it, and the settled one comes back with what was written.
    card.fill_slot_b().unwrap();
    card.write(FIRST, &block::encode(&state(4, SlotId::A, Some((SlotId::B, false))))).unwrap();
    card.write(SECOND, &[0; 512]).unwrap();
    let mut machine = card.start("raspi3b-on-trial").unwrap();
    machine.until_it_says("cairn: slot b (trial: 1) is whole", STARTS_WITHIN).await.unwrap();
    drop(machine);
    assert_eq!(in_force(&card), state(5, SlotId::A, Some((SlotId::B, true))), "the try was not used up");
    let mut machine = card.start("raspi3b-back").unwrap();
    machine.until_it_says("No network yet", STARTS_WITHIN).await.unwrap();
    machine.plug_network().unwrap();
    machine.until_healthy().await.unwrap();
    assert!(machine.serial().contains("cairn: slot=a trial=0 copies=11"), "another slot");
    assert!(hub.at(&machine).has_notice(&notice, "on a Pi").await.unwrap(), "what was written is gone");
}
