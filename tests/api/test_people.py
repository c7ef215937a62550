"""People's own programs, through a real socket: alerts, what is done about them, and the pager."""

from __future__ import annotations

import re
import shlex
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from hotpotato.rules import keys
from hotpotato.store import people, tokens
from tests.api.talk import a_host, is_error, taken
from tests.world import START, Response, World

API = "/api/people/v1"
MANUAL = Path(__file__).parents[2] / "docs" / "people-api.md"


async def token(
    world: World, name: str = "Bob", scope: str = "act", days: int = 90, tenant: str = "acme"
) -> str:
    """A new token of a person."""
    secret = keys.new_key()

    async def work(transaction: Any) -> None:
        (person,) = await people.people(transaction, name=name, tenant=tenant)
        await tokens.add(
            transaction,
            tenant_id=person.tenant_id,
            person_id=person.id,
            name="laptop",
            digest=keys.key_digest(secret),
            scope=scope,
            days=days,
        )

    await world.store(work)
    return secret


async def ask(world: World, path: str, secret: str | None, method: str = "GET") -> Response:
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return await world.request(method, API + path, headers=headers)


async def do(
    world: World, path: str, secret: str | None, body: object = None, *, raw: bytes | None = None
) -> Response:
    """POST with a token; without a body none is sent."""
    if body is None and raw is None:
        return await ask(world, path, secret, "POST")
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return await world.post(API + path, raw if raw is not None else body, headers=headers)


async def an_alert(world: World, **fields: object) -> int:
    """A new alert of acme's; returns its id."""
    data = (await taken(world, **fields))["data"]
    ((alert_id,),) = world.sql("SELECT alert_id FROM notification WHERE id = %s", data["id"])
    return int(alert_id)


