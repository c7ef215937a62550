"""What became of a notification, for people: messages, attempts, receipts, replies and history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from hotpotato.store.database import Row, Transaction
from hotpotato.store.notifications import Notification
from hotpotato.vocabulary import MessageKind, MessageStatus, Outcome, Progress

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
    """A text for one contact; `person` None: nobody's any more. `because`: why this person."""

    id: int
    kind: MessageKind
    person: str | None
    method: str
    address: str
    because: str | None
    text: str | None
    status: MessageStatus
    created_at: datetime
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


_MESSAGES = """
SELECT message.id, message.kind, person.name, message.method, message.address, message.because,
       message.text, message.status, message.created_at
  FROM message LEFT JOIN person ON person.id = message.person_id
"""


async def message(transaction: Transaction, message_id: int) -> Message | None:
    """One message and all that became of it, or None."""
    rows = await transaction.rows(_MESSAGES + " WHERE message.id = %s", [message_id])
    found = await _with_attempts(transaction, rows)
    return found[0] if found else None


async def messages(transaction: Transaction, notification: Notification) -> list[Message]:
    """The messages of a notification, and of its alert from then on, in order."""
    rows = await transaction.rows(
        _MESSAGES
        + """
         WHERE message.notification_id = %(id)s
            OR message.alert_id = %(alert_id)s AND message.created_at >= %(since)s
         ORDER BY message.id LIMIT 10000
        """,
        _about(notification),
    )
    return await _with_attempts(transaction, rows)


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
