//! Turns `locales/*.properties` into the table of messages, and stops the build when a language lacks a
//! key, has one too many, misses a plural form that it needs, or fills in other names than English does.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::Path,
};

/// Languages in the order of `i18n::Language`; the first one is the table of keys.
const LANGUAGES: [&str; 4] = ["en", "es", "fr", "ar"];
/// CLDR plural categories in the order of `i18n::plural::Form`.
const FORMS: [&str; 6] = ["zero", "one", "two", "few", "many", "other"];

/// Message by key; plural forms by key and form.
#[derive(Default)]
struct Locale {
    plain: BTreeMap<String, String>,
    plural: BTreeMap<String, BTreeMap<String, String>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=locales");
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("locales");
    let mut locales = Vec::new();
    for language in LANGUAGES {
        let path = folder.join(format!("{language}.properties"));
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        locales.push(read(&text).map_err(|e| format!("{}: {e}", path.display()))?);
    }
    let mut faults = Vec::new();
    let table = locales.first().ok_or("no language")?;
    for (language, locale) in LANGUAGES.iter().zip(&locales) {
        compare(language, table, locale, &mut faults);
    }
    if !faults.is_empty() {
        return Err(format!("the languages do not match:\n  {}", faults.join("\n  ")).into());
    }
    let code = generate(&locales)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("messages.rs"), code)?;
    Ok(())
}

fn read(text: &str) -> Result<Locale, String> {
    let mut locale = Locale::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once(" = ").ok_or(format!("line {}: no “ = ”", number + 1))?;
        let (key, value) = (key.trim(), value.trim().to_owned());
        let twice = match key.strip_suffix(']').and_then(|key| key.split_once('[')) {
            Some((key, form)) if FORMS.contains(&form) => {
                locale.plural.entry(key.to_owned()).or_default().insert(form.to_owned(), value).is_some()
            }
            Some((_, form)) => return Err(format!("line {}: no plural form {form:?}", number + 1)),
            None => locale.plain.insert(key.to_owned(), value).is_some(),
        };
        if twice {
            return Err(format!("line {}: {key} stands here twice", number + 1));
        }
    }
    Ok(locale)
}

fn compare(language: &str, table: &Locale, locale: &Locale, faults: &mut Vec<String>) {
    let keys = |locale: &Locale| {
        locale.plain.keys().chain(locale.plural.keys()).cloned().collect::<BTreeSet<String>>()
    };
    for key in keys(table).difference(&keys(locale)) {
        faults.push(format!("{language} lacks {key}"));
    }
    for key in keys(locale).difference(&keys(table)) {
        faults.push(format!("{language} has {key}, which English does not"));
    }
    for (key, text) in &locale.plain {
        match table.plain.get(key) {
            Some(english) if names(english) != names(text) => {
                faults.push(format!("{language}: {key} fills in other names than English"));
            }
            None if table.plural.contains_key(key) => {
                faults.push(format!("{language}: {key} needs plural forms"))
            }
            _ => {}
        }
    }
    let needed: &[&str] = if language == "ar" { &FORMS } else { &["one", "other"] };
    for (key, forms) in &locale.plural {
        for form in needed.iter().filter(|form| !forms.contains_key(**form)) {
            faults.push(format!("{language}: {key} lacks the form [{form}]"));
        }
        let all = table.plural.get(key).and_then(|forms| forms.get("other")).map(|text| names(text));
        for (form, text) in forms {
            let mut expected = all.clone().unwrap_or_default();
            let mut found = names(text);
            // “one document” may be said without its figure.
            expected.remove("n");
            found.remove("n");
            if expected != found {
                faults.push(format!("{language}: {key}[{form}] fills in other names than English"));
            }
        }
    }
}

/// The `{names}` that a message fills in.
fn names(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
}

fn generate(locales: &[Locale]) -> Result<String, Box<dyn Error>> {
    let table = locales.first().ok_or("no language")?;
    let mut code = String::new();
    write_enum(&mut code, "Key", "A message.", table.plain.keys())?;
    write_enum(&mut code, "Count", "A message about a number of things.", table.plural.keys())?;
    writeln!(code, "static PLAIN: [[&str; {}]; {}] = [", table.plain.len(), locales.len())?;
    for locale in locales {
        writeln!(code, "[{}],", locale.plain.values().map(|text| format!("{text:?}, ")).collect::<String>())?;
    }
    writeln!(
        code,
        "];\nstatic PLURAL: [[[&str; {}]; {}]; {}] = [",
        FORMS.len(),
        table.plural.len(),
        locales.len()
    )?;
    for locale in locales {
        code.push('[');
        for forms in locale.plural.values() {
            let other = forms.get("other").ok_or("a plural without “other”")?;
            let all = FORMS.map(|form| format!("{:?}", forms.get(form).unwrap_or(other)));
            writeln!(code, "[{}],", all.join(", "))?;
        }
        code.push_str("],\n");
    }
    code.push_str("];\n");
    Ok(code)
}

fn write_enum<'a>(
    code: &mut String,
    name: &str,
    doc: &str,
    keys: impl Iterator<Item = &'a String> + Clone,
) -> Result<(), std::fmt::Error> {
    writeln!(
        code,
        "/// {doc}\n#[allow(clippy::enum_variant_names)] // a name is the key of a text\n#[derive(Debug, Clone, Copy, PartialEq, Eq)]\npub(crate) enum {name} {{"
    )?;
    for key in keys.clone() {
        writeln!(code, "    /// `{key}`\n    {},", camel(key))?;
    }
    writeln!(
        code,
        "}}\nimpl {name} {{\n    /// Every one, in order.\n    #[cfg(test)]\n    pub(crate) const ALL: &[Self] = &["
    )?;
    for key in keys.clone() {
        writeln!(code, "        Self::{},", camel(key))?;
    }
    writeln!(
        code,
        "    ];\n    /// The name in the files.\n    #[must_use]\n    pub(crate) const fn name(self) -> &'static str {{\n        match self {{"
    )?;
    for key in keys.clone() {
        writeln!(code, "            Self::{} => {key:?},", camel(key))?;
    }
    writeln!(
        code,
        "        }}\n    }}\n    /// By its name in the files.\n    #[must_use]\n    pub(crate) fn from_name(name: &str) -> Option<Self> {{\n        Some(match name {{"
    )?;
    for key in keys.clone() {
        writeln!(code, "            {key:?} => Self::{},", camel(key))?;
    }
    writeln!(code, "            _ => return None,\n        }})\n    }}\n}}")
}

fn camel(key: &str) -> String {
    key.split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
                .collect::<String>()
        })
        .collect()
}
