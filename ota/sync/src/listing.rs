//! Which lists there are, and where their pages end: the same on hub and gateway. Each list is a range of an index, so that
//! a page costs the same whatever stands before it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    FieldDef, FieldType, Kind, RecordId, Value, ValueError,
    lookup::{folded, lookup_keys},
    shown::{Cursor, DEFAULT_PAGE, ListQuery, MAX_CONDITIONS, MAX_PAGE, Order},
    submit::Refused,
};

/// A field must hold a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The field's name.
    pub field: &'static str,
    /// Under which text the index of values has it.
    pub key: String,
    /// The line itself, where the index has it folded and cut.
    pub exact: Option<String>,
    /// Types with many different values come first.
    rank: u8,
}

/// How a list is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// From all records of the kind, by time.
    ByTime,
    /// From the index of values: by the first condition, which is the rarest by its type; the others looked up for each.
    ByValue(Vec<Condition>),
    /// From the index of values, in alphabetical order.
    ByPrefix {
        /// The field's name.
        field: &'static str,
        /// How its folded value begins.
        prefix: String,
        /// Looked up for each.
        others: Vec<Condition>,
    },
}

impl Way {
    /// The way to read what `query` asks for.
    ///
    /// # Errors
    /// [`Refused`] where no index serves it.
    pub fn of(query: &ListQuery) -> Result<Self, Refused> {
        if query.equals.len() > MAX_CONDITIONS {
            return Err(Refused::invalid(format!("A list takes at most {MAX_CONDITIONS} conditions.")));
        }
        let asked = query.equals.iter().map(|(field, value)| condition(query.kind, field, value));
        let mut conditions: Vec<Condition> = asked.collect::<Result<_, _>>()?;
        let by_time = query.text_prefix.is_none() && conditions.is_empty();
        if query.deleted && !by_time {
            return Err(Refused::invalid("Tombstones are listed by time only."));
        }
        if let Some((field, prefix)) = &query.text_prefix {
            let def = query.kind.def().field(field).filter(|def| def.ty == FieldType::Line);
            let def = def.ok_or_else(|| Refused::not_searchable(field, "how it starts"))?;
            return Ok(Self::ByPrefix { field: def.name, prefix: folded(prefix), others: conditions });
        }
        if by_time {
            return Ok(Self::ByTime);
        }
        if query.order == Order::Changed {
            return Err(Refused::invalid("A list by a field's value comes by creation, not by change."));
        }
        conditions.sort_by_key(|condition| condition.rank);
        Ok(Self::ByValue(conditions))
    }
}

fn condition(kind: Kind, field: &str, value: &Value) -> Result<Condition, Refused> {
    let Some(def) = kind.def().field(field) else {
        return Err(ValueError::UnknownField(field.chars().take(64).collect()).into());
    };
    let mut keys = match (def.ty, value) {
        // Of a set, one element is asked for.
        (FieldType::Set, Value::Text(item)) => lookup_keys(def, &Value::Set([item.clone()].into())),
        _ => lookup_keys(def, value),
    };
    let (Some(key), true) = (keys.pop(), keys.is_empty()) else {
        return Err(Refused::not_searchable(field, "its value"));
    };
    let exact = (def.ty == FieldType::Line).then(|| value.as_text().unwrap_or_default().to_owned());
    Ok(Condition { field: def.name, key, exact, rank: rank(def) })
}

const fn rank(def: &FieldDef) -> u8 {
    match def.ty {
        FieldType::Ref(_) | FieldType::Blob => 0,
        FieldType::Line => 1,
        FieldType::Set => 2,
        FieldType::Choice(_) => 3,
        _ => 4,
    }
}

impl ListQuery {
    /// How many records the page may have.
    #[must_use]
    pub fn page_len(&self) -> usize {
        page_len(self.limit)
    }

    /// A cursor fits only lists of the same kind and order.
    #[must_use]
    pub fn tag(&self) -> u8 {
        let order = match (self.order, self.text_prefix.is_some()) {
            (_, true) => 3,
            (Order::Newest, _) => 0,
            (Order::Oldest, _) => 1,
            (Order::Changed, _) => 2,
        };
        let kind = (1..).zip(Kind::ALL).find_map(|(n, kind)| (kind == self.kind).then_some(n));
        kind.unwrap_or(0_u8) << 2 | order
    }
}

