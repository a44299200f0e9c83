//! The hub's end of the channel to the inference role.

use std::{
    collections::HashMap,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cairn_process::{Channel, Receiver};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    error::InferenceError,
    protocol::{
        self, Answer, Call, MAX_EMBED_BYTES, MAX_EMBED_TEXTS, MAX_TOKENS, Reply, Request, Statistics,
    },
    types::{Embed, EmbedRole, Generate, GenerateEvent, GenerateRequest, ModelInfo},
};

/// How long a request waits for the inference role to be (re)started before it is refused.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a batch of embeddings may take on the slowest board while an answer is being written.
const EMBED_WITHIN: Duration = Duration::from_secs(120);
/// How long listing, loading and unloading may take (a large model from a slow card).
const MANAGE_WITHIN: Duration = Duration::from_secs(600);
/// Calls that wait to be written to the channel.
const MAX_OUTGOING: usize = 256;
/// Events of one generation that its reader has not taken yet: all it can have, so that a slow reader never stops
/// the others.
const MAX_EVENTS: usize = MAX_TOKENS as usize + 128;

/// A handle on the inference role; clones share it. It survives the role's restarts: the supervisor's new channel is
/// given to [`InferenceClient::attach`].
#[derive(Clone)]
pub struct InferenceClient {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    link: watch::Sender<Option<Link>>,
}

#[derive(Default)]
struct State {
    next_id: u64,
    /// Calls without a (last) reply, with the number of the link that they went over.
    waiting: HashMap<u64, (u64, Waiting)>,
    links: u64,
}

#[derive(Clone)]
struct Link {
    number: u64,
    calls: mpsc::Sender<Call>,
}

enum Waiting {
    Stream(mpsc::Sender<GenerateEvent>),
    Once(oneshot::Sender<Result<Answer, InferenceError>>),
}

impl Waiting {
    fn fail(self, error: InferenceError) {
        match self {
            // A reader that has not taken anything of a full channel is gone; its end is no loss.
            Self::Stream(events) => drop(events.try_send(GenerateEvent::Failed(error))),
            Self::Once(answer) => drop(answer.send(Err(error))),
        }
    }
}

impl Default for InferenceClient {
    fn default() -> Self {
        Self::new()
    }
}

