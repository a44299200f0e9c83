//! Typed, bounded messages between two processes over a socket pair.
//!
//! Messages are [postcard](https://postcard.jamesmunns.com) in the frames of [`crate::MAX_FRAME`] bytes. Sending has a
//! deadline, because a peer that stops reading must not stop its partner. Receiving has none of its own: use
//! [`Receiver::recv_within`] where silence means something. Both are cancel safe: a dropped future loses no byte
//! and sends none twice.

use std::{
    collections::VecDeque,
    io,
    marker::PhantomData,
    os::fd::{AsFd, OwnedFd},
    os::unix::net::UnixStream as StdStream,
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::Mutex,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    os,
    wire::{self, Decoder},
};

/// How long a send waits for a peer that does not read, unless told otherwise.
pub const SEND_DEADLINE: Duration = Duration::from_secs(10);

/// Descriptors that may wait for their frames; more than that is a peer gone wrong.
const MAX_WAITING_DESCRIPTORS: usize = 16;
/// Bytes asked for in one read.
const READ_CHUNK: usize = 64 * 1024;

/// Why a message did not get through. After any of these except [`ChannelError::TooLarge`] on sending, the channel
/// is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other process is gone or has closed its end.
    #[error("the other process has closed the channel")]
    Closed,
    /// The peer did not read for the whole deadline.
    #[error("the other process has not read for {} s", .0.as_secs())]
    Stalled(Duration),
    /// Nothing came within the time asked for.
    #[error("nothing came from the other process for {} ms", .0.as_millis())]
    Silent(Duration),
    /// Larger than a frame may be.
    #[error("a message of {bytes} bytes is larger than the {} that fit a frame", wire::MAX_FRAME)]
    TooLarge {
        /// The message's size.
        bytes: usize,
    },
    /// The stream ended in the middle of a frame.
    #[error("the channel ended in the middle of a message")]
    Truncated,
    /// What came is not one of our channels, or another version of it.
    #[error("the other end does not speak this version of the channel")]
    NotOurs,
    /// The payload is not the message expected.
    #[error("a message could not be read: {0}")]
    Malformed(postcard::Error),
    /// The message could not be written.
    #[error("a message could not be encoded: {0}")]
    Unencodable(postcard::Error),
    /// A frame said that a descriptor comes with it, and none came, or too many came without a frame.
    #[error("a message and the descriptor that belongs to it did not come together")]
    Descriptor,
    /// The operating system's error.
    #[error("the channel failed: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => {
                Self::Closed
            }
            _ => Self::Io(error),
        }
    }
}

/// Both directions of a channel: sends `S`, receives `R`.
#[derive(Debug)]
pub struct Channel<S, R> {
    sender: Sender<S>,
    receiver: Receiver<R>,
}

impl<S: Serialize, R: DeserializeOwned> Channel<S, R> {
    /// A channel over one end of a socket pair. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made non-blocking or registered with the runtime.
    pub fn new(stream: StdStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = Arc::new(UnixStream::from_std(stream)?);
        let mut pending = Vec::new();
        wire::greet(&mut pending);
        let outgoing = Outgoing { pending, sent: 0, descriptor: None, broken: false };
        let incoming = Incoming {
            decoder: Decoder::default(),
            descriptors: VecDeque::new(),
            chunk: vec![0; READ_CHUNK].into_boxed_slice(),
        };
        Ok(Self {
            sender: Sender {
                stream: Arc::clone(&stream),
                state: Arc::new(Mutex::new(outgoing)),
                deadline: SEND_DEADLINE,
                sends: PhantomData,
            },
            receiver: Receiver { stream, state: Mutex::new(incoming), receives: PhantomData },
        })
    }

    /// Sends one message. See [`Sender::send`].
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn send(&self, message: &S) -> Result<(), ChannelError> {
        self.sender.send(message).await
    }

    /// Sends one message and a descriptor. See [`Sender::send_with_fd`].
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn send_with_fd(&self, message: &S, descriptor: OwnedFd) -> Result<(), ChannelError> {
        self.sender.send_with_fd(message, descriptor).await
    }

