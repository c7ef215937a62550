"""What a person meant by an SMS."""

from __future__ import annotations

import re
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules.keys import CODE_LETTERS
from hotpotato.rules.replies import (
    MOST_READ,
    Acknowledge,
    AcknowledgeAll,
    AcknowledgeIt,
    Command,
    Help,
    NotUnderstood,
    Resolve,
    Start,
    Stop,
    Take,
    Verify,
    Who,
    spoken,
    understood,
)

COMMANDS = ("ACK", "TAKE")
"""What could be a code, and is a command when it stands alone."""

codes = st.text(CODE_LETTERS, min_size=3, max_size=8).filter(lambda code: code not in COMMANDS)
fillers = st.text(" \t.,:;!-–'\"()‘’“”«»…_*#", max_size=4)
cases = st.sampled_from([str.lower, str.upper, str.title, str.swapcase, str.capitalize])


@pytest.mark.parametrize(
    "content",
    [
        "ack KWT",
        "ACK kwt",
        "Ack: Kwt.",
        "  ack\tkwt \n",
        "acknowledge KWT",
        "Acknowledged KWT",
        "'ack kwt'",
        "‘Ack Kwt’",
        "“ack kwt”.",
        "ack “KWT”",
        "ack-kwt!",
        "ACK: kwt.",
        "ok kwt",
        "OK, KWT!",
        "Okay kwt",
        "kwt",
        "KWT",
        " Kwt. ",
        "ack\nkwt",
        "ack\r\n\r\nKWT\r\n",
        "ack KWT\n-- \nAnna Aro\nOperations",
        "\n\nack kwt\n\nSent from my phone",
        "Kwt\nAnna",
        "ａｃｋ ＫＷＴ",
    ],
)
def test_an_acknowledgement_however_it_is_written(content: str) -> None:
    assert understood(content) == Acknowledge("KWT")


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        ("ack", AcknowledgeIt()),
        ("Ok.", AcknowledgeIt()),
        ("OK!\n-- \nAnna", AcknowledgeIt()),
        ("ack\nBob Smith", AcknowledgeIt()),
        ("ack all", AcknowledgeAll()),
        ("Ack: ALL!", AcknowledgeAll()),
        ("ok all", AcknowledgeAll()),
        ("ack\nall", AcknowledgeAll()),
        ("ack take", Acknowledge("TAKE")),
        ("ack ack", Acknowledge("ACK")),
        ("resolve KWT", Resolve("KWT")),
        ("Resolved: kwt.", Resolve("KWT")),
        ("resolve\nkwt", Resolve("KWT")),
        ("who", Who()),
        ("Who?", Who()),
        ("Who’s on call?", Who()),
        ("who is on-call", Who()),
        ("whos on call", Who()),
        ("take", Take("")),
        ("Take.", Take("")),
        ("take Acme Ltd.", Take("acme ltd")),
        ("stop", Stop()),
        ("STOP.", Stop()),
        ("Start", Start()),
        ("help!", Help()),
        ("Stop\n\nSent from my phone", Stop()),
        ("482913", Verify("482913")),
        ("482 913", Verify("482913")),
        ("Verify: 482913.", Verify("482913")),
        ("verify 482-913\nAnna", Verify("482913")),
    ],
)
def test_the_other_commands(content: str, meant: Command) -> None:
    assert understood(content) == meant


@pytest.mark.parametrize(
    "content",
    [
        "",
        " \n ",
        "?!",
        "nack KWT",
        "ack K2T",
        "ack KW",
        "ack ABCDEFGHJ",
        "ack KWT ABC",
        "do not ack KWT",
        "ok thanks, I will",
        "all ok",
        "resolve",
        "resolve all",
        "who are you",
        "stop it",
        "stop all",
        "please help",
        "verify",
        "48291",
        "4829131",
        "verify KWT",
        "OLO",
        "on it",
        "ack 482913",
    ],
)
def test_what_is_something_else(content: str) -> None:
    assert understood(content) == NotUnderstood()


@given(
    code=codes,
    word=st.sampled_from(["ack", "acknowledge", "ok", "okay"]),
    before=fillers,
    between=fillers.filter(bool),
    after=fillers,
    case=cases,
    signature=st.text(),
)
def test_case_spaces_punctuation_and_signatures_are_forgiven(
    code: str, word: str, before: str, between: str, after: str, case: typing.Any, signature: str
) -> None:
    content = f"{before}{case(word)}{between}{case(code)}{after}\n{signature}"
    assert understood(content) == Acknowledge(code)
    assert understood(f"{before}{case(code)}{after}\n{signature}") == Acknowledge(code)
    content = f"{before}{case('resolve')}{between}{case(code)}{after}\n{signature}"
    assert understood(content) == Resolve(code)


@given(st.text())
def test_nothing_makes_it_raise(content: str) -> None:
    assert isinstance(understood(content), typing.get_args(Command))


verbs = st.sampled_from(
    ["ack", "acknowledge", "ok", "resolve", "who", "whos", "take", "stop", "start", "help",
     "verify", "all", "is on call"]
)  # fmt: skip
"""What a reply is made of."""

spaced = st.text(st.sampled_from(" \t\n\r\v\u2028\u00a0.,:;-_"), max_size=3)
anything = st.text(st.characters())  # lone surrogates and NUL included
replies = st.lists(verbs | codes | st.from_regex(r"[0-9]{1,8}") | spaced | anything).map("".join)


@given(replies)
def test_what_looks_like_a_command_never_makes_it_raise_either(content: str) -> None:
    assert isinstance(understood(content), typing.get_args(Command))


@given(replies)
def test_what_is_taken_for_a_command_is_bounded(content: str) -> None:
    """A code is three to eight letters, a verification six digits; a name is compared, not kept."""
    match understood(content):
        case Acknowledge(code) | Resolve(code):
            assert re.fullmatch("[A-Z]{3,8}", code)
        case Verify(code):
            assert re.fullmatch("[0-9]{6}", code)
        case Take(whose):
            assert whose == spoken(whose)
        case other:
            assert msgspec.structs.asdict(other) == {}


@given(replies, st.sampled_from(["a", "\n", "\ufdfa", "take ", "ack\n", "1"]))
def test_of_a_reply_that_is_too_long_the_beginning_is_read(content: str, more: str) -> None:
    """U+FDFA is eighteen letters once it is normalised: a mebibyte of it took seconds."""
    whole = content + more * (2 * MOST_READ)
    assert understood(whole) == understood(whole[:MOST_READ])
    meant = understood(whole)
    if isinstance(meant, Take):
        assert len(meant.whose) <= 20 * MOST_READ


def test_a_command_is_found_at_the_top_of_the_longest_reply() -> None:
    assert understood("ack KWT\n" + "\ufdfa" * 1_000_000) == Acknowledge("KWT")
    assert understood("take Acme\n" + "x\n" * 500_000) == Take("acme")


@given(st.text())
def test_a_code_is_always_one_that_was_written(content: str) -> None:
    """Nothing is made up: whatever is acknowledged stands in the reply, letter by letter."""
    meant = understood(content)
    if isinstance(meant, Acknowledge | Resolve):
        assert meant.code in spoken(content).upper().split()


def test_names_are_compared_by_their_words() -> None:
    assert spoken(" Acme, Ltd. ") == "acme ltd"
    assert understood("take ACME-LTD") == Take(spoken("Acme Ltd"))
