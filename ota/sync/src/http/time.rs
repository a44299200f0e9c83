//! A signed statement of what time it is (A9). It binds the asker's nonce, so that an old statement is worth nothing.

use serde::{Deserialize, Serialize};

/// Length of a nonce in bytes.
pub const NONCE: usize = 32;
/// A statement that took longer to arrive than this is not believed, in milliseconds by the asker's monotonic clock.
pub const MAX_TRIP_MS: u64 = 10_000;

const CONTEXT: &[u8] = b"cairn time statement v1\0";

/// What time it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeStatement {
    /// The asker's nonce, in hex.
    pub nonce: String,
    /// Milliseconds since 1970, UTC.
    pub unix_ms: u64,
    /// Ed25519 (RFC 8032) over [`signed`], 64 bytes in hex.
    pub signature: String,
}

/// The bytes that are signed: a context that no other use of the key shares, the nonce, the time in big endian.
#[must_use]
pub fn signed(nonce: &[u8; NONCE], unix_ms: u64) -> Vec<u8> {
    [CONTEXT, nonce, &unix_ms.to_be_bytes()].concat()
}

/// Hex of any length, lower case.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes from hex, exactly `N` of them.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_back_and_refuses_what_is_not() {
        assert_eq!(unhex::<3>(&hex(&[0, 0xab, 0xff])), Some([0, 0xab, 0xff]));
        for text in ["", "0", "00", "zz00ff", "é0ff"] {
            assert_eq!(unhex::<3>(text), None, "{text}");
        }
    }

    #[test]
    fn every_part_changes_what_is_signed() {
        let one = signed(&[1; NONCE], 5);
        assert_ne!(one, signed(&[2; NONCE], 5));
        assert_ne!(one, signed(&[1; NONCE], 6));
        assert_eq!(one.len(), CONTEXT.len() + NONCE + 8);
    }
}
