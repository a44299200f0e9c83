//! What every page knows: who reads it, in which language, and how the hub is.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use cairn_store::{Record, Settings, Viewer};
use cairn_sync::{RecordId, Role};
use maud::Markup;

use super::layout::{self, View};
use crate::{
    host::{Connectivity, HostFacts},
    hub::Hub,
    i18n::Language,
    problem::Problem,
    session::{CurrentViewer, Identity},
    uplink::UplinkStatus,
};

/// The cookie that remembers the language of somebody without an account.
pub(super) const LANGUAGE_COOKIE: &str = "cairn_language";

/// How the hub is, as every page shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HubState {
    /// Everything works.
    Normal,
    /// No connection to the outside; the hub itself works.
    Offline,
    /// Something broke and was repaired, or is being brought up to date.
    Recovering,
}

impl HubState {
    fn of(facts: &HostFacts, database: bool) -> Self {
        match facts.connectivity {
            _ if !database => Self::Recovering,
            Connectivity::Recovering => Self::Recovering,
            Connectivity::Offline => Self::Offline,
            Connectivity::Local | Connectivity::Online => Self::Normal,
        }
    }
}

/// One page being made for one person.
pub(super) struct Page {
    /// Who reads.
    pub(super) viewer: Viewer,
    /// That person's record, where one is signed in.
    pub(super) person: Option<Record>,
    /// The language.
    pub(super) l: Language,
    /// The token for forms.
    pub(super) csrf: String,
    /// The hub's settings.
    pub(super) settings: Arc<Settings>,
    /// What the process and the device say.
    pub(super) facts: HostFacts,
    /// How the hub is.
    pub(super) state: HubState,
    /// Where sharing with other hubs stands.
    pub(super) sync: UplinkStatus,
    /// Conflicts that wait for somebody, of what the reader may see.
    pub(super) conflicts: u64,
    /// The path and query that were asked for.
    pub(super) path: String,
    /// A note that a redirect left, by name.
    pub(super) done: Option<String>,
}

impl FromRequestParts<Hub> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let CurrentViewer(viewer) =
            CurrentViewer::from_request_parts(parts, hub).await.unwrap_or_else(|never| match never {});
        let identity = Identity::from_request_parts(parts, hub).await.unwrap_or_else(|never| match never {});
        Ok(Self::of(hub, viewer, identity.csrf().to_string(), &parts.headers, &parts.uri).await)
    }
}

impl Page {
    /// The page for a request, also for one that was refused.
    pub(super) async fn of(
        hub: &Hub,
        viewer: Viewer,
        csrf: String,
        headers: &HeaderMap,
        uri: &axum::http::Uri,
    ) -> Self {
        let settings = hub.settings().await;
        let facts = hub.host.facts();
        let mut database = true;
        let person = match viewer.person() {
            Some(id) => match hub.store.get(&viewer, id).await {
                Ok(record) => Some(record),
                Err(error) => {
                    database = !matches!(
                        error,
                        cairn_store::StoreError::Database(_) | cairn_store::StoreError::Corrupt(_)
                    );
                    None
                }
            },
            None => None,
        };
        let l = language_of(person.as_ref(), headers, &settings);
        let done = uri.query().and_then(|query| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix("done="))
                .map(|name| name.chars().take(32).collect())
        });
        let state = HubState::of(&facts, database);
        let sync = hub.uplink.as_ref().map_or_else(UplinkStatus::alone, |uplink| uplink.status());
        // A page that says what is wrong is more use than none.
        let conflicts = hub.store.conflicts_waiting(&viewer).await.unwrap_or_default();
        let path = uri.path_and_query().map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned());
        Self { viewer, person, l, csrf, settings, facts, state, sync, conflicts, path, done }
    }

    /// Whether the reader looks after the hub.
    pub(super) fn is_keeper(&self) -> bool {
        self.viewer.is_signed_in() && self.viewer.role() == Role::Keeper
    }

    /// Whether the reader has an account.
    pub(super) fn is_signed_in(&self) -> bool {
        self.viewer.is_signed_in()
    }

    /// The reader's id.
    pub(super) fn person_id(&self) -> Option<RecordId> {
        self.viewer.person()
    }

    /// The whole page around `body`.
    pub(super) fn show(&self, view: &View<'_>, body: Markup) -> Response {
        self.show_with(StatusCode::OK, view, body)
    }

    /// The whole page with another status: a form that came back.
    pub(super) fn show_with(&self, status: StatusCode, view: &View<'_>, body: Markup) -> Response {
        let page = layout::page(self, view, &body).into_string();
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_LANGUAGE, self.l.tag()),
            // One address, several readers and languages.
            (header::VARY, "Cookie, Accept-Language"),
        ];
        (status, headers, page).into_response()
    }

    /// Goes on to another page and says there what was done.
    pub(super) fn go(&self, path: &str, done: &str) -> Response {
        let join = if path.contains('?') { '&' } else { '?' };
        if done.is_empty() { see(path) } else { see(&format!("{path}{join}done={done}")) }
    }
}

/// Sends the browser on with 303, so that reloading does not send a form again.
pub(super) fn see(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// A path on this hub that a form wants to go back to; anything else becomes the first page.
pub(super) fn local_path(path: &str) -> &str {
    let local = path.starts_with('/')
        && !path.starts_with("//")
        && path.len() <= 2000
        && !path.contains(['\\', '\r', '\n', '\t'])
        && path.is_ascii();
    if local { path } else { "/" }
}

fn language_of(person: Option<&Record>, headers: &HeaderMap, settings: &Settings) -> Language {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let chosen = person.and_then(|person| Language::from_tag(person.text("language")));
    let remembered = || {
        header(header::COOKIE)?
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == LANGUAGE_COOKIE)
            .and_then(|(_, tag)| Language::from_tag(tag))
    };
    chosen
        .or_else(remembered)
        .or_else(|| header(header::ACCEPT_LANGUAGE).and_then(Language::accepted))
        .or_else(|| Language::from_tag(&settings.language))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_lead_back_only_to_this_hub() {
        for path in ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\nb", ""] {
            assert_eq!(local_path(path), "/", "{path}");
        }
        assert_eq!(local_path("/library?q=a"), "/library?q=a");
    }
}
