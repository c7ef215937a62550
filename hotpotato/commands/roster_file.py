"""A roster as a TOML file: read with every value checked, and written so that it reads back."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hotpotato.commands.output import Refused, listed
from hotpotato.commands.values import NAME, PHONE_NUMBER, TIME_ZONE
from hotpotato.rules.roster import (
    SECTIONS,
    Layer,
    Person,
    Policy,
    Roster,
    Schedule,
    Server,
    Tenant,
)

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")

_CLOCK = re.compile(r"\d\d:\d\d")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LENGTHS = ("acknowledged_for", "undelivered_after", "every", "within", "after", "again")
"""The keys of a policy that are lengths of time."""
_LENGTH = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?")
_SECONDS = (86_400, 3600, 60, 1)
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<key>.*)`)?$", re.DOTALL)


def read(path: Path) -> Roster:
    """The roster in a file. Raises Refused with the file, the key, and what was expected."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: this is no TOML: {error}") from error
    return _Reader(path).roster(raw)


def write(roster: Roster) -> str:
    """The roster as TOML."""
    return "\n".join(_lines(roster)) + "\n"


class _Reader:
    """Checks part after part, and knows where it is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def roster(self, raw: Mapping[str, Any]) -> Roster:
        self._only(raw, "", ("tenants",))
        return Roster(self._all(raw, "", "tenants", self._tenant))

    def refuse(self, key: str, why: str) -> Refused:
        """What is wrong in the file, and where."""
        return Refused(f"{self._path}: {key}: {why}")

    def _tenant(self, raw: Any, key: str) -> Tenant:
        if not isinstance(raw, Mapping):
            raise self.refuse(key, "expected a table")
        self._only(raw, key, ("timezone", *SECTIONS.values(), "policy"))
        if "timezone" not in raw:
            raise self.refuse(f"{key}.timezone", "is missing: expected one like Pacific/Auckland")
        return Tenant(
            timezone=self._checked(TIME_ZONE, raw["timezone"], f"{key}.timezone"),
            people=self._all(raw, key, "people", self._person),
            schedules=self._all(raw, key, "schedules", self._schedule),
            servers=self._all(raw, key, "servers", self._server),
            policy=self._policy(raw["policy"], f"{key}.policy") if "policy" in raw else None,
        )

    def _person(self, raw: Any, key: str) -> Person:
        person = self._zoned(self._struct(raw, key, Person), key)
        contacts = [
            msgspec.structs.replace(
                contact,
                sms=self._checked(PHONE_NUMBER, contact.sms, f"{key}.contacts[{number}].sms"),
            )
            for number, contact in enumerate(person.contacts)
        ]
        return self._with(person, key, contacts=tuple(contacts))

    def _schedule(self, raw: Any, key: str) -> Schedule:
        schedule = self._zoned(self._struct(_with_seconds(raw), key, Schedule), key)
        layers = []
        for number, layer in enumerate(schedule.layers):
            place = f"{key}.layers[{number}]"
            layers.append(
                msgspec.structs.replace(
                    layer,
                    name=self._name(layer.name, f"{place}.name"),
                    people=tuple(self._name(name, f"{place}.people") for name in layer.people),
                )
            )
        return self._with(schedule, key, layers=tuple(layers))

    def _server(self, raw: Any, key: str) -> Server:
        return self._zoned(self._struct(raw, key, Server), key)

    def _policy(self, raw: Any, key: str) -> Policy:
        policy = self._struct(_with_seconds(self._timed(raw, key)), key, Policy)
        steps = [
            msgspec.structs.replace(
                step,
                **{
                    name: self._name(value, f"{key}.steps[{number}].{name}")
                    for name in ("schedule", "person")
                    if (value := getattr(step, name)) is not None
                },
            )
            for number, step in enumerate(policy.steps)
        ]
        return msgspec.structs.replace(policy, steps=tuple(steps))

    def _timed(self, raw: Any, key: str) -> Any:
        """The same with "1h30m" as seconds, where a length of time is due."""
        if isinstance(raw, Mapping):
            return {
                name: self._length(value, f"{key}.{name}")
                if name in _LENGTHS
                else self._timed(value, f"{key}.{name}")
                for name, value in raw.items()
            }
        if isinstance(raw, list):
            return [self._timed(each, f"{key}[{number}]") for number, each in enumerate(raw)]
        return raw

    def _length(self, value: Any, key: str) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        found = _LENGTH.fullmatch(value) if isinstance(value, str) and value else None
        if found is None:
            like = 'like "90s", "10m" or "1h30m", or seconds'
            raise self.refuse(key, f"expected a length of time {like}, not {value!a}")
        parts = zip(found.groups(default="0"), _SECONDS, strict=True)
        return float(sum(int(number) * size for number, size in parts))

    def _with(self, thing: S, key: str, **changed: tuple[Any, ...]) -> S:
        """The same with something in its normal form, in which two of it may be the same."""
        try:
            return msgspec.structs.replace(thing, **changed)
        except ValueError as error:
            (name,) = changed
            raise self.refuse(f"{key}.{name}", str(error)) from error

    def _zoned(self, thing: T, key: str) -> T:
        timezone = getattr(thing, "timezone", None)
        if timezone is not None:
            self._checked(TIME_ZONE, timezone, f"{key}.timezone")
        return thing

    def _struct(self, raw: Any, key: str, kind: type[T]) -> T:
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            said = _PATH.match(str(error))
            assert said is not None
            inner = said["key"] or ""
            place = f"{key}.{inner}" if inner and not inner.startswith("[") else key + inner
            raise self.refuse(place, _plain(said["what"])) from error

    def _all(
        self, raw: Mapping[str, Any], key: str, section: str, check: Callable[[Any, str], T]
    ) -> dict[str, T]:
        """All that a section names, each checked."""
        place = f"{key}.{section}".lstrip(".")
        table = raw.get(section, {})
        if not isinstance(table, Mapping):
            raise self.refuse(place, "expected a table of tables, by name")
        found: dict[str, T] = {}
        for written, each in table.items():
            name = self._name(written, place)
            if name in found:
                raise self.refuse(_key(place, written), f"{name} is there already")
            found[name] = check(each, _key(place, written))
        return found

    def _only(self, raw: Mapping[str, Any], key: str, known: tuple[str, ...]) -> None:
        for name in raw:
            if name not in known:
                raise self.refuse(
                    f"{key}.{name}".lstrip("."),
                    f"there is no such key: expected {listed(known, how='or')}",
                )

    def _name(self, name: str, key: str) -> str:
        checked: str = self._checked(NAME, name, key)
        return checked

    def _checked(self, kind: Any, value: Any, key: str) -> str:
        if not isinstance(value, str):
            raise self.refuse(key, "expected a text")
        try:
            checked: str = kind.convert(value, None, None)
        except Refused as refused:
            raise self.refuse(key, refused.message) from refused
        return checked


def _key(place: str, name: str) -> str:
    return f"{place}.{name if _BARE_KEY.fullmatch(name) else _value(name)}"


def _plain(what: str) -> str:
    """What msgspec says, in our words."""
    what = what.replace("Object contains unknown field", "there is no such key:")
    what = what.replace("Object missing required field", "a key is missing:")
    what = what.replace("`object`", "a table").replace("`array`", "a list").replace("`str`", "text")
    return what[:1].lower() + what[1:]


def _with_seconds(raw: Any) -> Any:
    """The same with "09:00" as "09:00:00", where a time on the wall is due."""
    if isinstance(raw, Mapping):
        return {
            key: f"{value}:00"
            if key in ("at", "from", "until", "digest_at")
            and isinstance(value, str)
            and _CLOCK.fullmatch(value)
            else _with_seconds(value)
            for key, value in raw.items()
        }
    if isinstance(raw, list):
        return [_with_seconds(each) for each in raw]
    return raw


def _lines(roster: Roster) -> Iterator[str]:
    yield "# The roster of Hot Potato. Change it and `hotpotato roster apply` it; --dry-run shows"
    yield "# what would change. No secret is in it."
    for name, tenant in roster.tenants.items():
        place = _key("tenants", name)
        yield from ("", f"[{place}]", f"timezone = {_value(tenant.timezone)}")
        for section in SECTIONS.values():
            for thing, content in getattr(tenant, section).items():
                yield from _thing(_key(f"{place}.{section}", thing), content)
        if tenant.policy is not None:
            yield from _policy(f"{place}.policy", tenant.policy)


def _thing(place: str, content: Person | Schedule | Server) -> Iterator[str]:
    yield from ("", f"[{place}]")
    yield from _assignments(content, leave_out=("layers",))
    for layer in content.layers if isinstance(content, Schedule) else ():
        yield from ("", f"[[{place}.layers]]")
        yield from _assignments(layer)


def _policy(place: str, policy: Policy) -> Iterator[str]:
    yield from ("", f"[{place}]")
    yield from _assignments(policy, leave_out=("steps",))
    for step in policy.steps:
        yield from ("", f"[[{place}.steps]]")
        yield from _assignments(step)


def _assignments(thing: msgspec.Struct, leave_out: tuple[str, ...] = ()) -> Iterator[str]:
    always = ("contacts", "every", "unit") if isinstance(thing, Person | Layer) else ()
    for field in msgspec.structs.fields(thing):
        value = getattr(thing, field.name)
        required = field.required or field.name in always
        if field.name not in leave_out and (required or value != field.default):
            timed = field.name in _LENGTHS and isinstance(value, float)
            yield f"{field.encode_name} = {_length(value) if timed else _value(value)}"


def _length(seconds: float) -> str:
    """As it reads well, and reads back."""
    if seconds != int(seconds):
        return repr(seconds)
    left, parts = int(seconds), []
    for size, unit in zip(_SECONDS, "dhms", strict=True):
        number, left = divmod(left, size)
        parts.append(f"{number}{unit}" if number else "")
    return _value("".join(parts)) if seconds else "0"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A JSON text is a TOML one, but for this.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, time):
        return f'"{value:%H:%M}"' if value.second == 0 else f'"{value:%H:%M:%S}"'
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, msgspec.Struct):
        return f"{{ {', '.join(_assignments(value))} }}"
    return f"[{', '.join(_value(each) for each in value)}]"
