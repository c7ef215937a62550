"""Version 2 of the interface, row by row and sentence by sentence, through a real socket."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.http_headers import Headers

from hotpotato import rota
from hotpotato.rules import keys
from hotpotato.store import servers
from tests.api.talk import (
    BEAT,
    GET,
    SEND,
    TIME,
    Connection,
    a_host,
    a_notification,
    alerts,
    another_tenant,
    get,
    is_error,
    look_up,
    request,
    row,
    send,
    stored,
    taken,
)
from tests.world import ANNA, BOB, CLEO, START, World

OPEN = "the alert is open"
DAY = 86400.0


def texts_about(world: World, hostname: str) -> list[str]:
    """What phones show about a host, but that somebody has acknowledged what is wrong with it."""
    return [text for text in world.texts() if hostname in text and "has acknowledged" not in text]


# ---------------------------------------------------------------- keys

CALLS = [("POST", BEAT), ("POST", SEND), ("GET", f"{GET}/1")]


async def call(world: World, method: str, path: str, credentials: Sequence[str]) -> Any:
    """Any of the three requests, with Authorization headers as given."""
    response = await world.http.request(
        method,
        world.url + path,
        headers=Headers({"Authorization": list(credentials)}),
        data=a_notification() if method == "POST" else None,
    )
    body = await response.json()
    return response, body


@pytest.mark.parametrize("scheme", ["Apikey", "apikey", "APIKEY", "Bearer", "bearer", "  Apikey  "])
@pytest_twisted.ensureDeferred
async def test_a_key_is_taken_in_either_scheme_in_any_case(shared: World, scheme: str) -> None:
    await taken(shared)
    for method, path in CALLS:
        response, body = await call(shared, method, path, [f"{scheme} {shared.key}"])
        assert response.code in (200, 201), body
        assert body["success"] is True


@pytest.mark.parametrize(
    "credentials",
    [
        [],
        [""],
        ["Apikey"],
        ["Apikey "],
        ["Apikey wrong"],
        ["Apikey {key} {key}"],
        ["Apikey {key}0"],
        ["{key}"],
        ["Basic {key}"],
        ["Apikey={key}"],
        ["Apikey: {key}"],
        ["Apikey wrong", "Apikey {key}"],
    ],
    ids=repr,
)
@pytest_twisted.ensureDeferred
async def test_a_missing_malformed_or_wrong_key_is_401(
    shared: World, credentials: list[str]
) -> None:
    before = stored(shared)
    for method, path in CALLS:
        given = [one.format(key=shared.key) for one in credentials]
        response, body = await call(shared, method, path, given)
        assert response.code == 401
        assert response.headers.getRawHeaders("WWW-Authenticate") == ["Apikey"]
        assert response.headers.getRawHeaders("Content-Type") == ["application/json"]
        assert list(body) == ["success", "code", "message", "data"]
        assert body["success"] is False
        assert body["code"] == 401
        assert "key" in body["message"]
        assert body["data"] is None
    assert stored(shared) == before


@pytest_twisted.ensureDeferred
async def test_the_key_is_checked_before_the_body(shared: World) -> None:
    for body in (b"", b"{", b"x" * 2_000_000):
        assert is_error(await shared.post(SEND, body, key="wrong"), 401)


async def rotate(world: World, name: str, *, revoke_old: bool = False) -> str:
    """Give a server a new key, as the command does."""
    key = keys.new_key()

    async def work(transaction: Any) -> None:
        (server,) = await servers.find(transaction, name)
        await servers.rotate_key(
            transaction, server.id, keys.key_digest(key), revoke_old=revoke_old
        )

    await world.store(work)
    return key


async def lives(world: World, key: str) -> bool:
    """Whether a key is taken, by all three requests alike."""
    answers = [
        await send(world, key, state="OK"),
        await world.post(BEAT, b"", key=key),
        await get(world, f"{GET}/1", key),
    ]
    refused = [is_error(answer, 401) for answer in answers]
    assert len(set(refused)) == 1, [answer.body for answer in answers]
    return not refused[0]


@pytest_twisted.ensureDeferred
async def test_an_old_key_lives_seven_days_more(world: World) -> None:
    old = world.key
    new = await rotate(world, "icinga1")
    assert await lives(world, old)
    assert await lives(world, new)
    await world.advance(7 * DAY - 1, step=DAY)
    assert await lives(world, old)
    await world.advance(1)
    assert not await lives(world, old)
    assert await lives(world, new)


@pytest_twisted.ensureDeferred
async def test_it_is_known_when_each_of_two_keys_was_used_last(world: World) -> None:
    """By whatever it was used; right to the minute, and written no more often for look-ups."""
    old = world.key

    def used() -> tuple[Any, ...]:
        return world.sql("SELECT key_used_at, old_key_used_at FROM server")[0]

    assert used() == (None, None)
    await taken(world)
    assert used() == (START, None)
    new = await rotate(world, "icinga1")
    assert used() == (None, START)
    world.sql("UPDATE test_clock SET now = now + interval '59 seconds'")
    await get(world, f"{GET}/1", old)
    assert used() == (None, START)
    world.sql("UPDATE test_clock SET now = now + interval '1 second'")
    await get(world, f"{GET}/1", old)
    assert used() == (None, START + timedelta(minutes=1))
    await world.heartbeat(new)
    assert used() == (START + timedelta(minutes=1), START + timedelta(minutes=1))
    world.sql("UPDATE test_clock SET now = now + interval '1 second'")
    await world.heartbeat(old)
    assert used() == (START + timedelta(minutes=1), START + timedelta(seconds=61))
    await get(world, f"{GET}/1", "f" * 64)
    assert used() == (START + timedelta(minutes=1), START + timedelta(seconds=61))


@pytest_twisted.ensureDeferred
async def test_who_holds_a_servers_row_keeps_no_page_waiting(world: World) -> None:
    """That the key was used is noted by the next."""
    other = psycopg2.connect(world.database_url)
    with other.cursor() as cursor:
        cursor.execute("SELECT FROM server FOR NO KEY UPDATE")
        await taken(world)
        await get(world, f"{GET}/1")
    other.close()
    assert world.sql("SELECT key_used_at FROM server") == [(None,)]
    await get(world, f"{GET}/1")
    assert world.sql("SELECT key_used_at FROM server") == [(START,)]


@pytest_twisted.ensureDeferred
async def test_a_revoked_key_ends_now_and_a_second_rotation_ends_the_first(shared: World) -> None:
    first = await shared.add_server_now("rotating")
    assert await lives(shared, first)
    second = await rotate(shared, "rotating")
    third = await rotate(shared, "rotating")
    assert [await lives(shared, key) for key in (first, second, third)] == [False, True, True]
    fourth = await rotate(shared, "rotating", revoke_old=True)
    assert [await lives(shared, key) for key in (second, third, fourth)] == [False, False, True]


@pytest_twisted.ensureDeferred
async def test_a_disabled_servers_key_is_refused_until_it_is_enabled(shared: World) -> None:
    key = await shared.add_server_now("holiday")

    async def switch(change: Any) -> None:
        async def work(transaction: Any) -> None:
            (server,) = await servers.find(transaction, "holiday")
            await change(transaction, server.id)

        await shared.store(work)

    assert await lives(shared, key)
    await switch(servers.disable)
    assert not await lives(shared, key)
    await switch(servers.enable)
    assert await lives(shared, key)


# ---------------------------------------------------------------- heartbeats


@pytest.mark.parametrize(
    "body", [None, b"", b"{}", b"not JSON", b'{"receiver": "watchdog"}', b"\0\xff" * 9000], ids=repr
)
@pytest_twisted.ensureDeferred
async def test_a_heartbeat_is_taken_with_any_body_or_none(
    shared: World, body: bytes | None
) -> None:
    headers = {"Authorization": f"Apikey {shared.key}"}
    response = await shared.request("POST", BEAT, body, headers)
    assert response.status == 201
    assert response.headers["content-type"] == "application/json"
    answer = response.json
    assert list(answer) == ["success", "code", "message", "data"]
    assert (answer["success"], answer["code"], answer["message"]) == (True, 201, None)
    data = answer["data"]
    assert set(data) == {"id", "server_id", "recieved_dt", "received_dt"}
    assert TIME.fullmatch(data["recieved_dt"])
    assert data["received_dt"] == data["recieved_dt"] == "2026-11-23 14:00:00.000000"
    assert shared.sql("SELECT server_id FROM heartbeat WHERE id = %s", data["id"]) == [
        (data["server_id"],)
    ]


@pytest_twisted.ensureDeferred
async def test_a_heartbeat_needs_no_content_length(shared: World) -> None:
    connection = await Connection.to(shared)
    connection.say(request("POST", BEAT, None, key=shared.key))
    assert (await connection.answer()).status == 201
    connection.leave()


@pytest_twisted.ensureDeferred
async def test_each_heartbeat_has_its_own_id(shared: World) -> None:
    beats = await gatherResults([_beat(shared) for _ in range(20)])
    assert len({answer.data["id"] for answer in beats}) == 20
    assert {answer.data["server_id"] for answer in beats} == {beats[0].data["server_id"]}


def _beat(world: World) -> Any:
    return Deferred.fromCoroutine(world.post(BEAT, b""))


# ---------------------------------------------------------------- send

FULL = {
    "notif_type": "service",
    "trouble_code": "BAD01",
    "display_name": "My host",
    "service_name": "Postgres",
    "state": "Down",
    "output": "connection refused",
    "timestamp": "2018-07-10 02:08:57.717142+00:00",
    "event": "PROBLEM",
    "author": "anna",
    "comment": "on it",
    "number": 3,
}


@pytest_twisted.ensureDeferred
async def test_the_answer_has_every_published_field(shared: World) -> None:
    host = a_host()
    response = await send(shared, hostname=host, **FULL)
    assert response.status == 201
    assert response.headers["content-type"] == "application/json"
    answer = response.json
    assert list(answer) == ["success", "code", "message", "data"]
    assert (answer["success"], answer["code"], answer["message"]) == (True, 200, None)
    ((server_id,),) = shared.sql("SELECT id FROM server WHERE name = 'icinga1'")
    ((anna,),) = shared.sql("SELECT id FROM person WHERE name = 'Anna'")
    data = answer["data"]
    assert data == {
        "id": data["id"],
        "tenant_id": shared.tenant_id,
        "user_id": anna,
        "notif_type": "service",
        "server_id": server_id,
        "server_name": "icinga1",
        "trouble_code": "BAD01",
        "hostname": host,
        "display_name": "My host",
        "service_name": "Postgres",
        "state": "Down",
        "output": "connection refused",
        "timestamp": "2018-07-10 02:08:57.717142",
    }
    assert type(data["id"]) is int
    kept = row(shared, data["id"])
    assert (kept["event"], kept["author"], kept["comment"], kept["number"]) == (
        "PROBLEM",
        "anna",
        "on it",
        "3",
    )


@pytest_twisted.ensureDeferred
async def test_a_hostname_and_a_state_are_enough(shared: World) -> None:
    data = (await taken(shared, hostname="bare", state="DOWN"))["data"]
    published = ("notif_type", "trouble_code", "display_name", "service_name", "output")
    assert [data[name] for name in published] == ["host", "", "", "", ""]
    assert data["timestamp"] == "2026-11-23 14:00:00.000000"


@pytest.mark.parametrize("given", [404, "BAD01", -1, 0])
@pytest_twisted.ensureDeferred
async def test_a_trouble_code_is_kept_as_text(shared: World, given: object) -> None:
    data = (await taken(shared, trouble_code=given))["data"]
    assert data["trouble_code"] == str(given)
    assert (await look_up(shared, data["id"]))["troublecode"] == str(given)


@pytest.mark.parametrize(
    ("notif_type", "service_name", "kept"),
    [
        ("host", None, "host"),
        ("HOST", None, "host"),
        ("service", "Postgres", "service"),
        ("Service", "Postgres", "service"),
        (None, None, "host"),
        (None, "Postgres", "service"),
        ("", "Postgres", "service"),
        ("something else", None, "host"),
        ("something else", "Postgres", "service"),
        ("$NOTIFICATIONTYPE$", "Postgres", "service"),
        ("PROBLEM", None, "host"),
        (5, "Postgres", "service"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_notif_type_is_host_or_service_or_taken_from_the_service_name(
    shared: World, notif_type: object, service_name: str | None, kept: str
) -> None:
    answer = await taken(shared, notif_type=notif_type, service_name=service_name)
    assert answer["data"]["notif_type"] == kept


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "text/plain; charset=utf-16",
        "nonsense",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_body_is_json_whatever_it_is_called(
    shared: World, content_type: str | None
) -> None:
    output = "a=1&b=%20 Größe 🥔"
    body = json.dumps({"hostname": a_host(), "state": "OK", "output": output}, ensure_ascii=False)
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = await shared.post(SEND, body.encode(), headers=headers)
    assert response.status == 201
    assert response.data["output"] == output


@pytest.mark.parametrize("missing", ["hostname", "state"])
@pytest.mark.parametrize("value", [None, "", "  ", "$HOSTNAME$", [], {}, "absent"], ids=repr)
@pytest_twisted.ensureDeferred
async def test_without_a_hostname_or_a_state_it_is_400(
    shared: World, missing: str, value: object
) -> None:
    before = [host for (host,) in shared.sql("SELECT hostname FROM notification")]
    body = {"hostname": a_host(), "state": "CRITICAL", missing: value}
    if value == "absent":
        del body[missing]
    response = await shared.post(SEND, body)
    assert is_error(response, 400)
    assert response.json["message"] == f"{missing} is missing"
    after = [host for (host,) in shared.sql("SELECT hostname FROM notification")]
    assert set(after) - set(before) <= {"icinga1"}  # the notice that it sends such things


# ---------------------------------------------------------------- event and state

EVENTS = [
    None,
    "PROBLEM",
    "RECOVERY",
    "CUSTOM",
    "ACKNOWLEDGEMENT",
    "DOWNTIMESTART",
    "DOWNTIMEEND",
    "DOWNTIMECANCELLED",
    "DOWNTIMEREMOVED",
    "FLAPPINGSTART",
    "FLAPPINGEND",
    "FLAPPINGSTOP",
    "FLAPPINGDISABLED",
]

# What a cell of the table leaves behind: where the alert stands, if there is one, and how many
# texts came of it.
Cell = Mapping[str | None, tuple[str | None, int]]
RECORDED: Cell = {OPEN: ("triggered", 0), None: (None, 0)}
RESOLVES: Cell = {OPEN: ("resolved", 1), None: (None, 0)}
PAGES: Cell = {OPEN: ("triggered", 1), None: ("triggered", 1)}
ANNOUNCES: Cell = {OPEN: ("triggered", 1), None: (None, 1)}
ACKNOWLEDGES: Cell = {OPEN: ("acknowledged", 0), None: (None, 0)}


def cell(event: str | None, state: str) -> Cell:
    """The table of the published interface."""
    recovery = state in ("OK", "UP")
    if event in (None, "PROBLEM", "RECOVERY"):
        return RESOLVES if recovery else PAGES
    if event == "CUSTOM":
        return ANNOUNCES
    if event == "ACKNOWLEDGEMENT":
        return RECORDED if recovery else ACKNOWLEDGES
    if str(event).startswith("DOWNTIME"):
        return RECORDED
    return RESOLVES if recovery else RECORDED


@pytest.mark.parametrize("name", ["event", "notif_type"])
@pytest.mark.parametrize("event", EVENTS)
@pytest_twisted.ensureDeferred
async def test_what_a_notification_does(shared: World, event: str | None, name: str) -> None:
    """Every row of the table, with the event in its own field or in `notif_type`."""
    cells = [(state, before) for state in ("OK", "UP", "CRITICAL") for before in (OPEN, None)]
    hosts = {one: a_host() for one in cells}
    for (_, before), host in hosts.items():
        if before:
            await taken(shared, hostname=host)
    await shared.settle()
    told = {one: len(texts_about(shared, host)) for one, host in hosts.items()}
    ids = {}
    for (state, before), host in hosts.items():
        fields = {"hostname": host, "state": state, "author": "bob", "output": "x"} | {name: event}
        ids[state, before] = (await taken(shared, **fields))["data"]["id"]
    await shared.settle()
    for (state, before), host in hosts.items():
        status, pages = cell(event, state)[before]
        assert [found for found, _ in alerts(shared, host)] == ([status] if status else []), state
        assert len(texts_about(shared, host)) - told[state, before] == pages, state
        seen = await look_up(shared, ids[state, before])
        assert seen["alert_status"] == (None if event == "CUSTOM" else status)


@pytest.mark.parametrize("event", ["problem", "Problem", " PROBLEM ", "Custom"])
@pytest_twisted.ensureDeferred
async def test_an_event_is_understood_in_any_case(shared: World, event: str) -> None:
    answer = await taken(shared, event=event)
    assert answer["message"] is None
    assert row(shared, answer["data"]["id"])["event"] == event.strip().upper()


@pytest_twisted.ensureDeferred
async def test_an_unknown_event_is_named_and_judged_by_state(shared: World) -> None:
    host = a_host()
    answer = await taken(shared, hostname=host, event="PANIC")
    assert answer["message"] == "event PANIC not understood, judged by state"
    assert alerts(shared, host) == [("triggered", "CRITICAL")]


@pytest.mark.parametrize(
    ("state", "over"),
    [
        ("OK", True),
        ("ok", True),
        ("Ok", True),
        ("up", True),
        ("UP", True),
        ("WARNING", False),
        ("Unknown", False),
        ("DOWN", False),
        ("UNREACHABLE", False),
        ("OKAY", False),
        ("recovered", False),
        ("0", False),
        (0, False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_ok_and_up_in_any_case_are_recoveries_and_everything_else_a_problem(
    shared: World, state: object, over: bool
) -> None:
    host = a_host()
    await taken(shared, hostname=host)
    await taken(shared, hostname=host, state=state)
    assert alerts(shared, host)[0][0] == ("resolved" if over else "triggered")


@pytest_twisted.ensureDeferred
async def test_an_alert_is_that_of_its_server_hostname_and_service(shared: World) -> None:
    host = a_host()
    other = await shared.add_server_now("icinga2")
    await taken(shared, hostname=host)
    await taken(shared, hostname=host, service_name="Postgres")
    await taken(shared, hostname=host, service_name="postgres")
    await taken(shared, other, hostname=host)
    await taken(shared, hostname=host, service_name="Postgres", state="OK")
    assert [status for status, _ in alerts(shared, host)] == [
        "triggered",
        "resolved",
        "triggered",
        "triggered",
    ]


@pytest_twisted.ensureDeferred
async def test_after_an_acknowledgement_nothing_is_sent_until_the_state_changes(
    shared: World,
) -> None:
    host = a_host()
    await taken(shared, hostname=host, state="WARNING")
    await shared.settle()
    await taken(shared, hostname=host, state="WARNING", event="ACKNOWLEDGEMENT", author="bob")
    assert shared.sql("SELECT acknowledged_by FROM alert WHERE hostname = %s", host) == [
        ("bob in icinga1",)
    ]
    await taken(shared, hostname=host, state="WARNING", output="still")
    await taken(shared, hostname=host, state="warning", output="still")
    await shared.settle()
    assert len(texts_about(shared, host)) == 1
    assert alerts(shared, host) == [("acknowledged", "warning")]
    await taken(shared, hostname=host, state="CRITICAL", output="worse")
    await shared.settle()
    assert len(texts_about(shared, host)) == 2
    assert texts_about(shared, host)[1].startswith(f"CRITICAL {host}: worse")
    assert alerts(shared, host) == [("triggered", "CRITICAL")]


@pytest_twisted.ensureDeferred
async def test_a_late_notification_is_recorded_and_does_nothing(shared: World) -> None:
    host = a_host()
    await taken(shared, hostname=host)
    answer = await taken(shared, hostname=host, state="OK", late=True)
    assert alerts(shared, host) == [("triggered", "CRITICAL")]
    assert (await look_up(shared, answer["data"]["id"]))["status"] == "none"


# ---------------------------------------------------------------- who is on call


@pytest_twisted.ensureDeferred
async def test_with_nobody_on_call_it_is_taken_and_everybody_is_paged(world: World) -> None:
    async def nobody(transaction: Any) -> None:
        await rota.clear_on_call(transaction, world.tenant_id)

    await world.store(nobody)
    answer = await taken(world, output="help")
    assert answer["data"]["user_id"] is None
    assert answer["message"] == "nobody is on call: everybody of the tenant is paged"
    await world.settle()
    assert [len(world.texts(number)) for number in (ANNA, BOB, CLEO)] == [1, 1, 1]
    assert any("nobody is on call" in line for line in world.story())


@pytest_twisted.ensureDeferred
async def test_that_nobody_is_on_call_is_said_beside_what_else_there_is_to_say(
    shared: World,
) -> None:
    key = await another_tenant(shared, "empty")
    answer = await taken(shared, key, timestamp="tomorrow")
    assert answer["message"] == (
        "timestamp not understood, arrival time used;"
        " nobody is on call: everybody of the tenant is paged"
    )


# ---------------------------------------------------------------- get


@pytest_twisted.ensureDeferred
async def test_a_notification_is_shown_under_the_published_names(shared: World) -> None:
    host = a_host()
    sent = (await taken(shared, hostname=host, **FULL))["data"]
    response = await get(shared, f"{GET}/{sent['id']}")
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json == {
        "success": True,
        "code": 200,
        "message": None,
        "data": {
            "id": sent["id"],
            "hostname": host,
            "servicename": "Postgres",
            "troublecode": "BAD01",
            "displayname": "My host",
            "output": "connection refused",
            "notificationtype": "service",
            "state": "Down",
            "timestamp": "2018-07-10 02:08:57.717142",
            "status": "pending",
            "alert_status": "triggered",
        },
    }


@pytest_twisted.ensureDeferred
async def test_what_was_not_given_is_shown_empty(shared: World) -> None:
    data = await look_up(shared, (await taken(shared))["data"]["id"])
    absent = ("servicename", "troublecode", "displayname", "output")
    assert [data[name] for name in absent] == [""] * 4
    assert data["notificationtype"] == "host"
    assert data["timestamp"] == "2026-11-23 14:00:00.000000"


@pytest_twisted.ensureDeferred
async def test_every_server_of_the_tenant_sees_it_and_another_tenants_is_404(
    shared: World,
) -> None:
    id = (await taken(shared))["data"]["id"]
    colleague = await shared.add_server_now("colleague")
    stranger = await another_tenant(shared, "strangers")
    assert (await look_up(shared, id, colleague))["id"] == id
    assert is_error(await get(shared, f"{GET}/{id}", stranger), 404)


@pytest.mark.parametrize("id", [0, 10**9, 2**63 - 1, 2**63, 10**40, 10**4000, "-1", "x", "1.0"])
@pytest_twisted.ensureDeferred
async def test_what_is_not_there_is_404(shared: World, id: object) -> None:
    assert is_error(await get(shared, f"{GET}/{id}"), 404)


@pytest_twisted.ensureDeferred
async def test_status_tells_how_far_any_message_got(world: World) -> None:
    """Pending, sent, delivered, none; and the alert's status beside it."""
    id = (await taken(world, hostname="db1"))["data"]["id"]

    async def status(of: int) -> tuple[str, str | None]:
        seen = await look_up(world, of)
        return seen["status"], seen["alert_status"]

    assert await status(id) == ("pending", "triggered")
    await world.settle()
    assert await status(id) == ("sent", "triggered")
    await world.advance(2, step=0.5)
    assert await status(id) == ("delivered", "triggered")
    joined = (await taken(world, hostname="db1", output="again"))["data"]["id"]
    assert await status(joined) == ("pending", "triggered")
    acknowledged = (await taken(world, hostname="db1", event="ACKNOWLEDGEMENT"))["data"]["id"]
    assert await status(acknowledged) == ("none", "acknowledged")
    over = (await taken(world, hostname="db1", state="OK"))["data"]["id"]
    assert await status(over) == ("pending", "resolved")
    await world.advance(2, step=0.5)
    assert await status(over) == ("delivered", "resolved")
    assert await status(id) == ("delivered", "resolved")
    well = (await taken(world, hostname="db1", state="OK"))["data"]["id"]
    assert await status(well) == ("none", None)


