"""Heartbeats in, committed in groups; and the watchdog's look at them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from hotpotato.store.database import Database, Transaction
from hotpotato.store.groups import Groups


class Beat(msgspec.Struct, frozen=True):
    """A heartbeat on its way to disk: whose key it came with."""

    key_digest: bytes


class Heard(msgspec.Struct, frozen=True):
    """A heartbeat on disk."""

    id: int
    server_id: int
    received_at: datetime


class Heartbeats:
    """Takes heartbeats in."""

    def __init__(self, database: Database, clock: IReactorTime) -> None:
        self._database = database
        self._groups: Groups[Beat, Heard | None] = Groups(clock, self._commit, lambda beat: ())

    def add(self, key_digest: bytes) -> Deferred[Heard | None]:
        """Fires when the heartbeat is committed, with None if no server has that key.

        Fails with Unavailable when it can't be told that it is committed.
        """
        return self._groups.add(Beat(key_digest))

    async def _commit(self, group: Sequence[Beat]) -> Sequence[Heard | None]:
        keys = [beat.key_digest.hex() for beat in group]
        rows = await self._database.statement(_BEAT, {"keys": keys})
        heard = {order: Heard(*rest) for order, *rest in rows}
        return [heard.get(order) for order in range(1, len(group) + 1)]


# Server rows are locked in order of id here as in the watchdog's look, so that they never deadlock.
_BEAT = """
SELECT id FROM server
 WHERE key_digest IN (SELECT decode(hex, 'hex') FROM unnest(%(keys)s::text[]) AS hex)
    OR old_key_digest IN (SELECT decode(hex, 'hex') FROM unnest(%(keys)s::text[]) AS hex)
 ORDER BY id FOR NO KEY UPDATE;

WITH input AS MATERIALIZED (
    SELECT given.ord, server.id AS server_id, server.tenant_id,
           server.key_digest = decode(given.hex, 'hex') AS current
      FROM unnest(%(keys)s::text[]) WITH ORDINALITY AS given(hex, ord)
      JOIN server ON server.disabled_at IS NULL
           AND (server.key_digest = decode(given.hex, 'hex')
                OR server.old_key_digest = decode(given.hex, 'hex')
                   AND server.old_key_until > hotpotato_now())
), numbered AS MATERIALIZED (
    SELECT nextval('heartbeat_id') AS id, ord, server_id, tenant_id FROM input
), kept AS (
    INSERT INTO heartbeat (id, tenant_id, server_id, received_at)
    SELECT id, tenant_id, server_id, hotpotato_now() FROM numbered
), heard AS (
    UPDATE server
       SET last_heartbeat_at = hotpotato_now(),
           silent_after = hotpotato_now() + heartbeat_interval * missed,
           key_used_at = CASE WHEN shown.current THEN hotpotato_now() ELSE key_used_at END,
           old_key_used_at = CASE WHEN shown.old THEN hotpotato_now() ELSE old_key_used_at END
      FROM (SELECT server_id, bool_or(current) AS current, bool_or(NOT current) AS old
              FROM input GROUP BY server_id) AS shown
     WHERE server.id = shown.server_id
    RETURNING silent_since
), hint AS MATERIALIZED (
    -- The watchdog tells at once that a silent server is heard again.
    SELECT count(pg_notify('hotpotato', 'watchdog')) AS sent
      FROM (SELECT 1 FROM heard WHERE silent_since IS NOT NULL LIMIT 1) AS silent
)
SELECT ord, id, server_id, hotpotato_now() FROM numbered, hint
"""


class Verdicts(msgspec.Struct, frozen=True):
    """What one look of the watchdog found: the names of servers, and how long we were blind.

    `blind` is in seconds, 0 unless we were for longer than two intervals.
    """

    silent: tuple[str, ...]
    heard_again: tuple[str, ...]
    blind: float


async def look(transaction: Transaction, interval: float) -> Verdicts:
    """Judge every server's silence, and record the notifications, in one transaction.

    `interval` is the seconds between two looks. Any number of daemons may look at once: they take
    turns on the one `installation` row. If nobody had looked for more than two intervals, nobody
    could have heard a heartbeat either, and every judgement is postponed by that long.
    """
    await transaction.rows("SELECT last_seen_at FROM installation FOR UPDATE")
    parameters = {"interval": timedelta(seconds=interval)}
    rows = await transaction.rows(_SEEN, parameters)
    blind: float = rows[0][0]
    if blind:
        await transaction.execute(_POSTPONE, {"blind": timedelta(seconds=blind)})
    heard_again = await transaction.rows(_HEARD_AGAIN)
    silent = await transaction.rows(_SILENT)
    if silent or heard_again:
        await transaction.rows("SELECT pg_notify('hotpotato', 'escalation')")
    return Verdicts(
        tuple(name for (name,) in silent), tuple(name for (name,) in heard_again), blind
    )


_SEEN = """
WITH before AS (
    SELECT coalesce(hotpotato_now() - last_seen_at, interval '0') AS gap FROM installation
), seen AS (
    UPDATE installation SET last_seen_at = greatest(last_seen_at, hotpotato_now())
)
SELECT CASE WHEN gap > 2 * %(interval)s THEN extract(epoch FROM gap)::float ELSE 0.0 END
  FROM before
"""

# Who was heard while nobody looked is postponed only by what came after that. With one missed
# heartbeat allowed, the first after the outage may still be a whole interval away.
_POSTPONE = """
UPDATE server
   SET silent_after = silent_after
       + (hotpotato_now() - greatest(last_heartbeat_at, hotpotato_now() - %(blind)s))
       + CASE WHEN missed = 1 THEN heartbeat_interval ELSE interval '0' END
 WHERE id IN (SELECT id FROM server
               WHERE silent_after IS NOT NULL AND disabled_at IS NULL
                 AND (silent_since IS NULL OR last_heartbeat_at > silent_since)
               ORDER BY id FOR NO KEY UPDATE)
