"""ACME, for Hot Potato to find."""

from hotpotato_sender_acme.plugin import acme

__all__ = ["acme"]
