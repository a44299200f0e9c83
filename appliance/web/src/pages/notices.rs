//! Notices: what everyone should know.

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use cairn_store::{Action, Cursor, ListQuery, On, Record, StoreError};
use cairn_sync::{Kind, RecordId, Value};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    layout::{Place, View},
    markdown::markdown,
    page::Page,
    parts::{Names, authors, button, byline, crumb, delete_form, empty, icon, more, stale, sync_badge},
};
use crate::{
    forms::{self, Field, FieldKind, Form, Shown},
    hub::Hub,
    i18n::Key as K,
    problem::{Problem, ProblemKind},
};

const FIELDS: [&str; 5] = ["title", "body", "level", "expires_at", "pinned"];
const DAY_MS: i64 = 86_400_000;

/// Where a list goes on, and which project it is about.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Where {
    #[serde(default)]
    pub(super) after: Option<String>,
    #[serde(default)]
    pub(super) project: Option<String>,
}

impl Where {
    /// The cursor of the page before.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        self.after.as_deref().filter(|after| !after.is_empty()).map(Cursor::from_text)
    }

    /// The project, where one is named.
    pub(super) fn project(&self) -> Option<RecordId> {
        self.project.as_deref()?.parse().ok()
    }
}

/// What belongs on the first page: not expired, pinned ones first, then by urgency, then by age.
pub(super) fn current(mut notices: Vec<Record>, limit: usize) -> Vec<Record> {
    let now = now_ms();
    // The day that is named is still shown.
    notices.retain(|notice| notice.int("expires_at").is_none_or(|until| until + DAY_MS > now));
    let urgency = |notice: &Record| match notice.text("level") {
        "urgent" => 0,
        "warning" => 1,
        _ => 2,
    };
    notices.sort_by_key(|notice| {
        (!notice.flag("pinned"), urgency(notice), std::cmp::Reverse(notice.created_at_ms))
    });
    notices.truncate(limit);
    notices
}

/// The wall clock in milliseconds since 1970, for what people read.
pub(super) fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// One notice, under a heading of the page or (`top`) under its title.
pub(super) fn card(p: &Page, names: &Names, notice: &Record, top: bool) -> Markup {
    let l = p.l;
    let (level, picture, key) = match notice.text("level") {
        "urgent" => ("urgent", "urgent", K::LevelUrgent),
        "warning" => ("warning", "warning", K::LevelWarning),
        _ => ("info", "info", K::LevelInfo),
    };
    html! {
        article class=(format!("notice {level}")) {
            span class="sign" aria-hidden="true" { (icon(picture)) }
            div {
                p class="cluster" {
                    span class="level" { (l.t(key)) }
                    @if notice.flag("pinned") { span class="badge" { (icon("pin")) (l.t(K::NoticeIsPinned)) } }
                    (sync_badge(p, notice))
                }
                @let title = html! { a href=(format!("/notices/{}", notice.id)) { (notice.text("title")) } };
                @if top { h2 dir="auto" { (title) } } @else { h3 dir="auto" { (title) } }
                (markdown(notice.text("body")))
                p class="meta" { (byline(l, names, notice)) }
            }
        }
    }
}

pub(super) async fn list(
    State(hub): State<Hub>,
    p: Page,
    Query(at): Query<Where>,
) -> Result<Response, Problem> {
    let l = p.l;
    let notices = hub.store.list(&p.viewer, ListQuery::of(Kind::Notice).after(at.cursor()).limit(20)).await?;
    let names = Names::of(&hub, &p, authors(notices.items.iter())).await?;
    let may_write = hub.store.may(&p.viewer, Action::Create, (Kind::Notice, None)).await?;
    let write = html! { @if may_write { (button("/notices/new", "plus", l.t(K::NoticeNew), true)) } };
    let body = html! {
        div class="page-head" { div { h1 { (l.t(K::NoticesTitle)) } } (write) }
        div class="stack measure" id="notices" data-live="say" {
            @for notice in &notices.items { (card(&p, &names, notice, true)) }
            @if notices.items.is_empty() { (empty("bell", l.t(K::NoticesEmpty), l.t(K::NoticesEmptyText), html! {})) }
        }
        (more(l, "/notices", notices.next.as_ref()))
    };
    Ok(p.show(&View::new(l.t(K::NoticesTitle), Place::Home).live("notice"), body))
}

