-- For every row of these cairn.community was looked at, which took 40 % of PostgreSQL's time for a push. The row policy says already
-- that a row is of the transaction's community, which is locked while it is written, and communities stay.
ALTER TABLE cairn.record DROP CONSTRAINT record_community_id_fkey;
ALTER TABLE cairn.trace DROP CONSTRAINT trace_community_id_fkey;
ALTER TABLE cairn.value DROP CONSTRAINT value_community_id_fkey;
ALTER TABLE cairn.answer DROP CONSTRAINT answer_community_id_fkey;
ALTER TABLE cairn.lookup DROP CONSTRAINT lookup_community_id_fkey;
ALTER TABLE cairn.history DROP CONSTRAINT history_community_id_fkey;
