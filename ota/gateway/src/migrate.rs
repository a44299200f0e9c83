//! The schema, built into the binary: each step runs once, in its own transaction, under one lock.

use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use sqlx_core::{
    connection::Connection, executor::Executor, query_scalar::query_scalar, sql_str::AssertSqlSafe,
};
use sqlx_postgres::{PgConnection, Postgres};

use crate::{
    db::{DbError, sql},
    time::TIME_KEY,
};

/// Every step, oldest first. A step that was published is never edited.
const STEPS: &[(&str, &str)] = &[
    ("0001_start", include_str!("../migrations/0001_start.sql")),
    ("0002_record_api", include_str!("../migrations/0002_record_api.sql")),
    ("0003_wanted", include_str!("../migrations/0003_wanted.sql")),
    ("0004_no_lookups_of_the_community", include_str!("../migrations/0004_no_lookups_of_the_community.sql")),
];

/// The schema that this binary needs.
pub const LATEST: i64 = STEPS.len() as i64;

/// Any number that nobody else locks by.
const LOCK: i64 = 0x6361_6972_6e00_0001;

/// Brings the database at `url`, reached as its owner, up to date, and sets the application role's password where one
/// is given. Gives how many steps were run.
///
/// # Errors
/// [`DbError`]; nothing of a failed step stays.
pub async fn migrate(url: &str, app_password: Option<&str>) -> Result<usize, DbError> {
    let mut owner = PgConnection::connect(url).await?;
    sql("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut owner).await?;
    sql("CREATE TABLE IF NOT EXISTS public.cairn_migration (step bigint PRIMARY KEY, name text NOT NULL)")
        .execute(&mut owner)
        .await?;
    let done: i64 = query_scalar::<Postgres, _>("SELECT count(*) FROM public.cairn_migration")
        .fetch_one(&mut owner)
        .await?;
    let mut run = 0;
    for (step, (name, text)) in (1_i64..).zip(STEPS).skip(usize::try_from(done).unwrap_or(0)) {
        let mut tx = owner.begin().await?;
        (&mut *tx).execute(sqlx_core::raw_sql::raw_sql(*text)).await?;
        sql("INSERT INTO public.cairn_migration (step, name) VALUES ($1, $2)")
            .bind(step)
            .bind(*name)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        run += 1;
    }
    sql("GRANT SELECT ON public.cairn_migration TO cairn_app").execute(&mut owner).await?;
    if let Some(password) = app_password {
        // A role's password cannot be a parameter; the server itself quotes it.
        let text: String =
            query_scalar::<Postgres, _>("SELECT format('ALTER ROLE cairn_app PASSWORD %L', $1::text)")
                .bind(password)
                .fetch_one(&mut owner)
                .await?;
        owner.execute(AssertSqlSafe(text)).await?;
    }
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| DbError::NoRandom)?;
    sql("INSERT INTO cairn.setting (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(TIME_KEY)
        .bind(key.as_ref())
        .execute(&mut owner)
        .await?;
    owner.close().await?;
    Ok(run)
}
