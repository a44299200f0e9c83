//! Server-sent events as chat completions use them, cut out of bytes as they come. No I/O.
//!
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html>; only `data:` lines matter here. Each event
//! is a JSON chunk of the OpenAI chat completions API; the last is `[DONE]`.

use serde::Deserialize;

/// Longest line, bytes. A chunk carries a few words.
pub(crate) const MAX_LINE: usize = 64 * 1024;
/// Most bytes of a whole answer: 4096 tokens with all their wrapping.
pub(crate) const MAX_BODY: usize = 8 * 1024 * 1024;

/// What an event means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// More of the answer.
    Text(String),
    /// Why the answer ended.
    Finished {
        /// It was cut at the limit rather than ended.
        at_limit: bool,
    },
    /// How many tokens were read and written.
    Usage {
        /// Written.
        written: u32,
    },
    /// Nothing follows.
    End,
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventError {
    #[error("it sent a line longer than {MAX_LINE} bytes")]
    LongLine,
    #[error("it sent more than {MAX_BODY} bytes")]
    LongBody,
    #[error("it sent something that is not an answer")]
    Nonsense,
    #[error("it reported an error: {0}")]
    Reported(String),
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    completion_tokens: u32,
}

/// Cuts bytes into pieces of the answer.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    received: usize,
}

impl Events {
    /// Takes in bytes and gives what they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, EventError> {
        self.received = self.received.saturating_add(bytes.len());
        if self.received > MAX_BODY {
            return Err(EventError::LongBody);
        }
        let mut pieces = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > MAX_LINE {
                return Err(EventError::LongLine);
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                read_line(&line, &mut pieces)?;
            }
        }
        Ok(pieces)
    }
}

fn read_line(line: &[u8], pieces: &mut Vec<Piece>) -> Result<(), EventError> {
    let line = std::str::from_utf8(line).map_err(|_| EventError::Nonsense)?.trim_end_matches(['\r', '\n']);
    // Comments, other fields and the empty lines between events mean nothing to us.
    let Some(data) = line.strip_prefix("data:") else {
        let field = line.split(':').next().unwrap_or_default();
        return if matches!(field, "" | "event" | "id" | "retry") {
            Ok(())
        } else {
            Err(EventError::Nonsense)
        };
    };
    let data = data.trim();
    if data == "[DONE]" {
        pieces.push(Piece::End);
        return Ok(());
    }
    let chunk: Chunk = serde_json::from_str(data).map_err(|_| EventError::Nonsense)?;
    if let Some(error) = chunk.error {
        return Err(EventError::Reported(message_of(&error)));
    }
    for choice in chunk.choices {
        if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
            pieces.push(Piece::Text(text));
        }
        if let Some(reason) = choice.finish_reason {
            pieces.push(Piece::Finished { at_limit: reason == "length" });
        }
    }
    if let Some(usage) = chunk.usage {
        pieces.push(Piece::Usage { written: usage.completion_tokens });
    }
    Ok(())
}

/// The words of an error object, bounded.
pub(crate) fn message_of(error: &serde_json::Value) -> String {
    const LONGEST: usize = 200;
    let text = error.get("message").and_then(serde_json::Value::as_str).or_else(|| error.as_str());
    let text = text.unwrap_or("without saying which");
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = concat!(
        ": keep-alive\r\n\r\n",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n",
        "event: message\ndata: {\"choices\":[{\"delta\":{\"content\":\"Wä\"}}]}\n\n",
        "data:{\"choices\":[{\"delta\":{\"content\":\"sser\"},\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n",
        "data: [DONE]\n\n",
    );

    #[test]
    fn the_pieces_are_the_same_however_the_bytes_arrive() {
        let expected = [
            Piece::Text("Wä".into()),
            Piece::Text("sser".into()),
            Piece::Finished { at_limit: true },
            Piece::Usage { written: 2 },
            Piece::End,
        ];
        for step in [1, 2, 7, STREAM.len()] {
            let mut events = Events::default();
            let pieces: Vec<_> =
                STREAM.as_bytes().chunks(step).flat_map(|chunk| events.feed(chunk).unwrap()).collect();
            assert_eq!(pieces, expected, "in steps of {step}");
        }
    }

    #[test]
    fn what_is_not_an_answer_is_refused() {
        let feed = |text: &str| Events::default().feed(text.as_bytes());
        assert_eq!(feed("<html>\n"), Err(EventError::Nonsense));
        assert_eq!(feed("data: {oops\n"), Err(EventError::Nonsense));
        assert_eq!(Events::default().feed(b"data: \xff\n"), Err(EventError::Nonsense));
        let reported = feed("data: {\"error\":{\"message\":\"no \\u0007 money\"}}\n");
        assert_eq!(reported, Err(EventError::Reported("no  money".into())));
    }

    #[test]
    fn a_line_and_a_body_have_an_end() {
        let mut events = Events::default();
        let endless = vec![b'x'; MAX_LINE];
        events.feed(&endless).unwrap();
        assert_eq!(events.feed(b"x"), Err(EventError::LongLine));

        let mut events = Events::default();
        let comment = [vec![b':'; MAX_LINE - 1], vec![b'\n']].concat();
        let outcome = (0..=MAX_BODY / MAX_LINE).find_map(|_| events.feed(&comment).err());
        assert_eq!(outcome, Some(EventError::LongBody));
    }
}
