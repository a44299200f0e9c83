//! WordPiece for BERT encoders, in the form in which GGUF files carry it: tokens that begin a word are marked, the
//! others are not (the reverse of BERT's own vocabulary file).

use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    normalizers::BertNormalizer, pre_tokenizers::bert::BertPreTokenizer,
};

use super::{Kind, MAX_TEXT_BYTES, Vocabulary};
use crate::{
    error::ModelError,
    gguf::{Gguf, Texts},
};

/// Marks the beginning of a word.
const WORD_START: char = '\u{2581}';
/// Longest word that is looked up; longer ones are unknown.
const MAX_WORD_CHARS: usize = 100;
const UNKNOWN: &str = "[UNK]";

pub(crate) struct WordPiece {
    pieces: Pieces,
    normalizer: BertNormalizer,
    begin: u32,
    end: u32,
}

impl WordPiece {
    pub(crate) fn from_gguf(header: &Gguf) -> Result<Self, ModelError> {
        if header.text("tokenizer.ggml.model") != Some("bert") {
            return Err(ModelError::Tokenizer("an encoder needs a tokenizer of the kind \"bert\"".into()));
        }
        let vocabulary = Vocabulary::read(header, true)?;
        let id = |key: &str, fallback: &str| {
            header
                .int(&format!("tokenizer.ggml.{key}"))
                .and_then(|id| u32::try_from(id).ok())
                .or_else(|| {
                    (0_u32..)
                        .zip(vocabulary.texts.iter())
                        .find(|(_, text)| *text == fallback)
                        .map(|(id, _)| id)
                })
                .filter(|id| (*id as usize) < vocabulary.len())
                .ok_or_else(|| ModelError::Missing(format!("the token {fallback}")))
        };
        let (begin, end) = (id("cls_token_id", "[CLS]")?, id("seperator_token_id", "[SEP]")?);
        let pieces = Pieces::of(&vocabulary)?;
        Ok(Self { pieces, normalizer: BertNormalizer::new(true, true, None, true), begin, end })
    }

    /// Tokens of a text between the begin and end tokens, cut after `limit` tokens in all.
    pub(crate) fn encode(&self, text: &str, limit: usize) -> Result<Vec<u32>, ModelError> {
        let broken = |error: tokenizers::Error| ModelError::Tokenizer(error.to_string());
        let mut tokens = vec![self.begin];
        let mut text = text.get(..MAX_TEXT_BYTES.min(text.len())).unwrap_or("");
        // No more than this can matter, and normalizing megabytes for 256 tokens would be waste.
        let enough = limit.saturating_mul(MAX_WORD_CHARS);
        if let Some((cut, _)) = text.char_indices().nth(enough) {
            text = text.get(..cut).unwrap_or(text);
        }
        let mut normalized = NormalizedString::from(text);
        self.normalizer.normalize(&mut normalized).map_err(broken)?;
        let mut words = PreTokenizedString::from(normalized);
        BertPreTokenizer.pre_tokenize(&mut words).map_err(broken)?;
        for (word, _, _) in words.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            if tokens.len() + 1 >= limit {
                break;
            }
            self.pieces.split(word, &mut tokens);
        }
        tokens.truncate(limit.saturating_sub(1));
        tokens.push(self.end);
        Ok(tokens)
    }
}

/// The vocabulary as one text and its order: a tenth of what the same words take as keys of a map, in a process that
/// keeps them for years.
struct Pieces {
    /// All pieces by id, without the mark.
    texts: Texts,
    /// Whether each continues a word.
    continues: Vec<bool>,
    /// Ids by (whether it continues a word, text).
    sorted: Vec<u32>,
    unknown: u32,
}

impl Pieces {
    fn of(vocabulary: &Vocabulary) -> Result<Self, ModelError> {
        let mut pieces =
            Self { texts: Texts::default(), continues: Vec::new(), sorted: Vec::new(), unknown: 0 };
        for (text, kind) in vocabulary.texts.iter().zip(&vocabulary.kinds) {
            let begins = text.strip_prefix(WORD_START);
            pieces.texts.push(begins.unwrap_or(text));
            pieces.continues.push(begins.is_none() && *kind == Kind::Normal);
        }
        let mut sorted: Vec<u32> = (0..).take(pieces.texts.len()).collect();
        sorted.sort_by(|a, b| pieces.key(*a).cmp(&pieces.key(*b)));
        pieces.sorted = sorted;
        pieces.unknown =
            pieces.find(false, UNKNOWN).ok_or_else(|| ModelError::Missing(format!("the token {UNKNOWN}")))?;
        Ok(pieces)
    }

    fn key(&self, id: u32) -> (bool, &str) {
        let id = id as usize;
        (self.continues.get(id).copied().unwrap_or_default(), self.texts.get(id).unwrap_or_default())
    }

    fn find(&self, continues: bool, piece: &str) -> Option<u32> {
        let at = self.sorted.binary_search_by(|id| self.key(*id).cmp(&(continues, piece))).ok()?;
        self.sorted.get(at).copied()
    }

    /// Cuts a word into the longest pieces from its beginning on; one that cannot be cut is unknown as a whole.
    fn split(&self, word: &str, tokens: &mut Vec<u32>) {
        let before = tokens.len();
        let mut rest = word;
        let known = word.chars().count() <= MAX_WORD_CHARS;
        while known && !rest.is_empty() {
            let continues = rest.len() < word.len();
            let longest = rest.char_indices().rev().find_map(|(at, c)| {
                let (piece, after) = rest.split_at(at + c.len_utf8());
                Some((self.find(continues, piece)?, after))
            });
            let Some((id, after)) = longest else { break };
            tokens.push(id);
            rest = after;
        }
        if !known || !rest.is_empty() {
            tokens.truncate(before);
            tokens.push(self.unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(of: &[(&str, Kind)]) -> Pieces {
        let texts = of.iter().map(|(text, _)| (*text).to_owned()).collect();
        let kinds = of.iter().map(|(_, kind)| *kind).collect();
        let (bos, eos, unknown) = (None, None, None);
        Pieces::of(&Vocabulary { texts, kinds, special: Vec::new(), bos, eos, unknown, add_bos: false })
            .unwrap()
    }

    #[test]
    fn words_are_cut_into_the_longest_pieces() {
        let pieces = pieces(&[
            (UNKNOWN, Kind::Unknown),
            ("\u{2581}un", Kind::Normal),
            ("\u{2581}unaff", Kind::Normal),
            ("able", Kind::Normal),
            ("aff", Kind::Normal),
            ("\u{2581}é", Kind::Normal),
        ]);
        let split = |word: &str| {
            let mut tokens = vec![99];
            pieces.split(word, &mut tokens);
            tokens.split_off(1)
        };
        assert_eq!(split("unaffable"), [2, 3], "the longest first");
        assert_eq!(split("un"), [1]);
        assert_eq!(split("able"), [0], "a piece that continues does not begin a word");
        assert_eq!(split("unx"), [0], "unknown as a whole");
        assert_eq!(split("é"), [5]);
        assert_eq!(split(&"un".repeat(60)), [0], "too long");
        assert_eq!(split(""), [0; 0]);
    }
}
