//! Models on the settings page: what is there, adding, using, putting away, removing.

use axum::{
    extract::{Path, State},
    response::Response,
};
use cairn_inference::{ModelInfo, ModelState};
use maud::{Markup, html};

use super::{
    layout::encode,
    page::Page,
    parts::{empty, icon},
    settings::keepers_only,
};
use crate::{
    forms::{self, Form, Shown},
    hub::Hub,
    i18n::{Count, Key as K},
    problem::{Problem, ProblemKind},
};

/// The models and the form that adds one.
pub(super) fn section(p: &Page, models: &[ModelInfo]) -> Markup {
    let l = p.l;
    html! {
        section class="card stack" aria-labelledby="models-title" id="models" {
            h2 id="models-title" { (l.t(K::SettingsModels)) }
            p class="quiet" { (l.t(K::ModelsLead)) }
            @if models.is_empty() { (empty("ask", l.t(K::ModelsEmpty), l.t(K::ModelsEmptyText), html! {})) }
            @else { ul class="list" { @for model in models { li { (row(p, model)) } } } }
            form class="drop" method="post" action=(format!("/settings/models?_csrf={}", encode(&p.csrf))) enctype="multipart/form-data" data-upload {
                label class="button pick" { (icon("upload")) (l.t(K::ModelAdd)) input type="file" name="file" accept=".gguf" required; }
                p class="hint" { (l.t(K::ModelAddHint)) }
                button class="button primary no-js" { (icon("upload")) (l.t(K::ModelAdd)) }
                ul class="uploads" data-uploads aria-live="polite" {}
            }
        }
    }
}

fn row(p: &Page, model: &ModelInfo) -> Markup {
    let l = p.l;
    let act = |action: &str, text: K, class: &str| {
        html! {
            form method="post" action=(format!("/settings/models/{}/{action}", encode(&model.name))) {
                (forms::hidden(&p.csrf, &Shown::empty()))
                button class=(class) aria-label=(format!("{}: {}", l.t(text), model.name)) { (l.t(text)) }
            }
        }
    };
    let (class, state) = match &model.state {
        ModelState::Loaded => ("badge ok", l.t(K::ModelLoaded).to_owned()),
        ModelState::Loading { percent } => ("badge info", format!("{percent} %")),
        ModelState::Available => ("badge", l.t(K::ModelAvailable).to_owned()),
        ModelState::Refused(reason) => ("badge bad", l.with(K::ModelRefused, &[("reason", reason)])),
    };
    html! {
        div class="row" {
            (icon("ask"))
            div class="row-main" {
                p class="row-title" dir="auto" { (model.title.as_deref().unwrap_or(&model.name)) }
                p class="meta" {
                    span class=(class) { (state) }
                    @if let Some(family) = model.family { span { (family) " " (model.quantization) } }
                    span { (l.size(model.file_bytes)) }
                    span { (l.with(K::ModelMemory, &[("size", &l.size(model.memory_bytes))])) }
                    span { (l.count(Count::ModelContext, u64::from(model.context))) }
                }
                div class="cluster" {
                    @if model.state == ModelState::Available { (act("load", K::ModelLoad, "button")) }
                    @if model.state == ModelState::Loaded { (act("unload", K::ModelUnload, "button")) }
                    details class="fold" {
                        summary { (l.t(K::Remove)) }
                        p { (l.t(K::ModelRemoveSure)) }
                        (act("delete", K::Remove, "button danger"))
                    }
                }
            }
        }
    }
}

/// The name, when a model is installed under it: only such a name may reach the file system.
async fn installed(hub: &Hub, p: &Page, name: String) -> Result<String, Problem> {
    keepers_only(p)?;
    let known = hub.inference.models().await?.into_iter().any(|model| model.name == name);
    if known { Ok(name) } else { Err(Problem::new(ProblemKind::NotFound, "there is no model of this name")) }
}

pub(super) async fn load(
    State(hub): State<Hub>,
    p: Page,
    Path(name): Path<String>,
    _sent: Form,
) -> Result<Response, Problem> {
    let name = installed(&hub, &p, name).await?;
    hub.inference.load(&name).await?;
    Ok(p.go("/settings", "saved"))
}

pub(super) async fn unload(
    State(hub): State<Hub>,
    p: Page,
    Path(name): Path<String>,
    _sent: Form,
) -> Result<Response, Problem> {
    let name = installed(&hub, &p, name).await?;
    hub.inference.unload(&name).await?;
    Ok(p.go("/settings", "saved"))
}

pub(super) async fn remove(
    State(hub): State<Hub>,
    p: Page,
    Path(name): Path<String>,
    _sent: Form,
) -> Result<Response, Problem> {
    let name = installed(&hub, &p, name).await?;
    hub.host.remove_model(name).await?;
    Ok(p.go("/settings", "deleted"))
}
