//! The first page: ask, what is going on, what is new, how to bring others here.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use cairn_store::{ListQuery, Order, Record};
use cairn_sync::Kind;
use maud::{Markup, html};
use serde_json::json;

use super::{
    layout::{Place, View, encode, qr},
    notices,
    page::{Page, see},
    parts::{Names, authors, button, empty, icon, moment},
};
use crate::{
    hub::Hub,
    i18n::{Count, Key as K},
    problem::Problem,
};

/// Notices looked at for the first page.
const NOTICES_READ: u16 = 50;
/// Notices shown on it.
const NOTICES_SHOWN: usize = 6;
const DOCUMENTS_SHOWN: u16 = 5;

/// Who is here, for scripts: also their test of whether the hub is in reach.
pub(super) async fn here(page: Page) -> Response {
    let person = page.person_id().map(|id| id.to_string());
    Json(json!({ "person": person, "csrf": page.csrf })).into_response()
}

pub(super) async fn show(State(hub): State<Hub>, p: Page) -> Result<Response, Problem> {
    if !hub.store.setup_state().await?.claimed {
        return Ok(see("/first-run"));
    }
    let l = p.l;
    let all =
        hub.store.list(&p.viewer, ListQuery::of(Kind::Notice).project(None).limit(NOTICES_READ)).await?;
    let current = notices::current(all.items, NOTICES_SHOWN);
    let new = ListQuery::of(Kind::Document).order(Order::Newest).limit(DOCUMENTS_SHOWN);
    let documents = hub.store.list(&p.viewer, new).await?.items;
    let counts = hub.store.counts(&p.viewer).await?;
    let names = Names::of(&hub, &p, authors(current.iter().chain(&documents))).await?;
    let may_write = hub.store.may(&p.viewer, cairn_store::Action::Create, (Kind::Notice, None)).await?;
    let count = |kind| counts.get(&kind).copied().unwrap_or(0);
    let body = html! {
        div class="hero" { h1 { (l.t(K::HomeAskLabel)) } }
        (ask_box(&p))
        div class="columns section" {
            div {
                section aria-labelledby="notices-title" {
                    div class="section-head" {
                        h2 id="notices-title" { (l.t(K::HomeNotices)) }
                        div class="cluster" {
                            a class="button bare" href="/notices" { (l.t(K::HomeNoticesAll)) }
                            @if may_write { (button("/notices/new", "plus", l.t(K::NoticeNew), false)) }
                        }
                    }
                    div id="notices" class="stack" data-live="say" {
                        @for notice in &current { (notices::card(&p, &names, notice, false)) }
                        @if current.is_empty() {
                            (empty("bell", l.t(K::HomeNoticesEmpty), l.t(K::HomeNoticesEmptyText), html! {}))
                        }
                    }
                }
                section class="section" aria-labelledby="new-title" {
                    div class="section-head" {
                        h2 id="new-title" { (l.t(K::HomeNew)) }
                        a class="button bare" href="/library" { (l.t(K::HomeNewAll)) }
                    }
                    div id="new-documents" data-live="quiet" { (new_documents(&p, &documents)) }
                }
            }
            aside class="stack" {
                (share(&p))
                section class="card" aria-labelledby="glance-title" {
                    h2 id="glance-title" { (l.t(K::HomeGlance)) }
                    p class="quiet" { (l.t(K::HomeWelcome)) }
                    div class="figures after" id="glance" data-live="quiet" {
                        (figure(&p, Count::HomeDocuments, count(Kind::Document)))
                        (figure(&p, Count::HomeProjects, count(Kind::Project)))
                        @if p.is_signed_in() { (figure(&p, Count::HomePeople, count(Kind::Person))) }
                    }
                }
            }
        }
    };
    Ok(p.show(&View::new(l.t(K::NavHome), Place::Home).live("notice document project person"), body))
}

/// The box that asks; also on the ask page with what was asked.
pub(super) fn ask_box(p: &Page) -> Markup {
    let l = p.l;
    html! {
        form class="ask" action="/ask" method="get" role="search" {
            label class="sr" for="question" { (l.t(K::AskLabel)) }
            div class="ask-line" {
                input id="question" type="search" name="q" required maxlength="500" dir="auto" autocomplete="off" enterkeyhint="search" placeholder=(l.t(K::HomeAskPlaceholder));
                div class="actions" {
                    button class="button primary" { (icon("ask")) (l.t(K::HomeAskButton)) }
                    button class="button" formaction="/search" { (icon("search")) (l.t(K::HomeSearchButton)) }
                }
            }
        }
    }
}

fn new_documents(p: &Page, documents: &[Record]) -> Markup {
    let l = p.l;
    html! {
        @if documents.is_empty() {
            (empty("library", l.t(K::LibraryEmpty), l.t(K::LibraryEmptyText), html! {
                @if p.is_signed_in() { (button("/library", "plus", l.t(K::LibraryAdd), true)) }
            }))
        } @else {
            ul class="list" {
                @for document in documents {
                    li { div class="row" {
                        (icon("file"))
                        div class="row-main" {
                            a class="row-title" dir="auto" href=(format!("/library/{}", document.id)) { (document.text("title")) }
                            p class="meta" { (moment(l, document.created_at_ms)) span { (l.size(document.int("size").unwrap_or(0).unsigned_abs())) } }
                        }
                    } }
                }
            }
        }
    }
}

fn figure(p: &Page, key: Count, n: u64) -> Markup {
    html! { p class="figure" { b { (p.l.number(n)) } span { (p.l.count(key, n)) } } }
}

fn share(p: &Page) -> Markup {
    let l = p.l;
    let all = &p.facts.pages;
    html! {
        @if let Some(first) = all.first() {
            section class="card" aria-labelledby="share-title" {
                h2 id="share-title" { (l.t(K::HomeShare)) }
                div class="share" {
                    (qr(first, &l.with(K::HomeQrAlt, &[("address", first)])))
                    div class="stack-s" {
                        p class="address" { (first) }
                        @if let Some(named) = all.iter().rfind(|address| address.contains(".local") && *address != first) {
                            p class="small quiet" { (l.t(K::HomeAddressSecond)) " " span class="address small" { (named) } }
                        }
                        button class="button needs-js" type="button" data-copy=(first) { span data-label { (l.t(K::Copy)) } }
                    }
                }
                p class="hint after" { (l.t(K::HomeShareText)) }
            }
        }
    }
}

/// A link that asks this.
pub(super) fn ask_link(text: &str) -> String {
    format!("/ask?q={}", encode(text))
}
