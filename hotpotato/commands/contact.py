"""`hotpotato contact …`: phones verified, switched off and on, and their pace."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
from twisted.internet.defer import CancelledError
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineOnlyReceiver

from hotpotato import contacts as phones
from hotpotato.commands.finding import tenant_option, the_person, timezones
from hotpotato.commands.output import Answer, Refused, Shown, examples, listed, moment, table
from hotpotato.commands.sendtest import followed, withdraw, wrong_with
from hotpotato.commands.session import Session, in_transaction, with_database
from hotpotato.commands.values import NAME, PHONE_NUMBER, author
from hotpotato.rules import answers, keys
from hotpotato.store import contacts, messages, schema
from hotpotato.store.contacts import Contact
from hotpotato.store.database import Transaction
from hotpotato.vocabulary import MessageKind

_LOOK_EVERY = 0.5

sms_option = click.option(
    "--sms", type=PHONE_NUMBER, help="Which of the user's numbers; needed only if there are more."
)


@click.group(
    epilog=examples(
        "hotpotato contact list Anna",
        "hotpotato contact verify Anna                  # sends a code and asks for it",
        "hotpotato contact verify Anna --code 482913",
        "hotpotato contact stop Anna --sms +64211234567",
        "hotpotato contact pace Anna --burst 3 --every 60 --hourly 20",
    )
)
def contact() -> None:
    """How people are reached: verified or not, switched on or off, at what pace."""


@contact.command("list")
@click.argument("name", metavar="[USER]", type=NAME, required=False)
@tenant_option
@in_transaction
async def list_(transaction: Transaction, name: str | None, tenant: str | None) -> Answer:
    """List the contacts of a person, or of all, in the order in which they are tried."""
    zones = await timezones(transaction, tenant)
    person_id = None if name is None else (await the_person(transaction, name, tenant)).id
    found = await contacts.find(transaction, tenant=tenant, person_id=person_id)
    return Answer([_document(each) for each in found], [_shown(found, zones)])


@contact.command("verify")
@click.argument("name", metavar="USER", type=NAME)
@tenant_option
@sms_option
@click.option("--code", help="The code that came, if it was sent before.")
@with_database
async def verify(
    session: Session, name: str, tenant: str | None, sms: str | None, code: str | None
) -> Answer:
    """Find out whether a phone gets its messages: by a code that is sent to it.

    Without --code, six digits are sent through the real sender, as a page would be. They are good
    for 15 minutes and 5 tries. Who has the phone replies with them, or says them to you: on a
    terminal you are asked for them, and else you give them with --code.
    """
    await schema.check(session.database)
    if code is not None:
        found = await _found(session, name, tenant, sms)
        return await _tried(session, found, code)
    found = await _send(session, name, tenant, sms)
    if sys.stdin.isatty():
        return await _asked(session, found)
    again = f"hotpotato contact verify '{name}' --sms {found.address} --code …"
    return Answer(
        _document(found),
        [f"It arrived at {found.address}. The code in it verifies it, as a reply or with: {again}"],
    )


@contact.command("stop")
@click.argument("name", metavar="USER", type=NAME)
@tenant_option
@sms_option
@in_transaction
async def stop(transaction: Transaction, name: str, tenant: str | None, sms: str | None) -> Answer:
    """Send nothing more to a phone, as its owner does by the SMS "stop". The others are told."""
    known = await _the_contact(transaction, name, tenant, sms)
    switched = await phones.stop(transaction, [known.id], author())
    told = [
        f"{known.address} of {name} is switched off."
        if switched
        else f"{known.address} of {name} was switched off already."
    ]
    if any(map(phones.stranded, switched)):
        told.append(f"{name} is on call and can't be reached: everybody else is paged.")
    return await _changed(transaction, known, " ".join(told))


@contact.command("start")
@click.argument("name", metavar="USER", type=NAME)
@tenant_option
@sms_option
@in_transaction
async def start(transaction: Transaction, name: str, tenant: str | None, sms: str | None) -> Answer:
    """Switch a phone on again, as its owner does by the SMS "start"."""
    known = await _the_contact(transaction, name, tenant, sms)
    switched = await phones.start(transaction, [known.id], author())
    again = "is switched on again" if switched else "was switched on"
    return await _changed(transaction, known, f"{known.address} of {name} {again}.")


@contact.command("pace")
@click.argument("name", metavar="USER", type=NAME)
@tenant_option
@sms_option
@click.option("--burst", type=click.IntRange(1, 1000), help="SMS segments at once.")
@click.option("--every", type=click.FloatRange(1, 86_400), help="Seconds until one more.")
@click.option("--hourly", type=click.IntRange(1, 10_000), help="Segments in any hour.")
@click.option("--default", is_flag=True, help="The tenant's pace again.")
@in_transaction
async def pace(
    transaction: Transaction,
    name: str,
    tenant: str | None,
    sms: str | None,
    burst: int | None,
    every: float | None,
    hourly: int | None,
    default: bool,
) -> Answer:
    """Say how much a phone gets before what waits is merged into one digest.

    What is not given stays as it is.
    """
    given = any(each is not None for each in (burst, every, hourly))
    if given == default:
        raise click.UsageError("Give --burst, --every or --hourly, or else --default.")
    known = await _the_contact(transaction, name, tenant, sms)
    if default:
        await contacts.set_pace(transaction, known.id, None, None, None)
    else:
        await contacts.set_pace(
            transaction,
            known.id,
            known.pace_burst if burst is None else burst,
            known.pace_every if every is None else every,
            known.pace_hourly if hourly is None else hourly,
        )
    changed = await _again(transaction, known)
    return Answer(_document(changed), [f"The pace of {known.address} of {name}: {_pace(changed)}."])


# --- which contact


async def _the_contact(
    transaction: Transaction, name: str, tenant: str | None, sms: str | None
) -> Contact:
    """The person's contact with that number, or their only one. Raises Refused."""
    person = await the_person(transaction, name, tenant)
    found = await contacts.find(transaction, person_id=person.id)
    numbers = [each.address for each in found]
    if not found:
        raise Refused(f"{name} has no phone: hotpotato user edit '{name}' --sms +…")
    if sms is None and len(found) > 1:
        raise Refused(f"{name} has several phones, say which with --sms: {listed(numbers, 'or')}")
    for each in found:
        if sms in (None, each.address):
            return each
    raise Refused(f"{name} has no phone {sms}; there is {listed(numbers)}")


