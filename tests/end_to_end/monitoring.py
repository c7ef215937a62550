"""Debian's own monitoring programs, run for a test by an unprivileged user from a directory.

Nothing of an installed Icinga or Nagios is touched: the main configuration is generated, and
what a site would do with the snippet from `etc/` is done here: the client is copied to the host,
the key is written into a file, and the example values in the snippet are edited.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import grp
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

import msgspec
import pytest
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from .icinga_api import Api

Program = TypeVar("Program", bound="Monitoring")

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "hotpotato" / "notify.py"

HOST = "db1"
DISPLAY_NAME = """DB 1, "Wellington" (O'Brien's, primär)"""
NODE = "monitor"
SERVICE = "Größe der Warteschlange"
TROUBLE_CODE = "BAD01"

OK, WARNING, CRITICAL = 0, 1, 2
"""What a plugin exits with; for a host Nagios and Icinga read 0 as UP, and 2 as DOWN."""
UP, DOWN = 0, 2

EXAMPLE_URL = "https://hotpotato.example.com"
EXAMPLE_CLIENT = "/usr/local/bin/hotpotato-notify"

_START_SECONDS = 20.0
_STOP_SECONDS = 15.0
_LOOK_SECONDS = 0.05
_CHECK_SECONDS = 20.0
_REMEMBERED_RESULTS = 24

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_PLUGIN = """#!/bin/sh
{ read -r code; cat; } < "$1"
exit "$code"
"""


def _search_path() -> str:
    """Where programs are looked for: the system's places, and last the tests' own Python."""
    places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    return os.pathsep.join([*places, str(Path(sys.executable).parent)])


def find_icinga2() -> str | None:
    """Icinga 2's program itself (Debian's /usr/sbin/icinga2 is a shell script), or None."""
    places = ["/usr/lib/*/icinga2/sbin/icinga2", "/usr/lib*/icinga2/sbin/icinga2"]
    found = [path for place in places for path in glob.glob(place)]
    return found[0] if found else shutil.which("icinga2", path=_search_path())


def find_nagios4() -> str | None:
    """Nagios 4's program, or None."""
    return shutil.which("nagios4", path=_search_path())


