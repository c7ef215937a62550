"""The programs of the stage, each a process: `python -m benchmarks.programs NAME ARGUMENT...`.

Each prints one line when it is ready (its port, or its URL), logs to standard error, and ends when
its standard input does, which no death of the benchmark can withhold.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

Stop = Callable[[], Awaitable[None]]
Heard = Callable[[str], None]


def postgres() -> None:
    """An embedded PostgreSQL with its defaults, so with fsync, and its data in a new directory."""
    from hotpotato.store.embedded import Embedded

    # Not /tmp, which may be memory: an fsync has to cost what it costs.
    home = Path(tempfile.mkdtemp(prefix="hotpotato-benchmark-", dir="/var/tmp"))
    server = Embedded(home / "data", home=home)
    try:
        print(server.start(), flush=True)
        sys.stdin.read()
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def prepare(url: str) -> None:
    """Migrate an empty database, and put a small company into it; prints the server's key."""

    async def begin(reactor: Any) -> Stop:
        from hotpotato import rota
        from hotpotato.rules import keys
        from hotpotato.store import people, schema, servers
        from hotpotato.store.database import Database, Transaction

        key = keys.new_key()

        async def populate(transaction: Transaction) -> None:
            tenant = await people.add_tenant(transaction, "acme", "Pacific/Auckland")
            for name, number in (("Anna", "+64211234567"), ("Bob", "+64217654321")):
                person = await people.add_person(transaction, tenant, name, [("sms", number)])
                if name == "Anna":
                    await rota.set_on_call(transaction, tenant, person)
            await servers.add(
                transaction,
                tenant_id=tenant,
                name="icinga1",
                digest=keys.key_digest(key),
                heartbeat_interval=60.0,
                missed=3,
                timezone=None,
            )

        database = Database(url, reactor=reactor, size=1)
        database.start()
        while not database.available:
            await deferLater(reactor, 0.02)
        await schema.migrate(database)
        await database.transaction(populate)
        print(key, flush=True)
        return database.stop

    _serve(begin)


def decide(url: str) -> None:
    """Decide about every alert that is due, in one process; prints how many seconds it took."""

    async def begin(reactor: Any) -> Stop:
        from hotpotato.duties.escalation import Escalation
        from hotpotato.duties.queueing import Limits
        from hotpotato.store.database import Database

        database = Database(url, reactor=reactor, size=2)
        database.start()
        while not database.available:
            await deferLater(reactor, 0.02)
        escalation = Escalation(database, Limits({"sms": 2}))
        started = time.monotonic()
        while await escalation.turn() == 0:
            pass
        print(time.monotonic() - started, flush=True)
        return database.stop

    _serve(begin)


def daemon(url: str, gateway_url: str) -> None:
    """A whole daemon, as the twistd plugin makes it, but for its refusal to run as root."""

    async def begin(reactor: Any) -> Stop:
        from hotpotato import settings
        from hotpotato.daemon import Daemon
        from hotpotato.senders.registry import Registry
        from hotpotato.service import spare_the_collector

        configured = settings.from_mapping(
            {
                "database": {"url": url},
                "senders": {
                    "modica": {
                        "url": gateway_url,
                        "application": "sandbox",
                        "password": "sandbox",
                        "callback_username": "modica",
                        "callback_password": "callback-secret",
                    }
                },
            },
            Path("benchmark.toml"),
        )
        made = Daemon(configured, url, Registry.discover(), reactor, reactor)
        await made.bind([serverFromString(reactor, "tcp:0:interface=127.0.0.1")])
        await made.start()
        spare_the_collector()
        while not made.ready:
            await deferLater(reactor, 0.02)
        address: Any = made.listening[0].getHost()
        print(address.port, flush=True)
        return made.stop

    _serve(begin)


