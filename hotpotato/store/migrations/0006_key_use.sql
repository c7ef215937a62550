-- works-with: 3
-- When each of a server's keys was used last, right to the minute: whether the old one is still in use
-- is what whoever rotates a key has to know before it ends. A daemon of a version before leaves them be.
ALTER TABLE server
    ADD COLUMN key_used_at timestamptz,
    ADD COLUMN old_key_used_at timestamptz;
