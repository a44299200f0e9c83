//! Who sends a request: sessions by cookie, personal access tokens by header, and what a person must do to get
//! one. Whether the person may do something is decided in the store alone.

mod actions;
mod cookie;
mod csrf;
mod password;

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};
use cairn_store::{ApiToken, SessionToken, Store, Viewer};

pub(crate) use actions::signed_in;
pub(crate) use actions::{
    NewPerson, SignedIn, change_password, claim, confirm, set_password_of, sign_in, sign_out, sign_up,
};
pub(crate) use cookie::forget_session;
pub(crate) use cookie::{SESSION_COOKIE, session_cookie_of};
pub(crate) use csrf::CsrfToken;
pub(crate) use password::Passwords;

/// Who sends a request, found once per request by `middleware::identify`.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The viewer that every call of the store takes.
    pub(crate) viewer: Viewer,
    proof: Proof,
}

/// How whoever asks is known.
#[derive(Debug, Clone)]
enum Proof {
    /// Not at all.
    None,
    /// By the session in a cookie, which a browser sends by itself.
    Cookie(SessionToken),
    /// By a token in a header, which only a program that holds it can send.
    Bearer(ApiToken),
}

impl Identity {
    pub(crate) const fn anonymous() -> Self {
        Self { viewer: Viewer::anonymous(), proof: Proof::None }
    }

    pub(crate) const fn by_cookie(viewer: Viewer, token: SessionToken) -> Self {
        Self { viewer, proof: Proof::Cookie(token) }
    }

    pub(crate) const fn by_bearer(viewer: Viewer, token: ApiToken) -> Self {
        Self { viewer, proof: Proof::Bearer(token) }
    }

    /// The session, where whoever asks is known by one.
    #[must_use]
    pub(crate) const fn session(&self) -> Option<&SessionToken> {
        if let Proof::Cookie(token) = &self.proof { Some(token) } else { None }
    }

    /// Whether whoever asks is known by a personal access token.
    #[must_use]
    pub(crate) const fn is_bearer(&self) -> bool {
        matches!(self.proof, Proof::Bearer(_))
    }

    /// Whether what the person showed still holds. A busy store is no reason to say that it does not.
    pub(crate) async fn still_holds(&self, store: &Store) -> bool {
        let found = match &self.proof {
            Proof::None => return true,
            Proof::Cookie(session) => store.viewer_for_session(session).await,
            Proof::Bearer(token) => store.viewer_for_token(token.as_str()).await,
        };
        !matches!(found, Ok(None))
    }

    /// The token for forms, masked anew on every call. Empty without a session: then there is nothing that a
    /// forged request could use.
    #[must_use]
    pub(crate) fn csrf(&self) -> CsrfToken {
        self.session().map_or_else(CsrfToken::none, CsrfToken::of_session)
    }
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::anonymous))
    }
}

/// The viewer of a request.
#[derive(Debug, Clone)]
pub(crate) struct CurrentViewer(pub(crate) Viewer);

impl<S: Sync> FromRequestParts<S> for CurrentViewer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Identity::from_request_parts(parts, state).await.map(|identity| Self(identity.viewer))
    }
}

impl<S: Sync> FromRequestParts<S> for CsrfToken {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Identity::from_request_parts(parts, state).await.map(|identity| identity.csrf())
    }
}
