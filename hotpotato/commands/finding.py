"""From the names that people type to the rows they mean; where that isn't clear, the candidates."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, TypeVar

import click

from hotpotato import rota
from hotpotato.commands.output import Refused, listed
from hotpotato.commands.values import NAME, in_zone
from hotpotato.store import people, schedules, servers
from hotpotato.store.database import Transaction

tenant_option = click.option(
    "--tenant", type=NAME, help="The tenant; needed only where it isn't clear."
)


schedule_option = click.option(
    "--schedule", type=NAME, default="primary", show_default=True, help="Which of the schedules."
)


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def tenant(self) -> str: ...


N = TypeVar("N", bound=_Named)


async def the_tenant(transaction: Transaction, name: str | None) -> people.Tenant:
    """The tenant of that name, or the only one there is. Raises Refused."""
    known = await people.tenants(transaction)
    if not known:
        raise Refused("there is no tenant yet: add one with `hotpotato tenant add NAME`")
    if name is None:
        if len(known) > 1:
            raise Refused(
                f"say which tenant with --tenant: {listed([each.name for each in known], 'or')}"
            )
        return known[0]
    for tenant in known:
        if tenant.name == name:
            return tenant
    raise Refused(f"no tenant {name}; {_there_are([each.name for each in known], name)}")


async def the_person(transaction: Transaction, name: str, tenant: str | None) -> people.Person:
    """The person of that name in that tenant, or in any. Raises Refused."""
    await _check_tenant(transaction, tenant)
    found = await people.people(transaction, name=name, tenant=tenant)
    if len(found) == 1:
        return found[0]
    others = found or await people.people(transaction, tenant=tenant)
    raise _unclear("user", name, tenant, found, others)


async def the_server(transaction: Transaction, name: str, tenant: str | None) -> servers.Server:
    """The server of that name in that tenant, or in any. Raises Refused."""
    await _check_tenant(transaction, tenant)
    found = await servers.find(transaction, name=name, tenant=tenant)
    if len(found) == 1:
        return found[0]
    others = found or await servers.find(transaction, tenant=tenant)
    raise _unclear("server", name, tenant, found, others)


async def the_schedule(
    transaction: Transaction, name: str, tenant: str | None
) -> schedules.Schedule:
    """The schedule of that name in that tenant, or in the only one there is. Raises Refused."""
    home = await the_tenant(transaction, tenant)
    found = await schedules.find(transaction, tenant=home.name)
    for schedule in found:
        if schedule.name == name:
            return schedule
    names = [each.name for each in found]
    raise Refused(f"no schedule {name} in tenant {home.name}; {_there_are(names, name)}")


async def when(transaction: Transaction, at: datetime | None, timezone: str) -> datetime:
    """The moment that was typed, in that zone, or now. Raises Refused if no shift is known yet."""
    now = await schedules.now(transaction)
    moment = in_zone(at, timezone) if at else now
    if moment > now + rota.AHEAD:
        raise Refused(f"shifts are written {rota.AHEAD.days} days ahead, and not that far")
    return moment


async def timezones(transaction: Transaction, tenant: str | None = None) -> dict[str, str]:
    """The time zone of each tenant, or of the one. Raises Refused if there is none of that name."""
    await _check_tenant(transaction, tenant)
    return {each.name: each.timezone for each in await people.tenants(transaction, tenant)}


async def _check_tenant(transaction: Transaction, name: str | None) -> None:
    if name is not None:
        await the_tenant(transaction, name)


def _unclear(
    kind: str, name: str, tenant: str | None, found: Sequence[N], others: Sequence[N]
) -> Refused:
    if found:
        tenants = listed([each.tenant for each in found])
        return Refused(f"{kind} {name} is in the tenants {tenants}: say which with --tenant")
    where = "" if tenant is None else f" in tenant {tenant}"
    return Refused(f"no {kind} {name}{where}; {_there_are([each.name for each in others], name)}")


def _there_are(names: Sequence[str], wanted: str) -> str:
    """«there are A and B», those first that look like what was wanted."""
    if not names:
        return "there are none yet"
    different = sorted(set(names))
    near = difflib.get_close_matches(wanted, different)
    ordered = near + [name for name in different if name not in near]
    return f"there {'is' if len(ordered) == 1 else 'are'} {listed(ordered)}"
