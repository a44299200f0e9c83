//! The one table of record kinds: every field with its type, limit, merge strategy and meaning.
//!
//! Forms, the HTTP API, permissions, synchronisation and documentation are derived from it. To add a field,
//! add a line here; to remove one, see the expand/contract rule in `docs/ARCHITECTURE.md`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A community update.
    Notice,
    /// A library entry with its file.
    Document,
    /// A project.
    Project,
    /// A form with questions, in a project.
    Assessment,
    /// One filled-in assessment.
    Response,
    /// A person with an account or a contact.
    Person,
    /// A group of people.
    Team,
    /// A person's role in a project.
    Membership,
    /// One message, in a project's channel or the hub's.
    Message,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Notice,
        Self::Document,
        Self::Project,
        Self::Assessment,
        Self::Response,
        Self::Person,
        Self::Team,
        Self::Membership,
        Self::Message,
    ];

    /// The kind's line in the table.
    #[must_use]
    pub const fn def(self) -> &'static KindDef {
        match self {
            Self::Notice => &NOTICE,
            Self::Document => &DOCUMENT,
            Self::Project => &PROJECT,
            Self::Assessment => &ASSESSMENT,
            Self::Response => &RESPONSE,
            Self::Person => &PERSON,
            Self::Team => &TEAM,
            Self::Membership => &MEMBERSHIP,
            Self::Message => &MESSAGE,
        }
    }

    /// The name used in the API and the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.def().name
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No kind has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind of record called {0:?}")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownKind(name.chars().take(64).collect()))
    }
}

/// A person's role on the hub, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads what is open; may join projects by invitation.
    Guest,
    /// Contributes.
    Volunteer,
    /// Looks after the hub.
    Keeper,
}

/// A person's role in one project, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjectRole {
    /// Reads.
    Viewer,
    /// Reads and writes.
    Editor,
    /// Also decides who takes part.
    Owner,
}

/// Who may do something with a record. Keepers always may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone on the local network, signed in or not. In a closed project: its members.
    Anyone,
    /// Everyone signed in. In a closed project: its members.
    SignedIn,
    /// Volunteers and, in a project, its editors.
    Contributor,
    /// Whoever created the record and, in a project, its owners.
    Author,
    /// The project's owners.
    ProjectOwner,
    /// Whoever takes part in an open form: its project's members, or everyone signed in where the project is open.
    Participant,
    /// Only the person the record is about.
    Oneself,
    /// Only keepers.
    Keeper,
}

/// Where records of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// On the hub as a whole.
    Hub,
    /// Always in a project.
    Project,
    /// In a project or on the hub as a whole.
    Either,
}

/// How two changes of one field are brought together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The later change by hybrid logical clock wins.
    LastWriteWins,
    /// The gateway's value wins.
    GatewayWins,
    /// The hub's value wins.
    HubWins,
    /// Text is merged three-way, sets by union with removals respected; what cannot be merged goes to a person.
    Merge,
    /// Counters add up.
    Add,
    /// A person decides.
    Manual,
}

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Yes or no.
    Bool,
    /// A whole number.
    Int,
    /// A moment in milliseconds since 1970, UTC.
    Time,
    /// A number that is added to.
    Counter,
    /// One line of text.
    Line,
    /// Text of several lines, Markdown.
    Text,
    /// One of a list.
    Choice(&'static [&'static str]),
    /// Another record, by id.
    Ref(Kind),
    /// A file's content, by hash.
    Blob,
    /// A set of short texts, or of record ids.
    Set,
    /// Structured data.
    Json,
}

impl FieldType {
    /// What the field takes, in words, for error messages.
    #[must_use]
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int | Self::Counter => "a whole number",
            Self::Time => "a time in milliseconds since 1970",
            Self::Line => "a line of text",
            Self::Text => "text",
            Self::Choice(_) => "one of the choices",
            Self::Ref(_) => "the id of a record",
            Self::Blob => "the hash of a file",
            Self::Set => "a list of texts",
            Self::Json => "a list or an object",
        }
    }
}

/// One field of a kind.
#[derive(Debug, Clone, Copy)]
pub struct FieldDef {
    /// Name in the API and the store.
    pub name: &'static str,
    /// Type.
    pub ty: FieldType,
    /// Largest size in bytes, for lines, texts and structures.
    pub limit: usize,
    /// Whether a record must have it.
    pub required: bool,
    /// How concurrent changes are merged.
    pub strategy: Strategy,
    /// Whether only keepers may set it.
    pub keeper_only: bool,
    /// What it means, for the API's documentation.
    pub doc: &'static str,
}

