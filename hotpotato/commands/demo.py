"""`hotpotato demo`: a whole Hot Potato in one process, with a phone, for trying it out.

It is what `make run` runs. The next run in the same directory finds it all again: the people, the
key, what happened.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from hotpotato import rota, settings
from hotpotato.commands import sandbox
from hotpotato.commands.demo_events import Events
from hotpotato.commands.demo_place import (
    CONFIG,
    KEY,
    LOG,
    POSTGRES,
    api_key,
    begin_log,
    only_one,
    write_private,
)
from hotpotato.commands.output import Refused, json_option, print_json
from hotpotato.commands.session import INTERRUPTED, on_reactor, opened, refusals
from hotpotato.rules import keys
from hotpotato.store import operations, people, schema, servers
from hotpotato.store.database import Database, Transaction
from hotpotato.store.embedded import Embedded

PORT = 8080
TENANT = "demo"
SERVER = "icinga"
PEOPLE = {"Anna": "+64211234567", "Bob": "+64217654321"}

_HOST = "127.0.0.1"
_PORTS_TRIED = 20
_EXAMPLE = {
    "hostname": "db1",
    "service_name": "Postgres",
    "state": "CRITICAL",
    "output": "connection refused",
}


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a visitor needs to know; with --json it is all that is printed."""

    url: str
    sandbox_url: str
    database: str
    config: str
    log: str
    tenant: str
    on_call: str | None
    server: str
    api_key: str
    open_alerts: int
    curl: str


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help=f"Where the API listens; by default {PORT}, or the next that is free.",
)
@json_option
def demo(port: int | None, as_json: bool) -> None:
    """Try Hot Potato, with everything it needs, until Ctrl-C.

    Starts a PostgreSQL of its own, the daemon, and a stand-in for an SMS provider with a phone.
    Anna of the tenant "demo" is on call. Prints a `curl` to paste, and then a line for each thing
    that happens. With --json it prints the summary as a document, and no lines.

    What happened is kept: in ./var, and root's PostgreSQL in /var/lib/hotpotato-embedded. Other
    commands work beside it with --config var/demo.toml.
    """
    with refusals(), _stopped_by_signals(), only_one():
        demonstration = _Demo(_free_port(PORT, port), _free_port(sandbox.PORT, None), as_json)
        begin_log()
        embedded = Embedded(POSTGRES)
        if not as_json:
            click.echo(f"Starting PostgreSQL in {embedded.home} …")
        try:
            url = embedded.start()
            on_reactor(lambda reactor: demonstration.run(reactor, url))
        except (KeyboardInterrupt, SystemExit) as stop:
            if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
                raise
        finally:
            _finish_in_peace()
            embedded.stop()
    if not as_json:
        click.echo("Everything is stopped.")


class _Demo:
    """What listens where, and how it is told."""

    def __init__(self, port: int, sandbox_port: int, as_json: bool) -> None:
        self._port = port
        self._sandbox_port = sandbox_port
        self._as_json = as_json

    async def run(self, reactor: Any, url: str) -> NoReturn:
        """Start everything, tell what happens until cancelled, and stop everything."""
        async with contextlib.AsyncExitStack() as stack:
            database = await stack.enter_async_context(opened(url, reactor))
            await schema.migrate(database)
            key = api_key()
            await database.transaction(lambda transaction: _populate(transaction, key))
            events = Events(database, reactor, {n: name for name, n in PEOPLE.items()})
            await self._start(reactor, url, events, stack)
            self._introduce(await self._summary(database, url, key))
            if self._as_json:
                await Deferred()
            await events.tell()
        raise AssertionError("the demonstration ends only by being cancelled")

    async def _start(
        self, reactor: Any, url: str, events: Events, stack: contextlib.AsyncExitStack
    ) -> None:
        """Start the provider's stand-in and the daemon; `stack` stops them, the daemon first."""
        from twisted.internet.endpoints import TCP4ServerEndpoint

        from hotpotato.daemon import Daemon
        from hotpotato.senders.registry import Registry

        secret = secrets.token_urlsafe(16)
        gateway = _gateway(reactor, events.note, self._api, secret)
        await gateway.start(reactor, self._sandbox_port, _HOST)
        stack.push_async_callback(gateway.stop)
        write_private(CONFIG, self._toml(url, gateway.url, secret))
        configured = settings.load(CONFIG)
        daemon = Daemon(configured, url, Registry.discover(), reactor, reactor)
        await daemon.bind([TCP4ServerEndpoint(reactor, self._port, interface=_HOST)])
        await daemon.start()
        stack.push_async_callback(daemon.stop)
        while not daemon.ready:
            await deferLater(reactor, 0.05)

    @property
    def _api(self) -> str:
        return f"http://{_HOST}:{self._port}"

    def _toml(self, url: str, gateway_url: str, secret: str) -> str:
        return f"""\
# Written anew by each `hotpotato demo`, for the commands that run beside it.

[api]
listen = ["tcp:{self._port}:interface={_HOST}"]

[database]
url = {_quoted(url)}

[senders.modica]
url = {_quoted(gateway_url)}
application = "sandbox"
password = "sandbox"
callback_username = "sandbox"
callback_password = {_quoted(secret)}
"""

    async def _summary(self, database: Database, url: str, key: str) -> Summary:
        counts = await database.transaction(operations.counts)
        (held,) = await database.transaction(lambda t: people.on_call(t, TENANT))
        return Summary(
            url=self._api,
            sandbox_url=f"http://{_HOST}:{self._sandbox_port}",
            database=url,
            config=str(CONFIG),
            log=str(LOG),
            tenant=TENANT,
            on_call=held.person,
            server=SERVER,
            api_key=key,
            open_alerts=int(counts["alerts_triggered"]),
            curl=_curl(self._api, key),
        )

    def _introduce(self, summary: Summary) -> None:
        if self._as_json:
            print_json(summary)
            return
        command = _own_name()
        at = "" if self._sandbox_port == sandbox.PORT else f" --url {summary.sandbox_url}"
        moved = "" if self._port == PORT else f", since {PORT} is taken"
        holder = "nobody: everybody is paged"
        if summary.on_call is not None:
            holder = f"{summary.on_call} {PEOPLE.get(summary.on_call, '')}".strip()
        open_before = (
            f"  open       {summary.open_alerts} from before, to be paged again\n"
            if summary.open_alerts
            else ""
        )
        click.echo(f"""\
Hot Potato is ready. Ctrl-C stops it and all that it started.

  listens    {summary.url}{moved}
  database   {summary.database}
  on call    {holder}, in tenant {TENANT}
  server     {SERVER}, whose key is in {KEY}
  log        {summary.log}
{open_before}
Raise an alarm as a monitoring server does, from another terminal:

{summary.curl}

The SMS shows here. Reply to it, with the letters at its end in place of KWT:

  {command} sandbox reply{at} "ack KWT"

Look at what was done, and at everything else:

  {command} --config {summary.config} notification show ID
  {command} --help
""")


