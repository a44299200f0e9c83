//! Enrolment, identities, keys, reports and the time.

use std::time::Instant;

use axum::{
    Json,
    extract::{Query, State},
};
use cairn_sync::http::{
    Code, Enrol, Enrolled, KeyChanged, NewIdentity, NewKey, Report, ReportReply, TimeStatement,
    time::{NONCE, unhex},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Shared,
    answer::{Asked, Failed, Shown},
};
use crate::store::{hubs, reports};

/// All who ask for the time or for enrolment share a bucket each: neither has shown a key yet.
const ENROLLING: Uuid = Uuid::from_u128(1);

pub(super) async fn enrol(
    State(service): State<Shared>,
    Asked(asked): Asked<Enrol>,
) -> Result<Json<Enrolled>, Failed> {
    service.gate.count(ENROLLING, Instant::now())?;
    let _place = service.gate.enter()?;
    Ok(Json(hubs::enrol(&service.db, &asked, service.time.public()).await?))
}

pub(super) async fn identity(
    State(service): State<Shared>,
    Shown(who): Shown,
    Asked(asked): Asked<NewIdentity>,
) -> Result<Json<Enrolled>, Failed> {
    let _place = service.gate.enter()?;
    Ok(Json(hubs::new_identity(&service.db, &who, &asked, service.time.public()).await?))
}

pub(super) async fn key(
    State(service): State<Shared>,
    Shown(who): Shown,
    Asked(asked): Asked<NewKey>,
) -> Result<Json<KeyChanged>, Failed> {
    let _place = service.gate.enter()?;
    hubs::new_key(&service.db, &who, &asked.key).await?;
    Ok(Json(KeyChanged {}))
}

pub(super) async fn report(
    State(service): State<Shared>,
    Shown(who): Shown,
    Asked(asked): Asked<Report>,
) -> Result<Json<ReportReply>, Failed> {
    let _place = service.gate.enter()?;
    Ok(Json(reports::report(&service.db, &who, &asked).await?))
}

#[derive(Deserialize)]
pub(super) struct Nonce {
    nonce: String,
}

/// A signature costs some twenty microseconds and no database: nobody is turned away.
pub(super) async fn time(
    State(service): State<Shared>,
    Query(Nonce { nonce }): Query<Nonce>,
) -> Result<Json<TimeStatement>, Failed> {
    let nonce = unhex::<NONCE>(&nonce)
        .ok_or_else(|| Failed::new(Code::Invalid, "the nonce must be 32 bytes in hex"))?;
    Ok(Json(service.time.state(&nonce)))
}
