"""How long a failed authentication is made to wait for its answer, by the address it came from.

An address may fail ALLOWED times at once, and gets that back at one failure each EVERY seconds.
What goes beyond is answered one each EVERY seconds. All that is kept of an address is one time:
when its failures are forgiven. Times are seconds of any one clock.
"""

from __future__ import annotations

import ipaddress

ALLOWED = 100
"""Failures at once for which nobody waits: a wrong key in a whole rack's configuration."""

EVERY = 1.0

LONGEST = 5.0
"""Seconds that an answer waits at most: clients would give up, and come again."""

_OF_A_HOME = 64
"""Bits of an IPv6 address that name a network: the rest is its owner's to choose."""


def forgiven_at(before: float, now: float) -> float:
    """When an address that fails now is forgiven, if until now that was `before`.

    However often it fails, a pause of LONGEST and what it was allowed is enough.
    """
    return min(max(before, now) + EVERY, now + ALLOWED * EVERY + LONGEST)


def wait(forgiven: float, now: float) -> float:
    """The seconds that the failure just counted waits for its answer; 0 while it is allowed."""
    return max(0.0, forgiven - now - ALLOWED * EVERY)


def counted_as(host: str) -> str:
    """Under which name the failures of an address are counted: an IPv6 address under its network's.

    What is no IP address, such as a socket's path, counts as it stands.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _OF_A_HOME), strict=False))
