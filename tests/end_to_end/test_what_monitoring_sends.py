"""What Icinga 2 and Nagios 4 themselves send with the snippets from etc/, field by field."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_twisted

from .monitoring import (
    CRITICAL,
    DISPLAY_NAME,
    DOWN,
    HOST,
    OK,
    SERVICE,
    TROUBLE_CODE,
    UP,
    Icinga2,
    Monitoring,
    Nagios4,
    Nagios4V1,
    installed,
    needs_icinga2,
    needs_nagios4,
    running,
)
from .recorder import Received, Recorder

API_KEY = "k3y"
FIRST_LINE = (
    """CRITICAL - "queue" isn't empty: 12 > 10 & 🥔 ~ `id` $HOME $host.name$ C:\\temp <b>"""
)
SECOND_LINE = """zweite Zeile: größer als "zehn" """.rstrip()
V1_NAMES = {
    "notif_type": "notificationtype",
    "trouble_code": "troublecode",
    "display_name": "displayname",
    "service_name": "servicename",
    "timestamp": "icingadatetime",
}
PATHS = {
    False: ("/api/servers/v2/notifications/send", "/api/servers/v2/heartbeats/create"),
    True: ("/api/v1/add/notification", "/api/v1/add/heartbeat"),
}
HOST_FIELDS = {"hostname": HOST, "display_name": DISPLAY_NAME, "trouble_code": TROUBLE_CODE}


class Nagios4WithoutEnvironment(Nagios4):
    """Nagios as it is without enable_environment_macros=1."""

    environment_macros = False


class Icinga1(Nagios4):
    """Icinga 1 has the syntax of Nagios; Debian has it no more."""

    snippet = Nagios4.snippet.parents[1] / "icinga1" / "hotpotato.cfg"


every_program = [
    pytest.param(Icinga2, marks=needs_icinga2),
    pytest.param(Nagios4, marks=needs_nagios4),
    pytest.param(Nagios4V1, marks=needs_nagios4),
]


class Site:
    """A monitoring program that is installed, and the server that it talks to."""

    def __init__(self, program: Monitoring, recorder: Recorder) -> None:
        self.program = program
        self.recorder = recorder
        self.is_v1 = isinstance(program, Nagios4V1)
        self.has_newlines = isinstance(program, Icinga2)

    async def notification(self, event: str, state: str) -> Mapping[str, str]:
        """The fields, under the names of V2, of the first notification of that kind."""

        def fields(one: Received) -> Mapping[str, str]:
            names = {old: new for new, old in V1_NAMES.items()} if self.is_v1 else {}
            return {names.get(name, name): value for name, value in one.body.items()}

        found = await self.recorder.wait_for(
            lambda one: (fields(one).get("event"), fields(one).get("state")) == (event, state)
        )
        assert found.path == PATHS[self.is_v1][0]
        assert found.headers["authorization"] == f"Apikey {API_KEY}"
        assert len(found.headers["idempotency-key"]) >= 32
        return fields(found)


@pytest_twisted.async_yield_fixture()
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """A site where the program runs, which is the fixture's parameter."""
    recorder = Recorder()
    try:
        async with running(request.param, recorder.url, API_KEY) as program:
            yield Site(program, recorder)
    finally:
        await recorder.stop()


