//! Conflicts, for people who never saw a diff: what stood there, what the one made of it and what the other, with the
//! words marked in which they differ, and buttons that say what will count.
//!
//! Who may see one and who may decide is said by the store. Which version is "mine" depends on who looks.

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use cairn_store::{Choice, OpenConflict, StoreError};
use cairn_sync::{
    ChangeId, FieldType, Kind, RecordId, Value,
    record::{Ancestor, ConflictKey, ConflictSide, Wish},
};
use maud::{Markup, html};

use super::{
    compare::{Marked, compare},
    history::{path_of, text_of},
    layout::{Place, View, encode},
    notices::Where,
    page::Page,
    parts::{Names, button, crumb, empty, icon, moment},
};
use crate::{
    forms::{self, Errors, Field, FieldKind, Form, Shown},
    hub::Hub,
    i18n::{Key as K, Language},
    problem::Problem,
};

/// Conflicts on one page of the list, and most that are decided at once.
const PAGE: u16 = 50;

/// Where a conflict's page is.
fn path(key: &ConflictKey) -> String {
    format!("/conflicts/{}", encode(key.as_str()))
}

/// A key from text that came from outside.
fn key_of(text: &str) -> Option<ConflictKey> {
    let (change, field) = match text.split_once('/') {
        Some((change, field)) => (change, Some(field)),
        None => (text, None),
    };
    Some(ConflictKey::new(change.parse().ok()?, field))
}

/// Which of the two versions is the reader's.
fn mine(p: &Page, conflict: &OpenConflict) -> Option<Choice> {
    let me = p.person_id()?;
    let by = |side: &ConflictSide| side.stamp.by == Some(me);
    match (by(&conflict.conflict.present), by(&conflict.conflict.incoming)) {
        (true, false) => Some(Choice::Present),
        (false, true) => Some(Choice::Incoming),
        _ => None,
    }
}

fn name_of(l: Language, conflict: &OpenConflict) -> String {
    let record = &conflict.record;
    let name = [record.text("title"), record.text("name"), record.text("body")];
    let name = name.into_iter().find(|text| !text.is_empty()).unwrap_or_else(|| l.t(K::ConflictUntitled));
    name.chars().take(80).collect()
}

/// A field's name, as its form calls it.
fn label(l: Language, field: Option<&str>) -> String {
    let key = match field {
        None => K::ConflictWhole,
        Some("title") => K::DocumentTitle,
        Some("name") => K::ProjectName,
        Some("body") => K::NoticeBody,
        Some("description") => K::DocumentDescription,
        Some("file") => K::DocumentFile,
        Some("questions") => K::AssessmentQuestions,
        Some("answers") => K::SettingsAnswers,
        Some("tags") => K::DocumentTags,
        Some("note") => K::ResponseNote,
        Some("place") => K::ResponsePlace,
        Some("contact") => K::PersonContact,
        Some("skills") => K::PersonSkills,
        Some("people") => K::TeamPeople,
        Some(other) => return other.to_owned(),
    };
    l.t(key).to_owned()
}

/// What a field says, for people: a structure is told line by line.
fn words(l: Language, kind: Kind, field: &str, value: &Value) -> String {
    match value {
        Value::Json(json) => in_lines(json),
        Value::Text(hash) if kind.def().field(field).is_some_and(|def| def.ty == FieldType::Blob) => {
            hash.chars().take(16).collect()
        }
        other => text_of(l, kind, field, other).unwrap_or_default(),
    }
}

fn in_lines(json: &serde_json::Value) -> String {
    let plain = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    };
    let lines: Vec<String> = match json {
        serde_json::Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(at, item)| match item.get("text").and_then(|text| text.as_str()) {
                Some(text) => match item.get("choices") {
                    Some(choices) => format!("{}. {text} ({})", at + 1, plain(choices)),
                    None => format!("{}. {text}", at + 1),
                },
                None => plain(item),
            })
            .collect(),
        serde_json::Value::Object(entries) => {
            entries.iter().map(|(name, value)| format!("{name}: {}", plain(value))).collect()
        }
        other => vec![plain(other)],
    };
    lines.join("\n")
}

/// What the record holds in the field that the conflict is about; newer than the conflict where somebody wrote since.
/// Once it is decided, what stood there then: the record holds the outcome, and the side that lost must stay readable.
fn present(conflict: &OpenConflict) -> Wish {
    match conflict.key.field() {
        Some(field) if conflict.settled_at_ms.is_none() => {
            Wish::Value(conflict.record.fields.get(field).cloned().unwrap_or(Value::Null))
        }
        _ => conflict.conflict.present.wish.clone(),
    }
}

