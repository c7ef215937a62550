"""A PostgreSQL of a test's own, to be stopped, killed, frozen and promoted."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from hotpotato.store.embedded import Embedded, EmbeddedFailed
from hotpotato.testing.database import fast_place
from tests import guardian as guarding
from tests.guardian import send

DEBIAN = Path("/usr/lib/postgresql/15/bin")

_SETTINGS = {
    "autovacuum": "off",
    "deadlock_timeout": "100ms",
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "max_wal_size": "128MB",
    "shared_buffers": "16MB",
}
_HBA = """\
local all         all trust
host  all         all 127.0.0.1/32 trust
host  replication all 127.0.0.1/32 trust
"""


def _ports() -> Iterator[int]:
    # Below those that the kernel gives away, and other ones in each of the processes that run tests
    # side by side: what is free now would else be somebody else's when it is listened at.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 12_000 + worker % 16 * 1_000
    while True:
        yield from range(first, first + 1_000)


_PORTS = _ports()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens at."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is no end of ports")


class Cluster:
    """PostgreSQL on the loopback interface. Everything blocks, for a tenth of a second or so."""

    def __init__(
        self,
        place: Path,
        bin: Path | None,
        *,
        port: int | None = None,
        follows: Cluster | None = None,
    ) -> None:
        self.port = port or free_port()
        hba = place / "hba"
        hba.write_text(_HBA)
        hba.chmod(0o644)
        settings = _SETTINGS | {"port": str(self.port), "hba_file": str(hba)}
        self._home = place / "pg"
        self._data = self._home / "data"
        self._embedded = Embedded(
            self._home,
            home=self._home,
            bin=bin,
            settings=settings,
            follows=None if follows is None else follows.url(),
        )
        self.start()

    def url(self, database: str = "hotpotato", port: int | None = None) -> str:
        """Where a database is; `port` that of a proxy before it."""
        return f"postgresql://hotpotato@127.0.0.1:{port or self.port}/{database}"

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement from outside."""
        connection = psycopg2.connect(
            self.url(),
            application_name="outside",
            options="-c lock_timeout=10s -c default_transaction_read_only=off",
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def terminate_backends(self) -> None:
        """End every connection that somebody else has."""
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def terminate_some(self, share: float) -> None:
        """End each of these connections with that probability."""
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            " AND random() < %s",
            share,
        )

    def start(self) -> None:
        """Start it, also after a `kill`, whose orphans may still hold its memory."""
        for left in reversed(range(20)):
            try:
                self._embedded.start()
                return
            except EmbeddedFailed:
                if not left:
                    raise

    def stop(self) -> None:
        """Stop it in order; everybody is disconnected."""
        with contextlib.suppress(FileNotFoundError):
            self.thaw()
        self._embedded.stop()

    def kill(self) -> None:
        """kill -9, all of it, as if the power had gone."""
        send(self._data, signal.SIGKILL)
        self._embedded.stop()

    def freeze(self) -> None:
        """Stop all of its processes from running; they keep their sockets."""
        send(self._data, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them run on."""
        send(self._data, signal.SIGCONT)

    def confirm(self, by_standby: bool) -> None:
        """Confirm a commit only when a standby has it, too; or without one."""
        names = "*" if by_standby else ""
        self.sql("ALTER SYSTEM SET synchronous_standby_names = %s", names)
        self.sql("SELECT pg_reload_conf()")
        while self.sql("SHOW synchronous_standby_names") != [(names,)]:
            pass

    def fill_disk(self) -> None:
        """Leave no room on its disk."""
        ballast = self._home.parent / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(8192))

    def free_disk(self) -> None:
        """Make room again, and have it run, whatever it came to meanwhile."""
        (self._home.parent / "ballast").unlink()
        self._embedded.stop()
        self.start()

    def remove(self) -> None:
        """Kill it, in whatever state it is, and leave nothing of it."""
        with contextlib.suppress(FileNotFoundError):
            self.kill()
        shutil.rmtree(self._data)

    def become_standby(self) -> None:
        """Start again as a hot standby: it answers, and refuses to write until it is promoted."""
        self.stop()
        marker = self._data / "standby.signal"
        marker.touch()
        owner = marker.parent.stat()
        os.chown(marker, owner.st_uid, owner.st_gid)
        self.start()


def programs(which: str) -> Path | None:
    """The programs of the wheel or of Debian; skips the test where those are not installed."""
    if which == "wheel":
        return None
    if not (DEBIAN / "postgres").exists():
        pytest.skip("Debian's PostgreSQL 15 is not installed")
    return DEBIAN


@contextlib.contextmanager
def running(
    which: str = "wheel",
    *,
    port: int | None = None,
    follows: Cluster | None = None,
    megabytes: int | None = None,
) -> Iterator[Cluster]:
    """A cluster for as long as the context lasts.

    `follows` is the primary whose standby it is. With `megabytes` it has a disk of that size, and
    the test is skipped where that can't be made.
    """
    place = Path(tempfile.mkdtemp(prefix="hotpotato-cluster-", dir=fast_place()))
    if megabytes is not None:
        _mount(place, megabytes)
    place.chmod(0o711)
    guardian = subprocess.Popen(
        [sys.executable, guarding.__file__, place], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        cluster = Cluster(place, programs(which), port=port, follows=follows)
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        guardian.communicate()


def _mount(place: Path, megabytes: int) -> None:
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode != 0:
        place.rmdir()
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
