"""Rosters as files: applied, exported, and refused where they can't be meant so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings

from hotpotato.commands import roster_file
from hotpotato.commands.output import Refused
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
            "tenants.acme.persons: there is no such key: expected timezone, people, schedules,"
            " servers or policy",
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


POLICY = """
[tenants.acme.policy]
acknowledged_for = 0
undelivered_after = "90s"
pace = { burst = 5, every = 30 }
flapping = { changes = 6, within = "1h30m" }
digest_at = "07:30"
calm = [{ states = ["WARNING"], days = ["sat", "sun"], from = "22:00", until = "07:00" }]

[[tenants.acme.policy.steps]]
after = 0
schedule = "primary"
again = "2m"

[[tenants.acme.policy.steps]]
after = "5m"
person = "Bob"
all_contacts = true

[[tenants.acme.policy.steps]]
after = 1800
everyone = true
"""


def test_a_policy_is_applied_exported_and_applied_again_without_a_change(
    hotpotato: Command, file: Path
) -> None:
    file.write_text(ROSTER + POLICY)
    looked = hotpotato.json("roster", "apply", str(file), "--dry-run")["changes"]
    done = hotpotato.json("roster", "apply", str(file))["changes"]
    assert looked == done
    assert [each for each in done if "policy" in each] == [
        "acme: policy: acknowledged_for 30 min (as shipped) → for ever",
        "acme: policy: undelivered_after 1 min (as shipped) → 1 min 30 s",
        "acme: policy: pace.burst 3 (as shipped) → 5",
        "acme: policy: pace.every 1 min (as shipped) → 30 s",
        "acme: policy: flapping.changes 4 (as shipped) → 6",
        "acme: policy: flapping.within 15 min (as shipped) → 1 h 30 min",
        "acme: policy: digest_at 08:00 (as shipped) → 07:30",
        "acme: policy: calm nothing → WARNING, sat sun, 22:00–07:00",
        "acme: policy: steps of its own",
        "acme: policy: step 1: at once on call (primary), again every 5 min"
        " → at once on call (primary), again every 2 min",
        "acme: policy: step 2: after 10 min on call (secondary)"
        " → after 5 min Bob, all contacts at once",
        "acme: policy: step 3: after 20 min everyone, again every 10 min → after 30 min everyone",
    ]
    assert hotpotato.json("roster", "apply", str(file), "--prune")["changes"] == []
    exported = hotpotato("roster", "export").out
    assert tomllib.loads(exported)["tenants"]["acme"]["policy"] == {
        "acknowledged_for": 0,
        "undelivered_after": "1m30s",
        "pace": {"burst": 5, "every": "30s"},
        "flapping": {"changes": 6, "within": "1h30m"},
        "digest_at": "07:30",
        "calm": [
            {"states": ["WARNING"], "days": ["sat", "sun"], "from": "22:00", "until": "07:00"}
        ],
        "steps": [
            {"after": 0, "again": "2m", "schedule": "primary"},
            {"after": "5m", "person": "Bob", "all_contacts": True},
            {"after": "30m", "everyone": True},
        ],
    }
    file.write_text(exported)
    assert hotpotato.json("roster", "apply", str(file), "--prune")["changes"] == []
    assert hotpotato("roster", "export").out == exported


def test_a_policy_that_the_file_does_not_name_is_left_and_an_empty_one_is_the_shipped_one(
    hotpotato: Command, file: Path
) -> None:
    file.write_text(ROSTER + "[tenants.acme.policy]\ndigest_at = 09:00:00\n")
    hotpotato("roster", "apply", str(file))
    file.write_text(ROSTER)
    left = hotpotato.json("roster", "apply", str(file))
    assert (left["changes"], left["left"]) == ([], ["acme: policy"])
    back = ["acme: policy: digest_at 09:00 → 08:00 (as shipped)"]
    pruned = hotpotato.json("roster", "apply", str(file), "--prune", "--dry-run")
    assert (pruned["changes"], pruned["left"]) == (back, [])
    file.write_text(ROSTER + "[tenants.acme.policy]\n")
    assert hotpotato.json("roster", "apply", str(file))["changes"] == back
    assert "policy" not in tomllib.loads(hotpotato("roster", "export").out)["tenants"]["acme"]
    again = hotpotato.json("roster", "apply", str(file))
    assert (again["changes"], again["left"]) == ([], [])


def test_what_is_said_as_it_is_shipped_is_a_change_once(hotpotato: Command, file: Path) -> None:
    """It stays so when another version ships something else."""
    hotpotato("roster", "apply", str(file))
    said = """
    [tenants.acme.policy]
    digest_at = "08:00"
    steps = [
        { after = 0, schedule = "primary", again = 300 },
        { after = 600, schedule = "secondary" },
        { after = 1200, everyone = true, again = 600 },
    ]
    """
    file.write_text(ROSTER + said)
    assert hotpotato.json("roster", "apply", str(file))["changes"] == [
        "acme: policy: digest_at 08:00 (as shipped) → 08:00",
        "acme: policy: steps of its own",
    ]
    assert hotpotato.json("roster", "apply", str(file))["changes"] == []


def test_a_contact_keeps_the_pace_that_it_was_given_by_hand(hotpotato: Command, file: Path) -> None:
    hotpotato("roster", "apply", str(file))
    hotpotato("contact", "pace", "Anna", "--burst", "7")
    exported = hotpotato("roster", "export").out
    file.write_text(exported.replace("[{ sms", '[{ sms = "+64219876543" }, { sms', 1))
    assert hotpotato.json("roster", "apply", str(file))["changes"] == [
        "acme: user Anna: contacts +64211234567 → +64219876543, +64211234567"
    ]
    paces = {
        each["address"]: each["pace"]["burst"] for each in hotpotato.json("contact", "list", "Anna")
    }
    assert paces == {"+64219876543": None, "+64211234567": 7}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("undelivered_after", "undelivered", ": there is no such key: `undelivered`"),
        ('"90s"', '"90 s"', '.undelivered_after: expected a length of time like "90s", "10m"'),
        ('"90s"', "-1", ": undelivered_after: expected from 5 s to 1 d"),
        ('"90s"', "true", ".undelivered_after: expected a length of time"),
        ("_for = 0", "_for = 5", ": acknowledged_for: expected 0 or from 1 min to 30 d"),
        ("burst = 5", "burst = 0", ".pace: burst: expected from 1 to 1000"),
        ("burst = 5", "bursts = 5", ".pace: there is no such key: `bursts`"),
        ('"1h30m"', '"30m1h"', ".flapping.within: expected a length of time like"),
        ("changes = 6", "changes = 1", ".flapping: changes: expected from 2 to 20"),
        ('"07:30"', '"7.30"', ".digest_at: "),
        ('"WARNING"', '"WARN"', ".calm[0].states[0]: "),
        ('"sat"', '"samedi"', ".calm[0].days[0]: "),
        ("calm = [{", "calm = [{}, {", ".calm[0]: nothing would be urgent: expected states, days"),
        ('again = "2m"', 'again = "29s"', ".steps[0]: again: expected from 30 s to 7 d"),
        ('again = "2m"', 'agin = "2m"', ".steps[0]: there is no such key: `agin`"),
        ('after = "5m"', 'after = "-5m"', ".steps[1].after: expected a length of time"),
        ('after = "5m"', "after = 0", ": steps[1].after: expected more than the step before"),
        ("after = 1800", "after = 300", ": steps[2].after: expected more than the step before"),
        ("after = 0", "after = 60", ": steps[0].after: the first step is at once, expected 0"),
        ("after = 0", "", ".steps[0]: a key is missing: `after`"),
        (
            "everyone = true",
            'everyone = true\nperson = "Bob"',
            ".steps[2]: a step is for one of schedule, person, or everyone = true",
        ),
        ("everyone = true", "", ".steps[2]: a step is for one of schedule, person, or everyone"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_with_the_key_and_what_was_expected(
    file: Path, old: str, new: str, said: str
) -> None:
    assert old in POLICY
    file.write_text(ROSTER + POLICY.replace(old, new, 1))
    with pytest.raises(Refused) as refused:
        roster_file.read(file)
    assert refused.value.message.startswith(f"{file}: tenants.acme.policy{said}")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'schedule = "primary"',
            'schedule = "tertiary"',
            ".steps[0].schedule: there is no schedule tertiary in tenant acme: expected some of"
            " primary and secondary",
        ),
        (
            'person = "Bob"',
            'person = "Bop"',
            ".steps[1].person: there is no user Bop in tenant acme: expected some of Anna and Bob",
        ),
    ],
)
def test_a_step_for_whom_or_what_nobody_knows_is_refused(
    hotpotato: Command, file: Path, old: str, new: str, said: str
) -> None:
    file.write_text(ROSTER + POLICY.replace(old, new, 1))
    refusal = hotpotato.refused("roster", "apply", str(file))
    assert refusal == f"{file}: tenants.acme.policy{said}"
    assert hotpotato.json("tenant", "list") == []


def test_gaps_ahead_are_said_when_a_roster_is_applied_and_by_check(
    hotpotato: Command, file: Path
) -> None:
    done = hotpotato.json("roster", "apply", str(file))
    assert done["gaps"]
    assert all(each.startswith("acme/secondary: nobody is on call from ") for each in done["gaps"])
    wrong = hotpotato.json("check", status=1)["problems"]
    ahead = [each["problem"] for each in wrong if each["about"] == "on call"]
    assert any(each.startswith("acme: nobody is on call in secondary from ") for each in ahead)
    assert not any(each.startswith("acme: nobody is on call from ") for each in ahead)


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
