"""The words that reach a phone, and what it takes to carry them."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hotpotato.rules.text import (
    Subject,
    announcement,
    brief,
    fit,
    is_gsm7,
    listing,
    named,
    page,
    recovery,
    segments,
    sendable,
)

POTATO = "\N{POTATO}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FLAG = "\U0001f1f3\U0001f1ff"
REFUSED = "\u00a4\u00a1\u00a7|"

# GSM 03.38 as its table prints it, column by column; the model knows nothing of the module.
GSM = (
    "@£$¥èéùìòÇ\nØø\rÅå" + "\u0394_\u03a6\u0393\u039b\u03a9\u03a0\u03a8\u03a3\u0398\u039e" + "ÆæßÉ"
    ' !"#\u00a4%&' + "'()*+,-./" + "0123456789:;<=>?\u00a1"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ\u00a7\u00bfabcdefghijklmnopqrstuvwxyzäöñüà"
)
ESCAPED = "\f^{}\\[~]|€"


def model_of_segments(text: str) -> int:
    """A phone that puts one character after the other into a part, and opens the next if full."""
    if all(char in GSM + ESCAPED for char in text):
        sizes, alone, part = [2 if char in ESCAPED else 1 for char in text], 160, 153
    else:
        sizes, alone, part = [len(char.encode("utf-16-le")) // 2 for char in text], 70, 67
    if sum(sizes) <= alone:
        return 1
    count, room = 1, part
    for size in sizes:
        if size > room:
            count, room = count + 1, part
        room -= size
    return count


def runs(alphabet: str, most: int = 400) -> st.SearchStrategy[str]:
    """Texts of few characters that are long enough to need several parts."""
    pieces = st.builds(
        lambda char, count: char * count, st.sampled_from(alphabet), st.integers(1, most)
    )
    return st.lists(pieces, max_size=5).map("".join)


texts = (
    st.text()
    | st.text(st.sampled_from("aé€[|" + POTATO + "āж"), max_size=200)
    | runs("a€é[ж" + POTATO)
)
limits = st.integers(1, 4)


class TestSegments:
    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("", 1),
            ("a" * 160, 1),
            ("a" * 161, 2),
            ("a" * 306, 2),
            ("a" * 307, 3),
            ("€" * 80, 1),
            ("€" * 81, 2),
            ("ж" * 70, 1),
            ("ж" * 71, 2),
            ("ж" * 134, 2),
            ("ж" * 135, 3),
            (POTATO * 35, 1),
            (POTATO * 36, 2),
        ],
    )
    def test_the_published_lengths_hold(self, text: str, count: int) -> None:
        assert segments(text) == count

    def test_an_escape_sequence_is_not_split_between_two_parts(self) -> None:
        assert segments("a" * 152 + "€" + "a" * 152) == 3
        assert segments("a" * 151 + "€" + "a" * 153) == 2

    def test_an_emoji_is_not_split_between_two_parts(self) -> None:
        assert segments("ж" * 66 + POTATO + "ж" * 66) == 3
        assert segments("ж" * 65 + POTATO + "ж" * 67) == 2

    def test_the_alphabet_is_the_whole_of_gsm_7(self) -> None:
        assert len(GSM) == 127
        every = map(chr, range(0xD800))
        assert {char for char in every if is_gsm7(char)} == set(GSM + ESCAPED)

    @given(texts)
    @example("€" * 77 + "a" + "€" * 300)
    @example("ж" + POTATO * 100)
    def test_a_phone_counts_the_same(self, text: str) -> None:
        assert segments(text) == model_of_segments(text)


class TestSendable:
    def test_a_name_with_a_dash_costs_no_more_than_one_with_a_hyphen(self) -> None:
        name = "DB 1 \N{EN DASH} Wellington (primär)"
        assert sendable(name) == "DB 1 - Wellington (primär)"
        assert is_gsm7(sendable(name))

    @pytest.mark.parametrize(
        ("text", "sent"),
        [
            ("\u201cdisk\u201d isn\u2019t\u2026", '"disk" isn\'t...'),
            ("a\u00a0b\u202fc\u3000d\te", "a b c d e"),
            ("it`s", "it's"),
            ("a | b \u00a75 \u00a4 \u00a1no!", "a / b #5 * !no!"),
            ("a\r\nb\rc\nd\u2028e", "a\nb\nc\nd\ne"),
            ("a\0b\x1b[31m\ufffd\ud800", "a?b?[31m??"),
            ("zero\u200bwidth soft\u00adhyphen \ufeff", "zerowidth softhyphen "),
            ("\u202eack KWT", "ack KWT"),
            ("Cafe\u0301", "Café"),
        ],
    )
    def test_what_cannot_be_carried_becomes_readable(self, text: str, sent: str) -> None:
        assert sendable(text) == sent

    @pytest.mark.parametrize(
        "text",
        [
            "Whangārei",
            "Größe",
            "Владивосток",
            "東京 ガス",
            "עברית",
            "می‌خواهم",
            "हिन्दी",
            "Łódź",
            FAMILY,
            FLAG,
        ],
    )
    def test_letters_of_peoples_languages_stay(self, text: str) -> None:
        assert sendable(text) == text

    def test_no_character_at_all_breaks_what_is_promised(self) -> None:
        every = "x".join(map(chr, range(sys.maxunicode + 1)))
        sent = sendable(every)
        assert not set(REFUSED) & set(sent)
        assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in set(sent) - {"\n"})
        assert sendable(sent) == sent

    @given(st.text(st.characters() | st.sampled_from("e\u0301\u200b\u00ad`\r\n\ud800\ufffd|")))
    def test_once_is_enough(self, text: str) -> None:
        assert sendable(sendable(text)) == sendable(text)


def cut_is_clean(body: str, place: int) -> bool:
    """Whether nothing that belongs to the character before `place` stands after it."""
    if place >= len(body):
        return True
    joins = "\u200d\ufe0f\u0301"
    return body[place] not in joins and body[place - 1 : place] != "\u200d"


def shown_of(result: str, head: str, tail: str) -> str:
    return result[len(head) : len(result) - len(tail)]


frames = st.text(st.sampled_from("ab: ä€"), max_size=30)
foreign_frames = st.text(st.sampled_from("ab: жā" + POTATO), max_size=20)
bodies = st.text(st.sampled_from("ab€é[жā" + POTATO + "\u0301\u200d\ufe0f"), max_size=400) | runs(
    "ab€éжā" + POTATO
)


class TestFit:
    def test_what_fits_is_not_touched(self) -> None:
        assert fit("DOWN db1: ", "no answer", " ack KWT", 1) == "DOWN db1: no answer ack KWT"

    def test_a_long_body_is_cut_and_says_so(self) -> None:
        assert fit("DOWN db1: ", "x" * 500, " ack KWT", 1) == f"DOWN db1: {'x' * 140}.. ack KWT"

    def test_where_the_text_is_ucs_2_anyway_the_cut_costs_one_character(self) -> None:
        text = fit("DOWN жук: ", "x" * 500, " ack KWT", 1)
        assert text == f"DOWN жук: {'x' * 51}{ELLIPSIS} ack KWT"

    def test_without_its_last_foreign_character_a_body_may_be_twice_as_long(self) -> None:
        body = "x" * 100 + "жжжж" * 30
        assert fit("", body, "", 1) == "x" * 100 + ".."

    def test_a_stray_emoji_does_not_cost_half_of_a_page(self) -> None:
        text = fit("DOWN db1: ", POTATO + "x" * 500, " ack KWT", 1)
        assert text == f"DOWN db1: ?{'x' * 139}.. ack KWT"

    def test_symbols_and_accents_are_written_as_people_without_them_would(self) -> None:
        body = "Whangārei: 45\u00b0C \u2265 40\u00b0C, 3\u00b5s, Łódź, \u2260 " + "x" * 300
        text = fit("", body, "", 1)
        assert text.startswith("Whangarei: 45degC >= 40degC, 3us, Lodz, != xxx")

    def test_symbols_and_accents_stay_where_there_is_room(self) -> None:
        assert fit("", "Whangārei: 45\u00b0C", "", 1) == "Whangārei: 45\u00b0C"

    def test_an_emoji_of_several_code_points_is_one_question_mark(self) -> None:
        assert fit("", FAMILY + FLAG + "x" * 500, "", 1) == "??" + "x" * 156 + ".."

    def test_a_body_in_another_script_is_never_question_marks(self) -> None:
        text = fit("DOWN db1: ", "磁盘空间不足" * 40, " ack KWT", 1)
        assert text == f"DOWN db1: {'磁盘空间不足' * 8}磁盘空{ELLIPSIS} ack KWT"

    def test_and_letters_stay_where_more_of_them_would_be_lost_than_is_cut_away(self) -> None:
        assert fit("", "x" * 66 + "жжжxx", "", 1) == f"{'x' * 66}жжж{ELLIPSIS}"

    def test_a_negated_symbol_never_loses_its_negation(self) -> None:
        assert fit("", "1 \u226e 2 " + "x" * 200, "", 1).startswith("1 ? 2 xxx")

    def test_nor_is_one_of_which_more_than_a_tenth_would_be_lost(self) -> None:
        assert "?" in fit("", ("ж" + "x" * 10) * 20, "", 1)
        assert "?" not in fit("", ("ж" + "x" * 8) * 20, "", 1)

    @pytest.mark.parametrize("character", [FAMILY, FLAG, "e\u0323\u0323", "👍🏽", "❤\ufe0f"])
    def test_a_character_of_several_code_points_is_cut_whole(self, character: str) -> None:
        for before in range(60, 71):
            text = fit("ж", "ж" * before + character * 20, "", 1)
            assert text.rstrip(ELLIPSIS).lstrip("ж").replace(character, "") == ""

    def test_where_not_even_head_and_tail_fit_the_head_gives_way(self) -> None:
        text = fit("a" * 100 + "b" * 100, "body", " ack KWT", 1)
        assert text == "a" * 75 + ".." + "b" * 75 + " ack KWT"
        assert len(fit("", "body", "a" * 100 + "b" * 100, 1)) == 160

    def test_less_than_one_segment_is_one(self) -> None:
        assert fit("a", "b", "c", 0) == "abc"
        assert segments(fit("a", "b" * 200, "c", -5)) == 1

    @settings(max_examples=300, deadline=None)
    @given(frames | foreign_frames | texts, texts, frames | foreign_frames | texts, limits)
    def test_the_limit_holds_for_any_text(
        self, head: str, body: str, tail: str, limit: int
    ) -> None:
        result = fit(head, body, tail, limit)
        assert model_of_segments(result) <= limit
        if model_of_segments(head + tail) <= limit:
            assert result.startswith(head)
            assert result.endswith(tail)

    @settings(max_examples=200, deadline=None)
    @given(frames | foreign_frames, bodies, frames | foreign_frames, st.integers(1, 2))
    @example("", "x" * 158 + POTATO + "x" * 100, "", 1)
    @example("", "x" * 100 + "жж" + "x" * 300, "", 2)
    def test_no_longer_beginning_of_the_body_would_fit(
        self, head: str, body: str, tail: str, limit: int
    ) -> None:
        result = fit(head, body, tail, limit)
        shown = shown_of(result, head, tail)
        if shown == body:
            return
        marks = ("..", ELLIPSIS, "")
        mark = next(mark for mark in marks if shown.endswith(mark))
        start = shown.removesuffix(mark)
        if body.startswith(start) and mark:
            assert cut_is_clean(body, len(start))
            assert mark == (".." if is_gsm7(head + start + tail) else ELLIPSIS)
            longer = (
                body[:end] for end in range(len(start) + 1, len(body)) if cut_is_clean(body, end)
            )
        else:
            assert is_gsm7(result)
            longer = (body[:end] for end in range(len(body)) if len(body[:end]) > len(start))
        for more in longer:
            if len(more) > 160 * limit:
                break
            assert model_of_segments(f"{head}{more}..{tail}") > limit
            assert model_of_segments(f"{head}{more}{ELLIPSIS}{tail}") > limit


DB1 = Subject(
    state="CRITICAL", hostname="db1", service_name="Postgres", output="connection refused"
)
names = st.text(
    st.characters() | st.sampled_from("\u0301\u200d\n" + POTATO + FAMILY + "€ж"), min_size=1
)
long_names = names | st.builds(
    lambda text, count: (text * count)[:4096], names, st.integers(1, 4096)
)
subjects = st.builds(
    Subject,
    state=long_names,
    hostname=long_names,
    service_name=st.none() | long_names,
    display_name=st.none() | long_names,
    output=st.none() | texts,
    author=st.none() | long_names,
    comment=st.none() | texts,
)


def something_of(name: str, text: str) -> bool:
    """Whether the text has at least the beginning of a name, as far as an SMS can carry it."""
    plain = " ".join(sendable(name).split()) or "?"
    return plain[0] in text


class TestPage:
    def test_a_service(self) -> None:
        assert page(DB1, "KWT", 1) == "CRITICAL db1/Postgres: connection refused\nReply ack KWT"

    def test_a_host_without_output(self) -> None:
        assert page(Subject(state="DOWN", hostname="db1"), "KWT", 1) == "DOWN db1\nReply ack KWT"

    def test_a_repetition_with_a_reason(self) -> None:
        assert page(DB1, "KWT", 1, again=True, because="Anna was not reached") == (
            "STILL CRITICAL db1/Postgres: connection refused (Anna was not reached)\nReply ack KWT"
        )

    def test_a_display_name_stands_beside_the_hostname(self) -> None:
        subject = Subject(
            state="DOWN",
            hostname="db1",
            display_name="DB 1 \N{EN DASH} Wellington",
            output="no answer",
        )
        assert page(subject, "KWT", 1) == ("DOWN db1 (DB 1 - Wellington): no answer\nReply ack KWT")

    def test_a_display_name_that_says_the_same_is_left_out(self) -> None:
        subject = Subject(state="DOWN", hostname="db1", display_name=" db1 ")
        assert page(subject, "KWT", 1) == "DOWN db1\nReply ack KWT"

    def test_a_display_name_is_the_first_to_go(self) -> None:
        subject = Subject(state="DOWN", hostname="db1", display_name="x" * 150, output="no answer")
        assert page(subject, "KWT", 1) == "DOWN db1: no answer\nReply ack KWT"

    def test_lines_and_layout_of_the_output_become_readable(self) -> None:
        subject = Subject(
            state="CRITICAL",
            hostname="db1",
            output="DISK | full\\n\\n  /var\t 99%\r\n\r\n/tmp 98%\n",
        )
        assert page(subject, "KWT", 1) == (
            "CRITICAL db1: DISK / full\n/var 99%\n/tmp 98%\nReply ack KWT"
        )

    def test_the_longest_names_leave_something_of_each_and_room_for_the_output(self) -> None:
        subject = Subject(
            state="CRITICAL" * 512,
            hostname="жук-01." * 140,
            service_name=POTATO * 256,
            output="connection refused",
        )
        text = page(subject, "KWT", 1, again=True, because="Anna was not reached")
        assert text == (
            f"STILL CRI..CAL жук..01./{POTATO}..{POTATO}: connection refused\nReply ack KWT"
        )

    def test_a_long_hostname_stays_whole_where_there_is_room(self) -> None:
        hostname = "db-cluster-07.wellington.example.net"
        text = page(Subject(state="DOWN", hostname=hostname, output="x" * 500), "KWT", 1)
        assert text.startswith(f"DOWN {hostname}: xxx")
        assert segments(text) == 1

    def test_names_give_way_to_output_in_another_script(self) -> None:
        hostname = "db-cluster-07.wellington.example.net"
        subject = Subject(state="DOWN", hostname=hostname, output="磁盘空间不足" * 20)
        assert "磁盘空间不足" * 4 in page(subject, "KWT", 1)

    @settings(max_examples=200, deadline=None)
    @given(subjects, limits, st.booleans(), st.none() | long_names)
    def test_state_host_service_and_code_are_always_there(
        self, subject: Subject, limit: int, again: bool, because: str | None
    ) -> None:
        text = page(subject, "KWTX", limit, again=again, because=because)
        assert model_of_segments(text) <= limit
        assert text.endswith("\nReply ack KWTX")
        for name in (subject.state, subject.hostname, subject.service_name):
            assert name is None or something_of(name, text)


class TestOtherWords:
    def test_a_recovery(self) -> None:
        subject = Subject(state="OK", hostname="db1", service_name="Postgres", output="all is well")
        assert recovery(subject, "KWT", 1) == "OK db1/Postgres: all is well (KWT)"

    def test_an_announcement_says_the_comment_and_who_said_it(self) -> None:
        subject = Subject(
            state="CRITICAL", hostname="db1", output="down", author="anna", comment="on my way"
        )
        assert announcement(subject, 1) == "CUSTOM db1 (CRITICAL): on my way (anna)"

    def test_an_announcement_without_a_comment_says_the_output(self) -> None:
        subject = Subject(state="NOTICE", hostname="icinga1", output="cannot be read")
        assert announcement(subject, 1, what="NOTICE") == "NOTICE icinga1: cannot be read"

    @settings(max_examples=200, deadline=None)
    @given(subjects, limits, long_names)
    def test_they_all_keep_to_the_limit_and_keep_what_matters(
        self, subject: Subject, limit: int, what: str
    ) -> None:
        told = recovery(subject, "KWTX", limit)
        assert told.endswith(" (KWTX)")
        for text in (told, announcement(subject, limit, what)):
            assert model_of_segments(text) <= limit
            for name in (subject.state, subject.hostname, subject.service_name):
                assert name is None or something_of(name, text)

    def test_a_list_names_everything_where_there_is_room(self) -> None:
        items = [("ack KWT for ", DB1), ("", Subject(state="DOWN", hostname="db2"))]
        assert listing("Which? ", items, ".", 1) == (
            "Which? ack KWT for CRITICAL db1/Postgres, DOWN db2."
        )

    def test_a_list_of_many_says_how_many_more(self) -> None:
        hosts = [("", Subject(state="DOWN", hostname=f"db{number}")) for number in range(40)]
        text = listing("Acknowledged: ", hosts, "", 1)
        assert text.startswith("Acknowledged: DOWN db0, DOWN db1, ")
        assert text.endswith(" and 27 more")
        assert text.count("DOWN") == 13

    @settings(deadline=None)
    @given(st.lists(subjects, min_size=1, max_size=9), limits)
    def test_a_list_keeps_to_the_limit_and_has_the_first(
        self, items: list[Subject], limit: int
    ) -> None:
        text = listing("Acknowledged: ", [("", item) for item in items], "", limit)
        assert model_of_segments(text) <= limit
        names = (items[0].state, items[0].hostname, items[0].service_name)
        assert all(name is None or something_of(name, text) for name in names)

    def test_a_subject_is_named_in_one_line(self) -> None:
        assert named(DB1) == "CRITICAL db1/Postgres"
        assert brief("two\nlines " * 9, 12) == "two l..lines"
