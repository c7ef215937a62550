"""Alerts, silences and tokens on the command line, and why something was told; without a daemon."""

from __future__ import annotations

import getpass
import hashlib
import re
from typing import Any

import pytest

from tests.commands.conftest import Command

OUTSIDE = f"{getpass.getuser()} (at the console)"


def inserted(hotpotato: Command, table: str, **values: object) -> int:
    """Add a row as it is; returns its id. What is no number is SQL in quotes, or in brackets."""
    written = [
        str(value) if isinstance(value, int) or str(value).startswith("(") else f"'{value}'"
        for value in values.values()
    ]
    ((id,),) = hotpotato.rows(
        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(written)}) RETURNING id"
    )
    return int(id)


def alert(acme: Command, number: int, code: str | None = None, **more: object) -> int:
    """An alert of acme's with the notification that opened it, as far back as an hour ago."""
    ((tenant_id,),) = acme.rows("SELECT id FROM tenant WHERE name = 'acme'")
    alert_id = inserted(
        acme,
        "alert",
        **{
            "tenant_id": tenant_id,
            "subject": f"(sha256('{number}'))",
            "hostname": f"db{number}",
            "service_name": "Postgres",
            "state": "CRITICAL",
            "status": "triggered",
            "opened_at": "(now() - interval '1 hour')",
            "last_notification_id": 0,
            "due_at": "(now() + interval '5 minutes')",
            **more,
        },
    )
    notification_id = inserted(
        acme,
        "notification",
        tenant_id=tenant_id,
        alert_id=alert_id,
        received_at="(now() - interval '1 hour')",
        effect="open",
        is_service="true",
        state="CRITICAL",
        hostname=f"db{number}",
        service_name="Postgres",
        output="connection refused",
        late="false",
    )
    acme.rows(
        f"UPDATE alert SET last_notification_id = {notification_id} WHERE id = {alert_id}"
        " RETURNING id"
    )
    if code is not None:
        acme.rows(
            f"INSERT INTO code (code, tenant_id, alert_id) VALUES ('{code}', {tenant_id},"
            f" {alert_id}) RETURNING code"
        )
    return alert_id


def message(acme: Command, status: str, **more: object) -> int:
    """A message to Anna, as the escalation would have queued it."""
    ((tenant_id, person_id, contact_id),) = acme.rows(
        "SELECT person.tenant_id, person.id, contact.id FROM person"
        " JOIN contact ON contact.person_id = person.id WHERE person.name = 'Anna'"
    )
    return inserted(
        acme,
        "message",
        **{
            "tenant_id": tenant_id,
            "kind": "page",
            "person_id": person_id,
            "contact_id": contact_id,
            "method": "sms",
            "address": "+64211234567",
            "status": status,
            "created_at": "(now() - interval '50 minutes')",
            "expires_at": "(now() + interval '23 hours')",
            **more,
        },
    )


def digest_of_two(acme: Command) -> tuple[int, int, int]:
    """Alerts 1 and 2 were told in one digest with the code DGH, which arrived: all three ids."""
    first, second = alert(acme, 1, "KWT"), alert(acme, 2)
    digest = message(
        acme,
        "delivered",
        kind="digest",
        text="2 problems: CRITICAL db1/Postgres, CRITICAL db2/Postgres\nReply ack DGH",
        tries=1,
        segments=1,
        released_at="(now() - interval '40 minutes')",
    )
    for each in (first, second):
        message(acme, "merged", alert_id=each, digest_id=digest)
    ((tenant_id,),) = acme.rows("SELECT id FROM tenant")
    inserted(
        acme,
        "attempt",
        tenant_id=tenant_id,
        message_id=digest,
        number=1,
        sender="modica",
        reference="r" * 24,
        provider_id="4711",
        outcome="accepted",
        progress="delivered",
        started_at="(now() - interval '40 minutes')",
        settled_at="(now() - interval '40 minutes')",
    )
    acme.rows(
        f"INSERT INTO code (code, tenant_id, message_id) VALUES ('DGH', {tenant_id}, {digest})"
        " RETURNING code"
    )
    return first, second, digest


def the_notification(acme: Command, alert_id: int) -> int:
    ((id,),) = acme.rows(f"SELECT id FROM notification WHERE alert_id = {alert_id}")
    return int(id)


# --- alerts


