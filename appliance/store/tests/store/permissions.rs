//! Every kind, every role, every action, against a reading of the rules in plain Rust that knows nothing of the SQL; and
//! a random world in which no call may show what `get` refuses.

use std::collections::{BTreeMap, BTreeSet};

use cairn_store::{Action, ListQuery, On, Order, Passage, Record, Result, StoreError, Viewer};
use cairn_sync::{BlobId, Fields, Kind, ProjectRole, RecordId, Role, Value};
use proptest::prelude::*;

use crate::common::{Hub, fields, notice, signed_in, system};

/// Somebody as the rules see them, in one project.
#[derive(Debug, Clone)]
struct Somebody {
    name: &'static str,
    viewer: Viewer,
    signed_in: bool,
    role: Role,
    member: Option<ProjectRole>,
    author: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Hub,
    OpenProject,
    ClosedProject,
}

/// The rules, written out kind by kind as a person would explain them.
fn expected(kind: Kind, action: Action, who: &Somebody, place: Place, oneself: bool) -> bool {
    let keeper = who.role == Role::Keeper;
    let in_project = place != Place::Hub;
    let member = in_project && who.member.is_some();
    let enters = keeper || member || place != Place::ClosedProject;
    let owner = in_project && who.member == Some(ProjectRole::Owner);
    let editor = in_project && who.member >= Some(ProjectRole::Editor);
    let contributes =
        keeper || if in_project { editor } else { who.signed_in && who.role >= Role::Volunteer };
    let wrote_it = keeper || owner || (who.author && enters);
    match (kind, action) {
        (Kind::Notice | Kind::Document, Action::Read) => enters,
        (Kind::Notice | Kind::Document, Action::Create) => contributes,
        (Kind::Notice | Kind::Document, Action::Update | Action::Delete) => wrote_it,

        (Kind::Project, Action::Read) => enters,
        // A new project is on the hub, whoever is member of another one.
        (Kind::Project, Action::Create) => who.signed_in && who.role >= Role::Volunteer,
        (Kind::Project, Action::Update | Action::Delete) => keeper || owner,

        (Kind::Assessment, Action::Read) => enters,
        (Kind::Assessment, Action::Create | Action::Update) => contributes,
        (Kind::Assessment, Action::Delete) => wrote_it,

        (Kind::Response, Action::Read) => contributes || (who.author && enters),
        (Kind::Response, Action::Create) => who.signed_in && enters,
        (Kind::Response, Action::Update | Action::Delete) => wrote_it,

        (Kind::Person, Action::Read) => who.signed_in,
        (Kind::Person, Action::Create | Action::Delete) => keeper,
        (Kind::Person, Action::Update) => keeper || oneself,

        (Kind::Team, Action::Read) => who.signed_in && enters,
        (Kind::Team, Action::Create) => contributes,
        (Kind::Team, Action::Update | Action::Delete) => wrote_it,

        (Kind::Membership, Action::Read) => who.signed_in && enters,
        (Kind::Membership, _) => keeper || owner,

        (Kind::Message, Action::Read | Action::Create) => who.signed_in && enters,
        (Kind::Message, Action::Update | Action::Delete) => wrote_it,
    }
}

fn places(kind: Kind) -> &'static [Place] {
    match kind {
        Kind::Person => &[Place::Hub],
        Kind::Project | Kind::Assessment | Kind::Response | Kind::Membership => {
            &[Place::OpenProject, Place::ClosedProject]
        }
        _ => &[Place::Hub, Place::OpenProject, Place::ClosedProject],
    }
}

struct World {
    hub: Hub,
    people: Vec<Somebody>,
    projects: [RecordId; 2],
    assessments: [RecordId; 2],
    blob: BlobId,
}

