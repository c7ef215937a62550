"""Codes for alerts and digests: drawn until each has a free one."""

from __future__ import annotations

from collections.abc import Iterable

from hotpotato.rules import keys
from hotpotato.store import alerts
from hotpotato.store.alerts import Coded
from hotpotato.store.database import Transaction


async def give(transaction: Transaction, wanted: Iterable[Coded]) -> dict[Coded, str]:
    """Give each of these its code; one that somebody else gave it meanwhile will do."""
    drawing = {coded: keys.codes() for coded in wanted}
    given: dict[Coded, str] = {}
    while missing := [coded for coded in drawing if coded not in given]:
        drawn = [(coded, next(drawing[coded])) for coded in missing]
        given |= await alerts.give_codes(transaction, drawn)
        late = {one.alert_id: one for one in missing if one.alert_id and one not in given}
        for alert_id, code in (await alerts.codes(transaction, late)).items() if late else ():
            given[late[alert_id]] = code
    return given


async def of_alerts(transaction: Transaction, wanted: Iterable[tuple[int, int]]) -> dict[int, str]:
    """The codes of these alerts, (tenant, alert); those without one are given one."""
    tenants = {alert_id: tenant_id for tenant_id, alert_id in wanted}
    codes = await alerts.codes(transaction, tenants)
    missing = [
        Coded(tenant_id, alert_id)
        for alert_id, tenant_id in sorted(tenants.items())
        if alert_id not in codes
    ]
    if missing:
        for coded, code in (await give(transaction, missing)).items():
            assert coded.alert_id is not None
            codes[coded.alert_id] = code
    return codes
