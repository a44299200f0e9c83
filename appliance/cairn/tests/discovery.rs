//! A machine that has just joined the network finds the hub by its name: two network name spaces, one cable between them,
//! a hub at one end and somebody who knows only "cairn.local" at the other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::type_complexity,
    reason = "a test program: what is wrong must stop it"
)]

mod running;

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, unshare};
use running::{PATIENCE, cairn, folder};

const CHILD: &str = "CAIRN_DISCOVERY_TEST";
const TEST: &str = "a_neighbour_finds_the_hub_by_its_name_and_opens_its_page";
const HUB: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// Multicast DNS (RFC 6762, section 3).
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);
/// How often the neighbour asks again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

#[test]
fn a_neighbour_finds_the_hub_by_its_name_and_opens_its_page() {
    if std::env::var_os(CHILD).is_some() {
        return finds_the_hub();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status();
    let status = status.expect("ip is needed for this test: apt-get install iproute2");
    assert!(status.success(), "ip {words}");
}

fn finds_the_hub() {
    unshare(CloneFlags::CLONE_NEWNET).expect("the test needs root for a network of its own");
    let (come, here) = mpsc::channel();
    let (plugged_in, go) = mpsc::channel::<()>();
    // A name space belongs to a thread here: this one is the neighbour's machine.
    let neighbour = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        come.send(nix::unistd::gettid()).unwrap();
        go.recv().unwrap();
        ip(&format!("addr add {NEIGHBOUR}/24 dev e1"));
        ip("link set e1 up");
        let (address, port) = look_up();
        (address, open(address, port))
    });
    let thread = here.recv_timeout(PATIENCE).unwrap();
    ip("link set lo up");
    ip("link add e0 type veth peer name e1");
    ip(&format!("link set e1 netns {thread}"));
    ip(&format!("addr add {HUB}/24 dev e0"));
    ip("link set e0 up");
    let folder = folder();
    let mut hub = cairn(&["run", "--listen", "0.0.0.0:80", "--data"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    plugged_in.send(()).unwrap();
    let found = neighbour.join();
    let told = fs::read_to_string(folder.path().join("hub/address.json")).unwrap_or_default();
    hub.kill().unwrap();
    hub.wait().unwrap();
    let (address, page) = found.unwrap();
    assert_eq!(address, HUB);
    assert!(page.starts_with("HTTP/1.1 ") && page.contains("<html"), "{page}");
    assert!(told.contains(&HUB.to_string()), "the plain address is told too: {told}");
}

/// Asks the network for `cairn.local` until somebody answers with an address.
fn look_up() -> (Ipv4Addr, u16) {
    let socket = UdpSocket::bind((NEIGHBOUR, 0)).unwrap();
    socket.set_read_timeout(Some(AGAIN_AFTER)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        // The network may not be up at once.
        if socket.send_to(&question(), GROUP).is_err() {
            std::thread::sleep(AGAIN_AFTER);
            continue;
        }
        let mut buffer = [0; 9000];
        match socket.recv(&mut buffer) {
            Ok(read) => {
                if let Some(address) = address_in(&buffer[..read]) {
                    return (address, 80);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("nobody answered for cairn.local");
}

/// One question for the IPv4 address of `cairn.local` (RFC 1035, section 4.1). Sent from an ordinary port, so the answer comes to
/// us alone (RFC 6762, section 6.7).
fn question() -> Vec<u8> {
    let mut question = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["cairn", "local"] {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    question
}

/// The first address record (type 1, class 1, four bytes) of an answer to our question.
fn address_in(answer: &[u8]) -> Option<Ipv4Addr> {
    let is_answer = answer.get(..3).is_some_and(|head| head[..2] == [0, 7] && head[2] & 0x80 != 0);
    let record = answer.windows(14).find(|bytes| {
        bytes[..2] == [0, 1] && bytes[2] & 0x7f == 0 && bytes[3] == 1 && bytes[8..10] == [0, 4]
    })?;
    let address: [u8; 4] = record[10..].try_into().ok()?;
    is_answer.then(|| Ipv4Addr::from(address))
}

/// The page, as a browser that was given the name asks for it.
fn open(address: Ipv4Addr, port: u16) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the hub's page cannot be opened");
        let Ok(mut stream) = TcpStream::connect((address, port)) else {
            std::thread::sleep(AGAIN_AFTER);
            continue;
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /first-run HTTP/1.1\r\nHost: cairn.local\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut page = Vec::new();
        stream.read_to_end(&mut page).unwrap();
        return String::from_utf8_lossy(&page).into_owned();
    }
}
