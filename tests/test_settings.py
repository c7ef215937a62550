"""The TOML file: what it may say, and what is said of it where it may not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotpotato import settings
from hotpotato.settings import SettingsError, from_mapping, load, section

FILE = Path("/etc/hotpotato/hotpotato.toml")
DATABASE = {"url": "postgresql://hotpotato@db1/hotpotato"}


class Options(msgspec.Struct, frozen=True):
    """A sender plugin's settings, for these tests."""

    password: str
    ring: int = 1


def refusal(raw: Mapping[str, Any]) -> str:
    with pytest.raises(SettingsError) as raised:
        from_mapping(raw, FILE)
    return sentence(raised.value)


def sentence(error: SettingsError) -> str:
    assert "\n" not in str(error)
    prefix = f"{FILE}: "
    assert str(error).startswith(prefix)
    return str(error).removeprefix(prefix)


# ------------------------------------------------------------------ what it may say


def test_only_the_database_must_be_named_and_the_rest_has_defaults() -> None:
    found = from_mapping({"database": DATABASE}, FILE)
    assert found.path == FILE
    assert found.api.listen == ("tcp:8080:interface=127.0.0.1",)
    assert found.database.url == DATABASE["url"]
    assert (found.database.embedded, found.database.password) == (None, None)
    assert found.database.connections == 8
    assert found.watchdog.interval == 5.0
    assert found.retention == settings.Retention(history=400, replies=400, heartbeats=30, tokens=30)
    assert found.senders == ()


