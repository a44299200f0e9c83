//! Settings: what a keeper decides about the hub. Also backup, restore and the support file.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use cairn_store::{CloudEndpoint, CloudMode, Secret, Settings, StoreError};
use maud::{Markup, html};

use super::{
    device,
    layout::{Place, View, encode},
    models,
    page::Page,
    parts::icon,
    updates,
};
use crate::{
    api,
    forms::{self, Errors, Field, FieldKind, Form, Shown},
    hub::Hub,
    i18n::{Count, Key as K, Language},
    problem::{Problem, ProblemKind},
};

/// Shortest passphrase of a backup.
pub(super) const MIN_PASSPHRASE: usize = 12;

/// Only keepers come here; the store says so again at every change.
pub(super) fn keepers_only(p: &Page) -> Result<(), Problem> {
    if p.is_keeper() {
        return Ok(());
    }
    let kind = if p.is_signed_in() { ProblemKind::Forbidden } else { ProblemKind::SignInNeeded };
    Err(Problem::new(kind, "only keepers of this hub see its settings"))
}

pub(super) async fn show(State(hub): State<Hub>, p: Page) -> Result<Response, Problem> {
    let shown = of_settings(&p.settings);
    page(&hub, &p, StatusCode::OK, &shown, &Shown::empty()).await
}

fn of_settings(settings: &Settings) -> Shown {
    let mut shown = Shown::empty();
    let form = &mut shown.form;
    form.set("hub_name", settings.hub_name.as_str());
    form.set("language", Language::from_tag(&settings.language).unwrap_or_default().tag());
    if settings.open_sign_up {
        form.set("open_sign_up", "on");
    }
    form.set("session_hours", settings.session_hours.to_string());
    form.set("inference", mode_name(settings.inference));
    if let Some(cloud) = &settings.cloud {
        form.set("cloud_url", cloud.url.as_str());
        form.set("cloud_model", cloud.model.as_str());
    }
    form.set("allowed_origins", settings.allowed_origins.join("\n"));
    form.set("allowed_hosts", settings.allowed_hosts.join("\n"));
    shown
}

const fn mode_name(mode: CloudMode) -> &'static str {
    match mode {
        CloudMode::Local => "local",
        CloudMode::Cloud => "cloud",
        CloudMode::Auto => "auto",
    }
}

async fn page(
    hub: &Hub,
    p: &Page,
    status: StatusCode,
    shown: &Shown,
    backup: &Shown,
) -> Result<Response, Problem> {
    keepers_only(p)?;
    let l = p.l;
    let models = hub.inference.models().await.unwrap_or_default();
    let languages = Language::ALL.map(|language| (language.tag(), language.own_name()));
    let modes = [
        ("local", l.t(K::SettingsLocal), l.t(K::SettingsLocalHint)),
        ("auto", l.t(K::SettingsAuto), l.t(K::SettingsAutoHint)),
        ("cloud", l.t(K::SettingsCloudOnly), l.t(K::SettingsCloudOnlyHint)),
    ];
    let body = html! {
        div class="page-head" { div { h1 { (l.t(K::SettingsTitle)) } p class="lead" { (l.t(K::SettingsLead)) } } }
        div class="stack" {
            (shown.summary(l))
            form class="stack" method="post" action="/settings" {
                (forms::hidden(&p.csrf, shown))
                section class="card" aria-labelledby="hub-title" {
                    h2 id="hub-title" { (l.t(K::SettingsHub)) }
                    div class="form" {
                        (Field::new(l, shown, "hub_name", K::SettingsHubName).needed().limit(80).line())
                        (Field::new(l, shown, "language", K::SettingsLanguage).show(&FieldKind::Select(&languages)))
                        (Field::new(l, shown, "open_sign_up", K::SettingsOpenSignUp).hint(K::SettingsOpenSignUpHint).show(&FieldKind::Check))
                        (Field::new(l, shown, "session_hours", K::SettingsSessionHours).needed().show(&FieldKind::Line("number", "off")))
                    }
                }
                section class="card" aria-labelledby="answers-title" {
                    h2 id="answers-title" { (l.t(K::SettingsAnswers)) }
                    div class="form" {
                        (Field::new(l, shown, "inference", K::SettingsCloud).needed().show(&FieldKind::Radio(&modes)))
                        (Field::new(l, shown, "cloud_url", K::SettingsCloudUrl).hint(K::SettingsCloudUrlHint).show(&FieldKind::Line("url", "off")))
                        (Field::new(l, shown, "cloud_model", K::SettingsCloudModel).line())
                        (Field::new(l, shown, "cloud_key", K::SettingsCloudKey).hint(K::SettingsCloudKeyHint).show(&FieldKind::Line("password", "off")))
                    }
                }
                section class="card" aria-labelledby="trust-title" {
                    h2 id="trust-title" { (l.t(K::SettingsTrust)) }
                    div class="form" {
                        (Field::new(l, shown, "allowed_origins", K::SettingsOrigins).hint(K::SettingsOriginsHint).text())
                        (Field::new(l, shown, "allowed_hosts", K::SettingsHosts).hint(K::SettingsHostsHint).text())
                    }
                }
                div class="actions" { button class="button primary" { (l.t(K::Save)) } }
            }
            (models::section(p, &models))
            (backup_section(p, backup))
            (updates::section(p, hub))
            (device::section(p))
            section class="card stack" aria-labelledby="support-title" {
                h2 id="support-title" { (l.t(K::SettingsSupport)) }
                p class="quiet" { (l.t(K::SupportLead)) }
                form method="post" action="/settings/support" {
                    (forms::hidden(&p.csrf, &Shown::empty()))
                    button class="button" { (icon("download")) (l.t(K::SupportMake)) }
                }
            }
        }
    };
    Ok(p.show_with(status, &View::new(l.t(K::SettingsTitle), Place::Settings), body))
}

