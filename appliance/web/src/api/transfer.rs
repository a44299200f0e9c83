//! Bodies that are files: read piece by piece, counted, with a deadline for every piece, written off the threads
//! that serve requests. A body that is too large is refused as soon as that is known, announced or counted.

use std::{
    io::{self, Read, Write},
    pin::pin,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use crate::{
    hub::Hub,
    problem::{Problem, ProblemKind},
};

/// How long the next piece of a body may take.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
/// How much is gathered before it is written.
const GATHER: usize = 256 * 1024;
/// Pieces that may wait between a body and whoever reads or writes it in a thread of its own.
const PIECES: usize = 8;
/// How much of the disk uploads leave free, in bytes: records and their log must always fit.
const RESERVE: u64 = 64 << 20;

/// A limit and what is said when it is passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// Most bytes.
    pub(crate) bytes: u64,
    because_of: LimitedBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LimitedBy {
    Rule,
    Disk,
}

impl Limit {
    /// The rule's limit, or what the disk has room for, if that is less.
    pub(crate) fn within_disk(hub: &Hub, rule: u64) -> Self {
        let room = hub.host.facts().disk.map(|disk| disk.free().saturating_sub(RESERVE));
        match room {
            Some(room) if room < rule => Self { bytes: room, because_of: LimitedBy::Disk },
            _ => Self { bytes: rule, because_of: LimitedBy::Rule },
        }
    }

    /// What is said past it.
    pub(crate) fn passed(&self) -> Problem {
        match self.because_of {
            LimitedBy::Rule => Problem::new(
                ProblemKind::TooLarge,
                format!("this can be at most {} large", human(self.bytes)),
            ),
            LimitedBy::Disk => Problem::new(
                ProblemKind::DiskFull,
                format!("the disk has room for {} more, and this is larger", human(self.bytes)),
            ),
        }
    }

    /// Refuses an announced length past it.
    pub(crate) fn check(&self, announced: Option<u64>) -> Result<(), Problem> {
        if announced.is_some_and(|length| length > self.bytes) { Err(self.passed()) } else { Ok(()) }
    }
}

fn human(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = UNITS.into_iter().find(|(_, size)| bytes >= *size);
    unit.map_or_else(|| format!("{bytes} bytes"), |(name, size)| format!("{} {name}", bytes / size))
}

/// Where a body goes.
pub(crate) trait Sink: Send + 'static {
    /// Takes the next bytes. Called in a thread that may block.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Problem>;
}

/// Writes `body` into `sink`, which is given back. Past the limit, after a broken connection or a piece that does
/// not come, the sink is dropped, which removes what it holds.
pub(crate) async fn pour<S, E, K>(body: S, limit: Limit, sink: K) -> Result<(K, u64), Problem>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Display,
    K: Sink,
{
    let mut body = pin!(body);
    let mut sink = sink;
    let mut total = 0u64;
    let mut gathered = BytesMut::with_capacity(GATHER);
    loop {
        let piece = next_piece(&mut body).await?;
        let ended = piece.is_none();
        if let Some(piece) = piece {
            total = total.saturating_add(piece.len() as u64);
            if total > limit.bytes {
                return Err(limit.passed());
            }
            gathered.extend_from_slice(&piece);
        }
        if gathered.len() >= GATHER || (ended && !gathered.is_empty()) {
            let bytes = gathered.split().freeze();
            sink = blocking(move || sink.put(&bytes).map(|()| sink)).await??;
        }
        if ended {
            return Ok((sink, total));
        }
    }
}

async fn next_piece<S, E>(body: &mut std::pin::Pin<&mut S>) -> Result<Option<Bytes>, Problem>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: std::fmt::Display,
{
    match tokio::time::timeout(PIECE_WITHIN, body.next()).await {
        Ok(Some(Ok(piece))) => Ok(Some(piece)),
        Ok(None) => Ok(None),
        Ok(Some(Err(error))) => Err(cairn_record_api::files::broke_off(&error.to_string()).into()),
        Err(_) => Err(Problem::new(
            ProblemKind::TooSlow,
            format!("nothing arrived for {} seconds", PIECE_WITHIN.as_secs()),
        )),
    }
}

/// Runs work that blocks off the threads that serve requests.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(&error))
}