async def until(is_so: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits, without blocking the reactor, until something is so.

    Raises AssertionError with `what` if it isn't so after that many seconds.
    """
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        await deferLater(cast(IReactorTime, reactor), _LOOK_SECONDS)


needs_icinga2 = pytest.mark.skipif(find_icinga2() is None, reason="icinga2 is not installed")
needs_nagios4 = pytest.mark.skipif(find_nagios4() is None, reason="nagios4 is not installed")


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """What a site decides about its host and service.

    A problem is told again every `reminder` seconds; `flapping`: the program looks for flapping of
    the service, and calls it so after few changes.
    """

    reminder: float = 3600.0
    flapping: bool = False


@contextlib.contextmanager
def installed(
    kind: type[Program], url: str, api_key: str, habits: Habits | None = None
) -> Iterator[Program]:
    """A monitoring program with the client and its key in a directory that is removed at the end.

    Not pytest's `tmp_path`, which another user cannot enter. `url` is Hot Potato's, without a path.
    """
    directory = Path(tempfile.mkdtemp(prefix="hotpotato-monitoring-"))
    try:
        directory.chmod(0o755)
        client, key_file = directory / "hotpotato-notify", directory / "hotpotato-notify.key"
        shutil.copyfile(CLIENT, client)
        client.chmod(0o755)
        key_file.write_text(f"{api_key}\n")
        key_file.chmod(0o600)
        spool = directory / "hotpotato-notify.spool"
        yield kind(directory, url, key_file, client, spool, habits or Habits())
    finally:
        # A client that is still at work may put a file into its spool meanwhile.
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def running(
    kind: type[Program], url: str, api_key: str, habits: Habits | None = None
) -> AsyncIterator[Program]:
    """A monitoring program that runs; its log is printed at the end, for tests that fail."""
    with installed(kind, url, api_key, habits) as program:
        try:
            await program.start()
            yield program
        finally:
            await program.stop()
            print(program.log())


class Monitoring:
    """A monitoring program with one host and one service whose check results the test decides.

    The host is HOST, the service SERVICE; both are checked by a plugin that reads a file.
    """

    name: str
    snippet: Path
    reminds_within: float
    """Seconds after which a problem is told again at the latest, with the shortest reminder."""
    ends_downtime_with: tuple[str, ...]
    """The event, by version, when a downtime is ended early."""
    ends_flapping_with: str
    """The event, when the service is stable again."""
    tells_what_a_downtime_hid: bool
    """Whether a recovery during a downtime is told when the downtime is over."""

    def __init__(
        self,
        directory: Path,
        url: str,
        key_file: Path,
        client_path: Path,
        spool: Path,
        habits: Habits,
    ) -> None:
        """Everything is written below `directory`; `url` is Hot Potato's, without a path."""
        self._directory = directory
        self._account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self._url = url
        self._key_file = key_file
        self._client_path = client_path
        self._spool = spool
        self._habits = habits
        self._log = directory / f"{self.name}.out"
        self._pipe = directory / "rw" / "commands"
        self._process: subprocess.Popen[bytes] | None = None

    async def check(self) -> str:
        """What the program's own check of the configuration says; raises if it finds errors."""
        self._prepare()
        process = self._run(self._check_command())
        await until(lambda: process.poll() is not None, _CHECK_SECONDS, f"{self.name} checks")
        said = self.log()
        assert process.returncode == 0, said
        return said

    async def start(self) -> None:
        """Returns when the program takes commands; its output goes to a file, see `log`."""
        self._prepare()
        self._process = self._run(self._run_command())
        try:
            await until(self._is_ready, _START_SECONDS, f"{self.name} starts")
        except AssertionError as error:
            await self.stop()
            raise AssertionError(f"{error}\n{self.log()}") from None

    async def stop(self) -> None:
        """Ends the program and everything it started, at the latest after some 15 seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            await until(lambda: process.poll() is not None, _STOP_SECONDS, f"{self.name} stops")
        finally:
            _end_group(process)

    def service(self, code: int, output: str) -> None:
        """From now on the service's plugin exits with that code and that output."""
        self._write_result("service", code, output)
        self.command(f"SCHEDULE_FORCED_SVC_CHECK;{HOST};{SERVICE};{_now()}")

    def host(self, code: int, output: str) -> None:
        """From now on the host's plugin exits with that code and that output."""
        self._write_result("host", code, output)
        self.command(f"SCHEDULE_FORCED_HOST_CHECK;{HOST};{_now()}")

    def acknowledge_service(self, author: str, comment: str) -> None:
        """As a person does it in the program's web interface; they are told of it."""
        self.command(f"ACKNOWLEDGE_SVC_PROBLEM;{HOST};{SERVICE};1;1;0;{author};{comment}")

    def announce_host(self, author: str, comment: str) -> None:
        """A custom notification about the host."""
        self.command(f"SEND_CUSTOM_HOST_NOTIFICATION;{HOST};2;{author};{comment}")

    def announce_service(self, author: str, comment: str) -> None:
        """A custom notification about the service."""
        self.command(f"SEND_CUSTOM_SVC_NOTIFICATION;{HOST};{SERVICE};2;{author};{comment}")

    def begin_downtime(self, author: str, comment: str) -> None:
        """A downtime of the service, from now on for an hour."""
        start, length = _now(), 3600
        when = f"{start};{start + length};1;0;{length}"
        self.command(f"SCHEDULE_SVC_DOWNTIME;{HOST};{SERVICE};{when};{author};{comment}")

    async def end_downtime(self) -> None:
        """End it early, as a person does it in the program's web interface."""
        self.command(f"DEL_DOWNTIME_BY_HOST_NAME;{HOST};{SERVICE}")

    def stay(self, code: int, output: str) -> None:
        """So many such results, of a plugin that runs elsewhere, that no other one counts."""
        self._write_result("service", code, output)
        for _ in range(_REMEMBERED_RESULTS):
            self.command(f"PROCESS_SERVICE_CHECK_RESULT;{HOST};{SERVICE};{code};{output}")

    def heartbeat(self) -> None:
        """The snippet's heartbeat now, and not only when its minute is over."""
        raise NotImplementedError

    def command(self, line: str) -> None:
        """Writes one external command."""
        pipe = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
        try:
            # To a whole second Icinga takes a result for older than the one before, and drops it.
            os.write(pipe, f"[{time.time():.3f}] {line}\n".encode())
        finally:
            os.close(pipe)

    def log(self) -> str:
        """Everything that the program said so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _write_configuration(self) -> None:
        raise NotImplementedError

    def _check_command(self) -> Sequence[str]:
        raise NotImplementedError

    def _run_command(self) -> Sequence[str]:
        raise NotImplementedError

    def _site(self) -> Mapping[str, str]:
        """What a site edits in the snippet: the example, and what stands there instead."""
        return {EXAMPLE_URL: self._url, EXAMPLE_CLIENT: str(self._client_path)}

    def _edited_snippet(self) -> str:
        """The snippet with the site's values; a snippet without one of the examples is an error."""
        text = self.snippet.read_text()
        for example, value in self._site().items():
            assert example in text, f"{example} is not in {self.snippet}"
            text = text.replace(example, value)
        return text

    def _prepare(self) -> None:
        for folder in ("rw", "data", "log", "cache", "spool", "run"):
            (self._directory / folder).mkdir(exist_ok=True)
        plugin = self._directory / "plugin"
        plugin.write_text(_PLUGIN)
        plugin.chmod(0o755)
        self._write_result("service", OK, "OK - fresh")
        self._write_result("host", UP, "UP - fresh")
        self._write_configuration()
        if os.geteuid() == 0:
            for path in (self._directory, *self._directory.rglob("*")):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _write_result(self, name: str, code: int, output: str) -> None:
        new = self._directory / f"{name}.new"
        new.write_text(f"{code}\n{output}\n")
        new.chmod(0o644)
        new.rename(self._directory / f"{name}.result")

    def _run(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        drop = os.geteuid() == 0
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._account.pw_uid if drop else None,
                group=self._account.pw_gid if drop else None,
                extra_groups=[] if drop else None,
            )

    def _environment(self) -> dict[str, str]:
        """The snippet names neither key file nor spool: the client has places for them."""
        return {
            "PATH": _search_path(),
            "HOME": str(self._directory),
            "HOTPOTATO_KEY_FILE": str(self._key_file),
            "HOTPOTATO_SPOOL": str(self._spool),
        }

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "it ended"
        try:
            os.close(os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True


class Icinga2(Monitoring):
    """Icinga 2, paging through etc/icinga2/hotpotato.conf."""

    name = "icinga2"
    snippet = ROOT / "etc" / "icinga2" / "hotpotato.conf"
    reminds_within = 5.5
    ends_downtime_with = ("DOWNTIMEEND", "DOWNTIMEREMOVED")
    ends_flapping_with = "FLAPPINGEND"
    tells_what_a_downtime_hid = True

    @functools.cached_property
    def _api(self) -> Api:
        return Api(NODE, self._directory / "data" / "certs")

    def heartbeat(self) -> None:
        """The snippet's heartbeat now, and not only when its minute is over."""
        self.command(f"SCHEDULE_FORCED_SVC_CHECK;{NODE};hotpotato-heartbeat;{_now()}")

    async def end_downtime(self) -> None:
        """End it early, as a person does it in the program's web interface."""
        the_service = f'host.name=="{HOST}" && service.name=="{SERVICE}"'
        await self._api.act("remove-downtime", type="Service", filter=the_service)

    def _check_command(self) -> Sequence[str]:
        return [*self._run_command(), "--validate"]

    def _run_command(self) -> Sequence[str]:
        folders = {
            "ConfigDir": "",
            "DataDir": "data",
            "LogDir": "log",
            "CacheDir": "cache",
            "SpoolDir": "spool",
            "InitRunDir": "run",
        }
        constants = {
            "RunAsUser": self._account.pw_name,
            "RunAsGroup": grp.getgrgid(self._account.pw_gid).gr_name,
            **{name: str(self._directory / folder) for name, folder in folders.items()},
        }
        program = find_icinga2()
        assert program is not None
        return [
            program,
            "daemon",
            "--config",
            str(self._directory / "icinga2.conf"),
            *(f"--define={name}={value}" for name, value in constants.items()),
        ]

    def _write_configuration(self) -> None:
        (self._directory / "hotpotato.conf").write_text(self._edited_snippet())
        (self._directory / "icinga2.conf").write_text(
            f"""
const NodeName = "{NODE}"
include <itl>
{self._api.configuration()}
object CheckerComponent "checker" {{ }}
object NotificationComponent "notification" {{ }}
object ExternalCommandListener "command" {{ command_path = "{self._pipe}" }}

template Notification "habits" default {{ interval = {self._habits.reminder}s }}

object CheckCommand "controlled" {{
  command = [ "{self._directory}/plugin", "$result_file$" ]
}}

object Host NodeName {{
  check_command = "passive"
  enable_active_checks = false
}}

object Host "{HOST}" {{
  display_name = {{{{{{{DISPLAY_NAME}}}}}}}
  check_command = "controlled"
  check_interval = 1h
  max_check_attempts = 1
  vars.result_file = "{self._directory}/host.result"
  vars.trouble_code = "{TROUBLE_CODE}"
  vars.notification["hotpotato"] = true
}}

object Service "{SERVICE}" {{
  host_name = "{HOST}"
  check_command = "controlled"
  check_interval = 1h
  max_check_attempts = 1
  vars.result_file = "{self._directory}/service.result"
  enable_flapping = {str(self._habits.flapping).lower()}
  flapping_threshold_low = 5
  flapping_threshold_high = 10
}}

include "hotpotato.conf"
"""
        )


class Nagios4(Monitoring):
    """Nagios 4, paging through etc/nagios/hotpotato.cfg."""

    name = "nagios4"
    snippet = ROOT / "etc" / "nagios" / "hotpotato.cfg"
    environment_macros = True
    reminds_within = 4.0
    ends_downtime_with = ("DOWNTIMECANCELLED",)
    ends_flapping_with = "FLAPPINGSTOP"
    tells_what_a_downtime_hid = False

    def heartbeat(self) -> None:
        """The snippet's heartbeat now, and not only when its minute is over."""
        self.command(f"SCHEDULE_FORCED_SVC_CHECK;localhost;Hot Potato heartbeat;{_now()}")

    def _check_command(self) -> Sequence[str]:
        program, configuration = self._run_command()
        return [program, "-v", configuration]

    def _run_command(self) -> Sequence[str]:
        program = find_nagios4()
        assert program is not None
        return [program, str(self._directory / "nagios.cfg")]

    def _write_configuration(self) -> None:
        (self._directory / "hotpotato.cfg").write_text(self._edited_snippet())
        (self._directory / "nagios.cfg").write_text(
            f"""
log_file={self._directory}/nagios.log
cfg_file={self._directory}/objects.cfg
cfg_file={self._directory}/hotpotato.cfg
object_cache_file={self._directory}/cache/objects.cache
precached_object_file={self._directory}/cache/objects.precache
status_file={self._directory}/cache/status.dat
lock_file={self._directory}/run/nagios.pid
temp_file={self._directory}/cache/nagios.tmp
temp_path={self._directory}/cache
check_result_path={self._directory}/spool
state_retention_file={self._directory}/data/retention.dat
command_file={self._pipe}
query_socket={self._directory}/rw/query
check_external_commands=1
check_for_updates=0
use_syslog=0
enable_flap_detection={self._habits.flapping:d}
enable_environment_macros={self.environment_macros:d}
illegal_object_name_chars=`~!$%^&*|'"<>?,()=
illegal_macro_output_chars=`~$&|'"<>
date_format=us
"""
        )
        always = "\n".join(f"    {day} 00:00-24:00" for day in _DAYS)
        (self._directory / "objects.cfg").write_text(
            f"""
define timeperiod {{
    timeperiod_name 24x7
    alias always
{always}
}}
define command {{
    command_name controlled
    command_line {shlex.quote(str(self._directory))}/plugin $_HOSTDIRECTORY$/$ARG1$
}}
define host {{
    name watched
    register 0
    check_period 24x7
    notification_period 24x7
    contacts hotpotato
    max_check_attempts 1
    check_interval 0.1
    retry_interval 0.1
    notification_interval {self._habits.reminder / 60}
    flap_detection_enabled 0
    _DIRECTORY {self._directory}
}}
define host {{
    use watched
    host_name localhost
    active_checks_enabled 0
    check_command controlled!host.result
}}
define host {{
    use watched
    host_name {HOST}
    display_name {DISPLAY_NAME}
    check_command controlled!host.result
    _TROUBLE {TROUBLE_CODE}
}}
define service {{
    host_name {HOST}
    service_description {SERVICE}
    check_command controlled!service.result
    check_period 24x7
    notification_period 24x7
    contacts hotpotato
    max_check_attempts 1
    check_interval 0.05
    retry_interval 0.05
    notification_interval {self._habits.reminder / 60}
    low_flap_threshold 5
    high_flap_threshold 10
}}
"""
        )


class Nagios4V1(Nagios4):
    """Nagios with the option that speaks version 1 of the API."""

    def _site(self) -> Mapping[str, str]:
        return {**super()._site(), "--url": "--v1 --url"}


def _now() -> int:
    return int(time.time())


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of the session that the program was started in."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    process.wait()
