"""What Modica calls back, through a real socket: receipts and replies."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted

from tests.api.talk import a_host, is_error, look_up, taken
from tests.world import ANNA, Response, World

PLACES = ["/api/senders/modica", "/api/v1/modica", "/api/servers/v1/modica"]
REPLY, RECEIPT = "/mo-messages", "/dlr-status"
A_REPLY = {"id": 1, "source": "+64299999999", "operator": "Spark", "content": "hello"}
A_RECEIPT = {"message_id": 1, "status": "submitted"}
BOTH = [(REPLY, A_REPLY), (RECEIPT, A_RECEIPT)]


def basic(user: str, password: str) -> str:
    """An Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


GOOD = basic("modica", "callback-secret")


async def call(
    world: World,
    path: str,
    body: object,
    authorization: str | None = GOOD,
    place: str = PLACES[0],
) -> Response:
    """Call back as Modica does."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {} if authorization is None else {"Authorization": authorization}
    return await world.request("POST", place + path, content, headers)


async def told(world: World, **body: object) -> None:
    """Send a receipt that must be taken."""
    response = await call(world, RECEIPT, body)
    assert response.status == 200, response.body


def receipts(world: World, provider_id: object) -> list[tuple[Any, ...]]:
    """The receipts stored for a provider's id, as (status, progress), in order."""
    return world.sql(
        "SELECT status, progress FROM receipt WHERE provider_id = %s ORDER BY id", str(provider_id)
    )


def replies(world: World, provider_id: object) -> list[tuple[Any, ...]]:
    """The replies stored for a provider's id, as (source, content, encoding, reply_to)."""
    return world.sql(
        "SELECT source, content, encoding, reply_to FROM reply WHERE provider_id = %s",
        str(provider_id),
    )


# ---------------------------------------------------------------- who may call


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("path", "body"), BOTH)
@pytest_twisted.ensureDeferred
async def test_the_configured_credentials_are_taken_at_all_three_places(
    shared: World, place: str, path: str, body: object
) -> None:
    response = await call(shared, path, body, place=place)
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json == {"success": True, "code": 200, "message": None, "data": None}
    lower_case = await call(shared, path, body, GOOD.replace("Basic", "basic"), place)
    assert lower_case.status == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        basic("modica", "wrong"),
        basic("somebody", "callback-secret"),
        basic("", ""),
        basic("modica", "callback-secret "),
        basic("MODICA", "callback-secret"),
        "Bearer " + GOOD.partition(" ")[2],
        "Apikey {key}",
        GOOD.partition(" ")[2],
    ],
)
@pytest.mark.parametrize(("path", "body"), BOTH)
@pytest_twisted.ensureDeferred
async def test_any_other_credentials_are_401_and_nothing_is_stored(
    shared: World, path: str, body: dict[str, object], authorization: str | None
) -> None:
    count = "SELECT (SELECT count(*) FROM receipt), (SELECT count(*) FROM reply)"
    before = shared.sql(count)
    given = authorization and authorization.format(key=shared.key)
    for place in PLACES:
        response = await call(shared, path, body, given, place)
        assert is_error(response, 401, v1=place != PLACES[0])
        assert response.headers["www-authenticate"].startswith("Basic ")
    assert shared.sql(count) == before


@pytest_twisted.async_yield_fixture()
async def unconfigured(shared: World) -> AsyncIterator[World]:
    """A daemon more, whose senders say nothing, or `none`, about callbacks."""
    modica = {"url": shared.gateway.url, "application": "x", "password": "y", "plugin": "modica"}
    senders = {"modica": modica, "open": modica | {"callback_auth": "none"}, "second": modica}
    callback_url = shared.gateway.callback_url
    await shared.start_daemon(senders=senders)
    yield shared
    await shared.stop_daemon()
    shared.gateway.callback_url = callback_url


@pytest.mark.parametrize("authorization", [None, GOOD, basic("", ""), basic("x", "y")])
@pytest_twisted.ensureDeferred
async def test_without_configured_credentials_every_callback_is_401(
    unconfigured: World, authorization: str | None
) -> None:
    for path, body in BOTH:
        for place in PLACES:
            response = await call(unconfigured, path, body, authorization, place)
            assert is_error(response, 401, v1=place != PLACES[0])


@pytest_twisted.ensureDeferred
async def test_callback_auth_none_takes_everybody(unconfigured: World) -> None:
    for path, body in BOTH:
        for authorization in (None, GOOD, "nonsense"):
            response = await call(unconfigured, path, body, authorization, "/api/senders/open")
            assert response.status == 200


@pytest_twisted.ensureDeferred
async def test_only_the_instance_named_modica_has_the_old_places(unconfigured: World) -> None:
    """The sender `open` would take it there, were it mounted there."""
    for place in PLACES[1:]:
        assert (await call(unconfigured, RECEIPT, A_RECEIPT, None, place)).status == 401
    assert (await call(unconfigured, RECEIPT, A_RECEIPT, None, "/api/v1/open")).status == 404


