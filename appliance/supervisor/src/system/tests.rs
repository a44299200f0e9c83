//! The thread over files: an update, a trial that is confirmed, trials that fail, and orders that are refused.

use std::io::Cursor;

use cairn_bundle::{Chunking, ReadAt, write};
use cairn_slots::{BlockDevice, boot_control::Boot, record::Ended};

use super::*;

const PLACES: Places = Places { first: 0, second: 4096 };

struct Card {
    folder: tempfile::TempDir,
    manifest: Manifest,
    hash: Digest,
    payloads: [Vec<u8>; 2],
}

/// Says what the test says.
struct Says(Option<(Manifest, Digest)>);

impl Vouch for Says {
    fn vouch(&mut self, _evidence: &Path) -> Result<(Manifest, Digest), String> {
        self.0.clone().ok_or_else(|| "not signed by enough keys".to_owned())
    }
}

impl Card {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let payloads =
            [vec![0xB0; 4096], (0..40_000_u32).map(|number| ((number * number) >> 7) as u8).collect()];
        let source =
            |bytes: &'static Vec<u8>| write::Source { bytes, length: bytes.len() as u64, verity: None };
        let leaked: &'static [Vec<u8>; 2] = Box::leak(Box::new(payloads.clone()));
        let input = write::Input {
            board: "qemu-virt".parse().unwrap(),
            version: "1.1.0".parse().unwrap(),
            built: 1,
            schema: None,
            chunking: Chunking::default(),
            boot: source(&leaked[0]),
            root: source(&leaked[1]),
        };
        let mut file = Vec::new();
        let listing = write::bundle(&input, &mut Cursor::new(Vec::new()), &mut file).unwrap();
        let manifest =
            Manifest::parse(&file[..usize::try_from(listing.manifest_length).unwrap()], &listing.manifest)
                .unwrap();
        std::fs::write(folder.path().join("card"), vec![0; 8192]).unwrap();
        for name in ["boot-a", "root-a", "boot-b", "root-b"] {
            std::fs::write(folder.path().join(name), vec![0; 65_536]).unwrap();
        }
        Self { folder, manifest, hash: listing.manifest, payloads }
    }

    fn start(
        &self,
        running: SlotId,
        trial: bool,
        signed: bool,
    ) -> (SystemThread, tokio::sync::mpsc::Receiver<SystemNews>) {
        let path = |name: &str| self.folder.path().join(name);
        SystemThread::start(SystemConfig {
            choice: Choice::Block { card: path("card"), places: PLACES },
            partitions: ["a", "b"].map(|slot| Partitions {
                boot: path(&format!("boot-{slot}")),
                root: path(&format!("root-{slot}")),
            }),
            state: path("state"),
            running,
            trial,
            version: if running == SlotId::A { "1.0.0" } else { "1.1.0" }.parse().unwrap(),
            vouch: Box::new(Says(signed.then(|| (self.manifest.clone(), self.hash)))),
        })
        .unwrap()
    }

    /// What the boot loader does.
    fn boot(&self) -> Boot {
        BootControl::new(device(&self.folder.path().join("card"), true).unwrap(), PLACES).boot().unwrap()
    }

    /// Asks for handles and writes the new system through them, as the hub does.
    fn write(&self, thread: &SystemThread, news: &mut tokio::sync::mpsc::Receiver<SystemNews>) {
        assert!(thread.order(UpdateOrder::Open));
        let mut written = 0;
        for _ in 0..4 {
            let SystemNews::ToHub(UpdateNews::Part(part), Some(descriptor)) = next(news) else {
                panic!("no handle")
            };
            let device = FileDevice::new(File::from(descriptor)).unwrap();
            let payload = &self.payloads[part.kind as usize];
            if part.target {
                device.write_at(0, payload).unwrap();
                device.flush().unwrap();
                written += 1;
            } else {
                assert!(device.write_at(0, payload).is_err(), "the running slot is given for reading only");
                let mut byte = [1];
                device.read_exact_at(0, &mut byte).unwrap();
            }
        }
        assert_eq!(written, 2);
        state(news);
    }
}

fn next(news: &mut tokio::sync::mpsc::Receiver<SystemNews>) -> SystemNews {
    let waited = async { tokio::time::timeout(Duration::from_secs(120), news.recv()).await };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(waited).expect("in time").expect("the thread lives")
}

fn state(news: &mut tokio::sync::mpsc::Receiver<SystemNews>) -> SystemState {
    match next(news) {
        SystemNews::ToHub(UpdateNews::State(state), None) => *state,
        other => panic!("{other:?}"),
    }
}

