//! The API as its users and its enemies meet it: a real store in a temporary folder, requests through the whole
//! router, and a real listener where bytes have to travel.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod accounts;
mod answers;
mod backup;
mod description;
mod files;
mod guards;
mod hostile;
mod live;
mod models;
mod records;
mod rights;
mod support;
mod wellbeing;
