//! Password hashing: argon2id, bounded, off the threads that serve requests.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use cairn_store::Secret;
use tokio::sync::Semaphore;

use crate::problem::{Problem, ProblemKind};

/// Shortest password, in characters (NIST SP 800-63B section 5.1.1).
pub(crate) const MIN_PASSWORD: usize = 8;
/// Longest password, in bytes.
pub(crate) const MAX_PASSWORD: usize = 256;

/// Memory of one hash in KiB: 19 MiB, two passes, one lane, as OWASP's password storage sheet names for argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Hashes at a time: 38 MiB and two cores at most.
const AT_A_TIME: usize = 2;
/// How many may wait, and for how long, before the hub says that it is busy.
const MAX_WAITING: usize = 64;
const WAIT: Duration = Duration::from_secs(8);

/// Hashes and checks passwords, a few at a time.
pub(crate) struct Passwords {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// What the password of somebody unknown is compared with, so that it takes as long as a known one's.
    decoy: Arc<OnceLock<String>>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            decoy: Arc::default(),
        }
    }
}

impl Passwords {
    /// The hash of a new password, as a PHC string.
    pub(crate) async fn hash(&self, password: String) -> Result<Secret, Problem> {
        self.work(move || hash(password.as_bytes()).map(Secret::new)).await?
    }

    /// Whether `password` is the one behind `known`. Takes as long when nobody is known.
    pub(crate) async fn verify(&self, password: String, known: Option<Secret>) -> Result<bool, Problem> {
        let decoy = Arc::clone(&self.decoy);
        self.work(move || match known {
            Some(known) => verify(password.as_bytes(), known.reveal()),
            None => {
                let decoy = match decoy.get() {
                    Some(decoy) => decoy,
                    None => {
                        let made = hash(b"nobody has this password")?;
                        decoy.get_or_init(|| made)
                    }
                };
                verify(password.as_bytes(), decoy).map(|_| false)
            }
        })
        .await?
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let busy = || Problem::new(ProblemKind::Busy, "too many people sign in at this moment");
        let waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let place = tokio::time::timeout(WAIT, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| busy())?.map_err(|error| Problem::internal(&error))?;
        drop(waiting);
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        })
        .await
        .map_err(|error| Problem::internal(&error))
    }
}

/// Refuses passwords that are too short, too long, or the person's own name.
pub(crate) fn check_new(password: &str, login: &str, name: &str) -> Result<(), Problem> {
    let refuse =
        |detail: String| Err(Problem::new(ProblemKind::Invalid, detail.clone()).field("password", detail));
    if password.chars().count() < MIN_PASSWORD {
        return refuse(format!("a password has at least {MIN_PASSWORD} characters"));
    }
    if password.len() > MAX_PASSWORD {
        return refuse(format!("a password has at most {MAX_PASSWORD} bytes"));
    }
    let lower = password.to_lowercase();
    if lower == login.to_lowercase() || lower == name.to_lowercase() {
        return refuse("the password is the name; choose another one".to_owned());
    }
    Ok(())
}

fn argon2() -> Result<Argon2<'static>, Problem> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| Problem::internal(&error))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &[u8]) -> Result<String, Problem> {
    let hash: PasswordHash = argon2()?.hash_password(password).map_err(|error| Problem::internal(&error))?;
    Ok(hash.to_string())
}

fn verify(password: &[u8], known: &str) -> Result<bool, Problem> {
    let known = PasswordHash::new(known).map_err(|error| Problem::internal(&error))?;
    Ok(argon2()?.verify_password(password, &known).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_hash_only() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.reveal().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(passwords.verify("correct horse".to_owned(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("Correct horse".to_owned(), Some(hash)).await.unwrap());
        assert!(!passwords.verify("nobody has this password".to_owned(), None).await.unwrap());
    }

    #[test]
    fn weak_passwords_are_refused_with_the_reason() {
        assert!(check_new("water12", "ana", "Ana").is_err());
        assert!(check_new("anamaria", "anamaria", "Ana").is_err());
        assert!(check_new(&"x".repeat(MAX_PASSWORD + 1), "ana", "Ana").is_err());
        check_new("wasser für alle", "ana", "Ana").unwrap();
        check_new("خبز وماء", "ana", "Ana").unwrap();
    }

    #[tokio::test]
    async fn a_crowd_is_told_to_wait_instead_of_filling_the_memory() {
        let passwords = Passwords::default();
        let _all = passwords.waiting.acquire_many(u32::try_from(MAX_WAITING).unwrap()).await.unwrap();
        let refused = passwords.verify("x".to_owned(), None).await.unwrap_err();
        assert_eq!(refused.kind, ProblemKind::Busy);
    }
}
