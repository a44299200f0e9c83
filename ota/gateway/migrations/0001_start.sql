-- Everything of a community carries its id first in every key, so that the tables shard by it (see SCALING.md), and is
-- visible only to a transaction that says which community it is about (cairn.scope()).
CREATE SCHEMA cairn;

CREATE FUNCTION cairn.scope() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('cairn.community', true), '')::uuid $$;
CREATE FUNCTION cairn.now_ms() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE
    AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

-- Its row's lock orders the changes of a community: versions are given under it and become visible when it is released.
CREATE TABLE cairn.community (
    community_id uuid PRIMARY KEY,
    name text NOT NULL,
    version bigint NOT NULL DEFAULT 0,
    created_ms bigint NOT NULL DEFAULT cairn.now_ms()
);

CREATE TABLE cairn.hub (
    community_id uuid NOT NULL REFERENCES cairn.community,
    hub_id uuid NOT NULL,
    name text NOT NULL,
    every_project boolean NOT NULL,
    seat text NOT NULL,
    floor bigint NOT NULL DEFAULT 0,
    came_from uuid,
    copies integer NOT NULL DEFAULT 0,
    retired_ms bigint,
    enrolled_ms bigint NOT NULL DEFAULT cairn.now_ms(),
    last_round_ms bigint,
    PRIMARY KEY (community_id, hub_id)
);

-- Apart from the hub, so that reports and held streams never wait for a round.
CREATE TABLE cairn.hub_status (
    community_id uuid NOT NULL,
    hub_id uuid NOT NULL,
    software text NOT NULL DEFAULT '',
    board text NOT NULL DEFAULT '',
    queue bigint NOT NULL DEFAULT 0,
    conflicts bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    free_bytes bigint NOT NULL DEFAULT 0,
    log text NOT NULL DEFAULT '[]',
    updates text NOT NULL DEFAULT '[]',
    change_key boolean NOT NULL DEFAULT false,
    reported_ms bigint,
    held_until_ms bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (community_id, hub_id),
    FOREIGN KEY (community_id, hub_id) REFERENCES cairn.hub ON DELETE CASCADE
);

CREATE TABLE cairn.hub_key (
    community_id uuid NOT NULL,
    hub_id uuid NOT NULL,
    hash bytea NOT NULL,
    pending boolean NOT NULL DEFAULT false,
    created_ms bigint NOT NULL DEFAULT cairn.now_ms(),
    PRIMARY KEY (community_id, hub_id, hash),
    FOREIGN KEY (community_id, hub_id) REFERENCES cairn.hub ON DELETE CASCADE
);

CREATE TABLE cairn.hub_project (
    community_id uuid NOT NULL,
    hub_id uuid NOT NULL,
    project_id uuid NOT NULL,
    PRIMARY KEY (community_id, hub_id, project_id),
    FOREIGN KEY (community_id, hub_id) REFERENCES cairn.hub ON DELETE CASCADE
);

CREATE TABLE cairn.enrol_token (
    community_id uuid NOT NULL REFERENCES cairn.community,
    hash bytea NOT NULL,
    label text NOT NULL,
    projects uuid[],
    created_ms bigint NOT NULL DEFAULT cairn.now_ms(),
    expires_ms bigint NOT NULL,
    used_by uuid,
    used_key bytea,
    PRIMARY KEY (community_id, hash)
);

CREATE TABLE cairn.api_token (
    community_id uuid NOT NULL REFERENCES cairn.community,
    hash bytea NOT NULL,
    label text NOT NULL,
    may_write boolean NOT NULL,
    created_ms bigint NOT NULL DEFAULT cairn.now_ms(),
    revoked_ms bigint,
    PRIMARY KEY (community_id, hash)
);

