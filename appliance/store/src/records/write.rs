//! Creating, changing, deleting and restoring records: what is checked, in which order, before anything is written.

use std::collections::BTreeMap;

use cairn_sync::{ChangeId, FieldDef, FieldType, Fields, Hlc, Kind, RecordId, Scope, Value, ValueError};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    access::{Eyes, Subject, allowed},
    change::{Change, apply},
    codec::id,
    head::{FieldMap, Head},
};
use crate::{
    db::writer::Desk,
    error::{Result, StoreError},
    record::{ChangeKind, Record, SyncState},
    viewer::{Action, Viewer},
};

/// Most fields in one change; a kind has fewer.
const MAX_FIELDS: usize = 64;

/// Makes a record.
pub(crate) fn create(
    desk: &mut Desk<'_>,
    viewer: &Viewer,
    kind: Kind,
    project: Option<RecordId>,
    fields: Fields,
    change: Option<ChangeId>,
) -> Result<Record> {
    let eyes = Eyes::of(desk.connection, viewer)?;
    if let Some(done) = done_before(desk.connection, eyes, change, None)? {
        return Ok(done);
    }
    let scope = place(desk.connection, eyes, kind, project)?;
    let subject = Subject { id: None, kind, scope, created_by: eyes.person, deleted: false };
    if !allowed(desk.connection, eyes, Action::Create, subject)? {
        return Err(refusal(eyes, Action::Create, kind));
    }
    make(desk, eyes, kind, scope, fields, change)
}

/// Makes a record for somebody who may; everything else is checked.
pub(crate) fn make(
    desk: &mut Desk<'_>,
    eyes: Eyes,
    kind: Kind,
    scope: Option<RecordId>,
    fields: Fields,
    change: Option<ChangeId>,
) -> Result<Record> {
    let mut sets = checked(kind, fields, eyes)?;
    measure_file(desk, kind, &mut sets)?;
    for def in kind.def().fields {
        let given = sets.iter().any(|(set, value)| set.name == def.name && *value != Value::Null);
        if def.required && !given {
            return Err(ValueError::Missing(def.name).into());
        }
    }
    sets.retain(|(_, value)| *value != Value::Null);
    let id = RecordId::new();
    // A project is its own scope.
    let scope = if kind == Kind::Project { Some(id) } else { scope };
    check_references(desk.connection, eyes, kind, scope, &sets, Responses::Checked)?;
    let mut head = Head {
        id,
        kind,
        scope,
        version: 0,
        created_hlc: Hlc::ZERO,
        created_by: eyes.person,
        created_at: 0,
        changed_hlc: Hlc::ZERO,
        changed_by: None,
        changed_at: 0,
        sync: SyncState::Pending,
        gateway_version: None,
        deleted: false,
    };
    let mut map = FieldMap::new();
    let response_to = (kind == Kind::Response).then(|| reference(&sets, "assessment")).flatten();
    let change = Change { what: ChangeKind::Created, id: change.unwrap_or_default(), by: eyes.person, sets };
    apply(desk, &mut head, &mut map, change)?;
    if let Some(assessment) = response_to {
        count_response(desk, eyes, assessment)?;
    }
    if let (Kind::Project, Some(person)) = (kind, eyes.person) {
        let fields = Fields::from([
            ("person".to_owned(), Value::from(person.to_string())),
            ("role".to_owned(), Value::from("owner")),
        ]);
        make(desk, eyes, Kind::Membership, Some(id), fields, None)?;
    }
    head.load(desk.connection)
}

/// Changes some of a record's fields.
pub(crate) fn update(
    desk: &mut Desk<'_>,
    viewer: &Viewer,
    id: RecordId,
    fields: Fields,
    base: Option<u64>,
    change: Option<ChangeId>,
) -> Result<Record> {
    let eyes = Eyes::of(desk.connection, viewer)?;
    if let Some(done) = done_before(desk.connection, eyes, change, Some(id))? {
        return Ok(done);
    }
    let mut head = find_for(desk.connection, eyes, id, Action::Update)?;
    if head.deleted {
        return Err(StoreError::not_found(head.kind));
    }
    let mut current = head.fields(desk.connection)?;
    let mut sets = checked(head.kind, fields, eyes)?;
    measure_file(desk, head.kind, &mut sets)?;
    sets.retain(|(def, value)| current.get(def.name).map_or(&Value::Null, |field| &field.value) != value);
    if let Some(base) = base {
        let stale = sets.iter().find(|(def, _)| current.get(def.name).is_some_and(|f| f.version > base));
        if let Some((def, _)) = stale {
            let current = Box::new(head.load(desk.connection)?);
            return Err(StoreError::Stale { field: def.name.to_owned(), current });
        }
    }
    if sets.is_empty() {
        return head.load(desk.connection);
    }
    check_references(desk.connection, eyes, head.kind, head.scope, &sets, Responses::Checked)?;
    let change = Change { what: ChangeKind::Changed, id: change.unwrap_or_default(), by: eyes.person, sets };
    apply(desk, &mut head, &mut current, change)?;
    somebody_keeps(desk.connection, head.kind)?;
    head.load(desk.connection)
}

