//! The card boots: QEMU's `virt` machine, the real bootloader, the page asked from outside.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod machine;

use std::time::Duration;

use cairn_slots::{
    SlotId,
    boot_control::{BootState, Trial, block},
};
use cairn_tests::http;
use machine::{CARD, CHOOSES_WITHIN, Card, STARTS_WITHIN};
use serde_json::{Value, json};

const FIRST: u64 = 4096 * 512;
const SECOND: u64 = 8192 * 512;

fn state(generation: u32, default: SlotId, trial: Option<(SlotId, bool)>) -> BootState {
    BootState { generation, default, trial: trial.map(|(slot, tried)| Trial { slot, tried }) }
}

fn in_force(card: &Card) -> BootState {
    let copy = |at| block::decode(&card.read(at, 512).unwrap().try_into().unwrap());
    let (first, second) = (copy(FIRST), copy(SECOND));
    first.into_iter().chain(second).max_by_key(|state| state.generation).unwrap_or(BootState::UNREADABLE)
}

#[tokio::test]
async fn a_new_card_boots_to_its_page_and_keeps_what_is_written() {
    let card = Card::new().unwrap();
    card.put_on_boot_partition("cairn.toml", "[hub]\nname = \"mill\"\nclaim_code = \"PAPERBOAT7421\"\n")
        .unwrap();
    let before = [card.read(FIRST, 512).unwrap(), card.read(SECOND, 512).unwrap()];

    let mut machine = card.start("first-boot").unwrap();
    let health = machine.until_healthy().await.unwrap();
    assert_eq!(health["status"], "ok", "{health}");
    assert_eq!(health["database_connected"], true, "{health}");
    let serial = machine.serial();
    assert!(serial.contains("cairn: slot=a trial=0 copies=10"), "the boot script chose otherwise");
    assert!(serial.contains("the data partition is new"), "the data partition was not formatted");
    // The console tells how to claim the hub, and no part of the system failed.
    let code = "claim it with this code: PAPERBOAT7421";
    let serial = machine.until_it_says(code, STARTS_WITHIN).await.unwrap();
    assert!(!serial.contains("Failed to start"), "a part of the system failed");

    // Somebody claims the hub with the code from the file, and writes something down.
    let client = http::builder().cookie_store(true).timeout(Duration::from_secs(120)).build().unwrap();
    let address = machine.address();
    let post = |path: &str, body: Value| {
        client.post(format!("{address}{path}")).header("Origin", &address).json(&body).send()
    };
    let claim = json!({ "code": "PAPERBOAT7421", "hub_name": "Mill Valley", "language": "en",
        "name": "Keeper", "login": "keeper", "password": "a long enough passphrase" });
    post("/api/v1/setup/claim", claim).await.unwrap().error_for_status().unwrap();
    let made = post("/api/v1/tokens", json!({ "name": "tests" })).await.unwrap().error_for_status().unwrap();
    let token = made.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    let home = client.get(&address).send().await.unwrap().text().await.unwrap();
    assert!(home.contains("Mill Valley"), "the page does not bear the hub's name");

    // The data partition reaches to the end of the card, less than what is not worth growing for.
    let data = card.partition(7).unwrap();
    assert!(CARD - (data.start + data.size) <= 16 << 20, "{data:?}");
    // The power is cut right after what was acknowledged; the same card starts again.
    drop(machine);
    let mut machine = card.start("after-a-power-cut").unwrap();
    machine.until_healthy().await.unwrap();
    let mine =
        http::client().unwrap().get(format!("{}/api/v1/settings", machine.address())).bearer_auth(&token);
    let settings = mine.send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
    assert!(settings.contains("Mill Valley"), "{settings}");
    assert!(!machine.serial().contains("formatting"), "a card in use was formatted");
    assert!(machine.serial().contains("copies=10"));
    drop(machine);
    let after = [card.read(FIRST, 512).unwrap(), card.read(SECOND, 512).unwrap()];
    assert_eq!(before, after, "a normal boot wrote to the boot state");
    assert_eq!(card.partition(7).unwrap(), data, "a grown card was grown again");
}

#[tokio::test]
async fn a_slot_on_trial_is_tried_once() {
    let card = Card::new().unwrap();
    card.fill_slot_b().unwrap();
    card.write(FIRST, &block::encode(&state(4, SlotId::A, Some((SlotId::B, false))))).unwrap();
    let mut machine = card.start("slot-b-on-trial").unwrap();
    machine.until_it_says("cairn: slot b (trial: 1) is whole", STARTS_WITHIN).await.unwrap();
    drop(machine);
    assert_eq!(in_force(&card), state(5, SlotId::A, Some((SlotId::B, true))), "the try was not used up");
    // Nobody confirmed it: the old slot comes back, without any write.
    let mut machine = card.start("slot-b-not-confirmed").unwrap();
    machine.until_it_says("cairn: slot a (trial: 0) is whole", STARTS_WITHIN).await.unwrap();
    assert!(machine.serial().contains("cairn: slot=a trial=0 copies=11"));
    drop(machine);
    assert_eq!(in_force(&card), state(5, SlotId::A, Some((SlotId::B, true))));
}

