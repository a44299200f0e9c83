//! Serves the pages on 127.0.0.1 with a temporary store and sample content, to look at them while working on them.
//!
//! `cargo run -p cairn-web --example preview -- [PORT]` prints the address, and sign-in names to try. Answers come from a
//! fixed text; everything else is the real thing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../tests/pages/support/mod.rs"]
mod support;

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use cairn_library::extract::{ExtractorCommand, child_main};
use cairn_sync::{Kind, RecordId, Value};
use cairn_web::{Connectivity, Peer};
use support::{PASSWORD, World, fields};

const DAY_MS: i64 = 86_400_000;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("extract") {
        return child_main();
    }
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(8080);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(serve(port));
    ExitCode::SUCCESS
}

async fn serve(port: u16) {
    let state = match std::env::var("PREVIEW_STATE").as_deref() {
        Ok("offline") => Connectivity::Offline,
        Ok("recovering") => Connectivity::Recovering,
        _ => Connectivity::Local,
    };
    let extractor = ExtractorCommand::new("/proc/self/exe", ["extract"]);
    let mut world = World::with(state, extractor, Duration::from_millis(60), port).await;
    if std::env::var_os("PREVIEW_EMPTY").is_none() {
        world.updates(support::updates::plenty());
        let keeper = world.claim().await;
        let volunteer = world.join(&keeper, "volunteer", "Luis Ortega", "luis").await;
        let guest = world.join(&keeper, "guest", "Sami Qasim", "sami").await;
        fill(&world, &keeper, &volunteer).await;
        println!("sign in as amina (keeper), luis (volunteer) or sami (guest), password: {PASSWORD}");
        println!("keeper {keeper}\nvolunteer {volunteer}\nguest {guest}");
    }
    let listener =
        tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await.expect("a free port");
    println!("http://{}", listener.local_addr().expect("an address"));
    let service = world.router.clone().into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).await.expect("serving");
}

