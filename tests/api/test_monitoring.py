"""What real Icinga 2, Nagios and Alertmanager were seen to send, line by line.

Their clocks say 2026-11-23 07:32:24 UTC, in Pacific/Auckland, which is the tenant's zone.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from tests.api.talk import (
    BEAT,
    SEND,
    Connection,
    a_host,
    a_notification,
    alerts,
    is_error,
    look_up,
    request,
    row,
    taken,
)
from tests.world import World

SAID = "2026-11-23 07:32:24.000000"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def texts_about(world: World, hostname: str) -> list[str]:
    """What phones show about a host."""
    return [text for text in world.texts() if hostname in text]


# ---------------------------------------------------------------- times


@pytest.mark.parametrize(
    "given",
    [
        "2026-11-23 20:32:24 +1300",  # Icinga 2 long_date_time
        "2026-11-23 20:32:24",  # Icinga 2 short_date_time, Nagios SHORTDATETIME iso8601
        "1795419144",  # Icinga 2 timet, Nagios TIMET
        1795419144,
        "Mon Nov 23 20:32:24 NZDT 2026",  # Nagios LONGDATETIME
        "11-23-2026 20:32:24",  # Nagios SHORTDATETIME us
        "23-11-2026 20:32:24",  # euro
        "2026-11-23T20:32:24",  # strict-iso8601
    ],
)
@pytest_twisted.ensureDeferred
async def test_every_form_of_a_time(shared: World, given: object) -> None:
    answer = await taken(shared, timestamp=given)
    assert (answer["message"], answer["data"]["timestamp"]) == (None, SAID)
    v1 = await shared.post(
        "/api/v1/add/notification", {"hostname": "x", "state": "OK", "icingadatetime": given}
    )
    assert (v1.status, v1.json["icingadatetime"]) == (201, SAID)


@pytest_twisted.ensureDeferred
async def test_alertmanagers_times_have_up_to_nine_digits_and_a_year_one(shared: World) -> None:
    answer = await taken(shared, timestamp="2026-11-23T07:27:46.60028807Z")
    assert answer["data"]["timestamp"] == "2026-11-23 07:27:46.600288"
    answer = await taken(shared, timestamp="0001-01-01T00:00:00Z")
    assert answer["data"]["timestamp"] == "2026-11-23 14:00:00.000000"


@pytest_twisted.ensureDeferred
async def test_us_and_euro_can_not_be_told_apart_up_to_day_12_so_arrival_is_used(
    shared: World,
) -> None:
    answer = await taken(shared, timestamp="05-06-2026 20:32:24")
    assert answer["message"] == "timestamp not understood, arrival time used"
    assert answer["data"]["timestamp"] == "2026-11-23 14:00:00.000000"


@pytest_twisted.ensureDeferred
async def test_an_abbreviation_is_no_offset_by_itself(shared: World) -> None:
    """But it tells the two 02:30s of the night when clocks go back."""
    meant = [
        (await taken(shared, timestamp=f"Sun Apr  5 02:30:00 {zone} 2026"))["data"]["timestamp"]
        for zone in ("NZDT", "NZST", "XYZ")
    ]
    assert meant == [
        "2026-04-04 13:30:00.000000",
        "2026-04-04 14:30:00.000000",
        "2026-04-04 13:30:00.000000",
    ]


# ---------------------------------------------------------------- which notification is which

NON_OK = ["WARNING", "CRITICAL", "UNKNOWN", "DOWN", "UNREACHABLE"]

# type, state at that moment, what becomes of an open alert
SEEN = [
    *(("PROBLEM", state, "triggered") for state in NON_OK),
    ("RECOVERY", "OK", "resolved"),
    ("RECOVERY", "UP", "resolved"),
    *(("ACKNOWLEDGEMENT", state, "acknowledged") for state in NON_OK),
    *(("CUSTOM", state, "triggered") for state in ("OK", "UP", "CRITICAL", "DOWN")),
    *(("DOWNTIMESTART", state, "triggered") for state in ("OK", "UP", "CRITICAL", "DOWN")),
    *(("DOWNTIMEEND", state, "triggered") for state in ("OK", "UP", "CRITICAL", "DOWN")),
    ("DOWNTIMECANCELLED", "OK", "triggered"),
    ("DOWNTIMEREMOVED", "OK", "triggered"),
    ("FLAPPINGSTART", "OK", "resolved"),
    ("FLAPPINGEND", "OK", "resolved"),
    ("FLAPPINGSTOP", "OK", "resolved"),
    ("FLAPPINGDISABLED", "OK", "resolved"),
]


@pytest.mark.parametrize(("event", "state", "left"), SEEN)
@pytest_twisted.ensureDeferred
async def test_type_and_state_as_they_were_seen(
    shared: World, event: str, state: str, left: str
) -> None:
    host = a_host()
    await taken(shared, hostname=host, state="WARNING" if state == "CRITICAL" else "CRITICAL")
    answer = await taken(shared, hostname=host, event=event, state=state)
    assert answer["message"] is None
    assert [status for status, _ in alerts(shared, host)] == [left]


@pytest.mark.parametrize("event", sorted({event for event, state, _ in SEEN if state == "OK"}))
@pytest_twisted.ensureDeferred
async def test_an_ok_without_an_open_problem_does_no_harm(shared: World, event: str) -> None:
    host = a_host()
    await taken(shared, hostname=host, event=event, state="OK")
    assert alerts(shared, host) == []


@pytest_twisted.ensureDeferred
async def test_a_re_notification_is_the_same_alert_and_pages_again(shared: World) -> None:
    """Its body is equal but for the time, or wholly equal."""
    host = a_host()
    for second in (24, 24, 25):
        await taken(shared, hostname=host, timestamp=f"2026-11-23 20:32:{second} +1300")
        await shared.advance(1)
    assert alerts(shared, host) == [("triggered", "CRITICAL")]
    assert len(texts_about(shared, host)) == 3


@pytest_twisted.ensureDeferred
async def test_a_leaf_behind_a_dead_parent_is_down_and_then_unreachable(shared: World) -> None:
    host = a_host()
    for state in ("DOWN", "UNREACHABLE"):
        await taken(shared, hostname=host, event="PROBLEM", state=state)
        await shared.settle()
    assert alerts(shared, host) == [("triggered", "UNREACHABLE")]
    assert [text.split()[0] for text in texts_about(shared, host)] == ["DOWN", "UNREACHABLE"]


@pytest_twisted.ensureDeferred
async def test_flapping_replaces_the_recovery_and_none_follows(shared: World) -> None:
    host = a_host()
    await taken(shared, hostname=host, event="PROBLEM")
    await shared.settle()
    await taken(shared, hostname=host, event="FLAPPINGSTART", state="OK")
    await taken(shared, hostname=host, event="FLAPPINGEND", state="OK")
    await shared.settle()
    assert [text.split()[0] for text in texts_about(shared, host)] == ["CRITICAL", "OK"]


# ---------------------------------------------------------------- fields


@pytest.mark.parametrize("absent", [None, "", "$SERVICEDESC$", "not sent"])
@pytest_twisted.ensureDeferred
async def test_a_host_notification_has_no_service(shared: World, absent: object) -> None:
    host = a_host()
    fields = {} if absent == "not sent" else {"service_name": absent}
    answer = await taken(shared, hostname=host, state="DOWN", **fields)
    assert (answer["message"], answer["data"]["notif_type"]) == (None, "host")
    assert answer["data"]["service_name"] == ""
    await taken(shared, hostname=host, state="UP")
    assert alerts(shared, host) == [("resolved", "DOWN")]


@pytest.mark.parametrize(
    ("given", "kept"),
    [(42, "42"), ("DB42", "DB42"), ("", ""), (None, ""), ("$_HOSTTROUBLE$", ""), ("no", "no")],
)
@pytest_twisted.ensureDeferred
async def test_a_trouble_code_comes_in_many_ways(shared: World, given: object, kept: str) -> None:
    answer = await taken(shared, trouble_code=given)
    assert (answer["message"], answer["data"]["trouble_code"]) == (None, kept)


@pytest.mark.parametrize(
    "name",
    [
        "Größe der Warteschlange",
        "DB 1 – Wellington (primär)",
        "disk /var/lib",
        r"C:\Program Files",
        "load & 'quotes' \"<b>\"",
        "ping%4",
        "🥔",
    ],
)
@pytest_twisted.ensureDeferred
async def test_names_have_spaces_slashes_and_utf8(shared: World, name: str) -> None:
    await taken(shared, hostname=name, service_name=name)
    answer = await taken(shared, hostname=name, service_name=name, display_name=name)
    data = answer["data"]
    assert answer["message"] is None
    assert data["hostname"] == data["service_name"] == data["display_name"] == name
    assert (await look_up(shared, data["id"]))["servicename"] == name
    assert alerts(shared, name) == [("triggered", "CRITICAL")]


@pytest.mark.parametrize(
    "output",
    [
        "two\nreal\nlines\tand a tab",
        "quotes \" and ' and <b>bold</b>",
        r"Nagios' literal\nbackslash-n",
        "(No output returned from plugin)",
        "DISK CRITICAL - / 98% used | /=98%;80;90;0;100",
        "x" * 16384,
    ],
    ids=lambda output: output[:20],
)
@pytest_twisted.ensureDeferred
async def test_outputs_are_kept_as_they_came(shared: World, output: str) -> None:
    answer = await taken(shared, output=output)
    assert (answer["message"], answer["data"]["output"]) == (None, output)


@pytest_twisted.ensureDeferred
async def test_an_output_of_72_kb_is_taken_and_cut(shared: World) -> None:
    output = "".join(f"line {number}\n" for number in range(8000))[: 72 * 1024]
    answer = await taken(shared, output=output)
    assert answer["message"] == "output cut to 16384 bytes"
    assert answer["data"]["output"] == output[:16384]
    assert json.loads(row(shared, answer["data"]["id"])["original"])["output"] == output


@pytest_twisted.ensureDeferred
async def test_json_encode_is_pure_ascii(shared: World) -> None:
    body = rb'{"hostname":"potato","state":"CRITICAL","output":"Gr\u00f6\u00dfe \ud83e\udd54"}'
    response = await shared.post(SEND, body)
    assert (response.status, response.data["output"]) == (201, "Größe 🥔")


# ---------------------------------------------------------------- several at once


@pytest_twisted.ensureDeferred
async def test_several_contacts_bring_several_requests_in_one_second(shared: World) -> None:
    """Nagios calls the command once for each contact: one alert, and no request is lost."""
    host = a_host()
    answers = await gatherResults(
        [
            Deferred.fromCoroutine(taken(shared, hostname=host, author=f"contact {number}"))
            for number in range(10)
        ]
    )
    assert len({answer["data"]["id"] for answer in answers}) == 10
    assert alerts(shared, host) == [("triggered", "CRITICAL")]
    await shared.settle()
    assert len(texts_about(shared, host)) == 1


@pytest_twisted.ensureDeferred
async def test_problems_and_recoveries_at_once_leave_each_alert_as_it_was_last_told(
    shared: World,
) -> None:
    """On one connection the order is certain; different hosts don't wait for each other."""
    hosts = [a_host() for _ in range(5)]

    async def flip(host: str) -> None:
        connection = await Connection.to(shared)
        for state in ("DOWN", "UP", "DOWN", "DOWN", "UP", "DOWN"):
            body = a_notification(hostname=host, state=state)
            connection.say(request("POST", SEND, body, key=shared.key))
        for _ in range(6):
            assert (await connection.answer()).status == 201
        connection.leave()

    await gatherResults([Deferred.fromCoroutine(flip(host)) for host in hosts])
    for host in hosts:
        assert [status for status, _ in alerts(shared, host)] == [
            "resolved",
            "resolved",
            "triggered",
        ]


