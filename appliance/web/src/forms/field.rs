//! One field of a form: label, hint, control and what is wrong with it, tied together for screen readers.

use maud::{Markup, html};

use super::Shown;
use crate::i18n::{Key, Language};

/// The control of a field.
pub(crate) enum Kind<'a> {
    /// One line; the `type` and `autocomplete` attributes.
    Line(&'static str, &'static str),
    /// Several lines.
    Text,
    /// One of a list: value and label.
    Select(&'a [(&'a str, &'a str)]),
    /// One of a few, all visible: value, label, explanation.
    Radio(&'a [(&'a str, &'a str, &'a str)]),
    /// Yes or no.
    Check,
}

/// One field.
pub(crate) struct Field<'a> {
    language: Language,
    shown: &'a Shown,
    name: &'a str,
    label: &'a str,
    hint: Option<&'a str>,
    needed: bool,
    class: &'static str,
    limit: Option<usize>,
}

impl<'a> Field<'a> {
    /// A field with its label.
    pub(crate) fn new(language: Language, shown: &'a Shown, name: &'a str, label: Key) -> Self {
        Self::labelled(language, shown, name, language.t(label))
    }

    /// A field whose label is not a message: a question that people wrote.
    pub(crate) fn labelled(language: Language, shown: &'a Shown, name: &'a str, label: &'a str) -> Self {
        Self { language, shown, name, label, hint: None, needed: false, class: "", limit: None }
    }

    /// With an explanation under the label.
    pub(crate) fn hint(self, hint: Key) -> Self {
        let text = self.language.t(hint);
        self.hint_text(text)
    }

    /// With an explanation that is not a message.
    pub(crate) fn hint_text(self, hint: &'a str) -> Self {
        Self { hint: Some(hint).filter(|hint| !hint.is_empty()), ..self }
    }

    /// Must be filled in.
    pub(crate) fn needed(self) -> Self {
        Self { needed: true, ..self }
    }

    /// At most so many characters.
    pub(crate) fn limit(self, limit: usize) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// With a class on the control.
    pub(crate) fn class(self, class: &'static str) -> Self {
        Self { class, ..self }
    }

    /// One line of text.
    pub(crate) fn line(self) -> Markup {
        self.show(&Kind::Line("text", "off"))
    }

    /// Several lines of text.
    pub(crate) fn text(self) -> Markup {
        self.show(&Kind::Text)
    }

    /// As a control of this kind.
    pub(crate) fn show(self, kind: &Kind<'_>) -> Markup {
        let Self { language: l, shown, name, label, hint, needed, class, limit } = self;
        let value = shown.form.get(name);
        let error = shown.errors.get(name);
        let hint_id = hint.map(|_| format!("{name}-hint"));
        let error_id = error.map(|_| format!("{name}-error"));
        let described: Vec<&str> = [hint_id.as_deref(), error_id.as_deref()].into_iter().flatten().collect();
        let described = (!described.is_empty()).then(|| described.join(" "));
        let invalid = error.map(|_| "true");
        let caption = html! {
            (label)
            @if !needed { " " span class="optional" { "(" (l.t(Key::Optional)) ")" } }
        };
        let about = html! {
            @if let (Some(hint), Some(id)) = (hint, &hint_id) { p class="hint" id=(id) { (hint) } }
            @if let (Some(error), Some(id)) = (error, &error_id) { p class="error" id=(id) { (error) } }
        };
        match kind {
            Kind::Check => html! {
                div class="field" {
                    label class="check" {
                        input type="checkbox" id=(name) name=(name) checked[!value.is_empty()] aria-describedby=[described] aria-invalid=[invalid];
                        span { (label) }
                    }
                    (about)
                }
            },
            Kind::Radio(options) => html! {
                fieldset class="field" aria-describedby=[described] {
                    legend { (caption) }
                    (about)
                    div class="choices" {
                        @for (option, text, explanation) in *options {
                            label class="check" {
                                input type="radio" name=(name) value=(option) checked[*option == value] required[needed];
                                span { (text) @if !explanation.is_empty() { span class="hint" { (explanation) } } }
                            }
                        }
                    }
                }
            },
            Kind::Select(options) => html! {
                div class="field" {
                    label for=(name) { (label) }
                    (about)
                    select id=(name) name=(name) class=[Some(class).filter(|c| !c.is_empty())] aria-describedby=[described] aria-invalid=[invalid] {
                        @for (option, text) in *options { option value=(option) selected[*option == value] { (text) } }
                    }
                }
            },
            Kind::Text => html! {
                div class="field" {
                    label for=(name) { (caption) }
                    (about)
                    textarea id=(name) name=(name) rows="4" dir="auto" required[needed] maxlength=[limit] aria-describedby=[described] aria-invalid=[invalid] { (value) }
                }
            },
            Kind::Line(ty, autocomplete) => html! {
                div class="field" {
                    label for=(name) { (caption) }
                    (about)
                    input type=(ty) id=(name) name=(name) value=[(*ty != "password").then_some(value)] dir="auto"
                        class=[Some(class).filter(|c| !c.is_empty())] required[needed] maxlength=[limit] autocomplete=(autocomplete)
                        step=[(*ty == "number").then_some("any")] aria-describedby=[described] aria-invalid=[invalid];
                }
            },
        }
    }
}
