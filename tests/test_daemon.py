"""The order in which a daemon starts and stops, and what hangs or fails on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater
from twisted.logger import LogEvent
from twisted.plugin import IPlugin
from zope.interface import implementer

from hotpotato import daemon, settings
from hotpotato.daemon import Daemon
from hotpotato.interfaces import (
    API_VERSION,
    Accepted,
    ISender,
    ISenderPlugin,
    OutgoingMessage,
    SenderContext,
    SendOutcome,
)
from hotpotato.senders.registry import Registry
from tests.cluster import free_port


class Nothing(msgspec.Struct):
    """A plugin without settings."""


@implementer(ISender)
class Sender:
    """Tells what is done to it; its start and its stop do what `plugin` says of its name."""

    def __init__(self, name: str, plugin: Plugin) -> None:
        self._name = name
        self._plugin = plugin

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        return Accepted("1")

    async def start(self) -> None:
        await self._do("start")

    async def stop(self) -> None:
        await self._do("stop")

    async def _do(self, what: str) -> None:
        self._plugin.done.append(f"{what} {self._name}")
        does = self._plugin.does.get(f"{what} {self._name}")
        if does == "hangs":
            await Deferred()
        elif does == "fails":
            raise LookupError(f"{self._name} does not {what}")


@implementer(IPlugin, ISenderPlugin)
class Plugin:
    """A sender plugin whose senders can be told to hang and to fail."""

    name = "post"
    api_version = API_VERSION
    methods = ("post",)
    settings = Nothing

    def __init__(self) -> None:
        self.done: list[str] = []
        self.does: dict[str, str] = {}

    def make(self, settings: Any, context: SenderContext) -> Sender:
        return Sender(context.name, self)


@pytest.fixture
def plugin() -> Plugin:
    return Plugin()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bounds, and ten times shorter."""
    monkeypatch.setattr(daemon, "STEP_WITHIN", daemon.STEP_WITHIN / 10)
    monkeypatch.setattr(daemon, "STOP_WITHIN", daemon.STOP_WITHIN / 10)
    monkeypatch.setattr(daemon, "_LEAST_STEP", daemon._LEAST_STEP / 10)


def make(plugin: Plugin, senders: str = "ab", url: str | None = None) -> Daemon:
    url = url or f"postgresql://u@127.0.0.1:{free_port()}/d"
    configured = settings.from_mapping(
        {
            "database": {"url": url, "connections": 2},
            "senders": {name: {"plugin": "post"} for name in senders},
        },
        Path("test.toml"),
    )
    return Daemon(configured, url, Registry([plugin]), reactor, reactor)


def warnings(logged: list[LogEvent]) -> list[str]:
    return [event["what"] for event in logged if "what" in event]


@pytest.fixture
def expected(logged: list[LogEvent]) -> Iterator[list[str]]:
    """Failures that are said by the daemon, and meant to be."""
    said: list[str] = []
    yield said
    failures = [event for event in logged if "log_failure" in event and "what" in event]
    assert [event["what"] for event in failures] == said
    logged[:] = [event for event in logged if event not in failures]


@pytest_twisted.ensureDeferred
async def test_senders_start_in_order_and_a_bad_one_keeps_nobody(
    plugin: Plugin, expected: list[str]
) -> None:
    plugin.does = {"start a": "hangs", "start b": "fails", "stop b": "fails"}
    expected += ["start sender b", "stop sender b"]
    made = make(plugin, "abc")
    await made.start()
    await made.stop()
    assert plugin.done == ["start a", "start b", "start c", "stop a", "stop b", "stop c"]


@pytest_twisted.ensureDeferred
async def test_a_daemon_that_was_never_started_can_be_stopped(plugin: Plugin) -> None:
    made = make(plugin)
    await made.bind([serverFromString(reactor, "tcp:0:interface=127.0.0.1")])
    await made.stop()
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_a_start_that_is_overtaken_by_the_stop_goes_no_further(plugin: Plugin) -> None:
    """Nothing is opened after everything was closed."""
    plugin.does = {"start a": "hangs"}
    made = make(plugin)
    await made.bind([serverFromString(reactor, "tcp:0:interface=127.0.0.1")])
    starting = Deferred.fromCoroutine(made.start())
    assert not starting.called
    await made.stop()
    await starting
    await deferLater(reactor, 0.3)
    assert made.database.trouble == "not connected yet"
    assert not made.ready


@pytest_twisted.ensureDeferred
async def test_it_can_be_stopped_while_it_waits_for_its_database(plugin: Plugin) -> None:
    made = make(plugin)
    await made.start()
    await deferLater(reactor, 0.1)
    began = reactor.seconds()
    await made.stop()
    assert reactor.seconds() - began < 0.2
    assert not made.ready


@pytest_twisted.ensureDeferred
async def test_a_stop_takes_no_longer_than_it_may_whatever_hangs(
    plugin: Plugin, logged: list[LogEvent]
) -> None:
    """And everybody is told to stop all the same."""
    senders = "abcdefghij"
    plugin.does = {f"stop {name}": "hangs" for name in senders}
    made = make(plugin, senders)
    await made.start()
    began = reactor.seconds()
    await made.stop()
    assert reactor.seconds() - began < daemon.STOP_WITHIN + 0.3
    assert [name for name in plugin.done if name.startswith("stop")] == [
        f"stop {name}" for name in senders
    ]
    assert warnings(logged) == [f"stop sender {name}" for name in senders]


@pytest_twisted.ensureDeferred
async def test_a_turn_that_hangs_keeps_no_other_duty_going(
    plugin: Plugin, database_url: str, logged: list[LogEvent]
) -> None:
    made = make(plugin, url=database_url)
    turns: list[str] = []

    async def hangs() -> None:
        turns.append("hangs")
        await Deferred()

    async def again() -> float:
        turns.append("again")
        return 0.0

    first, *_, last = made.loops
    first._turn, last._turn = hangs, again
    await made.start()
    while not ("hangs" in turns and "again" in turns):
        await deferLater(reactor, 0.01)
    stopping = Deferred.fromCoroutine(made.stop())
    await deferLater(reactor, 0.05)
    turns.clear()
    await stopping
    assert turns == []
    assert warnings(logged) == ["finish the turns under way"]


@pytest_twisted.ensureDeferred
async def test_a_start_that_fails_for_an_unforeseen_reason_is_said(
    plugin: Plugin, logged: list[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(database: object) -> None:
        raise LookupError("what is this?")

    monkeypatch.setattr("hotpotato.daemon.schema.check", broken)
    made = make(plugin)
    await made.start()
    (failure,) = [event for event in logged if "log_failure" in event]
    assert failure["log_failure"].type is LookupError
    logged.remove(failure)
    assert not made.ready
    await made.stop()
