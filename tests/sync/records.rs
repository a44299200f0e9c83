//! The record API is the same on both (S10): one script of requests by three people, sent to a real hub and to a real gateway,
//! gets the same answers. What was changed through the gateway then stands on the hub.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use cairn_sync::{BlobId, ChangeId, RecordId};
use cairn_tests::{
    chaos::{
        cloud::{Cloud, TRUSTED_ORIGIN},
        hubs::Station,
        proxy::Weather,
    },
    http, wait,
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Generous: the machine may be busy.
const WITHIN: Duration = Duration::from_secs(120);
const KINDS: [&str; 6] = ["notice", "assessment", "response", "membership", "message", "document"];
/// What is said of a file beside its bytes, and of other origins.
const TOLD_OF: [&str; 12] = [
    "content-type",
    "content-length",
    "content-range",
    "content-disposition",
    "content-security-policy",
    "accept-ranges",
    "cache-control",
    "etag",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
];

/// A server of the record API, with a token for each who asks.
struct Server {
    client: Client,
    address: String,
    tokens: BTreeMap<&'static str, String>,
}

/// An answer as it can be compared: without what each server counts for itself.
#[derive(Debug, PartialEq)]
struct Told {
    step: String,
    status: u16,
    body: Value,
}

/// Everything that a server told, with its identities replaced by the order in which they came.
#[derive(Default)]
struct Transcript {
    told: Vec<Told>,
    ids: Vec<String>,
}

impl Transcript {
    fn note(&mut self, step: String, status: u16, mut body: Value) {
        self.plain(&mut body);
        self.told.push(Told { step, status, body });
    }

    fn plain(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.named(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.plain(item)),
            Value::Object(map) => {
                // Where a record stands with the gateway is what differs between the two.
                // Only a hub reads files for its search.
                for own in ["sync", "gateway_version", "instance", "version", "index"] {
                    map.remove(own);
                }
                map.retain(|name, _| !name.ends_with("_ms"));
                // A page has two members; a problem's `next` is words.
                if map.len() == 2
                    && let Some(next) = map.get_mut("next")
                {
                    *next = Value::Bool(!next.is_null());
                }
                map.values_mut().for_each(|value| self.plain(value));
            }
            _ => {}
        }
    }

    /// Every UUID in a text by its number.
    fn named(&mut self, text: &str) -> String {
        let mut out = text.to_owned();
        for at in 0..text.len() {
            let Some(id) = text.get(at..at + 36).filter(|id| id.parse::<RecordId>().is_ok()) else {
                continue;
            };
            let number = self.ids.iter().position(|known| known == id).unwrap_or_else(|| {
                self.ids.push(id.to_owned());
                self.ids.len() - 1
            });
            out = out.replace(id, &format!("id-{number}"));
        }
        out
    }
}

/// One run of the script against one server.
struct Run<'a> {
    server: &'a Server,
    transcript: Transcript,
}

