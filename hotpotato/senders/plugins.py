"""The built-in senders as `twisted/plugins/hotpotato_senders.py` shows them.

Light on purpose: every `twistd` on this machine imports it, before a reactor is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from twisted.plugin import IPlugin
from zope.interface import implementer

from hotpotato.interfaces import API_VERSION, ISender, ISenderPlugin, SenderContext


class ModicaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What `[senders.NAME]` says for Modica's Mobile Gateway.

    `application` and `password` are the gateway's HTTP Basic credentials, `source` the short code
    or number that messages come from (the application's own, if absent). `callback_username` and
    `callback_password` are what Modica's portal was told to authenticate its callbacks with;
    without them every callback is refused, unless `callback_auth` is "none".
    """

    application: str
    password: str
    url: str = "https://api.modicagroup.com/rest/gateway"
    source: str | None = None
    callback_username: str | None = None
    callback_password: str | None = None
    callback_auth: Literal["basic", "none"] = "basic"


@implementer(IPlugin, ISenderPlugin)
class ModicaPlugin:
    """SMS through Modica."""

    name = "modica"
    api_version = API_VERSION
    methods: Sequence[str] = ("sms",)
    settings: type[msgspec.Struct] = ModicaSettings

    def make(self, settings: ModicaSettings, context: SenderContext) -> ISender:
        """See `ISenderPlugin`."""
        from hotpotato.senders.modica import Modica

        return Modica(settings, context)


class LogSettings(msgspec.Struct, frozen=True):
    """`log` needs no settings."""


@implementer(IPlugin, ISenderPlugin)
class LogPlugin:
    """Texts into the log, for trying things out."""

    name = "log"
    api_version = API_VERSION
    methods: Sequence[str] = ("sms",)
    settings: type[msgspec.Struct] = LogSettings

    def make(self, settings: LogSettings, context: SenderContext) -> ISender:
        """See `ISenderPlugin`."""
        from hotpotato.senders.log import LogSender

        return LogSender(context)


modica = ModicaPlugin()
log = LogPlugin()
