"""`hotpotato send-test`."""

from __future__ import annotations

from collections.abc import Callable

import click
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from hotpotato.commands.finding import tenant_option, the_person
from hotpotato.commands.output import Answer, Refused, plain
from hotpotato.commands.session import Session, with_database
from hotpotato.commands.values import NAME
from hotpotato.rules import text
from hotpotato.store import messages, people, schema, stories
from hotpotato.store.database import Transaction
from hotpotato.vocabulary import MessageKind, MessageStatus, Outcome

TAKEN_WITHIN = 15.0
"""Seconds within which a daemon that runs begins with the message."""

RECEIPT_WITHIN = 60.0
"""Seconds that the command waits for the end."""

_LOOK_EVERY = 0.5
_FINAL = (MessageStatus.DELIVERED, MessageStatus.FAILED, MessageStatus.CANCELLED)


@click.command("send-test")
@click.argument("name", metavar="USER", type=NAME)
@tenant_option
@with_database
async def send_test(session: Session, name: str, tenant: str | None) -> Answer:
    """Send a person a real message, and wait for its receipt.

    It goes to the first phone of USER through the real sender, as a page would, sent by the daemon
    that runs on this database. Exit status 0 means that the provider says it arrived. What no
    daemon has taken after 15 seconds, or when you press Ctrl-C, is withdrawn; after 60 seconds the
    command waits no longer.
    """
    await schema.check(session.database)
    message_id = await session.database.transaction(
        lambda transaction: _queue(transaction, name, tenant)
    )
    session.tell(f"queued as message {message_id}, waiting for a daemon to send it")
    started = session.reactor.seconds()
    try:
        message = await followed(session, message_id)
    except CancelledError:
        await withdraw(session, message_id)
        raise
    wrong = wrong_with(message)
    seconds = session.reactor.seconds() - started
    arrived = f"It arrived at {message.address}, {seconds:.0f} s after it was queued."
    document = {
        "message_id": message.id,
        "status": message.status,
        "address": message.address,
        "text": message.text,
        "attempts": message.attempts,
    }
    return Answer(document, [] if wrong else [arrived], wrong)


async def _queue(transaction: Transaction, name: str, tenant: str | None) -> int:
    person = await the_person(transaction, name, tenant)
    if person.disabled_at is not None:
        raise Refused(f"{name} is disabled and can't be paged: hotpotato user enable '{name}'")
    contact = await people.first_contact(transaction, person.id)
    if contact is None:
        raise Refused(f"{name} has no phone that is on: hotpotato contact list '{name}'")
    return await messages.queue_text(
        transaction,
        kind=MessageKind.TEST,
        tenant_id=person.tenant_id,
        person_id=person.id,
        contact_id=contact.id,
        method=contact.method,
        address=contact.address,
        text=text.fit(
            "Test message from Hot Potato to ",
            name,
            ". Nothing is wrong, no answer is needed.",
            1,
        ),
    )


async def followed(session: Session, message_id: int) -> stories.Message:
    """Tell what happens to the message, and return it when that is over or takes too long."""
    said = _Progress(session.tell)
    started = session.reactor.seconds()
    while True:
        await deferLater(session.reactor, _LOOK_EVERY)
        message = await _look(session, message_id)
        said.tell(message)
        if message.status in _FINAL:
            return message
        patience = RECEIPT_WITHIN if message.attempts else TAKEN_WITHIN
        if session.reactor.seconds() - started > patience:
            await withdraw(session, message_id)
            return await _look(session, message_id)


async def withdraw(session: Session, message_id: int) -> None:
    """Cancel a message if it still waits."""
    await session.database.transaction(
        lambda transaction: messages.withdraw(transaction, message_id)
    )


async def _look(session: Session, message_id: int) -> stories.Message:
    message = await session.database.transaction(
        lambda transaction: stories.message(transaction, message_id)
    )
    if message is None:
        raise Refused(f"message {message_id} was deleted meanwhile")
    return message


class _Progress:
    """Tells each attempt, outcome and receipt once, when it is seen first."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told: set[object] = set()

    def tell(self, message: stories.Message) -> None:
        for attempt in message.attempts:
            number = f"attempt {attempt.number}"
            self._once((number,), f"{number} is made through {attempt.sender}")
            if attempt.outcome is not None:
                why = f": {plain(attempt.why)}" if attempt.why else ""
                self._once((number, attempt.outcome), f"{number}: {attempt.outcome}{why}")
            for receipt in attempt.receipts:
                self._once((number, receipt), f"{number}: receipt: {plain(receipt.status)}")

    def _once(self, what: object, line: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._tell(line)


def wrong_with(message: stories.Message) -> str | None:
    """Why this was no success, if so."""
    last = message.attempts[-1] if message.attempts else None
    why = f" ({last.why})" if last is not None and last.why else ""
    match message.status:
        case MessageStatus.DELIVERED:
            return None
        case MessageStatus.FAILED:
            words = ", ".join(receipt.status for receipt in last.receipts[-1:]) if last else ""
            return f"it will not arrive{why or f' (the last receipt says {words})'}"
        case MessageStatus.CANCELLED if last is None:
            return (
                f"no daemon took it within {TAKEN_WITHIN:g} s, and it was withdrawn: is one running"
                f" on this database, with a sender for {message.method}?"
            )
        case MessageStatus.CANCELLED:
            return f"it could not be sent within {RECEIPT_WITHIN:g} s and was withdrawn{why}"
        case MessageStatus.SENT:
            return (
                f"the provider took it, but no receipt says within {RECEIPT_WITHIN:g} s that it"
                " arrived: look at the phone, and at where the provider sends its receipts"
            )
        case _:
            unknown = last is not None and last.outcome is Outcome.UNKNOWN
            what = "whether it was sent is unknown" if unknown else "it is still being sent"
            return f"{what} after {RECEIPT_WITHIN:g} s{why}"
