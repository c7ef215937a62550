"""Storms, whatever they are like: random hours through the real database.

Alerts come, get worse, end and are acknowledged at random; every message that is let go is
delivered at once. Whatever happens, every alert is in a message, no phone gets more than its pace
allows, and a quiet phone's first page is let go in the moment in which it is decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from hotpotato import rota
from hotpotato.duties.escalation import Escalation
from hotpotato.duties.pacing import Pacing
from hotpotato.duties.queueing import Limits
from hotpotato.rules import intake, keys
from hotpotato.store import acknowledging, people, policies, servers
from hotpotato.store.ingest import Incoming, Ingest, Stored
from hotpotato.testing.database import drop_database, fresh_database
from hotpotato.vocabulary import Fields
from tests.direct import Direct, run
from tests.world import ANNA, BOB, migrated

HOUR = 3600.0

DELIVER = """
WITH sent AS (
    UPDATE message SET status = 'delivered', due_at = NULL, tries = 1 WHERE status = 'queued'
    RETURNING id, tenant_id
)
INSERT INTO attempt (tenant_id, message_id, number, sender, reference, provider_id, outcome,
                     progress, started_at, settled_at)
SELECT tenant_id, id, 1, 'test', id::text, id::text, 'accepted', 'delivered', hotpotato_now(),
       hotpotato_now()
  FROM sent
"""

NEXT = """
SELECT extract(epoch FROM least((SELECT min(due_at) FROM alert), (SELECT min(due_at) FROM contact))
                          - hotpotato_now())::float
"""

CLEAN = """
UPDATE alert SET status = 'resolved', resolved_at = hotpotato_now(), due_at = NULL
 WHERE status <> 'resolved' OR due_at IS NOT NULL;
UPDATE message SET status = 'cancelled' WHERE status = 'held';
UPDATE contact SET due_at = NULL
"""

UNTOLD = """
SELECT alert.id FROM alert
 WHERE alert.tenant_id = %s AND alert.acknowledged_at IS NULL AND NOT EXISTS (
       SELECT FROM message LEFT JOIN message AS digest ON digest.id = message.digest_id
        WHERE message.alert_id = alert.id AND message.kind IN ('page', 'flapping')
          AND coalesce(digest.released_at, message.released_at) IS NOT NULL)
"""

RELEASED = """
SELECT contact_id, extract(epoch FROM released_at)::float, segments FROM message
 WHERE tenant_id = %s AND released_at IS NOT NULL ORDER BY released_at, id
"""

FIRSTS = """
SELECT DISTINCT ON (contact_id) kind, released_at = created_at FROM message
 WHERE tenant_id = %s ORDER BY contact_id, id
