"""`hotpotato why …`: why somebody was told, or had the pager, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import click

from hotpotato.commands.finding import tenant_option, the_person, when
from hotpotato.commands.output import Answer, Refused, Shown, clock, examples, facts, moment, plain
from hotpotato.commands.session import in_transaction
from hotpotato.commands.telling import message_document, told_messages, told_replies
from hotpotato.commands.values import MOMENT, NAME, NUMBER
from hotpotato.duties.policies import policies_of
from hotpotato.rules.policy import outlook
from hotpotato.store import notifications, people, schedules, stories
from hotpotato.store.database import Transaction
from hotpotato.store.notifications import Line, Notification
from hotpotato.store.schedules import Given, Held, Schedule
from hotpotato.store.stories import Standing
from hotpotato.vocabulary import AlertStatus, Effect

_AT_ONCE = "now, as soon as a daemon takes its turn"


class _Forms(click.Group):
    """What follows is `notification ID`, or whatever the form about a person takes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See the class. A user of a form's own name is meant with --user."""
        if not args or args[0] not in (*self.commands, *self.get_help_option_names(ctx)):
            args = ["user", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_Forms,
    epilog=examples(
        "hotpotato why notification 17",
        'hotpotato why Anna --at "2026-12-24 03:00"',
        "hotpotato why Anna",
        "hotpotato why --user notification     # somebody of that name",
    ),
    subcommand_metavar="notification ID | USER [--at TIME]",
)
def why() -> None:
    """Say why: of a notification, whom it was told and what comes next; of a person, the pager."""


@why.command("user")
@click.argument("name", metavar="USER", type=NAME, required=False)
@click.option("--user", "option", type=NAME, help="The same, for names that mean something here.")
@click.option("--at", type=MOMENT, help="When; by default now.")
@tenant_option
@in_transaction
async def user(
    transaction: Transaction,
    name: str | None,
    option: str | None,
    at: datetime | None,
    tenant: str | None,
) -> Answer:
    """Say why a person was, is or will be on call at a time, or why not.

    For each schedule of the person's tenant: the layer or the override that decides, who said so,
    and when. Of the past it tells what was true then, whatever the rota is now.
    """
    if (name is None) == (option is None):
        raise click.UsageError("Say whom: USER or --user USER.")
    person = await the_person(transaction, name or option or "", tenant)
    documents = []
    lines = []
    for known in await schedules.find(transaction, tenant=person.tenant):
        asked = await when(transaction, at, known.timezone)
        document, line = await _held(transaction, known, person.name, asked)
        documents.append(document)
        lines.append(line)
    return Answer(documents, lines)


@why.command("notification")
@click.argument("number", metavar="ID", type=NUMBER)
@in_transaction
async def notification(transaction: Transaction, number: int) -> Answer:
    """Say why a notification was told to whom, when and how, and what would happen next.

    Who was on call then and by which layer or override, what the policy decided, what was held
    back, merged, retried, received and replied.
    """
    found = await notifications.find(transaction, tenant=None, most=1, id=number)
    if not found:
        raise Refused(f"there is no notification {number}")
    told = found[0]
    on_call: list[dict[str, object]] = []
    pagers: list[Shown] = []
    zone = "UTC"
    for known in await schedules.find(transaction, tenant_id=told.tenant_id):
        document, line = await _held(transaction, known, None, told.received_at)
        on_call.append(document)
        pagers.append(line)
        if known.name == "primary":
            zone = known.timezone
    messages = await stories.messages(transaction, told)
    replies = await stories.replies(transaction, told)
    decisions = [
        line for line in await notifications.story(transaction, told) if line.message_id is None
    ]
    standing = None
    if told.alert_id is not None:
        standing = await stories.standing(transaction, told.alert_id)
    announced = await stories.announced(transaction, told.id)
    ahead = "" if standing is None else await _ahead(transaction, told, standing)
    next_, at = next_step(told, standing, announced, zone, ahead)
    return Answer(
        {
            "id": told.id,
            "alert_id": told.alert_id,
            "status": told.status,
            "alert_status": told.alert_status,
            "on_call": on_call,
            "decisions": decisions,
            "messages": [message_document(message) for message in messages],
            "replies": replies,
            "next": {"sentence": next_, "at": at},
        },
        [
            _came_in(told, zone),
            "",
            "Who had the pager",
            *(f"  {plain(str(line))}" for line in pagers),
            *_decided(decisions, zone),
            *(told_messages(messages, zone) if messages else ["", "No message was needed."]),
            *told_replies(replies, zone),
            "",
            "What comes next",
            f"  {next_}",
        ],
    )


