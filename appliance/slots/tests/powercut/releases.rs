//! Three small signed systems, made with the maintainers' own code.

use std::{io::Cursor, sync::OnceLock};

use cairn_bundle::{Chunking, Digest, Head, PayloadKind, write};

use crate::random::Random;

/// Bytes of a boot and a root partition.
pub(crate) const SIZES: [usize; 2] = [4 << 10, 20 << 10];

/// How a release behaves once it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It proves itself.
    Good,
    /// It finds itself unfit and says why.
    Unfit,
    /// It stops without a word; the watchdog resets the board.
    Hangs,
}

/// A published system.
#[derive(Clone)]
pub(crate) struct Release {
    pub(crate) payloads: [Vec<u8>; 2],
    pub(crate) file: Vec<u8>,
    pub(crate) head: Head,
    pub(crate) manifest: Digest,
}

pub(crate) fn releases() -> &'static [Release; 3] {
    static MADE: OnceLock<[Release; 3]> = OnceLock::new();
    MADE.get_or_init(|| {
        let mut random = Random::new(42);
        let mut payloads = [random.bytes(SIZES[0] - 700), random.bytes(SIZES[1] - 1300)];
        // What occurs twice is taken from where it was put first.
        let twice = payloads[1][2000..6000].to_vec();
        payloads[1].splice(9000..13_000, twice);
        [0, 1, 2].map(|number: u32| {
            let changed = payloads[1].len() / 3;
            let at = 5000 * number as usize;
            payloads[1].splice(at..at + changed, random.bytes(changed));
            payloads[0].splice(0..2000, random.bytes(2000));
            make(number, &payloads)
        })
    })
}

fn make(number: u32, payloads: &[Vec<u8>; 2]) -> Release {
    let source = |kind: usize| write::Source {
        bytes: &payloads[kind],
        length: payloads[kind].len() as u64,
        verity: None,
    };
    let input = write::Input {
        board: "qemu-virt".parse().unwrap(),
        version: format!("1.{number}.0").parse().unwrap(),
        built: 1_700_000_000,
        schema: None,
        chunking: Chunking { min: 256, avg: 1024, max: 4096 },
        boot: source(0),
        root: source(1),
    };
    let mut file = Vec::new();
    let listing = write::bundle(&input, &mut Cursor::new(Vec::new()), &mut file).unwrap();
    let head = Head::parse(&file[..usize::try_from(listing.head_length()).unwrap()], &listing).unwrap();
    assert_eq!(head.manifest.payload(PayloadKind::Root).length, payloads[1].len() as u64);
    Release { payloads: payloads.clone(), file, head, manifest: listing.manifest }
}
