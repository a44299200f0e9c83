//! Figures of the store on this machine, in a folder on a real disk: `cargo run --release -p cairn-store --example
//! store_bench [FOLDER]`. Every ratio is of two figures from the same run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use cairn_store::{
    DIMENSIONS, ListQuery, Location, NewAccount, OpenOptions, Order, Part, Passage, Secret, Store, Viewer,
};
use cairn_sync::{Fields, Kind, Value};

/// Bytes that this process caused to be written to the disk.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn notice(number: usize) -> Fields {
    [
        ("title", format!("Notice {number}")),
        ("level", "info".to_owned()),
        ("body", "Water is given out at the school from ten o'clock. ".repeat(4)),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), Value::from(text)))
    .collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A little generator, so that every run measures the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Words by Zipf's law, as in real text: a few very common, most rare.
    fn words(&mut self, count: usize) -> String {
        (0..count)
            .map(|_| {
                let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
                format!("word{}", (30_000_f64.powf(uniform)) as u64)
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn unit(&mut self) -> Vec<f32> {
        let vector: Vec<f32> =
            (0..DIMENSIONS).map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32 - 0.5).collect();
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.into_iter().map(|x| x / length).collect()
    }
}

async fn creates(store: &Store, viewer: &Viewer, from: usize, count: usize, at_once: usize) -> f64 {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for lane in 0..at_once {
        let (store, viewer) = (store.clone(), viewer.clone());
        tasks.push(tokio::spawn(async move {
            for number in (lane..count).step_by(at_once) {
                store.create(&viewer, Kind::Notice, None, notice(from + number), None).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    count as f64 / began.elapsed().as_secs_f64()
}

async fn pages(store: &Store, viewer: &Viewer) -> Vec<(&'static str, Duration)> {
    let mut measured = Vec::new();
    for (name, query) in [
        ("newest", ListQuery::of(Kind::Notice)),
        ("last changed", ListQuery::of(Kind::Notice).order(Order::Changed)),
        ("by value", ListQuery::of(Kind::Notice).equals("level", "info")),
        (
            "by beginning",
            ListQuery {
                text_prefix: Some(("title".into(), "notice 5".into())),
                ..ListQuery::of(Kind::Notice)
            },
        ),
    ] {
        let mut times = Vec::new();
        for _ in 0..50 {
            let began = Instant::now();
            store.list(viewer, query.clone().limit(50)).await.unwrap();
            times.push(began.elapsed());
        }
        measured.push((name, median(times)));
    }
    measured
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let options =
        OpenOptions { claim_code: Some("BENCHMARK".into()), upkeep: false, ..OpenOptions::default() };
    let (store, _) = Store::open(dir.path(), options.clone()).unwrap();
    let account = NewAccount {
        name: "Ana".into(),
        login: "ana".into(),
        password_hash: Secret::new("$argon2id$none"),
        language: None,
    };
    let keeper = store.claim("BENCHMARK", account, "Bench", "en").await.unwrap();
    let session = store.open_session(keeper.id, None).await.unwrap();
    let viewer = store.viewer_for_session(&session).await.unwrap().unwrap();

    let single = creates(&store, &viewer, 0, 300, 1).await;
    let grouped = creates(&store, &viewer, 300, 700, 32).await;
    println!("creates one after another      {single:>9.0} /s");
    println!("creates from 32 at once        {grouped:>9.0} /s   {:.1} x", grouped / single);

    let at_1k = pages(&store, &viewer).await;
    let first = store.list(&viewer, ListQuery::of(Kind::Notice).limit(200)).await.unwrap();
    let before = written();
    for record in &first.items {
        let fields = Fields::from([("title".to_owned(), Value::from("Another title"))]);
        store.update(&viewer, record.id, fields, None, None).await.unwrap();
    }
    println!("written by an edit of a line   {:>9} bytes", (written() - before) / first.items.len() as u64);

    let began = Instant::now();
    creates(&store, &viewer, 1_000, 99_000, 64).await;
    println!("99,000 more records            {:>9.1} s", began.elapsed().as_secs_f64());
    for ((name, few), (_, many)) in at_1k.into_iter().zip(pages(&store, &viewer).await) {
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!("page, {name:<16} at 1k {few:>9.2?}   at 100k {many:>9.2?}   {ratio:.1} x");
    }
    let began = Instant::now();
    store.counts(&viewer).await.unwrap();
    println!("counts at 100k                 {:>9.2?}", began.elapsed());

    let mut numbers = Numbers(88_172_645_463_325_252);
    let mut have = 0;
    for target in [1_000_usize, 10_000, 50_000] {
        let began = Instant::now();
        let added = target - have;
        while have < target {
            let count = 500.min(target - have);
            let mut writer = store.blob_writer(100).unwrap();
            writer.write(format!("{have}").as_bytes()).unwrap();
            let blob = writer.finish().unwrap();
            let fields = [
                ("title", "Manual".to_owned()),
                ("file", blob.to_string()),
                ("file_name", "a".into()),
                ("media_type", "text/plain".into()),
            ];
            let fields =
                fields.into_iter().map(|(name, text)| (name.to_owned(), Value::from(text))).collect();
            let document = store.create(&viewer, Kind::Document, None, fields, None).await.unwrap();
            let passages = (0..count as u32)
                .map(|ordinal| Passage {
                    ordinal,
                    heading: numbers.words(4),
                    text: numbers.words(150),
                    location: Location::default(),
                })
                .collect();
            store.put_passages(document.id, blob, 1, passages).await.unwrap();
            have += count;
        }
        let rate = added as f64 / began.elapsed().as_secs_f64();
        loop {
            let bare = store.pending_embeddings(1000).await.unwrap();
            if bare.is_empty() {
                break;
            }
            store
                .put_embeddings(bare.into_iter().map(|(id, _)| (id, numbers.unit())).collect())
                .await
                .unwrap();
        }
        let (mut words, mut common, mut meaning) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..40 {
            let began = Instant::now();
            store.search_text(&viewer, &numbers.words(6), 20).await.unwrap();
            words.push(began.elapsed());
            let began = Instant::now();
            store.search_text(&viewer, "word1 word2 word3 word5 word8 word13", 20).await.unwrap();
            common.push(began.elapsed());
            let query = numbers.unit();
            let began = Instant::now();
            store.search_vector(&Viewer::anonymous(), &query, 20).await.unwrap();
            meaning.push(began.elapsed());
        }
        println!(
            "{target:>6} passages ({rate:.0}/s in)   words {:>9.2?}   most common words {:>9.2?}   meaning {:>9.2?}",
            median(words),
            median(common),
            median(meaning)
        );
    }
    store.close();
    drop(store);
    let began = Instant::now();
    let (store, _) = Store::open(dir.path(), options).unwrap();
    println!("open and check all of it       {:>9.2?}", began.elapsed());
    assert!(store.get(&Viewer::system(Part::Console), keeper.id).await.is_ok());
}
