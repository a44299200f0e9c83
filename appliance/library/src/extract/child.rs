//! The role `extract`: a short-lived process that reads one descriptor and writes one pipe.

use std::{env, fs::File, io, os::fd::AsFd, process::ExitCode};

use cairn_process::{Confinement, Profile};

use super::{
    Input, Reason,
    protocol::{self, JOB_VARIABLE, Job, Report},
};

/// Steps back behind everything a person waits for.
const NICENESS: u8 = 10;
/// First to go when memory runs out.
const OOM_SCORE: u16 = 900;

/// Main function of the role `extract`. Call it first thing in `main`, before any thread is started.
///
/// Standard input is the file, standard output takes the reports, standard error the last words.
pub fn child_main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(how) => {
            let report = Report::Failed(Reason::NotRun { how });
            // The parent also sees the exit code, so a pipe that is gone changes nothing.
            match protocol::write(&mut io::stdout().lock(), &report) {
                Ok(()) | Err(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn run() -> Result<(), String> {
    let job = env::var(JOB_VARIABLE)
        .map_err(|_| format!("{JOB_VARIABLE} is not set; this role is started by the hub"))?;
    let job: Job = serde_json::from_str(&job).map_err(|error| format!("{JOB_VARIABLE}: {error}"))?;
    let file = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(File::from)
        .map_err(|error| format!("standard input: {error}"))?;
    Confinement::new(Profile::Extract)
        .memory_limit(job.limits.memory_bytes)
        .cpu_seconds(job.limits.cpu_time.as_secs().max(1))
        .niceness(NICENESS)
        .oom_score(OOM_SCORE)
        .apply()
        .map_err(|error| format!("confining the reader: {error}"))?;
    let input = Input::from_file(file).map_err(|error| format!("standard input: {error}"))?;
    let mut reports = io::stdout().lock();
    let outcome = super::extract_to(&input, &job.hint, &job.limits, &mut |blocks| {
        protocol::write(&mut reports, &Report::Blocks(blocks))
            .map_err(|error| Reason::NotRun { how: format!("writing a report: {error}") })
    });
    let last = outcome.map_or_else(|error| Report::Failed(error.reason), Report::Done);
    protocol::write(&mut reports, &last).map_err(|error| format!("writing the last report: {error}"))
}