@pytest_twisted.ensureDeferred
async def test_status_of_what_could_not_be_delivered_is_failed(world: World) -> None:
    world.gateway.misbehave("rejected")
    id = (await taken(world))["data"]["id"]
    await world.advance(5, step=0.5)
    seen = await look_up(world, id)
    assert (seen["status"], seen["alert_status"]) == ("failed", "triggered")


@pytest_twisted.ensureDeferred
async def test_status_of_a_custom_notification(world: World) -> None:
    id = (await taken(world, event="CUSTOM", comment="back at ten"))["data"]["id"]
    assert (await look_up(world, id))["status"] == "pending"
    await world.advance(2, step=0.5)
    seen = await look_up(world, id)
    assert (seen["status"], seen["alert_status"]) == ("delivered", None)


@pytest_twisted.ensureDeferred
async def test_a_problem_that_was_over_before_anybody_was_told_needs_no_message(
    shared: World,
) -> None:
    host = a_host()
    problem = (await taken(shared, hostname=host))["data"]["id"]
    recovery = (await taken(shared, hostname=host, state="OK"))["data"]["id"]
    await shared.settle()
    assert texts_about(shared, host) == []
    for id in (problem, recovery):
        seen = await look_up(shared, id)
        assert (seen["status"], seen["alert_status"]) == ("none", "resolved")


