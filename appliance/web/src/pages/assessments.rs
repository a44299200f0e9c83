//! Assessments: building a form of questions and filling it in.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use cairn_store::{Action, Record};
use cairn_sync::{Kind, RecordId, Value};
use maud::{Markup, html};

use super::{
    layout::{Place, View},
    markdown::markdown,
    notices::{Saved, of_kind, require, save_fields, to_edit},
    page::Page,
    parts::{button, crumb, delete_form, icon, sync_badge},
};
use crate::{
    forms::{
        self, Errors, Field, FieldKind, Form, Shown,
        questions::{self, Kind as Answer, MAX_ANSWER, MAX_LINE, MAX_QUESTIONS, Question},
    },
    hub::Hub,
    i18n::{Count, Key as K, Language},
    problem::Problem,
};

const FIELDS: [&str; 3] = ["title", "description", "status"];
/// Empty questions offered to people without scripts.
const BLANKS: usize = 3;

/// The questions of an assessment.
pub(super) fn questions_of(assessment: &Record) -> Vec<Question> {
    questions::stored(assessment.fields.get("questions").and_then(Value::as_json))
}

pub(super) async fn show(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let assessment = of_kind(&hub, &p, id, Kind::Assessment).await?;
    answer_page(&hub, &p, &assessment, StatusCode::OK, &Shown::empty()).await
}

async fn answer_page(
    hub: &Hub,
    p: &Page,
    assessment: &Record,
    status: StatusCode,
    shown: &Shown,
) -> Result<Response, Problem> {
    let l = p.l;
    let id = assessment.id;
    let questions = questions_of(assessment);
    let may_edit = hub.store.may(&p.viewer, Action::Update, assessment).await?;
    let may_answer = hub.store.may(&p.viewer, Action::Create, (Kind::Response, assessment.project)).await?;
    let back =
        assessment.project.map_or_else(|| "/projects".to_owned(), |project| format!("/projects/{project}"));
    let responses = assessment.int("responses").unwrap_or(0).unsigned_abs();
    let open = assessment.text("status") == "open";
    let note = match assessment.text("status") {
        "open" if !p.is_signed_in() => Some(K::AssessmentSignIn),
        "open" if !may_answer => Some(K::Error403),
        "open" => None,
        "closed" => Some(K::AssessmentIsClosed),
        _ => Some(K::AssessmentIsDraft),
    };
    let body = html! {
        (crumb(&back, l.t(K::Back)))
        div class="page-head" {
            div {
                h1 dir="auto" { (assessment.text("title")) }
                p class="meta" { span { (l.count(Count::AssessmentResponses, responses)) } (sync_badge(p, assessment)) }
            }
            div class="actions" {
                (button(&format!("/assessments/{id}/results"), "status", l.t(K::AssessmentResults), false))
                @if may_edit { (button(&format!("/assessments/{id}/edit"), "edit", l.t(K::Edit), false)) }
            }
        }
        p class="presence" id="presence" hidden {}
        (markdown(assessment.text("description")))
        @if p.done.as_deref() == Some("response") {
            p class="section" { (button(&format!("/assessments/{id}"), "plus", l.t(K::ResponseNext), true)) }
        } @else {
            @if let Some(note) = note {
                div class="flash info section" { (icon("info")) div { (l.t(note)) } }
            }
            @if open && !p.is_signed_in() { p { (button(&format!("/sign-in?to=/assessments/{id}"), "in", l.t(K::SignIn), true)) } }
            div class="section" {
                (shown.summary(l))
                form class="form" method="post" action=(format!("/assessments/{id}")) data-queue=(assessment.text("title")) {
                    (forms::hidden(&p.csrf, shown))
                    @for question in &questions { (question_field(l, shown, question)) }
                    @if open && may_answer {
                        (Field::new(l, shown, "place", K::ResponsePlace).hint(K::ResponsePlaceHint).limit(MAX_LINE).line())
                        (Field::new(l, shown, "note", K::ResponseNote).text())
                        div data-outcome {}
                        div class="actions" { button class="button primary" { (icon("check")) (l.t(K::Send)) } }
                        p class="hint needs-js" { (l.t(K::ResponseOfflineNote)) }
                    }
                }
            }
        }
    };
    let title = assessment.text("title").to_owned();
    Ok(p.show_with(status, &View::new(&title, Place::Projects).project(assessment.project).about(id), body))
}

