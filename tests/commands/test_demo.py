"""`hotpotato demo`, which is `make run`: started, played with as its summary says, and stopped."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.commands.conftest import PROGRAM, surroundings

pytestmark = pytest.mark.slow

PATIENCE = 40.0

# On a machine without curl: what the printed command needs of it.
CURL = f"""#!{sys.executable}
import argparse, http.client, urllib.parse
parser = argparse.ArgumentParser()
parser.add_argument("-i", action="store_true")
parser.add_argument("-H")
parser.add_argument("-d")
parser.add_argument("url")
asked = parser.parse_args()
url = urllib.parse.urlsplit(asked.url)
connection = http.client.HTTPConnection(url.netloc)
name, value = asked.H.split(": ")
connection.request("POST", url.path, asked.d, {{name: value}})
answer = connection.getresponse()
print(f"HTTP/1.1 {{answer.status}}\\n\\n{{answer.read().decode()}}")
"""


class Demo:
    """A demonstration in a directory, and what it has printed so far."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.out = ""
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [*PROGRAM, "demo", *options],
            cwd=directory,
            env=surroundings(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.out += line

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until something is printed."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.out, re.MULTILINE)) is None:
            assert time.monotonic() < deadline, f"waited for {pattern!r}:\n{self.out}"
            time.sleep(0.05)
        return found

    def stop(self, how: signal.Signals) -> int:
        """Stop it with a signal, and return its exit status."""
        self.process.send_signal(how)
        status = self.process.wait(15)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def run(self, *command: str) -> str:
        """Run something beside it, and return what it prints."""
        path = f"{self.directory}:{os.environ['PATH']}"
        done = subprocess.run(
            command,
            cwd=self.directory,
            env={**surroundings(), "PATH": path},
            stdout=subprocess.PIPE,
            encoding="utf-8",
            timeout=30,
            check=True,
        )
        return done.stdout

    @property
    def postgres(self) -> Path:
        """Where its PostgreSQL lies: root's is elsewhere."""
        found = re.search(r"\?host=([^&\"]+)", (self.directory / "var/demo.toml").read_text())
        assert found is not None
        return Path(unquote(found[1])).parent


def processes_of(place: Path) -> list[str]:
    """The command lines that name a directory."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(place) in words:
            found.append(words)
    return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty directory, with a curl for machines that have none."""
    if shutil.which("curl") is None:
        (tmp_path / "curl").write_text(CURL)
        (tmp_path / "curl").chmod(0o755)
    yield tmp_path
    for home in Path("/var/lib/hotpotato-embedded").glob("*"):
        made_for = home / "made-for"
        if made_for.exists() and made_for.read_text().startswith(str(tmp_path)):
            shutil.rmtree(home)


def test_what_the_demo_prints_works_and_ctrl_c_stops_everything(place: Path) -> None:
    """The printed curl pages Anna, a reply acknowledges it, and the story can be looked at."""
    demo = Demo(place)
    try:
        demo.until(r"^  hotpotato --help$")
        curl = demo.until(r"^  curl (.*\\\n)+.*$")[0]
        answer = demo.run("sh", "-c", curl)
        assert " 201" in answer.splitlines()[0]
        number = json.loads(answer.splitlines()[-1])["data"]["id"]
        demo.until(rf"notification {number} +db1/Postgres: CRITICAL came in from icinga")
        code = demo.until(
            r"SMS to Anna +CRITICAL db1/Postgres: connection refused\n +Reply ack ([A-Z]+)$"
        )[1]
        demo.until(r"receipt +received$")

        reply = demo.until(r'^  hotpotato (sandbox reply .*"ack )KWT"$')[1]
        demo.run(*PROGRAM, *shlex.split(f'{reply}{code}"'))
        demo.until(rf"SMS from Anna +ack {code}$")
        demo.until(r"Anna acknowledged the alert by SMS$")
        demo.until(r"SMS to Anna +Acknowledged: CRITICAL db1/Postgres$")

        show = ["--config", "var/demo.toml", "notification", "show", str(number), "--json"]
        story = json.loads(demo.run(*PROGRAM, *show))
        assert (story["user"], story["alert_status"]) == ("Anna", "acknowledged")

        second = subprocess.run(
            [*PROGRAM, "demo"], cwd=place, env=surroundings(), capture_output=True, check=False
        )
        assert second.returncode == 1
        assert b"another demo runs already in" in second.stderr
        postgres = demo.postgres
        assert processes_of(postgres)
    finally:
        status = demo.stop(signal.SIGINT)
    assert status == 0
    assert demo.out.endswith("Everything is stopped.\n")
    assert processes_of(postgres) == []


def test_a_second_demo_goes_on_where_the_first_ended(place: Path) -> None:
    """The same key, the same people, and no port that is taken; SIGTERM stops it too."""
    first = Demo(place, "--json")
    try:
        first.until(r"^}$")
    finally:
        assert first.stop(signal.SIGTERM) == 0
    summary = json.loads(first.out)
    assert summary["on_call"] == "Anna"
    assert (place / "var/demo.key").read_text().strip() == summary["api_key"]
    assert (place / "var/demo.key").stat().st_mode & 0o077 == 0
    assert (place / "var/demo.toml").stat().st_mode & 0o077 == 0

    second = Demo(place, "--json")
    try:
        second.until(r"^}$")
        config = ["--config", "var/demo.toml"]
        users = json.loads(second.run(*PROGRAM, *config, "user", "list", "--json"))
        assert [user["name"] for user in users] == ["Anna", "Bob"]
        postgres = second.postgres
    finally:
        assert second.stop(signal.SIGTERM) == 0
    assert json.loads(second.out)["api_key"] == summary["api_key"]
    assert processes_of(postgres) == []


def test_a_port_that_was_asked_for_and_is_taken_is_refused(place: Path) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [*PROGRAM, "demo", "--port", str(port)],
            cwd=place,
            env=surroundings(),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == f"hotpotato: port {port} is taken: choose another with --port\n"
