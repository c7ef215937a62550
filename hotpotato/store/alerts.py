"""Alerts and announcements that are due: what the escalation reads and writes.

Each call is part of one transaction: due rows are claimed with SKIP LOCKED, decided and written
before it commits, so a process that dies leaves nothing behind. Everything is asked for a whole set
of alerts at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from hotpotato.store.database import Transaction
from hotpotato.vocabulary import AlertStatus, MessageStatus

S = TypeVar("S", bound=msgspec.Struct)


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """An alert, or an announcement (`alert_id` None), whose time has come.

    `notification_id` is what there is to tell; `news`: nobody was told of it yet. `now` is when
    this is decided, and `place`, `place_age` and `acknowledged_left` are in seconds; `round` counts
    the turns. `page_failed`: a page was found not to arrive since the last look. `changes`: how
    often its subject was opened or resolved within the tenant's `flapping_within` (or the
    given default); `was_flapping`: that was told already and it was not stable since.
    """

    tenant_id: int
    alert_id: int | None
    notification_id: int
    status: AlertStatus
    news: bool
    state: str
    told_state: str | None
    server_id: int | None
    hostname: str
    service_name: str | None
    place: float | None
    place_age: float
    round: int
    page_failed: bool
    acknowledged_by: str | None
    acknowledged_by_id: int | None
    acknowledged_left: float | None
    acknowledgement_told: bool
    resolved_by: str | None
    silenced: bool
    changes: int
    was_flapping: bool
    timezone: str
    now: datetime

    @property
    def key(self) -> Key:
        """What its messages go by."""
        return (self.alert_id, None) if self.alert_id else (None, self.notification_id)


Key = tuple[int | None, int | None]
"""(alert, None), or (None, the notification of an announcement)."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page that was queued or held; `status` is its digest's where it was merged into one.

    `held_for` and `age` are in seconds: how long it is held at least, since when it was let go.
    `sending`: it is with a sender at this moment. `in_digest`: in a digest that is to be sent yet.
    """

    person_id: int
    contact_id: int
    round: int
    status: MessageStatus
    held_for: float | None
    age: float | None
    sending: bool
    in_digest: bool


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of tenants and of due alerts beside the rows themselves.

    `people` are those who can be reached, by tenant and id: their name and their working contacts
    in order. `holders`: who has each schedule, by tenant and name. `pages`, in order, and `told`,
    the people who may have received one, go by `Due.key`.
    """

    people: Mapping[int, Mapping[int, tuple[str, tuple[int, ...]]]]
    holders: Mapping[int, Mapping[str, int]]
    pages: Mapping[Key, Sequence[Page]]
    told: Mapping[Key, frozenset[int]]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of one Due: see `rules.escalation.Decision`."""

    due: Due
    new_round: bool
    place: float | None
    reopened: bool
    flapping: bool
    silenced: bool
    look_in: float | None
    sentence: str | None


# How often a subject changed, from its last alerts: each is opened, and perhaps resolved. It was
# flapping if this alert was called so, or one before it and there was no long enough pause since.
_CHANGES = """
LEFT JOIN policy ON policy.tenant_id = alert.tenant_id,
LATERAL (SELECT hotpotato_now() - coalesce(policy.flapping_within,
                                           make_interval(secs => %(within)s)) AS since) AS window_,
