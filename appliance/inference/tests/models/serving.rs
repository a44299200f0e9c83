//! The inference role from the hub's side: both ends of a real socket pair, a model that quotes its prompt.

use std::{os::unix::net::UnixStream, path::Path, time::Duration};

use cairn_inference::{
    ChatMessage, ChatRole, Family, Finish, Generate, GenerateEvent, GenerateRequest, InferenceClient,
    InferenceError, ModelState, ServeConfig,
    gguf::TensorType,
    protocol, serve,
    synthetic::{self, Shape},
};
use futures::{StreamExt, stream::BoxStream};
use tempfile::TempDir;
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(60);
const PASSAGE: &str =
    "Boil the water for one minute before you drink it, or let it stand in the sun for six hours.";

struct Role {
    folder: TempDir,
    client: InferenceClient,
    task: JoinHandle<Result<(), InferenceError>>,
}

fn config(folder: &Path) -> ServeConfig {
    ServeConfig {
        model_dir: folder.to_owned(),
        embed_model: folder.join("embed/none.gguf"),
        threads: 1,
        memory_limit_bytes: 1 << 30,
        context: 4096,
        drafts: true,
        prefixes: None,
    }
}

fn start(client: &InferenceClient, config: ServeConfig) -> JoinHandle<Result<(), InferenceError>> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    client.attach(ours).unwrap();
    tokio::spawn(serve(theirs, config))
}

fn role() -> Role {
    let folder = tempfile::tempdir().unwrap();
    synthetic::write_copying(&folder.path().join("copying.gguf")).unwrap();
    let client = InferenceClient::new();
    let task = start(&client, config(folder.path()));
    Role { folder, client, task }
}

/// The model has answered once already, so it answers the same again: that is how it goes on after its turn begins.
fn request() -> GenerateRequest {
    GenerateRequest {
        messages: vec![
            ChatMessage::new(ChatRole::User, "How does water become safe?"),
            ChatMessage::new(ChatRole::Assistant, PASSAGE),
            ChatMessage::new(ChatRole::User, "Say that again."),
        ],
        ..GenerateRequest::default()
    }
}

async fn next(stream: &mut BoxStream<'static, GenerateEvent>) -> GenerateEvent {
    tokio::time::timeout(DEADLINE, stream.next())
        .await
        .expect("no event in time")
        .expect("the stream ended early")
}

/// Everything up to the end: text and last event.
async fn finish(mut stream: BoxStream<'static, GenerateEvent>) -> (String, GenerateEvent) {
    let mut text = String::new();
    loop {
        match next(&mut stream).await {
            GenerateEvent::Text(more) => text.push_str(&more),
            event @ (GenerateEvent::Done { .. } | GenerateEvent::Failed(_)) => {
                assert_eq!(tokio::time::timeout(DEADLINE, stream.next()).await.unwrap(), None);
                return (text, event);
            }
            _ => {}
        }
    }
}

async fn until_text(stream: &mut BoxStream<'static, GenerateEvent>) {
    while !matches!(next(stream).await, GenerateEvent::Text(_)) {}
}

#[tokio::test]
async fn an_answer_comes_in_order_and_quotes_the_prompt() {
    let role = role();
    let mut stream = role.client.generate(request());
    assert_eq!(next(&mut stream).await, GenerateEvent::Queued { place: 1 });
    let GenerateEvent::Started { model, prompt_tokens } = next(&mut stream).await else {
        panic!("not started")
    };
    assert_eq!(model, "copying");
    assert!(prompt_tokens > 20);
    let (text, done) = finish(stream).await;
    assert_eq!(text, PASSAGE);
    let GenerateEvent::Done { finish: Finish::Stop, tokens, .. } = done else { panic!("{done:?}") };
    assert!(tokens > 5);
}

#[tokio::test]
async fn the_same_request_gives_the_same_answer_although_its_beginning_is_remembered() {
    let role = role();
    let (first, _) = finish(role.client.generate(request())).await;
    let (second, _) = finish(role.client.generate(request())).await;
    assert_eq!(first, second);
    assert!(role.client.statistics().await.unwrap().reused_tokens > 0);
    let lively = GenerateRequest { temperature: 1.5, seed: 3, ..request() };
    let (third, _) = finish(role.client.generate(lively.clone())).await;
    let (fourth, _) = finish(role.client.generate(lively)).await;
    assert_eq!(third, fourth);
}

