//! Token buckets: how often one client, account or name may do something. Time is a parameter; the tables
//! are bounded.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use cairn_sync::RecordId;

use crate::problem::{Problem, ProblemKind};

/// Most entries in one table; about 64 bytes each.
const MAX_ENTRIES: usize = 4096;

/// A rate: so many at once, then one each `refill`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    burst: u32,
    refill: Duration,
}

/// Requests of one address. Generous, because a whole village can sit behind one access point.
const ADDRESS: Rate = Rate { burst: 2000, refill: Duration::from_millis(5) };
/// Changes by one account: a browser that was away may send what it queued at once.
const CHANGES: Rate = Rate { burst: 300, refill: Duration::from_millis(50) };
/// Passwords and codes tried from one address: a whole class may sign in at nine o'clock.
const CREDENTIALS: Rate = Rate { burst: 60, refill: Duration::from_secs(2) };
/// Passwords tried from one address for one name. By address, so that nobody can lock another person out.
const GUESSES: Rate = Rate { burst: 10, refill: Duration::from_secs(30) };
/// Questions of one asker; the queue behind it is fair and bounded by itself.
const QUESTIONS: Rate = Rate { burst: 20, refill: Duration::from_secs(3) };

/// Buckets of one rate by key. A full table first loses the buckets that are full again; when none is, newcomers
/// share one bucket, so that an attacker with many addresses slows newcomers down but cannot fill the memory.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    table: HashMap<K, Bucket>,
    shared: Bucket,
    swept_at: Option<Instant>,
}

/// When the bucket will be full again; in the past: it is full.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket(Option<Instant>);

impl Bucket {
    /// Takes one, or says how long to wait. (The generic cell rate algorithm.)
    fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let full_at = self.0.map_or(now, |at| at.max(now));
        let capacity = rate.refill * rate.burst;
        let after = full_at + rate.refill;
        let excess = after.duration_since(now).saturating_sub(capacity);
        if excess > Duration::ZERO {
            return Err(excess);
        }
        self.0 = Some(after);
        Ok(())
    }

    fn is_full(&self, now: Instant) -> bool {
        self.0.is_none_or(|at| at <= now)
    }
}

impl<K: Eq + Hash> Buckets<K> {
    fn new(rate: Rate) -> Self {
        Self { rate, table: HashMap::new(), shared: Bucket::default(), swept_at: None }
    }

    fn take(&mut self, key: K, now: Instant) -> Result<(), Duration> {
        if let Some(bucket) = self.table.get_mut(&key) {
            return bucket.take(self.rate, now);
        }
        if self.table.len() >= MAX_ENTRIES {
            self.sweep(now);
        }
        if self.table.len() >= MAX_ENTRIES {
            return self.shared.take(self.rate, now);
        }
        self.table.entry(key).or_default().take(self.rate, now)
    }

    /// Forgets full buckets; at most once a second, because it looks at all of them.
    fn sweep(&mut self, now: Instant) {
        if self.swept_at.is_some_and(|at| now.duration_since(at) < Duration::from_secs(1)) {
            return;
        }
        self.swept_at = Some(now);
        self.table.retain(|_, bucket| !bucket.is_full(now));
    }
}

/// All rates of the hub.
pub(crate) struct RateLimits {
    addresses: Mutex<Buckets<IpAddr>>,
    changes: Mutex<Buckets<RecordId>>,
    credentials: Mutex<Buckets<IpAddr>>,
    guesses: Mutex<Buckets<(IpAddr, u64)>>,
    questions: Mutex<Buckets<u64>>,
    hasher: RandomState,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            addresses: Mutex::new(Buckets::new(ADDRESS)),
            changes: Mutex::new(Buckets::new(CHANGES)),
            credentials: Mutex::new(Buckets::new(CREDENTIALS)),
            guesses: Mutex::new(Buckets::new(GUESSES)),
            questions: Mutex::new(Buckets::new(QUESTIONS)),
            hasher: RandomState::new(),
        }
    }
}

impl RateLimits {
    /// One request of an address.
    pub(crate) fn request(&self, address: IpAddr) -> Result<(), Problem> {
        take(&self.addresses, address, "too many requests come from your address")
    }

    /// One change by a person.
    pub(crate) fn change(&self, person: RecordId) -> Result<(), Problem> {
        take(&self.changes, person, "too many changes come from your account")
    }

    /// One try of an invitation or claim code.
    pub(crate) fn code(&self, address: IpAddr) -> Result<(), Problem> {
        take(&self.credentials, address, "too many codes were tried from your address")
    }

    /// One try of a password.
    pub(crate) fn password(&self, address: IpAddr, login: &str) -> Result<(), Problem> {
        take(&self.credentials, address, "too many people sign in from your address at once")?;
        let name = self.hasher.hash_one(login);
        take(&self.guesses, (address, name), "too many passwords were tried for this name from your address")
    }

    /// One question; `asker` is the fairness key.
    pub(crate) fn question(&self, asker: u64) -> Result<(), Problem> {
        take(&self.questions, asker, "you asked many questions in a short time")
    }

    /// A number that stays the same for one asker while the hub runs and says nothing about who it is.
    pub(crate) fn asker(&self, person: Option<RecordId>, address: IpAddr) -> u64 {
        match person {
            Some(person) => self.hasher.hash_one(person),
            None => self.hasher.hash_one(address),
        }
    }
}

fn take<K: Eq + Hash>(buckets: &Mutex<Buckets<K>>, key: K, detail: &str) -> Result<(), Problem> {
    let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
    buckets.take(key, Instant::now()).map_err(|wait| {
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        Problem::new(ProblemKind::TooManyRequests, detail).retry_after(seconds)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, refill: Duration::from_secs(10) };

    #[test]
    fn a_burst_passes_then_one_each_refill() {
        let mut buckets = Buckets::new(RATE);
        let start = Instant::now();
        for _ in 0..3 {
            buckets.take("a", start).unwrap();
        }
        assert_eq!(buckets.take("a", start).unwrap_err(), Duration::from_secs(10));
        buckets.take("b", start).unwrap();
        buckets.take("a", start + Duration::from_secs(10)).unwrap();
        assert!(buckets.take("a", start + Duration::from_secs(11)).is_err());
        for _ in 0..3 {
            buckets.take("a", start + Duration::from_secs(100)).unwrap();
        }
    }

    #[test]
    fn a_million_strangers_do_not_fill_the_memory_nor_shut_out_those_who_were_here() {
        let mut buckets = Buckets::new(RATE);
        let start = Instant::now();
        buckets.take(u32::MAX, start).unwrap();
        let refused = (0..100_000_u32).filter(|stranger| buckets.take(*stranger, start).is_err()).count();
        assert!(buckets.table.len() <= MAX_ENTRIES);
        assert!(refused > 90_000, "newcomers share one bucket once the table is full");
        buckets.take(u32::MAX, start).unwrap();
        // Once the strangers' buckets are full again, their places are free for others.
        buckets.take(u32::MAX - 1, start + Duration::from_secs(60)).unwrap();
        assert!(buckets.table.len() < 10);
    }
}
