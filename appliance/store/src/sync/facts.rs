//! Single facts about synchronisation, one row each in `hub`: kept as JSON, written with a commit of their own.

use cairn_sync::{HubId, Role};
use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};

use super::{from_json, local, to_json};
use crate::{
    db::writer::Lane,
    error::{Result, StoreError},
    schema,
    store::Store,
    viewer::Viewer,
};

/// What is kept. The names are for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// With which gateway the hub is enrolled, and its key.
    Enrolment,
    /// An enrolment or a change of identity that was begun, to be repeated word for word.
    Begun,
    /// A key that was sent to the gateway to be used from now on, and not answered yet; to be repeated word for word.
    NextKey,
    /// How often rounds failed in a row.
    Backoff,
    /// When the hub talks to its gateway, and how.
    Ways,
    /// No time before this one is believed, in milliseconds since 1970.
    TimeFloor,
    /// Whether projects are synchronised where nobody chose.
    EveryProject,
    /// Files that somebody asked for although they are larger than what comes by itself.
    WantedFiles,
}

impl Fact {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Enrolment => "sync_enrolment",
            Self::Begun => "sync_begun",
            Self::NextKey => "sync_next_key",
            Self::Backoff => "sync_backoff",
            Self::Ways => "sync_ways",
            Self::TimeFloor => "time_floor",
            Self::EveryProject => "sync_every_project",
            Self::WantedFiles => "sync_wanted_files",
        }
    }
}

pub(super) fn read<T: DeserializeOwned>(connection: &Connection, fact: Fact) -> Result<Option<T>> {
    schema::fact::<String>(connection, fact.name())?.map(|text| from_json(&text)).transpose()
}

pub(super) fn keepers(viewer: &Viewer) -> Result<()> {
    if viewer.role() == Role::Keeper {
        Ok(())
    } else {
        Err(StoreError::Forbidden { action: "change", what: "synchronisation" })
    }
}

impl Store {
    /// A fact.
    ///
    /// # Errors
    /// When the database cannot be read, or holds something else.
    pub async fn sync_fact<T: DeserializeOwned + Send + 'static>(&self, fact: Fact) -> Result<Option<T>> {
        self.ask(move |connection| read(connection, fact)).await
    }

    /// Sets a fact; it is on the disk when this returns. `None` forgets it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn set_sync_fact<T: Serialize>(&self, fact: Fact, value: Option<&T>) -> Result<()> {
        let text = value.map(to_json).transpose()?;
        self.write(Lane::Sync, move |desk| match text {
            Some(text) => schema::set_fact(desk.connection, fact.name(), text),
            None => {
                desk.connection.execute("DELETE FROM hub WHERE name = ?1", [fact.name()])?;
                Ok(())
            }
        })
        .await
    }

    /// From now on this hub is `hub` to its gateway, by this enrolment: after enrolment, beside a copy, or after a backup
    /// was restored. What waits stays; what was asked and not answered is asked anew.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn sync_become<T: Serialize>(&self, hub: HubId, enrolment: &T) -> Result<()> {
        let text = to_json(enrolment)?;
        self.write(Lane::Sync, move |desk| {
            schema::set_fact(desk.connection, Fact::Enrolment.name(), text)?;
            local::become_another(desk.connection, hub)?;
            for begun in [Fact::Begun, Fact::NextKey] {
                desk.connection.execute("DELETE FROM hub WHERE name = ?1", [begun.name()])?;
            }
            Ok(())
        })
        .await
    }

    /// The latest time that is believed, raised to `at_ms`; it never goes back.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn raise_time_floor(&self, at_ms: i64) -> Result<i64> {
        self.write(Lane::Sync, move |desk| {
            let floor = read::<i64>(desk.connection, Fact::TimeFloor)?.unwrap_or(0).max(at_ms);
            schema::set_fact(desk.connection, Fact::TimeFloor.name(), to_json(&floor)?)?;
            Ok(floor)
        })
        .await
    }
}
