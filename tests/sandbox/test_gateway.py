"""The stand-in for Modica: on real sockets, with the time in the test's hand."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock, deferLater
from twisted.web.client import Agent, ResponseFailed

from hotpotato.sandbox import Delays, Gateway, Misbehaviour
from hotpotato.sandbox.gateway import FIRST_ID
from hotpotato.testing import Answer, Request, StandIn, patiently

REACTOR: Any = reactor
NUMBER = "+64211234567"
CREDENTIALS = {"Authorization": "Basic " + base64.b64encode(b"sandbox:sandbox").decode()}


class Bench:
    """A gateway in virtual time, something that takes its callbacks, and a client of both."""

    def __init__(self, gateway: Gateway, clock: Clock, hot_potato: StandIn, http: Any) -> None:
        self.gateway = gateway
        self.clock = clock
        self.hot_potato = hot_potato
        self.http = http

    async def post(self, headers: Mapping[str, str] = CREDENTIALS, **message: Any) -> Any:
        """POST a message; the status and the decoded body."""
        message = {"destination": NUMBER, "content": "db1 is down"} | message
        return await self.ask("POST", "/rest/gateway/messages", message, headers)

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] = CREDENTIALS,
    ) -> Any:
        """Any request to the gateway: the status and the decoded body."""
        response = await self.http.request(
            method,
            self.gateway.control_url + path,
            headers=dict(headers),
            data=body if isinstance(body, bytes) else json.dumps(body).encode(),
            allow_redirects=False,
        )
        content = await response.content()
        try:
            return response.code, json.loads(content)
        except ValueError:
            return response.code, content

    async def later(self, seconds: float) -> None:
        """Let time pass, and everything that falls due be done."""
        self.clock.advance(seconds)
        await patiently(self.gateway.idle())

    @property
    def callbacks(self) -> list[tuple[str, Any]]:
        """What Hot Potato was told: the path after the callback URL, and the body."""
        return [
            (request.path.removeprefix("/callbacks"), json.loads(request.body))
            for request in self.hot_potato.requests
        ]

    @property
    def statuses(self) -> list[str]:
        """The words of the receipts, as they came."""
        return [body["status"] for path, body in self.callbacks if path == "/dlr-status"]


@asynccontextmanager
async def bench(**options: Any) -> AsyncIterator[Bench]:
    """A gateway that is started, and stopped afterwards."""

    async def fine(request: Request) -> Answer:
        return Answer(200)

    clock = Clock()
    http = HTTPClient(Agent(reactor))
    hot_potato = StandIn(REACTOR, fine)
    options = {"callback_url": f"{hot_potato.url}/callbacks/"} | options
    gateway = Gateway(clock, http, **options)
    await gateway.start(REACTOR)
    try:
        yield Bench(gateway, clock, hot_potato, http)
    finally:
        await patiently(ensureDeferred(gateway.stop()))
        await patiently(hot_potato.stop())
        assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_a_message_is_taken_and_shown_on_the_phone() -> None:
    """201, and a bare array with one id that a floating point number could not hold."""
    async with bench() as b:
        assert await patiently(b.post(reference="r1", source="2048")) == (201, [FIRST_ID])
        assert await patiently(b.post(destination="+64270000000", content="x")) == (
            201,
            [FIRST_ID + 1],
        )
        assert b.gateway.texts() == ["db1 is down", "x"]
        assert b.gateway.texts(NUMBER) == ["db1 is down"]
        [first, _] = b.gateway.messages
    assert (first.number, first.reference, first.source) == (NUMBER, "r1", "2048")
    assert int(float(FIRST_ID)) != FIRST_ID


@pytest_twisted.ensureDeferred
async def test_receipts_follow_in_time_and_in_order() -> None:
    """Each at its delay, with the message's id and reference."""
    async with bench(delays=Delays(1, 2, 10)) as b:
        await patiently(b.post(reference="r1"))
        await b.later(0.9)
        assert b.statuses == []
        await b.later(0.1)
        assert b.statuses == ["submitted"]
        await b.later(1)
        assert b.statuses == ["submitted", "sent"]
        await b.later(100)
        assert b.callbacks[-1] == (
            "/dlr-status",
            {"message_id": FIRST_ID, "status": "received", "reference": "r1"},
        )
        assert b.gateway.messages[0].receipts == ["submitted", "sent", "received"]


