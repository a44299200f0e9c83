//! Two copies of the boot state as a damaged card could hold them, the firmware's file, and the record of updates: one state comes out, what is
//! written next never touches the copy in force, and a boot follows from it.

use cairn_slots::{
    BootState, Outcome, SlotId,
    boot_control::{
        Copies, Place,
        block::{BLOCK_SIZE, Block, crc32, decode, encode},
    },
    record::Record,
    tryboot::Autoboot,
};

use super::parts;

fn block(bytes: &[u8], mend: bool) -> Block {
    let mut block = [0; BLOCK_SIZE];
    let count = bytes.len().min(BLOCK_SIZE);
    block[..count].copy_from_slice(&bytes[..count]);
    if mend {
        // A checksum that fits, so that what is behind it is reached.
        block[..8].copy_from_slice(b"CAIRNAB1");
        block[24..508].fill(0);
        let sum = crc32(&block[..508]);
        block[508..].copy_from_slice(&sum.to_le_bytes());
    }
    block
}

/// Which copies get a checksum that fits, the copies, and a text; see [`parts`].
pub fn check(input: &[u8]) {
    let Some((mend, rest)) = input.split_first() else { return };
    let (first, rest) = parts(rest);
    let (second, text) = parts(rest);
    let (first, second) = (block(first, mend & 1 != 0), block(second, mend & 2 != 0));
    for one in [&first, &second] {
        if let Some(state) = decode(one) {
            assert_eq!(decode(&encode(&state)), Some(state), "what is written is read");
        }
    }
    let copies = Copies::of(&first, &second);
    let state = copies.in_force();
    // A write that tears leaves rubbish in the spare place, and the same state in force.
    let torn = [0xA5; BLOCK_SIZE];
    let after = match copies.spare() {
        Place::First => Copies::of(&torn, &second),
        Place::Second => Copies::of(&first, &torn),
    };
    assert_eq!(after.in_force(), state, "a torn write changes nothing");
    let boot = state.boot();
    assert!(state == BootState::UNREADABLE || boot.trial || boot.slot == state.default);
    if let Some(next) = boot.write {
        assert!(!next.boot().trial, "no slot is tried twice");
    }
    for running in SlotId::ALL {
        if let Ok((slot, _)) = state.open_for_writing(running) {
            assert_ne!(slot, running, "what runs is never written to");
            assert_ne!(slot, state.default, "nor what is fallen back to");
        }
        if let Ok(record) = serde_json::from_slice::<Record>(text) {
            for outcome in
                [Outcome::Settled, Outcome::OnTrial, Outcome::Waiting, Outcome::CameBack { from: running }]
            {
                let (next, _) = record.at_start(outcome, running);
                assert!(next.bad.len() <= record.bad.len().max(cairn_slots::record::MAX_BAD));
            }
        }
    }
    for tryboot in [false, true] {
        let _ = Autoboot::partition(text, tryboot);
    }
}
