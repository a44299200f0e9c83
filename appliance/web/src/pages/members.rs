//! Who takes part in a project, and in which role.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use cairn_store::{Action, ListQuery, Order};
use cairn_sync::{Kind, RecordId};
use maud::html;

use super::{
    layout::{Place, View},
    notices::of_kind,
    page::Page,
    parts::{Names, empty, face},
    projects::{self, Tab},
};
use crate::{
    forms::{self, Field, FieldKind, Form, Shown},
    hub::Hub,
    i18n::{Key as K, Language},
    problem::Problem,
};

/// People offered in the list of whom to add.
const PEOPLE_OFFERED: u16 = 200;

pub(super) async fn list(
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
        (projects::head(p, &project, Tab::People))
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

pub(super) async fn add(
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

pub(super) async fn remove(
    State(hub): State<Hub>,
    p: Page,
    Path((id, membership)): Path<(RecordId, RecordId)>,
    sent: Form,
) -> Result<Response, Problem> {
    of_kind(&hub, &p, membership, Kind::Membership).await?;
    hub.store.delete(&p.viewer, membership, sent.change()).await?;
    Ok(p.go(&format!("/projects/{id}/people"), "saved"))
}