@pytest_twisted.ensureDeferred
async def test_a_recovery_that_overtakes_its_problem_is_recorded_only(shared: World) -> None:
    """In any order: nobody can know better; the next re-notification or recovery will mend it."""
    host = a_host()
    await taken(shared, hostname=host, event="RECOVERY", state="OK")
    await taken(shared, hostname=host, event="PROBLEM", state="CRITICAL")
    assert alerts(shared, host) == [("triggered", "CRITICAL")]


# ---------------------------------------------------------------- HTTP


@pytest_twisted.ensureDeferred
async def test_curl_x_post_has_no_content_length_no_content_type_and_no_body(
    shared: World,
) -> None:
    connection = await Connection.to(shared)
    connection.say(
        b"POST /api/servers/v2/heartbeats/create HTTP/1.1\r\n"
        b"Host: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
        b"Authorization: Apikey " + shared.key.encode() + b"\r\n\r\n"
    )
    answer = await connection.answer()
    assert answer.status == 201
    assert answer.json["code"] == 201
    connection.leave()


@pytest_twisted.ensureDeferred
async def test_curl_d_claims_a_form_over_json(shared: World) -> None:
    body = {"hostname": a_host(), "state": "DOWN", "output": "a=b&c=d+e%20f"}
    response = await shared.post(SEND, body, headers=FORM)
    assert (response.status, response.data["output"]) == (201, "a=b&c=d+e%20f")
    v1 = await shared.request(
        "POST",
        "/api/v1/add/notification",
        json.dumps(body | {"apikey": shared.key}).encode(),
        FORM,
    )
    assert v1.status == 201