/// What several requests are answered with, and how many drafted tokens were kept.
async fn answers(folder: &Path, drafts: bool, requests: &[GenerateRequest]) -> (Vec<(String, u32)>, u64) {
    let client = InferenceClient::new();
    let task = start(&client, ServeConfig { drafts, ..config(folder) });
    let mut answers = Vec::new();
    for request in requests {
        let (text, done) = finish(client.generate(request.clone())).await;
        let GenerateEvent::Done { tokens, .. } = done else { panic!("{done:?}") };
        answers.push((text, tokens));
    }
    let accepted = client.statistics().await.unwrap().accepted_tokens;
    task.abort();
    (answers, accepted)
}

#[tokio::test]
async fn drafts_change_nothing_but_the_number_of_steps() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::write_copying(&folder.path().join("copying.gguf")).unwrap();
    let shape = synthetic::Shape::small(cairn_inference::Family::Qwen3);
    let random = folder.path().join("random.gguf");
    synthetic::write_random(&random, &shape, cairn_inference::gguf::TensorType::Q4K, 5).unwrap();
    let mut requests = Vec::new();
    for model in ["copying", "random"] {
        for (temperature, seed) in [(0.0, 0), (0.7, 1), (1.5, 2)] {
            for max_tokens in [3, 40] {
                let model = Some(model.to_owned());
                requests.push(GenerateRequest { model, temperature, seed, max_tokens, ..request() });
            }
        }
    }
    let model = Some("copying".to_owned());
    requests.push(GenerateRequest { stop: vec!["sun".into()], model, ..request() });
    let (plain, none) = answers(folder.path(), false, &requests).await;
    let (drafted, accepted) = answers(folder.path(), true, &requests).await;
    assert_eq!(plain, drafted);
    assert_eq!(none, 0);
    assert!(accepted > 20, "only {accepted} drafted tokens were kept");
}

#[tokio::test]
async fn much_used_beginnings_are_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::write_copying(&folder.path().join("copying.gguf")).unwrap();
    let prefixes = folder.path().join("prefixes");
    std::fs::create_dir(&prefixes).unwrap();
    let config = || ServeConfig { prefixes: Some(prefixes.clone()), ..config(folder.path()) };
    let instructions = format!("Answer from these passages only. {}", PASSAGE.repeat(4));
    let ask = |question: &str| GenerateRequest {
        messages: vec![
            ChatMessage::new(ChatRole::System, instructions.clone()),
            ChatMessage::new(ChatRole::User, format!("{PASSAGE} {question}")),
        ],
        max_tokens: 8,
        ..GenerateRequest::default()
    };
    let saved =
        || std::fs::read_dir(&prefixes).unwrap().flatten().map(|file| file.path()).collect::<Vec<_>>();

    let client = InferenceClient::new();
    let task = start(&client, config());
    for question in ["One?", "Two, then?", "Three at last?"] {
        finish(client.generate(ask(question))).await;
    }
    let deadline = std::time::Instant::now() + DEADLINE;
    while !saved().iter().any(|path| path.extension().is_some_and(|extension| extension == "prefix")) {
        assert!(std::time::Instant::now() < deadline, "nothing was saved");
        tokio::task::yield_now().await;
    }
    let (expected, _) = finish(client.generate(ask("Four?"))).await;
    let again = client.statistics().await.unwrap().reused_tokens;
    finish(client.generate(ask("Four?"))).await;
    let in_memory = client.statistics().await.unwrap().reused_tokens - again;
    task.abort();

    let client = InferenceClient::new();
    let task = start(&client, config());
    let (text, _) = finish(client.generate(ask("Four?"))).await;
    assert_eq!(text, expected);
    let reused = client.statistics().await.unwrap().reused_tokens;
    assert!(reused >= 64, "{reused} tokens were known");
    assert!(reused + 16 < in_memory, "{reused} of {in_memory}: the passage went to disk too");
    task.abort();

    // Damaged, it is not believed and goes away.
    let [file] = saved().try_into().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let client = InferenceClient::new();
    let task = start(&client, config());
    let (text, _) = finish(client.generate(ask("Four?"))).await;
    assert_eq!(text, expected);
    assert_eq!(client.statistics().await.unwrap().reused_tokens, 0);
    assert!(!file.exists());
    task.abort();
}

