//! A hub in a temporary folder with a host that says plausible things, for tests of pages and the preview.

#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod updates;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use cairn_inference::{
    Embed, EmbedRole, Finish, Generate, GenerateEvent, GenerateRequest, InferenceClient, InferenceError,
};
use cairn_library::{Library, LibraryConfig, extract::ExtractorCommand};
use cairn_store::{OpenOptions, OpenReport, Passage, Settings, Store, Viewer};
use cairn_sync::{Fields, Kind, RecordId, Value};
use cairn_web::{
    Captive, CardFacts, Confined, Connectivity, DeviceAct, DeviceFacts, Host, HostError, HostFacts, HostRole,
    Hub, Usage, router,
};
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use scraper::{ElementRef, Html, Selector};
use tempfile::TempDir;
use tower::ServiceExt;

pub(crate) const CODE: &str = "ABCD2345";
pub(crate) const PASSWORD: &str = "stones by the river";
pub(crate) const HOST: &str = "127.0.0.1:8080";

/// Says what a small board would say.
pub(crate) struct FakeHost {
    pub(crate) connectivity: Connectivity,
    pub(crate) opened: OpenReport,
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) acts: Arc<Mutex<Vec<DeviceAct>>>,
}

impl Host for FakeHost {
    fn facts(&self) -> HostFacts {
        let gib = 1 << 30;
        HostFacts {
            version: "0.1.0".into(),
            started_at_ms: 1_795_183_500_000,
            uptime: Duration::from_secs(3 * 86_400 + 500),
            name: "cairn".into(),
            pages: vec!["http://192.168.1.20".into(), "http://cairn.local".into()],
            port: self.port,
            board: Some("Raspberry Pi 4 Model B".into()),
            connectivity: self.connectivity,
            confinement: vec![
                Confined {
                    role: "hub".into(),
                    held: vec!["no new privileges".into(), "files".into(), "system calls".into()],
                    lacking: vec![],
                },
                Confined {
                    role: "infer".into(),
                    held: vec!["no network".into(), "files".into(), "memory limit".into()],
                    lacking: vec!["signal scope".into()],
                },
            ],
            memory: Some(Usage { used: gib, total: 4 * gib }),
            disk: Some(Usage { used: 11 * gib, total: 31 * gib }),
            temperature_c: Some(51.4),
            restarts: vec![("infer".into(), 1)],
            opened: self.opened.clone(),
            device: DeviceFacts {
                appliance: true,
                captive: Some(Captive { address: [192, 168, 73, 1].into(), hosts: &["captive.example"] }),
                provisioning: vec!["cairn.toml, line 3: [hub] has no \"langage\"; it is passed over".into()],
                concerns: vec![("hot", "The processor is too hot.")],
                under_voltage: Some(false),
                card: CardFacts {
                    name: Some("SD SC32G".into()),
                    worn_percent: None,
                    written_bytes: Some(3 * gib),
                    errors: Some(0),
                },
            },
        }
    }

    fn incoming_dir(&self) -> PathBuf {
        self.folder.join("incoming")
    }

    fn install_model(&self, _: PathBuf, _: String) -> BoxFuture<'static, Result<(), HostError>> {
        Box::pin(async { Ok(()) })
    }

    fn remove_model(&self, _: String) -> BoxFuture<'static, Result<(), HostError>> {
        Box::pin(async { Ok(()) })
    }

    fn settings_changed(&self, _: &Settings) {}

    fn restart(&self, _: HostRole) {}

    fn device(&self, act: DeviceAct) -> Result<(), HostError> {
        self.acts.lock().unwrap().push(act);
        Ok(())
    }

    fn recent_log(&self, _: usize) -> Vec<String> {
        vec![]
    }
}

/// No embedding model: search is by words.
pub(crate) struct NoEmbedding;

impl Embed for NoEmbedding {
    fn embed(
        &self,
        _: Vec<String>,
        _: EmbedRole,
    ) -> BoxFuture<'static, Result<Vec<Vec<f32>>, InferenceError>> {
        Box::pin(async { Err(InferenceError::NotConnected) })
    }
}

