"""Messages and their attempts: claimed under a lease, settled only by who holds it.

Rows are locked in this order everywhere: messages by id, then alerts by id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from hotpotato.store.database import Transaction
from hotpotato.vocabulary import AlertStatus, MessageKind, MessageStatus, Outcome, Progress

S = TypeVar("S", bound=msgspec.Struct)


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try through one sender, as stored. `outcome` None: under way, or its process died."""

    id: int
    message_id: int
    number: int
    sender: str
    reference: str
    provider_id: str | None
    outcome: Outcome | None
    progress: Progress


class DueMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose time has come: for its next attempt, or because a lease ran out.

    `refused`: this sender has failed it, and there is no other. `out_of_use`: its contact was
    switched off or removed meanwhile, or its person disabled. `alert_status` is that of its alert,
    None without one, and true until the transaction ends; so is `over`: a digest in which nothing
    is left to be told. `lease` is the attempt that was under way. `attempts` are all of them so
    far, in order.
    """

    id: int
    tenant_id: int
    kind: MessageKind
    alert_id: int | None
    notification_id: int | None
    address: str
    text: str
    tries: int
    lease: int | None
    expired: bool
    refused: bool
    out_of_use: bool
    alert_status: AlertStatus | None = None
    over: bool = False
    attempts: tuple[Attempt, ...] = ()


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt to be made now, and its reference."""

    message_id: int
    tenant_id: int
    sender: str
    reference: str


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an attempt. `retry_in`: seconds until the next one, if there is to be one."""

    attempt_id: int
    message_id: int
    outcome: Outcome
    provider_id: str | None
    why: str | None
    retry_in: float


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message stands now, as decided.

    `due_in` is the seconds until it is due again, if it is to be; at the latest it is due when its
    time is over. With `keep_lease` it means nothing: an attempt under way is left alone.
    `failed_sender` will not be tried for it again.
    """

    id: int
    status: MessageStatus
    due_in: float | None
    keep_lease: bool
    sentence: str | None
    failed_sender: str | None = None


class Locked(msgspec.Struct, frozen=True, kw_only=True):
    """A message under lock, with all its attempts."""

    id: int
    tenant_id: int
    kind: MessageKind
    alert_id: int | None
    notification_id: int | None
    status: MessageStatus
    lease: int | None
    expired: bool
    method: str
    failed_senders: tuple[str, ...]
    attempts: tuple[Attempt, ...] = ()


# Of its method's senders, in order, a message goes to the first that has not failed it, those that
# are well before those that are sick. Who is to be probed counts as well. Where all have failed it
# the first one gets it, to say so.
_CHOSEN = """
WITH sick AS MATERIALIZED (
    SELECT name FROM sender WHERE probe_at > hotpotato_now()
), served AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(served)s) AS served(method text, senders text[])
)
SELECT {what}
  FROM message JOIN served ON served.method = message.method
 WHERE message.due_at IS NOT NULL
   AND %(sender)s = (SELECT name FROM unnest(served.senders) WITH ORDINALITY AS each(name, place)
                      ORDER BY name = ANY (message.failed_senders),
                               name IN (SELECT name FROM sick), place LIMIT 1)
"""

_COLUMNS = """
message.id, message.tenant_id, message.kind, message.alert_id, message.notification_id,
message.address, message.text, message.tries, message.lease, message.expires_at <= hotpotato_now(),
%(sender)s = ANY (message.failed_senders),
EXISTS (SELECT FROM contact JOIN person ON person.id = contact.person_id
         WHERE contact.id = message.contact_id
           AND num_nonnulls(contact.stopped_at, contact.removed_at, person.disabled_at) > 0)
"""

_CLAIM = (
    _CHOSEN.format(what=_COLUMNS)
    + """
   AND message.due_at <= hotpotato_now()
 ORDER BY message.due_at, message.id LIMIT %(most)s FOR UPDATE OF message SKIP LOCKED
"""
)

_PROBING = """
UPDATE sender SET probe_at = hotpotato_now() + make_interval(secs => %s)
 WHERE name = %s AND probe_at <= hotpotato_now() RETURNING name
"""

# Locked, so that a recovery in this moment waits for our attempt to be written, and the escalation
# then knows that this person was told. Last, since whoever reports the same problem waits too; all
# at once and in order, and as strongly as it takes to make them due, so that nobody deadlocks.
_ALERTS = """
SELECT id, status FROM alert
 WHERE id = ANY(%(alerts)s)
    OR id IN (SELECT alert_id FROM message WHERE digest_id = ANY(%(digests)s))
 ORDER BY id FOR NO KEY UPDATE
"""