async def other_tenant(world: World, name: str) -> str:
    """Add a tenant with Zoe in it; returns a token of hers."""

    async def work(transaction: Any) -> None:
        tenant_id = await people.add_tenant(transaction, name, "UTC")
        await people.add_person(transaction, tenant_id, "Zoe", [("sms", "+64219999999")])

    await world.store(work)
    return await token(world, "Zoe", tenant=name)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# --- who is let in


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/alerts"),
        ("GET", "/alerts/1"),
        ("POST", "/alerts/1/ack"),
        ("POST", "/alerts/1/resolve"),
        ("POST", "/alerts/1/note"),
        ("GET", "/oncall"),
        ("POST", "/take"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_nobody_is_let_in_without_a_token(shared: World, method: str, path: str) -> None:
    missing = await ask(shared, path, None, method)
    assert is_error(missing, 401)
    assert missing.headers["www-authenticate"] == "Bearer"
    assert is_error(await ask(shared, path, "f" * 64, method), 401)
    wrong = {"Authorization": f"Apikey {await token(shared)}"}
    assert is_error(await shared.request(method, API + path, headers=wrong), 401)


@pytest_twisted.ensureDeferred
async def test_a_server_s_key_is_no_token(shared: World) -> None:
    assert is_error(await ask(shared, "/alerts", shared.key), 401)


@pytest_twisted.ensureDeferred
async def test_a_token_that_may_only_read_reads_and_does_nothing(shared: World) -> None:
    reader = await token(shared, scope="read")
    alert_id = await an_alert(shared)
    assert (await ask(shared, "/alerts", reader)).status == 200
    assert (await ask(shared, f"/alerts/{alert_id}", reader)).status == 200
    assert (await ask(shared, "/oncall", reader)).status == 200
    for path in (*(f"/alerts/{alert_id}/{verb}" for verb in ("ack", "resolve", "note")), "/take"):
        assert is_error(await do(shared, path, reader, {"text": "x"}), 403)
    status = "SELECT status FROM alert WHERE id = %s"
    assert shared.sql(status, alert_id) == [("triggered",)]
    holders = [each["user"] for each in (await ask(shared, "/oncall", reader)).data]
    assert holders == ["Anna"]


@pytest_twisted.ensureDeferred
async def test_a_token_ends_when_it_is_revoked_runs_out_or_its_person_is_disabled(
    world: World,
) -> None:
    """By the clock of the database."""
    revoked, short, disabled = (
        await token(world, "Anna"),
        await token(world, "Bob", days=1),
        await token(world, "Cleo"),
    )
    assert [(await ask(world, "/alerts", each)).status for each in (revoked, short, disabled)] == [
        200,
        200,
        200,
    ]
    ((number,),) = world.sql("SELECT id FROM token WHERE digest = %s", keys.key_digest(revoked))
    await world.store(lambda transaction: tokens.revoke(transaction, number))
    await world.store(lambda transaction: people.disable_person(transaction, world.person("Cleo")))
    assert is_error(await ask(world, "/alerts", revoked), 401)
    assert is_error(await ask(world, "/alerts", disabled), 401)
    world.sql("UPDATE test_clock SET now = now + interval '23 hours 59 minutes'")
    assert (await ask(world, "/alerts", short)).status == 200
    world.sql("UPDATE test_clock SET now = now + interval '1 minute'")
    assert is_error(await ask(world, "/alerts", short), 401)


@pytest_twisted.ensureDeferred
async def test_only_a_digest_is_kept_and_use_is_noted_once_a_minute(world: World) -> None:
    secret = await token(world)
    seen = "SELECT digest, last_used_at, xmin::text FROM token"
    assert world.sql(seen)[0][0].tobytes() == keys.key_digest(secret)
    assert world.sql(seen)[0][1] is None
    await ask(world, "/alerts", secret)
    first = world.sql(seen)[0]
    assert first[1] == START
    world.sql("UPDATE test_clock SET now = now + interval '59 seconds'")
    await ask(world, "/alerts", secret)
    assert world.sql(seen)[0] == first  # not even written again
    world.sql("UPDATE test_clock SET now = now + interval '1 second'")
    await ask(world, "/alerts", secret)
    assert world.sql(seen)[0][1] == START + timedelta(minutes=1)


# --- what is seen


@pytest_twisted.ensureDeferred
async def test_open_alerts_are_listed_the_newest_first_and_others_if_asked(world: World) -> None:
    secret = await token(world)
    first, second, third = [await an_alert(world, hostname=f"db{n}") for n in range(3)]
    assert (await do(world, f"/alerts/{second}/ack", secret)).status == 200
    assert (await do(world, f"/alerts/{third}/resolve", secret)).status == 200

    async def ids(query: str = "") -> list[int]:
        answer = await ask(world, f"/alerts{query}", secret)
        assert answer.status == 200, answer.body
        assert answer.json["success"] is True
        return [each["id"] for each in answer.data]

    assert await ids() == await ids("?status=open") == [second, first]
    assert await ids("?status=triggered") == [first]
    assert await ids("?status=acknowledged") == [second]
    assert await ids("?status=resolved") == [third]
    assert await ids("?status=all") == [third, second, first]
    assert await ids("?limit=1&status=all") == [third]
    for wrong in ("?status=closed", "?limit=0", "?limit=1001", "?limit=x", "?limit=99999999999"):
        assert is_error(await ask(world, f"/alerts{wrong}", secret), 400)


@pytest_twisted.ensureDeferred
async def test_an_alert_is_shown_with_its_history(shared: World) -> None:
    secret = await token(shared)
    host = a_host()
    alert_id = await an_alert(shared, hostname=host, service_name="Postgres", output="refused")
    await shared.settle()
    data = (await ask(shared, f"/alerts/{alert_id}", secret)).data
    assert data == data | {
        "id": alert_id,
        "tenant": "acme",
        "status": "triggered",
        "state": "CRITICAL",
        "hostname": host,
        "service_name": "Postgres",
        "output": "refused",
        "acknowledged_by": None,
    }
    assert moment(data["opened_at"]) == START
    assert data["opened_at"].endswith("Z")
    assert re.fullmatch("[A-Z]{3,8}", data["code"])
    assert data["history"][0]["sentence"] == "CRITICAL came in from icinga1: an alert is opened"
    assert moment(data["history"][0]["at"]) == START


@pytest.mark.parametrize("number", ["0", "999999999", str(2**63), "9" * 40])
@pytest_twisted.ensureDeferred
async def test_what_is_not_there_is_not_found(shared: World, number: str) -> None:
    secret = await token(shared)
    assert is_error(await ask(shared, f"/alerts/{number}", secret), 404)
    for verb in ("ack", "resolve", "note"):
        answer = await do(shared, f"/alerts/{number}/{verb}", secret, {"text": "x"})
        assert is_error(answer, 404)


@pytest_twisted.ensureDeferred
async def test_another_tenant_s_alerts_are_not_there(shared: World) -> None:
    stranger = await other_tenant(shared, "strangers")
    alert_id = await an_alert(shared)
    assert (await ask(shared, "/alerts?status=all", stranger)).data == []
    assert is_error(await ask(shared, f"/alerts/{alert_id}", stranger), 404)
    for verb in ("ack", "resolve", "note"):
        answer = await do(shared, f"/alerts/{alert_id}/{verb}", stranger, {"text": "x"})
        assert is_error(answer, 404)
    assert shared.sql("SELECT status FROM alert WHERE id = %s", alert_id) == [("triggered",)]
    (held,) = (await ask(shared, "/oncall", stranger)).data
    assert held == {"schedule": "primary", "user": None, "since": None, "until": None}


# --- what is done


@pytest.mark.parametrize(
    ("body", "minutes"), [(None, 30), ({}, 30), ({"minutes": 45}, 45), ({"minutes": 0}, None)]
)
@pytest_twisted.ensureDeferred
async def test_an_alert_is_acknowledged_in_the_persons_name(
    shared: World, body: object, minutes: int | None
) -> None:
    """Without a body for half an hour, since acme's policy says nothing else."""
    alert_id = await an_alert(shared)
    answer = await do(shared, f"/alerts/{alert_id}/ack", await token(shared), body)
    assert answer.status == 200, answer.body
    data = answer.data
    assert (data["id"], data["status"], data["acknowledged_by"]) == (
        alert_id,
        "acknowledged",
        "Bob",
    )
    until = data["acknowledged_until"]
    wanted = None if minutes is None else START + timedelta(minutes=minutes)
    assert (None if until is None else moment(until)) == wanted
    ((person_id,),) = shared.sql("SELECT acknowledged_by_id FROM alert WHERE id = %s", alert_id)
    assert person_id == shared.person("Bob")


@pytest_twisted.ensureDeferred
async def test_who_has_it_renews_it_and_who_comes_second_is_told_who_has_it(shared: World) -> None:
    alert_id = await an_alert(shared)
    bob, cleo = await token(shared), await token(shared, "Cleo")
    assert (await do(shared, f"/alerts/{alert_id}/ack", bob)).status == 200
    second = await do(shared, f"/alerts/{alert_id}/ack", cleo)
    assert is_error(second, 409)
    assert second.json["message"] == "it was acknowledged already, by Bob"
    renewed = await do(shared, f"/alerts/{alert_id}/ack", bob, {"minutes": 90})
    assert moment(renewed.data["acknowledged_until"]) == START + timedelta(minutes=90)


@pytest_twisted.ensureDeferred
async def test_what_is_resolved_is_over_and_stays_so(shared: World) -> None:
    alert_id = await an_alert(shared)
    bob, cleo = await token(shared), await token(shared, "Cleo")
    done = await do(shared, f"/alerts/{alert_id}/resolve", bob)
    assert (done.status, done.json["message"]) == (200, None)
    assert (done.data["status"], done.data["resolved_by"]) == ("resolved", "Bob")
    again = await do(shared, f"/alerts/{alert_id}/resolve", cleo)
    assert (again.status, again.json["message"]) == (200, "it was over already")
    assert again.data["resolved_by"] == "Bob"
    late = await do(shared, f"/alerts/{alert_id}/ack", cleo)
    assert is_error(late, 409)
    assert late.json["message"] == "it is over already, there is nothing to acknowledge"


@pytest_twisted.ensureDeferred
async def test_a_note_is_kept_in_the_history(shared: World) -> None:
    alert_id = await an_alert(shared)
    secret = await token(shared)
    answer = await do(
        shared, f"/alerts/{alert_id}/note", secret, {"text": " the disk\x00 is ordered\n"}
    )
    assert answer.status == 201
    assert answer.data == {"id": alert_id, "user": "Bob", "text": "the disk\ufffd is ordered"}
    history = (await ask(shared, f"/alerts/{alert_id}", secret)).data["history"]
    assert "Bob notes: the disk\ufffd is ordered" in [line["sentence"] for line in history]


@pytest.mark.parametrize(
    ("verb", "raw"),
    [
        ("note", b""),
        ("note", b"{}"),
        ("note", b'{"text": ""}'),
        ("note", b'{"text": 5}'),
        ("note", b'{"text": "' + b"x" * 4001 + b'"}'),
        ("note", b'["text"]'),
        ("ack", b'{"minutes": -1}'),
        ("ack", b'{"minutes": "30"}'),
        ("ack", b'{"minutes": true}'),
        ("ack", b'{"minutes": 1.5}'),
        ("ack", b'{"minutes": 99999999999}'),
        ("ack", b"minutes=30"),
        ("ack", b"\xff"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_body_that_cannot_be_meant_is_refused_and_does_nothing(
    shared: World, verb: str, raw: bytes
) -> None:
    alert_id = await an_alert(shared)
    before = len(shared.story())
    answer = await do(shared, f"/alerts/{alert_id}/{verb}", await token(shared), raw=raw)
    assert is_error(answer, 400)
    assert shared.sql("SELECT status FROM alert WHERE id = %s", alert_id) == [("triggered",)]
    assert not any("notes" in line for line in shared.story()[before:])


@pytest_twisted.ensureDeferred
async def test_a_body_over_a_mebibyte_is_refused(shared: World) -> None:
    raw = b'{"text": "' + b"x" * 1024 * 1024 + b'"}'
    answer = await do(shared, "/alerts/1/note", await token(shared), raw=raw)
    assert is_error(answer, 413)


@pytest_twisted.ensureDeferred
async def test_the_pager_is_seen_and_taken(world: World) -> None:
    secret = await token(world)
    (held,) = (await ask(world, "/oncall", secret)).data
    assert held == {
        "schedule": "primary",
        "user": "Anna",
        "since": "2026-11-23T14:00:00Z",
        "until": None,
    }
    taken_ = await do(world, "/take", secret)
    assert taken_.status == 200, taken_.body
    assert (taken_.data["schedule"], taken_.data["user"]) == ("primary", "Bob")
    assert (await ask(world, "/oncall", secret)).data == [taken_.data]
    assert is_error(await do(world, "/take", secret, {"schedule": "secondary"}), 404)
    world.sql("INSERT INTO schedule (tenant_id, name) VALUES (%s, 'secondary')", world.tenant_id)
    await world.settle()
    second = await do(world, "/take", secret, {"schedule": "secondary"})
    assert (second.data["schedule"], second.data["user"]) == ("secondary", "Bob")
    await world.notify("CRITICAL")
    ((person_id,),) = world.sql("SELECT person_id FROM notification")
    assert person_id == world.person("Bob")


@pytest_twisted.ensureDeferred
async def test_unknown_paths_and_methods_are_envelopes(shared: World) -> None:
    secret = await token(shared)
    assert is_error(await ask(shared, "/nonsense", secret), 404)
    assert is_error(await ask(shared, "/alerts/abc", secret), 404)
    assert is_error(await ask(shared, "/alerts", secret, "DELETE"), 405)


# --- the manual


def curls() -> list[str]:
    """The curl lines of the manual, with their continuation lines."""
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", MANUAL.read_text(), re.S | re.M))
    return re.findall(r"^curl .*?(?<!\\)$", blocks, re.S | re.M)


@pytest_twisted.ensureDeferred
async def test_the_examples_of_the_manual_work_in_their_order(world: World) -> None:
    """Each is sent as curl would, with the id of an alert that is there."""
    alert_id = await an_alert(world)
    secret = await token(world, "Anna")
    lines = curls()
    assert len(lines) >= 7
    for line in lines:
        words = shlex.split(line.replace("\\\n", " "))[1:]
        method, headers, body, address = "GET", {}, None, ""
        while words:
            word = words.pop(0)
            if word == "-X":
                method = words.pop(0)
            elif word == "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value.replace("$TOKEN", secret)
            elif word == "-d":
                method, body = "POST", words.pop(0).encode()
            else:
                address = word
        path = address.removeprefix("https://hotpotato.example.com").replace("/17", f"/{alert_id}")
        assert path.startswith(API), line
        answer = await world.request(method, path, body, headers)
        assert answer.status in (200, 201), f"{line}: {answer.body!r}"
    assert shlex.split("; ".join(lines)).count("Authorization: Bearer $TOKEN") == len(lines)
