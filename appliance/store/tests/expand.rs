//! The rule that lets an update be undone: a step of the schema only adds, so that the release before goes on working on what
//! the new one migrated and wrote to (U9).
//!
//! Read from the files of the steps themselves, so that a step that is added tomorrow is held to it too. A step that the release
//! before cannot live with must raise `MIN_READER`, and is listed in [`CONTRACTING`] with its reason, one release after the new code
//! stopped needing what it takes away.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{collections::BTreeMap, fs, path::Path};

use rusqlite::Connection;

/// Steps that take something away, by the schema they start from, with the reason. None so far.
const CONTRACTING: &[(u32, &str)] = &[];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    kind: String,
    needed: bool,
    default: Option<String>,
    key: u32,
}

type Tables = BTreeMap<String, BTreeMap<String, Column>>;

fn tables(connection: &Connection) -> Tables {
    let mut names = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let columns = |table: &str| {
        let mut list = connection
            .prepare("SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info(?1)")
            .unwrap();
        let column = |row: &rusqlite::Row<'_>| {
            let column =
                Column { kind: row.get(1)?, needed: row.get(2)?, default: row.get(3)?, key: row.get(4)? };
            Ok((row.get(0)?, column))
        };
        list.query_map([table], column).unwrap().map(Result::unwrap).collect()
    };
    names
        .into_iter()
        .map(|name| {
            let columns = columns(&name);
            (name, columns)
        })
        .collect()
}

/// What a release that knows `old` cannot live with in `new`.
fn broken(old: &Tables, new: &Tables) -> Vec<String> {
    let mut found = Vec::new();
    for (table, columns) in old {
        let Some(now) = new.get(table) else {
            found.push(format!("the table {table} is gone"));
            continue;
        };
        for (name, column) in columns {
            match now.get(name) {
                None => found.push(format!("{table}.{name} is gone")),
                Some(other) if other.kind != column.kind || other.key != column.key => {
                    found.push(format!("{table}.{name} is something else"));
                }
                Some(other) if other.needed && !column.needed => {
                    found.push(format!("{table}.{name} must be given now"));
                }
                Some(_) => {}
            }
        }
        for (name, column) in now.iter().filter(|(name, _)| !columns.contains_key(*name)) {
            if column.needed && column.default.is_none() {
                found.push(format!(
                    "{table}.{name} is new and must be given, which the release before does not do"
                ));
            }
        }
    }
    found
}

fn made(sql: &str) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(sql).unwrap();
    connection
}

fn migrations() -> BTreeMap<u32, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/migrations");
    let mut steps = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some((from, to)) = name.strip_suffix(".sql").and_then(|name| name.split_once("_to_")) else {
            continue;
        };
        let number = |text: &str| text.strip_prefix('v').unwrap().parse::<u32>().unwrap();
        assert_eq!(number(from) + 1, number(to), "{name}");
        steps.insert(number(from), fs::read_to_string(folder.join(&name)).unwrap());
    }
    steps
}

#[test]
fn every_step_leaves_the_release_before_all_that_it_knows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/migrations");
    let steps = migrations();
    assert!(!steps.is_empty());
    for (from, step) in &steps {
        let database = made(&fs::read_to_string(folder.join(format!("v{from}.sql"))).unwrap());
        let old = tables(&database);
        assert!(!old.is_empty(), "v{from}.sql makes tables");
        database.execute_batch(step).unwrap();
        let found = broken(&old, &tables(&database));
        let excused = CONTRACTING.iter().any(|(listed, _)| listed == from);
        assert!(found.is_empty() || excused, "from schema {from}: {found:#?}");
    }
}

#[test]
fn what_the_release_before_cannot_live_with_is_noticed() {
    let old = "CREATE TABLE a (x INTEGER PRIMARY KEY, y TEXT); CREATE TABLE b (z TEXT);";
    for (new, expected) in [
        ("CREATE TABLE a (x INTEGER PRIMARY KEY, y TEXT);", "the table b is gone"),
        ("CREATE TABLE a (x INTEGER PRIMARY KEY); CREATE TABLE b (z TEXT);", "a.y is gone"),
        ("CREATE TABLE a (x INTEGER PRIMARY KEY, y BLOB); CREATE TABLE b (z TEXT);", "a.y is something else"),
        (
            "CREATE TABLE a (x INTEGER PRIMARY KEY, y TEXT NOT NULL); CREATE TABLE b (z TEXT);",
            "a.y must be given now",
        ),
        (
            "CREATE TABLE a (x INTEGER PRIMARY KEY, y TEXT, n INTEGER NOT NULL); CREATE TABLE b (z TEXT);",
            "a.n is new",
        ),
    ] {
        let found = broken(&tables(&made(old)), &tables(&made(new)));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
    let added = "CREATE TABLE a (x INTEGER PRIMARY KEY, y TEXT, n INTEGER NOT NULL DEFAULT 0); CREATE TABLE b (z TEXT); CREATE TABLE c (q);";
    assert!(broken(&tables(&made(old)), &tables(&made(added))).is_empty());
}
