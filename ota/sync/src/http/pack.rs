//! Bodies that are packed: CBOR (RFC 8949), compressed with zstd (RFC 8878) where that makes them smaller.
//!
//! CBOR and not JSON because identities are 16 bytes instead of 38; see the figures in `docs/SYNCHRONISATION.md`. Reading is bounded
//! in bytes before anything is decoded, and in memory by the window that zstd may ask for.

use std::io::Read;

use serde::{Serialize, de::DeserializeOwned};

use super::{MAX_FRAME, ZSTD};
use crate::wire::MAX_BYTES;

/// What is smaller than this is not compressed, in bytes.
pub const WORTH_COMPRESSING: usize = 256;
/// zstd's level: what a Pi does faster than its network sends.
const LEVEL: i32 = 3;
/// The largest window that a frame may ask for, as a power of two.
const WINDOW_LOG: u32 = 24;
/// Length of the prefix of a frame, in bytes.
pub const FRAME_PREFIX: usize = 4;

/// A body and the value of its `Content-Encoding`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// [`ZSTD`] or nothing.
    pub encoding: Option<&'static str>,
}

/// A body that cannot be packed or read.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Larger than allowed.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    /// Not zstd, or cut off.
    #[error("cannot be decompressed: {0}")]
    Compression(#[source] std::io::Error),
    /// An encoding that nobody agreed on.
    #[error("unknown encoding {0:?}")]
    Encoding(String),
    /// Not what it has to be.
    #[error("cannot be read: {0}")]
    Form(String),
}

/// Packs a body.
///
/// # Errors
/// [`PackError::TooLarge`] beyond [`MAX_BYTES`] uncompressed.
pub fn pack(body: &impl Serialize) -> Result<Packed, PackError> {
    let mut plain = Vec::new();
    ciborium::into_writer(body, &mut plain).map_err(|error| PackError::Form(error.to_string()))?;
    if plain.len() > MAX_BYTES {
        return Err(PackError::TooLarge(MAX_BYTES));
    }
    if plain.len() < WORTH_COMPRESSING {
        return Ok(Packed { bytes: plain, encoding: None });
    }
    let bytes = compress(&plain)?;
    if bytes.len() < plain.len() {
        Ok(Packed { bytes, encoding: Some(ZSTD) })
    } else {
        Ok(Packed { bytes: plain, encoding: None })
    }
}

/// Reads a body; `encoding` is the value of its `Content-Encoding`.
///
/// # Errors
/// [`PackError`].
pub fn unpack<T: DeserializeOwned>(bytes: &[u8], encoding: Option<&str>) -> Result<T, PackError> {
    match encoding {
        None | Some("identity") if bytes.len() > MAX_BYTES => Err(PackError::TooLarge(MAX_BYTES)),
        None | Some("identity") => decode(bytes),
        Some(ZSTD) => decode(&decompress(bytes)?),
        Some(other) => Err(PackError::Encoding(other.chars().take(32).collect())),
    }
}

/// A frame of a stream: the length of what follows in 4 bytes big endian, then CBOR compressed with zstd.
///
/// # Errors
/// [`PackError::TooLarge`] beyond [`MAX_FRAME`].
pub fn frame(body: &impl Serialize) -> Result<Vec<u8>, PackError> {
    let mut plain = Vec::new();
    ciborium::into_writer(body, &mut plain).map_err(|error| PackError::Form(error.to_string()))?;
    if plain.len() > MAX_BYTES {
        return Err(PackError::TooLarge(MAX_BYTES));
    }
    let compressed = compress(&plain)?;
    let length = u32::try_from(compressed.len()).map_err(|_| PackError::TooLarge(MAX_FRAME))?;
    let mut bytes = Vec::with_capacity(FRAME_PREFIX + compressed.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&compressed);
    Ok(bytes)
}

/// The length of the frame that begins with these bytes, its prefix included.
///
/// # Errors
/// [`PackError::TooLarge`] beyond [`MAX_FRAME`]: read no further.
pub fn frame_length(prefix: [u8; FRAME_PREFIX]) -> Result<usize, PackError> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length > MAX_FRAME { Err(PackError::TooLarge(MAX_FRAME)) } else { Ok(FRAME_PREFIX + length) }
}

/// Reads a whole frame, its prefix included.
///
/// # Errors
/// [`PackError`].
pub fn unframe<T: DeserializeOwned>(frame: &[u8]) -> Result<T, PackError> {
    let Some((prefix, compressed)) = frame.split_first_chunk::<FRAME_PREFIX>() else {
        return Err(PackError::Form("no frame".to_owned()));
    };
    if frame_length(*prefix)? != frame.len() {
        return Err(PackError::Form("a frame of another length".to_owned()));
    }
    decode(&decompress(compressed)?)
}

