//! The files that run a gateway elsewhere hold to the published schemas of what reads them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use cairn_tests::environment;

/// A tool from the environment of the tests' Python, on one file.
fn check(tool: &str, arguments: &[&str], file: &Path) -> Output {
    let program = environment::python().unwrap().with_file_name(tool);
    Command::new(program).args(arguments).arg(file).output().unwrap()
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ota/gateway/deploy").join(name)
}

/// Checks the file as it is, and with one key misspelt: a checker that lets that pass checks nothing.
fn holds(tool: &str, arguments: &[&str], name: &str, key: &str) {
    let file = shipped(name);
    let output = check(tool, arguments, &file);
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&said));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(key), "{name} has no {key}");
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join(name);
    std::fs::write(&wrong, text.replacen(key, &format!("x{key}"), 1)).unwrap();
    assert!(!check(tool, arguments, &wrong).status.success(), "{name} may say x{key}");
}

#[test]
fn the_compose_file_holds_to_the_compose_specification() {
    holds(
        "check-jsonschema",
        &["--builtin-schema", "vendor.compose-spec"],
        "compose.yaml",
        "stop_grace_period",
    );
}

#[test]
fn the_manifests_hold_to_the_schemas_of_kubernetes() {
    holds("kubernetes-validate", &["--strict"], "kubernetes.yaml", "terminationGracePeriodSeconds");
}
