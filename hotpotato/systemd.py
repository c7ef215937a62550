"""What systemd is told: datagrams with lines NAME=VALUE, as sd_notify(3) has them.

A few lines of our own: the protocol is one sendto, and it must never block or raise.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping


class Notifier:
    """Tells systemd, where it wants to be told: `address` None says that it doesn't.

    `watchdog` is the seconds within which it wants to hear of us again and again, None if it
    doesn't.
    """

    def __init__(self, address: str | None, watchdog: float | None = None) -> None:
        self._address = address
        self.watchdog = watchdog if address else None
        self._said = ""

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Notifier:
        """The one that this process was started with.

        Takes the variables away, so that no program that we start speaks in our name.
        """
        address = environment.pop("NOTIFY_SOCKET", None)
        microseconds = environment.pop("WATCHDOG_USEC", "")
        ours = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = ours and microseconds.isdecimal() and int(microseconds) > 0
        return cls(address or None, int(microseconds) / 1_000_000 if watched else None)

    def status(self, sentence: str) -> None:
        """Say how it is, in one line, if that is new."""
        line = " ".join(sentence.split())
        if line != self._said:
            self._said = line
            self.tell(f"STATUS={line}")

    def tell(self, *lines: str) -> None:
        """Send one datagram. What can't be sent at once is not sent: the next look says more."""
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        flags = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, flags) as sending:
            sending.sendto("\n".join(lines).encode(), address)
