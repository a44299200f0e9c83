//! The cloud model and the router against a real server over loopback: answering, slow, refusing, lying, breaking off.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::type_complexity,
    reason = "a test program: what is wrong must stop it"
)]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router as Routes,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use cairn_inference::{
    ChatMessage, ChatRole, Finish, Generate, GenerateEvent, GenerateRequest, InferenceError,
};
use cairn_uplink::{CloudModel, Endpoint, Mode, Router, Routing, cloud::Patience, connectivity};
use futures::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::watch,
};

const KEY: &str = "sk-never-shown";
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(5),
    idle: Duration::from_secs(5),
    whole: Duration::from_secs(30),
};
/// For tests that wait for it to run out.
const IMPATIENCE: Patience =
    Patience { first_byte: Duration::from_millis(200), idle: Duration::from_millis(200), ..PATIENCE };

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Answers,
    BreaksOff,
    EndsWithoutSaying,
    FallsSilent,
    NeverBegins,
    Unauthorized,
    TooMany,
    Down,
    Redirects,
    HugeLine,
    Garbage,
    ReportsError,
}

#[derive(Clone)]
struct Server {
    manner: Manner,
    asked: Arc<AtomicUsize>,
    last: watch::Sender<Option<(Value, HeaderMap)>>,
}

fn chunk(text: &str) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text } }] }))
}

async fn completions(State(server): State<Server>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    server.asked.fetch_add(1, Ordering::SeqCst);
    server.last.send_replace(Some((body, headers)));
    let end = format!(
        "data: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
        json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }),
        json!({ "choices": [], "usage": { "completion_tokens": 2 } })
    );
    let half = [chunk("Boil the "), chunk("wat")];
    let pieces: Vec<String> = match server.manner {
        Manner::Answers => half.into_iter().chain([chunk("er."), end]).collect(),
        Manner::BreaksOff | Manner::EndsWithoutSaying | Manner::FallsSilent => half.into(),
        Manner::NeverBegins => std::future::pending().await,
        Manner::Unauthorized => {
            return (StatusCode::UNAUTHORIZED, format!("the key {KEY} is wrong")).into_response();
        }
        Manner::TooMany => return StatusCode::TOO_MANY_REQUESTS.into_response(),
        Manner::Down => {
            let body = Json(json!({ "error": { "message": "out of order" } }));
            return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
        }
        Manner::Redirects => {
            return (StatusCode::TEMPORARY_REDIRECT, [("location", "https://elsewhere.example/")])
                .into_response();
        }
        Manner::HugeLine => vec![format!("data: {}", "x".repeat(200_000))],
        Manner::Garbage => vec!["<html><body>Please sign in to the Wi-Fi".to_owned(), "\n".to_owned()],
        Manner::ReportsError => {
            vec![format!("data: {}\n\n", json!({ "error": { "message": "overloaded" } }))]
        }
    };
    let manner = server.manner;
    let stream = async_stream::stream! {
        for piece in pieces {
            yield Ok::<_, Infallible>(Bytes::from(piece));
        }
        if manner == Manner::FallsSilent {
            std::future::pending::<()>().await;
        }
    };
    ([("content-type", "text/event-stream")], Body::from_stream(stream)).into_response()
}

/// Answers by hand, because a server that knows HTTP ends its answers properly: half an answer, then the connection's end.
async fn break_off(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut stream = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while stream.read_line(&mut line).await.unwrap() > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        let mut answer = String::from(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        for piece in [chunk("Boil the "), chunk("wat")] {
            answer.push_str(&format!("{:x}\r\n{piece}\r\n", piece.len()));
        }
        stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
    }
}

