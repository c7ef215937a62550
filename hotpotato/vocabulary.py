"""The words every room of the house shares: states, outcomes, and small frozen facts.

Imports nothing of ours. Times are timezone-aware `datetime`s unless a name says seconds.
"""

from __future__ import annotations

import enum
from datetime import datetime

import msgspec


class Event(enum.StrEnum):
    """What the monitoring program calls a notification (CONTRACT section 4).

    A notification that names none is a PROBLEM or a RECOVERY by its state.
    """

    PROBLEM = "PROBLEM"
    RECOVERY = "RECOVERY"
    ACKNOWLEDGEMENT = "ACKNOWLEDGEMENT"
    CUSTOM = "CUSTOM"
    DOWNTIMESTART = "DOWNTIMESTART"
    DOWNTIMEEND = "DOWNTIMEEND"
    DOWNTIMECANCELLED = "DOWNTIMECANCELLED"
    DOWNTIMEREMOVED = "DOWNTIMEREMOVED"
    FLAPPINGSTART = "FLAPPINGSTART"
    FLAPPINGEND = "FLAPPINGEND"
    FLAPPINGSTOP = "FLAPPINGSTOP"
    FLAPPINGDISABLED = "FLAPPINGDISABLED"


class Effect(enum.StrEnum):
    """What a notification does to the alert of its (server, hostname, service_name)."""

    OPEN = "open"
    """Opens the alert or joins it, and pages."""
    RESOLVE = "resolve"
    """Resolves the open alert; without one it is recorded only."""
    ACKNOWLEDGE = "acknowledge"
    """Acknowledges the open alert in the author's name."""
    ANNOUNCE = "announce"
    """Is told to the person on call; opens and resolves nothing."""
    RECORD = "record"
    """Is stored and shown, and does nothing."""


class AlertStatus(enum.StrEnum):
    """Where an alert stands. Only `resolved` is final."""

    TRIGGERED = "triggered"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class MessageKind(enum.StrEnum):
    """Why a message is sent."""

    PAGE = "page"
    """A problem, to somebody who should act."""
    RECOVERY = "recovery"
    """The end of a problem, to those who were told of it."""
    FLAPPING = "flapping"
    """A problem that comes and goes, told once instead of each time."""
    ANNOUNCEMENT = "announcement"
    """Something to know that opens no alert: CUSTOM, and Hot Potato's own notices."""
    DIGEST = "digest"
    """Several of the above in one text, with one code for all."""
    NOTICE = "notice"
    """What others did: acknowledged it, switched a phone off."""
    CONFIRMATION = "confirmation"
    """The answer to a reply."""
    VERIFICATION = "verification"
    """The code that proves that a contact is there."""
    TEST = "test"
    """`hotpotato send-test`."""


class MessageStatus(enum.StrEnum):
    """How far one message got, derived from its attempts."""

    HELD = "held"
    """Waits for its contact's pace, or for a set time; what waits together is merged."""
    MERGED = "merged"
    """Is told in a digest, and goes the way of that."""
    QUEUED = "queued"
    """Waits for an attempt, the first or another."""
    SENDING = "sending"
    """An attempt is under way, or its outcome is unknown."""
    SENT = "sent"
    """A provider accepted it; no receipt says yet that it arrived."""
    DELIVERED = "delivered"
    """A receipt says that it is on the handset."""
    FAILED = "failed"
    """Rejected, failed at the provider, or given up: it will not arrive."""
    CANCELLED = "cancelled"
    """No longer wanted before anything was sent: acknowledged or recovered."""


class Outcome(enum.StrEnum):
    """What is known of one attempt."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Progress(enum.StrEnum):
    """What a delivery receipt says, whatever the provider's word for it."""

    UNDERWAY = "underway"
    """Not final: on its way, or a word that we don't know."""
    DELIVERED = "delivered"
    FAILED = "failed"


class Fields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A notification's fields after cleaning: text or absent (None), never an empty string.

    `timestamp` is what the monitoring server's clock said, or None where it wasn't understood;
    it is shown, never ordered, deduplicated or expired by. `is_service` says whether it is about
    a service or a host. As JSON it has the names of the columns of `notification`.
    """

    hostname: str
    state: str
    is_service: bool
    event: Event | None = None
    service_name: str | None = None
    display_name: str | None = None
    trouble_code: str | None = None
    output: str | None = None
    timestamp: datetime | None = msgspec.field(default=None, name="sent_at")
    author: str | None = None
    comment: str | None = None
    number: str | None = None
    late: bool = False


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """What it holds back, by whom and why; `ends_in` is the seconds that it still lasts.

    `host` and `service` are shell patterns (`*`, `?`, `[a-z]`), case ignored; `service` None means
    the hosts and all their services. `server_id` None: from any monitoring server.
    """

    id: int
    host: str
    service: str | None
    server_id: int | None
    author: str
    reason: str
    ends_in: float
