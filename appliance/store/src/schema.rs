//! The schema of `records.db` and how it moves forward.
//!
//! A release only adds (expand); what the release before cannot live with (contract) comes one release later. The
//! database states the lowest schema that can still serve it (`min_reader`): a binary that knows at least that one
//! may serve a newer database, any other refuses with a sentence and touches nothing.

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    db,
    error::{Result, StoreError},
};

/// The schema that this release makes and moves older databases to.
pub(crate) const CURRENT: u32 = 3;
/// The lowest schema whose release can serve what this one writes.
pub(crate) const MIN_READER: u32 = 1;
/// Says that a SQLite file is ours: "CRN1".
pub(crate) const APPLICATION_ID: i32 = 0x4352_4e31;

/// The whole schema, for a new database.
const FRESH: &str = include_str!("migrations/v3.sql");

/// One step from a schema to the next.
struct Step {
    from: u32,
    sql: &'static str,
}

/// Every step ever made, oldest first.
const STEPS: &[Step] = &[
    Step { from: 1, sql: include_str!("migrations/v1_to_v2.sql") },
    Step { from: 2, sql: include_str!("migrations/v2_to_v3.sql") },
];

/// What a database says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stated {
    pub(crate) schema: u32,
    pub(crate) min_reader: u32,
}

/// Makes the schema in an empty database.
pub(crate) fn create(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(FRESH)?;
    state(&transaction, CURRENT, MIN_READER)?;
    transaction.commit()?;
    Ok(())
}

fn state(connection: &Connection, schema: u32, min_reader: u32) -> Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", schema)?;
    connection.execute(
        "INSERT INTO hub (name, value) VALUES ('min_reader', ?1) ON CONFLICT DO UPDATE SET value = max(value, ?1)",
        params![min_reader],
    )?;
    Ok(())
}

/// What the database states, without writing to it.
pub(crate) fn read(connection: &Connection) -> Result<Stated> {
    let id: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Err(StoreError::Corrupt("no mark that a hub made it".to_owned()));
    }
    let schema = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let min_reader = connection
        .query_row("SELECT value FROM hub WHERE name = 'min_reader'", [], |row| row.get(0))
        .optional()?
        .unwrap_or(1);
    Ok(Stated { schema, min_reader })
}

/// Refuses a database that this release cannot serve.
pub(crate) fn servable(stated: Stated, by: u32, dir: &std::path::Path) -> Result<()> {
    if stated.min_reader > by {
        return Err(StoreError::TooNew {
            dir: dir.display().to_string(),
            found: stated.schema,
            needs: stated.min_reader,
            serves: by,
        });
    }
    Ok(())
}

/// Moves the database to the newest schema, one transaction a step. Returns the schema it had.
pub(crate) fn migrate(connection: &mut Connection) -> Result<u32> {
    let found = read(connection)?.schema;
    for step in STEPS.iter().filter(|step| step.from >= found) {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(step.sql)?;
        state(&transaction, step.from + 1, MIN_READER.min(step.from + 1))?;
        transaction.commit()?;
    }
    Ok(found)
}

/// Looks at every page and every index entry. `Ok(None)` when all is well, else what SQLite found first.
pub(crate) fn quick_check(connection: &Connection) -> Result<Option<String>> {
    let mut statement = connection.prepare("PRAGMA quick_check(1)")?;
    let found: String = statement.query_row([], |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}

/// Opens a copy of `records.db` for reading and checks that it is whole and ours.
pub(crate) fn check_file(path: &std::path::Path) -> Result<Stated> {
    let connection = db::open_reader(path)?;
    let stated = read(&connection)?;
    match quick_check(&connection)? {
        None => Ok(stated),
        Some(damage) => Err(StoreError::Corrupt(damage)),
    }
}

/// One fact about the hub.
pub(crate) fn fact<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> Result<Option<T>> {
    Ok(connection
        .prepare_cached("SELECT value FROM hub WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

/// Sets one fact about the hub.
pub(crate) fn set_fact(connection: &Connection, name: &str, value: impl rusqlite::ToSql) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO hub (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
        )?
        .execute(params![name, value])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = include_str!("migrations/v1.sql");
    const V2: &str = include_str!("migrations/v2.sql");

    fn at_schema_1() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(V1).unwrap();
        state(&connection, 1, 1).unwrap();
        connection
    }

    /// Every table, index and trigger with its SQL, comments and spacing aside.
    fn shape(connection: &Connection) -> Vec<(String, String, String)> {
        let mut statement = connection
            .prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name")
            .unwrap();
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)))
            .unwrap()
            .map(|row| {
                let (kind, name, sql) = row.unwrap();
                (kind, name, sql.split_whitespace().collect::<Vec<_>>().join(" "))
            })
            .collect::<Vec<_>>();
        assert!(rows.len() > 10);
        rows
    }

    #[test]
    fn every_earlier_schema_upgraded_equals_a_fresh_one() {
        let mut fresh = Connection::open_in_memory().unwrap();
        create(&mut fresh).unwrap();
        let mut old = at_schema_1();
        assert_ne!(shape(&old), shape(&fresh));
        assert_eq!(migrate(&mut old).unwrap(), 1);
        assert_eq!(shape(&old), shape(&fresh));
        assert_eq!(read(&old).unwrap(), read(&fresh).unwrap());
        assert_eq!(read(&old).unwrap(), Stated { schema: CURRENT, min_reader: MIN_READER });
        let mut second = Connection::open_in_memory().unwrap();
        second.execute_batch(V2).unwrap();
        state(&second, 2, 1).unwrap();
        assert_eq!(migrate(&mut second).unwrap(), 2);
        assert_eq!(shape(&second), shape(&fresh));
    }

    #[test]
    fn what_was_in_an_old_database_is_counted_after_the_upgrade() {
        let mut old = at_schema_1();
        let insert =
            "INSERT INTO records VALUES (?1, 1, NULL, 1, x'00', NULL, 0, x'00', NULL, 0, 1, NULL, ?2)";
        for (id, deleted) in [(1, 0), (2, 0), (3, 1)] {
            old.execute(insert, params![[id as u8; 16].as_slice(), deleted]).unwrap();
        }
        migrate(&mut old).unwrap();
        let live = |connection: &Connection| -> i64 {
            connection.query_row("SELECT sum(live) FROM tallies", [], |row| row.get(0)).unwrap()
        };
        assert_eq!(live(&old), 2);
        old.execute("UPDATE records SET deleted = 1 WHERE id = ?1", [[1u8; 16].as_slice()]).unwrap();
        old.execute("UPDATE records SET deleted = 0 WHERE id = ?1", [[3u8; 16].as_slice()]).unwrap();
        old.execute(insert, params![[4u8; 16].as_slice(), 0]).unwrap();
        assert_eq!(live(&old), 3);
    }

    #[test]
    fn a_step_that_fails_leaves_the_schema_as_it_was() {
        let mut old = at_schema_1();
        old.execute_batch("CREATE TABLE orphans (in_the_way)").unwrap();
        let before = shape(&old);
        assert!(migrate(&mut old).is_err());
        assert_eq!(shape(&old), before);
        assert_eq!(read(&old).unwrap().schema, 1);
    }

    #[test]
    fn a_release_serves_what_states_that_it_may() {
        let dir = std::path::Path::new("hub");
        let newer = Stated { schema: 9, min_reader: 2 };
        servable(newer, 2, dir).unwrap();
        let error = servable(Stated { schema: 9, min_reader: 3 }, 2, dir).unwrap_err();
        assert!(error.to_string().contains("at least schema 3"), "{error}");
    }
}
