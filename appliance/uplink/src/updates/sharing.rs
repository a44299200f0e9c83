//! What is passed on to other hubs: when a copy is made, anew or not any more. How it is made: [`mirror`].

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::{fetch::Transport, files::Wanted, mirror, packs::Packs};

/// After a copy failed.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// What other hubs can have from here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Nothing: the keeper has not asked for it.
    #[default]
    Off,
    /// The copy is being made.
    Copying,
    /// The newest system.
    Ready,
    /// The copy could not be made; it is tried again.
    Failed(String),
}

/// The copy, and the task that makes it.
#[derive(Default)]
pub(super) struct Lending {
    pub(super) sharing: Sharing,
    task: Option<JoinHandle<Result<(), String>>>,
    begun: Option<Instant>,
    /// What the last one is of.
    of: Vec<Wanted>,
}

impl Drop for Lending {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Lending {
    /// Removes it, where there is one.
    pub(super) fn take_away(&mut self, mirror: &Path) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        if self.sharing != Sharing::Off || mirror.exists() {
            if let Err(error) = mirror::clear(mirror) {
                tracing::warn!(%error, "the copy for other hubs could not be removed");
            }
            self.sharing = Sharing::Off;
        }
        self.begun = None;
    }

    /// Begins one of this system and the packs in place, unless one goes on, or the last one is of the same, or failed a short while ago.
    pub(super) fn keep(
        &mut self,
        system: Option<(Wanted, Arc<dyn Transport>)>,
        packs: Option<&Arc<Packs>>,
        evidence: PathBuf,
        mirror: PathBuf,
    ) {
        let lent = packs.map(|packs| packs.in_place()).unwrap_or_default();
        let all: Vec<Wanted> = system
            .iter()
            .map(|(wanted, _)| wanted)
            .chain(lent.iter().map(|pack| &pack.offered.wanted))
            .cloned()
            .collect();
        let due = match self.sharing {
            Sharing::Ready => all != self.of,
            Sharing::Off | Sharing::Copying => true,
            Sharing::Failed(_) => self.begun.is_none_or(|begun| begun.elapsed() >= AGAIN),
        };
        if !due || all.is_empty() || self.task.is_some() {
            return;
        }
        let packs = packs.cloned();
        self.begun = Some(Instant::now());
        self.sharing = Sharing::Copying;
        self.of = all;
        self.task = Some(tokio::spawn(async move {
            let system = system.as_ref().map(|(wanted, transport)| (wanted, transport.as_ref()));
            let lent = packs.as_deref().map(|packs| (packs, lent.as_slice()));
            mirror::keep(system, lent, &evidence, &mirror).await.map_err(|error| error.to_string())
        }));
    }

    /// Waits until one that goes on has ended, well or not; for ever where none does.
    pub(super) async fn ended(&mut self) {
        let outcome = match &mut self.task {
            Some(task) => task.await,
            None => std::future::pending().await,
        };
        self.task = None;
        self.sharing = match outcome {
            Ok(Ok(())) => Sharing::Ready,
            Ok(Err(error)) => Sharing::Failed(error),
            Err(error) => Sharing::Failed(error.to_string()),
        };
    }
}
