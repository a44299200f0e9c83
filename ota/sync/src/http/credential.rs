//! Secrets on the wire. Each names the community that it belongs to, so that the gateway can look it up under that
//! community's row-level security (and on that community's shard) without knowing anything else first.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{HubId, id::CommunityId};

/// 32 random bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

/// A secret or a credential did not parse. Says nothing of the text: it may be one that was mistyped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not {0}")]
pub struct NotASecret(&'static str);

impl Secret {
    /// From 32 random bytes.
    #[must_use]
    pub const fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What the gateway stores. The secret has 256 bits of entropy, so a fast hash is as good as a slow one.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key("cairn gateway 2026 secret at rest v1", &self.0)
    }

    /// For the hub's own store, and for the wire: 64 hex digits.
    #[must_use]
    pub fn reveal(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// Never shows the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl FromStr for Secret {
    type Err = NotASecret;

    fn from_str(text: &str) -> Result<Self, NotASecret> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| NotASecret("a key"))?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a hub shows with every request: `cairn-hub.COMMUNITY.HUB.SECRET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its community.
    pub community: CommunityId,
    /// The hub.
    pub hub: HubId,
    /// Its key.
    pub key: Secret,
}

impl Credential {
    /// The value of the authorization header.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.reveal())
    }

    /// As text, to be stored by the hub.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("cairn-hub.{}.{}.{}", self.community, self.hub, self.key.reveal())
    }

    /// From the value of an authorization header.
    ///
    /// # Errors
    /// [`NotASecret`].
    pub fn from_bearer(header: &str) -> Result<Self, NotASecret> {
        header.strip_prefix("Bearer ").ok_or(NotASecret("a hub's credential"))?.parse()
    }
}

impl FromStr for Credential {
    type Err = NotASecret;

    fn from_str(text: &str) -> Result<Self, NotASecret> {
        let wrong = NotASecret("a hub's credential");
        let mut parts = text.split('.');
        if parts.next() != Some("cairn-hub") {
            return Err(wrong);
        }
        let mut part = || parts.next().ok_or(wrong);
        let community = part()?.parse().map_err(|_| wrong)?;
        let hub = part()?.parse().map_err(|_| wrong)?;
        let key = part()?.parse().map_err(|_| wrong)?;
        if parts.next().is_some() { Err(wrong) } else { Ok(Self { community, hub, key }) }
    }
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            /// The community that it is for.
            pub community: CommunityId,
            /// The secret.
            pub secret: Secret,
        }

        impl $name {
            /// As text, to be handed over.
            #[must_use]
            pub fn reveal(&self) -> String {
                format!(concat!($prefix, ".{}.{}"), self.community, self.secret.reveal())
            }
        }

        impl FromStr for $name {
            type Err = NotASecret;

            fn from_str(text: &str) -> Result<Self, NotASecret> {
                let wrong = NotASecret($what);
                let rest = text.trim().strip_prefix(concat!($prefix, ".")).ok_or(wrong)?;
                let (community, secret) = rest.split_once('.').ok_or(wrong)?;
                Ok(Self {
                    community: community.parse().map_err(|_| wrong)?,
                    secret: secret.parse().map_err(|_| wrong)?,
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.reveal())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

token!(
    /// Handed from a maintainer to a keeper; enrols one hub: `cairn-enrol.COMMUNITY.SECRET`.
    EnrolToken,
    "cairn-enrol",
    "an enrolment token"
);
token!(
    /// For programs that use the gateway's record API: `cairn-api.COMMUNITY.SECRET`.
    ApiToken,
    "cairn-api",
    "an access token"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_survives_the_header_and_shows_nothing_in_logs() {
        let key = Secret::from_random([7; 32]);
        let credential = Credential { community: CommunityId::new(), hub: HubId::new(), key };
        assert_eq!(Credential::from_bearer(&credential.bearer()).unwrap(), credential);
        assert!(!format!("{credential:?}").contains("0707"));
        assert_ne!(credential.key.hash(), [7; 32]);
    }

    #[test]
    fn what_is_not_one_is_refused_without_being_repeated() {
        let (community, hub) = (CommunityId::new(), HubId::new());
        let key = Secret::from_random([7; 32]).reveal();
        for text in [
            String::new(),
            format!("cairn-hub.{community}.{hub}"),
            format!("cairn-hub.{community}.{hub}.{key}.more"),
            format!("cairn-enrol.{community}.{key}"),
            format!("cairn-hub.{community}.{hub}.{}", key.replace('7', "x")),
        ] {
            let error = text.parse::<Credential>().unwrap_err();
            assert_eq!(error.to_string(), "this is not a hub's credential", "{text}");
        }
        let token = EnrolToken { community, secret: Secret::from_random([9; 32]) };
        assert_eq!(token.reveal().parse::<EnrolToken>().unwrap(), token);
        assert!(token.reveal().parse::<ApiToken>().is_err());
    }
}
