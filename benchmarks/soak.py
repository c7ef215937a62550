"""`python -m benchmarks.soak`: a daemon at half of its full rate, for long, and what grows."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

import click
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.load import Count, Target
from benchmarks.measure import SEND
from benchmarks.stage import Broken, Program, Round, Stage, connected

WARM_UP = 3.0
CALIBRATION = 7.0
"""Seconds at full rate before the rate is taken, and for which it is."""

MEMORY_MAY_GROW = 0.05
"""By this share of itself, over the time that is looked at: a heap is never quite still."""

FILES_MAY_GROW = 5.0

REFUSED_MAY_BE = 0.001
"""The share that may be answered anything but 2xx."""

UNSENT_MAY_BE = 0.05
"""The share for which all connections may be waiting: with more, the rate was not kept at all."""

OPEN_AT_ONCE = 500
"""So many hosts have a problem, then they recover, then so many others have one."""


# Digests, a few texts a second and their receipts, so that everything has something to do.
_PACE = """
INSERT INTO policy (tenant_id, pace_burst, pace_every, pace_hourly)
SELECT id, 10, interval '0.2 s', 1000000 FROM tenant
"""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """How things stand at one moment, `at` seconds after the beginning."""

    at: float
    memory: int
    files: int
    connections: int
    count: Count


@click.command()
@click.option("--url", envvar="HOTPOTATO_BENCHMARK_DATABASE_URL", help="See `benchmarks`.")
@click.option("--seconds", default=1800.0, show_default=True, help="For how long.")
@click.option("--rate", type=float, help="Notifications a second, instead of half of full rate.")
def main(url: str | None, seconds: float, rate: float | None) -> None:
    """Load a daemon evenly and watch its memory, its files and its connections.

    Exit status 1 if one of them grew over the last two thirds of the time, or if too much was
    refused.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        with Stage(url) as stage:
            if rate is None:
                full = _full_rate(stage)
                rate = full / 2
                console.print(f"full rate {full:.0f}/s, so {rate:.0f}/s for {seconds:.0f} s")
            with stage.round(receipts=True) as round:
                samples = _soak(stage, round, rate, seconds, console.print)
                texts = len(round.arrivals())
    except Broken as broken:
        raise SystemExit(str(broken)) from broken
    table, fine = _judged(samples)
    console.print(table)
    console.print(f"Texts that went out meanwhile: {texts}.")
    sys.exit(not fine)


def _full_rate(stage: Stage) -> float:
    """What this machine takes a second, with everything on it."""
    with stage.round(receipts=True) as round, stage.load(_target(round)) as load:
        _set_pace(round)
        load.ask("flood")
        time.sleep(WARM_UP)
        before = _count(load)
        time.sleep(CALIBRATION)
        after = _count(load)
    return (after.confirmed - before.confirmed) / (after.at - before.at)


def _soak(
    stage: Stage, round: Round, rate: float, seconds: float, tell: Callable[[str], None]
) -> list[Sample]:
    every = min(5.0, seconds / 30)
    tell_every = min(60.0, seconds / 6)
    samples: list[Sample] = []
    _set_pace(round)
    with stage.load(_target(round)) as load:
        load.ask(f"steady {rate}")
        began = told_at = time.monotonic()
        told = _sample(round, load, 0.0)
        while (now := time.monotonic()) < began + seconds:
            time.sleep(max(0.0, began + (len(samples) + 1) * every - now))
            samples.append(_sample(round, load, time.monotonic() - began))
            if time.monotonic() >= told_at + tell_every:
                told_at += tell_every
                tell(_line(told, samples[-1]))
                told = samples[-1]
    return samples


def _set_pace(round: Round) -> None:
    with connected(round.url) as connection, connection.cursor() as cursor:
        cursor.execute(_PACE)


def _target(round: Round) -> Target:
    return Target(
        port=round.port,
        path=SEND,
        key=round.key,
        name="soak",
        distinct=True,
        recovering=OPEN_AT_ONCE,
        connections=256,  # so that a stall of the disk is waited for, and not missed
    )


def _count(load: Program) -> Count:
    return msgspec.json.decode(load.ask("count"), type=Count)


def _sample(round: Round, load: Program, at: float) -> Sample:
    with connected(round.url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'hotpotato'"
        )
        ((connections,),) = cursor.fetchall()
    daemon = round.daemon
    return Sample(
        at=at,
        memory=daemon.memory(),
        files=daemon.files(),
        connections=connections,
        count=_count(load),
    )


def _line(before: Sample, now: Sample) -> str:
    took = now.count.at - before.count.at
    rate = (now.count.confirmed - before.count.confirmed) / took
    refused = now.count.refused - before.count.refused
    unsent = now.count.unsent - before.count.unsent
    return (
        f"{now.at:6.0f} s: {rate:6.0f}/s, {refused} refused, {unsent} not sent,"
        f" {now.memory / 2**20:6.1f} MiB, {now.files} files,"
        f" {now.connections} connections to the database"
    )


def _judged(samples: Sequence[Sample]) -> tuple[Table, bool]:
    """The table, and whether everything in it is as it should be."""
    late = [each for each in samples if each.at >= samples[-1].at / 3]
    mean = statistics.fmean(each.memory for each in late)
    rows = [
        ("memory, MiB", mean, _growth(late, lambda each: each.memory), MEMORY_MAY_GROW * mean),
        *(
            (name, statistics.fmean(map(value, late)), _growth(late, value), FILES_MAY_GROW)
            for name, value in (
                ("files", lambda each: each.files),
                ("database connections", lambda each: each.connections),
            )
        ),
    ]
    table = Table()
    for name in ("over the last two thirds", "mean", "growth", "allowed", ""):
        table.add_column(name, justify="right" if name else "left")
    fine = True
    for name, middle, growth, allowed in rows:
        unit = 2**20 if "MiB" in name else 1
        flat = growth <= allowed
        fine &= flat
        figures = (f"{each / unit:.1f}" for each in (middle, growth, allowed))
        table.add_row(name, *figures, "flat" if flat else "GROWS")
    last = samples[-1].count
    asked = last.confirmed + last.refused + last.unsent
    for name, count, allowed in (
        ("not answered 2xx", last.refused, REFUSED_MAY_BE),
        ("not sent, for want of a connection", last.unsent, UNSENT_MAY_BE),
    ):
        few = count <= allowed * asked
        fine &= few
        share = f"{count / max(asked, 1):.3%}"
        table.add_row(name, f"{count}", share, f"{allowed:.1%}", "few" if few else "TOO MANY")
    return table, fine


def _growth(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """By how much it grew over all the samples, by the straight line that fits them best."""
    times = [each.at for each in samples]
    slope = statistics.linear_regression(times, list(map(value, samples))).slope
    return slope * (times[-1] - times[0])


if __name__ == "__main__":
    main()
