//! Where a request was sent from, as far as the browser says so: decided once, used by CORS, cookies and CSRF.

use axum::{
    extract::{Request, State},
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, header, uri::Authority},
    middleware::Next,
    response::Response,
};

use super::host::authority_of;
use crate::{hub::Hub, peer::Peer};

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The page behind a request, by its header `Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Not said: a program, a link that was followed, or an old browser.
    Unsaid,
    /// A page of this hub.
    Own,
    /// A page elsewhere that a keeper trusts.
    Trusted(HeaderValue),
    /// Any other page.
    Foreign,
}

/// How far away that page is, by the header `Sec-Fetch-Site`. Browsers send it to secure contexts only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    /// Not said.
    Unsaid,
    /// The page is ours, or the person typed the address.
    Own,
    /// Another site.
    Other,
}

/// Where a request was sent from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) origin: Origin,
    pub(super) site: Site,
    /// Whether the page that led here, by the header `Referer`, is another one than ours.
    pub(super) led_from_elsewhere: bool,
}

impl Source {
    pub(super) fn of(extensions: &Extensions) -> Self {
        // Without the middleware nothing is known, and nothing is granted.
        extensions.get::<Self>().cloned().unwrap_or(Self {
            origin: Origin::Foreign,
            site: Site::Other,
            led_from_elsewhere: true,
        })
    }

    /// Whether a cookie that came along may speak for the person.
    pub(super) const fn may_use_cookies(&self) -> bool {
        matches!(self.origin, Origin::Unsaid | Origin::Own)
    }
}

pub(super) async fn find(State(hub): State<Hub>, mut request: Request, next: Next) -> Response {
    let own = authority_of(request.uri(), request.headers());
    let scheme = Peer::of(request.extensions()).scheme();
    let allowed = &hub.settings().await.allowed_origins;
    let source = source_of(request.headers(), own.as_ref(), scheme, allowed);
    request.extensions_mut().insert(source);
    next.run(request).await
}

fn source_of(headers: &HeaderMap, own: Option<&Authority>, scheme: &str, allowed: &[String]) -> Source {
    let is_own = |text: &str| own.is_some_and(|own| is_same_origin(text, scheme, own));
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (None, _) => Origin::Unsaid,
        (Some(origin), None) => match origin.to_str() {
            Ok(text) if is_own(text) => Origin::Own,
            Ok(text) if allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(text)) => {
                Origin::Trusted(origin.clone())
            }
            _ => Origin::Foreign,
        },
        _ => Origin::Foreign,
    };
    let site = match headers.get(&SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
        None => Site::Unsaid,
        Some(b"same-origin" | b"none") => Site::Own,
        Some(_) => Site::Other,
    };
    let led_from_elsewhere = headers.get(header::REFERER).is_some_and(|page| {
        // The page's address starts with its origin, followed by a path.
        !page.to_str().ok().and_then(origin_of_address).is_some_and(is_own)
    });
    Source { origin, site, led_from_elsewhere }
}

/// Whether `origin` (`scheme://host[:port]`, RFC 6454) is the origin of `scheme` and `own`.
fn is_same_origin(origin: &str, scheme: &str, own: &Authority) -> bool {
    let Some((theirs, authority)) = origin.split_once("://") else { return false };
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let default = if scheme == "https" { 443 } else { 80 };
    theirs == scheme
        && authority.host().eq_ignore_ascii_case(own.host())
        && authority.port_u16().unwrap_or(default) == own.port_u16().unwrap_or(default)
}

fn origin_of_address(address: &str) -> Option<&str> {
    let start = address.find("://")? + "://".len();
    let end = address.get(start..)?.find(['/', '?', '#']).map_or(address.len(), |at| start + at);
    address.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(own: &str, scheme: &str, headers: &[(&'static str, &str)]) -> Source {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        source_of(&map, Some(&own.parse().unwrap()), scheme, &["https://trusted.example".to_owned()])
    }

    #[test]
    fn an_origin_is_own_only_with_scheme_host_and_port() {
        let origin = |own, scheme, origin| found(own, scheme, &[("origin", origin)]).origin;
        assert_eq!(origin("well.local", "http", "http://well.local"), Origin::Own);
        assert_eq!(origin("well.local:80", "http", "http://WELL.local"), Origin::Own);
        assert_eq!(origin("[fe80::1]:8080", "http", "http://[fe80::1]:8080"), Origin::Own);
        for foreign in [
            "http://well.local:81",
            "https://well.local",
            "http://well.local.evil.example",
            "null",
            "",
            "http://",
            "file://",
        ] {
            assert_eq!(origin("well.local", "http", foreign), Origin::Foreign, "{foreign}");
        }
        assert!(matches!(origin("well.local", "http", "https://trusted.example"), Origin::Trusted(_)));
        assert_eq!(origin("well.local", "http", "https://trusted.example.evil.example"), Origin::Foreign);
    }

    #[test]
    fn two_origins_are_nobodys() {
        let both = [("origin", "http://well.local"), ("origin", "http://well.local")];
        assert_eq!(found("well.local", "http", &both).origin, Origin::Foreign);
    }

    #[test]
    fn site_and_referer_are_read() {
        let site = |value| found("a", "http", &[("sec-fetch-site", value)]).site;
        assert_eq!(site("same-origin"), Site::Own);
        assert_eq!(site("none"), Site::Own);
        assert_eq!(site("same-site"), Site::Other);
        assert_eq!(site("cross-site"), Site::Other);
        let led = |value| found("well.local", "http", &[("referer", value)]).led_from_elsewhere;
        assert!(!led("http://well.local/notices?x=1"));
        assert!(
            led("http://evil.example/http://well.local/")
                && led("about:blank")
                && led("http://well.local@evil/")
        );
        assert!(!found("a", "http", &[]).led_from_elsewhere);
    }
}
