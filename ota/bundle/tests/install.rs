//! From a bundle or a delta to a finished slot: all of it, nothing twice, never more than the bundle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use cairn_bundle::{DeltaListing, InPlace, LocalChunks, Origin, Path, PayloadKind, Plan};
use common::{Device, Slot, new, old, parse_delta, publish, publish_delta};

#[test]
fn a_device_that_holds_nothing_fetches_the_bundle_once() {
    let image = new();
    let bundle = publish(&image, "1.0.1");
    let head = bundle.head();
    let device = Device::new(None, Slot::dirty(&image));
    let plan = Plan::chunks(&head, &LocalChunks::none(), &InPlace::none());
    let (fetched, whole) = device.install(&head, &plan, &bundle.bytes, u64::MAX).unwrap();
    assert!(whole && device.target.holds(&image));
    assert_eq!(fetched, bundle.listing.length - bundle.listing.head_length());
    assert_eq!(fetched, plan.fetch_bytes());
}

#[test]
fn the_same_input_gives_the_same_bundle() {
    assert_eq!(publish(&new(), "1.0.1").bytes, publish(&new(), "1.0.1").bytes);
}

#[test]
fn only_what_the_active_slot_lacks_is_fetched() {
    let (from, to) = (old(), new());
    let bundle = publish(&to, "1.0.1");
    let head = bundle.head();
    let device = Device::new(Some(&from), Slot::dirty(&to));
    let plan = Plan::chunks(&head, &device.local(), &InPlace::none());
    let (fetched, whole) = device.install(&head, &plan, &bundle.bytes, u64::MAX).unwrap();
    assert!(whole && device.target.holds(&to));
    // A third of the root and a little of the boot payload changed.
    assert!(fetched < bundle.listing.length / 2, "{fetched} of {}", bundle.listing.length);
    let same = Plan::chunks(&publish(&from, "1.0.0").head(), &device.local(), &InPlace::none());
    assert_eq!(same.fetch_bytes(), 0, "nothing is fetched for the same content");
}

#[test]
fn a_delta_costs_less_than_chunks_and_gives_the_same() {
    let (from, to) = (old(), new());
    let first = publish(&from, "1.0.0");
    let mut second = publish(&to, "1.0.1");
    let file = publish_delta(&first, &from, &mut second, &to);
    let head = second.head();
    let device = Device::new(Some(&from), Slot::dirty(&to));
    let chunks = Plan::chunks(&head, &device.local(), &InPlace::none()).fetch_bytes();
    let offer = second.listing.cheapest(chunks, Some(&first.listing.manifest));
    assert_eq!(offer.path, Path::Delta(0));
    assert!(offer.bytes < chunks / 2, "{} against {chunks}", offer.bytes);
    let delta = parse_delta(&file, &second.listing.deltas[0], &second).unwrap();
    let plan = Plan::delta(&head, &device.local(), &InPlace::none(), &delta).unwrap();
    let (fetched, whole) = device.install(&head, &plan, &file, u64::MAX).unwrap();
    assert!(whole && device.target.holds(&to));
    assert!(fetched <= offer.bytes);
}

#[test]
fn a_delta_does_not_start_from_another_version() {
    let (from, to) = (old(), new());
    let first = publish(&from, "1.0.0");
    let mut second = publish(&to, "1.0.1");
    let file = publish_delta(&first, &from, &mut second, &to);
    let delta = parse_delta(&file, &second.listing.deltas[0], &second).unwrap();
    assert!(Plan::delta(&second.head(), &LocalChunks::none(), &InPlace::none(), &delta).is_err());
    assert_eq!(second.listing.cheapest(1_000_000, None).path, Path::Chunks);
    assert_eq!(second.listing.cheapest(1_000_000, Some(&second.listing.manifest)).path, Path::Chunks);
}

#[test]
fn no_way_costs_more_than_the_bundle() {
    let bundle = publish(&new(), "1.0.1");
    let rest = bundle.listing.length - bundle.listing.head_length();
    let delta = DeltaListing {
        from: "1.0.0".parse().unwrap(),
        from_manifest: common::digest(b"old"),
        target: "delta".to_owned(),
        length: rest + 1,
        head_length: 10,
        head: common::digest(b"head"),
    };
    let mut listing = bundle.listing.clone();
    listing.deltas.push(delta);
    let offer = listing.cheapest(rest, Some(&common::digest(b"old")));
    assert_eq!((offer.path, offer.bytes), (Path::Chunks, rest));
}

/// Power goes every `every` bytes, by chunks and by delta: what is in the slot is never fetched again.
fn cut_every(every: u64, by_delta: bool) -> (u64, u64) {
    let (from, to) = (old(), new());
    let first = publish(&from, "1.0.0");
    let mut second = publish(&to, "1.0.1");
    let file = publish_delta(&first, &from, &mut second, &to);
    let head = second.head();
    let delta = parse_delta(&file, &second.listing.deltas[0], &second).unwrap();
    let device = Device::new(Some(&from), Slot::dirty(&to));
    let file = if by_delta { &file } else { &second.bytes };
    let (mut total, mut once) = (0, None);
    for _ in 0..10_000 {
        let in_place = device.in_place(&head);
        let plan = if by_delta {
            Plan::delta(&head, &device.local(), &in_place, &delta).unwrap()
        } else {
            Plan::chunks(&head, &device.local(), &in_place)
        };
        once.get_or_insert(plan.fetch_bytes());
        let (fetched, whole) = device.install(&head, &plan, file, every).unwrap();
        total += fetched;
        if whole {
            assert!(device.target.holds(&to));
            return (total, once.unwrap());
        }
    }
    panic!("no progress");
}

#[test]
fn an_install_goes_on_where_the_power_went() {
    for every in [20_000, 50_000, 100_000] {
        let (total, once) = cut_every(every, false);
        // At most one chunk is lost for each cut.
        let cuts = total / every;
        assert!(total <= once + cuts * u64::from(common::CHUNKING.max), "{total} for {once}, every {every}");
    }
    let (total, once) = cut_every(1_000_000, true);
    assert!(total <= once, "{total} for {once}");
}

#[test]
fn zeros_are_stored_and_fetched_once() {
    let image = common::Image { boot: vec![0; 2_000_000], root: vec![0; 3_000_000] };
    let bundle = publish(&image, "1.0.0");
    let head = bundle.head();
    assert!(bundle.listing.length < 12_000, "{}", bundle.listing.length);
    let plan = Plan::chunks(&head, &LocalChunks::none(), &InPlace::none());
    let fetched = plan.steps().iter().filter(|step| matches!(step.origin, Origin::Fetched(_))).count();
    assert!(fetched <= 3, "{fetched}");
    let device = Device::new(None, Slot::dirty(&image));
    assert!(device.install(&head, &plan, &bundle.bytes, u64::MAX).unwrap().1);
    assert!(device.target.holds(&image));
}

#[test]
fn blocks_come_in_the_order_of_the_slot() {
    let bundle = publish(&new(), "1.0.1");
    let plan = Plan::chunks(&bundle.head(), &LocalChunks::none(), &InPlace::none());
    let places: Vec<_> = plan.steps().iter().map(|step| (step.place.kind, step.place.offset)).collect();
    assert!(places.is_sorted());
    assert_eq!(places[0], (PayloadKind::Boot, 0));
    let ranges = plan.ranges();
    assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
}
