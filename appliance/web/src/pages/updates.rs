//! Updates of the hub's own system, for keepers: what runs, what is new, how far it is, what failed and why; pause, install now, try
//! again; and the ways without the internet: an upload, a stick, another hub.

use axum::{
    extract::{Multipart, State},
    http::StatusCode,
    response::Response,
};
use maud::{Markup, html};

use super::{
    layout::{Place, View, encode},
    page::Page,
    parts::{bar, button, icon},
    settings::keepers_only,
};
use crate::{
    api::updates::{forget_upload, order, take, updates},
    forms::{self, Errors, Field, FieldKind, Form, Shown},
    hub::Hub,
    i18n::{Key as K, Language},
    problem::{Problem, ProblemKind},
    updates::{
        UpdateAsk, UpdatePack, UpdatePackKind, UpdatePackName, UpdatePhase, UpdateSharing, UpdateStatus,
        UpdateWishes,
    },
};

/// Where the page is.
const PATH: &str = "/settings/updates";
/// Most files of one upload.
const MAX_FILES: usize = 512;
/// Longest address of another hub, in characters.
const MAX_ADDRESS: usize = 200;

/// The way here from the settings; nothing where the hub is a guest on a computer.
pub(super) fn section(p: &Page, hub: &Hub) -> Markup {
    let status = hub.updates.as_ref().map(|updates| updates.status());
    html! {
        @if let Some(status) = status {
            section class="card stack" aria-labelledby="updates-title" {
                h2 id="updates-title" { (p.l.t(K::UpdatesTitle)) }
                p { (in_a_sentence(p.l, &status)) }
                p { (button(PATH, "clock", p.l.t(K::UpdatesOpen), false)) }
            }
        }
    }
}

pub(super) async fn show(State(hub): State<Hub>, p: Page) -> Result<Response, Problem> {
    page(&hub, &p, StatusCode::OK, None, &Shown::empty())
}

fn in_a_sentence(l: Language, status: &UpdateStatus) -> String {
    let next = status.next.as_deref().unwrap_or_default();
    let offered = status.offer.as_ref().map_or(next, |offer| offer.version.as_str());
    match status.phase {
        UpdatePhase::Current => l.t(K::UpdatesCurrent).to_owned(),
        UpdatePhase::Offered => l.with(K::UpdatesOffered, &[("version", &offered)]),
        UpdatePhase::Installing => l.with(K::UpdatesInstalling, &[("version", &next)]),
        UpdatePhase::Ready => l.with(K::UpdatesReady, &[("version", &next)]),
        UpdatePhase::OnTrial => l.t(K::UpdatesTrial).to_owned(),
        UpdatePhase::Paused => l.t(K::UpdatesPaused).to_owned(),
    }
}

fn of_wishes(wishes: &UpdateWishes) -> Shown {
    let mut shown = Shown::empty();
    for (name, on) in [("paused", wishes.paused), ("metered", wishes.metered), ("share", wishes.share)] {
        if on {
            shown.form.set(name, "on");
        }
    }
    shown.form.set("window_from", wishes.window_from.to_string());
    shown.form.set("window_until", wishes.window_until.to_string());
    shown
}

fn page(
    hub: &Hub,
    p: &Page,
    status: StatusCode,
    wishes: Option<&Shown>,
    bring: &Shown,
) -> Result<Response, Problem> {
    keepers_only(p)?;
    let l = p.l;
    let now = updates(hub)?.status();
    let kept = of_wishes(&now.wishes);
    let body = html! {
        div class="page-head" { div { h1 { (l.t(K::UpdatesTitle)) } p class="lead" { (l.t(K::UpdatesLead)) } } }
        div class="stack" {
            @if p.done.as_deref() == Some("asked") { div class="flash" role="status" { (icon("check")) div { (l.t(K::UpdatesAsked)) } } }
            @if now.came_back { div class="flash warn" { (icon("warning")) div { (l.t(K::UpdatesCameBack)) } } }
            (state(p, &now))
            @if !now.failed.is_empty() { (failed(p, &now)) }
            @if !now.packs.is_empty() { (packs(p, &now)) }
            (wishes_form(p, &now, wishes.unwrap_or(&kept)))
            (bring_forms(p, &now, bring))
        }
    };
    Ok(p.show_with(status, &View::new(l.t(K::UpdatesTitle), Place::Settings), body))
}