def gateway(arrivals: str, receipts: str) -> None:
    """The sandbox's gateway; each text it gets is a line of `arrivals`: when, and the text as JSON.

    With `receipts` "yes" it sends them to the callback URL that comes on a line of standard input.
    """
    from treq.client import HTTPClient
    from twisted.web.client import Agent, HTTPConnectionPool

    from hotpotato.sandbox import Gateway

    out = Path(arrivals).open("a", buffering=1, encoding="utf-8")  # noqa: SIM115 - to the end

    def happened(kind: str, facts: Any) -> None:
        if kind == "message":
            out.write(f"{time.monotonic()} {msgspec.json.encode(facts['text']).decode()}\n")

    made: list[Gateway] = []

    def heard(line: str) -> None:
        if receipts == "yes":
            made[0].callback_url = line

    async def begin(reactor: Any) -> Stop:
        http = HTTPClient(Agent(reactor, pool=HTTPConnectionPool(reactor)))
        made.append(
            Gateway(
                reactor,
                http,
                callback_username="modica",
                callback_password="callback-secret",
                on_event=happened,
            )
        )
        await made[0].start(reactor)
        print(made[0].url, flush=True)
        return made[0].stop

    _serve(begin, heard)


def echo() -> None:
    """The measure of things: a bare Klein route that decodes a JSON body and answers it."""

    async def begin(reactor: Any) -> Stop:
        from klein import Klein
        from twisted.web.iweb import IRequest
        from twisted.web.server import Site

        app = Klein()

        @app.route("/echo", methods=["POST"])
        def answer(request: IRequest) -> bytes:
            request.setHeader("Content-Type", "application/json")
            return msgspec.json.encode(msgspec.json.decode(request.content.read()))

        site: Any = Site(app.resource())
        site.log = lambda request: None
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(site)
        print(port.getHost().port, flush=True)

        async def stop() -> None:
            await port.stopListening()

        return stop

    _serve(begin)


def load(target: str) -> None:
    """A load generator for a `load.Target`, as JSON.

    Told "flood", "steady RATE" or "count" it answers with a `load.Count`, told "pace RATE SECONDS",
    once it is done, with a `load.Paced`.
    """
    from benchmarks.load import Load, Target

    made: list[Load] = []

    def heard(line: str) -> None:
        match line.split():
            case ["pace", rate, seconds]:
                pacing = Deferred.fromCoroutine(made[0].pace(float(rate), float(seconds)))
                pacing.addCallback(_print_json)
            case ["steady", rate]:
                Deferred.fromCoroutine(made[0].steady(float(rate)))
                _print_json(made[0].count())
            case ["flood"]:
                made[0].flood()
                _print_json(made[0].count())
            case ["count"]:
                _print_json(made[0].count())

    async def begin(reactor: Any) -> Stop:
        made.append(Load(reactor, msgspec.json.decode(target, type=Target)))
        await made[0].connect()
        print("ready", flush=True)

        async def stop() -> None:
            pass

        return stop

    _serve(begin, heard)


def _print_json(value: object) -> None:
    print(msgspec.json.encode(value).decode(), flush=True)


class _Input(LineOnlyReceiver):
    delimiter = b"\n"

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self.ended: Deferred[None] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        self._heard(line.decode())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


def _serve(begin: Callable[[Any], Awaitable[Stop]], heard: Heard = lambda line: None) -> None:
    from twisted.internet import reactor as installed
    from twisted.internet.stdio import StandardIO

    reactor: Any = installed
    reactor.seconds = time.monotonic
    _die_with_parent()
    log = textFileLogObserver(sys.stderr)
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)

    async def run() -> None:
        stop = await begin(reactor)
        given = _Input(heard)
        # Not with our standard output, which would no longer wait where a pipe is full.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        StandardIO(given, stdout=nowhere, reactor=reactor)  # type: ignore[call-arg]
        await given.ended
        await stop()

    running = Deferred.fromCoroutine(run())
    running.addErrback(lambda failure: failure.printTraceback(sys.stderr))
    running.addBoth(lambda _: reactor.callWhenRunning(reactor.stop))
    reactor.run()


def _die_with_parent() -> None:
    """Be killed with the benchmark: a program that it has stopped would not see its input end."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


PROGRAMS: dict[str, Callable[..., None]] = {
    program.__name__: program
    for program in (postgres, prepare, decide, daemon, gateway, echo, load)
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
