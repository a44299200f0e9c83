//! Languages: which one a person reads, and every text that the pages say.
//!
//! The texts stand in `locales/*.properties`; `build.rs` makes [`Key`] and [`Count`] of them and stops the
//! build when a language is incomplete.

mod format;
mod plural;

use std::fmt::Display;

pub(crate) use format::{date, date_input, iso, parse_date};

include!(concat!(env!("OUT_DIR"), "/messages.rs"));

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Language {
    /// English.
    #[default]
    English,
    /// Spanish.
    Spanish,
    /// French.
    French,
    /// Arabic, written from right to left.
    Arabic,
}

/// Longest `Accept-Language` header that is looked at, in bytes.
const MAX_ACCEPT: usize = 512;

impl Language {
    /// Every language, in the order of the generated tables.
    pub(crate) const ALL: [Self; 4] = [Self::English, Self::Spanish, Self::French, Self::Arabic];

    /// The BCP 47 tag.
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Spanish => "es",
            Self::French => "fr",
            Self::Arabic => "ar",
        }
    }

    /// The language's own name.
    pub(crate) const fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Spanish => "Español",
            Self::French => "Français",
            Self::Arabic => "العربية",
        }
    }

    /// `ltr` or `rtl`, as in HTML.
    pub(crate) const fn direction(self) -> &'static str {
        if matches!(self, Self::Arabic) { "rtl" } else { "ltr" }
    }

    /// From a tag such as `es` or `es-MX`.
    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.trim().split(['-', '_']).next()?;
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary))
    }

    /// The best of what a browser asks for (RFC 9110 section 12.5.4), if we have any of it.
    pub(crate) fn accepted(header: &str) -> Option<Self> {
        let mut best: Option<(Self, f32)> = None;
        for part in header.get(..header.len().min(MAX_ACCEPT))?.split(',') {
            let (tag, quality) = match part.split_once(";q=") {
                Some((tag, quality)) => (tag, quality.trim().parse().unwrap_or(0.0)),
                None => (part, 1.0),
            };
            if let Some(language) = Self::from_tag(tag)
                && quality > 0.0
                && best.is_none_or(|(_, found)| quality > found)
            {
                best = Some((language, quality));
            }
        }
        best.map(|(language, _)| language)
    }

    /// The message.
    pub(crate) fn t(self, key: Key) -> &'static str {
        PLAIN
            .get(self as usize)
            .and_then(|texts| texts.get(key as usize))
            .copied()
            .unwrap_or_else(|| key.name())
    }

    /// The message with its `{names}` filled in.
    pub(crate) fn with(self, key: Key, values: &[(&str, &dyn Display)]) -> String {
        fill(self.t(key), values)
    }

    /// The message about `n` things.
    pub(crate) fn count(self, key: Count, n: u64) -> String {
        self.count_with(key, n, &[])
    }

    /// All forms of a message about a number of things, as scripts choose among them.
    pub(crate) fn forms(self, key: Count) -> serde_json::Value {
        let texts = PLURAL.get(self as usize).and_then(|texts| texts.get(key as usize));
        let names = ["zero", "one", "two", "few", "many", "other"];
        let pairs = names.into_iter().zip(texts.into_iter().flatten());
        pairs
            .map(|(name, text)| (name.to_owned(), serde_json::Value::from(*text)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// The message about `n` things with further `{names}` filled in.
    pub(crate) fn count_with(self, key: Count, n: u64, values: &[(&str, &dyn Display)]) -> String {
        let form = plural::form(self, n) as usize;
        let text = PLURAL
            .get(self as usize)
            .and_then(|texts| texts.get(key as usize))
            .and_then(|forms| forms.get(form))
            .copied()
            .unwrap_or_else(|| key.name());
        fill(&fill(text, &[("n", &self.number(n))]), values)
    }
}

fn fill(text: &str, values: &[(&str, &dyn Display)]) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}') {
            Some((name, tail)) => {
                match values.iter().find(|(known, _)| *known == name) {
                    Some((_, value)) => out.push_str(&value.to_string()),
                    None => out.push_str(&format!("{{{name}}}")),
                }
                rest = tail;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_accepted_language_wins() {
        assert_eq!(Language::accepted("de, fr;q=0.5, es;q=0.8"), Some(Language::Spanish));
        assert_eq!(Language::accepted("ar-EG,en;q=0.9"), Some(Language::Arabic));
        assert_eq!(Language::accepted("de, ja"), None);
        assert_eq!(Language::accepted("en;q=0, fr;q=0.1"), Some(Language::French));
        assert_eq!(Language::accepted(&"x,".repeat(5000)), None);
    }

    #[test]
    fn a_value_is_filled_in_once_and_never_read_as_a_template() {
        let text = Language::English.with(Key::SignedInAs, &[("name", &"{name} & co")]);
        assert_eq!(text, "Signed in as {name} & co");
    }

    #[test]
    fn every_text_of_every_language_is_really_there() {
        for language in Language::ALL {
            for key in Key::ALL {
                let text = language.t(*key);
                // A text of one English word may well be its key.
                let placeholder = text == key.name() && key.name().contains('_');
                assert!(!text.trim().is_empty() && !placeholder, "{}: {}", language.tag(), key.name());
            }
            for key in Count::ALL {
                for n in [0, 1, 2, 3, 11, 100] {
                    let text = language.count_with(*key, n, &[("total", &9), ("ms", &9)]);
                    assert!(!text.contains('{') && text != key.name(), "{}: {text}", language.tag());
                }
            }
        }
    }

    #[test]
    fn translations_are_translated() {
        // A few words are the same in two languages ("Messages", "Notices"); most are not.
        for language in [Language::Spanish, Language::French, Language::Arabic] {
            let same = Key::ALL.iter().filter(|key| language.t(**key) == Language::English.t(**key)).count();
            assert!(same * 20 < Key::ALL.len(), "{}: {same} texts are English", language.tag());
        }
    }
}
