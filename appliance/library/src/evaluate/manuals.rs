//! Documents with real questions, from Debian packages that are fetched by name and never kept in the repository.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::EvaluateError;

/// One folder or file of a package.
struct Manual {
    package: &'static str,
    /// Inside the package; a file, or a folder whose files are taken.
    path: &'static str,
    /// How names of the files that are taken end.
    ending: &'static str,
}

/// What is read. The FAQs bring the questions; the rest makes finding them as hard as it is in a full library.
const MANUALS: &[Manual] = &[
    Manual { package: "debian-faq", path: "usr/share/doc/debian/FAQ", ending: ".en.html" },
    Manual { package: "python3.11-doc", path: "usr/share/doc/python3.11/html/faq", ending: ".html" },
    Manual { package: "python3.11-doc", path: "usr/share/doc/python3.11/html/tutorial", ending: ".html" },
    Manual { package: "privoxy", path: "usr/share/doc/privoxy/faq", ending: ".html" },
    Manual { package: "privoxy", path: "usr/share/doc/privoxy/user-manual", ending: ".html" },
    Manual { package: "fetchmail", path: "usr/share/doc/fetchmail", ending: "fetchmail-FAQ.html" },
    Manual { package: "sqlite3-doc", path: "usr/share/doc/sqlite3", ending: "faq.html" },
    Manual { package: "developers-reference", path: "usr/share/developers-reference", ending: ".en.html" },
];
/// Most files taken of one folder.
const MAX_FILES: usize = 200;

/// The files of all manuals, fetched and unpacked below `documents` unless they are there already.
pub(super) fn fetch(documents: &Path) -> Result<Vec<PathBuf>, EvaluateError> {
    let mut files = Vec::new();
    for manual in MANUALS {
        let root = documents.join(manual.package);
        if !root.is_dir() {
            unpack(manual.package, documents, &root)?;
        }
        let folder = root.join(manual.path);
        let mut found: Vec<PathBuf> = match fs::read_dir(&folder) {
            Ok(entries) => entries
                .filter_map(Result::ok)
                .map(|entry| entry.path())
                .filter(|path| path.to_string_lossy().ends_with(manual.ending) && path.is_file())
                .collect(),
            // Another release may keep this folder elsewhere; the report says how many documents were read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(EvaluateError::Io { what: folder.display().to_string(), source }),
        };
        found.sort();
        found.truncate(MAX_FILES);
        files.extend(found);
    }
    Ok(files)
}

/// Unpacks beside and renames, so that an interrupted unpacking is never taken for a whole one.
fn unpack(package: &str, documents: &Path, root: &Path) -> Result<(), EvaluateError> {
    let io = |source| EvaluateError::Io { what: root.display().to_string(), source };
    let download = documents.join("download").join(package);
    fs::create_dir_all(&download).map_err(io)?;
    let fetch =
        || run(Command::new("apt-get").args(["download", "-qq", package]).current_dir(&download), package);
    if fetch().is_err() {
        // A machine that has never listed its packages knows none.
        run(Command::new("apt-get").args(["update", "-qq"]), package)?;
        fetch()?;
    }
    let archive = fs::read_dir(&download)
        .map_err(io)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| EvaluateError::Package(format!("apt-get fetched no file for {package}")))?;
    let partial = documents.join(format!(".{package}"));
    run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&partial), package)?;
    fs::rename(&partial, root).map_err(io)
}

fn run(command: &mut Command, package: &str) -> Result<(), EvaluateError> {
    let failed = |how: String| {
        EvaluateError::Package(format!("the Debian package {package} could not be fetched: {how}"))
    };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(failed(words.lines().last().unwrap_or("it ended without a word").to_owned()))
}
