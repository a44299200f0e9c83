//! Tokenizers and chat templates for made-up models, learnt from a few sentences.

use std::collections::BTreeMap;

use super::shapes::{Shape, Words};
use crate::{gguf::write::Value, token, types::Family};

/// What merges are learnt from.
const SENTENCES: &str = "Boil the water for one minute before you drink it, or let it stand in the sun for six hours. \
    Keep the water in a clean container with a lid. The well behind the school has clean water. Do not drink water from \
    the river after a flood. Where is the nearest shelter? The shelter is in the school, it opens at eight in the morning. \
    Hierva el agua durante un minuto antes de beberla. El refugio está en la escuela. Faites bouillir l'eau pendant une \
    minute avant de la boire. L'abri est dans l'école, il ouvre à huit heures. اغلِ الماء لمدة دقيقة قبل شربه. \
    The answer is in the text: the passage says that the water must be boiled.";
/// Merges that are learnt at most.
const MERGES: usize = 400;
/// Further merges that whole words may take.
const MERGES_OF_WORDS: usize = 300;
/// Marks a space in SentencePiece tokens.
const SPACE: &str = "\u{2581}";

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

const CHATML: &str = "{%- for message in messages -%}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' \
    + '\\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}";
/// [`CHATML`] whose answers begin behind a closing bracket, as the passages of a prompt do behind their titles.
pub(super) const CHATML_BEHIND_A_BRACKET: &str = "{%- for message in messages -%}{{- '<|im_start|>' + message.role + '\\n' + message.content + \
    '<|im_end|>' + '\\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n)' -}}{%- endif -%}";
const LLAMA3: &str = "{{- bos_token }}{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + \
    '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}\
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}";
const GEMMA: &str = "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set prefix = messages[0]['content'] + '\\n\\n' \
    -%}{%- set rest = messages[1:] -%}{%- else -%}{%- set prefix = '' -%}{%- set rest = messages -%}{%- endif -%}\
    {%- for message in rest -%}{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}\
    {{ '<start_of_turn>' + role + '\\n' + (prefix if loop.first else '') }}{{ message['content'] | trim }}\
    {{ '<end_of_turn>\\n' }}{%- endfor -%}{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}";
const PHI3: &str = "{% for message in messages %}{{ '<|' + message['role'] + '|>' + '\\n' + message['content'] + '<|end|>\\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";

/// A learnt pair and how it was joined.
type Merge = (String, String);

/// The merges that join the most frequent neighbours of the sentences' words, in order, and at last each word of `whole`.
fn learn(whole: &str, symbol: impl Fn(&str) -> Vec<String>) -> Vec<Merge> {
    // What stands here twice is joined to its end.
    let sentences =
        SENTENCES.split_whitespace().chain(whole.split_whitespace()).chain(whole.split_whitespace());
    let mut words: Vec<Vec<String>> = sentences.map(|word| symbol(&format!(" {word}"))).collect();
    let most = if whole.is_empty() { MERGES } else { MERGES + MERGES_OF_WORDS };
    let mut merges = Vec::new();
    while merges.len() < most {
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for pair in words.iter().flat_map(|word| word.windows(2)) {
            if let [left, right] = pair {
                *counts.entry((left, right)).or_default() += 1;
            }
        }
        let best = counts.into_iter().max_by_key(|(pair, count)| (*count, std::cmp::Reverse(*pair)));
        let Some(((left, right), 2..)) = best else { break };
        let (left, right) = (left.to_owned(), right.to_owned());
        for word in &mut words {
            let mut joined: Vec<String> = Vec::with_capacity(word.len());
            let mut parts = word.drain(..).peekable();
            while let Some(part) = parts.next() {
                match parts.next_if(|next| part == left && *next == right) {
                    Some(next) => joined.push(part + &next),
                    None => joined.push(part),
                }
            }
            drop(parts);
            *word = joined;
        }
        merges.push((left, right));
    }
    merges
}

struct Tokens {
    texts: Vec<String>,
    kinds: Vec<i32>,
}

impl Tokens {
    fn add(&mut self, text: impl Into<String>, kind: i32) -> u32 {
        let text = text.into();
        if let Some(known) = self.texts.iter().position(|other| *other == text) {
            return u32::try_from(known).unwrap_or(0);
        }
        self.texts.push(text);
        self.kinds.push(kind);
        u32::try_from(self.texts.len() - 1).unwrap_or(0)
    }

    fn add_all(&mut self, texts: impl IntoIterator<Item = String>, kind: i32) {
        for text in texts {
            self.add(text, kind);
        }
    }

    /// Fills up to the size that the model's shape demands.
    fn fill(&mut self, size: usize) {
        for number in self.texts.len()..size {
            self.texts.push(format!("<unused{number}>"));
            self.kinds.push(UNUSED);
        }
    }
}

