"""What became of a notification, for people: messages, attempts, receipts, replies and history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from hotpotato.store.database import Row, Transaction
from hotpotato.store.notifications import Line, Notification
from hotpotato.vocabulary import AlertStatus, MessageKind, MessageStatus, Outcome, Progress

S = TypeVar("S", bound=msgspec.Struct)


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery receipt in the provider's own word."""

    received_at: datetime
    status: str
    detail: str | None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try through one sender; `outcome` None: under way. The receipts as they came."""

    number: int
    sender: str
    reference: str
    provider_id: str | None
    started_at: datetime
    settled_at: datetime | None
    outcome: Outcome | None
    why: str | None
    progress: Progress
    receipts: tuple[Receipt, ...] = ()


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A text for one contact; `person` None: nobody's any more. `because`: why this person.

    One that is held waits until `hold_until` at least, and `next_at` is when its contact is looked
    at next; of one that is still being tried, `next_at` is when it is. One that is merged is told
    in the message `digest_id`; a digest tells `tells` others, and `segments` is what it costs.
    """

    id: int
    kind: MessageKind
    person: str | None
    method: str
    address: str
    because: str | None
    text: str | None
    status: MessageStatus
    created_at: datetime
    released_at: datetime | None
    hold_until: datetime | None
    next_at: datetime | None
    digest_id: int | None
    segments: int | None
    tells: tuple[int, ...]
    attempts: tuple[Attempt, ...] = ()


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What was written back; `verdict` None: not judged yet."""

    received_at: datetime
    source: str
    content: str
    verdict: str | None


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """A line of history, and the host and service of the notification that it is about, if any."""

    id: int
    at: datetime
    kind: str
    sentence: str
    notification_id: int | None
    hostname: str | None
    service_name: str | None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where an alert stands, and when it is looked at next.

    `place` is the seconds that it is along its policy, since `place_at`; None before the first
    step. `under_way` is how many of its messages are still to be sent or held.
    """

    status: AlertStatus
    due_at: datetime | None
    place: float | None
    place_at: datetime | None
    acknowledged_by: str | None
    acknowledged_until: datetime | None
    resolved_at: datetime | None
    resolved_by: str | None
    silenced: bool
    flapping: bool
    under_way: int


_MESSAGES = """
SELECT message.id, message.kind, person.name, message.method, message.address, message.because,
       message.text, message.status, message.created_at, message.released_at, message.hold_until,
       CASE WHEN message.status = 'held' THEN contact.due_at ELSE message.due_at END,
       message.digest_id, message.segments,
       ARRAY(SELECT told.id FROM message AS told WHERE told.digest_id = message.id
              ORDER BY told.id LIMIT 10000)
  FROM message LEFT JOIN person ON person.id = message.person_id
  LEFT JOIN contact ON contact.id = message.contact_id
"""


async def message(transaction: Transaction, message_id: int) -> Message | None:
    """One message and all that became of it, or None."""
    rows = await transaction.rows(_MESSAGES + " WHERE message.id = %s", [message_id])
    found = await _with_attempts(transaction, rows)
    return found[0] if found else None


async def messages(transaction: Transaction, notification: Notification) -> list[Message]:
    """The messages of a notification, and of its alert from then on, in order.

    The digests that some of them were merged into are among them.
    """
    rows = await transaction.rows(
        """
        SELECT id, digest_id FROM message
         WHERE notification_id = %(id)s OR alert_id = %(alert_id)s AND created_at >= %(since)s
         ORDER BY id LIMIT 10000
        """,
        _about(notification),
    )
    return await _and_digests(transaction, rows)


async def messages_of_alert(transaction: Transaction, alert_id: int) -> list[Message]:
    """All messages of an alert and the digests that tell of it, in order."""
    rows = await transaction.rows(
        "SELECT id, digest_id FROM message WHERE alert_id = %s ORDER BY id LIMIT 10000", [alert_id]
    )
    return await _and_digests(transaction, rows)


async def newest_of_alert(transaction: Transaction, alert_id: int, most: int) -> list[Line]:
    """The newest lines of an alert's history, in order."""
    rows = await transaction.rows(
        """
        SELECT at, kind, sentence, message_id
          FROM (SELECT * FROM history WHERE alert_id = %s
                 ORDER BY at DESC, id DESC LIMIT %s) AS line
         ORDER BY at, id
        """,
        [alert_id, most],
    )
    return [_struct(Line, row) for row in rows]


