"""How long a failed authentication waits for its answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules import failures
from hotpotato.rules.failures import ALLOWED, EVERY, LONGEST, counted_as, forgiven_at


def waits(times: list[float]) -> list[float]:
    """How long each of some failures at these times waits."""
    found, forgiven = [], float("-inf")
    for now in times:
        forgiven = forgiven_at(forgiven, now)
        found.append(failures.wait(forgiven, now))
    return found


def test_the_first_hundred_wait_for_nothing_and_then_each_waits_longer() -> None:
    found = waits([50.0] * (ALLOWED + 10))
    assert found[:ALLOWED] == [0.0] * ALLOWED
    assert found[ALLOWED : ALLOWED + 5] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert set(found[ALLOWED + 5 :]) == {LONGEST}


def test_who_waits_for_each_answer_gets_one_in_each_interval() -> None:
    now, answered = 0.0, []
    forgiven = float("-inf")
    for _ in range(ALLOWED + 20):
        forgiven = forgiven_at(forgiven, now)
        now += failures.wait(forgiven, now)
        answered.append(now)
    assert answered[ALLOWED - 1] == 0.0
    assert answered[ALLOWED:] == [EVERY * (number + 1) for number in range(20)]


def test_one_failure_in_each_interval_never_waits() -> None:
    assert set(waits([number * EVERY for number in range(10 * ALLOWED)])) == {0.0}


@given(st.integers(1, 5000))
def test_however_often_it_failed_a_pause_forgives_everything(count: int) -> None:
    forgiven = float("-inf")
    for _ in range(count):
        forgiven = forgiven_at(forgiven, 0.0)
    later = ALLOWED * EVERY + LONGEST
    assert forgiven <= later
    assert failures.wait(forgiven_at(forgiven, later), later) == 0.0


@given(st.lists(st.floats(0, 1e6), max_size=300).map(sorted))
def test_no_answer_waits_longer_than_is_allowed_for(times: list[float]) -> None:
    assert all(0.0 <= wait <= LONGEST + 1e-6 for wait in waits(times))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("/run/hotpotato.sock", "/run/hotpotato.sock"),
        ("", ""),
    ],
)
def test_under_which_name_an_address_is_counted(host: str, name: str) -> None:
    """Whoever has an IPv6 network has 2^64 addresses to fail from."""
    assert counted_as(host) == name
