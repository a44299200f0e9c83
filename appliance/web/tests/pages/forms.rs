//! Forms work without scripts: opened, filled in, sent, and shown again where something is wrong.

use crate::support::{HOST, PASSWORD, World, filled};
use axum::{body::Body, http::Request};
use scraper::Selector;

fn has(answer: &crate::support::Answer, selector: &str) -> bool {
    answer.html().select(&Selector::parse(selector).unwrap()).next().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_comes_in_and_leaves() {
    let world = World::new().await;
    let wrong = [
        ("code", "WRONG234"),
        ("hub_name", "Hall"),
        ("name", "A"),
        ("login", "a.b"),
        ("password", PASSWORD),
        ("again", PASSWORD),
    ];
    let refused = world.fill("/first-run", "", "/first-run", &wrong).await;
    assert_eq!(refused.status, 422);
    assert!(has(&refused, "#code[aria-invalid=true]") && has(&refused, "#code-error"), "{}", refused.body);
    assert!(has(&refused, "#hub_name[value=Hall]"), "what was typed stays");
    assert!(!refused.body.contains(PASSWORD), "passwords are not sent back");

    let keeper = world.claim().await;
    let out = world.fill("/", &keeper, "/sign-out", &[]).await;
    assert_eq!(out.status, 303);
    assert!(!has(&world.get("/", &[("cookie", &keeper)]).await, "form[action='/sign-out']"));

    let refused =
        world.fill("/sign-in", "", "/sign-in", &[("login", "amina"), ("password", "something else")]).await;
    assert_eq!(refused.status, 401);
    assert!(has(&refused, "[role=alert]"));
    let back = world
        .fill("/sign-in?to=/library", "", "/sign-in", &[("login", "amina"), ("password", PASSWORD)])
        .await;
    assert_eq!((back.status, back.location()), (303, "/library"));
    let cookie = back.cookie("cairn_session").unwrap();
    assert!(has(&world.get("/", &[("cookie", &cookie)]).await, "form[action='/sign-out']"));
    let elsewhere = world
        .fill("/sign-in?to=//evil.example", "", "/sign-in", &[("login", "amina"), ("password", PASSWORD)])
        .await;
    assert_eq!(elsewhere.location(), "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_language_is_chosen_and_stays() {
    let world = World::new().await;
    let keeper = world.claim().await;
    let page = world.get("/", &[]).await;
    let mut pairs = filled(&page, "/language", &[]);
    pairs.push(("language".into(), "ar".into()));
    let chosen = world.post("/language", "", &pairs).await;
    let cookie = chosen.cookie("cairn_language").unwrap();
    assert!(has(&world.get("/", &[("cookie", &cookie)]).await, "html[lang=ar][dir=rtl]"));
    // Somebody with an account keeps it on every device.
    let saved = world.fill("/account", &keeper, "/account/language", &[("language", "fr")]).await;
    assert_eq!(saved.status, 303, "{}", saved.body);
    assert!(has(&world.get("/", &[("cookie", &keeper), ("accept-language", "es")]).await, "html[lang=fr]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_written_changed_and_deleted() {
    let world = World::new().await;
    let keeper = world.claim().await;
    let empty =
        world.fill("/notices/new", &keeper, "/notices", &[("title", " "), ("body", "kept text")]).await;
    assert_eq!(empty.status, 422);
    assert!(has(&empty, "#title-error") && empty.body.contains("kept text"));

    let made = world
        .fill(
            "/notices/new",
            &keeper,
            "/notices",
            &[("title", "Water"), ("level", "urgent"), ("pinned", "on")],
        )
        .await;
    let id = made.id();
    let home = world.get("/", &[]).await;
    assert!(has(&home, ".notice.urgent") && home.body.contains("Water"));

    let edit = format!("/notices/{id}/edit");
    let opened = world.get(&edit, &[("cookie", &keeper)]).await;
    let saved = world.fill(&edit, &keeper, &edit, &[("title", "Water until ten")]).await;
    assert_eq!(saved.status, 303, "{}", saved.body);
    // The same form, opened before that change, may not silently undo it.
    let stale = world.post(&edit, &keeper, &filled(&opened, &edit, &[("title", "Water until nine")])).await;
    assert_eq!(stale.status, 422);
    assert!(
        stale.body.contains("Water until ten") && has(&stale, "#title[value='Water until nine']"),
        "{}",
        stale.body
    );
    // Sent again by someone who has seen the other version, it is.
    let again = world.post(&edit, &keeper, &filled(&stale, &edit, &[])).await;
    assert_eq!(again.status, 303);
    let history = world.get(&format!("/records/{id}/history"), &[("cookie", &keeper)]).await;
    for version in ["Water until ten", "Water until nine"] {
        assert!(history.body.contains(version));
    }

    let gone = world.fill(&edit, &keeper, &format!("/notices/{id}/delete"), &[]).await;
    assert_eq!(gone.status, 303);
    assert_eq!(world.get(&format!("/notices/{id}"), &[]).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_sent_twice_has_one_effect() {
    let world = World::new().await;
    let keeper = world.claim().await;
    let page = world.get("/messages", &[("cookie", &keeper)]).await;
    let pairs = filled(&page, "/messages", &[("body", "only once")]);
    for _ in 0..3 {
        assert_eq!(world.post("/messages", &keeper, &pairs).await.status, 303);
    }
    let shown = world.get("/messages", &[("cookie", &keeper)]).await;
    assert_eq!(shown.body.matches("only once").count(), 1);

    // A queue in the browser names the change in a header instead, and wants JSON.
    for _ in 0..2 {
        let request = Request::post("/messages")
            .header("host", HOST)
            .header("cookie", &keeper)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("idempotency-key", "018f7f6a-0000-4000-8000-000000000001")
            .header("x-cairn-enhanced", "1")
            .body(Body::from("body=from+the+queue"))
            .unwrap();
        let answer = world.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&answer.body).unwrap()["to"], "/messages");
    }
    let shown = world.get("/messages", &[("cookie", &keeper)]).await;
    assert_eq!(shown.body.matches("from the queue").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assessment_is_built_answered_and_counted() {
    let world = World::new().await;
    let keeper = world.claim().await;
    let volunteer = world.join(&keeper, "volunteer", "Luis", "luis").await;
    let project = world.fill("/projects/new", &keeper, "/projects", &[("name", "North bank")]).await.id();
    let build = format!("/projects/{project}/assessments");
    let new = format!("{build}/new");
    let nothing = world.fill(&new, &keeper, &build, &[("title", "Houses")]).await;
    assert_eq!(nothing.status, 422, "an assessment without questions");

    let questions = [
        ("title", "Houses"),
        ("status", "open"),
        ("q0_text", "People?"),
        ("q0_type", "number"),
        ("q0_required", "on"),
        ("q2_text", "Roof?"),
        ("q2_type", "single"),
        ("q2_choices", "dry\r\nwet"),
    ];
    let assessment = world.fill(&new, &keeper, &build, &questions).await.id();
    let path = format!("/assessments/{assessment}");
    let missing = world.fill(&path, &volunteer, &path, &[("a_q1", "many"), ("place", "Mill Lane")]).await;
    assert_eq!(missing.status, 422);
    assert!(has(&missing, "#a_q1-error") && has(&missing, "#place[value='Mill Lane']"), "{}", missing.body);
    for (people, roof) in [("4", "wet"), ("2", "dry"), ("6", "wet")] {
        let sent = world
            .fill(&path, &volunteer, &path, &[("a_q1", people), ("a_q2", roof), ("place", "=1+1")])
            .await;
        assert_eq!(sent.status, 303, "{}", sent.body);
    }
    let results = world.get(&format!("{path}/results"), &[("cookie", &keeper)]).await;
    let html = results.html();
    let figures: String =
        html.select(&Selector::parse(".figure b").unwrap()).flat_map(|figure| figure.text()).collect();
    assert_eq!(figures, "426", "average, lowest, highest");
    let bars: Vec<_> = html
        .select(&Selector::parse(".bar rect").unwrap())
        .map(|bar| bar.value().attr("width").unwrap().to_owned())
        .collect();
    assert_eq!(bars, ["33.3", "66.7"]);
    let csv = world.get(&format!("{path}/results.csv"), &[("cookie", &keeper)]).await;
    assert_eq!(csv.body.lines().count(), 4);
    assert!(csv.body.contains(",6,wet,") && csv.body.contains("'=1+1"), "{}", csv.body);

    // Changed wording keeps the answers: they hang on the question's id.
    let edit = format!("{path}/edit");
    let saved = world.fill(&edit, &keeper, &edit, &[("q0_text", "How many people?")]).await;
    assert_eq!(saved.status, 303, "{}", saved.body);
    let results = world.get(&format!("{path}/results"), &[("cookie", &keeper)]).await;
    assert!(results.body.contains("How many people?") && has(&results, ".figure"));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_teams_and_settings_are_kept() {
    let world = World::new().await;
    let keeper = world.claim().await;
    let volunteer = world.join(&keeper, "volunteer", "Luis", "luis").await;
    let luis = world.viewer(&volunteer).await.person().unwrap();
    let edit = format!("/people/{luis}/edit");
    let saved = world
        .fill(&edit, &volunteer, &edit, &[("contact", "channel 5"), ("skills", "radio, first aid")])
        .await;
    assert_eq!(saved.status, 303, "{}", saved.body);
    assert!(world.get("/people", &[("cookie", &keeper)]).await.body.contains("channel 5"));
    // A volunteer cannot make a keeper of themselves by adding a field.
    let mut pairs = filled(&world.get(&edit, &[("cookie", &volunteer)]).await, &edit, &[]);
    pairs.push(("role".into(), "keeper".into()));
    world.post(&edit, &volunteer, &pairs).await;
    assert_eq!(world.viewer(&volunteer).await.role(), cairn_sync::Role::Volunteer);

    let team = world
        .fill("/teams/new", &keeper, "/teams", &[("name", "Night watch"), ("people", &luis.to_string())])
        .await
        .id();
    assert!(world.get(&format!("/teams/{team}"), &[("cookie", &volunteer)]).await.body.contains("Luis"));

    let bad =
        world.fill("/settings", &keeper, "/settings", &[("inference", "cloud"), ("cloud_url", "")]).await;
    assert_eq!(bad.status, 422);
    assert!(has(&bad, "#cloud_url-error"));
    let cloud = [
        ("hub_name", "Mill"),
        ("open_sign_up", "on"),
        ("inference", "auto"),
        ("cloud_url", "https://a.example/v1"),
        ("cloud_model", "m"),
        ("cloud_key", "sk-very-secret"),
    ];
    assert_eq!(world.fill("/settings", &keeper, "/settings", &cloud).await.status, 303);
    let shown = world.get("/settings", &[("cookie", &keeper)]).await;
    assert!(has(&shown, "#hub_name[value=Mill]") && !shown.body.contains("sk-very-secret"));
    // Another address does not inherit the key.
    assert_eq!(
        world.fill("/settings", &keeper, "/settings", &[("cloud_url", "https://b.example/v1")]).await.status,
        303
    );
    assert!(world.store.settings().await.unwrap().cloud.unwrap().key.is_empty());
    assert!(world.get("/ask", &[]).await.body.contains("a service on the internet"));
    assert_eq!(world.get("/settings", &[("cookie", &volunteer)]).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_a_readable_page() {
    let world = World::new().await;
    let keeper = world.claim().await;
    let missing =
        world.get("/notices/018f7f6a-0000-7000-8000-000000000001", &[("accept-language", "fr")]).await;
    assert_eq!(missing.status, 404);
    assert!(has(&missing, "html[lang=fr] h1"));
    let sign_in = world.get("/account", &[]).await;
    assert_eq!(sign_in.status, 401);
    assert!(has(&sign_in, "a[href='/sign-in?to=/account']"), "{}", sign_in.body);
    // A form from another session is refused, in words.
    let pairs = [("_csrf".to_owned(), "made up".to_owned()), ("body".to_owned(), "hello".to_owned())];
    let forged = world.post("/messages", &keeper, &pairs).await;
    assert_eq!(forged.status, 403);
    assert!(has(&forged, "a[href='/']"));
}
