//! A hub for tests, and requests that say what they mean.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request},
};
use cairn_inference::{
    Embed, EmbedRole, Finish, Generate, GenerateEvent, GenerateRequest, InferenceClient, InferenceError,
};
use cairn_library::{Library, LibraryConfig, extract::ExtractorCommand};
use cairn_store::{OpenOptions, OpenReport, Passage, SessionToken, Settings, Store, Viewer};
use cairn_sync::{Fields, Kind, RecordId, Value};
use cairn_web::{Connectivity, DeviceFacts, Host, HostError, HostFacts, HostRole, Hub, Peer, Usage, router};
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tower::ServiceExt;

pub(crate) const CODE: &str = "ABCD2345";
pub(crate) const PASSWORD: &str = "stones by the river";
/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct TestHost {
    folder: PathBuf,
    opened: OpenReport,
    pub(crate) restarted: Mutex<Vec<HostRole>>,
    pub(crate) installed: Mutex<Vec<String>>,
    pub(crate) disk: Mutex<Option<Usage>>,
}

impl Host for TestHost {
    fn facts(&self) -> HostFacts {
        HostFacts {
            version: "0.1.0".into(),
            started_at_ms: 1_795_183_500_000,
            uptime: Duration::from_secs(61),
            name: "well".into(),
            pages: Vec::new(),
            port: 80,
            board: None,
            connectivity: Connectivity::Local,
            confinement: Vec::new(),
            memory: None,
            disk: *self.disk.lock().unwrap(),
            temperature_c: None,
            restarts: vec![("infer".into(), 2)],
            opened: self.opened.clone(),
            device: DeviceFacts::default(),
        }
    }

    fn incoming_dir(&self) -> PathBuf {
        self.folder.join("incoming")
    }

    fn install_model(&self, file: PathBuf, name: String) -> BoxFuture<'static, Result<(), HostError>> {
        self.installed.lock().unwrap().push(name.clone());
        let to = self.folder.join(name);
        Box::pin(async move { fs::rename(&file, to).map_err(|error| HostError::io("moving", &file, error)) })
    }

    fn remove_model(&self, name: String) -> BoxFuture<'static, Result<(), HostError>> {
        Box::pin(async move { Err(HostError::Missing(name)) })
    }

    fn settings_changed(&self, _: &Settings) {}

    fn restart(&self, role: HostRole) {
        self.restarted.lock().unwrap().push(role);
    }

    fn recent_log(&self, _: usize) -> Vec<String> {
        vec!["a line of the log".into()]
    }
}

struct NoEmbedding;

impl Embed for NoEmbedding {
    fn embed(
        &self,
        _: Vec<String>,
        _: EmbedRole,
    ) -> BoxFuture<'static, Result<Vec<Vec<f32>>, InferenceError>> {
        Box::pin(async { Err(InferenceError::NotConnected) })
    }
}

/// Writes an answer; with `endless`, one that never ends. Counts the answers that somebody still listens to.
pub(crate) struct Scribe {
    pub(crate) endless: bool,
    pub(crate) listening: Arc<AtomicUsize>,
}

struct Listening(Arc<AtomicUsize>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Generate for Scribe {
    fn generate(&self, _: GenerateRequest) -> BoxStream<'static, GenerateEvent> {
        self.listening.fetch_add(1, Ordering::SeqCst);
        let listening = Listening(Arc::clone(&self.listening));
        let events = [
            GenerateEvent::Queued { place: 1 },
            GenerateEvent::Started { model: "sample".into(), prompt_tokens: 9 },
            GenerateEvent::Text("Boil the water for one minute [1]. ".into()),
        ];
        let done = GenerateEvent::Done { tokens: 9, finish: Finish::Stop, prefill_ms: 1, decode_ms: 1 };
        let start = stream::iter(events);
        let end = if self.endless { stream::pending().boxed() } else { stream::iter([done]).boxed() };
        start
            .chain(end)
            .map(move |event| {
                let _ = &listening;
                event
            })
            .boxed()
    }
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) router: Router,
    pub(crate) host: Arc<TestHost>,
    pub(crate) listening: Arc<AtomicUsize>,
    pub(crate) folder: TempDir,
}

