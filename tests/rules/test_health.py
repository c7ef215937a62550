"""What canaries say of a sender, and when the next one is sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules.health import Canary, canary_due, canary_sickness, is_canarys

BACK, LATE = Canary(900, back=3), Canary(900, back=80, failed="did not come back within 60 s")
LOST, OUT = Canary(100, failed="did not come back within 60 s"), Canary(5)


@pytest.mark.parametrize(
    ("flown", "sick"),
    [
        ([], False),
        ([OUT], False),
        ([BACK], False),
        ([LATE], False),
        ([LOST], True),
        ([OUT, LOST], True),
        ([OUT, BACK], False),
        ([LOST, BACK], True),
        ([BACK, LOST], False),
    ],
)
def test_the_newest_that_is_over_decides(flown: list[Canary], sick: bool) -> None:
    why = canary_sickness(flown)
    assert (why is not None) == sick
    assert why is None or is_canarys(why)


@pytest.mark.parametrize(
    ("flown", "due"),
    [
        ([], 0.0),
        ([OUT], 3595.0),
        ([BACK], 2700.0),
        ([LATE], 2700.0),
        ([LOST], -40.0),
        ([Canary(10, failed="was not taken: down")], 50.0),
        ([LOST] * 2, -40.0),
        ([LOST] * 3, 500.0),
        ([LOST, BACK, LOST], -40.0),
    ],
)
def test_the_next_one_is_sent_after_the_interval_or_sooner_after_a_loss(
    flown: list[Canary], due: float
) -> None:
    assert canary_due(flown, 3600, 60) == due


seconds = st.floats(5, 1e5)
canaries = st.builds(
    Canary, st.floats(0, 1e5), st.none() | st.floats(0, 1e5), st.none() | st.just("was lost")
)


@given(canaries, seconds, seconds)
def test_there_is_never_more_than_one_out(last: Canary, one: float, other: float) -> None:
    within, interval = sorted((one, other))
    assert canary_due([last], interval, within) + last.age >= within - 1e-6
