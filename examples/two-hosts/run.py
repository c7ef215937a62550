"""Two hosts on one machine: what docs/deployment.md describes, to be tried out and killed.

    python examples/two-hosts/run.py

starts a PostgreSQL primary and its synchronous standby, two daemons on both, a balancer before the
daemons, and a stand-in for the SMS provider. It watches over the pair as Patroni would: a primary
that is gone is stopped for good, and the standby promoted. Ctrl-C stops everything, and everything
is thrown away. With --json it prints one document and then one for each event.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg2
from treq.client import HTTPClient
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import LoopingCall, react
from twisted.internet.threads import deferToThread
from twisted.protocols.portforward import ProxyFactory
from twisted.web.client import Agent

from hotpotato import settings
from hotpotato.daemon import Daemon
from hotpotato.sandbox import Gateway
from hotpotato.senders.registry import Registry
from hotpotato.store.embedded import Embedded

HOST = "127.0.0.1"
LOOK_EVERY = 1.0
"""Seconds between two looks at the daemons, and at the primary."""

GONE_AFTER = 3
"""Looks at the primary without an answer after which the standby is promoted."""

HBA = """\
local all         hotpotato peer map=hotpotato
host  hotpotato   hotpotato 127.0.0.1/32 scram-sha-256
host  replication hotpotato 127.0.0.1/32 scram-sha-256
"""

reactor: Any = real_reactor


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Pair:
    """A primary and its synchronous standby."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.password = secrets.token_urlsafe(16)
        self.ports = [free_port(), free_port()]
        self.servers: list[Embedded] = []
        self._missed = 0
        self.promoted = False

    @property
    def url(self) -> str:
        """Of both, for the daemons."""
        hosts = ",".join(f"{HOST}:{port}" for port in self.ports)
        login = f"hotpotato:{self.password}"
        return f"postgresql://{login}@{hosts}/hotpotato?target_session_attrs=read-write"

    def start(self) -> None:
        """Start the primary, make the standby as its copy, and confirm no commit without it."""
        primary = self._server(0, follows=None)
        self._run(primary.start(), f"ALTER ROLE hotpotato PASSWORD '{self.password}'")
        self._server(1, follows=self._tcp(0)).start()
        self._run(primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        self._run(primary.url, "SELECT pg_reload_conf()")

    def stop(self) -> None:
        """Stop both."""
        for server in reversed(self.servers):
            server.stop()

    def primary_pid(self) -> int:
        """The process to kill."""
        return int((self.servers[0].home / "data/postmaster.pid").read_text().split()[0])

    def look(self) -> bool:
        """Ask the primary; where it is gone, promote the standby. Returns whether it did now."""
        if self.promoted or self._answers():
            self._missed = 0
            return False
        self._missed += 1
        if self._missed < GONE_AFTER:
            return False
        # Whoever could still be connected to it must not be: there are never two primaries.
        self.servers[0].stop()
        self._run(self.servers[1].url, "SELECT pg_promote()")
        self.promoted = True
        return True

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self._tcp(0), connect_timeout=1).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _tcp(self, index: int) -> str:
        return f"postgresql://hotpotato:{self.password}@{HOST}:{self.ports[index]}/hotpotato"

    def _server(self, index: int, follows: str | None) -> Embedded:
        home = self._place / f"db{index + 1}"
        hba = self._place / "pg_hba.conf"
        hba.write_text(HBA)
        hba.chmod(0o644)
        wanted = {
            "listen_addresses": HOST,
            "port": str(self.ports[index]),
            "hba_file": str(hba),
        }
        server = Embedded(home, home=home, settings=wanted, follows=follows)
        self.servers.append(server)
        return server

    @staticmethod
    def _run(url: str, statement: str) -> None:
        connection = psycopg2.connect(url)
        connection.autocommit = True
        connection.cursor().execute(statement)
        connection.close()


class Balancer(ProxyFactory):
    """Hands each connection to the next daemon that says it can take notifications."""

    noisy = False

    def __init__(self, ports: list[int]) -> None:
        super().__init__(HOST, ports[0])  # type: ignore[no-untyped-call]
        self._turns = itertools.count()
        self._ports = ports
        self.well: list[int] = []
        self._http = HTTPClient(Agent(reactor, connectTimeout=LOOK_EVERY))

    async def look(self) -> None:
        """Ask each daemon, as every load balancer can: GET /readyz/ingest, 200 is well."""
        self.well = [port for port in self._ports if await self._is_well(port)]

    async def _is_well(self, port: int) -> bool:
        try:
            asking = self._http.get(f"http://{HOST}:{port}/readyz/ingest")
            answer = await asking.addTimeout(2 * LOOK_EVERY, reactor)
            await answer.content()
        except Exception:
            return False
        return bool(answer.code == 200)

    def buildProtocol(self, address: Any) -> Any:
        """One connection. Nobody is well: it goes to one all the same, who says 503."""
        ports = self.well or self._ports
        self.port = ports[next(self._turns) % len(ports)]
        return super().buildProtocol(address)


