"""Schedules: their layers and overrides, and the shifts that come of them.

Who is on call when is decided elsewhere; here it is read and written. Every time is aware. What is
past of a shift is a record: nothing here changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any, TypeVar

import msgspec

from hotpotato.store.database import Database, Transaction

S = TypeVar("S", bound=msgspec.Struct)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule that is in use. `timezone` is its own or the tenant's, `own_timezone` its own."""

    id: int
    tenant_id: int
    tenant: str
    name: str
    timezone: str
    own_timezone: str | None


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One rotation; dates and times are on the wall, in the schedule's time zone.

    `participants` are persons by id. `windows` are JSON objects: see the table.
    """

    name: str
    participants: tuple[int, ...]
    every: int
    unit: str
    first_on: date
    hand_over: time
    begins_on: date | None = None
    ends_on: date | None = None
    windows: Sequence[dict[str, Any]] = ()


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """One person instead of whoever the layers say. `until` None: until changed."""

    person_id: int
    since: datetime
    until: datetime | None
    source: str


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """An override as it is shown: whose, by whom, and when that was said."""

    id: int
    tenant: str
    schedule: str
    person: str
    since: datetime
    until: datetime | None
    source: str
    author: str
    created_at: datetime


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """One person on call, by what. `until` None: until changed."""

    person_id: int
    since: datetime
    until: datetime | None
    source: str


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A shift as it is shown."""

    tenant: str
    schedule: str
    person: str
    since: datetime
    until: datetime | None
    source: str
    written_at: datetime


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """All that a schedule's shifts come of, and those that are stored from `now` on.

    `layers` and `overrides` are in order: what comes later lies on top. `overrides` have not ended
    yet. `disabled` are those of the tenant's people who are not to be paged.
    """

    schedule: Schedule
    now: datetime
    layers: tuple[Layer, ...]
    overrides: tuple[Override, ...]
    disabled: frozenset[int]
    shifts: tuple[Shift, ...]


# --- schedules


async def find(
    transaction: Transaction,
    *,
    name: str | None = None,
    tenant: str | None = None,
    tenant_id: int | None = None,
) -> list[Schedule]:
    """The schedules in use, by tenant and name: all, or those of a name or a tenant."""
    rows = await transaction.rows(
        f"""
        {_SCHEDULES}
         WHERE schedule.removed_at IS NULL
           AND (%(name)s::text IS NULL OR schedule.name = %(name)s)
           AND (%(tenant)s::text IS NULL OR tenant.name = %(tenant)s)
           AND (%(tenant_id)s::bigint IS NULL OR tenant.id = %(tenant_id)s)
         ORDER BY tenant.name, schedule.name LIMIT 10000
        """,
        {"name": name, "tenant": tenant, "tenant_id": tenant_id},
    )
    return [_schedule(row) for row in rows]


async def add(
    transaction: Transaction, tenant_id: int, name: str, timezone: str | None
) -> int | None:
    """Add a schedule, or take one back into use that was removed; None if the name is taken."""
    rows = await transaction.rows(
        """
        INSERT INTO schedule AS known (tenant_id, name, timezone) VALUES (%s, %s, %s)
        ON CONFLICT (tenant_id, name) DO UPDATE
           SET timezone = excluded.timezone, removed_at = NULL, due_at = hotpotato_now()
         WHERE known.removed_at IS NOT NULL
        RETURNING id
        """,
        [tenant_id, name, timezone],
    )
    return rows[0][0] if rows else None


async def set_timezone(transaction: Transaction, schedule_id: int, timezone: str | None) -> None:
    """Change the schedule's own time zone; None: it is the tenant's."""
    await transaction.execute(
        "UPDATE schedule SET timezone = %s WHERE id = %s", [timezone, schedule_id]
    )


async def remove(transaction: Transaction, schedule_id: int) -> None:
    """Take a schedule out of use: it has no layers and no overrides then, and no shift from now on.

    The calendars of it are revoked. StatementRefused (23514) if it is the primary one.
    """
    await transaction.execute(
        "UPDATE schedule SET removed_at = hotpotato_now(), due_at = NULL WHERE id = %s",
        [schedule_id],
    )
    await transaction.execute("DELETE FROM layer WHERE schedule_id = %s", [schedule_id])
    await transaction.execute(
        "UPDATE calendar SET revoked_at = coalesce(revoked_at, hotpotato_now())"
        " WHERE schedule_id = %s",
        [schedule_id],
    )