# ---------------------------------------------------------------- Idempotency-Key


@pytest_twisted.ensureDeferred
async def test_the_same_key_and_content_again_is_the_same_answer_and_one_page(
    shared: World,
) -> None:
    host = a_host()
    first = await send(shared, hostname=host, timestamp="nonsense", idempotency="once")
    assert first.status == 201
    count = stored(shared)
    for _ in range(3):
        again = await send(shared, hostname=host, timestamp="nonsense", idempotency="once")
        assert (again.status, again.body) == (201, first.body)
    await shared.settle()
    again = await send(shared, hostname=host, timestamp="nonsense", idempotency="once")
    await shared.settle()
    assert again.body == first.body
    assert stored(shared) == count
    assert len(texts_about(shared, host)) == 1


@pytest_twisted.ensureDeferred
async def test_content_is_the_cleaned_fields_not_the_bytes(shared: World) -> None:
    host = a_host()
    bodies = [
        f'{{"hostname": "{host}", "state": "DOWN", "number": 3}}',
        f'{{ "number":"3","state" : "DOWN",\n "hostname":" {host} ", "output": null}}',
        f'{{"state": "DOWN", "number": 3, "hostname": "{host}", "service_name": "$SERVICEDESC$"}}',
    ]
    headers = {"Idempotency-Key": "whatever the form"}
    answers = [await shared.post(SEND, body.encode(), headers=headers) for body in bodies]
    assert len({answer.body for answer in answers}) == 1
    assert answers[0].status == 201


