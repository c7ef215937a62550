"""Pace: how much a phone is sent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules.pacing import HOUR, Sent, pause
from hotpotato.rules.policy import Pace

SHIPPED = Pace()


def one_each(*ago: float) -> list[Sent]:
    """Messages of one segment, so many seconds ago."""
    return [Sent(each, 1) for each in ago]


def test_a_quiet_phone_gets_its_first_message_at_once_whatever_its_size() -> None:
    assert pause(SHIPPED, [], 1) == 0.0
    assert pause(SHIPPED, [], 40) == 0.0
    assert pause(Pace(burst=1, every=3600.0, hourly=1), [Sent(3600.0, 40)], 40) == 0.0


def test_three_go_at_once_and_the_fourth_a_minute_later() -> None:
    assert pause(SHIPPED, one_each(0, 0), 1) == 0.0
    assert pause(SHIPPED, one_each(0, 0, 0), 1) == 60.0
    assert pause(SHIPPED, one_each(45, 45, 45), 1) == 15.0
    assert pause(SHIPPED, one_each(60, 60, 60), 1) == 0.0


def test_a_long_one_takes_longer() -> None:
    assert pause(SHIPPED, one_each(0, 0, 0), 2) == 120.0
    assert pause(SHIPPED, [Sent(0, 3)], 3) == 180.0


def test_what_was_not_used_is_not_saved_up_beyond_the_burst() -> None:
    assert pause(SHIPPED, one_each(3000, 1, 1, 1), 1) == 59.0


def test_the_twenty_first_within_an_hour_waits_until_the_first_is_an_hour_old() -> None:
    sent = one_each(*(60.0 * minute for minute in range(1, 21)))
    assert pause(SHIPPED, sent, 1) == HOUR - 1200.0


def test_the_order_in_which_they_are_told_of_does_not_matter() -> None:
    sent = [Sent(100, 2), Sent(5, 1), Sent(2000, 3)]
    assert pause(SHIPPED, sent, 1) == pause(SHIPPED, sent[::-1], 1)


paces = st.builds(
    Pace,
    burst=st.integers(1, 10),
    every=st.floats(0.5, 900),
    hourly=st.integers(1, 60),
)
arrivals = st.lists(st.tuples(st.floats(0, 2000), st.integers(1, 4)), min_size=1, max_size=40)


def sent_by(pace: Pace, waiting: list[tuple[float, int]]) -> list[tuple[float, float, int]]:
    """(due, sent, segments) of messages that go one after the other, each as soon as it may."""
    now, due = 0.0, 0.0
    done: list[tuple[float, float, int]] = []
    for gap, segments in waiting:
        due += gap
        now = max(now, due)
        while wait := pause(pace, [Sent(now - at, size) for _, at, size in done], segments):
            now += wait
        done.append((due, now, segments))
    return done


@given(paces, arrivals)
def test_no_window_has_more_than_the_burst_and_what_time_has_brought(
    pace: Pace, waiting: list[tuple[float, int]]
) -> None:
    """What alone is more than the burst goes when nothing else is owed, and so may exceed it."""
    done = sent_by(pace, waiting)
    most = max(pace.burst, *(segments for _, _, segments in done))
    for first, (_, since, _) in enumerate(done):
        total = 0
        for _, at, segments in done[first:]:
            if at - since > HOUR - 1:
                break
            total += segments
            assert total <= most + (at - since) / pace.every + 1e-3


@given(paces, arrivals)
def test_no_hour_has_more_than_it_may(pace: Pace, waiting: list[tuple[float, int]]) -> None:
    done = sent_by(pace, waiting)
    most = max(pace.hourly, *(segments for _, _, segments in done))
    for first, (_, since, _) in enumerate(done):
        assert sum(size for _, at, size in done[first:] if at - since < HOUR - 1e-3) <= most


@given(paces, arrivals)
def test_the_first_is_never_delayed(pace: Pace, waiting: list[tuple[float, int]]) -> None:
    due, at, _ = sent_by(pace, waiting)[0]
    assert at == due


@given(
    paces,
    st.lists(st.builds(Sent, ago=st.floats(0, 7200), segments=st.integers(1, 9)), max_size=50),
    st.integers(1, 9),
)
def test_the_pause_is_never_longer_than_an_hour_and_after_it_the_message_may_go(
    pace: Pace, sent: list[Sent], segments: int
) -> None:
    wait = pause(pace, sent, segments)
    assert 0 <= wait <= HOUR
    later = [Sent(each.ago + wait, each.segments) for each in sent]
    assert pause(pace, later, segments) == 0.0
