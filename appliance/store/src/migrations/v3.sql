-- Schema 3 of records.db.

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

-- How many records live, by what decides who may know. Kept by triggers, so that a release that only knows schema 1
-- keeps it right after a rollback.
CREATE TABLE tallies (
    kind   INTEGER NOT NULL,
    scope  BLOB NOT NULL,
    author BLOB NOT NULL,
    live   INTEGER NOT NULL,
    PRIMARY KEY (kind, scope, author)
) WITHOUT ROWID;

CREATE TRIGGER tally_created AFTER INSERT ON records WHEN new.deleted = 0 BEGIN
    INSERT INTO tallies VALUES (new.kind, coalesce(new.scope, x''), coalesce(new.created_by, x''), 1)
    ON CONFLICT DO UPDATE SET live = live + 1;
END;

CREATE TRIGGER tally_changed AFTER UPDATE OF deleted ON records WHEN new.deleted <> old.deleted BEGIN
    INSERT INTO tallies VALUES (new.kind, coalesce(new.scope, x''), coalesce(new.created_by, x''), 1 - new.deleted)
    ON CONFLICT DO UPDATE SET live = live + 1 - 2 * new.deleted;
END;

-- Files that no living record refers to, and since when.
CREATE TABLE orphans (
    blob       TEXT PRIMARY KEY,
    since_life INTEGER NOT NULL
) WITHOUT ROWID;

-- What the gateway confirmed of each record, as it sent it; `scope` is empty for the hub as a whole. What a person sees
-- is this with the changes that wait on top. `stale` until it comes again in a scope that is read from the beginning.
CREATE TABLE confirmed (
    record  BLOB PRIMARY KEY,
    scope   BLOB NOT NULL,
    version INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    stale   INTEGER NOT NULL,
    state   TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX confirmed_deleted ON confirmed (scope, version) WHERE deleted = 1;
CREATE INDEX confirmed_stale ON confirmed (scope) WHERE stale = 1;

-- Changes of the outbox in the form in which they are sent. A row is written before anything newer is taken in, so that
-- it says what its maker had seen; what an older release put into the outbox gets its row later.
CREATE TABLE prepared (
    seq  INTEGER PRIMARY KEY,
    body TEXT NOT NULL
);
CREATE INDEX outbox_record ON outbox (record, version);

-- Up to where each scope is known. `chosen`: 1 yes, 0 no, NULL as the settings say.
CREATE TABLE scopes (
    scope    BLOB PRIMARY KEY,
    version  INTEGER NOT NULL DEFAULT 0,
    horizon  INTEGER NOT NULL DEFAULT 0,
    checksum BLOB,
    chosen   INTEGER,
    withheld INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Conflicts that wait for a person, and those that waited: both sides stay readable.
CREATE TABLE conflicts (
    key        TEXT PRIMARY KEY,
    record     BLOB NOT NULL,
    body       TEXT NOT NULL,
    opened_at  INTEGER NOT NULL,
    settled_at INTEGER,
    settled_by BLOB
) WITHOUT ROWID;
CREATE INDEX conflicts_record ON conflicts (record);
CREATE INDEX conflicts_open ON conflicts (key) WHERE settled_at IS NULL;

-- Which conflicts a change of ours settles.
CREATE TABLE settles (
    change BLOB NOT NULL,
    key    TEXT NOT NULL,
    PRIMARY KEY (change, key)
) WITHOUT ROWID;

-- Changes that the gateway cannot take, and why. Kept for people.
CREATE TABLE refused (
    change BLOB PRIMARY KEY,
    record BLOB NOT NULL,
    body   TEXT NOT NULL,
    reason TEXT NOT NULL,
    at     INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE sync_log (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    up      INTEGER NOT NULL,
    down    INTEGER NOT NULL,
    took_ms INTEGER NOT NULL,
    worked  INTEGER NOT NULL,
    note    TEXT NOT NULL
);