/// Writes a fixed answer that cites the first passages.
pub(crate) struct Scribe {
    pub(crate) answer: &'static str,
    pub(crate) pace: Duration,
}

impl Generate for Scribe {
    fn generate(&self, _: GenerateRequest) -> BoxStream<'static, GenerateEvent> {
        let pace = self.pace;
        let started = GenerateEvent::Started { model: "sample-1b".into(), prompt_tokens: 320 };
        let words = self.answer.split_inclusive(' ').map(|word| GenerateEvent::Text(word.to_owned()));
        let done =
            GenerateEvent::Done { tokens: 60, finish: Finish::Stop, prefill_ms: 900, decode_ms: 4_000 };
        let events = std::iter::once(started).chain(words).chain([done]);
        stream::iter(events)
            .then(move |event| async move {
                if !pace.is_zero() {
                    tokio::time::sleep(pace).await;
                }
                event
            })
            .boxed()
    }
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) hub: Hub,
    pub(crate) router: Router,
    pub(crate) folder: TempDir,
    /// What was done to the device.
    pub(crate) acts: Arc<Mutex<Vec<DeviceAct>>>,
}

/// What a browser keeps of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn location(&self) -> &str {
        self.headers.get("location").and_then(|to| to.to_str().ok()).unwrap_or_default()
    }

    /// The cookie pair that was set, for the next request.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.headers
            .get_all("set-cookie")
            .iter()
            .filter_map(|value| value.to_str().ok()?.split(';').next())
            .find(|pair| pair.starts_with(name))
            .map(str::to_owned)
    }

    pub(crate) fn html(&self) -> Html {
        Html::parse_document(&self.body)
    }

    /// The id in the path that a redirect leads to.
    pub(crate) fn id(&self) -> RecordId {
        let path = self.location().split('?').next().unwrap();
        path.rsplit('/').find_map(|part| part.parse().ok()).unwrap_or_else(|| panic!("no id in {self:?}"))
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(
            Connectivity::Local,
            ExtractorCommand::new("/nonexistent", ["extract"]),
            Duration::ZERO,
            8080,
        )
        .await
    }

    pub(crate) async fn with(
        connectivity: Connectivity,
        extractor: ExtractorCommand,
        pace: Duration,
        port: u16,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let options = OpenOptions { claim_code: Some(CODE.into()), ..OpenOptions::default() };
        let (store, opened) = Store::open(&folder.path().join("hub"), options).unwrap();
        let scribe = Scribe {
            answer: "Bring the water to a rolling boil and keep it boiling for one minute [1]. \
                     Above 2,000 metres boil it for three minutes [1]. \
                     Boiling also removes heavy metals.",
            pace,
        };
        let library = Library::start(
            store.clone(),
            Arc::new(NoEmbedding),
            Arc::new(scribe),
            LibraryConfig::new(extractor),
        );
        let acts = Arc::default();
        let host = FakeHost {
            connectivity,
            opened,
            folder: folder.path().to_owned(),
            port,
            acts: Arc::clone(&acts),
        };
        let hub = Hub::new(store.clone(), library, InferenceClient::new(), Arc::new(host));
        let router = router(hub.clone());
        Self { store, hub, router, folder, acts }
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path).header("host", HOST).header("accept", "text/html");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let path = request.uri().to_string();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes =
            axum::body::to_bytes(body, 64 << 20).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    /// Sends pairs as a form, with nothing that a script would add.
    pub(crate) async fn post(&self, path: &str, cookie: &str, pairs: &[(String, String)]) -> Answer {
        let pairs: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        let body = pairs.join("&");
        let request = Request::post(path)
            .header("host", HOST)
            .header("accept", "text/html")
            .header("cookie", cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(body))
            .unwrap();
        self.send(request).await
    }

    /// Opens a page, fills in the form with this action as a person without scripts would, and sends it.
    pub(crate) async fn fill(
        &self,
        page: &str,
        cookie: &str,
        action: &str,
        values: &[(&str, &str)],
    ) -> Answer {
        let opened = self.get(page, &[("cookie", cookie)]).await;
        assert_eq!(opened.status, 200, "{page}: {}", opened.body);
        let pairs = filled(&opened, action, values);
        self.post(action, cookie, &pairs).await
    }

    /// The hub's first keeper, by the form.
    pub(crate) async fn claim(&self) -> String {
        let values = [
            ("code", CODE),
            ("hub_name", "Riverside Hall"),
            ("language", "en"),
            ("name", "Amina Haddad"),
            ("login", "amina"),
            ("password", PASSWORD),
            ("again", PASSWORD),
        ];
        let answer = self.fill("/first-run", "", "/first-run", &values).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        answer.cookie("cairn_session").unwrap()
    }

    /// A person by an invitation, by the forms.
    pub(crate) async fn join(&self, keeper: &str, role: &str, name: &str, login: &str) -> String {
        let made = self.fill("/invitations", keeper, "/invitations", &[("role", role), ("days", "7")]).await;
        assert_eq!(made.status, 200, "{}", made.body);
        let html = made.html();
        let code: String = html.select(&Selector::parse(".secret").unwrap()).next().unwrap().text().collect();
        let values = [
            ("code", code.trim()),
            ("name", name),
            ("login", login),
            ("password", PASSWORD),
            ("again", PASSWORD),
        ];
        let answer = self.fill("/sign-up", "", "/sign-up", &values).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        answer.cookie("cairn_session").unwrap()
    }

    pub(crate) async fn viewer(&self, cookie: &str) -> Viewer {
        let token = cookie.split_once('=').unwrap().1;
        let token = cairn_store::SessionToken::from_text(token);
        self.store.viewer_for_session(&token).await.unwrap().unwrap()
    }

    /// A document with its text in the index, without running an extractor.
    pub(crate) async fn document(&self, cookie: &str, title: &str, text: &[(&str, &str)]) -> RecordId {
        let viewer = self.viewer(cookie).await;
        let content: String =
            text.iter().map(|(heading, text)| format!("## {heading}\n\n{text}\n\n")).collect();
        let mut blob = self.store.blob_writer(1 << 20).unwrap();
        blob.write(content.as_bytes()).unwrap();
        let blob = blob.finish().unwrap();
        let fields = fields(&[
            ("title", Value::from(title)),
            ("file", Value::from(blob.to_string())),
            ("file_name", Value::from("text.md")),
            ("media_type", Value::from("text/markdown")),
            ("size", Value::Int(content.len() as i64)),
            ("tags", Value::Set(["water".to_owned()].into())),
        ]);
        let record = self.store.create(&viewer, Kind::Document, None, fields, None).await.unwrap();
        let passages = text
            .iter()
            .enumerate()
            .map(|(ordinal, (heading, text))| Passage {
                ordinal: ordinal as u32,
                heading: (*heading).to_owned(),
                text: (*text).to_owned(),
                location: cairn_store::Location::default(),
            })
            .collect();
        let version = cairn_library::extract::EXTRACTOR_VERSION;
        self.store.put_passages(record.id, blob, version, passages).await.unwrap();
        record.id
    }
}