@pytest_twisted.ensureDeferred
async def test_other_content_under_the_same_key_is_409(shared: World) -> None:
    host = a_host()
    first = (await taken(shared, hostname=host, idempotency="used"))["data"]["id"]
    count = stored(shared)
    for changed in ({"state": "OK"}, {"output": "x"}, {"late": True}, {"hostname": host + "x"}):
        response = await send(shared, **{"hostname": host, "idempotency": "used", **changed})
        assert is_error(response, 409)
        assert str(first) in response.json["message"]
    assert stored(shared) == count
    assert alerts(shared, host) == [("triggered", "CRITICAL")]


@pytest_twisted.ensureDeferred
async def test_the_same_request_many_times_at_once_is_taken_once(shared: World) -> None:
    host = a_host()
    count = stored(shared)
    answers = await gatherResults(
        [
            Deferred.fromCoroutine(send(shared, hostname=host, idempotency="stampede"))
            for _ in range(20)
        ]
    )
    assert len({answer.body for answer in answers}) == 1
    assert stored(shared) == count + 1


@pytest_twisted.ensureDeferred
async def test_a_key_is_remembered_for_seven_days_and_not_longer(world: World) -> None:
    async def ask() -> Any:
        return await taken(world, hostname="db1", state="OK", idempotency="weekly")

    first = await ask()
    await world.advance(7 * DAY - 1, step=DAY)
    assert await ask() == first
    await world.advance(1)
    later = await ask()
    assert later["data"]["id"] != first["data"]["id"]
    assert await ask() == later