fn state(p: &Page, now: &UpdateStatus) -> Markup {
    let l = p.l;
    let picture = match now.phase {
        UpdatePhase::Current => "check",
        UpdatePhase::Offered | UpdatePhase::Paused => "info",
        UpdatePhase::Installing | UpdatePhase::Ready | UpdatePhase::OnTrial => "clock",
    };
    html! {
        section class="card stack" aria-labelledby="updates-state" {
            h2 id="updates-state" { (icon(picture)) " " (in_a_sentence(l, now)) }
            @if let Some(progress) = now.progress {
                p { (l.with(K::UpdatesProgress, &[("fetched", &l.size(progress.fetched)), ("total", &l.size(progress.to_fetch)), ("held", &l.size(progress.held))])) }
                (bar(progress.fetched.min(progress.to_fetch), progress.to_fetch.max(1)))
            }
            @if let Some(offer) = &now.offer {
                @if offer.by_hand { p class="quiet" { (l.t(K::UpdatesByHand)) } }
                @else if !offer.turn && now.phase == UpdatePhase::Offered { p class="quiet" { (l.t(K::UpdatesWaits)) } }
                // Written by the maintainers.
                @if !offer.notes.is_empty() { h3 { (l.t(K::UpdatesNotes)) } p dir="auto" { (offer.notes) } }
            }
            @if now.unproven { p class="quiet" { (icon("info")) " " (l.t(K::UpdatesUnproven)) } }
            @if !now.network { p class="quiet" { (l.t(K::UpdatesNoNetwork)) } }
            dl class="facts" {
                dt { (l.t(K::UpdatesRunning)) } dd { bdi { (now.running) } @if let Some(slot) = &now.slot { " (" (l.t(K::UpdatesSlot)) " " bdi { (slot) } ")" } }
                dt { (l.t(K::UpdatesLooked)) }
                dd { @match now.looked_s { Some(seconds) => { (l.with(K::UpdatesAgo, &[("time", &l.duration(seconds))])) }, None => { (l.t(K::UpdatesNever)) } } }
                @if let Some(trouble) = &now.trouble { dt { (l.t(K::UpdatesTrouble)) } dd lang="en" dir="ltr" { (trouble) } }
            }
            div class="cluster" {
                @if now.network { (act(p, "look", K::UpdatesLook, now.offer.is_none())) }
                @if now.offer.as_ref().is_some_and(|offer| !offer.failed_before) || now.phase == UpdatePhase::Ready {
                    (act(p, "now", K::UpdatesNow, true))
                }
            }
            @if now.offer.is_some() { p class="hint" { (l.t(K::UpdatesNowHint)) } }
        }
    }
}

fn act(p: &Page, what: &str, label: K, primary: bool) -> Markup {
    let class = if primary { "button primary" } else { "button" };
    html! {
        form method="post" action=(format!("{PATH}/{what}")) {
            (forms::hidden(&p.csrf, &Shown::empty()))
            button class=(class) { (p.l.t(label)) }
        }
    }
}

fn failed(p: &Page, now: &UpdateStatus) -> Markup {
    let l = p.l;
    html! {
        section class="card stack" aria-labelledby="updates-failed" {
            h2 id="updates-failed" { (icon("warning")) " " (l.t(K::UpdatesFailed)) }
            p class="quiet" { (l.t(K::UpdatesFailedLead)) }
            @for failure in now.failed.iter().rev() {
                div class="stack-s" {
                    h3 { bdi { (failure.version) } }
                    // Written by the hub that failed, in English, like the log.
                    p lang="en" dir="ltr" { @if let Some(part) = &failure.part { code { (part) } ": " } (failure.reason) }
                    form method="post" action=(format!("{PATH}/again")) {
                        (forms::hidden(&p.csrf, &Shown::empty()))
                        input type="hidden" name="version" value=(failure.version);
                        button class="button" { (l.with(K::UpdatesAgain, &[("version", &failure.version)])) }
                    }
                }
            }
        }
    }
}

fn packs(p: &Page, now: &UpdateStatus) -> Markup {
    html! {
        section class="card stack" aria-labelledby="updates-packs" {
            h2 id="updates-packs" { (p.l.t(K::PacksTitle)) }
            p class="quiet" { (p.l.t(K::PacksLead)) }
            @for pack in &now.packs { (pack_row(p, pack)) }
        }
    }
}

