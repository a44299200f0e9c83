//! Server-sent events: the live stream of a page, and what every event stream has in common.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use async_stream::stream;
use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use cairn_store::{RecordChanged, Viewer};
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde_json::json;

use super::{
    feed::{FeedPosition, Since},
    presence::{Here, Place},
};
use crate::{
    hub::{Hub, Shared},
    problem::{Problem, ProblemKind},
    session::Identity,
};

/// Most event streams at a time.
const MAX_STREAMS: u64 = 512;
/// How often a silent stream says that it is alive, so that a browser or a proxy that lost it notices.
const HEARTBEAT: Duration = Duration::from_secs(12);
/// How often a stream looks whether its session still holds and who expired.
const TICK: Duration = Duration::from_secs(15);
/// How long a stream lasts; browsers come back by themselves and go on where they were.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// How long a browser waits before it comes back, in milliseconds.
const RETRY: Duration = Duration::from_millis(3000);

/// A place among the open streams, held while a stream is.
pub(crate) struct StreamPlace(Arc<Shared>);

impl StreamPlace {
    /// A place, while there is one.
    pub(crate) fn take(hub: &Hub) -> Result<Self, Problem> {
        hub.shared.metrics.stream_opened();
        let place = Self(Arc::clone(&hub.shared));
        if hub.shared.metrics.streams() > MAX_STREAMS {
            return Err(Problem::new(ProblemKind::Busy, "too many pages follow the hub live").retry_after(30));
        }
        Ok(place)
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.metrics.stream_closed();
    }
}

/// An answer that sends `events` as they come, with heartbeats, and ends them when the client leaves.
pub(crate) fn sse(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("here");
    Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(heartbeat).into_response()
}

/// One event with JSON data.
pub(crate) fn event(name: &str, data: &impl Serialize) -> Event {
    let event = Event::default().event(name);
    match serde_json::to_string(data) {
        Ok(data) => event.data(data),
        Err(error) => {
            tracing::error!(%error, name, "an event cannot be told");
            event.data("null")
        }
    }
}

/// A change as it is told: what changed, never its content.
#[derive(Serialize)]
struct ChangeEvent {
    id: cairn_sync::RecordId,
    kind: cairn_sync::Kind,
    project: Option<cairn_sync::RecordId>,
    version: u64,
    by: Option<cairn_sync::RecordId>,
    deleted: bool,
}

impl From<RecordChanged> for ChangeEvent {
    fn from(change: RecordChanged) -> Self {
        let RecordChanged { id, kind, project, version, by, deleted } = change;
        Self { id, kind, project, version, by, deleted }
    }
}

/// The live stream of one page: changes that its viewer may see, and who is at `place`.
pub(crate) fn live(
    hub: Hub,
    identity: Identity,
    place: Option<Place>,
    last: Option<&str>,
    held: StreamPlace,
) -> Response {
    let feed = hub.shared.feed.clone();
    // A position that cannot be read is of no run of ours: it is answered with `reset`, like any other stranger.
    let came_back = last.is_some();
    let mut position = last.and_then(|text| text.parse::<FeedPosition>().ok());
    let start = feed.now();
    let events = stream! {
        let _held = held;
        let deadline = Instant::now() + MAX_AGE;
        let (mut changed, mut presence_changed) = (feed.news(), hub.shared.presence.news());
        let mut shown: Option<Vec<Here>> = None;
        yield Event::default().retry(RETRY).comment("live");
        if came_back && position.is_none() {
            yield reset(start);
        }
        loop {
            changed.mark_unchanged();
            presence_changed.mark_unchanged();
            match feed.since(position.unwrap_or(start)) {
                Since::Missed(now) => {
                    position = Some(now);
                    yield reset(now);
                }
                Since::Changes(changes) => {
                    for (after, change) in changes {
                        position = Some(after);
                        if may_see(&hub, &identity.viewer, &change).await {
                            yield event("change", &ChangeEvent::from(change)).id(after.to_string());
                        }
                    }
                }
            }
            position.get_or_insert(start);
            if let Some(place) = place {
                let people = hub.shared.presence.at(place, Instant::now());
                if shown.as_ref() != Some(&people) {
                    let at = match place {
                        Place::Hub => "hub".to_owned(),
                        Place::Record(id) => id.to_string(),
                    };
                    yield event("presence", &json!({ "at": at, "people": people }));
                    shown = Some(people);
                }
            }
            let woken = tokio::time::timeout(TICK, async {
                tokio::select! {
                    changed = changed.changed() => changed.is_ok(),
                    changed = presence_changed.changed() => changed.is_ok(),
                }
            })
            .await;
            let closed = woken == Ok(false);
            if closed || Instant::now() >= deadline || (woken.is_err() && !identity.still_holds(&hub.store).await) {
                return;
            }
        }
    };
    sse(events)
}

fn reset(now: FeedPosition) -> Event {
    event("reset", &json!({})).id(now.to_string())
}

/// Whether the viewer may know of the change. When the store cannot say: no.
async fn may_see(hub: &Hub, viewer: &Viewer, change: &RecordChanged) -> bool {
    hub.store.visible(viewer, change).await.unwrap_or(false)
}
