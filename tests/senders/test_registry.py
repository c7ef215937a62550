"""Which senders are found, and each way in which one can't be had, as one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.plugin import IPlugin, getPlugins
from zope.interface import directlyProvides, implementer

from hotpotato.interfaces import (
    API_VERSION,
    Accepted,
    ISender,
    ISenderPlugin,
    OutgoingMessage,
    SenderContext,
)
from hotpotato.senders.plugins import log, modica
from hotpotato.senders.registry import Registry, SenderError
from hotpotato.settings import Settings, SettingsError, from_mapping
from hotpotato.testing import Inbox

UNUSED: Any = None
FILE = Path("/etc/hotpotato/hotpotato.toml")


@implementer(ISender)
class PigeonSender:
    """Knows what it was made of."""

    def __init__(self, settings: Any, context: SenderContext) -> None:
        self.settings = settings
        self.context = context

    async def send(self, message: OutgoingMessage) -> Accepted:
        """Always succeeds."""
        return Accepted("coo")


class PigeonSettings(msgspec.Struct, frozen=True):
    """One secret, one number."""

    ring: str
    height: float = 10.0


@implementer(IPlugin, ISenderPlugin)
class Pigeon:
    """A plugin with nothing wrong with it."""

    name = "pigeon"
    api_version = API_VERSION
    methods: Sequence[str] = ("sms", "letter")
    settings: type[msgspec.Struct] = PigeonSettings

    def __init__(self, make: Callable[..., Any] = PigeonSender) -> None:
        self._make = make

    def make(self, settings: msgspec.Struct, context: SenderContext) -> ISender:
        """As it was told."""
        made: ISender = self._make(settings, context)
        return made


def context(name: str) -> SenderContext:
    """What a sender is given, but a network."""
    return SenderContext(
        name=name,
        http=UNUSED,
        clock=Clock(),
        log=Logger(),
        inbox=Inbox(),
    )


def configured(**senders: Mapping[str, object]) -> Settings:
    """A file with these sections."""
    return from_mapping({"database": {"url": "postgresql:///x"}, "senders": senders}, FILE)


def refusal(registry: Registry, **senders: Mapping[str, object]) -> str:
    """The one line that stops the start."""
    with pytest.raises(SettingsError) as raised:
        registry.build(configured(**senders), context)
    sentence = str(raised.value)
    assert "\n" not in sentence
    return sentence


def test_senders_are_built_in_the_files_order_with_their_limits() -> None:
    """The section's name is the sender's; the plugin gets its own keys, and only those."""
    settings = configured(
        zulu={"plugin": "pigeon", "ring": "Z1", "concurrency": 3, "deadline": 5, "segments": 1},
        pigeon={"ring": "P1", "height": 20},
    )
    zulu, pigeon = Registry([Pigeon(), log]).build(settings, context)
    assert (zulu.name, zulu.plugin, zulu.methods) == ("zulu", "pigeon", ("sms", "letter"))
    assert (zulu.concurrency, zulu.deadline, zulu.segments) == (3, 5.0, 1)
    assert (pigeon.name, pigeon.concurrency, pigeon.segments) == ("pigeon", 10, 2)
    assert isinstance(zulu.sender, PigeonSender)
    assert isinstance(pigeon.sender, PigeonSender)
    assert zulu.sender.settings == PigeonSettings(ring="Z1")
    assert pigeon.sender.settings == PigeonSettings(ring="P1", height=20.0)
    assert (zulu.sender.context.name, pigeon.sender.context.name) == ("zulu", "pigeon")


def test_secrets_come_from_files(tmp_path: Path) -> None:
    """X_file, for any of a plugin's keys."""
    (tmp_path / "ring").write_text("secret\n")
    settings = configured(pigeon={"ring_file": str(tmp_path / "ring")})
    [pigeon] = Registry([Pigeon()]).build(settings, context)
    assert isinstance(pigeon.sender, PigeonSender)
    assert pigeon.sender.settings.ring == "secret"


def test_no_senders_are_none() -> None:
    """Whether that makes sense is for `hotpotato check` to say."""
    assert Registry([]).build(configured(), context) == ()


def test_a_plugin_that_is_not_installed_stops_the_start() -> None:
    """With what there is, and where the package belongs."""
    sentence = refusal(Registry([log, modica]), acme={"key": "k"})
    assert sentence.startswith(f"{FILE}: senders.acme: no sender plugin 'acme' is installed")
    assert "(there is log, modica)" in sentence
    assert f"beside Hot Potato, in {sys.prefix}" in sentence


def test_with_no_plugin_at_all_the_sentence_says_so() -> None:
    """As after an installation without the dropins."""
    assert "(there is none at all)" in refusal(Registry([]), log={})


