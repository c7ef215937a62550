"""The sender that writes to the log: for trying things out, and for a tenant without a provider."""

from __future__ import annotations

from zope.interface import implementer

from hotpotato.interfaces import (
    Accepted,
    ISender,
    OutgoingMessage,
    SenderContext,
    SendOutcome,
    masked,
)


@implementer(ISender)
class LogSender:
    """Writes each text to the log and calls that accepted. No receipt ever follows."""

    def __init__(self, context: SenderContext) -> None:
        self._context = context

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        """See `ISender`. The provider's id is the attempt's reference, so it is unique."""
        self._context.log.info(
            "{sender}: to {address}: {text}",
            sender=self._context.name,
            address=masked(message.address),
            text=message.text,
        )
        return Accepted(f"log-{message.reference}")
