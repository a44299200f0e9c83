//! Keys in files that a passphrase opens, behind an interface that a hardware token can take later.

use std::{collections::HashMap, fs, path::Path};

use age::{scrypt, secrecy::SecretString};
use anyhow::{Context, Result, anyhow, bail};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};

use crate::files;

/// Largest key file, in bytes.
const MAX_KEY_FILE: u64 = 16 * 1024;
/// Highest cost of a passphrase that is tried, as a binary logarithm: 2²² is 4 GiB of memory, more than any file of ours asks.
const MAX_WORK: u8 = 22;

/// Something that signs: a key in a file, or a token that keeps its key to itself.
pub trait Signer {
    /// The public key.
    fn key(&self) -> Key;
    /// Signs these bytes as they are (Ed25519).
    ///
    /// # Errors
    /// Where the token refuses or is gone.
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>>;
}

/// A private key that was read from a file.
#[derive(Debug)]
pub struct FileKey(Ed25519KeyPair);

impl FileKey {
    /// Makes a key and writes it to `path`, encrypted. `work` is the cost of trying a passphrase as a binary logarithm; `None`
    /// for about a second on this computer.
    ///
    /// # Errors
    /// Where there is such a file already, or what the system reports.
    pub fn create(path: &Path, passphrase: &str, work: Option<u8>) -> Result<Self> {
        if path.exists() {
            bail!("{} exists already", path.display());
        }
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| anyhow!("no randomness"))?;
        let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
        if let Some(work) = work {
            recipient.set_work_factor(work);
        }
        let encrypted = age::encrypt(&recipient, document.as_ref()).context("cannot encrypt the key")?;
        files::write(path, &encrypted)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// Reads a key.
    ///
    /// # Errors
    /// Where the passphrase is another one, or the file is no key.
    pub fn open(path: &Path, passphrase: &str) -> Result<Self> {
        let name = path.display();
        let length = fs::metadata(path).with_context(|| format!("cannot read {name}"))?.len();
        if length > MAX_KEY_FILE {
            bail!("{name} is too large for a key");
        }
        let encrypted = fs::read(path).with_context(|| format!("cannot read {name}"))?;
        let mut identity = scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
        identity.set_max_work_factor(MAX_WORK);
        let document = age::decrypt(&identity, &encrypted).with_context(|| format!("cannot open {name}"))?;
        Self::from_pkcs8(&document).with_context(|| format!("cannot open {name}"))
    }

    fn from_pkcs8(document: &[u8]) -> Result<Self> {
        Ok(Self(Ed25519KeyPair::from_pkcs8(document).map_err(|_| anyhow!("it holds no Ed25519 key"))?))
    }
}

impl Signer for FileKey {
    fn key(&self) -> Key {
        let public = self.0.public_key().as_ref().to_vec().into();
        let keyval = Ed25519Key { public, _extra: HashMap::new() };
        Key::Ed25519 { keyval, scheme: Ed25519Scheme::Ed25519, _extra: HashMap::new() }
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(self.0.sign(bytes).as_ref().to_vec())
    }
}