async def _again(transaction: Transaction, known: Contact) -> Contact:
    found = await contacts.find(transaction, person_id=known.person_id)
    for each in found:
        if each.id == known.id:
            return each
    raise Refused(f"{known.address} was taken away from {known.person} meanwhile")


async def _changed(transaction: Transaction, known: Contact, told: str) -> Answer:
    return Answer(_document(await _again(transaction, known)), [told])


async def _found(session: Session, name: str, tenant: str | None, sms: str | None) -> Contact:
    return await session.database.transaction(
        lambda transaction: _the_contact(transaction, name, tenant, sms)
    )


# --- verification


async def _send(session: Session, name: str, tenant: str | None, sms: str | None) -> Contact:
    """Send a code, and wait until it has arrived. Raises Refused if it did not."""
    code = keys.verification_code()

    async def queue(transaction: Transaction) -> tuple[Contact, int]:
        known = await _the_contact(transaction, name, tenant, sms)
        if known.stopped_at is not None:
            raise Refused(
                f"{known.address} is switched off: hotpotato contact start '{name}'"
                f" --sms {known.address}"
            )
        digest = keys.verification_digest(known.id, code)
        await contacts.begin_verification(transaction, known.id, digest)
        message_id = await messages.queue_text(
            transaction,
            kind=MessageKind.VERIFICATION,
            tenant_id=known.tenant_id,
            person_id=known.person_id,
            contact_id=known.id,
            method=known.method,
            address=known.address,
            text=answers.verification(code, name),
        )
        return known, message_id

    known, message_id = await session.database.transaction(queue)
    session.tell(f"queued as message {message_id}, waiting for a daemon to send it")
    try:
        message = await followed(session, message_id)
    except CancelledError:
        await withdraw(session, message_id)
        raise
    if why := wrong_with(message):
        raise Refused(why)
    return known


