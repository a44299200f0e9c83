//! What a keeper does to the device itself: restart, switch off, factory reset. Only where the hub is the device's system.

use axum::{extract::State, http::StatusCode, response::Response};
use maud::{Markup, html};

use super::{
    enter::fit,
    layout::{Place, View},
    page::Page,
    parts::icon,
    settings::keepers_only,
};
use crate::{
    forms::{self, Errors, Field, FieldKind, Form, Shown},
    host::DeviceAct,
    hub::Hub,
    i18n::Key as K,
    peer::Peer,
    problem::{Problem, ProblemKind},
    session::{self, Identity},
};

/// Keepers only, on a device only.
fn allowed(p: &Page) -> Result<(), Problem> {
    keepers_only(p)?;
    if p.facts.device.appliance {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::NotFound, "this hub is a guest on a computer, which is not its to restart"))
}

/// The way here from the settings; nothing on a computer.
pub(super) fn section(p: &Page) -> Markup {
    html! {
        @if p.facts.device.appliance {
            section class="card stack" aria-labelledby="device-title" {
                h2 id="device-title" { (p.l.t(K::DeviceTitle)) }
                p class="quiet" { (p.l.t(K::DeviceLead)) }
                p { a class="button" href="/settings/device" { (p.l.t(K::DeviceOpen)) } }
            }
        }
    }
}

pub(super) async fn show(p: Page) -> Result<Response, Problem> {
    allowed(&p)?;
    Ok(page(&p, StatusCode::OK, &Shown::empty()))
}

fn page(p: &Page, status: StatusCode, shown: &Shown) -> Response {
    let l = p.l;
    let empty = Shown::empty();
    let body = html! {
        div class="page-head" { div { h1 { (l.t(K::DeviceTitle)) } p class="lead" { (l.t(K::DeviceLead)) } } }
        div class="stack" {
            section class="card stack" aria-labelledby="power-title" {
                h2 id="power-title" { (l.t(K::DevicePower)) }
                p class="quiet" { (l.t(K::DevicePowerHint)) }
                div class="cluster" {
                    form method="post" action="/settings/device/restart" {
                        (forms::hidden(&p.csrf, &empty))
                        button class="button" { (l.t(K::DeviceRestart)) }
                    }
                    form method="post" action="/settings/device/power-off" {
                        (forms::hidden(&p.csrf, &empty))
                        button class="button" { (l.t(K::DevicePowerOff)) }
                    }
                }
            }
            section class="card stack" aria-labelledby="reset-title" {
                h2 id="reset-title" { (icon("warning")) (l.t(K::DeviceReset)) }
                p { (l.t(K::DeviceResetLead)) }
                (shown.summary(l))
                form class="form" method="post" action="/settings/device/reset" {
                    (forms::hidden(&p.csrf, shown))
                    (Field::new(l, shown, "password", K::AccountPasswordOld).needed().show(&FieldKind::Line("password", "current-password")))
                    label class="check" { input type="checkbox" name="sure" required; span { (l.t(K::DeviceResetSure)) } }
                    div class="actions" { button class="button danger" { (l.t(K::DeviceReset)) } }
                }
            }
        }
    };
    p.show_with(status, &View::new(l.t(K::DeviceTitle), Place::Settings), body)
}

pub(super) async fn restart(State(hub): State<Hub>, p: Page, _sent: Form) -> Result<Response, Problem> {
    act(&hub, &p, DeviceAct::Restart)
}

pub(super) async fn power_off(State(hub): State<Hub>, p: Page, _sent: Form) -> Result<Response, Problem> {
    act(&hub, &p, DeviceAct::PowerOff)
}

fn act(hub: &Hub, p: &Page, act: DeviceAct) -> Result<Response, Problem> {
    allowed(p)?;
    hub.host.device(act)?;
    tracing::warn!(?act, "a keeper asked for it");
    let l = p.l;
    let (title, text) = match act {
        DeviceAct::Restart => (K::DeviceRestart, K::DeviceRestarting),
        DeviceAct::PowerOff => (K::DevicePowerOff, K::DevicePoweringOff),
        DeviceAct::FactoryReset => (K::DeviceReset, K::DeviceResetting),
    };
    let body = html! {
        div class="gate" { h1 { (l.t(title)) } p class="lead" { (l.t(text)) } }
    };
    Ok(p.show(&View::new(l.t(title), Place::Settings), body))
}

/// The password stands against a session left open; the box against a slip.
pub(super) async fn reset(
    State(hub): State<Hub>,
    peer: Peer,
    identity: Identity,
    p: Page,
    sent: Form,
) -> Result<Response, Problem> {
    allowed(&p)?;
    let mut errors = Errors::new();
    if !sent.has("sure") {
        errors.insert(String::new(), p.l.t(K::DeviceResetSure).to_owned());
    }
    if sent.raw("password").is_empty() {
        errors.insert("password".to_owned(), p.l.t(K::FieldNeeded).to_owned());
    }
    if errors.is_empty() {
        match session::confirm(&hub, peer, &identity, sent.raw("password").to_owned()).await {
            Ok(()) => return act(&hub, &p, DeviceAct::FactoryReset),
            Err(problem) => {
                errors = fit(p.l, problem)?;
                if let Some(general) = errors.remove("") {
                    errors.insert("password".to_owned(), general);
                }
            }
        }
    }
    Ok(page(&p, StatusCode::UNPROCESSABLE_ENTITY, &Shown::again(sent, errors)))
}
