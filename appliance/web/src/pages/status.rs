//! The status page: how the hub is doing, for everyone; the details for people who look after it.

use axum::{extract::State, response::Response};
use cairn_store::{Finding, Severity};
use maud::{Markup, html};

use super::{
    layout::{Place, View},
    library::index_state,
    page::{HubState, Page},
    parts::{bar, button, icon, moment},
};
use crate::{
    host::{CardFacts, Connectivity, DeviceFacts, Usage},
    hub::Hub,
    i18n::{Count, Key as K},
    problem::Problem,
};

pub(super) async fn show(State(hub): State<Hub>, p: Page) -> Result<Response, Problem> {
    let l = p.l;
    let health = hub.store.health().await;
    let progress = hub.library.progress();
    let inference = hub.inference.connected();
    let facts = &p.facts;
    let (class, long) = match p.state {
        HubState::Normal => ("dot", K::StateNormalLong),
        HubState::Offline => ("dot offline", K::StateOfflineLong),
        HubState::Recovering => ("dot recovering", K::StateRecoveringLong),
    };
    let outbox = if facts.connectivity == Connectivity::Local {
        l.t(K::StatusSyncNone).to_owned()
    } else {
        l.count(Count::StatusOutbox, health.outbox)
    };
    let body = html! {
        div class="page-head" { div { h1 { (l.t(K::StatusTitle)) } p class="lead" { (l.t(K::StatusLead)) } } }
        div class="stack" id="status" data-live="quiet" {
            section class="card stack" aria-labelledby="state" {
                h2 id="state" { span class=(class) {} " " (l.t(K::StatusState)) }
                p { (l.t(long)) }
                p class="quiet" { (outbox) }
                p { (button("/sync", "send", l.t(K::SyncTitle), false)) }
            }
            @if !facts.device.concerns.is_empty() || !facts.device.provisioning.is_empty() {
                section class="card stack" aria-labelledby="concerns" {
                    h2 id="concerns" { (l.t(K::StatusConcerns)) }
                    (concerns(&facts.device))
                }
            }
            section class="card stack" aria-labelledby="started" {
                h2 id="started" { (l.t(K::StatusStarted)) }
                (findings(&p, &facts.opened.findings))
            }
            div class="pairs" {
                section class="card stack-s" aria-labelledby="parts" {
                    h2 id="parts" { (l.t(K::StatusParts)) }
                    dl class="facts" {
                        dt { (l.t(K::PartHub)) } dd { (working(&p, true)) }
                        dt { (l.t(K::PartStore)) } dd { (working(&p, health.database_connected)) }
                        dt { (l.t(K::PartInfer)) } dd { (working(&p, inference)) }
                    }
                }
                section class="card stack-s" aria-labelledby="index" {
                    h2 id="index" { (l.t(K::StatusIndex)) }
                    (index_state(&p, &progress))
                }
                section class="card stack-s" aria-labelledby="machine" {
                    h2 id="machine" { (l.t(K::StatusHealth)) }
                    dl class="facts" {
                        dt { (l.t(K::StatusStorage)) } dd { (storage(&p, facts.disk)) }
                        dt { (l.t(K::StatusMemory)) } dd { (memory(&p, facts.memory)) }
                        dt { (l.t(K::StatusTemperature)) }
                        dd { @if let Some(degrees) = facts.temperature_c { (l.with(K::StatusDegrees, &[("n", &format_args!("{degrees:.0}"))])) } @else { (l.t(K::StatusUnknown)) } }
                        dt { (l.t(K::StatusPower)) } dd { (power(&p, facts.device.under_voltage)) }
                        dt { (l.t(K::StatusCard)) } dd { (card(&p, &facts.device.card)) }
                        dt { (l.t(K::StatusBoard)) } dd { (facts.board.as_deref().unwrap_or(l.t(K::StatusUnknown))) }
                        dt { (l.t(K::StatusVersion)) } dd { (facts.version) }
                        dt { (l.t(K::StatusSchema)) } dd { (health.schema_version) }
                        dt { (l.t(K::StatusUp)) } dd { (l.duration(facts.uptime.as_secs())) }
                    }
                }
                section class="card stack-s" aria-labelledby="addresses" {
                    h2 id="addresses" { (l.t(K::StatusAddresses)) }
                    @for address in &p.facts.pages { p class="address" { (address) } }
                    @if p.facts.pages.is_empty() { p { (l.t(K::StatusOnlyHere)) } }
                }
            }
            section class="card stack" aria-labelledby="confinement" {
                h2 id="confinement" { (l.t(K::StatusConfinement)) }
                p class="quiet" { (l.t(K::StatusConfinementLead)) }
                @for role in &facts.confinement {
                    div class="stack-s" {
                        h3 { code { (role.role) } }
                        p class="cluster" {
                            @for held in &role.held { span class="badge ok" lang="en" dir="ltr" title=(l.t(K::StatusHeld)) { (icon("check")) (held) } }
                            @for lacking in &role.lacking { span class="badge warn" lang="en" dir="ltr" { (icon("warning")) (l.t(K::StatusLacking)) ": " (lacking) } }
                        }
                    }
                }
                @if facts.confinement.is_empty() { p class="quiet" { (l.t(K::StatusUnknown)) } }
            }
            p class="small quiet" { (l.t(K::StatusStarted)) ": " (moment(l, facts.started_at_ms)) }
        }
    };
    Ok(p.show(&View::new(l.t(K::StatusTitle), Place::Status).live("document"), body))
}