@pytest_twisted.ensureDeferred
async def test_receipts_of_one_message_keep_their_order_however_late_it_is() -> None:
    """Each waits for the answer to the one before."""
    async with bench() as b:
        await patiently(b.post())
        await b.later(1000)
        assert b.statuses == ["submitted", "sent", "received"]


@pytest_twisted.ensureDeferred
async def test_receipts_have_no_reference_if_told_so_or_if_there_was_none() -> None:
    """Not every set-up carries it back."""
    async with bench(references=False) as b:
        await patiently(b.post(reference="r1"))
        await b.later(10)
        assert all("reference" not in body for _, body in b.callbacks)
    async with bench() as b:
        await patiently(b.post())
        await b.later(10)
        assert len(b.callbacks) == 3
        assert all("reference" not in body for _, body in b.callbacks)


@pytest_twisted.ensureDeferred
async def test_callbacks_carry_credentials() -> None:
    """As from a URL with a user and a password in it; and none if there are none."""
    async with bench(callback_username="modica", callback_password="s") as b:
        await patiently(b.gateway.reply(NUMBER, "ack KWT"))
        [request] = b.hot_potato.requests
        assert request.headers["authorization"] == "Basic bW9kaWNhOnM="
    async with bench() as b:
        await patiently(b.gateway.reply(NUMBER, "ack KWT"))
        [request] = b.hot_potato.requests
        assert "authorization" not in request.headers


@pytest_twisted.ensureDeferred
async def test_without_a_callback_url_there_are_no_callbacks() -> None:
    """Messages are taken all the same."""
    async with bench(callback_url=None) as b:
        assert (await patiently(b.post()))[0] == 201
        await b.later(10)
        assert b.callbacks == []
        with pytest.raises(ValueError, match="callback_url"):
            await b.gateway.reply(NUMBER, "ack KWT")


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Basic c2FuZGJveDp3cm9uZw=="}, {"Authorization": "Bearer x"}]
)
@pytest_twisted.ensureDeferred
async def test_wrong_credentials_are_401_without_a_body(headers: Mapping[str, str]) -> None:
    """As Modica says it, also when a message is asked for."""
    async with bench() as b:
        assert await patiently(b.post(headers)) == (401, b"")
        assert await patiently(b.ask("GET", "/rest/gateway/messages/1", b"", headers)) == (401, b"")
        assert b.gateway.messages == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"destination": None}, "missing_attrib"),
        ({"destination": ""}, "missing_attrib"),
        ({"content": ""}, "missing_attrib"),
        ({"destination": "0211234567"}, "invalid_attrib"),
        ({"destination": "+0211234567"}, "invalid_attrib"),
        ({"destination": "+64 21 123 4567"}, "invalid_attrib"),
        ({"destination": 64211234567}, "invalid_attrib"),
        ({"content": 5}, "invalid_attrib"),
        ({"content": "OK | load=1"}, "invalid_attrib"),
        ({"content": "x" * 1531}, "invalid_attrib"),
        ({"content": "€" * 766}, "invalid_attrib"),
        ({"content": "я" * 671}, "invalid_attrib"),
        ({"reference": "r" * 51}, "invalid_attrib"),
        ({"reference": 5}, "invalid_attrib"),
        ({"source": "2048", "class": "mt_message"}, "invalid_attrib"),
        ({"mask": "m" * 21}, "invalid_attrib"),
        ({"sms_class": 4}, "invalid_attrib"),
        ({"sms_class": "1"}, "invalid_attrib"),
        ({"colour": "red"}, "invalid_attrib"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_modica_would_not_take_is_400(change: Mapping[str, Any], code: str) -> None:
    """With its code, and nobody gets anything."""
    async with bench() as b:
        status, body = await patiently(b.post(**change))
        assert (status, body["error"]) == (400, code)
        assert body["error-desc"]
        assert b.gateway.messages == ()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'"x"'])
