//! Passages: size, sentences, headings, nothing lost.

use cairn_library::{
    extract::{Block, BlockKind, Location},
    split::{Passage, estimate_tokens, split},
};
use proptest::prelude::*;
use unicode_segmentation::UnicodeSegmentation;

fn block(kind: BlockKind, text: impl Into<String>) -> Block {
    Block { kind, text: text.into(), location: Location { page: Some(3), ..Location::default() } }
}

fn words(text: &str) -> usize {
    text.unicode_words().count()
}

fn sentences(count: usize, words: usize) -> String {
    let sentence =
        |n: usize| format!("Sentence {n} says {}.", "that water flows down ".repeat(words / 4).trim());
    (0..count).map(sentence).collect::<Vec<_>>().join(" ")
}

#[test]
fn passages_have_the_wanted_size_and_end_with_sentences() {
    let blocks: Vec<Block> = (0..40).map(|_| block(BlockKind::Paragraph, sentences(4, 16))).collect();
    let passages = split(&blocks);
    assert!(passages.len() > 10);
    for passage in &passages[..passages.len() - 1] {
        assert!((120..=220).contains(&words(&passage.text)), "{} words", words(&passage.text));
        assert!(estimate_tokens(&passage.text) <= 230);
        assert!(passage.text.ends_with('.'));
        assert_eq!(passage.location.page, Some(3));
    }
    assert_eq!(
        passages.iter().map(|passage| passage.ordinal).collect::<Vec<_>>(),
        (0..passages.len() as u32).collect::<Vec<_>>()
    );
}

#[test]
fn a_long_paragraph_repeats_one_sentence_where_it_is_cut_and_paragraphs_do_not() {
    let cut = split(&[block(BlockKind::Paragraph, sentences(40, 16))]);
    assert!(cut.len() > 2);
    for pair in cut.windows(2) {
        let last = pair[0].text.rsplit_once(". ").map_or(pair[0].text.as_str(), |(_, last)| last);
        assert!(pair[1].text.starts_with(last), "{last:?} / {:?}", pair[1].text);
    }
    let paragraphs: Vec<Block> =
        (0..8).map(|n| block(BlockKind::Paragraph, format!("P{n}. {}", sentences(6, 24)))).collect();
    for (n, passage) in split(&paragraphs).iter().enumerate() {
        assert!(passage.text.starts_with(&format!("P{n}.")), "{}", passage.text);
    }
}

#[test]
fn headings_make_a_path_and_tiny_sections_are_joined() {
    let long = || block(BlockKind::Paragraph, sentences(5, 16));
    let passages = split(&[
        block(BlockKind::Heading(1), "Water"),
        long(),
        block(BlockKind::Heading(2), "Wells"),
        long(),
        block(BlockKind::Heading(3), "Sand"),
        block(BlockKind::Paragraph, "Short."),
        block(BlockKind::Heading(3), "Stone"),
        block(BlockKind::Paragraph, "Short too."),
        block(BlockKind::Heading(1), "Fire"),
        long(),
    ]);
    let paths: Vec<String> = passages.iter().map(Passage::heading).collect();
    assert_eq!(paths[..2], ["Water", "Water › Wells"]);
    let joined = &passages[2].text;
    assert!(
        joined.starts_with("Water\nWells\nSand\nShort.") || joined.starts_with("Sand\nShort."),
        "{joined}"
    );
    assert!(joined.contains("Stone\nShort too."), "{joined}");
}

#[test]
fn a_table_repeats_its_head_where_it_is_cut() {
    let mut rows = vec![block(BlockKind::TableRow, "place | depth")];
    rows.extend((0..200).map(|n| block(BlockKind::TableRow, format!("well number {n} | {n} metres"))));
    let passages = split(&rows);
    assert!(passages.len() > 2);
    assert!(passages.iter().all(|passage| passage.text.starts_with("place | depth\n")));
}

#[test]
fn arabic_is_cut_between_its_sentences() {
    let text =
        "يجب غلي الماء لمدة دقيقة واحدة على الأقل قبل شربه. هل هو آمن؟ نعم، إذا كان الإناء نظيفا. ".repeat(20);
    let passages = split(&[block(BlockKind::Paragraph, text.trim())]);
    assert!(passages.len() > 1);
    for passage in &passages {
        assert!(passage.text.ends_with(['.', '؟']), "{}", passage.text);
        assert!(words(&passage.text) <= 220);
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_is_too_long(
        parts in proptest::collection::vec((0_u8..7, "[a-zé؟م .!,\n-]{1,400}"), 1..30),
        run in "[.]{0,3000}|[a-z]{0,3000}",
    ) {
        let kinds = [BlockKind::Paragraph, BlockKind::ListItem, BlockKind::TableRow, BlockKind::Code, BlockKind::Paragraph,
            BlockKind::Heading(1), BlockKind::Heading(3)];
        let mut blocks: Vec<Block> = parts.iter().map(|(kind, text)| block(kinds[usize::from(*kind)], text.clone())).collect();
        blocks.push(block(BlockKind::Paragraph, run));
        let passages = split(&blocks);
        let held: String = passages.iter().map(|passage| passage.text.as_str()).collect::<Vec<_>>().join(" ");
        for block in blocks.iter().filter(|block| !matches!(block.kind, BlockKind::Heading(_))) {
            for word in block.text.unicode_words().filter(|word| word.len() < 200) {
                prop_assert!(held.contains(word), "{:?} is lost", word);
            }
        }
        for passage in &passages {
            prop_assert!(!passage.text.trim().is_empty());
            prop_assert!(words(&passage.text) <= 300, "{} words", words(&passage.text));
        }
    }
}
