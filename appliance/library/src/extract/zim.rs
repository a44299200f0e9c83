//! ZIM archives (openZIM file format, versions 5 and 6, with old and new namespaces): the text articles, cluster by
//! cluster.
//!
//! The archive is read by position and never as a whole. Every offset and count in it is checked before it is used.
//! Redirects are not followed: they name articles that stand in the archive under their own name anyway, so a
//! cycle of them has nothing to go round.

mod cluster;
mod directory;

use super::{
    BlockKind, Format, Input, Limit, Limits, Location, Reason, encoding, html,
    output::{Next, Output},
};
use directory::{Directory, Entry};

pub(super) fn read(input: &Input, limits: &Limits, output: &mut Output<'_>) -> Result<(), Reason> {
    let directory = Directory::open(input)?;
    let found = directory.scan(limits, output)?;
    let mut unpacked = 0;
    for (entry, field) in &found.metadata {
        let mut value = None;
        cluster::blobs(&directory, std::slice::from_ref(entry), &mut unpacked, limits, &mut |_, bytes| {
            value = Some(encoding::decode(&bytes, None).text);
            Ok(Next::Continue)
        })?;
        if let Some(value) = value {
            match field {
                directory::Field::Title => output.title(&value),
                directory::Field::Language => {
                    output.declared_language(value.split(',').next().unwrap_or_default())
                }
            }
        }
    }
    let mut rest = found.articles.as_slice();
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|entry| entry.cluster == first.cluster).count();
        let (of_cluster, after) = rest.split_at(count);
        rest = after;
        if unpacked >= limits.unpacked_bytes {
            output.leave_out(Limit::UnpackedBytes(limits.unpacked_bytes));
            return Ok(());
        }
        if output.next() == Next::Stop {
            return Ok(());
        }
        let mut read = 0;
        cluster::blobs(&directory, of_cluster, &mut unpacked, limits, &mut |entry, bytes| {
            read += 1;
            article(&directory, entry, &bytes, output)
        })?;
        if output.next() == Next::Continue {
            for _ in read..of_cluster.len() {
                output.damaged_part();
            }
        }
    }
    Ok(())
}

fn article(
    directory: &Directory<'_>,
    entry: &Entry,
    bytes: &[u8],
    output: &mut Output<'_>,
) -> Result<Next, Reason> {
    let Some(name) = directory.name(entry)? else {
        output.damaged_part();
        return Ok(Next::Continue);
    };
    let decoded = encoding::decode(bytes, None);
    if decoded.replaced {
        output.replaced();
    }
    let place = Location { page: None, anchor: Some(name.path), chapter: Some(name.title.clone()) };
    if output.push(BlockKind::Heading(1), &name.title, &place)? == Next::Stop {
        return Ok(Next::Stop);
    }
    html::read_article(&decoded.text, &name.title, &place, output)
}

fn damaged(detail: &str) -> Reason {
    Reason::damaged(Format::Zim, detail)
}
