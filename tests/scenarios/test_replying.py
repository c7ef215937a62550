"""What people write back, and what is made of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
import pytest_twisted
from twisted.logger import LogEvent

from hotpotato import rota
from hotpotato.rules import keys
from hotpotato.store import contacts, people, schedules
from hotpotato.store.database import Transaction
from tests.world import ANNA, BOB, CLEO, START, World

STRANGER = "+64220000000"


def verdicts(world: World) -> list[str]:
    """What was made of each reply, in order."""
    return [verdict for (verdict,) in world.sql("SELECT verdict FROM reply ORDER BY id")]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "written",
    [
        "ack {}",
        "ACK {}",
        "Ack {}!",
        " ack: {}. ",
        "acknowledge {}",
        '"ack {}"',
        "ack\n{}",
        "Ack-{}",
    ],
)
async def test_ack_and_the_code_acknowledge_however_they_are_written(
    world: World, written: str
) -> None:
    await world.policy(acknowledged_for=0)
    await world.notify()
    await world.settle()
    code = world.code()
    await world.reply(ANNA, written.format(code.lower() if "Ack" in written else code))
    assert world.alert() == ("acknowledged", "Anna")
    assert world.texts(ANNA)[1] == "Acknowledged: CRITICAL db1/Postgres"
    await world.advance(1800, step=60)
    assert len(world.texts()) == 2


@pytest_twisted.ensureDeferred
async def test_the_number_may_come_without_its_plus(world: World) -> None:
    """As some gateways write it."""
    await world.notify()
    await world.settle()
    await world.reply(ANNA.removeprefix("+"), f"ack {world.code()}")
    assert world.alert() == ("acknowledged", "Anna")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("source", [STRANGER, "2048", "0211234567", "Bank", "", "+", "+64 ☎"])
async def test_a_stranger_is_heard_and_never_answered(world: World, source: str) -> None:
    await world.notify()
    await world.settle()
    code = world.code()
    status = await world.gateway.reply(source, f"ack {code}")
    assert status == (200 if source else 400)
    await world.settle()
    assert world.alert() == ("triggered", None)
    assert len(world.texts()) == 1
    if source:
        assert verdicts(world) == ["reply 1 came from a phone that nobody has; not answered"]


@pytest_twisted.ensureDeferred
async def test_a_disabled_persons_phone_is_a_strangers(world: World) -> None:
    async def work(transaction: Transaction) -> None:
        await people.disable_person(transaction, world.person("Anna"))

    await world.notify()
    await world.settle()
    await world.store(work)
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.alert() == ("triggered", None)
    assert len(world.texts(ANNA)) == 1


@pytest_twisted.ensureDeferred
async def test_a_code_of_somebody_elses_page_acknowledges_nothing(world: World) -> None:
    """Bob heard the letters over Anna's shoulder; he is told that they mean nothing from him."""
    await world.notify()
    await world.settle()
    await world.reply(BOB, f"ack {world.code()}")
    assert world.alert() == ("triggered", None)
    (answer,) = world.texts(BOB)
    assert answer.startswith("No open alert has the code ")


