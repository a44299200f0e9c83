//! Tokenizers as GGUF files carry them: byte-level BPE (`gpt2`), SentencePiece (`llama`) and WordPiece (`bert`).

mod bpe;
mod detokenize;
mod spm;
mod wordpiece;

use std::collections::HashMap;

pub(crate) use bpe::char_of;
pub(crate) use detokenize::Detokenizer;
pub(crate) use wordpiece::WordPiece;

use crate::{
    error::ModelError,
    gguf::{Gguf, Texts},
};

/// Tokens of a vocabulary at most; ids must fit what models compute with.
const MAX_VOCABULARY: usize = 1 << 20;
/// Longest text that is tokenized at once, bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 4 << 20;

/// What a token is for (the numbers of `tokenizer.ggml.token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl Kind {
    fn from_number(number: i64) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// Tokens, their kinds, and which of them have a meaning of their own.
pub(crate) struct Vocabulary {
    texts: Texts,
    kinds: Vec<Kind>,
    /// Tokens that are matched as a whole before the model sees the text, longest first.
    special: Vec<u32>,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) unknown: Option<u32>,
    pub(crate) add_bos: bool,
}

/// Texts of tokens that end an answer, whatever the file calls its end-of-sequence token: the ends of a turn in the
/// chat formats in use.
const ENDS_OF_TURN: [&str; 7] =
    ["<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "</s>"];

impl Vocabulary {
    fn read(header: &Gguf, add_bos_by_default: bool) -> Result<Self, ModelError> {
        let texts = header
            .texts("tokenizer.ggml.tokens")
            .filter(|tokens| !tokens.is_empty())
            .ok_or_else(|| ModelError::Missing("a tokenizer (tokenizer.ggml.tokens)".into()))?
            .clone();
        if texts.len() > MAX_VOCABULARY {
            return Err(ModelError::Tokenizer(format!(
                "it has {} tokens, at most {MAX_VOCABULARY}",
                texts.len()
            )));
        }
        let kinds: Vec<Kind> = match header.ints("tokenizer.ggml.token_type") {
            None => vec![Kind::Normal; texts.len()],
            Some(kinds) if kinds.len() == texts.len() => {
                kinds.iter().map(|kind| Kind::from_number(*kind)).collect()
            }
            Some(kinds) => {
                return Err(ModelError::Mismatch {
                    what: "the number of token types".into(),
                    found: kinds.len().to_string(),
                    expected: texts.len().to_string(),
                });
            }
        };
        let id = |key: &str| -> Result<Option<u32>, ModelError> {
            let Some(id) = header.int(&format!("tokenizer.ggml.{key}")) else { return Ok(None) };
            match u32::try_from(id) {
                Ok(id) if (id as usize) < texts.len() => Ok(Some(id)),
                _ => Err(ModelError::Mismatch {
                    what: key.to_owned(),
                    found: id.to_string(),
                    expected: format!("below {}", texts.len()),
                }),
            }
        };
        let (bos, eos, unknown) = (id("bos_token_id")?, id("eos_token_id")?, id("unknown_token_id")?);
        let add_bos = header.bool("tokenizer.ggml.add_bos_token").unwrap_or(add_bos_by_default);
        let mut special: Vec<u32> = (0_u32..)
            .zip(texts.iter().zip(&kinds))
            .filter(|(_, (text, kind))| {
                !text.is_empty() && matches!(kind, Kind::Control | Kind::UserDefined | Kind::Unknown)
            })
            .map(|(id, _)| id)
            .collect();
        special.sort_by_key(|id| std::cmp::Reverse(texts.get(*id as usize).map_or(0, str::len)));
        Ok(Self { texts, kinds, special, bos, eos, unknown, add_bos })
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn text(&self, id: u32) -> &str {
        self.texts.get(id as usize).unwrap_or("")
    }

    fn kind(&self, id: u32) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::Unused)
    }

    fn by_text(&self) -> HashMap<String, u32> {
        // Later tokens of the same text are shadowed, as in the engines that this must agree with.
        let mut ids = HashMap::with_capacity(self.texts.len());
        for (id, text) in (0_u32..).zip(self.texts.iter()) {
            ids.entry(text.to_owned()).or_insert(id);
        }
        ids
    }

    fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.special.iter().filter(|id| self.kind(**id) == Kind::Control).map(|id| self.text(*id))
    }
}

enum Scheme {
    Bpe(Box<bpe::Bpe>),
    Spm(spm::Spm),
}

/// Text to tokens and back, for generating models.
pub(crate) struct Tokenizer {
    pub(crate) vocabulary: Vocabulary,
    scheme: Scheme,
    ends: Vec<u32>,
}

/// A stretch of text between special tokens, or one of those.
enum Fragment<'a> {
    Text(&'a str),
    Token(u32),
}

