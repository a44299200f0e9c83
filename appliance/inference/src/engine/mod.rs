//! The inference role's one working thread: takes calls, embeds, loads, and moves every answer on by a step at a time.
//!
//! Between two steps, which take milliseconds, it looks at everything else: calls that came, calls whose asker left,
//! texts to embed, models to load. So no answer keeps anybody waiting for longer than a step.

mod answer;
mod draft;
mod embeddings;
mod kept;
mod loading;
mod pace;
mod queue;
mod registry;
mod shelf;
mod step;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError},
    },
    time::Duration,
};

use cairn_kernels::Compute;
use tokio::sync::mpsc::UnboundedSender;

use self::{
    answer::Answering, embeddings::Embeddings, kept::Kept, pace::Pace, queue::Queue, registry::Registry,
};
use crate::{
    error::{InferenceError, ModelError},
    loaded::Loaded,
    model::Scratch,
    protocol::{
        self, Answer, Call, MAX_ACTIVE, MAX_WAITING, MAX_WAITING_PER_ASKER, Reply, Request, Statistics,
    },
    types::{GenerateEvent, GenerateRequest},
};

/// A rest that is longer than this is one between two people, not between two calls of the same work.
const RESTS_AFTER: Duration = Duration::from_secs(2);

/// What comes to the engine.
pub(crate) enum Input {
    /// From the hub.
    Call(Call),
    /// A thread has loaded a model.
    Loaded {
        /// Which one.
        name: String,
        /// The model, or why not.
        result: Box<Result<Loaded, InferenceError>>,
    },
    /// Nobody is served any more.
    Stop,
}

/// What the engine may use.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) model_dir: PathBuf,
    pub(crate) embed_model: PathBuf,
    pub(crate) memory_bytes: u64,
    pub(crate) context: usize,
    pub(crate) drafts: bool,
    pub(crate) prefixes: Option<PathBuf>,
}

/// A request that waits for its turn or for its model.
struct Waiting {
    request: GenerateRequest,
    model: String,
}

pub(crate) struct Engine {
    limits: Limits,
    compute: Arc<Compute>,
    /// Given to loading threads; never used to receive.
    inputs: Sender<Input>,
    replies: UnboundedSender<Reply>,
    registry: Registry,
    embeddings: Embeddings,
    queue: Queue<Waiting>,
    active: Vec<Answering>,
    /// Which active answer reads its prompt next.
    turn: usize,
    kept: Kept,
    pace: Pace,
    scratch: Scratch,
    /// Calls that wait for a model to be loaded.
    loads: Vec<(u64, String)>,
    statistics: Statistics,
}

impl Engine {
    pub(crate) fn new(
        limits: Limits,
        compute: Arc<Compute>,
        inputs: Sender<Input>,
        replies: UnboundedSender<Reply>,
    ) -> Self {
        Self {
            registry: Registry::new(limits.model_dir.clone(), limits.memory_bytes),
            embeddings: Embeddings::new(limits.embed_model.clone(), Arc::clone(&compute)),
            compute,
            queue: Queue::new(MAX_WAITING, MAX_WAITING_PER_ASKER),
            active: Vec::new(),
            turn: 0,
            kept: Kept::new(limits.prefixes.clone()),
            pace: Pace::default(),
            scratch: Scratch::default(),
            loads: Vec::new(),
            statistics: Statistics::default(),
            limits,
            inputs,
            replies,
        }
    }

    /// Works until it is told to stop.
    pub(crate) fn run(mut self, inbox: Receiver<Input>) {
        loop {
            let idle = self.active.is_empty() && self.embeddings.is_empty() && !self.can_admit();
            if idle {
                self.kept.save_one();
                match self.rest(&inbox) {
                    Some(input) => self.take(input),
                    None => return,
                }
            }
            loop {
                match inbox.try_recv() {
                    Ok(Input::Stop) | Err(TryRecvError::Disconnected) => return,
                    Ok(input) => self.take(input),
                    Err(TryRecvError::Empty) => break,
                }
            }
            self.embed();
            self.load_wanted();
            self.admit();
            self.step();
        }
    }

    /// Waits for something to do; `None` at the end. Before a longer rest, what work has left in memory goes back to the system.
    fn rest(&mut self, inbox: &Receiver<Input>) -> Option<Input> {
        let input = match inbox.recv_timeout(RESTS_AFTER) {
            Err(RecvTimeoutError::Timeout) => {
                self.scratch = Scratch::default();
                cairn_process::return_freed_memory();
                inbox.recv().ok()?
            }
            other => other.ok()?,
        };
        (!matches!(input, Input::Stop)).then_some(input)
    }

    fn reply(&self, id: u64, answer: Answer) {
        // The only receiver is the task that writes to the hub; without it the engine is about to end.
        if self.replies.send(Reply { id, answer }).is_err() {
            tracing::debug!(id, "nobody takes replies any more");
        }
    }

