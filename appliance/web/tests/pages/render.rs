//! Every page, for everyone, in every language: it renders, is well formed, is fully translated and carries
//! what every page must carry.

use crate::support::{LANGUAGES, World, check, encoded, fields, select};
use cairn_sync::{Kind, RecordId, Value};
use cairn_web::Connectivity;

struct Sample {
    notice: RecordId,
    document: RecordId,
    project: RecordId,
    assessment: RecordId,
    person: RecordId,
    team: RecordId,
}

async fn sample(world: &World, keeper: &str) -> Sample {
    let viewer = world.viewer(keeper).await;
    let create = async |kind, project, pairs: &[(&str, Value)]| {
        world.store.create(&viewer, kind, project, fields(pairs), None).await.unwrap().id
    };
    let notice = create(
        Kind::Notice,
        None,
        &[
            ("title", "Water from 8 to 10".into()),
            ("body", "Bring **clean** containers.\n\n- two each".into()),
            ("level", "warning".into()),
            ("pinned", true.into()),
        ],
    )
    .await;
    let document = world
        .document(
            keeper,
            "Safe drinking water",
            &[
                ("Boiling", "Bring the water to a rolling boil and keep it boiling for one minute."),
                ("Bleach", "Two drops of plain bleach for each litre of clear water."),
            ],
        )
        .await;
    let project = create(
        Kind::Project,
        None,
        &[
            ("name", "North bank".into()),
            ("description", "Look after the north bank.".into()),
            ("status", "active".into()),
            ("open", true.into()),
        ],
    )
    .await;
    let questions = serde_json::json!([
        { "id": "q1", "text": "How many people live here?", "type": "number", "required": true },
        { "id": "q2", "text": "Roof?", "type": "single", "choices": ["dry", "wet"] },
        { "id": "q3", "text": "What is missing?", "type": "several", "choices": ["food", "light"] },
        { "id": "q4", "text": "Power?", "type": "yes_no" },
        { "id": "q5", "text": "Since when?", "type": "date" },
        { "id": "q6", "text": "Street", "type": "short" },
        { "id": "q7", "text": "Anything", "type": "long", "hint": "In your words" },
    ]);
    let assessment = create(
        Kind::Assessment,
        Some(project),
        &[("title", "Houses".into()), ("questions", Value::Json(questions)), ("status", "open".into())],
    )
    .await;
    let answers = serde_json::json!({ "q1": 4, "q2": "wet", "q3": ["light"], "q4": false });
    create(
        Kind::Response,
        Some(project),
        &[("assessment", assessment.to_string().into()), ("answers", Value::Json(answers))],
    )
    .await;
    create(Kind::Message, None, &[("body", "Good morning".into())]).await;
    create(Kind::Message, Some(project), &[("body", "I am at the bridge".into())]).await;
    let person = viewer.person().unwrap();
    let team = create(
        Kind::Team,
        None,
        &[("name", "Night watch".into()), ("people", Value::Set([person.to_string()].into()))],
    )
    .await;
    Sample { notice, document, project, assessment, person, team }
}

