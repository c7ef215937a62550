"""The pager and the rota on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import Command


@pytest.fixture
def rota(acme: Command, tmp_path: Path) -> Command:
    """Anna and Bob take turns daily at nine, since long ago; Cleo does not."""
    path = tmp_path / "roster.toml"
    path.write_text("""
[tenants.acme]
timezone = "Pacific/Auckland"
[tenants.acme.people.Cleo]
contacts = [{ sms = "+64219876543" }]
[[tenants.acme.schedules.primary.layers]]
name = "daily"
people = ["Anna", "Bob"]
unit = "days"
first = 2026-01-01
at = "09:00"
""")
    acme("roster", "apply", str(path))
    return acme


def shifts(rota: Command, days: int = 3) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rota.json("oncall", "show", "--days", str(days))
    return found


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment)


def test_the_shifts_of_days_to_come_are_shown_in_80_columns(rota: Command) -> None:
    found = shifts(rota)
    assert [each["user"] for each in found[:2]] in (["Anna", "Bob"], ["Bob", "Anna"])
    assert found[0]["until"] == found[1]["since"]
    assert found[0]["source"] == "layer daily"
    lines = rota("oncall", "show", "--days", "3").out.splitlines()
    assert lines[0] == "acme/primary, Pacific/Auckland"
    assert lines[1].split() == ["FROM", "UNTIL", "ON", "CALL", "BY"]
    assert re.fullmatch(
        r"\w{3} \d{4}-\d\d-\d\d \d\d:\d\d +\w{3} \S+ 09:00  \w+ +layer daily", lines[2]
    )
    assert all(len(line) <= 80 for line in lines)


def test_an_override_is_laid_on_top_and_called_off(rota: Command) -> None:
    begin = (datetime.now(UTC) + timedelta(days=10)).replace(minute=0, second=0, microsecond=0)
    end = begin + timedelta(hours=2)
    done = rota.json(
        "oncall", "override", "Cleo", "--from", begin.isoformat(), "--until", end.isoformat()
    )
    assert [(each["user"], each["source"]) for each in done if each["user"] == "Cleo"] == [
        ("Cleo", "override")
    ]
    (cleo,) = (each for each in shifts(rota, 14) if each["user"] == "Cleo")
    assert (at(cleo["since"]), at(cleo["until"])) == (begin, end)
    (given,) = rota.json("schedule", "show")["overrides"]
    assert given["person"] == "Cleo"
    rota("oncall", "cancel", str(given["id"]))
    assert "Cleo" not in {each["user"] for each in shifts(rota, 14)}
    said = rota.refused("oncall", "cancel", str(given["id"]))
    assert said.startswith(f"no override {given['id']} is in force or to come")


def test_a_time_without_an_offset_is_on_the_wall_of_the_schedule(rota: Command) -> None:
    day = (datetime.now(UTC) + timedelta(days=20)).date()
    rota("oncall", "override", "Cleo", "--from", f"{day} 18:00", "--until", f"{day} 20:00")
    shown = rota("oncall", "show", "--days", "30").out
    assert re.search(rf"{day} 18:00 +\w+ {day} 20:00  Cleo +override", shown)


def test_what_lies_further_ahead_than_shifts_are_written_is_noted_and_shown_later(
    rota: Command,
) -> None:
    """Not as hours with nobody: whose they are is only not written yet."""
    begin, end = (datetime.now(UTC).date() + timedelta(days=days) for days in (200, 203))
    times = ("--from", str(begin), "--until", str(end))
    assert rota.json("oncall", "override", "Cleo", *times) == []
    said = rota("oncall", "override", "Bob", *times).out
    assert said == "Noted; shifts are written 90 days ahead, so it shows later.\n"
    given = rota.json("schedule", "show")["overrides"]
    assert [each["person"] for each in given] == ["Cleo", "Bob"]
    long = rota.json("oncall", "override", "Cleo", "--until", str(end))
    assert {each["user"] for each in long} == {"Cleo"}
    near = str(datetime.now(UTC).date() + timedelta(days=80))
    later = rota.json("oncall", "show", "--at", near, "--days", "30")
    assert {each["user"] for each in later} == {"Cleo"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["override", "Cleo", "--until", "soon"], "'soon' is no time: write it like"),
        (["override", "Cleo", "--until", "2020-01-01"], "it must end after it begins"),
        (["override", "Dora", "--until", "2030-01-01"], "no user Dora; there are"),
        (["take", "Cleo", "--schedule", "third"], "no schedule third in tenant acme; there is"),
        (["show", "--at", "2999-01-01"], "shifts are written 90 days ahead, and not that far"),
        (["swap", "Anna", "Cleo"], "Cleo has no shift ahead"),
        (["swap", "Anna", "Anna"], "a swap takes two people"),
    ],
)
def test_what_cannot_be_is_refused(rota: Command, arguments: list[str], said: str) -> None:
    assert rota.refused("oncall", *arguments).startswith(said)


def test_two_people_swap_their_next_shifts(rota: Command) -> None:
    before = shifts(rota, 5)
    now, first, second = (each["user"] for each in before[:3])
    assert now == second != first
    rota("oncall", "swap", first, second)
    after = shifts(rota, 5)
    assert [each["user"] for each in after[:4]] == [now, second, first, first]
    assert [each["source"] for each in after[:4]] == ["layer daily", "swap", "swap", "layer daily"]


def test_who_takes_it_has_it_until_the_hand_over_and_why_tells_so(rota: Command) -> None:
    until = shifts(rota)[0]["until"]
    held = rota.json("oncall", "take", "Cleo")
    assert (held["user"], at(held["until"])) == ("Cleo", at(until))
    (answer,) = rota.json("why", "Cleo")
    assert answer["on_call"] is True
    assert answer["override"]["source"] == "take"
    said = rota("why", "Anna").out
    assert "not Anna but Cleo is on call" in said
    assert "by take, said by " in said
    later = (at(until) + timedelta(hours=1)).isoformat()
    (answer,) = rota.json("why", "Cleo", "--at", later)
    assert (answer["on_call"], answer["source"]) == (False, "layer daily")
    assert answer["user"] in ("Anna", "Bob")


def test_set_is_on_top_until_changed_and_clear_gives_back_to_the_rota(rota: Command) -> None:
    holder = rota.json("oncall", "show")[0]["user"]
    assert rota.json("oncall", "set", "Cleo")["until"] is None
    assert {each["user"] for each in shifts(rota)} == {"Cleo"}
    assert rota.json("oncall", "clear")["user"] == holder
    assert len(shifts(rota)) >= 3


def test_who_is_disabled_leaves_gaps_that_are_said(rota: Command) -> None:
    said = rota("user", "disable", "Anna").out
    assert "Hours with nobody on call are ahead in primary" in said
    assert None in {each["user"] for each in shifts(rota)}
    wrong = rota.json("check", status=1)["problems"]
    assert any(each["problem"].startswith("acme: nobody is on call from ") for each in wrong)


def test_schedules_are_added_shown_and_removed(rota: Command) -> None:
    added = rota.json("schedule", "add", "secondary", "--timezone", "UTC")
    assert added["name"] == "secondary"
    assert rota.refused("schedule", "add", "secondary").startswith("there is already a schedule")
    rota("oncall", "set", "Cleo", "--schedule", "secondary")
    held = {each["schedule"]: each["user"] for each in rota.json("oncall", "show")}
    assert held["secondary"] == "Cleo"
    assert held["primary"] in ("Anna", "Bob")
    shown = rota("schedule", "show", "primary").out
    assert "hands over  every day at 09:00, first on 2026-01-01" in shown
    rota("schedule", "remove", "secondary")
    assert [each["name"] for each in rota.json("schedule", "list")] == ["primary"]
    assert rota.refused("schedule", "remove", "primary").startswith("every tenant has")
    assert rota.refused("oncall", "take", "Cleo", "--schedule", "secondary").startswith(
        "no schedule secondary in tenant acme"
    )


def test_a_calendar_is_made_listed_and_revoked(rota: Command) -> None:
    made = rota.json("calendar", "add", "--user", "Anna")
    assert re.fullmatch(r"/calendars/[0-9a-f]{64}\.ics", made["path"])
    rota("calendar", "add", "--schedule", "primary")
    listed = rota.json("calendar", "list")
    assert [(each["user"], each["schedule"]) for each in listed] == [
        ("Anna", None),
        (None, "primary"),
    ]
    assert made["path"][11:-4] not in rota("calendar", "list").out
    assert rota.json("calendar", "revoke", str(made["id"]))["revoked_at"]
    assert (
        rota.refused("calendar", "revoke", "99")
        == "there is no calendar 99: hotpotato calendar list"
    )
    assert rota("calendar", "add", status=2).err.endswith("Say whose: --user or --schedule.\n")
