"""Which silences last now, and who is looked at again when one is added or ended."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest_twisted

from hotpotato.rules.silences import Silence
from hotpotato.store import people, silences
from tests.world import START, World


async def add(world: World, tenant_id: int, since: datetime, until: datetime) -> int:
    async def work(transaction: Any) -> int:
        return await silences.add(
            transaction,
            tenant_id=tenant_id,
            server_id=None,
            host="db*",
            service="Postgres",
            since=since,
            until=until,
            author="Anna",
            reason="new disks",
        )

    number: int = await world.store(work)
    return number


async def active(world: World, *tenants: int) -> dict[int, list[Silence]]:
    found: dict[int, list[Silence]] = await world.store(
        lambda transaction: silences.active(transaction, tenants)
    )
    return found


@pytest_twisted.ensureDeferred
async def test_the_silences_that_last_now_are_found_by_tenant(world: World) -> None:
    hour = timedelta(hours=1)
    other = await world.store(lambda transaction: people.add_tenant(transaction, "beta", "UTC"))
    lasts = await add(world, world.tenant_id, START - hour, START + hour)
    others = await add(world, other, START, START + 2 * hour)
    await add(world, world.tenant_id, START + hour, START + 2 * hour)
    await add(world, world.tenant_id, START - 2 * hour, START)
    assert await active(world, world.tenant_id) == {
        world.tenant_id: [
            Silence(
                id=lasts,
                host="db*",
                service="Postgres",
                server_id=None,
                author="Anna",
                reason="new disks",
                ends_in=3600.0,
            )
        ]
    }
    both = await active(world, world.tenant_id, other)
    assert {tenant: [each.id for each in found] for tenant, found in both.items()} == {
        world.tenant_id: [lasts],
        other: [others],
    }
    assert await active(world) == {}


@pytest_twisted.ensureDeferred
async def test_one_that_is_ended_lasts_no_more_and_cannot_end_twice(world: World) -> None:
    number = await add(world, world.tenant_id, START, START + timedelta(hours=1))
    world.sql("UPDATE test_clock SET now = now + interval '10 minutes'")
    assert list(await active(world, world.tenant_id)) == [world.tenant_id]
    ends = [
        await world.store(lambda transaction: silences.end(transaction, number, "Bob"))
        for _ in range(2)
    ]
    assert ends == [True, False]
    assert await active(world, world.tenant_id) == {}
    assert world.sql("SELECT upper(during) FROM silence") == [(START + timedelta(minutes=10),)]
    assert [line for line in world.story() if "silence" in line] == [
        "Anna silences service Postgres on host db* from 2026-11-23 14:00 until 2026-11-23 15:00"
        " UTC (new disks, by Anna)",
        "Bob ends the silence of service Postgres on host db* from 2026-11-23 14:00 until"
        " 2026-11-23 15:00 UTC (new disks, by Anna)",
    ]