impl Tokenizer {
    /// Builds the tokenizer that the file describes.
    pub(crate) fn from_gguf(header: &Gguf) -> Result<Self, ModelError> {
        let model = header
            .text("tokenizer.ggml.model")
            .ok_or_else(|| ModelError::Missing("a tokenizer (tokenizer.ggml.model)".into()))?;
        let (vocabulary, scheme) = match model {
            "gpt2" => {
                let pre = header.text("tokenizer.ggml.pre").unwrap_or("gpt-2");
                let vocabulary = Vocabulary::read(header, bpe::adds_bos(pre))?;
                let merges = header.texts("tokenizer.ggml.merges").ok_or_else(|| {
                    ModelError::Missing("the tokenizer's merges (tokenizer.ggml.merges)".into())
                })?;
                let bpe = bpe::Bpe::new(&vocabulary, merges, pre)?;
                (vocabulary, Scheme::Bpe(Box::new(bpe)))
            }
            "llama" => {
                let vocabulary = Vocabulary::read(header, true)?;
                let scores = header.floats("tokenizer.ggml.scores").ok_or_else(|| {
                    ModelError::Missing("the tokenizer's scores (tokenizer.ggml.scores)".into())
                })?;
                let prefix = header.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true);
                let spm = spm::Spm::new(&vocabulary, scores, prefix)?;
                (vocabulary, Scheme::Spm(spm))
            }
            other => return Err(ModelError::Tokenizer(format!("its kind {other:?} is not supported"))),
        };
        let mut ends: Vec<u32> = vocabulary.eos.into_iter().collect();
        for key in ["eot_token_id", "eom_token_id"] {
            let id = header.int(&format!("tokenizer.ggml.{key}")).and_then(|id| u32::try_from(id).ok());
            ends.extend(id.filter(|id| (*id as usize) < vocabulary.len()));
        }
        let turns = vocabulary.special.iter().copied();
        ends.extend(turns.filter(|id| ENDS_OF_TURN.contains(&vocabulary.text(*id))));
        ends.sort_unstable();
        ends.dedup();
        Ok(Self { vocabulary, scheme, ends })
    }

    /// Whether an answer ends with this token.
    pub(crate) fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// Tokens of a text. `special` recognizes control tokens in it (for rendered chat templates); `begin` puts the
    /// beginning-of-sequence token before it where the model wants one and the text does not bring it.
    pub(crate) fn encode(&self, text: &str, special: bool, begin: bool) -> Result<Vec<u32>, ModelError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(ModelError::Tokenizer(format!("texts have at most {MAX_TEXT_BYTES} bytes")));
        }
        let mut tokens = Vec::with_capacity(text.len() / 3 + 8);
        let mut after_special = true;
        if begin && self.vocabulary.add_bos {
            tokens.extend(self.vocabulary.bos);
        }
        for fragment in self.fragments(text, special) {
            match fragment {
                Fragment::Token(id) => {
                    // Templates often bring the token that was put there already.
                    if !(begin && Some(id) == self.vocabulary.bos && tokens == [id]) {
                        tokens.push(id);
                    }
                    after_special = true;
                }
                Fragment::Text(text) => {
                    match &self.scheme {
                        Scheme::Bpe(bpe) => bpe.encode(text, &mut tokens)?,
                        Scheme::Spm(spm) => spm.encode(text, after_special, &mut tokens),
                    }
                    after_special = false;
                }
            }
        }
        Ok(tokens)
    }

    /// Splits at special tokens, the longest first, as llama.cpp does.
    fn fragments<'a>(&self, text: &'a str, control: bool) -> Vec<Fragment<'a>> {
        let mut fragments = if text.is_empty() { Vec::new() } else { vec![Fragment::Text(text)] };
        for id in &self.vocabulary.special {
            if !control && self.vocabulary.kind(*id) != Kind::UserDefined {
                continue;
            }
            let needle = self.vocabulary.text(*id);
            if !text.contains(needle) {
                continue;
            }
            let mut split = Vec::with_capacity(fragments.len() + 2);
            for fragment in fragments {
                let Fragment::Text(mut rest) = fragment else {
                    split.push(fragment);
                    continue;
                };
                while let Some((before, after)) = rest.split_once(needle) {
                    if !before.is_empty() {
                        split.push(Fragment::Text(before));
                    }
                    split.push(Fragment::Token(*id));
                    rest = after;
                }
                if !rest.is_empty() {
                    split.push(Fragment::Text(rest));
                }
            }
            fragments = split;
        }
        fragments
    }

    /// The bytes that a token stands for; control tokens stand for none.
    pub(crate) fn bytes(&self, id: u32, out: &mut Vec<u8>) {
        let text = self.vocabulary.text(id);
        match self.vocabulary.kind(id) {
            Kind::Control | Kind::Unknown | Kind::Unused => {}
            Kind::UserDefined if matches!(self.scheme, Scheme::Bpe(_)) => out.extend(text.as_bytes()),
            _ => match &self.scheme {
                Scheme::Bpe(_) => bpe::bytes(text, out),
                Scheme::Spm(_) => spm::bytes(text, self.vocabulary.kind(id) == Kind::Byte, out),
            },
        }
    }

    /// Whether the vocabulary has this control token.
    pub(crate) fn is_control(&self, text: &str) -> bool {
        self.vocabulary.control_texts().any(|control| control == text)
    }

    /// Text that people wrote, with everything in it that would be read as a control token made harmless: a question or
    /// a document must not be able to end its turn and speak as someone else.
    pub(crate) fn defuse(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for control in self.vocabulary.control_texts() {
            if text.contains(control) {
                let mut chars = control.chars();
                let first = chars.next().map(String::from).unwrap_or_default();
                // A zero-width non-joiner keeps it readable and breaks the match.
                text = text.replace(control, &format!("{first}\u{200c}{}", chars.as_str()));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests;
