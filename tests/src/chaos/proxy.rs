//! A proxy that a test can break: it passes bytes on between sockets and, in bad weather, refuses connections, cuts them
//! after some bytes in one direction, or holds them for a while.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};

/// Bytes passed on at once.
const PIECE: usize = 16 * 1024;
/// How long reaching the other end may take.
const REACH: Duration = Duration::from_secs(20);

/// Bad weather from one seed, shared by all proxies, with an account of what it did.
#[derive(Debug)]
pub struct Weather {
    calm: AtomicBool,
    /// What a connection may bring down before it is cut, and what all may together; none: as much as they like.
    ration: Mutex<Option<(u64, u64)>>,
    dice: Mutex<SmallRng>,
    connections: AtomicU64,
    broken: AtomicU64,
    carried: AtomicU64,
}

impl Weather {
    /// Calm until [`Weather::rage`].
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        let dice = Mutex::new(SmallRng::seed_from_u64(seed));
        let [connections, broken, carried] = [(); 3].map(|()| AtomicU64::new(0));
        let (calm, ration) = (AtomicBool::new(true), Mutex::default());
        Arc::new(Self { calm, ration, dice, connections, broken, carried })
    }

    /// From now on connections break.
    pub fn rage(&self) {
        self.calm.store(false, Ordering::SeqCst);
    }

    /// From now on new connections stay whole.
    pub fn calm(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    /// From now on each new connection is cut after it has brought `each` bytes down; when all of them may have brought `all`
    /// together, further ones are refused.
    pub fn ration(&self, each: u64, all: u64) {
        *self.ration.lock().unwrap_or_else(PoisonError::into_inner) = Some((each, all));
    }

    /// Connections, and those of them that were refused, cut or held.
    #[must_use]
    pub fn account(&self) -> (u64, u64) {
        (self.connections.load(Ordering::SeqCst), self.broken.load(Ordering::SeqCst))
    }

    /// Bytes that were passed on, both ways.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::SeqCst)
    }

    fn fate(&self) -> Fate {
        self.connections.fetch_add(1, Ordering::SeqCst);
        if let Some((each, all)) = self.ration.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            self.broken.fetch_add(1, Ordering::SeqCst);
            let bytes = (*each).min(*all);
            *all -= bytes;
            return if bytes == 0 { Fate::Refused } else { Fate::Cut(Place { upwards: false, bytes }) };
        }
        if self.calm.load(Ordering::SeqCst) {
            return Fate::Whole;
        }
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        // Sizes by magnitude: a cut in the first line and one far into an answer are both worth having.
        let bytes = 1_u64 << dice.random_range(0..18_u32);
        let at = Place { upwards: dice.random_bool(0.5), bytes: bytes + dice.random_range(0..bytes) };
        let fate = match dice.random_range(0..100_u32) {
            0..55 => return Fate::Whole,
            55..65 => Fate::Refused,
            65..90 => Fate::Cut(at),
            _ => Fate::Held(at, Duration::from_millis(dice.random_range(200..4_000))),
        };
        self.broken.fetch_add(1, Ordering::SeqCst);
        fate
    }
}

#[derive(Debug, Clone, Copy)]
struct Place {
    upwards: bool,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Whole,
    Refused,
    Cut(Place),
    Held(Place, Duration),
}

/// Where a proxy leads.
#[derive(Debug, Clone)]
pub enum Beyond {
    /// A port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A running proxy. Dropping it ends it and every connection through it.
#[derive(Debug)]
pub struct Proxy {
    beyond: Arc<Mutex<Beyond>>,
    severed: watch::Sender<u64>,
    closed: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.sever();
    }
}