WATCHDOG = {
    "receiver": "watchdog",
    "status": "firing",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "Watchdog", "severity": "none"},
            "annotations": {},
            "startsAt": "2026-11-23T07:27:46.60028807Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus:9090/graph?g0.expr=vector%281%29&g0.tab=1",
            "fingerprint": "e1749c6acb64267c",
        }
    ],
    "groupLabels": {},
    "commonLabels": {"alertname": "Watchdog", "severity": "none"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager:9093",
    "version": "4",
    "groupKey": '{}/{alertname="Watchdog"}:{}',
    "truncatedAlerts": 0,
}


@pytest.mark.parametrize("scheme", ["Bearer", "Apikey"])
@pytest_twisted.ensureDeferred
async def test_alertmanagers_watchdog_route_posts_its_json_at_the_heartbeat_url(
    shared: World, scheme: str
) -> None:
    """Alertmanager's `authorization` says Bearer unless told otherwise."""
    headers = {
        "Authorization": f"{scheme} {shared.key}",
        "Content-Type": "application/json",
        "User-Agent": "Alertmanager/0.25.0",
    }
    response = await shared.request("POST", BEAT, json.dumps(WATCHDOG).encode(), headers)
    assert response.status == 201
    assert shared.sql("SELECT 1 FROM heartbeat WHERE id = %s", response.data["id"]) == [(1,)]


