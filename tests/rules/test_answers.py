"""What is answered to replies, and what others are told of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpotato.rules import answers
from hotpotato.rules.answers import SEGMENTS, Held
from hotpotato.rules.text import Subject, segments

DB1 = Subject(state="CRITICAL", hostname="db1", service_name="Postgres")
DB2 = Subject(state="DOWN", hostname="db2")
MORNING = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
AUCKLAND = "Pacific/Auckland"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (answers.acknowledged([DB1]), "Acknowledged: CRITICAL db1/Postgres"),
        (
            answers.acknowledged([DB1, DB2], held=1, over=2),
            "Acknowledged: CRITICAL db1/Postgres, DOWN db2 (1 taken by others, 2 over already)",
        ),
        (answers.resolved([DB1, DB2]), "Resolved: CRITICAL db1/Postgres, DOWN db2"),
        (answers.over_already(DB2), "DOWN db2 is over already, nothing is open."),
        (answers.taken_already(DB2, "Bob"), "DOWN db2 was acknowledged already, by Bob."),
        (answers.none_acknowledged(0), "Nothing is acknowledged: none of these is open."),
        (
            answers.none_acknowledged(2),
            "Nothing is acknowledged: none of these is open, 2 taken by others already.",
        ),
        (
            answers.which([("KWT", DB1), ("ABC", DB2)]),
            "Which one? ack KWT for CRITICAL db1/Postgres, ack ABC for DOWN db2",
        ),
        (
            answers.on_call(
                [("acme", [Held(schedule="primary", person="Anna", until=MORNING)])], AUCKLAND
            ),
            "On call: primary: Anna until Tue 24 Nov 09:00",
        ),
        (
            answers.on_call(
                [
                    ("acme", [Held(schedule="primary", person="Anna", until=None)]),
                    ("beta", [Held(schedule="primary", person=None, until=None)]),
                ],
                AUCKLAND,
            ),
            "On call: acme primary: Anna; beta primary: nobody",
        ),
        (
            answers.has_pager("acme", MORNING, AUCKLAND),
            "You have the pager of acme until Tue 24 Nov 09:00.",
        ),
        (answers.had_pager("acme", None, "UTC"), "You have the pager of acme already."),
        (answers.take_which(["acme", "beta"]), "Which one? Reply take acme or take beta"),
        (answers.taken_from_you("Bob", "acme"), "Bob has taken the pager of acme from you."),
        (
            answers.others_of_stop("Anna", "+64211234567", "Anna", on_call=True, reachable=True),
            "Anna switched off the phone +64211234567.",
        ),
        (
            answers.others_of_stop("Anna", "+64211234567", "root", on_call=True, reachable=False),
            "root switched off the phone +64211234567 of Anna. On call, not reachable: you"
            " are paged too.",
        ),
        (
            answers.others_of_stop("Anna", "+64211234567", "Anna", on_call=False, reachable=False),
            "Anna switched off the phone +64211234567. There is no other.",
        ),
        (
            answers.others_of_start("Anna", "+64211234567", "root"),
            "root switched on the phone +64211234567 of Anna.",
        ),
        (
            answers.verification("482913", "Anna"),
            "482913 is the code that verifies this phone for Hot Potato. Reply with it, Anna, or"
            " type it in where you were asked.",
        ),
    ],
)
def test_what_is_said(answer: str, expected: str) -> None:
    assert answer == expected


names = st.text(min_size=1) | st.builds(
    lambda text, count: text * count, st.text(min_size=1, max_size=4), st.integers(1, 100)
)
subjects = st.builds(Subject, state=names, hostname=names, service_name=st.none() | names)
held = st.builds(Held, schedule=names, person=st.none() | names, until=st.none() | st.just(MORNING))


@settings(max_examples=40)
@given(
    subject=subjects,
    several=st.lists(subjects, min_size=1, max_size=5),
    name=names,
    tenant=names,
    schedules=st.lists(held, max_size=5),
    count=st.integers(0, 9999),
)
def test_whatever_the_names_are_each_answer_keeps_to_its_parts(
    subject: Subject,
    several: list[Subject],
    name: str,
    tenant: str,
    schedules: list[Held],
    count: int,
) -> None:
    phone = "+123456789012345"
    for answer in (
        answers.acknowledged(several, count, count),
        answers.resolved(several),
        answers.over_already(subject),
        answers.taken_already(subject, name),
        answers.which([("ABCDEFGH", each) for each in several]),
        answers.on_call([(tenant, schedules)] * 2, AUCKLAND),
        answers.has_pager(tenant, MORNING, AUCKLAND),
        answers.had_pager(tenant, MORNING, AUCKLAND),
        answers.take_which([tenant, name]),
        answers.taken_from_you(name, tenant),
        answers.others_of_start(name, phone, tenant),
        answers.usage(),
        answers.stopped(True),
        answers.none_acknowledged(count),
    ):
        assert 1 <= segments(answer) <= SEGMENTS
    for reachable in (True, False):
        said = answers.others_of_stop(name, phone, tenant, on_call=True, reachable=reachable)
        assert segments(said) <= SEGMENTS
        assert phone in said
        assert said.endswith("you are paged too.") is not reachable
    assert segments(answers.no_such_code(name)) == 1
    carried = answers.verification("482913", name)
    assert segments(carried) == 1
    assert "482913" in carried


@pytest.mark.parametrize(
    "answer",
    [
        answers.not_understood(),
        answers.no_digest(),
        answers.nothing_open(),
        answers.cannot_take(),
        answers.stopped_already(),
        answers.started(),
        answers.started_already(),
        answers.verified(),
        answers.not_verified(),
    ],
)
def test_what_is_said_without_names_is_one_segment(answer: str) -> None:
    assert segments(answer) == 1


def test_how_it_is_done_is_said_with_an_example() -> None:
    assert "ack KWT" in answers.not_understood()
    for word in ("ack", "resolve", "ack all", "who", "take", "stop", "start"):
        assert word in answers.usage()
