//! `cairn library add`

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::{
    console::{self, Request, Step},
    data::Folder,
    outcome::{Code, Failure, while_doing},
};

/// Deepest folder that is looked into.
const MAX_DEPTH: usize = 16;
/// Most files of one command.
const MAX_FILES: usize = 100_000;
/// Files that the library can read, by the end of their names.
const READABLE: &[&str] = &["md", "markdown", "txt", "text", "html", "htm", "xhtml", "pdf", "epub", "zim"];

pub(super) async fn add(folder: &Folder, paths: &[PathBuf]) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.exists() {
            return Err(Failure::new(Code::Refused, format!("{} is not there", path.display()))
                .kept("Nothing was added."));
        }
        // A file that was named is taken whatever its name; in folders, only what can be read.
        if path.is_dir() { collect(path, 0, &mut files)? } else { files.push(path.clone()) }
    }
    if files.is_empty() {
        let kinds = READABLE.join(", ");
        return Err(Failure::new(
            Code::Refused,
            format!("there is no file to add; the library reads {kinds}"),
        ));
    }
    let (mut added, mut troubles) = (0_usize, Vec::new());
    for path in &files {
        match add_one(folder, path).await {
            Ok(line) => {
                added += 1;
                println!("{line}");
            }
            // Without a hub, the others would fare no better.
            Err(Added::Hub(failure)) => {
                return Err(failure.kept(format!("{added} documents were added before.")));
            }
            Err(Added::File(trouble)) => troubles.push(format!("{}: {trouble}", path.display())),
        }
    }
    println!("{added} of {} documents added.", files.len());
    if troubles.is_empty() {
        return Ok(());
    }
    let happened = format!("{} files could not be added:\n  {}", troubles.len(), troubles.join("\n  "));
    Err(Failure::new(Code::Refused, happened).kept("All others are in the library."))
}

enum Added {
    Hub(Failure),
    File(String),
}

async fn add_one(folder: &Folder, path: &Path) -> Result<String, Added> {
    let file = File::open(path).map_err(|error| Added::File(error.to_string()))?;
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let hub = console::connect(folder).map_err(Added::Hub)?;
    hub.ask(Request::AddDocument { file_name }, Some(file)).await.map_err(Added::Hub)?;
    let mut line = String::new();
    loop {
        match hub.next().await.map_err(|failure| Added::File(failure.to_string()))? {
            Step::Added { title, outcome, searchable } => {
                line = format!("{} {title}: {outcome}", if searchable { "+" } else { "!" });
            }
            Step::Done(_) => return Ok(line),
            _ => {}
        }
    }
}

/// Readable files in and below `folder`, in the order of their names; links are not followed.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    let reading = || while_doing(format!("reading the folder {}", folder.display()));
    let mut entries =
        fs::read_dir(folder).map_err(reading())?.collect::<Result<Vec<_>, _>>().map_err(reading())?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().map_err(reading())?);
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if hidden || kind.is_symlink() {
            continue;
        }
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        if kind.is_dir() {
            collect(&path, depth + 1, files)?;
        } else if extension.is_some_and(|extension| READABLE.contains(&extension.as_str())) {
            if files.len() == MAX_FILES {
                return Err(Failure::new(Code::Refused, format!("there are more than {MAX_FILES} files"))
                    .kept("Nothing was added.")
                    .next("Add the folders below one by one."));
            }
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_what_can_be_read_and_follows_no_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        for name in ["b.md", "a.PDF", "c.exe", ".hidden.md", "sub/d.txt"] {
            fs::write(path(name), b"x").unwrap();
        }
        std::os::unix::fs::symlink(path("b.md"), path("link.md")).unwrap();
        std::os::unix::fs::symlink(folder.path(), path("sub/loop")).unwrap();
        let mut files = Vec::new();
        collect(folder.path(), 0, &mut files).unwrap();
        assert_eq!(files, [path("a.PDF"), path("b.md"), path("sub/d.txt")]);
    }
}
