#!/usr/bin/env python3
"""The client for monitoring servers: sends notifications and heartbeats to Hot Potato.

One file, the standard library only, Python 3.7 or newer: copy it to
/usr/local/bin/hotpotato-notify. `hotpotato-notify --help` teaches its use,
docs/monitoring-servers.md its installation.

Monitoring programs do not repeat a failed notification command, and Nagios kills it after 30 s. So:

* A notification is first put into a spool directory (on disk: fsync of the file, then of the
  directory) and removed after the server's 2xx, which means "committed" over there. Whatever
  happens in between, the next call sends it, with the Idempotency-Key it was given when it was
  spooled, so nobody is paged twice.
* Every call, heartbeats too, first sends what is spooled, oldest first. Heartbeats are not
  spooled: a late one would say something untrue.
* Everything together ends after `--timeout` seconds (20), whatever the network or the disk does.

What an answer does to a spooled notification:

* 201, or another 2xx with a JSON object: accepted, removed.
* 400, 409, 413, 422: the server will never take this one. It is moved to `rejected/`, with the
  reason beside it, and what comes after it is sent.
* 408, 425, 429, 5xx, no connection, no answer: a passing trouble. Tried again while time remains,
  not before Retry-After; then it stays spooled, and so does what comes after it.
* Anything else (401, 403, 404, redirects, a page of HTML): a wrong key or URL, which is not the
  message's fault. It stays spooled, and so does what comes after it, until that is put right.

Overtaken notifications. While a newer state of the same (hostname, service_name) is also spooled,
or after one was accepted that could not be spooled, the older notification is sent with
`"late": true`: the server records it, and it neither reopens nor resolves anything. Which is which:

* PROBLEM, RECOVERY, no event or an unknown one, and FLAPPING* with OK or UP tell where the alert
  stands. They overtake, and are overtaken.
* An ACKNOWLEDGEMENT is overtaken by a newer state, which it knew nothing of. It overtakes nothing:
  the problem that it acknowledges must be known first.
* CUSTOM, DOWNTIME* and FLAPPING* with another state neither overtake nor are overtaken: a human's
  message is told however late, and the others change nothing.

`late` is part of the content, and a key that comes with other content is answered with 409. So the
spool remembers, on disk and before the attempt, that a notification was attempted without the mark.
If it is overtaken after that, it is sent with the mark and the same key. If the first attempt never
arrived, it is recorded as late; if it did, the answer is 409, which then means "I have it", and it
is removed. Any other 409 is a refusal.
"""

from __future__ import annotations

import argparse
import contextlib
import email.utils
import enum
import fcntl
import functools
import http.client
import json
import math
import os
import re
import ssl
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn, TypeVar

DEFAULT_KEY_FILE = "/etc/hotpotato-notify.key"
DEFAULT_SPOOL = "/var/spool/hotpotato-notify"
DEFAULT_SPOOL_LIMIT = 10_000
DEFAULT_TIMEOUT = 20.0
LONGEST_TIMEOUT = 600.0

# Shares of --timeout. A server answers within 5 s, with a 503 if need be, so one that is silent for
# longer than its share is asked anew; a name may have several addresses, of which one is dead.
WORK_SHARE = 0.95
ATTEMPT_SHARE = 0.45
CONNECT_SHARE = 0.25
SPOOL_SHARE = 0.4
DRAIN_SHARE = 0.5

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 4.0
SHORTEST_ATTEMPT = 0.1
LOCK_POLL = 0.05
LOOK_EVERY = 0.5
THREAD_NAME = "hotpotato-notify"

BODY_LIMIT = 1_000_000
"""Bytes. The server refuses more than 1 MiB; texts of a longer body are cut to what it keeps."""
OUTPUT_KEPT = 16_384
TEXT_KEPT = 4_096
ANSWER_LIMIT = 65_536
MESSAGE_SHOWN = 200

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
STATUS_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")

FIELDS = {
    "hostname": "the host, as the monitoring program names it (must be given)",
    "state": "OK, WARNING, CRITICAL, UNKNOWN, UP, DOWN or UNREACHABLE (must be given)",
    "notif_type": '"host" or "service"; without it, a service_name tells',
    "event": "PROBLEM, RECOVERY, ACKNOWLEDGEMENT, CUSTOM, DOWNTIMESTART, FLAPPINGSTART, ...",
    "service_name": "the service, if it is about one",
    "display_name": "the name that people know it by",
    "trouble_code": "your own code for this kind of trouble",
    "output": "what the check said",
    "timestamp": "when it happened, in any form Icinga and Nagios have (default: now)",
    "author": "who acknowledged or commented",
    "comment": "what they said",
    "number": "which notification of this problem it is",
}
V1_NAMES = {
    "notif_type": "notificationtype",
    "trouble_code": "troublecode",
    "display_name": "displayname",
    "service_name": "servicename",
    "timestamp": "icingadatetime",
}
SETTINGS = {
    "url": "where Hot Potato is, such as https://hotpotato.example.com (must be given)",
    "key_file": f"file with the server's API key (default: {DEFAULT_KEY_FILE})",
    "spool": f"directory for what is not yet sent (default: {DEFAULT_SPOOL})",
    "spool_limit": f"most files in the spool (default: {DEFAULT_SPOOL_LIMIT})",
    "timeout": f"seconds for everything together (default: {DEFAULT_TIMEOUT:g})",
    "cacert": "PEM file of the CAs to trust for https, instead of the system's",
}
COMMANDS = ("notify", "heartbeat")
PATHS = {
    ("v1", "notify"): "/api/v1/add/notification",
    ("v1", "heartbeat"): "/api/v1/add/heartbeat",
    ("v2", "notify"): "/api/servers/v2/notifications/send",
    ("v2", "heartbeat"): "/api/servers/v2/heartbeats/create",
}
STATELESS_EVENTS = {
    "CUSTOM",
    "DOWNTIMESTART",
    "DOWNTIMEEND",
    "DOWNTIMECANCELLED",
    "DOWNTIMEREMOVED",
}
FLAPPING_EVENTS = {"FLAPPINGSTART", "FLAPPINGEND", "FLAPPINGSTOP", "FLAPPINGDISABLED"}
KNOWN_EVENTS = {"PROBLEM", "RECOVERY", "ACKNOWLEDGEMENT"} | STATELESS_EVENTS | FLAPPING_EVENTS