# Of a digest, whose members are read at its end: what is none of a problem, a problem that nobody
# has taken, or one that was over when the digest was made, and is told as such.
_DIGESTS = """
SELECT DISTINCT member.digest_id
  FROM message AS member JOIN message AS digest ON digest.id = member.digest_id
  LEFT JOIN alert ON alert.id = member.alert_id
 WHERE member.digest_id = ANY(%s)
   AND (member.kind NOT IN ('page', 'flapping') OR alert.status = 'triggered'
        OR alert.resolved_at <= digest.released_at)
"""

_ATTEMPTS = """
SELECT id, message_id, number, sender, reference, provider_id, outcome, progress
  FROM attempt WHERE message_id = ANY(%s) ORDER BY message_id, number
"""


class Served(msgspec.Struct, frozen=True):
    """A contact method, and the senders that serve it, in the order in which they are tried."""

    method: str
    senders: tuple[str, ...]


async def claim(
    transaction: Transaction,
    sender: str,
    served: Sequence[Served],
    most: int,
    probe_every: float,
) -> list[DueMessage]:
    """The due messages whose turn it is to go to this sender, the oldest first, under lock.

    At most `most`; one every so many seconds, if it is sick and there are others. `served` are the
    methods that it serves.
    """
    rows = await transaction.rows(_CLAIM, {"sender": sender, "served": _json(served), "most": most})
    several = any(len(each.senders) > 1 for each in served)
    if rows and several and await transaction.rows(_PROBING, [probe_every, sender]):
        # What is left is for the others now, who may have looked before.
        rows = rows[:1]
        await transaction.rows("SELECT pg_notify('hotpotato', 'dispatch')")
    return await _looked_at(transaction, rows)


async def _looked_at(
    transaction: Transaction, rows: Sequence[Sequence[object]]
) -> list[DueMessage]:
    """Claimed messages with what has to be known before they are sent."""
    if not rows:
        return []
    found = [_struct(DueMessage, (*row, None, False, ())) for row in rows]
    tried = [message.id for message in found if message.tries]
    attempts = await _attempts(transaction, tried) if tried else {}
    alerts = sorted({message.alert_id for message in found if message.alert_id is not None})
    digests = {message.id for message in found if message.kind is MessageKind.DIGEST}
    status: dict[int, str] = {}
    if alerts or digests:
        about = {"alerts": alerts, "digests": sorted(digests)}
        status = dict(await transaction.rows(_ALERTS, about))
    wanted = (
        {row[0] for row in await transaction.rows(_DIGESTS, [sorted(digests)])}
        if digests
        else set()
    )
    return [
        msgspec.structs.replace(
            message,
            alert_status=AlertStatus(status[message.alert_id]) if message.alert_id else None,
            over=message.id in digests - wanted,
            attempts=attempts.get(message.id, ()),
        )
        for message in found
    ]


def _struct(kind: type[S], row: Sequence[object]) -> S:
    return msgspec.convert(dict(zip(kind.__struct_fields__, row, strict=True)), kind)


async def _attempts(
    transaction: Transaction, messages: Sequence[int]
) -> dict[int, tuple[Attempt, ...]]:
    found: dict[int, tuple[Attempt, ...]] = {}
    for row in await transaction.rows(_ATTEMPTS, [list(messages)]):
        attempt = _struct(Attempt, row)
        found[attempt.message_id] = (*found.get(attempt.message_id, ()), attempt)
    return found


