"""`python -m benchmarks.keeping`: how fast what is over is forgotten, and who notices."""

from __future__ import annotations

import http.client
import json
import threading
import time

import click
import psycopg2
from rich.console import Console
from rich.table import Table

from benchmarks.measure import SEND
from benchmarks.stage import Round, Stage, connected
from hotpotato.duties.upkeep import AT_ONCE, PAUSE
from hotpotato.store import upkeep

EVERY = 0.02
"""Seconds between two notifications."""

# Each alert with one notification, two messages of one attempt each, and ten lines of history.
_OLD = """
INSERT INTO alert (tenant_id, server_id, subject, hostname, state, status, opened_at, resolved_at,
                   last_notification_id)
SELECT tenant_id, id, sha256(number::text::bytea), 'old' || number, 'OK', 'resolved', old, old, 0
  FROM server, generate_series(1, %s) AS number,
       LATERAL (SELECT hotpotato_now() - interval '500 days' AS old) AS time;
INSERT INTO notification (tenant_id, server_id, alert_id, received_at, effect, is_service, state,
                          hostname, output, late)
SELECT tenant_id, server_id, id, opened_at, 'open', false, 'DOWN', hostname, repeat('x', 200), false
  FROM alert;
INSERT INTO message (tenant_id, kind, alert_id, notification_id, person_id, contact_id, method,
                     address, text, status, created_at, expires_at, released_at)
SELECT notification.tenant_id, 'page', alert_id, notification.id, contact.person_id, contact.id,
       method, address, repeat('x', 160), 'delivered', received_at, received_at, received_at
  FROM notification, (SELECT * FROM contact ORDER BY id LIMIT 1) AS contact, generate_series(1, 2);
INSERT INTO attempt (tenant_id, message_id, number, sender, reference, provider_id, outcome,
                     progress, started_at, settled_at)
SELECT tenant_id, id, 1, 'modica', 'old-' || id, 'old-' || id, 'accepted', 'delivered',
       created_at, created_at
  FROM message;
CREATE TABLE history_20250601 (LIKE history INCLUDING ALL);
INSERT INTO history_20250601 (tenant_id, at, kind, sentence, alert_id)
SELECT tenant_id, '2025-06-03', 'test', repeat('x', 100), id FROM alert, generate_series(1, 10);
ALTER TABLE history ATTACH PARTITION history_20250601
    FOR VALUES FROM ('2025-06-01 00:00Z') TO ('2025-06-08 00:00Z');
ANALYZE;
"""


@click.command()
@click.option("--url", envvar="HOTPOTATO_BENCHMARK_DATABASE_URL", help="See `benchmarks`.")
@click.option("--alerts", default=50_000, show_default=True, help="What there is to forget.")
@click.option("--seconds", default=15.0, show_default=True, help="For each row of the table.")
def main(url: str | None, alerts: int, seconds: float) -> None:
    """Take notifications, one each 20 ms, while old ones are forgotten."""
    table = Table()
    for name in ("", "rows/s", "longest page ms", "answers p50 ms", "p99 ms", "worst ms"):
        table.add_column(name, justify="right" if name else "left")
    with Stage(url) as stage, stage.round(receipts=True) as round:
        with connected(round.url) as connection, connection.cursor() as cursor:
            cursor.execute(_OLD, [alerts])
        _row(table, "nothing is forgotten", [], _answers(round, seconds))
        for name, pause in (("as shipped", PAUSE), ("without a pause", 0.0)):
            sweeping = _Sweeping(round.url, pause)
            answers = _answers(round, seconds)
            _row(table, name, sweeping.stop(), answers)
        with connected(round.url) as connection, connection.cursor() as cursor:
            began = time.monotonic()
            cursor.execute("SELECT drop_partition('history', now() - interval '400 days')")
            took = 1000 * (time.monotonic() - began)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(f"A week of history, {10 * alerts} lines, dropped in {took:.0f} ms.")


def _row(
    table: Table, name: str, pages: list[tuple[int, float, float]], answers: list[float]
) -> None:
    rows = sum(count for count, _, _ in pages)
    busy = pages[-1][2] - pages[0][2] if len(pages) > 1 else 1.0
    longest = max((took for _, took, _ in pages), default=0.0)
    percentiles = (answers[int(len(answers) * share)] for share in (0.5, 0.99))
    figures = (rows / busy, 1000 * longest, *(1000 * each for each in percentiles))
    table.add_row(name, *(f"{each:.1f}" for each in (*figures, 1000 * answers[-1])))


def _answers(round: Round, seconds: float) -> list[float]:
    """How long each answer took, in seconds, the shortest first."""
    connection = http.client.HTTPConnection("127.0.0.1", round.port)
    headers = {"Authorization": f"Apikey {round.key}", "Content-Type": "application/json"}
    took = []
    began = time.monotonic()
    for number in range(int(seconds / EVERY)):
        time.sleep(max(0.0, began + number * EVERY - time.monotonic()))
        body = json.dumps({"hostname": f"new{began}-{number}", "state": "DOWN"})
        asked = time.monotonic()
        connection.request("POST", SEND, body, headers)
        answer = connection.getresponse()
        answer.read()
        took.append(time.monotonic() - asked)
        if answer.status != 201:
            raise SystemExit(f"expected 201, got {answer.status}")
    connection.close()
    return sorted(took)


class _Sweeping:
    """Upkeep's turns, one after the other, by a connection of its own."""

    def __init__(self, url: str, pause: float) -> None:
        self._pages: list[tuple[int, float, float]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(url, pause))
        self._thread.start()

    def stop(self) -> list[tuple[int, float, float]]:
        """The pages: how many rows were forgotten, the seconds it took, and when it was over."""
        self._stopped.set()
        self._thread.join()
        return self._pages

    def _run(self, url: str, pause: float) -> None:
        connection = psycopg2.connect(url)
        with connection.cursor() as cursor:
            cursor.execute("SELECT hotpotato_now() - interval '400 days'")
            ((before,),) = cursor.fetchall()
            while not self._stopped.is_set():
                for kind in upkeep.KINDS[:3]:
                    began = time.monotonic()
                    cursor.execute(kind.sql, {"after": 0, "most": AT_ONCE, "before": before})
                    ((count, *_),) = cursor.fetchall()
                    connection.commit()
                    now = time.monotonic()
                    # A message goes with its attempt.
                    self._pages.append((count * (1 + (kind.name == "messages")), now - began, now))
                self._stopped.wait(pause)
        connection.close()


if __name__ == "__main__":
    main()
