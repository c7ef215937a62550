"""What a person meant, and what keys and codes look like."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules import keys
from hotpotato.rules.replies import Acknowledge, NotUnderstood, understood


@pytest.mark.parametrize(
    "content",
    ["ack KWT", "ACK kwt", " Ack  Kwt. ", "ack:kwt", "ack, KWT!", "acknowledge kwt", "“ack KWT”"],
)
def test_case_spaces_and_punctuation_are_forgiven(content: str) -> None:
    assert understood(content) == Acknowledge("KWT")


@pytest.mark.parametrize(
    "content", ["", "ack", "KWT", "ack KW", "ackKWT", "nack KWT", "ack KWT ABC", "back KWT", "ok"]
)
def test_anything_else_acknowledges_nothing(content: str) -> None:
    assert understood(content) == NotUnderstood()


@given(st.text())
def test_no_text_breaks_the_reading(content: str) -> None:
    meant = understood(content)
    if isinstance(meant, Acknowledge):
        assert "ack" in content.lower()
        assert meant.code.isascii()


@given(st.sampled_from("ABCEFGHJKMRTVWXYZ"), st.integers(0, 40))
def test_codes_are_short_first_and_longer_as_they_get_scarce(letter: str, skip: int) -> None:
    drawn = list(islice(keys.codes(lambda letters: letter), skip + 1))
    lengths = [len(code) for code in drawn]
    assert lengths == sorted(lengths)
    assert lengths[0] == 3
    assert max(lengths) <= 8


def test_codes_have_no_letters_that_are_mistaken_for_others() -> None:
    assert not set(keys.CODE_LETTERS) & set("ILOQUPNDS01")


def test_a_reference_fits_what_a_provider_takes_and_is_not_guessed() -> None:
    references = {keys.new_reference() for _ in range(100)}
    assert len(references) == 100
    assert all(len(one) <= 32 and one.isalnum() and one == one.lower() for one in references)