/// The end of a pipe that a thread writes and a response body reads.
pub(crate) struct PipeWriter(mpsc::Sender<io::Result<Bytes>>);

/// A pipe from a thread to a response body.
pub(crate) fn pipe_out() -> (PipeWriter, mpsc::Receiver<io::Result<Bytes>>) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (PipeWriter(sender), receiver)
}

impl PipeWriter {
    /// The sending half, to tell the reader that the writer failed.
    pub(crate) fn sender(&self) -> mpsc::Sender<io::Result<Bytes>> {
        self.0.clone()
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..bytes.len().min(GATHER)).unwrap_or(bytes);
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "whoever downloads has left");
        self.0.blocking_send(Ok(Bytes::copy_from_slice(piece))).map_err(gone)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end of a pipe that a thread reads and a request body fills.
pub(crate) struct PipeReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

/// The end of a pipe that a request body fills. Dropped before [`PipeFiller::finish`], its reader sees an error
/// rather than a file that ends early.
pub(crate) struct PipeFiller(Option<mpsc::Sender<io::Result<Bytes>>>);

/// A pipe from a request body to a thread.
pub(crate) fn pipe_in() -> (PipeFiller, PipeReader) {
    let (sender, pieces) = mpsc::channel(PIECES);
    (PipeFiller(Some(sender)), PipeReader { pieces, rest: Bytes::new() })
}

impl PipeFiller {
    /// The body is complete.
    pub(crate) fn finish(mut self) {
        self.0 = None;
    }
}

impl Sink for PipeFiller {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        // A reader that has stopped has said why by itself; the rest of the body is taken and dropped.
        if let Some(sender) = &self.0
            && sender.blocking_send(Ok(Bytes::copy_from_slice(bytes))).is_err()
        {
            self.0 = None;
        }
        Ok(())
    }
}

impl Drop for PipeFiller {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let broken = io::Error::new(io::ErrorKind::UnexpectedEof, "the upload broke off");
            // The queue may be full and this may run where waiting is forbidden: send from a task of its own.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { sender.send(Err(broken)).await.ok() });
            }
        }
    }
}

impl Read for PipeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.rest = piece?,
                None => return Ok(0),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(out.len()));
        let (filled, _) = out.split_at_mut(piece.len());
        filled.copy_from_slice(&piece);
        Ok(piece.len())
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    impl Sink for Vec<u8> {
        fn put(&mut self, bytes: &[u8]) -> Result<(), Problem> {
            self.extend_from_slice(bytes);
            Ok(())
        }
    }

    const LIMIT: Limit = Limit { bytes: 1_000_000, because_of: LimitedBy::Rule };

    fn pieces(count: usize) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::iter((0..count).map(|_| Ok(Bytes::from(vec![7; 100_000]))))
    }

    #[tokio::test]
    async fn a_body_arrives_whole_or_not_at_all() {
        let (found, total) = pour(pieces(10), LIMIT, Vec::new()).await.unwrap();
        assert_eq!((found.len() as u64, total), (LIMIT.bytes, LIMIT.bytes));
        assert_eq!(pour(pieces(11), LIMIT, Vec::new()).await.unwrap_err().kind, ProblemKind::TooLarge);
        let broken = pieces(2).chain(stream::iter([Err(io::Error::other("reset"))]));
        assert_eq!(pour(broken, LIMIT, Vec::new()).await.unwrap_err().kind, ProblemKind::Malformed);
        assert!(LIMIT.check(Some(10 << 30)).is_err() && LIMIT.check(None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_given_up() {
        let stuck = pieces(1).chain(stream::pending());
        assert_eq!(pour(stuck, LIMIT, Vec::new()).await.unwrap_err().kind, ProblemKind::TooSlow);
    }

    #[tokio::test]
    async fn a_pipe_tells_a_finished_body_from_a_broken_one() {
        for breaks in [false, true] {
            let (filler, mut reader) = pipe_in();
            let read = tokio::task::spawn_blocking(move || {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).map(|_| all.len())
            });
            let (filler, _) = pour(pieces(3), LIMIT, filler).await.unwrap();
            if breaks {
                drop(filler)
            } else {
                filler.finish()
            }
            assert_eq!(read.await.unwrap().is_err(), breaks);
        }
    }
}
