//! The maintainers' side of updates: keys, signing, publishing, rollouts. The binary `cairn-publish` is a thin command line
//! over this; `docs/MAINTAINERS.md` says how it is used.
//!
//! A *workshop* is a folder of a maintainer:
//! ```text
//! workshop.json        roles, thresholds, how long metadata are good for
//! keys/NAME.pub.json   public keys; keys/NAME.age: private ones, each encrypted with a passphrase, away from here at best
//! draft/               metadata that still wait for signatures
//! images/              payloads of published systems, from which deltas are made
//! repository/          what is published: plain files, to be served as they are or copied to a USB stick
//! ```

#![forbid(unsafe_code)]

pub mod files;
pub mod keys;
pub mod serve;
pub mod systems;
pub mod workshop;