@pytest_twisted.ensureDeferred
async def test_a_forgotten_key_may_be_used_for_something_else_even_before_it_is_swept(
    shared: World,
) -> None:
    await taken(shared, idempotency="swept")
    week = "hotpotato_now() - interval '7 days'"
    shared.sql(f"UPDATE idempotency SET created_at = {week}")
    answer = await taken(shared, state="OK", idempotency="swept")
    assert answer["data"]["state"] == "OK"


@pytest_twisted.ensureDeferred
async def test_a_key_is_its_servers_own_and_outlives_a_rotation(shared: World) -> None:
    host = a_host()
    first_key = await shared.add_server_now("idempotent")
    other = await shared.add_server_now("also idempotent")
    first = await taken(shared, first_key, hostname=host, idempotency="mine")
    theirs = await taken(shared, other, hostname=host, idempotency="mine")
    assert theirs["data"]["id"] != first["data"]["id"]
    second_key = await rotate(shared, "idempotent")
    assert await taken(shared, second_key, hostname=host, idempotency="mine") == first
    assert is_error(
        await send(shared, second_key, hostname=host, state="OK", idempotency="mine"), 409
    )


@pytest_twisted.ensureDeferred
async def test_the_first_answer_stands_whoever_is_on_call_now(world: World) -> None:
    first = await taken(world, hostname="db1", idempotency="stands")

    async def nobody(transaction: Any) -> None:
        await rota.clear_on_call(transaction, world.tenant_id)

    await world.store(nobody)
    await taken(world, hostname="db1", state="OK")
    assert await taken(world, hostname="db1", idempotency="stands") == first
    assert alerts(world, "db1") == [("resolved", "CRITICAL")]


