"""Silences: what is held back, for a time, by patterns of host and service."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from hotpotato.vocabulary import Silence

__all__ = ["Silence", "silencing"]


def silencing(
    silences: Iterable[Silence], server_id: int | None, host: str, service: str | None
) -> Silence | None:
    """Of the silences that hold this back, the one that lasts longest; None if there is none."""
    matching = [each for each in silences if _matches(each, server_id, host, service)]
    return max(matching, key=lambda silence: silence.ends_in, default=None)


def _matches(silence: Silence, server_id: int | None, host: str, service: str | None) -> bool:
    if silence.server_id is not None and silence.server_id != server_id:
        return False
    if not fnmatchcase(host.casefold(), silence.host.casefold()):
        return False
    if silence.service is None:
        return True
    return service is not None and fnmatchcase(service.casefold(), silence.service.casefold())
