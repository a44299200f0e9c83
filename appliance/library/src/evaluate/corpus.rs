//! Documents cut as the hub cuts them, with the questions that they answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cairn_store::{Part, Passage, Store, Viewer};
use cairn_sync::{BlobId, Fields, Kind, RecordId, Value};
use serde::Deserialize;

use super::EvaluateError;
use crate::{
    extract::{Block, BlockKind, Hint, Input, Limits, extract},
    index::{READING_VERSION, stored},
    split::split,
    text::{content_words, fold},
};

/// Around the number of a question in the text while it is cut; private use, so no document has it.
const MARK: char = '\u{e000}';
/// Headings with fewer content words ask nothing that could be found ("Why?").
const FEWEST_WORDS: usize = 2;
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// A question with its right answers.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) text: String,
    /// What answers it; empty: nothing in the library does.
    pub(super) right: BTreeSet<(RecordId, u32)>,
    /// Parts of the sentences that answer; empty where nobody has named them.
    pub(super) answer: Vec<String>,
    pub(super) source: Source,
}

/// Where a question comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A heading of a FAQ.
    Faq,
    /// Written for the sample library.
    Sample,
    /// Written for the sample library, which does not answer it.
    Unanswerable,
}

/// Everything that is indexed and asked.
pub(super) struct Corpus {
    documents: Vec<Document>,
    questions: Vec<Pending>,
}

struct Document {
    title: String,
    file_name: String,
    media_type: &'static str,
    bytes: Vec<u8>,
    passages: Vec<Passage>,
}

/// A question whose document has no identity yet.
struct Pending {
    text: String,
    /// Index of the document and ordinals of its passages.
    right: Option<(usize, BTreeSet<u32>)>,
    answer: Vec<String>,
    source: Source,
}

#[derive(Deserialize)]
struct Answerable {
    document: String,
    heading: String,
    question: String,
    answer: Vec<String>,
}

#[derive(Deserialize)]
struct Unanswerable {
    question: String,
}

impl Corpus {
    pub(super) fn read(sample: &Path, questions: &Path, manuals: &[PathBuf]) -> Result<Self, EvaluateError> {
        let mut corpus = Self { documents: Vec::new(), questions: Vec::new() };
        corpus.read_sample(sample, questions)?;
        for path in manuals {
            corpus.read_manual(path)?;
        }
        Ok(corpus)
    }

    pub(super) fn documents(&self) -> usize {
        self.documents.len()
    }

    pub(super) fn passages(&self) -> usize {
        self.documents.iter().map(|document| document.passages.len()).sum()
    }

    fn read_sample(&mut self, sample: &Path, questions: &Path) -> Result<(), EvaluateError> {
        let io = |source| EvaluateError::Io { what: sample.display().to_string(), source };
        let mut paths: Vec<PathBuf> =
            fs::read_dir(sample).map_err(io)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
        paths.sort();
        let mut headings: BTreeMap<(usize, String), BTreeSet<u32>> = BTreeMap::new();
        for path in paths {
            let (bytes, mut blocks, title) = read_file(&path)?;
            let names = mark_sections(&mut blocks);
            let at = self.documents.len();
            self.add(&path, title, bytes, "text/markdown", &blocks);
            let Some(document) = self.documents.get_mut(at) else { continue };
            for passage in &mut document.passages {
                let last = passage.heading.rsplit(" › ").next().unwrap_or_default().to_owned();
                let marked =
                    take_marks(&mut passage.text).into_iter().filter_map(|number| names.get(number).cloned());
                for name in marked.chain([last]) {
                    headings.entry((at, name)).or_default().insert(passage.ordinal);
                }
            }
        }
        let answerable: Vec<Answerable> = parse(&questions.join("answerable.json"))?;
        for Answerable { document, heading, question, answer } in answerable {
            let at = self.documents.iter().position(|known| known.file_name == document);
            let right = at.and_then(|at| Some((at, headings.get(&(at, heading.clone()))?.clone())));
            match right {
                Some(right) => {
                    self.questions.push(Pending {
                        text: question,
                        right: Some(right),
                        answer,
                        source: Source::Sample,
                    });
                }
                None => return Err(EvaluateError::NoSuchHeading { document, heading }),
            }
        }
        let unanswerable: Vec<Unanswerable> = parse(&questions.join("unanswerable.json"))?;
        self.questions.extend(unanswerable.into_iter().map(|unanswerable| Pending {
            text: unanswerable.question,
            right: None,
            answer: Vec::new(),
            source: Source::Unanswerable,
        }));
        Ok(())
    }

