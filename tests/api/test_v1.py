"""Version 1 of the interface, row by row and sentence by sentence, through a real socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted

from tests.api.talk import (
    GET,
    SEND,
    TIME,
    Connection,
    a_host,
    alerts,
    another_tenant,
    get,
    is_error,
    look_up,
    request,
    row,
    stored,
    taken,
)
from tests.world import Response, World

PREFIXES = ["/api/v1", "/api/servers/v1"]
ADD, CHECK, BEAT = "/add/notification", "/check/notification", "/add/heartbeat"

at_both_places = pytest.mark.parametrize("prefix", PREFIXES)


async def post(
    world: World, path: str, body: object, headers: dict[str, str] | None = None
) -> Response:
    """POST as a V1 client does, with the key in the body if anywhere."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await world.request("POST", path, content, headers or {})


async def add(world: World, prefix: str = PREFIXES[0], /, **fields: object) -> Response:
    """Add a notification; the key, a hostname and a state need not be given."""
    body = {"apikey": world.key, "hostname": a_host(), "state": "CRITICAL", **fields}
    return await post(world, prefix + ADD, body)


async def added(world: World, /, **fields: object) -> Any:
    """Add a notification that must be taken; returns the answer."""
    response = await add(world, **fields)
    assert response.status == 201, response.body
    return response.json


# ---------------------------------------------------------------- keys

BODIES: list[tuple[str, dict[str, object]]] = [
    (ADD, {"hostname": "x", "state": "OK"}),
    (CHECK, {"id": 1}),
    (BEAT, {}),
]


@at_both_places
@pytest.mark.parametrize(("path", "fields"), BODIES)
@pytest.mark.parametrize(
    "apikey",
    [None, "", "wrong", 5, True, ["{key}"], {"key": "{key}"}, "{key}0", "absent"],
    ids=repr,
)
@pytest_twisted.ensureDeferred
async def test_a_missing_or_wrong_key_is_403(
    shared: World, prefix: str, path: str, fields: dict[str, object], apikey: object
) -> None:
    before = stored(shared)
    body = fields | {"apikey": apikey}
    if apikey == "absent":
        del body["apikey"]
    text = json.dumps(body).replace("{key}", shared.key)
    response = await post(shared, prefix + path, text.encode())
    assert is_error(response, 403, v1=True)
    assert response.json == {
        "success": False,
        "code": 403,
        "message": response.json["message"],
        "output": response.json["message"],
        "data": None,
    }
    assert stored(shared) == before


@at_both_places
@pytest.mark.parametrize(("path", "fields"), BODIES)
@pytest.mark.parametrize("scheme", ["Apikey", "apikey", "Bearer"])
@pytest_twisted.ensureDeferred
async def test_a_key_in_the_header_is_accepted_too(
    shared: World, prefix: str, path: str, fields: dict[str, object], scheme: str
) -> None:
    await taken(shared)
    headers = {"Authorization": f"{scheme} {shared.key}"}
    response = await post(shared, prefix + path, fields, headers)
    assert response.status in (200, 201), response.body


@pytest_twisted.ensureDeferred
async def test_the_bodys_key_counts_more_than_a_headers(shared: World) -> None:
    """A reverse proxy may put an Authorization of its own there."""
    body = {"apikey": shared.key, "hostname": a_host(), "state": "OK"}
    for credentials in ("Bearer something of the proxy's", "Apikey wrong", "Basic eDp5"):
        response = await post(shared, PREFIXES[0] + ADD, body, {"Authorization": credentials})
        assert response.status == 201


@pytest_twisted.ensureDeferred
async def test_space_around_a_key_is_no_part_of_it(shared: World) -> None:
    assert (await add(shared, apikey=f" {shared.key}\n")).status == 201


@pytest_twisted.ensureDeferred
async def test_a_disabled_servers_key_is_403(shared: World) -> None:
    key = await shared.add_server_now("retired")
    assert (await add(shared, apikey=key)).status == 201
    shared.sql("UPDATE server SET disabled_at = hotpotato_now() WHERE name = 'retired'")
    for path, fields in BODIES:
        response = await post(shared, PREFIXES[0] + path, fields | {"apikey": key})
        assert is_error(response, 403, v1=True)


