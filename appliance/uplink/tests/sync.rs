//! Two hubs and a gateway that decides with the real engine, over HTTP on this machine: the whole way from a person's
//! write on one hub to the other one, with a login page in between and answers that get lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State as Shared,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use cairn_store::{OpenOptions, Part, Store, Viewer};
use cairn_sync::{
    CommunityId, Fields, Kind,
    admission::{Admission, Seat},
    batch::WorkingSet,
    checksum::Checksum,
    http::{
        self, Code, Credential, Enrol, EnrolToken, Enrolled, GATEWAY_HEADER, KeyChanged, NewIdentity, NewKey,
        Problem, ReportReply, Secret, pack,
    },
    session::Way,
    wire::{Cursor, PROTOCOL, Reply, Request, ScopeId},
};
use cairn_uplink::sync::{About, Running, State, Status, Sync, Tempo, Transport, Ways};

const ALL: Viewer = Viewer::system(Part::Console);

/// Everything that the gateway knows; nothing of it is ever forgotten here.
#[derive(Default)]
struct Gateway {
    set: WorkingSet,
    seats: BTreeMap<cairn_sync::HubId, Seat>,
    tickets: u64,
    /// How many requests a login page answers before the gateway is reached.
    portal: u32,
    /// How many answers get lost after the gateway has taken the request in.
    lose: u32,
    /// Whether it asks for new keys; then the old one works until the new one is used.
    wants_key: bool,
    /// New keys, as they came.
    keys: Vec<Secret>,
    /// How many answers to them get lost.
    lose_key: u32,
    /// Whether the newest of them was used.
    key_used: bool,
}

type Gate = Arc<Mutex<Gateway>>;

fn says(status: u16, body: Vec<u8>) -> Response {
    (StatusCode::from_u16(status).unwrap(), [(GATEWAY_HEADER, "test")], body).into_response()
}

fn problem(code: Code) -> Response {
    let body = serde_json::to_vec(&Problem::new(code, "no")).unwrap();
    let headers = [(GATEWAY_HEADER, "test"), ("content-type", http::PROBLEM_JSON)];
    (StatusCode::from_u16(code.status()).unwrap(), headers, body).into_response()
}

fn enrolled(hub: cairn_sync::HubId) -> Response {
    let enrolled = Enrolled {
        community: CommunityId::from_bytes([1; 16]),
        community_name: "North shore".to_owned(),
        hub,
        time_key: "00".repeat(32),
    };
    says(200, serde_json::to_vec(&enrolled).unwrap())
}

async fn enrol(body: Bytes) -> Response {
    enrolled(serde_json::from_slice::<Enrol>(&body).unwrap().hub)
}

async fn identity(body: Bytes) -> Response {
    enrolled(serde_json::from_slice::<NewIdentity>(&body).unwrap().hub)
}

async fn report(Shared(gate): Shared<Gate>) -> Response {
    let gateway = gate.lock().unwrap();
    let reply = ReportReply {
        change_key: gateway.wants_key && !gateway.key_used,
        next_ms: 900_000,
        ..ReportReply::default()
    };
    says(200, serde_json::to_vec(&reply).unwrap())
}

async fn key(Shared(gate): Shared<Gate>, body: Bytes) -> Response {
    let mut gateway = gate.lock().unwrap();
    gateway.keys.push(serde_json::from_slice::<NewKey>(&body).unwrap().key);
    if gateway.lose_key > 0 {
        gateway.lose_key -= 1;
        return says(502, Vec::new());
    }
    says(200, serde_json::to_vec(&KeyChanged {}).unwrap())
}

async fn round(Shared(gate): Shared<Gate>, headers: HeaderMap, body: Bytes) -> Response {
    let mut gateway = gate.lock().unwrap();
    if gateway.portal > 0 {
        gateway.portal -= 1;
        return (StatusCode::OK, "<html>Please accept our terms</html>").into_response();
    }
    let encoding = headers.get("content-encoding").map(|value| value.to_str().unwrap());
    let request: Request = pack::unpack(&body, encoding).unwrap();
    let bearer = headers["authorization"].to_str().unwrap();
    let shown = Credential::from_bearer(bearer).unwrap();
    assert_eq!(shown.hub, request.hub);
    gateway.key_used |= gateway.keys.last() == Some(&shown.key);
    if gateway.key_used && gateway.keys.last() != Some(&shown.key) {
        return problem(Code::Revoked);
    }
    let seat = gateway.seats.get(&request.hub).copied().unwrap_or_default();
    if seat.admit(&request) == Admission::Copy {
        return problem(Code::Copy);
    }
    let reply = gateway.serve(&request, seat);
    if gateway.lose > 0 {
        gateway.lose -= 1;
        return says(502, Vec::new());
    }
    let packed = pack::pack(&reply).unwrap();
    let mut response = says(200, packed.bytes);
    if let Some(encoding) = packed.encoding {
        response.headers_mut().insert("content-encoding", encoding.parse().unwrap());
    }
    response
}

