"""The contract of a sender, as tests that its author runs.

Describe your sender and its provider by a subclass of `SenderCase`, and collect the tests with
pytest (the plugin pytest-twisted runs them):

    class AcmeCase(SenderCase):
        ...

    TestAcme = make_sender_tests(AcmeCase)

The tests talk to a stand-in for your provider on a real socket, answer as your case says, fall
silent, break off and lie, and move a virtual clock, so that none of them waits. They also hand
your callbacks to an inbox that is slow and that fails.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import pytest_twisted
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger, eventAsText, globalLogPublisher
from twisted.plugin import IPlugin
from twisted.web.client import Agent, HTTPConnectionPool
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hotpotato.interfaces import (
    API_VERSION,
    Accepted,
    Callback,
    FailedForNow,
    IInbox,
    ISender,
    ISenderPlugin,
    OutgoingMessage,
    ReceiptFact,
    Rejected,
    ReplyFact,
    Route,
    SenderContext,
    SendOutcome,
    Unknown,
)
from hotpotato.settings import section
from hotpotato.testing.standin import Answer, Behaviour, Request, StandIn

T = TypeVar("T")

ADDRESS = "+64211234567"
DEADLINE = 20.0
PATIENCE = 10.0
"""The seconds of real time after which a test gives up."""

TEXTS = {
    "GSM-7": "db1 DISK CRITICAL: /var 98% full [KWT]",
    "every kind of GSM-7": "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#%&'()*+,-./:;<=>?ÄÖÑÜ¿äöñüà^{}\\[~]€",
    "UCS-2": "Сервер db1 не відповідає: 磁盘已满 [KWT]",
    "an emoji": "db1 is down \U0001f525 [KWT]",
    "several lines": "db1 CRITICAL\n/var 98% full\n[KWT]",
    "several segments": "db1 DISK CRITICAL " * 20 + "[KWT]",
}


class Received(msgspec.Struct, frozen=True):
    """One message as the provider understands it. `reference` is None if it knows no such thing."""

    address: str
    text: str
    reference: str | None


class Refusal(msgspec.Struct, frozen=True):
    """An answer that is no acceptance, and the outcome that it must lead to."""

    answer: Answer
    outcome: type[Rejected] | type[FailedForNow] | type[Unknown]


class CallbackExample(msgspec.Struct, frozen=True, kw_only=True):
    """A request of the provider's to the route `path`, and what must come of it.

    Either `facts`, handed to the inbox in that order, and then `status`; or no facts, and the
    refusal `status`. Header names are lower case.
    """

    path: str
    body: bytes
    headers: Mapping[str, str] = {}
    facts: Sequence[ReceiptFact | ReplyFact] = ()
    status: int = 200


class SenderCase:
    """Your sender and its provider, described. Every test builds a new one, without arguments.

    Without `answer`, the tests that need a provider are left out; without `callbacks`, those of
    the routes are.
    """

    plugin: ISenderPlugin
    """The object that your dropin holds."""
    dropin: str
    """The dropin's dotted name: `twisted.plugins.…`."""
    secrets: Sequence[str] = ()
    """What must never stand in a log: the passwords in your options."""
    refusals: Mapping[str, Refusal] = {}
    """The answers of a provider that refuses, by a name for the test."""
    callbacks: Mapping[str, CallbackExample] = {}
    """Callbacks, good and bad, by a name for the test."""

    def options(self, url: str) -> Mapping[str, object]:
        """Your keys of the TOML section, for a provider at `url` (no slash at the end)."""
        raise NotImplementedError

    async def answer(self, request: Request) -> Answer:
        """Your provider's acceptance of `request`, or its answer to a question of your `check`.

        Whatever it raises fails the test, so assert here what must be in a request.
        """
        raise NotImplementedError

    def read(self, request: Request) -> Received:
        """What your provider understands of a request."""
        raise NotImplementedError


class Harness:
    """One sender, built as Hot Potato builds it, and everything around it under control.

    `clock` is its time, `inbox` what it tells Hot Potato, `events` what it logged.
    """

    def __init__(
        self, case: SenderCase, url: str, http: HTTPClient, name: str = "contract"
    ) -> None:
        self.clock = Clock()
        self.events = Events()
        self.inbox = Inbox()
        options = section(
            Path("hotpotato.toml"), f"senders.{name}", case.options(url), case.plugin.settings
        )
        self.sender: Any = case.plugin.make(
            options,
            SenderContext(
                name=name,
                http=http,
                clock=self.clock,
                log=Logger(namespace="contract", observer=self.events),
                inbox=self.inbox,
            ),
        )

    def send(self, text: str = TEXTS["GSM-7"], number: int = 1) -> Deferred[SendOutcome]:
        """Begin an attempt. Its reference ends in `number`."""
        return ensureDeferred(
            self.sender.send(
                OutgoingMessage(
                    address=ADDRESS, text=text, reference=reference(number), deadline=DEADLINE
                )
            )
        )

    def callback(self, example: CallbackExample) -> Deferred[Any]:
        """Hand a request to the route that it is for."""
        [route] = [route for route in self.sender.routes() if route.path == example.path]
        return ensureDeferred(route.handle(Callback(headers=example.headers, body=example.body)))

    def logged(self) -> str:
        """Everything logged, as a file would hold it and as a collector of fields would."""
        return "\n".join(
            f"{eventAsText(event)} {[v for k, v in event.items() if not k.startswith('log_')]}"
            for event in self.events
        )


