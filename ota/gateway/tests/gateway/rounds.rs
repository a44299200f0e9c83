//! Rounds over HTTP against a real PostgreSQL, on several instances.

use std::collections::BTreeSet;

use crate::support::*;
use cairn_gateway::store::{Refused, hubs, round};
use cairn_sync::{
    RecordId, Value,
    authority::Outcome,
    http::{Code, ENROL, IDENTITY, NewIdentity, Secret},
    session::{Failure, Stop},
    wire::ScopeId,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubs_on_two_instances_converge() {
    let world = World::new().await;
    let (one, two) = (world.instance().await, world.instance().await);

    // The answer to an enrolment got lost: the same request gets the same answer, another hub does not.
    let token = world.token().await;
    let asked = enrolment(token.clone());
    let first = post_json(&client(), &one.url, ENROL, None, &asked).await.unwrap();
    let again = post_json(&client(), &two.url, ENROL, None, &asked).await.unwrap();
    assert_eq!(first, again);
    let stranger = post_json(&client(), &two.url, ENROL, None, &enrolment(token)).await.unwrap_err();
    assert_eq!(stranger.1.unwrap().code, Code::Token);

    let mut a = Hub::enrol(&one.url, world.token().await).await;
    let mut b = Hub::enrol(&two.url, world.token().await).await;
    let (water, power) = (RecordId::new(), RecordId::new());
    a.write(water, &notice("Water"));
    b.write(power, &notice("Power"));
    a.sync(&one.url).await;
    b.sync(&two.url).await;
    a.sync(&two.url).await;
    assert_eq!(a.records, b.records);
    assert_eq!(a.records.len(), 2);

    // Both change the same title: a person has to choose, on both hubs the same.
    a.write(water, &[("title", Value::from("Water at the mill"))]);
    b.write(water, &[("title", Value::from("Water at the school"))]);
    a.sync(&two.url).await;
    b.sync(&one.url).await;
    a.sync(&one.url).await;
    assert_eq!(a.records, b.records);
    assert_eq!(a.records.get(&water).unwrap().conflicts.len(), 1);

    // An answer gets lost: the same request again has one effect and the same answer.
    a.write(power, &[("level", Value::from("urgent"))]);
    let request = a.request();
    let lost = a.send(&one.url, &request).await.unwrap();
    let reply = a.send(&two.url, &request).await.unwrap();
    assert_eq!(lost.outcomes, reply.outcomes);
    assert_eq!(lost.ticket, reply.ticket);
    a.take(&request, reply);
    b.sync(&one.url).await;
    assert_eq!(a.records, b.records);

    // Deletions are forgotten once every hub has passed them, and everybody still adds up. The hub that was enrolled and
    // never came would hold them for ever; it is retired.
    hubs::retire(&world.db().await, world.community, asked.hub).await.unwrap();
    a.delete(water);
    a.sync(&one.url).await;
    b.sync(&two.url).await;
    // One push in 32, by chance, forgets: a thousand that all do not are rarer than a broken disk.
    for n in 0..1_000 {
        b.write(RecordId::new(), &notice(&format!("Notice {n}")));
        b.sync(&one.url).await;
        a.sync(&two.url).await;
        if !b.records.contains_key(&water) {
            break;
        }
    }
    assert!(!b.records.contains_key(&water), "the deletion is kept for ever");
    assert_eq!(a.records, b.records);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_card_takes_an_identity_of_its_own_and_keeps_its_queue() {
    let world = World::new().await;
    let one = world.instance().await;
    let mut card = Hub::enrol(&one.url, world.token().await).await;
    card.write(RecordId::new(), &notice("before the copy"));
    card.sync(&one.url).await;
    let mut copy = card.clone();
    let made_on_the_copy = RecordId::new();
    copy.write(made_on_the_copy, &notice("on the copy"));
    card.write(RecordId::new(), &notice("on the card"));
    card.sync(&one.url).await;

    let refused = copy.send(&one.url, &copy.request()).await.unwrap_err();
    assert_eq!(refused.0, Failure::Stop(Stop::Copy));
    let asked = NewIdentity {
        hub: cairn_sync::HubId::new(),
        key: Secret::from_random(random()),
        name: "Mill Road, the other".to_owned(),
        version: "0.1.0".to_owned(),
    };
    for _ in 0..2 {
        post_json(&client(), &one.url, IDENTITY, Some(&copy.credential), &asked).await.unwrap();
    }
    copy.credential.hub = asked.hub;
    copy.credential.key = asked.key;
    copy.ticket = 0;
    copy.sync(&one.url).await;
    card.sync(&one.url).await;
    assert_eq!(card.records, copy.records);
    assert!(card.records.contains_key(&made_on_the_copy));

    // A retired hub hears so, whatever it sends.
    hubs::retire(&world.db().await, world.community, card.credential.hub).await.unwrap();
    let refused = card.send(&one.url, &card.request()).await.unwrap_err();
    assert_eq!(refused.0, Failure::Stop(Stop::Revoked));
}

/// Writers on two instances commit at the same time while a reader follows. Were a version visible before a lower one,
/// the reader's cursor would pass the lower one and never see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_order_of_cursors_is_the_order_of_commits() {
    const WRITERS: usize = 6;
    const ROUNDS: usize = 30;
    let world = World::new().await;
    let (one, two) = (world.instance().await, world.instance().await);
    let mut reader = Hub::enrol(&one.url, world.token().await).await;
    reader.limit = 7;
    let mut writers = Vec::new();
    for n in 0..WRITERS {
        let service = if n % 2 == 0 { one.service.clone() } else { two.service.clone() };
        let mut hub = Hub::enrol(&one.url, world.token().await).await;
        writers.push(tokio::spawn(async move {
            let mut made = BTreeSet::new();
            for round in 0..ROUNDS {
                let record = RecordId::new();
                made.insert(record);
                hub.write(record, &notice(&format!("{n} {round}")));
                let mut request = hub.request();
                // Writers only write: what they would read is another test's.
                request.cursors.clear();
                let fresh = u64::from_be_bytes(random());
                let served = round::serve(&service.db, &hub.credential, &request, fresh).await.unwrap();
                assert!(matches!(served.reply.outcomes.first(), Some((_, Outcome::Applied { .. }))));
                assert!(served.raised.is_some());
                hub.take(&request, served.reply);
            }
            made
        }));
    }
    let mut seen = BTreeSet::new();
    let mut last = 0;
    let began = std::time::Instant::now();
    while seen.len() < WRITERS * ROUNDS {
        assert!(began.elapsed() < DEADLINE, "only {} of {} came", seen.len(), WRITERS * ROUNDS);
        let request = reader.request();
        let fresh = u64::from_be_bytes(random());
        let service = if seen.len() % 2 == 0 { &one.service } else { &two.service };
        let reply = round::serve(&service.db, &reader.credential, &request, fresh).await.unwrap().reply;
        for record in &reply.records {
            // Each record is written once, so versions come one by one: a gap would be a change that was skipped.
            assert_eq!(record.version, last + 1, "a version was skipped");
            last = record.version;
            assert!(seen.insert(record.id));
        }
        reader.take(&request, reply);
    }
    let mut made = BTreeSet::new();
    for writer in writers {
        made.extend(writer.await.unwrap());
    }
    assert_eq!(seen, made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projects_that_were_not_granted_are_withheld() {
    let world = World::new().await;
    let db = world.db().await;
    let project = RecordId::new();
    let token = hubs::add_token(&db, world.community, "narrow", Some(&[]), 1).await.unwrap();
    let one = world.instance().await;
    let mut hub = Hub::enrol(&one.url, token).await;
    hub.cursors.insert(ScopeId::Project(project), cairn_sync::wire::Cursor::default());
    let request = hub.request();
    let reply = hub.send(&one.url, &request).await.unwrap();
    assert_eq!(reply.withheld, [ScopeId::Project(project)]);
    assert!(!reply.cursors.contains_key(&ScopeId::Project(project)));

    let mut other = request.clone();
    other.hub = cairn_sync::HubId::new();
    let refused = round::serve(&db, &hub.credential, &other, 1).await.unwrap_err();
    assert!(matches!(refused, Refused::Order(_)), "{refused}");
}
