//! Which protocol two sides speak, where each may be years older than the other.

use std::{fmt, str::FromStr};

use crate::wire::{OLDEST_PROTOCOL, PROTOCOL};

/// A range of protocols, `OLDEST-NEWEST` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaks {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

/// What this code speaks.
pub const HERE: Speaks = Speaks { oldest: OLDEST_PROTOCOL, newest: PROTOCOL };

/// Two sides that have no protocol in common: says who has to be updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoCommonProtocol {
    /// The hub is too old.
    #[error(
        "this hub's software is too old for its gateway: update the hub (it speaks up to {hub}, the gateway from {gateway} on)"
    )]
    HubTooOld {
        /// The newest that the hub speaks.
        hub: u16,
        /// The oldest that the gateway speaks.
        gateway: u16,
    },
    /// The gateway is too old.
    #[error(
        "the gateway's software is too old for this hub: its maintainer has to update it (it speaks up to {gateway}, this hub from {hub} on)"
    )]
    GatewayTooOld {
        /// The oldest that the hub speaks.
        hub: u16,
        /// The newest that the gateway speaks.
        gateway: u16,
    },
}

impl Speaks {
    /// The newest protocol that both speak; `self` is the gateway.
    ///
    /// # Errors
    /// [`NoCommonProtocol`].
    pub const fn with_hub(self, hub: Self) -> Result<u16, NoCommonProtocol> {
        if hub.newest < self.oldest {
            return Err(NoCommonProtocol::HubTooOld { hub: hub.newest, gateway: self.oldest });
        }
        if self.newest < hub.oldest {
            return Err(NoCommonProtocol::GatewayTooOld { hub: hub.oldest, gateway: self.newest });
        }
        Ok(if hub.newest < self.newest { hub.newest } else { self.newest })
    }
}

impl fmt::Display for Speaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.oldest, self.newest)
    }
}

/// The header says something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the protocol header must be OLDEST-NEWEST")]
pub struct NotARange;

impl FromStr for Speaks {
    type Err = NotARange;

    fn from_str(text: &str) -> Result<Self, NotARange> {
        let (oldest, newest) = text.split_once('-').ok_or(NotARange)?;
        let oldest = oldest.parse().map_err(|_| NotARange)?;
        let newest = newest.parse().map_err(|_| NotARange)?;
        if oldest <= newest { Ok(Self { oldest, newest }) } else { Err(NotARange) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_side_may_be_older() {
        let speaks = |oldest, newest| Speaks { oldest, newest };
        let rows = [
            (speaks(1, 1), speaks(1, 1), Ok(1)),
            (speaks(1, 4), speaks(2, 3), Ok(3)),
            (speaks(2, 3), speaks(1, 9), Ok(3)),
            (speaks(3, 4), speaks(1, 2), Err(NoCommonProtocol::HubTooOld { hub: 2, gateway: 3 })),
            (speaks(1, 2), speaks(3, 4), Err(NoCommonProtocol::GatewayTooOld { hub: 3, gateway: 2 })),
        ];
        for (gateway, hub, expected) in rows {
            assert_eq!(gateway.with_hub(hub), expected, "{gateway} {hub}");
        }
        assert_eq!("2-3".parse(), Ok(speaks(2, 3)));
        for text in ["", "1", "3-2", "a-b", "1-70000"] {
            assert!(text.parse::<Speaks>().is_err(), "{text}");
        }
    }
}
