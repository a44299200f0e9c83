//! Stores against a gateway that keeps everything in memory and decides with the real engine: whatever people do on
//! each, and whatever gets lost on the way, all hold the same in the end and nothing that was saved is lost.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};

use cairn_store::{
    Choice, ListQuery, NewAccount, OpenOptions, Part, Secret, SignUp, Store, StoreError, SyncState, TakenIn,
    Viewer,
};
use cairn_sync::{
    ChangeId, Fields, HubId, Kind, RecordId, Role, Value,
    admission::{Admission, Seat},
    authority::{Outcome, Standing, Trace},
    batch::{WorkingSet, needs},
    checksum::Checksum,
    record::RecordState,
    wire::{Cursor, PROTOCOL, Reply, Request, ScopeId},
};

#[derive(Default)]
struct Gateway {
    seats: BTreeMap<HubId, Seat>,
    set: WorkingSet,
    answered: BTreeMap<ChangeId, Outcome>,
    traces: BTreeMap<(RecordId, String, ChangeId), Trace>,
    values: BTreeMap<(RecordId, String, u64), Value>,
    horizons: BTreeMap<ScopeId, u64>,
    tickets: u64,
}

impl Gateway {
    fn serve(&mut self, request: &Request) -> Reply {
        let seat = self.seats.get(&request.hub).copied().unwrap_or_default();
        assert_ne!(seat.admit(request), Admission::Copy, "a hub repeats its request and shows its ticket");
        self.tickets += 1;
        let seat = seat.served(request, self.tickets);
        self.seats.insert(request.hub, seat);

        let named = needs(&request.changes);
        let mut set = WorkingSet { version: self.set.version, ..WorkingSet::default() };
        set.records = pick(&self.set.records, &named.records);
        set.answered = pick(&self.answered, &named.changes);
        set.traces = pick(&self.traces, &named.traces);
        set.values = pick(&self.values, &named.values);
        let written = set.apply(&request.changes, |_| true);
        for (id, became) in written.records {
            self.set.records.insert(id, became.after);
        }
        for (record, change, trace) in written.traces {
            if let Some(Standing { value, version }) = &trace.became {
                self.values.insert((record, trace.field.clone(), *version), value.clone());
            }
            self.traces.insert((record, trace.field.clone(), change), trace);
        }
        self.answered.extend(written.outcomes.iter().cloned());
        self.set.version = written.version;

        let mut reread = Vec::new();
        let from: BTreeMap<ScopeId, Cursor> = request
            .cursors
            .iter()
            .map(|(scope, cursor)| {
                let horizon = self.horizons.get(scope).copied().unwrap_or(0);
                if cursor.must_begin_anew(horizon) {
                    reread.push(*scope);
                    (*scope, Cursor { version: 0, horizon })
                } else {
                    (*scope, *cursor)
                }
            })
            .collect();
        let newer = |record: &&RecordState| {
            from.get(&record.project.into()).is_some_and(|cursor| record.version > cursor.version)
        };
        let mut records: Vec<RecordState> = self.set.records.values().filter(newer).cloned().collect();
        records.sort_by_key(|record| record.version);
        let more = records.len() > request.limit as usize;
        records.truncate(request.limit as usize);
        let up_to = if more { records.last().map_or(0, |record| record.version) } else { self.set.version };
        let cursors: BTreeMap<_, _> = from
            .iter()
            .map(|(scope, cursor)| (*scope, Cursor { version: cursor.version.max(up_to), ..*cursor }))
            .collect();
        let checksums = if more {
            BTreeMap::new()
        } else {
            cursors.keys().map(|scope| (*scope, self.checksum(*scope))).collect()
        };
        Reply {
            protocol: PROTOCOL,
            request: request.request,
            ticket: seat.ticket,
            outcomes: written.outcomes,
            records,
            horizons: cursors.keys().filter_map(|scope| Some((*scope, *self.horizons.get(scope)?))).collect(),
            cursors,
            reread,
            withheld: Vec::new(),
            more,
            checksums,
        }
    }

    fn checksum(&self, scope: ScopeId) -> Checksum {
        let mut sum = Checksum::default();
        self.set
            .records
            .values()
            .filter(|record| ScopeId::from(record.project) == scope)
            .for_each(|record| sum.add(record));
        sum
    }

    /// Forgets the deletions of the hub as a whole, as if every hub had passed them.
    fn forget_deletions(&mut self) {
        let horizon = self.set.version;
        self.horizons.insert(ScopeId::Community, horizon);
        self.set.records.retain(|_, record| record.project.is_some() || record.deleted.is_none());
    }
}

fn pick<K: Ord + Clone, V: Clone>(from: &BTreeMap<K, V>, keys: &BTreeSet<K>) -> BTreeMap<K, V> {
    keys.iter().filter_map(|key| Some((key.clone(), from.get(key)?.clone()))).collect()
}

