//! Files that want to do harm: each ends soon, in bounded memory, with a sentence or with the part that is well.

use std::{
    fs::File,
    io::Write,
    time::{Duration, Instant},
};

use crate::support::{ENGLISH, Random, epub, pdf, read, samples, text, zim};
use cairn_library::extract::{
    ExtractError, Extracted, Extractor, ExtractorCommand, Format, Hint, Limit, Limits, Reason,
};

const MIB: u64 = 1024 * 1024;
/// Memory and time that no hostile file may exceed; the hub's own limits are wider.
const MEMORY: u64 = 192 * MIB;
const SECONDS: u64 = 30;

/// Reads in the confined child, as the hub does, and sees that it ends in time.
fn in_child(bytes: &[u8], name: &str) -> Result<Extracted, ExtractError> {
    let limits = Limits {
        memory_bytes: MEMORY,
        soft_time: Duration::from_secs(SECONDS / 2),
        cpu_time: Duration::from_secs(SECONDS),
        wall_time: Duration::from_secs(SECONDS * 4),
        ..Limits::default()
    };
    let extractor = Extractor::with_limits(
        ExtractorCommand::new(env!("CARGO_BIN_EXE_extract-child"), [""; 0]),
        limits.clone(),
    );
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(extractor.extract(file, &Hint::from_name(name)));
    assert!(started.elapsed() < limits.wall_time + Duration::from_secs(5), "{name}: {:?}", started.elapsed());
    if let Ok(document) = &outcome {
        let size: usize = document.blocks.iter().map(|block| block.text.len()).sum();
        assert!(size as u64 <= limits.text_bytes + MIB, "{name}: {size} bytes of text");
    }
    outcome
}

fn reason(outcome: Result<Extracted, ExtractError>) -> Reason {
    outcome.expect_err("a hostile file was read").reason
}

#[test]
fn an_archive_bomb_is_recognised() {
    assert_eq!(reason(in_child(&epub::bomb(30), "bomb.epub")), Reason::TooLarge(Limit::UnpackRatio(200)));
}

#[test]
fn an_archive_in_an_archive_is_not_opened() {
    let inner = epub::bomb(30);
    let package = epub::package("Nested", 1);
    let outer = epub::container(&[
        ("META-INF/container.xml", epub::CONTAINER.as_bytes()),
        ("OEBPS/book.opf", package.as_bytes()),
        ("OEBPS/c0.xhtml", b"<p>Only words.</p>"),
        ("OEBPS/inner.epub", &inner),
    ]);
    assert_eq!(text(&in_child(&outer, "nested.epub").unwrap()), "Only words.");
    let plain = epub::container(&[("a.zip", &inner)]).into_iter().collect::<Vec<u8>>();
    assert!(matches!(reason(in_child(&plain, "b.epub")), Reason::Damaged { format: Format::Epub, .. }));
}

#[test]
fn names_that_leave_the_archive_lead_nowhere() {
    let package = epub::package("Traversal", 1).replace("c0.xhtml", "../../../../../../etc/hostname");
    let book = epub::container(&[
        ("META-INF/container.xml", epub::CONTAINER.as_bytes()),
        ("OEBPS/book.opf", package.as_bytes()),
        ("../../../../etc/hostname", b"<p>from the archive</p>"),
    ]);
    assert_eq!(reason(in_child(&book, "t.epub")), Reason::NoText);
}