@pytest_twisted.ensureDeferred
async def test_a_body_that_is_no_object_is_invalid_json(body: bytes) -> None:
    """400."""
    async with bench() as b:
        status, said = await patiently(b.ask("POST", "/rest/gateway/messages", body))
        assert (status, said["error"]) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("content", "segments"),
    [
        ("x" * 160, 1),
        ("x" * 161, 2),
        ("x" * 306, 2),
        ("x" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("я" * 70, 1),
        ("я" * 71, 2),
        ("\U0001f525" * 35, 1),
        ("\U0001f525" * 36, 2),
        ("x" * 1530, 10),
        ("я" * 670, 10),
    ],
)
@pytest_twisted.ensureDeferred
async def test_segments_are_counted(content: str, segments: int) -> None:
    """160 and 153 in GSM-7, 70 and 67 in UCS-2, and 10 at most."""
    async with bench() as b:
        assert (await patiently(b.post(content=content)))[0] == 201
        assert b.gateway.messages[0].segments == segments


@pytest_twisted.ensureDeferred
async def test_a_message_can_be_read_back_and_an_unknown_one_is_404() -> None:
    """With an empty body."""
    async with bench() as b:
        await patiently(b.post(reference="r1"))
        status, message = await patiently(b.ask("GET", f"/rest/gateway/messages/{FIRST_ID}"))
        assert status == 200
        assert message == {
            "id": FIRST_ID,
            "destination": NUMBER,
            "content": "db1 is down",
            "reference": "r1",
        }
        assert await patiently(b.ask("GET", "/rest/gateway/messages/0")) == (404, b"")


@pytest_twisted.ensureDeferred
async def test_other_paths_and_methods_are_refused() -> None:
    """404 and 405."""
    async with bench() as b:
        assert (await patiently(b.ask("POST", "/rest/messages", {})))[0] == 404
        assert (await patiently(b.ask("PUT", "/rest/gateway/messages", {})))[0] == 405


@pytest_twisted.ensureDeferred
async def test_a_phone_replies() -> None:
    """The last one that got something, or a given one; `reply-to` only if asked for."""
    async with bench() as b:
        await patiently(b.post())
        assert await patiently(b.gateway.reply(None, "ack KWT")) == 200
        assert await patiently(b.gateway.reply("+1", "x", reply_to=7, provider_id="m1")) == 200
        await patiently(b.gateway.reply("+1", "AAEC", encoding="base64", operator="O"))
        assert b.callbacks == [
            (
                "/mo-messages",
                {
                    "id": FIRST_ID + 1,
                    "source": NUMBER,
                    "operator": "Sandbox Mobile",
                    "content": "ack KWT",
                },
            ),
            (
                "/mo-messages",
                {
                    "id": "m1",
                    "source": "+1",
                    "operator": "Sandbox Mobile",
                    "content": "x",
                    "reply-to": 7,
                },
            ),
            (
                "/mo-messages",
                {
                    "id": FIRST_ID + 2,
                    "source": "+1",
                    "operator": "O",
                    "content": "AAEC",
                    "encoding": "base64",
                },
            ),
        ]


@pytest_twisted.ensureDeferred
async def test_nobody_can_reply_before_anybody_got_anything() -> None:
    """Unless the number is given."""
    async with bench() as b:
        with pytest.raises(ValueError, match="no phone has got anything yet"):
            await b.gateway.reply(None, "ack KWT")


