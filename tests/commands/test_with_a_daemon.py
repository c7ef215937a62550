"""What is looked at, and sent, while a daemon runs."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.commands.conftest import PROGRAM, Command, Done, configured_for, surroundings
from tests.world import ANNA, World, until

IMPATIENT = """
import hotpotato.commands.sendtest as sendtest
sendtest.TAKEN_WITHIN = 1.0
sendtest.RECEIPT_WITHIN = 3.0
from hotpotato.commands import main
main()
"""


async def run(hotpotato: Command, *arguments: str, **expected: Any) -> Done:
    """Run a command while the reactor of this process goes on."""
    done: Done = await deferToThread(hotpotato, *arguments, **expected)
    return done


@pytest_twisted.ensureDeferred
async def test_a_notifications_whole_story_is_told(daemon: World, tmp_path: Path) -> None:
    """From coming in to the acknowledgement, in order, with every attempt and receipt."""
    hotpotato = configured_for(daemon, tmp_path)
    data = await daemon.notify("CRITICAL", output="connection refused")
    await until(lambda: daemon.texts(ANNA), "the page")
    code = daemon.texts(ANNA)[0].split()[-1]
    await until(lambda: "received" in daemon.gateway.messages[0].receipts, "the receipt")
    await daemon.gateway.reply(ANNA, f"ack {code}")
    await until(lambda: len(daemon.texts(ANNA)) == 2, "the confirmation")
    await until(lambda: "received" in daemon.gateway.messages[1].receipts, "its receipt")
    under_way = "SELECT id FROM message WHERE status <> 'delivered'"
    await until(lambda: not daemon.sql(under_way), "both to be delivered")

    story = (await run(hotpotato, "notification", "show", str(data["id"]), "--json")).document
    assert story["id"] == data["id"]
    assert (story["user"], story["status"], story["alert_status"]) == (
        "Anna",
        "delivered",
        "acknowledged",
    )
    assert [message["kind"] for message in story["messages"]] == ["page", "confirmation"]
    page = story["messages"][0]
    assert page["text"].startswith("CRITICAL db1/Postgres: connection refused")
    (attempt,) = page["attempts"]
    assert attempt["outcome"] == "accepted"
    assert [each["status"] for each in attempt["receipts"]] == ["submitted", "sent", "received"]
    assert [reply["content"] for reply in story["replies"]] == [f"ack {code}"]
    sentences = [line["sentence"] for line in story["history"]]
    assert sentences[0] == "CRITICAL came in from icinga1: an alert is opened"
    assert "on call (primary): Anna paged" in sentences
    assert "Anna acknowledged the alert by SMS" in sentences
    assert [line["at"] for line in story["history"]] == sorted(
        line["at"] for line in story["history"]
    )

    shown = (await run(hotpotato, "notification", "show", str(data["id"]))).out
    assert shown.startswith(f"Notification {data['id']}: CRITICAL db1/Postgres\n")
    for piece in (
        "on call   Anna",
        f"page to Anna, {ANNA}: delivered",
        f"    Reply ack {code}",
        "Anna acknowledged the alert by SMS",
        f"{ANNA}: ack {code}",
    ):
        assert piece in shown
    assert max(map(len, shown.splitlines())) <= 80

    listed = (await run(hotpotato, "notification", "list")).out.splitlines()
    assert listed[0].split() == ["ID", "RECEIVED", "NOTIFICATION", "STATUS", "ALERT"]
    assert "delivered" in listed[1]
    assert "acknowledged" in listed[1]


@pytest_twisted.ensureDeferred
async def test_a_receipt_that_was_faster_than_the_answer_is_told_too(
    daemon: World, tmp_path: Path
) -> None:
    daemon.gateway.misbehave("early")
    data = await daemon.notify("CRITICAL")
    delivered = "SELECT id FROM message WHERE status = 'delivered'"
    await until(lambda: daemon.sql(delivered), "the delivery")
    hotpotato = configured_for(daemon, tmp_path)
    story = (await run(hotpotato, "notification", "show", str(data["id"]), "--json")).document
    (attempt,) = story["messages"][0]["attempts"]
    assert [each["status"] for each in attempt["receipts"]] == ["submitted", "sent", "received"]


@pytest_twisted.ensureDeferred
async def test_the_newest_notifications_are_listed_first(daemon: World, tmp_path: Path) -> None:
    hotpotato = configured_for(daemon, tmp_path)
    ids = [(await daemon.notify("CRITICAL", service_name=str(n)))["id"] for n in range(3)]
    listed = (await run(hotpotato, "notification", "list", "--limit", "2", "--json")).document
    assert [each["id"] for each in listed] == [ids[2], ids[1]]
    none = await run(hotpotato, "notification", "list", "--tenant", "beta", status=1)
    assert none.err == "hotpotato: no tenant beta; there is acme\n"
    missing = await run(hotpotato, "notification", "show", "99999", status=1)
    assert missing.err == "hotpotato: there is no notification 99999\n"


@pytest_twisted.ensureDeferred
async def test_send_test_waits_until_the_message_has_arrived(daemon: World, tmp_path: Path) -> None:
    hotpotato = configured_for(daemon, tmp_path)
    done = await run(hotpotato, "send-test", "Anna")
    (text,) = daemon.texts(ANNA)
    assert text == "Test message from Hot Potato to Anna. Nothing is wrong, no answer is needed."
    lines = done.out.splitlines()
    assert lines[0].startswith("queued as message ")
    assert lines[1:-1] == [
        "attempt 1 is made through modica",
        "attempt 1: accepted",
        "attempt 1: receipt: submitted",
        "attempt 1: receipt: sent",
        "attempt 1: receipt: received",
    ]
    assert lines[-1].startswith(f"It arrived at {ANNA}, ")
    document = (await run(hotpotato, "send-test", "Anna", "--json")).document
    assert document["status"] == "delivered"
    assert document["text"] == text


@pytest.mark.parametrize(
    ("misbehaviour", "why"),
    [
        ("failed", "it will not arrive (the last receipt says failed)"),
        ("400", "it will not arrive (answered 400"),
        ("never", "the provider took it, but no receipt says within 3 s that it arrived"),
        ("503", "it could not be sent within 3 s and was withdrawn"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_send_test_says_honestly_why_it_did_not_arrive(
    daemon: World, tmp_path: Path, misbehaviour: str, why: str
) -> None:
    daemon.gateway.misbehave(misbehaviour)
    hotpotato = configured_for(daemon, tmp_path)
    done = await run(hotpotato, "send-test", "Anna", status=1, code=IMPATIENT)
    assert done.err.startswith("hotpotato: ")
    assert why in done.err
    assert done.err.count("\n") == 1


def test_send_test_withdraws_what_no_daemon_takes(acme: Command) -> None:
    done = acme("send-test", "Anna", "--json", status=1, code=IMPATIENT)
    assert done.err.startswith("hotpotato: no daemon took it within 1 s, and it was withdrawn")
    assert done.document["status"] == "cancelled"
    assert acme.refused("send-test", "Ana") == "no user Ana; there are Anna and Bob"
    acme("user", "disable", "Anna")
    assert acme.refused("send-test", "Anna").startswith("Anna is disabled")


def test_send_test_withdraws_the_message_on_ctrl_c(acme: Command) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "--config", str(acme.config), "send-test", "Anna"],
        stdout=subprocess.PIPE,
        env=surroundings(),
        encoding="utf-8",
    )
    assert process.stdout is not None
    with process.stdout as out:
        assert out.readline().startswith("queued as message")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert out.read() == ""
    assert acme.rows("SELECT status FROM message") == [("cancelled",)]


@pytest_twisted.ensureDeferred
async def test_check_asks_the_gateway(daemon: World, tmp_path: Path) -> None:
    """The sandbox is not https, and that is all that is wrong once everybody was heard of."""
    await daemon.heartbeat()
    hotpotato = configured_for(daemon, tmp_path)
    hotpotato.config.chmod(0o600)
    done = await run(hotpotato, "check", status=1)
    (line,) = done.out.splitlines()
    assert line.startswith("senders.modica: http://127.0.0.1")
    assert "is not https" in line
