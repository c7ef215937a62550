"""How messages, attempts, receipts, replies and history are told, whatever they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from rich.padding import Padding
from rich.text import Text

from hotpotato.commands.output import Shown, facts, listed, moment, plain, styled
from hotpotato.store.notifications import Line
from hotpotato.store.stories import Attempt, Message, Receipt, Reply
from hotpotato.vocabulary import MessageStatus


def told_messages(messages: Sequence[Message], zone: str) -> Iterator[Shown]:
    """Each message with what became of it, attempt by attempt."""
    for message in messages:
        because = f" ({message.because})" if message.because else ""
        yield ""
        yield Text.assemble(
            f"Message {message.id}: {message.kind} to {message.person or 'nobody'},"
            f" {message.address}{because}: ",
            styled(message.status),
        )
        if (way := way_of(message, zone)) is not None:
            yield Padding(Text(way), (0, 0, 0, 2))
        if message.status is not MessageStatus.MERGED:
            words = message.text or "not worded yet"
            yield Padding(Text(plain(words), style="italic"), (0, 0, 0, 4))
        for attempt in message.attempts:
            yield _told_attempt(attempt, zone)


def way_of(message: Message, zone: str) -> str | None:
    """Held, merged, or a digest of others: a sentence; None where nothing of it is so."""
    if message.status is MessageStatus.HELD:
        until = max(filter(None, [message.hold_until, message.next_at]), default=None)
        when = f"until {moment(until, zone)}" if until else "until its contact's pace allows it"
        return f"It is held back {when}, since {moment(message.created_at, zone)}."
    if message.status is MessageStatus.MERGED:
        return f"It is told in message {message.digest_id}, a digest, and goes the way of that."
    if message.tells:
        ids = listed([str(each) for each in message.tells])
        what = "message" if len(message.tells) == 1 else "messages"
        return f"It stands for {what} {ids}.{_cost(message)}"
    if message.released_at is not None and message.released_at > message.created_at:
        return f"It was held back until {moment(message.released_at, zone)}."
    return None


def told_replies(replies: Sequence[Reply], zone: str) -> Iterator[Shown]:
    """What was written back, under a heading; nothing if nothing was."""
    if replies:
        yield ""
        yield "Replies"
        yield facts(
            (moment(reply.received_at, zone), f"{reply.source}: {reply.content}")
            for reply in replies
        )


def told_history(lines: Sequence[Line], zone: str) -> Iterator[Shown]:
    """Lines of history, under a heading."""
    yield ""
    yield "History"
    yield facts(
        (
            moment(line.at, zone),
            line.sentence
            if line.message_id is None
            else f"message {line.message_id}: {line.sentence}",
        )
        for line in lines
    )


def message_document(message: Message) -> dict[str, object]:
    """A message for programs: the person is a user there."""
    fields: dict[str, object] = msgspec.structs.asdict(message)
    fields["user"] = fields.pop("person")
    return fields


def _told_attempt(attempt: Attempt, zone: str) -> Shown:
    outcome = attempt.outcome or "under way"
    return facts(
        [
            (
                f"attempt {attempt.number}",
                f"{moment(attempt.started_at, zone)} by {attempt.sender}",
            ),
            ("outcome", styled(outcome, plain(_outcome(attempt)))),
            ("reference", attempt.reference),
            *(
                ("receipt", f"{moment(receipt.received_at, zone)} {_receipt(receipt)}")
                for receipt in attempt.receipts
            ),
        ]
    )


def _outcome(attempt: Attempt) -> str:
    said = attempt.outcome or "under way"
    if attempt.provider_id is not None:
        said += f", the provider's id is {attempt.provider_id}"
    if attempt.why is not None:
        said += f": {attempt.why}"
    return said


def _receipt(receipt: Receipt) -> str:
    return f"{receipt.status} ({receipt.detail})" if receipt.detail else receipt.status


def _cost(message: Message) -> str:
    if message.segments is None:
        return ""
    saved = len(message.tells) - 1
    return f" {message.segments} SMS instead of {saved + 1} messages or more." if saved else ""
