"""What people write back, and what is made of it."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.logger import LogEvent

from hotpotato import rota
from hotpotato.store import people
from hotpotato.store.database import Transaction
from tests.world import ANNA, BOB, CLEO, World

STRANGER = "+64220000000"


def verdicts(world: World) -> list[str]:
    """What was made of each reply, in order."""
    return [verdict for (verdict,) in world.sql("SELECT verdict FROM reply ORDER BY id")]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "written",
    [
        "ack {}",
        "ACK {}",
        "Ack {}!",
        " ack: {}. ",
        "acknowledge {}",
        '"ack {}"',
        "ack\n{}",
        "Ack-{}",
    ],
)
async def test_ack_and_the_code_acknowledge_however_they_are_written(
    world: World, written: str
) -> None:
    await world.notify()
    await world.settle()
    code = world.code()
    await world.reply(ANNA, written.format(code.lower() if "Ack" in written else code))
    assert world.alert() == ("acknowledged", "Anna")
    assert world.texts(ANNA)[1] == "Acknowledged: CRITICAL db1/Postgres"
    await world.advance(1800, step=60)
    assert len(world.texts()) == 2


@pytest_twisted.ensureDeferred
async def test_the_number_may_come_without_its_plus(world: World) -> None:
    """As some gateways write it."""
    await world.notify()
    await world.settle()
    await world.reply(ANNA.removeprefix("+"), f"ack {world.code()}")
    assert world.alert() == ("acknowledged", "Anna")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("source", [STRANGER, "2048", "0211234567", "Bank", "", "+", "+64 ☎"])
async def test_a_stranger_is_heard_and_never_answered(world: World, source: str) -> None:
    await world.notify()
    await world.settle()
    code = world.code()
    status = await world.gateway.reply(source, f"ack {code}")
    assert status == (200 if source else 400)
    await world.settle()
    assert world.alert() == ("triggered", None)
    assert len(world.texts()) == 1
    if source:
        assert verdicts(world) == ["reply 1 came from a phone that nobody has; not answered"]


@pytest_twisted.ensureDeferred
async def test_a_disabled_persons_phone_is_a_strangers(world: World) -> None:
    async def work(transaction: Transaction) -> None:
        await people.disable_person(transaction, world.person("Anna"))

    await world.notify()
    await world.settle()
    await world.store(work)
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.alert() == ("triggered", None)
    assert len(world.texts(ANNA)) == 1


@pytest_twisted.ensureDeferred
async def test_a_code_of_somebody_elses_page_acknowledges_nothing(world: World) -> None:
    """Bob heard the letters over Anna's shoulder; he is told that they mean nothing from him."""
    await world.notify()
    await world.settle()
    await world.reply(BOB, f"ack {world.code()}")
    assert world.alert() == ("triggered", None)
    (answer,) = world.texts(BOB)
    assert answer.startswith("No open alert has the code ")


