//! The first run, accounts, invitations, sessions, tokens and settings.

use std::{
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
};

use cairn_store::{
    ApiToken, Clocks, CloudEndpoint, InvitationCode, OpenOptions, Secret, SessionToken, Settings, SignUp,
    Store, StoreError, Viewer,
};
use cairn_sync::{Kind, Role};

use crate::common::{Hub, account, fields, options, system};

const HOUR: i64 = 60 * 60 * 1000;

/// Clocks that a test turns: wall, boot, boot id.
struct Turned(Mutex<(i64, i64, &'static str)>);

impl Turned {
    fn at(wall: i64, boot: i64, id: &'static str) -> Arc<Self> {
        Arc::new(Self(Mutex::new((wall, boot, id))))
    }
    fn turn(&self, wall: i64, boot: i64, id: &'static str) {
        *self.0.lock().unwrap() = (wall, boot, id);
    }
}

impl Clocks for Turned {
    fn wall_ms(&self) -> i64 {
        self.0.lock().unwrap().0
    }
    fn boot_ms(&self) -> i64 {
        self.0.lock().unwrap().1
    }
    fn boot_id(&self) -> String {
        self.0.lock().unwrap().2.to_owned()
    }
}

#[tokio::test]
async fn whoever_holds_the_device_becomes_the_first_keeper_once() {
    let dir = tempfile::tempdir().unwrap();
    let random = OpenOptions { claim_code: None, upkeep: false, ..OpenOptions::default() };
    let (store, _) = Store::open(dir.path(), random.clone()).unwrap();
    let file = dir.path().join("claim");
    let code = std::fs::read_to_string(&file).unwrap();
    assert_eq!(code.len(), 8);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(store.claim_code().as_deref(), Some(code.as_str()));
    assert!(!store.setup_state().await.unwrap().claimed);
    let claim = |code: String, login: &'static str| {
        let store = store.clone();
        async move { store.claim(&code, account(login), "Our hub", "es").await }
    };
    assert!(matches!(claim("WRONG234".into(), "a1").await, Err(StoreError::CodeRefused(_))));
    assert!(matches!(store.sign_up(account("a2"), SignUp::Open).await, Err(StoreError::CodeRefused(_))));
    // A mistake in the form does not use the code up.
    assert!(claim(code.clone(), "!").await.is_err());
    let keeper = claim(code.to_lowercase(), "Ana").await.unwrap();
    assert_eq!((keeper.text("login"), keeper.text("role"), keeper.text("language")), ("ana", "keeper", "en"));
    assert_eq!(store.settings().await.unwrap().hub_name, "Our hub");
    assert!(store.setup_state().await.unwrap().claimed);
    assert!(!file.exists());
    assert!(matches!(claim(code, "eve").await, Err(StoreError::CodeRefused(_))));
    drop(store);
    let (store, _) = Store::open(dir.path(), random).unwrap();
    assert!(store.setup_state().await.unwrap().claimed && !file.exists());
}

#[tokio::test]
async fn claim_codes_cannot_be_guessed_by_trying() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), options()).unwrap();
    let mut tries = 0;
    while store.setup_state().await.unwrap().tries_left > 0 {
        assert!(store.claim("WRONG234", account("eve"), "x", "en").await.is_err());
        tries += 1;
        assert!(tries < 100);
    }
    let right = store.claim("TESTCODE", account("eve"), "x", "en").await;
    assert!(right.unwrap_err().to_string().contains("Start the hub again"));
    drop(store);
    let (store, _) = Store::open(dir.path(), options()).unwrap();
    store.claim("TESTCODE", account("ana"), "x", "en").await.unwrap();
}

#[tokio::test]
async fn a_code_from_the_card_is_shown_as_it_was_written_and_taken_as_it_is_misread() {
    let dir = tempfile::tempdir().unwrap();
    let written = OpenOptions { claim_code: Some("paperboat-7421".to_owned()), ..options() };
    let (store, _) = Store::open(dir.path(), written).unwrap();
    assert_eq!(store.claim_code().as_deref(), Some("PAPERBOAT7421"));
    store.claim("PAPERB0AT 742L", account("ana"), "x", "en").await.unwrap();
}

