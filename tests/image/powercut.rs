//! The power is cut while a card updates itself: at an entry of the log of what it wrote, chosen in each phase, losing what was not flushed. After
//! every cut the card must start by itself from the slot that the state machine names, with a version that was trusted, and with every
//! record that was acknowledged by then; and from there it can be updated still.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result, ensure};
use cairn_slots::SlotId;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    FIRST, SECOND, in_force,
    keeper::Kept,
    machine::{Card, Machine, STARTS_WITHIN},
    recording::{Acknowledged, Phase, Recording},
    repository::Repository,
    update::{UPDATES_WITHIN, claimed},
};

/// Cuts when nobody says how many.
const CUTS: u32 = 8;
/// How often one update is cut at most, before another one begins from what one of the cuts left.
const CUTS_OF_AN_UPDATE: u64 = 13;
/// Between two pieces on the line, so that fetching takes as long as on a slow connection.
const SLOW: std::time::Duration = std::time::Duration::from_millis(100);

/// A card, and what is known of it.
struct Story {
    card: Card,
    hub: Kept,
    acknowledged: Vec<Acknowledged>,
    old: String,
    new: String,
}

/// What the cuts of one phase did.
#[derive(Default)]
struct Hit {
    cuts: u32,
    /// Cuts that found writes which were not flushed.
    open: u32,
    writes: usize,
    lost: usize,
}

/// What came of a number of cuts.
#[derive(Default)]
struct Tally {
    /// By what they hit.
    hit: BTreeMap<Phase, Hit>,
    tries: u32,
    records: usize,
    updated: u32,
}

impl Tally {
    fn cuts(&self) -> u64 {
        self.hit.values().map(|hit| u64::from(hit.cuts)).sum()
    }

    /// The phase that was hit the least, of those with a moment in this recording.
    fn next(&self, recording: &Recording, chance: &mut StdRng) -> Option<Phase> {
        let count = |phase: &Phase| self.hit.get(phase).map_or(0, |hit| hit.cuts);
        let can_come = Phase::ALL.into_iter().filter(|phase| recording.has(*phase));
        can_come.min_by_key(|phase| (count(phase), chance.random_range(0..1000)))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (phase, Hit { cuts, open, writes, lost }) in &self.hit {
            write!(
                f,
                "{phase:?} {cuts} ({open} found {writes} unflushed writes, {lost} of them lost or torn), "
            )?;
        }
        let Self { tries, records, updated, .. } = self;
        write!(
            f,
            "{tries} tries ended by a cut; {records} acknowledged records looked for; {updated} times updated in the end"
        )
    }
}

