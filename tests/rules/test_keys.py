"""Keys, references and codes."""

from __future__ import annotations

import itertools
import re

from hotpotato.rules.keys import CODE_LETTERS, codes, key_digest, new_key, new_reference
from hotpotato.rules.replies import Acknowledge, understood


def test_a_key_is_long_random_and_plain() -> None:
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in made)


def test_what_is_stored_of_a_key_tells_it_from_another_and_is_not_the_key() -> None:
    assert key_digest("one") == key_digest("one") != key_digest("two")
    assert len(key_digest("\ud800")) == 32
    assert b"one" not in key_digest("one")


def test_a_reference_is_what_any_provider_takes() -> None:
    """At most 32 characters of [a-z0-9], says the interface."""
    made = {new_reference() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch("[a-z0-9]{24}", reference) for reference in made)


def test_codes_are_short_while_they_are_plenty_and_longer_when_they_get_scarce() -> None:
    lengths = [len(code) for code in itertools.islice(codes(), 30)]
    assert lengths == sorted(lengths)
    assert lengths[0] == 3
    assert lengths[-1] == 8


def test_every_code_is_understood_when_it_comes_back() -> None:
    """Also after a phone has written it in small letters."""
    for code in itertools.islice(codes(), 100):
        assert understood(f"ack {code.lower()}") == Acknowledge(code)


def test_letters_that_look_or_sound_alike_are_not_both_used() -> None:
    for alike in ("I1L", "O0Q", "UV", "BP", "MN", "DT", "FS", "S5", "Z2"):
        assert len(set(alike) & set(CODE_LETTERS)) <= 1, alike
    assert len(CODE_LETTERS) == len(set(CODE_LETTERS))
    assert CODE_LETTERS.isalpha()


def test_the_dice_can_be_handed_in() -> None:
    assert next(codes(lambda letters: letters[0])) == "AAA"
