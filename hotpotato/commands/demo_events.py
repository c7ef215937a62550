"""One line for each thing that happens in the demonstration, in order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec
from rich.console import Console
from rich.text import Text
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from hotpotato.commands.output import plain
from hotpotato.store import stories
from hotpotato.store.database import Database, DatabaseError

_LOOK_EVERY = 0.25
_LOOK_BACK = 200
_WIDTH = 18


class Event(msgspec.Struct, frozen=True):
    """Something that happened: `who` or what it is about, and the words."""

    at: datetime
    who: str
    words: str
    style: str = ""


class Events:
    """Tells what the gateway does, and what is decided, as the history says it.

    `names` has the people by their phone numbers. The history is looked at four times a second:
    that is for a demonstration only.
    """

    def __init__(self, database: Database, clock: IReactorTime, names: Mapping[str, str]) -> None:
        self._database = database
        self._clock = clock
        self._names = names
        self._noted: list[Event] = []
        self._console = Console(highlight=False)

    def note(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Take an event of the gateway: see `hotpotato.sandbox.Gateway`."""
        who = self._names.get(facts.get("number", ""), facts.get("number", ""))
        match kind:
            case "message":
                event = ("SMS to " + who, facts["text"], "bold")
            case "reply":
                event = ("SMS from " + who, facts["text"], "bold")
            case "receipt":
                event = ("receipt", f"{facts['status']}{_unless_taken(facts)}", "")
            case _:
                event = (f"the provider {kind}", str(facts.get("why", "")), "red")
        self._noted.append(Event(datetime.now(UTC), *event))

    async def tell(self) -> NoReturn:
        """Print what happens from now on, until cancelled."""
        start = newest = await self._database.transaction(stories.newest)
        seen: set[int] = set()
        while True:
            await deferLater(self._clock, _LOOK_EVERY)
            noted, self._noted = self._noted, []
            # Lines become visible in the order of their commits, which is not that of their ids.
            since = max(start, newest - _LOOK_BACK)
            lines = await self._lines_after(since)
            fresh = [_event(line) for line in lines if line.id not in seen and _is_told(line)]
            if lines:
                seen = {line.id for line in lines}
                newest = max(seen)
            for event in sorted([*noted, *fresh], key=lambda event: event.at):
                self._print(event)

    async def _lines_after(self, line_id: int) -> list[stories.Happening]:
        try:
            return await self._database.transaction(
                lambda transaction: stories.after(transaction, line_id)
            )
        except DatabaseError:
            return []

    def _print(self, event: Event) -> None:
        at = f"{event.at.astimezone():%H:%M:%S}  "
        head = Text(at, style="dim") + Text(f"{plain(event.who):<{_WIDTH}} ", style="cyan")
        indent = "\n" + " " * len(head)
        body = indent.join(plain(event.words).split("\n"))
        self._console.print(head + Text(body, style=event.style), soft_wrap=True)


def _is_told(line: stories.Happening) -> bool:
    """What is sent and what comes back is seen at the phone."""
    return line.kind not in ("queued", "delivery", "receipt")


def _event(line: stories.Happening) -> Event:
    who = line.kind if line.notification_id is None else f"notification {line.notification_id}"
    place = "/".join(filter(None, [line.hostname, line.service_name]))
    words = f"{place}: {line.sentence}" if place else line.sentence
    return Event(line.at, who, words)


def _unless_taken(facts: Mapping[str, Any]) -> str:
    """What is to be said of a callback that was not answered 200."""
    answered = facts["answered"]
    return "" if answered == 200 else f", and nobody took it ({answered or 'no answer'})"
