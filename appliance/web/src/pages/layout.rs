//! The frame around every page: bar, banners, destinations, menu.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    page::{HubState, Page},
    parts::icon,
    sync,
};
use crate::{
    assets,
    i18n::{Count, Key as K, Language},
};

/// A destination in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Home,
    Library,
    Ask,
    Projects,
    Messages,
    People,
    Status,
    Settings,
    Account,
    /// Somewhere else.
    Other,
}

/// What the frame needs to know of the page that it holds.
pub(super) struct View<'a> {
    /// Title of the window; the hub's name follows.
    pub(super) title: &'a str,
    /// Where in the navigation.
    pub(super) place: Place,
    /// Kinds of records whose changes matter to the page, separated by spaces.
    pub(super) kinds: &'static str,
    /// The project that the page is about.
    pub(super) project: Option<String>,
    /// The record that the page is about, and whether it is being edited.
    pub(super) record: Option<(String, bool)>,
}

impl<'a> View<'a> {
    /// A page without live parts.
    pub(super) const fn new(title: &'a str, place: Place) -> Self {
        Self { title, place, kinds: "", project: None, record: None }
    }

    /// With live parts that follow these kinds.
    pub(super) fn live(self, kinds: &'static str) -> Self {
        Self { kinds, ..self }
    }

    /// About this record.
    pub(super) fn about(self, id: impl ToString) -> Self {
        Self { record: Some((id.to_string(), false)), ..self }
    }

    /// Editing this record.
    pub(super) fn editing(self, id: impl ToString) -> Self {
        Self { record: Some((id.to_string(), true)), ..self }
    }

    /// In this project.
    pub(super) fn project(self, id: Option<impl ToString>) -> Self {
        Self { project: id.map(|id| id.to_string()), ..self }
    }
}

const MAIN: [(Place, &str, &str, K); 5] = [
    (Place::Home, "/", "home", K::NavHome),
    (Place::Library, "/library", "library", K::NavLibrary),
    (Place::Ask, "/ask", "ask", K::NavAsk),
    (Place::Projects, "/projects", "projects", K::NavProjects),
    (Place::Messages, "/messages", "messages", K::NavMessages),
];

pub(super) fn page(p: &Page, view: &View<'_>, body: &Markup) -> Markup {
    let l = p.l;
    let person = p.person_id().map(|id| id.to_string());
    let name = p.person.as_ref().map(|person| person.text("name"));
    html! {
        (DOCTYPE)
        html lang=(l.tag()) dir=(l.direction()) data-csrf=(p.csrf) data-person=[person.as_deref()] data-name=[name] data-texts=(assets::texts(l)) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover";
                meta name="color-scheme" content="light dark";
                meta name="theme-color" media="(prefers-color-scheme: light)" content="#fffdf8";
                meta name="theme-color" media="(prefers-color-scheme: dark)" content="#23201b";
                meta name="referrer" content="same-origin";
                title { (view.title) " · " (p.settings.hub_name) }
                link rel="stylesheet" href=(assets::path("cairn.css"));
                link rel="icon" type="image/svg+xml" href=(assets::path("favicon.svg"));
                link rel="manifest" href="/manifest.webmanifest";
                script type="module" src=(assets::path("cairn.js")) {}
            }
            body data-kinds=(view.kinds) data-project=[view.project.as_deref()]
                data-record=[view.record.as_ref().map(|(id, _)| id.as_str())]
                data-editing=[view.record.as_ref().filter(|(_, editing)| *editing).map(|_| "yes")] {
                a class="skip" href="#main" { (l.t(K::SkipToContent)) }
                (top(p, name))
                (notes(p))
                (rail(p, view.place))
                main id="main" tabindex="-1" {
                    (flash(p))
                    (body)
                }
                footer class="foot" { p { (l.t(K::FootNote)) } }
                div id="announce" class="sr" role="status" aria-live="polite" {}
            }
        }
    }
}

fn top(p: &Page, name: Option<&str>) -> Markup {
    let l = p.l;
    let (class, text) = match p.state {
        HubState::Normal => ("dot", K::StateNormal),
        HubState::Offline => ("dot offline", K::StateOffline),
        HubState::Recovering => ("dot recovering", K::StateRecovering),
    };
    html! {
        header class="top" {
            a class="brand" href="/" { (icon("cairn")) span dir="auto" { (p.settings.hub_name) } }
            div class="top-end" {
                a class="state" href="/status" { span class=(class) {} span { (l.t(text)) } }
                (shared(p))
                details class="menu" {
                    summary aria-label=(l.t(K::NavMenu)) {
                        @if let Some(name) = name { span class="face" aria-hidden="true" { (initial(name)) } } @else { (icon("menu")) }
                    }
                    div class="menu-panel" { (menu(p, name)) }
                }
            }
        }
    }
}

/// Where sharing with other hubs stands, and what waits for a person. Nothing on a hub that works for itself.
fn shared(p: &Page) -> Markup {
    let l = p.l;
    let (picture, key) = sync::short(&p.sync);
    html! {
        @if p.sync.enrolled() { a class="shared" href="/sync" { (icon(picture)) span { (l.t(key)) } } }
        @if p.conflicts > 0 {
            a class="shared bad" href="/conflicts" {
                (icon("conflict")) b aria-hidden="true" { (l.number(p.conflicts)) } span { (l.count(Count::ConflictsWaiting, p.conflicts)) }
            }
        }
    }
}

