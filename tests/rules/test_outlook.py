"""The line of a policy, and how it is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules.policy import SHIPPED, Policy, Step, Whom, length, next_turn, outlook

NAMES = {1: "Anna", 2: "Bob"}


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Steps at once and later, some again."""
    later = draw(st.lists(st.integers(1, 100_000), max_size=4, unique=True))
    again = st.none() | st.integers(30, 10_000).map(float)
    return Policy(
        steps=tuple(
            Step(after=after, again=draw(again), whom=Whom.EVERYONE)
            for after in [0, *sorted(later)]
        )
    )


@given(policies(), st.floats(0, 1e7))
def test_wherever_an_alert_is_when_its_policy_changes_it_has_a_next_turn_ahead(
    policy: Policy, place: float
) -> None:
    turn = next_turn(policy, place)
    assert turn.at > place
    assert turn.steps
    assert all(step.after <= turn.at for step in turn.steps)


@pytest.mark.parametrize(
    ("place", "age", "said"),
    [
        (
            None,
            0.0,
            "now: on call (primary); at 10 min: on call (secondary); at 20 min: everyone,"
            " every 10 min until somebody takes it",
        ),
        (
            0.0,
            60.0,
            "in 4 min: on call (primary) again; at 10 min: on call (secondary); at 20 min:"
            " everyone, every 10 min until somebody takes it",
        ),
        (
            300.0,
            0.0,
            "in 5 min: on call (primary) again and on call (secondary); at 20 min: everyone,"
            " every 10 min until somebody takes it",
        ),
        (900.0, 299.5, "now: everyone, every 10 min until somebody takes it"),
        (1200.0, 30.0, "in 9 min 30 s: everyone again, every 10 min until somebody takes it"),
    ],
)
def test_what_the_shipped_policy_does_next_is_told(
    place: float | None, age: float, said: str
) -> None:
    assert outlook(SHIPPED, place, age, NAMES) == said


def test_a_policy_of_one_step_for_a_person_is_told_by_name_and_goes_on_for_ever() -> None:
    policy = Policy(steps=(Step(after=0, whom=Whom.PERSON, person=2, all_contacts=True),))
    assert outlook(policy, None, 0.0, NAMES) == (
        "now: Bob, all contacts at once, every 10 min until somebody takes it"
    )
    assert outlook(policy, 0.0, 5.0, {}).startswith("in 9 min 55 s: somebody unknown, all")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.6, "1 min"), (90, "1 min 30 s"), (5400, "1 h 30 min"), (90_000, "1 d 1 h")],
)
def test_a_length_of_time_is_told_to_the_second(seconds: float, said: str) -> None:
    assert length(seconds) == said
