"""Hot Potato's built-in senders, for `hotpotato.senders.registry` to find."""

from hotpotato.senders.plugins import log, modica

__all__ = ["log", "modica"]
