//! Small pieces that pages are made of.

use std::collections::BTreeMap;

use cairn_store::{Cursor, Record, SyncState};
use cairn_sync::RecordId;
use maud::{Markup, html};

use super::{
    layout::{encode, initial},
    page::Page,
};
use crate::{
    assets,
    hub::Hub,
    i18n::{Key as K, Language, iso},
    problem::Problem,
};

/// An icon of the sheet. It says nothing to screen readers: text stands beside it.
pub(super) fn icon(name: &str) -> Markup {
    let class = if matches!(name, "back" | "in" | "out" | "send") { "icon turns" } else { "icon" };
    html! { svg class=(class) aria-hidden="true" focusable="false" { use href=(format!("{}#{name}", assets::path("icons.svg"))) {} } }
}

/// A moment: UTC in the markup, the reader's own time by script.
pub(super) fn moment(l: Language, ms: i64) -> Markup {
    html! { time datetime=(iso(ms)) data-moment { (l.moment(ms)) } }
}

/// Where a record stands with other hubs. Nothing where there are none.
pub(super) fn sync_badge(p: &Page, record: &Record) -> Markup {
    let l = p.l;
    let connected = p.facts.connectivity != crate::host::Connectivity::Local;
    match record.sync {
        SyncState::Conflict => html! {
            a class="badge bad" href=(format!("/records/{}/conflicts", record.id)) { (icon("conflict")) (l.t(K::SyncConflict)) }
        },
        SyncState::Pending if connected => {
            html! { span class="badge warn" { (icon("clock")) (l.t(K::SyncPending)) } }
        }
        SyncState::Synced => html! { span class="badge ok" { (icon("check")) (l.t(K::SyncSynced)) } },
        SyncState::Pending => html! {},
    }
}

/// The way back to where this page belongs.
pub(super) fn crumb(path: &str, text: &str) -> Markup {
    html! { a class="crumbs" href=(path) { (icon("back")) span dir="auto" { (text) } } }
}

/// What stands where a list has nothing yet.
pub(super) fn empty(picture: &str, title: &str, text: &str, action: Markup) -> Markup {
    html! { div class="empty" { (icon(picture)) h2 { (title) } p { (text) } (action) } }
}

/// A link that looks like a button.
pub(super) fn button(path: &str, picture: &str, text: &str, primary: bool) -> Markup {
    html! { a class=(if primary { "button primary" } else { "button" }) href=(path) { (icon(picture)) (text) } }
}

/// “Show more” under a list, where more follows.
pub(super) fn more(l: Language, path: &str, next: Option<&Cursor>) -> Markup {
    html! {
        @if let Some(next) = next {
            @let join = if path.contains('?') { '&' } else { '?' };
            p class="section" { a class="button" rel="next" href=(format!("{path}{join}after={}", encode(next.as_str()))) { (l.t(K::More)) } }
        }
    }
}

/// A person's round sign. Its colour follows from the name and says nothing.
pub(super) fn face(name: &str) -> Markup {
    let class = match name.bytes().map(u32::from).sum::<u32>() % 4 {
        0 => "face",
        1 => "face b",
        2 => "face c",
        _ => "face d",
    };
    html! { span class=(class) aria-hidden="true" { (initial(name)) } }
}

/// The form that deletes a record, behind a fold so that it takes two presses.
pub(super) fn delete_form(p: &Page, action: &str) -> Markup {
    let l = p.l;
    html! {
        details class="fold section" {
            summary { (l.t(K::Delete)) }
            form method="post" action=(action) class="stack" {
                (crate::forms::hidden(&p.csrf, &crate::forms::Shown::empty()))
                p { (l.t(K::DeleteSure)) }
                button class="button danger" { (l.t(K::Delete)) }
            }
        }
    }
}

/// A choice of tabs: path, text, whether it is this one.
pub(super) fn tabs(label: &str, items: &[(String, &str, bool)]) -> Markup {
    html! {
        nav class="tabs" aria-label=(label) {
            @for (path, text, here) in items { a href=(path) aria-current=[here.then_some("page")] { (text) } }
        }
    }
}

/// A simple bar: `part` of `whole`.
pub(super) fn bar(part: u64, whole: u64) -> Markup {
    let width = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    html! {
        svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect width=(format!("{width:.1}")) height="8" {}
        }
    }
}

/// Names of people by id, as far as the reader may know them.
pub(super) struct Names(BTreeMap<RecordId, String>);

impl Names {
    /// The names of these people; see [`authors`].
    pub(super) async fn of(hub: &Hub, p: &Page, mut ids: Vec<RecordId>) -> Result<Self, Problem> {
        ids.sort_unstable();
        ids.dedup();
        // Who takes part is told to people with an account only.
        if ids.is_empty() || !p.is_signed_in() {
            return Ok(Self(BTreeMap::new()));
        }
        let people = hub.store.get_many(&p.viewer, &ids).await?;
        Ok(Self(people.into_iter().map(|person| (person.id, person.text("name").to_owned())).collect()))
    }

    /// The name, where the reader may know it.
    pub(super) fn get(&self, id: Option<RecordId>) -> Option<&str> {
        self.0.get(&id?).map(String::as_str)
    }

    /// The name, or a word for somebody.
    pub(super) fn or_somebody(&self, l: Language, id: Option<RecordId>) -> String {
        match (id, self.get(id)) {
            (_, Some(name)) => name.to_owned(),
            (None, None) => l.t(K::ByNobody).to_owned(),
            (Some(_), None) => l.t(K::Somebody).to_owned(),
        }
    }
}

/// Everyone who made or last changed these records.
pub(super) fn authors<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<RecordId> {
    records.into_iter().flat_map(|record| [record.created_by, record.changed_by]).flatten().collect()
}

/// Who made a record and when, for the line under its title.
pub(super) fn byline(l: Language, names: &Names, record: &Record) -> Markup {
    html! {
        @if let Some(name) = names.get(record.created_by) { span dir="auto" { (name) } }
        (moment(l, record.created_at_ms))
    }
}

/// What stood in the way of saving: somebody else's change, shown beside the form.
pub(super) fn stale(l: Language, field: &str, current: &Record) -> Markup {
    let text = current.text(field);
    html! {
        div class="flash warn" role="alert" {
            (icon("conflict"))
            div class="stack-s" {
                strong { (l.t(K::StaleTitle)) }
                p { (l.t(K::StaleText)) }
                @if !text.is_empty() {
                    p { strong { (l.t(K::StaleCurrent)) ": " } span dir="auto" { (text) } }
                }
            }
        }
    }
}
