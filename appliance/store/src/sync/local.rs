//! What a round needs to know of the store, and the request that was sent last.

use std::collections::BTreeMap;

use cairn_sync::{
    ChangeId, HubId, RecordId,
    change::{Change, Seen},
    round::{self, Local},
    wire::{Cursor, MAX_CHANGES, Request, ScopeId},
};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::{from_json, outgoing, scopes, to_json};
use crate::{
    db::writer::Desk,
    error::Result,
    records::codec::{id, id_or_none, kind_of},
    schema,
};

/// Most bytes of changes in one request, as they are stored. Well below the wire's limit, of which the rest is room for
/// the gateway's answer.
const MAX_BYTES: usize = 4 << 20;
/// Most rows of the outbox that are looked at for one request: those of scopes that are not chosen are passed over.
const MAX_LOOKED_AT: usize = 20_000;

const HUB: &str = "sync_hub";
const TICKET: &str = "sync_ticket";
const UNANSWERED: &str = "sync_unanswered";

/// A request that was written down, without the changes, which lie in `prepared` anyway.
#[derive(Serialize, Deserialize)]
struct Written {
    request: Request,
    seqs: Vec<i64>,
}

struct Prepared {
    unanswered: Option<Request>,
    hub: HubId,
    ticket: u64,
    waiting: Vec<(i64, Change)>,
    seen: Vec<(ChangeId, Seen)>,
    cursors: BTreeMap<ScopeId, Cursor>,
}

impl Local for Prepared {
    fn unanswered(&self) -> Option<Request> {
        self.unanswered.clone()
    }

    fn hub(&self) -> HubId {
        self.hub
    }

    fn ticket(&self) -> u64 {
        self.ticket
    }

    fn waiting(&self, limit: usize) -> Vec<Change> {
        self.waiting.iter().take(limit).map(|(_, change)| change.clone()).collect()
    }

    fn seen(&self) -> Vec<(ChangeId, Seen)> {
        self.seen.clone()
    }

    fn cursors(&self) -> BTreeMap<ScopeId, Cursor> {
        self.cursors.clone()
    }
}

pub(super) fn hub(connection: &Connection, otherwise: HubId) -> Result<HubId> {
    Ok(schema::fact::<[u8; 16]>(connection, HUB)?.map_or(otherwise, HubId::from_bytes))
}

pub(super) fn ticket(connection: &Connection) -> Result<u64> {
    // Stored as the 64 bits that they are: SQLite's numbers have a sign.
    Ok(schema::fact::<i64>(connection, TICKET)?.map_or(0, i64::cast_unsigned))
}

pub(super) fn answered(connection: &Connection, ticket: u64) -> Result<()> {
    schema::set_fact(connection, TICKET, ticket.cast_signed())?;
    connection.prepare_cached("DELETE FROM hub WHERE name = ?1")?.execute([UNANSWERED])?;
    Ok(())
}

pub(super) fn become_another(connection: &Connection, hub: HubId) -> Result<()> {
    schema::set_fact(connection, HUB, hub.as_bytes())?;
    answered(connection, 0)
}

/// The request that was written down and not answered yet.
pub(super) fn unanswered(connection: &Connection) -> Result<Option<Request>> {
    let Some(text) = schema::fact::<String>(connection, UNANSWERED)? else { return Ok(None) };
    let Written { mut request, seqs } = from_json(&text)?;
    let mut statement = connection.prepare_cached("SELECT body FROM prepared WHERE seq = ?1")?;
    for seq in seqs {
        let body: Option<String> = statement.query_row([seq], |row| row.get(0)).optional()?;
        if let Some(body) = body {
            request.changes.push(from_json(&body)?);
        }
    }
    Ok(Some(request))
}

/// See [`crate::Store::sync_request`].
pub(super) fn request(desk: &mut Desk<'_>, random: [u8; 16], limit: u32) -> Result<Request> {
    let connection = desk.connection;
    if let Some(request) = unanswered(connection)? {
        return Ok(request);
    }
    let cursors = scopes::cursors(connection)?;
    let local = Prepared {
        unanswered: None,
        hub: hub(connection, desk.hub)?,
        ticket: ticket(connection)?,
        waiting: waiting(connection, &cursors)?,
        seen: seen(connection, &cursors)?,
        cursors,
    };
    let request = round::request(&local, random, limit);
    let seqs = local.waiting.iter().map(|(seq, _)| *seq).collect();
    let bare = Request { changes: Vec::new(), ..request.clone() };
    schema::set_fact(connection, UNANSWERED, to_json(&Written { request: bare, seqs })?)?;
    Ok(request)
}

/// The oldest waiting changes of the chosen scopes.
fn waiting(connection: &Connection, chosen: &BTreeMap<ScopeId, Cursor>) -> Result<Vec<(i64, Change)>> {
    let mut statement = connection.prepare_cached(
        "SELECT o.seq, o.record, r.kind, r.scope FROM outbox o JOIN records r ON r.id = o.record ORDER BY o.seq LIMIT ?1",
    )?;
    let mut rows = statement.query([MAX_LOOKED_AT as i64])?;
    let mut wanted: Vec<(i64, RecordId)> = Vec::new();
    while let Some(row) = rows.next()? {
        if is_chosen(row, 2, chosen)? {
            wanted.push((row.get(0)?, id(row, 1)?));
        }
        if wanted.len() >= MAX_CHANGES {
            break;
        }
    }
    let mut body = connection.prepare_cached("SELECT body FROM prepared WHERE seq = ?1")?;
    let (mut changes, mut bytes) = (Vec::with_capacity(wanted.len()), 0);
    for (seq, record) in wanted {
        let text: Option<String> = body.query_row([seq], |row| row.get(0)).optional()?;
        let text = match text {
            Some(text) => text,
            None => {
                outgoing::prepare(connection, record)?;
                body.query_row([seq], |row| row.get(0))?
            }
        };
        bytes += text.len();
        if bytes > MAX_BYTES && !changes.is_empty() {
            break;
        }
        changes.push((seq, from_json(&text)?));
    }
    Ok(changes)
}

/// What the makers of the waiting changes of the chosen scopes had seen, as far as it was put into words: before anything
/// newer is taken in of a record it is, so nothing has been done to the records of the others that they do not know of.
fn seen(connection: &Connection, chosen: &BTreeMap<ScopeId, Cursor>) -> Result<Vec<(ChangeId, Seen)>> {
    let mut statement = connection.prepare_cached(
        "SELECT p.body, r.kind, r.scope FROM prepared p JOIN outbox o ON o.seq = p.seq \
         JOIN records r ON r.id = o.record",
    )?;
    let mut rows = statement.query([])?;
    let mut seen = Vec::new();
    while let Some(row) = rows.next()? {
        if is_chosen(row, 1, chosen)? {
            let change: Change = from_json(&row.get::<_, String>(0)?)?;
            seen.push((change.id, change.seen));
        }
    }
    Ok(seen)
}

/// Whether a record whose kind and scope stand in columns `at` and the next is of a chosen scope.
fn is_chosen(row: &rusqlite::Row<'_>, at: usize, chosen: &BTreeMap<ScopeId, Cursor>) -> Result<bool> {
    let Some(kind) = kind_of(row.get(at)?) else { return Ok(false) };
    let project = if kind == cairn_sync::Kind::Project { None } else { id_or_none(row, at + 1)? };
    Ok(chosen.contains_key(&ScopeId::from(project)))
}
