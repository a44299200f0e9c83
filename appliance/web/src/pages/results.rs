//! What the responses to an assessment come to: counts, bars, CSV.

use axum::{
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use cairn_store::{ListQuery, MAX_PAGE, Record};
use cairn_sync::{Kind, RecordId, Value};
use maud::{Markup, html};

use super::{
    assessments::questions_of,
    layout::{Place, View},
    notices::of_kind,
    page::Page,
    parts::{Names, authors, bar, button, crumb, empty},
};
use crate::{
    forms::questions::{Question, Summary, csv_field, field_name, in_words, summarize},
    hub::Hub,
    i18n::{Count, Key as K, Language, iso},
    problem::Problem,
};

/// Most responses counted or exported at a time: they are held in memory together.
const MAX_RESPONSES: usize = 5_000;

async fn responses_of(hub: &Hub, p: &Page, id: RecordId) -> Result<(Vec<Record>, bool), Problem> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let query =
            ListQuery::of(Kind::Response).equals("assessment", id.to_string()).limit(MAX_PAGE).after(after);
        let page = hub.store.list(&p.viewer, query).await?;
        all.extend(page.items);
        match page.next {
            Some(_) if all.len() >= MAX_RESPONSES => return Ok((all, true)),
            Some(next) => after = Some(next),
            None => return Ok((all, false)),
        }
    }
}

pub(super) async fn show(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let l = p.l;
    let assessment = of_kind(&hub, &p, id, Kind::Assessment).await?;
    let (responses, partial) = responses_of(&hub, &p, id).await?;
    let questions = questions_of(&assessment);
    let body = html! {
        (crumb(&format!("/assessments/{id}"), assessment.text("title")))
        div class="page-head" {
            div {
                h1 { (l.t(K::AssessmentResults)) }
                p class="lead" { (l.count(Count::AssessmentResponses, responses.len() as u64)) }
            }
            @if !responses.is_empty() { (button(&format!("/assessments/{id}/results.csv"), "download", l.t(K::AssessmentCsv), false)) }
        }
        div id="results" data-live="say" class="stack" {
            @if partial { p class="flash info" { (l.with(K::ResultsPartial, &[("n", &responses.len())])) } }
            @if responses.is_empty() {
                (empty("form", l.t(K::AssessmentNoResponses), l.t(K::AssessmentNoResponsesText), html! {}))
            } @else {
                @for question in &questions {
                    section class="card stack" aria-labelledby=(field_name(question)) {
                        h2 id=(field_name(question)) dir="auto" { (question.text) }
                        (summary(l, question, &responses))
                    }
                }
            }
        }
    };
    let title = format!("{} · {}", l.t(K::AssessmentResults), assessment.text("title"));
    let view = View::new(&title, Place::Projects).live("response assessment").project(assessment.project);
    Ok(p.show(&view, body))
}

fn answers(response: &Record) -> Option<&serde_json::Value> {
    response.fields.get("answers").and_then(Value::as_json)
}

fn summary(l: Language, question: &Question, responses: &[Record]) -> Markup {
    let (total, summary) = summarize(l, question, responses.iter().filter_map(answers));
    html! {
        p class="small quiet" { (l.count(Count::ResultsAnswered, total)) }
        @match &summary {
            Summary::Counts(counts) => {
                @for (choice, n) in counts {
                    div class="result" {
                        span dir="auto" { (choice) }
                        (bar(*n, total))
                        span { (l.number(*n)) " · " (percent(*n, total)) }
                    }
                }
            }
            Summary::Numbers { average, lowest, highest } => {
                div class="figures" {
                    p class="figure" { b { (rounded(*average)) } span { (l.t(K::ResultsAverage)) } }
                    p class="figure" { b { (rounded(*lowest)) } span { (l.t(K::ResultsLowest)) } }
                    p class="figure" { b { (rounded(*highest)) } span { (l.t(K::ResultsHighest)) } }
                }
            }
            Summary::Texts(texts) => {
                @if !texts.is_empty() {
                    h3 { (l.t(K::ResultsLatest)) }
                    ul class="list" { @for text in texts { li { div class="row passage-text" dir="auto" { (text) } } } }
                }
            }
        }
    }
}

fn percent(n: u64, total: u64) -> String {
    // A no-break space between figure and sign, as most of our languages write it.
    if total == 0 { String::new() } else { format!("{:.0}\u{a0}%", n as f64 * 100.0 / total as f64) }
}

fn rounded(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One line a response, one column a question (RFC 4180), with a mark that makes spreadsheets read UTF-8.
pub(super) async fn csv(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let l = p.l;
    let assessment = of_kind(&hub, &p, id, Kind::Assessment).await?;
    let (responses, _) = responses_of(&hub, &p, id).await?;
    let names = Names::of(&hub, &p, authors(responses.iter())).await?;
    let questions = questions_of(&assessment);
    let mut out = String::from("\u{feff}");
    let mut line = |fields: Vec<String>| {
        out.push_str(&fields.iter().map(|field| csv_field(field)).collect::<Vec<_>>().join(","));
        out.push_str("\r\n");
    };
    let mut heads: Vec<String> =
        [K::DocumentAdded, K::AccountName, K::ResponsePlace].map(|key| l.t(key).to_owned()).to_vec();
    heads.extend(questions.iter().map(|question| question.text.clone()));
    heads.push(l.t(K::ResponseNote).to_owned());
    line(heads);
    for response in &responses {
        let mut fields = vec![
            iso(response.created_at_ms),
            names.or_somebody(l, response.created_by),
            response.text("place").to_owned(),
        ];
        let given = answers(response);
        fields.extend(
            questions.iter().map(|question| in_words(l, given.and_then(|given| given.get(&question.id)))),
        );
        fields.push(response.text("note").to_owned());
        line(fields);
    }
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"results-{id}.csv\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, out).into_response())
}
