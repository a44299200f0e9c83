//! Signing in, signing up, claiming the hub, signing out: used by the API and by the forms of the pages alike.

use axum::http::HeaderValue;
use cairn_store::{InvitationCode, NewAccount, Secret, SessionToken, SignUp, StoreError, Viewer};
use cairn_sync::RecordId;

use super::{
    Identity,
    cookie::{forget_session, give_session},
    password::check_new,
};
use crate::{
    hub::Hub,
    peer::Peer,
    problem::{Problem, ProblemKind},
};

/// Longest login or code that is looked up, in bytes.
const MAX_LOGIN: usize = 300;

/// A person who has just got a session.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn {
    /// The `Set-Cookie` header that carries the session.
    pub(crate) cookie: HeaderValue,
}

/// What a new account starts with, as a person typed it.
#[derive(Debug, Clone)]
pub(crate) struct NewPerson {
    /// The name shown to others.
    pub(crate) name: String,
    /// The name typed to sign in.
    pub(crate) login: String,
    /// The password.
    pub(crate) password: String,
    /// Language of the pages, BCP 47.
    pub(crate) language: Option<String>,
}

/// Signs a person in. A session that came with the request ends: what an attacker may have planted before is
/// worth nothing after.
///
/// # Errors
/// One and the same problem, after one and the same time, whether the name is unknown, the password wrong or the
/// account closed.
pub(crate) async fn sign_in(
    hub: &Hub,
    peer: Peer,
    before: &Identity,
    login: &str,
    password: String,
) -> Result<SignedIn, Problem> {
    let login = login.trim();
    hub.shared.limits.password(peer.client(), &login.to_lowercase())?;
    let wrong =
        || Problem::new(ProblemKind::WrongCredentials, "this name and this password do not belong together");
    if password.len() > super::password::MAX_PASSWORD || login.len() > MAX_LOGIN {
        return Err(wrong());
    }
    let known = hub.store.find_login(login).await?;
    let hash = known.as_ref().map(|login| login.password_hash.clone());
    let fits = hub.shared.passwords.verify(password, hash).await?;
    match known {
        Some(login) if fits && !login.disabled => open_session(hub, peer, before, login.person).await,
        _ => {
            tracing::info!(client = %peer.client(), "a sign-in was refused");
            Err(wrong())
        }
    }
}

/// Makes an account, by an invitation or because the hub is open, and signs it in.
///
/// # Errors
/// When the invitation is not valid, sign-up is closed, the login is taken or a value does not fit.
pub(crate) async fn sign_up(
    hub: &Hub,
    peer: Peer,
    before: &Identity,
    person: NewPerson,
    invitation: Option<&str>,
) -> Result<SignedIn, Problem> {
    hub.shared.limits.code(peer.client())?;
    let ground = match invitation.map(str::trim).filter(|code| !code.is_empty()) {
        Some(code) => {
            let code = InvitationCode::from_text(bounded("invitation", code)?);
            // Looked up before the password is hashed, so that guessing codes costs the hub little.
            if hub.store.invitation_role(&code).await?.is_none() {
                return Err(
                    StoreError::CodeRefused("the invitation is not valid, or it was used already").into()
                );
            }
            SignUp::Invitation(code)
        }
        None if hub.settings().await.open_sign_up => SignUp::Open,
        None => {
            return Err(Problem::new(ProblemKind::Forbidden, "signing up takes an invitation on this hub")
                .next("Ask a keeper for an invitation."));
        }
    };
    let account = account(hub, person).await?;
    let person = hub.store.sign_up(account, ground).await?;
    open_session(hub, peer, before, person.id).await
}

/// Claims a new hub with the code that only someone who holds the device can read, and signs its first keeper in.
///
/// # Errors
/// When the hub is claimed already, the code is wrong or a value does not fit.
pub(crate) async fn claim(
    hub: &Hub,
    peer: Peer,
    before: &Identity,
    code: &str,
    person: NewPerson,
    hub_name: &str,
    language: &str,
) -> Result<SignedIn, Problem> {
    hub.shared.limits.code(peer.client())?;
    if hub.store.setup_state().await?.claimed {
        return Err(Problem::new(ProblemKind::AlreadyClaimed, "this hub has a keeper already"));
    }
    let code = bounded("code", code.trim())?;
    let account = account(hub, person).await?;
    let keeper = hub.store.claim(&code, account, hub_name, language).await?;
    hub.forget_settings();
    open_session(hub, peer, before, keeper.id).await
}

/// Ends the request's session and gives the header that makes the browser forget it.
///
/// # Errors
/// When the store cannot write; the session then goes on.
pub(crate) async fn sign_out(hub: &Hub, peer: Peer, identity: &Identity) -> Result<HeaderValue, Problem> {
    if let Some(session) = identity.session() {
        hub.store.close_session(session).await?;
    }
    Ok(forget_session(peer))
}