#[tokio::test]
async fn people_come_by_invitation_or_where_the_hub_is_open() {
    let hub = Hub::new().await;
    let open = hub.store.sign_up(account("bo"), SignUp::Open).await;
    assert!(matches!(open, Err(StoreError::CodeRefused(_))));
    let code = hub.store.invite(&hub.keeper, Role::Guest, 1000 * 60).await.unwrap();
    assert_eq!(hub.store.invitations(&hub.keeper).await.unwrap().len(), 1);
    let typed = InvitationCode::from_text(code.as_str().to_lowercase().replace('-', " "));
    assert_eq!(hub.store.invitation_role(&typed).await.unwrap(), Some(Role::Guest));
    assert!(matches!(
        hub.store.sign_up(account("keeper"), SignUp::Invitation(typed.clone())).await,
        Err(StoreError::LoginTaken(_))
    ));
    let bo = hub.store.sign_up(account("Bo"), SignUp::Invitation(typed.clone())).await.unwrap();
    assert_eq!((bo.text("role"), bo.text("login")), ("guest", "bo"));
    let again = hub.store.sign_up(account("cy"), SignUp::Invitation(typed)).await;
    assert!(matches!(again, Err(StoreError::CodeRefused(_))), "an invitation works once");

    hub.store
        .set_settings(&hub.keeper, Settings { open_sign_up: true, ..Settings::default() })
        .await
        .unwrap();
    let di = hub.store.sign_up(account("di"), SignUp::Open).await.unwrap();
    assert_eq!(di.text("role"), "volunteer");
    let di = crate::common::signed_in(&hub.store, di.id).await;
    assert!(matches!(hub.store.invite(&di, Role::Keeper, 1000).await, Err(StoreError::Forbidden { .. })));
    assert!(hub.store.invitations(&di).await.is_err());
    let open = hub.store.invite(&hub.keeper, Role::Keeper, 1000).await.unwrap();
    let id = hub.store.invitations(&hub.keeper).await.unwrap()[0].id;
    hub.store.revoke_invitation(&hub.keeper, id).await.unwrap();
    assert_eq!(hub.store.invitation_role(&open).await.unwrap(), None);
}

#[tokio::test]
async fn a_closed_account_is_out_at_once_and_the_last_keeper_stays() {
    let hub = Hub::new().await;
    let ana = hub.store.add_account(&hub.keeper, account("ana"), Role::Volunteer).await.unwrap();
    let session = hub.store.open_session(ana.id, None).await.unwrap();
    let viewer = hub.store.viewer_for_session(&session).await.unwrap().unwrap();
    let token = hub.store.create_api_token(&viewer, "script", 1000 * 60).await.unwrap();
    let set = |id, name: &'static str, value: cairn_sync::Value| {
        hub.store.update(&hub.keeper, id, fields([(name, value)]), None, None)
    };
    set(ana.id, "disabled", true.into()).await.unwrap();
    assert_eq!(hub.store.viewer_for_session(&session).await.unwrap(), None);
    assert_eq!(hub.store.viewer_for_token(token.as_str()).await.unwrap(), None);
    assert!(hub.store.find_login("ANA").await.unwrap().unwrap().disabled);
    assert!(hub.store.open_session(ana.id, None).await.is_err());
    assert!(matches!(
        hub.store.create(&viewer, Kind::Message, None, fields([("body", "x".into())]), None).await,
        Err(StoreError::SignInNeeded(_))
    ));
    let keeper = hub.keeper.person().unwrap();
    assert!(set(keeper, "role", "volunteer".into()).await.is_err());
    assert!(set(keeper, "disabled", true.into()).await.is_err());
    assert!(hub.store.delete(&hub.keeper, keeper, None).await.is_err());
    hub.person("second", Role::Keeper).await;
    set(keeper, "role", "volunteer".into()).await.unwrap();
    assert!(matches!(set(ana.id, "disabled", false.into()).await, Err(StoreError::Forbidden { .. })));
}

#[tokio::test]
async fn a_login_that_is_renamed_signs_in_by_its_new_name() {
    let hub = Hub::new().await;
    let ana = hub.store.add_account(&hub.keeper, account("ana"), Role::Guest).await.unwrap();
    let rename =
        |to: &'static str| hub.store.update(&hub.keeper, ana.id, fields([("login", to.into())]), None, None);
    assert!(matches!(rename("keeper").await, Err(StoreError::LoginTaken(_))));
    rename("anita").await.unwrap();
    assert!(hub.store.find_login("ana").await.unwrap().is_none());
    assert_eq!(hub.store.find_login("Anita").await.unwrap().unwrap().person, ana.id);
}

#[tokio::test]
async fn sessions_end_after_a_day_whatever_the_wall_clock_does() {
    let dir = tempfile::tempdir().unwrap();
    let clocks = Turned::at(0, 0, "boot a");
    let with = || OpenOptions { clocks: clocks.clone(), ..options() };
    let (store, _) = Store::open(dir.path(), with()).unwrap();
    let keeper = store.claim("TESTCODE", account("ana"), "x", "en").await.unwrap();
    let session = store.open_session(keeper.id, None).await.unwrap();
    let valid = |store: Store, session: SessionToken| async move {
        store.viewer_for_session(&session).await.unwrap().is_some()
    };
    // The time is learnt: 56 years in one step. The session goes on.
    clocks.turn(1_790_000_000_000, HOUR, "boot a");
    assert!(valid(store.clone(), session.clone()).await);
    clocks.turn(0, 23 * HOUR, "boot a");
    assert!(valid(store.clone(), session.clone()).await);
    clocks.turn(0, 24 * HOUR, "boot a");
    assert!(!valid(store.clone(), session.clone()).await, "a day is over, whatever the wall clock says");

    // Another session, then the program starts again in the same boot: exact.
    let session = store.open_session(keeper.id, None).await.unwrap();
    drop(store);
    clocks.turn(5, 47 * HOUR, "boot a");
    let (store, _) = Store::open(dir.path(), with()).unwrap();
    assert!(valid(store.clone(), session.clone()).await);
    drop(store);
    clocks.turn(5, 49 * HOUR, "boot a");
    let (store, _) = Store::open(dir.path(), with()).unwrap();
    assert!(!valid(store.clone(), session.clone()).await);

    // A reboot with a wall clock that went back: what is left of the session goes on. Two days off by a wall clock that
    // knows it: it is over.
    clocks.turn(1_790_000_000_000, 50 * HOUR, "boot a");
    let session = store.open_session(keeper.id, None).await.unwrap();
    drop(store);
    clocks.turn(0, 0, "boot b");
    let (store, _) = Store::open(dir.path(), with()).unwrap();
    assert!(valid(store.clone(), session.clone()).await);
    drop(store);
    clocks.turn(1_790_000_000_000 + 48 * HOUR, 0, "boot c");
    let (store, _) = Store::open(dir.path(), with()).unwrap();
    assert!(!valid(store.clone(), session.clone()).await);
}

