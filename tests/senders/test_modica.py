"""Modica's sender against MODICA's answers and CONTRACT section 5, through real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import pytest_twisted
from hypothesis import given, settings
from hypothesis import strategies as st
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.client import Agent

from hotpotato.interfaces import (
    Accepted,
    FailedForNow,
    ReceiptFact,
    Rejected,
    ReplyFact,
    SendOutcome,
    Unknown,
)
from hotpotato.sandbox import Delays, Gateway
from hotpotato.senders.http import basic
from hotpotato.senders.plugins import modica
from hotpotato.testing import (
    Answer,
    Behaviour,
    CallbackExample,
    Harness,
    Mounted,
    Received,
    Refusal,
    Request,
    SenderCase,
    make_sender_tests,
    patiently,
    running,
)
from hotpotato.vocabulary import Progress

UNUSED: Any = None
CREDENTIALS = {"authorization": basic("modica", "back-secret")}
MO = {
    "id": 2**63 + 7,
    "source": "+64211234567",
    "destination": "2048",
    "content": "ack KWT",
    "operator": "Example Mobile",
    "reply-to": 1102293018,
}


def error(status: int, code: str = "invalid_attrib", text: str = "no good") -> Answer:
    """Modica's first shape of an error."""
    return Answer(status, json.dumps({"error": code, "error-desc": text}).encode())


def other_error(status: int, text: str = "no good") -> Answer:
    """Modica's other shape of an error."""
    return Answer(status, json.dumps({"code": status, "message": text}).encode())


ANSWERS: dict[str, tuple[Answer, type[SendOutcome]]] = {
    "400 in the first shape": (error(400, "missing_attrib"), Rejected),
    "400 in the other shape": (other_error(400), Rejected),
    "400 that repeats the number": (error(400, text="+64211234567 is barred"), Rejected),
    "400 without a body": (Answer(400), Rejected),
    "400 that isn't JSON": (Answer(400, b"<html>Bad</html>"), Rejected),
    "400 with JSON of no known shape": (Answer(400, b"[[[]]]"), Rejected),
    "400 nested too deep": (Answer(400, b"[" * 50_000), Rejected),
    "422 in the first shape": (error(422, "422"), Rejected),
    "422 in the other shape": (other_error(422), Rejected),
    "send_failed as 400": (error(400, "send_failed"), FailedForNow),
    "send_failed as 500": (error(500, "send_failed"), FailedForNow),
    "401 without a body": (Answer(401), FailedForNow),
    "403": (other_error(403), FailedForNow),
    "404 without a body": (Answer(404), FailedForNow),
    "405": (Answer(405, b"<html>"), FailedForNow),
    "408": (Answer(408), FailedForNow),
    "413": (Answer(413), FailedForNow),
    "429": (Answer(429), FailedForNow),
    "301": (Answer(301, headers={"Location": "/elsewhere"}), FailedForNow),
    "302": (Answer(302, headers={"Location": "https://elsewhere.example/"}), FailedForNow),
    "304": (Answer(304), FailedForNow),
    "307": (Answer(307, headers={"Location": "/messages"}), FailedForNow),
    "308 without a place": (Answer(308), FailedForNow),
    "500 without a body": (Answer(500), Unknown),
    "500 in the other shape": (other_error(500), Unknown),
    "502": (Answer(502, b"<html>Bad gateway</html>"), Unknown),
    "503": (Answer(503, b"<html>Busy</html>"), FailedForNow),
    "504": (Answer(504), Unknown),
    "599": (Answer(599), Unknown),
    "200 with an id": (Answer(200, b"[1]"), Unknown),
    "202": (Answer(202), Unknown),
    "204": (Answer(204), Unknown),
    "201 without a body": (Answer(201), Unknown),
    "201 with no id": (Answer(201, b"[]"), Unknown),
    "201 with two ids": (Answer(201, b"[1, 2]"), Unknown),
    "201 with a broken id": (Answer(201, b"[1.5]"), Unknown),
    "201 with a truth": (Answer(201, b"[true]"), Unknown),
    "201 with null": (Answer(201, b"[null]"), Unknown),
    "201 with an empty id": (Answer(201, b'[""]'), Unknown),
    "201 with a bare id": (Answer(201, b"1102293018"), Unknown),
    "201 with an object": (Answer(201, b'{"id": 1102293018}'), Unknown),
    "201 with a broadcast's answer": (Answer(201, b'[{"id": 1, "status": "success"}]'), Unknown),
    "201 cut short": (Answer(201, b"[11022930"), Unknown),
    "201 that isn't text": (Answer(201, b"\xff\xfe[1]"), Unknown),
    "201 with 100 KiB": (Answer(201, b"[1" + b" " * 102_400 + b"]"), Unknown),
}


