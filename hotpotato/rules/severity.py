"""How bad a state is."""

from __future__ import annotations

_RANKS = {"OK": 0, "UP": 0, "WARNING": 1, "UNKNOWN": 2, "UNREACHABLE": 3}
_WORST = 4


def severity(state: str) -> int:
    """0 for what is well, more for what is worse; a state that nobody knows is as bad as any."""
    return _RANKS.get(state.upper(), _WORST)
