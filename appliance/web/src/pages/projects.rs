//! Projects: what people work on together, with their assessments, documents, members and channel.

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use cairn_store::{Action, ListQuery, Order, Record};
use cairn_sync::{Fields, Kind, RecordId, Value};
use maud::{Markup, html};

use super::{
    layout::{Place, View},
    library,
    markdown::{markdown, plain},
    notices::{self, Saved, Where, of_kind, save},
    page::Page,
    parts::{Names, authors, button, crumb, delete_form, empty, face, icon, moment, more, sync_badge, tabs},
};
use crate::{
    forms::{self, Field, FieldKind, Form, Shown},
    hub::Hub,
    i18n::{Count, Key as K, Language},
    problem::Problem,
};

const FIELDS: [&str; 4] = ["name", "description", "status", "open"];
/// People offered in the list of whom to add.
const PEOPLE_OFFERED: u16 = 200;

/// A tab of a project's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Documents,
    Messages,
    People,
}

pub(super) async fn list(
    State(hub): State<Hub>,
    p: Page,
    Query(at): Query<Where>,
) -> Result<Response, Problem> {
    let l = p.l;
    let query = ListQuery::of(Kind::Project).order(Order::Changed).after(at.cursor()).limit(30);
    let projects = hub.store.list(&p.viewer, query).await?;
    let may_add = hub.store.may(&p.viewer, Action::Create, (Kind::Project, None)).await?;
    let add = html! { @if may_add { (button("/projects/new", "plus", l.t(K::ProjectNew), true)) } };
    let body = html! {
        div class="page-head" { div { h1 { (l.t(K::ProjectsTitle)) } p class="lead" { (l.t(K::ProjectsLead)) } } (add) }
        div id="projects" data-live="say" {
            @if projects.items.is_empty() {
                (empty("projects", l.t(K::ProjectsEmpty), l.t(K::ProjectsEmptyText), html! {}))
            } @else {
                ul class="list" {
                    @for project in &projects.items {
                        li { div class="row" {
                            (icon("projects"))
                            div class="row-main" {
                                a class="row-title" dir="auto" href=(format!("/projects/{}", project.id)) { (project.text("name")) }
                                p class="quiet" dir="auto" { (plain(project.text("description"), 140)) }
                            }
                            div class="row-end" { (status_badge(l, project)) (sync_badge(&p, project)) }
                        } }
                    }
                }
            }
        }
        (more(l, "/projects", projects.next.as_ref()))
    };
    Ok(p.show(&View::new(l.t(K::ProjectsTitle), Place::Projects).live("project"), body))
}

fn status_badge(l: Language, project: &Record) -> Markup {
    let (class, key) = match project.text("status") {
        "paused" => ("badge warn", K::ProjectPaused),
        "done" => ("badge", K::ProjectDone),
        _ => ("badge ok", K::ProjectActive),
    };
    html! { span class=(class) { (l.t(key)) } @if !project.flag("open") { span class="badge" { (icon("lock")) (l.t(K::ProjectIsClosed)) } } }
}

/// The head of every page of a project.
pub(super) fn head(p: &Page, project: &Record, tab: Tab) -> Markup {
    let l = p.l;
    let id = project.id;
    let items = [
        (format!("/projects/{id}"), l.t(K::ProjectOverview), tab == Tab::Overview),
        (format!("/projects/{id}/documents"), l.t(K::ProjectDocuments), tab == Tab::Documents),
        (format!("/projects/{id}/messages"), l.t(K::ProjectChannel), tab == Tab::Messages),
        (format!("/projects/{id}/people"), l.t(K::ProjectMembers), tab == Tab::People),
    ];
    html! {
        (crumb("/projects", l.t(K::ProjectsTitle)))
        div class="page-head" {
            div { h1 dir="auto" { (project.text("name")) } p class="cluster" { (status_badge(l, project)) (sync_badge(p, project)) } }
        }
        (tabs(project.text("name"), &items))
        p class="presence" id="presence" hidden {}
    }
}