def test_broken_dropins_are_named_when_a_plugin_is_missed() -> None:
    """One of them may be the one."""
    registry = Registry([log], {"twisted.plugins.x": "/p/x.py cannot be imported: OSError: no"})
    assert "/p/x.py cannot be imported: OSError: no" in refusal(registry, acme={})


def test_two_plugins_of_one_name_stop_the_start() -> None:
    """Whether configured or not: nobody could say which one it would be."""
    with pytest.raises(SenderError, match=r"two sender plugins are called 'pigeon'.*uninstall"):
        Registry([Pigeon(), Pigeon()])


def test_one_plugin_seen_twice_counts_once() -> None:
    """An instance imported into another dropin is in both."""
    pigeon = Pigeon()
    plugins = Registry([pigeon, log, pigeon]).plugins
    assert sorted(plugins) == ["log", "pigeon"]
    assert plugins["pigeon"] is pigeon


def test_a_plugin_for_other_interfaces_is_refused_when_it_is_configured() -> None:
    """And in nobody's way when it isn't."""
    old = Pigeon()
    old.api_version = 0
    registry = Registry([old, log])
    assert len(registry.build(configured(log={}), context)) == 1
    sentence = refusal(registry, pigeon={"ring": "P1"})
    assert (
        f"written for version 0 of Hot Potato's sender interface, and this is version {API_VERSION}"
        in sentence
    )


def test_an_object_that_is_no_plugin_stops_the_start() -> None:
    """It says that it provides the interface, and doesn't."""

    class Nameless:
        pass

    nameless: Any = Nameless()
    directlyProvides(nameless, IPlugin, ISenderPlugin)
    with pytest.raises(SenderError, match="is not an ISenderPlugin") as raised:
        Registry([nameless])
    assert "name" in str(raised.value)
    assert __name__ in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("settings", [dict, None, PigeonSettings(ring="x")])
def test_settings_that_are_no_struct_stop_the_start(settings: Any) -> None:
    """They could not be checked."""
    pigeon = Pigeon()
    pigeon.settings = settings
    with pytest.raises(SenderError, match=r"expected a msgspec\.Struct type"):
        Registry([pigeon])


@pytest.mark.parametrize("name", [None, 5])
def test_a_name_that_is_no_text_stops_the_start(name: Any) -> None:
    """Nothing in the file could name it."""
    pigeon = Pigeon()
    pigeon.name = name
    with pytest.raises(SenderError, match="has no name"):
        Registry([pigeon])


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "ring"),
        ({"ring": 5}, "ring: expected `str`, got `int`"),
        ({"ring": "P1", "height": "high"}, "height: expected `float`, got `str`"),
        ({"ring": "P1", "colour": "grey"}, "colour: unknown key, expected one of height, ring"),
        ({"ring": "P1", "ring_file": "/x"}, "only one of ring and ring_file"),
        ({"ring_file": "/does/not/exist"}, "/does/not/exist"),
    ],
)
def test_the_plugins_own_keys_are_checked(section: Mapping[str, object], said: str) -> None:
    """The file, the key, what was expected."""
    sentence = refusal(Registry([Pigeon()]), pigeon=section)
    assert sentence.startswith(f"{FILE}: senders.pigeon")
    assert said in sentence


def test_what_a_plugin_says_of_its_settings_stops_the_start() -> None:
    """Its ValueError is the sentence."""

    def make(settings: PigeonSettings, context: SenderContext) -> None:
        raise ValueError("ring: expected a letter and a digit")

    sentence = refusal(Registry([Pigeon(make)]), pigeon={"ring": "?"})
    assert sentence == f"{FILE}: senders.pigeon: ring: expected a letter and a digit"


def test_a_plugin_that_fails_to_build_is_named() -> None:
    """With its error, on one line."""

    def make(settings: PigeonSettings, context: SenderContext) -> None:
        raise ModuleNotFoundError("No module\nnamed 'loft'")

    sentence = refusal(Registry([Pigeon(make)]), pigeon={"ring": "P1"})
    assert "the plugin 'pigeon' from" in sentence
    assert "cannot build a sender: ModuleNotFoundError: No module named 'loft'" in sentence


def test_what_is_made_must_be_a_sender() -> None:
    """Here it has no `send`."""

    class Dodo:
        pass

    dodo = Dodo()
    directlyProvides(dodo, ISender)
    sentence = refusal(Registry([Pigeon(lambda s, c: dodo)]), pigeon={"ring": "P1"})
    assert "what the plugin 'pigeon' makes is not an ISender" in sentence
    assert "send" in sentence


def test_the_built_in_senders_are_found_as_twisted_finds_plugins() -> None:
    """By `getPlugins`, too."""
    assert {"log", "modica"} <= set(Registry.discover().plugins)
    assert {"log", "modica"} <= {plugin.name for plugin in getPlugins(ISenderPlugin)}


DROPIN = """
    from twisted.plugin import IPlugin
    from zope.interface import implementer
    from hotpotato.senders.plugins import LogPlugin

    class Owl(LogPlugin):
        name = "owl"

    owl = Owl()
"""

