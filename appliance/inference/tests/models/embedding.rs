//! The converted, quantized embedding model against the published one.

use std::path::{Path, PathBuf};

use crate::reference::{Reference, workspace};
use cairn_inference::{EmbedRole, InferenceClient, ServeConfig, probe::Embedder, serve};
use futures::future::try_join_all;

const SENTENCES: usize = 200;
/// Least cosine between our vector of a sentence and the reference's.
const LEAST_COSINE: f32 = 0.995;

fn model() -> PathBuf {
    std::env::var_os("CAIRN_EMBEDDING_MODEL").map_or_else(
        || workspace().join("build/cache/embedding-model-1/all-minilm-l6-v2-q8_0.gguf"),
        PathBuf::from,
    )
}

fn texts(folder: &Path, into: &mut Vec<String>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            texts(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "md" || extension == "txt") {
            into.extend(std::fs::read_to_string(&path));
        }
    }
}

/// Sentences people wrote: those of the documentation and of the sample library, evenly chosen.
fn sentences() -> Vec<String> {
    let mut pages = Vec::new();
    texts(&workspace().join("docs"), &mut pages);
    let sample = workspace().join("appliance/library/sample");
    if sample.exists() {
        texts(&sample, &mut pages);
    }
    pages.push(std::fs::read_to_string(workspace().join("LICENSE-APACHE")).unwrap());
    let all: Vec<String> = pages
        .iter()
        .flat_map(|page| page.split(['.', '\n', '!', '?']))
        .map(|sentence| sentence.trim().to_owned())
        .filter(|sentence| sentence.split_whitespace().count() >= 5)
        .collect();
    assert!(all.len() >= SENTENCES, "only {} sentences", all.len());
    (0..SENTENCES).map(|index| all[index * all.len() / SENTENCES].clone()).collect()
}

#[test]
fn vectors_agree_with_the_published_model() {
    let mut sentences = sentences();
    // Beyond real sentences: other scripts, accents, and a text that must be cut.
    sentences.extend(["Ça va où ? Zürich", "اغلِ الماء قبل شربه", "水を沸騰させて"].map(str::to_owned));
    sentences.push("water ".repeat(600));
    let ours = Embedder::open(&model()).unwrap().embed(&sentences).unwrap();
    let mut reference = Reference::start("embedding_reference.py");
    let (mut worst, mut sum) = (1.0_f32, 0.0);
    for (sentence, ours) in sentences.iter().zip(&ours) {
        let theirs: Vec<f32> = reference.ask(sentence);
        let length: f32 = ours.iter().map(|value| value * value).sum::<f32>().sqrt();
        assert!((length - 1.0).abs() < 1e-4);
        let cosine: f32 = ours.iter().zip(&theirs).map(|(a, b)| a * b).sum();
        assert!(cosine >= LEAST_COSINE, "cosine {cosine} for {sentence:?}");
        worst = worst.min(cosine);
        sum += cosine;
    }
    println!("cosine: at least {worst:.5}, on average {:.5}", sum / sentences.len() as f32);
}

#[test]
fn a_vector_does_not_depend_on_what_it_is_computed_with() {
    let embedder = Embedder::open(&model()).unwrap();
    let texts: Vec<String> =
        ["Boil the water.", "Where is the shelter?", "It opens at eight."].map(str::to_owned).into();
    let together = embedder.embed(&texts).unwrap();
    for (text, together) in texts.iter().zip(&together) {
        let alone = embedder.embed(std::slice::from_ref(text)).unwrap();
        let cosine: f32 = alone[0].iter().zip(together).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.9999, "{cosine} for {text:?}");
    }
}

#[tokio::test]
async fn calls_that_are_embedded_together_each_get_their_own_vectors() {
    let (client, folder) = (InferenceClient::new(), tempfile::tempdir().unwrap());
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    client.attach(ours).unwrap();
    let config =
        ServeConfig { model_dir: folder.path().to_owned(), embed_model: model(), ..ServeConfig::default() };
    let task = tokio::spawn(serve(theirs, config));
    // More texts than one step takes, cut across calls in every way, and a call without any.
    let text = |number: usize| format!("Shelter {number} opens at {number} and has {} beds.", number * 7);
    let calls: Vec<Vec<String>> = [1, 1, 3, 0, 6, 1, 2, 1]
        .iter()
        .enumerate()
        .map(|(call, texts)| (0..*texts).map(|at| text(call * 10 + at)).collect())
        .collect();
    let asked = calls.iter().map(|texts| client.embed(texts.clone(), EmbedRole::Query));
    let answers = try_join_all(asked).await.unwrap();
    task.abort();
    let embedder = Embedder::open(&model()).unwrap();
    for (texts, vectors) in calls.iter().zip(&answers) {
        assert_eq!(texts.len(), vectors.len());
        for (text, vector) in texts.iter().zip(vectors) {
            let alone = embedder.embed(std::slice::from_ref(text)).unwrap();
            let cosine: f32 = alone[0].iter().zip(vector).map(|(a, b)| a * b).sum();
            assert!(cosine > 0.9999, "{cosine} for {text:?}");
        }
    }
}

#[test]
fn closer_meaning_gives_closer_vectors() {
    let embedder = Embedder::open(&model()).unwrap();
    let texts = ["How do I make water safe to drink?", "Boil it for a minute.", "The bus leaves at noon."]
        .map(str::to_owned);
    let vectors = embedder.embed(&texts).unwrap();
    let cosine = |a: usize, b: usize| -> f32 { vectors[a].iter().zip(&vectors[b]).map(|(a, b)| a * b).sum() };
    assert!(cosine(0, 1) > cosine(0, 2) + 0.1);
}
