"""Alerts and announcements that are due: what the escalation reads and writes.

Each call is part of one transaction: due rows are claimed with FOR UPDATE SKIP LOCKED, decided and
written before it commits, so a process that dies leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from hotpotato.store.database import Transaction
from hotpotato.vocabulary import AlertStatus, MessageKind


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """An alert, or an announcement (`alert_id` None), whose time has come, and what is known of it.

    `holder` is who has the pager, whether or not they can be reached. `notification_id` is what there is to
    tell. The sets are of people's ids.
    """

    tenant_id: int
    alert_id: int | None
    notification_id: int
    status: AlertStatus
    news: bool
    repeat_due: bool
    holder: int | None
    people: dict[int, str]
    paged_in_round: frozenset[int]
    waiting: frozenset[int]
    told: frozenset[int]
    failures: int
    failures_told: int
    failed_names: tuple[str, ...]


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """A message to be queued: `kind` to the first contact of `person_id`.

    `again`: there is nothing new, only nobody's answer.
    """

    kind: MessageKind
    tenant_id: int
    person_id: int
    alert_id: int | None
    notification_id: int
    because: str | None
    again: bool


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of one Due: see `rules.escalation.Decision`."""

    due: Due
    messages: tuple[Queued, ...]
    new_round: bool
    look_again: bool
    sentence: str | None


# People by tenant who can be reached: enabled, with a contact.
_PEOPLE = """
SELECT person.tenant_id, person.id, person.name FROM person
 WHERE person.tenant_id = ANY(%s) AND person.disabled_at IS NULL
   AND EXISTS (SELECT FROM contact WHERE contact.person_id = person.id
                                     AND contact.removed_at IS NULL)
"""

_HOLDERS = """
SELECT schedule.tenant_id, shift.person_id
  FROM schedule JOIN shift ON shift.schedule_id = schedule.id
                          AND shift.during @> hotpotato_now()
 WHERE schedule.name = 'primary' AND schedule.tenant_id = ANY(%s)
"""

_DUE_ALERTS = """
SELECT tenant_id, id, last_notification_id, status,
       last_notification_id > told_notification_id, repeat_at <= hotpotato_now(), failures_told
  FROM alert
 WHERE due_at <= hotpotato_now()
 ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
"""

_DUE_ANNOUNCEMENTS = """
SELECT tenant_id, NULL, notification_id, 'triggered', false, false, failures_told
  FROM announcement
 WHERE due_at <= hotpotato_now()
 ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
"""

# A page may have been received if any try at it was accepted, is under way or ended unknown.
_PAGES_OF_ALERTS = """
SELECT alert.id,
       coalesce(array_agg(DISTINCT message.person_id)
                FILTER (WHERE message.round = alert.round), '{}'),
       coalesce(array_agg(DISTINCT message.person_id)
                FILTER (WHERE message.status IN ('queued', 'sending')), '{}'),
       coalesce(array_agg(DISTINCT message.person_id) FILTER (WHERE EXISTS (
                SELECT FROM attempt WHERE attempt.message_id = message.id
                   AND coalesce(attempt.outcome, 'unknown') IN ('accepted', 'unknown'))), '{}'),
       count(*) FILTER (WHERE message.status = 'failed'),
       coalesce(array_agg(DISTINCT person.name)
                FILTER (WHERE message.status = 'failed' AND message.round = alert.round), '{}')
  FROM alert JOIN message ON message.alert_id = alert.id AND message.kind = 'page'
  JOIN person ON person.id = message.person_id
 WHERE alert.id = ANY(%s) GROUP BY alert.id
"""

_PAGES_OF_ANNOUNCEMENTS = """
SELECT message.notification_id, array_agg(DISTINCT message.person_id),
       '{}'::bigint[], '{}'::bigint[],
       count(*) FILTER (WHERE message.status = 'failed'),
       coalesce(array_agg(DISTINCT person.name) FILTER (WHERE message.status = 'failed'), '{}')
  FROM message JOIN person ON person.id = message.person_id
 WHERE message.notification_id = ANY(%s) AND message.kind = 'announcement'
 GROUP BY message.notification_id
"""


