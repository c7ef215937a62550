"""What the documents and the examples in etc/ say is so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hotpotato import notify, settings
from hotpotato.api import people, site, wire
from hotpotato.commands import cli
from hotpotato.rules.replies import MOST_CONFIRMATIONS
from hotpotato.senders import http
from hotpotato.senders.registry import Registry

CHECKOUT = Path(__file__).parents[1]
DOCUMENTS = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]


def commands_shown() -> Iterator[tuple[str, str]]:
    """Every `hotpotato …` of a code block, and those in a line that are whole commands."""
    for document in DOCUMENTS:
        text = document.read_text()
        blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
        shown = re.findall(r"^(?:sudo -u hotpotato )?hotpotato (.*?)(?:  +#.*)?$", blocks, re.M)
        shown += re.findall(r"`(?:sudo -u hotpotato )?hotpotato ([^`]+)`", text)
        for line in shown:
            yield document.name, line


def every_command(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from every_command(command)
        else:
            yield command


@pytest.mark.parametrize(("document", "line"), sorted(set(commands_shown())))
def test_the_commands_that_documents_show_are_understood(
    document: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Names, options and what is typed; nothing is run. A sentence may leave arguments out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roster.toml").touch()
    for command in every_command(cli):
        monkeypatch.setattr(command, "callback", None)
    arguments = [
        word.replace("ID", "1").replace("+…", "+64211234567")
        for word in shlex.split(line)
        if not word.startswith(">")
    ]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0 or "Missing argument" in result.output, f"{document}: {line}"


def test_documents_link_to_files_that_are_there() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("document", ["delivery-contract.md", "operating.md", "security.md"])
def test_the_tests_that_a_document_names_are_there(document: str) -> None:
    text = (CHECKOUT / "docs" / document).read_text()
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (CHECKOUT / "tests" / file).read_text(), f"{file}::{test}"


@pytest.mark.parametrize("document", ["delivery-contract.md", "security.md"])
def test_every_row_of_a_table_of_tests_names_one(document: str) -> None:
    """A table whose second column is headed so has no sentence that nothing proves."""
    text = (CHECKOUT / "docs" / document).read_text()
    tables = re.findall(
        r"^\|[^|]*\| (?:the|The) test \|\n\| --- \| --- \|\n((?:\|.*\n)+)", text, re.M
    )
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 20
    for row in rows:
        assert re.search(r"\| `[\w/]+\.py::\w+` \|$", row), row


def test_the_bounds_in_the_manual_are_those_of_the_program() -> None:
    """Each has a test in the table, and the figures that a constant has are the constant's."""
    text = (CHECKOUT / "docs/operating.md").read_text()
    rows = re.findall(r"^\| (.*) \|$", text.partition("## Bounds")[2].partition("\n## ")[0], re.M)
    bounds = {
        what: (limit, test) for what, limit, _, test in (row.split(" | ") for row in rows[2:])
    }
    assert len(bounds) > 20
    assert all("::" in test for _, test in bounds.values())
    assert bounds["connections to the API"][0] == f"{wire.MOST_CONNECTIONS} each"
    assert bounds["a body"][0] == f"{wire.MOST_BODY // 2**20} MiB"
    assert bounds["all bodies"][0] == f"{wire.MOST_HELD // 2**20} MiB each"
    assert bounds["the time for a request to come"][0] == f"{wire.IDLE:g} s"
    assert bounds["the time for an answer"][0] == f"{site.ANSWER_WITHIN:g} s"
    connections = f"`connections`, {settings.Database().connections}, and one more each"
    assert bounds["connections to the database"][0] == connections
    assert bounds["alerts in an answer of the people's API"][0] == f"{people.MOST_ALERTS}"
    assert bounds["a provider's answer"][0].startswith(f"{http.BODY_LIMIT // 1024} KiB,")
    assert f"{notify.DEFAULT_SPOOL_LIMIT:,} files" in bounds["a client's spool"][0]
    assert f"{MOST_CONFIRMATIONS} an hour" in bounds["answers to replies"][0]


def example(tmp_path: Path, *, everything: bool) -> settings.Settings:
    """The example configuration, with secrets that are there; with `everything`, every key."""
    text = (CHECKOUT / "etc/hotpotato.toml").read_text()
    for secret in set(re.findall(r"/etc/hotpotato/([a-z-]+\.secret)", text)):
        (tmp_path / secret).write_text("hunter2\n")
    text = text.replace("/etc/hotpotato/", f"{tmp_path}/")
    if everything:
        text = re.sub(r"^# ([a-z_]+ = )", r"\1", text, flags=re.MULTILINE)
        text = re.sub(r"^embedded = .*$", "", text, flags=re.MULTILINE)
    path = tmp_path / "hotpotato.toml"
    path.write_text(text)
    return settings.load(path)


@pytest.mark.parametrize("everything", [False, True])
def test_the_example_configuration_is_understood(tmp_path: Path, everything: bool) -> None:
    """As it stands, and with everything that is commented out."""
    configured = example(tmp_path, everything=everything)
    plugins = Registry.discover().plugins
    for sender in configured.senders:
        settings.section(
            configured.path,
            f"senders.{sender.name}",
            sender.options,
            plugins[sender.plugin].settings,
        )


def test_what_is_commented_out_of_the_example_is_the_default(tmp_path: Path) -> None:
    plain = example(tmp_path, everything=False)
    every = example(tmp_path, everything=True)
    assert every.api == plain.api
    assert every.watchdog == plain.watchdog
    assert every.retention == plain.retention
    assert every.database.connections == plain.database.connections
    (one,), (other,) = plain.senders, every.senders
    assert (one.plugin, one.concurrency, one.deadline, one.segments) == (
        other.plugin,
        other.concurrency,
        other.deadline,
        other.segments,
    )
