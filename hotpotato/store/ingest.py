"""Notifications in: one group, one round trip, one transaction.

The group's query string holds several statements, so that each sees a fresh snapshot:

1. advisory locks on everything the group touches, in order, so that two daemons never race on one
   alert or one Idempotency-Key and never deadlock;
2. the open alerts of the group, locked, so that an acknowledgement in the same moment is seen;
3. the ingest, which each connection parses and plans once: that takes longer than to run it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from hotpotato.store.database import Database, Prepared
from hotpotato.store.groups import Claim, Groups
from hotpotato.vocabulary import Effect, Fields


class Incoming(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One notification, cleaned and judged, on its way to disk.

    `subject` is the digest of what its alert is about. `content` is the digest of what it says;
    `idempotency` that of the request's Idempotency-Key. `original` is the request as it came, where
    cleaning changed it.
    """

    key_digest: bytes
    server_id: int
    subject: bytes
    content: bytes
    effect: Effect
    fields: Fields
    idempotency: bytes | None = None
    remark: str | None = None
    original: str | None = None


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A notification on disk; with `conflict`, the other one that its key was used for."""

    id: int
    tenant_id: int
    server_id: int
    server_name: str
    person_id: int | None
    received_at: datetime
    remark: str | None
    conflict: bool


class UnknownKey(msgspec.Struct, frozen=True):
    """No server has this key: it was rotated away, or the server was disabled a moment ago."""


class Ingest:
    """Takes notifications in, as fast as PostgreSQL commits groups of them."""

    def __init__(self, database: Database, clock: IReactorTime) -> None:
        self._database = database
        self._groups: Groups[Incoming, Stored | UnknownKey] = Groups(clock, self._commit, _claims)

    @property
    def waiting(self) -> int:
        """How many notifications wait for a group."""
        return self._groups.waiting

    def add(self, incoming: Incoming) -> Deferred[Stored | UnknownKey]:
        """Fires when the notification is committed; fails with Unavailable when that can't be told.

        Fails with StatementRefused for what PostgreSQL won't store, which would be our defect.
        """
        return self._groups.add(incoming)

    async def _commit(self, group: Sequence[Incoming]) -> Sequence[Stored | UnknownKey]:
        locks = sorted({_lock_number(claim.thing) for item in group for claim in _claims(item)})
        subjects = list({item.subject for item in group})
        try:
            answers = await self._database.statement(
                _SQL,
                {
                    "locks": locks,
                    "subjects": subjects,
                    "rows": msgspec.json.encode(group).decode(),
                },
                INGEST,
            )
        finally:
            # To this daemon's escalation; should it die now, another one looks by itself.
            self._database.hint("escalation")
        stored = {
            order: Stored(**dict(zip(_ANSWER, rest, strict=True))) for order, *rest in answers
        }
        return [stored.get(order, UnknownKey()) for order in range(1, len(group) + 1)]


def _claims(item: Incoming) -> Sequence[Claim]:
    # What follows the end of an alert may open another one: that is for the next group.
    ends = item.effect in (Effect.RESOLVE, Effect.ACKNOWLEDGE)
    claims = [Claim(item.subject, last=ends)]
    if item.idempotency is not None:
        scope = b"%d:%b" % (item.server_id, item.idempotency)
        claims.append(Claim(hashlib.sha256(scope).digest(), last=True))
    return claims


def _lock_number(thing: bytes) -> int:
    return int.from_bytes(thing[:8], "big", signed=True)


_ANSWER = (
    "id",
    "tenant_id",
    "server_id",
    "server_name",
    "person_id",
    "received_at",
    "remark",
    "conflict",
)

_SQL = """
SELECT pg_advisory_xact_lock(thing) FROM unnest(%(locks)s::bigint[]) AS thing;

-- The plan of the ingest is kept, while tables grow: it must not be one that reads a whole table.
SELECT set_config('enable_seqscan', 'off', true);

SELECT id FROM alert WHERE subject = ANY(%(subjects)s::bytea[]) AND status <> 'resolved'
 ORDER BY id FOR NO KEY UPDATE;

EXECUTE ingest(%(rows)s)
"""

INGEST = Prepared(
    "ingest",
    "json",
    r"""
