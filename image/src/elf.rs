//! Whether every program in the root finds the libraries that it asks for: packages are unpacked without their
//! dependencies' scripts and some dependencies are left out on purpose, so this is checked rather than hoped.

use std::{collections::BTreeSet, fs, io::Read, path::Path};

use anyhow::{Result, bail};

use crate::run::{output, tool};

/// Fails when a program or library of the root needs a library that the root has not.
///
/// # Errors
/// That; or when the root cannot be read.
pub fn check(root: &Path) -> Result<()> {
    let (mut programs, mut names) = (Vec::new(), BTreeSet::new());
    walk(root, &mut |path| {
        let name = path.file_name().and_then(|name| name.to_str());
        names.extend(name.filter(|name| name.contains(".so")).map(str::to_owned));
        let meta = fs::symlink_metadata(path)?;
        if meta.is_file() && meta.len() > 64 && !path.to_string_lossy().contains(".ko") {
            let mut magic = [0; 4];
            fs::File::open(path)?.read_exact(&mut magic)?;
            if magic == *b"\x7fELF" {
                programs.push(path.to_owned());
            }
        }
        Ok(())
    })?;
    let mut missing = BTreeSet::new();
    let mut file = String::new();
    for line in output(tool("readelf").args(["--dynamic", "--wide"]).args(&programs))?.lines() {
        if let Some(path) = line.strip_prefix("File: ") {
            path.clone_into(&mut file);
        } else if line.contains("(NEEDED)")
            && let Some((_, name)) = line.split_once('[')
            && let name = name.trim_end_matches(']')
            && !names.contains(name)
        {
            missing.insert(format!("{} needs {name}", file.trim_start_matches(&*root.to_string_lossy())));
        }
    }
    if !missing.is_empty() {
        bail!(
            "libraries are missing in the root:\n  {}",
            missing.into_iter().collect::<Vec<_>>().join("\n  ")
        );
    }
    Ok(())
}

/// Calls `visit` for everything below a folder, in order of names, never through a link.
///
/// # Errors
/// What `visit` gives, or when a folder cannot be read.
pub fn walk(folder: &Path, visit: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        visit(&path)?;
        // `visit` may have removed it.
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            walk(&path, visit)?;
        }
    }
    Ok(())
}