/// Paths, and whether an anonymous reader, a volunteer and a keeper may open them.
fn pages(sample: &Sample) -> Vec<(String, [bool; 3])> {
    let Sample { notice, document, project, assessment, person, team } = sample;
    let all = [true, true, true];
    let members = [false, true, true];
    let keepers = [false, false, true];
    vec![
        ("/".into(), all),
        ("/sign-in".into(), all),
        ("/sign-up".into(), all),
        ("/notices".into(), all),
        (format!("/notices/{notice}"), all),
        (format!("/notices/{notice}/edit"), keepers),
        ("/notices/new".into(), members),
        ("/library".into(), all),
        ("/library?tag=water".into(), all),
        (format!("/library/{document}"), all),
        (format!("/library/{document}/edit"), keepers),
        ("/search".into(), all),
        ("/search?q=boil+water".into(), all),
        ("/search?q=zzzzqqqq".into(), all),
        ("/ask".into(), all),
        ("/ask?q=water+rolling+boil+one+minute".into(), all),
        ("/ask?q=zzzzqqqq".into(), all),
        ("/projects".into(), all),
        ("/projects/new".into(), members),
        (format!("/projects/{project}"), all),
        (format!("/projects/{project}/edit"), keepers),
        (format!("/projects/{project}/documents"), all),
        (format!("/projects/{project}/messages"), all),
        (format!("/projects/{project}/people"), all),
        (format!("/projects/{project}/assessments/new"), keepers),
        (format!("/assessments/{assessment}"), all),
        (format!("/assessments/{assessment}/edit"), keepers),
        ("/messages".into(), all),
        ("/people".into(), all),
        (format!("/people/{person}"), members),
        (format!("/teams/{team}"), members),
        ("/teams/new".into(), members),
        (format!("/assessments/{assessment}/results"), all),
        (format!("/records/{notice}/history"), all),
        ("/status".into(), all),
        ("/sync".into(), all),
        ("/conflicts".into(), all),
        (format!("/records/{notice}/conflicts"), all),
        ("/account".into(), members),
        ("/invitations".into(), keepers),
        ("/settings".into(), keepers),
        ("/settings/device".into(), keepers),
        ("/nowhere".into(), [false, false, false]),
        (format!("/notices/{project}"), [false, false, false]),
        ("/notices/not-an-id".into(), [false, false, false]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_renders_for_everyone_in_every_language() {
    let world = World::new().await;
    let keeper = world.claim().await;
    let volunteer = world.join(&keeper, "volunteer", "Luis", "luis").await;
    let sample = sample(&world, &keeper).await;
    let readers = ["", volunteer.as_str(), keeper.as_str()];
    for (path, allowed) in pages(&sample) {
        for (reader, allowed) in readers.iter().zip(allowed) {
            let languages = if *reader == keeper { &LANGUAGES[..1] } else { &LANGUAGES[..] };
            for (language, direction) in languages {
                let cookie = format!("{reader}; cairn_language={language}");
                // A person's own language comes before the cookie's; the volunteer has chosen none but "en".
                let (language, direction) =
                    if reader.is_empty() { (*language, *direction) } else { ("en", "ltr") };
                let answer = world.get(&path, &[("cookie", &cookie)]).await;
                if allowed {
                    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                } else {
                    assert!((400..500).contains(&answer.status), "{path} gave {}", answer.status);
                }
                check(&path, &answer, language, direction);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_hub_leads_to_its_first_run() {
    let world = World::new().await;
    assert_eq!(world.get("/", &[]).await.location(), "/first-run");
    for (language, direction) in LANGUAGES {
        let answer = world.get("/first-run", &[("accept-language", language)]).await;
        assert_eq!(answer.status, 200);
        check("/first-run", &answer, language, direction);
    }
    world.claim().await;
    assert_eq!(world.get("/first-run", &[]).await.location(), "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_stands_on_every_page() {
    use cairn_library::extract::ExtractorCommand;
    let extractor = ExtractorCommand::new("/nonexistent", ["extract"]);
    for (state, class) in [(Connectivity::Offline, "offline"), (Connectivity::Recovering, "recovering")] {
        let world = World::with(state, extractor.clone(), std::time::Duration::ZERO, 8080).await;
        world.claim().await;
        for path in ["/", "/library", "/ask?q=water", "/status", "/sign-in", "/nowhere"] {
            let answer = world.get(path, &[]).await;
            let html = answer.html();
            assert_eq!(select(&html, &format!(".banner.{class}")).len(), 1, "{path}");
            assert!(!select(&html, &format!(".dot.{class}")).is_empty(), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_is_light() {
    const MOST: usize = 50_000;
    let world = World::new().await;
    let keeper = world.claim().await;
    sample(&world, &keeper).await;
    let mut total = 0;
    let home = world.get("/", &[("cookie", &keeper)]).await;
    let html = home.html();
    let mut paths: Vec<String> = vec!["/".into()];
    for (selector, attribute) in [("link[rel=stylesheet], link[rel=icon]", "href"), ("script[src]", "src")] {
        paths.extend(select(&html, selector).iter().map(|e| e.value().attr(attribute).unwrap().to_owned()));
    }
    paths.push(
        select(&html, "use")
            .first()
            .unwrap()
            .value()
            .attr("href")
            .unwrap()
            .split('#')
            .next()
            .unwrap()
            .to_owned(),
    );
    paths.push(html.root_element().value().attr("data-texts").unwrap().to_owned());
    // Modules that every page loads, found as a browser finds them.
    let mut at = 0;
    while at < paths.len() {
        let path = paths[at].clone();
        let plain = world.get(&path, &[("cookie", &keeper)]).await;
        assert_eq!(plain.status, 200, "{path}");
        for line in plain.body.lines().filter(|line| line.starts_with("import ") && path.ends_with(".js")) {
            let name = line.split("\"./").nth(1).unwrap().split('"').next().unwrap();
            let found = format!("/assets/{name}");
            if !paths.contains(&found) {
                paths.push(found);
            }
        }
        let request = axum::http::Request::get(&path)
            .header("host", crate::support::HOST)
            .header("cookie", &keeper)
            .header("accept-encoding", "gzip")
            .body(axum::body::Body::empty())
            .unwrap();
        let response = tower::ServiceExt::oneshot(world.router.clone(), request).await.unwrap();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().len();
        println!("{bytes:>7} {path}");
        total += bytes + 400; // Headers, rounded up.
        at += 1;
    }
    println!("{total:>7} in {} requests", paths.len());
    assert!(total < MOST, "the first page takes {total} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_files_may_be_kept_for_a_year() {
    let world = World::new().await;
    let page = world.get("/first-run", &[]).await;
    let html = page.html();
    let style = select(&html, "link[rel=stylesheet]")[0].value().attr("href").unwrap().to_owned();
    let answer = world.get(&style, &[]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.headers["cache-control"].to_str().unwrap().contains("immutable"));
    assert_eq!(world.get("/assets/cairn.0000000000.css", &[]).await.status, 404);
    assert!(world.get("/sw.js", &[]).await.body.contains(&style));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_reads_whole_without_scripts() {
    let world = World::new().await;
    let keeper = world.claim().await;
    sample(&world, &keeper).await;
    let question = encoded("water rolling boil one minute");
    let answer = world.get(&format!("/ask?q={question}&write=1"), &[]).await;
    assert_eq!(answer.status, 200);
    let html = answer.html();
    assert!(!select(&html, "[data-text] a.cite[href='#passage-1']").is_empty(), "{}", answer.body);
    assert!(!select(&html, "#passage-1").is_empty());
    assert!(
        !select(&html, "[data-text] .unsupported").is_empty(),
        "the sentence about metals is not supported"
    );
    check("/ask written", &answer, "en", "ltr");
}