@pytest_twisted.ensureDeferred
async def test_a_callback_tells_what_it_was_answered() -> None:
    """And 0 where nobody answers, now or in ten seconds."""
    async with bench() as b:

        async def busy(request: Request) -> Answer:
            return Answer(503)

        b.hot_potato.answer = busy
        assert await patiently(b.gateway.reply(NUMBER, "ack")) == 503
        assert await patiently(b.gateway.receipt("x", "dead", reference="r", detail="d")) == 503
        assert b.callbacks[-1][1] == {
            "message_id": "x",
            "status": "dead",
            "reference": "r",
            "detail": "d",
        }
        b.hot_potato.hold()
        replying = ensureDeferred(b.gateway.reply(NUMBER, "ack"))
        await patiently(b.hot_potato.arrived(3))
        b.clock.advance(10)
        assert await patiently(replying) == 0
        await b.hot_potato.stop()
        assert await patiently(b.gateway.reply(NUMBER, "ack")) == 0


@pytest_twisted.ensureDeferred
async def test_events_tell_the_story() -> None:
    """For whoever shows it."""
    events: list[tuple[str, Mapping[str, Any]]] = []
    async with bench(on_event=lambda kind, facts: events.append((kind, facts))) as b:
        await patiently(b.post(reference="r1"))
        await b.later(0.1)
        await patiently(b.post(destination="?"))
        await patiently(b.post({}))
        await patiently(b.gateway.reply(None, "ack KWT"))
    message = {
        "id": FIRST_ID,
        "number": NUMBER,
        "text": "db1 is down",
        "reference": "r1",
        "segments": 1,
    }
    assert events == [
        ("message", message),
        ("receipt", {"id": FIRST_ID, "status": "submitted", "answered": 200}),
        (
            "refused",
            {"status": 400, "why": "invalid_attrib: destination ? is not a phone number"},
        ),
        ("refused", {"status": 401, "why": "wrong credentials"}),
        ("reply", {"number": NUMBER, "text": "ack KWT", "answered": 200}),
    ]


@pytest_twisted.ensureDeferred
async def test_only_so_many_messages_are_remembered() -> None:
    """The newest."""
    async with bench(keep=2) as b:
        for text in ("one", "two", "three"):
            await patiently(b.post(content=text))
        assert b.gateway.texts() == ["two", "three"]
        b.gateway.forget()
        assert b.gateway.texts() == []


@pytest_twisted.ensureDeferred
async def test_slow_takes_its_time_even_if_the_client_does_not_wait() -> None:
    """So a sender's time-out is no proof that nothing was sent."""
    async with bench() as b:
        b.gateway.misbehave("slow", seconds=30)
        posting = ensureDeferred(b.post())
        await patiently(b.gateway.arrived(1))
        assert b.gateway.messages == ()
        b.clock.advance(30)
        assert (await patiently(posting))[0] == 201
        posting = ensureDeferred(b.post(content="impatient"))
        posting.addErrback(lambda failure: None)
        await patiently(b.gateway.arrived(2))
        posting.cancel()
        await posting
        b.clock.advance(30)
        assert b.gateway.texts() == ["db1 is down", "impatient"]


@pytest.mark.parametrize(
    ("do", "taken"),
    [("reset-before", 0), ("reset-after", 1), ("half", 1)],
)
@pytest_twisted.ensureDeferred
async def test_a_lost_connection_before_or_after_acceptance(do: str, taken: int) -> None:
    """The client can't tell the two apart."""
    async with bench() as b:
        b.gateway.misbehave(do, times=1)
        with pytest.raises(ResponseFailed):
            await patiently(b.post())
        assert len(b.gateway.messages) == taken
        assert (await patiently(b.post()))[0] == 201


@pytest.mark.parametrize(("do", "taken"), [("hang-before", 0), ("hang-after", 1)])
@pytest_twisted.ensureDeferred
async def test_silence_before_or_after_acceptance(do: str, taken: int) -> None:
    """Until the client leaves."""
    async with bench() as b:
        b.gateway.misbehave(do)
        posting = ensureDeferred(b.post())
        posting.addErrback(lambda failure: None)
        await patiently(b.gateway.arrived(1))
        b.clock.advance(3600)
        assert len(b.gateway.messages) == taken
        assert not posting.called
        posting.cancel()
        await posting


