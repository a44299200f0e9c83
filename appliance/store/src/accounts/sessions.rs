//! Sessions and personal access tokens. They run out by the life clock; see `clock`.

use cairn_sync::RecordId;
use rusqlite::{OptionalExtension, params};

use super::{
    ApiToken, ApiTokenInfo, SessionToken, code,
    people::{later, left},
};
use crate::{
    db::writer::{Desk, Lane},
    error::{Result, StoreError},
    records::{
        access::Eyes,
        codec::{id, role_of},
    },
    schema,
    settings::read_settings,
    store::Store,
    viewer::Viewer,
};

/// Longest life of a session: 90 days.
const MAX_SESSION_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// Longest life of an access token: two years.
pub(crate) const MAX_TOKEN_MS: u64 = 2 * 366 * 24 * 60 * 60 * 1000;
/// Most sessions of one person; the oldest ends for a new one.
const MAX_SESSIONS: i64 = 50;
/// Most access tokens of one person.
const MAX_TOKENS: u64 = 50;
/// Longest name of a token, in bytes.
const MAX_TOKEN_NAME: usize = 100;
/// What an access token starts with.
pub(crate) const TOKEN_PREFIX: &str = "cairn_pat_";

impl Desk<'_> {
    /// Makes what the life clock says now survive a power cut.
    pub(crate) fn checkpoint_life(&self) -> Result<()> {
        let text = serde_json::to_string(&self.life.checkpoint())
            .map_err(|error| StoreError::invalid(error.to_string()))?;
        schema::set_fact(self.connection, "life", text)
    }
}