-- scope: the project, or the nil id for what belongs to none.
CREATE TABLE cairn.record (
    community_id uuid NOT NULL REFERENCES cairn.community,
    record_id uuid NOT NULL,
    scope uuid NOT NULL,
    kind text NOT NULL,
    version bigint NOT NULL,
    deleted boolean NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (community_id, record_id)
);
CREATE INDEX record_newer ON cairn.record (community_id, scope, version);
CREATE INDEX record_kind ON cairn.record (community_id, kind, record_id) WHERE NOT deleted;
ALTER TABLE cairn.record ALTER COLUMN state SET COMPRESSION lz4;

CREATE TABLE cairn.scope_sum (
    community_id uuid NOT NULL REFERENCES cairn.community,
    scope uuid NOT NULL,
    checksum bytea NOT NULL,
    horizon bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (community_id, scope)
);

-- What changes did to fields: later changes build on it, and every losing value stays readable.
CREATE TABLE cairn.trace (
    community_id uuid NOT NULL REFERENCES cairn.community,
    record_id uuid NOT NULL,
    field text NOT NULL,
    change_id uuid NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (community_id, record_id, field, change_id)
);

-- What fields came to hold: the common ancestor of a three-way merge.
CREATE TABLE cairn.value (
    community_id uuid NOT NULL REFERENCES cairn.community,
    record_id uuid NOT NULL,
    field text NOT NULL,
    version bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (community_id, record_id, field, version)
);

-- How changes were answered: each takes effect once however often it is sent.
CREATE TABLE cairn.answer (
    community_id uuid NOT NULL REFERENCES cairn.community,
    change_id uuid NOT NULL,
    outcome bytea NOT NULL,
    PRIMARY KEY (community_id, change_id)
);

CREATE TABLE cairn.blob (
    community_id uuid NOT NULL REFERENCES cairn.community,
    hash bytea NOT NULL,
    size bigint NOT NULL,
    have bigint NOT NULL DEFAULT 0,
    complete boolean NOT NULL DEFAULT false,
    created_ms bigint NOT NULL DEFAULT cairn.now_ms(),
    PRIMARY KEY (community_id, hash)
);
CREATE TABLE cairn.blob_piece (
    community_id uuid NOT NULL,
    hash bytea NOT NULL,
    start bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (community_id, hash, start),
    FOREIGN KEY (community_id, hash) REFERENCES cairn.blob ON DELETE CASCADE
);
-- Files are compressed already, or not worth it.
ALTER TABLE cairn.blob_piece ALTER COLUMN body SET STORAGE EXTERNAL;

-- Not of a community: the gateway's own. On Citus these are reference tables.
CREATE TABLE cairn.setting (
    name text PRIMARY KEY,
    value bytea NOT NULL
);
CREATE TABLE cairn.maintainer (
    login text PRIMARY KEY,
    password text NOT NULL,
    communities uuid[] NOT NULL
);
CREATE TABLE cairn.maintainer_session (
    hash bytea PRIMARY KEY,
    login text NOT NULL REFERENCES cairn.maintainer ON DELETE CASCADE,
    form_token text NOT NULL,
    expires_ms bigint NOT NULL
);

DO $$
DECLARE
    part text;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'cairn_app') THEN
        CREATE ROLE cairn_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
    END IF;
    GRANT USAGE ON SCHEMA cairn TO cairn_app;
    FOREACH part IN ARRAY ARRAY['community', 'hub', 'hub_status', 'hub_key', 'hub_project', 'enrol_token', 'api_token',
        'record', 'scope_sum', 'trace', 'value', 'answer', 'blob', 'blob_piece']
    LOOP
        EXECUTE format('ALTER TABLE cairn.%I ENABLE ROW LEVEL SECURITY', part);
        -- The owner is bound as well.
        EXECUTE format('ALTER TABLE cairn.%I FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('CREATE POLICY own_community ON cairn.%I USING (community_id = cairn.scope()) '
            'WITH CHECK (community_id = cairn.scope())', part);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON cairn.%I TO cairn_app', part);
    END LOOP;
    GRANT SELECT ON cairn.setting TO cairn_app;
    GRANT SELECT ON cairn.maintainer TO cairn_app;
    GRANT SELECT, INSERT, DELETE ON cairn.maintainer_session TO cairn_app;
END $$;
