//! Asking the library: the passages at once, then the answer as it is written.

use std::time::{Duration, Instant};

use async_stream::stream;
use axum::{
    extract::State,
    response::{Response, sse::Event},
};
use cairn_library::{AskEvent, Mode, Question};
use futures::StreamExt;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    events::{StreamPlace, event, sse},
    hub::Hub,
    peer::Peer,
    problem::{Problem, ProblemKind},
    session::CurrentViewer,
};
use cairn_record_api::extract::ApiJson;

/// How long an answer may take from the question to its last word: the longest answer on the slowest board, with
/// a full queue before it.
const ANSWER_WITHIN: Duration = Duration::from_secs(30 * 60);

/// A question.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    /// What is asked.
    #[schema(min_length = 1, pattern = r"\S")]
    text: String,
    /// The generating model, by name; none: the hub's choice.
    #[serde(default)]
    model: Option<String>,
    /// Which part of the search finds the passages.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^(hybrid|words|meaning)$")]
    mode: Option<Mode>,
    /// The language of the answer, BCP 47; none: the question's.
    #[serde(default)]
    language: Option<String>,
}

/// Asks a question. The answer is a stream of server-sent events: `passages` first, then `queued`, `started`,
/// `text`, `sentence`, and one of `done`, `no_model`, `no_answer` or `broken` at the end. Closing the connection
/// cancels.
#[utoipa::path(post, path = "/api/v1/ask", tag = "library", operation_id = "ask", request_body = Ask,
    responses((status = 200, description = "The events.", content_type = "text/event-stream", body = ref("#/components/schemas/Event"))))]
pub(super) async fn ask(
    State(hub): State<Hub>,
    peer: Peer,
    CurrentViewer(viewer): CurrentViewer,
    ApiJson(ask): ApiJson<Ask>,
) -> Result<Response, Problem> {
    let text = ask.text.trim();
    if text.is_empty() {
        let detail = "the question is empty";
        return Err(Problem::new(ProblemKind::Invalid, detail).field("text", detail));
    }
    let asker = hub.shared.limits.asker(viewer.person(), peer.client());
    hub.shared.limits.question(asker)?;
    let held = StreamPlace::take(&hub)?;
    let question = Question {
        text: text.to_owned(),
        asker,
        language: ask.language,
        model: ask.model,
        mode: ask.mode.unwrap_or_default(),
    };
    let mut answer = hub.library.ask(&viewer, question).await;
    Ok(sse(stream! {
        let _held = held;
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, answer.next()).await {
                Ok(Some(step)) => yield told(&step),
                Ok(None) => return,
                Err(_) => {
                    yield told(&AskEvent::Broken { reason: "the answer took too long".to_owned() });
                    return;
                }
            }
        }
    }))
}

/// A step as an event of its own name.
fn told(step: &AskEvent) -> Event {
    let name = match step {
        AskEvent::Passages { .. } => "passages",
        AskEvent::Queued { .. } => "queued",
        AskEvent::Started { .. } => "started",
        AskEvent::Restarted => "restarted",
        AskEvent::Text { .. } => "text",
        AskEvent::Sentence { .. } => "sentence",
        AskEvent::Done { .. } => "done",
        AskEvent::NoModel => "no_model",
        AskEvent::NoAnswer { .. } => "no_answer",
        AskEvent::Broken { .. } => "broken",
    };
    event(name, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_name_is_the_one_in_its_data() {
        let steps = [
            AskEvent::Queued { place: 1 },
            AskEvent::Started { model: String::new() },
            AskEvent::Restarted,
            AskEvent::Text { text: "a\r\nb\u{0}".to_owned() },
            AskEvent::Sentence { text: String::new(), citations: vec![1], supported: true },
            AskEvent::NoModel,
            AskEvent::Broken { reason: String::new() },
        ];
        for step in steps {
            let json = serde_json::to_value(&step).unwrap();
            let shown = format!("{:?}", told(&step));
            assert!(shown.contains(json["event"].as_str().unwrap()), "{shown}");
        }
    }
}
