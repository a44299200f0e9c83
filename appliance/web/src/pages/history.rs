//! The history of a record: who changed what, and when.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use cairn_store::{ChangeKind, HistoryEntry, Record};
use cairn_sync::{FieldType, Kind, RecordId, Value};
use maud::{Markup, html};

use super::{
    layout::{Place, View},
    notices::Where,
    page::Page,
    parts::{Names, crumb, icon, moment, more},
};
use crate::{
    hub::Hub,
    i18n::{Count, Key as K, Language, date},
    problem::Problem,
};

/// Longest value shown of one side of a change, in characters.
const SHOWN: usize = 2_000;

/// Where a record's own page is.
pub(super) fn path_of(record: &Record) -> String {
    let id = record.id;
    let project = |rest: &str| {
        record.project.map_or_else(|| "/projects".to_owned(), |p| format!("/projects/{p}{rest}"))
    };
    match record.kind {
        Kind::Notice => format!("/notices/{id}"),
        Kind::Document => format!("/library/{id}"),
        Kind::Project => format!("/projects/{id}"),
        Kind::Assessment => format!("/assessments/{id}"),
        Kind::Person => format!("/people/{id}"),
        Kind::Team => format!("/teams/{id}"),
        Kind::Membership => project("/people"),
        Kind::Message if record.project.is_none() => "/messages".to_owned(),
        Kind::Message => project("/messages"),
        Kind::Response => format!("/assessments/{}/results", record.text("assessment")),
    }
}

pub(super) async fn show(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    Query(at): Query<Where>,
) -> Result<Response, Problem> {
    let l = p.l;
    let record = hub.store.get(&p.viewer, id).await?;
    let history = hub.store.history(&p.viewer, id, at.cursor(), 30).await?;
    let conflicts = hub.store.conflicts_of(&p.viewer, id).await?.len() as u64;
    let names = Names::of(&hub, &p, history.items.iter().filter_map(|entry| entry.by).collect()).await?;
    let title = [record.text("title"), record.text("name")]
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| l.t(K::HistoryTitle));
    let body = html! {
        (crumb(&path_of(&record), title))
        div class="page-head" { div { h1 { (l.t(K::HistoryTitle)) } p class="lead" { (l.t(K::HistoryLead)) } } }
        @if conflicts > 0 {
            p { a class="button" href=(format!("/records/{id}/conflicts")) { (icon("conflict")) (l.count(Count::ConflictsOfRecord, conflicts)) } }
        }
        ol class="list" id="history" data-live="quiet" {
            @for entry in &history.items { li { (one(l, &names, record.kind, entry)) } }
        }
        (more(l, &format!("/records/{id}/history"), history.next.as_ref()))
    };
    let window = format!("{} · {title}", l.t(K::HistoryTitle));
    Ok(p.show(&View::new(&window, Place::Other).about(id), body))
}

fn one(l: Language, names: &Names, kind: Kind, entry: &HistoryEntry) -> Markup {
    let (class, key) = match entry.kind {
        ChangeKind::Created => ("badge ok", K::HistoryCreated),
        ChangeKind::Changed => ("badge info", K::HistoryChanged),
        ChangeKind::Deleted => ("badge bad", K::HistoryDeleted),
        ChangeKind::Restored => ("badge warn", K::HistoryRestored),
    };
    html! {
        div class="row" { div class="row-main stack-s" {
            p class="cluster" {
                span class=(class) { (l.t(key)) }
                b dir="auto" { (names.or_somebody(l, entry.by)) }
                span class="meta" { (moment(l, entry.at_ms)) span { (l.with(K::HistoryVersion, &[("n", &entry.version)])) } }
            }
            @if !entry.changes.is_empty() {
                details class="fold" open[entry.kind == ChangeKind::Changed] {
                    summary { (entry.changes.iter().map(|change| change.field.as_str()).collect::<Vec<_>>().join(", ")) }
                    div class="scroll" tabindex="0" role="region" aria-label=(l.t(key)) {
                        table class="table" {
                            thead { tr { th scope="col" { (l.t(K::HistoryField)) } th scope="col" { (l.t(K::HistoryBefore)) } th scope="col" { (l.t(K::HistoryAfter)) } } }
                            tbody {
                                @for change in &entry.changes {
                                    tr {
                                        th scope="row" { code { (change.field) } }
                                        td dir="auto" { (value(l, kind, &change.field, &change.before)) }
                                        td dir="auto" { (value(l, kind, &change.field, &change.after)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        } }
    }
}

/// What a field says, for people; nothing where it is empty.
pub(super) fn text_of(l: Language, kind: Kind, field: &str, value: &Value) -> Option<String> {
    let ty = kind.def().field(field).map(|def| def.ty);
    Some(match value {
        Value::Null => return None,
        Value::Bool(yes) => l.t(if *yes { K::Yes } else { K::No }).to_owned(),
        Value::Int(ms) if ty == Some(FieldType::Time) => date(l, *ms),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Set(set) => set.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        Value::Json(json) => serde_json::to_string_pretty(json).unwrap_or_default(),
    })
}

fn value(l: Language, kind: Kind, field: &str, value: &Value) -> Markup {
    let Some(text) = text_of(l, kind, field, value) else {
        return html! { span class="quiet" { (l.t(K::HistoryEmptyValue)) } };
    };
    let shown: String = text.chars().take(SHOWN).collect();
    html! { span class="passage-text" { (shown) @if shown.len() < text.len() { "…" } } }
}
