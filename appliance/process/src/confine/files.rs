//! Landlock: which files a process may open, whether it may use TCP, whom it may signal.

use std::{
    io,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, PathFdError,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};
use nix::unistd::Uid;

use super::{Access, ConfineError, ConfinementReport, Measure, Profile};

/// The newest Landlock interface whose every restriction is meant here and has been run; newer kernels give no less.
const NEWEST: ABI = ABI::V6;

/// Libraries, time zones, what tells about processors and memory, and harmless devices.
const SYSTEM: &[(&str, Access)] = &[
    ("/lib", Access::Read),
    ("/lib64", Access::Read),
    ("/usr/lib", Access::Read),
    ("/usr/lib64", Access::Read),
    ("/etc/ld.so.cache", Access::Read),
    ("/etc/localtime", Access::Read),
    ("/usr/share/zoneinfo", Access::Read),
    ("/proc/self", Access::Read),
    ("/proc/meminfo", Access::Read),
    ("/proc/cpuinfo", Access::Read),
    ("/proc/stat", Access::Read),
    ("/sys/devices/system/cpu", Access::Read),
    ("/sys/fs/cgroup", Access::Read),
    ("/dev/null", Access::Write),
    ("/dev/urandom", Access::Read),
];

/// What a program on the network needs besides: names, certificates, the state of the board.
const NETWORKED: &[(&str, Access)] = &[
    ("/run/systemd/resolve", Access::Read),
    ("/usr/share/ca-certificates", Access::Read),
    ("/usr/local/share/ca-certificates", Access::Read),
    ("/proc/net", Access::Read),
    ("/proc/sys/net", Access::Read),
    ("/proc/loadavg", Access::Read),
    ("/sys/class", Access::Read),
    ("/sys/devices", Access::Read),
    ("/lib64/ld-linux-x86-64.so.2", Access::Execute),
    ("/lib/ld-linux-aarch64.so.1", Access::Execute),
];

/// All of it where files' own permissions keep secrets secret: name servers change by a new file under the old name,
/// and a rule binds the file, not the name.
const CONFIGURATION: &[(&str, Access)] = &[("/etc", Access::Read)];

/// For a process that stays root.
const CONFIGURATION_FOR_ROOT: &[(&str, Access)] = &[
    ("/etc/resolv.conf", Access::Read),
    ("/etc/hosts", Access::Read),
    ("/etc/nsswitch.conf", Access::Read),
    ("/etc/gai.conf", Access::Read),
    ("/etc/services", Access::Read),
    ("/etc/ssl", Access::Read),
    ("/etc/ca-certificates", Access::Read),
    ("/etc/pki", Access::Read),
];

/// Prepares the rules while the paths can still be opened.
pub(super) fn build(
    profile: Profile,
    paths: &[(PathBuf, Access)],
    stays_root: bool,
) -> Result<RulesetCreated, ConfineError> {
    let failed = |e: landlock::RulesetError| ConfineError::failed("preparing the file rules")(&e);
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(NEWEST)).map_err(failed)?;
    if profile != Profile::Hub {
        // No rule follows for it: neither bind nor connect.
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST)).map_err(failed)?;
    }
    let mut ruleset = ruleset.scope(Scope::from_all(NEWEST)).map_err(failed)?.create().map_err(failed)?;

    let configuration = if stays_root { CONFIGURATION_FOR_ROOT } else { CONFIGURATION };
    let profiles_own: &[&[(&str, Access)]] = match profile {
        Profile::Hub => &[SYSTEM, NETWORKED, configuration],
        Profile::Infer => &[SYSTEM],
        Profile::Extract => &[],
    };
    let own = profiles_own.iter().copied().flatten().map(|(path, access)| (Path::new(path), *access));
    for (path, access) in own.chain(paths.iter().map(|(path, access)| (path.as_path(), *access))) {
        let Some(rights) = rights(path, access) else { continue };
        match PathFd::new(path) {
            Ok(descriptor) => {
                ruleset = ruleset.add_rule(PathBeneath::new(descriptor, rights)).map_err(failed)?;
            }
            Err(PathFdError::OpenCall { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ConfineError::failed("preparing the file rules")(&error)),
        }
    }
    Ok(ruleset)
}

/// Landlock's rights for `access` at `path`; `None` when nothing is there.
fn rights(path: &Path, access: Access) -> Option<BitFlags<AccessFs>> {
    let meta = path.metadata().ok()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let rights = match access {
        Access::Read => read,
        Access::Execute => AccessFs::ReadFile | AccessFs::Execute,
        Access::Write => {
            let never = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
            (AccessFs::from_write(NEWEST) & !never) | read
        }
    };
    Some(if meta.is_dir() { rights } else { rights & AccessFs::from_file(NEWEST) })
}

/// Puts the rules in force and says what this kernel's Landlock cannot do.
pub(super) fn restrict(ruleset: RulesetCreated, report: &mut ConfinementReport) -> Result<(), ConfineError> {
    let status = ruleset.restrict_self().map_err(|e| ConfineError::failed("restricting files")(&e))?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as i32,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    if abi >= 1 {
        report.holds(Measure::Files, format!("only its own folders (Landlock {abi})"));
    }
    if abi >= 4 && report.profile != Profile::Hub {
        report.holds(Measure::Network, "no TCP");
    }
    if abi >= 6 {
        report.holds(Measure::Scope, "reaches only what it started itself");
    }
    for (measure, reason) in missing(abi, report.profile) {
        report.lacks(measure, reason);
    }
    Ok(())
}

/// What a kernel with Landlock version `abi` (0: none) cannot restrict.
fn missing(abi: i32, profile: Profile) -> Vec<(Measure, &'static str)> {
    let steps = [
        (1, Measure::Files, "this kernel has no Landlock: files are protected by user ids alone"),
        (2, Measure::Files, "this kernel cannot let files move between folders: Landlock 2 is needed"),
        (3, Measure::Files, "this kernel does not restrict truncating files: Landlock 3 is needed"),
        (4, Measure::Network, "this kernel does not restrict TCP by Landlock: version 4 is needed"),
        (5, Measure::Files, "this kernel does not restrict device commands: Landlock 5 is needed"),
        (6, Measure::Scope, "this kernel does not restrict signals by Landlock: version 6 is needed"),
    ];
    let lacking = steps.into_iter().filter(|(needed, measure, _)| {
        abi < *needed && !(*measure == Measure::Network && profile == Profile::Hub)
    });
    // Without Landlock at all, one sentence is enough.
    lacking
        .take(if abi == 0 { 1 } else { usize::MAX })
        .map(|(_, measure, reason)| (measure, reason))
        .collect()
}

/// Whether a process that is to become `user` ends as root.
pub(super) fn stays_root(user: Option<super::UserIds>) -> bool {
    Uid::effective().is_root() && user.is_none_or(|user| user.uid == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_older_landlock_lacks_one_thing_more() {
        for profile in [Profile::Hub, Profile::Infer, Profile::Extract] {
            assert_eq!(missing(0, profile).len(), 1);
            assert!(missing(7, profile).is_empty());
            let counts: Vec<_> = (1..=6).map(|abi| missing(abi, profile).len()).collect();
            assert!(counts.is_sorted_by(|older, newer| older >= newer), "{counts:?}");
        }
        assert!(missing(3, Profile::Infer).iter().any(|(measure, _)| *measure == Measure::Network));
        assert!(missing(3, Profile::Hub).iter().all(|(measure, _)| *measure != Measure::Network));
    }
}