fn pack_row(p: &Page, pack: &UpdatePack) -> Markup {
    let l = p.l;
    let (kind, kind_name) = match pack.pack.kind {
        UpdatePackKind::Model => (K::PacksModel, "model"),
        UpdatePackKind::Content => (K::PacksContent, "content"),
    };
    let title = if pack.title.is_empty() { &pack.pack.name } else { &pack.title };
    let acts: &[_] = match (pack.chosen, pack.trouble.is_some(), pack.installed > 0) {
        (false, ..) => &[("choose", K::PacksChoose)],
        (true, false, false) => &[("leave", K::PacksCancel)],
        (true, false, true) => &[("leave", K::PacksLeave)],
        (true, true, false) => &[("choose", K::PacksAgain), ("leave", K::PacksCancel)],
        (true, true, true) => &[("choose", K::PacksAgain), ("leave", K::PacksLeave)],
    };
    html! {
        div class="stack-s part" {
            // Written by the maintainers.
            h3 { bdi { (title) } }
            p class="quiet" {
                (l.t(kind)) " · " (l.size(pack.bytes))
                @if pack.memory_mib > 0 { " · " (l.with(K::PacksMemory, &[("size", &l.size(pack.memory_mib << 20))])) }
            }
            @if let Some(coming) = pack.coming {
                p { (l.with(K::PacksComing, &[("fetched", &l.size(coming)), ("total", &l.size(pack.bytes))])) }
                (bar(coming.min(pack.bytes), pack.bytes.max(1)))
            } @else if pack.installed >= pack.revision {
                p { (icon("check")) " " (l.t(K::PacksHere)) }
            } @else if pack.installed > 0 {
                p { (icon("info")) " " (l.t(K::PacksNewer)) }
            } @else if pack.chosen {
                p { (icon("clock")) " " (l.t(K::PacksWaits)) }
            }
            @if let Some(trouble) = &pack.trouble { p class="error" { (l.t(K::UpdatesTrouble)) ": " span lang="en" dir="ltr" { (trouble) } } }
            div class="actions" {
                @for (what, label) in acts {
                    form method="post" action=(format!("{PATH}/{what}")) {
                        (forms::hidden(&p.csrf, &Shown::empty()))
                        input type="hidden" name="kind" value=(kind_name);
                        input type="hidden" name="name" value=(pack.pack.name);
                        button class="button" aria-label=(format!("{}: {title}", l.t(*label))) { (l.t(*label)) }
                    }
                }
            }
        }
    }
}

fn named(sent: &Form) -> Result<UpdatePackName, Problem> {
    let kind = match sent.get("kind") {
        "model" => UpdatePackKind::Model,
        "content" => UpdatePackKind::Content,
        _ => return Err(Problem::new(ProblemKind::Invalid, "a pack is a model or content")),
    };
    Ok(UpdatePackName { kind, name: sent.get("name").to_owned() })
}

pub(super) async fn choose(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    asked(&hub, &p, UpdateAsk::Choose(named(&sent)?))
}

pub(super) async fn leave(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    asked(&hub, &p, UpdateAsk::Leave(named(&sent)?))
}

fn wishes_form(p: &Page, now: &UpdateStatus, shown: &Shown) -> Markup {
    let l = p.l;
    html! {
        section class="card stack" aria-labelledby="updates-when" {
            h2 id="updates-when" { (l.t(K::UpdatesWhen)) }
            (shown.summary(l))
            form class="form" method="post" action=(format!("{PATH}/wishes")) {
                (forms::hidden(&p.csrf, shown))
                (Field::new(l, shown, "paused", K::UpdatesPause).hint(K::UpdatesPauseHint).show(&FieldKind::Check))
                (Field::new(l, shown, "metered", K::UpdatesMetered).hint(K::UpdatesMeteredHint).show(&FieldKind::Check))
                (Field::new(l, shown, "window_from", K::UpdatesFrom).hint(K::UpdatesHours).needed().show(&FieldKind::Line("number", "off")))
                (Field::new(l, shown, "window_until", K::UpdatesUntil).needed().show(&FieldKind::Line("number", "off")))
                (Field::new(l, shown, "share", K::UpdatesShare).hint(K::UpdatesShareHint).show(&FieldKind::Check))
                @match &now.sharing {
                    UpdateSharing::Off => {}
                    UpdateSharing::Copying => { p class="quiet" { (l.t(K::UpdatesSharingCopying)) } }
                    UpdateSharing::Ready => { p class="quiet" { (l.t(K::UpdatesSharingReady)) } }
                    UpdateSharing::Failed(why) => { p class="error" { (l.t(K::UpdatesSharingFailed)) " " span lang="en" dir="ltr" { (why) } } }
                }
                div class="actions" { button class="button primary" { (l.t(K::Save)) } }
            }
        }
    }
}

