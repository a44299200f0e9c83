//! Changes by people: what is checked, in which order; then the engine that decides on the changes of hubs decides on them,
//! under the community's lock, with the record as it is then before the person's eyes.

use std::collections::BTreeSet;

use cairn_sync::{
    ChangeId, CommunityId, FieldDef, FieldType, Fields, Hlc, HubId, Kind, RecordId, Scope, Strategy, Value,
    access::Action,
    authority::Outcome,
    batch::needs,
    change::{Action as Deed, Base, Change, Edit, FieldEdit, Seen},
    record::RecordState,
    shown::{ChangeKind, Record},
    submit::{self, Refused, Sets, check_place},
};
use sqlx_core::row::Row;
use sqlx_postgres::PgTransaction;
use uuid::Uuid;

use super::{
    Asker, Changed, Eyes, RecordError, Records,
    codec::{Stored, Subject, person, what_named},
    derive::wall_ms,
    find_for,
    read::record_at,
    refusal, stored,
};
use crate::{
    db::{small, sql, uuid},
    store::round,
};

/// A transaction that holds the community's lock.
struct Desk {
    tx: PgTransaction<'static>,
    eyes: Eyes,
    /// The community's version when it was begun.
    before: u64,
}

impl Records {
    async fn desk(&self) -> Result<Desk, RecordError> {
        let Asker { community, may_write, .. } = self.asker;
        if !may_write {
            return Err(RecordError::ReadOnly);
        }
        let mut tx = self.db.scoped(community).await?;
        let before = round::lock(&mut tx, community).await?;
        let eyes = Eyes::of(&mut tx, self.asker).await?;
        Ok(Desk { tx, eyes, before })
    }

    /// Makes a record. Whoever makes a project owns it. The same `change` again gives the first outcome.
    ///
    /// # Errors
    /// [`RecordError`]: what the fields, the place or the permissions do not allow.
    pub async fn create(
        &self,
        kind: Kind,
        project: Option<RecordId>,
        fields: Fields,
        change: Option<ChangeId>,
    ) -> Result<Changed, RecordError> {
        let mut desk = self.desk().await?;
        if let Some(record) = desk.done_before(change, None).await? {
            return Ok(Changed { record, raised: None });
        }
        let scope = desk.place(kind, project).await?;
        let eyes = desk.eyes;
        let subject = Subject { id: None, kind, scope, created_by: eyes.person, deleted: false };
        if !eyes.may(&mut desk.tx, Action::Create, subject).await? {
            return Err(refusal(&eyes, Action::Create, kind).into());
        }
        let mut sets = submit::checked(kind, fields, eyes.is_keeper())?;
        desk.measure_file(kind, &mut sets).await?;
        submit::complete(kind, &mut sets)?;
        let id = RecordId::new();
        // A project is its own scope.
        let scope = if kind == Kind::Project { Some(id) } else { scope };
        desk.check_references(kind, scope, &sets, true).await?;
        desk.check_login(id, &sets).await?;
        let response_to = (kind == Kind::Response).then(|| submit::reference(&sets, "assessment")).flatten();
        let first = Draft { id, kind, project, state: None }.put(&eyes, change, &sets);
        let mut changes = vec![first];
        if let Some(assessment) = response_to {
            changes.extend(desk.count_response(assessment).await?);
        }
        if let (Kind::Project, Some(owner)) = (kind, eyes.person) {
            let fields = Fields::from([
                ("person".to_owned(), Value::from(owner.to_string())),
                ("role".to_owned(), Value::from("owner")),
            ]);
            let sets = submit::checked(Kind::Membership, fields, true)?;
            let draft = Draft { id: RecordId::new(), kind: Kind::Membership, project: Some(id), state: None };
            changes.push(draft.put(&eyes, None, &sets));
        }
        desk.submit(changes).await?;
        desk.done(id).await
    }

