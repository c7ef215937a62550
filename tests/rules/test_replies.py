"""What a person meant by an SMS."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules.keys import CODE_LETTERS
from hotpotato.rules.replies import Acknowledge, NotUnderstood, understood

codes = st.text(CODE_LETTERS, min_size=3, max_size=8)
fillers = st.text(" \t\n.,:;!-–'\"()", max_size=4)


@pytest.mark.parametrize(
    "content",
    [
        "ack KWT",
        "ACK kwt",
        "Ack: Kwt.",
        "  ack\tkwt \n",
        "acknowledge KWT",
        "'ack kwt'",
        "ack-kwt!",
    ],
)
def test_however_it_is_written(content: str) -> None:
    assert understood(content) == Acknowledge("KWT")


@pytest.mark.parametrize(
    "content",
    ["", "ack", "KWT", "ackKWT", "nack KWT", "ack K2T", "ack KW", "ack ABCDEFGHJ", "ack KWT ABC"],
)
def test_what_is_something_else(content: str) -> None:
    assert understood(content) == NotUnderstood()


@given(code=codes, before=fillers, between=fillers.filter(bool), after=fillers)
def test_case_spaces_and_punctuation_are_forgiven(
    code: str, before: str, between: str, after: str
) -> None:
    for word in ("ack", "ACK", "Ack", "Acknowledge"):
        content = f"{before}{word}{between}{code.swapcase()}{after}"
        assert understood(content) == Acknowledge(code)


@given(st.text())
def test_nothing_makes_it_raise(content: str) -> None:
    assert isinstance(understood(content), Acknowledge | NotUnderstood)
