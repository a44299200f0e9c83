//! Header, media types and directory of a ZIM archive.

use super::{
    super::{
        Input, Limit, Limits, Reason,
        output::{Next, Output},
    },
    damaged,
};

/// Size of the header (without a layout page it is the same).
const HEADER_BYTES: usize = 80;
/// Longest list of media types.
const MIME_LIST_BYTES: usize = 64 * 1024;
/// A directory entry is read in one go of this size, and again in the larger when its names are long.
const ENTRY_BYTES: usize = 512;
const LONG_ENTRY_BYTES: usize = 16 * 1024;
/// Fixed part of a directory entry with content.
const ENTRY_HEAD: usize = 16;
/// Pointers that are read in one go.
const POINTERS_AT_ONCE: u64 = 8192;
/// Media type numbers from here on mark redirects, link targets and deleted entries.
const NO_CONTENT: u16 = 0xfffd;

pub(super) struct Directory<'i> {
    pub(super) input: &'i Input,
    entries: u32,
    pub(super) clusters: u32,
    pointers: u64,
    pub(super) cluster_pointers: u64,
    /// Namespace of the articles: `C` since minor version 1, `A` before.
    articles: u8,
    html_types: Vec<bool>,
}

/// A directory entry with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) cluster: u32,
    pub(super) blob: u32,
    /// Where the entry stands, to read its names when they are needed.
    offset: u64,
}

/// What of the archive's metadata is used.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    Title,
    Language,
}

/// What a scan of the directory found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Articles with text, by cluster and place in it.
    pub(super) articles: Vec<Entry>,
    pub(super) metadata: Vec<(Entry, Field)>,
}

pub(super) struct Name {
    pub(super) path: String,
    pub(super) title: String,
}

impl<'i> Directory<'i> {
    pub(super) fn open(input: &'i Input) -> Result<Self, Reason> {
        let header = input.at(0, HEADER_BYTES)?.ok_or_else(|| damaged("its header is cut off"))?;
        let number = |at: usize| u32_at(&header, at).ok_or_else(|| damaged("its header is cut off"));
        let offset = |at: usize| u64_at(&header, at).ok_or_else(|| damaged("its header is cut off"));
        let minor = u16_at(&header, 6).unwrap_or_default();
        let (entries, clusters) = (number(24)?, number(28)?);
        let (pointers, cluster_pointers) = (offset(32)?, offset(48)?);
        let list_fits = |start: u64, count: u32| {
            start
                .checked_add(u64::from(count) * 8)
                .is_some_and(|end| start >= HEADER_BYTES as u64 && end <= input.len())
        };
        if !list_fits(pointers, entries) {
            return Err(damaged("its directory lies outside the file; the upload may have been cut off"));
        }
        if !list_fits(cluster_pointers, clusters) {
            return Err(damaged("its clusters lie outside the file; the upload may have been cut off"));
        }
        let html_types = mime_types(input, offset(56)?)?.iter().map(|name| is_html(name)).collect();
        let articles = if minor >= 1 { b'C' } else { b'A' };
        Ok(Self { input, entries, clusters, pointers, cluster_pointers, articles, html_types })
    }

    /// Looks at every entry once.
    pub(super) fn scan(&self, limits: &Limits, output: &mut Output<'_>) -> Result<Found, Reason> {
        let mut found = Found::default();
        let count = u64::from(self.entries).min(limits.articles);
        if count < u64::from(self.entries) {
            output.leave_out(Limit::Entries(limits.articles));
        }
        let mut index = 0;
        while index < count {
            let batch = (count - index).min(POINTERS_AT_ONCE);
            let bytes = usize::try_from(batch * 8).unwrap_or_default();
            let Some(pointers) = self.input.at(self.pointers + index * 8, bytes)? else {
                return Err(damaged("its directory lies outside the file"));
            };
            for offset in pointers.chunks_exact(8).filter_map(|pointer| u64_at(pointer, 0)) {
                match self.entry(offset)? {
                    Some(Kind::Article(entry)) => found.articles.push(entry),
                    Some(Kind::Metadata(entry, field)) => found.metadata.push((entry, field)),
                    Some(Kind::Other) => {}
                    None => output.damaged_part(),
                }
            }
            index += batch;
            // Only time can run out here, nothing is written yet.
            if output.next() == Next::Stop && output.is_out_of_time() {
                break;
            }
        }
        found.articles.sort_unstable();
        found.articles.dedup_by_key(|entry| (entry.cluster, entry.blob));
        Ok(found)
    }