fn question_field(l: Language, shown: &Shown, question: &Question) -> Markup {
    let name = questions::field_name(question);
    let mut field = Field::labelled(l, shown, &name, &question.text).hint_text(&question.hint);
    if question.required {
        field = field.needed();
    }
    match question.kind {
        Answer::Short => field.limit(MAX_LINE).line(),
        Answer::Long => field.limit(MAX_ANSWER).text(),
        Answer::Number => field.show(&FieldKind::Line("number", "off")),
        Answer::Date => field.show(&FieldKind::Line("date", "off")),
        Answer::YesNo => field.show(&FieldKind::Radio(&[("yes", l.t(K::Yes), ""), ("no", l.t(K::No), "")])),
        Answer::Single => {
            let options: Vec<_> =
                question.choices.iter().map(|choice| (choice.as_str(), choice.as_str(), "")).collect();
            field.show(&FieldKind::Radio(&options))
        }
        Answer::Several => several(l, shown, question, &name),
    }
}

fn several(l: Language, shown: &Shown, question: &Question, name: &str) -> Markup {
    let chosen: Vec<&str> = shown.form.all(name).collect();
    html! {
        fieldset class="field" {
            legend { (question.text) @if !question.required { " " span class="optional" { "(" (l.t(K::Optional)) ")" } } }
            @if !question.hint.is_empty() { p class="hint" { (question.hint) } }
            @if let Some(error) = shown.errors.get(name) { p class="error" { (error) } }
            div class="choices" {
                @for choice in &question.choices {
                    label class="check" { input type="checkbox" name=(name) value=(choice) checked[chosen.contains(&choice.as_str())]; span dir="auto" { (choice) } }
                }
            }
        }
    }
}

pub(super) async fn answer(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    let assessment = of_kind(&hub, &p, id, Kind::Assessment).await?;
    let answers = questions::read_answers(p.l, &questions_of(&assessment), &sent);
    let rest = forms::read_fields(p.l, Kind::Response, &["place", "note"], &sent);
    let (answers, mut fields) = match (answers, rest) {
        (Ok(answers), Ok(rest)) => (answers, rest),
        (answers, rest) => {
            let mut errors = answers.err().unwrap_or_default();
            errors.extend(rest.err().unwrap_or_default());
            return answer_page(
                &hub,
                &p,
                &assessment,
                StatusCode::UNPROCESSABLE_ENTITY,
                &Shown::again(sent, errors),
            )
            .await;
        }
    };
    fields.insert("assessment".to_owned(), Value::from(id.to_string()));
    fields
        .insert("answers".to_owned(), Value::Json(serde_json::Value::Object(answers.into_iter().collect())));
    hub.store.create(&p.viewer, Kind::Response, assessment.project, fields, sent.change()).await?;
    Ok(p.go(&format!("/assessments/{id}"), "response"))
}

/// The form builder filled with these questions.
fn builder(l: Language, shown: &Shown, questions: &[Question]) -> Markup {
    let blanks = BLANKS.min(MAX_QUESTIONS.saturating_sub(questions.len()));
    html! {
        div class="stack" {
            h2 { (l.t(K::AssessmentQuestions)) }
            @if let Some(error) = shown.errors.get("questions") { p class="error" { (error) } }
            div class="stack" data-questions {
                @for (at, question) in questions.iter().enumerate() { (builder_question(l, shown, at, Some(question))) }
                @for blank in 0..blanks { (builder_question(l, shown, questions.len() + blank, None)) }
            }
            button class="button needs-js" type="button" data-add-question { (icon("plus")) (l.t(K::QuestionAdd)) }
            p class="hint no-js" { (l.t(K::QuestionBlankDropped)) }
            template id="blank-question" { (builder_question(l, &Shown::empty(), MAX_QUESTIONS, None)) }
        }
    }
}

