"""What is measured: rates, next to that of a bare Klein route, and the way to the gateway."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import msgspec

from benchmarks.load import PATIENCE, Count, Paced, Target
from benchmarks.stage import Program, Round, Stage, connected

SEND = "/api/servers/v2/notifications/send"

LAST_TEXTS = 30.0
"""Seconds for which the last texts are waited for."""

_HOST = re.compile(r"paced-\d{7}")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How long everything takes: turns of each side, seconds of one, and of the paced run."""

    turns: int = 20
    turn: float = 0.5
    warm_up: float = 1.5
    paced_rate: float = 50.0
    paced_seconds: float = 20.0
    paced_warm_up: float = 2.0


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of notification: what was taken a second, turn by turn, and by the bare route.

    `texts` came to the gateway a second meanwhile. `load` is the share of a core that the load
    generator took. `our_cpu` is the milliseconds of CPU that the daemon took for each, all its
    duties included, and `bare_cpu` the bare route's.
    """

    ours: list[float]
    bare: list[float]
    refused: int
    texts: float
    load: float
    our_cpu: float
    bare_cpu: float

    @property
    def ratio(self) -> float:
        """Ours to the bare route's, over all turns."""
        return sum(self.ours) / sum(self.bare)


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """From POST to gateway, in milliseconds, the least first; `missing` never came."""

    milliseconds: list[float]
    missing: int
    refused: int

    def percentile(self, share: float) -> float:
        """The time within which this share came; what is missing took for ever."""
        times = self.milliseconds + [float("inf")] * self.missing
        return times[min(int(len(times) * share), len(times) - 1)]


def rate(stage: Stage, plan: Plan, *, distinct: bool) -> Rate:
    """Flood the daemon and the bare route in turns.

    The other side stands still meanwhile, and turns are short, so whatever else the machine does
    meets both alike; and what our side has still to do when its turn ends, dispatch above all, is
    not done in the other's time.
    """
    bare = Target(
        port=int(stage.echo.ready), path="/echo", key="0" * 64, name="host", distinct=distinct
    )
    with stage.round(receipts=False) as round:
        ours = msgspec.structs.replace(bare, port=round.port, path=SEND, key=round.key)
        with stage.load(ours) as our_load, stage.load(bare) as bare_load:
            our_side = _Side(our_load, round.daemon, round.programs)
            bare_side = _Side(bare_load, stage.echo, ())
            for side in (our_side, bare_side):
                side.warm_up(plan.warm_up)
            for _ in range(plan.turns):
                our_side.turn(plan.turn)
                bare_side.turn(plan.turn)
            texts = len(round.arrivals())
    return Rate(
        ours=our_side.rates,
        bare=bare_side.rates,
        refused=our_side.refused + bare_side.refused,
        texts=texts / our_side.seconds,
        load=max(our_side.load, bare_side.load),
        our_cpu=our_side.cpu_each,
        bare_cpu=bare_side.cpu_each,
    )


class _Side:
    """A load generator and what it loads, which stand still unless it is their turn.

    `answers` is the program that answers it.
    """

    def __init__(self, load: Program, answers: Program, loaded: Sequence[Program]) -> None:
        self._load = load
        self._answers = answers
        self._programs = (*loaded, load)
        self._confirmed = 0
        self._cpu = 0.0
        self.rates: list[float] = []
        self.seconds = 0.0
        self.refused = 0
        self.load = 0.0

    def warm_up(self, seconds: float) -> None:
        self._load.ask("flood")
        time.sleep(seconds)
        self.seconds += seconds
        self._pause()

    def turn(self, seconds: float) -> None:
        for program in self._programs:
            program.resume()
        cpu = self._answers.cpu()
        before = self._count()
        time.sleep(seconds)
        after = self._count()
        self._pause()
        self._cpu += self._answers.cpu() - cpu
        self._confirmed += after.confirmed - before.confirmed
        took = after.at - before.at
        self.seconds += took
        self.rates.append((after.confirmed - before.confirmed) / took)
        self.load = max(self.load, (after.cpu - before.cpu) / took)
        self.refused = after.refused

    @property
    def cpu_each(self) -> float:
        """Milliseconds of CPU for each request, over all turns."""
        return 1000 * self._cpu / max(self._confirmed, 1)

    def _count(self) -> Count:
        return msgspec.json.decode(self._load.ask("count"), type=Count)

    def _pause(self) -> None:
        for program in reversed(self._programs):
            program.pause()


def latency(stage: Stage, plan: Plan) -> Latency:
    """Send evenly, each about another host, and see when each comes to the gateway.

    Without a pace for the one phone: that would hold nearly all of it.
    """
    with stage.round(receipts=True) as round:
        with connected(round.url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO policy (tenant_id, pace_burst, pace_hourly)"
                " SELECT id, 1000000, 1000000 FROM tenant"
            )
        target = Target(port=round.port, path=SEND, key=round.key, name="paced", distinct=True)
        seconds = plan.paced_warm_up + plan.paced_seconds
        with stage.load(target) as load:
            order = f"pace {plan.paced_rate} {seconds}"
            answer = load.ask(order, seconds + 2 * PATIENCE)
        paced = msgspec.json.decode(answer, type=Paced)
        warm_up = int(plan.paced_rate * plan.paced_warm_up)
        sent = dict(list(paced.sent.items())[warm_up:])
        came = _arrivals(round, sent)
    took = [1000 * (came[host] - at) for host, at in sent.items() if host in came]
    return Latency(milliseconds=sorted(took), missing=len(sent) - len(took), refused=paced.refused)


def _arrivals(round: Round, sent: dict[str, float]) -> dict[str, float]:
    """When each host's first text came."""
    until = time.monotonic() + LAST_TEXTS
    while True:
        came: dict[str, float] = {}
        for at, text in round.arrivals():
            if match := _HOST.search(text):
                came.setdefault(match[0], at)
        if came.keys() >= sent.keys() or time.monotonic() > until:
            return came
        time.sleep(0.2)
