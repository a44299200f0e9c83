//! Sharing with other hubs: where it stands, for everyone; for keepers also when and how, which projects, the last
//! exchanges, and the way in to a gateway.

use axum::{extract::State, http::StatusCode, response::Response};
use cairn_store::{LogEntry, RefusedChange, ScopeChoice, Secret};
use cairn_sync::{RecordId, session::Way};
use maud::{Markup, html};

use super::{
    layout::{Place, View},
    page::Page,
    parts::{icon, moment},
    settings::keepers_only,
};
use crate::{
    forms::{self, Errors, Field, FieldKind, Form, Shown},
    hub::Hub,
    i18n::{Count, Key as K, Language},
    problem::{Problem, ProblemKind},
    uplink::{Uplink, UplinkMode, UplinkState, UplinkStatus},
};

/// Exchanges shown.
const SHOWN: u16 = 30;
/// Longest and shortest time between two exchanges, in minutes.
const MINUTES: std::ops::RangeInclusive<u64> = 1..=1440;
const MINUTE_MS: u64 = 60_000;
/// The largest file that comes by itself can be set to this many megabytes.
const MEGABYTES: std::ops::RangeInclusive<u64> = 0..=512;
const MEGABYTE: u64 = 1 << 20;
/// Longest address and token, in characters.
const MAX_LINE: usize = 300;

/// The state in a word, with its picture.
pub(super) const fn short(status: &UplinkStatus) -> (&'static str, K) {
    match status.state {
        UplinkState::NotEnrolled => ("info", K::SyncOff),
        UplinkState::Local => ("info", K::SyncLocal),
        UplinkState::Idle if status.figures.queue > 0 => ("clock", K::SyncWaiting),
        UplinkState::Idle => ("check", K::SyncIdle),
        UplinkState::Busy => ("clock", K::SyncBusy),
        UplinkState::Waiting => ("clock", K::SyncWaiting),
        UplinkState::Stopped(_) => ("warning", K::SyncStopped),
    }
}

const fn long(status: &UplinkStatus) -> K {
    match status.state {
        UplinkState::NotEnrolled => K::SyncOffLong,
        UplinkState::Local => K::SyncLocalLong,
        UplinkState::Idle | UplinkState::Busy if status.last_success_ms.is_none() => K::SyncNewLong,
        UplinkState::Idle | UplinkState::Busy => K::SyncIdleLong,
        UplinkState::Waiting => K::SyncWaitingLong,
        UplinkState::Stopped(_) => K::SyncStoppedLong,
    }
}

/// What only keepers see.
struct Details {
    log: Vec<LogEntry>,
    scopes: Vec<ScopeChoice>,
    refused: Vec<RefusedChange>,
    /// Names of people who stay keepers here only because nobody else is.
    held: Vec<String>,
}

pub(super) async fn show(State(hub): State<Hub>, p: Page) -> Result<Response, Problem> {
    let shown = of_ways(&p.sync);
    page(&hub, &p, StatusCode::OK, &shown, &Shown::empty()).await
}

fn of_ways(status: &UplinkStatus) -> Shown {
    let mut shown = Shown::empty();
    shown.form.set("mode", mode_name(status.mode));
    let minutes = match status.way {
        Way::Periodic { every_ms } => every_ms / MINUTE_MS,
        Way::Live | Way::OnDemand => 15,
    };
    let way = match status.way {
        Way::Live => "live",
        Way::Periodic { .. } => "periodic",
        Way::OnDemand => "demand",
    };
    shown.form.set("way", way);
    shown.form.set("minutes", minutes.to_string());
    shown.form.set("files", (status.files_up_to / MEGABYTE).to_string());
    shown
}

const fn mode_name(mode: UplinkMode) -> &'static str {
    match mode {
        UplinkMode::Local => "local",
        UplinkMode::Hybrid => "hybrid",
        UplinkMode::Cloud => "cloud",
    }
}