/// Reproducible chance: SplitMix64 (Steele, Lea and Flood, 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn word(&mut self) -> &'static str {
        ["water", "bread", "hall", "north", "bridge", "tank", "noon", "radio"][self.below(8)]
    }

    fn request(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next().to_le_bytes());
        bytes
    }
}

struct Hub {
    store: Store,
    _dir: tempfile::TempDir,
    /// Every text that somebody was told is saved here.
    saved: Vec<(RecordId, String, Value)>,
}

const CODE: &str = "ABCD2345";
const ALL: Viewer = Viewer::system(Part::Console);

impl Hub {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let claim_code = Some(CODE.into());
        let options = OpenOptions { claim_code, upkeep: false, ..OpenOptions::default() };
        let (store, _) = Store::open(dir.path(), options).unwrap();
        Self { store, _dir: dir, saved: Vec::new() }
    }

    async fn records(&self, kind: Kind) -> Vec<RecordId> {
        let page = self.store.list(&ALL, ListQuery::of(kind).limit(200)).await.unwrap();
        page.items.into_iter().map(|record| record.id).collect()
    }

    async fn write(&mut self, chance: &mut Chance) {
        let text = |chance: &mut Chance| format!("{} {}", chance.word(), chance.word());
        let fields = |pairs: &[(&str, Value)]| -> Fields {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        let known: Vec<RecordId> =
            [self.records(Kind::Notice).await, self.records(Kind::Team).await].concat();
        match chance.below(12) {
            0 | 1 => {
                let new = fields(&[
                    ("title", text(chance).into()),
                    ("level", "info".into()),
                    ("body", "One\nTwo\n".into()),
                ]);
                self.store.create(&ALL, Kind::Notice, None, new, None).await.unwrap();
            }
            2 => {
                let new = fields(&[("name", text(chance).into()), ("people", set(chance.word()))]);
                self.store.create(&ALL, Kind::Team, None, new, None).await.unwrap();
            }
            3 => {
                let new = fields(&[("name", text(chance).into()), ("status", "active".into())]);
                let project = self.store.create(&ALL, Kind::Project, None, new, None).await.unwrap();
                let new = fields(&[
                    ("title", text(chance).into()),
                    ("status", "open".into()),
                    ("questions", Value::Json(serde_json::json!([]))),
                ]);
                self.store.create(&ALL, Kind::Assessment, Some(project.id), new, None).await.unwrap();
            }
            4 => {
                let assessments = self.records(Kind::Assessment).await;
                if assessments.is_empty() {
                    return;
                }
                let assessment = assessments[chance.below(assessments.len())];
                let project = self.store.get(&ALL, assessment).await.unwrap().project;
                let new = fields(&[
                    ("assessment", assessment.to_string().into()),
                    ("answers", Value::Json(serde_json::json!({}))),
                ]);
                self.store.create(&ALL, Kind::Response, project, new, None).await.unwrap();
            }
            5 if !known.is_empty() => {
                self.store.delete(&ALL, known[chance.below(known.len())], None).await.unwrap();
            }
            6 => {
                let deleted = ListQuery { deleted: true, ..ListQuery::of(Kind::Notice) };
                let deleted = self.store.list(&ALL, deleted).await.unwrap().items;
                if let Some(record) = deleted.first() {
                    self.store.restore_record(&ALL, record.id, None).await.unwrap();
                }
            }
            7 => {
                let open = self.store.conflicts(&ALL, None, 200).await.unwrap();
                if let Some(conflict) = open.first() {
                    let choice = if chance.below(2) == 0 { Choice::Present } else { Choice::Incoming };
                    self.store.settle(&ALL, &conflict.key, choice, None).await.unwrap();
                }
            }
            _ if !known.is_empty() => {
                let record = self.store.get(&ALL, known[chance.below(known.len())]).await.unwrap();
                let (name, value) = match (record.kind, chance.below(3)) {
                    (Kind::Team, 0) => ("people", set(chance.word())),
                    (Kind::Team, _) => ("name", Value::from(text(chance))),
                    (_, 0) => ("title", Value::from(text(chance))),
                    (_, 1) => ("level", Value::from(["info", "warning", "urgent"][chance.below(3)])),
                    _ => ("body", Value::from(format!("{}\nTwo\n{}\n", chance.word(), chance.word()))),
                };
                self.store
                    .update(&ALL, record.id, fields(&[(name, value.clone())]), None, None)
                    .await
                    .unwrap();
                self.saved.push((record.id, name.to_owned(), value));
            }
            _ => {}
        }
    }

    /// One round; whether there is more.
    async fn round(&self, gateway: &mut Gateway, chance: &mut Chance, troubled: bool) -> bool {
        let limit = if troubled { 1 + chance.below(4) as u32 } else { 500 };
        let request = self.store.sync_request(chance.request(), limit).await.unwrap();
        if troubled && chance.below(5) == 0 {
            return true; // It never arrived.
        }
        let reply = gateway.serve(&request);
        if troubled && chance.below(4) == 0 {
            // The answer was lost: the same request goes out again, word for word.
            assert_eq!(self.store.sync_request(chance.request(), 7).await.unwrap(), request);
            return true;
        }
        let TakenIn::Done(taken) = self.store.sync_take_in(reply.clone()).await.unwrap() else {
            panic!("an answer to what was asked is taken in")
        };
        assert_eq!(taken.healed, [], "the checksums agree without healing");
        assert_eq!(self.store.sync_take_in(reply).await.unwrap(), TakenIn::Stale, "twice is once");
        taken.more
    }
}

