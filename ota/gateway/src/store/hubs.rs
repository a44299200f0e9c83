//! Communities, hubs, their keys and tokens.

use cairn_sync::{
    CommunityId, HubId, RecordId,
    http::{Credential, Enrol, EnrolToken, Enrolled, NewIdentity, Secret},
};
use sqlx_core::row::Row;
use sqlx_postgres::PgConnection;
use uuid::Uuid;

use super::{Refused, authenticate};
use crate::db::{Db, DbError, random, sql, uuid};

/// How long an enrolment token works where nobody says otherwise, in days.
pub const TOKEN_DAYS: u32 = 14;
/// Most copies of one card that may take identities of their own.
const MAX_COPIES: i64 = 50;

const NO_SEAT: &str = r#"{"ticket":0,"last":null}"#;

/// Makes a community. Run as the owner or as the application.
///
/// # Errors
/// [`DbError`].
pub async fn add_community(db: &Db, name: &str) -> Result<CommunityId, DbError> {
    let community = CommunityId::new();
    let mut tx = db.scoped(community).await?;
    sql("INSERT INTO cairn.community (community_id, name) VALUES ($1, $2)")
        .bind(uuid(community.as_bytes()))
        .bind(name.to_owned())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(community)
}

/// Makes a token that enrols one hub, for all projects or for some. It is shown now and never again.
///
/// # Errors
/// [`Refused`].
pub async fn add_token(
    db: &Db,
    community: CommunityId,
    label: &str,
    projects: Option<&[RecordId]>,
    days: u32,
) -> Result<EnrolToken, Refused> {
    let secret = Secret::from_random(random()?);
    let mut tx = db.scoped(community).await?;
    let projects: Option<Vec<Uuid>> =
        projects.map(|projects| projects.iter().map(|project| uuid(project.as_bytes())).collect());
    sql("INSERT INTO cairn.enrol_token (community_id, hash, label, projects, expires_ms) \
         VALUES ($1, $2, $3, $4, cairn.now_ms() + $5::bigint * 86400000)")
    .bind(uuid(community.as_bytes()))
    .bind(secret.hash().to_vec())
    .bind(label.to_owned())
    .bind(projects)
    .bind(i64::from(days))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(EnrolToken { community, secret })
}

/// Enrols a hub. The same request again gets the same answer: the first one may have been lost.
///
/// # Errors
/// [`Refused`].
pub async fn enrol(db: &Db, asked: &Enrol, time_key: String) -> Result<Enrolled, Refused> {
    let community = asked.token.community;
    let here = uuid(community.as_bytes());
    let mut tx = db.scoped(community).await?;
    let token = sql(
        "SELECT projects, used_by, used_key, expires_ms < cairn.now_ms() AS expired FROM cairn.enrol_token \
         WHERE community_id = $1 AND hash = $2 FOR UPDATE",
    )
    .bind(here)
    .bind(asked.token.secret.hash().to_vec())
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Refused::Token)?;
    let used_by: Option<Uuid> = token.try_get("used_by")?;
    if let Some(used_by) = used_by {
        let used_key: Option<Vec<u8>> = token.try_get("used_key")?;
        let same =
            used_by == uuid(asked.hub.as_bytes()) && used_key.as_deref() == Some(asked.key.hash().as_slice());
        if !same {
            return Err(Refused::Token);
        }
    } else {
        if token.try_get("expired")? {
            return Err(Refused::Token);
        }
        let projects: Option<Vec<Uuid>> = token.try_get("projects")?;
        let made = Made { hub: asked.hub, key: &asked.key, name: &asked.name, software: &asked.version };
        add_hub(&mut tx, community, &made, projects, None).await?;
        sql("UPDATE cairn.enrol_token SET used_by = $3, used_key = $4 WHERE community_id = $1 AND hash = $2")
            .bind(here)
            .bind(asked.token.secret.hash().to_vec())
            .bind(uuid(asked.hub.as_bytes()))
            .bind(asked.key.hash().to_vec())
            .execute(&mut *tx)
            .await?;
    }
    let enrolled = enrolled(&mut tx, community, asked.hub, time_key).await?;
    tx.commit().await?;
    Ok(enrolled)
}