#[test]
fn too_many_entries_are_refused() {
    let names: Vec<String> = (0..20_001).map(|n| format!("f{n}")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert_eq!(
        reason(in_child(&epub::container(&entries), "many.epub")),
        Reason::TooLarge(Limit::Entries(20_000))
    );
}

#[test]
fn a_pdf_that_goes_in_circles_ends() {
    for (name, bytes) in pdf::loops() {
        match in_child(&bytes, name) {
            Ok(document) => assert!(text(&document).contains("words before the loop"), "{name}"),
            Err(error) => {
                assert!(matches!(error.reason, Reason::Damaged { .. } | Reason::NoText), "{name}: {error}")
            }
        }
    }
}

#[test]
fn markup_nested_a_hundred_thousand_deep_is_read() {
    for tag in ["div", "b", "ul><li", "table><tr><td", "nav", "blockquote><p", "svg"] {
        let page =
            format!("<p>{ENGLISH}</p>{}deep{}", format!("<{tag}>").repeat(100_000), "</div>".repeat(100_000));
        let document =
            in_child(page.as_bytes(), "deep.html").unwrap_or_else(|error| panic!("{tag}: {error}"));
        assert!(text(&document).starts_with(ENGLISH), "{tag}");
    }
    let markdown = format!("{ENGLISH}\n\n{}deep", "> ".repeat(20_000));
    assert!(text(&in_child(markdown.as_bytes(), "deep.md").unwrap()).starts_with(ENGLISH));
    let brackets = format!("{ENGLISH}\n\n{}", "[".repeat(100_000));
    assert!(text(&in_child(brackets.as_bytes(), "brackets.md").unwrap()).starts_with(ENGLISH));
}

#[test]
fn an_enormous_table_is_cut_or_read() {
    let rows = "<tr><td>cell<td>cell".repeat(1_000_000);
    let document = in_child(format!("<table>{rows}").as_bytes(), "table.html").unwrap();
    assert!(
        document.blocks.len() == 1_000_000 || !document.summary.notices.is_empty(),
        "{} rows",
        document.blocks.len()
    );
    let cells = format!("<table><tr>{}", "<td>cell".repeat(1_000_000));
    assert!(text(&in_child(cells.as_bytes(), "wide.html").unwrap()).starts_with("cell | cell"));
}

#[test]
fn an_archive_with_pointers_out_of_itself_is_refused() {
    let good = zim::archive(zim::Compression::Zstd, &[("Water", "<p>Boil it.</p>")]);
    let far = (good.len() as u64 * 1000).to_le_bytes();
    for (what, at, bytes) in [
        ("directory", zim::PATH_POINTERS, &far[..]),
        ("directory at the end of numbers", zim::PATH_POINTERS, &[0xff; 8]),
        ("clusters", zim::CLUSTER_POINTERS, &far),
        ("media types", zim::MIME_LIST, &far),
        ("number of entries", zim::ENTRY_COUNT, &[0xff; 4]),
        ("number of clusters", zim::CLUSTER_COUNT, &[0xff; 4]),
    ] {
        let mut file = good.clone();
        zim::put(&mut file, at, bytes);
        assert!(
            matches!(reason(in_child(&file, what)), Reason::Damaged { format: Format::Zim, .. }),
            "{what}"
        );
    }
}

#[test]
fn files_cut_off_anywhere_give_a_part_or_a_sentence() {
    for (name, bytes) in samples() {
        for sixteenth in 0..16 {
            let cut = &bytes[..bytes.len() * sixteenth / 16];
            if let Err(error) = read(cut, name) {
                assert!(!matches!(error.reason, Reason::Crashed { .. }), "{name} at {sixteenth}/16: {error}");
            }
        }
    }
}

#[test]
fn random_bytes_are_no_document() {
    let mut random = Random::new(0x5eed);
    for start in [&b""[..], b"%PDF-1.7\n", b"PK\x03\x04", b"ZIM\x04", b"<html>"] {
        let mut bytes = start.to_vec();
        bytes.extend((0..200_000).map(|_| random.next() as u8));
        if let Err(error) = in_child(&bytes, "random") {
            assert!(!matches!(error.reason, Reason::NotRun { .. } | Reason::Forbidden), "{error}");
        }
    }
}

/// Every format, damaged at random; the seed of a failure is in its message and can be set as `CAIRN_SEED`.
#[test]
fn damaged_samples_never_break_the_reader() {
    const ROUNDS: u64 = 150;
    let seed = std::env::var("CAIRN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0xca12_u64);
    println!("seed {seed}");
    for (name, original) in samples() {
        for round in 0..ROUNDS {
            let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(round));
            let mut bytes = original.clone();
            for _ in 0..=random.below(12) {
                let (at, length) = (random.below(bytes.len()), random.below(16) + 1);
                match random.below(5) {
                    0 => bytes[at] ^= 1 << random.below(8),
                    1 => bytes[at] = random.next() as u8,
                    2 => drop(bytes.drain(at..(at + length).min(bytes.len()))),
                    3 => {
                        let copy: Vec<u8> = bytes[at..(at + length * 8).min(bytes.len())].to_vec();
                        bytes.splice(at..at, copy);
                    }
                    _ => bytes.splice(at..at, [0xff, 0xff, 0xff, 0x7f]).for_each(drop),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            let started = Instant::now();
            let outcome = read(bytes, name);
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "{name}, seed {seed}, round {round}: too slow"
            );
            if let Err(ExtractError { reason: Reason::Crashed { how }, .. }) = outcome {
                // A panic of the PDF interpreter costs the file; our own readers have none.
                assert!(name.ends_with(".pdf"), "{name}, seed {seed}, round {round}: {how}");
            }
        }
    }
}

#[test]
fn a_file_that_needs_too_much_memory_or_time_is_stopped() {
    let run = |limits: Limits, bytes: &[u8], name: &str| {
        let extractor = Extractor::with_limits(
            ExtractorCommand::new(env!("CARGO_BIN_EXE_extract-child"), [""; 0]),
            limits,
        );
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        reason(runtime.block_on(extractor.extract(file, &Hint::from_name(name))))
    };
    let large = "water ".repeat(8_000_000);
    let memory = Limits { memory_bytes: 24 * MIB, ..Limits::default() };
    assert_eq!(run(memory, large.as_bytes(), "large.txt"), Reason::OutOfMemory { mebibytes: 24 });
    let time = Limits { cpu_time: Duration::from_secs(1), ..Limits::default() };
    // Attributes of one tag are compared each with each by the tokenizer.
    let attributes: String = (0..400_000).map(|n| format!("a{n}=1 ")).collect();
    assert_eq!(
        run(time, format!("<p {attributes}>").as_bytes(), "slow.html"),
        Reason::TimedOut { seconds: 1 }
    );
    let size = Limits { input_bytes: 1000, ..Limits::default() };
    assert_eq!(run(size, large.as_bytes(), "large.txt"), Reason::TooLarge(Limit::InputBytes(1000)));
}

#[test]
fn a_file_that_is_none_is_not_read() {
    assert!(cairn_library::extract::Input::from_file(File::open("/dev/zero").unwrap()).is_err());
}
