//! Teams: who is on what.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use cairn_store::{Action, ListQuery, Record};
use cairn_sync::{Kind, RecordId, Value};
use maud::{Markup, html};

use super::{
    layout::{Place, View},
    markdown::markdown,
    notices::{Saved, of_kind, require, save_fields, to_edit},
    page::Page,
    parts::{button, crumb, delete_form, empty, icon},
    people,
};
use crate::{
    forms::{self, Field, Form, Shown},
    hub::Hub,
    i18n::{Count, Key as K},
    problem::Problem,
};

/// People offered in the form.
const OFFERED: u16 = 200;

fn members(team: &Record) -> Vec<RecordId> {
    let people = team.fields.get("people").and_then(Value::as_set);
    people.into_iter().flatten().filter_map(|id| id.parse().ok()).collect()
}

/// Teams in a list.
pub(super) fn list(p: &Page, teams: &[Record]) -> Markup {
    let l = p.l;
    html! {
        @if teams.is_empty() { (empty("people", l.t(K::TeamsEmpty), l.t(K::TeamsEmptyText), html! {})) }
        @else {
            ul class="list" {
                @for team in teams {
                    li { div class="row" {
                        (icon("people"))
                        div class="row-main" {
                            a class="row-title" dir="auto" href=(format!("/teams/{}", team.id)) { (team.text("name")) }
                            p class="meta" { span { (l.count(Count::TeamCount, members(team).len() as u64)) } }
                        }
                    } }
                }
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
    let team = of_kind(&hub, &p, id, Kind::Team).await?;
    let people = hub.store.get_many(&p.viewer, &members(&team)).await?;
    let may_edit = hub.store.may(&p.viewer, Action::Update, &team).await?;
    let name = team.text("name").to_owned();
    let body = html! {
        (crumb("/people", l.t(K::PeopleTitle)))
        div class="page-head" { div { h1 dir="auto" { (name) } p class="lead" { (l.count(Count::TeamCount, people.len() as u64)) } } }
        (markdown(team.text("description")))
        div id="members" class="section measure" data-live="quiet" {
            @if people.is_empty() { (empty("people", l.t(K::PeopleEmpty), l.t(K::TeamsEmptyText), html! {})) }
            @else { ul class="list" { @for person in &people { li { (people::row(&p, person)) } } } }
        }
        div class="actions section" {
            @if may_edit { (button(&format!("/teams/{id}/edit"), "edit", l.t(K::TeamEdit), false)) }
            (button(&format!("/records/{id}/history"), "history", l.t(K::History), false))
        }
    };
    Ok(p.show(&View::new(&name, Place::People).live("team person").about(id), body))
}

async fn form_page(
    hub: &Hub,
    p: &Page,
    status: StatusCode,
    id: Option<RecordId>,
    shown: &Shown,
    chosen: &[RecordId],
    around: (Markup, Markup),
) -> Result<Response, Problem> {
    let l = p.l;
    let people = hub.store.list(&p.viewer, ListQuery::of(Kind::Person).limit(OFFERED)).await?.items;
    let (title, action, back) = match id {
        Some(id) => (l.t(K::TeamEdit), format!("/teams/{id}/edit"), format!("/teams/{id}")),
        None => (l.t(K::TeamNew), "/teams".to_owned(), "/people".to_owned()),
    };
    let body = html! {
        (crumb(&back, l.t(K::Back))) h1 { (title) } p class="presence" id="presence" hidden {}
        div class="section" {
            (around.0)
            (shown.summary(l))
            form class="form" method="post" action=(action) {
                (forms::hidden(&p.csrf, shown))
                (Field::new(l, shown, "name", K::TeamName).needed().limit(cairn_sync::kinds::LINE).line())
                (Field::new(l, shown, "description", K::TeamDescription).hint(K::MarkdownHint).text())
                fieldset class="field" {
                    legend { (l.t(K::TeamPeople)) }
                    div class="choices" {
                        @for person in &people {
                            label class="check" {
                                input type="checkbox" name="people" value=(person.id) checked[chosen.contains(&person.id)];
                                span dir="auto" { (person.text("name")) }
                            }
                        }
                    }
                }
                div class="actions" { button class="button primary" { (l.t(K::Save)) } a class="button" href=(back) { (l.t(K::Cancel)) } }
            }
            (around.1)
        }
    };
    let view = View::new(title, Place::People);
    Ok(match id {
        Some(id) => p.show_with(status, &view.editing(id), body),
        None => p.show_with(status, &view, body),
    })
}

/// The fields of the form. People who could not be offered stay in the team.
fn read(p: &Page, sent: &Form, before: &[RecordId]) -> Result<cairn_sync::Fields, forms::Errors> {
    let mut fields = forms::read_fields(p.l, Kind::Team, &["name", "description"], sent)?;
    let mut people: std::collections::BTreeSet<String> =
        sent.all("people").filter(|id| id.parse::<RecordId>().is_ok()).map(str::to_owned).collect();
    if before.len() > usize::from(OFFERED) {
        people.extend(before.iter().map(ToString::to_string));
    }
    fields.insert("people".to_owned(), Value::Set(people));
    Ok(fields)
}

fn chosen(sent: &Form) -> Vec<RecordId> {
    sent.all("people").filter_map(|id| id.parse().ok()).collect()
}

pub(super) async fn new(State(hub): State<Hub>, p: Page) -> Result<Response, Problem> {
    require(&hub, &p, Action::Create, (Kind::Team, None)).await?;
    form_page(&hub, &p, StatusCode::OK, None, &Shown::empty(), &[], (html! {}, html! {})).await
}

pub(super) async fn create(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    match read(&p, &sent, &[]) {
        Ok(fields) => {
            let team = hub.store.create(&p.viewer, Kind::Team, None, fields, sent.change()).await?;
            Ok(p.go(&format!("/teams/{}", team.id), "saved"))
        }
        Err(errors) => {
            let chosen = chosen(&sent);
            let shown = Shown::again(sent, errors);
            form_page(&hub, &p, StatusCode::UNPROCESSABLE_ENTITY, None, &shown, &chosen, (html! {}, html! {}))
                .await
        }
    }
}

pub(super) async fn edit(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let team = to_edit(&hub, &p, id, Kind::Team).await?;
    let after = delete_form(&p, &format!("/teams/{id}/delete"));
    form_page(&hub, &p, StatusCode::OK, Some(id), &Shown::of(&team), &members(&team), (html! {}, after)).await
}

pub(super) async fn update(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    let team = of_kind(&hub, &p, id, Kind::Team).await?;
    let chosen = chosen(&sent);
    let (shown, note) = match read(&p, &sent, &members(&team)) {
        Ok(fields) => match save_fields(&hub, &p, id, Kind::Team, fields, sent).await? {
            Saved::Yes => return Ok(p.go(&format!("/teams/{id}"), "saved")),
            Saved::No { shown, note } => (*shown, note),
        },
        Err(errors) => (Shown::again(sent, errors), html! {}),
    };
    form_page(&hub, &p, StatusCode::UNPROCESSABLE_ENTITY, Some(id), &shown, &chosen, (note, html! {})).await
}

pub(super) async fn delete(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    of_kind(&hub, &p, id, Kind::Team).await?;
    hub.store.delete(&p.viewer, id, sent.change()).await?;
    Ok(p.go("/people", "deleted"))
}