# ---------------------------------------------------------------- check/notification


@at_both_places
@pytest_twisted.ensureDeferred
async def test_whether_a_notification_is_there_is_answered_in_plain_text(
    shared: World, prefix: str
) -> None:
    id = (await taken(shared))["data"]["id"]
    for given in (id, str(id), f"00{id}"):
        response = await post(shared, prefix + CHECK, {"apikey": shared.key, "id": given})
        assert (response.status, response.headers["content-type"], response.body) == (
            200,
            "text/plain",
            b"true",
        )
    for given in (0, 10**9, str(10**9), 2**63, 10**30, "9" * 5000):
        response = await post(shared, prefix + CHECK, {"apikey": shared.key, "id": given})
        assert (response.status, response.headers["content-type"], response.body) == (
            404,
            "text/plain",
            b"false",
        )


@pytest_twisted.ensureDeferred
async def test_another_tenants_notification_is_not_there(shared: World) -> None:
    id = (await taken(shared))["data"]["id"]
    stranger = await another_tenant(shared, "strangers")
    response = await post(shared, PREFIXES[0] + CHECK, {"apikey": stranger, "id": id})
    assert (response.status, response.body) == (404, b"false")


@pytest.mark.parametrize("id", [None, "", "x", "1x", "-1", -1, 1.5, True, [1], {}, "²"], ids=repr)
@pytest_twisted.ensureDeferred
async def test_an_id_that_is_no_number_is_400(shared: World, id: object) -> None:
    response = await post(shared, PREFIXES[0] + CHECK, {"apikey": shared.key, "id": id})
    assert is_error(response, 400, v1=True)
    assert response.json["message"] == "id: expected a number"


# ---------------------------------------------------------------- add/notification

FULL = {
    "notificationtype": "service",
    "troublecode": "BAD01",
    "displayname": "My host",
    "servicename": "Postgres",
    "state": "CRITICAL",
    "output": "connection refused",
    "icingadatetime": "2018-07-10 02:08:57.717142 +0000",
}


@at_both_places
@pytest_twisted.ensureDeferred
async def test_the_notification_itself_is_the_answer(shared: World, prefix: str) -> None:
    host = a_host()
    response = await add(shared, prefix, hostname=host, **FULL)
    assert response.status == 201
    assert response.headers["content-type"] == "application/json"
    answer = response.json
    assert answer == FULL | {
        "id": answer["id"],
        "hostname": host,
        "icingadatetime": "2018-07-10 02:08:57.717142",
        "message": None,
    }
    seen = await look_up(shared, answer["id"])
    assert {name: seen[name] for name in seen if name in FULL} == {
        name: FULL[name] for name in FULL if name in seen
    }
    assert alerts(shared, host) == [("triggered", "CRITICAL")]


@pytest_twisted.ensureDeferred
async def test_a_host_notification_has_no_service(shared: World) -> None:
    for absent in ({}, {"servicename": ""}, {"servicename": None}, {"servicename": "$SERVICE$"}):
        answer = await added(shared, notificationtype="host", state="DOWN", **absent)
        assert answer["notificationtype"] == "host"
        assert answer["servicename"] == ""
        assert answer["message"] is None
        assert answer["icingadatetime"] == "2026-11-23 14:00:00.000000"


@pytest_twisted.ensureDeferred
async def test_the_optional_fields_of_v2_are_understood_too(shared: World) -> None:
    host = a_host()
    await added(shared, hostname=host)
    answer = await added(
        shared, hostname=host, event="ACKNOWLEDGEMENT", author="bob", comment="mine", number=2
    )
    kept = row(shared, answer["id"])
    assert (kept["author"], kept["comment"], kept["number"]) == ("bob", "mine", "2")
    assert alerts(shared, host) == [("acknowledged", "CRITICAL")]
    await added(shared, hostname=host, state="OK", late=True)
    assert alerts(shared, host) == [("acknowledged", "CRITICAL")]


