//! What on a page is not its content: scripts, controls, and the furniture around the text.

use super::super::markup::Attributes;

/// Elements whose content is never shown as text, or is furniture by definition.
const ELEMENTS: &[&str] = &[
    "annotation",
    "audio",
    "button",
    "canvas",
    "datalist",
    "footer",
    "iframe",
    "input",
    "map",
    "nav",
    "noembed",
    "noframes",
    "noscript",
    "object",
    "option",
    "script",
    "select",
    "style",
    "svg",
    "template",
    "textarea",
    "video",
];
/// ARIA landmark and widget roles of furniture.
const ROLES: &[&str] =
    &["banner", "contentinfo", "doc-toc", "menu", "menubar", "navigation", "search", "toolbar"];
/// Class names and identities by which common generators (MediaWiki, Sphinx, DocBook, Doxygen, Jekyll, WordPress and
/// their like) mark furniture.
const NAMES: &[&str] = &[
    "ads",
    "advertisement",
    "breadcrumb",
    "breadcrumbs",
    "catlinks",
    "cookie-banner",
    "cookie-notice",
    "headerlink",
    "mw-editsection",
    "mw-jump-link",
    "nav",
    "navbar",
    "navbox",
    "navfooter",
    "navheader",
    "navigation",
    "noprint",
    "page-footer",
    "page-header",
    "pagination",
    "printfooter",
    "related",
    "share",
    "sidebar",
    "site-footer",
    "site-header",
    "site-nav",
    "skip-link",
    "social-share",
    "sphinxsidebar",
    "table-of-contents",
    "toc",
    "vector-toc",
];
/// Elements that may bear such a name without being furniture.
const NEVER: &[&str] = &["article", "body", "html", "main"];
/// Elements that say "the content is here", by role, identity or class.
const MAIN_IDS: &[&str] = &["bodycontent", "mw-content-text", "main-content"];

pub(super) fn is_furniture(name: &str, attributes: Attributes<'_>) -> bool {
    if ELEMENTS.binary_search(&name).is_ok() {
        return true;
    }
    if NEVER.contains(&name) {
        return false;
    }
    let one_of = |attribute: &str, list: &[&str]| {
        attributes.get(attribute).is_some_and(|value| {
            value
                .split_ascii_whitespace()
                .any(|word| list.iter().any(|known| word.eq_ignore_ascii_case(known)))
        })
    };
    one_of("role", ROLES)
        || one_of("class", NAMES)
        || one_of("id", NAMES)
        || one_of("epub:type", &["pagebreak", "landmarks", "page-list"])
        || attributes.get("hidden").is_some_and(|value| value != "until-found")
        || attributes.get("aria-hidden").is_some_and(|value| value == "true")
        || attributes.get("style").is_some_and(hides)
        || (name == "sup" && one_of("class", &["reference"]))
}

pub(super) fn is_main(name: &str, attributes: Attributes<'_>) -> bool {
    name == "main"
        || attributes.get("role") == Some("main")
        || attributes.get("id").is_some_and(|id| MAIN_IDS.iter().any(|known| id.eq_ignore_ascii_case(known)))
}

fn hides(style: &str) -> bool {
    let compact: String = style.chars().filter(|c| !c.is_whitespace()).collect();
    compact.to_ascii_lowercase().contains("display:none")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_sorted_for_its_search() {
        assert!(super::ELEMENTS.is_sorted());
    }
}