fn set(word: &str) -> Value {
    Value::Set(BTreeSet::from([word.to_owned()]))
}

async fn rest(hubs: &[Hub], gateway: &mut Gateway, chance: &mut Chance) {
    for _ in 0..200 {
        let mut more = false;
        let before = gateway.set.version;
        for hub in hubs {
            more |= hub.round(gateway, chance, false).await;
        }
        if !more && gateway.set.version == before {
            return;
        }
    }
    panic!("no rest");
}

/// What a hub shows is what the gateway holds.
async fn check(hub: &Hub, gateway: &Gateway) {
    for state in gateway.set.records.values() {
        let record = hub.store.get(&ALL, state.id).await.unwrap();
        let theirs: Fields = state
            .fields
            .iter()
            .filter(|(_, field)| field.value != Value::Null)
            .map(|(name, field)| (name.clone(), field.value.clone()))
            .collect();
        assert_eq!(record.fields, theirs, "{state:?}");
        assert_eq!(record.deleted, state.deleted.is_some());
        assert_eq!(record.gateway_version, Some(state.version));
        let stands = if state.conflicts.is_empty() { SyncState::Synced } else { SyncState::Conflict };
        assert_eq!(record.sync, stands);
    }
    for (scope, sum) in hub.store.sync_checksums().await.unwrap() {
        assert_eq!(sum, gateway.checksum(scope), "{scope}");
    }
    assert_eq!(hub.store.outbox_len().await.unwrap(), 0);
    assert_eq!(hub.store.sync_figures().await.unwrap().refused, 0);
    for (record, field, value) in &hub.saved {
        let history = hub.store.history(&ALL, *record, None, 200).await.unwrap().items;
        let changes = history.iter().flat_map(|entry| &entry.changes);
        let mut of_field = changes.filter(|change| change.field == *field);
        assert!(
            of_field.any(|change| change.after == *value),
            "{field} {value:?} can be read in {history:?}"
        );
    }
}

