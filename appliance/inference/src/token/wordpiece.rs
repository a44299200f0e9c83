//! WordPiece for BERT encoders, in the form in which GGUF files carry it: tokens that begin a word are marked, the
//! others are not (the reverse of BERT's own vocabulary file).

use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    models::{bpe::Vocab, wordpiece::WordPiece as Matcher},
    normalizers::BertNormalizer,
    pre_tokenizers::bert::BertPreTokenizer,
};

use super::{Kind, MAX_TEXT_BYTES, Vocabulary};
use crate::{error::ModelError, gguf::Gguf};

/// Marks the beginning of a word.
const WORD_START: char = '\u{2581}';
/// Longest word that is looked up; longer ones are unknown.
const MAX_WORD_CHARS: usize = 100;
const UNKNOWN: &str = "[UNK]";

pub(crate) struct WordPiece {
    matcher: Matcher,
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
                    (0_u32..).zip(&vocabulary.texts).find(|(_, text)| *text == fallback).map(|(id, _)| id)
                })
                .filter(|id| (*id as usize) < vocabulary.len())
                .ok_or_else(|| ModelError::Missing(format!("the token {fallback}")))
        };
        let (begin, end) = (id("cls_token_id", "[CLS]")?, id("seperator_token_id", "[SEP]")?);
        let tokens: Vocab = (0_u32..)
            .zip(vocabulary.texts.iter().zip(&vocabulary.kinds))
            .map(|(id, (text, kind))| {
                let text = match (text.strip_prefix(WORD_START), kind) {
                    (Some(word), _) => word.to_owned(),
                    (None, Kind::Normal) => format!("##{text}"),
                    (None, _) => text.clone(),
                };
                (text, id)
            })
            .collect();
        if !tokens.contains_key(UNKNOWN) {
            return Err(ModelError::Missing(format!("the token {UNKNOWN}")));
        }
        let matcher = Matcher::builder()
            .vocab(tokens)
            .unk_token(UNKNOWN.to_owned())
            .max_input_chars_per_word(MAX_WORD_CHARS)
            .build()
            .map_err(|error| ModelError::Tokenizer(error.to_string()))?;
        Ok(Self { matcher, normalizer: BertNormalizer::new(true, true, None, true), begin, end })
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
            tokens.extend(self.matcher.tokenize(word).map_err(broken)?.into_iter().map(|token| token.id));
        }
        tokens.truncate(limit.saturating_sub(1));
        tokens.push(self.end);
        Ok(tokens)
    }
}