fn builder_question(l: Language, shown: &Shown, at: usize, question: Option<&Question>) -> Markup {
    let name = |part: &str| format!("q{at}_{part}");
    let text = question.map_or("", |question| question.text.as_str());
    let hint = question.map_or("", |question| question.hint.as_str());
    let kind = question.map_or("short", |question| question.kind.name());
    let choices = question.map(|question| question.choices.join("\n")).unwrap_or_default();
    let error = |part: &str| html! { @if let Some(error) = shown.errors.get(&name(part)) { p class="error" { (error) } } };
    html! {
        fieldset class="question" data-blank=[question.is_none().then_some("yes")] {
            legend { (l.with(K::QuestionN, &[("n", &"")])) span data-number { (at + 1) } }
            @if let Some(question) = question { input type="hidden" name=(name("id")) value=(question.id); }
            div class="field" {
                label for=(name("text")) { (l.t(K::QuestionText)) }
                (error("text"))
                input id=(name("text")) name=(name("text")) value=(text) maxlength=(MAX_LINE) dir="auto" autocomplete="off";
            }
            div class="pair" {
                div class="field" {
                    label for=(name("type")) { (l.t(K::QuestionType)) }
                    select id=(name("type")) name=(name("type")) {
                        @for (_, value, label) in Answer::ALL { option value=(value) selected[value == kind] { (l.t(label)) } }
                    }
                }
                div class="field" {
                    label for=(name("hint")) { (l.t(K::QuestionHint)) " " span class="optional" { "(" (l.t(K::Optional)) ")" } }
                    input id=(name("hint")) name=(name("hint")) value=(hint) maxlength=(MAX_LINE) dir="auto" autocomplete="off";
                }
            }
            div class="field" data-choices {
                label for=(name("choices")) { (l.t(K::QuestionChoices)) }
                p class="hint" { (l.t(K::QuestionChoicesHint)) }
                (error("choices"))
                textarea id=(name("choices")) name=(name("choices")) rows="3" dir="auto" { (choices) }
            }
            label class="check" {
                input type="checkbox" name=(name("required")) checked[question.is_some_and(|question| question.required)];
                span { (l.t(K::QuestionRequired)) }
            }
            div class="actions needs-js" {
                button class="button" type="button" data-act="up" { (l.t(K::QuestionUp)) }
                button class="button" type="button" data-act="down" { (l.t(K::QuestionDown)) }
                button class="button danger" type="button" data-act="remove" { (l.t(K::QuestionRemove)) }
            }
        }
    }
}

/// Where a form of an assessment goes and what is said around it.
struct Around {
    title: K,
    action: String,
    back: String,
    note: Markup,
    after: Markup,
    editing: Option<RecordId>,
}

fn form_page(
    p: &Page,
    status: StatusCode,
    shown: &Shown,
    questions: &[Question],
    around: Around,
) -> Response {
    let l = p.l;
    let title = l.t(around.title);
    let states = [
        ("draft", l.t(K::AssessmentDraft)),
        ("open", l.t(K::AssessmentOpen)),
        ("closed", l.t(K::AssessmentClosed)),
    ];
    let body = html! {
        (crumb(&around.back, l.t(K::Back))) h1 { (title) } p class="presence" id="presence" hidden {}
        div class="section" {
            (around.note)
            (shown.summary(l))
            form class="form" method="post" action=(around.action) {
                (forms::hidden(&p.csrf, shown))
                (Field::new(l, shown, "title", K::AssessmentTitle).needed().limit(MAX_LINE).line())
                (Field::new(l, shown, "description", K::AssessmentDescription).hint(K::MarkdownHint).text())
                (builder(l, shown, questions))
                (Field::new(l, shown, "status", K::AssessmentStatus).show(&FieldKind::Select(&states)))
                div class="actions" { button class="button primary" { (l.t(K::Save)) } a class="button" href=(around.back) { (l.t(K::Cancel)) } }
            }
            (around.after)
        }
    };
    let mut view = View::new(title, Place::Projects);
    if let Some(id) = around.editing {
        view = view.editing(id);
    }
    p.show_with(status, &view, body)
}

fn around_new(project: RecordId) -> Around {
    Around {
        title: K::AssessmentNew,
        action: format!("/projects/{project}/assessments"),
        back: format!("/projects/{project}"),
        note: html! {},
        after: html! {},
        editing: None,
    }
}

