//! How much at once: rounds in flight, streams held, requests of one party.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Most parties whose rate is remembered; beyond that the fullest buckets are forgotten, which only makes us kinder.
const PARTIES: usize = 100_000;

/// Limits of one instance.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Rounds, snapshots and other requests that use the database at once.
    pub in_flight: usize,
    /// Held streams.
    pub streams: usize,
    /// Files that clients bring at once. Each keeps a place in `in_flight` as long as the client's network takes.
    pub uploads: usize,
    /// Requests of one party per second, in the long run.
    pub per_second: f64,
    /// Requests of one party at once.
    pub burst: f64,
    /// Calls of the record API with one token per second, in the long run.
    pub calls_per_second: f64,
    /// Calls with one token at once: a client that was away may send what it queued, as on a hub.
    pub calls_burst: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 128,
            streams: 20_000,
            uploads: 16,
            per_second: 5.0,
            burst: 60.0,
            calls_per_second: 20.0,
            calls_burst: 300.0,
        }
    }
}

/// Too much: come back after so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch(pub u64);

/// Lets in what can be served.
#[derive(Debug, Clone)]
pub struct Gate {
    limits: Limits,
    in_flight: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    buckets: Arc<Mutex<HashMap<Uuid, Bucket>>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
    /// Tokens that come back per second, and the most there can be: parties and clients' tokens have their own.
    rate: f64,
    full: f64,
}

impl Gate {
    /// A gate with these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            in_flight: Arc::new(Semaphore::new(limits.in_flight)),
            streams: Arc::new(Semaphore::new(limits.streams)),
            uploads: Arc::new(Semaphore::new(limits.uploads)),
            buckets: Arc::default(),
        }
    }

    /// A place among what uses the database; nobody waits for one here, hubs wait better at home.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, TooMuch> {
        Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| TooMuch(5))
    }

    /// A place among the held streams.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn hold(&self) -> Result<OwnedSemaphorePermit, TooMuch> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| TooMuch(60))
    }

    /// A place among the files that clients bring.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn upload(&self) -> Result<OwnedSemaphorePermit, TooMuch> {
        Arc::clone(&self.uploads).try_acquire_owned().map_err(|_| TooMuch(10))
    }

    /// Counts a request of a party.
    ///
    /// # Errors
    /// [`TooMuch`] where it asks faster than it may.
    pub fn count(&self, party: Uuid, now: Instant) -> Result<(), TooMuch> {
        self.take(party, now, self.limits.per_second, self.limits.burst)
    }

    /// Counts a call of the record API with a token.
    ///
    /// # Errors
    /// As [`Gate::count`].
    pub fn count_call(&self, token: Uuid, now: Instant) -> Result<(), TooMuch> {
        self.take(token, now, self.limits.calls_per_second, self.limits.calls_burst)
    }

    fn take(&self, party: Uuid, now: Instant, rate: f64, full: f64) -> Result<(), TooMuch> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= PARTIES && !buckets.contains_key(&party) {
            buckets.retain(|_, bucket| bucket.tokens_at(now) < bucket.full);
            if buckets.len() >= PARTIES {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(party).or_insert(Bucket { tokens: full, at: now, rate, full });
        bucket.tokens = bucket.tokens_at(now);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            let wait = (1.0 - bucket.tokens) / rate;
            return Err(TooMuch(wait.ceil().clamp(1.0, 3_600.0) as u64));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// Streams that are held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.limits.streams.saturating_sub(self.streams.available_permits())
    }

    /// Requests that use the database now.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.limits.in_flight.saturating_sub(self.in_flight.available_permits())
    }
}

impl Bucket {
    fn tokens_at(self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        passed.mul_add(self.rate, self.tokens).min(self.full)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_party_that_asks_too_fast_is_told_when_to_come_back() {
        let gate = Gate::new(Limits { per_second: 0.5, burst: 2.0, ..Limits::default() });
        let (one, other, now) = (Uuid::from_u128(1), Uuid::from_u128(2), Instant::now());
        assert_eq!(gate.count(one, now), Ok(()));
        assert_eq!(gate.count(one, now), Ok(()));
        assert_eq!(gate.count(one, now), Err(TooMuch(2)));
        assert_eq!(gate.count(other, now), Ok(()));
        assert_eq!(gate.count(one, now + Duration::from_secs(2)), Ok(()));
    }

    #[test]
    fn places_come_back() {
        let gate = Gate::new(Limits { in_flight: 1, ..Limits::default() });
        let place = gate.enter().unwrap();
        assert_eq!(gate.enter().unwrap_err(), TooMuch(5));
        assert_eq!(gate.busy(), 1);
        drop(place);
        assert!(gate.enter().is_ok());
    }

    #[test]
    fn who_asked_long_ago_is_forgotten_before_who_asks_too_much() {
        let gate = Gate::new(Limits { calls_burst: 300.0, burst: 60.0, ..Limits::default() });
        let now = Instant::now();
        for _ in 0..PARTIES - 1 {
            gate.count(Uuid::new_v4(), now).unwrap();
        }
        let (later, flooding) = (now + Duration::from_secs(60), Uuid::new_v4());
        while gate.count_call(flooding, later).is_ok() {}
        gate.count_call(Uuid::new_v4(), later).unwrap();
        assert!(gate.count_call(flooding, later).is_err(), "making room does not let it in again");
    }
}
