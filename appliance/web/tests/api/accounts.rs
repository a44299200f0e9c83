//! Claiming, signing in and out, signing up, passwords, tokens.

use serde_json::json;

use crate::support::{CODE, PASSWORD, world};

fn credentials(login: &str, password: &str) -> serde_json::Value {
    json!({"login": login, "password": password})
}

#[tokio::test]
async fn whoever_holds_the_device_claims_the_hub_once() {
    let world = world().await;
    let claim = |code: &str| json!({"code": code, "hub_name": "Well", "language": "en", "name": "Amina", "login": "amina", "password": PASSWORD});
    assert_eq!(world.get("/api/v1/setup").send().await.json()["claimed"], false);
    world.post("/api/v1/setup/claim", claim("WRONG234")).send().await.refused(403, "code-refused");
    let mut weak = claim(CODE);
    weak["password"] = json!("short");
    let problem = world.post("/api/v1/setup/claim", weak).send().await.refused(422, "invalid");
    assert_eq!(problem["errors"][0]["field"], "password");
    let session = world.keeper().await;
    let who = world.get("/api/v1/session").session(&session).send().await.ok().json();
    assert_eq!((&who["role"], &who["person"]["login"]), (&json!("keeper"), &json!("amina")));
    assert_eq!(
        world.get("/api/v1/setup").send().await.json(),
        json!({"claimed": true, "hub_name": "Well", "language": "en", "open_sign_up": false})
    );
    world.post("/api/v1/setup/claim", claim(CODE)).send().await.refused(409, "already-claimed");
}

#[tokio::test]
async fn an_unknown_name_and_a_wrong_password_cannot_be_told_apart() {
    let world = world().await;
    world.keeper().await;
    let mut wrong = world
        .post("/api/v1/session", credentials("amina", "not the password"))
        .send()
        .await
        .refused(401, "wrong-credentials");
    let mut unknown = world
        .post("/api/v1/session", credentials("nobody", "not the password"))
        .send()
        .await
        .refused(401, "wrong-credentials");
    for problem in [&mut wrong, &mut unknown] {
        problem["instance"].take();
    }
    assert_eq!(wrong, unknown);
}

#[tokio::test]
async fn a_session_changes_at_sign_in_and_ends_at_sign_out() {
    let world = world().await;
    let first = world.keeper().await;
    let second =
        world.post("/api/v1/session", credentials("Amina", PASSWORD)).session(&first).send().await.ok();
    assert!(second.header("set-cookie").contains("HttpOnly; SameSite=Lax"));
    let second = second.session();
    assert_ne!(first, second);
    let who = |session: String| {
        let world = &world;
        async move { world.get("/api/v1/session").session(&session).send().await }
    };
    let old = who(first.clone()).await;
    assert_eq!(old.json()["signed_in"], false);
    assert!(old.header("set-cookie").contains("Max-Age=0"), "the browser is told to forget it");
    assert_eq!(who(second.clone()).await.json()["signed_in"], true);
    world.call("DELETE", "/api/v1/session").session(&second).send().await.ok();
    assert_eq!(who(second).await.json()["signed_in"], false);
}

#[tokio::test]
async fn guessing_is_slowed_down_for_the_guesser_only() {
    let world = world().await;
    world.keeper().await;
    let mut refused = 0;
    for _ in 0..14 {
        let answer = world.post("/api/v1/session", credentials("amina", "guess after guess")).send().await;
        if answer.status == 429 {
            refused += 1;
            let problem = answer.refused(429, "too-many-requests");
            assert_eq!(answer.header("retry-after"), problem["retry_after_s"].to_string());
        }
    }
    assert!(refused >= 2, "ten guesses are free, and one more each half minute");
    let own =
        world.post("/api/v1/session", credentials("amina", PASSWORD)).peer("192.168.4.21:1").send().await;
    assert_eq!(own.status, 204, "the person is not locked out by somebody else's guesses");
}

