//! Sockets: how they listen and how dead connections are noticed.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

/// Connections that may wait in the kernel.
const BACKLOG: i32 = 256;

/// Listens on `address`; on `[::]` for IPv4 as well.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Small answers leave at once; a peer that is gone is noticed within `dead_after`.
pub(super) fn tune(stream: &TcpStream, dead_after: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(dead_after))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(dead_after).with_interval(dead_after / 4))
}