class ModicaCase(SenderCase):
    """Modica, played by the sandbox's own idea of it."""

    plugin = modica
    dropin = "twisted.plugins.hotpotato_senders"
    secrets = ("front-secret", "back-secret", basic("example", "front-secret"))
    refusals = {
        name: Refusal(answer, outcome)  # type: ignore[arg-type]
        for name, (answer, outcome) in ANSWERS.items()
    }

    def __init__(self) -> None:
        self.gateway = Gateway(
            Clock(),
            HTTPClient(Agent(reactor)),
            application="example",
            password="front-secret",
        )

    def options(self, url: str) -> dict[str, object]:
        """As CONTRACT section 2 shows them."""
        return {
            "url": f"{url}/rest/gateway",
            "application": "example",
            "password": "front-secret",
            "source": "2048",
            "callback_username": "modica",
            "callback_password": "back-secret",
        }

    async def answer(self, request: Request) -> Answer:
        """What the sandbox answers."""
        if request.method == "GET":
            return Answer(404)
        assert (request.method, request.path) == ("POST", "/rest/gateway/messages")
        assert request.headers["accept"] == "application/vnd.modica.gateway.v1+json"
        assert request.headers["content-type"] == "application/json"
        assert json.loads(request.body)["source"] == "2048"
        taken = await self.gateway.take(request.headers["authorization"], request.body)
        return Answer(taken.status, taken.body)

    def read(self, request: Request) -> Received:
        """Modica's fields."""
        message = json.loads(request.body)
        return Received(message["destination"], message["content"], message["reference"])

    callbacks = {
        "a receipt": CallbackExample(
            path="/dlr-status",
            headers=CREDENTIALS,
            body=b'{"message_id": 1102293018, "status": "received"}',
            facts=[
                ReceiptFact(
                    status="received", progress=Progress.DELIVERED, provider_id="1102293018"
                )
            ],
        ),
        "a reply": CallbackExample(
            path="/mo-messages",
            headers=CREDENTIALS,
            body=json.dumps(MO).encode(),
            facts=[
                ReplyFact(
                    provider_id="9223372036854775815",
                    source="+64211234567",
                    content="ack KWT",
                    reply_to="1102293018",
                    operator="Example Mobile",
                )
            ],
        ),
        "a receipt of somebody else's": CallbackExample(
            path="/dlr-status", body=b'{"message_id": 1, "status": "received"}', status=401
        ),
        "a reply of somebody else's": CallbackExample(
            path="/mo-messages", body=json.dumps(MO).encode(), status=401
        ),
    }


TestModicaContract = make_sender_tests(ModicaCase)


async def answered(answer: Answer) -> Any:
    """The outcome that an answer leads to."""
    async with running(ModicaCase()) as (harness, standin):

        async def always(request: Request) -> Answer:
            return answer

        standin.answer = always
        return await patiently(harness.send())


@pytest.mark.parametrize("body", [b"[1102293018]", b' [ "1102293018" ]\n'])
@pytest_twisted.ensureDeferred
async def test_201_with_one_id_is_the_only_acceptance(body: bytes) -> None:
    """As a number or as text."""
    assert await answered(Answer(201, body)) == Accepted("1102293018")


