"""Receipts and answers in any order, through the real inbox and the real database."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from hotpotato.duties import attempts
from hotpotato.inbox import Inbox, e164
from hotpotato.interfaces import (
    Accepted,
    FailedForNow,
    ReceiptFact,
    Rejected,
    ReplyFact,
    SendOutcome,
    Unknown,
)
from hotpotato.store import messages, people
from hotpotato.testing.database import drop_database, fresh_database
from hotpotato.vocabulary import MessageKind, Progress
from tests.direct import Direct, DirectTransaction, run
from tests.world import ANNA, migrated

SENDER = "modica"
_runs = itertools.count(1)


class Answer(msgspec.Struct, frozen=True):
    """The sender's outcome of the attempt `number`, after the fact or long after it."""

    number: int
    kind: str


class Receipt(msgspec.Struct, frozen=True):
    """A receipt for the attempt `number`, which names it `by` reference, by id, or by both."""

    number: int
    by: str
    progress: Progress


Event = Answer | Receipt


ACCEPTED = Answer(1, "accepted")
UNDERWAY = Receipt(1, "reference", Progress.UNDERWAY)
BY_BOTH = Receipt(1, "both", Progress.UNDERWAY)
BY_ID = Receipt(1, "id", Progress.DELIVERED)


class Sent(msgspec.Struct, frozen=True):
    """A message, and its attempts in order: (id, reference)."""

    message_id: int
    attempts: tuple[tuple[int, str], ...]


@pytest.fixture(scope="module")
def database() -> Iterator[Direct]:
    url = fresh_database(migrated)
    direct = Direct(url)

    async def work(transaction: Any) -> None:
        tenant = await people.add_tenant(transaction, "acme", "UTC")
        await people.add_person(transaction, tenant, "Anna", [("sms", ANNA)])

    run(direct.transaction(work))
    yield direct
    direct.close()
    drop_database(url)


def sent(database: Direct, tries: int) -> Sent:
    """A message with that many attempts under way; all but the last were lost with a process."""

    async def begin(transaction: Any) -> tuple[int, str]:
        (due,) = await messages.claim(transaction, SENDER, SERVED, 1, 60.0)
        if due.lease is not None:
            await attempts.take_over(transaction, [due])
            return 0, ""
        begun = messages.Begun(
            message_id=due.id,
            tenant_id=due.tenant_id,
            sender=SENDER,
            reference=f"reference{next(_runs)}",
        )
        ((_, attempt_id, _),) = await messages.begin(transaction, [begun], 10.0)
        return attempt_id, begun.reference

    async def queue(transaction: DirectTransaction) -> int:
        ((tenant_id, person_id, contact_id),) = await transaction.rows(
            "SELECT tenant_id, person_id, id FROM contact"
        )
        pretended: Any = transaction
        return await messages.queue_text(
            pretended,
            kind=MessageKind.TEST,
            tenant_id=tenant_id,
            person_id=person_id,
            contact_id=contact_id,
            method="sms",
            address=ANNA,
            text="hello",
        )

    database.sql("UPDATE message SET status = 'cancelled', due_at = NULL")
    message_id = run(database.transaction(queue))
    made: list[tuple[int, str]] = []
    while len(made) < tries:
        attempt_id, reference = run(database.transaction(begin))
        if attempt_id:
            made.append((attempt_id, reference))
        database.advance(11)
    return Sent(message_id, tuple(made))


SERVED = [messages.Served("sms", (SENDER,))]

OUTCOMES: dict[str, SendOutcome] = {
    "rejected": Rejected("no"),
    "failed": FailedForNow("not now"),
    "unknown": Unknown("who knows"),
}


def fact(message: Sent, receipt: Receipt) -> ReceiptFact:
    """A receipt as the sender hands it in."""
    reference = message.attempts[receipt.number - 1][1]
    return ReceiptFact(
        status="whatever",
        progress=receipt.progress,
        provider_id=None if receipt.by == "reference" else f"id-of-{reference}",
        reference=None if receipt.by == "id" else reference,
    )


def happen(database: Direct, message: Sent, event: Event) -> None:
    """Let one event happen."""
    pretended: Any = database
    if isinstance(event, Receipt):
        run(Inbox(pretended, SENDER).receipt(fact(message, event)))
        return
    attempt_id, reference = message.attempts[event.number - 1]
    settled = attempts.settled(
        attempt_id=attempt_id,
        message_id=message.message_id,
        number=event.number,
        outcome=OUTCOMES.get(event.kind, Accepted(f"id-of-{reference}")),
    )
    run(database.transaction(lambda tx: attempts.settle(tx, SENDER, {"sms": [SENDER]}, [settled])))