    /// The entry at `offset`; `None` when it is damaged.
    fn entry(&self, offset: u64) -> Result<Option<Kind>, Reason> {
        let Some(bytes) = self.entry_bytes(offset, ENTRY_BYTES)? else { return Ok(None) };
        let (Some(mime), Some(namespace)) = (u16_at(&bytes, 0), bytes.get(3)) else { return Ok(None) };
        if mime >= NO_CONTENT {
            return Ok(Some(Kind::Other));
        }
        let (Some(cluster), Some(blob)) = (u32_at(&bytes, 8), u32_at(&bytes, 12)) else { return Ok(None) };
        let entry = Entry { cluster, blob, offset };
        if *namespace == b'M' {
            let names = bytes.get(ENTRY_HEAD..).unwrap_or_default();
            return Ok(Some(match names.split(|byte| *byte == 0).next() {
                Some(b"Title") => Kind::Metadata(entry, Field::Title),
                Some(b"Language") => Kind::Metadata(entry, Field::Language),
                _ => Kind::Other,
            }));
        }
        let html = self.html_types.get(usize::from(mime)).copied();
        if *namespace != self.articles || html == Some(false) {
            return Ok(Some(Kind::Other));
        }
        Ok((html.is_some() && cluster < self.clusters).then_some(Kind::Article(entry)))
    }

    /// Path and title of an entry; `None` when it is damaged.
    pub(super) fn name(&self, entry: &Entry) -> Result<Option<Name>, Reason> {
        for length in [ENTRY_BYTES, LONG_ENTRY_BYTES] {
            let Some(bytes) = self.entry_bytes(entry.offset, length)? else { return Ok(None) };
            let mut names = bytes.get(ENTRY_HEAD..).unwrap_or_default().split(|byte| *byte == 0);
            // Three parts: the second is closed by a zero too.
            if let (Some(path), Some(title), Some(_)) = (names.next(), names.next(), names.next()) {
                let path = String::from_utf8_lossy(path).into_owned();
                let title =
                    if title.is_empty() { path.clone() } else { String::from_utf8_lossy(title).into_owned() };
                return Ok(Some(Name { path: format!("{}/{path}", char::from(self.articles)), title }));
            }
        }
        Ok(None)
    }

    /// Up to `length` bytes at `offset`.
    fn entry_bytes(&self, offset: u64, length: usize) -> Result<Option<std::borrow::Cow<'i, [u8]>>, Reason> {
        let there = usize::try_from(self.input.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        self.input.at(offset, there.min(length))
    }
}

enum Kind {
    Article(Entry),
    Metadata(Entry, Field),
    Other,
}

/// Names behind each other, each closed by a zero, the list by an empty one.
fn mime_types(input: &Input, offset: u64) -> Result<Vec<String>, Reason> {
    let there = usize::try_from(input.len().saturating_sub(offset)).unwrap_or(usize::MAX);
    let bytes = input.at(offset, there.min(MIME_LIST_BYTES))?.unwrap_or_default();
    let names: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .take_while(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    if names.is_empty() { Err(damaged("its list of media types is not there")) } else { Ok(names) }
}

fn is_html(name: &str) -> bool {
    let name = name.split(';').next().unwrap_or_default().trim();
    name.eq_ignore_ascii_case("text/html") || name.eq_ignore_ascii_case("application/xhtml+xml")
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}