def test_open_alerts_are_listed_and_acknowledged_by_id_or_code(acme: Command) -> None:
    first, second = alert(acme, 1, "KWT"), alert(acme, 2)
    listed = acme("alert", "list").out.splitlines()
    assert listed[0].split() == ["ID", "CODE", "OPENED", "ALERT", "STATUS", "BY"]
    assert listed[1].split()[0] == str(second)
    assert listed[2].split()[:2] == [str(first), "KWT"]
    assert max(map(len, listed)) <= 80
    said = acme("alert", "ack", "kwt", "--for", "45m", "--by", "Anna").out
    assert re.fullmatch(
        rf"Alert {first}, CRITICAL db1/Postgres, is acknowledged until [-\d]+ [:\d]+ \w+\.\n", said
    )
    (until,) = acme.rows(
        "SELECT acknowledged_by, acknowledged_by_id = (SELECT id FROM person WHERE name = 'Anna'),"
        " round(extract(epoch FROM acknowledged_until - acknowledged_at))::int, due_at <= now()"
        f" FROM alert WHERE id = {first}"
    )
    assert until == ("Anna", True, 2700, True)
    assert [each["id"] for each in acme.json("alert", "list", "--status", "triggered")] == [second]


def test_without_by_it_is_done_in_the_name_of_who_is_at_the_console(acme: Command) -> None:
    number = str(alert(acme, 1))
    (taken,) = acme.json("alert", "ack", number, "--for", "forever")
    assert (taken["acknowledged_by"], taken["acknowledged_until"]) == (OUTSIDE, None)
    (renewed,) = acme.json("alert", "ack", number)
    assert renewed["acknowledged_until"] is not None
    said = acme.refused("alert", "ack", number, "--by", "Bob")
    assert said.endswith(f"CRITICAL db1/Postgres, was acknowledged already, by {OUTSIDE}")
    acme("alert", "note", number, "the disk is ordered", "--by", "Bob")
    (over,) = acme.json("alert", "resolve", number)
    assert (over["status"], over["resolved_by"]) == ("resolved", OUTSIDE)
    assert acme.refused("alert", "resolve", number).endswith("is over already")
    (shown,) = acme.json("alert", "show", number)
    assert [line["sentence"] for line in shown["history"]][-2:] == [
        "Bob notes: the disk is ordered",
        f"{OUTSIDE} resolved it",
    ]
    assert acme.json("alert", "list") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "99"], "there is no alert '99': hotpotato alert list"),
        (["ack", "NOPE"], "there is no alert 'NOPE': hotpotato alert list"),
        (["ack", "9" * 30], f"there is no alert '{'9' * 30}': hotpotato alert list"),
        (["ack", "1", "--for", "soon"], "'soon' is no length of time of up to a year"),
        (["ack", "1", "--for", "0m"], "'0m' is no length of time of up to a year"),
        (["note", "1", "  "], "a note has 1 to 4000 characters"),
    ],
)
def test_what_cannot_be_done_to_an_alert_is_refused(
    acme: Command, arguments: list[str], said: str
) -> None:
    assert acme.refused("alert", *arguments).startswith(said)


def test_a_digests_code_stands_for_all_its_alerts(acme: Command) -> None:
    """What somebody else has acknowledged already stays theirs, and that is said."""
    first, second, digest = digest_of_two(acme)
    acme("alert", "ack", str(first), "--by", "Bob")
    done = acme("alert", "ack", "DGH", "--by", "Anna").out.splitlines()
    assert done[0].startswith(f"Alert {second}, CRITICAL db2/Postgres, is acknowledged until ")
    assert done[1] == f"alert {first}, CRITICAL db1/Postgres, was acknowledged already, by Bob"
    shown = acme.json("alert", "show", "DGH")
    assert [each["id"] for each in shown] == [first, second]
    assert [each["kind"] for each in shown[0]["messages"]] == ["digest", "page"]
    assert shown[0]["messages"][1]["digest_id"] == digest


# --- silences


def test_a_silence_is_added_listed_and_ended_and_alerts_are_looked_at_again(
    acme: Command,
) -> None:
    triggered = alert(acme, 1)
    taken = alert(acme, 2, status="acknowledged", acknowledged_at="(now())")
    due = f"SELECT id FROM alert WHERE due_at <= now() AND id IN ({triggered}, {taken})"
    assert acme.rows(due) == []
    added = acme.json("silence", "add", "--host", "db*", "--for", "2h", "--reason", "new disks")
    assert (added["host"], added["service"], added["status"]) == ("db*", None, "active")
    assert added["author"] == getpass.getuser()
    assert acme.rows(due) == [(triggered,)]
    acme.rows("UPDATE alert SET due_at = now() + interval '1 hour' RETURNING id")
    (listed,) = acme.json("silence", "list")
    assert listed == added
    shown = acme("silence", "list").out
    assert re.search(r"host db\* ", shown)
    ended = acme.json("silence", "end", str(added["id"]))
    assert ended["status"] == "over"
    assert acme.rows(due) == [(triggered,)]
    assert acme.json("silence", "list") == []
    assert [each["id"] for each in acme.json("silence", "list", "--all")] == [added["id"]]
    assert acme.refused("silence", "end", str(added["id"])).endswith("is over already")
    said = [line for (line,) in acme.rows("SELECT sentence FROM history WHERE kind = 'silence'")]
    assert said[0].startswith(f"{getpass.getuser()} silences host db* from ")
    assert said[0].endswith(f" UTC (new disks, by {getpass.getuser()})")
    assert said[1].startswith(f"{getpass.getuser()} ends the silence of host db* from ")


