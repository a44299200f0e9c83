//! Messages: a channel for the whole hub and one for each project.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use cairn_store::{Action, Cursor, ListQuery, Record, StoreError};
use cairn_sync::{Kind, RecordId};
use maud::{Markup, html};

use super::{
    layout::{Place, View, encode},
    markdown::markdown,
    notices::{Where, of_kind},
    page::Page,
    parts::{Names, authors, button, empty, face, icon, moment, sync_badge},
    projects,
};
use crate::{
    forms::{self, Form, Shown},
    hub::Hub,
    i18n::Key as K,
    problem::Problem,
};

const MESSAGES: u16 = 50;

pub(super) async fn of_hub(
    State(hub): State<Hub>,
    p: Page,
    Query(at): Query<Where>,
) -> Result<Response, Problem> {
    let l = p.l;
    let head = html! { div class="page-head" { div { h1 { (l.t(K::MessagesTitle)) } p class="lead" { (l.t(K::MessagesLead)) } } } };
    let body = channel(&hub, &p, None, head, at.cursor()).await?;
    Ok(p.show(&View::new(l.t(K::MessagesTitle), Place::Messages).live("message"), body))
}

pub(super) async fn of_project(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    Query(at): Query<Where>,
) -> Result<Response, Problem> {
    let project = of_kind(&hub, &p, id, Kind::Project).await?;
    let body =
        channel(&hub, &p, Some(id), projects::head(&p, &project, projects::Tab::Messages), at.cursor())
            .await?;
    let title = format!("{} · {}", p.l.t(K::MessagesTitle), project.text("name"));
    Ok(p.show(&View::new(&title, Place::Projects).live("message").project(Some(id)).about(id), body))
}

async fn channel(
    hub: &Hub,
    p: &Page,
    project: Option<RecordId>,
    head: Markup,
    after: Option<Cursor>,
) -> Result<Markup, Problem> {
    let l = p.l;
    let path = project.map_or_else(|| "/messages".to_owned(), |id| format!("/projects/{id}/messages"));
    if !p.is_signed_in() {
        return Ok(html! {
            (head)
            (empty("messages", l.t(K::MessagesTitle), l.t(K::MessageSignIn), button(&format!("/sign-in?to={}", encode(&path)), "in", l.t(K::SignIn), true)))
        });
    }
    let query = ListQuery::of(Kind::Message).project(project).limit(MESSAGES).after(after);
    let page = hub.store.list(&p.viewer, query).await?;
    let names = Names::of(hub, p, authors(page.items.iter())).await?;
    let may_write = hub.store.may(&p.viewer, Action::Create, (Kind::Message, project)).await?;
    let shown = Shown::empty();
    Ok(html! {
        (head)
        @if let Some(next) = &page.next {
            p { a class="button" rel="next" href=(format!("{path}?after={}", encode(next.as_str()))) { (l.t(K::MessageOlder)) } }
        }
        @if page.items.is_empty() { div id="thread-empty" { (empty("messages", l.t(K::MessagesEmpty), l.t(K::MessagesEmptyText), html! {})) } }
        ol class="thread section" id="thread" data-live="say" aria-label=(l.t(K::MessagesTitle)) {
            // Newest last, as people read a conversation.
            @for message in page.items.iter().rev() { (bubble(p, &names, message)) }
        }
        @if may_write {
            form class="composer" method="post" action=(path) data-channel {
                (forms::hidden(&p.csrf, &shown))
                label { span class="sr" { (l.t(K::MessageLabel)) }
                    textarea name="body" rows="1" required maxlength="8000" dir="auto" placeholder=(l.t(K::MessagePlaceholder)) {} }
                button class="button primary" { (icon("send")) (l.t(K::Send)) }
            }
        }
    })
}

fn bubble(p: &Page, names: &Names, message: &Record) -> Markup {
    let l = p.l;
    let mine = message.created_by.is_some() && message.created_by == p.person_id();
    let name = names.or_somebody(l, message.created_by);
    html! {
        li class=(if mine { "message mine" } else { "message" }) id=(format!("m{}", message.id)) {
            (face(&name))
            div {
                p class="meta" { b dir="auto" { (name) } (moment(l, message.created_at_ms)) (sync_badge(p, message)) }
                div class="bubble" { (markdown(message.text("body"))) }
            }
        }
    }
}

pub(super) async fn say(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    post(&hub, &p, None, &sent).await?;
    Ok(p.go("/messages", ""))
}

pub(super) async fn say_in_project(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    post(&hub, &p, Some(id), &sent).await?;
    Ok(p.go(&format!("/projects/{id}/messages"), ""))
}

async fn post(hub: &Hub, p: &Page, project: Option<RecordId>, sent: &Form) -> Result<(), Problem> {
    let fields = forms::read_fields(p.l, Kind::Message, &["body"], sent).map_err(|errors| {
        Problem::new(crate::problem::ProblemKind::Invalid, errors.into_values().next().unwrap_or_default())
    })?;
    hub.store.create(&p.viewer, Kind::Message, project, fields, sent.change()).await?;
    Ok(())
}

pub(super) async fn delete(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    let message = hub.store.get(&p.viewer, id).await?;
    if message.kind != Kind::Message {
        return Err(StoreError::NotFound(Kind::Message.name()).into());
    }
    hub.store.delete(&p.viewer, id, sent.change()).await?;
    let back =
        message.project.map_or_else(|| "/messages".to_owned(), |id| format!("/projects/{id}/messages"));
    Ok(p.go(&back, "deleted"))
}
