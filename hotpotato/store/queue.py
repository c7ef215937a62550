"""How messages get to their contacts' queues: let go at once, or held and told together later.

Rows are locked in this order everywhere: alerts by id, then contacts by id. Nobody waits for a
contact while a message is locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from hotpotato.store import messages
from hotpotato.store.database import Transaction
from hotpotato.vocabulary import AlertStatus, MessageKind


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """A contact under lock: its own pace, where it has one, and what it was sent lately.

    `sent` is (seconds ago, segments) of what went to it within an hour. `holding`: something is
    held that may go already, so that whatever comes now is told with it. `out_of_use`:
    it was switched off or removed, or its person disabled.
    """

    id: int
    tenant_id: int
    person_id: int
    method: str
    address: str
    pace_burst: int | None
    pace_every: float | None
    pace_hourly: int | None
    holding: bool
    out_of_use: bool
    sent: tuple[tuple[float, int], ...] = ()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is to be sent to a contact, or told with others.

    `hold` None: as the pace allows; else it is held for so many seconds at least, or with `joins`
    until the next time, within these, for which something is held already. `text` is for what has
    its words already. `again`: there is nothing new, only nobody's answer. `state` says
    how bad it is.
    """

    kind: MessageKind
    tenant_id: int
    person_id: int
    contact_id: int
    alert_id: int | None
    notification_id: int | None
    state: str
    round: int = 0
    because: str | None = None
    again: bool = False
    hold: float | None = None
    joins: bool = False
    text: str | None = None


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say of a notification, and the code of its alert, if it has one."""

    notification_id: int
    state: str
    hostname: str
    service_name: str | None
    display_name: str | None
    output: str | None
    author: str | None
    comment: str | None
    event: str | None


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A wanted message, and where it goes: into the queue, with its words and their segments; or
    among the held, without `segments`.
    """

    wanted: Wanted
    text: str | None
    segments: int | None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is held and may go now; its alert's state is as it is now.

    `told`: somebody may have received a page of the alert, and `person_told`: its person.
    """

    id: int
    contact_id: int
    kind: MessageKind
    alert_id: int | None
    alert_status: AlertStatus | None
    notification_id: int | None
    state: str
    hostname: str
    service_name: str | None
    because: str | None
    again: bool
    text: str | None
    told: bool
    person_told: bool


_CONTACT = """
SELECT contact.id, contact.tenant_id, contact.person_id, contact.method, contact.address,
       contact.pace_burst, extract(epoch FROM contact.pace_every)::float, contact.pace_hourly,
       EXISTS (SELECT FROM message WHERE message.contact_id = contact.id AND status = 'held'
                  AND hold_until <= hotpotato_now()),
       num_nonnulls(contact.stopped_at, contact.removed_at, person.disabled_at) > 0
  FROM contact JOIN person ON person.id = contact.person_id
