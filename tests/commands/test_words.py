"""The small pieces that commands put their words together from."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from rich.text import Text

from hotpotato.commands.output import (
    Answer,
    Refused,
    listed,
    moment,
    plain,
    print_json,
    show,
    table,
)
from hotpotato.commands.values import NAME, PHONE_NUMBER, TIME_ZONE


def test_names_are_listed_as_a_sentence_has_them() -> None:
    assert listed([]) == ""
    assert listed(["A"]) == "A"
    assert listed(["A", "B"]) == "A and B"
    assert listed(["A", "B", "C"], "or") == "A, B or C"
    assert listed([str(n) for n in range(12)]).endswith("8, 9 and 2 more")


def test_a_moment_is_shown_in_a_zone_and_says_so() -> None:
    when = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
    assert moment(when, "Pacific/Auckland") == "2026-11-24 03:00:00 NZDT"
    assert moment(when, "UTC") == "2026-11-23 14:00:00 UTC"
    assert moment(when, "Nowhere/Else") == "2026-11-23 14:00:00 UTC"
    assert moment(None, "UTC") == ""


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    assert plain("red \x1b[31m\nnext\x9b\u202e") == "red \ufffd[31m\nnext\ufffd\ufffd"


def test_a_table_is_folded_at_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[tuple[str | Text, ...]] = [("x" * 200, Text("short")), ("[bold]y[/bold]", "é")]
    show(Answer(None, [table(["LONG", "B"], rows)]), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join(line.split()[0] for line in lines[1:-1]) == "x" * 200
    assert lines[-1].split() == ["[bold]y[/bold]", "é"]


def test_a_paragraph_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    """So that a key or a command can be pasted."""
    show(Answer(None, ["k" * 200]), as_json=False)
    assert capsys.readouterr().out == "k" * 200 + "\n"


def test_a_document_is_utf8(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_json({"name": "Zoë"})
    assert capfdbinary.readouterr().out == '{\n  "name": "Zoë"\n}\n'.encode()


def test_an_answer_that_tells_of_something_wrong_is_printed_and_then_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Refused, match="1 thing"):
        show(Answer({"well": False}, ["the disk is full"], "1 thing is wrong"), as_json=False)
    assert capsys.readouterr().out == "the disk is full\n"


def test_what_is_typed_is_put_into_one_form() -> None:
    assert NAME.convert("  Zoe\u0308 ", None, None) == "Zoë"
    assert PHONE_NUMBER.convert("+64 (21) 123-4567", None, None) == "+64211234567"
    assert TIME_ZONE.convert("Europe/Berlin", None, None) == "Europe/Berlin"


@pytest.mark.parametrize("number", ["+999123456", "+", "", "+1 555 0123", "\udcff"])
def test_what_is_no_phone_number_is_refused(number: str) -> None:
    with pytest.raises(Refused):
        PHONE_NUMBER.convert(number, None, None)


@pytest.mark.parametrize("zone", ["", "Pacific", "../etc/passwd", "pacific/auckland", "\udcff"])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(Refused):
        TIME_ZONE.convert(zone, None, None)
