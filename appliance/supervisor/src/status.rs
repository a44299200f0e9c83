//! The state of the whole tree, as the hub shows it on its status page and in its health check.

use cairn_device::{board::Board, concern::Concern};
use cairn_process::ConfinementReport;
use serde::{Deserialize, Serialize};

use crate::message::Role;

/// How a role is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleHealth {
    /// Started, not ready yet.
    Starting,
    /// Works.
    Ready,
    /// Failed; it is or will be restarted.
    Failing,
    /// Ended in order.
    Stopped,
}

/// One role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleStatus {
    /// Which.
    pub role: Role,
    /// How it is doing.
    pub health: RoleHealth,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it last failed.
    pub last_failure: Option<String>,
    /// Memory that it holds, bytes.
    pub memory: Option<u64>,
    /// How far it is confined, once it has said so.
    pub confinement: Option<ConfinementReport>,
}

/// The supervisor, its roles and the board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeStatus {
    /// Seconds since the supervisor started.
    pub uptime_s: u64,
    /// Memory that the supervisor itself holds, bytes.
    pub memory: Option<u64>,
    /// The roles.
    pub roles: Vec<RoleStatus>,
    /// The board.
    pub board: Board,
    /// What a person should do something about.
    pub concerns: Vec<Concern>,
    /// What feeds on signs of life: the service manager, the hardware watchdog, or neither.
    pub watchdogs: Vec<String>,
}

impl TreeStatus {
    /// The line about `role`.
    #[must_use]
    pub fn role(&self, role: Role) -> Option<&RoleStatus> {
        self.roles.iter().find(|status| status.role == role)
    }
}
