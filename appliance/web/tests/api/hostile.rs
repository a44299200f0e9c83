//! Malformed everything: whatever is sent, the answer is a problem in words, and never a fault of ours.

use serde_json::json;

use crate::support::{Answer, world};

fn is_our_refusal(what: &str, answer: &Answer) {
    assert!(
        (400..500).contains(&answer.status),
        "{what}: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    let problem = answer.json();
    let slug = problem["type"].as_str().unwrap().to_owned();
    answer.refused(answer.status, slug.strip_prefix("urn:cairn:problem:").unwrap());
}

#[tokio::test]
async fn malformed_bodies_are_refused_in_words_on_every_route_that_takes_one() {
    let world = world().await;
    let keeper = world.keeper().await;
    let routes = [
        ("POST", "/api/v1/session"),
        ("POST", "/api/v1/setup/claim"),
        ("POST", "/api/v1/accounts"),
        ("PUT", "/api/v1/accounts/me/password"),
        ("POST", "/api/v1/records/notice"),
        ("PATCH", "/api/v1/records/notice/0192d3b4-0000-7000-8000-000000000000"),
        ("POST", "/api/v1/ask"),
        ("POST", "/api/v1/presence"),
        ("PATCH", "/api/v1/settings"),
        ("POST", "/api/v1/invitations"),
        ("POST", "/api/v1/tokens"),
        ("POST", "/api/v1/backup"),
    ];
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{\"a\":1e999}",
        b"\xff\xfe\x00",
        b"\"\\ud800\"",
        deep.as_bytes(),
        b"{\"fields\":{\"title\":{\"$gt\":\"\"}},\"text\":[],\"login\":{},\"role\":7,\"name\":false}",
    ];
    for (method, path) in routes {
        for body in bodies {
            let what = format!("{method} {path} {:?}", String::from_utf8_lossy(&body[..body.len().min(30)]));
            let call = world
                .call(method, path)
                .session(&keeper)
                .header("content-type", "application/json")
                .body(body.to_vec());
            is_our_refusal(&what, &call.send().await);
        }
        let other = world
            .call(method, path)
            .session(&keeper)
            .header("content-type", "text/plain")
            .body("{}")
            .send()
            .await;
        assert_eq!(other.refused(415, "unsupported-media-type")["status"], 415, "{path}");
    }
}

#[tokio::test]
async fn malformed_addresses_queries_and_headers_are_refused_in_words() {
    let world = world().await;
    let keeper = world.keeper().await;
    for path in [
        "/api/v1/records/notice?limit=99999999999",
        "/api/v1/records/notice?order=%00",
        "/api/v1/records/%FF",
        "/api/v1/records/notice?is.level=%FF%FE",
        "/api/v1/records/notice?after=AAAA",
        "/api/v1/records/notice/..%2f..",
        "/api/v1/search",
        "/api/v1/search?q=a&mode=magic",
        "/api/v1/search?q=a&limit=-1",
        "/api/v1/passages/x",
        "/api/v1/passages/99999999999999999999",
        "/api/v1/passages/9",
        "/api/v1/files/x",
        "/api/v1/events?at=x",
        "/api/v1/presence?at=",
        "/api/v1/nothing",
        "/api/v1/records/notice/0192d3b4-0000-7000-8000-000000000000/history",
        "/api/v1/files/0192d3b4-0000-7000-8000-000000000000?download=2&x=1",
    ] {
        is_our_refusal(path, &world.get(path).session(&keeper).send().await);
    }
    for path in ["/api/v1/tokens/9223372036854775808", "/api/v1/invitations/-1", "/api/v1/tokens/x"] {
        is_our_refusal(path, &world.call("DELETE", path).session(&keeper).send().await);
    }
    let many = (0..100).map(|n| format!("is.level=info&x{n}=1&")).collect::<String>();
    is_our_refusal("many", &world.get(&format!("/api/v1/records/notice?{many}")).send().await);
    for (name, value) in [
        ("authorization", "Bearer"),
        ("authorization", "Basic YTpi"),
        ("authorization", "Bearer x"),
        ("authorization", "Bearer \u{e9}"),
    ] {
        is_our_refusal(value, &world.get("/api/v1/session").header(name, value).send().await);
    }
    for (name, value) in [
        ("cookie", "cairn_session=\u{e9}; ;;;=;"),
        ("range", "bytes=x"),
        ("last-event-id", "x"),
        ("accept", ";;;"),
    ] {
        world.get("/api/v1/session").header(name, value).send().await.ok();
    }
    is_our_refusal("method", &world.call("DELETE", "/api/v1/search").send().await);
    is_our_refusal("method", &world.call("BREW", "/api/v1/search").send().await);
}

#[tokio::test]
async fn words_for_the_search_are_words_and_nothing_else() {
    let world = world().await;
    let keeper = world.keeper().await;
    world.document(&keeper, None, "Water", "Boil the water for one minute.").await;
    for q in [
        "%22",
        "a%22b",
        "NEAR(",
        "*",
        "AND%20OR%20NOT",
        "title%3Ax",
        "%00",
        "water%27--",
        "%F0%9F%92%A7",
        "(((((",
        "^",
        "",
    ] {
        let answer = world.get(&format!("/api/v1/search?q={q}")).send().await;
        assert!(
            answer.status == 200 || answer.status == 422,
            "{q}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
    }
    let long = "water%20".repeat(2000);
    let answer = world.get(&format!("/api/v1/search?q={long}")).send().await.ok();
    assert_eq!(answer.json()["hits"].as_array().unwrap().len(), 1);
    world.post("/api/v1/ask", json!({"text": "  "})).send().await.refused(422, "invalid");
}