@pytest_twisted.ensureDeferred
async def test_a_key_of_255_bytes_counts_and_a_longer_one_is_ignored_and_named(
    shared: World,
) -> None:
    host = a_host()
    first = await taken(shared, hostname=host, idempotency="k" * 255)
    assert await taken(shared, hostname=host, idempotency="k" * 255) == first
    for _ in range(2):
        longer = await taken(shared, hostname=host, idempotency="k" * 256)
        assert longer["message"] == "Idempotency-Key over 255 bytes ignored"
        assert longer["data"]["id"] > first["data"]["id"]
        first = longer


@pytest_twisted.ensureDeferred
async def test_keys_are_bytes_and_differ_wherever_a_byte_does(shared: World) -> None:
    host = a_host()
    ids = set()
    for key in (b"\xff", b"\xfe", b"\xc3\xbf", b"K", b"k", b"\xe9" * 255):
        credentials: dict[str, str | bytes] = {"Authorization": f"Apikey {shared.key}"}
        credentials["Idempotency-Key"] = key
        body = json.dumps({"hostname": host, "state": "OK"}).encode()
        response = await shared.request("POST", SEND, body, credentials)
        assert response.status == 201
        assert response.json["message"] is None
        ids.add(response.data["id"])
    assert len(ids) == 6


@pytest_twisted.ensureDeferred
async def test_one_of_several_keys_would_be_a_guess_so_they_are_ignored_and_named(
    shared: World,
) -> None:
    async def ask(*keys: str) -> Any:
        connection = await Connection.to(shared)
        headers = [f"Idempotency-Key: {key}" for key in keys]
        connection.say(request("POST", SEND, a_notification(), *headers, key=shared.key))
        answer = await connection.answer()
        connection.leave()
        return answer.json

    assert (await ask("a", "b"))["message"] == "several Idempotency-Keys ignored"
    assert (await ask("c", "c"))["message"] is None
    assert (await ask(""))["message"] is None


