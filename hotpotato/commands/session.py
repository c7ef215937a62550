"""One command's run: the configuration, the database, and the reactor for as long as it takes."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from hotpotato import settings
from hotpotato.commands.output import Answer, Refused, json_option, show
from hotpotato.patience import within
from hotpotato.store import schema
from hotpotato.store.database import (
    BadUrl,
    Database,
    DatabaseError,
    OutcomeUnknown,
    StatementRefused,
    Transaction,
    Unavailable,
)
from hotpotato.store.embedded import Embedded, EmbeddedFailed

T = TypeVar("T")
Work = Coroutine[Deferred[Any], Any, T]

PATIENCE = 10.0
"""Seconds that a command waits for the database."""

CLOSING = 5.0
"""Seconds that a statement under way may still take when a command is interrupted."""

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


class Session(msgspec.Struct, frozen=True):
    """What a command's work is given. `tell` prints a line for people, and nothing with --json."""

    settings: settings.Settings
    reactor: Any
    database: Database
    tell: Callable[[str], None]


def with_database(work: Callable[..., Work[Answer]]) -> Callable[..., None]:
    """Make `work(session, **options)` a command: its Answer is printed, errors are a line."""

    @json_option
    @click.pass_obj
    @functools.wraps(work)
    def run(config: Path, /, *, as_json: bool, **options: Any) -> None:
        def tell(line: str) -> None:
            if not as_json:
                click.echo(line)

        with refusals():
            configured = settings.load(config)

            async def connected(reactor: Any, url: str) -> Answer:
                password = configured.database.password
                async with opened(url, reactor, password) as database:
                    return await work(Session(configured, reactor, database, tell), **options)

            with served(configured) as url:
                answer = on_reactor(lambda reactor: connected(reactor, url))
        show(answer, as_json)

    return run


def in_transaction(work: Callable[..., Work[Answer]]) -> Callable[..., None]:
    """Make `work(transaction, **options)` a command, as `with_database` does; the schema fits."""

    @functools.wraps(work)
    async def committed(session: Session, **options: Any) -> Answer:
        await schema.check(session.database)

        async def whole(transaction: Transaction) -> Answer:
            return await work(transaction, **options)

        return await session.database.transaction(whole)

    return with_database(committed)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn everything that can be expected to go wrong into Refused, a sentence each."""
    try:
        yield
    except BadUrl as error:
        raise Refused(f"database.url: {error}") from error
    except (settings.SettingsError, EmbeddedFailed, schema.SchemaMismatch) as error:
        raise Refused(str(error)) from error
    except OutcomeUnknown as error:
        raise Refused(
            "the database went away at the last moment, so it may be done or not: look before you"
            f" repeat it ({error})"
        ) from error
    except Unavailable as error:
        raise Refused(f"the database is away, nothing was done: {error}") from error
    except DatabaseError as error:
        raise Refused(f"the database refused: {error}") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Refused(f"{where}{error.strerror or error}") from error


@contextlib.contextmanager
def unless_taken(sentence: str) -> Iterator[None]:
    """Refuse with the sentence what PostgreSQL refuses because the name is taken."""
    try:
        yield
    except StatementRefused as refused:
        if refused.sqlstate != "23505":
            raise
        raise Refused(sentence) from refused


@contextlib.contextmanager
def served(configured: settings.Settings) -> Iterator[str]:
    """The database's URL; an embedded PostgreSQL runs meanwhile, if that is what is configured."""
    if configured.database.embedded is None:
        assert configured.database.url is not None
        yield configured.database.url
        return
    embedded = Embedded(Path(configured.database.embedded))
    try:
        yield embedded.start()
    finally:
        embedded.stop()


@contextlib.asynccontextmanager
async def opened(
    url: str, reactor: Any, password: str | None = None, size: int = 2
) -> AsyncIterator[Database]:
    """A database that answers. Raises BadUrl, or Unavailable after PATIENCE seconds."""
    database = Database(url, reactor=reactor, password=password, size=size)
    database.start()
    try:
        deadline = reactor.seconds() + PATIENCE
        while not database.available:
            if reactor.seconds() > deadline:
                raise Unavailable(f"{database.trouble} (waited for {PATIENCE:g} s)")
            await deferLater(reactor, 0.02)
        yield database
    finally:
        with contextlib.suppress(TimeoutError):
            await within(reactor, CLOSING, database.stop())


def on_reactor(work: Callable[[Any], Work[T]]) -> T:
    """Run the reactor until `work(reactor)` is done, and return or raise what it does.

    Ctrl-C and SIGTERM cancel it; when it has cleaned up, the process exits with status 130. A
    process can do this once.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    # By default it follows the wall clock, and a step back would stall every wait.
    reactor.seconds = time.monotonic
    outcome: list[Any] = []

    async def begun() -> T:
        return await work(reactor)

    def begin() -> None:
        doing = Deferred.fromCoroutine(begun())
        over: Deferred[None] = Deferred()
        stopping: list[bool] = []

        def stop() -> Deferred[None]:
            stopping.append(True)
            doing.cancel()
            return over

        def done(result: Any) -> None:
            outcome.append(result)
            over.callback(None)
            if not stopping:
                reactor.stop()

        reactor.addSystemEventTrigger("before", "shutdown", stop)
        doing.addBoth(done)

    reactor.callWhenRunning(begin)
    reactor.run()
    (result,) = outcome
    if isinstance(result, Failure):
        if result.check(CancelledError):
            raise SystemExit(INTERRUPTED)
        result.raiseException()
    done: T = result
    return done