fn all_is_well(thread: &SystemThread) {
    for probe in Probe::ALL.into_iter().filter(|probe| *probe != Probe::Slot) {
        assert!(thread.order(UpdateOrder::Probe(probe, Finding::Passed)));
    }
}

fn install(card: &Card) {
    let (thread, mut news) = card.start(SlotId::A, false, true);
    assert!(!state(&mut news).on_trial);
    card.write(&thread, &mut news);
    assert!(thread.order(UpdateOrder::Try("evidence".into())));
    assert!(matches!(next(&mut news), SystemNews::ToHub(UpdateNews::Ready, None)));
    assert!(state(&mut news).record.attempt.is_some());
    assert!(thread.order(UpdateOrder::Restart));
    assert!(matches!(next(&mut news), SystemNews::Restart(None)));
}

#[test]
fn a_new_system_is_written_tried_and_stays_when_every_probe_passes() {
    let card = Card::new();
    install(&card);
    let boot = card.boot();
    assert_eq!((boot.slot, boot.trial), (SlotId::B, true));
    let (thread, mut news) = card.start(SlotId::B, true, true);
    assert!(state(&mut news).on_trial);
    all_is_well(&thread);
    let after = state(&mut news);
    assert!(!after.on_trial && matches!(after.record.last, Some(Ended::Confirmed(_))));
    assert_eq!(card.boot(), Boot { slot: SlotId::B, trial: false, write: None });
}

#[test]
fn one_probe_that_fails_brings_the_old_system_back_and_it_knows_why() {
    let card = Card::new();
    install(&card);
    assert!(card.boot().trial);
    let (thread, mut news) = card.start(SlotId::B, true, true);
    state(&mut news);
    assert!(
        thread.order(UpdateOrder::Probe(
            Probe::Database,
            Finding::Failed("the migration was refused".to_owned())
        ))
    );
    assert!(matches!(next(&mut news), SystemNews::Restart(None)));
    assert_eq!(card.boot().slot, SlotId::A);
    let (thread, mut news) = card.start(SlotId::A, false, true);
    let Some(Ended::Failed(bad)) = state(&mut news).record.last else { panic!() };
    assert_eq!(bad.failure.to_string(), "database: the migration was refused");
    // Not again, until a keeper says so.
    assert!(thread.order(UpdateOrder::Try("evidence".into())));
    let SystemNews::ToHub(UpdateNews::Refused(why), None) = next(&mut news) else { panic!() };
    assert!(why.contains("not tried again"), "{why}");
    assert!(thread.order(UpdateOrder::TryAgain("1.1.0".parse().unwrap())));
    assert!(state(&mut news).record.bad.is_empty());
    assert!(thread.order(UpdateOrder::Try("evidence".into())));
    assert!(matches!(next(&mut news), SystemNews::ToHub(UpdateNews::Ready, None)));
}

#[test]
fn what_is_not_signed_or_not_what_was_signed_is_never_tried() {
    let card = Card::new();
    let refused = |signed: bool, spoil: bool| {
        let (thread, mut news) = card.start(SlotId::A, false, signed);
        state(&mut news);
        card.write(&thread, &mut news);
        if spoil {
            device(&card.folder.path().join("root-b"), true).unwrap().write_at(39_999, b"?").unwrap();
        }
        assert!(thread.order(UpdateOrder::Try("evidence".into())));
        let SystemNews::ToHub(UpdateNews::Refused(why), None) = next(&mut news) else { panic!() };
        assert_eq!(card.boot(), Boot { slot: SlotId::A, trial: false, write: None });
        why
    };
    assert!(refused(false, false).contains("not signed by enough keys"));
    assert!(refused(true, true).contains("does not hold what was signed"));
}

#[test]
fn a_system_on_trial_gives_no_slot_away() {
    let card = Card::new();
    install(&card);
    assert!(card.boot().trial);
    let (thread, mut news) = card.start(SlotId::B, true, true);
    state(&mut news);
    assert!(thread.order(UpdateOrder::Open));
    let SystemNews::ToHub(UpdateNews::Refused(why), None) = next(&mut news) else { panic!() };
    assert!(why.contains("fall back"), "{why}");
}

#[test]
fn a_trial_that_the_boot_loader_does_not_know_of_is_none() {
    let card = Card::new();
    install(&card);
    assert!(card.boot().trial);
    let (_thread, mut news) = card.start(SlotId::B, false, true);
    state(&mut news);
    assert!(matches!(next(&mut news), SystemNews::Restart(None)));
}