async def _populate(transaction: Transaction, key: str) -> None:
    """Make the tenant, its people and its server where they are missing; set the server's key."""
    found = await people.tenants(transaction, TENANT)
    tenant_id = found[0].id if found else await people.add_tenant(transaction, TENANT, "UTC")
    known = {person.name: person.id for person in await people.people(transaction, tenant=TENANT)}
    for name, number in PEOPLE.items():
        if name not in known:
            contacts = [("sms", number)]
            known[name] = await people.add_person(transaction, tenant_id, name, contacts)
    if not found:
        await rota.set_on_call(transaction, tenant_id, known["Anna"])
    digest = keys.key_digest(key)
    existing = await servers.find(transaction, name=SERVER, tenant=TENANT)
    if existing:
        await servers.rotate_key(transaction, existing[0].id, digest, revoke_old=True)
        return
    await servers.add(
        transaction,
        tenant_id=tenant_id,
        name=SERVER,
        digest=digest,
        heartbeat_interval=60,
        missed=3,
        timezone=None,
    )


def _gateway(
    reactor: Any, note: Callable[[str, Mapping[str, Any]], None], api: str, secret: str
) -> Any:
    from treq.client import HTTPClient
    from twisted.web.client import Agent

    from hotpotato.sandbox import Gateway

    return Gateway(
        reactor,
        HTTPClient(Agent(reactor)),
        callback_url=f"{api}/api/senders/modica",
        callback_username="sandbox",
        callback_password=secret,
        first_id=time.time_ns(),
        on_event=note,
    )


def _curl(api: str, key: str) -> str:
    address = f"{api}/api/servers/v2/notifications/send"
    return f"""\
  curl -i {address} \\
    -H {shlex.quote(f"Authorization: Apikey {key}")} \\
    -d {shlex.quote(json.dumps(_EXAMPLE))}"""


def _quoted(text: str) -> str:
    """The text as a TOML string."""
    return json.dumps(text, ensure_ascii=False)


def _own_name() -> str:
    """How this command was called, so that its examples can be pasted."""
    called = Path(sys.argv[0])
    if called.name != "hotpotato" or shutil.which("hotpotato") == str(called.absolute()):
        return "hotpotato"
    return shlex.quote(str(called))


def _free_port(first: int, wanted: int | None) -> int:
    """The port that was asked for, or the first free one. Refused if there is none."""
    if wanted is not None:
        if not _is_free(wanted):
            raise Refused(f"port {wanted} is taken: choose another with --port")
        return wanted
    for port in range(first, first + _PORTS_TRIED):
        if _is_free(port):
            return port
    raise Refused(f"the ports from {first} to {port} are taken: choose another with --port")


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((_HOST, port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM, and the end of the terminal, stop us in order, as Ctrl-C does.

    While the reactor runs it sees to SIGINT and SIGTERM itself.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    yield


def _finish_in_peace() -> None:
    """Ignore signals from here on: what is left takes a second, and must not be left half done."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
