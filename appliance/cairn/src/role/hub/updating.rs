//! What looks for updates, installs them and proves a new system, wired to the rest of the hub.

use std::{net::SocketAddr, sync::Arc};

use cairn_library::Library;
use cairn_store::Store;
use cairn_trust::Clock;
use cairn_uplink::{
    sync::http_client,
    updates::{
        Probing,
        install::Pace,
        outcomes::Outcomes,
        packs::Packs,
        repository::{Believed, Tuf},
        service::{self, EVIDENCE},
    },
};
use tokio::sync::watch;

use super::Plan;
use crate::{
    host::ThisHost,
    outcome::{Failure, while_doing},
    packs::HubShelf,
    sticks,
    system::Image,
    updates::{self, HubUpdates, Joint, Place, Proof},
    uplink::HubUplink,
};

/// Starts what looks for updates, installs them, and proves a new system. Gives also its tasks, which end when they are told to.
#[allow(clippy::too_many_arguments, reason = "everything that a new system is tried with")]
pub(super) fn start(
    plan: &Plan,
    image: Image,
    outcomes: Arc<Outcomes>,
    library: &Library,
    joint: &Arc<Joint>,
    store: &Store,
    uplink: &Arc<HubUplink>,
    hub: &cairn_web::Hub,
    host: &ThisHost,
    bound: &[SocketAddr],
) -> Result<(Arc<HubUpdates>, Vec<tokio::task::JoinHandle<()>>), Failure> {
    let folder = plan.folder.updates();
    let time = Arc::clone(uplink.sync().clock());
    let client = http_client(&time).map_err(while_doing("preparing updates"))?;
    let reached = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (appliance, built) = (plan.appliance, image.built);
    // A computer's clock is looked after by its own system.
    let known = move || !appliance || time.is_stated();
    let (known, clock) = (Arc::new(known), Arc::clone(uplink.sync().clock()));
    let time_known = Arc::clone(&known);
    let clock = move || {
        let now = clock.now_ms() / 1000;
        if known() { Clock::Trusted(now) } else { Clock::NotBefore(now.max(built)) }
    };
    let repository = Tuf::new(Believed {
        board: image.board.clone(),
        url: image.url.clone(),
        root: image.root.clone(),
        built,
        folder: folder.clone(),
        evidence: folder.join(EVIDENCE),
        client: client.clone(),
        reached: Arc::clone(&reached),
        clock: Arc::new(clock),
    })
    .map_err(while_doing("preparing updates"))?;
    let shelf = HubShelf {
        folder: plan.folder.clone(),
        store: store.clone(),
        library: library.clone(),
        inference: host.inference.clone(),
        tree: host.tree.clone(),
    };
    let packs = Packs::start(&folder, Arc::new(shelf));
    let people = hub.clone();
    let updates = service::Updates::start(service::Parts {
        repository: Arc::new(repository),
        privileged: updates::privileged(joint, &folder, reached, Arc::clone(uplink)),
        running: image.version,
        folder: folder.clone(),
        pace: Pace::new(move || people.in_flight() > 0),
        packs: Some(Arc::clone(&packs)),
        outcomes: Arc::clone(&outcomes),
        time_known,
    });
    // By an address of the local network, where it listens on one.
    let page = bound.iter().find(|address| !address.ip().is_loopback() && !address.ip().is_unspecified());
    let page = match page.or(bound.first()) {
        Some(address) if !address.ip().is_unspecified() => format!("http://{address}"),
        _ => host.pages().first().cloned().unwrap_or_default(),
    };
    let proof = Proof {
        joint: Arc::clone(joint),
        store: store.clone(),
        uplink: Arc::clone(uplink),
        page,
        repository: image.url.clone(),
        folder: folder.clone(),
        client: Probing(client),
    };
    let sticks = watch::Sender::new(Vec::new());
    let place = Place { folder, sticks: sticks.subscribe(), image, appliance };
    let updates = Arc::new(HubUpdates::new(place, Arc::clone(joint), updates, packs));
    let mut tasks = Vec::new();
    if let Some(folder) = plan.stick.clone() {
        let told = Arc::clone(&updates);
        tasks.push(tokio::spawn(sticks::follow(folder, sticks, move |news| told.stick(news))));
    }
    tasks.extend([
        tokio::spawn(Arc::clone(&updates).follow()),
        tokio::spawn(proof.run()),
        tokio::spawn(tell_outcomes(outcomes, Arc::clone(uplink))),
    ]);
    Ok((updates, tasks))
}

/// Has the gateway told soon what became of an update. Ends with synchronisation.
async fn tell_outcomes(outcomes: Arc<Outcomes>, uplink: Arc<HubUplink>) {
    let mut waiting = outcomes.follow();
    while waiting.changed().await.is_ok() {
        if *waiting.borrow_and_update() > 0 {
            uplink.sync().has_news();
        }
    }
}