async def set_layers(
    transaction: Transaction, tenant_id: int, schedule_id: int, layers: Sequence[Layer]
) -> None:
    """Make these the schedule's layers, the last on top."""
    await transaction.execute("DELETE FROM layer WHERE schedule_id = %s", [schedule_id])
    for position, layer in enumerate(layers, start=1):
        await transaction.execute(
            """
            WITH added AS (
                INSERT INTO layer (tenant_id, schedule_id, position, name, every, unit, first_on,
                                   hand_over, begins_on, ends_on, windows)
                VALUES (%(tenant_id)s, %(schedule_id)s, %(position)s, %(name)s, %(every)s, %(unit)s,
                        %(first_on)s, %(hand_over)s, %(begins_on)s, %(ends_on)s, %(windows)s)
                RETURNING id
            )
            INSERT INTO participant (layer_id, position, tenant_id, person_id)
            SELECT added.id, place, %(tenant_id)s, person_id
              FROM added, unnest(%(participants)s::bigint[])
                          WITH ORDINALITY AS participant(person_id, place)
            """,
            {
                **msgspec.structs.asdict(layer),
                "tenant_id": tenant_id,
                "schedule_id": schedule_id,
                "position": position,
                "windows": msgspec.json.encode(layer.windows).decode(),
                "participants": list(layer.participants),
            },
        )


async def layers(transaction: Transaction, schedule_id: int) -> tuple[Layer, ...]:
    """The schedule's layers, the last on top."""
    rows = await transaction.rows(
        """
        SELECT name, (SELECT array_agg(person_id ORDER BY participant.position)
                        FROM participant WHERE layer_id = layer.id),
               every, unit, first_on, hand_over, begins_on, ends_on, windows
          FROM layer WHERE schedule_id = %s ORDER BY position
        """,
        [schedule_id],
    )
    fields = Layer.__struct_fields__
    return tuple(
        Layer(**{**dict(zip(fields, row, strict=True)), "participants": tuple(row[1])})
        for row in rows
    )


# --- from definitions to shifts


async def next_due(transaction: Transaction) -> float | None:
    """Seconds until the next schedule's shifts are to be written, negative if some are now."""
    rows = await transaction.rows(
        "SELECT extract(epoch FROM min(due_at) - hotpotato_now())::float FROM schedule"
        " WHERE due_at IS NOT NULL"
    )
    seconds: float | None = rows[0][0]
    return seconds


async def claim(transaction: Transaction) -> int | None:
    """Lock the schedule that has been due for longest; None if none is, or others have them."""
    rows = await transaction.rows(
        """
        SELECT id FROM schedule WHERE due_at <= hotpotato_now()
         ORDER BY due_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
        """
    )
    return rows[0][0] if rows else None


async def postpone(transaction: Transaction, schedule_id: int, due_at: datetime) -> None:
    """Say when the schedule's shifts are to be written next."""
    await transaction.execute(
        "UPDATE schedule SET due_at = %s WHERE id = %s AND removed_at IS NULL",
        [due_at, schedule_id],
    )


async def put_off(transaction: Transaction, schedule_id: int, seconds: float) -> None:
    """Let a schedule's shifts wait if they are due, since they can't be written."""
    await transaction.execute(
        "UPDATE schedule SET due_at = hotpotato_now() + make_interval(secs => %s)"
        " WHERE id = %s AND due_at <= hotpotato_now()",
        [seconds, schedule_id],
    )


async def behind(database: Database, seconds: float) -> list[int]:
    """The schedules that have been due for so long that nobody seems to write them."""
    rows = await database.statement(
        """
        SELECT id FROM schedule WHERE due_at < hotpotato_now() - make_interval(secs => %s)
         ORDER BY id
        """,
        [seconds],
    )
    return [schedule_id for (schedule_id,) in rows]


async def hold(transaction: Transaction, schedule_ids: Sequence[int]) -> None:
    """Let nobody else change these schedules until the transaction ends.

    Whoever needs several takes them in one call, or the lowest id first.
    """
    await transaction.rows(
        "SELECT id FROM schedule WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
        [list(schedule_ids)],
    )


