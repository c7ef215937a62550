"""What is measured, set up and cleared away: processes, and a database for each round."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import msgspec
import psycopg2
from psycopg2 import sql

from benchmarks.load import Target

PATIENCE = 30.0
"""Seconds for which an answer of a program is waited for."""

ENDING = 20.0
"""Seconds that a program has to end in order, before it is killed."""

_CHECKOUT = Path(__file__).parents[1]


class Broken(Exception):
    """The benchmark can't go on; the text says what happened, with the end of the program's log."""


class Program:
    """One of `benchmarks.programs` as a process; `ready` is the line that it printed."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self._log = log
        self._name = arguments[0]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.programs", *arguments],
                cwd=_CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for the benchmark: it ends them in order
            )
        assert self._process.stdout is not None
        self.ready = self._process.stdout.readline().strip()
        if not self.ready:
            self.stop()
            raise Broken(f"{self._name} did not start:\n{self._log_end()}")

    def say(self, line: str) -> None:
        """Give it a line on its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def ask(self, line: str, patience: float = PATIENCE) -> str:
        """Give it a line, and wait for the one that it answers with."""
        self.say(line)
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], patience)[0]:
            raise Broken(f"{self._name} does not answer:\n{self._log_end()}")
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise Broken(f"{self._name} has ended:\n{self._log_end()}")
        return answer

    def memory(self) -> int:
        """Bytes of memory that it has, but for what is swapped out."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def files(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def cpu(self) -> float:
        """Seconds of CPU that it has taken so far."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def pause(self) -> None:
        """Let it stand still, until `resume`."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on; it doesn't know that it stood still, but by the clock."""
        os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Have it end in order, or kill it."""
        self.resume()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _log_end(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-12:])


class Round:
    """A daemon on a database of its own, with a gateway: everything as on the first day."""

    def __init__(
        self, programs: Sequence[Program], url: str, port: int, key: str, arrivals: Path
    ) -> None:
        self.programs = programs
        self.url = url
        self.daemon = programs[-1]
        self.port = port
        self.key = key
        self._arrivals = arrivals

    def arrivals(self) -> list[tuple[float, str]]:
        """When, on the monotonic clock, each text came to the gateway."""
        lines = self._arrivals.read_text(encoding="utf-8").splitlines()
        parts = (line.split(" ", 1) for line in lines)
        return [(float(at), msgspec.json.decode(text)) for at, text in parts]


class Stage:
    """Where the rounds take place; with `url` on that PostgreSQL, else on an embedded one.

    A context manager: on its end nothing is left, neither a process nor a database nor a file.
    """

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        with contextlib.ExitStack() as stack:
            self._directory = Path(tempfile.mkdtemp(prefix="hotpotato-benchmark-"))
            stack.callback(shutil.rmtree, self._directory, ignore_errors=True)
            if self._url is None:
                self._url = stack.enter_context(self._program("postgres")).ready
            self._echo = stack.enter_context(self._program("echo"))
            self._template = stack.enter_context(self._database("template0"))
            with self._program("prepare", self._at(self._template)) as prepared:
                self._key = prepared.ready
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    @property
    def echo(self) -> Program:
        """The bare Klein route; it is ready with its port."""
        return self._echo

    def about(self) -> str:
        """The PostgreSQL, and what it promises of a commit."""
        show = "SELECT current_setting(name) FROM unnest(%s) AS name"
        names = ["server_version", "fsync", "synchronous_commit", "full_page_writes"]
        with connected(self._server) as connection, connection.cursor() as cursor:
            cursor.execute(show, [names])
            version, *settings = (value for (value,) in cursor.fetchall())
        said = ", ".join(f"{name} {value}" for name, value in zip(names[1:], settings, strict=True))
        return f"PostgreSQL {version} with {said}"

    @contextlib.contextmanager
    def round(self, *, receipts: bool) -> Iterator[Round]:
        """Start a daemon and a gateway; afterwards stop them, and drop what they wrote."""
        with self._database(self._template) as database, contextlib.ExitStack() as stack:
            arrivals = self._directory / f"arrivals-{database}"
            arrivals.touch()
            gateway = stack.enter_context(
                self._program("gateway", str(arrivals), "yes" if receipts else "no")
            )
            daemon = stack.enter_context(self._program("daemon", self._at(database), gateway.ready))
            gateway.say(f"http://127.0.0.1:{daemon.ready}/api/senders/modica")
            yield Round(
                [gateway, daemon], self._at(database), int(daemon.ready), self._key, arrivals
            )

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """A prepared database without a daemon: its URL."""
        with self._database(self._template) as database:
            yield self._at(database)

    def run(self, name: str, *arguments: str) -> str:
        """What a program says that ends by itself."""
        with self._program(name, *arguments) as program:
            return program.ready

    @contextlib.contextmanager
    def load(self, target: Target) -> Iterator[Program]:
        """Start a load generator."""
        with self._program("load", msgspec.json.encode(target).decode()) as program:
            yield program

    @contextlib.contextmanager
    def _program(self, name: str, *arguments: str) -> Iterator[Program]:
        program = Program(self._directory / f"{name}.log", name, *arguments)
        try:
            yield program
        finally:
            program.stop()

    @contextlib.contextmanager
    def _database(self, template: str) -> Iterator[str]:
        name = f"hotpotato_benchmark_{uuid.uuid4().hex[:12]}"
        self._administer("CREATE DATABASE {} TEMPLATE {}", name, template)
        try:
            yield name
        finally:
            self._administer("DROP DATABASE {} WITH (FORCE)", name)

    @property
    def _server(self) -> str:
        assert self._url is not None
        return self._url

    def _at(self, database: str) -> str:
        return urlsplit(self._server)._replace(path=f"/{database}").geturl()

    def _administer(self, statement: str, *names: str) -> None:
        with connected(self._server) as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextlib.contextmanager
def connected(url: str) -> Iterator[psycopg2.extensions.connection]:
    """A connection that commits by itself."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        yield connection
    finally:
        connection.close()
