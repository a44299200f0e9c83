//! Sharing and conflicts as people meet them: two hubs that changed the same words, a gateway that decides with the real
//! engine, and somebody in front of the page.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::support::{LANGUAGES, World, check, fields, filled, select};
use cairn_store::{OpenOptions, Part, Secret, Store, SyncFigures, TakenIn, Viewer};
use cairn_sync::{
    HubId, Kind, RecordId, Value,
    admission::{Admission, Seat},
    batch::WorkingSet,
    checksum::Checksum,
    session::Way,
    wire::{Cursor, MAX_RECORDS, PROTOCOL, Reply, Request, ScopeId},
};
use cairn_web::{Uplink, UplinkError, UplinkMode, UplinkState, UplinkStatus, router};
use futures::future::BoxFuture;

const ALL: Viewer = Viewer::system(Part::Console);

/// Decides with the engine; everything in memory.
#[derive(Default)]
struct Gateway {
    set: WorkingSet,
    seats: BTreeMap<HubId, Seat>,
    tickets: u64,
}

impl Gateway {
    fn serve(&mut self, request: &Request) -> Reply {
        let seat = self.seats.get(&request.hub).copied().unwrap_or_default();
        assert_ne!(seat.admit(request), Admission::Copy);
        self.tickets += 1;
        let seat = seat.served(request, self.tickets);
        self.seats.insert(request.hub, seat);
        let written = self.set.apply(&request.changes, |_| true);
        self.set.version = written.version;
        let version = self.set.version;
        let mut records: Vec<_> = self.set.records.values().cloned().collect();
        records.retain(|record| {
            request.cursors.get(&record.project.into()).is_some_and(|cursor| record.version > cursor.version)
        });
        records.sort_by_key(|record| record.version);
        let sum = |scope: ScopeId| {
            let mut sum = Checksum::default();
            let of_scope = self.set.records.values().filter(|record| ScopeId::from(record.project) == scope);
            of_scope.for_each(|record| sum.add(record));
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

    async fn meet(&mut self, store: &Store) {
        let mut random = [0; 16];
        getrandom::fill(&mut random).unwrap();
        let request = store.sync_request(random, MAX_RECORDS).await.unwrap();
        let taken = store.sync_take_in(self.serve(&request)).await.unwrap();
        assert!(matches!(taken, TakenIn::Done(_)), "{taken:?}");
    }
}

/// Two hubs of which the second is the one that people look at.
struct Two {
    world: World,
    keeper: String,
    other: Store,
    gateway: Gateway,
    _folder: tempfile::TempDir,
}

impl Two {
    async fn new() -> Self {
        let world = World::new().await;
        let keeper = world.claim().await;
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { upkeep: false, ..OpenOptions::default() };
        let (other, _) = Store::open(folder.path(), options).unwrap();
        Self { world, keeper, other, gateway: Gateway::default(), _folder: folder }
    }

    async fn exchange(&mut self) {
        for _ in 0..2 {
            self.gateway.meet(&self.other).await;
            self.gateway.meet(&self.world.store).await;
        }
    }

    /// A notice whose field was changed to `theirs` on the other hub and to `mine` by the keeper here.
    async fn conflict(&mut self, kind: Kind, field: &str, [base, theirs, mine]: [Value; 3]) -> RecordId {
        let viewer = self.world.viewer(&self.keeper).await;
        let mut pairs = vec![(field, base)];
        if kind == Kind::Notice {
            pairs.push(("level", "info".into()));
        }
        if kind == Kind::Project {
            pairs.push(("status", "active".into()));
        }
        let record = self.world.store.create(&viewer, kind, None, fields(&pairs), None).await.unwrap().id;
        self.exchange().await;
        self.other.update(&ALL, record, fields(&[(field, theirs)]), None, None).await.unwrap();
        self.gateway.meet(&self.other).await;
        self.world.store.update(&viewer, record, fields(&[(field, mine)]), None, None).await.unwrap();
        self.gateway.meet(&self.world.store).await;
        record
    }

    async fn notice(&mut self, texts: [&str; 3]) -> RecordId {
        self.conflict(Kind::Notice, "title", texts.map(Value::from)).await
    }

    async fn paths(&self) -> Vec<String> {
        let open = self.world.store.conflicts(&ALL, None, 50).await.unwrap();
        open.iter().map(|conflict| format!("/conflicts/{}", conflict.key.as_str())).collect()
    }

    async fn title(&self, record: RecordId) -> [String; 2] {
        let here = self.world.store.get(&ALL, record).await.unwrap().text("title").to_owned();
        let there = self.other.get(&ALL, record).await.unwrap().text("title").to_owned();
        [here, there]
    }

    /// Opens the conflict's page, presses the button with this value, as a browser without scripts does.
    async fn press(&self, path: &str, choice: &str) -> crate::support::Answer {
        let opened = self.world.get(path, &[("cookie", &self.keeper)]).await;
        assert_eq!(opened.status, 200, "{path}: {}", opened.body);
        let html = opened.html();
        assert!(
            !select(&html, &format!("button[name=choice][value={choice}]")).is_empty(),
            "no button for {choice}"
        );
        let mut pairs = filled(&opened, path, &[]);
        pairs.retain(|(name, _)| name.starts_with('_'));
        pairs.push(("choice".into(), choice.into()));
        self.world.post(path, &self.keeper, &pairs).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_shows_both_sides_with_what_differs_and_takes_every_decision() {
    let mut two = Two::new().await;
    for (choice, outcome) in [
        ("present", "Water at seven"),
        ("incoming", "Water at nine"),
        ("both", "Water at seven / Water at nine"),
    ] {
        let record = two.notice(["Water at eight", "Water at seven", "Water at nine"]).await;
        let paths = two.paths().await;
        assert_eq!(paths.len(), 1, "{choice}");
        let cookie = [("cookie", two.keeper.as_str())];
        // The number stands on every page, and the record leads there.
        let home = two.world.get("/", &cookie).await;
        assert_eq!(select(&home.html(), "a.shared[href='/conflicts']").len(), 1);
        let notice = two.world.get(&format!("/notices/{record}"), &cookie).await;
        let link = format!("a[href='/records/{record}/conflicts']");
        assert_eq!(select(&notice.html(), &link).len(), 1, "{}", notice.body);
        assert_eq!(
            two.world.get(&format!("/records/{record}/conflicts"), &cookie).await.location(),
            paths[0]
        );
        let page = two.world.get(&paths[0], &cookie).await;
        let html = page.html();
        let columns = select(&html, ".versions > section");
        assert_eq!(columns.len(), 3, "{}", page.body);
        let marked: Vec<String> =
            select(&html, ".versions ins").iter().map(|ins| ins.text().collect()).collect();
        assert_eq!(marked, ["seven", "nine"]);
        assert_eq!(select(&html, "#incoming").first().unwrap().text().collect::<String>(), "Your version");
        let answer = two.press(&paths[0], choice).await;
        assert_eq!((answer.status, answer.location()), (303, format!("{}?done=settled", paths[0]).as_str()));
        // A second press changes nothing and is no mistake.
        let after = two.world.get(&paths[0], &cookie).await;
        assert_eq!(after.status, 200);
        assert!(select(&after.html(), "button[name=choice]").is_empty(), "it is over");
        two.exchange().await;
        assert_eq!(two.title(record).await, [outcome, outcome], "{choice}");
        assert!(two.paths().await.is_empty());
        // Both sides stay readable.
        assert!(after.body.contains("nine") && after.body.contains("seven"), "{choice}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_version_can_be_written_and_mistakes_come_back() {
    let mut two = Two::new().await;
    let record = two.notice(["Water at eight", "Water at seven", "Water at nine"]).await;
    let path = two.paths().await.remove(0);
    let page = two.world.get(&path, &[("cookie", &two.keeper)]).await;
    let csrf = filled(&page, &path, &[]).into_iter().find(|(name, _)| name == "_csrf").unwrap();
    let send = async |title: &str| {
        let pairs = [csrf.clone(), ("choice".into(), "edit".into()), ("title".into(), title.into())];
        two.world.post(&path, &two.keeper, &pairs).await
    };
    let refused = send("").await;
    assert_eq!(refused.status, 422);
    assert!(!select(&refused.html(), "#title[aria-invalid=true]").is_empty(), "{}", refused.body);
    assert_eq!(send("Water from seven to nine").await.status, 303);
    two.exchange().await;
    assert_eq!(two.title(record).await, ["Water from seven to nine", "Water from seven to nine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_are_decided_at_once_and_only_those_that_were_ticked() {
    let mut two = Two::new().await;
    let mut records = Vec::new();
    for at in 0..3 {
        records
            .push(two.notice([&format!("Base {at}"), &format!("Theirs {at}"), &format!("Mine {at}")]).await);
    }
    let list = two.world.get("/conflicts", &[("cookie", &two.keeper)]).await;
    let picks: Vec<String> = select(&list.html(), "input[name=pick]")
        .iter()
        .map(|box_| box_.value().attr("value").unwrap().to_owned())
        .collect();
    assert_eq!(picks.len(), 3, "{}", list.body);
    let hidden: Vec<_> =
        filled(&list, "/conflicts", &[]).into_iter().filter(|(name, _)| name.starts_with('_')).collect();
    let none = two
        .world
        .post("/conflicts", &two.keeper, &[hidden.clone(), vec![("choice".into(), "mine".into())]].concat())
        .await;
    assert_eq!(none.location(), "/conflicts?done=none");
    let mut pairs = hidden;
    pairs.push(("choice".into(), "mine".into()));
    pairs.extend(picks.iter().take(2).map(|pick| ("pick".into(), pick.clone())));
    let answer = two.world.post("/conflicts", &two.keeper, &pairs).await;
    assert_eq!(answer.location(), "/conflicts?done=settled", "{}", answer.body);
    assert_eq!(two.paths().await.len(), 1);
    two.exchange().await;
    let mut mine = 0;
    for record in records {
        let [here, there] = two.title(record).await;
        assert_eq!(here, there);
        mine += usize::from(here.starts_with("Mine"));
    }
    assert_eq!(mine, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_against_an_edit_is_for_a_person_too() {
    let mut two = Two::new().await;
    let viewer = two.world.viewer(&two.keeper).await;
    let pairs = [("title", Value::from("Old list")), ("level", "info".into())];
    let record = two.world.store.create(&viewer, Kind::Notice, None, fields(&pairs), None).await.unwrap().id;
    two.exchange().await;
    two.other.update(&ALL, record, fields(&[("title", "New list".into())]), None, None).await.unwrap();
    two.gateway.meet(&two.other).await;
    two.world.store.delete(&viewer, record, None).await.unwrap();
    two.gateway.meet(&two.world.store).await;
    let path = two.paths().await.remove(0);
    let page = two.world.get(&path, &[("cookie", &two.keeper)]).await;
    check(&path, &page, "en", "ltr");
    assert!(page.body.contains("Delete it") && page.body.contains("It should stay"), "{}", page.body);
    assert_eq!(two.press(&path, "incoming").await.status, 303);
    two.exchange().await;
    assert!(two.other.get(&ALL, record).await.map_or(true, |record| record.deleted));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whoever_may_change_it_decides() {
    let mut two = Two::new().await;
    two.notice(["Water at eight", "Water at seven", "<b>Water</b> at nine"]).await;
    let path = two.paths().await.remove(0);
    let guest = two.world.join(&two.keeper, "guest", "Luis", "luis").await;
    let page = two.world.get(&path, &[("cookie", &guest)]).await;
    assert_eq!(page.status, 200);
    assert!(select(&page.html(), "button[name=choice]").is_empty());
    assert!(select(&page.html(), ".versions b").is_empty(), "what people write is text");
    let csrf =
        select(&page.html(), "input[name=_csrf]").first().unwrap().value().attr("value").unwrap().to_owned();
    let pairs = [("_csrf".to_owned(), csrf), ("choice".to_owned(), "present".to_owned())];
    assert_eq!(two.world.post(&path, &guest, &pairs).await.status, 403);
    assert_eq!(two.paths().await.len(), 1);
    for path in ["/conflicts/not-a-change", "/conflicts/0192f0c1-2b3c-7def-8123-456789abcdef/title"] {
        let answer = two.world.get(path, &[("cookie", &two.keeper)]).await;
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_read_well_in_every_language() {
    let mut two = Two::new().await;
    two.notice(["Water at eight", "Water at seven", "Water at nine"]).await;
    let names = ["North bank", "North shore", "North side"].map(Value::from);
    two.conflict(Kind::Project, "name", names).await;
    let paths = two.paths().await;
    assert_eq!(paths.len(), 2);
    for (language, direction) in LANGUAGES {
        for path in paths.iter().map(String::as_str).chain(["/conflicts"]) {
            let page = two.world.get(path, &[("accept-language", language)]).await;
            if page.status == 200 {
                check(path, &page, language, direction);
            }
        }
    }
}

/// Says what it is told to say and writes down what is asked of it.
struct FakeUplink {
    status: Mutex<UplinkStatus>,
    asked: Mutex<Vec<String>>,
}

impl Uplink for FakeUplink {
    fn status(&self) -> UplinkStatus {
        self.status.lock().unwrap().clone()
    }

    fn now(&self) {
        self.asked.lock().unwrap().push("now".into());
    }

    fn through(&self) -> BoxFuture<'static, ()> {
        self.asked.lock().unwrap().push("through".into());
        Box::pin(async {})
    }

    fn set_ways(
        &self,
        mode: UplinkMode,
        way: Way,
        files_up_to: u64,
    ) -> BoxFuture<'static, Result<(), UplinkError>> {
        self.asked.lock().unwrap().push(format!("{mode:?} {way:?} {files_up_to}"));
        Box::pin(async { Ok(()) })
    }

    fn enrol(&self, url: String, token: Secret) -> BoxFuture<'static, Result<(), UplinkError>> {
        self.asked.lock().unwrap().push(format!("{url} {}", token.reveal()));
        let wrong = token.reveal() == "spent";
        Box::pin(async move {
            if wrong { Err(UplinkError("this token was used already".into())) } else { Ok(()) }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_sharing_stands_on_every_page_and_its_page_tells_more() {
    let mut world = World::new().await;
    let keeper = world.claim().await;
    let status = UplinkStatus {
        gateway: Some("https://gateway.example.org".into()),
        community: Some("Lower Valley".into()),
        mode: UplinkMode::Hybrid,
        way: Way::Periodic { every_ms: 900_000 },
        files_up_to: 4 << 20,
        figures: SyncFigures { queue: 2, ..SyncFigures::default() },
        last_success_ms: Some(1_795_183_500_000),
        present: vec!["North bank".into()],
        ..UplinkStatus::alone()
    };
    let uplink = Arc::new(FakeUplink { status: Mutex::new(status), asked: Mutex::default() });
    world.hub = world.hub.clone().with_uplink(Arc::clone(&uplink) as _);
    world.router = router(world.hub.clone());
    for state in [
        UplinkState::Local,
        UplinkState::Idle,
        UplinkState::Busy,
        UplinkState::Waiting,
        UplinkState::Stopped("the gateway does not know this hub's key any more".into()),
    ] {
        uplink.status.lock().unwrap().state = state.clone();
        for (language, direction) in LANGUAGES {
            for path in ["/", "/sync", "/library"] {
                let page = world.get(path, &[("accept-language", language)]).await;
                assert_eq!(page.status, 200);
                check(path, &page, language, direction);
                assert_eq!(select(&page.html(), "a.shared[href='/sync']").len(), 1, "{path} {state:?}");
                assert!(!page.body.contains("gateway.example.org"), "an address is for keepers");
            }
        }
        let page = world.get("/sync", &[("cookie", &keeper)]).await;
        check("/sync", &page, "en", "ltr");
        assert!(page.body.contains("Lower Valley") && page.body.contains("2 changes wait to be shared"));
        let stopped = matches!(state, UplinkState::Stopped(_));
        assert_eq!(page.body.contains("does not know this hub"), stopped);
    }
    let asked = || uplink.asked.lock().unwrap().drain(..).collect::<Vec<_>>();
    assert_eq!(world.fill("/sync", &keeper, "/sync/now", &[]).await.location(), "/sync?done=asked");
    let ways = [("mode", "cloud"), ("way", "periodic"), ("minutes", "5"), ("files", "16")];
    assert_eq!(world.fill("/sync", &keeper, "/sync/ways", &ways).await.location(), "/sync?done=saved");
    for (minutes, files) in [("0", "4"), ("5", "513"), ("5", "-1"), ("5", "")] {
        let ways = [("mode", "cloud"), ("way", "periodic"), ("minutes", minutes), ("files", files)];
        assert_eq!(world.fill("/sync", &keeper, "/sync/ways", &ways).await.status, 422, "{minutes} {files}");
    }
    let token = [("url", "https://gateway.example.org"), ("token", "fresh")];
    assert_eq!(world.fill("/sync", &keeper, "/sync/enrol", &token).await.location(), "/sync?done=enrolled");
    let token = [("url", "https://gateway.example.org"), ("token", "spent")];
    let refused = world.fill("/sync", &keeper, "/sync/enrol", &token).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("this token was used already"), "{}", refused.body);
    assert!(!refused.body.contains("spent"), "a token never comes back");
    assert_eq!(
        asked(),
        [
            "now",
            "Cloud Periodic { every_ms: 300000 } 16777216",
            "https://gateway.example.org fresh",
            "https://gateway.example.org spent"
        ]
    );
    // Somebody who is no keeper asks for nothing.
    let volunteer = world.join(&keeper, "volunteer", "Ana", "ana").await;
    let page = world.get("/sync", &[("cookie", &volunteer)]).await;
    let csrf =
        select(&page.html(), "input[name=_csrf]").first().unwrap().value().attr("value").unwrap().to_owned();
    for path in ["/sync/now", "/sync/ways", "/sync/enrol", "/sync/projects"] {
        let answer = world.post(path, &volunteer, &[("_csrf".to_owned(), csrf.clone())]).await;
        assert_eq!(answer.status, 403, "{path}");
    }
    assert!(asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_says_which_projects_are_shared() {
    let mut world = World::new().await;
    let keeper = world.claim().await;
    let viewer = world.viewer(&keeper).await;
    let mut projects = Vec::new();
    for name in ["North bank", "South bank"] {
        let pairs = [("name", Value::from(name)), ("status", "active".into())];
        projects
            .push(world.store.create(&viewer, Kind::Project, None, fields(&pairs), None).await.unwrap().id);
    }
    let status =
        UplinkStatus { gateway: Some("https://gateway.example.org".into()), ..UplinkStatus::alone() };
    let uplink = FakeUplink { status: Mutex::new(status), asked: Mutex::default() };
    world.hub = world.hub.clone().with_uplink(Arc::new(uplink));
    world.router = router(world.hub.clone());
    let page = world.get("/sync", &[("cookie", &keeper)]).await;
    let mut pairs = filled(&page, "/sync/projects", &[]);
    let second = projects[1].to_string();
    pairs.retain(|(name, value)| !(name == "chosen" && *value == second));
    assert_eq!(world.post("/sync/projects", &keeper, &pairs).await.status, 303);
    let scopes = world.store.sync_scopes(&viewer).await.unwrap();
    let chosen: Vec<_> = scopes.iter().map(|scope| (scope.project, scope.chosen)).collect();
    assert_eq!(chosen, [(projects[0], true), (projects[1], false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_elsewhere_can_be_asked_for() {
    let mut two = Two::new().await;
    let content = vec![7; 5_000_000];
    let mut writer = two.other.blob_writer(content.len() as u64).unwrap();
    writer.write(&content).unwrap();
    let blob = writer.finish().unwrap();
    let pairs = [
        ("title", Value::from("Map of the valley")),
        ("file", blob.to_string().into()),
        ("file_name", "map.png".into()),
        ("media_type", "image/png".into()),
        ("size", Value::Int(content.len() as i64)),
    ];
    let document = two.other.create(&ALL, Kind::Document, None, fields(&pairs), None).await.unwrap().id;
    two.exchange().await;
    let path = format!("/library/{document}");

    // A hub that shares with nobody has no way to it.
    let page = two.world.get(&path, &[("cookie", &two.keeper)]).await;
    assert!(page.body.contains("not connected to a gateway"), "{}", page.body);
    let status = UplinkStatus {
        state: UplinkState::Idle,
        gateway: Some("https://gateway.example.org".into()),
        files_up_to: 4 << 20,
        ..UplinkStatus::alone()
    };
    let uplink = Arc::new(FakeUplink { status: Mutex::new(status), asked: Mutex::default() });
    two.world.hub = two.world.hub.clone().with_uplink(Arc::clone(&uplink) as _);
    two.world.router = router(two.world.hub.clone());
    for (language, direction) in LANGUAGES {
        let page = two.world.get(&path, &[("accept-language", language)]).await;
        assert_eq!(page.status, 200);
        check(&path, &page, language, direction);
    }
    // Whoever is not known is asked to sign in; nothing is asked for in their name.
    let page = two.world.get(&path, &[]).await;
    let html = page.html();
    assert!(select(&html, "form[action$='/fetch']").is_empty());
    assert!(
        select(&html, &format!("a[href^='/api/v1/files/{document}']")).is_empty(),
        "there is nothing to open"
    );
    assert!(page.body.contains("5 MB"), "{}", page.body);
    let refused = two.world.get(&format!("/api/v1/files/{document}"), &[]).await;
    assert_eq!(refused.status, 404);
    assert!(refused.body.contains("file-elsewhere"), "{}", refused.body);

    let fetch = format!("{path}/fetch");
    assert_eq!(two.world.fill(&path, &two.keeper, &fetch, &[]).await.location(), path);
    assert_eq!(uplink.asked.lock().unwrap().drain(..).collect::<Vec<_>>(), ["now"]);
    assert_eq!(two.world.store.sync_missing_files(0, 10).await.unwrap(), [(blob, 5_000_000)]);
    let page = two.world.get(&path, &[("cookie", &two.keeper)]).await;
    check(&path, &page, "en", "ltr");
    assert!(page.body.contains("0 B of 5 MB have come"), "{}", page.body);

    // Half of it, then the rest; the page says so.
    let mut part = two.world.store.blob_part(blob, 5_000_000).unwrap();
    part.write(&content[..2_500_000]).unwrap();
    drop(part);
    let page = two.world.get(&path, &[("cookie", &two.keeper)]).await;
    assert!(page.body.contains("2.5 MB of 5 MB have come"), "{}", page.body);
    let mut part = two.world.store.blob_part(blob, 5_000_000).unwrap();
    part.write(&content[2_500_000..]).unwrap();
    assert!(part.finish().unwrap());
    let page = two.world.get(&path, &[("cookie", &two.keeper)]).await;
    assert!(select(&page.html(), "#elsewhere").is_empty());
    assert!(!select(&page.html(), &format!("a[href='/api/v1/files/{document}']")).is_empty());
    assert!(two.world.store.sync_missing_files(0, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_who_stays_one_here_only_because_nobody_else_is_is_named() {
    let mut two = Two::new().await;
    let keeper = two.world.viewer(&two.keeper).await.person().unwrap();
    two.exchange().await;
    let page = two.world.get("/sync", &[("cookie", &two.keeper)]).await;
    assert!(select(&page.html(), ".flash.warn").is_empty(), "{}", page.body);
    // Somebody elsewhere takes the role away from the only keeper of this hub.
    two.other.update(&ALL, keeper, fields(&[("role", "guest".into())]), None, None).await.unwrap();
    two.exchange().await;
    let name = two.world.store.get(&ALL, keeper).await.unwrap().text("name").to_owned();
    for (language, direction) in LANGUAGES {
        let chosen = fields(&[("language", language.into())]);
        two.world.store.update(&ALL, keeper, chosen, None, None).await.unwrap();
        let page = two.world.get("/sync", &[("cookie", &two.keeper)]).await;
        check("/sync", &page, language, direction);
        let html = page.html();
        let said: Vec<String> =
            select(&html, ".flash.warn").iter().map(|flash| flash.text().collect()).collect();
        assert_eq!(said.len(), 1, "{language}: {}", page.body);
        assert!(said[0].contains(&name), "{language}: {said:?}");
    }
    // Who is not a keeper is not told about others.
    let page = two.world.get("/sync", &[]).await;
    assert!(select(&page.html(), ".flash.warn").is_empty());
    // With another keeper the demotion takes effect, and nothing is said any more.
    let second = two.world.join(&two.keeper, "keeper", "Luis", "luis").await;
    two.exchange().await;
    let page = two.world.get("/sync", &[("cookie", &second)]).await;
    assert!(select(&page.html(), ".flash.warn").is_empty(), "{}", page.body);
}