async fn page(
    hub: &Hub,
    p: &Page,
    status: StatusCode,
    ways: &Shown,
    enrol: &Shown,
) -> Result<Response, Problem> {
    let l = p.l;
    let sync = &p.sync;
    let details = if p.is_keeper() {
        Some(Details {
            log: hub.store.sync_log(SHOWN).await?,
            scopes: hub.store.sync_scopes(&p.viewer).await?,
            refused: hub.store.sync_refused(&p.viewer).await?,
            held: hub.store.held_keepers(&p.viewer).await?,
        })
    } else {
        None
    };
    let body = html! {
        div class="page-head" { div { h1 { (l.t(K::SyncTitle)) } p class="lead" { (l.t(K::SyncLead)) } } }
        div class="stack" {
            (said(p))
            (state(p, sync))
            @if let Some(details) = &details {
                @for name in &details.held {
                    div class="flash warn" role="status" { (icon("warning")) div { (l.with(K::SyncHeldKeeper, &[("name", name)])) } }
                }
                @if hub.uplink.is_some() {
                    @if sync.enrolled() {
                        (ways_form(p, ways))
                        (projects(p, &details.scopes))
                    }
                    (enrol_form(p, sync, enrol))
                }
                @if !details.refused.is_empty() { (refused(p, &details.refused)) }
                @if sync.enrolled() { (log(l, &details.log)) }
            }
        }
    };
    Ok(p.show_with(status, &View::new(l.t(K::SyncTitle), Place::Status), body))
}

fn said(p: &Page) -> Markup {
    let key = match p.done.as_deref() {
        Some("asked") => K::SyncAsked,
        Some("enrolled") => K::SyncEnrolled,
        _ => return html! {},
    };
    html! { div class="flash" role="status" { (icon("check")) div { (p.l.t(key)) } } }
}

fn state(p: &Page, sync: &UplinkStatus) -> Markup {
    let l = p.l;
    let (picture, key) = short(sync);
    html! {
        section class="card stack" aria-labelledby="sync-state" {
            h2 id="sync-state" { (icon(picture)) " " (l.t(key)) }
            p { (l.t(long(sync))) }
            @if p.conflicts > 0 {
                p { a class="button" href="/conflicts" { (icon("conflict")) (l.count(Count::ConflictsWaiting, p.conflicts)) } }
            }
            @if sync.enrolled() {
                dl class="facts" {
                    @if let Some(community) = &sync.community { dt { (l.t(K::SyncCommunity)) } dd dir="auto" { (community) } }
                    dt { (l.t(K::SyncQueueLabel)) } dd { (l.count(Count::StatusOutbox, sync.figures.queue)) }
                    dt { (l.t(K::SyncLast)) }
                    dd { @match sync.last_success_ms { Some(at) => { (moment(l, at)) }, None => { (l.t(K::SyncNotSinceStart)) } } }
                    @if !sync.present.is_empty() { dt { (l.t(K::SyncPresent)) } dd dir="auto" { (sync.present.join(", ")) } }
                    @if p.is_keeper() {
                        @if let Some(gateway) = &sync.gateway { dt { (l.t(K::SyncGateway)) } dd dir="ltr" { (gateway) } }
                        @if let Some(trouble) = trouble(sync) { dt { (l.t(K::SyncTrouble)) } dd lang="en" dir="ltr" { (trouble) } }
                    }
                }
                @if p.is_keeper() && sync.state != UplinkState::Local {
                    form method="post" action="/sync/now" {
                        (forms::hidden(&p.csrf, &Shown::empty()))
                        button class="button primary" { (icon("send")) (l.t(K::SyncNow)) }
                    }
                }
            }
        }
    }
}

fn trouble(sync: &UplinkStatus) -> Option<&str> {
    match &sync.state {
        UplinkState::Stopped(why) => Some(why),
        _ => sync.trouble.as_deref(),
    }
}

fn ways_form(p: &Page, shown: &Shown) -> Markup {
    let l = p.l;
    let modes = [
        ("hybrid", l.t(K::SyncModeHybrid), l.t(K::SyncModeHybridHint)),
        ("cloud", l.t(K::SyncModeCloud), l.t(K::SyncModeCloudHint)),
        ("local", l.t(K::SyncModeLocal), l.t(K::SyncModeLocalHint)),
    ];
    let ways = [
        ("periodic", l.t(K::SyncWayPeriodic), l.t(K::SyncWayPeriodicHint)),
        ("live", l.t(K::SyncWayLive), l.t(K::SyncWayLiveHint)),
        ("demand", l.t(K::SyncWayDemand), ""),
    ];
    html! {
        section class="card stack" aria-labelledby="ways" {
            h2 id="ways" { (l.t(K::SyncWays)) }
            (shown.summary(l))
            form class="form" method="post" action="/sync/ways" {
                (forms::hidden(&p.csrf, shown))
                (Field::new(l, shown, "mode", K::SyncMode).needed().show(&FieldKind::Radio(&modes)))
                (Field::new(l, shown, "way", K::SyncWay).needed().show(&FieldKind::Radio(&ways)))
                (Field::new(l, shown, "minutes", K::SyncMinutes).hint(K::SyncMinutesRange).needed().show(&FieldKind::Line("number", "off")))
                (Field::new(l, shown, "files", K::SyncFiles).hint(K::SyncFilesRange).needed().show(&FieldKind::Line("number", "off")))
                div class="actions" { button class="button primary" { (l.t(K::Save)) } }
            }
        }
    }
}

