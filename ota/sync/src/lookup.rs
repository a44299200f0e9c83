//! Under which texts lists find a living record by the value of a field: the same index on hub and gateway.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use crate::{FieldDef, FieldType, Value};

/// Follows every text that a prefix can start.
pub const LAST_CHARACTER: char = '\u{10FFFF}';
/// Most bytes of a line that the index keeps.
pub const LOOKUP_LEN: usize = 96;

/// The keys of a field's value; none for types that lists do not search by.
#[must_use]
pub fn lookup_keys(def: &FieldDef, value: &Value) -> Vec<String> {
    match (def.ty, value) {
        (FieldType::Bool, Value::Bool(flag)) => vec![if *flag { "1" } else { "0" }.to_owned()],
        (FieldType::Choice(_) | FieldType::Ref(_) | FieldType::Blob, Value::Text(text)) => vec![text.clone()],
        (FieldType::Line, Value::Text(text)) => vec![folded(text)],
        (FieldType::Set, Value::Set(set)) => set.iter().cloned().collect(),
        _ => Vec::new(),
    }
}

/// A line as lists find it: whatever the case and the accents, cut to [`LOOKUP_LEN`] bytes.
#[must_use]
pub fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len().min(LOOKUP_LEN));
    let plain = text.trim().nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase);
    for c in plain {
        if folded.len() + c.len_utf8() > LOOKUP_LEN {
            break;
        }
        folded.push(c);
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_whatever_its_case_and_accents() {
        assert_eq!(folded(" Équipe de l'Eau "), "equipe de l'eau");
        assert_eq!(folded(&"é".repeat(500)).len(), LOOKUP_LEN);
    }
}
