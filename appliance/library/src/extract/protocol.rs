//! What the hub and the extractor say to each other: one job in, framed reports out.
//!
//! The job travels in an environment variable, because standard input is the file itself. Reports are postcard behind
//! a 32-bit little-endian length.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::{Block, Hint, Limits, Reason, Summary};

/// Environment variable that holds the [`Job`] as JSON.
pub(super) const JOB_VARIABLE: &str = "CAIRN_EXTRACT_JOB";
/// Largest report. A batch of blocks is at most about two blocks' worth of text.
pub(super) const MAX_REPORT: usize = cairn_process::MAX_FRAME;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) hint: Hint,
    pub(super) limits: Limits,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Blocks(Vec<Block>),
    /// The last one when all went well.
    Done(Summary),
    /// The last one when not.
    Failed(Reason),
}

pub(super) fn write(to: &mut impl Write, report: &Report) -> io::Result<()> {
    let body = postcard::to_stdvec(report).map_err(io::Error::other)?;
    let too_large =
        || io::Error::new(io::ErrorKind::InvalidData, format!("a report of {} bytes", body.len()));
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_REPORT).ok_or_else(too_large)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&body)?;
    to.flush()
}

/// The report in `body`.
pub(super) fn parse(body: &[u8]) -> Option<Report> {
    postcard::from_bytes(body).ok()
}
