//! What a field can hold.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use crate::kinds::{FieldDef, FieldType};

/// The fields of a record or of a change, by name.
pub type Fields = BTreeMap<String, Value>;

/// One field's value.
///
/// Serialized untagged: in JSON a text is a string, a set an array of strings. Which of the two readings of
/// an array (`Set`, `Json`) is meant follows from the field's type, see [`FieldType::parse`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Not set.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number; times are milliseconds since 1970, UTC.
    Int(i64),
    /// Text, UTF-8.
    Text(String),
    /// A set of short texts.
    Set(BTreeSet<String>),
    /// Structured data, for example the questions of an assessment.
    Json(serde_json::Value),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Value::deserialize(deserializer).map(Self::from_json)
    }
}

impl Value {
    /// As what it looks like. Written out, because the derived way tries one variant after the other and writes the whole value
    /// into the error of each that it is not.
    fn from_json(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(flag) => Self::Bool(flag),
            serde_json::Value::Number(number) => {
                number.as_i64().map_or(Self::Json(serde_json::Value::Number(number)), Self::Int)
            }
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(items) if items.iter().all(serde_json::Value::is_string) => {
                let texts = items.into_iter().filter_map(|item| match item {
                    serde_json::Value::String(text) => Some(text),
                    _ => None,
                });
                Self::Set(texts.collect())
            }
            other => Self::Json(other),
        }
    }
}

/// The form in which values cross the wire and are stored: as in JSON, but structured data says that it is, so
/// that a list of texts is not taken for a set by somebody who does not look at the field's type.
///
/// For `#[serde(with = "exact")]`.
pub mod exact {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error, ser::SerializeMap};

    use super::Value;

    const JSON: &str = "json";

    /// Writes a value.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Json(json) = value else { return value.serialize(serializer) };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(JSON, json)?;
        map.end()
    }

    /// Reads a value.
    ///
    /// # Errors
    /// When it is none, or the deserializer's.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Object(mut map) if map.len() == 1 => {
                map.remove(JSON).map(Value::Json).ok_or_else(|| D::Error::custom("not a field's value"))
            }
            serde_json::Value::Object(_) => Err(D::Error::custom("not a field's value")),
            plain => Ok(Value::from_json(plain)),
        }
    }
}

