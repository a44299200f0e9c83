//! Records: what a change does, what it refuses, and what remains of it.

use cairn_store::{ChangeKind, ListQuery, Order, StoreError, SyncState, Viewer};
use cairn_sync::{ChangeId, Kind, RecordId, Role, Value};

use crate::common::{Hub, fields, notice, system};

#[tokio::test]
async fn a_record_carries_who_when_and_every_change() {
    let hub = Hub::new().await;
    let ana = hub.person("ana", Role::Volunteer).await;
    let made = hub.notice(&ana, "Water").await;
    assert_eq!((made.version, made.created_by, made.sync), (1, ana.person(), SyncState::Pending));
    assert_eq!(made.gateway_version, None);

    let changed = hub
        .store
        .update(
            &hub.keeper,
            made.id,
            fields([("title", "Water is back".into()), ("body", "At ten.".into())]),
            Some(1),
            None,
        )
        .await
        .unwrap();
    assert_eq!((changed.version, changed.changed_by), (2, hub.keeper.person()));
    hub.store.delete(&ana, made.id, None).await.unwrap();
    let back = hub.store.restore_record(&ana, made.id, None).await.unwrap();
    assert_eq!((back.version, back.text("title")), (4, "Water is back"));

    let history = hub.store.history(&ana, made.id, None, 0).await.unwrap();
    let kinds: Vec<_> = history.items.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [ChangeKind::Restored, ChangeKind::Deleted, ChangeKind::Changed, ChangeKind::Created]);
    let change = &history.items[2];
    assert_eq!(change.by, hub.keeper.person());
    let title = change.changes.iter().find(|change| change.field == "title").unwrap();
    assert_eq!((&title.before, &title.after), (&Value::from("Water"), &Value::from("Water is back")));
    let body = change.changes.iter().find(|change| change.field == "body").unwrap();
    assert_eq!(body.before, Value::Null);
    assert!(history.items.windows(2).all(|pair| pair[0].hlc > pair[1].hlc));

    let first = hub.store.history(&ana, made.id, None, 3).await.unwrap();
    let rest = hub.store.history(&ana, made.id, first.next, 3).await.unwrap();
    assert_eq!((rest.items.len(), rest.items[0].version, rest.next), (1, 1, None));
}

#[tokio::test]
async fn edits_of_different_fields_merge_and_of_the_same_field_are_refused() {
    let hub = Hub::new().await;
    let made = hub.notice(&hub.keeper, "A").await;
    let update = |name: &'static str, value: &'static str, base| {
        hub.store.update(&hub.keeper, made.id, fields([(name, value.into())]), base, None)
    };
    update("title", "B", Some(1)).await.unwrap();
    let merged = update("body", "text", Some(1)).await.unwrap();
    assert_eq!((merged.text("title"), merged.text("body"), merged.version), ("B", "text", 3));
    match update("title", "C", Some(1)).await {
        Err(StoreError::Stale { field, current }) => {
            assert_eq!((field.as_str(), current.text("title"), current.version), ("title", "B", 3));
        }
        other => panic!("{other:?}"),
    }
    // The same value twice is no conflict and no change.
    assert_eq!(update("title", "B", Some(1)).await.unwrap().version, 3);
    assert_eq!(update("title", "C", Some(3)).await.unwrap().version, 4);
    assert_eq!(update("title", "D", None).await.unwrap().version, 5);
}

