//! Forms: what a browser sends, what is wrong with it, and the fields shown again with both.
//!
//! A form that comes back with mistakes keeps everything that was typed. Every form carries a change id, so
//! that sending it twice (a second press, a queue in the browser) has one effect.

mod field;
pub(crate) mod questions;

use std::collections::BTreeMap;

use axum::{
    extract::{FromRequest, Request},
    http::HeaderMap,
};
use cairn_store::Record;
use cairn_sync::{ChangeId, FieldType, Fields, Kind, Value, ValueError};
use maud::{Markup, html};

pub(crate) use field::{Field, Kind as FieldKind};

use crate::{
    i18n::{Count, Key, Language, date_input, parse_date},
    problem::Problem,
};

/// Header in which scripts send the change id.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Hidden field in which plain forms send it.
const CHANGE: &str = "_change";
/// Hidden field with the version that the person saw.
const BASE: &str = "_base";

/// What a form sent: names and values in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form {
    pairs: Vec<(String, String)>,
    change: Option<ChangeId>,
}

impl Form {
    /// The first value of a field, without spaces around it; empty when there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim())
    }

    /// The first value of a field as it was typed, for passwords.
    pub(crate) fn raw(&self, name: &str) -> &str {
        self.pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Every value of a field.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.trim())
    }

    /// Whether the form has this field at all: a ticked box, a pressed button.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(known, _)| known == name)
    }

    /// Sets a field, for forms that start with values.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.pairs.retain(|(known, _)| known != name);
        self.pairs.push((name.to_owned(), value.into()));
    }

    /// The identity of the change that the form makes.
    pub(crate) fn change(&self) -> Option<ChangeId> {
        self.change
    }

    /// The version that the person saw when the form was opened.
    pub(crate) fn base(&self) -> Option<u64> {
        self.get(BASE).parse().ok()
    }

    /// A form that shows a record's fields.
    pub(crate) fn of(record: &Record) -> Self {
        let mut form = Self::default();
        for (name, value) in &record.fields {
            let text = match value {
                Value::Text(text) => text.clone(),
                Value::Int(ms) if record.kind.def().field(name).is_some_and(|f| f.ty == FieldType::Time) => {
                    date_input(*ms)
                }
                Value::Int(number) => number.to_string(),
                Value::Set(set) => set.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
                Value::Bool(true) => "on".to_owned(),
                Value::Bool(false) | Value::Null | Value::Json(_) => continue,
            };
            form.set(name, text);
        }
        form.set(BASE, record.version.to_string());
        form
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let key = change_of(request.headers());
        let axum::Form(pairs) =
            axum::Form::<Vec<(String, String)>>::from_request(request, state).await.map_err(Problem::from)?;
        let mut form = Self { pairs, change: None };
        form.change = key.or_else(|| form.get(CHANGE).parse().ok());
        Ok(form)
    }
}

/// The change id in a request's header, where it has one.
pub(crate) fn change_of(headers: &HeaderMap) -> Option<ChangeId> {
    headers.get(IDEMPOTENCY_KEY)?.to_str().ok()?.trim_matches('"').parse().ok()
}

/// What is wrong with a form, by field.
pub(crate) type Errors = BTreeMap<String, String>;

/// A form as it is shown: what stands in it and what is wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    /// What stands in it.
    pub(crate) form: Form,
    /// What is wrong.
    pub(crate) errors: Errors,
}

impl Shown {
    /// An empty form.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    /// A form filled with a record.
    pub(crate) fn of(record: &Record) -> Self {
        Self { form: Form::of(record), errors: Errors::new() }
    }

    /// A form that came back.
    pub(crate) fn again(form: Form, errors: Errors) -> Self {
        Self { form, errors }
    }

    /// What stands on top of the form: how many fields need attention.
    pub(crate) fn summary(&self, l: Language) -> Markup {
        html! {
            @if !self.errors.is_empty() {
                div class="flash bad" role="alert" {
                    div {
                        (l.count(Count::FormHasErrors, self.errors.len() as u64))
                        @if let Some(general) = self.errors.get("") { p { (general) } }
                    }
                }
            }
        }
    }
}

/// The hidden fields of every form: who sends it, and which change it makes.
pub(crate) fn hidden(csrf: &str, shown: &Shown) -> Markup {
    html! {
        input type="hidden" name="_csrf" value=(csrf);
        input type="hidden" name=(CHANGE) value=(ChangeId::new());
        @if let Some(base) = shown.form.base() { input type="hidden" name=(BASE) value=(base); }
    }
}

