-- Schema 2 to 3: synchronisation. Only adds; what schemas 1 and 2 do with their tables stays valid.

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
