"""The words that reach a phone: what fits an SMS, and what Hot Potato says.

An SMS holds 160 septets of GSM-7 or 70 UTF-16 units of UCS-2; a longer one travels in parts of 153
or 67 and is paid part by part. One character outside GSM-7 turns the whole text into UCS-2. Every
wording here is fitted to a number of parts ("segments"), and something of the state, the host and
the service, and all of the code, is always in it.
"""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import msgspec

from hotpotato.rules.intake import shown

_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = "\f^{}\\[~]|€"
_FOREIGN = re.compile(f"[^{re.escape(_BASIC + _EXTENSION)}]")
_ESCAPED = re.compile(f"[{re.escape(_EXTENSION)}]")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_TWO_SEPTETS = "\x1be"
_TWO_UNITS = "\ud83d\ude00"
_ROOMIEST = 160
_ELLIPSIS = "\u2026"

_LOOK_ALIKES = {
    "'": "\u2018\u2019\u201a\u201b\u2032\u2039\u203a`\u00b4\u1fef\u1ffd",
    '"': "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212",
    "...": "\u2026",
    " ": "\t\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u202f\u205f\u3000",
    "": "\u00ad\u200b\u2060\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    "*": "\u00a4",
    "!": "\u00a1",
    "#": "\u00a7",
    "/": "|",
    "?": "\ufffd",
}
_REPLACED = str.maketrans({odd: plain for plain, odds in _LOOK_ALIKES.items() for odd in odds})
_REPLACED_ASCII = re.compile("[`|]")
_LINE_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_UNSENDABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

# What people would write if they had only GSM-7, where Unicode's decomposition doesn't say it.
_SYMBOLS = {
    "\u00b0": "deg",
    "\u03bc": "u",
    "\u00b1": "+-",
    "\u00d7": "x",
    "\u00f7": "/",
    "\u2044": "/",
    "\u2192": "->",
    "\u2190": "<-",
    "\u2022": "*",
    "\u2260": "!=",
    "\u2264": "<=",
    "\u2265": ">=",
    "\u0110": "D",
    "\u0111": "d",
    "\u0131": "i",
    "\u0141": "L",
    "\u0142": "l",
    "\u0152": "OE",
    "\u0153": "oe",
    "\u00d0": "D",
    "\u00f0": "d",
    "\u00de": "Th",
    "\u00fe": "th",
}
_NEGATION = "\u0338"
_JOINER = "\u200d"
_MARKS = ("Mn", "Mc", "Me")
_LOSS_IN = 10

# How wide a name may be, from generous to what still fits one segment of UCS-2 with everything.
_WHOLE = sys.maxsize
_WIDTHS = (_WHOLE, 80, 48, 32, 24, 16, 12, 8)
_NARROWEST = _WIDTHS[-1]
_LIST_WIDTH = 12
_OUTPUT_AT_LEAST = 24

_Frame = Callable[[int, bool], tuple[str, str]]


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a message is about: a notification's fields, as far as a text needs them."""

    state: str
    hostname: str
    service_name: str | None = None
    display_name: str | None = None
    output: str | None = None
    author: str | None = None
    comment: str | None = None


def is_gsm7(text: str) -> bool:
    """Whether every character is in GSM-7's basic or extension table (3GPP TS 23.038)."""
    return _FOREIGN.search(text) is None


def segments(text: str) -> int:
    """How many SMS a text takes; an empty one takes one too.

    As a phone does it, an escape sequence and a surrogate pair are never split between two
    parts: where only half of one would fit, the part stays a unit shorter.
    """
    if is_gsm7(text):
        units, first_half, alone, part = _ESCAPED.sub(_TWO_SEPTETS, text), _TWO_SEPTETS[0], 160, 153
    else:
        units, first_half, alone, part = _ASTRAL.sub(_TWO_UNITS, text), _TWO_UNITS[0], 70, 67
    if len(units) <= alone:
        return 1
    if first_half not in units:
        return math.ceil(len(units) / part)
    count, end = 1, part
    while end < len(units):
        end += part - (units[end - 1] == first_half)
        count += 1
    return count


def sendable(text: str) -> str:
    """The text without what an SMS cannot carry or would pay for needlessly; idempotent.

    Typography that has a look-alike in GSM-7 (quotes, dashes, the ellipsis, odd spaces) becomes
    that; `¤ ¡ § |`, which Modica refuses, become `* ! # /`; invisible characters and those that
    turn the direction of all that follows are dropped; line breaks of any kind become newlines,
    tabs spaces, other control characters, lone surrogates and U+FFFD question marks. Letters
    stay what they are (composed, by Unicode's NFC), whatever they cost.
    """
    if text.isascii() and text.isprintable() and not _REPLACED_ASCII.search(text):
        return text
    text = _LINE_BREAKS.sub("\n", text).translate(_REPLACED)
    return unicodedata.normalize("NFC", _UNSENDABLE.sub("?", text))


