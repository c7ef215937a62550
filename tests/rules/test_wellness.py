"""Whether all is well, and which reasons there are if not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules.wellness import Facts, status, unready, unwell

WELL = Facts(senders=("modica", "other"))


def test_nothing_is_said_of_what_is_well() -> None:
    assert (unready(WELL), unwell(WELL), status(WELL)) == ((), (), "ready")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(senders=("a",), trouble="the database is away"), "the database is away"),
        (Facts(senders=("a",), stalled=("rota",)), "no turn was finished lately by: rota"),
        (Facts(), "no sender is configured"),
        (Facts(senders=("a",), sick={"a": "it fails"}), "no sender is well: a (it fails)"),
        (
            Facts(senders=("a",), undelivered=300.0),
            "nothing could be delivered for 5 minutes",
        ),
    ],
)
def test_each_reason_alone_is_enough_and_is_said(facts: Facts, reason: str) -> None:
    assert unwell(facts) == (reason,)


def test_one_sender_that_is_well_is_enough() -> None:
    facts = Facts(senders=("a", "b"), sick={"a": "it fails"})
    assert unwell(facts) == ()
    assert status(facts) == "ready; sick senders: a (it fails)"


def test_a_provider_that_is_down_is_no_reason_to_send_the_notifications_elsewhere() -> None:
    assert unready(Facts(senders=("a",), sick={"a": "it fails"}, undelivered=900.0)) == ()


facts_ = st.builds(
    Facts,
    trouble=st.none() | st.just("the database is away"),
    stalled=st.lists(st.sampled_from(["rota", "health"]), unique=True),
    senders=st.lists(st.sampled_from(["a", "b"]), unique=True),
    sick=st.dictionaries(st.sampled_from(["a", "b"]), st.just("it fails")),
    undelivered=st.none() | st.floats(0, 1e6),
)


@given(facts_)
def test_who_is_unready_is_unwell_and_a_status_is_one_line(facts: Facts) -> None:
    assert set(unready(facts)) <= set(unwell(facts))
    assert "\n" not in status(facts) and status(facts)
    assert (status(facts) == "ready") <= (unready(facts) == ())
