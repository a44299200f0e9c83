//! Secrets made by the store: random, shown once, kept as a hash.

use crate::error::{Result, StoreError};

/// Letters and digits that nobody confuses when reading them from a screen or over the phone.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Random bytes of a session or access token.
const TOKEN_BYTES: usize = 32;

/// `length` random characters of [`ALPHABET`], five bits each.
pub(crate) fn readable(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    random(&mut bytes)?;
    Ok(bytes
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte & 31)))
        .map(|byte| char::from(*byte))
        .collect())
}

/// A code as it is shown: capitals and digits, without spaces and dashes.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(64).filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

/// As a person may have typed it: any case, with spaces or dashes, and the letters that are not in the alphabet read
/// as what they were taken for.
pub(crate) fn as_typed(text: &str) -> String {
    shown(text)
        .chars()
        .map(|c| match c {
            'I' => 'J',
            'O' | '0' => 'Q',
            '1' => 'L',
            c => c,
        })
        .collect()
}

/// A token of 256 random bits behind a prefix that says what it is, for secret scanners.
pub(crate) fn token(prefix: &str) -> Result<String> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut bytes = [0; TOKEN_BYTES];
    random(&mut bytes)?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// What is kept of a secret. Secrets here are random and long, so that a fast hash is enough; passwords are hashed by
/// the caller.
pub(crate) fn hash(secret: &str) -> [u8; 32] {
    *blake3::Hasher::new_derive_key("cairn store 2026 secret at rest")
        .update(secret.as_bytes())
        .finalize()
        .as_bytes()
}

/// Compares without telling by its duration how much agrees.
pub(crate) fn same(one: &str, other: &str) -> bool {
    // blake3::Hash compares in constant time.
    blake3::Hash::from_bytes(hash(one)) == blake3::Hash::from_bytes(hash(other))
}

fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(|error| StoreError::Database(rusqlite::Error::ToSqlConversionFailure(Box::new(error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unambiguous_and_differ() {
        let (one, other) = (readable(8).unwrap(), readable(8).unwrap());
        assert_eq!(one.len(), 8);
        assert_ne!(one, other);
        assert!(one.bytes().all(|b| ALPHABET.contains(&b)));
        assert_eq!(as_typed(&format!(" {}-{} ", &one[..4].to_lowercase(), &one[4..])), one);
        assert!(same(&one, &one) && !same(&one, &other));
    }

    #[test]
    fn tokens_say_what_they_are() {
        let token = token("cairn_").unwrap();
        assert!(token.starts_with("cairn_") && token.len() >= 48);
        assert_ne!(hash(&token), hash("cairn_"));
    }
}