async def _asked(session: Session, known: Contact) -> Answer:
    """Ask for the code on the terminal, until it is right, or void, or came as a reply."""
    click.echo(
        f"It arrived at {known.address}. What is the code? (Or whoever has the phone replies with"
        " it.)",
        err=True,
    )
    lines = _Lines()
    terminal = StandardIO(lines, reactor=session.reactor)
    try:
        while (typed := await _typed(session, known, lines)) is not None:
            right = await _try(session, known, typed)
            if right is None:
                raise Refused("the code is too old, or was tried too often: send another")
            if right:
                break
            click.echo("That is not the code. Once more:", err=True)
    finally:
        terminal.loseConnection()
    return await _verified(session, known)


async def _typed(session: Session, known: Contact, lines: _Lines) -> str | None:
    """The next line that is typed; None if the phone was verified by a reply meanwhile.

    Raises Refused when nothing more can be typed.
    """
    while not lines.typed:
        if lines.over:
            raise Refused("nothing was typed, it is not verified")
        await deferLater(session.reactor, _LOOK_EVERY)
        now = await session.database.transaction(lambda transaction: _again(transaction, known))
        if now.verifiable_until is None:
            return None
    return lines.typed.pop(0)


class _Lines(LineOnlyReceiver):
    """What is typed, line by line, until it is `over`."""

    delimiter = b"\n"

    def __init__(self) -> None:
        self.typed: list[str] = []
        self.over = False

    def lineReceived(self, line: bytes) -> None:
        """See the base."""
        self.typed.append(line.decode("utf-8", "replace"))

    def connectionLost(self, reason: Any = None) -> None:
        """See the base."""
        self.over = True


async def _tried(session: Session, known: Contact, code: str) -> Answer:
    right = await _try(session, known, code)
    if right is None:
        raise Refused(
            f"{known.address} waits for no code, or it is too old or was tried too often:"
            f" hotpotato contact verify '{known.person}' --sms {known.address}"
        )
    if not right:
        raise Refused("that is not the code")
    return await _verified(session, known)


async def _try(session: Session, known: Contact, code: str) -> bool | None:
    digits = "".join(filter(str.isalnum, code))
    return await session.database.transaction(
        lambda transaction: phones.verify(transaction, [known.id], digits)
    )


async def _verified(session: Session, known: Contact) -> Answer:
    now = await session.database.transaction(lambda transaction: _again(transaction, known))
    if now.verified_at is None:
        raise Refused("it is not verified: the number was taken away and given back meanwhile")
    return Answer(_document(now), [f"{known.address} of {known.person} is verified."])


# --- how contacts are shown


def _shown(found: Sequence[Contact], zones: dict[str, str]) -> Shown:
    if not found:
        return "There is no contact yet."
    rows = [
        (
            each.person,
            each.tenant,
            each.address,
            "off" if each.stopped_at else "verified" if each.verified_at else "not verified",
            moment(each.stopped_at or each.verified_at, zones[each.tenant]),
            _pace(each),
        )
        for each in found
    ]
    return table(["USER", "TENANT", "SMS", "", "SINCE", "PACE"], rows, whole=("SMS",))


def _pace(each: Contact) -> str:
    """«3, then 1 each 60 s, 20 an hour», what differs from the tenant's."""
    parts = [
        f"{each.pace_burst} at once" if each.pace_burst else "",
        f"1 each {each.pace_every:g} s" if each.pace_every else "",
        f"{each.pace_hourly} an hour" if each.pace_hourly else "",
    ]
    return ", ".join(filter(None, parts)) or "the tenant's"


def _document(each: Contact) -> dict[str, object]:
    return {
        "user": each.person,
        "tenant": each.tenant,
        "method": each.method,
        "address": each.address,
        "verified_at": each.verified_at,
        "stopped_at": each.stopped_at,
        "pace": {
            "burst": each.pace_burst,
            "every": each.pace_every,
            "hourly": each.pace_hourly,
        },
    }