/// One kind of record.
#[derive(Debug)]
pub struct KindDef {
    /// Name in the API and the store.
    pub name: &'static str,
    /// What it is, for the API's documentation.
    pub doc: &'static str,
    /// Where its records live.
    pub scope: Scope,
    /// Who may read.
    pub read: Access,
    /// Who may create.
    pub create: Access,
    /// Who may change.
    pub update: Access,
    /// Who may delete.
    pub delete: Access,
    /// Its fields.
    pub fields: &'static [FieldDef],
}

impl KindDef {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static FieldDef> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// Longest line of text, in bytes.
pub const LINE: usize = 300;
/// Longest text, in bytes.
pub const TEXT: usize = 64 * 1024;
/// Largest structured value, in bytes.
pub const JSON: usize = 256 * 1024;

const fn field(name: &'static str, ty: FieldType, strategy: Strategy, doc: &'static str) -> FieldDef {
    let limit = match ty {
        FieldType::Line => LINE,
        FieldType::Text => TEXT,
        FieldType::Json => JSON,
        _ => 128,
    };
    FieldDef { name, ty, limit, required: false, strategy, keeper_only: false, doc }
}

impl FieldDef {
    const fn needed(self) -> Self {
        Self { required: true, ..self }
    }

    const fn keepers(self) -> Self {
        Self { keeper_only: true, ..self }
    }
}

use FieldType as T;
use Strategy as S;

static NOTICE: KindDef = KindDef {
    name: "notice",
    doc: "A community update.",
    scope: Scope::Either,
    read: Access::Anyone,
    create: Access::Contributor,
    update: Access::Author,
    delete: Access::Author,
    fields: &[
        field("title", T::Line, S::Manual, "What it is about.").needed(),
        field("body", T::Text, S::Merge, "The update, in Markdown."),
        field("level", T::Choice(&["info", "warning", "urgent"]), S::LastWriteWins, "How urgent it is.")
            .needed(),
        field("expires_at", T::Time, S::LastWriteWins, "When it is no longer shown on the first page."),
        field("pinned", T::Bool, S::LastWriteWins, "Whether it stays on top."),
    ],
};

static DOCUMENT: KindDef = KindDef {
    name: "document",
    doc: "A library entry with its file.",
    scope: Scope::Either,
    read: Access::Anyone,
    create: Access::Contributor,
    update: Access::Author,
    delete: Access::Author,
    fields: &[
        field("title", T::Line, S::Manual, "Its title.").needed(),
        field("description", T::Text, S::Merge, "What it holds, in Markdown."),
        field("language", T::Line, S::LastWriteWins, "Language tag, BCP 47."),
        field("tags", T::Set, S::Merge, "Words to find it by."),
        field("file", T::Blob, S::Manual, "The file's content.").needed(),
        field("file_name", T::Line, S::LastWriteWins, "The file's name.").needed(),
        field("media_type", T::Line, S::LastWriteWins, "The file's media type, RFC 6838.").needed(),
        field("size", T::Int, S::LastWriteWins, "The file's size in bytes.").needed(),
        field("source", T::Line, S::LastWriteWins, "Where it comes from: a person, a link, a licence."),
    ],
};

static PROJECT: KindDef = KindDef {
    name: "project",
    doc: "A project with its people, assessments, documents and channel.",
    scope: Scope::Hub,
    read: Access::Anyone,
    create: Access::Contributor,
    update: Access::ProjectOwner,
    delete: Access::ProjectOwner,
    fields: &[
        field("name", T::Line, S::Manual, "Its name.").needed(),
        field("description", T::Text, S::Merge, "What it is for, in Markdown."),
        field("status", T::Choice(&["active", "paused", "done"]), S::LastWriteWins, "Where it stands.")
            .needed(),
        field("open", T::Bool, S::GatewayWins, "Whether everyone on the network may read it."),
    ],
};

static ASSESSMENT: KindDef = KindDef {
    name: "assessment",
    doc: "A form with questions.",
    scope: Scope::Project,
    read: Access::Anyone,
    create: Access::Contributor,
    update: Access::Contributor,
    delete: Access::Author,
    fields: &[
        field("title", T::Line, S::Manual, "Its title.").needed(),
        field("description", T::Text, S::Merge, "What it is for, in Markdown."),
        field("questions", T::Json, S::Manual, "The questions, in order.").needed(),
        field(
            "status",
            T::Choice(&["draft", "open", "closed"]),
            S::LastWriteWins,
            "Whether it takes responses.",
        )
        .needed(),
        field("responses", T::Counter, S::Add, "How many responses were ever given."),
    ],
};

static RESPONSE: KindDef = KindDef {
    name: "response",
    doc: "One filled-in assessment.",
    scope: Scope::Project,
    read: Access::Contributor,
    create: Access::Participant,
    update: Access::Author,
    delete: Access::Author,
    fields: &[
        field("assessment", T::Ref(Kind::Assessment), S::HubWins, "Which assessment it answers.").needed(),
        field("answers", T::Json, S::Manual, "Answers by question id.").needed(),
        field("place", T::Line, S::LastWriteWins, "Where it was taken."),
        field("note", T::Text, S::Merge, "Anything else."),
    ],
};

static PERSON: KindDef = KindDef {
    name: "person",
    doc: "A person with an account.",
    scope: Scope::Hub,
    read: Access::SignedIn,
    create: Access::Keeper,
    update: Access::Oneself,
    delete: Access::Keeper,
    fields: &[
        field("name", T::Line, S::Manual, "The name shown to others.").needed(),
        field("login", T::Line, S::GatewayWins, "The name typed to sign in, lower case.").keepers(),
        field("role", T::Choice(&["guest", "volunteer", "keeper"]), S::GatewayWins, "Role on the hub.")
            .needed()
            .keepers(),
        field("language", T::Line, S::LastWriteWins, "Language of the pages, BCP 47."),
        field("contact", T::Line, S::LastWriteWins, "How to reach the person."),
        field("skills", T::Set, S::Merge, "What the person can help with."),
        field("disabled", T::Bool, S::GatewayWins, "Whether the account is closed.").keepers(),
    ],
};

static TEAM: KindDef = KindDef {
    name: "team",
    doc: "A group of people.",
    scope: Scope::Either,
    read: Access::SignedIn,
    create: Access::Contributor,
    update: Access::Author,
    delete: Access::Author,
    fields: &[
        field("name", T::Line, S::Manual, "Its name.").needed(),
        field("description", T::Text, S::Merge, "What it does, in Markdown."),
        field("people", T::Set, S::Merge, "Ids of the people in it."),
    ],
};

static MEMBERSHIP: KindDef = KindDef {
    name: "membership",
    doc: "A person's role in a project.",
    scope: Scope::Project,
    read: Access::SignedIn,
    create: Access::ProjectOwner,
    update: Access::ProjectOwner,
    delete: Access::ProjectOwner,
    fields: &[
        field("person", T::Ref(Kind::Person), S::HubWins, "Who.").needed(),
        field("role", T::Choice(&["viewer", "editor", "owner"]), S::GatewayWins, "The role.").needed(),
    ],
};

static MESSAGE: KindDef = KindDef {
    name: "message",
    doc: "One message in a channel.",
    scope: Scope::Either,
    read: Access::SignedIn,
    create: Access::SignedIn,
    update: Access::Author,
    delete: Access::Author,
    fields: &[
        field("body", T::Text, S::LastWriteWins, "The message.").needed(),
        field("reply_to", T::Ref(Kind::Message), S::HubWins, "Which message it answers."),
    ],
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
            let names: BTreeSet<_> = kind.def().fields.iter().map(|field| field.name).collect();
            assert_eq!(names.len(), kind.def().fields.len(), "{kind} names a field twice");
        }
        assert!("nothing".parse::<Kind>().is_err());
    }

    #[test]
    fn a_strategy_fits_its_fields_type() {
        for field in Kind::ALL.iter().flat_map(|kind| kind.def().fields) {
            match field.strategy {
                Strategy::Merge => {
                    assert!(matches!(field.ty, FieldType::Text | FieldType::Set), "{}", field.name)
                }
                Strategy::Add => assert_eq!(field.ty, FieldType::Counter, "{}", field.name),
                _ => assert_ne!(field.ty, FieldType::Counter, "{}", field.name),
            }
        }
    }
}