SCRIPT = """
    import sys
    from pathlib import Path
    from hotpotato.senders.registry import Registry
    from hotpotato.settings import SettingsError, load

    try:
        built = Registry.discover().build(load(Path(sys.argv[1])), lambda name: None)
    except SettingsError as error:
        sys.exit(str(error))
    print(*(f"{sender.name}={sender.plugin}" for sender in built))
"""


class Installation:
    """A directory of dropins beside Hot Potato, and a new process that looks at it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.dropins = place / "twisted" / "plugins"
        self.dropins.mkdir(parents=True)

    def dropin(self, name: str, text: str) -> Path:
        """Install a dropin."""
        path = self.dropins / f"{name}.py"
        path.write_text(textwrap.dedent(text))
        return path

    def python(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a script that sees it."""
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(self.place), *sys.path])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *names: str) -> tuple[str, str]:
        """Build these senders: what was built, and the sentence that prevented it."""
        file = self.place / "hotpotato.toml"
        sections = "\n".join(f"[senders.{name}]" for name in names)
        file.write_text(f'[database]\nurl = "postgresql:///x"\n{sections}\n')
        ran = self.python(SCRIPT, str(file))
        return ran.stdout.strip(), ran.stderr.strip()


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """An empty one."""
    return Installation(tmp_path)


def test_a_dropin_beside_hot_potato_is_found(installation: Installation) -> None:
    """With nothing of Hot Potato changed."""
    installation.dropin("owl_sender", DROPIN)
    assert installation.start("owl", "log") == ("owl=owl log=log", "")


def test_a_broken_dropin_of_a_sender_stops_the_start(installation: Installation) -> None:
    """Configured or not: half an installation is noticed when it is made."""
    path = installation.dropin("owl_sender", "from hotpotato_sender_owl import owl")
    built, sentence = installation.start("log")
    assert built == ""
    assert sentence == (
        f"the sender plugin {path} cannot be imported: ModuleNotFoundError: No module named "
        "'hotpotato_sender_owl': repair or uninstall its package"
    )


def test_a_dropin_with_a_syntax_error_stops_the_start(installation: Installation) -> None:
    """Also with one line."""
    installation.dropin("owl_sender", "import hotpotato\ndef owl(:\n")
    _, sentence = installation.start("log")
    assert "cannot be imported: SyntaxError" in sentence
    assert "\n" not in sentence


def test_a_strangers_broken_dropin_does_not_keep_the_pager_from_starting(
    installation: Installation,
) -> None:
    """But it is named where a sender is missed, since it may be that one's."""
    path = installation.dropin("stranger", "import no_such_module")
    assert installation.start("log") == ("log=log", "")
    _, sentence = installation.start("owl")
    assert "no sender plugin 'owl' is installed" in sentence
    assert f"{path} cannot be imported: ModuleNotFoundError" in sentence


def test_two_dropins_with_plugins_of_one_name_are_both_named(installation: Installation) -> None:
    """So one knows which packages they are."""
    installation.dropin("owl_one", DROPIN)
    installation.dropin("owl_two", DROPIN)
    _, sentence = installation.start("log")
    assert "two sender plugins are called 'owl'" in sentence
    assert "twisted.plugins.owl_one" in sentence
    assert "twisted.plugins.owl_two" in sentence


def test_a_plugin_imported_into_another_dropin_is_no_second_one(
    installation: Installation,
) -> None:
    """`getPlugins` would show it twice."""
    installation.dropin("owl_one", DROPIN)
    installation.dropin("owl_two", "from twisted.plugins.owl_one import owl")
    assert installation.start("owl") == ("owl=owl", "")


def test_a_plugin_without_iplugin_is_pointed_out(installation: Installation) -> None:
    """`getPlugins` would pass over it in silence."""
    installation.dropin(
        "owl_sender",
        """
        from zope.interface import directlyProvides
        from hotpotato.interfaces import ISenderPlugin

        class Owl:
            name = "owl"

        owl = Owl()
        directlyProvides(owl, ISenderPlugin)
        """,
    )
    _, sentence = installation.start("log")
    assert (
        "twisted.plugins.owl_sender.owl provides ISenderPlugin but not twisted.plugin's IPlugin"
        in sentence
    )


def test_a_stale_cache_hides_nothing(installation: Installation) -> None:
    """A dropin that came with an older date than the cache: an image, a reproducible build."""
    path = installation.dropin("owl_sender", "plugins = None")
    seen = "import twisted.plugin as p; print([n.name for n in p.getPlugins(p.IPlugin)])"
    installation.python(seen)
    path.write_text(textwrap.dedent(DROPIN))
    os.utime(path, (0, 0))
    assert "owl" not in installation.python(seen).stdout
    assert installation.start("owl") == ("owl=owl", "")