    /// Receives one message; `None` when the peer has closed its end. See [`Receiver::recv`].
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn recv(&self) -> Result<Option<R>, ChannelError> {
        self.receiver.recv().await
    }

    /// Receives one message and the descriptor that came with it. See [`Receiver::recv_with_fd`].
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn recv_with_fd(&self) -> Result<Option<(R, Option<OwnedFd>)>, ChannelError> {
        self.receiver.recv_with_fd().await
    }

    /// The two directions, to be used by different tasks.
    #[must_use]
    pub fn split(self) -> (Sender<S>, Receiver<R>) {
        (self.sender, self.receiver)
    }
}

#[derive(Debug)]
struct Outgoing {
    /// Bytes of frames that were begun; a frame is never given up half-way, or the stream would lose its shape.
    pending: Vec<u8>,
    sent: usize,
    /// Goes with the next bytes.
    descriptor: Option<OwnedFd>,
    broken: bool,
}

/// The sending half. Clones share the direction; messages of several tasks do not mix.
#[derive(Debug)]
pub struct Sender<S> {
    stream: Arc<UnixStream>,
    state: Arc<Mutex<Outgoing>>,
    deadline: Duration,
    sends: PhantomData<fn(S)>,
}

impl<S> Clone for Sender<S> {
    fn clone(&self) -> Self {
        Self {
            stream: Arc::clone(&self.stream),
            state: Arc::clone(&self.state),
            deadline: self.deadline,
            sends: PhantomData,
        }
    }
}

impl<S: Serialize> Sender<S> {
    /// The same half with another deadline for sends.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sends one message; returns when the kernel has all of it.
    ///
    /// # Errors
    /// [`ChannelError::Stalled`] after the deadline, [`ChannelError::Closed`] when the peer is gone,
    /// [`ChannelError::TooLarge`] when the message does not fit a frame (the channel stays usable then).
    pub async fn send(&self, message: &S) -> Result<(), ChannelError> {
        self.transmit(message, None).await
    }

    /// Sends one message and hands the peer a copy of `descriptor`; ours is closed once it is sent.
    ///
    /// # Errors
    /// As for [`Sender::send`].
    pub async fn send_with_fd(&self, message: &S, descriptor: OwnedFd) -> Result<(), ChannelError> {
        self.transmit(message, Some(descriptor)).await
    }

    async fn transmit(&self, message: &S, descriptor: Option<OwnedFd>) -> Result<(), ChannelError> {
        let payload = postcard::to_stdvec(message).map_err(ChannelError::Unencodable)?;
        let mut frame = Vec::with_capacity(payload.len() + 4);
        wire::encode(&mut frame, &payload, descriptor.is_some())?;

        let deadline = Instant::now() + self.deadline;
        let stalled = |_| ChannelError::Stalled(self.deadline);
        let mut state = timeout_at(deadline, self.state.lock()).await.map_err(stalled)?;
        if state.broken {
            return Err(ChannelError::Closed);
        }
        // First whatever an earlier, cancelled send left: a descriptor travels with the first byte of its own frame.
        let outcome = timeout_at(deadline, async {
            self.flush(&mut state).await?;
            state.pending = frame;
            state.sent = 0;
            state.descriptor = descriptor;
            self.flush(&mut state).await
        })
        .await
        .map_err(stalled)
        .flatten();
        if outcome.is_err() {
            state.broken = true;
        }
        outcome
    }

    async fn flush(&self, state: &mut Outgoing) -> Result<(), ChannelError> {
        while let Some(rest) = state.pending.get(state.sent..).filter(|rest| !rest.is_empty()) {
            let descriptor = state.descriptor.as_ref().map(AsFd::as_fd);
            let sent = self
                .stream
                .async_io(Interest::WRITABLE, || os::send(self.stream.as_fd(), rest, descriptor))
                .await?;
            state.sent += sent;
            state.descriptor = None;
        }
        state.pending.clear();
        state.sent = 0;
        Ok(())
    }
}

#[derive(Debug)]
struct Incoming {
    decoder: Decoder,
    descriptors: VecDeque<OwnedFd>,
    chunk: Box<[u8]>,
}

