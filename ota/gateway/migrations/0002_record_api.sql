-- The record API (what clients read and change): what lists are sorted and found by and what permissions are decided by,
-- derived from the states in the transaction that writes them. `derived` is the version that it was derived from: a row
-- whose version is another was written by a release that does not know of it, and is made up for before it is shown.
ALTER TABLE cairn.record
    ADD COLUMN created_hlc bytea,
    ADD COLUMN created_by uuid,
    ADD COLUMN changed_hlc bytea,
    ADD COLUMN changed_by uuid,
    ADD COLUMN derived bigint,
    -- A column of its own, because the planner keeps figures of columns and none of a comparison: without them it would read the
    -- whole table to see that there is nothing to make up for.
    ADD COLUMN underived boolean GENERATED ALWAYS AS (derived IS DISTINCT FROM version) STORED;
CREATE INDEX record_made ON cairn.record (community_id, kind, deleted, created_hlc, record_id);
CREATE INDEX record_made_in ON cairn.record (community_id, scope, kind, deleted, created_hlc, record_id);
CREATE INDEX record_changed ON cairn.record (community_id, kind, deleted, changed_hlc, record_id);
CREATE INDEX record_underived ON cairn.record (community_id) WHERE underived;

CREATE TABLE cairn.project (
    community_id uuid NOT NULL REFERENCES cairn.community,
    id uuid NOT NULL,
    open boolean NOT NULL,
    live boolean NOT NULL,
    PRIMARY KEY (community_id, id)
);
CREATE TABLE cairn.member (
    community_id uuid NOT NULL REFERENCES cairn.community,
    record uuid NOT NULL,
    person uuid NOT NULL,
    project uuid NOT NULL,
    role bigint NOT NULL,
    PRIMARY KEY (community_id, record)
);
CREATE INDEX member_person ON cairn.member (community_id, person, project);
CREATE TABLE cairn.person (
    community_id uuid NOT NULL REFERENCES cairn.community,
    id uuid NOT NULL,
    role bigint NOT NULL,
    closed boolean NOT NULL,
    login text NOT NULL,
    PRIMARY KEY (community_id, id)
);

-- Living records by the value of a field. `exact` tells lines apart that are the same once folded and cut.
CREATE TABLE cairn.lookup (
    community_id uuid NOT NULL REFERENCES cairn.community,
    kind text NOT NULL,
    name text NOT NULL,
    value text COLLATE "C" NOT NULL,
    created_hlc bytea NOT NULL,
    record_id uuid NOT NULL,
    exact bytea NOT NULL,
    PRIMARY KEY (community_id, kind, name, value, created_hlc, record_id)
);

-- What changes did to records. Values before and after stand in cairn.value.
CREATE TABLE cairn.history (
    community_id uuid NOT NULL REFERENCES cairn.community,
    record_id uuid NOT NULL,
    version bigint NOT NULL,
    change_id uuid NOT NULL,
    what text NOT NULL,
    hlc bytea NOT NULL,
    author uuid,
    fields text[] NOT NULL,
    PRIMARY KEY (community_id, record_id, version),
    UNIQUE (community_id, change_id)
);

-- A token acts for a person, with the rights that the person has when it is used. Tokens of before act for nobody.
ALTER TABLE cairn.api_token
    ADD COLUMN person uuid,
    ADD COLUMN expires_ms bigint;

DO $$
DECLARE
    part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['project', 'member', 'person', 'lookup', 'history']
    LOOP
        EXECUTE format('ALTER TABLE cairn.%I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('ALTER TABLE cairn.%I FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('CREATE POLICY own_community ON cairn.%I USING (community_id = cairn.scope()) '
            'WITH CHECK (community_id = cairn.scope())', part);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON cairn.%I TO cairn_app', part);
    END LOOP;
END $$;