@pytest.mark.parametrize("place", ["/api/senders/nobody", "/api/senders", "/api/senders/log"])
@pytest_twisted.ensureDeferred
async def test_a_sender_that_is_not_configured_is_404(shared: World, place: str) -> None:
    assert is_error(await call(shared, RECEIPT, A_RECEIPT, place=place), 404)


@pytest.mark.parametrize("path", [REPLY, RECEIPT])
@pytest_twisted.ensureDeferred
async def test_another_method_is_405(shared: World, path: str) -> None:
    for place in PLACES:
        response = await shared.request("GET", place + path, None, {"Authorization": GOOD})
        assert is_error(response, 405, v1=place != PLACES[0])
        assert response.headers["allow"] == "POST"


# ---------------------------------------------------------------- receipts


async def sent(world: World) -> tuple[int, int]:
    """A notification whose text the gateway has: its id and the provider's."""
    host = a_host()
    id = (await taken(world, hostname=host))["data"]["id"]
    await world.settle()
    (message,) = [one for one in world.gateway.messages if host in one.text]
    return id, message.id


async def status(world: World, id: int) -> str:
    """How far a notification got."""
    return str((await look_up(world, id))["status"])


@pytest.mark.parametrize("as_text", [True, False])
@pytest_twisted.ensureDeferred
async def test_an_id_may_be_a_number_or_text_and_has_all_its_64_bits(
    shared: World, as_text: bool
) -> None:
    (before, _), (id, provider_id), (after, _) = [await sent(shared) for _ in range(3)]
    assert provider_id > 2**53  # where floating point numbers begin to take neighbours for one
    await told(shared, message_id=str(provider_id) if as_text else provider_id, status="received")
    assert receipts(shared, provider_id) == [("received", "delivered")]
    assert [await status(shared, one) for one in (before, id, after)] == [
        "sent",
        "delivered",
        "sent",
    ]


