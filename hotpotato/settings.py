"""The TOML file (CONTRACT section 2) as frozen, checked settings.

Whatever is wrong with it is one sentence: the file, the key, what was expected.
"""

from __future__ import annotations

import math
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

DEFAULT_PATH = Path("/etc/hotpotato/hotpotato.toml")

LEAST_DAYS, MOST_DAYS = 8, 36_500
"""What may be said in [retention]."""

S = TypeVar("S", bound=msgspec.Struct)


class SettingsError(Exception):
    """The configuration can't be used: the text says which file, which key, what was expected."""


class Api(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where requests come in: Twisted endpoint strings."""

    listen: tuple[str, ...] = ("tcp:8080:interface=127.0.0.1",)


class Database(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which PostgreSQL: a libpq URI, or a directory for one that Hot Potato runs itself.

    `password` saves having it in the URI. `connections` is the size of the pool.
    """

    url: str | None = None
    embedded: str | None = None
    password: str | None = None
    connections: int = 8


class Watchdog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`interval`: seconds between looks at the heartbeats.

    `undelivered`: seconds in which no provider takes anything, though something is due, until
    everybody is told.
    """

    interval: float = 5.0
    undelivered: float = 300.0


class DeadMan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to tell again and again that all is well.

    `url`: what to ask for, None for nobody; `method`: how. `interval`: seconds between pings,
    `within`: seconds that one may take.
    """

    url: str | None = None
    method: Literal["GET", "POST", "HEAD"] = "GET"
    interval: float = 60.0
    within: float = 10.0


class Canary(msgspec.Struct, frozen=True):
    """A message through one sender to a number that answers, `to`, each `interval` seconds.

    It has to come back `within` so many: by a reply from there with `answer` in it, or without one
    by its receipt.
    """

    to: str
    interval: float
    within: float
    answer: str | None


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many days what is over is kept; what is open or still to be sent stays in any case.

    `history` is alerts and notifications with all that became of them, and who was on call;
    `tokens` is how long those that ran out or were revoked are still listed.
    """

    history: int = 400
    replies: int = 400
    heartbeats: int = 30
    tokens: int = 30


class SenderSection(msgspec.Struct, frozen=True):
    """One `[senders.NAME]`: Hot Potato's own keys, and the plugin's as they stand.

    `concurrency` is how many attempts run at once, `deadline` the seconds one may take, `segments`
    the longest message in SMS segments.
    """

    name: str
    plugin: str
    options: Mapping[str, Any]
    concurrency: int = 10
    deadline: float = 20.0
    segments: int = 2
    canary: Canary | None = None


class Settings(msgspec.Struct, frozen=True):
    """The whole file. `path` is for messages."""

    path: Path
    api: Api
    database: Database
    watchdog: Watchdog
    deadman: DeadMan
    retention: Retention
    senders: tuple[SenderSection, ...]


def load(path: Path) -> Settings:
    """Read and check the file.

    Raises SettingsError, also for an unreadable file. A sender's own keys are checked later, by
    `sender_options`, when its plugin is known.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from error
    return from_mapping(raw, path)


def from_mapping(raw: Mapping[str, Any], path: Path) -> Settings:
    """Check what `tomllib` read from `path`."""
    known = {"api", "database", "watchdog", "deadman", "retention", "senders"}
    for key in raw:
        if key not in known:
            raise SettingsError(f"{path}: {key}: unknown section, expected {_listed(known)}")
    database = section(path, "database", raw.get("database", {}), Database)
    if (database.url is None) == (database.embedded is None):
        raise SettingsError(
            f"{path}: database: expected either url (a PostgreSQL URI) or embedded (a directory)"
        )
    at_least(path, "database.connections", database.connections, 2)
    watchdog = section(path, "watchdog", raw.get("watchdog", {}), Watchdog)
    at_least(path, "watchdog.interval", watchdog.interval, 0.1)
    at_least(path, "watchdog.undelivered", watchdog.undelivered, 60)
    api = section(path, "api", raw.get("api", {}), Api)
    if not api.listen:
        raise SettingsError(f"{path}: api.listen: expected at least one endpoint")
    return Settings(
        path=path,
        api=api,
        database=database,
        watchdog=watchdog,
        deadman=_deadman(path, raw.get("deadman", {})),
        retention=_retention(path, raw.get("retention", {})),
        senders=_senders(path, raw.get("senders", {})),
    )


def section(path: Path, name: str, raw: object, kind: type[S]) -> S:
    """Convert one section to its Struct, with every field X also taken from a file named X_file.

    Raises SettingsError for an unknown key, a wrong type, a missing key, and a file that can't be
    read or that everybody on this host can.
    """
    if not isinstance(raw, Mapping):
        raise SettingsError(f"{path}: {name}: expected a section, [{name}]")
    values = dict(raw)
    fields = {field.encode_name for field in msgspec.structs.fields(kind)}
    for key in list(values):
        plain = key.removesuffix("_file")
        if key not in fields and key.endswith("_file") and plain in fields:
            if plain in values:
                raise SettingsError(f"{path}: {name}.{key}: expected only one of {plain} and {key}")
            values[plain] = _secret(path, f"{name}.{key}", values.pop(key))
    for key in values:
        if key not in fields:
            raise SettingsError(f"{path}: {name}.{key}: unknown key, expected {_listed(fields)}")
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path}: {_plain(name, error)}") from error


