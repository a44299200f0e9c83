//! What the crates below say, in the words of the console's protocol.

use cairn_inference::ModelInfo;
use cairn_library::{AskEvent, Hit, Refusal, Verdict};

use super::protocol::{AskStep, HitLine, ModelLine, ModelState};

pub(super) fn hit(hit: Hit) -> HitLine {
    HitLine {
        title: hit.title,
        heading: hit.heading,
        text: hit.marked.into_iter().map(|span| (span.text, span.marked)).collect(),
        score: hit.score,
    }
}

pub(super) fn ask(event: AskEvent) -> AskStep {
    match event {
        AskEvent::Passages { hits, verdict, took_ms, .. } => AskStep::Passages {
            hits: hits.into_iter().map(hit).collect(),
            answerable: verdict == Verdict::Answerable,
            took_ms,
        },
        AskEvent::Queued { place } => AskStep::Queued { place },
        AskEvent::Started { model } => AskStep::Started { model },
        AskEvent::Restarted => AskStep::Restarted,
        AskEvent::Text { text } => AskStep::Text { text },
        AskEvent::Sentence { text, citations, supported } => AskStep::Sentence { text, citations, supported },
        AskEvent::Done { tokens, prefill_ms, decode_ms, .. } => {
            AskStep::Complete { tokens, prefill_ms, decode_ms }
        }
        AskEvent::NoModel => AskStep::NoAnswer {
            why: "No model that writes is installed; these passages are the answer.".to_owned(),
        },
        AskEvent::NoAnswer { refusal } => AskStep::NoAnswer {
            why: match refusal {
                Refusal::NotInLibrary => "The library does not hold the answer.",
                Refusal::NotInPassages => "The model read these passages and found no answer in them.",
            }
            .to_owned(),
        },
        AskEvent::Broken { reason } => AskStep::Broken { why: reason },
    }
}

pub(super) fn model(model: ModelInfo) -> ModelLine {
    ModelLine {
        family: model.family.map_or_else(|| "unknown".to_owned(), |family| family.to_string()),
        name: model.name,
        quantization: model.quantization,
        parameters: model.parameters,
        bytes: model.file_bytes,
        state: match model.state {
            cairn_inference::ModelState::Loaded => ModelState::Loaded,
            cairn_inference::ModelState::Loading { percent } => ModelState::Loading { percent },
            cairn_inference::ModelState::Available => ModelState::Available,
            cairn_inference::ModelState::Refused(reason) => ModelState::Refused { reason },
        },
    }
}
