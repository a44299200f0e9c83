//! The hub's settings: validated, bounded, and with secrets that no print-out shows.

use std::fmt;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::{
    db::writer::Lane,
    error::{Result, StoreError},
    records::access::Eyes,
    schema,
    store::Store,
    viewer::Viewer,
};

/// Longest hub name, in bytes.
pub const MAX_HUB_NAME: usize = 80;
/// Most entries in a list of hosts or origins.
pub const MAX_LIST: usize = 32;
/// Longest address, host, origin or model name, in bytes.
pub const MAX_TEXT: usize = 300;
/// Longest key for a cloud model, in bytes.
pub const MAX_SECRET: usize = 4096;
/// Shortest and longest life of a session, in hours.
pub const SESSION_HOURS: std::ops::RangeInclusive<u32> = 1..=24 * 90;
/// Largest file taken by an upload that a keeper may set, in bytes.
pub const MAX_UPLOAD_BYTES: u64 = 64 << 30;

/// Where questions are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudMode {
    /// On this device only: no question leaves the hub.
    #[default]
    Local,
    /// By the cloud endpoint only.
    Cloud,
    /// By the cloud endpoint when it can be reached, else here.
    Auto,
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being printed.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "(none)" } else { "(hidden)" })
    }
}

/// An OpenAI-compatible endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudEndpoint {
    /// Its base address, `https://…`.
    pub url: String,
    /// The model to ask.
    pub model: String,
    /// The key it takes; may be empty.
    #[serde(default)]
    pub key: Secret,
}

/// What a keeper decides about the hub.
///
/// Unknown names are kept out and missing ones take their default, so that a release can add a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The name people see.
    pub hub_name: String,
    /// Language of the pages for whoever has not chosen one, BCP 47.
    pub language: String,
    /// Whether anyone may sign up without an invitation.
    pub open_sign_up: bool,
    /// How long a session lasts, in hours; see [`SESSION_HOURS`].
    pub session_hours: u32,
    /// Where questions are answered.
    pub inference: CloudMode,
    /// The cloud endpoint, where there is one.
    pub cloud: Option<CloudEndpoint>,
    /// Origins of pages hosted elsewhere that may use the API, `https://host[:port]`.
    pub allowed_origins: Vec<String>,
    /// Further host names by which the hub may be called.
    pub allowed_hosts: Vec<String>,
    /// Largest file that an upload may bring, in bytes.
    pub max_upload_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hub_name: "Cairn".to_owned(),
            language: "en".to_owned(),
            open_sign_up: false,
            session_hours: 24,
            inference: CloudMode::Local,
            cloud: None,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            max_upload_bytes: 2 << 30,
        }
    }
}

impl Settings {
    /// Checks every limit and every form.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] says in words what is wrong.
    pub fn check(&self) -> Result<()> {
        line("The hub's name", &self.hub_name, MAX_HUB_NAME)?;
        language_tag(&self.language)?;
        if !SESSION_HOURS.contains(&self.session_hours) {
            return invalid(format!(
                "A session lasts between {} and {} hours.",
                SESSION_HOURS.start(),
                SESSION_HOURS.end()
            ));
        }
        if self.max_upload_bytes == 0 || self.max_upload_bytes > MAX_UPLOAD_BYTES {
            return invalid(format!("An upload may be between 1 and {MAX_UPLOAD_BYTES} bytes large."));
        }
        for (what, list) in [("origins", &self.allowed_origins), ("host names", &self.allowed_hosts)] {
            if list.len() > MAX_LIST {
                return invalid(format!("There can be at most {MAX_LIST} {what}."));
            }
        }
        self.allowed_origins.iter().try_for_each(|text| origin(text))?;
        self.allowed_hosts.iter().try_for_each(|text| host(text))?;
        match &self.cloud {
            Some(endpoint) => endpoint.check(),
            None if self.inference == CloudMode::Cloud => {
                invalid("Questions can go to the cloud only when a cloud endpoint is set.")
            }
            None => Ok(()),
        }
    }
}

impl CloudEndpoint {
    fn check(&self) -> Result<()> {
        line("The cloud endpoint's model", &self.model, MAX_TEXT)?;
        line("The cloud endpoint's address", &self.url, MAX_TEXT)?;
        let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        let on_this_device = local.iter().any(|start| {
            self.url.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        });
        let https =
            self.url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
        if !https && !on_this_device {
            return invalid("The cloud endpoint's address must start with https://.");
        }
        if self.url.contains(char::is_whitespace) || self.url.contains('@') {
            return invalid("The cloud endpoint's address holds a character that it must not.");
        }
        let key = self.key.reveal();
        if key.len() > MAX_SECRET || key.chars().any(|c| !c.is_ascii_graphic()) {
            return invalid(
                "The cloud endpoint's key must be at most 4096 printable characters without spaces.",
            );
        }
        Ok(())
    }
}

/// The name of the row that holds them.
const FACT: &str = "settings";

pub(crate) fn read_settings(connection: &Connection) -> Result<Settings> {
    match schema::fact::<String>(connection, FACT)? {
        Some(text) => serde_json::from_str(&text)
            .map_err(|error| StoreError::Corrupt(format!("settings that cannot be read: {error}"))),
        None => Ok(Settings::default()),
    }
}

