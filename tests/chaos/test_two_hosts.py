"""The deployment of docs/deployment.md, as examples/two-hosts starts it on one machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import CHECKOUT, surroundings

SCRIPT = CHECKOUT / "examples/two-hosts/run.py"


def notify(facts: Any, host: str) -> int:
    """Tell of a problem, as a monitoring program does that tells again; returns the tries."""
    for tries in range(1, 60):
        request = urllib.request.Request(
            f"{facts['url']}/api/servers/v2/notifications/send",
            data=json.dumps({"hostname": host, "state": "CRITICAL"}).encode(),
            headers={"Authorization": f"Apikey {facts['api_key']}", "Idempotency-Key": host},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 201
                return tries
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{host} was not taken")


def texted(facts: Any, host: str) -> None:
    """Wait until the phone has got it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{facts['sandbox_url']}/sandbox/messages") as answer:
            if any(host in message["text"] for message in json.load(answer)["messages"]):
                return
        time.sleep(0.2)
    raise AssertionError(f"no text about {host}")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_with_the_primary_and_a_daemon_killed_the_text_arrives(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), "--json"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=surroundings(),
    ) as running:
        assert running.stdout is not None
        try:
            facts = json.loads(running.stdout.readline())
            notify(facts, "before")
            texted(facts, "before")
            os.kill(facts["primary"], signal.SIGKILL)
            os.kill(facts["daemons"][0], signal.SIGKILL)
            notify(facts, "after")
            texted(facts, "after")
            running.send_signal(signal.SIGINT)
            out, _ = running.communicate(timeout=60)
            assert "promoted" in {json.loads(line)["event"] for line in out.splitlines()}
            assert running.returncode == 0
        finally:
            running.kill()
