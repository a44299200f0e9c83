//! The extractor's child alone, for tests and measurements of this crate. The product runs it as `cairn role extract`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cairn_library::extract::child_main()
}