impl Gateway {
    fn serve(&mut self, request: &Request, seat: Seat) -> Reply {
        self.tickets += 1;
        let seat = seat.served(request, self.tickets);
        self.seats.insert(request.hub, seat);
        let written = self.set.apply(&request.changes, |_| true);
        self.set.version = written.version;
        let newer = |record: &&cairn_sync::record::RecordState| {
            request.cursors.get(&record.project.into()).is_some_and(|cursor| record.version > cursor.version)
        };
        let mut records: Vec<_> = self.set.records.values().filter(newer).cloned().collect();
        records.sort_by_key(|record| record.version);
        let version = self.set.version;
        let sum = |scope: ScopeId| {
            let mut sum = Checksum::default();
            let records = self.set.records.values();
            records
                .filter(|record| ScopeId::from(record.project) == scope)
                .for_each(|record| sum.add(record));
            sum
        };
        Reply {
            protocol: PROTOCOL,
            request: request.request,
            ticket: seat.ticket,
            outcomes: written.outcomes,
            records,
            cursors: request.cursors.iter().map(|(scope, at)| (*scope, Cursor { version, ..*at })).collect(),
            horizons: BTreeMap::new(),
            reread: Vec::new(),
            withheld: Vec::new(),
            more: false,
            checksums: request.cursors.keys().map(|scope| (*scope, sum(*scope))).collect(),
        }
    }
}

struct Hub {
    store: Store,
    sync: Sync,
    _running: Running,
    _dir: tempfile::TempDir,
}

impl Hub {
    async fn enrolled(url: &str, at: u8) -> Self {
        Self::enrolled_at(url, at, Tempo::default()).await
    }

    async fn enrolled_at(url: &str, at: u8, tempo: Tempo) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions { upkeep: false, ..OpenOptions::default() };
        let (store, _) = Store::open(dir.path(), options).unwrap();
        let (sync, running) =
            Sync::start_with(store.clone(), format!("hub {at}"), None, About::default(), tempo)
                .await
                .unwrap();
        let token =
            EnrolToken { community: CommunityId::from_bytes([1; 16]), secret: Secret::from_random([at; 32]) };
        assert!(
            sync.enrol(&token.reveal(), url, Transport::Https, "hub").await.is_err(),
            "plain http is refused"
        );
        sync.enrol(&token.reveal(), url, Transport::PlainLoopback, "hub").await.unwrap();
        Self { store, sync, _running: running, _dir: dir }
    }

    /// Waits until synchronisation stands as wanted.
    async fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut watch = self.sync.watch();
        let found =
            tokio::time::timeout(Duration::from_secs(180), watch.wait_for(|status| wanted(status))).await;
        match found {
            Ok(status) => status.unwrap().clone(),
            Err(_) => panic!("{what}: {:?}", self.sync.status()),
        }
    }
}

fn notice(title: &str) -> Fields {
    Fields::from([("title".to_owned(), title.into()), ("level".to_owned(), "info".into())])
}