fn around_edit(l: Language, id: RecordId, responses: i64, note: Markup, after: Markup) -> Around {
    Around {
        title: K::AssessmentEdit,
        action: format!("/assessments/{id}/edit"),
        back: format!("/assessments/{id}"),
        note: html! {
            (note)
            @if responses > 0 { div class="flash info" { (icon("info")) div { (l.t(K::AssessmentQuestionsLocked)) } } }
        },
        after,
        editing: Some(id),
    }
}

pub(super) async fn new(
    State(hub): State<Hub>,
    p: Page,
    Path(project): Path<RecordId>,
) -> Result<Response, Problem> {
    of_kind(&hub, &p, project, Kind::Project).await?;
    require(&hub, &p, Action::Create, (Kind::Assessment, Some(project))).await?;
    Ok(form_page(&p, StatusCode::OK, &Shown::empty(), &[], around_new(project)))
}

/// Title, description, state and questions from a form, or what is wrong with them.
fn read(l: Language, sent: &Form) -> Result<cairn_sync::Fields, (Vec<Question>, Errors)> {
    let fields = forms::read_fields(l, Kind::Assessment, &FIELDS, sent);
    let built = questions::read_builder(l, sent);
    match (fields, built) {
        (Ok(mut fields), Ok(questions)) => match serde_json::to_value(&questions) {
            Ok(json) => {
                fields.insert("questions".to_owned(), Value::Json(json));
                Ok(fields)
            }
            Err(_) => Err((questions, [(String::new(), l.t(K::Error400).to_owned())].into())),
        },
        (fields, built) => {
            let (questions, mut errors) = match built {
                Ok(questions) => (questions, Errors::new()),
                Err(wrong) => wrong,
            };
            errors.extend(fields.err().unwrap_or_default());
            Err((questions, errors))
        }
    }
}

pub(super) async fn create(
    State(hub): State<Hub>,
    p: Page,
    Path(project): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    match read(p.l, &sent) {
        Ok(fields) => {
            let made =
                hub.store.create(&p.viewer, Kind::Assessment, Some(project), fields, sent.change()).await?;
            Ok(p.go(&format!("/assessments/{}", made.id), "saved"))
        }
        Err((questions, errors)) => {
            let shown = Shown::again(sent, errors);
            Ok(form_page(&p, StatusCode::UNPROCESSABLE_ENTITY, &shown, &questions, around_new(project)))
        }
    }
}

pub(super) async fn edit(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
) -> Result<Response, Problem> {
    let assessment = to_edit(&hub, &p, id, Kind::Assessment).await?;
    let after = delete_form(&p, &format!("/assessments/{id}/delete"));
    let around = around_edit(p.l, id, assessment.int("responses").unwrap_or(0), html! {}, after);
    Ok(form_page(&p, StatusCode::OK, &Shown::of(&assessment), &questions_of(&assessment), around))
}

pub(super) async fn update(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    let refused = |shown: &Shown, questions: &[Question], note| {
        let around = around_edit(p.l, id, 0, note, html! {});
        form_page(&p, StatusCode::UNPROCESSABLE_ENTITY, shown, questions, around)
    };
    let fields = match read(p.l, &sent) {
        Ok(fields) => fields,
        Err((questions, errors)) => return Ok(refused(&Shown::again(sent, errors), &questions, html! {})),
    };
    let questions = questions::stored(fields.get("questions").and_then(Value::as_json));
    match save_fields(&hub, &p, id, Kind::Assessment, fields, sent).await? {
        Saved::Yes => Ok(p.go(&format!("/assessments/{id}"), "saved")),
        Saved::No { shown, note } => Ok(refused(&shown, &questions, note)),
    }
}

pub(super) async fn delete(
    State(hub): State<Hub>,
    p: Page,
    Path(id): Path<RecordId>,
    sent: Form,
) -> Result<Response, Problem> {
    let assessment = of_kind(&hub, &p, id, Kind::Assessment).await?;
    hub.store.delete(&p.viewer, id, sent.change()).await?;
    let back =
        assessment.project.map_or_else(|| "/projects".to_owned(), |project| format!("/projects/{project}"));
    Ok(p.go(&back, "deleted"))
}
