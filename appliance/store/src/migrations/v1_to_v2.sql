-- Schema 1 to 2: counts that need not read every record, and files that nothing refers to any more.
-- Only adds; what schema 1 does with its tables stays valid.

CREATE TABLE tallies (
    kind   INTEGER NOT NULL,
    scope  BLOB NOT NULL,
    author BLOB NOT NULL,
    live   INTEGER NOT NULL,
    PRIMARY KEY (kind, scope, author)
) WITHOUT ROWID;

INSERT INTO tallies (kind, scope, author, live)
SELECT kind, coalesce(scope, x''), coalesce(created_by, x''), count(*) FROM records WHERE deleted = 0
GROUP BY kind, coalesce(scope, x''), coalesce(created_by, x'');

CREATE TRIGGER tally_created AFTER INSERT ON records WHEN new.deleted = 0 BEGIN
    INSERT INTO tallies VALUES (new.kind, coalesce(new.scope, x''), coalesce(new.created_by, x''), 1)
    ON CONFLICT DO UPDATE SET live = live + 1;
END;

CREATE TRIGGER tally_changed AFTER UPDATE OF deleted ON records WHEN new.deleted <> old.deleted BEGIN
    INSERT INTO tallies VALUES (new.kind, coalesce(new.scope, x''), coalesce(new.created_by, x''), 1 - new.deleted)
    ON CONFLICT DO UPDATE SET live = live + 1 - 2 * new.deleted;
END;

CREATE TABLE orphans (
    blob       TEXT PRIMARY KEY,
    since_life INTEGER NOT NULL
) WITHOUT ROWID;
