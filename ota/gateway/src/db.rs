//! The way to PostgreSQL. Every transaction says first which community it is about; row-level security shows it
//! nothing else.

use std::time::Duration;

use cairn_sync::CommunityId;
use sqlx_core::{query::Query, row::Row};
use sqlx_postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgTransaction, Postgres};
use uuid::Uuid;

use crate::migrate::LATEST;

/// How long a statement may take.
const STATEMENT_TIMEOUT: &str = "30000";
/// How long it may wait for a lock, for example for its turn in a community.
const LOCK_TIMEOUT: &str = "15000";
/// How long to wait for a free connection.
const ACQUIRE: Duration = Duration::from_secs(10);

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The database said no, or did not answer.
    #[error("database: {0}")]
    Sql(#[from] sqlx_core::Error),
    /// Something that was stored cannot be read.
    #[error("stored {what} cannot be read: {why}")]
    Damaged {
        /// What it is.
        what: &'static str,
        /// The decoder's words.
        why: String,
    },
    /// The schema is older or newer than this binary.
    #[error("the schema is at step {found}, this binary needs {needed}: run `cairn-gateway migrate`")]
    Schema {
        /// As it is.
        found: i64,
        /// As it has to be.
        needed: i64,
    },
    /// The role that was connected as is not bound by row-level security.
    #[error(
        "the role {0:?} is not bound by row-level security: serve as cairn_app, not as owner or superuser"
    )]
    Unbound(String),
    /// No random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl DbError {
    /// Whether the same transaction, tried again, may work.
    #[must_use]
    pub fn is_clash(&self) -> bool {
        matches!(self.code().as_deref(), Some("40001" | "40P01"))
    }

    /// Whether there is too much going on, rather than something wrong.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Sql(sqlx_core::Error::PoolTimedOut))
            || matches!(
                self.code().as_deref(),
                Some("55P03" | "57014" | "53300" | "57P03" | "40001" | "40P01")
            )
    }

    fn code(&self) -> Option<String> {
        let Self::Sql(error) = self else { return None };
        error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
    }
}

/// A statement.
pub(crate) fn sql<'q>(text: &'static str) -> Query<'q, Postgres, PgArguments> {
    sqlx_core::query::query(text)
}

/// Connections as the application's role.
#[derive(Debug, Clone)]
pub struct Db {
    pool: PgPool,
}

impl Db {
    /// Connects, and makes sure that the schema fits and that row-level security binds us.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn connect(url: &str, connections: u32) -> Result<Self, DbError> {
        let options: PgConnectOptions = url.parse()?;
        let options = options.application_name("cairn-gateway").options([
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("lock_timeout", LOCK_TIMEOUT),
            ("idle_in_transaction_session_timeout", "60000"),
            // Statements here are short ranges of indexes: to start workers for one takes longer than it does.
            ("max_parallel_workers_per_gather", "0"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .connect_with(options)
            .await?;
        let db = Self { pool };
        db.ready().await?;
        let row = sql(
            "SELECT current_user::text AS name, rolsuper OR rolbypassrls AS unbound FROM pg_roles WHERE rolname = current_user",
        )
        .fetch_one(&db.pool)
        .await?;
        if row.try_get("unbound")? { Err(DbError::Unbound(row.try_get("name")?)) } else { Ok(db) }
    }

    /// Whether the database answers and has the right schema.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn ready(&self) -> Result<(), DbError> {
        let row = sql("SELECT count(*) AS step FROM public.cairn_migration").fetch_one(&self.pool).await?;
        let found = row.try_get("step")?;
        // A newer schema only has more (expand); what is missing is an older one's fault.
        if found < LATEST { Err(DbError::Schema { found, needed: LATEST }) } else { Ok(()) }
    }

    /// The pool, for what belongs to no community.
    pub(crate) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A transaction about one community, in which each statement sees what was committed before it.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn scoped(&self, community: CommunityId) -> Result<PgTransaction<'static>, DbError> {
        enter(self.pool.begin().await?, community).await
    }

    /// A transaction about one community, all of which sees one moment.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn moment(&self, community: CommunityId) -> Result<PgTransaction<'static>, DbError> {
        enter(self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?, community).await
    }
}

async fn enter(
    mut tx: PgTransaction<'static>,
    community: CommunityId,
) -> Result<PgTransaction<'static>, DbError> {
    sql("SELECT set_config('cairn.community', $1, true)")
        .bind(community.to_string())
        .execute(&mut *tx)
        .await?;
    Ok(tx)
}

/// An identity as a column.
pub(crate) const fn uuid(bytes: &[u8; 16]) -> Uuid {
    Uuid::from_bytes(*bytes)
}

/// A version as a column. Versions count changes; none reaches 2^63.
pub(crate) fn big(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A version from a column.
pub(crate) fn small(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// 32 random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], DbError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| DbError::NoRandom)?;
    Ok(bytes)
}

/// A structure as a column.
pub(crate) fn to_cbor(value: &impl serde::Serialize) -> Result<Vec<u8>, DbError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes)
        .map_err(|error| DbError::Damaged { what: "structure", why: error.to_string() })?;
    Ok(bytes)
}

/// A structure from a column.
pub(crate) fn from_cbor<T: serde::de::DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, DbError> {
    ciborium::from_reader(bytes).map_err(|error| DbError::Damaged { what, why: error.to_string() })
}
