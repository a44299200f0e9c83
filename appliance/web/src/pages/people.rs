//! People: who takes part and what they can help with.

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
    notices::{Saved, Where, of_kind, save, to_edit},
    page::Page,
    parts::{button, crumb, empty, face, icon, more, sync_badge},
    teams,
};
use crate::{
    forms::{self, Field, FieldKind, Form, Shown},
    hub::Hub,
    i18n::{Key as K, Language},
    problem::Problem,
};

const OWN_FIELDS: [&str; 3] = ["name", "contact", "skills"];
const KEEPER_FIELDS: [&str; 5] = ["name", "contact", "skills", "role", "disabled"];

/// A role's name.
pub(super) fn role_name(l: Language, role: &str) -> &'static str {
    l.t(match role {
        "keeper" => K::RoleKeeper,
        "volunteer" => K::RoleVolunteer,
        _ => K::RoleGuest,
    })
}

pub(super) async fn list(
    State(hub): State<Hub>,
    p: Page,
    Query(at): Query<Where>,
) -> Result<Response, Problem> {
    let l = p.l;
    let view = View::new(l.t(K::PeopleTitle), Place::People).live("person team");
    if !p.is_signed_in() {
        let body = empty(
            "people",
            l.t(K::PeopleTitle),
            l.t(K::PeopleSignIn),
            button("/sign-in?to=/people", "in", l.t(K::SignIn), true),
        );
        return Ok(p.show(&view, html! { h1 class="sr" { (l.t(K::PeopleTitle)) } (body) }));
    }
    let query = ListQuery::of(Kind::Person).order(Order::Oldest).after(at.cursor()).limit(60);
    let people = hub.store.list(&p.viewer, query).await?;
    let groups = hub.store.list(&p.viewer, ListQuery::of(Kind::Team).limit(60)).await?.items;
    let may_group = hub.store.may(&p.viewer, Action::Create, (Kind::Team, None)).await?;
    let body = html! {
        div class="page-head" {
            div { h1 { (l.t(K::PeopleTitle)) } p class="lead" { (l.t(K::PeopleLead)) } }
            @if p.is_keeper() { (button("/invitations", "plus", l.t(K::InvitationsTitle), true)) }
        }
        div class="columns" {
            div {
                div id="people" data-live="quiet" {
                    @if people.items.is_empty() { (empty("people", l.t(K::PeopleEmpty), l.t(K::PeopleEmptyText), html! {})) }
                    @else { ul class="list" { @for person in &people.items { li { (row(&p, person)) } } } }
                }
                (more(l, "/people", people.next.as_ref()))
            }
            aside {
                div class="section-head" {
                    h2 { (l.t(K::TeamsTitle)) }
                    @if may_group { (button("/teams/new", "plus", l.t(K::TeamNew), false)) }
                }
                div id="teams" data-live="quiet" { (teams::list(&p, &groups)) }
            }
        }
    };
    Ok(p.show(&view, body))
}

/// One person in a list.
pub(super) fn row(p: &Page, person: &Record) -> Markup {
    let l = p.l;
    let skills = person.fields.get("skills").and_then(|value| value.as_set());
    html! {
        div class="row" {
            (face(person.text("name")))
            div class="row-main" {
                a class="row-title" dir="auto" href=(format!("/people/{}", person.id)) { (person.text("name")) }
                p class="meta" {
                    span { (role_name(l, person.text("role"))) }
                    @if !person.text("contact").is_empty() { span dir="auto" { (person.text("contact")) } }
                }
                @if let Some(skills) = skills.filter(|skills| !skills.is_empty()) {
                    p class="cluster" { @for skill in skills.iter().take(6) { span class="badge" dir="auto" { (skill) } } }
                }
            }
            div class="row-end" {
                @if person.flag("disabled") { span class="badge warn" { (icon("lock")) (l.t(K::PersonDisabled)) } }
                (sync_badge(p, person))
            }
        }
    }
}

