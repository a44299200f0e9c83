//! What time it is (A9). A board without a clock starts in 1970; certificates have dates.
//!
//! The best known time is the latest of what the system says, the floor that was written down (no time before it is
//! believed, and it never goes back) and the gateway's last signed statement carried on by the monotonic clock.
//! Certificates are always checked against it. To ask for the time in the first place, a certificate that is not valid
//! *yet* by a clock that is known to be possibly behind is checked at the beginning of its own validity instead: its
//! chain and its name count as always, and what it carries is a statement signed with a key that was pinned at enrolment
//! and bound to a nonce. Nothing else is ever sent over such a connection.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use cairn_store::{Fact, Store};
use cairn_sync::http::time::{MAX_TRIP_MS, NONCE, hex, signed, unhex};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    time_provider::TimeProvider,
};
use rustls_platform_verifier::Verifier;

use super::{Client, ClientError, random};

/// The system clock is set from here, by whoever may: the supervisor's joint.
pub trait SystemClock: Send + Sync {
    /// The gateway says that it is `unix_ms` now.
    fn learnt(&self, unix_ms: u64);
}

/// The latest time that is known to have passed.
pub struct BestTime {
    known: Mutex<Known>,
    system: fn() -> u64,
}

#[derive(Clone, Copy)]
struct Known {
    floor_ms: u64,
    stated: Option<(u64, Instant)>,
}

impl std::fmt::Debug for BestTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BestTime").field("now_ms", &self.now_ms()).finish()
    }
}

fn system_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl BestTime {
    /// With the floor that the store keeps.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: &Store) -> cairn_store::Result<Arc<Self>> {
        let floor = store.sync_fact::<i64>(Fact::TimeFloor).await?.unwrap_or(0);
        Ok(Arc::new(Self::new(u64::try_from(floor).unwrap_or(0), system_ms)))
    }

    fn new(floor_ms: u64, system: fn() -> u64) -> Self {
        Self { known: Mutex::new(Known { floor_ms, stated: None }), system }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let known = *self.known();
        match known.stated {
            // A signed statement beats a system clock that may be wrong in either direction.
            Some((stated, at)) => stated.saturating_add(millis(at.elapsed())).max(known.floor_ms),
            None => (self.system)().max(known.floor_ms),
        }
    }

    /// Whether the gateway has said what time it is since this process started.
    #[must_use]
    pub fn is_stated(&self) -> bool {
        self.known().stated.is_some()
    }

    fn learn(&self, unix_ms: u64, at: Instant) -> u64 {
        let mut known = self.known();
        known.stated = Some((unix_ms, at));
        known.floor_ms = known.floor_ms.max(unix_ms);
        known.floor_ms
    }
}

impl TimeProvider for BestTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.now_ms())))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Asks the gateway for the time, checks the statement and writes the new floor down.
pub(super) async fn ask(
    client: &Client,
    store: &Store,
    clock: &BestTime,
    key: &str,
) -> Result<u64, ClientError> {
    let nonce: [u8; NONCE] = random()?;
    let asked = Instant::now();
    let statement = client.time(&hex(&nonce)).await?;
    let trip = asked.elapsed();
    let unix_ms = judge(&statement, &nonce, key, trip)?;
    let floor = clock.learn(unix_ms, Instant::now());
    let floor = i64::try_from(floor).unwrap_or(i64::MAX);
    store.raise_time_floor(floor).await.map_err(|error| ClientError::Unreadable(error.to_string()))?;
    Ok(unix_ms)
}

/// Whether a statement is to be believed.
fn judge(
    statement: &cairn_sync::http::TimeStatement,
    nonce: &[u8; NONCE],
    key: &str,
    trip: Duration,
) -> Result<u64, ClientError> {
    let wrong = |what: &str| Err(ClientError::Unreadable(format!("the time statement {what}")));
    if millis(trip) > MAX_TRIP_MS {
        return wrong("took too long to arrive");
    }
    if unhex::<NONCE>(&statement.nonce).as_ref() != Some(nonce) {
        return wrong("answers somebody else");
    }
    let (Some(key), Some(signature)) = (unhex::<32>(key), unhex::<64>(&statement.signature)) else {
        return wrong("has no signature");
    };
    match UnparsedPublicKey::new(&ED25519, key).verify(&signed(nonce, statement.unix_ms), &signature) {
        Ok(()) => Ok(statement.unix_ms),
        Err(_) => wrong("is not signed by the gateway"),
    }
}

fn verifier() -> Result<Verifier, ClientError> {
    Verifier::new(Arc::new(default_provider())).map_err(|error| ClientError::Tls(error.to_string()))
}

fn config(clock: &Arc<BestTime>, verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, ClientError> {
    let builder = ClientConfig::builder_with_details(Arc::new(default_provider()), Arc::clone(clock) as _)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Tls(error.to_string()))?;
    // The name of this step is rustls's; the verifier is the system's own.
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// TLS against the best known time.
pub(super) fn tls(clock: &Arc<BestTime>) -> Result<ClientConfig, ClientError> {
    config(clock, Arc::new(verifier()?))
}

/// TLS for a clock that may be behind.
pub(super) fn tls_for_time(clock: &Arc<BestTime>) -> Result<ClientConfig, ClientError> {
    config(clock, Arc::new(MaybeBehind(verifier()?)))
}

#[derive(Debug)]
struct MaybeBehind(Verifier);

impl ServerCertVerifier for MaybeBehind {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let at = |now| self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match at(now) {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                at(not_before)
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use cairn_sync::http::TimeStatement;

    use super::*;

    #[test]
    fn a_statement_is_believed_only_with_its_nonce_its_signature_and_in_time() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let key = hex(pair.public_key().as_ref());
        let nonce = [3; NONCE];
        let statement = |unix_ms: u64| TimeStatement {
            nonce: hex(&nonce),
            unix_ms,
            signature: hex(pair.sign(&signed(&nonce, unix_ms)).as_ref()),
        };
        let soon = Duration::from_millis(50);
        let good = statement(1_800_000_000_000);
        assert_eq!(judge(&good, &nonce, &key, soon).unwrap(), 1_800_000_000_000);
        assert!(judge(&good, &[4; NONCE], &key, soon).is_err(), "somebody else's nonce");
        assert!(judge(&good, &nonce, &hex(&[9; 32]), soon).is_err(), "another key");
        assert!(judge(&good, &nonce, &key, Duration::from_millis(MAX_TRIP_MS + 1)).is_err(), "late");
        let changed = TimeStatement { unix_ms: 5, ..good };
        assert!(judge(&changed, &nonce, &key, soon).is_err(), "another time");
    }

    #[test]
    fn the_best_time_starts_at_the_floor_and_never_goes_before_it() {
        let clock = BestTime::new(1_000_000, || 0);
        assert_eq!(clock.now_ms(), 1_000_000, "a system clock that says 1970 is not believed");
        clock.learn(2_000_000, Instant::now());
        assert!(clock.now_ms() >= 2_000_000);
        clock.learn(5, Instant::now());
        assert!(clock.now_ms() >= 2_000_000, "an older statement changes nothing");
        let ahead = BestTime::new(0, || 4_000_000_000_000);
        ahead.learn(1_800_000_000_000, Instant::now());
        assert!(ahead.now_ms() < 1_900_000_000_000, "a system clock that is ahead is corrected");
    }
}
