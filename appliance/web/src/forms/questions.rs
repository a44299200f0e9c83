//! The questions of an assessment and the answers to them: how they are kept, read from forms and counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Errors, Form};
use crate::i18n::{Count, Key, Language, parse_date};

/// Most questions in one assessment.
pub(crate) const MAX_QUESTIONS: usize = 100;
/// Most choices of one question.
pub(crate) const MAX_CHOICES: usize = 50;
/// Longest question, explanation or choice, in characters.
pub(crate) const MAX_LINE: usize = 300;
/// Longest answer in words, in characters.
pub(crate) const MAX_ANSWER: usize = 8000;

/// What kind of answer a question takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// One line.
    Short,
    /// Several lines.
    Long,
    /// A number.
    Number,
    /// One of the choices.
    Single,
    /// Any of the choices.
    Several,
    /// Yes or no.
    YesNo,
    /// A day.
    Date,
}

impl Kind {
    /// Every kind with its name in forms and its label.
    pub(crate) const ALL: [(Self, &'static str, Key); 7] = [
        (Self::Short, "short", Key::QuestionShort),
        (Self::Long, "long", Key::QuestionLong),
        (Self::Number, "number", Key::QuestionNumber),
        (Self::Single, "single", Key::QuestionSingle),
        (Self::Several, "several", Key::QuestionSeveral),
        (Self::YesNo, "yes_no", Key::QuestionYesNo),
        (Self::Date, "date", Key::QuestionDate),
    ];

    /// The name in forms.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, ..)| *kind == self).map_or("short", |(_, name, _)| name)
    }

    /// Whether it takes choices.
    pub(crate) const fn has_choices(self) -> bool {
        matches!(self, Self::Single | Self::Several)
    }
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Stays the same when the wording changes: answers are kept by it.
    pub(crate) id: String,
    /// What is asked.
    pub(crate) text: String,
    /// An explanation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) hint: String,
    /// What kind of answer it takes.
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    /// Choices to take from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) choices: Vec<String>,
    /// Whether it must be answered.
    #[serde(default)]
    pub(crate) required: bool,
}

/// Answers by question id.
pub(crate) type Answers = BTreeMap<String, Json>;

/// The questions of a stored assessment. What this release does not understand is left out.
pub(crate) fn stored(json: Option<&Json>) -> Vec<Question> {
    let items = json.and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .take(MAX_QUESTIONS)
        .filter_map(|item| serde_json::from_value::<Question>(item.clone()).ok())
        .collect()
}

/// Reads the form builder: fields `q0_text`, `q0_type`, … in groups. Groups without text are left out.
pub(crate) fn read_builder(l: Language, form: &Form) -> Result<Vec<Question>, (Vec<Question>, Errors)> {
    let (mut questions, mut errors): (Vec<Question>, Errors) = (Vec::new(), Errors::new());
    for group in 0..MAX_QUESTIONS {
        let part = |name: &str| form.get(&format!("q{group}_{name}"));
        if part("text").is_empty() {
            continue;
        }
        let place = questions.len();
        let kind = Kind::ALL
            .into_iter()
            .find(|(_, name, _)| *name == part("type"))
            .map_or(Kind::Short, |(kind, ..)| kind);
        let mut choices: Vec<String> = Vec::new();
        if kind.has_choices() {
            for line in
                part("choices").lines().map(str::trim).filter(|line| !line.is_empty()).take(MAX_CHOICES)
            {
                if !choices.iter().any(|known| known == line) {
                    choices.push(line.chars().take(MAX_LINE).collect());
                }
            }
            if choices.len() < 2 {
                errors.insert(format!("q{place}_choices"), l.t(Key::QuestionNeedsChoices).to_owned());
            }
        }
        if part("text").chars().count() > MAX_LINE {
            errors.insert(format!("q{place}_text"), l.count(Count::FieldTooLong, MAX_LINE as u64));
        }
        let id = Some(part("id"))
            .filter(|id| is_id(id) && !questions.iter().any(|known| known.id == **id))
            .map_or_else(|| fresh_id(&questions, form), str::to_owned);
        questions.push(Question {
            id,
            text: part("text").to_owned(),
            hint: part("hint").chars().take(MAX_LINE).collect(),
            kind,
            choices,
            required: form.has(&format!("q{group}_required")),
        });
    }
    if questions.is_empty() {
        errors.insert("questions".to_owned(), l.t(Key::AssessmentNeedsQuestion).to_owned());
    }
    if errors.is_empty() { Ok(questions) } else { Err((questions, errors)) }
}

