//! A thousand seeds of the synchronisation simulator, and the proof that it notices mistakes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use cairn_tests::simulation::{Report, Sabotage, run};

/// Seeds that once found something, kept for ever.
const REGRESSIONS: &[u64] = &[607];

#[test]
fn a_thousand_seeds_converge() {
    let mut total = Report::default();
    for seed in REGRESSIONS.iter().copied().chain(0..1_000) {
        let report = run(seed, None).unwrap_or_else(|finding| panic!("{finding}"));
        total.acknowledged += report.acknowledged;
        total.conflicts += report.conflicts;
        total.faults += report.faults;
    }
    // A simulation in which nothing happens proves nothing.
    assert!(total.acknowledged > 50_000 && total.conflicts > 1_000 && total.faults > 50_000, "{total:?}");
}

#[test]
fn a_seed_repeats_exactly() {
    assert_eq!(run(7, None), run(7, None));
}

#[test]
fn every_sabotage_is_noticed() {
    for sabotage in Sabotage::ALL {
        let noticed = (0..200).any(|seed| run(seed, Some(sabotage)).is_err());
        assert!(noticed, "{sabotage:?} went unnoticed for 200 seeds");
    }
}