pub(crate) fn write_settings(connection: &Connection, settings: &Settings) -> Result<()> {
    let text = serde_json::to_string(settings).map_err(|error| StoreError::invalid(error.to_string()))?;
    schema::set_fact(connection, FACT, text)
}

impl Store {
    /// The settings, secrets included: what is shown of them is the caller's care.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn settings(&self) -> Result<Settings> {
        self.ask(read_settings).await
    }

    /// Sets them all.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] unless `viewer` is a keeper; [`StoreError::Invalid`] says what is wrong.
    pub async fn set_settings(&self, viewer: &Viewer, settings: Settings) -> Result<()> {
        settings.check()?;
        let viewer = viewer.clone();
        self.write(Lane::Person, move |desk| {
            if !Eyes::of(desk.connection, &viewer)?.is_keeper() {
                return Err(StoreError::Forbidden { action: "change", what: "hub's settings" });
            }
            write_settings(desk.connection, &settings)
        })
        .await
    }
}

fn invalid<T>(text: impl Into<String>) -> Result<T> {
    Err(StoreError::invalid(text))
}

fn line(what: &str, text: &str, limit: usize) -> Result<()> {
    if text.trim().is_empty() {
        return invalid(format!("{what} is needed."));
    }
    if text.len() > limit {
        return invalid(format!("{what} is longer than {limit} bytes."));
    }
    if text.chars().any(char::is_control) {
        return invalid(format!("{what} holds characters that cannot be shown."));
    }
    Ok(())
}

/// A language tag as BCP 47 shapes it: subtags of one to eight letters or digits, joined by "-".
pub(crate) fn language_tag(text: &str) -> Result<()> {
    let subtag =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let first = text.split('-').next().unwrap_or_default();
    let shaped = text.len() <= 35 && text.split('-').all(subtag) && first.len() >= 2;
    if shaped && first.bytes().all(|b| b.is_ascii_alphabetic()) {
        Ok(())
    } else {
        invalid(format!("{:?} is not a language tag such as \"en\" or \"pt-BR\".", shown(text)))
    }
}

fn host(text: &str) -> Result<()> {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let name = text.split_once(':').map_or(text, |(name, _)| name);
    let port = text.split_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
    if text.len() <= 253 && name.split('.').all(label) && port {
        Ok(())
    } else {
        invalid(format!("{:?} is not a host name such as \"hub.example.org\".", shown(text)))
    }
}

fn origin(text: &str) -> Result<()> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if host(rest).is_ok() => Ok(()),
        _ => invalid(format!("{:?} is not an origin such as \"https://pages.example.org\".", shown(text))),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Settings)) -> Result<()> {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.check()
    }

    #[test]
    fn the_defaults_are_valid_and_keep_questions_here() {
        Settings::default().check().unwrap();
        assert_eq!(Settings::default().inference, CloudMode::Local);
        assert_eq!(Settings::default().session_hours, 24);
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        let endpoint = |url: &str, key: &str| {
            Some(CloudEndpoint { url: url.into(), model: "m".into(), key: Secret::new(key) })
        };
        assert!(with(|s| s.hub_name = " ".into()).is_err());
        assert!(with(|s| s.hub_name = "x".repeat(MAX_HUB_NAME + 1)).is_err());
        assert!(with(|s| s.language = "not a tag".into()).is_err());
        assert!(with(|s| s.session_hours = 0).is_err());
        assert!(with(|s| s.session_hours = 24 * 91).is_err());
        assert!(with(|s| s.allowed_origins = vec!["*".into()]).is_err());
        assert!(with(|s| s.allowed_origins = vec!["https://a.example/path".into()]).is_err());
        assert!(with(|s| s.allowed_hosts = vec!["h:0".into()]).is_err());
        assert!(with(|s| s.allowed_hosts = vec!["a".into(); MAX_LIST + 1]).is_err());
        assert!(with(|s| s.inference = CloudMode::Cloud).is_err());
        assert!(with(|s| s.cloud = endpoint("http://elsewhere.example", "")).is_err());
        assert!(with(|s| s.cloud = endpoint("http://localhost.evil.example", "")).is_err());
        assert!(with(|s| s.cloud = endpoint("https://a.example", "line\nbreak")).is_err());
        assert!(with(|s| s.max_upload_bytes = 0).is_err());
        with(|s| {
            s.cloud = endpoint("https://a.example/v1", "sk-1");
            s.allowed_origins = vec!["https://pages.example.org:8443".into()];
            s.language = "pt-BR".into();
        })
        .unwrap();
        with(|s| s.cloud = endpoint("http://127.0.0.1:8080/v1", "")).unwrap();
    }

    #[test]
    fn a_secret_is_never_printed() {
        let key = Secret::new("sk-123");
        let endpoint = CloudEndpoint { url: "https://a".into(), model: "m".into(), key };
        let shown = format!("{:?}", Settings { cloud: Some(endpoint), ..Settings::default() });
        assert!(!shown.contains("sk-123") && shown.contains("(hidden)"), "{shown}");
    }

    #[test]
    fn settings_of_another_release_are_read() {
        let settings: Settings = serde_json::from_str(r#"{"hub_name":"A","from_the_future":1}"#).unwrap();
        assert_eq!(settings, Settings { hub_name: "A".into(), ..Settings::default() });
    }
}