"""


async def lock(transaction: Transaction, contacts: Iterable[int]) -> dict[int, Contact]:
    """These contacts under lock, by id."""
    rows = await transaction.rows(
        _CONTACT + " WHERE contact.id = ANY(%s) ORDER BY contact.id FOR NO KEY UPDATE OF contact",
        [sorted(set(contacts))],
    )
    return await _with_sent(transaction, rows)


async def claim(transaction: Transaction, most: int) -> list[Contact]:
    """The contacts for which something that is held may go, at most `most`, under lock."""
    rows = await transaction.rows(
        _CONTACT
        + """
         WHERE contact.due_at <= hotpotato_now()
         ORDER BY contact.due_at LIMIT %s FOR NO KEY UPDATE OF contact SKIP LOCKED
        """,
        [most],
    )
    return list((await _with_sent(transaction, rows)).values())


async def _with_sent(transaction: Transaction, rows: Sequence[Sequence[Any]]) -> dict[int, Contact]:
    """What counts for the pace: answers to the person's own replies don't."""
    sent: dict[int, list[tuple[float, int]]] = {}
    for contact_id, ago, segments in await transaction.rows(
        """
        SELECT contact_id, extract(epoch FROM hotpotato_now() - max(released_at))::float,
               sum(coalesce(segments, 1))::integer
          FROM message
         WHERE contact_id = ANY(%s) AND released_at > hotpotato_now() - interval '1 hour'
           AND kind NOT IN ('confirmation', 'verification', 'test')
         -- Of what went within a second, the last counts for all.
         GROUP BY contact_id, date_trunc('second', released_at)
        """,
        [[row[0] for row in rows]],
    ):
        sent.setdefault(contact_id, []).append((ago, segments))
    fields = Contact.__struct_fields__[:-1]
    return {
        row[0]: Contact(**dict(zip(fields, row, strict=True)), sent=tuple(sent.get(row[0], ())))
        for row in rows
    }


async def about(transaction: Transaction, notifications: Iterable[int]) -> dict[int, About]:
    """What there is to say of these notifications, by id."""
    rows = await transaction.rows(
        """
        SELECT id, state, hostname, service_name, display_name, output, author, comment, event
          FROM notification WHERE id = ANY(%s)
        """,
        [sorted(set(notifications))],
    )
    return {row[0]: About(**dict(zip(About.__struct_fields__, row, strict=True))) for row in rows}


async def put(transaction: Transaction, placed: Sequence[Placed]) -> None:
    """Queue and hold messages, each with a line of history.

    A page replaces an older one of the same alert that is still held for the contact, and so does
    whatever else of the alert is let go.
    """
    if not placed:
        return
    rows = [
        {
            **msgspec.structs.asdict(one.wanted),
            "number": number,
            "text": one.text,
            "segments": one.segments,
            "released": one.segments is not None,
        }
        for number, one in enumerate(placed)
    ]
    newer = [
        (row["alert_id"], row["contact_id"])
        for row in rows
        if row["alert_id"] and (row["released"] or row["kind"] in _PAGES)
    ]
    if newer:
        await transaction.execute(
            _REPLACE, [[alert for alert, _ in newer], [contact for _, contact in newer]]
        )
    released = any(row["released"] for row in rows)
    await transaction.execute(_PUT + (_HINT if released else ""), [_json(rows)])


_PAGES = (MessageKind.PAGE, MessageKind.FLAPPING)

# In one round trip with what it is about.
_HINT = "; SELECT pg_notify('hotpotato', 'dispatch')"

_PUT = """
WITH wanted AS (
    SELECT * FROM json_to_recordset(%s) AS wanted(
        number integer, kind text, tenant_id bigint, person_id bigint, contact_id bigint,
        alert_id bigint, notification_id bigint, round integer, because text, again boolean,
        hold float, joins boolean, text text, segments integer, released boolean)
), put AS (
    INSERT INTO message (tenant_id, kind, alert_id, notification_id, person_id, contact_id, method,
                         address, because, again, round, text, segments, status, created_at,
                         expires_at, released_at, due_at, hold_until)
    SELECT wanted.tenant_id, wanted.kind, wanted.alert_id, wanted.notification_id,
           wanted.person_id, contact.id, contact.method, contact.address, wanted.because,
           wanted.again, wanted.round, wanted.text, wanted.segments,
           CASE WHEN released THEN 'queued' ELSE 'held' END,
           hotpotato_now(), hotpotato_now() + interval '24 hours',
           CASE WHEN released THEN hotpotato_now() END, CASE WHEN released THEN hotpotato_now() END,
           CASE WHEN NOT released THEN coalesce(
                (SELECT min(held.hold_until) FROM message AS held
                  WHERE wanted.joins AND held.contact_id = contact.id AND held.status = 'held'
                    AND held.hold_until > hotpotato_now()
                    AND held.hold_until < hotpotato_now() + make_interval(secs => hold)),
                hotpotato_now() + make_interval(secs => coalesce(hold, 0))) END
      FROM wanted JOIN contact ON contact.id = wanted.contact_id
     ORDER BY wanted.number
    RETURNING id, tenant_id, kind, alert_id, notification_id, person_id, because, status
)
INSERT INTO history (tenant_id, kind, alert_id, notification_id, message_id, sentence)
SELECT put.tenant_id, 'queued', put.alert_id, put.notification_id, put.id,
       put.kind || ' for ' || person.name || ' ' || put.status
       || CASE WHEN put.status = 'held' THEN ', to be told together with others' ELSE '' END
       || coalesce(' (' || put.because || ')', '')
  FROM put JOIN person ON person.id = put.person_id
"""

_REPLACE = """
WITH replaced AS (
    UPDATE message SET status = 'cancelled'
      FROM unnest(%s::bigint[], %s::bigint[]) AS released(alert_id, contact_id)
     WHERE message.alert_id = released.alert_id AND message.contact_id = released.contact_id
       AND message.status = 'held' AND message.kind IN ('page', 'flapping')
    RETURNING message.id, message.tenant_id, message.alert_id, message.notification_id
)
INSERT INTO history (tenant_id, kind, alert_id, notification_id, message_id, sentence)
SELECT tenant_id, 'queued', alert_id, notification_id, id, 'no longer held: a newer page tells it'
  FROM replaced
