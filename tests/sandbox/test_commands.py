"""`hotpotato sandbox`, as somebody types it."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

NUMBER = "+64211234567"
PROGRAM = [sys.executable, "-m", "hotpotato.commands", "sandbox"]


class Sandbox:
    """A sandbox in a process of its own, and commands for it."""

    def __init__(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [*PROGRAM, "run", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        found = re.search(r"http://[\d.:]+", self.line())
        assert found is not None
        self.url = found.group()

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """One command: its status, output and complaint."""
        return call(*arguments, "--url", self.url)

    def post(self, **message: Any) -> int:
        """Send a message through it, as the sender would."""
        request = urllib.request.Request(
            f"{self.url}/rest/gateway/messages",
            data=json.dumps({"destination": NUMBER, "content": "db1 is down"} | message).encode(),
            headers={"Authorization": "Basic " + base64.b64encode(b"sandbox:sandbox").decode()},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            status: int = answer.status
            return status

    def stop(self) -> tuple[int, str]:
        """Ctrl-C: the exit status, and what it still printed."""
        self._process.send_signal(signal.SIGINT)
        rest, _ = self._process.communicate(timeout=10)
        return self._process.returncode, rest


def call(*arguments: str) -> tuple[int, str, str]:
    """One command: its status, output and complaint."""
    ran = subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return ran.returncode, ran.stdout.strip(), ran.stderr.strip()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One for all, without callbacks."""
    running = Sandbox()
    yield running
    running.stop()


def test_it_prints_a_line_for_each_sms(sandbox: Sandbox) -> None:
    """The text as the phone shows it."""
    assert sandbox.post(content="db1 is down [KWT]") == 201
    assert sandbox.line() == f"SMS to {NUMBER}: db1 is down [KWT]"


def test_messages_shows_the_phones(sandbox: Sandbox) -> None:
    """For people, and as one JSON document."""
    sandbox.post(destination="+64270000000", content="hello")
    status, shown, _ = sandbox.call("messages", "--number", "+64270000000")
    assert status == 0
    assert shown.splitlines()[1].split() == ["+64270000000", "none", "yet", "hello"]
    status, shown, _ = sandbox.call("messages", "--json")
    assert status == 0
    assert "hello" in [message["text"] for message in json.loads(shown)["messages"]]


def test_misbehave_and_behave(sandbox: Sandbox) -> None:
    """Asked for, listed, and taken back."""
    status, shown, _ = sandbox.call("misbehave", "503", "--times", "2", "--number", "+6499")
    assert (status, shown) == (0, "Asked for: 503, times 2, number +6499.")
    _, shown, _ = sandbox.call("misbehave", "--json")
    assert [asked["do"] for asked in json.loads(shown)["misbehaviours"]] == ["503"]
    _, shown, _ = sandbox.call("misbehave")
    assert "takes the message and resets the connection" in shown
    assert sandbox.call("behave") == (0, "The sandbox behaves.", "")
    _, shown, _ = sandbox.call("misbehave", "--json")
    assert json.loads(shown) == {"misbehaviours": []}


def test_what_cannot_be_done_is_one_line_and_status_1(sandbox: Sandbox) -> None:
    """Nonsense, nobody to tell, no sandbox, no URL."""
    status, _, complaint = sandbox.call("misbehave", "dance")
    assert (status, complaint.count("\n")) == (1, 0)
    assert "expected one of" in complaint
    status, _, complaint = sandbox.call("reply", "ack KWT", "--from", NUMBER)
    assert (status, complaint) == (1, "hotpotato: expected a callback_url: there is nobody to tell")
    status, _, complaint = call("messages", "--url", "http://127.0.0.1:1")
    assert status == 1
    assert "start one with `hotpotato sandbox run`" in complaint
    assert call("messages", "--url", "localhost")[0] == 1
    assert call("reply")[0] == 2


def test_a_port_that_is_taken_is_one_line(sandbox: Sandbox) -> None:
    """Status 1."""
    port = sandbox.url.rpartition(":")[2]
    status, _, complaint = call("run", "--port", port)
    assert status == 1
    assert complaint.startswith(f"hotpotato: cannot listen on port {port}")
    assert "\n" not in complaint


def test_a_reply_that_nobody_takes_is_told() -> None:
    """Here nothing listens where callbacks go. Events are JSON if asked for, and Ctrl-C ends it."""
    running = Sandbox("--callback-url", "http://127.0.0.1:1/api/senders/modica", "--json")
    status, _, complaint = running.call("reply", "ack KWT", "--from", NUMBER)
    assert (status, complaint) == (1, "hotpotato: the reply was answered by nobody, expected 200")
    assert json.loads(running.line()) == {
        "event": "reply",
        "number": NUMBER,
        "text": "ack KWT",
        "answered": 0,
    }
    assert running.stop() == (0, "")
