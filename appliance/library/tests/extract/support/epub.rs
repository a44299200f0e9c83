//! Books, packed by hand.

use std::io::{Cursor, Write};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

pub const CONTAINER: &str = r#"<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">
<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"#;

/// A container with these entries.
pub fn container(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let packed = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    zip.start_file("mimetype", stored).unwrap();
    zip.write_all(b"application/epub+zip").unwrap();
    for (name, bytes) in entries {
        zip.start_file(*name, packed).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The package document of a book whose chapters are `c0.xhtml`, `c1.xhtml`, …
pub fn package(title: &str, chapters: usize) -> String {
    let items: String = (0..chapters)
        .map(|n| format!("<item id=\"c{n}\" href=\"c{n}.xhtml\" media-type=\"application/xhtml+xml\"/>"))
        .collect();
    // The spine, not the manifest, gives the order.
    let order: String = (0..chapters).map(|n| format!("<itemref idref=\"c{n}\"/>")).collect();
    format!(
        "<?xml version=\"1.0\"?><package xmlns=\"http://www.idpf.org/2007/opf\" version=\"3.0\"><metadata \
         xmlns:dc=\"http://purl.org/dc/elements/1.1/\"><dc:title>{title}</dc:title><dc:language>en</dc:language></metadata>\
         <manifest><item id=\"nav\" href=\"nav.xhtml\" media-type=\"application/xhtml+xml\" properties=\"nav\"/>{items}</manifest>\
         <spine>{order}</spine></package>"
    )
}

/// A whole book of chapters with title and XHTML.
pub fn book(title: &str, chapters: &[(&str, &str)]) -> Vec<u8> {
    let links: String = chapters
        .iter()
        .enumerate()
        .map(|(n, (title, _))| format!("<li><a href=\"c{n}.xhtml\">{title}</a></li>"))
        .collect();
    let nav =
        format!("<html xmlns:epub=\"x\"><body><nav epub:type=\"toc\"><ol>{links}</ol></nav></body></html>");
    let package = package(title, chapters.len());
    let names: Vec<String> = (0..chapters.len()).map(|n| format!("OEBPS/c{n}.xhtml")).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![
        ("META-INF/container.xml", CONTAINER.as_bytes()),
        ("OEBPS/book.opf", package.as_bytes()),
        ("OEBPS/nav.xhtml", nav.as_bytes()),
    ];
    // Packed in the opposite order.
    entries
        .extend(names.iter().zip(chapters).map(|(name, (_, body))| (name.as_str(), body.as_bytes())).rev());
    container(&entries)
}

/// A chapter of `mebibytes` of the same letter: a thousandth of that when packed.
pub fn bomb(mebibytes: usize) -> Vec<u8> {
    let chapter = "a".repeat(mebibytes << 20);
    book("Bomb", &[("One", &chapter)])
}