@pytest_twisted.ensureDeferred
async def test_garbage_is_an_acceptance_that_cannot_be_read() -> None:
    """201, and not JSON."""
    async with bench() as b:
        b.gateway.misbehave("garbage")
        assert await patiently(b.post()) == (201, b"Message accepted.")
        assert len(b.gateway.messages) == 1


@pytest.mark.parametrize(
    ("status", "shape", "body"),
    [
        ("500", "error", {"error": "500", "error-desc": "asked to"}),
        ("503", "code", {"code": 503, "message": "asked to"}),
        ("400", "empty", b""),
        ("401", "html", b"<html><h1>Sorry</h1></html>"),
        ("429", "empty", b""),
    ],
)
@pytest_twisted.ensureDeferred
async def test_any_status_can_be_had_in_any_shape(status: str, shape: str, body: object) -> None:
    """And nothing is taken."""
    async with bench() as b:
        b.gateway.misbehave(status, shape=shape)
        assert await patiently(b.post()) == (int(status), body)
        assert b.gateway.messages == ()


@pytest_twisted.ensureDeferred
async def test_retry_after_and_redirects_have_their_headers() -> None:
    """As they were asked for."""
    async with bench() as b:
        b.gateway.misbehave("503", retry_after="7", times=1)
        b.gateway.misbehave("302", times=1)
        url = f"{b.gateway.url}/messages"
        body = json.dumps({"destination": NUMBER, "content": "x"}).encode()
        for status, header, value in ((503, "retry-after", "7"), (302, "location", url)):
            response = await patiently(
                b.http.post(url, headers=CREDENTIALS, data=body, allow_redirects=False)
            )
            await patiently(response.content())
            assert response.code == status
            [found] = response.headers.getRawHeaders(header)
            assert url.endswith(found) if header == "location" else found == value


@pytest_twisted.ensureDeferred
async def test_credentials_can_be_revoked_for_a_while() -> None:
    """Nothing is taken, and the answer is that of wrong credentials."""
    async with bench() as b:
        b.gateway.misbehave("revoked", times=1)
        assert await patiently(b.post()) == (401, b"")
        assert b.gateway.messages == ()
        assert (await patiently(b.post()))[0] == 201


@pytest_twisted.ensureDeferred
async def test_who_is_kept_waiting_is_counted_until_they_leave() -> None:
    async with bench() as b:
        for word in ("slow", "hang-before"):
            b.gateway.misbehave(word, seconds=30, times=1)
        waiting = [ensureDeferred(b.post()) for _ in range(2)]
        await patiently(b.gateway.arrived(2))
        assert b.gateway.holding == 1, "who is first kept waiting hangs as well"
        for posting in waiting:
            posting.addErrback(lambda failure: None)
            posting.cancel()
            await posting
        while b.gateway.holding:
            await patiently(deferLater(REACTOR, 0))


@pytest_twisted.ensureDeferred
async def test_receipts_can_be_late() -> None:
    async with bench() as b:
        b.gateway.misbehave("late", seconds=90)
        await patiently(b.post())
        await b.later(89)
        assert b.statuses == []
        await b.later(10)
        assert b.statuses == ["submitted", "sent", "received"]


@pytest_twisted.ensureDeferred
async def test_a_receipt_can_be_forged_by_somebody_without_the_credentials() -> None:
    """Everything in it is right but who sends it."""
    async with bench(callback_username="modica", callback_password="secret") as b:
        b.gateway.misbehave("forged")
        await patiently(b.post(reference="r1"))
        await b.later(0)
        await b.later(10)
        assert b.statuses == ["dead", "submitted", "sent", "received"]
        forged, *real = b.hot_potato.requests
        assert json.loads(forged.body)["reference"] == "r1"
        assert "authorization" not in forged.headers
        assert all(request.headers["authorization"].startswith("Basic ") for request in real)


