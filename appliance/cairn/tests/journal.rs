//! Where journald listens, every part of the hub logs to it, after it has confined itself as well, and nothing to the
//! terminal. The journal here is a socket of the test's own, in a view of the file system of the test's own.

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
    fs::{self, Permissions},
    io::Read,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixDatagram, UnixStream},
        },
    },
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        signal::{Signal, kill},
        stat::fstat,
    },
    unistd::Pid,
};
use running::{PATIENCE, cairn, folder};

const CHILD: &str = "CAIRN_JOURNAL_TEST";
const TEST: &str = "where_journald_listens_every_part_logs_to_it_and_nothing_to_the_terminal";

#[test]
fn where_journald_listens_every_part_logs_to_it_and_nothing_to_the_terminal() {
    if std::env::var_os(CHILD).is_some() {
        return logs_to_the_journal();
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

/// The socket where journald would listen.
fn journal() -> UnixDatagram {
    unshare(CloneFlags::CLONE_NEWNS).expect("the test needs root for a file system view of its own");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).unwrap();
    let path = Path::new("/run/systemd/journal/socket");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let socket = UnixDatagram::bind(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    socket
}

fn logs_to_the_journal() {
    let journal = journal();
    journal.set_read_timeout(Some(PATIENCE)).unwrap();
    let folder = folder();
    // As a service manager does it: standard error is a stream to the journal, and a variable says which.
    let (mut terminal, stream) = UnixStream::pair().unwrap();
    let stat = fstat(stream.as_fd()).unwrap();
    let mut hub = cairn(&["run", "--listen", "127.0.0.1:0", "--no-mdns", "--data"])
        .arg(folder.path())
        .env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino))
        .stdout(Stdio::null())
        .stderr(OwnedFd::from(stream))
        .spawn()
        .unwrap();

    let deadline = Instant::now() + PATIENCE;
    let mut asked_to_end = false;
    let mut entries = Vec::new();
    let entry_of = |entries: &[String], part: &str, words: &str| {
        entries.iter().any(|entry| entry.contains(&format!("cairn-{part}")) && entry.contains(words))
    };
    // The hub says so as one of its last words, long after it has given up its rights.
    while !entry_of(&entries, "hub", "no longer serving") {
        assert!(Instant::now() < deadline, "{entries:#?}");
        let mut buffer = [0; 16 * 1024];
        let read = journal.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}: {entries:#?}"));
        // An empty one only tries whether somebody listens.
        if read > 0 {
            entries.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
        }
        if !asked_to_end && folder.path().join("hub/address.json").exists() {
            kill(Pid::from_raw(i32::try_from(hub.id()).unwrap()), Signal::SIGTERM).unwrap();
            asked_to_end = true;
        }
    }
    assert!(hub.wait().unwrap().success());
    assert!(entry_of(&entries, "supervisor", "started"), "{entries:#?}");
    assert!(entries.iter().all(|entry| entry.contains("PRIORITY")), "{entries:#?}");
    let mut said = String::new();
    terminal.read_to_string(&mut said).unwrap();
    assert_eq!(said, "", "the terminal stays silent");
}
