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
    machine::{Card, Machine, STARTS_WITHIN},
    repository::Repository,
    serial::plain,
    update::{UPDATES_WITHIN, claimed, stays},
};

/// Cuts when nobody says how many.
const CUTS: u32 = 8;
/// How often one card is cut at most before it is left alone and must come through.
const CUTS_OF_A_CARD: u64 = 12;
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
            Self::Look => 8_000,
            Self::Write => 12_000,
            Self::Check => 5_000,
            Self::Prove => 1_500,
            Self::Flip => 500,
            Self::Restart => 12_000,
            Self::FirstBoot => 60_000,
            Self::Confirm => 2_000,
        }
    }

    /// Whether a machine whose new system is on trial can still come into it.
    const fn of_a_trial(self) -> bool {
        matches!(self, Self::FirstBoot | Self::Prove | Self::Confirm)
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
    /// What updates said last in this run of the machine.
    said: Value,
}

/// What came of a number of cuts.
#[derive(Default)]
struct Tally {
    /// By what they hit.
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

    /// The phase that was hit the least, of those that can still come.
    fn next(&self, on_trial: bool, chance: &mut StdRng) -> Phase {
        let count = |phase: &Phase| self.hit.get(phase).copied().unwrap_or_default();
        let can_come = Phase::ALL.into_iter().filter(|phase| phase.of_a_trial() || !on_trial);
        can_come.min_by_key(|phase| (count(phase), chance.random_range(0..1000))).unwrap_or(Phase::Confirm)
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
            said: Value::Null,
        };
        let most = (cuts - tally.cuts()).min(CUTS_OF_A_CARD);
        if let Err(error) = story.play(most, &mut chance, &mut tally).await {
            panic!("seed {seed}, after {tally}: {error:?}");
        }
        println!("FIGURE {} of {cuts} power cuts from seed {seed}: {tally}", tally.cuts());
    }
}

impl Story {
    /// Cuts one card's power at most so often, until it is updated.
    async fn play(&mut self, most: u64, chance: &mut StdRng, tally: &mut Tally) -> Result<()> {
        let mut machine = self.start().await?;
        let (mut cuts, mut on_trial) = (0, false);
        while cuts < most && in_force(&self.card).default == SlotId::A {
            let phase = tally.next(on_trial, chance);
            let after = Duration::from_millis(chance.random_range(0..phase.lasts()));
            let what = format!("cut {} meant for {phase:?}, {} ms in", tally.cuts(), after.as_millis());
            // A trial goes on by itself, and is over before everything of before was looked for; that is done after the cut.
            if !on_trial {
                self.back(&mut machine, tally).await.context(what.clone())?;
                self.go_on().await.context(what.clone())?;
            }
            self.until(phase, &machine).await.context(what.clone())?;
            if phase != Phase::Confirm && in_force(&self.card).default == SlotId::B {
                break;
            }
            self.write_until(Instant::now() + after).await;
            let hit = self.phase(&machine);
            let console = machine.serial().lines().rev().map(plain).find(|line| !line.is_empty());
            drop(machine);
            let lost = self.card.cut(chance)?;
            cuts += 1;
            *tally.hit.entry(hit).or_default() += 1;
            tally.writes += lost.kept + lost.torn + lost.dropped + lost.flushed;
            tally.lost += lost.torn + lost.dropped;
            on_trial = in_force(&self.card).boot().trial;
            println!("{what}: hit {hit:?} at {:?}; {lost:?}", console.unwrap_or_default());
            machine = self.start().await.context(what)?;
        }
        // Left alone, it is updated.
        self.back(&mut machine, tally).await?;
        self.go_on().await?;
        let new = self.new.clone();
        self.hub.until_updates("it stays", UPDATES_WITHIN, |status| stays(status, &new)).await?;
        self.everything_is_there(tally).await?;
        tally.updated += 1;
        Ok(())
    }

    /// Switches on; the card must start what its boot state says, by itself.
    async fn start(&mut self) -> Result<Machine> {
        let boot = in_force(&self.card).boot();
        let mut machine = self.card.start_noted("powercut")?;
        self.hub = self.hub.clone().at(&machine);
        self.said = Value::Null;
        // The end of the line is on the port by then.
        let chosen = machine.until_it_says_after(0, &["cairn: slot=", " copies="], STARTS_WITHIN).await?;
        let line = format!("cairn: slot={} trial={}", boot.slot.letter(), u8::from(boot.trial));
        ensure!(chosen.contains(&line), "another slot was started than {line:?}");
        Ok(machine)
    }

