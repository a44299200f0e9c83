//! What a keeper sees of updates, models and packs, and what becomes of the buttons.

use cairn_web::{UpdateAsk, UpdatePackKind, UpdatePackName, UpdatePhase};

use crate::support::{LANGUAGES, World, check, fields, select, updates::plenty};

const PATH: &str = "/settings/updates";

#[tokio::test(flavor = "multi_thread")]
async fn every_state_of_updates_and_packs_is_told_in_every_language() {
    let mut world = World::new().await;
    let keeper = world.claim().await;
    let updates = world.updates(plenty());
    let viewer = world.viewer(&keeper).await;
    let person = viewer.person().expect("a keeper is somebody");
    for (language, direction) in LANGUAGES {
        let own = fields(&[("language", language.into())]);
        world.store.update(&viewer, person, own, None, None).await.unwrap();
        for phase in UpdatePhase::ALL {
            updates.status.lock().unwrap().phase = phase;
            let page = world.get(PATH, &[("cookie", &keeper)]).await;
            assert_eq!(page.status, 200, "{phase:?}");
            check(PATH, &page, language, direction);
            let packs = select(&page.html(), "section[aria-labelledby='updates-packs'] .part").len();
            assert_eq!(packs, plenty().packs.len(), "{language}");
        }
    }
    let own = fields(&[("language", "en".into())]);
    world.store.update(&viewer, person, own, None, None).await.unwrap();
    let page = world.get(PATH, &[("cookie", &keeper)]).await;
    for words in ["0.3.0", "it does not answer within 30 seconds", "First aid, 3rd edition", "gardening"] {
        assert!(page.body.contains(words), "{words}");
    }
    let coming = select(&page.html(), "section[aria-labelledby='updates-packs'] p")
        .iter()
        .any(|line| line.text().collect::<String>().contains("101") && line.inner_html().contains("404"));
    assert!(coming, "how much of a model has come");
    assert_ne!(world.get(PATH, &[]).await.status, 200, "that is for keepers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_chooses_a_pack_and_leaves_it() {
    let mut world = World::new().await;
    let keeper = world.claim().await;
    let updates = world.updates(plenty());
    for (action, kind, name) in [("choose", "content", "gardening"), ("leave", "model", "answers-small")] {
        let action = format!("{PATH}/{action}");
        let page = world.fill(PATH, &keeper, &action, &[("kind", kind), ("name", name)]).await;
        assert_eq!(page.location(), format!("{PATH}?done=asked"));
    }
    let wrong = [("kind", "weather"), ("name", "gardening")];
    assert_eq!(world.fill(PATH, &keeper, &format!("{PATH}/choose"), &wrong).await.status, 422);
    let pack = |kind, name: &str| UpdatePackName { kind, name: name.to_owned() };
    assert_eq!(
        *updates.asked.lock().unwrap(),
        [
            UpdateAsk::Choose(pack(UpdatePackKind::Content, "gardening")),
            UpdateAsk::Leave(pack(UpdatePackKind::Model, "answers-small")),
        ]
    );
}