/// Serves; gives the address.
async fn serve(gate: &Gate) -> (String, tokio::task::JoinHandle<()>) {
    let router = Router::new()
        .route(http::SYNC, post(round))
        .route(http::ENROL, post(enrol))
        .route(http::IDENTITY, post(identity))
        .route(http::REPORT, post(report))
        .route(http::KEY, post(key))
        .with_state(Arc::clone(gate));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

/// Waits for something at the gateway.
async fn at_the_gateway(gate: &Gate, what: &str, wanted: impl Fn(&Gateway) -> bool) {
    let began = std::time::Instant::now();
    while !wanted(&gate.lock().unwrap()) {
        assert!(began.elapsed() < Duration::from_secs(180), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The gateway asks for a new key. The answer gets lost and the power is cut: the old key goes on, the same new key is sent
/// again, and from its first use on it alone is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_changed_on_request_and_a_lost_answer_locks_nobody_out() {
    let gate = Gate::default();
    let (url, serving) = serve(&gate).await;
    gate.lock().unwrap().wants_key = true;
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions { upkeep: false, ..OpenOptions::default() };
    let (store, _) = Store::open(dir.path(), options).unwrap();
    let (sync, running) = Sync::start(store.clone(), "hub".to_owned(), None).await.unwrap();
    let token =
        EnrolToken { community: CommunityId::from_bytes([1; 16]), secret: Secret::from_random([3; 32]) };
    sync.enrol(&token.reveal(), &url, Transport::PlainLoopback, "hub").await.unwrap();
    at_the_gateway(&gate, "a key comes", |gateway| !gateway.keys.is_empty()).await;
    at_the_gateway(&gate, "it is used", |gateway| gateway.key_used).await;
    let first = gate.lock().unwrap().keys.clone();

    // Once more, and this time the answer does not come.
    drop((running, sync));
    {
        let mut gateway = gate.lock().unwrap();
        gateway.keys.clear();
        (gateway.key_used, gateway.lose_key) = (false, 1);
    }
    let (sync, running) = Sync::start(store.clone(), "hub".to_owned(), None).await.unwrap();
    sync.now();
    at_the_gateway(&gate, "the next key comes", |gateway| gateway.keys.len() == 1).await;
    store.create(&ALL, Kind::Notice, None, notice("Water"), None).await.unwrap();
    sync.now();
    at_the_gateway(&gate, "the old key goes on", |gateway| gateway.set.version == 1).await;
    assert!(!gate.lock().unwrap().key_used);
    drop((running, sync));
    let (sync, _running) = Sync::start(store.clone(), "hub".to_owned(), None).await.unwrap();
    sync.now();
    at_the_gateway(&gate, "the new key is used", |gateway| gateway.key_used).await;
    let keys = gate.lock().unwrap().keys.clone();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys.first(), keys.last(), "what was sent is sent again");
    assert_ne!(first, keys);
    store.create(&ALL, Kind::Notice, None, notice("Power"), None).await.unwrap();
    sync.now();
    at_the_gateway(&gate, "the new key goes on", |gateway| gateway.set.version == 2).await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_on_one_hub_is_read_on_the_other() {
    let gate = Gate::default();
    let (url, serving) = serve(&gate).await;

    // A login page answers first, then an answer gets lost after the gateway has taken the request in.
    gate.lock().unwrap().portal = 1;
    let one = Hub::enrolled(&url, 1).await;
    let status = one.until("the login page is recognised", |status| status.trouble.is_some()).await;
    assert!(status.trouble.unwrap().contains("login page"));
    gate.lock().unwrap().lose = 1;
    let record = one.store.create(&ALL, Kind::Notice, None, notice("Water"), None).await.unwrap();
    one.sync.now();
    one.until("the queue is empty", |status| {
        status.figures.queue == 0 && status.state == State::Idle && status.last_success_ms.is_some()
    })
    .await;
    assert_eq!(gate.lock().unwrap().set.version, 1, "sent twice is done once");

    let two = Hub::enrolled(&url, 2).await;
    two.until("the second hub has asked", |status| status.last_success_ms.is_some()).await;
    assert_eq!(two.store.get(&ALL, record.id).await.unwrap().text("title"), "Water");

    // Both change the title without knowing of each other: a person has to choose.
    let title = |text: &str| Fields::from([("title".to_owned(), text.into())]);
    one.store.update(&ALL, record.id, title("Water at noon"), None, None).await.unwrap();
    one.sync.now();
    one.until("the first has sent", |status| status.figures.queue == 0 && status.state == State::Idle).await;
    two.store.update(&ALL, record.id, title("Water at nine"), None, None).await.unwrap();
    two.sync.now();
    two.until("the second learns of the conflict", |status| status.figures.conflicts == 1).await;
    let open = two.store.conflicts(&ALL, None, 10).await.unwrap();
    two.store.settle(&ALL, &open[0].key, cairn_store::Choice::Incoming, None).await.unwrap();
    two.sync.now();
    two.until("the decision is sent", |status| {
        status.figures.queue == 0 && status.figures.conflicts == 0 && status.state == State::Idle
    })
    .await;
    one.sync.now();
    let mut changes = one.store.subscribe();
    let settled = async {
        while one.store.get(&ALL, record.id).await.unwrap().text("title") != "Water at nine" {
            drop(changes.recv().await);
        }
    };
    tokio::time::timeout(Duration::from_secs(180), settled)
        .await
        .expect("the first hub hears of the decision");
    assert_eq!(one.store.conflicts_waiting(&ALL).await.unwrap(), 0);
    let log = two.store.sync_log(10).await.unwrap();
    assert!(log.iter().any(|line| line.worked && line.up > 0), "{log:?}");
    serving.abort();
}

/// A live hub whose stream cannot be held (a proxy in between does not let it through) asks by itself and misses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_stream_can_be_held_a_live_hub_asks_by_itself() {
    let gate = Gate::default();
    // This gateway knows no path for a stream.
    let (url, serving) = serve(&gate).await;
    let one = Hub::enrolled(&url, 1).await;
    let two = Hub::enrolled_at(&url, 2, Tempo { poll_ms: 100 }).await;
    two.sync.set_ways(Ways { way: Way::Live, ..Ways::default() }).await.unwrap();
    two.until("the second hub has asked", |status| {
        status.ways.way == Way::Live && status.last_success_ms.is_some()
    })
    .await;
    for title in ["Water", "Power"] {
        let mut changes = two.store.subscribe();
        let record = one.store.create(&ALL, Kind::Notice, None, notice(title), None).await.unwrap();
        one.sync.now();
        let heard = async {
            while two.store.get(&ALL, record.id).await.is_err() {
                drop(changes.recv().await);
            }
        };
        tokio::time::timeout(Duration::from_secs(180), heard).await.expect("nobody asked the second hub to");
        assert!(!two.sync.status().live, "there is no stream");
    }
    serving.abort();
}