async def standing(transaction: Transaction, alert_id: int) -> Standing:
    """Where an alert stands."""
    (row,) = await transaction.rows(
        """
        SELECT status, due_at, extract(epoch FROM place)::float, place_at, acknowledged_by,
               acknowledged_until, resolved_at, resolved_by, silenced, flapping,
               (SELECT count(*) FROM message
                 WHERE alert_id = alert.id AND message.status IN ('held', 'queued', 'sending'))
          FROM alert WHERE id = %s
        """,
        [alert_id],
    )
    return _struct(Standing, row)


async def announced(transaction: Transaction, notification_id: int) -> datetime | None:
    """When an announcement is looked at next; None if it needs no more, or there is none."""
    rows = await transaction.rows(
        "SELECT due_at FROM announcement WHERE notification_id = %s", [notification_id]
    )
    due_at: datetime | None = rows[0][0] if rows else None
    return due_at


async def replies(transaction: Transaction, notification: Notification) -> list[Reply]:
    """The replies that were answered in the name of a notification's alert since it came."""
    rows = await transaction.rows(
        """
        SELECT reply.received_at, reply.source, reply.content, reply.verdict FROM reply
         WHERE reply.received_at >= %(since)s
           AND reply.id IN (SELECT reply_id FROM message WHERE alert_id = %(alert_id)s)
         ORDER BY reply.id LIMIT 10000
        """,
        _about(notification),
    )
    return [_struct(Reply, row) for row in rows]


async def newest(transaction: Transaction) -> int:
    """The id of the newest line of history, 0 without any."""
    rows = await transaction.rows("SELECT coalesce(max(id), 0) FROM history")
    line_id: int = rows[0][0]
    return line_id


async def after(transaction: Transaction, line_id: int) -> list[Happening]:
    """The lines of history after one, in order of their ids, 1000 at most.

    A line whose transaction takes longer may appear later, before others that were seen already.
    """
    rows = await transaction.rows(
        """
        SELECT history.id, history.at, history.kind, history.sentence, notification.id,
               notification.hostname, notification.service_name
          FROM history LEFT JOIN notification ON notification.id = history.notification_id
         WHERE history.id > %s ORDER BY history.id LIMIT 1000
        """,
        [line_id],
    )
    return [_struct(Happening, row) for row in rows]


async def _and_digests(transaction: Transaction, rows: Sequence[Row]) -> list[Message]:
    """The messages of these (id, digest), and the digests."""
    ids = {each for row in rows for each in row if each is not None}
    found = await transaction.rows(
        _MESSAGES + " WHERE message.id = ANY(%s) ORDER BY message.id", [sorted(ids)]
    )
    return await _with_attempts(transaction, found)


async def _with_attempts(transaction: Transaction, rows: Sequence[Row]) -> list[Message]:
    ids = [row[0] for row in rows]
    receipts: dict[int, list[Receipt]] = {}
    for attempt_id, *rest in await transaction.rows(
        """
        WITH tried AS (SELECT * FROM attempt WHERE message_id = ANY(%s))
        SELECT tried.id, receipt.received_at, receipt.status, receipt.detail
          FROM tried JOIN receipt ON receipt.attempt_id = tried.id
         UNION ALL
        -- Those that were faster than the answer to the send: see messages.early_receipts.
        SELECT tried.id, receipt.received_at, receipt.status, receipt.detail
          FROM tried JOIN receipt ON receipt.attempt_id IS NULL AND receipt.sender = tried.sender
                                 AND receipt.provider_id = tried.provider_id
                                 AND receipt.received_at >= tried.started_at - interval '1 minute'
         ORDER BY received_at LIMIT 100000
        """,
        [ids],
    ):
        receipts.setdefault(attempt_id, []).append(_struct(Receipt, rest))
    attempts: dict[int, list[Attempt]] = {}
    for message_id, attempt_id, *rest in await transaction.rows(
        """
        SELECT message_id, id, number, sender, reference, provider_id, started_at, settled_at,
               outcome, why, progress
          FROM attempt WHERE message_id = ANY(%s) ORDER BY message_id, number LIMIT 100000
        """,
        [ids],
    ):
        attempts.setdefault(message_id, []).append(
            _struct(Attempt, (*rest, tuple(receipts.get(attempt_id, ()))))
        )
    return [_struct(Message, (*row, tuple(attempts.get(row[0], ())))) for row in rows]


def _about(notification: Notification) -> dict[str, Any]:
    return {
        "id": notification.id,
        "alert_id": notification.alert_id,
        "since": notification.received_at,
    }


def _struct(kind: type[S], row: Sequence[object]) -> S:
    return msgspec.convert(dict(zip(kind.__struct_fields__, row, strict=False)), kind)
