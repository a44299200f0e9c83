//! The power is cut while a card updates itself: at a moment by chance in each phase, losing what was not flushed. After every cut the
//! card must start by itself from the slot that the state machine names, with a version that was trusted, and with every record that was
//! acknowledged; and in the end it is updated.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cairn_slots::SlotId;
use cairn_tests::wait;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    in_force,
    keeper::Kept,
    machine::{Card, Machine},
    repository::Repository,
    update::{UPDATES_WITHIN, claimed, stays},
};

/// Cuts when nobody says how many.
const CUTS: u32 = 8;
/// How often one card is cut at most before it is left alone and must come through.
const CUTS_OF_A_CARD: usize = 12;
/// Between two pieces on the line, so that fetching takes as long as on a slow connection.
const SLOW: Duration = Duration::from_millis(100);

/// How long the page may take to say where an update is; it is asked again then.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

/// Where an update is, as it shows from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Metadata are fetched, both slots are looked through.
    Look,
    /// Fetched and written.
    Write,
    /// The written slot is read back.
    Check,
    /// The boot state is being, or was just, written.
    Flip,
    /// On the way down, and in the boot loader.
    Restart,
    /// The new system starts, up to its page.
    FirstBoot,
    /// The page is there; not confirmed yet.
    Prove,
    /// Confirmed a moment ago.
    Confirm,
}

impl Phase {
    const ALL: [Self; 8] = [
        Self::Look,
        Self::Write,
        Self::Check,
        Self::Flip,
        Self::Restart,
        Self::FirstBoot,
        Self::Prove,
        Self::Confirm,
    ];

    /// How long after its beginning the cut comes at most, milliseconds: about as long as it takes.
    const fn lasts(self) -> u64 {
        match self {
            Self::Look => 20_000,
            Self::Write => 30_000,
            Self::Check | Self::Restart => 15_000,
            Self::Flip => 1_000,
            Self::FirstBoot => 70_000,
            Self::Prove => 8_000,
            Self::Confirm => 2_000,
        }
    }
}

/// What is known while a machine runs.
struct Story {
    card: Card,
    hub: Kept,
    /// What was acknowledged: id and title.
    acknowledged: Vec<(String, String)>,
    old: String,
    new: String,
}

/// What came of a number of cuts.
#[derive(Default)]
struct Tally {
    /// By what was meant and what it hit.
    hit: BTreeMap<Phase, u32>,
    writes: usize,
    lost: usize,
    tries: u32,
    records: usize,
    updated: u32,
}

impl Tally {
    fn cuts(&self) -> u64 {
        self.hit.values().map(|count| u64::from(*count)).sum()
    }