pub(super) async fn show(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let l = p.l;
    let project = of_kind(&hub, &p, id, Kind::Project).await?;
    let assessments =
        hub.store.list(&p.viewer, ListQuery::of(Kind::Assessment).project(Some(id)).limit(100)).await?.items;
    let notices =
        hub.store.list(&p.viewer, ListQuery::of(Kind::Notice).project(Some(id)).limit(20)).await?.items;
    let notices = notices::current(notices, 5);
    let names = Names::of(&hub, &p, authors(notices.iter())).await?;
    let may_edit = hub.store.may(&p.viewer, Action::Update, &project).await?;
    let may_add = hub.store.may(&p.viewer, Action::Create, (Kind::Assessment, Some(id))).await?;
    let may_tell = hub.store.may(&p.viewer, Action::Create, (Kind::Notice, Some(id))).await?;
    let body = html! {
        (head(&p, &project, Tab::Overview))
        div id="about" data-live="quiet" { (markdown(project.text("description"))) }
        section class="section" aria-labelledby="assessments-title" {
            div class="section-head" {
                h2 id="assessments-title" { (l.t(K::AssessmentsTitle)) }
                @if may_add { (button(&format!("/projects/{id}/assessments/new"), "plus", l.t(K::AssessmentNew), false)) }
            }
            div id="assessments" data-live="say" {
                @if assessments.is_empty() {
                    (empty("form", l.t(K::AssessmentsEmpty), l.t(K::AssessmentsEmptyText), html! {}))
                } @else {
                    ul class="list" { @for assessment in &assessments { li { (assessment_row(&p, assessment)) } } }
                }
            }
        }
        @if may_tell || !notices.is_empty() {
            section class="section" aria-labelledby="notices-title" {
                div class="section-head" {
                    h2 id="notices-title" { (l.t(K::ProjectNotices)) }
                    @if may_tell { (button(&format!("/notices/new?project={id}"), "plus", l.t(K::NoticeNew), false)) }
                }
                div class="stack measure" id="notices" data-live="say" {
                    @for notice in &notices { (notices::card(&p, &names, notice)) }
                    @if notices.is_empty() { p class="quiet" { (l.t(K::HomeNoticesEmpty)) } }
                }
            }
        }
        div class="actions section" {
            @if may_edit { (button(&format!("/projects/{id}/edit"), "edit", l.t(K::ProjectEdit), false)) }
            (button(&format!("/records/{id}/history"), "history", l.t(K::History), false))
        }
    };
    let title = project.text("name").to_owned();
    let view = View::new(&title, Place::Projects)
        .live("project assessment response notice")
        .project(Some(id))
        .about(id);
    Ok(p.show(&view, body))
}

fn assessment_row(p: &Page, assessment: &Record) -> Markup {
    let l = p.l;
    let (class, key) = match assessment.text("status") {
        "open" => ("badge ok", K::AssessmentOpen),
        "closed" => ("badge", K::AssessmentClosed),
        _ => ("badge info", K::AssessmentDraft),
    };
    let responses = assessment.int("responses").unwrap_or(0).unsigned_abs();
    html! {
        div class="row" {
            (icon("form"))
            div class="row-main" {
                a class="row-title" dir="auto" href=(format!("/assessments/{}", assessment.id)) { (assessment.text("title")) }
                p class="meta" { span { (l.count(Count::AssessmentResponses, responses)) } (moment(l, assessment.changed_at_ms)) }
            }
            div class="row-end" { span class=(class) { (l.t(key)) } (sync_badge(p, assessment)) }
        }
    }
}

pub(super) async fn documents(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    Query(at): Query<Where>,
) -> Result<Response, Problem> {
    let l = p.l;
    let project = of_kind(&hub, &p, id, Kind::Project).await?;
    let query = ListQuery::of(Kind::Document).project(Some(id)).after(at.cursor()).limit(40);
    let documents = hub.store.list(&p.viewer, query).await?;
    let names = Names::of(&hub, &p, authors(documents.items.iter())).await?;
    let may_add = hub.store.may(&p.viewer, Action::Create, (Kind::Document, Some(id))).await?;
    let body = html! {
        (head(&p, &project, Tab::Documents))
        div class="columns" {
            div {
                div id="documents" data-live="quiet" {
                    @if documents.items.is_empty() { (empty("library", l.t(K::LibraryEmpty), l.t(K::LibraryEmptyText), html! {})) }
                    @else { ul class="list" { @for document in &documents.items { li { (library::row(&p, &names, document)) } } } }
                }
                (more(l, &format!("/projects/{id}/documents"), documents.next.as_ref()))
            }
            aside { @if may_add { (library::upload_form(&p, Some(id))) } }
        }
    };
    let title = format!("{} · {}", l.t(K::ProjectDocuments), project.text("name"));
    Ok(p.show(&View::new(&title, Place::Projects).live("document").project(Some(id)), body))
}

pub(super) async fn people(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    people_page(&hub, &p, id, StatusCode::OK, &Shown::empty()).await
}