/// Reads fields of a record kind from a form, as the kinds table types them.
///
/// A field that was left empty becomes `Null`, so that clearing a text clears it.
pub(crate) fn read_fields(l: Language, kind: Kind, names: &[&str], form: &Form) -> Result<Fields, Errors> {
    let (mut fields, mut errors) = (Fields::new(), Errors::new());
    for name in names {
        let Some(def) = kind.def().field(name) else {
            errors.insert((*name).to_owned(), l.t(Key::Error400).to_owned());
            continue;
        };
        let text = form.get(name);
        let value = match def.ty {
            FieldType::Bool => Value::Bool(form.has(name)),
            _ if text.is_empty() => Value::Null,
            FieldType::Set => Value::Set(
                text.split([',', '،', ';'])
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(str::to_owned)
                    .collect(),
            ),
            FieldType::Time => match parse_date(text) {
                Some(ms) => Value::Int(ms),
                None => {
                    errors.insert((*name).to_owned(), l.t(Key::FieldNotADate).to_owned());
                    continue;
                }
            },
            FieldType::Int | FieldType::Counter => match text.parse() {
                Ok(number) => Value::Int(number),
                Err(_) => {
                    errors.insert((*name).to_owned(), l.t(Key::FieldNotANumber).to_owned());
                    continue;
                }
            },
            // Browsers send line breaks as CR LF; the store keeps them as LF.
            _ => Value::Text(text.replace("\r\n", "\n")),
        };
        match def.check(&value) {
            Ok(()) => {
                fields.insert((*name).to_owned(), value);
            }
            Err(wrong) => {
                errors.insert((*name).to_owned(), say(l, &wrong));
            }
        }
    }
    if errors.is_empty() { Ok(fields) } else { Err(errors) }
}

/// What is wrong with a value, in the person's language.
pub(crate) fn say(l: Language, wrong: &ValueError) -> String {
    match wrong {
        ValueError::Missing(_) => l.t(Key::FieldNeeded).to_owned(),
        ValueError::TooLarge { limit, .. } => l.count(Count::FieldTooLong, *limit as u64),
        ValueError::NotAChoice { .. } => l.t(Key::FieldNotAChoice).to_owned(),
        ValueError::ControlCharacters(_) => l.t(Key::FieldBadCharacters).to_owned(),
        ValueError::UnknownField(_) | ValueError::WrongType { .. } => l.t(Key::Error400).to_owned(),
    }
}

/// The field that a refused value belongs to.
pub(crate) fn field_of(wrong: &ValueError) -> String {
    match wrong {
        ValueError::Missing(field) | ValueError::ControlCharacters(field) => (*field).to_owned(),
        ValueError::WrongType { field, .. }
        | ValueError::TooLarge { field, .. }
        | ValueError::NotAChoice { field, .. } => (*field).to_owned(),
        ValueError::UnknownField(field) => field.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Form {
        Form {
            pairs: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            change: None,
        }
    }

    #[test]
    fn fields_are_read_by_their_type() {
        let sent = form(&[
            ("title", " Water "),
            ("level", "urgent"),
            ("expires_at", "2026-11-20"),
            ("pinned", "on"),
            ("body", "a\r\nb"),
        ]);
        let names = ["title", "level", "expires_at", "pinned", "body"];
        let fields = read_fields(Language::English, Kind::Notice, &names, &sent).unwrap();
        assert_eq!(fields["title"], Value::from("Water"));
        assert_eq!(fields["body"], Value::from("a\nb"));
        assert_eq!(fields["expires_at"], Value::Int(1_795_132_800_000));
        assert_eq!(fields["pinned"], Value::Bool(true));
    }

    #[test]
    fn every_mistake_is_told_beside_its_field() {
        let sent = form(&[("title", ""), ("level", "loud"), ("expires_at", "soon")]);
        let errors = read_fields(Language::French, Kind::Notice, &["title", "level", "expires_at"], &sent)
            .unwrap_err();
        assert_eq!(errors.keys().map(String::as_str).collect::<Vec<_>>(), ["expires_at", "level", "title"]);
        assert_eq!(errors["title"], Language::French.t(Key::FieldNeeded));
    }

    #[test]
    fn sets_take_the_commas_of_both_scripts() {
        let fields =
            read_fields(Language::Arabic, Kind::Document, &["tags"], &form(&[("tags", "ماء، صحة, b ,")]))
                .unwrap();
        assert_eq!(fields["tags"].as_set().unwrap().len(), 3);
    }
}