fn projects(p: &Page, scopes: &[ScopeChoice]) -> Markup {
    let l = p.l;
    html! {
        @if !scopes.is_empty() {
            section class="card stack" aria-labelledby="projects" {
                h2 id="projects" { (l.t(K::SyncProjects)) }
                p class="hint" { (l.t(K::SyncProjectsLead)) }
                form class="stack-s" method="post" action="/sync/projects" {
                    (forms::hidden(&p.csrf, &Shown::empty()))
                    @for scope in scopes {
                        input type="hidden" name="known" value=(scope.project);
                        label class="check" {
                            input type="checkbox" name="chosen" value=(scope.project) checked[scope.chosen];
                            span {
                                bdi { @if scope.name.is_empty() { (l.t(K::ConflictUntitled)) } @else { (scope.name) } }
                                @if scope.withheld { span class="hint" { (l.t(K::SyncWithheld)) } }
                            }
                        }
                    }
                    div class="actions" { button class="button" { (l.t(K::Save)) } }
                }
            }
        }
    }
}

fn enrol_form(p: &Page, sync: &UplinkStatus, shown: &Shown) -> Markup {
    let l = p.l;
    let form = html! {
        p class="quiet" { (l.t(K::SyncEnrolLead)) }
        (shown.summary(l))
        form class="form" method="post" action="/sync/enrol" {
            (forms::hidden(&p.csrf, shown))
            (Field::new(l, shown, "url", K::SyncUrl).hint(K::SyncUrlHint).needed().limit(MAX_LINE).show(&FieldKind::Line("url", "off")))
            (Field::new(l, shown, "token", K::SyncToken).hint(K::SyncTokenHint).needed().limit(MAX_LINE).show(&FieldKind::Line("password", "off")))
            div class="actions" { button class="button" { (l.t(K::SyncEnrol)) } }
        }
    };
    html! {
        section class="card stack" aria-labelledby="enrol" {
            h2 id="enrol" { (l.t(K::SyncEnrol)) }
            @if sync.enrolled() {
                details class="fold" open[!shown.errors.is_empty()] { summary { (l.t(K::SyncAgain)) } (form) }
            } @else { (form) }
        }
    }
}

fn refused(p: &Page, changes: &[RefusedChange]) -> Markup {
    let l = p.l;
    html! {
        section class="card stack-s" aria-labelledby="refused" {
            h2 id="refused" { (l.t(K::SyncRefused)) }
            p class="quiet" { (l.t(K::SyncRefusedLead)) }
            ul class="stack-s" {
                @for change in changes {
                    li {
                        a href=(format!("/records/{}/history", change.record)) { (moment(l, change.at_ms)) }
                        " " span lang="en" dir="ltr" { (change.reason) }
                    }
                }
            }
        }
    }
}