impl Server {
    async fn start(manner: Manner) -> (Self, SocketAddr) {
        let server = Self { manner, asked: Arc::default(), last: watch::Sender::new(None) };
        let routes =
            Routes::new().route("/v1/chat/completions", post(completions)).with_state(server.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        if manner == Manner::BreaksOff {
            tokio::spawn(break_off(listener));
        } else {
            tokio::spawn(async move { axum::serve(listener, routes).await });
        }
        (server, address)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn model(address: SocketAddr, patience: Patience) -> CloudModel {
    let endpoint = Endpoint {
        address: format!("http://{address}/v1"),
        model: "test-model".into(),
        key: KEY.into(),
        allow_loopback: true,
    };
    CloudModel::new(&endpoint, patience).unwrap()
}

fn request() -> GenerateRequest {
    GenerateRequest {
        messages: vec![ChatMessage::new(ChatRole::User, "How is water made safe?")],
        stop: vec!["\n\n".into()],
        ..GenerateRequest::default()
    }
}

async fn events(generator: &dyn Generate) -> Vec<GenerateEvent> {
    tokio::time::timeout(Duration::from_secs(30), generator.generate(request()).collect()).await.unwrap()
}

/// The text that a consumer ends up with, when it drops what came before a restart.
fn text(events: &[GenerateEvent]) -> String {
    let mut text = String::new();
    for event in events {
        match event {
            GenerateEvent::Text(piece) => text.push_str(piece),
            GenerateEvent::Restarted => text.clear(),
            _ => {}
        }
    }
    text
}

/// A model on the device that counts how often it is asked.
#[derive(Clone, Default)]
struct Local(Arc<AtomicUsize>);

impl Generate for Local {
    fn generate(&self, _: GenerateRequest) -> BoxStream<'static, GenerateEvent> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let done = GenerateEvent::Done { tokens: 1, finish: Finish::Stop, prefill_ms: 0, decode_ms: 0 };
        let started = GenerateEvent::Started { model: "local".into(), prompt_tokens: 3 };
        futures::stream::iter([started, GenerateEvent::Text("From here.".into()), done]).boxed()
    }
}

/// A router, the local model behind it, and the setting.
fn router(mode: Mode, cloud: Option<CloudModel>) -> (Router, Local, watch::Sender<Routing>) {
    let local = Local::default();
    let (setting, routing) = watch::channel(Routing { mode, cloud });
    (Router::new(Arc::new(local.clone()), routing), local, setting)
}

#[tokio::test]
async fn an_answer_streams_in_and_the_question_went_out_as_it_should() {
    let (server, address) = Server::start(Manner::Answers).await;
    let events = events(&model(address, PATIENCE)).await;
    assert_eq!(text(&events), "Boil the water.");
    assert!(matches!(events.first(), Some(GenerateEvent::Started { model, .. }) if model == "test-model"));
    assert!(matches!(events.last(), Some(GenerateEvent::Done { tokens: 2, finish: Finish::Stop, .. })));
    let (body, headers) = server.last.borrow().clone().unwrap();
    assert_eq!(body["model"], "test-model");
    assert_eq!(body["messages"][0], json!({ "role": "user", "content": "How is water made safe?" }));
    assert_eq!((&body["stream"], &body["stop"]), (&json!(true), &json!(["\n\n"])));
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
}

#[tokio::test]
async fn every_way_to_fail_is_told_apart_and_none_shows_the_key() {
    let cases = [
        (Manner::BreaksOff, "broke off"),
        (Manner::EndsWithoutSaying, "broke off"),
        (Manner::FallsSilent, "did not answer within"),
        (Manner::NeverBegins, "did not answer within"),
        (Manner::Unauthorized, "does not accept the key"),
        (Manner::TooMany, "asked too much"),
        (Manner::Down, "status 503: out of order"),
        (Manner::Redirects, "status 307"),
        (Manner::HugeLine, "line longer"),
        (Manner::Garbage, "not an answer"),
        (Manner::ReportsError, "overloaded"),
    ];
    for (manner, expected) in cases {
        let slow = matches!(manner, Manner::FallsSilent | Manner::NeverBegins);
        let (_server, address) = Server::start(manner).await;
        let events = events(&model(address, if slow { IMPATIENCE } else { PATIENCE })).await;
        let Some(GenerateEvent::Failed(InferenceError::Remote(why))) = events.last() else {
            panic!("{manner:?}: {events:?}")
        };
        assert!(why.contains(expected), "{manner:?}: {why}");
        assert!(!why.contains(KEY), "{manner:?}: {why}");
    }
}

#[tokio::test]
async fn in_local_mode_nothing_is_dialled() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cloud = model(listener.local_addr().unwrap(), PATIENCE);
    let (router, local, _setting) = router(Mode::Local, Some(cloud));
    for _ in 0..5 {
        assert_eq!(text(&events(&router).await), "From here.");
    }
    assert_eq!(local.0.load(Ordering::SeqCst), 5);
    // A connection that was made would wait here to be accepted.
    let dialled = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(dialled.is_err(), "somebody dialled: {dialled:?}");
    assert_eq!(router.connectivity().state(), connectivity::State::Local);
}

#[tokio::test]
async fn auto_asks_the_cloud_and_falls_back_before_the_answer() {
    let (server, address) = Server::start(Manner::Answers).await;
    let (good, local, _setting) = router(Mode::Auto, Some(model(address, PATIENCE)));
    assert_eq!(text(&events(&good).await), "Boil the water.");
    assert_eq!((server.asked(), local.0.load(Ordering::SeqCst)), (1, 0));

    let (server, address) = Server::start(Manner::Down).await;
    let (bad, local, _setting) = router(Mode::Auto, Some(model(address, PATIENCE)));
    let first = events(&bad).await;
    assert_eq!(text(&first), "From here.");
    assert!(!first.contains(&GenerateEvent::Restarted), "nothing had been written yet");
    assert_eq!(text(&events(&bad).await), "From here.");
    assert_eq!(
        (server.asked(), local.0.load(Ordering::SeqCst)),
        (1, 2),
        "the cloud is left alone for a while"
    );
}

#[tokio::test]
async fn auto_falls_back_in_mid_answer_and_says_that_the_answer_begins_again() {
    for manner in [Manner::BreaksOff, Manner::FallsSilent, Manner::EndsWithoutSaying] {
        let (_server, address) = Server::start(manner).await;
        let (router, _local, _setting) = router(Mode::Auto, Some(model(address, IMPATIENCE)));
        let events = events(&router).await;
        let restart = events.iter().position(|event| *event == GenerateEvent::Restarted).unwrap();
        let before = events.get(..restart).unwrap();
        assert_eq!(text(before), "Boil the wat", "{manner:?}");
        assert_eq!(text(&events), "From here.", "{manner:?}: the half of the other answer is gone");
        assert!(matches!(events.last(), Some(GenerateEvent::Done { .. })));
    }
}

#[tokio::test]
async fn cloud_mode_does_not_fall_back() {
    let (_server, address) = Server::start(Manner::Down).await;
    let (failing, local, _setting) = router(Mode::Cloud, Some(model(address, PATIENCE)));
    assert!(matches!(events(&failing).await.last(), Some(GenerateEvent::Failed(InferenceError::Remote(_)))));
    let (unset, _local, _setting) = router(Mode::Cloud, None);
    assert!(matches!(events(&unset).await.last(), Some(GenerateEvent::Failed(InferenceError::Remote(_)))));
    assert_eq!(local.0.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_keepers_change_counts_from_the_next_question_on() {
    let (server, address) = Server::start(Manner::Answers).await;
    let (router, _local, setting) = router(Mode::Auto, Some(model(address, PATIENCE)));
    assert_eq!(text(&events(&router).await), "Boil the water.");
    setting.send_replace(Routing::default());
    assert_eq!(text(&events(&router).await), "From here.");
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_model_named_by_the_asker_is_one_on_the_device() {
    let (server, address) = Server::start(Manner::Answers).await;
    let (router, local, _setting) = router(Mode::Auto, Some(model(address, PATIENCE)));
    let request = GenerateRequest { model: Some("local".into()), ..request() };
    let events: Vec<_> = router.generate(request).collect().await;
    assert_eq!(text(&events), "From here.");
    assert_eq!((server.asked(), local.0.load(Ordering::SeqCst)), (0, 1));
}

/// Says so when it is dropped.
struct Gone(watch::Sender<bool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

#[tokio::test]
async fn who_leaves_is_noticed_by_the_server() {
    let (gone, mut noticed) = watch::channel(false);
    let routes = Routes::new().route(
        "/v1/chat/completions",
        post(move || {
            let gone = Gone(gone.clone());
            async move {
                let stream = async_stream::stream! {
                    // Dropped together with the connection.
                    let _gone = gone;
                    loop {
                        yield Ok::<_, Infallible>(Bytes::from(chunk("on and ")));
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                };
                Body::from_stream(stream)
            }
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let mut answer = model(address, PATIENCE).generate(request());
    while !matches!(answer.next().await, Some(GenerateEvent::Text(_))) {}
    assert!(!*noticed.borrow());
    drop(answer);
    let told = tokio::time::timeout(Duration::from_secs(20), noticed.wait_for(|gone| *gone)).await;
    told.expect("the server was never told").unwrap();
}