    /// Takes the questions out of a FAQ's headings, so that finding their passages is not finding their own words.
    fn read_manual(&mut self, path: &Path) -> Result<(), EvaluateError> {
        let (bytes, mut blocks, title) = read_file(path)?;
        let mut found: Vec<String> = Vec::new();
        for block in &mut blocks {
            if matches!(block.kind, BlockKind::Heading(_)) && is_question(&block.text) {
                found.push(question_text(&block.text));
                block.text = format!("{MARK}{}{MARK}", found.len() - 1);
            }
        }
        let asked: Vec<String> = found.iter().map(|question| fold(question)).collect();
        blocks.retain(|block| {
            let text = fold(&block.text);
            !asked.iter().any(|question| text.contains(question.as_str()))
        });
        mark_first_paragraphs(&mut blocks);
        let document = self.documents.len();
        self.add(path, title, bytes, "text/html", &blocks);
        let mut right: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); found.len()];
        if let Some(document) = self.documents.get_mut(document) {
            for passage in &mut document.passages {
                for number in
                    take_marks(&mut passage.heading).into_iter().chain(take_marks(&mut passage.text))
                {
                    if let Some(right) = right.get_mut(number) {
                        right.insert(passage.ordinal);
                    }
                }
            }
            document.passages.retain(|passage| !passage.text.trim().is_empty());
            let left: BTreeSet<u32> = document.passages.iter().map(|passage| passage.ordinal).collect();
            right.iter_mut().for_each(|right| right.retain(|ordinal| left.contains(ordinal)));
        }
        for (text, right) in found.into_iter().zip(right) {
            if !right.is_empty() && content_words(&text).len() >= FEWEST_WORDS {
                let right = Some((document, right));
                self.questions.push(Pending { text, right, answer: Vec::new(), source: Source::Faq });
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        path: &Path,
        title: Option<String>,
        bytes: Vec<u8>,
        media_type: &'static str,
        blocks: &[Block],
    ) {
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let title = title.filter(|title| !title.trim().is_empty()).unwrap_or_else(|| file_name.clone());
        let title: String = title.chars().filter(|c| !c.is_control()).take(100).collect();
        let passages = split(blocks).into_iter().map(stored).collect();
        self.documents.push(Document { title, file_name, media_type, bytes, passages });
    }

    /// Puts everything into the store; returns the questions with their answers' identities.
    pub(super) async fn index(&self, store: &Store) -> Result<Vec<Asked>, EvaluateError> {
        let viewer = Viewer::system(Part::Console);
        let mut ids: Vec<RecordId> = Vec::new();
        for document in &self.documents {
            let blob = write(store, &document.bytes)?;
            let fields: Fields = [
                ("title".to_owned(), Value::from(document.title.as_str())),
                ("file".to_owned(), Value::Text(blob.to_string())),
                ("file_name".to_owned(), Value::from(document.file_name.as_str())),
                ("media_type".to_owned(), Value::from(document.media_type)),
                ("size".to_owned(), Value::Int(i64::try_from(document.bytes.len()).unwrap_or(i64::MAX))),
            ]
            .into();
            let record = store.create(&viewer, Kind::Document, None, fields, None).await?;
            store.put_passages(record.id, blob, READING_VERSION, document.passages.clone()).await?;
            ids.push(record.id);
        }
        let asked = self.questions.iter().map(|pending| {
            let right = match &pending.right {
                Some((at, ordinals)) => ids
                    .get(*at)
                    .into_iter()
                    .flat_map(|id| ordinals.iter().map(|ordinal| (*id, *ordinal)))
                    .collect(),
                None => BTreeSet::new(),
            };
            Asked {
                text: pending.text.clone(),
                right,
                answer: pending.answer.clone(),
                source: pending.source,
            }
        });
        Ok(asked.collect())
    }
}

fn write(store: &Store, bytes: &[u8]) -> Result<BlobId, EvaluateError> {
    let mut writer = store.blob_writer(MAX_FILE)?;
    writer.write(bytes)?;
    Ok(writer.finish()?)
}

/// A file's bytes, its blocks and its title.
type ReadFile = (Vec<u8>, Vec<Block>, Option<String>);

