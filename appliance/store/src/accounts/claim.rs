//! The first run: whoever holds the device can read its claim code and becomes the first keeper.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use cairn_sync::Role;
use rusqlite::Connection;

use super::{NewAccount, SetupState, code, people};
use crate::{
    db::writer::Lane,
    durable::Disk,
    error::{Result, StoreError},
    record::Record,
    schema,
    settings::{Settings, read_settings, write_settings},
    store::Store,
};

/// Characters of a claim code: 40 bits.
pub(crate) const CODE_LEN: usize = 8;
/// Codes that may be tried before the hub has to be started again by whoever holds it.
pub(crate) const MAX_TRIES: u32 = 20;
/// Shortest claim code that may be preset.
const MIN_PRESET: usize = 6;

/// Keeps count of wrong claim codes.
#[derive(Debug)]
pub(crate) struct ClaimGuard {
    file: PathBuf,
    tries: AtomicU32,
}

impl ClaimGuard {
    /// Puts the claim code where only its owner reads it, unless the hub is claimed. A code from an earlier start
    /// stays.
    pub(crate) fn prepare(dir: &Path, connection: &Connection, preset: Option<&str>) -> Result<Self> {
        let guard = Self { file: dir.join("claim"), tries: AtomicU32::new(0) };
        let disk = Disk::new();
        if is_claimed(connection)? {
            if guard.file.exists() {
                disk.remove(&guard.file)?;
            }
        } else if let Some(preset) = preset {
            let preset = code::shown(preset);
            if preset.len() < MIN_PRESET {
                return Err(StoreError::invalid(format!(
                    "A claim code has at least {MIN_PRESET} letters and digits."
                )));
            }
            disk.write(&guard.file, preset.as_bytes(), 0o600)?;
        } else if guard.code().is_none() {
            disk.write(&guard.file, code::readable(CODE_LEN)?.as_bytes(), 0o600)?;
        }
        Ok(guard)
    }

    fn code(&self) -> Option<String> {
        let code = fs::read_to_string(&self.file).ok()?;
        let code = code::shown(&code);
        (code.len() >= MIN_PRESET).then_some(code)
    }

    fn tries_left(&self) -> u32 {
        MAX_TRIES.saturating_sub(self.tries.load(Ordering::SeqCst))
    }
}

pub(crate) fn is_claimed(connection: &Connection) -> Result<bool> {
    Ok(schema::fact::<i64>(connection, "claimed")?.is_some())
}

impl Store {
    /// Whether somebody keeps this hub yet.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn setup_state(&self) -> Result<SetupState> {
        let tries_left = self.inner.claim.tries_left();
        self.ask(move |connection| Ok(SetupState { claimed: is_claimed(connection)?, tries_left })).await
    }

    /// The claim code, for the console of the device itself; `None` once the hub is claimed.
    #[must_use]
    pub fn claim_code(&self) -> Option<String> {
        self.inner.claim.code()
    }

    /// Makes the first keeper and names the hub.
    ///
    /// # Errors
    /// [`StoreError::CodeRefused`] for a wrong code, after too many tries, and once the hub is claimed.
    pub async fn claim(
        &self,
        code: &str,
        account: NewAccount,
        hub_name: &str,
        language: &str,
    ) -> Result<Record> {
        let guard = &self.inner.claim;
        if self.setup_state().await?.claimed {
            return Err(StoreError::CodeRefused("This hub is already set up."));
        }
        // Counted before it is compared, so that tries sent at once cannot get past the limit.
        if guard.tries.fetch_add(1, Ordering::SeqCst) >= MAX_TRIES {
            guard.tries.store(MAX_TRIES, Ordering::SeqCst);
            return Err(StoreError::CodeRefused(
                "Too many wrong codes. Start the hub again, then try once more.",
            ));
        }
        let expected =
            guard.code().ok_or(StoreError::CodeRefused("The hub has no claim code. Start it again."))?;
        if !code::same(&code::as_typed(code), &code::as_typed(&expected)) {
            return Err(StoreError::CodeRefused("This is not the code that the hub shows."));
        }
        let (hub_name, language) = (hub_name.trim().to_owned(), language.to_owned());
        let keeper = self
            .write(Lane::Person, move |desk| {
                if is_claimed(desk.connection)? {
                    return Err(StoreError::CodeRefused("This hub is already set up."));
                }
                let settings = Settings { hub_name, language, ..read_settings(desk.connection)? };
                settings.check()?;
                let keeper = people::open_account(desk, account, Role::Keeper)?;
                write_settings(desk.connection, &settings)?;
                schema::set_fact(desk.connection, "claimed", desk.life.wall_ms())?;
                Ok(keeper)
            })
            .await;
        match &keeper {
            Ok(_) => {
                if let Err(error) = Disk::new().remove(&guard.file) {
                    tracing::warn!(%error, "the used claim code stays on the disk until the next start");
                }
            }
            // The code was right; the rest of the form was not.
            Err(_) => drop(guard.tries.fetch_sub(1, Ordering::SeqCst)),
        }
        keeper
    }
}