async def begin(
    transaction: Transaction, begun: Sequence[Begun], lease: float
) -> list[tuple[int, int, int]]:
    """Write down attempts before they are made, leased for `lease` seconds.

    Returns (message, attempt, number) for each.
    """
    if not begun:
        return []
    rows = await transaction.rows(
        """
        WITH given AS (
            SELECT * FROM json_to_recordset(%s) AS given(
                message_id bigint, tenant_id bigint, sender text, reference text)
        ), begun AS (
            INSERT INTO attempt (tenant_id, message_id, number, sender, reference, started_at)
            SELECT given.tenant_id, given.message_id, message.tries + 1, given.sender,
                   given.reference, hotpotato_now()
              FROM given JOIN message ON message.id = given.message_id
            RETURNING id, message_id, number
        )
        UPDATE message
           SET tries = begun.number, lease = begun.id, status = 'sending',
               due_at = hotpotato_now() + make_interval(secs => %s)
          FROM begun
         WHERE message.id = begun.message_id
        RETURNING message.id, begun.id, begun.number
        """,
        [_json(begun), lease],
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def renew(transaction: Transaction, attempts: Sequence[int], lease: float) -> None:
    """Keep the leases of attempts that are still under way for `lease` seconds more."""
    await transaction.execute(
        """
        UPDATE message SET due_at = hotpotato_now() + make_interval(secs => %s)
         WHERE id IN (SELECT message.id FROM message JOIN attempt ON attempt.id = message.lease
                       WHERE attempt.id = ANY(%s) AND message.due_at IS NOT NULL
                       ORDER BY message.id FOR UPDATE OF message)
        """,
        [lease, list(attempts)],
    )


async def lock_provider_ids(
    transaction: Transaction, ids: Iterable[tuple[str, str | None]]
) -> None:
    """Let receipts and answers for the same (sender, provider's id) come one after the other.

    A receipt may be faster than the answer to the send: without this both could miss the other.
    """
    names = sorted({f"{sender}:{provider_id}" for sender, provider_id in ids if provider_id})
    if names:
        await transaction.rows(
            """
            SELECT pg_advisory_xact_lock(number) FROM (
                SELECT DISTINCT hashtextextended(name, 0) AS number
                  FROM unnest(%s::text[]) AS name ORDER BY number) AS ordered
            """,
            [names],
        )


async def lock(transaction: Transaction, messages: Iterable[int]) -> list[Locked]:
    """These messages under lock, with their attempts."""
    rows = await transaction.rows(_LOCK, {"ids": sorted(set(messages))})
    split = len(Locked.__struct_fields__) - 1
    found: dict[int, Locked] = {}
    for row in rows:
        attempt = () if row[split] is None else (_struct(Attempt, row[split:]),)
        known = found.get(row[0]) or _struct(Locked, (*row[:split], ()))
        found[known.id] = msgspec.structs.replace(known, attempts=known.attempts + attempt)
    return list(found.values())


# Two statements, so that the second sees what those wrote that the first waited for.
_LOCK = """
SELECT FROM message WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE;

SELECT message.id, message.tenant_id, message.kind, message.alert_id, message.notification_id,
       message.status, message.lease, message.expires_at <= hotpotato_now(), message.method,
       message.failed_senders,
       attempt.id, attempt.message_id, attempt.number, attempt.sender, attempt.reference,
       attempt.provider_id, attempt.outcome, attempt.progress
  FROM message LEFT JOIN attempt ON attempt.message_id = message.id
 WHERE message.id = ANY(%(ids)s) ORDER BY message.id, attempt.number
"""


def overwrites(outcome: Outcome, known: Outcome | None) -> bool:
    """Whether an outcome may be written where `known` stands: the rule of `record`."""
    return known is None or outcome is Outcome.ACCEPTED


async def record(transaction: Transaction, settled: Sequence[Settled]) -> None:
    """Write outcomes into attempts that have none, and «accepted» over any, with its id."""
    await transaction.execute(
        """
        UPDATE attempt
           SET outcome = given.outcome,
               provider_id = coalesce(given.provider_id, attempt.provider_id),
               why = given.why, settled_at = hotpotato_now()
          FROM json_to_recordset(%s) AS given(
                   attempt_id bigint, outcome text, provider_id text, why text)
         WHERE attempt.id = given.attempt_id
           AND (attempt.outcome IS NULL OR given.outcome = 'accepted')
        """,
        [_json(settled)],
    )


async def early_receipts(
    transaction: Transaction, attempts: Sequence[int]
) -> list[tuple[int, Progress]]:
    """What receipts that came before the provider's id was known say of these attempts."""
    rows = await transaction.rows(
        """
        SELECT attempt.id, receipt.progress
          FROM attempt JOIN receipt
               ON receipt.sender = attempt.sender AND receipt.provider_id = attempt.provider_id
         WHERE attempt.id = ANY(%s)
           -- A provider may use its ids again one day.
           AND receipt.received_at >= attempt.started_at - interval '1 minute'
        """,
        [list(attempts)],
    )
    return [(attempt_id, Progress(said)) for attempt_id, said in rows]


async def set_progress(transaction: Transaction, progress: Sequence[tuple[int, Progress]]) -> None:
    """Write what receipts say of accepted attempts."""
    if progress:
        await transaction.execute(
            """
            UPDATE attempt SET progress = given.progress
              FROM unnest(%s::bigint[], %s::text[]) AS given(id, progress)
             WHERE attempt.id = given.id
            """,
            [[given for given, _ in progress], [said.value for _, said in progress]],
        )


async def stand(transaction: Transaction, standings: Sequence[Standing]) -> None:
    """Write where messages stand, and make the escalation look at those that failed."""
    if not standings:
        return
    await transaction.execute(_STAND, [_json(standings)])
    failed = [given.id for given in standings if given.status is MessageStatus.FAILED]
    if failed:
        await tell_others(transaction, failed)
    if any(given.failed_sender for given in standings):
        await transaction.rows("SELECT pg_notify('hotpotato', 'dispatch')")


async def expire(transaction: Transaction, most: int) -> int:
    """Give up what has been over for an hour and no sender took; returns how many, at most `most`.

    That is what was queued for a method that no configured sender serves any more, or was with one
    of those when its daemon died.
    """
    rows = await transaction.rows(
        """
        SELECT id, method FROM message
         WHERE due_at <= hotpotato_now()
           AND expires_at <= hotpotato_now() - interval '1 hour'
         ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
        """,
        [most],
    )
    given_up = [
        Standing(
            id=message_id,
            status=MessageStatus.FAILED,
            due_in=None,
            keep_lease=False,
            sentence=f"given up after 24 hours: no sender serves {method}",
        )
        for message_id, method in rows
    ]
    await stand(transaction, given_up)
    return len(given_up)


async def tell_others(transaction: Transaction, failed: Sequence[int]) -> None:
    """Make the escalation look at what these messages were about: they will not arrive."""
    await transaction.execute(_ALERTS_OF_FAILED, {"failed": list(failed)})
    await transaction.execute(_ANNOUNCEMENTS_OF_FAILED, {"failed": list(failed)})
    await transaction.rows("SELECT pg_notify('hotpotato', 'escalation')")


_STAND = """
WITH given AS (
    SELECT * FROM json_to_recordset(%s) AS given(
        id bigint, status text, due_in float, keep_lease boolean, sentence text,
        failed_sender text)
), standing AS (
    UPDATE message
       SET status = given.status,
           failed_senders = CASE WHEN given.failed_sender IS NULL THEN message.failed_senders
                                 ELSE message.failed_senders || given.failed_sender END,
           lease = CASE WHEN given.keep_lease THEN message.lease END,
           due_at = CASE WHEN given.status NOT IN ('queued', 'sending') THEN NULL
                         WHEN given.keep_lease
                         THEN coalesce(message.due_at, hotpotato_now() + interval '10 seconds')
                         ELSE least(hotpotato_now() + make_interval(secs => given.due_in),
                                    message.expires_at) END
      FROM given WHERE message.id = given.id
    RETURNING message.id, message.tenant_id, message.alert_id, message.notification_id,
              given.sentence
)
INSERT INTO history (tenant_id, kind, alert_id, notification_id, message_id, sentence)
SELECT tenant_id, 'delivery', alert_id, notification_id, id, sentence
  FROM standing WHERE sentence IS NOT NULL
"""

_ALERTS_OF_FAILED = """
UPDATE alert SET page_failed = true, due_at = hotpotato_now()
 WHERE id IN (SELECT id FROM alert
               WHERE status = 'triggered'
                 AND id IN (SELECT alert_id FROM message
                             WHERE (id = ANY(%(failed)s) OR digest_id = ANY(%(failed)s))
                               AND kind IN ('page', 'flapping'))
               ORDER BY id FOR NO KEY UPDATE)
"""

_ANNOUNCEMENTS_OF_FAILED = """
UPDATE announcement SET page_failed = true, due_at = hotpotato_now()
 WHERE notification_id IN (SELECT notification_id FROM message
                            WHERE (id = ANY(%(failed)s) OR digest_id = ANY(%(failed)s))
                              AND kind = 'announcement')
"""


async def next_due(transaction: Transaction, sender: str, served: Sequence[Served]) -> float | None:
    """Seconds until the next message is due for this sender; None without any."""
    rows = await transaction.rows(_NEXT, {"sender": sender, "served": _json(served)})
    return float(rows[0][0]) if rows else None


_NEXT = (
    _CHOSEN.format(what="extract(epoch FROM message.due_at - hotpotato_now())")
    + " ORDER BY message.due_at LIMIT 1"
)


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery receipt to be stored; see `interfaces.ReceiptFact`."""

    sender: str
    provider_id: str | None
    reference: str | None
    status: str
    progress: Progress
    detail: str | None


async def attempts_of(
    transaction: Transaction, receipts: Sequence[Receipt]
) -> dict[int, tuple[int, int]]:
    """(attempt, message) that receipts are about, by their place among them; others are left out.

    By our reference, or by the provider's id.
    """
    rows = await transaction.rows(
        """
        SELECT given.place, found.id, found.message_id
          FROM json_to_recordset(%s) AS given(
                   place integer, sender text, provider_id text, reference text),
               LATERAL (SELECT id, message_id FROM attempt
                         WHERE sender = given.sender
                           AND (reference = given.reference OR provider_id = given.provider_id)
                         ORDER BY reference IS NOT DISTINCT FROM given.reference DESC, id DESC
                         LIMIT 1) AS found
        """,
        [_json([_placed(place, receipt) for place, receipt in enumerate(receipts)])],
    )
    return {place: (attempt_id, message_id) for place, attempt_id, message_id in rows}


async def store_receipts(
    transaction: Transaction, receipts: Sequence[tuple[Receipt, int | None]]
) -> None:
    """Keep receipts as they came, with a line of history where their attempt is known."""
    await transaction.execute(
        """
        WITH given AS (
            SELECT given.*, attempt.tenant_id, attempt.message_id, attempt.number
              FROM json_to_recordset(%s) AS given(
                       place integer, attempt_id bigint, sender text, provider_id text,
                       reference text, status text, progress text, detail text)
              LEFT JOIN attempt ON attempt.id = given.attempt_id
        ), kept AS (
            INSERT INTO receipt (tenant_id, attempt_id, sender, provider_id, reference, status,
                                 progress, detail, received_at)
            SELECT tenant_id, attempt_id, sender, provider_id, reference, status, progress, detail,
                   hotpotato_now()
              FROM given ORDER BY place
        )
        INSERT INTO history (tenant_id, kind, alert_id, notification_id, message_id, sentence)
        SELECT message.tenant_id, 'receipt', message.alert_id, message.notification_id, message.id,
               'receipt from ' || given.sender || ' for attempt ' || given.number || ': '
               || given.status || coalesce(' (' || given.detail || ')', '')
          FROM given JOIN message ON message.id = given.message_id ORDER BY place
        """,
        [
            _json(
                [
                    _placed(place, receipt) | {"attempt_id": attempt_id}
                    for place, (receipt, attempt_id) in enumerate(receipts)
                ]
            )
        ],
    )


def _placed(place: int, receipt: Receipt) -> dict[str, object]:
    return {"place": place, **msgspec.structs.asdict(receipt)}


async def accepted_by_receipt(
    transaction: Transaction, ids: Sequence[tuple[int, str | None]]
) -> None:
    """Note that the provider has attempts, and by which id, as receipts for them say."""
    await transaction.execute(
        """
        UPDATE attempt
           SET outcome = 'accepted', provider_id = coalesce(attempt.provider_id, given.provider_id),
               settled_at = coalesce(settled_at, hotpotato_now())
          FROM unnest(%s::bigint[], %s::text[]) AS given(id, provider_id)
         WHERE attempt.id = given.id
        """,
        [[attempt_id for attempt_id, _ in ids], [provider_id for _, provider_id in ids]],
    )


async def queue_text(
    transaction: Transaction,
    *,
    kind: MessageKind,
    tenant_id: int,
    person_id: int,
    contact_id: int,
    method: str,
    address: str,
    text: str,
    reply_id: int | None = None,
    alert_id: int | None = None,
) -> int:
    """Queue a message whose words are known already, due now; returns its id."""
    rows = await transaction.rows(
        """
        INSERT INTO message (tenant_id, kind, alert_id, reply_id, person_id, contact_id, method,
                             address, text, status, created_at, expires_at, released_at, due_at)
        SELECT %(tenant_id)s, %(kind)s, %(alert_id)s, %(reply_id)s, %(person_id)s, %(contact_id)s,
               %(method)s, %(address)s, %(text)s, 'queued', hotpotato_now(),
               hotpotato_now() + interval '24 hours', hotpotato_now(), hotpotato_now()
        RETURNING id, pg_notify('hotpotato', 'dispatch')
        """,
        {
            "kind": kind.value,
            "tenant_id": tenant_id,
            "person_id": person_id,
            "contact_id": contact_id,
            "method": method,
            "address": address,
            "text": text,
            "reply_id": reply_id,
            "alert_id": alert_id,
        },
    )
    message_id: int = rows[0][0]
    return message_id


async def withdraw(transaction: Transaction, message_id: int) -> bool:
    """Cancel a message that waits for an attempt; False if it doesn't, and then nothing changes."""
    count = await transaction.execute(
        """
        UPDATE message SET status = 'cancelled', due_at = NULL, lease = NULL
         WHERE id = %s AND status = 'queued'
        """,
        [message_id],
    )
    return count > 0


def storable(text: str) -> str:
    """A text as PostgreSQL can keep it: NUL and lone surrogates replaced."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _json(rows: Sequence[object]) -> str:
    return msgspec.json.encode(rows).decode()