fn bring_forms(p: &Page, now: &UpdateStatus, shown: &Shown) -> Markup {
    let l = p.l;
    html! {
        section class="card stack" aria-labelledby="updates-bring" {
            h2 id="updates-bring" { (l.t(K::UpdatesBring)) }
            p class="quiet" { (l.t(K::UpdatesBringLead)) }
            (shown.summary(l))
            form class="form" method="post" action=(format!("{PATH}/upload?_csrf={}", encode(&p.csrf))) enctype="multipart/form-data" {
                div class="field" {
                    label for="update-files" { (l.t(K::UpdatesFiles)) }
                    p class="hint" id="update-files-hint" { (l.t(K::UpdatesFilesHint)) }
                    input type="file" id="update-files" name="files" multiple required aria-describedby="update-files-hint";
                }
                div class="actions" { button class="button" { (l.t(K::UpdatesUpload)) } }
            }
            @if now.stick { (act(p, "stick", K::UpdatesStick, false)) }
            form class="form" method="post" action=(format!("{PATH}/hub")) {
                (forms::hidden(&p.csrf, shown))
                (Field::new(l, shown, "address", K::UpdatesHub).hint(K::UpdatesHubHint).needed().limit(MAX_ADDRESS).show(&FieldKind::Line("url", "off")))
                div class="actions" { button class="button" { (l.t(K::UpdatesHubLook)) } }
            }
        }
    }
}

fn asked(hub: &Hub, p: &Page, ask: UpdateAsk) -> Result<Response, Problem> {
    keepers_only(p)?;
    order(hub, ask)?;
    Ok(p.go(PATH, "asked"))
}

pub(super) async fn look(State(hub): State<Hub>, p: Page, _sent: Form) -> Result<Response, Problem> {
    asked(&hub, &p, UpdateAsk::Look)
}

pub(super) async fn now(State(hub): State<Hub>, p: Page, _sent: Form) -> Result<Response, Problem> {
    asked(&hub, &p, UpdateAsk::Now)
}

pub(super) async fn stick(State(hub): State<Hub>, p: Page, _sent: Form) -> Result<Response, Problem> {
    asked(&hub, &p, UpdateAsk::LookAtStick)
}

pub(super) async fn again(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    asked(&hub, &p, UpdateAsk::TryAgain(sent.get("version").to_owned()))
}

pub(super) async fn wishes(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    keepers_only(&p)?;
    let mut errors = Errors::new();
    let mut hour = |name: &str| match sent.get(name).parse::<u8>() {
        Ok(hour) if hour < 24 => hour,
        _ => {
            errors.insert(name.to_owned(), p.l.t(K::UpdatesHours).to_owned());
            0
        }
    };
    let (window_from, window_until) = (hour("window_from"), hour("window_until"));
    if !errors.is_empty() {
        let shown = Shown::again(sent, errors);
        return page(&hub, &p, StatusCode::UNPROCESSABLE_ENTITY, Some(&shown), &Shown::empty());
    }
    let (paused, metered, share) = (sent.has("paused"), sent.has("metered"), sent.has("share"));
    order(&hub, UpdateAsk::Wishes(UpdateWishes { paused, metered, window_from, window_until, share }))?;
    Ok(p.go(PATH, "saved"))
}

pub(super) async fn hub(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    keepers_only(&p)?;
    match order(&hub, UpdateAsk::LookAtHub(sent.get("address").to_owned())) {
        Ok(()) => Ok(p.go(PATH, "asked")),
        Err(problem) if problem.kind == ProblemKind::Invalid => {
            let errors = Errors::from([("address".to_owned(), p.l.t(K::UpdatesHubHint).to_owned())]);
            page(&hub, &p, StatusCode::UNPROCESSABLE_ENTITY, None, &Shown::again(sent, errors))
        }
        Err(problem) => Err(problem),
    }
}

/// Files of a repository, as they lie on a stick; what is no part of one is passed over.
pub(super) async fn upload(
    State(hub): State<Hub>,
    p: Page,
    mut sent: Multipart,
) -> Result<Response, Problem> {
    keepers_only(&p)?;
    updates(&hub)?;
    let mut taken = 0;
    let broken = |error: axum::extract::multipart::MultipartError| {
        Problem::new(ProblemKind::Malformed, error.body_text())
    };
    while let Some(field) = sent.next_field().await.map_err(broken)? {
        // Some browsers send the whole path of a file in a folder.
        let name = field.file_name().and_then(|name| name.rsplit(['/', '\\']).next()).map(str::to_owned);
        let Some(name) = name.filter(|name| !name.is_empty()) else { continue };
        if taken == 0 {
            forget_upload(&hub).await?;
        }
        if taken == MAX_FILES {
            return Err(Problem::new(ProblemKind::TooLarge, format!("at most {MAX_FILES} files")));
        }
        taken += usize::from(take(&hub, &name, None, field).await?);
    }
    if taken == 0 {
        let errors = Errors::from([(String::new(), p.l.t(K::UpdatesNothing).to_owned())]);
        let shown = Shown::again(Form::default(), errors);
        return page(&hub, &p, StatusCode::UNPROCESSABLE_ENTITY, None, &shown);
    }
    asked(&hub, &p, UpdateAsk::LookAtUpload)
}
