"""`hotpotato-notify` as monitoring servers run it: one copied file, bare Python, a real socket.

HOTPOTATO_NOTIFY_PYTHON names another interpreter to run the client with, such as python3.7.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hotpotato import notify
from tests.certificates import certificate

PYTHON = os.environ.get("HOTPOTATO_NOTIFY_PYTHON", sys.executable)
SOURCE = Path(notify.__file__)
KEY = "s7f6sa8d7g6df8gh76dfsg876dfsg876"
SEND, BEAT = "/api/servers/v2/notifications/send", "/api/servers/v2/heartbeats/create"
SEND_V1, BEAT_V1 = "/api/v1/add/notification", "/api/v1/add/heartbeat"
OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
NEVER = {"Retry-After": "3600"}

# What a process adds to --timeout by starting and ending, on a busy machine.
START_AND_END = 2.0


@dataclass(frozen=True)
class Request:
    """One request as the server got it; `spooled` is what lay in the spool at that moment."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    at: float
    spooled: Mapping[str, str]

    @property
    def key(self) -> str:
        return self.headers.get("Idempotency-Key", "")


@dataclass(frozen=True)
class Reply:
    """What to answer; `raw`, if given, misbehaves with the connection instead."""

    status: int = 201
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    drop: bool = False
    """Close the connection after the answer without having said so."""
    raw: Callable[[BaseHTTPRequestHandler], None] | None = None


Behaviour = Callable[[Request], Reply]