WITH input AS MATERIALIZED (
    -- The fields are those of a row of `notification`, and bytes are in base64.
    SELECT i.ord, i.effect, (i.fields).is_service, (i.fields).event, (i.fields).state,
           (i.fields).hostname, (i.fields).service_name, (i.fields).display_name,
           (i.fields).trouble_code, (i.fields).output, (i.fields).sent_at, (i.fields).author,
           (i.fields).comment, (i.fields).number, coalesce((i.fields).late, false) AS late,
           i.remark, i.original, decode(i.subject, 'base64') AS subject,
           decode(i.content, 'base64') AS content, decode(i.idempotency, 'base64') AS idempotency,
           server.id AS server_id, server.name AS server_name, server.tenant_id
      FROM ROWS FROM (json_to_recordset($1) AS (
               key_digest text, server_id bigint, subject text, content text, idempotency text,
               effect text, remark text, original text, fields notification))
           WITH ORDINALITY AS i(key_digest, server_id, subject, content, idempotency, effect,
                                remark, original, fields, ord)
      JOIN server ON server.id = i.server_id AND server.disabled_at IS NULL
           AND (server.key_digest = decode(i.key_digest, 'base64')
                OR server.old_key_digest = decode(i.key_digest, 'base64')
                   AND server.old_key_until > hotpotato_now())
), used AS (
    -- Said before, under the same Idempotency-Key.
    SELECT input.ord, input.content <> known.content_digest AS conflict, known.notification_id
      FROM input JOIN idempotency AS known
           ON known.server_id = input.server_id AND known.key_digest = input.idempotency
     WHERE known.created_at > hotpotato_now() - interval '7 days'
), fresh AS MATERIALIZED (
    -- The ids are given here, in order of arrival, since the alerts below refer to them.
    SELECT nextval('notification_id_seq') AS id, ordered.*
      FROM (SELECT * FROM input WHERE ord NOT IN (SELECT ord FROM used) ORDER BY ord) AS ordered
), present AS MATERIALIZED (
    SELECT alert.id, alert.subject FROM alert
     WHERE alert.subject IN (SELECT subject FROM fresh) AND alert.status <> 'resolved'
), folded AS (
    -- What the group does to each alert: any number of problems, then at most one end of the run.
    SELECT tenant_id, server_id, subject, hostname, service_name,
           max(id) AS last_id,
           max(id) FILTER (WHERE effect = 'open') AS last_problem_id,
           (array_agg(state ORDER BY id DESC) FILTER (WHERE effect = 'open'))[1] AS state,
           bool_or(effect = 'resolve') AS ends,
           bool_or(effect = 'acknowledge') AS taken,
           max(coalesce(author, 'somebody') || ' in ' || server_name)
               FILTER (WHERE effect = 'acknowledge') AS taken_by
      FROM fresh WHERE effect IN ('open', 'resolve', 'acknowledge')
     GROUP BY tenant_id, server_id, subject, hostname, service_name
), opened AS (
    INSERT INTO alert (tenant_id, server_id, subject, hostname, service_name, state, status,
                       opened_at, acknowledged_at, acknowledged_by, acknowledgement_told,
                       resolved_at, last_notification_id, due_at)
    SELECT tenant_id, server_id, subject, hostname, service_name, state,
           CASE WHEN ends THEN 'resolved' WHEN taken THEN 'acknowledged' ELSE 'triggered' END,
           hotpotato_now(),
           CASE WHEN taken THEN hotpotato_now() END, taken_by, NOT taken,
           CASE WHEN ends THEN hotpotato_now() END,
           last_id,
           CASE WHEN NOT ends THEN hotpotato_now() END
      FROM folded
     WHERE last_problem_id IS NOT NULL AND subject NOT IN (SELECT subject FROM present)
    RETURNING id, subject
), changed AS (
    -- An acknowledgement lasts until the state changes.
    UPDATE alert
       SET status = step.status,
           state = coalesce(folded.state, alert.state),
           acknowledged_at = CASE WHEN folded.taken THEN hotpotato_now()
                                  ELSE alert.acknowledged_at END,
           acknowledged_by = CASE WHEN folded.taken THEN folded.taken_by
                                  ELSE alert.acknowledged_by END,
           acknowledged_by_id = CASE WHEN NOT folded.taken THEN alert.acknowledged_by_id END,
           acknowledged_until = CASE WHEN step.status = 'acknowledged' AND NOT folded.taken
                                     THEN alert.acknowledged_until END,
           acknowledgement_told = alert.acknowledgement_told AND NOT folded.taken,
           resolved_at = CASE WHEN folded.ends THEN hotpotato_now() END,
           last_notification_id = folded.last_id,
           -- In another state it begins anew.
           place = CASE WHEN step.before = 'triggered' OR step.status = 'acknowledged'
                        THEN alert.place END,
           place_at = CASE WHEN step.before = 'triggered' OR step.status = 'acknowledged'
                           THEN alert.place_at END,
           due_at = CASE WHEN step.status = 'acknowledged' AND NOT folded.taken
                         THEN alert.due_at ELSE hotpotato_now() END
      FROM folded, present, LATERAL (
               SELECT current.status AS before, CASE
                   WHEN folded.ends THEN 'resolved'
                   WHEN folded.taken THEN 'acknowledged'
                   WHEN current.status = 'acknowledged'
                        AND upper(current.state) = upper(folded.state) THEN 'acknowledged'
                   ELSE 'triggered' END AS status
                 FROM alert AS current WHERE current.id = present.id) AS step
     WHERE present.subject = folded.subject AND alert.id = present.id
    RETURNING alert.id, alert.subject, step.before, alert.status
), alert_of AS (
    SELECT id, subject, true AS opened, NULL AS before, NULL AS status FROM opened
     UNION ALL
    SELECT present.id, present.subject, false, changed.before, changed.status
      FROM present LEFT JOIN changed ON changed.id = present.id
), on_call AS MATERIALIZED (
    SELECT schedule.tenant_id, shift.person_id
      FROM schedule
      JOIN shift ON shift.schedule_id = schedule.id AND shift.during @> hotpotato_now()
      JOIN person ON person.id = shift.person_id AND person.disabled_at IS NULL
     WHERE schedule.name = 'primary' AND schedule.tenant_id IN (SELECT tenant_id FROM fresh)
), placed AS MATERIALIZED (
    SELECT fresh.*, hotpotato_now() AS received_at, on_call.person_id,
           alert_of.id AS alert_id, alert_of.opened, alert_of.before, alert_of.status
      FROM fresh
      LEFT JOIN alert_of ON alert_of.subject = fresh.subject AND fresh.effect <> 'announce'
      LEFT JOIN on_call ON on_call.tenant_id = fresh.tenant_id
), stored AS (
    INSERT INTO notification (id, tenant_id, server_id, alert_id, person_id, received_at, effect,
                              is_service, event, state, hostname, service_name, display_name,
                              trouble_code, output, sent_at, author, comment, number, late, remark,
                              original)
    SELECT id, tenant_id, server_id, alert_id, person_id, received_at, effect, is_service, event,
           state, hostname, service_name, display_name, trouble_code, output, sent_at, author,
           comment, number, late, remark, original
      FROM placed
), announced AS (
    INSERT INTO announcement (notification_id, tenant_id, due_at)
    SELECT id, tenant_id, received_at FROM placed WHERE effect = 'announce'
), remembered AS (
    -- A key whose seven days are over, and whose row is still there, begins anew.
    INSERT INTO idempotency (server_id, key_digest, tenant_id, content_digest, notification_id,
                             created_at)
    SELECT server_id, idempotency, tenant_id, content, id, received_at
      FROM placed WHERE idempotency IS NOT NULL
    ON CONFLICT (server_id, key_digest) DO UPDATE
       SET content_digest = excluded.content_digest, notification_id = excluded.notification_id,
           created_at = excluded.created_at
), told AS (
    INSERT INTO history (tenant_id, kind, notification_id, alert_id, server_id, sentence)
    SELECT tenant_id, 'received', id, alert_id, server_id,
           state || ' came in from ' || server_name || ': ' || CASE
               WHEN late THEN 'late, a newer state was told already; recorded only'
               WHEN effect = 'announce' THEN 'to be told, opens no alert'
               WHEN effect = 'record' THEN 'recorded only'
               WHEN alert_id IS NULL THEN 'no alert is open; recorded only'
               WHEN effect = 'resolve' THEN 'the alert is resolved'
               WHEN effect = 'acknowledge' THEN 'the alert is acknowledged'
               WHEN opened THEN 'an alert is opened'
               WHEN status = 'acknowledged'
                   THEN 'joins an alert that is acknowledged in this state; not told again'
               WHEN before = 'acknowledged'
                   THEN 'joins an alert that was acknowledged in another state; open again'
               ELSE 'joins an open alert' END
      FROM placed
)
SELECT ord, id, tenant_id, server_id, server_name, person_id, received_at, remark, false
  FROM placed
 UNION ALL
SELECT input.ord, earlier.id, earlier.tenant_id, earlier.server_id, input.server_name,
       earlier.person_id, earlier.received_at, earlier.remark, used.conflict
  FROM used JOIN input ON input.ord = used.ord
  JOIN notification AS earlier ON earlier.id = used.notification_id
""",
)