#[tokio::test]
async fn the_same_change_takes_effect_once_and_answers_the_same() {
    let hub = Hub::new().await;
    let ana = hub.person("ana", Role::Volunteer).await;
    let change = ChangeId::new();
    let make = |who: Viewer| {
        let store = hub.store.clone();
        async move { store.create(&who, Kind::Notice, None, notice("once"), Some(change)).await }
    };
    let first = make(ana.clone()).await.unwrap();
    hub.store.update(&ana, first.id, fields([("title", "later".into())]), None, None).await.unwrap();
    assert_eq!(make(ana.clone()).await.unwrap(), first, "the first outcome, not the current state");
    assert_eq!(hub.store.counts(&ana).await.unwrap()[&Kind::Notice], 1);
    assert!(matches!(make(hub.keeper.clone()).await, Err(StoreError::ChangeIdTaken)));

    let edit = ChangeId::new();
    let edit_title = |title: &'static str| {
        hub.store.update(&ana, first.id, fields([("title", title.into())]), Some(2), Some(edit))
    };
    let once = edit_title("edited").await.unwrap();
    hub.store.update(&ana, first.id, fields([("title", "again".into())]), None, None).await.unwrap();
    assert_eq!(edit_title("edited").await.unwrap(), once, "a repeated edit is not stale");
    let other = hub.notice(&ana, "other").await;
    let wrong = hub.store.update(&ana, other.id, notice("x"), None, Some(edit)).await;
    assert!(matches!(wrong, Err(StoreError::ChangeIdTaken)));

    let gone = ChangeId::new();
    hub.store.delete(&ana, other.id, Some(gone)).await.unwrap();
    hub.store.restore_record(&ana, other.id, None).await.unwrap();
    hub.store.delete(&ana, other.id, Some(gone)).await.unwrap();
    assert!(!hub.store.get(&ana, other.id).await.unwrap().deleted, "the repeated deletion did nothing");
}

#[tokio::test]
async fn every_write_is_in_the_outbox() {
    let hub = Hub::new().await;
    let before = hub.store.outbox_len().await.unwrap();
    let made = hub.notice(&hub.keeper, "A").await;
    hub.store.update(&hub.keeper, made.id, fields([("title", "B".into())]), None, None).await.unwrap();
    hub.store.delete(&hub.keeper, made.id, None).await.unwrap();
    assert_eq!(hub.store.outbox_len().await.unwrap(), before + 3);
    let refused = hub.store.create(&hub.keeper, Kind::Notice, None, fields([]), None).await;
    assert!(matches!(refused, Err(StoreError::Value(_))));
    assert_eq!(hub.store.outbox_len().await.unwrap(), before + 3, "a refused write leaves nothing");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_nothing_stays() {
    let hub = Hub::new().await;
    let create = |kind, project, fields| hub.store.create(&hub.keeper, kind, project, fields, None);
    let refused = [
        create(Kind::Notice, None, fields([("title", "A".into())])).await,
        create(Kind::Notice, None, fields([("title", "A".into()), ("level", "loud".into())])).await,
        create(
            Kind::Notice,
            None,
            fields([("title", "A".into()), ("level", "info".into()), ("x", "y".into())]),
        )
        .await,
        create(Kind::Assessment, None, fields([])).await,
        create(Kind::Team, Some(RecordId::new()), fields([("name", "A".into())])).await,
        create(
            Kind::Message,
            None,
            fields([("body", "A".into()), ("reply_to", RecordId::new().to_string().into())]),
        )
        .await,
    ];
    for outcome in refused {
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, StoreError::Value(_) | StoreError::Invalid(_) | StoreError::NotFound(_)),
            "{error}"
        );
    }
    let project = hub.project(&hub.keeper, "P", true).await;
    assert!(matches!(create(Kind::Person, Some(project.id), fields([])).await, Err(StoreError::Invalid(_))));
    assert_eq!(hub.store.counts(&hub.keeper).await.unwrap()[&Kind::Notice], 0);
}

