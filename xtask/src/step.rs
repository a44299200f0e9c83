//! Steps that tell what they do, for how long, and what went wrong.

pub(crate) mod section;

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

/// How often a running step says that it is still running, where there is no terminal to draw on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);
/// How many of the last lines of a failed step's output are shown.
const TAIL_LINES: usize = 30;

/// Says what comes next.
pub(crate) fn say(what: &str) {
    println!("▸ {what}");
}

/// Runs a command whose own output is worth seeing (cargo, the test runner).
pub(crate) fn show(what: &str, command: &mut Command) -> Result<()> {
    say(what);
    let status = command.status().with_context(|| format!("{} cannot be started", name_of(command)))?;
    if !status.success() {
        bail!("{what}: {} ended with {status}", name_of(command));
    }
    Ok(())
}

/// As [`show`], and keeps what the command wrote to its standard output.
pub(crate) fn show_and_keep(what: &str, command: &mut Command) -> Result<String> {
    say(what);
    let program = name_of(command);
    let spawned = command.stdout(Stdio::piped()).spawn();
    let mut child = spawned.with_context(|| format!("{program} cannot be started"))?;
    let output = child.stdout.take().with_context(|| format!("{program} has no output"))?;
    let mut kept = String::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        kept.push_str(&line);
        kept.push('\n');
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{what}: {program} ended with {status}");
    }
    Ok(kept)
}

/// Asks until the answer is yes, of something that a process does that was started for it; ends the process where it never comes to that.
pub(crate) fn until(
    process: &mut Child,
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + within;
    let asked = wait_telling(&format!("Waiting until {what}"), || {
        if let Some(status) = process.try_wait()? {
            bail!("it ended with {status} before {what}");
        }
        if ask()? {
            return Ok(Some(()));
        }
        ensure!(Instant::now() < deadline, "waited {} s in vain until {what}", within.as_secs());
        Ok(None)
    });
    asked.or_else(|error| {
        process.kill()?;
        Err(error)
    })
}

/// Runs a command quietly: a line with the time it takes; its output only when it fails, and in a log.
pub(crate) fn quiet(what: &str, command: &mut Command) -> Result<()> {
    let log = log_file(what)?;
    let out = File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
    let err = out.try_clone()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .with_context(|| format!("{what}: {} cannot be started", name_of(command)))?;
    let status = wait_telling(what, || Ok(child.try_wait()?))?;
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n");
    bail!("{what} failed ({status}). The end of {}:\n{tail}", log.display());
}

/// Polls until done, drawing the elapsed time.
fn wait_telling<T>(what: &str, mut poll: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    let terminal = std::io::stdout().is_terminal();
    let mut told = Instant::now();
    if !terminal {
        say(what);
    }
    loop {
        let done = poll()?;
        let seconds = started.elapsed().as_secs();
        if terminal {
            print!("\r▸ {what} … {seconds} s ");
            std::io::stdout().flush()?;
        } else if told.elapsed() > SIGN_OF_LIFE {
            println!("  {what}: still running after {seconds} s");
            told = Instant::now();
        }
        if let Some(done) = done {
            if terminal {
                println!("\r▸ {what} ({seconds} s)   ");
            }
            return Ok(done);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a command can be found.
pub(crate) fn has(command: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|folder| is_executable(&folder.join(command)))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn name_of(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn log_file(what: &str) -> Result<PathBuf> {
    let folder = workspace::cache().join("log");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let name: String = what.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Ok(folder.join(format!("{}.log", name.to_lowercase())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn started(words: &[&str]) -> Child {
        Command::new(words[0]).args(&words[1..]).spawn().unwrap()
    }

    #[test]
    fn a_process_is_waited_for_and_ended_where_it_is_in_vain() {
        let mut lasting = started(&["sleep", "60"]);
        let mut asked = 0;
        until(&mut lasting, "asked twice", LONG, || {
            asked += 1;
            Ok(asked == 2)
        })
        .unwrap();
        assert_eq!(lasting.try_wait().unwrap(), None);

        let why = until(&mut lasting, "pigs fly", Duration::ZERO, || Ok(false)).unwrap_err().to_string();
        assert!(why.contains("in vain until pigs fly"), "{why}");
        assert_eq!(lasting.wait().unwrap().signal(), Some(9));

        let mut short = started(&["false"]);
        let why = until(&mut short, "pigs fly", LONG, || Ok(false)).unwrap_err().to_string();
        assert!(why.contains("ended with exit status: 1 before pigs fly"), "{why}");
    }
}