def state(database: Direct, message: Sent) -> list[tuple[Any, ...]]:
    """What is known in the end: the message's status, and what each attempt's receipts say."""
    return database.sql(
        "SELECT message.status, attempt.number, attempt.progress"
        "  FROM message JOIN attempt ON attempt.message_id = message.id"
        " WHERE message.id = %s ORDER BY attempt.number",
        message.message_id,
    )


def expected(events: list[Event], tries: int) -> list[tuple[Any, ...]]:
    """The same from the events as a set."""
    known = [_known({event for event in events if event.number == n + 1}) for n in range(tries)]
    last = known[-1]
    if any(progress is Progress.DELIVERED for _, progress in known):
        status = "delivered"
    elif any(kind == "accepted" and progress is not Progress.FAILED for kind, progress in known):
        status = "sent"
    elif last[0] in ("accepted", "rejected"):
        status = "failed"
    else:
        status = "queued" if last[0] == "failed" else "sending"
    return [(status, n + 1, progress.value) for n, (_, progress) in enumerate(known)]


def _known(events: set[Event]) -> tuple[str, Progress]:
    """One attempt's outcome and progress. Only a known id gives a receipt by id its meaning."""
    answer = next((event.kind for event in events if isinstance(event, Answer)), "unknown")
    receipts = {event for event in events if isinstance(event, Receipt)}
    id_known = answer == "accepted" or any(receipt.by == "both" for receipt in receipts)
    said = {receipt.progress for receipt in receipts if receipt.by != "id" or id_known}
    for progress in (Progress.DELIVERED, Progress.FAILED):
        if progress in said:
            return "accepted", progress
    return ("accepted" if said else answer), Progress.UNDERWAY


@st.composite
def happenings(draw: st.DrawFn) -> tuple[int, list[Event], list[Event]]:
    """How many attempts; what happens to them; and the same in another order, with repetitions."""
    tries = draw(st.integers(1, 2))
    numbers = st.integers(1, tries)
    answers = {
        event.number: event
        for event in draw(
            st.lists(
                st.builds(
                    Answer,
                    numbers,
                    st.sampled_from(["accepted", "rejected", "failed", "unknown"]),
                ),
                max_size=2,
            )
        )
    }
    if tries == 2 and 1 in answers and answers[1].kind != "accepted":
        # The first was lost: nothing but that it was accepted after all is news.
        del answers[1]
    receipts = draw(
        st.lists(
            st.builds(
                Receipt,
                numbers,
                st.sampled_from(["reference", "id", "both"]),
                st.sampled_from(list(Progress)),
            ),
            max_size=5,
        )
    )
    events: list[Event] = [*answers.values(), *receipts]
    repeated = draw(st.lists(st.sampled_from(receipts), max_size=2)) if receipts else []
    return tries, draw(st.permutations(events)), draw(st.permutations([*events, *repeated]))


@settings(max_examples=60)
@given(happenings=happenings())
@example(happenings=(1, [UNDERWAY, ACCEPTED, BY_ID], [BY_ID, UNDERWAY, ACCEPTED]))
@example(happenings=(1, [BY_ID, BY_BOTH], [BY_BOTH, BY_ID]))
@example(happenings=(1, [UNDERWAY, BY_BOTH, BY_ID], [BY_ID, BY_BOTH, UNDERWAY]))
def test_receipts_and_answers_in_any_order_and_any_number_come_to_the_same(
    database: Direct, happenings: tuple[int, list[Event], list[Event]]
) -> None:
    tries, *orders = happenings
    for events in orders:
        message = sent(database, tries)
        for event in events:
            happen(database, message, event)
        assert state(database, message) == expected(events, tries)


@settings(max_examples=30)
@given(
    before=st.lists(
        st.builds(Receipt, st.just(1), st.just("reference"), st.sampled_from(Progress))
    ),
    after=st.lists(st.builds(Receipt, st.just(1), st.just("reference"), st.sampled_from(Progress))),
)
def test_what_is_known_never_goes_back(
    database: Direct, before: list[Receipt], after: list[Receipt]
) -> None:
    order = ["sending", "sent", "failed", "delivered"]
    message = sent(database, 1)
    seen = []
    events: list[Event] = [*before, ACCEPTED, *after]
    for event in events:
        happen(database, message, event)
        seen.append(order.index(state(database, message)[0][0]))
    assert seen == sorted(seen)


