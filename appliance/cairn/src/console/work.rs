//! Carrying commands out in the hub.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, Write},
    ops::ControlFlow,
    time::Duration,
};

use cairn_library::{IndexOutcome, Question, SearchQuery};
use cairn_process::{ChannelError, Sender};
use cairn_store::{Progress, Secret, StoreError};
use cairn_supervisor::RoleHealth;
use cairn_sync::Kind;
use cairn_web::{Host, HostError};
use futures::StreamExt;
use tokio::sync::watch;

use super::{
    Console, answer,
    protocol::{Health, MemoryLine, Request, RoleLine, Step, Trouble},
    sync,
};
use crate::documents;

/// Questions of the console count as one asker.
const CONSOLE_ASKER: u64 = 0;
/// Bytes copied at a time.
const COPY: usize = 256 * 1024;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(300);
/// Lines of the log in a support bundle.
const SUPPORT_LOG: usize = 300;
/// Piece of a support bundle that fits a message.
const SUPPORT_PIECE: usize = 256 * 1024;
/// Largest document that a command adds, whatever the setting for uploads: it comes from the disk beside us.
const MAX_DOCUMENT: u64 = 16 << 30;

type Steps = Sender<Step>;
type Told = Result<(), ChannelError>;

/// Carries `request` out and tells the steps.
pub(super) async fn carry_out(
    console: &Console,
    request: Request,
    file: Option<File>,
    steps: &Steps,
) -> Told {
    let done = match (request, file) {
        (Request::Ask { text, model }, _) => ask(console, text, model, steps).await?,
        (Request::Search { text, limit }, _) => search(console, text, limit, steps).await?,
        (Request::Models, _) => models(console, steps).await?,
        (Request::Health, _) => {
            steps.send(&Step::Health(Box::new(health(console).await))).await?;
            Ok(String::new())
        }
        (Request::Enrol { url, token, plain_loopback }, _) => {
            sync::enrol(console, &url, token, plain_loopback).await.map_err(|why| Trouble {
                kept: Some("Nothing was changed; the same token can be tried again.".to_owned()),
                ..trouble(why)
            })
        }
        (Request::Sync { now }, _) => {
            if now {
                sync::now(console).await;
            }
            steps.send(&Step::Sync(sync::line(console))).await?;
            Ok(String::new())
        }
        (Request::Support, _) => support(console, steps).await?,
        (Request::RemoveModel { name }, _) => {
            let removed = console.host.remove_model(name.clone()).await;
            removed.map(|()| format!("{name} is removed.")).map_err(|error| of_host(&error))
        }
        (Request::AddDocument { file_name }, Some(file)) => {
            add_document(console, file_name, file, steps).await?
        }
        (Request::AddModel { name }, Some(file)) => add_model(console, name, file, steps).await?,
        (Request::Backup { passphrase }, Some(file)) => backup(console, passphrase, file, steps).await?,
        (_, None) => Err(trouble("the file that belongs to this command did not come with it")),
    };
    match done {
        Ok(words) => steps.send(&Step::Done(words)).await,
        Err(trouble) => steps.send(&Step::Failed(trouble)).await,
    }
}

type Outcome = Result<String, Trouble>;

fn trouble(happened: impl Into<String>) -> Trouble {
    Trouble { happened: happened.into(), kept: None, next: None }
}

fn of_store(error: &StoreError) -> Trouble {
    trouble(error.to_string())
}

fn of_host(error: &HostError) -> Trouble {
    Trouble { kept: Some("The installed models are as they were.".to_owned()), ..trouble(error.to_string()) }
}

async fn ask(
    console: &Console,
    text: String,
    model: Option<String>,
    steps: &Steps,
) -> Result<Outcome, ChannelError> {
    let question = Question { model, ..Question::new(text, CONSOLE_ASKER) };
    let mut events = console.library.ask(&Console::viewer(), question).await;
    while let Some(event) = events.next().await {
        steps.send(&Step::Ask(answer::ask(event))).await?;
    }
    Ok(Ok(String::new()))
}

async fn search(console: &Console, text: String, limit: u32, steps: &Steps) -> Result<Outcome, ChannelError> {
    let query = SearchQuery { limit: limit as usize, ..SearchQuery::new(text) };
    match console.library.search(&Console::viewer(), query).await {
        Ok(results) => {
            steps.send(&Step::Hits(results.hits.into_iter().map(answer::hit).collect())).await?;
            Ok(Ok(format!("{} ms", results.took_ms)))
        }
        Err(error) => Ok(Err(of_store(&error))),
    }
}

