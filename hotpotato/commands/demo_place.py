"""The demonstration's directory: its lock, its log, its key, its configuration."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    globalLogBeginner,
    textFileLogObserver,
)
from zope.interface import provider

from hotpotato.commands.output import Refused
from hotpotato.rules import keys

PLACE = Path("var")
POSTGRES = PLACE / "postgres"
CONFIG = PLACE / "demo.toml"
LOG = PLACE / "demo.log"
KEY = PLACE / "demo.key"


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Refuse to be the second in one directory: the two would take each other's messages."""
    PLACE.mkdir(exist_ok=True)
    lock = os.open(PLACE / "demo.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another demo runs already in {PLACE.absolute()}") from None
        yield
    finally:
        os.close(lock)


def begin_log() -> None:
    """Begin the log anew: all that we say, and of what Twisted says the warnings."""
    write = textFileLogObserver(LOG.open("w", encoding="utf-8"))

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_namespace"].startswith("hotpotato.") or event["log_level"] >= LogLevel.warn:
            write(event)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False)


def api_key() -> str:
    """The demonstration's API key, the same in every run."""
    with contextlib.suppress(FileNotFoundError):
        key = KEY.read_text().strip()
        if key:
            return key
    key = keys.new_key()
    write_private(KEY, f"{key}\n")
    return key


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
