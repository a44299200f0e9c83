//! What must be true when everything has come to rest, asked of the parts themselves: pages of hubs, files of hubs that have
//! ended, rows of PostgreSQL.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use cairn_store::{OpenOptions, Part, Store, Viewer};
use cairn_sync::{ChangeId, authority::Outcome, checksum::Checksum, record::ConflictKey, wire::ScopeId};
use serde_json::Value;

use super::{
    cloud::Cloud,
    people::{Deed, Saved},
};

const ALL: Viewer = Viewer::system(Part::Console);
/// Pages of a record's history that are read.
const PAGES: usize = 200;

/// What a hub that has ended holds in its files.
pub(super) struct Rest {
    store: Store,
    /// What its scopes add up to.
    sums: BTreeMap<ScopeId, Checksum>,
    /// Conflicts that wait.
    conflicts: BTreeSet<ConflictKey>,
}

impl Rest {
    pub(super) async fn read(folder: &Path) -> Result<Self> {
        let (store, _) = Store::open(&folder.join("hub"), OpenOptions::default())?;
        let sums = store.sync_checksums().await?;
        let mut conflicts = BTreeSet::new();
        loop {
            let page = store.conflicts(&ALL, conflicts.last().cloned(), 200).await?;
            if page.is_empty() {
                break;
            }
            conflicts.extend(page.into_iter().map(|conflict| conflict.key));
        }
        Ok(Self { store, sums, conflicts })
    }

    pub(super) fn conflicts(&self) -> usize {
        self.conflicts.len()
    }

    /// The checksums are a net; without mistakes nothing falls into it.
    pub(super) async fn nothing_needed_healing(&self) -> Result<()> {
        for line in self.store.sync_log(200).await? {
            ensure!(!line.note.contains("did not add up"), "a hub had to heal: {}", line.note);
        }
        Ok(())
    }
}

/// Every hub holds the same of every scope, and so does the gateway.
pub(super) async fn sums_are_equal(cloud: &Cloud, hubs: &[Rest]) -> Result<()> {
    let mut at_gateway = BTreeMap::new();
    for line in cloud.query("SELECT scope, encode(checksum, 'hex') FROM cairn.scope_sum").await? {
        let (scope, sum) = line.split_once('|').context("a row without two columns")?;
        let scope = if scope == "00000000-0000-0000-0000-000000000000" {
            ScopeId::Community
        } else {
            ScopeId::Project(scope.parse()?)
        };
        at_gateway.insert(scope, sum.to_owned());
    }
    for (number, hub) in hubs.iter().enumerate() {
        ensure!(hub.sums.contains_key(&ScopeId::Community), "hub {number} has no scope");
        for (scope, sum) in &hub.sums {
            let here: String = sum.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            let there = at_gateway.get(scope);
            ensure!(
                there == Some(&here),
                "hub {number} and the gateway differ in {scope}: {here} here, {there:?} there"
            );
        }
        let first = hubs.first().context("no hubs")?;
        ensure!(first.sums == hub.sums, "hub 0 and hub {number} have other scopes");
        ensure!(first.conflicts == hub.conflicts, "hub 0 and hub {number} know of other conflicts");
    }
    Ok(())
}

