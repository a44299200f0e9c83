//! The documents that say what a book consists of: container, package, table of contents, encryption.

use std::collections::HashMap;

use super::super::{
    Reason,
    markup::{self, Dialect, Event},
    output::Next,
};

/// Most parts of a path; more is nonsense.
const MOST_PATH_PARTS: usize = 64;
/// Longest title of a chapter.
const TITLE_CHARS: usize = 300;

/// Path of the first package document that `META-INF/container.xml` names.
pub(super) fn root_file(container: &str) -> Result<Option<String>, Reason> {
    let mut found = None;
    markup::events(container, Dialect::Xml, &mut |event| {
        if let Event::Open { name, attributes, .. } = event
            && local(name) == "rootfile"
            && let Some(path) = attributes.get("full-path")
        {
            found = resolve("", path);
        }
        Ok(if found.is_some() { Next::Stop } else { Next::Continue })
    })?;
    Ok(found)
}

/// What the package document says.
#[derive(Debug, Default)]
pub(super) struct Package {
    pub(super) title: Option<String>,
    pub(super) language: Option<String>,
    /// Paths of the chapters in reading order, each once.
    pub(super) spine: Vec<String>,
    /// Path of the table of contents.
    pub(super) contents: Option<String>,
}

struct Item {
    id: String,
    path: String,
    media_type: String,
    navigation: bool,
}

impl Package {
    pub(super) fn parse(text: &str, own_path: &str) -> Result<Self, Reason> {
        let (mut package, mut items, mut order, mut ncx) = (Self::default(), Vec::new(), Vec::new(), None);
        let (mut metadata, mut value) = (None, String::new());
        markup::events(text, Dialect::Xml, &mut |event| {
            match event {
                Event::Open { name, attributes, .. } => match local(name) {
                    kind @ ("title" | "language") => {
                        metadata = Some(if kind == "title" { Field::Title } else { Field::Language });
                        value.clear();
                    }
                    "item" => {
                        let get = |name| attributes.get(name).unwrap_or_default().to_owned();
                        if let Some(path) = resolve(own_path, &get("href")) {
                            let navigation =
                                get("properties").split_ascii_whitespace().any(|word| word == "nav");
                            items.push(Item {
                                id: get("id"),
                                path,
                                media_type: get("media-type"),
                                navigation,
                            });
                        }
                    }
                    "spine" => ncx = attributes.get("toc").map(str::to_owned),
                    "itemref" => order.extend(attributes.get("idref").map(str::to_owned)),
                    _ => {}
                },
                Event::Text(text) if metadata.is_some() => value.push_str(text),
                Event::Text(_) => {}
                Event::Close { .. } => {
                    let text = clean(&value);
                    match metadata.take() {
                        Some(Field::Title) if package.title.is_none() => package.title = text,
                        Some(Field::Language) if package.language.is_none() => package.language = text,
                        _ => {}
                    }
                }
            }
            Ok(Next::Continue)
        })?;
        let by_id: HashMap<&str, &Item> = items.iter().map(|item| (item.id.as_str(), item)).collect();
        let mut seen = std::collections::HashSet::new();
        let chapters = order.iter().filter_map(|id| by_id.get(id.as_str())).filter(|item| is_document(item));
        package.spine =
            chapters.filter(|item| seen.insert(&item.path)).map(|item| item.path.clone()).collect();
        let contents = items
            .iter()
            .find(|item| item.navigation)
            .or_else(|| ncx.as_deref().and_then(|id| by_id.get(id).copied()));
        let contents =
            contents.or_else(|| items.iter().find(|item| item.media_type == "application/x-dtbncx+xml"));
        package.contents = contents.map(|item| item.path.clone());
        Ok(package)
    }
}

enum Field {
    Title,
    Language,
}

fn is_document(item: &Item) -> bool {
    matches!(
        item.media_type.as_str(),
        "application/xhtml+xml" | "text/html" | "application/html" | "text/x-oeb1-document" | ""
    )
}

/// Titles by path: from an EPUB 3 navigation document (`a href`) or an EPUB 2 NCX (`text`, then `content src`).
pub(super) fn titles(text: &str, own_path: &str) -> Result<HashMap<String, String>, Reason> {
    let mut titles = HashMap::new();
    let (mut target, mut label, mut gathers) = (None::<String>, String::new(), false);
    markup::events(text, Dialect::Xml, &mut |event| {
        match event {
            Event::Open { name, attributes, .. } => match local(name) {
                "a" => {
                    target = attributes.get("href").and_then(|href| resolve(own_path, href));
                    (gathers, label) = (true, String::new());
                }
                "text" => (gathers, label) = (true, String::new()),
                "content" => {
                    let path = attributes.get("src").and_then(|src| resolve(own_path, src));
                    if let Some((path, title)) = path.zip(clean(&label)) {
                        titles.entry(path).or_insert(title);
                    }
                }
                _ => {}
            },
            Event::Text(text) if gathers => label.push_str(text),
            Event::Text(_) => {}
            Event::Close { name } => match local(name) {
                "a" => {
                    gathers = false;
                    if let Some((path, title)) = target.take().zip(clean(&label)) {
                        titles.entry(path).or_insert(title);
                    }
                }
                "text" => gathers = false,
                _ => {}
            },
        }
        Ok(Next::Continue)
    })?;
    Ok(titles)
}

/// Paths that `META-INF/encryption.xml` names. Fonts are often among them, which hinders nobody.
pub(super) fn encrypted_paths(text: &str) -> Result<Vec<String>, Reason> {
    let mut paths = Vec::new();
    markup::events(text, Dialect::Xml, &mut |event| {
        if let Event::Open { name, attributes, .. } = event
            && local(name) == "cipherreference"
        {
            paths.extend(attributes.get("uri").and_then(|uri| resolve("", uri)));
        }
        Ok(Next::Continue)
    })?;
    Ok(paths)
}

/// The name without its prefix.
fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

fn clean(text: &str) -> Option<String> {
    let text: String =
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TITLE_CHARS).collect();
    (!text.is_empty()).then_some(text)
}

/// The path that `reference` means in the document at `base`: without fragment, percent-decoded, "." and ".." resolved. Nothing
/// leads out of the archive; references to elsewhere are none.
fn resolve(base: &str, reference: &str) -> Option<String> {
    let reference = reference.split(['#', '?']).next().unwrap_or_default();
    if reference.is_empty() || reference.contains("://") || reference.starts_with("data:") {
        return None;
    }
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    let decoded = percent_decoded(reference);
    let joined = match decoded.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => format!("{folder}/{decoded}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty() && parts.len() <= MOST_PATH_PARTS).then(|| parts.join("/"))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        match code.filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_stay_in_the_archive() {
        let resolved = |reference| resolve("OEBPS/text/nav.xhtml", reference);
        assert_eq!(resolved("ch%201.xhtml#s2").as_deref(), Some("OEBPS/text/ch 1.xhtml"));
        assert_eq!(resolved("../img/a.png").as_deref(), Some("OEBPS/img/a.png"));
        assert_eq!(resolved("/mimetype").as_deref(), Some("mimetype"));
        for outside in ["../../../etc/passwd", "http://host/x", "#here", "", "..%2f..%2f..%2fx"] {
            assert_eq!(resolved(outside), None, "{outside}");
        }
    }
}
