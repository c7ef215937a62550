"""What is over is forgotten after a time, and what is not, or is still needed, never is."""

from __future__ import annotations

from time import monotonic

import psycopg2
import pytest_twisted
from twisted.logger import LogEvent

from hotpotato.duties.upkeep import AT_ONCE
from hotpotato.store import upkeep
from tests.world import ANNA, World

DAY = 86_400

SWEPT = {
    "alert",
    "announcement",
    "attempt",
    "calendar",
    "code",
    "heartbeat",
    "history",
    "idempotency",
    "message",
    "notification",
    "override",
    "receipt",
    "reply",
    "shift",
    "silence",
    "token",
}
"""What grows by itself, or nearly."""

BY_HAND = {
    "contact",
    "installation",
    "layer",
    "migration",
    "participant",
    "person",
    "policy",
    "schedule",
    "sender",
    "server",
    "step",
    "tenant",
    "test_clock",
}
"""What there is as much of as people have made, or as was configured."""

ELSEWHERE = {"canary"}
"""What is forgotten when the next is written down."""


def counts(world: World, *tables: str) -> dict[str, int]:
    """How many rows there are."""
    return {
        table: world.sql(f"SELECT count(*) FROM {table}")[0][0] for table in tables or sorted(SWEPT)
    }


async def page(world: World, kind: upkeep.Kind, most: int = AT_ONCE) -> upkeep.Swept:
    """Sweep the first page of a kind, of what is older than 400 days."""
    swept = await world.store(lambda tx: upkeep.sweep(tx, kind, 400, 0, most))
    assert isinstance(swept, upkeep.Swept)
    return swept


async def rounds(world: World, hours: int = 4) -> None:
    """Let upkeep take some rounds, of several turns each."""
    for _ in range(hours):
        await world.advance(3600, step=3600)
        await world.advance(3, step=1)


async def past(world: World) -> None:
    """Something of every kind, all of it over: pages, a digest, replies, an announcement."""
    world.sql("UPDATE tenant SET cover_due_at = '2100-01-01'")
    await world.policy(pace_burst=1, pace_every=30.0)
    for host in ("db1", "db2", "db3"):
        await world.notify(hostname=host, idempotency=host)
    await world.advance(40)
    await world.reply(ANNA, f"ack {world.code(ANNA)}")
    await world.reply(ANNA, "what is this?")
    await world.notify("UP", hostname="office", service_name=None, event="CUSTOM")
    await world.advance(40)
    for host in ("db1", "db2", "db3"):
        await world.notify("OK", hostname=host)
    await world.advance(120)
    await world.put_on_call("Bob")
    await world.end_silence(await world.silence("nothing*", 3600))
    await world.silence("later*", 3600)
    world.sql(
        "INSERT INTO token (tenant_id, person_id, name, digest, scope, expires_at)"
        " SELECT tenant_id, id, 'laptop', sha256('x'), 'read', hotpotato_now() + interval '1 day'"
        "   FROM person WHERE name = 'Anna'"
    )
    world.sql(
        "INSERT INTO calendar (tenant_id, person_id, token_digest, revoked_at)"
        " SELECT tenant_id, id, sha256('x'), hotpotato_now() FROM person WHERE name = 'Anna'"
    )
    world.sql("INSERT INTO history (at, kind, sentence) VALUES ('2020-01-01', 'test', 'very old')")
    await world.heartbeat()
    world.sql("UPDATE server SET last_heartbeat_at = NULL, silent_after = NULL")


@pytest_twisted.ensureDeferred
async def test_somebody_has_decided_of_every_table_for_how_long_its_rows_are_kept(
    world: World,
) -> None:
    """A new one: sweep it in store.upkeep, or say that its rows are made by hand."""
    tables = world.sql(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        "   AND relnamespace = 'public'::regnamespace"
    )
    assert {name for (name,) in tables} == SWEPT | BY_HAND | ELSEWHERE


