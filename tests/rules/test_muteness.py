"""Since when nothing can be delivered, and from when on that is an alarm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules.muteness import LATELY, Traffic, is_alarm, undelivered_for

AFTER = 300.0


def traffic(
    *,
    waiting: bool = False,
    refused: float | None = None,
    accepted: float | None = None,
    since: float | None = None,
) -> Traffic:
    return Traffic(waiting=waiting, refused=refused, accepted=accepted, since=since)


@pytest.mark.parametrize(
    ("known", "seconds"),
    [
        (traffic(), None),
        (traffic(since=600), None),
        (traffic(waiting=True), 0.0),
        (traffic(waiting=True, accepted=3), 0.0),
        (traffic(waiting=True, since=120), 120.0),
        (traffic(waiting=True, accepted=500, since=120), 120.0),
        (traffic(waiting=True, accepted=5, since=120), 0.0),
        (traffic(refused=5, since=120), 120.0),
        (traffic(refused=LATELY * AFTER, since=1000), None),
    ],
)
def test_it_counts_from_when_it_was_noticed_and_anew_after_anything_was_taken(
    known: Traffic, seconds: float | None
) -> None:
    assert undelivered_for(known, AFTER) == seconds


@pytest.mark.parametrize(
    ("known", "alarm"),
    [
        (traffic(waiting=True, since=299), False),
        (traffic(waiting=True, since=300), True),
        (traffic(refused=305, since=300), False),
        (traffic(refused=1, since=300), True),
    ],
)
def test_it_is_an_alarm_after_a_while_if_it_was_tried_again(known: Traffic, alarm: bool) -> None:
    assert is_alarm(known, undelivered_for(known, AFTER), AFTER) == alarm


ago = st.none() | st.floats(0, 1e6)


@given(st.booleans(), ago, ago, ago, st.floats(60, 1e5))
def test_there_is_no_alarm_while_anything_was_taken_within_that_time(
    waiting: bool, refused: float | None, accepted: float | None, since: float | None, after: float
) -> None:
    known = traffic(waiting=waiting, refused=refused, accepted=accepted, since=since)
    if is_alarm(known, undelivered_for(known, after), after):
        assert since is not None and since >= after
        assert accepted is None or accepted >= after
