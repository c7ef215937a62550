"""Alerts and announcements that are due: what the escalation reads and writes.

Each call is part of one transaction: due rows are claimed with FOR UPDATE SKIP LOCKED, decided and
written before it commits, so a process that dies leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from hotpotato.store.database import Transaction
from hotpotato.vocabulary import AlertStatus, MessageKind

S = TypeVar("S", bound=msgspec.Struct)


class Paged(msgspec.Struct, frozen=True, kw_only=True):
    """One person who was paged for one alert, or told of one announcement.

    `in_round`: since the last page to the person on call. `waiting`: a page is still being tried.
    `sending`: one is with a sender at this moment. `told`: one may have been received, since a try
    at it was accepted and did not fail later, is under way, or ended unknown. `failed`: the last
    one will not arrive.
    """

    person_id: int
    name: str
    in_round: bool
    waiting: bool
    sending: bool
    told: bool
    failed: bool


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """An alert, or an announcement (`alert_id` None), whose time has come, and what is known of it.

    `notification_id` is what there is to tell; `news`: nobody was told of it yet. `repeat_in` is
    the seconds until the next page to the person on call, None before the first. `page_failed`: a
    page was found not to arrive since the last look. `holder` is who has the pager, whether or not
    they can be reached; `people`, by id, are the tenant's who can be.
    """

    tenant_id: int
    alert_id: int | None
    notification_id: int
    status: AlertStatus
    news: bool
    repeat_in: float | None
    page_failed: bool
    holder: int | None
    people: Mapping[int, str]
    paged: tuple[Paged, ...]


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
    look_in: float | None
    sentence: str | None


_DUE_ALERTS = """
SELECT tenant_id, id AS alert_id, last_notification_id AS notification_id, status,
       last_notification_id > told_notification_id AS news,
       extract(epoch FROM repeat_at - hotpotato_now())::float AS repeat_in, page_failed
  FROM alert
 WHERE due_at <= hotpotato_now()
 ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
"""

_DUE_ANNOUNCEMENTS = """
SELECT tenant_id, NULL::bigint AS alert_id, notification_id, 'triggered' AS status,
       NOT EXISTS (SELECT FROM message WHERE message.kind = 'announcement'
                      AND message.notification_id = announcement.notification_id) AS news,
       NULL::float AS repeat_in, page_failed
  FROM announcement
 WHERE due_at <= hotpotato_now()
 ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
"""

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

_PAGED = """
SELECT message.alert_id, CASE WHEN message.alert_id IS NULL THEN message.notification_id END,
       person.id AS person_id, person.name,
       bool_or(message.round = coalesce(alert.round, 0)) AS in_round,
       bool_or(message.status IN ('queued', 'sending')) AS waiting,
       bool_or(message.lease IS NOT NULL AND message.due_at > hotpotato_now()) AS sending,
       bool_or(EXISTS (SELECT FROM attempt WHERE attempt.message_id = message.id
                          AND coalesce(attempt.outcome, 'unknown') IN ('accepted', 'unknown')
                          AND attempt.progress <> 'failed')) AS told,
       (array_agg(message.status ORDER BY message.id DESC))[1] = 'failed' AS failed
  FROM message JOIN person ON person.id = message.person_id
  LEFT JOIN alert ON alert.id = message.alert_id
 WHERE message.alert_id = ANY(%(alerts)s) AND message.kind = 'page'
    OR message.notification_id = ANY(%(announcements)s) AND message.kind = 'announcement'
 GROUP BY 1, 2, 3, alert.round
 ORDER BY 1, 2, 3
