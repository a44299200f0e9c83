//! Pages stay fast however many records there are.

use std::time::{Duration, Instant};

use cairn_store::{ListQuery, Order, Viewer};
use cairn_sync::{Kind, Role};

use crate::common::Hub;

/// As many records as the requirement names.
const MANY: usize = 100_000;
const FEW: usize = 1_000;

/// Fills `records.db` with notices below the API, as the API would have: through it, this would take minutes.
fn fill(path: &std::path::Path, from: usize, to: usize) {
    let mut connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF").unwrap();
    let transaction = connection.transaction().unwrap();
    for number in from..to {
        let mut id = [0_u8; 16];
        id[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
        id[15] = 1;
        let hlc = id;
        transaction
            .prepare_cached(
                "INSERT INTO records VALUES (?1, 1, NULL, 1, ?2, NULL, 0, ?2, NULL, 0, 1, NULL, 0)",
            )
            .unwrap()
            .execute((&id, &hlc))
            .unwrap();
        for (name, value) in [("title", format!("Notice {number}")), ("level", "info".to_owned())] {
            transaction
                .prepare_cached(
                    "INSERT INTO fields (record, name, value, version, hlc) VALUES (?1, ?2, ?3, 1, ?4)",
                )
                .unwrap()
                .execute((&id, name, &value, &hlc))
                .unwrap();
            transaction
                .prepare_cached("INSERT INTO lookup VALUES (1, ?1, ?2, ?3, ?4)")
                .unwrap()
                .execute((name, value.to_lowercase(), &hlc, &id))
                .unwrap();
        }
    }
    transaction.commit().unwrap();
}

#[tokio::test]
async fn a_page_takes_about_as_long_at_100_000_records_as_at_1_000() {
    let hub = Hub::new().await;
    let guest = hub.person("guest", Role::Guest).await;
    let path = hub.dir.path().join("hub/records.db");
    let mut medians = Vec::new();
    for (from, to) in [(0, FEW), (FEW, MANY)] {
        fill(&path, from, to);
        let mut of_size = Vec::new();
        for query in [
            ListQuery::of(Kind::Notice),
            ListQuery::of(Kind::Notice).order(Order::Oldest),
            ListQuery::of(Kind::Notice).order(Order::Changed),
            ListQuery::of(Kind::Notice).project(None),
            ListQuery::of(Kind::Notice).equals("level", "info"),
            ListQuery {
                text_prefix: Some(("title".into(), "notice 5".into())),
                ..ListQuery::of(Kind::Notice)
            },
        ] {
            // A page in the middle of the list: where it stands must not matter.
            let mut after = None;
            for _ in 0..4 {
                after = hub.store.list(&guest, query.clone().after(after)).await.unwrap().next;
            }
            let mut times = Vec::new();
            for _ in 0..15 {
                let began = Instant::now();
                let page =
                    hub.store.list(&Viewer::anonymous(), query.clone().after(after.clone()).limit(50)).await;
                times.push(began.elapsed());
                assert!(!page.unwrap().items.is_empty() || to == FEW);
            }
            times.sort();
            of_size.push(times[times.len() / 2]);
        }
        let began = Instant::now();
        assert_eq!(hub.store.counts(&guest).await.unwrap()[&Kind::Notice], to as u64);
        of_size.push(began.elapsed());
        medians.push(of_size);
    }
    eprintln!("at {FEW}: {:?}\nat {MANY}: {:?}", medians[0], medians[1]);
    for (few, many) in medians[0].iter().zip(&medians[1]) {
        // The floor keeps the noise of a busy machine out; a scan of 100,000 records takes far longer.
        assert!(*many < *few * 4 + Duration::from_millis(15), "{few:?} became {many:?}");
    }
}
