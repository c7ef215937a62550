"""What a person meant by an SMS.

People write at three in the morning, on phones that know better: capital letters, full stops, odd
quotes, a signature below. A command is the first line that says anything; all of that line must be
the command, and what comes below it is a signature. Only a code may stand on the next line.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TypeAlias

import msgspec

from hotpotato.rules.keys import CODE_LETTERS, VERIFICATION_DIGITS

MOST_CONFIRMATIONS = 10
"""How many answers a phone gets within CONFIRMATIONS_WITHIN seconds: two robots fall silent."""

CONFIRMATIONS_WITHIN = 3600.0

JUST_OVER = 300.0
"""Seconds for which an alert that is over may still be what an "ok" is meant for."""

MOST_READ = 2000
"""Characters of a reply that are read: more than the longest SMS of people has. A provider may hand
in a whole mebibyte, and to look at the characters of that takes seconds."""

_ACKNOWLEDGE = {"ack", "acknowledge", "acknowledged", "ok", "okay"}
_RESOLVE = {"resolve", "resolved"}
_ALL = "all"
_ON_CALL = {"is", "s", "on", "call", "oncall"}

_WORD = re.compile(r"[^\W_]+")
_CODE = re.compile(r"[a-z]{3,8}")
_BARE_CODE = re.compile(f"[{CODE_LETTERS.lower()}]{{3,8}}")
_VERIFICATION = re.compile(f"[0-9]{{{VERIFICATION_DIGITS}}}")


class Acknowledge(msgspec.Struct, frozen=True):
    """«I take it»: what this code stands for, an alert or all the alerts of a digest."""

    code: str


class AcknowledgeAll(msgspec.Struct, frozen=True):
    """«I take them»: the alerts of the last digest."""


class AcknowledgeIt(msgspec.Struct, frozen=True):
    """«I take it», and there should be no doubt what."""


class Resolve(msgspec.Struct, frozen=True):
    """«It is over»: what this code stands for."""

    code: str


class Who(msgspec.Struct, frozen=True):
    """«Who is on call?»: of the tenants of this phone."""


class Take(msgspec.Struct, frozen=True):
    """«I take the pager», of a tenant if it is named; see `spoken`."""

    whose: str


class Stop(msgspec.Struct, frozen=True):
    """«Nothing more to this phone»."""


class Start(msgspec.Struct, frozen=True):
    """«This phone is on again»."""


class Help(msgspec.Struct, frozen=True):
    """«What can I say?»: tell me the commands."""


class Verify(msgspec.Struct, frozen=True):
    """The code that was sent to verify this phone."""

    code: str


class NotUnderstood(msgspec.Struct, frozen=True):
    """Anything else."""


Command: TypeAlias = (
    Acknowledge
    | AcknowledgeAll
    | AcknowledgeIt
    | Resolve
    | Who
    | Take
    | Stop
    | Start
    | Help
    | Verify
    | NotUnderstood
)


def understood(content: str) -> Command:
    """Read a reply; never raises."""
    lines = [words for line in content[:MOST_READ].splitlines() if (words := _words(line))]
    if not lines:
        return NotUnderstood()
    first, *below = lines
    if len(first) == 1 and first[0] in _ACKNOWLEDGE | _RESOLVE and below and _is_object(below[0]):
        first = first + below[0]
    return _command(first[0], first[1:])


def spoken(name: str) -> str:
    """A name as it is compared with what somebody wrote: words in small letters."""
    return " ".join(_words(name))


def _command(verb: str, rest: list[str]) -> Command:
    if verb in _ACKNOWLEDGE:
        return _acknowledge(rest)
    if verb in _RESOLVE:
        return Resolve(code) if (code := _code(rest)) else NotUnderstood()
    if verb in ("who", "whos") and _ON_CALL.issuperset(rest):
        return Who()
    if verb == "take":
        return Take(" ".join(rest))
    if digits := _verification(verb, rest):
        return Verify(digits)
    if not rest:
        return _alone(verb)
    return NotUnderstood()


def _acknowledge(rest: list[str]) -> Command:
    if not rest:
        return AcknowledgeIt()
    if rest == [_ALL]:
        return AcknowledgeAll()
    return Acknowledge(code) if (code := _code(rest)) else NotUnderstood()


def _code(words: list[str]) -> str | None:
    """A code, also one with letters that none has: that is how it is mistyped."""
    if len(words) != 1 or words[0] == _ALL or not _CODE.fullmatch(words[0]):
        return None
    return words[0].upper()


def _alone(word: str) -> Command:
    match word:
        case "stop":
            return Stop()
        case "start":
            return Start()
        case "help":
            return Help()
        case _ if _BARE_CODE.fullmatch(word):
            return Acknowledge(word.upper())
        case _:
            return NotUnderstood()


def _verification(verb: str, rest: list[str]) -> str | None:
    """The six digits, alone or after «verify», however they are grouped."""
    digits = "".join(rest if verb == "verify" else [verb, *rest])
    return digits if _VERIFICATION.fullmatch(digits) else None


def _is_object(words: list[str]) -> bool:
    return len(words) == 1 and (words[0] == _ALL or bool(_BARE_CODE.fullmatch(words[0])))


def _words(line: str) -> list[str]:
    """The words of a line, whatever stands between them, in small letters."""
    return _WORD.findall(unicodedata.normalize("NFKC", line).lower())
