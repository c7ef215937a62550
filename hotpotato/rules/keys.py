"""API keys, attempt references and alert codes: how they are made and what is kept of them.

`choice` is where the randomness comes from, a function like `secrets.choice`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator

Choice = Callable[[str], str]

# No I, L, O, Q (1 and 0 to the eye), no U and V, B and P, M and N, D and T, F and S (one for
# the other to the ear): what is left can be read to somebody over a bad line.
CODE_LETTERS = "ABCEFGHJKMRTVWXYZ"
_REFERENCE_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


def new_key() -> str:
    """A monitoring server's API key: 256 bits, shown once."""
    return secrets.token_hex(32)


def key_digest(key: str) -> bytes:
    """What is stored of a key. A key has 256 bits, so no salt and no slow hash is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def new_reference(choice: Choice = secrets.choice) -> str:
    """The reference of one attempt: 24 letters and digits (120 bits), nobody can guess it."""
    return "".join(choice(_REFERENCE_LETTERS) for _ in range(24))


def codes(choice: Choice = secrets.choice) -> Iterator[str]:
    """Codes to try for one alert, until one is free: short at first, longer as they get scarce."""
    for length in (3, 3, 4, 4, 5, 6, 7):
        yield "".join(choice(CODE_LETTERS) for _ in range(length))
    while True:
        yield "".join(choice(CODE_LETTERS) for _ in range(8))


VERIFICATION_DIGITS = 6


def verification_code(choice: Choice = secrets.choice) -> str:
    """The digits that are sent to a phone, and come back if somebody reads it."""
    return "".join(choice("0123456789") for _ in range(VERIFICATION_DIGITS))


def verification_digest(contact_id: int, code: str) -> bytes:
    """What is stored of the code for a contact.

    Whoever reads the digest can find the code: what protects it is that it is soon worth nothing.
    """
    return hashlib.sha256(f"{contact_id}:{code}".encode()).digest()