def test_what_has_not_begun_is_deleted_and_times_are_the_tenants(acme: Command) -> None:
    acme("server", "add", "icinga")
    added = acme.json(
        *("silence", "add", "--server", "icinga", "--service", "HTTP*", "--reason", "power"),
        *("--from", "2999-12-24 22:00", "--until", "2999-12-25 02:00"),
    )
    assert (added["server"], added["host"], added["status"]) == ("icinga", "*", "to come")
    assert acme.rows("SELECT lower(during) = '2999-12-24 22:00+13' FROM silence") == [(True,)]
    done = acme("silence", "end", str(added["id"])).out
    assert done.endswith("service HTTP* on host * of icinga, is deleted: it had not begun.\n")
    assert acme.rows("SELECT id FROM silence") == []


def test_a_silence_that_cannot_be_meant_is_refused(acme: Command) -> None:
    why = ["--reason", "x"]
    assert "Say how long" in acme("silence", "add", "--host", "db1", *why, status=2).err
    both = ["--until", "2999-01-01", "--for", "2h"]
    assert "Say how long" in acme("silence", "add", "--host", "db1", *both, *why, status=2).err
    assert "Say what" in acme("silence", "add", "--for", "2h", *why, status=2).err
    past = acme.refused("silence", "add", "--host", "db1", "--until", "2020-01-01", *why)
    assert past.startswith("it must end after it begins")
    assert acme.refused("silence", "end", "7") == "there is no silence 7: hotpotato silence list"


# --- tokens


def test_a_token_is_shown_once_listed_and_revoked(acme: Command) -> None:
    made = acme.json("token", "add", "Anna", "--name", "laptop")
    assert re.fullmatch("[0-9a-f]{64}", made["token"])
    ((digest, days),) = acme.rows(
        "SELECT digest, extract(day FROM expires_at - created_at)::int FROM token"
    )
    assert (bytes(digest), days) == (hashlib.sha256(made["token"].encode()).digest(), 90)
    shown = acme("token", "add", "Bob", "--name", "wall", "--scope", "read", "--days", "1").out
    assert re.search(r"^    [0-9a-f]{64}$", shown, re.MULTILINE)
    assert "Whoever has it reads in Bob's name." in shown
    listed = acme.json("token", "list")
    assert [(each["user"], each["name"], each["scope"], each["usable"]) for each in listed] == [
        ("Anna", "laptop", "act", True),
        ("Bob", "wall", "read", True),
    ]
    table = acme("token", "list").out
    assert made["token"] not in table
    assert max(map(len, table.splitlines())) <= 80
    assert acme.json("token", "revoke", str(made["id"]))["usable"] is False
    assert "revoked" in acme("token", "list").out
    assert acme.refused("token", "revoke", "99") == "there is no token 99: hotpotato token list"
    acme("user", "disable", "Bob")
    assert acme.refused("token", "add", "Bob", "--name", "x").startswith("Bob is disabled")


# --- why


def test_why_tells_who_was_chosen_what_was_merged_and_what_comes_next(acme: Command) -> None:
    """Anna had the pager by hand; her page was merged into a digest, which arrived."""
    acme("oncall", "set", "Anna")
    for table in ("override", "shift"):
        acme.rows(
            f"UPDATE {table} SET during = tstzrange(now() - interval '2 hours', NULL) RETURNING id"
        )
    first, _, digest = digest_of_two(acme)
    told = the_notification(acme, first)
    acme.rows(
        "INSERT INTO history (tenant_id, kind, alert_id, notification_id, sentence)"
        f" SELECT tenant_id, 'escalation', id, {told}, 'Anna is on call and is paged'"
        f" FROM alert WHERE id = {first} RETURNING id"
    )
    document = acme.json("why", "notification", str(told))
    (pager,) = document["on_call"]
    assert (pager["user"], pager["source"]) == ("Anna", "set by hand")
    assert pager["override"]["author"] == getpass.getuser()
    assert [(each["kind"], each["status"]) for each in document["messages"]] == [
        ("digest", "delivered"),
        ("page", "merged"),
    ]
    assert document["next"]["sentence"].startswith(
        "Nobody has taken it, and its policy has not begun; it is looked at next at "
    )
    assert document["next"]["at"] is not None
    shown = acme("why", "notification", str(told)).out
    for piece in (
        "Anna is on call, from ",
        f"by set by hand, said by {getpass.getuser()} at ",
        "Anna is on call and is paged",
        f"Message {digest}: digest to Anna, +64211234567: delivered",
        "1 SMS instead of 2",
        "outcome    accepted, the provider's id is 4711",
        f"It is told in message {digest}, a digest, and goes the way of that.",
        "What comes next\n  Nobody has taken it",
    ):
        assert piece in shown, shown
    story = acme("notification", "show", str(told)).out
    assert f"It is told in message {digest}, a digest, and goes the way of that." in story
    assert "It stands for messages " in story
    assert acme.refused("why", "notification", "99") == "there is no notification 99"


