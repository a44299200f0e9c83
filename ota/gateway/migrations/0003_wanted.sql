-- Files that somebody waits for and that the gateway has not got: hubs that have one are asked to bring it.
CREATE TABLE cairn.blob_wanted (
    community_id uuid NOT NULL REFERENCES cairn.community,
    hash bytea NOT NULL,
    since_ms bigint NOT NULL DEFAULT cairn.now_ms(),
    PRIMARY KEY (community_id, hash)
);
ALTER TABLE cairn.blob_wanted ENABLE ROW LEVEL SECURITY;
ALTER TABLE cairn.blob_wanted FORCE ROW LEVEL SECURITY;
CREATE POLICY own_community ON cairn.blob_wanted USING (community_id = cairn.scope())
    WITH CHECK (community_id = cairn.scope());
GRANT SELECT, INSERT, UPDATE, DELETE ON cairn.blob_wanted TO cairn_app;