class HotPotato:
    """A stand-in for the server: minds Idempotency-Keys, and misbehaves on request."""

    def __init__(self, spool: Path, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.taken: dict[str, tuple[dict[str, Any], int]] = {}
        self.behaviour: Behaviour = self.accept
        self.arrived = threading.Event()
        self.most_at_once = 0
        self._at_once = 0
        self._spool = spool
        self._guard = threading.Lock()
        self.ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._scheme = "http"
        if context is not None:
            self._scheme = "https"
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def sent(self) -> list[Request]:
        """The notifications that came, without heartbeats."""
        return [request for request in self.requests if "notification" in request.path]

    def hosts(self) -> list[str]:
        return [request.body["hostname"] for request in self.sent()]

    def accept(self, request: Request) -> Reply:
        """As CONTRACT section 4 says: the first answer again, or 409 for other content."""
        if "heartbeat" in request.path:
            return Reply(body={"success": True, "message": None, "data": {"id": 9}})
        content, number = self.taken.setdefault(request.key, (request.body, len(self.taken) + 100))
        if content != request.body:
            return Reply(409, {"success": False, "message": "Idempotency-Key used before"})
        if request.path == SEND_V1:
            return Reply(body={"id": number, **request.body})
        return Reply(body={"success": True, "code": 200, "message": None, "data": {"id": number}})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                with outer._guard:
                    outer._at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer._at_once)
                try:
                    self._answer()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with outer._guard:
                        outer._at_once -= 1

            def _answer(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(
                    path=self.path,
                    headers=dict(self.headers.items()),
                    body=json.loads(raw),
                    at=time.monotonic(),
                    spooled=contents(outer._spool),
                )
                with outer._guard:
                    outer.requests.append(request)
                    reply = outer.behaviour(request)
                outer.arrived.set()
                if reply.raw is not None:
                    self.close_connection = True
                    reply.raw(self)
                    return
                body = reply.body if isinstance(reply.body, bytes) else encoded(reply.body)
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                self.send_header("Content-Length", str(len(body)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = self.close_connection or reply.drop

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def contents(spool: Path) -> dict[str, str]:
    """The spooled files, oldest first, with what is in them."""
    if not spool.is_dir():
        return {}
    found = {}
    for path in sorted(spool.glob("*.json")):
        with contextlib.suppress(OSError):
            found[path.name] = path.read_text(errors="replace")
    return found


def silent(server: HotPotato) -> Behaviour:
    """Takes the request and says nothing."""
    return lambda request: Reply(raw=lambda handler: wait_for(server.ended))


def wait_for(event: threading.Event) -> None:
    event.wait(20)


def trickle(server: HotPotato, start: bytes) -> Behaviour:
    """Sends `start`, and then a byte every 50 ms for ever."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(start)
        while not server.ended.wait(0.05):
            handler.wfile.write(b"x")

    return lambda request: Reply(raw=drip)


def nothing(handler: BaseHTTPRequestHandler) -> None:
    """The connection ends without an answer."""


def always(reply: Reply) -> Behaviour:
    return lambda request: reply


def only_for(host: str, this: Behaviour, otherwise: Behaviour) -> Behaviour:
    return lambda r: this(r) if r.body.get("hostname") == host else otherwise(r)


def in_turn(replies: Sequence[Reply], then: Behaviour) -> Behaviour:
    waiting = list(replies)
    return lambda request: waiting.pop(0) if waiting else then(request)


def down(request: Request) -> Reply:
    """A server that is away for longer than any call: each call fails at once."""
    return Reply(503, {"message": "database away"}, NEVER)


@dataclass(frozen=True)
class Result:
    status: int
    line: str
    seconds: float


class Client:
    """The copied file on a monitoring host."""

    def __init__(self, directory: Path, url: str) -> None:
        self.program = directory / "bin" / "hotpotato-notify"
        self.program.parent.mkdir()
        shutil.copy(SOURCE, self.program)
        self.key_file = directory / "notify.key"
        self.key_file.write_text(KEY + "\n")
        self.key_file.chmod(0o600)
        self.spool = directory / "spool"
        self.rejected = self.spool / "rejected"
        self.url = url

    def environment(self, extra: Mapping[str, str | bytes]) -> dict[str, str | bytes]:
        return {
            "PATH": os.defpath,
            "HOTPOTATO_URL": self.url,
            "HOTPOTATO_KEY_FILE": str(self.key_file),
            "HOTPOTATO_SPOOL": str(self.spool),
            "HOTPOTATO_TIMEOUT": "10",
            **extra,
        }

    def start(
        self,
        *arguments: str | bytes,
        env: Mapping[str, str | bytes] | None = None,
        preamble: str = "",
    ) -> subprocess.Popen[bytes]:
        """`preamble` is Python that changes the world for the client before it begins."""
        begin: list[str] = [str(self.program)]
        if preamble:
            path = str(self.program)
            run = f"import runpy, sys; sys.argv[0] = {path!r}; {preamble}"
            begin = ["-c", f"{run}; runpy.run_path({path!r}, run_name='__main__')"]
        return subprocess.Popen(
            [PYTHON, "-I", "-S", *begin, *arguments],
            env=self.environment(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(
        self,
        *arguments: str | bytes,
        env: Mapping[str, str | bytes] | None = None,
        preamble: str = "",
    ) -> Result:
        started = time.monotonic()
        process = self.start(*arguments, env=env, preamble=preamble)
        return self.end(process, started)

    def end(self, process: subprocess.Popen[bytes], started: float) -> Result:
        """What every run must keep, whatever the test is about: one line, no traceback, no key."""
        out, err = process.communicate(timeout=40)
        seconds = time.monotonic() - started
        assert err == b""
        text = out.decode()
        assert text.count("\n") == 1
        assert text.endswith("\n")
        assert KEY not in text
        assert all(KEY not in content for content in contents(self.spool).values())
        word = text.split(" - ")[0]
        assert ["OK", "WARNING", "CRITICAL", "UNKNOWN"][process.returncode] == word
        return Result(process.returncode, text.rstrip("\n"), seconds)

    def notify(self, host: str = "web1", state: str = "CRITICAL", **fields: str) -> Result:
        options = [
            part
            for name, value in fields.items()
            for part in (f"--{name.replace('_', '-')}", value)
        ]
        return self.run("--hostname", host, "--state", state, *options)

    def heartbeat(self, **env: str) -> Result:
        return self.run("heartbeat", env=env)

    def put(self, host: str = "web1", state: str = "CRITICAL", **fields: str) -> str:
        """Spools a notification as the client does, and returns its file's name."""
        whole = {"hostname": host, "state": state, **fields}
        return notify.Spool(str(self.spool), 10_000).put(notify.Notification.compose(whole, "v2"))

    def spooled(self) -> list[str]:
        return list(contents(self.spool))

    def set_aside(self) -> list[str]:
        return sorted(path.name for path in self.rejected.glob("*.json"))

    def reason(self, name: str) -> str:
        return (self.rejected / name).with_suffix(".reason").read_text()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HotPotato]:
    running = HotPotato(tmp_path / "spool")
    yield running
    running.close()


@pytest.fixture
def client(tmp_path: Path, server: HotPotato) -> Client:
    return Client(tmp_path, server.url)


# --- what is sent


def test_a_notification_is_accepted(client: Client, server: HotPotato) -> None:
    result = client.run(
        "--hostname", "web1", "--state", "CRITICAL", "--notif-type", "service",
        "--event", "PROBLEM", "--service-name", "HTTP", "--display-name", "Web 1",
        "--trouble-code", "BAD01", "--output", "refused", "--timestamp", "1795419144",
        "--author", "kim", "--comment", "on it", "--number", "3",
    )  # fmt: skip
    assert result.status == OK
    assert result.line == "OK - notification 100 accepted"
    (request,) = server.requests
    assert request.path == SEND
    assert request.headers["Authorization"] == f"Apikey {KEY}"
    assert request.headers["Content-Type"] == "application/json"
    assert len(request.key) == 32
    assert request.body == {
        "hostname": "web1",
        "state": "CRITICAL",
        "notif_type": "service",
        "event": "PROBLEM",
        "service_name": "HTTP",
        "display_name": "Web 1",
        "trouble_code": "BAD01",
        "output": "refused",
        "timestamp": "1795419144",
        "author": "kim",
        "comment": "on it",
        "number": "3",
    }
    assert client.spooled() == []
    assert client.set_aside() == []


def test_the_word_notify_may_be_said_and_options_beat_the_environment(
    client: Client, server: HotPotato
) -> None:
    result = client.run(
        "notify", "--state=DOWN", env={"HOTPOTATO_HOSTNAME": "db1", "HOTPOTATO_STATE": "UP"}
    )
    assert result.status == OK
    assert server.requests[0].body["hostname"] == "db1"
    assert server.requests[0].body["state"] == "DOWN"


def test_a_notification_without_a_time_gets_the_one_at_which_it_was_spooled(
    client: Client, server: HotPotato
) -> None:
    before = int(time.time())
    client.run("--hostname", "web1", "--state", "OK", env={"HOTPOTATO_TIMESTAMP": "$TIMET$"})
    assert before <= int(server.requests[0].body["timestamp"]) <= time.time()


def test_the_environment_brings_what_a_command_line_would_mangle(
    client: Client, server: HotPotato
) -> None:
    """72 KB with quotes, newlines, backslashes and UTF-8, although the locale is C."""
    output = "CRITICAL: \"Größe\" 'x' `id` $HOME \\n C:\\temp\n<b>🥔</b>\t|\n" * 1230
    assert len(output.encode()) > 72_000
    result = client.run(
        env={
            "LC_ALL": "C",
            "HOTPOTATO_HOSTNAME": "DB 1 \N{EN DASH} Wellington (primär)",
            "HOTPOTATO_STATE": "CRITICAL",
            "HOTPOTATO_OUTPUT": output,
            "HOTPOTATO_COMMENT": b"cut in a character: \xc3",
            "HOTPOTATO_SERVICE_NAME": "",
            "HOTPOTATO_TROUBLE_CODE": "$_HOSTTROUBLE$",
        }
    )
    assert result.status == OK
    body = server.requests[0].body
    assert body["output"] == output
    assert body["hostname"] == "DB 1 \N{EN DASH} Wellington (primär)"
    assert body["comment"] == "cut in a character: \ufffd"
    assert body["service_name"] == ""
    assert body["trouble_code"] == "$_HOSTTROUBLE$"


def test_an_argument_is_taken_as_utf8_whatever_the_locale(
    client: Client, server: HotPotato
) -> None:
    output = "primär".encode() + b"\xff"
    client.run("--hostname", "db1", "--state", "DOWN", "--output", output, env={"LC_ALL": "C"})
    assert server.requests[0].body["output"] == "primär\ufffd"


def test_values_may_look_like_options(client: Client, server: HotPotato) -> None:
    result = client.run(
        "--hostname", "web1", "--state", "CRITICAL", "--output", "-5 % left", "--comment", "--none"
    )
    assert result.status == OK
    assert server.requests[0].body["output"] == "-5 % left"
    assert server.requests[0].body["comment"] == "--none"


def test_an_empty_macro_without_quotes_swallows_no_option(
    client: Client, server: HotPotato
) -> None:
    result = client.run("--hostname", "web1", "--output", "--state", "DOWN", "--author")
    assert result.status == OK
    assert server.requests[0].body["state"] == "DOWN"
    assert server.requests[0].body["output"] == ""
    assert server.requests[0].body["author"] == ""


def test_a_page_is_not_lost_for_arguments_that_nobody_understands(
    client: Client, server: HotPotato
) -> None:
    """Also says which, but never their values: people do put keys there."""
    result = client.run(
        "--hostname", "web1", "--state", "DOWN", "--key", KEY, f"--apikey={KEY}",
        env={"HOTPOTATO_TIMEOUT": "soon"},
    )  # fmt: skip
    assert result.status == WARNING
    assert "notification 100 accepted" in result.line
    assert "ignored: --key, --apikey, 1 more argument, --timeout soon" in result.line
    assert server.requests[0].headers["Authorization"] == f"Apikey {KEY}"


def test_a_body_too_long_for_the_server_is_cut_to_what_it_keeps(
    client: Client, server: HotPotato
) -> None:
    names = [*notify.FIELDS]
    env = {f"HOTPOTATO_{name.upper()}": "ü" * 50_000 for name in names}
    result = client.run(env={**env, "HOTPOTATO_HOSTNAME": "web1", "HOTPOTATO_STATE": "DOWN"})
    assert result.status == OK
    body = server.requests[0].body
    assert body["hostname"] == "web1"
    assert body["output"] == "ü" * 8_192
    assert body["comment"] == "ü" * 2_048
    assert int(server.requests[0].headers["Content-Length"]) < 1 << 20


def test_v1_has_its_own_names_and_path_and_the_key_in_the_header(
    client: Client, server: HotPotato
) -> None:
    env = {f"HOTPOTATO_{name.upper()}": f"the {name}" for name in notify.FIELDS}
    result = client.run("--v1", env=env)
    assert result.line == "OK - notification 100 accepted"
    (request,) = server.requests
    assert request.path == SEND_V1
    assert request.headers["Authorization"] == f"Apikey {KEY}"
    assert request.body == {
        "notificationtype": "the notif_type",
        "troublecode": "the trouble_code",
        "hostname": "the hostname",
        "displayname": "the display_name",
        "servicename": "the service_name",
        "state": "the state",
        "output": "the output",
        "icingadatetime": "the timestamp",
        "event": "the event",
        "author": "the author",
        "comment": "the comment",
        "number": "the number",
    }


def test_what_was_spooled_for_v1_goes_out_as_v1(client: Client, server: HotPotato) -> None:
    server.behaviour = down
    client.run("--v1", "--hostname", "web1", "--state", "DOWN")
    server.behaviour = server.accept
    client.run("--hostname", "web1", "--state", "UP")
    assert [request.path for request in server.requests] == [SEND_V1, SEND_V1, SEND]
    assert server.requests[1].body["late"] is True


# --- heartbeats


@pytest.mark.parametrize(("v1", "path"), [("", BEAT), ("1", BEAT_V1)])
def test_a_heartbeat(client: Client, server: HotPotato, v1: str, path: str) -> None:
    result = client.heartbeat(HOTPOTATO_V1=v1)
    assert (result.status, result.line) == (OK, "OK - heartbeat accepted")
    (request,) = server.requests
    assert request.path == path
    assert request.headers["Authorization"] == f"Apikey {KEY}"
    assert request.body == {}


def test_a_heartbeat_is_not_spooled(client: Client, server: HotPotato) -> None:
    server.behaviour = down
    result = client.heartbeat()
    assert (result.status, result.line) == (
        CRITICAL,
        "CRITICAL - heartbeat not sent: 503 database away",
    )
    assert client.spooled() == []


def test_a_heartbeat_first_sends_what_is_spooled(client: Client, server: HotPotato) -> None:
    client.put("web1")
    client.put("web2")
    result = client.heartbeat()
    assert result.line == "OK - heartbeat accepted; 2 spooled before sent too"
    assert [request.path for request in server.requests] == [SEND, SEND, BEAT]
    assert client.spooled() == []


def test_a_heartbeat_keeps_half_of_its_time_for_itself(client: Client, server: HotPotato) -> None:
    """A message that the server chokes on does not look like a silent monitoring server."""
    name = client.put("web1")
    client.put("web2")
    server.behaviour = only_for("web1", silent(server), server.accept)
    result = client.heartbeat(HOTPOTATO_TIMEOUT="2")
    assert result.status == WARNING
    assert result.line.startswith("WARNING - heartbeat accepted; 2 still spooled: ")
    assert "timed out" in result.line
    assert server.hosts()[-1] == "web1"
    assert client.spooled()[0] == name


# --- the spool


def test_the_notification_is_on_disk_before_the_first_attempt(
    client: Client, server: HotPotato
) -> None:
    client.notify("web1")
    ((name, text),) = server.requests[0].spooled.items()
    assert server.requests[0].key in name
    first, _, rest = text.partition("\n")
    assert json.loads(first)["key"] == server.requests[0].key
    assert rest.split() == ["attempted"]
    assert client.spooled() == []


def test_file_and_directory_are_synced_before_anybody_is_connected_to(
    client: Client, server: HotPotato, tmp_path: Path
) -> None:
    order = tmp_path / "order"
    watch = f"""
import os, socket, stat
def note(word, call):
    def noting(*args, **named):
        what = word
        if word == "sync":
            what += " directory" if stat.S_ISDIR(os.fstat(args[0]).st_mode) else " file"
        os.write(journal, what.encode() + b"\\n")
        return call(*args, **named)
    return noting
journal = os.open({str(order)!r}, os.O_WRONLY | os.O_CREAT)
os.fsync = note("sync", os.fsync)
os.rename = note("rename", os.rename)
socket.create_connection = note("connect", socket.create_connection)
import runpy"""
    assert client.run("--hostname", "web1", "--state", "DOWN", preamble=watch).status == OK
    assert order.read_text().splitlines() == [
        "sync file", "rename", "sync directory", "sync file", "connect",
    ]  # fmt: skip


def test_killed_in_the_middle_of_the_attempt_it_is_sent_by_the_next_call_with_the_same_key(
    client: Client, server: HotPotato
) -> None:
    server.behaviour = silent(server)
    process = client.start("--hostname", "web1", "--state", "CRITICAL")
    assert server.arrived.wait(20)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(client.spooled()) == 1
    server.behaviour = server.accept
    assert client.heartbeat().status == OK
    first, second = server.sent()
    assert first.key == second.key
    assert first.body == second.body
    assert client.spooled() == []


def test_an_answer_that_got_lost_pages_nobody_twice(client: Client, server: HotPotato) -> None:
    """The server took it and the connection broke: the same key and content come again."""

    def take_and_break(request: Request) -> Reply:
        server.accept(request)
        server.behaviour = server.accept
        return Reply(raw=nothing)

    server.behaviour = take_and_break
    assert client.notify("web1").line == "OK - notification 100 accepted"
    assert len(server.sent()) == 2
    assert len(server.taken) == 1


def test_oldest_first_and_the_new_one_last(client: Client, server: HotPotato) -> None:
    hosts = [f"web{number}" for number in range(12)]
    for host in hosts:
        client.put(host)
    result = client.notify("newest")
    assert result.line == "OK - notification 112 accepted; 12 spooled before sent too"
    assert server.hosts() == [*hosts, "newest"]
    assert client.spooled() == []


def test_calls_in_the_same_nanosecond_keep_their_order(client: Client, server: HotPotato) -> None:
    server.behaviour = down
    frozen = "import time; time.time_ns = lambda: 1795419144000000000"
    for host in ("first", "second", "third"):
        client.run("--hostname", host, "--state", "DOWN", preamble=frozen)
    names = client.spooled()
    assert [name.split("-")[0] for name in names] == [
        f"0{1795419144000000000 + step}" for step in range(3)
    ]
    server.requests.clear()
    server.behaviour = server.accept
    client.heartbeat()
    assert server.hosts() == ["first", "second", "third"]


def test_a_clock_set_back_does_not_change_the_order(client: Client, server: HotPotato) -> None:
    server.behaviour = down
    tomorrow = "import time; now = time.time_ns(); time.time_ns = lambda: now + 10**14"
    client.run("--hostname", "web1", "--state", "DOWN", preamble=tomorrow)
    server.requests.clear()
    server.behaviour = server.accept
    client.notify("web1", "UP")
    assert [request.body["state"] for request in server.sent()] == ["DOWN", "UP"]


def test_concurrent_calls_send_each_once_one_at_a_time_oldest_first(
    client: Client, server: HotPotato
) -> None:
    def slowly(request: Request) -> Reply:
        time.sleep(0.01)
        return server.accept(request)

    server.behaviour = slowly
    started = time.monotonic()
    processes = [
        client.start("--hostname", f"web{number}", "--state", "DOWN") for number in range(6)
    ]
    results = [client.end(process, started) for process in processes]
    assert [result.status for result in results] == [OK] * 6
    assert all("accepted" in result.line for result in results)
    assert sorted(server.hosts()) == [f"web{number}" for number in range(6)]
    assert server.most_at_once == 1
    for request in server.sent():
        assert request.key in next(iter(request.spooled))
    assert client.spooled() == []


def test_while_another_call_sends_a_notification_waits_and_a_heartbeat_does_not(
    client: Client, server: HotPotato
) -> None:
    client.put("old")
    with (client.spool / "send.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = client.run(
            "--hostname", "web1", "--state", "DOWN", env={"HOTPOTATO_TIMEOUT": "1"}
        )
        beating = client.heartbeat()
    assert waiting.line == "WARNING - spooled, will be sent later: another call is still sending"
    assert waiting.seconds < 1 + START_AND_END
    assert beating.line == "OK - heartbeat accepted"
    assert [request.path for request in server.requests] == [BEAT]
    assert len(client.spooled()) == 2


@pytest.mark.parametrize("fate", ["sent", "refused"])
def test_a_call_ends_as_soon_as_another_has_dealt_with_its_notification(
    client: Client, server: HotPotato, fate: str
) -> None:
    client.put("old")
    with (client.spool / "send.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        started = time.monotonic()
        process = client.start("--hostname", "web1", "--state", "DOWN")
        while len(client.spooled()) < 2:
            time.sleep(0.01)
        name = client.spooled()[1]
        if fate == "sent":
            (client.spool / name).unlink()
        else:
            notify.Spool(str(client.spool), 10).set_aside(name, "400 no such thing")
        result = client.end(process, started)
    assert result.seconds < 5
    if fate == "sent":
        assert result.line == "OK - notification accepted (sent by another call)"
    else:
        assert result.status == CRITICAL
        assert "400 no such thing" in result.line
    assert server.requests == []


NO_SPACE = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
"""Every write to a file fails, as on a full disk; pipes and sockets are not touched."""


@pytest.mark.parametrize("trouble", ["a file in its place", "full disk", "hung disk"])
def test_a_spool_that_cannot_be_written_does_not_stop_a_page(
    client: Client, server: HotPotato, trouble: str
) -> None:
    old = [] if trouble == "a file in its place" else ["old"]
    with contextlib.ExitStack() as stack:
        if trouble == "a file in its place":
            client.spool.write_text("")
        else:
            client.put("old")
        if trouble == "hung disk":
            held = stack.enter_context((client.spool / "order.lock").open("w"))
            fcntl.flock(held, fcntl.LOCK_EX)
        result = client.run(
            "--hostname", "web1", "--state", "DOWN",
            env={"HOTPOTATO_TIMEOUT": "3"}, preamble=NO_SPACE if trouble == "full disk" else "",
        )  # fmt: skip
    assert result.status == WARNING
    assert f"notification {100 + len(old)} accepted; spool {client.spool}: " in result.line
    assert server.hosts() == [*old, "web1"]
    assert result.seconds < 3 + START_AND_END


@pytest.mark.parametrize("disk", ["hung", "full"])
def test_what_could_not_be_spooled_is_not_undone_by_older_ones_in_the_spool(
    client: Client, server: HotPotato, disk: str
) -> None:
    """The older ones are stuck behind one that the server chokes on, the new one gets through."""
    client.put("choke")
    older = client.put("web1", "UP")
    acknowledged = client.put("web1", "DOWN", event="ACKNOWLEDGEMENT")
    client.put("web1", "UP", event="CUSTOM")
    client.put("web2", "UP")
    choke = only_for("choke", down, server.accept)
    server.behaviour = choke
    with (client.spool / "order.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX if disk == "hung" else fcntl.LOCK_UN)
        result = client.run(
            "--hostname", "web1", "--state", "DOWN",
            env={"HOTPOTATO_TIMEOUT": "2"}, preamble=NO_SPACE if disk == "full" else "",
        )  # fmt: skip
    assert result.status == WARNING
    assert server.hosts() == ["choke", "web1"]
    server.requests.clear()
    server.behaviour = server.accept
    client.heartbeat()
    came = [(r.body["hostname"], r.body.get("event"), r.body.get("late")) for r in server.sent()]
    rest = [("web1", "CUSTOM", None), ("web2", None, None)]
    if disk == "hung":
        late = [("web1", None, True), ("web1", "ACKNOWLEDGEMENT", True)]
        assert came == [("choke", None, None), *late, *rest]
    else:
        assert came == [("choke", None, None), *rest]
        assert client.set_aside() == [older, acknowledged]


def test_a_newer_state_spooled_meanwhile_is_not_made_late_by_one_that_could_not_be_spooled(
    client: Client, server: HotPotato
) -> None:
    def recovers_meanwhile(request: Request) -> Reply:
        client.put("web1", "UP")
        return server.accept(request)

    client.put("web2")
    server.behaviour = only_for("web1", recovers_meanwhile, server.accept)
    arguments = ("--hostname", "web1", "--state", "DOWN")
    assert client.run(*arguments, preamble=NO_SPACE).status == WARNING
    server.behaviour = server.accept
    client.heartbeat()
    last = server.sent()[-1].body
    assert (last["state"], last.get("late")) == ("UP", None)


def test_neither_spooled_nor_sent_is_critical(client: Client, server: HotPotato) -> None:
    client.spool.write_text("")
    server.behaviour = down
    result = client.notify()
    assert result.status == CRITICAL
    assert "notification lost: 503 database away; and not spooled: spool" in result.line


CORRUPT = [
    b"",
    b"\0" * 400,
    b'{"key": "',
    b"[" * 100_000,
    b"\xff\xfe",
    b"[]",
    b'{"key": 1, "api": "v2", "fields": {}}',
    b'{"key": "' + b"a" * 32 + b'", "api": "v3", "fields": {}}',
    b'{"key": "' + b"a" * 32 + b'", "api": "v2", "fields": {"state": 1}}',
    b'{"key": "' + b"a" * 32 + b'", "api": "v2", "fields": []}',
    b'{"key": "' + b"a" * 32 + b'\\r\\nX: y", "api": "v2", "fields": {}}',
]


def test_corrupt_spool_files_are_set_aside_and_block_nothing(
    client: Client, server: HotPotato
) -> None:
    client.put("behind")
    names = [f"{number:020}-{'a' * 32}.json" for number in range(len(CORRUPT) + 1)]
    for name, content in zip(names, CORRUPT, strict=False):
        (client.spool / name).write_bytes(content)
    (client.spool / names[-1]).mkdir()
    result = client.heartbeat()
    assert result.status == CRITICAL
    assert "heartbeat accepted" in result.line
    assert f"{len(names)} spooled before refused: unreadable" in result.line
    assert server.hosts() == ["behind"]
    assert client.set_aside() == names
    assert all("unreadable" in client.reason(name) for name in names)
    assert client.spooled() == []


def test_foreign_files_stay_and_unfinished_ones_go(client: Client, server: HotPotato) -> None:
    client.put("old")
    (client.spool / "README").write_text("ours")
    (client.spool / "notes.json").write_text("{}")
    unfinished = client.spool / f".{1:020}-{'a' * 32}.json.tmp"
    unfinished.write_text('{"key"')
    assert client.notify("web1").status == OK
    assert not unfinished.exists()
    assert (client.spool / "README").exists()
    assert client.spooled() == ["notes.json"]
    assert client.set_aside() == []


def test_nobody_else_can_read_the_spool(client: Client, server: HotPotato) -> None:
    server.behaviour = down
    client.notify()
    assert client.spool.stat().st_mode & 0o777 == 0o700
    (name,) = client.spooled()
    assert (client.spool / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_leaves_the_spool_to_its_owner(client: Client, server: HotPotato) -> None:
    client.spool.mkdir()
    os.chown(client.spool, 65534, 65534)
    server.behaviour = down
    client.notify()
    assert {path.stat().st_uid for path in client.spool.iterdir()} == {65534}


def test_beyond_the_limit_what_was_overtaken_gives_way_first_then_the_oldest(
    client: Client, server: HotPotato
) -> None:
    server.behaviour = down
    oldest = client.put("web0")
    overtaken = client.put("web1", "WARNING")
    client.put("web2")
    client.put("web1", "CRITICAL")
    env = {"HOTPOTATO_SPOOL_LIMIT": "4"}
    result = client.run("--hostname", "web3", "--state", "DOWN", env=env)
    assert result.status == CRITICAL
    assert "spooled, will be sent later" in result.line
    assert "spool full, 1 gave way" in result.line
    assert client.set_aside() == [overtaken]
    client.run("--hostname", "web4", "--state", "DOWN", env=env)
    assert client.set_aside() == [oldest, overtaken]
    assert "gave way: more than 4 files" in client.reason(oldest)
    server.requests.clear()
    server.behaviour = server.accept
    client.heartbeat()
    assert server.hosts() == ["web2", "web1", "web3", "web4"]


def test_a_full_rejected_directory_loses_its_oldest_and_says_so(
    client: Client, server: HotPotato
) -> None:
    server.behaviour = always(Reply(400, {"message": "no"}))
    names = [client.put(f"web{number}") for number in range(4)]
    result = client.run("heartbeat", env={"HOTPOTATO_SPOOL_LIMIT": "4"})
    assert "deleted" not in result.line
    result = client.run("--hostname", "web4", "--state", "DOWN", env={"HOTPOTATO_SPOOL_LIMIT": "4"})
    assert "1 deleted from a full rejected/" in result.line
    assert client.set_aside()[:3] == names[1:]
    assert len(list(client.rejected.iterdir())) == 8


# --- what answers do


def test_permanent_refusals_are_set_aside_and_block_nothing(
    client: Client, server: HotPotato
) -> None:
    statuses = (400, 413, 422, 409)
    names = [client.put(f"bad {status}") for status in statuses]
    server.behaviour = in_turn(
        [Reply(status, {"success": False, "message": "not\nthis one"}) for status in statuses],
        server.accept,
    )
    result = client.notify("good")
    assert result.status == CRITICAL
    assert result.line == (
        "CRITICAL - notification 100 accepted; 4 spooled before refused: 409 not this one"
    )
    assert server.hosts() == ["bad 400", "bad 413", "bad 422", "bad 409", "good"]
    assert client.set_aside() == names
    for name, status in zip(names, statuses, strict=True):
        assert client.reason(name).endswith(f" {status} not this one\n")
    assert client.spooled() == []


def test_ones_own_refusal_is_critical_and_kept(client: Client, server: HotPotato) -> None:
    server.behaviour = always(Reply(400, {"message": "hostname missing"}))
    result = client.notify("$HOSTNAME$")
    assert result.status == CRITICAL
    assert "notification refused, kept in " in result.line
    assert result.line.endswith(": 400 hostname missing")
    assert len(client.set_aside()) == 1


def test_what_was_set_aside_can_be_moved_back(client: Client, server: HotPotato) -> None:
    server.behaviour = always(Reply(413, {"message": "too long"}))
    client.notify("web1")
    (name,) = client.set_aside()
    (client.rejected / name).rename(client.spool / name)
    server.behaviour = server.accept
    assert client.heartbeat().status == OK
    assert {request.key for request in server.sent()} == {server.sent()[0].key}
    assert client.spooled() == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(401, {"message": "no such key"}),
        Reply(403, {"message": "no such key"}),
        Reply(404, {"message": "no such path"}),
        Reply(405, b"<html>", content_type="text/html"),
        Reply(302, b"", {"Location": "/elsewhere"}),
        Reply(200, b"<html>Welcome", content_type="text/html"),
        Reply(204, b""),
    ],
    ids=lambda reply: str(reply.status),
)
def test_a_wrong_key_or_url_stays_spooled_and_stops(
    client: Client, server: HotPotato, reply: Reply
) -> None:
    old = client.put("old")
    server.behaviour = always(reply)
    result = client.notify("new")
    assert result.status == WARNING
    assert f"spooled, will be sent later: {reply.status}" in result.line
    assert "is the key right?" in result.line or "is the URL right?" in result.line
    assert [request.path for request in server.requests] == [SEND]
    assert client.spooled()[0] == old
    assert len(client.spooled()) == 2
    assert client.set_aside() == []


def test_when_the_key_is_put_right_the_spool_goes_out(client: Client, server: HotPotato) -> None:
    server.behaviour = always(Reply(401, {"message": "no such key"}))
    client.put("old")
    client.notify("new")
    server.behaviour = server.accept
    assert client.heartbeat().status == OK
    assert server.hosts() == ["old", "old", "new"]
    assert client.spooled() == []


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_passing_trouble_stays_spooled_and_stops(
    client: Client, server: HotPotato, status: int
) -> None:
    client.put("old")
    server.behaviour = always(Reply(status, {"message": "busy"}, NEVER))
    result = client.notify("new")
    assert result.line == f"WARNING - spooled, will be sent later: {status} busy"
    assert server.hosts() == ["old"]
    assert len(client.spooled()) == 2
    assert client.set_aside() == []


def test_a_passing_trouble_is_tried_again_while_time_remains(
    client: Client, server: HotPotato
) -> None:
    troubles = [Reply(503, {"message": "busy"}), Reply(raw=nothing), Reply(429, b"<html>")]
    server.behaviour = in_turn(troubles, server.accept)
    result = client.notify()
    assert result.line == "OK - notification 100 accepted"
    assert len(server.sent()) == 4
    assert len({request.key for request in server.sent()}) == 1


def test_not_before_retry_after(client: Client, server: HotPotato) -> None:
    server.behaviour = in_turn([Reply(503, {}, {"Retry-After": "1"})], server.accept)
    assert client.notify().status == OK
    first, second = server.sent()
    assert second.at - first.at >= 1


def test_retry_after_may_be_a_date_or_nonsense() -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    seconds = notify._retry_after(soon.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    assert 20 < seconds <= 30
    for text in (None, "", "-5", "whenever", "1e9", "٣", "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert notify._retry_after(text) == 0


def test_nobody_listens(client: Client, server: HotPotato) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        client.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        result = client.run("--hostname", "web1", "--state", "DOWN", env={"HOTPOTATO_TIMEOUT": "1"})
    assert result.status == WARNING
    assert "spooled, will be sent later: http://127.0.0.1:" in result.line
    assert result.line.endswith("Connection refused")
    assert len(client.spooled()) == 1


def test_a_connection_that_was_closed_meanwhile_costs_nothing(
    client: Client, server: HotPotato
) -> None:
    def closing(request: Request) -> Reply:
        whole = server.accept(request)
        return Reply(whole.status, whole.body, drop=True)

    server.behaviour = closing
    hosts = [f"web{number}" for number in range(12)]
    for host in hosts:
        client.put(host)
    result = client.heartbeat(HOTPOTATO_TIMEOUT="4")
    assert result.line == "OK - heartbeat accepted; 12 spooled before sent too"
    assert server.hosts() == hosts


def test_201_is_a_promise_whatever_the_body(client: Client, server: HotPotato) -> None:
    bodies = [b"", b"null", b"[]", b"[" * 50_000, b"<html>", b"\xff", b"{}" * 90_000]
    for number in range(len(bodies)):
        client.put(f"web{number}")
    server.behaviour = in_turn([Reply(201, body) for body in bodies], always(Reply(201, b"7")))
    result = client.notify("last")
    assert result.line == f"OK - notification accepted; {len(bodies)} spooled before sent too"
    assert server.hosts() == [*(f"web{number}" for number in range(len(bodies))), "last"]
    assert client.spooled() == []


def test_201_is_a_promise_even_if_the_body_breaks_off(client: Client, server: HotPotato) -> None:
    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b'HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{"success": true')

    server.behaviour = always(Reply(raw=half))
    assert client.notify().line == "OK - notification accepted"
    assert client.spooled() == []


def test_another_2xx_counts_if_it_is_a_json_object(client: Client, server: HotPotato) -> None:
    server.behaviour = always(Reply(200, {"data": {"id": 7}}))
    assert client.notify().line == "OK - notification 7 accepted"
    assert client.spooled() == []


def test_the_servers_message_is_shown_short_on_one_line_and_without_the_key(
    client: Client, server: HotPotato
) -> None:
    message = f"output cut to 16384 bytes;\nhello {KEY} | \x1b[31m" + "x" * 5000
    server.behaviour = always(Reply(201, {"message": message, "data": {"id": 7}}))
    result = client.notify()
    assert result.status == OK
    assert result.line.startswith(
        "OK - notification 7 accepted (output cut to 16384 bytes; hello [key] / ?[31mxxx"
    )
    assert len(result.line) < 300


def test_refusals_keep_the_key_out_of_the_reason_file(client: Client, server: HotPotato) -> None:
    server.behaviour = always(Reply(400, {"message": f"what is {KEY}"}))
    client.notify()
    (name,) = client.set_aside()
    assert client.reason(name).endswith("400 what is [key]\n")


# --- time


SLOW: dict[str, Callable[[HotPotato], Behaviour]] = {
    "silence": silent,
    "a trickling status line": lambda server: trickle(server, b"HTTP/1.1 2"),
    "trickling headers": lambda server: trickle(server, b"HTTP/1.1 201 Created\r\nX-Long: "),
    "a trickling body": lambda server: trickle(
        server, b"HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\n"
    ),
}


def test_it_is_over_in_time_however_slow_the_server_is(
    client: Client, server: HotPotato, tmp_path: Path
) -> None:
    slow = {how: behaviour(server) for how, behaviour in SLOW.items()}
    server.behaviour = lambda request: slow[request.body["hostname"]](request)
    started = time.monotonic()
    processes = [
        client.start(
            "--hostname", how, "--state", "DOWN",
            env={"HOTPOTATO_TIMEOUT": "1.5", "HOTPOTATO_SPOOL": str(tmp_path / how)},
        )
        for how in slow
    ]  # fmt: skip
    for how, process in zip(slow, processes, strict=True):
        result = client.end(process, started)
        assert result.seconds < 1.5 + START_AND_END
        assert result.line.startswith("WARNING - spooled, will be sent later: ")
        assert len(contents(tmp_path / how)) == 1
    assert {request.body["hostname"] for request in server.requests} == set(slow)


def test_a_silent_server_is_asked_again_within_the_time(client: Client, server: HotPotato) -> None:
    """One of two servers behind a name may be dead: the first attempt doesn't take all the time."""
    server.behaviour = in_turn([Reply(raw=lambda _: wait_for(server.ended))], server.accept)
    result = client.run("--hostname", "web1", "--state", "DOWN", env={"HOTPOTATO_TIMEOUT": "3"})
    assert result.line == "OK - notification 100 accepted"


@pytest.mark.parametrize("command", ["notify", "heartbeat"])
def test_a_name_lookup_that_hangs_is_left_behind(client: Client, command: str) -> None:
    """No time-out of a socket covers it."""
    client.url = "http://hotpotato.example.com"
    hang = "import socket, time; socket.getaddrinfo = lambda *a, **k: time.sleep(60)"
    result = client.run(
        command, "--hostname", "web1", "--state", "DOWN", "--timeout", "1", preamble=hang
    )
    assert result.seconds < 1 + START_AND_END
    if command == "notify":
        assert result.line == "WARNING - spooled, will be sent later: no answer within 1 s"
    else:
        assert result.line == "CRITICAL - heartbeat not sent: no answer within 1 s"


# --- overtaken


def test_only_the_newest_state_of_a_service_goes_out_plain(
    client: Client, server: HotPotato
) -> None:
    server.behaviour = down
    client.notify("web1", "WARNING", service_name="HTTP")
    client.notify("web1", "CRITICAL", service_name="HTTP")
    client.notify("web1", "CRITICAL", service_name="SSH")
    client.notify("web1", "DOWN")
    client.notify("web2", "CRITICAL", service_name="HTTP")
    server.requests.clear()
    server.behaviour = server.accept
    assert client.notify("web1", "OK", service_name="HTTP").status == OK
    came = [
        (r.body["hostname"], r.body.get("service_name"), r.body["state"]) for r in server.sent()
    ]
    assert came == [
        ("web1", "HTTP", "WARNING"),
        ("web1", "HTTP", "CRITICAL"),
        ("web1", "SSH", "CRITICAL"),
        ("web1", None, "DOWN"),
        ("web2", "HTTP", "CRITICAL"),
        ("web1", "HTTP", "OK"),
    ]
    assert [request.body.get("late") for request in server.sent()] == [
        True, True, None, None, None, None,
    ]  # fmt: skip


OLDER_NEWER_LATE = [
    ("PROBLEM CRITICAL", "RECOVERY OK", True),
    ("PROBLEM CRITICAL", "PROBLEM CRITICAL", True),
    ("RECOVERY OK", "PROBLEM CRITICAL", True),
    (" CRITICAL", " OK", True),
    ("$NOTIFICATIONTYPE$ CRITICAL", "something OK", True),
    ("PROBLEM CRITICAL", "CUSTOM CRITICAL", False),
    ("CUSTOM CRITICAL", "RECOVERY OK", False),
    ("PROBLEM CRITICAL", "DOWNTIMESTART CRITICAL", False),
    ("DOWNTIMESTART CRITICAL", "RECOVERY OK", False),
    ("PROBLEM CRITICAL", "ACKNOWLEDGEMENT CRITICAL", False),
    ("ACKNOWLEDGEMENT CRITICAL", "RECOVERY OK", True),
    ("ACKNOWLEDGEMENT CRITICAL", "ACKNOWLEDGEMENT CRITICAL", False),
    ("PROBLEM CRITICAL", "FLAPPINGSTART OK", True),
    ("FLAPPINGSTART OK", "PROBLEM CRITICAL", True),
    ("PROBLEM CRITICAL", "FLAPPINGSTART CRITICAL", False),
    ("FLAPPINGSTART CRITICAL", "RECOVERY OK", False),
    ("PROBLEM DOWN", "FLAPPINGSTOP UP", True),
    ("PROBLEM CRITICAL", "RECOVERY $SERVICESTATE$", False),
]


@pytest.mark.parametrize("place", ["event", "notif_type"])
def test_which_events_overtake_which(client: Client, server: HotPotato, place: str) -> None:
    """Each pair is a service of its own; the event may come in notif_type, as people do."""
    for number, (older, newer, _) in enumerate(OLDER_NEWER_LATE):
        for age, event_and_state in (("older", older), ("newer", newer)):
            event, state = event_and_state.split(" ")
            client.put("web1", state, service_name=f"S{number}", output=age, **{place: event})
    assert client.heartbeat().status == OK
    late = {(r.body["service_name"], r.body["output"]) for r in server.sent() if "late" in r.body}
    assert late == {
        (f"S{number}", "older") for number, (_, _, late) in enumerate(OLDER_NEWER_LATE) if late
    }


def test_a_host_without_a_service_is_the_same_however_the_absence_is_written(
    client: Client, server: HotPotato
) -> None:
    client.put("web1", "DOWN", service_name="$SERVICEDESC$")
    client.put("web1", "UP", service_name="")
    client.heartbeat()
    assert [request.body.get("late") for request in server.sent()] == [True, None]


def test_overtaken_while_it_is_being_tried(client: Client, server: HotPotato) -> None:
    """The RECOVERY is spooled during the pauses of the call that tries to send the PROBLEM."""

    def busy_until_overtaken(request: Request) -> Reply:
        if "late" not in request.body and request.body["state"] == "DOWN":
            if len(server.requests) == 1:
                client.put("web1", "UP")
            return Reply(503, {})
        return server.accept(request)

    server.behaviour = busy_until_overtaken
    result = client.notify("web1", "DOWN")
    assert result.line == "OK - notification 100 accepted as late"
    assert len(client.spooled()) == 1


def test_attempted_without_the_mark_and_arrived_then_409_means_that_it_is_there(
    client: Client, server: HotPotato
) -> None:
    def take_and_break(request: Request) -> Reply:
        server.accept(request)
        return Reply(raw=nothing)

    server.behaviour = take_and_break
    client.run("--hostname", "web1", "--state", "DOWN", env={"HOTPOTATO_TIMEOUT": "0.7"})
    (name,) = client.spooled()
    server.requests.clear()
    server.behaviour = server.accept
    result = client.notify("web1", "UP")
    assert result.line == "OK - notification 101 accepted; 1 spooled before sent too"
    older, newer = server.sent()
    assert older.key in name
    assert older.body["late"] is True
    assert "late" not in newer.body
    assert [content["state"] for content, _ in server.taken.values()] == ["DOWN", "UP"]
    assert all("late" not in content for content, _ in server.taken.values())
    assert client.spooled() == []
    assert client.set_aside() == []


def test_attempted_without_the_mark_and_not_arrived_then_it_is_recorded_as_late(
    client: Client, server: HotPotato
) -> None:
    server.behaviour = always(Reply(raw=nothing))
    client.run("--hostname", "web1", "--state", "DOWN", env={"HOTPOTATO_TIMEOUT": "0.7"})
    keys = {request.key for request in server.sent()}
    server.behaviour = server.accept
    assert client.notify("web1", "UP").status == OK
    assert [content.get("late") for content, _ in server.taken.values()] == [True, None]
    assert keys == {next(iter(server.taken))}


def test_409_for_a_late_one_that_was_never_attempted_without_the_mark_is_a_refusal(
    client: Client, server: HotPotato
) -> None:
    name = client.put("web1", "DOWN")
    server.behaviour = lambda request: (
        Reply(409, {"message": "used"}) if "late" in request.body else server.accept(request)
    )
    result = client.notify("web1", "UP")
    assert result.status == CRITICAL
    assert client.set_aside() == [name]


def test_a_corrupt_newer_file_overtakes_nothing(client: Client, server: HotPotato) -> None:
    client.put("web1", "DOWN")
    newer = client.spool / client.put("web1", "UP")
    newer.write_bytes(newer.read_bytes()[:-20])
    client.heartbeat()
    (request,) = server.sent()
    assert "late" not in request.body


# --- keys, URLs, certificates


def test_without_a_key_it_is_spooled_and_sent_when_the_key_is_there(
    client: Client, server: HotPotato
) -> None:
    client.key_file.unlink()
    result = client.notify()
    assert result.status == UNKNOWN
    expected = f"UNKNOWN - spooled, will be sent later: key file {client.key_file}: No such file"
    assert result.line.startswith(expected)
    client.key_file.mkdir()
    assert client.heartbeat().line.startswith("UNKNOWN - heartbeat not sent: key file ")
    assert server.requests == []
    client.key_file.rmdir()
    client.key_file.write_text(f"\n  {KEY}  \r\nwhat follows is ignored\n")
    assert client.heartbeat().status == OK
    assert server.hosts() == ["web1"]


@pytest.mark.parametrize("content", [b"", b" \n\n", b"my key\n", b"\xff\0", b"k" * 5000, b"a\tb"])
def test_what_cannot_be_a_key_is_not_sent_and_not_shown(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notify.key"
    path.write_bytes(content)
    with pytest.raises(notify.ConfigurationError, match="does not hold a key") as raised:
        notify.read_key(str(path))
    assert str(raised.value) == f"key file {path} does not hold a key"


def test_the_key_comes_from_nowhere_else(client: Client, server: HotPotato) -> None:
    client.key_file.unlink()
    env = {"HOTPOTATO_KEY": KEY, "HOTPOTATO_APIKEY": KEY}
    assert client.run("--hostname", "a", "--state", "DOWN", env=env).status == UNKNOWN
    assert server.requests == []


def test_a_key_file_that_everybody_can_read_is_mentioned(client: Client, server: HotPotato) -> None:
    client.key_file.chmod(0o640)
    assert client.heartbeat().line == "OK - heartbeat accepted"
    client.key_file.chmod(0o644)
    result = client.heartbeat()
    assert result.status == OK
    assert f"everybody can read the key file {client.key_file}" in result.line


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hotpotato.example.com",
        "ftp://hotpotato.example.com",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://a..b",
        "http://[::1",
        "http://me:secret@hotpotato.example.com",
        "http://hotpotato.example.com/a b",
        "http://hot potato",
    ],
)
def test_a_url_that_cannot_be_used_is_named_and_no_more(url: str) -> None:
    with pytest.raises(notify.ConfigurationError, match="--url") as raised:
        notify.Server(url, KEY, "", 20.0)
    assert "secret" not in str(raised.value)


def test_without_a_url_the_page_is_spooled(client: Client) -> None:
    client.url = ""
    result = client.notify()
    assert result.status == UNKNOWN
    assert "spooled, will be sent later: no --url and no HOTPOTATO_URL" in result.line
    assert len(client.spooled()) == 1


def test_hot_potato_may_live_below_a_path(client: Client, server: HotPotato) -> None:
    client.url += "/pager/"
    client.notify()
    assert server.requests[0].path == "/pager" + SEND


def test_proxies_of_the_environment_are_not_used(client: Client, server: HotPotato) -> None:
    proxy = "http://127.0.0.1:9"
    env = {"http_proxy": proxy, "HTTP_PROXY": proxy, "all_proxy": proxy}
    assert client.run("heartbeat", env=env).status == OK


@pytest.mark.parametrize("mistake", ["--hostname", "heartbeet"])
def test_wrong_usage_is_one_line(client: Client, mistake: str) -> None:
    result = client.run(mistake, "web1")
    assert result.status == UNKNOWN
    assert result.line.startswith("UNKNOWN - usage: ")
    assert result.line.endswith(" (try --help)")
    assert client.spooled() == []


def test_help_teaches_every_option(client: Client) -> None:
    process = client.start("--help")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")
    text = out.decode()
    for name in [*notify.FIELDS, *notify.SETTINGS, "v1"]:
        assert "--" + name.replace("_", "-") in text
    assert "hotpotato-notify heartbeat" in text
    assert "HOTPOTATO_OUTPUT=" in text


def test_a_closed_standard_output_changes_nothing(client: Client, server: HotPotato) -> None:
    close = "import os; os.close(1)"
    process = client.start("--hostname", "web1", "--state", "DOWN", preamble=close)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (OK, b"", b"")
    assert server.hosts() == ["web1"]


def test_whatever_breaks_inside_there_is_a_line_and_no_traceback(
    client: Client, server: HotPotato
) -> None:
    broken = "import http.client; http.client.HTTPConnection.request = lambda *a: 1 // 0"
    result = client.run("--hostname", "web1", "--state", "DOWN", preamble=broken)
    assert result.line == (
        "WARNING - spooled, will be sent later: "
        "ZeroDivisionError: integer division or modulo by zero"
    )
    assert len(client.spooled()) == 1


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[HotPotato, Path]]:
    certificate_path = tmp_path / "cert.pem"
    certificate_path.write_bytes(certificate("127.0.0.1"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_path)
    running = HotPotato(tmp_path / "spool", context)
    yield running, certificate_path
    running.close()


def test_https_is_verified_and_a_private_ca_can_be_named(
    client: Client, secure: tuple[HotPotato, Path]
) -> None:
    server, certificate_path = secure
    client.url = server.url
    result = client.notify("web1")
    assert result.status == WARNING
    assert "certificate verify failed" in result.line.lower()
    assert server.requests == []
    result = client.run("heartbeat", "--cacert", str(certificate_path))
    assert result.line == "OK - heartbeat accepted; 1 spooled before sent too"
    wrong_name = server.url.replace("127.0.0.1", "localhost")
    result = client.run("heartbeat", "--cacert", str(certificate_path), "--url", wrong_name)
    assert result.status == CRITICAL
    assert len(server.requests) == 2


def test_a_missing_ca_file_is_named(client: Client, tmp_path: Path) -> None:
    client.url = "https://127.0.0.1:9"
    result = client.notify(cacert=str(tmp_path / "none.pem"))
    assert result.status == UNKNOWN
    assert f"--cacert {tmp_path / 'none.pem'}: No such file" in result.line


# --- the file itself


def test_the_file_can_be_run_as_it_is() -> None:
    assert SOURCE.read_text().startswith("#!/usr/bin/env python3\n")
    assert os.access(SOURCE, os.X_OK)
