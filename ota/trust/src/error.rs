//! Why a repository was refused, named after the attack that it could be.

use std::io;

use tough::schema::RoleType;

/// A role of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Says which keys count.
    Root,
    /// Says that a snapshot is the newest.
    Timestamp,
    /// Says which targets belong together.
    Snapshot,
    /// Says what there is.
    Targets,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        })
    }
}

impl From<RoleType> for Role {
    fn from(role: RoleType) -> Self {
        match role {
            RoleType::Root => Self::Root,
            RoleType::Timestamp => Self::Timestamp,
            RoleType::Snapshot => Self::Snapshot,
            RoleType::Targets | RoleType::DelegatedTargets => Self::Targets,
        }
    }
}

/// Why a repository was refused. Nothing that was refused is remembered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Arbitrary software, keys compromised below the threshold, or a mirror of another repository.
    #[error("the {0} metadata are not signed by enough keys that this hub trusts")]
    Signatures(Role),
    /// Rollback, or fast-forward recovered from without new keys.
    #[error("the repository is older than what this hub has seen: {0}")]
    Rollback(String),
    /// Freeze.
    #[error(
        "the {role} metadata expired at {expired} s, it is {now} s (since 1970): nobody vouches for them any more"
    )]
    Expired {
        /// Which.
        role: Role,
        /// When, in seconds since 1970.
        expired: u64,
        /// The trusted time.
        now: u64,
    },
    /// Mix and match, or a file changed on its way.
    #[error("the repository's files do not belong together: {0}")]
    Mixed(String),
    /// Endless data.
    #[error("{file} is larger than the {limit} bytes allowed")]
    TooLarge {
        /// Which.
        file: String,
        /// How many bytes it may have.
        limit: u64,
    },
    /// Endless data, in many files.
    #[error(
        "more root metadata than a hub follows at once, or more bytes than a look at the repository may cost"
    )]
    TooMuch,
    /// Slow retrieval.
    #[error("{file} did not arrive within {seconds} s")]
    TooSlow {
        /// Which.
        file: String,
        /// How long was waited.
        seconds: u64,
    },
    /// No metadata at all.
    #[error("the metadata cannot be read: {0}")]
    Malformed(String),
    /// The file is not there or the connection failed.
    #[error("cannot reach the repository: {0}")]
    Unreachable(String),
    /// No such target, or not of that kind.
    #[error("the repository has no usable {0}")]
    NoTarget(String),
    /// Both copies of the trust store are gone or damaged. A hub does not begin anew by itself: whoever can take its memory away
    /// could then show it an old repository.
    #[error("the trust store is lost: {0}")]
    Lost(&'static str),
    /// There is a trust store already.
    #[error("there is a trust store already")]
    Exists,
    /// The trust store could not be read or written.
    #[error("cannot {what} the trust store")]
    Storage {
        /// What was being done.
        what: &'static str,
        /// What the system reported.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// From what `tough` says; `own` is what the transport below it noticed last.
    pub(crate) fn classify(error: &tough::error::Error, own: Option<Self>) -> Self {
        use tough::error::Error as Tough;
        // A hash or a size that is wrong is noticed while a file is read, and stands below an error of the transport.
        let mut below: Option<&(dyn std::error::Error + 'static)> = Some(error);
        for _ in 0..16 {
            let Some(current) = below else { break };
            match current.downcast_ref::<Tough>() {
                Some(Tough::HashMismatch { .. }) => return Self::Mixed(current.to_string()),
                Some(Tough::MaxSizeExceeded { max_size, .. }) => {
                    return Self::TooLarge { file: "metadata".to_owned(), limit: *max_size };
                }
                _ => below = current.source(),
            }
        }
        match error {
            Tough::VerifyMetadata { role, .. } => Self::Signatures((*role).into()),
            Tough::VerifyTrustedMetadata { .. } => Self::Signatures(Role::Root),
            Tough::VerifyRoleMetadata { .. } => Self::Signatures(Role::Targets),
            Tough::OlderMetadata { .. }
            | Tough::OlderSnapshotInTimestamp { .. }
            | Tough::SnapshotRoleMissing { .. }
            | Tough::SnapshotRoleRollback { .. } => Self::Rollback(error.to_string()),
            Tough::VersionMismatch { .. } => Self::Mixed(error.to_string()),
            Tough::MaxUpdatesExceeded { .. } => Self::TooMuch,
            Tough::Transport { .. } => own.unwrap_or_else(|| Self::Unreachable(error.to_string())),
            _ => Self::Malformed(error.to_string()),
        }
    }
}
