//! Plural forms, by the rules of Unicode CLDR 45 for our languages.

use super::Language;

/// A CLDR plural category, in the order of `FORMS` in `build.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Zero,
    One,
    Two,
    Few,
    Many,
    Other,
}

/// The form for `n` things.
pub(super) const fn form(language: Language, n: u64) -> Form {
    match language {
        Language::English | Language::Spanish => match n {
            1 => Form::One,
            _ => Form::Other,
        },
        Language::French => match n {
            0 | 1 => Form::One,
            _ => Form::Other,
        },
        Language::Arabic => match (n, n % 100) {
            (0, _) => Form::Zero,
            (1, _) => Form::One,
            (2, _) => Form::Two,
            (_, 3..=10) => Form::Few,
            (_, 11..=99) => Form::Many,
            _ => Form::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_follow_cldr() {
        assert_eq!(form(Language::English, 0), Form::Other);
        assert_eq!(form(Language::French, 0), Form::One);
        let arabic = [0, 1, 2, 3, 10, 11, 99, 100, 102, 103, 111].map(|n| form(Language::Arabic, n));
        use Form::{Few, Many, One, Other, Two, Zero};
        assert_eq!(arabic, [Zero, One, Two, Few, Few, Many, Many, Other, Other, Few, Many]);
    }
}
