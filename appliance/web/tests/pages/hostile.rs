//! What people write is shown and never run, wherever it is shown.

use crate::support::{World, encoded, fields, filled};
use cairn_sync::{Kind, Value};
use scraper::Selector;

const PAYLOADS: [&str; 9] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "[a](javascript:alert(1)) ![b](http://evil.example/p.png)",
    "<svg/onload=alert(1)>",
    "{{7*7}} ${7*7} <%= 7*7 %>",
    "\u{202e}abc <a href=javascript:alert(1)>x</a>",
];

fn inert(path: &str, body: &str) {
    let html = scraper::Html::parse_document(body);
    let all = Selector::parse("*").unwrap();
    for element in html.select(&all) {
        let value = element.value();
        let own_script = value.attr("src").is_some_and(|src| src.starts_with("/assets/"));
        assert!(value.name() != "script" || own_script, "{path}: {}", element.html());
        assert!(
            !matches!(value.name(), "img" | "iframe" | "object" | "embed" | "base"),
            "{path}: {}",
            element.html()
        );
        for (name, text) in value.attrs() {
            assert!(!name.starts_with("on"), "{path}: {}", element.html());
            if matches!(name, "href" | "src" | "action" | "formaction") {
                let text = text.trim().to_lowercase();
                let harmless = text.starts_with('/') && !text.starts_with("//") || text.starts_with('#');
                assert!(harmless, "{path}: {name}={text}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_in_every_text_of_every_record_are_inert() {
    let world = World::new().await;
    let keeper = world.claim().await;
    let viewer = world.viewer(&keeper).await;
    for payload in PAYLOADS {
        let create = async |kind, project, pairs: &[(&str, Value)]| {
            world.store.create(&viewer, kind, project, fields(pairs), None).await.unwrap().id
        };
        let text = Value::from(payload);
        let notice = create(
            Kind::Notice,
            None,
            &[("title", text.clone()), ("body", text.clone()), ("level", "urgent".into())],
        )
        .await;
        let document = world.document(&keeper, payload, &[(payload, payload)]).await;
        let changed = fields(&[
            ("description", text.clone()),
            ("source", text.clone()),
            ("file_name", text.clone()),
            ("tags", Value::Set([payload.to_owned()].into())),
        ]);
        world.store.update(&viewer, document, changed, None, None).await.unwrap();
        let project = create(
            Kind::Project,
            None,
            &[
                ("name", text.clone()),
                ("description", text.clone()),
                ("status", "active".into()),
                ("open", true.into()),
            ],
        )
        .await;
        let questions = serde_json::json!([
            { "id": "q1", "text": payload, "hint": payload, "type": "single", "choices": [payload, "b"] },
            { "id": "q2", "text": payload, "type": "short" },
        ]);
        let assessment = create(
            Kind::Assessment,
            Some(project),
            &[
                ("title", text.clone()),
                ("description", text.clone()),
                ("questions", Value::Json(questions)),
                ("status", "open".into()),
            ],
        )
        .await;
        let answers = serde_json::json!({ "q1": payload, "q2": payload });
        create(
            Kind::Response,
            Some(project),
            &[
                ("assessment", assessment.to_string().into()),
                ("answers", Value::Json(answers)),
                ("place", text.clone()),
            ],
        )
        .await;
        create(Kind::Message, None, &[("body", text.clone())]).await;
        create(Kind::Message, Some(project), &[("body", text.clone())]).await;
        let team = create(Kind::Team, None, &[("name", text.clone()), ("description", text.clone())]).await;
        let person = viewer.person().unwrap();
        let about = fields(&[
            ("name", text.clone()),
            ("contact", text.clone()),
            ("skills", Value::Set([payload.to_owned()].into())),
        ]);
        world.store.update(&viewer, person, about, None, None).await.unwrap();
        let query = encoded(payload);
        for path in [
            "/".to_owned(),
            "/notices".to_owned(),
            format!("/notices/{notice}"),
            format!("/notices/{notice}/edit"),
            format!("/records/{notice}/history"),
            "/library".to_owned(),
            format!("/library?tag={query}&q={query}"),
            format!("/library/{document}"),
            format!("/library/{document}/edit"),
            format!("/search?q={query}"),
            format!("/ask?q={query}"),
            format!("/ask?q={query}&write=1"),
            "/projects".to_owned(),
            format!("/projects/{project}"),
            format!("/projects/{project}/edit"),
            format!("/projects/{project}/people"),
            format!("/projects/{project}/messages"),
            format!("/assessments/{assessment}"),
            format!("/assessments/{assessment}/edit"),
            format!("/assessments/{assessment}/results"),
            format!("/records/{assessment}/history"),
            "/messages".to_owned(),
            "/people".to_owned(),
            format!("/people/{person}"),
            format!("/teams/{team}"),
            "/account".to_owned(),
            format!("/sign-in?to={query}"),
            format!("/?done={query}"),
            format!("/notices?after={query}"),
        ] {
            let answer = world.get(&path, &[("cookie", &keeper)]).await;
            assert!(answer.status < 500, "{path}: {}", answer.status);
            inert(&path, &answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_in_a_form_that_comes_back_is_inert() {
    let world = World::new().await;
    let keeper = world.claim().await;
    for payload in PAYLOADS {
        let back = world
            .fill(
                "/notices/new",
                &keeper,
                "/notices",
                &[("title", ""), ("body", payload), ("level", payload)],
            )
            .await;
        assert_eq!(back.status, 422);
        inert("/notices", &back.body);
        let back = world.fill("/sign-in", "", "/sign-in", &[("login", payload), ("password", payload)]).await;
        inert("/sign-in", &back.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_utf8_in_a_form_is_kept_as_far_as_it_is_text() {
    let world = World::new().await;
    let keeper = world.claim().await;
    // A lead byte without its tail and a cut-off end as a browser would send them, and raw as none does.
    for broken in [&b"%C3%28"[..], b"%F0%9F", b"\xc3("] {
        // Opened anew: a form that is sent twice counts once.
        let opened = world.get("/notices/new", &[("cookie", &keeper)]).await;
        let values = [("title", "Keep BROKEN this"), ("body", "The rest BROKEN stays."), ("level", "info")];
        let pairs = filled(&opened, "/notices", &values);
        let whole: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        let mut body = Vec::new();
        for (n, piece) in whole.join("&").split("BROKEN").enumerate() {
            if n > 0 {
                body.extend_from_slice(broken);
            }
            body.extend_from_slice(piece.as_bytes());
        }
        let request = axum::http::Request::post("/notices")
            .header("host", crate::support::HOST)
            .header("accept", "text/html")
            .header("cookie", &keeper)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(axum::body::Body::from(body))
            .unwrap();
        let answer = world.send(request).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        let page = world.get(answer.location(), &[("cookie", &keeper)]).await;
        assert_eq!(page.status, 200);
        for kept in ["Keep \u{fffd}", " this", "The rest \u{fffd}", " stays."] {
            assert!(page.body.contains(kept), "{kept:?} of {broken:?} is gone");
        }
    }
    // Where no text can be made of it, a page says so.
    for path in ["/notices/%FF", "/search?q=%FF", "/library?tag=%C3%28", "/%C3%28"] {
        let page = world.get(path, &[("cookie", &keeper)]).await;
        assert!(page.status < 500 && page.body.contains("<main"), "{path}: {} {}", page.status, page.body);
    }
}