/// Percent-encoded, every byte that is no letter or digit.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

pub(crate) fn fields(pairs: &[(&str, Value)]) -> Fields {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// What a browser would send of the form with this action, with some fields filled in otherwise.
pub(crate) fn filled(page: &Answer, action: &str, values: &[(&str, &str)]) -> Vec<(String, String)> {
    let html = page.html();
    let form = html
        .select(&Selector::parse("form").unwrap())
        .find(|form| form.value().attr("action") == Some(action))
        .unwrap_or_else(|| panic!("no form for {action}"));
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut names = Vec::new();
    for control in form.select(&Selector::parse("input[name], textarea[name], select[name]").unwrap()) {
        let element = control.value();
        let name = element.attr("name").unwrap().to_owned();
        names.push(name.clone());
        let value = match element.name() {
            "textarea" => Some(control.text().collect::<String>()),
            "select" => {
                let options: Vec<_> = control.select(&Selector::parse("option").unwrap()).collect();
                let chosen = options
                    .iter()
                    .find(|option| option.value().attr("selected").is_some())
                    .or(options.first());
                chosen.and_then(|option| option.value().attr("value")).map(str::to_owned)
            }
            _ => match element.attr("type").unwrap_or("text") {
                "checkbox" | "radio" => {
                    element.attr("checked").map(|_| element.attr("value").unwrap_or("on").to_owned())
                }
                _ => Some(element.attr("value").unwrap_or_default().to_owned()),
            },
        };
        if let Some(value) = value {
            found.entry(name).or_default().push(value);
        }
    }
    for (name, _) in values {
        assert!(names.iter().any(|known| known == name), "the form for {action} has no field {name}");
        found.remove(*name);
    }
    let mut pairs: Vec<(String, String)> = found
        .into_iter()
        .flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)))
        .collect();
    pairs.extend(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    pairs
}

