//! The roles that the supervisor starts.

pub(crate) mod hub;
pub(crate) mod infer;