@implementer(ILogObserver)
class Events(list[LogEvent]):
    """A log observer that keeps everything."""

    def __call__(self, event: LogEvent) -> None:
        """Keep it."""
        self.append(event)


@implementer(IInbox)
class Inbox:
    """An inbox that keeps what it is handed, and says that it is on disk when told to.

    `written` is what its Deferreds wait for; None: at once.
    """

    def __init__(self) -> None:
        self.facts: list[ReceiptFact | ReplyFact] = []
        self.written: Deferred[None] | None = None

    @property
    def receipts(self) -> list[ReceiptFact]:
        """The receipts among the facts."""
        return [fact for fact in self.facts if isinstance(fact, ReceiptFact)]

    @property
    def replies(self) -> list[ReplyFact]:
        """The replies among the facts."""
        return [fact for fact in self.facts if isinstance(fact, ReplyFact)]

    async def receipt(self, fact: ReceiptFact) -> None:
        """See `IInbox`."""
        await self._take(fact)

    async def reply(self, fact: ReplyFact) -> None:
        """See `IInbox`."""
        await self._take(fact)

    async def _take(self, fact: ReceiptFact | ReplyFact) -> None:
        self.facts.append(fact)
        if self.written is not None:
            await self.written


def reference(number: int) -> str:
    """A reference of the form that Hot Potato uses."""
    return f"contract{number:024d}"


def patiently(awaitable: Awaitable[T], seconds: float | None = None) -> Deferred[T]:
    """Fail, instead of hanging, after `seconds` of real time, or `PATIENCE` of them."""
    from twisted.internet import reactor

    def fail(result: object, seconds: float) -> Any:
        raise AssertionError(f"nothing happened for {seconds:g} s")

    async def wait() -> T:
        return await awaitable

    return Deferred.fromCoroutine(wait()).addTimeout(
        PATIENCE if seconds is None else seconds, reactor, onTimeoutCancel=fail
    )


@contextlib.asynccontextmanager
async def running(case: SenderCase) -> AsyncIterator[tuple[Harness, StandIn]]:
    """The case's sender, started, and its provider; nothing of either is left afterwards."""
    from twisted.internet import reactor

    pool = HTTPConnectionPool(reactor)
    standin = StandIn(reactor, case.answer)
    harness = Harness(case, standin.url, HTTPClient(Agent(reactor, pool=pool)))
    globalLogPublisher.addObserver(harness.events)
    try:
        await _optionally(harness.sender, "start")
        yield harness, standin
        await _optionally(harness.sender, "stop")
        left = harness.clock.getDelayedCalls()
        assert not left, f"the sender left timers behind: {left}"
        for failure in standin.failures:
            failure.raiseException()
    finally:
        globalLogPublisher.removeObserver(harness.events)
        await patiently(pool.closeCachedConnections())
        await patiently(standin.stop())


def make_sender_tests(factory: Callable[[], SenderCase]) -> type:
    """The contract of `hotpotato.interfaces` for one sender, as a class for pytest to collect.

    Give it a name that begins with `Test`. It needs pytest-twisted, and asks nothing of the
    network beyond this machine.
    """
    case = factory()
    parts: list[type] = [_plugin_tests(factory)]
    if type(case).answer is not SenderCase.answer:
        parts.append(_sending_tests(factory))
    if case.refusals:
        parts.append(_refusal_tests(factory, list(case.refusals)))
    good = [name for name, example in case.callbacks.items() if example.facts]
    if good:
        parts.append(_callback_tests(factory, good))
    bad = [name for name, example in case.callbacks.items() if not example.facts]
    if bad:
        parts.append(_bad_callback_tests(factory, bad))
    return type("SenderTests", tuple(parts), {"__doc__": f"The sender {case.plugin.name!r}."})


