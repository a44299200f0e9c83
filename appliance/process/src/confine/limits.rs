//! Limits on memory, processor time, descriptors and priority.

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{ConfineError, ConfinementReport, Measure, Profile};
use crate::os;

/// Descriptors of the hub: two for each of its connections and room for files.
const HUB_DESCRIPTORS: u64 = 4096;
/// Descriptors of `infer`: a few model files and its sockets.
const INFER_DESCRIPTORS: u64 = 256;
/// Descriptors of the extractor: its two pipes and the standard streams.
const EXTRACT_DESCRIPTORS: u64 = 32;
/// Address space that the extractor may have beyond its memory: program, libraries and reserved, unused ranges.
const EXTRACT_ADDRESS_SLACK: u64 = 1 << 30;

/// Limits of one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Private memory, bytes.
    pub memory: Option<u64>,
    /// Processor time, seconds.
    pub cpu_seconds: Option<u64>,
    /// 0 to 19.
    pub niceness: u8,
    /// 0 to 1000.
    pub oom_score: u16,
}

impl Limits {
    pub(super) fn apply(&self, profile: Profile, report: &mut ConfinementReport) -> Result<(), ConfineError> {
        let mut said = Vec::new();
        lower(Resource::RLIMIT_CORE, 0)?;
        lower(
            Resource::RLIMIT_NOFILE,
            match profile {
                Profile::Hub => HUB_DESCRIPTORS,
                Profile::Infer => INFER_DESCRIPTORS,
                Profile::Extract => EXTRACT_DESCRIPTORS,
            },
        )?;
        if let Some(bytes) = self.memory {
            // RLIMIT_DATA counts private writable memory only, so a mapped model does not count against it.
            lower(Resource::RLIMIT_DATA, bytes)?;
            if profile == Profile::Extract {
                lower(Resource::RLIMIT_AS, bytes.saturating_add(EXTRACT_ADDRESS_SLACK))?;
            }
            said.push(format!("{} MiB of memory", bytes >> 20));
        }
        if let Some(seconds) = self.cpu_seconds {
            lower(Resource::RLIMIT_CPU, seconds)?;
            said.push(format!("{seconds} s of processor time"));
        }
        if self.niceness > 0 {
            os::set_niceness(self.niceness)
                .map_err(|e| ConfineError::failed("stepping back in priority")(&e))?;
            said.push(format!("niceness {}", self.niceness));
        }
        if self.oom_score > 0 {
            match fs::write("/proc/self/oom_score_adj", self.oom_score.to_string()) {
                Ok(()) => said.push("first to go when memory runs out".to_owned()),
                Err(error) => {
                    report.lacks(Measure::Limits, format!("the order of out-of-memory kills: {error}"))
                }
            }
        }
        if !said.is_empty() {
            report.holds(Measure::Limits, said.join(", "));
        }
        Ok(())
    }
}

/// Sets both limits to `value`, or to the present hard limit where that is lower.
fn lower(resource: Resource, value: u64) -> Result<(), ConfineError> {
    let failed = ConfineError::failed("setting a resource limit");
    let (_, hard) = getrlimit(resource).map_err(|e| failed(&e))?;
    let value = value.min(hard);
    setrlimit(resource, value, value).map_err(|e| failed(&e))
}