    fn tell(&self, id: u64, event: GenerateEvent) {
        self.reply(id, Answer::Generate(event));
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Call(Call { id, request }) => self.call(id, request),
            Input::Loaded { name, result } => self.loaded(&name, *result),
            // Handled where inputs are received.
            Input::Stop => {}
        }
    }

    fn call(&mut self, id: u64, request: Request) {
        match request {
            Request::Hello { version } => {
                if version != protocol::VERSION {
                    tracing::error!(
                        theirs = version,
                        ours = protocol::VERSION,
                        "the hub is of another build"
                    );
                }
                self.reply(id, Answer::Hello { version: protocol::VERSION });
            }
            Request::Generate(request) => self.enqueue(id, request),
            Request::Cancel => self.cancel(id),
            Request::Embed { texts, role } => {
                if let Err(error) = self.embeddings.push(id, texts, role) {
                    self.reply(id, Answer::Failed(error));
                }
            }
            Request::Models => {
                self.registry.scan();
                self.reply(id, Answer::Models(self.registry.infos()));
            }
            Request::Load { name } => match self.registry.resolve(Some(&name)) {
                Ok(name) => self.loads.push((id, name)),
                Err(error) => self.reply(id, Answer::Failed(error)),
            },
            Request::Unload { name } => {
                let answer = match self.registry.resolve(Some(&name)) {
                    Ok(name) => {
                        self.registry.unload(&name);
                        self.kept.forget(&name);
                        Answer::Done
                    }
                    Err(error) => Answer::Failed(error),
                };
                self.reply(id, answer);
            }
            Request::Threads { fewer } => {
                let pool = self.compute.pool();
                pool.set_threads(pool.most_threads().saturating_sub(fewer as usize));
                self.reply(id, Answer::Done);
            }
            Request::Statistics => {
                let under_way: u64 = self.active.iter().map(|answer| u64::from(answer.written)).sum();
                let statistics = Statistics {
                    generated_tokens: self.statistics.generated_tokens + under_way,
                    waiting: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
                    active: u32::try_from(self.active.len()).unwrap_or(u32::MAX),
                    models_loaded: u32::try_from(self.registry.loaded()).unwrap_or(u32::MAX),
                    threads: u32::try_from(self.compute.pool().threads()).unwrap_or(u32::MAX),
                    ..self.statistics
                };
                self.reply(id, Answer::Statistics(statistics));
            }
        }
    }

    fn enqueue(&mut self, id: u64, request: GenerateRequest) {
        let model = protocol::check(&request).and_then(|()| self.registry.resolve(request.model.as_deref()));
        let asker = request.asker;
        let queued = model.and_then(|model| {
            self.queue
                .push(id, asker, Waiting { request, model })
                .map_err(|full| InferenceError::QueueFull { waiting: full.waiting })
        });
        match queued {
            Ok(()) => self.tell_places(),
            Err(error) => self.fail(id, error),
        }
    }

    fn fail(&mut self, id: u64, error: InferenceError) {
        self.statistics.failed += 1;
        self.tell(id, GenerateEvent::Failed(error));
    }

    fn cancel(&mut self, id: u64) {
        self.embeddings.remove(id);
        self.loads.retain(|(load, _)| *load != id);
        if self.queue.remove(id).is_some() {
            self.statistics.cancelled += 1;
            self.tell_places();
        }
        if let Some(index) = self.active.iter().position(|answer| answer.id == id) {
            let answer = self.active.remove(index);
            self.statistics.cancelled += 1;
            answer.leave(&mut self.kept);
            self.tell_places();
        }
    }

    fn running(&self) -> Vec<u64> {
        self.active.iter().map(|answer| answer.asker).collect()
    }

    fn tell_places(&mut self) {
        for (id, place) in self.queue.changed_places(&self.running()) {
            self.tell(id, GenerateEvent::Queued { place });
        }
    }

    fn embed(&mut self) {
        for done in self.embeddings.step(!self.active.is_empty()) {
            self.statistics.embedded += done.texts;
            self.statistics.embed_ms += done.millis;
            let answer = done.result.map_or_else(Answer::Failed, Answer::Embeddings);
            self.reply(done.id, answer);
        }
    }

    /// Whether something waits that could start right away.
    fn can_admit(&self) -> bool {
        self.loads.iter().any(|(_, name)| self.registry.can_serve(name))
            || self.active.len() < MAX_ACTIVE
                && self.queue.items().any(|waiting| self.registry.can_serve(&waiting.model))
    }

    /// Starts those that are next, as many as may run side by side.
    fn admit(&mut self) {
        let wanted: Vec<String> = self.queue.items().map(|waiting| waiting.model.clone()).collect();
        for name in wanted {
            if let Err(error) = self.want(&name) {
                for id in self.queue.ids(|waiting| waiting.model == name) {
                    self.queue.remove(id);
                    self.fail(id, error.clone());
                }
            }
        }
        let mut changed = false;
        while self.active.len() < MAX_ACTIVE {
            let registry = &self.registry;
            let running: Vec<u64> = self.active.iter().map(|answer| answer.asker).collect();
            let next = self.queue.next(&running, |waiting| registry.is_loaded(&waiting.model));
            let Some((id, asker, waiting)) = next else { break };
            changed = true;
            let Some(loaded) = self.registry.get(&waiting.model) else { continue };
            match Answering::start(id, asker, &waiting.request, loaded, self.limits.context, &mut self.kept) {
                Ok(answer) => {
                    self.statistics.reused_tokens += answer.reused as u64;
                    self.tell(
                        id,
                        GenerateEvent::Started {
                            model: waiting.model,
                            prompt_tokens: answer.prompt_tokens(),
                        },
                    );
                    self.active.push(answer);
                }
                Err(error) => self.fail(id, error),
            }
        }
        if changed {
            self.tell_places();
        }
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!(
        "an internal error: {}",
        text.unwrap_or("without a message").chars().take(200).collect::<String>()
    )
}

/// Runs a computation of a model; a panic in it becomes an error.
fn guarded<T>(compute: impl FnOnce() -> Result<T, ModelError>) -> Result<T, InferenceError> {
    match catch_unwind(AssertUnwindSafe(compute)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(InferenceError::Failed(error.to_string())),
        Err(panic) => Err(InferenceError::Failed(panic_text(panic.as_ref()))),
    }
}
