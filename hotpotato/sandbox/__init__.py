"""A stand-in for Modica's gateway, with a phone: for tests, demonstrations and `make run`.

It keeps its own idea of Modica's rules, apart from the sender's, so that a mistake in one of them
shows in the other.
"""

from hotpotato.sandbox.gateway import Delays, Gateway
from hotpotato.sandbox.message import Message
from hotpotato.sandbox.misbehaviour import Misbehaviour

__all__ = ["Delays", "Gateway", "Message", "Misbehaviour"]
