//! My account: profile, language, password, access tokens.

use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::Response,
};
use cairn_sync::{RecordId, Value};
use maud::{Markup, html};

use super::{
    enter::{MIN_PASSWORD, fit},
    layout::{Place, View},
    page::Page,
    parts::{icon, moment},
    people,
};
use crate::{
    forms::{self, Errors, Field, FieldKind, Form, Shown},
    hub::Hub,
    i18n::{Count, Key as K, Language},
    peer::Peer,
    problem::{Problem, ProblemKind},
    session::{Identity, change_password},
};

const TOKEN_DAYS: [u64; 3] = [30, 90, 365];
const DAY_MS: u64 = 86_400_000;

fn me(p: &Page) -> Result<RecordId, Problem> {
    p.person_id().ok_or_else(|| Problem::new(ProblemKind::SignInNeeded, "this page takes an account"))
}

pub(super) async fn show(State(hub): State<Hub>, p: Page) -> Result<Response, Problem> {
    page(&hub, &p, StatusCode::OK, &Shown::empty(), html! {}).await
}

async fn page(
    hub: &Hub,
    p: &Page,
    status: StatusCode,
    password: &Shown,
    made: Markup,
) -> Result<Response, Problem> {
    let l = p.l;
    let id = me(p)?;
    let person = hub.store.get(&p.viewer, id).await?;
    let tokens = hub.store.api_tokens(&p.viewer).await?;
    let mut language = Shown::empty();
    language.form.set("language", person.text("language"));
    let languages: Vec<(&str, &str)> = std::iter::once(("", l.t(K::AccountLanguageAny)))
        .chain(Language::ALL.map(|language| (language.tag(), language.own_name())))
        .collect();
    let days = TOKEN_DAYS.map(|n| (n.to_string(), l.count(Count::Days, n)));
    let days: Vec<(&str, &str)> = days.iter().map(|(n, text)| (n.as_str(), text.as_str())).collect();
    let empty = Shown::empty();
    let body = html! {
        div class="page-head" { div { h1 { (l.t(K::AccountTitle)) } p class="lead" dir="auto" { (person.text("name")) " · " (people::role_name(l, person.text("role"))) } } }
        div class="stack" {
            section class="card" aria-labelledby="profile" {
                h2 id="profile" { (l.t(K::AccountProfile)) }
                (people::form(p, id, &Shown::of(&person)))
            }
            section class="card" aria-labelledby="language-title" {
                h2 id="language-title" { (l.t(K::AccountLanguage)) }
                form class="form" method="post" action="/account/language" {
                    (forms::hidden(&p.csrf, &language))
                    (Field::new(l, &language, "language", K::AccountLanguage).show(&FieldKind::Select(&languages)))
                    div class="actions" { button class="button" { (l.t(K::Save)) } }
                }
            }
            section class="card" aria-labelledby="password-title" {
                h2 id="password-title" { (l.t(K::AccountChangePassword)) }
                (password.summary(l))
                form class="form" method="post" action="/account/password" {
                    (forms::hidden(&p.csrf, password))
                    input type="hidden" name="username" autocomplete="username" value=(person.text("login"));
                    (Field::new(l, password, "current", K::AccountPasswordOld).needed().show(&FieldKind::Line("password", "current-password")))
                    (Field::new(l, password, "password", K::AccountPasswordNew).hint(K::AccountPasswordHint).needed().show(&FieldKind::Line("password", "new-password")))
                    (Field::new(l, password, "again", K::AccountPasswordAgain).needed().show(&FieldKind::Line("password", "new-password")))
                    div class="actions" { button class="button" { (l.t(K::AccountChangePassword)) } }
                }
            }
            section class="card stack" aria-labelledby="tokens-title" id="tokens" {
                h2 id="tokens-title" { (l.t(K::TokensTitle)) }
                p class="quiet" { (l.t(K::TokensLead)) }
                (made)
                @if tokens.is_empty() { p class="quiet" { (l.t(K::TokensEmpty)) } }
                @else {
                    ul class="list" {
                        @for token in &tokens {
                            li { div class="row" {
                                (icon("lock"))
                                div class="row-main" {
                                    p class="row-title" dir="auto" { (token.name) }
                                    p class="meta" { span { (l.t(K::TokenCreated)) " " (moment(l, token.created_at_ms)) } span { (l.t(K::InvitationDays)) " " (l.duration(token.left_ms / 1000)) } }
                                }
                                form class="row-end" method="post" action=(format!("/account/tokens/{}/delete", token.id)) {
                                    (forms::hidden(&p.csrf, &empty))
                                    button class="button" aria-label=(format!("{}: {}", l.t(K::TokenRevoke), token.name)) { (l.t(K::TokenRevoke)) }
                                }
                            } }
                        }
                    }
                }
                form class="form" method="post" action="/account/tokens" {
                    (forms::hidden(&p.csrf, &empty))
                    (Field::new(l, &empty, "token_name", K::TokenName).needed().limit(80).line())
                    (Field::new(l, &empty, "days", K::InvitationDays).show(&FieldKind::Select(&days)))
                    div class="actions" { button class="button" { (l.t(K::TokenNew)) } }
                }
            }
        }
    };
    Ok(p.show_with(status, &View::new(l.t(K::AccountTitle), Place::Account), body))
}

pub(super) async fn language(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    let id = me(&p)?;
    let value =
        Language::from_tag(sent.get("language")).map_or(Value::Null, |language| Value::from(language.tag()));
    hub.store.update(&p.viewer, id, [("language".to_owned(), value)].into(), None, sent.change()).await?;
    Ok(p.go("/account", "saved"))
}

pub(super) async fn password(
    State(hub): State<Hub>,
    peer: Peer,
    identity: Identity,
    p: Page,
    sent: Form,
) -> Result<Response, Problem> {
    let l = p.l;
    let mut errors = Errors::new();
    if sent.raw("password").chars().count() < MIN_PASSWORD {
        errors.insert("password".to_owned(), l.count(Count::PasswordShort, MIN_PASSWORD as u64));
    } else if sent.raw("password") != sent.raw("again") {
        errors.insert("again".to_owned(), l.t(K::PasswordsDiffer).to_owned());
    }
    if errors.is_empty() {
        let (old, new) = (sent.raw("current").to_owned(), sent.raw("password").to_owned());
        match change_password(&hub, peer, &identity, old, new).await {
            Ok(signed_in) => {
                let mut response = p.go("/account", "password");
                response.headers_mut().append(header::SET_COOKIE, signed_in.cookie);
                return Ok(response);
            }
            Err(problem) => errors = fit(l, problem)?,
        }
    }
    page(&hub, &p, StatusCode::UNPROCESSABLE_ENTITY, &Shown::again(sent, errors), html! {}).await
}

pub(super) async fn make_token(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    let l = p.l;
    let days =
        sent.get("days").parse().ok().filter(|days| TOKEN_DAYS.contains(days)).unwrap_or(TOKEN_DAYS[0]);
    let token = hub.store.create_api_token(&p.viewer, sent.get("token_name"), days * DAY_MS).await?;
    let made = html! {
        div class="flash" role="status" { (icon("check")) div { (l.t(K::TokenMade)) } }
        p class="secret" { (token.as_str()) }
        button class="button needs-js" type="button" data-copy=(token.as_str()) { span data-label { (l.t(K::Copy)) } }
    };
    page(&hub, &p, StatusCode::OK, &Shown::empty(), made).await
}

pub(super) async fn revoke_token(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<u64>,
) -> Result<Response, Problem> {
    hub.store.revoke_api_token(&p.viewer, id).await?;
    Ok(p.go("/account", "saved"))
}
