"""Tenants' policies, as the rules know them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from twisted.logger import Logger

from hotpotato.rules import policy as rules
from hotpotato.store import policies
from hotpotato.store.database import Transaction

_log = Logger()


async def policies_of(transaction: Transaction, tenants: Iterable[int]) -> dict[int, rules.Policy]:
    """The policy of each of these tenants: what it has said, laid over the shipped one.

    One that can't be understood is as good as none: better told in another way than not at all.
    """
    wanted = sorted(set(tenants))
    stored = await policies.of(transaction, wanted)
    return {
        tenant: _read(tenant, stored[tenant]) if tenant in stored else rules.SHIPPED
        for tenant in wanted
    }


def _read(tenant: int, stored: policies.Stored) -> rules.Policy:
    try:
        return rules.laid_over(msgspec.to_builtins(stored))
    except (ValueError, msgspec.ValidationError):
        _log.failure("the policy of tenant {tenant} can't be understood", tenant=tenant)
        return rules.SHIPPED
