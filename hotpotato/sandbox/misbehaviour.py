"""What the gateway can be asked to do wrong, and for which messages."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import msgspec

BEFORE = {
    "slow": "waits `seconds`, then goes on; the SMS goes out even if the client has left by then",
    "hang-before": "takes nothing and never answers",
    "reset-before": "takes nothing and resets the connection",
    "revoked": "takes nothing and answers as if the credentials were not valid any more",
}
AFTER = {
    "hang-after": "takes the message and never answers",
    "reset-after": "takes the message and resets the connection",
    "garbage": "takes the message and answers 201 with something that isn't JSON",
    "half": "takes the message and breaks off in the middle of the answer",
}
RECEIPTS = {
    "never": "sends no receipt",
    "early": "sends all receipts before it answers the POST",
    "late": "sends each receipt `seconds` later than it would",
    "twice": "sends each receipt twice",
    "reversed": "sends the receipts in the wrong order",
    "forged": "somebody without the credentials sends the receipt `dead` first",
}
FINAL = {
    "failed": "ends with that receipt in place of `received`",
    "expired": "ends with that receipt in place of `received`",
    "rejected": "ends with that receipt in place of `received`",
    "dead": "ends with that receipt in place of `received`",
}
STATUS = {"300 to 599": "takes nothing and answers with that status"}
WORDS = BEFORE | STATUS | AFTER | RECEIPTS | FINAL
"""Everything that `Misbehaviour.do` can be."""


class Misbehaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to do wrong.

    `do` is one of `WORDS`, or an HTTP status. It applies to messages to `number` and to texts that
    `text` (a regular expression) is found in, or to all; to the next `times` of them, or until it
    is taken back; and to each with the probability `chance`. Several may apply to one message.

    `seconds` is for "slow" and "late". `retry_after` and `shape` are for a status: the header as it
    stands, and the body: Modica's "error" or "code" shape, "empty" or "html".
    """

    do: str
    number: str | None = None
    text: str | None = None
    times: int | None = None
    chance: float = 1.0
    seconds: float = 5.0
    retry_after: str | None = None
    shape: str = "error"

    @property
    def status(self) -> int | None:
        """The HTTP status, if that is what it does."""
        return int(self.do) if re.fullmatch(r"[345]\d\d", self.do) else None

    @property
    def concerns_receipts(self) -> bool:
        """Whether it is about what comes after the answer."""
        return self.do in RECEIPTS or self.do in FINAL

    @property
    def refuses(self) -> bool:
        """Whether the message is not taken."""
        return self.status is not None or (self.do in BEFORE and self.do != "slow")

    @property
    def choice(self) -> str | None:
        """What only one misbehaviour can decide for a message: its answer, or its final receipt."""
        if self.do in FINAL:
            return "final"
        return None if self.do == "slow" or self.do in RECEIPTS else "answer"

    def check(self) -> None:
        """Raise ValueError, saying what was expected."""
        if self.do not in WORDS and self.status is None:
            raise ValueError(f"do: expected one of {', '.join(WORDS)}, not {self.do!r}")
        if self.shape not in ("error", "code", "empty", "html"):
            raise ValueError(f"shape: expected error, code, empty or html, not {self.shape!r}")
        if self.text is not None:
            try:
                re.compile(self.text)
            except re.error as error:
                raise ValueError(f"text: expected a regular expression: {error}") from error

    def concerns(self, number: str, text: str) -> bool:
        """Whether the message is one of those meant, chance aside."""
        return (self.number is None or self.number == number) and (
            self.text is None or re.search(self.text, text) is not None
        )


class Misbehaviours:
    """What was asked for and isn't used up, in that order. The same seed rolls the same dice."""

    LIMIT = 100

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311
        self._asked: list[Misbehaviour] = []

    def add(self, misbehaviour: Misbehaviour) -> None:
        """Raise ValueError for one that makes no sense, or one too many."""
        misbehaviour.check()
        if len(self._asked) >= self.LIMIT:
            raise ValueError(f"expected at most {self.LIMIT} at once")
        self._asked.append(misbehaviour)

    def clear(self) -> None:
        """Behave."""
        self._asked.clear()

    def __iter__(self) -> Iterator[Misbehaviour]:
        return iter(self._asked)

    def applying_to(self, number: str, text: str) -> list[Misbehaviour]:
        """Those for this message, counted as used; where they exclude each other, the first.

        A message that is not taken uses up none that concern receipts.
        """
        applying: list[Misbehaviour] = []
        about_receipts = [asked for asked in self._asked if asked.concerns_receipts]
        about_answer = [asked for asked in self._asked if not asked.concerns_receipts]
        for asked in about_answer + about_receipts:
            if asked.concerns_receipts and any(other.refuses for other in applying):
                break
            chosen = {other.choice for other in applying} - {None}
            if (
                asked.choice not in chosen
                and asked.concerns(number, text)
                and self._dice.random() < asked.chance
            ):
                applying.append(asked)
                self._use(asked)
        return applying

    def _use(self, asked: Misbehaviour) -> None:
        place = next(place for place, other in enumerate(self._asked) if other is asked)
        if asked.times is not None:
            left = asked.times - 1
            self._asked[place : place + 1] = (
                [msgspec.structs.replace(asked, times=left)] if left > 0 else []
            )
