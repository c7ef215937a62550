"""Tenants, users, who is on call, and monitoring servers."""

from __future__ import annotations

import hashlib
import re

import pytest

from tests.commands.conftest import Command


def test_a_tenant_is_added_and_listed(hotpotato: Command) -> None:
    added = hotpotato.json("tenant", "add", "acme", "--timezone", "Pacific/Auckland")
    assert added == {"id": added["id"], "name": "acme"}
    assert hotpotato.json("tenant", "list") == [
        {"id": added["id"], "name": "acme", "timezone": "Pacific/Auckland"}
    ]
    assert hotpotato("tenant", "list").out.splitlines() == [
        "TENANT  TIME ZONE",
        "acme    Pacific/Auckland",
    ]
    assert hotpotato.refused("tenant", "add", "acme") == "there is already a tenant acme"


def test_a_time_zone_that_does_not_exist_is_refused_with_those_that_are_like_it(
    hotpotato: Command,
) -> None:
    said = hotpotato.refused("tenant", "add", "acme", "--timezone", "Pacific/Aukland")
    assert said.startswith("there is no time zone 'Pacific/Aukland': did you mean Pacific/Auckland")
    assert hotpotato.json("tenant", "list") == []


def fresh(number: str) -> dict[str, object]:
    """A contact of which nothing is known yet."""
    return {"method": "sms", "address": number, "verified_at": None, "stopped_at": None}


def test_a_user_has_phones_in_the_order_given_as_e164(acme: Command) -> None:
    added = acme.json("user", "add", "Cleo", "--sms", "+64 21 987-6543", "--sms", "+1 202 555 0123")
    assert added == {
        "id": added["id"],
        "name": "Cleo",
        "tenant": "acme",
        "timezone": None,
        "contacts": [
            fresh("+64219876543"),
            fresh("+12025550123"),
        ],
        "on_call": False,
        "disabled_at": None,
    }
    assert [user["name"] for user in acme.json("user", "list")] == ["Anna", "Bob", "Cleo"]
    assert acme("user", "list", "--tenant", "acme").out.splitlines()[-2:] == [
        "Cleo  acme    +64219876543",
        "              +12025550123",
    ]


@pytest.mark.parametrize(
    ("number", "why"),
    [
        ("021 123 4567", "write it with + and the country's code, like +64211234567"),
        ("Anna", "write it with + and the country's code, like +64211234567"),
        ("+6421", "it is too short for its country"),
        ("+64 21 123 4567 ext. 5", "no SMS can be sent to one"),
    ],
)
def test_a_phone_number_that_cannot_be_one_is_refused(acme: Command, number: str, why: str) -> None:
    assert acme.refused("user", "add", "Cleo", "--sms", number).endswith(why)


def test_a_user_is_renamed_and_gets_other_phones(acme: Command) -> None:
    edited = acme.json("user", "edit", "Anna", "--name", "Anna B", "--sms", "+64219876543")
    assert edited["name"] == "Anna B"
    assert edited["contacts"] == [fresh("+64219876543")]
    said = acme.refused("user", "edit", "Bob", "--name", "Anna B")
    assert said == "there is already a user Anna B in tenant acme"
    assert "Nothing to change" in acme("user", "edit", "Bob", status=2).err


def test_a_user_may_be_elsewhere_than_the_tenant(acme: Command) -> None:
    where = ("--timezone", "Europe/Berlin")
    assert acme.json("user", "add", "Cleo", "--sms", "+64219876543", *where)["timezone"] == where[1]
    assert acme.json("user", "edit", "Anna", *where)["timezone"] == where[1]
    said = acme.refused("user", "edit", "Anna", "--timezone", "Berlin")
    assert said.startswith("there is no time zone 'Berlin'")


def test_a_name_that_is_not_there_is_refused_with_those_that_are(acme: Command) -> None:
    said = acme.refused("user", "disable", "Ana", "--tenant", "acme")
    assert said == "no user Ana in tenant acme; there are Anna and Bob"
    said = acme.refused("user", "disable", "Anna", "--tenant", "acne")
    assert said == "no tenant acne; there is acme"
    assert acme.refused("server", "disable", "x") == "no server x; there are none yet"


def test_a_name_in_two_tenants_needs_the_tenant(acme: Command) -> None:
    acme("tenant", "add", "beta")
    said = acme.refused("user", "add", "Anna", "--sms", "+64211234567")
    assert said == "say which tenant with --tenant: acme or beta"
    acme("user", "add", "Anna", "--sms", "+64211234567", "--tenant", "beta")
    said = acme.refused("oncall", "set", "Anna")
    assert said == "user Anna is in the tenants acme and beta: say which with --tenant"
    assert acme.json("oncall", "set", "Anna", "--tenant", "beta")["tenant"] == "beta"
    assert acme.json("oncall", "set", "Bob")["tenant"] == "acme"


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "\x1b[31mred", "x" * 201])
def test_a_name_must_be_one_line_that_can_be_printed(hotpotato: Command, name: str) -> None:
    assert "name" in hotpotato.refused("tenant", "add", name)


