//! Whether the sentences that the page marks are those that answer, on the questions over the sample library.

use std::fmt;

use super::{
    corpus::{Asked, Source},
    questions::Outcome,
};
use crate::{
    ask::{Evidence, Verdict, clues, verdict},
    library::Parts,
    parameters::{self, MARKING, MARKING_BY_WORDS},
    search::{Found, Marking, chosen},
};

/// What is marked for one question.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks {
    marked: usize,
    /// Of these, sentences that answer.
    right: usize,
}

/// With the embeddings of the sentences and by words alone; `None` for questions whose answering sentences nobody named.
pub(super) async fn marks(parts: &Parts, asked: &Asked, found: &Found) -> Option<(Marks, Marks)> {
    if asked.source != Source::Unanswerable && asked.answer.is_empty() {
        return None;
    }
    let words = found.question_words(&asked.text);
    let (markings, _) = clues(parts, &words, found).await;
    Some((count(asked, &markings, &MARKING), count(asked, &markings, &MARKING_BY_WORDS)))
}

fn count(asked: &Asked, markings: &[Marking<'_>], by: &parameters::Marking) -> Marks {
    let mut marks = Marks::default();
    for (marking, chosen) in markings.iter().zip(chosen(markings, by)) {
        for (sentence, _) in marking.sentences().zip(chosen).filter(|(_, chosen)| *chosen) {
            marks.marked += 1;
            let sentence = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
            marks.right += usize::from(asked.answer.iter().any(|answer| sentence.contains(answer.as_str())));
        }
    }
    marks
}

/// How well one way of marking does on a set of questions.
#[derive(Debug, Clone)]
pub struct MarkingReport {
    /// Which way and half.
    pub name: String,
    /// Answerable questions.
    pub questions: usize,
    /// Share of them with a marked sentence that answers.
    pub found: f64,
    /// Share of the marked sentences that answer.
    pub right: f64,
    /// Share of the questions without an answer for which something is marked.
    pub without_answer: f64,
}

impl fmt::Display for MarkingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, questions, found, right, without_answer } = self;
        write!(f, "{name:<28} {questions:>5} {found:>8.3} {right:>8.3} {without_answer:>8.3}")
    }
}

/// What was marked for a question in one way, and the evidence that the verdict was made from.
type Way = fn(&Outcome) -> Option<(Marks, Evidence)>;

pub(super) fn report(outcomes: &[Outcome]) -> Vec<MarkingReport> {
    let ways: [(&str, Way); 2] = [
        ("with embeddings", |outcome| outcome.marks.map(|(with, _)| (with, outcome.evidence))),
        ("by words alone", |outcome| outcome.marks.map(|(_, words)| (words, outcome.evidence_by_words))),
    ];
    let mut reports = Vec::new();
    for (half, tune) in [("tuning", true), ("held out", false)] {
        let of_half = || outcomes.iter().filter(move |outcome| outcome.tune == tune);
        for (name, way) in ways {
            // As on the page: where the answer is not in the library, nothing is marked.
            let marks = |outcome: &Outcome| {
                let (marks, evidence) = way(outcome)?;
                Some(if verdict(&evidence) == Verdict::Answerable { marks } else { Marks::default() })
            };
            let of = |answerable: bool| -> Vec<Marks> {
                of_half()
                    .filter(|outcome| (outcome.source != Source::Unanswerable) == answerable)
                    .filter_map(marks)
                    .collect()
            };
            let (answerable, unanswerable) = (of(true), of(false));
            let marked = answerable.iter().map(|marks| marks.marked).sum();
            let right = answerable.iter().map(|marks| marks.right).sum();
            reports.push(MarkingReport {
                name: format!("{half}, {name}"),
                questions: answerable.len(),
                found: share(answerable.iter().filter(|marks| marks.right > 0).count(), answerable.len()),
                right: share(right, marked),
                without_answer: share(
                    unanswerable.iter().filter(|marks| marks.marked > 0).count(),
                    unanswerable.len(),
                ),
            });
        }
    }
    reports
}

#[allow(clippy::cast_precision_loss)] // some hundred questions
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
