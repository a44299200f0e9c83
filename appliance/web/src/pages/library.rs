//! The library: documents, their text in passages, their files.

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use cairn_library::Progress;
use cairn_store::{Action, DocumentIndex, FileState, ListQuery, Record, StoredPassage};
use cairn_sync::{Kind, RecordId};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    home::ask_link,
    layout::{Place, View, encode},
    markdown::markdown,
    notices::{Saved, of_kind, save, to_edit},
    page::Page,
    parts::{Names, authors, button, byline, crumb, delete_form, empty, icon, moment, more, sync_badge},
};
use crate::{
    forms::{self, Field, Shown},
    hub::Hub,
    i18n::{Count, Key as K},
    problem::Problem,
};

const FIELDS: [&str; 5] = ["title", "description", "language", "tags", "source"];
/// Passages shown on one page of a document.
const PASSAGES: usize = 40;
const DOCUMENTS: u16 = 40;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Find {
    #[serde(default)]
    q: String,
    #[serde(default)]
    tag: String,
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    added: Option<u64>,
}

pub(super) async fn list(
    State(hub): State<Hub>,
    p: Page,
    Query(find): Query<Find>,
) -> Result<Response, Problem> {
    let l = p.l;
    let mut query = ListQuery::of(Kind::Document)
        .limit(DOCUMENTS)
        .after(find.after.filter(|a| !a.is_empty()).map(cairn_store::Cursor::from_text));
    let (title, tag) = (find.q.trim(), find.tag.trim());
    if !title.is_empty() {
        query.text_prefix = Some(("title".to_owned(), title.to_owned()));
    }
    if !tag.is_empty() {
        query = query.equals("tags", tag);
    }
    let documents = hub.store.list(&p.viewer, query).await?;
    let names = Names::of(&hub, &p, authors(documents.items.iter())).await?;
    let progress = hub.library.progress();
    let may_add = hub.store.may(&p.viewer, Action::Create, (Kind::Document, None)).await?;
    let searching = !title.is_empty() || !tag.is_empty();
    let mut path = format!("/library?q={}", encode(title));
    if !tag.is_empty() {
        path.push_str(&format!("&tag={}", encode(tag)));
    }
    let body = html! {
        div class="page-head" { div { h1 { (l.t(K::LibraryTitle)) } p class="lead" { (l.t(K::LibraryLead)) } } }
        @if let Some(added) = find.added {
            @if added > 0 { div class="flash" role="status" { (icon("check")) div { (l.count(Count::LibraryUploaded, added)) } } }
            @else { div class="flash warn" role="alert" { (icon("warning")) div { (l.t(K::LibraryNothingChosen)) } } }
        }
        div class="columns" {
            div {
                form class="ask" action="/search" method="get" role="search" {
                    label for="find" { (l.t(K::LibraryFind)) }
                    div class="ask-line" {
                        input id="find" type="search" name="q" maxlength="500" required dir="auto" enterkeyhint="search";
                        div class="actions" { button class="button primary" { (icon("search")) (l.t(K::SearchButton)) } }
                    }
                }
                @if !tag.is_empty() {
                    p class="cluster section-head" { span class="badge info" { (l.t(K::LibraryByTag)) ": " (tag) } a href="/library" { (l.t(K::Remove)) } }
                }
                div class="section" id="documents" data-live="quiet" {
                    @if documents.items.is_empty() {
                        @if searching {
                            (empty("search", &l.with(K::SearchNone, &[("query", &format_args!("{title}{tag}"))]), l.t(K::SearchNoneText), html! {}))
                        } @else {
                            (empty("library", l.t(K::LibraryEmpty), l.t(if may_add { K::LibraryEmptyText } else { K::LibraryEmptyReader }), html! {}))
                        }
                    } @else {
                        ul class="list" { @for document in &documents.items { li { (row(&p, &names, document)) } } }
                    }
                }
                (more(l, &path, documents.next.as_ref()))
            }
            aside class="stack" {
                @if may_add { (upload_form(&p, None)) }
                section class="card" aria-labelledby="index-title" {
                    h2 id="index-title" { (l.t(K::IndexTitle)) }
                    div id="index" data-live="quiet" class="stack-s" { (index_state(&p, &progress)) }
                }
            }
        }
    };
    Ok(p.show(&View::new(l.t(K::LibraryTitle), Place::Library).live("document"), body))
}