/// Makes a record a tombstone, or brings it back.
pub(crate) fn set_deleted(
    desk: &mut Desk<'_>,
    viewer: &Viewer,
    id: RecordId,
    deleted: bool,
    change: Option<ChangeId>,
) -> Result<Record> {
    let eyes = Eyes::of(desk.connection, viewer)?;
    if let Some(done) = done_before(desk.connection, eyes, change, Some(id))? {
        return Ok(done);
    }
    let mut head = find_for(desk.connection, eyes, id, Action::Delete)?;
    if head.deleted == deleted {
        return head.load(desk.connection);
    }
    let mut fields = head.fields(desk.connection)?;
    if !deleted {
        let sets: Vec<_> = fields.values().map(|field| (field.def, field.value.clone())).collect();
        check_references(desk.connection, eyes, head.kind, head.scope, &sets, Responses::GivenBefore)?;
    }
    let what = if deleted { ChangeKind::Deleted } else { ChangeKind::Restored };
    let change = Change { what, id: change.unwrap_or_default(), by: eyes.person, sets: Vec::new() };
    apply(desk, &mut head, &mut fields, change)?;
    somebody_keeps(desk.connection, head.kind)?;
    head.load(desk.connection)
}

/// The first outcome of a change that was made already.
fn done_before(
    connection: &Connection,
    eyes: Eyes,
    change: Option<ChangeId>,
    record: Option<RecordId>,
) -> Result<Option<Record>> {
    let Some(change) = change else { return Ok(None) };
    let found = connection
        .prepare_cached("SELECT record, version, author, kind FROM history WHERE change = ?1")?
        .query_row([change.as_bytes()], |row| {
            Ok((id(row, 0)?, row.get::<_, u64>(1)?, super::codec::id_or_none(row, 2)?, row.get::<_, i64>(3)?))
        })
        .optional()?;
    let Some((found, version, author, kind)) = found else { return Ok(None) };
    // A creation can only be repeated as one, and only by whoever made it.
    let same = record.map_or(kind == 0, |record| record == found);
    if author != eyes.person || !same {
        return Err(StoreError::ChangeIdTaken);
    }
    let head = Head::find(connection, found)?.ok_or(StoreError::NotFound("record"))?;
    if !allowed(connection, eyes, Action::Read, head.subject())? {
        return Err(StoreError::not_found(head.kind));
    }
    Ok(Some(head.load_at(connection, version)?))
}

/// The record, where `eyes` may do `action` with it; else the refusal that tells no more than they may know.
pub(crate) fn find_for(connection: &Connection, eyes: Eyes, id: RecordId, action: Action) -> Result<Head> {
    let head = Head::find(connection, id)?.ok_or(StoreError::NotFound("record"))?;
    if !allowed(connection, eyes, Action::Read, head.subject())? {
        return Err(StoreError::NotFound("record"));
    }
    if !allowed(connection, eyes, action, head.subject())? {
        return Err(refusal(eyes, action, head.kind));
    }
    Ok(head)
}

pub(crate) fn refusal(eyes: Eyes, action: Action, kind: Kind) -> StoreError {
    if eyes.person.is_none() {
        return StoreError::SignInNeeded(match action {
            Action::Read => "read this",
            Action::Create => "add this",
            Action::Update => "change this",
            Action::Delete => "delete this",
        });
    }
    StoreError::Forbidden { action: action.verb(), what: kind.name() }
}

/// Whether records of `kind` can live there.
fn place(
    connection: &Connection,
    eyes: Eyes,
    kind: Kind,
    project: Option<RecordId>,
) -> Result<Option<RecordId>> {
    match (kind.def().scope, project) {
        (Scope::Hub, Some(_)) => {
            Err(StoreError::invalid(format!("A {kind} belongs to the hub, not to a project.")))
        }
        (Scope::Project, None) => {
            Err(StoreError::invalid(format!("A {kind} belongs to a project; say which one.")))
        }
        (_, None) => Ok(None),
        (_, Some(project)) => {
            let head = Head::find(connection, project)?
                .filter(|head| head.kind == Kind::Project && !head.deleted)
                .ok_or(StoreError::NotFound("project"))?;
            if !allowed(connection, eyes, Action::Read, head.subject())? {
                return Err(StoreError::NotFound("project"));
            }
            Ok(Some(project))
        }
    }
}

/// The fields by their definitions, each value checked.
fn checked(kind: Kind, fields: Fields, eyes: Eyes) -> Result<Vec<(&'static FieldDef, Value)>> {
    if fields.len() > MAX_FIELDS {
        return Err(StoreError::invalid(format!("A change can set at most {MAX_FIELDS} fields.")));
    }
    let mut sets = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let Some(def) = kind.def().field(&name) else {
            return Err(ValueError::UnknownField(name.chars().take(64).collect()).into());
        };
        def.check(&value)?;
        if def.ty == FieldType::Counter {
            return Err(StoreError::invalid(format!("{} is counted by the hub.", def.name)));
        }
        if def.keeper_only && !eyes.is_keeper() {
            return Err(StoreError::Forbidden { action: "set", what: def.name });
        }
        sets.push((def, value));
    }
    Ok(sets)
}

