//! Who may do what, as SQL made from the table of kinds.
//!
//! Every statement that reads or writes records for somebody carries one of these predicates over an alias with the
//! columns `id`, `kind`, `scope` and `created_by`, and binds `:viewer` (the person or NULL) and `:role`
//! ([`Eyes`]). What the words of [`Access`] come to:
//!
//! - *Entering* a scope comes first. The hub as a whole is open to everyone. A project is entered by everyone when it is
//!   open, else by its members. Keepers enter every project. What lies in a deleted project is out of reach for
//!   everybody until the project is restored.
//! - `Contributor`: on the hub as a whole volunteers; in a project its editors and owners, whatever their role on the hub.
//! - `Author`: whoever created the record, as long as they can enter its scope, and the project's owners.
//! - Keepers may everything. Parts of the hub count as keepers.
//! - Whoever created a record may read it as long as they can enter its scope, also where others may not.
//! - A tombstone is seen by those who may delete the record, because they may bring it back.

use std::sync::OnceLock;

use cairn_sync::{Access, Kind, ProjectRole, RecordId, Role};
use rusqlite::{Connection, OptionalExtension, named_params};

use super::codec::{kind_code, role_code};
use crate::{
    error::Result,
    viewer::{Action, Viewer, Who},
};

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
    aliased(&RULE, alias, |kind| rule(kind, kind.def().delete))
}

fn creatable(alias: &'static str) -> &'static str {
    static RULE: OnceLock<String> = OnceLock::new();
    aliased(&RULE, alias, |kind| rule(kind, kind.def().create))
}

fn changeable(alias: &'static str) -> &'static str {
    static RULE: OnceLock<String> = OnceLock::new();
    aliased(&RULE, alias, |kind| rule(kind, kind.def().update))
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
    let rule = rule(kind, kind.def().read);
    match kind.def().read {
        Access::Anyone | Access::SignedIn => rule,
        _ => format!("({rule}) OR (({}) AND {AUTHOR})", enter(kind)),
    }
}

/// The delete rule of one kind, for lists of tombstones.
pub(crate) fn delete_rule(kind: Kind) -> String {
    rule(kind, kind.def().delete)
}

const KEEPER: &str = ":role >= 2";
const SIGNED_IN: &str = "(:viewer IS NOT NULL OR :role >= 2)";
const AUTHOR: &str = "(:viewer IS NOT NULL AND r.created_by = :viewer)";

fn enter(kind: Kind) -> String {
    // A project itself is entered also when it is a tombstone, by those who may bring it back.
    let live = if kind == Kind::Project { "1" } else { "p.live" };
    format!(
        "(r.scope IS NULL \
         OR r.scope IN (SELECT p.id FROM projects p WHERE {live} AND (p.open OR {KEEPER})) \
         OR r.scope IN (SELECT m.project FROM members m JOIN projects p ON p.id = m.project \
            WHERE m.person = :viewer AND {live}))"
    )
}

fn member(kind: Kind, at_least: ProjectRole) -> String {
    let live = if kind == Kind::Project { "1" } else { "p.live" };
    format!(
        "r.scope IN (SELECT m.project FROM members m JOIN projects p ON p.id = m.project \
         WHERE m.person = :viewer AND m.role >= {} AND {live})",
        project_role_code(at_least)
    )
}

fn rule(kind: Kind, access: Access) -> String {
    let enter = enter(kind);
    match access {
        Access::Anyone => enter,
        Access::SignedIn | Access::Participant => format!("{SIGNED_IN} AND {enter}"),
        Access::Contributor => format!(
            "({KEEPER} AND {enter}) OR (r.scope IS NULL AND :role >= {} AND :viewer IS NOT NULL) OR {}",
            role_code(Role::Volunteer),
            member(kind, ProjectRole::Editor)
        ),
        Access::Author => {
            format!("{enter} AND ({KEEPER} OR {AUTHOR} OR {})", member(kind, ProjectRole::Owner))
        }
        Access::ProjectOwner => format!("({KEEPER} AND {enter}) OR {}", member(kind, ProjectRole::Owner)),
        Access::Oneself => format!("{enter} AND ({KEEPER} OR (:viewer IS NOT NULL AND r.id = :viewer))"),
        Access::Keeper => format!("{enter} AND {KEEPER}"),
    }
}

/// The stored number of a role in a project.
pub(crate) const fn project_role_code(role: ProjectRole) -> i64 {
    match role {
        ProjectRole::Viewer => 0,
        ProjectRole::Editor => 1,
        ProjectRole::Owner => 2,
    }
}