async def lock(transaction: Transaction, schedule_id: int) -> Definition:
    """All that the schedule's shifts come of; `hold` it in the meantime."""
    await hold(transaction, [schedule_id])
    (row,) = await transaction.rows(f"{_SCHEDULES} WHERE schedule.id = %s", [schedule_id])
    schedule = _schedule(row)
    # One now for all that is done: the clock goes on from statement to statement.
    moment = await now(transaction)
    overrides = await transaction.rows(
        """
        SELECT person_id, lower(during), upper(during), source FROM override
         WHERE schedule_id = %s AND during && tstzrange(%s, NULL) ORDER BY id
        """,
        [schedule_id, moment],
    )
    disabled = await transaction.rows(
        "SELECT id FROM person WHERE tenant_id = %s AND disabled_at IS NOT NULL",
        [schedule.tenant_id],
    )
    stored = await transaction.rows(
        """
        SELECT person_id, lower(during), upper(during), source FROM shift
         WHERE schedule_id = %s AND during && tstzrange(%s, NULL) ORDER BY lower(during)
        """,
        [schedule_id, moment],
    )
    return Definition(
        schedule=schedule,
        now=moment,
        layers=await layers(transaction, schedule_id),
        overrides=tuple(_made(Override, row) for row in overrides),
        disabled=frozenset(person_id for (person_id,) in disabled),
        shifts=tuple(_made(Shift, row) for row in stored),
    )


async def change_shifts(
    transaction: Transaction,
    schedule: Schedule,
    *,
    delete: Sequence[datetime],
    end_at: tuple[datetime, datetime | None] | None,
    insert: Sequence[Shift],
) -> None:
    """Delete the shifts that begin at these times, give one another end, and add others.

    `end_at` is when that one begins, and its end; None: until changed.
    """
    if delete:
        await transaction.execute(
            "DELETE FROM shift WHERE schedule_id = %s AND lower(during) = ANY(%s::timestamptz[])",
            [schedule.id, list(delete)],
        )
    if end_at is not None:
        await transaction.execute(
            "UPDATE shift SET during = tstzrange(lower(during), %s)"
            " WHERE schedule_id = %s AND lower(during) = %s",
            [end_at[1], schedule.id, end_at[0]],
        )
    if insert:
        await transaction.execute(
            """
            INSERT INTO shift (tenant_id, schedule_id, person_id, during, source)
            SELECT %s, %s, person_id, tstzrange(since, until), source
              FROM json_to_recordset(%s) AS wanted(
                       person_id bigint, since timestamptz, until timestamptz, source text)
            """,
            [schedule.tenant_id, schedule.id, msgspec.json.encode(insert).decode()],
        )
        await transaction.rows("SELECT pg_notify('hotpotato', 'hand-over')")


async def held(
    transaction: Transaction,
    since: datetime,
    until: datetime,
    *,
    schedule_id: int | None = None,
    person_id: int | None = None,
    tenant: str | None = None,
) -> list[Held]:
    """The stored shifts that reach into a time, in order; of all, or as narrowed down."""
    rows = await transaction.rows(
        """
        SELECT tenant.name, schedule.name, person.name, lower(shift.during), upper(shift.during),
               shift.source, shift.created_at
          FROM shift JOIN schedule ON schedule.id = shift.schedule_id
          JOIN tenant ON tenant.id = shift.tenant_id
          JOIN person ON person.id = shift.person_id
         WHERE shift.during && tstzrange(%(since)s, %(until)s)
           AND (%(schedule_id)s::bigint IS NULL OR shift.schedule_id = %(schedule_id)s)
           AND (%(person_id)s::bigint IS NULL OR shift.person_id = %(person_id)s)
           AND (%(tenant)s::text IS NULL OR tenant.name = %(tenant)s)
         ORDER BY tenant.name, lower(shift.during), schedule.name LIMIT 100000
        """,
        {
            "since": since,
            "until": until,
            "schedule_id": schedule_id,
            "person_id": person_id,
            "tenant": tenant,
        },
    )
    return [_made(Held, row) for row in rows]


async def now(transaction: Transaction) -> datetime:
    """What the clock of the installation shows."""
    moment: datetime = (await transaction.rows("SELECT hotpotato_now()"))[0][0]
    return moment


# --- overrides


async def add_override(
    transaction: Transaction, schedule: Schedule, override: Override, author: str
) -> None:
    """Lay an override on top of the schedule, and note it in the history."""
    await transaction.execute(
        """
        WITH given AS (
            INSERT INTO override (tenant_id, schedule_id, person_id, during, source, author)
            VALUES (%(tenant_id)s, %(schedule_id)s, %(person_id)s,
                    tstzrange(%(since)s, %(until)s), %(source)s, %(author)s)
            RETURNING tenant_id, person_id, during, source, author
        )
        INSERT INTO history (tenant_id, kind, sentence)
        SELECT given.tenant_id, 'rota',
               person.name || ' has the pager of ' || %(schedule)s || ' from '
               || to_char(lower(during) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC '
               || coalesce('until ' || to_char(upper(during) AT TIME ZONE 'UTC',
                                               'YYYY-MM-DD HH24:MI') || ' UTC', 'until changed')
               || ' (' || source || ', by ' || author || ')'
          FROM given JOIN person ON person.id = given.person_id
        """,
        {
            **msgspec.structs.asdict(override),
            "tenant_id": schedule.tenant_id,
            "schedule_id": schedule.id,
            "schedule": schedule.name,
            "author": author,
        },
    )


