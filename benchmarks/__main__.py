"""`python -m benchmarks`: measure, and print one small table."""

from __future__ import annotations

import os
import platform
import time

import click
from rich.console import Console
from rich.table import Table

from benchmarks.measure import ECHO, Latency, Plan, Rate, latency, rates
from benchmarks.stage import Broken, Stage

AIM_RATIO = 0.5
AIM_P99 = 250.0

QUICK = Plan(rounds=1, seconds=1.0, warm_up=0.3, paced_seconds=1.0)


@click.command()
@click.option("--url", envvar="HOTPOTATO_BENCHMARK_DATABASE_URL", metavar="URL",
              help="Another PostgreSQL: a database in which databases may be created.")  # fmt: skip
@click.option("--rounds", default=Plan().rounds, show_default=True, help="Of the rates.")
@click.option("--seconds", default=Plan().seconds, show_default=True, help="Of each rate.")
@click.option("--quick", is_flag=True, help="A second of each: does it work, not how fast is it.")
def main(url: str | None, rounds: int, seconds: float, quick: bool) -> None:
    """Measure how fast notifications come in and go out, and print one table."""
    plan = QUICK if quick else Plan(rounds=rounds, seconds=seconds)
    console = Console(highlight=False)
    started = time.monotonic()
    try:
        with Stage(url) as stage:
            console.print(_about(stage))
            with console.status("measuring") as status:
                measured = rates(stage, plan, status.update)
                status.update("the way to the gateway")
                took = latency(stage, plan)
    except Broken as broken:
        raise SystemExit(str(broken)) from broken
    console.print(_table(measured, took, plan))
    console.print(_notes(measured, took, time.monotonic() - started))


def _about(stage: Stage) -> str:
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f},"
        f" {platform.python_implementation()} {platform.python_version()}; {stage.about()}"
    )


def _table(measured: list[Rate], took: Latency, plan: Plan) -> Table:
    table = Table("", "median", "of the bare route", "aim")
    for rate in measured:
        of_bare = f"{rate.ratio:.2f}  ({min(rate.ratios):.2f} to {max(rate.ratios):.2f})"
        row = ("", "") if rate.what == ECHO else (of_bare, f"at least {AIM_RATIO}")
        table.add_row(f"{rate.what}, requests/s", f"{rate.rate:.0f}", *row)
    pace = f"POST to gateway at {plan.paced_rate:.0f}/s"
    table.add_section()
    table.add_row(f"{pace}, p50 in ms", f"{took.percentile(0.5):.1f}", "", "")
    table.add_row(f"{pace}, p99 in ms", f"{took.percentile(0.99):.1f}", "", f"below {AIM_P99:.0f}")
    return table


def _notes(measured: list[Rate], took: Latency, seconds: float) -> str:
    turns = [turn for rate in measured for turn in rate.turns]
    texts = [turn.texts for rate in measured if rate.what != ECHO for turn in rate.turns]
    refused = sum(turn.refused for turn in turns) + took.refused
    return (
        f"Not answered 2xx: {refused}. Texts that never came: {took.missing}."
        f" Meanwhile {min(texts):.0f} to {max(texts):.0f} texts/s went out;"
        f" the load generator took at most {max(turn.load for turn in turns):.0%} of a core."
        f" {seconds:.0f} s in all."
    )


if __name__ == "__main__":
    main()