# ---------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2018-07-10 02:08:57.717142", "2018-07-09 14:08:57.717142"),  # Auckland, winter
        ("2018-01-10 02:08:57.717142", "2018-01-09 13:08:57.717142"),  # and summer
        ("2018-07-10T02:08:57Z", "2018-07-10 02:08:57.000000"),
        ("2018-07-10T02:08:57.5+02:00", "2018-07-10 00:08:57.500000"),
        ("2018-07-10T02:08+0000", "2018-07-10 02:08:00.000000"),
        ("20180710T020857Z", "2018-07-10 02:08:57.000000"),
        (1531188537, "2018-07-10 02:08:57.000000"),
        ("1531188537", "2018-07-10 02:08:57.000000"),
        (1531188537.717142, "2018-07-10 02:08:57.717142"),
        ("1531188537.717142", "2018-07-10 02:08:57.717142"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_times_come_in_in_many_forms_and_go_out_in_one(
    shared: World, given: object, meant: str
) -> None:
    answer = await taken(shared, timestamp=given)
    assert answer["message"] is None
    assert answer["data"]["timestamp"] == meant
    assert (await look_up(shared, answer["data"]["id"]))["timestamp"] == meant


@pytest.mark.parametrize("given", ["yesterday", "2018-07-10", "32.13.2018 99:99", True, [1], -5])
@pytest_twisted.ensureDeferred
async def test_a_time_that_means_no_moment_is_named_and_arrival_stands_in(
    shared: World, given: object
) -> None:
    answer = await taken(shared, timestamp=given)
    assert answer["message"] == "timestamp not understood, arrival time used"
    assert answer["data"]["timestamp"] == "2026-11-23 14:00:00.000000"
    assert json.loads(row(shared, answer["data"]["id"])["original"])["timestamp"] == given


@pytest.mark.parametrize("given", [None, "", "$icinga.long_date_time$"])
@pytest_twisted.ensureDeferred
async def test_an_absent_time_is_not_worth_a_word(shared: World, given: object) -> None:
    answer = await taken(shared, timestamp=given)
    assert answer["message"] is None
    assert answer["data"]["timestamp"] == "2026-11-23 14:00:00.000000"


@pytest_twisted.ensureDeferred
async def test_a_time_without_an_offset_is_in_the_servers_zone_or_else_its_tenants(
    shared: World,
) -> None:
    key = keys.new_key()

    async def work(transaction: Any) -> None:
        await servers.add(
            transaction,
            tenant_id=shared.tenant_id,
            name="in Berlin",
            digest=keys.key_digest(key),
            heartbeat_interval=60.0,
            missed=3,
            timezone="Europe/Berlin",
        )

    await shared.store(work)
    foreign = await another_tenant(shared, "in Lima", "America/Lima")
    noon = "2026-11-23 12:00:00"
    meant = [
        (await taken(shared, one, timestamp=noon))["data"]["timestamp"]
        for one in (None, key, foreign)
    ]
    assert meant == [
        "2026-11-22 23:00:00.000000",
        "2026-11-23 11:00:00.000000",
        "2026-11-23 17:00:00.000000",
    ]


@pytest_twisted.ensureDeferred
async def test_a_page_is_not_refused_for_a_zone_that_this_host_does_not_know(
    shared: World,
) -> None:
    key = await shared.add_server_now("on Mars")
    shared.sql("UPDATE server SET timezone = 'Mars/Olympus' WHERE name = 'on Mars'")
    answer = await taken(shared, key, timestamp="2026-11-23 12:00:00")
    assert answer["message"] == "time zone Mars/Olympus is not known here, UTC used"
    assert answer["data"]["timestamp"] == "2026-11-23 12:00:00.000000"


@pytest_twisted.ensureDeferred
async def test_a_senders_clock_orders_and_expires_nothing(shared: World) -> None:
    host = a_host()
    future = (START + timedelta(days=3000)).isoformat()
    past = datetime(1980, 1, 1, tzinfo=UTC).isoformat()
    await taken(shared, hostname=host, timestamp=future)
    await taken(shared, hostname=host, state="OK", timestamp=past)
    assert alerts(shared, host) == [("resolved", "CRITICAL")]
    await taken(shared, hostname=host, timestamp=past)
    assert [status for status, _ in alerts(shared, host)] == ["resolved", "triggered"]
    await shared.settle()
    assert len(texts_about(shared, host)) == 1


# ---------------------------------------------------------------- lengths

LENGTHS = {"output": 16384, "hostname": 1024, "service_name": 1024} | dict.fromkeys(
    ["display_name", "trouble_code", "state", "author", "comment", "number"], 4096
)


@pytest.mark.parametrize(("name", "most"), LENGTHS.items())
@pytest_twisted.ensureDeferred
async def test_a_text_of_the_longest_length_is_whole_and_a_longer_one_is_cut_and_named(
    shared: World, name: str, most: int
) -> None:
    whole = await taken(shared, **{name: "x" * most})
    assert whole["message"] is None
    assert row(shared, whole["data"]["id"])[name] == "x" * most
    assert row(shared, whole["data"]["id"])["original"] is None
    cut = await taken(shared, **{name: "x" * most + "y"})
    assert cut["message"] == f"{name} cut to {most} bytes"
    assert row(shared, cut["data"]["id"])[name] == "x" * most
    assert json.loads(row(shared, cut["data"]["id"])["original"])[name] == "x" * most + "y"


@pytest.mark.parametrize("character", ["ü", "€", "🥔"])
@pytest_twisted.ensureDeferred
async def test_a_text_is_cut_between_characters(shared: World, character: str) -> None:
    answer = await taken(shared, output="x" + character * 16384)
    width = len(character.encode())
    assert answer["data"]["output"] == "x" + character * ((16384 - 1) // width)
    assert answer["message"] == "output cut to 16384 bytes"


@pytest_twisted.ensureDeferred
async def test_everything_that_was_changed_is_named_in_one_message(shared: World) -> None:
    answer = await taken(
        shared, hostname=a_host(), output="x" * 20_000, author="y" * 5000, timestamp="soon"
    )
    assert answer["message"] == (
        "output cut to 16384 bytes; author cut to 4096 bytes;"
        " timestamp not understood, arrival time used"
    )


# ---------------------------------------------------------------- cleaning


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ("", None),
        ("   ", None),
        ("$SERVICEDESC$", None),
        ("$_HOSTTROUBLE$", None),
        ("$host.vars.trouble$", None),
        ([], None),
        ({}, None),
        (7, "7"),
        (0, "0"),
        (-1.50, "-1.5"),
        (True, "true"),
        (False, "false"),
        (10**30, "1" + "0" * 30),
        ("costs $5 or $6", "costs $5 or $6"),
        ("a $MACRO$ within", "a $MACRO$ within"),
        (" spaces around ", "spaces around"),
        ("bell\x07 and\x00 nul", "bell\ufffd and\ufffd nul"),
        ("tab\tand\nnewline", "tab\tand\nnewline"),
        ("windows\r\nlines", "windows\nlines"),
        ("half a potato \ud83e", "half a potato \ufffd"),
        ("other half \udd54", "other half \ufffd"),
        ("whole \U0001f954", "whole \U0001f954"),
        ("<b>'\"&%\\", "<b>'\"&%\\"),
    ],
    ids=ascii,
)
@pytest_twisted.ensureDeferred
async def test_texts_are_cleaned(shared: World, given: object, kept: str | None) -> None:
    answer = await taken(shared, display_name=given, comment="x")
    assert answer["message"] is None
    assert answer["data"]["display_name"] == (kept or "")
    assert row(shared, answer["data"]["id"])["display_name"] == kept


@pytest.mark.parametrize("given", [["a", 1], {"a": [None]}])
@pytest_twisted.ensureDeferred
async def test_a_list_or_an_object_where_text_is_due_is_kept_as_json(
    shared: World, given: object
) -> None:
    answer = await taken(shared, output=given)
    assert json.loads(answer["data"]["output"]) == given
    assert answer["message"] == "output was not text, kept as JSON"


@pytest_twisted.ensureDeferred
async def test_a_literal_backslash_n_is_a_line_break_when_shown_to_people(shared: World) -> None:
    host = a_host()
    answer = await taken(shared, hostname=host, output=r"disk full\n/var 99%")
    assert answer["data"]["output"] == r"disk full\n/var 99%"
    await shared.settle()
    assert "disk full\n/var 99%" in texts_about(shared, host)[0]


@pytest_twisted.ensureDeferred
async def test_unknown_fields_change_nothing(shared: World) -> None:
    answer = await taken(shared, colour="red", apikey="whose?", tenant_id=99, id=1)
    assert answer["message"] is None
    assert answer["data"]["tenant_id"] == shared.tenant_id


# ---------------------------------------------------------------- what can't be read

UNREADABLE = [
    (b"", "the body is empty, a JSON object is expected"),
    (b"hostname=db1&state=DOWN", "the body is not JSON: Expecting value (line 1, column 1)"),
    (b"[]", "the body is JSON, but not an object"),
    (b'"db1"', "the body is JSON, but not an object"),
    (b"null", "the body is JSON, but not an object"),
    (b'{"hostname": "db1"', "the body is not JSON: Expecting ',' delimiter (line 1, column 19)"),
    (b'{"hostname": "Gr\xf6sse"}', "the body is not UTF-8 at byte 16"),
    (b'{"state": NaN}', "the body is not JSON: NaN is no JSON number"),
]


@pytest.mark.parametrize(("body", "why"), UNREADABLE, ids=ascii)
@pytest_twisted.ensureDeferred
async def test_what_is_no_json_object_is_400_and_says_where(
    shared: World, body: bytes, why: str
) -> None:
    response = await shared.post(SEND, body)
    assert is_error(response, 400)
    assert response.json["message"] == why


