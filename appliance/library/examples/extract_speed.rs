//! How fast real documents are read and cut, per format.
//!
//! `cargo run --release -p cairn-library --example extract_speed -- FILE…` reads each file three times in this process and
//! prints the median; `--show FILE` prints the blocks and passages instead.

use std::{collections::BTreeMap, error::Error, fs::File, path::Path, time::Instant};

use cairn_library::{
    extract::{Hint, Input, Limits, extract},
    split::split,
};

const RUNS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let show = arguments.first().is_some_and(|first| first == "--show");
    if show {
        arguments.remove(0);
    }
    let mut totals: BTreeMap<String, (u64, f64, usize)> = BTreeMap::new();
    for path in &arguments {
        let path = Path::new(path);
        let hint = Hint::from_name(path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default());
        let bytes = path.metadata()?.len();
        let mut seconds = Vec::new();
        let mut last = None;
        for _ in 0..if show { 1 } else { RUNS } {
            let input = Input::from_file(File::open(path)?)?;
            let started = Instant::now();
            let outcome = extract(&input, &hint, &Limits::default()).map(|document| {
                let passages = split(&document.blocks);
                (document, passages)
            });
            seconds.push(started.elapsed().as_secs_f64());
            last = Some(outcome);
        }
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN);
        match last {
            Some(Ok((document, passages))) => {
                let text: usize = document.blocks.iter().map(|block| block.text.len()).sum();
                println!(
                    "{}: {} {:?} {:?}, {} blocks, {} KB of text, {} passages, {:.2} MB/s; {:?}",
                    hint.name,
                    document.summary.format,
                    document.summary.title,
                    document.summary.language,
                    document.blocks.len(),
                    text / 1000,
                    passages.len(),
                    bytes as f64 / 1e6 / median,
                    document.summary.notices,
                );
                if show {
                    for block in &document.blocks {
                        println!("{:?} {:?} {}", block.kind, block.location, block.text);
                    }
                    for passage in &passages {
                        println!(
                            "--- {} [{}] {:?}\n{}",
                            passage.ordinal,
                            passage.heading(),
                            passage.location,
                            passage.text
                        );
                    }
                }
                let total = totals.entry(document.summary.format.to_string()).or_default();
                *total = (total.0 + bytes, total.1 + median, total.2 + passages.len());
            }
            Some(Err(error)) => println!("{error}"),
            None => {}
        }
    }
    for (format, (bytes, seconds, passages)) in totals {
        println!(
            "{format}: {:.1} MB in {seconds:.2} s, {:.2} MB/s, {:.0} passages/s",
            bytes as f64 / 1e6,
            bytes as f64 / 1e6 / seconds,
            passages as f64 / seconds
        );
    }
    Ok(())
}