/// The tokenizer's metadata entries. A byte-level tokenizer has each word of `whole` as one token.
pub(super) fn metadata(shape: &Shape, whole: &str) -> Vec<(String, Value)> {
    let entries = match shape.words {
        Words::Spm(prefix) => sentence_piece(shape, prefix),
        words => byte_level(shape, words, whole),
    };
    entries.into_iter().map(|(key, value)| (format!("tokenizer.{key}"), value)).collect()
}

fn byte_level(shape: &Shape, words: Words, whole: &str) -> Vec<(&'static str, Value)> {
    let mut tokens = Tokens { texts: Vec::new(), kinds: Vec::new() };
    tokens.add_all((0..=255).map(|byte| token::char_of(byte).to_string()), NORMAL);
    let merges = learn(whole, |word| word.bytes().map(|byte| token::char_of(byte).to_string()).collect());
    for (left, right) in &merges {
        tokens.add(format!("{left}{right}"), NORMAL);
    }
    let llama = words == Words::Llama3;
    let (bos, eos) = if llama {
        for header in ["<|start_header_id|>", "<|end_header_id|>"] {
            tokens.add(header, CONTROL);
        }
        (tokens.add("<|begin_of_text|>", CONTROL), tokens.add("<|eot_id|>", CONTROL))
    } else {
        (tokens.add("<|endoftext|>", CONTROL), tokens.add("<|im_end|>", CONTROL))
    };
    if !llama {
        tokens.add("<|im_start|>", CONTROL);
    }
    tokens.fill(shape.vocabulary);
    let pre = match words {
        Words::Llama3 => "llama-bpe",
        Words::Qwen2 => "qwen2",
        _ => "smollm",
    };
    vec![
        ("ggml.model", Value::Text("gpt2".into())),
        ("ggml.pre", Value::Text(pre.into())),
        ("ggml.tokens", Value::Texts(tokens.texts)),
        ("ggml.token_type", Value::Ints(tokens.kinds)),
        ("ggml.merges", Value::Texts(merges.iter().map(|(left, right)| format!("{left} {right}")).collect())),
        ("ggml.bos_token_id", Value::U32(bos)),
        ("ggml.eos_token_id", Value::U32(eos)),
        ("ggml.add_bos_token", Value::Bool(llama)),
        ("chat_template", Value::Text(if llama { LLAMA3 } else { CHATML }.into())),
    ]
}

fn sentence_piece(shape: &Shape, prefix: bool) -> Vec<(&'static str, Value)> {
    let gemma = shape.family == Family::Gemma3;
    let mut tokens = Tokens { texts: Vec::new(), kinds: Vec::new() };
    let unknown = tokens.add("<unk>", UNKNOWN);
    let bos = tokens.add(if gemma { "<bos>" } else { "<s>" }, CONTROL);
    let eos = tokens.add(if gemma { "<eos>" } else { "</s>" }, CONTROL);
    let turns: &[&str] = if gemma {
        &["<start_of_turn>", "<end_of_turn>"]
    } else {
        &["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"]
    };
    tokens.add_all(turns.iter().map(|turn| (*turn).to_owned()), CONTROL);
    tokens.add_all((0..=255_u8).map(|byte| format!("<0x{byte:02X}>")), BYTE);
    let spaced = |text: &str| text.replace(' ', SPACE);
    let merges = learn("", |word| word.chars().map(|c| spaced(&c.to_string())).collect());
    for (left, right) in &merges {
        tokens.add(format!("{left}{right}"), NORMAL);
    }
    let mut letters: Vec<char> = SENTENCES.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    tokens.add_all(letters.into_iter().map(|letter| spaced(&letter.to_string())), NORMAL);
    let normal = tokens.texts.len();
    tokens.fill(shape.vocabulary);
    // Merged earlier scores higher; letters, which nothing merges into, come last.
    let scores = (0..tokens.texts.len()).map(|id| if id < normal { -(id as f32) } else { -1e6 }).collect();
    let turn_end = if gemma { "<end_of_turn>" } else { "<|end|>" };
    let eot = tokens.add(turn_end, CONTROL);
    vec![
        ("ggml.model", Value::Text("llama".into())),
        ("ggml.tokens", Value::Texts(tokens.texts)),
        ("ggml.scores", Value::Floats(scores)),
        ("ggml.token_type", Value::Ints(tokens.kinds)),
        ("ggml.bos_token_id", Value::U32(bos)),
        ("ggml.eos_token_id", Value::U32(eos)),
        ("ggml.eot_token_id", Value::U32(eot)),
        ("ggml.unknown_token_id", Value::U32(unknown)),
        ("ggml.add_bos_token", Value::Bool(true)),
        ("ggml.add_space_prefix", Value::Bool(prefix)),
        ("chat_template", Value::Text(if gemma { GEMMA } else { PHI3 }.into())),
    ]
}
