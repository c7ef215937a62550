"""A storm: a switch dies, and three hundred checks with it.

Anna's phone rings at once for the first and worst of them. The rest waits for her phone's pace and
comes together, the worst first, with one code for all. Nothing is dropped, and the history says of
each alert how it was told.
"""

from __future__ import annotations

import re
from itertools import pairwise

import pytest_twisted

from hotpotato.store import acknowledging
from tests.world import ANNA, BOB, World


async def storm(world: World, count: int, state: str = "CRITICAL") -> None:
    """So many alerts in one moment."""
    for number in range(count):
        await world.notify(state, hostname=f"host{number:03}")


def released(world: World) -> list[tuple[str, int, float]]:
    """(kind, segments, seconds since the first) of each message that was let go, in order."""
    return [
        (kind, segments, seconds)
        for kind, segments, seconds in world.sql(
            "SELECT kind, segments,"
            "       extract(epoch FROM released_at - min(released_at) OVER ())::float"
            "  FROM message WHERE released_at IS NOT NULL ORDER BY released_at, id"
        )
    ]


def untold(world: World) -> int:
    """How many alerts are in no message that was let go."""
    ((count,),) = world.sql(
        "SELECT count(*) FROM alert WHERE NOT EXISTS ("
        " SELECT FROM message LEFT JOIN message AS digest ON digest.id = message.digest_id"
        "  WHERE message.alert_id = alert.id"
        "    AND coalesce(digest.released_at, message.released_at) IS NOT NULL)"
    )
    return int(count)


@pytest_twisted.ensureDeferred
async def test_of_three_hundred_alerts(world: World) -> None:
    await storm(world, 300)
    await world.settle()
    first = world.texts(ANNA)
    assert 1 <= len(first) <= 3
    assert all(text.startswith("CRITICAL host") for text in first)
    ((waited,),) = world.sql(
        "SELECT min(extract(epoch FROM message.released_at - notification.received_at))::float"
        "  FROM message JOIN notification ON notification.id = message.notification_id"
    )
    assert waited == 0.0
    assert untold(world) == 300 - len(first)

    await world.advance(125, step=5)
    assert untold(world) == 0
    digest = world.texts(ANNA)[-1]
    assert digest.startswith(f"{300 - len(first)} open: CRITICAL host")
    assert re.search(r"and \d+ more\nReply ack [A-Z]+ for all$", digest)

    await world.advance(1000, step=10)
    # Nobody answers: every five minutes all of them once more, in one text of two segments.
    kinds = [(kind, segments) for kind, segments, _ in released(world)]
    assert kinds == [("page", 1)] * len(first) + [("digest", 1)] + [("digest", 2)] * 3
    savings = [line for line in world.story() if " is told in digest " in line]
    assert len([line for line in savings if f"{299 - len(first)} more" in line]) == 300 - len(first)


@pytest_twisted.ensureDeferred
async def test_one_code_takes_all_that_its_digest_told(world: World) -> None:
    await world.policy(pace_burst=1)
    await world.notify(hostname="first")
    await world.settle()
    await storm(world, 20)
    await world.advance(125, step=5)
    code = re.findall(r"Reply ack ([A-Z]+) for all", world.texts(ANNA)[-1])[0]
    taken = await world.store(lambda transaction: acknowledging.coded(transaction, code))
    assert taken == [row[0] for row in world.sql("SELECT id FROM alert ORDER BY id")][1:]


@pytest_twisted.ensureDeferred
async def test_the_worst_goes_first_and_is_named_first(world: World) -> None:
    await world.policy(pace_burst=1)
    world.freeze()
    await storm(world, 5, "WARNING")
    await world.notify("CRITICAL", hostname="core")
    world.thaw()
    await world.settle()
    assert [text.split()[1] for text in world.texts(ANNA)] == ["core/Postgres"]
    await world.notify("CRITICAL", hostname="edge")
    await world.advance(125, step=5)
    assert world.texts(ANNA)[1].startswith("6 open: CRITICAL edge/Postgres, WARNING host000")


@pytest_twisted.ensureDeferred
async def test_a_recovery_in_the_middle_of_it(world: World) -> None:
    """One was over before it was told, and is told as that; of one that was told the end is."""
    await world.policy(pace_burst=1)
    await world.notify(hostname="told")
    await world.settle()
    for name in ("open1", "open2", "over"):
        await world.notify(hostname=name)
    await world.settle()
    await world.notify("OK", hostname="over")
    await world.advance(180, step=5)
    assert world.texts(ANNA)[1].startswith(
        "2 open, 1 over: CRITICAL open1/Postgres, CRITICAL open2/Postgres,"
        " was CRITICAL over/Postgres\nReply ack "
    )
    await world.notify("OK", hostname="open1")
    await world.notify("OK", hostname="told")
    await world.advance(100, step=5)
    last = world.texts(ANNA)[-1]
    assert "OK open1/Postgres" in "".join(world.texts(ANNA)[2:])
    assert "OK told/Postgres" in "".join(world.texts(ANNA)[2:])
    assert "OK over/Postgres" not in last


