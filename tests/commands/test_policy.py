"""`hotpotato policy …`, and what `hotpotato check` says of a policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.conftest import Command

TENANT = """
[tenants.acme]
timezone = "Pacific/Auckland"
"""

POLICY = """
[tenants.acme.policy]
acknowledged_for = 0
pace = { burst = 5 }
calm = [{ states = ["WARNING"], days = ["sat", "sun"], from = "22:00" }]

[[tenants.acme.policy.steps]]
after = 0
person = "Anna"
all_contacts = true
again = "2m"

[[tenants.acme.policy.steps]]
after = "1h30m"
schedule = "nights"
"""


@pytest.fixture
def nights(acme: Command, tmp_path: Path) -> Command:
    """Acme with a policy of its own, whose last step is for a schedule that nobody has."""
    acme("schedule", "add", "nights")
    apply(acme, tmp_path, TENANT + POLICY)
    return acme


def apply(acme: Command, directory: Path, text: str) -> None:
    path = directory / "roster.toml"
    path.write_text(text)
    acme("roster", "apply", str(path))


def test_the_shipped_policy_is_shown_as_it_goes(acme: Command) -> None:
    assert acme("policy", "show").out == (
        "An alert of acme that nobody has taken is told (as shipped):\n"
        "AFTER    WHOM                 AGAIN\n"
        "at once  on call (primary)    every 5 min\n"
        "10 min   on call (secondary)\n"
        "20 min   everyone             every 10 min until somebody takes it\n"
        "\n"
        "  an acknowledgement lasts   30 min (as shipped)\n"
        "  the next contact is tried  after 1 min without a receipt (as shipped)\n"
        "  SMS segments to a contact  3 at once, then 1 each 1 min, 20 an hour (as\n"
        "                             shipped)\n"
        "  a problem flaps            after 4 changes within 15 min (as shipped)\n"
        "  what can wait              nothing (as shipped)\n"
        "  and is told                at 08:00 (as shipped)\n"
    )
    assert len(acme.json("policy", "show")["as_shipped"]) == 7


def test_what_a_tenant_has_said_is_shown_in_its_place(nights: Command) -> None:
    shown = nights("policy", "show", "--tenant", "acme").out
    for line in (
        "An alert of acme that nobody has taken is told:",
        "at once     Anna, all contacts at once  every 2 min",
        "1 h 30 min  on call (nights)            every 10 min until somebody takes it",
        "an acknowledgement lasts   for ever\n",
        "SMS segments to a contact  5 at once, then 1 each 1 min, 20 an hour\n",
        "what can wait              WARNING, sat sun, 22:00–00:00\n",
        "and is told                at 08:00 (as shipped)\n",
    ):
        assert line in shown, shown
    document = nights.json("policy", "show")
    assert document["as_shipped"] == ["digest_at", "flapping", "undelivered_after"]
    assert document["steps"][0] == {
        "after": 0.0,
        "again": 120.0,
        "whom": "person",
        "schedule": None,
        "person": "Anna",
        "all_contacts": True,
    }
    assert document["flapping"] == {"changes": 4, "within": 900.0}


def test_a_policy_is_reset_to_the_shipped_one(nights: Command) -> None:
    changes = nights.json("policy", "reset", "--tenant", "acme")["changes"]
    assert "acme: policy: acknowledged_for for ever → 30 min (as shipped)" in changes
    assert "acme: policy: steps as shipped" in changes
    assert len(nights.json("policy", "show")["as_shipped"]) == 7
    assert nights("policy", "reset").out == "The policy of acme is as shipped already.\n"


def test_help_says_that_a_policy_is_changed_in_a_roster_file(acme: Command) -> None:
    for arguments in (["policy"], ["policy", "show"], ["policy", "reset"]):
        assert "roster" in acme(*arguments, "--help").out


def problems(command: Command) -> list[str]:
    found = command.json("check", status=1)["problems"]
    return [each["problem"] for each in found if each["about"] == "policy"]


def test_check_warns_of_a_step_for_a_schedule_that_nobody_has(nights: Command) -> None:
    assert problems(nights) == [
        "acme: the step after 1 h 30 min finds nobody, nobody is on call in nights"
    ]


def test_check_warns_of_a_step_for_somebody_disabled_or_for_what_is_not_there(
    nights: Command,
) -> None:
    nights("user", "disable", "Anna")
    nights("schedule", "remove", "nights")
    assert problems(nights) == [
        "acme: the step at once finds nobody, Anna is disabled",
        "acme: the step after 1 h 30 min finds nobody, there is no schedule nights",
    ]


def test_check_says_nothing_of_the_shipped_policy(acme: Command) -> None:
    """It is meant to pass over a secondary schedule that nobody has."""
    assert problems(acme) == []