fn menu(p: &Page, name: Option<&str>) -> Markup {
    let l = p.l;
    html! {
        @if let Some(name) = name {
            p class="who" { (l.with(K::SignedInAs, &[("name", &name)])) }
            a href="/account" { (icon("person")) (l.t(K::NavAccount)) }
        } @else {
            a href=(format!("/sign-in?to={}", encode(&p.path))) { (icon("in")) (l.t(K::SignIn)) }
        }
        div class="narrow" {
            a href="/people" { (icon("people")) (l.t(K::NavPeople)) }
            a href="/status" { (icon("status")) (l.t(K::NavStatus)) }
            @if p.is_keeper() { a href="/settings" { (icon("settings")) (l.t(K::NavSettings)) } }
        }
        hr;
        form class="languages" method="post" action="/language" aria-label=(l.t(K::NavLanguage)) {
            input type="hidden" name="_csrf" value=(p.csrf);
            input type="hidden" name="to" value=(p.path);
            @for language in Language::ALL {
                button name="language" value=(language.tag()) lang=(language.tag()) dir=(language.direction()) aria-pressed=(if language == l { "true" } else { "false" }) {
                    (language.own_name())
                }
            }
        }
        @if name.is_some() {
            hr;
            form method="post" action="/sign-out" data-sign-out {
                input type="hidden" name="_csrf" value=(p.csrf);
                button { (icon("out")) (l.t(K::SignOut)) }
            }
        }
    }
}

/// The banners: how the hub is (server), whether this browser reaches it and what waits in it (script).
fn notes(p: &Page) -> Markup {
    let l = p.l;
    html! {
        div class="notes" {
            @match p.state {
                HubState::Normal => {}
                HubState::Offline => div class="banner offline" role="status" {
                    (icon("info")) p { (l.t(K::StateOfflineLong)) " " a href="/status" { (l.t(K::StateMore)) } }
                },
                HubState::Recovering => div class="banner recovering" role="status" {
                    (icon("warning")) p { (l.t(K::StateRecoveringLong)) " " a href="/status" { (l.t(K::StateMore)) } }
                },
            }
            div class="banner waiting" id="away-banner" hidden { (icon("warning")) p { (l.t(K::BrowserAway)) } }
            div class="banner waiting" id="queue-banner" hidden {
                (icon("clock"))
                details class="fold" {
                    summary { span data-count {} }
                    p class="small" { (l.t(K::QueueLead)) }
                    ul class="stack" data-list {}
                    button class="button" type="button" id="queue-send" { (l.t(K::QueueSendNow)) }
                }
            }
        }
    }
}

fn rail(p: &Page, place: Place) -> Markup {
    let l = p.l;
    let link = |to: Place, path: &str, name: &str, key: K| {
        html! {
            a href=(path) aria-current=[(to == place).then_some("page")] { (icon(name)) span { (l.t(key)) } }
        }
    };
    html! {
        nav class="rail" aria-label=(l.t(K::NavLabel)) {
            ul {
                @for (to, path, name, key) in MAIN { li { (link(to, path, name, key)) } }
                li class="wide" { (link(Place::People, "/people", "people", K::NavPeople)) }
                li class="wide gap" { (link(Place::Status, "/status", "status", K::NavStatus)) }
                @if p.is_keeper() { li class="wide" { (link(Place::Settings, "/settings", "settings", K::NavSettings)) } }
                @if p.is_signed_in() { li class="wide" { (link(Place::Account, "/account", "person", K::NavAccount)) } }
                @else { li class="wide" { (link(Place::Account, "/sign-in", "in", K::SignIn)) } }
            }
        }
    }
}

/// What a redirect said was done.
fn flash(p: &Page) -> Markup {
    let text = match p.done.as_deref() {
        Some("saved") => K::Saved,
        Some("deleted") => K::Deleted,
        Some("response") => K::ResponseSaved,
        Some("ready") => K::FirstDone,
        Some("out") => K::SignedOutNote,
        Some("password") => K::AccountPasswordChanged,
        Some("model") => K::ModelAdded,
        Some("settled") => K::ConflictSettled,
        Some("restore") => K::BackupRestoreStarted,
        _ => return html! {},
    };
    html! { div class="flash" role="status" { (icon("check")) div { (p.l.t(text)) } } }
}

/// The first letter of a name, upper case.
pub(super) fn initial(name: &str) -> String {
    name.trim().chars().next().map(|first| first.to_uppercase().collect()).unwrap_or_default()
}

/// A text inside a query string (RFC 3986 section 2.1).
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The QR code of an address, as an inline picture in the page's colours of ink on white.
pub(super) fn qr(address: &str, label: &str) -> Markup {
    let Ok(code) = qrcode::QrCode::with_error_correction_level(address, qrcode::EcLevel::M) else {
        return html! {};
    };
    let width = code.width();
    let mut path = String::new();
    for (at, color) in code.to_colors().iter().enumerate() {
        if *color == qrcode::Color::Dark {
            path.push_str(&format!("M{} {}h1v1h-1z", at % width, at / width));
        }
    }
    let view = format!("0 0 {width} {width}");
    html! {
        svg class="qr" role="img" aria-label=(label) viewBox=(view) shape-rendering="crispEdges" {
            (PreEscaped(format!("<path fill=\"#000\" d=\"{path}\"/>")))
        }
    }
}
