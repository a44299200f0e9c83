//! A real PostgreSQL, real instances over real HTTP, and hubs that run the real engine with their records in memory.

// Every test program uses its part.
#![allow(dead_code, unreachable_pub)]

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::{Duration, Instant},
};

use cairn_gateway::{
    cluster::Cluster,
    db::Db,
    http::{Service, Shared},
    limits::Limits,
    migrate::{LATEST, migrate},
    serve::serve,
    store::{hubs, records},
};
use cairn_record_api::cors::Allowed;
use cairn_sync::{
    ChangeId, CommunityId, Hlc, HubId, Kind, RecordId, Value,
    authority::Outcome,
    change::{Action, Base, Change, Edit, FieldEdit, Seen},
    checksum::Checksum,
    http::{
        AUTHORIZATION, ApiToken, CBOR, Credential, ENROL, Enrol, EnrolToken, GATEWAY_HEADER, JSON,
        PROTOCOL_HEADER, Problem, SYNC, Secret,
        pack::{pack, unpack},
        problem::{Answer, failure},
        protocol::HERE,
    },
    record::RecordState,
    round::{Intake, take_in},
    session::Failure,
    wire::{Cursor, MAX_RECORDS, PROTOCOL, Reply, Request, RequestId, ScopeId},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Generous: the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// A cluster with its schema and one community.
pub struct World {
    pub cluster: Cluster,
    pub community: CommunityId,
    _folder: tempfile::TempDir,
}

/// A running instance.
pub struct Instance {
    pub url: String,
    pub service: Shared,
    pub stop: CancellationToken,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// Waits for a condition, at most [`DEADLINE`].
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut try_it: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = try_it().await {
            return value;
        }
        assert!(began.elapsed() < DEADLINE, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("cairn-gw-").tempdir().unwrap();
        // PostgreSQL runs as another user and has to get there.
        let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let cluster = Cluster::start(&folder.path().join("pg")).unwrap();
        let run = migrate(&cluster.url("owner"), Some("it's secret")).await.unwrap();
        assert_eq!(run as i64, LATEST, "every step");
        assert_eq!(migrate(&cluster.url("owner"), Some("it's secret")).await.unwrap(), 0, "a step runs once");
        let db = Db::connect(&cluster.url("cairn_app"), 2).await.unwrap();
        let community = hubs::add_community(&db, "Lower Valley").await.unwrap();
        Self { cluster, community, _folder: folder }
    }

    pub async fn db(&self) -> Db {
        Db::connect(&self.cluster.url("cairn_app"), 8).await.unwrap()
    }

    pub async fn instance(&self) -> Instance {
        self.instance_with(Limits { per_second: 1e6, burst: 1e6, ..Limits::default() }).await
    }

    pub async fn instance_with(&self, limits: Limits) -> Instance {
        let trusted = Allowed::new(vec!["https://pages.example.org".to_owned()]).unwrap();
        let stop = CancellationToken::new();
        let service = Service::start(self.db().await, limits, trusted, stop.clone()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, service.clone()));
        Instance { url, service, stop }
    }

    /// A person with an account, as a hub shares one.
    pub async fn person(&self, hub: &mut Hub, url: &str, name: &str, role: &str) -> RecordId {
        let id = RecordId::new();
        let login = name.to_lowercase();
        hub.write(id, &[("name", name.into()), ("login", login.into()), ("role", role.into())]);
        hub.waiting.last_mut().unwrap().kind = Kind::Person;
        hub.sync(url).await;
        id
    }

    pub async fn api_token(&self, person: RecordId, may_write: bool) -> ApiToken {
        let new = records::NewToken { person, label: "a program", may_write, days: 1 };
        records::add_token(&self.db().await, self.community, &new).await.unwrap()
    }

    pub async fn token(&self) -> EnrolToken {
        hubs::add_token(&self.db().await, self.community, "a hub", None, 1).await.unwrap()
    }
}

pub fn client() -> reqwest::Client {
    // Somebody else may have installed it already.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().timeout(DEADLINE).build().unwrap()
}

/// A hub with its records in memory.
#[derive(Clone)]
pub struct Hub {
    pub credential: Credential,
    pub ticket: u64,
    pub waiting: Vec<Change>,
    pub cursors: BTreeMap<ScopeId, Cursor>,
    pub records: BTreeMap<RecordId, RecordState>,
    pub outcomes: Vec<(ChangeId, Outcome)>,
    pub limit: u32,
    clock: Hlc,
}

impl Hub {
    pub fn of(credential: Credential) -> Self {
        let clock = Hlc::at(1, credential.hub);
        Self {
            credential,
            ticket: 0,
            waiting: Vec::new(),
            cursors: BTreeMap::from([(ScopeId::Community, Cursor::default())]),
            records: BTreeMap::new(),
            outcomes: Vec::new(),
            limit: MAX_RECORDS,
            clock,
        }
    }

    pub async fn enrol(url: &str, token: EnrolToken) -> Self {
        let asked = enrolment(token);
        let enrolled = post_json(&client(), url, ENROL, None, &asked).await.unwrap();
        let enrolled: cairn_sync::http::Enrolled = serde_json::from_slice(&enrolled).unwrap();
        Self::of(Credential { community: enrolled.community, hub: enrolled.hub, key: asked.key })
    }

