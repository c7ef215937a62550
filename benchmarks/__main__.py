"""`python -m benchmarks`: measure, and print one small table."""

from __future__ import annotations

import os
import platform
import statistics
import time

import click
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Latency, Plan, Rate, latency, rate
from benchmarks.stage import Broken, Stage

AIM_RATIO = 0.5
AIM_P99 = 250.0

QUICK = Plan(turns=2, warm_up=0.5, paced_seconds=1.0, paced_warm_up=0.5)


@click.command()
@click.option(
    "--url",
    envvar="HOTPOTATO_BENCHMARK_DATABASE_URL",
    help="A PostgreSQL in which databases may be created, instead of the embedded one.",
)
@click.option("--turns", default=Plan().turns, show_default=True, help="Half seconds per rate.")
@click.option("--quick", is_flag=True, help="A second of each: does it work, not how fast is it.")
def main(url: str | None, turns: int, quick: bool) -> None:
    """Measure how fast notifications come in and go out, and print one table."""
    plan = QUICK if quick else Plan(turns=turns)
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    try:
        with Stage(url) as stage:
            console.print(_about(stage))
            with console.status("distinct alerts") as status:
                distinct = rate(stage, plan, distinct=True)
                status.update("the same alert")
                same = rate(stage, plan, distinct=False)
                status.update("from POST to gateway")
                took = latency(stage, plan)
    except Broken as broken:
        raise SystemExit(str(broken)) from broken
    console.print(_table(distinct, same, took, plan))
    console.print(_notes([distinct, same], took, plan, time.monotonic() - started))


def _about(stage: Stage) -> str:
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f},"
        f" {platform.python_implementation()} {platform.python_version()}; {stage.about()}"
    )


def _table(distinct: Rate, same: Rate, took: Latency, plan: Plan) -> Table:
    table = Table()
    table.add_column("")
    for name in ("Hot Potato", "bare route", "ratio", "aim"):
        table.add_column(name, justify="right")
    for name, measured in (("distinct alerts", distinct), ("the same alert", same)):
        table.add_row(
            f"{name}, requests/s",
            f"{statistics.median(measured.ours):.0f}",
            f"{statistics.median(measured.bare):.0f}",
            f"{measured.ratio:.2f}",
            f"≥ {AIM_RATIO}",
        )
    table.add_section()
    for name, share, aim in (("p50", 0.5, ""), ("p99", 0.99, f"< {AIM_P99:.0f}")):
        row = f"POST to gateway, {name} in ms"
        table.add_row(row, f"{took.percentile(share):.1f}", "", "", aim)
    return table


def _notes(rates: list[Rate], took: Latency, plan: Plan, seconds: float) -> str:
    refused = sum(measured.refused for measured in rates) + took.refused
    return (
        f"The bare route is one of Klein's that decodes and echoes the same body. POST to gateway"
        f" at {plan.paced_rate:.0f}/s.\n"
        f"Not answered 2xx: {refused}. Never came to the gateway: {took.missing}.\n"
        f"Texts/s that went out meanwhile: {', '.join(f'{each.texts:.0f}' for each in rates)}."
        f" Load generator: at most {max(each.load for each in rates):.0%} of a core."
        f" {seconds:.0f} s in all.\n"
        f"CPU for each, in ms: the daemon's"
        f" {', '.join(f'{each.our_cpu:.2f}' for each in rates)}; the bare route's"
        f" {', '.join(f'{each.bare_cpu:.2f}' for each in rates)}."
    )


if __name__ == "__main__":
    main()
