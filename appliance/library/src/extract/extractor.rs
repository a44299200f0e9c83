//! The hub's side of extraction: runs the confined child, bounds it, and turns its end into a typed answer.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Instant,
};

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, ChildStdout, Command},
    time::timeout_at,
};

use super::{
    Block, ExtractError, Extracted, Hint, Limits, Reason, Summary,
    protocol::{self, JOB_VARIABLE, Job, MAX_REPORT, Report},
};

/// Most of the child's last words that are kept.
const LAST_WORDS_BYTES: u64 = 4096;
/// Bytes of reports beyond the text itself: tags, locations and lengths of each block.
const REPORT_BYTES_PER_BLOCK: u64 = 1024;

/// How the extractor is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtractorCommand {
    /// Program whose `main` calls [`super::child_main`].
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl ExtractorCommand {
    /// A program with arguments.
    pub fn new<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self { program: program.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// The running binary in the role `extract`.
    pub fn this_binary() -> Self {
        Self::new("/proc/self/exe", ["role", "extract"])
    }
}

/// Reads files in a confined child process each.
#[derive(Debug, Clone)]
pub struct Extractor {
    command: ExtractorCommand,
    limits: Limits,
}

impl Extractor {
    /// With the limits that the hub uses.
    pub fn new(command: ExtractorCommand) -> Self {
        Self::with_limits(command, Limits::default())
    }

    /// With other limits.
    pub fn with_limits(command: ExtractorCommand, limits: Limits) -> Self {
        Self { command, limits }
    }

    /// Reads a whole document into memory.
    ///
    /// # Errors
    /// As [`Self::extract_to`].
    pub async fn extract(&self, file: File, hint: &Hint) -> Result<Extracted, ExtractError> {
        let mut blocks = Vec::new();
        let summary = self.extract_to(file, hint, |batch| blocks.extend(batch)).await?;
        Ok(Extracted { summary, blocks })
    }

    /// Reads a document and hands its blocks over in batches, in reading order. When it fails, what was handed over before is
    /// to be forgotten. Dropping the future kills the child.
    ///
    /// # Errors
    /// [`ExtractError`] names the file and says what is wrong with it or, when the child died, how.
    pub async fn extract_to(
        &self,
        file: File,
        hint: &Hint,
        mut sink: impl FnMut(Vec<Block>) + Send,
    ) -> Result<Summary, ExtractError> {
        self.run(file, hint, &mut sink).await.map_err(|reason| ExtractError::new(hint, reason))
    }

    async fn run(
        &self,
        file: File,
        hint: &Hint,
        sink: &mut (impl FnMut(Vec<Block>) + Send),
    ) -> Result<Summary, Reason> {
        let started = Instant::now();
        let deadline = tokio::time::Instant::from_std(started + self.limits.wall_time);
        let mut child = self.start(file, hint).map_err(|error| not_run("starting it", &error))?;
        let (Some(reports), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Reason::NotRun { how: "its pipes are missing".to_owned() });
        };
        let conversation = async {
            let (last, words) = tokio::join!(self.listen(reports, sink), last_words(errors));
            (last, words, child.wait().await)
        };
        let Ok((last, words, status)) = timeout_at(deadline, conversation).await else {
            end(&mut child).await;
            return Err(Reason::TimedOut { seconds: self.limits.wall_time.as_secs() });
        };
        match last {
            Ok(Some(outcome)) => outcome,
            Ok(None) => {
                let status = status.map_err(|error| not_run("waiting for it", &error))?;
                Err(self.post_mortem(status, &words, started))
            }
            Err(reason) => Err(reason),
        }
    }

    fn start(&self, file: File, hint: &Hint) -> io::Result<Child> {
        let job = Job { hint: hint.clone(), limits: self.limits.clone() };
        Command::new(&self.command.program)
            .args(&self.command.arguments)
            .env_clear()
            .env(JOB_VARIABLE, serde_json::to_string(&job)?)
            .current_dir("/")
            .stdin(Stdio::from(file))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    /// Takes reports until the last one, or until the pipe ends without it.
    async fn listen(
        &self,
        mut reports: ChildStdout,
        sink: &mut (impl FnMut(Vec<Block>) + Send),
    ) -> Result<Option<Result<Summary, Reason>>, Reason> {
        let nonsense = |how: &str| Reason::Crashed { how: how.to_owned() };
        let mut room =
            self.limits.text_bytes.saturating_add(self.limits.blocks.saturating_mul(REPORT_BYTES_PER_BLOCK));
        let mut body = Vec::new();
        loop {
            let length = match reports.read_u32_le().await {
                Ok(length) => u64::from(length),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(not_run("hearing it", &error)),
            };
            if length > MAX_REPORT as u64 {
                return Err(nonsense("it sent a report that is too large"));
            }
            room = room.checked_sub(length).ok_or_else(|| nonsense("it sent more than the limits allow"))?;
            body.clear();
            let taken = (&mut reports).take(length).read_to_end(&mut body).await;
            match taken.map_err(|error| not_run("hearing it", &error))? {
                taken if (taken as u64) < length => return Ok(None),
                _ => {}
            }
            match protocol::parse(&body).ok_or_else(|| nonsense("it sent a report that makes no sense"))? {
                Report::Blocks(blocks) => sink(blocks),
                Report::Done(summary) => return Ok(Some(Ok(summary))),
                Report::Failed(reason) => return Ok(Some(Err(reason))),
            }
        }
    }

    /// Why the child ended without a last report.
    fn post_mortem(&self, status: ExitStatus, words: &str, started: Instant) -> Reason {
        let out_of_memory = Reason::OutOfMemory { mebibytes: self.limits.memory_bytes >> 20 };
        let timed_out = Reason::TimedOut { seconds: self.limits.cpu_time.as_secs() };
        let signal = status.signal().and_then(|number| Signal::try_from(number).ok());
        match signal {
            Some(Signal::SIGSYS) => Reason::Forbidden,
            Some(Signal::SIGXCPU) => timed_out,
            // The kernel kills at the hard limit of processor time, and when memory runs out.
            Some(Signal::SIGKILL) if started.elapsed() >= self.limits.cpu_time => timed_out,
            Some(Signal::SIGKILL) => out_of_memory,
            Some(Signal::SIGABRT) if words.contains("memory allocation of") => out_of_memory,
            Some(_) if words.contains("overflowed its stack") => {
                Reason::Crashed { how: "it is nested too deeply".to_owned() }
            }
            Some(signal) => Reason::Crashed { how: format!("{signal}; {}", last_line(words)) },
            None => Reason::Crashed { how: format!("{status}; {}", last_line(words)) },
        }
    }
}

/// Kills the child and waits until it is gone, which a kill makes certain.
async fn end(child: &mut Child) {
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, "the extractor could not be killed");
    }
}

async fn last_words(errors: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut errors = errors.take(LAST_WORDS_BYTES);
    if let Err(error) = errors.read_to_end(&mut kept).await {
        tracing::debug!(%error, "the extractor's last words were not heard");
    }
    // A child that goes on talking must not block on a full pipe.
    let mut rest = errors.into_inner();
    if let Err(error) = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await {
        tracing::debug!(%error, "the extractor's last words were not heard");
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn last_line(words: &str) -> String {
    let line = words.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("note:"));
    line.unwrap_or("without a word").chars().filter(|c| !c.is_control()).take(200).collect()
}

fn not_run(doing: &str, error: &io::Error) -> Reason {
    Reason::NotRun { how: format!("{doing}: {error}") }
}