pub(crate) async fn world() -> World {
    make(false).await
}

/// A hub whose model never finishes an answer.
pub(crate) async fn endless_world() -> World {
    make(true).await
}

async fn make(endless: bool) -> World {
    let folder = TempDir::new().unwrap();
    let options = OpenOptions { claim_code: Some(CODE.into()), ..OpenOptions::default() };
    let (store, opened) = Store::open(&folder.path().join("hub"), options).unwrap();
    let listening = Arc::new(AtomicUsize::new(0));
    let scribe = Scribe { endless, listening: Arc::clone(&listening) };
    let config = LibraryConfig::new(ExtractorCommand::new("/nonexistent", ["extract"]));
    let library = Library::start(store.clone(), Arc::new(NoEmbedding), Arc::new(scribe), config);
    let host = Arc::new(TestHost {
        folder: folder.path().to_owned(),
        opened,
        restarted: Mutex::default(),
        installed: Mutex::default(),
        disk: Mutex::default(),
    });
    let hub = Hub::new(store.clone(), library, InferenceClient::new(), Arc::clone(&host) as Arc<dyn Host>);
    World { store, router: router(hub), host, listening, folder }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The session that was given.
    pub(crate) fn session(&self) -> String {
        let cookie = self.header("set-cookie").split(';').next().unwrap();
        cookie.strip_prefix("cairn_session=").unwrap_or_else(|| panic!("no session: {self:?}")).to_owned()
    }

    /// Asserts that this is a problem of this kind which says everything that a problem must.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, slug: &str) -> Json {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:cairn:problem:{slug}"), "{problem}");
        assert_eq!(problem["status"], status);
        for part in ["title", "detail", "kept", "next"] {
            assert!(
                problem[part].as_str().is_some_and(|text| text.len() > 5),
                "{part} is missing: {problem}"
            );
        }
        let instance = problem["instance"].as_str().unwrap();
        assert_eq!(instance, format!("urn:uuid:{}", self.header("x-request-id")));
        problem
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{} {}", self.status, String::from_utf8_lossy(&self.body));
        self
    }
}

/// A request, sent from the hub's own page unless something else is said.
pub(crate) struct Call<'a> {
    world: &'a World,
    request: axum::http::request::Builder,
    body: Body,
    peer: SocketAddr,
    host: &'static str,
    origin: Option<&'static str>,
    writes: bool,
}

impl World {
    pub(crate) fn call(&self, method: &str, path: &str) -> Call<'_> {
        Call {
            world: self,
            request: Request::builder().method(method).uri(path),
            body: Body::empty(),
            peer: "192.168.4.20:50000".parse().unwrap(),
            host: "well.local",
            origin: Some("http://well.local"),
            writes: !matches!(method, "GET" | "HEAD"),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        self.call("GET", path)
    }

