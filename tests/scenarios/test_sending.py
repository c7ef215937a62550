"""One message and its attempts: providers that refuse, hang, break off, and report oddly."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent

from hotpotato.interfaces import Accepted, FailedForNow, Rejected, Unknown
from hotpotato.rules import text
from tests.scenarios.script import Script
from tests.world import ANNA, World


def waits(world: World) -> list[float]:
    """The seconds between the attempts, as the database has them."""
    rows = world.sql(
        "SELECT extract(epoch FROM started_at - lag(started_at) OVER (ORDER BY id))::float"
        "  FROM attempt ORDER BY id"
    )
    return [seconds for (seconds,) in rows if seconds is not None]


# --- trying again


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("status", ["503", "429", "404", "401"])
async def test_what_surely_did_not_get_through_is_tried_again_until_it_does(
    world: World, status: str
) -> None:
    world.gateway.misbehave(status, times=3)
    await world.notify()
    await world.advance(30, step=0.5)
    assert world.attempts() == [("failed", "underway")] * 3 + [("accepted", "delivered")]
    assert len(world.texts(ANNA)) == 1
    assert world.messages() == [("page", "Anna", "delivered")]


@pytest_twisted.ensureDeferred
async def test_the_pauses_double_up_to_two_minutes_with_some_jitter(
    scripted: World, script: Script
) -> None:
    script.then = lambda message: succeed(FailedForNow("busy"))
    await scripted.notify()
    await scripted.advance(580, step=0.5)
    expected = [2, 4, 8, 16, 32, 64, 120, 120]
    found = waits(scripted)
    assert len(found) >= 8
    for seconds, whole in zip(found, expected, strict=False):
        assert 0.75 * whole <= seconds <= whole + 0.6


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("status", ["429", "503"])
async def test_retry_after_is_honoured(world: World, status: str) -> None:
    world.gateway.misbehave(status, times=1, retry_after="90")
    await world.notify()
    await world.advance(89, step=1)
    assert world.texts() == []
    await world.advance(2, step=1)
    assert len(world.texts()) == 1


@pytest_twisted.ensureDeferred
async def test_each_attempt_has_a_reference_of_its_own(world: World) -> None:
    world.gateway.misbehave("reset-after", times=2)
    world.gateway.misbehave("never", times=2)
    await world.notify()
    await world.advance(40, step=1)
    references = [message.reference for message in world.gateway.messages]
    assert len(references) == len(set(references)) == 3
    assert all(reference and reference.isalnum() for reference in references)


# --- senders that hang, raise, or talk nonsense


@pytest_twisted.ensureDeferred
async def test_a_sender_that_hangs_is_given_its_deadline_and_no_more(world: World) -> None:
    world.gateway.misbehave("hang-before", times=1)
    await world.notify()
    await world.held()
    await world.advance(19, step=1)
    assert world.attempts() == [(None, "underway")]
    await world.advance(2, step=1)
    assert world.attempts() == [("unknown", "underway")]
    world.hanging = 0
    await world.advance(12, step=1)
    assert world.attempts() == [("unknown", "underway"), ("accepted", "delivered")]


@pytest_twisted.ensureDeferred
async def test_messages_that_hang_do_not_keep_others_waiting(
    scripted: World, script: Script
) -> None:
    """Two of three places are taken; the third goes on."""
    await scripted.without_pace()
    script.then = lambda message: Deferred() if "hang" in message.text else script.accept()
    scripted.hanging = 2
    await scripted.notify(hostname="hang1")
    await scripted.notify(hostname="hang2")
    for number in range(5):
        await scripted.notify(hostname=f"db{number}")
    await scripted.settle()
    statuses = [status for _, _, status in scripted.messages()]
    assert statuses == ["sending"] * 2 + ["sent"] * 5


@pytest_twisted.ensureDeferred
async def test_a_lane_makes_no_more_attempts_at_once_than_it_may(
    scripted: World, script: Script
) -> None:
    waiting: list[Deferred[object]] = []

    def hang(message: object) -> Deferred[object]:
        waiting.append(Deferred())
        return waiting[-1]

    await scripted.without_pace()
    script.then = hang
    scripted.hanging = 3
    for number in range(5):
        await scripted.notify(hostname=f"db{number}")
    await scripted.settle()
    assert len(waiting) == 3
    waiting[1].callback(Accepted("1"))
    await scripted.settle()
    assert len(waiting) == 4


@pytest_twisted.ensureDeferred
async def test_a_sender_that_hangs_delays_only_itself(world: World) -> None:
    """Pigeons carry nothing today; SMS are not held up by that."""
    await world.without_pace()
    pigeons = Script(methods=("pigeon",))
    pigeons.then = lambda message: Deferred()
    world.plugins.append(pigeons)
    await world.stop_daemon()
    await world.start_daemon(
        senders={"modica": world.modica, "script": {"concurrency": 1, "deadline": 100}}
    )
    world.sql("UPDATE contact SET method = 'pigeon', address = 'loft 3' WHERE address = %s", ANNA)
    world.hanging = 1
    await world.notify(hostname="first")
    await world.notify(hostname="second")
    await world.settle()
    assert [text.split()[1] for text in pigeons.texts] == ["first/Postgres"]
    await world.put_on_call("Bob")
    await world.settle()
    for number in range(5):
        await world.notify(hostname=f"db{number}")
        await world.advance(2, step=1)
    pages = [text.split()[1] for text in world.texts() if text.startswith("CRITICAL")]
    assert pages == [f"db{number}/Postgres" for number in range(5)]
    assert len(pigeons.sent) == 1


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("when", ["before it returns", "later"])
async def test_a_sender_that_raises_has_the_outcome_unknown_and_the_traceback_is_logged(
    scripted: World, script: Script, logged: list[LogEvent], when: str
) -> None:

    def explode(message: object) -> Deferred[object]:
        if when == "later":
            return fail(ZeroDivisionError("pigeon"))
        raise ZeroDivisionError("pigeon")

    script.then = explode
    await scripted.notify()
    await scripted.settle()
    assert scripted.attempts() == [("unknown", "underway")]
    (event,) = [event for event in logged if "log_failure" in event]
    assert event["log_failure"].check(ZeroDivisionError)
    logged.remove(event)
    script.then = lambda message: script.accept()
    await scripted.advance(12, step=1)
    assert scripted.messages() == [("page", "Anna", "sent")]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("nonsense", [True, None, "accepted", 201, ("id", 1)])
async def test_a_sender_that_returns_nonsense_has_the_outcome_unknown(
    scripted: World, script: Script, nonsense: object
) -> None:
    script.then = lambda message: succeed(nonsense)
    await scripted.notify()
    await scripted.settle()
    assert scripted.attempts() == [("unknown", "underway")]
    assert "the sender returned something that is no outcome" in "".join(scripted.story())


@pytest_twisted.ensureDeferred
async def test_a_sender_that_returns_nothing_to_wait_for_has_the_outcome_unknown(
    scripted: World, script: Script, logged: list[LogEvent]
) -> None:
    script.then = lambda message: Accepted("1")
    await scripted.notify()
    await scripted.settle()
    assert scripted.attempts() == [("unknown", "underway")]
    logged[:] = [event for event in logged if "log_failure" not in event]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("outcome", "stored"),
    [
        (Accepted(12), ("accepted", "12", None)),  # type: ignore[arg-type]
        (Accepted("a\0b\ud800"), ("accepted", "a\ufffdb?", None)),
        (Rejected("no\0pe"), ("rejected", None, "no\ufffdpe")),
        (Rejected(None), ("rejected", None, "None")),  # type: ignore[arg-type]
        (Unknown(ValueError("so")), ("unknown", None, "so")),  # type: ignore[arg-type]
        (FailedForNow("later", "soon"), ("failed", None, "later")),  # type: ignore[arg-type]
        (FailedForNow("later", float("nan")), ("failed", None, "later")),
        (FailedForNow("later", -5), ("failed", None, "later")),
    ],
    ids=repr,
)
async def test_what_a_senders_author_got_wrong_inside_an_outcome_is_forgiven(
    scripted: World, script: Script, outcome: object, stored: tuple[object, ...]
) -> None:
    """The outcome itself is plain, and an attempt that can't be settled would be made again."""
    script.then = lambda message: succeed(outcome)
    await scripted.notify()
    await scripted.settle()
    (first, *_) = scripted.sql("SELECT outcome, provider_id, why FROM attempt ORDER BY id")
    assert first == stored


