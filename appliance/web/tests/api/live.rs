//! Live changes and presence, over a real connection.

use std::net::SocketAddr;

use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpStream, tcp::OwnedReadHalf},
};

use crate::support::{PATIENCE, world};

/// An event stream as a browser reads it.
pub(crate) struct Events {
    lines: Lines<BufReader<OwnedReadHalf>>,
    // Dropping it closes the connection, as a browser does that leaves.
    _writing: tokio::net::tcp::OwnedWriteHalf,
}

#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Json,
}

impl Events {
    pub(crate) async fn open(
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Self {
        let (reading, mut writing) = TcpStream::connect(address).await.unwrap().into_split();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nAccept-Encoding: gzip\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        writing.write_all(request.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(reading).lines();
        let mut head = String::new();
        loop {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
            if line.is_empty() {
                break;
            }
            head.push_str(&line.to_lowercase());
            head.push('\n');
        }
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(
            head.contains("content-type: text/event-stream") && !head.contains("content-encoding"),
            "{head}"
        );
        Self { lines, _writing: writing }
    }

    /// The next event; comments and the sizes of chunks are passed over.
    pub(crate) async fn next(&mut self) -> Event {
        let mut event = Event::default();
        loop {
            let line =
                tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("no event in time");
            let line = line.unwrap().expect("the stream ended");
            match line.split_once(": ").or_else(|| line.split_once(':')) {
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("id", id)) => event.id = id.to_owned(),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                _ if line.is_empty() && !event.name.is_empty() => return event,
                _ => {}
            }
        }
    }
}

impl Events {
    /// The next event about this record. Asserts that none before it was about `never`.
    async fn about(&mut self, record: &Json, never: &Json) -> Event {
        loop {
            let event = self.next().await;
            assert_ne!(event.data["id"], *never, "told to somebody who may not know of it");
            if event.data["id"] == *record {
                return event;
            }
        }
    }

    async fn named(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().await;
            if event.name == name {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn changes_arrive_live_for_those_who_may_see_them_and_after_a_gap() {
    let world = world().await;
    let keeper = world.keeper().await;
    let address = world.listen().await;
    let project = world
        .create(&keeper, "project", None, json!({"name": "Clinic", "status": "active", "open": false}))
        .await;
    let mut stranger = Events::open(address, "GET", "/api/v1/events", "", "").await;
    let cookie = format!("Cookie: cairn_session={keeper}\r\n");
    let mut own = Events::open(address, "GET", "/api/v1/events", &cookie, "").await;
    let hidden = world
        .create(&keeper, "notice", project["id"].as_str(), json!({"title": "Hidden", "level": "info"}))
        .await;
    let open = world.create(&keeper, "notice", None, json!({"title": "Open", "level": "info"})).await;
    let first = own.about(&hidden["id"], &json!("")).await;
    assert_eq!((first.name.as_str(), &first.data["id"]), ("change", &hidden["id"]));
    assert_eq!(
        (&first.data["kind"], &first.data["version"], &first.data["deleted"]),
        (&json!("notice"), &json!(1), &json!(false))
    );
    assert_eq!(own.next().await.data["id"], open["id"]);
    let seen = stranger.about(&open["id"], &hidden["id"]).await;
    assert!(!seen.data.to_string().contains("Open"), "an event carries no content");
    drop(own);
    let missed = world.create(&keeper, "notice", None, json!({"title": "Missed", "level": "info"})).await;
    let since = format!("{cookie}Last-Event-ID: {}\r\n", first.id);
    let mut back = Events::open(address, "GET", "/api/v1/events", &since, "").await;
    assert_eq!(back.next().await.data["id"], open["id"]);
    assert_eq!(back.next().await.data["id"], missed["id"]);
    for unknown in ["0000000000000001-1", "x"] {
        let since = format!("Last-Event-ID: {unknown}\r\n");
        let mut lost = Events::open(address, "GET", "/api/v1/events", &since, "").await;
        assert_eq!(lost.named("reset").await.name, "reset");
        let later = world.create(&keeper, "notice", None, json!({"title": "Later", "level": "info"})).await;
        lost.about(&later["id"], &json!("")).await;
    }
}

#[tokio::test]
async fn people_see_who_looks_at_the_same_thing() {
    let world = world().await;
    let keeper = world.keeper().await;
    let ben = world.person(&keeper, "volunteer", "ben").await;
    let address = world.listen().await;
    let notice = world.create(&keeper, "notice", None, json!({"title": "Water", "level": "info"})).await;
    let at = notice["id"].as_str().unwrap();
    let cookie = format!("Cookie: cairn_session={keeper}\r\n");
    let mut events = Events::open(address, "GET", &format!("/api/v1/events?at={at}"), &cookie, "").await;
    assert_eq!(events.named("presence").await.data, json!({"at": at, "people": []}));
    world.post("/api/v1/presence", json!({"at": at, "doing": "editing"})).session(&ben).send().await.ok();
    let here = events.named("presence").await;
    assert_eq!(here.name, "presence");
    assert_eq!(
        (&here.data["people"][0]["name"], &here.data["people"][0]["doing"]),
        (&json!("Person ben"), &json!("editing"))
    );
    let list = world.get("/api/v1/presence").session(&keeper).send().await.ok().json();
    assert_eq!(list[0]["name"], "Person ben");
    world.call("DELETE", &format!("/api/v1/presence?at={at}")).session(&ben).send().await.ok();
    assert_eq!(events.named("presence").await.data["people"], json!([]));
}
