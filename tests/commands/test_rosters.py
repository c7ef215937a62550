"""Rosters as files: applied, exported, and refused where they can't be meant so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings

from hotpotato.commands import roster_file
from hotpotato.rules.roster import Roster
from tests.commands.conftest import Command
from tests.rosters import rosters

ROSTER = """
[tenants.acme]
timezone = "Pacific/Auckland"

[tenants.acme.people.Anna]
contacts = [{ sms = "+64 21 123 4567" }]

[tenants.acme.people.Bob]
timezone = "Europe/Berlin"
contacts = [{ sms = "+64217654321" }, { sms = "+4915112345678" }]

[[tenants.acme.schedules.primary.layers]]
name = "weekly"
people = ["Anna", "Bob"]
every = 1
unit = "weeks"
first = 2026-11-23
at = "09:00"

[[tenants.acme.schedules.secondary.layers]]
name = "days"
people = ["Bob"]
unit = "days"
first = 2026-11-23
at = 09:00:00
windows = [{ days = ["mon", "tue"], from = "09:00", until = "17:00" }]

[tenants.acme.servers.icinga-akl]
heartbeat_interval = 30
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "roster.toml"
    path.write_text(ROSTER)
    return path


def test_a_roster_is_applied_and_a_second_time_it_changes_nothing(
    hotpotato: Command, file: Path
) -> None:
    done = hotpotato.json("roster", "apply", str(file))
    assert done["changes"] == [
        "tenant acme: new, timezone Pacific/Auckland",
        "acme: user Anna: new, contacts +64211234567",
        "acme: user Bob: new, timezone Europe/Berlin; contacts +64217654321, +4915112345678",
        "acme: schedule primary: new, layer weekly: new, 1 weeks, Anna, Bob",
        "acme: schedule secondary: new, layer days: new, 1 days, Bob",
        "acme: server icinga-akl: new, heartbeat_interval 30",
    ]
    (given,) = done["api_keys"]
    assert (given["tenant"], given["server"], len(given["api_key"])) == ("acme", "icinga-akl", 64)
    again = hotpotato.json("roster", "apply", str(file), "--prune")
    assert (again["changes"], again["api_keys"]) == ([], [])
    assert hotpotato("roster", "apply", str(file)).out == (
        "Nothing changes: everything is as the file says.\n"
    )
    held = {each["schedule"]: each["user"] for each in hotpotato.json("oncall", "show")}
    assert held["primary"] in ("Anna", "Bob")


def test_a_dry_run_only_says_what_would_change(acme: Command, file: Path) -> None:
    said = acme("roster", "apply", str(file), "--dry-run").out
    assert "acme: user Bob: timezone none → Europe/Berlin\n" in said
    assert said.endswith("Nothing was changed: this was only a look.\n")
    assert acme.json("schedule", "list")[0]["name"] == "primary"
    assert acme.json("server", "list") == []


def test_what_is_exported_and_applied_again_changes_nothing(hotpotato: Command, file: Path) -> None:
    hotpotato("roster", "apply", str(file))
    hotpotato("tenant", "add", "beta corp.")
    exported = hotpotato("roster", "export").out
    assert "api_key" not in exported
    assert tomllib.loads(exported)["tenants"]["beta corp."]["timezone"] == "UTC"
    file.write_text(exported)
    assert hotpotato.json("roster", "apply", str(file), "--prune")["changes"] == []
    assert hotpotato("roster", "export").out == exported
    only = hotpotato("roster", "export", "--tenant", "acme").out
    assert list(tomllib.loads(only)["tenants"]) == ["acme"]


def test_a_primary_schedule_that_the_file_does_not_name_is_left_or_emptied(
    hotpotato: Command, file: Path
) -> None:
    """Every tenant has one, so it can't be removed, and an empty one is not worth a word."""
    hotpotato("roster", "apply", str(file))
    file.write_text(ROSTER.replace("schedules.primary.", "schedules.secondary.", 1))
    left = hotpotato.json("roster", "apply", str(file), "--dry-run")["left"]
    assert left == ["acme: schedule primary"]
    pruned = hotpotato.json("roster", "apply", str(file), "--prune")
    assert "acme: schedule primary: layer weekly: removed" in pruned["changes"]
    held = {each["schedule"]: each["user"] for each in hotpotato.json("oncall", "show")}
    assert held["primary"] is None
    again = hotpotato.json("roster", "apply", str(file), "--prune")
    assert (again["changes"], again["left"]) == ([], [])


