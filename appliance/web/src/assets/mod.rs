//! Style, scripts and icons, embedded in the binary.
//!
//! Every file is served under a name that holds a hash of its content and may be kept by a browser for a
//! year; a new release brings new names. Scripts name each other by their plain names in the source, which
//! are replaced on start. The service worker alone has a fixed name, as browsers require.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{
    Router,
    extract::Path,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

const FOREVER: &str = "public, max-age=31536000, immutable";
const REVALIDATE: &str = "no-cache";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

use crate::i18n::{Count, Key, Language};

/// One embedded file: plain name, media type, content.
type Source = (&'static str, &'static str, &'static str);

/// The files. One that names another stands after it.
static SOURCES: &[Source] = &[
    ("cairn.css", "text/css; charset=utf-8", include_str!("cairn.css")),
    ("icons.svg", SVG, include_str!("icons.svg")),
    ("favicon.svg", SVG, include_str!("favicon.svg")),
    ("texts.js", SCRIPT, include_str!("texts.js")),
    ("time.js", SCRIPT, include_str!("time.js")),
    ("queue.js", SCRIPT, include_str!("queue.js")),
    ("live.js", SCRIPT, include_str!("live.js")),
    ("ask.js", SCRIPT, include_str!("ask.js")),
    ("upload.js", SCRIPT, include_str!("upload.js")),
    ("messages.js", SCRIPT, include_str!("messages.js")),
    ("builder.js", SCRIPT, include_str!("builder.js")),
    ("cairn.js", SCRIPT, include_str!("cairn.js")),
];

static WORKER: &str = include_str!("sw.js");

struct Asset {
    media_type: &'static str,
    content: String,
}

struct Assets {
    /// Served name (without `/assets/`) to content.
    served: BTreeMap<String, Asset>,
    /// Plain name to path.
    paths: BTreeMap<&'static str, String>,
    /// Path of the scripts' texts, by language.
    texts: Vec<String>,
}

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let mut assets = Assets { served: BTreeMap::new(), paths: BTreeMap::new(), texts: Vec::new() };
    for (plain, media_type, source) in SOURCES {
        let mut content = (*source).to_owned();
        for (known, path) in &assets.paths {
            let named = path.trim_start_matches("/assets/");
            content = content.replace(&format!("\"./{known}\""), &format!("\"./{named}\""));
        }
        let path = assets.serve(plain, media_type, content);
        assets.paths.insert(plain, path);
    }
    for language in Language::ALL {
        let content = format!("export default {};\n", script_texts(language));
        let path = assets.serve(&format!("texts-{}.js", language.tag()), SCRIPT, content);
        assets.texts.push(path);
    }
    assets
});

impl Assets {
    /// Serves a file under a name with its hash; gives its path.
    fn serve(&mut self, plain: &str, media_type: &'static str, content: String) -> String {
        let hash = blake3::hash(content.as_bytes()).to_hex();
        let (stem, extension) = plain.rsplit_once('.').unwrap_or((plain, "txt"));
        let name = format!("{stem}.{}.{extension}", hash.get(..10).unwrap_or_default());
        let path = format!("/assets/{name}");
        self.served.insert(name, Asset { media_type, content });
        path
    }
}

/// The texts that scripts name, as JSON: `t("key")` and `count("key", …)` in the sources.
fn script_texts(l: Language) -> serde_json::Value {
    let mut texts = serde_json::Map::new();
    for (_, _, source) in SOURCES.iter().filter(|(name, ..)| name.ends_with(".js")) {
        for name in quoted_after(source, &[" t(", "(t(", "{t(", "[t(", " ? \"", " : \""]) {
            if let Some(key) = Key::from_name(name) {
                texts.insert(name.to_owned(), l.t(key).into());
            }
        }
        for name in quoted_after(source, &["count("]) {
            if let Some(key) = Count::from_name(name) {
                texts.insert(name.to_owned(), l.forms(key));
            }
        }
    }
    texts.into()
}

/// What stands in double quotes right after one of these marks.
fn quoted_after<'a>(source: &'a str, marks: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    marks.iter().flat_map(move |mark| {
        source.split(mark).skip(1).filter_map(|rest| rest.trim_start_matches('"').split('"').next())
    })
}

/// The path of the texts that scripts say, in one language.
pub(crate) fn texts(l: Language) -> &'static str {
    ASSETS.texts.get(l as usize).map_or("", String::as_str)
}

