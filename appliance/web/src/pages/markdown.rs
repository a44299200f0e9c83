//! People's Markdown as HTML: a safe subset. Raw HTML is shown as text, pictures from elsewhere are left
//! out, links go only to the web, mail and this hub.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};

/// Longest text that is read as Markdown; more is shown plain. Matches the store's limit for texts.
const MAX_MARKDOWN: usize = 64 * 1024;

/// `text` as HTML.
pub(super) fn markdown(text: &str) -> Markup {
    if text.trim().is_empty() {
        return html! {};
    }
    if text.len() > MAX_MARKDOWN {
        return html! { div class="prose passage-text" dir="auto" { (text) } };
    }
    html! { div class="prose" dir="auto" { (PreEscaped(to_html(text))) } }
}

/// The first words of `text` without any marks, at most `limit` characters.
pub(super) fn plain(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for event in Parser::new_ext(text.get(..text.len().min(MAX_MARKDOWN)).unwrap_or(text), Options::empty()) {
        match event {
            Event::Text(piece) | Event::Code(piece) => out.push_str(&piece),
            Event::SoftBreak
            | Event::HardBreak
            | Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::Heading(_)) => out.push(' '),
            _ => {}
        }
        if out.len() > limit * 4 {
            break;
        }
    }
    let mut words: String = out.trim().chars().take(limit).collect();
    if out.trim().chars().count() > limit {
        words.push('…');
    }
    words
}

fn to_html(text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(text, options).filter_map(|event| match event {
        // pulldown-cmark escapes text, so markup shown as text is inert.
        Event::Html(raw) | Event::InlineHtml(raw) => Some(Event::Text(raw)),
        Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => None,
        // A picture from elsewhere would tell that place who reads; its description stays.
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::Heading { level, .. }) => {
            // The page has its own first two levels.
            let level = if level as u8 <= 1 {
                pulldown_cmark::HeadingLevel::H3
            } else {
                pulldown_cmark::HeadingLevel::H4
            };
            Some(Event::Start(Tag::Heading { level, id: None, classes: Vec::new(), attrs: Vec::new() }))
        }
        Event::End(TagEnd::Heading(level)) => {
            let level = if level as u8 <= 1 {
                pulldown_cmark::HeadingLevel::H3
            } else {
                pulldown_cmark::HeadingLevel::H4
            };
            Some(Event::End(TagEnd::Heading(level)))
        }
        Event::Start(Tag::Link { link_type, dest_url, .. }) => Some(start_link(link_type, &dest_url)),
        other => Some(other),
    });
    let mut html = String::with_capacity(text.len() * 3 / 2);
    pulldown_cmark::html::push_html(&mut html, events);
    html
}

fn start_link<'a>(link_type: LinkType, target: &CowStr<'a>) -> Event<'a> {
    let target = match link_type {
        LinkType::Email => format!("mailto:{target}"),
        _ => target.to_string(),
    };
    let target = if is_harmless(&target) { target } else { String::new() };
    let link =
        html! { a href=[(!target.is_empty()).then_some(&target)] rel="nofollow noopener" {} }.into_string();
    // maud closes the element; pulldown-cmark writes the closing tag itself.
    Event::InlineHtml(link.trim_end_matches("</a>").to_owned().into())
}

/// Whether a link may be followed: to the web, to mail, to a phone, or within this hub.
fn is_harmless(target: &str) -> bool {
    let target = target.trim();
    if target.chars().any(|c| c.is_control() || c == '\\') {
        return false;
    }
    let scheme_end = target.find([':', '/', '?', '#']);
    match scheme_end {
        Some(at) if target.get(at..=at) == Some(":") => {
            let scheme = target.get(..at).unwrap_or_default().to_ascii_lowercase();
            matches!(scheme.as_str(), "http" | "https" | "mailto" | "tel")
        }
        _ => !target.starts_with("//"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_looks_as_they_meant() {
        let html =
            to_html("# Water\n\n**Boil** it.\n\n- one\n- two\n\n[guide](/library/1) <https://example.org>");
        assert!(html.contains("<h3>Water</h3>"), "{html}");
        assert!(html.contains("<strong>Boil</strong>"));
        assert!(html.contains("<a href=\"/library/1\" rel=\"nofollow noopener\">guide</a>"), "{html}");
        assert!(html.contains("<a href=\"https://example.org\" rel=\"nofollow noopener\">"), "{html}");
        assert_eq!(plain("# Hi\n\nsome **bold** text", 9), "Hi some b…");
    }

    #[test]
    fn attacks_are_inert() {
        for attack in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "a <b onmouseover=alert(1)>b</b>",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](java\tscript:alert(1))",
            "[x](&#106;avascript:alert(1))",
            "[x](data:text/html;base64,PHNjcmlwdD4=)",
            "[x](vbscript:msgbox)",
            "[x](//evil.example)",
            "<javascript:alert(1)>",
            "![x](https://evil.example/pixel.png)",
            "![x](javascript:alert(1))",
            "[x](https://a.example/\"onmouseover=\"alert(1))",
            "[a]: javascript:alert(1)\n\n[a]",
            "<style>*{display:none}</style>",
            "<iframe src=//evil.example></iframe>",
            "<svg/onload=alert(1)>",
            "</div></main><form action=//evil.example>",
            "<!-- --><script>1</script>",
            "| a |\n|---|\n| <script>1</script> |",
            "```html\n</code><script>1</script>\n```",
            "```\"><script>1</script>\n```",
        ] {
            let html = to_html(attack);
            let bare = html.to_lowercase();
            // Whatever looks like a tag must be one of those that the renderer itself writes.
            for tag in bare.split('<').skip(1) {
                let name: String =
                    tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
                let known = [
                    "p",
                    "a",
                    "h3",
                    "h4",
                    "strong",
                    "em",
                    "del",
                    "ul",
                    "ol",
                    "li",
                    "code",
                    "pre",
                    "table",
                    "thead",
                    "tbody",
                    "tr",
                    "th",
                    "td",
                    "blockquote",
                    "hr",
                    "br",
                ];
                assert!(known.contains(&name.as_str()), "{attack} gave {html}");
                let inside = tag.split('>').next().unwrap();
                assert!(!inside.contains(" on"), "{attack} gave {html}");
                assert!(
                    !inside.contains("script:") && !inside.contains("data:") && !inside.contains("\"//"),
                    "{attack} gave {html}"
                );
            }
        }
    }
}
