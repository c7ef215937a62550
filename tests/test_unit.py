"""The systemd unit leaves the daemon no more than it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
UNIT = CHECKOUT / "etc/systemd/hotpotato.service"
EXPOSED = 1.3
"""What `systemd-analyze security` may say at most, of 10; `docs/security.md` names it."""


def test_the_unit_s_exposure_is_no_more_than_documented() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here")
    said = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "unrecognized option" in said.stderr:
        pytest.skip("this systemd-analyze is too old to look at a unit that is not installed")
    level = re.search(r"Overall exposure level for hotpotato.service: ([\d.]+)", said.stdout)
    assert level is not None, said.stdout + said.stderr
    assert float(level[1]) <= EXPOSED
    assert f"`systemd-analyze security` gives it {EXPOSED} of 10" in re.sub(
        r"\s+", " ", (CHECKOUT / "docs/security.md").read_text()
    )


def test_the_unit_runs_as_somebody_else_than_root() -> None:
    text = UNIT.read_text()
    assert re.search(r"^User=hotpotato$", text, re.MULTILINE)
    assert re.search(r"^NoNewPrivileges=yes$", text, re.MULTILINE)
    assert re.search(r"^CapabilityBoundingSet=$", text, re.MULTILINE)
