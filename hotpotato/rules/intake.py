"""What comes in from monitoring servers: made readable, cleaned, and understood.

Monitoring programs do not repeat a failed notification command, so a page is never refused for a
detail: whatever can be taken is taken, and what had to be changed is said in a remark. Refused
is only a notification that names no host or no state.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeGuard
from zoneinfo import ZoneInfo

import msgspec

from hotpotato.rules import times
from hotpotato.vocabulary import Effect, Event, Fields

_V1_NAMES = {
    "notificationtype": "notif_type",
    "troublecode": "trouble_code",
    "displayname": "display_name",
    "servicename": "service_name",
    "icingadatetime": "timestamp",
}
_MOST_BYTES = {"output": 16_384, "hostname": 1_024, "service_name": 1_024}
_MOST_BYTES_ELSE = 4_096
_LEAST_MOST_BYTES = min(_MOST_BYTES_ELSE, *_MOST_BYTES.values())
_TEXTS = (
    "hostname",
    "state",
    "notif_type",
    "event",
    "service_name",
    "display_name",
    "trouble_code",
    "output",
    "author",
    "comment",
    "number",
    "late",
)
_LAID_OUT = ("output", "comment")
_REMARK_LENGTH = 40
_EXCERPT_LENGTH = 200
_EXCERPT_WINDOW = 4_096

# `$SERVICEDESC$`, `$_HOSTTROUBLE$` and `$host.name$`; nothing that a person would call a name.
_MACRO = re.compile(r"\$[A-Za-z_][^\s$]{0,254}\$")
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_LINE_BREAK = re.compile(r"(?<!\\)((?:\\\\)*)\\n")
_NOT_LETTERS = re.compile(r"[\s_-]+")
_KEY_AND_VALUE = re.compile(
    r"""
    (?P<name> \b (?: api[ _-]?key | bearer ) \b | %22 api[_-]?key )
    (?P<between> [\\]*+ ["'\u2018\u2019\u201c\u201d]? (?: [\s:=>\\] | %[0-9A-F]{2} )*+ )
    (?P<value>
        ["'\u2018\u2019\u201c\u201d] [^"'\u2018\u2019\u201c\u201d\\]*
        | [^\s"'\u2018\u2019\u201c\u201d\\,;&{}<%]+
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)
_VALUE_START = " \"'\u2018\u2019\u201c\u201d"
_VALUE_END = re.compile(r"[\s,;&}]")

_decoder = msgspec.json.Decoder(float_hook=str)


class Unreadable(ValueError):
    """A body that is no JSON object; its text is a sentence for whoever sent it."""


class Cleaned(msgspec.Struct, frozen=True, kw_only=True):
    """What cleaning made of a request.

    Either `fields` or `refused`, a sentence saying what is missing, is there. `remarks` are the
    sentences about details that were changed or not understood, in the order of the fields.
    """

    fields: Fields | None = None
    remarks: tuple[str, ...] = ()
    refused: str | None = None


def decode_object(body: bytes) -> dict[str, object]:
    """The JSON object in a request's body; raises `Unreadable`, and nothing else, if it is none.

    JSON is taken strictly (RFC 8259, UTF-8, a byte order mark is passed over), with two
    allowances that the grammar gives: escapes of lone surrogates stay as they are for cleaning
    to replace, and numbers may have any size. Numbers with a fraction or an exponent, and whole
    numbers beyond what Python likes to convert, are text as they were written: a trouble code
    1.10 is not 1.1. Of equal keys the last wins.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        decoded = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        decoded = _decode_patiently(body)
    if not isinstance(decoded, dict):
        raise Unreadable("the body is JSON, but not an object")
    return decoded


def _decode_patiently(body: bytes) -> object:
    """As the fast decoder does, but with every number and lone surrogates, and clear refusals."""
    if not body.strip():
        raise Unreadable("the body is empty, a JSON object is expected")
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_int=_whole_number,
            parse_float=str,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise Unreadable(f"the body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Unreadable(f"the body is not JSON: {error.msg} ({where})") from None
    except RecursionError:
        raise Unreadable("the body is nested too deeply") from None


def _whole_number(digits: str) -> int | str:
    most_digits = 100
    return int(digits) if len(digits) <= most_digits else digits


def _refuse_constant(name: str) -> object:
    raise Unreadable(f"the body is not JSON: {name} is no JSON number")


def v1_names(raw: Mapping[str, object]) -> dict[str, object]:
    """The fields of a V1 request under their V2 names.

    V1's own spelling wins over V2's where both are there, unless it is absent (null, empty, an
    unreplaced macro). The other names pass through, but for `apikey`, which is no field.
    """
    renamed = {name: value for name, value in raw.items() if name != "apikey"}
    for old, new in _V1_NAMES.items():
        value = renamed.pop(old, None)
        if not _is_absent(value):
            renamed[new] = value
    return renamed


def clean(raw: Mapping[str, object], zone: ZoneInfo, *, month_first: bool | None = None) -> Cleaned:
    """A notification's fields, cleaned and understood; `raw` has the V2 names. Never raises.

    - Absent are null, whitespace, empty lists and objects, and a value that is one unreplaced
      macro. Numbers and booleans become text, lists and objects their JSON.
    - CR LF becomes a newline; other control characters but newline and tab, and lone surrogates,
      become U+FFFD. Space around a text is dropped, except in `output` and `comment`, which stay
      as they were laid out.
    - Texts are cut, between characters, at 16,384 bytes of UTF-8 (`output`), 1,024 (`hostname`,
      `service_name`) or 4,096 (the others).
    - `notif_type` decides whether it is about a service; without it, or with another word,
      whether there is a `service_name`. A contradiction is remarked, and nothing is dropped for
      it: an alert is that of its hostname and service_name, whatever notif_type says.
    - An event's name is understood in any case; where `event` has none, `notif_type` may.
    - `late` is true for true and 1, also as text.
    - `timestamp` is read by `times.understand`, whose `zone` and `month_first` these are.
    """
    remarks: list[str] = []
    texts = {
        name: value if _is_clean(value := raw.get(name)) else _text(name, value, remarks)
        for name in _TEXTS
    }
    hostname, state = texts["hostname"], texts["state"]
    if hostname is None or state is None:
        missing = [name for name in ("hostname", "state") if texts[name] is None]
        verb = "is" if len(missing) == 1 else "are"
        refused = f"{' and '.join(missing)} {verb} missing"
        return Cleaned(remarks=tuple(remarks), refused=refused)
    event = _event(texts["event"], texts["notif_type"], remarks)
    is_service = _is_service(texts["notif_type"], texts["service_name"], remarks)
    timestamp = raw.get("timestamp")
    moment = times.understand(timestamp, zone, month_first=month_first)
    if moment is None and not _is_absent(timestamp):
        remarks.append("timestamp not understood, arrival time used")
    fields = Fields(
        hostname=hostname,
        state=state,
        is_service=is_service,
        event=event,
        service_name=texts["service_name"],
        display_name=texts["display_name"],
        trouble_code=texts["trouble_code"],
        output=texts["output"],
        timestamp=moment,
        author=texts["author"],
        comment=texts["comment"],
        number=texts["number"],
        late=_is_late(texts["late"], remarks),
    )
    return Cleaned(fields=fields, remarks=tuple(remarks))


def shown(output: str) -> str:
    r"""A plugin's output with Nagios' literal `\n` as the line break that it stands for.

    A backslash that is itself escaped is no line break: `\\nas\share` stays a path.
    """
    return _LINE_BREAK.sub("\\1\n", output)


def effect(event: Event | None, state: str, late: bool = False) -> Effect:
    """What a notification does: the table of the published interface, cell by cell.

    Whoever marks a notification `late` says that a newer state of the same thing has been told
    already, so it is recorded and does nothing.
    """
    recovery = is_recovery(state)
    match event:
        case _ if late:
            return Effect.RECORD
        case None | Event.PROBLEM | Event.RECOVERY:
            return Effect.RESOLVE if recovery else Effect.OPEN
        case Event.CUSTOM:
            return Effect.ANNOUNCE
        case Event.ACKNOWLEDGEMENT:
            return Effect.RECORD if recovery else Effect.ACKNOWLEDGE
        case Event.FLAPPINGSTART | Event.FLAPPINGEND | Event.FLAPPINGSTOP | Event.FLAPPINGDISABLED:
            return Effect.RESOLVE if recovery else Effect.RECORD
        case _:
            return Effect.RECORD


def is_recovery(state: str) -> bool:
    """Whether a state, in any case, is one of the two that mean "well again"."""
    return state.upper() in ("OK", "UP")


def content_digest(fields: Fields) -> bytes:
    """32 bytes that stand for what a notification says, however its request was written.

    Equal exactly for equal fields. Absent fields leave no trace, so a field that a later version
    adds does not change the digests of requests without it.
    """
    said: dict[str, object] = {
        name: value for name, value in msgspec.structs.asdict(fields).items() if value
    }
    if fields.timestamp is not None:
        said["timestamp"] = times.outgoing(fields.timestamp)
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).digest()


def alert_digest(server_id: int, hostname: str, service_name: str | None) -> bytes:
    """32 bytes that stand for what an alert is about, different wherever any part is.

    Names count exactly as cleaning left them, upper and lower case apart. None is the host
    itself, and no service has that digest.
    """
    host = hostname.encode("utf-8", "surrogatepass")
    service = "host" if service_name is None else f"service:{service_name}"
    start = f"{server_id}:{len(host)}:".encode()
    return hashlib.sha256(start + host + service.encode("utf-8", "surrogatepass")).digest()


def idempotency_digest(key: str) -> bytes:
    """32 bytes, which are remembered of an Idempotency-Key."""
    return hashlib.sha256(key.encode()).digest()


def find_v1_key(body: bytes) -> str | None:
    """The V1 key in a body too broken to decode, or None.

    Whoever holds a server's key may say that the server sends unreadable notifications, so the
    search is generous about quotes, escapes and encodings around the key.
    """
    for match in _KEY_AND_VALUE.finditer(_as_far_as_readable(body)):
        value = _VALUE_END.split(match["value"].lstrip(_VALUE_START))[0]
        if value and any(sign in match["between"] for sign in ":=>%"):
            return value
    return None


def excerpt(body: bytes, key: str | None = None) -> str:
    """The first 200 characters of an unreadable body, safe to show, without anybody's key.

    `key` is the one that came with it, wherever in the body it may be repeated.
    """
    text = _as_far_as_readable(body[:_EXCERPT_WINDOW])
    if key:
        text = text.replace(key, "***")
    return safe(_KEY_AND_VALUE.sub(r"\g<name>\g<between>***", text))[:_EXCERPT_LENGTH]


def _as_far_as_readable(body: bytes) -> str:
    """The text of any bytes; without NULs UTF-16 becomes readable too, and so does a key in it."""
    return body.replace(b"\0", b"").decode("utf-8", "replace")


def _text(name: str, value: object, remarks: list[str]) -> str | None:
    """One text field, cleaned; None if it is absent."""
    if _is_absent(value):
        return None
    text = value if isinstance(value, str) else _as_text(name, value, remarks)
    if name not in _LAID_OUT:
        text = text.strip()
    text = safe(text)
    most = _MOST_BYTES.get(name, _MOST_BYTES_ELSE)
    coded = text.encode("utf-8")
    if len(coded) > most:
        text = coded[:most].decode("utf-8", "ignore")
        if name not in _LAID_OUT:
            text = text.rstrip()
        remarks.append(f"{name} cut to {most} bytes")
    return None if _is_absent(text) else text


def _is_clean(value: object) -> TypeGuard[str | None]:
    """Whether this is nothing, or a short text of printable ASCII that cleaning would leave as it
    is.

    Nearly all of what comes is, and finding that out costs a fraction of the whole cleaning.
    """
    return value is None or (
        isinstance(value, str)
        and 0 < len(value) <= _LEAST_MOST_BYTES
        and value.isascii()
        and value.isprintable()
        and value[0] not in " $"
        and value[-1] != " "
    )


def _is_absent(value: object) -> bool:
    if isinstance(value, str):
        text = value.strip()
        return not text or (text[0] == "$" and _MACRO.fullmatch(text) is not None)
    return value in (None, [], {})


def safe(text: str) -> str:
    """The text without what PostgreSQL or a terminal can't take: that becomes U+FFFD."""
    if text.isprintable():
        return text
    return _UNSAFE.sub("\ufffd", text.replace("\r\n", "\n"))


def _as_text(name: str, value: object, remarks: list[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return format(Decimal(value), "f")
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    remarks.append(f"{name} was not text, kept as JSON")
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    except (ValueError, TypeError, RecursionError):
        return "(unreadable)"


def _event(event: str | None, notif_type: str | None, remarks: list[str]) -> Event | None:
    named, fallback = _event_named(event), _event_named(notif_type)
    if event is not None and named is None:
        instead = f"{fallback} of notif_type used" if fallback else "judged by state"
        remarks.append(f"event {event[:_REMARK_LENGTH]} not understood, {instead}")
    return named or fallback


@functools.lru_cache(256)
def _event_named(text: str | None) -> Event | None:
    if not text:
        return None
    known = Event.__members__
    return known.get(text) or known.get(_NOT_LETTERS.sub("", text).upper())


def _is_service(notif_type: str | None, service_name: str | None, remarks: list[str]) -> bool:
    named = service_name is not None
    match (notif_type or "").lower(), named:
        case "service", False:
            remarks.append("notif_type says service, but service_name is missing")
            return True
        case "host", True:
            remarks.append("notif_type says host, but there is a service_name")
            return False
        case "service" | "host" | "", _:
            return named
    if notif_type is not None and _event_named(notif_type) is None:
        remarks.append(
            f"notif_type {notif_type[:_REMARK_LENGTH]} not understood, judged by service_name"
        )
    return named


def _is_late(late: str | None, remarks: list[str]) -> bool:
    if late is None:
        return False
    word = late.lower()
    if word not in ("true", "1", "false", "0"):
        remarks.append(f"late {word[:_REMARK_LENGTH]} not understood, taken as false")
    return word in ("true", "1")
