//! Who answers: the model on the device, the one in the cloud, or the cloud first and the device when that fails.
//!
//! In `local`, the router does not touch the cloud model: nothing is dialled, resolved or prepared. In `auto`, a
//! cloud model that fails before or during its answer is followed by the local one. An answer that had begun is then
//! begun again, because the local model cannot go on from the middle of another model's sentence and stay true to
//! the passages: [`GenerateEvent::Restarted`] tells the consumer to drop the text that came so far. After a failure
//! the cloud is left alone for a while, so that every question during an outage does not wait for it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use cairn_inference::{Generate, GenerateEvent, GenerateRequest, InferenceError};
use futures::{StreamExt, stream::BoxStream};
use tokio::sync::watch;

use crate::{
    cloud::{CloudError, CloudModel},
    connectivity::{Attempt, Connectivity},
};

/// How long `auto` leaves the cloud alone after it failed.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// Who may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// This device only.
    #[default]
    Local,
    /// The cloud only.
    Cloud,
    /// The cloud, else this device.
    Auto,
}

/// The keeper's setting.
#[derive(Clone, Default)]
pub struct Routing {
    /// Who may answer.
    pub mode: Mode,
    /// The cloud model, where one is set.
    pub cloud: Option<CloudModel>,
}

/// Routes questions. Clones share what they know of the cloud.
#[derive(Clone)]
pub struct Router {
    local: Arc<dyn Generate>,
    routing: watch::Receiver<Routing>,
    memory: Arc<Memory>,
}

struct Memory {
    started: Instant,
    known: Mutex<Known>,
}

struct Known {
    connectivity: Connectivity,
    rest_until: Option<Instant>,
}

impl Memory {
    fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, error: Option<&CloudError>) {
        let unreachable = error.is_some_and(CloudError::is_unreachable);
        let attempt = if unreachable { Attempt::Failed } else { Attempt::Reached };
        let age = self.started.elapsed();
        self.with(|known| {
            known.connectivity = known.connectivity.after(attempt, age);
            known.rest_until = error.map(|_| Instant::now() + REST_AFTER_FAILURE);
        });
    }
}

impl Router {
    /// A router between `local` and whatever `routing` names; changes of the setting count from the next question on.
    #[must_use]
    pub fn new(local: Arc<dyn Generate>, routing: watch::Receiver<Routing>) -> Self {
        let known = Known { connectivity: Connectivity::new(false), rest_until: None };
        Self {
            local,
            routing,
            memory: Arc::new(Memory { started: Instant::now(), known: Mutex::new(known) }),
        }
    }

    /// Whether the cloud can be reached, as far as questions have shown.
    #[must_use]
    pub fn connectivity(&self) -> Connectivity {
        let routing = self.routing.borrow();
        let needed = routing.mode != Mode::Local && routing.cloud.is_some();
        self.memory.with(|known| {
            known.connectivity = known.connectivity.needed(needed);
            known.connectivity
        })
    }

    fn resting(&self) -> bool {
        self.memory.with(|known| known.rest_until.is_some_and(|until| Instant::now() < until))
    }
}

impl Generate for Router {
    fn generate(&self, request: GenerateRequest) -> BoxStream<'static, GenerateEvent> {
        let routing = self.routing.borrow().clone();
        // Looking at it notes whether the cloud is needed at all.
        let _noted = self.connectivity();
        let cloud = match (routing.mode, routing.cloud) {
            (Mode::Local, _) | (Mode::Auto, None) => return self.local.generate(request),
            // A model asked for by name is one on the device.
            (Mode::Auto, Some(_)) if request.model.is_some() || self.resting() => {
                return self.local.generate(request);
            }
            (Mode::Cloud, None) => {
                let error = InferenceError::Remote("none is set".to_owned());
                return futures::stream::once(async { GenerateEvent::Failed(error) }).boxed();
            }
            (Mode::Cloud | Mode::Auto, Some(cloud)) => cloud,
        };
        let (local, memory, auto) =
            (Arc::clone(&self.local), Arc::clone(&self.memory), routing.mode == Mode::Auto);
        async_stream::stream! {
            let mut answer = cloud.answer(request.clone());
            let mut begun = false;
            let error = loop {
                match answer.next().await {
                    Some(Ok(event)) => {
                        begun |= matches!(event, GenerateEvent::Text(_));
                        let done = matches!(event, GenerateEvent::Done { .. });
                        if done {
                            memory.note(None);
                        }
                        yield event;
                        if done {
                            return;
                        }
                    }
                    Some(Err(error)) => break error,
                    None => break CloudError::BrokeOff,
                }
            };
            drop(answer);
            memory.note(Some(&error));
            tracing::warn!(%error, begun, auto, "the cloud model failed");
            if !auto {
                yield GenerateEvent::Failed(error.into());
                return;
            }
            if begun {
                yield GenerateEvent::Restarted;
            }
            let mut answer = local.generate(request);
            while let Some(event) = answer.next().await {
                yield event;
            }
        }
        .boxed()
    }
}
