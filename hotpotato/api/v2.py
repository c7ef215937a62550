"""Version 2, under /api/servers/v2 (CONTRACT section 4)."""

from __future__ import annotations

from collections.abc import Sequence

from hotpotato.api.answers import Answer, Refused, envelope
from hotpotato.api.intake import NOTIFICATION, Intake, header_key
from hotpotato.api.site import ENVELOPE, About, Endpoint, Request
from hotpotato.rules import times

PREFIX = "/api/servers/v2"
_WRONG_KEY = 401
_KEY = ("key",)


class V2:
    """The endpoints of version 2."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def endpoints(self) -> Sequence[Endpoint]:
        """What to mount."""
        beat = About({201: ENVELOPE}, True, credentials=_KEY)
        sent = About({201: ENVELOPE}, NOTIFICATION, credentials=_KEY)
        found = About(credentials=_KEY)
        return (
            Endpoint("POST", f"{PREFIX}/heartbeats/create", self.create_heartbeat, beat),
            Endpoint("GET", f"{PREFIX}/notifications/get/<int:id>", self.get_notification, found),
            Endpoint("POST", f"{PREFIX}/notifications/send", self.send_notification, sent),
        )

    async def create_heartbeat(self, request: Request) -> Answer:
        """Any body or none: the key is all that counts."""
        heard = await self._intake.heartbeat(header_key(request), _WRONG_KEY)
        received = times.outgoing(heard.received_at)
        return envelope(
            201,
            {
                "id": heard.id,
                "server_id": heard.server_id,
                "recieved_dt": received,
                "received_dt": received,
            },
        )

    async def get_notification(self, request: Request) -> Answer:
        """One notification of the server's own tenant."""
        server = await self._intake.server(header_key(request), _WRONG_KEY)
        found = await self._intake.find(server, request.parameters["id"])
        if found is None:
            raise Refused(404, "there is no such notification")
        return envelope(
            200,
            {
                "id": found.id,
                "hostname": found.hostname,
                "servicename": found.service_name or "",
                "troublecode": found.trouble_code or "",
                "displayname": found.display_name or "",
                "output": found.output or "",
                "notificationtype": "service" if found.is_service else "host",
                "state": found.state,
                "timestamp": times.outgoing(found.sent_at or found.received_at),
                "status": found.status,
                "alert_status": found.alert_status,
            },
        )

    async def send_notification(self, request: Request) -> Answer:
        """Take a notification. `code` is 200 with a status of 201, as published."""
        key = header_key(request)
        if key is None:
            await self._intake.server(None, _WRONG_KEY)
        raw = await self._intake.body(request, lambda: key, _WRONG_KEY)
        taken = await self._intake.notification(request, raw, key, _WRONG_KEY)
        fields, stored = taken.fields, taken.stored
        return envelope(
            201,
            {
                "id": stored.id,
                "tenant_id": stored.tenant_id,
                "user_id": stored.person_id,
                "notif_type": "service" if fields.is_service else "host",
                "server_id": stored.server_id,
                "server_name": stored.server_name,
                "trouble_code": fields.trouble_code or "",
                "hostname": fields.hostname,
                "display_name": fields.display_name or "",
                "service_name": fields.service_name or "",
                "state": fields.state,
                "output": fields.output or "",
                "timestamp": times.outgoing(taken.timestamp),
            },
            code=200,
            message=taken.message,
        )