def test_what_the_file_does_not_name_is_left_or_pruned(acme: Command, tmp_path: Path) -> None:
    acme("schedule", "add", "secondary")
    acme("server", "add", "icinga")
    acme("tenant", "add", "beta")
    path = tmp_path / "roster.toml"
    path.write_text(
        '[tenants.acme]\ntimezone = "Pacific/Auckland"\n[tenants.acme.people.Anna]\n'
        'contacts = [{ sms = "+64211234567" }]\n'
    )
    left = acme.json("roster", "apply", str(path))
    assert left["changes"] == []
    assert left["left"] == [
        "acme: user Bob",
        "acme: schedule secondary",
        "acme: server icinga",
        "tenant beta",
    ]
    pruned = acme.json("roster", "apply", str(path), "--prune")
    assert pruned["changes"] == [
        "acme: user Bob: disabled no → yes",
        "acme: schedule secondary: removed",
        "acme: server icinga: disabled no → yes",
    ]
    assert pruned["left"] == ["tenant beta"]
    assert acme.json("server", "list")[0]["disabled_at"] is not None
    assert [each["name"] for each in acme.json("schedule", "list", "--tenant", "acme")] == [
        "primary"
    ]
    assert acme.json("schedule", "add", "secondary", "--tenant", "acme")["name"] == "secondary"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[tenants.acme]", "[tenant.acme]", "tenant: there is no such key: expected tenants"),
        (
            'timezone = "Pacific/Auckland"',
            'timezone = "Pacific/Aukland"',
            "tenants.acme.timezone: there is no time zone 'Pacific/Aukland': did you mean"
            " Pacific/Auckland",
        ),
        (
            'timezone = "Pacific/Auckland"',
            "",
            "tenants.acme.timezone: is missing: expected one like Pacific/Auckland",
        ),
        (
            "[tenants.acme.people.Anna]",
            "[tenants.acme.persons.Anna]",
            "tenants.acme.persons: there is no such key: expected timezone, people, schedules or"
            " servers",
        ),
        (
            '[{ sms = "+64 21 123 4567" }]',
            '[{ sms = "0211234567" }]',
            "tenants.acme.people.Anna.contacts[0].sms: '0211234567' is no phone number",
        ),
        (
            '[{ sms = "+64 21 123 4567" }]',
            '[{ fax = "+64 21 123 4567" }]',
            "tenants.acme.people.Anna.contacts[0]: ",
        ),
        (
            '"+4915112345678"',
            '"+64 21 765 4321"',
            "tenants.acme.people.Bob.contacts: the same contact is there twice",
        ),
        (
            'people = ["Anna", "Bob"]',
            'people = ["Anna", "Bop"]',
            "tenants.acme.schedules.primary.layers[0].people: there is no user Bop in tenant acme:"
            " expected some of Anna and Bob",
        ),
        (
            'people = ["Anna", "Bob"]',
            "people = []",
            "tenants.acme.schedules.primary.layers[0]: a rotation needs a participant",
        ),
        (
            'unit = "weeks"',
            'unit = "months"',
            "tenants.acme.schedules.primary.layers[0].unit: ",
        ),
        ("every = 1", "every = 0", "tenants.acme.schedules.primary.layers[0]: a rotation's every"),
        ('at = "09:00"', 'at = "9 am"', "tenants.acme.schedules.primary.layers[0].at: "),
        (
            "first = 2026-11-23\nat = 09",
            "frist = 2026-11-23\nat = 09",
            "tenants.acme.schedules.secondary.layers[0]: ",
        ),
        (
            '"tue"]',
            '"tues"]',
            "tenants.acme.schedules.secondary.layers[0].windows[0].days[1]: ",
        ),
        (
            "heartbeat_interval = 30",
            "heartbeat_interval = 0",
            "tenants.acme.servers.icinga-akl: a heartbeat_interval is from 1 second to 30 days",
        ),
        (
            "heartbeat_interval = 30",
            'api_key = "secret"',
            "tenants.acme.servers.icinga-akl: there is no such key: `api_key`",
        ),
        (
            "[tenants.acme.people.Anna]",
            '[tenants.acme.people."Bob "]\n[tenants.acme.people.Anna]',
            "tenants.acme.people.Bob: Bob is there already",
        ),
        (
            "[[tenants.acme.schedules.secondary.layers]]",
            '[[tenants.acme.schedules.primary.layers]]\nname = "weekly "\npeople = ["Bob"]\n'
            "first = 2026-11-23\nat = 09:00:00\n[[tenants.acme.schedules.secondary.layers]]",
            "tenants.acme.schedules.primary.layers: two layers have the same name",
        ),
        ("[tenants.acme]", "[tenants.acme", "this is no TOML: "),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_file_the_key_and_what_was_expected(
    hotpotato: Command, file: Path, old: str, new: str, said: str
) -> None:
    assert old in ROSTER
    file.write_text(ROSTER.replace(old, new, 1))
    refusal = hotpotato.refused("roster", "apply", str(file))
    assert refusal.startswith(f"{file}: {said}")
    assert hotpotato.json("tenant", "list") == []


def test_gaps_ahead_are_said_when_a_roster_is_applied_and_by_check(
    hotpotato: Command, file: Path
) -> None:
    done = hotpotato.json("roster", "apply", str(file))
    assert done["gaps"]
    assert all(each.startswith("acme/secondary: nobody is on call from ") for each in done["gaps"])
    wrong = hotpotato.json("check", status=1)["problems"]
    ahead = [each["problem"] for each in wrong if each["about"] == "on call"]
    assert any(each.startswith("acme/secondary: nobody from ") for each in ahead)
    assert not any(each.startswith("acme/primary") for each in ahead)


def test_the_examples_in_the_manual_can_be_applied(hotpotato: Command, tmp_path: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "rosters.md").read_text("utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```$", manual, re.DOTALL | re.MULTILINE)
    path = tmp_path / "roster.toml"
    path.write_text(example, encoding="utf-8")
    hotpotato("roster", "apply", str(path))
    exported = hotpotato("roster", "export").out
    assert tomllib.loads(exported) == tomllib.loads(example)


@settings(deadline=None, max_examples=50)
@given(rosters)
def test_any_roster_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, roster: Roster
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(roster_file.write(roster), encoding="utf-8")
    assert roster_file.read(path) == roster
