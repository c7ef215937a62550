"""The configuration file, the database and the schema, as every command meets them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hotpotato.store.embedded import Embedded
from hotpotato.testing.database import drop_database, fresh_database
from tests.commands.conftest import Command, write_config

LOG_SENDER = "[senders.log]\n"


def test_migrate_makes_the_schema_and_can_be_repeated(tmp_path: Path) -> None:
    url = fresh_database()
    hotpotato = Command(write_config(tmp_path / "hotpotato.toml", url))
    try:
        said = hotpotato.refused("tenant", "list")
        assert said == "the database has no schema yet: run `hotpotato migrate`"
        first = hotpotato.json("migrate")
        assert first["applied"][0] == {"number": 1, "name": "first"}
        assert first["schema"] == first["applied"][-1]["number"]
        assert hotpotato.json("migrate") == {"applied": [], "schema": first["schema"]}
        assert hotpotato("migrate").out == (
            f"The schema is up to date, at migration {first['schema']}.\n"
        )
        assert hotpotato.json("tenant", "list") == []
    finally:
        drop_database(url)


def test_a_configuration_that_cannot_be_used_is_refused_in_a_line(tmp_path: Path) -> None:
    hotpotato = Command(tmp_path / "hotpotato.toml")
    assert hotpotato.refused("tenant", "list").endswith("cannot be read: No such file or directory")
    write_config(hotpotato.config, "postgresql://localhost/x", "nonsense = 1\n")
    assert "database.nonsense: unknown key" in hotpotato.refused("tenant", "list")
    write_config(hotpotato.config, "http://localhost/x")
    assert hotpotato.refused("tenant", "list").startswith("database.url: not a PostgreSQL URI")


PATIENT_FOR_A_SECOND = """
import hotpotato.commands.session as session
session.PATIENCE = 1.0
from hotpotato.commands import main
main()
"""


def test_a_database_that_is_away_is_waited_for_and_then_told(tmp_path: Path) -> None:
    config = write_config(tmp_path / "hotpotato.toml", "postgresql://127.0.0.1:1/x?user=anna")
    done = Command(config)("tenant", "list", status=1, code=PATIENT_FOR_A_SECOND)
    assert done.out == ""
    assert done.err.startswith("hotpotato: the database is away, nothing was done: ")
    assert done.err.endswith("(waited for 1 s)\n")


@pytest.mark.slow
def test_an_embedded_database_runs_for_as_long_as_a_command(tmp_path: Path) -> None:
    """What is done is there for the next."""
    place = tmp_path / "postgres"
    hotpotato = Command(tmp_path / "hotpotato.toml")
    hotpotato.config.write_text(f'[database]\nembedded = "{place}"\n')
    try:
        hotpotato("migrate")
        hotpotato("tenant", "add", "acme")
        assert [tenant["name"] for tenant in hotpotato.json("tenant", "list")] == ["acme"]
    finally:
        # Root's clusters lie outside of the test's directory.
        shutil.rmtree(Embedded(place).home, ignore_errors=True)


def test_check_says_what_is_wrong(hotpotato: Command) -> None:
    """From an empty installation to one that is well, a step at a time."""
    assert [each["problem"] for each in hotpotato.json("check", status=1)["problems"]] == [
        "no sender is configured: nobody can be told anything",
        "there is none yet: hotpotato tenant add NAME",
    ]
    hotpotato.config.write_text(hotpotato.config.read_text() + LOG_SENDER)
    hotpotato("tenant", "add", "acme")
    done = hotpotato("check", status=1)
    assert done.out.splitlines() == ["servers: there is none yet: hotpotato server add NAME"]
    assert done.err == "hotpotato: 1 thing is wrong\n"
    hotpotato("user", "add", "Anna", "--sms", "+64211234567")
    hotpotato("server", "add", "icinga")
    assert hotpotato("check", status=1).out.splitlines() == [
        "on call: acme: nobody is on call, everybody would be paged",
        "servers: acme: icinga has never sent a heartbeat, so nobody would miss it",
    ]
    hotpotato("oncall", "set", "Anna")
    hotpotato("server", "disable", "icinga")
    assert hotpotato("check", status=1).out.splitlines() == [
        "on call: acme: Anna is on call, and has no verified contact",
    ]
    hotpotato.rows("UPDATE contact SET verified_at = now() RETURNING id")
    assert hotpotato("check").out == "all well\n"
    assert hotpotato.json("check") == {"well": True, "problems": []}


def test_check_notices_secrets_that_everybody_can_read(tmp_path: Path) -> None:
    hotpotato = Command(tmp_path / "hotpotato.toml")
    sender = '[senders.modica]\napplication = "x"\npassword = "hunter2"\n'
    sender += 'url = "http://127.0.0.1:1"\n'
    write_config(hotpotato.config, "postgresql://127.0.0.1:1/x", sender)
    # Where a test's directory lies, others may not be let in at all.
    open_to_others = all(parent.stat().st_mode & 0o001 for parent in tmp_path.resolve().parents)
    tmp_path.chmod(0o755)
    hotpotato.config.chmod(0o644)
    said = hotpotato("check", status=1, code=PATIENT_FOR_A_SECOND).out
    expected = f"secrets: {hotpotato.config} has secrets in it and everybody here can read it"
    assert (expected in said) is open_to_others
    hotpotato.config.chmod(0o640)
    said = hotpotato("check", status=1, code=PATIENT_FOR_A_SECOND).out
    assert "secrets:" not in said
    assert "callback_username and callback_password are missing" in said
    assert "senders.modica: the gateway does not answer" in said
    assert "database: the database is away" in said


def test_senders_lists_plugins_and_what_is_configured(hotpotato: Command) -> None:
    sections = LOG_SENDER + '[senders.second]\nplugin = "log"\n'
    hotpotato.config.write_text(hotpotato.config.read_text() + sections)
    listed = hotpotato.json("senders")
    assert {"log", "modica"} <= {plugin["name"] for plugin in listed["plugins"]}
    assert listed["configured"] == [
        {"name": "log", "plugin": "log", "methods": ["sms"], "after": {"sms": []}, "problems": []},
        {
            "name": "second",
            "plugin": "log",
            "methods": ["sms"],
            "after": {"sms": ["log"]},
            "problems": [],
        },
    ]
    shown = hotpotato("senders").out
    assert "sms, after log" in shown


def test_check_names_a_sender_that_is_sick(acme: Command) -> None:
    acme.rows(
        "INSERT INTO sender (name, sick_since, why, probe_at)"
        " VALUES ('modica', '2026-11-23 14:00+00', 'the last 5 attempts failed: 503', now())"
        " RETURNING name"
    )
    said = acme("check", status=1).out
    assert "senders.modica: is sick since 2026-11-23 14:00:00 UTC: the last 5 attempts" in said


def test_check_says_that_nothing_can_be_delivered(acme: Command) -> None:
    acme.rows(
        "UPDATE installation SET undelivered_since = now() - interval '400 s' RETURNING single"
    )
    assert "senders: nothing could be delivered for 40" in acme("check", status=1).out


def test_a_sender_that_is_not_installed_is_named(hotpotato: Command) -> None:
    hotpotato.config.write_text(hotpotato.config.read_text() + "[senders.pigeon]\n")
    assert "no sender plugin 'pigeon' is installed" in hotpotato.refused("senders")
    assert "no sender plugin 'pigeon' is installed" in hotpotato("check", status=1).out
