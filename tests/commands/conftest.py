"""The `hotpotato` command as somebody runs it: in a process of its own, with its file."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg2
import pytest

from tests.world import World

CHECKOUT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "hotpotato.commands"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than ten seconds")


class Done(msgspec.Struct, frozen=True):
    """What a command said."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document that it printed."""
        return json.loads(self.out)


class _Zygote:
    """Forks a process for each command: see `zygote`. A command has PATIENCE seconds."""

    PATIENCE = 60.0

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Done:
        """Run the command with these arguments."""
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with tempfile.TemporaryDirectory() as directory:
            out, err = Path(directory, "out"), Path(directory, "err")
            order = {
                "arguments": arguments,
                "environment": environment,
                "out": str(out),
                "err": str(err),
            }
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            if not select.select([process.stdout], [], [], self.PATIENCE)[0]:
                os.killpg(process.pid, signal.SIGKILL)
                self._process = None
                raise AssertionError(f"{arguments}: not done within {self.PATIENCE:g} s")
            status = int(process.stdout.readline())
            return Done(status, out.read_text("utf-8"), err.read_text("utf-8"))

    @staticmethod
    def _started() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=surroundings(),
            start_new_session=True,
        )
        assert process.stdin is not None
        atexit.register(process.stdin.close)
        return process


_ZYGOTE = _Zygote()


class Command:
    """Runs `hotpotato --config FILE …`, and expects an exit status."""

    def __init__(self, config: Path) -> None:
        self.config = config

    def __call__(self, *arguments: str, status: int = 0, code: str | None = None) -> Done:
        """Run it; `code` is run in place of the program, with the same arguments."""
        given = ["--config", str(self.config), *arguments]
        environment = {**surroundings(), "COLUMNS": "80"}
        done = _ZYGOTE.run(given, environment) if code is None else _run(code, given, environment)
        assert done.status == status, done.out + done.err
        return done

    def refused(self, *arguments: str) -> str:
        """The one line on stderr of a command that is refused."""
        done = self(*arguments, status=1)
        assert done.out == ""
        assert done.err.startswith("hotpotato: ")
        assert done.err.endswith("\n")
        assert done.err.count("\n") == 1
        return done.err.removeprefix("hotpotato: ").rstrip("\n")

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Look into, or change, the database that the command uses."""
        url = tomllib.loads(self.config.read_text())["database"]["url"]
        connection = psycopg2.connect(url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def json(self, *arguments: str, status: int = 0) -> Any:
        """The document of a command with --json."""
        return self(*arguments, "--json", status=status).document


def _run(code: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Done:
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        env=environment,
        timeout=60,
        check=False,
    )
    return Done(ended.returncode, ended.stdout, ended.stderr)


def surroundings() -> dict[str, str]:
    """The environment of a command: nothing of the tester's own configuration."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("HOTPOTATO")},
        "PYTHONPATH": str(CHECKOUT),
    }


def write_config(path: Path, url: str, sections: str = "") -> Path:
    path.write_text(f'[database]\nurl = "{url}"\n{sections}')
    return path


def configured_for(world: World, directory: Path) -> Command:
    """The command beside a running daemon, with the daemon's sender."""
    sender = f"""
[senders.modica]
url = "{world.gateway.url}"
application = "sandbox"
password = "sandbox"
callback_username = "modica"
callback_password = "callback-secret"
"""
    return Command(write_config(directory / "hotpotato.toml", world.database_url, sender))


@pytest.fixture
def hotpotato(database_url: str, tmp_path: Path) -> Command:
    """The command with a database of its own that has the schema, and no sender."""
    return Command(write_config(tmp_path / "hotpotato.toml", database_url))


@pytest.fixture
def acme(hotpotato: Command) -> Command:
    """The same with the tenant acme, and Anna and Bob in it."""
    hotpotato("tenant", "add", "acme", "--timezone", "Pacific/Auckland")
    hotpotato("user", "add", "Anna", "--sms", "+64211234567")
    hotpotato("user", "add", "Bob", "--sms", "+64217654321")
    return hotpotato