async fn fill(world: &World, keeper: &str, volunteer: &str) {
    let keeper = world.viewer(keeper).await;
    let volunteer = world.viewer(volunteer).await;
    let create =
        async |who: &cairn_store::Viewer, kind, project: Option<RecordId>, pairs: &[(&str, Value)]| {
            world.store.create(who, kind, project, fields(pairs), None).await.expect("a record").id
        };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_millis()
        as i64;
    create(
        &volunteer,
        Kind::Notice,
        None,
        &[
            ("title", "Bread and soup tonight from six".into()),
            ("body", "In the big kitchen. If you can **bring a pot**, we can cook for more people.".into()),
            ("level", "info".into()),
            ("expires_at", Value::Int(now + 2 * DAY_MS)),
        ],
    )
    .await;
    create(&keeper, Kind::Notice, None, &[
        ("title", "Tap water: boil before drinking".into()),
        ("body", "The pump house was flooded. Until further notice:\n\n- boil all drinking water for one minute\n- or fetch clean water at the hall, **8 to 10** and **16 to 18**\n\nAsk here how to treat water without power.".into()),
        ("level", "urgent".into()),
        ("pinned", true.into()),
    ]).await;
    create(
        &volunteer,
        Kind::Notice,
        None,
        &[
            ("title", "Bridge at Mill Lane closed to cars".into()),
            ("body", "People on foot may pass on the north side.".into()),
            ("level", "warning".into()),
        ],
    )
    .await;
    for (path, tags) in [
        ("radio-and-messages", "radio"),
        ("shelter", "shelter"),
        ("first-aid", "health, first aid"),
        ("agua-segura", "agua"),
        ("salamat-al-miyah", "ماء"),
        ("food-without-power", "food"),
        ("power-cuts", "power"),
        ("safe-drinking-water", "water, health"),
    ] {
        let file = format!("{}/../library/sample/{path}.md", env!("CARGO_MANIFEST_DIR"));
        let Ok(content) = std::fs::read(&file) else { continue };
        let title = String::from_utf8_lossy(&content)
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("# ")
            .to_owned();
        let mut blob = world.store.blob_writer(1 << 22).expect("a file");
        blob.write(&content).expect("a file");
        let blob = blob.finish().expect("a file");
        let document = create(
            &volunteer,
            Kind::Document,
            None,
            &[
                ("title", title.into()),
                ("file", blob.to_string().into()),
                ("file_name", format!("{path}.md").into()),
                ("media_type", "text/markdown".into()),
                ("size", Value::Int(content.len() as i64)),
                ("tags", Value::Set(tags.split(", ").map(str::to_owned).collect())),
                ("source", "Sample library".into()),
            ],
        )
        .await;
        if let Err(error) = world.hub.library.index_now(document).await {
            eprintln!("{path}: {error}");
        }
    }
    let project = create(&keeper, Kind::Project, None, &[
        ("name", "North bank: house visits".into()),
        ("description", "We visit every house on the north bank **before Saturday**, see who needs what, and come back with it.".into()),
        ("status", "active".into()),
        ("open", true.into()),
    ]).await;
    create(
        &keeper,
        Kind::Project,
        None,
        &[
            ("name", "Kitchen".into()),
            ("description", "Two hot meals a day for whoever comes.".into()),
            ("status", "active".into()),
            ("open", true.into()),
        ],
    )
    .await;
    create(
        &keeper,
        Kind::Project,
        None,
        &[("name", "Sandbags".into()), ("status", "done".into()), ("open", true.into())],
    )
    .await;
    let luis = volunteer.person().expect("a person");
    create(
        &keeper,
        Kind::Membership,
        Some(project),
        &[("person", luis.to_string().into()), ("role", "editor".into())],
    )
    .await;
    let questions = serde_json::json!([
        { "id": "q1", "text": "How many people live here?", "type": "number", "required": true },
        { "id": "q2", "text": "State of the roof", "type": "single", "choices": ["dry", "leaking", "open"], "required": true },
        { "id": "q3", "text": "What is missing?", "type": "several", "choices": ["drinking water", "food", "medicine", "blankets", "light"] },
        { "id": "q4", "text": "Is there power?", "type": "yes_no" },
        { "id": "q5", "text": "Anything we should know", "type": "long", "hint": "Steps, dogs, someone who cannot hear the door" },
    ]);
    let assessment = create(
        &volunteer,
        Kind::Assessment,
        Some(project),
        &[
            ("title", "House visit".into()),
            ("description", "One for each household. It takes two minutes.".into()),
            ("questions", Value::Json(questions)),
            ("status", "open".into()),
        ],
    )
    .await;
    for (people, roof, missing, power) in [
        (4, "dry", vec!["drinking water"], true),
        (2, "leaking", vec!["medicine", "blankets"], false),
        (5, "dry", vec!["drinking water", "food"], false),
        (1, "open", vec!["blankets", "light", "drinking water"], false),
    ] {
        let answers =
            serde_json::json!({ "q1": people, "q2": roof, "q3": missing, "q4": power, "q5": "Knock loudly" });
        create(
            &volunteer,
            Kind::Response,
            Some(project),
            &[
                ("assessment", assessment.to_string().into()),
                ("answers", Value::Json(answers)),
                ("place", "Mill Lane".into()),
            ],
        )
        .await;
    }
    for (who, text) in [
        (&volunteer, "Good morning. I am at the pump house with two others."),
        (&keeper, "Thank you. Does the generator run?"),
        (&volunteer, "It does, fuel for about **six hours**. We need 20 litres of diesel."),
        (&keeper, "Sent with the blue van, it should be there at eleven."),
    ] {
        create(who, Kind::Message, None, &[("body", text.into())]).await;
        create(who, Kind::Message, Some(project), &[("body", text.into())]).await;
    }
    create(
        &keeper,
        Kind::Team,
        None,
        &[("name", "Night watch".into()), ("people", Value::Set([luis.to_string()].into()))],
    )
    .await;
    let about = fields(&[
        ("contact", "Radio channel 5".into()),
        ("skills", Value::Set(["first aid".to_owned(), "driving".to_owned()].into())),
    ]);
    world.store.update(&volunteer, luis, about, None, None).await.expect("a profile");
}
