//! The card boots: QEMU's `virt` machine, the real bootloader, the page asked from outside.
//! Here: which slot starts. What a hub on a card does stands in `life.rs`, how it is updated in `update.rs`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod keeper;
mod life;
mod machine;
mod pi;
mod powercut;
mod recording;
mod repository;
mod serial;
#[path = "../browser/session.rs"]
#[allow(dead_code, reason = "the other tests use more of it")]
mod session;
mod stick;
mod unfit;
mod update;
mod wifi;
mod writes;

use cairn_slots::{
    SlotId,
    boot_control::{BootState, Trial, block},
};
use machine::{CHOOSES_WITHIN, Card, STARTS_WITHIN};

const FIRST: u64 = 4096 * 512;
const SECOND: u64 = 8192 * 512;

fn state(generation: u32, default: SlotId, trial: Option<(SlotId, bool)>) -> BootState {
    BootState { generation, default, trial: trial.map(|(slot, tried)| Trial { slot, tried }) }
}

fn in_force(card: &Card) -> BootState {
    let copy = |at| card.read(at, 512).unwrap().try_into().unwrap();
    newer_of(&[copy(FIRST), copy(SECOND)])
}

/// What two copies of the boot state say together.
fn newer_of(copies: &[[u8; 512]; 2]) -> BootState {
    let whole = copies.iter().filter_map(block::decode);
    whole.max_by_key(|state| state.generation).unwrap_or(BootState::UNREADABLE)
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
async fn a_broken_slot_on_trial_goes_back_by_itself() {
    let card = Card::new().unwrap();
    card.fill_slot_b().unwrap();
    let trial = block::encode(&state(4, SlotId::A, Some((SlotId::B, false))));

    // Its root is damaged. Nobody touches the machine: it restarts by itself and starts the settled slot.
    let root = card.partition(6).unwrap();
    card.write(root.start + (8 << 20) + 99, b"damaged").unwrap();
    card.write(FIRST, &trial).unwrap();
    let mut machine = card.start("slot-b-damaged").unwrap();
    let serial = machine.until_it_says("cairn: slot a (trial: 0) is whole", STARTS_WITHIN).await.unwrap();
    assert!(serial.contains("cairn: slot b (trial: 1) cannot start: its root is damaged"), "nobody noticed");
    drop(machine);
    assert_eq!(in_force(&card), state(5, SlotId::A, Some((SlotId::B, true))));

    // Its kernel finds no init and panics.
    card.write(FIRST, &trial).unwrap();
    card.write(SECOND, &[0; 512]).unwrap();
    card.put_on_boot_partition("extra.txt", "rdinit=/none root=/dev/none").unwrap();
    let mut machine = card.start("slot-b-panics").unwrap();
    let parts = ["cairn: slot=b trial=1", "Kernel panic", "Rebooting in 5 seconds", "cairn: slot=a trial=0"];
    machine.until_it_says_after(0, &parts, STARTS_WITHIN).await.unwrap();
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
    decides(&Card::new().unwrap(), "virt").await;
}

#[tokio::test]
async fn the_boot_script_decides_so_from_an_sd_card_as_well() {
    decides(&Card::of_raspi3().unwrap(), "raspi3b").await;
}

/// On states of every kind, then with a kernel missing.
async fn decides(card: &Card, machine_name: &str) {
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
        let mut machine = card.start(&format!("{machine_name}-decides-{name}")).unwrap();
        let serial = machine.until_it_says("cairn: slot=", CHOOSES_WITHIN).await.unwrap();
        drop(machine);
        assert!(serial.contains(&line), "{name}: expected {line}");
        let after = [card.read(FIRST, 512).unwrap(), card.read(SECOND, 512).unwrap()];
        match expected.write {
            Some(next) => assert_eq!(in_force(card), next, "{name}"),
            None => assert_eq!(after, [first.to_vec(), second.to_vec()], "{name}: something was written"),
        }
    }

    // A slot whose kernel is missing: the other one starts, whatever the state says.
    card.write(FIRST, &block::encode(&state(9, SlotId::B, None))).unwrap();
    card.write(SECOND, &none).unwrap();
    let boot_b = card.partition(3).unwrap();
    card.write(boot_b.start, &vec![0; 1 << 20]).unwrap();
    let mut machine = card.start(&format!("{machine_name}-kernel-missing")).unwrap();
    machine.until_it_says("cairn: nothing to start there; slot=a", CHOOSES_WITHIN).await.unwrap();
    machine.until_it_says("cairn: slot a (trial: 0) is whole", STARTS_WITHIN).await.unwrap();
}