impl InferenceClient {
    /// A client without a connection.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::default(), link: watch::Sender::new(None) }) }
    }

    /// Uses this socket from now on. Requests on an earlier one fail with [`InferenceError::Died`]. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made into a channel.
    pub fn attach(&self, stream: UnixStream) -> std::io::Result<()> {
        let channel: Channel<Call, Reply> = Channel::new(stream)?;
        let (sender, receiver) = channel.split();
        let (calls, mut outgoing) = mpsc::channel::<Call>(MAX_OUTGOING);
        let number = {
            let mut state = self.shared.state();
            state.links += 1;
            state.links
        };
        if let Some(before) = self.shared.link.send_replace(Some(Link { number, calls })) {
            self.shared.fail_link(before.number);
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let hello = Call { id: 0, request: Request::Hello { version: protocol::VERSION } };
            let writing = async {
                sender.send(&hello).await?;
                while let Some(call) = outgoing.recv().await {
                    sender.send(&call).await?;
                }
                Ok::<_, cairn_process::ChannelError>(())
            };
            tokio::select! {
                written = writing => if let Err(error) = written {
                    tracing::warn!(%error, "the channel to the inference process failed");
                },
                () = shared.read(&receiver) => {}
            }
            shared.close(number);
        });
        Ok(())
    }

    /// Gives the connection up; running requests fail with [`InferenceError::Died`].
    pub fn detach(&self) {
        if let Some(before) = self.shared.link.send_replace(None) {
            self.shared.fail_link(before.number);
        }
    }

    /// Whether there is a connection.
    pub fn connected(&self) -> bool {
        self.shared.link.borrow().is_some()
    }

    /// Embeds any number of texts; splits them into calls of the protocol's size.
    ///
    /// # Errors
    /// [`InferenceError`]; nothing is returned unless every text was embedded.
    pub async fn embed(&self, texts: Vec<String>, role: EmbedRole) -> Result<Vec<Vec<f32>>, InferenceError> {
        let count = texts.len();
        let mut vectors = Vec::with_capacity(count);
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut texts = texts.into_iter().peekable();
        while let Some(text) = texts.next() {
            if text.len() > MAX_EMBED_BYTES {
                return Err(InferenceError::BadRequest(format!(
                    "a text to embed has at most {MAX_EMBED_BYTES} bytes"
                )));
            }
            bytes += text.len();
            batch.push(text);
            let full = texts
                .peek()
                .is_none_or(|next| batch.len() == MAX_EMBED_TEXTS || bytes + next.len() > MAX_EMBED_BYTES);
            if full {
                let request = Request::Embed { texts: std::mem::take(&mut batch), role };
                match self.call(request, EMBED_WITHIN).await? {
                    Answer::Embeddings(part) => vectors.extend(part),
                    other => return Err(unexpected(&other)),
                }
                bytes = 0;
            }
        }
        if vectors.len() == count {
            Ok(vectors)
        } else {
            Err(InferenceError::Failed(format!("{} vectors came for {count} texts", vectors.len())))
        }
    }

    /// The installed generating models.
    ///
    /// # Errors
    /// [`InferenceError`] when the role is away.
    pub async fn models(&self) -> Result<Vec<ModelInfo>, InferenceError> {
        match self.call(Request::Models, MANAGE_WITHIN).await? {
            Answer::Models(models) => Ok(models),
            other => Err(unexpected(&other)),
        }
    }

    /// Loads a model; returns when it is in memory.
    ///
    /// # Errors
    /// [`InferenceError`] with the reason why it cannot be loaded.
    pub async fn load(&self, name: &str) -> Result<(), InferenceError> {
        self.manage(Request::Load { name: name.to_owned() }).await
    }

    /// Frees a model's memory once its running answers are done.
    ///
    /// # Errors
    /// [`InferenceError::UnknownModel`], or when the role is away.
    pub async fn unload(&self, name: &str) -> Result<(), InferenceError> {
        self.manage(Request::Unload { name: name.to_owned() }).await
    }

    /// Lets this many of the computing threads rest, from now on and until the role ends; at least one works.
    ///
    /// # Errors
    /// [`InferenceError`] when the role is away.
    pub async fn rest_threads(&self, fewer: u32) -> Result<(), InferenceError> {
        self.manage(Request::Threads { fewer }).await
    }

    /// Counters since the role started.
    ///
    /// # Errors
    /// [`InferenceError`] when the role is away.
    pub async fn statistics(&self) -> Result<Statistics, InferenceError> {
        match self.call(Request::Statistics, EMBED_WITHIN).await? {
            Answer::Statistics(statistics) => Ok(statistics),
            other => Err(unexpected(&other)),
        }
    }

    async fn manage(&self, request: Request) -> Result<(), InferenceError> {
        match self.call(request, MANAGE_WITHIN).await? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn call(&self, request: Request, within: Duration) -> Result<Answer, InferenceError> {
        let (answer, answered) = oneshot::channel();
        let ticket = self.send(request, Waiting::Once(answer)).await?;
        let reply = tokio::time::timeout(within, answered).await;
        drop(ticket);
        match reply {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(InferenceError::Died),
            Err(_) => Err(InferenceError::TimedOut),
        }
    }

    /// Registers who waits, then sends. Dropping the ticket before the last reply cancels the call.
    async fn send(&self, request: Request, waiting: Waiting) -> Result<Ticket, InferenceError> {
        let link = self.link().await?;
        let id = {
            let mut state = self.shared.state();
            state.next_id += 1;
            let id = state.next_id;
            state.waiting.insert(id, (link.number, waiting));
            id
        };
        let ticket = Ticket { shared: Arc::clone(&self.shared), calls: link.calls.clone(), id };
        link.calls.send(Call { id, request }).await.map_err(|_| InferenceError::Died)?;
        // The link may have closed between taking it and registering; then nobody would ever answer.
        if self.shared.link.borrow().as_ref().is_none_or(|now| now.number != link.number) {
            return Err(InferenceError::Died);
        }
        Ok(ticket)
    }

    async fn link(&self) -> Result<Link, InferenceError> {
        let mut changes = self.shared.link.subscribe();
        let connected = changes.wait_for(Option::is_some);
        match tokio::time::timeout(CONNECT_WITHIN, connected).await {
            Ok(Ok(link)) => link.clone().ok_or(InferenceError::NotConnected),
            _ => Err(InferenceError::NotConnected),
        }
    }
}

