"""The first phone is off.

Anna has two phones. The first lies in a drawer without power: the provider says so, or it says
nothing at all. The second one rings, at once or after a minute; and only when no phone of hers is
left is it somebody else's turn.
"""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.world import ANNA, BOB, CLEO, World, step

SECOND = "+64211111111"


def paged(world: World) -> list[tuple[str, str]]:
    """The number of each page and what became of it, in order."""
    return world.sql("SELECT address, status FROM message WHERE kind = 'page' ORDER BY id")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("how", ["rejected", "failed", "dead", "expired", "400"])
async def test_a_failure_is_followed_by_her_second_phone_at_once(world: World, how: str) -> None:
    await world.set_numbers("Anna", ANNA, SECOND)
    world.gateway.misbehave(how, number=ANNA)
    await world.notify()
    await world.advance(3, step=0.5)
    assert paged(world) == [(ANNA, "failed"), (SECOND, "delivered")]
    assert "no sign that Anna got it: the next contact is tried" in world.story()
    await world.advance(290, step=10)
    assert len(paged(world)) == 2


@pytest_twisted.ensureDeferred
async def test_so_is_a_minute_without_a_receipt_and_a_late_one_undoes_nothing(
    world: World,
) -> None:
    await world.set_numbers("Anna", ANNA, SECOND)
    world.gateway.misbehave("never", number=ANNA)
    await world.notify()
    await world.advance(59, step=1)
    assert paged(world) == [(ANNA, "sent")]
    await world.advance(3, step=1)
    assert paged(world) == [(ANNA, "sent"), (SECOND, "delivered")]
    (first, _) = world.gateway.messages
    assert await world.gateway.receipt(first.id, "received") == 200
    await world.advance(60, step=10)
    assert paged(world) == [(ANNA, "delivered"), (SECOND, "delivered")]
    await world.reply(ANNA, f"ack {world.code(ANNA)}")
    assert world.alert() == ("acknowledged", "Anna")


@pytest_twisted.ensureDeferred
async def test_when_both_fail_the_next_step_is_taken_now(world: World) -> None:
    """Bob is the secondary, whose turn would be in ten minutes."""
    await world.set_numbers("Anna", ANNA, SECOND)
    await world.put_on_call("Bob", "secondary")
    for number in (ANNA, SECOND):
        world.gateway.misbehave("failed", number=number)
    await world.notify()
    await world.advance(5, step=0.5)
    assert paged(world) == [(ANNA, "failed"), (SECOND, "failed"), (BOB, "delivered")]
    assert "(Anna not reached)" in world.texts(BOB)[0]
    assert world.texts(CLEO) == []
    assert "Anna not reached: Bob paged" in world.story()


@pytest_twisted.ensureDeferred
async def test_without_another_phone_silence_changes_nothing_before_the_next_turn(
    world: World,
) -> None:
    world.gateway.misbehave("never")
    await world.notify()
    await world.advance(299, step=10)
    assert paged(world) == [(ANNA, "sent")]


@pytest_twisted.ensureDeferred
async def test_the_tenant_says_how_long_a_receipt_may_take(world: World) -> None:
    await world.policy(undelivered_after=10)
    await world.set_numbers("Anna", ANNA, SECOND)
    world.gateway.misbehave("never", number=ANNA)
    await world.notify()
    await world.advance(12, step=1)
    assert paged(world) == [(ANNA, "sent"), (SECOND, "delivered")]


@pytest_twisted.ensureDeferred
async def test_a_step_may_ring_all_phones_at_once(world: World) -> None:
    await world.policy(step(0, again=300, all_contacts=True))
    await world.set_numbers("Anna", ANNA, SECOND)
    await world.notify()
    await world.advance(5, step=1)
    assert paged(world) == [(ANNA, "delivered"), (SECOND, "delivered")]


@pytest_twisted.ensureDeferred
async def test_a_phone_that_said_stop_is_passed_over(world: World) -> None:
    await world.set_numbers("Anna", ANNA, SECOND)
    world.sql("UPDATE contact SET stopped_at = hotpotato_now() WHERE address = %s", ANNA)
    await world.notify()
    await world.settle()
    assert paged(world) == [(SECOND, "sent")]


@pytest_twisted.ensureDeferred
async def test_a_digest_that_does_not_arrive_goes_to_the_second_phone_too(world: World) -> None:
    await world.policy(pace_burst=1)
    await world.set_numbers("Anna", ANNA, SECOND)
    await world.notify(hostname="first")
    await world.advance(2, step=1)
    world.gateway.misbehave("failed", number=ANNA)
    for number in range(3):
        await world.notify(hostname=f"db{number}")
    await world.advance(130, step=5)
    names = " ".join(world.texts(SECOND))
    assert all(f"db{number}" in names for number in range(3))