class TwoHosts:
    """All of it, and how it is told."""

    def __init__(self, place: Path, as_json: bool) -> None:
        self._place = place
        self._as_json = as_json
        self._pair = Pair(place)
        self._ports = [free_port(), free_port()]
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._sandbox_port = free_port()
        self._front = free_port()
        self._secret = secrets.token_urlsafe(16)

    def start(self) -> str:
        """Start the databases and the daemons; returns the monitoring server's key."""
        self._pair.start()
        configs = [self._config(number) for number in range(2)]
        self._hotpotato(configs[0], "migrate")
        self._hotpotato(configs[0], "tenant", "add", "demo")
        self._hotpotato(configs[0], "user", "add", "Anna", "--sms", "+64211234567")
        self._hotpotato(configs[0], "oncall", "set", "Anna")
        server = self._hotpotato(configs[0], "server", "add", "icinga", "--json")
        for config in configs:
            program = [sys.executable, __file__, "--daemon", str(config)]
            with config.with_suffix(".log").open("wb") as log:
                self._daemons.append(
                    subprocess.Popen(program, stdin=subprocess.PIPE, stdout=log, stderr=log)
                )
        return str(json.loads(server)["api_key"])

    def stop(self) -> None:
        """Stop everything, the daemons first."""
        for daemon in self._daemons:
            assert daemon.stdin is not None
            daemon.stdin.close()
        for daemon in self._daemons:
            daemon.wait()
        self._pair.stop()

    async def run(self, key: str) -> None:
        """Balance, play the provider and watch over the pair, until cancelled."""
        gateway = Gateway(
            reactor,
            HTTPClient(Agent(reactor)),
            callback_url=f"http://{HOST}:{self._front}/api/senders/modica",
            callback_username="sandbox",
            callback_password=self._secret,
            first_id=time.time_ns(),
            on_event=self._tell,
        )
        await gateway.start(reactor, self._sandbox_port, HOST)
        balancer = Balancer(self._ports)
        front: Any = balancer
        listening = reactor.listenTCP(self._front, front, interface=HOST)
        while len(balancer.well) < 2:
            await balancer.look()
        looks = [LoopingCall(lambda: Deferred.fromCoroutine(balancer.look()))]
        looks.append(LoopingCall(lambda: deferToThread(self._pair.look).addCallback(self._looked)))
        for look in looks:
            look.start(LOOK_EVERY)
        self._introduce(key)
        try:
            await Deferred()
        except CancelledError:
            pass
        finally:
            for look in looks:
                look.stop()
            await listening.stopListening()
            await gateway.stop()

    def _looked(self, promoted: bool) -> None:
        if promoted:
            self._tell("promoted", {"port": self._pair.ports[1]})

    def _introduce(self, key: str) -> None:
        url = f"http://{HOST}:{self._front}"
        facts: dict[str, Any] = {
            "url": url,
            "sandbox_url": f"http://{HOST}:{self._sandbox_port}",
            "api_key": key,
            "primary": self._pair.primary_pid(),
            "daemons": [daemon.pid for daemon in self._daemons],
        }
        if self._as_json:
            print(json.dumps(facts), flush=True)
            return
        first, second = facts["daemons"]
        print(f"""\
Two hosts are ready. Ctrl-C stops everything, and throws it away.

Raise an alarm; the SMS shows here:

  curl -i {url}/api/servers/v2/notifications/send \\
    -H 'Authorization: Apikey {key}' \\
    -d '{{"hostname": "db1", "state": "CRITICAL"}}'

Then kill what you like, and raise another:

  kill -9 {facts["primary"]}     the primary; the standby is promoted after {GONE_AFTER} s
  kill -9 {first}     a daemon; the other one is {second}
""")

    def _tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        if self._as_json:
            print(json.dumps({"event": kind, **facts}), flush=True)
        elif kind == "message":
            print(f"SMS to {facts['number']}: {facts['text']}")
        elif kind == "promoted":
            print(f"The primary is gone; the one at port {facts['port']} is promoted.")

    def _config(self, number: int) -> Path:
        config = self._place / f"host{number + 1}.toml"
        config.touch(0o600)
        config.write_text(f"""\
[api]
listen = ["tcp:{self._ports[number]}:interface={HOST}"]
[database]
url = "{self._pair.url}"
[senders.modica]
url = "http://{HOST}:{self._sandbox_port}/rest/gateway"
application = "sandbox"
password = "sandbox"
callback_username = "sandbox"
callback_password = "{self._secret}"
""")
        return config

    @staticmethod
    def _hotpotato(config: Path, *arguments: str) -> str:
        command = [sys.executable, "-m", "hotpotato.commands", "--config", str(config), *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


async def run_daemon(config: Path) -> None:
    """One daemon, until its parent is gone. A real host runs `twistd -n hotpotato`."""
    configured = settings.load(config)
    assert configured.database.url is not None
    daemon = Daemon(configured, configured.database.url, Registry.discover(), reactor, reactor)
    await daemon.bind([serverFromString(reactor, each) for each in configured.api.listen])
    await daemon.start()
    orphaned = deferToThread(sys.stdin.read)
    try:
        await orphaned
    except CancelledError:
        pass
    finally:
        await daemon.stop()


@contextlib.contextmanager
def a_place() -> Iterator[Path]:
    """A directory that anybody can reach, as PostgreSQL needs it where root starts it."""
    place = Path(tempfile.mkdtemp(prefix="hotpotato-two-hosts-"))
    place.chmod(0o711)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--daemon", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.daemon:
        react(lambda _: Deferred.fromCoroutine(run_daemon(arguments.daemon)))
        return
    with a_place() as place:
        hosts = TwoHosts(place, arguments.as_json)
        try:
            key = hosts.start()
            with contextlib.suppress(SystemExit):
                react(lambda _: Deferred.fromCoroutine(hosts.run(key)))
        finally:
            hosts.stop()


if __name__ == "__main__":
    main()
