//! Models come into memory on a thread of their own, while the engine goes on with the answers of others.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{Engine, Input, panic_text, registry::Wanted};
use crate::{error::InferenceError, loaded::Loaded, protocol::Answer};

impl Engine {
    /// Begins to load what is waited for, one model at a time.
    pub(super) fn load_wanted(&mut self) {
        let mut still = Vec::new();
        for (id, name) in std::mem::take(&mut self.loads) {
            match self.want(&name) {
                Ok(true) => self.reply(id, Answer::Done),
                Ok(false) => still.push((id, name)),
                Err(error) => self.reply(id, Answer::Failed(error)),
            }
        }
        self.loads.extend(still);
    }

    /// Whether the model is in memory; begins to load it when it is not.
    pub(super) fn want(&mut self, name: &str) -> Result<bool, InferenceError> {
        let active = &self.active;
        let in_use = |name: &str| active.iter().any(|answer| answer.loaded.name == name);
        match self.registry.want(name, in_use)? {
            Wanted::Ready => Ok(true),
            Wanted::Later => Ok(false),
            Wanted::Load(path, progress) => {
                // Room may have been made by models whose conversations are kept.
                self.kept.clear();
                let (inputs, context, model) = (self.inputs.clone(), self.limits.context, name.to_owned());
                let compute = Arc::clone(&self.compute);
                let load = move || {
                    let loaded =
                        catch_unwind(AssertUnwindSafe(|| Loaded::load(&path, context, compute, progress)));
                    let result = match loaded {
                        Ok(Ok(loaded)) => Ok(loaded),
                        Ok(Err(error)) => Err(error.for_model(&model)),
                        Err(panic) => Err(InferenceError::Refused {
                            reason: panic_text(panic.as_ref()),
                            model: model.clone(),
                        }),
                    };
                    if inputs.send(Input::Loaded { name: model, result: Box::new(result) }).is_err() {
                        tracing::debug!("a model was loaded for an engine that has ended");
                    }
                };
                match std::thread::Builder::new().name("cairn-load".into()).spawn(load) {
                    Ok(_) => Ok(false),
                    Err(error) => {
                        self.registry.unload(name);
                        Err(InferenceError::Failed(format!("no thread can be started: {error}")))
                    }
                }
            }
        }
    }

    pub(super) fn loaded(&mut self, name: &str, result: Result<Loaded, InferenceError>) {
        let failure = result.as_ref().err().cloned();
        match &failure {
            None => tracing::info!(model = name, "model loaded"),
            Some(error) => tracing::warn!(model = name, %error, "model not loaded"),
        }
        self.registry.finish(name, result);
        if let Some(loaded) = self.registry.get(name) {
            self.kept.recall(&loaded, self.limits.context);
        }
        let Some(error) = failure else { return };
        for id in self.queue.ids(|waiting| waiting.model == name) {
            self.queue.remove(id);
            self.fail(id, error.clone());
        }
        let (failed, others) =
            std::mem::take(&mut self.loads).into_iter().partition(|(_, load)| load == name);
        self.loads = others;
        let failed: Vec<(u64, String)> = failed;
        failed.into_iter().for_each(|(id, _)| self.reply(id, Answer::Failed(error.clone())));
    }
}