fn is_id(id: &str) -> bool {
    (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The first `q1`, `q2`, … that neither a question before nor a later group of the form holds.
fn fresh_id(questions: &[Question], form: &Form) -> String {
    let taken = |id: &str| {
        questions.iter().any(|question| question.id == id)
            || (0..MAX_QUESTIONS).any(|group| form.get(&format!("q{group}_id")) == id)
    };
    (1..).map(|n| format!("q{n}")).find(|id| !taken(id)).unwrap_or_default()
}

/// Reads the answers from a form: one field per question, `a_<id>`.
pub(crate) fn read_answers(l: Language, questions: &[Question], form: &Form) -> Result<Answers, Errors> {
    let (mut answers, mut errors) = (Answers::new(), Errors::new());
    for question in questions {
        let name = field_name(question);
        let text = form.get(&name);
        let answer = match question.kind {
            Kind::Several => {
                let chosen: Vec<&str> = form.all(&name).filter(|value| !value.is_empty()).collect();
                if chosen.iter().any(|value| !question.choices.iter().any(|choice| choice == value)) {
                    Err(l.t(Key::FieldNotAChoice).to_owned())
                } else {
                    Ok((!chosen.is_empty()).then(|| Json::from(chosen)))
                }
            }
            _ if text.is_empty() => Ok(None),
            Kind::Single if !question.choices.iter().any(|choice| choice == text) => {
                Err(l.t(Key::FieldNotAChoice).to_owned())
            }
            Kind::YesNo if text != "yes" && text != "no" => Err(l.t(Key::FieldNotAChoice).to_owned()),
            Kind::YesNo => Ok(Some(Json::Bool(text == "yes"))),
            Kind::Date if parse_date(text).is_none() => Err(l.t(Key::FieldNotADate).to_owned()),
            Kind::Number => match number(text) {
                Some(number) => Ok(Some(number)),
                None => Err(l.t(Key::FieldNotANumber).to_owned()),
            },
            Kind::Short | Kind::Long if text.chars().count() > MAX_ANSWER => {
                Err(l.count(Count::FieldTooLong, MAX_ANSWER as u64))
            }
            Kind::Short | Kind::Long | Kind::Single | Kind::Date => {
                Ok(Some(Json::from(text.replace("\r\n", "\n"))))
            }
        };
        match answer {
            Ok(Some(answer)) => {
                answers.insert(question.id.clone(), answer);
            }
            Ok(None) if question.required => {
                errors.insert(name, l.t(Key::FieldNeeded).to_owned());
            }
            Ok(None) => {}
            Err(wrong) => {
                errors.insert(name, wrong);
            }
        }
    }
    if errors.is_empty() { Ok(answers) } else { Err(errors) }
}

/// The field that answers a question.
pub(crate) fn field_name(question: &Question) -> String {
    format!("a_{}", question.id)
}

/// A number as people type it: decimal comma or point.
fn number(text: &str) -> Option<Json> {
    let value: f64 = text.replace(',', ".").parse().ok()?;
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Some(Json::from(value as i64));
    }
    serde_json::Number::from_f64(value).map(Json::Number)
}

/// An answer as text, for tables and CSV.
pub(crate) fn in_words(l: Language, answer: Option<&Json>) -> String {
    match answer {
        None | Some(Json::Null) => String::new(),
        Some(Json::Bool(yes)) => l.t(if *yes { Key::Yes } else { Key::No }).to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(Json::Array(items)) => items.iter().filter_map(Json::as_str).collect::<Vec<_>>().join("; "),
        Some(other) => other.to_string(),
    }
}

/// What many answers to one question come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Summary {
    /// How often each choice was taken.
    Counts(Vec<(String, u64)>),
    /// Average, lowest, highest.
    Numbers {
        /// The mean.
        average: f64,
        /// The smallest.
        lowest: f64,
        /// The largest.
        highest: f64,
    },
    /// The first few answers given, newest first.
    Texts(Vec<String>),
}

/// Latest answers in words that are shown.
const SHOWN_TEXTS: usize = 5;

/// Sums up the answers to one question; also how many there are.
pub(crate) fn summarize<'a>(
    l: Language,
    question: &Question,
    responses: impl Iterator<Item = &'a Json>,
) -> (u64, Summary) {
    let answers: Vec<&Json> = responses
        .filter_map(|answers| answers.get(&question.id))
        .filter(|answer| !answer.is_null())
        .collect();
    let total = answers.len() as u64;
    let tally = |choices: Vec<(Json, String)>| {
        let taken = |choice: &Json, answer: &Json| {
            answer == choice || answer.as_array().is_some_and(|all| all.contains(choice))
        };
        Summary::Counts(
            choices
                .into_iter()
                .map(|(choice, label)| {
                    (label, answers.iter().filter(|answer| taken(&choice, answer)).count() as u64)
                })
                .collect(),
        )
    };
    let summary = match question.kind {
        Kind::Single | Kind::Several => tally(
            question.choices.iter().map(|choice| (Json::from(choice.as_str()), choice.clone())).collect(),
        ),
        Kind::YesNo => tally(vec![
            (Json::Bool(true), l.t(Key::Yes).to_owned()),
            (Json::Bool(false), l.t(Key::No).to_owned()),
        ]),
        Kind::Number => {
            let numbers: Vec<f64> = answers.iter().filter_map(|answer| answer.as_f64()).collect();
            if numbers.is_empty() {
                Summary::Texts(Vec::new())
            } else {
                Summary::Numbers {
                    average: numbers.iter().sum::<f64>() / numbers.len() as f64,
                    lowest: numbers.iter().copied().fold(f64::INFINITY, f64::min),
                    highest: numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                }
            }
        }
        Kind::Short | Kind::Long | Kind::Date => {
            Summary::Texts(answers.iter().take(SHOWN_TEXTS).map(|answer| in_words(l, Some(answer))).collect())
        }
    };
    (total, summary)
}

