"""Nobody on call, numbers that don't work, providers that give up: somebody else is told."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.logger import LogEvent

from hotpotato import rota
from hotpotato.store import people
from hotpotato.store.database import Transaction
from tests.scenarios.script import Script, hung
from tests.world import ANNA, BOB, CLEO, World, step


def paged(world: World) -> list[tuple[str, str]]:
    """Whom the pages went to, and what became of each, in order of their ids."""
    return [(person, status) for kind, person, status in world.messages() if kind == "page"]


@pytest_twisted.ensureDeferred
async def test_nobody_on_call_pages_everybody_and_the_history_says_why(world: World) -> None:
    await world.put_on_call(None)
    data = await world.notify()
    await world.settle()
    assert data["user_id"] is None
    assert len(world.texts(ANNA)) == len(world.texts(BOB)) == len(world.texts(CLEO)) == 1
    assert "(nobody is on call)" in world.texts(BOB)[0]
    assert "nobody is on call: Anna, Bob, Cleo paged" in world.story()
    await world.advance(300, step=60)
    assert len(world.texts(CLEO)) == 2
    await world.reply(CLEO, f"ack {world.code(CLEO)}")
    assert world.alert() == ("acknowledged", "Cleo")


@pytest_twisted.ensureDeferred
async def test_a_person_on_call_without_a_phone_is_as_good_as_nobody(world: World) -> None:
    async def work(transaction: Transaction) -> None:
        await people.set_contacts(transaction, world.tenant_id, world.person("Anna"), [])

    await world.store(work)
    await world.notify()
    await world.settle()
    assert paged(world) == [("Bob", "sent"), ("Cleo", "sent")]
    assert "the person on call can't be reached: Bob, Cleo paged" in world.story()


@pytest_twisted.ensureDeferred
async def test_a_disabled_person_is_not_paged_and_no_longer_on_call(world: World) -> None:
    async def work(transaction: Transaction) -> None:
        assert await rota.disable(transaction, world.person("Anna"))

    await world.store(work)
    await world.notify()
    await world.settle()
    assert paged(world) == [("Bob", "sent"), ("Cleo", "sent")]
    assert "nobody is on call: Bob, Cleo paged" in world.story()


@pytest_twisted.ensureDeferred
async def test_a_tenant_without_a_phone_is_told_of_in_the_history(world: World) -> None:
    world.sql("UPDATE contact SET removed_at = hotpotato_now()")
    await world.notify()
    await world.settle()
    assert world.messages() == []
    assert "nobody can be told: nobody of the tenant has a contact" in world.story()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "how", ["400", "422", "rejected", "failed", "dead", "expired"], ids=lambda how: f"by {how}"
)
async def test_a_page_that_will_not_arrive_pages_all_others_at_once(world: World, how: str) -> None:
    """The gateway refuses Anna's number, or reports a failure a second later."""
    world.gateway.misbehave(how, number=ANNA)
    await world.notify()
    await world.advance(3, step=1)
    assert paged(world) == [("Anna", "failed"), ("Bob", "delivered"), ("Cleo", "delivered")]
    assert "(Anna not reached)" in world.texts(BOB)[0]
    assert "Anna not reached: Bob, Cleo paged" in world.story()


@pytest_twisted.ensureDeferred
async def test_nobody_is_paged_twice_in_a_round_when_all_numbers_are_bad(world: World) -> None:
    """No ping-pong: three attempts, and three more when the step of everyone comes again."""
    world.gateway.misbehave("400")
    await world.notify()
    await world.advance(599, step=60)
    assert paged(world) == [("Anna", "failed"), ("Bob", "failed"), ("Cleo", "failed")]
    assert "Anna, Bob, Cleo not reached; everybody has been paged already" in world.story()
    await world.advance(2, step=1)
    assert [person for person, _ in paged(world)] == ["Anna", "Bob", "Cleo"] * 2
    world.gateway.behave()
    await world.advance(600, step=60)
    assert [text.split()[0] for text in world.texts()] == ["STILL"] * 3
    assert len(world.texts(ANNA)) == 1


@pytest_twisted.ensureDeferred
async def test_each_round_pages_the_others_again_while_anna_is_not_reached(world: World) -> None:
    world.gateway.misbehave("400", number=ANNA)
    await world.notify()
    await world.advance(1205, step=60)
    assert len(world.texts(BOB)) == len(world.texts(CLEO)) == 3
    await world.reply(BOB, f"ack {world.code(BOB)}")
    await world.advance(1700, step=60)
    assert len(world.texts(BOB)) == 4
    assert len(world.texts(CLEO)) == 3


@pytest_twisted.ensureDeferred
async def test_a_failure_that_a_late_receipt_takes_back_hides_no_other(world: World) -> None:
    """Anna's page failed, then arrived after all; Bob's fails later and is noticed all the same."""
    await world.set_numbers("Bob", BOB, "+64211111111")
    world.gateway.misbehave("never")
    await world.notify()
    await world.settle()
    (of_anna,) = world.gateway.messages
    await world.gateway.receipt(of_anna.id, "failed")
    await world.settle()
    of_bob = world.gateway.messages[1]
    assert of_bob.number == BOB
    await world.gateway.receipt(of_anna.id, "received")
    await world.gateway.receipt(of_bob.id, "failed")
    await world.settle()
    assert paged(world) == [
        ("Anna", "delivered"),
        ("Bob", "failed"),
        ("Cleo", "sent"),
        ("Bob", "sent"),
    ]