@pytest_twisted.ensureDeferred
async def test_what_is_over_is_kept_for_400_days_and_then_nothing_of_it_is_left(
    world: World,
) -> None:
    await past(world)
    before = counts(world)
    assert all(before.values()), before
    await world.advance(398 * DAY, step=398 * DAY)
    await rounds(world)
    now = counts(world)
    short = {"code", "idempotency", "heartbeat", "token", "calendar"}
    assert {table for table, count in now.items() if not count} == short
    lasting = SWEPT - short - {"history"}
    assert counts(world, *lasting) == {table: before[table] for table in lasting}
    assert "very old" not in world.story()

    await world.advance(10 * DAY, step=10 * DAY)
    await rounds(world)
    left = counts(world)
    # Bob has the pager until it is changed.
    assert {table: count for table, count in left.items() if count} == {"shift": 1, "override": 1}
    weeks = world.sql("SELECT min(relname) FROM pg_class WHERE relname ~ '^history_[0-9]{8}$'")
    assert weeks == [("history_20261130",)]


@pytest_twisted.ensureDeferred
async def test_what_is_open_is_never_forgotten_and_goes_on(world: World) -> None:
    """Acknowledged for ever, for two years; with what was said of it, and to whom."""
    await world.notify()
    await world.settle()
    world.sql(
        "UPDATE alert SET status = 'acknowledged', acknowledged_at = hotpotato_now(),"
        "                 acknowledged_by = 'Anna', due_at = NULL"
    )
    kept = ("alert", "notification", "message", "attempt", "code")
    before = counts(world, *kept)
    assert all(before.values())
    await world.advance(800 * DAY, step=800 * DAY)
    await rounds(world)
    assert counts(world, *kept) == before
    assert world.code(ANNA) == world.sql("SELECT code FROM code")[0][0]
    await world.notify("OK")
    await world.settle()
    assert world.texts(ANNA)[-1].startswith("OK db1")
    # And from then on it has its time.
    await world.advance(300 * DAY, step=300 * DAY)
    await rounds(world)
    assert counts(world, "alert", "notification") == {"alert": 1, "notification": 2}
    await world.advance(110 * DAY, step=110 * DAY)
    await rounds(world)
    assert set(counts(world, *kept).values()) == {0}


@pytest_twisted.ensureDeferred
async def test_what_is_still_to_be_sent_or_told_is_not_forgotten_for_its_age(world: World) -> None:
    """No daemon ran for two years. What was to be done then is done now."""
    await world.stop_daemon()
    world.sql(
        "INSERT INTO notification (tenant_id, received_at, effect, is_service, state, hostname,"
        "                          late)"
        " VALUES (%s, hotpotato_now(), 'announce', false, 'UP', 'office', false)",
        world.tenant_id,
    )
    world.sql(
        "INSERT INTO announcement (notification_id, tenant_id, due_at)"
        " SELECT id, tenant_id, received_at FROM notification"
    )
    world.sql(
        "INSERT INTO reply (sender, provider_id, source, address, content, received_at, due_at)"
        " VALUES ('modica', '1', '64211234567', %s, 'help', hotpotato_now(), hotpotato_now())",
        ANNA,
    )
    world.sql("UPDATE test_clock SET now = now + interval '800 days'")
    for kind in upkeep.KINDS:
        assert (await page(world, kind)).forgotten == 0
    await world.start_daemon()
    await world.settle()
    assert any("office" in text for text in world.texts(ANNA))
    assert world.sql("SELECT verdict IS NOT NULL FROM reply") == [(True,)]


OLD_ALERTS = """
INSERT INTO alert (tenant_id, server_id, subject, hostname, state, status, opened_at, resolved_at,
                   last_notification_id)
SELECT tenant_id, id, sha256(number::text::bytea), 'old' || number, 'OK', 'resolved', old, old, 0
  FROM server, generate_series(1, %s) AS number,
       LATERAL (SELECT hotpotato_now() - interval '500 days' AS old) AS time;
INSERT INTO notification (tenant_id, server_id, alert_id, received_at, effect, is_service, state,
                          hostname, late)
SELECT tenant_id, server_id, id, opened_at, 'open', false, 'DOWN', hostname, false FROM alert;
INSERT INTO message (tenant_id, kind, alert_id, notification_id, person_id, contact_id, method,
                     address, text, status, created_at, expires_at, released_at)
SELECT notification.tenant_id, 'page', alert_id, notification.id, contact.person_id, contact.id,
       method, address, 'DOWN', 'delivered', received_at, received_at, received_at
  FROM notification, contact JOIN person ON person.id = contact.person_id
 WHERE person.name = 'Bob';
INSERT INTO attempt (tenant_id, message_id, number, sender, reference, provider_id, outcome,
                     progress, started_at, settled_at)
SELECT tenant_id, id, 1, 'modica', 'old-' || id, 'old-' || id, 'accepted', 'delivered',
       created_at, created_at
  FROM message
"""


