"""The API's description of itself is whole, and what it says is so, whatever is asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from hotpotato.api.openapi import PATH
from hotpotato.rules import keys
from hotpotato.store import calendars
from tests.api.test_callbacks import GOOD
from tests.api.test_hostile import is_unharmed
from tests.api.test_people import token
from tests.world import World

EXAMPLES = 10
"""Requests of each kind that are made up for each endpoint."""

SECONDS = 200
PLACES = {
    "key": r"^/api(/servers)?/v[12]/(add|check|heartbeats|notifications)/",
    "callback": r"/(mo-messages|dlr-status)$",
    "token": r"^/api/people/",
}
"""Which addresses take which credentials."""


async def described(world: World) -> Any:
    response = await world.request("GET", PATH)
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    return response.json


def operations(document: Any) -> dict[tuple[str, str], Any]:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


@pytest_twisted.ensureDeferred
async def test_every_route_is_described_and_nothing_else_is(shared: World) -> None:
    """By the router's own table."""
    rules: Any = shared.daemons[0].application._app.url_map.iter_rules()
    routed = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in rules
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert set(operations(await described(shared))) == routed
    assert len(routed) > 25


@pytest_twisted.ensureDeferred
async def test_every_operation_says_what_it_does_and_what_is_asked_for(shared: World) -> None:
    document = await described(shared)
    for (method, path), operation in operations(document).items():
        assert operation["summary"].endswith("."), path
        assert "default" in operation["responses"], path
        assert any(status.startswith("2") for status in operation["responses"]), path
        named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
        schemes = {name for each in operation["security"] for name in each}
        assert schemes <= set(document["components"]["securitySchemes"])
        assert schemes == {name for name, where in PLACES.items() if re.search(where, path)}, path
        assert ("requestBody" in operation) == (method == "POST"), path


@pytest.mark.timeout(240)
@pytest_twisted.ensureDeferred
async def test_any_request_to_any_endpoint_is_answered_as_described(
    daemon: World, tmp_path: Path
) -> None:
    """Schemathesis makes them up, right ones and wrong ones: no 5xx, and envelopes everywhere."""
    calendar = keys.new_key()
    await daemon.store(
        lambda tx: calendars.add(
            tx, daemon.tenant_id, keys.key_digest(calendar), person_id=daemon.person("Anna")
        )
    )
    credentials = {
        "key": f"Apikey {daemon.key}",
        "callback": GOOD,
        "token": f"Bearer {await token(daemon)}",
    }
    (tmp_path / "schemathesis.toml").write_text(
        "\n".join(
            f"[[operations]]\ninclude-path-regex = '{where}'\n"
            f'headers = {{ Authorization = "{credentials[name]}" }}'
            for name, where in PLACES.items()
        )
        + "\n[[operations]]\ninclude-path-regex = '^/calendars/'\n"
        f'parameters = {{ "path.token" = "{calendar}" }}\n'
    )
    before = (await described(daemon))["paths"]
    ended = await deferToThread(schemathesis, daemon.url + PATH, tmp_path)
    assert ended.returncode == 0, ended.stdout[-10_000:] + ended.stderr
    await is_unharmed(daemon)
    assert (await described(daemon))["paths"] == before
    codes = await answered(daemon)
    assert {code for _, code in codes if code.startswith("5")} == set()
    # All of them were let in somewhere, or only the doors would have been tried.
    paths = {path for path, code in codes if code.startswith("2")}
    assert {re.sub(r"<(?:int:)?(\w+)>", r"{\1}", path) for path in paths} == set(before)
    report = json.loads((tmp_path / "report.json").read_text())
    # It leaves out the description itself, which it has read.
    assert report["operations"]["tested"] == len(operations({"paths": before})) - 1
    assert report["test_cases"]["generated"] > 500


async def answered(world: World) -> set[tuple[str, str]]:
    """Every pair of a route and a status that was answered."""
    text = (await world.request("GET", "/metrics")).body.decode()
    sample = r'^hotpotato_requests_total{code="(\d+)",method="\w+",path="(.+)"}'
    return {(path, code) for code, path in re.findall(sample, text, re.MULTILINE)}


def schemathesis(url: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Run it, with a seed that is always the same."""
    checks = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "unsupported_method",
    )
    program = Path(sysconfig.get_path("scripts")) / "schemathesis"
    return subprocess.run(
        [
            sys.executable, str(program), "--config-file", "schemathesis.toml", "run", url,
            "--seed", "7", "--max-examples", str(EXAMPLES), "--phases", "examples,coverage,fuzzing",
            "--checks", ",".join(checks), "--mode", "all", "--continue-on-failure",
            "--suppress-health-check", "all", "--warnings", "off", "--request-timeout", "10",
            "--no-color", "--generation-database", "none", "--report-json-path", "report.json",
        ],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )  # fmt: skip
