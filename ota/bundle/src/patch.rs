//! How one piece is stored: as it is, compressed, or as a patch against pieces of the old payloads.

use zstd::zstd_safe::DCtx;

use crate::Error;

/// How a piece is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// As it is.
    Plain,
    /// One zstd frame; the references, if any, are its prefix (`zstd --patch-from`).
    Zstd,
}

impl Method {
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Plain),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Zstd => 1,
        }
    }
}

/// Decodes a piece into `output`, which has exactly the room for it. What comes out is not verified yet.
///
/// The frame is decoded in one go into the output, so that no window is allocated whatever the frame says.
pub(crate) fn decode(
    method: Method,
    stored: &[u8],
    references: &[u8],
    output: &mut [u8],
) -> Result<(), Error> {
    const WHAT: &str = "a compressed piece";
    match method {
        Method::Plain => {
            if stored.len() != output.len() {
                return Err(Error::malformed(WHAT, "it has another length"));
            }
            output.copy_from_slice(stored);
        }
        Method::Zstd => {
            let failed = |_| Error::malformed(WHAT, "it cannot be decompressed");
            let mut context = DCtx::create();
            if !references.is_empty() {
                context.ref_prefix(references).map_err(failed)?;
            }
            let length = output.len();
            if context.decompress(output, stored).map_err(failed)? != length {
                return Err(Error::malformed(WHAT, "it has another length"));
            }
        }
    }
    Ok(())
}