def fit(head: str, body: str, tail: str, limit: int) -> str:
    """Head, as much of the body as goes, and tail, in at most `limit` segments (at least 1).

    A cut body ends in ".." ("…" where the text is UCS-2 anyway) and is never cut inside what a
    person sees as one character; no longer beginning of it would fit. If head and tail alone are
    too long the body is left out and the head, then the tail, is shortened in its middle.

    Where the body is cut and only its own characters would make the text UCS-2, halving its
    room, it is written in GSM-7 if that shows more of it: symbols become words, accents are
    dropped, and what remains becomes "?", provided that this is one character in ten at most. So
    a stray emoji doesn't cost half of a page, and a body in Cyrillic or Chinese stays as it is.
    """
    limit = max(limit, 1)
    if segments(head + tail) > limit:
        return _fit_frame(head, tail, limit)
    pieces = list(islice(_characters(body), limit * _ROOMIEST + 1))
    count, text = _longest(head, pieces, tail, limit)
    if count < len(pieces) and is_gsm7(head + tail):
        plain = [_plain(piece) for piece in pieces]
        plain_count, plain_text = _longest(head, plain, tail, limit)
        lost = _lost(pieces[:plain_count], plain)
        if plain_count - lost > count and lost * _LOSS_IN <= plain_count:
            return plain_text
    return text


def page(
    subject: Subject, code: str, limit: int, again: bool = False, because: str | None = None
) -> str:
    """The text that wakes somebody: what, where, why, and how to take it.

    `again` marks a repetition; `because` says why this person is told ("Anna was not reached").
    """
    opening = "STILL " if again else ""

    def frame(width: int, display: bool) -> tuple[str, str]:
        why = brief(because, width)
        reason = f" ({why})" if why and width > _NARROWEST else ""
        return opening + _named(subject, width, display), f"{reason}\nReply ack {code}"

    return _worded(frame, subject.output, limit)


def recovery(subject: Subject, code: str, limit: int) -> str:
    """The text to those who were told of a problem that is over."""
    return _worded(
        lambda width, display: (_named(subject, width, display), f" ({code})" if code else ""),
        subject.output,
        limit,
    )


def announcement(subject: Subject, limit: int, what: str = "CUSTOM") -> str:
    """The text about something to know: the comment, or else the output, and who said it.

    The state is told beside `what`, the announcement's kind, unless it is the same word.
    """

    def frame(width: int, display: bool) -> tuple[str, str]:
        kind, state = brief(what, _state_width(width)), brief(subject.state, _state_width(width))
        author = brief(subject.author, width)
        head = f"{kind} {_place(subject, width, display)}"
        return (
            head if state == kind else f"{head} ({state})",
            f" ({author})" if author else "",
        )

    return _worded(frame, subject.comment or subject.output, limit)


def flapping(subject: Subject, code: str, limit: int) -> str:
    """The one text about what comes and goes, before it is told in digests."""

    def frame(width: int, display: bool) -> tuple[str, str]:
        state = brief(subject.state, _state_width(width))
        return f"FLAPPING {_place(subject, width, display)}, now {state}", f"\nReply ack {code}"

    return _worded(frame, None, limit)


def resolved_by(subject: Subject, by: str, limit: int) -> str:
    """To those who were told of a problem that somebody has called over."""
    return fit("RESOLVED ", _place(subject, _WHOLE, False), f", says {brief(by, 40)}", limit)


def taken_by_another(subject: Subject, by: str, limit: int) -> str:
    """To the person on call: somebody else has acknowledged it."""
    return fit(f"{brief(by, 40)} has acknowledged ", named(subject), "", limit)


def _worded(frame: _Frame, output: str | None, limit: int) -> str:
    """Fits a text whose names give way, step by step, to a first bit of output."""
    limit = max(limit, 1)
    body = _lines(output or "")
    colon = ": " if body else ""
    frames = [frame(_WHOLE, True), *(frame(width, False) for width in _WIDTHS)]
    head, tail = next(
        (
            (head, tail)
            for reserve in (_preview(body, _OUTPUT_AT_LEAST * limit), "")
            for head, tail in frames
            if segments(head + colon + reserve + tail) <= limit
        ),
        frames[-1],
    )
    return fit(head + colon, body, tail, limit)


def _named(subject: Subject, width: int, display: bool) -> str:
    return f"{brief(subject.state, _state_width(width))} {_place(subject, width, display)}"


def _place(subject: Subject, width: int, display: bool) -> str:
    host, called = brief(subject.hostname, width), brief(subject.display_name, width)
    title = f" ({called})" if display and called and called != host else ""
    service = f"/{brief(subject.service_name, width)}" if subject.service_name else ""
    return f"{host}{title}{service}"


