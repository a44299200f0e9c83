//! Personal access tokens for the record API. A token acts for one person with the rights that the person has when it is
//! used; it is stored hashed, ends by itself, and can be revoked.

use cairn_sync::{
    CommunityId, RecordId,
    http::{ApiToken, MAX_NAME, Secret},
    record::RecordState,
};
use sqlx_core::row::Row;
use uuid::Uuid;

use super::{Asker, RecordError, derive};
use crate::{
    db::{Db, from_cbor, random, small, sql, uuid},
    store::Refused,
};

/// How long a token is valid where nobody says, in days.
pub const TOKEN_DAYS: u32 = 90;
/// The longest, in days.
pub const MAX_TOKEN_DAYS: u32 = 366;
/// Most tokens of a community that are valid at once.
const MAX_TOKENS: i64 = 1_000;
/// Most people that are offered for a token.
const MAX_PEOPLE: i64 = 1_000;

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken<'a> {
    /// The person that it acts for.
    pub person: RecordId,
    /// What it is called, for people.
    pub label: &'a str,
    /// Whether it may change anything.
    pub may_write: bool,
    /// How long it is valid, in days: 1 to [`MAX_TOKEN_DAYS`].
    pub days: u32,
}

/// A token that is valid, without its secret.
#[derive(Debug, Clone)]
pub struct TokenLine {
    /// Names it: the hash under which it is stored, in hex.
    pub hash: String,
    /// What it is called.
    pub label: String,
    /// The person's name.
    pub person: String,
    /// Whether it may change anything.
    pub may_write: bool,
    /// How much longer it is valid, in days, rounded up.
    pub days_left: u64,
}

/// Makes a token. It is shown now and never again.
///
/// # Errors
/// [`Refused::Missing`] where there is no such person with an open account.
pub async fn add_token(db: &Db, community: CommunityId, new: &NewToken<'_>) -> Result<ApiToken, Refused> {
    let secret = Secret::from_random(random()?);
    let here = uuid(community.as_bytes());
    if !derive::catch_up(db, community).await? {
        return Err(Refused::Order("this community's records are being prepared: try again".to_owned()));
    }
    let mut tx = db.scoped(community).await?;
    let open =
        sql("SELECT (SELECT count(*) FROM cairn.api_token WHERE community_id = $1 AND revoked_ms IS NULL \
             AND expires_ms > cairn.now_ms()) AS tokens FROM cairn.person \
         WHERE community_id = $1 AND id = $2 AND NOT closed FOR UPDATE")
        .bind(here)
        .bind(uuid(new.person.as_bytes()))
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(Refused::Missing("person"))?;
    if open.try_get::<i64, _>("tokens")? >= MAX_TOKENS {
        return Err(Refused::Quota("this community has too many tokens: revoke those that nobody uses"));
    }
    sql("DELETE FROM cairn.api_token WHERE community_id = $1 AND (expires_ms < cairn.now_ms() OR expires_ms IS NULL)")
        .bind(here)
        .execute(&mut *tx)
        .await?;
    sql("INSERT INTO cairn.api_token (community_id, hash, label, may_write, person, expires_ms) \
         VALUES ($1, $2, $3, $4, $5, cairn.now_ms() + $6::bigint * 86400000)")
    .bind(here)
    .bind(secret.hash().to_vec())
    .bind(new.label.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect::<String>())
    .bind(new.may_write)
    .bind(uuid(new.person.as_bytes()))
    .bind(i64::from(new.days.clamp(1, MAX_TOKEN_DAYS)))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(ApiToken { community, secret })
}