impl Value {
    /// The text, where it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The number, where it is one.
    #[must_use]
    pub const fn as_int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    /// Yes or no, where it is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(flag) = self { Some(*flag) } else { None }
    }

    /// The set, where it is one.
    #[must_use]
    pub const fn as_set(&self) -> Option<&BTreeSet<String>> {
        if let Self::Set(set) = self { Some(set) } else { None }
    }

    /// The structure, where it is one.
    #[must_use]
    pub const fn as_json(&self) -> Option<&serde_json::Value> {
        if let Self::Json(json) = self { Some(json) } else { None }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

/// Why a value does not fit its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The kind has no such field.
    #[error("there is no field {0:?}")]
    UnknownField(String),
    /// Another type was expected.
    #[error("{field} must be {expected}")]
    WrongType {
        /// The field's name.
        field: &'static str,
        /// What it takes, in words.
        expected: &'static str,
    },
    /// Larger than its limit.
    #[error("{field} is larger than {limit} {unit}")]
    TooLarge {
        /// The field's name.
        field: &'static str,
        /// The limit.
        limit: usize,
        /// What the limit counts.
        unit: &'static str,
    },
    /// A required field is missing or empty.
    #[error("{0} is needed")]
    Missing(&'static str),
    /// Not one of the choices.
    #[error("{field} must be one of {}", choices.join(", "))]
    NotAChoice {
        /// The field's name.
        field: &'static str,
        /// What it takes.
        choices: &'static [&'static str],
    },
    /// Text with control characters that no person typed.
    #[error("{0} holds characters that cannot be shown")]
    ControlCharacters(&'static str),
}

/// Largest number of elements in a set.
pub const MAX_SET_LEN: usize = 256;
/// Largest length of one element of a set, in bytes.
pub const MAX_SET_ITEM: usize = 128;
/// Deepest nesting of structured data.
pub const MAX_JSON_DEPTH: usize = 16;

impl FieldDef {
    /// Reads JSON from outside as this field's value and checks it against the field's limits.
    ///
    /// # Errors
    /// [`ValueError`] names the field and what it takes.
    pub fn parse(&self, json: serde_json::Value) -> Result<Value, ValueError> {
        use serde_json::Value as J;
        let value = match (self.ty, json) {
            (_, J::Null) => Value::Null,
            (FieldType::Bool, J::Bool(flag)) => Value::Bool(flag),
            (FieldType::Int | FieldType::Time | FieldType::Counter, J::Number(number)) => {
                Value::Int(number.as_i64().ok_or_else(|| self.wrong_type())?)
            }
            (
                FieldType::Line
                | FieldType::Text
                | FieldType::Choice(_)
                | FieldType::Ref(_)
                | FieldType::Blob,
                J::String(text),
            ) => Value::Text(text),
            (FieldType::Set, J::Array(items)) => Value::Set(
                items
                    .into_iter()
                    .map(|item| match item {
                        J::String(text) => Ok(text),
                        _ => Err(self.wrong_type()),
                    })
                    .collect::<Result<_, _>>()?,
            ),
            (FieldType::Json, json @ (J::Array(_) | J::Object(_))) => Value::Json(json),
            _ => return Err(self.wrong_type()),
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Checks a value against the field's type, limits and choices.
    ///
    /// # Errors
    /// [`ValueError`] names the field and what it takes.
    pub fn check(&self, value: &Value) -> Result<(), ValueError> {
        let too_large = |limit, unit| ValueError::TooLarge { field: self.name, limit, unit };
        match (self.ty, value) {
            (_, Value::Null) if self.required => Err(ValueError::Missing(self.name)),
            (_, Value::Null) | (FieldType::Bool, Value::Bool(_)) => Ok(()),
            (FieldType::Int | FieldType::Time | FieldType::Counter, Value::Int(_)) => Ok(()),
            (FieldType::Line | FieldType::Text, Value::Text(text)) => {
                if text.len() > self.limit {
                    return Err(too_large(self.limit, "bytes"));
                }
                if self.required && text.trim().is_empty() {
                    return Err(ValueError::Missing(self.name));
                }
                let allowed = |c: char| {
                    !c.is_control() || (self.ty == FieldType::Text && matches!(c, '\n' | '\r' | '\t'))
                };
                if text.chars().all(allowed) { Ok(()) } else { Err(ValueError::ControlCharacters(self.name)) }
            }
            (FieldType::Choice(choices), Value::Text(text)) => {
                if choices.contains(&text.as_str()) {
                    Ok(())
                } else {
                    Err(ValueError::NotAChoice { field: self.name, choices })
                }
            }
            (FieldType::Ref(_), Value::Text(text)) => {
                text.parse::<crate::RecordId>().map(drop).map_err(|_| self.wrong_type())
            }
            (FieldType::Blob, Value::Text(text)) => {
                text.parse::<crate::BlobId>().map(drop).map_err(|_| self.wrong_type())
            }
            (FieldType::Set, Value::Set(set)) => {
                if set.len() > MAX_SET_LEN {
                    return Err(too_large(MAX_SET_LEN, "entries"));
                }
                if set.iter().any(|item| item.len() > MAX_SET_ITEM) {
                    return Err(too_large(MAX_SET_ITEM, "bytes in one entry"));
                }
                Ok(())
            }
            (FieldType::Json, Value::Json(json)) => {
                if depth(json) > MAX_JSON_DEPTH {
                    return Err(too_large(MAX_JSON_DEPTH, "levels"));
                }
                if json.to_string().len() > self.limit {
                    return Err(too_large(self.limit, "bytes"));
                }
                Ok(())
            }
            _ => Err(self.wrong_type()),
        }
    }

    const fn wrong_type(&self) -> ValueError {
        ValueError::WrongType { field: self.name, expected: self.ty.expected() }
    }
}

/// Nesting of `json`: 1 for a plain value. Recursion is bounded because `serde_json` itself refuses input
/// nested deeper than 128 levels.
fn depth(json: &serde_json::Value) -> usize {
    match json {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::Kind;

    fn field(kind: Kind, name: &str) -> &'static FieldDef {
        kind.def().field(name).unwrap()
    }

    #[test]
    fn a_value_is_read_by_its_fields_type() {
        assert_eq!(field(Kind::Notice, "title").parse(json!("Water")).unwrap(), Value::from("Water"));
        assert!(matches!(field(Kind::Document, "tags").parse(json!(["a"])).unwrap(), Value::Set(_)));
        assert!(matches!(field(Kind::Assessment, "questions").parse(json!(["a"])).unwrap(), Value::Json(_)));
    }

    #[test]
    fn a_value_looks_like_what_it_is() {
        let looks = |json: serde_json::Value| serde_json::from_value::<Value>(json).unwrap();
        assert_eq!(looks(json!(null)), Value::Null);
        assert_eq!(looks(json!(true)), Value::Bool(true));
        assert_eq!(looks(json!(i64::MIN)), Value::Int(i64::MIN));
        assert_eq!(looks(json!("a")), Value::from("a"));
        assert_eq!(looks(json!(["b", "a", "b"])), Value::Set(["a".to_owned(), "b".to_owned()].into()));
        for json in [json!(u64::MAX), json!(0.5), json!(["a", 1]), json!({ "a": 1 })] {
            assert_eq!(looks(json.clone()), Value::Json(json));
        }
    }

    #[test]
    fn the_exact_form_keeps_lists_and_sets_apart() {
        #[derive(Serialize, Deserialize, PartialEq, Debug)]
        struct Held(#[serde(with = "exact")] Value);
        let values = [
            Value::Null,
            Value::Bool(true),
            Value::Int(-3),
            Value::from("a"),
            Value::Set(["a".to_owned()].into()),
            Value::Json(json!(["a"])),
            Value::Json(json!({ "json": [1, 2] })),
        ];
        for value in values {
            let text = serde_json::to_string(&Held(value.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Held>(&text).unwrap(), Held(value), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_fields_name() {
        let title = field(Kind::Notice, "title");
        assert_eq!(title.parse(json!(3)).unwrap_err().to_string(), "title must be a line of text");
        assert_eq!(title.parse(json!("  ")).unwrap_err(), ValueError::Missing("title"));
        assert_eq!(title.parse(json!("a\u{0}")).unwrap_err(), ValueError::ControlCharacters("title"));
        let long = "x".repeat(title.limit + 1);
        assert!(matches!(title.parse(json!(long)).unwrap_err(), ValueError::TooLarge { .. }));
        let level = field(Kind::Notice, "level");
        assert!(level.parse(json!("loud")).unwrap_err().to_string().contains("urgent"));
        let mut deep = json!([]);
        for _ in 0..MAX_JSON_DEPTH {
            deep = json!([deep]);
        }
        assert!(field(Kind::Assessment, "questions").parse(deep).is_err());
    }
}