pub(super) async fn show(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let l = p.l;
    let notice = of_kind(&hub, &p, id, Kind::Notice).await?;
    let names = Names::of(&hub, &p, authors(std::iter::once(&notice))).await?;
    let may_edit = hub.store.may(&p.viewer, Action::Update, &notice).await?;
    let body = html! {
        (crumb("/notices", l.t(K::NoticesTitle)))
        h1 class="sr" dir="auto" { (notice.text("title")) }
        div id="notice" data-live="say" class="measure" { (card(&p, &names, &notice, true)) }
        p class="presence" id="presence" hidden {}
        div class="actions section" {
            @if may_edit { (button(&format!("/notices/{id}/edit"), "edit", l.t(K::Edit), false)) }
            (button(&format!("/records/{id}/history"), "history", l.t(K::History), false))
        }
    };
    let title = notice.text("title").to_owned();
    Ok(p.show(&View::new(&title, Place::Home).live("notice").about(id), body))
}

/// The record, when it is of this kind and the reader may see it.
pub(super) async fn of_kind(hub: &Hub, p: &Page, id: RecordId, kind: Kind) -> Result<Record, Problem> {
    let record = hub.store.get(&p.viewer, id).await?;
    if record.kind == kind && !record.deleted {
        Ok(record)
    } else {
        Err(StoreError::NotFound(kind.name()).into())
    }
}

/// Refuses a page that could not be used: a form for somebody who may not send it.
pub(super) async fn require(hub: &Hub, p: &Page, action: Action, on: impl Into<On>) -> Result<(), Problem> {
    if hub.store.may(&p.viewer, action, on).await? {
        return Ok(());
    }
    let kind = if p.is_signed_in() { ProblemKind::Forbidden } else { ProblemKind::SignInNeeded };
    Err(Problem::new(kind, "this page is for people who may change it"))
}

/// The record, when the reader may change it.
pub(super) async fn to_edit(hub: &Hub, p: &Page, id: RecordId, kind: Kind) -> Result<Record, Problem> {
    let record = of_kind(hub, p, id, kind).await?;
    require(hub, p, Action::Update, &record).await?;
    Ok(record)
}

fn form(p: &Page, action: &str, shown: &Shown, project: Option<RecordId>) -> Markup {
    let l = p.l;
    let levels = [
        ("info", l.t(K::LevelInfo), ""),
        ("warning", l.t(K::LevelWarning), ""),
        ("urgent", l.t(K::LevelUrgent), ""),
    ];
    html! {
        (shown.summary(l))
        form class="form" method="post" action=(action) data-queue=(l.t(K::NoticeNew)) {
            (forms::hidden(&p.csrf, shown))
            @if let Some(project) = project { input type="hidden" name="project" value=(project); }
            (Field::new(l, shown, "title", K::NoticeTitle).needed().limit(cairn_sync::kinds::LINE).line())
            (Field::new(l, shown, "body", K::NoticeBody).hint(K::MarkdownHint).text())
            (Field::new(l, shown, "level", K::NoticeLevel).needed().show(&FieldKind::Radio(&levels)))
            (Field::new(l, shown, "expires_at", K::NoticeExpires).hint(K::NoticeExpiresHint).show(&FieldKind::Line("date", "off")))
            (Field::new(l, shown, "pinned", K::NoticePinned).show(&FieldKind::Check))
            div data-outcome {}
            div class="actions" {
                button class="button primary" { (l.t(K::Save)) }
                a class="button" href="/notices" { (l.t(K::Cancel)) }
            }
        }
    }
}

fn form_page(p: &Page, status: StatusCode, title: K, body: Markup, editing: Option<RecordId>) -> Response {
    let mut view = View::new(p.l.t(title), Place::Home);
    if let Some(id) = editing {
        view = view.editing(id);
    }
    let body = html! { (crumb("/notices", p.l.t(K::NoticesTitle))) h1 { (p.l.t(title)) } p class="presence" id="presence" hidden {} div class="section" { (body) } };
    p.show_with(status, &view, body)
}