@pytest_twisted.ensureDeferred
async def test_a_mistyped_code_acknowledges_nothing(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.reply(ANNA, "ack OLO")  # letters that no code has
    assert world.alert() == ("triggered", None)
    assert world.texts(ANNA)[1].startswith("No open alert has the code OLO")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("said", ["ok", "on it", "", "ack", "ack ABC DEF", "stop", "ack 123"])
async def test_what_is_not_understood_is_answered_with_how_it_is_done(
    world: World, said: str
) -> None:
    await world.reply(ANNA, said)
    assert world.texts(ANNA) == [
        'Not understood. Reply "ack" and the code of the page, like: ack KWT'
    ]


@pytest_twisted.ensureDeferred
async def test_a_binary_body_is_not_read(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.reply(ANNA, f"ack {world.code()}", encoding="base64")
    assert world.alert() == ("triggered", None)
    assert world.texts(ANNA)[1].startswith("Not understood")


@pytest_twisted.ensureDeferred
async def test_the_same_reply_twice_acts_once(world: World) -> None:
    await world.notify()
    await world.settle()
    for _ in range(3):
        await world.reply(ANNA, f"ack {world.code()}", provider_id=77)
    assert len(verdicts(world)) == 1
    assert len(world.texts(ANNA)) == 2


@pytest_twisted.ensureDeferred
async def test_of_two_people_at_once_the_first_has_it_and_the_second_hears_so(
    world: World,
) -> None:
    await world.put_on_call(None)
    await world.notify()
    await world.settle()
    code = world.code()
    world.freeze()
    for number in (BOB, ANNA):
        assert await world.gateway.reply(number, f"ack {code}") == 200
    world.thaw()
    await world.settle()
    assert world.alert() == ("acknowledged", "Bob")
    assert world.texts(BOB)[1] == "Acknowledged: CRITICAL db1/Postgres"
    assert world.texts(ANNA)[1] == "CRITICAL db1/Postgres was acknowledged already, by Bob."


@pytest_twisted.ensureDeferred
async def test_a_reply_to_what_is_over_says_so(world: World) -> None:
    await world.notify()
    await world.settle()
    code = world.code()
    await world.notify("OK")
    await world.settle()
    await world.reply(ANNA, f"ack {code}")
    assert world.texts(ANNA)[-1] == "CRITICAL db1/Postgres is over already, nothing is open."
    assert world.alert() == ("resolved", None)


@pytest_twisted.ensureDeferred
async def test_an_acknowledgement_overtakes_a_page_that_waits(world: World) -> None:
    """Bob's page could not be sent yet, and now need not be."""
    world.gateway.misbehave("503", number=BOB)
    await world.put_on_call(None)
    await world.notify()
    await world.settle()
    await world.reply(ANNA, f"ack {world.code(ANNA)}")
    await world.advance(300, step=10)
    assert world.texts(BOB) == []
    assert ("page", "Bob", "cancelled") in world.messages()


@pytest_twisted.ensureDeferred
async def test_the_answers_to_one_phone_are_bounded(world: World) -> None:
    """Ten an hour; a loop of two robots ends, and what they say is still heard."""
    for number in range(14):
        await world.reply(ANNA, f"hello {number}")
    assert len(world.texts(ANNA)) == 10
    await world.reply(BOB, "hello")
    assert len(world.texts(BOB)) == 1
    await world.notify()
    await world.settle()
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.alert() == ("acknowledged", "Anna")
    assert len(world.texts(ANNA)) == 11
    assert verdicts(world)[-1] == (
        "Anna acknowledged the alert by SMS; not answered, that phone had enough answers for now"
    )
    await world.advance(3600, step=1800)
    await world.reply(ANNA, "hello again")
    assert len(world.texts(ANNA)) == 12


@pytest_twisted.ensureDeferred
async def test_a_phone_in_two_tenants_acknowledges_for_the_right_one(world: World) -> None:
    async def work(transaction: Transaction) -> int:
        other = await people.add_tenant(transaction, "other", "UTC")
        person = await people.add_person(transaction, other, "Ann", [("sms", ANNA)])
        await rota.set_on_call(transaction, other, person)
        return other

    await world.notify(hostname="db1")
    await world.settle()
    world.tenant_id = await world.store(work)
    key = await world.add_server_now("theirs")
    await world.post(
        "/api/servers/v2/notifications/send", {"hostname": "db2", "state": "DOWN"}, key=key
    )
    await world.settle()
    assert len(world.texts(ANNA)) == 2
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.sql("SELECT hostname, acknowledged_by FROM alert ORDER BY hostname") == [
        ("db1", None),
        ("db2", "Ann"),
    ]
    assert world.sql(
        "SELECT tenant.name FROM message JOIN tenant ON tenant.id = tenant_id"
        " WHERE kind = 'confirmation'"
    ) == [("other",)]


@pytest_twisted.ensureDeferred
async def test_one_that_cannot_be_judged_keeps_no_other_waiting(
    world: World, logged: list[LogEvent]
) -> None:
    """Should there be a defect, it is tried again every minute, and in the log."""
    await world.notify()
    await world.settle()
    world.sql(
        "ALTER TABLE message ADD CONSTRAINT no_answer_to_bob"
        f" CHECK (kind <> 'confirmation' OR address <> '{BOB}')"
    )
    assert await world.gateway.reply(BOB, "hello") == 200
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.alert() == ("acknowledged", "Anna")
    world.sql("ALTER TABLE message DROP CONSTRAINT no_answer_to_bob")
    await world.advance(61, step=10)
    assert world.texts(BOB)[0].startswith("Not understood")
    (event,) = [event for event in logged if "log_failure" in event]
    logged.remove(event)


@pytest_twisted.ensureDeferred
async def test_replies_appear_in_the_history(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.reply(ANNA, f"ack {world.code()}")
    assert "Anna acknowledged the alert by SMS" in world.story()


# --- codes


@pytest_twisted.ensureDeferred
async def test_codes_are_given_once_and_not_again_for_seven_days(world: World) -> None:
    """Once its alert is over, and the last text with it is a week old, a code is free."""
    world.sql("CREATE TABLE used AS SELECT code FROM code")
    for number in range(40):
        await world.notify(hostname=f"db{number}")
    await world.settle()
    codes = [text.split()[-1] for text in world.texts(ANNA)]
    assert len(set(codes)) == 40
    for number in range(39):
        await world.notify("OK", hostname=f"db{number}")
    await world.advance(7 * 86_400 - 3601, step=86_400)
    assert world.sql("SELECT count(*) FROM code") == [(40,)]
    await world.advance(7300, step=3600)
    assert world.sql("SELECT count(*) FROM code") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_a_code_that_is_taken_is_never_given_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the dice fall."""
    drawn = iter(["AAA", "AAA", "AAA", "BBB"])
    monkeypatch.setattr("hotpotato.rules.keys.codes", lambda: drawn)
    await world.notify(hostname="one")
    await world.settle()
    await world.notify(hostname="two")
    await world.settle()
    assert world.sql("SELECT code FROM code ORDER BY code") == [("AAA",), ("BBB",)]
    assert CLEO not in {message.number for message in world.gateway.messages}