fn read_file(path: &Path) -> Result<ReadFile, EvaluateError> {
    let bytes =
        fs::read(path).map_err(|source| EvaluateError::Io { what: path.display().to_string(), source })?;
    let hint = Hint::from_name(path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default());
    let extracted = extract(&Input::from_bytes(bytes.clone()), &hint, &Limits::default())?;
    Ok((bytes, extracted.blocks, extracted.summary.title))
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, EvaluateError> {
    let what = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| EvaluateError::Io { what: what.clone(), source })?;
    serde_json::from_str(&text).map_err(|source| EvaluateError::Questions { what, source })
}

/// Whether a heading is a question: it ends with a question mark, signs for links aside.
fn is_question(heading: &str) -> bool {
    heading.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '¶' | '#')).ends_with('?')
}

/// The question without its number ("3.1.2.", "G12.") and without the sign of its link.
fn question_text(heading: &str) -> String {
    let text = heading.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '¶' | '#'));
    let numbered = text.split_once(' ').filter(|(first, _)| {
        let digits = first.chars().any(|c| c.is_ascii_digit());
        digits && (first.ends_with('.') || first.ends_with(':') || first.contains('.'))
    });
    numbered.map_or(text, |(_, rest)| rest).trim().to_owned()
}

/// Copies the mark of a question into the first block below it: a short section may be joined with another one
/// and lose its heading.
fn mark_first_paragraphs(blocks: &mut [Block]) {
    let mut open: Option<String> = None;
    for block in blocks {
        if matches!(block.kind, BlockKind::Heading(_)) {
            if block.text.starts_with(MARK) {
                open = Some(block.text.clone());
            }
        } else if let Some(mark) = open.take() {
            block.text.insert_str(0, &mark);
        }
    }
}

/// Puts a numbered mark into the first block of every section; returns the headings by number. A short section may be
/// joined with its neighbour and then stands under another heading.
fn mark_sections(blocks: &mut [Block]) -> Vec<String> {
    let mut names = Vec::new();
    let mut open = false;
    for block in blocks {
        if matches!(block.kind, BlockKind::Heading(_)) {
            names.push(block.text.clone());
            open = true;
        } else if open {
            block.text.insert_str(0, &format!("{MARK}{}{MARK}", names.len() - 1));
            open = false;
        }
    }
    names
}

/// Removes every mark from `text` and returns their numbers.
fn take_marks(text: &mut String) -> Vec<usize> {
    if !text.contains(MARK) {
        return Vec::new();
    }
    let mut numbers = Vec::new();
    let mut plain = String::with_capacity(text.len());
    for (at, part) in text.split(MARK).enumerate() {
        match part.parse::<usize>() {
            Ok(number) if at % 2 == 1 => numbers.push(number),
            _ => plain.push_str(part),
        }
    }
    *text = plain.trim().trim_end_matches('›').trim().to_owned();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::Location;

    #[test]
    fn a_heading_becomes_its_question() {
        assert!(is_question("3.1. What is it? ¶"));
        assert!(!is_question("Overview"));
        assert_eq!(question_text("3.1. What is it? ¶"), "What is it?");
        assert_eq!(question_text("G12. Why not?"), "Why not?");
        assert_eq!(question_text("Is 2 enough?"), "Is 2 enough?");
    }

    #[test]
    fn marks_leave_no_trace() {
        let mut text = format!("{MARK}7{MARK}Because. {MARK}8{MARK}And so.");
        assert_eq!(take_marks(&mut text), [7, 8]);
        assert_eq!(text, "Because. And so.");
        let mut heading = format!("General › {MARK}3{MARK}");
        assert_eq!(take_marks(&mut heading), [3]);
        assert_eq!(heading, "General");
    }

    #[test]
    fn the_first_paragraph_below_carries_the_mark() {
        let block = |kind, text: &str| Block { kind, text: text.into(), location: Location::default() };
        let mut blocks = [
            block(BlockKind::Heading(2), &format!("{MARK}0{MARK}")),
            block(BlockKind::Paragraph, "First."),
            block(BlockKind::Paragraph, "Second."),
        ];
        mark_first_paragraphs(&mut blocks);
        assert_eq!(blocks[1].text, format!("{MARK}0{MARK}First."));
        assert_eq!(blocks[2].text, "Second.");
    }
}
