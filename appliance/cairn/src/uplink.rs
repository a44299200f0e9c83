//! Synchronisation as the pages, the console and the provisioning file ask for it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use cairn_store::{Fact, Secret, Store};
use cairn_supervisor::{DeviceOrder, RoleLink};
use cairn_sync::session::{Failure, Way};
use cairn_uplink::{
    Connectivity,
    connectivity::{self, Attempt},
    sync::{EnrolError, Enrolment, Mode, State, Status, Sync, SystemClock, Transport, Ways},
};
use cairn_web::{Uplink, UplinkError, UplinkMode, UplinkState, UplinkStatus};
use futures::future::{BoxFuture, FutureExt};

use crate::provisioning::Gateway;

/// Shortest and longest time between two attempts to use the provisioning file's token.
const ENROL_AGAIN: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(15 * 60));
/// How long a person's write waits for a gateway that can be reached: long enough for several round trips over a satellite,
/// short enough that nobody presses again.
const THROUGH: Duration = Duration::from_secs(4);

/// Synchronisation in this process.
pub(crate) struct HubUplink {
    sync: Sync,
    store: Store,
    started: Instant,
    reach: Mutex<Connectivity>,
}

impl HubUplink {
    pub(crate) fn new(sync: Sync, store: Store) -> Self {
        Self { sync, store, started: Instant::now(), reach: Mutex::new(Connectivity::new(false)) }
    }

    pub(crate) const fn sync(&self) -> &Sync {
        &self.sync
    }

