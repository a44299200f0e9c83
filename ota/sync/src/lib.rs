//! What hub and gateway must agree on: record kinds, field values, identities, clocks and merge rules.
//!
//! This crate does no I/O and knows neither SQLite, PostgreSQL nor HTTP. `store`, `web`, `uplink` and the
//! gateway may depend on it; it depends on none of them.

#![forbid(unsafe_code)]

pub mod access;
pub mod admission;
pub mod authority;
pub mod backoff;
pub mod batch;
pub mod change;
pub mod checksum;
pub mod hlc;
pub mod http;
pub mod id;
pub mod kinds;
pub mod listing;
pub mod lookup;
pub mod merge;
pub mod record;
pub mod replica;
pub mod round;
pub mod session;
pub mod shown;
pub mod submit;
pub mod value;
pub mod wire;

pub use hlc::Hlc;
pub use id::{BlobId, ChangeId, CommunityId, HubId, RecordId};
pub use kinds::{Access, FieldDef, FieldType, Kind, KindDef, ProjectRole, Role, Scope, Strategy};
pub use value::{Fields, Value, ValueError};
