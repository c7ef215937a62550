"""Which sender plugins are installed, and the senders that the configuration asks for.

A dropin is a module in a directory `twisted/plugins` of whatever is on `sys.path`, as
`twisted.plugin` defines it. Every dropin is imported at each start, in place of asking
`getPlugins`, which answers from `dropin.cache`: that file misses what changed behind a dropin or
came with an older date, and of a dropin that can't be imported it says nothing but a log line.
Both would show as a sender missing at night.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType, ModuleType

import msgspec
from twisted.plugin import IPlugin
from twisted.python.modules import PythonModule, getModule
from zope.interface import Interface
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

import twisted.plugins
from hotpotato.interfaces import API_VERSION, ISender, ISenderPlugin, SenderContext
from hotpotato.settings import Canary, SenderSection, Settings, SettingsError, section


class SenderError(SettingsError):
    """A sender can't be had; the text is one sentence that says what to do."""


class ConfiguredSender(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One `[senders.NAME]`, built and ready to be started.

    `concurrency` is how many attempts run at once, `deadline` the seconds one may take, `segments`
    the longest message in SMS segments.
    """

    name: str
    plugin: str
    methods: tuple[str, ...]
    sender: ISender
    concurrency: int
    deadline: float
    segments: int
    canary: Canary | None = None


class Registry:
    """The installed sender plugins by name.

    `broken` names dropins that could not be imported, each with the error: they are mentioned when
    a configured sender is missed. Raises SenderError for two plugins of one name and for an object
    that doesn't provide what it claims to.
    """

    def __init__(
        self, plugins: Iterable[ISenderPlugin], broken: Mapping[str, str] | None = None
    ) -> None:
        found: dict[str, ISenderPlugin] = {}
        for plugin in plugins:
            _check_plugin(plugin)
            other = found.setdefault(plugin.name, plugin)
            if other is not plugin:
                raise SenderError(
                    f"two sender plugins are called {plugin.name!r}, one from {_place(other)} and "
                    f"one from {_place(plugin)}: uninstall the package of one of them"
                )
        self.plugins: Mapping[str, ISenderPlugin] = MappingProxyType(found)
        self.broken: Mapping[str, str] = MappingProxyType(dict(broken or {}))

    @classmethod
    def discover(cls) -> Registry:
        """Import every dropin and collect the plugins in them.

        A broken dropin stops the start with a SenderError if its text mentions Hot Potato, so that
        half an installation is noticed at once. A stranger's (Twisted's plugins are shared by all
        that is installed) must not keep the pager from starting: see `broken`.
        """
        plugins: list[ISenderPlugin] = []
        broken: dict[str, str] = {}
        for found in getModule(twisted.plugins.__name__).iterModules():
            try:
                dropin = importlib.import_module(found.name)
            except Exception as error:
                why = f"{found.filePath.path} cannot be imported: {_said(error)}"
                if _is_ours(found):
                    raise SenderError(
                        f"the sender plugin {why}: repair or uninstall its package"
                    ) from error
                broken[found.name] = why
            else:
                plugins.extend(_plugins_in(dropin))
        return cls(plugins, broken)

    def build(
        self, settings: Settings, make_context: Callable[[str], SenderContext]
    ) -> tuple[ConfiguredSender, ...]:
        """Build every configured sender, in the file's order. Starts none of them.

        Raises SenderError, or SettingsError for the plugin's own keys.
        """
        return tuple(
            self._build(settings, configured, make_context) for configured in settings.senders
        )

    def _build(
        self,
        settings: Settings,
        configured: SenderSection,
        make_context: Callable[[str], SenderContext],
    ) -> ConfiguredSender:
        where = f"{settings.path}: senders.{configured.name}"
        plugin = self._plugin(configured.plugin, where)
        options = section(
            settings.path, f"senders.{configured.name}", configured.options, plugin.settings
        )
        try:
            sender = plugin.make(options, make_context(configured.name))
        except ValueError as error:
            raise SenderError(f"{where}: {error}") from error
        except Exception as error:
            raise SenderError(
                f"{where}: the plugin {plugin.name!r} from {_place(plugin)} cannot build a sender: "
                f"{_said(error)}"
            ) from error
        _verify(ISender, sender, f"{where}: what the plugin {plugin.name!r} makes")
        return ConfiguredSender(
            name=configured.name,
            plugin=plugin.name,
            methods=tuple(plugin.methods),
            sender=sender,
            concurrency=configured.concurrency,
            deadline=configured.deadline,
            segments=configured.segments,
            canary=configured.canary,
        )

    def _plugin(self, name: str, where: str) -> ISenderPlugin:
        plugin = self.plugins.get(name)
        if plugin is None:
            raise SenderError(
                f"{where}: no sender plugin {name!r} is installed (there is "
                f"{', '.join(sorted(self.plugins)) or 'none at all'}): install the package that "
                f"brings it beside Hot Potato, in {sys.prefix}"
                + "".join(f"; {why}" for why in self.broken.values())
            )
        if plugin.api_version != API_VERSION:
            raise SenderError(
                f"{where}: the plugin {name!r} from {_place(plugin)} was written for version "
                f"{plugin.api_version} of Hot Potato's sender interface, and this is version "
                f"{API_VERSION}: install a release of it that fits"
            )
        return plugin


def _plugins_in(dropin: ModuleType) -> Iterator[ISenderPlugin]:
    for name, value in vars(dropin).items():
        if ISenderPlugin.providedBy(value):
            if not IPlugin.providedBy(value):
                raise SenderError(
                    f"{dropin.__name__}.{name} provides ISenderPlugin but not twisted.plugin's "
                    f"IPlugin: its author must add that to @implementer"
                )
            yield value


def _is_ours(found: PythonModule) -> bool:
    try:
        return b"hotpotato" in found.filePath.getContent()
    except OSError:
        return False


def _check_plugin(plugin: ISenderPlugin) -> None:
    """Raise SenderError unless it is what it claims to be.

    One that was written for other interfaces can't be judged by ours; it is refused when it is
    configured.
    """
    if getattr(plugin, "api_version", API_VERSION) == API_VERSION:
        _verify(ISenderPlugin, plugin, f"a sender plugin from {_place(plugin)}")
        if not (isinstance(plugin.settings, type) and issubclass(plugin.settings, msgspec.Struct)):
            raise SenderError(
                f"a sender plugin from {_place(plugin)} has {plugin.settings!r} as its settings, "
                "expected a msgspec.Struct type: its author must mend it"
            )
    if not isinstance(getattr(plugin, "name", None), str):
        raise SenderError(f"a sender plugin from {_place(plugin)} has no name: remove its package")


def _verify(interface: type[Interface], candidate: object, what: str) -> None:
    try:
        verifyObject(interface, candidate)
    except Invalid as error:
        said = " ".join(str(error).split())
        raise SenderError(
            f"{what} is not an {interface.__name__}: {said} Its author must mend it"
        ) from error


def _place(plugin: object) -> str:
    """Which dropins hold it, or else the module of its class."""
    holders = [
        name
        for name, module in list(sys.modules.items())
        if name.startswith("twisted.plugins.")
        and any(value is plugin for value in vars(module).values())
    ]
    return " and ".join(holders) or type(plugin).__module__


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
