"""Version 1, under /api/v1 and /api/servers/v1 (CONTRACT section 4): the key is in the body."""

from __future__ import annotations

from collections.abc import Sequence

from hotpotato.api.answers import Answer, Refused, json_answer
from hotpotato.api.intake import Intake, header_key
from hotpotato.api.site import PLAIN, About, Endpoint, Handler, Kind, Request
from hotpotato.rules import intake as rules
from hotpotato.rules import times
from hotpotato.store import notifications

PREFIXES = ("/api/v1", "/api/servers/v1")
_WRONG_KEY = 403
_TAKEN: Kind = ("application/json", {"type": "object", "required": ["id"]})
_KEY = {"apikey": {"type": "string"}}
_TEXTS = ("notificationtype", "troublecode", "displayname", "servicename", "output",
          "icingadatetime")  # fmt: skip
_CHECK = {"type": "object", "required": ["id"],
          "properties": {**_KEY, "id": {"type": ["integer", "string"]}}}  # fmt: skip
_HEARTBEAT = {"type": "object", "properties": _KEY}
_NOTIFICATION = {
    "type": "object",
    "required": ["hostname", "state"],
    "properties": {key: {"type": "string"} for key in ("hostname", "state", *_TEXTS)} | _KEY,
}


class V1:
    """The endpoints of version 1."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def endpoints(self) -> Sequence[Endpoint]:
        """What to mount."""
        handlers: tuple[tuple[str, Handler, dict[int, Kind], object], ...] = (
            ("/check/notification", self.check_notification, {200: PLAIN, 404: PLAIN}, _CHECK),
            ("/add/notification", self.add_notification, {201: _TAKEN}, _NOTIFICATION),
            ("/add/heartbeat", self.add_heartbeat, {201: _TAKEN}, _HEARTBEAT),
        )
        return [
            # The key is in the body, or else in the header.
            Endpoint("POST", prefix + path, handle, About(answers, body, {}, ("key", None)))
            for prefix in PREFIXES
            for path, handle, answers, body in handlers
        ]

    async def check_notification(self, request: Request) -> Answer:
        """Whether the server's tenant has a notification of this id: plain `true` or `false`."""
        key, raw = await self._key_and_body(request)
        server = await self._intake.server(key, _WRONG_KEY)
        given = str(raw.get("id"))
        if isinstance(raw.get("id"), bool) or not (given.isascii() and given.isdigit()):
            raise Refused(400, "id: expected a number")
        number = int(given) if len(given) < 20 else 2**63
        there = number < 2**63 and await notifications.exists(
            self._intake.database, server.tenant_id, number
        )
        return Answer(200 if there else 404, b"true" if there else b"false", "text/plain")

    async def add_notification(self, request: Request) -> Answer:
        """Take a notification, and answer it under V1's names, without an envelope."""
        key, raw = await self._key_and_body(request)
        taken = await self._intake.notification(request, rules.v1_names(raw), key, _WRONG_KEY)
        fields = taken.fields
        return json_answer(
            201,
            {
                "id": taken.stored.id,
                "notificationtype": "service" if fields.is_service else "host",
                "troublecode": fields.trouble_code or "",
                "hostname": fields.hostname,
                "displayname": fields.display_name or "",
                "servicename": fields.service_name or "",
                "state": fields.state,
                "output": fields.output or "",
                "icingadatetime": times.outgoing(taken.timestamp),
                "message": taken.message,
            },
        )

    async def add_heartbeat(self, request: Request) -> Answer:
        """Take a heartbeat."""
        key = header_key(request)
        if key is None:
            key, _ = await self._key_and_body(request)
        heard = await self._intake.heartbeat(key, _WRONG_KEY)
        received = times.outgoing(heard.received_at)
        return json_answer(
            201,
            {
                "id": heard.id,
                "server_id": heard.server_id,
                "recieved_dt": received,
                "received_dt": received,
            },
        )

    async def _key_and_body(self, request: Request) -> tuple[str | None, dict[str, object]]:
        """The key, the body's own rather than a header's, and the body."""
        in_header = header_key(request)
        raw = await self._intake.body(
            request, lambda: rules.find_v1_key(request.body) or in_header, _WRONG_KEY
        )
        in_body = raw.get("apikey")
        return (in_body.strip() if isinstance(in_body, str) else "") or in_header, raw