async def claim(transaction: Transaction, most: int) -> list[Due]:
    """The alerts and announcements that are due, the oldest first, at most `most` of each.

    They are locked until the transaction ends; what another daemon has locked is passed over.
    """
    alerts = await transaction.rows(_DUE_ALERTS, [most])
    announcements = await transaction.rows(_DUE_ANNOUNCEMENTS, [most])
    if not alerts and not announcements:
        return []
    tenants = list({row[0] for row in (*alerts, *announcements)})
    people: dict[int, dict[int, str]] = {tenant: {} for tenant in tenants}
    for tenant_id, person_id, name in await transaction.rows(_PEOPLE, [tenants]):
        people[tenant_id][person_id] = name
    holders: dict[int, int] = dict(await transaction.rows(_HOLDERS, [tenants]))
    found: list[Due] = []
    for rows, pages, key in (
        (alerts, _PAGES_OF_ALERTS, 1),
        (announcements, _PAGES_OF_ANNOUNCEMENTS, 2),
    ):
        if not rows:
            continue
        sent = {
            page[0]: page[1:] for page in await transaction.rows(pages, [[r[key] for r in rows]])
        }
        for row in rows:
            found.append(
                _due(row, people[row[0]], holders.get(row[0]), sent.get(row[key], _NO_PAGES))
            )
    return found


_NO_PAGES: tuple[Sequence[int], Sequence[int], Sequence[int], int, Sequence[str]]
_NO_PAGES = ((), (), (), 0, ())


def _due(
    row: Sequence[object], people: dict[int, str], holder: int | None, pages: Sequence[object]
) -> Due:
    tenant_id, alert_id, notification_id, status, news, repeat_due, failures_told = row
    in_round, waiting, told, failures, failed_names = pages
    return msgspec.convert(
        {
            "tenant_id": tenant_id,
            "alert_id": alert_id,
            "notification_id": notification_id,
            "status": status,
            "news": news if alert_id is not None else not in_round,
            "repeat_due": bool(repeat_due),
            "holder": holder,
            "people": people,
            "paged_in_round": frozenset(in_round),  # type: ignore[arg-type]
            "waiting": frozenset(waiting),  # type: ignore[arg-type]
            "told": frozenset(told),  # type: ignore[arg-type]
            "failures": failures,
            "failures_told": failures_told,
            "failed_names": tuple(failed_names),  # type: ignore[arg-type]
        },
        Due,
    )


async def settle(transaction: Transaction, steps: Sequence[Step], repeat_after: float) -> int:
    """Write what was decided: messages queued, the next look set, a line of history each.

    Returns the number of messages that were queued. `repeat_after` is in seconds.
    """
    await transaction.execute(
        _ADVANCE_ALERTS, [_json(_progress(steps, of_alerts=True)), repeat_after]
    )
    await transaction.execute(_ADVANCE_ANNOUNCEMENTS, [_json(_progress(steps, of_alerts=False))])
    messages = [message for step in steps for message in step.messages]
    if messages:
        await transaction.execute(
            _QUEUE, [_json([msgspec.to_builtins(message) for message in messages])]
        )
        await transaction.rows("SELECT pg_notify('hotpotato', 'dispatch')")
    return len(messages)


async def without_code(transaction: Transaction, alerts: Iterable[int]) -> list[tuple[int, int]]:
    """Which of these alerts have no code yet, as (tenant, alert)."""
    return [
        (tenant_id, alert_id)
        for tenant_id, alert_id in await transaction.rows(
            """
            SELECT tenant_id, id FROM alert
             WHERE id = ANY(%s) AND NOT EXISTS (SELECT FROM code WHERE code.alert_id = alert.id)
            """,
            [list(alerts)],
        )
    ]


async def give_codes(transaction: Transaction, wanted: Sequence[tuple[int, int, str]]) -> set[int]:
    """Give alerts their codes, (tenant, alert, code); returns those whose code was free."""
    rows = await transaction.rows(
        # In order of the code: two daemons that draw the same ones then wait, and never deadlock.
        """
        INSERT INTO code (tenant_id, alert_id, code)
        SELECT DISTINCT ON (code) tenant_id, alert_id, code
          FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS wanted(tenant_id, alert_id, code)
         ORDER BY code
        ON CONFLICT DO NOTHING
        RETURNING alert_id
        """,
        [list(column) for column in zip(*wanted, strict=True)],
    )
    return {alert_id for (alert_id,) in rows}


async def next_due(transaction: Transaction) -> float | None:
    """Seconds until the next alert or announcement is due, negative if one is; None without any."""
    rows = await transaction.rows(
        """
        SELECT extract(epoch FROM least((SELECT min(due_at) FROM alert WHERE due_at IS NOT NULL),
                                        (SELECT min(due_at) FROM announcement
                                          WHERE due_at IS NOT NULL)) - hotpotato_now())::float
        """
    )
    seconds: float | None = rows[0][0]
    return seconds


