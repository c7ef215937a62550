"""Health, readiness and metrics, and what is answered while the database is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString

from hotpotato.daemon import Daemon
from hotpotato.senders.registry import Registry
from hotpotato.testing.database import drop_database, fresh_database
from tests.api.talk import BEAT, GET, SEND, is_error, taken
from tests.api.test_callbacks import GOOD
from tests.world import World, until

HEALTH, INGEST, READY, METRICS = "/healthz", "/readyz/ingest", "/readyz", "/metrics"
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"  # nothing listens at port 1


async def metrics(world: World) -> dict[str, float]:
    """The samples of /metrics, by name with labels."""
    response = await world.request("GET", METRICS)
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.body.decode().splitlines()
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in samples}


# ---------------------------------------------------------------- when all is well


@pytest.mark.parametrize("path", [HEALTH, INGEST, READY])
@pytest_twisted.ensureDeferred
async def test_a_healthy_daemon_says_so_to_everybody(shared: World, path: str) -> None:
    await shared.settle()
    response = await shared.request("GET", path)
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json == {"success": True, "code": 200, "message": None, "data": None}


@pytest.mark.parametrize("path", [HEALTH, INGEST, READY, METRICS])
@pytest_twisted.ensureDeferred
async def test_only_looking_is_allowed(shared: World, path: str) -> None:
    await shared.settle()
    head = await shared.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    for method in ("POST", "PUT", "DELETE"):
        response = await shared.request(method, path)
        assert is_error(response, 405)
        assert response.headers["allow"] == "GET"


@pytest_twisted.ensureDeferred
async def test_answers_are_for_now_and_not_for_caches(shared: World) -> None:
    for path in (HEALTH, INGEST, READY, METRICS, "/nonsense"):
        response = await shared.request("GET", path)
        assert response.headers["cache-control"] == "no-store"


# ---------------------------------------------------------------- when something stands still


@pytest_twisted.ensureDeferred
async def test_a_loop_that_stands_still_makes_it_unready_and_is_named(world: World) -> None:
    """Load balancers go on sending what can still be committed."""
    await world.settle()
    stuck, others = world.daemons[0].escalation, ["replies", "dispatch-modica", "watchdog"]
    await stuck.stop()
    assert (await world.request("GET", READY)).status == 200
    await world.advance(31)
    response = await world.request("GET", READY)
    assert is_error(response, 503)
    assert response.json["message"] == "no turn was finished lately by: escalation"
    assert (await world.request("GET", INGEST)).status == 200
    assert (await world.request("GET", HEALTH)).status == 200
    found = await metrics(world)
    assert found['hotpotato_loop_stalled{loop="escalation"}'] == 1
    assert [found[f'hotpotato_loop_stalled{{loop="{name}"}}'] for name in others] == [0, 0, 0]
    stuck.start()
    await world.settle()
    assert (await world.request("GET", READY)).status == 200


@pytest_twisted.ensureDeferred
async def test_every_loop_that_pages_depend_on_is_watched(world: World) -> None:
    """Time passes without anything getting a turn."""
    await world.settle()
    clock: Any = world.daemons[0]._clock
    clock.rightNow += 31
    response = await world.request("GET", READY)
    assert is_error(response, 503)
    for name in ("escalation", "replies", "dispatch-modica", "watchdog"):
        assert name in response.json["message"]
    assert "upkeep" not in response.json["message"]


@pytest_twisted.ensureDeferred
async def test_a_schema_that_does_not_fit_makes_it_unready_and_names_the_remedy(
    world: World,
) -> None:
    world.sql("DELETE FROM migration WHERE number = (SELECT max(number) FROM migration)")
    for path in (INGEST, READY):
        response = await world.request("GET", path)
        assert is_error(response, 503)
        assert response.json["message"].endswith("run `hotpotato migrate`")
    assert (await world.request("GET", HEALTH)).status == 200


# ---------------------------------------------------------------- metrics


@pytest_twisted.ensureDeferred
async def test_metrics_count_what_was_answered_sent_and_reported(world: World) -> None:
    await world.without_pace()
    await taken(world, hostname="db1")
    await taken(world, hostname="db2", event="CUSTOM")
    await world.request("GET", "/nonsense")
    await world.post(SEND, b"{")
    waiting = await metrics(world)
    await world.advance(5, step=0.5)
    found = await metrics(world)
    requests = "hotpotato_requests_total"
    assert found[f'{requests}{{code="201",method="POST",path="{SEND}"}}'] == 2
    assert found[f'{requests}{{code="400",method="POST",path="{SEND}"}}'] == 1
    assert found[f'{requests}{{code="404",method="",path="(no such path)"}}'] == 1
    assert found[f'hotpotato_request_seconds_count{{path="{SEND}"}}'] == 3
    assert found['hotpotato_attempts_total{outcome="accepted",sender="modica"}'] == 3
    assert found['hotpotato_attempt_seconds_count{sender="modica"}'] == 3
    assert found['hotpotato_callbacks_total{kind="delivered",sender="modica"}'] == 3
    assert found['hotpotato_state{what="alerts_triggered"}'] == 1
    assert waiting['hotpotato_state{what="messages_waiting"}'] == 0
    assert found['hotpotato_database_connections{state="open"}'] > 0


@pytest_twisted.ensureDeferred
async def test_no_path_that_a_client_invents_becomes_a_label(shared: World) -> None:
    await taken(shared)
    await metrics(shared)  # it counts itself, from the second time on
    before = set(await metrics(shared))
    for number in range(20):
        await shared.request("GET", f"/{number}/../{shared.key}")
        await shared.request("GET", f"{GET}/{number}")
    new = set(await metrics(shared)) - before
    assert all("no such path" in name or "<int:id>" in name for name in new), new
    assert not any(shared.key in name for name in new)


@pytest_twisted.ensureDeferred
async def test_metrics_name_no_person_and_no_phone(world: World) -> None:
    await taken(world, hostname="secret-host")
    await world.advance(5, step=0.5)
    text = (await world.request("GET", METRICS)).body.decode()
    for word in ("Anna", "+6421", "6421", "secret-host", "acme", "icinga1", world.key):
        assert word not in text


# ---------------------------------------------------------------- without a database


@pytest.fixture(scope="module")
def empty_database_url() -> Iterator[str]:
    """A database without a schema."""
    url = fresh_database()
    yield url
    drop_database(url)


async def begin(world: World, url: str) -> Daemon:
    """One more daemon of a world, at another database, which it can't use."""
    daemon = Daemon(world.settings(), url, Registry.discover(), reactor, world.clock)
    await daemon.bind([serverFromString(reactor, "tcp:0:interface=127.0.0.1")])
    await daemon.start()
    address: Any = daemon.listening[0].getHost()
    world.ports.append(address.port)
    return daemon


