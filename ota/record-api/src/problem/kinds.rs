//! The table of problem kinds: name, status, title, what became of the input, what to do next.

use axum::http::StatusCode;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $status:ident, $title:literal, $kept:literal, $next:literal;)*) => {
        /// What kind of problem it is. Names are stable: clients may tell problems apart by them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProblemKind {
            $($(#[$doc])* $name,)*
        }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable name, the last part of the problem's `type`.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// What it is, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What became of what was sent, where nothing more exact is known.
            #[must_use]
            pub const fn kept(self) -> &'static str {
                match self { $(Self::$name => $kept,)* }
            }

            /// What to do next, where nothing more exact is known.
            #[must_use]
            pub const fn next(self) -> &'static str {
                match self { $(Self::$name => $next,)* }
            }
        }
    };
}

kinds! {
    /// The request is not what it has to look like.
    Malformed = "malformed", BAD_REQUEST, "The request cannot be read",
        "Nothing was changed.", "Correct the request; /api/openapi.json describes what is expected.";
    /// It can be read, but a value does not fit.
    Invalid = "invalid", UNPROCESSABLE_ENTITY, "Something does not fit",
        "Nothing was changed.", "Correct what is named and send it again.";
    /// Only people who are signed in may do this.
    SignInNeeded = "sign-in-needed", UNAUTHORIZED, "You are not signed in",
        "Nothing was changed.", "Sign in and try again.";
    /// Name or password is wrong.
    WrongCredentials = "wrong-credentials", UNAUTHORIZED, "Name or password is wrong",
        "Nothing was changed.", "Check the name and the password; a keeper can set a new password.";
    /// The person's role does not allow it.
    Forbidden = "forbidden", FORBIDDEN, "You may not do this",
        "Nothing was changed.", "Ask a keeper, or an owner of the project, for the right to do it.";
    /// The request was sent from a page that does not belong to this hub.
    CrossSite = "cross-site", FORBIDDEN, "This came from another site",
        "Nothing was changed.", "Open the hub's own page and do it there.";
    /// An invitation or claim code is not valid.
    CodeRefused = "code-refused", FORBIDDEN, "The code is not valid",
        "Nothing was changed.", "Check the code, or ask for a new one.";
    /// There is no such thing, or whoever asks may not know of it.
    NotFound = "not-found", NOT_FOUND, "There is nothing here",
        "Nothing was changed.", "Check the address; it may have been deleted, or you may have to sign in to see it.";
    /// The document is known, and its file lies elsewhere.
    FileElsewhere = "file-elsewhere", NOT_FOUND, "The file is not here",
        "Nothing was changed.", "Ask for it on the document's page; it comes when the hub and the gateway can exchange it.";
    /// The address exists but does not take this method.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "This cannot be done here",
        "Nothing was changed.", "Use one of the methods in the header Allow.";
    /// The body did not come in time.
    TooSlow = "too-slow", REQUEST_TIMEOUT, "Sending took too long",
        "Nothing was saved.", "Check the connection and send it again.";
    /// Somebody else changed the same field meanwhile.
    StaleEdit = "stale-edit", CONFLICT, "Somebody changed it meanwhile",
        "Your change was not saved; the other one stands.", "Look at the current version and send your change on top of it.";
    /// A change id was used twice for different things.
    ChangeReused = "change-reused", CONFLICT, "This change id was already used",
        "The first change stands; this one was not made.", "Send the new change with a new Idempotency-Key.";
    /// The login is taken.
    NameTaken = "name-taken", CONFLICT, "This name is taken",
        "Nothing was changed.", "Choose another name to sign in with.";
    /// The hub has its keeper already.
    AlreadyClaimed = "already-claimed", CONFLICT, "This hub is already set up",
        "Nothing was changed.", "Sign in, or ask a keeper for an invitation.";
    /// Larger than its limit.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "This is too large",
        "Nothing was saved, and what had arrived was removed.", "Send something smaller, or ask a keeper to raise the limit.";
    /// The media type is not taken here.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "This kind of content is not taken here",
        "Nothing was changed.", "Send the content type that /api/openapi.json names.";
    /// The asked part of the file does not exist.
    RangeNotSatisfiable = "range-not-satisfiable", RANGE_NOT_SATISFIABLE, "The file has no such part",
        "Nothing was changed.", "Ask for a part within the file's size.";
    /// The hub was called by a name that is not its own (a sign of DNS rebinding).
    WrongHost = "wrong-host", MISDIRECTED_REQUEST, "This hub is not called that",
        "Nothing was changed.", "Open the hub by its address or its own name; a keeper can allow further names in the settings.";
    /// Too many requests.
    TooManyRequests = "too-many-requests", TOO_MANY_REQUESTS, "Too many at once",
        "Nothing was changed.", "Wait a moment and try again.";
    /// A model file was refused.
    ModelRefused = "model-refused", UNPROCESSABLE_ENTITY, "This model cannot be used",
        "The file was not kept.", "Use a GGUF file of a supported family that fits the board's memory.";
    /// A backup file was refused.
    BackupRefused = "backup-refused", UNPROCESSABLE_ENTITY, "This backup cannot be used",
        "The hub was not touched.", "Check that the file is a whole backup of a hub and that the passphrase is right.";
    /// A fault of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong inside",
        "Nothing is known to be lost; look before you send it again.", "Try again; if it stays, give a keeper the instance below: the log names it.";
    /// More work than can be taken on.
    Busy = "busy", SERVICE_UNAVAILABLE, "Too much is going on",
        "Nothing was saved.", "Wait a moment and try again.";
    /// A part is not there at the moment.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "This is not available at the moment",
        "Nothing was changed.", "Wait a moment and try again.";
    /// The disk cannot be written.
    ReadOnlyDisk = "read-only-disk", SERVICE_UNAVAILABLE, "The disk cannot be written to",
        "Nothing was saved; everything saved before can still be read.", "A keeper should make a backup now and replace the card.";
    /// The disk is full.
    DiskFull = "disk-full", INSUFFICIENT_STORAGE, "The disk is full",
        "Nothing was saved, and what had arrived was removed.", "A keeper should delete files or models that are no longer needed.";
}

impl ProblemKind {
    /// When to try again, where a moment helps, in seconds.
    #[must_use]
    pub const fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::Busy => Some(2),
            Self::Unavailable => Some(5),
            Self::TooManyRequests => Some(1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_its_own_name_and_says_everything() {
        let slugs: BTreeSet<_> = ProblemKind::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(slugs.len(), ProblemKind::ALL.len());
        for kind in ProblemKind::ALL {
            assert!(kind.status().is_client_error() || kind.status().is_server_error());
            for text in [kind.title(), kind.kept(), kind.next()] {
                assert!(!text.is_empty() && !text.ends_with(' '), "{}", kind.slug());
            }
        }
    }
}
