//! Communities are kept apart by PostgreSQL itself.

use crate::support::*;
use cairn_gateway::{db::Db, store::hubs};
use cairn_sync::RecordId;
use sqlx_core::{
    connection::Connection, query::query, query_scalar::query_scalar, row::Row, sql_str::AssertSqlSafe,
};
use sqlx_postgres::{PgConnection, Postgres};

/// Every table that holds anything of a community, as the catalogue says, not as somebody remembered to list.
async fn tables(connection: &mut PgConnection) -> Vec<String> {
    query::<Postgres>(
        "SELECT table_name::text AS name FROM information_schema.columns \
         WHERE table_schema = 'cairn' AND column_name = 'community_id'",
    )
    .fetch_all(connection)
    .await
    .unwrap()
    .iter()
    .map(|row| row.try_get("name").unwrap())
    .collect()
}

async fn count(connection: &mut PgConnection, table: &str) -> i64 {
    let text = format!("SELECT count(*) FROM cairn.{table}");
    query_scalar::<Postgres, i64>(AssertSqlSafe(text)).fetch_one(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_without_its_scope_sees_nothing() {
    let world = World::new().await;
    let one = world.instance().await;
    let mut hub = Hub::enrol(&one.url, world.token().await).await;
    hub.write(RecordId::new(), &notice("Water"));
    hub.sync(&one.url).await;
    let person = world.person(&mut hub, &one.url, "Ana", "volunteer").await;
    world.api_token(person, true).await;

    let mut app = PgConnection::connect(&world.cluster.url("cairn_app")).await.unwrap();
    let tables = tables(&mut app).await;
    assert!(tables.len() >= 20, "{tables:?}");
    for table in &tables {
        assert_eq!(count(&mut app, table).await, 0, "{table} shows itself without a scope");
    }

    // Another community's scope sees nothing either, and can put nothing into ours.
    let other = hubs::add_community(&world.db().await, "Upper Valley").await.unwrap();
    let mut tx = app.begin().await.unwrap();
    query::<Postgres>("SELECT set_config('cairn.community', $1, true)")
        .bind(other.to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    for table in tables.iter().filter(|table| *table != "community") {
        assert_eq!(count(&mut tx, table).await, 0, "{table} shows another community's rows");
    }
    let ours = uuid::Uuid::from_bytes(*world.community.as_bytes());
    let touched = query::<Postgres>("UPDATE cairn.community SET name = 'mine' WHERE community_id = $1")
        .bind(ours)
        .execute(&mut *tx)
        .await
        .unwrap();
    assert_eq!(touched.rows_affected(), 0);
    let refused =
        query::<Postgres>("INSERT INTO cairn.scope_sum (community_id, scope, checksum) VALUES ($1, $1, '')")
            .bind(ours)
            .execute(&mut *tx)
            .await
            .unwrap_err();
    assert!(refused.to_string().contains("row-level security"), "{refused}");
    tx.rollback().await.unwrap();

    // With its scope everything is there: the counts above were not of empty tables.
    let mut tx = app.begin().await.unwrap();
    query::<Postgres>("SELECT set_config('cairn.community', $1, true)")
        .bind(world.community.to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    for table in [
        "community",
        "hub",
        "hub_key",
        "record",
        "trace",
        "value",
        "answer",
        "scope_sum",
        "api_token",
        "person",
        "lookup",
        "history",
    ] {
        assert!(count(&mut tx, table).await > 0, "{table} is empty");
    }
    tx.rollback().await.unwrap();

    // A scope ends with its transaction; and the application cannot leave its role.
    assert_eq!(count(&mut app, "record").await, 0);
    assert!(query::<Postgres>("SET ROLE owner").execute(&mut app).await.is_err());
    assert!(
        query::<Postgres>("ALTER TABLE cairn.record DISABLE ROW LEVEL SECURITY")
            .execute(&mut app)
            .await
            .is_err()
    );

    // Whoever is not bound is not served.
    let unbound = Db::connect(&world.cluster.url("owner"), 1).await.unwrap_err();
    assert!(unbound.to_string().contains("not bound"), "{unbound}");
}
