//! What lies around rounds: live events across instances, files, the time, limits, the fleet page, going away.

use std::time::Duration;

use crate::support::*;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use cairn_gateway::{
    fleet::accounts,
    limits::Limits,
    store::{
        hubs,
        reports::{self, UpdateFigures},
    },
};
use cairn_sync::{
    BlobId, RecordId,
    http::{
        AUTHORIZATION, BLOBS, Code, Credential, EVENTS, Event, KEY, NewKey, PROTOCOL_HEADER, REPORT, Report,
        ReportReply, SNAPSHOT, Secret, SnapshotRequest, TIME, TimeStatement, UPLOADED_HEADER, UpdateOutcome,
        UpdateResult,
        pack::{frame_length, pack, unframe},
        time::{NONCE, hex, signed, unhex},
    },
    session::{Failure, Stop},
};
use futures::StreamExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_on_one_instance_is_heard_on_the_other_until_it_goes_away() {
    let world = World::new().await;
    let (one, two) = (world.instance().await, world.instance().await);
    let mut writer = Hub::enrol(&one.url, world.token().await).await;
    let listener = Hub::enrol(&one.url, world.token().await).await;
    let response = client()
        .get(format!("{}{EVENTS}", two.url))
        .header(AUTHORIZATION, listener.credential.bearer())
        .send()
        .await
        .unwrap();
    assert!(response.status().is_success());
    let mut body = response.bytes_stream();
    let mut text = String::new();
    let mut heard = Vec::new();
    let mut wrote = false;
    let all = async {
        while let Some(Ok(bytes)) = body.next().await {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
            while let Some((line, rest)) = text.split_once('\n') {
                heard.push(serde_json::from_str::<Event>(line).unwrap());
                text = rest.to_owned();
            }
            if !wrote {
                wrote = true;
                writer.write(RecordId::new(), &notice("Water"));
                writer.sync(&one.url).await;
            }
            if heard.contains(&Event::Newer(1)) {
                two.stop.cancel();
            }
        }
    };
    tokio::time::timeout(DEADLINE, all).await.expect("nothing was heard");
    assert_eq!(heard.first(), Some(&Event::Newer(0)));
    assert!(heard.iter().any(|event| matches!(event, Event::Present(present) if !present.is_empty())));
    assert_eq!(heard.last(), Some(&Event::Drain));
    until("the instance to be gone", || async {
        client().get(format!("{}/healthz", two.url)).send().await.err()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_hub_is_filled_in_one_stream_and_files_go_on_where_they_broke_off() {
    let world = World::new().await;
    let one = world.instance().await;
    let mut writer = Hub::enrol(&one.url, world.token().await).await;
    for n in 0..1_100 {
        writer.write(RecordId::new(), &notice(&format!("Notice {n}")));
        if writer.waiting.len() == 500 {
            writer.sync(&one.url).await;
        }
    }
    writer.sync(&one.url).await;

    let mut fresh = Hub::enrol(&one.url, world.token().await).await;
    let packed = pack(&SnapshotRequest { cursors: fresh.cursors.clone() }).unwrap();
    let response = client()
        .post(format!("{}{SNAPSHOT}", one.url))
        .header(AUTHORIZATION, fresh.credential.bearer())
        .header("content-type", cairn_sync::http::CBOR)
        .body(packed.bytes)
        .send()
        .await
        .unwrap();
    let bytes = response.bytes().await.unwrap();
    let (mut rest, mut pages) = (&*bytes, 0);
    while let Some(prefix) = rest.first_chunk() {
        let (frame, after) = rest.split_at(frame_length(*prefix).unwrap());
        let page: cairn_sync::http::Page = unframe(frame).unwrap();
        let asked = cairn_sync::http::Page::asked(fresh.credential.hub, fresh.cursors.clone(), fresh.ticket);
        let reply = page.into_reply(&asked);
        fresh.take(&asked, reply);
        rest = after;
        pages += 1;
    }
    assert_eq!(pages, 2);
    assert_eq!(fresh.records, writer.records);
    fresh.sync(&one.url).await;

    let content: Vec<u8> = (0..700_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let url = format!("{}{BLOBS}/{}", one.url, BlobId::of(&content));
    let bearer = fresh.credential.bearer();
    let put = |start: usize, end: usize| {
        client()
            .put(&url)
            .header(AUTHORIZATION, &bearer)
            .header("content-range", format!("bytes {start}-{}/{}", end - 1, content.len()))
            .body(content.get(start..end).unwrap().to_vec())
            .send()
    };
    let uploaded = |response: &reqwest::Response| {
        response.headers().get(UPLOADED_HEADER).unwrap().to_str().unwrap().to_owned()
    };
    let half = put(0, 400_000).await.unwrap();
    assert_eq!((half.status().as_u16(), uploaded(&half)), (202, "262144".to_owned()));
    let wrong = put(400_000, 700_000).await.unwrap();
    assert_eq!((wrong.status().as_u16(), uploaded(&wrong)), (409, "262144".to_owned()));
    assert_eq!(put(262_144, 700_000).await.unwrap().status().as_u16(), 201);
    let part = client()
        .get(&url)
        .header(AUTHORIZATION, &bearer)
        .header("range", "bytes=300000-")
        .send()
        .await
        .unwrap();
    assert_eq!(part.status().as_u16(), 206);
    assert_eq!(part.bytes().await.unwrap(), content.get(300_000..).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_is_signed_and_what_is_too_much_or_too_new_is_said() {
    let world = World::new().await;
    let narrow = Limits { per_second: 0.01, burst: 2.0, ..Limits::default() };
    let one = world.instance_with(narrow).await;
    let hub = Hub::enrol(&one.url, world.token().await).await;

    let nonce: [u8; NONCE] = random();
    let url = format!("{}{TIME}?nonce={}", one.url, hex(&nonce));
    let statement: TimeStatement =
        serde_json::from_slice(&client().get(url).send().await.unwrap().bytes().await.unwrap()).unwrap();
    let key = unhex::<32>(&one.service.time.public()).unwrap();
    let signature = unhex::<64>(&statement.signature).unwrap();
    let key = UnparsedPublicKey::new(&ED25519, key);
    key.verify(&signed(&nonce, statement.unix_ms), &signature).unwrap();
    assert!(key.verify(&signed(&nonce, statement.unix_ms + 1), &signature).is_err());
    assert!(key.verify(&signed(&[0; NONCE], statement.unix_ms), &signature).is_err());

    let newer =
        client().get(format!("{}{TIME}", one.url)).header(PROTOCOL_HEADER, "7-9").send().await.unwrap();
    let (failure, problem) = answer(newer).await.unwrap_err();
    assert_eq!(problem.unwrap().code, Code::Protocol);
    assert!(
        matches!(failure, Failure::Stop(Stop::Protocol(why)) if why.contains("gateway's software is too old"))
    );

    for _ in 0..2 {
        hub.send(&one.url, &hub.request()).await.ok();
    }
    let (failure, _) = hub.send(&one.url, &hub.request()).await.unwrap_err();
    assert!(matches!(failure, Failure::Busy { retry_after_ms: Some(wait) } if wait > 10_000), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_page_shows_a_maintainer_their_hubs_and_nobody_else() {
    let world = World::new().await;
    let one = world.instance().await;
    let hub = Hub::enrol(&one.url, world.token().await).await;
    let report = Report {
        name: "Mill <b>Road</b>".to_owned(),
        version: "0.2.0".to_owned(),
        queue: 17,
        conflicts: 3,
        board: "rpi4".to_owned(),
        free_bytes: 12_345_000_000,
        updates: vec![UpdateOutcome {
            at: 951_827_696_000,
            version: "1.1.0".to_owned(),
            result: UpdateResult::RolledBack,
            note: "page: it does not answer".to_owned(),
        }],
        ..Report::default()
    };
    // Twice: the first answer may have been lost.
    for _ in 0..2 {
        post_json(&client(), &one.url, REPORT, Some(&hub.credential), &report).await.unwrap();
    }

    let no_redirects = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(170))
        .build()
        .unwrap();
    let fleet = format!("{}/fleet/{}", one.url, world.community);
    let stranger = no_redirects.get(&fleet).send().await.unwrap();
    assert_eq!(stranger.status().as_u16(), 303);

    let owner = world.cluster.url("owner");
    accounts::set(&owner, "ana", "a long enough one", &[world.community]).await.unwrap();
    accounts::set(&owner, "ben", "a long enough one", &[]).await.unwrap();
    let sign_in = async |login: &str, password: &str| {
        let form = format!("login={login}&password={}", password.replace(' ', "+"));
        let response = no_redirects
            .post(format!("{}/fleet/sign-in", one.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .unwrap();
        let cookie = response.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
        cookie.and_then(|cookie| cookie.split(';').next().map(str::to_owned))
    };
    assert_eq!(sign_in("ana", "another long one").await, None);
    let (ana, ben) = (
        sign_in("ana", "a long enough one").await.unwrap(),
        sign_in("ben", "a long enough one").await.unwrap(),
    );
    let page = no_redirects.get(&fleet).header("cookie", &ana).send().await.unwrap().text().await.unwrap();
    let expected = [
        "Lower Valley",
        "Mill &lt;b&gt;Road",
        "0.2.0",
        "rpi4",
        ">17<",
        ">3<",
        "just now",
        "went back from 1.1.0",
    ];
    for expected in expected {
        assert!(page.contains(expected), "{expected} is missing");
    }
    let figures = reports::update_figures(&world.db().await, world.community).await.unwrap();
    assert!(matches!(figures.as_slice(), [UpdateFigures { healthy: 0, failed: 1, .. }]), "{figures:?}");
    assert_eq!(accounts::looked_after(&world.db().await).await.unwrap(), [world.community]);
    let of_hub = format!("{fleet}/{}", hub.credential.hub);
    let shown = no_redirects.get(&of_hub).header("cookie", &ana).send().await.unwrap().text().await.unwrap();
    for expected in ["12,345 MB", "2000-02-29 12:34", "page: it does not answer"] {
        assert_eq!(shown.matches(expected).count(), 1, "{expected} on the hub's page");
    }
    assert_eq!(no_redirects.get(&fleet).header("cookie", &ben).send().await.unwrap().status().as_u16(), 404);

    // A person's token for the record API is made here, shown once, works, and is revoked.
    let form_token =
        page.split("name=\"form_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let send = async |path: &str, fields: String| {
        let post = no_redirects.post(format!("{fleet}/{path}")).header("cookie", &ana);
        let body = format!("form_token={form_token}&{fields}");
        post.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.unwrap()
    };
    let mut sharing = hub.clone();
    let vera = world.person(&mut sharing, &one.url, "Vera", "volunteer").await;
    let made = send("api-token", format!("person={vera}&label=a+phone&days=30&write=yes")).await;
    let made = made.text().await.unwrap();
    let token = made.split("class=\"secret\">").nth(1).and_then(|rest| rest.split('<').next()).unwrap();
    let counts = async || {
        let counts = client().get(format!("{}/api/v1/counts", one.url)).bearer_auth(token).send().await;
        counts.unwrap().status().as_u16()
    };
    assert_eq!(counts().await, 200);
    let shown = no_redirects.get(&fleet).header("cookie", &ana).send().await.unwrap().text().await.unwrap();
    assert!(!shown.contains(token) && shown.contains("a phone") && shown.contains("30 days left"));
    let line = shown.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert_eq!(send("api-token/revoke", format!("token={line}")).await.status().as_u16(), 303);
    assert_eq!(counts().await, 401);

    // A form from another page lacks the token; one from this page revokes the hub.
    let retire = format!("{fleet}/{}/retire", hub.credential.hub);
    for (token, status) in [("guessed", 403), (form_token, 303)] {
        let post = no_redirects.post(&retire).header("cookie", &ana);
        let form = post
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("form_token={token}"));
        assert_eq!(form.send().await.unwrap().status().as_u16(), status);
    }
    let (failure, _) = hub.send(&one.url, &hub.request()).await.unwrap_err();
    assert_eq!(failure, Failure::Stop(Stop::Revoked));
}

/// A key is changed on request. Answers that get lost lock nobody out: the old key works until the new one was used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_changes_its_key_when_asked_and_no_lost_answer_locks_it_out() {
    let world = World::new().await;
    let one = world.instance().await;
    let mut hub = Hub::enrol(&one.url, world.token().await).await;
    let old = hub.credential.clone();
    let wanted = async |credential: &Credential| {
        let report =
            Report { name: "Mill Road".to_owned(), version: "0.1.0".to_owned(), ..Report::default() };
        let reply = post_json(&client(), &one.url, REPORT, Some(credential), &report).await?;
        Ok::<_, (Failure, _)>(serde_json::from_slice::<ReportReply>(&reply).unwrap().change_key)
    };
    assert!(!wanted(&old).await.unwrap());
    hubs::ask_for_new_key(&world.db().await, world.community, old.hub).await.unwrap();
    assert!(wanted(&old).await.unwrap());

    // The answer gets lost twice, and the hub goes on as before; then it takes another key, because its card lost the first.
    let first = NewKey { key: Secret::from_random(random()) };
    for _ in 0..2 {
        post_json(&client(), &one.url, KEY, Some(&old), &first).await.unwrap();
        hub.sync(&one.url).await;
        assert!(wanted(&old).await.unwrap(), "the wish ended before a new key was used");
    }
    let second = NewKey { key: Secret::from_random(random()) };
    post_json(&client(), &one.url, KEY, Some(&old), &second).await.unwrap();
    let forgotten = Credential { key: first.key, ..old.clone() };
    assert_eq!(wanted(&forgotten).await.unwrap_err().0, Failure::Stop(Stop::Revoked));

    // The new key is used: from now on it alone works, and nothing is wanted any more.
    hub.credential.key = second.key;
    hub.write(RecordId::new(), &notice("Water"));
    hub.sync(&one.url).await;
    assert!(!wanted(&hub.credential).await.unwrap());
    assert_eq!(wanted(&old).await.unwrap_err().0, Failure::Stop(Stop::Revoked));
}
