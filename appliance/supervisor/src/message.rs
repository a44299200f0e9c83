//! What supervisor and roles say to each other over the control channel.

use std::fmt;

use cairn_process::ConfinementReport;
use serde::{Deserialize, Serialize};

use crate::{
    status::TreeStatus,
    system::{UpdateNews, UpdateOrder},
};

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

/// What a role may ask of the device. The supervisor decides: on a computer it does none of it, and on a device only what
/// comes from the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceOrder {
    /// End everything in order and switch off.
    PowerOff,
    /// End everything in order and start again.
    Restart,
    /// Erase what is the community's at the next start, which begins at once.
    FactoryReset,
    /// The time, as an authenticated source told it: seconds since 1970. Believed only when it is not before the floor.
    SetClock(u64),
    /// The enrolment token of the provisioning file was used: take it out.
    ForgetToken,
    /// A new system is being written (`true`), or no longer: for the status LED.
    Updating(bool),
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
    /// Of updates; a descriptor may come with this message.
    Update(UpdateNews),
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
    /// It ends, for this reason.
    LastWords(String),
    /// To [`ToRole::Ping`].
    Pong(u64),
    /// Please start this role anew.
    Restart(Role),
    /// Please do this to the device.
    Device(DeviceOrder),
    /// Please do this for an update.
    Update(UpdateOrder),
}
