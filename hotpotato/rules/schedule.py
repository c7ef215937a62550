"""Who is on call when: from layers of rotations, and overrides on top, to shifts.

A hand-over is a time on the wall. It happens at the first instant at which the clocks of the
schedule's time zone show that time or a later one. So one that clocks skip happens at the first
instant after the jump, one that they show twice at the first of the two, and hand-overs never
change their order. A shift lasts from one hand-over to the next, however many seconds that is.

All instants that come out are in UTC; those that go in may be in any zone, but must be aware:
ValueError if not. Spans include their beginning and not their end.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from heapq import heappop, heappush
from itertools import pairwise
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_NEVER = datetime.max.replace(tzinfo=UTC)
_ONE_DAY = timedelta(days=1)
_ONE_SECOND = timedelta(seconds=1)


class Window(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"since": "from"}
):
    """A part of certain weekdays, by the clocks of the schedule's time zone.

    It begins on each of the `days` at `since` (`from` in a file) and ends at the next `until`: on
    the same day, or on the day after where `until` is not later than `since`. So from 00:00 until
    00:00 is the whole day. Both ends obey the rule for hand-overs.
    """

    days: tuple[Day, ...] = DAYS
    since: time
    until: time

    def __post_init__(self) -> None:
        _check(bool(self.days), "a window needs a day")
        _check_clock(self.since)
        _check_clock(self.until)


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """People who hand the pager on, in order and round and round.

    `participants` are the ids of persons; the same person may come more than once. The first of
    them begins on the local date `first` at `at`, before which nobody is on call. From then on
    there is a hand-over every so many hours, days or weeks of wall-clock time. Where two of them
    fall on the same instant, because clocks jumped over the time between them, the turn between
    them is left out and the one after it is not delayed.

    With `windows` the rotation counts only within them. Hand-overs outside of them happen all the
    same, and nobody notices.
    """

    participants: tuple[int, ...]
    every: int = 1
    unit: Literal["hours", "days", "weeks"] = "weeks"
    first: date
    at: time
    windows: tuple[Window, ...] = ()

    def __post_init__(self) -> None:
        _check(bool(self.participants), "a rotation needs a participant")
        _check(1 <= self.every <= 1000, "a rotation's every is from 1 to 1000")
        _check_year(self.first)
        _check_clock(self.at)


class Layer(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"since": "from"}
):
    """One rotation of a schedule. Layers that come later in the schedule's list lie on top.

    `since` (`from` in a file) and `until` are local dates: the layer counts from the rotation's
    `at` on the one until its `at` on the other. None: as far as its rotation goes.
    """

    name: str
    rotation: Rotation
    since: date | None = None
    until: date | None = None

    def __post_init__(self) -> None:
        _check(self.name != "", "a layer needs a name")
        for day in (self.since, self.until):
            if day is not None:
                _check_year(day)
        if self.since is not None and self.until is not None:
            _check(self.since < self.until, "a layer ends after it begins")


class Override(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"since": "from"}
):
    """One person instead of whoever the layers say. `until` None: until changed."""

    person: int
    since: datetime
    until: datetime | None = None
    source: Literal["override", "swap", "take", "set by hand"] = "override"

    def __post_init__(self) -> None:
        _check_year(self.since)
        since = _utc(self.since)
        if self.until is not None:
            _check_year(self.until)
            _check(since < _utc(self.until), "an override ends after it begins")


class Handover(msgspec.Struct, frozen=True):
    """An instant, in UTC, and whose turn begins then."""

    at: datetime
    person: int


class Shift(msgspec.Struct, frozen=True):
    """One person on call, in UTC. `until` None: until changed, which only an override can say.

    `source` says by what: "layer NAME", or the override's source.
    """

    person: int
    since: datetime
    until: datetime | None
    source: str


class Gap(msgspec.Struct, frozen=True):
    """A time in which nobody is on call, in UTC."""

    since: datetime
    until: datetime


class Rewrite(msgspec.Struct, frozen=True):
    """What to change in the stored shifts, in this order.

    `delete` begin now or later and are no longer wanted. `current`, if not None, is the shift that
    runs now with the end that it should have, which may be now; nothing else of it differs from the
    stored one. `insert` begin now or later.
    """

    delete: tuple[Shift, ...] = ()
    current: Shift | None = None
    insert: tuple[Shift, ...] = ()


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which the clocks of `zone` show `wall` or later.

    `wall` is naive and in whole seconds.
    """
    local = wall.replace(tzinfo=zone, fold=0)
    # Of a time that is shown twice, Python's fold=0 is the first. A skipped one it reads by the
    # offset before the jump, and with fold=1 by the one after it: the jump is between the two.
    late, early = local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)
    if late <= early:
        return late
    jump = bisect_left(
        range((late - early) // _ONE_SECOND),
        wall,
        key=lambda seconds: _wall(early + seconds * _ONE_SECOND, zone),
    )
    return early + jump * _ONE_SECOND


def handovers(
    rotation: Rotation, zone: ZoneInfo, since: datetime, until: datetime
) -> tuple[Handover, ...]:
    """The hand-overs from `since` on and before `until`, in order, whatever the windows are.

    No two are at the same instant.
    """
    since, until = _utc(since), _utc(until)
    return tuple(each for each in _turns(rotation, zone, since, until) if each.at >= since)


def shifts(
    layers: Sequence[Layer],
    overrides: Sequence[Override],
    zone: ZoneInfo,
    since: datetime,
    until: datetime,
) -> tuple[Shift, ...]:
    """Who is on call from `since` until `until`: in order, without overlaps and empty shifts.

    Later layers lie on earlier ones, all overrides on the layers, and later overrides on earlier
    ones. There is a new shift at each hand-over, also to the same person. What reaches beyond the
    two ends is cut there, except for an override without an end: what nothing later covers of it
    has no end either.
    """
    since, until = _utc(since), _utc(until)
    if since >= until:
        return ()
    claims = [
        claim
        for height, layer in enumerate(layers)
        for claim in _layer_claims(layer, height, zone, since, until)
    ]
    claims += _override_claims(overrides, len(layers), since)
    return tuple(
        Shift(claim.person, begin, _cut(end, until), claim.source)
        for begin, end, claim in _topmost(claims)
        if begin < until
    )


def gaps(found: Iterable[Shift], since: datetime, until: datetime) -> tuple[Gap, ...]:
    """When nobody is on call between `since` and `until`, going by these shifts, in order."""
    covered, until = _utc(since), _utc(until)
    missing = []
    for shift in found:
        if shift.since >= until:
            break
        if shift.since > covered:
            missing.append(Gap(covered, shift.since))
        covered = max(covered, _end(shift))
    if covered < until:
        missing.append(Gap(covered, until))
    return tuple(missing)


def on_call(found: Sequence[Shift], at: datetime) -> Shift | None:
    """The shift of these, in order, that runs at that instant; None if nobody is on call."""
    at = _utc(at)
    place = bisect_right(found, at, key=lambda shift: shift.since)
    if place and at < _end(found[place - 1]):
        return found[place - 1]
    return None


def take(found: Sequence[Shift], person: int, now: datetime) -> Override:
    """This person has the pager now, for what is left of the shift that runs, or of the gap.

    `found` are the shifts in order, from now on far enough to hold the end of either.
    """
    now = _utc(now)
    running = on_call(found, now)
    if running is not None:
        until = running.until
    else:
        until = next((shift.since for shift in found if shift.since > now), None)
    return Override(person=person, since=now, until=until, source="take")


def swap(one: Shift, other: Shift) -> tuple[Override, Override]:
    """Two people do each other's shift. ValueError if it is one person, or the shifts overlap."""
    _check(one.person != other.person, "a swap takes two people")
    apart = _end(one) <= other.since or _end(other) <= one.since
    _check(apart, "shifts that overlap can't be swapped")
    return (
        Override(person=other.person, since=one.since, until=one.until, source="swap"),
        Override(person=one.person, since=other.since, until=other.until, source="swap"),
    )


def rewrite(stored: Sequence[Shift], wanted: Iterable[Shift], now: datetime) -> Rewrite:
    """How to make the stored shifts the wanted ones from now on.

    Both are in order. What is before `now` stays as it is stored: it is a record, and so is the
    part of the current shift that has gone by. Where the same person stays on call by the same
    source, the current shift goes on; else it ends now, and a new one begins. `wanted` may begin
    before now.
    """
    now = _utc(now)
    running = on_call(stored, now)
    ahead = [shift for shift in stored if shift.since >= now]
    to_come = [
        msgspec.structs.replace(shift, since=max(shift.since, now))
        for shift in wanted
        if _end(shift) > now
    ]
    current = None
    if running is not None and running.since < now:
        goes_on = bool(to_come) and _goes_on(running, to_come[0], now)
        end = to_come.pop(0).until if goes_on else now
        if end != running.until:
            current = msgspec.structs.replace(running, until=end)
    have, want = set(ahead), set(to_come)
    return Rewrite(
        delete=tuple(shift for shift in ahead if shift not in want),
        current=current,
        insert=tuple(shift for shift in to_come if shift not in have),
    )


class _Claim(NamedTuple):
    """Somebody's span, and the height at which it lies: what lies higher hides it."""

    since: datetime
    until: datetime
    height: int
    person: int
    source: str


def _layer_claims(
    layer: Layer, height: int, zone: ZoneInfo, since: datetime, until: datetime
) -> Iterator[_Claim]:
    rotation = layer.rotation
    if layer.since is not None:
        since = max(since, instant(datetime.combine(layer.since, rotation.at), zone))
    if layer.until is not None:
        until = min(until, instant(datetime.combine(layer.until, rotation.at), zone))
    if since >= until:
        return
    turns = _turns(rotation, zone, since, until)
    starts = [turn.at for turn in turns]
    for begin, end in _open(rotation.windows, zone, since, until):
        low, high = bisect_right(starts, begin), bisect_left(starts, end)
        edges = [begin, *starts[low:high], end]
        for turn, (start, stop) in enumerate(pairwise(edges), low - 1):
            if turn >= 0:
                yield _Claim(start, stop, height, turns[turn].person, f"layer {layer.name}")


def _override_claims(
    overrides: Sequence[Override], lowest: int, since: datetime
) -> Iterator[_Claim]:
    for height, override in enumerate(overrides, lowest):
        until = _NEVER if override.until is None else _utc(override.until)
        if until > since:
            begin = max(_utc(override.since), since)
            yield _Claim(begin, until, height, override.person, override.source)


def _turns(rotation: Rotation, zone: ZoneInfo, since: datetime, until: datetime) -> list[Handover]:
    """The hand-overs before `until`, from one at or before `since` on, if there is one."""
    first = datetime.combine(rotation.first, rotation.at)
    step = timedelta(**{rotation.unit: rotation.every})
    # Whatever the clocks show at an instant has happened, so this is never too far.
    number = max(0, (_wall(since, zone) - first) // step)
    turns: list[Handover] = []
    while (at := instant(first + number * step, zone)) < until:
        if turns and at == turns[-1].at:
            turns.pop()
        turns.append(Handover(at, rotation.participants[number % len(rotation.participants)]))
        number += 1
    return turns


def _open(
    windows: Sequence[Window], zone: ZoneInfo, since: datetime, until: datetime
) -> list[tuple[datetime, datetime]]:
    """The spans of the windows, in order, those that touch joined; without windows all the time."""
    if not windows:
        return [(since, until)]
    spans = []
    # A day more at each end: a window reaches into the next day, and clocks may go back by one.
    days = (_wall(until, zone).date() - _wall(since, zone).date()).days + 2
    for number in range(-1, days):
        day = _wall(since, zone).date() + number * _ONE_DAY
        for window in windows:
            if DAYS[day.weekday()] in window.days:
                spans.append(_span(window, day, zone))
    joined: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(spans):
        if end <= since or begin >= until:
            continue
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], min(end, until))
        else:
            joined.append((max(begin, since), min(end, until)))
    return joined