@pytest_twisted.ensureDeferred
async def test_an_event_in_notificationtype_is_understood(shared: World) -> None:
    host = a_host()
    await added(shared, hostname=host, servicename="Postgres")
    answer = await added(
        shared, hostname=host, servicename="Postgres", notificationtype="ACKNOWLEDGEMENT"
    )
    assert answer["notificationtype"] == "service"
    assert alerts(shared, host) == [("acknowledged", "CRITICAL")]


@pytest_twisted.ensureDeferred
async def test_names_of_v2_are_understood_where_v1s_are_absent(shared: World) -> None:
    answer = await added(
        shared, service_name="two", display_name="two", displayname="one", troublecode=None
    )
    assert (answer["servicename"], answer["displayname"]) == ("two", "one")


@pytest_twisted.ensureDeferred
async def test_what_was_changed_is_named_here_too(shared: World) -> None:
    answer = await added(shared, output="x" * 20_000, icingadatetime="soon")
    assert answer["message"] == (
        "output cut to 16384 bytes; timestamp not understood, arrival time used"
    )
    original = row(shared, answer["id"])["original"]
    assert json.loads(original)["output"] == "x" * 20_000
    assert shared.key not in original


@pytest_twisted.ensureDeferred
async def test_without_a_hostname_or_a_state_it_is_400(shared: World) -> None:
    for missing in ("hostname", "state"):
        response = await add(shared, **{missing: None})
        assert is_error(response, 400, v1=True)
        assert response.json["message"] == f"{missing} is missing"
    both = await post(shared, PREFIXES[0] + ADD, {"apikey": shared.key})
    assert both.json["message"] == "hostname and state are missing"


@pytest_twisted.ensureDeferred
async def test_with_nobody_on_call_it_says_so(shared: World) -> None:
    key = await another_tenant(shared, "empty")
    answer = await added(shared, apikey=key)
    assert answer["message"] == "nobody is on call: everybody of the tenant is paged"


# ---------------------------------------------------------------- Idempotency-Key


@pytest_twisted.ensureDeferred
async def test_an_idempotency_key_works_here_and_across_the_versions(shared: World) -> None:
    host = a_host()
    body = {"apikey": shared.key, "hostname": host, "state": "DOWN", "troublecode": "7"}
    headers = {"Idempotency-Key": "both"}
    first = await post(shared, PREFIXES[0] + ADD, body, headers)
    again = await post(shared, PREFIXES[1] + ADD, body, headers)
    assert first.status == 201
    assert (again.status, again.body) == (201, first.body)
    in_v2 = {"hostname": host, "state": "DOWN", "trouble_code": 7}
    response = await shared.post(SEND, in_v2, headers=headers)
    assert (response.status, response.data["id"]) == (201, first.json["id"])
    assert len(alerts(shared, host)) == 1
    other = await post(shared, PREFIXES[0] + ADD, body | {"state": "UP"}, headers)
    assert is_error(other, 409, v1=True)
    assert is_error(await shared.post(SEND, in_v2 | {"state": "UP"}, headers=headers), 409)


@pytest_twisted.ensureDeferred
async def test_credentials_are_no_content(shared: World) -> None:
    body = {"hostname": a_host(), "state": "DOWN"}
    headers = {"Idempotency-Key": "credentials"}
    authorization = {"Authorization": f"Apikey {shared.key}"}
    first = await post(shared, PREFIXES[0] + ADD, body | {"apikey": shared.key}, headers)
    again = await post(shared, PREFIXES[0] + ADD, body, headers | authorization)
    assert first.status == 201
    assert again.body == first.body


@pytest_twisted.ensureDeferred
async def test_an_idempotency_key_over_255_bytes_is_ignored_and_named(shared: World) -> None:
    body = {"apikey": shared.key, "hostname": a_host(), "state": "OK"}
    ids = set()
    for _ in range(2):
        response = await post(shared, PREFIXES[0] + ADD, body, {"Idempotency-Key": "x" * 256})
        assert response.json["message"] == "Idempotency-Key over 255 bytes ignored"
        ids.add(response.json["id"])
    assert len(ids) == 2


# ---------------------------------------------------------------- add/heartbeat


