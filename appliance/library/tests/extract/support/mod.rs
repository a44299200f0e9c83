//! Sample documents of every format, made here, and ways to damage them.
#![allow(dead_code, missing_docs, reason = "each test uses a part of it")]

pub mod epub;
pub mod pdf;
pub mod zim;

use cairn_library::extract::{BlockKind, ExtractError, Extracted, Hint, Input, Limits, extract};

pub const ENGLISH: &str = "Boil the water for at least one minute before you drink it. In the mountains, above two \
    thousand metres, boil it for three minutes. Let it cool in a clean, covered vessel and do not touch it with your hands.";

pub fn read(bytes: impl Into<Vec<u8>>, name: &str) -> Result<Extracted, ExtractError> {
    extract(&Input::from_bytes(bytes), &Hint::from_name(name), &Limits::default())
}

/// Kind and text of every block.
pub fn blocks(document: &Extracted) -> Vec<(BlockKind, &str)> {
    document.blocks.iter().map(|block| (block.kind, block.text.as_str())).collect()
}

pub fn text(document: &Extracted) -> String {
    document.blocks.iter().map(|block| block.text.as_str()).collect::<Vec<_>>().join("\n")
}

/// A valid document of every format, with the name that it would be uploaded under.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let markdown = format!(
        "# Water\n\n{ENGLISH}\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n"
    )
    .repeat(8);
    let html = format!(
        "<!DOCTYPE html><html lang=en><head><title>Water</title><script>if (a<b) x()</script></head><body><nav>Home</nav>\
         <main><h1 id=w>Water</h1><p>{ENGLISH}<ul><li>one<li>two</ul><table><tr><td>1<td>2</table></main></body></html>"
    );
    let page = [
        pdf::Text::new(18.0, 72.0, 700.0, "Water"),
        pdf::Text::new(
            11.0,
            72.0,
            660.0,
            "Boil the water for at least one minute before you drink it. In the",
        ),
        pdf::Text::new(11.0, 72.0, 646.0, "mountains boil it for three minutes."),
    ];
    let chapter = format!("<html><body><h1>Water</h1><p>{ENGLISH}</p></body></html>");
    vec![
        ("water.txt", format!("Water\n=====\n\n{ENGLISH}\n\n- one\n- two\n").repeat(8).into_bytes()),
        ("water.md", markdown.into_bytes()),
        ("water.html", html.into_bytes()),
        ("water.pdf", pdf::document(&[&page, &page])),
        ("water.epub", epub::book("Water", &[("One", &chapter), ("Two", &chapter)])),
        ("water.zim", zim::archive(zim::Compression::Zstd, &[("Water", &chapter), ("Fire", &chapter)])),
    ]
}

/// A small generator whose seed is all there is to know of a run (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}
