//! The role `hub`: store, library, uplink and web, wired together.

use std::{
    io::{IsTerminal, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use cairn_device::network::captive;
use cairn_inference::InferenceClient;
use cairn_library::{Library, LibraryConfig, extract::ExtractorCommand};
use cairn_process::{Confinement, ConfinementReport, Profile};
use cairn_slots::health::{Finding as Found, Probe};
use cairn_store::{OpenOptions, OpenReport, Part, Store, Viewer};
use cairn_supervisor::{Order, RoleLink, TreeStatus, board::Board};
use cairn_uplink::{
    sync::{About, Sync, SystemClock, Tempo},
    updates::outcomes::Outcomes,
};
use tokio::sync::{mpsc, watch};

use crate::{
    addresses::{self, AddressFile, Reach},
    cli::RunArguments,
    console, cooling,
    data::{self, Folder, Users},
    discovery::Announcement,
    host::{self, SharedHost, ThisHost},
    logging::{self, RecentLog},
    outcome::{Code, Failure, while_doing},
    provisioning::{self, DEFAULT_NAME, Finding, Provisioning},
    serve, sticks,
    system::{self, Image},
    updates::Joint,
    uplink::{DeviceClock, HubUplink},
};

mod updating;

/// Share of the board's memory that the hub may have of its own, in percent, and the least that it gets.
const MEMORY_SHARE: u64 = 50;
const LEAST_MEMORY: u64 = 384 << 20;
/// How often a start that takes long says so.
const STILL_BUSY_EVERY: Duration = Duration::from_secs(10);
/// How often the address file follows the machine's addresses.
const ADDRESSES_EVERY: Duration = Duration::from_secs(10);

/// What the command line and the provisioning file say together.
struct Plan {
    version: String,
    folder: Folder,
    provisioning: Provisioning,
    findings: Vec<Finding>,
    name: String,
    announce: bool,
    appliance: bool,
    captive: Option<std::net::IpAddr>,
    listeners: Vec<std::net::TcpListener>,
    log: RecentLog,
    /// The device's system, where it can be updated.
    image: Option<Image>,
    stick: Option<PathBuf>,
}

/// Binds, confines itself, and serves until the supervisor says to end.
pub(crate) fn main(data: PathBuf, arguments: RunArguments) -> Result<(), Failure> {
    let log = logging::start("hub");
    let folder = Folder::at(data);
    let (provisioning, findings) = provisioning::read(arguments.provisioning.as_deref());
    for finding in &findings {
        tracing::warn!(line = finding.line, wrong = finding.wrong, instead = finding.instead, "provisioning");
    }
    // Ports below 1024 are bound while that is still allowed.
    let listeners = listen(&folder, &arguments, &provisioning)?;
    // Also while it may still be read.
    let captive = arguments.appliance.then(|| captive::read(Path::new("/run"))).flatten();
    let plan = Plan {
        version: system::version(arguments.system.image.as_deref().unwrap_or(Path::new("/"))),
        name: arguments.name.or_else(|| provisioning.name.clone()).unwrap_or_else(|| DEFAULT_NAME.to_owned()),
        appliance: arguments.appliance,
        captive: captive.map(|(address, _)| address.into()),
        announce: !arguments.no_mdns && provisioning.announce.unwrap_or(true),
        folder,
        provisioning,
        findings,
        listeners,
        log,
        image: Image::of(&arguments.system, arguments.appliance),
        stick: sticks::place(arguments.system.stick, arguments.appliance),
    };
    let embedding_model = arguments.embedding_model.unwrap_or_else(|| plan.folder.embedding_model());
    let report = confine(&plan.folder, &embedding_model, plan.stick.as_deref())?;
    empty_temporary(&plan.folder.temporary())?;
    let workers = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .map_err(while_doing("starting the event loop"))?;
    let served = runtime.block_on(serve_hub(plan, report));
    runtime.shutdown_timeout(Duration::from_secs(2));
    served
}

fn listen(
    folder: &Folder,
    arguments: &RunArguments,
    provisioning: &Provisioning,
) -> Result<Vec<std::net::TcpListener>, Failure> {
    let asked = arguments.listen.as_slice();
    let wanted = if asked.is_empty() { provisioning.listen.as_slice() } else { asked };
    // A port that the system chose stays the same over a crash: pages that are open go on working. The file is gone
    // after an orderly end.
    if wanted.iter().any(|address| address.port() == 0)
        && let Some(before) = addresses::listened_on(&folder.address(), wanted)
        && let Ok(listeners) = serve::bind(&before)
    {
        return Ok(listeners);
    }
    let refused = |(address, error): (SocketAddr, std::io::Error)| {
        Failure::new(Code::Failed, format!("{address} cannot be listened on: {error}"))
            .kept("Nothing was changed.")
            .next("Another program may use that port; name another one with --listen ADDRESS:PORT.")
    };
    if !wanted.is_empty() {
        return serve::bind(wanted).map_err(refused);
    }
    let mut outcome = Ok(Vec::new());
    // The first that works: a kernel without IPv6 has no [::].
    let usual = if arguments.appliance { serve::APPLIANCE_LISTEN } else { serve::DEFAULT_LISTEN };
    for address in usual.iter().filter_map(|text| text.parse().ok()) {
        outcome = serve::bind(&[address]).map_err(refused);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn confine(
    folder: &Folder,
    embedding_model: &Path,
    stick: Option<&Path>,
) -> Result<ConfinementReport, Failure> {
    let memory = Board::read(folder.root()).memory_total.unwrap_or(LEAST_MEMORY * 2);
    let mut confinement = Confinement::new(Profile::Hub);
    if let Some(stick) = stick {
        confinement = confinement.read(stick);
    }
    confinement
        .write(folder.hub())
        .write(folder.models())
        // The extractor is this program in another role.
        .execute("/proc/self/exe")
        .user(Users::choose(folder, embedding_model).hub)
        .memory_limit((memory / 100 * MEMORY_SHARE).max(LEAST_MEMORY))
        .apply()
        .map_err(while_doing("confining the hub's process"))
}

/// What an earlier run left there is of no use to anybody.
fn empty_temporary(path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Code::Failed, format!("{} cannot be emptied: {error}", path.display()))
            .kept("Nothing of value lies there; records and files are untouched.")
    };
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::fs::create_dir(path).map_err(failed)
}

async fn serve_hub(plan: Plan, report: ConfinementReport) -> Result<(), Failure> {
    let (link, orders) = RoleLink::connect(report).await.map_err(|error| {
        Failure::new(Code::Failed, format!("this part of the hub is started by `cairn run` only: {error}"))
    })?;
    let served = serve_linked(plan, link.clone(), orders).await;
    super::ended_with(&link, served).await
}

async fn serve_linked(mut plan: Plan, link: RoleLink, orders: mpsc::Receiver<Order>) -> Result<(), Failure> {
    let started = Instant::now();
    let inference = InferenceClient::new();
    let (ending, told_to_end) = watch::channel(false);
    let (tree, tree_status) = watch::channel(None);
    let joint = Joint::new(link.clone());
    let following = tokio::spawn(follow_orders(orders, inference.clone(), Arc::clone(&joint), tree, ending));

    let (store, opened) = match open_store(&plan, &link).await {
        Ok(opened) => opened,
        Err(failure) => {
            // A new system whose migration fails says so before the old one comes back.
            joint.found(Probe::Database, Found::Failed(failure.to_string())).await;
            return Err(failure);
        }
    };
    apply_provisioning(&store, &mut plan).await?;
    let settings = store.settings().await.map_err(while_doing("reading the settings"))?;

    let (routing, routed) = watch::channel(host::routing_of(&settings));
    let router = cairn_uplink::Router::new(Arc::new(inference.clone()), routed);
    let library = Library::start(
        store.clone(),
        Arc::new(inference.clone()),
        Arc::new(router.clone()),
        LibraryConfig::new(ExtractorCommand::this_binary()),
    );
    let clock = plan.appliance.then(|| Arc::new(DeviceClock(link.clone())) as Arc<dyn SystemClock>);
    let about = about(&plan, tree_status.clone());
    let outcomes = about.outcomes.clone();
    let (sync, syncing) =
        Sync::start_with(store.clone(), settings.hub_name.clone(), clock, about, Tempo::default())
            .await
            .map_err(while_doing("starting synchronisation"))?;
    let uplink = Arc::new(HubUplink::new(sync, store.clone()));
    let reaching = tokio::spawn(Arc::clone(&uplink).follow());
    let gateway = std::mem::take(&mut plan.provisioning.gateway);
    let enrolling =
        tokio::spawn(Arc::clone(&uplink).provision(gateway, plan.appliance.then(|| link.clone())));
    let bound = plan.listeners.iter().map(std::net::TcpListener::local_addr).collect::<Result<Vec<_>, _>>();
    let bound = bound.map_err(while_doing("reading the listening addresses"))?;
    let reach = Reach::new(bound.clone());
    let (name, name_in_force) = watch::channel(plan.name.clone());
    let host = Arc::new(ThisHost {
        version: std::mem::take(&mut plan.version),
        folder: plan.folder.clone(),
        started,
        started_at_ms: host::wall_clock_ms(),
        reach: reach.clone(),
        name: name_in_force,
        tree: tree_status,
        opened,
        log: plan.log.clone(),
        link: link.clone(),
        inference: inference.clone(),
        routing,
        router,
        uplink: Arc::clone(&uplink),
        addresses: Mutex::new(None),
        appliance: plan.appliance,
        captive: plan.captive,
        findings: plan.findings.iter().map(ToString::to_string).collect(),
        announced: plan.announce && !reach.only_here(),
    });
    let mut hub =
        cairn_web::Hub::new(store.clone(), library.clone(), inference.clone(), Arc::clone(&host) as _)
            .with_uplink(Arc::clone(&uplink) as _);
    let mut updating = Vec::new();
    if let Some((image, outcomes)) = plan.image.take().zip(outcomes) {
        let (updates, tasks) =
            updating::start(&plan, image, outcomes, &library, &joint, &store, &uplink, &hub, &host, &bound)?;
        hub = hub.with_updates(updates);
        updating = tasks;
    }
    let console = console::Console {
        store: store.clone(),
        library: library.clone(),
        inference: inference.clone(),
        host: Arc::clone(&host),
        uplink,
        ready: Instant::now(),
    };
    let console_socket =
        console::listen(&plan.folder.console()).map_err(while_doing("opening the console's socket"))?;
    let serving = tokio::spawn(serve::serve(plan.listeners, cairn_web::router(hub), told_to_end.clone()));
    let consoling = tokio::spawn(console::serve(console_socket, console, told_to_end.clone()));
    write_addresses(&host, &bound)?;
    let watching = tokio::spawn(follow_addresses(Arc::clone(&host), bound));
    let cooling = tokio::spawn(cooling::follow(host.tree.clone(), inference.clone()));
    let announcement = host
        .announced
        .then(|| Announcement::start(plan.name, settings.hub_name.clone(), host.reach.port(), name));
    link.ready().await.map_err(while_doing("joining the supervisor"))?;
    // A device has a console of its own, which follows the address file.
    if !plan.appliance {
        welcome(&store, &host, &plan.findings).await;
    }

    // The server ends once it was told to and has answered what was in work.
    let outcome = serving.await;
    tracing::info!("no longer serving");
    watching.abort();
    cooling.abort();
    if let Some(announcement) = announcement {
        announcement.end().await;
    }
    drop(consoling.await);
    following.abort();
    enrolling.abort();
    reaching.abort();
    updating.iter().for_each(tokio::task::JoinHandle::abort);
    drop(syncing);
    drop(library);
    // Writes that were confirmed are on the card already; this ends the writer and closes the database in order.
    let closing = tokio::task::spawn_blocking(move || store.close());
    closing.await.map_err(while_doing("closing the database"))?;
    // Nobody is here any more, and whoever looks should see it.
    for file in [host.folder.address(), host.folder.console()] {
        if let Err(error) = std::fs::remove_file(&file) {
            tracing::debug!(%error, file = %file.display(), "it was gone already");
        }
    }
    outcome.map_err(while_doing("serving"))?.map_err(while_doing("serving"))
}

/// What the gateway is told of this device.
fn about(plan: &Plan, tree: watch::Receiver<Option<TreeStatus>>) -> About {
    About {
        version: plan.version.clone(),
        board: plan.image.as_ref().map(|image| image.board.to_string()).unwrap_or_default(),
        free_bytes: Arc::new(move || tree.borrow().as_ref()?.board.disk_free),
        outcomes: plan.image.as_ref().map(|_| Arc::new(Outcomes::open(&plan.folder.updates()))),
    }
}

/// Opens the store without holding up the event loop, and says so while it takes long.
async fn open_store(plan: &Plan, link: &RoleLink) -> Result<(Store, OpenReport), Failure> {
    let folder = plan.folder.hub();
    let claim_code = plan.provisioning.claim_code.as_ref().map(|code| code.reveal().to_owned());
    let mut opening = tokio::task::spawn_blocking(move || {
        let options = OpenOptions { claim_code, ..OpenOptions::default() };
        Store::open(&folder, options)
    });
    let mut still_busy = tokio::time::interval(STILL_BUSY_EVERY);
    still_busy.tick().await;
    loop {
        tokio::select! {
            opened = &mut opening => {
                let opened = opened.map_err(while_doing("opening the records"))?;
                return opened.map_err(|error| {
                    Failure::new(Code::Failed, format!("the records in {} cannot be opened: {error}", plan.folder.hub().display()))
                        .kept("Nothing was changed in them.")
                });
            }
            _ = still_busy.tick() => {
                // A supervisor that is gone shows in the orders.
                drop(link.busy("opening the records").await);
            }
        }
    }
}

/// Lets the file's settings count for a hub that nobody has claimed.
async fn apply_provisioning(store: &Store, plan: &mut Plan) -> Result<(), Failure> {
    let state = store.setup_state().await.map_err(while_doing("reading whether the hub is claimed"))?;
    if state.claimed || plan.provisioning == Provisioning::default() {
        return Ok(());
    }
    let before = store.settings().await.map_err(while_doing("reading the settings"))?;
    let (settings, findings) = plan.provisioning.settings(&before);
    plan.findings.extend(findings);
    if settings != before
        && let Err(error) = store.set_settings(&Viewer::system(Part::Console), settings).await
    {
        tracing::warn!(%error, "the provisioning file's settings were refused");
    }
    Ok(())
}

async fn follow_orders(
    mut orders: mpsc::Receiver<Order>,
    inference: InferenceClient,
    joint: Arc<Joint>,
    tree: watch::Sender<Option<TreeStatus>>,
    ending: watch::Sender<bool>,
) {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
    loop {
        let terminated = async {
            match &mut terminate {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Inference(stream)) => {
                    if let Err(error) = inference.attach(stream) {
                        tracing::error!(%error, "the channel to the inference process cannot be used");
                    }
                }
                Some(Order::Status(status)) => drop(tree.send_replace(Some(*status))),
                Some(Order::Update(news, descriptor)) => joint.hear(news, descriptor),
                Some(Order::Shutdown) | None => break,
            },
            _ = terminated => break,
        }
    }
    ending.send_replace(true);
    // Keeps the inference channel open until the hub has ended: answers in work may still be finished.
    std::future::pending::<()>().await;
}

fn write_addresses(host: &ThisHost, bound: &[SocketAddr]) -> Result<(), Failure> {
    let file = AddressFile {
        addresses: host.pages(),
        listening: bound.to_vec(),
        local: host.announced.then(|| host.local_page()),
        findings: host.findings.clone(),
    };
    let json = serde_json::to_vec_pretty(&file).map_err(while_doing("writing the addresses"))?;
    data::write_durably(&host.folder.address(), &json, 0o644).map_err(while_doing("writing the addresses"))
}

/// Keeps the address file and the console true when interfaces come and go.
async fn follow_addresses(host: SharedHost, bound: Vec<SocketAddr>) {
    let now = || (host.pages(), host.name.borrow().clone());
    let mut told = now();
    let mut interval = tokio::time::interval(ADDRESSES_EVERY);
    loop {
        interval.tick().await;
        let now = now();
        if now != told {
            tracing::info!(addresses = now.0.join(" "), name = now.1, "the hub's addresses have changed");
            if let Err(error) = write_addresses(&host, &bound) {
                tracing::warn!(%error, "the new addresses could not be written down");
            }
            if let Some(best) = now.0.first().filter(|_| !host.appliance) {
                say(&format!("\nThe hub is now at {best}\n{}\n", addresses::qr_code(best)));
            }
            told = now;
        }
    }
}

/// What whoever holds the device sees on its console.
async fn welcome(store: &Store, host: &ThisHost, findings: &[Finding]) {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!("{finding}\n"));
    }
    let pages = host.pages();
    if let Some(best) = pages.first() {
        text.push_str(&format!("\n{}\n", addresses::qr_code(best)));
        text.push_str(&format!("The hub is at {best}\n"));
        for other in pages.iter().skip(1) {
            text.push_str(&format!("           or {other}\n"));
        }
        if host.announced {
            text.push_str(&format!("           or {} where the network carries names\n", host.local_page()));
        }
    }
    if store.setup_state().await.is_ok_and(|state| !state.claimed)
        && let Ok(code) = std::fs::read_to_string(host.folder.claim_code())
    {
        text.push_str(&format!(
            "Nobody keeps this hub yet. Open the page and claim it with this code: {}\n",
            code.trim()
        ));
    }
    say(&text);
}

/// Shows text on the console: the terminal, or the log where standard output leads nowhere.
fn say(text: &str) {
    let mut out = std::io::stdout();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::debug!(%error, terminal = out.is_terminal(), "the console could not be written to");
    }
}
