//! Invitations: how a keeper lets somebody in.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use cairn_sync::Role;
use maud::{Markup, html};

use super::{
    layout::{Place, View},
    page::Page,
    parts::{crumb, icon},
    people::role_name,
};
use crate::{
    forms::{self, Errors, Field, FieldKind, Form, Shown},
    hub::Hub,
    i18n::{Count, Key as K},
    problem::Problem,
};

const DAYS: [u64; 4] = [1, 7, 30, 90];
const DAY_MS: u64 = 86_400_000;

const fn name_of(role: Role) -> &'static str {
    match role {
        Role::Keeper => "keeper",
        Role::Volunteer => "volunteer",
        Role::Guest => "guest",
    }
}

pub(super) async fn list(State(hub): State<Hub>, p: Page) -> Result<Response, Problem> {
    let mut shown = Shown::empty();
    shown.form.set("role", "volunteer");
    shown.form.set("days", "7");
    page(&hub, &p, StatusCode::OK, &shown, html! {}).await
}

async fn page(
    hub: &Hub,
    p: &Page,
    status: StatusCode,
    shown: &Shown,
    made: Markup,
) -> Result<Response, Problem> {
    let l = p.l;
    let open = hub.store.invitations(&p.viewer).await?;
    let roles = [
        ("volunteer", l.t(K::RoleVolunteer), ""),
        ("guest", l.t(K::RoleGuest), ""),
        ("keeper", l.t(K::RoleKeeper), ""),
    ];
    let days = DAYS.map(|n| (n.to_string(), l.count(Count::Days, n)));
    let days: Vec<(&str, &str)> = days.iter().map(|(n, text)| (n.as_str(), text.as_str())).collect();
    let body = html! {
        (crumb("/people", l.t(K::PeopleTitle)))
        div class="page-head" { div { h1 { (l.t(K::InvitationsTitle)) } p class="lead" { (l.t(K::InvitationsLead)) } } }
        (made)
        div class="columns" {
            section class="card" {
                h2 { (l.t(K::InvitationNew)) }
                (shown.summary(l))
                form class="form" method="post" action="/invitations" {
                    (forms::hidden(&p.csrf, shown))
                    (Field::new(l, shown, "role", K::InvitationRole).needed().show(&FieldKind::Radio(&roles)))
                    (Field::new(l, shown, "days", K::InvitationDays).show(&FieldKind::Select(&days)))
                    div class="actions" { button class="button primary" { (l.t(K::InvitationNew)) } }
                }
            }
            aside {
                @if !open.is_empty() {
                    ul class="list" {
                        @for invitation in &open {
                            li { div class="row" {
                                div class="row-main" {
                                    p class="row-title" { (role_name(l, name_of(invitation.role))) }
                                    p class="meta" { (l.t(K::InvitationDays)) " " (l.duration(invitation.left_ms / 1000)) }
                                }
                                form class="row-end" method="post" action=(format!("/invitations/{}/delete", invitation.id)) {
                                    (forms::hidden(&p.csrf, &Shown::empty()))
                                    button class="button" { (l.t(K::TokenRevoke)) }
                                }
                            } }
                        }
                    }
                }
            }
        }
    };
    Ok(p.show_with(status, &View::new(l.t(K::InvitationsTitle), Place::People), body))
}

pub(super) async fn create(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    let l = p.l;
    let role = [Role::Guest, Role::Volunteer, Role::Keeper]
        .into_iter()
        .find(|role| name_of(*role) == sent.get("role"));
    let days = sent.get("days").parse().ok().filter(|days| DAYS.contains(days));
    let (Some(role), Some(days)) = (role, days) else {
        let errors: Errors = [("role".to_owned(), l.t(K::FieldNotAChoice).to_owned())].into();
        return page(&hub, &p, StatusCode::UNPROCESSABLE_ENTITY, &Shown::again(sent, errors), html! {}).await;
    };
    let code = hub.store.invite(&p.viewer, role, days * DAY_MS).await?;
    let made = html! {
        div class="card stack measure section" role="status" {
            p { (icon("check")) " " (l.t(K::InvitationMade)) }
            p class="secret" { (code.as_str()) }
            p class="hint" { (l.t(K::InvitationLink)) }
            button class="button needs-js" type="button" data-copy=(code.as_str()) { span data-label { (l.t(K::Copy)) } }
        }
    };
    page(&hub, &p, StatusCode::OK, &Shown::again(sent, Errors::new()), made).await
}

pub(super) async fn revoke(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<u64>,
) -> Result<Response, Problem> {
    hub.store.revoke_invitation(&p.viewer, id).await?;
    Ok(p.go("/invitations", "saved"))
}
