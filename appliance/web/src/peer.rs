//! Who is at the other end of a connection. The listener says so; headers of proxies are never believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts, connect_info::Connected},
    http::{Extensions, request::Parts},
    serve::IncomingStream,
};

/// The other end of a connection.
///
/// Serve the router with `into_make_service_with_connect_info::<Peer>()`, or put a `ConnectInfo<Peer>` into
/// the extensions of every request of a TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

impl Peer {
    /// What stands for a peer that no listener named. Not loopback, so that nothing is granted to it.
    const UNKNOWN: Self = Self { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), tls: false };

    /// The peer of a request.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<ConnectInfo<Self>>().map_or(Self::UNKNOWN, |info| info.0)
    }

    /// Whether it is on this device.
    pub(crate) fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    /// What stands for one client in limits: an IPv4 address, or the 64-bit network of an IPv6 address,
    /// because one client owns all of that.
    pub(crate) fn client(&self) -> IpAddr {
        match self.address.ip().to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
            v4 => v4,
        }
    }

    /// The scheme that the peer sees.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

impl Connected<IncomingStream<'_, tokio::net::TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, tokio::net::TcpListener>) -> Self {
        Self { address: *stream.remote_addr(), tls: false }
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.extensions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> String {
        Peer { address: address.parse().unwrap(), tls: false }.client().to_string()
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_a_mapped_ipv4_is_itself() {
        assert_eq!(client("[2001:db8:1:2:3:4:5:6]:80"), "2001:db8:1:2::");
        assert_eq!(client("[::ffff:192.168.1.7]:80"), "192.168.1.7");
        assert_eq!(client("10.0.0.1:1"), "10.0.0.1");
    }

    #[test]
    fn an_unnamed_peer_is_not_taken_for_this_device() {
        assert!(!Peer::UNKNOWN.is_loopback());
        assert!(Peer { address: "[::ffff:127.0.0.1]:9".parse().unwrap(), tls: false }.is_loopback());
    }
}