@pytest.mark.parametrize("site", every_program, indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_service_problem_its_acknowledgement_and_its_end_come_unmangled(
    site: Site,
) -> None:
    """Quotes, newlines, dollar signs and UTF-8 survive, and every field says what it should."""
    began = int(time.time())
    site.program.service(CRITICAL, f"{FIRST_LINE}\n{SECOND_LINE}")
    problem = await site.notification("PROBLEM", "CRITICAL")
    site.program.acknowledge_service('Jo "J" Bo', """it's; "mine" $x 🥔""")
    acknowledged = await site.notification("ACKNOWLEDGEMENT", "CRITICAL")
    site.program.service(OK, "OK - empty")
    recovery = await site.notification("RECOVERY", "OK")

    service_fields = {**HOST_FIELDS, "notif_type": "service", "service_name": SERVICE}
    for fields in (problem, acknowledged, recovery):
        assert fields.items() >= service_fields.items()
        assert began - 1 <= int(fields["timestamp"]) <= time.time() + 1
    line_break = "\n" if site.has_newlines else "\\n"
    assert problem["output"] == f"{FIRST_LINE}{line_break}{SECOND_LINE}"
    assert problem["number"] == "1"
    assert (acknowledged["author"], acknowledged["comment"]) == (
        'Jo "J" Bo',
        """it's; "mine" $x 🥔""",
    )
    assert recovery["output"] == "OK - empty"


@pytest.mark.parametrize("site", every_program, indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_host_problem_a_custom_notification_and_the_end_come_unmangled(
    site: Site,
) -> None:
    """A host notification says that it is one, and names no service."""
    site.program.host(DOWN, FIRST_LINE)
    problem = await site.notification("PROBLEM", "DOWN")
    site.program.announce_host("Jo", "ask me")
    custom = await site.notification("CUSTOM", "DOWN")
    site.program.host(UP, "UP - again")
    recovery = await site.notification("RECOVERY", "UP")

    for fields in (problem, custom, recovery):
        assert fields.items() >= {**HOST_FIELDS, "notif_type": "host"}.items()
        assert "service_name" not in fields
    assert problem["output"] == FIRST_LINE
    assert (custom["author"], custom["comment"]) == ("Jo", "ask me")
    assert recovery["output"] == "UP - again"


@pytest.mark.parametrize("site", every_program, indirect=True)
@pytest_twisted.ensureDeferred
async def test_heartbeats_are_sent_as_a_check(site: Site) -> None:
    """The snippet's service is the heartbeat, and it has the server's key."""
    site.program.heartbeat()
    beat = await site.recorder.wait_for(lambda one: one.is_heartbeat)
    assert beat.path == PATHS[site.is_v1][1]
    assert beat.headers["authorization"] == f"Apikey {API_KEY}"


@pytest.mark.parametrize("site", every_program, indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_plugin_that_says_nothing_pages_all_the_same(site: Site) -> None:
    """The output is empty, or what Nagios puts in its place."""
    site.program.service(CRITICAL, "")
    problem = await site.notification("PROBLEM", "CRITICAL")
    assert problem["output"] in ("", "(No output returned from plugin)")


@pytest.mark.parametrize("site", [pytest.param(Icinga2, marks=needs_icinga2)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_icinga2_pages_with_an_output_too_long_for_the_environment(site: Site) -> None:
    """Linux takes no value of 128 KiB; the snippet cuts the output to what Hot Potato keeps."""
    site.program.service(CRITICAL, "CRITICAL " + "x" * 200_000)
    problem = await site.notification("PROBLEM", "CRITICAL")
    assert problem["output"] == "CRITICAL " + "x" * (16_384 - len("CRITICAL "))


@pytest.mark.parametrize(
    "site", [pytest.param(Nagios4WithoutEnvironment, marks=needs_nagios4)], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_nagios_without_environment_macros_pages_all_the_same(site: Site) -> None:
    """What is lost is the free text, but not the page: the first line comes, less some signs."""
    site.program.service(CRITICAL, f"{FIRST_LINE}\n{SECOND_LINE}")
    problem = await site.notification("PROBLEM", "CRITICAL")
    assert problem["hostname"] == HOST
    assert problem["service_name"] == SERVICE
    assert problem["output"].startswith("CRITICAL - queue isnt empty: 12  10")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(Icinga2, marks=needs_icinga2),
        pytest.param(Nagios4, marks=needs_nagios4),
        pytest.param(Icinga1, marks=needs_nagios4),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_programs_own_check_has_nothing_against_the_snippet(
    kind: type[Monitoring],
) -> None:
    """`icinga2 daemon -C` and `nagios4 -v` find no error and warn of nothing."""
    with installed(kind, "http://127.0.0.1:1", API_KEY) as program:
        said = await program.check()
    assert "warning" not in said.lower().replace("total warnings: 0", "")


def test_the_snippets_for_nagios_and_icinga1_differ_in_names_only() -> None:
    """What is shown for Nagios holds for Icinga 1, whose variables are called ICINGA_*."""

    def definitions(path: Path) -> list[str]:
        lines = path.read_text().replace("ICINGA_", "NAGIOS_").splitlines()
        return [line for line in lines if not line.startswith("#")]

    assert definitions(Icinga1.snippet) == definitions(Nagios4.snippet)
