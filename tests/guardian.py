"""Ends a test's PostgreSQL when the test run has been killed and can't do it itself.

    python guardian.py DIRECTORY

waits for the end of standard input, which no death of the run can withhold; then it kills the
PostgreSQL in the directory, if one runs there, and removes the directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path


def processes(data: Path) -> list[int]:
    """Those of the PostgreSQL on this data: the postmaster first, then its children."""
    postmaster = int((data / "postmaster.pid").read_text().splitlines()[0])
    found = [postmaster]
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):
                after_name = (directory / "stat").read_text().rpartition(")")[2].split()
                if int(after_name[1]) == postmaster:
                    found.append(int(directory.name))
    return found


def send(data: Path, number: signal.Signals) -> None:
    """Send a signal to all of them; the postmaster first, so that it starts nobody new."""
    for pid in processes(data):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    sys.stdin.read()
    with contextlib.suppress(OSError, ValueError, IndexError):
        send(place / "pg" / "data", signal.SIGKILL)
    if place.is_mount():
        subprocess.run(["umount", "--lazy", place], check=False)
    shutil.rmtree(place, ignore_errors=True)