"""


async def due(transaction: Transaction, contacts: Sequence[tuple[int, float]]) -> None:
    """Look at these contacts, under lock, in so many seconds at the latest: (contact, seconds)."""
    if contacts:
        await transaction.execute(
            """
            UPDATE contact
               SET due_at = least(due_at, hotpotato_now() + make_interval(secs => given.seconds))
              FROM unnest(%s::bigint[], %s::float[]) AS given(id, seconds)
             WHERE contact.id = given.id;
            SELECT pg_notify('hotpotato', 'pacing')
            """,
            [[contact for contact, _ in contacts], [seconds for _, seconds in contacts]],
        )


async def look_again(transaction: Transaction, tenant_id: int) -> None:
    """Look now at whatever is held for a tenant's contacts: their pace has changed."""
    await transaction.execute(
        """
        UPDATE contact SET due_at = hotpotato_now()
         WHERE id IN (SELECT id FROM contact WHERE tenant_id = %s AND due_at IS NOT NULL
                       ORDER BY id FOR NO KEY UPDATE)
        """,
        [tenant_id],
    )
    await transaction.rows("SELECT pg_notify('hotpotato', 'pacing')")


async def looked(transaction: Transaction, contacts: Sequence[tuple[int, float | None]]) -> None:
    """Note that claimed contacts were looked at: (contact, seconds until something may go).

    None: as soon as what is still held may.
    """
    await transaction.execute(
        """
        UPDATE contact
           SET due_at = coalesce(
                   hotpotato_now() + make_interval(secs => given.seconds),
                   (SELECT min(hold_until) FROM message
                     WHERE message.contact_id = contact.id AND message.status = 'held'))
          FROM unnest(%s::bigint[], %s::float[]) AS given(id, seconds)
         WHERE contact.id = given.id
        """,
        [[contact for contact, _ in contacts], [seconds for _, seconds in contacts]],
    )


async def held(transaction: Transaction, contacts: Iterable[int]) -> dict[int, list[Held]]:
    """What is held for these contacts and may go now, by contact, the oldest first.

    At most 20,000 in all; what is left is for the next look.
    """
    found: dict[int, list[Held]] = {}
    for row in await transaction.rows(_HELD, [list(contacts)]):
        one = msgspec.convert(dict(zip(Held.__struct_fields__, row, strict=True)), Held)
        found.setdefault(one.contact_id, []).append(one)
    return found


# Who may have received a page of the same alert: a try at it, or at its digest, was accepted and
# did not fail later, is under way, or ended unknown. Asked only for what is over.
_HELD = """
WITH ready AS MATERIALIZED (
    SELECT * FROM message
     WHERE contact_id = ANY(%s) AND status = 'held' AND hold_until <= hotpotato_now()
     ORDER BY id LIMIT 20000
), told AS MATERIALIZED (
    SELECT DISTINCT page.alert_id, page.person_id
      FROM message AS page
      JOIN attempt ON attempt.message_id = coalesce(page.digest_id, page.id)
     WHERE page.alert_id IN (SELECT alert.id FROM alert
                              WHERE alert.id IN (SELECT alert_id FROM ready)
                                AND alert.status = 'resolved')
       AND page.kind IN ('page', 'flapping')
       AND coalesce(attempt.outcome, 'unknown') IN ('accepted', 'unknown')
       AND attempt.progress <> 'failed'
)
SELECT ready.id, ready.contact_id, ready.kind, ready.alert_id, alert.status,
       -- A page that was held tells the newest.
       CASE WHEN ready.kind IN ('page', 'flapping') AND alert.status = 'triggered'
            THEN alert.last_notification_id ELSE ready.notification_id END,
       CASE WHEN ready.kind IN ('page', 'flapping') THEN alert.state
            WHEN ready.kind = 'announcement' THEN coalesce(notification.event, notification.state)
            WHEN ready.kind = 'notice' THEN 'taken:'
            ELSE notification.state END,
       coalesce(alert.hostname, notification.hostname, ''),
       coalesce(alert.service_name, notification.service_name),
       ready.because, ready.again, ready.text,
       EXISTS (SELECT FROM told WHERE told.alert_id = ready.alert_id),
       EXISTS (SELECT FROM told WHERE told.alert_id = ready.alert_id
                                  AND told.person_id = ready.person_id)
  FROM ready LEFT JOIN alert ON alert.id = ready.alert_id
  LEFT JOIN notification ON notification.id = ready.notification_id
 ORDER BY ready.id
"""


