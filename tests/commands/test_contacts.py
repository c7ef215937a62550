"""`hotpotato contact …`: phones listed, verified, switched off and on, and their pace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.commands.conftest import PROGRAM, Command, configured_for, surroundings
from tests.commands.test_with_a_daemon import IMPATIENT, run
from tests.world import ANNA, World, until

NOT_SAID = {"burst": None, "every": None, "hourly": None}


def test_contacts_are_listed_in_the_order_in_which_they_are_tried(acme: Command) -> None:
    acme("user", "edit", "Anna", "--sms", "+64219876543", "--sms", ANNA)
    assert acme.json("contact", "list", "Anna") == [
        {
            "user": "Anna",
            "tenant": "acme",
            "method": "sms",
            "address": address,
            "verified_at": None,
            "stopped_at": None,
            "pace": NOT_SAID,
        }
        for address in ("+64219876543", ANNA)
    ]
    shown = acme("contact", "list").out.splitlines()
    assert shown[0].split() == ["USER", "TENANT", "SMS", "SINCE", "PACE"]
    assert [line.split()[2] for line in shown[1:]] == ["+64219876543", ANNA, "+64217654321"]
    assert "not verified" in shown[1]
    assert acme.refused("contact", "list", "Ana") == "no user Ana; there are Anna and Bob"


def test_a_phone_is_switched_off_and_the_others_are_told(acme: Command) -> None:
    assert acme.json("contact", "stop", "Anna")["stopped_at"] is not None
    assert acme("user", "list").out.splitlines()[1].split()[-2:] == [ANNA, "(off)"]
    ((told,),) = acme.rows("SELECT text FROM message WHERE kind = 'notice'")
    assert told.endswith(f" switched off the phone {ANNA} of Anna. There is no other.")
    said = acme.refused("send-test", "Anna")
    assert said == "Anna has no phone that is on: hotpotato contact list 'Anna'"
    said = acme.refused("contact", "verify", "Anna")
    assert said == f"{ANNA} is switched off: hotpotato contact start 'Anna' --sms {ANNA}"


def test_a_phone_is_switched_off_and_on_once(acme: Command) -> None:
    acme("contact", "stop", "Anna")
    assert acme("contact", "stop", "Anna").out == f"{ANNA} of Anna was switched off already.\n"
    assert acme("contact", "start", "Anna").out == f"{ANNA} of Anna is switched on again.\n"
    assert acme.json("contact", "start", "Anna")["stopped_at"] is None
    assert acme.rows("SELECT count(*) FROM message WHERE kind = 'notice'") == [(2,)]


def test_it_is_said_when_nobody_reaches_whoever_is_on_call(acme: Command) -> None:
    acme("oncall", "set", "Anna")
    said = acme("contact", "stop", "Anna").out
    assert said == (
        f"{ANNA} of Anna is switched off. Anna is on call and can't be reached: everybody else is"
        " paged.\n"
    )
    assert acme.rows("SELECT count(*) FROM message WHERE text LIKE '%you are paged too.'") == [(1,)]


def test_of_several_phones_it_must_be_said_which(acme: Command) -> None:
    acme("user", "edit", "Anna", "--sms", ANNA, "--sms", "+64219876543")
    said = acme.refused("contact", "stop", "Anna")
    assert said == f"Anna has several phones, say which with --sms: {ANNA} or +64219876543"
    stopped = acme.json("contact", "stop", "Anna", "--sms", "+64 21 987 6543")
    assert stopped["address"] == "+64219876543"
    said = acme.refused("contact", "stop", "Bob", "--sms", ANNA)
    assert said == f"Bob has no phone {ANNA}; there is +64217654321"


def test_a_phone_has_a_pace_of_its_own_until_it_has_not(acme: Command) -> None:
    own = acme.json("contact", "pace", "Anna", "--burst", "2", "--every", "90")["pace"]
    assert own == {"burst": 2, "every": 90, "hourly": None}
    said = acme("contact", "pace", "Anna", "--hourly", "12").out
    assert said == f"The pace of {ANNA} of Anna: 2 at once, 1 each 90 s, 12 an hour.\n"
    assert acme.json("contact", "pace", "Anna", "--default")["pace"] == NOT_SAID
    assert "the tenant's" in acme("contact", "list", "Anna").out


@pytest.mark.parametrize(
    "nonsense", [[], ["--burst", "0"], ["--every", "0"], ["--burst", "1", "--default"]]
)
def test_a_pace_that_is_none_is_wrong_usage(acme: Command, nonsense: list[str]) -> None:
    assert acme("contact", "pace", "Anna", *nonsense, status=2).out == ""


def test_a_code_that_nobody_waits_for_is_refused(acme: Command) -> None:
    said = acme.refused("contact", "verify", "Anna", "--code", "123456")
    assert said.startswith(f"{ANNA} waits for no code")


def test_a_code_that_no_daemon_sends_is_withdrawn(acme: Command) -> None:
    done = acme("contact", "verify", "Anna", status=1, code=IMPATIENT)
    assert done.err.startswith("hotpotato: no daemon took it within 1 s, and it was withdrawn")
    assert acme.rows("SELECT status, kind FROM message") == [("cancelled", "verification")]


async def sent_code(daemon: World, count: int = 1) -> str:
    """The code in the last of so many messages."""
    await until(lambda: len(daemon.texts(ANNA)) == count, "the code")
    return daemon.texts(ANNA)[-1].split()[0]


@pytest_twisted.ensureDeferred
async def test_a_phone_is_verified_in_two_steps(daemon: World, tmp_path: Path) -> None:
    hotpotato = configured_for(daemon, tmp_path)
    sent = await run(hotpotato, "contact", "verify", "Anna")
    code = await sent_code(daemon)
    assert code not in sent.out
    assert f"hotpotato contact verify 'Anna' --sms {ANNA} --code …" in sent.out
    ((digest,),) = daemon.sql("SELECT verification_digest FROM contact WHERE address = %s", ANNA)
    assert code.encode() not in bytes(digest)

    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    refused = await run(hotpotato, "contact", "verify", "Anna", "--code", wrong, status=1)
    assert refused.err == "hotpotato: that is not the code\n"
    done = await run(hotpotato, "contact", "verify", "Anna", "--code", f"{code[:3]} {code[3:]}")
    assert done.out == f"{ANNA} of Anna is verified.\n"
    shown = await run(hotpotato, "user", "list")
    assert f"{ANNA} (verified)" in shown.out
    (listed,) = (await run(hotpotato, "contact", "list", "Anna", "--json")).document
    assert listed["verified_at"] is not None
    again = await run(hotpotato, "contact", "verify", "Anna", "--code", code, status=1)
    assert "waits for no code" in again.err


class Terminal:
    """A command that somebody runs on a terminal of their own."""

    def __init__(self, hotpotato: Command, *arguments: str) -> None:
        self._keyboard, screen = os.openpty()
        self.process = subprocess.Popen(
            [*PROGRAM, "--config", str(hotpotato.config), *arguments],
            stdin=screen,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=surroundings(),
            encoding="utf-8",
        )
        os.close(screen)

    def type(self, line: str) -> None:
        """Type something."""
        os.write(self._keyboard, line.encode())

    async def ended(self) -> tuple[int, str, str]:
        """Wait for the end: (exit status, stdout, stderr)."""
        await until(lambda: self.process.poll() is not None, "the command to end")
        out, err = self.process.communicate()
        os.close(self._keyboard)
        return self.process.returncode, out, err


@pytest.mark.parametrize("how", ["typed", "replied", "nothing"])
@pytest_twisted.ensureDeferred
async def test_on_a_terminal_the_code_is_asked_for(daemon: World, tmp_path: Path, how: str) -> None:
    terminal = Terminal(configured_for(daemon, tmp_path), "contact", "verify", "Anna")
    code = await sent_code(daemon)
    expected: Any = (0, f"{ANNA} of Anna is verified.", "What is the code?")
    if how == "typed":
        terminal.type("no\n")
        terminal.type(f"{code}\n")
        expected = (*expected[:2], "That is not the code. Once more:")
    elif how == "replied":
        assert await daemon.gateway.reply(ANNA, code) == 200
    else:
        terminal.type("\x04")
        expected = (1, "waiting for a daemon", "nothing was typed, it is not verified")
    status, out, err = await terminal.ended()
    assert status == expected[0], out + err
    assert expected[1] in out
    assert expected[2] in err
