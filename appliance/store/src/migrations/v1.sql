-- Schema 1 of records.db.

-- Facts about this hub and its database, one row each.
CREATE TABLE hub (
    name  TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

-- One row per record, tombstones included. `scope` is the project that a record belongs to; a project is its own
-- scope; records of the hub as a whole have none. The clocks are 16 bytes that compare as the order of changes.
CREATE TABLE records (
    id              BLOB PRIMARY KEY CHECK (length(id) = 16),
    kind            INTEGER NOT NULL,
    scope           BLOB REFERENCES records (id),
    version         INTEGER NOT NULL,
    created_hlc     BLOB NOT NULL,
    created_by      BLOB,
    created_at      INTEGER NOT NULL,
    changed_hlc     BLOB NOT NULL,
    changed_by      BLOB,
    changed_at      INTEGER NOT NULL,
    sync            INTEGER NOT NULL,
    gateway_version INTEGER,
    deleted         INTEGER NOT NULL
) WITHOUT ROWID;

-- The last two columns let a list skip what its reader may not see without touching the records.
CREATE INDEX records_newest ON records (kind, deleted, created_hlc, id, scope, created_by);
CREATE INDEX records_changed ON records (kind, deleted, changed_hlc, id, scope, created_by);
CREATE INDEX records_newest_in ON records (scope, kind, deleted, created_hlc, id, created_by);
CREATE INDEX records_changed_in ON records (scope, kind, deleted, changed_hlc, id, created_by);

-- The current value of every field that was ever set, with the change that set it.
CREATE TABLE fields (
    record          BLOB NOT NULL REFERENCES records (id),
    name            TEXT NOT NULL,
    value,
    version         INTEGER NOT NULL,
    hlc             BLOB NOT NULL,
    author          BLOB,
    gateway_version INTEGER,
    PRIMARY KEY (record, name)
) WITHOUT ROWID;

-- One row per change, and under its version the values it set. The value before is the one of the version before.
CREATE TABLE history (
    record BLOB NOT NULL REFERENCES records (id),
    version INTEGER NOT NULL,
    change BLOB NOT NULL UNIQUE,
    kind   INTEGER NOT NULL,
    hlc    BLOB NOT NULL,
    at     INTEGER NOT NULL,
    author BLOB,
    fields TEXT NOT NULL,
    PRIMARY KEY (record, version)
) WITHOUT ROWID;

CREATE TABLE history_values (
    record  BLOB NOT NULL REFERENCES records (id),
    field   TEXT NOT NULL,
    version INTEGER NOT NULL,
    value,
    PRIMARY KEY (record, field, version)
) WITHOUT ROWID;

-- Changes that the gateway has not confirmed.
CREATE TABLE outbox (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    record  BLOB NOT NULL,
    version INTEGER NOT NULL,
    FOREIGN KEY (record, version) REFERENCES history (record, version)
);

-- Living records by the value of a field, for lists. Derived from `fields`.
CREATE TABLE lookup (
    kind        INTEGER NOT NULL,
    name        TEXT NOT NULL,
    value       TEXT NOT NULL,
    created_hlc BLOB NOT NULL,
    record      BLOB NOT NULL,
    PRIMARY KEY (kind, name, value, created_hlc, record)
) WITHOUT ROWID;

-- What permissions are decided by. Derived from the records of these kinds.
CREATE TABLE projects (
    id   BLOB PRIMARY KEY,
    open INTEGER NOT NULL,
    live INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE members (
    person  BLOB NOT NULL,
    project BLOB NOT NULL,
    record  BLOB NOT NULL,
    role    INTEGER NOT NULL,
    PRIMARY KEY (person, project, record)
) WITHOUT ROWID;
CREATE INDEX members_record ON members (record);

CREATE TABLE people (
    id       BLOB PRIMARY KEY,
    role     INTEGER NOT NULL,
    disabled INTEGER NOT NULL
) WITHOUT ROWID;

-- Accounts. Local to this hub. `expires_life` is on the life clock.
CREATE TABLE credentials (
    person        BLOB PRIMARY KEY REFERENCES records (id),
    login         TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE sessions (
    hash         BLOB PRIMARY KEY,
    person       BLOB NOT NULL REFERENCES records (id),
    created_at   INTEGER NOT NULL,
    expires_life INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_person ON sessions (person);

CREATE TABLE invitations (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    hash         BLOB NOT NULL UNIQUE,
    role         INTEGER NOT NULL,
    author       BLOB,
    created_at   INTEGER NOT NULL,
    expires_life INTEGER NOT NULL
);

CREATE TABLE api_tokens (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    hash         BLOB NOT NULL UNIQUE,
    person       BLOB NOT NULL REFERENCES records (id),
    name         TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_life INTEGER NOT NULL
);
CREATE INDEX api_tokens_person ON api_tokens (person);
