//! Making bundles and deltas: the maintainers' side.

mod similar;
mod static_delta;

use std::{
    collections::HashMap,
    io::{self, Read, Seek, SeekFrom, Write},
};

pub use static_delta::{Delta, Old, delta};
use zstd::bulk::Compressor;

use crate::{
    Board, Chunk, ChunkId, Chunking, Digest, Error, Index, Listing, Manifest, Payload, PayloadKind, ReadAt,
    Verity, Version, limits, manifest::IndexSection,
};

/// Compression level of chunks and patches: the strongest that needs no special window.
pub(crate) const LEVEL: i32 = 19;

/// A payload to put into a bundle.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Its bytes.
    pub bytes: &'a dyn ReadAt,
    /// How many.
    pub length: u64,
    /// Of a root that is verified while it runs.
    pub verity: Option<Verity>,
}

/// What becomes a bundle.
#[derive(Clone)]
pub struct Input<'a> {
    /// The board it boots on.
    pub board: Board,
    /// The version of the system.
    pub version: Version,
    /// When the image was built, in seconds since 1970.
    pub built: u64,
    /// Newest schema of the hub's data that it makes.
    pub schema: Option<u32>,
    /// How the payloads are cut.
    pub chunking: Chunking,
    /// The boot partition.
    pub boot: Source<'a>,
    /// The root partition.
    pub root: Source<'a>,
}

/// A file to collect compressed chunks in, before it is known how long the head becomes.
pub trait Spool: Read + Write + Seek {}

impl<T: Read + Write + Seek> Spool for T {}

/// Writes a bundle to `out` and says how to list it. `spool` is empty at first and can be thrown away afterwards.
///
/// The same input gives the same bytes.
///
/// # Errors
/// [`Error::Read`], [`Error::Write`], or a limit of [`limits`] that the input does not keep.
pub fn bundle(input: &Input<'_>, spool: &mut dyn Spool, out: &mut dyn Write) -> Result<Listing, Error> {
    let failed = |source| Error::Write { what: "the bundle", source };
    let mut compressor = Compressor::new(LEVEL).map_err(failed)?;
    let mut index = Index::default();
    let mut known: HashMap<Digest, ChunkId> = HashMap::new();
    let payload = |kind,
                   source: &Source<'_>,
                   index: &mut Index,
                   known: &mut HashMap<_, _>,
                   spool: &mut dyn Spool,
                   compressor: &mut Compressor<'_>| {
        Error::bounded("a payload", source.length, limits::MAX_PAYLOAD)?;
        let mut whole = blake3::Hasher::new();
        input.chunking.cut(source.bytes, source.length, |_, bytes| {
            whole.update(bytes);
            let blake3 = Digest::of(bytes);
            let id = match known.get(&blake3) {
                Some(id) => *id,
                None => {
                    let packed = compressor.compress(bytes).map_err(failed)?;
                    let stored = if packed.len() < bytes.len() { packed.as_slice() } else { bytes };
                    spool.write_all(stored).map_err(failed)?;
                    let id = ChunkId(short(index.chunks.len()));
                    let offset = index.stored();
                    index.chunks.push(Chunk {
                        blake3,
                        length: short(bytes.len()),
                        stored: short(stored.len()),
                        offset,
                    });
                    known.insert(blake3, id);
                    id
                }
            };
            index.sequence_mut(kind).push(id);
            Ok(())
        })?;
        Ok::<_, Error>(Payload {
            kind,
            length: source.length,
            blake3: whole.finalize().into(),
            verity: source.verity,
        })
    };
    let boot = payload(PayloadKind::Boot, &input.boot, &mut index, &mut known, spool, &mut compressor)?;
    let root = payload(PayloadKind::Root, &input.root, &mut index, &mut known, spool, &mut compressor)?;
    let bytes = index.to_bytes();
    let manifest = Manifest {
        format: 1,
        board: input.board.clone(),
        version: input.version,
        built: input.built,
        schema: input.schema,
        chunking: input.chunking,
        index: IndexSection { length: bytes.len() as u64, blake3: Digest::of(&bytes) },
        payloads: [boot, root],
    };
    let first = manifest.to_bytes()?;
    // Read back at once, so that nothing is made that no device would take.
    Index::parse(&bytes, &manifest)?;
    out.write_all(&first).map_err(failed)?;
    out.write_all(&bytes).map_err(failed)?;
    spool.seek(SeekFrom::Start(0)).map_err(failed)?;
    let copied = io::copy(spool, out).map_err(failed)?;
    if copied != index.stored() {
        return Err(Error::malformed("the spool", "it was not empty at first"));
    }
    Ok(Listing {
        board: input.board.clone(),
        version: input.version,
        length: (first.len() + bytes.len()) as u64 + index.stored(),
        manifest_length: first.len() as u64,
        manifest: Digest::of(&first),
        index_length: bytes.len() as u64,
        deltas: Vec::new(),
    })
}

/// Lengths of chunks and numbers of them are far below 2³²; the checks of the head refuse what is not.
fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
