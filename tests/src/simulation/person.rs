//! What a person does on a hub: a random, valid change made on what the hub shows.

use std::collections::{BTreeMap, BTreeSet};

use cairn_sync::{
    ChangeId, FieldDef, FieldType, Hlc, Kind, RecordId, Scope, Value,
    change::{Action, Base, Change, Edit, FieldEdit, Seen},
    replica::{Visible, visible},
    wire::ScopeId,
};
use rand::{Rng, RngExt, rngs::SmallRng};

use super::{Sabotage, hub::Card};

const KINDS: [Kind; 4] = [Kind::Notice, Kind::Team, Kind::Assessment, Kind::Message];
const WORDS: [&str; 8] = ["water", "bread", "hall", "north", "bridge", "tank", "noon", "radio"];

/// A change to make on the hub now; none where nothing can be changed.
pub(super) fn act(
    rng: &mut SmallRng,
    card: &mut Card,
    wall: u64,
    sabotage: Option<Sabotage>,
) -> Option<Change> {
    let known = known(card);
    let fresh = known.is_empty() || rng.random_bool(0.25);
    let (record, kind, project) = if fresh {
        create(rng, card)?
    } else {
        let at = rng.random_range(0..known.len());
        known.get(at).copied()?
    };
    let waiting = card.waiting_on(record);
    let confirmed = card.confirmed.get(record);
    let seen = visible(confirmed, &waiting);
    let mut version = confirmed.map_or(0, |record| record.version);
    if sabotage == Some(Sabotage::PretendToHaveSeen) {
        version = u64::MAX;
    }
    let action = if fresh {
        Action::Put(fields(rng, kind, &seen, true, |_| Base::Version(0)))
    } else if seen.deleted {
        // Whoever sees a deleted record either leaves it or brings it back.
        Action::Put(BTreeMap::new())
    } else if rng.random_bool(0.12) {
        Action::Delete
    } else {
        let base = |field: &str| {
            let own = waiting
                .iter()
                .rev()
                .find(|change| touches(change, field))
                .map(|change| Base::Change(change.id));
            let version = match sabotage {
                Some(Sabotage::PretendToHaveSeen) => u64::MAX,
                _ => confirmed.and_then(|record| record.fields.get(field)).map_or(0, |field| field.version),
            };
            own.unwrap_or(Base::Version(version))
        };
        Action::Put(fields(rng, kind, &seen, false, base))
    };
    card.clock = card.clock.tick(wall, card.hub);
    let hlc: Hlc = card.clock;
    let settles = match confirmed {
        Some(record) if rng.random_bool(0.5) => record.conflicts.keys().cloned().collect(),
        _ => BTreeSet::new(),
    };
    let own = waiting.iter().map(|change| change.id).collect();
    let seen = Seen { version, own };
    Some(Change { id: change_id(rng), record, kind, project, by: None, hlc, seen, settles, action })
}

fn touches(change: &Change, field: &str) -> bool {
    matches!(&change.action, Action::Put(edits) if edits.contains_key(field))
}

/// Every record that the hub shows, waiting ones included.
fn known(card: &Card) -> Vec<(RecordId, Kind, Option<RecordId>)> {
    let confirmed = card.confirmed.iter().map(|record| (record.id, record.kind, record.project));
    let waiting = card.waiting.iter().map(|change| (change.record, change.kind, change.project));
    let all: BTreeMap<_, _> = confirmed.chain(waiting).map(|record| (record.0, record)).collect();
    all.into_values().filter(|record| card.cursors.contains_key(&ScopeId::from(record.2))).collect()
}

fn create(rng: &mut SmallRng, card: &Card) -> Option<(RecordId, Kind, Option<RecordId>)> {
    let kind = *pick(rng, &KINDS)?;
    let scopes: Vec<ScopeId> = card
        .cursors
        .keys()
        .filter(|scope| match (kind.def().scope, scope) {
            (Scope::Hub, ScopeId::Project(_)) | (Scope::Project, ScopeId::Community) => false,
            (Scope::Hub | Scope::Either, ScopeId::Community) | (Scope::Project | Scope::Either, _) => true,
        })
        .copied()
        .collect();
    let project = match pick(rng, &scopes)? {
        ScopeId::Community => None,
        ScopeId::Project(project) => Some(*project),
    };
    Some((RecordId::from_bytes(random_bytes(rng)), kind, project))
}

fn fields(
    rng: &mut SmallRng,
    kind: Kind,
    seen: &Visible,
    all_required: bool,
    base: impl Fn(&str) -> Base,
) -> BTreeMap<String, FieldEdit> {
    let mut edits = BTreeMap::new();
    for def in kind.def().fields {
        let wanted = (all_required && def.required) || rng.random_bool(0.35);
        let Some(edit) = wanted.then(|| edit(rng, def, seen.fields.get(def.name))).flatten() else {
            continue;
        };
        edits.insert(def.name.to_owned(), FieldEdit { edit, base: base(def.name) });
    }
    edits
}

fn edit(rng: &mut SmallRng, def: &FieldDef, seen: Option<&Value>) -> Option<Edit> {
    Some(match def.ty {
        FieldType::Bool => Edit::Set(Value::Bool(rng.random_bool(0.5))),
        FieldType::Int | FieldType::Time => Edit::Set(Value::Int(rng.random_range(0..100))),
        FieldType::Counter => Edit::Add(rng.random_range(1..5)),
        FieldType::Line => Edit::Set(Value::Text(format!("{} {}", pick(rng, &WORDS)?, pick(rng, &WORDS)?))),
        FieldType::Text => Edit::Set(Value::Text(written_on(rng, seen.and_then(Value::as_text))?)),
        FieldType::Choice(choices) => Edit::Set(Value::from(*pick(rng, choices)?)),
        FieldType::Json => Edit::Set(Value::Json(serde_json::json!([pick(rng, &WORDS)?]))),
        FieldType::Set => {
            let present = seen.and_then(Value::as_set).cloned().unwrap_or_default();
            let remove = present.into_iter().filter(|_| rng.random_bool(0.2)).collect();
            Edit::Elements { add: BTreeSet::from([(*pick(rng, &WORDS)?).to_owned()]), remove }
        }
        FieldType::Ref(_) | FieldType::Blob => return None,
    })
}

/// Text that somebody went on writing: a line more, a line changed, a line less.
fn written_on(rng: &mut SmallRng, text: Option<&str>) -> Option<String> {
    let mut lines: Vec<String> = text.unwrap_or_default().lines().map(str::to_owned).collect();
    let line = format!("{} {} {}", pick(rng, &WORDS)?, pick(rng, &WORDS)?, pick(rng, &WORDS)?);
    let at = rng.random_range(0..=lines.len());
    let inside = at < lines.len();
    match rng.random_range(0..3) {
        0 if inside => {
            lines.splice(at..=at, [line]);
        }
        1 if inside && lines.len() > 1 => {
            lines.remove(at);
        }
        _ if lines.len() < 12 => lines.insert(at, line),
        _ => {
            lines.pop();
        }
    }
    let mut text = lines.join("\n");
    text.push('\n');
    Some(text)
}

fn pick<'a, T>(rng: &mut SmallRng, from: &'a [T]) -> Option<&'a T> {
    if from.is_empty() { None } else { from.get(rng.random_range(0..from.len())) }
}

pub(super) fn random_bytes(rng: &mut SmallRng) -> [u8; 16] {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn change_id(rng: &mut SmallRng) -> ChangeId {
    ChangeId::from_bytes(random_bytes(rng))
}