LATERAL (
    SELECT count(*) FILTER (WHERE lately.opened_at > since)
           + count(*) FILTER (WHERE lately.resolved_at > since) AS changes,
           greatest(max(lately.opened_at), max(lately.resolved_at)) > since
           AND bool_or(lately.flapping
                       AND (lately.id = alert.id
                            OR coalesce(lately.resolved_at, lately.opened_at)
                               > alert.opened_at - (hotpotato_now() - since))) AS was_flapping
      FROM (SELECT id, opened_at, resolved_at, flapping FROM alert AS each
             WHERE each.subject = alert.subject ORDER BY opened_at DESC LIMIT 20) AS lately
) AS lately
"""

_DUE_ALERTS = f"""
SELECT alert.tenant_id, alert.id AS alert_id, alert.last_notification_id AS notification_id,
       alert.status, alert.last_notification_id > alert.told_notification_id AS news, alert.state,
       alert.told_state, alert.server_id, alert.hostname, alert.service_name,
       extract(epoch FROM alert.place)::float AS place,
       coalesce(extract(epoch FROM hotpotato_now() - alert.place_at), 0)::float AS place_age,
       alert.round, alert.page_failed, alert.acknowledged_by, alert.acknowledged_by_id,
       extract(epoch FROM alert.acknowledged_until - hotpotato_now())::float AS acknowledged_left,
       alert.acknowledgement_told, alert.resolved_by, alert.silenced, lately.changes,
       coalesce(lately.was_flapping, false) AS was_flapping, tenant.timezone, hotpotato_now() AS now
  FROM (SELECT * FROM alert WHERE due_at <= hotpotato_now()
         ORDER BY due_at, id LIMIT %(most)s FOR NO KEY UPDATE SKIP LOCKED) AS alert
  JOIN tenant ON tenant.id = alert.tenant_id
  {_CHANGES}
 ORDER BY alert.due_at, alert.id
"""  # noqa: S608

_DUE_ANNOUNCEMENTS = """
SELECT announcement.tenant_id, NULL::bigint AS alert_id, announcement.notification_id,
       'triggered' AS status,
       NOT EXISTS (SELECT FROM message WHERE message.kind = 'announcement'
                      AND message.notification_id = announcement.notification_id) AS news,
       notification.state, NULL::text AS told_state, notification.server_id, notification.hostname,
       notification.service_name, NULL::float AS place, 0.0::float AS place_age, 0 AS round,
       announcement.page_failed, NULL::text AS acknowledged_by,
       NULL::bigint AS acknowledged_by_id,
       NULL::float AS acknowledged_left, true AS acknowledgement_told,
       NULL::text AS resolved_by, false AS silenced,
       0 AS changes, false AS was_flapping, tenant.timezone, hotpotato_now() AS now
  FROM (SELECT * FROM announcement WHERE due_at <= hotpotato_now()
         ORDER BY due_at, notification_id LIMIT %(most)s
           FOR NO KEY UPDATE SKIP LOCKED) AS announcement
  JOIN notification ON notification.id = announcement.notification_id
  JOIN tenant ON tenant.id = announcement.tenant_id
 ORDER BY announcement.due_at, announcement.notification_id
"""

_DUE = f"({_DUE_ALERTS}) UNION ALL ({_DUE_ANNOUNCEMENTS}) LIMIT %(most)s"

# For each tenant those who can be reached: enabled, with a contact that is not switched off; and
# who has its schedules.
_TENANTS = """
SELECT tenant.id,
       (SELECT json_agg(json_build_array(id, name, contacts) ORDER BY id)
          FROM (SELECT person.id, person.name,
                       json_agg(contact.id ORDER BY contact.position, contact.id) AS contacts
                  FROM person JOIN contact ON contact.person_id = person.id
                 WHERE person.tenant_id = tenant.id AND person.disabled_at IS NULL
                   AND contact.removed_at IS NULL AND contact.stopped_at IS NULL
                 GROUP BY person.id) AS reachable),
       (SELECT json_object_agg(schedule.name, shift.person_id)
          FROM schedule JOIN shift ON shift.schedule_id = schedule.id
                                  AND shift.during @> hotpotato_now()
         WHERE schedule.tenant_id = tenant.id)
  FROM tenant WHERE tenant.id = ANY(%s)
