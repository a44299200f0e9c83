//! One instance: listens, serves, and on request goes away without breaking anything off.

use std::{io, time::Duration};

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use crate::http::{Shared, router};

/// How long requests that are under way may take once the instance goes away.
pub const DRAIN: Duration = Duration::from_secs(30);

/// Serves until `service.drain` is cancelled and what was under way has ended, at most [`DRAIN`] later.
///
/// # Errors
/// The listener's.
pub async fn serve(listener: TcpListener, service: Shared) -> io::Result<()> {
    let drain = service.drain.clone();
    let stopping = drain.clone();
    // An answer's last packet must not wait for the acknowledgement of the one before.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection answers in larger packets");
        }
    });
    let serving = axum::serve(listener, router(service))
        .with_graceful_shutdown(async move { stopping.cancelled().await });
    tokio::select! {
        done = async { serving.await } => done,
        () = async { drain.cancelled().await; tokio::time::sleep(DRAIN).await } => {
            tracing::warn!("some requests did not end in time and are broken off");
            Ok(())
        }
    }
}