async def acknowledge(transaction: Transaction, alert_id: int, by: str) -> bool:
    """Acknowledge an alert in a person's name; False if it is over or somebody has it already."""
    count = await transaction.execute(
        """
        UPDATE alert
           SET status = 'acknowledged', acknowledged_at = hotpotato_now(), acknowledged_by = %s,
               due_at = NULL
         WHERE id = %s AND status = 'triggered'
        """,
        [by, alert_id],
    )
    return count > 0


def _progress(steps: Sequence[Step], *, of_alerts: bool) -> list[dict[str, object]]:
    return [
        {
            "tenant_id": step.due.tenant_id,
            "alert_id": step.due.alert_id,
            "notification_id": step.due.notification_id,
            "failures": step.due.failures,
            "new_round": step.new_round,
            "look_again": step.look_again,
            "sentence": step.sentence,
        }
        for step in steps
        if (step.due.alert_id is not None) is of_alerts
    ]


def _json(rows: object) -> str:
    return msgspec.json.encode(rows).decode()


_ADVANCE_ALERTS = """
WITH step AS (
    SELECT * FROM json_to_recordset(%s) AS step(
        tenant_id bigint, alert_id bigint, notification_id bigint, failures integer,
        new_round boolean, look_again boolean, sentence text)
), advanced AS (
    UPDATE alert
       SET told_notification_id = greatest(told_notification_id, step.notification_id),
           failures_told = step.failures,
           round = round + step.new_round::integer,
           repeat_at = next.repeat_at,
           due_at = CASE WHEN step.look_again
                         THEN coalesce(next.repeat_at, hotpotato_now()) END
      FROM step, LATERAL (
               SELECT CASE WHEN step.new_round
                           THEN hotpotato_now() + make_interval(secs => %s)
                           ELSE (SELECT same.repeat_at FROM alert AS same
                                  WHERE same.id = step.alert_id) END AS repeat_at) AS next
     WHERE alert.id = step.alert_id
)
INSERT INTO history (tenant_id, kind, alert_id, notification_id, sentence)
SELECT tenant_id, 'escalation', alert_id, notification_id, sentence
  FROM step WHERE sentence IS NOT NULL
"""

_ADVANCE_ANNOUNCEMENTS = """
WITH step AS (
    SELECT * FROM json_to_recordset(%s) AS step(
        tenant_id bigint, notification_id bigint, failures integer, sentence text)
), advanced AS (
    UPDATE announcement SET failures_told = step.failures, due_at = NULL
      FROM step WHERE announcement.notification_id = step.notification_id
)
INSERT INTO history (tenant_id, kind, notification_id, sentence)
SELECT tenant_id, 'escalation', notification_id, sentence FROM step WHERE sentence IS NOT NULL
"""

_QUEUE = """
WITH wanted AS (
    SELECT * FROM json_to_recordset(%s) AS wanted(
        kind text, tenant_id bigint, person_id bigint, alert_id bigint, notification_id bigint,
        because text, again boolean)
), queued AS (
    INSERT INTO message (tenant_id, kind, alert_id, notification_id, person_id, contact_id, method,
                         address, because, again, round, status, created_at, expires_at, due_at)
    SELECT wanted.tenant_id, wanted.kind, wanted.alert_id, wanted.notification_id,
           wanted.person_id, contact.id, contact.method, contact.address, wanted.because,
           wanted.again,
           coalesce((SELECT round FROM alert WHERE alert.id = wanted.alert_id), 0), 'queued',
           hotpotato_now(), hotpotato_now() + interval '24 hours', hotpotato_now()
      FROM wanted, LATERAL (
               SELECT id, method, address FROM contact
                WHERE contact.person_id = wanted.person_id AND contact.removed_at IS NULL
                ORDER BY position LIMIT 1) AS contact
    RETURNING id, tenant_id, kind, alert_id, notification_id, person_id, because
)
INSERT INTO history (tenant_id, kind, alert_id, notification_id, message_id, sentence)
SELECT queued.tenant_id, 'queued', queued.alert_id, queued.notification_id, queued.id,
       queued.kind || ' for ' || person.name || ' queued'
       || coalesce(' (' || queued.because || ')', '')
  FROM queued JOIN person ON person.id = queued.person_id
"""