#[tokio::test]
async fn secrets_are_kept_as_hashes_and_end_when_told() {
    let hub = Hub::new().await;
    let id = hub.keeper.person().unwrap();
    let session = hub.store.open_session(id, None).await.unwrap();
    let token = hub.store.create_api_token(&hub.keeper, "laptop", 1000).await.unwrap();
    assert!(token.as_str().starts_with("cairn_pat_"));
    assert_eq!(hub.store.viewer_for_token(token.as_str()).await.unwrap().unwrap().person(), Some(id));
    assert_eq!(hub.store.viewer_for_token("cairn_pat_x").await.unwrap(), None);
    assert_eq!(hub.store.api_tokens(&hub.keeper).await.unwrap()[0].name, "laptop");
    assert!(hub.store.create_api_token(&Viewer::anonymous(), "x", 1000).await.is_err());
    hub.store.close();
    for file in ["records.db", "records.db-wal"] {
        let Ok(bytes) = std::fs::read(hub.dir.path().join("hub").join(file)) else { continue };
        for secret in [session.as_str(), token.as_str()] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{file}");
        }
    }
    assert!(matches!(hub.store.settings().await, Err(StoreError::Closed)));
    let (store, _) = {
        let dir = hub.dir.path().join("hub");
        drop(hub.store);
        Store::open(&dir, options()).unwrap()
    };
    assert!(store.viewer_for_session(&session).await.unwrap().is_some());
    store.close_session(&session).await.unwrap();
    assert!(store.viewer_for_session(&session).await.unwrap().is_none());
    let info = store.api_tokens(&hub.keeper).await.unwrap()[0].id;
    store.revoke_api_token(&hub.keeper, info).await.unwrap();
    assert_eq!(store.viewer_for_token(token.as_str()).await.unwrap(), None);
    assert!(matches!(store.revoke_api_token(&hub.keeper, info).await, Err(StoreError::NotFound(_))));
    let other = store.open_session(id, None).await.unwrap();
    store.set_password_hash(&hub.keeper, id, Secret::new("$new")).await.unwrap();
    assert!(store.viewer_for_session(&other).await.unwrap().is_none(), "a new password ends every session");
    assert_eq!(store.find_login("keeper").await.unwrap().unwrap().password_hash.reveal(), "$new");
    assert_eq!(format!("{:?}", ApiToken::from_text("abc")), "ApiToken(hidden)");
}

#[tokio::test]
async fn settings_are_the_keepers_and_support_shows_no_secret() {
    let hub = Hub::new().await;
    let ana = hub.person("ana", Role::Volunteer).await;
    let endpoint = CloudEndpoint {
        url: "https://ai.example".into(),
        model: "m".into(),
        key: Secret::new("sk-very-secret"),
    };
    let settings = Settings { cloud: Some(endpoint), hub_name: "Hub".into(), ..Settings::default() };
    assert!(matches!(
        hub.store.set_settings(&ana, settings.clone()).await,
        Err(StoreError::Forbidden { .. })
    ));
    hub.store.set_settings(&hub.keeper, settings.clone()).await.unwrap();
    assert_eq!(hub.store.settings().await.unwrap(), settings);
    let wrong = Settings { session_hours: 0, ..settings };
    assert!(matches!(hub.store.set_settings(&hub.keeper, wrong).await, Err(StoreError::Invalid(_))));
    let facts = serde_json::to_string(&hub.store.support_facts(&hub.keeper).await.unwrap()).unwrap();
    for secret in ["sk-very-secret", "argon2id", "Name of", "keeper@"] {
        assert!(!facts.contains(secret), "{facts}");
    }
    assert!(facts.contains("\"person\":2") && facts.contains("https://ai.example"), "{facts}");
    assert!(hub.store.support_facts(&ana).await.is_err());
    assert!(hub.store.support_facts(&system()).await.is_ok());
}
