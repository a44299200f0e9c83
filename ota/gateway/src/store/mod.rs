//! What the gateway keeps of a community, and how a request is served from it: one transaction each.

pub mod blobs;
pub mod hubs;
pub mod newer;
pub mod records;
pub mod reports;
pub mod round;

use cairn_sync::{RecordId, http::Credential, wire::ScopeId};
use sqlx_core::row::Row;
use sqlx_postgres::PgConnection;
use uuid::Uuid;

use crate::db::{DbError, sql, uuid};

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The credential is not good, or no longer.
    #[error("this hub's key is not known here, or was revoked")]
    Revoked,
    /// Two parties use one identity.
    #[error("another device uses this hub's identity")]
    Copy,
    /// The enrolment token is not good.
    #[error("this enrolment token is not known, has expired or was used by another hub")]
    Token,
    /// The identity is somebody else's.
    #[error("another hub has this identity already")]
    Taken,
    /// There is no such thing.
    #[error("there is no such {0}")]
    Missing(&'static str),
    /// More than is allowed.
    #[error("{0}")]
    Quota(&'static str),
    /// It does not follow what is there.
    #[error("{0}")]
    Order(String),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx_core::Error> for Refused {
    fn from(error: sqlx_core::Error) -> Self {
        Self::Db(error.into())
    }
}

/// What a hub may have.
#[derive(Debug, Clone)]
pub(crate) enum Grant {
    /// Everything of its community.
    Everything,
    /// What belongs to no project, and these projects.
    Projects(std::collections::BTreeSet<RecordId>),
}

impl Grant {
    pub(crate) fn covers(&self, scope: ScopeId) -> bool {
        match (self, scope) {
            (Self::Everything, _) | (_, ScopeId::Community) => true,
            (Self::Projects(projects), ScopeId::Project(project)) => projects.contains(&project),
        }
    }
}

/// The column of a scope: the project, or the nil id.
pub(crate) const fn scope_column(scope: ScopeId) -> Uuid {
    match scope {
        ScopeId::Community => Uuid::nil(),
        ScopeId::Project(project) => uuid(project.as_bytes()),
    }
}

/// A scope from its column.
pub(crate) fn scope_of(column: Uuid) -> ScopeId {
    if column.is_nil() {
        ScopeId::Community
    } else {
        ScopeId::Project(RecordId::from_bytes(*column.as_bytes()))
    }
}

/// Whether the credential is good, without touching the hub.
pub(crate) async fn authenticate(tx: &mut PgConnection, who: &Credential) -> Result<(), Refused> {
    let row = sql("SELECT k.pending FROM cairn.hub_key k JOIN cairn.hub h USING (community_id, hub_id) \
         WHERE k.community_id = $1 AND k.hub_id = $2 AND k.hash = $3 AND h.retired_ms IS NULL")
    .bind(uuid(who.community.as_bytes()))
    .bind(uuid(who.hub.as_bytes()))
    .bind(who.key.hash().as_slice())
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Refused::Revoked)?;
    if row.try_get::<bool, _>("pending")? {
        // The new key was used for the first time: the old one is over.
        sql("DELETE FROM cairn.hub_key WHERE community_id = $1 AND hub_id = $2 AND hash <> $3")
            .bind(uuid(who.community.as_bytes()))
            .bind(uuid(who.hub.as_bytes()))
            .bind(who.key.hash().as_slice())
            .execute(&mut *tx)
            .await?;
        sql("UPDATE cairn.hub_key SET pending = false WHERE community_id = $1 AND hub_id = $2")
            .bind(uuid(who.community.as_bytes()))
            .bind(uuid(who.hub.as_bytes()))
            .execute(&mut *tx)
            .await?;
        sql("UPDATE cairn.hub_status SET change_key = false WHERE community_id = $1 AND hub_id = $2")
            .bind(uuid(who.community.as_bytes()))
            .bind(uuid(who.hub.as_bytes()))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// What the hub may have.
pub(crate) async fn grant(tx: &mut PgConnection, who: &Credential) -> Result<Grant, Refused> {
    let row = sql("SELECT every_project FROM cairn.hub WHERE community_id = $1 AND hub_id = $2")
        .bind(uuid(who.community.as_bytes()))
        .bind(uuid(who.hub.as_bytes()))
        .fetch_one(&mut *tx)
        .await?;
    if row.try_get("every_project")? {
        return Ok(Grant::Everything);
    }
    let rows = sql("SELECT project_id FROM cairn.hub_project WHERE community_id = $1 AND hub_id = $2")
        .bind(uuid(who.community.as_bytes()))
        .bind(uuid(who.hub.as_bytes()))
        .fetch_all(&mut *tx)
        .await?;
    let project = |row: &sqlx_postgres::PgRow| {
        Ok(RecordId::from_bytes(*row.try_get::<Uuid, _>("project_id")?.as_bytes()))
    };
    Ok(Grant::Projects(rows.iter().map(project).collect::<Result<_, sqlx_core::Error>>()?))
}
