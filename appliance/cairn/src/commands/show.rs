//! How things look on a terminal.

use std::io::{self, IsTerminal, Write};

use crate::console::HitLine;

/// Characters of a passage that are shown.
const PASSAGE: usize = 700;

/// Bytes in the largest unit that leaves a number of at most three digits.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = UNITS.iter();
    let mut name = unit.next().copied().unwrap_or_default();
    while value >= 1000.0
        && let Some(next) = unit.next()
    {
        value /= 1024.0;
        name = next;
    }
    if value.fract() == 0.0 || value >= 100.0 {
        format!("{value:.0} {name}")
    } else {
        format!("{value:.1} {name}")
    }
}

/// Whether people look, and so may be shown emphasis.
pub(super) fn fancy() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Text from the library or a model, without what would steer the terminal.
pub(super) fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// A passage with its number; the sentences that answer stand out.
pub(super) fn hit(number: usize, hit: &HitLine) {
    let place = if hit.heading.is_empty() { String::new() } else { format!(" › {}", hit.heading) };
    println!("[{number}] {}", harmless(&format!("{}{place}", hit.title)));
    let mut left = PASSAGE;
    let mut line = String::from("    ");
    for (text, marked) in &hit.text {
        let text: String = harmless(text).replace('\n', " ").chars().take(left).collect();
        left = left.saturating_sub(text.chars().count());
        match (*marked && !text.trim().is_empty(), fancy()) {
            (true, true) => line.push_str(&format!("\x1b[1m{text}\x1b[0m")),
            (true, false) => line.push_str(&format!("»{text}«")),
            (false, _) => line.push_str(&text),
        }
    }
    println!("{line}{}\n", if left == 0 { " …" } else { "" });
}

/// Shows progress in one line of a terminal.
pub(super) fn progress(what: &str, done: u64, total: u64) {
    let mut errors = io::stderr();
    if errors.is_terminal() && total > 0 {
        // Nothing is lost when it cannot be shown.
        let _shown =
            write!(errors, "\r{what}: {} of {}   ", bytes(done), bytes(total)).and_then(|()| errors.flush());
    }
}

/// Clears the line of [`progress`].
pub(super) fn progress_ended() {
    let mut errors = io::stderr();
    if errors.is_terminal() {
        let _shown = write!(errors, "\r\x1b[K").and_then(|()| errors.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        for (size, text) in
            [(0, "0 B"), (999, "999 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (250 << 20, "250 MiB")]
        {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn a_document_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\nc\u{9b}31m"), "a[2Jb\nc31m");
    }
}