async fn models(console: &Console, steps: &Steps) -> Result<Outcome, ChannelError> {
    match console.inference.models().await {
        Ok(models) => {
            steps.send(&Step::Models(models.into_iter().map(answer::model).collect())).await?;
            Ok(Ok(String::new()))
        }
        Err(error) => Ok(Err(trouble(error.to_string()))),
    }
}

async fn add_document(
    console: &Console,
    file_name: String,
    file: File,
    steps: &Steps,
) -> Result<Outcome, ChannelError> {
    let store = console.store.clone();
    let size = file.metadata().map_or(0, |meta| meta.len());
    let written = tokio::task::spawn_blocking(move || documents::keep_file(&store, file, MAX_DOCUMENT));
    let blob = match written.await {
        Ok(Ok(blob)) => blob,
        Ok(Err(documents::KeepError::Store(error))) => return Ok(Err(of_store(&error))),
        Ok(Err(error)) => return Ok(Err(trouble(error.to_string()))),
        Err(error) => return Ok(Err(trouble(error.to_string()))),
    };
    let title = documents::title_of(&file_name);
    let fields = documents::fields(&title, &file_name, blob, size);
    let record = match console.store.create(&Console::viewer(), Kind::Document, None, fields, None).await {
        Ok(record) => record,
        Err(error) => return Ok(Err(of_store(&error))),
    };
    let (outcome, searchable) = match console.library.index_now(record.id).await {
        Ok(IndexOutcome::Indexed { passages, notices }) => {
            let notices: String = notices.iter().map(|notice| format!("; {notice}")).collect();
            (format!("{passages} passages{notices}"), true)
        }
        Ok(IndexOutcome::Failed { reason }) => (format!("kept, but it cannot be searched: {reason}"), false),
        Ok(IndexOutcome::Gone) => ("removed meanwhile".to_owned(), false),
        Err(error) => (format!("kept; it will be searchable later: {error}"), false),
    };
    steps.send(&Step::Added { title, outcome, searchable }).await?;
    Ok(Ok(String::new()))
}

async fn add_model(
    console: &Console,
    name: String,
    file: File,
    steps: &Steps,
) -> Result<Outcome, ChannelError> {
    let folder = console.host.incoming_dir();
    let (_, total) = watch::channel(file.metadata().map_or(0, |meta| meta.len()));
    let (progress, told) = watch::channel(0);
    let checked_name = name.clone();
    let copying = tokio::task::spawn_blocking(move || -> Result<_, Trouble> {
        let failed = |error: io::Error| Trouble {
            kept: Some("The installed models are as they were.".to_owned()),
            ..trouble(format!("the model cannot be copied: {error}"))
        };
        // Under its own name, because errors name the model by its file.
        let path = folder.join(format!("{checked_name}.gguf"));
        let (mut from, mut done, mut chunk) = (file, 0, vec![0; COPY]);
        from.rewind().map_err(failed)?;
        let mut to = File::create(&path).map_err(failed)?;
        let copied = loop {
            let read = match from.read(&mut chunk) {
                Ok(0) => break Ok(()),
                Ok(read) => read,
                Err(error) => break Err(error),
            };
            if let Err(error) = to.write_all(chunk.get(..read).unwrap_or_default()) {
                break Err(error);
            }
            done += read as u64;
            progress.send_replace(done);
        };
        let whole = copied.and_then(|()| to.sync_all()).map_err(failed);
        let whole = whole.and_then(|()| {
            cairn_inference::inspect(&path)
                .map(drop)
                .map_err(|error| trouble(format!("{checked_name}: {error}")))
        });
        if let Err(trouble) = whole {
            drop(std::fs::remove_file(&path));
            return Err(trouble);
        }
        Ok(path)
    });
    let path = match with_progress(copying, told, total, steps).await? {
        Ok(path) => path,
        Err(trouble) => return Ok(Err(trouble)),
    };
    if let Err(error) = console.host.install_model(path.clone(), name.clone()).await {
        drop(std::fs::remove_file(path));
        return Ok(Err(of_host(&error)));
    }
    Ok(Ok(format!("{name} is installed.")))
}

