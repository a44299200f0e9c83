//! What is checked of a change that somebody submits, before it is made: the same on hub and gateway. What needs other
//! records is looked up by each in its own database; what is said about it stands here.

use crate::{
    FieldDef, FieldType, Fields, Kind, RecordId, Scope, Value, ValueError, access::Action, shown::Record,
};

/// Most fields in one change; a kind has fewer.
const MAX_FIELDS: usize = 64;

/// Why a change was not made, or a record is not shown.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such thing, or whoever asks may not know of it.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Whoever asks may see it, but may not do this.
    #[error("you may not {action} this {what}")]
    Forbidden {
        /// What was tried: "change", "delete", "create" …
        action: &'static str,
        /// What it was tried on.
        what: &'static str,
    },
    /// Only people who are signed in may do this.
    #[error("sign in to {0}")]
    SignInNeeded(&'static str),
    /// A field's value was refused.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The input as a whole makes no sense, in words for people.
    #[error("{0}")]
    Invalid(String),
    /// Somebody else changed the same field meanwhile. Nothing was saved.
    #[error("somebody changed {field} meanwhile; look at the current version and decide")]
    Stale {
        /// The first field changed by both.
        field: String,
        /// The record as it is now.
        current: Box<Record>,
    },
    /// The same change id was already used for something else.
    #[error("this change was already used for something else")]
    ChangeIdTaken,
    /// Somebody has this login already.
    #[error("the name {0:?} is taken")]
    LoginTaken(String),
    /// A file's content is not here.
    #[error("the content of this file is not here; upload it first")]
    BlobMissing,
}

impl Refused {
    /// In words for people.
    #[must_use]
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// There is no such record of this kind.
    #[must_use]
    pub const fn not_found(kind: Kind) -> Self {
        Self::NotFound(kind.def().name)
    }

    /// The refusal that tells no more than whoever asks may know.
    #[must_use]
    pub const fn action(signed_in: bool, action: Action, kind: Kind) -> Self {
        if signed_in {
            return Self::Forbidden { action: action.verb(), what: kind.def().name };
        }
        Self::SignInNeeded(match action {
            Action::Read => "read this",
            Action::Create => "add this",
            Action::Update => "change this",
            Action::Delete => "delete this",
        })
    }

    /// The record that a field refers to lies elsewhere.
    #[must_use]
    pub fn elsewhere(kind: Kind) -> Self {
        Self::invalid(format!("The {kind} belongs to another project."))
    }

    /// The person has a role in the project already.
    #[must_use]
    pub fn member_already() -> Self {
        Self::invalid("This person takes part in the project already; change the role instead.")
    }

    /// Nobody would look after the hub any more.
    #[must_use]
    pub fn no_keeper() -> Self {
        Self::invalid("The hub needs at least one keeper who can sign in.")
    }

    /// A list by what an index does not hold.
    #[must_use]
    pub fn not_searchable(field: &str, by: &str) -> Self {
        let field: String = field.chars().take(64).collect();
        Self::invalid(format!("{field} cannot be searched by {by}."))
    }

    /// A cursor of another list.
    #[must_use]
    pub fn other_page(of: &str) -> Self {
        Self::invalid(format!("This page does not belong to this {of}; start from its beginning."))
    }
}

/// The fields that a change sets, by their definitions.
pub type Sets = Vec<(&'static FieldDef, Value)>;

/// Whether records of `kind` can live in a project, or on the hub as a whole.
///
/// # Errors
/// [`Refused::Invalid`].
pub fn check_place(kind: Kind, project: Option<RecordId>) -> Result<(), Refused> {
    match (kind.def().scope, project) {
        (Scope::Hub, Some(_)) => {
            Err(Refused::invalid(format!("A {kind} belongs to the hub, not to a project.")))
        }
        (Scope::Project, None) => {
            Err(Refused::invalid(format!("A {kind} belongs to a project; say which one.")))
        }
        _ => Ok(()),
    }
}

/// The fields by their definitions, each value checked.
///
/// # Errors
/// [`Refused`] names the first field that is not as it has to be, or that whoever asks may not set.
pub fn checked(kind: Kind, fields: Fields, is_keeper: bool) -> Result<Sets, Refused> {
    if fields.len() > MAX_FIELDS {
        return Err(Refused::invalid(format!("A change can set at most {MAX_FIELDS} fields.")));
    }
    let mut sets = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let Some(def) = kind.def().field(&name) else {
            return Err(ValueError::UnknownField(name.chars().take(64).collect()).into());
        };
        def.check(&value)?;
        if def.ty == FieldType::Counter {
            return Err(Refused::invalid(format!("{} is counted by the hub.", def.name)));
        }
        if def.keeper_only && !is_keeper {
            return Err(Refused::Forbidden { action: "set", what: def.name });
        }
        sets.push((def, value));
    }
    Ok(sets)
}

/// Whether a new record has what its kind requires. What is cleared is left out.
///
/// # Errors
/// [`ValueError::Missing`].
pub fn complete(kind: Kind, sets: &mut Sets) -> Result<(), Refused> {
    sets.retain(|(_, value)| *value != Value::Null);
    let missing = kind
        .def()
        .fields
        .iter()
        .find(|def| def.required && !sets.iter().any(|(set, _)| set.name == def.name));
    missing.map_or(Ok(()), |def| Err(ValueError::Missing(def.name).into()))
}

/// The size that a document states is its file's: what was given is replaced by what was measured, in bytes.
pub fn state_size(kind: Kind, sets: &mut Sets, measured: Option<u64>) {
    sets.retain(|(def, _)| def.name != "size");
    if let (Some(size), Some(def)) = (measured, kind.def().field("size")) {
        sets.push((def, Value::Int(i64::try_from(size).unwrap_or(i64::MAX))));
    }
}

/// The file that a change refers to.
#[must_use]
pub fn file(sets: &Sets) -> Option<crate::BlobId> {
    sets.iter().find(|(def, _)| def.ty == FieldType::Blob)?.1.as_text()?.parse().ok()
}

/// The record that a change refers to by this field.
#[must_use]
pub fn reference(sets: &Sets, name: &str) -> Option<RecordId> {
    sets.iter().find(|(def, _)| def.name == name)?.1.as_text()?.parse().ok()
}

/// Whether an assessment in this state takes responses.
///
/// # Errors
/// [`Refused::Invalid`] says why not.
pub fn takes_responses(status: &str) -> Result<(), Refused> {
    match status {
        "open" => Ok(()),
        "draft" => Err(Refused::invalid("This assessment is not open yet.")),
        _ => Err(Refused::invalid("This assessment is closed and takes no more responses.")),
    }
}