@at_both_places
@pytest_twisted.ensureDeferred
async def test_a_heartbeat_is_answered_without_an_envelope(shared: World, prefix: str) -> None:
    response = await post(shared, prefix + BEAT, {"apikey": shared.key})
    assert response.status == 201
    assert response.headers["content-type"] == "application/json"
    beat = response.json
    assert set(beat) == {"id", "server_id", "recieved_dt", "received_dt"}
    assert TIME.fullmatch(beat["recieved_dt"])
    assert beat["received_dt"] == beat["recieved_dt"]
    assert shared.sql("SELECT server_id FROM heartbeat WHERE id = %s", beat["id"]) == [
        (beat["server_id"],)
    ]


@pytest_twisted.ensureDeferred
async def test_with_a_key_in_the_header_a_heartbeat_needs_no_body(shared: World) -> None:
    connection = await Connection.to(shared)
    connection.say(request("POST", PREFIXES[0] + BEAT, None, key=shared.key))
    assert (await connection.answer()).status == 201
    connection.leave()


# ---------------------------------------------------------------- what can't be read

BROKEN = [
    '{{"apikey": "{key}", "hostname": "db1", "output": "say "no""}}',
    '{{"hostname": "db1", "output": "C:\\windows", "apikey": "{key}"}}',
    '{{"hostname": "db1", "output": "two\nlines", "apikey": "{key}", "state": }}',
    '{{"apikey":"{key}"',
    "apikey={key}&hostname=db1",
    '{{"apikey": "{key}"}}}}',
    '["apikey", {{"apikey": "{key}"}}]',
]


@pytest.mark.parametrize("body", BROKEN)
@at_both_places
@pytest_twisted.ensureDeferred
async def test_the_key_is_searched_for_in_a_broken_body_and_its_tenant_told(
    shared: World, prefix: str, body: str
) -> None:
    name = f"broken{a_host()}"
    key = await shared.add_server_now(name)
    response = await post(shared, prefix + ADD, body.format(key=key).encode())
    assert is_error(response, 400, v1=True)
    ((output,),) = shared.sql("SELECT output FROM notification WHERE hostname = %s", name)
    assert output.startswith("sends notifications that can't be read (the body is ")
    assert key not in output
    assert key[:8] not in output


@pytest_twisted.ensureDeferred
async def test_a_broken_body_without_a_good_key_is_403_and_tells_nobody(shared: World) -> None:
    before = stored(shared)
    for body in ("", "{", '{"apikey": "wrong", ', '{"hostname": "db1", "output": "', "[]"):
        response = await post(shared, PREFIXES[0] + ADD, body.encode())
        assert is_error(response, 403, v1=True)
    assert stored(shared) == before


@pytest_twisted.ensureDeferred
async def test_a_body_over_a_mebibyte_is_413_and_its_tenant_told(shared: World) -> None:
    key = await shared.add_server_now("verbose")
    body = {"apikey": key, "hostname": "db1", "state": "DOWN", "output": "x" * 1024 * 1024}
    response = await post(shared, PREFIXES[0] + ADD, body)
    assert is_error(response, 413, v1=True)
    ((output,),) = shared.sql("SELECT output FROM notification WHERE hostname = 'verbose'")
    assert "larger than 1 MiB" in output
    assert key not in output
    assert is_error(await post(shared, PREFIXES[0] + ADD, b"x" * 2**21), 403, v1=True)


# ---------------------------------------------------------------- addresses and methods


@at_both_places
@pytest.mark.parametrize("path", ["/", "/nonsense", "/add", "/add/notification/1"])
@pytest_twisted.ensureDeferred
async def test_an_unknown_path_is_404(shared: World, prefix: str, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        response = await shared.request(method, prefix + path)
        assert is_error(response, 404, v1=True)


@at_both_places
@pytest.mark.parametrize("path", [ADD, CHECK, BEAT])
@pytest_twisted.ensureDeferred
async def test_an_unknown_method_is_405_and_says_which_is_allowed(
    shared: World, prefix: str, path: str
) -> None:
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        response = await shared.request(method, prefix + path)
        assert is_error(response, 405, v1=True)
        assert response.headers["allow"] == "POST"


@pytest_twisted.ensureDeferred
async def test_what_v1_added_is_there_in_v2(shared: World) -> None:
    id = (await added(shared, **FULL))["id"]
    assert (await get(shared, f"{GET}/{id}")).status == 200