"""


class Place:
    """The database, its duties, and one tenant after the other."""

    def __init__(self, database: Any) -> None:
        self.database = database
        self.clock = Clock()
        self.ingest = Ingest(self.database, self.clock)
        self.escalation = Escalation(self.database, Limits())
        self.pacing = Pacing(self.database, Limits())
        self.numbers = count()
        self.tenant = 0
        self.server = 0
        self.key = b""

    def begin(self, policy: policies.Stored) -> None:
        """A new tenant, whom nothing has happened to."""
        self.database.sql(CLEAN)
        self.key = keys.key_digest(keys.new_key())

        async def work(transaction: Any) -> None:
            self.tenant = await people.add_tenant(transaction, f"acme{next(self.numbers)}", "UTC")
            anna = await people.add_person(transaction, self.tenant, "Anna", [("sms", ANNA)])
            await people.add_person(transaction, self.tenant, "Bob", [("sms", BOB)])
            await rota.set_on_call(transaction, self.tenant, anna)
            self.server = await servers.add(
                transaction,
                tenant_id=self.tenant,
                name="icinga1",
                digest=self.key,
                heartbeat_interval=60.0,
                missed=3,
                timezone=None,
            )
            await policies.write(transaction, self.tenant, policy)

        run(self.database.transaction(work))

    def notify(self, host: str, state: str) -> None:
        """A notification comes in."""
        fields = Fields(hostname=host, state=state, is_service=False)
        answer = self.ingest.add(
            Incoming(
                key_digest=self.key,
                server_id=self.server,
                subject=intake.alert_digest(self.server, host, None),
                content=intake.content_digest(fields),
                effect=intake.effect(None, state),
                fields=fields,
            )
        )
        self.clock.advance(0)
        assert isinstance(run(answer), Stored)

    def acknowledge(self, host: str) -> None:
        """Bob takes what there is of a host."""
        ids = [
            row[0] for row in self.database.sql("SELECT id FROM alert WHERE hostname = %s", host)
        ]

        async def work(transaction: Any) -> None:
            await acknowledging.acknowledge(transaction, ids, "Bob", None)

        run(self.database.transaction(work))

    def settle(self) -> None:
        """Let everything happen that is due now."""
        for _ in range(100):
            seconds = [run(self.escalation.turn()), run(self.pacing.turn())]
            self.database.sql(DELIVER)
            if 0 not in seconds:
                return
        raise AssertionError("there is no end to it")

    def wait(self, seconds: float) -> None:
        """Let time pass, from one thing that falls due to the next."""
        while seconds > 0:
            ((due,),) = self.database.sql(NEXT)
            step = seconds if due is None else min(seconds, max(due, 0.001))
            self.database.advance(step)
            seconds -= step
            self.settle()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    url = fresh_database(migrated)
    made = Place(Direct(url))
    yield made
    made.database.close()
    drop_database(url)


hosts = st.integers(0, 12).map(lambda number: f"host{number:02}")
events = st.one_of(
    st.tuples(st.just("problem"), hosts, st.sampled_from(["WARNING", "CRITICAL", "UNKNOWN"])),
    st.tuples(st.just("problem"), hosts, st.just("OK")),
    st.tuples(st.just("taken"), hosts, st.just("")),
)
bursts = st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 20, 100]), events), max_size=25)
some_policies = st.builds(
    policies.Stored,
    pace_burst=st.sampled_from([None, 1, 2, 5]),
    pace_every=st.sampled_from([None, 10.0, 120.0]),
    pace_hourly=st.sampled_from([None, 3, 8]),
    acknowledged_for=st.sampled_from([None, 0.0, 300.0]),
    flapping_changes=st.sampled_from([None, 2, 1000]),
)


@given(bursts, some_policies)
@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_alert_is_told_no_pace_is_exceeded_and_no_first_page_is_delayed(
    place: Place, storm: list[tuple[int, tuple[str, str, str]]], policy: policies.Stored
) -> None:
    place.begin(policy)
    for seconds, (what, host, state) in storm:
        place.wait(seconds)
        if what == "taken":
            place.acknowledge(host)
        else:
            place.notify(host, state)
        place.settle()
    for number in range(13):
        place.notify(f"host{number:02}", "OK")
    place.settle()
    place.wait(HOUR)
    assert place.database.sql(UNTOLD, place.tenant) == []
    _pace_was_kept(place.database.sql(RELEASED, place.tenant), policy)
    assert set(place.database.sql(FIRSTS, place.tenant)) <= {("page", True)}


def _pace_was_kept(released: list[tuple[int, float, int]], policy: policies.Stored) -> None:
    burst, every = policy.pace_burst or 3, policy.pace_every or 60.0
    hourly = policy.pace_hourly or 20
    for contact in {row[0] for row in released}:
        sent = [(at, segments) for each, at, segments in released if each == contact]
        longest = max(segments for _, segments in sent)
        for first, (since, _) in enumerate(sent):
            total = 0
            for at, segments in sent[first:]:
                if at - since >= HOUR - 0.01:
                    break
                total += segments
                assert total <= max(burst, longest) + (at - since) / every + 0.01
                assert total <= max(hourly, longest)
