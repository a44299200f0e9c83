//! What was refused, as a page: problems in the reader's language. Also what scripts get instead of a
//! redirect, and the mark by which they tell the hub from a captive portal.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use cairn_store::Viewer;
use maud::html;

use super::{
    layout::{Place, View, encode},
    page::Page,
    parts::{button, icon},
};
use crate::{
    hub::Hub,
    i18n::{Key as K, Language},
    problem::{Problem, ProblemKind},
    session::{CsrfToken, session_cookie_of},
};

/// Sent by our scripts with forms: they want JSON in place of a redirect or an error page.
const ENHANCED: HeaderName = HeaderName::from_static("x-cairn-enhanced");
/// On everything that the hub itself answered.
const MARK: HeaderName = HeaderName::from_static("x-cairn");

/// Shows problems as pages to browsers, and redirects as JSON to our scripts.
pub(crate) async fn problems_as_html(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let headers = request.headers().clone();
    let uri = request.uri().clone();
    let enhanced = headers.contains_key(ENHANCED);
    let mut response = next.run(request).await;
    if uri.path().starts_with("/api/") || uri.path().starts_with("/assets/") {
        return response;
    }
    response.headers_mut().insert(MARK, HeaderValue::from_static("1"));
    if enhanced {
        return without_redirect(response);
    }
    let problem = response.extensions().get::<cairn_record_api::Problem>().cloned().map(Problem::from);
    let Some(problem) = problem.or_else(|| silent(&response)).filter(|_| wants_html(&headers)) else {
        return response;
    };
    // Who it was is found further inside; a refusal may have come before that.
    let viewer = match session_cookie_of(&headers) {
        Some(token) => {
            hub.store.viewer_for_session(&token).await.ok().flatten().map(|viewer| (viewer, token))
        }
        None => None,
    };
    let (viewer, csrf) = viewer.map_or_else(
        || (Viewer::anonymous(), String::new()),
        |(viewer, token)| (viewer, CsrfToken::of_session(&token).to_string()),
    );
    let page = Page::of(&hub, viewer, csrf, &headers, &uri).await;
    let mut shown = show(&page, &problem);
    for name in [header::RETRY_AFTER, header::SET_COOKIE, header::ALLOW] {
        if let Some(value) = response.headers().get(&name) {
            shown.headers_mut().insert(name, value.clone());
        }
    }
    shown.headers_mut().insert(MARK, HeaderValue::from_static("1"));
    shown
}

/// A refusal by the router or an extractor, which know no problems and answer in plain text.
fn silent(response: &Response) -> Option<Problem> {
    let media_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if media_type.is_some_and(|media_type| !media_type.starts_with("text/plain")) {
        return None;
    }
    let (kind, detail) = match response.status() {
        StatusCode::NOT_FOUND => (ProblemKind::NotFound, "there is no page at this address"),
        StatusCode::METHOD_NOT_ALLOWED => {
            (ProblemKind::MethodNotAllowed, "this address does not take this method")
        }
        StatusCode::BAD_REQUEST => (ProblemKind::Malformed, "the address or the form cannot be read"),
        StatusCode::PAYLOAD_TOO_LARGE => (ProblemKind::TooLarge, "this is larger than the page takes"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (ProblemKind::UnsupportedMediaType, "this is not a form"),
        _ => return None,
    };
    Some(Problem::new(kind, detail))
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_none_or(|accept| accept.contains("text/html") || accept.contains("*/*"))
}

/// `{"to": …}` in place of 303, because a script that follows a redirect never learns where it led.
fn without_redirect(response: Response) -> Response {
    if response.status() != StatusCode::SEE_OTHER {
        return response;
    }
    let to = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("/");
    let mut json = Json(serde_json::json!({ "to": to })).into_response();
    json.headers_mut().insert(MARK, HeaderValue::from_static("1"));
    for cookie in response.headers().get_all(header::SET_COOKIE) {
        json.headers_mut().append(header::SET_COOKIE, cookie.clone());
    }
    json
}

/// The sentence for a problem.
pub(super) fn in_words(l: Language, problem: &Problem) -> &'static str {
    l.t(match problem.kind {
        ProblemKind::WrongCredentials => K::SignInWrong,
        ProblemKind::CodeRefused => K::ErrorCodeRefused,
        ProblemKind::CrossSite => K::ErrorExpired,
        ProblemKind::WrongHost => K::ErrorWrongHost,
        ProblemKind::NameTaken => K::ErrorNameTaken,
        ProblemKind::AlreadyClaimed => K::FirstClaimed,
        ProblemKind::ModelRefused => K::ErrorModelRefused,
        ProblemKind::BackupRefused => K::ErrorBackupRefused,
        ProblemKind::ReadOnlyDisk => K::ErrorReadOnly,
        _ => match problem.status {
            401 => K::Error401,
            403 => K::Error403,
            404 => K::Error404,
            409 => K::Error409,
            413 => K::Error413,
            415 => K::Error415,
            422 => K::Error422,
            429 => K::Error429,
            503 => K::Error503,
            507 => K::Error507,
            500..=599 => K::Error500,
            _ => K::Error400,
        },
    })
}

fn show(p: &Page, problem: &Problem) -> Response {
    let l = p.l;
    let title = l.t(K::ErrorTitle);
    let body = html! {
        div class="gate stack" {
            div class="empty" {
                (icon(if problem.status >= 500 { "warning" } else { "info" }))
                h1 { (title) }
                p { (in_words(l, problem)) }
                div class="actions" {
                    @if problem.status == 401 && !p.is_signed_in() {
                        (button(&format!("/sign-in?to={}", encode(&p.path)), "in", l.t(K::SignIn), true))
                    }
                    (button("/", "home", l.t(K::ErrorHome), problem.status != 401))
                }
            }
            // The exact words are for whoever helps; they are English like the log that they point to.
            details class="fold" {
                summary { (l.t(K::ErrorDetails)) }
                div class="stack-s small" lang="en" dir="ltr" {
                    p { (problem.status) " · " (problem.title) }
                    p { (problem.detail) }
                    p { (problem.kept) " " (problem.next) }
                    @if let Some(instance) = &problem.instance { p { code { (instance) } } }
                }
            }
        }
    };
    p.show_with(problem.status_code(), &View::new(title, Place::Other), body)
}
