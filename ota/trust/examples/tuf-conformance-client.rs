//! The client of the public TUF conformance suite (theupdateframework/tuf-conformance, `CLIENT-CLI.md`): `init`, `refresh` and `download`
//! over the trust that a hub has. `cargo xtask tuf-conformance --suite FOLDER` runs the suite with it; `docs/UPDATES.md` lists what fails.
//!
//! What is trusted lives in a [`Store`] below the metadata folder; after every command it is laid out beside it, as the suite wants to see.

#![allow(clippy::print_stderr, reason = "the suite shows what a client says")]

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use cairn_trust::{
    Body, Catalogue, Channel, Clock, Fetch, FetchError, Limits, Store, Trust, local_folder, storage::Folder,
};
use futures::StreamExt;

type Failure = Box<dyn std::error::Error>;

/// The command line.
#[derive(Default)]
struct Asked {
    metadata_dir: PathBuf,
    metadata_url: String,
    target_names: Vec<String>,
    target_base_url: String,
    target_dir: PathBuf,
    words: Vec<String>,
}

impl Asked {
    fn read() -> Result<Self, Failure> {
        let mut asked = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--metadata-dir" => asked.metadata_dir = value()?.into(),
                "--metadata-url" => asked.metadata_url = value()?,
                "--target-name" => asked.target_names.push(value()?),
                "--target-base-url" => asked.target_base_url = value()?,
                "--target-dir" => asked.target_dir = value()?.into(),
                _ => asked.words.push(word),
            }
        }
        Ok(asked)
    }
}

/// A repository over HTTP, its two folders where the suite says.
struct Http {
    client: reqwest::Client,
    metadata: String,
    targets: String,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metadata)
    }
}

#[async_trait]
impl Fetch for Http {
    async fn open(&self, path: &str) -> Result<Body, FetchError> {
        let (base, rest) = match (path.strip_prefix("metadata/"), path.strip_prefix("targets/")) {
            (Some(rest), _) => (&self.metadata, rest),
            (None, Some(rest)) => (&self.targets, rest),
            (None, None) => return Err(FetchError::NotFound),
        };
        let failed = |error: reqwest::Error| FetchError::Failed(error.to_string());
        let answer =
            self.client.get(format!("{}/{rest}", base.trim_end_matches('/'))).send().await.map_err(failed)?;
        match answer.status().as_u16() {
            200 => Ok(Box::pin(answer.bytes_stream().map(move |piece| piece.map_err(failed)))),
            403 | 404 => Err(FetchError::NotFound),
            other => Err(FetchError::Failed(format!("the server answered {other}"))),
        }
    }
}

fn store_of(folder: &Path) -> PathBuf {
    folder.join("store")
}

/// Lays out what is trusted.
fn show(trust: &Trust<Folder>, folder: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            fs::remove_file(path)?;
        }
    }
    let memory = trust.memory();
    for name in memory.names() {
        fs::write(folder.join(name), memory.file(name).unwrap_or_default())?;
    }
    Ok(())
}

async fn refresh(asked: &Asked, source: Arc<Http>) -> Result<Catalogue, Failure> {
    let folder = store_of(&asked.metadata_dir);
    let store = Store::open(Folder::open(&folder)?)?;
    // The suite's largest files stand for endless data: its limits are those of a common client.
    let limits = Limits { patience: Duration::from_secs(30), ..Limits::default() };
    let mut trust = Trust::new(store, local_folder(&folder)?, limits);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let looked = trust.refresh(source, Clock::Trusted(now), Channel::Online).await;
    show(&trust, &asked.metadata_dir)?;
    Ok(looked?)
}

async fn download(asked: &Asked, source: &Http, catalogue: &Catalogue) -> Result<(), Failure> {
    for name in &asked.target_names {
        let entry = catalogue.entry(name).ok_or_else(|| format!("there is no {name}"))?;
        let place = asked.target_dir.join(name.replace('/', "%2F"));
        let is_there = fs::read(&place).is_ok_and(|bytes| {
            let mut check = entry.check();
            check.update(&bytes).is_ok() && check.finish().is_ok()
        });
        if is_there {
            continue;
        }
        let (mut check, mut bytes) = (entry.check(), Vec::new());
        let mut body = source.open(&entry.path()).await?;
        while let Some(piece) = body.next().await {
            let piece = piece?;
            check.update(&piece)?;
            bytes.extend_from_slice(&piece);
        }
        check.finish()?;
        fs::write(&place, bytes)?;
    }
    Ok(())
}

async fn obey(asked: &Asked) -> Result<(), Failure> {
    let words: Vec<&str> = asked.words.iter().map(String::as_str).collect();
    if let ["init", root] = words.as_slice() {
        let root = fs::read_to_string(root)?;
        let store = Store::open_or_begin(&store_of(&asked.metadata_dir), &root, 0)?;
        fs::write(asked.metadata_dir.join("root.json"), store.memory().root())?;
        return Ok(());
    }
    // Plain HTTP only; the library wants to know a provider all the same.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let source = Arc::new(Http {
        client: reqwest::Client::builder().user_agent("cairn-tuf-conformance/1").build()?,
        metadata: asked.metadata_url.clone(),
        targets: asked.target_base_url.clone(),
    });
    match words.as_slice() {
        ["refresh"] => refresh(asked, source).await.map(drop),
        ["download"] => {
            let catalogue = refresh(asked, Arc::clone(&source)).await?;
            download(asked, &source, &catalogue).await
        }
        other => Err(format!("{other:?} is not understood").into()),
    }
}

fn main() -> ExitCode {
    let done = Asked::read().and_then(|asked| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(obey(&asked))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
