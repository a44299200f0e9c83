//! From an offer to a slot that is ready to be tried: the cheapest way, resumed as often as need be, at a pace that people on the page
//! do not notice.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_bundle::{ByteRange, Delta, Digest, Head, Path, Plan};
use cairn_slots::{BlockDevice, FileDevice, Install, InstallError, SlotPair, durable, survey};
use tokio::sync::watch;

use super::{
    Offer, Privileged,
    fetch::{self, FetchError, Transport, Tries},
};

/// Name of the manifest among the evidence that the supervisor checks.
pub const MANIFEST: &str = "manifest";
/// Longest pause for one block while people are being served.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Of the time while people are being served, the install takes at most one part in this many.
const SHARE: u32 = 4;

/// Why an install ended early. What was written stays, and the next one goes on from it.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Bytes did not come.
    #[error("fetching: {0}")]
    Fetch(#[from] FetchError),
    /// What came is not what was signed, or the slot cannot take it.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// What came is not what was signed.
    #[error(transparent)]
    Bundle(#[from] cairn_bundle::Error),
    /// The supervisor gave no handles.
    #[error("{0}")]
    Supervisor(String),
    /// The supervisor does not try what was written.
    #[error("{0}")]
    Refused(String),
    /// The evidence could not be kept.
    #[error("the signed metadata could not be kept: {0}")]
    Evidence(#[source] std::io::Error),
}

impl UpdateError {
    /// Whether it is about the version: another hub will fare no better with it, and trying again will not help. A broken connection
    /// and a card that takes no writes are not.
    #[must_use]
    pub const fn of_the_version(&self) -> bool {
        match self {
            Self::Install(InstallError::Device(_) | InstallError::Incomplete)
            | Self::Fetch(_)
            | Self::Supervisor(_)
            | Self::Evidence(_) => false,
            Self::Install(InstallError::Bundle(_) | InstallError::TooSmall { .. })
            | Self::Bundle(_)
            | Self::Refused(_) => true,
        }
    }
}

/// How far an install is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes to fetch, once they are known.
    pub to_fetch: u64,
    /// Bytes fetched.
    pub fetched: u64,
    /// Bytes of the new system that were there already, in either slot.
    pub held: u64,
}

/// How an install behaves towards people on the page.
#[derive(Clone)]
pub struct Pace {
    /// Whether anybody is being served right now.
    busy: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Pace {
    /// Slower while `busy` says so.
    pub fn new(busy: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { busy: Arc::new(busy) }
    }

    /// After a piece of work that took `took`.
    async fn rest(&self, took: Duration) {
        if (self.busy)() {
            tokio::time::sleep((took * (SHARE - 1)).min(LONGEST_PAUSE)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Writes `offer` into the other slot and has it checked and made ready.
///
/// # Errors
/// [`UpdateError`]. A cut connection is none until it has brought nothing for a long time.
pub async fn install(
    offer: &Offer,
    transport: &dyn Transport,
    privileged: &dyn Privileged,
    evidence: PathBuf,
    pace: &Pace,
    progress: &watch::Sender<Progress>,
) -> Result<(), UpdateError> {
    let listing = &offer.listing;
    listing.check()?;
    let range = ByteRange { start: 0, end: listing.head_length() };
    let bytes = fetch::whole(transport, &offer.target, range).await?;
    let head = Head::parse(&bytes, listing)?;
    let manifest =
        usize::try_from(listing.manifest_length).ok().and_then(|end| bytes.get(..end)).unwrap_or_default();
    keep(&evidence, manifest).map_err(UpdateError::Evidence)?;
    drop(bytes);

    let pair = privileged.open().await.map_err(UpdateError::Supervisor)?;
    let sizes = [pair.active.boot.size(), pair.active.root.size()];
    let survey = tokio::task::block_in_place(|| survey(&head, &pair, sizes))?;
    let chunks = Plan::chunks(&head, &survey.local, &survey.in_place);
    let active = privileged.record().running.map(|release| release.manifest);
    let (target, plan) = match by_delta(offer, transport, &head, &survey, &chunks, active).await? {
        Some(way) => way,
        None => (offer.target.clone(), chunks),
    };
    let total: u64 = head.manifest.payloads.iter().map(|payload| payload.length).sum();
    let held = total.saturating_sub(plan.write_bytes());
    let to_fetch = plan.fetch_bytes();
    progress.send_replace(Progress { to_fetch, fetched: 0, held });
    tracing::info!(version = %listing.version, to_fetch, held, total, "writing a new system into the other slot");
    write(&head, &plan, &target, &pair, transport, pace, progress).await?;
    drop(pair);
    privileged.try_new(evidence).await.map_err(UpdateError::Refused)
}

/// The delta, where it is cheaper and fits the running slot.
async fn by_delta(
    offer: &Offer,
    transport: &dyn Transport,
    head: &Head,
    survey: &cairn_slots::Survey,
    chunks: &Plan,
    active: Option<Digest>,
) -> Result<Option<(String, Plan)>, UpdateError> {
    let Path::Delta(number) = offer.listing.cheapest(chunks.fetch_bytes(), active.as_ref()).path else {
        return Ok(None);
    };
    let Some(delta) = offer.listing.deltas.get(number) else { return Ok(None) };
    let range = ByteRange { start: 0, end: delta.head_length };
    let bytes = fetch::whole(transport, &delta.target, range).await?;
    let parsed = Delta::parse(&bytes, delta, &offer.listing, head)?;
    match Plan::delta(head, &survey.local, &survey.in_place, &parsed) {
        Ok(plan) => Ok(Some((delta.target.clone(), plan))),
        Err(error) => {
            tracing::warn!(%error, "the delta does not fit this hub; chunks are fetched instead");
            Ok(None)
        }
    }
}

async fn write(
    head: &Head,
    plan: &Plan,
    target: &str,
    pair: &SlotPair<FileDevice, FileDevice>,
    transport: &dyn Transport,
    pace: &Pace,
    progress: &watch::Sender<Progress>,
) -> Result<(), UpdateError> {
    let mut install = Install::new(head, plan, pair);
    let mut tries = Tries::default();
    ready_blocks(&mut install, pace).await?;
    while let Some(range) = install.wants() {
        let before = range.start;
        let outcome = stream(&mut install, range, target, transport, pace, progress).await;
        let brought = install.wants().is_none_or(|range| range.start != before);
        let outcome = match outcome {
            Ok(()) => Ok(()),
            Err(UpdateError::Fetch(error)) => Err(error),
            Err(other) => {
                // What was good is kept for the next time.
                tokio::task::block_in_place(|| install.flush())?;
                return Err(other);
            }
        };
        if let Err(error) = tries.after(brought, outcome).await {
            tokio::task::block_in_place(|| install.flush())?;
            return Err(error.into());
        }
    }
    Ok(tokio::task::block_in_place(|| install.finish())?)
}

/// Fetches one range, as far as the connection carries.
async fn stream(
    install: &mut Install<'_, FileDevice, FileDevice>,
    range: ByteRange,
    target: &str,
    transport: &dyn Transport,
    pace: &Pace,
    progress: &watch::Sender<Progress>,
) -> Result<(), UpdateError> {
    let mut pieces = transport.open(target, range).await?;
    while let Some(piece) = fetch::next(&mut pieces).await? {
        let mut rest = piece.as_ref();
        while !rest.is_empty() {
            let taken = install.feed(rest)?;
            ready_blocks(install, pace).await?;
            let left = rest.get(taken..).unwrap_or_default();
            if taken == 0 && left.len() == rest.len() {
                return Err(UpdateError::Bundle(cairn_bundle::Error::Unasked));
            }
            rest = left;
        }
        progress.send_modify(|progress| progress.fetched += piece.len() as u64);
    }
    Ok(())
}

async fn ready_blocks(
    install: &mut Install<'_, FileDevice, FileDevice>,
    pace: &Pace,
) -> Result<(), UpdateError> {
    loop {
        let began = Instant::now();
        if tokio::task::block_in_place(|| install.write_next())?.is_none() {
            return Ok(());
        }
        pace.rest(began.elapsed()).await;
    }
}

fn keep(folder: &std::path::Path, manifest: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    durable::replace(&durable::Folder(folder.to_owned()), MANIFEST, manifest)
}