"""


async def claim(transaction: Transaction, most: int) -> list[Due]:
    """The alerts that are due, the oldest first, then the announcements, at most `most` in all.

    They are locked until the transaction ends; what another daemon has locked is passed over.
    """
    rows = await transaction.rows(_DUE_ALERTS, [most])
    rows += await transaction.rows(_DUE_ANNOUNCEMENTS, [most - len(rows)])
    if not rows:
        return []
    due = [_struct(Due, (*row, None, {}, ())) for row in rows]
    people, holders = await _who(transaction, sorted({one.tenant_id for one in due}))
    paged = await _paged(transaction, due)
    return [
        msgspec.structs.replace(
            one,
            holder=holders.get(one.tenant_id),
            people=people.get(one.tenant_id, {}),
            paged=tuple(paged.get(_key(one.alert_id, one.notification_id), ())),
        )
        for one in due
    ]


async def _who(
    transaction: Transaction, tenants: Sequence[int]
) -> tuple[dict[int, dict[int, str]], dict[int, int]]:
    """By tenant: the people who can be reached, and who has the pager."""
    people: dict[int, dict[int, str]] = {}
    for tenant_id, person_id, name in await transaction.rows(_PEOPLE, [tenants]):
        people.setdefault(tenant_id, {})[person_id] = name
    return people, dict(await transaction.rows(_HOLDERS, [tenants]))


async def _paged(
    transaction: Transaction, due: Sequence[Due]
) -> dict[tuple[int | None, int | None], list[Paged]]:
    found: dict[tuple[int | None, int | None], list[Paged]] = {}
    about = {
        "alerts": [one.alert_id for one in due if one.alert_id is not None],
        "announcements": [one.notification_id for one in due if one.alert_id is None],
    }
    for alert_id, notification_id, *rest in await transaction.rows(_PAGED, about):
        found.setdefault((alert_id, notification_id), []).append(_struct(Paged, rest))
    return found


def _key(alert_id: int | None, notification_id: int) -> tuple[int | None, int | None]:
    return (alert_id, None) if alert_id is not None else (None, notification_id)


def _struct(kind: type[S], row: Sequence[object]) -> S:
    return msgspec.convert(dict(zip(kind.__struct_fields__, row, strict=True)), kind)


async def settle(transaction: Transaction, steps: Sequence[Step]) -> None:
    """Write what was decided: messages queued, the next look set, a line of history each."""
    of_alerts = [_row(step) for step in steps if step.due.alert_id is not None]
    if of_alerts:
        await transaction.execute(_ADVANCE_ALERTS, [_json(of_alerts)])
    of_announcements = [_row(step) for step in steps if step.due.alert_id is None]
    if of_announcements:
        await transaction.execute(_ADVANCE_ANNOUNCEMENTS, [_json(of_announcements)])
    messages = [message for step in steps for message in step.messages]
    if messages:
        await transaction.execute(_QUEUE, [_json(messages)])
        await transaction.rows("SELECT pg_notify('hotpotato', 'dispatch')")


def _row(step: Step) -> dict[str, object]:
    return {
        "tenant_id": step.due.tenant_id,
        "alert_id": step.due.alert_id,
        "notification_id": step.due.notification_id,
        "new_round": step.new_round,
        "look_in": step.look_in,
        "sentence": step.sentence,
    }


_ADVANCE_ALERTS = """
WITH step AS (
    SELECT * FROM json_to_recordset(%s) AS step(
        tenant_id bigint, alert_id bigint, notification_id bigint, new_round boolean,
        look_in float, sentence text)
), advanced AS (
    UPDATE alert
       SET told_notification_id = step.notification_id,
           page_failed = false,
           round = round + step.new_round::integer,
           repeat_at = CASE WHEN step.new_round
                            THEN hotpotato_now() + make_interval(secs => step.look_in)
                            ELSE repeat_at END,
           due_at = hotpotato_now() + make_interval(secs => step.look_in)
      FROM step WHERE alert.id = step.alert_id
)
INSERT INTO history (tenant_id, kind, alert_id, notification_id, sentence)
SELECT tenant_id, 'escalation', alert_id, notification_id, sentence
  FROM step WHERE sentence IS NOT NULL
"""

_ADVANCE_ANNOUNCEMENTS = """
WITH step AS (
    SELECT * FROM json_to_recordset(%s) AS step(
        tenant_id bigint, notification_id bigint, look_in float, sentence text)
), advanced AS (
    UPDATE announcement
       SET page_failed = false, due_at = hotpotato_now() + make_interval(secs => step.look_in)
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


async def postpone(transaction: Transaction, due: Iterable[Due], seconds: float) -> None:
    """Look at these no sooner than in so many seconds."""
    for one in due:
        table, key, value = (
            ("announcement", "notification_id", one.notification_id)
            if one.alert_id is None
            else ("alert", "id", one.alert_id)
        )
        await transaction.execute(
            f"UPDATE {table} SET due_at = hotpotato_now() + make_interval(secs => %s)"  # noqa: S608
            f" WHERE {key} = %s AND due_at IS NOT NULL",
            [seconds, value],
        )


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


def _json(rows: object) -> str:
    return msgspec.json.encode(rows).decode()