#[tokio::test]
async fn the_hub_runs_from_slot_b_as_well() {
    let card = Card::new().unwrap();
    card.fill_slot_b().unwrap();
    card.write(FIRST, &block::encode(&state(4, SlotId::B, None))).unwrap();
    let mut machine = card.start("settled-on-slot-b").unwrap();
    let health = machine.until_healthy().await.unwrap();
    assert_eq!(health["status"], "ok", "{health}");
    assert!(machine.serial().contains("cairn: slot b (trial: 0) is whole"), "slot B did not start");
}

#[tokio::test]
async fn one_flipped_bit_in_the_root_ends_in_the_other_slot() {
    let card = Card::new().unwrap();
    card.fill_slot_b().unwrap();
    card.write(FIRST, &block::encode(&state(5, SlotId::A, None))).unwrap();
    let root = card.partition(5).unwrap();
    let at = root.start + (24 << 20) + 777;
    let byte = card.read(at, 1).unwrap()[0];
    card.write(at, &[byte ^ 0x10]).unwrap();
    // Slot A is the settled one: it finds out and puts slot B on trial.
    let mut machine = card.start("bit-flipped-in-root-a").unwrap();
    let serial = machine.until_it_says("cairn: slot b (trial: 1) is whole", STARTS_WITHIN).await.unwrap();
    assert!(serial.contains("slot a (trial: 0) cannot start: its root is damaged"), "nobody noticed");
    assert_eq!(in_force(&card), state(7, SlotId::A, Some((SlotId::B, true))));
}

#[tokio::test]
async fn the_boot_script_decides_as_the_state_machine_does() {
    let card = Card::new().unwrap();
    // Nothing is started here: only the decision counts.
    card.copy_partition(2, 3).unwrap();
    let none = [0; 512];
    let torn = |state: &BootState| {
        let mut block = block::encode(state);
        block[300..].fill(0xa5);
        block
    };
    let states: Vec<(&str, [u8; 512], [u8; 512])> = vec![
        (
            "settled-on-b",
            block::encode(&state(9, SlotId::B, None)),
            block::encode(&state(8, SlotId::A, None)),
        ),
        (
            "trial-of-b",
            block::encode(&state(2, SlotId::A, None)),
            block::encode(&state(3, SlotId::A, Some((SlotId::B, false)))),
        ),
        ("trial-of-a", block::encode(&state(0x7fff_ffff, SlotId::B, Some((SlotId::A, false)))), none),
        (
            "tried",
            block::encode(&state(0x8000_0001, SlotId::A, Some((SlotId::B, true)))),
            block::encode(&state(0x7fff_ffff, SlotId::A, Some((SlotId::B, false)))),
        ),
        (
            "newer-torn",
            block::encode(&state(5, SlotId::B, None)),
            torn(&state(6, SlotId::A, Some((SlotId::B, false)))),
        ),
        ("both-torn", torn(&state(5, SlotId::B, None)), torn(&state(6, SlotId::B, None))),
        ("no-generation-left", none, block::encode(&state(u32::MAX, SlotId::A, Some((SlotId::B, false))))),
        ("equal", block::encode(&state(5, SlotId::B, None)), block::encode(&state(5, SlotId::A, None))),
    ];
    for (name, first, second) in states {
        card.write(FIRST, &first).unwrap();
        card.write(SECOND, &second).unwrap();
        let expected = cairn_slots::boot_control::Copies::of(&first, &second).in_force().boot();
        let line = format!("cairn: slot={} trial={}", expected.slot.letter(), u8::from(expected.trial));
        let mut machine = card.start(&format!("decides-{name}")).unwrap();
        let serial = machine.until_it_says("cairn: slot=", CHOOSES_WITHIN).await.unwrap();
        drop(machine);
        assert!(serial.contains(&line), "{name}: expected {line}");
        let after = [card.read(FIRST, 512).unwrap(), card.read(SECOND, 512).unwrap()];
        match expected.write {
            Some(next) => assert_eq!(in_force(&card), next, "{name}"),
            None => assert_eq!(after, [first.to_vec(), second.to_vec()], "{name}: something was written"),
        }
    }

    // A slot whose kernel is missing: the other one starts, whatever the state says.
    card.write(FIRST, &block::encode(&state(9, SlotId::B, None))).unwrap();
    card.write(SECOND, &none).unwrap();
    let boot_b = card.partition(3).unwrap();
    card.write(boot_b.start, &vec![0; 1 << 20]).unwrap();
    let mut machine = card.start("kernel-missing").unwrap();
    machine.until_it_says("cairn: nothing to start there; slot=a", CHOOSES_WITHIN).await.unwrap();
    machine.until_it_says("cairn: slot a (trial: 0) is whole", STARTS_WITHIN).await.unwrap();
}
