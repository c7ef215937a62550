"""The sender that writes to the log."""

from __future__ import annotations

from collections.abc import Mapping

import pytest_twisted

from hotpotato.interfaces import Accepted
from hotpotato.senders.plugins import log
from hotpotato.testing import SenderCase, make_sender_tests, patiently, running


class LogCase(SenderCase):
    """It needs no provider and has no callbacks."""

    plugin = log
    dropin = "twisted.plugins.hotpotato_senders"

    def options(self, url: str) -> Mapping[str, object]:
        """None."""
        return {}


TestLogContract = make_sender_tests(LogCase)


@pytest_twisted.ensureDeferred
async def test_the_text_is_in_the_log_and_the_number_is_masked() -> None:
    """One line, with the name of the instance."""
    async with running(LogCase()) as (harness, _):
        outcome = await patiently(harness.send("db1 is down \U0001f525"))
        logged = harness.logged()
    assert "contract: to +64…4567: db1 is down \U0001f525" in logged
    assert "+64211234567" not in logged
    assert isinstance(outcome, Accepted)


@pytest_twisted.ensureDeferred
async def test_each_attempt_has_an_id_of_its_own() -> None:
    """Receipts are joined by it, if ever one came."""
    async with running(LogCase()) as (harness, _):
        first = await patiently(harness.send(number=1))
        second = await patiently(harness.send(number=2))
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert first.provider_id != second.provider_id
