//! From root to a user that owns nothing else.

use std::path::Path;

use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid, setuid};
use serde::{Deserialize, Serialize};

use super::{ConfineError, ConfinementReport, Measure, Profile, keep_capabilities};

/// A user and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserIds {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl UserIds {
    /// The account called `name`; without one, `fallback` for both ids: an id needs no account to be different.
    #[must_use]
    pub fn named(name: &str, fallback: u32) -> Self {
        match User::from_name(name) {
            Ok(Some(user)) => Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() },
            Ok(None) | Err(_) => Self { uid: fallback, gid: fallback },
        }
    }

    /// Whether this user can walk down to `path` through the permissions of the folders above it.
    #[must_use]
    pub fn can_enter(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        const SEARCH: u32 = 0o1;
        path.ancestors().filter(|above| !above.as_os_str().is_empty()).all(|folder| {
            let Ok(meta) = folder.metadata() else { return false };
            if !meta.is_dir() {
                return true;
            }
            let shift = if meta.uid() == self.uid {
                6
            } else if meta.gid() == self.gid {
                3
            } else {
                0
            };
            (meta.mode() >> shift) & SEARCH != 0
        })
    }
}

pub(super) fn drop_rights(
    profile: Profile,
    user: Option<UserIds>,
    report: &mut ConfinementReport,
) -> Result<(), ConfineError> {
    if !Uid::effective().is_root() {
        report.holds(Measure::User, format!("user {}, who started the hub", Uid::effective()));
        return Ok(());
    }
    let Some(user) = user.filter(|user| user.uid != 0) else {
        keep_capabilities(profile)?;
        report.holds(Measure::Capabilities, "all but the use of its own folders");
        report.lacks(Measure::User, "it still runs as root, because no other user can use its folders");
        return Ok(());
    };
    let failed = ConfineError::failed("changing to another user");
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setgroups(&[]).map_err(|e| failed(&e))?;
    setresgid(gid, gid, gid).map_err(|e| failed(&e))?;
    setresuid(uid, uid, uid).map_err(|e| failed(&e))?;
    if setuid(Uid::from_raw(0)).is_ok() {
        return Err(failed(&"the way back to root was still open"));
    }
    report.holds(Measure::User, format!("user {}", user.uid));
    Ok(())
}
