//! Real documents, as Debian ships them. Fetched once into the build folder with `apt-get download`; nothing of them
//! is kept in the repository.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::{Duration, Instant},
};

use cairn_library::{
    extract::{Block, Extractor, ExtractorCommand, Format, Hint},
    split::{estimate_tokens, split},
};

/// Packages and what is read of them.
const PACKAGES: &[&str] =
    &["debian-faq", "debian-policy", "debian-reference-es", "debian-reference-fr", "developers-reference"];
const PDFS: &[(&str, &str)] = &[
    ("usr/share/doc/debian/FAQ/debian-faq.en.pdf.gz", "en"),
    ("usr/share/doc/debian-policy/policy.pdf.gz", "en"),
    ("usr/share/debian-reference/debian-reference.es.pdf", "es"),
    ("usr/share/debian-reference/debian-reference.fr.pdf", "fr"),
    ("usr/share/developers-reference/developers-reference.pdf", "en"),
];
const BOOKS: &[&str] =
    &["usr/share/doc/debian-policy/policy.epub", "usr/share/developers-reference/developers-reference.epub"];
const PAGES: &[&str] =
    &["usr/share/doc/debian/FAQ/choosing.en.html", "usr/share/doc/debian/FAQ/basic-defs.en.html"];
/// Share of the words that poppler finds which must be found here.
const RECALL: f64 = 0.97;

/// How long another process may hold the system's package lists.
const LISTS_WITHIN: Duration = Duration::from_secs(120);

static FOLDER: LazyLock<PathBuf> = LazyLock::new(fetch);

/// Fetched by one of the tests, while the others, each a process of its own, wait for it.
fn fetch() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real-documents");
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let done = folder.join("complete");
    if done.exists() {
        return folder;
    }
    let run = |command: &mut Command| -> Result<(), String> {
        let output = command.current_dir(&folder).output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
    };
    let download = || run(Command::new("apt-get").args(["-q", "download"]).args(PACKAGES));
    let deadline = Instant::now() + LISTS_WITHIN;
    while let Err(why) = download() {
        // Somebody else may be renewing the lists at this moment; then theirs are as good as ours.
        let renewed = run(Command::new("apt-get").args(["-q", "update"]));
        assert!(
            Instant::now() < deadline,
            "the packages {PACKAGES:?}, whose documents this test reads, could not be fetched: {why} {renewed:?}"
        );
    }
    for entry in fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|e| e == "deb"))
    {
        if let Err(why) = run(Command::new("dpkg-deb").arg("-x").arg(entry.path()).arg(".")) {
            panic!("{:?} could not be unpacked: {why}", entry.path());
        }
    }
    File::create(done).unwrap();
    folder
}

/// The file, unpacked where Debian packed it.
fn real(path: &str) -> PathBuf {
    let path = FOLDER.join(path);
    if path.extension().is_none_or(|extension| extension != "gz") {
        return path;
    }
    let plain = path.with_extension("");
    if !plain.exists() {
        let unpacked = Command::new("gzip").arg("-dc").arg(&path).output().unwrap();
        assert!(unpacked.status.success());
        let part = path.with_extension("part");
        fs::write(&part, unpacked.stdout).unwrap();
        fs::rename(part, &plain).unwrap();
    }
    plain
}

async fn read(path: &Path) -> cairn_library::extract::Extracted {
    let extractor = Extractor::new(ExtractorCommand::new(env!("CARGO_BIN_EXE_extract-child"), [""; 0]));
    let name = path.file_name().unwrap().to_string_lossy();
    extractor
        .extract(File::open(path).unwrap(), &Hint::from_name(name))
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

fn words(text: &str) -> HashMap<String, usize> {
    let mut words = HashMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 1) {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
    words
}

fn all(blocks: &[Block]) -> String {
    blocks.iter().map(|block| block.text.as_str()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn pdfs_hold_the_words_that_poppler_finds() {
    for (path, language) in PDFS {
        let path = real(path);
        let document = read(&path).await;
        assert_eq!(document.summary.language.as_deref(), Some(*language), "{path:?}");
        assert!(document.summary.title.is_some(), "{path:?}");
        let last = document.blocks.last().and_then(|block| block.location.page).unwrap();
        assert!(last > 50, "{path:?}: {last} pages");
        let reference = Command::new("pdftotext")
            .arg(&path)
            .arg("-")
            .output()
            .expect("pdftotext is needed for this test: apt-get install poppler-utils");
        // Contents, running heads and page numbers are left out on purpose.
        let reference: String = String::from_utf8_lossy(&reference.stdout)
            .lines()
            .filter(|line| {
                !line.contains(". . . .") && line.chars().filter(|c| c.is_alphabetic()).count() > 30
            })
            .map(|line| format!("{}\n", line.trim_end_matches('-')))
            .collect();
        let (expected, found) = (words(&reference), words(&all(&document.blocks)));
        let total: usize = expected.values().sum();
        let hits: usize = expected.iter().map(|(word, count)| count.min(found.get(word).unwrap_or(&0))).sum();
        let recall = hits as f64 / total as f64;
        assert!(recall > RECALL, "{path:?}: {recall:.4} of {total} words");
    }
}

#[tokio::test]
async fn books_and_pages_are_read_whole() {
    for path in BOOKS {
        let document = read(&real(path)).await;
        assert_eq!((document.summary.format, document.summary.notices.len()), (Format::Epub, 0), "{path}");
        assert!(all(&document.blocks).len() > 200_000, "{path}");
        let chapters = document.blocks.iter().filter(|block| block.location.chapter.is_some()).count();
        assert!(
            chapters * 10 > document.blocks.len() * 9,
            "{path}: {chapters} of {} blocks",
            document.blocks.len()
        );
    }
    for path in PAGES {
        let document = read(&real(path)).await;
        assert_eq!(document.summary.format, Format::Html, "{path}");
        let text = all(&document.blocks);
        assert!(text.len() > 3000 && !text.contains("[ next ]"), "{path}: {text}");
    }
}

#[tokio::test]
async fn passages_of_real_books_fit_the_embedding_model() {
    let mut sizes = Vec::new();
    for path in BOOKS {
        for passage in split(&read(&real(path)).await.blocks) {
            sizes.push(estimate_tokens(&passage.text));
        }
    }
    let over = sizes.iter().filter(|tokens| **tokens > 254).count();
    assert!(
        sizes.len() > 800 && over * 100 <= sizes.len(),
        "{over} of {} passages are too long",
        sizes.len()
    );
}
