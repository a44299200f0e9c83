//! The initramfs: busybox, `dmsetup` with its libraries, the modules that reach the root, and our `init`.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    modules::Modules,
    run::{EPOCH, output, tool},
};

const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
const DEVICE: u32 = 0o020_000;

/// A cpio archive in the "newc" format, as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Debug, Default)]
struct Archive {
    bytes: Vec<u8>,
    count: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    fn folder(&mut self, name: &str) {
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.folder(parent);
        }
        if self.folders.insert(name.to_owned()) {
            self.entry(name, FOLDER | 0o755, &[], (0, 0));
        }
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.folder(parent);
        }
        self.entry(name, FILE | mode, content, (0, 0));
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8], device: (u32, u32)) {
        self.count += 1;
        let fields = [
            self.count,
            mode,
            0,
            0,
            1,
            u32::try_from(EPOCH).unwrap_or(0),
            u32::try_from(content.len()).unwrap_or(u32::MAX),
            0,
            0,
            device.0,
            device.1,
            u32::try_from(name.len() + 1).unwrap_or(0),
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.count = 0;
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        self.bytes
    }
}

/// Makes the initramfs (zstd-compressed) from an assembled root, the kernel's modules, `init` and the list of modules to load.
///
/// # Errors
/// When a part is missing.
pub fn make(root: &Path, modules: &Modules, list: &str, init: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "run", "root", "bin"] {
        archive.folder(folder);
    }
    // Before /dev is mounted the kernel opens its console for init.
    archive.entry("dev/console", DEVICE | 0o600, &[], (5, 1));
    archive.file("init", 0o755, init);
    let read = |path: &str| fs::read(root.join(path)).with_context(|| format!("{path} is not in the root"));
    archive.file("bin/busybox", 0o755, &read("usr/bin/busybox")?);
    archive.entry("bin/sh", LINK | 0o777, b"busybox", (0, 0));
    archive.file("bin/dmsetup", 0o755, &read("usr/sbin/dmsetup")?);
    for library in libraries(root, &root.join("usr/sbin/dmsetup"))? {
        let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let place = if name.starts_with("ld-linux") { "lib" } else { "lib/aarch64-linux-gnu" };
        archive.file(&format!("{place}/{name}"), 0o755, &fs::read(&library)?);
    }
    let mut order = String::new();
    for file in modules.closure(list)? {
        let name = file.rsplit('/').next().unwrap_or(&file).trim_end_matches(".xz").to_owned();
        archive.file(&format!("modules/{name}"), 0o644, &modules.content(&file)?);
        order += &format!("{name}\n");
    }
    archive.file("modules/order", 0o644, order.as_bytes());
    let mut encoder = zstd::Encoder::new(Vec::new(), 19)?;
    // The kernel's decompressor checks it; a torn file must not be unpacked.
    encoder.include_checksum(true)?;
    encoder.write_all(&archive.finish())?;
    Ok(encoder.finish()?)
}

/// The libraries that a program needs, directly or not, and the loader.
fn libraries(root: &Path, program: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join("usr/lib/aarch64-linux-gnu");
    let mut found = BTreeSet::new();
    let mut open = vec![program.to_owned()];
    while let Some(next) = open.pop() {
        for line in output(tool("readelf").args(["--dynamic", "--wide"]).arg(&next))?.lines() {
            let Some((_, name)) = line.split_once("(NEEDED)").and_then(|(_, rest)| rest.split_once('['))
            else {
                continue;
            };
            let path = folder.join(name.trim_end_matches(']'));
            if path.exists() && found.insert(path.clone()) {
                open.push(path);
            }
        }
    }
    found.insert(folder.join("ld-linux-aarch64.so.1"));
    Ok(found.into_iter().collect())
}