def _state_width(width: int) -> int:
    return max(width // 2, _NARROWEST)


def brief(text: str | None, width: int) -> str:
    """A name in one line of at most `width`; never empty where there is one."""
    if text is None:
        return ""
    return _squeezed(" ".join(sendable(text).split()) or "?", width)


def _lines(output: str) -> str:
    lines = (" ".join(line.split()) for line in sendable(shown(output)).split("\n"))
    return "\n".join(line for line in lines if line)


def _preview(body: str, count: int) -> str:
    """The beginning of a body, in GSM-7 where `fit` might write it so."""
    pieces = list(islice(_characters(body), count))
    plain = [_plain(piece) for piece in pieces]
    return "".join(plain if _lost(pieces, plain) * _LOSS_IN <= len(pieces) else pieces)


def _longest(head: str, pieces: list[str], tail: str, limit: int) -> tuple[int, str]:
    """How many pieces fit between head and tail, and the text with them.

    A beginning never takes more parts than a longer one, although it may be GSM-7 where the
    longer one is UCS-2: that makes it smaller still.
    """
    whole = head + "".join(pieces) + tail
    if segments(whole) <= limit:
        return len(pieces), whole

    def cut(count: int) -> str:
        start = head + "".join(pieces[:count])
        return start + (".." if is_gsm7(start + tail) else _ELLIPSIS) + tail

    count = _most(lambda count: segments(cut(count)) <= limit, 0, len(pieces))
    return (count, cut(count)) if count >= 0 else (0, head + tail)


def _fit_frame(head: str, tail: str, limit: int) -> str:
    room = limit * _ROOMIEST
    width = _most(lambda n: segments(_squeezed(head, n) + tail) <= limit, 0, room)
    if width >= 0:
        return _squeezed(head, width) + tail
    return _squeezed(tail, _most(lambda n: segments(_squeezed(tail, n)) <= limit, 0, room))


def _most(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number from low to high that fits, if all below it do; low - 1 if none does."""
    return low - 1 + bisect_left(range(low, high + 1), True, key=lambda n: not fits(n))


def _squeezed(text: str, width: int) -> str:
    """The text in at most `width` units of either alphabet, shortened in its middle."""
    if _cost(text) <= width:
        return text
    pieces = list(_characters(text))
    if width < _NARROWEST:
        return _first(pieces, width)
    start = _first(pieces, (width - 1) // 2) or text[0]
    end = _first(pieces[::-1], (width - 2) // 2, backwards=True)
    return f"{start}..{end}"


def _first(pieces: Sequence[str], room: int, backwards: bool = False) -> str:
    taken: list[str] = []
    for piece in pieces:
        room -= _cost(piece)
        if room < 0:
            break
        taken.append(piece)
    return "".join(reversed(taken) if backwards else taken)


def _cost(text: str) -> int:
    return len(text) + len(_ESCAPED.findall(text)) + len(_ASTRAL.findall(text))


def _plain(piece: str) -> str:
    """One character as GSM-7 can say it, "?" if it can't."""
    if is_gsm7(piece):
        return piece
    parts = _SYMBOLS.get(piece) or unicodedata.normalize("NFKD", piece)
    bare = [
        _SYMBOLS.get(part, part)
        for part in parts
        if part == _NEGATION or unicodedata.category(part) != "Mn"
    ]
    plain = sendable("".join(bare))
    return plain if plain and is_gsm7(plain) else "?"


def _lost(pieces: Sequence[str], plain: Sequence[str]) -> int:
    return sum(new == "?" and old != "?" for old, new in zip(pieces, plain, strict=False))


def _characters(text: str) -> Iterator[str]:
    """What a person sees as one character, piece by piece.

    A simple form of Unicode's grapheme clusters: marks, joiners, variation selectors, skin tones
    and tags stay with what they follow, and regional indicators make a flag in pairs.
    """
    if text.isascii():
        yield from text
        return
    start = 0
    for place in range(1, len(text)):
        if not _continues(text, start, place):
            yield text[start:place]
            start = place
    yield text[start:]


def _continues(text: str, start: int, place: int) -> bool:
    before, here = text[place - 1], text[place]
    if _JOINER in (before, here):
        return True
    if here < "\u0300":
        return False
    if "\U0001f1e6" <= here <= "\U0001f1ff":
        return place == start + 1 and "\U0001f1e6" <= before <= "\U0001f1ff"
    if "\U0001f3fb" <= here <= "\U0001f3ff" or "\U000e0020" <= here <= "\U000e007f":
        return True
    return unicodedata.category(here) in _MARKS


def listing(head: str, items: Sequence[tuple[str, Subject]], tail: str, limit: int) -> str:
    """Head, each subject with what stands before it, or how many more there are, and tail.

    In at most `limit` segments: names give way first, then their number, but one is always there.
    """

    def listed(count: int, width: int) -> str:
        some = (f"{before}{_named(subject, width, False)}" for before, subject in items[:count])
        more = f" and {len(items) - count} more" if count < len(items) else ""
        return f"{head}{', '.join(some)}{more}{tail}"

    limit = max(limit, 1)
    few = min(len(items), limit * _ROOMIEST)
    for width in _WIDTHS:
        if few == len(items) and segments(whole := listed(few, width)) <= limit:
            return whole
    count = _most(lambda n: segments(listed(n, _LIST_WIDTH)) <= limit, 1, few)
    if count >= 1:
        return listed(count, _LIST_WIDTH)
    return fit("", listed(1, _LIST_WIDTH).removesuffix(tail), tail, limit)


def named(subject: Subject) -> str:
    """«CRITICAL db1/Postgres», each name whole and in one line."""
    return _named(subject, _WHOLE, False)