impl World {
    async fn new() -> Self {
        let hub = Hub::new().await;
        let mut people = vec![Somebody {
            name: "anonymous",
            viewer: Viewer::anonymous(),
            signed_in: false,
            role: Role::Guest,
            member: None,
            author: false,
        }];
        let cast = [
            ("guest", Role::Guest, None, false),
            ("volunteer", Role::Volunteer, None, false),
            ("guest_viewer", Role::Guest, Some(ProjectRole::Viewer), false),
            ("guest_editor", Role::Guest, Some(ProjectRole::Editor), false),
            ("guest_owner", Role::Guest, Some(ProjectRole::Owner), false),
            ("volunteer_viewer", Role::Volunteer, Some(ProjectRole::Viewer), false),
            ("author", Role::Volunteer, Some(ProjectRole::Editor), true),
            ("author_outside", Role::Volunteer, None, true),
            ("second_keeper", Role::Keeper, None, false),
        ];
        for (name, role, member, author) in cast {
            let viewer = hub.person(name, role).await;
            people.push(Somebody { name, viewer, signed_in: true, role, member, author });
        }
        let closed = hub.person("closed", Role::Keeper).await;
        let account = closed.person().unwrap();
        hub.store
            .update(&hub.keeper, account, fields([("disabled", true.into())]), None, None)
            .await
            .unwrap();
        // A viewer made before the account was closed counts for nobody at once.
        people.push(Somebody {
            name: "closed",
            viewer: closed,
            signed_in: false,
            role: Role::Guest,
            member: None,
            author: false,
        });
        let open = hub.project(&system(), "open", true).await.id;
        let shut = hub.project(&system(), "closed", false).await.id;
        for project in [open, shut] {
            for one in people.iter().filter(|one| one.member.is_some()) {
                let role = match one.member {
                    Some(ProjectRole::Owner) => "owner",
                    Some(ProjectRole::Editor) => "editor",
                    _ => "viewer",
                };
                hub.member(&system(), project, &one.viewer, role).await;
            }
        }
        let mut writer = hub.store.blob_writer(100).unwrap();
        writer.write(b"file").unwrap();
        let blob = writer.finish().unwrap();
        let mut assessments = [open, shut];
        for place in &mut assessments {
            let fields = fields([
                ("title", "A".into()),
                ("questions", Value::Json(serde_json::json!([]))),
                ("status", "open".into()),
            ]);
            *place =
                hub.store.create(&system(), Kind::Assessment, Some(*place), fields, None).await.unwrap().id;
        }
        Self { hub, people, projects: [open, shut], assessments, blob }
    }

    fn project(&self, place: Place) -> Option<RecordId> {
        match place {
            Place::Hub => None,
            Place::OpenProject => Some(self.projects[0]),
            Place::ClosedProject => Some(self.projects[1]),
        }
    }

    fn fields(&self, kind: Kind, place: Place, person: RecordId) -> Fields {
        match kind {
            Kind::Notice => notice("A"),
            Kind::Document => fields([
                ("title", "A".into()),
                ("file", self.blob.to_string().into()),
                ("file_name", "a".into()),
                ("media_type", "text/plain".into()),
            ]),
            Kind::Project => fields([("name", "A".into()), ("status", "active".into())]),
            Kind::Assessment => fields([
                ("title", "A".into()),
                ("questions", Value::Json(serde_json::json!([]))),
                ("status", "open".into()),
            ]),
            Kind::Response => {
                let assessment = self.assessments[usize::from(place == Place::ClosedProject)];
                fields([
                    ("assessment", assessment.to_string().into()),
                    ("answers", Value::Json(serde_json::json!({}))),
                ])
            }
            Kind::Person => fields([("name", "A".into()), ("role", "guest".into())]),
            Kind::Team => fields([("name", "A".into())]),
            Kind::Membership => fields([("person", person.to_string().into()), ("role", "viewer".into())]),
            Kind::Message => fields([("body", "A".into())]),
        }
    }

    /// A record of the kind there, made by `author`.
    async fn record(&self, kind: Kind, place: Place, author: &Somebody) -> Record {
        let store = &self.hub.store;
        let project = self.project(place);
        if kind == Kind::Project {
            return store.get(&system(), project.unwrap()).await.unwrap();
        }
        let name = format!("x{}", RecordId::new().to_string().split_at(24).1);
        let newcomer = self.hub.person(&name, Role::Guest).await.person().unwrap();
        if kind == Kind::Person {
            return store.get(&system(), newcomer).await.unwrap();
        }
        // Somebody who is outside now was inside when they wrote.
        let by = match kind {
            Kind::Membership => system(),
            _ => author.viewer.clone(),
        };
        let inside = if author.member.is_none() && place != Place::Hub && kind != Kind::Membership {
            Some(self.hub.member(&system(), project.unwrap(), &author.viewer, "editor").await)
        } else {
            None
        };
        let made = store.create(&by, kind, project, self.fields(kind, place, newcomer), None).await.unwrap();
        if let Some(membership) = inside {
            store.delete(&system(), membership.id, None).await.unwrap();
        }
        made
    }
}