async def release(transaction: Transaction, message_id: int, text: str, segments: int) -> None:
    """Let a held message go by itself."""
    await transaction.execute(
        """
        WITH released AS (
            UPDATE message
               SET status = 'queued', text = %s, segments = %s, released_at = hotpotato_now(),
                   due_at = hotpotato_now(), hold_until = NULL,
                   expires_at = hotpotato_now() + interval '24 hours'
             WHERE id = %s AND status = 'held'
            RETURNING id, tenant_id, alert_id, notification_id, kind
        )
        INSERT INTO history (tenant_id, kind, alert_id, notification_id, message_id, sentence)
        SELECT tenant_id, 'queued', alert_id, notification_id, id, kind || ' held no longer'
          FROM released
        """,
        [text, segments, message_id],
    )
    await transaction.rows("SELECT pg_notify('hotpotato', 'dispatch')")


async def new_digest(transaction: Transaction) -> int:
    """The id of a digest to be made."""
    rows = await transaction.rows("SELECT nextval(pg_get_serial_sequence('message', 'id'))")
    digest_id: int = rows[0][0]
    return digest_id


async def merge(
    transaction: Transaction,
    contact: Contact,
    digest_id: int,
    members: Sequence[int],
    text: str,
    segments: int,
) -> None:
    """Tell these held messages in one digest; each has a line of history that says so."""
    await transaction.execute(
        """
        INSERT INTO message (id, tenant_id, kind, person_id, contact_id, method, address, text,
                             segments, status, created_at, expires_at, released_at, due_at)
        VALUES (%(id)s, %(tenant_id)s, 'digest', %(person_id)s, %(contact_id)s, %(method)s,
                %(address)s, %(text)s, %(segments)s, 'queued', hotpotato_now(),
                hotpotato_now() + interval '24 hours', hotpotato_now(), hotpotato_now())
        """,
        {
            "id": digest_id,
            "tenant_id": contact.tenant_id,
            "person_id": contact.person_id,
            "contact_id": contact.id,
            "method": contact.method,
            "address": contact.address,
            "text": text,
            "segments": segments,
        },
    )
    await transaction.execute(
        """
        WITH merged AS (
            UPDATE message SET status = 'merged', digest_id = %(id)s
             WHERE id = ANY(%(members)s) AND status = 'held'
            RETURNING id, tenant_id, alert_id, notification_id, kind
        )
        INSERT INTO history (tenant_id, kind, alert_id, notification_id, message_id, sentence)
        SELECT tenant_id, 'merged', alert_id, notification_id, id,
               kind || ' is told in digest ' || %(id)s || CASE WHEN %(count)s > 1
                   THEN ', together with ' || %(count)s - 1 || ' more' ELSE '' END
          FROM merged
        """,
        {"id": digest_id, "members": list(members), "count": len(members)},
    )
    await transaction.rows("SELECT pg_notify('hotpotato', 'dispatch')")


async def drop(transaction: Transaction, dropped: Sequence[tuple[int, str]]) -> None:
    """Cancel held messages, each for a reason."""
    if dropped:
        await transaction.execute(
            """
            WITH dropped AS (
                UPDATE message SET status = 'cancelled'
                  FROM unnest(%s::bigint[], %s::text[]) AS given(id, why)
                 WHERE message.id = given.id AND message.status = 'held'
                RETURNING message.id, message.tenant_id, message.alert_id,
                          message.notification_id, given.why
            )
            INSERT INTO history (tenant_id, kind, alert_id, notification_id, message_id, sentence)
            SELECT tenant_id, 'queued', alert_id, notification_id, id, why FROM dropped
            """,
            [[message for message, _ in dropped], [why for _, why in dropped]],
        )


async def give_up(transaction: Transaction, held: Sequence[int], why: str) -> None:
    """Cancel held messages that can't be told to their contact, and have somebody else told."""
    if held:
        await drop(transaction, [(message, why) for message in held])
        await messages.tell_others(transaction, held)


async def next_due(transaction: Transaction) -> float | None:
    """Seconds until something that is held may go; None if nothing is held."""
    rows = await transaction.rows(
        """
        SELECT extract(epoch FROM min(due_at) - hotpotato_now())::float FROM contact
         WHERE due_at IS NOT NULL
        """
    )
    seconds: float | None = rows[0][0]
    return seconds


def _json(rows: object) -> str:
    return msgspec.json.encode(rows).decode()
