"""The schema: how it comes to be, which daemons it suits, and which states it makes impossible."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
import pytest_twisted
from psycopg2.extras import DateTimeTZRange
from pytest_twisted import blockon
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from hotpotato.store import schema
from hotpotato.store.database import Database, Limits, StatementRefused, Unavailable
from hotpotato.store.schema import Migration, SchemaMismatch
from hotpotato.testing.database import drop_database, fresh_database
from tests.cluster import free_port
from tests.world import migrated, until

LAST = schema.migrations()[-1].number


@pytest.fixture
def empty_url() -> Iterator[str]:
    """A database without a schema."""
    url = fresh_database()
    yield url
    drop_database(url)


@pytest.fixture
def make() -> Iterator[Callable[..., Database]]:
    """Make and start a Database; stopped afterwards."""
    made: list[Database] = []

    def one(url: str, limits: Limits | None = None) -> Database:
        made.append(Database(url, reactor=reactor, size=1, limits=limits))
        made[-1].start()
        return made[-1]

    yield one
    for database in made:
        blockon(Deferred.fromCoroutine(database.stop()))


def connected(database: Database) -> Database:
    blockon(Deferred.fromCoroutine(until(lambda: database.available, "the database")))
    return database


@pytest.fixture
def empty(empty_url: str, make: Callable[..., Database]) -> Database:
    return connected(make(empty_url))


@pytest.fixture
def database(database_url: str, make: Callable[..., Database]) -> Database:
    return connected(make(database_url))


# ------------------------------------------------------------------ migrations


def test_the_migrations_are_numbered_without_a_gap_and_none_works_only_with_later_ones() -> None:
    found = schema.migrations()
    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
    assert all(1 <= migration.works_with <= migration.number for migration in found)
    needed = [migration.works_with for migration in found]
    assert needed == sorted(needed)


@pytest_twisted.ensureDeferred
async def test_migrating_applies_what_is_missing_and_again_it_finds_nothing(
    empty: Database,
) -> None:
    applied = await schema.migrate(empty)
    assert applied == schema.migrations()
    assert await schema.migrate(empty) == ()
    await schema.check(empty)
    rows = await empty.statement("SELECT number, name, works_with FROM migration ORDER BY number")
    assert rows == [(each.number, each.name, each.works_with) for each in applied]


@pytest_twisted.ensureDeferred
async def test_migrating_from_several_hosts_at_once_applies_everything_once(
    empty_url: str, make: Callable[..., Database]
) -> None:
    hosts = [make(empty_url) for _ in range(4)]
    await until(lambda: all(host.available for host in hosts), "the connections")
    applied = await gatherResults([Deferred.fromCoroutine(schema.migrate(host)) for host in hosts])
    assert sorted(map(len, applied)) == [0, 0, 0, len(schema.migrations())]


@pytest_twisted.ensureDeferred
async def test_a_migration_that_fails_leaves_everything_as_it_was(empty: Database) -> None:
    broken = Migration(LAST + 1, "broken", 1, "CREATE TABLE half (a int); SELECT 1 / 0")
    with pytest.raises(StatementRefused, match="division by zero"):
        await schema.migrate(empty, (*schema.migrations(), broken))
    rows = await empty.statement("SELECT to_regclass('half'), to_regclass('migration')")
    assert rows == [(None, None)]
    assert await schema.migrate(empty) == schema.migrations()


@pytest_twisted.ensureDeferred
async def test_migrating_waits_for_another_host_longer_than_a_statement_may_take(
    empty_url: str, make: Callable[..., Database]
) -> None:
    other = psycopg2.connect(empty_url)
    other.cursor().execute("SELECT pg_advisory_xact_lock(%s)", [schema._LOCK])
    database = make(empty_url, Limits(statement=0.3))
    await until(lambda: database.available, "the database")
    migrating = Deferred.fromCoroutine(schema.migrate(database))
    await deferLater(reactor, 0.8)
    assert not migrating.called
    other.close()
    assert await migrating == schema.migrations()


@pytest_twisted.ensureDeferred
async def test_a_migration_added_later_is_applied_to_what_is_there(database: Database) -> None:
    later = Migration(LAST + 1, "later", 1, "CREATE TABLE later (share text DEFAULT '100%')")
    assert await schema.migrate(database, (*schema.migrations(), later)) == (later,)
    assert await database.statement("SELECT * FROM later") == []


# ------------------------------------------------------------------ whom it suits


async def mismatch(database: Database, needed: int | None = None) -> str:
    with pytest.raises(SchemaMismatch) as raised:
        await schema.check(database, needed)
    return str(raised.value)


@pytest_twisted.ensureDeferred
async def test_without_a_schema_the_daemon_says_which_command_makes_one(empty: Database) -> None:
    assert await mismatch(empty) == "the database has no schema yet: run `hotpotato migrate`"


@pytest_twisted.ensureDeferred
async def test_a_schema_older_than_the_daemon_needs_is_refused(database: Database) -> None:
    assert await mismatch(database, LAST + 1) == (
        f"the schema is at migration {LAST} and this daemon needs {LAST + 1}:"
        " run `hotpotato migrate`"
    )


@pytest_twisted.ensureDeferred
async def test_an_interrupted_installation_is_an_old_schema(database: Database) -> None:
    await database.statement("DELETE FROM migration")
    assert f"is at migration 0 and this daemon needs {LAST}" in await mismatch(database)


@pytest.mark.parametrize(
    ("works_with", "daemon", "fits"),
    [
        ((1, 1), 2, True),  # written for exactly this
        ((1, 1), 1, True),  # behind, and both newer ones bear with it
        ((2, 2), 1, False),  # left behind at once
        ((1, 3), 2, False),  # left behind by the second
        ((2, 1), 1, False),  # left behind by the first: the second does not take it back
        ((3, 3), 3, True),  # left behind are the others
        ((2, 2), 3, True),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_newer_schema_suits_the_daemons_that_its_migrations_say(
    empty: Database, works_with: tuple[int, int], daemon: int, fits: bool
) -> None:
    """So hosts are upgraded one after the other."""
    history: tuple[Migration, ...] = (
        Migration(1, "first", 1, "SELECT 1"),
        Migration(2, "second", works_with[0], "SELECT 1"),
        Migration(3, "third", works_with[1], "SELECT 1"),
    )
    if (works_with, daemon) == ((1, 1), 2):
        history = history[:2]
    await schema.migrate(empty, history)
    if fits:
        await schema.check(empty, daemon)
    else:
        assert await mismatch(empty, daemon) == (
            f"the schema is at migration 3, which works with daemons from migration"
            f" {max(works_with)} on; this one is of {daemon}: install the newer Hot Potato here"
        )


@pytest_twisted.ensureDeferred
async def test_a_schema_that_may_not_be_looked_at_is_no_mismatch(database: Database) -> None:
    """Permissions are mended by people, and meanwhile the daemon goes on asking."""
    role = f"stranger_{uuid.uuid4().hex}"
    await database.statement(f"CREATE ROLE {role}; SET ROLE {role}")
    with pytest.raises(StatementRefused, match="permission denied"):
        await schema.check(database)
    await database.statement(f"RESET ROLE; DROP ROLE {role}")


@pytest_twisted.ensureDeferred
async def test_without_a_database_nothing_is_said_about_its_schema() -> None:
    database = Database(f"postgresql://u@127.0.0.1:{free_port()}/d", reactor=reactor)
    with pytest.raises(Unavailable):
        await schema.check(database)
    await database.stop()


# ------------------------------------------------------------------ impossible states

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
DIGEST = bytes(32)


def digest(number: int) -> bytes:
    return bytes(31) + bytes([number])


Row = Mapping[str, Any]

# Everything that is there twice is there once for each tenant.
WORLD: list[tuple[str, Row]] = [
    ("sender", {"name": "pigeon"}),
    ("canary", {"sender": "pigeon", "reference": "a", "address": "+64211234567", "sent_at": NOW}),
    ("tenant", {"id": 1, "name": "acme", "timezone": "UTC"}),
    ("tenant", {"id": 2, "name": "other", "timezone": "UTC"}),
    ("person", {"id": 1, "tenant_id": 1, "name": "Anna"}),
    ("person", {"id": 2, "tenant_id": 2, "name": "Olga"}),
    *(
        (
            "contact",
            {
                "id": tenant,
                "tenant_id": tenant,
                "person_id": tenant,
                "method": "sms",
                "address": "+64211234567",
                "position": 1,
            },
        )
        for tenant in (1, 2)
    ),
    *(
        (
            "server",
            {
                "id": tenant,
                "tenant_id": tenant,
                "name": "icinga1",
                "key_digest": digest(tenant),
                "old_key_digest": digest(tenant + 10),
                "old_key_until": LATER,
                "heartbeat_interval": "60 s",
                "missed": 3,
            },
        )
        for tenant in (1, 2)
    ),
    ("schedule", {"id": 1, "tenant_id": 1, "name": "primary"}),
    ("schedule", {"id": 2, "tenant_id": 2, "name": "primary"}),
    *(
        (
            "layer",
            {
                "id": tenant,
                "tenant_id": tenant,
                "schedule_id": tenant,
                "position": 1,
                "name": "all",
                "every": 1,
                "unit": "weeks",
                "first_on": NOW.date(),
                "hand_over": "09:00",
            },
        )
        for tenant in (1, 2)
    ),
    *(
        (
            "participant",
            {"layer_id": tenant, "position": 1, "tenant_id": tenant, "person_id": tenant},
        )
        for tenant in (1, 2)
    ),
    ("calendar", {"id": 1, "tenant_id": 1, "person_id": 1, "token_digest": digest(1)}),
    ("policy", {"tenant_id": 1}),
    (
        "token",
        {
            "id": 1,
            "tenant_id": 1,
            "person_id": 1,
            "name": "wallboard",
            "digest": digest(1),
            "scope": "read",
            "created_at": NOW,
            "expires_at": LATER,
        },
    ),
    (
        "shift",
        {
            "tenant_id": 1,
            "schedule_id": 1,
            "person_id": 1,
            "during": DateTimeTZRange(NOW, LATER),
            "source": "rota",
        },
    ),
    *(
        (
            "alert",
            {
                "id": tenant,
                "tenant_id": tenant,
                "server_id": tenant,
                "subject": digest(tenant),
                "hostname": "db1",
                "state": "CRITICAL",
                "status": "triggered",
                "opened_at": NOW,
                "due_at": NOW,
                "last_notification_id": tenant,
            },
        )
        for tenant in (1, 2)
    ),
    *(
        (
            "notification",
            {
                "id": tenant,
                "tenant_id": tenant,
                "server_id": tenant,
                "alert_id": tenant,
                "received_at": NOW,
                "effect": "open",
                "is_service": False,
                "state": "DOWN",
                "hostname": "db1",
                "late": False,
            },
        )
        for tenant in (1, 2)
    ),
    (
        "idempotency",
        {
            "server_id": 1,
            "key_digest": DIGEST,
            "tenant_id": 1,
            "content_digest": DIGEST,
            "notification_id": 1,
            "created_at": NOW,
        },
    ),
    ("code", {"code": "KWT", "tenant_id": 1, "alert_id": 1}),
    (
        "reply",
        {
            "id": 1,
            "tenant_id": 1,
            "sender": "modica",
            "provider_id": "7",
            "source": "64211234567",
            "content": "ack KWT",
            "received_at": NOW,
            "due_at": NOW,
        },
    ),
    (
        "message",
        {
            "id": 1,
            "tenant_id": 1,
            "kind": "page",
            "alert_id": 1,
            "notification_id": 1,
            "person_id": 1,
            "contact_id": 1,
            "method": "sms",
            "address": "+64211234567",
            "text": "CRITICAL db1",
            "status": "queued",
            "created_at": NOW,
            "expires_at": LATER,
            "released_at": NOW,
            "due_at": NOW,
        },
    ),
    *(
        (
            "message",
            {
                "id": number,
                "tenant_id": tenant,
                "kind": "digest",
                "person_id": person,
                "contact_id": contact,
                "method": "sms",
                "address": "+64211234567",
                "text": "2 open",
                "segments": 1,
                "status": "queued",
                "created_at": NOW,
                "expires_at": LATER,
                "released_at": NOW,
                "due_at": NOW,
            },
        )
        for number, tenant, person, contact in ((2, 1, 1, 1), (3, 2, 2, 2))
    ),
    ("code", {"code": "DGH", "tenant_id": 1, "message_id": 2}),
    (
        "attempt",
        {
            "id": 1,
            "tenant_id": 1,
            "message_id": 1,
            "number": 1,
            "sender": "modica",
            "reference": "r1",
            "started_at": NOW,
        },
    ),
]

# One more row of each kind, as it should be.
GOOD: Mapping[str, Row] = {
    "tenant": {"name": "third", "timezone": "UTC"},
    "person": {"tenant_id": 1, "name": "Bob"},
    "contact": {
        "tenant_id": 1,
        "person_id": 1,
        "method": "sms",
        "address": "+64217654321",
        "position": 2,
    },
    "server": {
        "tenant_id": 1,
        "name": "icinga2",
        "key_digest": digest(3),
        "heartbeat_interval": "60 s",
        "missed": 1,
    },
    "schedule": {"tenant_id": 1, "name": "secondary"},
    "layer": {
        "tenant_id": 1,
        "schedule_id": 1,
        "position": 2,
        "name": "nights",
        "every": 12,
        "unit": "hours",
        "first_on": NOW.date(),
        "hand_over": "18:00",
    },
    "participant": {"layer_id": 1, "position": 2, "tenant_id": 1, "person_id": 1},
    "override": {
        "tenant_id": 1,
        "schedule_id": 1,
        "person_id": 1,
        "during": DateTimeTZRange(NOW, LATER),
        "source": "override",
        "author": "Anna",
    },
    "calendar": {"tenant_id": 1, "schedule_id": 1, "token_digest": digest(3)},
    "policy": {"tenant_id": 2, "acknowledged_for": "0 s", "pace_burst": 1},
    "step": {
        "tenant_id": 1,
        "position": 1,
        "after": "0 s",
        "again": "5 min",
        "whom": "on call",
        "schedule": "primary",
    },
    "token": {
        "tenant_id": 1,
        "person_id": 1,
        "name": "phone",
        "digest": digest(3),
        "scope": "act",
        "created_at": NOW,
        "expires_at": LATER,
    },
    "silence": {
        "tenant_id": 1,
        "server_id": 1,
        "host": "db*",
        "during": DateTimeTZRange(NOW, LATER),
        "author": "Anna",
        "reason": "new disks",
    },
    "shift": {
        "tenant_id": 1,
        "schedule_id": 1,
        "person_id": 1,
        "during": DateTimeTZRange(LATER, None),
        "source": "set",
    },
    "alert": {
        "tenant_id": 1,
        "server_id": 1,
        "subject": digest(3),
        "hostname": "db2",
        "state": "DOWN",
        "status": "triggered",
        "opened_at": NOW,
        "due_at": NOW,
        "last_notification_id": 1,
    },
    "notification": {
        "tenant_id": 1,
        "server_id": 1,
        "alert_id": 1,
        "person_id": 1,
        "received_at": NOW,
        "effect": "record",
        "is_service": False,
        "state": "DOWN",
        "hostname": "db1",
        "late": True,
    },
    "announcement": {"notification_id": 1, "tenant_id": 1, "due_at": NOW},
    "idempotency": {
        "server_id": 1,
        "key_digest": digest(9),
        "tenant_id": 1,
        "content_digest": DIGEST,
        "notification_id": 1,
        "created_at": NOW,
    },
    "code": {"code": "QZX", "tenant_id": 2, "alert_id": 2},
    "reply": {
        "tenant_id": None,
        "sender": "modica",
        "provider_id": "8",
        "source": "64211234567",
        "content": "hello",
        "received_at": NOW,
        "verdict": "nothing",
    },
    "message": {
        "tenant_id": 1,
        "kind": "page",
        "alert_id": 1,
        "notification_id": 1,
        "person_id": 1,
        "contact_id": 1,
        "method": "sms",
        "address": "+64211234567",
        "text": "CRITICAL db1",
        "status": "queued",
        "created_at": NOW,
        "expires_at": LATER,
        "released_at": NOW,
        "due_at": NOW,
    },
    "attempt": {
        "tenant_id": 1,
        "message_id": 1,
        "number": 2,
        "sender": "modica",
        "reference": "r2",
        "started_at": NOW,
    },
    "receipt": {
        "sender": "modica",
        "provider_id": "1",
        "status": "received",
        "progress": "delivered",
        "received_at": NOW,
    },
    "heartbeat": {"tenant_id": 1, "server_id": 1, "received_at": NOW},
    "history": {"tenant_id": 1, "kind": "sent", "sentence": "sent"},
    "canary": {"sender": "pigeon", "reference": "b", "address": "+64211234567", "sent_at": NOW},
    "sender": {"name": "modica", "sick_since": NOW, "why": "no answer", "probe_at": LATER},
}

# What of the good message is another way, where it waits for its contact.
HELD: Row = {"status": "held", "hold_until": LATER, "released_at": None, "due_at": None}
MERGED: Row = {**HELD, "status": "merged", "digest_id": 2}
DIGESTED: Row = {"kind": "digest", "alert_id": None, "notification_id": None}

# What is changed of the good row, and the constraint that does not let it pass.
IMPOSSIBLE: list[tuple[str, Row, str]] = [
    ("tenant", {"name": ""}, "tenant_name_check"),
    ("tenant", {"name": "acme"}, "tenant_name_key"),
    ("person", {"name": ""}, "person_name_check"),
    ("person", {"name": "Anna"}, "person_tenant_id_name_key"),
    ("person", {"tenant_id": 3}, "person_tenant_id_fkey"),
    ("person", {"timezone": ""}, "person_timezone_check"),
    ("contact", {"position": 0}, "contact_position_check"),
    ("contact", {"address": "0211234567"}, "contact_check"),
    ("contact", {"address": "+64 21 123 4567"}, "contact_check"),
    ("contact", {"address": "+0211234567"}, "contact_check"),
    ("contact", {"address": "+64211234567\n"}, "contact_check"),
    ("contact", {"address": "+6421123456789012"}, "contact_check"),
    ("contact", {"address": "+64211234567"}, "contact_person_id_method_address_key"),
    ("contact", {"person_id": 2}, "contact_tenant_id_person_id_fkey"),
    ("contact", {"pace_burst": 0}, "contact_pace_burst_check"),
    ("contact", {"pace_every": "0 s"}, "contact_pace_every_check"),
    ("contact", {"pace_hourly": 0}, "contact_pace_hourly_check"),
    (
        "contact",
        {"verification_digest": b"the code itself", "verification_until": LATER},
        "contact_verification_digest_check",
    ),
    ("contact", {"verification_digest": DIGEST}, "contact_verification_runs_out"),
    ("contact", {"verification_until": LATER}, "contact_verification_runs_out"),
    ("contact", {"verification_tries": -1}, "contact_verification_tries_check"),
    ("server", {"name": ""}, "server_name_check"),
    ("server", {"name": "icinga1"}, "server_tenant_id_name_key"),
    ("server", {"tenant_id": 3}, "server_tenant_id_fkey"),
    ("server", {"key_digest": b"the key itself"}, "server_key_digest_check"),
    ("server", {"key_digest": digest(2)}, "server_key_digest_key"),
    (
        "server",
        {"old_key_digest": b"the key itself", "old_key_until": NOW},
        "server_old_key_digest_check",
    ),
    ("server", {"old_key_digest": digest(12), "old_key_until": NOW}, "server_old_key_digest_key"),
    ("server", {"old_key_digest": digest(4)}, "server_check"),
    ("server", {"old_key_until": NOW}, "server_check"),
    ("server", {"heartbeat_interval": "0 s"}, "server_heartbeat_interval_check"),
    ("server", {"heartbeat_interval": "-1 s"}, "server_heartbeat_interval_check"),
    ("server", {"missed": 0}, "server_missed_check"),
    ("server", {"last_heartbeat_at": NOW}, "server_check1"),
    ("server", {"silent_after": NOW}, "server_check1"),
    ("server", {"silent_since": NOW}, "server_check2"),
    ("server", {"silence_alert_id": 1}, "server_check2"),
    (
        "server",
        {"silent_since": NOW, "silence_alert_id": 2},
        "server_tenant_id_silence_alert_id_fkey",
    ),
    ("schedule", {"name": ""}, "schedule_name_check"),
    ("schedule", {"name": "primary"}, "schedule_tenant_id_name_key"),
    ("schedule", {"tenant_id": 3}, "schedule_tenant_id_fkey"),
    ("schedule", {"timezone": ""}, "schedule_timezone_check"),
    ("schedule", {"removed_at": NOW}, "schedule_check"),
    ("schedule", {"due_at": None}, "schedule_check"),
    (
        "schedule",
        {"tenant_id": 3, "name": "primary", "removed_at": NOW, "due_at": None},
        "schedule_check1",
    ),
    ("layer", {"position": 0}, "layer_position_check"),
    ("layer", {"position": 1}, "layer_schedule_id_position_key"),
    ("layer", {"name": ""}, "layer_name_check"),
    ("layer", {"name": "all"}, "layer_schedule_id_name_key"),
    ("layer", {"every": 0}, "layer_every_check"),
    ("layer", {"every": 1001}, "layer_every_check"),
    ("layer", {"unit": "months"}, "layer_unit_check"),
    ("layer", {"hand_over": "24:00"}, "layer_hand_over_check"),
    ("layer", {"windows": "{}"}, "layer_windows_check"),
    ("layer", {"begins_on": NOW.date(), "ends_on": NOW.date()}, "layer_check"),
    ("layer", {"schedule_id": 2}, "layer_tenant_id_schedule_id_fkey"),
    ("participant", {"position": 0}, "participant_position_check"),
    ("participant", {"layer_id": 2}, "participant_tenant_id_layer_id_fkey"),
    ("participant", {"person_id": 2}, "participant_tenant_id_person_id_fkey"),
    ("override", {"during": "empty"}, "override_during_check"),
    ("override", {"during": DateTimeTZRange(None, NOW)}, "override_during_check"),
    ("override", {"during": DateTimeTZRange(NOW, LATER, "(]")}, "override_during_check1"),
    ("override", {"during": DateTimeTZRange(NOW, LATER, "[]")}, "override_during_check1"),
    ("override", {"source": "whim"}, "override_source_check"),
    ("override", {"author": ""}, "override_author_check"),
    ("override", {"person_id": 2}, "override_tenant_id_person_id_fkey"),
    ("override", {"schedule_id": 2}, "override_tenant_id_schedule_id_fkey"),
    ("calendar", {"token_digest": b"the token itself"}, "calendar_token_digest_check"),
    ("calendar", {"token_digest": digest(1)}, "calendar_token_digest_key"),
    ("calendar", {"schedule_id": None}, "calendar_check"),
    ("calendar", {"person_id": 1}, "calendar_check"),
    ("calendar", {"schedule_id": 2}, "calendar_tenant_id_schedule_id_fkey"),
    ("calendar", {"schedule_id": None, "person_id": 2}, "calendar_tenant_id_person_id_fkey"),
    ("policy", {"tenant_id": 3}, "policy_tenant_id_fkey"),
    ("policy", {"acknowledged_for": "-1 s"}, "policy_acknowledged_for_check"),
    ("policy", {"undelivered_after": "0 s"}, "policy_undelivered_after_check"),
    ("policy", {"pace_burst": 0}, "policy_pace_burst_check"),
    ("policy", {"pace_every": "0 s"}, "policy_pace_every_check"),
    ("policy", {"pace_hourly": 0}, "policy_pace_hourly_check"),
    ("policy", {"flapping_changes": 1}, "policy_flapping_changes_check"),
    ("policy", {"flapping_within": "0 s"}, "policy_flapping_within_check"),
    ("policy", {"digest_at": "24:00"}, "policy_digest_at_check"),
    ("policy", {"calm": "{}"}, "policy_calm_check"),
    ("step", {"tenant_id": 2}, "step_tenant_id_fkey"),
    ("step", {"position": 0}, "step_position_check"),
    ("step", {"after": "-1 s"}, "step_after_check"),
    ("step", {"again": "29 s"}, "step_again_check"),
    ("step", {"whom": "nobody", "schedule": None}, "step_whom_check"),
    ("step", {"schedule": None}, "step_on_call_of_schedule"),
    ("step", {"whom": "everyone"}, "step_on_call_of_schedule"),
    ("step", {"person_id": 1}, "step_person_is_named"),
    ("step", {"whom": "person", "schedule": None}, "step_person_is_named"),
    (
        "step",
        {"whom": "person", "schedule": None, "person_id": 2},
        "step_tenant_id_person_id_fkey",
    ),
    ("token", {"name": ""}, "token_name_check"),
    ("token", {"digest": b"the token itself"}, "token_digest_check"),
    ("token", {"digest": digest(1)}, "token_digest_key"),
    ("token", {"scope": "rule"}, "token_scope_check"),
    ("token", {"expires_at": NOW}, "token_expires_after_it_began"),
    ("token", {"person_id": 2}, "token_tenant_id_person_id_fkey"),
    ("silence", {"host": ""}, "silence_host_check"),
    ("silence", {"service": ""}, "silence_service_check"),
    ("silence", {"author": ""}, "silence_author_check"),
    ("silence", {"reason": ""}, "silence_reason_check"),
    ("silence", {"during": "empty"}, "silence_during_check"),
    ("silence", {"during": DateTimeTZRange(None, LATER)}, "silence_during_check"),
    ("silence", {"during": DateTimeTZRange(NOW, None)}, "silence_during_check"),
    ("silence", {"during": DateTimeTZRange(NOW, LATER, "(]")}, "silence_during_check"),
    ("silence", {"during": DateTimeTZRange(NOW, LATER, "[]")}, "silence_during_check"),
    ("silence", {"tenant_id": 3, "server_id": None}, "silence_tenant_id_fkey"),
    ("silence", {"server_id": 2}, "silence_tenant_id_server_id_fkey"),
    ("shift", {"during": "empty"}, "shift_during_check"),
    ("shift", {"during": DateTimeTZRange(None, NOW)}, "shift_during_check"),
    (
        "shift",
        {"during": DateTimeTZRange(LATER - timedelta(microseconds=1), None)},
        "shift_schedule_id_during_excl",
    ),
    ("shift", {"person_id": 2}, "shift_tenant_id_person_id_fkey"),
    ("shift", {"schedule_id": 2}, "shift_tenant_id_schedule_id_fkey"),
    ("shift", {"handed_over_at": NOW}, "shift_begins_before_hand_over"),
    ("alert", {"subject": b"server 1, db1"}, "alert_subject_check"),
    ("alert", {"subject": digest(1)}, "alert_open"),
    ("alert", {"status": "forgotten"}, "alert_status_check"),
    ("alert", {"due_at": None}, "alert_check"),
    ("alert", {"status": "acknowledged"}, "alert_check1"),
    ("alert", {"status": "resolved"}, "alert_check2"),
    ("alert", {"resolved_at": NOW}, "alert_check2"),
    ("alert", {"tenant_id": 3, "server_id": None}, "alert_tenant_id_fkey"),
    ("alert", {"server_id": 2}, "alert_tenant_id_server_id_fkey"),
    ("alert", {"place": "-1 s", "place_at": NOW}, "alert_place_check"),
    ("alert", {"place": "0 s"}, "alert_place_has_time"),
    ("alert", {"place_at": NOW}, "alert_place_has_time"),
    (
        "alert",
        {
            "status": "acknowledged",
            "acknowledged_at": NOW,
            "acknowledged_until": LATER,
            "due_at": None,
        },
        "alert_acknowledged_until_is_due",
    ),
    ("alert", {"acknowledged_until": LATER}, "alert_acknowledged_until_is_taken"),
    ("alert", {"acknowledged_by_id": 1}, "alert_acknowledged_by_has_name"),
    (
        "alert",
        {"acknowledged_by": "Olga", "acknowledged_by_id": 2},
        "alert_tenant_id_acknowledged_by_id_fkey",
    ),
    ("alert", {"acknowledgement_told": False}, "alert_acknowledgement_to_tell"),
    ("alert", {"resolved_by": "Anna"}, "alert_resolved_by_is_resolved"),
    ("notification", {"effect": "shout"}, "notification_effect_check"),
    ("notification", {"hostname": ""}, "notification_hostname_check"),
    (
        "notification",
        {"tenant_id": 3, "server_id": None, "alert_id": None, "person_id": None},
        "notification_tenant_id_fkey",
    ),
    ("notification", {"server_id": 2}, "notification_tenant_id_server_id_fkey"),
    ("notification", {"alert_id": 2}, "notification_tenant_id_alert_id_fkey"),
    ("notification", {"person_id": 2}, "notification_tenant_id_person_id_fkey"),
    ("announcement", {"notification_id": 2}, "announcement_tenant_id_notification_id_fkey"),
    ("idempotency", {"key_digest": DIGEST}, "idempotency_pkey"),
    ("idempotency", {"key_digest": b"the key itself"}, "idempotency_key_digest_check"),
    ("idempotency", {"content_digest": b"text"}, "idempotency_content_digest_check"),
    ("idempotency", {"server_id": 3}, "idempotency_server_id_fkey"),
    ("idempotency", {"notification_id": 3}, "idempotency_notification_id_fkey"),
    ("code", {"code": "kwt"}, "code_code_check"),
    ("code", {"code": "KW"}, "code_code_check"),
    ("code", {"code": "KW7"}, "code_code_check"),
    ("code", {"code": "KWT"}, "code_pkey"),
    ("code", {"tenant_id": 1, "alert_id": 1}, "code_alert_id_key"),
    ("code", {"tenant_id": 1}, "code_tenant_id_alert_id_fkey"),
    ("code", {"message_id": 3}, "code_stands_for_one"),
    ("code", {"alert_id": None}, "code_stands_for_one"),
    ("code", {"alert_id": None, "message_id": 2}, "code_message_id_key"),
    ("code", {"alert_id": None, "message_id": 1}, "code_tenant_id_message_id_fkey"),
    ("reply", {"provider_id": "7"}, "reply_sender_provider_id_key"),
    ("reply", {"tenant_id": 3}, "reply_tenant_id_fkey"),
    ("reply", {"verdict": None}, "reply_check"),
    ("reply", {"due_at": NOW}, "reply_check"),
    (
        "reply",
        {"verdict": None, "due_at": NOW, "acknowledges": True},
        "reply_acknowledges_by_verdict",
    ),
    ("message", {"kind": "gossip"}, "message_kind_check"),
    ("message", {"status": "lost", "due_at": None}, "message_status_check"),
    ("message", {"due_at": None}, "message_check"),
    ("message", {"status": "sending", "due_at": None}, "message_check"),
    ("message", {"status": "sent"}, "message_check"),
    ("message", {"status": "failed"}, "message_check"),
    ("message", {"alert_id": None}, "message_check1"),
    ("message", {"kind": "recovery", "alert_id": None}, "message_check1"),
    ("message", {"kind": "announcement", "notification_id": None}, "message_check2"),
    ("message", {"kind": "confirmation"}, "message_check3"),
    ("message", {"kind": "confirmation", "reply_id": 2}, "message_reply_id_fkey"),
    ("message", {"alert_id": 2}, "message_tenant_id_alert_id_fkey"),
    ("message", {"notification_id": 2}, "message_tenant_id_notification_id_fkey"),
    ("message", {"person_id": 2}, "message_tenant_id_person_id_fkey"),
    ("message", {"contact_id": 2}, "message_tenant_id_contact_id_fkey"),
    ("message", {"segments": 0}, "message_segments_check"),
    ("message", {"kind": "flapping", "alert_id": None}, "message_flapping_has_alert"),
    ("message", {"text": None}, "message_queued_has_words"),
    ("message", {"released_at": None}, "message_released_unless_held"),
    (
        "message",
        {"status": "delivered", "released_at": None, "due_at": None},
        "message_released_unless_held",
    ),
    ("message", {**HELD, "released_at": NOW}, "message_released_holds_no_more"),
    ("message", {**MERGED, "hold_until": None, "released_at": NOW}, "message_released_unless_held"),
    ("message", {"hold_until": LATER}, "message_released_holds_no_more"),
    (
        "message",
        {"status": "cancelled", "hold_until": LATER, "due_at": None},
        "message_released_holds_no_more",
    ),
    ("message", {**HELD, "due_at": NOW}, "message_check"),
    ("message", {**HELD, "hold_until": None}, "message_held_for_contact"),
    ("message", {**HELD, "contact_id": None}, "message_held_for_contact"),
    ("message", {**HELD, "kind": "test"}, "message_held_is_paced"),
    ("message", {**HELD, "kind": "confirmation", "reply_id": 1}, "message_held_is_paced"),
    ("message", {**MERGED, **DIGESTED}, "message_held_is_paced"),
    ("message", {**DIGESTED, "alert_id": 1}, "message_digest_is_about_others"),
    ("message", {**DIGESTED, "notification_id": 1}, "message_digest_is_about_others"),
    ("message", {**DIGESTED, "reply_id": 1}, "message_digest_is_about_others"),
    ("message", {**MERGED, "digest_id": None}, "message_merged_has_digest"),
    ("message", {"digest_id": 2}, "message_merged_has_digest"),
    ("message", {**HELD, "digest_id": 2}, "message_merged_has_digest"),
    ("message", {**MERGED, "digest_id": 3, "contact_id": None}, "message_tenant_id_digest_id_fkey"),
    (
        "message",
        {
            "tenant_id": 3,
            "kind": "test",
            "alert_id": None,
            "notification_id": None,
            "person_id": None,
            "contact_id": None,
        },
        "message_tenant_id_fkey",
    ),
    ("attempt", {"number": 0}, "attempt_number_check"),
    ("attempt", {"number": 1}, "attempt_message_id_number_key"),
    ("attempt", {"reference": "r1"}, "attempt_reference_key"),
    ("attempt", {"tenant_id": 2}, "attempt_tenant_id_message_id_fkey"),
    ("attempt", {"outcome": "perhaps", "settled_at": NOW}, "attempt_outcome_check"),
    ("attempt", {"outcome": "accepted"}, "attempt_check"),
    ("attempt", {"settled_at": NOW}, "attempt_check"),
    ("attempt", {"progress": "read"}, "attempt_progress_check"),
    (
        "attempt",
        {"outcome": "rejected", "settled_at": NOW, "progress": "delivered"},
        "attempt_check1",
    ),
    (
        "attempt",
        {"outcome": "unknown", "settled_at": NOW, "progress": "failed"},
        "attempt_check1",
    ),
    ("receipt", {"progress": "read"}, "receipt_progress_check"),
    ("receipt", {"provider_id": None}, "receipt_check"),
    ("canary", {"sender": "nobody's"}, "canary_sender_fkey"),
    ("canary", {"reference": "a"}, "canary_reference_key"),
    ("canary", {"failed": ""}, "canary_failed_check"),
    ("canary", {"back_at": NOW - timedelta(seconds=1)}, "canary_back_after_it_was_sent"),
    ("sender", {"name": ""}, "sender_name_check"),
    ("sender", {"why": None}, "sender_sick_has_reason"),
    ("sender", {"probe_at": None}, "sender_sick_is_probed"),
    ("sender", {"sick_since": None, "why": None}, "sender_sick_is_probed"),
]


@pytest.fixture(scope="module")
def connection() -> Iterator[Any]:
    """To a database with `WORLD` in it; whatever a test does there is rolled back."""
    url = fresh_database(migrated)
    made = psycopg2.connect(url)
    for table, row in WORLD:
        insert(made, table, row)
    made.commit()
    for table in {table for table, row in WORLD if "id" in row}:
        made.cursor().execute(f"ALTER TABLE {table} ALTER COLUMN id RESTART WITH 100")
    made.commit()
    yield made
    made.close()
    drop_database(url)


@pytest.fixture(autouse=True)
def rolled_back(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "connection" in request.fixturenames:
        request.getfixturevalue("connection").rollback()


def insert(connection: Any, table: str, row: Row) -> None:
    columns = ", ".join(row)
    values = ", ".join(f"%({name})s" for name in row)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})", row)


def query(connection: Any, statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


@pytest.mark.parametrize("table", GOOD)
def test_a_row_as_it_should_be_is_taken(connection: Any, table: str) -> None:
    insert(connection, table, GOOD[table])


@pytest.mark.parametrize("changes", [HELD, MERGED, DIGESTED], ids=["held", "merged", "digest"])
def test_a_message_may_wait_be_told_with_others_and_tell_them(
    connection: Any, changes: Row
) -> None:
    insert(connection, "message", {**GOOD["message"], **changes})


@pytest.mark.parametrize(
    ("table", "changes", "constraint"),
    IMPOSSIBLE,
    ids=[f"{table}: {', '.join(changes)}: {name}" for table, changes, name in IMPOSSIBLE],
)
def test_a_wrong_state_is_impossible(
    connection: Any, table: str, changes: Row, constraint: str
) -> None:
    with pytest.raises(psycopg2.IntegrityError) as raised:
        insert(connection, table, {**GOOD[table], **changes})
        # Some are checked only when a transaction ends.
        connection.cursor().execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert raised.value.diag.constraint_name == constraint


def test_there_is_a_wrong_state_for_every_constraint(connection: Any) -> None:
    """So that a constraint that is added comes with what it is there for."""
    rows = query(
        connection,
        """
        SELECT conname FROM pg_constraint
         WHERE contype IN ('c', 'u', 'f', 'x', 't') AND conislocal
           AND connamespace = 'public'::regnamespace
           -- These only let others refer to a row together with its tenant.
           AND pg_get_constraintdef(oid) <> 'UNIQUE (tenant_id, id)'
         UNION ALL
        SELECT indexrelid::regclass::text FROM pg_index
          JOIN pg_class ON pg_class.oid = indexrelid
         WHERE indisunique AND relnamespace = 'public'::regnamespace
           AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)
        """,
    )
    tried = {constraint for _, _, constraint in IMPOSSIBLE}
    # These have tests of their own: here, and a layer without anybody among those of rotas.
    tried |= {"installation_single_check", "installation_told_of_something", "somebody"}
    assert {name for (name,) in rows} - tried == set()


def test_every_row_has_a_tenant_but_what_cannot_be_placed_yet(connection: Any) -> None:
    rows = query(
        connection,
        """
        SELECT relname, attnotnull FROM pg_class
          LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id'
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
           AND NOT relispartition
        """,
    )
    free = {table for table, required in rows if not required}
    cannot_be_placed = {"reply", "receipt", "history"}
    assert free == {"tenant", "migration", "installation", "sender", "canary"} | cannot_be_placed


def test_there_is_one_installation(connection: Any) -> None:
    for single in (True, False):
        with pytest.raises(psycopg2.IntegrityError):
            insert(connection, "installation", {"single": single})
        connection.rollback()
    assert query(connection, "SELECT single FROM installation") == [(True,)]


def test_nobody_is_told_of_an_outage_before_it_began(connection: Any) -> None:
    with connection.cursor() as cursor, pytest.raises(psycopg2.IntegrityError) as caught:
        cursor.execute(
            "UPDATE installation SET undelivered_since = now(),"
            "                        undelivered_told_at = now() - interval '1 s'"
        )
    assert caught.value.diag.constraint_name == "installation_told_of_something"


def test_a_notification_never_changes(connection: Any) -> None:
    with connection.cursor() as cursor, pytest.raises(psycopg2.Error, match="never change"):
        cursor.execute("UPDATE notification SET output = 'something else'")


def test_a_resolved_alert_makes_room_for_another_of_the_same_subject(connection: Any) -> None:
    resolved = {"subject": digest(1), "status": "resolved", "resolved_at": NOW, "due_at": None}
    insert(connection, "alert", {**GOOD["alert"], **resolved})
    insert(connection, "alert", {**GOOD["alert"], **resolved})


def test_one_shift_may_begin_where_the_last_one_ends_and_other_schedules_do_not_matter(
    connection: Any,
) -> None:
    insert(connection, "shift", {**GOOD["shift"], "during": DateTimeTZRange(LATER, None)})
    elsewhere = {"tenant_id": 2, "schedule_id": 2, "person_id": 2}
    during = {"during": DateTimeTZRange(NOW, LATER)}
    insert(connection, "shift", {**GOOD["shift"], **elsewhere, **during})


@pytest.mark.parametrize("years", [-30, 30])
@pytest.mark.parametrize(
    ("table", "column"),
    [("heartbeat", "received_at"), ("receipt", "received_at"), ("history", "at")],
)
def test_what_no_partition_was_made_for_is_still_taken(
    connection: Any, table: str, column: str, years: int
) -> None:
    when = NOW + timedelta(days=365 * years)
    insert(connection, table, {**GOOD[table], column: when})
    assert query(connection, f"SELECT {column} FROM {table}_default") == [(when,)]


def test_partitions_are_made_once_a_week_each_and_without_gaps(connection: Any) -> None:
    """The migration has made those of 30 days; half a year has 26 weeks more or less."""
    assert query(connection, "SELECT make_partitions('heartbeat', '30 days')") == [(0,)]
    ((made,),) = query(connection, "SELECT make_partitions('heartbeat', '210 days')")
    assert 25 <= made <= 26
    rows = query(
        connection,
        """
        SELECT substring(bounds from 'FROM \\(''([^'']+)'),
               substring(bounds from 'TO \\(''([^'']+)')
          FROM (SELECT pg_get_expr(relpartbound, oid) AS bounds FROM pg_class
                 WHERE relname ~ '^heartbeat_[0-9]{8}$') AS partition ORDER BY 1
        """,
    )
    begins, ends = zip(*rows, strict=True)
    assert begins[1:] == ends[:-1]


# ------------------------------------------------------------------ what was there before


@pytest_twisted.ensureDeferred
async def test_a_message_that_waited_for_its_words_is_held_and_gets_them_at_once(
    empty: Database,
) -> None:
    """The versions before found the words at the first attempt, and now nobody would."""
    *before, escalation = schema.migrations()[:3]
    await schema.migrate(empty, tuple(before))
    await empty.statement("""
        INSERT INTO tenant (id, name, timezone) VALUES (1, 'acme', 'UTC');
        INSERT INTO person (id, tenant_id, name) VALUES (1, 1, 'Anna');
        INSERT INTO contact (id, tenant_id, person_id, method, address, position) VALUES
            (1, 1, 1, 'sms', '+64211234567', 1), (2, 1, 1, 'sms', '+64217654321', 2);
        INSERT INTO alert (id, tenant_id, subject, hostname, state, status, opened_at, due_at,
                           last_notification_id)
            VALUES (1, 1, sha256('db1'), 'db1', 'DOWN', 'triggered', now(), now(), 1);
        INSERT INTO message (tenant_id, kind, alert_id, person_id, contact_id, method, address,
                             text, status, created_at, expires_at, due_at)
            SELECT 1, 'page', 1, 1, contact.id, method, address, text, status, now(), now(), due_at
              FROM (VALUES (1, NULL, 'queued', now()), (2, 'DOWN db1', 'queued', now()),
                           (2, NULL, 'failed', NULL)) AS given(contact_id, text, status, due_at)
              JOIN contact ON contact.id = given.contact_id ORDER BY contact.id, text
    """)
    assert await schema.migrate(empty, (*before, escalation)) == (escalation,)
    assert await empty.statement(
        "SELECT status, hold_until <= now(), released_at = created_at, due_at IS NULL"
        "  FROM message ORDER BY id"
    ) == [("held", True, None, True), ("queued", None, True, False), ("failed", None, True, True)]
    assert await empty.statement("SELECT id FROM contact WHERE due_at <= now()") == [(1,)]
