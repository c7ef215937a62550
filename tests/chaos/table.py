"""What chaos tests found out, in one table at the end of the run; and how long they are to run."""

from __future__ import annotations

from typing import Any

import pytest

HEADINGS = (
    "accepted",
    "delivered",
    "lost",
    "duplicates",
    "crashes",
    "longest outage of ingest",
    "back after",
)
Row = dict[str, int | str]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption("--seconds", type=float, help="how long each kind of chaos at random goes on")
    group.addoption("--seed", type=int, default=1, help="another one, another chaos")


def note(request: pytest.FixtureRequest, row: Row) -> None:
    """Put a row into the table; it is called after the test, and after the `fault` that it is of.

    "back after" is how long it took from the database's return until a notification was taken.
    """
    request.node.user_properties.append(("chaos", row))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows: list[tuple[str, Row]] = [
        (_name(report, row), row)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, row in report.user_properties
        if name == "chaos"
    ]
    if not rows:
        return
    total: Row = {"lost": 0, "duplicates": 0, "accepted": 0, "delivered": 0, "crashes": 0}
    for heading in total:
        total[heading] = sum(int(row[heading]) for _, row in rows)
    width = max(len(name) for name, _ in rows)
    terminalreporter.section("chaos")
    head: Row = {heading: heading for heading in HEADINGS}
    for name, row in [("", head), *rows, ("in all", total)]:
        cells = [f"{row.get(heading, '-')!s:>{len(heading)}}" for heading in HEADINGS]
        terminalreporter.write_line("  ".join([f"{name:{width}}", *cells]))


def _name(report: Any, row: Row) -> str:
    name = str(report.head_line or report.nodeid)
    return f"{name} ({row['fault']})" if "fault" in row else name