/// Changes one's own password. All other sessions of the person end; a fresh one is given.
///
/// # Errors
/// When the current password is wrong or the new one is refused.
pub(crate) async fn change_password(
    hub: &Hub,
    peer: Peer,
    identity: &Identity,
    current: String,
    new: String,
) -> Result<SignedIn, Problem> {
    let person = signed_in(&identity.viewer)?;
    let record = hub.store.get(&identity.viewer, person).await?;
    let login = record.text("login").to_owned();
    hub.shared.limits.password(peer.client(), &login)?;
    check_new(&new, &login, record.text("name"))?;
    let known = hub.store.find_login(&login).await?.map(|login| login.password_hash);
    if !hub.shared.passwords.verify(current, known).await? {
        let detail = "this is not your current password";
        return Err(Problem::new(ProblemKind::Invalid, detail).field("current", detail));
    }
    let hash = hub.shared.passwords.hash(new).await?;
    hub.store.set_password_hash(&identity.viewer, person, hash).await?;
    hub.store.close_sessions_of(&identity.viewer, person).await?;
    open_session(hub, peer, &Identity::anonymous(), person).await
}

/// Makes sure that it is still the person of the session who asks: for what cannot be undone.
///
/// # Errors
/// When nobody is signed in, too many passwords were tried, or this one is wrong.
pub(crate) async fn confirm(
    hub: &Hub,
    peer: Peer,
    identity: &Identity,
    password: String,
) -> Result<(), Problem> {
    let person = signed_in(&identity.viewer)?;
    let record = hub.store.get(&identity.viewer, person).await?;
    let login = record.text("login").to_owned();
    hub.shared.limits.password(peer.client(), &login)?;
    let known = hub.store.find_login(&login).await?.map(|login| login.password_hash);
    if hub.shared.passwords.verify(password, known).await? {
        return Ok(());
    }
    let detail = "this is not your current password";
    Err(Problem::new(ProblemKind::Invalid, detail).field("password", detail))
}

/// Sets somebody's password, as a keeper does for a person who forgot it. The person's sessions end.
///
/// # Errors
/// When `viewer` may not, or the password is refused.
pub(crate) async fn set_password_of(
    hub: &Hub,
    viewer: &Viewer,
    person: RecordId,
    new: String,
) -> Result<(), Problem> {
    if viewer.role() < cairn_sync::Role::Keeper {
        signed_in(viewer)?;
        return Err(Problem::new(ProblemKind::Forbidden, "only keepers set the password of somebody else"));
    }
    let record = hub.store.get(viewer, person).await?;
    check_new(&new, record.text("login"), record.text("name"))?;
    let hash = hub.shared.passwords.hash(new).await?;
    hub.store.set_password_hash(viewer, person, hash).await?;
    hub.store.close_sessions_of(viewer, person).await?;
    Ok(())
}

/// The hash of a new password, checked against the rules for passwords.
///
/// # Errors
/// When the password is refused or too many are being hashed.
async fn hash_password(hub: &Hub, password: String, login: &str, name: &str) -> Result<Secret, Problem> {
    check_new(&password, login, name)?;
    hub.shared.passwords.hash(password).await
}

/// The person behind `viewer`.
pub(crate) fn signed_in(viewer: &Viewer) -> Result<RecordId, Problem> {
    viewer.person().ok_or_else(|| Problem::new(ProblemKind::SignInNeeded, "this takes an account"))
}

async fn account(hub: &Hub, person: NewPerson) -> Result<NewAccount, Problem> {
    let login = bounded("login", person.login.trim())?;
    let name = bounded("name", person.name.trim())?;
    let password_hash = hash_password(hub, person.password, &login, &name).await?;
    Ok(NewAccount { name, login, password_hash, language: person.language })
}

async fn open_session(
    hub: &Hub,
    peer: Peer,
    before: &Identity,
    person: RecordId,
) -> Result<SignedIn, Problem> {
    if let Some(session) = before.session() {
        hub.store.close_session(session).await?;
    }
    let hours = hub.settings().await.session_hours;
    let token: SessionToken = hub.store.open_session(person, Some(u64::from(hours) * 3_600_000)).await?;
    Ok(SignedIn { cookie: give_session(&token, hours, peer)? })
}

fn bounded(field: &'static str, text: &str) -> Result<String, Problem> {
    let refuse =
        |detail: String| Err(Problem::new(ProblemKind::Invalid, detail.clone()).field(field, detail));
    if text.is_empty() {
        return refuse(format!("{field} is needed"));
    }
    if text.len() > MAX_LOGIN {
        return refuse(format!("{field} is longer than {MAX_LOGIN} bytes"));
    }
    Ok(text.to_owned())
}
