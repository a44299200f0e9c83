//! The roles that the supervisor starts.

use cairn_supervisor::RoleLink;

use crate::outcome::Failure;

pub(crate) mod hub;
pub(crate) mod infer;

/// A role that fails before it has a link says so to the supervisor all the same, so that the reason stands where a keeper looks.
pub(crate) fn ended(outcome: Result<(), Failure>) -> Result<(), Failure> {
    outcome.inspect_err(|failure| {
        // One with a link has said it by itself; without a supervisor nobody listens.
        if let Err(error) = cairn_supervisor::last_words(failure.happened()) {
            tracing::debug!(%error, "no last words");
        }
    })
}

/// The same for a role with a link.
async fn ended_with(link: &RoleLink, outcome: Result<(), Failure>) -> Result<(), Failure> {
    if let Err(failure) = &outcome
        && let Err(error) = link.last_words(failure.happened()).await
    {
        tracing::debug!(%error, "no last words");
    }
    outcome
}
