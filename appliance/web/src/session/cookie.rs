//! The session cookie.

use axum::http::{HeaderMap, HeaderValue};
use axum_extra::extract::cookie::CookieJar;
use cairn_store::SessionToken;

use crate::{peer::Peer, problem::Problem};

/// Its name.
pub(crate) const SESSION_COOKIE: &str = "cairn_session";
/// Longest session token that is looked up, in bytes.
const MAX_TOKEN: usize = 128;

/// The session that a browser sent, as it came from outside.
pub(crate) fn session_cookie_of(headers: &HeaderMap) -> Option<SessionToken> {
    let jar = CookieJar::from_headers(headers);
    let value = jar.get(SESSION_COOKIE)?.value();
    let plausible =
        !value.is_empty() && value.len() <= MAX_TOKEN && value.bytes().all(|b| b.is_ascii_graphic());
    plausible.then(|| SessionToken::from_text(value))
}

/// The header that gives a browser its session.
///
/// Scripts cannot read it and other sites' requests do not carry it, except when a person follows a link. It is
/// marked `Secure` only where the connection is: on a plain one a browser would throw it away.
pub(crate) fn give_session(token: &SessionToken, hours: u32, peer: Peer) -> Result<HeaderValue, Problem> {
    let cookie = header_text(token.as_str(), u64::from(hours) * 3600, peer);
    HeaderValue::from_str(&cookie).map_err(|error| Problem::internal(&error))
}

/// The header that makes a browser forget its session.
#[must_use]
pub(crate) fn forget_session(peer: Peer) -> HeaderValue {
    // A constant name and an empty value are always a valid header.
    HeaderValue::from_str(&header_text("", 0, peer))
        .unwrap_or_else(|_| HeaderValue::from_static("cairn_session=; Max-Age=0; Path=/"))
}

/// RFC 6265 section 4.1.
fn header_text(value: &str, max_age_s: u64, peer: Peer) -> String {
    let secure = if peer.tls { "; Secure" } else { "" };
    format!("{SESSION_COOKIE}={value}; Max-Age={max_age_s}; Path=/; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::*;

    fn peer(tls: bool) -> Peer {
        Peer { address: "192.168.4.2:5000".parse().unwrap(), tls }
    }

    #[test]
    fn the_cookie_is_out_of_reach_for_scripts_and_other_sites() {
        let token = SessionToken::from_text("abc");
        let plain = give_session(&token, 24, peer(false)).unwrap();
        let plain = plain.to_str().unwrap();
        for part in ["cairn_session=abc", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=86400"] {
            assert!(plain.contains(part), "{part} is missing in {plain}");
        }
        assert!(!plain.contains("Secure"), "a browser on plain HTTP would drop it");
        assert!(give_session(&token, 24, peer(true)).unwrap().to_str().unwrap().contains("Secure"));
        assert!(forget_session(peer(false)).to_str().unwrap().contains("Max-Age=0"));
    }

    #[test]
    fn only_plausible_tokens_are_looked_up() {
        let sent = |cookie: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
            session_cookie_of(&headers).map(|token| token.as_str().to_owned())
        };
        assert_eq!(sent("a=b; cairn_session=xyz; c=d").as_deref(), Some("xyz"));
        assert_eq!(sent("cairn_session="), None);
        assert_eq!(sent("cairn_session2=xyz"), None);
        assert_eq!(sent(&format!("cairn_session={}", "x".repeat(MAX_TOKEN + 1))), None);
    }
}
