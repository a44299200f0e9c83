-- index.db: what can be made again from the documents. There are no steps between its schemas: another version than
-- the program's is thrown away and filled again.

-- One extraction of one document's file. `state`: 0 being written, 1 searched, 2 could not be read, 3 being removed.
CREATE TABLE runs (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    document  BLOB NOT NULL,
    blob      TEXT NOT NULL,
    extractor INTEGER NOT NULL,
    state     INTEGER NOT NULL,
    title     TEXT NOT NULL,
    reason    TEXT NOT NULL DEFAULT '',
    passages  INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX runs_current ON runs (document) WHERE state IN (1, 2);
CREATE INDEX runs_leftover ON runs (state) WHERE state IN (0, 3);

CREATE TABLE passages (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    run      INTEGER NOT NULL REFERENCES runs (id),
    ordinal  INTEGER NOT NULL,
    heading  TEXT NOT NULL,
    body     TEXT NOT NULL,
    location TEXT NOT NULL,
    embedded INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX passages_run ON passages (run, ordinal);
CREATE INDEX passages_bare ON passages (id) WHERE embedded = 0;

-- Embeddings: 8-bit whole numbers times `scale`.
CREATE TABLE embeddings (
    passage INTEGER PRIMARY KEY REFERENCES passages (id),
    scale   REAL NOT NULL,
    vector  BLOB NOT NULL
);

CREATE VIRTUAL TABLE words USING fts5 (
    title, heading, body,
    content = '', contentless_delete = 1, prefix = '2 3',
    tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO words (words, rank) VALUES ('rank', 'bm25(1.0, 2.0, 1.0)');
