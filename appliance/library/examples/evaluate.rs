//! Measures search and refusal on real questions and prints the parameters that follow.
//!
//! `cargo run -p cairn-library --example evaluate -- --embedding-model FILE.gguf [--documents FOLDER] [--calibrate]`
//!
//! The FAQ documents come from Debian packages, fetched by name into `--documents`, where embeddings are kept too.
//! `--calibrate` also prints the parameters that do best on the tuning half, for `src/parameters.rs`. With
//! `--latency PASSAGES` only the time of searches in a made-up library of that size is measured.

use std::{error::Error, os::unix::net::UnixStream, path::PathBuf, sync::Arc};

use cairn_inference::{InferenceClient, ServeConfig, serve};
use cairn_library::evaluate::{Settings, measure_latency, run};

fn main() -> Result<(), Box<dyn Error>> {
    let mut embed_model = None;
    let mut documents = std::env::temp_dir().join("cairn-evaluate");
    let mut latency = None;
    let mut calibrate = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--calibrate" {
            calibrate = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--embedding-model" => embed_model = Some(PathBuf::from(value)),
            "--documents" => documents = PathBuf::from(value),
            "--latency" => latency = Some(value.parse::<usize>()?),
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some(passages) = latency {
            println!("{}", measure_latency(passages).await?);
            return Ok(());
        }
        let embed_model = embed_model.ok_or("--embedding-model FILE.gguf is needed")?;
        let (ours, theirs) = UnixStream::pair()?;
        let config =
            ServeConfig { model_dir: documents.join("no-models"), embed_model, ..ServeConfig::default() };
        let model = tokio::spawn(serve(theirs, config));
        let client = InferenceClient::new();
        client.attach(ours)?;
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let report = run(Settings {
            sample: here.join("sample"),
            questions: here.join("evaluate"),
            documents,
            embed: Arc::new(client),
            report: Box::new(|line| eprintln!("{line}")),
        })
        .await?;
        model.abort();
        println!("{report}");
        if calibrate {
            println!("FUSION = {:?}", report.ranking.best);
            println!("VERDICT = {:?}", report.verdict.fitted);
            println!("VERDICT_BY_WORDS = {:?}", report.verdict_by_words.fitted);
        }
        // Who asks for other parameters does not want to hear that those in use are not good enough.
        if calibrate || report.ranking.hybrid_wins() {
            Ok(())
        } else {
            Err("hybrid search does not beat both of its parts".into())
        }
    })
}
