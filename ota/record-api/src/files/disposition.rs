//! The header `Content-Disposition` (RFC 6266) with names in any script.

use std::fmt::Write;

/// `inline` or `attachment` with a name: once in plain ASCII for old programs, once encoded (RFC 8187).
pub(crate) fn disposition(how: &str, name: &str) -> String {
    let plain: String =
        name.chars()
            .map(|c| {
                if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%' | ';') || c == ' ' { c } else { '_' }
            })
            .collect();
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        // RFC 8187 section 3.2.1, attr-char.
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else if write!(encoded, "%{byte:02X}").is_err() {
            break;
        }
    }
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        let header = disposition("attachment", "a\"; x=\r\n\\é.html");
        assert_eq!(
            header,
            "attachment; filename=\"a__ x=___\u{5f}.html\"; filename*=UTF-8''a%22%3B%20x%3D%0D%0A%5C%C3%A9.html"
        );
    }
}