/// Gives a copied card an identity of its own, with what the original may have.
///
/// # Errors
/// [`Refused`].
pub async fn new_identity(
    db: &Db,
    who: &Credential,
    asked: &NewIdentity,
    time_key: String,
) -> Result<Enrolled, Refused> {
    let here = uuid(who.community.as_bytes());
    let mut tx = db.scoped(who.community).await?;
    authenticate(&mut tx, who).await?;
    let old = sql("SELECT every_project, (SELECT array_agg(project_id) FROM cairn.hub_project p \
             WHERE p.community_id = h.community_id AND p.hub_id = h.hub_id) AS projects, \
             (SELECT count(*) FROM cairn.hub c WHERE c.community_id = $1 AND c.came_from = $2) AS copies \
         FROM cairn.hub h WHERE community_id = $1 AND hub_id = $2 FOR UPDATE OF h")
    .bind(here)
    .bind(uuid(who.hub.as_bytes()))
    .fetch_one(&mut *tx)
    .await?;
    let known = sql("SELECT 1 AS yes FROM cairn.hub h JOIN cairn.hub_key k USING (community_id, hub_id) \
         WHERE h.community_id = $1 AND h.hub_id = $2 AND h.came_from = $3 AND k.hash = $4")
    .bind(here)
    .bind(uuid(asked.hub.as_bytes()))
    .bind(uuid(who.hub.as_bytes()))
    .bind(asked.key.hash().to_vec())
    .fetch_optional(&mut *tx)
    .await?;
    if known.is_none() {
        if old.try_get::<i64, _>("copies")? >= MAX_COPIES {
            return Err(Refused::Quota("this card was copied too often: enrol the hub with a token"));
        }
        let projects: Option<Vec<Uuid>> = old.try_get("projects")?;
        let every: bool = old.try_get("every_project")?;
        let projects = if every { None } else { Some(projects.unwrap_or_default()) };
        let made = Made { hub: asked.hub, key: &asked.key, name: &asked.name, software: &asked.version };
        add_hub(&mut tx, who.community, &made, projects, Some(who.hub)).await?;
    }
    let enrolled = enrolled(&mut tx, who.community, asked.hub, time_key).await?;
    tx.commit().await?;
    Ok(enrolled)
}

/// A hub that is to be.
struct Made<'a> {
    hub: HubId,
    key: &'a Secret,
    name: &'a str,
    software: &'a str,
}

async fn add_hub(
    tx: &mut PgConnection,
    community: CommunityId,
    made: &Made<'_>,
    projects: Option<Vec<Uuid>>,
    came_from: Option<HubId>,
) -> Result<(), Refused> {
    let (here, hub) = (uuid(community.as_bytes()), uuid(made.hub.as_bytes()));
    let done = sql("INSERT INTO cairn.hub (community_id, hub_id, name, every_project, seat, came_from) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING")
    .bind(here)
    .bind(hub)
    .bind(made.name.to_owned())
    .bind(projects.is_none())
    .bind(NO_SEAT)
    .bind(came_from.map(|hub| uuid(hub.as_bytes())))
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Refused::Taken);
    }
    sql("INSERT INTO cairn.hub_status (community_id, hub_id, software) VALUES ($1, $2, $3)")
        .bind(here)
        .bind(hub)
        .bind(made.software.to_owned())
        .execute(&mut *tx)
        .await?;
    sql("INSERT INTO cairn.hub_key (community_id, hub_id, hash) VALUES ($1, $2, $3)")
        .bind(here)
        .bind(hub)
        .bind(made.key.hash().to_vec())
        .execute(&mut *tx)
        .await?;
    sql(
        "INSERT INTO cairn.hub_project (community_id, hub_id, project_id) SELECT $1, $2, unnest($3::uuid[]) \
         ON CONFLICT DO NOTHING",
    )
    .bind(here)
    .bind(hub)
    .bind(projects.unwrap_or_default())
    .execute(tx)
    .await?;
    Ok(())
}

async fn enrolled(
    tx: &mut PgConnection,
    community: CommunityId,
    hub: HubId,
    time_key: String,
) -> Result<Enrolled, Refused> {
    let row = sql("SELECT name FROM cairn.community WHERE community_id = $1")
        .bind(uuid(community.as_bytes()))
        .fetch_one(tx)
        .await?;
    Ok(Enrolled { community, community_name: row.try_get("name")?, hub, time_key })
}

/// A hub takes another key. The old one works until the new one is used.
///
/// # Errors
/// [`Refused`].
pub async fn new_key(db: &Db, who: &Credential, key: &Secret) -> Result<(), Refused> {
    let (here, hub) = (uuid(who.community.as_bytes()), uuid(who.hub.as_bytes()));
    let mut tx = db.scoped(who.community).await?;
    authenticate(&mut tx, who).await?;
    sql("DELETE FROM cairn.hub_key WHERE community_id = $1 AND hub_id = $2 AND pending")
        .bind(here)
        .bind(hub)
        .execute(&mut *tx)
        .await?;
    sql("INSERT INTO cairn.hub_key (community_id, hub_id, hash, pending) VALUES ($1, $2, $3, true) \
         ON CONFLICT DO NOTHING")
    .bind(here)
    .bind(hub)
    .bind(key.hash().to_vec())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Revokes a hub's keys and retires it: nothing waits for it any more.
///
/// # Errors
/// [`Refused`].
pub async fn retire(db: &Db, community: CommunityId, hub: HubId) -> Result<(), Refused> {
    let mut tx = db.scoped(community).await?;
    for text in [
        "UPDATE cairn.hub SET retired_ms = cairn.now_ms() WHERE community_id = $1 AND hub_id = $2 AND retired_ms IS NULL",
        "DELETE FROM cairn.hub_key WHERE community_id = $1 AND hub_id = $2",
    ] {
        sql(text).bind(uuid(community.as_bytes())).bind(uuid(hub.as_bytes())).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Asks a hub to take a new key with its next report.
///
/// # Errors
/// [`Refused`].
pub async fn ask_for_new_key(db: &Db, community: CommunityId, hub: HubId) -> Result<(), Refused> {
    let mut tx = db.scoped(community).await?;
    sql("UPDATE cairn.hub_status SET change_key = true WHERE community_id = $1 AND hub_id = $2")
        .bind(uuid(community.as_bytes()))
        .bind(uuid(hub.as_bytes()))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}
