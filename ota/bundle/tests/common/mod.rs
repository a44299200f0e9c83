//! Two versions of a small system, and a device that installs one of them.

#![allow(dead_code, unreachable_pub, reason = "each test file uses what it needs")]

use std::{cell::RefCell, io, io::Cursor};

use cairn_bundle::{
    Assembler, Chunking, Delta, DeltaListing, Digest, Error, Head, InPlace, Listing, LocalChunks,
    PayloadKind, Plan, ReadAt, Sources,
    write::{self, Input, Old, Source},
};

pub const CHUNKING: Chunking = Chunking { min: 1024, avg: 4096, max: 16 * 1024 };

/// A system's two payloads.
#[derive(Clone)]
pub struct Image {
    pub boot: Vec<u8>,
    pub root: Vec<u8>,
}

impl Image {
    pub fn payload(&self, kind: PayloadKind) -> &Vec<u8> {
        match kind {
            PayloadKind::Boot => &self.boot,
            PayloadKind::Root => &self.root,
        }
    }
}

fn source(bytes: &Vec<u8>) -> Source<'_> {
    Source { bytes, length: bytes.len() as u64, verity: None }
}

/// Bytes that look like a program: random, but compressible.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; length];
    reader.fill(&mut bytes);
    bytes.iter_mut().for_each(|byte| *byte &= 0x3F);
    bytes
}

/// Version 1: mostly zeros before, behind and between.
pub fn old() -> Image {
    let mut boot = vec![0; 300_000];
    boot[40_000..140_000].copy_from_slice(&noise(1, 100_000));
    Image { boot, root: noise(2, 1_200_000) }
}

/// Version 2: a piece inserted, a piece changed all over in a regular way, zeros as before.
pub fn new() -> Image {
    let mut image = old();
    image.boot[60_000..61_000].copy_from_slice(&noise(3, 1000));
    let inserted = noise(4, 12_345);
    image.root.splice(200_000..200_000, inserted);
    for at in (500_000..900_000).step_by(97) {
        image.root[at] ^= 0x15;
    }
    image
}

/// A published bundle.
pub struct Published {
    pub bytes: Vec<u8>,
    pub listing: Listing,
}

impl Published {
    pub fn head(&self) -> Head {
        self.try_head().unwrap()
    }

    pub fn try_head(&self) -> Result<Head, Error> {
        let end = (self.listing.head_length() as usize).min(self.bytes.len());
        Head::parse(&self.bytes[..end], &self.listing)
    }
}

pub fn publish(image: &Image, version: &str) -> Published {
    let input = Input {
        board: "virt".parse().unwrap(),
        version: version.parse().unwrap(),
        built: 1_700_000_000,
        schema: None,
        chunking: CHUNKING,
        boot: source(&image.boot),
        root: source(&image.root),
    };
    let mut bytes = Vec::new();
    let listing = write::bundle(&input, &mut Cursor::new(Vec::new()), &mut bytes).unwrap();
    assert_eq!(listing.length, bytes.len() as u64);
    Published { bytes, listing }
}

/// A delta between the two.
pub fn publish_delta(from: &Published, old: &Image, to: &mut Published, new: &Image) -> Vec<u8> {
    let old = Old {
        version: from.listing.version,
        manifest: from.listing.manifest,
        boot: source(&old.boot),
        root: source(&old.root),
    };
    let mut bytes = Vec::new();
    let payloads = [source(&new.boot), source(&new.root)];
    let head = to.head();
    let made =
        write::delta(&old, &head, to.listing.manifest, payloads, "delta".to_owned(), &mut bytes).unwrap();
    assert_eq!(made.listing.length, bytes.len() as u64);
    to.listing.deltas.push(made.listing);
    bytes
}

pub fn parse_delta(bytes: &[u8], listing: &DeltaListing, to: &Published) -> Result<Delta, Error> {
    let end = (listing.head_length as usize).min(bytes.len());
    Delta::parse(&bytes[..end], listing, &to.listing, &to.head())
}