/// How far the search index is.
pub(super) fn index_state(p: &Page, progress: &Progress) -> Markup {
    let l = p.l;
    let counts = progress.counts;
    let left = counts.passages.saturating_sub(counts.embedded);
    html! {
        p { (l.count_with(Count::StatusIndexDocuments, counts.indexed, &[("total", &l.number(counts.documents))])) }
        @if left > 0 {
            progress max=(counts.passages) value=(counts.embedded) aria-label=(l.t(K::IndexTitle)) {}
            p class="small quiet" { (l.count(Count::IndexMeaningLeft, left)) }
            @if let Some(seconds) = progress.seconds_left {
                p class="small quiet" { (l.with(K::IndexEstimate, &[("time", &l.duration(seconds))])) }
            }
        } @else if counts.indexed > 0 && counts.indexed + counts.failed == counts.documents {
            p class="small quiet" { (l.t(K::IndexAllReady)) }
        }
        @if counts.failed > 0 { p class="small" { (l.count(Count::StatusIndexFailed, counts.failed)) } }
    }
}

/// The form that adds documents. Without scripts: a file field and a button.
pub(super) fn upload_form(p: &Page, project: Option<RecordId>) -> Markup {
    let l = p.l;
    let size = l.size(p.settings.max_upload_bytes);
    let action = format!("/library?_csrf={}", encode(&p.csrf));
    html! {
        section class="card" aria-labelledby="add-title" {
            h2 id="add-title" { (l.t(K::LibraryAdd)) }
            form class="drop" method="post" action=(action) enctype="multipart/form-data" data-upload {
                @if let Some(project) = project { input type="hidden" name="project" value=(project); }
                p class="needs-js quiet" { (l.t(K::LibraryDrop)) }
                label class="button pick" { (icon("file")) (l.t(K::LibraryChoose))
                    input type="file" name="file" multiple accept=".md,.markdown,.txt,.text,.html,.htm,.pdf,.epub"; }
                label class="button pick needs-js" { (icon("library")) (l.t(K::LibraryChooseFolder)) input type="file" webkitdirectory; }
                p class="hint" { (l.with(K::LibraryLimits, &[("size", &size)])) }
                button class="button primary no-js" { (icon("upload")) (l.t(K::LibraryUpload)) }
                ul class="uploads" data-uploads aria-live="polite" {}
            }
        }
    }
}

