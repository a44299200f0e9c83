//! Any bit of a bundle or a delta that is another one is noticed before anything wrong reaches the slot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::OnceLock;

use cairn_bundle::{InPlace, LocalChunks, PayloadKind, Plan};
use common::{Device, Image, Published, Slot, new, old, parse_delta, publish, publish_delta};
use proptest::prelude::*;

struct World {
    from: Image,
    to: Image,
    bundle: Published,
    delta: Vec<u8>,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let (from, to) = (old(), new());
        let first = publish(&from, "1.0.0");
        let mut bundle = publish(&to, "1.0.1");
        let delta = publish_delta(&first, &from, &mut bundle, &to);
        World { from, to, bundle, delta }
    })
}

/// What is in the slot is either what was there before or what belongs there.
fn nothing_wrong_was_written(device: &Device<'_>, to: &Image) -> bool {
    PayloadKind::ALL.into_iter().all(|kind| {
        let part = device.target.part(kind).borrow();
        part.iter().zip(to.payload(kind)).all(|(is, wanted)| is == wanted || *is == 0xA5)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn of_a_bundle(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let world = world();
        let mut bytes = world.bundle.bytes.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let bundle = Published { bytes, listing: world.bundle.listing.clone() };
        match bundle.try_head() {
            Err(_) => prop_assert!((at as u64) < bundle.listing.head_length()),
            Ok(head) => {
                let device = Device::new(None, Slot::dirty(&world.to));
                let plan = Plan::chunks(&head, &LocalChunks::none(), &InPlace::none());
                // A zstd frame has bits that mean nothing; where one of these is another one, the content is still right.
                if let Ok((_, whole)) = device.install(&head, &plan, &bundle.bytes, u64::MAX) {
                    prop_assert!(whole && device.target.holds(&world.to));
                }
                prop_assert!(nothing_wrong_was_written(&device, &world.to));
            }
        }
    }

    #[test]
    fn of_a_head(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let world = world();
        let mut bytes = world.bundle.bytes[..world.bundle.listing.head_length() as usize].to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let bundle = Published { bytes, listing: world.bundle.listing.clone() };
        prop_assert!(bundle.try_head().is_err());
    }

    #[test]
    fn of_a_delta(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let world = world();
        let mut bytes = world.delta.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let listing = &world.bundle.listing.deltas[0];
        match parse_delta(&bytes, listing, &world.bundle) {
            Err(_) => prop_assert!((at as u64) < listing.head_length),
            Ok(delta) => {
                let device = Device::new(Some(&world.from), Slot::dirty(&world.to));
                let head = world.bundle.head();
                let plan = Plan::delta(&head, &device.local(), &InPlace::none(), &delta).unwrap();
                if let Ok((_, whole)) = device.install(&head, &plan, &bytes, u64::MAX) {
                    prop_assert!(whole && device.target.holds(&world.to));
                }
                prop_assert!(nothing_wrong_was_written(&device, &world.to));
            }
        }
    }
}
