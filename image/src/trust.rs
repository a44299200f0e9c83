//! Whom the hubs of a card believe about updates, where they look for them, and what else a community puts into its system.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::run;

/// Longest address of a repository, bytes.
const MAX_URL: usize = 2000;

/// What a card needs for hubs to be updated. Without the root metadata they cannot be; without the address they take updates by hand.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The first root metadata (`1.root.json` of a workshop).
    pub root: Option<PathBuf>,
    /// Where the repository is served.
    pub url: Option<String>,
    /// Certificates (PEM) of an authority of one's own, believed beside the public ones.
    pub authority: Option<PathBuf>,
}

impl Trust {
    /// Completed by what stands in `image/trust`.
    #[must_use]
    pub fn or_from(mut self, folder: &Path) -> Self {
        let (root, url) = (folder.join("root.json"), folder.join("updates-url"));
        self.root = self.root.or_else(|| root.exists().then_some(root));
        self.url = self.url.or_else(|| fs::read_to_string(url).ok().map(|url| url.trim().to_owned()));
        self
    }

    /// Writes it into a root.
    ///
    /// # Errors
    /// When a file is not what it should be: a card that nobody can update is noticed years later otherwise.
    pub fn install(&self, root: &Path) -> Result<()> {
        let share = root.join("usr/share/cairn");
        ensure!(
            self.url.is_none() || self.root.is_some(),
            "an address of updates and no root metadata to believe them by"
        );
        if let Some(from) = &self.root {
            let text = run::read_text(from)?;
            let metadata: Value =
                serde_json::from_str(&text).with_context(|| format!("{} is no metadata", from.display()))?;
            let kind = metadata.pointer("/signed/_type").and_then(Value::as_str);
            ensure!(kind == Some("root"), "{} is no root metadata but {kind:?}", from.display());
            run::write(&share.join("root.json"), text)?;
        }
        if let Some(url) = &self.url {
            let web = url.starts_with("https://") || url.starts_with("http://");
            let plain = url.len() <= MAX_URL && url.bytes().all(|byte| byte.is_ascii_graphic());
            ensure!(web && plain, "{url:?} is no address of a repository");
            run::write(&share.join("updates-url"), format!("{url}\n"))?;
        }
        if let Some(from) = &self.authority {
            let text = run::read_text(from)?;
            ensure!(text.contains("-----BEGIN CERTIFICATE-----"), "{} holds no certificate", from.display());
            ensure!(!text.contains("PRIVATE KEY"), "{} holds a private key", from.display());
            let bundle = root.join("etc/ssl/certs/ca-certificates.crt");
            let public = run::read_text(&bundle)?;
            run::write(&bundle, format!("{public}{text}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn a_card_gets_what_was_given_and_what_is_wrong_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            run::write(&folder.path().join(name), content).unwrap();
            Some(folder.path().join(name))
        };
        let public = "-----BEGIN CERTIFICATE-----\npublic\n-----END CERTIFICATE-----\n";
        file("root/etc/ssl/certs/ca-certificates.crt", public);
        let own = public.replace("public", "own");
        let good = Trust {
            root: file("root.json", r#"{"signed":{"_type":"root"},"signatures":[]}"#),
            url: Some("https://updates.example.org/hubs".into()),
            authority: file("ca.pem", &own),
        };
        let root = folder.path().join("root");
        good.install(&root).unwrap();
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
        assert_eq!(read("usr/share/cairn/updates-url"), "https://updates.example.org/hubs\n");
        assert!(read("usr/share/cairn/root.json").contains("\"root\""));
        assert_eq!(read("etc/ssl/certs/ca-certificates.crt"), format!("{public}{own}"));

        for (wrong, why) in [
            (Trust { root: None, ..good.clone() }, "no root metadata"),
            (
                Trust { root: file("t", r#"{"signed":{"_type":"timestamp"}}"#), ..good.clone() },
                "no root metadata but",
            ),
            (Trust { url: Some("updates.example.org".into()), ..good.clone() }, "no address"),
            (Trust { url: Some("https://a\nb".into()), ..good.clone() }, "no address"),
            (
                Trust {
                    authority: file("k", "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----"),
                    ..good.clone()
                },
                "private key",
            ),
        ] {
            let error = format!("{:#}", wrong.install(&root).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn options_come_before_what_stands_in_the_sources() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Trust::default().or_from(folder.path()).root.is_none());
        run::write(&folder.path().join("root.json"), "{}").unwrap();
        run::write(&folder.path().join("updates-url"), "https://a.example\n").unwrap();
        let both = Trust::default().or_from(folder.path());
        assert_eq!(
            (both.root, both.url.as_deref()),
            (Some(folder.path().join("root.json")), Some("https://a.example"))
        );
        let given = Trust { url: Some("https://b.example".into()), ..Trust::default() };
        assert_eq!(given.or_from(folder.path()).url.as_deref(), Some("https://b.example"));
    }
}
