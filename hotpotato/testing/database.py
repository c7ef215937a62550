"""A real PostgreSQL for tests: one server for the whole run, and a database of its own for a test.

The server starts when the first test asks for a database and is gone when the run ends, also when
the run is killed. A power cut would cost it its data (`fsync=off`), which is what makes it fast.

`HOTPOTATO_TEST_POSTGRES`
    the directory of another PostgreSQL's programs, such as `/usr/lib/postgresql/15/bin`
`HOTPOTATO_TEST_DATABASE_URL`
    a server that runs already, by the URL of a database where new ones may be created

Everything here uses psycopg2 directly and blocks for some milliseconds: it prepares tests, it is no
part of what they test.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql

from hotpotato.store.embedded import Embedded

_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_wal_size": "256MB",
    "synchronous_commit": "off",
}
_MEMORY_NEEDED = 2 * 1024**3


def fresh_database(migrate: Callable[[str], None] | None = None) -> str:
    """Create a database and return its URL; without `migrate` it is empty.

    :param migrate: brings the database at a URL up to date, before it returns. Called once for the
        whole run, for a template that every later database is a copy of: pass the same callable.
    """
    template = "template0" if migrate is None else _template(migrate)
    return _create(template)


def drop_database(url: str) -> None:
    """Drop a database that `fresh_database` created; who is still connected is thrown out."""
    name = urlsplit(url).path.removeprefix("/")
    _administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@functools.cache
def server_url() -> str:
    """The URL of the test server's own database, for administration; starts the server."""
    return os.environ.get("HOTPOTATO_TEST_DATABASE_URL") or _start_server()


def fast_place() -> Path:
    """Where the data is fast and any user may be let in, which a `$TMPDIR` need not be."""
    memory = Path("/dev/shm")  # noqa: S108 - the directory in it has an unguessable name
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _MEMORY_NEEDED:
        return memory
    return Path("/tmp")  # noqa: S108 - likewise


def serve() -> None:
    """Run a server in a new directory until standard input ends; print its URL.

    In a process of its own, because the end of standard input is something that no death of the
    test run, kill -9 included, can withhold.
    """
    home = Path(tempfile.mkdtemp(prefix="hotpotato-tests-", dir=fast_place()))
    bin = os.environ.get("HOTPOTATO_TEST_POSTGRES")
    server = Embedded(home, bin=Path(bin) if bin else None, home=home, settings=_SETTINGS)
    try:
        print(server.start(), flush=True)
        sys.stdin.read()
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def _start_server() -> str:
    checkout = Path(__file__).parents[2]
    guardian = subprocess.Popen(
        [sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        start_new_session=True,
    )
    atexit.register(guardian.communicate)
    assert guardian.stdout is not None
    url = guardian.stdout.readline().strip()
    if not url:
        raise RuntimeError(f"no PostgreSQL to test with:\n{guardian.communicate()[1]}")
    return url


@functools.cache
def _template(migrate: Callable[[str], None]) -> str:
    """The name of a migrated database; nobody may connect to it, so that it can be copied."""
    url = _create("template0")
    migrate(url)
    name = urlsplit(url).path.removeprefix("/")
    _administer("ALTER DATABASE {} ALLOW_CONNECTIONS false", name)
    _administer("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)
    return name


def _create(template: str) -> str:
    server = urlsplit(server_url())
    name = f"test_{uuid.uuid4().hex}"
    _administer("CREATE DATABASE {} TEMPLATE {}", name, template)
    url = server._replace(path=f"/{name}").geturl()
    if "HOTPOTATO_TEST_DATABASE_URL" in os.environ:
        atexit.register(drop_database, url)
    return url


def _administer(statement: str, *names: str) -> None:
    """Run a statement outside of any transaction; `{}` is a name in it, `%s` a value."""
    connection = psycopg2.connect(server_url())
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            if "%s" in statement:
                cursor.execute(statement, names)
            else:
                cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
    finally:
        connection.close()


if __name__ == "__main__":
    serve()
