//! One TLS provider for the whole process.

use std::sync::Once;

static INSTALL: Once = Once::new();

/// Makes aws-lc-rs the provider that every TLS connection of this process uses.
pub(crate) fn install_provider() {
    INSTALL.call_once(|| {
        // Someone else may have installed one first; then that one is used, and it is as good.
        let _already_there = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}
