//! Whether a model computes here what `candle-transformers` computes of the same file: how a keeper tells a broken file from a
//! broken hub.

use std::path::Path;

use serde::Serialize;

use crate::{
    error::ModelError,
    probe::Probe,
    sample::greatest,
    stock::{self, Stock},
};

/// What both read, token by token after the first few: plain sentences, and a list.
const TEXT: &str = "Boil water for one minute before you drink it. In an emergency, call for help first, then stop the \
    bleeding. You need: a clean cloth, warm water, and somebody who stays with you.";
/// Tokens that are read as a prompt; after each of the others the two are compared.
const PROMPT: usize = 8;
/// Longest text that is compared, tokens; a tokenizer of single bytes makes many.
const MAX_TOKENS: usize = 64;

/// How far two computations of one model are apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Places that were compared.
    pub places: usize,
    /// Places after which both would go on with the same token.
    pub same_token: usize,
    /// Greatest difference between two logits, in standard deviations of the logits at that place.
    pub worst: f32,
    /// Why the two differ even where both are right, for families where `candle-transformers` leaves something out.
    pub known_difference: Option<&'static str>,
}

/// Computes the same text twice.
///
/// # Errors
/// [`ModelError`] where one of the two cannot load or compute the model.
pub fn run(path: &Path) -> Result<Comparison, ModelError> {
    let mut ours = Probe::open(path, MAX_TOKENS)?;
    let mut tokens = ours.tokenize(TEXT, false, true)?;
    tokens.truncate(MAX_TOKENS);
    let (prompt, rest) = tokens.split_at(PROMPT.min(tokens.len()));
    let mut session = ours.session()?;
    let mut places = vec![ours.read(&mut session, prompt)?.to_vec()];
    for token in rest {
        places.push(ours.read(&mut session, std::slice::from_ref(token))?.to_vec());
    }
    // One after the other: a board has no room for the model twice.
    drop((session, ours));
    let mut theirs = Stock::open(path)?;
    let known_difference = theirs.known_difference();
    let mut comparison = Comparison { places: places.len(), same_token: 0, worst: 0.0, known_difference };
    let pieces = std::iter::once(prompt).chain(rest.chunks(1));
    for (ours, piece) in places.iter().zip(pieces) {
        let theirs = theirs.read(piece)?;
        comparison.same_token += usize::from(greatest(ours) == greatest(&theirs));
        comparison.worst = comparison.worst.max(stock::apart(ours, &theirs));
    }
    Ok(comparison)
}
