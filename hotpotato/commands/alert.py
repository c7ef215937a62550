"""`hotpotato alert …`: what is open, and what somebody does about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import click
import msgspec
from rich.text import Text

from hotpotato.commands.finding import tenant_option, the_person, the_tenant, timezones
from hotpotato.commands.output import (
    Answer,
    Refused,
    Shown,
    examples,
    facts,
    listed,
    moment,
    plain,
    styled,
    table,
)
from hotpotato.commands.session import in_transaction
from hotpotato.commands.telling import message_document, told_history, told_messages
from hotpotato.commands.values import LENGTH_OR_FOR_EVER, NAME, author
from hotpotato.store import acknowledging, stories
from hotpotato.store.acknowledging import Shown as Alert
from hotpotato.store.database import Transaction
from hotpotato.vocabulary import AlertStatus

_OPEN = (AlertStatus.TRIGGERED, AlertStatus.ACKNOWLEDGED)
_MOST_LINES = 1000
_LONGEST_NOTE = 4000

_by = click.option(
    "--by", type=NAME, metavar="USER", help="In this person's name, and not yours at the console."
)
_which = click.argument("which", metavar="ID|CODE")


@click.group(
    epilog=examples(
        "hotpotato alert list",
        "hotpotato alert show KWT",
        "hotpotato alert ack KWT --for 2h --by Anna",
        "hotpotato alert ack 17 --for forever",
        'hotpotato alert note 17 "the disk is ordered"',
        "hotpotato alert resolve 17",
    )
)
def alert() -> None:
    """Alerts: what is open, who has it, and what is done about it.

    An alert is named by its id, or by the code in its messages; the code of a digest names all the
    alerts in it. With --json a list is printed, since there may be several.
    """


@alert.command("list")
@tenant_option
@click.option(
    "--status",
    type=click.Choice(["open", *map(str, AlertStatus), "all"]),
    default="open",
    show_default=True,
    help="Which; open: triggered or acknowledged.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="How many, the newest first.",
)
@in_transaction
async def list_(transaction: Transaction, tenant: str | None, status: str, limit: int) -> Answer:
    """List the newest alerts, with the codes that replies name them by."""
    zones = await timezones(transaction, tenant)
    statuses = {"open": _OPEN, "all": tuple(AlertStatus)}.get(status)
    found = await acknowledging.search(
        transaction, statuses=statuses or (AlertStatus(status),), most=limit, tenant=tenant
    )
    several = len({each.tenant for each in found}) > 1
    rows: list[list[str | Text]] = [
        [
            str(each.id),
            each.code or "",
            moment(each.opened_at, zones[each.tenant]),
            *([each.tenant] if several else []),
            _name(each),
            styled(each.status),
            plain(each.acknowledged_by or "") if each.status is AlertStatus.ACKNOWLEDGED else "",
        ]
        for each in found
    ]
    columns = ["ID", "CODE", "OPENED", *(["TENANT"] if several else []), "ALERT", "STATUS", "BY"]
    return Answer(
        [_document(each) for each in found],
        [table(columns, rows, whole=("ID", "CODE", "OPENED")) if rows else "No such alert."],
    )


@alert.command("show")
@_which
@in_transaction
async def show(transaction: Transaction, which: str) -> Answer:
    """Show an alert: where it stands, its messages, and its history."""
    documents = []
    shown: list[Shown] = []
    for each in await _the_alerts(transaction, which):
        zone = (await the_tenant(transaction, each.tenant)).timezone
        messages = await stories.messages_of_alert(transaction, each.id)
        history = await stories.newest_of_alert(transaction, each.id, _MOST_LINES)
        documents.append(
            {
                **_document(each),
                "messages": [message_document(message) for message in messages],
                "history": history,
            }
        )
        shown += [
            *([""] if shown else []),
            Text.assemble(f"Alert {each.id}: ", (_name(each), "bold")),
            _facts(each, zone),
            *told_messages(messages, zone),
            *told_history(history, zone),
        ]
    return Answer(documents, shown)


@alert.command("ack")
@_which
@click.option(
    "--for",
    "length",
    type=LENGTH_OR_FOR_EVER,
    metavar="TIME",
    help='How long: 45m, 2h, or "forever"; by default as long as the tenant\'s policy says.',
)
@_by
@in_transaction
async def ack(transaction: Transaction, which: str, length: float | None, by: str | None) -> Answer:
    """Acknowledge an alert: nobody is paged for it until that runs out or its state changes.

    Who has acknowledged it may do so again, which renews it.
    """

    async def acknowledge(found: Sequence[int], who: str, person_id: int | None) -> list[int]:
        return await acknowledging.acknowledge(transaction, found, who, person_id, length)

    return await _done(transaction, which, by, acknowledge, "acknowledged")


@alert.command("resolve")
@_which
@_by
@in_transaction
async def resolve(transaction: Transaction, which: str, by: str | None) -> Answer:
    """Call an alert over. Is the problem still there, its next notification opens another."""

    async def over(found: Sequence[int], who: str, person_id: int | None) -> list[int]:
        return await acknowledging.resolve(transaction, found, who)

    return await _done(transaction, which, by, over, "resolved")


@alert.command("note")
@_which
@click.argument("text")
@_by
@in_transaction
async def note(transaction: Transaction, which: str, text: str, by: str | None) -> Answer:
    """Keep what you have to say about an alert in its history."""
    text = plain(text).strip()
    if not text or len(text) > _LONGEST_NOTE:
        raise Refused(f"a note has 1 to {_LONGEST_NOTE} characters")
    found = await _the_alerts(transaction, which)
    home = await the_tenant(transaction, found[0].tenant)
    who, _ = await _who(transaction, by, home.name)
    for each in found:
        await acknowledging.note(transaction, home.id, each.id, who, text)
    return Answer([_document(each) for each in found], [f"Noted for {_names(found)}."])


# --- the parts


async def _the_alerts(transaction: Transaction, which: str) -> list[Alert]:
    """The alert of an id, or those of a code: never none, and all of one tenant. Raises Refused."""
    if which.isascii() and which.isdigit():
        numbers = [int(which)] if len(which) < 19 else []
    else:
        numbers = await acknowledging.coded(transaction, plain(which).strip().upper())
    found = await acknowledging.known(transaction, numbers)
    if not found:
        raise Refused(f"there is no alert {which!a}: hotpotato alert list")
    return found


async def _who(transaction: Transaction, by: str | None, tenant: str) -> tuple[str, int | None]:
    """In whose name it is done, and the person's id if it is one of the tenant's."""
    if by is None:
        return f"{author()} (at the console)", None
    person = await the_person(transaction, by, tenant)
    return person.name, person.id


async def _done(
    transaction: Transaction,
    which: str,
    by: str | None,
    do: Callable[[Sequence[int], str, int | None], Awaitable[list[int]]],
    done: str,
) -> Answer:
    """Do it to the alerts, and say for which it was done, and what hindered the others."""
    before = await _the_alerts(transaction, which)
    who, person_id = await _who(transaction, by, before[0].tenant)
    changed = set(await do([each.id for each in before], who, person_id))
    now = await _the_alerts(transaction, which)
    zone = (await the_tenant(transaction, now[0].tenant)).timezone
    hindered = [_hindrance(each) for each in now if each.id not in changed]
    lines = [_now(each, done, zone) for each in now if each.id in changed]
    if not changed:
        raise Refused(listed(hindered))
    return Answer([_document(each) for each in now], [*lines, *hindered])


def _now(alert: Alert, done: str, zone: str) -> str:
    until = ""
    if alert.status is AlertStatus.ACKNOWLEDGED:
        until = ", and that does not run out"
        if alert.acknowledged_until is not None:
            until = f" until {moment(alert.acknowledged_until, zone)}"
    return f"Alert {alert.id}, {_name(alert)}, is {done}{until}."


def _hindrance(alert: Alert) -> str:
    if alert.status is AlertStatus.RESOLVED:
        return f"alert {alert.id}, {_name(alert)}, is over already"
    by = plain(alert.acknowledged_by or "somebody")
    return f"alert {alert.id}, {_name(alert)}, was acknowledged already, by {by}"


def _facts(alert: Alert, zone: str) -> Shown:
    acknowledged = alert.status is AlertStatus.ACKNOWLEDGED
    until = moment(alert.acknowledged_until, zone) or "it does not run out"
    return facts(
        [
            ("tenant", alert.tenant),
            ("status", styled(alert.status)),
            ("code", alert.code),
            ("opened", moment(alert.opened_at, zone)),
            ("output", alert.output),
            ("acknowledged by", alert.acknowledged_by if acknowledged else None),
            ("until", until if acknowledged else None),
            ("over since", moment(alert.resolved_at, zone) or None),
            ("resolved by", alert.resolved_by),
            ("looked at next", moment(alert.next_look_at, zone) or None),
        ]
    )


def _names(found: Sequence[Alert]) -> str:
    return listed([f"alert {each.id}, {_name(each)}" for each in found])


def _name(alert: Alert) -> str:
    service = f"/{alert.service_name}" if alert.service_name else ""
    return plain(f"{alert.state} {alert.hostname}{service}")


def _document(alert: Alert) -> dict[str, object]:
    return msgspec.structs.asdict(alert)
