//! Which language a document is in.

/// Characters below which a guess is worth nothing.
const ENOUGH_CHARS: usize = 40;
/// Codes are two letters where the language has them, and three where not.
const CODE_LETTERS: std::ops::RangeInclusive<usize> = 2..=3;

/// A guess from the text where it is reliable, else what the document declares, because templates often declare
/// English for everything.
pub(super) fn guess(sample: &str, declared: Option<&str>) -> Option<String> {
    let guessed = (sample.chars().count() >= ENOUGH_CHARS)
        .then(|| whatlang::detect(sample))
        .flatten()
        .filter(whatlang::Info::is_reliable)
        .map(|info| short(info.lang().code()).to_owned());
    guessed.or_else(|| declared.map(str::to_owned))
}

/// The language of a BCP 47 tag: "pt-BR" is "pt".
pub(super) fn from_tag(tag: &str) -> Option<String> {
    let primary = tag.trim().split(['-', '_']).next()?.to_ascii_lowercase();
    let well_formed =
        CODE_LETTERS.contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_lowercase());
    (well_formed && primary != "und").then(|| short(&primary).to_owned())
}

/// ISO 639-1 for the ISO 639-3 codes that have one, of the languages that can be guessed.
fn short(code: &str) -> &str {
    const CODES: &[(&str, &str)] = &[
        ("afr", "af"),
        ("aka", "ak"),
        ("amh", "am"),
        ("ara", "ar"),
        ("aze", "az"),
        ("bel", "be"),
        ("ben", "bn"),
        ("bul", "bg"),
        ("cat", "ca"),
        ("ces", "cs"),
        ("cmn", "zh"),
        ("cym", "cy"),
        ("dan", "da"),
        ("deu", "de"),
        ("ell", "el"),
        ("eng", "en"),
        ("epo", "eo"),
        ("est", "et"),
        ("fin", "fi"),
        ("fra", "fr"),
        ("guj", "gu"),
        ("heb", "he"),
        ("hin", "hi"),
        ("hrv", "hr"),
        ("hun", "hu"),
        ("hye", "hy"),
        ("ind", "id"),
        ("ita", "it"),
        ("jav", "jv"),
        ("jpn", "ja"),
        ("kan", "kn"),
        ("kat", "ka"),
        ("khm", "km"),
        ("kor", "ko"),
        ("lat", "la"),
        ("lav", "lv"),
        ("lit", "lt"),
        ("mal", "ml"),
        ("mar", "mr"),
        ("mkd", "mk"),
        ("mya", "my"),
        ("nep", "ne"),
        ("nld", "nl"),
        ("nob", "nb"),
        ("ori", "or"),
        ("pan", "pa"),
        ("pes", "fa"),
        ("pol", "pl"),
        ("por", "pt"),
        ("ron", "ro"),
        ("rus", "ru"),
        ("sin", "si"),
        ("slk", "sk"),
        ("slv", "sl"),
        ("sna", "sn"),
        ("spa", "es"),
        ("srp", "sr"),
        ("swe", "sv"),
        ("tam", "ta"),
        ("tel", "te"),
        ("tgl", "tl"),
        ("tha", "th"),
        ("tuk", "tk"),
        ("tur", "tr"),
        ("ukr", "uk"),
        ("urd", "ur"),
        ("uzb", "uz"),
        ("vie", "vi"),
        ("yid", "yi"),
        ("zul", "zu"),
    ];
    CODES.iter().find(|(long, _)| *long == code).map_or(code, |(_, short)| short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_beats_the_declaration_when_it_is_clear() {
        let spanish =
            "El agua debe hervir durante al menos un minuto antes de beberla, y tres minutos en la montaña.";
        assert_eq!(guess(spanish, Some("en")).as_deref(), Some("es"));
        let arabic =
            "يجب غلي الماء لمدة دقيقة واحدة على الأقل قبل شربه، وثلاث دقائق في المناطق الجبلية المرتفعة.";
        assert_eq!(guess(arabic, None).as_deref(), Some("ar"));
        assert_eq!(guess("OK", Some("fr")).as_deref(), Some("fr"));
    }

    #[test]
    fn a_tag_that_is_none_declares_nothing() {
        assert_eq!(from_tag("pt-BR").as_deref(), Some("pt"));
        assert_eq!(from_tag("eng").as_deref(), Some("en"));
        for wrong in ["", "und", "x", "english", "1a", "*"] {
            assert_eq!(from_tag(wrong), None, "{wrong:?}");
        }
    }
}
