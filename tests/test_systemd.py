"""What systemd is told reaches a real socket, and never does harm."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from hotpotato.systemd import Notifier
from tests.systemd import Systemd


@pytest.mark.parametrize("abstract", [False, True])
def test_what_is_told_arrives_by_either_kind_of_name(tmp_path: Path, abstract: bool) -> None:
    place = f"@hotpotato-{uuid.uuid4()}" if abstract else tmp_path / "notify"
    with Systemd(place) as systemd:
        Notifier(str(place)).tell("READY=1", "STATUS=ready")
        assert systemd.lines == ["READY=1", "STATUS=ready"]


def test_a_status_is_one_line_and_told_once(tmp_path: Path) -> None:
    with Systemd(tmp_path / "notify") as systemd:
        notifier = Notifier(str(tmp_path / "notify"))
        for sentence in ("ready\nREADY=1", "ready\nREADY=1", "waiting"):
            notifier.status(sentence)
        assert systemd.lines == ["STATUS=ready READY=1", "STATUS=waiting"]


def test_without_systemd_nothing_is_told_and_nothing_raised(tmp_path: Path) -> None:
    Notifier(None).tell("READY=1")
    Notifier(str(tmp_path / "nobody is there")).tell("READY=1")


def test_a_socket_that_nobody_reads_blocks_nobody(tmp_path: Path) -> None:
    with Systemd(tmp_path / "notify") as systemd:
        notifier = Notifier(str(tmp_path / "notify"))
        for _ in range(2000):
            notifier.tell("WATCHDOG=1")
        assert 0 < len(systemd.lines) < 2000


def test_the_variables_are_taken_so_that_no_child_speaks_in_our_name() -> None:
    environment = {
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }
    assert Notifier.of(environment).watchdog == 30.0
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "odd",
    [
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "30000000", "NOTIFY_SOCKET": ""},
        {},
    ],
)
def test_no_watchdog_is_fed_that_is_not_ours(odd: dict[str, str]) -> None:
    assert Notifier.of({"NOTIFY_SOCKET": "/run/systemd/notify", **odd}).watchdog is None
