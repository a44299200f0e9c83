//! Sticks: a card without the internet is updated from one that is put in; a damaged one does no harm, and is not read at a start after one that
//! ended without notice.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    in_force,
    machine::{Card, STARTS_WITHIN},
    repository::Repository,
    serial::unexplained,
    update::{UPDATES_WITHIN, claimed, stays},
};

/// Size of a stick, and where its one partition begins.
const STICK: u64 = 192 << 20;
const PARTITION: u64 = 1 << 20;
/// How long a stick may take from being put in until the console says what became of it.
const NOTICED_WITHIN: Duration = Duration::from_secs(300);

fn tool(command: &mut Command) -> Result<()> {
    let done = command.output().with_context(|| format!("{command:?} cannot be started"))?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// A stick as people buy it, one partition with FAT, and on it a repository.
fn stick(folder: &Path, repository: &Path) -> Result<PathBuf> {
    let (part, path) = (folder.join("part.img"), folder.join("stick.img"));
    let kib = ((STICK - PARTITION) >> 10).to_string();
    tool(Command::new("/usr/sbin/mkfs.fat").args(["-F", "32", "-n", "UPDATES", "-C"]).arg(&part).arg(kib))?;
    tool(Command::new("mmd").arg("-i").arg(&part).arg("::/cairn"))?;
    let mut copy = Command::new("mcopy");
    copy.args(["-s", "-i"]).arg(&part).args([repository.join("metadata"), repository.join("targets")]);
    tool(copy.arg("::/cairn/"))?;
    File::create(&path)?.set_len(STICK)?;
    let table = folder.join("table");
    std::fs::write(&table, "label: dos\n2048,,c\n")?;
    tool(Command::new("/usr/sbin/sfdisk").arg("--quiet").arg(&path).stdin(File::open(&table)?))?;
    OpenOptions::new().write(true).open(&path)?.write_all_at(&std::fs::read(&part)?, PARTITION)?;
    Ok(path)
}

/// Another one whose first sector is whole, so that it is mounted, and whose tables lead anywhere.
fn damaged(stick: &Path, seed: u64) -> Result<PathBuf> {
    let path = stick.with_file_name("damaged.img");
    std::fs::copy(stick, &path)?;
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let mut first = [0; 512];
    file.read_exact_at(&mut first, PARTITION)?;
    let two = |at: usize| u64::from(u16::from_le_bytes([first[at], first[at + 1]]));
    let (reserved, tables, each) = (two(14), u64::from(first[16]), two(36) | two(38) << 16);
    let mut chance = StdRng::seed_from_u64(seed);
    let mut noise = vec![0; usize::try_from(tables * each * 512)?];
    chance.fill(&mut noise[..]);
    // The first entries, where the chains of the first folders are, stay.
    file.write_all_at(&noise[64..], PARTITION + reserved * 512 + 64)?;
    // Of what follows, where the folders lie, every fourth sector.
    for sector in (0..64).step_by(4) {
        chance.fill(&mut noise[..512]);
        file.write_all_at(&noise[..512], PARTITION + (reserved + tables * each + 1 + sector) * 512)?;
    }
    Ok(path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_is_updated_from_a_stick_and_a_damaged_one_does_no_harm() {
    let folder = tempfile::TempDir::with_prefix("cairn-stick-").unwrap();
    let repository = Repository::serve().await.unwrap();
    let versions = repository.versions().unwrap();
    repository.publish(&versions[1]).unwrap();
    let good = stick(folder.path(), &repository.folder()).unwrap();
    // From here on the repository is on the stick alone.
    drop(repository);
    let before = std::fs::read(&good).unwrap();
    let bad = damaged(&good, 5).unwrap();
    let card = Card::new().unwrap();
    let sticks = [("good", good.as_path()), ("bad", bad.as_path())];
    let mut machine = card.start_with_sticks("stick", &sticks).unwrap();
    let hub = claimed(&mut machine).await.unwrap();
    let notice = hub.notice("before the stick").await.unwrap();
    assert_eq!(hub.updates().await.unwrap()["stick"], false);

    // Put in: it is found by itself, and waits for a keeper.
    let from = machine.serial().len();
    machine.plug("good").unwrap();
    machine.until_it_says_after(from, &["cairn: stick sd", " can be read"], NOTICED_WITHIN).await.unwrap();
    let offered = |status: &Value| status["offer"]["version"] == versions[1].as_str();
    let status = hub.until_updates("it is offered", UPDATES_WITHIN, offered).await.unwrap();
    assert_eq!((&status["offer"]["by_hand"], &status["stick"]), (&json!(true), &json!(true)), "{status}");
    // Pulled out and put in again.
    machine.pull("good").unwrap();
    let gone = |status: &Value| status["stick"] == false && status["offer"].is_null();
    hub.until_updates("the stick is out", UPDATES_WITHIN, gone).await.unwrap();
    machine.plug("good").unwrap();
    hub.until_updates("it is offered again", UPDATES_WITHIN, offered).await.unwrap();

    let from = machine.serial().len();
    hub.ask(json!("now")).await.unwrap();
    let tried = ["cairn: slot b (trial: 1) is whole", "cairn: stick sd", " can be read"];
    machine.until_it_says_after(from, &tried, UPDATES_WITHIN).await.unwrap();
    let status = hub.until_updates("it stays", UPDATES_WITHIN, |status| stays(status, &versions[1])).await;
    let status = status.unwrap();
    assert_eq!((&status["slot"], &status["failed"]), (&json!("b"), &json!([])), "{status}");
    assert!(hub.has_notice(&notice, "before the stick").await.unwrap(), "what was written is gone");
    assert_eq!(unexplained(&machine.serial(), &[]), Vec::<String>::new());
    // Nothing was written to it.
    machine.pull("good").unwrap();
    hub.until_updates("the stick is out", UPDATES_WITHIN, |status| status["stick"] == false).await.unwrap();
    assert!(std::fs::read(&good).unwrap() == before, "the hub wrote to the stick");

    // A damaged one: whatever can be read of it, the hub goes on.
    let from = machine.serial().len();
    machine.plug("bad").unwrap();
    machine.until_it_says_after(from, &["cairn: stick sd", " can be read"], NOTICED_WITHIN).await.unwrap();
    hub.ask(json!("look_at_stick")).await.ok();
    machine.until_healthy().await.unwrap();
    let second = hub.notice("beside a damaged stick").await.unwrap();
    assert!(!machine.serial_since(from).contains("cairn: slot="), "the hub restarted");

    // The power goes while it is in. At the next start nobody reads it; put in by somebody once more, it is.
    drop(machine);
    let mut machine = card.start_with_sticks("stick-after-a-power-cut", &sticks).unwrap();
    machine.plug("bad").unwrap();
    machine.until_healthy().await.unwrap();
    let told = [" when the hub went down without notice: pull it out and put it in again"];
    machine.until_it_says_after(0, &told, STARTS_WITHIN).await.unwrap();
    assert!(!machine.serial().contains(" can be read"));
    let hub = hub.at(&machine);
    assert!(hub.has_notice(&second, "beside a damaged stick").await.unwrap(), "what was written is gone");
    machine.pull("bad").unwrap();
    let from = machine.serial().len();
    machine.plug("good").unwrap();
    machine.until_it_says_after(from, &["cairn: stick sd", " can be read"], NOTICED_WITHIN).await.unwrap();
    hub.until_updates("it is found", UPDATES_WITHIN, |status| status["stick"] == true).await.unwrap();
    assert_eq!(in_force(&card).default.letter(), "b");
}
