"""An installation in the middle of its work, with a row in every table that its schema has."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.world import ANNA, BOB, World

# Where a schema has the table, a row that the story itself does not bring about.
_MORE = {
    "layer": """
        INSERT INTO layer (tenant_id, schedule_id, position, name, every, unit, first_on, hand_over)
        SELECT tenant_id, id, 1, 'weeks', 1, 'weeks', '2026-11-16', '09:00' FROM schedule LIMIT 1;
        INSERT INTO participant (layer_id, position, tenant_id, person_id)
        SELECT layer.id, 1, layer.tenant_id, person.id FROM layer, person WHERE person.name = 'Bob'
    """,
    "calendar": """
        INSERT INTO calendar (tenant_id, person_id, token_digest)
        SELECT tenant_id, id, sha256('calendar') FROM person WHERE name = 'Anna'
    """,
    "policy": """
        INSERT INTO policy (tenant_id, acknowledged_for) SELECT id, interval '6 hours' FROM tenant;
        INSERT INTO step (tenant_id, position, after, again, whom, schedule)
        SELECT id, 1, interval '0', interval '10 minutes', 'on call', 'primary' FROM tenant
    """,
    "token": """
        INSERT INTO token (tenant_id, person_id, name, digest, scope, expires_at)
        SELECT tenant_id, id, 'laptop', sha256('token'), 'act', hotpotato_now() + interval '90 days'
          FROM person WHERE name = 'Anna'
    """,
    "silence": """
        INSERT INTO silence (tenant_id, host, during, author, reason)
        SELECT id, 'rack7*', tstzrange(hotpotato_now(), hotpotato_now() + interval '1 day'), 'Bob',
               'moving racks'
          FROM tenant
    """,
    "sender": """
        INSERT INTO sender (name, sick_since, why, probe_at)
        VALUES ('before', hotpotato_now(), 'no receipts', hotpotato_now())
    """,
    "canary": """
        INSERT INTO canary (sender, reference, address, sent_at)
        VALUES ('before', 'tweet', '+64215550000', hotpotato_now())
    """,
}


async def play(world: World) -> None:
    """Let it come so far: and then the daemon dies.

    One alert is over, one is acknowledged, one is open and Anna was paged for it, and of one she
    was not, since the gateway is down.
    """
    for table, rows in _MORE.items():
        if world.sql("SELECT to_regclass(%s)", table) != [(None,)]:
            world.sql(rows)
    await world.heartbeat()
    await world.notify(hostname="over", idempotency="over")
    await world.settle()
    await world.notify("OK", hostname="over", idempotency="its end")
    await world.advance(120)
    await world.notify(hostname="taken")
    await world.settle()
    await world.reply(ANNA, f"ack {world.code(ANNA)}")
    await world.reply(BOB, "what is going on?")
    await world.advance(120)
    await world.notify("UP", hostname="office", service_name=None, event="CUSTOM", output="hello")
    await world.settle()
    await world.advance(120)
    await world.notify(hostname="open", output="100 % full; it's \\ urgent")
    await world.settle()
    world.gateway.misbehave("503")
    await world.advance(60)
    await world.heartbeat()
    await world.notify(hostname="unsent")
    await world.settle()
    await world.crash()


def dump(world: World, pg_dump: Path, file: Path) -> None:
    """Write all rows, in a form in which they fit the same schema in any database."""
    options = ["--data-only", "--column-inserts", "--load-via-partition-root", "--no-owner"]
    excluded = ["--exclude-table=test_clock", "--exclude-table-data=migration"]
    dumped = subprocess.run(
        [pg_dump, *options, *excluded, world.database_url],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [f"-- now: {world.now.isoformat()}", f"-- key: {world.key}"]
    # A text may have line breaks, so all lines but what is known to be none of an INSERT.
    noise = "--", "SET ", "SELECT pg_catalog.set_config(", "\\"
    lines += [line for line in dumped.stdout.splitlines() if line and not line.startswith(noise)]
    assert any(line.startswith("INSERT INTO ") for line in lines)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
