//! Reading a finished slot back, whole, and comparing it with what was signed.
//!
//! The supervisor does this, on its own handles: it does not take the word of whoever wrote the slot. The signed hash of
//! the root payload covers the hash tree of dm-verity, that of the boot payload the command line with its root hash, so
//! that nothing of the slot is left unchecked.

use cairn_bundle::{Digest, Manifest, PayloadKind, ReadAt};

use crate::device::Partitions;

/// Bytes read at once.
const STEP: usize = 1 << 20;

/// Why a slot is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Another content.
    #[error("the {kind} partition does not hold what was signed")]
    Differs {
        /// Which partition.
        kind: PayloadKind,
    },
    /// It cannot be read.
    #[error("the {kind} partition cannot be read: {source}")]
    Unreadable {
        /// Which partition.
        kind: PayloadKind,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Reads the payloads of `slot` and compares their hashes with those of `manifest`. `between` is called after every MiB, to
/// pause or to say that it goes on.
///
/// # Errors
/// [`CheckError`].
pub fn check_slot<D: ReadAt>(
    slot: &Partitions<D>,
    manifest: &Manifest,
    mut between: impl FnMut(),
) -> Result<(), CheckError> {
    let mut buffer = vec![0_u8; STEP];
    for payload in &manifest.payloads {
        let kind = payload.kind;
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < payload.length {
            let left = usize::try_from(payload.length - at).unwrap_or(usize::MAX).min(STEP);
            let Some(part) = buffer.get_mut(..left) else { break };
            slot.of(kind)
                .read_exact_at(at, part)
                .map_err(|source| CheckError::Unreadable { kind, source })?;
            hasher.update(part);
            at += left as u64;
            between();
        }
        if Digest::from(hasher.finalize()) != payload.blake3 {
            return Err(CheckError::Differs { kind });
        }
    }
    Ok(())
}
