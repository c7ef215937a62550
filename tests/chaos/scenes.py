"""Scenes: a little work of every kind, in which a daemon may die at any moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hotpotato.rules import keys
from tests.chaos.house import DORA, SECOND, House
from tests.world import ANNA, BOB

Scene = Callable[[House], Awaitable[None]]


async def page(house: House) -> None:
    """A problem is told, and its receipts come."""
    await house.tells()
    house.expect(ANNA, "CRITICAL")
    await house.passes(2)


async def page_and_end(house: House) -> None:
    """So is its end."""
    await house.tells()
    house.expect(ANNA, "CRITICAL")
    await house.told()
    await house.tells("OK")
    house.expect(ANNA, "OK")


async def reply(house: House) -> None:
    """Anna acknowledges."""
    await house.tells()
    house.expect(ANNA, "CRITICAL")
    await house.told()
    await house.replies(ANNA, f"ack {house.code(ANNA)}")
    house.expect(ANNA, "Acknowledged")


async def several(house: House) -> None:
    """Several problems come in together."""
    for number in range(3):
        host = f"{house.host}-{number}"
        await house.tells(host=host)
        house.expect(ANNA, "CRITICAL", host)


async def second_phone(house: House) -> None:
    """Anna's first phone is dead, so the second one rings."""
    house.gateway.misbehave("failed", number=ANNA)
    await house.tells()
    house.expect(ANNA, "CRITICAL")
    house.expect(SECOND, "CRITICAL")
    await house.told(within=30)


async def next_person(house: House) -> None:
    """Anna does not answer, so it is Bob's turn; and both are told of the end."""
    await house.tells()
    house.expect(ANNA, "CRITICAL")
    await house.passes(42)
    house.expect(BOB, "CRITICAL")
    await house.told()
    await house.tells("OK")
    house.expect(ANNA, "OK")
    house.expect(BOB, "OK")


async def digest(house: House) -> None:
    """What is more than Dora's phone is sent at once comes in a digest."""
    for number in range(3):
        host = f"{house.host}-{number}"
        await house.tells(host=host, key=house.slow_key)
        house.expect(DORA, "", host)
    await house.told(within=45)


async def silence(house: House) -> None:
    """A monitoring server falls silent, and is heard again."""
    key = keys.new_key()
    server = f"beats-{house.host}"
    house.sql(
        "INSERT INTO server (tenant_id, name, key_digest, heartbeat_interval, missed)"
        " VALUES (%s, %s, %s, interval '5 s', 2)",
        house.tenant_id,
        server,
        keys.key_digest(key),
    )
    await house.beats(key)
    house.expect(ANNA, "SILENT", server)
    await house.passes(15, step=5)
    await house.told(within=45)
    await house.beats(key)
    house.expect(ANNA, "OK", server)


SCENES: dict[str, Scene] = {
    "page": page,
    "end": page_and_end,
    "reply": reply,
    "several": several,
    "second-phone": second_phone,
    "next-person": next_person,
    "digest": digest,
    "silence": silence,
}


async def play(house: House, name: str) -> None:
    """Play a scene from its beginning to its end."""
    house.begin(name)
    await SCENES[name](house)
    await house.end()