"""

_SILENT = """
WITH overdue AS MATERIALIZED (
    SELECT id, tenant_id, name, last_heartbeat_at, heartbeat_interval FROM server
     WHERE silent_after <= hotpotato_now() AND silent_since IS NULL AND disabled_at IS NULL
     ORDER BY id FOR NO KEY UPDATE
), grouped AS (
    -- Several in one look make one page for their tenant.
    SELECT tenant_id, count(*) AS many, min(id) AS one,
           string_agg(name, ', ' ORDER BY name) AS names,
           min(date_trunc('second', hotpotato_now() - last_heartbeat_at))::text AS since,
           min(date_trunc('second', heartbeat_interval))::text AS every
      FROM overdue GROUP BY tenant_id
), page AS MATERIALIZED (
    SELECT grouped.*, nextval('alert_id_seq') AS alert_id,
           nextval('notification_id_seq') AS notification_id,
           CASE WHEN many = 1 THEN one END AS server_id,
           CASE WHEN many = 1 THEN names ELSE many || ' monitoring servers' END AS hostname,
           CASE WHEN many = 1
                THEN 'no heartbeat for ' || since || ', expected every ' || every
                ELSE 'no heartbeat from ' || names || '. Perhaps Hot Potato itself is cut off'
           END AS output
      FROM grouped
), opened AS (
    INSERT INTO alert (id, tenant_id, server_id, subject, hostname, state, status, opened_at,
                       last_notification_id, due_at)
    SELECT alert_id, tenant_id, server_id, sha256(convert_to('silence:' || alert_id, 'UTF8')),
           hostname, 'SILENT', 'triggered', hotpotato_now(), notification_id, hotpotato_now()
      FROM page
), stored AS (
    INSERT INTO notification (id, tenant_id, server_id, alert_id, person_id, received_at, effect,
                              is_service, state, hostname, output, late)
    SELECT notification_id, tenant_id, server_id, alert_id,
           (SELECT shift.person_id FROM shift JOIN schedule ON schedule.id = shift.schedule_id
             WHERE schedule.tenant_id = page.tenant_id AND schedule.name = 'primary'
               AND shift.during @> hotpotato_now()),
           hotpotato_now(), 'open', false, 'SILENT', hostname, output, false
      FROM page
), marked AS (
    UPDATE server SET silent_since = server.last_heartbeat_at, silence_alert_id = page.alert_id
      FROM page, overdue
     WHERE server.id = overdue.id AND page.tenant_id = overdue.tenant_id
), noted AS (
    INSERT INTO history (tenant_id, kind, notification_id, alert_id, server_id, sentence)
    SELECT overdue.tenant_id, 'silent', page.notification_id, page.alert_id, overdue.id,
           overdue.name || ' is silent: the last heartbeat came at '
           || to_char(overdue.last_heartbeat_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
           || ' UTC'
      FROM overdue JOIN page ON page.tenant_id = overdue.tenant_id
)
SELECT name FROM overdue
"""

# A silence ends with a heartbeat, also where no daemon looked for a while afterwards, or with the
# server's being disabled.
_HEARD_AGAIN = """
WITH back AS MATERIALIZED (
    SELECT id, tenant_id, name, silence_alert_id AS alert_id, disabled_at,
           date_trunc('second', last_heartbeat_at - silent_since)::text AS silence,
           nextval('notification_id_seq') AS notification_id
      FROM server
     WHERE last_heartbeat_at > silent_since
        OR silent_since IS NOT NULL AND disabled_at IS NOT NULL
     ORDER BY id FOR NO KEY UPDATE
), cleared AS (
    UPDATE server SET silent_since = NULL, silence_alert_id = NULL
     WHERE id IN (SELECT id FROM back)
), stored AS (
    INSERT INTO notification (id, tenant_id, server_id, alert_id, received_at, effect,
                              is_service, state, hostname, output, late)
    SELECT notification_id, tenant_id, id, alert_id, hotpotato_now(), 'resolve', false,
           'OK', name,
           CASE WHEN disabled_at IS NOT NULL THEN 'no longer watched: the server was disabled'
                ELSE 'heard again after ' || silence || ' of silence' END, false
      FROM back
), resolved AS (
    -- One page may stand for several servers: it is over when the last of them is back.
    UPDATE alert
       SET status = 'resolved', resolved_at = hotpotato_now(), due_at = hotpotato_now(),
           last_notification_id = last.notification_id
      FROM (SELECT alert_id, max(notification_id) AS notification_id FROM back GROUP BY alert_id)
           AS last
     WHERE alert.id = last.alert_id AND alert.status <> 'resolved'
       AND NOT EXISTS (SELECT FROM server
                        WHERE server.silence_alert_id = alert.id
                          AND server.id NOT IN (SELECT id FROM back))
    RETURNING alert.id
), noted AS (
    INSERT INTO history (tenant_id, kind, notification_id, alert_id, server_id, sentence)
    SELECT back.tenant_id, 'heard', back.notification_id, back.alert_id, back.id,
           CASE WHEN back.disabled_at IS NOT NULL THEN back.name || ' is no longer watched'
                ELSE back.name || ' is heard again after ' || back.silence || ' of silence' END
           || CASE WHEN resolved.id IS NULL THEN '; others of its page are still silent'
                   ELSE '; the alert is resolved' END
      FROM back LEFT JOIN resolved ON resolved.id = back.alert_id
)
SELECT name FROM back
"""