impl Store {
    /// Opens a session for a person whose password the caller has checked. Without `ttl_ms` it lasts as the settings
    /// say (24 hours by default).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such account or it is closed.
    pub async fn open_session(&self, person: RecordId, ttl_ms: Option<u64>) -> Result<SessionToken> {
        let token = code::token("")?;
        let hash = code::hash(&token);
        self.write(Lane::Person, move |desk| {
            let open: bool = desk
                .connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM people WHERE id = ?1 AND disabled = 0)")?
                .query_row([person.as_bytes()], |row| row.get(0))?;
            if !open {
                return Err(StoreError::NotFound("account"));
            }
            let ttl = match ttl_ms {
                Some(ttl) => ttl,
                None => u64::from(read_settings(desk.connection)?.session_hours) * 60 * 60 * 1000,
            };
            let now = desk.life.now_ms();
            desk.connection.execute("DELETE FROM sessions WHERE expires_life <= ?1", [now])?;
            desk.connection.execute(
                "DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions WHERE person = ?1 \
                 ORDER BY expires_life DESC LIMIT -1 OFFSET ?2)",
                params![person.as_bytes(), MAX_SESSIONS - 1],
            )?;
            desk.connection
                .prepare_cached(
                    "INSERT INTO sessions (hash, person, created_at, expires_life) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    hash,
                    person.as_bytes(),
                    desk.life.wall_ms(),
                    later(now, ttl.min(MAX_SESSION_MS))
                ])?;
            desk.checkpoint_life()
        })
        .await?;
        Ok(SessionToken(token))
    }

    /// Who carries this token; `None` when it is not (any more) valid or the account is closed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn viewer_for_session(&self, token: &SessionToken) -> Result<Option<Viewer>> {
        let sql = "SELECT p.id, p.role FROM sessions s JOIN people p ON p.id = s.person \
                   WHERE s.hash = ?1 AND s.expires_life > ?2 AND p.disabled = 0";
        self.viewer_by(sql, code::hash(token.as_str())).await
    }

    async fn viewer_by(&self, sql: &'static str, hash: [u8; 32]) -> Result<Option<Viewer>> {
        let now = self.inner.life.now_ms();
        self.ask(move |connection| {
            Ok(connection
                .prepare_cached(sql)?
                .query_row(params![hash, now], |row| Ok(Viewer::of(id(row, 0)?, role_of(row.get(1)?))))
                .optional()?)
        })
        .await
    }

    /// Ends a session. That it ended before is no error.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn close_session(&self, token: &SessionToken) -> Result<()> {
        let hash = code::hash(token.as_str());
        self.write(Lane::Person, move |desk| {
            desk.connection.execute("DELETE FROM sessions WHERE hash = ?1", [hash])?;
            Ok(())
        })
        .await
    }

    /// Ends every session of a person; says how many there were.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] unless it is `viewer`'s own or `viewer` is a keeper.
    pub async fn close_sessions_of(&self, viewer: &Viewer, person: RecordId) -> Result<u64> {
        let viewer = viewer.clone();
        self.write(Lane::Person, move |desk| {
            let eyes = Eyes::of(desk.connection, &viewer)?;
            if eyes.person != Some(person) && !eyes.is_keeper() {
                return Err(StoreError::Forbidden { action: "end", what: "session" });
            }
            let ended =
                desk.connection.execute("DELETE FROM sessions WHERE person = ?1", [person.as_bytes()])?;
            Ok(u64::try_from(ended).unwrap_or(u64::MAX))
        })
        .await
    }

    /// Makes a personal access token, which is shown this once.
    ///
    /// # Errors
    /// [`StoreError::SignInNeeded`] when `viewer` is no person.
    pub async fn create_api_token(&self, viewer: &Viewer, name: &str, ttl_ms: u64) -> Result<ApiToken> {
        let name = name.trim().to_owned();
        if name.is_empty() || name.len() > MAX_TOKEN_NAME || name.chars().any(char::is_control) {
            return Err(StoreError::invalid(format!(
                "A token has a name of at most {MAX_TOKEN_NAME} bytes."
            )));
        }
        if ttl_ms == 0 || ttl_ms > MAX_TOKEN_MS {
            return Err(StoreError::invalid("A token is valid for at most two years."));
        }
        let token = code::token(TOKEN_PREFIX)?;
        let hash = code::hash(&token);
        let viewer = viewer.clone();
        self.write(Lane::Person, move |desk| {
            let eyes = Eyes::of(desk.connection, &viewer)?;
            let person = eyes.person.ok_or(StoreError::SignInNeeded("make a token"))?;
            let now = desk.life.now_ms();
            desk.connection.execute("DELETE FROM api_tokens WHERE expires_life <= ?1", [now])?;
            let sql = "SELECT count(*) FROM api_tokens WHERE person = ?1";
            let count: u64 = desk.connection.query_row(sql, [person.as_bytes()], |row| row.get(0))?;
            if count >= MAX_TOKENS {
                return Err(StoreError::invalid(format!("A person can have at most {MAX_TOKENS} tokens.")));
            }
            desk.connection.execute(
                "INSERT INTO api_tokens (hash, person, name, created_at, expires_life) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![hash, person.as_bytes(), name, desk.life.wall_ms(), later(now, ttl_ms)],
            )?;
            desk.checkpoint_life()
        })
        .await?;
        Ok(ApiToken(token))
    }

    /// `viewer`'s own access tokens.
    ///
    /// # Errors
    /// [`StoreError::SignInNeeded`] when `viewer` is no person.
    pub async fn api_tokens(&self, viewer: &Viewer) -> Result<Vec<ApiTokenInfo>> {
        let (viewer, now) = (viewer.clone(), self.inner.life.now_ms());
        self.ask(move |connection| {
            let eyes = Eyes::of(connection, &viewer)?;
            let person = eyes.person.ok_or(StoreError::SignInNeeded("see your tokens"))?;
            let sql = "SELECT id, name, created_at, expires_life FROM api_tokens \
                       WHERE person = ?1 AND expires_life > ?2 ORDER BY id DESC";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![person.as_bytes(), now], |row| {
                Ok(ApiTokenInfo {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    created_at_ms: row.get(2)?,
                    left_ms: left(row.get(3)?, now),
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Ends one of `viewer`'s own tokens; a keeper may end anybody's.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none of that number.
    pub async fn revoke_api_token(&self, viewer: &Viewer, id: u64) -> Result<()> {
        let viewer = viewer.clone();
        self.write(Lane::Person, move |desk| {
            let eyes = Eyes::of(desk.connection, &viewer)?;
            let sql = "DELETE FROM api_tokens WHERE id = ?1 AND (person = ?2 OR ?3)";
            match desk.connection.execute(sql, params![id, eyes.viewer(), eyes.is_keeper()])? {
                0 => Err(StoreError::NotFound("token")),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Who carries this access token; `None` when it is not (any more) valid or the account is closed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn viewer_for_token(&self, token: &str) -> Result<Option<Viewer>> {
        if !token.starts_with(TOKEN_PREFIX) {
            return Ok(None);
        }
        let sql = "SELECT p.id, p.role FROM api_tokens t JOIN people p ON p.id = t.person \
                   WHERE t.hash = ?1 AND t.expires_life > ?2 AND p.disabled = 0";
        self.viewer_by(sql, code::hash(token)).await
    }
}