async fn people_page(
    hub: &Hub,
    p: &Page,
    id: RecordId,
    status: StatusCode,
    shown: &Shown,
) -> Result<Response, Problem> {
    let l = p.l;
    let project = of_kind(hub, p, id, Kind::Project).await?;
    let members = if p.is_signed_in() {
        hub.store
            .list(
                &p.viewer,
                ListQuery::of(Kind::Membership).project(Some(id)).order(Order::Oldest).limit(200),
            )
            .await?
            .items
    } else {
        Vec::new()
    };
    let names =
        Names::of(hub, p, members.iter().filter_map(|member| member.reference("person")).collect()).await?;
    let may_add = hub.store.may(&p.viewer, Action::Create, (Kind::Membership, Some(id))).await?;
    let everyone = if may_add {
        hub.store.list(&p.viewer, ListQuery::of(Kind::Person).limit(PEOPLE_OFFERED)).await?.items
    } else {
        Vec::new()
    };
    let known: Vec<_> = members.iter().filter_map(|member| member.reference("person")).collect();
    let offered: Vec<(String, &str)> = everyone
        .iter()
        .filter(|person| !known.contains(&person.id))
        .map(|person| (person.id.to_string(), person.text("name")))
        .collect();
    let offered: Vec<(&str, &str)> = offered.iter().map(|(id, name)| (id.as_str(), *name)).collect();
    let roles =
        [("viewer", l.t(K::RoleViewer)), ("editor", l.t(K::RoleEditor)), ("owner", l.t(K::RoleOwner))];
    let body = html! {
        (head(p, &project, Tab::People))
        @if !p.is_signed_in() { p class="flash info" { (l.t(K::PeopleSignIn)) } }
        div class="columns" {
            div id="members" data-live="quiet" {
                @if members.is_empty() { (empty("people", l.t(K::ProjectNoMembers), l.t(K::PeopleEmptyText), html! {})) }
                @else {
                    ul class="list" {
                        @for member in &members {
                            @let name = names.or_somebody(l, member.reference("person"));
                            li { div class="row" {
                                (face(&name))
                                div class="row-main" {
                                    a class="row-title" dir="auto" href=(format!("/people/{}", member.text("person"))) { (name) }
                                    p class="meta" { span { (role_name(l, member.text("role"))) } }
                                }
                                @if may_add {
                                    form class="row-end" method="post" action=(format!("/projects/{id}/people/{}/delete", member.id)) {
                                        (forms::hidden(&p.csrf, &Shown::empty()))
                                        button class="button" aria-label=(format!("{}: {name}", l.t(K::Remove))) { (l.t(K::Remove)) }
                                    }
                                }
                            } }
                        }
                    }
                }
            }
            @if may_add && !offered.is_empty() {
                aside class="card stack" {
                    h2 { (l.t(K::ProjectAddMember)) }
                    (shown.summary(l))
                    form class="form" method="post" action=(format!("/projects/{id}/people")) {
                        (forms::hidden(&p.csrf, shown))
                        (Field::new(l, shown, "person", K::AccountName).show(&FieldKind::Select(&offered)))
                        (Field::new(l, shown, "role", K::ProjectRole).show(&FieldKind::Select(&roles)))
                        button class="button primary" { (l.t(K::Add)) }
                    }
                }
            }
        }
    };
    let title = format!("{} · {}", l.t(K::ProjectMembers), project.text("name"));
    Ok(p.show_with(
        status,
        &View::new(&title, Place::Projects).live("membership person").project(Some(id)),
        body,
    ))
}

fn role_name(l: Language, role: &str) -> &'static str {
    l.t(match role {
        "owner" => K::RoleOwner,
        "editor" => K::RoleEditor,
        _ => K::RoleViewer,
    })
}

pub(super) async fn add_member(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    match forms::read_fields(p.l, Kind::Membership, &["person", "role"], &sent) {
        Ok(fields) => {
            hub.store.create(&p.viewer, Kind::Membership, Some(id), fields, sent.change()).await?;
            Ok(p.go(&format!("/projects/{id}/people"), "saved"))
        }
        Err(errors) => {
            people_page(&hub, &p, id, StatusCode::UNPROCESSABLE_ENTITY, &Shown::again(sent, errors)).await
        }
    }
}

pub(super) async fn remove_member(
    State(hub): State<Hub>,
    p: Page,
    Path((id, membership)): Path<(RecordId, RecordId)>,
    sent: Form,
) -> Result<Response, Problem> {
    of_kind(&hub, &p, membership, Kind::Membership).await?;
    hub.store.delete(&p.viewer, membership, sent.change()).await?;
    Ok(p.go(&format!("/projects/{id}/people"), "saved"))
}