/// Every change that a hub said is saved took effect at the gateway, once, with a trace of every value, or lies aside on its
/// hub with the reason; and its hub's history tells it.
pub(super) async fn nothing_saved_is_lost(
    cloud: &Cloud,
    hubs: &[Rest],
    saved: &[Saved],
    everything: &BTreeMap<String, Value>,
) -> Result<()> {
    let answers = answers(cloud).await?;
    let mut traces = BTreeSet::new();
    for line in cloud.query("SELECT change_id, field FROM cairn.trace").await? {
        let (change, field) = line.split_once('|').context("a row without two columns")?;
        traces.insert((change.parse::<ChangeId>()?, field.to_owned()));
    }
    let mut aside = BTreeMap::new();
    for hub in hubs {
        aside.extend(
            hub.store.sync_refused(&ALL).await?.into_iter().map(|refused| (refused.change, refused.reason)),
        );
    }
    let mut told: BTreeMap<(usize, &str), BTreeSet<ChangeId>> = BTreeMap::new();
    for Saved { hub, record, .. } in saved {
        if !told.contains_key(&(*hub, record.as_str())) {
            let store = &hubs.get(*hub).context("there is no such hub")?.store;
            told.insert((*hub, record), tells(store, record).await?);
        }
    }
    for Saved { change, hub, record, kind, deed } in saved {
        match answers.get(change) {
            Some(Outcome::Applied { .. }) => {}
            Some(Outcome::Refused(_)) if aside.contains_key(change) => continue,
            // Another hub's deletion had come between look and word: there was nothing left to change.
            None if matches!(deed, Deed::Delete) && !everything.contains_key(record) => continue,
            answer => bail!(
                "{kind} {record}: change {change} ({deed:?}) of hub {hub} is lost; the answer: {answer:?}"
            ),
        }
        let history = told.get(&(*hub, record.as_str()));
        ensure!(
            history.is_some_and(|history| history.contains(change)),
            "hub {hub} does not tell change {change} of {kind} {record}"
        );
        let (Deed::Make(fields) | Deed::Change(fields)) = deed else { continue };
        // Words are new every time; a level may be set to what it was, which is no change.
        let new = fields.keys().filter(|field| matches!(deed, Deed::Make(_)) || *field != "level");
        for field in new {
            ensure!(
                traces.contains(&(*change, field.clone())),
                "what change {change} did to {field} of {kind} {record} cannot be read any more"
            );
        }
    }
    Ok(())
}

/// The changes that a hub's history of a record tells.
async fn tells(store: &Store, record: &str) -> Result<BTreeSet<ChangeId>> {
    let (mut changes, mut after) = (BTreeSet::new(), None);
    for _ in 0..PAGES {
        let page = store.history(&ALL, record.parse()?, after, 200).await?;
        changes.extend(page.items.iter().map(|entry| entry.change));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(changes)
}

async fn answers(cloud: &Cloud) -> Result<BTreeMap<ChangeId, Outcome>> {
    let mut answers = BTreeMap::new();
    for line in cloud.query("SELECT change_id, encode(outcome, 'hex') FROM cairn.answer").await? {
        let (change, outcome) = line.split_once('|').context("a row without two columns")?;
        let bytes: Vec<u8> = (0..outcome.len() / 2)
            .filter_map(|at| u8::from_str_radix(outcome.get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        answers.insert(change.parse()?, ciborium::from_reader(bytes.as_slice())?);
    }
    Ok(answers)
}

/// The counter counts every response that was saved, once; every skill that somebody added is there.
pub(super) fn nothing_is_counted_twice(
    everything: &BTreeMap<String, Value>,
    saved: &[Saved],
    assessment: &str,
    person: &str,
) -> Result<()> {
    let field = |record: &str, name: &str| everything.get(record)?.get("fields")?.get(name).cloned();
    let made = saved.iter().filter(|saved| saved.kind == "response").count();
    let counted = field(assessment, "responses").and_then(|value| value.as_u64()).unwrap_or(0);
    ensure!(counted == made as u64, "{made} responses were saved and {counted} counted");
    let skills = field(person, "skills").unwrap_or_default();
    let skills: BTreeSet<&str> = skills.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for Saved { hub, deed, .. } in saved.iter().filter(|saved| saved.kind == "person") {
        let Deed::Change(fields) = deed else { continue };
        // The last one is the one that was added.
        let added = fields.get("skills").and_then(Value::as_array).and_then(|all| all.last()?.as_str());
        let added = added.context("a set without its new element")?;
        ensure!(skills.contains(added), "the skill {added} of hub {hub} is lost");
    }
    Ok(())
}