    /// Changes the fields given and no others. A field that somebody else changed since `base` is not overwritten.
    ///
    /// # Errors
    /// [`Refused::Stale`] with the record as it is now; else as [`Records::create`].
    pub async fn update(
        &self,
        id: RecordId,
        fields: Fields,
        base: Option<u64>,
        change: Option<ChangeId>,
    ) -> Result<Changed, RecordError> {
        let mut desk = self.desk().await?;
        if let Some(record) = desk.done_before(change, Some(id)).await? {
            return Ok(Changed { record, raised: None });
        }
        let eyes = desk.eyes;
        let found = find_for(&mut desk.tx, &eyes, id, Action::Update).await?;
        let (kind, state) = (found.state.kind, &found.state);
        if state.deleted.is_some() {
            return Err(Refused::not_found(kind).into());
        }
        let mut sets = submit::checked(kind, fields, eyes.is_keeper())?;
        desk.measure_file(kind, &mut sets).await?;
        sets.retain(|(def, value)| {
            state.fields.get(def.name).map_or(&Value::Null, |field| &field.value) != value
        });
        let newer =
            |def: &FieldDef, base| state.fields.get(def.name).is_some_and(|field| field.version > base);
        if let Some((def, _)) = base.and_then(|base| sets.iter().find(|(def, _)| newer(def, base))) {
            let current = Box::new(found.record());
            return Err(Refused::Stale { field: def.name.to_owned(), current }.into());
        }
        if sets.is_empty() {
            return Ok(Changed { record: found.record(), raised: None });
        }
        desk.check_references(kind, found.scope(), &sets, true).await?;
        desk.check_login(id, &sets).await?;
        let draft = Draft { id, kind, project: state.project, state: Some(state) };
        let change = draft.put(&eyes, change, &sets);
        desk.submit_kept(kind, change).await?;
        desk.done(id).await
    }

    /// Makes a record a tombstone.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn delete(&self, id: RecordId, change: Option<ChangeId>) -> Result<Changed, RecordError> {
        self.set_deleted(id, true, change).await
    }

    /// Brings a tombstone back.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn restore(&self, id: RecordId, change: Option<ChangeId>) -> Result<Changed, RecordError> {
        self.set_deleted(id, false, change).await
    }

    async fn set_deleted(
        &self,
        id: RecordId,
        deleted: bool,
        change: Option<ChangeId>,
    ) -> Result<Changed, RecordError> {
        let mut desk = self.desk().await?;
        if let Some(record) = desk.done_before(change, Some(id)).await? {
            return Ok(Changed { record, raised: None });
        }
        let eyes = desk.eyes;
        let found = find_for(&mut desk.tx, &eyes, id, Action::Delete).await?;
        let (kind, state) = (found.state.kind, &found.state);
        if state.deleted.is_some() == deleted {
            return Ok(Changed { record: found.record(), raised: None });
        }
        if !deleted {
            let known = state
                .fields
                .iter()
                .filter_map(|(name, field)| kind.def().field(name).map(|def| (def, field.value.clone())));
            let sets: Sets = known.collect();
            desk.check_references(kind, found.scope(), &sets, false).await?;
        }
        let draft = Draft { id, kind, project: state.project, state: Some(state) };
        let mut change = draft.put(&eyes, change, &Sets::new());
        if deleted {
            change.action = Deed::Delete;
        }
        desk.submit_kept(kind, change).await?;
        desk.done(id).await
    }
}

/// A record that a change is about.
struct Draft<'a> {
    id: RecordId,
    kind: Kind,
    project: Option<RecordId>,
    state: Option<&'a RecordState>,
}

impl Draft<'_> {
    fn put(&self, eyes: &Eyes, change: Option<ChangeId>, sets: &Sets) -> Change {
        let edits = sets.iter().map(|(def, value)| (def.name.to_owned(), self.edit(def, value)));
        Change {
            id: change.unwrap_or_default(),
            record: self.id,
            kind: self.kind,
            project: self.project,
            by: eyes.person,
            hlc: self.clock(eyes.community),
            seen: Seen { version: self.state.map_or(0, |state| state.version), own: BTreeSet::new() },
            settles: BTreeSet::new(),
            action: Deed::Put(edits.collect()),
        }
    }

    fn edit(&self, def: &FieldDef, value: &Value) -> FieldEdit {
        let present = self.state.and_then(|state| state.fields.get(def.name));
        let edit = match (def.ty, def.strategy) {
            (FieldType::Set, Strategy::Merge) => {
                let none = BTreeSet::new();
                let before = present.and_then(|field| field.value.as_set()).unwrap_or(&none);
                let after = value.as_set().unwrap_or(&none);
                Edit::Elements {
                    add: after.difference(before).cloned().collect(),
                    remove: before.difference(after).cloned().collect(),
                }
            }
            _ => Edit::Set(value.clone()),
        };
        FieldEdit { edit, base: Base::Version(present.map_or(0, |field| field.version)) }
    }

    /// After everything that is known of the record. The gateway counts under its community's name.
    fn clock(&self, community: CommunityId) -> Hlc {
        let (node, wall) = (HubId::from_bytes(*community.as_bytes()), wall_ms());
        let fields = self.state.into_iter().flat_map(|state| state.fields.values().map(|field| field.stamp));
        let tombstone = self.state.and_then(|state| state.deleted).map(|tombstone| tombstone.stamp);
        let newest = fields.chain(tombstone).map(|stamp| stamp.hlc).max().unwrap_or(Hlc::ZERO);
        Hlc::at(wall, node).observe(newest, wall).tick(wall, node)
    }
}

