"""Somebody else's sender, `examples/hotpotato-sender-acme`, installed beside Hot Potato.

Each environment is a new one, into which pip installs the example. Hot Potato and the dependencies
are not installed again: they are found where they are for these tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.utils import getProcessOutputAndValue

from hotpotato.testing import Answer, Request, StandIn, patiently

CHECKOUT = Path(__file__).parents[1]
EXAMPLE = CHECKOUT / "examples" / "hotpotato-sender-acme"

START = """
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

SEND = """
import sys
from pathlib import Path
from treq.client import HTTPClient
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react
from twisted.logger import Logger
from twisted.web.client import Agent
from hotpotato.interfaces import OutgoingMessage, SenderContext
from hotpotato.senders.registry import Registry
from hotpotato.settings import load

async def main(reactor):
    def context(name):
        http = HTTPClient(Agent(reactor))
        return SenderContext(name=name, http=http, clock=reactor, log=Logger(), inbox=None)

    [built] = Registry.discover().build(load(Path(sys.argv[1])), context)
    message = OutgoingMessage(
        address="+64211234567", text="db1 is down [KWT]", reference="r1", deadline=built.deadline
    )
    print(await built.sender.send(message))
    print(built.name, built.plugin, built.segments, [route.path for route in built.sender.routes()])

react(lambda reactor: ensureDeferred(main(reactor)))
"""


class Environment:
    """A virtual environment with Hot Potato in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
        self.python = place / "bin" / "python"
        [self.packages] = place.glob("lib/python*/site-packages")
        lent = [str(CHECKOUT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        (self.packages / "lent.pth").write_text("\n".join(dict.fromkeys(lent)) + "\n")
        self.file = place / "hotpotato.toml"

    def install_example(self, *options: str) -> None:
        """Have pip install a copy: building writes into the sources."""
        copy = self.place / "acme"
        shutil.copytree(EXAMPLE, copy)
        offline = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "--python", self.python, "install", *offline, *options, copy],
            cwd="/",
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def variables(self) -> dict[str, str]:
        """Those of these tests, without a path to anything."""
        return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def configure(self, *sections: str) -> None:
        """Write the file."""
        self.file.write_text("\n".join(['[database]\nurl = "postgresql:///x"', *sections]))

    def run(self, *arguments: str | Path) -> tuple[str, str]:
        """What Python prints, and what it complains of."""
        done = subprocess.run(
            [self.python, *arguments],
            cwd=self.place,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip(), done.stderr.strip()

    def start(self) -> tuple[str, str]:
        """Build the configured senders: what was built, and the sentence that prevented it."""
        return self.run("-c", START, self.file)


ACME = """
[senders.acme]
token = "t"
callback_token = "c"
"""


@pytest.fixture
def bare(tmp_path: Path) -> Environment:
    """An environment without the example."""
    environment = Environment(tmp_path / "bare")
    environment.configure(ACME)
    return environment


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """An environment with the example, installed in one of the two ways."""
    environment = Environment(tmp_path_factory.mktemp(request.param) / "environment")
    environment.install_example(*(["--editable"] if request.param == "editable" else []))
    return environment


@pytest_twisted.ensureDeferred
async def test_it_is_found_configured_from_the_file_and_used(
    installed: Environment, tmp_path: Path
) -> None:
    """With nothing of Hot Potato changed."""

    async def queue(request: Request) -> Answer:
        return Answer(202, b'{"queued": "A1"}')

    provider = StandIn(reactor, queue)
    (tmp_path / "token").write_text("our-token\n")
    installed.configure(
        f"""
        [senders.nightly]
        plugin = "acme"
        segments = 3
        url = "{provider.url}"
        token_file = "{tmp_path / "token"}"
        callback_token = "their-token"
        """
    )
    output, complaint, status = await patiently(
        getProcessOutputAndValue(
            str(installed.python),
            ["-c", SEND, str(installed.file)],
            env=installed.variables,
            path="/",
        ),
        seconds=60,
    )
    await provider.stop()
    assert (status, complaint) == (0, b"")
    accepted, described = output.decode().splitlines()
    assert accepted == "Accepted(provider_id='A1')"
    assert described == "nightly acme 3 ['/receipts', '/inbound']"
    [request] = provider.requests
    form: dict[str, Any] = parse_qs(request.body.decode())
    assert form == {
        "token": ["our-token"],
        "to": ["64211234567"],
        "text": ["db1 is down [KWT]"],
        "ref": ["r1"],
    }


def test_its_own_tests_pass_where_it_is_installed(installed: Environment) -> None:
    """Those of Hot Potato's contract among them."""
    tests = installed.place / "acme" / "tests"
    output, complaint = installed.run("-m", "pytest", "-q", "-p", "no:cacheprovider", tests)
    assert complaint == ""
    assert " passed" in output.splitlines()[-1]
    assert "failed" not in output


def test_its_settings_are_checked(installed: Environment) -> None:
    """The file, the key, what was expected."""
    installed.configure('[senders.acme]\ntoken = "t"\ncolour = "red"')
    built, sentence = installed.start()
    assert built == ""
    assert sentence == (
        f"{installed.file}: senders.acme.colour: unknown key, expected one of callback_token, "
        "token, url"
    )


def test_configured_and_not_installed_it_stops_the_start(bare: Environment) -> None:
    """With the name, and where the package belongs."""
    built, sentence = bare.start()
    assert built == ""
    assert sentence == (
        f"{bare.file}: senders.acme: no sender plugin 'acme' is installed (there is log, modica): "
        f"install the package that brings it beside Hot Potato, in {bare.place}"
    )


def test_half_installed_it_stops_the_start(bare: Environment) -> None:
    """The dropin without the package behind it."""
    bare.install_example()
    assert bare.start() == ("acme=acme", "")
    shutil.rmtree(bare.packages / "hotpotato_sender_acme")
    built, sentence = bare.start()
    assert built == ""
    dropin = bare.packages / "twisted" / "plugins" / "acme_sender.py"
    assert sentence == (
        f"the sender plugin {dropin} cannot be imported: ModuleNotFoundError: No module named "
        "'hotpotato_sender_acme': repair or uninstall its package"
    )


def test_two_of_one_name_stop_the_start(bare: Environment) -> None:
    """With the dropins, so that one knows the packages."""
    bare.install_example()
    (bare.packages / "twisted" / "plugins" / "other_acme.py").write_text(
        "from hotpotato_sender_acme.plugin import AcmePlugin\nother = AcmePlugin()\n"
    )
    built, sentence = bare.start()
    assert built == ""
    assert sentence.startswith("two sender plugins are called 'acme', one from twisted.plugins.")
    assert "twisted.plugins.acme_sender" in sentence
    assert "twisted.plugins.other_acme" in sentence
