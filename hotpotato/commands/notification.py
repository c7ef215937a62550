"""`hotpotato notification …`: what came in, and everything that was done about it."""

from __future__ import annotations

import click
import msgspec
from rich.text import Text

from hotpotato.commands.finding import tenant_option, timezones
from hotpotato.commands.output import (
    Answer,
    Refused,
    Shown,
    examples,
    facts,
    moment,
    plain,
    styled,
    table,
)
from hotpotato.commands.session import in_transaction
from hotpotato.commands.telling import (
    message_document,
    told_history,
    told_messages,
    told_replies,
)
from hotpotato.commands.values import NUMBER
from hotpotato.store import notifications, stories
from hotpotato.store.database import Transaction
from hotpotato.store.notifications import Notification


@click.group(
    epilog=examples(
        "hotpotato notification list --limit 50",
        "hotpotato notification show 4711",
    )
)
def notification() -> None:
    """Notifications, and what became of them."""


@notification.command("list")
@tenant_option
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="How many, the newest first.",
)
@in_transaction
async def list_(transaction: Transaction, tenant: str | None, limit: int) -> Answer:
    """List the newest notifications, and how far they got.

    STATUS is the furthest that any message for it got; none: it needs none.
    """
    zones = await timezones(transaction, tenant)
    found = await notifications.find(transaction, tenant=tenant, most=limit)
    several = len({each.tenant for each in found}) > 1
    rows: list[list[str | Text]] = [
        [
            str(each.id),
            moment(each.received_at, zones[each.tenant]),
            *([each.tenant] if several else []),
            f"{plain(each.state)} {_subject(each)}",
            styled(each.status),
            styled(each.alert_status or ""),
        ]
        for each in found
    ]
    tenants = ["TENANT"] if several else []
    columns = ["ID", "RECEIVED", *tenants, "NOTIFICATION", "STATUS", "ALERT"]
    return Answer(
        [_document(each) for each in found],
        [table(columns, rows, whole=("ID", "RECEIVED")) if rows else "No notification came yet."],
    )


@notification.command("show")
@click.argument("number", metavar="ID", type=NUMBER)
@in_transaction
async def show(transaction: Transaction, number: int) -> Answer:
    """Tell the whole story of one notification.

    Who was on call, every message with every attempt and its receipts, the replies, and each
    decision with its reason. Where others joined its alert later, their messages are told too.
    """
    found = await notifications.find(transaction, tenant=None, most=1, id=number)
    if not found:
        raise Refused(f"there is no notification {number}")
    told = found[0]
    zone = (await timezones(transaction, told.tenant))[told.tenant]
    messages = await stories.messages(transaction, told)
    replies = await stories.replies(transaction, told)
    history = await notifications.story(transaction, told)
    return Answer(
        {
            **_document(told),
            "messages": [message_document(message) for message in messages],
            "replies": replies,
            "history": history,
        },
        [
            _heading(told),
            _facts(told, zone),
            *told_messages(messages, zone),
            *told_replies(replies, zone),
            *told_history(history, zone),
        ],
    )


def _heading(told: Notification) -> Text:
    return Text.assemble(
        f"Notification {told.id}: ", (f"{plain(told.state)} {_subject(told)}", "bold")
    )


def _facts(told: Notification, zone: str) -> Shown:
    return facts(
        [
            ("tenant", told.tenant),
            ("server", told.server_name or "Hot Potato itself"),
            ("received", moment(told.received_at, zone)),
            ("its clock said", moment(told.sent_at, zone) or None),
            ("event", told.event),
            ("late", "yes: a newer state was told already" if told.late else None),
            ("display name", told.display_name),
            ("trouble code", told.trouble_code),
            ("output", told.output),
            ("author", told.author),
            ("comment", told.comment),
            ("number", told.number),
            ("remark", told.remark),
            ("on call", told.person or "nobody"),
            ("status", styled(told.status)),
            ("alert", None if told.alert_id is None else _alert(told)),
        ]
    )


def _alert(told: Notification) -> Text:
    return Text.assemble(f"{told.alert_id}, ", styled(told.alert_status or ""))


def _subject(told: Notification) -> str:
    return plain(told.hostname + (f"/{told.service_name}" if told.service_name else ""))


def _document(told: Notification) -> dict[str, object]:
    fields: dict[str, object] = msgspec.structs.asdict(told)
    fields["user"] = fields.pop("person")
    return fields
