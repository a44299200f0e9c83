//! An update of a card from its beginning until it stays, with every write noted and with what showed from outside at each: so that
//! afterwards the power can be cut at any entry of the log, in a phase of one's choice, as often as one likes.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use anyhow::{Context, Result};
use cairn_slots::{SlotId, boot_control::BootState};
use cairn_tests::wait;
use rand::{RngExt, rngs::StdRng};
use serde_json::Value;

use crate::{
    FIRST, SECOND,
    keeper::Kept,
    machine::{Card, Machine},
    newer_of,
    serial::plain,
    update::{UPDATES_WITHIN, stays},
    writes::Log,
};

/// How long the page may take to say where an update is; it is asked again then.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
/// Between two questions where the update is.
const ASKED_EVERY: Duration = Duration::from_millis(200);
/// Between two records that are written meanwhile. Each of them flushes the whole card: not so often that nothing is ever left to lose.
const WRITTEN_EVERY: Duration = Duration::from_secs(3);

/// Where an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Metadata are fetched, both slots are looked through.
    Look,
    /// Fetched and written.
    Write,
    /// The written slot is read back.
    Check,
    /// The boot state was just written, perhaps not flushed.
    Flip,
    /// On the way down, and in the boot loader.
    Restart,
    /// The boot loader has noted the try; the new system starts, up to its hub.
    FirstBoot,
    /// Its hub has been started: opens the records and proves itself.
    Prove,
    /// Confirmed: written, perhaps not flushed, and what follows.
    Confirm,
}

impl Phase {
    pub(crate) const ALL: [Self; 8] = [
        Self::Look,
        Self::Write,
        Self::Check,
        Self::Flip,
        Self::Restart,
        Self::FirstBoot,
        Self::Prove,
        Self::Confirm,
    ];

    /// By what stands on the card, and, where that says no more, by what shows.
    fn of(state: BootState, mark: &Mark) -> Self {
        match state.trial.filter(|_| state.default == SlotId::A) {
            None if state.default == SlotId::B => Self::Confirm,
            None => mark.before_flip,
            Some(trial) if trial.tried && mark.hub_started => Self::Prove,
            Some(trial) if trial.tried => Self::FirstBoot,
            Some(_) if mark.going_down => Self::Restart,
            Some(_) => Self::Flip,
        }
    }
}

/// What showed from outside at a moment.
struct Mark {
    /// Length of the log at that moment, bytes.
    noted: u64,
    before_flip: Phase,
    going_down: bool,
    /// The new system's hub.
    hub_started: bool,
}

/// A notice that the hub has acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) id: String,
    pub(crate) title: String,
    /// Length of the log when its answer was there, bytes.
    noted: u64,
}

impl Acknowledged {
    /// One of before the log.
    pub(crate) const fn before(id: String, title: String) -> Self {
        Self { id, title, noted: 0 }
    }
}

/// What was recorded.
pub(crate) struct Recording {
    pub(crate) log: Log,
    /// After so many entries of the log; nothing before the update was asked for.
    phases: Vec<Option<Phase>>,
    unflushed: Vec<usize>,
    acknowledged: Vec<Acknowledged>,
}

impl Recording {
    /// Follows an update that was asked for until it stays, writing records meanwhile. `at_first` is the boot state at switching on.
    pub(crate) async fn make(
        card: &Card,
        machine: Machine,
        hub: &Kept,
        new: &str,
        at_first: [[u8; 512]; 2],
        acknowledged: Vec<Acknowledged>,
    ) -> Result<Self> {
        let (said, acknowledged, marks) =
            (RefCell::new(Value::Null), RefCell::new(acknowledged), RefCell::new(Vec::new()));
        let written = Cell::new(0);
        let asking = async {
            let mut every = tokio::time::interval(ASKED_EVERY);
            loop {
                every.tick().await;
                // A machine that restarts in the middle of an answer never gives it.
                if let Ok(Ok(status)) = tokio::time::timeout(ANSWERS_WITHIN, hub.updates()).await {
                    said.replace(status);
                }
            }
        };
        let writing = async {
            let mut every = tokio::time::interval(WRITTEN_EVERY);
            loop {
                every.tick().await;
                let title = format!("number {}", written.replace(written.get() + 1));
                let id = tokio::time::timeout(ANSWERS_WITHIN, hub.notice(&title)).await;
                if let (Ok(Ok(id)), Ok(noted)) = (id, card.noted()) {
                    acknowledged.borrow_mut().push(Acknowledged { id, title, noted });
                }
            }
        };
        let watching = wait::until("it stays", UPDATES_WITHIN, async || {
            let noted = card.noted().ok()?;
            let status = said.borrow();
            marks.borrow_mut().push(Mark {
                noted,
                before_flip: before_flip(&status),
                going_down: machine.serial().contains("reboot.target"),
                hub_started: hub_started(&machine.serial()),
            });
            stays(&status, new).then_some(())
        });
        tokio::select! {
            stayed = watching => stayed.with_context(|| format!("at last they stood so: {}", said.borrow()))?,
            () = asking => (),
            () = writing => (),
        }
        drop(machine);
        let log = card.log()?;
        let phases = phases(&log, at_first, &marks.into_inner())?;
        Ok(Self { unflushed: log.unflushed(), phases, log, acknowledged: acknowledged.into_inner() })
    }

