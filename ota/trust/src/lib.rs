//! Whom a hub believes: TUF over a durable store, and rollout decisions.

#![forbid(unsafe_code)]
