"""Whatever happens, and whenever: a reply means what was in a message to its phone, and no more.

Any history of alerts, pages, digests, sends, replies and what others do is played through the real
database, and told to a model of what each reply means, which knows nothing of SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotpotato.duties.replies import Replies
from hotpotato.rules.keys import CODE_LETTERS
from hotpotato.rules.replies import JUST_OVER
from hotpotato.testing.database import drop_database, fresh_database
from tests.direct import Direct, run
from tests.world import ANNA, BOB, migrated

# (tenant, person, contact, address): Anna's phone is Ann's in another tenant; Cleo has none.
CONTACTS = ((1, 1, 1, ANNA), (1, 2, 2, BOB), (2, 3, 3, ANNA))
PHONES = (ANNA, BOB)
CLEO = 4

PEOPLE = f"""
INSERT INTO tenant (id, name, timezone) VALUES (1, 'acme', 'UTC'), (2, 'beta', 'UTC');
INSERT INTO person (id, tenant_id, name)
VALUES (1, 1, 'Anna'), (2, 1, 'Bob'), (3, 2, 'Ann'), ({CLEO}, 1, 'Cleo');
INSERT INTO contact (id, tenant_id, person_id, method, address, position)
VALUES (1, 1, 1, 'sms', '{ANNA}', 1), (2, 1, 2, 'sms', '{BOB}', 1), (3, 2, 3, 'sms', '{ANNA}', 1);
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Direct]:
    """A database with people, for all examples; each empties the rest of it."""
    url = fresh_database(migrated)
    direct = Direct(url)
    direct.sql(PEOPLE)
    yield direct
    direct.close()
    drop_database(url)


class Message(msgspec.Struct):
    """A page, or a digest of several, as the model knows it."""

    id: int
    tenant: int
    address: str
    alerts: list[int]
    is_digest: bool = False
    code: str | None = None
    sent_at: datetime | None = None


class Alert(msgspec.Struct):
    """An alert as the model knows it. `holder`: the person who acknowledged it."""

    id: int
    tenant: int
    code: str
    holder: int | None = None
    over_at: datetime | None = None


class Reply(msgspec.Struct):
    """A reply that was stored and waits to be judged."""

    address: str
    received_at: datetime
    command: str
    code: str
    answered: Message | None


