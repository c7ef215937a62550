"""Requests that no well-behaved client sends: each gets its envelope, and the daemon is unharmed.

Three tables: bodies, whole requests byte by byte, and clients that are slow or leave.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.logger import LogEvent

from hotpotato.api.answers import Answer
from hotpotato.api.site import Application, Endpoint, Request
from hotpotato.api.wire import IDLE
from tests.api.talk import (
    GET,
    SEND,
    Connection,
    a_host,
    a_notification,
    is_error,
    request,
    stored,
    taken,
)
from tests.world import Response, World, until

GOOD = b'"hostname": "evil", "state": "OK"'


async def is_unharmed(world: World) -> None:
    """A good request is still answered as ever, on a connection of its own."""
    await taken(world, state="OK")


# ---------------------------------------------------------------- bodies

NESTED = 100_000


def in_every_field(value: object) -> bytes:
    """A body that has the same everywhere."""
    names = ("hostname", "state", "event", "notif_type", "timestamp", "late", "output", "number")
    return json.dumps({name: value for name in names}).encode()  # noqa: C420


BODIES: list[tuple[str, bytes, int]] = [
    ("nothing", b"", 400),
    ("spaces", b" \r\n\t ", 400),
    ("one brace", b"{", 400),
    ("cut off in a string", b'{"hostname": "db', 400),
    ("cut off in an escape", b'{"hostname": "\\u12', 400),
    ("a wrong escape", b'{"hostname": "\\x41", "state": "OK"}', 400),
    ("single quotes", b"{'hostname': 'db1', 'state': 'OK'}", 400),
    ("a trailing comma", b"{" + GOOD + b",}", 400),
    ("a comment", b"{" + GOOD + b"/* hello */}", 400),
    ("two objects", b"{" + GOOD + b"}{" + GOOD + b"}", 400),
    ("lines of objects", b"{" + GOOD + b"}\n{" + GOOD + b"}\n", 400),
    ("an array of objects", b"[{" + GOOD + b"}]", 400),
    ("a string", b'"hostname"', 400),
    ("a number", b"1e400", 400),
    ("null", b"null", 400),
    ("true", b"true", 400),
    ("NaN", b"{" + GOOD + b', "number": NaN}', 400),
    ("infinity", b"{" + GOOD + b', "number": -Infinity}', 400),
    ("a form", b"hostname=db1&state=OK", 400),
    ("a multipart form", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--', 400),
    ("XML", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', 400),
    ("HTML", b"<script>alert(1)</script>", 400),
    ("a pickle", b"cos\nsystem\n(S'true'\ntR.", 400),
    ("gzip", gzip.compress(b"{" + GOOD + b"}"), 400),
    ("random bytes", bytes(range(256)), 400),
    ("a raw NUL", b'{"hostname": "a\0b", "state": "OK"}', 400),
    ("a raw NUL after it", b"{" + GOOD + b"}\0", 400),
    ("a raw control character", b'{"hostname": "a\x1bb", "state": "OK"}', 400),
    ("Latin-1", '{"hostname": "Größe", "state": "OK"}'.encode("latin-1"), 400),
    ("UTF-16", ("{" + GOOD.decode() + "}").encode("utf-16"), 400),
    ("UTF-32", ("{" + GOOD.decode() + "}").encode("utf-32"), 400),
    ("two byte order marks", b"\xef\xbb\xbf\xef\xbb\xbf{" + GOOD + b"}", 400),
    ("one byte order mark", b"\xef\xbb\xbf{" + GOOD + b"}", 201),
    ("overlong UTF-8", b'{"hostname": "\xc0\x80", "state": "OK"}', 400),
    ("a surrogate in UTF-8", b'{"hostname": "\xed\xa0\x80", "state": "OK"}', 400),
    ("UTF-8 beyond Unicode", b'{"hostname": "\xf5\x80\x80\x80", "state": "OK"}', 400),
    ("UTF-8 cut off", b'{"hostname": "\xf0\x9f\xa5", "state": "OK"}', 400),
    ("an escaped NUL", b'{"hostname": "\\u0000", "state": "\\u0000"}', 201),
    ("a lone surrogate", b'{"hostname": "\\ud83e", "state": "\\udd54\\ud83e"}', 201),
    ("nested arrays", b'{"a": ' + b"[" * NESTED + b"]" * NESTED + b"}", 400),
    ("nested objects", b'{"a":' * NESTED + b"1" + b"}" * NESTED, 400),
    ("nested and open", b"[" * 1_000_000, 400),
    ("nested a little", b"{" + GOOD + b', "output": ' + b"[" * 200 + b"]" * 200 + b"}", 201),
    ("a number of 100,000 digits", b"{" + GOOD + b', "number": ' + b"9" * 100_000 + b"}", 201),
    ("a host of 100,000 digits", b'{"state": "OK", "hostname": ' + b"9" * 100_000 + b"}", 201),
    ("a huge exponent", b'{"state": "OK", "hostname": 1e999999999}', 201),
    ("a tiny number", b'{"state": "OK", "hostname": 1e-999999999}', 201),
    ("a time of 400 digits", b"{" + GOOD + b', "timestamp": 1' + b"0" * 400 + b"}", 201),
    ("a time beyond floating point", b"{" + GOOD + b', "timestamp": 1e400}', 201),
    ("a time before Christ", b"{" + GOOD + b', "timestamp": "-4004-10-23 09:00:00"}', 201),
    ("a time of 1 MB", b"{" + GOOD + b', "timestamp": "' + b"1" * 1_000_000 + b'"}', 201),
    ("equal keys", b'{"hostname": "x", "state": "OK", "hostname": "evil"}', 201),
    ("10,000 equal keys", b"{" + GOOD + b', "hostname": "evil"' * 10_000 + b"}", 201),
    ("10,000 keys", b"{" + GOOD + b"".join(b', "k%d": 1' % n for n in range(10_000)) + b"}", 201),
    ("a key of 100 KB", b"{" + GOOD + b', "' + b"k" * 100_000 + b'": 1}', 201),
    ("an empty key", b"{" + GOOD + b', "": 1, "\\u0000": 2, "\\ud83e": 3}', 201),
    ("python's own names", b"{" + GOOD + b', "__class__": {}, "self": 1, "__proto__": []}', 201),
    ("every field an object", in_every_field({"a": [1, None, {"b": "c"}]}), 201),
    ("every field true", in_every_field(True), 201),
    ("every field null", b'{"hostname": null, "state": null, "output": null}', 400),
    ("an empty object", b"{}", 400),
    ("a host of spaces", b'{"hostname": "   ", "state": "OK"}', 400),
    ("a host of lists", b'{"hostname": [], "state": "OK"}', 400),
    ("a macro for a host", b'{"hostname": "$HOSTNAME$", "state": "OK"}', 400),
    ("SQL", b'{"hostname": "\'; DROP TABLE notification; --", "state": "%s %(x)s"}', 201),
    ("a backslash for SQL", b'{"hostname": "\\\\\' OR 1=1", "state": "E\'\\\\x00\'"}', 201),
    ("a template", b'{"hostname": "{{7*7}} ${7*7} {0.__class__}", "state": "%n%s"}', 201),
    ("right to left", '{"hostname": "\u202edb1", "state": "\u2066OK"}'.encode(), 201),
    ("500 accents", ('{"state": "OK", "hostname": "a' + "\u0300" * 500 + '"}').encode(), 201),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status"), [row[1:] for row in BODIES], ids=[name for name, *_ in BODIES]
)
@pytest_twisted.ensureDeferred
async def test_any_body_gets_an_envelope(shared: World, body: bytes, status: int) -> None:
    response = await shared.post(SEND, body)
    assert response.status == status, response.body
    if status == 201:
        assert response.json["success"] is True
    else:
        assert is_error(response, status)
    v1 = await shared.post("/api/v1/add/notification", body)
    assert v1.status == status
    assert status == 201 or is_error(v1, status, v1=True)
    await is_unharmed(shared)


@pytest_twisted.ensureDeferred
async def test_what_looks_like_sql_is_stored_as_text(shared: World) -> None:
    name = "'; DROP TABLE notification; -- %s %(x)s \\' $1 {} \\x00"
    answer = await taken(shared, hostname=name, service_name=name, output=name)
    assert answer["data"]["hostname"] == answer["data"]["output"] == name


@pytest_twisted.ensureDeferred
async def test_the_last_of_equal_keys_wins(shared: World) -> None:
    body = b'{"hostname": "first", "state": "OK", "hostname": "last"}'
    assert (await shared.post(SEND, body)).data["hostname"] == "last"


# ---------------------------------------------------------------- whole requests

NOTE = b'{"hostname": "smuggled", "state": "OK"}'
"""A good notification, where it can only be smuggled in."""

AFTERWARDS = b"".join(
    (
        b"POST /api/servers/v2/notifications/send HTTP/1.1\r\nHost: x\r\n",
        b"Authorization: Apikey KEY\r\nContent-Length: %d\r\n\r\n" % len(NOTE),
        NOTE,
    )
)
"""A good request that follows a bad one on the same connection."""


def post(*headers: bytes, body: bytes = NOTE, path: bytes = SEND.encode()) -> bytes:
    """A POST whose headers the test writes; KEY stands for the key."""
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: x", b"Authorization: Apikey KEY", *headers]
    return b"\r\n".join([*lines, b"", b""]) + body


def head(line: bytes) -> bytes:
    """A request line with the least of headers."""
    return line + b"\r\nHost: x\r\nAuthorization: Apikey KEY\r\n\r\n"


LENGTH = b"Content-Length: %d" % len(NOTE)
CHUNKED = b"Transfer-Encoding: chunked"
WHOLE = b"27\r\n" + NOTE + b"\r\n0\r\n\r\n"
assert len(NOTE) == 0x27

# What can't be read as HTTP: 400, and since nobody can tell where the next request begins, the
# connection is closed and what follows is not read.
MALFORMED: list[tuple[str, bytes]] = [
    ("two lengths that differ", post(LENGTH, b"Content-Length: 5")),
    ("two lengths that agree", post(LENGTH, LENGTH)),
    ("two lengths in one", post(b"Content-Length: 39, 39")),
    ("a length and chunks", post(LENGTH, CHUNKED, body=WHOLE)),
    ("chunks and a length", post(CHUNKED, LENGTH, body=WHOLE)),
    ("chunks twice", post(CHUNKED, CHUNKED, body=WHOLE)),
    ("chunks of chunks", post(b"Transfer-Encoding: chunked, chunked", body=WHOLE)),
    ("an unknown coding", post(b"Transfer-Encoding: gzip, chunked", body=WHOLE)),
    ("nearly chunked", post(b"Transfer-Encoding: xchunked", body=WHOLE)),
    ("chunked with a tail", post(b"Transfer-Encoding: chunked;x=1", body=WHOLE)),
    ("a negative length", post(b"Content-Length: -1")),
    ("a signed length", post(b"Content-Length: +39")),
    ("a hexadecimal length", post(b"Content-Length: 0x27")),
    ("a length with an underscore", post(b"Content-Length: 3_9")),
    ("a length in words", post(b"Content-Length: some")),
    ("an empty length", post(b"Content-Length:")),
    ("a length of 5,000 digits", post(b"Content-Length: " + b"9" * 5000)),
    ("a length of 5,000 zeros", post(b"Content-Length: " + b"0" * 5000 + b"39")),
    ("a space before the colon", post(b"Content-Length : 39")),
    ("a tab before the colon", post(b"Transfer-Encoding\t: chunked", body=WHOLE)),
    ("a header without a colon", post(LENGTH, b"nonsense")),
    ("a header without a name", post(LENGTH, b": value")),
    ("a header name with a space", post(LENGTH, b"X Y: value")),
    ("a header name with a NUL", post(LENGTH, b"X\0Y: value")),
    ("a header name in UTF-8", post(LENGTH, "Größe: value".encode())),
    ("a header value with a NUL", post(LENGTH, b"X: a\0b")),
    ("a header value with a carriage return", post(LENGTH, b"X: a\rb")),
    ("a header value with a line feed", post(b"X: a\nTransfer-Encoding: chunked", body=WHOLE)),
    ("a fold before the first header", b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n"),
    ("a bad header among good ones", post(b"bad header", LENGTH)),
    ("a header of 20 KB", post(LENGTH, b"X: " + b"y" * 20_000)),
    ("headers of 20 KB", post(LENGTH, *(b"X-%d: " % n + b"y" * 200 for n in range(100)))),
    ("600 headers", post(LENGTH, *(b"X: %d" % n for n in range(600)))),
    ("a request line of 20 KB", head(b"GET /" + b"x" * 20_000 + b" HTTP/1.1")),
    ("20 KB without an end of line", b"x" * 20_000),
    ("HTTP/0.9", b"GET /healthz\r\n"),
    ("HTTP/2 in the request line", head(b"GET /healthz HTTP/2.0")),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("HTTP/1.2", head(b"GET /healthz HTTP/1.2")),
    ("HTTP/1.10", head(b"GET /healthz HTTP/1.10")),
    ("http in small letters", head(b"GET /healthz http/1.1")),
    ("another protocol", head(b"GET /healthz ICY/1.1")),
    ("no method", head(b" /healthz HTTP/1.1")),
    ("no path", head(b"GET  HTTP/1.1")),
    ("a method with a bracket", head(b"GE(T /healthz HTTP/1.1")),
    ("a method in UTF-8", head("GÉT /healthz HTTP/1.1".encode())),
    ("a space in the path", head(b"GET /health z HTTP/1.1")),
    ("a tab for a space", head(b"GET\t/healthz\tHTTP/1.1")),
    ("a NUL in the path", head(b"GET /health\0z HTTP/1.1")),
    ("a raw byte in the path", head(b"GET /\xff\xfe HTTP/1.1")),
    ("a line feed in the path", head(b"GET /a\nb HTTP/1.1")),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n"),
    ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
    ("SMTP", b"EHLO example.com\r\n"),
    ("random bytes", bytes(range(256)) * 4 + b"\r\n\r\n"),
    ("three empty lines", b"\r\n\r\n\r\n"),
    ("a chunk size that is no number", post(CHUNKED, body=b"zz\r\n" + NOTE + b"\r\n0\r\n\r\n")),
    ("a negative chunk", post(CHUNKED, body=b"-27\r\n" + NOTE + b"\r\n0\r\n\r\n")),
    ("a signed chunk", post(CHUNKED, body=b"+27\r\n" + NOTE + b"\r\n0\r\n\r\n")),
    ("a chunk with 0x", post(CHUNKED, body=b"0x27\r\n" + NOTE + b"\r\n0\r\n\r\n")),
    ("a chunk with an underscore", post(CHUNKED, body=b"2_7\r\n" + NOTE + b"\r\n0\r\n\r\n")),
    ("a chunk size with spaces", post(CHUNKED, body=b" 27 \r\n" + NOTE + b"\r\n0\r\n\r\n")),
    ("an empty chunk size", post(CHUNKED, body=b"\r\n" + NOTE + b"\r\n0\r\n\r\n")),
    ("a chunk longer than it says", post(CHUNKED, body=b"10\r\n" + NOTE + b"\r\n0\r\n\r\n")),
    ("a chunk size of 2 KB", post(CHUNKED, body=b"0" * 2000 + WHOLE)),
    ("a chunk extension with a line feed", post(CHUNKED, body=b"27;a\nb" + WHOLE[2:])),
    ("trailers of 70 KB", post(CHUNKED, body=WHOLE[:-2] + (b"X: " + b"y" * 999 + b"\r\n") * 70)),
]  # fmt: skip


@pytest.mark.parametrize(
    "said", [said for _, said in MALFORMED], ids=[name for name, _ in MALFORMED]
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_http_is_400_and_the_connection_closes(shared: World, said: bytes) -> None:
    before = stored(shared)
    connection = await Connection.to(shared)
    connection.say((said + AFTERWARDS).replace(b"KEY", shared.key.encode()))
    answer = await connection.answer()
    assert is_error(answer, 400)
    assert answer.headers["connection"] == "close"
    assert await connection.the_end() == b""
    assert stored(shared) == before
    await is_unharmed(shared)


@pytest_twisted.ensureDeferred
async def test_what_is_no_http_at_v1s_address_has_v1s_envelope(shared: World) -> None:
    connection = await Connection.to(shared)
    connection.say(post(b"nonsense", path=b"/api/v1/add/notification"))
    assert is_error(await connection.answer(), 400, v1=True)
    await connection.the_end()


def path(line: bytes) -> bytes:
    """A GET of a path."""
    return head(b"GET " + line + b" HTTP/1.1")


# What is HTTP, and yet nothing that is served here. The connection goes on, unless it must not.
ODD: list[tuple[str, bytes, int]] = [
    ("the root", path(b"/"), 404),
    ("no slash", path(b"healthz/x"), 404),
    ("a star", head(b"OPTIONS * HTTP/1.1"), 404),
    ("a star with GET", path(b"*"), 404),
    ("a percent sign", path(b"/%"), 404),
    ("half an escape", path(b"/%4"), 404),
    ("a wrong escape", path(b"/%zz%u0041"), 404),
    ("an escaped NUL", path(b"/healthz%00"), 404),
    ("an escaped line break", path(b"/healthz%0d%0aX:%20y"), 404),
    ("escaped bytes that are no UTF-8", path(b"/%ff%fe"), 404),
    ("escaped overlong UTF-8", path(b"/%c0%ae%c0%ae/%c0%af"), 404),
    ("an escaped surrogate", path(b"/%ed%a0%80"), 404),
    ("no UTF-8 behind a good path", path(GET.encode() + b"/%ff"), 404),
    ("a raw byte that Twisted lets through", path(b"/\x80\xb0"), 404),
    ("going up", path(b"/api/../../../etc/passwd"), 404),
    ("going up in disguise", path(b"/%2e%2e/%2e%2e/etc/passwd"), 404),
    ("a backslash", path(b"/..\\..\\etc\\passwd"), 404),
    ("a scheme", path(b"ftp://x/healthz"), 404),
    ("a scheme within", path(b"/proxy/http://x/healthz"), 404),
    ("a script", path(b"/<script>alert(1)</script>"), 404),
    ("a path of 10 KB", path(b"/" + b"x" * 10_000), 404),
    ("5,000 slashes", path(b"/" * 5000 + b"x"), 404),
    ("an id of 5,000 digits", path(GET.encode() + b"/" + b"9" * 5000), 404),
    ("CONNECT", head(b"CONNECT example.com:443 HTTP/1.1"), 404),
    ("TRACE", head(b"TRACE " + SEND.encode() + b" HTTP/1.1"), 405),
    ("OPTIONS", head(b"OPTIONS " + SEND.encode() + b" HTTP/1.1"), 405),
    ("DELETE", head(b"DELETE " + SEND.encode() + b" HTTP/1.1"), 405),
    ("PROPFIND", head(b"PROPFIND " + SEND.encode() + b" HTTP/1.1"), 405),
    ("a method of our own", head(b"PAGE!#$%&'*+-.^_`|~ " + SEND.encode() + b" HTTP/1.1"), 405),
    ("a method of 5 KB", head(b"X" * 5000 + b" " + SEND.encode() + b" HTTP/1.1"), 405),
    ("a wrong key of 10 KB", head(b"GET /api/servers/v2/notifications/get/1 HTTP/1.1").replace(
        b"KEY", b"k" * 10_000), 401),
    ("a key with raw bytes", head(b"GET /api/servers/v2/notifications/get/1 HTTP/1.1").replace(
        b"KEY", b"\xff\xfe\x80"), 401),
    ("a key twice", head(b"GET /api/servers/v2/notifications/get/1 HTTP/1.1").replace(
        b"Host: x", b"Authorization: Apikey KEY"), 401),
    ("no body", post(body=b""), 400),
    ("an empty chunked body", post(CHUNKED, body=b"0\r\n\r\n"), 400),
    ("a body cut short by its length", post(b"Content-Length: 10", body=NOTE[:10]), 400),
]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "status"), [row[1:] for row in ODD], ids=[name for name, *_ in ODD]
)
@pytest_twisted.ensureDeferred
async def test_what_is_http_but_nothing_we_serve_gets_an_envelope(
    shared: World, said: bytes, status: int
) -> None:
    connection = await Connection.to(shared)
    connection.say(said.replace(b"KEY", shared.key.encode()))
    assert is_error(await connection.answer(), status)
    connection.say(request("GET", "/healthz"))
    assert (await connection.answer()).status == 200
    connection.leave()
    await is_unharmed(shared)


# What is unusual, but allowed, or harmless, or a proxy's fault: a page is not refused for it.
UNUSUAL: list[tuple[str, bytes]] = [
    ("no Host", post(LENGTH).replace(b"Host: x\r\n", b"")),
    ("two Hosts", post(LENGTH, b"Host: y")),
    ("an empty Host", post(LENGTH).replace(b"Host: x", b"Host:")),
    ("half an address for a Host", post(LENGTH).replace(b"Host: x", b"Host: [::1")),
    ("a Host that is no name", post(LENGTH).replace(b"Host: x", b"Host: a..b/../%00<>:99999999")),
    ("a Host in raw bytes", post(LENGTH).replace(b"Host: x", b"Host: \xff\xfe")),
    ("a Host of 5 KB", post(LENGTH).replace(b"Host: x", b"Host: " + b"x." * 2500)),
    ("a Host in punycode", post(LENGTH).replace(b"Host: x", b"Host: xn--\xc3\xbc")),
    ("an absolute address", post(LENGTH, path=b"http://other.example:81" + SEND.encode())),
    ("an absolute address with a user", post(LENGTH, path=b"HTTPS://a:b@c" + SEND.encode())),
    ("a query", post(LENGTH, path=SEND.encode() + b"?" + b"a=%ff&" * 1000)),
    ("an escaped path", post(LENGTH, path=SEND.encode().replace(b"s", b"%73"))),
    ("doubled slashes", post(LENGTH, path=SEND.encode().replace(b"/", b"//"))),
    ("a folded header", post(LENGTH).replace(b"Apikey KEY", b"Apikey\r\n\tKEY")),
    ("a header in raw bytes", post(LENGTH, b"X: \xff\xfe\x80")),
    ("an empty line before it", b"\r\n" + post(LENGTH)),
    ("chunks", post(CHUNKED, body=WHOLE)),
    ("chunks of one byte", post(CHUNKED, body=b"".join(
        b"1\r\n%c\r\n" % byte for byte in NOTE) + b"0\r\n\r\n")),
    ("chunks with extensions and trailers", post(
        CHUNKED, body=b"027;a=b\r\n" + NOTE + b"\r\n0;c\r\nAuthorization: Apikey x\r\n\r\n")),
    ("identity", post(LENGTH, b"Transfer-Encoding: identity")),
    ("a claim of gzip", post(LENGTH, b"Content-Encoding: gzip")),
    ("a form", post(LENGTH, b"Content-Type: multipart/form-data; boundary=")),
    ("a wish for HTML", post(LENGTH, b"Accept: text/html;q=1, application/json;q=0")),
    ("a wish for compression", post(LENGTH, b"Accept-Encoding: gzip, br")),
    ("a wish for HTTP/2", post(LENGTH, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c")),
    ("a wish for a web socket", post(LENGTH, b"Connection: Upgrade", b"Upgrade: websocket")),
    ("conditions", post(LENGTH, b"If-None-Match: *", b"If-Match: x", b"Range: bytes=0-1")),
    ("cookies", post(LENGTH, b"Cookie: =;;a;b=c=d;\xff")),
    ("an unknown expectation", post(LENGTH, b"Expect: the unexpected")),
    ("another method in a header", post(LENGTH, b"X-HTTP-Method-Override: DELETE")),
    ("another address in a header", post(LENGTH, b"X-Original-URL: /metrics")),
    ("a length with zeros", post(b"Content-Length: 0000000039")),
]  # fmt: skip


@pytest.mark.parametrize("said", [said for _, said in UNUSUAL], ids=[name for name, _ in UNUSUAL])
@pytest_twisted.ensureDeferred
async def test_what_is_only_unusual_is_taken(shared: World, said: bytes) -> None:
    connection = await Connection.to(shared)
    for _ in range(2):
        connection.say(said.replace(b"KEY", shared.key.encode()))
        answer = await connection.answer()
        assert answer.status == 201, answer.body
        assert answer.data["hostname"] == "smuggled"
        assert answer.headers["content-type"] == "application/json"
        assert "content-encoding" not in answer.headers
    connection.leave()
    await is_unharmed(shared)


@pytest_twisted.ensureDeferred
async def test_http_1_0_is_answered_and_closed(shared: World) -> None:
    connection = await Connection.to(shared)
    good = post(LENGTH).replace(b"HTTP/1.1", b"HTTP/1.0")
    connection.say(good.replace(b"KEY", shared.key.encode()))
    assert (await connection.answer()).status == 201
    assert await connection.the_end() == b""


@pytest_twisted.ensureDeferred
async def test_whoever_asks_for_the_connection_to_close_gets_it_closed(shared: World) -> None:
    connection = await Connection.to(shared)
    connection.say(post(LENGTH, b"Connection: close").replace(b"KEY", shared.key.encode()))
    answer = await connection.answer()
    assert (answer.status, answer.headers["connection"]) == (201, "close")
    assert await connection.the_end() == b""


@pytest_twisted.ensureDeferred
async def test_an_expectation_of_100_continue_is_met(shared: World) -> None:
    """Curl expects it for large bodies, and waits a second if nothing comes."""
    connection = await Connection.to(shared)
    whole = post(LENGTH, b"Expect: 100-continue").replace(b"KEY", shared.key.encode())
    connection.say(whole.removesuffix(NOTE))
    await until(lambda: connection.heard, "the word to go on")
    assert connection.heard == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.heard = b""
    connection.say(NOTE)
    assert (await connection.answer()).status == 201
    connection.leave()


@pytest_twisted.ensureDeferred
async def test_pipelined_requests_are_answered_in_their_order(shared: World) -> None:
    hosts = [a_host() for _ in range(30)]
    connection = await Connection.to(shared)
    for host in hosts:
        body = a_notification(hostname=host)
        connection.say(request("POST", SEND, body, key=shared.key), request("GET", "/nowhere"))
    for host in hosts:
        assert (await connection.answer()).data["hostname"] == host
        assert is_error(await connection.answer(), 404)
    connection.leave()


@pytest_twisted.ensureDeferred
async def test_a_body_that_is_longer_than_its_length_is_another_request(shared: World) -> None:
    before = stored(shared)
    connection = await Connection.to(shared)
    body = NOTE + b"\r\nthis is no request\r\n"
    connection.say(post(LENGTH, body=body).replace(b"KEY", shared.key.encode()))
    assert (await connection.answer()).status == 201
    assert is_error(await connection.answer(), 400)
    await connection.the_end()
    assert stored(shared) == before + 1


@pytest_twisted.ensureDeferred
async def test_head_has_headers_and_no_body(shared: World) -> None:
    connection = await Connection.to(shared)
    for there, status in (("/healthz", b"200"), ("/nowhere", b"404"), (SEND, b"405")):
        connection.say(request("HEAD", there))
        await until(lambda: b"\r\n\r\n" in connection.heard, "an answer")
        headers, _, rest = connection.heard.partition(b"\r\n\r\n")
        assert headers.split()[1] == status
        assert b"application/json" in headers
        assert rest == b""
        connection.heard = b""
    connection.leave()


# ---------------------------------------------------------------- clients that leave, or are slow


@pytest_twisted.ensureDeferred
async def test_clients_that_leave_in_the_middle_harm_nobody(shared: World) -> None:
    """Wherever in the request: before it, in its head, in its body, before the answer."""
    whole = post(LENGTH).replace(b"KEY", shared.key.encode())
    for cut in (0, 1, 10, 60, len(whole) - len(NOTE), len(whole) - 1, len(whole)):
        connections = [await Connection.to(shared) for _ in range(5)]
        for connection in connections:
            connection.say(whole[:cut])
        for connection in connections:
            connection.leave()
    chunked = await Connection.to(shared)
    chunked.say(post(CHUNKED, body=WHOLE[:20]).replace(b"KEY", shared.key.encode()))
    chunked.leave()
    pipelining = await Connection.to(shared)
    pipelining.say(whole * 50)
    pipelining.leave()
    await is_unharmed(shared)
    await until(lambda: not shared.daemons[0].application.under_way, "the last to be answered")


@pytest_twisted.ensureDeferred
async def test_two_hundred_silent_connections_harm_nobody(shared: World) -> None:
    connections = [await Connection.to(shared) for _ in range(200)]
    for connection in connections[:100]:
        connection.say(b"POST ")
    await is_unharmed(shared)
    for connection in connections:
        connection.leave()


class Wire:
    """One connection to an application whose clock the test holds."""

    def __init__(self, handle: Callable[[Request], Any]) -> None:
        self.clock = Clock()
        endpoint = Endpoint("POST", "/api/servers/v2/x", handle)
        site: Any = Application(self.clock, [endpoint]).site()
        self._channel = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self._transport = StringTransport()
        self._channel.makeConnection(self._transport)

    def say(self, data: bytes) -> None:
        """Have the other side hear something."""
        self._channel.dataReceived(data)

    @property
    def heard(self) -> bytes:
        """What was answered until now."""
        return bytes(self._transport.value())

    @property
    def answer(self) -> Any:
        """The body of the one answer."""
        return json.loads(self.heard.partition(b"\r\n\r\n")[2])

    @property
    def closing(self) -> bool:
        """Whether our side is closing the connection."""
        return bool(self._transport.disconnecting)


async def thanks(request: Request) -> Answer:
    """Take anything."""
    return Answer(200, b"{}")


REQUEST = b"POST /api/servers/v2/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + b"y" * 100


def test_a_connection_that_says_nothing_is_closed_after_a_minute() -> None:
    wire = Wire(thanks)
    wire.clock.pump([1.0] * 59)
    assert not wire.closing
    wire.clock.advance(1)
    assert wire.closing
    assert wire.heard == b""


@pytest.mark.parametrize("start", [50, len(REQUEST) - 90], ids=["head", "body"])
def test_a_request_of_one_byte_in_a_second_gets_408_after_a_minute(start: int) -> None:
    """No byte puts it off: or a few hundred such clients would hold every connection for ever."""
    wire = Wire(thanks)
    wire.say(REQUEST[:start])
    for byte in REQUEST[start:]:
        if wire.closing:
            break
        wire.clock.advance(1)
        wire.say(bytes([byte]))
    assert wire.clock.seconds() == IDLE
    assert wire.answer["success"] is False
    assert wire.answer["code"] == 408
    assert wire.heard.startswith(b"HTTP/1.1 408 Request Time-out\r\n")


def test_each_request_has_a_minute_of_its_own() -> None:
    wire = Wire(thanks)
    for _ in range(5):
        wire.clock.advance(55)
        wire.say(REQUEST)
        assert not wire.closing
    assert wire.heard.count(b"HTTP/1.1 200 OK") == 5
    wire.clock.advance(60)
    assert wire.closing


def test_a_handler_that_hangs_is_503_after_five_seconds() -> None:
    async def hang(request: Request) -> Answer:
        await Deferred()
        raise AssertionError("nothing wakes it")

    wire = Wire(hang)
    wire.say(REQUEST)
    wire.clock.advance(4.9)
    assert wire.heard == b""
    wire.clock.advance(0.1)
    assert wire.heard.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Retry-After: " in wire.heard
    assert wire.answer["code"] == 503
    assert not wire.closing


def test_what_nobody_foresaw_is_500_with_an_incident_and_without_a_traceback(
    logged: list[LogEvent],
) -> None:
    async def fail(request: Request) -> Answer:
        raise ZeroDivisionError("a secret of the house")

    wire = Wire(fail)
    wire.say(REQUEST)
    assert wire.heard.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert wire.answer["code"] == 500
    for word in (b"secret", b"ZeroDivision", b"Traceback", b"<html"):
        assert word not in wire.heard
    (event,) = [event for event in logged if "log_failure" in event]
    assert event["log_failure"].check(ZeroDivisionError)
    assert event["incident"] in wire.answer["message"]
    logged.remove(event)


# ---------------------------------------------------------------- anything at all

ANY_TEXT = st.text(st.characters(), max_size=20)  # lone surrogates and NUL included
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT | st.sampled_from(["OK", "$HOSTNAME$", "2026-11-23 20:32:24 +1300", "CUSTOM", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
FIELDS = [
    "hostname", "state", "notif_type", "trouble_code", "display_name", "service_name", "output",
    "timestamp", "event", "author", "comment", "number", "late", "apikey", "notificationtype",
    "troublecode", "displayname", "servicename", "icingadatetime",
]  # fmt: skip
ANY_OBJECT = st.dictionaries(st.sampled_from(FIELDS), ANY_JSON) | st.dictionaries(
    st.sampled_from(FIELDS) | ANY_TEXT, ANY_JSON
)
ANY_KEY = st.none() | st.sampled_from(["a", "b", "x" * 256])


@pytest_twisted.ensureDeferred
async def test_any_json_object_with_a_valid_key_is_taken_or_refused_with_an_envelope(
    shared: World,
) -> None:
    """201, 400, 409 or 413, and never 500; Hypothesis waits in a thread of its own."""

    def ask(path: str, body: object, idempotency: str | None) -> Response:
        headers = {} if idempotency is None else {"Idempotency-Key": idempotency}

        def begin() -> Deferred[Response]:
            return Deferred.fromCoroutine(shared.post(path, body, headers=headers))

        call: Any = blockingCallFromThread
        answer: Response = call(reactor, begin)
        return answer

    @settings(
        max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(body=ANY_OBJECT, idempotency=ANY_KEY, v1=st.booleans())
    def holds(body: dict[str, object], idempotency: str | None, v1: bool) -> None:
        if v1:
            body = body | {"apikey": shared.key}
        response = ask("/api/v1/add/notification" if v1 else SEND, body, idempotency)
        if response.status == 201:
            assert "id" in (response.json if v1 else response.data)
        else:
            assert response.status in (400, 409, 413), response.body
            assert is_error(response, response.status, v1=v1)

    await deferToThread(holds)
    await is_unharmed(shared)
