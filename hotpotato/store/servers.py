"""Monitoring servers: who they are, their keys, and what a person does with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from twisted.internet.interfaces import IReactorTime

from hotpotato.store.database import Database, Transaction


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A monitoring server, as lists and tables show it.

    `timezone` is its own or the tenant's, `own_timezone` its own. When its keys were used last is
    right to the minute.
    """

    id: int
    tenant_id: int
    tenant: str
    name: str
    timezone: str
    heartbeat_interval: float
    missed: int
    last_heartbeat_at: datetime | None
    silent_after: datetime | None
    silent_since: datetime | None
    disabled_at: datetime | None
    old_key_until: datetime | None
    own_timezone: str | None
    key_used_at: datetime | None
    old_key_used_at: datetime | None


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a request's key told."""

    id: int
    tenant_id: int
    name: str
    timezone: str


_ALL = """
SELECT server.id, server.tenant_id, tenant.name, server.name,
       coalesce(server.timezone, tenant.timezone),
       extract(epoch FROM server.heartbeat_interval)::float, server.missed,
       server.last_heartbeat_at, server.silent_after, server.silent_since, server.disabled_at,
       server.old_key_until, server.timezone, server.key_used_at, server.old_key_used_at
  FROM server JOIN tenant ON tenant.id = server.tenant_id
"""

# The current key, or the one before it while it lives. Two look-ups by index instead of an OR.
# That it was used is noted no more than once a minute; heartbeats note it, too.
_BY_KEY = """
WITH known AS MATERIALIZED (
    SELECT server.id, server.tenant_id, server.name,
           coalesce(server.timezone, tenant.timezone) AS timezone, server.old
      FROM (SELECT *, false AS old FROM server WHERE key_digest = %(digest)s
             UNION ALL
            SELECT *, true FROM server WHERE old_key_digest = %(digest)s
                                         AND old_key_until > hotpotato_now()) AS server
      JOIN tenant ON tenant.id = server.tenant_id
     WHERE server.disabled_at IS NULL
), free AS (
    -- Whoever holds the row keeps no page waiting.
    SELECT server.id FROM server JOIN known ON known.id = server.id
     WHERE coalesce(CASE WHEN old THEN old_key_used_at ELSE key_used_at END, '-infinity')
           <= hotpotato_now() - interval '1 minute'
       FOR NO KEY UPDATE OF server SKIP LOCKED
), used AS (
    UPDATE server
       SET key_used_at = CASE WHEN old THEN key_used_at ELSE hotpotato_now() END,
           old_key_used_at = CASE WHEN old THEN hotpotato_now() ELSE old_key_used_at END
      FROM known
     WHERE server.id = known.id AND server.id IN (SELECT id FROM free)
)
SELECT id, tenant_id, name, timezone FROM known
"""


class Keys:
    """Which server a key belongs to.

    Remembers what it was told for `keep` seconds. That is for reading a request (whose time zone
    is it?), never for letting it in: whatever is written checks the key again in its own statement.
    """

    def __init__(
        self, database: Database, clock: IReactorTime, *, keep: float = 60.0, most: int = 10_000
    ) -> None:
        self._database = database
        self._clock = clock
        self._keep = keep
        self._most = most
        self._known: dict[bytes, tuple[float, Known]] = {}

    async def remembered(self, digest: bytes) -> Known | None:
        """The server of a key, perhaps as it was up to `keep` seconds ago, or None."""
        entry = self._known.get(digest)
        if entry is not None and entry[0] > self._clock.seconds():
            return entry[1]
        return await self.current(digest)

    async def current(self, digest: bytes) -> Known | None:
        """The server of a key as the database knows it now; None if there is none."""
        rows = await self._database.statement(_BY_KEY, {"digest": digest})
        self._known.pop(digest, None)
        if not rows:
            return None
        known = Known(**dict(zip(("id", "tenant_id", "name", "timezone"), rows[0], strict=True)))
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[digest] = (self._clock.seconds() + self._keep, known)
        return known


async def find(
    transaction: Transaction, name: str | None = None, tenant: str | None = None
) -> list[Server]:
    """The servers, all or by name or tenant, in order of tenant and name."""
    rows = await transaction.rows(
        _ALL
        + """
 WHERE (%(name)s::text IS NULL OR server.name = %(name)s)
   AND (%(tenant)s::text IS NULL OR tenant.name = %(tenant)s)
 ORDER BY tenant.name, server.name LIMIT 10000
""",
        {"name": name, "tenant": tenant},
    )
    fields = Server.__struct_fields__
    return [Server(**dict(zip(fields, row, strict=True))) for row in rows]


async def add(
    transaction: Transaction,
    *,
    tenant_id: int,
    name: str,
    digest: bytes,
    heartbeat_interval: float,
    missed: int,
    timezone: str | None,
) -> int:
    """Add a server and return its id; StatementRefused (23505) if the tenant has the name."""
    rows = await transaction.rows(
        """
        INSERT INTO server (tenant_id, name, key_digest, heartbeat_interval, missed, timezone)
        VALUES (%s, %s, %s, %s, %s, %s) RETURNING id
        """,
        [tenant_id, name, digest, timedelta(seconds=heartbeat_interval), missed, timezone],
    )
    server_id: int = rows[0][0]
    return server_id