def test_without_a_tenant_nobody_can_be_added(hotpotato: Command) -> None:
    said = hotpotato.refused("user", "add", "Anna", "--sms", "+64211234567")
    assert said == "there is no tenant yet: add one with `hotpotato tenant add NAME`"


def test_the_pager_is_given_shown_and_taken_away(acme: Command) -> None:
    assert acme.json("oncall", "show") == [
        {"tenant": "acme", "schedule": "primary", "user": None, "since": None, "until": None}
    ]
    held = acme.json("oncall", "set", "Anna")
    assert held == held | {"tenant": "acme", "user": "Anna", "until": None}
    shown = acme("oncall", "show").out.splitlines()[1]
    assert re.fullmatch(r"acme +Anna +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d NZ[SD]T +until changed", shown)
    assert acme.json("oncall", "set", "Bob")["user"] == "Bob"
    assert [user["on_call"] for user in acme.json("user", "list")] == [False, True]
    assert acme.json("oncall", "clear")["user"] is None
    assert "nobody: everybody is paged" in acme("oncall", "show", "--tenant", "acme").out


def test_who_is_disabled_loses_the_pager_and_cannot_get_it(acme: Command) -> None:
    acme("oncall", "set", "Anna")
    assert "everybody is paged" in acme("user", "disable", "Anna").out
    assert acme.json("oncall", "show")[0]["user"] is None
    said = acme.refused("oncall", "set", "Anna")
    assert said == "Anna is disabled and can't be paged: hotpotato user enable 'Anna'"
    assert acme.json("user", "enable", "Anna")["disabled_at"] is None
    assert acme.json("oncall", "set", "Anna")["user"] == "Anna"


def test_a_servers_key_is_shown_once_and_only_its_digest_is_kept(acme: Command) -> None:
    added = acme.json("server", "add", "icinga-akl")
    assert added == {"id": added["id"], "name": "icinga-akl", "api_key": added["api_key"]}
    (kept,) = acme.rows("SELECT key_digest FROM server")[0]
    assert bytes(kept) == hashlib.sha256(added["api_key"].encode()).digest()
    assert added["api_key"] not in acme("server", "list", "--json").out
    said = acme.refused("server", "add", "icinga-akl")
    assert said == "there is already a server icinga-akl in tenant acme"


def test_a_server_is_changed(acme: Command) -> None:
    acme("server", "add", "icinga")
    (before,) = acme.json("server", "list")
    assert (before["heartbeat_interval"], before["missed"]) == (60, 3)
    assert before["timezone"] == "Pacific/Auckland"
    options = ["--heartbeat-interval", "30", "--missed", "4", "--timezone", "Asia/Tokyo"]
    edited = acme.json("server", "edit", "icinga", *options, "--name", "icinga2")
    assert edited == before | {
        "name": "icinga2",
        "heartbeat_interval": 30,
        "missed": 4,
        "timezone": "Asia/Tokyo",
    }
    shown = acme("server", "list").out.splitlines()[1]
    assert shown == "icinga2  acme    4 × 30 s    never           never"
    assert acme.json("server", "disable", "icinga2")["disabled_at"] is not None
    assert acme("server", "list").out.splitlines()[1].endswith("disabled")
    assert acme.json("server", "enable", "icinga2")["disabled_at"] is None
    for nonsense in (["--missed", "0"], ["--heartbeat-interval", "soon"], []):
        acme("server", "edit", "icinga2", *nonsense, status=2)


def test_a_key_is_rotated_and_the_old_one_lives_on_or_ends(acme: Command) -> None:
    first = acme.json("server", "add", "icinga")["api_key"]
    second = acme.json("server", "rotate-key", "icinga")
    assert list(second) == ["api_key"]
    assert second["api_key"] != first
    ((week,),) = acme.rows("SELECT old_key_until > now() + interval '6 days' FROM server")
    assert week
    assert "used last: never" in " ".join(acme("server", "list").out.split())
    shown = acme("server", "rotate-key", "icinga", "--revoke-old").out
    assert "The old one is refused from now on" in shown
    assert re.search(r"^    [0-9a-f]{64}$", shown, re.MULTILINE)
    assert acme.rows("SELECT old_key_until FROM server") == [(None,)]


def test_tables_fit_80_columns_and_have_no_colours_in_a_file(acme: Command) -> None:
    long = "a monitoring server whose name somebody made as long as they could, and then longer"
    acme("server", "add", long)
    acme("server", "disable", long)
    shown = acme("server", "list").out
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown
    words = "".join("".join(line[:25] for line in shown.splitlines()[1:]).split())
    assert words.startswith("amonitoringserver")


def test_wrong_usage_is_status_2(hotpotato: Command) -> None:
    for arguments in (["nonsense"], ["tenant", "add"], ["user", "add", "Anna"], ["--nonsense"]):
        done = hotpotato(*arguments, status=2)
        assert done.out == ""
        assert "Usage: hotpotato" in done.err


def test_help_teaches_by_examples(hotpotato: Command) -> None:
    assert "hotpotato user add Anna --tenant acme --sms +64211234567" in hotpotato("--help").out
    for noun in ("tenant", "user", "contact", "oncall", "server", "notification"):
        assert f"\n    hotpotato {noun} " in hotpotato(noun, "--help").out