fn harmless(kind: Kind, round: usize) -> Fields {
    let text = format!("round {round}");
    match kind {
        Kind::Project | Kind::Person | Kind::Team => fields([("name", text.into())]),
        Kind::Response => fields([("note", text.into())]),
        Kind::Membership => {
            fields([("role", if round.is_multiple_of(2) { "editor" } else { "viewer" }.into())])
        }
        Kind::Message => fields([("body", text.into())]),
        _ => fields([("title", text.into())]),
    }
}

fn went<T>(outcome: &Result<T>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(StoreError::NotFound(_) | StoreError::Forbidden { .. } | StoreError::SignInNeeded(_)) => false,
        Err(other) => panic!("neither done nor refused: {other}"),
    }
}

#[tokio::test]
async fn every_kind_role_and_action_follows_the_rules() {
    let world = World::new().await;
    let store = &world.hub.store;
    let mut checked = 0;
    for kind in Kind::ALL {
        for &place in places(kind) {
            for author in world.people.iter().filter(|one| one.author) {
                let record = world.record(kind, place, author).await;
                for (round, who) in world.people.iter().enumerate() {
                    let mut who = who.clone();
                    // Nobody is the author of a project, a person or a membership here.
                    who.author = record.created_by.is_some() && record.created_by == who.viewer.person();
                    let told = |action: Action| format!("{} {action:?} {kind} {place:?}", who.name);
                    for action in Action::ALL {
                        let wanted = expected(kind, action, &who, place, false);
                        let on = match (action, kind) {
                            (Action::Create, Kind::Project) => On::Place(kind, None),
                            (Action::Create, _) => On::Place(kind, world.project(place)),
                            _ => On::Record(record.id),
                        };
                        assert_eq!(
                            store.may(&who.viewer, action, on).await.unwrap(),
                            wanted,
                            "{}",
                            told(action)
                        );
                        checked += 1;
                    }
                    let may = |action| expected(kind, action, &who, place, false);
                    assert_eq!(
                        went(&store.get(&who.viewer, record.id).await),
                        may(Action::Read),
                        "{}",
                        told(Action::Read)
                    );
                    let edit = store.update(&who.viewer, record.id, harmless(kind, round), None, None).await;
                    assert_eq!(went(&edit), may(Action::Update), "{}", told(Action::Update));
                    let gone = store.delete(&who.viewer, record.id, None).await;
                    assert_eq!(went(&gone), may(Action::Delete), "{}", told(Action::Delete));
                    if gone.is_ok() {
                        store.restore_record(&who.viewer, record.id, None).await.unwrap();
                    }
                    if kind != Kind::Person {
                        let newcomer =
                            world.hub.person(&format!("n{checked}"), Role::Guest).await.person().unwrap();
                        let project = if kind == Kind::Project { None } else { world.project(place) };
                        let made = store
                            .create(&who.viewer, kind, project, world.fields(kind, place, newcomer), None)
                            .await;
                        assert_eq!(went(&made), may(Action::Create), "{}", told(Action::Create));
                    }
                }
            }
        }
    }
    assert!(checked > 1500, "{checked}");
}

#[tokio::test]
async fn people_change_themselves_but_not_their_role() {
    let hub = Hub::new().await;
    let ana = hub.person("ana", Role::Volunteer).await;
    let id = ana.person().unwrap();
    let update = |fields| hub.store.update(&ana, id, fields, None, None);
    assert_eq!(update(fields([("contact", "door 3".into())])).await.unwrap().text("contact"), "door 3");
    for refused in [("role", Value::from("keeper")), ("login", "root".into()), ("disabled", false.into())] {
        assert!(matches!(update(fields([refused])).await, Err(StoreError::Forbidden { .. })));
    }
    assert_eq!(signed_in(&hub.store, id).await.role(), Role::Volunteer);
}

