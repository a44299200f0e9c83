//! The loop: takes what is offered and what the keeper chooses, and brings one pack at a time.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use cairn_sync::{ChangeId, RecordId};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    Held, InPlace, Offered, Offers, PackKind, PackName, PackStatus, PutError, SPARE, Shelf, kept::Kept, next,
};
use crate::updates::{
    fetch::Transport,
    files,
    policy::{self, Wishes},
};

/// Orders that may wait.
const MAX_ORDERS: usize = 8;

enum Order {
    Choose(PackName),
    Leave(PackName),
}

/// The loop's handle.
pub struct Packs {
    orders: mpsc::Sender<Order>,
    offers: watch::Sender<(Option<Offers>, Wishes)>,
    status: watch::Receiver<Vec<PackStatus>>,
    shelf: Arc<dyn Shelf>,
}

impl Packs {
    /// Starts the loop on the runtime of the caller, which must have several threads. What it keeps stands in `folder`.
    #[must_use]
    pub fn start(folder: &Path, shelf: Arc<dyn Shelf>) -> Arc<Self> {
        let (orders, incoming) = mpsc::channel(MAX_ORDERS);
        let (telling, status) = watch::channel(Vec::new());
        let (offers, offered) = watch::channel((None, Wishes::default()));
        let work = Work {
            shelf: Arc::clone(&shelf),
            kept: Kept::open(folder),
            telling,
            bringing: None,
            failures: 0,
            failed: Instant::now(),
            trouble: None,
        };
        tokio::spawn(work.run(incoming, offered));
        Arc::new(Self { orders, offers, status, shelf })
    }

    /// What a look brought, and what the keeper decided about updates.
    pub fn tell(&self, offers: Option<Offers>, wishes: Wishes) {
        self.offers.send_modify(|told| {
            if offers.is_some() {
                told.0 = offers;
            }
            told.1 = wishes;
        });
    }

    /// The keeper wants a pack, or its updates no longer; what is in place stays. `false` when there is too much to do.
    #[must_use]
    pub fn choose(&self, pack: PackName, wanted: bool) -> bool {
        let order = if wanted { Order::Choose(pack) } else { Order::Leave(pack) };
        self.orders.try_send(order).is_ok()
    }

    /// How packs are.
    #[must_use]
    pub fn status(&self) -> Vec<PackStatus> {
        let mut all = self.status.borrow().clone();
        for pack in all.iter_mut().filter(|pack| pack.coming.is_some()) {
            let part = files::part(&self.shelf.resting(&pack.offered));
            pack.coming = Some(std::fs::metadata(part).map_or(0, |part| part.len()));
        }
        all
    }
}

impl Packs {
    /// What can be passed on: the packs whose newest revision is in place here.
    #[must_use]
    pub fn in_place(&self) -> Vec<InPlace> {
        let status = self.status.borrow();
        let here = status.iter().filter(|pack| pack.installed == pack.offered.revision);
        here.map(|pack| InPlace { offered: pack.offered.clone(), record: pack.record }).collect()
    }

    /// Lets the file of one stand at `to` as well.
    ///
    /// # Errors
    /// What the system reports; nothing of use is at `to` then.
    pub async fn lend(&self, pack: &InPlace, to: PathBuf) -> io::Result<()> {
        self.shelf.lend(pack, to).await
    }

    /// Follows how packs are.
    pub(crate) fn follow(&self) -> watch::Receiver<Vec<PackStatus>> {
        self.status.clone()
    }
}

/// How the way of a pack ended well.
enum Came {
    /// It is in place, with the record that stands for it.
    InPlace(Option<RecordId>),
    /// Nothing that could be put in place was left by an earlier run.
    Nothing,
}

/// A pack on its way.
struct Bringing {
    offered: Offered,
    task: JoinHandle<Result<Came, PutError>>,
    /// It is being put in place: not to be stopped half way.
    putting: Arc<AtomicBool>,
}

