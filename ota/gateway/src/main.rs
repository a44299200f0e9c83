//! The cloud side: records of many communities over PostgreSQL.

#![forbid(unsafe_code)]

fn main() {}
