//! Files: up and down, too large, broken off, hostile.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::body::{Body, Bytes};
use cairn_web::Usage;
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{PATIENCE, World, until, world};

/// A body of `pieces` pieces of 64 KiB that counts how many were read.
fn body_of(pieces: usize, read: &Arc<AtomicUsize>) -> Body {
    let read = Arc::clone(read);
    Body::from_stream(stream::iter(0..pieces).map(move |_| {
        read.fetch_add(1, Ordering::SeqCst);
        Ok::<_, io::Error>(Bytes::from(vec![b'x'; 64 << 10]))
    }))
}

fn upload<'a>(world: &'a World, session: &str, name: &str) -> crate::support::Call<'a> {
    world.call("POST", &format!("/api/v1/files?name={name}")).session(session)
}

#[tokio::test]
async fn an_upload_becomes_a_document_that_comes_back_whole_and_in_parts() {
    let world = world().await;
    let keeper = world.keeper().await;
    let made = upload(&world, &keeper, "C%3A%5CWell%20plan.md&tags=water,%20well")
        .header("content-type", "text/html")
        .body("# Well\n\nDig deep.")
        .send()
        .await
        .ok();
    assert_eq!(made.status, 201);
    let made = made.json();
    let fields = &made["record"]["fields"];
    assert_eq!((&fields["title"], &fields["file_name"]), (&json!("Well plan"), &json!("Well plan.md")));
    assert_eq!(
        (&fields["media_type"], &fields["size"], &fields["tags"]),
        (&json!("text/markdown"), &json!(17), &json!(["water", "well"]))
    );
    assert_eq!(made["index"]["outcome"], "later", "the extractor is away in this test: {made}");
    let path = format!("/api/v1/files/{}", made["record"]["id"].as_str().unwrap());
    let whole = world.get(&path).send().await.ok();
    assert_eq!(whole.body, b"# Well\n\nDig deep.");
    assert_eq!(
        (whole.header("content-type"), whole.header("accept-ranges")),
        ("text/plain; charset=utf-8", "bytes")
    );
    assert!(whole.header("content-disposition").starts_with("inline; filename=\"Well plan.md\""));
    let etag = whole.header("etag").to_owned();
    assert_eq!(etag.trim_matches('"'), fields["file"]);
    let part = world.get(&path).header("range", "bytes=8-10").send().await;
    assert_eq!(
        (part.status, part.header("content-range"), part.body.as_slice()),
        (206, "bytes 8-10/17", &b"Dig"[..])
    );
    let resumed = world.get(&path).header("range", "bytes=8-").header("if-range", &etag).send().await;
    assert_eq!((resumed.status, resumed.body.len()), (206, 9));
    let other = world.get(&path).header("range", "bytes=8-").header("if-range", "\"other\"").send().await;
    assert_eq!((other.status, other.body.len()), (200, 17));
    assert_eq!(world.get(&path).header("if-none-match", &etag).send().await.status, 304);
    world.get(&path).header("range", "bytes=17-").send().await.refused(416, "range-not-satisfiable");
    let head = world.call("HEAD", &path).send().await;
    assert_eq!((head.header("content-length"), head.body.len()), ("17", 0));
    let saved = world.get(&format!("{path}?download=1")).send().await;
    assert!(saved.header("content-disposition").starts_with("attachment"));
    let replaced =
        world.call("PUT", &path).session(&keeper).body("# Well\n\nDeeper.").send().await.ok().json();
    assert_eq!(replaced["record"]["version"], 2);
    assert_eq!(world.get(&path).send().await.body, b"# Well\n\nDeeper.");
}