@pytest_twisted.async_yield_fixture()
async def lonely(shared: World) -> AsyncIterator[World]:
    """A world whose newest daemon has no database."""
    daemon = await begin(shared, NOWHERE)
    yield shared
    shared.ports.pop()
    await daemon.stop()


@pytest_twisted.ensureDeferred
async def test_what_can_not_be_promised_is_503_and_asks_for_another_try(lonely: World) -> None:
    answers = [
        (await lonely.post(SEND, {"hostname": "db1", "state": "DOWN"}), False),
        (await lonely.post(BEAT, b""), False),
        (await lonely.request("GET", f"{GET}/1"), False),
        (await lonely.post(SEND, b"{"), False),
        (await lonely.post(SEND, b"", key="wrong"), False),
        (await lonely.post("/api/v1/add/notification", {"apikey": lonely.key}), True),
        (await lonely.post("/api/v1/check/notification", {"apikey": lonely.key}), True),
        (await lonely.post("/api/servers/v1/add/heartbeat", {"apikey": lonely.key}), True),
    ]
    for place in ("/api/senders/modica", "/api/v1/modica"):
        body = b'{"message_id": 1, "status": "received"}'
        response = await lonely.request(
            "POST", f"{place}/dlr-status", body, {"Authorization": GOOD}
        )
        answers.append((response, place == "/api/v1/modica"))
    for response, v1 in answers:
        assert is_error(response, 503, v1=v1)
        assert int(response.headers["retry-after"]) > 0


@pytest_twisted.ensureDeferred
async def test_without_a_database_it_lives_and_counts_but_is_not_ready(lonely: World) -> None:
    assert (await lonely.request("GET", HEALTH)).status == 200
    for path in (INGEST, READY):
        response = await lonely.request("GET", path)
        assert is_error(response, 503)
        assert int(response.headers["retry-after"]) > 0
    await lonely.post(BEAT, b"")
    found = await metrics(lonely)
    path = f'hotpotato_requests_total{{code="503",method="POST",path="{BEAT}"}}'
    assert found[path] == 1
    assert not any(name.startswith("hotpotato_state{") for name in found)
    assert found['hotpotato_database_connections{state="open"}'] == 0


@pytest_twisted.ensureDeferred
async def test_a_database_that_goes_away_and_comes_back(world: World) -> None:
    """Metrics leave out what only the database knows, rather than repeat what it knew."""
    await taken(world, idempotency="again")
    assert (await metrics(world))['hotpotato_state{what="alerts_triggered"}'] == 1
    await world.database_away()
    for _ in range(2):
        body = {"hostname": "db1", "state": "DOWN"}
        response = await world.post(SEND, body, headers={"Idempotency-Key": "later"})
        assert is_error(response, 503)
        assert "Idempotency-Key" in response.json["message"]
        assert int(response.headers["retry-after"]) > 0
    assert is_error(await world.request("GET", INGEST), 503)
    assert not any(name.startswith("hotpotato_state{") for name in await metrics(world))
    await world.database_back()
    assert (await world.request("GET", INGEST)).status == 200
    first = await taken(world, hostname="db1", state="DOWN", idempotency="later")
    assert await taken(world, hostname="db1", state="DOWN", idempotency="later") == first
    assert (await metrics(world))['hotpotato_state{what="alerts_triggered"}'] == 2


@pytest_twisted.ensureDeferred
async def test_an_overload_is_503_and_asks_for_another_try(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More notifications wait for the database than can be kept waiting."""
    groups: Any = shared.daemons[0].intake._ingest._groups
    monkeypatch.setattr(groups, "_most_waiting", 0)
    response = await shared.post(SEND, {"hostname": "db1", "state": "DOWN"})
    assert is_error(response, 503)
    assert int(response.headers["retry-after"]) > 0


@pytest_twisted.ensureDeferred
async def test_unknown_addresses_and_methods_are_told_as_ever(lonely: World) -> None:
    assert is_error(await lonely.request("GET", "/nonsense"), 404)
    assert is_error(await lonely.request("GET", SEND), 405)


@pytest_twisted.ensureDeferred
async def test_without_a_schema_it_says_which_command_helps(
    shared: World, empty_database_url: str
) -> None:
    daemon = await begin(shared, empty_database_url)
    await until(lambda: daemon.database.available, "the database to answer")
    try:
        for path in (INGEST, READY):
            response = await shared.request("GET", path)
            assert is_error(response, 503)
            assert "run `hotpotato migrate`" in response.json["message"]
        response = await shared.post(SEND, {"hostname": "db1", "state": "DOWN"})
        assert is_error(response, 503)
        assert (await shared.request("GET", METRICS)).status == 200
    finally:
        shared.ports.pop()
        await daemon.stop()
