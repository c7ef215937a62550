"""What a command prints: a table for a person, or one JSON document."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import IO, Any, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

Shown: TypeAlias = str | Text | Table | Padding
"""A paragraph, or a table."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

_STYLES = {
    "delivered": "green",
    "received": "green",
    "sent": "cyan",
    "acknowledged": "cyan",
    "resolved": "green",
    "triggered": "bold red",
    "failed": "bold red",
    "rejected": "bold red",
    "silent": "bold red",
    "disabled": "dim",
    "cancelled": "dim",
}


class Refused(click.ClickException):
    """Why a command did not do it: one line on stderr, exit status 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it in one line."""
        click.echo(f"hotpotato: {' '.join(self.message.split())}", file=file, err=True)


class Answer(msgspec.Struct, frozen=True):
    """What a command has to say: `document` for programs, `shown` for people.

    With `wrong` the command exits with status 1 after it has said it, and this is its line on
    stderr.
    """

    document: object
    shown: Sequence[Shown]
    wrong: str | None = None


def show(answer: Answer, as_json: bool) -> None:
    """Print an answer. Raises Refused if it tells of something wrong."""
    if as_json:
        print_json(answer.document)
    else:
        console = Console(highlight=False)
        for part in answer.shown:
            print_part(console, part)
    if answer.wrong is not None:
        raise Refused(answer.wrong)


def print_json(document: object) -> None:
    """Print one JSON document, in UTF-8 whatever the terminal's encoding."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))
    sys.stdout.flush()


def print_part(console: Console, part: Shown) -> None:
    """Print a paragraph or a table. Paragraphs are left to the terminal to wrap, for pasting."""
    if isinstance(part, str):
        part = Text(part)
    with console.capture() as captured:
        console.print(part, soft_wrap=isinstance(part, Text))
    for line in captured.get().splitlines():
        # Tables fill their last column with spaces.
        click.echo(line.rstrip(), color=console.is_terminal)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], whole: Collection[str] = ()
) -> Table:
    """A table as wide as the terminal at most, or 80 columns: what is too long is folded.

    The columns in `whole` are not folded if there is any way.
    """
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column in whole)
    for row in rows:
        made.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return made


def facts(rows: Iterable[tuple[str, str | Text | None]]) -> Padding:
    """Names and values, one below the other; those without a value are left out."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        if value is not None:
            made.add_row(name, Text(plain(value)) if isinstance(value, str) else value)
    return Padding(made, (0, 0, 0, 2), expand=False)


def styled(word: str, text: str | None = None) -> Text:
    """A word of ours, in its colour; `text` stands in its place if there is more to say."""
    return Text(text or word, style=_STYLES.get(word, ""))


def moment(when: datetime | None, timezone: str) -> str:
    """A time in a zone, with the zone's abbreviation; nothing for None."""
    if when is None:
        return ""
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zone = ZoneInfo("UTC")
    return f"{when.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def clock(when: datetime | None, timezone: str) -> str:
    """A time as a rota shows it, in its zone: to the minute, with the weekday."""
    return f"{when.astimezone(ZoneInfo(timezone)):%a %Y-%m-%d %H:%M}" if when else "until changed"


def on_schedule(tenant: str, schedule: str) -> str:
    """«acme», or «acme/secondary» where it is not the primary schedule."""
    return tenant if schedule == "primary" else f"{tenant}/{schedule}"


def plain(text: str) -> str:
    """Text from outside without what a terminal would obey; newlines stay."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\ufffd"
        for character in text
    )


def examples(*lines: str) -> str:
    """The end of a command's help: how it is used. The control character is click's: don't wrap."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" if line else "  " for line in lines)])


def listed(names: Sequence[str], how: str = "and", most: int = 10) -> str:
    """«A, B and C»; beyond `most` only how many more."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return f" {how} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
