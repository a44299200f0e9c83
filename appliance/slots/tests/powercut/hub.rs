//! A hub that lives through a story with the real code: boots, writes records, installs, proves itself, comes back.

use cairn_bundle::{PayloadKind, Plan};
use cairn_slots::{
    BootControl, BootFlow, BootFlowError, Capabilities, Install, Outcome, Partitions, SlotId, SlotPair,
    System, SystemError,
    boot_control::Places,
    durable::{Files, replace},
    health::{Failure, Probe},
    record::Then,
    survey,
};

use crate::{
    card::{Card, CardFiles, CardPart, PLACES, Part},
    random::Random,
    releases::{Health, Release, SIZES},
};

/// Most boots that a story may take, so that a loop is noticed.
const MAX_BOOTS: usize = 24;
/// Blocks between two flushes of an install.
const FLUSH_AFTER: u64 = 7;
const RECORDS: &str = "records";

/// What happens.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    /// Of each release.
    pub(crate) health: Vec<Health>,
    /// The second release is published before the first is restarted into.
    pub(crate) overtaken: bool,
}

/// What is wrong with the code, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    SlotNotFlushed,
    FlippedBeforeWritten,
    WrittenWhileOnTrial,
    OneCopyOfTheBootState,
    RecordNotSynced,
}

impl Fault {
    pub(crate) const ON_PURPOSE: [Self; 5] = [
        Self::SlotNotFlushed,
        Self::FlippedBeforeWritten,
        Self::WrittenWhileOnTrial,
        Self::OneCopyOfTheBootState,
        Self::RecordNotSynced,
    ];
}

/// How a life ended for now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Settled,
    Cut,
}

/// Why a life stopped: the power, or a promise that was not kept.
enum Stop {
    Cut,
    Broken(String),
}

impl Stop {
    /// Only the power may make a step fail.
    fn of(error: &dyn std::error::Error) -> Self {
        let text = error.to_string();
        if text.contains("the power went") { Self::Cut } else { Self::Broken(text) }
    }
}

pub(crate) struct Hub<'a> {
    pub(crate) card: Card,
    releases: &'a [Release; 3],
    story: &'a Story,
    fault: Fault,
    /// The newest release that was settled on.
    floor: usize,
    tried: [u32; 3],
    running: usize,
    overtook: bool,
    /// Records acknowledged, and begun.
    acknowledged: u64,
    begun: u64,
}

impl<'a> Hub<'a> {
    pub(crate) fn new(card: Card, releases: &'a [Release; 3], story: &'a Story, fault: Fault) -> Self {
        let (floor, running, overtook) = (0, 0, false);
        Self {
            card,
            releases,
            story,
            fault,
            floor,
            tried: [0; 3],
            running,
            overtook,
            acknowledged: 0,
            begun: 0,
        }
    }

    /// Until the story is over or the power goes.
    pub(crate) fn live(&mut self) -> Result<End, String> {
        for _ in 0..MAX_BOOTS {
            match self.one_start() {
                Ok(true) => return Ok(End::Settled),
                Ok(false) => {}
                Err(Stop::Cut) => return Ok(End::Cut),
                Err(Stop::Broken(why)) => return Err(why),
            }
        }
        Err("the hub restarts for ever".to_owned())
    }

    fn control(&self) -> BootControl<CardPart> {
        let one = Places { first: PLACES.first, second: PLACES.first };
        let places = if self.fault == Fault::OneCopyOfTheBootState { one } else { PLACES };
        BootControl::new(self.card.part(Part::Control, true), places)
    }

    fn files(&self) -> CardFiles {
        self.card.files(self.fault != Fault::RecordNotSynced)
    }

    fn slot(&self, slot: SlotId) -> Partitions<CardPart> {
        let part = |kind| self.card.part(Part::Slot(slot, kind), self.fault != Fault::SlotNotFlushed);
        Partitions { boot: part(PayloadKind::Boot), root: part(PayloadKind::Root) }
    }

    /// Which whole release stands in a slot.
    fn whole(&self, slot: SlotId) -> Option<usize> {
        self.releases.iter().position(|release| {
            PayloadKind::ALL.into_iter().all(|kind| {
                let content = &release.payloads[kind as usize];
                self.card.content(slot, kind, content.len()) == *content
            })
        })
    }

