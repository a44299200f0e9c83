//! The role `infer`: models, and nothing but models.

use std::path::Path;

use cairn_inference::ServeConfig;
use cairn_process::{Confinement, Profile, spawn};
use cairn_supervisor::{Order, RoleLink, board::Board};
use tokio::sync::mpsc;

use crate::{
    cli::InferArguments,
    data::{Folder, Users},
    logging,
    outcome::{Failure, while_doing},
};

/// First of the roles to go when memory runs out, after an extractor: the page must stay.
const OOM_SCORE: u16 = 800;
/// Steps back behind the hub, so that an answer being written does not slow the page.
const NICENESS: u8 = 5;
/// Share of the board's memory that the process may have of its own, in percent.
const MEMORY_SHARE: u64 = 80;

/// Confines itself and serves the hub until the supervisor says to end.
pub(crate) fn main(data: &Path, arguments: &InferArguments) -> Result<(), Failure> {
    logging::start("infer");
    let folder = Folder::at(data);
    let embed_model = arguments.embedding_model.clone().unwrap_or_else(|| folder.embedding_model());
    let mut confinement = Confinement::new(Profile::Infer)
        .read(folder.models())
        .read(&embed_model)
        .write(folder.beginnings())
        .user(Users::choose(&folder, &embed_model).infer)
        .niceness(NICENESS)
        .oom_score(OOM_SCORE);
    let board = Board::read(data);
    if let Some(total) = board.memory_total {
        confinement = confinement.memory_limit(total / 100 * MEMORY_SHARE);
    }
    let report = confinement.apply().map_err(while_doing("confining the inference process"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(4)
        .enable_all()
        .build()
        .map_err(while_doing("starting the event loop"))?;
    let prefixes = Some(folder.beginnings()).filter(|kept| kept.is_dir());
    let config = ServeConfig { model_dir: folder.models(), embed_model, prefixes, ..ServeConfig::default() };
    let served = runtime.block_on(async {
        let (link, mut orders) =
            RoleLink::connect(report).await.map_err(while_doing("joining the supervisor"))?;
        let first = match spawn::inherited(spawn::INFERENCE).map_err(while_doing("joining the hub")) {
            Ok(first) => first,
            Err(failure) => return super::ended_with(&link, Err(failure)).await,
        };
        link.ready().await.map_err(while_doing("joining the supervisor"))?;
        let mut serving = tokio::spawn(cairn_inference::serve(first, config.clone()));
        loop {
            tokio::select! {
                // The hub is gone, or its channel is; the supervisor sends a new one as soon as there is a new hub.
                ended = &mut serving => {
                    if let Ok(Err(error)) = ended {
                        tracing::warn!(%error, "the channel to the hub ended");
                    }
                    let Some(stream) = next_hub(&mut orders).await else { return Ok(()) };
                    serving = tokio::spawn(cairn_inference::serve(stream, config.clone()));
                }
                order = orders.recv() => match order {
                    Some(Order::Inference(stream)) => {
                        serving.abort();
                        serving = tokio::spawn(cairn_inference::serve(stream, config.clone()));
                    }
                    Some(Order::Status(_) | Order::Update(..)) => {}
                    Some(Order::Shutdown) | None => return Ok(()),
                },
            }
        }
    });
    // A model in the middle of a computation is not waited for: nothing here is to be kept.
    runtime.shutdown_background();
    served
}

/// Waits for the channel to the next hub; `None` when there will be none.
async fn next_hub(orders: &mut mpsc::Receiver<Order>) -> Option<std::os::unix::net::UnixStream> {
    loop {
        match orders.recv().await? {
            Order::Inference(stream) => return Some(stream),
            Order::Status(_) | Order::Update(..) => {}
            Order::Shutdown => return None,
        }
    }
}