pub(super) async fn new(
    State(hub): State<Hub>,
    p: Page,
    Query(at): Query<Where>,
) -> Result<Response, Problem> {
    require(&hub, &p, Action::Create, (Kind::Notice, at.project())).await?;
    let mut shown = Shown::empty();
    shown.form.set("level", "info");
    let body = form(&p, "/notices", &shown, at.project());
    Ok(form_page(&p, StatusCode::OK, K::NoticeNew, body, None))
}

pub(super) async fn create(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    let project = sent.get("project").parse().ok();
    match forms::read_fields(p.l, Kind::Notice, &FIELDS, &sent) {
        Ok(fields) => {
            let notice = hub.store.create(&p.viewer, Kind::Notice, project, fields, sent.change()).await?;
            Ok(p.go(&format!("/notices/{}", notice.id), "saved"))
        }
        Err(errors) => {
            let body = form(&p, "/notices", &Shown::again(sent, errors), project);
            Ok(form_page(&p, StatusCode::UNPROCESSABLE_ENTITY, K::NoticeNew, body, None))
        }
    }
}

pub(super) async fn edit(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let notice = to_edit(&hub, &p, id, Kind::Notice).await?;
    let action = format!("/notices/{id}/edit");
    let body = html! { (form(&p, &action, &Shown::of(&notice), None)) (delete_form(&p, &format!("/notices/{id}/delete"))) };
    Ok(form_page(&p, StatusCode::OK, K::NoticeEdit, body, Some(id)))
}

pub(super) async fn update(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    let action = format!("/notices/{id}/edit");
    match save(&hub, &p, id, Kind::Notice, &FIELDS, sent).await? {
        Saved::Yes => Ok(p.go(&format!("/notices/{id}"), "saved")),
        Saved::No { shown, note } => {
            let body = html! { (note) (form(&p, &action, &shown, None)) };
            Ok(form_page(&p, StatusCode::UNPROCESSABLE_ENTITY, K::NoticeEdit, body, Some(id)))
        }
    }
}

pub(super) async fn delete(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    of_kind(&hub, &p, id, Kind::Notice).await?;
    hub.store.delete(&p.viewer, id, sent.change()).await?;
    Ok(p.go("/notices", "deleted"))
}

/// What became of a form that changes a record.
pub(super) enum Saved {
    /// It was saved.
    Yes,
    /// It was not: the form again, and what stood in the way.
    No {
        /// The form as it was sent, with what is wrong.
        shown: Box<Shown>,
        /// What to say above it.
        note: Markup,
    },
}

/// Saves a form as changes of a record: only fields that differ from the version that the person saw.
pub(super) async fn save(
    hub: &Hub,
    p: &Page,
    id: RecordId,
    kind: Kind,
    names: &[&str],
    sent: Form,
) -> Result<Saved, Problem> {
    match forms::read_fields(p.l, kind, names, &sent) {
        Ok(fields) => save_fields(hub, p, id, kind, fields, sent).await,
        Err(errors) => Ok(Saved::No { shown: Box::new(Shown::again(sent, errors)), note: html! {} }),
    }
}

/// As [`save`], for fields that were read already.
pub(super) async fn save_fields(
    hub: &Hub,
    p: &Page,
    id: RecordId,
    kind: Kind,
    mut fields: cairn_sync::Fields,
    mut sent: Form,
) -> Result<Saved, Problem> {
    let record = of_kind(hub, p, id, kind).await?;
    let base = sent.base();
    // What already stands there is no change, whoever wrote it.
    let unset = |value: &Value| matches!(value, Value::Null | Value::Bool(false));
    fields.retain(|name, value| match record.fields.get(name) {
        Some(known) => known != value,
        None => !unset(value),
    });
    if fields.is_empty() {
        return Ok(Saved::Yes);
    }
    match hub.store.update(&p.viewer, id, fields, base, sent.change()).await {
        Ok(_) => Ok(Saved::Yes),
        Err(StoreError::Stale { field, current }) => {
            sent.set("_base", current.version.to_string());
            let note = stale(p.l, &field, &current);
            Ok(Saved::No { shown: Box::new(Shown::again(sent, forms::Errors::new())), note })
        }
        Err(StoreError::Value(wrong)) => {
            let errors = [(forms::field_of(&wrong), forms::say(p.l, &wrong))].into();
            Ok(Saved::No { shown: Box::new(Shown::again(sent, errors)), note: html! {} })
        }
        Err(other) => Err(other.into()),
    }
}
