//! The confined reader as a program of its own, for tests that run without the whole hub.

use std::process::ExitCode;

fn main() -> ExitCode {
    cairn_library::extract::child_main()
}
