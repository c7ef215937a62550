"""Attempts, outcomes and receipts: where a message stands, and when it is tried again."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules import delivery
from hotpotato.rules.delivery import AttemptFacts
from hotpotato.vocabulary import MessageStatus, Outcome, Progress

ACCEPTED = AttemptFacts(Outcome.ACCEPTED)
DELIVERED = AttemptFacts(Outcome.ACCEPTED, Progress.DELIVERED)
BROUGHT_BACK = AttemptFacts(Outcome.ACCEPTED, Progress.FAILED)
REJECTED = AttemptFacts(Outcome.REJECTED)
FAILED = AttemptFacts(Outcome.FAILED)
UNKNOWN = AttemptFacts(Outcome.UNKNOWN)
UNDER_WAY = AttemptFacts(None)

attempts = st.lists(
    st.sampled_from([ACCEPTED, DELIVERED, BROUGHT_BACK, REJECTED, FAILED, UNKNOWN, UNDER_WAY]),
    max_size=6,
)


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        ([], MessageStatus.QUEUED),
        ([UNDER_WAY], MessageStatus.SENDING),
        ([UNKNOWN], MessageStatus.SENDING),
        ([FAILED], MessageStatus.QUEUED),
        ([REJECTED], MessageStatus.FAILED),
        ([ACCEPTED], MessageStatus.SENT),
        ([DELIVERED], MessageStatus.DELIVERED),
        ([BROUGHT_BACK], MessageStatus.FAILED),
        ([UNKNOWN, ACCEPTED], MessageStatus.SENT),
        ([UNKNOWN, REJECTED], MessageStatus.FAILED),
        ([BROUGHT_BACK, UNDER_WAY], MessageStatus.SENDING),
    ],
)
def test_a_message_stands_where_its_attempts_put_it(
    tried: list[AttemptFacts], expected: MessageStatus
) -> None:
    assert delivery.status(tried) is expected


def test_a_late_failure_of_the_first_attempt_never_fails_an_accepted_second() -> None:
    assert delivery.status([BROUGHT_BACK, ACCEPTED]) is MessageStatus.SENT
    assert delivery.status([BROUGHT_BACK, DELIVERED]) is MessageStatus.DELIVERED


def test_after_its_time_a_message_fails_instead_of_being_tried_again() -> None:
    for tried in ([], [FAILED], [UNKNOWN]):
        assert delivery.status(tried, expired=True) is MessageStatus.FAILED
    assert delivery.status([UNDER_WAY], expired=True) is MessageStatus.SENDING


@given(attempts, st.sampled_from([MessageStatus.CANCELLED, MessageStatus.FAILED]))
def test_what_was_given_up_is_only_ever_lifted_by_what_arrived(
    tried: list[AttemptFacts], current: MessageStatus
) -> None:
    """Nothing makes a cancelled or failed message wait for another attempt."""
    status = delivery.status(tried, current=current)
    assert status in (current, MessageStatus.SENT, MessageStatus.DELIVERED)


@given(attempts, st.booleans())
def test_delivered_is_said_exactly_when_a_receipt_said_so(
    tried: list[AttemptFacts], expired: bool
) -> None:
    said = any(attempt.progress is Progress.DELIVERED for attempt in tried)
    found = delivery.status(tried, expired=expired) is MessageStatus.DELIVERED
    assert found is said


@given(st.lists(st.sampled_from(list(Progress)), max_size=5))
def test_receipts_in_any_order_and_number_end_in_the_same_state(said: list[Progress]) -> None:
    """Every order of them, and every one of them told twice."""

    def after(receipts: list[Progress]) -> Progress:
        known = Progress.UNDERWAY
        for receipt in receipts:
            known = delivery.advanced(known, receipt)
        return known

    ends = {after([*order, *order]) for order in permutations(said)}
    ends |= {after(list(order)) for order in permutations(said)}
    assert len(ends) == 1


@given(st.sampled_from(list(Progress)), st.sampled_from(list(Progress)))
def test_a_final_state_never_goes_back(known: Progress, said: Progress) -> None:
    after = delivery.advanced(known, said)
    assert after in (known, said)
    if known is Progress.DELIVERED:
        assert after is Progress.DELIVERED
    if known is Progress.FAILED:
        assert after is not Progress.UNDERWAY


@given(
    st.integers(1, 10_000),
    st.sampled_from([Outcome.FAILED, Outcome.UNKNOWN]),
    st.none() | st.floats(-10, 1e9),
    st.floats(0, 1),
)
def test_the_pause_is_capped_and_never_shorter_than_what_was_asked(
    tries: int, outcome: Outcome, retry_after: float | None, chance: float
) -> None:
    pause = delivery.pause(tries, outcome, retry_after, chance)
    if retry_after is not None:
        assert pause >= min(retry_after, 86_400)
    if outcome is Outcome.UNKNOWN:
        assert pause >= delivery.WAIT_FOR_RECEIPT
    if not retry_after or retry_after <= delivery.WAIT_FOR_RECEIPT:
        assert 1.5 <= pause <= delivery.LONGEST_PAUSE


def test_pauses_double_until_the_longest() -> None:
    pauses = [delivery.pause(tries, Outcome.FAILED, None, 0) for tries in range(1, 10)]
    assert pauses == [2, 4, 8, 16, 32, 64, 120, 120, 120]


def test_what_failed_together_does_not_come_back_together() -> None:
    assert delivery.pause(5, Outcome.FAILED, None, 1) == 24
    assert delivery.pause(5, Outcome.FAILED, None, 0) == 32
