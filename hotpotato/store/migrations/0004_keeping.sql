-- works-with: 3
-- What is over is forgotten after a time, see store.upkeep. These let PostgreSQL check, for a row that
-- goes, that nothing refers to it, without reading a whole table.
CREATE INDEX message_of_reply ON message (reply_id) WHERE reply_id IS NOT NULL;
CREATE INDEX idempotency_of_notification ON idempotency (notification_id);

-- The partitions of a week are dropped whole. What came when there was none for its week lies in the
-- default ones, which are nearly always empty, and goes row by row.
CREATE INDEX heartbeat_default_age ON heartbeat_default (received_at);
CREATE INDEX receipt_default_age ON receipt_default (received_at);
CREATE INDEX history_default_age ON history_default (at);

-- Drop the oldest partition of a table that ended at or before `before`; returns its name, null if
-- there is none. Nobody reads or writes the table meanwhile, so the caller bounds the wait.
CREATE FUNCTION drop_partition(parent text, before timestamptz) RETURNS text
    LANGUAGE plpgsql AS $$
DECLARE
    child text;
BEGIN
    SELECT relname INTO child
      FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
     WHERE inhparent = parent::regclass AND relname ~ '_[0-9]{8}$'
       AND to_date(right(relname, 8), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC'
           + interval '7 days' <= before
     ORDER BY relname LIMIT 1;
    IF child IS NOT NULL THEN
        EXECUTE format('DROP TABLE %I', child);
    END IF;
    RETURN child;
END $$;
