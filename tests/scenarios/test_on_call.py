"""Who has the pager, and what is remembered of it."""

from __future__ import annotations

import pytest
import pytest_twisted

from hotpotato import rota
from hotpotato.store import people
from hotpotato.store.database import StatementRefused, Transaction
from tests.world import ANNA, BOB, World


def shifts(world: World) -> list[tuple[object, ...]]:
    """The tenant's shifts: (person, seconds from the first one's begin to its begin and end)."""
    return world.sql(
        "SELECT person.name, extract(epoch FROM lower(during) - min(lower(during)) OVER ())::int,"
        "       extract(epoch FROM upper(during) - min(lower(during)) OVER ())::int"
        "  FROM shift JOIN person ON person.id = person_id ORDER BY during"
    )


@pytest_twisted.ensureDeferred
async def test_the_pager_goes_from_hand_to_hand_and_what_was_stays_a_record(world: World) -> None:
    await world.advance(3600, step=3600)
    await world.put_on_call("Bob")
    await world.advance(3600, step=3600)
    await world.put_on_call(None)
    await world.advance(3600, step=3600)
    await world.put_on_call("Anna")
    assert shifts(world) == [("Anna", 0, 3600), ("Bob", 3600, 7200), ("Anna", 10800, None)]


@pytest_twisted.ensureDeferred
async def test_two_changes_in_one_moment_leave_the_last(world: World) -> None:
    await world.advance(60, step=60)
    await world.put_on_call("Bob")
    await world.put_on_call("Cleo")
    assert shifts(world) == [("Anna", 0, 60), ("Cleo", 60, None)]


@pytest_twisted.ensureDeferred
async def test_what_was_planned_is_dropped_by_a_change_by_hand(world: World) -> None:
    world.sql("UPDATE shift SET during = tstzrange(lower(during), lower(during) + interval '1 h')")
    world.sql(
        "INSERT INTO shift (tenant_id, schedule_id, person_id, during, source)"
        " SELECT tenant_id, schedule_id, %s, tstzrange(upper(during), NULL), 'a test' FROM shift",
        world.person("Bob"),
    )
    await world.advance(60, step=60)
    await world.put_on_call("Cleo")
    assert shifts(world) == [("Anna", 0, 60), ("Cleo", 60, None)]


@pytest_twisted.ensureDeferred
async def test_two_people_cannot_hold_one_schedule(world: World) -> None:
    """Whatever a program does wrong, the database refuses it."""

    async def work(transaction: Transaction) -> None:
        await transaction.execute(
            "INSERT INTO shift (tenant_id, schedule_id, person_id, during, source)"
            " SELECT tenant_id, schedule_id, %s, during, 'a test' FROM shift",
            [world.person("Bob")],
        )

    with pytest.raises(StatementRefused) as refused:
        await world.store(work)
    assert refused.value.sqlstate == "23P01"


@pytest_twisted.ensureDeferred
async def test_a_person_of_another_tenant_cannot_have_the_pager(world: World) -> None:
    async def work(transaction: Transaction) -> None:
        other = await people.add_tenant(transaction, "other", "UTC")
        zoe = await people.add_person(transaction, other, "Zoe", [("sms", "+64211111111")])
        await rota.set_on_call(transaction, world.tenant_id, zoe)

    with pytest.raises(StatementRefused) as refused:
        await world.store(work)
    assert refused.value.sqlstate == "23503"


@pytest_twisted.ensureDeferred
async def test_who_is_on_call_is_shown(world: World) -> None:
    async def look(transaction: Transaction) -> list[people.OnCall]:
        return await people.on_call(transaction, "acme")

    since = world.now
    (shown,) = await world.store(look)
    assert (shown.person, shown.since, shown.until) == ("Anna", since, None)
    await world.put_on_call(None)
    (shown,) = await world.store(look)
    assert (shown.schedule, shown.person) == ("primary", None)


@pytest_twisted.ensureDeferred
async def test_a_change_counts_for_the_next_notification(world: World) -> None:
    first = await world.notify(service_name="one")
    await world.settle()
    await world.put_on_call("Bob")
    # Else Bob is told of both in one text: what he takes over waits to be told together.
    await world.settle()
    second = await world.notify(service_name="two")
    await world.settle()
    assert (first["user_id"], second["user_id"]) == (world.person("Anna"), world.person("Bob"))
    assert [text.split()[1] for text in world.texts(ANNA)] == ["db1/one"]
    assert any(text.startswith("CRITICAL db1/two") for text in world.texts(BOB))


@pytest_twisted.ensureDeferred
async def test_a_change_counts_for_the_next_page(world: World) -> None:
    await world.notify()
    await world.advance(240, step=60)
    await world.put_on_call("Bob")
    await world.advance(60, step=60)
    assert len(world.texts(ANNA)) == 1
    assert [text.split()[0] for text in world.texts(BOB)] == ["CRITICAL", "STILL"]
    assert "on call (primary): Bob paged again, since nobody has acknowledged" in world.story()


@pytest_twisted.ensureDeferred
async def test_who_hands_the_pager_on_is_answered_about_their_own_page(world: World) -> None:
    """Anna was paged and gave the pager to Bob; her acknowledgement counts, and Bob is told."""
    await world.policy(acknowledged_for=0)
    await world.notify()
    await world.settle()
    await world.put_on_call("Bob")
    await world.settle()
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.alert() == ("acknowledged", "Anna")
    await world.advance(3600, step=60)
    assert [text.splitlines()[0] for text in world.texts(BOB)] == [
        "CRITICAL db1/Postgres (you have the pager now)",
        "Anna has acknowledged CRITICAL db1/Postgres",
    ]


@pytest_twisted.ensureDeferred
async def test_the_first_contact_is_paged_as_it_is_at_the_time(world: World) -> None:
    async def change(transaction: Transaction) -> None:
        await people.set_contacts(
            transaction,
            world.tenant_id,
            world.person("Anna"),
            [("sms", "+64211111111"), ("sms", ANNA)],
        )

    await world.notify()
    await world.settle()
    await world.store(change)
    await world.advance(300, step=60)
    assert len(world.texts(ANNA)) == len(world.texts("+64211111111")) == 1


@pytest_twisted.ensureDeferred
async def test_a_disabled_person_can_be_enabled_again(world: World) -> None:
    async def disable(transaction: Transaction) -> list[rota.Written]:
        return await rota.disable(transaction, world.person("Bob"))

    async def enable(transaction: Transaction) -> list[people.Person]:
        await rota.enable(transaction, world.person("Bob"))
        return await people.people(transaction, name="Bob")

    assert await world.store(disable) == []  # he did not have the pager
    (bob,) = await world.store(enable)
    assert bob.disabled_at is None
    assert bob.contacts == (("sms", BOB),)