@pytest_twisted.ensureDeferred
async def test_the_tenant_is_told_of_what_cant_be_read_once_an_hour_for_each_server(
    world: World,
) -> None:
    await world.without_pace()
    second = await world.add_server_now("icinga2")
    body = b'{"hostname": "db1", "output": "say "no""}'
    assert is_error(await world.post(SEND, body), 400)
    assert is_error(await world.post(SEND, body), 400)
    await world.settle()
    assert is_error(await world.post(SEND, b"{}"), 400)
    await world.settle()
    (text,) = world.texts()
    assert text.startswith("UNREADABLE icinga1") or text.startswith("CUSTOM icinga1")
    assert is_error(await world.post(SEND, body, key=second), 400)
    await world.settle()
    assert "icinga2" in world.texts()[1]
    await world.advance(3599, step=600)
    assert is_error(await world.post(SEND, body), 400)
    await world.settle()
    assert len(world.texts()) == 2
    await world.advance(1)
    assert is_error(await world.post(SEND, body), 400)
    await world.settle()
    assert len(world.texts()) == 3
    assert world.texts(ANNA) == world.texts()


@pytest_twisted.ensureDeferred
async def test_the_tenant_is_shown_the_first_200_characters_without_the_key(
    shared: World,
) -> None:
    key = await shared.add_server_now("leaky")
    start = f'{{"apikey": "{key}", "my key": "{key}", "output": "say "no"" '
    await shared.post(SEND, (start + "ü" * 300).encode(), key=key)
    ((output,),) = shared.sql("SELECT output FROM notification WHERE hostname = 'leaky'")
    before, _, excerpt = output.partition("): ")
    assert before == (
        "sends notifications that can't be read"
        f" (the body is not JSON: Expecting ',' delimiter (line 1, column {start.index('no') + 1})"
    )
    assert len(excerpt) == 200
    assert key not in output
    assert excerpt.endswith('"output": "say "no"" ' + "ü" * (200 - excerpt.index("ü")))


@pytest_twisted.ensureDeferred
async def test_a_wrong_key_tells_nobody_anything(shared: World) -> None:
    before = stored(shared)
    assert is_error(await shared.post(SEND, b"{", key="wrong"), 401)
    assert stored(shared) == before


# ---------------------------------------------------------------- too large

MIB = 1024 * 1024


def of_size(size: int) -> bytes:
    """A good notification of this many bytes."""
    start = a_notification(output="")[:-2]
    return start + b"x" * (size - len(start) - 2) + b'"}'


@pytest_twisted.ensureDeferred
async def test_a_body_of_a_mebibyte_is_taken_and_one_byte_more_is_413(shared: World) -> None:
    assert (await shared.post(SEND, of_size(MIB))).status == 201
    before = shared.sql("SELECT count(*) FROM notification WHERE hostname <> 'icinga1'")
    response = await shared.post(SEND, of_size(MIB + 1))
    assert is_error(response, 413)
    assert response.json["message"] == "the body is larger than 1 MiB"
    assert shared.sql("SELECT count(*) FROM notification WHERE hostname <> 'icinga1'") == before


@pytest_twisted.ensureDeferred
async def test_a_chunked_body_is_measured_as_it_comes(shared: World) -> None:
    connection = await Connection.to(shared)
    for size, status in ((MIB, 201), (MIB + 1, 413), (100, 201)):
        body = of_size(size)
        connection.say(request("POST", SEND, None, "Transfer-Encoding: chunked", key=shared.key))
        for start in range(0, len(body), 50_000):
            piece = body[start : start + 50_000]
            connection.say(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.say(b"0\r\n\r\n")
        answer = await connection.answer()
        assert answer.status == status
        assert status == 201 or is_error(answer, 413)
    connection.leave()


@pytest_twisted.ensureDeferred
async def test_the_tenant_is_told_of_a_body_that_is_too_large(shared: World) -> None:
    key = await shared.add_server_now("verbose")
    body = of_size(MIB + 1)
    assert is_error(await shared.post(SEND, body, key=key), 413)
    ((output,),) = shared.sql("SELECT output FROM notification WHERE hostname = 'verbose'")
    assert output == (
        "sends notifications that can't be read (the body is larger than 1 MiB): "
        + body[:200].decode()
    )


@pytest_twisted.ensureDeferred
async def test_a_body_without_end_is_413_and_the_connection_closes(shared: World) -> None:
    connection = await Connection.to(shared)
    connection.say(request("POST", SEND, None, "Content-Length: 99999999999", key=shared.key))
    for _ in range(9):
        connection.say(b"x" * MIB)
    answer = await connection.answer()
    assert is_error(answer, 413)
    assert answer.headers["connection"] == "close"
    await connection.the_end()


# ---------------------------------------------------------------- addresses and methods


@pytest.mark.parametrize(
    "path", ["", "/", "/nonsense", "/heartbeats", "/notifications/get", "/notifications/send/x"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest_twisted.ensureDeferred
async def test_an_unknown_path_is_404(shared: World, method: str, path: str) -> None:
    assert is_error(await shared.request(method, f"/api/servers/v2{path}"), 404)


@pytest.mark.parametrize(("path", "allowed"), [(BEAT, "POST"), (SEND, "POST"), (f"{GET}/1", "GET")])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest_twisted.ensureDeferred
async def test_an_unknown_method_is_405_and_says_which_is_allowed(
    shared: World, method: str, path: str, allowed: str
) -> None:
    if method == allowed:
        return
    response = await shared.request(method, path)
    assert is_error(response, 405)
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["{}/", "/{}", "{}?x=1&y", "http://hotpotato.example{}", "%2F{}"])
@pytest_twisted.ensureDeferred
async def test_an_address_that_is_pasted_together_carelessly_still_works(
    shared: World, path: str
) -> None:
    connection = await Connection.to(shared)
    connection.say(request("POST", path.format(SEND), a_notification(), key=shared.key))
    assert (await connection.answer()).status == 201
    connection.leave()