"""

# Of an old alert only the last rounds: whoever was not paged in those is as good as not paged.
_PAGES = """
SELECT message.alert_id, CASE WHEN message.alert_id IS NULL THEN message.notification_id END,
       message.person_id, message.contact_id, message.round,
       coalesce(digest.status, message.status) AS status,
       CASE WHEN message.status = 'held' THEN
            greatest(0, extract(epoch FROM message.hold_until - hotpotato_now()))::float END,
       extract(epoch FROM hotpotato_now()
                          - coalesce(digest.released_at, message.released_at))::float,
       coalesce(digest.lease, message.lease) IS NOT NULL
           -- Without a due time it needs no further attempt: a receipt was faster than the answer.
           AND coalesce(coalesce(digest.due_at, message.due_at) > hotpotato_now(), false),
       coalesce(digest.status IN ('queued', 'sending'), false)
  FROM message LEFT JOIN message AS digest ON digest.id = message.digest_id
  LEFT JOIN alert ON alert.id = message.alert_id
 WHERE message.status <> 'cancelled'
   AND (message.alert_id = ANY(%(alerts)s) AND message.kind IN ('page', 'flapping')
        AND (message.round > alert.round - 20 OR message.status IN ('held', 'queued', 'sending'))
     OR message.notification_id = ANY(%(announcements)s) AND message.kind = 'announcement')
 ORDER BY message.id
"""

# A try at a page, or at its digest, was accepted and did not fail later, is under way, or ended
# unknown.
_TOLD = """
SELECT message.alert_id, array_agg(DISTINCT message.person_id)
  FROM message JOIN attempt ON attempt.message_id = coalesce(message.digest_id, message.id)
 WHERE message.alert_id = ANY(%s) AND message.kind IN ('page', 'flapping')
   AND coalesce(attempt.outcome, 'unknown') IN ('accepted', 'unknown')
   AND attempt.progress <> 'failed'
 GROUP BY message.alert_id