#[tokio::test]
async fn an_uploaded_page_cannot_run_as_ours() {
    let world = world().await;
    let keeper = world.keeper().await;
    for name in ["evil.html", "evil.svg", "evil.xhtml", "evil.js", "evil"] {
        let made = upload(&world, &keeper, name)
            .header("content-type", "text/html")
            .body("<script>steal()</script>")
            .send()
            .await
            .ok()
            .json();
        let path = format!("/api/v1/files/{}", made["record"]["id"].as_str().unwrap());
        let answer = world.get(&path).send().await.ok();
        assert_eq!(answer.header("content-type"), "application/octet-stream", "{name}");
        assert!(answer.header("content-disposition").starts_with("attachment"), "{name}");
        assert!(answer.header("content-security-policy").ends_with("sandbox"), "{name}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn ten_gigabytes_are_refused_before_a_byte_is_read() {
    let world = world().await;
    let keeper = world.keeper().await;
    let read = Arc::new(AtomicUsize::new(0));
    let call = upload(&world, &keeper, "big.zim")
        .header("content-length", &(10u64 << 30).to_string())
        .body(body_of(1000, &read));
    let problem = call.send().await.refused(413, "too-large");
    assert!(problem["detail"].as_str().unwrap().contains("2 GiB"), "{problem}");
    assert_eq!(read.load(Ordering::SeqCst), 0);
    let call = upload(&world, "nobody", "a.txt").header("content-length", "10").body(body_of(1, &read));
    call.send().await.refused(401, "sign-in-needed");
    assert_eq!(read.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_file_of_unknown_length_is_counted_and_leaves_nothing_past_its_limit() {
    let world = world().await;
    let keeper = world.keeper().await;
    world.set(&keeper, json!({"max_upload_bytes": 1_000_000})).await;
    let read = Arc::new(AtomicUsize::new(0));
    upload(&world, &keeper, "big.txt").body(body_of(100_000, &read)).send().await.refused(413, "too-large");
    assert!(read.load(Ordering::SeqCst) < 100, "reading goes on after the limit");
    assert_eq!(world.bytes_in("blobs"), 0);
    assert_eq!(
        world.get("/api/v1/counts").session(&keeper).send().await.json()["document"].as_u64().unwrap_or(0),
        0
    );
}

#[tokio::test]
async fn a_nearly_full_disk_takes_no_upload_and_keeps_room_for_records() {
    let world = world().await;
    let keeper = world.keeper().await;
    *world.host.disk.lock().unwrap() = Some(Usage { used: 940 << 20, total: 1 << 30 });
    let read = Arc::new(AtomicUsize::new(0));
    let call = upload(&world, &keeper, "a.txt")
        .header("content-length", &(50u64 << 20).to_string())
        .body(body_of(1, &read));
    call.send().await.refused(507, "disk-full");
    upload(&world, &keeper, "b.txt").body(body_of(2000, &read)).send().await.refused(507, "disk-full");
    assert_eq!(world.bytes_in("blobs"), 0);
    upload(&world, &keeper, "c.txt").body("small").send().await.ok();
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    let world = world().await;
    let keeper = world.keeper().await;
    upload(&world, &keeper, "a.txt").send().await.refused(422, "invalid");
    upload(&world, &keeper, "").body("x").send().await.refused(422, "invalid");
    upload(&world, &keeper, "a.txt&titel=x").body("x").send().await.refused(400, "malformed");
    upload(&world, &keeper, &format!("a.txt&title={}", "x".repeat(400)))
        .body("x")
        .send()
        .await
        .refused(422, "invalid");
    let broken =
        Body::from_stream(stream::iter([Ok(Bytes::from_static(b"x")), Err(io::Error::other("reset"))]));
    upload(&world, &keeper, "a.txt").body(broken).send().await.refused(400, "malformed");
    assert_eq!(world.bytes_in("blobs"), 0);
    let notice = world.create(&keeper, "notice", None, json!({"title": "x", "level": "info"})).await;
    world
        .get(&format!("/api/v1/files/{}", notice["id"].as_str().unwrap()))
        .send()
        .await
        .refused(404, "not-found");
}

#[tokio::test]
async fn over_a_real_connection_a_giant_is_refused_at_once_and_a_broken_upload_leaves_nothing() {
    let world = world().await;
    let keeper = world.keeper().await;
    let address = world.listen().await;
    let head = |length: u64| {
        format!(
            "POST /api/v1/files?name=a.txt HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nCookie: cairn_session={keeper}\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut giant = tokio::net::TcpStream::connect(address).await.unwrap();
    giant.write_all(head(10 << 30).as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(PATIENCE, giant.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    let mut broken = tokio::net::TcpStream::connect(address).await.unwrap();
    broken.write_all(head(8 << 20).as_bytes()).await.unwrap();
    broken.write_all(&vec![b'x'; 2 << 20]).await.unwrap();
    until("the upload", || world.bytes_in("blobs") > 0).await;
    drop(broken);
    until("the clean-up", || world.bytes_in("blobs") == 0).await;
}