@pytest.mark.parametrize(
    ("word", "seen"),
    [
        ("submitted", "sent"),
        ("sent", "sent"),
        ("frozen", "sent"),
        ("received", "delivered"),
        ("rejected", "failed"),
        ("failed", "failed"),
        ("dead", "failed"),
        ("expired", "failed"),
        ("RECEIVED", "delivered"),
        ("teleported", "sent"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_each_status_means(shared: World, word: str, seen: str) -> None:
    """An unknown one is stored and treated as not final."""
    id, provider_id = await sent(shared)
    await told(shared, message_id=provider_id, status=word)
    assert await status(shared, id) == seen
    assert [stored for stored, _ in receipts(shared, provider_id)] == [word]


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["received", "received", "received"], "delivered"),
        (["received", "sent", "submitted"], "delivered"),
        (["received", "expired", "failed"], "delivered"),
        (["failed", "submitted", "sent"], "failed"),
        (["sent", "submitted", "teleported", "received"], "delivered"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_receipts_come_twice_late_and_out_of_order_and_a_final_state_never_goes_back(
    shared: World, words: list[str], seen: str
) -> None:
    id, provider_id = await sent(shared)
    for word in words:
        await told(shared, message_id=provider_id, status=word)
    assert await status(shared, id) == seen
    assert [stored for stored, _ in receipts(shared, provider_id)] == words


@pytest_twisted.ensureDeferred
async def test_a_receipt_for_an_id_that_nobody_knows_is_stored(shared: World) -> None:
    await told(shared, message_id="never heard of", status="received")
    assert receipts(shared, "never heard of") == [("received", "delivered")]


@pytest_twisted.ensureDeferred
async def test_a_receipt_may_be_faster_than_the_answer_to_the_send(world: World) -> None:
    world.gateway.misbehave("early")
    id = (await taken(world))["data"]["id"]
    await world.settle()
    assert await status(world, id) == "delivered"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"received"',
        b"message_id=1&status=received",
        b'{"message_id": 1, "status": "re\xff"}',
        {},
        {"message_id": 1},
        {"status": "received"},
        {"message_id": None, "status": "received"},
        {"message_id": 1, "status": None},
        {"message_id": 1, "status": ""},
        {"message_id": 1, "status": 5},
        {"message_id": 1.5, "status": "received"},
        {"message_id": True, "status": "received"},
        {"message_id": [1], "status": "received"},
        {"message_id": "", "status": "received"},
        {"message_id": "x" * 300, "status": "received"},
        b'{"message_id": ' + b"9" * 5000 + b', "status": "received"}',
        b'{"message_id": ' + b"[" * 100_000,
    ],
    ids=lambda body: ascii(body)[:50],
)
@pytest_twisted.ensureDeferred
async def test_a_malformed_receipt_is_400(shared: World, body: object) -> None:
    before = shared.sql("SELECT count(*) FROM receipt")
    for place in PLACES:
        assert is_error(await call(shared, RECEIPT, body, place=place), 400, v1=place != PLACES[0])
    assert shared.sql("SELECT count(*) FROM receipt") == before


@pytest_twisted.ensureDeferred
async def test_unknown_keys_are_ignored(shared: World) -> None:
    await told(shared, message_id=77, status="sent", colour="red", nested={"a": [1]})
    response = await call(
        shared, REPLY, A_REPLY | {"id": 77, "colour": "red", "nested": {"a": [1]}}
    )
    assert response.status == 200
    assert receipts(shared, 77) == [("sent", "underway")]
    assert len(replies(shared, 77)) == 1


@pytest_twisted.ensureDeferred
async def test_what_postgresql_cannot_hold_is_replaced(shared: World) -> None:
    await told(shared, message_id="nul\0 half \ud83e", status="odd\0")
    assert receipts(shared, "nul\ufffd half \ufffd") == [("odd\ufffd", "underway")]


# ---------------------------------------------------------------- replies


@pytest_twisted.ensureDeferred
async def test_a_reply_is_stored_as_it_came(shared: World) -> None:
    body = A_REPLY | {"id": 2**62 + 1, "reply-to": 2**61 + 1, "content": "näh, später 🥔"}
    assert (await call(shared, REPLY, body)).status == 200
    assert replies(shared, 2**62 + 1) == [("+64299999999", "näh, später 🥔", None, str(2**61 + 1))]


@pytest.mark.parametrize(
    ("extra", "kept"),
    [
        ({}, None),
        ({"reply-to": 5}, "5"),
        ({"reply-to": "5"}, "5"),
        ({"reply_to": 5}, "5"),
        ({"reply_to": "5"}, "5"),
        ({"reply-to": 5, "reply_to": 6}, "5"),
        ({"reply-to": None, "reply_to": 6}, "6"),
        ({"reply-to": None}, None),
        ({"reply-to": ""}, None),
    ],
    ids=repr,
)
@pytest_twisted.ensureDeferred
async def test_reply_to_has_two_spellings_and_may_be_missing(
    shared: World, extra: dict[str, object], kept: str | None
) -> None:
    id = f"reply {a_host()}"
    assert (await call(shared, REPLY, A_REPLY | {"id": id} | extra)).status == 200
    ((*_, reply_to),) = replies(shared, id)
    assert reply_to == kept


@pytest_twisted.ensureDeferred
async def test_the_same_reply_again_is_200_and_acts_once(world: World) -> None:
    await taken(world, hostname="db1")
    await world.settle()
    code = world.texts(ANNA)[0].split()[-1]
    body = {"id": 4711, "source": ANNA, "content": f"ack {code}"}
    for id in (4711, "4711", 4711):
        assert (await call(world, REPLY, body | {"id": id})).status == 200
        await world.settle()
    assert len(replies(world, 4711)) == 1
    acknowledged = [text for text in world.texts(ANNA) if text.startswith("Acknowledged")]
    assert len(acknowledged) == 1
    assert world.sql("SELECT status FROM alert") == [("acknowledged",)]


@pytest_twisted.ensureDeferred
async def test_a_binary_reply_is_stored_as_such_and_acknowledges_nothing(world: World) -> None:
    await taken(world, hostname="db1")
    await world.settle()
    code = world.texts(ANNA)[0].split()[-1]
    content = base64.b64encode(b"\x00\xff" + code.encode()).decode()
    body = {"id": 5, "source": ANNA, "content": content, "encoding": "base64"}
    assert (await call(world, REPLY, body)).status == 200
    await world.settle()
    assert replies(world, 5) == [(ANNA, content, "base64", None)]
    assert world.sql("SELECT status FROM alert") == [("triggered",)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        {},
        {"source": ANNA, "content": "x"},
        {"id": 1, "content": "x"},
        {"id": 1, "source": ANNA},
        {"id": None, "source": ANNA, "content": "x"},
        {"id": 1.5, "source": ANNA, "content": "x"},
        {"id": {}, "source": ANNA, "content": "x"},
        {"id": 1, "source": "", "content": "x"},
        {"id": 1, "source": [ANNA], "content": "x"},
        {"id": 1, "source": ANNA, "content": 5},
        {"id": 1, "source": ANNA, "content": None},
        {"id": 1, "source": ANNA, "content": "x", "reply-to": [5]},
    ],
    ids=repr,
)
@pytest_twisted.ensureDeferred
async def test_a_malformed_reply_is_400(shared: World, body: object) -> None:
    before = shared.sql("SELECT count(*) FROM reply")
    assert is_error(await call(shared, REPLY, body), 400)
    assert shared.sql("SELECT count(*) FROM reply") == before


@pytest_twisted.ensureDeferred
async def test_a_callback_over_a_mebibyte_is_413(shared: World) -> None:
    body = A_REPLY | {"content": "x" * 1024 * 1024}
    assert is_error(await call(shared, REPLY, body), 413)


@pytest_twisted.ensureDeferred
async def test_odd_phone_numbers_and_contents_are_stored_and_harm_nothing(shared: World) -> None:
    for number, source in enumerate(["2048", 6421, "MODICA", "+", "+99999999999999999", "\0"]):
        body = {"id": f"odd {number}", "source": source, "content": "ack \0 \ud83e " + "x" * 9000}
        assert (await call(shared, REPLY, body)).status == 200
    await shared.settle()
    assert shared.sql("SELECT count(*) FROM reply WHERE provider_id LIKE 'odd %%'") == [(6,)]
