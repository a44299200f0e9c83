//! EPUB 2 and 3: chapters in the order of the spine, with the titles of the table of contents.
//!
//! Only the documents that are read are unpacked, one at a time; nothing is written anywhere, so names that point out of
//! the archive point nowhere.

mod archive;
mod package;

use super::{
    Format, Limits, Location, Reason, encoding, html,
    output::{Next, Output},
};
use archive::{Archive, Missing};
use package::Package;

pub(super) fn read(bytes: &[u8], limits: &Limits, output: &mut Output<'_>) -> Result<(), Reason> {
    let mut archive = Archive::open(bytes, limits)?;
    let package_path = match archive.text("META-INF/container.xml") {
        Ok(container) => package::root_file(&container)?,
        Err(Missing::Part) => None,
        Err(Missing::Refused(reason)) => return Err(reason),
    };
    let package_path = package_path
        .or_else(|| archive.first_with_extension("opf"))
        .ok_or_else(|| Reason::damaged(Format::Epub, "it has no package document"))?;
    let package = archive.text(&package_path).map_err(|missing| match missing {
        Missing::Part => Reason::damaged(Format::Epub, "its package document cannot be read"),
        Missing::Refused(reason) => reason,
    })?;
    let package = Package::parse(&package, &package_path)?;
    if let Some(title) = &package.title {
        output.title(title);
    }
    if let Some(language) = &package.language {
        output.declared_language(language);
    }
    let locked = match archive.text("META-INF/encryption.xml") {
        Ok(encryption) => package::encrypted_paths(&encryption)?,
        Err(Missing::Part) => Vec::new(),
        Err(Missing::Refused(reason)) => return Err(reason),
    };
    if package.spine.iter().any(|path| locked.contains(path)) {
        return Err(Reason::Encrypted);
    }
    let titles = match package.contents.as_deref().map(|path| (path, archive.text(path))) {
        Some((path, Ok(contents))) => package::titles(&contents, path)?,
        Some((_, Err(Missing::Refused(reason)))) => return Err(reason),
        Some((_, Err(Missing::Part))) | None => Default::default(),
    };
    let mut chapter = None;
    for path in &package.spine {
        if output.next() == Next::Stop {
            return Ok(());
        }
        // A chapter that is cut into several files is named at its first.
        chapter = titles.get(path).cloned().or(chapter);
        let place = Location { page: None, anchor: Some(path.clone()), chapter: chapter.clone() };
        match archive.bytes(path) {
            Ok(bytes) => {
                let decoded = encoding::decode(&bytes, None);
                if decoded.replaced {
                    output.replaced();
                }
                html::read_part(&decoded.text, &place, output)?;
            }
            Err(Missing::Part) => output.damaged_part(),
            Err(Missing::Refused(reason)) => return Err(reason),
        }
    }
    Ok(())
}