class Story:
    """Does each thing in the database, and remembers it for the model."""

    def __init__(self, database: Direct) -> None:
        self.database = database
        self.duty = Replies(database)  # type: ignore[arg-type]  # it stands where Database does
        self.alerts: list[Alert] = []
        self.messages: list[Message] = []
        self.merged: set[int] = set()
        self.waiting: list[Reply] = []
        self.acknowledged: dict[str, list[datetime]] = {}
        self.codes = 0
        self.touched = 0
        database.sql("TRUNCATE alert, notification, message, attempt, code, reply, history CASCADE")

    @property
    def now(self) -> datetime:
        found: datetime = self.database.sql("SELECT hotpotato_now()")[0][0]
        return found

    # --- what happens

    def open(self, pick: int) -> None:
        """Another problem, in one of the tenants."""
        tenant = 1 + pick % 2
        alert_id = self._one(
            "INSERT INTO alert (tenant_id, subject, hostname, state, status, opened_at,"
            " last_notification_id, due_at) VALUES (%s, sha256(%s), 'db', 'DOWN', 'triggered',"
            " hotpotato_now(), 1, hotpotato_now()) RETURNING id",
            tenant,
            str(len(self.alerts)).encode(),
        )
        code = self._code("alert_id", tenant, alert_id)
        self.alerts.append(Alert(alert_id, tenant, code))

    def page(self, pick: int, other: int) -> None:
        """A page of an alert for somebody of its tenant, not sent yet."""
        if self.alerts:
            alert = self.alerts[pick % len(self.alerts)]
            contacts = [each for each in CONTACTS if each[0] == alert.tenant]
            contact = contacts[other % len(contacts)]
            message_id = self._queue("page", contact, alert.id)
            self.messages.append(Message(message_id, alert.tenant, contact[3], [alert.id]))

    def digest(self, pick: int) -> None:
        """A digest of whatever waits for one contact, not sent yet."""
        contact = CONTACTS[pick % len(CONTACTS)]
        parts = [
            each
            for each in self.messages
            if not each.is_digest
            and each.sent_at is None
            and each.id not in self.merged
            and (each.tenant, each.address) == (contact[0], contact[3])
        ]
        if parts:
            message_id = self._queue("digest", contact, None)
            self.database.sql(
                "UPDATE message SET status = 'merged', digest_id = %s, due_at = NULL,"
                " released_at = NULL"
                " WHERE id = ANY(%s)",
                message_id,
                [part.id for part in parts],
            )
            self.merged.update(part.id for part in parts)
            code = self._code("message_id", contact[0], message_id)
            alerts = sorted({alert for part in parts for alert in part.alerts})
            self.messages.append(
                Message(message_id, contact[0], contact[3], alerts, is_digest=True, code=code)
            )

    def send(self, pick: int) -> None:
        """The first attempt at a message begins."""
        unsent = [
            each for each in self.messages if each.sent_at is None and each.id not in self.merged
        ]
        if unsent:
            message = unsent[pick % len(unsent)]
            message.sent_at = self.now
            self.database.sql(
                "INSERT INTO attempt (tenant_id, message_id, number, sender, reference,"
                " provider_id, started_at) VALUES (%s, %s, 1, 'modica', %s, %s, hotpotato_now());"
                "UPDATE message SET tries = 1, status = 'sent', due_at = NULL WHERE id = %s",
                message.tenant,
                message.id,
                f"reference {message.id}",
                f"id {message.id}",
                message.id,
            )

    def reply(self, phone: int, command: str, pick: int, answers: bool) -> None:
        """A reply comes in, and is not judged yet."""
        codes = [alert.code for alert in self.alerts]
        codes += [each.code for each in self.messages if each.code is not None]
        code = codes[pick % len(codes)] if codes else "ZZZ"
        sent = [each for each in self.messages if each.sent_at is not None]
        answered = sent[pick % len(sent)] if answers and sent else None
        address = PHONES[phone]
        self.database.sql(
            "INSERT INTO reply (sender, provider_id, source, address, content, reply_to,"
            " received_at, due_at)"
            " SELECT 'modica', count(*), %s, %s, %s, %s, hotpotato_now(), hotpotato_now()"
            "   FROM reply",
            address,
            address,
            command.format(code),
            None if answered is None else f"id {answered.id}",
        )
        self.waiting.append(Reply(address, self.now, command, code, answered))

    def resolve(self, pick: int) -> None:
        """A recovery."""
        if self.alerts:
            alert = self.alerts[pick % len(self.alerts)]
            alert.over_at = alert.over_at or self.now
            self.database.sql(
                "UPDATE alert SET status = 'resolved',"
                " resolved_at = coalesce(resolved_at, hotpotato_now()) WHERE id = %s",
                alert.id,
            )

    def worsen(self, pick: int) -> None:
        """An acknowledged alert is open again: worse, or its acknowledgement ran out."""
        if self.alerts:
            alert = self.alerts[pick % len(self.alerts)]
            if alert.over_at is None:
                alert.holder = None
                self.database.sql(
                    "UPDATE alert SET status = 'triggered', due_at = hotpotato_now() WHERE id = %s",
                    alert.id,
                )

    def somebody_else(self, pick: int) -> None:
        """Cleo acknowledges something, in her own way."""
        if self.alerts:
            alert = self.alerts[pick % len(self.alerts)]
            if alert.over_at is None and alert.holder is None and alert.tenant == 1:
                alert.holder = CLEO
                self.database.sql(
                    "UPDATE alert SET status = 'acknowledged', acknowledged_at = hotpotato_now(),"
                    " acknowledged_by = 'Cleo', acknowledged_by_id = %s WHERE id = %s",
                    CLEO,
                    alert.id,
                )

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.database.advance(seconds)

    def judge(self) -> None:
        """The oldest reply is judged, and does what the model says: neither more nor less."""
        if not self.waiting:
            return
        reply = self.waiting.pop(0)
        meant, acknowledges = self.meant(reply)
        mine = {alert.id: self.person(alert.tenant, reply.address) for alert in self.alerts}
        takes = {
            alert.id
            for alert in self.alerts
            if alert.id in meant
            and alert.over_at is None
            and ("resolve" in reply.command or alert.holder in (None, mine[alert.id]))
        }
        ((before,),) = self.database.sql("SELECT coalesce(max(id), 0) FROM history")
        run(self.duty.turn())
        rows = self.database.sql(
            "SELECT alert_id FROM history WHERE id > %s AND kind IN ('acknowledged', 'resolved')",
            before,
        )
        assert sorted(alert for (alert,) in rows) == sorted(takes)
        assert takes <= self.told(reply), "it was in a message to that phone before the reply"
        self.touched += len(takes)
        if acknowledges:
            self.acknowledged.setdefault(reply.address, []).append(reply.received_at)
        for alert in self.alerts:
            if alert.id in takes and "resolve" in reply.command:
                alert.over_at = self.now
            elif alert.id in takes:
                alert.holder = mine[alert.id]
        stands = [
            (
                alert.id,
                "resolved" if alert.over_at else "acknowledged" if alert.holder else "triggered",
            )
            for alert in self.alerts
        ]
        assert self.database.sql("SELECT id, status FROM alert ORDER BY id") == stands

    # --- the model

    def sent_to(self, reply: Reply) -> list[Message]:
        """What was sent to the phone before its reply, in order."""
        sent = [
            (each.sent_at, each.id, each)
            for each in self.messages
            if each.address == reply.address
            and each.sent_at is not None
            and each.sent_at <= reply.received_at
        ]
        return [each for _, _, each in sorted(sent, key=lambda one: one[:2])]

    def told(self, reply: Reply) -> set[int]:
        """The alerts in messages to the phone before its reply."""
        return {alert for each in self.sent_to(reply) for alert in each.alerts}

    def meant(self, reply: Reply) -> tuple[set[int], bool]:
        """The alerts that a reply is about, and whether it acknowledges."""
        sent = self.sent_to(reply)
        if "{}" in reply.command:
            found = {alert.id for alert in self.alerts if alert.code == reply.code}
            meant = found & self.told(reply)
            for each in sent:
                meant |= set(each.alerts) if each.code == reply.code else set()
            return meant, bool(meant) and "resolve" not in reply.command
        if reply.command == "ack all":
            digests = [each for each in sent if each.is_digest][-1:]
            chosen = [reply.answered] if reply.answered in sent else digests
            meant = {alert for each in chosen if each for alert in each.alerts}
            return meant, bool(meant)
        since = max(
            (at for at in self.acknowledged.get(reply.address, []) if at <= reply.received_at),
            default=None,
        )
        meant = {
            alert
            for each in sent
            if since is None or (each.sent_at is not None and each.sent_at >= since)
            for alert in each.alerts
        }
        recently = reply.received_at - timedelta(seconds=JUST_OVER)
        over = {one.id for one in self.alerts if one.over_at and one.over_at <= recently}
        return (meant - over, True) if len(meant - over) == 1 else (set(), False)

    # --- small things

    def person(self, tenant: int, address: str) -> int:
        """Who has this phone in that tenant; nobody (0), perhaps."""
        return next((each[1] for each in CONTACTS if (each[0], each[3]) == (tenant, address)), 0)

    def _queue(self, kind: str, contact: tuple[int, int, int, str], alert: int | None) -> int:
        return self._one(
            "INSERT INTO message (tenant_id, kind, alert_id, person_id, contact_id, method,"
            " address, text, status, created_at, released_at, expires_at, due_at)"
            " VALUES (%s, %s, %s, %s, %s, 'sms', %s, '', 'queued', hotpotato_now(),"
            " hotpotato_now(), hotpotato_now() + interval '24 hours', hotpotato_now())"
            " RETURNING id",
            contact[0],
            kind,
            alert,
            contact[1],
            contact[2],
            contact[3],
        )

    def _code(self, column: str, tenant: int, about: int) -> str:
        letters, number = len(CODE_LETTERS), self.codes
        self.codes += 1
        code = "Z" + CODE_LETTERS[number // letters % letters] + CODE_LETTERS[number % letters]
        self.database.sql(
            f"INSERT INTO code (code, tenant_id, {column}) VALUES (%s, %s, %s)",
            code,
            tenant,
            about,
        )
        return code

    def _one(self, statement: str, *args: Any) -> int:
        ((found,),) = self.database.sql(statement, *args)
        return int(found)


picks = st.integers(0, 11)
seconds = st.sampled_from([0.0, 1.0, 1.0, 30.0, JUST_OVER, 4000.0])
commands = st.sampled_from(["ack {}", "{}", "ok {}", "resolve {}", "ack", "ok", "ack all"])
events = st.one_of(
    st.tuples(st.just("open"), picks),
    st.tuples(st.just("page"), picks, picks),
    st.tuples(st.just("page"), picks, picks),
    st.tuples(st.just("digest"), picks),
    st.tuples(st.just("send"), picks),
    st.tuples(st.just("send"), picks),
    st.tuples(st.just("reply"), st.integers(0, 1), commands, picks, st.booleans()),
    st.tuples(st.just("judge")),
    st.tuples(st.just("resolve"), picks),
    st.tuples(st.just("worsen"), picks),
    st.tuples(st.just("somebody_else"), picks),
    st.tuples(st.just("wait"), seconds),
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(events, min_size=5, max_size=40))
def test_a_reply_does_what_was_in_a_message_to_its_phone_before_it_and_nothing_else(
    database: Direct, history: list[tuple[Any, ...]]
) -> None:
    story = Story(database)
    for what, *how in history:
        getattr(story, what)(*how)
    while story.waiting:
        story.judge()


def test_the_model_is_not_always_idle(database: Direct) -> None:
    """One history in which most of it happens, so that the property above says something."""
    story = Story(database)
    for tenant in (0, 0, 0, 1):
        story.open(tenant)
    for alert in range(3):
        story.page(alert, 0)
    story.digest(0)
    story.reply(0, "ack {}", 4, False)  # the digest's code, before it is sent
    story.judge()
    assert story.touched == 0
    story.send(0)
    story.wait(1)
    story.page(3, 0)
    story.send(0)
    story.reply(1, "ack {}", 4, False)
    story.judge()
    assert story.touched == 0, "it did not go to Bob"
    story.somebody_else(1)
    story.wait(1)
    story.reply(0, "ack all", 0, False)
    story.judge()
    assert story.touched == 2, "two of three, the other is Cleo's"
    story.wait(1)
    story.reply(0, "ok", 0, False)
    story.judge()
    assert story.touched == 2, "nothing was sent since"
    story.page(3, 0)
    story.send(0)
    story.reply(0, "ok", 0, False)
    story.judge()
    assert story.touched == 3