    /// Whether the gateway can be reached, as far as rounds have shown.
    pub(crate) fn connectivity(&self) -> connectivity::State {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).state()
    }

    /// Notes what came of rounds, for [`Self::connectivity`]; ends with synchronisation.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut watch = self.sync.watch();
        let mut before = watch.borrow().clone();
        loop {
            let now = watch.borrow_and_update().clone();
            {
                let mut reach = self.reach.lock().unwrap_or_else(PoisonError::into_inner);
                let needed = !matches!(now.state, State::NotEnrolled | State::Local);
                *reach = reach.needed(needed);
                if let Some(attempt) = attempt(&before, &now) {
                    *reach = reach.after(attempt, self.started.elapsed());
                }
            }
            before = now;
            if watch.changed().await.is_err() {
                return;
            }
        }
    }

    /// Enrols under the name that people see.
    pub(crate) async fn enrol(
        &self,
        url: &str,
        token: &Secret,
        transport: Transport,
    ) -> Result<Enrolment, EnrolError> {
        let name = self.store.settings().await?.hub_name;
        self.sync.enrol(token.reveal(), url, transport, &name).await
    }

    /// Uses the provisioning file's token, once and until the gateway has answered; then the file forgets it.
    pub(crate) async fn provision(self: Arc<Self>, gateway: Gateway, link: Option<RoleLink>) {
        let (Some(url), Some(token)) = (gateway.url, gateway.enrolment_token) else { return };
        let mut pause = ENROL_AGAIN.0;
        loop {
            match self.store.sync_fact::<Enrolment>(Fact::Enrolment).await {
                // Of an earlier start, or by a keeper meanwhile. A token that is left over works no second time.
                Ok(Some(_)) => break,
                Ok(None) => {}
                Err(error) => return tracing::warn!(%error, "whether the hub is enrolled cannot be read"),
            }
            match self.enrol(&url, &token, Transport::Https).await {
                Ok(enrolment) => {
                    tracing::info!(
                        community = enrolment.community_name,
                        "enrolled as the provisioning file says"
                    );
                    break;
                }
                Err(error) if lasts(&error) => {
                    return tracing::warn!(%error, "the provisioning file's token does not enrol this hub");
                }
                Err(error) => tracing::info!(%error, "enrolling waits"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(ENROL_AGAIN.1);
        }
        if let Some(link) = link
            && let Err(error) = link.device(DeviceOrder::ForgetToken).await
        {
            tracing::warn!(%error, "the used token stays in the provisioning file");
        }
    }
}

/// Whether trying again is of no use.
fn lasts(error: &EnrolError) -> bool {
    match error {
        EnrolError::Token | EnrolError::Url(_) => true,
        EnrolError::Client(error) => matches!(error.failure(), Failure::Stop(_)),
        EnrolError::Store(_) => false,
    }
}

/// What a change of state says of the network.
fn attempt(before: &Status, now: &Status) -> Option<Attempt> {
    if now.last_success_ms != before.last_success_ms {
        return Some(Attempt::Reached);
    }
    match (&before.state, &now.state) {
        (State::Busy, State::Waiting) => Some(Attempt::Failed),
        // An answer that refuses is an answer.
        (State::Busy, State::Stopped(_)) => Some(Attempt::Reached),
        _ => None,
    }
}

impl Uplink for HubUplink {
    fn status(&self) -> UplinkStatus {
        let status = self.sync.status();
        UplinkStatus {
            state: match status.state {
                State::NotEnrolled => UplinkState::NotEnrolled,
                State::Local => UplinkState::Local,
                State::Idle => UplinkState::Idle,
                State::Busy => UplinkState::Busy,
                State::Waiting => UplinkState::Waiting,
                State::Stopped(why) => UplinkState::Stopped(why),
            },
            gateway: status.gateway,
            community: status.community,
            mode: match status.ways.mode {
                Mode::Local => UplinkMode::Local,
                Mode::Hybrid => UplinkMode::Hybrid,
                Mode::Cloud => UplinkMode::Cloud,
            },
            way: status.ways.way,
            files_up_to: status.ways.fetch_up_to,
            figures: status.figures,
            last_success_ms: status.last_success_ms.and_then(|ms| i64::try_from(ms).ok()),
            trouble: status.trouble,
            live: status.live,
            present: status.present,
        }
    }

    fn now(&self) {
        self.sync.now();
    }

    fn through(&self) -> BoxFuture<'static, ()> {
        let sync = self.sync.clone();
        async move {
            if let Err(error) = sync.through(THROUGH).await {
                tracing::warn!(%error, "whether the gateway has what was written cannot be told");
            }
        }
        .boxed()
    }

    fn set_ways(
        &self,
        mode: UplinkMode,
        way: Way,
        fetch_up_to: u64,
    ) -> BoxFuture<'static, Result<(), UplinkError>> {
        let sync = self.sync.clone();
        let mode = match mode {
            UplinkMode::Local => Mode::Local,
            UplinkMode::Hybrid => Mode::Hybrid,
            UplinkMode::Cloud => Mode::Cloud,
        };
        async move {
            sync.set_ways(Ways { mode, way, fetch_up_to })
                .await
                .map_err(|error| UplinkError(error.to_string()))
        }
        .boxed()
    }

    fn enrol(&self, url: String, token: Secret) -> BoxFuture<'static, Result<(), UplinkError>> {
        let (sync, store) = (self.sync.clone(), self.store.clone());
        // Carried through even when whoever asked has left.
        let enrolling = tokio::spawn(async move {
            let name = store.settings().await.map_err(|error| UplinkError(error.to_string()))?.hub_name;
            let done = sync.enrol(token.reveal(), &url, Transport::Https, &name).await;
            done.map(drop).map_err(|error| UplinkError(error.to_string()))
        });
        async move { enrolling.await.unwrap_or_else(|error| Err(UplinkError(error.to_string()))) }.boxed()
    }
}

/// Lets the supervisor set the device's clock when the gateway has said what time it is.
pub(crate) struct DeviceClock(pub(crate) RoleLink);

impl SystemClock for DeviceClock {
    fn learnt(&self, unix_ms: u64) {
        let link = self.0.clone();
        tokio::spawn(async move {
            if let Err(error) = link.device(DeviceOrder::SetClock(unix_ms / 1000)).await {
                tracing::warn!(%error, "the device's clock could not be set");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: State, last_success_ms: Option<u64>) -> Status {
        Status {
            state,
            gateway: None,
            community: None,
            ways: Ways::default(),
            figures: cairn_store::SyncFigures::default(),
            last_success_ms,
            trouble: None,
            live: false,
            present: Vec::new(),
        }
    }

    #[test]
    fn rounds_say_whether_the_gateway_is_in_reach() {
        let busy = status(State::Busy, None);
        assert_eq!(attempt(&busy, &status(State::Waiting, None)), Some(Attempt::Failed));
        assert_eq!(attempt(&busy, &status(State::Busy, Some(5))), Some(Attempt::Reached));
        assert_eq!(attempt(&busy, &status(State::Stopped(String::new()), None)), Some(Attempt::Reached));
        assert_eq!(attempt(&status(State::Idle, Some(5)), &status(State::Busy, Some(5))), None);
        assert_eq!(attempt(&status(State::Waiting, None), &status(State::Waiting, None)), None);
    }
}
