//! How fast a hub takes in records from its gateway, and how fast it puts its own changes into requests:
//! `cargo run --release -p cairn-store --example sync_bench -- RECORDS`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that measures may stop")]

use std::{collections::BTreeMap, time::Instant};

use cairn_store::{OpenOptions, Part, Store, Viewer};
use cairn_sync::{
    ChangeId, Fields, Hlc, HubId, Kind, RecordId, Value,
    batch::WorkingSet,
    http::Page,
    record::{FieldState, RecordState, Stamp},
    wire::{Cursor, PROTOCOL, Reply, ScopeId},
};

const PAGE: u64 = 1_000;

fn record(version: u64, hub: HubId) -> RecordState {
    let stamp = Stamp { change: ChangeId::new(), by: None, hlc: Hlc::at(version, hub) };
    let field = |value: Value| FieldState { value, version, stamp };
    let fields = BTreeMap::from([
        ("title".to_owned(), field(format!("Water point {version}").into())),
        ("level".to_owned(), field("info".into())),
        ("body".to_owned(), field("The pump at the north bridge works again.\nBring clean cans.\n".into())),
    ]);
    RecordState { version, fields, ..RecordState::new(RecordId::new(), Kind::Notice, None) }
}

fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) =
        Store::open(dir.path(), OpenOptions { upkeep: false, ..OpenOptions::default() }).unwrap();
    (dir, store)
}

#[tokio::main]
async fn main() {
    let count: u64 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(20_000);

    let (_dir, store) = open();
    let hub = HubId::new();
    let (mut spent, mut done) = (0.0, 0);
    while done < count {
        let records: Vec<_> =
            (done + 1..=done + PAGE.min(count - done)).map(|version| record(version, hub)).collect();
        done += records.len() as u64;
        let cursors = BTreeMap::from([(ScopeId::Community, Cursor { version: done, horizon: 0 })]);
        let page = Page { records, cursors, more: done < count, ..Page::default() };
        let began = Instant::now();
        store.sync_take_page(page).await.unwrap();
        spent += began.elapsed().as_secs_f64();
    }
    println!("taken in: {count} records, {:.0} a second", count as f64 / spent);

    let (_dir, store) = open();
    let viewer = Viewer::system(Part::Console);
    for number in 0..count {
        let fields = Fields::from([
            ("title".to_owned(), format!("Water point {number}").into()),
            ("level".to_owned(), "info".into()),
        ]);
        store.create(&viewer, Kind::Notice, None, fields, None).await.unwrap();
    }
    let (mut asking, mut whole, mut sent, mut set) = (0.0, 0.0, 0, WorkingSet::default());
    while sent < count {
        let began = Instant::now();
        let request = store.sync_request([7; 16], 1_000).await.unwrap();
        asking += began.elapsed().as_secs_f64();
        sent += request.changes.len() as u64;
        let written = set.apply(&request.changes, |_| true);
        set.version = written.version;
        let version = written.version;
        let reply = Reply {
            protocol: PROTOCOL,
            request: request.request,
            ticket: sent,
            outcomes: written.outcomes,
            records: written.records.into_values().map(|became| became.after).collect(),
            cursors: BTreeMap::from([(ScopeId::Community, Cursor { version, horizon: 0 })]),
            horizons: BTreeMap::new(),
            reread: Vec::new(),
            withheld: Vec::new(),
            more: true,
            checksums: BTreeMap::new(),
        };
        let taking = Instant::now();
        store.sync_take_in(reply).await.unwrap();
        whole += taking.elapsed().as_secs_f64();
    }
    println!("pushed: {sent} changes into requests, {:.0} a second", sent as f64 / asking);
    println!("pushed and confirmed: {:.0} a second", sent as f64 / (asking + whole));
}