@pytest_twisted.ensureDeferred
async def test_an_id_of_64_bits_stays_whole() -> None:
    """Read as a floating point number it would be another message's."""
    assert await answered(Answer(201, b"[9223372036854775807]")) == Accepted("9223372036854775807")


@pytest.mark.parametrize("make", [error, other_error])
@pytest_twisted.ensureDeferred
async def test_the_reason_of_a_rejection_is_modicas_sentence(make: Any) -> None:
    """In both shapes, with the number masked."""
    outcome = await answered(make(400, text="the number 64211234567 is\nbarred"))
    assert isinstance(outcome, Rejected)
    assert "the number 64…4567 is barred" in outcome.why


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "password"), (403, "may not send"), (404, "url"), (405, "url")],
)
@pytest_twisted.ensureDeferred
async def test_a_mistake_in_the_settings_is_named(status: int, hint: str) -> None:
    """It is tried again, since somebody will mend it, and the history says what to mend."""
    outcome = await answered(Answer(status))
    assert isinstance(outcome, FailedForNow)
    assert hint in outcome.why
    assert str(status) in outcome.why


@pytest.mark.parametrize("status", [429, 503, 401])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("", None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_retry_after_is_honoured(status: int, header: str, seconds: float | None) -> None:
    """Seconds, or a date, which is meant by the provider's clock."""
    headers = {"Retry-After": header, "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    outcome = await answered(Answer(status, headers=headers))
    assert isinstance(outcome, FailedForNow)
    assert outcome.retry_after == seconds


@pytest_twisted.ensureDeferred
async def test_a_redirect_is_not_followed() -> None:
    """The message and the password would go to wherever it points."""
    async with running(ModicaCase()) as (harness, standin):

        async def away(request: Request) -> Answer:
            return Answer(307, headers={"Location": f"{standin.url}/elsewhere"})

        standin.answer = away
        outcome = await patiently(harness.send())
        assert [request.path for request in standin.requests] == ["/rest/gateway/messages"]
    assert isinstance(outcome, FailedForNow)
    assert "/elsewhere" in outcome.why


@pytest_twisted.ensureDeferred
async def test_what_modica_cannot_include_is_replaced_by_look_alikes() -> None:
    """A page is not refused for the bar of performance data."""
    case = ModicaCase()
    async with running(case) as (harness, standin):
        outcome = await patiently(harness.send("OK | load=1 ¡§¤"))
        assert case.read(standin.requests[0]).text == "OK / load=1 !S*"
    assert isinstance(outcome, Accepted)


@pytest_twisted.ensureDeferred
async def test_without_a_source_none_is_sent() -> None:
    """The application's own is used then."""

    class WithoutSource(ModicaCase):
        def options(self, url: str) -> dict[str, object]:
            return {k: v for k, v in super().options(url).items() if k != "source"}

        async def answer(self, request: Request) -> Answer:
            assert "source" not in json.loads(request.body)
            return Answer(201, b"[5]")

    async with running(WithoutSource()) as (harness, _):
        assert await patiently(harness.send()) == Accepted("5")


@asynccontextmanager
async def connected(
    options: dict[str, object] | None = None, name: str = "modica"
) -> AsyncIterator[tuple[Harness, Gateway, Mounted]]:
    """A sender and a sandbox gateway that know each other, each on a socket of its own."""
    http = HTTPClient(Agent(reactor))
    case = ModicaCase()
    gateway = Gateway(
        reactor,
        http,
        application="example",
        password="front-secret",
        callback_username="modica",
        callback_password="back-secret",
        delays=Delays(0.0, 0.0, 0.0),
    )
    await gateway.start(reactor)
    changed = dict(options or {})
    root = gateway.control_url
    case.options = lambda url: ModicaCase().options(root) | changed  # type: ignore[method-assign]
    harness = Harness(case, root, http, name=name)
    mounted = Mounted(reactor, name, harness.sender.routes())
    gateway.callback_url = mounted.callback_url
    try:
        yield harness, gateway, mounted
        await patiently(gateway.idle())
        assert harness.clock.getDelayedCalls() == []
    finally:
        await gateway.stop()
        await mounted.stop()


@pytest_twisted.ensureDeferred
async def test_a_message_reaches_the_phone_and_its_receipts_come_back() -> None:
    """The whole way, with the reference in the receipts."""
    async with connected() as (harness, gateway, _):
        outcome = await patiently(harness.send("db1 is down [KWT]", number=7))
        await patiently(gateway.idle())
        [message] = gateway.messages
    assert outcome == Accepted(str(message.id))
    assert (message.number, message.text) == ("+64211234567", "db1 is down [KWT]")
    assert [(fact.status, fact.progress) for fact in harness.inbox.receipts] == [
        ("submitted", Progress.UNDERWAY),
        ("sent", Progress.UNDERWAY),
        ("received", Progress.DELIVERED),
    ]
    assert {fact.provider_id for fact in harness.inbox.facts} == {str(message.id)}
    assert {fact.reference for fact in harness.inbox.receipts} == {message.reference}


@pytest.mark.parametrize("do", ["reset-after", "half", "garbage", "hang-after"])
@pytest_twisted.ensureDeferred
async def test_an_unknown_outcome_is_settled_by_the_receipts_reference(do: str) -> None:
    """The SMS went out, and the receipt says of which attempt it was."""
    async with connected() as (harness, gateway, _):
        gateway.misbehave(do)
        sending = harness.send(number=3)
        if do == "hang-after":
            await patiently(gateway.arrived(1))
            harness.clock.advance(20)
        outcome = await patiently(sending)
        await patiently(gateway.idle())
    assert isinstance(outcome, Unknown)
    assert len(gateway.messages) == 1
    assert harness.inbox.receipts[-1].reference == gateway.messages[0].reference


@pytest.mark.parametrize("do", ["reset-before", "hang-before"])
@pytest_twisted.ensureDeferred
async def test_a_loss_before_acceptance_looks_the_same(do: str) -> None:
    """Nobody can tell from here, so it is unknown too."""
    async with connected() as (harness, gateway, _):
        gateway.misbehave(do)
        sending = harness.send()
        if do == "hang-before":
            await patiently(gateway.arrived(1))
            harness.clock.advance(20)
        assert isinstance(await patiently(sending), Unknown)
    assert gateway.messages == ()
    assert harness.inbox.facts == []


@pytest_twisted.ensureDeferred
async def test_a_reply_reaches_the_inbox() -> None:
    """Without `reply-to`, as from most accounts, and with it."""
    async with connected() as (harness, gateway, _):
        assert await patiently(gateway.reply("+64211234567", "ack KWT", provider_id=5)) == 200
        assert (
            await patiently(gateway.reply("+64211234567", "ok", reply_to=9, provider_id=6)) == 200
        )
    assert harness.inbox.facts == [
        ReplyFact(
            provider_id="5",
            source="+64211234567",
            content="ack KWT",
            operator="Sandbox Mobile",
        ),
        ReplyFact(
            provider_id="6",
            source="+64211234567",
            content="ok",
            reply_to="9",
            operator="Sandbox Mobile",
        ),
    ]


@pytest_twisted.ensureDeferred
async def test_an_inbox_that_fails_has_the_callback_answered_503() -> None:
    """So the provider repeats it."""
    async with connected() as (harness, gateway, mounted):
        harness.inbox.written = Deferred()
        harness.inbox.written.errback(OSError("the disk is full"))
        assert await patiently(gateway.receipt(1, "received")) == 503
    assert [failure.type for failure in mounted.failures] == [OSError]


async def post(
    path: str,
    body: bytes,
    *,
    headers: Mapping[str, str] = CREDENTIALS,
    options: dict[str, object] | None = None,
    name: str = "modica",
) -> tuple[int, list[Any]]:
    """POST to a whole path; what was answered and what the inbox got."""
    http: Any = HTTPClient(Agent(reactor))
    async with connected(options, name) as (harness, _, mounted):
        response = await patiently(http.post(mounted.url + path, headers=headers, data=body))
        envelope = json.loads(await patiently(response.content()))
    assert envelope["code"] == response.code
    assert envelope["success"] is (response.code == 200)
    return response.code, harness.inbox.facts


@pytest.mark.parametrize(
    "place", ["/api/senders/modica", "/api/v1/modica", "/api/servers/v1/modica"]
)
@pytest_twisted.ensureDeferred
async def test_the_instance_called_modica_is_found_at_the_old_places_too(place: str) -> None:
    """Setups point there."""
    receipt = b'{"message_id": 1, "status": "sent"}'
    status, facts = await post(f"{place}/dlr-status", receipt)
    assert (status, len(facts)) == (200, 1)
    status, facts = await post(f"{place}/mo-messages", json.dumps(MO).encode())
    assert (status, len(facts)) == (200, 1)


@pytest_twisted.ensureDeferred
async def test_an_instance_with_another_name_has_only_its_own_place() -> None:
    """Two instances don't quarrel about the old ones."""
    receipt = b'{"message_id": 1, "status": "sent"}'
    status, facts = await post("/api/senders/backup/dlr-status", receipt, name="backup")
    assert (status, len(facts)) == (200, 1)
    status, facts = await post("/api/v1/modica/dlr-status", receipt, name="backup")
    assert (status, facts) == (404, [])


@pytest.mark.parametrize(
    ("word", "progress"),
    [
        ("submitted", Progress.UNDERWAY),
        ("sent", Progress.UNDERWAY),
        ("frozen", Progress.UNDERWAY),
        ("received", Progress.DELIVERED),
        ("rejected", Progress.FAILED),
        ("failed", Progress.FAILED),
        ("dead", Progress.FAILED),
        ("expired", Progress.FAILED),
        ("accepted", Progress.UNDERWAY),
        ("queued", Progress.UNDERWAY),
        ("blocked", Progress.UNDERWAY),
        ("deficient", Progress.UNDERWAY),
        ("something new", Progress.UNDERWAY),
        ("Received", Progress.DELIVERED),
    ],
)
@pytest_twisted.ensureDeferred
async def test_every_status_has_its_meaning(word: str, progress: Progress) -> None:
    """The word is kept as it came; one that isn't known is not final."""
    body = json.dumps({"message_id": 1, "status": word}).encode()
    status, facts = await post("/api/senders/modica/dlr-status", body)
    assert status == 200
    assert facts == [ReceiptFact(status=word, progress=progress, provider_id="1")]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (1102293018, "1102293018"),
        ("1102293018", "1102293018"),
        (2**64 - 1, "18446744073709551615"),
        ("a-b", "a-b"),
        (0, "0"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_ids_come_as_numbers_or_text_and_stay_whole(given: object, kept: str) -> None:
    """In receipts and in replies, and as what a reply answers."""
    receipt = json.dumps({"message_id": given, "status": "sent"}).encode()
    _, facts = await post("/api/senders/modica/dlr-status", receipt)
    assert facts[0].provider_id == kept
    reply = json.dumps(MO | {"id": given, "reply-to": given}).encode()
    _, facts = await post("/api/senders/modica/mo-messages", reply)
    assert (facts[0].provider_id, facts[0].reply_to) == (kept, kept)


@pytest_twisted.ensureDeferred
async def test_a_receipts_reference_and_detail_are_handed_on() -> None:
    """Also with no id, when the reference says which attempt is meant; unknown keys are ignored."""
    body = {"message_id": 1, "status": "expired", "reference": "r1", "detail": "off", "x": [{}]}
    _, facts = await post("/api/senders/modica/dlr-status", json.dumps(body).encode())
    assert facts == [
        ReceiptFact(
            status="expired",
            progress=Progress.FAILED,
            provider_id="1",
            reference="r1",
            detail="off",
        )
    ]
    del body["message_id"]
    _, facts = await post("/api/senders/modica/dlr-status", json.dumps(body).encode())
    assert (facts[0].provider_id, facts[0].reference) == (None, "r1")


@pytest.mark.parametrize(
    ("change", "reply_to"),
    [
        ({}, "1102293018"),
        ({"reply-to": None}, None),
        ({"reply-to": ""}, None),
        ({"reply-to": None, "reply_to": "77"}, "77"),
        ({"reply-to": 5, "reply_to": 77}, "5"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_reply_to_is_taken_in_both_spellings_and_may_be_missing(
    change: dict[str, object], reply_to: str | None
) -> None:
    """It normally is missing."""
    body = json.dumps(MO | change).encode()
    status, facts = await post("/api/senders/modica/mo-messages", body)
    assert status == 200
    assert facts[0].reply_to == reply_to


@pytest_twisted.ensureDeferred
async def test_only_what_a_reply_needs_is_needed() -> None:
    """Id, source and content; an operator that isn't text is as good as absent."""
    body = {"id": "m1", "source": "+64211234567", "content": "", "operator": [1], "later": 1}
    status, facts = await post("/api/senders/modica/mo-messages", json.dumps(body).encode())
    assert status == 200
    assert facts == [ReplyFact(provider_id="m1", source="+64211234567", content="")]


@pytest_twisted.ensureDeferred
async def test_a_binary_reply_is_handed_on_as_base64() -> None:
    """With its encoding, for whoever judges it."""
    body = json.dumps(MO | {"content": "AAEC", "encoding": "base64"}).encode()
    _, facts = await post("/api/senders/modica/mo-messages", body)
    assert (facts[0].content, facts[0].encoding) == ("AAEC", "base64")


@pytest_twisted.ensureDeferred
async def test_what_no_database_can_hold_is_replaced() -> None:
    """NUL and lone surrogates; a reply with them still counts."""
    body = json.dumps(MO | {"content": "ack\0 KWT\ud800"}).encode()
    status, facts = await post("/api/senders/modica/mo-messages", body)
    assert status == 200
    assert facts[0].content == "ack\ufffd KWT\ufffd"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": "received"},
        {"message_id": 1},
        {"message_id": None, "status": "received"},
        {"message_id": 1, "status": None},
        {"message_id": 1, "status": ""},
        {"message_id": 1, "status": " "},
        {"message_id": 1, "status": 5},
        {"message_id": 1, "status": ["received"]},
        {"message_id": 1.0, "status": "received"},
        {"message_id": 1e30, "status": "received"},
        {"message_id": True, "status": "received"},
        {"message_id": "", "status": "received"},
        {"message_id": " ", "status": "received"},
        {"message_id": [1], "status": "received"},
        {"message_id": {"id": 1}, "status": "received"},
        {"message_id": "9" * 256, "status": "received"},
        [],
        [{"message_id": 1, "status": "received"}],
        "received",
        5,
        None,
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_malformed_receipt_is_refused(body: object) -> None:
    """400, and nothing is handed in."""
    encoded = json.dumps(body).encode()
    assert await post("/api/senders/modica/dlr-status", encoded) == (400, [])


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": 1.5},
        {"id": False},
        {"id": ""},
        {"id": []},
        {"source": None},
        {"source": ""},
        {"source": {}},
        {"content": None},
        {"content": 5},
        {"content": ["ack"]},
        {"reply-to": 1.5},
        {"reply-to": True},
        {"reply-to": {}},
        {"reply-to": None, "reply_to": [1]},
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_malformed_reply_is_refused(change: dict[str, object]) -> None:
    """400: one without an id could not be told from its own repetition."""
    body = json.dumps(MO | change).encode()
    assert await post("/api/senders/modica/mo-messages", body) == (400, [])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"message_id=1&status=received",
        b'{"message_id": 1, "status": "received"',
        b'{"message_id": 1, "status": "received"}}',
        b"\xff\xfe{\x00}\x00",
        b'{"message_id": 1, "status": "re\xe9eived"}',
        b'{"a":' * 50_000,
        b'{"message_id": ' + b"9" * 5000 + b', "status": "received"}',
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_not_json_is_refused(body: bytes) -> None:
    """400, whatever it is."""
    assert await post("/api/senders/modica/dlr-status", body) == (400, [])
    assert await post("/api/senders/modica/mo-messages", body) == (400, [])


TEXT = st.text(st.sampled_from("a1 \0\ud800é\U0001f525"), max_size=5)
ANYTHING = st.recursive(
    TEXT | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
RECEIPT = {"message_id": 1, "status": "sent", "reference": "r1", "detail": "d", "other": None}


@settings(deadline=None)
@given(
    path_and_body=st.sampled_from([("/dlr-status", RECEIPT), ("/mo-messages", MO)]),
    places=st.sets(st.integers(0, 4), max_size=2),
    values=st.tuples(TEXT | ANYTHING, TEXT | ANYTHING),
)
def test_whatever_comes_is_taken_or_refused(
    path_and_body: tuple[str, dict[str, object]], places: set[int], values: tuple[object, object]
) -> None:
    """Never an error of ours, and what is taken fits into a database."""
    path, body = path_and_body
    change = {list(body)[place]: value for place, value in zip(places, values, strict=False)}
    harness = Harness(ModicaCase(), "http://127.0.0.1:1", UNUSED)
    example = CallbackExample(
        path=path, headers=CREDENTIALS, body=json.dumps(body | change).encode()
    )
    answers: list[Any] = []
    harness.callback(example).addBoth(answers.append)
    [answer] = answers
    assert (answer.status, len(harness.inbox.facts)) in [(200, 1), (400, 0)]
    for fact in harness.inbox.facts:
        texts = [text for text in msgspec.structs.astuple(fact) if isinstance(text, str)]
        assert "\0" not in "".join(texts)
        assert "".join(texts).encode()


@pytest_twisted.ensureDeferred
async def test_get_is_no_callback() -> None:
    """Routes take POST."""
    http = HTTPClient(Agent(reactor))
    async with connected() as (harness, _, mounted):
        response = await patiently(http.get(f"{mounted.callback_url}/dlr-status"))
        await patiently(response.content())
    assert response.code == 405
    assert harness.inbox.facts == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic ?"},
        {"Authorization": "Basic bW9kaWNh"},
        {"Authorization": basic("modica", "")},
        {"Authorization": basic("modica", "wrong")},
        {"Authorization": basic("example", "back-secret")},
        {"Authorization": basic("modica", "back-secret") + "AAAA"},
        {"Authorization": "Bearer " + basic("modica", "back-secret").split()[1]},
        {"Authorization": basic("example", "front-secret")},
    ],
)
@pytest_twisted.ensureDeferred
async def test_wrong_credentials_are_refused(headers: Mapping[str, str]) -> None:
    """401, before anything of the body is looked at."""
    for body in (b'{"message_id": 1, "status": "received"}', b"{"):
        answer = await post("/api/senders/modica/dlr-status", body, headers=headers)
        assert answer == (401, [])


@pytest_twisted.ensureDeferred
async def test_the_scheme_is_compared_without_case() -> None:
    """As HTTP has it."""
    token = basic("modica", "back-secret").split()[1]
    status, _ = await post(
        "/api/senders/modica/dlr-status",
        b'{"message_id": 1, "status": "sent"}',
        headers={"Authorization": f"basic  {token}"},
    )
    assert status == 200


NO_CREDENTIALS: dict[str, object] = {"callback_username": None, "callback_password": None}


@pytest_twisted.ensureDeferred
async def test_without_configured_credentials_every_callback_is_refused() -> None:
    """Even one with empty credentials."""
    for headers in (CREDENTIALS, {}, {"Authorization": basic("", "")}):
        answer = await post(
            "/api/senders/modica/dlr-status",
            b'{"message_id": 1, "status": "received"}',
            headers=headers,
            options=NO_CREDENTIALS,
        )
        assert answer == (401, [])


@pytest_twisted.ensureDeferred
async def test_callback_auth_none_takes_everything() -> None:
    """For whoever says so."""
    status, facts = await post(
        "/api/senders/modica/dlr-status",
        b'{"message_id": 1, "status": "received"}',
        headers={},
        options=NO_CREDENTIALS | {"callback_auth": "none"},
    )
    assert (status, len(facts)) == (200, 1)


@pytest_twisted.ensureDeferred
async def test_a_refused_callback_is_logged_without_what_it_gave() -> None:
    """Somebody who mistyped the password in Modica's portal finds it there."""
    http: Any = HTTPClient(Agent(reactor))
    async with connected() as (harness, _, mounted):
        response = await patiently(
            http.post(
                f"{mounted.callback_url}/dlr-status",
                headers={"Authorization": basic("modica", "mistyped")},
                data=b"{}",
            )
        )
        await patiently(response.content())
        logged = harness.logged()
    assert response.headers.getRawHeaders("www-authenticate") == ['Basic realm="Hot Potato"']
    assert "a callback to /dlr-status was refused" in logged
    assert "mistyped" not in logged


async def checked(options: dict[str, object] | None = None) -> list[str]:
    """What `check` says, with a gateway that is there."""
    async with connected(options) as (harness, _, _):
        return list(await patiently(harness.sender.check()))


@pytest_twisted.ensureDeferred
async def test_check_finds_the_sandbox_well_but_not_https() -> None:
    """The only thing wrong with it."""
    [sentence] = await checked()
    assert "is not https" in sentence


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (NO_CREDENTIALS, "callback_username and callback_password are missing"),
        ({"callback_auth": "none"}, "anybody can send receipts"),
        ({"password": "wrong"}, "wrong application or password"),
        ({"url": "http://127.0.0.1:1/"}, "does not answer"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_check_says_what_is_wrong(options: dict[str, object], hint: str) -> None:
    """Before three in the morning finds it."""
    sentences = await checked(options)
    assert any(hint in sentence for sentence in sentences)
    assert len(sentences) == 2


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (Answer(503), "the gateway answers 503"),
        (Answer(301, headers={"Location": "/there"}), "a redirect, which is not followed: /there"),
        (Answer(403), "forbids it"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_check_judges_what_the_gateway_answers(answer: Answer, hint: str) -> None:
    """404 is what it hopes for; the rest is told."""
    async with running(ModicaCase()) as (harness, standin):

        async def always(request: Request) -> Answer:
            return answer

        standin.answer = always
        sentences = await patiently(harness.sender.check())
        assert standin.requests[0].method == "GET"
    assert any(hint in sentence for sentence in sentences)


@pytest_twisted.ensureDeferred
async def test_check_does_not_wait_for_ever() -> None:
    """Ten seconds."""
    async with running(ModicaCase()) as (harness, standin):
        standin.behave(Behaviour.SILENCE)
        checking = Deferred.fromCoroutine(harness.sender.check())
        await patiently(standin.arrived(1))
        harness.clock.advance(10)
        sentences = await patiently(checking)
    assert any("no answer within 10 s" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"url": "api.modicagroup.com/rest/gateway"}, "url: expected https://"),
        ({"url": "ftp://example.com/"}, "url: expected https://"),
        ({"application": "exa:mple"}, "application: expected a name without a colon"),
        ({"callback_username": None}, "callback_username and callback_password together"),
        ({"callback_password": None}, "callback_username and callback_password together"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, object], hint: str) -> None:
    """With a sentence for the one who starts it."""
    case = ModicaCase()
    case.options = (  # type: ignore[method-assign]
        lambda url: ModicaCase().options("http://127.0.0.1:1") | dict(options)
    )
    with pytest.raises(ValueError, match=hint):
        Harness(case, "", HTTPClient(Agent(reactor)))