    /// Writes fields as a person here would who sees what this hub sees.
    pub fn write(&mut self, record: RecordId, fields: &[(&str, Value)]) -> ChangeId {
        let known = self.records.get(&record);
        let edits = fields.iter().map(|(name, value)| {
            let version = known.and_then(|known| known.fields.get(*name)).map_or(0, |field| field.version);
            ((*name).to_owned(), FieldEdit { edit: Edit::Set(value.clone()), base: Base::Version(version) })
        });
        self.clock = self.clock.tick(2, self.credential.hub);
        let change = Change {
            id: ChangeId::new(),
            record,
            kind: Kind::Notice,
            project: None,
            by: None,
            hlc: self.clock,
            seen: Seen { version: known.map_or(0, |known| known.version), own: BTreeSet::new() },
            settles: BTreeSet::new(),
            action: Action::Put(edits.collect()),
        };
        let id = change.id;
        self.waiting.push(change);
        id
    }

    pub fn delete(&mut self, record: RecordId) {
        let version = self.records.get(&record).map_or(0, |known| known.version);
        self.clock = self.clock.tick(2, self.credential.hub);
        self.waiting.push(Change {
            id: ChangeId::new(),
            record,
            kind: Kind::Notice,
            project: None,
            by: None,
            hlc: self.clock,
            seen: Seen { version, own: BTreeSet::new() },
            settles: BTreeSet::new(),
            action: Action::Delete,
        });
    }

    pub fn request(&self) -> Request {
        Request {
            protocol: PROTOCOL,
            hub: self.credential.hub,
            request: RequestId::from_random(random()),
            ticket: self.ticket,
            changes: self.waiting.clone(),
            cursors: self.cursors.clone(),
            floor: self.cursors.values().map(|cursor| cursor.version).min().unwrap_or(0),
            limit: self.limit,
        }
    }

    /// Takes a reply in as the engine says.
    pub fn take(&mut self, request: &Request, reply: Reply) -> bool {
        let (more, sums) = (reply.more, reply.checksums.clone());
        let Intake { reread, answered, records, cursors, horizons, ticket, .. } =
            take_in(request, reply).unwrap();
        for scope in reread {
            self.records.retain(|_, record| ScopeId::from(record.project) != scope);
        }
        self.waiting.retain(|change| !answered.iter().any(|(id, _)| *id == change.id));
        self.outcomes.extend(answered);
        for record in records {
            self.records.insert(record.id, record);
        }
        for (scope, horizon) in horizons {
            self.records.retain(|_, record| {
                ScopeId::from(record.project) != scope || record.deleted.is_none() || record.version > horizon
            });
        }
        self.cursors.extend(cursors);
        self.ticket = ticket;
        for (scope, sum) in sums {
            assert_eq!(self.checksum(scope), sum, "the scope {scope} does not add up");
        }
        more
    }

    pub fn checksum(&self, scope: ScopeId) -> Checksum {
        let mut sum = Checksum::default();
        self.records
            .values()
            .filter(|record| ScopeId::from(record.project) == scope)
            .for_each(|record| sum.add(record));
        sum
    }

    pub async fn send(&self, url: &str, request: &Request) -> Result<Reply, (Failure, Option<Problem>)> {
        let packed = pack(request).unwrap();
        let mut post = client()
            .post(format!("{url}{SYNC}"))
            .header(AUTHORIZATION, self.credential.bearer())
            .header(PROTOCOL_HEADER, HERE.to_string())
            .header("content-type", CBOR);
        if let Some(encoding) = packed.encoding {
            post = post.header("content-encoding", encoding);
        }
        let (bytes, encoding) = answer(post.body(packed.bytes).send().await.unwrap()).await?;
        Ok(unpack(&bytes, encoding.as_deref()).unwrap())
    }

    /// Rounds until there is no more, here or there.
    pub async fn sync(&mut self, url: &str) {
        loop {
            let request = self.request();
            let reply = self.send(url, &request).await.unwrap();
            if !self.take(&request, reply) && self.waiting.is_empty() {
                return;
            }
        }
    }
}

pub fn enrolment(token: EnrolToken) -> Enrol {
    Enrol {
        token,
        hub: HubId::new(),
        key: Secret::from_random(random()),
        name: "Mill Road".to_owned(),
        version: "0.1.0".to_owned(),
    }
}

/// The body of a success and its encoding, or what the answer means to a hub.
pub async fn answer(
    response: reqwest::Response,
) -> Result<(Vec<u8>, Option<String>), (Failure, Option<Problem>)> {
    let header =
        |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (gateway, media, retry, encoding) =
        (header(GATEWAY_HEADER), header("content-type"), header("retry-after"), header("content-encoding"));
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap().to_vec();
    let said = Answer {
        status,
        gateway: gateway.as_deref(),
        content_type: media.as_deref(),
        retry_after: retry.as_deref(),
        body: &body,
    };
    failure(said).map_or(Ok((body.clone(), encoding)), Err)
}

pub async fn post_json(
    client: &reqwest::Client,
    url: &str,
    path: &str,
    credential: Option<&Credential>,
    body: &impl serde::Serialize,
) -> Result<Vec<u8>, (Failure, Option<Problem>)> {
    let mut post = client.post(format!("{url}{path}")).header("content-type", JSON);
    if let Some(credential) = credential {
        post = post.header(AUTHORIZATION, credential.bearer());
    }
    answer(post.body(serde_json::to_vec(body).unwrap()).send().await.unwrap()).await.map(|(body, _)| body)
}

pub fn notice(title: &str) -> Vec<(&'static str, Value)> {
    vec![("title", Value::from(title)), ("level", Value::from("info"))]
}
