//! A request's body that must keep coming: whoever sends a byte now and then holds a place that others need.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

/// How often the pace is looked at.
const WINDOW: Duration = Duration::from_secs(20);
/// Least that must come within one window, bytes: 256 a second, far below the worst radio link that is of any use.
const LEAST: usize = 20 * 256;

/// A body with a least pace.
pub(super) struct Paced {
    body: Incoming,
    window: Pin<Box<Sleep>>,
    received: usize,
}

impl Paced {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, window: Box::pin(sleep(WINDOW)), received: 0 }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        loop {
            if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
                if let Some(Ok(frame)) = &frame {
                    self.received += frame.data_ref().map_or(0, Bytes::len);
                }
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }
            // Only time spent waiting for the client counts: the window is looked at here and nowhere else.
            ready!(self.window.as_mut().poll(context));
            if self.received < LEAST {
                let slow = io::Error::new(io::ErrorKind::TimedOut, "the request's body came too slowly");
                return Poll::Ready(Some(Err(slow.into())));
            }
            self.received = 0;
            self.window.as_mut().reset(Instant::now() + WINDOW);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