fn log(l: Language, entries: &[LogEntry]) -> Markup {
    html! {
        section class="card stack-s" aria-labelledby="log" {
            h2 id="log" { (l.t(K::SyncLog)) }
            @if entries.is_empty() { p class="quiet" { (l.t(K::SyncLogEmpty)) } }
            @else {
                div class="scroll" tabindex="0" role="region" aria-labelledby="log" {
                    table class="table" {
                        thead { tr {
                            th scope="col" { (l.t(K::SyncWhen)) } th scope="col" { (l.t(K::SyncSent)) }
                            th scope="col" { (l.t(K::SyncReceived)) } th scope="col" { (l.t(K::SyncOutcome)) }
                        } }
                        tbody {
                            @for entry in entries {
                                tr {
                                    td { (moment(l, entry.at_ms)) }
                                    td class="n" { (l.number(entry.up.into())) }
                                    td class="n" { (l.number(entry.down.into())) }
                                    td {
                                        @if entry.worked { span class="badge ok" { (icon("check")) (l.t(K::SyncWorked)) } }
                                        @else { span class="badge warn" { (icon("warning")) (l.t(K::SyncFailed)) } }
                                        @if !entry.note.is_empty() { " " span lang="en" dir="ltr" { (entry.note) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The uplink, for a keeper.
fn uplink<'a>(hub: &'a Hub, p: &Page) -> Result<&'a dyn Uplink, Problem> {
    keepers_only(p)?;
    let missing = || Problem::new(ProblemKind::Unavailable, "this hub was started without its uplink");
    hub.uplink.as_deref().ok_or_else(missing)
}

pub(super) async fn now(State(hub): State<Hub>, p: Page, _sent: Form) -> Result<Response, Problem> {
    uplink(&hub, &p)?.now();
    Ok(p.go("/sync", "asked"))
}

pub(super) async fn ways(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    let uplink = uplink(&hub, &p)?;
    match read_ways(p.l, &sent, uplink.status().files_up_to) {
        Ok((mode, way, files_up_to)) => {
            uplink
                .set_ways(mode, way, files_up_to)
                .await
                .map_err(|error| Problem::new(ProblemKind::Unavailable, error.0))?;
            Ok(p.go("/sync", "saved"))
        }
        Err(errors) => {
            let shown = Shown::again(sent, errors);
            page(&hub, &p, StatusCode::UNPROCESSABLE_ENTITY, &shown, &Shown::empty()).await
        }
    }
}

/// `files_up_to` is what is in force: a form of a page of an older release does not name it.
fn read_ways(l: Language, sent: &Form, files_up_to: u64) -> Result<(UplinkMode, Way, u64), Errors> {
    let choice = |name: &str| Errors::from([(name.to_owned(), l.t(K::FieldNotAChoice).to_owned())]);
    let mode = [UplinkMode::Local, UplinkMode::Hybrid, UplinkMode::Cloud]
        .into_iter()
        .find(|mode| mode_name(*mode) == sent.get("mode"))
        .ok_or_else(|| choice("mode"))?;
    let way = match sent.get("way") {
        "live" => Way::Live,
        "demand" => Way::OnDemand,
        "periodic" => {
            let minutes = sent.get("minutes").parse::<u64>().ok().filter(|minutes| MINUTES.contains(minutes));
            let wrong = || Errors::from([("minutes".to_owned(), l.t(K::SyncMinutesRange).to_owned())]);
            Way::Periodic { every_ms: minutes.ok_or_else(wrong)? * MINUTE_MS }
        }
        _ => return Err(choice("way")),
    };
    let wrong = || Errors::from([("files".to_owned(), l.t(K::SyncFilesRange).to_owned())]);
    if !sent.has("files") {
        return Ok((mode, way, files_up_to));
    }
    let megabytes = sent.get("files").parse::<u64>().ok().filter(|size| MEGABYTES.contains(size));
    Ok((mode, way, megabytes.ok_or_else(wrong)? * MEGABYTE))
}

/// Which projects are shared. Only what the page showed is changed.
pub(super) async fn choose(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    keepers_only(&p)?;
    let chosen: Vec<RecordId> = sent.all("chosen").filter_map(|id| id.parse().ok()).collect();
    let known: Vec<RecordId> = sent.all("known").filter_map(|id| id.parse().ok()).collect();
    for scope in hub.store.sync_scopes(&p.viewer).await? {
        let wanted = chosen.contains(&scope.project);
        if known.contains(&scope.project) && wanted != scope.chosen {
            hub.store.sync_choose(&p.viewer, scope.project, wanted).await?;
        }
    }
    Ok(p.go("/sync", "saved"))
}

pub(super) async fn enrol(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    let uplink = uplink(&hub, &p)?;
    let mut errors = Errors::new();
    for name in ["url", "token"] {
        if sent.get(name).is_empty() {
            errors.insert(name.to_owned(), p.l.t(K::FieldNeeded).to_owned());
        } else if sent.get(name).chars().count() > MAX_LINE {
            errors.insert(name.to_owned(), p.l.count(Count::FieldTooLong, MAX_LINE as u64));
        }
    }
    if errors.is_empty() {
        match uplink.enrol(sent.get("url").to_owned(), Secret::new(sent.get("token"))).await {
            Ok(()) => return Ok(p.go("/sync", "enrolled")),
            Err(error) => drop(errors.insert(String::new(), error.0)),
        }
    }
    let shown = Shown::again(sent, errors);
    page(&hub, &p, StatusCode::UNPROCESSABLE_ENTITY, &of_ways(&p.sync), &shown).await
}
