"""The daemon as twistd runs it: how it starts, what stops its start, and how it ends.

Each test runs the real program in a process of its own. As the service refuses root, a run of the
tests as root gives it another user, and the Python of the system where that user may not enter
the tests' own.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import pytest_twisted
import treq
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseFailed,
)

from hotpotato.rules import keys
from hotpotato.sandbox import Gateway
from hotpotato.testing.database import fast_place
from tests.cluster import Cluster, free_port, running
from tests.proxy import Proxy
from tests.systemd import Systemd
from tests.world import migrated, until

CHECKOUT = Path(__file__).parents[1]
AS_ROOT = os.geteuid() == 0
NOBODY = 65534

KEY = keys.new_key()
SEND = "/api/servers/v2/notifications/send"
PAGE = {"hostname": "db1", "state": "CRITICAL", "service_name": "Postgres"}

_CREDENTIALS: dict[bytes | str, bytes | str] = {"Authorization": f"Apikey {KEY}"}

STOPPED_WITHIN = 10.0

# As the installed `twistd`, but that it does not outlive a run of the tests that is killed.
TWISTD = """
import ctypes, sys
ctypes.CDLL(None).prctl(1, 9)
sys.argv[0] = 'twistd'
from twisted.scripts.twistd import run
run()
"""
SILENT_NAME_SERVER = f"""
import socket, time
socket.getaddrinfo = lambda *arguments, **more: time.sleep(60)
{TWISTD}
"""

_SEED = """
INSERT INTO tenant (id, name, timezone) VALUES (1, 'acme', 'UTC');
INSERT INTO person (id, tenant_id, name) VALUES (1, 1, 'Anna');
INSERT INTO contact (tenant_id, person_id, method, address, position)
    VALUES (1, 1, 'sms', '+64211234567', 1);
INSERT INTO server (id, tenant_id, name, key_digest, heartbeat_interval, missed)
    VALUES (1, 1, 'icinga1', %s, '60 s', 3);
"""

needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root can try this")


@functools.cache
def python() -> str:
    """A Python that the service's user may run, with everything there is to import."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for program in (sys.executable, f"/usr/bin/{version}"):
        with contextlib.suppress(OSError):
            tried = subprocess.run(
                [program, "-c", "import hotpotato.service"],
                env=_environment(),
                cwd="/",
                capture_output=True,
                check=False,
                **_somebody(),
            )
            if tried.returncode == 0:
                return program
    pytest.skip(
        "no other user may read the checkout and its packages, and the service refuses root"
    )


def _environment() -> dict[str, str]:
    packages = sysconfig.get_path("purelib")
    return {"PATH": os.defpath, "PYTHONPATH": f"{CHECKOUT}:{packages}", "LC_ALL": "C.UTF-8"}


def _somebody() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if AS_ROOT else {}