@pytest_twisted.ensureDeferred
async def test_a_recovery_while_the_digest_is_on_its_way(world: World) -> None:
    """The provider is busy; the digest names what is over by now, so its end is told after it."""
    await world.policy(pace_burst=1)
    await world.notify(hostname="first")
    await world.settle()
    world.gateway.misbehave("503")
    await world.notify(hostname="over")
    await world.notify(hostname="open")
    await world.advance(125, step=5)
    await world.notify("OK", hostname="over")
    await world.advance(30, step=5)
    world.gateway.behave()
    await world.advance(240, step=5)
    later = [text for text in world.texts(ANNA) if "over/Postgres" in text]
    assert later[0].startswith("2 open: CRITICAL over/Postgres, CRITICAL open/Postgres")
    assert "OK over/Postgres" in later[1]


@pytest_twisted.ensureDeferred
async def test_what_is_alone_when_it_may_go_is_no_digest_and_tells_the_newest(
    world: World,
) -> None:
    await world.policy(pace_burst=1)
    await world.notify(hostname="first")
    await world.notify("WARNING", hostname="second", output="warm")
    await world.settle()
    await world.notify("CRITICAL", hostname="second", output="hot")
    await world.advance(65, step=5)
    assert world.texts(ANNA)[1].startswith("CRITICAL second/Postgres: hot\nReply ack ")
    assert len(world.texts(ANNA)) == 2


@pytest_twisted.ensureDeferred
async def test_what_alone_is_over_when_it_may_go_is_told_as_over(world: World) -> None:
    await world.policy(pace_burst=1)
    await world.notify(hostname="first")
    await world.notify(hostname="second")
    await world.settle()
    await world.notify("OK", hostname="second")
    await world.advance(65, step=5)
    assert world.texts(ANNA)[1:] == ["1 over: was CRITICAL second/Postgres"]


@pytest_twisted.ensureDeferred
async def test_what_somebody_acknowledged_meanwhile_is_not_told(world: World) -> None:
    await world.policy(pace_burst=1)
    for name in ("first", "second", "third"):
        await world.notify(hostname=name)
    await world.settle()
    await world.notify(hostname="second", event="ACKNOWLEDGEMENT", author="Bob")
    await world.advance(125, step=5)
    assert world.texts(ANNA)[1].startswith("CRITICAL third/Postgres")
    assert "no longer wanted: somebody has acknowledged it" in world.story()


@pytest_twisted.ensureDeferred
async def test_a_storm_for_anna_delays_nothing_for_bob(world: World) -> None:
    await storm(world, 30)
    await world.settle()
    await world.put_on_call("Bob")
    await world.settle()
    (told,) = world.texts(BOB)  # what is open, in one text
    assert told.startswith("30 open")
    await world.notify(hostname="other")
    await world.settle()
    assert world.texts(BOB)[1].startswith("CRITICAL other/Postgres")


@pytest_twisted.ensureDeferred
async def test_a_phone_may_have_a_pace_of_its_own(world: World) -> None:
    world.sql("UPDATE contact SET pace_burst = 10 WHERE address = %s", ANNA)
    await storm(world, 12)
    await world.settle()
    assert len(world.texts(ANNA)) == 10


@pytest_twisted.ensureDeferred
async def test_a_budget_that_is_used_up_makes_digests_rarer_and_never_none(world: World) -> None:
    await world.policy(pace_burst=1, pace_hourly=2)
    for number in range(40):
        await world.notify(hostname=f"host{number}")
        await world.advance(120, step=60)
    await world.advance(3600, step=300)
    assert untold(world) == 0
    times = [seconds for _, _, seconds in released(world)]
    assert max(after - before for before, after in pairwise(times)) <= 3600


@pytest_twisted.ensureDeferred
async def test_two_daemons_tell_a_storm_once(world: World) -> None:
    await world.start_daemon()
    await storm(world, 80)
    await world.advance(125, step=5)
    assert untold(world) == 0
    assert sum(segments for _, segments, _ in released(world)) <= 3 + 2
    members = world.sql(
        "SELECT alert_id, count(*) FROM message"
        " WHERE alert_id IS NOT NULL AND status NOT IN ('held', 'cancelled') GROUP BY alert_id"
    )
    assert len(members) == 80
    assert {count for _, count in members} == {1}
