//! SentencePiece BPE: the pair with the best score is merged first; what is no token falls back to bytes.
//!
//! Written here rather than built from merges, because the files carry scores only, and a merge list made from them
//! would take more memory than a small model (1.8 million pairs for a vocabulary of 262,144).

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashMap},
};

use super::Vocabulary;
use crate::error::ModelError;

/// Stands for a space in token texts.
const SPACE: char = '\u{2581}';

pub(super) struct Spm {
    ids: HashMap<String, u32>,
    scores: Vec<f32>,
    bytes: Vec<Option<u32>>,
    unknown: Option<u32>,
    space_prefix: bool,
}

/// A stretch of text; neighbours are linked by index. Length 0: merged into its left neighbour.
struct Symbol {
    start: usize,
    length: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// A pair of neighbours that is a token.
#[derive(PartialEq)]
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Eq for Pair {}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest: best score first, then leftmost.
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Spm {
    pub(super) fn new(
        vocabulary: &Vocabulary,
        scores: &[f32],
        space_prefix: bool,
    ) -> Result<Self, ModelError> {
        if scores.len() != vocabulary.len() {
            return Err(ModelError::Mismatch {
                what: "the number of scores".into(),
                found: scores.len().to_string(),
                expected: vocabulary.len().to_string(),
            });
        }
        let ids = vocabulary.by_text();
        let bytes = (0..=255_u8).map(|byte| ids.get(&format!("<0x{byte:02X}>")).copied()).collect();
        Ok(Self { ids, scores: scores.to_vec(), bytes, unknown: vocabulary.unknown, space_prefix })
    }

    pub(super) fn encode(&self, text: &str, after_special: bool, tokens: &mut Vec<u32>) {
        let mut escaped = String::with_capacity(text.len() + 8);
        if self.space_prefix && after_special {
            escaped.push(SPACE);
        }
        escaped.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));

        let mut symbols: Vec<Symbol> = escaped
            .char_indices()
            .enumerate()
            .map(|(index, (start, c))| Symbol {
                start,
                length: c.len_utf8(),
                previous: index.checked_sub(1),
                next: Some(index + 1),
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.next = None;
        }
        let mut pairs = BinaryHeap::new();
        for left in 1..symbols.len() {
            self.offer(&escaped, &symbols, left - 1, left, &mut pairs);
        }
        while let Some(pair) = pairs.pop() {
            self.merge(&escaped, &mut symbols, &pair, &mut pairs);
        }
        for symbol in symbols.iter().filter(|symbol| symbol.length > 0) {
            self.emit(piece(&escaped, symbol.start, symbol.length), tokens);
        }
    }

    fn offer(&self, text: &str, symbols: &[Symbol], left: usize, right: usize, pairs: &mut BinaryHeap<Pair>) {
        let (Some(first), Some(second)) = (symbols.get(left), symbols.get(right)) else { return };
        let length = first.length + second.length;
        if let Some(id) = self.ids.get(piece(text, first.start, length)) {
            let score = self.scores.get(*id as usize).copied().unwrap_or(f32::MIN);
            pairs.push(Pair { score, left, right, length });
        }
    }

    fn merge(&self, text: &str, symbols: &mut [Symbol], pair: &Pair, pairs: &mut BinaryHeap<Pair>) {
        let (left, right) = match (symbols.get(pair.left), symbols.get(pair.right)) {
            // One of the two may have been merged with another neighbour meanwhile.
            (Some(left), Some(right))
                if left.length > 0 && right.length > 0 && left.length + right.length == pair.length =>
            {
                (left.previous, right.next)
            }
            _ => return,
        };
        if let Some(symbol) = symbols.get_mut(pair.right) {
            symbol.length = 0;
        }
        if let Some(symbol) = symbols.get_mut(pair.left) {
            symbol.length = pair.length;
            symbol.next = right;
        }
        if let Some(next) = right {
            if let Some(symbol) = symbols.get_mut(next) {
                symbol.previous = Some(pair.left);
            }
            self.offer(text, symbols, pair.left, next, pairs);
        }
        if let Some(previous) = left {
            self.offer(text, symbols, previous, pair.left, pairs);
        }
    }

    fn emit(&self, piece: &str, tokens: &mut Vec<u32>) {
        if let Some(id) = self.ids.get(piece) {
            tokens.push(*id);
            return;
        }
        for byte in piece.bytes() {
            tokens.extend(self.bytes.get(usize::from(byte)).copied().flatten().or(self.unknown));
        }
    }
}

fn piece(text: &str, start: usize, length: usize) -> &str {
    text.get(start..start + length).unwrap_or("")
}

/// The bytes of a token: `<0x41>` is one byte, and the space mark is a space.
pub(super) fn bytes(text: &str, is_byte: bool, out: &mut Vec<u8>) {
    let byte = text.strip_prefix("<0x").and_then(|hex| hex.strip_suffix('>')).filter(|_| is_byte);
    match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
        Some(byte) => out.push(byte),
        None => out.extend(text.replace(SPACE, " ").as_bytes()),
    }
}
