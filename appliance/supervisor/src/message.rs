//! What supervisor and roles say to each other over the control channel.

use std::fmt;

use cairn_process::ConfinementReport;
use serde::{Deserialize, Serialize};

use crate::status::TreeStatus;

/// A part of the hub that runs as a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Web, store, library, uplink.
    Hub,
    /// Models.
    Infer,
}

impl Role {
    /// Every role that the supervisor starts, in the order of starting; they end in the same order, because the hub
    /// must finish what it is writing before the models it asks go away.
    pub const ALL: [Self; 2] = [Self::Hub, Self::Infer];

    /// The name on the command line (`cairn role NAME`) and in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Infer => "infer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// From the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToRole {
    /// Answer with the same number.
    Ping(u64),
    /// A fresh channel between hub and infer; the descriptor comes with this message.
    Inference,
    /// The whole tree, for the status page.
    Status(Box<TreeStatus>),
    /// Finish what is being written and end.
    Shutdown,
}

/// From a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum FromRole {
    /// First message: how far it is confined.
    Hello(ConfinementReport),
    /// Still starting, for example migrating a database: more time is needed.
    Busy(String),
    /// It can do its work.
    Ready,
    /// To [`ToRole::Ping`].
    Pong(u64),
    /// Please start this role anew.
    Restart(Role),
}