EPILOG = """\
Every option can come from the environment instead: HOTPOTATO_HOSTNAME for --hostname,
HOTPOTATO_SERVICE_NAME for --service-name, HOTPOTATO_URL for --url, HOTPOTATO_V1=1 for --v1, and so
on. Nothing mangles a value there; an option beats the environment. The key comes from the key file
only.

examples:
  A service is in trouble:
    hotpotato-notify --url https://hotpotato.example.com --hostname web1 --service-name HTTP \\
        --state CRITICAL --event PROBLEM --output "connection refused"

  The same, safe from the shell and from Nagios' illegal_macro_output_chars:
    HOTPOTATO_OUTPUT="$OUTPUT" hotpotato-notify --hostname web1 --service-name HTTP --state CRITICAL

  Once a minute from cron, as the user that the monitoring program runs as:
    hotpotato-notify heartbeat --url https://hotpotato.example.com

It prints one line. Exit status:
  0  OK        accepted
  1  WARNING   spooled, for a later call to send; or accepted, with something to look at
  2  CRITICAL  refused for good, or lost: neither spooled nor sent
  3  UNKNOWN   wrong usage, or a key file, URL or CA file that can't be used (still spooled)
"""

_T = TypeVar("_T")


class ConfigurationError(Exception):
    """Something on this host must be put right before anything can be sent."""


# --- what is sent


class Role(enum.Enum):
    """What a notification means for others of the same service (see the top of the file)."""

    STATE = "overtakes, and is overtaken"
    ACKNOWLEDGEMENT = "is overtaken"
    MESSAGE = "neither"