    /// One start; `true` when there is nothing more to do.
    fn one_start(&mut self) -> Result<bool, Stop> {
        let broken = |text: String| Err(Stop::Broken(text));
        let boot = self.control().boot().map_err(|error| Stop::of(&error))?;
        let Some(running) = self.whole(boot.slot) else {
            return broken(format!("slot {} boots and is no whole signed system", boot.slot));
        };
        if running < self.floor {
            return broken(format!("release {running} boots after {} was settled on", self.floor));
        }
        self.running = running;
        if !boot.trial {
            self.floor = running;
        }
        self.check_records()?;
        let version = self.releases[running].head.manifest.version;
        let flow = Flow { control: self.control(), keeps_trial: self.fault == Fault::WrittenWhileOnTrial };
        let system = System::new(flow, self.files(), boot.slot, version);
        let stop = |error: SystemError| Stop::of(&error);
        let then = system.start().map_err(stop)?;
        self.write_record()?;
        if (then == Then::ProveItself) != boot.trial {
            return broken(format!("a start with trial {} is taken for {then:?}", boot.trial));
        }
        if then == Then::ProveItself {
            self.tried[running] += 1;
            if self.tried[running] > 1 {
                return broken(format!("release {running} is tried again"));
            }
            match self.story.health[running] {
                Health::Good => {
                    system.confirm().map_err(stop)?;
                    self.floor = running;
                }
                Health::Unfit => {
                    let reason = "the page did not answer".to_owned();
                    system.fail(Failure { probe: Some(Probe::Page), reason }).map_err(stop)?;
                    self.card.restart();
                    return Ok(false);
                }
                Health::Hangs => {
                    // The watchdog resets the board: what was not flushed is gone.
                    self.card.cut(0, &mut Random::new(1));
                    return Ok(false);
                }
            }
        }
        self.update(&system, boot.slot)
    }

    /// Looks for an update and installs it; `true` when there is none.
    fn update<B: BootFlow>(&mut self, system: &System<B, CardFiles>, slot: SlotId) -> Result<bool, Stop> {
        let record = system.record().map_err(|error| Stop::of(&error))?;
        let running = self.releases[self.running].head.manifest.version;
        let mut next = self.running + 1;
        while let Some(release) = self.releases.get(next) {
            let may = record.may_try(&release_of(release), running);
            match (self.tried[next] > 0, may) {
                (false, Ok(())) => break,
                (true, Err(_)) => next += 1,
                (true, Ok(())) => {
                    return Err(Stop::Broken(format!("release {next} failed and was forgotten")));
                }
                // The one try was begun by the boot loader and the power went before it was a start.
                (false, Err(_)) => next += 1,
            }
        }
        if next >= self.releases.len() {
            return Ok(true);
        }
        self.install(system, slot, next)?;
        if self.story.overtaken && !self.overtook && next + 1 < self.releases.len() {
            self.overtook = true;
            self.install(system, slot, next + 1)?;
        }
        system.arm().map_err(|error| Stop::of(&error))?;
        self.card.restart();
        Ok(false)
    }

