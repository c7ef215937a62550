"""What happens at night, told through a monitoring program and seen on a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from tests.world import ANNA, World

from .monitoring import CRITICAL, DOWN, HOST, OK, SERVICE, UP, WARNING, Monitoring, until

Thing = TypeVar("Thing")

_PATIENCE = 15.0

REMINDER = 1.0
"""Seconds, in the story that has reminders: less than any program's own rhythm."""


class Night:
    """What Hot Potato did: the texts on the phone of Anna, who is on call, and what it recorded."""

    def __init__(self, world: World, server: str) -> None:
        """`server` is the monitoring server's name."""
        self.server = server
        self._world = world

    def texts(self) -> list[str]:
        """All that arrived so far, oldest first."""
        return self._world.texts(ANNA)

    async def text(self, is_wanted: Callable[[str], bool]) -> str:
        """The first text that is wanted, once it has come; AssertionError if none does."""
        return await self._wait(lambda: filter(is_wanted, self.texts()), self.texts)

    async def next_text(self, *, after: int) -> str:
        """The text that came after so many others."""
        return await self._wait(lambda: self.texts()[after:], self.texts)

    def came(self) -> list[tuple[str, str, str]]:
        """Every notification in order of arrival: (event, state, effect)."""
        return [
            (event, state, effect)
            for event, state, effect in self._world.sql(
                "SELECT event, state, effect FROM notification ORDER BY id"
            )
        ]

    async def effect(self, events: str | Sequence[str], states: str | Sequence[str]) -> str:
        """What the newest notification of that kind, in that state, did, once it has come."""
        return await self._wait(
            lambda: [
                effect
                for event, state, effect in reversed(self.came())
                if event in _either(events) and state in _either(states)
            ],
            self.came,
        )

    async def alert_statuses(self) -> list[str | None]:
        """What a monitoring server is shown of each notification's alert, in order of arrival."""
        shown: list[str | None] = []
        for (number,) in self._world.sql("SELECT id FROM notification ORDER BY id"):
            answer = await self._world.request(
                "GET",
                f"/api/servers/v2/notifications/get/{number}",
                headers={"Authorization": f"Apikey {self._world.key}"},
            )
            shown.append(answer.data["alert_status"])
        return shown

    def alerts(self) -> list[tuple[str, str, str | None]]:
        """Every alert, oldest first: (status, state, acknowledged by)."""
        return [
            (status, state, by)
            for status, state, by in self._world.sql(
                "SELECT status, state, acknowledged_by FROM alert ORDER BY id"
            )
        ]

    async def alert_becomes(self, status: str) -> None:
        """Wait until the newest alert has that status."""
        await self._wait(lambda: [one for one in self.alerts()[-1:] if one[0] == status], self.came)

    async def resolve(self, page: str) -> None:
        """Have Anna reply to a page that it is over."""
        code = _code(page)
        assert await self._world.gateway.reply(ANNA, f"resolve {code}") == 200

    async def stays_quiet(self, seconds: float) -> None:
        """Wait; AssertionError if a text comes meanwhile."""
        before = self.texts()
        await deferLater(cast(IReactorTime, reactor), seconds)
        assert self.texts() == before

    async def _wait(
        self, found: Callable[[], Iterable[Thing]], instead: Callable[[], object]
    ) -> Thing:
        try:
            await until(lambda: any(True for _ in found()), _PATIENCE, "what is waited for")
        except AssertionError as error:
            raise AssertionError(f"{error}; there were {instead()}") from None
        return next(iter(found()))


async def a_night_with_two_problems(program: Monitoring, night: Night) -> None:
    """A service fails and recovers, then its host: each of the four reaches the phone in words."""
    program.service(CRITICAL, """CRITICAL - "12" isn't < 10""")
    await night.text(_says("CRITICAL", SERVICE, """CRITICAL - "12" isn't < 10"""))
    program.service(OK, "OK - 3 < 10")
    await night.text(_says("OK", SERVICE, "OK - 3 < 10"))
    program.host(DOWN, "no answer to 5 pings")
    await night.text(_says("DOWN", "no answer to 5 pings"))
    program.host(UP, "answers again")
    await night.text(_says("UP", "answers again"))


async def a_problem_that_somebody_takes(program: Monitoring, night: Night) -> None:
    """It is told again, then no more, since Jo has it; until it gets worse, and is over."""
    program.service(WARNING, "9 > 8")
    page = await night.next_text(after=0)
    assert _says("WARNING", SERVICE, "9 > 8")(page)
    assert await night.next_text(after=1) == page, "the reminder pages again, with the same code"

    program.acknowledge_service("Jo", "mine")
    notice = await night.text(lambda text: "acknowledged" in text)
    assert notice == f"Jo in {night.server} has acknowledged WARNING {HOST}/{SERVICE}"
    assert night.alerts() == [("acknowledged", "WARNING", f"Jo in {night.server}")]
    assert night.came()[-1] == ("ACKNOWLEDGEMENT", "WARNING", "acknowledge")
    await night.stays_quiet(program.reminds_within)
    assert night.texts()[-1] == notice
    assert set(await night.alert_statuses()) == {"acknowledged"}

    program.service(CRITICAL, "12 > 10")
    worse = await night.text(_says("CRITICAL", SERVICE, "12 > 10"))
    assert _code(worse) == _code(page), "it is the same alert"
    assert [status for status, _, _ in night.alerts()] == ["triggered"]
    program.service(OK, "3 < 8")
    await night.text(_says("OK", SERVICE, "3 < 8"))
    assert [status for status, _, _ in night.alerts()] == ["resolved"]


