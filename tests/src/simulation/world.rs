//! Virtual time, the network, and misfortune.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use cairn_sync::{
    ChangeId, HubId, RecordId,
    authority::Outcome,
    change::Change,
    round::{self, mismatches},
    session::{Command, Failure, Input, Session, Stop, Way, Why},
    wire::{Reply, Request, RequestId, ScopeId},
};
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};

use super::{
    Finding, Report, Sabotage, check,
    gateway::{Gateway, Served},
    hub::{Card, Hub},
    person,
};

/// How long people write and things go wrong, in milliseconds.
const TROUBLED_MS: u64 = 6 * 60 * 60 * 1000;
/// How long everything may take to come to rest afterwards, in milliseconds.
const HEALING_MS: u64 = 24 * 60 * 60 * 1000;
/// More events than this in one run is an endless loop.
const MAX_EVENTS: u64 = 400_000;
/// Wall clocks: 1970, 2026 and 2106, in milliseconds.
const CLOCKS: [u64; 3] = [0, 1_795_000_000_000, 4_291_747_200_000];

enum Event {
    Person(usize),
    Tick {
        hub: usize,
        life: u32,
    },
    Request {
        hub: usize,
        life: u32,
        to: RequestId,
        bytes: Vec<u8>,
    },
    /// On the connection that carried request `to`.
    Answer {
        hub: usize,
        life: u32,
        to: RequestId,
        answer: Answer,
    },
    Start {
        hub: usize,
        life: u32,
    },
    Misfortune,
}

#[derive(Clone)]
enum Answer {
    Bytes(Vec<u8>),
    Failed(Failure),
}

/// Everything there is in one run.
pub(super) struct World {
    rng: SmallRng,
    sabotage: Option<Sabotage>,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    pub(super) hubs: Vec<Hub>,
    pub(super) gateway: Gateway,
    instances_down_until: Vec<u64>,
    scopes: Vec<ScopeId>,
    /// Every write that somebody was told is saved, unless a restored backup undid it before it got out.
    pub(super) acknowledged: BTreeMap<ChangeId, Change>,
    /// Writes that a restored backup undid on their hub. What was under way may still arrive and take effect.
    pub(super) undone: BTreeMap<ChangeId, Change>,
    pub(super) healed_scopes: usize,
    pub(super) leaks: Vec<String>,
    /// Which request used up which ticket of which identity.
    tickets: BTreeMap<(HubId, u64), RequestId>,
    calm: bool,
    report: Report,
}

/// Plays one seed.
///
/// # Errors
/// [`Finding`] says what is wrong in the end, or that the end never came.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Report, Finding> {
    let finding = |what: String| Finding { seed, what };
    let mut world = World::new(seed, sabotage);
    world.play(TROUBLED_MS).map_err(finding)?;
    world.heal();
    world.play(TROUBLED_MS + HEALING_MS).map_err(finding)?;
    check::everything(&world).map_err(finding)?;
    Ok(world.finish())
}