#[tokio::test]
async fn an_assessment_counts_its_responses_while_it_is_open() {
    let hub = Hub::new().await;
    let ana = hub.person("ana", Role::Guest).await;
    let project = hub.project(&hub.keeper, "P", true).await;
    let assessment = fields([
        ("title", "Wells".into()),
        ("questions", Value::Json(serde_json::json!(["depth"]))),
        ("status", "draft".into()),
    ]);
    let assessment =
        hub.store.create(&hub.keeper, Kind::Assessment, Some(project.id), assessment, None).await.unwrap();
    let respond = || {
        let answers = fields([
            ("assessment", assessment.id.to_string().into()),
            ("answers", Value::Json(serde_json::json!({"depth": 3}))),
        ]);
        hub.store.create(&ana, Kind::Response, Some(project.id), answers, None)
    };
    let set = |status: &'static str| {
        hub.store.update(&hub.keeper, assessment.id, fields([("status", status.into())]), None, None)
    };
    assert!(respond().await.unwrap_err().to_string().contains("not open yet"));
    set("open").await.unwrap();
    let first = respond().await.unwrap();
    respond().await.unwrap();
    assert_eq!(hub.store.get(&ana, assessment.id).await.unwrap().int("responses"), Some(2));
    assert_eq!(hub.store.get(&ana, first.id).await.unwrap(), first, "their author reads them");
    set("closed").await.unwrap();
    assert!(respond().await.unwrap_err().to_string().contains("closed"));
    let counted = fields([("responses", Value::Int(99))]);
    assert!(hub.store.update(&hub.keeper, assessment.id, counted, None, None).await.is_err());
}

#[tokio::test]
async fn what_lies_in_a_deleted_project_is_out_of_reach_until_it_is_restored() {
    let hub = Hub::new().await;
    let ana = hub.person("ana", Role::Volunteer).await;
    let project = hub.project(&ana, "P", true).await;
    let inside =
        hub.store.create(&ana, Kind::Notice, Some(project.id), notice("inside"), None).await.unwrap();
    hub.store.delete(&ana, project.id, None).await.unwrap();
    for viewer in [&ana, &hub.keeper, &system(), &Viewer::anonymous()] {
        assert!(matches!(hub.store.get(viewer, inside.id).await, Err(StoreError::NotFound(_))));
        assert_eq!(hub.store.counts(viewer).await.unwrap()[&Kind::Notice], 0);
    }
    let trash = ListQuery { deleted: true, ..ListQuery::of(Kind::Project) };
    assert_eq!(hub.store.list(&ana, trash.clone()).await.unwrap().items.len(), 1);
    assert_eq!(hub.store.list(&Viewer::anonymous(), trash).await.unwrap().items, []);
    hub.store.restore_record(&ana, project.id, None).await.unwrap();
    assert_eq!(hub.store.get(&Viewer::anonymous(), inside.id).await.unwrap().text("title"), "inside");
}

