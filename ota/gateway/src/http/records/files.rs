//! Files of documents for clients: the pieces that hubs brought, and files that clients bring.

use std::time::Duration;

use cairn_record_api::{
    Answer, Problem, ProblemKind,
    files::{FileMeta, Files, OpenFile, Upload, broke_off, may_not_add},
};
use cairn_sync::{BlobId, Kind, RecordId, http::MAX_BLOB};
use futures::StreamExt;
use serde_json::json;

use super::{Asked, answer, too_much};
use crate::{
    http::ask_for,
    store::{
        Refused,
        blobs::{self, Arriving, Stored},
        records::RecordError,
    },
};

/// How long a file may take as a whole.
pub(super) const WITHIN: Duration = Duration::from_secs(2 * 60 * 60);
/// How long its next piece may take.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
/// When a file that hubs were asked for may have come, in seconds.
const ASK_AGAIN: u32 = 60;

fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::Db(error) => RecordError::Db(error).into(),
        Refused::Quota(why) => Problem::new(ProblemKind::DiskFull, why)
            .next("Delete documents that are no longer needed, or ask whoever runs the gateway."),
        other => Problem::new(ProblemKind::NotFound, other.to_string()),
    }
}

fn too_large() -> Problem {
    Problem::new(ProblemKind::TooLarge, format!("this can be at most {} MiB large", MAX_BLOB >> 20))
}

impl Asked {
    fn require(&self, allowed: Result<bool, RecordError>) -> Result<(), Problem> {
        if !self.asker.may_write {
            return Err(RecordError::ReadOnly.into());
        }
        if allowed? { Ok(()) } else { Err(may_not_add(true)) }
    }

    async fn take(&self, announced: Option<u64>, mut file: Upload<'_>) -> Result<(BlobId, u64), Problem> {
        if announced.is_some_and(|length| length > MAX_BLOB) {
            return Err(too_large());
        }
        let _place = self.gate.upload().map_err(too_much)?;
        let db = self.db.clone();
        let mut arriving = Arriving::begin(db, self.asker.community, announced).await.map_err(refused)?;
        if let Err(problem) = pour(&mut file, &mut arriving).await {
            if let Err(error) = arriving.give_up().await {
                tracing::info!(%error, "half a file goes later");
            }
            return Err(problem);
        }
        if arriving.have() == 0 {
            arriving.give_up().await.map_err(refused)?;
            return Err(Problem::new(ProblemKind::Invalid, "the file is empty"));
        }
        let arrived = arriving.finish().await.map_err(refused)?;
        if arrived.was_wanted {
            self.live.files(self.asker.community);
        }
        Ok((arrived.blob, arrived.size))
    }

    async fn open(&self, document: RecordId) -> Result<OpenFile, Problem> {
        let record = self.records.get(document).await?;
        if record.kind != Kind::Document {
            return Err(Problem::new(ProblemKind::NotFound, "there is no such document"));
        }
        let elsewhere = || {
            Problem::new(ProblemKind::FileElsewhere, "no hub has brought the file of this document yet")
                .next("A hub that has it was asked to bring it; try again later.")
                .retry_after(ASK_AGAIN)
        };
        let blob: BlobId = record.text("file").parse().map_err(|_| elsewhere())?;
        let community = self.asker.community;
        let stored = blobs::stored_in(&self.db, community, blob).await.map_err(refused)?;
        let Some(Stored { size, .. }) = stored.filter(|stored| stored.complete) else {
            ask_for(&self.db, &self.live, community, blob).await.map_err(refused)?;
            return Err(elsewhere());
        };
        let (text, db) = (|field: &str| record.text(field).to_owned(), self.db.clone());
        let meta = FileMeta { blob, file_name: text("file_name"), media_type: text("media_type"), size };
        let place = self.gate.enter().map_err(too_much)?;
        let read = Box::new(move |first, length| {
            let pieces = blobs::stream(db, community, blob, first, length);
            // The place is kept as long as the body is read.
            let held = move |piece| {
                let _held = &place;
                piece
            };
            pieces.map(held).boxed()
        });
        Ok(OpenFile { meta, read })
    }
}

/// Takes all of a file.
async fn pour(file: &mut Upload<'_>, arriving: &mut Arriving) -> Result<(), Problem> {
    loop {
        match tokio::time::timeout(PIECE_WITHIN, file.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(piece))) if arriving.have().saturating_add(piece.len() as u64) > MAX_BLOB => {
                return Err(too_large());
            }
            Ok(Some(Ok(piece))) => arriving.take(&piece).await.map_err(refused)?,
            Ok(Some(Err(why))) => return Err(broke_off(&why)),
            Err(_) => {
                let why = format!("nothing arrived for {} seconds", PIECE_WITHIN.as_secs());
                return Err(Problem::new(ProblemKind::TooSlow, why));
            }
        }
    }
}

impl Files for Asked {
    fn may_add(&self, project: Option<RecordId>) -> Answer<'_, ()> {
        Box::pin(async move { self.require(self.records.may_add_document(project).await) })
    }

    fn may_replace(&self, document: RecordId) -> Answer<'_, ()> {
        Box::pin(async move { self.require(self.records.may_update(document).await) })
    }

    fn keep<'a>(&'a self, announced: Option<u64>, file: Upload<'a>) -> Answer<'a, (BlobId, u64)> {
        Box::pin(self.take(announced, file))
    }

    fn index(&self, _document: RecordId) -> Answer<'_, serde_json::Value> {
        answer(async {
            Ok(
                json!({ "outcome": "later", "reason": "hubs read it for their search when it has come to them" }),
            )
        })
    }

    fn open_file(&self, document: RecordId) -> Answer<'_, OpenFile> {
        Box::pin(self.open(document))
    }
}