async fn play(seed: u64) {
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let mut gateway = Gateway::default();
    let mut hubs = vec![Hub::new(), Hub::new(), Hub::new()];
    for _ in 0..120 {
        let at = chance.below(hubs.len());
        if chance.below(4) == 0 {
            hubs[at].round(&mut gateway, &mut chance, true).await;
        } else {
            hubs[at].write(&mut chance).await;
        }
    }
    rest(&hubs, &mut gateway, &mut chance).await;
    for hub in &hubs {
        check(hub, &gateway).await;
    }
    // Somebody decides on everything that is left.
    for conflict in hubs[0].store.conflicts(&ALL, None, 200).await.unwrap() {
        hubs[0].store.settle(&ALL, &conflict.key, Choice::Present, None).await.unwrap();
    }
    assert_eq!(hubs[0].store.conflicts_waiting(&ALL).await.unwrap(), 0);
    rest(&hubs, &mut gateway, &mut chance).await;
    assert!(gateway.set.records.values().all(|record| record.conflicts.is_empty()));
    // Deletions are forgotten, and a hub that was empty is filled.
    gateway.forget_deletions();
    hubs.push(Hub::new());
    rest(&hubs, &mut gateway, &mut chance).await;
    for hub in &hubs {
        check(hub, &gateway).await;
    }
    let counts = |hub: &Hub| hub.store.clone();
    let first = counts(&hubs[0]).counts(&ALL).await.unwrap();
    for hub in &hubs {
        assert_eq!(hub.store.counts(&ALL).await.unwrap(), first);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_converge_whatever_people_do_and_the_network_loses() {
    for seed in 0..12 {
        play(seed).await;
    }
}

#[tokio::test]
async fn a_scope_that_does_not_add_up_is_read_again() {
    let mut chance = Chance(77);
    let mut gateway = Gateway::default();
    let hub = Hub::new();
    let new = Fields::from([("title".to_owned(), "Water".into()), ("level".to_owned(), "info".into())]);
    let notice = hub.store.create(&ALL, Kind::Notice, None, new, None).await.unwrap();
    rest(std::slice::from_ref(&hub), &mut gateway, &mut chance).await;
    // Somebody changed the gateway's database by hand, without a new version.
    gateway.set.records.get_mut(&notice.id).unwrap().fields.get_mut("title").unwrap().stamp.change =
        ChangeId::new();
    let request = hub.store.sync_request(chance.request(), 500).await.unwrap();
    let TakenIn::Done(taken) = hub.store.sync_take_in(gateway.serve(&request)).await.unwrap() else {
        panic!("taken in")
    };
    assert_eq!(taken.healed, [ScopeId::Community]);
    rest(std::slice::from_ref(&hub), &mut gateway, &mut chance).await;
    check(&hub, &gateway).await;
}

#[tokio::test]
async fn a_reply_that_makes_no_sense_changes_nothing() {
    let mut chance = Chance(3);
    let mut gateway = Gateway::default();
    let hub = Hub::new();
    let new = Fields::from([("title".to_owned(), "Water".into()), ("level".to_owned(), "info".into())]);
    hub.store.create(&ALL, Kind::Notice, None, new, None).await.unwrap();
    let request = hub.store.sync_request(chance.request(), 500).await.unwrap();
    let mut reply = gateway.serve(&request);
    reply.outcomes.clear();
    assert!(hub.store.sync_take_in(reply).await.is_err());
    assert_eq!(hub.store.outbox_len().await.unwrap(), 1);
    assert_eq!(hub.store.sync_request(chance.request(), 500).await.unwrap(), request);
}

fn account(login: &str) -> NewAccount {
    let password_hash = Secret::new("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA");
    NewAccount { name: login.to_owned(), login: login.to_owned(), password_hash, language: None }
}

/// A hub that is looked after by one person, and another hub that takes the keeper's role away, closes the account, or
/// deletes the person: the hub keeps its keeper until it has another one.
#[tokio::test]
async fn no_hub_loses_its_last_keeper_by_what_comes_from_elsewhere() {
    for how in ["role", "disabled", "deleted"] {
        let (mut chance, mut gateway) = (Chance(7), Gateway::default());
        let hubs = vec![Hub::new(), Hub::new()];
        let ana = hubs[0].store.claim(CODE, account("ana"), "Mill", "en").await.unwrap().id;
        rest(&hubs, &mut gateway, &mut chance).await;
        let field = |name: &str, value: Value| Fields::from([(name.to_owned(), value)]);
        let elsewhere = &hubs[1].store;
        match how {
            "role" => {
                drop(elsewhere.update(&ALL, ana, field("role", "guest".into()), None, None).await.unwrap())
            }
            "disabled" => {
                drop(elsewhere.update(&ALL, ana, field("disabled", true.into()), None, None).await.unwrap())
            }
            _ => elsewhere.delete(&ALL, ana, None).await.unwrap(),
        }
        rest(&hubs, &mut gateway, &mut chance).await;
        check(&hubs[0], &gateway).await;

        // The record says what was decided; whoever looks after the hub still can, and is told why.
        let here = &hubs[0].store;
        let login = here.find_login("ana").await.unwrap().unwrap();
        assert!(!login.disabled, "{how}");
        let session = here.open_session(ana, None).await.unwrap();
        let viewer = here.viewer_for_session(&session).await.unwrap().unwrap();
        assert_eq!(viewer.role(), Role::Keeper, "{how}");
        assert_eq!(here.held_keepers(&viewer).await.unwrap(), ["ana"], "{how}");

        // What else of the person is changed here stands, and takes nothing away; giving it up oneself stays refused.
        if how != "deleted" {
            here.update(&viewer, ana, field("language", "es".into()), None, None).await.unwrap();
            assert_eq!(here.held_keepers(&viewer).await.unwrap(), ["ana"], "{how}");
            let given_up = here.update(&viewer, ana, field("role", "volunteer".into()), None, None).await;
            assert!(matches!(given_up, Err(StoreError::Invalid(_))), "{how}: {given_up:?}");
        }

        // Another keeper who can sign in here: what was decided takes effect.
        let code = here.invite(&viewer, Role::Keeper, 60_000).await.unwrap();
        here.sign_up(account("ben"), SignUp::Invitation(code)).await.unwrap();
        assert_eq!(here.held_keepers(&ALL).await.unwrap(), Vec::<String>::new(), "{how}");
        let login = here.find_login("ana").await.unwrap();
        match how {
            "role" => assert!(!login.unwrap().disabled),
            "disabled" => assert!(login.unwrap().disabled),
            _ => assert!(login.is_none()),
        }
    }
}
