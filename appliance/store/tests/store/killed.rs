//! `kill -9` at any moment: what was acknowledged is there.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use cairn_store::{Passage, Store};
use cairn_sync::{Kind, RecordId};

use crate::common::{account, notice, options, system};

const FOLDER: &str = "CAIRN_STORE_KILL_TEST";
const ROUNDS: u64 = 12;

/// The child: writes as fast as it can from several tasks, and says each id after its acknowledgement.
#[test]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, report) = Store::open(Path::new(&dir), options()).unwrap();
        assert_eq!(report.findings, [], "a kill is no damage");
        if !store.setup_state().await.unwrap().claimed {
            store.claim("TESTCODE", account("ana"), "x", "en").await.unwrap();
        }
        let mut tasks = tokio::task::JoinSet::<()>::new();
        for _ in 0..4 {
            let store = store.clone();
            tasks.spawn(async move {
                loop {
                    let made =
                        store.create(&system(), Kind::Notice, None, notice("alive"), None).await.unwrap();
                    // One line in one write, so that a kill never leaves half an id that looks whole.
                    std::io::stdout().lock().write_all(format!("ack {}\n", made.id).as_bytes()).unwrap();
                }
            });
        }
        tasks.spawn(async move {
            loop {
                let text = RecordId::new().to_string();
                let mut writer = store.blob_writer(1000).unwrap();
                writer.write(text.as_bytes()).unwrap();
                let blob = writer.finish().unwrap();
                let fields = crate::common::fields([
                    ("title", "T".into()),
                    ("file", blob.to_string().into()),
                    ("file_name", "a".into()),
                    ("media_type", "text/plain".into()),
                ]);
                let document = store.create(&system(), Kind::Document, None, fields, None).await.unwrap();
                let passages = (0..300)
                    .map(|ordinal| Passage {
                        ordinal,
                        heading: String::new(),
                        text: format!("passage {ordinal}"),
                        location: Default::default(),
                    })
                    .collect();
                store.put_passages(document.id, blob, 1, passages).await.unwrap();
                std::io::stdout().lock().write_all(format!("indexed {}\n", document.id).as_bytes()).unwrap();
            }
        });
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    });
}

#[test]
fn every_acknowledged_write_survives_a_kill() {
    if std::env::var_os(FOLDER).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut indexed) = (Vec::new(), Vec::new());
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    eprintln!("seed {seed}");
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::writes_until_it_is_killed", "--nocapture"])
            .env(FOLDER, dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: &str| {
            if let Some(id) = line.strip_prefix("ack ") {
                acknowledged.push(id.parse::<RecordId>().unwrap());
            } else if let Some(id) = line.strip_prefix("indexed ") {
                indexed.push(id.parse::<RecordId>().unwrap());
            }
        };
        // Once it writes, it is killed at a moment that only the seed and the scheduler know.
        for line in lines.by_ref() {
            let line = line.unwrap();
            note(&line);
            if line.starts_with("ack ") {
                break;
            }
        }
        let pause = (seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % 120;
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(|line| note(&line));
    }
    assert!(acknowledged.len() as u64 > ROUNDS * 2, "{}", acknowledged.len());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, report) = Store::open(dir.path(), options()).unwrap();
        assert_eq!(report.findings, []);
        for id in &acknowledged {
            assert_eq!(store.get(&system(), *id).await.unwrap().text("title"), "alive");
        }
        let progress = store.index_progress().await.unwrap();
        let pending = store.pending_documents(1, 1000).await.unwrap().len() as u64;
        // No gap and no duplicate: each document is searched with all its passages or waits to be read.
        assert_eq!(progress.passages, progress.indexed * 300);
        assert_eq!(progress.indexed + pending, progress.documents);
        for id in &indexed {
            let (file, _) = store.open_file(&system(), *id).await.unwrap();
            assert_eq!(std::io::read_to_string(file).unwrap().len(), 36);
            let passages = store.passages_of(&system(), *id, None, 200).await.unwrap();
            assert_eq!(passages.len(), 200);
        }
    });
}
