//! Forms that bring files: documents, models, backups. A file is written as it arrives and never held
//! in memory.

use axum::{
    extract::{Multipart, State, multipart::Field},
    response::{IntoResponse, Response},
};
use cairn_record_api::files::NewFile;
use cairn_sync::RecordId;
use futures::StreamExt;

use super::{
    page::{Page, see},
    settings::keepers_only,
};
use crate::{
    api,
    hub::Hub,
    problem::{Problem, ProblemKind},
};

/// Most files in one form; scripts send one form a file.
const MAX_FILES: u64 = 200;
/// Largest plain field beside the files, in bytes.
const MAX_FIELD: usize = 4096;

async fn next<'a>(multipart: &'a mut Multipart) -> Result<Option<Field<'a>>, Problem> {
    multipart.next_field().await.map_err(|error| Problem::new(ProblemKind::Malformed, error.body_text()))
}

/// The text of a plain field; the body's own limit is off here, so it is read within ours.
async fn text(mut field: Field<'_>) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) =
        field.chunk().await.map_err(|error| Problem::new(ProblemKind::Malformed, error.body_text()))?
    {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_FIELD {
            return Err(Problem::new(ProblemKind::TooLarge, "a field beside the file is too large"));
        }
    }
    String::from_utf8(bytes).map_err(|_| Problem::new(ProblemKind::Malformed, "a field is not UTF-8"))
}

fn file_name(field: &Field<'_>) -> Option<String> {
    // Some browsers send the whole path of a file in a folder.
    let name = field.file_name()?.rsplit(['/', '\\']).next()?.trim().to_owned();
    (!name.is_empty()).then_some(name)
}

/// A title until somebody gives a better one: the file's name as words.
fn title_of(file_name: &str) -> String {
    let stem = file_name.rsplit_once('.').map_or(file_name, |(stem, _)| stem);
    let words = stem.split(['-', '_', ' ']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => file_name.to_owned(),
    }
}

pub(super) async fn documents(
    State(hub): State<Hub>,
    p: Page,
    mut sent: Multipart,
) -> Result<Response, Problem> {
    let mut project: Option<RecordId> = None;
    let (mut added, mut last) = (0_u64, None);
    while let Some(field) = next(&mut sent).await? {
        if field.name() == Some("project") {
            project = text(field).await?.parse().ok();
            continue;
        }
        let Some(file_name) = file_name(&field) else { continue };
        if added == MAX_FILES {
            return Err(Problem::new(ProblemKind::TooLarge, format!("at most {MAX_FILES} files at a time")));
        }
        let media_type = field.content_type().map(str::to_owned);
        let file = NewFile {
            title: Some(title_of(&file_name)),
            name: file_name,
            description: None,
            language: None,
            tags: None,
            source: None,
            project,
            media_type,
        };
        let pieces = field.map(|piece| piece.map_err(|error| error.body_text()));
        let received = api::files::receive(&hub, &p.viewer, file, None, None, Box::pin(pieces)).await?;
        added += 1;
        last = Some(received.record.id);
    }
    Ok(match last {
        Some(id) if added == 1 => see(&format!("/library/{id}")),
        _ => match project {
            Some(project) => see(&format!("/projects/{project}/documents")),
            None => see(&format!("/library?added={added}")),
        },
    })
}

pub(super) async fn model(State(hub): State<Hub>, p: Page, mut sent: Multipart) -> Result<Response, Problem> {
    keepers_only(&p)?;
    while let Some(field) = next(&mut sent).await? {
        let Some(name) = file_name(&field) else { continue };
        api::models::receive(&hub, &p.viewer, &name, None, field).await?;
        return Ok(p.go("/settings", "model"));
    }
    Err(Problem::new(ProblemKind::Malformed, "the form has no file"))
}

pub(super) async fn restore(
    State(hub): State<Hub>,
    p: Page,
    mut sent: Multipart,
) -> Result<Response, Problem> {
    keepers_only(&p)?;
    let mut passphrase = None;
    while let Some(field) = next(&mut sent).await? {
        if field.name() == Some("passphrase") {
            passphrase = Some(text(field).await?);
        } else if field.name() == Some("file") {
            let passphrase = passphrase.ok_or_else(|| {
                Problem::new(ProblemKind::Malformed, "the passphrase has to come before the file")
            })?;
            api::backup::restore(&hub, &p.viewer, passphrase, None, field).await?;
            return Ok(p.go("/", "restore").into_response());
        }
    }
    Err(Problem::new(ProblemKind::Malformed, "the form has no file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_makes_a_title() {
        assert_eq!(title_of("safe-drinking_water.md"), "Safe drinking water");
        assert_eq!(title_of("ماء.txt"), "ماء");
        assert_eq!(title_of(".md"), ".md");
    }
}