/// A document's size is what its file really has, and its file is really there.
fn measure_file(desk: &Desk<'_>, kind: Kind, sets: &mut Vec<(&'static FieldDef, Value)>) -> Result<()> {
    if kind != Kind::Document {
        return Ok(());
    }
    let file = sets.iter().find(|(def, _)| def.ty == FieldType::Blob).and_then(|(_, value)| value.as_text());
    let measured = match file.map(str::parse) {
        Some(Ok(blob)) => Some(desk.files.size(&blob)?.ok_or(StoreError::BlobMissing)?),
        _ => None,
    };
    sets.retain(|(def, _)| def.name != "size");
    if let (Some(size), Some(def)) = (measured, kind.def().field("size")) {
        sets.push((def, Value::Int(i64::try_from(size).unwrap_or(i64::MAX))));
    }
    Ok(())
}

fn reference(sets: &[(&'static FieldDef, Value)], name: &str) -> Option<RecordId> {
    sets.iter().find(|(def, _)| def.name == name)?.1.as_text()?.parse().ok()
}

/// Whether an assessment that is closed by now refuses a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Responses {
    Checked,
    GivenBefore,
}

/// Every reference leads to a living record of its kind that `eyes` may read and, inside a project, to the same one.
fn check_references(
    connection: &Connection,
    eyes: Eyes,
    kind: Kind,
    scope: Option<RecordId>,
    sets: &[(&'static FieldDef, Value)],
    responses: Responses,
) -> Result<()> {
    for (def, value) in sets {
        let (FieldType::Ref(wanted), Some(text)) = (def.ty, value.as_text()) else { continue };
        let target: RecordId = text.parse().map_err(|_| StoreError::not_found(wanted))?;
        let head = Head::find(connection, target)?
            .filter(|head| head.kind == wanted && !head.deleted)
            .ok_or(StoreError::not_found(wanted))?;
        if !allowed(connection, eyes, Action::Read, head.subject())? {
            return Err(StoreError::not_found(wanted));
        }
        if wanted.def().scope != Scope::Hub && head.scope != scope {
            return Err(StoreError::invalid(format!("The {wanted} belongs to another project.")));
        }
        if (kind, def.name) == (Kind::Response, "assessment") && responses == Responses::Checked {
            takes_responses(connection, &head)?;
        }
        if (kind, def.name) == (Kind::Membership, "person")
            && let Some(project) = scope
        {
            is_no_member(connection, target, project)?;
        }
    }
    Ok(())
}

fn takes_responses(connection: &Connection, assessment: &Head) -> Result<()> {
    match assessment.load(connection)?.text("status") {
        "open" => Ok(()),
        "draft" => Err(StoreError::invalid("This assessment is not open yet.")),
        _ => Err(StoreError::invalid("This assessment is closed and takes no more responses.")),
    }
}

fn is_no_member(connection: &Connection, person: RecordId, project: RecordId) -> Result<()> {
    let is_member: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM members WHERE person = ?1 AND project = ?2)")?
        .query_row(params![person.as_bytes(), project.as_bytes()], |row| row.get(0))?;
    if is_member {
        return Err(StoreError::invalid(
            "This person takes part in the project already; change the role instead.",
        ));
    }
    Ok(())
}

/// One more response was given.
fn count_response(desk: &mut Desk<'_>, eyes: Eyes, assessment: RecordId) -> Result<()> {
    let mut head = Head::find(desk.connection, assessment)?.ok_or(StoreError::not_found(Kind::Assessment))?;
    let mut fields = head.fields(desk.connection)?;
    let Some(def) = Kind::Assessment.def().field("responses") else { return Ok(()) };
    let before = fields.get(def.name).and_then(|field| field.value.as_int()).unwrap_or_default();
    let change = Change {
        what: ChangeKind::Changed,
        id: ChangeId::new(),
        by: eyes.person,
        sets: vec![(def, Value::Int(before.saturating_add(1)))],
    };
    apply(desk, &mut head, &mut fields, change)
}

/// A claimed hub keeps at least one keeper who can sign in.
fn somebody_keeps(connection: &Connection, kind: Kind) -> Result<()> {
    if kind != Kind::Person || !crate::accounts::is_claimed(connection)? {
        return Ok(());
    }
    let keeps: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM people p JOIN credentials c ON c.person = p.id \
             WHERE p.role = 2 AND p.disabled = 0)",
        )?
        .query_row([], |row| row.get(0))?;
    if keeps {
        Ok(())
    } else {
        Err(StoreError::invalid("The hub needs at least one keeper who can sign in."))
    }
}

/// Fields by name, for callers inside the store.
pub(crate) fn fields(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Fields {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>()
}
