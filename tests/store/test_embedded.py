"""The PostgreSQL that Hot Potato runs itself: with the wheel's programs and with Debian's."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg2
import pytest

from hotpotato.store.embedded import ROOT_HOME, Embedded, EmbeddedFailed
from hotpotato.testing.database import fast_place
from tests.cluster import running

CHECKOUT = Path(__file__).parents[2]
DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
FAST = {"fsync": "off"}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can try this")

Make = Callable[..., Embedded]

START_AND_WAIT = """
import sys
from pathlib import Path
from hotpotato.store.embedded import Embedded
directory, home, bin = map(Path, sys.argv[1:])
server = Embedded(directory, home=home, bin=bin, settings={"fsync": "off"})
print(server.start(), flush=True)
sys.stdin.read()
server.stop()
"""

ORDINARY_USER = """
import os, stat, sys
from pathlib import Path
import psycopg2
from hotpotato.store.embedded import Embedded
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
directory = Path(sys.argv[1])
for start in range(2):
    server = Embedded(directory, bin=Path(sys.argv[2]), settings={"fsync": "off"})
    connection = psycopg2.connect(server.start())
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE IF NOT EXISTS kept (start int)")
    cursor.execute("INSERT INTO kept VALUES (%s)", [start])
    cursor.execute("SELECT count(*) FROM kept")
    print(*cursor.fetchone())
    connection.commit(), connection.close()
    server.stop()
print((directory / "data" / "PG_VERSION").exists(), oct(stat.S_IMODE(directory.stat().st_mode)))
"""


@pytest.fixture(params=["wheel", "debian"])
def programs(request: pytest.FixtureRequest) -> Path | None:
    if request.param == "wheel":
        return None
    if not DEBIAN:
        pytest.skip("Debian's PostgreSQL is not installed")
    return DEBIAN[-1].parent


@pytest.fixture(scope="module")
def wheel() -> Iterator[Path]:
    """The wheel's programs where anybody can run them."""
    directory = Path(tempfile.mkdtemp(prefix="hotpotato-", dir=fast_place()))
    server = Embedded(directory, home=directory, settings=FAST)
    server.start()
    server.stop()
    yield server.bin
    shutil.rmtree(directory)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that anybody can reach and only its owner can list; gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="hotpotato-", dir=fast_place()))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def make(place: Path) -> Iterator[Make]:
    """Make a server in the test's place; it is stopped afterwards."""
    with contextlib.ExitStack() as afterwards:

        def one(
            name: str = "pg", *, bin: Path | None = None, settings: Mapping[str, str] = FAST
        ) -> Embedded:
            server = Embedded(place / name, home=place / name, bin=bin, settings=settings)
            afterwards.callback(server.stop)
            return server

        yield one


def ask(url: str, query: str) -> str:
    """The first column of the first row, as text."""
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            connection.commit()
            row = cursor.fetchone() if cursor.description else None
            return str(row[0]) if row else ""
    finally:
        connection.close()


def postmaster(server: Embedded) -> int:
    return int((server.home / "data" / "postmaster.pid").read_text().split()[0])


def is_running(pid: int) -> bool:
    """Whether it is a process that still does something; a zombie does not."""
    with contextlib.suppress(FileNotFoundError):
        return Path("/proc", str(pid), "cmdline").read_bytes() != b""
    return False