async def edit(
    transaction: Transaction,
    server_id: int,
    *,
    heartbeat_interval: float | None = None,
    missed: int | None = None,
    timezone: str | None = None,
    name: str | None = None,
) -> None:
    """Change what is given. A new deadline counts from the last heartbeat, never into the past."""
    await transaction.execute(
        """
        UPDATE server
           SET name = coalesce(%(name)s, name),
               timezone = coalesce(%(timezone)s, timezone),
               heartbeat_interval = coalesce(%(interval)s, heartbeat_interval),
               missed = coalesce(%(missed)s, missed),
               silent_after = CASE
                   WHEN %(interval)s::interval IS NULL AND %(missed)s::integer IS NULL
                        THEN silent_after
                   ELSE greatest(
                       last_heartbeat_at + coalesce(%(interval)s, heartbeat_interval)
                                           * coalesce(%(missed)s, missed),
                       CASE WHEN silent_after > hotpotato_now()
                            THEN hotpotato_now() + coalesce(%(interval)s, heartbeat_interval) END)
                   END
         WHERE id = %(id)s
        """,
        {
            "id": server_id,
            "name": name,
            "timezone": timezone,
            "interval": None
            if heartbeat_interval is None
            else timedelta(seconds=heartbeat_interval),
            "missed": missed,
        },
    )


async def set_timezone(transaction: Transaction, server_id: int, timezone: str | None) -> None:
    """Give it another time zone; None: the tenant's."""
    await transaction.execute(
        "UPDATE server SET timezone = %s WHERE id = %s", [timezone, server_id]
    )


async def disable(transaction: Transaction, server_id: int) -> None:
    """Refuse its key from now on; the watchdog ends a silence that it is in."""
    await transaction.execute(
        "UPDATE server SET disabled_at = coalesce(disabled_at, hotpotato_now()) WHERE id = %s",
        [server_id],
    )


async def enable(transaction: Transaction, server_id: int) -> None:
    """Take its requests again. It has its whole time from now until it counts as silent."""
    await transaction.execute(
        """
        UPDATE server
           SET disabled_at = NULL,
               silent_after = CASE WHEN silent_after IS NOT NULL
                                   THEN hotpotato_now() + heartbeat_interval * missed END
         WHERE id = %s AND disabled_at IS NOT NULL
        """,
        [server_id],
    )


async def rotate_key(
    transaction: Transaction, server_id: int, digest: bytes, *, revoke_old: bool
) -> None:
    """Give it a new key. The one that was current lives 7 more days, or ends now."""
    await transaction.execute(
        """
        UPDATE server
           SET old_key_digest = CASE WHEN NOT %(revoke)s THEN key_digest END,
               old_key_until = CASE WHEN NOT %(revoke)s
                                    THEN hotpotato_now() + interval '7 days' END,
               old_key_used_at = CASE WHEN NOT %(revoke)s THEN key_used_at END,
               key_digest = %(digest)s, key_used_at = NULL
         WHERE id = %(id)s
        """,
        {"id": server_id, "digest": digest, "revoke": revoke_old},
    )


async def note_unreadable(
    database: Database, digest: bytes, excerpt: str, why: str
) -> Sequence[int]:
    """Tell the tenant that a server sends what can't be read; at most once an hour per server.

    Returns the notification's id, if one was made now.
    """
    rows = await database.statement(_UNREADABLE, {"digest": digest, "excerpt": excerpt, "why": why})
    return [notification_id for (notification_id,) in rows]


_UNREADABLE = """
WITH told AS (
    UPDATE server SET unreadable_told_at = hotpotato_now()
     WHERE (key_digest = %(digest)s
            OR old_key_digest = %(digest)s AND old_key_until > hotpotato_now())
       AND disabled_at IS NULL
       AND (unreadable_told_at IS NULL
            OR unreadable_told_at <= hotpotato_now() - interval '1 hour')
    RETURNING id, tenant_id, name
), stored AS (
    INSERT INTO notification (tenant_id, server_id, person_id, received_at, effect, is_service,
                              event, state, hostname, output, late)
    SELECT told.tenant_id, told.id,
           (SELECT shift.person_id FROM shift JOIN schedule ON schedule.id = shift.schedule_id
             WHERE schedule.tenant_id = told.tenant_id AND schedule.name = 'primary'
               AND shift.during @> hotpotato_now()),
           hotpotato_now(), 'announce', false, 'CUSTOM', 'UNREADABLE', told.name,
           'sends notifications that can''t be read (' || %(why)s || '): ' || %(excerpt)s, false
      FROM told
    RETURNING id, tenant_id, server_id
), announced AS (
    INSERT INTO announcement (notification_id, tenant_id, due_at)
    SELECT id, tenant_id, hotpotato_now() FROM stored
), noted AS (
    INSERT INTO history (tenant_id, kind, notification_id, server_id, sentence)
    SELECT tenant_id, 'received', id, server_id,
           'a request came in that can''t be read; the tenant is told at most once an hour'
      FROM stored
)
SELECT id FROM stored, LATERAL (SELECT pg_notify('hotpotato', 'escalation')) AS hint
"""
