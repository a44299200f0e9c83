//! What a hub knows of the time, and what expiry means where.

/// What a hub knows of the time, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Somebody trusted said so.
    Trusted(u64),
    /// Not earlier than this: the time at which the running image was built, say.
    NotBefore(u64),
}

impl Clock {
    /// The earliest that it can be.
    #[must_use]
    pub const fn at_least(self) -> u64 {
        match self {
            Self::Trusted(time) | Self::NotBefore(time) => time,
        }
    }

    /// With the floor of the trust store: time does not run backwards. A trusted time before the floor is the fault of one of
    /// both; the later one is the safer one, because it lets more metadata expire.
    #[must_use]
    pub const fn floored(self, floor: u64) -> Self {
        let later = if self.at_least() > floor { self.at_least() } else { floor };
        match self {
            Self::Trusted(_) => Self::Trusted(later),
            Self::NotBefore(_) => Self::NotBefore(later),
        }
    }
}

/// How a repository came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// From the network. Metadata that have expired by a trusted clock are refused.
    Online,
    /// By hand: a USB stick, an upload, another hub. It is old by nature; metadata that have expired are taken where they
    /// are newer than all that is known, and the result says so.
    ByHand,
}

impl Channel {
    /// Whether metadata that have expired are refused. Only who knows the time can: a hub that does not accepts what is newer
    /// and signed by the threshold, never what is older, and says that it could not check more
    /// ([`Freshness::Unproven`](crate::Freshness::Unproven)).
    #[must_use]
    pub const fn enforces_expiry(self, clock: Clock) -> bool {
        matches!((self, clock), (Self::Online, Clock::Trusted(_)))
    }
}