    /// Chooses after how many entries the power is cut in a phase; nothing where the phase left no moment of its own in the log.
    pub(crate) fn choose(&self, phase: Phase, chance: &mut StdRng) -> Option<usize> {
        let all: Vec<usize> = (0..self.phases.len()).filter(|at| self.phases[*at] == Some(phase)).collect();
        let open: Vec<usize> = all.iter().copied().filter(|at| self.unflushed[*at] > 0).collect();
        // Often the very entry that begins it: of flip, first boot and confirm that is the boot state's own.
        if chance.random_range(0..3) == 0 {
            return all.first().copied();
        }
        // Else one with something to lose, where there is one.
        let from = if open.is_empty() { all } else { open };
        (!from.is_empty()).then(|| from[chance.random_range(0..from.len())])
    }

    /// The phases with moments of their own.
    pub(crate) fn has(&self, phase: Phase) -> bool {
        self.phases.contains(&Some(phase))
    }

    /// What was acknowledged before the entries after the first so many began: what a cut there must leave.
    pub(crate) fn acknowledged(&self, after: usize) -> Vec<Acknowledged> {
        let by_then = self.acknowledged.iter().filter(|one| self.log.begun(one.noted) <= after);
        by_then.cloned().map(|one| Acknowledged { noted: 0, ..one }).collect()
    }
}

/// Whether the console tells that the hub of a system on trial was started.
fn hub_started(console: &str) -> bool {
    let trial = console.rsplit_once("cairn: slot=b trial=1").map_or("", |(_, trial)| trial);
    trial.lines().any(|line| plain(line).contains("Started cairn.service"))
}

/// Which of what comes before the flip a status tells of.
fn before_flip(status: &Value) -> Phase {
    let progress = |name: &str| status["progress"][name].as_u64().unwrap_or_default();
    let (fetched, all) = (progress("fetched"), progress("to_fetch"));
    match (status["phase"].as_str(), all) {
        (Some("ready"), _) => Phase::Check,
        (_, 0) => Phase::Look,
        _ if fetched >= all => Phase::Check,
        _ => Phase::Write,
    }
}

/// The phase after each number of entries.
fn phases(log: &Log, at_first: [[u8; 512]; 2], marks: &[Mark]) -> Result<Vec<Option<Phase>>> {
    let mut states = Vec::new();
    for (copy, at) in [FIRST, SECOND].into_iter().enumerate() {
        states.extend(log.sector(at)?.into_iter().map(|(after, bytes)| (after, copy, bytes)));
    }
    states.sort_by_key(|(after, ..)| *after);
    let (mut states, mut copies) = (states.into_iter().peekable(), at_first);
    let mut state = newer_of(&copies);
    // A try that was over before says nothing of this update.
    state.trial = state.trial.filter(|trial| !trial.tried);
    let marked: Vec<usize> = marks.iter().map(|mark| log.begun(mark.noted)).collect();
    Ok((0..=log.len())
        .map(|at| {
            while let Some((_, copy, bytes)) = states.next_if(|(after, ..)| *after <= at) {
                copies[copy] = bytes;
                state = newer_of(&copies);
            }
            let mark = marks.get(marked.partition_point(|marked| *marked <= at).checked_sub(1)?)?;
            Some(Phase::of(state, mark))
        })
        .collect())
}

#[test]
fn the_console_tells_when_the_hub_of_a_system_on_trial_was_started() {
    let started =
        "[\u{1b}[0;32m  OK  \u{1b}[0m] Started \u{1b}[0;1;39mcairn.service\u{1b}[0m - Cairn: the hub.\r\n";
    let before = format!("cairn: slot=a trial=0 copies=10\r\n{started}cairn: slot=b trial=1 copies=11\r\n");
    assert!(!hub_started(&before), "the old one's is none");
    assert!(hub_started(&format!("{before}{started}")));
}
