//! The pages: HTML made on the hub, forms that work without scripts.
//!
//! A page takes a [`page::Page`], asks the store as that page's viewer, and shows what it got. What a person
//! may do is decided in the store; a page only leaves out what would be refused anyway.

mod account;
mod ask;
mod assessments;
mod compare;
mod conflicts;
mod device;
mod enter;
mod history;
mod home;
mod invitations;
mod layout;
mod library;
mod markdown;
mod members;
mod messages;
mod models;
mod notices;
mod page;
mod parts;
mod people;
mod projects;
mod refused;
mod results;
mod settings;
mod status;
mod sync;
mod teams;
mod updates;
mod upload;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

pub(crate) use refused::problems_as_html;

use crate::hub::Hub;

/// Routes of all pages and their forms.
pub(crate) fn routes() -> Router<Hub> {
    Router::new()
        .route("/", get(home::show))
        .route("/here", get(home::here))
        .route("/first-run", get(enter::first_run).post(enter::claim))
        .route("/sign-in", get(enter::sign_in_form).post(enter::sign_in))
        .route("/sign-up", get(enter::sign_up_form).post(enter::sign_up))
        .route("/sign-out", post(enter::sign_out))
        .route("/language", post(enter::language))
        .route("/notices", get(notices::list).post(notices::create))
        .route("/notices/new", get(notices::new))
        .route("/notices/{id}", get(notices::show))
        .route("/notices/{id}/edit", get(notices::edit).post(notices::update))
        .route("/notices/{id}/delete", post(notices::delete))
        .route("/library", get(library::list))
        .route("/library/{id}", get(library::show))
        .route("/library/{id}/edit", get(library::edit).post(library::update))
        .route("/library/{id}/fetch", post(library::fetch))
        .route("/library/{id}/delete", post(library::delete))
        .route("/search", get(ask::search))
        .route("/ask", get(ask::ask))
        .route("/projects", get(projects::list).post(projects::create))
        .route("/projects/new", get(projects::new))
        .route("/projects/{id}", get(projects::show))
        .route("/projects/{id}/edit", get(projects::edit).post(projects::update))
        .route("/projects/{id}/delete", post(projects::delete))
        .route("/projects/{id}/documents", get(projects::documents))
        .route("/projects/{id}/people", get(members::list).post(members::add))
        .route("/projects/{id}/people/{membership}/delete", post(members::remove))
        .route("/projects/{id}/messages", get(messages::of_project).post(messages::say_in_project))
        .route("/projects/{id}/assessments", post(assessments::create))
        .route("/projects/{id}/assessments/new", get(assessments::new))
        .route("/assessments/{id}", get(assessments::show).post(assessments::answer))
        .route("/assessments/{id}/edit", get(assessments::edit).post(assessments::update))
        .route("/assessments/{id}/delete", post(assessments::delete))
        .route("/assessments/{id}/results", get(results::show))
        .route("/assessments/{id}/results.csv", get(results::csv))
        .route("/messages", get(messages::of_hub).post(messages::say))
        .route("/messages/{id}/delete", post(messages::delete))
        .route("/people", get(people::list))
        .route("/people/{id}", get(people::show))
        .route("/people/{id}/edit", get(people::edit).post(people::update))
        .route("/teams", post(teams::create))
        .route("/teams/new", get(teams::new))
        .route("/teams/{id}", get(teams::show))
        .route("/teams/{id}/edit", get(teams::edit).post(teams::update))
        .route("/teams/{id}/delete", post(teams::delete))
        .route("/invitations", get(invitations::list).post(invitations::create))
        .route("/invitations/{id}/delete", post(invitations::revoke))
        .route("/account", get(account::show))
        .route("/account/language", post(account::language))
        .route("/account/password", post(account::password))
        .route("/account/tokens", post(account::make_token))
        .route("/account/tokens/{id}/delete", post(account::revoke_token))
        .route("/settings", get(settings::show).post(settings::save))
        .route("/settings/backup", post(settings::backup))
        .route("/settings/support", post(settings::support))
        .route("/settings/device", get(device::show))
        .route("/settings/device/restart", post(device::restart))
        .route("/settings/device/power-off", post(device::power_off))
        .route("/settings/device/reset", post(device::reset))
        .route("/settings/updates", get(updates::show))
        .route("/settings/updates/look", post(updates::look))
        .route("/settings/updates/now", post(updates::now))
        .route("/settings/updates/again", post(updates::again))
        .route("/settings/updates/wishes", post(updates::wishes))
        .route("/settings/updates/hub", post(updates::hub))
        .route("/settings/updates/choose", post(updates::choose))
        .route("/settings/updates/leave", post(updates::leave))
        .route("/settings/updates/stick", post(updates::stick))
        .route("/settings/models/{name}/load", post(models::load))
        .route("/settings/models/{name}/unload", post(models::unload))
        .route("/settings/models/{name}/delete", post(models::remove))
        .route("/status", get(status::show))
        .route("/records/{id}/history", get(history::show))
        .route("/records/{id}/conflicts", get(conflicts::of_record))
        .route("/conflicts", get(conflicts::list).post(conflicts::settle_many))
        .route("/conflicts/{change}", get(conflicts::show_whole).post(conflicts::settle_whole))
        .route("/conflicts/{change}/{field}", get(conflicts::show_field).post(conflicts::settle_field))
        .route("/sync", get(sync::show))
        .route("/sync/now", post(sync::now))
        .route("/sync/ways", post(sync::ways))
        .route("/sync/projects", post(sync::choose))
        .route("/sync/enrol", post(sync::enrol))
        .merge(uploads())
}

/// Routes that take files: their size is limited by the settings, while they are received.
fn uploads() -> Router<Hub> {
    Router::new()
        .route("/library", post(upload::documents))
        .route("/settings/models", post(upload::model))
        .route("/settings/restore", post(upload::restore))
        .route("/settings/updates/upload", post(updates::upload))
        .layer(DefaultBodyLimit::disable())
}

/// The sources of the pages, for tests that read them.
#[cfg(test)]
pub(crate) const SOURCES: &[&str] = &[
    include_str!("account.rs"),
    include_str!("ask.rs"),
    include_str!("assessments.rs"),
    include_str!("conflicts.rs"),
    include_str!("device.rs"),
    include_str!("enter.rs"),
    include_str!("history.rs"),
    include_str!("home.rs"),
    include_str!("invitations.rs"),
    include_str!("layout.rs"),
    include_str!("library.rs"),
    include_str!("members.rs"),
    include_str!("messages.rs"),
    include_str!("models.rs"),
    include_str!("notices.rs"),
    include_str!("parts.rs"),
    include_str!("people.rs"),
    include_str!("projects.rs"),
    include_str!("refused.rs"),
    include_str!("results.rs"),
    include_str!("settings.rs"),
    include_str!("status.rs"),
    include_str!("sync.rs"),
    include_str!("teams.rs"),
    include_str!("updates.rs"),
];
