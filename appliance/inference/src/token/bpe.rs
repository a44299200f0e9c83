//! Byte-level BPE as in GPT-2: bytes become printable characters, a regular expression cuts words, merges build tokens.

use tokenizers::{
    Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
    models::bpe::{BPE, Vocab},
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::Vocabulary;
use crate::{error::ModelError, gguf::Texts};

/// How a family cuts text into words before merging: the name in the file chooses the expressions.
/// Source of the expressions: llama.cpp, `src/llama-vocab.cpp`.
struct Pre {
    names: &'static [&'static str],
    expressions: &'static [&'static str],
    /// A word that is a token as a whole is not merged.
    whole_words: bool,
    adds_bos: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const PRES: &[Pre] = &[
    Pre {
        names: &["llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "lfm2", "smaug-bpe"],
        expressions: &[LLAMA3],
        whole_words: true,
        adds_bos: true,
    },
    Pre { names: &["qwen2", "deepseek-r1-qwen"], expressions: &[QWEN2], whole_words: false, adds_bos: false },
    Pre {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell"],
        expressions: &[r"\p{N}", GPT2],
        whole_words: false,
        adds_bos: false,
    },
    Pre {
        names: &["gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais"],
        expressions: &[GPT2],
        whole_words: false,
        adds_bos: false,
    },
];

fn pre(name: &str) -> Option<&'static Pre> {
    PRES.iter().find(|pre| pre.names.contains(&name))
}

/// Whether models with this pre-tokenizer begin every text with a token, unless the file says otherwise.
pub(super) fn adds_bos(name: &str) -> bool {
    pre(name).is_some_and(|pre| pre.adds_bos)
}

pub(super) struct Bpe {
    model: BPE,
    words: PreTokenizerWrapper,
}

impl Bpe {
    pub(super) fn new(vocabulary: &Vocabulary, merges: &Texts, name: &str) -> Result<Self, ModelError> {
        let broken = |error: tokenizers::Error| ModelError::Tokenizer(error.to_string());
        let pre = pre(name)
            .ok_or_else(|| ModelError::Tokenizer(format!("the pre-tokenizer {name:?} is not supported")))?;
        let merges = merges
            .iter()
            .map(|merge| {
                // Tokens may contain spaces only in their byte form, so that the first space separates.
                merge
                    .char_indices()
                    .skip(1)
                    .find(|(_, c)| *c == ' ')
                    .and_then(|(at, _)| Some((merge.get(..at)?.to_owned(), merge.get(at + 1..)?.to_owned())))
                    .ok_or_else(|| ModelError::Tokenizer(format!("{merge:?} is not a pair to merge")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let model = BPE::builder()
            .vocab_and_merges(vocabulary.by_text().into_iter().collect::<Vocab>(), merges)
            .ignore_merges(pre.whole_words)
            .build()
            .map_err(broken)?;
        let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
        for expression in pre.expressions {
            let pattern = SplitPattern::Regex((*expression).to_owned());
            steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(broken)?.into());
        }
        steps.push(ByteLevel::new(false, false, false).into());
        Ok(Self { model, words: Sequence::new(steps).into() })
    }

    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<(), ModelError> {
        let broken = |error: tokenizers::Error| ModelError::Tokenizer(error.to_string());
        let mut words = PreTokenizedString::from(text);
        self.words.pre_tokenize(&mut words).map_err(broken)?;
        for (word, _, _) in words.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            tokens.extend(self.model.tokenize(word).map_err(broken)?.into_iter().map(|token| token.id));
        }
        Ok(())
    }
}

/// The bytes behind a token's printable characters (GPT-2's `bytes_to_unicode`, backwards).
pub(super) fn bytes(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => out.push(byte),
            None => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The printable character of a byte.
pub(crate) fn char_of(byte: u8) -> char {
    match byte {
        0..=0x20 => char::from_u32(0x100 + u32::from(byte)),
        0x7f..=0xa0 => char::from_u32(0x121 + u32::from(byte) - 0x7f),
        0xad => char::from_u32(0x143),
        _ => Some(char::from(byte)),
    }
    .unwrap_or('\u{fffd}')
}

fn byte_of(c: char) -> Option<u8> {
    let byte = match u32::from(c) {
        code @ 0x21..=0x7e | code @ 0xa1..=0xac | code @ 0xae..=0xff => code,
        code @ 0x100..=0x120 => code - 0x100,
        code @ 0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_printable_character() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=255 {
            let c = char_of(byte);
            assert!(seen.insert(c) && !c.is_whitespace() && !c.is_control(), "{byte:#x} is {c:?}");
            assert_eq!(byte_of(c), Some(byte));
        }
    }
}
