//! Versions of the system and names of boards.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A version of the system, `major.minor.patch`; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub patch: u32,
}

/// Why a text is no version or no board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not three numbers.
    #[error("a version is three numbers without leading zeros, as 1.4.2")]
    Version,
    /// Not a board's name.
    #[error("a board's name is 1 to 32 of a–z, 0–9 and -")]
    Board,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut parts = text.splitn(4, '.');
        let mut number = || {
            let part = parts.next().ok_or(NameError::Version)?;
            let plain =
                part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            if plain { part.parse().map_err(|_| NameError::Version) } else { Err(NameError::Version) }
        };
        let version = Self { major: number()?, minor: number()?, patch: number()? };
        if parts.next().is_some() { Err(NameError::Version) } else { Ok(version) }
    }
}

/// Name of a board, a folder of `hardware/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Board(String);

impl Board {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Board {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Board)
        }
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}
as_text!(Version);
as_text!(Board);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_plain_numbers_in_order() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("1.10.0") > version("1.9.9"));
        assert_eq!(version("0.1.2").to_string(), "0.1.2");
        for text in
            ["", "1", "1.2", "1.2.3.4", "1.02.3", "1.2.-3", "1.2.+3", "a.b.c", "1.2.99999999999", "1..2"]
        {
            assert_eq!(text.parse::<Version>(), Err(NameError::Version), "{text}");
        }
    }

    #[test]
    fn a_board_cannot_climb_out_of_a_folder() {
        assert!("rpi-4".parse::<Board>().is_ok());
        for text in ["", "..", "a/b", "A", "a.b", &"x".repeat(33)] {
            assert_eq!(text.parse::<Board>(), Err(NameError::Board), "{text}");
        }
    }
}
