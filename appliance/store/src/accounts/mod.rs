//! Accounts, invitations, sessions, personal access tokens and the first run. They are local to the hub and
//! never synchronised.

pub(crate) mod claim;
mod code;
pub(crate) mod keepers;
mod people;
mod sessions;

use std::fmt;

use cairn_sync::{RecordId, Role};
use serde::Serialize;

use crate::settings::Secret;

pub(crate) use claim::is_claimed;
pub(crate) use people::login;

/// What a new account starts with.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The name shown to others.
    pub name: String,
    /// The name typed to sign in; lower-cased by the store.
    pub login: String,
    /// The password's hash, made by the caller.
    pub password_hash: Secret,
    /// Language of the pages, BCP 47; the hub's where none is given.
    pub language: Option<String>,
}

/// On what ground somebody signs up.
#[derive(Debug, Clone)]
pub enum SignUp {
    /// By an invitation, which says the role.
    Invitation(InvitationCode),
    /// Because the hub's settings let anyone sign up; as a volunteer.
    Open,
}

/// A one-time invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct InvitationCode(pub(crate) String);

/// An invitation that was not used yet; its code is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invitation {
    /// Its number on this hub.
    pub id: u64,
    /// The role it gives.
    pub role: Role,
    /// Who invited.
    pub by: Option<RecordId>,
    /// When, by the hub's clock, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// How much longer it is valid, in milliseconds.
    pub left_ms: u64,
}

/// What a person carries to be known again. Shown once, stored hashed.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(pub(crate) String);

/// A personal access token. Shown once, stored hashed.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiToken(pub(crate) String);

/// A personal access token as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiTokenInfo {
    /// Its number on this hub.
    pub id: u64,
    /// What its owner called it.
    pub name: String,
    /// When it was made, by the hub's clock, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// How much longer it is valid, in milliseconds.
    pub left_ms: u64,
}

/// What signing in needs to know.
#[derive(Debug, Clone)]
pub struct Login {
    /// The person.
    pub person: RecordId,
    /// The password's hash.
    pub password_hash: Secret,
    /// Whether the account is closed.
    pub disabled: bool,
}

/// Whether somebody keeps this hub yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetupState {
    /// Whether the first keeper exists.
    pub claimed: bool,
    /// How many more claim codes may be tried before the hub has to be started again.
    pub tries_left: u32,
}

macro_rules! carried {
    ($name:ident) => {
        impl $name {
            /// As it came from outside; whether it is valid shows when it is used.
            #[must_use]
            pub fn from_text(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text to hand out once.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

carried!(InvitationCode);
carried!(SessionToken);
carried!(ApiToken);

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(hidden)")
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(hidden)")
    }
}
