//! The head of a delta, and the patches behind it: nothing that comes out is wrong.

use std::{io::Cursor, sync::OnceLock};

use cairn_bundle::{
    Assembler, Chunking, Delta, DeltaListing, Digest, Head, InPlace, Listing, LocalChunks, PayloadKind, Plan,
    ReadAt, Sources,
    write::{self, Input, Source},
};

use super::parts;

struct Slots(Vec<u8>);

impl Sources for Slots {
    fn active(&self, _: PayloadKind) -> &dyn ReadAt {
        &self.0
    }
    fn target(&self, _: PayloadKind) -> &dyn ReadAt {
        &self.0
    }
}

fn bundle() -> &'static (Head, Listing, Vec<u8>) {
    static BUNDLE: OnceLock<(Head, Listing, Vec<u8>)> = OnceLock::new();
    BUNDLE.get_or_init(|| {
        let payload: Vec<u8> = (0..20_000_u32).map(|at| ((at * at) >> 7) as u8).collect();
        let source = Source { bytes: &payload, length: payload.len() as u64, verity: None };
        let input = Input {
            board: "b".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            built: 0,
            schema: None,
            chunking: Chunking { min: 1024, avg: 4096, max: 16 * 1024 },
            boot: source,
            root: source,
        };
        let mut bytes = Vec::new();
        let listing = write::bundle(&input, &mut Cursor::new(Vec::new()), &mut bytes).unwrap();
        let head = Head::parse(&bytes[..listing.head_length() as usize], &listing).unwrap();
        (head, listing, payload)
    })
}

/// The head behind its hashes, then the patches; see [`parts`].
pub fn check(input: &[u8]) {
    let (head, listing, payload) = bundle();
    let (rest, patches) = parts(input);
    let old = Digest::of(b"old");
    let first = [b"CAIRNDL1".as_slice(), old.as_bytes(), listing.manifest.as_bytes(), rest].concat();
    let delta = DeltaListing {
        from: "0.9.0".parse().unwrap(),
        from_manifest: old,
        target: String::new(),
        length: (first.len() + patches.len()) as u64,
        head_length: first.len() as u64,
        head: Digest::of(&first),
    };
    let Ok(parsed) = Delta::parse(&first, &delta, listing, head) else { return };
    let Ok(plan) = Plan::delta(head, &LocalChunks::none(), &InPlace::none(), &parsed) else { return };
    let mut assembler = Assembler::new(head, &plan);
    let slots = Slots(payload.clone());
    for _ in 0..10_000 {
        match assembler.next_block(&slots) {
            Ok(Some(block)) => {
                assert_eq!(block.bytes, &payload[block.offset as usize..][..block.bytes.len()])
            }
            Ok(None) => {}
            Err(_) => return,
        }
        if assembler.finished() {
            return;
        }
        if let Some(range) = assembler.wants() {
            let bytes = &patches
                [(range.start - delta.head_length) as usize..(range.end - delta.head_length) as usize];
            if assembler.feed(bytes).is_err() {
                return;
            }
        }
    }
}
