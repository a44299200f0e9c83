//! What a keeper wants of the network, in types that cannot hold what would break a configuration file.

use std::fmt;

/// Longest SSID, bytes (IEEE 802.11).
const MAX_SSID: usize = 32;
/// A WPA passphrase, printable ASCII (IEEE 802.11, annex J).
const PASSPHRASE: std::ops::RangeInclusive<usize> = 8..=63;

/// What is wrong with a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// Not a name that a network can have.
    #[error("a Wi-Fi's name has 1 to 32 bytes")]
    Ssid,
    /// Not a passphrase that a network can have.
    #[error("a Wi-Fi's passphrase has 8 to 63 letters, digits and signs, without accents")]
    Passphrase,
}

/// The name of a Wi-Fi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssid(String);

impl Ssid {
    /// Checks its length.
    ///
    /// # Errors
    /// [`WishError::Ssid`].
    pub fn new(text: impl Into<String>) -> Result<Self, WishError> {
        let text = text.into();
        if (1..=MAX_SSID).contains(&text.len()) { Ok(Self(text)) } else { Err(WishError::Ssid) }
    }

    /// The hub's own, after its name on the network.
    #[must_use]
    pub fn own(name: &str) -> Self {
        let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(20).collect();
        Self(if name.is_empty() || name == "cairn" { "Cairn".to_owned() } else { format!("Cairn {name}") })
    }

    /// In hexadecimal: no sign in it can mean anything to a parser.
    pub(super) fn hexadecimal(&self) -> String {
        self.0.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    /// For people.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A passphrase; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(String);

impl Passphrase {
    /// Checks its length and signs.
    ///
    /// # Errors
    /// [`WishError::Passphrase`].
    pub fn new(text: impl Into<String>) -> Result<Self, WishError> {
        let text = text.into();
        let fits = PASSPHRASE.contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if fits { Ok(Self(text)) } else { Err(WishError::Passphrase) }
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A Wi-Fi to join; open without a passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wifi {
    /// Its name.
    pub ssid: Ssid,
    /// Its passphrase.
    pub passphrase: Option<Passphrase>,
}

/// The hub's own Wi-Fi.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessPoint {
    /// Whether it is wanted. `None`: when there is no Wi-Fi to join.
    pub wanted: Option<bool>,
    /// Its name; made from the hub's without.
    pub ssid: Option<Ssid>,
    /// Its passphrase; open without.
    pub passphrase: Option<Passphrase>,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The hub's name on the network, without `.local`.
    pub name: String,
    /// The Wi-Fi to join.
    pub wifi: Option<Wifi>,
    /// The hub's own.
    pub access_point: AccessPoint,
    /// Two capital letters (ISO 3166-1): which channels are allowed. Without it those that are allowed everywhere.
    pub country: Option<String>,
}

/// What the radio does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WifiMode<'w> {
    /// Nothing.
    Off,
    /// It joins.
    Join(&'w Wifi),
    /// It is an access point.
    AccessPoint {
        /// Its name.
        ssid: Ssid,
        /// Its passphrase; open without.
        passphrase: Option<&'w Passphrase>,
    },
}

impl Wish {
    /// What the radio does: one thing at a time, as the boards' chips can.
    #[must_use]
    pub fn wifi_mode(&self) -> WifiMode<'_> {
        match (&self.wifi, self.access_point.wanted) {
            (_, Some(true)) | (None, None) => WifiMode::AccessPoint {
                ssid: self.access_point.ssid.clone().unwrap_or_else(|| Ssid::own(&self.name)),
                passphrase: self.access_point.passphrase.as_ref(),
            },
            (Some(wifi), _) => WifiMode::Join(wifi),
            (None, Some(false)) => WifiMode::Off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passphrases_are_those_of_the_standard() {
        assert!(Ssid::new("").is_err() && Ssid::new("x".repeat(33)).is_err());
        assert!(Ssid::new("Café\n\"#").is_ok());
        for bad in ["short", "with\nline", "contraseña", &"x".repeat(64)] {
            assert_eq!(Passphrase::new(bad), Err(WishError::Passphrase), "{bad:?}");
        }
        assert_eq!(Ssid::own("cairn").as_str(), "Cairn");
        assert_eq!(Ssid::own("spring-village").as_str(), "Cairn spring-village");
        assert!(Ssid::own(&"x".repeat(63)).as_str().len() <= MAX_SSID);
    }
}
