//! The proof by cutting power, on a model of a card: for install, flip, trial, confirm and coming back, the power goes at *every*
//! operation, and what was not flushed by then is kept, dropped, torn and reordered. After that the real code boots the card, and
//! goes on to the end of the story.
//!
//! Held at every boot: the slot that boots is one whole signed system; it is never older than the one that was settled on;
//! no release is tried twice; nothing that was acknowledged is lost. Then the code is broken on purpose, in five ways, and the proof must notice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test program: what is wrong must stop it"
)]

mod card;
mod hub;
mod random;
mod releases;

use card::Card;
use hub::{End, Fault, Hub, Story};
use random::Random;
use releases::{Health, releases};

/// What becomes of what was not flushed, for each cut; see [`Card::cut`].
const FATES: u64 = 8;
/// A second cut on the way back from the first, for each fate.
const SECOND_CUTS: u64 = 2;
/// Cuts that all stories together must reach.
const LEAST_CUTS: u64 = 10_000;

/// What a proof found.
#[derive(Default)]
struct Proof {
    cuts: u64,
    operations: u64,
    broken: Vec<String>,
}

/// Cuts `story` at every operation.
fn prove(story: &Story, fault: Fault, proof: &mut Proof) {
    let releases = releases();
    let blank = Card::new(&releases[0]);
    for at in 0.. {
        let mut cut_something = false;
        for fate in 0..FATES {
            for second in 0..=SECOND_CUTS {
                let seed = at * 1000 + fate * 10 + second;
                let mut random = Random::new(seed);
                let mut hub = Hub::new(blank.clone(), releases, story, fault);
                let mut cut = |hub: &mut Hub<'_>, at: u64, fate: u64, random: &mut Random| {
                    hub.card.power_until(at);
                    match hub.live() {
                        Ok(End::Settled) => Ok(false),
                        Ok(End::Cut) => {
                            hub.card.cut(fate, random);
                            proof.cuts += 1;
                            Ok(true)
                        }
                        Err(broken) => Err(broken),
                    }
                };
                let lived = cut(&mut hub, at, fate, &mut random).and_then(|happened| {
                    cut_something |= happened;
                    if happened && second > 0 {
                        let again = random.below(100);
                        let fate = random.below(FATES);
                        cut(&mut hub, again, fate, &mut random)?;
                    }
                    hub.card.power_until(u64::MAX);
                    hub.live()?;
                    hub.ended_well()
                });
                if let Err(broken) = lived {
                    proof.broken.push(format!(
                        "{}: cut before operation {at}, fate {fate}, second cut {second}: {broken}",
                        story.name
                    ));
                }
            }
        }
        if !cut_something {
            proof.operations += at;
            return;
        }
        // One is enough where something is to be noticed.
        if fault != Fault::None && !proof.broken.is_empty() {
            return;
        }
    }
}

fn stories() -> Vec<Story> {
    use Health::{Good, Hangs, Unfit};
    vec![
        Story { name: "two good releases", health: vec![Good, Good, Good], overtaken: false },
        Story {
            name: "an unfit release, then a good one",
            health: vec![Good, Unfit, Good],
            overtaken: false,
        },
        Story {
            name: "a release that hangs, then a good one",
            health: vec![Good, Hangs, Good],
            overtaken: false,
        },
        Story { name: "a good one, then an unfit one", health: vec![Good, Good, Unfit], overtaken: false },
        Story {
            name: "a release overtaken by the next before its restart",
            health: vec![Good, Good, Good],
            overtaken: true,
        },
    ]
}

#[test]
fn whatever_the_power_does_a_whole_signed_system_boots_and_nothing_acknowledged_is_lost() {
    let mut proof = Proof::default();
    for story in stories() {
        let before = (proof.cuts, proof.operations);
        prove(&story, Fault::None, &mut proof);
        println!(
            "{}: {} operations, {} cuts",
            story.name,
            proof.operations - before.1,
            proof.cuts - before.0
        );
    }
    println!("power cuts: {} at {} operations, {} broken", proof.cuts, proof.operations, proof.broken.len());
    assert!(proof.broken.is_empty(), "{:#?}", &proof.broken[..proof.broken.len().min(10)]);
    assert!(proof.cuts >= LEAST_CUTS, "only {} cuts", proof.cuts);
}

#[test]
fn the_proof_notices_code_that_is_broken_on_purpose() {
    for fault in Fault::ON_PURPOSE {
        let mut proof = Proof::default();
        for story in stories() {
            prove(&story, fault, &mut proof);
            if !proof.broken.is_empty() {
                break;
            }
        }
        let first = proof.broken.first();
        println!("{fault:?}: after {} cuts: {}", proof.cuts, first.map_or("NOT NOTICED", String::as_str));
        assert!(first.is_some(), "{fault:?} was not noticed in {} cuts", proof.cuts);
    }
}

/// Whoever writes the slot is not believed: one wrong byte anywhere, and nothing flips.
#[test]
fn a_slot_that_was_tampered_with_is_not_tried() {
    let releases = releases();
    let story = &stories()[0];
    let mut random = Random::new(7);
    for _ in 0..200 {
        let mut hub = Hub::new(Card::new(&releases[0]), releases, story, Fault::None);
        let (payload, at) = hub.tamper(&mut random);
        let refused = hub.try_tampered();
        assert!(refused.contains("does not hold what was signed"), "{payload} byte {at}: {refused}");
        assert!(hub.boots_old(), "{payload} byte {at}");
    }
}