pub(super) async fn show(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let l = p.l;
    let person = of_kind(&hub, &p, id, Kind::Person).await?;
    let may_edit = hub.store.may(&p.viewer, Action::Update, &person).await?;
    let skills = person.fields.get("skills").and_then(|value| value.as_set());
    let name = person.text("name").to_owned();
    let body = html! {
        (crumb("/people", l.t(K::PeopleTitle)))
        div class="page-head" { div class="cluster" { (face(&name)) h1 dir="auto" { (name) } (sync_badge(&p, &person)) } }
        div class="card stack measure" id="person" data-live="quiet" {
            dl class="facts" {
                dt { (l.t(K::PersonRole)) } dd { (role_name(l, person.text("role"))) }
                dt { (l.t(K::PersonContact)) } dd dir="auto" { (given(l, person.text("contact"))) }
                dt { (l.t(K::PersonSkills)) }
                dd class="cluster" {
                    @if let Some(skills) = skills.filter(|skills| !skills.is_empty()) { @for skill in skills { span class="badge" dir="auto" { (skill) } } }
                    @else { (l.t(K::NoneGiven)) }
                }
            }
        }
        div class="actions section" {
            @if may_edit { (button(&format!("/people/{id}/edit"), "edit", l.t(K::PersonEdit), false)) }
            (button(&format!("/records/{id}/history"), "history", l.t(K::History), false))
        }
    };
    Ok(p.show(&View::new(&name, Place::People).live("person").about(id), body))
}

fn given(l: Language, text: &str) -> &str {
    if text.is_empty() { l.t(K::NoneGiven) } else { text }
}

/// The form of a profile. Keepers also set the role.
pub(super) fn form(p: &Page, id: RecordId, shown: &Shown) -> Markup {
    let l = p.l;
    let roles =
        [("guest", l.t(K::RoleGuest)), ("volunteer", l.t(K::RoleVolunteer)), ("keeper", l.t(K::RoleKeeper))];
    html! {
        (shown.summary(l))
        form class="form" method="post" action=(format!("/people/{id}/edit")) data-queue=(l.t(K::PersonEdit)) {
            (forms::hidden(&p.csrf, shown))
            (Field::new(l, shown, "name", K::AccountName).needed().limit(cairn_sync::kinds::LINE).show(&FieldKind::Line("text", "name")))
            (Field::new(l, shown, "contact", K::PersonContact).hint(K::PersonContactHint).line())
            (Field::new(l, shown, "skills", K::PersonSkills).hint(K::PersonSkillsHint).line())
            @if p.is_keeper() {
                (Field::new(l, shown, "role", K::PersonRole).show(&FieldKind::Select(&roles)))
                (Field::new(l, shown, "disabled", K::PersonDisabled).show(&FieldKind::Check))
            }
            div data-outcome {}
            div class="actions" { button class="button primary" { (l.t(K::Save)) } }
        }
    }
}

fn form_page(p: &Page, status: StatusCode, id: RecordId, body: Markup) -> Response {
    let title = p.l.t(K::PersonEdit);
    let body = html! {
        (crumb(&format!("/people/{id}"), p.l.t(K::Back))) h1 { (title) } p class="presence" id="presence" hidden {}
        div class="section" { (body) }
    };
    p.show_with(status, &View::new(title, Place::People).editing(id), body)
}

pub(super) async fn edit(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let person = to_edit(&hub, &p, id, Kind::Person).await?;
    Ok(form_page(&p, StatusCode::OK, id, form(&p, id, &Shown::of(&person))))
}

pub(super) async fn update(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    // A form without the keepers' fields must not close or demote anyone by leaving them out.
    let names: &[&str] = if p.is_keeper() && sent.has("role") { &KEEPER_FIELDS } else { &OWN_FIELDS };
    match save(&hub, &p, id, Kind::Person, names, sent).await? {
        Saved::Yes => Ok(p.go(&format!("/people/{id}"), "saved")),
        Saved::No { shown, note } => {
            Ok(form_page(&p, StatusCode::UNPROCESSABLE_ENTITY, id, html! { (note) (form(&p, id, &shown)) }))
        }
    }
}
