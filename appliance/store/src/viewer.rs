//! Who asks. A viewer is made by the store alone, so that no caller can promote itself.

pub use cairn_sync::access::Action;
use cairn_sync::{RecordId, Role};

/// Which part of the hub acts when no person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Synchronisation.
    Sync,
    /// Indexing.
    Index,
    /// The command line on the device itself.
    Console,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Anonymous,
    Person(RecordId),
    System(Part),
}

/// Whoever asks: nobody known, a person, or a part of the hub.
///
/// The role is what it was when the viewer was made, for pages to show; every call looks the person's role up again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Viewer {
    pub(crate) who: Who,
    pub(crate) role: Role,
}

impl Viewer {
    /// Nobody known: someone on the local network who is not signed in.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self { who: Who::Anonymous, role: Role::Guest }
    }

    /// A part of the hub. It may do everything; what it does carries no person's name.
    #[must_use]
    pub const fn system(part: Part) -> Self {
        Self { who: Who::System(part), role: Role::Keeper }
    }

    pub(crate) const fn of(person: RecordId, role: Role) -> Self {
        Self { who: Who::Person(person), role }
    }

    /// The person, where it is one.
    #[must_use]
    pub const fn person(&self) -> Option<RecordId> {
        if let Who::Person(person) = self.who { Some(person) } else { None }
    }

    /// The role on the hub; [`Role::Guest`] when anonymous, [`Role::Keeper`] for a part of the hub.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether it is a person who signed in.
    #[must_use]
    pub const fn is_signed_in(&self) -> bool {
        matches!(self.who, Who::Person(_))
    }

    /// Whether it is a part of the hub.
    #[must_use]
    pub const fn is_system(&self) -> bool {
        matches!(self.who, Who::System(_))
    }
}
