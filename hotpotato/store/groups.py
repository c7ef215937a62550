"""Group commit: what arrives while the last group is being committed makes the next one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from hotpotato.store.database import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Claim(msgspec.Struct, frozen=True):
    """That an item touches `thing`; with `last`, later items with it wait for the next group."""

    thing: bytes
    last: bool


class _Entry(msgspec.Struct, Generic[Item, Answer], frozen=True, eq=False):
    item: Item
    claims: Sequence[Claim]
    answer: Deferred[Answer]


class Groups(Generic[Item, Answer]):
    """Collects items and hands them to `commit` in groups, in order of arrival.

    `claims` tells what an item touches. Two groups under way never touch the same thing, and items
    that touch the same thing keep their order. `commit` answers a group's items in their order, or
    fails for all of them: with Unavailable each of them fails so, but with anything else it is
    called again for one item at a time, so that a bad one harms nobody else.

    With a `clock` a group begins in the reactor's next turn, of what this one brings; without one
    it begins at once, which is right where what comes during a group is enough for the next.

    `size` bounds a group, `under_way` the groups at once, and `waiting` the items not yet in a
    group: past it `add` fails at once with Unavailable.
    """

    def __init__(
        self,
        clock: IReactorTime | None,
        commit: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        claims: Callable[[Item], Sequence[Claim]],
        *,
        size: int = 128,
        under_way: int = 2,
        waiting: int = 4096,
    ) -> None:
        self._clock = clock
        self._commit = commit
        self._claims = claims
        self._size = size
        self._most_under_way = under_way
        self._most_waiting = waiting
        self._queue: list[_Entry[Item, Answer]] = []
        self._under_way = 0
        self._touched: set[bytes] = set()
        self._scheduled = False

    @property
    def waiting(self) -> int:
        """How many items wait for a group."""
        return len(self._queue)

    def add(self, item: Item) -> Deferred[Answer]:
        """Have an item committed; fires with its answer once it is on disk.

        Cancelling the Deferred does not take the item back.
        """
        answer: Deferred[Answer] = Deferred()
        if len(self._queue) >= self._most_waiting:
            answer.errback(Unavailable("too many requests wait for the database"))
            return answer
        self._queue.append(_Entry(item, self._claims(item), answer))
        self._schedule()
        return answer

    def _schedule(self) -> None:
        if self._scheduled or not self._queue or self._under_way >= self._most_under_way:
            return
        if self._clock is None:
            self._begin()
        else:
            self._scheduled = True
            self._clock.callLater(0, self._begin)

    def _begin(self) -> None:
        self._scheduled = False
        group, things = self._take()
        if not group:
            return
        self._under_way += 1
        self._touched |= things
        work = Deferred.fromCoroutine(self._run(group))
        work.addBoth(self._finished, things)
        self._schedule()

    def _take(self) -> tuple[list[_Entry[Item, Answer]], set[bytes]]:
        group: list[_Entry[Item, Answer]] = []
        left: list[_Entry[Item, Answer]] = []
        things: set[bytes] = set()
        closed = set(self._touched)
        for position, entry in enumerate(self._queue):
            if len(group) >= self._size:
                left.extend(self._queue[position:])
                break
            touched = {claim.thing for claim in entry.claims}
            if not closed.isdisjoint(touched):
                closed |= touched
                left.append(entry)
                continue
            group.append(entry)
            things |= touched
            closed.update(claim.thing for claim in entry.claims if claim.last)
        self._queue = left
        return group, things

    def _finished(self, result: object, things: set[bytes]) -> None:
        self._under_way -= 1
        self._touched -= things
        self._schedule()

    async def _run(self, group: Sequence[_Entry[Item, Answer]]) -> None:
        try:
            answers: Sequence[Any] = await self._commit([entry.item for entry in group])
        except Exception as refused:
            if len(group) > 1 and not isinstance(refused, Unavailable):
                for entry in group:
                    await self._run([entry])
                return
            answers = [Failure()] * len(group)
        if len(answers) != len(group):
            error = RuntimeError(f"{len(answers)} answers to a group of {len(group)}")
            answers = [Failure(error)] * len(group)
        for entry, answer in zip(group, answers, strict=True):
            # A waiter that was cancelled swallows one late result, and this is it.
            entry.answer.callback(answer)
