"""`docs/senders.md` says what is so: its sender is installed and held to its own tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).parents[2] / "docs" / "senders.md").read_text()
IMPORTS = """
from hotpotato.interfaces import Unknown
from hotpotato.testing import Answer, Received, Refusal, SenderCase, make_sender_tests
from twisted.plugins.example_sender import example
"""


@pytest.fixture
def examples() -> list[str]:
    """The Python in it: the sender, and its tests."""
    return re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


def test_the_sender_has_twenty_lines(examples: list[str]) -> None:
    """Imports, blank lines and continuations aside."""
    sender, _ = examples
    lines = [line for line in sender.splitlines() if line.strip()]
    lines = [line for line in lines if not re.match(r"import |from | {20}|@implementer", line)]
    assert len(lines) <= 20


def test_the_sender_passes_the_tests_that_are_shown(examples: list[str], tmp_path: Path) -> None:
    """As a dropin in a directory of its own."""
    sender, tests = examples
    (tmp_path / "twisted" / "plugins").mkdir(parents=True)
    (tmp_path / "twisted" / "plugins" / "example_sender.py").write_text(sender)
    (tmp_path / "test_example.py").write_text(IMPORTS + tests)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_example.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^\d\d passed", ran.stdout, re.MULTILINE)
