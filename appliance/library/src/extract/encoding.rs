//! From bytes to text, whatever their encoding.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Text and whether characters had to be replaced.
pub(super) struct Decoded {
    pub(super) text: String,
    pub(super) replaced: bool,
}

/// Bytes that are looked at for the decision and for UTF-16 without a byte order mark.
const PROBE_BYTES: usize = 256 * 1024;

/// Decodes by, in this order: byte order mark, valid UTF-8, the declared label, UTF-16 by its zero bytes, UTF-8 that is
/// mostly intact, Windows-1252 (which every byte sequence is).
pub(super) fn decode(bytes: &[u8], declared: Option<&str>) -> Decoded {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return with(encoding, bytes.get(mark..).unwrap_or_default());
    }
    if let Ok(text) = str::from_utf8(bytes) {
        // UTF-16 of plain ASCII is valid UTF-8 too, full of zeros.
        return match utf16_by_zeros(bytes) {
            Some(encoding) => with(encoding, bytes),
            None => Decoded { text: text.to_owned(), replaced: false },
        };
    }
    let declared = declared.and_then(|label| Encoding::for_label(label.as_bytes()));
    if let Some(encoding) = declared.filter(|encoding| *encoding != UTF_8) {
        return with(encoding, bytes);
    }
    if let Some(encoding) = utf16_by_zeros(bytes) {
        return with(encoding, bytes);
    }
    let utf8 = declared == Some(UTF_8) || mostly_utf8(bytes.get(..PROBE_BYTES).unwrap_or(bytes));
    with(if utf8 { UTF_8 } else { WINDOWS_1252 }, bytes)
}

fn with(encoding: &'static Encoding, bytes: &[u8]) -> Decoded {
    let (text, replaced) = encoding.decode_without_bom_handling(bytes);
    Decoded { text: text.into_owned(), replaced }
}

/// Nearly every other byte is zero in UTF-16 of Latin script; no other text has any.
fn utf16_by_zeros(bytes: &[u8]) -> Option<&'static Encoding> {
    let probe = bytes.get(..PROBE_BYTES).unwrap_or(bytes);
    let zeros = |parity: usize| probe.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let pairs = probe.len() / 2;
    let (even, odd) = (zeros(0), zeros(1));
    if pairs < 2 {
        None
    } else if odd * 10 >= pairs * 7 && even * 10 < pairs {
        Some(UTF_16LE)
    } else if even * 10 >= pairs * 7 && odd * 10 < pairs {
        Some(UTF_16BE)
    } else {
        None
    }
}

/// Whether intact sequences outweigh broken ones. In other encodings, intact ones come about by rare chance only.
fn mostly_utf8(bytes: &[u8]) -> bool {
    let (mut intact, mut broken) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        intact += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    broken <= intact
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> (String, bool) {
        let decoded = decode(bytes, None);
        (decoded.text, decoded.replaced)
    }

    #[test]
    fn every_common_encoding_gives_the_same_text() {
        let text = "Où est l’eau potable ? Niño, 5 €";
        let utf16 = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let (latin, _, _) = WINDOWS_1252.encode(text);
        let with_mark = |mark: &[u8], body: Vec<u8>| [mark, &body].concat();
        for bytes in [
            text.as_bytes().to_vec(),
            with_mark(b"\xef\xbb\xbf", text.as_bytes().to_vec()),
            with_mark(b"\xff\xfe", utf16(u16::to_le_bytes)),
            with_mark(b"\xfe\xff", utf16(u16::to_be_bytes)),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
            latin.into_owned(),
        ] {
            assert_eq!(decoded(&bytes), (text.to_owned(), false), "{bytes:x?}");
        }
    }

    #[test]
    fn broken_utf8_is_kept_and_said() {
        let mut bytes = "Señales de niños y niñas, también aquí ".as_bytes().to_vec();
        bytes.extend_from_slice(b"\xc3( end");
        let (text, replaced) = decoded(&bytes);
        assert!(replaced);
        assert_eq!(text, "Señales de niños y niñas, también aquí \u{fffd}( end");
    }
}
