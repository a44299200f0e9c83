//! The head of a bundle: manifest and index, fetched by one request.

use crate::{Error, Index, Listing, Manifest};

/// Manifest and index of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What it is for.
    pub manifest: Manifest,
    /// What it holds.
    pub index: Index,
    /// Where the first chunk begins in the file, in bytes.
    pub data_offset: u64,
}

impl Head {
    /// Reads the first [`Listing::head_length`] bytes of a bundle.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where they are not what `listing` says, else as [`Manifest::parse`] and [`Index::parse`].
    pub fn parse(bytes: &[u8], listing: &Listing) -> Result<Self, Error> {
        let what = "the bundle's head";
        if bytes.len() as u64 != listing.head_length() {
            return Err(Error::Mismatch { what });
        }
        let split = usize::try_from(listing.manifest_length).ok().filter(|&at| at <= bytes.len());
        let (manifest, index) = bytes.split_at(split.ok_or(Error::Mismatch { what })?);
        let manifest = Manifest::parse(manifest, &listing.manifest)?;
        if manifest.board != listing.board || manifest.version != listing.version {
            return Err(Error::malformed(
                "the manifest",
                "it is of another board or version than its listing",
            ));
        }
        let index = Index::parse(index, &manifest)?;
        let data_offset = listing.head_length();
        if index.stored().checked_add(data_offset) != Some(listing.length) {
            return Err(Error::malformed("the index", "its chunks do not add up to the bundle"));
        }
        Ok(Self { manifest, index, data_offset })
    }
}