"""


async def claim(transaction: Transaction, most: int, flapping_within: float) -> list[Due]:
    """The alerts that are due, the oldest first, then the announcements, at most `most` in all.

    They are locked until the transaction ends; what another daemon has locked is passed over.
    `flapping_within` is for tenants whose policy doesn't say, in seconds.
    """
    rows = await transaction.rows(_DUE, {"most": most, "within": flapping_within})
    return [_struct(Due, row) for row in rows]


async def known(transaction: Transaction, due: Sequence[Due]) -> Known:
    """What has to be known to decide about these."""
    tenants = sorted({one.tenant_id for one in due})
    people: dict[int, dict[int, tuple[str, tuple[int, ...]]]] = {}
    holders: dict[int, dict[str, int]] = {}
    for tenant_id, reachable, shifts in await transaction.rows(_TENANTS, [tenants]):
        people[tenant_id] = {id: (name, tuple(theirs)) for id, name, theirs in reachable or ()}
        holders[tenant_id] = shifts or {}
    pages: dict[Key, list[Page]] = {}
    about = {
        "alerts": [one.alert_id for one in due if one.alert_id is not None],
        "announcements": [one.notification_id for one in due if one.alert_id is None],
    }
    for alert_id, notification_id, *rest in await transaction.rows(_PAGES, about):
        pages.setdefault((alert_id, notification_id), []).append(_struct(Page, rest))
    # While it is open nobody asks; and it has the more messages then.
    ending = [one.alert_id for one in due if one.alert_id and one.status != AlertStatus.TRIGGERED]
    told: dict[Key, frozenset[int]] = {
        (alert_id, None): frozenset(persons)
        for alert_id, persons in (await transaction.rows(_TOLD, [ending]) if ending else ())
    }
    return Known(people=people, holders=holders, pages=pages, told=told)


async def settle(transaction: Transaction, steps: Sequence[Step]) -> None:
    """Write what was decided: where each alert is now, the next look, a line of history."""
    of_alerts = [_row(step) for step in steps if step.due.alert_id is not None]
    if of_alerts:
        await transaction.execute(_ADVANCE_ALERTS, [_json(of_alerts)])
    of_announcements = [_row(step) for step in steps if step.due.alert_id is None]
    if of_announcements:
        await transaction.execute(_ADVANCE_ANNOUNCEMENTS, [_json(of_announcements)])


def _row(step: Step) -> dict[str, object]:
    return {
        "tenant_id": step.due.tenant_id,
        "alert_id": step.due.alert_id,
        "notification_id": step.due.notification_id,
        "state": step.due.state,
        **{field: getattr(step, field) for field in Step.__struct_fields__ if field != "due"},
    }


_ADVANCE_ALERTS = """
WITH step AS (
    SELECT * FROM json_to_recordset(%s) AS step(
        tenant_id bigint, alert_id bigint, notification_id bigint, state text, new_round boolean,
        place float, reopened boolean, flapping boolean, silenced boolean,
        look_in float, sentence text)
), advanced AS (
    UPDATE alert
       SET told_notification_id = step.notification_id,
           told_state = CASE WHEN step.silenced THEN alert.told_state ELSE step.state END,
           page_failed = false,
           round = round + step.new_round::integer,
           place = coalesce(make_interval(secs => step.place), alert.place),
           place_at = CASE WHEN step.place IS NOT NULL THEN hotpotato_now()
                           ELSE alert.place_at END,
           status = CASE WHEN step.reopened THEN 'triggered' ELSE alert.status END,
           acknowledged_until = CASE WHEN step.reopened THEN NULL
                                     ELSE alert.acknowledged_until END,
           acknowledgement_told = true,
           flapping = step.flapping,
           silenced = step.silenced,
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


async def codes(transaction: Transaction, alerts: Iterable[int]) -> dict[int, str]:
    """The codes of these alerts, of those that have one."""
    return dict(
        await transaction.rows(
            "SELECT alert_id, code FROM code WHERE alert_id = ANY(%s)", [sorted(set(alerts))]
        )
    )


class Coded(msgspec.Struct, frozen=True):
    """What is to get a code: an alert, or a digest by its message's id."""

    tenant_id: int
    alert_id: int | None = None
    message_id: int | None = None


async def give_codes(
    transaction: Transaction, wanted: Sequence[tuple[Coded, str]]
) -> dict[Coded, str]:
    """Give what is wanted its code; returns what got it, whose code was free."""
    rows = await transaction.rows(
        # In order of the code: two daemons that draw the same ones then wait, and never deadlock.
        """
        INSERT INTO code (tenant_id, alert_id, message_id, code)
        SELECT DISTINCT ON (code) tenant_id, alert_id, message_id, code
          FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[])
               AS wanted(tenant_id, alert_id, message_id, code)
         ORDER BY code
        ON CONFLICT DO NOTHING
        RETURNING tenant_id, alert_id, message_id, code
        """,
        [
            [coded.tenant_id for coded, _ in wanted],
            [coded.alert_id for coded, _ in wanted],
            [coded.message_id for coded, _ in wanted],
            [code for _, code in wanted],
        ],
    )
    return {Coded(*row[:3]): row[3] for row in rows}


async def postpone(transaction: Transaction, due: Iterable[Due], seconds: float) -> None:
    """Look at these no sooner than in so many seconds."""
    for one in due:
        if one.alert_id is None:
            await transaction.execute(_POSTPONE_ANNOUNCEMENT, [seconds, one.notification_id])
        else:
            await transaction.execute(_POSTPONE_ALERT, [seconds, one.alert_id])


_POSTPONE_ALERT = """
UPDATE alert SET due_at = hotpotato_now() + make_interval(secs => %s)
 WHERE id = %s AND due_at IS NOT NULL
"""
_POSTPONE_ANNOUNCEMENT = """
UPDATE announcement SET due_at = hotpotato_now() + make_interval(secs => %s)
 WHERE notification_id = %s AND due_at IS NOT NULL
"""


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


def _struct(kind: type[S], row: Sequence[Any]) -> S:
    return msgspec.convert(dict(zip(kind.__struct_fields__, row, strict=True)), kind)


def _json(rows: object) -> str:
    return msgspec.json.encode(rows).decode()
