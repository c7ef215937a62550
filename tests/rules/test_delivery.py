"""What became of a message: derived from its attempts, and only forward."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules.delivery import (
    LONGEST_PAUSE,
    WAIT_FOR_RECEIPT,
    AttemptFacts,
    advanced,
    pause,
    status,
)
from hotpotato.vocabulary import MessageStatus, Outcome, Progress

UNDER_WAY = AttemptFacts(None)
ACCEPTED = AttemptFacts(Outcome.ACCEPTED)
REJECTED = AttemptFacts(Outcome.REJECTED)
FAILED = AttemptFacts(Outcome.FAILED)
UNKNOWN = AttemptFacts(Outcome.UNKNOWN)
ARRIVED = AttemptFacts(Outcome.ACCEPTED, Progress.DELIVERED)
LOST = AttemptFacts(Outcome.ACCEPTED, Progress.FAILED)


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([], MessageStatus.QUEUED),
        ([UNDER_WAY], MessageStatus.SENDING),
        ([ACCEPTED], MessageStatus.SENT),
        ([ARRIVED], MessageStatus.DELIVERED),
        ([LOST], MessageStatus.FAILED),
        ([REJECTED], MessageStatus.FAILED),
        ([FAILED], MessageStatus.QUEUED),
        ([UNKNOWN], MessageStatus.SENDING),
        ([UNKNOWN, UNDER_WAY], MessageStatus.SENDING),
        ([UNKNOWN, ACCEPTED], MessageStatus.SENT),
        ([LOST, ACCEPTED], MessageStatus.SENT),
        ([LOST, UNDER_WAY], MessageStatus.SENDING),
        ([ACCEPTED, REJECTED], MessageStatus.SENT),
        ([ARRIVED, LOST], MessageStatus.DELIVERED),
        ([UNKNOWN, LOST], MessageStatus.FAILED),
        ([LOST, FAILED], MessageStatus.QUEUED),
        ([FAILED, UNKNOWN], MessageStatus.SENDING),
    ],
    ids=str,
)
def test_a_message_stands_where_its_attempts_say(
    attempts: list[AttemptFacts], expected: MessageStatus
) -> None:
    assert status(attempts) is expected


@pytest.mark.parametrize("attempts", [[], [FAILED], [UNKNOWN], [FAILED, UNKNOWN]], ids=str)
def test_when_its_time_is_over_it_is_not_tried_again(attempts: list[AttemptFacts]) -> None:
    assert status(attempts, expired=True) is MessageStatus.FAILED


def test_what_is_under_way_when_its_time_is_over_is_awaited() -> None:
    assert status([UNDER_WAY], expired=True) is MessageStatus.SENDING


@pytest.mark.parametrize("current", [MessageStatus.CANCELLED, MessageStatus.FAILED])
def test_cancelled_or_failed_it_is_not_tried_again_but_what_arrives_is_told(
    current: MessageStatus,
) -> None:
    assert status([FAILED], current=current) is current
    assert status([UNKNOWN], current=current) is current
    assert status([ACCEPTED], current=current) is MessageStatus.SENT
    assert status([ARRIVED], current=current) is MessageStatus.DELIVERED


outcomes = st.none() | st.sampled_from(Outcome)
some_attempts = st.lists(st.builds(AttemptFacts, outcomes, st.just(Progress.UNDERWAY)), max_size=4)
words = st.lists(st.sampled_from(Progress))


@given(words, st.randoms(use_true_random=False), words)
def test_receipts_in_any_order_and_any_number_come_to_the_same(
    said: list[Progress], dice: object, again: list[Progress]
) -> None:
    """The greatest of them: a final word never goes back."""
    repeated = [*said, *(word for word in again if word in said)]
    shuffle = getattr(dice, "shuffle")  # noqa: B009
    shuffle(repeated)
    assert functools.reduce(advanced, said, Progress.UNDERWAY) is functools.reduce(
        advanced, repeated, Progress.UNDERWAY
    )


@given(st.sampled_from(Progress), st.sampled_from(Progress))
def test_a_receipt_never_takes_a_final_word_back(known: Progress, said: Progress) -> None:
    if known is Progress.DELIVERED:
        assert advanced(known, said) is Progress.DELIVERED
    if known is Progress.FAILED:
        assert advanced(known, said) is not Progress.UNDERWAY


@given(some_attempts, st.booleans())
def test_it_is_done_only_when_nothing_of_it_is_alive(
    attempts: list[AttemptFacts], expired: bool
) -> None:
    """Failed means: no attempt was accepted, and none is under way."""
    if status(attempts, expired=expired) is MessageStatus.FAILED:
        assert all(attempt.outcome not in (None, Outcome.ACCEPTED) for attempt in attempts)


@given(some_attempts, st.sampled_from(MessageStatus), st.booleans())
def test_one_arrival_is_enough_whatever_else_became_of_it(
    attempts: list[AttemptFacts], current: MessageStatus, expired: bool
) -> None:
    found = status([*attempts, ARRIVED, *attempts], current=current, expired=expired)
    assert found is MessageStatus.DELIVERED


def test_pauses_double_from_two_seconds_to_two_minutes() -> None:
    whole = [pause(tries, Outcome.FAILED, None, 0.0) for tries in range(1, 10)]
    assert whole == [2, 4, 8, 16, 32, 64, 120, 120, 120]
    assert pause(10**6, Outcome.FAILED, None, 0.0) == LONGEST_PAUSE


@given(
    st.integers(1, 10**6),
    st.sampled_from(Outcome),
    st.none() | st.floats(),
    st.floats(0, 1, exclude_max=True),
)
def test_a_pause_is_never_shorter_than_asked_and_never_endless(
    tries: int, outcome: Outcome, retry_after: float | None, chance: float
) -> None:
    seconds = pause(tries, outcome, retry_after, chance)
    assert 1.5 <= seconds <= 86_400
    if retry_after is not None and 0 < retry_after <= 86_400:
        assert seconds >= retry_after
    if retry_after is None:
        assert seconds <= LONGEST_PAUSE
    if outcome is Outcome.UNKNOWN:
        assert seconds >= WAIT_FOR_RECEIPT


def test_chance_spreads_what_failed_together_by_a_quarter() -> None:
    assert pause(4, Outcome.FAILED, None, 0.999) == pytest.approx(12, abs=0.1)
