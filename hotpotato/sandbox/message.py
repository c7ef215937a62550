"""What Modica takes for a message, as far as its documents say."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

MAX_SEGMENTS = 10

GSM_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED = "^{}\\[~]|€\f"
FORBIDDEN = "¤¡§|"

_KEYS = {
    "destination", "content", "source", "reference", "class", "mask", "sms_class", "scheduled",
}  # fmt: skip


class Message(msgspec.Struct, kw_only=True):
    """A message that the gateway took. `at` is when, on the gateway's clock, in seconds.

    `receipts` are the statuses reported so far, in that order.
    """

    id: int
    number: str
    text: str
    at: float
    source: str | None = None
    reference: str | None = None
    segments: int = 1
    receipts: list[str] = []


class RefusedError(Exception):
    """Modica's `error` and `error-desc`."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


def segments(text: str) -> int:
    """How many SMS it takes: 160 GSM-7 or 70 UCS-2 characters in one, 153 or 67 in each of many."""
    if all(character in GSM_BASIC or character in GSM_EXTENDED for character in text):
        length = len(text) + sum(character in GSM_EXTENDED for character in text)
        return 1 if length <= 160 else math.ceil(length / 153)
    length = len(text.encode("utf-16-le")) // 2
    return 1 if length <= 70 else math.ceil(length / 67)


def read(body: bytes) -> dict[str, Any]:
    """The message in the body of a POST. Raises RefusedError."""
    try:
        message = json.loads(body)
    except ValueError as error:
        raise RefusedError("invalid_json", "the body is not JSON") from error
    if not isinstance(message, dict):
        raise RefusedError("invalid_json", "the body is not an object")
    for key in ("destination", "content"):
        if not message.get(key):
            raise RefusedError("missing_attrib", f"{key} is missing")
    for key, value in message.items():
        if key not in _KEYS:
            raise RefusedError("invalid_attrib", f"{key} is not known")
        if not isinstance(value, int if key == "sms_class" else str):
            raise RefusedError("invalid_attrib", f"{key} has the wrong type")
    _check_values(message)
    return message


def _check_values(message: dict[str, Any]) -> None:
    destination = message["destination"]
    if not re.fullmatch(r"\+[1-9]\d{6,14}", destination):
        raise RefusedError("invalid_attrib", f"destination {destination} is not a phone number")
    content = message["content"]
    if any(character in FORBIDDEN for character in content):
        raise RefusedError("invalid_attrib", f"content cannot include any of {FORBIDDEN}")
    if segments(content) > MAX_SEGMENTS:
        raise RefusedError("invalid_attrib", f"content needs more than {MAX_SEGMENTS} segments")
    if "class" in message and "source" in message:
        raise RefusedError("invalid_attrib", "class and source exclude each other")
    for key, limit in (("reference", 50), ("mask", 20)):
        if len(message.get(key, "")) > limit:
            raise RefusedError("invalid_attrib", f"{key} is longer than {limit} characters")
    if not 1 <= message.get("sms_class", 1) <= 3:
        raise RefusedError("invalid_attrib", "sms_class is not 1 to 3")