fn form_page(
    p: &Page,
    status: StatusCode,
    id: Option<RecordId>,
    shown: &Shown,
    note: Markup,
    after: Markup,
) -> Response {
    let l = p.l;
    let (title, action, back) = match id {
        Some(id) => (l.t(K::ProjectEdit), format!("/projects/{id}/edit"), format!("/projects/{id}")),
        None => (l.t(K::ProjectNew), "/projects".to_owned(), "/projects".to_owned()),
    };
    let states =
        [("active", l.t(K::ProjectActive)), ("paused", l.t(K::ProjectPaused)), ("done", l.t(K::ProjectDone))];
    let body = html! {
        (crumb(&back, l.t(K::Back))) h1 { (title) } p class="presence" id="presence" hidden {}
        div class="section" {
            (note)
            (shown.summary(l))
            form class="form" method="post" action=(action) data-queue=(title) {
                (forms::hidden(&p.csrf, shown))
                (Field::new(l, shown, "name", K::ProjectName).needed().limit(cairn_sync::kinds::LINE).line())
                (Field::new(l, shown, "description", K::ProjectDescription).hint(K::MarkdownHint).text())
                (Field::new(l, shown, "status", K::ProjectStatus).show(&FieldKind::Select(&states)))
                (Field::new(l, shown, "open", K::ProjectOpen).show(&FieldKind::Check))
                div data-outcome {}
                div class="actions" { button class="button primary" { (l.t(K::Save)) } a class="button" href=(back) { (l.t(K::Cancel)) } }
            }
            (after)
        }
    };
    let view = View::new(title, Place::Projects);
    p.show_with(status, &id.map_or_else(|| View::new(title, Place::Projects), |id| view.editing(id)), body)
}

pub(super) async fn new(p: Page) -> Response {
    let mut shown = Shown::empty();
    shown.form.set("open", "on");
    form_page(&p, StatusCode::OK, None, &shown, html! {}, html! {})
}

pub(super) async fn create(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    match forms::read_fields(p.l, Kind::Project, &FIELDS, &sent) {
        Ok(fields) => {
            let project = hub.store.create(&p.viewer, Kind::Project, None, fields, sent.change()).await?;
            own(&hub, &p, &project, &sent).await?;
            Ok(p.go(&format!("/projects/{}", project.id), "saved"))
        }
        Err(errors) => Ok(form_page(
            &p,
            StatusCode::UNPROCESSABLE_ENTITY,
            None,
            &Shown::again(sent, errors),
            html! {},
            html! {},
        )),
    }
}

/// Whoever makes a project owns it. The store may have seen to that already; sent twice, it happens once.
async fn own(hub: &Hub, p: &Page, project: &Record, sent: &Form) -> Result<(), Problem> {
    let Some(person) = p.person_id() else { return Ok(()) };
    if hub.store.project_role(&p.viewer, project.id).await?.is_some() {
        return Ok(());
    }
    let fields: Fields =
        [("person".to_owned(), Value::from(person.to_string())), ("role".to_owned(), Value::from("owner"))]
            .into();
    // A change id of its own, made from the form's, so that a form sent twice adds nobody twice.
    let change = sent.change().map(|change| {
        let mut bytes = [0; 16];
        let hash = blake3::hash(format!("{change} owner").as_bytes());
        for (byte, from) in bytes.iter_mut().zip(hash.as_bytes()) {
            *byte = *from;
        }
        cairn_sync::ChangeId::from_bytes(bytes)
    });
    hub.store.create(&p.viewer, Kind::Membership, Some(project.id), fields, change).await?;
    Ok(())
}

pub(super) async fn edit(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let project = of_kind(&hub, &p, id, Kind::Project).await?;
    let after = delete_form(&p, &format!("/projects/{id}/delete"));
    Ok(form_page(&p, StatusCode::OK, Some(id), &Shown::of(&project), html! {}, after))
}

pub(super) async fn update(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    match save(&hub, &p, id, Kind::Project, &FIELDS, sent).await? {
        Saved::Yes => Ok(p.go(&format!("/projects/{id}"), "saved")),
        Saved::No { shown, note } => {
            Ok(form_page(&p, StatusCode::UNPROCESSABLE_ENTITY, Some(id), &shown, note, html! {}))
        }
    }
}

pub(super) async fn delete(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    of_kind(&hub, &p, id, Kind::Project).await?;
    hub.store.delete(&p.viewer, id, sent.change()).await?;
    Ok(p.go("/projects", "deleted"))
}
