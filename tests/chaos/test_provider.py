"""A provider that does everything wrong that it can, alone and mixed, and then is well again.

The time is virtual, and the daemon lives all the while.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from hotpotato.sandbox.misbehaviour import AFTER, BEFORE, FINAL, RECEIPTS
from tests.chaos.front import HOST, Front
from tests.chaos.table import note
from tests.world import World, step

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")

STATUSES = ("302", "400", "403", "404", "422", "429", "500", "502", "503", "504")
TLS = ("wrong", "none")
EVERYTHING = (*BEFORE, *AFTER, *RECEIPTS, *FINAL, *STATUSES, *TLS)

MIXED = 3
"""Mixtures of the short form, which has nothing alone."""

PAGES = 4
"""Notifications in each round."""

AGAIN = 200.0
"""Seconds after which who does not answer is paged again: so is what was refused for good."""

WELL_AFTER = 400.0
"""Seconds within which everything has arrived once the provider is well: the longest pause between
two attempts is two minutes."""


_UNKNOWN = """
SELECT message_id, count(*) FROM history WHERE sentence ~ '^attempt [0-9]+: unknown' GROUP BY 1
"""


class Patient(World):
    """A world that does not wait for requests that the gateway keeps on purpose."""

    def _busy(self) -> list[str]:
        self.hanging = self.gateway.holding
        return super()._busy()


class Ledger:
    """What was promised in all rounds, and what became of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.accepted = self.lost = self.duplicates = 0
        self.faults: list[str] = []
        self._hosts: list[str] = []
        self._last = 0

    async def tell(self, label: str) -> None:
        """Notifications that must arrive, whatever the provider does."""
        for number in range(self.accepted, self.accepted + PAGES):
            await self.world.notify(hostname=f"{label}-{number:05}")
            self._hosts.append(f"{label}-{number:05}")
        self.accepted += PAGES

    def close(self, label: str) -> None:
        """End a round: everything has arrived, and what came twice had an unknown outcome."""
        world = self.world
        lost = [host for host in self._hosts if not any(host in text for text in world.texts())]
        self.lost += len(lost)
        self.faults += [f"{label}: {host} did not come" for host in lost]
        arrived = Counter(message.reference for message in world.gateway.messages)
        came: Counter[int] = Counter()
        for message, reference, outcome, progress in world.sql(
            "SELECT message_id, reference, outcome, progress FROM attempt WHERE id > %s",
            self._last,
        ):
            came[message] += arrived[reference]
            if outcome == "accepted" and not arrived[reference]:
                self.faults.append(f"{label}: message {message} was never taken")
            self._judge_receipts(label, reference, progress)
        unknown = dict(world.sql(_UNKNOWN))
        self.duplicates += sum(times - 1 for times in came.values() if times)
        self.faults += [
            f"{label}: message {message} came {times} times"
            for message, times in came.items()
            if times - 1 > unknown.get(message, 0)
        ]

    async def end(self) -> None:
        """Have everything recover, so that the next round begins with nothing open."""
        for host in self._hosts:
            await self.world.notify("OK", hostname=host)
        await self.world.advance(5)
        self._hosts.clear()
        ((self._last,),) = self.world.sql("SELECT max(id) FROM attempt")
        self.world.gateway.forget()

    def _judge_receipts(self, label: str, reference: str, progress: str) -> None:
        """Late, double, reordered or forged: what the provider really said last is what counts."""
        said = [m.receipts for m in self.world.gateway.messages if m.reference == reference]
        final = {word for receipts in said for word in receipts} - {"submitted", "sent"}
        expected = {"received": "delivered"} | dict.fromkeys(FINAL, "failed")
        for word in final:
            if progress != expected[word]:
                self.faults.append(f"{label}: {word} was said, and {progress} is believed")


@pytest_twisted.async_yield_fixture()
async def world(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """A world whose provider speaks TLS. Anna is paged, and if that fails, everybody."""
    made = Patient(database_url)
    port = await made.gateway.start(reactor)
    front = made.front = Front(port, tmp_path)  # type: ignore[attr-defined]
    monkeypatch.setenv("SSL_CERT_FILE", str(front.trusted))
    made.sender = {"url": f"https://{HOST}:{front.port}/rest/gateway", "concurrency": 20}
    await made._populate()
    await made.without_pace(step(0, again=AGAIN))
    await made.start_daemon()
    yield made
    await made.stop()
    await front.close()


async def misbehave(world: Any, do: str, dice: random.Random) -> None:
    """One thing to do wrong, as often as the dice say."""
    if do in TLS:
        await world.front.show(do)
        return
    world.gateway.misbehave(
        do,
        chance=dice.choice([0.3, 0.6, 1.0]),
        seconds=dice.choice([3.0, 30.0]),
        retry_after=dice.choice([None, "20"]) if do.isdigit() else None,
        shape=dice.choice(["error", "code", "empty", "html"]),
    )


async def well_again(world: Any) -> None:
    world.gateway.behave()
    await world.front.show("right")
    await world.advance(WELL_AFTER, step=100)


@pytest_twisted.ensureDeferred
@pytest.mark.timeout(86_400)
async def test_whatever_a_provider_does_everything_arrives_when_it_is_well_again(
    world: World, request: pytest.FixtureRequest
) -> None:
    """What came twice had an outcome that nobody could know."""
    seconds = request.config.getoption("seconds")
    dice = random.Random(request.config.getoption("seed"))
    ends_at = reactor.seconds() + (seconds or 0)
    ledger = Ledger(world)
    rounds = [[do] for do in EVERYTHING] if seconds else []
    rounds += [dice.sample(EVERYTHING, dice.randint(3, 8)) for _ in range(MIXED)]
    while rounds or reactor.seconds() < ends_at:
        words = rounds.pop(0) if rounds else dice.sample(EVERYTHING, dice.randint(2, 6))
        for do in words:
            await misbehave(world, do, dice)
        await ledger.tell("-".join(words))
        await world.advance(dice.choice([2, 20, 60]), step=5)
        await well_again(world)
        ledger.close(", ".join(words))
        assert not ledger.faults, ledger.faults
        await ledger.end()
    note(
        request,
        {
            "accepted": ledger.accepted,
            "delivered": ledger.accepted - ledger.lost,
            "lost": ledger.lost,
            "duplicates": ledger.duplicates,
            "crashes": 0,
        },
    )
