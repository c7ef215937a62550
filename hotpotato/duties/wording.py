"""The words of a message about a notification."""

from __future__ import annotations

from twisted.logger import Logger

from hotpotato.rules import text
from hotpotato.store.queue import About
from hotpotato.vocabulary import MessageKind

_log = Logger()


def words(
    about: About,
    kind: MessageKind,
    segments: int,
    *,
    code: str = "",
    again: bool = False,
    because: str | None = None,
) -> str:
    """The text of one message, fitted to so many segments.

    Never raises: a page in bare words is better than one that stays in the queue, before others.
    """
    try:
        return _found(about, kind, segments, code, again, because)
    except Exception:
        _log.failure(
            "a message about notification {notification_id} goes out in bare words",
            notification_id=about.notification_id,
        )
        place = f"{about.state} {about.hostname}/{about.service_name or ''}"
        return text.fit(place, "", f"\nReply ack {code}" if code else "", segments)


def _found(
    about: About, kind: MessageKind, segments: int, code: str, again: bool, because: str | None
) -> str:
    subject = text.Subject(
        state=about.state,
        hostname=about.hostname,
        service_name=about.service_name,
        display_name=about.display_name,
        output=about.output,
        author=about.author,
        comment=about.comment,
    )
    match kind:
        case MessageKind.PAGE:
            return text.page(subject, code, segments, again=again, because=because)
        case MessageKind.FLAPPING:
            return text.flapping(subject, code, segments)
        case MessageKind.RECOVERY:
            return text.recovery(subject, code, segments)
        case _:
            return text.announcement(subject, segments, about.event or "")
