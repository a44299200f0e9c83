//! Making a static delta: what the old version lacks, in pieces, each against what it resembles in the old version.

use std::io::Write;

use zstd::zstd_safe::{CCtx, CParameter, compress_bound, get_error_name};

use super::{LEVEL, Source, short, similar::Similar};
use crate::{
    ChunkId, DeltaListing, Digest, Error, Head, InPlace, LocalChunks, PayloadKind, Place, Plan, Version,
    delta::MAGIC, limits, patch::Method,
};

/// Aimed-at bytes that one patch gives. A device that loses its power fetches the patch it was at again, so that smaller
/// ones waste less; larger ones compress better.
const PIECE: u64 = 1024 * 1024;
/// Bytes of the old version that one patch may refer to.
const REFERENCES: u64 = 8 * 1024 * 1024;
/// Binary logarithm of the window: the references and the piece fit into it.
const WINDOW_LOG: u32 = 24;

/// The version that a delta starts from.
#[derive(Clone, Copy)]
pub struct Old<'a> {
    /// Its version.
    pub version: Version,
    /// BLAKE3 of its manifest.
    pub manifest: Digest,
    /// Its boot partition.
    pub boot: Source<'a>,
    /// Its root partition.
    pub root: Source<'a>,
}

/// A delta and how to list it.
#[derive(Debug)]
pub struct Delta {
    /// For the signed metadata.
    pub listing: DeltaListing,
    /// How many patches it holds.
    pub patches: usize,
}

struct Patch {
    method: Method,
    chunks: Vec<ChunkId>,
    references: Vec<Place>,
    stored: Vec<u8>,
}

/// Writes a delta from `old` to the bundle of `head` (whose manifest has the hash `manifest`) to `out`. `target` is the name
/// that it gets in the repository.
///
/// # Errors
/// [`Error::Read`], [`Error::Write`], or a limit of [`limits`] that the result does not keep.
pub fn delta(
    old: &Old<'_>,
    head: &Head,
    manifest: Digest,
    new: [Source<'_>; 2],
    target: String,
    out: &mut dyn Write,
) -> Result<Delta, Error> {
    let mut local = LocalChunks::none();
    let mut similar = Similar::new(old.boot.length + old.root.length);
    for (kind, source) in PayloadKind::ALL.into_iter().zip([&old.boot, &old.root]) {
        local.scan(kind, source.bytes, source.length, head.manifest.chunking)?;
        similar.add(kind, source.bytes, source.length)?;
    }
    let plan = Plan::chunks(head, &local, &InPlace::none());
    let mut patches: Vec<Patch> = Vec::new();
    let (mut chunks, mut bytes) = (Vec::new(), Vec::new());
    for step in plan.steps() {
        if !matches!(step.origin, crate::Origin::Fetched(_)) {
            continue;
        }
        let length = step.place.length as usize;
        if !chunks.is_empty() && (bytes.len() + length) as u64 > PIECE {
            patches.push(patch(old, &similar, std::mem::take(&mut chunks), &bytes)?);
            bytes.clear();
        }
        let [boot, root] = new;
        let source = if step.place.kind == PayloadKind::Boot { boot } else { root };
        let start = bytes.len();
        bytes.resize(start + length, 0);
        if let Some(part) = bytes.get_mut(start..) {
            let read = source.bytes.read_exact_at(step.place.offset, part);
            read.map_err(|source| Error::Read { what: "the new version", source })?;
            if head.index.chunk(step.chunk).is_none_or(|chunk| Digest::of(part) != chunk.blake3) {
                return Err(Error::Mismatch { what: "the new version's image" });
            }
        }
        chunks.push(step.chunk);
    }
    if !chunks.is_empty() {
        patches.push(patch(old, &similar, chunks, &bytes)?);
    }
    let first = first_bytes(old, manifest, &patches);
    Error::bounded("the delta's head", first.len() as u64, limits::MAX_DELTA_HEAD)?;
    let failed = |source| Error::Write { what: "the delta", source };
    out.write_all(&first).map_err(failed)?;
    patches.iter().try_for_each(|patch| out.write_all(&patch.stored)).map_err(failed)?;
    let listing = DeltaListing {
        from: old.version,
        from_manifest: old.manifest,
        target,
        length: first.len() as u64 + patches.iter().map(|patch| patch.stored.len() as u64).sum::<u64>(),
        head_length: first.len() as u64,
        head: Digest::of(&first),
    };
    Ok(Delta { listing, patches: patches.len() })
}

/// One patch: against what it resembles, or on its own where that is smaller.
fn patch(old: &Old<'_>, similar: &Similar, chunks: Vec<ChunkId>, bytes: &[u8]) -> Result<Patch, Error> {
    let places = similar.to(bytes, REFERENCES);
    let mut prefix = vec![0; places.iter().map(|place| place.length as usize).sum()];
    let mut rest = prefix.as_mut_slice();
    for place in &places {
        let Some((part, behind)) = rest.split_at_mut_checked(place.length as usize) else { break };
        let source = if place.kind == PayloadKind::Boot { old.boot } else { old.root };
        let read = source.bytes.read_exact_at(place.offset, part);
        read.map_err(|source| Error::Read { what: "the old version", source })?;
        rest = behind;
    }
    let alone = compress(&[], bytes)?;
    let against = if prefix.is_empty() { None } else { Some(compress(&prefix, bytes)?) };
    let (method, references, stored) = match against {
        Some(against) if against.len() < alone.len() && against.len() < bytes.len() => {
            (Method::Zstd, places, against)
        }
        _ if alone.len() < bytes.len() => (Method::Zstd, Vec::new(), alone),
        _ => (Method::Plain, Vec::new(), bytes.to_vec()),
    };
    Ok(Patch { method, chunks, references, stored })
}

fn compress(prefix: &[u8], bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let failed = |code| Error::Write { what: "a patch", source: std::io::Error::other(get_error_name(code)) };
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(LEVEL)).map_err(failed)?;
    context.set_parameter(CParameter::WindowLog(WINDOW_LOG)).map_err(failed)?;
    context.set_parameter(CParameter::EnableLongDistanceMatching(true)).map_err(failed)?;
    if !prefix.is_empty() {
        context.ref_prefix(prefix).map_err(failed)?;
    }
    let mut stored = Vec::with_capacity(compress_bound(bytes.len()));
    context.compress2(&mut stored, bytes).map_err(failed)?;
    Ok(stored)
}

fn first_bytes(old: &Old<'_>, manifest: Digest, patches: &[Patch]) -> Vec<u8> {
    let mut first = MAGIC.to_vec();
    first.extend_from_slice(old.manifest.as_bytes());
    first.extend_from_slice(manifest.as_bytes());
    let number = |first: &mut Vec<u8>, number: u32| first.extend_from_slice(&number.to_le_bytes());
    number(&mut first, short(patches.len()));
    for patch in patches {
        first.push(patch.method.number());
        number(&mut first, short(patch.stored.len()));
        number(&mut first, short(patch.chunks.len()));
        patch.chunks.iter().for_each(|id| number(&mut first, id.0));
        number(&mut first, short(patch.references.len()));
        for place in &patch.references {
            first.push(u8::from(place.kind == PayloadKind::Root));
            first.extend_from_slice(&place.offset.to_le_bytes());
            number(&mut first, place.length);
        }
    }
    first
}
