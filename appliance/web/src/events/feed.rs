//! The last changes, numbered, in a ring. Listeners read from the ring at their own pace: a slow one costs
//! nothing and, when it falls too far behind, is told so.

use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use cairn_store::RecordChanged;
use tokio::sync::{broadcast, watch};

/// Changes kept for listeners that come back; about 100 bytes each.
const RING: usize = 2048;

/// The changes since the hub started.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Inner>);

struct Inner {
    ring: Mutex<Ring>,
    /// The number of the newest change; a change of it wakes listeners.
    newest: watch::Sender<u64>,
    /// Tells the numbers of this run from those of an earlier one.
    run: u64,
}

#[derive(Default)]
struct Ring {
    /// The newest change's number is `lost + changes.len()`.
    changes: VecDeque<RecordChanged>,
    /// How many changes came before the oldest one kept.
    lost: u64,
}

/// A place in the feed: everything up to it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FeedPosition {
    run: u64,
    number: u64,
}

impl fmt::Display for FeedPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.run, self.number)
    }
}

impl FromStr for FeedPosition {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (run, number) = text.split_once('-').unwrap_or((text, ""));
        Ok(Self { run: u64::from_str_radix(run, 16)?, number: number.parse()? })
    }
}

/// What a listener gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// The changes after its position, oldest first, each with the position after it.
    Changes(Vec<(FeedPosition, RecordChanged)>),
    /// Its position is of another run or too long ago: it has to read anew, and goes on from here.
    Missed(FeedPosition),
}

impl Feed {
    /// Follows the store's changes until the store is closed.
    pub(crate) fn follow(mut changes: broadcast::Receiver<RecordChanged>) -> Self {
        let mut run = [0; 8];
        if getrandom::fill(&mut run).is_err() {
            tracing::warn!(
                "the system has no random numbers; returning listeners may be told nothing was missed"
            );
        }
        let inner =
            Inner { ring: Mutex::default(), newest: watch::Sender::new(0), run: u64::from_le_bytes(run) };
        let feed = Self(Arc::new(inner));
        // The task holds the ring weakly: it ends with the hub or with the store, whichever is first.
        let ring = Arc::downgrade(&feed.0);
        tokio::spawn(async move {
            loop {
                let change = changes.recv().await;
                let Some(inner) = ring.upgrade() else { return };
                match change {
                    Ok(change) => inner.push(change),
                    Err(broadcast::error::RecvError::Lagged(lost)) => inner.lose(lost),
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        feed
    }

    /// The position after the newest change.
    pub(crate) fn now(&self) -> FeedPosition {
        FeedPosition { run: self.0.run, number: *self.0.newest.borrow() }
    }

    /// Wakes when there is something newer.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.0.newest.subscribe()
    }

    /// What came after `position`.
    pub(crate) fn since(&self, position: FeedPosition) -> Since {
        let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = ring.lost + ring.changes.len() as u64;
        if position.run != self.0.run || position.number < ring.lost || position.number > newest {
            return Since::Missed(FeedPosition { run: self.0.run, number: newest });
        }
        let seen = usize::try_from(position.number - ring.lost).unwrap_or(usize::MAX);
        let numbers = position.number + 1..;
        let changes = ring.changes.iter().skip(seen).cloned();
        Since::Changes(numbers.map(|number| FeedPosition { run: self.0.run, number }).zip(changes).collect())
    }
}

impl Inner {
    fn push(&self, change: RecordChanged) {
        let newest = {
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            if ring.changes.len() == RING {
                ring.changes.pop_front();
                ring.lost += 1;
            }
            ring.changes.push_back(change);
            ring.lost + ring.changes.len() as u64
        };
        self.newest.send_replace(newest);
    }

    /// The store told more changes than this task could take: every listener has missed something.
    fn lose(&self, count: u64) {
        let newest = {
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.lost += ring.changes.len() as u64 + count;
            ring.changes.clear();
            ring.lost
        };
        self.newest.send_replace(newest);
    }
}

#[cfg(test)]
mod tests {
    use cairn_sync::{Kind, RecordId};

    use super::*;

    fn change(version: u64) -> RecordChanged {
        RecordChanged {
            id: RecordId::new(),
            kind: Kind::Notice,
            project: None,
            version,
            by: None,
            deleted: false,
        }
    }

    fn versions(since: Since) -> Option<Vec<u64>> {
        match since {
            Since::Changes(changes) => Some(changes.into_iter().map(|(_, change)| change.version).collect()),
            Since::Missed(_) => None,
        }
    }

    #[tokio::test]
    async fn a_listener_that_comes_back_gets_what_it_missed() {
        let (sender, receiver) = broadcast::channel(16);
        let feed = Feed::follow(receiver);
        let start = feed.now();
        let mut news = feed.news();
        for version in 1..=3 {
            sender.send(change(version)).unwrap();
        }
        news.wait_for(|newest| *newest == 3).await.unwrap();
        assert_eq!(versions(feed.since(start)), Some(vec![1, 2, 3]));
        let Since::Changes(changes) = feed.since(start) else { panic!() };
        let second: FeedPosition = changes[1].0.to_string().parse().unwrap();
        assert_eq!(versions(feed.since(second)), Some(vec![3]));
        assert_eq!(versions(feed.since(feed.now())), Some(vec![]));
    }

    #[tokio::test]
    async fn one_that_was_away_too_long_or_knew_another_run_is_told_so() {
        let (sender, receiver) = broadcast::channel(4 * RING);
        let feed = Feed::follow(receiver);
        let start = feed.now();
        let mut news = feed.news();
        for version in 0..=RING as u64 {
            sender.send(change(version)).unwrap();
        }
        news.wait_for(|newest| *newest > RING as u64).await.unwrap();
        assert_eq!(feed.since(start), Since::Missed(feed.now()));
        let other = FeedPosition { run: start.run ^ 1, number: 1 };
        assert_eq!(feed.since(other), Since::Missed(feed.now()));
        let future = FeedPosition { number: 9_999_999, ..start };
        assert_eq!(feed.since(future), Since::Missed(feed.now()));
    }

    #[test]
    fn positions_that_are_none_are_refused() {
        for text in ["", "-", "1", "zz-1", "1-", "1-2-3", "-1", "1--2"] {
            assert!(text.parse::<FeedPosition>().is_err(), "{text}");
        }
    }
}