fn working(p: &Page, works: bool) -> Markup {
    let (class, picture, key) =
        if works { ("badge ok", "check", K::PartOk) } else { ("badge bad", "warning", K::PartDown) };
    html! { span class=(class) { (icon(picture)) (p.l.t(key)) } }
}

/// What opening the store found: a restored snapshot, a rebuilt index.
fn findings(p: &Page, found: &[Finding]) -> Markup {
    html! {
        @if found.is_empty() { p { (icon("check")) " " (p.l.t(K::StatusStartClean)) } }
        @for finding in found {
            @let (class, picture) = match finding.severity {
                Severity::Note => ("flash info", "info"),
                Severity::Repaired => ("flash warn", "check"),
                Severity::Lost => ("flash bad", "warning"),
            };
            // Written by the store, in English, like the log.
            div class=(class) { (icon(picture)) div class="stack-s" lang="en" dir="ltr" { p { (finding.text) } @if !finding.advice.is_empty() { p class="small" { (finding.advice) } } } }
        }
    }
}

/// What a person should do something about, and the mistakes in the provisioning file.
fn concerns(device: &DeviceFacts) -> Markup {
    let sentences = device.concerns.iter().map(|(_, sentence)| *sentence);
    html! {
        // Written in English, like the log.
        @for text in sentences.chain(device.provisioning.iter().map(String::as_str)) {
            div class="flash warn" { (icon("warning")) div lang="en" dir="ltr" { p { (text) } } }
        }
    }
}

fn power(p: &Page, under_voltage: Option<bool>) -> Markup {
    let (class, key) = match under_voltage {
        Some(true) => ("badge bad", K::StatusPowerLow),
        Some(false) => ("badge ok", K::StatusPowerOk),
        None => return html! { (p.l.t(K::StatusUnknown)) },
    };
    html! { span class=(class) { (p.l.t(key)) } }
}

/// What the card tells of itself; an SD card tells no wear, and none is made up.
fn card(p: &Page, card: &CardFacts) -> Markup {
    let l = p.l;
    let wear = match card.worn_percent {
        Some(percent) => l.with(K::StatusCardWorn, &[("n", &percent)]),
        None => l.t(K::StatusCardSilent).to_owned(),
    };
    html! {
        @if let Some(name) = &card.name { bdi { (name) } br; }
        (wear)
        @if let Some(written) = card.written_bytes { br; (l.with(K::StatusCardWritten, &[("size", &l.size(written))])) }
        @if card.errors.is_some_and(|errors| errors > 0) { br; span class="badge bad" { (l.t(K::StatusCardErrors)) } }
    }
}

fn storage(p: &Page, disk: Option<Usage>) -> Markup {
    let l = p.l;
    html! {
        @match disk {
            Some(disk) => {
                (l.with(K::StatusStorageFree, &[("free", &l.size(disk.free())), ("total", &l.size(disk.total))]))
                (bar(disk.used, disk.total))
            }
            None => { (l.t(K::StatusUnknown)) }
        }
    }
}

fn memory(p: &Page, memory: Option<Usage>) -> Markup {
    let l = p.l;
    html! {
        @match memory {
            Some(memory) => {
                (l.with(K::StatusMemoryUsed, &[("used", &l.size(memory.used)), ("total", &l.size(memory.total))]))
                (bar(memory.used, memory.total))
            }
            None => { (l.t(K::StatusUnknown)) }
        }
    }
}
