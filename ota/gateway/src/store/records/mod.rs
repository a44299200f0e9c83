//! The record API's side of the store: records as a person may see and change them. Permissions are decided in SQL by the
//! rule of hub and gateway; changes go through the engine that decides on those of hubs.

mod codec;
pub(crate) mod derive;
mod list;
mod read;
mod tokens;
mod write;

use cairn_sync::{
    CommunityId, Kind, RecordId, Role,
    access::{Action, Names, role_code},
    submit,
};
use sqlx_core::{row::Row, sql_str::AssertSqlSafe};
use sqlx_postgres::{PgConnection, Postgres};

pub(crate) use tokens::asker;
pub use tokens::{MAX_TOKEN_DAYS, NewToken, TOKEN_DAYS, TokenLine, add_token, revoke_token};
pub(crate) use tokens::{people, tokens};

use super::Refused as HubRefused;
use crate::db::{Db, DbError, sql, uuid};
use codec::{COLUMNS, Stored, Subject};

/// Who asks, as a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Their community.
    pub community: CommunityId,
    /// The person.
    pub person: RecordId,
    /// Whether the token may change anything.
    pub may_write: bool,
}

/// Why a call of the record API is not served.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It was refused, in the words of hub and gateway.
    #[error(transparent)]
    Refused(#[from] submit::Refused),
    /// The token is not good, or no longer.
    #[error("the token in the header Authorization is not valid (any more)")]
    Token,
    /// The token may only read.
    #[error("this token may only read")]
    ReadOnly,
    /// Rows of an earlier release are being made up for.
    #[error("the gateway is preparing this community's records")]
    Preparing,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx_core::Error> for RecordError {
    fn from(error: sqlx_core::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<HubRefused> for RecordError {
    fn from(refused: HubRefused) -> Self {
        match refused {
            HubRefused::Db(error) => Self::Db(error),
            // The community is gone, and its tokens with it.
            _ => Self::Token,
        }
    }
}

/// What came of a change.
#[derive(Debug)]
pub struct Changed {
    /// The record as it is after it.
    pub record: cairn_sync::shown::Record,
    /// The community's version where it was raised: hubs want to know.
    pub raised: Option<u64>,
}

/// A community's records as one person may see and change them.
#[derive(Debug, Clone)]
pub struct Records {
    db: Db,
    asker: Asker,
}

impl Records {
    /// Those that `asker` may use.
    #[must_use]
    pub const fn of(db: Db, asker: Asker) -> Self {
        Self { db, asker }
    }
}

/// `$1` is the community in every statement of these modules. Row-level security alone would keep communities apart; named
/// in each part, it also leads every part to the community's shard.
const NAMES: Names = Names {
    viewer: "$2::uuid",
    role: "$3::bigint",
    projects: "(SELECT id, open, live FROM cairn.project WHERE community_id = $1)",
    members: "(SELECT person, project, role FROM cairn.member WHERE community_id = $1)",
};

/// The scope column of what belongs to no project.
const NO_PROJECT: &str = "'00000000-0000-0000-0000-000000000000'::uuid";

/// Who looks, as the database knows them now.
#[derive(Debug, Clone, Copy)]
struct Eyes {
    community: CommunityId,
    person: Option<RecordId>,
    role: i64,
}

impl Eyes {
    /// Looks the person up: a role that was taken away, an account that was closed, count at once.
    async fn of(tx: &mut PgConnection, asker: Asker) -> Result<Self, RecordError> {
        let row = sql("SELECT role FROM cairn.person WHERE community_id = $1 AND id = $2 AND NOT closed")
            .bind(uuid(asker.community.as_bytes()))
            .bind(uuid(asker.person.as_bytes()))
            .fetch_optional(tx)
            .await?
            .ok_or(RecordError::Token)?;
        Ok(Self { community: asker.community, person: Some(asker.person), role: row.try_get("role")? })
    }

    const fn is_keeper(&self) -> bool {
        self.role >= role_code(Role::Keeper)
    }

    fn viewer(&self) -> Option<uuid::Uuid> {
        self.person.map(|person| uuid(person.as_bytes()))
    }

    async fn may(&self, tx: &mut PgConnection, action: Action, on: Subject) -> Result<bool, RecordError> {
        let rule = NAMES.rule(on.kind, action, on.deleted);
        let text = format!(
            "SELECT coalesce(({rule}), false) AS yes \
             FROM (SELECT $4::uuid AS id, $5::uuid AS scope, $6::uuid AS created_by) r WHERE $1::uuid IS NOT NULL"
        );
        let column = |id: Option<RecordId>| id.map(|id| uuid(id.as_bytes()));
        let row = dynamic(text)
            .bind(uuid(self.community.as_bytes()))
            .bind(self.viewer())
            .bind(self.role)
            .bind(column(on.id))
            .bind(column(on.scope))
            .bind(column(on.created_by))
            .fetch_one(tx)
            .await?;
        Ok(row.try_get("yes")?)
    }
}

/// A statement made of constants and the table of kinds; everything from outside is a parameter.
fn dynamic<'q>(text: String) -> sqlx_core::query::Query<'q, Postgres, sqlx_postgres::PgArguments> {
    sqlx_core::query::query(AssertSqlSafe(text))
}

async fn stored(
    tx: &mut PgConnection,
    community: CommunityId,
    id: RecordId,
) -> Result<Option<Stored>, RecordError> {
    let row =
        dynamic(format!("SELECT {COLUMNS} FROM cairn.record WHERE community_id = $1 AND record_id = $2"))
            .bind(uuid(community.as_bytes()))
            .bind(uuid(id.as_bytes()))
            .fetch_optional(tx)
            .await?;
    Ok(row.as_ref().map(Stored::of).transpose()?)
}

/// The record, where `eyes` may do `action` with it; else the refusal that tells no more than they may know.
async fn find_for(
    tx: &mut PgConnection,
    eyes: &Eyes,
    id: RecordId,
    action: Action,
) -> Result<Stored, RecordError> {
    let found = stored(tx, eyes.community, id).await?.ok_or(submit::Refused::NotFound("record"))?;
    if !eyes.may(tx, Action::Read, found.subject()).await? {
        return Err(submit::Refused::NotFound("record").into());
    }
    if action != Action::Read && !eyes.may(tx, action, found.subject()).await? {
        return Err(refusal(eyes, action, found.state.kind).into());
    }
    Ok(found)
}

const fn refusal(eyes: &Eyes, action: Action, kind: Kind) -> submit::Refused {
    submit::Refused::action(eyes.person.is_some(), action, kind)
}
