"""`python -m benchmarks.storm`: what a storm costs, and what it comes to on one phone."""

from __future__ import annotations

import time

import click
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.load import PATIENCE, Paced, Target
from benchmarks.measure import SEND
from benchmarks.stage import Broken, Stage, connected
from hotpotato.rules import text

AIM_SECONDS = 10.0

TENANTS = 60

_DUE = """
WITH tenants AS (
    INSERT INTO tenant (name, timezone)
    SELECT 'storm' || number, 'UTC' FROM generate_series(1, %(tenants)s) AS number RETURNING id
), persons AS (
    INSERT INTO person (tenant_id, name)
    SELECT id, name FROM tenants, unnest(ARRAY['Anna', 'Bob', 'Cleo']) AS name
    RETURNING id, tenant_id, name
), contacts AS (
    INSERT INTO contact (tenant_id, person_id, method, address, position)
    SELECT tenant_id, id, 'sms', '+6421' || lpad(id::text, 7, '0'), 1 FROM persons
), policies AS (
    INSERT INTO policy (tenant_id, pace_burst, pace_hourly)
    SELECT id, %(burst)s, %(burst)s FROM tenants
), schedules AS (
    INSERT INTO schedule (tenant_id, name) SELECT id, 'primary' FROM tenants
    RETURNING id, tenant_id
), shifts AS (
    INSERT INTO shift (tenant_id, schedule_id, person_id, during, source, handed_over_at)
    SELECT tenant_id, schedules.id, persons.id, tstzrange(now() - interval '1 day', NULL),
           'storm', now()
      FROM schedules JOIN persons USING (tenant_id) WHERE persons.name = 'Anna'
), numbered AS (
    SELECT id AS tenant_id, host, nextval('notification_id_seq') AS notification_id,
           nextval('alert_id_seq') AS alert_id
      FROM tenants, generate_series(1, %(each)s) AS host
), alerts AS (
    INSERT INTO alert (id, tenant_id, subject, hostname, state, status, opened_at,
                       last_notification_id, told_notification_id, told_state, round, place,
                       place_at, due_at)
    SELECT alert_id, tenant_id, sha256(convert_to('storm' || alert_id, 'UTF8')), 'host' || host,
           'CRITICAL', 'triggered', now() - interval '10 minutes', notification_id,
           notification_id, 'CRITICAL', 1, interval '0', now() - interval '5 minutes', now()
      FROM numbered
)
INSERT INTO notification (id, tenant_id, alert_id, received_at, effect, is_service, state,
                          hostname, output, late)
SELECT notification_id, tenant_id, alert_id, now() - interval '10 minutes', 'open', false,
       'CRITICAL', 'host' || host, 'connection refused after 10 s', false
  FROM numbered
"""


class Decided(msgspec.Struct, frozen=True):
    """How long it took to decide about that many alerts, and what came of them."""

    alerts: int
    seconds: float
    queued: int
    held: int


class OnePhone(msgspec.Struct, frozen=True, kw_only=True):
    """What a storm comes to on one phone. Times are seconds from the first POST."""

    notifications: int
    refused: int
    texts: int
    segments: int
    first: float
    told: int


def decided(stage: Stage, alerts: int, burst: int) -> Decided:
    """Make so many alerts due at one moment, and have one process decide about all."""
    with stage.database() as url, connected(url) as connection, connection.cursor() as cursor:
        each = alerts // TENANTS
        cursor.execute(_DUE, {"tenants": TENANTS, "each": each, "burst": burst})
        cursor.execute("ANALYZE")
        seconds = float(stage.run("decide", url))
        cursor.execute(
            "SELECT count(*) FILTER (WHERE status = 'queued'),"
            " count(*) FILTER (WHERE status = 'held'),"
            " (SELECT count(*) FROM alert WHERE due_at <= now()) FROM message"
        )
        queued, held, left = cursor.fetchone() or (0, 0, 0)
        if left or queued + held != each * TENANTS:
            raise Broken(f"{queued} queued, {held} held, {left} alerts still due")
    return Decided(each * TENANTS, seconds, queued, held)


def one_phone(stage: Stage, count: int, seconds: float) -> OnePhone:
    """Send so many notifications, each about another host, to one person at the shipped pace."""
    with stage.round(receipts=True) as round:
        target = Target(port=round.port, path=SEND, key=round.key, name="storm", distinct=True)
        with stage.load(target) as load:
            started = time.monotonic()
            answer = load.ask(f"pace {count / seconds} {seconds}", seconds + 4 * PATIENCE)
        paced = msgspec.json.decode(answer, type=Paced)
        # One more turn of the pace, in which what waits is told.
        time.sleep(65)
        texts = round.arrivals()
        with connected(round.url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(DISTINCT alert_id) FROM message AS page WHERE alert_id IS NOT NULL"
                " AND EXISTS (SELECT FROM attempt"
                "              WHERE message_id = coalesce(page.digest_id, page.id))"
            )
            (told,) = cursor.fetchone() or (0,)
    return OnePhone(
        notifications=len(paced.sent),
        refused=paced.refused,
        texts=len(texts),
        segments=sum(text.segments(words) for _, words in texts),
        first=min(at for at, _ in texts) - started,
        told=told,
    )


@click.command()
@click.option("--url", envvar="HOTPOTATO_BENCHMARK_DATABASE_URL", help="A PostgreSQL to use.")
@click.option("--quick", is_flag=True, help="A tenth of it: does it work, not how fast is it.")
def main(url: str | None, quick: bool) -> None:
    """Measure what a storm costs, and count what it comes to on one phone."""
    console = Console(highlight=False, soft_wrap=True)
    alerts, count, seconds = (600, 500, 6.0) if quick else (6000, 10_000, 60.0)
    try:
        with Stage(url) as stage:
            console.print(stage.about())
            with console.status("alerts that are due at once"):
                free = decided(stage, alerts, 1_000_000)
                paced = decided(stage, alerts, 3)
            with console.status("one phone, two minutes"):
                phone = one_phone(stage, count, seconds)
    except Broken as broken:
        raise SystemExit(str(broken)) from broken
    console.print(_table(free, paced, phone, seconds))


def _table(free: Decided, paced: Decided, phone: OnePhone, seconds: float) -> Table:
    table = Table()
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("aim", justify="right")
    for name, one in (("without a pace", free), ("at the shipped pace", paced)):
        table.add_row(
            f"{one.alerts} alerts due at once, {name}: seconds",
            f"{one.seconds:.1f}",
            f"< {AIM_SECONDS:g}",
        )
        table.add_row("  queued, held", f"{one.queued}, {one.held}")
    table.add_section()
    table.add_row(
        f"one phone, {phone.notifications} notifications in {seconds:g} s: not taken",
        str(phone.refused),
        "0",
    )
    table.add_row("  texts after another 65 s", str(phone.texts))
    table.add_row("  segments", str(phone.segments))
    table.add_row("  the first after, in ms", f"{1000 * phone.first:.0f}")
    table.add_row("  alerts that are in one of them", str(phone.told))
    return table


if __name__ == "__main__":
    main()
