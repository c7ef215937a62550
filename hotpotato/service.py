"""The entrance for twistd: a configuration file in, a Twisted service out.

The only room that picks up the reactor: everything behind it is handed what it needs.
"""

from __future__ import annotations

import functools
import gc
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.usage import Options as BaseOptions

from hotpotato import settings
from hotpotato.daemon import Daemon
from hotpotato.senders.registry import Registry
from hotpotato.store.database import BadUrl
from hotpotato.store.embedded import Embedded, EmbeddedFailed
from hotpotato.systemd import Notifier
from hotpotato.watching import Watching

_LOOK_AFTER = 10_000
"""New objects after which the garbage collector looks at them; a few megabytes at most."""


class Options(BaseOptions):
    """The command line of `twistd hotpotato`."""

    optParameters = (
        (
            "config",
            "c",
            os.environ.get("HOTPOTATO_CONFIG", str(settings.DEFAULT_PATH)),
            "The configuration file; by default $HOTPOTATO_CONFIG, then the one in /etc.",
        ),
    )


class HotPotato(Service):
    """The daemon in twistd's order: ports first, privileges dropped, then everything else.

    Whatever stands in the way of a start ends the process with one line.
    """

    def __init__(self, configured: settings.Settings, registry: Registry, reactor: Any) -> None:
        self._configured = configured
        self._reactor = reactor
        self._embedded = None
        url = configured.database.url
        if configured.database.embedded is not None:
            self._embedded = Embedded(Path(configured.database.embedded))
            url = self._embedded.url
        assert url is not None
        self._endpoints = [_endpoint(reactor, configured, each) for each in configured.api.listen]
        self.daemon = Daemon(configured, url, registry, reactor, reactor)
        self._watching = Watching(self.daemon, reactor, Notifier.of(os.environ))
        self._log = Logger()

    def privilegedStartService(self) -> None:
        """Open the ports, while there may be the right to."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        trouble: list[Failure] = []
        Deferred.fromCoroutine(self.daemon.bind(self._endpoints)).addErrback(trouble.append)
        if trouble:
            why = trouble[0].getErrorMessage()
            raise SystemExit(f"hotpotato: {self._configured.path}: api.listen: {why}")

    def startService(self) -> None:
        """Start, if root was left behind."""
        if os.geteuid() == 0:
            raise SystemExit(
                "hotpotato: refuses to run as root: start twistd with --uid and --gid of an account"
                " of its own, or set User= in the systemd unit"
            )
        super().startService()  # type: ignore[no-untyped-call]
        if self._embedded is not None:
            try:
                self._embedded.start()
            except EmbeddedFailed as error:
                raise SystemExit(f"hotpotato: {error}") from error
        self._reactor.callWhenRunning(self._end_well)
        self._reactor.callWhenRunning(spare_the_collector)
        self._reactor.callWhenRunning(self._watching.start)
        starting = Deferred.fromCoroutine(self.daemon.start())
        starting.addErrback(lambda failure: self._log.failure("the start failed", failure))

    def stopService(self) -> Deferred[None]:
        """Stop in order; fires when everything is closed."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._watching.stopping()
        try:
            await self.daemon.stop()
        finally:
            self._watching.stop()
            if self._embedded is not None:
                self._embedded.stop()

    def _end_well(self) -> None:
        """Make SIGTERM end the process with status 0; twistd would let the signal kill it."""

        def terminated(number: int, frame: object) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._reactor.callFromThread(self._reactor.stop)

        signal.signal(signal.SIGTERM, terminated)


def makeService(options: Options, reactor: Any = None) -> IService:
    """Build the service. Whatever is wrong with the configuration ends it with one line."""
    if reactor is None:
        from twisted.internet import reactor
    # By default it follows the wall clock, and an hour's step back would stall every loop.
    reactor.seconds = time.monotonic
    _wait_for_no_name(reactor)
    path = Path(options["config"])
    try:
        return HotPotato(settings.load(path), Registry.discover(), reactor)
    except BadUrl as error:
        raise SystemExit(f"hotpotato: {path}: database.url: {error}") from error
    except settings.SettingsError as error:
        raise SystemExit(f"hotpotato: {error}") from error


def spare_the_collector() -> None:
    """Keep Python's cyclic garbage collector from looking at the program itself again and again.

    What is there once everything is built and imported stays. And a request makes hundreds of
    objects that are gone with its answer, so a look after every 700 finds next to nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_LOOK_AFTER)


def _wait_for_no_name(reactor: Any) -> None:
    """Let the process end while names are being resolved, the one thing threads are used for.

    With a name server that is silent that takes half a minute.
    """
    pool = reactor.getThreadPool()
    pool.threadFactory = functools.partial(threading.Thread, daemon=True)
    pool.stop = lambda: None


def _endpoint(reactor: Any, configured: settings.Settings, description: str) -> Any:
    try:
        return serverFromString(reactor, description)
    except Exception as error:
        raise settings.SettingsError(
            f"{configured.path}: api.listen: {description!r} is no endpoint that can be listened"
            f" at: {error}"
        ) from error