/// How many entries a page may have where `limit` were asked for; 0 stands for the usual number.
#[must_use]
pub fn page_len(limit: u16) -> usize {
    usize::from(if limit == 0 { DEFAULT_PAGE } else { limit.min(MAX_PAGE) })
}

/// A key in an index: the order's clock (and before it the text, in alphabetical order) and the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The folded text, in alphabetical order; else empty.
    pub text: String,
    /// The clock ([`crate::Hlc::to_bytes`]).
    pub clock: [u8; 16],
    /// The record.
    pub id: RecordId,
}

impl Key {
    /// Where a page of the list `tag` ended.
    #[must_use]
    pub fn cursor(&self, tag: u8) -> Cursor {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&self.clock);
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(self.text.as_bytes());
        Cursor::from_text(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// From a cursor that came from outside.
    ///
    /// # Errors
    /// [`Refused::Invalid`] where it is none of this list.
    pub fn read(cursor: &Cursor, tag: u8) -> Result<Self, Refused> {
        let strange = || Refused::other_page("list");
        let bytes = URL_SAFE_NO_PAD.decode(cursor.as_str()).map_err(|_| strange())?;
        let (found, rest) = bytes.split_first().ok_or_else(strange)?;
        let (clock, rest) = rest.split_first_chunk::<16>().ok_or_else(strange)?;
        let (id, text) = rest.split_first_chunk::<16>().ok_or_else(strange)?;
        if *found != tag {
            return Err(strange());
        }
        let text = String::from_utf8(text.to_vec()).map_err(|_| strange())?;
        Ok(Self { text, clock: *clock, id: RecordId::from_bytes(*id) })
    }
}

/// Where a page of a history ended: below this version.
#[must_use]
pub fn before_version(version: u64) -> Cursor {
    Cursor::from_text(URL_SAFE_NO_PAD.encode(version.to_be_bytes()))
}

/// The version below which a page of a history begins.
///
/// # Errors
/// [`Refused::Invalid`] where the cursor is none of a history.
pub fn read_version(cursor: Option<&Cursor>) -> Result<u64, Refused> {
    const NEWEST: u64 = u64::MAX >> 1;
    let Some(cursor) = cursor else { return Ok(NEWEST) };
    URL_SAFE_NO_PAD
        .decode(cursor.as_str())
        .ok()
        .and_then(|bytes| <[u8; 8]>::try_from(bytes).ok())
        .map(|bytes| u64::from_be_bytes(bytes) & NEWEST)
        .ok_or_else(|| Refused::other_page("history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_fits_only_its_own_list() {
        let key = Key { text: "well".into(), clock: [7; 16], id: RecordId::new() };
        let (notices, teams) = (ListQuery::of(Kind::Notice), ListQuery::of(Kind::Team));
        let cursor = key.cursor(notices.tag());
        assert_eq!(Key::read(&cursor, notices.tag()).unwrap(), key);
        assert!(Key::read(&cursor, teams.tag()).is_err());
        assert!(Key::read(&cursor, notices.clone().order(Order::Oldest).tag()).is_err());
        assert!(Key::read(&Cursor::from_text("?"), notices.tag()).is_err());
        assert_eq!(read_version(Some(&before_version(12))).unwrap(), 12);
        assert!(read_version(Some(&cursor)).is_err());
    }

    #[test]
    fn the_rarest_condition_leads_and_what_no_index_serves_is_refused() {
        let query = ListQuery::of(Kind::Notice).equals("level", "urgent").equals("title", "Water");
        let Way::ByValue(conditions) = Way::of(&query).unwrap() else { panic!("not by value") };
        let fields: Vec<_> = conditions.iter().map(|condition| condition.field).collect();
        assert_eq!(fields, ["title", "level"]);
        assert_eq!(conditions.first().unwrap().exact.as_deref(), Some("Water"));
        for bad in [
            ListQuery::of(Kind::Notice).equals("body", "x"),
            ListQuery::of(Kind::Notice).equals("nothing", "x"),
            ListQuery::of(Kind::Notice).equals("level", "info").order(Order::Changed),
            ListQuery { deleted: true, ..ListQuery::of(Kind::Notice).equals("level", "info") },
            ListQuery { text_prefix: Some(("level".into(), "u".into())), ..ListQuery::of(Kind::Notice) },
        ] {
            assert!(Way::of(&bad).is_err(), "{bad:?}");
        }
    }
}
