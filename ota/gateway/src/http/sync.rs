//! Rounds, and filling a new hub.

use std::{collections::BTreeMap, time::Instant};

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use cairn_sync::{
    http::{Checked, Code, FRAMES, SnapshotRequest, pack::frame},
    wire::{Cursor, Request, ScopeId},
};

use super::{
    DEADLINE, Shared,
    answer::{Failed, Shown, Unpacked, packed},
};
use crate::{
    db::random,
    metrics::Metrics,
    store::{newer, round},
};

/// A stream that fills a hub has at most so many pages; what is left follows in rounds.
const MAX_PAGES: usize = 10_000;

pub(super) async fn round(
    State(service): State<Shared>,
    Shown(who): Shown,
    Unpacked(request): Unpacked<Request>,
) -> Result<Response, Failed> {
    let _place = service.gate.enter().inspect_err(|_| Metrics::add(&service.metrics.busy, 1))?;
    let began = Instant::now();
    let fresh = u64::from_be_bytes(random()?);
    let serving = round::serve(&service.db, &who, &request, fresh);
    let served = tokio::time::timeout(DEADLINE, serving)
        .await
        .map_err(|_| Failed::busy(30, "the round took too long"))?
        .map_err(Failed::from)
        .inspect_err(|failed| {
            let metrics = &service.metrics;
            match failed.code() {
                Code::Copy => Metrics::add(&metrics.copies, 1),
                Code::Busy => Metrics::add(&metrics.busy, 1),
                Code::Internal => Metrics::add(&metrics.internal, 1),
                _ => {}
            }
        })?;
    if let Some(version) = served.raised {
        service.live.newer(who.community, version);
    }
    service.metrics.round(began.elapsed());
    Metrics::add(&service.metrics.changes, request.changes.len());
    Metrics::add(&service.metrics.records, served.reply.records.len());
    packed(&served.reply)
}

pub(super) async fn snapshot(
    State(service): State<Shared>,
    Shown(who): Shown,
    Unpacked(request): Unpacked<SnapshotRequest>,
) -> Result<Response, Failed> {
    request.check().map_err(|error| Failed::new(Code::Invalid, error.to_string()))?;
    let place = service.gate.enter()?;
    // The first page is read before the answer begins, so that what is wrong can still be said.
    let mut cursors = request.cursors;
    let first = newer::page(&service.db, &who, &cursors).await?;
    let pages = async_stream::stream! {
        let _place = place;
        let mut page = Some(first);
        for _ in 0..MAX_PAGES {
            let this = match page.take() {
                Some(page) => page,
                None => match newer::page(&service.db, &who, &cursors).await {
                    Ok(page) => page,
                    // The stream breaks off; the hub goes on from its cursors and hears why then.
                    Err(error) => {
                        yield Err(std::io::Error::other(error.to_string()));
                        return;
                    }
                },
            };
            advance(&mut cursors, &this.cursors);
            Metrics::add(&service.metrics.records, this.records.len());
            let more = this.more;
            yield frame(&this).map_err(std::io::Error::other);
            if !more || service.drain.is_cancelled() {
                return;
            }
        }
    };
    Ok(([(header::CONTENT_TYPE, FRAMES)], Body::from_stream(pages)).into_response())
}

fn advance(cursors: &mut BTreeMap<ScopeId, Cursor>, to: &BTreeMap<ScopeId, Cursor>) {
    for (scope, cursor) in to {
        cursors.insert(*scope, *cursor);
    }
}
