//! HTTP on the local network: accepts connections, bounds them, and ends them in order.

mod accept;
mod pace;

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdListener},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use cairn_web::Peer;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tower::Service;

use pace::Paced;

/// Most connections at a time. Each page opens a few and keeps one for live changes.
const MAX_CONNECTIONS: usize = 1024;
/// Most connections of one client: a phone opens six, people behind one access point share an address.
const MAX_CONNECTIONS_OF_ONE: usize = 128;
/// How long a client may take to send the head of a request, and to begin the next on the same connection.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Largest head of a request, bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Most headers of a request.
const MAX_HEADERS: usize = 100;
/// Requests of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 64;
/// How long what we send may stay unacknowledged before the connection counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(60);
/// How long requests in work may take to end when the hub ends; live streams are cut after it.
const DRAIN_WITHIN: Duration = Duration::from_secs(6);

/// Where to listen when nobody says: every address, on a port that needs no rights.
pub(crate) const DEFAULT_LISTEN: [&str; 2] = ["[::]:8080", "0.0.0.0:8080"];
/// The same on a device of the hub's own, where nothing else has the port that browsers try.
pub(crate) const APPLIANCE_LISTEN: [&str; 2] = ["[::]:80", "0.0.0.0:80"];

/// Binds every address, before the process gives up the right to ports below 1024.
pub(crate) fn bind(addresses: &[SocketAddr]) -> Result<Vec<StdListener>, (SocketAddr, io::Error)> {
    addresses.iter().map(|address| accept::listen(*address).map_err(|error| (*address, error))).collect()
}

/// Serves `router` on `listeners` until `ending` says so, then lets requests in work end.
pub(crate) async fn serve(
    listeners: Vec<StdListener>,
    router: Router,
    mut ending: watch::Receiver<bool>,
) -> io::Result<()> {
    let server = Arc::new(Server {
        router,
        places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        clients: Arc::default(),
        graceful: GracefulShutdown::new(),
    });
    let mut accepting = tokio::task::JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let server = Arc::clone(&server);
        let mut ending = ending.clone();
        accepting.spawn(async move {
            tokio::select! {
                () = server.accept(listener) => {}
                () = ended(&mut ending) => {}
            }
        });
    }
    ended(&mut ending).await;
    while accepting.join_next().await.is_some() {}
    let Some(server) = Arc::into_inner(server) else { return Ok(()) };
    if tokio::time::timeout(DRAIN_WITHIN, server.graceful.shutdown()).await.is_err() {
        tracing::info!("some connections were still open and are cut");
    }
    Ok(())
}

/// Waits until the hub ends.
pub(crate) async fn ended(ending: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is an end as well.
    drop(ending.wait_for(|ending| *ending).await);
}

struct Server {
    router: Router,
    places: Arc<Semaphore>,
    clients: Arc<Clients>,
    graceful: GracefulShutdown,
}

impl Server {
    async fn accept(&self, listener: TcpListener) {
        loop {
            // Without a place, clients wait in the kernel's queue.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, address)) => self.connected(stream, address, place),
                Err(error) => {
                    // Out of descriptors, or a client that left: neither is a reason to stop listening.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn connected(&self, stream: TcpStream, address: SocketAddr, place: OwnedSemaphorePermit) {
        let Some(ticket) = Clients::enter(&self.clients, address.ip()) else {
            tracing::debug!(%address, "one client has too many connections");
            return;
        };
        if let Err(error) = accept::tune(&stream, DEAD_AFTER) {
            tracing::debug!(%error, "a connection could not be tuned");
        }
        let router = self.router.clone();
        let watcher = self.graceful.watcher();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let mut request = request.map(|body| Body::new(Paced::new(body)));
                request.extensions_mut().insert(ConnectInfo(Peer { address, tls: false }));
                let mut router = router.clone();
                async move { Ok::<_, Infallible>(infallible(router.call(request).await)) }
            });
            let builder = builder();
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let connection = pin!(watcher.watch(connection.into_owned()));
            if let Err(error) = connection.await {
                tracing::debug!(%address, error, "a connection ended early");
            }
            drop((ticket, place));
        });
    }
}

fn infallible<T>(outcome: Result<T, Infallible>) -> T {
    match outcome {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(HEAD_WITHIN)
        .keep_alive_timeout(HEAD_WITHIN);
    builder
}

/// How many connections each client has.
#[derive(Default)]
struct Clients(Mutex<HashMap<IpAddr, usize>>);

impl Clients {
    fn enter(clients: &Arc<Self>, client: IpAddr) -> Option<Ticket> {
        let client = client.to_canonical();
        let mut counts = clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_default();
        if *count >= MAX_CONNECTIONS_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Ticket { clients: Arc::clone(clients), client })
    }
}

/// One connection of one client.
struct Ticket {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Running {
        address: SocketAddr,
        ending: watch::Sender<bool>,
        served: tokio::task::JoinHandle<io::Result<()>>,
    }

    fn start(router: Router) -> Running {
        let listeners = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = listeners.first().unwrap().local_addr().unwrap();
        let (ending, told) = watch::channel(false);
        Running { address, ending, served: tokio::spawn(serve(listeners, router, told)) }
    }

    #[tokio::test]
    async fn a_request_in_work_is_answered_although_the_hub_ends() {
        let (begun, mut begins) = tokio::sync::mpsc::channel::<()>(1);
        let (go_on, going) = watch::channel(false);
        let router = Router::new().route(
            "/",
            get(move || {
                let (begun, mut going) = (begun.clone(), going.clone());
                async move {
                    begun.send(()).await.unwrap();
                    going.wait_for(|go| *go).await.unwrap();
                    "saved"
                }
            }),
        );
        let hub = start(router);
        let mut stream = TcpStream::connect(hub.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
        begins.recv().await.unwrap();
        hub.ending.send(true).unwrap();
        go_on.send(true).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("saved"), "{answer}");
        hub.served.await.unwrap().unwrap();
        assert!(TcpStream::connect(hub.address).await.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn one_client_cannot_take_every_place() {
        let hub = start(Router::new().route("/", get(|| async { "hello" })));
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS_OF_ONE {
            let mut stream = TcpStream::connect(hub.address).await.unwrap();
            // One byte back and forth, so that the connection is known to be counted.
            stream.write_all(b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
            assert!(stream.read(&mut [0; 256]).await.unwrap() > 0);
            held.push(stream);
        }
        let mut refused = TcpStream::connect(hub.address).await.unwrap();
        assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed without an answer");
        drop(held);
        hub.ending.send(true).unwrap();
        hub.served.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_and_a_body_that_trickle_are_cut() {
        // Over a pipe in memory, so that time can be jumped over.
        let router: Router = Router::new().route("/", post(|body: String| async { body }));
        for head in
            ["POST / HTTP/1.1\r\nHost: h", "POST / HTTP/1.1\r\nHost: hub\r\nContent-Length: 100\r\n\r\n"]
        {
            let (mut client, server) = tokio::io::duplex(4096);
            let router = router.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                router.clone().call(request.map(|body| Body::new(Paced::new(body))))
            });
            let serving = tokio::spawn(async move {
                builder().serve_connection(TokioIo::new(server), service).into_owned().await.is_err()
            });
            client.write_all(head.as_bytes()).await.unwrap();
            let started = tokio::time::Instant::now();
            while !serving.is_finished() {
                // One byte every ten seconds; once the hub has cut it, the pipe refuses.
                if client.write_all(b"x").await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(10)).await;
                assert!(started.elapsed() < Duration::from_secs(120), "never cut: {head:?}");
            }
        }
    }
}
