//! Starts the reference programs of `tests/agreement` and talks to them line by line.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde::{Serialize, de::DeserializeOwned};

/// A running reference program.
pub(crate) struct Reference {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The Python that has the reference implementations.
fn python() -> PathBuf {
    let path = std::env::var_os("CAIRN_PYTHON")
        .map_or_else(|| workspace().join("build/cache/python/bin/python3"), PathBuf::from);
    assert!(path.exists(), "{} is missing: `cargo xtask setup` makes it", path.display());
    path
}

impl Reference {
    pub(crate) fn start(script: &str) -> Self {
        let mut child = Command::new(python())
            .arg(workspace().join("tests/agreement").join(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    pub(crate) fn ask<A: DeserializeOwned>(&mut self, question: &impl Serialize) -> A {
        writeln!(self.input, "{}", serde_json::to_string(question).unwrap()).unwrap();
        self.input.flush().unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the reference program ended without an answer");
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