@pytest_twisted.ensureDeferred
async def test_receipts_can_be_early() -> None:
    """All of them answered before the 201 is given."""
    async with bench() as b:
        b.gateway.misbehave("early")
        b.hot_potato.hold()
        posting = ensureDeferred(b.post())
        await patiently(b.hot_potato.arrived(1))
        assert not posting.called
        b.hot_potato.let_go()
        assert (await patiently(posting))[0] == 201
        assert b.statuses == ["submitted", "sent", "received"]


@pytest.mark.parametrize(
    ("words", "statuses"),
    [
        (["never"], []),
        (["twice"], ["submitted", "submitted", "sent", "sent", "received", "received"]),
        (["reversed"], ["received", "sent", "submitted"]),
        (["failed"], ["submitted", "sent", "failed"]),
        (["expired"], ["submitted", "sent", "expired"]),
        (["rejected"], ["submitted", "sent", "rejected"]),
        (["dead"], ["submitted", "sent", "dead"]),
        (
            ["twice", "reversed", "failed"],
            ["failed", "failed", "sent", "sent", "submitted", "submitted"],
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_receipts_can_be_otherwise(words: list[str], statuses: list[str]) -> None:
    """Missing, twice, in the wrong order, with another end, and all of it together."""
    async with bench() as b:
        for word in words:
            b.gateway.misbehave(word)
        await patiently(b.post())
        await b.later(10)
        assert b.statuses == statuses


@pytest_twisted.ensureDeferred
async def test_a_misbehaviour_is_for_the_messages_it_names() -> None:
    """The next so many, a number, a text, and until it is taken back."""
    async with bench() as b:
        b.gateway.misbehave("500", times=1, text="^db")
        b.gateway.misbehave("503", number="+64270000000")
        statuses = [(await patiently(b.post(content=text)))[0] for text in ("web1", "db1", "db1")]
        statuses += [(await patiently(b.post(destination="+64270000000")))[0] for _ in range(2)]
        b.gateway.behave()
        statuses.append((await patiently(b.post(destination="+64270000000")))[0])
    assert statuses == [201, 500, 201, 503, 503, 201]


@pytest_twisted.ensureDeferred
async def test_of_several_that_exclude_each_other_the_first_is_used() -> None:
    """So "two 500s, then a 503" is asked for in that order."""
    async with bench() as b:
        b.gateway.misbehave("500", times=2)
        b.gateway.misbehave("503", times=1)
        b.gateway.misbehave("failed", times=1)
        b.gateway.misbehave("expired", times=1)
        statuses = [(await patiently(b.post()))[0] for _ in range(4)]
        await b.later(10)
        assert statuses == [500, 500, 503, 201]
        assert b.statuses == ["submitted", "sent", "failed"]


@pytest_twisted.ensureDeferred
async def test_chance_is_the_same_for_the_same_seed() -> None:
    """And about what it says."""
    outcomes = []
    for seed in (1, 1, 2):
        async with bench(seed=seed) as b:
            b.gateway.misbehave("500", chance=0.5)
            outcomes.append([(await patiently(b.post()))[0] for _ in range(40)])
    assert outcomes[0] == outcomes[1] != outcomes[2]
    assert 5 < outcomes[0].count(500) < 35


@pytest.mark.parametrize(
    "nonsense",
    [{"do": "dance"}, {"do": "200"}, {"do": "500", "shape": "xml"}, {"do": "slow", "text": "["}],
)
def test_a_misbehaviour_that_makes_no_sense_is_refused(nonsense: dict[str, Any]) -> None:
    """With what was expected."""
    with pytest.raises(ValueError, match="expected"):
        Misbehaviour(**nonsense).check()


@pytest_twisted.ensureDeferred
async def test_it_can_be_played_with_over_http() -> None:
    """Look at the phones, reply, misbehave, behave and forget."""
    async with bench() as b:
        await patiently(b.post(reference="r1"))
        await patiently(b.post(destination="+64270000000", content="x"))
        status, found = await patiently(b.ask("GET", "/sandbox/messages"))
        assert status == 200
        assert [one["text"] for one in found["messages"]] == ["db1 is down", "x"]
        _, found = await patiently(b.ask("GET", "/sandbox/messages?number=%2B64211234567"))
        assert [one["reference"] for one in found["messages"]] == ["r1"]

        reply = await patiently(b.ask("POST", "/sandbox/reply", {"text": "ack KWT"}))
        assert reply == (200, {"answered": 200})
        order = {"text": "no", "number": NUMBER, "reply_to": 5, "provider_id": "m"}
        await patiently(b.ask("POST", "/sandbox/reply", order))
        assert [(body["source"], body["content"]) for _, body in b.callbacks] == [
            ("+64270000000", "ack KWT"),
            (NUMBER, "no"),
        ]

        wrong = {"do": "503", "times": 2}
        status, listed = await patiently(b.ask("POST", "/sandbox/misbehave", wrong))
        assert (status, listed["misbehaviours"][0]["do"]) == (200, "503")
        assert (await patiently(b.post()))[0] == 503
        _, listed = await patiently(b.ask("GET", "/sandbox/misbehave"))
        assert len(listed["misbehaviours"]) == 1
        assert (await patiently(b.ask("DELETE", "/sandbox/misbehave")))[0] == 200
        assert (await patiently(b.post()))[0] == 201
        assert (await patiently(b.ask("DELETE", "/sandbox/messages")))[0] == 200
        assert b.gateway.messages == ()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sandbox/reply", b"{"),
        ("/sandbox/reply", {}),
        ("/sandbox/reply", {"text": 5}),
        ("/sandbox/reply", {"text": "ack", "colour": "red"}),
        ("/sandbox/reply", {"text": "nobody to reply yet"}),
        ("/sandbox/misbehave", {"do": "dance"}),
        ("/sandbox/misbehave", {"do": "slow", "seconds": "many"}),
        ("/sandbox/misbehave", []),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_order_that_cannot_be_followed_is_400(path: str, body: object) -> None:
    """With a sentence."""
    async with bench() as b:
        status, said = await patiently(b.ask("POST", path, body))
        assert status == 400
        assert said["error"]


@pytest_twisted.ensureDeferred
async def test_stopping_leaves_nothing_open() -> None:
    """In the middle of everything: a hanging client, a slow one, receipts due, a callback away."""
    readers = set(REACTOR.getReaders())
    async with bench() as b:
        url = b.gateway.url
        b.gateway.misbehave("hang-after", times=1)
        b.gateway.misbehave("slow", times=1, seconds=60, text="slow")
        clients = [ensureDeferred(b.post())]
        await patiently(b.gateway.arrived(1))
        clients.append(ensureDeferred(b.post(content="slow")))
        await patiently(b.gateway.arrived(2))
        b.hot_potato.hold()
        b.clock.advance(0.1)
        await patiently(b.hot_potato.arrived(1))
        await patiently(ensureDeferred(b.gateway.stop()))
        assert b.clock.getDelayedCalls() == []
        for client in clients:
            with pytest.raises(ResponseFailed):
                await patiently(client)
        with pytest.raises(Refused):
            await patiently(b.http.get(url))
    assert set(REACTOR.getReaders()) == readers


@pytest_twisted.ensureDeferred
async def test_idle_waits_for_callbacks_and_not_for_the_clock() -> None:
    """So that a test moves the clock, then waits, and knows."""
    async with bench() as b:
        await patiently(b.gateway.idle())
        await patiently(b.post())
        await patiently(b.gateway.idle())
        b.hot_potato.hold()
        b.clock.advance(0.1)
        waiting: Deferred[None] = b.gateway.idle()
        await patiently(b.hot_potato.arrived(1))
        assert not waiting.called
        b.hot_potato.let_go()
        await patiently(waiting)
        assert b.statuses == ["submitted"]


@pytest_twisted.ensureDeferred
async def test_it_must_be_started_to_have_a_url() -> None:
    """Before that there is none to give away."""
    gateway = Gateway(Clock(), HTTPClient(Agent(reactor)))
    with pytest.raises(RuntimeError, match="has not been started"):
        _ = gateway.url
