//! EPUB stub.
use super::{Limits, Reason, Format, output::Output};
pub(super) fn read(_b: &[u8], _l: &Limits, _o: &mut Output<'_>) -> Result<(), Reason> { Err(Reason::damaged(Format::Epub, "not read yet")) }
