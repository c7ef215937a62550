"""What was promised, what the phones got, and what died in between."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from hotpotato.sandbox.message import Message


class Promise(msgspec.Struct, frozen=True):
    """A text that has to arrive at a number: what it begins with, and a word that is in it."""

    number: str
    begins: str
    word: str

    def kept(self, messages: Iterable[Message]) -> bool:
        return any(
            one.number == self.number
            and re.match(self.begins, one.text)
            and re.search(rf"\b{self.word}\b", one.text)
            for one in messages
        )


class Account:
    """Counts, over all scenes; `faults` are sentences about what must not be.

    `accepted` and `delivered` count promised texts, `lost` those that did not come and facts that
    were answered 2xx and are not in the database; `duplicates` texts that came more than once.
    """

    def __init__(self) -> None:
        self.accepted = self.delivered = self.lost = self.duplicates = self.crashes = 0
        self.faults: list[str] = []
        self.promises: list[Promise] = []
        self._in_flight: Counter[int] = Counter()

    def died(self, in_flight: Iterable[int]) -> None:
        """A daemon died while these messages were in flight."""
        self.crashes += 1
        self._in_flight.update(in_flight)

    def promise(self, number: str, begins: str, word: str) -> None:
        """Something was answered 2xx, and this has to come of it."""
        self.promises.append(Promise(number, begins, word))

    def kept(self, messages: Sequence[Message]) -> bool:
        """Whether everything that was promised has arrived."""
        return all(promise.kept(messages) for promise in self.promises)

    def close(
        self,
        scene: str,
        messages: Sequence[Message],
        references: Mapping[str, int],
        sent: Iterable[int],
        missing: Iterable[str],
    ) -> None:
        """End a scene.

        `references` tells of which message each attempt's reference is, `sent` are the messages
        that the database calls sent, and `missing` the facts that it should know and does not.
        """
        lost = [f"{one} did not come in time" for one in self.promises if not one.kept(messages)]
        arrived = Counter(references[one.reference or ""] for one in messages)
        lost += [f"message {one} is called sent and did not come" for one in set(sent) - {*arrived}]
        lost += [f"{one} is not in the database" for one in missing]
        self.accepted += len(self.promises)
        self.delivered += sum(promise.kept(messages) for promise in self.promises)
        self.lost += len(lost)
        self.duplicates += arrived.total() - len(arrived)
        too_often = [
            f"message {one} came {times} times, and was in flight at {self._in_flight[one]} deaths"
            for one, times in arrived.items()
            if times - 1 > self._in_flight[one]
        ]
        self.faults += [f"{scene}: {fault}" for fault in lost + too_often]
        self.promises.clear()
        self._in_flight.clear()

    @property
    def row(self) -> dict[str, int | str]:
        """For the table."""
        names = ("accepted", "delivered", "lost", "duplicates", "crashes")
        return {name: getattr(self, name) for name in names}
