"""The words of a message about a notification."""

from __future__ import annotations

from twisted.logger import Logger

from hotpotato.rules import text
from hotpotato.store.messages import About, DueMessage
from hotpotato.vocabulary import MessageKind

_log = Logger()


def words(message: DueMessage, segments: int) -> str:
    """The text of a due message, fitted to the sender's `segments`; once found it stays.

    Never raises: a page in bare words is better than one that stays in the queue, before others.
    """
    if message.text is not None:
        return message.text
    about = message.about
    assert about is not None, "who queues a message gives it words, or what has them"
    try:
        return _found(message, about, segments)
    except Exception:
        _log.failure("message {message_id} goes out in bare words", message_id=message.id)
        place = f"{about.state} {about.hostname}/{about.service_name or ''}"
        return text.fit(place, "", f"\nReply ack {about.code}" if about.code else "", segments)


def _found(message: DueMessage, about: About, segments: int) -> str:
    subject = text.Subject(
        state=about.state,
        hostname=about.hostname,
        service_name=about.service_name,
        display_name=about.display_name,
        output=about.output,
        author=about.author,
        comment=about.comment,
    )
    code = about.code or ""
    match message.kind:
        case MessageKind.PAGE:
            return text.page(subject, code, segments, again=message.again, because=message.because)
        case MessageKind.RECOVERY:
            return text.recovery(subject, code, segments)
        case _:
            return text.announcement(subject, segments, about.event or "")
