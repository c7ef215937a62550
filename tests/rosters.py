"""Any roster at all, for tests of properties."""

from __future__ import annotations

import unicodedata
from datetime import date, time

from hypothesis import strategies as st

from hotpotato.rules.roster import (
    Calm,
    Contact,
    Flapping,
    Layer,
    Pace,
    Person,
    Policy,
    Roster,
    Schedule,
    Server,
    Step,
    Tenant,
)
from hotpotato.rules.schedule import DAYS, Window

names = st.text(
    st.characters(categories=("L", "N", "P", "S"), max_codepoint=0x2FFF).filter(str.isprintable)
    | st.just(" "),
    max_size=12,
).map(lambda text: unicodedata.normalize("NFC", f"x{text}").strip())
zones = st.sampled_from(["UTC", "Pacific/Auckland", "Europe/Berlin", "America/St_Johns"])
clocks = st.builds(time, st.integers(0, 23), st.integers(0, 59), st.sampled_from([0, 0, 30]))
days = st.dates(date(2020, 1, 1), date(2030, 1, 1))
windows = st.builds(
    Window,
    days=st.lists(st.sampled_from(DAYS), min_size=1, max_size=7).map(tuple),
    since=clocks,
    until=clocks,
)
numbers = st.sampled_from(["+64211234567", "+64217654321", "+64219876543", "+4915112345678"])
people = st.builds(
    Person,
    timezone=st.none() | zones,
    contacts=st.lists(numbers, max_size=3, unique=True).map(
        lambda found: tuple(Contact(number) for number in found)
    ),
    disabled=st.booleans(),
)
servers = st.builds(
    Server,
    heartbeat_interval=st.integers(1, 1000).map(float) | st.just(0.5 + 1),
    missed=st.integers(1, 1000),
    timezone=st.none() | zones,
    disabled=st.booleans(),
)


lengths = st.integers(60, 86_400).map(float) | st.just(90.5)
calms = st.builds(
    Calm,
    states=st.lists(st.sampled_from(["WARNING", "DOWN"]), min_size=1, max_size=2).map(tuple),
    days=st.lists(st.sampled_from(DAYS), max_size=2).map(tuple),
    since=st.none() | clocks,
    until=st.none() | clocks,
)


@st.composite
def steps(draw: st.DrawFn, people: list[str], schedules: list[str]) -> tuple[Step, ...]:
    """Some steps, the first at once, each later than the one before; or none."""
    later = draw(st.lists(lengths, max_size=3, unique=True))
    made = []
    for after in [0.0, *sorted(later)][: draw(st.integers(0, 4))]:
        whom: dict[str, object] = draw(
            st.sampled_from(
                [
                    {"everyone": True},
                    *({"person": name} for name in people),
                    *({"schedule": name} for name in schedules),
                ]
            )
        )
        again, all_contacts = draw(st.none() | lengths), draw(st.booleans())
        made.append(Step(after=after, again=again, all_contacts=all_contacts, **whom))  # type: ignore[arg-type]
    return tuple(made)


@st.composite
def policies(draw: st.DrawFn, people: list[str], schedules: list[str]) -> Policy | None:
    """A policy that says something, or none."""
    made = Policy(
        acknowledged_for=draw(st.none() | st.just(0.0) | lengths),
        undelivered_after=draw(st.none() | lengths),
        pace=Pace(
            burst=draw(st.none() | st.integers(1, 1000)),
            every=draw(st.none() | lengths),
            hourly=draw(st.none() | st.integers(1, 1000)),
        ),
        flapping=Flapping(
            changes=draw(st.none() | st.integers(2, 20)), within=draw(st.none() | lengths)
        ),
        digest_at=draw(st.none() | clocks),
        calm=tuple(draw(st.lists(calms, max_size=2))),
        steps=draw(steps(people, schedules)),
    )
    return None if made == Policy() else made


@st.composite
def layers(draw: st.DrawFn, known: list[str]) -> Layer:
    since = draw(st.none() | days)
    until = draw(st.none() | days)
    if since is not None and until is not None and until <= since:
        until = None
    return Layer(
        name=draw(names),
        people=tuple(draw(st.lists(st.sampled_from(known), min_size=1, max_size=4))),
        every=draw(st.integers(1, 1000)),
        unit=draw(st.sampled_from(["hours", "days", "weeks"])),
        first=draw(days),
        at=draw(clocks),
        since=since,
        until=until,
        windows=tuple(draw(st.lists(windows, max_size=2))),
    )


@st.composite
def tenants(draw: st.DrawFn) -> Tenant:
    known = draw(st.dictionaries(names, people, min_size=1, max_size=3))
    some = st.builds(
        Schedule,
        timezone=st.none() | zones,
        layers=st.lists(layers(sorted(known)), max_size=2, unique_by=lambda layer: layer.name).map(
            tuple
        ),
    )
    # Every tenant has a primary schedule, so that one is always there.
    schedules = {"primary": draw(some), **draw(st.dictionaries(names, some, max_size=1))}
    return Tenant(
        timezone=draw(zones),
        people=known,
        schedules=schedules,
        servers=draw(st.dictionaries(names, servers, max_size=2)),
        policy=draw(policies(sorted(known), sorted(schedules))),
    )


rosters = st.builds(Roster, st.dictionaries(names, tenants(), max_size=2))