fn compress(plain: &[u8]) -> Result<Vec<u8>, PackError> {
    zstd::bulk::compress(plain, LEVEL).map_err(PackError::Compression)
}

fn decompress(bytes: &[u8]) -> Result<Vec<u8>, PackError> {
    if bytes.len() > MAX_BYTES {
        return Err(PackError::TooLarge(MAX_BYTES));
    }
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(bytes).map_err(PackError::Compression)?.single_frame();
    decoder.window_log_max(WINDOW_LOG).map_err(PackError::Compression)?;
    let mut plain = Vec::new();
    let read = decoder
        .by_ref()
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(PackError::Compression)?;
    if read > MAX_BYTES { Err(PackError::TooLarge(MAX_BYTES)) } else { Ok(plain) }
}

/// Deepest nesting of a body: a value's own limit and what lies around it.
const MAX_DEPTH: usize = 64;

fn decode<T: DeserializeOwned>(plain: &[u8]) -> Result<T, PackError> {
    let mut rest = plain;
    let body = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH)
        .map_err(|error| PackError::Form(error.to_string()))?;
    if rest.is_empty() { Ok(body) } else { Err(PackError::Form("something follows it".to_owned())) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        ChangeId, Hlc, HubId, Kind, RecordId, Value,
        change::{Action, Base, Change, Edit, FieldEdit, Seen},
        wire::{Cursor, Request, RequestId, ScopeId},
    };

    fn request(changes: usize) -> Request {
        let hub = HubId::new();
        let edit = |value| FieldEdit { edit: Edit::Set(value), base: Base::Version(0) };
        let change = |n: usize| Change {
            id: ChangeId::new(),
            record: RecordId::new(),
            kind: Kind::Assessment,
            project: Some(RecordId::new()),
            by: Some(RecordId::new()),
            hlc: Hlc::at(1_700_000_000_000 + n as u64, hub),
            seen: Seen::default(),
            settles: std::collections::BTreeSet::new(),
            action: Action::Put(BTreeMap::from([
                ("title".to_owned(), edit(Value::from(format!("Well number {n}")))),
                (
                    "questions".to_owned(),
                    edit(Value::Json(serde_json::json!(["a", "b", { "c": n, "d": 1.5 }]))),
                ),
                (
                    "responses".to_owned(),
                    FieldEdit { edit: Edit::Add(1), base: Base::Change(ChangeId::new()) },
                ),
            ])),
        };
        Request {
            protocol: 1,
            hub,
            request: RequestId::from_random([3; 16]),
            ticket: u64::MAX,
            changes: (0..changes).map(change).collect(),
            cursors: BTreeMap::from([
                (ScopeId::Community, Cursor { version: 9, horizon: 0 }),
                (ScopeId::Project(RecordId::new()), Cursor::default()),
            ]),
            floor: 0,
            limit: 100,
        }
    }

    #[test]
    fn a_round_survives_packing() {
        for changes in [0, 1, 200] {
            let request = request(changes);
            let packed = pack(&request).unwrap();
            assert_eq!(packed.encoding.is_some(), changes > 0);
            assert_eq!(unpack::<Request>(&packed.bytes, packed.encoding).unwrap(), request);
            assert_eq!(unframe::<Request>(&frame(&request).unwrap()).unwrap(), request);
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_unfolds() {
        let bomb = zstd::bulk::compress(&vec![0; MAX_BYTES + 1], 3).unwrap();
        assert!(bomb.len() < 10_000);
        assert!(matches!(unpack::<Request>(&bomb, Some(ZSTD)), Err(PackError::TooLarge(_))));
        assert!(frame_length([0xff; 4]).is_err());
        // Claims of length inside CBOR buy no memory.
        let claim = [0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(unpack::<Vec<u64>>(&claim, None), Err(PackError::Form(_))));
        let deep = vec![0x81; 10_000];
        assert!(matches!(unpack::<serde_json::Value>(&deep, None), Err(PackError::Form(_))));
    }

    #[test]
    fn what_is_cut_or_continued_is_refused() {
        let packed = pack(&request(20)).unwrap();
        let cut = packed.bytes.get(..packed.bytes.len() - 3).unwrap();
        assert!(unpack::<Request>(cut, packed.encoding).is_err());
        let small = pack(&request(0)).unwrap();
        let mut more = small.bytes.clone();
        more.push(0);
        assert!(unpack::<Request>(&more, None).is_err());
        assert!(matches!(unpack::<Request>(&small.bytes, Some("br")), Err(PackError::Encoding(_))));
    }
}
