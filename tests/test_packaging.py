"""Hot Potato installed from its wheel, and editable: the files, the commands, Twisted's plugins.

Each installation is in a fresh virtual environment that has nothing of Hot Potato. The dependencies
are not installed again: they are links to those of the environment that the tests run in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
SOURCES = ["LICENSE", "README.md", "hotpotato", "pyproject.toml", "setup.py", "twisted"]
MADE_BY_RUNNING = {"__pycache__", "dropin.cache"}

TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
SENDERS = """
from twisted.plugin import getPlugins
from hotpotato.interfaces import ISenderPlugin
import hotpotato
print(hotpotato.__file__)
print(*sorted(plugin.name for plugin in getPlugins(ISenderPlugin)))
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("sources")
    leave_out = shutil.ignore_patterns(*MADE_BY_RUNNING)
    for name in SOURCES:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, copy / name, ignore=leave_out)
        else:
            shutil.copy(CHECKOUT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", built, sources)
    [wheel] = built.iterdir()
    return wheel


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(
    request: pytest.FixtureRequest,
    sources: Path,
    wheel: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The interpreter of an environment with Hot Potato installed in one of the two ways."""
    environment = tmp_path_factory.mktemp(request.param)
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    lend_dependencies(environment)
    if request.param == "wheel":
        pip("install", wheel, python=python)
    else:
        pip("install", "--no-build-isolation", "--editable", sources, python=python)
    return python


def lend_dependencies(environment: Path) -> None:
    """Link what is installed here, except Hot Potato and its senders, into an environment."""
    [packages] = environment.glob("lib/python*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.lower().startswith(("hotpotato", "__editable__")):
            lent = environment / "lent" / entry.name
            lent.parent.mkdir(exist_ok=True)
            lent.symlink_to(entry)
    (packages / "lent.pth").write_text(f"{environment / 'lent'}\n")


def pip(command: str, *arguments: str | Path, python: str | Path = sys.executable) -> None:
    offline = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    run(sys.executable, "-m", "pip", "--python", python, command, *offline, *arguments)


def run(*command: str | Path) -> str:
    """What a command prints when it is run where there is no checkout."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd="/", env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_twistd_lists_hotpotato(python: Path) -> None:
    commands = [line.split()[:1] for line in run(python, "-c", TWISTD, "--help").splitlines()]

    assert commands.count(["hotpotato"]) == 1


def test_twisted_finds_each_built_in_sender_once(python: Path, sources: Path) -> None:
    imported_from, senders = run(python, "-c", SENDERS).splitlines()

    assert senders == "log modica"
    assert Path(imported_from).is_relative_to(python.parents[1]) or imported_from == str(
        sources / "hotpotato" / "__init__.py"
    )


@pytest.mark.parametrize("command", ["hotpotato", "hotpotato-notify"])
def test_the_commands_are_there(python: Path, command: str) -> None:
    assert "usage" in run(python.parent / command, "--help").lower()


def test_the_wheel_holds_exactly_what_is_in_the_packages(wheel: Path, sources: Path) -> None:
    """A package without its `__init__.py`, or a new kind of file, is forgotten without a word."""
    packaged = {
        str(path.relative_to(sources))
        for place in ("hotpotato", "twisted")
        for path in (sources / place).rglob("*")
        if path.is_file() and not MADE_BY_RUNNING & {path.name, path.parent.name}
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert held == packaged


def test_twisted_itself_is_not_hidden() -> None:
    """Either file would make our plugins, or all of Twisted, vanish when run from the checkout."""
    assert not (CHECKOUT / "twisted" / "__init__.py").exists()
    assert not (CHECKOUT / "twisted" / "plugins" / "__init__.py").exists()