impl Generate for InferenceClient {
    fn generate(&self, request: GenerateRequest) -> BoxStream<'static, GenerateEvent> {
        let client = self.clone();
        async_stream::stream! {
            if let Err(error) = protocol::check(&request) {
                yield GenerateEvent::Failed(error);
                return;
            }
            let (events, mut incoming) = mpsc::channel(MAX_EVENTS);
            let ticket = match client.send(Request::Generate(request), Waiting::Stream(events)).await {
                Ok(ticket) => ticket,
                Err(error) => {
                    yield GenerateEvent::Failed(error);
                    return;
                }
            };
            let mut ended = false;
            while let Some(event) = incoming.recv().await {
                ended = matches!(event, GenerateEvent::Done { .. } | GenerateEvent::Failed(_));
                yield event;
                if ended {
                    break;
                }
            }
            drop(ticket);
            if !ended {
                yield GenerateEvent::Failed(InferenceError::Died);
            }
        }
        .boxed()
    }
}

impl Embed for InferenceClient {
    fn embed(
        &self,
        texts: Vec<String>,
        role: EmbedRole,
    ) -> BoxFuture<'static, Result<Vec<Vec<f32>>, InferenceError>> {
        let client = self.clone();
        async move { Self::embed(&client, texts, role).await }.boxed()
    }
}

/// A call that somebody waits for.
struct Ticket {
    shared: Arc<Shared>,
    calls: mpsc::Sender<Call>,
    id: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let unanswered = self.shared.state().waiting.remove(&self.id).is_some();
        if unanswered && self.calls.try_send(Call { id: self.id, request: Request::Cancel }).is_err() {
            tracing::debug!(
                id = self.id,
                "a cancelled call could not be taken back: the channel is full or closed"
            );
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, receiver: &Receiver<Reply>) {
        loop {
            match receiver.recv().await {
                Ok(Some(reply)) => self.deliver(reply),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "the channel to the inference process failed");
                    return;
                }
            }
        }
    }

    fn deliver(&self, reply: Reply) {
        if let Answer::Hello { version } = reply.answer {
            if version != protocol::VERSION {
                tracing::error!(
                    theirs = version,
                    ours = protocol::VERSION,
                    "the inference process is of another build"
                );
            }
            return;
        }
        let mut state = self.state();
        match reply.answer {
            Answer::Generate(event) => {
                let last = matches!(event, GenerateEvent::Done { .. } | GenerateEvent::Failed(_));
                let lost = match state.waiting.get(&reply.id) {
                    Some((_, Waiting::Stream(events))) => events.try_send(event).is_err(),
                    _ => false,
                };
                if last || lost {
                    state.waiting.remove(&reply.id);
                }
            }
            answer => {
                if let Some((_, Waiting::Once(waiting))) = state.waiting.remove(&reply.id) {
                    let answer = match answer {
                        Answer::Failed(error) => Err(error),
                        answer => Ok(answer),
                    };
                    // Whoever asked may have left meanwhile.
                    drop(waiting.send(answer));
                }
            }
        }
    }

    fn close(&self, number: u64) {
        self.link.send_if_modified(|link| {
            let ours = link.as_ref().is_some_and(|link| link.number == number);
            if ours {
                *link = None;
            }
            ours
        });
        self.fail_link(number);
    }

    fn fail_link(&self, number: u64) {
        let mut state = self.state();
        let lost: Vec<u64> =
            state.waiting.iter().filter(|(_, (link, _))| *link == number).map(|(id, _)| *id).collect();
        for id in lost {
            if let Some((_, waiting)) = state.waiting.remove(&id) {
                waiting.fail(InferenceError::Died);
            }
        }
    }
}

fn unexpected(answer: &Answer) -> InferenceError {
    let text = format!("{answer:?}");
    let start: String = text.chars().take(40).collect();
    InferenceError::Failed(format!("the inference process gave an answer to another question ({start}…)"))
}
