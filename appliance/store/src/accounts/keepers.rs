//! Somebody must be able to look after the hub: at least one keeper who can sign in here.
//!
//! What people do here is refused where it would leave nobody. What comes from elsewhere cannot be refused: the record says
//! what the gateway decided. There, what the person may do here stays as it was until another keeper can sign in. Who is kept so
//! is not written down; it follows from comparing what the record says with what the person may.

use cairn_sync::{
    Kind, RecordId, Role,
    access::{role_code, role_named},
    submit::Refused,
};
use rusqlite::Connection;

use crate::{
    error::{Result, StoreError},
    records::{
        access::Eyes,
        change::derive,
        codec::id,
        head::{FieldMap, Head},
    },
    store::Store,
    viewer::Viewer,
};

/// Keepers who can sign in, as it counts here.
fn keepers(connection: &Connection) -> Result<Vec<RecordId>> {
    let sql = "SELECT p.id FROM people p JOIN credentials c ON c.person = p.id WHERE p.role = ?1 AND p.disabled = 0";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([role_code(Role::Keeper)], |row| id(row, 0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether the record says that the person is a keeper with an open account.
fn says_keeper(head: &Head, fields: &FieldMap) -> bool {
    let value = |name: &str| fields.get(name).map(|field| &field.value);
    let role = role_named(value("role").and_then(|role| role.as_text()).unwrap_or_default());
    let closed = value("disabled").and_then(|closed| closed.as_bool()).unwrap_or_default();
    !head.deleted && !closed && role == Role::Keeper
}

/// A claimed hub keeps at least one keeper who can sign in.
///
/// # Errors
/// [`StoreError::Invalid`] where what was just written would leave none.
pub(crate) fn somebody_keeps(connection: &Connection, kind: Kind) -> Result<()> {
    if kind != Kind::Person || !super::is_claimed(connection)? || !keepers(connection)?.is_empty() {
        return Ok(());
    }
    Err(Refused::no_keeper().into())
}

/// Whether what came of this person from elsewhere has to wait, because nobody else keeps the hub.
pub(crate) fn must_stay(connection: &Connection, head: &Head, fields: &FieldMap) -> Result<bool> {
    if head.kind != Kind::Person || says_keeper(head, fields) {
        return Ok(false);
    }
    Ok(keepers(connection)? == [head.id])
}

/// Lets what waited take effect, where another keeper is here now.
pub(crate) fn settle(connection: &Connection) -> Result<()> {
    let held = held(connection)?;
    // One of them has to be a keeper by their record; else all wait.
    if held.is_empty() || held.len() == keepers(connection)?.len() {
        return Ok(());
    }
    for person in held {
        let Some(head) = Head::find(connection, person)? else { continue };
        match derive(connection, &head, &head.fields(connection)?) {
            Err(StoreError::LoginTaken(_) | StoreError::Invalid(_)) => {}
            other => other?,
        }
    }
    Ok(())
}

/// People who look after the hub although their record says otherwise by now.
fn held(connection: &Connection) -> Result<Vec<RecordId>> {
    let mut held = Vec::new();
    for person in keepers(connection)? {
        if let Some(head) = Head::find(connection, person)?
            && !says_keeper(&head, &head.fields(connection)?)
        {
            held.push(person);
        }
    }
    Ok(held)
}

impl Store {
    /// Names of people who look after this hub although another hub or the gateway took that from them, because nobody else
    /// here can. For keepers; nobody for others.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn held_keepers(&self, viewer: &Viewer) -> Result<Vec<String>> {
        let viewer = viewer.clone();
        self.ask(move |connection| {
            if !Eyes::of(connection, &viewer)?.is_keeper() {
                return Ok(Vec::new());
            }
            let mut names = Vec::new();
            for person in held(connection)? {
                if let Some(head) = Head::find(connection, person)? {
                    names.push(head.load(connection)?.text("name").to_owned());
                }
            }
            Ok(names)
        })
        .await
    }
}
