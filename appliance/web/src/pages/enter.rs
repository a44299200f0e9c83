//! Coming in: the first run, signing in, up and out, and choosing a language.

use axum::{
    extract::{Query, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use cairn_sync::Value;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    layout::{Place, View, encode},
    page::{LANGUAGE_COOKIE, Page, local_path, see},
    parts::icon,
    refused::in_words,
};
use crate::{
    forms::{self, Errors, Field, FieldKind, Form, Shown},
    hub::Hub,
    i18n::{Count, Key as K, Language},
    peer::Peer,
    problem::Problem,
    session::{self, Identity, NewPerson, SignedIn},
};

/// Shortest password that the forms let through; the session's own rules come after.
pub(super) const MIN_PASSWORD: usize = 10;

#[derive(Debug, Default, Deserialize)]
pub(super) struct To {
    #[serde(default)]
    to: String,
}

/// What a refusal says beside the form's fields; a refusal that no form can mend goes on.
pub(super) fn fit(l: Language, problem: Problem) -> Result<Errors, Problem> {
    if !matches!(problem.status, 400 | 401 | 403 | 409 | 422) {
        return Err(problem);
    }
    let general = in_words(l, &problem);
    let mut errors: Errors = problem
        .errors
        .iter()
        .map(|error| {
            let text = if l == Language::English { error.detail.clone() } else { general.to_owned() };
            (error.field.clone(), text)
        })
        .collect();
    if errors.is_empty() {
        errors.insert(String::new(), general.to_owned());
    }
    Ok(errors)
}

fn with_cookie(mut response: Response, signed_in: SignedIn) -> Response {
    response.headers_mut().append(header::SET_COOKIE, signed_in.cookie);
    response
}

fn gate(p: &Page, status: StatusCode, title: &str, lead: &str, body: Markup) -> Response {
    let body = html! {
        div class="gate" {
            h1 { (title) }
            p class="lead" { (lead) }
            div class="card section" { (body) }
        }
    };
    p.show_with(status, &View::new(title, Place::Account), body)
}

fn person_fields(l: Language, shown: &Shown) -> Markup {
    html! {
        (Field::new(l, shown, "name", K::AccountName).hint(K::AccountNameHint).needed().limit(80).show(&FieldKind::Line("text", "name")))
        (Field::new(l, shown, "login", K::AccountLogin).hint(K::AccountLoginHint).needed().limit(40).show(&FieldKind::Line("text", "username")))
        (Field::new(l, shown, "password", K::AccountPassword).hint(K::AccountPasswordHint).needed().show(&FieldKind::Line("password", "new-password")))
        (Field::new(l, shown, "again", K::AccountPasswordAgain).needed().show(&FieldKind::Line("password", "new-password")))
    }
}

/// The person of a form, or what is wrong with it.
fn read_person(l: Language, sent: &Form) -> Result<NewPerson, Errors> {
    let mut errors = Errors::new();
    for field in ["name", "login"] {
        if sent.get(field).is_empty() {
            errors.insert(field.to_owned(), l.t(K::FieldNeeded).to_owned());
        }
    }
    if sent.raw("password").chars().count() < MIN_PASSWORD {
        errors.insert("password".to_owned(), l.count(Count::PasswordShort, MIN_PASSWORD as u64));
    } else if sent.raw("password") != sent.raw("again") {
        errors.insert("again".to_owned(), l.t(K::PasswordsDiffer).to_owned());
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(NewPerson {
        name: sent.get("name").to_owned(),
        login: sent.get("login").to_owned(),
        password: sent.raw("password").to_owned(),
        language: Some(l.tag().to_owned()),
    })
}

pub(super) async fn first_run(State(hub): State<Hub>, p: Page) -> Result<Response, Problem> {
    if hub.store.setup_state().await?.claimed {
        return Ok(see("/"));
    }
    let mut shown = Shown::empty();
    shown.form.set("language", p.l.tag());
    Ok(first_run_page(&p, StatusCode::OK, &shown))
}

fn first_run_page(p: &Page, status: StatusCode, shown: &Shown) -> Response {
    let l = p.l;
    let languages = Language::ALL.map(|language| (language.tag(), language.own_name()));
    let body = html! {
        (shown.summary(l))
        form class="form" method="post" action="/first-run" {
            (forms::hidden(&p.csrf, shown))
            (Field::new(l, shown, "code", K::FirstCode).hint(K::FirstCodeHint).needed().limit(16).class("code-input").line())
            (Field::new(l, shown, "hub_name", K::FirstHubName).hint(K::FirstHubNameHint).needed().limit(80).line())
            (Field::new(l, shown, "language", K::FirstLanguage).hint(K::FirstLanguageHint).show(&FieldKind::Select(&languages)))
            h2 { (l.t(K::FirstKeeper)) }
            p class="hint" { (l.t(K::FirstKeeperHint)) }
            (person_fields(l, shown))
            button class="button primary" { (l.t(K::FirstSubmit)) }
        }
    };
    gate(p, status, l.t(K::FirstTitle), l.t(K::FirstLead), body)
}

pub(super) async fn claim(
    State(hub): State<Hub>,
    peer: Peer,
    identity: Identity,
    p: Page,
    sent: Form,
) -> Result<Response, Problem> {
    let l = p.l;
    let language = Language::from_tag(sent.get("language")).unwrap_or(l);
    let person = read_person(l, &sent);
    let mut errors = Errors::new();
    for field in ["code", "hub_name"] {
        if sent.get(field).is_empty() {
            errors.insert(field.to_owned(), l.t(K::FieldNeeded).to_owned());
        }
    }
    let refused = match person {
        Ok(person) if errors.is_empty() => {
            let code = sent.get("code").to_uppercase().replace([' ', '-'], "");
            let person = NewPerson { language: Some(language.tag().to_owned()), ..person };
            let claimed =
                session::claim(&hub, peer, &identity, &code, person, sent.get("hub_name"), language.tag())
                    .await;
            match claimed {
                Ok(signed_in) => return Ok(with_cookie(p.go("/", "ready"), signed_in)),
                Err(problem) => {
                    let mut refused = fit(l, problem)?;
                    // A code that is wrong belongs beside the code.
                    if let Some(general) = refused.remove("") {
                        refused.insert("code".to_owned(), general);
                    }
                    refused
                }
            }
        }
        Ok(_) => errors,
        Err(wrong) => {
            errors.extend(wrong);
            errors
        }
    };
    Ok(first_run_page(&p, StatusCode::UNPROCESSABLE_ENTITY, &Shown::again(sent, refused)))
}

fn sign_in_page(p: &Page, status: StatusCode, shown: &Shown, to: &str) -> Response {
    let l = p.l;
    let body = html! {
        @if let Some(error) = shown.errors.get("") { div class="flash bad" role="alert" { (icon("warning")) div { (error) } } }
        form class="form" method="post" action="/sign-in" {
            (forms::hidden(&p.csrf, shown))
            input type="hidden" name="to" value=(to);
            (Field::new(l, shown, "login", K::AccountLogin).needed().limit(300).show(&FieldKind::Line("text", "username")))
            (Field::new(l, shown, "password", K::AccountPassword).needed().show(&FieldKind::Line("password", "current-password")))
            button class="button primary" { (l.t(K::SignIn)) }
        }
        hr;
        p { (l.t(K::SignInNoAccount)) " " a href=(format!("/sign-up?to={}", encode(to))) { (l.t(K::SignUp)) } }
    };
    gate(p, status, l.t(K::SignIn), l.t(K::SignInLead), body)
}

pub(super) async fn sign_in_form(p: Page, Query(To { to }): Query<To>) -> Response {
    sign_in_page(&p, StatusCode::OK, &Shown::empty(), local_path(&to))
}

pub(super) async fn sign_in(
    State(hub): State<Hub>,
    peer: Peer,
    identity: Identity,
    p: Page,
    sent: Form,
) -> Result<Response, Problem> {
    let to = local_path(sent.get("to")).to_owned();
    let signed_in =
        session::sign_in(&hub, peer, &identity, sent.get("login"), sent.raw("password").to_owned()).await;
    match signed_in {
        Ok(signed_in) => Ok(with_cookie(see(&to), signed_in)),
        Err(problem) => {
            let status = problem.status_code();
            let errors = fit(p.l, problem)?;
            Ok(sign_in_page(&p, status, &Shown::again(sent, errors), &to))
        }
    }
}

fn sign_up_page(p: &Page, status: StatusCode, shown: &Shown, to: &str) -> Response {
    let l = p.l;
    let open = p.settings.open_sign_up;
    let code = Field::new(l, shown, "code", K::InvitationCode).hint(K::InvitationCodeHint).limit(64);
    let body = html! {
        @if !open { div class="flash info" { (icon("info")) div { (l.t(K::SignUpClosed)) } } }
        (shown.summary(l))
        form class="form" method="post" action="/sign-up" {
            (forms::hidden(&p.csrf, shown))
            input type="hidden" name="to" value=(to);
            @if open { (code.line()) } @else { (code.needed().line()) }
            (person_fields(l, shown))
            button class="button primary" { (l.t(K::SignUp)) }
        }
        hr;
        p { a href=(format!("/sign-in?to={}", encode(to))) { (l.t(K::HaveAccount)) } }
    };
    gate(p, status, l.t(K::SignUp), l.t(K::SignUpLead), body)
}

pub(super) async fn sign_up_form(p: Page, Query(To { to }): Query<To>) -> Response {
    sign_up_page(&p, StatusCode::OK, &Shown::empty(), local_path(&to))
}

pub(super) async fn sign_up(
    State(hub): State<Hub>,
    peer: Peer,
    identity: Identity,
    p: Page,
    sent: Form,
) -> Result<Response, Problem> {
    let l = p.l;
    let to = local_path(sent.get("to")).to_owned();
    let errors = match read_person(l, &sent) {
        Ok(person) => {
            let code = Some(sent.get("code")).filter(|code| !code.is_empty());
            match session::sign_up(&hub, peer, &identity, person, code).await {
                Ok(signed_in) => return Ok(with_cookie(see(&to), signed_in)),
                Err(problem) => fit(l, problem)?,
            }
        }
        Err(errors) => errors,
    };
    Ok(sign_up_page(&p, StatusCode::UNPROCESSABLE_ENTITY, &Shown::again(sent, errors), &to))
}

pub(super) async fn sign_out(
    State(hub): State<Hub>,
    peer: Peer,
    identity: Identity,
    p: Page,
) -> Result<Response, Problem> {
    let forget = session::sign_out(&hub, peer, &identity).await?;
    let mut response = p.go("/", "out");
    response.headers_mut().append(header::SET_COOKIE, forget);
    Ok(response)
}

/// Chooses a language: for somebody with an account in the profile, for others in a cookie.
pub(super) async fn language(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    let mut response = see(local_path(sent.get("to")));
    let Some(language) = Language::from_tag(sent.get("language")) else { return Ok(response) };
    if let Some(person) = p.person_id() {
        let fields = [("language".to_owned(), Value::from(language.tag()))].into();
        hub.store.update(&p.viewer, person, fields, None, None).await?;
    }
    let cookie =
        format!("{LANGUAGE_COOKIE}={}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly", language.tag());
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
