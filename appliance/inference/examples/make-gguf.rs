//! Writes model files with made-up weights: `make-gguf SHAPE QUANTIZATION FILE`, `make-gguf copying FILE`.

use std::{path::Path, process::ExitCode};

use cairn_inference::{Family, gguf::TensorType, synthetic};

const USAGE: &str = "make-gguf copying FILE\n\
    make-gguf SHAPE QUANTIZATION FILE [SEED]\n\n\
    SHAPE: SmolLM2-360M, Qwen2.5-0.5B, Qwen3-0.6B, Llama-3.2-1B, Gemma-3-1B,\n\
    \x20      or small-llama, small-qwen2, small-qwen3, small-gemma3, small-phi3\n\
    QUANTIZATION: F16, Q8_0, Q6_K, Q5_K, Q5_0, Q4_K, Q4_0";

fn shape(name: &str) -> Option<synthetic::Shape> {
    if let Some(family) = name.strip_prefix("small-") {
        return Family::from_architecture(family).map(synthetic::Shape::small);
    }
    synthetic::Shape::BENCHMARKS.into_iter().find(|shape| shape.name.eq_ignore_ascii_case(name))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let written = match words.as_slice() {
        ["copying", file] => synthetic::write_copying(Path::new(file)),
        [name, quantization, file, rest @ ..] => {
            let kind =
                TensorType::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(quantization));
            let seed = rest.first().and_then(|seed| seed.parse().ok()).unwrap_or(1);
            match (shape(name), kind) {
                (Some(shape), Some(kind)) => synthetic::write_random(Path::new(file), &shape, kind, seed),
                _ => {
                    eprintln!("{USAGE}");
                    return ExitCode::FAILURE;
                }
            }
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the file cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}
