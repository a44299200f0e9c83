//! Creating, changing, deleting and restoring records: what is checked, in which order, before anything is written.

use std::collections::BTreeMap;

use cairn_sync::{
    ChangeId, FieldDef, FieldType, Fields, Hlc, Kind, RecordId, Scope, Value,
    submit::{self, Refused, Sets, check_place},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    access::{Eyes, Subject, allowed},
    change::{Change, apply},
    codec::id,
    head::{FieldMap, Head},
};
use crate::{
    accounts::keepers::somebody_keeps,
    db::writer::Desk,
    error::{Result, StoreError},
    record::{ChangeKind, Record, SyncState},
    viewer::{Action, Viewer},
};

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
    let mut sets = submit::checked(kind, fields, eyes.is_keeper())?;
    measure_file(desk, kind, &mut sets)?;
    submit::complete(kind, &mut sets)?;
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
    let response_to = (kind == Kind::Response).then(|| submit::reference(&sets, "assessment")).flatten();
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
    let mut sets = submit::checked(head.kind, fields, eyes.is_keeper())?;
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
    Refused::action(eyes.person.is_some(), action, kind).into()
}

/// Whether records of `kind` can live there.
fn place(
    connection: &Connection,
    eyes: Eyes,
    kind: Kind,
    project: Option<RecordId>,
) -> Result<Option<RecordId>> {
    check_place(kind, project)?;
    let Some(project) = project else { return Ok(None) };
    let head = Head::find(connection, project)?
        .filter(|head| head.kind == Kind::Project && !head.deleted)
        .ok_or(StoreError::NotFound("project"))?;
    if !allowed(connection, eyes, Action::Read, head.subject())? {
        return Err(StoreError::NotFound("project"));
    }
    Ok(Some(project))
}

/// A document's size is what its file really has, and its file is really there.
fn measure_file(desk: &Desk<'_>, kind: Kind, sets: &mut Sets) -> Result<()> {
    if kind != Kind::Document {
        return Ok(());
    }
    let measured = match submit::file(sets) {
        Some(blob) => Some(desk.files.size(&blob)?.ok_or(StoreError::BlobMissing)?),
        None => None,
    };
    submit::state_size(kind, sets, measured);
    Ok(())
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
            return Err(Refused::elsewhere(wanted).into());
        }
        if (kind, def.name) == (Kind::Response, "assessment") && responses == Responses::Checked {
            submit::takes_responses(head.load(connection)?.text("status"))?;
        }
        if (kind, def.name) == (Kind::Membership, "person")
            && let Some(project) = scope
        {
            is_no_member(connection, target, project)?;
        }
    }
    Ok(())
}

fn is_no_member(connection: &Connection, person: RecordId, project: RecordId) -> Result<()> {
    let is_member: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM members WHERE person = ?1 AND project = ?2)")?
        .query_row(params![person.as_bytes(), project.as_bytes()], |row| row.get(0))?;
    if is_member {
        return Err(Refused::member_already().into());
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

/// Fields by name, for callers inside the store.
pub(crate) fn fields(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Fields {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>()
}
