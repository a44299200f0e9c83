//! Instructions that conversations begin with again and again, on disk: the first question after a restart starts as fast as
//! the last one before it.
//!
//! A file holds the tokens and their keys and values. It is read only for the very model file and kernel layout that it was
//! written with, and only when its checksum is right; anything else is removed. Written rarely, because cards wear: a beginning
//! must have been used again, and be longer than what is there already.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{
    loaded::Loaded,
    model::{Cache, Config},
};

const MAGIC: [u8; 8] = *b"cairnkv2";
/// All files together, bytes; the ones that were used least lately go first.
const MAX_BYTES: u64 = 256 << 20;
const MAX_FILES: usize = 32;
const EXTENSION: &str = "prefix";

/// The folder of kept beginnings.
pub(super) struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Writes the first `length` tokens of a cache. After a power cut the file is there whole or not at all.
    pub(super) fn save(&self, loaded: &Loaded, cache: &Cache, length: usize) -> io::Result<()> {
        let tokens = cache.tokens().get(..length).unwrap_or(cache.tokens());
        let path = self.folder.join(name(loaded, tokens));
        if path.exists() {
            return Ok(());
        }
        let temporary = path.with_extension("part");
        let mut out = Summed { inner: BufWriter::new(File::create(&temporary)?), sum: blake3::Hasher::new() };
        out.write_all(&MAGIC)?;
        out.write_all(&loaded.fingerprint)?;
        out.write_all(&u32::try_from(tokens.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        tokens.iter().try_for_each(|token| out.write_all(&token.to_le_bytes()))?;
        cache.save(tokens.len(), &mut out)?;
        let sum = *out.sum.finalize().as_bytes();
        out.inner.write_all(&sum)?;
        out.inner.flush()?;
        out.inner.get_ref().sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&self.folder)?.sync_all()?;
        self.make_room()
    }

    /// The kept beginnings of a model, the latest last, as many as take `most` bytes. Damaged and foreign files are removed.
    pub(super) fn load(&self, loaded: &Loaded, context: usize, mut most: u64) -> Vec<Cache> {
        let mut caches = Vec::new();
        for (path, bytes, _) in self.files().into_iter().rev() {
            if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix(loaded))) {
                continue;
            }
            if bytes > most {
                break;
            }
            match read(&path, bytes, loaded, context) {
                Ok(cache) => {
                    most -= bytes;
                    caches.push(cache);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a kept beginning cannot be used and is removed");
                    remove(&path);
                }
            }
        }
        caches.reverse();
        caches
    }

    /// Files by time, the oldest first; half-written ones are removed.
    fn files(&self) -> Vec<(PathBuf, u64, SystemTime)> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten().take(4 * MAX_FILES) {
            let path = entry.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(EXTENSION) => {
                    if let Ok(metadata) = entry.metadata() {
                        files.push((
                            path,
                            metadata.len(),
                            metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                        ));
                    }
                }
                Some("part") => remove(&path),
                _ => {}
            }
        }
        files.sort_by_key(|(_, _, time)| *time);
        files
    }

    fn make_room(&self) -> io::Result<()> {
        let files = self.files();
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        let mut count = files.len();
        for (path, size, _) in files {
            if bytes <= MAX_BYTES && count <= MAX_FILES {
                break;
            }
            fs::remove_file(path)?;
            bytes -= size;
            count -= 1;
        }
        Ok(())
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "a file cannot be removed");
    }
}

fn prefix(loaded: &Loaded) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    hex(loaded.fingerprint.get(..8).unwrap_or_default())
}

fn name(loaded: &Loaded, tokens: &[u32]) -> String {
    let mut hash = blake3::Hasher::new();
    tokens.iter().for_each(|token| {
        hash.update(&token.to_le_bytes());
    });
    let hash = hash.finalize().to_hex();
    format!("{}-{}.{EXTENSION}", prefix(loaded), hash.get(..16).unwrap_or_default())
}

fn read(path: &Path, bytes: u64, loaded: &Loaded, context: usize) -> io::Result<Cache> {
    let config: &Config = &loaded.model.config;
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut file = Summed { inner: BufReader::new(File::open(path)?), sum: blake3::Hasher::new() };
    let mut head = [0; MAGIC.len() + 32 + 4];
    file.read_exact(&mut head)?;
    let (magic, rest) = head.split_at(MAGIC.len());
    let (fingerprint, count) = rest.split_at(32);
    let count = count.try_into().map_or(0, u32::from_le_bytes) as usize;
    if magic != MAGIC || fingerprint != loaded.fingerprint {
        return Err(bad("it was made for another model"));
    }
    // The size says how many tokens there can be before memory is taken for them.
    let expected = (head.len() + 4 * count + 32) as u64 + Cache::bytes_of(config, count);
    if count == 0 || count > context.min(config.context) || expected != bytes {
        return Err(bad("its length is wrong"));
    }
    let mut tokens = Vec::with_capacity(count);
    for _ in 0..count {
        let mut token = [0; 4];
        file.read_exact(&mut token)?;
        tokens.push(u32::from_le_bytes(token));
    }
    let cache = Cache::read(config, &tokens, &mut file)?;
    let found = *file.sum.finalize().as_bytes();
    let mut sum = [0; 32];
    file.inner.read_exact(&mut sum)?;
    if found == sum { Ok(cache) } else { Err(bad("its checksum is wrong")) }
}

/// Sums up what passes through.
struct Summed<T> {
    inner: T,
    sum: blake3::Hasher,
}

impl<T: Write> Write for Summed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.sum.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Summed<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.sum.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }
}