def test_everything_can_be_said(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    file = tmp_path / "hotpotato.toml"
    file.write_text(
        f"""
        [api]
        listen = ["tcp:80", "ssl:443:privateKey=key.pem"]
        [database]
        embedded = "var/postgres"
        password_file = "{secret}"
        connections = 2
        [watchdog]
        interval = 1
        [senders.modica]
        source = "2048"
        [senders.second_modica-2]
        plugin = "modica"
        concurrency = 3
        deadline = 4.5
        segments = 1
        password_file = "not looked at before its plugin is known"
        """
    )
    found = load(file)
    assert found.api.listen == ("tcp:80", "ssl:443:privateKey=key.pem")
    assert (found.database.embedded, found.database.password) == ("var/postgres", "hunter2")
    assert (found.database.connections, found.watchdog.interval) == (2, 1.0)
    first, second = found.senders
    assert (first.name, first.plugin, first.options) == ("modica", "modica", {"source": "2048"})
    assert (first.concurrency, first.deadline, first.segments) == (10, 20.0, 2)
    assert (second.name, second.plugin) == ("second_modica-2", "modica")
    assert (second.concurrency, second.deadline, second.segments) == (3, 4.5, 1)
    assert set(second.options) == {"password_file"}


def test_senders_keep_the_order_of_the_file() -> None:
    """The first that serves a contact method is the one that does."""
    names = ["c", "a", "b"]
    found = from_mapping({"database": DATABASE, "senders": {name: {} for name in names}}, FILE)
    assert [sender.name for sender in found.senders] == names


# ------------------------------------------------------------------ where it may not


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"datbase": {}}, "datbase: unknown section, expected one of api, database, deadman,"),
        ({"deadman": {"interval": 5}}, "deadman.url: missing, expected the URL to ask for"),
        ({"deadman": {"url": "ping.example"}}, "deadman.url: expected http://… or https://…"),
        (
            {"deadman": {"url": "https://ping.example", "interval": 0.5}},
            "deadman.interval: expected at least 1, not 0.5",
        ),
        (
            {"deadman": {"url": "https://ping.example", "within": 0}},
            "deadman.within: expected at least 0.1, not 0",
        ),
        (
            {"deadman": {"url": "https://ping.example", "method": "PUT"}},
            "deadman.method: invalid enum value 'PUT'",
        ),
        ({"database": {"ulr": "x"}}, "database.ulr: unknown key, expected one of connections,"),
        ({"api": {"port": 80}}, "api.port: unknown key, expected one of listen"),
        ({"watchdog": {"every": 1}}, "watchdog.every: unknown key, expected one of interval"),
        ({"watchdog": {"undelivered": 5}}, "watchdog.undelivered: expected at least 60, not 5"),
        (
            {"senders": {"modica": {"canary_to": "64211234567"}}},
            "senders.modica.canary_to: expected a number like +64211234567",
        ),
        (
            {"senders": {"modica": {"canary_to": "+64211234567", "canary_interval": 30}}},
            "senders.modica.canary_interval: expected at least 60.0, not 30",
        ),
        (
            {"senders": {"modica": {"canary_to": "+64211234567", "canary_within": 1}}},
            "senders.modica.canary_within: expected at least 5, not 1",
        ),
        ({"api": []}, "api: expected a section, [api]"),
        ({"database": "postgresql://h/d"}, "database: expected a section, [database]"),
        ({"senders": ["modica"]}, "senders: expected sections, [senders.NAME]"),
        ({"senders": {"modica": 1}}, "senders.modica: expected a section, [senders.modica]"),
        ({"database": {"url": 5}}, "database.url: expected `str | null`, got `int`"),
        (
            {"database": DATABASE | {"connections": "8"}},
            "database.connections: expected `int`, got `str`",
        ),
        (
            {"database": DATABASE | {"connections": True}},
            "database.connections: expected `int`, got `bool`",
        ),
        ({"api": {"listen": "tcp:80"}}, "api.listen: expected `array`, got `str`"),
        ({"api": {"listen": ["tcp:80", 81]}}, "api.listen[1]: expected `str`, got `int`"),
        ({"api": {"listen": []}}, "api.listen: expected at least one endpoint"),
        (
            {"retention": {"years": 1}},
            "retention.years: unknown key, expected one of heartbeats, history, replies, tokens",
        ),
        ({"retention": {"history": 1.5}}, "retention.history: expected `int`, got `float`"),
        (
            {"retention": {"history": 7}},
            "retention.history: expected 8 to 36500 days, not 7:"
            " codes and Idempotency-Keys are good for 7",
        ),
        (
            {"retention": {"heartbeats": 40_000}},
            "retention.heartbeats: expected 8 to 36500 days, not 40000:"
            " codes and Idempotency-Keys are good for 7",
        ),
        ({"watchdog": {"interval": "5 s"}}, "watchdog.interval: expected `float`, got `str`"),
        ({"watchdog": {"interval": 0}}, "watchdog.interval: expected at least 0.1, not 0"),
        (
            {"watchdog": {"interval": float("nan")}},
            "watchdog.interval: expected at least 0.1, not nan",
        ),
        (
            {"watchdog": {"interval": float("inf")}},
            "watchdog.interval: expected at least 0.1, not inf",
        ),
        (
            {"database": DATABASE | {"connections": 1}},
            "database.connections: expected at least 2, not 1",
        ),
        (
            {"senders": {"modica": {"concurrency": 0}}},
            "senders.modica.concurrency: expected at least 1, not 0",
        ),
        (
            {"senders": {"modica": {"deadline": 0.0}}},
            "senders.modica.deadline: expected at least 0.1, not 0.0",
        ),
        (
            {"senders": {"modica": {"segments": 0}}},
            "senders.modica.segments: expected 1 to 10, not 0",
        ),
        (
            {"senders": {"modica": {"segments": 11}}},
            "senders.modica.segments: expected 1 to 10, not 11",
        ),
        (
            {"senders": {"modica": {"plugin": 1}}},
            "senders.modica.plugin: expected `str`, got `int`",
        ),
        (
            {"senders": {"our modica": {}}},
            "senders.our modica: expected a name of letters, digits, - and _",
        ),
        ({"senders": {"../v1": {}}}, "senders.../v1: expected a name of letters"),
        ({"senders": {"módica": {}}}, "senders.módica: expected a name of letters"),
        ({"senders": {"": {}}}, "senders.: expected a name of letters"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_file_the_key_and_what_was_expected(
    raw: dict[str, Any], said: str
) -> None:
    assert refusal({"database": DATABASE, **raw}).startswith(said)


@pytest.mark.parametrize("database", [{}, {**DATABASE, "embedded": "var/postgres"}])
def test_the_database_is_one_or_the_other(database: Mapping[str, str]) -> None:
    assert refusal({"database": database}) == (
        "database: expected either url (a PostgreSQL URI) or embedded (a directory)"
    )
    assert refusal({"database": database, "api": {}}) == refusal({"database": database})


def test_without_a_database_section_it_is_missed() -> None:
    assert refusal({}).startswith("database: expected either url")


# ------------------------------------------------------------------ secrets in files


def options(tmp_path: Path, **raw: object) -> Options:
    return section(FILE, "senders.x", raw, Options)


def test_every_key_can_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    """Only the ends of lines are taken off; a password may begin and end with a space."""
    secret = tmp_path / "secret"
    secret.write_bytes(" pässword \r\n".encode())
    assert options(tmp_path, password_file=str(secret)).password == " pässword "


def test_a_plugin_may_have_a_key_that_itself_ends_in_file() -> None:
    class Keyed(msgspec.Struct):
        key: str = ""
        key_file: str = ""

    assert section(FILE, "senders.x", {"key_file": "/x"}, Keyed).key_file == "/x"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({}, "senders.x.password: missing, expected a value"),
        ({"password": None}, "senders.x.password: expected `str`, got `null`"),
        (
            {"password": "a", "password_file": "b"},
            "senders.x.password_file: expected only one of password and password_file",
        ),
        ({"password_file": 7}, "senders.x.password_file: expected the path of a file"),
        (
            {"password_file": "/does/not/exist"},
            "senders.x.password_file: /does/not/exist cannot be read: No such file or directory",
        ),
        ({"password_file": "/"}, "senders.x.password_file: / cannot be read: Is a directory"),
        ({"password_file": "a\0b"}, "senders.x.password_file: a\0b cannot be read: it is not"),
        (
            {"passwort_file": "/x"},
            "senders.x.passwort_file: unknown key, expected one of password, ring",
        ),
        ({"password": "a", "ring": "loud"}, "senders.x.ring: expected `int`, got `str`"),
    ],
)
def test_a_secret_that_cannot_be_had_stops_the_start_with_one_line(
    raw: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        section(FILE, "senders.x", raw, Options)
    assert sentence(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "cannot be read: it is not text")],
)
def test_a_secret_file_with_no_secret_in_it_is_refused(
    tmp_path: Path, content: bytes, said: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        options(tmp_path, password_file=str(secret))
    assert said in sentence(raised.value)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that every account may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        if not all(parent.stat().st_mode & 0o001 for parent in Path(made).resolve().parents):
            pytest.skip("the directory for temporary files is closed to others")
        yield Path(made)


def test_a_secret_file_that_everybody_can_read_is_refused(open_place: Path) -> None:
    secret = open_place / "secret"
    secret.write_text("hunter2")
    for mode in (0o644, 0o604, 0o444):
        secret.chmod(mode)
        with pytest.raises(SettingsError) as raised:
            options(open_place, password_file=str(secret))
        said = f"senders.x.password_file: {secret} can be read by everybody here: chmod o-r"
        assert sentence(raised.value) == said
    (open_place / "link").symlink_to(secret)
    with pytest.raises(SettingsError, match="everybody"):
        options(open_place, password_file=str(open_place / "link"))
    for mode in (0o640, 0o600, 0o400):
        secret.chmod(mode)
        assert options(open_place, password_file=str(secret)).password == "hunter2"


def test_in_a_directory_that_others_cannot_enter_its_mode_does_not_matter(open_place: Path) -> None:
    secret = open_place / "secret"
    secret.write_text("hunter2")
    secret.chmod(0o644)
    open_place.chmod(0o750)
    assert options(open_place, password_file=str(secret)).password == "hunter2"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_secret_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    secret.chmod(0)
    with pytest.raises(SettingsError, match="Permission denied"):
        options(tmp_path, password_file=str(secret))


# ------------------------------------------------------------------ the file itself


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[database", "is not TOML: Expected ']' at the end of a table declaration (at end"),
        (b"[database]\nurl = postgresql", "is not TOML: Invalid value (at line 2, column 7)"),
        (b"[api]\n[api]\n", "is not TOML: Cannot declare ('api',) twice (at line 2, column 5)"),
        (b"\xff", "is not TOML: 'utf-8' codec can't decode byte 0xff in position 0"),
    ],
)
def test_a_file_that_is_not_toml_is_refused_with_the_place(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "hotpotato.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        load(file)
    assert str(raised.value).startswith(f"{file}: {said}")
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a dir")):
        with pytest.raises(SettingsError) as raised:
            load(path)
        assert str(raised.value).startswith(f"{path}: cannot be read: {why}")


def test_the_contracts_example_is_understood() -> None:
    """CONTRACT section 2, but for the secrets, which are looked up when the plugin is known."""
    found = from_mapping(
        {
            "api": {"listen": ["tcp:8080:interface=127.0.0.1"]},
            "database": {
                "url": "postgresql://hotpotato@db1,db2/hotpotato?target_session_attrs=read-write"
            },
            "watchdog": {"interval": 5.0},
            "senders": {
                "modica": {
                    "plugin": "modica",
                    "url": "https://api.modicagroup.com/rest/gateway",
                    "application": "example",
                    "password_file": "/etc/hotpotato/modica.secret",
                    "source": "2048",
                }
            },
        },
        settings.DEFAULT_PATH,
    )
    assert found.senders[0].options["source"] == "2048"
