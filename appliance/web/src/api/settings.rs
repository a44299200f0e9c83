//! The hub's settings. Keepers only; the cloud key can be set but never read.

use axum::{Json, extract::State};
use cairn_store::{CloudEndpoint, CloudMode, Secret, Settings};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::models::keeper;
use crate::{
    hub::Hub,
    problem::{Problem, ProblemKind},
    session::CurrentViewer,
};
use cairn_record_api::extract::ApiJson;

/// The settings.
#[derive(Serialize, ToSchema)]
pub(super) struct SettingsView {
    /// The name people see.
    hub_name: String,
    /// Language of the pages for whoever has not chosen one, BCP 47.
    language: String,
    /// Whether anyone may sign up without an invitation.
    open_sign_up: bool,
    /// How long a session lasts, in hours.
    session_hours: u32,
    /// Where questions are answered: `local`, `cloud` or `auto`.
    #[schema(value_type = String, pattern = "^(local|cloud|auto)$")]
    inference: CloudMode,
    /// The cloud endpoint.
    cloud: Option<CloudView>,
    /// Origins of pages hosted elsewhere that may use the API.
    allowed_origins: Vec<String>,
    /// Further host names by which the hub may be called.
    allowed_hosts: Vec<String>,
    /// Largest file that an upload may bring, in bytes.
    max_upload_bytes: u64,
}

/// The cloud endpoint without its key.
#[derive(Serialize, ToSchema)]
struct CloudView {
    /// Its base address.
    url: String,
    /// The model to ask.
    model: String,
    /// Whether a key is set.
    has_key: bool,
}

/// Settings to change; what is not named stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsChange {
    #[serde(default)]
    hub_name: Option<String>,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    open_sign_up: Option<bool>,
    #[serde(default)]
    session_hours: Option<u32>,
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^(local|cloud|auto)$")]
    inference: Option<CloudMode>,
    /// `null` removes it.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<CloudChange>)]
    cloud: Option<Option<CloudChange>>,
    #[serde(default)]
    allowed_origins: Option<Vec<String>>,
    #[serde(default)]
    allowed_hosts: Option<Vec<String>>,
    #[serde(default)]
    max_upload_bytes: Option<u64>,
}

/// A cloud endpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CloudChange {
    /// Its base address, `https://…`.
    url: String,
    /// The model to ask.
    model: String,
    /// Its key; not named: the one that is set, as long as the address stays the same.
    #[serde(default)]
    #[schema(format = Password)]
    key: Option<String>,
}

/// Tells a field that is `null` from one that is not named.
fn even_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl From<&Settings> for SettingsView {
    fn from(settings: &Settings) -> Self {
        let settings = settings.clone();
        Self {
            hub_name: settings.hub_name,
            language: settings.language,
            open_sign_up: settings.open_sign_up,
            session_hours: settings.session_hours,
            inference: settings.inference,
            cloud: settings.cloud.map(|cloud| CloudView {
                has_key: !cloud.key.is_empty(),
                url: cloud.url,
                model: cloud.model,
            }),
            allowed_origins: settings.allowed_origins,
            allowed_hosts: settings.allowed_hosts,
            max_upload_bytes: settings.max_upload_bytes,
        }
    }
}

/// Reads the settings.
#[utoipa::path(get, path = "/api/v1/settings", tag = "settings", operation_id = "read_settings",
    responses((status = 200, description = "The settings.", body = SettingsView)))]
pub(super) async fn read(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
) -> Result<Json<SettingsView>, Problem> {
    keeper(&viewer)?;
    Ok(Json(SettingsView::from(&hub.store.settings().await?)))
}

/// Changes settings.
#[utoipa::path(patch, path = "/api/v1/settings", tag = "settings", operation_id = "change_settings",
    request_body = SettingsChange,
    responses((status = 200, description = "The settings as they are now.", body = SettingsView)))]
pub(super) async fn change(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiJson(change): ApiJson<SettingsChange>,
) -> Result<Json<SettingsView>, Problem> {
    keeper(&viewer)?;
    let settings = apply(hub.store.settings().await?, change)?;
    let view = SettingsView::from(&settings);
    hub.set_settings(&viewer, settings).await?;
    Ok(Json(view))
}

fn apply(settings: Settings, change: SettingsChange) -> Result<Settings, Problem> {
    let cloud = match change.cloud {
        None => settings.cloud,
        Some(None) => None,
        Some(Some(new)) => Some(endpoint(settings.cloud, new)?),
    };
    Ok(Settings {
        hub_name: change.hub_name.unwrap_or(settings.hub_name),
        language: change.language.unwrap_or(settings.language),
        open_sign_up: change.open_sign_up.unwrap_or(settings.open_sign_up),
        session_hours: change.session_hours.unwrap_or(settings.session_hours),
        inference: change.inference.unwrap_or(settings.inference),
        cloud,
        allowed_origins: change.allowed_origins.unwrap_or(settings.allowed_origins),
        allowed_hosts: change.allowed_hosts.unwrap_or(settings.allowed_hosts),
        max_upload_bytes: change.max_upload_bytes.unwrap_or(settings.max_upload_bytes),
    })
}

/// A key goes to the address that it was given for, and to no other: else whoever gets hold of a keeper's session
/// could have it sent to an address of their own.
fn endpoint(known: Option<CloudEndpoint>, new: CloudChange) -> Result<CloudEndpoint, Problem> {
    let key = match (new.key, known) {
        (Some(key), _) => Secret::new(key),
        (None, Some(known)) if known.url == new.url => known.key,
        (None, Some(known)) if !known.key.is_empty() => {
            let detail = "the key was given for another address; give it again, or an empty one";
            return Err(Problem::new(ProblemKind::Invalid, detail).field("cloud.key", detail));
        }
        (None, _) => Secret::default(),
    };
    Ok(CloudEndpoint { url: new.url, model: new.model, key })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(before: Settings, change: serde_json::Value) -> Result<Settings, Problem> {
        apply(before, serde_json::from_value(change).unwrap())
    }

    #[test]
    fn what_is_not_named_stays_and_a_key_never_goes_to_another_address() {
        let cloud = |url: &str| json!({"cloud": {"url": url, "model": "m"}});
        let set =
            json!({"cloud": {"url": "https://a.example", "model": "m", "key": "sk-1"}, "session_hours": 3});
        let settings = changed(Settings::default(), set).unwrap();
        assert_eq!((settings.session_hours, settings.hub_name.as_str()), (3, "Cairn"));
        let same = changed(settings.clone(), cloud("https://a.example")).unwrap();
        assert_eq!(same.cloud.unwrap().key.reveal(), "sk-1");
        assert!(changed(settings.clone(), cloud("https://evil.example")).is_err());
        assert!(changed(settings.clone(), json!({"cloud": null})).unwrap().cloud.is_none());
        assert_eq!(changed(settings.clone(), json!({})).unwrap(), settings);
        let shown = serde_json::to_string(&SettingsView::from(&settings)).unwrap();
        assert!(!shown.contains("sk-1") && shown.contains("\"has_key\":true"));
    }
}
