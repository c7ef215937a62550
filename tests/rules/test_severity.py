"""How bad a state is."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules.severity import severity


def test_the_states_of_monitoring_programs_have_an_order() -> None:
    for better, worse in pairwise(["OK", "WARNING", "UNKNOWN", "UNREACHABLE", "CRITICAL"]):
        assert severity(better) < severity(worse)
    assert severity("UP") == severity("OK") == 0
    assert severity("DOWN") == severity("CRITICAL")


@given(st.text())
def test_what_nobody_knows_is_as_bad_as_any_and_case_does_not_matter(state: str) -> None:
    if state.upper() not in ("OK", "UP", "WARNING", "UNKNOWN", "UNREACHABLE"):
        assert severity(state) == severity("CRITICAL")
    assert severity(state.upper()) == severity(state)


def test_case_does_not_matter() -> None:
    assert severity("ok") == 0
    assert severity("Warning") == severity("WARNING")
