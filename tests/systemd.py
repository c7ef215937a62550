"""systemd's end of the socket that a service tells it things by."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from types import TracebackType


class Systemd:
    """A socket at `path`, a file or, with an @ before it, a name in no directory."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self._lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        name = str(path)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        if isinstance(path, Path):
            path.chmod(0o666)

    @property
    def lines(self) -> list[str]:
        """Everything that it was told, in order."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._lines += self._socket.recv(4096).decode().split("\n")
        return self._lines

    def heard(self, line: str) -> bool:
        """Whether it was told this."""
        return line in self.lines

    def forget(self) -> None:
        """Begin anew."""
        self.lines.clear()

    def __enter__(self) -> Systemd:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
