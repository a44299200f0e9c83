//! A gateway for trying out, as `cairn-gateway dev` starts one.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::PATIENCE;

/// A running gateway with a PostgreSQL of its own. Both end with it.
pub(crate) struct Gateway {
    process: Option<Child>,
    pub(crate) url: String,
    /// Enrols one hub.
    pub(crate) token: String,
    database: String,
    community: String,
}

fn program() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_cairn")).with_file_name("cairn-gateway");
    assert!(program.exists(), "cairn-gateway is not built: cargo test --no-run -p cairn-gateway");
    Command::new(program)
}

impl Gateway {
    pub(crate) fn start() -> Self {
        let mut process = program().arg("dev").stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // It says five lines or ends.
        let mut after = |start: &str| loop {
            let line = lines.next().expect("the gateway has ended").unwrap();
            if let Some(rest) = line.strip_prefix(start) {
                return rest.trim().to_owned();
            }
        };
        let (url, token) = (after("gateway "), after("token "));
        let another = after("another token: cairn-gateway token enrol ");
        let (community, database) = another.split_once(" --database ").unwrap();
        let database = database.trim_matches('\'').to_owned();
        Self { process: Some(process), url, token, database, community: community.to_owned() }
    }

    /// What hubs said of system versions.
    pub(crate) fn updates(&self) -> Value {
        let words = ["updates", &self.community, "--database", &self.database];
        let output = program().args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let id = Pid::from_raw(i32::try_from(process.id()).unwrap());
        // In order, so that PostgreSQL ends too.
        kill(id, Signal::SIGTERM).ok();
        let (tell, ended) = mpsc::channel();
        thread::spawn(move || tell.send(process.wait()));
        if ended.recv_timeout(PATIENCE).is_err() {
            kill(id, Signal::SIGKILL).ok();
        }
    }
}
