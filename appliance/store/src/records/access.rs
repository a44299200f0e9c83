//! Who may do what: the rule of hub and gateway ([`cairn_sync::access`]), as SQLite is asked. Statements bind `:viewer` (the
//! person or NULL) and `:role` ([`Eyes`]).

use std::sync::OnceLock;

use cairn_sync::{Kind, RecordId, Role, access::Names};
use rusqlite::{Connection, OptionalExtension, named_params};

use super::codec::{kind_code, role_code};
use crate::{
    error::Result,
    viewer::{Action, Viewer, Who},
};

const NAMES: Names = Names { viewer: ":viewer", role: ":role", projects: "projects", members: "members" };

/// Who looks, as the database knows them now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Eyes {
    pub(crate) person: Option<RecordId>,
    pub(crate) role: i64,
}

impl Eyes {
    /// Looks the person up: a role that was taken away, an account that was closed, count at once.
    pub(crate) fn of(connection: &Connection, viewer: &Viewer) -> Result<Self> {
        let nobody = Self { person: None, role: role_code(Role::Guest) };
        match viewer.who {
            Who::Anonymous => Ok(nobody),
            Who::System(_) => Ok(Self { person: None, role: role_code(Role::Keeper) }),
            Who::Person(person) => {
                let role = connection
                    .prepare_cached("SELECT role FROM people WHERE id = ?1 AND disabled = 0")?
                    .query_row([person.as_bytes()], |row| row.get(0))
                    .optional()?;
                Ok(role.map_or(nobody, |role| Self { person: Some(person), role }))
            }
        }
    }

    pub(crate) const fn is_keeper(&self) -> bool {
        self.role >= role_code(Role::Keeper)
    }

    pub(crate) fn viewer(&self) -> Option<&[u8]> {
        self.person.as_ref().map(|person| person.as_bytes().as_slice())
    }
}

/// What a decision is about: a record, or a place where one is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) id: Option<RecordId>,
    pub(crate) kind: Kind,
    pub(crate) scope: Option<RecordId>,
    pub(crate) created_by: Option<RecordId>,
    pub(crate) deleted: bool,
}

/// Whether `eyes` may do `action`.
pub(crate) fn allowed(connection: &Connection, eyes: Eyes, action: Action, subject: Subject) -> Result<bool> {
    let rule = match (action, subject.deleted) {
        (Action::Read, false) => readable("r"),
        (Action::Read, true) | (Action::Delete, _) => deletable("r"),
        (Action::Create, _) => creatable("r"),
        (Action::Update, _) => changeable("r"),
    };
    let sql = format!(
        "SELECT {rule} FROM (SELECT :id AS id, :kind AS kind, :scope AS scope, :author AS created_by) r"
    );
    let id = subject.id.map(|id| *id.as_bytes());
    let scope = subject.scope.map(|id| *id.as_bytes());
    let author = subject.created_by.map(|id| *id.as_bytes());
    Ok(connection.prepare_cached(&sql)?.query_row(
        named_params! {
            ":id": id, ":kind": kind_code(subject.kind), ":scope": scope, ":author": author,
            ":viewer": eyes.viewer(), ":role": eyes.role,
        },
        |row| row.get(0),
    )?)
}

/// Living records that may be read.
pub(crate) fn readable(alias: &'static str) -> &'static str {
    static RULE: OnceLock<String> = OnceLock::new();
    aliased(&RULE, alias, read_rule)
}

/// Records that may be deleted, and tombstones that may be seen and brought back.
pub(crate) fn deletable(alias: &'static str) -> &'static str {
    static RULE: OnceLock<String> = OnceLock::new();
    aliased(&RULE, alias, delete_rule)
}

fn creatable(alias: &'static str) -> &'static str {
    static RULE: OnceLock<String> = OnceLock::new();
    aliased(&RULE, alias, |kind| NAMES.rule(kind, Action::Create, false))
}

fn changeable(alias: &'static str) -> &'static str {
    static RULE: OnceLock<String> = OnceLock::new();
    aliased(&RULE, alias, |kind| NAMES.rule(kind, Action::Update, false))
}

/// All statements use the alias "r"; the parameter keeps that visible where the predicate is pasted.
fn aliased(
    cache: &'static OnceLock<String>,
    alias: &'static str,
    of: impl Fn(Kind) -> String,
) -> &'static str {
    debug_assert_eq!(alias, "r");
    cache.get_or_init(|| {
        let cases = Kind::ALL.map(|kind| format!("WHEN {} THEN ({})", kind_code(kind), of(kind)));
        // Comparisons with NULL are NULL; a decision is yes or no.
        format!("coalesce(CASE r.kind {} ELSE 0 END, 0)", cases.join(" "))
    })
}

/// The read rule of one kind, for lists: simpler than the rule over all kinds, so that SQLite plans it better.
pub(crate) fn read_rule(kind: Kind) -> String {
    NAMES.rule(kind, Action::Read, false)
}

/// The delete rule of one kind, for lists of tombstones.
pub(crate) fn delete_rule(kind: Kind) -> String {
    NAMES.rule(kind, Action::Delete, true)
}
