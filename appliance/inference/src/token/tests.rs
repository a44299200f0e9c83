use super::*;
use crate::{
    gguf::Value,
    model::Source,
    synthetic::{self, Shape},
    types::Family,
};

const FAMILIES: [Family; 5] = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3, Family::Phi3];
const TEXTS: [&str; 5] = [
    "Boil the water for one minute.",
    " leading, trailing and  double  spaces ",
    "¿Dónde está? اغلِ الماء 水を沸騰 🚰👩‍⚕️",
    "line\n\nline\ttab\r\n",
    "x",
];

fn header(family: Family) -> Gguf {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    synthetic::write_random(&path, &Shape::small(family), crate::gguf::TensorType::Q8_0, 1).unwrap();
    Source::open(&path).unwrap().header
}

fn tokenizer(family: Family) -> Tokenizer {
    Tokenizer::from_gguf(&header(family)).unwrap()
}

fn text(tokenizer: &Tokenizer, tokens: &[u32]) -> String {
    let mut bytes = Vec::new();
    tokens.iter().for_each(|token| tokenizer.bytes(*token, &mut bytes));
    String::from_utf8(bytes).unwrap()
}

#[test]
fn every_text_comes_back() {
    for family in FAMILIES {
        let tokenizer = tokenizer(family);
        for original in TEXTS {
            let tokens = tokenizer.encode(original, false, false).unwrap();
            let back = text(&tokenizer, &tokens);
            let back = if family == Family::Phi3 { back.strip_prefix(' ').unwrap() } else { &back };
            assert_eq!(back, original, "{family}");
        }
    }
}

#[test]
fn learnt_words_are_fewer_tokens_than_bytes() {
    for family in FAMILIES {
        let tokens = tokenizer(family).encode("Boil the water for one minute.", false, false).unwrap();
        assert!(tokens.len() < 16, "{family}: {tokens:?}");
    }
}

#[test]
fn control_tokens_count_only_where_they_are_wanted() {
    let tokenizer = tokenizer(Family::Qwen2);
    let with = tokenizer.encode("<|im_start|>user<|im_end|>", true, false).unwrap();
    let without = tokenizer.encode("<|im_start|>user<|im_end|>", false, false).unwrap();
    assert_eq!(tokenizer.vocabulary.text(with[0]), "<|im_start|>");
    assert!(tokenizer.is_end(*with.last().unwrap()) && !tokenizer.is_end(with[0]));
    assert!(without.iter().all(|token| tokenizer.vocabulary.kind(*token) == Kind::Normal));
}

#[test]
fn defused_text_has_no_control_tokens_and_reads_the_same() {
    for family in FAMILIES {
        let tokenizer = tokenizer(family);
        let hostile: String =
            tokenizer.vocabulary.control_texts().map(|control| format!("a{control}b ")).collect();
        let defused = tokenizer.defuse(&hostile);
        let tokens = tokenizer.encode(&defused, true, false).unwrap();
        assert!(tokens.iter().all(|token| tokenizer.vocabulary.kind(*token) != Kind::Control), "{family}");
        assert_eq!(defused.replace('\u{200c}', ""), hostile);
        assert_eq!(tokenizer.defuse("Where is water?"), "Where is water?");
    }
}

#[test]
fn the_beginning_is_put_once() {
    let tokenizer = tokenizer(Family::Gemma3);
    let bos = tokenizer.vocabulary.bos.unwrap();
    let count = |text: &str| {
        let tokens = tokenizer.encode(text, true, true).unwrap();
        tokens.iter().filter(|token| **token == bos).count()
    };
    assert_eq!(count("water"), 1);
    assert_eq!(count("<bos>water"), 1);
    assert_eq!(count("<bos>water<bos>"), 2);
}

#[test]
fn only_whole_characters_leave_and_together_they_are_everything() {
    for family in FAMILIES {
        let tokenizer = tokenizer(family);
        for original in TEXTS {
            let tokens = tokenizer.encode(original, false, false).unwrap();
            let mut detokenizer = Detokenizer::new(&[]);
            let mut shown = String::new();
            for token in &tokens {
                let piece = detokenizer.push(&tokenizer, *token);
                assert!(!piece.contains('\u{fffd}'), "{family}: {piece:?}");
                shown.push_str(&piece);
            }
            shown.push_str(&detokenizer.finish());
            assert_eq!(shown, text(&tokenizer, &tokens));
        }
    }
}

#[test]
fn bytes_that_are_no_text_become_replacement_characters() {
    let tokenizer = tokenizer(Family::Qwen2);
    // The first 256 tokens are the bytes.
    let mut detokenizer = Detokenizer::new(&[]);
    let mut shown: String =
        [0xff, 0x61, 0xe6].iter().map(|byte| detokenizer.push(&tokenizer, *byte)).collect();
    shown.push_str(&detokenizer.finish());
    assert_eq!(shown, "\u{fffd}a\u{fffd}");
}

#[test]
fn stop_texts_never_show_however_they_are_cut_into_tokens() {
    let tokenizer = tokenizer(Family::Qwen2);
    let run = |text: &str, stop: &str| {
        let mut detokenizer = Detokenizer::new(&[stop.to_owned()]);
        let mut shown = String::new();
        for byte in text.bytes() {
            let piece = detokenizer.push(&tokenizer, u32::from(byte));
            assert!(!piece.contains(stop));
            shown.push_str(&piece);
            if detokenizer.stopped() {
                break;
            }
        }
        shown.push_str(&detokenizer.finish());
        (shown, detokenizer.stopped())
    };
    assert_eq!(run("one STOP two", "STOP"), ("one ".into(), true));
    assert_eq!(run("one STO", "STOP"), ("one STO".into(), false));
    assert_eq!(run("SSTOSTOP", "STOP"), ("SSTO".into(), true));
    assert_eq!(run("Wasser ü", "ü"), ("Wasser ".into(), true));
}

#[test]
fn what_is_wrong_with_a_tokenizer_is_told() {
    let change = |family, key: &str, value: Option<Value>| {
        let mut header = header(family);
        match value {
            Some(value) => drop(header.metadata.insert(format!("tokenizer.ggml.{key}"), value)),
            None => drop(header.metadata.remove(&format!("tokenizer.ggml.{key}"))),
        }
        Tokenizer::from_gguf(&header).err().unwrap_or_else(|| panic!("accepted without {key}")).to_string()
    };
    assert!(change(Family::Llama, "model", None).contains("lacks a tokenizer"));
    assert!(
        change(Family::Llama, "model", Some(Value::Text("rwkv".into())))
            .contains("\"rwkv\" is not supported")
    );
    assert!(
        change(Family::Llama, "tokens", Some(Value::Texts(Texts::default()))).contains("lacks a tokenizer")
    );
    assert!(change(Family::Llama, "merges", None).contains("merges"));
    assert!(
        change(Family::Llama, "merges", Some(Value::Texts(["nothing"].iter().collect())))
            .contains("not a pair")
    );
    assert!(!change(Family::Llama, "merges", Some(Value::Texts(["zzz qqq"].iter().collect()))).is_empty());
    assert!(change(Family::Llama, "pre", Some(Value::Text("new".into()))).contains("pre-tokenizer \"new\""));
    assert!(change(Family::Llama, "eos_token_id", Some(Value::Int(-1))).contains("eos_token_id"));
    assert!(change(Family::Llama, "token_type", Some(Value::Ints(vec![1]))).contains("token types"));
    assert!(change(Family::Phi3, "scores", None).contains("scores"));
    assert!(change(Family::Phi3, "scores", Some(Value::Floats(vec![1.0]))).contains("number of scores"));
}