impl World {
    fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let projects = rng.random_range(1..4);
        let mut scopes = vec![ScopeId::Community];
        for _ in 0..projects {
            scopes.push(ScopeId::Project(RecordId::from_bytes(person::random_bytes(&mut rng))));
        }
        let hubs = if rng.random_bool(0.1) { rng.random_range(8..=20) } else { rng.random_range(2..6) };
        let instances = rng.random_range(1..=3);
        let mut world = Self {
            rng,
            sabotage,
            now: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            hubs: Vec::new(),
            gateway: Gateway::default(),
            instances_down_until: vec![0; instances],
            scopes,
            acknowledged: BTreeMap::new(),
            undone: BTreeMap::new(),
            healed_scopes: 0,
            leaks: Vec::new(),
            tickets: BTreeMap::new(),
            calm: false,
            report: Report::default(),
        };
        for _ in 0..hubs {
            world.add_hub();
        }
        world.after(60_000, Event::Misfortune);
        world
    }

    fn add_hub(&mut self) {
        let scopes: BTreeSet<ScopeId> = self
            .scopes
            .clone()
            .into_iter()
            .filter(|scope| *scope == ScopeId::Community || self.rng.random_bool(0.8))
            .collect();
        let id = HubId::from_bytes(person::random_bytes(&mut self.rng));
        self.gateway.enrol(id, scopes.clone());
        self.insert_hub(Card::new(id, &scopes));
    }

    fn insert_hub(&mut self, card: Card) {
        let way = match self.rng.random_range(0..3) {
            0 => Way::Live,
            1 => Way::Periodic { every_ms: 15 * 60 * 1000 },
            _ => Way::OnDemand,
        };
        let clock_offset = CLOCKS.get(self.rng.random_range(0..CLOCKS.len())).copied().unwrap_or(0);
        let hub = self.hubs.len();
        self.hubs.push(Hub {
            card,
            way,
            session: None,
            life: 0,
            clock_offset,
            cut_off_until: 0,
            backup: None,
            late: false,
        });
        self.at_random(10_000, Event::Start { hub, life: 0 });
        self.at_random(300_000, Event::Person(hub));
    }

    fn after(&mut self, delay: u64, event: Event) {
        let id = self.next_event;
        self.next_event += 1;
        self.events.insert(id, event);
        self.queue.push(Reverse((self.now + delay, id)));
    }

    fn at_random(&mut self, within: u64, event: Event) {
        let delay = self.rng.random_range(0..=within);
        self.after(delay, event);
    }

    fn play(&mut self, until: u64) -> Result<(), String> {
        while let Some(Reverse((at, id))) = self.queue.peek().copied() {
            if at > until {
                break;
            }
            self.queue.pop();
            self.now = at;
            if self.next_event > MAX_EVENTS {
                return Err(format!("no rest after {MAX_EVENTS} events"));
            }
            if let Some(event) = self.events.remove(&id) {
                self.happen(event);
            }
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Person(hub) => self.person(hub),
            Event::Tick { hub, life } if self.lives(hub, life) => self.input(hub, Input::Tick),
            Event::Request { hub, life, to, bytes } => self.request(hub, life, to, &bytes),
            Event::Answer { hub, life, to, answer } if self.lives(hub, life) => self.answer(hub, to, answer),
            Event::Start { hub, life } => self.start(hub, life),
            Event::Misfortune if !self.calm => {
                self.misfortune();
                self.at_random(240_000, Event::Misfortune);
            }
            Event::Tick { .. } | Event::Answer { .. } | Event::Misfortune => {}
        }
    }

    fn lives(&self, hub: usize, life: u32) -> bool {
        self.hubs.get(hub).is_some_and(|hub| hub.life == life && hub.session.is_some())
    }

    fn start(&mut self, at: usize, life: u32) {
        let random = self.rng.next_u64();
        let now = self.now;
        let Some(hub) = self.hubs.get_mut(at).filter(|hub| hub.life == life && hub.session.is_none()) else {
            return;
        };
        hub.session = Some(Session::new(hub.way, hub.card.backoff, now, random));
        self.schedule_tick(at);
    }

    fn schedule_tick(&mut self, at: usize) {
        let Some(hub) = self.hubs.get(at) else { return };
        let life = hub.life;
        if let Some(due) = hub.session.as_ref().and_then(Session::next_tick) {
            self.after(due.saturating_sub(self.now), Event::Tick { hub: at, life });
        }
    }

    fn crash(&mut self, at: usize) {
        let down_for = self.rng.random_range(0..1_800_000);
        let Some(hub) = self.hubs.get_mut(at) else { return };
        hub.life += 1;
        hub.session = None;
        let life = hub.life;
        self.report.faults += 1;
        self.after(down_for, Event::Start { hub: at, life });
    }

    /// In troubled times, this often.
    fn strikes(&mut self, probability: f64) -> bool {
        let strikes = !self.calm && self.rng.random_bool(probability);
        self.report.faults += usize::from(strikes);
        strikes
    }

    fn person(&mut self, at: usize) {
        if self.calm {
            return;
        }
        self.at_random(600_000, Event::Person(at));
        if self.strikes(0.01) {
            // The power went before the write was acknowledged.
            self.crash(at);
            return;
        }
        let (now, sabotage) = (self.now, self.sabotage);
        let Some(hub) = self.hubs.get_mut(at).filter(|hub| hub.session.is_some()) else { return };
        let wall = now.saturating_add(hub.clock_offset);
        let Some(change) = person::act(&mut self.rng, &mut hub.card, wall, sabotage) else { return };
        hub.card.waiting.push(change.clone());
        self.acknowledged.insert(change.id, change);
        self.report.acknowledged += 1;
        if self.strikes(0.01) {
            self.crash(at);
            return;
        }
        let why = if self.rng.random_bool(0.2) { Why::Person } else { Why::LocalChange };
        self.input(at, Input::Wanted(why));
    }

    fn input(&mut self, at: usize, input: Input) {
        let random = self.rng.next_u64();
        let now = self.now;
        let Some(hub) = self.hubs.get_mut(at) else { return };
        let Some(session) = &mut hub.session else { return };
        let commands = session.handle(input, now, random);
        hub.card.backoff = session.backoff();
        for command in commands {
            match command {
                Command::Send => self.send(at),
                Command::Abandon => {}
                Command::NewIdentity => self.new_identity(at),
            }
        }
        self.schedule_tick(at);
    }

    /// A copy of another card enrols as a hub of its own; its queue stays.
    fn new_identity(&mut self, at: usize) {
        let id = HubId::from_bytes(person::random_bytes(&mut self.rng));
        let Some(hub) = self.hubs.get_mut(at) else { return };
        let scopes = self.gateway.hubs.get(&hub.card.hub).map(|hub| hub.scopes.clone()).unwrap_or_default();
        self.gateway.enrol(id, scopes);
        hub.card.become_another(id);
        hub.late = true;
        self.input(at, Input::Restart);
    }

    fn send(&mut self, at: usize) {
        let random = person::random_bytes(&mut self.rng);
        let limit = if self.rng.random_bool(0.3) { self.rng.random_range(1..6) } else { 500 };
        let Some(hub) = self.hubs.get_mut(at) else { return };
        let request = round::request(&hub.card, random, limit);
        hub.card.unanswered = Some(request.clone());
        let (life, to, cut_off) = (hub.life, request.request, hub.cut_off_until > self.now);
        if self.strikes(0.01) {
            self.crash(at);
            return;
        }
        if cut_off {
            let answer = Answer::Failed(if self.rng.random_bool(0.2) {
                Failure::NotTheGateway
            } else {
                Failure::Unreachable
            });
            self.at_random(5_000, Event::Answer { hub: at, life, to, answer });
            return;
        }
        let Some(bytes) = self.through_the_network(serde_json::to_vec(&request).ok()) else { return };
        if self.strikes(0.05) {
            self.at_random(900_000, Event::Request { hub: at, life, to, bytes: bytes.clone() });
        }
        let delay = if self.strikes(0.05) { 600_000 } else { 2_000 };
        self.at_random(delay, Event::Request { hub: at, life, to, bytes });
    }

    /// Dropped, cut off, or whole.
    fn through_the_network(&mut self, bytes: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let mut bytes = bytes?;
        if self.strikes(0.05) {
            return None;
        }
        if self.strikes(0.03) {
            bytes.truncate(self.rng.random_range(0..=bytes.len()));
        }
        Some(bytes)
    }

    fn request(&mut self, at: usize, life: u32, to: RequestId, bytes: &[u8]) {
        let instance = self.rng.random_range(0..self.instances_down_until.len());
        let down = self.instances_down_until.get(instance).is_some_and(|until| *until > self.now);
        let request = serde_json::from_slice::<Request>(bytes);
        let (Ok(request), false) = (request, down) else {
            let retry_after_ms = self.rng.random_bool(0.5).then_some(30_000);
            let answer = Answer::Failed(Failure::Busy { retry_after_ms });
            self.at_random(2_000, Event::Answer { hub: at, life, to, answer });
            return;
        };
        let ticket = self.rng.next_u64();
        let dies_before_commit = self.strikes(0.03);
        let served = if dies_before_commit {
            self.gateway.clone().serve(&request, ticket, self.sabotage)
        } else {
            self.gateway.serve(&request, ticket, self.sabotage)
        };
        if dies_before_commit {
            if self.sabotage != Some(Sabotage::AnswerBeforeCommit) {
                return;
            }
        } else {
            if matches!(served, Some(Served::Reply(_))) {
                self.look_for_copies(&request);
            }
            if self.strikes(0.03) {
                // It died after the commit.
                return;
            }
        }
        let answer = match served {
            Some(Served::Reply(reply)) => {
                self.look_for_leaks(&request, &reply);
                let Some(bytes) = self.through_the_network(serde_json::to_vec(&reply).ok()) else { return };
                Answer::Bytes(bytes)
            }
            Some(Served::Copy) => Answer::Failed(Failure::Stop(Stop::Copy)),
            None => Answer::Failed(Failure::Stop(Stop::Revoked)),
        };
        if self.strikes(0.05) {
            self.at_random(900_000, Event::Answer { hub: at, life, to, answer: answer.clone() });
        }
        self.at_random(2_000, Event::Answer { hub: at, life, to, answer });
    }

    /// Two parties under one identity are told apart: a ticket serves one request, however often it is sent.
    fn look_for_copies(&mut self, request: &Request) {
        let used = self.tickets.entry((request.hub, request.ticket)).or_insert(request.request);
        if *used != request.request {
            self.leaks.push(format!("two parties were served as {}", request.hub));
        }
    }

    fn look_for_leaks(&mut self, request: &Request, reply: &Reply) {
        let Some(hub) = self.gateway.hubs.get(&request.hub) else { return };
        for record in &reply.records {
            if !hub.scopes.contains(&ScopeId::from(record.project)) {
                self.leaks.push(format!("{} of {:?} went to {}", record.id, record.project, request.hub));
            }
        }
    }

    fn answer(&mut self, at: usize, to: RequestId, answer: Answer) {
        // Whoever has gone on to another request has left that connection.
        let asked = self.hubs.get(at).and_then(|hub| hub.card.unanswered.as_ref());
        if asked.is_none_or(|request| request.request != to) {
            return;
        }
        let bytes = match answer {
            Answer::Failed(failure) => return self.input(at, Input::Failed(failure)),
            Answer::Bytes(bytes) => bytes,
        };
        let Ok(reply) = serde_json::from_slice::<Reply>(&bytes) else {
            return self.input(at, Input::Failed(Failure::Unreachable));
        };
        if self.strikes(0.01) {
            return self.crash(at);
        }
        let (now, sabotage) = (self.now, self.sabotage);
        let Some(hub) = self.hubs.get_mut(at) else { return };
        // An answer to something that is answered already: the same reply came twice.
        let Some(request) = hub.card.unanswered.clone().filter(|request| request.request == reply.request)
        else {
            return;
        };
        let (more, theirs) = (reply.more, reply.checksums.clone());
        let intake = match round::take_in(&request, reply) {
            Ok(intake) => intake,
            Err(nonsense) => {
                self.leaks.push(format!("a reply made no sense: {nonsense}"));
                return self.input(at, Input::Failed(Failure::Nonsense));
            }
        };
        let wall = now.saturating_add(hub.clock_offset);
        hub.card.take_in(intake, wall, sabotage);
        let ours = theirs.keys().map(|scope| (*scope, hub.card.checksum(*scope))).collect();
        let wrong = mismatches(&ours, &theirs);
        for scope in &wrong {
            hub.card.begin_anew(*scope);
        }
        let more = more || !wrong.is_empty() || !hub.card.waiting.is_empty();
        self.healed_scopes += wrong.len();
        if self.strikes(0.01) {
            return self.crash(at);
        }
        self.input(at, Input::Done { more });
    }

    fn misfortune(&mut self) {
        let at = self.rng.random_range(0..self.hubs.len());
        let until = self.now + self.rng.random_range(0..3_600_000);
        self.report.faults += 1;
        match self.rng.random_range(0..12) {
            0 | 1 => self.crash(at),
            2 | 3 => {
                if let Some(hub) = self.hubs.get_mut(at) {
                    hub.cut_off_until = until;
                }
            }
            4 => {
                let instance = self.rng.random_range(0..self.instances_down_until.len());
                if let Some(down) = self.instances_down_until.get_mut(instance) {
                    *down = until;
                }
            }
            5 => {
                let clock = CLOCKS.get(self.rng.random_range(0..CLOCKS.len())).copied().unwrap_or(0);
                if let Some(hub) = self.hubs.get_mut(at) {
                    hub.clock_offset = clock;
                }
            }
            6 => {
                if let Some(hub) = self.hubs.get_mut(at) {
                    hub.backup = Some(hub.card.clone());
                }
            }
            7 if self.rng.random_bool(0.3) => self.restore(at),
            8 if self.hubs.len() < 24 && self.rng.random_bool(0.3) => {
                self.copy(at);
            }
            9 => self.change_membership(at),
            _ => {
                let scope = self.scopes.get(self.rng.random_range(0..self.scopes.len())).copied();
                if let Some(scope) = scope {
                    self.gateway.collect(scope, self.sabotage);
                }
            }
        }
    }

    /// A second card with the same content, which may lie in a drawer for a while.
    fn copy(&mut self, at: usize) {
        let offline_until =
            if self.rng.random_bool(0.5) { self.now + self.rng.random_range(0..7_200_000) } else { 0 };
        let Some((card, late)) = self.hubs.get(at).map(|hub| (hub.card.clone(), hub.late)) else { return };
        self.insert_hub(card);
        if let Some(copy) = self.hubs.last_mut() {
            (copy.late, copy.cut_off_until) = (late, offline_until);
        }
    }

    /// An old backup comes back: under an identity of its own, and without what was written since.
    fn restore(&mut self, at: usize) {
        let id = HubId::from_bytes(person::random_bytes(&mut self.rng));
        let Some(hub) = self.hubs.get_mut(at) else { return };
        let Some(mut card) = hub.backup.clone() else { return };
        // What was refused lies on the card alone, and is as new as the backup.
        let refused = std::mem::take(&mut hub.card.refused).into_iter().map(|(change, _)| change);
        let lost: Vec<Change> = std::mem::take(&mut hub.card.waiting).into_iter().chain(refused).collect();
        let old = hub.card.hub;
        card.become_another(id);
        hub.card = card;
        hub.late = true;
        let mut scopes = BTreeSet::new();
        if let Some(enrolled) = self.gateway.hubs.get_mut(&old) {
            enrolled.retired = true;
            scopes.clone_from(&enrolled.scopes);
        }
        self.all_are_late(old);
        self.gateway.enrol(id, scopes);
        for change in lost {
            // Unless it took effect, or another card has it too.
            let elsewhere = self.hubs.iter().any(|hub| hub.card.holds(change.id));
            let took_effect = matches!(self.gateway.answered.get(&change.id), Some(Outcome::Applied { .. }));
            if !elsewhere && !took_effect {
                self.acknowledged.remove(&change.id);
                self.undone.insert(change.id, change);
            }
        }
        self.crash(at);
    }

    fn change_membership(&mut self, at: usize) {
        let Some(scope) = self.scopes.get(self.rng.random_range(0..self.scopes.len())).copied() else {
            return;
        };
        if scope == ScopeId::Community {
            return;
        }
        let Some(hub) = self.hubs.get_mut(at) else { return };
        let id = hub.card.hub;
        let Some(enrolled) = self.gateway.hubs.get_mut(&id) else { return };
        if !enrolled.scopes.remove(&scope) {
            enrolled.scopes.insert(scope);
            // Newly chosen or chosen again: what was known before may have been forgotten meanwhile.
            enrolled.floor = 0;
            hub.card.cursors.entry(scope).or_default();
        }
        self.all_are_late(id);
    }

    /// What the gateway keeps for an identity has changed: for every card that has it, the copies of a card included, something of
    /// what it knew may be forgotten from here on.
    fn all_are_late(&mut self, id: HubId) {
        self.hubs.iter_mut().filter(|hub| hub.card.hub == id).for_each(|hub| hub.late = true);
    }

    fn heal(&mut self) {
        self.calm = true;
        self.instances_down_until.iter_mut().for_each(|until| *until = 0);
        for at in 0..self.hubs.len() {
            let Some(hub) = self.hubs.get_mut(at) else { continue };
            hub.cut_off_until = 0;
            // From now on every hub looks by itself, so that the end is reached without people.
            hub.way = Way::Periodic { every_ms: 15 * 60 * 1000 };
            hub.life += 1;
            hub.session = None;
            let life = hub.life;
            self.at_random(60_000, Event::Start { hub: at, life });
        }
    }

    fn finish(mut self) -> Report {
        self.report.hubs = self.hubs.len();
        self.report.rounds = self.gateway.rounds;
        self.report.virtual_ms = self.now;
        let asked = |trace: &&cairn_sync::authority::Trace| {
            matches!(trace.outcome, cairn_sync::authority::FieldOutcome::Conflict(_))
        };
        self.report.conflicts = self.gateway.traces.values().filter(asked).count();
        self.report
    }
}
