//! How much faster drafts make answers that quote: `bench-drafts FOLDER [ROUNDS]`, started by `cargo xtask bench inference`.
//!
//! The model goes on wherever the conversation went on after the same two tokens; its layers are as large as those of SmolLM2-360M.
//! Every prompt holds the beginning of a document and asks to say it again. Once the model does just that; once the sampler is so
//! lively that it leaves its text now and then, as an answer does that puts things in its own words. The engine is the hub's,
//! over its socket, with drafts and without in turn; prints Markdown.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench may stop")]

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use cairn_inference::{
    ChatMessage, ChatRole, Generate, GenerateEvent, GenerateRequest, InferenceClient, ServeConfig, serve,
    synthetic,
};
use futures::StreamExt;

const DOCUMENTS: [&str; 4] = [
    include_str!("../../library/sample/safe-drinking-water.md"),
    include_str!("../../library/sample/first-aid.md"),
    include_str!("../../library/sample/power-cuts.md"),
    include_str!("../../library/sample/cold.md"),
];
/// Characters of a document in a prompt.
const PASSAGE: usize = 900;
/// Tokens of an answer at most.
const ANSWER: u32 = 160;
/// How lively the sampler is: not at all, and enough to leave its text now and then.
const TEMPERATURES: [(&str, f32); 2] = [("quotes", 0.0), ("leaves its text now and then", 1.0)];

/// What all prompts came to.
#[derive(Default)]
struct Sum {
    tokens: u32,
    decode_ms: u64,
    accepted: u64,
}

impl Sum {
    fn per_second(&self) -> f64 {
        f64::from(self.tokens) * 1e3 / self.decode_ms as f64
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(|| panic!("bench-drafts FOLDER [ROUNDS]"), PathBuf::from);
    let rounds: usize = arguments.next().map_or(3, |text| text.parse().unwrap());
    std::fs::create_dir_all(&folder).unwrap();
    let model = folder.join("copying-360M.gguf");
    if !model.exists() {
        synthetic::write_copying_with_ballast(&model).unwrap();
    }
    println!("Answers of {ANSWER} tokens, medians of {rounds} rounds in turn.\n");
    println!("| the answer | drafts on, tokens/s | off | on ÷ off | drafted tokens of all |");
    println!("|---|---|---|---|---|");
    for (name, temperature) in TEMPERATURES {
        let (mut on, mut off) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            on.push(answers(&folder, true, temperature).await);
            off.push(answers(&folder, false, temperature).await);
        }
        let (on, off) = (median(on), median(off));
        println!(
            "| {name} | {:.1} | {:.1} | {:.2} | {:.0} % |",
            on.per_second(),
            off.per_second(),
            on.per_second() / off.per_second(),
            100.0 * on.accepted as f64 / f64::from(on.tokens)
        );
    }
}

fn median(mut sums: Vec<Sum>) -> Sum {
    sums.sort_by(|a, b| a.per_second().total_cmp(&b.per_second()));
    sums.swap_remove(sums.len() / 2)
}

async fn answers(folder: &Path, drafts: bool, temperature: f32) -> Sum {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let client = InferenceClient::new();
    client.attach(ours).unwrap();
    let config = ServeConfig {
        model_dir: folder.to_owned(),
        embed_model: folder.join("none.gguf"),
        threads: cairn_kernels::available_threads(),
        memory_limit_bytes: 4 << 30,
        context: 2048,
        drafts,
        prefixes: None,
    };
    let role = tokio::spawn(serve(theirs, config));
    let mut sum = Sum::default();
    for (seed, document) in (0..).zip(DOCUMENTS) {
        let passage = document.get(..document.floor_char_boundary(PASSAGE)).unwrap_or_default();
        let messages = vec![
            ChatMessage::new(ChatRole::User, "What does the document say?"),
            ChatMessage::new(ChatRole::Assistant, passage),
            ChatMessage::new(ChatRole::User, "Say that again."),
        ];
        let request =
            GenerateRequest { messages, temperature, seed, max_tokens: ANSWER, ..GenerateRequest::default() };
        let mut events = client.generate(request);
        while let Some(event) = events.next().await {
            match event {
                GenerateEvent::Done { tokens, decode_ms, .. } => {
                    sum.tokens += tokens;
                    sum.decode_ms += decode_ms;
                }
                GenerateEvent::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }
    sum.accepted = client.statistics().await.unwrap().accepted_tokens;
    role.abort();
    sum
}
