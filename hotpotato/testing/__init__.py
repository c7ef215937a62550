"""What the tests of other people's packages import: the contract of a sender.

It needs pytest and pytest-twisted, which come with `hotpotato[test]`.
"""

import pytest

pytest.register_assert_rewrite("hotpotato.testing.senders")

from hotpotato.testing.mount import Mounted  # noqa: E402
from hotpotato.testing.senders import (  # noqa: E402
    CallbackExample,
    Harness,
    Inbox,
    Received,
    Refusal,
    SenderCase,
    make_sender_tests,
    patiently,
    running,
)
from hotpotato.testing.standin import Answer, Behaviour, Request, StandIn  # noqa: E402

__all__ = [
    "Answer",
    "Behaviour",
    "CallbackExample",
    "Harness",
    "Inbox",
    "Mounted",
    "Received",
    "Refusal",
    "Request",
    "SenderCase",
    "StandIn",
    "make_sender_tests",
    "patiently",
    "running",
]