async def somebody_has_something_to_say(program: Monitoring, night: Night) -> None:
    """A custom notification is told once and changes nothing, in good times and in bad ones."""
    program.announce_host("Jo", "ask me first")
    first = await night.next_text(after=0)
    assert first.startswith(f"CUSTOM {HOST} ")
    assert first.endswith(": ask me first (Jo)")
    assert night.alerts() == []

    program.service(CRITICAL, "12 > 10")
    page = await night.next_text(after=1)
    assert _says("CRITICAL", SERVICE, "12 > 10")(page)
    program.announce_service("Jo", "looking at it")
    second = await night.next_text(after=2)
    assert second.startswith(f"CUSTOM {HOST} ")
    assert second.endswith(f"/{SERVICE} (CRITICAL): looking at it (Jo)")
    assert night.alerts() == [("triggered", "CRITICAL", None)]
    assert await night.alert_statuses() == [None, "triggered", None]

    program.service(OK, "3 < 10")
    assert _says("OK", SERVICE, "3 < 10")(await night.next_text(after=3))
    assert [effect for _, _, effect in night.came()] == ["announce", "open", "announce", "resolve"]
    assert len(night.texts()) == 4


async def racks_are_moved(program: Monitoring, night: Night) -> None:
    """Downtimes begin and end without a word, and what they hid is told when they are over."""
    program.begin_downtime("Jo", "moving racks")
    # Of what was never checked Icinga says UNKNOWN.
    assert await night.effect("DOWNTIMESTART", ("OK", "UNKNOWN")) == "record"
    program.service(CRITICAL, "12 > 10")
    await night.stays_quiet(1.0)
    await program.end_downtime()
    assert await night.effect(program.ends_downtime_with, "CRITICAL") == "record"
    page = await night.next_text(after=0)
    assert _says("CRITICAL", SERVICE, "12 > 10")(page)

    program.begin_downtime("Jo", "the other rack")
    assert await night.effect("DOWNTIMESTART", "CRITICAL") == "record"
    assert night.alerts() == [("triggered", "CRITICAL", None)]
    program.service(OK, "3 < 10")
    await night.stays_quiet(1.0)
    await program.end_downtime()
    assert await night.effect(program.ends_downtime_with, "OK") == "record"
    if not program.tells_what_a_downtime_hid:
        assert night.alerts() == [("triggered", "CRITICAL", None)]
        await night.resolve(page)
    await night.alert_becomes("resolved")
    await night.next_text(after=1)
    assert [text for text in night.texts() if "Reply ack" in text] == [page]


async def it_comes_and_goes(program: Monitoring, night: Night) -> None:
    """Where the program keeps a recovery to itself, the start or the end of flapping says it."""
    program.service(CRITICAL, "12 > 10")
    await night.text(_says("CRITICAL", SERVICE, "12 > 10"))
    program.service(OK, "3 < 10")
    assert await night.effect("FLAPPINGSTART", "OK") == "resolve"
    await night.text(_says("OK", SERVICE, "3 < 10"))
    program.service(CRITICAL, "13 > 10")
    await night.stays_quiet(1.0)
    program.stay(OK, "2 < 10")
    assert await night.effect(program.ends_flapping_with, "OK") == "resolve"
    assert [status for status, _, _ in night.alerts()] == ["resolved"]

    program.service(WARNING, "9 > 8")
    await night.text(_says("WARNING", SERVICE, "9 > 8"))
    program.service(CRITICAL, "14 > 10")
    assert await night.effect("FLAPPINGSTART", "CRITICAL") == "record"
    assert night.alerts()[1:] == [("triggered", "WARNING", None)]
    program.stay(OK, "1 < 8")
    await night.text(_says("OK", SERVICE, "1 < 8"))
    assert [status for status, _, _ in night.alerts()] == ["resolved", "resolved"]
    assert len(night.texts()) == 4
    assert "RECOVERY" not in [event for event, _, _ in night.came()]


def _code(page: str) -> str:
    return page.rsplit(maxsplit=1)[-1]


def _either(words: str | Sequence[str]) -> Sequence[str]:
    return (words,) if isinstance(words, str) else words


def _says(state: str, *words: str) -> Callable[[str], bool]:
    return lambda text: text.startswith(f"{state} {HOST}") and all(word in text for word in words)
