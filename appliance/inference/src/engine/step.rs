//! One step: a token for each answer that writes, a slice of its prompt for one that reads, as one batch.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use super::{Engine, answer::Step, pace::Company, panic_text};
use crate::{
    error::InferenceError,
    model::{Segment, Want},
    types::GenerateEvent,
};

/// Answers side by side with which drafts pay: with more of them a step has rows enough.
const MAX_DRAFTING: usize = 2;

impl Engine {
    /// Moves all answers of one model on: one token for each that writes, one slice for one that reads.
    pub(super) fn step(&mut self) {
        let Some(model) = self.active.get(self.turn % self.active.len().max(1)) else { return };
        let loaded = Arc::clone(&model.loaded);
        let company = if self.embeddings.are_asked_for() {
            Company::Searches
        } else if self.active.len() > 1 || !self.embeddings.is_empty() || !self.queue.is_empty() {
            Company::Others
        } else {
            Company::Nobody
        };
        let slice = self.pace.slice(company);
        let draft = self.limits.drafts && self.active.len() <= MAX_DRAFTING && loaded.model.is_steady();
        let reader = self.turn % self.active.len();
        self.turn = self.turn.wrapping_add(1);

        let mut members = Vec::new();
        let mut batch: Vec<Segment<'_>> = Vec::new();
        let mut reads = false;
        let rotated = {
            let (before, from) = self.active.split_at_mut(reader);
            from.iter_mut().chain(before)
        };
        for answer in rotated.filter(|answer| Arc::ptr_eq(&answer.loaded, &loaded)) {
            if answer.is_reading() && std::mem::replace(&mut reads, true) {
                continue;
            }
            members.push(answer.id);
            batch.push(answer.segment(slice, draft));
        }
        let started = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| loaded.model.forward(&mut batch, &mut self.scratch)));
        let wanted: Vec<usize> = batch.iter().map(Segment::wanted).collect();
        let read = batch
            .iter()
            .filter(|segment| segment.want != Want::All)
            .map(|segment| segment.tokens.len())
            .sum();
        drop(batch);
        let elapsed = started.elapsed();
        self.pace.measured(read, elapsed);
        let failure = match done {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(InferenceError::Failed(error.to_string())),
            Err(panic) => {
                let reason = panic_text(panic.as_ref());
                tracing::error!(model = loaded.name, reason, "the model panicked; it is not used again");
                self.registry.refuse(&loaded.name, format!("it failed while it computed: {reason}"));
                Some(InferenceError::Failed(reason))
            }
        };
        let vocabulary = loaded.model.config.vocabulary;
        let logits = std::mem::take(&mut self.scratch.logits);
        let mut rest = logits.as_slice();
        for (id, wanted) in members.into_iter().zip(wanted) {
            let (rows, others) = rest.split_at((wanted * vocabulary).min(rest.len()));
            rest = others;
            let Some(index) = self.active.iter().position(|answer| answer.id == id) else { continue };
            let Some(answer) = self.active.get_mut(index) else { continue };
            let step = match &failure {
                Some(error) => Step::Failed(error.clone()),
                None => answer.advance(rows, elapsed),
            };
            self.report(index, step);
        }
        self.scratch.logits = logits;
    }

    fn report(&mut self, index: usize, step: Step) {
        let Some(id) = self.active.get(index).map(|answer| answer.id) else { return };
        match step {
            Step::Silent => {}
            Step::Text(text) => self.tell(id, GenerateEvent::Text(text)),
            Step::Done(text, done) => {
                if !text.is_empty() {
                    self.tell(id, GenerateEvent::Text(text));
                }
                let answer = self.active.remove(index);
                answer.count(&mut self.statistics);
                answer.leave(&mut self.kept);
                self.tell(id, done);
                self.tell_places();
            }
            Step::Failed(error) => {
                self.active.remove(index);
                self.fail(id, error);
                self.tell_places();
            }
        }
    }
}
