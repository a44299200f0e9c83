//! ZIM stub.
use super::{Limits, Reason, Format, Input, output::Output};
pub(super) fn read(_b: &Input, _l: &Limits, _o: &mut Output<'_>) -> Result<(), Reason> { Err(Reason::damaged(Format::Zim, "not read yet")) }
