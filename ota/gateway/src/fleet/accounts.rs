//! Accounts and sessions of maintainers. A maintainer looks after named communities and sees no other.

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use cairn_sync::{CommunityId, http::Secret};
use sqlx_core::{connection::Connection, row::Row};
use sqlx_postgres::{PgConnection, PgRow};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::db::{Db, DbError, random, sql, uuid};

/// How long a session lasts, in milliseconds.
pub(crate) const SESSION_MS: i64 = 12 * 60 * 60 * 1000;
/// Shortest password in bytes.
pub const MIN_PASSWORD: usize = 12;
/// Longest password and name in bytes.
const MAX_INPUT: usize = 200;
/// Passwords that are checked at once: each takes 19 MiB.
static CHECKING: Semaphore = Semaphore::const_new(2);

/// Why there is no account or session.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The password is too short or too long.
    #[error("a password must be {MIN_PASSWORD} to {MAX_INPUT} bytes long")]
    Password,
    /// The name is empty or too long.
    #[error("a name must be 1 to {MAX_INPUT} bytes long")]
    Login,
    /// The hash cannot be made or read.
    #[error("password hashing: {0}")]
    Hash(String),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx_core::Error> for AccountError {
    fn from(error: sqlx_core::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Makes an account, or sets its password and communities anew. `url` reaches the database as its owner: the
/// application cannot make accounts.
///
/// # Errors
/// [`AccountError`].
pub async fn set(
    url: &str,
    login: &str,
    password: &str,
    communities: &[CommunityId],
) -> Result<(), AccountError> {
    if login.is_empty() || login.len() > MAX_INPUT {
        return Err(AccountError::Login);
    }
    if !(MIN_PASSWORD..=MAX_INPUT).contains(&password.len()) {
        return Err(AccountError::Password);
    }
    let hash: argon2::PasswordHash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| AccountError::Hash(error.to_string()))?;
    let communities: Vec<Uuid> = communities.iter().map(|id| uuid(id.as_bytes())).collect();
    let mut owner = PgConnection::connect(url).await?;
    sql("INSERT INTO cairn.maintainer (login, password, communities) VALUES ($1, $2, $3) \
         ON CONFLICT (login) DO UPDATE SET password = excluded.password, communities = excluded.communities")
    .bind(login.to_owned())
    .bind(hash.to_string())
    .bind(communities)
    .execute(&mut owner)
    .await?;
    // Whoever had the old password is signed out.
    sql("DELETE FROM cairn.maintainer_session WHERE login = $1")
        .bind(login.to_owned())
        .execute(&mut owner)
        .await?;
    owner.close().await?;
    Ok(())
}

/// All communities that somebody looks after.
///
/// # Errors
/// [`DbError`].
pub async fn looked_after(db: &Db) -> Result<Vec<CommunityId>, DbError> {
    let rows = sql("SELECT DISTINCT unnest(communities) AS community FROM cairn.maintainer ORDER BY 1")
        .fetch_all(db.pool())
        .await?;
    let community = |row: &PgRow| -> Result<CommunityId, DbError> {
        let id: Uuid = row.try_get("community")?;
        Ok(CommunityId::from_bytes(*id.as_bytes()))
    };
    rows.iter().map(community).collect()
}

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) login: String,
    pub(crate) communities: Vec<CommunityId>,
    /// Every form carries it, so that no other page can send one.
    pub(crate) form_token: String,
}

/// Signs in; gives the cookie's value. None where name or password is wrong, or where too many try at once.
pub(crate) async fn sign_in(
    db: &Db,
    login: String,
    password: String,
) -> Result<Option<String>, AccountError> {
    if login.len() > MAX_INPUT || password.len() > MAX_INPUT {
        return Ok(None);
    }
    let row = sql("SELECT password FROM cairn.maintainer WHERE login = $1")
        .bind(login.clone())
        .fetch_optional(db.pool())
        .await?;
    let known: Option<String> = row.map(|row| row.try_get("password")).transpose()?;
    let Ok(_place) = CHECKING.acquire().await else { return Ok(None) };
    let good = tokio::task::spawn_blocking(move || match known {
        Some(known) => PasswordHash::new(&known)
            .is_ok_and(|known| Argon2::default().verify_password(password.as_bytes(), &known).is_ok()),
        // As long as for somebody who is known.
        None => {
            let _hash = Argon2::default().hash_password(password.as_bytes());
            false
        }
    })
    .await
    .map_err(|error| AccountError::Hash(error.to_string()))?;
    if !good {
        return Ok(None);
    }
    let (cookie, form_token) = (Secret::from_random(random()?), Secret::from_random(random()?));
    sql("DELETE FROM cairn.maintainer_session WHERE expires_ms < cairn.now_ms()").execute(db.pool()).await?;
    sql("INSERT INTO cairn.maintainer_session (hash, login, form_token, expires_ms) \
         VALUES ($1, $2, $3, cairn.now_ms() + $4)")
    .bind(cookie.hash().to_vec())
    .bind(login)
    .bind(form_token.reveal())
    .bind(SESSION_MS)
    .execute(db.pool())
    .await?;
    Ok(Some(cookie.reveal()))
}

/// The session behind a cookie.
pub(crate) async fn session(db: &Db, cookie: &str) -> Result<Option<Session>, DbError> {
    let Ok(secret) = cookie.parse::<Secret>() else { return Ok(None) };
    let row = sql("SELECT s.login, s.form_token, m.communities FROM cairn.maintainer_session s \
         JOIN cairn.maintainer m USING (login) WHERE s.hash = $1 AND s.expires_ms > cairn.now_ms()")
    .bind(secret.hash().to_vec())
    .fetch_optional(db.pool())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let communities: Vec<Uuid> = row.try_get("communities")?;
    Ok(Some(Session {
        login: row.try_get("login")?,
        communities: communities.iter().map(|id| CommunityId::from_bytes(*id.as_bytes())).collect(),
        form_token: row.try_get("form_token")?,
    }))
}

/// Ends a session.
pub(crate) async fn sign_out(db: &Db, cookie: &str) -> Result<(), DbError> {
    if let Ok(secret) = cookie.parse::<Secret>() {
        sql("DELETE FROM cairn.maintainer_session WHERE hash = $1")
            .bind(secret.hash().to_vec())
            .execute(db.pool())
            .await?;
    }
    Ok(())
}
