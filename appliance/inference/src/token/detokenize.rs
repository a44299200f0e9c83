//! From tokens to text while they come: only whole characters leave, and stop texts never do.

use super::Tokenizer;

/// Collects the bytes of tokens and gives out the text that is certain.
pub(crate) struct Detokenizer {
    stops: Vec<String>,
    /// Bytes that do not make whole characters yet.
    bytes: Vec<u8>,
    /// Text that may be the beginning of a stop text.
    held: String,
    stopped: bool,
}

impl Detokenizer {
    pub(crate) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, bytes: Vec::new(), held: String::new(), stopped: false }
    }

    /// Whether a stop text was reached; nothing comes after it.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes a token and gives the text that can be shown now, maybe none.
    pub(crate) fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> String {
        tokenizer.bytes(token, &mut self.bytes);
        self.take(false)
    }

    /// Gives what is left at the end.
    pub(crate) fn finish(&mut self) -> String {
        self.take(true)
    }

    fn take(&mut self, last: bool) -> String {
        if self.stopped {
            return String::new();
        }
        loop {
            match std::str::from_utf8(&self.bytes) {
                Ok(text) => {
                    self.held.push_str(text);
                    self.bytes.clear();
                    break;
                }
                Err(error) => {
                    let (valid, rest) = self.bytes.split_at(error.valid_up_to());
                    self.held.push_str(&String::from_utf8_lossy(valid));
                    match error.error_len() {
                        // Bytes that can never become a character.
                        Some(length) => {
                            self.held.push('\u{fffd}');
                            self.bytes = rest.get(length..).unwrap_or_default().to_vec();
                        }
                        None => {
                            self.bytes = rest.to_vec();
                            if last {
                                self.held.push('\u{fffd}');
                                self.bytes.clear();
                            }
                            break;
                        }
                    }
                }
            }
        }
        let reached = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = reached {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let certain = if last { self.held.len() } else { self.held.len() - self.undecided() };
        let rest = self.held.split_off(certain);
        std::mem::replace(&mut self.held, rest)
    }

    /// Bytes at the end that may grow into a stop text.
    fn undecided(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0).min(self.held.len());
        (1..=longest)
            .rev()
            .find(|length| {
                let tail = self.held.get(self.held.len() - length..);
                tail.is_some_and(|tail| self.stops.iter().any(|stop| stop.starts_with(tail)))
            })
            .unwrap_or(0)
    }
}