# JSON pasted together from macros, as it was seen to break.
BROKEN = [
    b'{"hostname": "db1", "state": "CRITICAL", "output": "table "users" is corrupt"}',
    b'{"hostname": "db1", "state": "CRITICAL", "output": "two\nlines"}',
    b'{"hostname": "db1", "state": "CRITICAL", "output": "C:\\pagefile.sys"}',
]


@pytest.mark.parametrize("body", BROKEN)
@pytest_twisted.ensureDeferred
async def test_json_that_its_own_output_broke_is_400_and_the_tenant_sees_it(
    shared: World, body: bytes
) -> None:
    """Non-JSON for exactly the interesting alarms: so somebody must see what it said."""
    name = f"pasted{a_host()}"
    key = await shared.add_server_now(name)
    assert is_error(await shared.post(SEND, body, key=key, headers=FORM), 400)
    await shared.settle()
    (text,) = texts_about(shared, name)
    assert "can't be read" in text
    assert "db1" in text


@pytest_twisted.ensureDeferred
async def test_curl_retry_posts_again_without_a_key_and_that_is_a_new_notification(
    shared: World,
) -> None:
    host = a_host()
    ids: set[Any] = set()
    for _ in range(2):
        ids.add((await taken(shared, hostname=host))["data"]["id"])
    assert len(ids) == 2
    assert alerts(shared, host) == [("triggered", "CRITICAL")]