def _span(window: Window, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    last = day if window.until > window.since else day + _ONE_DAY
    return (
        instant(datetime.combine(day, window.since), zone),
        instant(datetime.combine(last, window.until), zone),
    )


def _topmost(claims: Sequence[_Claim]) -> Iterator[tuple[datetime, datetime, _Claim]]:
    """What can be seen of the claims from above, in order; of one perhaps several parts."""
    ahead = sorted(claims, reverse=True)
    begun: list[tuple[int, _Claim]] = []
    edges = sorted({edge for claim in claims for edge in (claim.since, claim.until)})
    shown: tuple[datetime, datetime, _Claim] | None = None
    for begin, end in pairwise(edges):
        while ahead and ahead[-1].since <= begin:
            heappush(begun, (-ahead[-1].height, ahead.pop()))
        while begun and begun[0][1].until <= begin:
            heappop(begun)
        top = begun[0][1] if begun else None
        if shown is not None and shown[2] is top:
            shown = (shown[0], end, top)
            continue
        if shown is not None:
            yield shown
        shown = None if top is None else (begin, end, top)
    if shown is not None:
        yield shown


def _cut(end: datetime, until: datetime) -> datetime | None:
    return None if end == _NEVER else min(end, until)


def _goes_on(current: Shift, following: Shift, now: datetime) -> bool:
    return following.since == now and (current.person, current.source) == (
        following.person,
        following.source,
    )


def _end(shift: Shift) -> datetime:
    return _NEVER if shift.until is None else shift.until


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def _utc(moment: datetime) -> datetime:
    _check(moment.tzinfo is not None, "a moment needs a time zone")
    return moment.astimezone(UTC)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _check_year(day: date) -> None:
    _check(1970 <= day.year <= 9000, "a year is from 1970 to 9000")


def _check_clock(clock: time) -> None:
    whole = clock.tzinfo is None and clock.microsecond == 0
    _check(whole, "a time on the wall has no zone and no fraction of a second")
