//! Against DNS rebinding: a page on the internet can make its own name point at this hub and then speak to it as
//! if it were its own server. The browser still says the page's name in `Host`, so only our own names are served.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    hub::Hub,
    problem::{Problem, ProblemKind},
};

pub(super) async fn check(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let Some(authority) = authority_of(request.uri(), request.headers()) else {
        return Problem::new(ProblemKind::Malformed, "the request does not say for which host it is")
            .into_response();
    };
    let name = hub.host.facts().name;
    if !is_ours(authority.host(), &name, &hub.settings().await.allowed_hosts) {
        let asked: String = authority.host().chars().take(100).collect();
        let detail =
            format!("you opened “{asked}”, and this hub is not called that: its name is {name}.local");
        return Problem::new(ProblemKind::WrongHost, detail).into_response();
    }
    next.run(request).await
}

/// For which host and port the request is: the address itself in HTTP/2, the header `Host` in HTTP/1.
pub(super) fn authority_of(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next()?, hosts.next());
    let authority = Authority::try_from(host.as_bytes()).ok()?;
    // Two hosts, or a user name before it, would be read differently by different programs.
    (second.is_none() && !authority.as_str().contains('@')).then_some(authority)
}

/// Addresses cannot be rebound; a name is ours when it is `localhost`, the hub's own, or allowed by a keeper.
fn is_ours(host: &str, own: &str, allowed: &[String]) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.parse::<IpAddr>().is_ok() {
        return true;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let own_name = |name: &str| name.eq_ignore_ascii_case(own);
    let is_own = own_name(host) || split_local(host).is_some_and(own_name);
    let is_allowed = |name: &String| {
        let name = name.split_once(':').map_or(name.as_str(), |(name, _)| name);
        name.eq_ignore_ascii_case(host)
    };
    host.eq_ignore_ascii_case("localhost") || is_own || allowed.iter().any(is_allowed)
}

/// The part before `.local`.
fn split_local(host: &str) -> Option<&str> {
    let at = host.len().checked_sub(".local".len())?;
    let (name, end) = (host.get(..at)?, host.get(at..)?);
    end.eq_ignore_ascii_case(".local").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_our_own_names_are_ours() {
        let allowed = vec!["hub.example.org".to_owned(), "village.example:8080".to_owned()];
        for host in [
            "192.168.4.1",
            "[fe80::1]",
            "127.0.0.1",
            "localhost",
            "LOCALHOST",
            "well",
            "well.local",
            "Well.LOCAL",
            "well.local.",
            "hub.example.org",
            "HUB.example.org",
            "village.example",
        ] {
            assert!(is_ours(host, "well", &allowed), "{host}");
        }
        for host in [
            "evil.example",
            "well.local.evil.example",
            "other.local",
            "local",
            ".local",
            "192.168.4.1.evil.example",
            "localhost.evil.example",
            "well.evil.example",
            "xhub.example.org",
            "",
            "é.local",
        ] {
            assert!(!is_ours(host, "well", &allowed), "{host}");
        }
    }

    #[test]
    fn what_programs_could_read_in_two_ways_is_no_host() {
        let read = |hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, axum::http::HeaderValue::from_static(host));
            }
            authority_of(&Uri::from_static("/"), &headers).map(|authority| authority.to_string())
        };
        assert_eq!(read(&["well.local:8080"]).as_deref(), Some("well.local:8080"));
        for bad in [&[][..], &["a", "b"], &["user@well.local"], &["a b"], &["a/b"]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