@pytest_twisted.ensureDeferred
async def test_a_notification_without_words_takes_no_other_along(
    scripted: World, script: Script, logged: list[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should there be a defect in the wording, the page goes out in bare words."""

    def page(subject: text.Subject, *rest: object, **more: object) -> str:
        if subject.hostname == "odd":
            raise IndexError("a defect")
        return real(subject, *rest, **more)  # type: ignore[arg-type]

    real = text.page
    monkeypatch.setattr(text, "page", page)
    await scripted.notify(hostname="odd")
    await scripted.notify(hostname="db1")
    await scripted.settle()
    assert sorted(text.split("\n")[0] for text in script.texts) == [
        "CRITICAL db1/Postgres",
        "CRITICAL odd/Postgres",
    ]
    (event,) = [event for event in logged if "log_failure" in event]
    logged.remove(event)


# --- unknown outcomes and receipts


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("how", ["reset-before", "reset-after", "half", "garbage", "500"])
async def test_an_unknown_outcome_waits_ten_seconds_and_is_then_tried_again(
    world: World, how: str
) -> None:
    world.gateway.misbehave(how, times=1)
    world.gateway.misbehave("never")
    await world.notify()
    await world.advance(9.9, step=1)
    assert world.attempts() == [("unknown", "underway")]
    await world.advance(1, step=0.5)
    assert world.attempts() == [("unknown", "underway"), ("accepted", "underway")]
    assert world.messages() == [("page", "Anna", "sent")]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("how", ["reset-after", "half", "garbage", "hang-after"])
async def test_a_receipt_with_the_reference_settles_it_without_a_second_sms(
    world: World, how: str
) -> None:
    world.gateway.misbehave(how, times=1)
    world.hanging = 1
    await world.notify()
    await world.advance(60, step=1)
    assert len(world.texts()) == 1
    assert world.attempts() == [("accepted", "delivered")]
    assert world.messages() == [("page", "Anna", "delivered")]


@pytest_twisted.ensureDeferred
async def test_a_failed_receipt_for_an_unknown_outcome_escalates(world: World) -> None:
    world.gateway.misbehave("reset-after", times=1)
    world.gateway.misbehave("dead", times=1)
    await world.notify()
    await world.advance(5, step=1)
    assert [person for _, person, _ in world.messages()] == ["Anna", "Bob", "Cleo"]


@pytest_twisted.ensureDeferred
async def test_receipts_that_are_faster_than_the_answer_are_joined(world: World) -> None:
    """By our reference, and by the provider's id alone."""
    world.gateway.misbehave("early", times=2)
    await world.notify(hostname="one")
    await world.settle()
    assert world.messages() == [("page", "Anna", "delivered")]
    world.gateway._references = False
    await world.notify(hostname="two")
    await world.settle()
    assert world.messages() == [("page", "Anna", "delivered")] * 2
    assert world.attempts() == [("accepted", "delivered")] * 2


@pytest_twisted.ensureDeferred
async def test_a_receipt_that_is_faster_than_the_answer_keeps_no_news_waiting(world: World) -> None:
    """The first page is on the phone, and its attempt is still under way."""
    world.gateway.misbehave("hang-after", times=1)
    await world.notify("WARNING")
    await world.held()
    await world.advance(2, step=1)
    assert world.messages() == [("page", "Anna", "delivered")]
    await world.notify("CRITICAL")
    await world.settle()
    assert [text.split()[0] for text in world.texts()] == ["WARNING", "CRITICAL"]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("how", ["twice", "reversed"])
async def test_receipts_that_come_twice_or_in_the_wrong_order_change_nothing(
    world: World, how: str
) -> None:
    world.gateway.misbehave(how)
    await world.notify()
    await world.advance(3, step=0.25)
    assert world.messages() == [("page", "Anna", "delivered")]
    expected = 6 if how == "twice" else 3
    assert world.sql("SELECT count(*) FROM receipt WHERE attempt_id IS NOT NULL") == [(expected,)]


@pytest_twisted.ensureDeferred
async def test_a_late_sent_never_overwrites_delivered(world: World) -> None:
    await world.notify()
    await world.advance(3, step=1)
    (message,) = world.gateway.messages
    for word in ("sent", "failed", "submitted", "expired"):
        assert await world.gateway.receipt(message.id, word) == 200
    await world.settle()
    assert world.messages() == [("page", "Anna", "delivered")]


@pytest_twisted.ensureDeferred
async def test_a_late_receipt_of_the_first_attempt_does_not_fail_the_second(world: World) -> None:
    world.gateway.misbehave("reset-after", times=1)
    world.gateway.misbehave("never")
    await world.notify()
    await world.advance(12, step=1)
    first, second = world.gateway.messages
    assert await world.gateway.receipt(first.id, "failed", reference=first.reference) == 200
    await world.settle()
    assert world.messages() == [("page", "Anna", "sent")]
    assert await world.gateway.receipt(second.id, "received") == 200
    await world.settle()
    assert world.messages() == [("page", "Anna", "delivered")]


@pytest_twisted.ensureDeferred
async def test_a_receipt_with_an_unknown_word_is_stored_and_not_final(world: World) -> None:
    world.gateway.misbehave("never")
    await world.notify()
    await world.settle()
    (message,) = world.gateway.messages
    assert await world.gateway.receipt(message.id, "teleported") == 200
    assert world.messages() == [("page", "Anna", "sent")]
    assert world.sql("SELECT status, progress FROM receipt") == [("teleported", "underway")]


@pytest_twisted.ensureDeferred
async def test_what_is_refused_for_good_is_not_tried_again(scripted: World, script: Script) -> None:
    script.then = lambda message: succeed(Rejected("no such number"))
    await scripted.notify()
    await scripted.advance(300, step=10)
    assert len(script.sent) == 3  # one for each person
    assert "attempt 1: rejected (no such number)" in scripted.story()
