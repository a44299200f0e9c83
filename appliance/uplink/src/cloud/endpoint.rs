//! Where a cloud model is, and what of that is never said aloud.

use std::{fmt, net::IpAddr};

use reqwest::Url;

/// Longest address, bytes.
const MAX_ADDRESS: usize = 300;

/// An OpenAI-compatible endpoint.
#[derive(Clone)]
pub struct Endpoint {
    /// Its base address with the version in it, for example `https://api.example.org/v1`.
    pub address: String,
    /// The model to ask for.
    pub model: String,
    /// Its key; empty when it takes none.
    pub key: String,
    /// Whether plain HTTP to this same device is allowed, for development and for a model server beside the hub.
    pub allow_loopback: bool,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address)
            .field("model", &self.model)
            .field("key", if self.key.is_empty() { &"none" } else { &"hidden" })
            .finish_non_exhaustive()
    }
}

/// Why an endpoint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not an address.
    #[error("the address of the cloud model cannot be read: {0}")]
    Address(String),
    /// Not encrypted.
    #[error("the address of the cloud model must begin with https://")]
    NotEncrypted,
    /// The address has a user name, a query or a fragment.
    #[error("the address of the cloud model must hold nothing but host, port and path")]
    Extras,
    /// The key has characters that no header can hold.
    #[error("the key of the cloud model holds characters that it cannot have")]
    Key,
    /// The HTTP client could not be made.
    #[error("the connection to the cloud model could not be prepared: {0}")]
    Client(String),
}

impl Endpoint {
    /// Checks the address and gives that of chat completions.
    pub(super) fn completions(&self) -> Result<Url, EndpointError> {
        if self.address.len() > MAX_ADDRESS {
            return Err(EndpointError::Address("it is too long".to_owned()));
        }
        let address = format!("{}/chat/completions", self.address.trim_end_matches('/'));
        let url = Url::parse(&address).map_err(|error| EndpointError::Address(error.to_string()))?;
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(EndpointError::Extras);
        }
        match url.scheme() {
            "https" if url.host().is_some() => Ok(url),
            "http" if self.allow_loopback && is_loopback(&url) => Ok(url),
            _ => Err(EndpointError::NotEncrypted),
        }
    }
}

/// Only literal addresses and `localhost`, which RFC 6761 keeps on the device: any other name could lead anywhere.
fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completions(address: &str, allow_loopback: bool) -> Result<Url, EndpointError> {
        let endpoint =
            Endpoint { address: address.into(), model: "m".into(), key: "sk-secret".into(), allow_loopback };
        endpoint.completions()
    }

    #[test]
    fn only_https_is_dialled_except_on_this_device_when_asked_for() {
        assert_eq!(
            completions("https://a.example/v1/", false).unwrap().as_str(),
            "https://a.example/v1/chat/completions"
        );
        for address in
            ["http://a.example/v1", "ftp://a.example", "http://127.0.0.1:1", "http://localhost:1/v1"]
        {
            assert_eq!(completions(address, false), Err(EndpointError::NotEncrypted), "{address}");
        }
        for address in ["http://127.0.0.1:1", "http://localhost:1/v1", "http://[::1]:1"] {
            completions(address, true).unwrap();
        }
        for address in ["http://localhost.example", "http://10.0.0.1", "http://127.0.0.1.example"] {
            assert_eq!(completions(address, true), Err(EndpointError::NotEncrypted), "{address}");
        }
        for address in ["https://user:word@a.example", "https://a.example?x=/"] {
            assert_eq!(completions(address, true), Err(EndpointError::Extras), "{address}");
        }
    }

    #[test]
    fn the_key_is_never_printed() {
        let endpoint = Endpoint {
            address: "https://a.example".into(),
            model: "m".into(),
            key: "sk-secret".into(),
            allow_loopback: false,
        };
        assert!(!format!("{endpoint:?}").contains("sk-secret"));
    }
}