fn backup_section(p: &Page, shown: &Shown) -> Markup {
    let l = p.l;
    let passphrase = FieldKind::Line("password", "new-password");
    html! {
        section class="card stack" aria-labelledby="backup-title" id="backup" {
            h2 id="backup-title" { (l.t(K::SettingsBackup)) }
            p class="quiet" { (l.t(K::BackupLead)) }
            (shown.summary(l))
            form class="form" method="post" action="/settings/backup" {
                (forms::hidden(&p.csrf, shown))
                (Field::new(l, shown, "passphrase", K::BackupPassphrase).hint(K::BackupPassphraseHint).needed().show(&passphrase))
                div class="actions" { button class="button" { (icon("download")) (l.t(K::BackupMake)) } }
            }
            details class="fold" {
                summary { (l.t(K::BackupRestore)) }
                form class="form" method="post" action=(format!("/settings/restore?_csrf={}", encode(&p.csrf))) enctype="multipart/form-data" {
                    p class="hint" { (l.t(K::BackupRestoreHint)) }
                    // Before the file, so that it is known when the file begins to arrive.
                    label class="field" { span class="label" { (l.t(K::BackupPassphrase)) } input type="password" name="passphrase" required autocomplete="off"; }
                    label class="field" { span class="label" { (l.t(K::BackupRestoreFile)) } input type="file" name="file" required; }
                    label class="check" { input type="checkbox" name="sure" required; span { (l.t(K::BackupRestoreSure)) } }
                    div class="actions" { button class="button danger" { (l.t(K::BackupRestoreButton)) } }
                }
            }
        }
    }
}

fn lines(text: &str) -> Vec<String> {
    text.split(['\n', ',']).map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The settings that a form asks for. The key stays when none is typed and the address is the same:
/// a key must never be sent to another address than the one it was given for.
fn read(l: Language, sent: &Form, before: &Settings) -> Result<Settings, Errors> {
    let Ok(session_hours) = sent.get("session_hours").parse() else {
        return Err([("session_hours".to_owned(), l.t(K::FieldNotANumber).to_owned())].into());
    };
    let inference = [CloudMode::Local, CloudMode::Auto, CloudMode::Cloud]
        .into_iter()
        .find(|mode| mode_name(*mode) == sent.get("inference"))
        .unwrap_or_default();
    let url = sent.get("cloud_url");
    if inference != CloudMode::Local && url.is_empty() {
        return Err([("cloud_url".to_owned(), l.t(K::FieldNeeded).to_owned())].into());
    }
    if !url.is_empty() && sent.get("cloud_model").is_empty() {
        return Err([("cloud_model".to_owned(), l.t(K::FieldNeeded).to_owned())].into());
    }
    let kept = before.cloud.as_ref().filter(|cloud| cloud.url == url).map(|cloud| cloud.key.clone());
    let key = Some(sent.raw("cloud_key").trim()).filter(|key| !key.is_empty()).map(Secret::new);
    let cloud = (!url.is_empty()).then(|| CloudEndpoint {
        url: url.to_owned(),
        model: sent.get("cloud_model").to_owned(),
        key: key.or(kept).unwrap_or_default(),
    });
    Ok(Settings {
        hub_name: sent.get("hub_name").to_owned(),
        language: sent.get("language").to_owned(),
        open_sign_up: sent.has("open_sign_up"),
        session_hours,
        inference,
        cloud,
        allowed_origins: lines(sent.get("allowed_origins")),
        allowed_hosts: lines(sent.get("allowed_hosts")),
        ..before.clone()
    })
}

pub(super) async fn save(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    keepers_only(&p)?;
    let errors = match read(p.l, &sent, &p.settings) {
        Ok(settings) => match settings.check() {
            Ok(()) => {
                hub.set_settings(&p.viewer, settings).await?;
                return Ok(p.go("/settings", "saved"));
            }
            Err(StoreError::Invalid(text)) => [(String::new(), text)].into(),
            Err(other) => return Err(other.into()),
        },
        Err(errors) => errors,
    };
    let shown = Shown::again(sent, errors);
    page(&hub, &p, StatusCode::UNPROCESSABLE_ENTITY, &shown, &Shown::empty()).await
}

pub(super) async fn backup(State(hub): State<Hub>, p: Page, sent: Form) -> Result<Response, Problem> {
    keepers_only(&p)?;
    if sent.raw("passphrase").chars().count() < MIN_PASSPHRASE {
        let text = p.l.count(Count::PasswordShort, MIN_PASSPHRASE as u64);
        let shown = Shown::again(sent, [("passphrase".to_owned(), text)].into());
        return page(&hub, &p, StatusCode::UNPROCESSABLE_ENTITY, &of_settings(&p.settings), &shown).await;
    }
    api::backup::download(&hub, &p.viewer, sent.raw("passphrase").to_owned()).await
}

pub(super) async fn support(State(hub): State<Hub>, p: Page, _sent: Form) -> Result<Response, Problem> {
    keepers_only(&p)?;
    let bundle = api::support::make(&hub, &p.viewer).await?;
    let headers = [(header::CONTENT_DISPOSITION, "attachment; filename=\"cairn-support.json\"")];
    Ok((headers, Json(bundle)).into_response())
}
