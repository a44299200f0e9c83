//! HTTP clients for the hub.

use anyhow::Result;
use reqwest::{Client, ClientBuilder};

/// A client.
///
/// # Errors
/// When the system refuses one.
pub fn client() -> Result<Client> {
    Ok(builder().build()?)
}

/// A client to be configured.
pub fn builder() -> ClientBuilder {
    // The product installs its provider of cryptography itself; the first one stays, whoever installs it.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    Client::builder()
}