    pub(crate) fn post(&self, path: &str, body: Json) -> Call<'_> {
        self.call("POST", path).json(body)
    }

    /// The first keeper's session.
    pub(crate) async fn keeper(&self) -> String {
        let claim = json!({"code": CODE, "hub_name": "Well", "language": "en", "name": "Amina", "login": "amina", "password": PASSWORD});
        self.post("/api/v1/setup/claim", claim).send().await.ok().session()
    }

    /// A person by an invitation; gives the session.
    pub(crate) async fn person(&self, keeper: &str, role: &str, login: &str) -> String {
        let made = self.post("/api/v1/invitations", json!({"role": role})).session(keeper).send().await.ok();
        let code = made.json()["code"].clone();
        let new = json!({"name": format!("Person {login}"), "login": login, "password": PASSWORD, "invitation": code});
        self.post("/api/v1/accounts", new).send().await.ok().session()
    }

    pub(crate) async fn viewer(&self, session: &str) -> Viewer {
        self.store.viewer_for_session(&SessionToken::from_text(session)).await.unwrap().unwrap()
    }

    pub(crate) async fn create(
        &self,
        session: &str,
        kind: &str,
        project: Option<&str>,
        fields: Json,
    ) -> Json {
        let body = json!({"project": project, "fields": fields});
        self.post(&format!("/api/v1/records/{kind}"), body).session(session).send().await.ok().json()
    }

    pub(crate) async fn set(&self, keeper: &str, settings: Json) {
        self.call("PATCH", "/api/v1/settings").json(settings).session(keeper).send().await.ok();
    }

    /// A document whose one passage is in the index, without running an extractor.
    pub(crate) async fn document(
        &self,
        session: &str,
        project: Option<RecordId>,
        title: &str,
        text: &str,
    ) -> RecordId {
        let viewer = self.viewer(session).await;
        let mut blob = self.store.blob_writer(1 << 20).unwrap();
        blob.write(text.as_bytes()).unwrap();
        let blob = blob.finish().unwrap();
        let fields = Fields::from([
            ("title".to_owned(), Value::from(title)),
            ("file".to_owned(), Value::from(blob.to_string())),
            ("file_name".to_owned(), Value::from("text.md")),
            ("media_type".to_owned(), Value::from("text/markdown")),
            ("size".to_owned(), Value::Int(i64::try_from(text.len()).unwrap())),
        ]);
        let record = self.store.create(&viewer, Kind::Document, project, fields, None).await.unwrap();
        let passage =
            Passage { ordinal: 0, heading: title.into(), text: text.into(), location: Default::default() };
        let version = cairn_library::extract::EXTRACTOR_VERSION;
        self.store.put_passages(record.id, blob, version, vec![passage]).await.unwrap();
        record.id
    }

    /// Serves the hub on a real port until the test ends.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = self.router.clone().into_make_service_with_connect_info::<Peer>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        address
    }

    /// Bytes in files below the hub's folder whose path contains `part`.
    pub(crate) fn bytes_in(&self, part: &str) -> u64 {
        fn walk(folder: &Path, part: &str) -> u64 {
            let Ok(entries) = fs::read_dir(folder) else { return 0 };
            entries
                .flatten()
                .map(|entry| {
                    let path = entry.path();
                    match entry.metadata() {
                        Ok(meta) if meta.is_dir() => walk(&path, part),
                        Ok(meta) if path.to_string_lossy().contains(part) => meta.len(),
                        _ => 0,
                    }
                })
                .sum()
        }
        walk(self.folder.path(), part)
    }
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn session(self, session: &str) -> Self {
        self.header("cookie", &format!("cairn_session={session}"))
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(mut self, body: Json) -> Self {
        self.body = Body::from(body.to_string());
        self.header("content-type", "application/json")
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    /// Sent from a page of this origin, or without saying.
    pub(crate) fn from(mut self, origin: Option<&'static str>) -> Self {
        self.origin = origin;
        self.writes = true;
        self
    }

    pub(crate) fn peer(mut self, address: &str) -> Self {
        self.peer = address.parse().unwrap();
        self
    }

    pub(crate) fn build(self) -> Request<Body> {
        let mut request = self.request.header("host", self.host);
        if let Some(origin) = self.origin.filter(|_| self.writes) {
            request = request.header("origin", origin);
        }
        let mut request = request.body(self.body).unwrap();
        request.extensions_mut().insert(ConnectInfo(Peer { address: self.peer, tls: false }));
        request
    }

    pub(crate) async fn send(self) -> Answer {
        let router = self.world.router.clone();
        let response = tokio::time::timeout(PATIENCE, router.oneshot(self.build())).await;
        let (parts, body) = response.expect("no answer in time").unwrap().into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.unwrap().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
