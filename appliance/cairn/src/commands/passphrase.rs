//! Where the passphrase of a backup comes from: a file, a variable, or the person.

use std::{
    env,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    os::fd::AsFd,
    path::Path,
};

use cairn_store::Secret;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::outcome::{Code, Failure, while_doing};

/// Shortest passphrase for a new backup, characters: who finds the stick may try as often as they like.
pub(super) const SHORTEST: usize = 12;
/// Longest, bytes.
const LONGEST: u64 = 1024;
const VARIABLE: &str = "CAIRN_PASSPHRASE";

/// Reads the passphrase; asks twice for a `new` one.
pub(super) fn read(file: Option<&Path>, new: bool) -> Result<Secret, Failure> {
    let passphrase = match (file, env::var(VARIABLE)) {
        (Some(path), _) => {
            let file = File::open(path).map_err(while_doing(format!("opening {}", path.display())))?;
            line(file).map_err(while_doing(format!("reading {}", path.display())))?
        }
        (None, Ok(passphrase)) => passphrase,
        (None, Err(_)) if io::stdin().is_terminal() => {
            let first = ask("Passphrase: ")?;
            if new && ask("Once more: ")? != first {
                return Err(Failure::new(Code::Refused, "the two passphrases are not the same")
                    .kept("Nothing was written."));
            }
            first
        }
        (None, Err(_)) => line(io::stdin()).map_err(while_doing("reading the passphrase"))?,
    };
    if new && passphrase.chars().count() < SHORTEST {
        return Err(Failure::new(Code::Refused, format!("a passphrase has at least {SHORTEST} characters"))
            .kept("Nothing was written.")
            .next(
                "Take a few words that belong together for you only, and keep them apart from the backup.",
            ));
    }
    Ok(Secret::new(passphrase))
}

fn line(from: impl Read) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(from.take(LONGEST)).read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// Asks on the terminal without showing what is typed.
fn ask(prompt: &str) -> Result<String, Failure> {
    let failed = || while_doing::<io::Error>("reading the passphrase");
    let input = io::stdin();
    let mut errors = io::stderr();
    errors.write_all(prompt.as_bytes()).and_then(|()| errors.flush()).map_err(failed())?;
    let before = tcgetattr(input.as_fd()).map_err(io::Error::from).map_err(failed())?;
    let mut hidden = before.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(input.as_fd(), SetArg::TCSAFLUSH, &hidden).map_err(io::Error::from).map_err(failed())?;
    let read = line(input.lock());
    tcsetattr(input.as_fd(), SetArg::TCSAFLUSH, &before).map_err(io::Error::from).map_err(failed())?;
    eprintln!();
    read.map_err(failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_passphrase_is_good_enough_to_read_with_and_not_to_write_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass");
        std::fs::write(&path, "short\r\nsecond line\n").unwrap();
        assert_eq!(read(Some(&path), false).unwrap().reveal(), "short");
        assert_eq!(read(Some(&path), true).unwrap_err().code(), Code::Refused);
    }
}
