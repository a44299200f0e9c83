//! Search and ask: passages first, then the answer. With scripts the answer streams in by events; without
//! them the same page is sent piece by piece as the answer grows.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::{Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use cairn_library::{AskEvent, Hit, Question, SearchQuery, Verdict};
use cairn_store::CloudMode;
use futures::{StreamExt, stream::BoxStream};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    layout::{self, Place, View, encode},
    page::Page,
    parts::{button, empty, icon},
};
use crate::{
    hub::Hub,
    i18n::{Count, Key as K, Language},
    middleware::NeverCompress,
    peer::Peer,
    problem::Problem,
};

/// Longest wait for the passages.
const PASSAGES_WITHIN: Duration = Duration::from_secs(10);
/// Longest answer that a page without scripts waits for.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// Longest wait for the list of models, which decides on two sentences of the page only.
const MODELS_WITHIN: Duration = Duration::from_millis(300);
const HITS: usize = 20;
/// Splits the rendered page where the answer goes.
const HERE: &str = "<!--answer-->";

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    /// Whether the page itself shall wait for the answer.
    #[serde(default)]
    write: Option<String>,
}

pub(super) async fn search(
    State(hub): State<Hub>,
    p: Page,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let l = p.l;
    let text = asked.q.trim();
    let results = if text.is_empty() {
        None
    } else {
        let query = SearchQuery { limit: HITS, ..SearchQuery::new(text) };
        Some(hub.library.search(&p.viewer, query).await?)
    };
    let body = html! {
        h1 class="sr" { (l.t(K::SearchTitle)) }
        (form(&p, "/search", text))
        @match &results {
            None => {}
            Some(found) if found.hits.is_empty() => div class="section" {
                (empty("search", &l.with(K::SearchNone, &[("query", &text)]), l.t(K::SearchNoneText), html! {}))
            },
            Some(found) => {
                section class="section" aria-labelledby="found" {
                    div class="section-head" {
                        h2 id="found" { (l.count_with(Count::SearchFound, found.hits.len() as u64, &[("ms", &found.took_ms)])) }
                        a class="button" href=(format!("/ask?q={}", encode(text))) { (icon("ask")) (l.t(K::HomeAskButton)) }
                    }
                    p class="small quiet" { (by(l, found.degraded.is_none())) }
                    (passages(l, &found.hits))
                }
            }
        }
    };
    Ok(p.show(&View::new(l.t(K::SearchTitle), Place::Library), body))
}

fn by(l: Language, meaning: bool) -> &'static str {
    l.t(if meaning { K::SearchByMeaning } else { K::SearchByWords })
}

fn form(p: &Page, action: &str, text: &str) -> Markup {
    let l = p.l;
    let ask = action == "/ask";
    html! {
        form class="ask" action=(action) method="get" role="search" {
            label for="question" { (l.t(if ask { K::AskLabel } else { K::SearchLabel })) }
            div class="ask-line" {
                input id="question" type="search" name="q" required maxlength="500" dir="auto" autocomplete="off" enterkeyhint="search"
                    value=(text) placeholder=(l.t(K::HomeAskPlaceholder)) autofocus[text.is_empty()];
                div class="actions" {
                    button class="button primary" { (icon(if ask { "ask" } else { "search" })) (l.t(if ask { K::AskButton } else { K::SearchButton })) }
                }
            }
        }
    }
}

/// The passages, numbered as the answer cites them.
fn passages(l: Language, hits: &[Hit]) -> Markup {
    html! {
        ol class="passages" id="passages" {
            @for (at, hit) in hits.iter().enumerate() {
                @let number = at + 1;
                li class="card passage" id=(format!("passage-{number}")) tabindex="-1" {
                    span class="number" aria-hidden="true" { (number) }
                    div class="body" {
                        h3 dir="auto" { a href=(document_link(hit)) { (hit.title) } }
                        @if !hit.heading.is_empty() || hit.location.page.is_some() {
                            p class="meta" {
                                @if !hit.heading.is_empty() { span dir="auto" { (hit.heading) } }
                                @if let Some(page) = hit.location.page { span { (l.with(K::DocumentPage, &[("n", &page)])) } }
                            }
                        }
                        blockquote dir="auto" { @for span in &hit.marked { @if span.marked { mark { (span.text) } } @else { (span.text) } } }
                        p { a class="crumbs" href=(document_link(hit)) { (l.t(K::AskInDocument)) } }
                    }
                }
            }
        }
    }
}

