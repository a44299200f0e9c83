//! What every route works with: the crates below, the host, and the web part's own memory.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cairn_inference::InferenceClient;
use cairn_library::Library;
use cairn_store::{Settings, Store, Viewer};
use tokio::sync::Semaphore;

use crate::{
    events::{Feed, Presence},
    host::Host,
    limits::RateLimits,
    metrics::Metrics,
    problem::{Problem, ProblemKind},
    session::Passwords,
    updates::Updates,
    uplink::Uplink,
};

/// How long settings are kept before they are read again.
const SETTINGS_FRESH: Duration = Duration::from_secs(1);
/// Most uploads at a time: each holds a buffer, a file and a share of the card's write speed.
pub(crate) const MAX_UPLOADS: usize = 4;
/// Most requests in work at a time, without uploads' bodies and event streams.
pub(crate) const MAX_IN_FLIGHT: usize = 256;

/// The state behind every route. Cloning it is cheap; all clones are one hub.
#[derive(Clone)]
pub struct Hub {
    /// Records, people, files, settings.
    pub store: Store,
    /// Search and answers.
    pub library: Library,
    /// Models.
    pub inference: InferenceClient,
    /// The process and the device.
    pub host: Arc<dyn Host>,
    /// Synchronisation; none where the process has none.
    pub uplink: Option<Arc<dyn Uplink>>,
    /// Updates of the device's system; none where the hub is a guest on a computer.
    pub updates: Option<Arc<dyn Updates>>,
    pub(crate) shared: Arc<Shared>,
}

/// What the web part remembers while it runs. Nothing of it has to survive a restart.
pub(crate) struct Shared {
    pub(crate) limits: RateLimits,
    pub(crate) passwords: Passwords,
    pub(crate) feed: Feed,
    pub(crate) presence: Presence,
    pub(crate) metrics: Metrics,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) in_flight: Arc<AtomicUsize>,
    settings: Mutex<Option<(Instant, Arc<Settings>)>>,
}

impl Hub {
    /// A hub over the crates below. Starts the task that passes on live changes, so it has to be called
    /// within a tokio runtime; the task ends with the store.
    #[must_use]
    pub fn new(store: Store, library: Library, inference: InferenceClient, host: Arc<dyn Host>) -> Self {
        let feed = Feed::follow(store.subscribe());
        let shared = Shared {
            limits: RateLimits::default(),
            passwords: Passwords::default(),
            feed,
            presence: Presence::default(),
            metrics: Metrics::default(),
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            in_flight: Arc::new(AtomicUsize::new(0)),
            settings: Mutex::new(None),
        };
        Self { store, library, inference, host, uplink: None, updates: None, shared: Arc::new(shared) }
    }

    /// With synchronisation.
    #[must_use]
    pub fn with_uplink(self, uplink: Arc<dyn Uplink>) -> Self {
        Self { uplink: Some(uplink), ..self }
    }

    /// With updates.
    #[must_use]
    pub fn with_updates(self, updates: Arc<dyn Updates>) -> Self {
        Self { updates: Some(updates), ..self }
    }

    /// The settings, at most a second old. While the database cannot be read: the last ones known, else the
    /// defaults, because a page that says what is wrong needs them too.
    pub async fn settings(&self) -> Arc<Settings> {
        let known = self.shared.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((read_at, settings)) = &known
            && read_at.elapsed() < SETTINGS_FRESH
        {
            return Arc::clone(settings);
        }
        match self.store.settings().await {
            Ok(settings) => {
                let settings = Arc::new(settings);
                self.remember_settings(Arc::clone(&settings));
                settings
            }
            Err(error) => {
                tracing::warn!(%error, "the settings cannot be read");
                known.map(|(_, settings)| settings).unwrap_or_default()
            }
        }
    }

    /// Saves settings and tells everyone who depends on them.
    ///
    /// # Errors
    /// When they are not valid or `viewer` is no keeper.
    pub async fn set_settings(&self, viewer: &Viewer, settings: Settings) -> Result<(), Problem> {
        self.store.set_settings(viewer, settings.clone()).await?;
        self.host.settings_changed(&settings);
        self.remember_settings(Arc::new(settings));
        Ok(())
    }

    /// Forgets the kept settings, after something else changed them.
    pub(crate) fn forget_settings(&self) {
        *self.shared.settings.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn remember_settings(&self, settings: Arc<Settings>) {
        let mut kept = self.shared.settings.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((Instant::now(), settings));
    }

    /// A place among the uploads, held until it is dropped.
    pub(crate) fn upload_place(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.shared.uploads).try_acquire_owned().map_err(|_| {
            Problem::new(ProblemKind::Busy, format!("{MAX_UPLOADS} files are being received already"))
                .retry_after(10)
        })
    }

    /// Requests in work.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }
}