/// One field of a CSV line (RFC 4180). A leading `=`, `+`, `-` or `@` is defused: spreadsheets run it.
pub(crate) fn csv_field(text: &str) -> String {
    let plain_number = text.parse::<f64>().is_ok();
    let defused = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !plain_number {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if defused.contains([',', '"', '\n', '\r', ';']) {
        format!("\"{}\"", defused.replace('"', "\"\""))
    } else {
        defused
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const L: Language = Language::English;

    fn form(pairs: &[(&str, &str)]) -> Form {
        let mut form = Form::default();
        for (name, value) in pairs {
            form.pairs.push(((*name).to_owned(), (*value).to_owned()));
        }
        form
    }

    fn question(kind: Kind, required: bool) -> Question {
        Question {
            id: "q1".into(),
            text: "?".into(),
            hint: String::new(),
            kind,
            choices: vec!["dry".into(), "wet".into()],
            required,
        }
    }

    #[test]
    fn the_builder_keeps_ids_and_gives_new_ones() {
        let questions = read_builder(
            L,
            &form(&[
                ("q0_text", "New"),
                ("q0_type", "yes_no"),
                ("q1_text", ""),
                ("q1_type", "short"),
                ("q2_text", "Roof?"),
                ("q2_type", "single"),
                ("q2_choices", "dry\nwet\ndry"),
                ("q2_id", "q1"),
                ("q2_required", "on"),
            ]),
        )
        .unwrap();
        assert_eq!(questions.iter().map(|q| q.id.as_str()).collect::<Vec<_>>(), ["q2", "q1"]);
        assert_eq!(questions[1].choices, ["dry", "wet"]);
        assert!(questions[1].required && !questions[0].required);
        assert_eq!(stored(Some(&serde_json::to_value(&questions).unwrap())), questions);
    }

    #[test]
    fn a_builder_with_mistakes_names_them() {
        let (_, errors) =
            read_builder(L, &form(&[("q4_text", "Roof?"), ("q4_type", "single"), ("q4_choices", "dry")]))
                .unwrap_err();
        assert!(errors.contains_key("q0_choices"));
        let (_, errors) = read_builder(L, &form(&[])).unwrap_err();
        assert!(errors.contains_key("questions"));
    }

    #[test]
    fn answers_are_checked_by_kind() {
        let take = |kind, text: &str| read_answers(L, &[question(kind, true)], &form(&[("a_q1", text)]));
        assert_eq!(take(Kind::Number, "2,5").unwrap()["q1"], json!(2.5));
        assert_eq!(take(Kind::Number, "7").unwrap()["q1"], json!(7));
        assert_eq!(take(Kind::YesNo, "no").unwrap()["q1"], json!(false));
        assert_eq!(take(Kind::Several, "wet").unwrap()["q1"], json!(["wet"]));
        for (kind, wrong) in [
            (Kind::Number, "many"),
            (Kind::Number, "inf"),
            (Kind::Single, "damp"),
            (Kind::Several, "damp"),
            (Kind::YesNo, "maybe"),
            (Kind::Date, "yesterday"),
            (Kind::Short, ""),
        ] {
            assert!(take(kind, wrong).is_err(), "{kind:?} took {wrong}");
        }
    }

    #[test]
    fn results_count_what_was_answered() {
        let responses =
            [json!({"q1": "wet"}), json!({"q1": "dry"}), json!({"q1": "wet"}), json!({"other": 1})];
        let (total, summary) = summarize(L, &question(Kind::Single, false), responses.iter());
        assert_eq!(total, 3);
        assert_eq!(summary, Summary::Counts(vec![("dry".into(), 1), ("wet".into(), 2)]));
        let numbers = [json!({"q1": 1}), json!({"q1": 4.0})];
        let (_, summary) = summarize(L, &question(Kind::Number, false), numbers.iter());
        assert_eq!(summary, Summary::Numbers { average: 2.5, lowest: 1.0, highest: 4.0 });
    }

    #[test]
    fn csv_fields_are_quoted_and_harmless() {
        assert_eq!(csv_field("a,b \"c\""), "\"a,b \"\"c\"\"\"");
        assert_eq!(csv_field("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(csv_field("-5"), "-5");
    }
}