impl Proxy {
    /// On a port that the system chooses.
    ///
    /// # Errors
    /// When it cannot be listened on.
    pub async fn on_port(beyond: Beyond, weather: &Arc<Weather>) -> io::Result<(Self, u16)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        Ok((Self::start(beyond, Arc::clone(weather), Near::Tcp(listener)), port))
    }

    /// On a socket in the file system.
    ///
    /// # Errors
    /// As [`Proxy::on_port`].
    pub fn on_socket(path: &Path, beyond: Beyond, weather: &Arc<Weather>) -> io::Result<Self> {
        Ok(Self::start(beyond, Arc::clone(weather), Near::Unix(UnixListener::bind(path)?)))
    }

    fn start(beyond: Beyond, weather: Arc<Weather>, near: Near) -> Self {
        let beyond = Arc::new(Mutex::new(beyond));
        let closed = Arc::new(AtomicBool::new(false));
        let (severed, follow) = watch::channel(0);
        let (leads, shut) = (Arc::clone(&beyond), Arc::clone(&closed));
        let accepting = tokio::spawn(async move {
            while let Ok(stream) = near.accept().await {
                let fate = weather.fate();
                if shut.load(Ordering::SeqCst) || matches!(fate, Fate::Refused) {
                    continue;
                }
                let to = leads.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let mut until = follow.clone();
                until.mark_unchanged();
                let weather = Arc::clone(&weather);
                tokio::spawn(async move {
                    tokio::select! {
                        // Whatever ended it, both ends see it closed.
                        _ = carry(stream, to, fate, &weather.carried) => {}
                        _ = until.changed() => {}
                    }
                });
            }
        });
        Self { beyond, severed, closed, accepting }
    }

    /// New connections lead there.
    pub fn lead(&self, beyond: Beyond) {
        *self.beyond.lock().unwrap_or_else(PoisonError::into_inner) = beyond;
    }

    /// Cuts every connection.
    pub fn sever(&self) {
        self.severed.send_modify(|times| *times += 1);
    }

    /// Whether new connections are refused.
    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
    }
}

enum Near {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Near {
    async fn accept(&self) -> io::Result<Pipe> {
        Ok(match self {
            Self::Tcp(listener) => boxed(listener.accept().await?.0),
            Self::Unix(listener) => boxed(listener.accept().await?.0),
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}
type Pipe = Box<dyn Stream>;

fn boxed(stream: impl Stream + 'static) -> Pipe {
    Box::new(stream)
}

async fn carry(near: Pipe, beyond: Beyond, fate: Fate, carried: &AtomicU64) -> io::Result<()> {
    let reach = async {
        Ok::<Pipe, io::Error>(match beyond {
            Beyond::Tcp(address) => boxed(TcpStream::connect(address).await?),
            Beyond::Unix(path) => boxed(UnixStream::connect(path).await?),
        })
    };
    let far = tokio::time::timeout(REACH, reach).await??;
    let ((near_in, near_out), (far_in, far_out)) = (tokio::io::split(near), tokio::io::split(far));
    let (upwards, downwards) = match fate {
        Fate::Whole | Fate::Refused => (None, None),
        Fate::Cut(place) => of(place, (place.bytes, Duration::ZERO)),
        Fate::Held(place, pause) => of(place, (place.bytes, pause)),
    };
    tokio::try_join!(pass(near_in, far_out, upwards, carried), pass(far_in, near_out, downwards, carried))
        .map(drop)
}

type Mishap = Option<(u64, Duration)>;

fn of(place: Place, mishap: (u64, Duration)) -> (Mishap, Mishap) {
    if place.upwards { (Some(mishap), None) } else { (None, Some(mishap)) }
}

/// Passes bytes on until the source ends. After so many bytes it is cut (an error, which cuts the other direction too) or,
/// where a pause is given, goes on after that.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mishap: Mishap,
    carried: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = from.read(&mut buffer).await?;
        let piece = buffer.get(..read).unwrap_or_default();
        carried.fetch_add(read as u64, Ordering::SeqCst);
        if piece.is_empty() {
            return to.shutdown().await;
        }
        match &mut mishap {
            Some((left, pause)) if *left <= read as u64 => {
                let (before, after) = piece.split_at(usize::try_from(*left).unwrap_or(read).min(read));
                to.write_all(before).await?;
                to.flush().await?;
                if pause.is_zero() {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                tokio::time::sleep(*pause).await;
                to.write_all(after).await?;
                mishap = None;
            }
            Some((left, _)) => {
                *left -= read as u64;
                to.write_all(piece).await?;
            }
            None => to.write_all(piece).await?,
        }
    }
}