    /// Waits for the page, and looks whether everything is as it must be.
    async fn back(&self, machine: &mut Machine, tally: &mut Tally) -> Result<()> {
        machine.until_healthy().await?;
        let known = |status: &Value| status["slot"].is_string();
        let status = self.hub.until_updates("the slot is known", UPDATES_WITHIN, known).await?;
        let newer = status["running"] == self.new.as_str();
        ensure!(newer || status["running"] == self.old.as_str(), "a version that nobody trusts: {status}");
        let settled = in_force(&self.card).default;
        ensure!(newer || settled == SlotId::A, "an older version than what was settled on: {status}");
        let failed = status["failed"].as_array().is_some_and(|failed| !failed.is_empty());
        tally.tries += u32::from(failed);
        println!(
            "  back after {:.0} s: {} in slot {}, {}; {} records",
            machine.age().as_secs_f64(),
            status["running"],
            status["slot"],
            status["phase"],
            self.acknowledged.len()
        );
        self.everything_is_there(tally).await
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

    /// Waits until an update has come so far, or further.
    async fn until(&mut self, phase: Phase, machine: &Machine) -> Result<()> {
        let mut said = Value::Null;
        wait::until(&format!("an update is in {phase:?}"), UPDATES_WITHIN, async || {
            // While one copy of the boot state is being written the other one counts.
            let state = in_force(&self.card);
            let confirmed = state.default == SlotId::B;
            let flipped = confirmed || state.trial.is_some();
            let tried = confirmed || state.trial.is_some_and(|trial| trial.tried);
            let come = match phase {
                Phase::Look => true,
                Phase::Write | Phase::Check if flipped => true,
                Phase::Prove if confirmed => true,
                Phase::Write | Phase::Check | Phase::Prove => {
                    said = self.status().await?;
                    match phase {
                        Phase::Prove => tried && self.is_new(&said),
                        Phase::Check => fetched(&said),
                        _ => writes(&said),
                    }
                }
                Phase::Flip => flipped,
                Phase::Restart => tried || machine.serial().contains("reboot.target"),
                Phase::FirstBoot => tried,
                Phase::Confirm => confirmed,
            };
            come.then_some(())
        })
        .await?;
        self.said = said;
        Ok(())
    }

    fn is_new(&self, status: &Value) -> bool {
        status["running"] == self.new.as_str()
    }

    /// Where updates stand; a machine that restarts in the middle of the answer never gives one.
    async fn status(&self) -> Option<Value> {
        tokio::time::timeout(ANSWERS_WITHIN, self.hub.updates()).await.ok()?.ok()
    }

    /// Waits until then. In the first half of the time it writes records, of which only what was acknowledged is asked for later; each of them
    /// flushes the whole card, so that the second half leaves something to lose.
    async fn write_until(&mut self, moment: Instant) {
        let quiet = Instant::now() + moment.saturating_duration_since(Instant::now()) / 2;
        while Instant::now() < moment {
            let left = moment.saturating_duration_since(Instant::now());
            let work = async {
                if Instant::now() < quiet {
                    let title = format!("number {}", self.acknowledged.len());
                    if let Ok(id) = self.hub.notice(&title).await {
                        self.acknowledged.push((id, title));
                    }
                }
                if let Ok(said) = self.hub.updates().await {
                    self.said = said;
                }
            };
            tokio::time::timeout(left, work).await.ok();
            let left = moment.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(Duration::from_millis(100))).await;
        }
    }

    /// What the cut hits, by what stands on the card, on the serial port, and on the page.
    fn phase(&self, machine: &Machine) -> Phase {
        let state = in_force(&self.card);
        let trial = state.trial.filter(|_| state.default == SlotId::A);
        match trial {
            None if state.default == SlotId::B => Phase::Confirm,
            None if fetched(&self.said) => Phase::Check,
            None if writes(&self.said) => Phase::Write,
            None => Phase::Look,
            Some(trial) if trial.tried && self.is_new(&self.said) => Phase::Prove,
            Some(trial) if trial.tried => Phase::FirstBoot,
            Some(_) if machine.serial().contains("reboot.target") => Phase::Restart,
            Some(_) => Phase::Flip,
        }
    }
}

fn progress(status: &Value, name: &str) -> u64 {
    status["progress"][name].as_u64().unwrap_or_default()
}

/// Whether a status says that a system is being written.
fn writes(status: &Value) -> bool {
    progress(status, "to_fetch") > 0
}

/// Whether it says that everything of it was fetched.
fn fetched(status: &Value) -> bool {
    status["phase"] == "ready"
        || writes(status) && progress(status, "fetched") >= progress(status, "to_fetch")
}
