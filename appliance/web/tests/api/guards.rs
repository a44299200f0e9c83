//! Other sites, other names, floods: what is kept out before any route is reached.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use axum::body::{Body, Bytes};
use futures::stream;
use serde_json::json;
use tower::ServiceExt;

use crate::support::{World, until, world};

fn notice() -> serde_json::Value {
    json!({"fields": {"title": "Forged", "level": "info"}})
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_told_so_and_gets_nothing() {
    let world = world().await;
    let keeper = world.keeper().await;
    for host in ["evil.example", "well.local.evil.example", "other.local:80"] {
        let problem =
            world.get("/api/v1/session").host(host).session(&keeper).send().await.refused(421, "wrong-host");
        assert!(problem["detail"].as_str().unwrap().contains("well.local"), "{problem}");
    }
    for host in ["well.local", "WELL.local:8080", "192.168.4.1", "[fe80::1]:80", "localhost", "well"] {
        world.get("/api/v1/session").host(host).send().await.ok();
    }
    world.get("/api/v1/session").host("hub.example.org").send().await.refused(421, "wrong-host");
    world.set(&keeper, json!({"allowed_hosts": ["hub.example.org"]})).await;
    world.get("/api/v1/session").host("hub.example.org").send().await.ok();
}

#[tokio::test]
async fn another_site_cannot_use_a_persons_session() {
    let world = world().await;
    let keeper = world.keeper().await;
    let forged = |origin: Option<&'static str>, site: Option<&str>, referer: Option<&str>| {
        let mut call = world.post("/api/v1/records/notice", notice()).session(&keeper).from(origin);
        for (name, value) in [("sec-fetch-site", site), ("referer", referer)] {
            if let Some(value) = value {
                call = call.header(name, value);
            }
        }
        call.send()
    };
    for (origin, site, referer) in [
        (Some("http://evil.example"), None, None),
        (Some("null"), None, None),
        (Some("http://well.local:8080"), None, None),
        (Some("https://well.local"), None, None),
        (Some("http://well.local.evil.example"), None, None),
        (None, Some("cross-site"), None),
        (None, Some("same-site"), None),
        (None, None, Some("http://evil.example/page")),
        (Some("http://well.local"), Some("cross-site"), None),
        // An old browser that says nothing: the token is missing.
        (None, None, None),
        (None, None, Some("http://well.local/notices/new")),
    ] {
        forged(origin, site, referer).await.refused(403, "cross-site");
    }
    assert_eq!(world.get("/api/v1/counts").send().await.json()["notice"].as_u64().unwrap_or(0), 0);
    forged(Some("http://well.local"), None, None).await.ok();
    forged(None, Some("same-origin"), None).await.ok();
}

#[tokio::test]
async fn an_old_browser_needs_the_token_of_its_own_session() {
    let world = world().await;
    let keeper = world.keeper().await;
    let ben = world.person(&keeper, "volunteer", "ben").await;
    let token = |session: String| {
        let world = &world;
        async move {
            world.get("/api/v1/session").session(&session).send().await.json()["csrf"]
                .as_str()
                .unwrap()
                .to_owned()
        }
    };
    let (mine, bens) = (token(keeper.clone()).await, token(ben).await);
    assert_ne!(mine, token(keeper.clone()).await, "masked anew each time");
    let send = |path: &str| world.post(path, notice()).session(&keeper).from(None);
    send("/api/v1/records/notice").header("x-csrf-token", &mine).send().await.ok();
    send(&format!("/api/v1/records/notice?_csrf={mine}")).send().await.ok();
    send("/api/v1/records/notice").header("x-csrf-token", &bens).send().await.refused(403, "cross-site");
    send("/api/v1/records/notice?_csrf=x").send().await.refused(403, "cross-site");
}

#[tokio::test]
async fn a_trusted_origin_may_use_tokens_but_never_a_cookie() {
    const TRUSTED: &str = "https://pages.example.org";
    let world = world().await;
    let keeper = world.keeper().await;
    let preflight = |origin: &'static str| {
        let call = world.call("OPTIONS", "/api/v1/records/notice").from(Some(origin));
        call.header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization")
            .send()
    };
    preflight(TRUSTED).await.refused(403, "cross-site");
    world.set(&keeper, json!({"allowed_origins": [TRUSTED]})).await;
    let allowed = preflight(TRUSTED).await;
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, TRUSTED));
    assert!(allowed.header("access-control-allow-headers").contains("authorization"));
    preflight("https://evil.example").await.refused(403, "cross-site");
    let token =
        world.post("/api/v1/tokens", json!({"name": "page"})).session(&keeper).send().await.ok().json();
    let token = token["token"].as_str().unwrap();
    let made =
        world.post("/api/v1/records/notice", notice()).bearer(token).from(Some(TRUSTED)).send().await.ok();
    assert_eq!(made.header("access-control-allow-origin"), TRUSTED);
    assert_eq!(made.header("access-control-allow-credentials"), "");
    let cookie = world.get("/api/v1/session").session(&keeper).from(Some(TRUSTED)).send().await.ok();
    assert_eq!(cookie.json()["signed_in"], false, "a cookie from another origin speaks for nobody");
    assert_eq!(cookie.header("set-cookie"), "");
    let stranger =
        world.get("/api/v1/session").session(&keeper).from(Some("https://evil.example")).send().await.ok();
    assert_eq!(
        (stranger.header("access-control-allow-origin"), &stranger.json()["signed_in"]),
        ("", &json!(false))
    );
}

