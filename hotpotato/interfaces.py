"""The seams of Hot Potato, and the manual for whoever writes a sender.

A sender takes one text to one address through one provider. To add one, put a module into
`twisted/plugins/` of a package of your own, with an object that provides `ISenderPlugin` and
Twisted's `IPlugin`; installed beside Hot Potato it is found at the next start. Its section in the
configuration file is `[senders.NAME]`. `examples/hotpotato-sender-acme` is a whole one, and
`hotpotato.testing.make_sender_tests` gives you this contract as tests.

How the engine calls you:

1. At the start, `make(settings, context)` builds the sender, and `start()` is awaited, if you have
   one.
2. For each attempt, `send(message)` is called. Hot Potato has written down the attempt and its
   reference before the call, so you need not store anything. Several calls run at once, up to the
   section's `concurrency`.
3. The provider's callbacks reach the handlers of your `routes()`, which hand what they learn to
   the inbox and answer the provider when the inbox's Deferred has fired: then it is on disk.
4. At the end, when no `send` is left, `stop()` is awaited, if you have one.

What you must not do: retry (Hot Potato decides about that, in one place), block the reactor, keep
state that matters, or log a secret or a whole phone number.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from zope.interface import Attribute, Interface

from hotpotato.vocabulary import Progress

if TYPE_CHECKING:
    from treq.client import HTTPClient
    from twisted.internet.interfaces import IReactorTime
    from twisted.logger import Logger

API_VERSION = 1
"""The version of these interfaces. A plugin whose `api_version` differs is refused at the start."""


class OutgoingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt's worth of message.

    `address` is E.164 for the method "sms" (`+64211234567`). `text` already fits the section's
    `segments`: send it as it is. `reference` is unique to this attempt, at most 32 characters of
    `[a-z0-9]`: pass it to the provider if it carries such a thing back in its receipts, since that
    is how an unknown outcome is settled without a second SMS. `deadline` is the seconds within
    which the outcome is wanted; then the attempt counts as unknown and the call is cancelled.
    """

    address: str
    text: str
    reference: str
    deadline: float


class Accepted(msgspec.Struct, frozen=True):
    """The provider has the message and calls it `provider_id` (text, also where it is a number)."""

    provider_id: str


class Rejected(msgspec.Struct, frozen=True):
    """The provider will never take this message: a bad number, a barred sender. Not retried."""

    why: str


class FailedForNow(msgspec.Struct, frozen=True):
    """The message surely did not get through, but may later: a refused connection, 429, 503.

    `retry_after` is the seconds that the provider asked us to wait, if it did.
    """

    why: str
    retry_after: float | None = None


class Unknown(msgspec.Struct, frozen=True):
    """The request may have got through: a time-out, a 500, a connection lost after it was sent.

    Hot Potato waits for a receipt with the reference, then tries again.
    """

    why: str


SendOutcome: TypeAlias = Accepted | Rejected | FailedForNow | Unknown


def masked(address: str) -> str:
    """An address as it may stand in a log: `+64…4567`; a short one shows nothing of itself."""
    return f"{address[:3]}…{address[-4:]}" if len(address) > 9 else "…"


class Callback(msgspec.Struct, frozen=True):
    """A request that reached one of a sender's routes. Header names are lower case."""

    headers: Mapping[str, str]
    body: bytes


class CallbackAnswer(msgspec.Struct, frozen=True):
    """What the provider is answered: the HTTP status and a sentence for its log.

    The body is the envelope of every other answer, so a provider sees one shape of error.
    """

    status: int
    message: str | None = None
    headers: Mapping[str, str] = {}


class Route(msgspec.Struct, frozen=True):
    """One callback: POST to `/api/senders/NAME` + `path`, and to each of `aliases` (whole paths).

    `body` is the JSON schema of what the provider posts, for the description at
    `/api/openapi.json`; nothing is checked by it.

    A handler that raises is answered 500 with an incident id, or 503 where the database is away,
    so that the provider repeats it.
    """

    path: str
    handle: Callable[[Callback], Awaitable[CallbackAnswer]]
    aliases: Sequence[str] = ()
    body: Any = True


class ReceiptFact(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery receipt as a provider told it.

    `status` is the provider's own word, `progress` what the sender knows it to mean (an unknown
    word is `Progress.UNDERWAY`). At least one of `provider_id` and `reference` says which message
    is meant. `detail` is for people.
    """

    status: str
    progress: Progress
    provider_id: str | None = None
    reference: str | None = None
    detail: str | None = None


class ReplyFact(msgspec.Struct, frozen=True, kw_only=True):
    """An incoming message as a provider told it.

    `provider_id` is the provider's id of the reply: the same id again changes nothing. `source` is
    the sender's address as it came. `content` is the text, or the base64 text of a binary body
    with `encoding` "base64". `reply_to` is the provider's id of the message that it answers, where
    known.
    """

    provider_id: str
    source: str
    content: str
    encoding: str | None = None
    reply_to: str | None = None
    operator: str | None = None


class IInbox(Interface):
    """Where a sender hands in what its provider tells it.

    Both Deferreds fire with None when the fact is on disk, and fail when that can't be promised:
    let the failure pass, so that the provider is answered 503 and repeats it. Both may be called
    with the same fact any number of times, in any order, also before `send` has returned.
    """

    def receipt(fact: ReceiptFact) -> Awaitable[None]:
        """Store a delivery receipt and apply it, forward only."""

    def reply(fact: ReplyFact) -> Awaitable[None]:
        """Store an incoming message, once per provider id, and have it acted upon."""


class SenderContext(msgspec.Struct, frozen=True):
    """What a sender is given instead of importing it.

    `http` is one keep-alive pool for all senders, with TLS verified; it follows no redirects
    unless told to. `clock` is the only time a sender may read or wait by.
    """

    name: str
    http: HTTPClient
    clock: IReactorTime
    log: Logger
    inbox: IInbox


class ISenderPlugin(Interface):
    """What a dropin holds: a light object that knows how to build a sender.

    Importing the dropin must not import the reactor, so import treq, klein and the like inside
    `make`.
    """

    name: str = Attribute("The plugin's name, as `plugin = …` in the file says it; unique.")
    api_version: int = Attribute("`hotpotato.interfaces.API_VERSION` of the day it was written.")
    methods: Sequence[str] = Attribute("The contact methods it serves: 'sms', …")
    settings: type[msgspec.Struct] = Attribute(
        "A msgspec Struct type for its keys in the TOML section. A field named X can also be given "
        "as X_file, the path of a file that holds it. `plugin`, `concurrency`, `deadline`, "
        "`segments` and `canary_…` are Hot Potato's own and never reach it."
    )

    def make(settings: Any, context: SenderContext) -> ISender:
        """Build the sender of one section. A ValueError's text stops the start."""


class ISender(Interface):
    """One configured sender.

    Beside `send` it may have any of these, and Hot Potato calls what is there:

    - `routes() -> Sequence[Route]`: the provider's callbacks.
    - `check() -> Awaitable[Sequence[str]]`: sentences about what is wrong, for `hotpotato check`.
    - `start()` and `stop()`, which may return a Deferred; each has 10 seconds.
    """

    def send(message: OutgoingMessage) -> Awaitable[SendOutcome]:
        """Try once to hand `message` to the provider, and tell what became of it.

        Return `Rejected` only for what no repetition can mend, and `FailedForNow` only where the
        message surely did not get through: taking the one for the other loses a page or sends it
        twice. When in doubt, `Unknown`. Anything raised counts as `Unknown`, and is logged.
        """