/// The receiving half.
#[derive(Debug)]
pub struct Receiver<R> {
    stream: Arc<UnixStream>,
    state: Mutex<Incoming>,
    receives: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Receiver<R> {
    /// Receives one message; `None` when the peer has closed its end. A descriptor that came with it is closed.
    ///
    /// # Errors
    /// [`ChannelError`]; the channel is then of no further use.
    pub async fn recv(&self) -> Result<Option<R>, ChannelError> {
        Ok(self.recv_with_fd().await?.map(|(message, _)| message))
    }

    /// As [`Receiver::recv`], but not longer than `patience`.
    ///
    /// # Errors
    /// [`ChannelError::Silent`] when nothing came; the channel stays usable then.
    pub async fn recv_within(&self, patience: Duration) -> Result<Option<R>, ChannelError> {
        timeout(patience, self.recv()).await.map_err(|_| ChannelError::Silent(patience))?
    }

    /// Receives one message and the descriptor that came with it, if one did.
    ///
    /// # Errors
    /// [`ChannelError`]; the channel is then of no further use.
    pub async fn recv_with_fd(&self) -> Result<Option<(R, Option<OwnedFd>)>, ChannelError> {
        let mut state = self.state.lock().await;
        let Incoming { decoder, descriptors, chunk } = &mut *state;
        loop {
            if let Some(frame) = decoder.next()? {
                let descriptor = if frame.carries_descriptor {
                    Some(descriptors.pop_front().ok_or(ChannelError::Descriptor)?)
                } else {
                    None
                };
                let (message, rest) =
                    postcard::take_from_bytes(&frame.payload).map_err(ChannelError::Malformed)?;
                if !rest.is_empty() {
                    return Err(ChannelError::Malformed(postcard::Error::DeserializeBadEncoding));
                }
                return Ok(Some((message, descriptor)));
            }
            let read = self
                .stream
                .async_io(Interest::READABLE, || {
                    let read = os::receive(self.stream.as_fd(), chunk, descriptors)?;
                    decoder.feed(chunk.get(..read).unwrap_or_default());
                    Ok(read)
                })
                .await;
            match read.map_err(ChannelError::from) {
                Ok(0) | Err(ChannelError::Closed) if decoder.at_boundary() => return Ok(None),
                Ok(0) | Err(ChannelError::Closed) => return Err(ChannelError::Truncated),
                Ok(_) if descriptors.len() > MAX_WAITING_DESCRIPTORS => return Err(ChannelError::Descriptor),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Message {
        Number(u64),
        Words(Vec<String>),
        Take,
    }

    type Both = Channel<Message, Message>;

    fn pair() -> (Both, Both) {
        let (left, right) = StdStream::pair().unwrap();
        (Channel::new(left).unwrap(), Channel::new(right).unwrap())
    }

    #[tokio::test]
    async fn messages_arrive_in_order_and_the_end_is_told() {
        let (left, right) = pair();
        let sent = [Message::Number(7), Message::Words(vec!["water".into(); 1000]), Message::Take];
        for message in &sent {
            left.send(message).await.unwrap();
        }
        for message in &sent {
            assert_eq!(right.recv().await.unwrap().as_ref(), Some(message));
        }
        drop(left);
        assert_eq!(right.recv().await.unwrap(), None);
        assert!(matches!(right.send(&Message::Take).await, Err(ChannelError::Closed)));
    }

    #[tokio::test]
    async fn a_message_larger_than_the_sockets_buffer_goes_through() {
        let (left, right) = pair();
        let big = Message::Words(vec!["x".repeat(1000); 900]);
        let (sent, got) = tokio::join!(left.send(&big), right.recv());
        sent.unwrap();
        assert_eq!(got.unwrap(), Some(big));
    }

    #[tokio::test]
    async fn a_message_larger_than_a_frame_is_refused_and_the_channel_goes_on() {
        let (left, right) = pair();
        let huge = Message::Words(vec!["x".repeat(wire::MAX_FRAME)]);
        assert!(matches!(left.send(&huge).await, Err(ChannelError::TooLarge { .. })));
        left.send(&Message::Number(1)).await.unwrap();
        assert_eq!(right.recv().await.unwrap(), Some(Message::Number(1)));
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_costs_a_deadline_not_a_process() {
        let (left, _right) = pair();
        let (sender, _receiver) = left.split();
        let sender = sender.with_deadline(Duration::from_millis(50));
        let big = Message::Words(vec!["x".repeat(1000); 900]);
        assert!(matches!(sender.send(&big).await, Err(ChannelError::Stalled(_))));
        assert!(matches!(sender.send(&Message::Take).await, Err(ChannelError::Closed)));
    }

    #[tokio::test]
    async fn a_cancelled_send_and_a_cancelled_receive_lose_nothing() {
        let (left, right) = pair();
        let big = Message::Words(vec!["y".repeat(1000); 900]);
        assert!(timeout(Duration::from_millis(20), left.send(&big)).await.is_err(), "it cannot fit at once");
        let next = Message::Number(2);
        let receive = async {
            // Cancelled over and over, as a `select!` does.
            loop {
                if let Ok(message) = timeout(Duration::from_micros(50), right.recv()).await {
                    return message;
                }
            }
        };
        let (sent, first) = tokio::join!(left.send(&next), receive);
        sent.unwrap();
        assert_eq!(first.unwrap(), Some(big));
        assert_eq!(right.recv().await.unwrap(), Some(next));
    }

    #[tokio::test]
    async fn a_descriptor_arrives_with_its_message_and_works() {
        let (left, right) = pair();
        let (mut ours, theirs) = StdStream::pair().unwrap();
        left.send(&Message::Number(1)).await.unwrap();
        left.send_with_fd(&Message::Take, theirs.into()).await.unwrap();
        left.send(&Message::Number(2)).await.unwrap();

        let (message, none) = right.recv_with_fd().await.unwrap().unwrap();
        assert_eq!((message, none.is_none()), (Message::Number(1), true));
        let (message, descriptor) = right.recv_with_fd().await.unwrap().unwrap();
        assert_eq!(message, Message::Take);
        let mut received = StdStream::from(descriptor.unwrap());
        received.write_all(b"hello").unwrap();
        let mut buffer = [0; 5];
        ours.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
        let flags = nix::fcntl::fcntl(&received, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & nix::libc::FD_CLOEXEC, nix::libc::FD_CLOEXEC, "it must not leak into children");
        assert_eq!(right.recv().await.unwrap(), Some(Message::Number(2)));
    }

    #[tokio::test]
    async fn what_is_not_a_message_is_an_error_that_says_so() {
        let (mut raw, ours) = StdStream::pair().unwrap();
        let channel: Both = Channel::new(ours).unwrap();
        let mut bytes = Vec::new();
        wire::greet(&mut bytes);
        wire::encode(&mut bytes, &[99, 99], false).unwrap();
        raw.write_all(&bytes).unwrap();
        assert!(matches!(channel.recv().await, Err(ChannelError::Malformed(_))));

        let (mut raw, ours) = StdStream::pair().unwrap();
        let channel: Both = Channel::new(ours).unwrap();
        raw.write_all(b"cairn\x00\x00\x01\x05\x00\x00\x00ab").unwrap();
        drop(raw);
        assert!(matches!(channel.recv().await, Err(ChannelError::Truncated)));

        let (mut raw, ours) = StdStream::pair().unwrap();
        let channel: Both = Channel::new(ours).unwrap();
        raw.write_all(b"cairn\x00\x00\x01\x01\x00\x00\x80\x02").unwrap();
        assert!(matches!(channel.recv().await, Err(ChannelError::Descriptor)));
    }

    #[tokio::test]
    async fn silence_is_told_and_does_not_break_the_channel() {
        let (left, right) = pair();
        let (_sender, receiver) = right.split();
        assert!(matches!(
            receiver.recv_within(Duration::from_millis(10)).await,
            Err(ChannelError::Silent(_))
        ));
        left.send(&Message::Take).await.unwrap();
        assert_eq!(receiver.recv_within(SEND_DEADLINE).await.unwrap(), Some(Message::Take));
    }
}