class Busy:
    """A database whose transactions begin only when the test goes on."""

    def __init__(self, database: Direct) -> None:
        self._database = database
        self._waiting: list[tuple[Deferred[Any], Any]] = []
        self.transactions = 0

    def transaction(self, work: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self._waiting.append((done, work))
        return done

    def go_on(self) -> None:
        while self._waiting:
            done, work = self._waiting.pop(0)
            self.transactions += 1
            self._database.transaction(work).chainDeferred(done)


@settings(max_examples=40)
@given(
    receipts=st.lists(
        st.builds(
            Receipt,
            st.integers(1, 2),
            st.sampled_from(["reference", "id", "both"]),
            st.sampled_from(Progress),
        ),
        min_size=1,
        max_size=8,
    )
)
@example(receipts=[UNDERWAY, BY_BOTH, BY_ID])
@example(receipts=[BY_ID, BY_BOTH])
def test_receipts_that_come_all_at_once_come_to_the_same(
    database: Direct, receipts: list[Receipt]
) -> None:
    message = sent(database, 2)
    (before,) = database.sql("SELECT count(*) FROM receipt")
    busy = Busy(database)
    pretended: Any = busy
    inbox = Inbox(pretended, SENDER)
    stored = [Deferred.fromCoroutine(inbox.receipt(fact(message, one))) for one in receipts]
    busy.go_on()
    assert [run(each) for each in stored] == [None] * len(receipts)
    assert state(database, message) == expected([*receipts], 2)
    (after,) = database.sql("SELECT count(*) FROM receipt")
    assert after[0] - before[0] == len(receipts)


def test_receipts_of_different_messages_that_come_together_are_one_transaction(
    database: Direct,
) -> None:
    message = sent(database, 2)
    busy = Busy(database)
    pretended: Any = busy
    inbox = Inbox(pretended, SENDER)
    first, second = (Receipt(n, "reference", Progress.DELIVERED) for n in (1, 2))
    nobodys = ReceiptFact(status="sent", progress=Progress.UNDERWAY, provider_id="unheard-of")
    facts = [nobodys, fact(message, first), fact(message, second), nobodys]
    stored = [Deferred.fromCoroutine(inbox.receipt(one)) for one in facts]
    busy.go_on()
    assert [run(each) for each in stored] == [None] * 4
    assert busy.transactions == 2, "the first alone, then what came meanwhile"
    assert [progress for _, _, progress in state(database, message)] == ["delivered"] * 2


def test_a_receipt_that_nobody_knows_is_kept(database: Direct) -> None:
    pretended: Any = database
    fact = ReceiptFact(status="sent", progress=Progress.UNDERWAY, provider_id="nobody's")
    run(Inbox(pretended, SENDER).receipt(fact))
    assert database.sql(
        "SELECT status, attempt_id FROM receipt WHERE provider_id = 'nobody''s'"
    ) == [("sent", None)]


def test_an_id_of_another_sender_is_another_id(database: Direct) -> None:
    message = sent(database, 1)
    happen(database, message, Answer(1, "accepted"))
    pretended: Any = database
    provider_id = f"id-of-{message.attempts[0][1]}"
    fact = ReceiptFact(status="x", progress=Progress.FAILED, provider_id=provider_id)
    run(Inbox(pretended, "another").receipt(fact))
    assert state(database, message) == [("sent", 1, "underway")]


def test_what_postgresql_cannot_keep_is_replaced(database: Direct) -> None:
    pretended: Any = database
    inbox = Inbox(pretended, SENDER)
    odd = "a\0b\ud800c"
    run(
        inbox.reply(ReplyFact(provider_id=odd, source=odd, content=odd, encoding=odd, operator=odd))
    )
    run(inbox.receipt(ReceiptFact(status=odd, progress=Progress.UNDERWAY, provider_id=odd)))
    assert database.sql("SELECT content, encoding, operator FROM reply") == [("a\ufffdb?c",) * 3]


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ("+64211234567", "+64211234567"),
        ("64211234567", "+64211234567"),
        ("+64 21 123 4567", "+64211234567"),
        ("0211234567", None),
        ("2048", "+2048"),
        ("Bank of Kiwi", None),
        ("", None),
        ("+", None),
        ("\0", None),
    ],
)
def test_a_source_becomes_a_number_or_nothing(source: str, number: str | None) -> None:
    assert e164(source) == number