fn document_link(hit: &Hit) -> String {
    // The page that starts a little before the passage, opened at it.
    format!("/library/{}?from={}#p{}", hit.document, hit.ordinal.saturating_sub(2), hit.ordinal)
}

pub(super) async fn ask(
    State(hub): State<Hub>,
    peer: Peer,
    p: Page,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let l = p.l;
    let text = asked.q.trim();
    if text.is_empty() {
        let writer = writer(&hub, &p).await;
        return Ok(p.show(&View::new(l.t(K::AskTitle), Place::Ask), start(&p, writer)));
    }
    let asker = hub.shared.limits.asker(p.person_id(), peer.client());
    let write = asked.write.is_some();
    if write {
        hub.shared.limits.question(asker)?;
    }
    let question = Question::new(text, asker);
    let mut events = hub.library.ask(&p.viewer, question).await;
    let (first, writer) =
        tokio::join!(tokio::time::timeout(PASSAGES_WITHIN, events.next()), writer(&hub, &p));
    let first = first.ok().flatten();
    let (hits, verdict) = match first {
        Some(AskEvent::Passages { hits, verdict, .. }) => (hits, verdict),
        _ => (Vec::new(), Verdict::NotInLibrary),
    };
    let body = answered(&p, text, &hits, verdict, writer, write);
    let view = View::new(text, Place::Ask);
    if !write || verdict == Verdict::NotInLibrary {
        return Ok(p.show(&view, body));
    }
    let page = layout::page(&p, &view, &body).into_string();
    Ok(in_pieces(l, &page, events))
}

fn start(p: &Page, writer: Writer) -> Markup {
    let l = p.l;
    let lead = if writer == Writer::Nobody { K::AskPassagesLead } else { K::AskLead };
    html! {
        div class="page-head" { div { h1 { (l.t(K::AskTitle)) } p class="lead" { (l.t(lead)) } } }
        (form(p, "/ask", ""))
        (where_answered(l, writer))
        section class="section needs-js" data-question-history hidden aria-labelledby="history-title" {
            div class="section-head" {
                h2 id="history-title" { (l.t(K::AskHistory)) }
                button class="button" type="button" data-forget { (l.t(K::AskHistoryClear)) }
            }
            p class="small quiet" { (l.t(K::AskHistoryNote)) }
            ul class="suggest" data-questions-asked {}
        }
        div class="section" { (empty("ask", l.t(K::AskEmpty), l.t(K::AskEmptyText), html! {})) }
    }
}

/// Who writes the answers, as the asker is told it before asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// A model on the hub.
    Hub,
    /// A service that the keeper allowed, perhaps.
    Service,
    /// No model is installed: the passages are all that comes.
    Nobody,
}

/// Where the models' process does not say in time, a model is taken to be there: the answer itself tells otherwise.
async fn writer(hub: &Hub, p: &Page) -> Writer {
    if p.settings.inference != CloudMode::Local {
        return Writer::Service;
    }
    match tokio::time::timeout(MODELS_WITHIN, hub.inference.models()).await {
        Ok(Ok(models)) if models.is_empty() => Writer::Nobody,
        _ => Writer::Hub,
    }
}

fn where_answered(l: Language, writer: Writer) -> Markup {
    let (sign, note) = match writer {
        Writer::Hub => ("lock", K::AskLocalNote),
        Writer::Service => ("info", K::AskCloudNote),
        Writer::Nobody => ("lock", K::AskPassagesNote),
    };
    html! { p class="legend" { (icon(sign)) span { (l.t(note)) } } }
}

