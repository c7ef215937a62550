"""What Hot Potato finds: light, since every `twistd` on the machine imports it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from twisted.plugin import IPlugin
from zope.interface import implementer

from hotpotato.interfaces import API_VERSION, ISender, ISenderPlugin, SenderContext


class AcmeSettings(msgspec.Struct, frozen=True):
    """`token` is ours at ACME, `callback_token` what ACME shows us in its callbacks."""

    token: str
    callback_token: str
    url: str = "https://sms.acme.example/api"


@implementer(IPlugin, ISenderPlugin)
class AcmePlugin:
    """SMS through ACME."""

    name = "acme"
    api_version = API_VERSION
    methods: Sequence[str] = ("sms",)
    settings: type[msgspec.Struct] = AcmeSettings

    def make(self, settings: AcmeSettings, context: SenderContext) -> ISender:
        """See `ISenderPlugin`."""
        from hotpotato_sender_acme.sender import Acme

        return Acme(settings, context)


acme = AcmePlugin()
