//! Synchronisation over the console.

use std::time::Duration;

use cairn_store::Secret;
use cairn_sync::session::Way;
use cairn_uplink::sync::{Mode, State, Status, Transport};

use super::{Console, protocol::SyncLine};

/// How long a command waits for the round that it asked for.
const ROUND_WITHIN: Duration = Duration::from_secs(180);

/// Asks for a round and waits until it ended, or for a while.
pub(super) async fn now(console: &Console) {
    let sync = console.uplink.sync();
    let mut watch = sync.watch();
    let before = watch.borrow_and_update().clone();
    if matches!(before.state, State::NotEnrolled | State::Local) {
        return;
    }
    sync.now();
    let mut busy = false;
    let ended = watch.wait_for(|now| {
        busy |= now.state == State::Busy;
        (busy || now.last_success_ms != before.last_success_ms) && now.state != State::Busy
    });
    // What is told then is how far it got.
    if tokio::time::timeout(ROUND_WITHIN, ended).await.is_err() {
        tracing::info!("a round takes longer than its command waits");
    }
}

pub(super) async fn enrol(
    console: &Console,
    url: &str,
    token: String,
    plain_loopback: bool,
) -> Result<String, String> {
    let transport = if plain_loopback { Transport::PlainLoopback } else { Transport::Https };
    let done = console.uplink.enrol(url, &Secret::new(token), transport).await;
    done.map(|enrolment| format!("This hub belongs to {:?} now.", enrolment.community_name))
        .map_err(|error| error.to_string())
}

/// Where it stands, in words.
pub(super) fn line(console: &Console) -> SyncLine {
    let sync = console.uplink.sync();
    let Status { state, gateway, community, ways, figures, last_success_ms, trouble, live, .. } =
        sync.status();
    let (state, stopped) = match state {
        State::NotEnrolled => ("not enrolled", None),
        State::Local => ("off", None),
        State::Idle => ("idle", None),
        State::Busy => ("busy", None),
        State::Waiting => ("waiting", None),
        State::Stopped(why) => ("stopped", Some(why)),
    };
    let way = match (ways.mode, ways.in_force()) {
        (Mode::Local, _) => "never, this hub works for itself".to_owned(),
        (_, Way::Live) if live => "at once, connected".to_owned(),
        (_, Way::Live) => "at once, not connected at the moment".to_owned(),
        (_, Way::Periodic { every_ms }) => format!("every {} s", every_ms / 1000),
        (_, Way::OnDemand) => "on demand".to_owned(),
    };
    SyncLine {
        state: state.to_owned(),
        gateway,
        community,
        way,
        queue: figures.queue,
        conflicts: figures.conflicts,
        refused: figures.refused,
        last_success_s: last_success_ms.map(|at| sync.clock().now_ms().saturating_sub(at) / 1000),
        trouble: stopped.or(trouble),
    }
}