/// Ends a token, named by the hash in hex.
///
/// # Errors
/// [`Refused`].
pub async fn revoke_token(db: &Db, community: CommunityId, hash: &str) -> Result<(), Refused> {
    let hash = cairn_sync::http::time::unhex::<32>(hash).ok_or(Refused::Missing("token"))?;
    let mut tx = db.scoped(community).await?;
    sql("UPDATE cairn.api_token SET revoked_ms = cairn.now_ms() WHERE community_id = $1 AND hash = $2 \
         AND revoked_ms IS NULL")
    .bind(uuid(community.as_bytes()))
    .bind(hash.as_slice())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Who asks with this token. Rows that an earlier release wrote are made up for first.
pub(crate) async fn asker(db: &Db, token: &ApiToken) -> Result<Asker, RecordError> {
    let mut tx = db.scoped(token.community).await?;
    let row = sql("SELECT person, may_write, EXISTS (SELECT 1 FROM cairn.record \
             WHERE community_id = $1 AND underived) AS behind \
         FROM cairn.api_token WHERE community_id = $1 AND hash = $2 AND revoked_ms IS NULL \
         AND person IS NOT NULL AND expires_ms > cairn.now_ms()")
    .bind(uuid(token.community.as_bytes()))
    .bind(token.secret.hash().as_slice())
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(RecordError::Token)?;
    tx.commit().await?;
    if row.try_get("behind")? && !derive::catch_up(db, token.community).await? {
        return Err(RecordError::Preparing);
    }
    let person: Uuid = row.try_get("person")?;
    Ok(Asker {
        community: token.community,
        person: RecordId::from_bytes(*person.as_bytes()),
        may_write: row.try_get("may_write")?,
    })
}

/// Valid tokens, the newest first.
pub(crate) async fn tokens(db: &Db, community: CommunityId) -> Result<Vec<TokenLine>, Refused> {
    let mut tx = db.moment(community).await?;
    let rows = sql(
        "SELECT t.hash, t.label, t.may_write, (t.expires_ms - cairn.now_ms() + 86399999) / 86400000 AS days, r.state \
         FROM cairn.api_token t LEFT JOIN cairn.record r ON r.community_id = $1 AND r.record_id = t.person \
         WHERE t.community_id = $1 AND t.revoked_ms IS NULL AND t.person IS NOT NULL AND t.expires_ms > cairn.now_ms() \
         ORDER BY t.created_ms DESC LIMIT $2",
    )
    .bind(uuid(community.as_bytes()))
    .bind(MAX_TOKENS)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let line = |row: &sqlx_postgres::PgRow| {
        let state: Option<Vec<u8>> = row.try_get("state")?;
        let state: Option<RecordState> =
            state.map(|bytes| from_cbor("record", &bytes)).transpose().map_err(Refused::from)?;
        Ok(TokenLine {
            hash: cairn_sync::http::time::hex(&row.try_get::<Vec<u8>, _>("hash")?),
            label: row.try_get("label")?,
            person: state.as_ref().map_or("", name).to_owned(),
            may_write: row.try_get("may_write")?,
            days_left: small(row.try_get("days")?),
        })
    };
    rows.iter().map(line).collect()
}

/// People with an open account by name, for whom a token can be made.
pub(crate) async fn people(db: &Db, community: CommunityId) -> Result<Vec<(RecordId, String)>, Refused> {
    let mut tx = db.moment(community).await?;
    let rows = sql("SELECT r.state FROM cairn.person p JOIN cairn.record r ON r.community_id = $1 AND r.record_id = p.id \
         WHERE p.community_id = $1 AND NOT p.closed ORDER BY p.id LIMIT $2")
    .bind(uuid(community.as_bytes()))
    .bind(MAX_PEOPLE)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let mut people = Vec::with_capacity(rows.len());
    for row in &rows {
        let state: RecordState = from_cbor("record", row.try_get("state")?)?;
        people.push((state.id, name(&state).to_owned()));
    }
    people.sort_by(|(_, a), (_, b)| a.cmp(b));
    Ok(people)
}

fn name(person: &RecordState) -> &str {
    person.fields.get("name").and_then(|field| field.value.as_text()).unwrap_or_default()
}