/// Both versions in one, where that makes sense and fits.
fn both(conflict: &OpenConflict) -> Option<Value> {
    let def = conflict.record.kind.def().field(conflict.key.field()?)?;
    let (Wish::Value(first), Wish::Value(second)) = (present(conflict), &conflict.conflict.incoming.wish)
    else {
        return None;
    };
    let value = match (def.ty, first, second) {
        (FieldType::Line, Value::Text(first), Value::Text(second)) => {
            Value::Text(format!("{first} / {second}"))
        }
        (FieldType::Text, Value::Text(first), Value::Text(second)) => {
            Value::Text(format!("{first}\n\n{second}"))
        }
        (FieldType::Set, Value::Set(first), Value::Set(second)) => {
            Value::Set(first.union(second).cloned().collect())
        }
        _ => return None,
    };
    def.check(&value).is_ok().then_some(value)
}

async fn names(hub: &Hub, p: &Page, conflicts: &[OpenConflict]) -> Result<Names, Problem> {
    let sides = conflicts.iter().flat_map(|c| [c.conflict.present.stamp.by, c.conflict.incoming.stamp.by]);
    Names::of(hub, p, sides.flatten().collect()).await
}

/// Who is behind both sides, in one line.
fn who(l: Language, names: &Names, conflict: &OpenConflict) -> Markup {
    html! {
        @for side in [&conflict.conflict.present, &conflict.conflict.incoming] {
            span dir="auto" { (names.or_somebody(l, side.stamp.by)) " " (when(l, side)) }
        }
    }
}

fn when(l: Language, side: &ConflictSide) -> Markup {
    moment(l, i64::try_from(side.stamp.hlc.millis()).unwrap_or(i64::MAX))
}

pub(super) async fn list(
    State(hub): State<Hub>,
    p: Page,
    Query(at): Query<Where>,
) -> Result<Response, Problem> {
    let l = p.l;
    let after = at.after.as_deref().and_then(key_of);
    let conflicts = hub.store.conflicts(&p.viewer, after, PAGE).await?;
    let next = (conflicts.len() == usize::from(PAGE))
        .then(|| conflicts.last().map(|last| last.key.clone()))
        .flatten();
    let names = names(&hub, &p, &conflicts).await?;
    let decidable = conflicts.iter().any(|conflict| conflict.may_settle);
    let body = html! {
        div class="page-head" { div { h1 { (l.t(K::ConflictsTitle)) } p class="lead" { (l.t(K::ConflictsLead)) } } }
        @if p.done.as_deref() == Some("none") { div class="flash warn" role="alert" { (icon("warning")) div { (l.t(K::ConflictNonePicked)) } } }
        @if p.done.as_deref() == Some("some") { div class="flash warn" role="alert" { (icon("warning")) div { (l.t(K::ConflictSomeLeft)) } } }
        @if conflicts.is_empty() { (empty("check", l.t(K::ConflictsEmpty), l.t(K::ConflictsEmptyText), html! {})) }
        @else {
            form method="post" action="/conflicts" class="stack" {
                (forms::hidden(&p.csrf, &Shown::empty()))
                ul class="list" { @for conflict in &conflicts { li { (row(&p, &names, conflict)) } } }
                @if decidable {
                    section class="card stack-s" aria-labelledby="many" {
                        h2 id="many" { (l.t(K::ConflictMany)) }
                        p class="hint" { (l.t(K::ConflictManyHint)) }
                        div class="actions" {
                            button class="button" name="choice" value="mine" { (l.t(K::ConflictManyMine)) }
                            button class="button" name="choice" value="theirs" { (l.t(K::ConflictManyTheirs)) }
                        }
                    }
                }
            }
            @if let Some(next) = next {
                p class="section" { a class="button" rel="next" href=(format!("/conflicts?after={}", encode(next.as_str()))) { (l.t(K::More)) } }
            }
        }
    };
    Ok(p.show(&View::new(l.t(K::ConflictsTitle), Place::Other), body))
}

