//! What changed, told across instances: PostgreSQL's `LISTEN` and `NOTIFY` between them, a watch per community within.
//!
//! Notices are hints. They are sent after the commit and gathered, because a notification inside a transaction makes all
//! commits of the database wait for each other; one that gets lost is made up for by [`REFRESH`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cairn_sync::CommunityId;
use sqlx_postgres::PgListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    db::{Db, DbError, sql},
    store::newer,
};

/// How often the versions of communities that somebody listens to are read, whatever was notified.
pub const REFRESH: Duration = Duration::from_secs(30);
/// How long notices are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// Most notices that wait; further ones are dropped, and made up for by the refresh.
const WAITING: usize = 4_096;
/// PostgreSQL's limit is 8000 bytes.
const MAX_PAYLOAD: usize = 7_500;
const CHANNEL: &str = "cairn";

/// What is known of a community.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its version.
    pub version: u64,
    /// Counts comings and goings of hubs.
    pub comings: u64,
    /// Counts files that somebody began to wait for, and those that came.
    pub files: u64,
}

#[derive(Debug, Clone, Copy)]
enum Notice {
    Version(CommunityId, u64),
    Coming(CommunityId),
    Files(CommunityId),
}

/// The watches of one instance.
#[derive(Debug, Clone)]
pub struct Live {
    watches: Arc<Mutex<HashMap<CommunityId, watch::Sender<Seen>>>>,
    notices: mpsc::Sender<Notice>,
}

impl Live {
    /// Starts listening and telling, until `stop`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be listened to.
    pub async fn start(db: &Db, stop: &CancellationToken) -> Result<Self, DbError> {
        let (notices, waiting) = mpsc::channel(WAITING);
        let live = Self { watches: Arc::default(), notices };
        let mut listener = PgListener::connect_with(db.pool()).await?;
        listener.listen(CHANNEL).await?;
        tokio::spawn(stop.clone().run_until_cancelled_owned(tell(db.clone(), waiting)));
        tokio::spawn(stop.clone().run_until_cancelled_owned(live.clone().hear(listener, db.clone())));
        tokio::spawn(stop.clone().run_until_cancelled_owned(live.clone().refresh(db.clone())));
        Ok(live)
    }

    /// The community is at `version` now.
    pub fn newer(&self, community: CommunityId, version: u64) {
        self.offer(Notice::Version(community, version));
    }

    /// A hub of the community came or went.
    pub fn coming(&self, community: CommunityId) {
        self.offer(Notice::Coming(community));
    }

    /// Somebody of the community waits for a file, or one that was waited for is here.
    pub fn files(&self, community: CommunityId) {
        self.offer(Notice::Files(community));
    }

    fn offer(&self, notice: Notice) {
        if self.notices.try_send(notice).is_err() {
            tracing::debug!("a notice was dropped; the refresh makes up for it");
        }
    }

    /// Watches a community that is at `version` as far as the caller knows.
    #[must_use]
    pub fn watch(&self, community: CommunityId, version: u64) -> watch::Receiver<Seen> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = watches.entry(community).or_default();
        raise(sender, version);
        sender.subscribe()
    }

    fn take(&self, community: CommunityId, change: impl FnOnce(&watch::Sender<Seen>)) {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = watches.get(&community) {
            change(sender);
        }
    }

    async fn hear(self, mut listener: PgListener, db: Db) {
        loop {
            match listener.try_recv().await {
                Ok(Some(notification)) => {
                    for line in notification.payload().lines() {
                        self.heard(line);
                    }
                }
                // The connection was lost and is made anew by the next call: what was told meanwhile is read.
                Ok(None) => self.refresh_once(&db).await,
                Err(error) => {
                    tracing::warn!(%error, "cannot listen to the database");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn heard(&self, line: &str) {
        let mut parts = line.split(' ');
        let community = parts.next().and_then(|id| id.parse::<CommunityId>().ok());
        let (Some(community), Some(what)) = (community, parts.next()) else { return };
        match what.parse::<u64>() {
            Ok(version) => self.take(community, |sender| raise(sender, version)),
            Err(_) if what == "files" => {
                self.take(community, |sender| sender.send_modify(|seen| seen.files += 1))
            }
            Err(_) => self.take(community, |sender| sender.send_modify(|seen| seen.comings += 1)),
        }
    }

    async fn refresh(self, db: Db) {
        loop {
            tokio::time::sleep(REFRESH).await;
            self.refresh_once(&db).await;
        }
    }

    async fn refresh_once(&self, db: &Db) {
        let listened: Vec<CommunityId> = {
            let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
            watches.retain(|_, sender| sender.receiver_count() > 0);
            watches.keys().copied().collect()
        };
        for community in listened {
            let version = async {
                let mut tx = db.scoped(community).await.ok()?;
                newer::version(&mut tx, community).await.ok()
            };
            if let Some(version) = version.await {
                self.take(community, |sender| raise(sender, version));
            }
        }
    }
}

fn raise(sender: &watch::Sender<Seen>, version: u64) {
    sender.send_if_modified(|seen| {
        let newer = version > seen.version;
        seen.version = seen.version.max(version);
        newer
    });
}

/// Gathers notices and tells all instances, this one included.
async fn tell(db: Db, mut waiting: mpsc::Receiver<Notice>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, WAITING).await > 0 {
        tokio::time::sleep(GATHER).await;
        while batch.len() < WAITING
            && let Ok(notice) = waiting.try_recv()
        {
            batch.push(notice);
        }
        for payload in payloads(batch.drain(..)) {
            if let Err(error) = sql("SELECT pg_notify('cairn', $1)").bind(payload).execute(db.pool()).await {
                tracing::warn!(%error, "cannot tell other instances");
            }
        }
    }
}

fn payloads(notices: impl Iterator<Item = Notice>) -> Vec<String> {
    let mut newest: BTreeMap<CommunityId, (u64, bool, bool)> = BTreeMap::new();
    for notice in notices {
        match notice {
            Notice::Version(community, version) => {
                let entry = newest.entry(community).or_default();
                entry.0 = entry.0.max(version);
            }
            Notice::Coming(community) => newest.entry(community).or_default().1 = true,
            Notice::Files(community) => newest.entry(community).or_default().2 = true,
        }
    }
    let mut payloads = vec![String::new()];
    for (community, (version, coming, files)) in newest {
        let mut lines = String::new();
        if version > 0 {
            lines.push_str(&format!("{community} {version}\n"));
        }
        if coming {
            lines.push_str(&format!("{community} coming\n"));
        }
        if files {
            lines.push_str(&format!("{community} files\n"));
        }
        match payloads.last_mut() {
            Some(last) if last.len() + lines.len() <= MAX_PAYLOAD => last.push_str(&lines),
            _ => payloads.push(lines),
        }
    }
    payloads.retain(|payload| !payload.is_empty());
    payloads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_gathered_and_split_at_the_databases_limit() {
        let community = CommunityId::new();
        let one = payloads((1..=9).map(|version| Notice::Version(community, version)));
        assert_eq!(one, [format!("{community} 9\n")]);
        let all = [Notice::Files(community), Notice::Coming(community), Notice::Files(community)];
        assert_eq!(payloads(all.into_iter()), [format!("{community} coming\n{community} files\n")]);
        let many = payloads((0..1_000).map(|_| Notice::Version(CommunityId::new(), 1)));
        assert!(many.len() > 1);
        assert!(many.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
        assert_eq!(many.iter().map(|payload| payload.lines().count()).sum::<usize>(), 1_000);
    }
}
