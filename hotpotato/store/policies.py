"""Policies as they are stored; what a tenant has not said is as shipped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hotpotato.store import queue, silences
from hotpotato.store.database import Transaction

# `rules` and `store` don't know each other: whoever asks makes a `rules.policy.Policy` of it.


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step; times in seconds. `whom` is 'on call', 'person' or 'everyone'."""

    after: float
    again: float | None
    whom: str
    schedule: str | None
    person: int | None
    all_contacts: bool


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's policy: None for what is as shipped, no steps for the shipped ones.

    Times are seconds; `digest_at` is "HH:MM:SS" by the tenant's clocks, `calm` as the schema says.
    """

    acknowledged_for: float | None = None
    undelivered_after: float | None = None
    pace_burst: int | None = None
    pace_every: float | None = None
    pace_hourly: int | None = None
    flapping_changes: int | None = None
    flapping_within: float | None = None
    digest_at: str | None = None
    calm: tuple[dict[str, Any], ...] = ()
    steps: tuple[Step, ...] = ()


async def of(transaction: Transaction, tenants: Sequence[int]) -> dict[int, Stored]:
    """The policies of these tenants; those that have said nothing are not in it."""
    rows = await transaction.rows(
        """
        SELECT tenant_id, extract(epoch FROM acknowledged_for)::float,
               extract(epoch FROM undelivered_after)::float, pace_burst,
               extract(epoch FROM pace_every)::float, pace_hourly, flapping_changes,
               extract(epoch FROM flapping_within)::float, digest_at::text, calm,
               (SELECT json_agg(json_build_array(
                           extract(epoch FROM after)::float, extract(epoch FROM again)::float, whom,
                           schedule, person_id, all_contacts) ORDER BY position)
                  FROM step WHERE step.tenant_id = policy.tenant_id)
          FROM policy WHERE tenant_id = ANY(%s)
        """,
        [list(tenants)],
    )
    return {
        row[0]: Stored(
            **dict(zip(Stored.__struct_fields__[:8], row[1:9], strict=True)),
            calm=tuple(row[9]),
            steps=tuple(
                # Seconds come out of JSON as whole numbers where they are.
                msgspec.convert(dict(zip(Step.__struct_fields__, step, strict=True)), Step)
                for step in row[10] or ()
            ),
        )
        for row in rows
    }


async def write(transaction: Transaction, tenant_id: int, wanted: Stored | None) -> None:
    """Give a tenant this policy; None: as shipped.

    Alerts that are open go on from their place on the new line, and are looked at now: their next
    turn may be over already. So is what is held: by the new pace it may go sooner.
    """
    await silences.look_again(transaction, tenant_id)
    await queue.look_again(transaction, tenant_id)
    await transaction.execute("DELETE FROM step WHERE tenant_id = %s", [tenant_id])
    await transaction.execute("DELETE FROM policy WHERE tenant_id = %s", [tenant_id])
    if wanted is None:
        return
    await transaction.execute(
        """
        INSERT INTO policy (tenant_id, acknowledged_for, undelivered_after, pace_burst, pace_every,
                            pace_hourly, flapping_changes, flapping_within, digest_at, calm)
        VALUES (%(tenant_id)s, make_interval(secs => %(acknowledged_for)s),
                make_interval(secs => %(undelivered_after)s), %(pace_burst)s,
                make_interval(secs => %(pace_every)s), %(pace_hourly)s, %(flapping_changes)s,
                make_interval(secs => %(flapping_within)s), %(digest_at)s::time, %(calm)s::jsonb)
        """,
        {
            "tenant_id": tenant_id,
            **{
                name: getattr(wanted, name)
                for name in Stored.__struct_fields__
                if name not in ("calm", "steps")
            },
            "calm": msgspec.json.encode(wanted.calm).decode(),
        },
    )
    await transaction.execute(
        """
        INSERT INTO step (tenant_id, position, after, again, whom, schedule, person_id,
                          all_contacts)
        SELECT %(tenant_id)s, number, make_interval(secs => after), make_interval(secs => again),
               whom, schedule, person, all_contacts
          FROM ROWS FROM (json_to_recordset(%(steps)s) AS (
                   after float, again float, whom text, schedule text, person bigint,
                   all_contacts boolean)) WITH ORDINALITY
                   AS step(after, again, whom, schedule, person, all_contacts, number)
        """,
        {"tenant_id": tenant_id, "steps": msgspec.json.encode(wanted.steps).decode()},
    )
