"""What is measured: rates, next to the rate of a bare Klein route, and the way to the gateway."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from benchmarks.load import Order, Outcome
from benchmarks.stage import Round, Stage

SEND = "/api/servers/v2/notifications/send"

What = Literal["distinct alerts", "the same alert", "bare Klein route"]
DISTINCT: What = "distinct alerts"
SAME: What = "the same alert"
ECHO: What = "bare Klein route"

LAST_TEXTS = 30.0
"""Seconds for which the last texts are waited for."""

_HOST = re.compile(r"paced-\d{7}")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How long everything takes: rounds, seconds measured in a turn and before it, the paced run."""

    rounds: int = 3
    seconds: float = 5.0
    warm_up: float = 1.0
    paced_seconds: float = 20.0
    paced_rate: float = 50.0


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One rate: requests answered 2xx a second, and how many were not.

    `texts` came to the gateway a second meanwhile; `load` is the share of a core that the load
    generator took.
    """

    rate: float
    refused: int
    texts: float
    load: float


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request over all rounds; the ratios are to the bare route's rate in each round."""

    what: What
    turns: list[Turn]
    ratios: list[float]

    @property
    def rate(self) -> float:
        """The median of the rounds, a second."""
        return statistics.median(turn.rate for turn in self.turns)

    @property
    def ratio(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.ratios)


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """From POST to gateway, in milliseconds, the least first; `missing` never came."""

    milliseconds: list[float]
    missing: int
    refused: int

    def percentile(self, share: float) -> float:
        """The time within which this share came, of those that were sent; what is missing took for ever."""
        times = self.milliseconds + [float("inf")] * self.missing
        return times[min(int(len(times) * share), len(times) - 1)]


def rates(stage: Stage, plan: Plan, tell: Callable[[str], None]) -> Sequence[Rate]:
    """Measure in turns, so that whatever else the machine does meets all of them alike."""
    turns: dict[What, list[Turn]] = {DISTINCT: [], ECHO: [], SAME: []}
    for number in range(plan.rounds):
        for what, done in turns.items():
            done.append(_flood(stage, plan, what))
            tell(f"round {number + 1} of {plan.rounds}: {what}: {done[-1].rate:,.0f}/s")
    bare = turns[ECHO]
    return [
        Rate(
            what=what,
            turns=done,
            ratios=[turn.rate / echo.rate for turn, echo in zip(done, bare, strict=True)],
        )
        for what, done in turns.items()
    ]


def latency(stage: Stage, plan: Plan) -> Latency:
    """Send at an even pace, each about another host, and see when each comes to the gateway."""
    with stage.round(receipts=True) as round:
        outcome = stage.load(
            Order(
                port=round.port,
                path=SEND,
                key=round.key,
                manner="pace",
                name="paced",
                distinct=True,
                warm_up=plan.warm_up,
                seconds=plan.paced_seconds,
                rate=plan.paced_rate,
            )
        )
        came = _arrivals(round, outcome)
    took = [1000 * (came[host] - sent) for host, sent in outcome.sent.items() if host in came]
    return Latency(
        milliseconds=sorted(took),
        missing=len(outcome.sent) - len(took),
        refused=outcome.refused,
    )


def _flood(stage: Stage, plan: Plan, what: What) -> Turn:
    order = Order(
        port=stage.echo_port,
        path="/echo",
        key="0" * 64,
        manner="flood",
        name="host",
        distinct=what != SAME,
        warm_up=plan.warm_up,
        seconds=plan.seconds,
    )
    if what == ECHO:
        return _turn(stage.load(order), 0)
    with stage.round(receipts=False) as round:
        ours = {"port": round.port, "path": SEND, "key": round.key}
        outcome = stage.load(msgspec.structs.replace(order, **ours))
        return _turn(outcome, len(round.arrivals()) / (plan.warm_up + plan.seconds))


def _turn(outcome: Outcome, texts: float) -> Turn:
    return Turn(
        rate=outcome.confirmed / outcome.seconds,
        refused=outcome.refused,
        texts=texts,
        load=outcome.cpu / outcome.seconds,
    )


def _arrivals(round: Round, outcome: Outcome) -> dict[str, float]:
    """When each host's first text came."""
    deadline = time.monotonic() + LAST_TEXTS
    while True:
        came: dict[str, float] = {}
        for at, text in round.arrivals():
            if match := _HOST.search(text):
                came.setdefault(match[0], at)
        if came.keys() >= outcome.sent.keys() or time.monotonic() > deadline:
            return came
        time.sleep(0.2)
