//! PDF (stub while the layout is written).
use super::{Limits, Reason, Format, output::Output};
pub(super) fn read(_b: std::borrow::Cow<'_, [u8]>, _l: &Limits, _o: &mut Output<'_>) -> Result<(), Reason> { Err(Reason::damaged(Format::Pdf, "not read yet")) }