@pytest_twisted.ensureDeferred
async def test_a_mistyped_code_acknowledges_nothing(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.reply(ANNA, "ack OLO")  # letters that no code has
    assert world.alert() == ("triggered", None)
    assert world.texts(ANNA)[1].startswith("No open alert has the code OLO")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("said", ["on it", "", "ack ABC DEF", "stop it", "ack 123"])
async def test_what_is_not_understood_is_answered_with_how_it_is_done(
    world: World, said: str
) -> None:
    await world.reply(ANNA, said)
    assert world.texts(ANNA) == [
        'Not understood. Reply "ack" and the code of the page, like: ack KWT. For more: help'
    ]


@pytest_twisted.ensureDeferred
async def test_help_names_the_commands(world: World) -> None:
    await world.reply(ANNA, "Help?")
    assert world.texts(ANNA) == [
        "ack CODE or resolve CODE: of a page or a digest. ack all: the last digest. ack: if only"
        " one is open. who: is on call. take: the pager. stop, start: this phone."
    ]


@pytest_twisted.ensureDeferred
async def test_a_binary_body_is_not_read(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.reply(ANNA, f"ack {world.code()}", encoding="base64")
    assert world.alert() == ("triggered", None)
    assert world.texts(ANNA)[1].startswith("Not understood")


@pytest_twisted.ensureDeferred
async def test_the_same_reply_twice_acts_once(world: World) -> None:
    await world.notify()
    await world.settle()
    for _ in range(3):
        await world.reply(ANNA, f"ack {world.code()}", provider_id=77)
    assert len(verdicts(world)) == 1
    assert len(world.texts(ANNA)) == 2


@pytest_twisted.ensureDeferred
async def test_of_two_people_at_once_the_first_has_it_and_the_second_hears_so(
    world: World,
) -> None:
    await world.put_on_call(None)
    await world.notify()
    await world.settle()
    code = world.code()
    world.freeze()
    for number in (BOB, ANNA):
        assert await world.gateway.reply(number, f"ack {code}") == 200
    world.thaw()
    await world.settle()
    assert world.alert() == ("acknowledged", "Bob")
    assert world.texts(BOB)[1] == "Acknowledged: CRITICAL db1/Postgres"
    assert world.texts(ANNA)[1] == "CRITICAL db1/Postgres was acknowledged already, by Bob."


@pytest_twisted.ensureDeferred
async def test_a_reply_to_what_is_over_says_so(world: World) -> None:
    await world.notify()
    await world.settle()
    code = world.code()
    await world.notify("OK")
    await world.settle()
    await world.reply(ANNA, f"ack {code}")
    assert world.texts(ANNA)[-1] == "CRITICAL db1/Postgres is over already, nothing is open."
    assert world.alert() == ("resolved", None)


@pytest_twisted.ensureDeferred
async def test_an_acknowledgement_overtakes_a_page_that_waits(world: World) -> None:
    """Bob's page could not be sent yet, and now need not be."""
    world.gateway.misbehave("503", number=BOB)
    await world.put_on_call(None)
    await world.notify()
    await world.settle()
    await world.reply(ANNA, f"ack {world.code(ANNA)}")
    await world.advance(300, step=10)
    assert world.texts(BOB) == []
    assert ("page", "Bob", "cancelled") in world.messages()


@pytest_twisted.ensureDeferred
async def test_the_answers_to_one_phone_are_bounded(world: World) -> None:
    """Ten an hour; a loop of two robots ends, and what they say is still heard."""
    await world.policy(acknowledged_for=0)
    for number in range(14):
        await world.reply(ANNA, f"hello {number}")
    assert len(world.texts(ANNA)) == 10
    await world.reply(BOB, "hello")
    assert len(world.texts(BOB)) == 1
    await world.notify()
    await world.settle()
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.alert() == ("acknowledged", "Anna")
    assert len(world.texts(ANNA)) == 11
    assert verdicts(world)[-1] == (
        "Anna acknowledged the alert by SMS; not answered, that phone had enough answers for now"
    )
    await world.advance(3600, step=1800)
    await world.reply(ANNA, "hello again")
    assert len(world.texts(ANNA)) == 12


@pytest_twisted.ensureDeferred
async def test_a_phone_in_two_tenants_acknowledges_for_the_right_one(world: World) -> None:
    async def work(transaction: Transaction) -> int:
        other = await people.add_tenant(transaction, "other", "UTC")
        person = await people.add_person(transaction, other, "Ann", [("sms", ANNA)])
        await rota.set_on_call(transaction, other, person)
        return other

    await world.notify(hostname="db1")
    await world.settle()
    world.tenant_id = await world.store(work)
    key = await world.add_server_now("theirs")
    await world.post(
        "/api/servers/v2/notifications/send", {"hostname": "db2", "state": "DOWN"}, key=key
    )
    await world.settle()
    assert len(world.texts(ANNA)) == 2
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.sql("SELECT hostname, acknowledged_by FROM alert ORDER BY hostname") == [
        ("db1", None),
        ("db2", "Ann"),
    ]
    assert world.sql(
        "SELECT tenant.name FROM message JOIN tenant ON tenant.id = tenant_id"
        " WHERE kind = 'confirmation'"
    ) == [("other",)]


@pytest_twisted.ensureDeferred
async def test_one_that_cannot_be_judged_keeps_no_other_waiting(
    world: World, logged: list[LogEvent]
) -> None:
    """Should there be a defect, it is tried again every minute, and in the log."""
    await world.notify()
    await world.settle()
    world.sql(
        "ALTER TABLE message ADD CONSTRAINT no_answer_to_bob"
        f" CHECK (kind <> 'confirmation' OR address <> '{BOB}')"
    )
    assert await world.gateway.reply(BOB, "hello") == 200
    await world.reply(ANNA, f"ack {world.code()}")
    assert world.alert() == ("acknowledged", "Anna")
    world.sql("ALTER TABLE message DROP CONSTRAINT no_answer_to_bob")
    await world.advance(61, step=10)
    assert world.texts(BOB)[0].startswith("Not understood")
    (event,) = [event for event in logged if "log_failure" in event]
    logged.remove(event)


@pytest_twisted.ensureDeferred
async def test_replies_appear_in_the_history(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.reply(ANNA, f"ack {world.code()}")
    assert "Anna acknowledged the alert by SMS" in world.story()


# --- without a code


async def two_pages(world: World) -> tuple[str, str]:
    """Two pages to Anna; returns their codes."""
    await world.notify(hostname="db1")
    await world.settle()
    first = world.code(ANNA)
    await world.advance(1)
    await world.notify(hostname="db2")
    await world.settle()
    return first, world.code(ANNA)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("said", ["ack", "Ok.", "OK\n-- \nAnna Aro", "{}", "{}!"])
async def test_where_only_one_is_open_ack_alone_or_the_code_alone_will_do(
    world: World, said: str
) -> None:
    await world.notify()
    await world.settle()
    await world.advance(1)
    await world.reply(ANNA, said.format(world.code()))
    assert world.alert() == ("acknowledged", "Anna")
    assert world.texts(ANNA)[-1] == "Acknowledged: CRITICAL db1/Postgres"


@pytest_twisted.ensureDeferred
async def test_where_two_are_open_it_is_asked_which(world: World) -> None:
    first, second = await two_pages(world)
    await world.advance(5)
    await world.reply(ANNA, "ok")
    assert world.texts(ANNA)[-1] == (
        f"Which one? ack {first} for CRITICAL db1/Postgres, ack {second} for CRITICAL db2/Postgres"
    )
    assert world.sql("SELECT count(*) FROM alert WHERE status = 'triggered'") == [(2,)]
    assert verdicts(world) == ["Anna acknowledged without saying what, and it was not clear"]


@pytest_twisted.ensureDeferred
async def test_since_an_acknowledgement_only_what_came_after_it_counts(world: World) -> None:
    await world.notify(hostname="db1")
    await world.settle()
    await world.advance(5)
    await world.reply(ANNA, "ok")
    await world.advance(5)
    await world.notify(hostname="db2")
    await world.settle()
    await world.advance(5)
    await world.reply(ANNA, "ok")
    assert world.sql("SELECT hostname, status FROM alert ORDER BY id") == [
        ("db1", "acknowledged"),
        ("db2", "acknowledged"),
    ]


@pytest_twisted.ensureDeferred
async def test_what_was_open_before_an_acknowledgement_is_named_and_not_taken(
    world: World,
) -> None:
    first, second = await two_pages(world)
    await world.advance(5)
    await world.reply(ANNA, f"ack {second}")
    await world.advance(5)
    await world.reply(ANNA, "ok")
    assert world.texts(ANNA)[-1] == f"Which one? ack {first} for CRITICAL db1/Postgres"
    assert world.sql("SELECT status FROM alert ORDER BY id") == [
        ("triggered",),
        ("acknowledged",),
    ]


@pytest_twisted.ensureDeferred
async def test_an_ok_that_crossed_a_recovery_is_not_taken_for_the_next_page(world: World) -> None:
    """Anna means db1, which is over by now, and db2 came while she typed."""
    await world.notify(hostname="db1")
    await world.settle()
    await world.advance(30)
    await world.notify("OK", hostname="db1")
    await world.notify(hostname="db2")
    await world.settle()
    code = world.code(ANNA)
    await world.advance(5)
    await world.reply(ANNA, "ok")
    assert world.alert() == ("triggered", None)
    assert world.texts(ANNA)[-1] == f"Which one? ack {code} for CRITICAL db2/Postgres"
    await world.advance(300)
    await world.reply(ANNA, "ok")
    assert world.alert() == ("acknowledged", "Anna")


@pytest_twisted.ensureDeferred
async def test_an_ok_when_nothing_is_open_says_so(world: World) -> None:
    await world.reply(ANNA, "ok")
    await world.notify()
    await world.settle()
    await world.reply(BOB, "ok")
    nothing = ["Nothing that was sent to this phone is open, so nothing is acknowledged."]
    assert world.texts(ANNA)[:1] == world.texts(BOB) == nothing
    assert world.alert() == ("triggered", None)


# --- digests


async def digest(world: World, code: str, *hostnames: str) -> None:
    """A digest for Anna of these alerts, sent by the daemon."""
    world.sql(
        """
        WITH digest AS (
            INSERT INTO message (tenant_id, kind, person_id, contact_id, method, address, text,
                                 status, created_at, released_at, expires_at, due_at)
            SELECT tenant_id, 'digest', person_id, id, method, address, %s, 'queued',
                   hotpotato_now(), hotpotato_now(), hotpotato_now() + interval '1 day',
                   hotpotato_now()
              FROM contact WHERE address = %s
            RETURNING id, tenant_id, person_id, contact_id, method, address
        ), coded AS (
            INSERT INTO code (code, tenant_id, message_id) SELECT %s, tenant_id, id FROM digest
        )
        INSERT INTO message (tenant_id, kind, alert_id, person_id, contact_id, method, address,
                             status, digest_id, created_at, expires_at)
        SELECT digest.tenant_id, 'page', alert.id, person_id, contact_id, method, address,
               'merged', digest.id, hotpotato_now(), hotpotato_now() + interval '1 day'
          FROM digest, alert WHERE hostname = ANY(%s) AND status <> 'resolved'
        """,
        f"{len(hostnames)} problems. Reply ack {code}",
        ANNA,
        code,
        list(hostnames),
    )
    world.sql("SELECT pg_notify('hotpotato', 'dispatch')")
    await world.settle()
    await world.advance(1)


async def storm(world: World, *hostnames: str) -> None:
    """Problems that page Bob, who does not answer."""
    await world.put_on_call("Bob")
    await world.settle()
    for hostname in hostnames:
        await world.notify(hostname=hostname, service_name=None)
    await world.settle()


def acknowledged(world: World) -> list[str]:
    rows = world.sql("SELECT hostname FROM alert WHERE status = 'acknowledged' ORDER BY id")
    return [hostname for (hostname,) in rows]


@pytest_twisted.ensureDeferred
async def test_a_digests_code_stands_for_all_its_alerts(world: World) -> None:
    await storm(world, "db1", "db2", "db3")
    await digest(world, "XYZZY", "db1", "db3")
    await world.reply(ANNA, "Ack: xyzzy.")
    assert acknowledged(world) == ["db1", "db3"]
    assert world.texts(ANNA)[-1] == "Acknowledged: CRITICAL db1, CRITICAL db3"
    assert verdicts(world) == [
        "Anna acknowledged 2 of 2 alerts by SMS; 0 taken by others, 0 over already"
    ]
    await world.reply(BOB, "ack xyzzy")
    assert world.texts(BOB)[-1].startswith("No open alert has the code XYZZY")


@pytest_twisted.ensureDeferred
async def test_ack_all_is_the_last_digest_and_no_other(world: World) -> None:
    await storm(world, "db1", "db2", "db3", "db4")
    await digest(world, "XYZZY", "db1", "db2")
    await digest(world, "YZXXY", "db2", "db3")
    await world.reply(ANNA, "ack all")
    assert acknowledged(world) == ["db2", "db3"]


@pytest_twisted.ensureDeferred
async def test_ack_all_says_what_others_have_and_what_is_over(world: World) -> None:
    await storm(world, "db1", "db2", "db3")
    await digest(world, "XYZZY", "db1", "db2", "db3")
    code = next(text for text in world.texts(BOB) if "db2" in text).split()[-1]
    await world.reply(BOB, f"ack {code}")
    await world.notify("UP", hostname="db3", service_name=None)
    await world.settle()
    await world.reply(ANNA, "ack all")
    assert world.texts(ANNA)[-1] == (
        "Acknowledged: CRITICAL db1 (1 taken by others, 1 over already)"
    )
    assert world.sql("SELECT hostname, acknowledged_by FROM alert ORDER BY id") == [
        ("db1", "Anna"),
        ("db2", "Bob"),
        ("db3", None),
    ]


@pytest_twisted.ensureDeferred
async def test_where_the_provider_says_which_message_was_answered_it_is_that(
    world: World,
) -> None:
    await storm(world, "db1", "db2", "db3")
    await digest(world, "XYZZY", "db1", "db2")
    await digest(world, "YZXXY", "db3")
    ((answered,),) = world.sql(
        "SELECT provider_id FROM attempt JOIN message ON message.id = message_id"
        "  JOIN code ON code.message_id = message.id WHERE code = 'XYZZY'"
    )
    await world.reply(ANNA, "ack all", reply_to=answered)
    assert acknowledged(world) == ["db1", "db2"]


@pytest_twisted.ensureDeferred
async def test_ack_all_without_a_digest_says_how_it_is_done(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.reply(ANNA, "ack all")
    assert world.alert() == ("triggered", None)
    assert world.texts(ANNA)[-1].startswith("No digest was sent to this phone.")


# --- again, and over


@pytest_twisted.ensureDeferred
async def test_who_has_it_renews_it_by_acknowledging_again(world: World) -> None:
    await world.notify()
    await world.settle()
    code = world.code()
    until = "SELECT acknowledged_until - hotpotato_now() = interval '30 minutes' FROM alert"
    for _ in range(2):
        await world.reply(ANNA, f"ack {code}")
        assert world.texts(ANNA)[-1] == "Acknowledged: CRITICAL db1/Postgres"
        assert world.sql(until) == [(True,)]
        await world.advance(600, step=60)
        assert world.sql(until) == [(False,)]


@pytest_twisted.ensureDeferred
async def test_an_alert_is_called_over_by_its_code(world: World) -> None:
    await world.notify()
    await world.settle()
    code = world.code()
    await world.reply(ANNA, f"Resolve {code.lower()}.")
    assert world.texts(ANNA)[1] == "Resolved: CRITICAL db1/Postgres"
    assert world.sql("SELECT status, resolved_by FROM alert") == [("resolved", "Anna")]
    assert "Anna resolved the alert by SMS" in world.story()
    await world.reply(ANNA, f"resolve {code}")
    assert world.texts(ANNA)[-1] == "CRITICAL db1/Postgres is over already, nothing is open."
    await world.notify()
    await world.settle()
    assert world.code() != code, "it is another alert if it goes on"


@pytest_twisted.ensureDeferred
async def test_what_was_not_sent_to_a_phone_is_not_resolved_from_it(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.reply(BOB, f"resolve {world.code()}")
    assert world.alert() == ("triggered", None)
    assert world.texts(BOB)[0].startswith("No open alert has the code ")


@pytest_twisted.ensureDeferred
async def test_yesterdays_code_acknowledges_nothing_of_today(world: World) -> None:
    await world.notify()
    await world.settle()
    code = world.code()
    await world.notify("OK")
    await world.advance(86_400, step=7200)
    await world.notify()
    await world.settle()
    assert world.code() != code
    await world.reply(ANNA, f"ack {code}")
    assert world.alert() == ("triggered", None)
    assert world.texts(ANNA)[-1] == "CRITICAL db1/Postgres is over already, nothing is open."


# --- the pager


async def in_another_tenant(world: World, *, on_call: bool = False) -> None:
    """Anna's phone is also Ann's, of the tenant beta."""

    async def work(transaction: Transaction) -> None:
        other = await people.add_tenant(transaction, "beta", "UTC")
        person = await people.add_person(transaction, other, "Ann", [("sms", ANNA)])
        await people.add_person(transaction, other, "Dora", [("sms", DORA)])
        if on_call:
            await rota.set_on_call(transaction, other, person)

    await world.store(work)


DORA = "+64218888888"


@pytest_twisted.ensureDeferred
async def test_who_is_on_call_is_said_for_every_schedule(world: World) -> None:
    world.sql("INSERT INTO schedule (tenant_id, name) VALUES (%s, 'secondary')", world.tenant_id)
    await world.settle()
    await world.reply(BOB, "Who’s on call?")
    assert world.texts(BOB) == ["On call: primary: Anna; secondary: nobody"]


@pytest_twisted.ensureDeferred
async def test_who_is_on_call_is_said_for_every_tenant_of_the_phone(world: World) -> None:
    await in_another_tenant(world)
    await world.reply(ANNA, "who")
    assert world.texts(ANNA) == ["On call: acme primary: Anna; beta primary: nobody"]


@pytest_twisted.ensureDeferred
async def test_the_pager_is_taken_for_what_is_left_of_the_shift(world: World) -> None:
    ends = START + timedelta(hours=5)

    async def shift(transaction: Transaction) -> None:
        await rota.clear_on_call(transaction, world.tenant_id)
        (primary,) = await schedules.find(transaction, name="primary")
        anna = world.person("Anna")
        await rota.override(transaction, primary.id, anna, START, ends, "a test")

    await world.store(shift)
    await world.reply(BOB, "TAKE")
    assert world.texts(BOB) == ["You have the pager of acme until Tue 24 Nov 08:00."]
    assert world.texts(ANNA) == ["Bob has taken the pager of acme from you."]
    await world.reply(BOB, "take")
    assert world.texts(BOB)[1] == "You have the pager of acme already until Tue 24 Nov 08:00."
    await world.notify()
    await world.settle()
    assert world.texts(BOB)[-1].startswith("CRITICAL db1")
    assert world.sql("SELECT author FROM override WHERE source = 'take'") == [("Bob by SMS",)]
    await world.reply(BOB, "who")
    assert world.texts(BOB)[-1] == "On call: primary: Bob until Tue 24 Nov 08:00"


@pytest_twisted.ensureDeferred
async def test_a_phone_in_two_tenants_says_whose_pager_it_takes(world: World) -> None:
    await world.put_on_call("Bob")
    await in_another_tenant(world)
    await world.reply(ANNA, "take")
    assert world.texts(ANNA) == ["Which one? Reply take acme or take beta"]
    await world.reply(ANNA, "take gamma")
    assert world.texts(ANNA)[1] == "Which one? Reply take acme or take beta"
    await world.reply(ANNA, "Take Beta!")
    assert world.texts(ANNA)[2] == "You have the pager of beta."
    await world.reply(CLEO, "who")
    assert world.texts(CLEO) == ["On call: primary: Bob"]


@pytest_twisted.ensureDeferred
async def test_who_share_a_phone_say_who_takes_the_pager(world: World) -> None:
    async def work(transaction: Transaction) -> None:
        await people.set_contacts(
            transaction, world.tenant_id, world.person("Bob"), [("sms", CLEO)]
        )

    await world.store(work)
    await world.reply(CLEO, "take")
    assert world.texts(CLEO) == ["Which one? Reply take Cleo or take Bob"]
    await world.reply(CLEO, "take bob")
    await world.reply(ANNA, "who")
    assert world.texts(ANNA)[-1] == "On call: primary: Bob"


@pytest_twisted.ensureDeferred
async def test_take_with_a_word_too_much_is_not_understood(world: World) -> None:
    await world.reply(BOB, "take it easy")
    assert world.texts(BOB)[0].startswith("Not understood")
    await world.reply(BOB, "take acme")
    assert world.texts(BOB)[1] == "You have the pager of acme."


# --- the phone itself


@pytest_twisted.ensureDeferred
async def test_who_stops_their_only_phone_while_on_call_leaves_it_to_the_others(
    world: World,
) -> None:
    await world.notify()
    await world.settle()
    await world.reply(ANNA, "Stop.")
    assert world.texts(ANNA)[1:] == [
        "Switched off: you get no more pages on this phone. You are on call without a phone: your"
        " team is told, and paged instead of you. To switch it on: start"
    ]
    for number in (BOB, CLEO):
        notice, page = sorted(world.texts(number))
        assert notice == (
            f"Anna switched off the phone {ANNA}. On call, not reachable: you are paged too."
        )
        assert page.startswith("CRITICAL db1/Postgres")
    assert "Anna switched off the phone +64211234567 of Anna" in world.story()
    await world.reply(ANNA, "stop")
    assert world.texts(ANNA)[-1].startswith("This phone is switched off already.")
    assert len(world.texts(BOB)) == 2


@pytest_twisted.ensureDeferred
async def test_who_has_another_phone_is_still_reached(world: World) -> None:
    async def work(transaction: Transaction) -> None:
        contacts = [("sms", ANNA), ("sms", DORA)]
        await people.set_contacts(transaction, world.tenant_id, world.person("Anna"), contacts)

    await world.store(work)
    await world.notify()
    await world.settle()
    await world.reply(ANNA, "stop")
    assert "team" not in world.texts(ANNA)[-1]
    assert world.texts(BOB) == world.texts(CLEO) == [f"Anna switched off the phone {ANNA}."]
    assert world.texts(DORA) == []


@pytest_twisted.ensureDeferred
async def test_who_is_not_on_call_is_missed_but_nobody_is_paged(world: World) -> None:
    await world.notify()
    await world.settle()
    await world.reply(BOB, "stop")
    notice = f"Bob switched off the phone {BOB}. There is no other."
    assert world.texts(ANNA)[1:] == world.texts(CLEO) == [notice]


@pytest_twisted.ensureDeferred
async def test_a_phone_is_switched_on_again_and_can_take_the_pager_only_then(
    world: World,
) -> None:
    await world.reply(BOB, "start")
    assert world.texts(BOB) == ["This phone is switched on. To switch it off: stop"]
    await world.reply(BOB, "stop")
    await world.reply(BOB, "take")
    assert world.texts(BOB)[-1].startswith("This phone is switched off and can't have the pager.")
    await world.reply(BOB, "Start!")
    assert world.texts(BOB)[-1].startswith("Switched on: you get pages on this phone again.")
    assert world.texts(CLEO)[-1] == f"Bob switched on the phone {BOB}."
    await world.reply(BOB, "take")
    assert world.texts(BOB)[-1] == "You have the pager of acme."


@pytest_twisted.ensureDeferred
async def test_a_phone_in_two_tenants_is_off_in_both(world: World) -> None:
    await in_another_tenant(world, on_call=True)
    await world.reply(ANNA, "stop")
    assert world.sql("SELECT stopped_at IS NULL FROM contact WHERE address = %s", ANNA) == [
        (False,),
        (False,),
    ]
    end = " On call, not reachable: you are paged too."
    assert world.texts(DORA) == [f"Ann switched off the phone {ANNA}.{end}"]
    assert world.texts(BOB) == [f"Anna switched off the phone {ANNA}.{end}"]
    await world.reply(ANNA, "start")
    assert world.texts(DORA)[-1] == f"Ann switched on the phone {ANNA}."


# --- verification


async def waits_for_a_code(world: World, number: str, code: str = "482913") -> None:
    """Nobody's phone is verified yet, and this one was sent a code."""
    world.sql("UPDATE contact SET verified_at = NULL")

    async def work(transaction: Transaction) -> None:
        for (contact_id,) in world.sql("SELECT id FROM contact WHERE address = %s", number):
            digest = keys.verification_digest(contact_id, code)
            await contacts.begin_verification(transaction, contact_id, digest)

    await world.store(work)


def is_verified(world: World, number: str) -> bool:
    return bool(
        world.sql("SELECT id FROM contact WHERE address = %s AND verified_at IS NOT NULL", number)
    )


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("said", ["482913", "482 913.", "Verify: 482913"])
async def test_a_phone_is_verified_by_its_code(world: World, said: str) -> None:
    await waits_for_a_code(world, ANNA)
    await world.reply(BOB, said)
    assert world.texts(BOB)[0].startswith("That is not the code")
    assert not is_verified(world, ANNA)
    await world.reply(ANNA, said)
    assert world.texts(ANNA) == ["Verified: Hot Potato knows that this phone gets its messages."]
    assert is_verified(world, ANNA)
    assert not is_verified(world, BOB)
    assert "the phone +64211234567 of Anna is verified" in world.story()


@pytest_twisted.ensureDeferred
async def test_a_verification_code_is_good_for_five_tries(world: World) -> None:
    await waits_for_a_code(world, ANNA)
    for wrong in range(5):
        await world.reply(ANNA, f"{wrong:06}")
    await world.reply(ANNA, "482913")
    assert not is_verified(world, ANNA)
    assert {text[:20] for text in world.texts(ANNA)} == {"That is not the code"}


@pytest_twisted.ensureDeferred
async def test_a_verification_code_is_good_for_a_quarter_of_an_hour_and_once(
    world: World,
) -> None:
    await waits_for_a_code(world, ANNA)
    await world.advance(900, step=300)
    await world.reply(ANNA, "482913")
    assert not is_verified(world, ANNA)
    await waits_for_a_code(world, ANNA)
    await world.advance(899, step=300)
    await world.reply(ANNA, "482913")
    assert is_verified(world, ANNA)
    await world.reply(ANNA, "482913")
    assert world.texts(ANNA)[-1].startswith("That is not the code")


@pytest_twisted.ensureDeferred
async def test_a_number_that_stays_is_verified_and_one_that_comes_back_is_not(
    world: World,
) -> None:
    async def change(*numbers: str) -> None:
        async def work(transaction: Transaction) -> None:
            wanted = [("sms", number) for number in numbers]
            await people.set_contacts(transaction, world.tenant_id, world.person("Anna"), wanted)

        await world.store(work)

    await waits_for_a_code(world, ANNA)
    await world.reply(ANNA, "482913")
    await change(DORA, ANNA)
    assert is_verified(world, ANNA)
    await change(DORA)
    await change(ANNA)
    assert not is_verified(world, ANNA)
    await world.reply(ANNA, "stop")
    await change(DORA)
    await change(ANNA)
    assert world.sql("SELECT stopped_at IS NULL FROM contact WHERE address = %s", ANNA) == [
        (False,)
    ]


# --- codes


@pytest_twisted.ensureDeferred
async def test_codes_are_given_once_and_not_again_for_seven_days(world: World) -> None:
    """Once its alert is over, and the last text with it is a week old, a code is free."""
    await world.without_pace()
    world.sql("CREATE TABLE used AS SELECT code FROM code")
    for number in range(40):
        await world.notify(hostname=f"db{number}")
    await world.settle()
    codes = [text.split()[-1] for text in world.texts(ANNA)]
    assert len(set(codes)) == 40
    for number in range(39):
        await world.notify("OK", hostname=f"db{number}")
    await world.advance(7 * 86_400 - 3601, step=86_400)
    assert world.sql("SELECT count(*) FROM code") == [(40,)]
    await world.advance(7300, step=3600)
    assert world.sql("SELECT count(*) FROM code") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_a_code_that_is_taken_is_never_given_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the dice fall."""
    drawn = iter(["AAA", "AAA", "AAA", "BBB"])
    monkeypatch.setattr("hotpotato.rules.keys.codes", lambda: drawn)
    await world.notify(hostname="one")
    await world.settle()
    await world.notify(hostname="two")
    await world.settle()
    assert world.sql("SELECT code FROM code ORDER BY code") == [("AAA",), ("BBB",)]
    assert CLEO not in {message.number for message in world.gateway.messages}