class Service:
    """twistd with Hot Potato, in a process of its own; `root` leaves it the tests' own user."""

    def __init__(
        self,
        place: Path,
        config: str,
        *,
        entrance: str = "plugin",
        arguments: tuple[str, ...] = (),
        code: str = TWISTD,
        root: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._place = place
        self.config = place / "hotpotato.toml"
        self.config.write_text(config)
        ways = {
            "plugin": ["-n", *arguments, "hotpotato", "--config", str(self.config)],
            "tac": ["-n", *arguments, "-y", str(CHECKOUT / "etc/hotpotato.tac")],
        }
        variables = {**_environment(), **(environment or {})}
        if entrance == "tac":
            variables["HOTPOTATO_CONFIG"] = str(self.config)
        with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
            self._process = subprocess.Popen(
                [python(), "-c", code, "--pidfile=", *ways[entrance]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=place,
                env=variables,
                **({} if root else _somebody()),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def out(self) -> str:
        """Its log."""
        return (self._place / "out").read_text()

    @property
    def err(self) -> str:
        return (self._place / "err").read_text()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    async def listening(self, port: int) -> None:
        """Wait until it answers at all."""
        while await ask(port, "GET", "/healthz") is None:
            assert self.running, self.out + self.err
            await deferLater(reactor, 0.02)

    async def ended(self, within: float = 20.0) -> int:
        """Wait until it ends by itself; returns its status."""
        await until(lambda: not self.running, f"the end\n{self.out}{self.err}", within)
        return self._process.wait()

    async def terminated(self) -> float:
        """Send SIGTERM, expect a good end, and return the seconds it took."""
        began = reactor.seconds()
        self._process.send_signal(signal.SIGTERM)
        status = await self.ended(STOPPED_WITHIN)
        assert status == 0, self.out + self.err
        return float(reactor.seconds() - began)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Leave nothing running, whatever the test came to."""
        self._process.kill()
        self._process.wait()


Start = Callable[..., Service]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL that any user may connect to, with a template of a migrated database."""
    with running() as made:
        made.sql("CREATE DATABASE migrated")
        migrated(made.url("migrated"))
        connection = psycopg2.connect(made.url("migrated"))
        with connection, connection.cursor() as cursor:
            cursor.execute(_SEED, [keys.key_digest(KEY)])
        connection.close()
        yield made


@pytest.fixture
def database(cluster: Cluster) -> str:
    """The name of a migrated database with a monitoring server in it."""
    name = f"test_{uuid.uuid4().hex}"
    cluster.sql(f"CREATE DATABASE {name} TEMPLATE migrated")
    return name


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of the service's user."""
    made = Path(tempfile.mkdtemp(prefix="hotpotato-service-", dir=fast_place()))
    made.chmod(0o755)
    if AS_ROOT:
        os.chown(made, NOBODY, NOBODY)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def start(place: Path) -> Iterator[Start]:
    """Start a service; it is killed afterwards if it still runs."""
    with contextlib.ExitStack() as afterwards:

        def one(config: str, **options: Any) -> Service:
            made = place / str(uuid.uuid4())
            made.mkdir()
            if AS_ROOT:
                os.chown(made, NOBODY, NOBODY)
            service = Service(made, config, **options)
            afterwards.callback(service.kill)
            return service

        yield one


def config(port: int, url: str, sender: str = "[senders.log]") -> str:
    return f"""
        [api]
        listen = ["tcp:{port}:interface=127.0.0.1"]
        [database]
        url = "{url}"
        {sender}
    """


class Said:
    """An answer."""

    def __init__(self, status: int, headers: Mapping[str, str], body: Any) -> None:
        self.status, self.headers, self.body = status, headers, body


async def ask(port: int, method: str, path: str, body: object = None) -> Said | None:
    """Send a request on a connection of its own; None if nobody answers."""
    pool = HTTPConnectionPool(reactor, persistent=False)
    http = HTTPClient(Agent(reactor, pool=pool))
    try:
        response = await http.request(
            method,
            f"http://127.0.0.1:{port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers=_CREDENTIALS,
        )
        content = await treq.content(response)
    except (ConnectError, ConnectionClosed, RequestTransmissionFailed, ResponseFailed):
        return None
    headers = {
        name.decode().lower(): values[0].decode()
        for name, values in response.headers.getAllRawHeaders()
    }
    return Said(response.code, headers, json.loads(content))


async def asked(port: int, method: str, path: str, body: object = None) -> Said:
    """Send a request that must be answered."""
    said = await ask(port, method, path, body)
    assert said is not None
    return said


async def ready(service: Service, port: int) -> None:
    """Wait until everything is as it should be."""
    await service.listening(port)
    deadline = reactor.seconds() + 20
    while (await asked(port, "GET", "/readyz")).status != 200:
        assert reactor.seconds() < deadline, service.out
        await deferLater(reactor, 0.02)


def the_line(service: Service) -> str:
    """The one line on stderr, and no traceback anywhere."""
    assert "Traceback" not in service.err + service.out
    lines = service.err.splitlines()
    assert len(lines) == 1, service.err
    assert lines[0].startswith("hotpotato: ")
    return lines[0].removeprefix("hotpotato: ")


# ------------------------------------------------------------------ both entrances


@pytest.mark.parametrize("entrance", ["plugin", "tac"])
@pytest_twisted.ensureDeferred
async def test_it_takes_a_notification_and_ends_well_when_told_to(
    cluster: Cluster, database: str, start: Start, entrance: str
) -> None:
    port = free_port()
    service = start(config(port, cluster.url(database)), entrance=entrance)
    await ready(service, port)
    said = await asked(port, "POST", SEND, PAGE)
    assert (said.status, said.body["data"]["server_name"]) == (201, "icinga1")
    for path in ("/healthz", "/readyz", "/readyz/ingest"):
        assert (await asked(port, "GET", path)).status == 200
    assert await service.terminated() < STOPPED_WITHIN / 2
    assert service.err == ""
    assert "Traceback" not in service.out
    assert await ask(port, "GET", "/healthz") is None


# ------------------------------------------------------------------ what stops the start


@pytest.mark.parametrize(
    ("entrance", "wrong", "said"),
    [
        ("plugin", "[watchdog]\ninterval = 'x'", "watchdog.interval: expected `float`, got `str`"),
        (
            "tac",
            "[senders.modica]\nurl = 'https://example.org'",
            "senders.modica.application: missing, expected a value",
        ),
        (
            "plugin",
            "[senders.pigeon]",
            "senders.pigeon: no sender plugin 'pigeon' is installed (there is log, modica",
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_wrong_configuration_ends_it_with_one_line(
    start: Start, entrance: str, wrong: str, said: str
) -> None:
    service = start(config(free_port(), "postgresql://h/d", wrong), entrance=entrance)
    assert await service.ended() == 1
    assert the_line(service).startswith(f"{service.config}: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[database", "is not TOML: "),
        ("[database]\nurl = 'postgresql://u:pa%ss@h/d'", "database.url: not a PostgreSQL URI"),
        (
            "[api]\nlisten = ['udp:53']\n[database]\nurl = 'postgresql://h/d'",
            "api.listen: 'udp:53' is no endpoint that can be listened at: ",
        ),
        (
            "[api]\nlisten = ['ssl:443:privateKey=/none.pem']\n"
            "[database]\nurl = 'postgresql://h/d'",
            "api.listen: 'ssl:443:privateKey=/none.pem' is no endpoint that can be listened at: ",
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_file_that_makes_no_sense_ends_it_with_one_line(
    start: Start, text: str, said: str
) -> None:
    service = start(text)
    assert await service.ended() == 1
    everything = service.out + service.err
    assert f"hotpotato: {service.config}: {said}" in everything
    assert "Traceback" not in everything
    assert "pa%ss" not in everything


@pytest_twisted.ensureDeferred
async def test_a_file_that_is_not_there_ends_it_with_one_line(start: Start, place: Path) -> None:
    service = start("", arguments=("--rundir", str(place)))
    service.config.unlink()
    assert await service.ended() == 1
    assert the_line(service) == f"{service.config}: cannot be read: No such file or directory"


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_taken_ends_it_with_one_line(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = start(config(port, "postgresql://h/d"))
        assert await service.ended() == 1
    lines = [line for line in (service.out + service.err).splitlines() if "hotpotato: " in line]
    (line,) = lines
    assert f"api.listen: Couldn't listen on 127.0.0.1:{port}" in line
    assert "Address already in use" in line
    assert "Traceback" not in service.out + service.err


@needs_root
@pytest_twisted.ensureDeferred
async def test_it_refuses_to_stay_root(start: Start) -> None:
    service = start(config(free_port(), "postgresql://h/d"), root=True)
    assert await service.ended() == 1
    (line,) = [line for line in (service.out + service.err).splitlines() if "hotpotato: " in line]
    assert "refuses to run as root: start twistd with --uid and --gid" in line
    assert "Traceback" not in service.out + service.err


@needs_root
@pytest_twisted.ensureDeferred
async def test_root_opens_the_ports_and_is_given_up_before_anything_is_accepted(
    cluster: Cluster, database: str, start: Start
) -> None:
    port = free_port()
    service = start(
        config(port, cluster.url(database)),
        arguments=("--uid", str(NOBODY), "--gid", str(NOBODY)),
        root=True,
    )
    await ready(service, port)
    status = Path("/proc", str(service.pid), "status").read_text().splitlines()
    ids = [line.split()[1:] for line in status if line.startswith(("Uid:", "Gid:"))]
    assert ids == [[str(NOBODY)] * 4] * 2
    assert (await asked(port, "POST", SEND, PAGE)).status == 201
    await service.terminated()


@pytest_twisted.ensureDeferred
async def test_an_embedded_postgresql_that_cannot_start_ends_it_with_its_reason(
    start: Start, place: Path
) -> None:
    (place / "photographs").mkdir()
    (place / "photographs" / "cat.jpg").touch()
    port = free_port()
    text = config(port, "").replace('url = ""', f'embedded = "{place / "photographs"}"')
    service = start(text)
    assert await service.ended() == 1
    assert "is not empty and not an embedded PostgreSQL's directory" in service.out + service.err
    assert "Traceback" not in service.out + service.err


# ------------------------------------------------------------------ before its database


@pytest_twisted.ensureDeferred
async def test_without_its_database_it_answers_503_and_works_by_itself_when_that_comes(
    cluster: Cluster, database: str, start: Start
) -> None:
    """First there is no server, then no database in it, then no schema in that."""
    proxy = Proxy(cluster.port)
    await proxy.close()
    port, name = free_port(), f"late_{uuid.uuid4().hex}"
    service = start(config(port, cluster.url(name, proxy.port)))
    await service.listening(port)

    async def refused(why: str) -> None:
        deadline = reactor.seconds() + 10
        while why not in (said := await asked(port, "POST", SEND, PAGE)).body["message"]:
            assert reactor.seconds() < deadline, said.body
            await deferLater(reactor, 0.05)
        assert (said.status, said.body["code"], said.body["success"]) == (503, 503, False)
        assert int(said.headers["retry-after"]) >= 1
        assert (await asked(port, "GET", "/healthz")).status == 200
        for path in ("/readyz", "/readyz/ingest"):
            assert (await asked(port, "GET", path)).status == 503

    away = "the database is away; repeat it with the same Idempotency-Key"
    await refused(away)
    assert "refused" in service.out
    proxy.open()
    await refused(away)
    cluster.sql(f"CREATE DATABASE {name}")
    await refused("the database has no schema yet: run `hotpotato migrate`")
    assert service.out.count("database unavailable") == 1
    cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")
    cluster.sql(f"CREATE DATABASE {name} TEMPLATE migrated")
    began = reactor.seconds()
    await ready(service, port)
    assert reactor.seconds() - began < 8
    assert (await asked(port, "POST", SEND, PAGE)).status == 201
    await service.terminated()
    await proxy.close()


@pytest_twisted.ensureDeferred
async def test_its_own_postgresql_begins_and_ends_with_it(start: Start, place: Path) -> None:
    port = free_port()
    directory = place / "postgres"
    text = config(port, "").replace('url = ""', f'embedded = "{directory}"')
    service = start(text)
    await service.listening(port)
    said = await asked(port, "POST", SEND, PAGE)
    assert said.status == 503
    postmaster = int((directory / "data/postmaster.pid").read_text().splitlines()[0])
    assert Path("/proc", str(postmaster)).exists()
    await service.terminated()
    assert not Path("/proc", str(postmaster)).exists()


# ------------------------------------------------------------------ the end


@pytest_twisted.ensureDeferred
async def test_told_to_stop_amid_requests_it_ends_well_and_has_kept_all_it_promised(
    cluster: Cluster, database: str, start: Start
) -> None:
    """Clients that keep their connections go on asking until nobody answers."""
    port = free_port()
    service = start(config(port, cluster.url(database)))
    await ready(service, port)
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = 16
    pool.retryAutomatically = False
    http = HTTPClient(Agent(reactor, pool=pool))
    promised: list[int] = []
    others: set[int] = set()

    async def client(name: str) -> None:
        number = 0
        while True:
            number += 1
            try:
                response = await http.post(
                    f"http://127.0.0.1:{port}{SEND}",
                    data=json.dumps(PAGE | {"hostname": f"{name}-{number}"}).encode(),
                    headers=_CREDENTIALS,
                )
                said = await treq.json_content(response)
            except (ConnectError, ConnectionClosed, RequestTransmissionFailed, ResponseFailed):
                return
            if response.code == 201:
                promised.append(said["data"]["id"])
            else:
                others.add(response.code)

    clients = [Deferred.fromCoroutine(client(f"host{number}")) for number in range(16)]
    await until(lambda: len(promised) > 100, "a load")
    before = len(promised)
    seconds = await service.terminated()
    for each in clients:
        await each
    await pool.closeCachedConnections()
    connection = psycopg2.connect(cluster.url(database))
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM notification")
        kept = {number for (number,) in cursor.fetchall()}
    connection.close()
    print(f"\nSIGTERM: {before} promised before it, {len(promised)} in all, in {seconds:.1f} s")
    assert set(promised) <= kept
    assert others <= {503}
    assert seconds < STOPPED_WITHIN / 2


@pytest_twisted.ensureDeferred
async def test_a_sender_that_hangs_does_not_keep_it(
    cluster: Cluster, database: str, start: Start
) -> None:
    http = HTTPClient(Agent(reactor))
    gateway = Gateway(reactor, http)
    await gateway.start(reactor)
    gateway.misbehave("hang-before")
    sender = f"""
        [senders.modica]
        url = "{gateway.url}"
        application = "sandbox"
        password = "sandbox"
    """
    port = free_port()
    service = start(config(port, cluster.url(database), sender))
    await ready(service, port)
    assert (await asked(port, "POST", SEND, PAGE)).status == 201
    await gateway.arrived(0)
    sending = "SELECT count(*) FROM attempt WHERE outcome IS NULL"
    connection = psycopg2.connect(cluster.url(database))
    connection.autocommit = True

    def attempts() -> int:
        with connection.cursor() as cursor:
            cursor.execute(sending)
            count: int = cursor.fetchall()[0][0]
            return count

    await until(attempts, "an attempt")
    await service.terminated()
    assert attempts() == 1
    connection.close()
    await gateway.stop()


@pytest_twisted.ensureDeferred
async def test_a_database_that_is_frozen_does_not_keep_it(
    cluster: Cluster, database: str, start: Start
) -> None:
    port = free_port()
    service = start(config(port, cluster.url(database)))
    await ready(service, port)
    cluster.freeze()
    try:
        under_way = [ask(port, "POST", SEND, PAGE | {"hostname": f"h{n}"}) for n in range(5)]
        answers = [Deferred.fromCoroutine(request) for request in under_way]
        await deferLater(reactor, 0.2)
        await service.terminated()
        for answer in answers:
            said = await answer
            assert said is None or said.status == 503
    finally:
        cluster.thaw()


@pytest_twisted.ensureDeferred
async def test_a_name_server_that_is_silent_does_not_keep_it(start: Start) -> None:
    """Names are resolved in threads, and a thread that waits can't be told to stop."""
    port = free_port()
    url = "postgresql://hotpotato@db1.example.org,db2.example.org/hotpotato"
    service = start(config(port, url), code=SILENT_NAME_SERVER)
    await service.listening(port)
    said = await asked(port, "POST", SEND, PAGE)
    assert said.status == 503
    assert await service.terminated() < STOPPED_WITHIN / 2


@pytest_twisted.ensureDeferred
async def test_it_can_be_told_to_stop_at_any_moment_of_its_start(
    cluster: Cluster, database: str, start: Start
) -> None:
    """From the moment that it takes SIGTERM at all, it ends well."""
    moments = ("starting up", "Site starting", "ready")
    services = [start(config(free_port(), cluster.url(database))) for _ in moments]
    for moment, service in zip(moments, services, strict=True):
        await until(lambda: moment in service.out, moment)  # noqa: B023
        os.kill(service.pid, signal.SIGTERM)
    for service in services:
        assert await service.ended(STOPPED_WITHIN) in (0, -signal.SIGTERM)
        assert "Traceback" not in service.out + service.err


# ------------------------------------------------------------------ watched by systemd


@pytest_twisted.ensureDeferred
async def test_systemd_hears_when_it_is_ready_that_it_lives_and_that_it_ends(
    cluster: Cluster, database: str, start: Start, place: Path
) -> None:
    with Systemd(place / "notify") as systemd:
        port = free_port()
        told = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "30000000"}
        service = start(config(port, cluster.url(database)), environment=told)
        await until(lambda: systemd.heard("WATCHDOG=1"), "the first sign of life")
        assert systemd.heard("READY=1") and systemd.heard("STATUS=ready")
        assert (await asked(port, "GET", "/readyz/ingest")).status == 200
        await service.terminated()
        assert systemd.heard("STOPPING=1")


@pytest_twisted.ensureDeferred
async def test_a_process_that_was_stopped_says_for_how_long(
    cluster: Cluster, database: str, start: Start
) -> None:
    port = free_port()
    service = start(config(port, cluster.url(database)))
    await ready(service, port)
    service.signal(signal.SIGSTOP)
    await deferLater(reactor, 2.5)
    service.signal(signal.SIGCONT)
    await until(lambda: "this process was late by" in service.out, "it to notice")
    late = re.search(r"late by ([0-9.]+) s", service.out)
    assert late is not None and 1.0 <= float(late[1]) < 10
    await service.terminated()
