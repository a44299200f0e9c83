//! Names on the hub's own Wi-Fi: a datagram socket around [`Zone::answer`].

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use cairn_device::network::{
    ACCESS_POINT,
    dns::{MAX_DATAGRAM, Zone},
};

use crate::{
    cli::DeviceArguments,
    outcome::{Code, Failure, while_doing},
};

/// Answers until the unit is stopped.
pub(super) fn run(paths: &DeviceArguments) -> Result<(), Failure> {
    let address = paths.bind.unwrap_or_else(|| SocketAddr::new(ACCESS_POINT.into(), 53));
    let socket = bind(address).map_err(while_doing(format_args!("listening on {address}")))?;
    let name = nix::unistd::gethostname().map_err(while_doing("reading the device's name"))?;
    let name = name.to_string_lossy().into_owned();
    serve(&socket, &Zone { name, address: address_of(address) })
}

/// Before the radio is up the address is not there yet; the kernel takes the socket all the same.
fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn address_of(bound: SocketAddr) -> Ipv4Addr {
    match bound {
        SocketAddr::V4(v4) if !v4.ip().is_unspecified() => *v4.ip(),
        _ => ACCESS_POINT,
    }
}

fn serve(socket: &UdpSocket, zone: &Zone) -> Result<(), Failure> {
    // One more than is looked at, so that a longer one is seen to be longer.
    let mut datagram = [0; MAX_DATAGRAM + 1];
    let mut failures = 0;
    loop {
        match socket.recv_from(&mut datagram) {
            Ok((length, peer)) => {
                failures = 0;
                let answer = datagram.get(..length).and_then(|question| zone.answer(question));
                // A phone that has left cannot be told; it asks again when it is back.
                if let Some(answer) = answer
                    && let Err(error) = socket.send_to(&answer, peer)
                {
                    tracing::debug!(%error, "an answer could not be sent");
                }
            }
            // ICMP's echo of an answer to somebody who has left comes back as an error of the next read.
            Err(error) => {
                failures += 1;
                if failures > 100 {
                    return Err(Failure::new(Code::Failed, format!("names cannot be answered: {error}")));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_question_over_the_wire_is_answered() {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let server = socket.local_addr().unwrap();
        let zone = Zone { name: "spring".into(), address: ACCESS_POINT };
        std::thread::spawn(move || drop(serve(&socket, &zone)));
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // Something that is no question first: it must not end the answering.
        client.send_to(b"noise", server).unwrap();
        client.send_to(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x06spring\x05local\0\0\x01\0\x01", server).unwrap();
        let mut answer = [0; 512];
        let length = client.recv(&mut answer).unwrap();
        assert!(answer[..length].ends_with(&ACCESS_POINT.octets()));
    }
}
