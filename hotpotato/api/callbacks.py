"""Providers' callbacks: the routes that senders contribute, whoever's they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hotpotato.api.answers import Answer, NotLetIn, Refused, envelope
from hotpotato.api.site import About, Endpoint, Request
from hotpotato.interfaces import Callback, Route


def endpoints(senders: Iterable[tuple[str, Sequence[Route]]]) -> list[Endpoint]:
    """What to mount for senders, given as (name of the instance, its routes)."""
    return [
        Endpoint("POST", path, _Relay(route).answer, _about(route))
        for name, routes in senders
        for route in routes
        for path in (f"/api/senders/{name}{route.path}", *route.aliases)
    ]


def _about(route: Route) -> About:
    return About(body=route.body, credentials=("callback",))


class _Relay:
    def __init__(self, route: Route) -> None:
        self._route = route

    async def answer(self, request: Request) -> Answer:
        """Take what a provider tells: a receipt, or a reply."""
        if request.too_large:
            raise Refused(413, "the body is larger than 1 MiB")
        answer = await self._route.handle(Callback(request.single_headers(), request.body))
        if answer.status >= 400:
            guessed = answer.status in (401, 403) and request.header_values("authorization")
            kind = NotLetIn if guessed else Refused
            raise kind(answer.status, answer.message or "refused", answer.headers)
        return envelope(answer.status, None, message=answer.message)