async def end_overrides(
    transaction: Transaction,
    at: datetime,
    *,
    schedule_id: int | None = None,
    person_id: int | None = None,
    override_id: int | None = None,
    only_open: bool = False,
    future: bool = False,
) -> list[int]:
    """End the overrides that run at that time, as narrowed down; returns the schedules concerned.

    With `only_open` only those that have no end. With `future` those that begin later are gone too.
    """
    rows = await transaction.rows(
        """
        WITH concerned AS MATERIALIZED (
            SELECT id, schedule_id FROM override
             WHERE (%(schedule_id)s::bigint IS NULL OR schedule_id = %(schedule_id)s)
               AND (%(person_id)s::bigint IS NULL OR person_id = %(person_id)s)
               AND (%(override_id)s::bigint IS NULL OR id = %(override_id)s)
               AND (NOT %(only_open)s OR upper_inf(during))
               AND (during @> %(at)s::timestamptz OR %(future)s AND lower(during) > %(at)s)
        ), gone AS (
            DELETE FROM override
             WHERE id IN (SELECT id FROM concerned) AND lower(during) >= %(at)s
        ), ended AS (
            UPDATE override SET during = tstzrange(lower(during), %(at)s)
             WHERE id IN (SELECT id FROM concerned) AND lower(during) < %(at)s
        )
        SELECT DISTINCT schedule_id FROM concerned ORDER BY schedule_id
        """,
        {
            "at": at,
            "schedule_id": schedule_id,
            "person_id": person_id,
            "override_id": override_id,
            "only_open": only_open,
            "future": future,
        },
    )
    return [schedule for (schedule,) in rows]


async def overrides(
    transaction: Transaction,
    since: datetime,
    until: datetime | None,
    *,
    schedule_id: int | None = None,
    override_id: int | None = None,
) -> list[Given]:
    """The overrides that reach into a time, of all schedules or one; the last said last."""
    rows = await transaction.rows(
        """
        SELECT override.id, tenant.name, schedule.name, person.name, lower(override.during),
               upper(override.during), override.source, override.author, override.created_at
          FROM override JOIN schedule ON schedule.id = override.schedule_id
          JOIN tenant ON tenant.id = override.tenant_id
          JOIN person ON person.id = override.person_id
         WHERE override.during && tstzrange(%(since)s, %(until)s, '[]')
           AND (%(schedule_id)s::bigint IS NULL OR schedule.id = %(schedule_id)s)
           AND (%(override_id)s::bigint IS NULL OR override.id = %(override_id)s)
         ORDER BY override.id LIMIT 10000
        """,
        {
            "since": since,
            "until": until,
            "schedule_id": schedule_id,
            "override_id": override_id,
        },
    )
    return [_made(Given, row) for row in rows]


async def of_person(transaction: Transaction, person_id: int) -> list[int]:
    """The schedules in use that have this person in a layer, an override or a shift to come."""
    rows = await transaction.rows(
        """
        SELECT id FROM schedule
         WHERE removed_at IS NULL
           AND (id IN (SELECT schedule_id FROM layer JOIN participant ON layer_id = layer.id
                        WHERE person_id = %(person)s)
                OR id IN (SELECT schedule_id FROM override WHERE person_id = %(person)s
                             AND during && tstzrange(hotpotato_now(), NULL))
                OR id IN (SELECT schedule_id FROM shift WHERE person_id = %(person)s
                             AND during && tstzrange(hotpotato_now(), NULL)))
         ORDER BY id
        """,
        {"person": person_id},
    )
    return [schedule_id for (schedule_id,) in rows]


_SCHEDULES = """
SELECT schedule.id, schedule.tenant_id, tenant.name, schedule.name,
       coalesce(schedule.timezone, tenant.timezone), schedule.timezone
  FROM schedule JOIN tenant ON tenant.id = schedule.tenant_id
"""


def _schedule(row: Sequence[Any]) -> Schedule:
    return _made(Schedule, row)


def _made(kind: type[S], row: Sequence[Any]) -> S:
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))
