"""Messages and their attempts: claimed under a lease, settled only by who holds it.

Rows are locked in this order everywhere: messages by id, then alerts by id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from hotpotato.store.database import Transaction
from hotpotato.vocabulary import AlertStatus, MessageKind, MessageStatus, Outcome, Progress


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


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a message is about: the notification's words, and the code of its alert."""

    state: str
    hostname: str
    service_name: str | None
    display_name: str | None
    output: str | None
    author: str | None
    comment: str | None
    event: str | None
    code: str | None


class DueMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose time has come: for its next attempt, or because a lease ran out.

    `alert_status` is that of its alert, None without one, and true until the transaction ends.
    `lease` is the attempt that was under way. `attempts` are all of them so far, in order.
    """

    id: int
    tenant_id: int
    kind: MessageKind
    alert_id: int | None
    notification_id: int | None
    address: str
    because: str | None
    again: bool
    text: str | None
    tries: int
    lease: int | None
    expired: bool
    alert_status: AlertStatus | None = None
    about: About | None = None
    attempts: tuple[Attempt, ...] = ()


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt to be made now: its message gets the text, and the attempt its reference."""

    message_id: int
    tenant_id: int
    sender: str
    reference: str
    text: str


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
    """

    id: int
    status: MessageStatus
    due_in: float | None
    keep_lease: bool
    sentence: str | None


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
    attempts: tuple[Attempt, ...] = ()


_CLAIM = """
SELECT id, tenant_id, kind, alert_id, notification_id, address, because, again, text, tries, lease,
       expires_at <= hotpotato_now()
  FROM message
 WHERE method = ANY(%s) AND due_at <= hotpotato_now()
 ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
"""

# FOR SHARE: a recovery in this moment waits for our attempt to be written, so that the escalation
# then knows that this person was told.
_ALERTS = "SELECT id, status FROM alert WHERE id = ANY(%s) ORDER BY id FOR SHARE"

_ABOUT = """
SELECT message.id, notification.state, notification.hostname, notification.service_name,
       notification.display_name, notification.output, notification.author, notification.comment,
       notification.event, code.code
  FROM message JOIN notification ON notification.id = message.notification_id
  LEFT JOIN code ON code.alert_id = message.alert_id
 WHERE message.id = ANY(%s)
"""

_ATTEMPTS = """
SELECT id, message_id, number, sender, reference, provider_id, outcome, progress
  FROM attempt WHERE message_id = ANY(%s) ORDER BY message_id, number
"""


async def claim(transaction: Transaction, methods: Sequence[str], most: int) -> list[DueMessage]:
    """The due messages of these contact methods, the oldest first, under lock, at most `most`."""
    rows = await transaction.rows(_CLAIM, [list(methods), most])
    if not rows:
        return []
    fields = DueMessage.__struct_fields__[:12]
    found = [msgspec.convert(dict(zip(fields, row, strict=True)), DueMessage) for row in rows]
    alerts = sorted({message.alert_id for message in found if message.alert_id is not None})
    status: dict[int, str] = dict(await transaction.rows(_ALERTS, [alerts]) if alerts else ())
    ids = [message.id for message in found]
    about = {row[0]: _about(row[1:]) for row in await transaction.rows(_ABOUT, [ids])}
    tried = [message.id for message in found if message.tries]
    attempts = await _attempts(transaction, tried) if tried else {}
    return [
        msgspec.structs.replace(
            message,
            alert_status=AlertStatus(status[message.alert_id]) if message.alert_id else None,
            about=about.get(message.id),
            attempts=attempts.get(message.id, ()),
        )
        for message in found
    ]


def _about(row: Sequence[object]) -> About:
    return msgspec.convert(dict(zip(About.__struct_fields__, row, strict=True)), About)


async def _attempts(
    transaction: Transaction, messages: Sequence[int]
) -> dict[int, tuple[Attempt, ...]]:
    found: dict[int, tuple[Attempt, ...]] = {}
    for row in await transaction.rows(_ATTEMPTS, [list(messages)]):
        attempt = msgspec.convert(dict(zip(Attempt.__struct_fields__, row, strict=True)), Attempt)
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
                message_id bigint, tenant_id bigint, sender text, reference text, text text)
        ), begun AS (
            INSERT INTO attempt (tenant_id, message_id, number, sender, reference, started_at)
            SELECT given.tenant_id, given.message_id, message.tries + 1, given.sender,
                   given.reference, hotpotato_now()
              FROM given JOIN message ON message.id = given.message_id
            RETURNING id, message_id, number
        )
        UPDATE message
           SET tries = begun.number, lease = begun.id, status = 'sending', text = given.text,
               due_at = hotpotato_now() + make_interval(secs => %s)
          FROM begun JOIN given ON given.message_id = begun.message_id
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
    ids = sorted(set(messages))
    rows = await transaction.rows(
        """
        SELECT id, tenant_id, kind, alert_id, notification_id, status, lease,
               expires_at <= hotpotato_now()
          FROM message WHERE id = ANY(%s) ORDER BY id FOR UPDATE
        """,
        [ids],
    )
    attempts = await _attempts(transaction, ids)
    fields = Locked.__struct_fields__[:8]
    return [
        msgspec.structs.replace(
            msgspec.convert(dict(zip(fields, row, strict=True)), Locked),
            attempts=attempts.get(row[0], ()),
        )
        for row in rows
    ]


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
        await transaction.execute(_ALERTS_OF_FAILED, [failed])
        await transaction.execute(_ANNOUNCEMENTS_OF_FAILED, [failed])
        await transaction.rows("SELECT pg_notify('hotpotato', 'escalation')")


_STAND = """
WITH given AS (
    SELECT * FROM json_to_recordset(%s) AS given(
        id bigint, status text, due_in float, keep_lease boolean, sentence text)
), standing AS (
    UPDATE message
       SET status = given.status,
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
                 AND id IN (SELECT alert_id FROM message WHERE id = ANY(%s) AND kind = 'page')
               ORDER BY id FOR UPDATE)