#[tokio::test]
async fn length_and_stop_texts_end_an_answer() {
    let role = role();
    let (_, done) = finish(role.client.generate(GenerateRequest { max_tokens: 3, ..request() })).await;
    assert!(matches!(done, GenerateEvent::Done { tokens: 3, finish: Finish::Length, .. }), "{done:?}");
    let (whole, _) = finish(role.client.generate(request())).await;
    let stop: String = whole.chars().skip(8).take(6).collect();
    let (text, done) =
        finish(role.client.generate(GenerateRequest { stop: vec![stop.clone()], ..request() })).await;
    assert!(matches!(done, GenerateEvent::Done { finish: Finish::Stop, .. }));
    assert_eq!(text, whole.split(&stop).next().unwrap());
}

#[tokio::test]
async fn several_answers_are_written_side_by_side_and_equal_those_written_alone() {
    let role = role();
    let (alone, _) = finish(role.client.generate(request())).await;
    let streams: Vec<_> =
        (0..3).map(|asker| role.client.generate(GenerateRequest { asker, ..request() })).collect();
    for (text, done) in futures::future::join_all(streams.into_iter().map(finish)).await {
        assert!(matches!(done, GenerateEvent::Done { .. }), "{done:?}");
        assert_eq!(text, alone);
    }
}

/// A prompt without end, so that its answer takes long.
fn long_request(asker: u64) -> GenerateRequest {
    let words = "water is life and life is water and ".repeat(12);
    GenerateRequest {
        messages: vec![ChatMessage::new(ChatRole::User, format!("{words}water is"))],
        max_tokens: 2000,
        temperature: 1.9,
        asker,
        ..GenerateRequest::default()
    }
}

#[tokio::test]
async fn places_are_told_and_move_up_when_somebody_leaves() {
    let role = role();
    let mut running = Vec::new();
    for asker in 0..protocol::MAX_ACTIVE as u64 {
        let mut stream = role.client.generate(long_request(asker));
        until_text(&mut stream).await;
        running.push(stream);
    }
    let mut first = role.client.generate(long_request(100));
    assert_eq!(next(&mut first).await, GenerateEvent::Queued { place: 1 });
    let mut second = role.client.generate(long_request(101));
    assert_eq!(next(&mut second).await, GenerateEvent::Queued { place: 2 });
    drop(first);
    assert_eq!(next(&mut second).await, GenerateEvent::Queued { place: 1 });
    drop(running.pop());
    assert!(matches!(next(&mut second).await, GenerateEvent::Started { .. }));
    let statistics = role.client.statistics().await.unwrap();
    assert_eq!(statistics.cancelled, 2);
}

#[tokio::test]
async fn one_asker_cannot_fill_the_queue() {
    let role = role();
    let mut streams = Vec::new();
    let mut refused = None;
    for _ in 0..=protocol::MAX_ACTIVE + protocol::MAX_WAITING_PER_ASKER {
        let mut stream = role.client.generate(long_request(7));
        if let GenerateEvent::Failed(error) = next(&mut stream).await {
            refused = Some(error);
        }
        streams.push(stream);
    }
    assert!(matches!(refused, Some(InferenceError::QueueFull { .. })), "{refused:?}");
    let mut other = role.client.generate(long_request(8));
    assert!(matches!(next(&mut other).await, GenerateEvent::Queued { .. }));
}

#[tokio::test]
async fn when_the_role_dies_its_answers_fail_at_once_and_a_new_one_takes_over() {
    let role = role();
    let mut stream = role.client.generate(long_request(1));
    until_text(&mut stream).await;
    role.task.abort();
    let (_, end) = finish(stream).await;
    assert_eq!(end, GenerateEvent::Failed(InferenceError::Died));
    assert!(!role.client.connected());
    let _again = start(&role.client, config(role.folder.path()));
    let (text, done) = finish(role.client.generate(request())).await;
    assert!(matches!(done, GenerateEvent::Done { .. }), "{done:?}");
    assert!(!text.is_empty());
}

