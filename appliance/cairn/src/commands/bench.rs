//! `cairn bench-inference`

use crate::{
    cli::BenchArguments,
    outcome::{Code, Failure},
};

pub(super) fn run(arguments: &BenchArguments) -> Result<(), Failure> {
    cairn_inference::inspect(&arguments.model)
        .map_err(|error| Failure::new(Code::Refused, format!("{}: {error}", arguments.model.display())))?;
    Err(Failure::new(Code::Failed, "bench is being written"))
}