pub(crate) const LANGUAGES: [(&str, &str); 4] = [("en", "ltr"), ("es", "ltr"), ("fr", "ltr"), ("ar", "rtl")];

pub(crate) fn select<'a>(html: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    // Collected before the selector goes.
    let selector = Selector::parse(selector).unwrap();
    html.select(&selector).collect()
}

/// What must hold for every page.
pub(crate) fn check(path: &str, answer: &Answer, language: &str, direction: &str) {
    let html = answer.html();
    let at = format!("{path} in {language}");
    assert!(html.errors.is_empty(), "{at}: {:?}\n{}", html.errors, answer.body);
    assert_eq!(answer.headers["x-cairn"], "1", "{at}");
    let root = html.root_element().value();
    assert_eq!((root.attr("lang"), root.attr("dir")), (Some(language), Some(direction)), "{at}");
    // The strict policy forbids scripts and styles in the page.
    assert!(select(&html, "script:not([src]), style, [style]").is_empty(), "{at}: inline script or style");
    for element in select(&html, "*") {
        for (name, _) in element.value().attrs() {
            assert!(!name.starts_with("on"), "{at}: attribute {name}");
        }
    }
    // The state of the hub, the destinations and one main heading are everywhere.
    assert_eq!(select(&html, "a.state").len(), 1, "{at}: state");
    assert_eq!(select(&html, "nav.rail a[href='/ask']").len(), 1, "{at}: navigation");
    assert_eq!(select(&html, "h1").len(), 1, "{at}: one h1");
    // Ids are unique; labels and descriptions point at something.
    let mut ids = BTreeSet::new();
    for element in select(&html, "[id]") {
        let id = element.value().attr("id").unwrap();
        assert!(ids.insert(id.to_owned()), "{at}: id {id} twice");
    }
    for (selector, attribute) in [
        ("label[for]", "for"),
        ("[aria-describedby]", "aria-describedby"),
        ("[aria-labelledby]", "aria-labelledby"),
    ] {
        for element in select(&html, selector) {
            for id in element.value().attr(attribute).unwrap().split_whitespace() {
                assert!(ids.contains(id), "{at}: {attribute} names {id}");
            }
        }
    }
    for control in select(&html, "input:not([type=hidden]), select, textarea") {
        let labelled = control.value().attr("aria-label").is_some()
            || control
                .value()
                .attr("id")
                .is_some_and(|id| !select(&html, &format!("label[for='{id}']")).is_empty())
            || control
                .ancestors()
                .filter_map(ElementRef::wrap)
                .any(|parent| parent.value().name() == "label");
        assert!(labelled, "{at}: no label for {}", control.html());
    }
    for form in select(&html, "form[method=post]") {
        let multipart = form.value().attr("enctype").is_some();
        let named = form.select(&Selector::parse("input[name=_csrf]").unwrap()).next().is_some();
        let in_action = form.value().attr("action").is_some_and(|action| action.contains("_csrf="));
        assert!(if multipart { in_action } else { named }, "{at}: a form without a token: {}", form.html());
    }
    // No key shows through, and nothing was left to be filled in.
    let text: String = select(&html, "body").iter().flat_map(|body| body.text()).collect();
    for word in text.split_whitespace() {
        let looks_like_key = word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(!looks_like_key, "{at}: the key {word} shows");
    }
    for name in ["{n}", "{name}", "{size}", "{total}", "{query}", "{reason}", "{time}", "{address}"] {
        assert!(!text.contains(name), "{at}: {name} was not filled in");
    }
}