def _plugin_tests(factory: Callable[[], SenderCase]) -> type:
    class PluginTests:
        def test_the_dropin_holds_a_plugin_that_is_what_it_claims_to_be(self) -> None:
            """Hot Potato finds it, and Twisted's tools list it."""
            case = factory()
            held = vars(importlib.import_module(case.dropin)).values()
            assert any(value is case.plugin for value in held)
            assert IPlugin.providedBy(case.plugin)
            verifyObject(ISenderPlugin, case.plugin)
            assert case.plugin.api_version == API_VERSION
            assert case.plugin.name
            assert case.plugin.methods

        def test_its_settings_leave_hot_potatos_own_keys_alone(self) -> None:
            """A field that is called like one of them would never be set."""
            fields = msgspec.structs.fields(factory().plugin.settings)
            names = {field.encode_name for field in fields}
            assert not names & {"plugin", "concurrency", "deadline", "segments"}

        def test_importing_the_dropin_imports_no_reactor(self) -> None:
            """`twistd --reactor` imports every dropin before it installs the reactor."""
            code = (
                f"import sys, {factory().dropin}; "
                "sys.exit('the dropin imports the reactor' if 'twisted.internet.reactor' "
                "in sys.modules else 0)"
            )
            ran = subprocess.run(
                [sys.executable, "-c", code],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert ran.returncode == 0, ran.stderr

        @pytest_twisted.ensureDeferred
        async def test_it_makes_a_sender_with_well_formed_parts(self) -> None:
            """Beside `send`: routes with paths of their own, and a check that says sentences."""
            async with running(factory()) as (harness, _):
                verifyObject(ISender, harness.sender)
                routes: Sequence[Route] = getattr(harness.sender, "routes", tuple)()
                paths = [route.path for route in routes]
                assert len(set(paths)) == len(paths)
                assert all(path.startswith("/") and len(path) > 1 for path in paths)
                assert all(alias.startswith("/") for route in routes for alias in route.aliases)
                sentences = await patiently(_optionally(harness.sender, "check"))
                assert all(isinstance(sentence, str) and sentence for sentence in sentences or ())

    return PluginTests


def _sending_tests(factory: Callable[[], SenderCase]) -> type:
    class SendingTests:
        @pytest_twisted.ensureDeferred
        async def test_an_acceptance_has_the_providers_id(self) -> None:
            """The id is text, and there is one: receipts are joined by it."""
            async with running(factory()) as (harness, _):
                outcome = await patiently(harness.send())
            assert isinstance(outcome, Accepted)
            assert isinstance(outcome.provider_id, str)
            assert outcome.provider_id

        @pytest.mark.parametrize("kind", TEXTS)
        @pytest_twisted.ensureDeferred
        async def test_the_message_reaches_the_provider_whole(self, kind: str) -> None:
            """Address and text as they were given, and the reference if the provider has one."""
            case = factory()
            async with running(case) as (harness, standin):
                outcome = await patiently(harness.send(TEXTS[kind]))
                [request] = standin.requests
            assert isinstance(outcome, Accepted)
            received = case.read(request)
            assert received.address.lstrip("+") == ADDRESS.lstrip("+")
            assert received.text == TEXTS[kind]
            assert received.reference in (None, reference(1))

        @pytest_twisted.ensureDeferred
        async def test_silence_is_unknown_at_the_deadline(self) -> None:
            """Not a moment before, not after, and the connection is closed."""
            async with running(factory()) as (harness, standin):
                standin.behave(Behaviour.SILENCE)
                sending = harness.send()
                await patiently(standin.arrived(1))
                harness.clock.advance(DEADLINE / 2)
                assert not sending.called
                harness.clock.advance(DEADLINE / 2)
                assert isinstance(await patiently(sending), Unknown)
                await patiently(standin.emptied())

        @pytest.mark.parametrize(
            "behaviour", [Behaviour.RESET, Behaviour.GARBAGE, Behaviour.BROKEN_OFF]
        )
        @pytest_twisted.ensureDeferred
        async def test_an_answer_that_cannot_be_read_is_unknown(self, behaviour: Behaviour) -> None:
            """The provider had read the request: it may well have sent the message."""
            async with running(factory()) as (harness, standin):
                standin.behave(behaviour)
                outcome = await patiently(harness.send())
                assert len(standin.requests) == 1, "the sender repeated the request by itself"
            assert isinstance(outcome, Unknown)

        @pytest_twisted.ensureDeferred
        async def test_a_refused_connection_failed_for_now(self) -> None:
            """Nothing was sent, so nothing need be waited for."""
            async with running(factory()) as (harness, standin):
                await patiently(standin.stop())
                assert isinstance(await patiently(harness.send()), FailedForNow)

        @pytest_twisted.ensureDeferred
        async def test_a_cancelled_attempt_leaves_nothing_open(self) -> None:
            """Hot Potato cancels what is late, and when it stops."""
            async with running(factory()) as (harness, standin):
                standin.behave(Behaviour.SILENCE)
                sending = harness.send()
                sending.addErrback(lambda failure: None)
                await patiently(standin.arrived(1))
                sending.cancel()
                await patiently(sending)
                await patiently(standin.emptied())

        @pytest_twisted.ensureDeferred
        async def test_attempts_run_side_by_side(self) -> None:
            """Ten at once: none waits for another."""
            async with running(factory()) as (harness, standin):
                standin.hold()
                sending = [harness.send(number=number) for number in range(10)]
                await patiently(standin.arrived(10))
                standin.let_go()
                outcomes = await patiently(gatherResults(sending))
            accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
            assert len({outcome.provider_id for outcome in accepted}) == 10

        @pytest_twisted.ensureDeferred
        async def test_no_secret_and_no_address_gets_into_logs_and_reasons(self) -> None:
            """Whatever the provider does."""
            case = factory()
            reasons = []
            answers = [case.answer, *(_always(one.answer) for one in case.refusals.values())]
            async with running(case) as (harness, standin):
                for behaviour in (Behaviour.ANSWER, Behaviour.RESET, Behaviour.GARBAGE):
                    standin.behave(behaviour)
                    for answer in answers:
                        standin.answer = answer
                        reasons.append(str(await patiently(harness.send())))
                written = harness.logged() + "\n".join(reasons)
            for secret in (*case.secrets, ADDRESS, ADDRESS.lstrip("+")):
                assert secret not in written

    return SendingTests


def _refusal_tests(factory: Callable[[], SenderCase], names: Sequence[str]) -> type:
    class RefusalTests:
        @pytest.mark.parametrize("name", names)
        @pytest_twisted.ensureDeferred
        async def test_a_refusal_has_the_right_outcome(self, name: str) -> None:
            """Each refusal that the case knows of, with a reason for people."""
            case = factory()
            refusal = case.refusals[name]
            async with running(case) as (harness, standin):
                standin.answer = _always(refusal.answer)
                outcome = await patiently(harness.send())
                assert len(standin.requests) == 1, "the sender repeated the request by itself"
            assert type(outcome) is refusal.outcome
            assert not isinstance(outcome, Accepted)
            assert outcome.why

    return RefusalTests


def _callback_tests(factory: Callable[[], SenderCase], good: Sequence[str]) -> type:
    class CallbackTests:
        @pytest.mark.parametrize("name", good)
        @pytest_twisted.ensureDeferred
        async def test_a_callback_is_answered_when_its_fact_is_on_disk(self, name: str) -> None:
            """And not before."""
            case = factory()
            example = case.callbacks[name]
            async with running(case) as (harness, _):
                harness.inbox.written = Deferred()
                answering = harness.callback(example)
                assert not answering.called
                harness.inbox.written.callback(None)
                answer = await patiently(answering)
            assert harness.inbox.facts == list(example.facts)
            assert answer.status == example.status

        @pytest.mark.parametrize("name", good)
        @pytest_twisted.ensureDeferred
        async def test_a_failure_of_the_inbox_is_passed_on(self, name: str) -> None:
            """So that the provider is told to repeat it."""
            case = factory()
            async with running(case) as (harness, _):
                harness.inbox.written = Deferred()
                answering = harness.callback(case.callbacks[name])
                harness.inbox.written.errback(_DiskError("away"))
                with pytest.raises(_DiskError):
                    await patiently(answering)

        @pytest.mark.parametrize("name", good)
        @pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe\x00", b"[]", b"null", b"[" * 9999])
        @pytest_twisted.ensureDeferred
        async def test_rubbish_is_refused(self, name: str, body: bytes) -> None:
            """A sender that raised would have the provider repeat it for ever."""
            case = factory()
            example = msgspec.structs.replace(case.callbacks[name], body=body)
            async with running(case) as (harness, _):
                answer = await patiently(harness.callback(example))
            assert 400 <= answer.status < 500
            assert harness.inbox.facts == []

    return CallbackTests


def _bad_callback_tests(factory: Callable[[], SenderCase], bad: Sequence[str]) -> type:
    class BadCallbackTests:
        @pytest.mark.parametrize("name", bad)
        @pytest_twisted.ensureDeferred
        async def test_a_bad_callback_is_refused(self, name: str) -> None:
            """With the case's status, and nothing reaches the inbox."""
            case = factory()
            async with running(case) as (harness, _):
                answer = await patiently(harness.callback(case.callbacks[name]))
            assert answer.status == case.callbacks[name].status
            assert harness.inbox.facts == []

    return BadCallbackTests


class _DiskError(Exception):
    """What the inbox fails with in these tests."""


def _always(answer: Answer) -> Callable[[Request], Awaitable[Answer]]:
    async def same(request: Request) -> Answer:
        return answer

    return same


async def _optionally(sender: object, method: str) -> Any:
    """Call one of the methods that a sender may have."""
    return await maybeDeferred(getattr(sender, method, lambda: None))
