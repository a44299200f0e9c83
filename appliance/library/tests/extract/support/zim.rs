//! ZIM archives, written by hand where the real writer would refuse.

use std::io::Write;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Xz,
    Zstd,
}

/// Places in the header that tests change.
pub const ENTRY_COUNT: usize = 24;
pub const CLUSTER_COUNT: usize = 28;
pub const PATH_POINTERS: usize = 32;
pub const CLUSTER_POINTERS: usize = 48;
pub const MIME_LIST: usize = 56;
const HEADER: usize = 80;

/// An archive of HTML articles, by title, in one cluster, in the new namespace.
pub fn archive(compression: Compression, articles: &[(&str, &str)]) -> Vec<u8> {
    build(compression, articles, 1, 'C')
}

/// The same with the old namespace.
pub fn old_archive(compression: Compression, articles: &[(&str, &str)]) -> Vec<u8> {
    build(compression, articles, 0, 'A')
}

fn build(compression: Compression, articles: &[(&str, &str)], minor: u16, namespace: char) -> Vec<u8> {
    let mut file = vec![0; HEADER];
    let mime_list = file.len();
    file.extend_from_slice(b"text/html\0text/plain\0\0");
    let mut entries = Vec::new();
    let mut entry =
        |mime: u16, namespace: char, target: &[u8], path: &str, title: &str, file: &mut Vec<u8>| {
            entries.push(file.len() as u64);
            file.extend_from_slice(&mime.to_le_bytes());
            file.push(0);
            file.push(namespace as u8);
            file.extend_from_slice(&0_u32.to_le_bytes());
            file.extend_from_slice(target);
            file.extend_from_slice(format!("{path}\0{title}\0").as_bytes());
        };
    for (n, (title, _)) in articles.iter().enumerate() {
        let target = [0_u32.to_le_bytes(), (n as u32).to_le_bytes()].concat();
        entry(0, namespace, &target, &format!("page_{n}"), title, &mut file);
    }
    let title = [0_u32.to_le_bytes(), (articles.len() as u32).to_le_bytes()].concat();
    entry(1, 'M', &title, "Title", "", &mut file);
    // Two redirects that point at each other.
    let count = articles.len() as u32;
    entry(0xffff, namespace, &(count + 2).to_le_bytes(), "round", "Round", &mut file);
    entry(0xffff, namespace, &(count + 1).to_le_bytes(), "about", "About", &mut file);
    let pointers = file.len();
    for offset in &entries {
        file.extend_from_slice(&offset.to_le_bytes());
    }
    let clusters = file.len();
    file.extend_from_slice(&(clusters as u64 + 8).to_le_bytes());
    let blobs: Vec<&[u8]> =
        articles.iter().map(|(_, html)| html.as_bytes()).chain([&b"The archive"[..]]).collect();
    let mut content = Vec::new();
    let mut offset = (blobs.len() as u32 + 1) * 4;
    for blob in &blobs {
        content.extend_from_slice(&offset.to_le_bytes());
        offset += blob.len() as u32;
    }
    content.extend_from_slice(&offset.to_le_bytes());
    content.extend(blobs.concat());
    let (kind, packed) = match compression {
        Compression::None => (1, content),
        Compression::Xz => {
            let mut writer =
                lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
            writer.write_all(&content).unwrap();
            (4, writer.finish().unwrap())
        }
        Compression::Zstd => (5, zstd::encode_all(&content[..], 3).unwrap()),
    };
    file.push(kind);
    file.extend(packed);
    let checksum = file.len();
    file.extend_from_slice(&[0; 16]);
    put(&mut file, 0, b"ZIM\x04");
    put(&mut file, 4, &6_u16.to_le_bytes());
    put(&mut file, 6, &minor.to_le_bytes());
    put(&mut file, ENTRY_COUNT, &(entries.len() as u32).to_le_bytes());
    put(&mut file, CLUSTER_COUNT, &1_u32.to_le_bytes());
    put(&mut file, PATH_POINTERS, &(pointers as u64).to_le_bytes());
    put(&mut file, 40, &(pointers as u64).to_le_bytes());
    put(&mut file, CLUSTER_POINTERS, &(clusters as u64).to_le_bytes());
    put(&mut file, MIME_LIST, &(mime_list as u64).to_le_bytes());
    put(&mut file, 64, &[0xff; 8]);
    put(&mut file, 72, &(checksum as u64).to_le_bytes());
    file
}

pub fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}