class Notification(NamedTuple):
    """One notification. `fields` have the names of V2; `api` is "v1" or "v2", for ever.

    Key and content must stay together: the server refuses a key that comes with other content.
    """

    key: str
    api: str
    fields: dict[str, str]

    @classmethod
    def compose(cls, fields: dict[str, str], api: str) -> Notification:
        """Give a new notification its key, and the time of now unless it brings one.

        Without a time the server would show when it arrived, which may be hours later.
        """
        fields = dict(fields)
        if not _present(fields.get("timestamp")):
            fields["timestamp"] = str(int(time.time()))
        whole = cls(uuid.uuid4().hex, api, fields)
        if len(whole.body(late=True)) <= BODY_LIMIT:
            return whole
        kept = {
            name: _cut(value, OUTPUT_KEPT if name == "output" else TEXT_KEPT)
            for name, value in fields.items()
        }
        return whole._replace(fields=kept)

    @classmethod
    def parse(cls, line: bytes) -> Notification:
        """Read what `line` wrote; raises ValueError for anything else."""
        try:
            found = json.loads(line.decode("utf-8"))
            key, api, fields = found["key"], found["api"], found["fields"]
            sound = (
                isinstance(key, str)
                and re.match(r"[0-9a-f]{32}\Z", key) is not None
                and api in ("v1", "v2")
                and all(isinstance(text, str) for pair in fields.items() for text in pair)
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a spooled notification: {_reason(error)}") from None
        if not sound:
            raise ValueError("not a spooled notification")
        return cls(key, api, fields)

    def line(self) -> bytes:
        """The first line of the spool file."""
        return json.dumps(self._asdict()).encode("ascii") + b"\n"

    def body(self, late: bool) -> bytes:
        """The request's body, UTF-8."""
        names = V1_NAMES if self.api == "v1" else {}
        content: dict[str, object] = {
            names.get(name, name): value for name, value in self.fields.items()
        }
        if late:
            content["late"] = True
        return json.dumps(content, ensure_ascii=False).encode("utf-8")

    def service(self) -> tuple[str, str]:
        """What the server keeps an alert for: two are the same only if they are surely so there."""
        return (
            _present(self.fields.get("hostname")) or "",
            _present(self.fields.get("service_name")) or "",
        )

    def role(self) -> Role:
        """What it overtakes, and whether it can be overtaken."""
        state = (_present(self.fields.get("state")) or "").strip().upper()
        event = self._event()
        if event == "ACKNOWLEDGEMENT":
            return Role.ACKNOWLEDGEMENT
        if event in STATELESS_EVENTS:
            return Role.MESSAGE
        if event in FLAPPING_EVENTS and state not in ("OK", "UP"):
            return Role.MESSAGE
        # Without a state the server refuses it, so nothing may give way to it.
        return Role.STATE if state and self.service()[0] else Role.MESSAGE

    def overtakes(self, service: tuple[str, str], role: Role) -> bool:
        """Whether it overtakes an older one with that service and role."""
        same = service == self.service()
        return same and role is not Role.MESSAGE and self.role() is Role.STATE

    def _event(self) -> str:
        # Many people put the event into notif_type, and the server understands it there too.
        for name in ("event", "notif_type"):
            word = (self.fields.get(name) or "").strip().upper()
            if word in KNOWN_EVENTS:
                return word
        return ""


def _present(text: str | None) -> str | None:
    """None for what the server takes as absent: nothing, "", an unreplaced macro."""
    if not text or re.match(r"\$[^$\s]+\$\Z", text):
        return None
    return text


def _cut(text: str, size: int) -> str:
    return text.encode("utf-8")[:size].decode("utf-8", "ignore")


# --- the spool


class Spooled(NamedTuple):
    """What a spool file says."""

    notification: Notification
    attempted: bool
    """An attempt without the late mark was begun, and may have arrived."""
    overtaken: bool
    """A newer state was accepted that isn't in the spool."""


class Entry:
    """What the queue must know of one spooled file; its text stays on disk."""

    def __init__(self, name: str, spooled: Spooled) -> None:
        """`attempted` may become true, `overtaken` is what the file said."""
        self.name = name
        self.number = _number_of(name)
        self.service = spooled.notification.service()
        self.role = spooled.notification.role()
        self.attempted = spooled.attempted
        self.overtaken = spooled.overtaken


_NAME = re.compile(r"([0-9]{1,30})-[0-9a-f]{32}\.json\Z")


def _number_of(name: str) -> int:
    found = _NAME.match(name)
    if found is None:
        raise ValueError(f"not the name of a spool file: {name!r}")
    return int(found.group(1))


class Spool:
    """The directory of what is not yet accepted. Every method may raise OSError.

    `NUMBER-KEY.json` holds the notification in its first line; lines for what must be remembered of
    it follow, see `Spooled`. Numbers are the nanoseconds of the clock, or one more than the highest
    there is: they rise even within a nanosecond, or when the clock is set back. Beside them are
    `rejected/` and two lock files: `order.lock` is held while a file is written, so that files
    appear in the order of their numbers; `send.lock` by the one process that sends.
    """

    def __init__(self, directory: str, limit: int) -> None:
        """`limit`: the most files in the spool, and the most in `rejected/`."""
        self.directory = directory
        self.rejected = os.path.join(directory, "rejected")
        self.limit = limit

    def prepare(self) -> None:
        """Make the directories if they are missing. Outputs may be confidential: 0700."""
        for directory in (self.directory, self.rejected):
            if not os.path.isdir(directory):
                with contextlib.suppress(FileExistsError):
                    os.makedirs(directory, 0o700)
                self._hand_over(directory)

    def put(self, notification: Notification) -> str:
        """Write one notification to disk and return its name. When this returns, it is safe."""
        self.prepare()
        with self.lock("order") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self._clean_up()
            highest = max((_number_of(name) for name in self.names()), default=0)
            number = max(time.time_ns(), highest + 1)
            name = f"{number:020d}-{notification.key}.json"
            unfinished = self._path("." + name + ".tmp")
            try:
                self._write(unfinished, notification.line())
                os.rename(unfinished, self._path(name))
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(unfinished)
                raise
            self._sync_directory(self.directory)
        return name

    def names(self) -> list[str]:
        """The spooled files, in any order. Files of other names are not ours, and stay."""
        return [name for name in os.listdir(self.directory) if _NAME.match(name)]

    def read(self, name: str) -> Spooled:
        """One file; raises ValueError if it isn't sound."""
        with open(self._path(name), "rb") as file:
            first, *rest = file.read().split(b"\n")
        attempted, overtaken = (b"attempted" in rest, b"overtaken" in rest)
        return Spooled(Notification.parse(first), attempted, overtaken)

    def record_attempt(self, name: str) -> None:
        """Remember for ever that an attempt without the late mark is begun now."""
        self._append(name, b"attempted")

    def record_overtaken(self, name: str) -> None:
        """Remember for ever that a newer state was accepted that isn't in the spool."""
        self._append(name, b"overtaken")

    def _append(self, name: str, line: bytes) -> None:
        descriptor = os.open(self._path(name), os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, b"\n" + line + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def discard(self, name: str) -> None:
        """Remove what was accepted.

        Not synced: if a power cut brings it back, it is sent once more, with the same key.
        """
        os.unlink(self._path(name))

    def set_aside(self, name: str, why: str) -> int:
        """Move one file to `rejected/`, its reason beside it.

        Returns how many of the oldest there were deleted to keep `rejected/` within the limit.
        """
        self.prepare()
        os.rename(self._path(name), os.path.join(self.rejected, name))
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with contextlib.suppress(OSError):
            self._write(self._reason_path(name), (f"{moment} {why}\n").encode())
            self._sync_directory(self.rejected)
            self._sync_directory(self.directory)
        kept = sorted(name for name in os.listdir(self.rejected) if _NAME.match(name))
        surplus = kept[: max(0, len(kept) - self.limit)]
        for old in surplus:
            os.unlink(os.path.join(self.rejected, old))
            with contextlib.suppress(OSError):
                os.unlink(self._reason_path(old))
        return len(surplus)

    def holds(self, name: str) -> bool:
        """Whether it is still to be sent."""
        return os.path.exists(self._path(name))

    def refusal(self, name: str) -> str | None:
        """Why it lies in `rejected/`, or None if it doesn't."""
        if not os.path.exists(os.path.join(self.rejected, name)):
            return None
        with contextlib.suppress(OSError), open(self._reason_path(name), "rb") as file:
            return file.read(MESSAGE_SHOWN * 4).decode("utf-8", "replace")
        return "reason unknown"

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[int]:
        """The open lock file, to be locked by the caller; let go at the end or by death."""
        path = self._path(name + ".lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._hand_over(path)
            yield descriptor
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _reason_path(self, name: str) -> str:
        return os.path.join(self.rejected, name[: -len(".json")] + ".reason")

    def _write(self, path: str, content: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._hand_over(path)
            while content:
                content = content[os.write(descriptor, content) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _hand_over(self, path: str) -> None:
        # Root trying the client by hand must not lock the monitoring program out of its spool.
        if os.geteuid() == 0:
            owner = os.stat(self.directory)
            os.chown(path, owner.st_uid, owner.st_gid)

    def _clean_up(self) -> None:
        # Whoever writes holds the order lock, as the caller does: these belong to dead processes.
        for name in os.listdir(self.directory):
            if name.startswith(".") and name.endswith(".json.tmp"):
                os.unlink(self._path(name))

    @staticmethod
    def _sync_directory(directory: str) -> None:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Queue:
    """What is spooled, as the holder of the send lock sees it."""

    def __init__(self, spool: Spool) -> None:
        """Reads the whole spool: an older file can't be judged without the newer ones."""
        self.entries: dict[str, Entry] = {}
        self.unreadable: list[tuple[str, str]] = []
        self._spool = spool
        self._known: set[str] = set()
        self._newest_state: dict[tuple[str, str], int] = {}
        self._looked = -math.inf
        self.look()

    def look(self) -> None:
        """Take notice of files that came since, at most twice a second."""
        if time.monotonic() - self._looked < LOOK_EVERY:
            return
        self._looked = time.monotonic()
        for name in self._spool.names():
            if name not in self._known:
                self._known.add(name)
                self._add(name)

    def in_order(self) -> list[Entry]:
        """Those known by now, oldest first."""
        return sorted(self.entries.values(), key=lambda entry: (entry.number, entry.name))

    def overtaken(self, entry: Entry) -> bool:
        """Whether a newer state of the same service is known."""
        newer = self._newest_state.get(entry.service, -1) > entry.number
        return entry.role is not Role.MESSAGE and (newer or entry.overtaken)

    def _add(self, name: str) -> None:
        try:
            entry = Entry(name, self._spool.read(name))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self.unreadable.append((name, _reason(error)))
            return
        self.entries[name] = entry
        if entry.role is Role.STATE:
            newest = self._newest_state.get(entry.service, -1)
            self._newest_state[entry.service] = max(newest, entry.number)


# --- the server


class Verdict(enum.Enum):
    """What an answer, or none, means for what was sent (see the top of the file)."""

    ACCEPTED = "committed over there"
    REFUSED = "never to be taken"
    MISCONFIGURED = "wrong key or URL"
    TEMPORARY = "try again"


class Answer(NamedTuple):
    """What came back. `text` is one line for people; `retry_after` is in seconds."""

    verdict: Verdict
    text: str
    status: int = 0
    notification_id: str = ""
    retry_after: float = 0.0


class Server:
    """Hot Potato over HTTP, on one connection kept open. Follows no redirects, uses no proxy.

    A redirect or a proxy from the environment would show the key to somebody else.
    """

    def __init__(self, url: str, key: str, cacert: str, timeout: float) -> None:
        """Connects only when there is something to send; raises ConfigurationError."""
        self._base, self._connection = _connection(url, cacert)
        self._key = key
        self._timeout = timeout
        self._address = urllib.parse.urlunsplit((*urllib.parse.urlsplit(url)[:3], "", ""))

    def post(self, path: str, body: bytes, headers: dict[str, str], until: float) -> Answer:
        """Make one attempt that ends, barring a slow trickle, before `until` (monotonic)."""
        headers = dict(headers)
        headers["Authorization"] = "Apikey " + self._key
        headers["Content-Type"] = "application/json"
        headers["User-Agent"] = "hotpotato-notify"
        reused = self._connection.sock is not None
        try:
            return self._exchange(path, body, headers, until)
        except ssl.SSLCertVerificationError as error:
            trouble = Answer(Verdict.MISCONFIGURED, self._failure(error))
        except ConnectionError as error:
            self._connection.close()
            if reused:
                # The server may close a connection that was idle, and that is no trouble.
                return self.post(path, body, headers, until)
            trouble = Answer(Verdict.TEMPORARY, self._failure(error))
        except (OSError, http.client.HTTPException) as error:
            trouble = Answer(Verdict.TEMPORARY, self._failure(error))
        self._connection.close()
        return trouble

    def _exchange(self, path: str, body: bytes, headers: dict[str, str], until: float) -> Answer:
        connection = self._connection
        if connection.sock is None:
            # For each address that the name has.
            connection.timeout = self._seconds(CONNECT_SHARE, until)
            connection.connect()
        connection.sock.settimeout(self._seconds(ATTEMPT_SHARE, until))
        connection.request("POST", self._base + path, body, headers)
        response = connection.getresponse()
        try:
            content = response.read(ANSWER_LIMIT)
        except (OSError, http.client.HTTPException):
            # The status is here, and it is what counts.
            content = b""
        if not response.isclosed():
            connection.close()
        return self._judge(response, content)

    def _seconds(self, share: float, until: float) -> float:
        return max(SHORTEST_ATTEMPT, min(self._timeout * share, until - time.monotonic()))

    def _judge(self, response: http.client.HTTPResponse, content: bytes) -> Answer:
        status = response.status
        envelope = _json_object(content)
        message = envelope.get("message") if envelope else None
        said = self._presentable(message if isinstance(message, str) else "")
        text = f"{status} {said or self._presentable(response.reason)}"
        if status == http.client.CREATED or (200 <= status < 300 and envelope is not None):
            return Answer(Verdict.ACCEPTED, said, status, _notification_id(envelope or {}))
        if status in (400, 409, 413, 422):
            return Answer(Verdict.REFUSED, text, status)
        if status in (408, 425, 429) or status >= 500:
            wait = _retry_after(response.getheader("Retry-After"))
            return Answer(Verdict.TEMPORARY, text, status, retry_after=wait)
        if status in (401, 403):
            return Answer(Verdict.MISCONFIGURED, text + " (is the key right?)", status)
        return Answer(Verdict.MISCONFIGURED, text + " (is the URL right?)", status)

    def _presentable(self, text: str) -> str:
        # Before it is shortened: half a key is a secret too.
        return _shorten(_one_line(text.replace(self._key, "[key]")))

    def _failure(self, error: BaseException) -> str:
        return f"{self._address}: {self._presentable(_reason(error))}"


def _connection(url: str, cacert: str) -> tuple[str, http.client.HTTPConnection]:
    """The path in front of /api, and a connection not yet open."""
    if not url:
        raise ConfigurationError("no --url and no HOTPOTATO_URL")
    if "@" in url:
        raise ConfigurationError("--url must not hold a user or a password")
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError as error:
        raise ConfigurationError(f"--url: {_reason(error)}") from None
    unfit = re.search(r"[\x00-\x20\x7f]", url) or re.search(r"[^!-~]", parts.path)
    if parts.scheme not in ("http", "https") or not host or unfit:
        raise ConfigurationError("--url must be like https://hotpotato.example.com:8080")
    base = parts.path.rstrip("/")
    if parts.scheme == "http":
        return base, http.client.HTTPConnection(host, port)
    try:
        context = ssl.create_default_context(cafile=cacert or None)
    except OSError as error:
        raise ConfigurationError(f"--cacert {cacert}: {_reason(error)}") from None
    return base, http.client.HTTPSConnection(host, port, context=context)


def _json_object(content: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _notification_id(envelope: dict[str, object]) -> str:
    # V2 has an envelope around it, V1 doesn't.
    data = envelope.get("data")
    found = (data if isinstance(data, dict) else envelope).get("id")
    return _shorten(_one_line(str(found))) if isinstance(found, (int, str)) else ""


def _retry_after(header: str | None) -> float:
    """Seconds from now; 0 for none or nonsense."""
    text = (header or "").strip()
    if re.match(r"[0-9]{1,9}\Z", text):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0


def read_key(path: str) -> str:
    """The key: the first line of the file that isn't empty. Raises ConfigurationError."""
    try:
        with open(path, "rb") as file:
            lines = file.read(ANSWER_LIMIT).decode("ascii", "replace").split("\n")
    except OSError as error:
        raise ConfigurationError(f"key file {path}: {_reason(error)}") from None
    key = next((line.strip() for line in lines if line.strip()), "")
    if not re.match(r"[!-~]{1,4096}\Z", key):
        raise ConfigurationError(f"key file {path} does not hold a key")
    return key


# --- one call


class Settings(NamedTuple):
    """What the command line and the environment say. `ignored` was not understood."""

    command: str
    api: str
    url: str
    key_file: str
    spool: str
    spool_limit: int
    timeout: float
    cacert: str
    fields: dict[str, str]
    ignored: list[str]


class Call:
    """One run of the command.

    What it learns is kept in attributes, so that `summary` can tell at any moment, also while `run`
    hangs in the network or the disk.
    """

    def __init__(self, settings: Settings, started: float) -> None:
        """`started`, monotonic, is when the time began to run."""
        self.settings = settings
        self.began = time.time_ns()
        self.spool = Spool(settings.spool, settings.spool_limit)
        self.work_until = started + settings.timeout * WORK_SHARE
        self.half_time = started + settings.timeout * DRAIN_SHARE
        self.own_name: str | None = None
        self.answer: Answer | None = None
        self.marked_late = False
        self.trouble = ""
        self.misconfigured = False
        self.spool_trouble = ""
        self.sent_before = 0
        self.left = 0
        self.refused: list[str] = []
        self.gave_way = 0
        self.deleted = 0
        self.remarks: list[str] = []

    def run(self) -> None:
        """Do everything; raises only what nobody foresaw."""
        notification = None
        if self.settings.command == "notify":
            notification = Notification.compose(self.settings.fields, self.settings.api)
            self._put(notification)
        try:
            server = self._server()
        except ConfigurationError as error:
            self.misconfigured, self.trouble = True, str(error)
            return
        self._send_spooled(server)
        if notification is None:
            path = PATHS[self.settings.api, "heartbeat"]
            self._keep(persist(lambda until: server.post(path, b"{}", {}, until), self.work_until))
        elif self.own_name is None:
            self._send_unspooled(server, notification)
        elif self.answer is None:
            self._find_out(self.own_name)

    def _put(self, notification: Notification) -> None:
        put = functools.partial(self.spool.put, notification)
        try:
            # A disk that hangs must not keep a page from being sent. If the file appears after
            # all, it is sent again with the same key.
            self.own_name = bounded(put, self.settings.timeout * SPOOL_SHARE)
        except Exception as error:
            # Whatever is wrong with the spool, the page is still tried.
            self._blame_spool(error)

    def _blame_spool(self, error: Exception) -> None:
        self.spool_trouble = f"spool {self.spool.directory}: {_reason(error)}"

    def _server(self) -> Server:
        settings = self.settings
        key = read_key(settings.key_file)
        with contextlib.suppress(OSError):
            if os.stat(settings.key_file).st_mode & 0o004:
                self.remarks.append(f"everybody can read the key file {settings.key_file}")
        return Server(settings.url, key, settings.cacert, settings.timeout)

    def _keep(self, answer: Answer) -> None:
        if answer.verdict in (Verdict.ACCEPTED, Verdict.REFUSED):
            self.answer = answer
        else:
            self.trouble = answer.text

    # One process sends at a time, or order would be lost. A notification waits for its turn to the
    # end of its time, or until its file has gone. It is not left to the process that sends now:
    # that one may be at its own end, and then nobody would send it before the next call. A
    # heartbeat does not wait: what it would do is being done.

    def _send_spooled(self, server: Server) -> None:
        try:
            self.spool.prepare()
            with self.spool.lock("send") as held:
                if self._my_turn(held):
                    self._drain(server)
        except OSError as error:
            self._blame_spool(error)

    def _my_turn(self, held: int) -> bool:
        until = 0.0 if self.settings.command == "heartbeat" else self._drain_until()
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if self.own_name and not self.spool.holds(self.own_name):
                    return False
                if time.monotonic() >= until:
                    self.trouble = "another call is still sending"
                    return False
                time.sleep(LOCK_POLL)

    def _drain(self, server: Server) -> None:
        queue = Queue(self.spool)
        self._make_room(queue)
        entries = queue.in_order()
        self.left = len(entries)
        for entry in entries:
            self._set_unreadable_aside(queue)
            try:
                notification = self.spool.read(entry.name).notification
            except FileNotFoundError:
                self.left -= 1
                continue
            except (OSError, ValueError) as error:
                queue.unreadable.append((entry.name, _reason(error)))
                self.left -= 1
                continue
            answer = self._send_entry(server, queue, entry, notification)
            if answer.verdict not in (Verdict.ACCEPTED, Verdict.REFUSED):
                self.trouble = answer.text
                break
            self.left -= 1
            self._settle(entry, answer)
        self._set_unreadable_aside(queue)

    def _send_entry(
        self, server: Server, queue: Queue, entry: Entry, notification: Notification
    ) -> Answer:
        def attempt(until: float) -> Answer:
            queue.look()
            late = queue.overtaken(entry)
            if not late and not entry.attempted:
                entry.attempted = True
                # Better a page than a record: on a full disk it is sent all the same.
                with contextlib.suppress(OSError):
                    self.spool.record_attempt(entry.name)
            answer = self._post(server, notification, late, until)
            if late and entry.attempted and answer.status == http.client.CONFLICT:
                return Answer(Verdict.ACCEPTED, "it had arrived before", answer.status)
            if entry.name == self.own_name:
                self.marked_late = late
            return answer

        return persist(attempt, self._drain_until())

    def _post(self, server: Server, notification: Notification, late: bool, until: float) -> Answer:
        path = PATHS[notification.api, "notify"]
        headers = {"Idempotency-Key": notification.key}
        return server.post(path, notification.body(late), headers, until)

    def _drain_until(self) -> float:
        # Calls that bring something unspooled keep the second half of their time for that.
        return self.half_time if self.own_name is None else self.work_until

    def _settle(self, entry: Entry, answer: Answer) -> None:
        if entry.name == self.own_name:
            self.answer = answer
        elif answer.verdict is Verdict.ACCEPTED:
            self.sent_before += 1
        else:
            self.refused.append(answer.text)
        try:
            if answer.verdict is Verdict.ACCEPTED:
                self.spool.discard(entry.name)
            else:
                self.deleted += self.spool.set_aside(entry.name, answer.text)
        except OSError as error:
            self._blame_spool(error)

    def _set_unreadable_aside(self, queue: Queue) -> None:
        while queue.unreadable:
            name, why = queue.unreadable.pop()
            self.refused.append("unreadable: " + why)
            try:
                self.deleted += self.spool.set_aside(name, "unreadable: " + why)
            except OSError as error:
                self._blame_spool(error)

    def _make_room(self, queue: Queue) -> None:
        """Beyond the limit, what has been overtaken gives way first, then the oldest."""
        surplus = len(queue.entries) - self.spool.limit
        first_to_go = sorted(
            queue.in_order(), key=lambda entry: (not queue.overtaken(entry), entry.number)
        )
        for entry in first_to_go[: max(0, surplus)]:
            why = f"gave way: more than {self.spool.limit} files in the spool"
            try:
                self.deleted += self.spool.set_aside(entry.name, why)
            except OSError as error:
                self._blame_spool(error)
                return
            self.gave_way += 1
            del queue.entries[entry.name]

    def _send_unspooled(self, server: Server, notification: Notification) -> None:
        post = functools.partial(self._post, server, notification, False)
        self._keep(persist(post, self.work_until))
        if self.answer is not None and self.answer.verdict is Verdict.ACCEPTED:
            with contextlib.suppress(OSError):
                self._mark_older(notification)

    def _mark_older(self, sent: Notification) -> None:
        """What is still spooled from before must not undo the newer state just accepted."""
        for entry in Queue(self.spool).in_order():
            if entry.name.endswith(sent.key + ".json"):
                # Written after all, when nobody waited for the disk any more.
                self.spool.discard(entry.name)
            elif entry.number < self.began and sent.overtakes(entry.service, entry.role):
                with contextlib.suppress(OSError):
                    self._mark(entry)

    def _mark(self, entry: Entry) -> None:
        try:
            self.spool.record_overtaken(entry.name)
        except OSError:
            # Where nothing can be written, files can often still be moved.
            why = "overtaken by one that could not be spooled"
            self.deleted += self.spool.set_aside(entry.name, why)

    def _find_out(self, name: str) -> None:
        """What became of our own file, which another call may have dealt with."""
        if self.spool.holds(name):
            return
        refusal = self.spool.refusal(name)
        if refusal is None:
            self.answer = Answer(Verdict.ACCEPTED, "sent by another call")
        else:
            self.answer = Answer(Verdict.REFUSED, refusal)

    def summary(self) -> tuple[int, str]:
        """The exit status, and the one line that says why."""
        status, text = self._own_summary()
        remarks = list(self.remarks)
        if self.settings.ignored:
            remarks.append("ignored: " + _shorten(", ".join(self.settings.ignored)))
            status = status or WARNING
        if self.spool_trouble and self.spool_trouble not in text:
            remarks.append(self.spool_trouble)
            status = status or WARNING
        if self.sent_before:
            remarks.append(f"{self.sent_before} spooled before sent too")
        if self.left and self.own_name is None:
            remarks.append(f"{self.left} still spooled{self._because(text)}")
            status = status or WARNING
        if self.gave_way:
            remarks.append(f"spool full, {self.gave_way} gave way")
        if self.refused:
            remarks.append(f"{len(self.refused)} spooled before refused: {self.refused[-1]}")
        if self.deleted:
            remarks.append(f"{self.deleted} deleted from a full rejected/")
        if (self.gave_way or self.refused) and status != UNKNOWN:
            status = CRITICAL
        return status, "; ".join([text, *remarks])

    def _because(self, text: str) -> str:
        return ": " + self.trouble if self.trouble and self.trouble not in text else ""

    def _own_summary(self) -> tuple[int, str]:
        heartbeat = self.settings.command == "heartbeat"
        what = "heartbeat" if heartbeat else "notification"
        trouble = self.trouble or "not yet tried"
        if self.answer is not None and self.answer.verdict is Verdict.ACCEPTED:
            if self.answer.notification_id and not heartbeat:
                what += " " + self.answer.notification_id
            late = " as late" if self.marked_late else ""
            said = f" ({self.answer.text})" if self.answer.text else ""
            return OK, f"{what} accepted{late}{said}"
        if self.answer is not None:
            where = f", kept in {self.spool.rejected}" if self.own_name else ""
            return CRITICAL, f"{what} refused{where}: {self.answer.text}"
        if self.own_name is not None:
            status = UNKNOWN if self.misconfigured else WARNING
            return status, f"spooled, will be sent later: {trouble}"
        if heartbeat:
            return UNKNOWN if self.misconfigured else CRITICAL, f"heartbeat not sent: {trouble}"
        why_not_spooled = self.spool_trouble or "no time"
        return CRITICAL, f"notification lost: {trouble}; and not spooled: {why_not_spooled}"


def persist(attempt: Callable[[float], Answer], until: float) -> Answer:
    """Attempt, and again after passing troubles, for as long as there is time before `until`."""
    answer = Answer(Verdict.TEMPORARY, "out of time, older ones were sent first")
    pause = FIRST_PAUSE
    while time.monotonic() + SHORTEST_ATTEMPT < until:
        answer = attempt(until)
        if answer.verdict is not Verdict.TEMPORARY:
            break
        wait = max(pause, answer.retry_after)
        if time.monotonic() + wait + SHORTEST_ATTEMPT >= until:
            break
        time.sleep(wait)
        pause = min(pause * 2, LONGEST_PAUSE)
    return answer


def bounded(work: Callable[[], _T], seconds: float) -> _T:
    """What `work` returns or raises, or TimeoutError after `seconds`.

    Nothing but a thread to turn away from bounds a name lookup or an fsync.
    """
    done: list[Callable[[], _T]] = []

    def run() -> None:
        try:
            value = work()
        except BaseException as error:
            done.append(functools.partial(_raise, error))
        else:
            done.append(lambda: value)

    try:
        thread = threading.Thread(target=run, name=THREAD_NAME, daemon=True)
        thread.start()
    except RuntimeError:
        # No more threads on this host: without a bound is better than not at all.
        return work()
    thread.join(max(0.0, seconds))
    if not done:
        raise TimeoutError(f"not done within {seconds:g} s")
    return done[0]()


def _raise(error: BaseException) -> NoReturn:
    raise error


# --- words


def _one_line(text: str) -> str:
    """Printable, on one line, and without the bar that begins Nagios' performance data."""
    words = " ".join(text.split()).replace("|", "/")
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def _shorten(text: str) -> str:
    return text if len(text) <= MESSAGE_SHOWN else text[: MESSAGE_SHOWN - 3] + "..."


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# --- the command


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hotpotato-notify",
        usage="%(prog)s [notify] --url URL --hostname HOST --state STATE [options]\n"
        "       %(prog)s heartbeat --url URL [options]",
        description="Send a notification, or a heartbeat, from a monitoring server to Hot Potato. "
        "A notification is spooled first, and a later call sends what this one could not.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    fields = parser.add_argument_group("what happened")
    for name, meaning in FIELDS.items():
        fields.add_argument(_option(name), metavar="TEXT", help=meaning)
    settings = parser.add_argument_group("where and how")
    for name, meaning in SETTINGS.items():
        settings.add_argument(_option(name), metavar="X", help=meaning)
    settings.add_argument("--v1", action="store_true", help="speak version 1 of the API")
    return parser


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _with_values_attached(arguments: list[str]) -> list[str]:
    """`--output VALUE` as `--output=VALUE`, so that a value may begin with a dash.

    An option where a value is due means that the value was an empty macro without quotes.
    """
    with_value = {_option(name) for name in [*FIELDS, *SETTINGS]}
    attached: list[str] = []
    waiting = ""
    for argument in arguments:
        is_option = argument.split("=", 1)[0] in with_value or argument == "--v1"
        if waiting and not is_option:
            attached.append(waiting + "=" + argument)
            waiting = ""
            continue
        if waiting:
            attached.append(waiting + "=")
        waiting = argument if argument in with_value else ""
        if not waiting:
            attached.append(argument)
    return attached + ([waiting + "="] if waiting else [])


def parse_settings(arguments: list[str]) -> Settings:
    """What the command line and the environment say; raises ConfigurationError.

    A page is never refused for a detail: what isn't understood is noted and left out.
    """
    command = "notify"
    if arguments and arguments[0] in COMMANDS:
        command, arguments = arguments[0], arguments[1:]
    options, surplus = _parser().parse_known_args(_with_values_attached(arguments))
    ignored = _names_only(surplus)
    given: dict[str, str | None] = {
        name: _value(getattr(options, name), name) for name in [*FIELDS, *SETTINGS]
    }
    fields = {name: value for name, value in given.items() if name in FIELDS and value is not None}
    missing = [_option(name) for name in ("hostname", "state") if name not in fields]
    if command == "notify" and missing:
        rest = "; not understood: " + ", ".join(ignored) if ignored else ""
        raise ConfigurationError(" and ".join(missing) + f" must be given{rest} (try --help)")
    use_v1 = options.v1 or (_value(None, "v1") or "").strip().lower() in ("1", "true", "yes", "on")
    return Settings(
        command=command,
        api="v1" if use_v1 else "v2",
        url=(given["url"] or "").strip(),
        key_file=given["key_file"] or DEFAULT_KEY_FILE,
        spool=given["spool"] or DEFAULT_SPOOL,
        spool_limit=int(_positive(given, "spool_limit", DEFAULT_SPOOL_LIMIT, math.inf, ignored)),
        timeout=_positive(given, "timeout", DEFAULT_TIMEOUT, LONGEST_TIMEOUT, ignored),
        cacert=given["cacert"] or "",
        fields=fields,
        ignored=ignored,
    )


def _names_only(surplus: list[str]) -> list[str]:
    # Never their values: one of them may be a key that somebody put on the command line.
    options = [_utf8(os.fsencode(word)).split("=", 1)[0] for word in surplus if word[:2] == "--"]
    words = len(surplus) - len(options)
    return options + ([f"{words} more argument{'s' if words > 1 else ''}"] if words else [])


def _value(option: str | None, name: str) -> str | None:
    # As bytes, because Python decodes both by the locale, which a monitoring program may not set.
    if option is not None:
        return _utf8(os.fsencode(option))
    raw = os.environb.get(b"HOTPOTATO_" + name.upper().encode("ascii"))
    return None if raw is None else _utf8(raw)


def _utf8(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _positive(
    given: dict[str, str | None], name: str, default: float, most: float, ignored: list[str]
) -> float:
    text = given[name]
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if 0 < number <= most and (number >= 1 or name == "timeout") and not math.isinf(number):
        return number
    ignored.append(f"{_option(name)} {text}")
    return default


def main(arguments: list[str] | None = None) -> int:
    """The command `hotpotato-notify`: one line on stdout, no traceback, and its exit status."""
    started = time.monotonic()
    try:
        settings = parse_settings(sys.argv[1:] if arguments is None else arguments)
    except ConfigurationError as error:
        return _finish(UNKNOWN, f"usage: {error}")
    call = Call(settings, started)
    try:
        bounded(call.run, started + settings.timeout - time.monotonic())
    except TimeoutError:
        call.trouble = call.trouble or f"no answer within {settings.timeout:g} s"
    except BaseException as error:
        call.trouble = f"{type(error).__name__}: {_reason(error)}"
    return _finish(*call.summary())


def _finish(status: int, text: str) -> int:
    line = f"{STATUS_WORDS[status]} - {_one_line(text)}\n"
    with contextlib.suppress(OSError):
        # Past Python's buffer, which would complain once more at the end if nobody reads.
        os.write(1, line.encode("utf-8", "replace"))
    if any(thread.name == THREAD_NAME for thread in threading.enumerate()):
        # A thread hangs in the network or the disk, and Python's own end might wait for it.
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
