"""What V1 and V2 share: a request's key, its body, and a notification on its way to disk."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from twisted.internet.interfaces import IReactorTime

from hotpotato.api.answers import NotLetIn, Refused
from hotpotato.api.site import Request
from hotpotato.rules import intake, keys
from hotpotato.store import notifications, servers
from hotpotato.store.database import Database
from hotpotato.store.heartbeats import Heard, Heartbeats
from hotpotato.store.ingest import Incoming, Ingest, Stored, UnknownKey
from hotpotato.vocabulary import Fields

_ANYTHING = {"type": ["string", "number", "boolean", "null"]}
NOTIFICATION = {
    "type": "object",
    "required": ["hostname", "state"],
    "properties": {
        "hostname": {"type": "string", "minLength": 1},
        "state": {"type": "string", "minLength": 1},
        **dict.fromkeys(
            ("notif_type", "trouble_code", "display_name", "service_name", "output", "timestamp",
             "event", "author", "comment", "number"), _ANYTHING
        ),
    },
}  # fmt: skip
"""The JSON schema of V2's notification: what is meant by it, not all that is taken."""

NOBODY = "nobody is on call: everybody of the tenant is paged"
_MOST_KEY_BYTES = 255
_CREDENTIALS = re.compile(r"^\s*(?:apikey|bearer)\s+(\S+)\s*$", re.IGNORECASE)


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A notification on disk, and what to say about it. `timestamp` is the sender's, or arrival."""

    fields: Fields
    stored: Stored
    timestamp: datetime
    message: str | None


class Intake:
    """Takes in what monitoring servers say, whichever version they speak."""

    def __init__(self, database: Database, clock: IReactorTime) -> None:
        self.database = database
        self._keys = servers.Keys(database, clock)
        self._ingest = Ingest(database, clock)
        self._heartbeats = Heartbeats(database, clock)

    @property
    def waiting(self) -> int:
        """How many notifications wait for their group."""
        return self._ingest.waiting

    async def server(self, key: str | None, status: int) -> servers.Known:
        """Whose key this is, as the database knows it now; Refused with `status` if nobody's."""
        known = None if key is None else await self._keys.current(keys.key_digest(key))
        if known is None:
            raise _wrong_key(key, status)
        return known

    async def heartbeat(self, key: str | None, status: int) -> Heard:
        """Take a heartbeat; Refused with `status` for a wrong key."""
        heard = None if key is None else await self._heartbeats.add(keys.key_digest(key))
        if heard is None:
            raise _wrong_key(key, status)
        return heard

    async def notification(
        self, request: Request, raw: dict[str, object], key: str | None, status: int
    ) -> Taken:
        """Take a notification, its fields under V2's names.

        Refused for a wrong key (`status`), a missing host or state (400), and an Idempotency-Key
        that was used for something else (409).
        """
        digest = None if key is None else keys.key_digest(key)
        known = None if digest is None else await self._keys.remembered(digest)
        if key is None or digest is None or known is None:
            raise _wrong_key(key, status)
        zone, trouble = _zone(known.timezone)
        cleaned = intake.clean(raw, zone)
        if cleaned.fields is None:
            raise await self._unreadable(key, request.body, cleaned.refused or "unusable")
        remarks = (*cleaned.remarks, *trouble)
        incoming = _incoming(digest, known.id, cleaned.fields, remarks, request)
        stored = await self._ingest.add(incoming)
        if isinstance(stored, UnknownKey):
            raise _wrong_key(key, status)
        if stored.conflict:
            raise Refused(
                409,
                "this Idempotency-Key was used for another notification,"
                f" {stored.id}: use a new key for a new notification",
            )
        return _taken(cleaned.fields, stored)

    async def body(
        self, request: Request, find_key: Callable[[], str | None], status: int
    ) -> dict[str, object]:
        """The JSON object of a request.

        One that can't be read may hide a page: `find_key` is asked for its key, and if that is
        valid the tenant is told, and it is Refused with 400 or 413; if not, with `status`.
        """
        try:
            if request.too_large:
                raise intake.Unreadable("the body is larger than 1 MiB")
            return intake.decode_object(request.body)
        except intake.Unreadable as unreadable:
            key = find_key()
            await self.server(key, status)
            code = 413 if request.too_large else 400
            raise await self._unreadable(key or "", request.body, str(unreadable), code) from None

    async def find(
        self, server: servers.Known, notification_id: int
    ) -> notifications.Notification | None:
        """A notification of the server's tenant, or None."""
        if notification_id >= 2**63:
            return None
        return await notifications.get(self.database, server.tenant_id, notification_id)

    async def _unreadable(self, key: str, body: bytes, why: str, code: int = 400) -> Refused:
        excerpt = intake.excerpt(body, key)
        await servers.note_unreadable(self.database, keys.key_digest(key), excerpt, why)
        return Refused(code, why)


def header_key(request: Request) -> str | None:
    """The key of `Authorization: Apikey KEY` or `Bearer KEY`; None if there is none like that."""
    match = _CREDENTIALS.match(request.header("authorization") or "")
    return match[1] if match else None


def _wrong_key(key: str | None, status: int) -> Refused:
    headers = {"WWW-Authenticate": "Apikey"} if status == 401 else {}
    if key is None:
        return Refused(status, "an API key is missing or malformed", headers)
    return NotLetIn(status, "this API key is not known", headers)


def _zone(name: str) -> tuple[ZoneInfo, tuple[str, ...]]:
    """A time zone; or UTC and what to say, where this host has no such zone in its tables."""
    try:
        return ZoneInfo(name), ()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC"), (f"time zone {name} is not known here, UTC used",)


def _incoming(
    key_digest: bytes, server_id: int, fields: Fields, remarks: tuple[str, ...], request: Request
) -> Incoming:
    idempotency, trouble = _idempotency(request.header_values("idempotency-key"))
    return Incoming(
        key_digest=key_digest,
        server_id=server_id,
        subject=intake.alert_digest(server_id, fields.hostname, fields.service_name),
        content=intake.content_digest(fields),
        effect=intake.effect(fields.event, fields.state, fields.late),
        fields=fields,
        idempotency=None if idempotency is None else intake.idempotency_digest(idempotency),
        remark="; ".join((*remarks, *trouble)) or None,
        original=_original(request.body) if remarks else None,
    )


def _idempotency(given: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The one Idempotency-Key to go by, if there is one, and what to say if it is ignored."""
    if len(set(given)) > 1:
        return None, ("several Idempotency-Keys ignored",)
    key = given[0] if given else ""
    if len(key) > _MOST_KEY_BYTES:
        return None, (f"Idempotency-Key over {_MOST_KEY_BYTES} bytes ignored",)
    return key or None, ()


def _original(body: bytes) -> str:
    """The request's object as it came, without the credentials that V1 has in it."""
    raw = intake.decode_object(body)
    # Pure ASCII, so that PostgreSQL can keep what it can't as text: NUL and lone surrogates.
    return json.dumps({name: value for name, value in raw.items() if name != "apikey"})


def _taken(fields: Fields, stored: Stored) -> Taken:
    said = [stored.remark] if stored.remark else []
    if stored.person_id is None:
        said.append(NOBODY)
    return Taken(
        fields=fields,
        stored=stored,
        timestamp=fields.timestamp or stored.received_at,
        message="; ".join(said) or None,
    )
