"""Group commit: who goes together, who waits, and who is told what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from hotpotato.store.database import OutcomeUnknown, StatementRefused, Unavailable
from hotpotato.store.groups import Claim, Groups

Item = tuple[str, str, str]
"""A name, the things it touches, and those of them that it is the last in its group to touch."""


class Committing:
    """Groups, and the commits they ask for, which end when the test says so."""

    def __init__(self, *, at_once: bool = False, **limits: int) -> None:
        self.clock = Clock()
        self.groups: Groups[Item, str] = Groups(
            None if at_once else self.clock, self.commit, _claims, **limits
        )
        self.under_way: list[tuple[list[Item], Deferred[Sequence[str]]]] = []
        self.begun: list[str] = []

    def commit(self, group: Sequence[Item]) -> Deferred[Sequence[str]]:
        committed: Deferred[Sequence[str]] = Deferred()
        self.under_way.append((list(group), committed))
        self.begun.append(" ".join(name for name, _, _ in group))
        return committed

    def add(self, name: str, things: str = "", last: str = "") -> Waiter:
        return Waiter(self.groups.add((name, things, last)))

    def turn(self) -> None:
        self.clock.advance(0)

    def end(self, result: Any = None, which: int = 0) -> None:
        """End a commit: with an answer for each item, or as `result` says."""
        group, committed = self.under_way.pop(which)
        if isinstance(result, Exception):
            committed.errback(result)
        elif result is None:
            committed.callback([f"{name} is on disk" for name, _, _ in group])
        else:
            committed.callback(result)
        self.turn()


def _claims(item: Item) -> list[Claim]:
    _, things, last = item
    return [Claim(thing.encode(), last=thing in last) for thing in things]


class Waiter:
    """What somebody who added an item has been told."""

    def __init__(self, answer: Deferred[str]) -> None:
        self.told: list[Any] = []
        self.answer = answer
        answer.addCallbacks(self.told.append, lambda failure: self.told.append(failure.value))


def refused() -> StatementRefused:
    return StatementRefused("22000", "not this one", None)


# ------------------------------------------------------------------ who goes together


def test_what_comes_in_the_same_turn_of_the_reactor_is_one_group() -> None:
    made = Committing()
    waiters = [made.add(name) for name in "abc"]
    assert made.begun == []
    made.turn()
    assert made.begun == ["a b c"]
    assert [waiter.told for waiter in waiters] == [[], [], []]
    made.end()
    assert [waiter.told for waiter in waiters] == [
        ["a is on disk"],
        ["b is on disk"],
        ["c is on disk"],
    ]


def test_what_comes_while_the_groups_under_way_are_committed_makes_the_next_one() -> None:
    made = Committing(under_way=2)
    for name in "abcde":
        made.add(name)
        made.turn()
    assert made.begun == ["a", "b"]
    assert made.groups.waiting == 3
    made.end()
    assert made.begun == ["a", "b", "c d e"]
    assert made.groups.waiting == 0


def test_without_a_clock_a_group_begins_at_once_and_the_next_one_when_it_ends() -> None:
    made = Committing(at_once=True, under_way=1)
    for name in "abc":
        made.add(name)
    assert made.begun == ["a"]
    made.end()
    assert made.begun == ["a", "b c"]


def test_a_group_has_a_largest_size_and_the_rest_follows_at_once_in_another() -> None:
    made = Committing(size=3, under_way=2)
    for name in "abcdefgh":
        made.add(name)
    made.turn()
    made.turn()
    assert made.begun == ["a b c", "d e f"]
    made.end()
    assert made.begun[2:] == ["g h"]


def test_two_groups_under_way_never_touch_the_same_thing() -> None:
    made = Committing()
    made.add("a", "x")
    made.turn()
    made.add("b", "x")
    made.add("c", "y")
    made.turn()
    assert made.begun == ["a", "c"]
    made.end()
    assert made.begun == ["a", "c", "b"]


def test_who_waits_for_one_thing_makes_those_wait_who_come_later_for_another() -> None:
    """Else they would overtake it."""
    made = Committing(under_way=3)
    made.add("a", "x")
    made.turn()
    made.add("b", "xy")
    made.add("c", "y")
    made.turn()
    assert made.begun == ["a"]
    made.end()
    assert made.begun == ["a", "b c"]


def test_after_the_last_to_touch_a_thing_the_next_is_in_another_group() -> None:
    """A RECOVERY may end an alert, and the PROBLEM after it open another."""
    made = Committing()
    made.add("problem", "x")
    made.add("recovery", "x", last="x")
    made.add("another problem", "x")
    made.add("of something else", "y")
    made.turn()
    assert made.begun == ["problem recovery of something else"]
    made.end()
    assert made.begun[1:] == ["another problem"]


# ------------------------------------------------------------------ who is told what


def test_a_group_that_is_refused_is_repeated_one_by_one_and_in_order() -> None:
    made = Committing()
    waiters = [made.add(name, "x") for name in "abc"]
    made.turn()
    made.end(refused())
    assert made.begun == ["a b c", "a"]
    made.end()
    poison = refused()
    made.end(poison)
    made.end()
    assert made.begun == ["a b c", "a", "b", "c"]
    assert [waiter.told for waiter in waiters] == [["a is on disk"], [poison], ["c is on disk"]]


def test_what_is_refused_one_by_one_still_touches_its_things() -> None:
    made = Committing()
    made.add("a", "x")
    made.add("b", "y")
    made.turn()
    made.add("c", "y")
    made.end(refused())
    made.end()
    assert made.begun == ["a b", "a", "b"]
    made.end()
    assert made.begun == ["a b", "a", "b", "c"]


def test_a_defect_of_ours_with_one_item_harms_nobody_else() -> None:
    made = Committing()
    waiters = [made.add(name) for name in "ab"]
    made.turn()
    defect = UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
    made.end(defect)
    made.end(defect)
    made.end()
    assert [waiter.told for waiter in waiters] == [[defect], ["b is on disk"]]


@pytest.mark.parametrize("away", [Unavailable("gone"), OutcomeUnknown("perhaps")])
def test_without_a_database_all_are_told_so_and_nothing_is_repeated(away: Unavailable) -> None:
    """What may be on disk must not be put there twice."""
    made = Committing()
    waiters = [made.add(name, "x") for name in "abc"]
    made.turn()
    made.end(away)
    assert [waiter.told for waiter in waiters] == [[away]] * 3
    assert made.begun == ["a b c"]


def test_after_a_failure_the_next_group_is_as_good_as_any() -> None:
    made = Committing(under_way=1)
    made.add("a", "x")
    made.turn()
    made.end(Unavailable("gone"))
    waiter = made.add("b", "x")
    made.turn()
    made.end()
    assert waiter.told == ["b is on disk"]


@pytest.mark.parametrize("answers", [[], ["one"], ["one", "two", "three"]])
def test_a_commit_that_answers_for_too_few_or_too_many_has_answered_for_nobody(
    answers: list[str],
) -> None:
    made = Committing()
    waiters = [made.add(name, "x") for name in "ab"]
    made.turn()
    made.end(answers)
    for waiter in waiters:
        (told,) = waiter.told
        assert isinstance(told, RuntimeError)
    made.add("c", "x")
    made.turn()
    assert made.begun == ["a b", "c"]


def test_past_the_longest_queue_the_answer_is_unavailable_at_once() -> None:
    made = Committing(waiting=2, under_way=1)
    made.add("a")
    made.turn()
    waiting = [made.add("b"), made.add("c")]
    late = made.add("d")
    (told,) = late.told
    assert isinstance(told, Unavailable)
    made.end()
    made.end()
    assert [waiter.told for waiter in waiting] == [["b is on disk"], ["c is on disk"]]
    assert made.add("e").told == []


def test_a_waiter_who_is_cancelled_takes_nothing_back_and_harms_nobody() -> None:
    made = Committing()
    waiters = [made.add(name, "x") for name in "abc"]
    waiters[0].answer.cancel()
    made.turn()
    waiters[1].answer.cancel()
    assert made.begun == ["a b c"]
    made.end()
    assert [type(waiter.told[0]) for waiter in waiters] == [CancelledError, CancelledError, str]


def test_an_item_whose_claims_cannot_be_told_is_refused_and_keeps_nobody_waiting() -> None:
    made = Committing()
    with pytest.raises(UnicodeEncodeError):
        made.add("a", "\ud800")
    waiter = made.add("b", "x")
    made.turn()
    made.end()
    assert waiter.told == ["b is on disk"]


def test_who_is_answered_may_add_more() -> None:
    made = Committing(under_way=1)
    second: list[Waiter] = []
    made.groups.add(("a", "x", "")).addCallback(lambda _: second.append(made.add("b", "x")))
    made.turn()
    made.end()
    made.end()
    assert second[0].told == ["b is on disk"]


# ------------------------------------------------------------------ whatever happens

THINGS = "xyz"
touches = st.text(THINGS, max_size=2).flatmap(
    lambda things: st.tuples(st.just(things), st.text(things or "-", max_size=1))
)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("add"), touches),
        st.tuples(st.just("turn"), st.none()),
        st.tuples(st.just("commit"), st.integers(0, 3)),
        st.tuples(st.just("refuse"), st.integers(0, 3)),
        st.tuples(st.just("lose"), st.integers(0, 3)),
    ),
    max_size=60,
)


class History:
    """Drives `Committing` through happenings, and looks at what must always be so."""

    def __init__(self, size: int, under_way: int) -> None:
        self.made = Committing(size=size, under_way=under_way)
        self.limits = size, under_way
        self.added: list[Item] = []
        self.waiters: list[Waiter] = []
        self.committed: list[Item] = []

    def add(self, touched: tuple[str, str]) -> None:
        item = (str(len(self.added)), *touched)
        self.added.append(item)
        self.waiters.append(self.made.add(*item))

    def turn(self, _: object = None) -> None:
        self.made.turn()

    def commit(self, which: int) -> None:
        if self.made.under_way:
            which %= len(self.made.under_way)
            self.committed.extend(self.made.under_way[which][0])
            self.made.end(which=which)

    def refuse(self, which: int) -> None:
        if self.made.under_way:
            self.made.end(refused(), which % len(self.made.under_way))

    def lose(self, which: int) -> None:
        if self.made.under_way:
            self.made.end(Unavailable("gone"), which % len(self.made.under_way))

    def look(self) -> None:
        size, under_way = self.limits
        groups = [group for group, _ in self.made.under_way]
        assert len(groups) <= under_way
        touched = [{thing for _, things, _ in group for thing in things} for group in groups]
        assert sum(map(len, touched)) == len(set().union(*touched))
        for group in groups:
            assert 1 <= len(group) <= size
            assert sorted(group, key=_number) == group
            for position, (_, _, last) in enumerate(group):
                later = {thing for _, things, _ in group[position + 1 :] for thing in things}
                assert not later & set(last)

    def finish(self) -> None:
        for _ in range(3 * len(self.added) + 3):
            self.turn()
            self.commit(0)
            self.look()


def _number(item: Item) -> int:
    return int(item[0])


@given(happenings, st.integers(1, 4), st.integers(1, 3))
def test_order_is_kept_things_are_held_once_and_everybody_is_told_once(
    happened: list[tuple[str, Any]], size: int, under_way: int
) -> None:
    """Whatever comes in, is committed, refused or lost, in whatever order."""
    history = History(size, under_way)
    for what, argument in happened:
        getattr(history, what)(argument)
        history.look()
    history.finish()
    assert [len(waiter.told) for waiter in history.waiters] == [1] * len(history.added)
    assert history.made.groups.waiting == 0
    for thing in THINGS:
        order = [_number(item) for item in history.committed if thing in item[1]]
        assert order == sorted(order)
    told = {waiter.told[0] for waiter in history.waiters if isinstance(waiter.told[0], str)}
    assert told == {f"{name} is on disk" for name, _, _ in history.committed}
