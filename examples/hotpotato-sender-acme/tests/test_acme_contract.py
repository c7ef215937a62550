"""The sender's contract, with ACME played by these few lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import parse_qs

from hotpotato_sender_acme.plugin import acme

from hotpotato.interfaces import FailedForNow, ReceiptFact, Rejected, ReplyFact, Unknown
from hotpotato.testing import (
    Answer,
    CallbackExample,
    Received,
    Refusal,
    Request,
    SenderCase,
    make_sender_tests,
)
from hotpotato.vocabulary import Progress


class AcmeCase(SenderCase):
    """What ACME's manual says, if there were one."""

    plugin = acme
    dropin = "twisted.plugins.acme_sender"
    secrets = ("our-token", "their-token")
    refusals = {
        "a barred number": Refusal(Answer(422), Rejected),
        "a full queue": Refusal(Answer(503, headers={"Retry-After": "5"}), FailedForNow),
        "a wrong token": Refusal(Answer(401), FailedForNow),
        "a breakdown": Refusal(Answer(500), Unknown),
        "an acceptance of nothing": Refusal(Answer(202, b"{}"), Unknown),
        "something else": Refusal(Answer(200, b"hello"), Unknown),
    }
    callbacks = {
        "delivered": CallbackExample(
            path="/receipts",
            body=b'{"token": "their-token", "message": "A1", "state": "delivered", "ref": "r"}',
            facts=[
                ReceiptFact(
                    status="delivered",
                    progress=Progress.DELIVERED,
                    provider_id="A1",
                    reference="r",
                )
            ],
        ),
        "a state that nobody knows": CallbackExample(
            path="/receipts",
            body=b'{"token": "their-token", "message": "A1", "state": "resting"}',
            facts=[ReceiptFact(status="resting", progress=Progress.UNDERWAY, provider_id="A1")],
        ),
        "a reply": CallbackExample(
            path="/inbound",
            body=b'{"token": "their-token", "id": "I1", "from": "+6421", "text": "ack KWT"}',
            facts=[ReplyFact(provider_id="I1", source="+6421", content="ack KWT")],
        ),
        "a forged receipt": CallbackExample(
            path="/receipts",
            body=b'{"token": "our-token", "message": "A1", "state": "delivered"}',
            status=403,
        ),
        "a receipt without a message": CallbackExample(
            path="/receipts", body=b'{"token": "their-token"}', status=400
        ),
    }

    def options(self, url: str) -> Mapping[str, object]:
        """The TOML section."""
        return {"url": url, "token": "our-token", "callback_token": "their-token"}

    async def answer(self, request: Request) -> Answer:
        """Take it."""
        assert (request.method, request.path) == ("POST", "/send")
        [token] = parse_qs(request.body.decode())["token"]
        assert token == "our-token"
        return Answer(202, json.dumps({"queued": f"A{id(request)}"}).encode())

    def read(self, request: Request) -> Received:
        """ACME's fields."""
        form = parse_qs(request.body.decode(), keep_blank_values=True)
        return Received(form["to"][0], form["text"][0], form["ref"][0])


TestAcme = make_sender_tests(AcmeCase)