/// One document in a list.
pub(super) fn row(p: &Page, names: &Names, document: &Record) -> Markup {
    let l = p.l;
    let tags = document.fields.get("tags").and_then(|value| value.as_set());
    html! {
        div class="row" {
            (icon("file"))
            div class="row-main" {
                a class="row-title" dir="auto" href=(format!("/library/{}", document.id)) { (document.text("title")) }
                p class="meta" {
                    (byline(l, names, document))
                    span { (l.size(document.int("size").unwrap_or(0).unsigned_abs())) }
                }
                @if let Some(tags) = tags.filter(|tags| !tags.is_empty()) {
                    p class="cluster" { @for tag in tags.iter().take(6) { a class="badge" dir="auto" href=(format!("/library?tag={}", encode(tag))) { (tag) } } }
                }
            }
            div class="row-end" { (sync_badge(p, document)) }
        }
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct From {
    /// First passage to show.
    #[serde(default)]
    from: u32,
}

pub(super) async fn show(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    Query(at): Query<From>,
) -> Result<Response, Problem> {
    let l = p.l;
    let document = of_kind(&hub, &p, id, Kind::Document).await?;
    let names = Names::of(&hub, &p, authors(std::iter::once(&document))).await?;
    let index = hub.store.document_index(&p.viewer, id).await?;
    let may_edit = hub.store.may(&p.viewer, Action::Update, &document).await?;
    let passages = match index {
        DocumentIndex::Indexed { .. } => {
            hub.store.passages_of(&p.viewer, id, at.from.checked_sub(1), PASSAGES).await?
        }
        _ => Vec::new(),
    };
    let file = format!("/api/v1/files/{id}");
    let stands = hub.store.file_state(&p.viewer, id).await?;
    let is_here = stands == FileState::Here;
    let total = if let DocumentIndex::Indexed { passages, .. } = index { passages } else { 0 };
    let last = passages.last().map_or(0, |passage| passage.ordinal);
    let title = document.text("title").to_owned();
    let body = html! {
        (crumb("/library", l.t(K::LibraryTitle)))
        div class="page-head" {
            div {
                h1 dir="auto" { (title) }
                p class="meta" { (byline(l, &names, &document)) (sync_badge(&p, &document)) @if is_here { (index_badge(&p, &index)) } }
            }
            @if is_here {
                div class="actions" {
                    (button(&file, "file", l.t(K::DocumentOpen), true))
                    (button(&format!("{file}?download=1"), "download", l.t(K::DocumentDownload), false))
                }
            }
        }
        (elsewhere(&p, id, stands))
        p class="presence" id="presence" hidden {}
        div class="columns" {
            div {
                (markdown(document.text("description")))
                section class="section" aria-labelledby="text-title" {
                    div class="section-head" {
                        h2 id="text-title" { (l.t(K::DocumentPassagesTitle)) }
                        @if total > 0 { span class="quiet small" { (l.count(Count::DocumentPassages, total)) } }
                    }
                    div id="passages" data-live="quiet" {
                        @if is_here || total > 0 { (text_of(&p, &index, &passages)) }
                        @else { p class="quiet" { (l.t(K::DocumentTextElsewhere)) } }
                    }
                    @if total > 0 {
                        p class="actions section" {
                            @if at.from > 0 {
                                a class="button" rel="prev" href=(format!("/library/{id}?from={}", at.from.saturating_sub(PASSAGES as u32))) { (l.t(K::Back)) }
                            }
                            @if u64::from(last) + 1 < total {
                                a class="button" rel="next" href=(format!("/library/{id}?from={}", last + 1)) { (l.t(K::More)) }
                            }
                        }
                    }
                }
            }
            aside class="stack" {
                section class="card stack" {
                    h2 { (l.t(K::DocumentAbout)) }
                    (facts(&p, &document))
                    div class="actions" {
                        @if may_edit { (button(&format!("/library/{id}/edit"), "edit", l.t(K::DocumentEdit), false)) }
                        (button(&format!("/records/{id}/history"), "history", l.t(K::History), false))
                        (button(&ask_link(&title), "ask", l.t(K::DocumentAsk), false))
                    }
                }
            }
        }
    };
    Ok(p.show(&View::new(&title, Place::Library).live("document").about(id), body))
}

/// What is said of a file that is not here, and the way to ask for it.
fn elsewhere(p: &Page, id: RecordId, stands: FileState) -> Markup {
    let FileState::Elsewhere { size, came, wanted } = stands else { return html! {} };
    let l = p.l;
    let comes = size <= p.sync.files_up_to;
    html! {
        section class="card stack" aria-labelledby="elsewhere" {
            h2 id="elsewhere" { (icon("info")) " " (l.t(K::DocumentElsewhere)) }
            p { (l.with(K::DocumentElsewhereText, &[("size", &l.size(size))])) }
            @if !p.sync.enrolled() {
                p { (l.t(K::DocumentElsewhereAlone)) }
            } @else if wanted {
                p { (l.with(K::DocumentFetching, &[("came", &l.size(came)), ("size", &l.size(size))])) }
                progress max=(size) value=(came.min(size)) aria-labelledby="elsewhere" {}
            } @else if comes {
                p { (l.t(K::DocumentElsewhereSoon)) }
            } @else {
                p { (l.t(K::DocumentElsewhereLarge)) }
                @if p.viewer.is_signed_in() {
                    form method="post" action=(format!("/library/{id}/fetch")) {
                        (forms::hidden(&p.csrf, &Shown::empty()))
                        button class="button primary" { (icon("download")) (l.t(K::DocumentFetch)) }
                    }
                } @else {
                    p { a href="/sign-in" { (l.t(K::DocumentElsewhereSignIn)) } }
                }
            }
        }
    }
}

/// Somebody asks for a file that is not here.
pub(super) async fn fetch(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    _sent: forms::Form,
) -> Result<Response, Problem> {
    let state = hub.store.want_file(&p.viewer, id).await?;
    if let (FileState::Elsewhere { .. }, Some(uplink)) = (state, hub.uplink.as_deref()) {
        uplink.now();
    }
    Ok(p.go(&format!("/library/{id}"), ""))
}

fn index_badge(p: &Page, index: &DocumentIndex) -> Markup {
    let l = p.l;
    match index {
        DocumentIndex::Indexed { .. } => {
            html! { span class="badge ok" { (icon("check")) (l.t(K::IndexReady)) } }
        }
        DocumentIndex::Pending => {
            html! { span class="badge info" { (icon("clock")) (l.t(K::IndexWaiting)) } }
        }
        DocumentIndex::Failed { .. } => {
            html! { span class="badge bad" { (icon("warning")) (l.t(K::IndexFailed)) } }
        }
    }
}

fn text_of(p: &Page, index: &DocumentIndex, passages: &[StoredPassage]) -> Markup {
    let l = p.l;
    html! {
        @match index {
            DocumentIndex::Pending => div class="flash info" role="status" { (icon("clock")) div { (l.t(K::DocumentTextPending)) } },
            DocumentIndex::Failed { reason } => div class="flash bad" role="alert" {
                (icon("warning"))
                div class="stack-s" { p { (l.t(K::DocumentTextEmpty)) } p class="small" dir="auto" { (reason) } }
            },
            DocumentIndex::Indexed { .. } => {
                @if passages.is_empty() { p class="quiet" { (l.t(K::DocumentTextEmpty)) } }
                div class="card prose" {
                    @for (at, passage) in passages.iter().enumerate() {
                        @let above = at.checked_sub(1).and_then(|at| passages.get(at)).map_or("", |above| above.heading.as_str());
                        @if !passage.heading.is_empty() && passage.heading != above { h3 dir="auto" { (passage.heading) } }
                        section class="passage-text" id=(format!("p{}", passage.ordinal)) dir="auto" {
                            @if let Some(page) = passage.location.page { p class="small quiet" { (l.with(K::DocumentPage, &[("n", &page)])) } }
                            (passage.text)
                        }
                    }
                }
            }
        }
    }
}

fn facts(p: &Page, document: &Record) -> Markup {
    let l = p.l;
    let tags = document.fields.get("tags").and_then(|value| value.as_set());
    html! {
        dl class="facts" {
            dt { (l.t(K::DocumentFile)) } dd dir="auto" { (document.text("file_name")) }
            dt { (l.t(K::DocumentType)) } dd { (document.text("media_type")) }
            dt { (l.t(K::DocumentSize)) } dd { (l.size(document.int("size").unwrap_or(0).unsigned_abs())) }
            dt { (l.t(K::DocumentAdded)) } dd { (moment(l, document.created_at_ms)) }
            @if !document.text("language").is_empty() { dt { (l.t(K::DocumentLanguage)) } dd { (document.text("language")) } }
            @if !document.text("source").is_empty() { dt { (l.t(K::DocumentSource)) } dd dir="auto" { (document.text("source")) } }
            @if let Some(tags) = tags.filter(|tags| !tags.is_empty()) {
                dt { (l.t(K::DocumentTags)) }
                dd class="cluster" { @for tag in tags { a class="badge" dir="auto" href=(format!("/library?tag={}", encode(tag))) { (tag) } } }
            }
        }
    }
}

fn form(p: &Page, id: RecordId, shown: &Shown) -> Markup {
    let l = p.l;
    html! {
        (shown.summary(l))
        form class="form" method="post" action=(format!("/library/{id}/edit")) data-queue=(l.t(K::DocumentEdit)) {
            (forms::hidden(&p.csrf, shown))
            (Field::new(l, shown, "title", K::DocumentTitle).needed().limit(cairn_sync::kinds::LINE).line())
            (Field::new(l, shown, "description", K::DocumentDescription).hint(K::MarkdownHint).text())
            (Field::new(l, shown, "tags", K::DocumentTags).hint(K::DocumentTagsHint).line())
            (Field::new(l, shown, "source", K::DocumentSource).line())
            (Field::new(l, shown, "language", K::DocumentLanguage).line())
            div data-outcome {}
            div class="actions" {
                button class="button primary" { (l.t(K::Save)) }
                a class="button" href=(format!("/library/{id}")) { (l.t(K::Cancel)) }
            }
        }
    }
}

fn form_page(p: &Page, status: StatusCode, id: RecordId, body: Markup) -> Response {
    let title = p.l.t(K::DocumentEdit);
    let body = html! {
        (crumb(&format!("/library/{id}"), p.l.t(K::Back))) h1 { (title) } p class="presence" id="presence" hidden {}
        div class="section" { (body) }
    };
    p.show_with(status, &View::new(title, Place::Library).editing(id), body)
}

pub(super) async fn edit(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let document = to_edit(&hub, &p, id, Kind::Document).await?;
    let body =
        html! { (form(&p, id, &Shown::of(&document))) (delete_form(&p, &format!("/library/{id}/delete"))) };
    Ok(form_page(&p, StatusCode::OK, id, body))
}

pub(super) async fn update(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: forms::Form,
) -> Result<Response, Problem> {
    match save(&hub, &p, id, Kind::Document, &FIELDS, sent).await? {
        Saved::Yes => Ok(p.go(&format!("/library/{id}"), "saved")),
        Saved::No { shown, note } => {
            Ok(form_page(&p, StatusCode::UNPROCESSABLE_ENTITY, id, html! { (note) (form(&p, id, &shown)) }))
        }
    }
}

pub(super) async fn delete(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: forms::Form,
) -> Result<Response, Problem> {
    of_kind(&hub, &p, id, Kind::Document).await?;
    hub.store.delete(&p.viewer, id, sent.change()).await?;
    Ok(p.go("/library", "deleted"))
}
