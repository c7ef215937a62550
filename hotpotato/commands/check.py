"""`hotpotato check`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from hotpotato import cover, settings
from hotpotato.commands.checking import checked_senders, readable_secrets
from hotpotato.commands.output import Answer, Refused, json_option, moment, plain, show
from hotpotato.commands.session import on_reactor, opened, refusals, served
from hotpotato.senders.registry import Registry
from hotpotato.store import operations, people, schema, senders, servers
from hotpotato.store.database import Database, Transaction

OVERDUE = 60.0
"""Seconds after which a message that waits shows that no daemon sends."""


class Problem(msgspec.Struct, frozen=True):
    """Something that is wrong: `about` is the part of Hot Potato that it is about."""

    about: str
    problem: str


@click.command()
@json_option
@click.pass_obj
def check(config: Path, as_json: bool) -> None:
    """Look for everything that is wrong, before 3 a.m. finds it.

    The configuration, the files with secrets, the senders, the database and its schema, whether
    somebody is on call for the next 14 days and can be reached, steps of a policy that find nobody,
    phones that said stop, and servers that nobody would miss. Prints what is wrong and exits with
    status 1, or says that all is well. It changes nothing and sends nothing.
    """
    problems: list[Problem] = []
    with _noting(problems, "configuration"):
        configured = settings.load(config)
        problems += [Problem("secrets", each) for each in readable_secrets(configured)]
        with _noting(problems, "database"), served(configured) as url:
            on_reactor(lambda reactor: _everything(configured, url, reactor, problems))
    show(_answer(problems), as_json)


@contextlib.contextmanager
def _noting(problems: list[Problem], about: str) -> Iterator[None]:
    """Note what can be expected to go wrong within, and go on behind it."""
    try:
        with refusals():
            yield
    except Refused as refused:
        problems.append(Problem(about, refused.message))


async def _everything(
    configured: settings.Settings, url: str, reactor: Any, problems: list[Problem]
) -> None:
    with _noting(problems, "senders"):
        problems += await _senders(configured, reactor)
    with _noting(problems, "database"):
        async with opened(url, reactor, configured.database.password) as database:
            problems += await _database(database)


async def _senders(configured: settings.Settings, reactor: Any) -> list[Problem]:
    checked = await checked_senders(configured, Registry.discover(), reactor)
    if not checked:
        return [Problem("senders", "no sender is configured: nobody can be told anything")]
    problems = []
    for sender in checked:
        about = f"senders.{sender.configured.name}"
        problems += [Problem(about, each) for each in sender.problems]
    if not any("sms" in sender.before for sender in checked):
        problems.append(Problem("senders", "none serves sms: no phone can be reached"))
    return problems


async def _database(database: Database) -> list[Problem]:
    await schema.check(database)
    return await database.transaction(_content)


async def _content(transaction: Transaction) -> list[Problem]:
    tenants = await people.tenants(transaction)
    if not tenants:
        return [Problem("tenants", "there is none yet: hotpotato tenant add NAME")]
    problems = [
        Problem(each.about, f"{tenant.name}: {each.sentence}")
        for tenant in tenants
        for each in await cover.lacks(transaction, tenant)
    ]
    if not await servers.find(transaction):
        problems.append(Problem("servers", "there is none yet: hotpotato server add NAME"))
    problems += [
        Problem(f"senders.{sick.name}", f"is sick since {moment(sick.since, 'UTC')}: {sick.why}")
        for sick in await senders.sick(transaction)
    ]
    counts = await operations.counts(transaction)
    if counts["messages_overdue_seconds"] > OVERDUE:
        problems.append(
            Problem(
                "messages",
                f"the oldest that waits is overdue by {counts['messages_overdue_seconds']:.0f} s:"
                " does a daemon run?",
            )
        )
    if counts["undelivered_seconds"] > OVERDUE:
        problems.append(
            Problem(
                "senders",
                f"nothing could be delivered for {counts['undelivered_seconds']:.0f} s:"
                " hotpotato senders",
            )
        )
    return problems


def _answer(problems: list[Problem]) -> Answer:
    if not problems:
        return Answer({"well": True, "problems": []}, ["all well"])
    count = len(problems)
    return Answer(
        {"well": False, "problems": problems},
        [plain(f"{each.about}: {each.problem}") for each in problems],
        "1 thing is wrong" if count == 1 else f"{count} things are wrong",
    )