@contextlib.contextmanager
def another_process(server: Embedded, bin: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that has started the same server; it stops when its input ends."""
    process = run_script(START_AND_WAIT, server.directory, server.home, bin)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline().strip() == server.url
            yield process
        finally:
            process.stdin.close()


def run_script(script: str, *arguments: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_first_start_makes_a_database_that_answers_at_the_url(
    make: Make, programs: Path | None
) -> None:
    """UTF-8, the C.UTF-8 locale, UTC, and durable unless somebody says otherwise."""
    server = make(bin=programs, settings={})
    url = server.start()

    assert url == server.url
    assert url.startswith("postgresql://")
    assert ask(url, "SELECT current_database()") == "hotpotato"
    assert ask(url, "SHOW server_encoding") == "UTF8"
    collation = "SELECT datcollate FROM pg_database WHERE datname = current_database()"
    assert ask(url, collation) == "C.UTF-8"
    assert ask(url, "SHOW timezone") == "UTC"
    assert ask(url, "SHOW fsync") == "on"
    assert ask(url, "SHOW data_checksums") == "on"


def test_what_was_written_is_there_after_a_restart(make: Make, programs: Path | None) -> None:
    first = make(bin=programs)
    ask(first.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    first.stop()
    second = make(bin=programs)

    assert ask(second.start(), "SELECT answer FROM kept") == "42"
    assert second.url == first.url


def test_settings_are_handed_to_postgresql(make: Make) -> None:
    server = make(settings={"fsync": "off", "max_connections": "17"})

    assert ask(server.start(), "SHOW max_connections") == "17"
    assert ask(server.url, "SHOW fsync") == "off"


def test_a_cluster_can_follow_another_until_it_is_promoted(programs: Path | None) -> None:
    """It is made as a copy, hears of what is written after that, and then goes on by itself."""
    which = "debian" if programs else "wheel"
    with running(which) as primary, running(which, follows=primary) as standby:
        primary.confirm(by_standby=True)
        primary.sql("CREATE TABLE kept AS SELECT 42 AS answer")
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            standby.sql("INSERT INTO kept VALUES (43)")
        primary.kill()
        standby.sql("SELECT pg_promote()")
        standby.sql("INSERT INTO kept VALUES (43)")
        assert standby.sql("SELECT answer FROM kept ORDER BY answer") == [(42,), (43,)]


def test_starting_and_stopping_twice_is_the_same_as_once(make: Make) -> None:
    server = make()
    server.stop()
    assert server.start() == server.start()
    pid = postmaster(server)

    server.stop()
    server.stop()

    assert not is_running(pid)
    with pytest.raises(psycopg2.OperationalError):
        ask(server.url, "SELECT 1")


def test_two_servers_run_beside_each_other(make: Make) -> None:
    one, other = make("one"), make("other")
    ask(one.start(), "CREATE TABLE only_here ()")

    assert ask(other.start(), "SELECT to_regclass('only_here')") == "None"


def test_after_a_kill_the_abandoned_postgresql_is_replaced(make: Make, wheel: Path) -> None:
    """kill -9 of our process leaves PostgreSQL running: the next start stops it and starts anew."""
    server = make()
    with another_process(server, wheel) as process:
        ask(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        abandoned = postmaster(server)
        process.kill()
    assert is_running(abandoned)

    assert ask(server.start(), "SELECT answer FROM kept") == "42"
    assert not is_running(abandoned)
    assert postmaster(server) != abandoned


def test_after_a_kill_of_postgresql_too_the_data_is_there(
    make: Make, programs: Path | None
) -> None:
    server = make(bin=programs)
    ask(server.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(postmaster(server), signal.SIGKILL)
    server.stop()

    assert ask(make(bin=programs).start(), "SELECT answer FROM kept") == "42"


def test_a_lock_whose_process_number_is_somebody_elses_is_no_hindrance(make: Make) -> None:
    """After a reboot the number in postmaster.pid may belong to any program, even to this one."""
    server = make()
    ask(server.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    lock = server.home / "data" / "postmaster.pid"
    left = lock.read_text().replace(str(postmaster(server)), str(os.getpid()), 1)
    server.stop()
    lock.write_text(left)

    assert ask(make().start(), "SELECT answer FROM kept") == "42"


def test_two_processes_share_one_server_and_the_last_one_stops_it(make: Make, wheel: Path) -> None:
    server = make()
    with another_process(server, wheel):
        pid = postmaster(server)
        assert server.start() == server.url
        server.stop()
        assert ask(server.url, "SELECT 1") == "1"
        assert postmaster(server) == pid
    assert not is_running(pid)


def test_the_first_to_leave_does_not_stop_it_for_the_others(make: Make, wheel: Path) -> None:
    server = make()
    with another_process(server, wheel):
        server.start()
    assert ask(server.url, "SELECT 1") == "1"


def test_processes_that_start_at_the_same_moment_make_one_cluster(make: Make, wheel: Path) -> None:
    server = make()
    with contextlib.ExitStack() as running:
        started = [
            run_script(START_AND_WAIT, server.directory, server.home, wheel) for _ in range(3)
        ]
        for process in started:
            running.enter_context(process)
        urls = {process.stdout.readline().strip() for process in started if process.stdout}
        assert urls == {server.url}
        assert ask(server.url, "SELECT 1") == "1"
        pid = postmaster(server)
        for process in started:
            assert process.stdin is not None
            process.stdin.close()
    assert [process.returncode for process in started] == [0, 0, 0]
    assert not is_running(pid)


def test_a_first_start_that_was_killed_half_way_is_begun_again(make: Make) -> None:
    server = make()
    server.start()
    server.stop()
    (server.home / "data").rename(server.home / "data.new")
    (server.home / "data.new" / "PG_VERSION").unlink()

    assert ask(make().start(), "SELECT 1") == "1"


def test_ctrl_c_in_the_terminal_does_not_reach_postgresql(make: Make) -> None:
    """The daemon drains first and then stops it, so it lives in a session of its own."""
    server = make()
    server.start()

    assert os.getsid(postmaster(server)) == postmaster(server)
    assert os.getsid(0) != postmaster(server)


def test_nothing_listens_on_the_network(make: Make) -> None:
    assert ask(make().start(), "SHOW listen_addresses") == ""


@needs_root
@pytest.mark.parametrize("name", ["nobody", "hotpotato-postgres"])
def test_no_other_user_gets_in(make: Make, name: str) -> None:
    """Not even the one that PostgreSQL itself runs as, who could open its directory."""
    server = make()
    server.start()
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        pytest.skip(f"there is no user {name}")
    done = subprocess.run(
        [server.bin / "psql", "-Atc", "SELECT 1", server.url],
        **{"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []},  # type: ignore[call-overload]
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "Permission denied" in done.stderr or "Peer authentication failed" in done.stderr


@needs_root
def test_a_private_home_stays_private(tmp_path: Path) -> None:
    """Root's checkout may lie where nobody else can go: then data and programs lie elsewhere."""
    tmp_path.chmod(0o700)
    server = Embedded(tmp_path / "checkout/var/postgres", settings=FAST)
    ask(server.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    again = Embedded(tmp_path / "checkout/var/../var/postgres", settings=FAST)
    assert ask(again.start(), "SELECT answer FROM kept") == "42"
    again.stop()

    assert tmp_path.stat().st_mode & 0o077 == 0
    assert not server.directory.exists()
    assert server.home.parent == ROOT_HOME
    assert server.bin.is_relative_to(ROOT_HOME)
    assert (server.home / "made-for").read_text().strip() == str(server.directory)
    assert (server.home / "data").stat().st_uid != 0
    shutil.rmtree(server.home)


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        """spaces, commas, 'quotes' and "$dollars" %41""",
        "so-deep-that-a-socket-cannot-have-the-path/" * 4,
    ],
)
def test_an_ordinary_user_has_the_data_in_the_directory_given(
    place: Path, wheel: Path, name: str
) -> None:
    """Whatever it is called, and nobody else can enter it. Tried as `nobody` when we are root."""
    if os.geteuid() == 0:
        os.chown(place, 65534, 65534)
    process = run_script(ORDINARY_USER, place / name, wheel)
    printed, _ = process.communicate()

    assert printed.splitlines() == ["1", "2", "True 0o700"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root's cluster does not lie in the directory given")
def test_a_directory_with_other_things_in_it_is_refused(make: Make) -> None:
    server = make()
    server.directory.mkdir()
    (server.directory / "thesis.tex").touch()

    with pytest.raises(EmbeddedFailed, match="not empty"):
        server.start()
    assert [path.name for path in server.directory.iterdir()] == ["thesis.tex"]


def test_missing_programs_are_named(make: Make) -> None:
    with pytest.raises(EmbeddedFailed, match=r"/nowhere/bin/postgres cannot be run"):
        make(bin=Path("/nowhere/bin")).start()


def test_a_refusal_of_postgresql_comes_with_the_end_of_its_log(make: Make) -> None:
    server = make(settings={"max_connections": "many"})
    with pytest.raises(EmbeddedFailed, match=r'(?s)did not start.*"max_connections": "many"'):
        server.start()

    mended = make()
    assert ask(mended.start(), "SELECT 1") == "1"


def test_data_of_another_version_is_refused_and_left_alone(make: Make) -> None:
    server = make()
    server.start()
    server.stop()
    version = server.home / "data" / "PG_VERSION"
    version.write_text("9.6\n")

    with pytest.raises(EmbeddedFailed, match="database files are incompatible"):
        make().start()
    assert version.read_text() == "9.6\n"