impl Desk {
    /// The first outcome of a change that was made already.
    async fn done_before(
        &mut self,
        change: Option<ChangeId>,
        record: Option<RecordId>,
    ) -> Result<Option<Record>, RecordError> {
        let Some(change) = change else { return Ok(None) };
        let row = sql("SELECT record_id, version, author, what FROM cairn.history \
             WHERE community_id = $1 AND change_id = $2")
        .bind(uuid(self.eyes.community.as_bytes()))
        .bind(uuid(change.as_bytes()))
        .fetch_optional(&mut *self.tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let found = RecordId::from_bytes(*row.try_get::<Uuid, _>("record_id")?.as_bytes());
        let created = what_named(&row.try_get::<String, _>("what")?) == ChangeKind::Created;
        // A creation can only be repeated as one, and only by whoever made it.
        let same = record.map_or(created, |record| record == found);
        if person(row.try_get("author")?) != self.eyes.person || !same {
            return Err(Refused::ChangeIdTaken.into());
        }
        let stored =
            stored(&mut self.tx, self.eyes.community, found).await?.ok_or(Refused::NotFound("record"))?;
        if !self.eyes.may(&mut self.tx, Action::Read, stored.subject()).await? {
            return Err(Refused::not_found(stored.state.kind).into());
        }
        let version = small(row.try_get("version")?);
        Ok(Some(record_at(&mut self.tx, &self.eyes, &stored, version).await?))
    }

    /// Where a record of `kind` is to be.
    async fn place(
        &mut self,
        kind: Kind,
        project: Option<RecordId>,
    ) -> Result<Option<RecordId>, RecordError> {
        check_place(kind, project)?;
        let Some(project) = project else { return Ok(None) };
        let found = stored(&mut self.tx, self.eyes.community, project)
            .await?
            .filter(|found| found.state.kind == Kind::Project && found.state.deleted.is_none())
            .ok_or(Refused::NotFound("project"))?;
        if !self.eyes.may(&mut self.tx, Action::Read, found.subject()).await? {
            return Err(Refused::NotFound("project").into());
        }
        Ok(Some(project))
    }

    /// A document's size is what its file really has, and its file is really here.
    async fn measure_file(&mut self, kind: Kind, sets: &mut Sets) -> Result<(), RecordError> {
        if kind != Kind::Document {
            return Ok(());
        }
        let measured = match submit::file(sets) {
            Some(blob) => {
                let row =
                    sql("SELECT size FROM cairn.blob WHERE community_id = $1 AND hash = $2 AND complete")
                        .bind(uuid(self.eyes.community.as_bytes()))
                        .bind(blob.as_bytes().as_slice())
                        .fetch_optional(&mut *self.tx)
                        .await?
                        .ok_or(Refused::BlobMissing)?;
                Some(small(row.try_get("size")?))
            }
            None => None,
        };
        submit::state_size(kind, sets, measured);
        Ok(())
    }

    /// Every reference leads to a living record of its kind that may be read and, inside a project, to the same one.
    async fn check_references(
        &mut self,
        kind: Kind,
        scope: Option<RecordId>,
        sets: &Sets,
        new_response: bool,
    ) -> Result<(), RecordError> {
        for (def, value) in sets {
            let (FieldType::Ref(wanted), Some(text)) = (def.ty, value.as_text()) else { continue };
            let missing = || Refused::not_found(wanted);
            let target: RecordId = text.parse().map_err(|_| missing())?;
            let found = stored(&mut self.tx, self.eyes.community, target)
                .await?
                .filter(|found| found.state.kind == wanted && found.state.deleted.is_none())
                .ok_or_else(missing)?;
            if !self.eyes.may(&mut self.tx, Action::Read, found.subject()).await? {
                return Err(missing().into());
            }
            if wanted.def().scope != Scope::Hub && found.scope() != scope {
                return Err(Refused::elsewhere(wanted).into());
            }
            if new_response && (kind, def.name) == (Kind::Response, "assessment") {
                submit::takes_responses(found.text("status"))?;
            }
            if (kind, def.name) == (Kind::Membership, "person")
                && let Some(project) = scope
                && self.is_member(target, project).await?
            {
                return Err(Refused::member_already().into());
            }
        }
        Ok(())
    }

    async fn is_member(&mut self, person: RecordId, project: RecordId) -> Result<bool, RecordError> {
        let row = sql("SELECT EXISTS (SELECT 1 FROM cairn.member \
             WHERE community_id = $1 AND person = $2 AND project = $3) AS yes")
        .bind(uuid(self.eyes.community.as_bytes()))
        .bind(uuid(person.as_bytes()))
        .bind(uuid(project.as_bytes()))
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(row.try_get("yes")?)
    }

    /// Nobody takes the name that somebody else signs in with.
    async fn check_login(&mut self, id: RecordId, sets: &Sets) -> Result<(), RecordError> {
        let login = sets.iter().find(|(def, _)| def.name == "login").and_then(|(_, value)| value.as_text());
        let Some(login) = login.filter(|login| !login.is_empty()) else { return Ok(()) };
        let row = sql("SELECT EXISTS (SELECT 1 FROM cairn.person \
             WHERE community_id = $1 AND login = $2 AND id <> $3 AND NOT closed) AS yes")
        .bind(uuid(self.eyes.community.as_bytes()))
        .bind(login.to_owned())
        .bind(uuid(id.as_bytes()))
        .fetch_one(&mut *self.tx)
        .await?;
        if row.try_get("yes")? { Err(Refused::LoginTaken(login.to_owned()).into()) } else { Ok(()) }
    }

    /// One more response was given.
    async fn count_response(&mut self, assessment: RecordId) -> Result<Option<Change>, RecordError> {
        let Some(found) = stored(&mut self.tx, self.eyes.community, assessment).await? else {
            return Ok(None);
        };
        let state = &found.state;
        let draft =
            Draft { id: assessment, kind: Kind::Assessment, project: state.project, state: Some(state) };
        let mut change = draft.put(&self.eyes, None, &Sets::new());
        let base = Base::Version(state.fields.get("responses").map_or(0, |field| field.version));
        change.action = Deed::Put([("responses".to_owned(), FieldEdit { edit: Edit::Add(1), base })].into());
        Ok(Some(change))
    }

    /// Keepers who can sign in, as far as the gateway knows: with a name to sign in with and an open account.
    async fn keepers(&mut self) -> Result<bool, RecordError> {
        let row = sql("SELECT EXISTS (SELECT 1 FROM cairn.person \
             WHERE community_id = $1 AND role = 2 AND NOT closed AND login <> '') AS yes")
        .bind(uuid(self.eyes.community.as_bytes()))
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(row.try_get("yes")?)
    }

    /// Submits a change that must leave a keeper where there was one.
    async fn submit_kept(&mut self, kind: Kind, change: Change) -> Result<(), RecordError> {
        let had = kind == Kind::Person && self.keepers().await?;
        self.submit(vec![change]).await?;
        if had && !self.keepers().await? { Err(Refused::no_keeper().into()) } else { Ok(()) }
    }

    /// Has the engine decide, and writes what comes of it.
    async fn submit(&mut self, changes: Vec<Change>) -> Result<(), RecordError> {
        let community = self.eyes.community;
        let mut set = round::load(&mut self.tx, community, &needs(&changes), self.before).await?;
        let written = set.apply(&changes, |_| true);
        for (id, outcome) in &written.outcomes {
            if !written.answered.contains(id) {
                return Err(Refused::ChangeIdTaken.into());
            }
            if let Outcome::Refused(why) = outcome {
                return Err(Refused::invalid(why.to_string()).into());
            }
        }
        round::store(&mut self.tx, community, &written, self.before).await?;
        Ok(())
    }

    /// Commits; gives the record as it is now.
    async fn done(mut self, id: RecordId) -> Result<Changed, RecordError> {
        let found: Option<Stored> = stored(&mut self.tx, self.eyes.community, id).await?;
        let record = found.ok_or(Refused::NotFound("record"))?.record();
        let raised = crate::store::newer::version(&mut self.tx, self.eyes.community).await?;
        self.tx.commit().await?;
        Ok(Changed { record, raised: Some(raised) })
    }
}