fn row(p: &Page, names: &Names, conflict: &OpenConflict) -> Markup {
    let l = p.l;
    let name = name_of(l, conflict);
    let field = label(l, conflict.key.field());
    let pick = l.with(K::ConflictPick, &[("name", &format_args!("{name} · {field}"))]);
    html! {
        div class="row" {
            @if conflict.may_settle && conflict.settled_at_ms.is_none() {
                label class="check" { input type="checkbox" name="pick" value=(conflict.key.as_str()) aria-label=(pick); }
            }
            div class="row-main" {
                a class="row-title" dir="auto" href=(path(&conflict.key)) { (name) }
                p class="meta" { span { (field) } (who(l, names, conflict)) }
                @if conflict.settled_at_ms.is_some() { p { span class="badge ok" { (icon("check")) (l.t(K::ConflictsEmpty)) } } }
            }
        }
    }
}

/// Decides several at once.
pub(super) async fn settle_many(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    let keys: Vec<ConflictKey> = sent.all("pick").filter_map(key_of).take(usize::from(PAGE)).collect();
    let keep_mine = sent.get("choice") == "mine";
    if keys.is_empty() || !(keep_mine || sent.get("choice") == "theirs") {
        return Ok(p.go("/conflicts", "none"));
    }
    let mut left = false;
    for key in keys {
        let settled = async {
            let conflict = hub.store.conflict(&p.viewer, &key).await?;
            let choice = match (mine(&p, &conflict).unwrap_or(Choice::Present), keep_mine) {
                (Choice::Present, true) | (Choice::Incoming, false) => Choice::Present,
                _ => Choice::Incoming,
            };
            hub.store.settle(&p.viewer, &key, choice, None).await
        };
        match settled.await {
            Ok(_) => {}
            Err(
                StoreError::NotFound(_)
                | StoreError::Forbidden { .. }
                | StoreError::SignInNeeded(_)
                | StoreError::Value(_),
            ) => left = true,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(p.go("/conflicts", if left { "some" } else { "settled" }))
}

/// The conflicts of one record, those included that are over.
pub(super) async fn of_record(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let l = p.l;
    let record = hub.store.get(&p.viewer, id).await?;
    let conflicts = hub.store.conflicts_of(&p.viewer, id).await?;
    if let [only] = conflicts.as_slice()
        && only.settled_at_ms.is_none()
    {
        return Ok(p.go(&path(&only.key), ""));
    }
    let names = names(&hub, &p, &conflicts).await?;
    let body = html! {
        (crumb(&path_of(&record), l.t(K::ConflictEntry)))
        div class="page-head" { div { h1 { (l.t(K::ConflictsTitle)) } p class="lead" { (l.t(K::ConflictsLead)) } } }
        @if conflicts.is_empty() { (empty("check", l.t(K::ConflictsEmpty), l.t(K::ConflictsEmptyText), html! {})) }
        @else { ul class="list" { @for conflict in &conflicts { li {
            div class="row" { div class="row-main" {
                a class="row-title" dir="auto" href=(path(&conflict.key)) { (label(l, conflict.key.field())) }
                p class="meta" { (who(l, &names, conflict)) }
                @if let Some(at) = conflict.settled_at_ms { p class="meta" { span { (l.t(K::ConflictOver)) } (moment(l, at)) } }
            } }
        } } } }
    };
    Ok(p.show(&View::new(l.t(K::ConflictsTitle), Place::Other).about(id), body))
}

pub(super) async fn show_field(
    State(hub): State<Hub>,
    p: Page,
    Path((change, field)): Path<(ChangeId, String)>,
) -> Result<Response, Problem> {
    page(&hub, &p, &ConflictKey::new(change, Some(&field)), StatusCode::OK, None).await
}

pub(super) async fn show_whole(
    State(hub): State<Hub>,
    p: Page,
    Path(change): Path<ChangeId>,
) -> Result<Response, Problem> {
    page(&hub, &p, &ConflictKey::new(change, None), StatusCode::OK, None).await
}

pub(super) async fn settle_field(
    State(hub): State<Hub>,
    p: Page,
    Path((change, field)): Path<(ChangeId, String)>,
    sent: Form,
) -> Result<Response, Problem> {
    settle(&hub, &p, &ConflictKey::new(change, Some(&field)), sent).await
}

pub(super) async fn settle_whole(
    State(hub): State<Hub>,
    p: Page,
    Path(change): Path<ChangeId>,
    sent: Form,
) -> Result<Response, Problem> {
    settle(&hub, &p, &ConflictKey::new(change, None), sent).await
}

async fn settle(hub: &Hub, p: &Page, key: &ConflictKey, sent: Form) -> Result<Response, Problem> {
    let conflict = hub.store.conflict(&p.viewer, key).await?;
    let back = path(key);
    // The same form twice, or somebody else was faster: what was decided is shown.
    if conflict.settled_at_ms.is_some() {
        return Ok(p.go(&back, ""));
    }
    let choice = match (sent.get("choice"), key.field()) {
        ("present", _) => Choice::Present,
        ("incoming", _) => Choice::Incoming,
        ("both", _) => match both(&conflict) {
            Some(value) => Choice::Value(value),
            None => return page(hub, p, key, StatusCode::UNPROCESSABLE_ENTITY, None).await,
        },
        ("edit", Some(field)) => match forms::read_fields(p.l, conflict.record.kind, &[field], &sent) {
            Ok(mut fields) => Choice::Value(fields.remove(field).unwrap_or(Value::Null)),
            Err(errors) => {
                let shown = Shown::again(sent, errors);
                return page(hub, p, key, StatusCode::UNPROCESSABLE_ENTITY, Some(shown)).await;
            }
        },
        _ => return page(hub, p, key, StatusCode::UNPROCESSABLE_ENTITY, None).await,
    };
    match hub.store.settle(&p.viewer, key, choice, sent.change()).await {
        Ok(_) => Ok(p.go(&back, "settled")),
        Err(StoreError::Value(wrong)) => {
            let errors: Errors = [(forms::field_of(&wrong), forms::say(p.l, &wrong))].into();
            page(hub, p, key, StatusCode::UNPROCESSABLE_ENTITY, Some(Shown::again(sent, errors))).await
        }
        Err(error) => Err(error.into()),
    }
}

/// The three columns' texts: before, as it stands, as it came.
fn columns(l: Language, conflict: &OpenConflict) -> [Option<Marked>; 3] {
    let kind = conflict.record.kind;
    let Some(field) = conflict.key.field() else {
        let wish = |wish: &Wish| {
            let key = if *wish == Wish::Delete { K::ConflictGo } else { K::ConflictStay };
            Some(Marked::plain(l.t(key)))
        };
        return [None, wish(&conflict.conflict.present.wish), wish(&conflict.conflict.incoming.wish)];
    };
    let text = |wish: &Wish| match wish {
        Wish::Value(value) => words(l, kind, field, value),
        Wish::Keep | Wish::Delete => String::new(),
    };
    let (first, second) = (text(&present(conflict)), text(&conflict.conflict.incoming.wish));
    let base = match &conflict.conflict.base {
        Ancestor::Known(value) => Some(Marked::plain(&words(l, kind, field, value))),
        Ancestor::Unknown => None,
    };
    let (first, second) = compare(&first, &second);
    [base, Some(first), Some(second)]
}

async fn page(
    hub: &Hub,
    p: &Page,
    key: &ConflictKey,
    status: StatusCode,
    edit: Option<Shown>,
) -> Result<Response, Problem> {
    let l = p.l;
    let conflict = hub.store.conflict(&p.viewer, key).await?;
    let names = names(hub, p, std::slice::from_ref(&conflict)).await?;
    let open = conflict.settled_at_ms.is_none();
    let may = open && conflict.may_settle;
    let [base, first, second] = columns(l, &conflict);
    let mine = mine(p, &conflict);
    let title = l.with(K::ConflictOf, &[("name", &name_of(l, &conflict))]);
    let body = html! {
        (crumb("/conflicts", l.t(K::ConflictsTitle)))
        div class="page-head" { div { h1 dir="auto" { (title) } p class="lead" { (label(l, key.field())) } } }
        @if let Some(at) = conflict.settled_at_ms {
            div class="flash info" { (icon("check")) div { (l.t(K::ConflictOver)) " " (moment(l, at)) } }
        } @else if !may {
            div class="flash info" { (icon("lock")) div { (l.t(K::ConflictNotYours)) } }
        }
        div class="stack" {
            div class="versions" {
                @if key.field().is_some() {
                    section class="card stack-s" aria-labelledby="base" {
                        h2 id="base" { (l.t(K::ConflictBase)) }
                        @match &base {
                            Some(base) => p class="passage-text" dir="auto" { (base.show()) },
                            None => p class="quiet" { (l.t(K::ConflictBaseUnknown)) },
                        }
                    }
                }
                (side(p, &names, &conflict, "present", first.as_ref(), mine.as_ref(), may))
                (side(p, &names, &conflict, "incoming", second.as_ref(), mine.as_ref(), may))
            }
            @if key.field().is_some() { p class="legend" { (icon("info")) span { (l.t(K::ConflictMarks)) } } }
            @if may { (further(p, &conflict, edit)) }
            div class="actions" {
                (button(&path_of(&conflict.record), "file", l.t(K::ConflictEntry), false))
                (button(&format!("/records/{}/history", conflict.record.id), "history", l.t(K::History), false))
            }
        }
    };
    Ok(p.show_with(status, &View::new(&title, Place::Other).about(conflict.record.id), body))
}

fn side(
    p: &Page,
    names: &Names,
    conflict: &OpenConflict,
    choice: &'static str,
    text: Option<&Marked>,
    mine: Option<&Choice>,
    may: bool,
) -> Markup {
    let l = p.l;
    let is_present = choice == "present";
    let side = if is_present { &conflict.conflict.present } else { &conflict.conflict.incoming };
    let is_mine = mine.map(|mine| (*mine == Choice::Present) == is_present);
    let title = match (is_mine, names.get(side.stamp.by)) {
        (Some(true), _) => l.t(K::ConflictMine).to_owned(),
        (Some(false), Some(name)) => l.with(K::ConflictTheirs, &[("name", &name)]),
        _ if is_present => l.t(K::ConflictFirst).to_owned(),
        _ => l.t(K::ConflictSecond).to_owned(),
    };
    let take = match (is_mine, &side.wish) {
        (_, Wish::Delete) => K::ConflictDelete,
        (Some(true), _) => K::ConflictKeepMine,
        (Some(false), _) => K::ConflictKeepTheirs,
        (None, _) => K::ConflictKeep,
    };
    html! {
        section class="card stack-s" aria-labelledby=(choice) {
            h2 id=(choice) dir="auto" { (title) }
            p class="meta" {
                span dir="auto" { (names.or_somebody(l, side.stamp.by)) }
                (when(l, side))
                @if is_present && conflict.settled_at_ms.is_none() { span class="badge info" { (l.t(K::ConflictShown)) } }
            }
            @if let Some(text) = text { p class="passage-text" dir="auto" { (text.show()) } }
            @if may {
                form method="post" action=(path(&conflict.key)) {
                    (forms::hidden(&p.csrf, &Shown::empty()))
                    button class="button primary" name="choice" value=(choice) aria-describedby=(choice) { (l.t(take)) }
                }
            }
        }
    }
}

/// Both at once, or something else.
fn further(p: &Page, conflict: &OpenConflict, edit: Option<Shown>) -> Markup {
    let l = p.l;
    let action = path(&conflict.key);
    let Some(def) = conflict.key.field().and_then(|field| conflict.record.kind.def().field(field)) else {
        return html! {};
    };
    let options: Vec<(&str, &str)> = match def.ty {
        FieldType::Choice(choices) => choices.iter().map(|choice| (*choice, *choice)).collect(),
        _ => Vec::new(),
    };
    let control = match def.ty {
        FieldType::Line | FieldType::Set => Some(FieldKind::Line("text", "off")),
        FieldType::Text => Some(FieldKind::Text),
        FieldType::Int | FieldType::Counter => Some(FieldKind::Line("number", "off")),
        FieldType::Time => Some(FieldKind::Line("date", "off")),
        FieldType::Choice(_) => Some(FieldKind::Select(&options)),
        FieldType::Bool | FieldType::Ref(_) | FieldType::Blob | FieldType::Json => None,
    };
    let open = edit.is_some();
    let shown = edit.unwrap_or_else(|| {
        let mut shown = Shown::of(&conflict.record);
        if let Some(Value::Text(both)) = both(conflict) {
            shown.form.set(def.name, both);
        }
        shown
    });
    let name = label(l, Some(def.name));
    html! {
        @if let Some(both) = both(conflict) {
            section class="card stack-s" aria-labelledby="both" {
                h2 id="both" { (l.t(K::ConflictBoth)) }
                p class="hint" { (l.t(K::ConflictBothLead)) }
                p class="passage-text" dir="auto" { (words(l, conflict.record.kind, def.name, &both)) }
                form method="post" action=(action) {
                    (forms::hidden(&p.csrf, &Shown::empty()))
                    button class="button" name="choice" value="both" { (l.t(K::ConflictBoth)) }
                }
            }
        }
        @match control {
            Some(control) => details class="fold" open[open] {
                summary { (l.t(K::ConflictEdit)) }
                (shown.summary(l))
                form class="form" method="post" action=(action) {
                    (forms::hidden(&p.csrf, &Shown::empty()))
                    (Field::labelled(l, &shown, def.name, &name).needed().show(&control))
                    div class="actions" { button class="button" name="choice" value="edit" { (l.t(K::Save)) } }
                }
            },
            None => p class="hint" { (l.t(K::ConflictEditElsewhere)) },
        }
    }
}