#[tokio::test]
async fn signing_up_takes_an_invitation_unless_the_hub_is_open() {
    let world = world().await;
    let keeper = world.keeper().await;
    let new = |login: &str, code: Option<&str>| json!({"name": "Ben", "login": login, "password": PASSWORD, "invitation": code});
    world.post("/api/v1/accounts", new("ben", None)).send().await.refused(403, "forbidden");
    world.post("/api/v1/accounts", new("ben", Some("NOPE2345"))).send().await.refused(403, "code-refused");
    let invited = world
        .post("/api/v1/invitations", json!({"role": "volunteer"}))
        .session(&keeper)
        .send()
        .await
        .ok()
        .json();
    let code = invited["code"].as_str().unwrap();
    let ben = world.post("/api/v1/accounts", new("ben", Some(code))).send().await.ok().session();
    assert_eq!(world.get("/api/v1/session").session(&ben).send().await.json()["role"], "volunteer");
    world.post("/api/v1/accounts", new("eve", Some(code))).send().await.refused(403, "code-refused");
    world.set(&keeper, json!({"open_sign_up": true})).await;
    world.post("/api/v1/accounts", new("ben", None)).send().await.refused(409, "name-taken");
    world.post("/api/v1/accounts", new("dora", None)).send().await.ok();
}

#[tokio::test]
async fn a_new_password_ends_every_other_session() {
    let world = world().await;
    let keeper = world.keeper().await;
    let ben = world.person(&keeper, "volunteer", "ben").await;
    let elsewhere = world.post("/api/v1/session", credentials("ben", PASSWORD)).send().await.ok().session();
    let change = |current: &str| json!({"current": current, "new": "quite another one"});
    let path = "/api/v1/accounts/me/password";
    let wrong = world.call("PUT", path).json(change("wrong password")).session(&ben).send().await;
    assert_eq!(wrong.refused(422, "invalid")["errors"][0]["field"], "current");
    let fresh = world.call("PUT", path).json(change(PASSWORD)).session(&ben).send().await.ok().session();
    for (session, holds) in [(ben, false), (elsewhere, false), (fresh.clone(), true)] {
        assert_eq!(world.get("/api/v1/session").session(&session).send().await.json()["signed_in"], holds);
    }
    let id = world.get("/api/v1/session").session(&fresh).send().await.json()["person"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/api/v1/accounts/{id}/password");
    let set = |session: String| {
        world.call("PUT", &path).json(json!({"new": "a third password"})).session(&session).send()
    };
    set(fresh).await.refused(403, "forbidden");
    set(keeper).await.ok();
    world.post("/api/v1/session", credentials("ben", "a third password")).send().await.ok();
}

#[tokio::test]
async fn a_token_acts_for_its_owner_until_it_is_revoked_and_cannot_make_another() {
    let world = world().await;
    let keeper = world.keeper().await;
    let made = world
        .post("/api/v1/tokens", json!({"name": "backup script"}))
        .session(&keeper)
        .send()
        .await
        .ok()
        .json();
    let token = made["token"].as_str().unwrap();
    let who = world.get("/api/v1/session").bearer(token).send().await.ok().json();
    assert_eq!(who["person"]["login"], "amina");
    world
        .post("/api/v1/tokens", json!({"name": "another"}))
        .bearer(token)
        .send()
        .await
        .refused(403, "forbidden");
    let list = world.get("/api/v1/tokens").session(&keeper).send().await.ok();
    assert!(!String::from_utf8_lossy(&list.body).contains(token));
    let id = list.json()[0]["id"].to_string();
    world.call("DELETE", &format!("/api/v1/tokens/{id}")).session(&keeper).send().await.ok();
    let gone = world.get("/api/v1/session").bearer(token).send().await;
    gone.refused(401, "sign-in-needed");
    assert!(gone.header("www-authenticate").starts_with("Bearer"));
}