impl Run<'_> {
    fn request(
        &self,
        who: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<reqwest::RequestBuilder> {
        let token = self.server.tokens.get(who).context("nobody of this name")?;
        let url = format!("{}/api/v1{path}", self.server.address);
        let request = self.server.client.request(method.parse::<Method>()?, url).bearer_auth(token);
        Ok(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
    }

    async fn ask(
        &mut self,
        who: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<Value> {
        let mut request = self.request(who, method, path, headers)?;
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let said = answer.text().await?;
        let json: Value = if said.is_empty() { Value::Null } else { serde_json::from_str(&said)? };
        let step = format!("{who} {method} {path} {} {headers:?}", body.unwrap_or_default());
        let step = self.transcript.named(&step);
        // Versions and cursors in what was asked are the server's own.
        let step = step
            .split("&after=")
            .next()
            .unwrap_or_default()
            .split("(\"if-")
            .next()
            .unwrap_or_default()
            .to_owned();
        self.transcript.note(step, status, json.clone());
        Ok(json)
    }

    /// A request whose body, or whose answer's body, is a file. Gives the answer as JSON where it is that.
    async fn file(
        &mut self,
        who: &str,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> Result<Value> {
        let mut request = self.request(who, method, path, headers)?;
        let length = body.as_ref().map(Vec::len);
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let mut told: BTreeMap<&str, String> = TOLD_OF
            .into_iter()
            .filter_map(|name| Some((name, answer.headers().get(name)?.to_str().ok()?.to_owned())))
            .collect();
        let varies = answer.headers().get_all("vary").iter().any(|vary| vary == "origin");
        let media = told.get("content-type").cloned().unwrap_or_default();
        let step = self.transcript.named(&format!("{who} {method} {path} {length:?} {headers:?}"));
        if media.ends_with("json") {
            let mut json: Value = answer.json().await?;
            // Where an origin is allowed is another place on each of the two.
            if json.get("type").is_some_and(|kind| kind == "urn:cairn:problem:cross-site")
                && let Some(problem) = json.as_object_mut()
            {
                problem.remove("next");
            }
            self.transcript.note(format!("{step} varies: {varies}"), status, json.clone());
            return Ok(json);
        }
        let bytes = answer.bytes().await?;
        if bytes.is_empty() {
            // What a page may do says nothing where none comes; a hub says it with everything.
            told.remove("content-security-policy");
        }
        let all = json!({"told": told, "varies": varies, "bytes": bytes.len(), "hash": BlobId::of(&bytes).to_string()});
        self.transcript.note(step, status, all);
        Ok(Value::Null)
    }

    async fn get(&mut self, who: &str, path: &str) -> Result<Value> {
        self.ask(who, "GET", path, None, &[]).await
    }

    async fn post(&mut self, who: &str, path: &str, body: Value) -> Result<Value> {
        self.ask(who, "POST", path, Some(body), &[]).await
    }

    async fn patch(&mut self, who: &str, path: &str, fields: Value) -> Result<Value> {
        self.ask(who, "PATCH", path, Some(json!({ "fields": fields })), &[]).await
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value.get(name).and_then(Value::as_str).with_context(|| format!("{name} is missing in {value}"))
}

fn people(fields: &Value, who: &str) -> Value {
    fields.get(who).cloned().unwrap_or_default()
}

/// What is asked of both. `persons` holds the people's ids. Gives the project in which it happened.
async fn script(run: &mut Run<'_>, persons: &Value) -> Result<String> {
    let project = json!({"fields": {"name": "Wells", "status": "active", "open": false}});
    let project = run.post("vera", "/records/project", project).await?;
    let project = text(&project, "id")?.to_owned();
    let at = format!("/records/project/{project}");
    // A closed project: its owner and keepers see it, others do not know of it.
    for who in ["vera", "keeper", "gus"] {
        run.get(who, &at).await?;
        run.get(who, &format!("/records/membership?project={project}")).await?;
    }
    let notice = |title: &str, level: &str| json!({"project": project, "fields": {"title": title, "level": level, "body": "Well 3."}});
    run.post("gus", "/records/notice", notice("Not mine", "info")).await?;
    run.post("gus", "/records/notice", json!({"fields": {"title": "Not allowed", "level": "info"}})).await?;

    pages(run, &project, &notice).await?;
    edits(run, &project, &notice).await?;
    refusals(run, &project).await?;
    files(run, &project).await?;
    origins(run).await?;
    members(run, &project, persons).await?;
    responses(run, &project).await?;
    persons_and_teams(run, &project, persons).await?;

    // What lies in a deleted project is out of reach until it is restored.
    run.ask("vera", "DELETE", &at, None, &[]).await?;
    run.get("keeper", &format!("/records/notice?project={project}")).await?;
    run.get("gus", &at).await?;
    run.post("vera", &format!("{at}/restore"), json!({})).await?;
    run.get("vera", &format!("{at}/history")).await?;
    let counts = run.get("keeper", "/counts").await?;
    ensure!(counts.as_object().is_some_and(|counts| counts.len() == 9), "counts: {counts}");
    // Both count what the other made as well.
    run.transcript.told.pop();
    Ok(project)
}

async fn pages(run: &mut Run<'_>, project: &str, notice: &impl Fn(&str, &str) -> Value) -> Result<()> {
    for (title, level) in [
        ("Water", "info"),
        ("Wasser", "urgent"),
        ("Électricité", "urgent"),
        ("water", "info"),
        ("Roads", "warning"),
    ] {
        run.post("vera", "/records/notice", notice(title, level)).await?;
    }
    for list in [
        "order=newest",
        "order=oldest",
        "order=changed",
        "is.level=urgent",
        "is.title=Water",
        "is.title=Water&is.level=urgent",
        "starts.title=wa",
        "starts.title=electr",
        "is.level=urgent&order=changed",
    ] {
        let first = format!("/records/notice?project={project}&{list}&limit=2");
        let mut page = run.get("vera", &first).await?;
        for _ in 0..5 {
            let Some(next) = page.get("next").and_then(Value::as_str) else { break };
            page = run.get("vera", &format!("{first}&after={next}")).await?;
        }
    }
    run.get("vera", &format!("/records/notice?project={project}&after=AAAA")).await?;
    run.get("vera", &format!("/records/team?project={project}")).await?;
    Ok(())
}

async fn edits(run: &mut Run<'_>, project: &str, notice: &impl Fn(&str, &str) -> Value) -> Result<()> {
    // Once, however often it is sent; and never as something else.
    let key = ChangeId::new().to_string();
    let once = [("idempotency-key", key.as_str())];
    let mut made = Value::Null;
    for _ in 0..2 {
        made = run.ask("vera", "POST", "/records/notice", Some(notice("Pump", "info")), &once).await?;
    }
    let message = json!({"project": project, "fields": {"body": "Pump"}});
    run.ask("vera", "POST", "/records/message", Some(message), &once).await?;
    run.ask("keeper", "POST", "/records/notice", Some(notice("Pump", "info")), &once).await?;
    let at = format!("/records/notice/{}", text(&made, "id")?);

    // On top of what was seen.
    let version = |record: &Value| format!("\"{}\"", record.get("version").cloned().unwrap_or_default());
    let first = version(&made);
    let changed = run.patch("keeper", &at, json!({"title": "Pump 2", "body": null})).await?;
    for fields in [json!({"title": "Pump 3"}), json!({"level": "urgent"})] {
        let body = Some(json!({ "fields": fields }));
        run.ask("vera", "PATCH", &at, body, &[("if-match", &first)]).await?;
    }
    let body = Some(json!({"fields": {"title": "Pump 4"}}));
    run.ask("vera", "PATCH", &at, body, &[("if-match", &version(&changed))]).await?;
    run.patch("vera", &at, json!({"title": "Pump 4"})).await?;
    run.ask("vera", "PATCH", &at, Some(json!({"fields": {}})), &[("if-match", "3")]).await?;
    let now = run.get("vera", &at).await?;
    let tag = version(&now);
    run.ask("vera", "GET", &at, None, &[("if-none-match", &tag)]).await?;
    run.get("vera", &at.replace("notice", "team")).await?;

    // Deleted, seen by those who may bring it back, brought back.
    run.ask("gus", "DELETE", &at, None, &[]).await?;
    let key = ChangeId::new().to_string();
    for _ in 0..2 {
        run.ask("vera", "DELETE", &at, None, &[("idempotency-key", &key)]).await?;
    }
    for who in ["vera", "gus"] {
        run.get(who, &at).await?;
        run.get(who, &format!("/records/notice?deleted=true&project={project}")).await?;
    }
    run.patch("vera", &at, json!({"title": "Gone"})).await?;
    run.post("vera", &format!("{at}/restore"), json!({})).await?;
    let first = run.get("vera", &format!("{at}/history?limit=2")).await?;
    let next = text(&first, "next")?.to_owned();
    run.get("vera", &format!("{at}/history?limit=20&after={next}")).await?;
    run.get("gus", &format!("{at}/history")).await?;
    Ok(())
}

async fn refusals(run: &mut Run<'_>, project: &str) -> Result<()> {
    for fields in [
        json!({"title": 3, "level": "loud", "nothing": 1}),
        json!({"level": "info"}),
        json!({"title": "x".repeat(400), "level": "info"}),
        json!({"title": "a\u{1}", "level": "info"}),
    ] {
        run.post("vera", "/records/notice", json!({"project": project, "fields": fields})).await?;
    }
    run.post("vera", "/records/notice", json!({"fields": {}, "more": 1})).await?;
    run.post("vera", "/records/assessment", json!({"fields": {"title": "No place"}})).await?;
    run.post(
        "vera",
        "/records/project",
        json!({"project": project, "fields": {"name": "In", "status": "done"}}),
    )
    .await?;
    run.post("vera", "/records/well", json!({"fields": {}})).await?;
    let nowhere = RecordId::new();
    run.post(
        "vera",
        "/records/notice",
        json!({"project": nowhere, "fields": {"title": "x", "level": "info"}}),
    )
    .await?;
    run.get("vera", &format!("/records/notice/{nowhere}")).await?;
    run.get("vera", "/records/notice/none").await?;
    let file = json!({"project": project, "fields": {"title": "Plan", "file": "0".repeat(64), "file_name": "plan.pdf",
        "media_type": "application/pdf", "size": 3}});
    run.post("vera", "/records/document", file).await?;
    for query in ["limt=3", "limit=-1", "order=up", "is.body=x", "deleted=true&is.level=info"] {
        run.get("vera", &format!("/records/notice?{query}")).await?;
    }
    Ok(())
}

/// A file of some of the gateway's pieces, none like another.
fn plan() -> Vec<u8> {
    (0..700_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Files up, down, in parts; who may, who may not, and what is no file.
async fn files(run: &mut Run<'_>, project: &str) -> Result<()> {
    let upload = format!("/files?name=Well%20plan.png&project={project}&tags=water,%20well");
    let key = ChangeId::new().to_string();
    let once = [("idempotency-key", key.as_str()), ("content-type", "text/html")];
    let mut made = Value::Null;
    for _ in 0..2 {
        made = run.file("vera", "POST", &upload, Some(plan()), &once).await?;
    }
    run.file("gus", "POST", &upload, Some(b"not mine".to_vec()), &[]).await?;
    run.file("gus", "POST", "/files?name=a.txt", Some(b"not allowed".to_vec()), &[]).await?;
    run.file("vera", "POST", &upload, Some(Vec::new()), &[]).await?;
    for wrong in ["/files?name=", "/files", "/files?name=a.txt&titel=x", "/files?name=a.txt&project=x"] {
        run.file("vera", "POST", wrong, Some(b"text".to_vec()), &[]).await?;
    }
    let record = made.get("record").context("no record")?;
    let at = format!("/files/{}", text(record, "id")?);
    let tag = format!("\"{}\"", record.pointer("/fields/file").and_then(Value::as_str).context("no file")?);
    run.get("vera", &format!("/records/document/{}", text(record, "id")?)).await?;
    for who in ["vera", "keeper", "gus"] {
        run.file(who, "GET", &at, None, &[]).await?;
    }
    for range in
        ["bytes=0-9", "bytes=262000-262200", "bytes=600000-", "bytes=-5", "bytes=700000-", "bytes=9-1"]
    {
        run.file("vera", "GET", &at, None, &[("range", range)]).await?;
    }
    for other in [&*tag, "\"other\""] {
        run.file("vera", "GET", &at, None, &[("range", "bytes=7-"), ("if-range", other)]).await?;
        run.file("vera", "GET", &at, None, &[("if-none-match", other)]).await?;
    }
    run.file("vera", "HEAD", &at, None, &[]).await?;
    run.file("vera", "GET", &format!("{at}?download=1"), None, &[]).await?;
    run.file("vera", "GET", &format!("{at}?as=text"), None, &[]).await?;

    // What a browser could run is never served as that; names in every script are.
    for name in ["evil.html", "evil.svg", "%D9%85%D8%A7%D8%A1.txt", "notes.md", "guide.pdf"] {
        let upload = format!("/files?name={name}&project={project}");
        let made = run.file("vera", "POST", &upload, Some(b"<script>steal()</script>".to_vec()), &[]).await?;
        let made = made.get("record").context("no record")?;
        run.file("vera", "GET", &format!("/files/{}", text(made, "id")?), None, &[]).await?;
    }

    // Replaced, by those who may, on top of what they saw.
    run.file("gus", "PUT", &at, Some(b"not mine".to_vec()), &[]).await?;
    run.file("vera", "PUT", &format!("{at}?name=plan.txt"), Some(b"Well 3 is deeper.".to_vec()), &[]).await?;
    run.file("keeper", "GET", &at, None, &[]).await?;
    run.file("vera", "PUT", &at, Some(Vec::new()), &[]).await?;
    let notice = run.get("vera", &format!("/records/notice?project={project}&limit=1")).await?;
    let notice = notice.pointer("/items/0/id").and_then(Value::as_str).context("no notice")?.to_owned();
    run.file("vera", "GET", &format!("/files/{notice}"), None, &[]).await?;
    run.file("vera", "PUT", &format!("/files/{notice}"), Some(b"x".to_vec()), &[]).await?;
    run.file("vera", "GET", &format!("/files/{}", RecordId::new()), None, &[]).await?;

    // A deleted document's file is out of reach until it is brought back.
    let document = at.replace("/files/", "/records/document/");
    run.ask("vera", "DELETE", &document, None, &[]).await?;
    for who in ["gus", "vera"] {
        run.file(who, "GET", &at, None, &[]).await?;
    }
    run.post("vera", &format!("{document}/restore"), json!({})).await?;
    run.file("vera", "GET", &at, None, &[]).await?;
    Ok(())
}

/// Pages of a trusted origin may use the API, with tokens; others may not.
async fn origins(run: &mut Run<'_>) -> Result<()> {
    for origin in [TRUSTED_ORIGIN, "https://elsewhere.example.org", "null"] {
        let asked = [("origin", origin), ("access-control-request-method", "PUT")];
        run.file("vera", "OPTIONS", "/files/x", None, &asked).await?;
        run.file("vera", "OPTIONS", "/counts", None, &asked).await?;
        run.file("vera", "GET", "/records/notice?limit=x", None, &[("origin", origin)]).await?;
    }
    Ok(())
}

async fn members(run: &mut Run<'_>, project: &str, persons: &Value) -> Result<()> {
    let gus = json!({"project": project, "fields": {"person": people(persons, "gus"), "role": "viewer"}});
    run.post("gus", "/records/membership", gus.clone()).await?;
    let member = run.post("vera", "/records/membership", gus.clone()).await?;
    run.post("vera", "/records/membership", gus).await?;
    let list = format!("/records/notice?project={project}&limit=3");
    run.get("gus", &list).await?;
    let note = json!({"project": project, "fields": {"title": "From Gus", "level": "info"}});
    run.post("gus", "/records/notice", note.clone()).await?;
    let at = format!("/records/membership/{}", text(&member, "id")?);
    run.patch("gus", &at, json!({"role": "owner"})).await?;
    run.patch("vera", &at, json!({"role": "editor"})).await?;
    let made = run.post("gus", "/records/notice", note).await?;
    run.patch("gus", &format!("/records/notice/{}", text(&made, "id")?), json!({"level": "urgent"})).await?;
    let others = run.get("gus", &format!("{list}&is.title=Roads")).await?;
    let others = others.pointer("/items/0/id").and_then(Value::as_str).context("no roads")?.to_owned();
    run.patch("gus", &format!("/records/notice/{others}"), json!({"level": "info"})).await?;
    Ok(())
}

async fn responses(run: &mut Run<'_>, project: &str) -> Result<()> {
    let form = json!({"project": project, "fields": {"title": "Taps", "status": "draft",
        "questions": [{"id": "q1", "type": "number", "text": "How many?"}]}});
    let form = run.post("vera", "/records/assessment", form).await?;
    let id = text(&form, "id")?.to_owned();
    let at = format!("/records/assessment/{id}");
    let response = json!({"project": project, "fields": {"assessment": id, "answers": {"q1": 3}}});
    run.post("gus", "/records/response", response.clone()).await?;
    run.patch("vera", &at, json!({"status": "open"})).await?;
    run.post("gus", "/records/response", response.clone()).await?;
    run.post("vera", "/records/response", response.clone()).await?;
    run.get("gus", &at).await?;
    run.patch("vera", &at, json!({"responses": 7})).await?;
    run.patch("vera", &at, json!({"status": "closed"})).await?;
    run.post("gus", "/records/response", response).await?;
    run.get("keeper", &format!("/records/response?project={project}&order=oldest")).await?;
    run.get("gus", &format!("{at}/history")).await?;
    Ok(())
}

async fn persons_and_teams(run: &mut Run<'_>, project: &str, persons: &Value) -> Result<()> {
    let person = |who: &str| format!("/records/person/{}", people(persons, who).as_str().unwrap_or_default());
    run.patch("vera", &person("vera"), json!({"contact": "At the mill"})).await?;
    run.patch("gus", &person("vera"), json!({"contact": "Elsewhere"})).await?;
    run.patch("vera", &person("vera"), json!({"role": "keeper"})).await?;
    run.patch("keeper", &person("keeper"), json!({"role": "guest"})).await?;
    run.patch("vera", &person("vera"), json!({"contact": null})).await?;
    let two = json!([people(persons, "vera"), people(persons, "gus")]);
    let team = json!({"project": project, "fields": {"name": "Pumps", "people": two}});
    let team = run.post("vera", "/records/team", team).await?;
    let at = format!("/records/team/{}", text(&team, "id")?);
    run.patch("vera", &at, json!({"people": [people(persons, "gus")]})).await?;
    let gus = people(persons, "gus");
    run.get(
        "gus",
        &format!("/records/team?is.people={}&project={project}", gus.as_str().unwrap_or_default()),
    )
    .await?;
    let message = json!({"project": project, "fields": {"body": "Hello"}});
    let first = run.post("gus", "/records/message", message).await?;
    let reply = json!({"fields": {"body": "Hello to you", "reply_to": text(&first, "id")?}});
    run.post("gus", "/records/message", reply).await?;
    Ok(())
}

/// Lets somebody sign up on the hub; gives their token.
async fn sign_up(hub: &Server, login: &str, role: &str) -> Result<String> {
    let keeper = hub.tokens.get("keeper").context("no keeper")?;
    let post = |path: &str| hub.client.post(format!("{}{path}", hub.address));
    let invited =
        post("/api/v1/invitations").bearer_auth(keeper).json(&json!({ "role": role })).send().await?;
    let invited: Value = invited.error_for_status()?.json().await?;
    let browser = http::builder().cookie_store(true).build()?;
    let account = json!({"name": login, "login": login, "password": "a long enough passphrase",
        "invitation": text(&invited, "code")?});
    let send = |path: &str, body: &Value| {
        browser.post(format!("{}{path}", hub.address)).header("Origin", &hub.address).json(body).send()
    };
    send("/api/v1/accounts", &account).await?.error_for_status()?;
    let made: Value =
        send("/api/v1/tokens", &json!({"name": "tests"})).await?.error_for_status()?.json().await?;
    Ok(text(&made, "token")?.to_owned())
}

async fn fields_by_id(server: &Server, kind: &str, project: &str) -> Result<BTreeMap<String, Value>> {
    let token = server.tokens.get("keeper").context("no keeper")?;
    let url = format!("{}/api/v1/records/{kind}?project={project}&limit=200", server.address);
    let page: Value =
        server.client.get(url).bearer_auth(token).send().await?.error_for_status()?.json().await?;
    let items = page.get("items").and_then(Value::as_array).context("a page without items")?;
    items
        .iter()
        .map(|item| Ok((text(item, "id")?.to_owned(), item.get("fields").cloned().unwrap_or_default())))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hub_and_gateway_answer_the_same() {
    let folder = TempDir::with_prefix("cairn-cloud-").unwrap();
    let calm = Weather::new(1);
    let cloud = Cloud::start(folder.path(), 1, &calm).await.unwrap();
    let station = Station::open(&cloud).await.unwrap();
    let (_way, port) = cloud.plain(&calm).await.unwrap();
    let client = http::builder().timeout(Duration::from_secs(60)).build().unwrap();

    let keeper = station.door.token().to_owned();
    let tokens = BTreeMap::from([("keeper", keeper)]);
    let mut hub = Server { client: client.clone(), address: station.door.address().unwrap(), tokens };
    for (login, role) in [("vera", "volunteer"), ("gus", "guest")] {
        let token = sign_up(&hub, login, role).await.unwrap();
        hub.tokens.insert(login, token);
    }
    let all = station.door.get("/api/v1/records/person?limit=200").await.unwrap();
    let id_of = |login: &str| {
        let items = all.get("items")?.as_array()?;
        let person = items.iter().find(|item| item.pointer("/fields/login").is_some_and(|l| l == login))?;
        person.get("id").cloned()
    };
    let persons: Value = ["keeper", "vera", "gus"]
        .map(|login| (login.to_owned(), id_of(login).unwrap()))
        .into_iter()
        .collect();
    station.sync(true).await.unwrap();
    let trust = json!({"allowed_origins": [TRUSTED_ORIGIN]});
    let settings =
        client.patch(format!("{}/api/v1/settings", hub.address)).bearer_auth(&hub.tokens["keeper"]);
    settings.json(&trust).send().await.unwrap().error_for_status().unwrap();
    let address = format!("http://127.0.0.1:{port}");
    let mut gateway = Server { client, address, tokens: BTreeMap::new() };
    for who in ["keeper", "vera", "gus"] {
        let person = text(&persons, who).unwrap();
        let token =
            wait::until("the people are at the gateway", WITHIN, async || cloud.api_token(person).await.ok())
                .await
                .unwrap();
        gateway.tokens.insert(who, token);
    }

    let mut told = Vec::new();
    let mut projects = Vec::new();
    for server in [&hub, &gateway] {
        let mut run = Run { server, transcript: Transcript::default() };
        projects.push(script(&mut run, &persons).await.unwrap());
        told.push(run.transcript.told);
        // What one run did to people is known to both before the other begins.
        station.sync(true).await.unwrap();
    }
    let (here, there) = (told.first().unwrap(), told.get(1).unwrap());
    assert!(here.len() > 100, "only {} requests", here.len());
    for (here, there) in here.iter().zip(there) {
        assert_eq!(here, there);
    }
    assert_eq!(here.len(), there.len());
    let statuses: std::collections::BTreeSet<u16> = here.iter().map(|told| told.status).collect();
    assert_eq!(
        statuses,
        [200, 201, 204, 206, 304, 400, 403, 404, 409, 416, 422].into(),
        "the script lost its point"
    );

    // What was done through one stands on the other.
    for project in &projects {
        for kind in KINDS {
            wait::until("both hold the same", WITHIN, async || {
                let here = fields_by_id(&hub, kind, project).await.ok()?;
                let there = fields_by_id(&gateway, kind, project).await.ok()?;
                (!here.is_empty() && here == there).then_some(())
            })
            .await
            .unwrap();
        }
        // So do the files: each brought its own to the other.
        let documents = fields_by_id(&hub, "document", project).await.unwrap();
        assert!(documents.len() >= 6, "{documents:?}");
        for (id, fields) in documents {
            let blob = text(&fields, "file").unwrap().to_owned();
            wait::until("both hold the file", WITHIN, async || {
                for server in [&hub, &gateway] {
                    let url = format!("{}/api/v1/files/{id}", server.address);
                    let answer =
                        server.client.get(url).bearer_auth(&server.tokens["keeper"]).send().await.ok()?;
                    let bytes = answer.error_for_status().ok()?.bytes().await.ok()?;
                    if BlobId::of(&bytes).to_string() != blob {
                        return None;
                    }
                }
                Some(())
            })
            .await
            .unwrap();
        }
    }
}