"""

_ANNOUNCEMENTS_OF_FAILED = """
UPDATE announcement SET page_failed = true, due_at = hotpotato_now()
 WHERE notification_id IN (SELECT notification_id FROM message
                            WHERE id = ANY(%s) AND kind = 'announcement')
"""


async def next_due(transaction: Transaction, methods: Sequence[str]) -> float | None:
    """Seconds until the next message of these methods is due; None without any."""
    rows = await transaction.rows(
        """
        SELECT extract(epoch FROM min(due_at) - hotpotato_now())::float FROM message
         WHERE method = ANY(%s) AND due_at IS NOT NULL
        """,
        [list(methods)],
    )
    seconds: float | None = rows[0][0]
    return seconds


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery receipt to be stored; see `interfaces.ReceiptFact`."""

    sender: str
    provider_id: str | None
    reference: str | None
    status: str
    progress: Progress
    detail: str | None


async def attempt_of(transaction: Transaction, receipt: Receipt) -> Attempt | None:
    """The attempt that a receipt is about: by our reference, or by the provider's id."""
    rows = await transaction.rows(
        """
        SELECT id, message_id, number, sender, reference, provider_id, outcome, progress
          FROM attempt
         WHERE sender = %(sender)s
           AND (reference = %(reference)s OR provider_id = %(provider_id)s)
         ORDER BY reference IS NOT DISTINCT FROM %(reference)s DESC, id DESC LIMIT 1
        """,
        {
            "sender": receipt.sender,
            "reference": receipt.reference,
            "provider_id": receipt.provider_id,
        },
    )
    if not rows:
        return None
    return msgspec.convert(dict(zip(Attempt.__struct_fields__, rows[0], strict=True)), Attempt)


async def store_receipt(
    transaction: Transaction, receipt: Receipt, attempt: Attempt | None
) -> None:
    """Keep a receipt as it came, with a line of history where it is known what it is about."""
    await transaction.execute(
        """
        WITH about AS (
            SELECT message.tenant_id, message.alert_id, message.notification_id, message.id
              FROM message WHERE message.id = %(message_id)s
        ), kept AS (
            INSERT INTO receipt (tenant_id, attempt_id, sender, provider_id, reference, status,
                                 progress, detail, received_at)
            SELECT (SELECT tenant_id FROM about), %(attempt_id)s, %(sender)s, %(provider_id)s,
                   %(reference)s, %(status)s, %(progress)s, %(detail)s, hotpotato_now()
        )
        INSERT INTO history (tenant_id, kind, alert_id, notification_id, message_id, sentence)
        SELECT tenant_id, 'receipt', alert_id, notification_id, id,
               'receipt from ' || %(sender)s || ' for attempt ' || %(number)s || ': ' || %(status)s
               || coalesce(' (' || %(detail)s || ')', '')
          FROM about
        """,
        {
            "message_id": attempt and attempt.message_id,
            "attempt_id": attempt and attempt.id,
            "number": str(attempt.number) if attempt else "",
            **msgspec.to_builtins(receipt),
        },
    )


async def accepted_by_receipt(
    transaction: Transaction, attempt_id: int, provider_id: str | None
) -> None:
    """Note that the provider has an attempt, as a receipt for it says."""
    await transaction.execute(
        """
        UPDATE attempt
           SET outcome = 'accepted', provider_id = coalesce(provider_id, %s),
               settled_at = coalesce(settled_at, hotpotato_now())
         WHERE id = %s
        """,
        [provider_id, attempt_id],
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
                             address, text, status, created_at, expires_at, due_at)
        SELECT %(tenant_id)s, %(kind)s, %(alert_id)s, %(reply_id)s, %(person_id)s, %(contact_id)s,
               %(method)s, %(address)s, %(text)s, 'queued', hotpotato_now(),
               hotpotato_now() + interval '24 hours', hotpotato_now()
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