@pytest_twisted.ensureDeferred
async def test_a_page_is_bounded_and_the_oldest_go_first(world: World) -> None:
    await world.stop_daemon()
    world.sql(OLD_ALERTS, 250)
    messages, notifications, alerts = upkeep.KINDS[:3]
    first = await page(world, messages, 100)
    assert first.forgotten == 100
    assert world.sql("SELECT count(*), min(id) FROM message") == [(150, first.next + 1)]
    assert counts(world, "attempt") == {"attempt": 150}
    # What messages are about waits for them.
    assert (await page(world, notifications, 250)).forgotten == 100
    assert (await page(world, alerts, 250)).forgotten == 100
    assert await page(world, messages, 200) == upkeep.Swept(150, 0)


@pytest_twisted.ensureDeferred
async def test_much_is_forgotten_a_page_at_a_time_with_pauses(world: World) -> None:
    await world.settle()
    world.sql(OLD_ALERTS, 3 * AT_ONCE // 2)
    await world.advance(3600, step=3600)
    assert counts(world, "message") == {"message": AT_ONCE // 2}
    await world.advance(1.5, step=1.5)
    assert counts(world, "message") == {"message": 0}
    await rounds(world, 2)
    assert counts(world, "message", "attempt", "notification", "alert") == dict.fromkeys(
        ("message", "attempt", "notification", "alert"), 0
    )


@pytest_twisted.ensureDeferred
async def test_notifications_are_taken_while_much_is_being_forgotten(world: World) -> None:
    """The transaction that forgets stays open, with everything that it has locked."""
    await world.settle()
    world.sql(OLD_ALERTS, AT_ONCE)
    before = "hotpotato_now() - interval '400 days'"
    forgetting = psycopg2.connect(world.database_url)
    try:
        cursor = forgetting.cursor()
        for kind in upkeep.KINDS:
            cursor.execute(kind.sql.replace("%(before)s", before), {"after": 0, "most": AT_ONCE})
        await world.notify(hostname="meanwhile", idempotency="one")
        await world.heartbeat()
        await world.settle()
        assert any("meanwhile" in text for text in world.texts(ANNA))
        await world.reply(ANNA, f"ack {world.code(ANNA)}")
        assert world.alert() == ("acknowledged", "Anna")
    finally:
        forgetting.close()


@pytest_twisted.ensureDeferred
async def test_of_two_daemons_one_forgets_at_a_time(world: World) -> None:
    await world.stop_daemon()
    world.sql(OLD_ALERTS, 10)
    other = psycopg2.connect(world.database_url)
    try:
        other.cursor().execute("SELECT pg_advisory_xact_lock(%s)", [upkeep._LOCK])
        assert await world.store(lambda tx: upkeep.sweep(tx, upkeep.KINDS[0], 400, 0, 10)) is None
    finally:
        other.close()
    assert (await page(world, upkeep.KINDS[0])).forgotten == 10


@pytest_twisted.ensureDeferred
async def test_a_backup_keeps_old_partitions_and_nobody_waits_for_it(
    world: World, logged: list[LogEvent]
) -> None:
    """pg_dump reads every table for as long as it takes, and a DROP would queue up behind it."""
    await world.settle()
    await world.advance(500 * DAY, step=500 * DAY)
    old = "SELECT count(*) FROM pg_class WHERE relname = 'heartbeat_20270111'"
    world.sql(
        "CREATE TABLE heartbeat_20270111 PARTITION OF heartbeat"
        " FOR VALUES FROM ('2027-01-11 00:00Z') TO ('2027-01-18 00:00Z')"
    )
    backup = psycopg2.connect(world.database_url)
    try:
        backup.cursor().execute("SELECT count(*) FROM heartbeat")
        began = monotonic()
        await world.advance(3600, step=3600)
        await world.heartbeat()
        assert monotonic() - began < 2.0
    finally:
        backup.close()
    assert any("partitions are left" in str(event.get("log_format")) for event in logged)
    assert world.sql(old) == [(1,)]
    await rounds(world, 5)
    assert world.sql(old) == [(0,)]