def test_a_message_that_is_held_says_until_when(acme: Command) -> None:
    first = alert(acme, 1)
    message(acme, "held", alert_id=first, hold_until="(now() + interval '6 hours')")
    shown = acme("notification", "show", str(the_notification(acme, first))).out
    assert re.search(r"It is held back until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d NZ.T, since ", shown)
    (told,) = acme.json("alert", "show", str(first))[0]["messages"]
    assert (told["status"], told["attempts"]) == ("held", [])
    assert told["hold_until"] is not None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"place": "10 minutes", "place_at": "(now())"},
            r"Nobody has taken it; it is 0:10:00 along its policy since .*, and is looked at next"
            r" .*\. As its policy says, in [45] min.*: on call \(primary\) again;"
            r" at 20 min: everyone, every 10 min until somebody takes it\.$",
        ),
        ({"silenced": "true"}, "A silence holds it back; it is looked at next at [^.]*\\.$"),
        ({"flapping": "true"}, "It comes and goes, so that is told in digests; it is looked at"),
        (
            {
                "status": "acknowledged",
                "acknowledged_at": "(now())",
                "acknowledged_by": "Bob",
                "acknowledged_until": "(now() + interval '30 minutes')",
            },
            "Bob has acknowledged it until .*: it pages again then, unless",
        ),
        (
            {"status": "acknowledged", "acknowledged_at": "(now())", "acknowledged_by": "Bob"},
            "Bob has acknowledged it: nothing more is sent until its state changes",
        ),
        (
            {
                "status": "resolved",
                "resolved_at": "(now())",
                "resolved_by": "Bob",
                "due_at": "(NULL)",
            },
            "The alert is over since .*, Bob said so: nothing more will be sent",
        ),
    ],
)
def test_what_comes_next_depends_on_where_the_alert_stands(
    acme: Command, more: dict[str, Any], said: str
) -> None:
    told = the_notification(acme, alert(acme, 1, **more))
    assert re.match(said, acme.json("why", "notification", str(told))["next"]["sentence"])


def test_what_needs_nobody_says_so(acme: Command) -> None:
    first = alert(acme, 1)
    ((id,),) = acme.rows(
        "INSERT INTO notification (tenant_id, received_at, effect, is_service, event, state,"
        " hostname, late) SELECT tenant_id, now(), 'record', false, 'DOWNTIMESTART', 'DOWN',"
        f" 'db1', false FROM alert WHERE id = {first} RETURNING id"
    )
    document = acme.json("why", "notification", str(id))
    assert document["next"] == {
        "sentence": "Nothing: what this event says is recorded only.",
        "at": None,
    }
    assert "No message was needed." in acme("why", "notification", str(id)).out


def test_why_of_a_person_whatever_their_name(acme: Command) -> None:
    acme("user", "add", "notification", "--sms", "+64219876543")
    acme("oncall", "set", "notification")
    (answer,) = acme.json("why", "--user", "notification")
    assert (answer["on_call"], answer["user"]) == (True, "notification")
    (answer,) = acme.json("why", "user", "notification")
    assert answer["on_call"] is True
    (answer,) = acme.json("why", "Anna", "--at", "2020-01-01 03:00")
    assert (answer["on_call"], answer["user"]) == (False, None)
    assert acme("why", status=2).err
    assert "Say whom" in acme("why", "Anna", "--user", "Bob", status=2).err


@pytest.mark.parametrize("noun", ["alert", "silence", "token", "why"])
def test_help_teaches_by_examples(hotpotato: Command, noun: str) -> None:
    assert f"\n    hotpotato {noun} " in hotpotato(noun, "--help").out
