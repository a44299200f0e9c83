//! Projects: what people work on together, with their assessments, documents, members and channel.

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use cairn_store::{Action, ListQuery, Order, Record};
use cairn_sync::{Kind, RecordId};
use maud::{Markup, html};

use super::{
    layout::{Place, View},
    library,
    markdown::{markdown, plain},
    notices::{self, Saved, Where, of_kind, require, save, to_edit},
    page::Page,
    parts::{Names, authors, button, crumb, delete_form, empty, icon, moment, more, sync_badge, tabs},
};
use crate::{
    forms::{self, Field, FieldKind, Form, Shown},
    hub::Hub,
    i18n::{Count, Key as K, Language},
    problem::Problem,
};

const FIELDS: [&str; 4] = ["name", "description", "status", "open"];

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
                    @for notice in &notices { (notices::card(&p, &names, notice, false)) }
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

pub(super) async fn new(State(hub): State<Hub>, p: Page) -> Result<Response, Problem> {
    require(&hub, &p, Action::Create, (Kind::Project, None)).await?;
    let mut shown = Shown::empty();
    shown.form.set("open", "on");
    Ok(form_page(&p, StatusCode::OK, None, &shown, html! {}, html! {}))
}

pub(super) async fn create(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    match forms::read_fields(p.l, Kind::Project, &FIELDS, &sent) {
        Ok(fields) => {
            let project = hub.store.create(&p.viewer, Kind::Project, None, fields, sent.change()).await?;
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

pub(super) async fn edit(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let project = to_edit(&hub, &p, id, Kind::Project).await?;
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
