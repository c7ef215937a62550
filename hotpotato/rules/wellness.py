"""Whether all is well, from what a daemon knows of itself: for readyz, systemd, and outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a daemon knows of itself.

    `trouble`: what keeps it from taking notifications. `stalled`: the loops that finished no turn
    lately. `senders` are those configured, `sick` those of them that are, with why.
    `undelivered`: the seconds for which nothing could be delivered, though something was due; None
    while that is no alarm.
    """

    trouble: str | None = None
    stalled: Sequence[str] = ()
    senders: Sequence[str] = ()
    sick: Mapping[str, str] = {}
    undelivered: float | None = None


def unready(facts: Facts) -> tuple[str, ...]:
    """What this daemon does not do that it should: for people and their monitoring."""
    found = [facts.trouble] if facts.trouble is not None else []
    if facts.stalled:
        found.append(f"no turn was finished lately by: {', '.join(facts.stalled)}")
    return tuple(found)


def unwell(facts: Facts) -> tuple[str, ...]:
    """Why somebody outside must be left to think that nobody would be paged; empty if all is well.

    One sender that is well is enough.
    """
    found = [*unready(facts)]
    if not facts.senders:
        found.append("no sender is configured")
    elif all(name in facts.sick for name in facts.senders):
        found.append(f"no sender is well: {_reasons(facts)}")
    if facts.undelivered is not None:
        found.append(_undelivered(facts.undelivered))
    return tuple(found)


def status(facts: Facts) -> str:
    """One line for whoever asks systemd how it is."""
    if facts.trouble is not None:
        return facts.trouble
    found = [*unready(facts)]
    if facts.undelivered is not None:
        found.append(_undelivered(facts.undelivered))
    if facts.sick:
        found.append(f"sick senders: {_reasons(facts)}")
    return "; ".join(["ready", *found])


def _undelivered(seconds: float) -> str:
    return f"nothing could be delivered for {seconds / 60:.0f} minutes"


def _reasons(facts: Facts) -> str:
    return "; ".join(f"{name} ({why})" for name, why in sorted(facts.sick.items()))
