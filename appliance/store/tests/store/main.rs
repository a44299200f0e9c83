//! The store as its callers see it: real folders, real files, real processes.

mod accounts;
mod backup;
mod common;
mod damage;
mod disk;
mod killed;
mod library;
mod pages;
mod permissions;
mod records;