#[tokio::test]
async fn lists_find_by_field_by_set_element_and_by_how_a_line_starts() {
    let hub = Hub::new().await;
    let mut made = Vec::new();
    for (title, tag) in [("Équipe", "a"), ("eau", "b"), ("Equal", "a"), ("Zebra", "a")] {
        let document = hub.document(&hub.keeper, None, title, title).await;
        let tags = Value::Set([tag.to_owned(), "all".to_owned()].into());
        hub.store.update(&hub.keeper, document.id, fields([("tags", tags)]), None, None).await.unwrap();
        made.push(document.id);
    }
    let titles = |query: ListQuery| {
        let store = hub.store.clone();
        async move {
            let page = store.list(&Viewer::anonymous(), query).await.unwrap();
            page.items.iter().map(|record| record.text("title").to_owned()).collect::<Vec<_>>()
        }
    };
    let of = || ListQuery::of(Kind::Document);
    assert_eq!(titles(of().equals("tags", "a")).await, ["Zebra", "Equal", "Équipe"]);
    assert_eq!(titles(of().equals("tags", "a").equals("tags", "b")).await, [""; 0]);
    assert_eq!(titles(of().equals("tags", "all").equals("title", "eau")).await, ["eau"]);
    assert_eq!(titles(of().equals("title", "EAU")).await, [""; 0], "equal means equal");
    let starts = |prefix: &str| ListQuery { text_prefix: Some(("title".into(), prefix.into())), ..of() };
    assert_eq!(titles(starts("e")).await, ["eau", "Equal", "Équipe"]);
    assert_eq!(titles(starts("ÉQU")).await, ["Equal", "Équipe"]);
    assert_eq!(titles(starts("").equals("tags", "a").limit(2)).await, ["Equal", "Équipe"]);
    hub.store.update(&hub.keeper, made[1], fields([("title", "autre".into())]), None, None).await.unwrap();
    assert_eq!(titles(starts("e")).await, ["Equal", "Équipe"]);
    hub.store.delete(&hub.keeper, made[0], None).await.unwrap();
    assert_eq!(titles(of().equals("tags", "all")).await, ["Zebra", "Equal", "autre"]);
    assert_eq!(titles(of().order(Order::Changed)).await[0], "autre");
    for refused in [
        of().equals("size", 3_i64),
        of().equals("tags", "a").order(Order::Changed),
        starts("x").equals("no", "x"),
    ] {
        assert!(hub.store.list(&Viewer::anonymous(), refused).await.is_err());
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition_while_others_write() {
    let hub = Hub::new().await;
    for number in 0..57 {
        hub.notice(&hub.keeper, &format!("{number:02}")).await;
    }
    for order in [Order::Newest, Order::Oldest, Order::Changed] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let query = ListQuery::of(Kind::Notice).order(order).limit(10).after(after.take());
            let page = hub.store.list(&Viewer::anonymous(), query).await.unwrap();
            seen.extend(page.items.iter().map(|record| record.id));
            if order != Order::Oldest {
                // Comes before the first page, never into a later one.
                hub.notice(&hub.keeper, "between").await;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let unique: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(unique.len(), seen.len(), "{order:?}");
        assert!(seen.len() >= 57, "{order:?}");
    }
    let page = hub.store.list(&system(), ListQuery::of(Kind::Notice).limit(1)).await.unwrap();
    let foreign = ListQuery::of(Kind::Person).after(page.next.clone());
    assert!(matches!(hub.store.list(&system(), foreign).await, Err(StoreError::Invalid(_))));
    let garbled = ListQuery::of(Kind::Notice).after(Some(cairn_store::Cursor::from_text("' OR 1=1 --")));
    assert!(matches!(hub.store.list(&system(), garbled).await, Err(StoreError::Invalid(_))));
}

#[tokio::test]
async fn concurrent_writes_all_arrive_and_one_that_fails_takes_nobody_with_it() {
    let hub = Hub::new().await;
    let writes = (0..200).map(|number| {
        let (store, keeper) = (hub.store.clone(), hub.keeper.clone());
        tokio::spawn(async move {
            let title = if number % 10 == 3 { String::new() } else { format!("{number}") };
            store.create(&keeper, Kind::Notice, None, notice(&title), None).await
        })
    });
    let mut kept = 0;
    for write in writes.collect::<Vec<_>>() {
        match write.await.unwrap() {
            Ok(record) => {
                kept += 1;
                assert_eq!(hub.store.get(&hub.keeper, record.id).await.unwrap(), record);
            }
            Err(error) => assert!(matches!(error, StoreError::Value(_)), "{error}"),
        }
    }
    assert_eq!(kept, 180);
    assert_eq!(hub.store.counts(&hub.keeper).await.unwrap()[&Kind::Notice], 180);
}

#[tokio::test]
async fn events_come_after_the_commit_and_only_to_those_who_may_know() {
    let hub = Hub::new().await;
    let ana = hub.person("ana", Role::Volunteer).await;
    let project = hub.project(&hub.keeper, "closed", false).await;
    let mut events = hub.store.subscribe();
    let inside =
        hub.store.create(&hub.keeper, Kind::Notice, Some(project.id), notice("inside"), None).await.unwrap();
    let event = events.recv().await.unwrap();
    assert_eq!((event.id, event.version, event.deleted), (inside.id, 1, false));
    assert!(hub.store.visible(&hub.keeper, &event).await.unwrap());
    assert!(!hub.store.visible(&ana, &event).await.unwrap());
    assert!(!hub.store.visible(&Viewer::anonymous(), &event).await.unwrap());
    assert!(hub.store.create(&hub.keeper, Kind::Notice, None, fields([]), None).await.is_err());
    assert!(events.try_recv().is_err(), "a refused write tells nobody");
}