#[tokio::test]
async fn every_answer_tells_the_browser_how_little_it_may_do() {
    let world = world().await;
    for path in ["/api/v1/session", "/api/health-check", "/nothing/here", "/metrics"] {
        let answer = world.get(path).send().await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "same-origin");
    }
    assert_eq!(world.get("/api/v1/session").send().await.header("cache-control"), "no-store");
}

#[tokio::test]
async fn secrets_are_not_compressed_and_lists_are() {
    let world = world().await;
    let keeper = world.keeper().await;
    let made = world
        .post("/api/v1/tokens", json!({"name": "x"}))
        .session(&keeper)
        .header("accept-encoding", "gzip")
        .send()
        .await
        .ok();
    assert_eq!(made.header("content-encoding"), "");
    let document = world.get("/api/openapi.json").header("accept-encoding", "gzip").send().await.ok();
    assert_eq!(document.header("content-encoding"), "gzip");
}

#[tokio::test]
async fn a_body_past_its_limit_is_refused_announced_or_counted() {
    let world = world().await;
    let keeper = world.keeper().await;
    let large = "x".repeat(3 << 20);
    let body = format!("{{\"fields\":{{\"title\":\"{large}\"}}}}");
    let send = |body: Body, length: Option<usize>| {
        let mut call = world
            .call("POST", "/api/v1/records/notice")
            .session(&keeper)
            .header("content-type", "application/json");
        if let Some(length) = length {
            call = call.header("content-length", &length.to_string());
        }
        call.body(body).send()
    };
    send(Body::empty(), Some(body.len())).await.refused(413, "too-large");
    let pieces = body
        .into_bytes()
        .chunks(64 << 10)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect::<Vec<_>>();
    send(Body::from_stream(stream::iter(pieces)), None).await.refused(413, "too-large");
}

#[tokio::test]
async fn a_flood_from_one_address_is_slowed_and_others_and_the_device_are_not() {
    let world = world().await;
    let asked = |peer: &'static str| world.get("/api/v1/nothing").peer(peer).send();
    let mut slowed = false;
    for _ in 0..10_000 {
        let answer = asked("10.9.9.9:1").await;
        if answer.status == 429 {
            answer.refused(429, "too-many-requests");
            slowed = true;
            break;
        }
    }
    assert!(slowed);
    for other in ["10.9.9.10:1", "127.0.0.1:1"] {
        assert_eq!(asked(other).await.status, 404);
    }
}

/// Requests in work at a time, as the hub allows them.
const CAPACITY: usize = 256;

/// A request whose body never comes, so that it stays in work. Counts up when the hub begins to wait for the body.
fn stuck(world: &World, in_work: &Arc<AtomicUsize>) -> axum::http::Request<Body> {
    let mut in_work = Some(Arc::clone(in_work));
    let body = stream::poll_fn(move |_| {
        if let Some(in_work) = in_work.take() {
            in_work.fetch_add(1, Ordering::SeqCst);
        }
        Poll::<Option<Result<Bytes, std::io::Error>>>::Pending
    });
    // Not a place that limits how often an address may come.
    world.post("/api/v1/records/message", json!({})).body(Body::from_stream(body)).build()
}

#[tokio::test]
async fn past_its_capacity_the_hub_says_so_at_once_but_stays_well() {
    let world = world().await;
    let in_work = Arc::new(AtomicUsize::new(0));
    let held: Vec<_> =
        (0..CAPACITY).map(|_| tokio::spawn(world.router.clone().oneshot(stuck(&world, &in_work)))).collect();
    // Nothing else is asked meanwhile: a request of ours would take the place of one that is to be held.
    until("every request is in work", || in_work.load(Ordering::SeqCst) == CAPACITY).await;
    let refused = world.get("/api/v1/setup").send().await;
    refused.refused(503, "busy");
    assert!(!refused.header("retry-after").is_empty());
    world.get("/api/health-check").send().await.ok();
    held.iter().for_each(tokio::task::JoinHandle::abort);
    for task in held {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    world.get("/api/v1/setup").send().await.ok();
}
