//! The one table of what a provisioning file can say.

use std::net::SocketAddr;

use cairn_device::network::{Passphrase, Ssid};
use cairn_store::{CloudMode, Secret};
use toml::de::DeValue;

use super::Provisioning;

/// Most addresses to listen on.
const MAX_LISTEN: usize = 8;
/// Longest value, bytes.
const MAX_VALUE: usize = 300;

/// One thing that a file can say.
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// What is used when the value cannot be.
    pub(super) instead: &'static str,
    /// Takes the value over, or says in words what it must be.
    pub(super) set: fn(&mut Provisioning, &DeValue<'_>) -> Result<(), String>,
}

const fn key(
    section: &'static str,
    name: &'static str,
    instead: &'static str,
    set: fn(&mut Provisioning, &DeValue<'_>) -> Result<(), String>,
) -> Key {
    Key { section, name, instead, set }
}

pub(super) const KEYS: &[Key] = &[
    key("hub", "name", "the hub is called \"cairn\" on the network", |to, value| {
        let name = text(value)?.to_lowercase();
        let fits = (1..=63).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        let fits = fits.then_some(name);
        to.name = Some(fits.ok_or("a name of letters a to z, digits and \"-\", at most 63")?);
        Ok(())
    }),
    key("hub", "title", "the name on the network is shown", |to, value| {
        to.title = Some(text(value)?.to_owned());
        Ok(())
    }),
    key("hub", "language", "English is used", |to, value| {
        let tag = text(value)?;
        let fits =
            tag.len() <= 35 && tag.split('-').all(|part| (1..=8).contains(&part.len()) && alphanumeric(part));
        to.language = Some(fits.then(|| tag.to_owned()).ok_or("a language tag such as \"en\" or \"pt-BR\"")?);
        Ok(())
    }),
    key("hub", "claim_code", "a code is made up and shown on the console", |to, value| {
        // The characters that the store's own codes are made of stand in its documentation; length and kind are
        // checked here so that the mistake is told before anyone stands in front of a board without a screen.
        let code: String = text(value)?.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
        let fits = (8..=32).contains(&code.len()) && alphanumeric(&code);
        to.claim_code = Some(Secret::new(fits.then_some(code).ok_or("8 to 32 letters and digits")?));
        Ok(())
    }),
    key("hub", "open_sign_up", "signing up takes an invitation", |to, value| {
        to.open_sign_up = Some(flag(value)?);
        Ok(())
    }),
    key("network", "listen", "the hub listens on every address, port 8080", |to, value| {
        const EXPECTED: &str = "a list of addresses with ports such as [\"0.0.0.0:80\"]";
        let items =
            value.as_array().filter(|items| (1..=MAX_LISTEN).contains(&items.len())).ok_or(EXPECTED)?;
        let addresses: Result<Vec<SocketAddr>, _> =
            items.iter().map(|item| item.get_ref().as_str().unwrap_or_default().parse()).collect();
        to.listen = addresses.map_err(|_| EXPECTED)?;
        Ok(())
    }),
    key("network", "announce", "the hub is announced", |to, value| {
        to.announce = Some(flag(value)?);
        Ok(())
    }),
    key("wifi", "ssid", "no Wi-Fi is joined", |to, value| {
        to.wifi.ssid = Some(Ssid::new(text(value)?).map_err(|_| "the network's name, at most 32 bytes")?);
        Ok(())
    }),
    key("wifi", "passphrase", "no Wi-Fi is joined", |to, value| {
        // Without it the network would be joined as an open one.
        to.wifi.passphrase = Some(None);
        let passphrase = Passphrase::new(text(value)?);
        to.wifi.passphrase =
            Some(Some(passphrase.map_err(|_| "8 to 63 letters, digits and signs, without accents")?));
        Ok(())
    }),
    key("wifi", "country", "only channels allowed everywhere are used", |to, value| {
        let country = text(value)?;
        let fits = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
        to.wifi.country = Some(fits.then(|| country.to_owned()).ok_or("two capital letters such as \"CH\"")?);
        Ok(())
    }),
    key(
        "access_point",
        "enabled",
        "the hub has a Wi-Fi of its own while there is none to join",
        |to, value| {
            to.access_point.wanted = Some(flag(value)?);
            Ok(())
        },
    ),
    key("access_point", "ssid", "it is called after the hub", |to, value| {
        let ssid = Ssid::new(text(value)?).map_err(|_| "the network's name, at most 32 bytes")?;
        to.access_point.ssid = Some(ssid);
        Ok(())
    }),
    key("access_point", "passphrase", "the hub has no Wi-Fi of its own", |to, value| {
        // Whoever wanted a closed network must not get an open one.
        to.access_point_unusable = true;
        let passphrase = Passphrase::new(text(value)?);
        to.access_point.passphrase =
            Some(passphrase.map_err(|_| "8 to 63 letters, digits and signs, without accents")?);
        to.access_point_unusable = false;
        Ok(())
    }),
    key("gateway", "url", "the hub works for itself", |to, value| {
        to.gateway.url = Some(https(value)?);
        Ok(())
    }),
    key("gateway", "enrolment_token", "the hub is not enrolled", |to, value| {
        to.gateway.enrolment_token = Some(Secret::new(text(value)?));
        Ok(())
    }),
    key("inference", "mode", "questions are answered on the hub only", |to, value| {
        to.mode = Some(match text(value)? {
            "local" => CloudMode::Local,
            "cloud" => CloudMode::Cloud,
            "auto" => CloudMode::Auto,
            _ => return Err("\"local\", \"cloud\" or \"auto\"".to_owned()),
        });
        Ok(())
    }),
    key("inference", "url", "there is no cloud model", |to, value| {
        to.cloud[0] = Some(https(value)?);
        Ok(())
    }),
    key("inference", "model", "there is no cloud model", |to, value| {
        to.cloud[1] = Some(text(value)?.to_owned());
        Ok(())
    }),
    key("inference", "key", "the cloud model is asked without a key", |to, value| {
        to.cloud_key = Some(Secret::new(text(value)?));
        Ok(())
    }),
];

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    let text = value.as_str().map(str::trim).filter(|text| !text.is_empty() && text.len() <= MAX_VALUE);
    text.filter(|text| !text.chars().any(char::is_control))
        .ok_or_else(|| format!("text in quotation marks, at most {MAX_VALUE} bytes"))
}

fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "true or false, without quotation marks".to_owned())
}

fn https(value: &DeValue<'_>) -> Result<String, String> {
    let url = text(value)?;
    let fits = url
        .strip_prefix("https://")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()));
    fits.then(|| url.trim_end_matches('/').to_owned())
        .ok_or_else(|| "an address that begins with https://".to_owned())
}

fn alphanumeric(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