/// The path of an embedded file under its hashed name, empty for a name that is not embedded.
pub(crate) fn path(plain: &str) -> &'static str {
    ASSETS.paths.get(plain).map_or("", String::as_str)
}

/// Routes of the embedded files.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/assets/{name}", get(asset))
        .route("/favicon.ico", get(|| async { file(SVG, REVALIDATE, include_str!("favicon.svg")) }))
        .route("/sw.js", get(worker))
        .route("/manifest.webmanifest", get(manifest))
}

async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.served.get(&name) {
        Some(asset) => file(asset.media_type, FOREVER, &asset.content),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn worker() -> Response {
    let kept: Vec<&str> = ASSETS.paths.values().map(String::as_str).collect();
    let list = serde_json::to_string(&kept).unwrap_or_else(|_| "[]".to_owned());
    file(SCRIPT, REVALIDATE, &WORKER.replace("\"@assets\"", &list))
}

async fn manifest() -> Response {
    let manifest = serde_json::json!({
        "name": "Cairn",
        "short_name": "Cairn",
        "start_url": "/",
        "display": "standalone",
        "background_color": "#f6f2ea",
        "theme_color": "#1d5c4e",
        "icons": [{ "src": path("favicon.svg"), "sizes": "any", "type": SVG }],
    });
    file("application/manifest+json", REVALIDATE, &manifest.to_string())
}

fn file(media_type: &'static str, cache: &'static str, content: &str) -> Response {
    let headers: [(HeaderName, &'static str); 3] = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, cache),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, content.to_owned()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_import_each_other_by_hashed_names() {
        for (name, asset) in &ASSETS.served {
            for line in asset.content.lines().filter(|line| line.contains("\"./")) {
                let wanted = line.split("\"./").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
                assert!(ASSETS.served.contains_key(wanted), "{name} names {wanted}, which is not served");
            }
        }
    }

    #[test]
    fn every_icon_that_pages_name_is_in_the_sheet() {
        let sheet = include_str!("icons.svg");
        for page in crate::pages::SOURCES {
            for name in page.split("icon(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(sheet.contains(&format!("id=\"{name}\"")), "no icon {name}");
            }
        }
    }

    #[test]
    fn colours_reach_the_contrast_that_wcag_asks_for() {
        let css = include_str!("cairn.css");
        let (light, dark) = css.split_once("prefers-color-scheme: dark").unwrap();
        let token = |css: &str, name: &str| -> Option<[f64; 3]> {
            let hex = css.split_once(&format!("--{name}: #"))?.1.get(..6)?;
            let channel = |at: usize| {
                let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
                if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            Some([channel(0), channel(2), channel(4)])
        };
        let luminance = |c: [f64; 3]| 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
        // WCAG 2.2, 1.4.3 (text, 4.5 : 1) and 1.4.11 (borders of controls, 3 : 1).
        let pairs = [
            ("ink", "bg", 7.0),
            ("ink", "surface", 7.0),
            ("ink-2", "bg", 4.5),
            ("ink-2", "surface", 4.5),
            ("ink-2", "sunken", 4.5),
            ("accent", "bg", 4.5),
            ("accent", "surface", 4.5),
            ("accent", "accent-soft", 4.5),
            ("accent-strong", "accent-soft", 4.5),
            ("on-accent", "accent", 4.5),
            ("ink", "mark", 4.5),
            ("info", "info-soft", 4.5),
            ("info", "surface", 4.5),
            ("ok", "ok-soft", 4.5),
            ("warn", "warn-soft", 4.5),
            ("warn", "surface", 4.5),
            ("urgent", "urgent-soft", 4.5),
            ("urgent", "surface", 4.5),
            ("ink", "urgent-soft", 4.5),
            ("line-strong", "surface", 3.0),
            ("line-strong", "bg", 3.0),
        ];
        for (theme, css) in [("light", light), ("dark", dark)] {
            for (front, back, least) in pairs {
                let (a, b) = (luminance(token(css, front).unwrap()), luminance(token(css, back).unwrap()));
                let ratio = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(ratio >= least, "{theme}: {front} on {back} is {ratio:.2}, needs {least}");
            }
        }
    }

    #[test]
    fn nothing_in_the_style_points_left_or_right() {
        // Arabic mirrors the page; physical sides do not mirror.
        let css = include_str!("cairn.css");
        for side in [
            "margin-left",
            "margin-right",
            "padding-left",
            "padding-right",
            "text-align: left",
            "border-left",
        ] {
            assert!(!css.contains(side), "{side}");
        }
    }
}
