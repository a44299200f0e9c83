//! A thousand seeds of the synchronisation simulator, and the proof that it notices mistakes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::{num::NonZero, thread};

use cairn_tests::simulation::{Report, Sabotage, run};

/// Seeds that once found something, kept for ever.
const REGRESSIONS: &[u64] = &[607, 6_105, 21_286];

#[test]
fn a_thousand_seeds_converge() {
    let seeds: Vec<u64> = REGRESSIONS.iter().copied().chain(0..1_000).collect();
    // A seed is a world of its own, so that every core plays a share of them.
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut total = Report::default();
    thread::scope(|scope| {
        let shares: Vec<_> = (0..cores)
            .map(|share| {
                let seeds = seeds.iter().copied().skip(share).step_by(cores);
                scope.spawn(move || seeds.map(|seed| run(seed, None)).collect::<Result<Vec<_>, _>>())
            })
            .collect();
        for share in shares {
            let reports = share.join().unwrap().unwrap_or_else(|finding| panic!("{finding}"));
            for report in reports {
                total.acknowledged += report.acknowledged;
                total.conflicts += report.conflicts;
                total.faults += report.faults;
            }
        }
    });
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
