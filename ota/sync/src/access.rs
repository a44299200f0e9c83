//! Who may do what, as SQL made from the table of kinds: one rule for the hub's SQLite and the gateway's PostgreSQL.
//!
//! Every statement that reads or writes records for somebody carries one of these predicates over an alias `r` with the
//! columns `id`, `scope` (the project; of a project itself its own id; NULL: the hub as a whole) and `created_by`. The
//! databases differ in the [`Names`] of parameters and tables alone. Their tables have these columns: projects `id`, `open`,
//! `live`; members `person`, `project`, `role` ([`project_role_code`]). What the words of [`Access`] come to:
//!
//! - *Entering* a scope comes first. The hub as a whole is open to everyone. A project is entered by everyone when it is
//!   open, else by its members. Keepers enter every project. What lies in a deleted project is out of reach for
//!   everybody until the project is restored.
//! - `Contributor`: on the hub as a whole volunteers; in a project its editors and owners, whatever their role on the hub.
//! - `Author`: whoever created the record, as long as they can enter its scope, and the project's owners.
//! - Keepers may everything. Parts of the hub count as keepers.
//! - Whoever created a record may read it as long as they can enter its scope, also where others may not.
//! - A tombstone is seen by those who may delete the record, because they may bring it back.

use crate::{Access, Kind, ProjectRole, Role};

/// What can be done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// See it.
    Read,
    /// Make one.
    Create,
    /// Change it.
    Update,
    /// Delete it or bring it back.
    Delete,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Read, Self::Create, Self::Update, Self::Delete];

    /// The word for it, in "you may not …".
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "change",
            Self::Delete => "delete",
        }
    }
}

/// What a database calls the things that rules speak of.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// The parameter that holds the person who asks, or NULL.
    pub viewer: &'static str,
    /// The parameter that holds their role ([`role_code`]).
    pub role: &'static str,
    /// The table of projects.
    pub projects: &'static str,
    /// The table of memberships.
    pub members: &'static str,
}

/// The stored number of a role; a greater one may more.
#[must_use]
pub const fn role_code(role: Role) -> i64 {
    match role {
        Role::Guest => 0,
        Role::Volunteer => 1,
        Role::Keeper => 2,
    }
}

/// The role that a person's record names; what is unknown is the weakest.
#[must_use]
pub fn role_named(name: &str) -> Role {
    match name {
        "keeper" => Role::Keeper,
        "volunteer" => Role::Volunteer,
        _ => Role::Guest,
    }
}

/// The stored number of a role in a project; a greater one may more.
#[must_use]
pub const fn project_role_code(role: ProjectRole) -> i64 {
    match role {
        ProjectRole::Viewer => 0,
        ProjectRole::Editor => 1,
        ProjectRole::Owner => 2,
    }
}

/// The role in a project that a membership's record names; what is unknown is the weakest.
#[must_use]
pub fn project_role_named(name: &str) -> ProjectRole {
    match name {
        "owner" => ProjectRole::Owner,
        "editor" => ProjectRole::Editor,
        _ => ProjectRole::Viewer,
    }
}

impl Names {
    /// The predicate for doing `action` with records of `kind`; `deleted` says whether they are tombstones. It can be NULL,
    /// which means no.
    #[must_use]
    pub fn rule(&self, kind: Kind, action: Action, deleted: bool) -> String {
        let def = kind.def();
        match (action, deleted) {
            (Action::Read, false) => self.read(kind),
            (Action::Read, true) | (Action::Delete, _) => self.of(kind, def.delete),
            (Action::Create, _) => self.of(kind, def.create),
            (Action::Update, _) => self.of(kind, def.update),
        }
    }

    fn read(&self, kind: Kind) -> String {
        let rule = self.of(kind, kind.def().read);
        match kind.def().read {
            Access::Anyone | Access::SignedIn => rule,
            _ => format!("({rule}) OR (({}) AND {})", self.enter(kind), self.author()),
        }
    }

    fn keeper(&self) -> String {
        format!("{} >= {}", self.role, role_code(Role::Keeper))
    }

    fn author(&self) -> String {
        format!("({0} IS NOT NULL AND r.created_by = {0})", self.viewer)
    }

    fn enter(&self, kind: Kind) -> String {
        let (live, keeper) = (live(kind), self.keeper());
        let Self { viewer, projects, members, .. } = self;
        format!(
            "(r.scope IS NULL \
             OR r.scope IN (SELECT p.id FROM {projects} p WHERE {live} AND (p.open OR {keeper})) \
             OR r.scope IN (SELECT m.project FROM {members} m JOIN {projects} p ON p.id = m.project \
                WHERE m.person = {viewer} AND {live}))"
        )
    }

    fn member(&self, kind: Kind, at_least: ProjectRole) -> String {
        let Self { viewer, projects, members, .. } = self;
        format!(
            "r.scope IN (SELECT m.project FROM {members} m JOIN {projects} p ON p.id = m.project \
             WHERE m.person = {viewer} AND m.role >= {} AND {})",
            project_role_code(at_least),
            live(kind)
        )
    }

    fn of(&self, kind: Kind, access: Access) -> String {
        let (enter, keeper, author) = (self.enter(kind), self.keeper(), self.author());
        let (viewer, role) = (self.viewer, self.role);
        match access {
            Access::Anyone => enter,
            Access::SignedIn | Access::Participant => {
                format!("({viewer} IS NOT NULL OR {keeper}) AND {enter}")
            }
            Access::Contributor => format!(
                "({keeper} AND {enter}) OR (r.scope IS NULL AND {role} >= {} AND {viewer} IS NOT NULL) OR {}",
                role_code(Role::Volunteer),
                self.member(kind, ProjectRole::Editor)
            ),
            Access::Author => {
                format!("{enter} AND ({keeper} OR {author} OR {})", self.member(kind, ProjectRole::Owner))
            }
            Access::ProjectOwner => {
                format!("({keeper} AND {enter}) OR {}", self.member(kind, ProjectRole::Owner))
            }
            Access::Oneself => {
                format!("{enter} AND ({keeper} OR ({viewer} IS NOT NULL AND r.id = {viewer}))")
            }
            Access::Keeper => format!("{enter} AND {keeper}"),
        }
    }
}

/// A project itself is entered also when it is a tombstone, by those who may bring it back.
const fn live(kind: Kind) -> &'static str {
    if matches!(kind, Kind::Project) { "TRUE" } else { "p.live" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_read_back_from_their_names_and_grow() {
        let roles = [("guest", Role::Guest), ("volunteer", Role::Volunteer), ("keeper", Role::Keeper)];
        for (code, (name, role)) in (0..).zip(roles) {
            assert_eq!((role_named(name), role_code(role)), (role, code));
        }
        let roles =
            [("viewer", ProjectRole::Viewer), ("editor", ProjectRole::Editor), ("owner", ProjectRole::Owner)];
        for (code, (name, role)) in (0..).zip(roles) {
            assert_eq!((project_role_named(name), project_role_code(role)), (role, code));
        }
    }
}