struct Work {
    shelf: Arc<dyn Shelf>,
    kept: Kept,
    telling: watch::Sender<Vec<PackStatus>>,
    bringing: Option<Bringing>,
    failures: u32,
    failed: Instant,
    trouble: Option<(PackName, String)>,
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(bringing) =
            self.bringing.as_ref().filter(|bringing| !bringing.putting.load(Ordering::Relaxed))
        {
            bringing.task.abort();
        }
    }
}

impl Work {
    /// Ends with its handle.
    async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut offered: watch::Receiver<(Option<Offers>, Wishes)>,
    ) {
        loop {
            let (offers, wishes) = offered.borrow_and_update().clone();
            let packs = offers.as_ref().map(|offers| offers.packs.as_slice()).unwrap_or_default();
            let still = policy::backoff(self.failures).saturating_sub(self.failed.elapsed());
            let next = next(packs, &self.kept, wishes);
            if self.bringing.is_none() && still.is_zero() {
                match (next, &offers) {
                    (Some(next), Some(offers)) => {
                        self.bring(next.clone(), Some(Arc::clone(&offers.transport)))
                    }
                    // Before anything was looked at: what a power cut left half done must not wait for a repository.
                    _ => self.go_on(),
                }
            }
            self.tell(packs);
            // What waits only for the end of a pause after a failure.
            let waits = (next.is_some() || self.kept.begun().is_some()) && self.bringing.is_none();
            let wait = if waits { still } else { policy::LONGEST_WAIT };
            let brought = async {
                match &mut self.bringing {
                    Some(bringing) => (&mut bringing.task).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                changed = offered.changed() => if changed.is_err() { return },
                brought = brought => self.came(brought.unwrap_or_else(|error| Err(PutError::Later(error.to_string())))),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn obey(&mut self, order: Order) {
        let (pack, chosen) = match order {
            // A wish of the keeper's is a new try.
            Order::Choose(pack) => (pack, true),
            Order::Leave(pack) => (pack, false),
        };
        let of_pack = |bringing: &Bringing| bringing.offered.pack == pack;
        if !chosen
            && let Some(bringing) = self
                .bringing
                .take_if(|bringing| of_pack(bringing) && !bringing.putting.load(Ordering::Relaxed))
        {
            bringing.task.abort();
            let part = files::part(&self.shelf.resting(&bringing.offered));
            if let Err(error) = std::fs::remove_file(&part) {
                tracing::debug!(%error, "nothing had come of it");
            }
        }
        let kept = if chosen { self.kept.choose(&pack, ChangeId::new()) } else { self.kept.leave(&pack) };
        if !chosen && self.bringing.is_none() && self.kept.begun().is_some_and(|begun| begun.pack == pack) {
            self.ended();
        }
        if let Err(error) = kept {
            self.trouble = Some((pack, format!("the choice could not be kept: {error}")));
        } else {
            self.trouble.take_if(|(of, _)| *of == pack);
            self.failures = 0;
        }
    }

    /// Goes on with what an earlier run had begun, as far as that needs no repository.
    fn go_on(&mut self) {
        match self.kept.begun().cloned() {
            Some(begun) if self.kept.held(&begun.pack).is_some() => self.bring(begun, None),
            Some(_) => self.ended(),
            None => {}
        }
    }

    fn bring(&mut self, offered: Offered, transport: Option<Arc<dyn Transport>>) {
        let Some(held) = self.kept.held(&offered.pack).cloned() else { return };
        if let Err(error) = self.kept.begin(Some(&offered)) {
            return self.fails(offered.pack, format!("it could not be written down: {error}"));
        }
        let (shelf, putting) = (Arc::clone(&self.shelf), Arc::new(AtomicBool::new(false)));
        let (wanted, begun) = (offered.clone(), Arc::clone(&putting));
        let task =
            tokio::spawn(
                async move { bring(shelf.as_ref(), &wanted, &held, transport.as_deref(), &begun).await },
            );
        self.bringing = Some(Bringing { offered, task, putting });
    }

    fn ended(&mut self) {
        if let Err(error) = self.kept.begin(None) {
            tracing::warn!(%error, "that a pack's way ended could not be written down");
            self.failures = self.failures.saturating_add(1);
            self.failed = Instant::now();
        }
    }

    fn fails(&mut self, pack: PackName, trouble: String) {
        self.failures = self.failures.saturating_add(1);
        self.failed = Instant::now();
        self.trouble = Some((pack, trouble));
    }

    fn came(&mut self, outcome: Result<Came, PutError>) {
        let Some(Bringing { offered, .. }) = self.bringing.take() else { return };
        let Offered { pack, revision, .. } = offered;
        let kept = match &outcome {
            Ok(Came::InPlace(record)) => {
                tracing::info!(name = pack.name, revision, "a pack is in place");
                self.kept.installed(&pack, revision, *record)
            }
            Ok(Came::Nothing) => Ok(()),
            Err(PutError::Refused(_)) => self.kept.refused(&pack, revision),
            Err(PutError::Later(_)) => Ok(()),
        };
        let refused = matches!(outcome, Err(PutError::Refused(_)));
        let over = kept.is_ok() && !matches!(outcome, Err(PutError::Later(_)));
        let trouble = match (outcome, kept) {
            (Ok(_), Ok(())) => {
                self.failures = 0;
                self.trouble.take_if(|(of, _)| *of == pack);
                return self.ended();
            }
            (Err(error), _) => error.to_string(),
            (Ok(_), Err(error)) => format!("it could not be written down: {error}"),
        };
        tracing::warn!(name = pack.name, revision, trouble, "a pack is not in place");
        self.fails(pack, trouble);
        if refused {
            // It is not tried again by itself: nothing has to wait for it.
            self.failures = 0;
        }
        if over {
            self.ended();
        }
    }

    fn tell(&self, packs: &[Offered]) {
        let status = packs.iter().map(|offered| {
            let held = self.kept.held(&offered.pack);
            let coming = self.bringing.as_ref().filter(|bringing| bringing.offered == *offered);
            let trouble = self.trouble.as_ref().filter(|(of, _)| *of == offered.pack);
            PackStatus {
                offered: offered.clone(),
                chosen: held.is_some(),
                installed: held.map_or(0, |held| held.installed),
                record: held.and_then(|held| held.record),
                coming: coming.map(|_| 0),
                trouble: trouble.map(|(_, why)| why.clone()),
            }
        });
        self.telling.send_replace(status.collect());
    }
}

/// Fetches a pack, unless a whole one is there from before, and has it put in place. Without a transport only what is there is.
async fn bring(
    shelf: &dyn Shelf,
    offered: &Offered,
    held: &Held,
    transport: Option<&dyn Transport>,
    putting: &AtomicBool,
) -> Result<Came, PutError> {
    let place = shelf.resting(offered);
    if !shelf.settle(offered).await? {
        let Some(transport) = transport else { return Ok(Came::Nothing) };
        let come = std::fs::metadata(files::part(&place)).map_or(0, |part| part.len());
        // A content pack is copied among the files of documents.
        let copies = if offered.pack.kind == PackKind::Content { 2 } else { 1 };
        let needed = offered.wanted.length.saturating_mul(copies).saturating_sub(come).saturating_add(SPARE);
        if let Some(room) = shelf.room().filter(|room| *room < needed) {
            return Err(PutError::Later(format!("it needs {needed} bytes on the disk and {room} are free")));
        }
        let fetched = files::fetch(&offered.wanted, transport, &place).await;
        fetched.map_err(|error| PutError::Later(error.to_string()))?;
    }
    putting.store(true, Ordering::Relaxed);
    let put = shelf.put(offered, held).await;
    if !matches!(put, Err(PutError::Later(_)))
        && let Err(error) = std::fs::remove_file(&place)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %place.display(), "a pack's file could not be removed");
    }
    put.map(Came::InPlace)
}