fn number(name: &str, otherwise: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(otherwise), |text| text.parse().with_context(|| format!("{name}={text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_power_is_cut_at_any_moment() {
    let cuts = number("CAIRN_CUTS", CUTS.into()).unwrap();
    let seed = number("CAIRN_SEED", 1).unwrap();
    println!("{cuts} cuts from seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let repository = Repository::serve().await.unwrap();
    let versions = repository.versions().unwrap();
    repository.publish(&versions[1]).unwrap();
    repository.slow(SLOW);
    let new_card = Card::new().unwrap();
    let mut machine = new_card.start("powercut-first").unwrap();
    let hub = claimed(&mut machine).await.unwrap();
    let title = "before everything";
    let acknowledged = vec![Acknowledged::before(hub.notice(title).await.unwrap(), title.to_owned())];
    drop(machine);

    let (mut tally, mut left) = (Tally::default(), None);
    while tally.cuts() < cuts {
        let (card, acknowledged) =
            left.take().unwrap_or_else(|| (new_card.copy().unwrap(), acknowledged.clone()));
        let (old, new) = (versions[0].clone(), versions[1].clone());
        let mut story = Story { card, hub: hub.clone(), acknowledged, old, new };
        let most = (cuts - tally.cuts()).min(CUTS_OF_AN_UPDATE);
        match story.play(most, &mut chance, &mut tally).await {
            Ok(next) => left = next,
            Err(error) => panic!("seed {seed}, after {tally}: {error:?}"),
        }
        println!("FIGURE {} of {cuts} power cuts from seed {seed}: {tally}", tally.cuts());
    }
}

impl Story {
    /// Updates the card, and cuts its power at so many moments of that. Gives one that is not updated because of a cut.
    async fn play(
        &mut self,
        cuts: u64,
        chance: &mut StdRng,
        tally: &mut Tally,
    ) -> Result<Option<(Card, Vec<Acknowledged>)>> {
        let recording = self.update(tally).await?;
        let mut left = None;
        for _ in 0..cuts {
            let phase = tally.next(&recording, chance).context("nothing was recorded")?;
            let after = recording.choose(phase, chance).context("a phase without a moment")?;
            let what = format!(
                "cut {} in {phase:?}, after {after} of {} entries",
                tally.cuts(),
                recording.log.len()
            );
            let (card, lost) = self.card.cut(&recording.log, after, chance)?;
            println!("{what}: {lost:?}");
            let hit = tally.hit.entry(phase).or_default();
            hit.cuts += 1;
            hit.open += u32::from(lost.unflushed() > 0);
            hit.writes += lost.unflushed();
            hit.lost += lost.torn + lost.dropped;
            let cut = Self {
                card,
                hub: self.hub.clone(),
                acknowledged: recording.acknowledged(after),
                old: self.old.clone(),
                new: self.new.clone(),
            };
            let (machine, _) = cut.start(false, tally).await.context(what)?;
            drop(machine);
            if in_force(&cut.card).default == SlotId::A {
                left = Some((cut.card, cut.acknowledged));
            }
        }
        Ok(left)
    }

    /// The whole way, noted.
    async fn update(&mut self, tally: &mut Tally) -> Result<Recording> {
        let copy = |at| Ok::<_, anyhow::Error>(self.card.read(at, 512)?.try_into().unwrap_or([0; 512]));
        let at_first = [copy(FIRST)?, copy(SECOND)?];
        let (machine, hub) = self.start(true, tally).await?;
        self.go_on(&hub).await?;
        let acknowledged = std::mem::take(&mut self.acknowledged);
        let recording = Recording::make(&self.card, machine, &hub, &self.new, at_first, acknowledged).await?;
        tally.updated += 1;
        println!("updated, in {} entries of the log", recording.log.len());
        Ok(recording)
    }

    /// Switches on. The card must start what its boot state says, by itself, and everything must be as it was.
    async fn start(&self, noted: bool, tally: &mut Tally) -> Result<(Machine, Kept)> {
        let boot = in_force(&self.card).boot();
        let mut machine =
            if noted { self.card.start_noted("powercut")? } else { self.card.start("powercut-back")? };
        let hub = self.hub.clone().at(&machine);
        // The end of the line is on the port by then.
        let chosen = machine.until_it_says_after(0, &["cairn: slot=", " copies="], STARTS_WITHIN).await?;
        let line = format!("cairn: slot={} trial={}", boot.slot.letter(), u8::from(boot.trial));
        ensure!(chosen.contains(&line), "another slot was started than {line:?}");
        machine.until_healthy().await?;
        let known = |status: &Value| status["slot"].is_string();
        let status = hub.until_updates("the slot is known", UPDATES_WITHIN, known).await?;
        let belongs = if boot.slot == SlotId::A { &self.old } else { &self.new };
        ensure!(status["running"] == belongs.as_str(), "slot {:?} runs another version: {status}", boot.slot);
        tally.tries += u32::from(failed(&status));
        println!(
            "  back after {:.0} s: {} in slot {}, {}; {} records",
            machine.age().as_secs_f64(),
            status["running"],
            status["slot"],
            status["phase"],
            self.acknowledged.len()
        );
        for Acknowledged { id, title, .. } in &self.acknowledged {
            ensure!(hub.has_notice(id, title).await?, "{title} was acknowledged and is gone");
        }
        tally.records += self.acknowledged.len();
        Ok((machine, hub))
    }

    /// Whatever state it is in: asks for the next step towards the new version.
    async fn go_on(&self, hub: &Kept) -> Result<()> {
        let status = hub.updates().await?;
        if status["running"] == self.new.as_str() {
            return Ok(());
        }
        if failed(&status) {
            // A cut during the try counts as a failed try, and is told as one.
            hub.ask(json!({ "try_again": self.new })).await?;
        }
        hub.ask(json!("look")).await?;
        let fresh = |status: &Value| {
            status["offer"]["version"] == self.new.as_str() && status["offer"]["failed_before"] == false
        };
        hub.until_updates("it is offered", UPDATES_WITHIN, fresh).await?;
        hub.ask(json!("now")).await
    }
}

fn failed(status: &Value) -> bool {
    status["failed"].as_array().is_some_and(|failed| !failed.is_empty())
}
