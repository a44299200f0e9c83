//! Who is here, and who looks at or edits the same thing. In memory, bounded, forgotten when a browser stops
//! saying so.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use cairn_sync::RecordId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

/// How long a person counts as present after the last word from the browser.
pub(crate) const PRESENT_FOR: Duration = Duration::from_secs(45);
/// Most entries, of all people at all places.
const MAX_ENTRIES: usize = 4096;
/// Most places of one person: tabs.
const MAX_PLACES: usize = 16;

/// Where somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// On the hub, wherever.
    Hub,
    /// At a record.
    Record(RecordId),
}

/// What somebody does there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Doing {
    /// Looks.
    Viewing,
    /// Has an unsaved edit.
    Editing,
}

/// Somebody at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Here {
    /// The person.
    #[schema(value_type = String, format = "uuid")]
    pub(crate) person: RecordId,
    /// The person's name.
    pub(crate) name: String,
    /// What the person does.
    pub(crate) doing: Doing,
}

/// Everyone present.
pub(crate) struct Presence {
    entries: Mutex<HashMap<(Place, RecordId), Entry>>,
    news: watch::Sender<u64>,
}

struct Entry {
    name: String,
    doing: Doing,
    said_at: Instant,
}

impl Default for Presence {
    fn default() -> Self {
        Self { entries: Mutex::default(), news: watch::Sender::new(0) }
    }
}

impl Presence {
    /// Somebody is at a place.
    pub(crate) fn say(&self, place: Place, here: Here, now: Instant) {
        let changed = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.retain(|_, entry| entry.is_fresh(now));
            let key = (place, here.person);
            let known = entries.get(&key).map(|entry| entry.doing);
            let of_person = entries.keys().filter(|(_, person)| *person == here.person).count();
            if known.is_none() && (entries.len() >= MAX_ENTRIES || of_person >= MAX_PLACES) {
                return;
            }
            let (doing, name) = (here.doing, here.name);
            entries.insert(key, Entry { name, doing, said_at: now });
            known != Some(doing)
        };
        if changed {
            self.news.send_modify(|count| *count += 1);
        }
    }

    /// Somebody left a place, or with `None` every place.
    pub(crate) fn leave(&self, place: Option<Place>, person: RecordId) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let before = entries.len();
        entries.retain(|(at, who), _| *who != person || place.is_some_and(|place| place != *at));
        let changed = entries.len() != before;
        drop(entries);
        if changed {
            self.news.send_modify(|count| *count += 1);
        }
    }

    /// Who is at a place, by name. On the hub: everybody, doing the most active of what they do.
    pub(crate) fn at(&self, place: Place, now: Instant) -> Vec<Here> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: HashMap<RecordId, Here> = HashMap::new();
        let here = |(at, _): &(Place, RecordId)| place == Place::Hub || *at == place;
        for ((at, person), entry) in entries.iter().filter(|(key, entry)| here(key) && entry.is_fresh(now)) {
            debug_assert!(place == Place::Hub || *at == place);
            let new = || Here { person: *person, name: entry.name.clone(), doing: entry.doing };
            let known = found.entry(*person).or_insert_with(new);
            known.doing = known.doing.max(entry.doing);
        }
        let mut people: Vec<_> = found.into_values().collect();
        people.sort_by(|a, b| (&a.name, a.person).cmp(&(&b.name, b.person)));
        people
    }

    /// Wakes when somebody came, left or began to edit.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}

impl Entry {
    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.said_at) < PRESENT_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(person: RecordId, name: &str, doing: Doing) -> Here {
        Here { person, name: name.to_owned(), doing }
    }

    #[test]
    fn people_come_edit_leave_and_expire() {
        let (presence, start) = (Presence::default(), Instant::now());
        let (ana, ben, record) = (RecordId::new(), RecordId::new(), Place::Record(RecordId::new()));
        presence.say(record, here(ben, "Ben", Doing::Viewing), start);
        presence.say(record, here(ana, "Ana", Doing::Editing), start);
        presence.say(Place::Hub, here(ana, "Ana", Doing::Viewing), start);
        let names =
            |place, now| presence.at(place, now).into_iter().map(|here| here.name).collect::<Vec<_>>();
        assert_eq!(names(record, start), ["Ana", "Ben"]);
        assert_eq!(presence.at(Place::Hub, start)[0].doing, Doing::Editing);
        presence.leave(Some(record), ana);
        assert_eq!(names(record, start), ["Ben"]);
        assert_eq!(names(Place::Hub, start), ["Ana", "Ben"]);
        assert!(names(Place::Hub, start + PRESENT_FOR).is_empty());
    }

    #[test]
    fn only_what_changes_is_news_and_nobody_fills_the_memory() {
        let (presence, start, ana) = (Presence::default(), Instant::now(), RecordId::new());
        let mut news = presence.news();
        let record = Place::Record(RecordId::new());
        presence.say(record, here(ana, "Ana", Doing::Viewing), start);
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        presence.say(record, here(ana, "Ana", Doing::Viewing), start);
        assert!(!news.has_changed().unwrap());
        for _ in 0..1000 {
            presence.say(Place::Record(RecordId::new()), here(ana, "Ana", Doing::Viewing), start);
        }
        assert_eq!(presence.entries.lock().unwrap().len(), MAX_PLACES);
    }
}
