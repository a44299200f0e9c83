//! Models and content packs: whole files, fetched in the background, resumed, verified, and put in place by a rename.
//!
//! What replaces something rests beside it until it has been loaded; putting it there is up to whoever loads it ([`super::packs`]).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use cairn_bundle::ByteRange;
use sha2::{Digest, Sha256};

use super::fetch::{self, FetchError, Transport, Tries};

/// Bytes between two flushes.
const SYNC_EVERY: u64 = 16 << 20;

/// A file that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name in the repository.
    pub target: String,
    /// Its bytes.
    pub length: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

/// Why a file was not put in place.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Bytes did not come. What came is kept.
    #[error("fetching: {0}")]
    Fetch(#[from] FetchError),
    /// What came is not what was signed; it was thrown away.
    #[error("{0} is not what was signed")]
    Differs(String),
    /// The disk.
    #[error("{doing} {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Where lies what has come of a file that belongs to `place`.
#[must_use]
pub fn part(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    place.with_file_name(name)
}

/// Whether `place` holds what is wanted. Reads it whole where its length fits.
///
/// # Errors
/// [`FileError::Io`].
pub fn is(wanted: &Wanted, place: &Path) -> Result<bool, FileError> {
    let failed = |source| FileError::Io { doing: "reading", path: place.to_owned(), source };
    match File::open(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(error)),
        Ok(mut file) => {
            if file.metadata().map_err(failed)?.len() != wanted.length {
                return Ok(false);
            }
            let (hash, _) = hashed(&mut file).map_err(failed)?;
            Ok(hash.finalize().as_slice() == wanted.sha256)
        }
    }
}

/// Fetches `wanted` to `place`; goes on with what an earlier call left in `place` with `.part` behind it. Durable when it returns.
///
/// # Errors
/// [`FileError`].
pub async fn fetch(wanted: &Wanted, transport: &dyn Transport, place: &Path) -> Result<(), FileError> {
    let part = part(place);
    let failed = |doing, source| FileError::Io { doing, path: part.clone(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&part)
        .map_err(|error| failed("opening", error))?;
    let (mut hash, mut at) = tokio::task::block_in_place(|| so_far(&mut file, wanted.length))
        .map_err(|error| failed("reading", error))?;
    let mut tries = Tries::default();
    let mut unsaved = 0;
    while at < wanted.length {
        let before = at;
        let outcome = async {
            let range = ByteRange { start: at, end: wanted.length };
            let mut pieces = transport.open(&wanted.target, range).await?;
            while let Some(piece) = fetch::next(&mut pieces).await? {
                let written = tokio::task::block_in_place(|| {
                    file.write_all(&piece)?;
                    unsaved += piece.len() as u64;
                    if unsaved >= SYNC_EVERY {
                        unsaved = 0;
                        file.sync_data()?;
                    }
                    Ok::<_, io::Error>(())
                });
                written.map_err(|error| FetchError::Refused(format!("it cannot be written: {error}")))?;
                hash.update(&piece);
                at += piece.len() as u64;
            }
            Ok::<(), FetchError>(())
        };
        let outcome = outcome.await;
        tries.after(at > before, outcome).await?;
    }
    if hash.finalize().as_slice() != wanted.sha256 {
        fs::remove_file(&part).map_err(|error| failed("removing", error))?;
        return Err(FileError::Differs(wanted.target.clone()));
    }
    let folder = place.parent().unwrap_or(place);
    tokio::task::block_in_place(|| {
        file.sync_all()?;
        fs::rename(&part, place)?;
        File::open(folder)?.sync_all()
    })
    .map_err(|error| failed("putting in place", error))
}

/// Hashes what is there, and stands behind it; a file that is longer than it should be is begun anew.
fn so_far(file: &mut File, length: u64) -> io::Result<(Sha256, u64)> {
    if file.metadata()?.len() > length {
        file.set_len(0)?;
    }
    hashed(file)
}

/// Hashes a file from its beginning, and counts its bytes.
fn hashed(file: &mut File) -> io::Result<(Sha256, u64)> {
    let (mut hash, mut at) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    file.seek(SeekFrom::Start(0))?;
    loop {
        let count = file.read(&mut buffer)?;
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { return Ok((hash, at)) };
        hash.update(read);
        at += count as u64;
    }
}
