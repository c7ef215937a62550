"""The contract's tests find what they are there to find."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BROKEN = {
    "CallsALossAFailure": {
        "test_silence_is_unknown_at_the_deadline",
        "test_an_answer_that_cannot_be_read_is_unknown",
    },
    "CallsEverythingUnknown": {
        "test_a_refusal_has_the_right_outcome",
        "test_a_refused_connection_failed_for_now",
    },
    "KeepsToNoDeadline": {"test_silence_is_unknown_at_the_deadline"},
    "RepeatsByItself": {
        "test_a_refusal_has_the_right_outcome",
        "test_an_answer_that_cannot_be_read_is_unknown",
        "test_silence_is_unknown_at_the_deadline",
        "test_a_cancelled_attempt_leaves_nothing_open",
    },
    "OneAtATime": {"test_attempts_run_side_by_side"},
    "LogsItsSettings": {"test_no_secret_and_no_address_gets_into_logs_and_reasons"},
    "TellsTheNumber": {"test_no_secret_and_no_address_gets_into_logs_and_reasons"},
    "CutsTheText": {"test_the_message_reaches_the_provider_whole"},
    "LosesTheReference": {"test_the_message_reaches_the_provider_whole"},
    "HasNoId": {"test_an_acceptance_has_the_providers_id", "test_attempts_run_side_by_side"},
    "AnswersBeforeTheDisk": {
        "test_a_callback_is_answered_when_its_fact_is_on_disk",
        "test_a_failure_of_the_inbox_is_passed_on",
        "test_rubbish_is_refused",
    },
    "SwallowsTheInboxsFailure": {"test_a_failure_of_the_inbox_is_passed_on"},
    "StumblesOverRubbish": {"test_rubbish_is_refused"},
    "BelievesEverybody": {"test_rubbish_is_refused"},
    "HasOneRouteTwice": {
        "test_it_makes_a_sender_with_well_formed_parts",
        "test_a_callback_is_answered_when_its_fact_is_on_disk",
        "test_a_failure_of_the_inbox_is_passed_on",
        "test_rubbish_is_refused",
    },
    "ClaimsToSend": {"test_it_makes_a_sender_with_well_formed_parts"},
    "OldPlugin": {
        "test_the_dropin_holds_a_plugin_that_is_what_it_claims_to_be",
        "test_its_settings_leave_hot_potatos_own_keys_alone",
    },
}


@pytest.fixture(scope="module")
def failed() -> dict[str, set[str]]:
    """What the contract says of each bad sender: the names of the tests that fail."""
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider"]
    once = "TestGood or not imports_no_reactor"  # a new process each time, and the same for all
    ran = subprocess.run(
        [*command, "--tb=no", "-k", once, Path(__file__).with_name("bad_senders.py")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert " passed" in ran.stdout, ran.stdout + ran.stderr
    found: dict[str, set[str]] = {}
    for sender, test in re.findall(r"^FAILED \S+::Test(\w+)::(\w+)", ran.stdout, re.MULTILINE):
        found.setdefault(sender, set()).add(test)
    return found


def test_a_good_sender_passes(failed: dict[str, set[str]]) -> None:
    """All of it."""
    assert "Good" not in failed


def test_a_timer_left_behind_is_found_by_every_test(failed: dict[str, set[str]]) -> None:
    """Of those that send."""
    assert "test_an_acceptance_has_the_providers_id" in failed["LeavesATimer"]
    assert "test_attempts_run_side_by_side" in failed["LeavesATimer"]


@pytest.mark.parametrize("sender", BROKEN)
def test_a_broken_clause_is_found(failed: dict[str, set[str]], sender: str) -> None:
    """By the tests that are about it, and only by those."""
    assert failed.get(sender) == BROKEN[sender]
