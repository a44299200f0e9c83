//! "Is this the internet?": phones that join the hub's own Wi-Fi ask it of hosts of their makers, whose names lead here.
//! The answer is the way to the hub's page, never what would mean "yes": the phone shows that page by itself, and still
//! knows that it has no internet.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::host::authority_of;
use crate::{host::Captive, hub::Hub};

pub(super) async fn answer(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let facts = hub.host.facts();
    let asked = authority_of(request.uri(), request.headers());
    let page = facts.device.captive.and_then(|captive| page_for(captive, asked?.host(), facts.port));
    match page {
        Some(page) => {
            let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            (StatusCode::FOUND, [(header::LOCATION, page), no_store]).into_response()
        }
        None => next.run(request).await,
    }
}

/// Where whoever asked `host` finds the hub's page; `None` when it is none of the hosts of which devices ask.
fn page_for(captive: Captive, host: &str, port: u16) -> Option<HeaderValue> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if !captive.hosts.iter().any(|probe| probe.eq_ignore_ascii_case(host)) {
        return None;
    }
    let address = captive.address;
    let page = if port == 80 { format!("http://{address}/") } else { format!("http://{address}:{port}/") };
    HeaderValue::from_str(&page).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_that_are_asked_lead_to_the_page() {
        let captive = Captive { address: [192, 168, 73, 1].into(), hosts: &["captive.apple.com"] };
        assert_eq!(page_for(captive, "Captive.Apple.com.", 80).unwrap(), "http://192.168.73.1/");
        assert_eq!(page_for(captive, "captive.apple.com", 8080).unwrap(), "http://192.168.73.1:8080/");
        assert_eq!(page_for(captive, "apple.com", 80), None);
        assert_eq!(page_for(captive, "192.168.73.1", 80), None);
    }
}