    /// Phases for the cuts of one card, in the order in which an update goes through them: those that were hit the least.
    fn plan(&self, cuts: u64, chance: &mut StdRng) -> Vec<Phase> {
        let mut hit = self.hit.clone();
        let mut planned = Vec::new();
        while planned.len() < CUTS_OF_A_CARD && (planned.len() as u64) < cuts {
            let phases = Phase::ALL.into_iter().filter(|phase| {
                // Once it is confirmed there is nothing left of the update to cut.
                *phase != Phase::Confirm || !planned.contains(phase)
            });
            let count = |phase: &Phase| hit.get(phase).copied().unwrap_or_default();
            let least = phases.min_by_key(|phase| (count(phase), chance.random_range(0..1000)));
            let Some(phase) = least else { break };
            *hit.entry(phase).or_default() += 1;
            planned.push(phase);
        }
        planned.sort();
        planned
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (phase, count) in &self.hit {
            write!(f, "{phase:?} {count}, ")?;
        }
        let Self { writes, lost, tries, records, updated, .. } = self;
        write!(
            f,
            "{writes} writes, of which {lost} were lost or torn; {tries} tries ended by a cut; \
             {records} acknowledged records looked for; {updated} times updated in the end"
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
    let acknowledged = vec![(hub.notice(title).await.unwrap(), title.to_owned())];
    drop(machine);

    let mut tally = Tally::default();
    while tally.cuts() < cuts {
        let mut story = Story {
            card: new_card.copy().unwrap(),
            hub: hub.clone(),
            acknowledged: acknowledged.clone(),
            old: versions[0].clone(),
            new: versions[1].clone(),
        };
        let planned = tally.plan(cuts - tally.cuts(), &mut chance);
        story.play(&planned, &mut chance, &mut tally).await.unwrap_or_else(|error| {
            panic!("seed {seed}, {planned:?}; so far {tally}: {error:?}");
        });
        println!("FIGURE {} of {cuts} power cuts from seed {seed}: {tally}", tally.cuts());
    }
}

impl Story {
    async fn play(&mut self, planned: &[Phase], chance: &mut StdRng, tally: &mut Tally) -> Result<()> {
        let mut machine = self.start(0).await?;
        for (number, phase) in planned.iter().enumerate() {
            let after = Duration::from_millis(chance.random_range(0..phase.lasts()));
            let what = format!("cut {number} in {phase:?} after {after:?}");
            self.until(*phase, &machine).await.context(what.clone())?;
            if *phase != Phase::Confirm && in_force(&self.card).default == SlotId::B {
                println!("{what}: it is confirmed already");
                continue;
            }
            self.write_until(Instant::now() + after, number).await;
            let hit = self.phase(&machine);
            drop(machine);
            let lost = self.card.cut(chance)?;
            *tally.hit.entry(*phase).or_default() += 1;
            tally.writes += lost.kept + lost.torn + lost.dropped + lost.flushed;
            tally.lost += lost.torn + lost.dropped;
            let begun = Instant::now();
            machine = self.start(number + 1).await.context(what.clone())?;
            let came_back = self.came_back(tally).await.context(what.clone())?;
            println!(
                "{what}: {hit}; {lost:?}; back after {:.0} s: {came_back}",
                begun.elapsed().as_secs_f64()
            );
        }
        // Left alone, it is updated.
        self.go_on().await?;
        let new = self.new.clone();
        self.hub.until_updates("it stays", UPDATES_WITHIN, |status| stays(status, &new)).await?;
        self.everything_is_there(tally).await?;
        tally.updated += 1;
        Ok(())
    }

    /// Switches on; the card must start what its boot state says, by itself, up to the page.
    async fn start(&mut self, number: usize) -> Result<Machine> {
        let boot = in_force(&self.card).boot();
        let mut machine = self.card.start_noted(&format!("powercut-{number}"))?;
        self.hub = self.hub.clone().at(&machine);
        machine.until_healthy().await?;
        let line = format!("cairn: slot={} trial={}", boot.slot.letter(), u8::from(boot.trial));
        ensure!(machine.serial().contains(&line), "another slot was started than {line:?}");
        Ok(machine)
    }

    /// The page answers: is everything as it must be?
    async fn came_back(&self, tally: &mut Tally) -> Result<String> {
        let known = |status: &Value| status["slot"].is_string();
        let status = self.hub.until_updates("the slot is known", UPDATES_WITHIN, known).await?;
        let settled = in_force(&self.card).default;
        let newer = status["running"] == self.new.as_str();
        ensure!(newer || status["running"] == self.old.as_str(), "a version that nobody trusts: {status}");
        ensure!(newer || settled == SlotId::A, "an older version than what was settled on: {status}");
        if status["came_back"] == true {
            tally.tries += 1;
        }
        self.everything_is_there(tally).await?;
        Ok(format!("{} in slot {}, {}", status["running"], status["slot"], status["phase"]))
    }

    async fn everything_is_there(&self, tally: &mut Tally) -> Result<()> {
        for (id, title) in &self.acknowledged {
            ensure!(self.hub.has_notice(id, title).await?, "{title} was acknowledged and is gone");
        }
        tally.records += self.acknowledged.len();
        Ok(())
    }

    /// Whatever state it is in: asks for the next step towards the new version.
    async fn go_on(&self) -> Result<()> {
        let known = |status: &Value| status["slot"].is_string();
        let status = self.hub.until_updates("the slot is known", UPDATES_WITHIN, known).await?;
        if status["running"] == self.new.as_str() {
            return Ok(());
        }
        let failed = status["failed"].as_array().is_some_and(|failed| !failed.is_empty());
        if failed {
            // A cut during the try counts as a failed try, and is told as one.
            self.hub.ask(json!({ "try_again": self.new })).await?;
        }
        self.hub.ask(json!("look")).await?;
        let fresh = |status: &Value| {
            status["offer"]["version"] == self.new.as_str() && status["offer"]["failed_before"] == false
        };
        self.hub.until_updates("it is offered", UPDATES_WITHIN, fresh).await?;
        self.hub.ask(json!("now")).await
    }

    /// Waits until an update has come so far, or further; sets it going where it is not.
    async fn until(&self, phase: Phase, machine: &Machine) -> Result<()> {
        let from = machine.serial().len();
        self.go_on().await?;
        wait::until(&format!("an update is in {phase:?}"), UPDATES_WITHIN, async || {
            // While one copy of the boot state is being written the other one counts.
            let state = in_force(&self.card);
            let confirmed = state.default == SlotId::B;
            let flipped = confirmed || state.trial.is_some();
            let tried = confirmed || state.trial.is_some_and(|trial| trial.tried);
            let progress = |status: &Value, name: &str| status["progress"][name].as_u64().unwrap_or_default();
            let come = match phase {
                Phase::Look => true,
                Phase::Write => flipped || progress(&self.status().await?, "to_fetch") > 0,
                Phase::Check => {
                    flipped || {
                        let status = self.status().await?;
                        let (fetched, wanted) = (progress(&status, "fetched"), progress(&status, "to_fetch"));
                        status["phase"] == "ready" || wanted > 0 && fetched >= wanted
                    }
                }
                Phase::Flip => flipped,
                Phase::Restart => tried || machine.serial_since(from).contains("reboot.target"),
                Phase::FirstBoot => tried,
                Phase::Prove => confirmed || tried && self.status().await?["running"] == self.new.as_str(),
                Phase::Confirm => confirmed,
            };
            come.then_some(())
        })
        .await
    }

    /// Where updates stand; a machine that restarts in the middle of the answer never gives one.
    async fn status(&self) -> Option<Value> {
        tokio::time::timeout(ANSWERS_WITHIN, self.hub.updates()).await.ok()?.ok()
    }

    /// Writes records until then. Only what was acknowledged is asked for later.
    async fn write_until(&mut self, moment: Instant, cut: usize) {
        let mut number = 0;
        while Instant::now() < moment {
            let title = format!("during cut {cut}, number {number}");
            let left = moment.saturating_duration_since(Instant::now());
            if let Ok(Ok(id)) = tokio::time::timeout(left, self.hub.notice(&title)).await {
                self.acknowledged.push((id, title));
                number += 1;
            }
            let left = moment.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(Duration::from_millis(300))).await;
        }
    }

    /// What the cut hits, by what stands on the card and on the serial port.
    fn phase(&self, machine: &Machine) -> String {
        let serial = machine.serial();
        let last = serial.lines().rev().map(crate::serial::plain).find(|line| !line.is_empty());
        let state = in_force(&self.card);
        let trial = state.trial.map_or_else(
            || "no trial".to_owned(),
            |trial| format!("trial of {}{}", trial.slot, if trial.tried { ", tried" } else { "" }),
        );
        format!("settled on {}, {trial}; last on the console: {:?}", state.default, last.unwrap_or_default())
    }
}