fn answered(p: &Page, text: &str, hits: &[Hit], verdict: Verdict, writer: Writer, write: bool) -> Markup {
    let l = p.l;
    html! {
        h1 class="sr" { (l.t(K::AskTitle)) }
        (form(p, "/ask", text))
        @if verdict == Verdict::NotInLibrary {
            div class="card answer section" {
                h2 { (icon("info")) " " (l.t(K::AskNotHere)) }
                p { (l.t(if hits.is_empty() { K::AskNotHereNothing } else { K::AskNotHereText })) }
            }
        } @else {
            section class="card answer section" aria-labelledby="answer-title"
                data-answer data-question=(text) data-written=[write.then_some("yes")] {
                div class="section-head" {
                    h2 id="answer-title" { (l.t(K::AskAnswer)) }
                    button class="button needs-js" type="button" data-stop hidden { (l.t(K::AskStop)) }
                }
                p class="quiet needs-js" data-state role="status" { (l.t(K::AskThinking)) }
                div class="text" dir="auto" data-text { @if write { (maud::PreEscaped(HERE)) } }
                div data-outcome {}
                @if !write {
                    form class="no-js stack-s" action="/ask" method="get" {
                        input type="hidden" name="q" value=(text);
                        button class="button" name="write" value="1" { (l.t(K::AskWriteAnswer)) }
                        p class="hint" { (l.t(K::AskWriteAnswerHint)) }
                    }
                }
                p class="legend" data-check hidden[!write] { (icon("info")) span { (l.t(K::AskCheck)) " " span class="unsupported" { (l.t(K::AskUnsupportedLegend)) } } }
            }
            // Without a model the card above says so.
            @if writer != Writer::Nobody { (where_answered(l, writer)) }
        }
        @if !hits.is_empty() {
            section class="section" aria-labelledby="passages-title" {
                h2 id="passages-title" {
                    @if verdict == Verdict::NotInLibrary { (l.t(K::AskNearest)) }
                    @else { (l.count(Count::AskPassagesFound, hits.len() as u64)) }
                }
                (passages(l, hits))
            }
        }
        @if p.is_keeper() { div hidden data-models-link { (button("/settings#models", "plus", l.t(K::AskNoModelKeeper), false)) } }
    }
}

/// One finished sentence with its citations.
fn sentence(l: Language, text: &str, citations: &[u32], supported: bool) -> Markup {
    html! {
        span class=[(!supported).then_some("unsupported")] title=[(!supported).then(|| l.t(K::AskUnsupported))] {
            (text)
            @if !supported { span class="sr" { " (" (l.t(K::AskUnsupported)) ")" } }
        }
        @for number in citations {
            a class="cite" href=(format!("#passage-{number}")) aria-label=(l.with(K::AskOpenPassage, &[("n", number)])) { (number) }
        }
        " "
    }
}

/// The page with the answer in the middle, sent as it is written.
fn in_pieces(l: Language, page: &str, events: BoxStream<'static, AskEvent>) -> Response {
    let (before, after) = page.split_once(HERE).unwrap_or((page, ""));
    let (before, after) = (before.to_owned(), after.to_owned());
    let deadline = tokio::time::Instant::now() + ANSWER_WITHIN;
    let pieces = async_stream::stream! {
        let mut events = events;
        yield Ok::<String, Infallible>(before);
        loop {
            let note = match tokio::time::timeout_at(deadline, events.next()).await {
                Ok(Some(AskEvent::Sentence { text, citations, supported })) => {
                    yield Ok(sentence(l, &text, &citations, supported).into_string());
                    continue;
                }
                Ok(Some(AskEvent::Restarted)) => {
                    yield Ok(html! { p class="flash warn" { (l.t(K::AskRestarted)) } }.into_string());
                    continue;
                }
                Ok(Some(AskEvent::Done { .. })) => break,
                Ok(Some(AskEvent::NoModel)) => K::AskNoModel,
                Ok(Some(AskEvent::NoAnswer { .. })) => K::AskNotHereText,
                Ok(Some(AskEvent::Broken { .. }) | None) | Err(_) => K::AskBroken,
                Ok(Some(_)) => continue,
            };
            yield Ok(html! { p class="flash warn" { (l.t(note)) } }.into_string());
            break;
        }
        yield Ok(after);
    };
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    // A compressor would hold the pieces back.
    (headers, axum::Extension(NeverCompress), Body::from_stream(pieces)).into_response()
}
