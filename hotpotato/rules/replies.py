"""What a person meant by an SMS."""

from __future__ import annotations

import re

import msgspec

_ACKNOWLEDGE = re.compile(r"^\W*(?:ack(?:nowledge)?)\W+([a-z]{3,8})\W*$", re.IGNORECASE)

MOST_CONFIRMATIONS = 10
"""How many answers a phone gets within CONFIRMATIONS_WITHIN seconds: two robots fall silent."""

CONFIRMATIONS_WITHIN = 3600.0


class Acknowledge(msgspec.Struct, frozen=True):
    """«I take it»: the alert that this code stands for."""

    code: str


class NotUnderstood(msgspec.Struct, frozen=True):
    """Anything else."""


def understood(content: str) -> Acknowledge | NotUnderstood:
    """Read a reply; case, spaces and punctuation are forgiven."""
    match = _ACKNOWLEDGE.match(content.strip())
    if match is None:
        return NotUnderstood()
    return Acknowledge(match[1].upper())