def next_step(
    told: Notification,
    standing: Standing | None,
    announced: datetime | None,
    zone: str,
    ahead: str = "",
) -> tuple[str, datetime | None]:
    """What would happen next if nothing else does, as a sentence, and when; None: nothing will.

    `standing` is where the notification's alert stands, `announced` when an announcement is looked
    at again, `ahead` what the policy does with an alert that goes along it.
    """
    if standing is None:
        if announced is not None:
            return (
                f"Whether it has reached somebody is looked at {_at(announced, zone)}.",
                announced,
            )
        return _nothing_more(told), None
    at = standing.due_at
    if standing.status is AlertStatus.RESOLVED:
        by = f", {plain(standing.resolved_by)} said so" if standing.resolved_by else ""
        over = f"The alert is over since {moment(standing.resolved_at, zone)}{by}"
        if at is not None:
            return f"{over}: who was told of it is told of its end {_at(at, zone)}.", at
        return f"{over}: nothing more will be sent.", None
    if standing.status is AlertStatus.ACKNOWLEDGED:
        until = standing.acknowledged_until
        by = plain(standing.acknowledged_by or "Somebody")
        if until is None:
            return f"{by} has acknowledged it: nothing more is sent until its state changes.", None
        return (
            f"{by} has acknowledged it until {moment(until, zone)}: it pages again then, unless"
            " that is renewed or the problem is over."
        ), until
    said = f"{_untaken(standing, zone)} is looked at {_at(at, zone)}."
    if ahead and not standing.silenced and not standing.flapping:
        said += f" As its policy says, {ahead}."
    return said, at


async def _ahead(transaction: Transaction, told: Notification, standing: Standing) -> str:
    """What the policy of the notification's tenant does next with its alert."""
    policy = (await policies_of(transaction, [told.tenant_id]))[told.tenant_id]
    now = await schedules.now(transaction)
    age = 0.0 if standing.place_at is None else (now - standing.place_at).total_seconds()
    names = {each.id: plain(each.name) for each in await people.people(transaction)}
    return outlook(policy, standing.place, age, names)


def _untaken(standing: Standing, zone: str) -> str:
    """How it stands with an alert that nobody has taken: the beginning of a sentence."""
    if standing.silenced:
        return "A silence holds it back; it"
    if standing.flapping:
        return "It comes and goes, so that is told in digests; it"
    if standing.place is None or standing.place_at is None:
        return "Nobody has taken it, and its policy has not begun; it"
    return (
        f"Nobody has taken it; it is {timedelta(seconds=round(standing.place))} along its policy"
        f" since {moment(standing.place_at, zone)}, and"
    )


def _nothing_more(told: Notification) -> str:
    if told.effect == Effect.ANNOUNCE:
        return "Nothing more: somebody was reached, or nobody can be."
    if told.effect == Effect.RECORD:
        return "Nothing: what this event says is recorded only."
    return "Nothing: no alert was open for it."


def _at(moment_: datetime | None, zone: str) -> str:
    return f"next at {moment(moment_, zone)}" if moment_ else _AT_ONCE


def _came_in(told: Notification, zone: str) -> str:
    service = f"/{told.service_name}" if told.service_name else ""
    return plain(
        f"Notification {told.id}: {told.state} {told.hostname}{service} came in from"
        f" {told.server_name or 'Hot Potato itself'} at {moment(told.received_at, zone)}."
    )


def _decided(decisions: Sequence[Line], zone: str) -> list[Shown]:
    if not decisions:
        return []
    rows = ((moment(line.at, zone), line.sentence) for line in decisions)
    return ["", "What was decided and done", facts(rows)]


async def _held(
    transaction: Transaction, known: Schedule, name: str | None, asked: datetime
) -> tuple[dict[str, object], str]:
    """Who had a schedule at a time and by what: for programs, and as a sentence about `name`."""
    found = await schedules.held(
        transaction, asked, asked + timedelta(microseconds=1), schedule_id=known.id
    )
    shift = found[0] if found else None
    given = None if shift is None else await _given(transaction, known, shift, asked)
    document: dict[str, object] = {
        "tenant": known.tenant,
        "schedule": known.name,
        "at": asked,
        "user": shift and shift.person,
        "since": shift and shift.since,
        "until": shift and shift.until,
        "source": shift and shift.source,
        "override": given,
    }
    if name is not None:
        document["on_call"] = shift is not None and shift.person == name
    return document, _line(known, name, asked, shift, given)


async def _given(
    transaction: Transaction, known: Schedule, shift: Held, at: datetime
) -> Given | None:
    """The override that made this shift; None if a layer did."""
    found = await schedules.overrides(transaction, at, at, schedule_id=known.id)
    return next(
        (
            each
            for each in reversed(found)
            if (each.person, each.source) == (shift.person, shift.source)
        ),
        None,
    )


def _line(
    known: Schedule, name: str | None, asked: datetime, shift: Held | None, given: Given | None
) -> str:
    where = f"{known.tenant}/{known.name}"
    at = moment(asked, known.timezone)
    if shift is None:
        nobody = ", so everybody is paged" if known.name == "primary" else ""
        return f"{where}: at {at} nobody is on call{nobody}."
    span = f"from {clock(shift.since, known.timezone)}, {_until(shift, known.timezone)}"
    because = f"by {shift.source}"
    if given is not None:
        because += f", said by {given.author} at {moment(given.created_at, known.timezone)}"
    instead = "" if name is None or shift.person == name else f"not {name} but "
    return f"{where}: at {at} {instead}{shift.person} is on call, {span}, {because}."


def _until(shift: Held, timezone: str) -> str:
    return f"until {clock(shift.until, timezone)}" if shift.until else "until changed"
