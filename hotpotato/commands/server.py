"""`hotpotato server …`."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.text import Text

from hotpotato.commands.finding import tenant_option, the_server, the_tenant, timezones
from hotpotato.commands.output import Answer, Shown, examples, moment, styled, table
from hotpotato.commands.session import in_transaction, unless_taken
from hotpotato.commands.values import NAME, TIME_ZONE
from hotpotato.rules import keys
from hotpotato.store import servers
from hotpotato.store.database import Transaction

_SECONDS = click.FloatRange(1, 30 * 86400)
_HEARTBEATS = click.IntRange(1, 1000)
_INTERVAL_HELP = "Seconds between its heartbeats."
_MISSED_HELP = "How many heartbeats may be missed before it counts as silent."
_TIMEZONE_HELP = "The zone of its times that come without an offset; by default the tenant's."


@click.group(
    epilog=examples(
        "hotpotato server add icinga-akl --tenant acme",
        "hotpotato server edit icinga-akl --heartbeat-interval 30 --missed 4",
        "hotpotato server rotate-key icinga-akl",
    )
)
def server() -> None:
    """Monitoring servers, their keys and their heartbeats."""


@server.command("add")
@click.argument("name", type=NAME)
@tenant_option
@click.option(
    "--heartbeat-interval", type=_SECONDS, default=60, show_default=True, help=_INTERVAL_HELP
)
@click.option("--missed", type=_HEARTBEATS, default=3, show_default=True, help=_MISSED_HELP)
@click.option("--timezone", type=TIME_ZONE, help=_TIMEZONE_HELP)
@in_transaction
async def add(
    transaction: Transaction,
    name: str,
    tenant: str | None,
    heartbeat_interval: float,
    missed: int,
    timezone: str | None,
) -> Answer:
    """Make a monitoring server known, and show its API key, this once.

    With the first heartbeat it begins to be watched; before that its silence means nothing.
    """
    home = await the_tenant(transaction, tenant)
    key = keys.new_key()
    with unless_taken(f"there is already a server {name} in tenant {home.name}"):
        server_id = await servers.add(
            transaction,
            tenant_id=home.id,
            name=name,
            digest=keys.key_digest(key),
            heartbeat_interval=heartbeat_interval,
            missed=missed,
            timezone=timezone,
        )
    return Answer(
        {"id": server_id, "name": name, "api_key": key},
        _with_key(f"Server {name} of tenant {home.name} is known.", key),
    )


@server.command("list")
@tenant_option
@in_transaction
async def list_(transaction: Transaction, tenant: str | None) -> Answer:
    """List the monitoring servers, of all tenants or of one."""
    await timezones(transaction, tenant)
    found = await servers.find(transaction, tenant=tenant)
    return Answer(
        [_document(each) for each in found],
        [_table(found) if found else "There is no server yet."],
    )


@server.command("edit")
@click.argument("name", type=NAME)
@tenant_option
@click.option("--name", "new_name", type=NAME, help="Another name.")
@click.option("--heartbeat-interval", type=_SECONDS, help=_INTERVAL_HELP)
@click.option("--missed", type=_HEARTBEATS, help=_MISSED_HELP)
@click.option("--timezone", type=TIME_ZONE, help=_TIMEZONE_HELP)
@in_transaction
async def edit(
    transaction: Transaction,
    name: str,
    tenant: str | None,
    new_name: str | None,
    heartbeat_interval: float | None,
    missed: int | None,
    timezone: str | None,
) -> Answer:
    """Change what is given. A shorter deadline leaves it one interval from now to be heard."""
    if new_name is None and heartbeat_interval is None and missed is None and timezone is None:
        raise click.UsageError(
            "Nothing to change: give --name, --heartbeat-interval, --missed or --timezone."
        )
    known = await the_server(transaction, name, tenant)
    with unless_taken(f"there is already a server {new_name} in tenant {known.tenant}"):
        await servers.edit(
            transaction,
            known.id,
            name=new_name,
            heartbeat_interval=heartbeat_interval,
            missed=missed,
            timezone=timezone,
        )
    changed = await the_server(transaction, new_name or name, known.tenant)
    return Answer(_document(changed), [_table([changed])])


@server.command("disable")
@click.argument("name", type=NAME)
@tenant_option
@in_transaction
async def disable(transaction: Transaction, name: str, tenant: str | None) -> Answer:
    """Refuse a server's key from now on, and watch it no more."""
    known = await the_server(transaction, name, tenant)
    await servers.disable(transaction, known.id)
    return Answer(
        _document(await the_server(transaction, name, known.tenant)),
        [f"Server {name} is disabled: its key is refused, and its silence means nothing."],
    )


@server.command("enable")
@click.argument("name", type=NAME)
@tenant_option
@in_transaction
async def enable(transaction: Transaction, name: str, tenant: str | None) -> Answer:
    """Take a disabled server's requests again."""
    known = await the_server(transaction, name, tenant)
    await servers.enable(transaction, known.id)
    return Answer(
        _document(await the_server(transaction, name, known.tenant)),
        [f"Server {name} is enabled, with the key that it had."],
    )


@server.command("rotate-key")
@click.argument("name", type=NAME)
@tenant_option
@click.option("--revoke-old", is_flag=True, help="End the old key now.")
@in_transaction
async def rotate_key(
    transaction: Transaction, name: str, tenant: str | None, revoke_old: bool
) -> Answer:
    """Give a server a new key, and show it, this once.

    The key that it had lives 7 more days, or ends now with --revoke-old. A key that was
    rotated away before ends now in any case.
    """
    known = await the_server(transaction, name, tenant)
    key = keys.new_key()
    await servers.rotate_key(transaction, known.id, keys.key_digest(key), revoke_old=revoke_old)
    old = "The old one is refused from now on." if revoke_old else "The old one lives 7 more days."
    return Answer({"api_key": key}, _with_key(f"Server {name} has a new key. {old}", key))


def _with_key(sentence: str, key: str) -> list[Shown]:
    return [
        f"{sentence} Its API key, shown this once:",
        "",
        f"    {key}",
        "",
        "On the monitoring server it belongs into /etc/hotpotato-notify.key.",
    ]


def _table(found: Sequence[servers.Server]) -> Shown:
    rows = [
        (
            each.name,
            each.tenant,
            f"{each.missed} × {each.heartbeat_interval:g} s",
            moment(each.last_heartbeat_at, each.timezone) or "never",
            moment(each.key_used_at, each.timezone) or "never",
            _state(each),
        )
        for each in found
    ]
    return table(["SERVER", "TENANT", "HEARTBEATS", "LAST HEARTBEAT", "KEY USED", ""], rows)


def _state(known: servers.Server) -> str | Text:
    if known.disabled_at is not None:
        return styled("disabled")
    if known.silent_since is not None:
        return styled("silent")
    if known.old_key_until is None:
        return ""
    until, used = (
        moment(at, known.timezone) or "never" for at in (known.old_key_until, known.old_key_used_at)
    )
    return f"old key until {until}, used last: {used}"


def _document(known: servers.Server) -> dict[str, object]:
    return {
        "id": known.id,
        "name": known.name,
        "tenant": known.tenant,
        "timezone": known.timezone,
        "heartbeat_interval": known.heartbeat_interval,
        "missed": known.missed,
        "last_heartbeat_at": known.last_heartbeat_at,
        "silent_after": known.silent_after,
        "silent_since": known.silent_since,
        "disabled_at": known.disabled_at,
        "old_key_until": known.old_key_until,
        "key_last_used_at": known.key_used_at,
        "old_key_last_used_at": known.old_key_used_at,
    }