#[tokio::test]
async fn making_a_project_makes_its_owner() {
    let hub = Hub::new().await;
    let ana = hub.person("ana", Role::Volunteer).await;
    let project = hub.project(&ana, "P", false).await;
    assert_eq!(hub.store.project_role(&ana, project.id).await.unwrap(), Some(ProjectRole::Owner));
    let query = ListQuery::of(Kind::Membership).project(Some(project.id));
    let members = hub.store.list(&ana, query).await.unwrap().items;
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].reference("person"), ana.person());
    let twice = fields([("person", ana.person().unwrap().to_string().into()), ("role", "viewer".into())]);
    assert!(matches!(
        hub.store.create(&ana, Kind::Membership, Some(project.id), twice, None).await,
        Err(StoreError::Invalid(_))
    ));
}

#[derive(Debug, Clone)]
enum Step {
    Project { by: usize, open: bool },
    Join { project: usize, who: usize, role: usize },
    Make { by: usize, kind: usize, project: Option<usize> },
    Open { project: usize, open: bool },
    Delete { which: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..4_usize, any::<bool>()).prop_map(|(by, open)| Step::Project { by, open }),
        3 => (0..4_usize, 0..4_usize, 0..3_usize).prop_map(|(project, who, role)| Step::Join { project, who, role }),
        8 => (0..4_usize, 0..5_usize, prop::option::of(0..4_usize))
            .prop_map(|(by, kind, project)| Step::Make { by, kind, project }),
        1 => (0..4_usize, any::<bool>()).prop_map(|(project, open)| Step::Open { project, open }),
        1 => (0..40_usize).prop_map(|which| Step::Delete { which }),
    ]
}