@pytest_twisted.ensureDeferred
async def test_a_message_is_given_up_after_24_hours_and_that_pages_the_others(
    world: World,
) -> None:
    """A day of 503: no second page to Anna meanwhile, and then everybody's turn."""
    await world.policy(step(0, again=300))
    world.gateway.misbehave("503", number=ANNA)
    await world.notify()
    await world.advance(86_340, step=1800)
    assert world.texts() == []
    assert paged(world) == [("Anna", "queued")]
    assert "the last page is still to be sent, so there is no other" in world.story()
    await world.advance(65, step=5)
    assert paged(world)[0] == ("Anna", "failed")
    assert "given up after 24 hours" in world.story()
    assert "(Anna not reached)" in world.texts(BOB)[0]
    assert len(world.texts(BOB)) == len(world.texts(CLEO)) == 1


@pytest_twisted.ensureDeferred
async def test_a_retry_after_of_a_day_does_not_outlive_the_message(world: World) -> None:
    await world.policy(step(0, again=300))
    world.gateway.misbehave("429", retry_after="999999", number=ANNA)
    await world.advance(3600, step=1800)
    await world.notify()
    await world.advance(86_401, step=1800)
    assert paged(world)[0] == ("Anna", "failed")
    assert len(world.texts(BOB)) == 1


@pytest_twisted.ensureDeferred
async def test_an_announcement_that_fails_goes_to_the_others_once(world: World) -> None:
    world.gateway.misbehave("400")
    await world.notify("OK", event="CUSTOM", comment="I reboot it now")
    await world.advance(3600, step=60)
    assert world.messages() == [
        ("announcement", "Anna", "failed"),
        ("announcement", "Bob", "failed"),
        ("announcement", "Cleo", "failed"),
    ]


@pytest_twisted.ensureDeferred
async def test_an_announcement_is_for_everybody_when_nobody_is_on_call(world: World) -> None:
    await world.put_on_call(None)
    await world.notify("OK", event="CUSTOM", comment="I reboot it now")
    await world.advance(3600, step=60)
    assert len(world.texts()) == 3


@pytest_twisted.ensureDeferred
async def test_another_tenants_people_hear_nothing(world: World) -> None:
    async def work(transaction: Transaction) -> None:
        other = await people.add_tenant(transaction, "other", "UTC")
        await people.add_person(transaction, other, "Zoe", [("sms", "+64211111111")])

    await world.store(work)
    await world.put_on_call(None)
    await world.notify()
    await world.settle()
    assert world.texts("+64211111111") == []


@pytest_twisted.ensureDeferred
async def test_an_alert_that_cannot_be_decided_about_keeps_no_other_waiting(
    world: World, logged: list[LogEvent]
) -> None:
    """Should there be a defect, it is tried again every minute, and in the log."""
    world.freeze()
    odd = await world.notify(hostname="odd")
    await world.notify(hostname="db1")
    await world.notify("OK", hostname="db2", event="CUSTOM", comment="hello")
    world.sql(f"ALTER TABLE message ADD CONSTRAINT odd CHECK (notification_id <> {odd['id']})")
    world.thaw()
    await world.settle()
    assert sorted(text.split()[1] for text in world.texts()) == ["db1/Postgres", "db2/Postgres"]
    world.sql("ALTER TABLE message DROP CONSTRAINT odd")
    await world.advance(61, step=10)
    assert world.texts()[2].startswith("CRITICAL odd/Postgres")
    failures = [event for event in logged if "log_failure" in event]
    assert len(failures) == 2
    for event in failures:
        logged.remove(event)


@pytest_twisted.ensureDeferred
async def test_what_no_sender_serves_any_more_is_given_up_and_that_pages_the_others(
    world: World,
) -> None:
    """The sender for Anna's first contact was taken out of the configuration."""
    world.sql("UPDATE contact SET method = 'pigeon', address = 'loft 3' WHERE address = %s", ANNA)
    await world.notify()
    await world.settle()
    await world.advance(28 * 3600, step=4 * 3600)
    assert "given up after 24 hours: no sender serves pigeon" in world.story()
    assert ("page", "Anna", "failed") in world.messages()
    assert any(text.startswith("CRITICAL") for text in world.texts(BOB))


@pytest_twisted.ensureDeferred
async def test_what_was_with_a_sender_that_is_gone_is_given_up_too(
    scripted: World, script: Script
) -> None:
    """The daemon died while it was sending; the next one has no such sender."""
    await hung(scripted, script)
    await scripted.crash()
    scripted.hanging = 0
    scripted.sql("UPDATE message SET method = 'pigeon'")
    await scripted.start_daemon(senders={"modica": scripted.modica})
    await scripted.advance(28 * 3600, step=4 * 3600)
    assert "given up after 24 hours: no sender serves pigeon" in scripted.story()
    assert not scripted.sql("SELECT id FROM message WHERE lease IS NOT NULL")
