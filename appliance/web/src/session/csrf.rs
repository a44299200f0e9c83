//! The token in forms, for browsers that do not say where a form was sent from.
//!
//! It is derived from the session, so nothing has to be stored and it lives exactly as long as the session. On
//! the page it is masked with fresh random bytes, so that a compressed page never holds the same secret twice
//! (the BREACH attack compares lengths of compressed pages that repeat a guess).

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cairn_store::SessionToken;

const LEN: usize = 32;
const CONTEXT: &str = "cairn-web 2026 form token of a session";

/// A token for a form, masked; show it with `Display`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CsrfToken(String);

impl CsrfToken {
    /// No token: there is no session to protect.
    pub(crate) const fn none() -> Self {
        Self(String::new())
    }

    /// The session's token under a fresh mask.
    pub(crate) fn of_session(session: &SessionToken) -> Self {
        let mut mask = [0; LEN];
        if getrandom::fill(&mut mask).is_err() {
            // Without randomness the page still works; only the protection against BREACH is gone.
            tracing::warn!("the system has no random numbers for a form token");
        }
        let masked = xor(&secret(session), &mask);
        Self(URL_SAFE_NO_PAD.encode([mask, masked].concat()))
    }

    /// Whether `sent` is a token of `session`.
    pub(crate) fn matches(session: &SessionToken, sent: &str) -> bool {
        let mut bytes = [0; 2 * LEN];
        if !matches!(URL_SAFE_NO_PAD.decode_slice(sent, &mut bytes), Ok(n) if n == 2 * LEN) {
            return false;
        }
        let (mask, masked) = bytes.split_at(LEN);
        let found: [u8; LEN] = std::array::from_fn(|at| match (mask.get(at), masked.get(at)) {
            (Some(mask), Some(masked)) => mask ^ masked,
            _ => 0,
        });
        // Hashes compare in constant time.
        blake3::Hash::from_bytes(found) == blake3::Hash::from_bytes(secret(session))
    }
}

fn secret(session: &SessionToken) -> [u8; LEN] {
    blake3::derive_key(CONTEXT, session.as_str().as_bytes())
}

fn xor(a: &[u8; LEN], b: &[u8; LEN]) -> [u8; LEN] {
    let mut out = *a;
    out.iter_mut().zip(b).for_each(|(byte, mask)| *byte ^= mask);
    out
}

impl fmt::Display for CsrfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CsrfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CsrfToken(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_its_session_only_and_never_looks_the_same() {
        let (mine, theirs) = (SessionToken::from_text("mine"), SessionToken::from_text("theirs"));
        let (first, second) = (CsrfToken::of_session(&mine), CsrfToken::of_session(&mine));
        assert_ne!(first, second);
        assert!(
            CsrfToken::matches(&mine, &first.to_string()) && CsrfToken::matches(&mine, &second.to_string())
        );
        assert!(!CsrfToken::matches(&theirs, &first.to_string()));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let session = SessionToken::from_text("mine");
        let good = CsrfToken::of_session(&session).to_string();
        for bad in ["", "x", "ÿ", &good[1..], &format!("{good}A"), &"A".repeat(good.len())] {
            assert!(!CsrfToken::matches(&session, bad), "{bad}");
        }
    }
}
