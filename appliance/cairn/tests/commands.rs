//! The commands for whoever sits at the device, on a running hub and without one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::type_complexity,
    reason = "a test program: what is wrong must stop it"
)]

mod running;

use std::fs;

use cairn_inference::{
    Family,
    gguf::TensorType,
    synthetic::{self, Shape},
};
use running::{Hub, cairn, folder, path_in, until};
use serde_json::Value;

#[tokio::test]
async fn without_a_hub_commands_say_so_and_what_to_do() {
    let folder = folder();
    for words in [&["ask", "why?"][..], &["health"], &["models", "list"], &["search", "water"]] {
        let output = cairn(words).arg("--data").arg(folder.path()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{words:?}: {errors}");
        assert!(errors.contains("no hub is running") && errors.contains("cairn run"), "{errors}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "asking leaves nothing behind");
}

#[tokio::test]
async fn documents_are_added_found_and_asked() {
    let hub = Hub::start().await;
    let shelf = folder();
    fs::create_dir(shelf.path().join("health")).unwrap();
    fs::write(
        shelf.path().join("health/safe_water.md"),
        "# Water\n\nBoil water for one minute to make it safe.\n",
    )
    .unwrap();
    fs::write(shelf.path().join("notes.txt"), "The generator needs oil every hundred hours.\n").unwrap();
    fs::write(shelf.path().join("broken.pdf"), "%PDF-1.7\nand then nothing of the kind").unwrap();
    let told = hub.told(&["library", "add", shelf.path().to_str().unwrap()]).await;
    assert!(told.contains("+ safe water") && told.contains("3 of 3 documents added"), "{told}");
    assert!(told.contains("! broken"), "{told}");

    let hits: Value = serde_json::from_str(&hub.told(&["search", "boil", "water", "--json"]).await).unwrap();
    assert_eq!(hits[0]["title"], "safe water", "{hits}");
    let steps = hub.told(&["ask", "How long must water boil?", "--json"]).await;
    let first: Value = serde_json::from_str(steps.lines().next().unwrap()).unwrap();
    assert_eq!(first["passages"]["hits"][0]["title"], "safe water", "{steps}");
}

#[tokio::test]
async fn a_file_that_is_no_model_is_refused_and_nothing_changes() {
    let hub = Hub::start().await;
    let (path, text) = path_in(hub.folder.path(), "bad.gguf");
    fs::write(&path, b"GGUF\x03\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff").unwrap();
    let output = hub.command(&["models", "add", &text]).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{errors}");
    assert!(errors.contains("bad.gguf") && errors.contains("Nothing was changed"), "{errors}");
    let models: Vec<_> = fs::read_dir(hub.folder.path().join("models")).unwrap().flatten().collect();
    assert!(models.iter().all(|entry| entry.path().is_dir()), "{models:?}");
}

#[test]
fn a_model_is_compared_with_what_another_program_computes_of_it() {
    let folder = folder();
    let (path, text) = path_in(folder.path(), "small.gguf");
    let shape = Shape::small(Family::Qwen2);
    synthetic::write_random(&path, &shape, TensorType::Q8_0, 5).unwrap();
    let output = cairn(&["models", "compare", &text, "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(found["places"].as_u64().unwrap() > 20, "{found}");
    let worst = found["worst"].as_f64().unwrap();
    assert!(worst > 0.0 && worst < 0.3, "two programs, one model: {found}");
    fs::write(&path, "GGUF and nothing else").unwrap();
    let output = cairn(&["models", "compare", &text]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(5) && errors.contains("small.gguf"), "{errors}");
}

#[tokio::test]
async fn a_backup_restores_into_another_folder() {
    let hub = Hub::start().await;
    let keeper = hub.claim().await;
    let id = keeper.notice("Kept over the stick").await.unwrap();
    let stick = folder();
    let (_, passphrase) = path_in(stick.path(), "passphrase");
    fs::write(&passphrase, "four words for a stick\n").unwrap();
    let (path, backup) = path_in(stick.path(), "hub.cairn-backup");
    let told = hub.told(&["backup", &backup, "--passphrase-file", &passphrase]).await;
    assert!(told.contains("records"), "{told}");
    let bytes = fs::read(&path).unwrap();
    assert!(!bytes.windows(8).any(|window| window == b"Kept ove"), "it is encrypted");

    let elsewhere = folder();
    let restore = |passphrase: &str| {
        cairn(&["restore", &backup, "--passphrase-file", passphrase])
            .arg("--data")
            .arg(elsewhere.path())
            .output()
            .unwrap()
    };
    let (_, wrong) = path_in(stick.path(), "wrong");
    fs::write(&wrong, "not those words at all\n").unwrap();
    assert_eq!(restore(&wrong).status.code(), Some(5));
    let output = restore(&passphrase);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let restored = Hub::start_in(elsewhere).await;
    let keeper = restored.sign_in().await;
    let record: Value = keeper.get(&format!("/api/v1/records/notice/{id}")).await.json().await.unwrap();
    assert_eq!(record["fields"]["title"], "Kept over the stick");
    // Not under a hub that is using the folder.
    let output = restored.command(&["restore", &backup, "--passphrase-file", &passphrase]).await;
    assert_eq!(output.status.code(), Some(4));
}

#[tokio::test]
async fn a_support_bundle_holds_no_secret_and_nobodys_words() {
    let folder = folder();
    let file = folder.path().join("cairn.toml");
    let provisioning = r#"
        [hub]
        title = "Bundle Test"
        [wifi]
        ssid = "village"
        passphrase = "wifi-secret-1"
        [gateway]
        url = "https://gateway.example.org"
        enrolment_token = "token-secret-2"
        [inference]
        mode = "auto"
        url = "https://models.example.org/v1"
        model = "small"
        key = "sk-secret-3"
    "#;
    fs::write(&file, provisioning).unwrap();
    let hub = Hub::start_with(folder, &["--provisioning", file.to_str().unwrap()]).await;
    let code = hub.claim_code();
    let keeper = hub.claim().await;
    keeper.notice("words of a person").await.unwrap();
    let (path, bundle) = path_in(hub.folder.path(), "bundle.json");
    hub.told(&["support-bundle", &bundle]).await;
    let text = fs::read_to_string(path).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert!(
        json["tree"]["roles"].is_array() && json["store"].is_object() && json["log"].is_array(),
        "{text}"
    );
    let secrets = [
        code.as_str(),
        "wifi-secret-1",
        "token-secret-2",
        "sk-secret-3",
        "words of a person",
        "$argon2",
        "correct horse",
    ];
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is in the bundle");
    }
}

#[tokio::test]
async fn health_is_told_and_scripts_can_rely_on_the_exit_code() {
    let hub = Hub::start().await;
    let health = until("the hub is well", async || {
        let output = hub.command(&["health", "--json"]).await;
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    })
    .await;
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!(health["well"], true);
    assert_eq!(health["claimed"], false);
    assert_eq!(health["roles"].as_array().unwrap().len(), 2);
    assert!(hub.told(&["health"]).await.contains("addresses"));
    assert!(hub.told(&["models", "list"]).await.contains("No model is installed"));
    assert_eq!(hub.told(&["version"]).await.trim(), format!("cairn {}", env!("CARGO_PKG_VERSION")));
}