    fn install<B: BootFlow>(
        &mut self,
        system: &System<B, CardFiles>,
        running: SlotId,
        next: usize,
    ) -> Result<(), Stop> {
        let release = &self.releases[next];
        let target = system.open_for_writing().map_err(|error| Stop::of(&error))?;
        if target == running {
            return Err(Stop::Broken("the running slot is given away for writing".to_owned()));
        }
        if self.fault == Fault::FlippedBeforeWritten {
            BootFlow::try_once(&self.control(), target).map_err(|error| Stop::of(&error))?;
        }
        let pair = SlotPair { active: self.slot(running), target: self.slot(target) };
        let held =
            survey(&release.head, &pair, SIZES.map(|size| size as u64)).map_err(|error| Stop::of(&error))?;
        let plan = Plan::chunks(&release.head, &held.local, &held.in_place);
        let mut install = Install::new(&release.head, &plan, &pair);
        let mut blocks = 0;
        loop {
            while install.write_next().map_err(|error| Stop::of(&error))?.is_some() {
                blocks += 1;
                if blocks % FLUSH_AFTER == 0 {
                    install.flush().map_err(|error| Stop::of(&error))?;
                    self.write_record()?;
                }
            }
            let Some(range) = install.wants() else { break };
            let bytes =
                &release.file[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            install.feed(bytes).map_err(|error| Stop::of(&error))?;
        }
        install.finish().map_err(|error| Stop::of(&error))?;
        if self.fault == Fault::FlippedBeforeWritten {
            return Ok(());
        }
        let fresh = self.slot(target);
        system
            .try_new(&fresh, &release.head.manifest, release.manifest, || {})
            .map_err(|error| Stop::of(&error))
    }

    /// A record of a person: acknowledged once it is durable.
    fn write_record(&mut self) -> Result<(), Stop> {
        self.begun = self.begun.max(self.acknowledged) + 1;
        replace(&self.card.files(true), RECORDS, &self.begun.to_le_bytes())
            .map_err(|error| Stop::of(&error))?;
        self.acknowledged = self.begun;
        Ok(())
    }

    fn check_records(&mut self) -> Result<(), Stop> {
        let kept = self.card.files(true).read(RECORDS).map_err(|error| Stop::of(&error))?;
        let kept = kept.map_or(0, |bytes| bytes.as_slice().try_into().map_or(u64::MAX, u64::from_le_bytes));
        if kept < self.acknowledged || kept > self.begun {
            let text = format!("{} records were acknowledged and {kept} are there", self.acknowledged);
            return Err(Stop::Broken(text));
        }
        self.acknowledged = kept;
        Ok(())
    }

    /// The story's end: the newest good release, unless the power went while it was being tried.
    pub(crate) fn ended_well(&self) -> Result<(), String> {
        let good = self.story.health.iter().rposition(|health| *health == Health::Good).unwrap();
        let record = System::new(self.control(), self.files(), SlotId::A, "0.0.0".parse().unwrap())
            .record()
            .map_err(|error| error.to_string())?;
        let lost = record.bad.iter().any(|bad| bad.release.manifest == self.releases[good].manifest);
        if self.running == good || lost {
            Ok(())
        } else {
            Err(format!("it ended with release {}", self.running))
        }
    }

    /// Installs release 1 and changes a byte of it behind the supervisor's back.
    pub(crate) fn tamper(&mut self, random: &mut Random) -> (PayloadKind, usize) {
        let release = &self.releases[1];
        let slot = self.slot(SlotId::B);
        for kind in PayloadKind::ALL {
            use cairn_slots::BlockDevice;
            slot.of(kind).write_at(0, &release.payloads[kind as usize]).unwrap();
        }
        let kind = PayloadKind::ALL[random.below(2) as usize];
        let at = random.below(release.payloads[kind as usize].len() as u64) as usize;
        self.card.spoil(SlotId::B, kind, at);
        (kind, at)
    }

    pub(crate) fn try_tampered(&self) -> String {
        let system = System::new(self.control(), self.files(), SlotId::A, "1.0.0".parse().unwrap());
        let release = &self.releases[1];
        let tried = system.try_new(&self.slot(SlotId::B), &release.head.manifest, release.manifest, || {});
        tried.map_or_else(|error| error.to_string(), |()| "it was accepted".to_owned())
    }

    pub(crate) fn boots_old(&self) -> bool {
        self.control().boot().unwrap().slot == SlotId::A
    }
}

fn release_of(release: &Release) -> cairn_slots::record::Release {
    cairn_slots::record::Release { version: release.head.manifest.version, manifest: release.manifest }
}

/// The real flow, or one that forgets to take a slot from trial before it is written to.
struct Flow {
    control: BootControl<CardPart>,
    keeps_trial: bool,
}

impl BootFlow for Flow {
    fn capabilities(&self) -> Capabilities {
        self.control.capabilities()
    }

    fn outcome(&self, running: SlotId) -> Result<Outcome, BootFlowError> {
        self.control.outcome(running)
    }

    fn open_for_writing(&self, running: SlotId) -> Result<SlotId, BootFlowError> {
        if self.keeps_trial { Ok(running.other()) } else { self.control.open_for_writing(running) }
    }

    fn try_once(&self, slot: SlotId) -> Result<(), BootFlowError> {
        BootFlow::try_once(&self.control, slot)
    }

    fn confirm(&self, running: SlotId) -> Result<(), BootFlowError> {
        BootFlow::confirm(&self.control, running)
    }

    fn give_up(&self) -> Result<(), BootFlowError> {
        BootFlow::give_up(&self.control)
    }
}