/// Runs a plan, then asks every call as everybody.
async fn nothing_leaks(plan: Vec<Step>) {
    let hub = Hub::new().await;
    let store = &hub.store;
    let mut events = store.subscribe();
    let people = [
        hub.person("p0", Role::Volunteer).await,
        hub.person("p1", Role::Volunteer).await,
        hub.person("p2", Role::Guest).await,
        hub.person("p3", Role::Guest).await,
    ];
    let (mut projects, mut made) = (Vec::new(), Vec::new());
    for (number, step) in plan.iter().enumerate() {
        match *step {
            Step::Project { by, open } => {
                let by = if by < 2 { people[by].clone() } else { hub.keeper.clone() };
                let project = hub.project(&by, &format!("p{number}"), open).await;
                projects.push(project.id);
                made.push(project.id);
            }
            Step::Join { project, who, role } => {
                let Some(project) = projects.get(project) else { continue };
                let role = ["viewer", "editor", "owner"][role];
                let person = people[who].person().unwrap().to_string();
                let fields = fields([("person", person.into()), ("role", role.into())]);
                if let Ok(record) =
                    store.create(&system(), Kind::Membership, Some(*project), fields, None).await
                {
                    made.push(record.id);
                }
            }
            Step::Make { by, kind, project } => {
                let project = project.and_then(|at| projects.get(at)).copied();
                let kind = [Kind::Notice, Kind::Message, Kind::Team, Kind::Document, Kind::Document][kind];
                if kind == Kind::Document {
                    let text = format!("shared words number{number}");
                    let may = store.may(&people[by], Action::Create, On::Place(kind, project)).await.unwrap();
                    let by = if may { people[by].clone() } else { system() };
                    if project.is_some()
                        && store.get(&system(), project.unwrap()).await.is_ok_and(|p| p.deleted)
                    {
                        continue;
                    }
                    let document = hub.document(&by, project, &format!("d{number}"), &text).await;
                    let blob = document.text("file").parse().unwrap();
                    let passage =
                        Passage { ordinal: 0, heading: String::new(), text, location: Default::default() };
                    store.put_passages(document.id, blob, 1, vec![passage]).await.unwrap();
                    made.push(document.id);
                    continue;
                }
                let fields = match kind {
                    Kind::Notice => notice("n"),
                    Kind::Message => fields([("body", "m".into())]),
                    _ => fields([("name", "t".into())]),
                };
                if let Ok(record) = store.create(&people[by], kind, project, fields, None).await {
                    made.push(record.id);
                }
            }
            Step::Open { project, open } => {
                let Some(project) = projects.get(project) else { continue };
                let _changed =
                    store.update(&system(), *project, fields([("open", open.into())]), None, None).await;
            }
            Step::Delete { which } => {
                if let Some(id) = made.get(which) {
                    let _deleted = store.delete(&system(), *id, None).await;
                }
            }
        }
    }
    let bare = store.pending_embeddings(1000).await.unwrap();
    let mut unit = vec![0.0; cairn_store::DIMENSIONS];
    unit[0] = 1.0;
    store.put_embeddings(bare.iter().map(|(id, _)| (*id, unit.clone())).collect()).await.unwrap();
    let mut seen_events = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen_events.push(event);
    }

    for viewer in people.iter().chain([&Viewer::anonymous(), &hub.keeper]) {
        let mut readable = BTreeMap::new();
        let everybody = people.iter().chain([&hub.keeper]).filter_map(Viewer::person);
        let members = store.list(&system(), ListQuery::of(Kind::Membership).limit(200)).await.unwrap();
        let ids: BTreeSet<_> = made
            .iter()
            .copied()
            .chain(everybody)
            .chain(members.items.iter().map(|record| record.id))
            .collect();
        for id in &ids {
            if let Ok(record) = store.get(viewer, *id).await {
                readable.insert(*id, record);
            }
        }
        let living = |kind| {
            readable
                .values()
                .filter(|record| record.kind == kind && !record.deleted)
                .map(|record| record.id)
                .collect::<BTreeSet<_>>()
        };
        let counts = store.counts(viewer).await.unwrap();
        for kind in Kind::ALL {
            for order in [Order::Newest, Order::Oldest, Order::Changed] {
                let listed = store.list(viewer, ListQuery::of(kind).order(order).limit(200)).await.unwrap();
                let listed: BTreeSet<_> = listed.items.iter().map(|record| record.id).collect();
                assert_eq!(listed, living(kind), "{kind} {order:?}");
            }
            assert_eq!(counts[&kind], living(kind).len() as u64, "{kind}");
            let trash = ListQuery { deleted: true, ..ListQuery::of(kind).limit(200) };
            for record in store.list(viewer, trash).await.unwrap().items {
                assert!(readable.contains_key(&record.id) && record.deleted);
            }
            for project in &projects {
                let query = ListQuery::of(kind).project(Some(*project)).limit(200);
                for record in store.list(viewer, query).await.unwrap().items {
                    assert!(readable.contains_key(&record.id));
                }
            }
        }
        let many: Vec<_> = ids.iter().copied().take(200).collect();
        let many = store.get_many(viewer, &many).await.unwrap();
        assert!(many.iter().all(|record| readable.contains_key(&record.id)));
        for id in &ids {
            assert_eq!(store.history(viewer, *id, None, 0).await.is_ok(), readable.contains_key(id));
            let opened = store.open_file(viewer, *id).await.is_ok();
            assert!(!opened || readable.contains_key(id));
            assert!(store.document_index(viewer, *id).await.is_err() || readable.contains_key(id));
        }
        let documents = living(Kind::Document);
        let words = store.search_text(viewer, "shared words", 200).await.unwrap();
        let meaning = store.search_vector(viewer, &unit, 200).await.unwrap();
        for hits in [&words, &meaning] {
            let found: BTreeSet<_> = hits.iter().map(|hit| hit.document).collect();
            assert_eq!(found, documents);
        }
        let passages: Vec<_> = bare.iter().map(|(id, _)| *id).take(200).collect();
        for passage in store.passages(viewer, &passages).await.unwrap() {
            assert!(documents.contains(&passage.document));
        }
        for event in &seen_events {
            let told = store.visible(viewer, event).await.unwrap();
            let gone = store.get(&system(), event.id).await.map_or(true, |record| record.deleted);
            assert!(!told || gone || readable.contains_key(&event.id), "{event:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn no_call_shows_what_get_refuses(plan in prop::collection::vec(step(), 20..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(nothing_leaks(plan));
    }
}