def at_least(path: Path, key: str, value: float, least: float) -> None:
    """Raise SettingsError for a number below what makes sense, for infinity and for NaN."""
    if not least <= value < math.inf:
        raise SettingsError(f"{path}: {key}: expected at least {least}, not {value}")


def _retention(path: Path, raw: object) -> Retention:
    retention = section(path, "retention", raw, Retention)
    for key, days in msgspec.structs.asdict(retention).items():
        if not LEAST_DAYS <= days <= MOST_DAYS:
            raise SettingsError(
                f"{path}: retention.{key}: expected {LEAST_DAYS} to {MOST_DAYS} days, not {days}:"
                " codes and Idempotency-Keys are good for 7"
            )
    return retention


def _deadman(path: Path, raw: object) -> DeadMan:
    deadman = section(path, "deadman", raw, DeadMan)
    if deadman.url is None and raw:
        raise SettingsError(f"{path}: deadman.url: missing, expected the URL to ask for")
    if deadman.url is not None and not deadman.url.startswith(("http://", "https://")):
        raise SettingsError(f"{path}: deadman.url: expected http://… or https://…")
    at_least(path, "deadman.interval", deadman.interval, 1)
    at_least(path, "deadman.within", deadman.within, 0.1)
    return deadman


def _senders(path: Path, raw: object) -> tuple[SenderSection, ...]:
    if not isinstance(raw, Mapping):
        raise SettingsError(f"{path}: senders: expected sections, [senders.NAME]")
    return tuple(_sender(path, str(name), options) for name, options in raw.items())


class _Own(msgspec.Struct, frozen=True):
    plugin: str
    concurrency: int = 10
    deadline: float = 20.0
    segments: int = 2
    canary_to: str | None = None
    canary_interval: float = 3600.0
    canary_within: float = 60.0
    canary_answer: str | None = None


def _sender(path: Path, name: str, raw: object) -> SenderSection:
    where = f"senders.{name}"
    if not isinstance(raw, Mapping):
        raise SettingsError(f"{path}: {where}: expected a section, [{where}]")
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise SettingsError(
            f"{path}: {where}: expected a name of letters, digits, - and _: it is part of an URL"
        )
    own = {field.encode_name for field in msgspec.structs.fields(_Own)}
    ours = section(path, where, {"plugin": name} | {k: v for k, v in raw.items() if k in own}, _Own)
    at_least(path, f"{where}.concurrency", ours.concurrency, 1)
    at_least(path, f"{where}.deadline", ours.deadline, 0.1)
    if not 1 <= ours.segments <= 10:
        raise SettingsError(f"{path}: {where}.segments: expected 1 to 10, not {ours.segments}")
    return SenderSection(
        name=name,
        plugin=ours.plugin,
        options={k: v for k, v in raw.items() if k not in own},
        concurrency=ours.concurrency,
        deadline=ours.deadline,
        segments=ours.segments,
        canary=_canary(path, where, ours),
    )


_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")


def _canary(path: Path, where: str, ours: _Own) -> Canary | None:
    at_least(path, f"{where}.canary_within", ours.canary_within, 5)
    at_least(path, f"{where}.canary_interval", ours.canary_interval, ours.canary_within)
    if ours.canary_to is None:
        return None
    if not _NUMBER.fullmatch(ours.canary_to):
        raise SettingsError(f"{path}: {where}.canary_to: expected a number like +64211234567")
    return Canary(
        to=ours.canary_to,
        interval=ours.canary_interval,
        within=ours.canary_within,
        answer=ours.canary_answer or None,
    )


def _secret(path: Path, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise SettingsError(f"{path}: {key}: expected the path of a file")
    try:
        secret = Path(value).read_text(encoding="utf-8").strip("\r\n")
        exposed = anybody_reads(Path(value))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"{path}: {key}: {value} cannot be read: {reason}") from error
    if exposed:
        raise SettingsError(f"{path}: {key}: {value} can be read by everybody here: chmod o-r")
    if not secret:
        raise SettingsError(f"{path}: {key}: {value} is empty, expected a secret in it")
    return secret


def anybody_reads(file: Path) -> bool:
    """Whether every account of this host can read a file, by its mode and its directories'."""
    place = file.resolve()
    return bool(place.stat().st_mode & stat.S_IROTH) and all(
        parent.stat().st_mode & stat.S_IXOTH for parent in place.parents
    )


_MISSING = re.compile(r"Object missing required field `(.+)`")


def _plain(name: str, error: msgspec.ValidationError) -> str:
    """msgspec's `Expected `int`, got `str` - at `$.missed`` with the whole key first, as ours."""
    text, _, place = str(error).partition(" - at `$")
    key = name + place.rstrip("`")
    if missing := _MISSING.fullmatch(text):
        return f"{key}.{missing[1]}: missing, expected a value"
    return f"{key}: {text[:1].lower()}{text[1:]}"


def _listed(names: set[str]) -> str:
    return "one of " + ", ".join(sorted(names)) if names else "no keys"
