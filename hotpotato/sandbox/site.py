"""The gateway's HTTP: Modica's paths, and `/sandbox/…` to look at the phones and play with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

from hotpotato.sandbox.misbehaviour import Misbehaviour

if TYPE_CHECKING:
    from hotpotato.sandbox.gateway import Answer, Gateway


class _ReplyOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str
    number: str | None = None
    reply_to: int | str | None = None
    provider_id: int | str | None = None
    encoding: str | None = None


def resource(gateway: Gateway) -> IResource:
    """The gateway's site."""
    app = Klein()

    @app.route("/rest/gateway/messages", methods=["POST"])
    async def send(request: IRequest) -> Any:
        return await _play(request, await gateway.take(_authorization(request), _body(request)))

    @app.route("/rest/gateway/messages/<int:message_id>", methods=["GET"])
    def message(request: IRequest, message_id: int) -> bytes:
        if not gateway.knows(_authorization(request)):
            request.setResponseCode(401)
            return b""
        for known in gateway.messages:
            if known.id == message_id:
                return _json(
                    request,
                    200,
                    {
                        "id": known.id,
                        "destination": known.number,
                        "content": known.text,
                        "reference": known.reference,
                    },
                )
        request.setResponseCode(404)
        return b""

    @app.route("/sandbox/messages", methods=["GET"])
    def messages(request: IRequest) -> bytes:
        number = request.args.get(b"number", [None])[0]
        return _json(
            request,
            200,
            {
                "messages": [
                    known
                    for known in gateway.messages
                    if number is None or known.number.encode() == number
                ]
            },
        )

    @app.route("/sandbox/messages", methods=["DELETE"])
    def forget(request: IRequest) -> bytes:
        gateway.forget()
        return _json(request, 200, {})

    @app.route("/sandbox/reply", methods=["POST"])
    async def reply(request: IRequest) -> bytes:
        order = msgspec.json.decode(_body(request), type=_ReplyOrder)
        answered = await gateway.reply(
            order.number,
            order.text,
            reply_to=order.reply_to,
            provider_id=order.provider_id,
            encoding=order.encoding,
        )
        return _json(request, 200, {"answered": answered})

    @app.route("/sandbox/misbehave", methods=["POST"])
    def misbehave(request: IRequest) -> bytes:
        gateway.misbehaviours.add(msgspec.json.decode(_body(request), type=Misbehaviour))
        return _json(request, 200, {"misbehaviours": list(gateway.misbehaviours)})

    @app.route("/sandbox/misbehave", methods=["GET"])
    def misbehaviours(request: IRequest) -> bytes:
        return _json(request, 200, {"misbehaviours": list(gateway.misbehaviours)})

    @app.route("/sandbox/misbehave", methods=["DELETE"])
    def behave(request: IRequest) -> bytes:
        gateway.behave()
        return _json(request, 200, {"misbehaviours": []})

    @app.handle_errors(msgspec.MsgspecError, ValueError)
    def nonsense(request: IRequest, failure: Any) -> bytes:
        return _json(request, 400, {"error": str(failure.value)})

    @app.handle_errors(HTTPException)
    def elsewhere(request: IRequest, failure: Any) -> bytes:
        return _json(request, failure.value.code, {"error": failure.value.name})

    return app.resource()


async def _play(request: Any, answer: Answer) -> bytes:
    """Answer in the manner asked for. What never ends is ended by the client's leaving."""
    transport = request.channel.transport
    if answer.manner == "reset":
        transport.abortConnection()
        await Deferred()
    request.setResponseCode(answer.status)
    request.setHeader("Content-Type", answer.content_type)
    for name, value in answer.headers.items():
        request.setHeader(name, value)
    if answer.manner == "half":
        request.setHeader("Content-Length", str(len(answer.body)))
        request.write(answer.body[: len(answer.body) // 2])
        transport.loseConnection()
        await Deferred()
    return answer.body


def _authorization(request: IRequest) -> str:
    return (request.getHeader("authorization") or "").strip()


def _body(request: IRequest) -> bytes:
    body: bytes = request.content.read()
    return body


def _json(request: IRequest, status: int, value: Any) -> bytes:
    request.setResponseCode(status)
    request.setHeader("Content-Type", "application/json")
    return msgspec.json.encode(value)