/// A slot in memory.
#[derive(Default)]
pub struct Slot {
    boot: RefCell<Vec<u8>>,
    root: RefCell<Vec<u8>>,
}

struct Partition<'a>(&'a RefCell<Vec<u8>>);

impl ReadAt for Partition<'_> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.borrow().read_exact_at(offset, buf)
    }
}

impl Slot {
    pub fn part(&self, kind: PayloadKind) -> &RefCell<Vec<u8>> {
        match kind {
            PayloadKind::Boot => &self.boot,
            PayloadKind::Root => &self.root,
        }
    }

    /// As large as the payloads, filled with something else.
    pub fn dirty(image: &Image) -> Self {
        let slot = Self::default();
        for kind in PayloadKind::ALL {
            *slot.part(kind).borrow_mut() = vec![0xA5; image.payload(kind).len() + 777];
        }
        slot
    }

    pub fn holds(&self, image: &Image) -> bool {
        PayloadKind::ALL.into_iter().all(|kind| {
            let payload = image.payload(kind);
            self.part(kind).borrow()[..payload.len()] == payload[..]
        })
    }
}

/// Active slot, which is only read, and target slot.
pub struct Device<'a> {
    pub active: Option<&'a Image>,
    pub target: Slot,
    boot: Vec<u8>,
    root: Vec<u8>,
}

impl<'a> Device<'a> {
    pub fn new(active: Option<&'a Image>, target: Slot) -> Self {
        let part = |kind| active.map(|image| image.payload(kind).clone()).unwrap_or_default();
        Self { active, target, boot: part(PayloadKind::Boot), root: part(PayloadKind::Root) }
    }

    pub fn local(&self) -> LocalChunks {
        let mut local = LocalChunks::none();
        if let Some(image) = self.active {
            for kind in PayloadKind::ALL {
                let payload = image.payload(kind);
                local.scan(kind, payload, payload.len() as u64, CHUNKING).unwrap();
            }
        }
        local
    }

    pub fn in_place(&self, head: &Head) -> InPlace {
        let mut in_place = InPlace::none();
        for kind in PayloadKind::ALL {
            in_place.scan(kind, &Partition(self.target.part(kind)), &head.index);
        }
        in_place
    }

    /// Fetches from `file` and writes, at most `budget` bytes before the power goes. Gives the bytes fetched and whether
    /// the slot is complete.
    pub fn install(&self, head: &Head, plan: &Plan, file: &[u8], budget: u64) -> Result<(u64, bool), Error> {
        struct Both<'a>(&'a Device<'a>, [Partition<'a>; 2]);
        impl Sources for Both<'_> {
            fn active(&self, kind: PayloadKind) -> &dyn ReadAt {
                match kind {
                    PayloadKind::Boot => &self.0.boot,
                    PayloadKind::Root => &self.0.root,
                }
            }
            fn target(&self, kind: PayloadKind) -> &dyn ReadAt {
                match kind {
                    PayloadKind::Boot => &self.1[0],
                    PayloadKind::Root => &self.1[1],
                }
            }
        }
        let both = Both(self, [Partition(&self.target.boot), Partition(&self.target.root)]);
        let mut assembler = Assembler::new(head, plan);
        let mut fetched = 0;
        loop {
            while let Some(block) = assembler.next_block(&both)? {
                let mut part = self.target.part(block.kind).borrow_mut();
                let at = block.offset as usize;
                part[at..at + block.bytes.len()].copy_from_slice(block.bytes);
            }
            if assembler.finished() {
                return Ok((fetched, true));
            }
            let range = assembler.wants().expect("something is missing, so something is wanted");
            let end = range.end.min(range.start + 1500).min(range.start.saturating_add(budget - fetched));
            if end == range.start {
                return Ok((fetched, false));
            }
            let Some(bytes) = file.get(range.start as usize..end as usize) else {
                return Err(Error::Mismatch { what: "the file" });
            };
            fetched += assembler.feed(bytes)? as u64;
        }
    }
}

pub fn digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}