async fn backup(
    console: &Console,
    passphrase: String,
    file: File,
    steps: &Steps,
) -> Result<Outcome, ChannelError> {
    let (progress, told) = watch::channel(0);
    let (total, total_told) = watch::channel(0);
    let report = Progress::new(move |so_far| {
        total.send_replace(so_far.total_bytes);
        // Nobody listens any more when whoever asked has left.
        match progress.send(so_far.done_bytes) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    let kept = match file.try_clone() {
        Ok(kept) => kept,
        Err(error) => return Ok(Err(trouble(error.to_string()))),
    };
    let store = console.store.clone();
    let writing = tokio::spawn(async move {
        let to = Box::new(BufWriter::with_capacity(COPY, file));
        let done = store.backup(&Console::viewer(), to, Secret::new(passphrase), report).await;
        let done = done.map_err(|error| of_store(&error))?;
        // A backup is one only once it is on the medium.
        let synced = tokio::task::spawn_blocking(move || kept.sync_all()).await;
        match synced {
            Ok(Ok(())) => {
                Ok(format!("{} records and {} files, {} bytes", done.records, done.files, done.bytes))
            }
            Ok(Err(error)) => Err(trouble(format!("the backup did not reach its medium: {error}"))),
            Err(error) => Err(trouble(error.to_string())),
        }
    });
    let outcome = with_progress(writing, told, total_told, steps).await?;
    Ok(outcome.map_err(|trouble| Trouble {
        kept: Some("The hub's own data is untouched; the file is not a whole backup.".to_owned()),
        ..trouble
    }))
}

/// Tells how far `work` is until it ends.
async fn with_progress<T>(
    mut work: tokio::task::JoinHandle<Result<T, Trouble>>,
    told: watch::Receiver<u64>,
    total: watch::Receiver<u64>,
    steps: &Steps,
) -> Result<Result<T, Trouble>, ChannelError> {
    let mut interval = tokio::time::interval(PROGRESS_EVERY);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done.unwrap_or_else(|error| Err(trouble(error.to_string())))),
            _ = interval.tick() => {
                let (done, total) = (*told.borrow(), *total.borrow());
                steps.send(&Step::Progress { done, total: total.max(done) }).await?;
            }
        }
    }
}

async fn health(console: &Console) -> Health {
    let facts = console.host.facts();
    let database = console.store.health().await;
    let index = console.store.index_progress().await.ok();
    let claimed = console.store.setup_state().await.is_ok_and(|state| state.claimed);
    let statistics = console.inference.statistics();
    let loaded = match tokio::time::timeout(Duration::from_secs(1), statistics).await {
        Ok(Ok(statistics)) => statistics.models_loaded,
        _ => 0,
    };
    let tree = console.host.tree.borrow().clone();
    let roles: Vec<RoleLine> = tree.iter().flat_map(|tree| &tree.roles).map(role_line).collect();
    let usage = |usage: cairn_web::Usage| MemoryLine { used: usage.used, total: usage.total };
    Health {
        well: database.database_connected && roles.iter().all(|role| role.state == "ready"),
        version: facts.version,
        ready_for_s: console.ready.elapsed().as_secs(),
        addresses: console.host.pages(),
        claimed,
        database_connected: database.database_connected,
        inference_connected: console.inference.connected(),
        models_loaded: loaded,
        documents: index.as_ref().map_or(0, |index| index.documents),
        indexed: index.as_ref().map_or(0, |index| index.indexed),
        passages: index.as_ref().map_or(0, |index| index.passages),
        embedded: index.as_ref().map_or(0, |index| index.embedded),
        roles,
        memory: facts.memory.map(usage),
        disk: facts.disk.map(usage),
        temperature_c: facts.temperature_c,
        findings: facts.opened.findings.iter().map(|finding| finding.text.clone()).collect(),
    }
}

fn role_line(role: &cairn_supervisor::RoleStatus) -> RoleLine {
    RoleLine {
        role: role.role.to_string(),
        state: match role.health {
            RoleHealth::Starting => "starting",
            RoleHealth::Ready => "ready",
            RoleHealth::Failing => "failing",
            RoleHealth::Stopped => "stopped",
        }
        .to_owned(),
        restarts: role.restarts,
        last_failure: role.last_failure.clone(),
        memory: role.memory,
        lacking: role
            .confinement
            .iter()
            .flat_map(|report| &report.lacking)
            .map(|lack| lack.detail.clone())
            .collect(),
    }
}

async fn support(console: &Console, steps: &Steps) -> Result<Outcome, ChannelError> {
    let facts = match console.store.support_facts(&Console::viewer()).await {
        Ok(facts) => facts,
        Err(error) => return Ok(Err(of_store(&error))),
    };
    let models = console.inference.models().await.unwrap_or_default();
    let bundle = serde_json::json!({
        "made_at_ms": crate::host::wall_clock_ms(),
        "health": health(console).await,
        "tree": console.host.tree.borrow().clone(),
        "store": facts,
        "models": models.into_iter().map(answer::model).collect::<Vec<_>>(),
        "log": console.host.log.last(SUPPORT_LOG),
    });
    let text = bundle.to_string();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(SUPPORT_PIECE));
        steps.send(&Step::Support(piece.to_owned())).await?;
        rest = after;
    }
    Ok(Ok(String::new()))
}
