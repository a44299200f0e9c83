//! What stands on the device's own screen and serial port: where the hub is, how to claim it, what is wrong.
//!
//! The text is a plain function of what is known. Whoever sees it holds the device, so the claim code may stand on it.

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Most findings that are shown: a screen has 25 lines in the worst case, and the code takes most of them.
const MAX_FINDINGS: usize = 6;
/// Longest line, characters.
const MAX_LINE: usize = 160;

/// What is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screen {
    /// The version of the system.
    pub version: String,
    /// Whether the page answers.
    pub ready: bool,
    /// Addresses of the page, best first.
    pub pages: Vec<String>,
    /// The name on the network that is in force, with `.local`.
    pub local: Option<String>,
    /// A QR code of the best address, two rows of dots in each line.
    pub qr: String,
    /// The claim code, while nobody keeps the hub.
    pub claim_code: Option<String>,
    /// The hub's own Wi-Fi, while it has one.
    pub access_point: Option<String>,
    /// Mistakes in the provisioning file, and concerns.
    pub findings: Vec<String>,
}

/// The text. The last line is the one that matters most: on a small screen the first ones scroll away.
#[must_use]
pub fn text(screen: &Screen) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |line: &str| {
        let line: String = line.chars().filter(|c| !c.is_control()).take(MAX_LINE).collect();
        let _infallible = writeln!(text, "{line}");
    };
    line(&format!("Cairn {}", screen.version));
    for finding in screen.findings.iter().take(MAX_FINDINGS) {
        line(&format!("! {finding}"));
    }
    if screen.findings.len() > MAX_FINDINGS {
        line("! There is more; the page's Status shows all of it.");
    }
    let Some(best) = screen.pages.first().filter(|_| screen.ready) else {
        line(if screen.ready {
            "No network yet. Plug in a cable, or see cairn.toml."
        } else {
            "Starting ..."
        });
        return text;
    };
    line("");
    screen.qr.lines().for_each(&mut line);
    line("");
    if let Some(name) = &screen.access_point {
        line(&format!("Join the Wi-Fi {name:?}, then open"));
    }
    line(&format!("The hub is at {best}"));
    for other in screen.pages.iter().skip(1).take(3) {
        line(&format!("           or {other}"));
    }
    if let Some(local) = &screen.local {
        line(&format!("           or {local} where the network carries names"));
    }
    if let Some(code) = &screen.claim_code {
        line(&format!("Nobody keeps this hub yet. Open the page and claim it with this code: {code}"));
    }
    text
}

/// Shows `text` on the terminal `device`. A screen is cleared first; a serial line keeps what was on it, so that a log
/// of it stays readable.
///
/// # Errors
/// When there is no such terminal, or it does not take the text.
pub fn show(device: &Path, text: &str) -> io::Result<()> {
    let name = device.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // tty1 is a screen, ttyS1 and ttyAMA0 are lines.
    let screen = name.strip_prefix("tty").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    let flags = nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
    let mut terminal = OpenOptions::new().write(true).custom_flags(flags).open(device)?;
    // Blanking off; home; clear to the end. By the names of console_codes(4).
    let head = if screen { "\x1b[9;0]\x1b[H\x1b[J" } else { "\r\n" };
    let mut bytes = head.to_owned();
    for line in text.lines() {
        bytes.push_str(line);
        bytes.push_str("\r\n");
    }
    let mut rest = bytes.as_bytes();
    // A serial line takes a few kilobytes at once; whoever is not listening must not stop us for ever.
    for _ in 0..200 {
        match terminal.write(rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if rest.is_empty() {
            return Ok(());
        }
    }
    Err(io::Error::from(io::ErrorKind::TimedOut))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Screen {
        Screen {
            version: "0.1.0".into(),
            ready: true,
            pages: vec!["http://192.168.1.5".into(), "http://[fd00::1]".into()],
            local: Some("http://cairn-2.local".into()),
            qr: "##\n##\n".into(),
            claim_code: Some("ABCD2345".into()),
            ..Screen::default()
        }
    }

    #[test]
    fn the_address_the_name_in_force_and_the_code_stand_on_it() {
        let text = text(&ready());
        for part in ["http://192.168.1.5", "http://[fd00::1]", "cairn-2.local", "##\n##", "ABCD2345"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.trim_end().ends_with("ABCD2345"), "the code comes last");
        assert!(!super::text(&Screen { claim_code: None, ..ready() }).contains("claim"));
    }

    #[test]
    fn before_it_is_ready_it_says_so_and_mistakes_are_shown_from_the_first_moment() {
        let findings = (0..9).map(|n| format!("cairn.toml, line {n}: \x1b[2Jwrong")).collect();
        let text = text(&Screen { ready: false, findings, ..ready() });
        assert!(text.contains("Starting") && !text.contains("192.168"));
        assert_eq!(text.matches("line").count(), MAX_FINDINGS);
        assert!(text.contains("There is more") && !text.contains('\x1b'));
    }

    #[test]
    fn a_screen_is_cleared_and_a_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for (name, cleared) in [("tty1", true), ("ttyS1", false), ("ttyAMA0", false)] {
            let device = folder.path().join(name);
            std::fs::write(&device, "").unwrap();
            show(&device, "hello\nworld\n").unwrap();
            let shown = std::fs::read_to_string(&device).unwrap();
            assert_eq!(shown.contains("\x1b[J"), cleared, "{name}");
            assert!(shown.ends_with("hello\r\nworld\r\n"));
        }
        assert!(show(&folder.path().join("none"), "x").is_err());
    }
}
