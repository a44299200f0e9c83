//! Manifest and index: whatever comes, with hashes that fit, so that the parsers behind them are reached.

use cairn_bundle::{Digest, Head, InPlace, Index, Listing, LocalChunks, Manifest, Plan};

use super::parts;

/// A manifest, then an index; see [`parts`].
pub fn check(input: &[u8]) {
    let (manifest, index) = parts(input);
    let mut index = index.to_vec();
    let first = [b"CAIRNBU1".as_slice(), &(manifest.len() as u32).to_le_bytes(), manifest].concat();
    let _ = Manifest::parse(&first, &Digest::of(&first));
    // A manifest that fits, so that the index is reached.
    let json = format!(
        r#"{{"format":1,"board":"b","version":"1.0.0","built":0,"chunking":{{"min":1024,"avg":4096,"max":16384}},
        "index":{{"length":{},"blake3":"{}"}},"payloads":[{{"kind":"boot","length":1024,"blake3":"{}"}},
        {{"kind":"root","length":2048,"blake3":"{}"}}]}}"#,
        index.len(),
        Digest::of(&index),
        Digest::of(b""),
        Digest::of(b""),
    );
    let first = [b"CAIRNBU1".as_slice(), &(json.len() as u32).to_le_bytes(), json.as_bytes()].concat();
    let manifest = Manifest::parse(&first, &Digest::of(&first)).expect("it fits");
    if let Ok(parsed) = Index::parse(&index, &manifest) {
        assert_eq!(parsed.to_bytes(), index, "one index has one form");
        let listing = Listing {
            board: manifest.board.clone(),
            version: manifest.version,
            length: (first.len() + index.len()) as u64 + parsed.stored(),
            manifest_length: first.len() as u64,
            manifest: Digest::of(&first),
            index_length: index.len() as u64,
            deltas: Vec::new(),
        };
        let mut bytes = first;
        bytes.append(&mut index);
        let head = Head::parse(&bytes, &listing).expect("both parts fit");
        let plan = Plan::chunks(&head, &LocalChunks::none(), &InPlace::none());
        assert!(plan.fetch_bytes() <= listing.length);
        assert_eq!(plan.write_bytes(), 1024 + 2048);
    }
}