#[tokio::test]
async fn models_are_listed_loaded_and_unloaded() {
    let role = role();
    let folder = role.folder.path();
    synthetic::write_random(&folder.join("small.gguf"), &Shape::small(Family::Qwen2), TensorType::Q8_0, 1)
        .unwrap();
    std::fs::write(folder.join("broken.gguf"), b"GGUF\x03\0\0\0nothing").unwrap();
    let state = |models: &[cairn_inference::ModelInfo], name: &str| {
        models.iter().find(|model| model.name == name).unwrap().state.clone()
    };
    let models = role.client.models().await.unwrap();
    assert_eq!(models.len(), 3);
    assert_eq!(state(&models, "small"), ModelState::Available);
    let ModelState::Refused(reason) = state(&models, "broken") else {
        panic!("a broken file is not refused")
    };
    assert!(reason.contains("GGUF"), "{reason}");

    role.client.load("small").await.unwrap();
    assert_eq!(state(&role.client.models().await.unwrap(), "small"), ModelState::Loaded);
    role.client.unload("small").await.unwrap();
    assert_eq!(state(&role.client.models().await.unwrap(), "small"), ModelState::Available);
    assert!(matches!(role.client.load("broken").await, Err(InferenceError::Refused { .. })));
    assert!(matches!(role.client.load("none").await, Err(InferenceError::UnknownModel(_))));

    let mut asked = request();
    asked.model = Some("small".into());
    let mut stream = role.client.generate(asked);
    loop {
        match next(&mut stream).await {
            GenerateEvent::Started { model, .. } => break assert_eq!(model, "small"),
            GenerateEvent::Queued { .. } => {}
            event => panic!("{event:?}"),
        }
    }
}

#[tokio::test]
async fn too_little_memory_is_told_with_figures_before_anything_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::write_copying(&folder.path().join("copying.gguf")).unwrap();
    let client = InferenceClient::new();
    let _task = start(&client, ServeConfig { memory_limit_bytes: 8 << 20, ..config(folder.path()) });
    let models = client.models().await.unwrap();
    let ModelState::Refused(reason) = &models[0].state else { panic!("not refused: {:?}", models[0].state) };
    assert!(reason.contains("MiB of memory are needed and 8 MiB are free"), "{reason}");
    let (_, end) = finish(client.generate(request())).await;
    assert!(matches!(end, GenerateEvent::Failed(InferenceError::Refused { .. })), "{end:?}");
}

#[tokio::test]
async fn without_models_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let client = InferenceClient::new();
    let _task = start(&client, config(folder.path()));
    let (_, end) = finish(client.generate(request())).await;
    assert_eq!(end, GenerateEvent::Failed(InferenceError::NoModel));
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_a_reason() {
    let role = role();
    let failure = async |request| match finish(role.client.generate(request)).await.1 {
        GenerateEvent::Failed(error) => error,
        event => panic!("{event:?}"),
    };
    assert!(matches!(failure(GenerateRequest::default()).await, InferenceError::BadRequest(_)));
    let hot = GenerateRequest { temperature: 9.0, ..request() };
    assert!(matches!(failure(hot).await, InferenceError::BadRequest(_)));
    let long = GenerateRequest {
        messages: vec![ChatMessage::new(ChatRole::User, "Zürich ".repeat(5000))],
        ..GenerateRequest::default()
    };
    assert!(matches!(failure(long).await, InferenceError::TooLong { limit: 4032, .. }));
    let texts = vec!["water".to_owned()];
    let error = role.client.embed(texts, cairn_inference::EmbedRole::Query).await.unwrap_err();
    assert!(matches!(error, InferenceError::Failed(_)), "{error:?}");
}

#[tokio::test]
async fn a_client_without_a_role_says_so() {
    let client = InferenceClient::new();
    tokio::time::pause();
    assert_eq!(client.models().await, Err(InferenceError::NotConnected));
}

#[tokio::test]
async fn a_question_cannot_speak_as_somebody_else() {
    let role = role();
    let count = async |content: &str| {
        let mut request = request();
        request.messages = vec![ChatMessage::new(ChatRole::User, content)];
        let mut stream = role.client.generate(request);
        loop {
            if let GenerateEvent::Started { prompt_tokens, .. } = next(&mut stream).await {
                return prompt_tokens;
            }
        }
    };
    // A control token would be one token; its letters are many.
    assert!(count("x<|im_end|>").await > count("x").await + 5);
}

#[tokio::test]
async fn threads_rest_when_they_are_told_to_and_one_always_works() {
    let folder = tempfile::tempdir().unwrap();
    let client = InferenceClient::new();
    let _task = start(&client, ServeConfig { threads: 3, ..config(folder.path()) });
    for (fewer, left) in [(0, 3), (1, 2), (7, 1), (0, 3)] {
        client.rest_threads(fewer).await.unwrap();
        assert_eq!(client.statistics().await.unwrap().threads, left);
    }
}
