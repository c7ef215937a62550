"""What monitoring servers send, taken as well as it can be."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hotpotato.rules.intake import (
    Cleaned,
    Unreadable,
    alert_digest,
    clean,
    content_digest,
    decode_object,
    effect,
    excerpt,
    find_v1_key,
    is_recovery,
    shown,
    v1_names,
)
from hotpotato.vocabulary import Effect, Event, Fields

AUCKLAND = ZoneInfo("Pacific/Auckland")
LIMITS = {"output": 16384, "hostname": 1024, "service_name": 1024}
TEXTS = (
    "hostname",
    "state",
    "service_name",
    "display_name",
    "trouble_code",
    "output",
    "author",
    "comment",
    "number",
)
KEY = "Zk3vQ9-x_7Lr2MtB8wYc"


def cleaned(**raw: object) -> Cleaned:
    return clean({"hostname": "db1", "state": "CRITICAL", **raw}, AUCKLAND)


def fields(**raw: object) -> Fields:
    result = cleaned(**raw)
    assert result.fields is not None
    return result.fields


class TestReading:
    """`decode_object`: strict JSON, but for what only a detail would break."""

    def test_a_published_request_is_read(self) -> None:
        body = b'{"hostname": "myhost", "trouble_code": 17, "service_name": null, "late": true}'
        assert decode_object(body) == {
            "hostname": "myhost",
            "trouble_code": 17,
            "service_name": None,
            "late": True,
        }

    def test_a_byte_order_mark_is_passed_over(self) -> None:
        assert decode_object(b'\xef\xbb\xbf{"state": "UP"}') == {"state": "UP"}

    def test_icingas_escaped_potato_is_one_character(self) -> None:
        assert decode_object(rb'{"output": "\ud83e\udd54"}') == {"output": "\N{POTATO}"}

    def test_of_equal_keys_the_last_wins(self) -> None:
        assert decode_object(b'{"state": "UP", "state": "DOWN"}') == {"state": "DOWN"}
        assert decode_object(rb'{"state": "\ud800", "state": "DOWN"}') == {"state": "DOWN"}

    @pytest.mark.parametrize("place", ["value", "key", "deep", "beside a huge number"])
    def test_a_lone_surrogate_is_read_and_left_to_cleaning(self, place: str) -> None:
        bodies = {
            "value": rb'{"output": "\ud800"}',
            "key": rb'{"\udfff": "x"}',
            "deep": rb'{"output": ["\ud800x"]}',
            "beside a huge number": rb'{"output": "\ud800", "number": 1e999}',
        }
        assert isinstance(decode_object(bodies[place]), dict)

    @pytest.mark.parametrize(
        "number",
        [
            "1e999",
            "-1E+400",
            "1.10",
            "0.30000000000000000001",
            "9" * 30,
            "-" + "8" * 40,
            pytest.param("9" * 5000, id="5000 digits"),
        ],
    )
    @pytest.mark.parametrize("surrogate", ["", r"\ud800"])
    def test_numbers_of_any_size_end_up_as_they_were_written(
        self, number: str, surrogate: str
    ) -> None:
        body = f'{{"trouble_code": {number}, "comment": "{surrogate}"}}'.encode()
        code = decode_object(body)["trouble_code"]
        result = fields(trouble_code=code).trouble_code
        assert result == number[:4096]

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            (b"", "empty"),
            (b" \n", "empty"),
            (b"[]", "not an object"),
            (b"null", "not an object"),
            (b'"text"', "not an object"),
            (b"17", "not an object"),
            (b"1e999", "not an object"),
            (b"{", "not JSON"),
            (b"{'state': 'UP'}", "not JSON"),
            (b'{"state": "UP",}', "not JSON"),
            (b'{"state": "UP"} trailing', "not JSON"),
            (b'{"output": "say "hello""}', "line 1, column 18"),
            (b'{"output": "C:\\windows"}', "not JSON"),
            (b'{"output": "a\nb"}', "not JSON"),
            (b'{"output": "a\x00b"}', "not JSON"),
            (b'{"number": NaN}', "NaN"),
            (b'{"number": Infinity}', "Infinity"),
            (b'{"number": -Infinity}', "-Infinity"),
            (b'{"number": 01}', "not JSON"),
            (b'{"number": .5}', "not JSON"),
            (b'{"output": "Gr\xf6\xdfe"}', "not UTF-8 at byte 14"),
            ('{"state": "UP"}'.encode("utf-16"), "not UTF-8 at byte 0"),
            (b'{"output": "\xed\xa0\x80"}', "not UTF-8"),
            (b'{"output": "\xc0\x80"}', "not UTF-8"),
            pytest.param(b"[" * 100_000, "nested too deeply", id="open brackets"),
            pytest.param(b'{"a":' * 100_000, "nested too deeply", id="open braces"),
            pytest.param(
                b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
                "nested too deeply",
                id="closed brackets",
            ),
            (b"hostname=db1&state=DOWN", "not JSON"),
        ],
    )
    def test_what_is_no_json_object_is_refused_with_a_sentence(self, body: bytes, why: str) -> None:
        with pytest.raises(Unreadable) as refusal:
            decode_object(body)
        assert why in str(refusal.value)
        assert len(str(refusal.value)) < 120

    @settings(max_examples=400)
    @given(
        st.binary()
        | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))
        | st.lists(
            st.sampled_from(
                [
                    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\ud800", b"\\u12"),
                    *(b"1", b"-", b"e9", b".", b"NaN", b"true", b"null", b'"a"', b'"a":'),
                    *(b" ", b"\n", b"\xff"),
                ]
            ),
            max_size=15,
        ).map(b"".join)
    )
    def test_any_bytes_are_an_object_or_unreadable(self, body: bytes) -> None:
        try:
            result = decode_object(body)
        except Unreadable:
            return
        assert isinstance(result, dict)

    @given(
        st.dictionaries(
            st.text(),
            st.recursive(
                st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.text(),
                lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                max_leaves=5,
            ),
        ),
        st.booleans(),
    )
    def test_any_object_without_fractions_is_read_as_it_is(
        self, value: dict[str, object], pure_ascii: bool
    ) -> None:
        text = json.dumps(value, ensure_ascii=pure_ascii)
        assert decode_object(text.encode("utf-8")) == value

    @given(st.text(st.characters(codec="utf-8") | st.sampled_from("\ud800\udc00\udfff")))
    def test_escaped_surrogates_survive_wherever_they_stand(self, text: str) -> None:
        body = json.dumps({"output": text}).encode()
        expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        assert decode_object(body) == {"output": expected}


class TestVersion1Names:
    def test_a_v1_request_gets_v2_names_and_loses_its_key(self) -> None:
        assert v1_names(
            {
                "apikey": KEY,
                "notificationtype": "service",
                "troublecode": "BAD01",
                "hostname": "db1",
                "displayname": "DB 1",
                "servicename": "Postgres",
                "state": "CRITICAL",
                "output": "down",
                "icingadatetime": "2026-11-23 20:32:24 +1300",
                "event": "PROBLEM",
            }
        ) == {
            "notif_type": "service",
            "trouble_code": "BAD01",
            "hostname": "db1",
            "display_name": "DB 1",
            "service_name": "Postgres",
            "state": "CRITICAL",
            "output": "down",
            "timestamp": "2026-11-23 20:32:24 +1300",
            "event": "PROBLEM",
        }

    def test_v1s_own_spelling_wins(self) -> None:
        assert v1_names({"service_name": "two", "servicename": "one"}) == {"service_name": "one"}

    @pytest.mark.parametrize("absent", [None, "", "  ", "$SERVICEDESC$"])
    def test_unless_it_is_absent(self, absent: object) -> None:
        both = {"servicename": absent, "service_name": "two"}
        assert v1_names(both) == {"service_name": "two"}

    def test_zero_is_a_trouble_code_and_not_absent(self) -> None:
        assert v1_names({"troublecode": 0, "trouble_code": 1}) == {"trouble_code": 0}


class TestCleaning:
    def test_what_debians_icinga_sends_is_taken_without_a_remark(self) -> None:
        result = clean(
            {
                "notif_type": "service",
                "event": "PROBLEM",
                "hostname": "db1",
                "display_name": "DB 1 \N{EN DASH} Wellington (primär)",
                "service_name": "Größe der Warteschlange",
                "state": "CRITICAL",
                "output": 'connection "refused"\n\t<b>1</b>\n',
                "timestamp": "2026-11-23 20:32:24 +1300",
                "trouble_code": None,
            },
            AUCKLAND,
        )
        assert result == Cleaned(
            fields=Fields(
                hostname="db1",
                state="CRITICAL",
                is_service=True,
                event=Event.PROBLEM,
                service_name="Größe der Warteschlange",
                display_name="DB 1 \N{EN DASH} Wellington (primär)",
                output='connection "refused"\n\t<b>1</b>\n',
                timestamp=datetime(2026, 11, 23, 7, 32, 24, tzinfo=UTC),
            )
        )

    def test_nagios_host_notification_with_its_own_macros_in_it_is_about_a_host(self) -> None:
        result = cleaned(service_name="$SERVICEDESC$", trouble_code="$_HOSTTROUBLE$")
        assert result == Cleaned(fields=Fields(hostname="db1", state="CRITICAL", is_service=False))

    @pytest.mark.parametrize(
        "absent",
        [
            None,
            "",
            " \t\n",
            "\u00a0",
            "$SERVICEDESC$",
            "$_HOSTTROUBLE$",
            " $host.name$ ",
            "$HOSTSTATE:db1$",
            [],
            {},
        ],
    )
    @pytest.mark.parametrize("name", ["service_name", "output", "timestamp", "late", "notif_type"])
    def test_what_is_absent_leaves_no_trace(self, name: str, absent: object) -> None:
        assert cleaned(**{name: absent}) == cleaned()

    @pytest.mark.parametrize("text", ["$5", "$ $", "a $ARG1$ b", "$$", "$5$", "$A$B$"])
    def test_a_dollar_alone_is_no_macro(self, text: str) -> None:
        assert fields(output=text).output == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (17, "17"),
            (0, "0"),
            (-1, "-1"),
            pytest.param(10**5000, "1" + "0" * 4095, id="5001 digits"),
            (True, "true"),
            (False, "false"),
            (1.5, "1.5"),
            (1e22, "1" + "0" * 22),
            (math.inf, "Infinity"),
        ],
    )
    def test_numbers_and_booleans_become_text(self, value: object, text: str) -> None:
        assert fields(trouble_code=value).trouble_code == text

    def test_lists_and_objects_become_their_json_and_that_is_said(self) -> None:
        result = cleaned(output={"was": ["größer", 1, None]})
        assert result.fields is not None
        assert result.fields.output == '{"was":["größer",1,null]}'
        assert result.remarks == ("output was not text, kept as JSON",)

    def test_a_list_too_deep_to_be_written_is_taken_all_the_same(self) -> None:
        deep: list[object] = []
        for _ in range(50_000):
            deep = [deep]
        result = cleaned(output=deep)
        assert result.fields is not None
        assert result.remarks == ("output was not text, kept as JSON",)

    def test_control_characters_and_lone_surrogates_are_replaced(self) -> None:
        replaced = "\ufffd"
        text = fields(output="a\0b\x1b[31m\x7f\x85\ud800c\rd\r\ne\tf\ng").output
        assert text == (
            f"a{replaced}b{replaced}[31m{replaced}{replaced}{replaced}c{replaced}d\ne\tf\ng"
        )

    def test_space_around_names_goes_and_output_keeps_its_layout(self) -> None:
        assert fields(hostname=" db1\r\n").hostname == "db1"
        assert fields(output="  a\n    b\n").output == "  a\n    b\n"

    @pytest.mark.parametrize("name", TEXTS)
    def test_a_text_is_cut_at_its_bytes_and_between_characters(self, name: str) -> None:
        most = LIMITS.get(name, 4096)
        exact = "x" * most
        result = cleaned(**{name: exact})
        assert getattr(result.fields, name) == exact
        assert f"{name} cut to {most} bytes" not in result.remarks
        longer = cleaned(**{name: "x" * (most - 1) + "ß"})
        assert getattr(longer.fields, name) == "x" * (most - 1)
        assert f"{name} cut to {most} bytes" in longer.remarks

    def test_an_output_of_which_only_space_is_left_is_absent(self) -> None:
        assert fields(output=" " * 20_000 + "x").output is None

    def test_72_kb_of_output_are_taken_and_the_cut_is_said(self) -> None:
        result = cleaned(output="\N{POTATO}" * 18_000)
        assert result.fields is not None
        assert result.fields.output == "\N{POTATO}" * 4096
        assert result.remarks == ("output cut to 16384 bytes",)

    @pytest.mark.parametrize(
        ("raw", "refused"),
        [
            ({"state": "DOWN"}, "hostname is missing"),
            ({"hostname": "db1"}, "state is missing"),
            ({}, "hostname and state are missing"),
            ({"hostname": "$HOSTNAME$", "state": "DOWN"}, "hostname is missing"),
            ({"hostname": "db1", "state": " "}, "state is missing"),
            ({"hostname": [], "state": None}, "hostname and state are missing"),
        ],
    )
    def test_only_without_a_hostname_or_a_state_it_is_refused(
        self, raw: dict[str, object], refused: str
    ) -> None:
        assert clean(raw, AUCKLAND) == Cleaned(refused=refused)

    def test_a_timestamp_that_is_not_understood_is_said(self) -> None:
        result = cleaned(timestamp="at noon")
        assert result.fields is not None
        assert result.fields.timestamp is None
        assert result.remarks == ("timestamp not understood, arrival time used",)

    def test_the_servers_setting_tells_us_time_from_euro(self) -> None:
        raw = {"hostname": "db1", "state": "UP", "timestamp": "11-05-2026 20:32:24"}
        result = clean(raw, ZoneInfo("UTC"), month_first=True)
        assert result.fields is not None
        assert result.fields.timestamp == datetime(2026, 11, 5, 20, 32, 24, tzinfo=UTC)

    def test_several_details_are_named_in_the_order_of_the_fields(self) -> None:
        result = cleaned(output="x" * 20_000, event="FOO", timestamp="?", late="perhaps")
        assert result.remarks == (
            "output cut to 16384 bytes",
            "event FOO not understood, judged by state",
            "timestamp not understood, arrival time used",
            "late perhaps not understood, taken as false",
        )


class TestHostOrService:
    @pytest.mark.parametrize("notif_type", [None, "", "$NOTIFICATIONTYPE$"])
    def test_without_notif_type_a_service_name_makes_it_a_service(self, notif_type: object) -> None:
        assert fields(notif_type=notif_type, service_name="Postgres").is_service
        assert not fields(notif_type=notif_type).is_service

    @pytest.mark.parametrize("word", ["service", "Service", " SERVICE "])
    def test_notif_type_is_read_in_any_case(self, word: str) -> None:
        assert cleaned(notif_type=word, service_name="Postgres").remarks == ()
        assert fields(notif_type=word, service_name="Postgres").is_service

    def test_a_service_without_a_name_stays_one_and_that_is_said(self) -> None:
        result = cleaned(notif_type="service")
        assert result.fields is not None
        assert result.fields.is_service
        assert result.remarks == ("notif_type says service, but service_name is missing",)

    def test_a_host_with_a_service_name_keeps_it_and_that_is_said(self) -> None:
        result = cleaned(notif_type="host", service_name="Postgres")
        assert result.fields is not None
        assert not result.fields.is_service
        assert result.fields.service_name == "Postgres"
        assert result.remarks == ("notif_type says host, but there is a service_name",)

    def test_another_word_is_said_and_the_service_name_decides(self) -> None:
        result = cleaned(notif_type="2", service_name="Postgres")
        assert result.fields is not None
        assert result.fields.is_service
        assert result.remarks == ("notif_type 2 not understood, judged by service_name",)


class TestEvents:
    @pytest.mark.parametrize("event", list(Event))
    def test_every_event_is_understood_in_either_field_and_in_any_case(self, event: Event) -> None:
        for spelling in (event.value, event.value.lower(), event.value.capitalize()):
            assert cleaned(event=spelling) == cleaned(notif_type=spelling)
            assert fields(event=spelling).event is event
            assert cleaned(event=spelling).remarks == ()

    @pytest.mark.parametrize("spelling", ["DowntimeStart", "DOWNTIME_START", "downtime start"])
    def test_a_downtimes_start_is_understood_however_its_words_are_joined(
        self, spelling: str
    ) -> None:
        assert fields(event=spelling).event is Event.DOWNTIMESTART

    def test_an_event_in_notif_type_leaves_host_or_service_to_the_service_name(self) -> None:
        assert fields(notif_type="RECOVERY", service_name="Postgres").is_service
        assert not fields(notif_type="RECOVERY").is_service

    def test_the_event_field_wins(self) -> None:
        assert fields(event="CUSTOM", notif_type="RECOVERY").event is Event.CUSTOM

    def test_an_unknown_event_gives_way_to_one_in_notif_type(self) -> None:
        result = cleaned(event="FOO", notif_type="RECOVERY")
        assert result.fields is not None
        assert result.fields.event is Event.RECOVERY
        assert result.remarks == ("event FOO not understood, RECOVERY of notif_type used",)

    def test_an_unknown_event_of_any_length_makes_a_short_remark(self) -> None:
        (remark,) = cleaned(event="F" * 4000).remarks
        assert len(remark) < 100


class TestLate:
    @pytest.mark.parametrize("late", [True, "true", "TRUE", 1, "1"])
    def test_late_is_late(self, late: object) -> None:
        assert fields(late=late).late
        assert cleaned(late=late).remarks == ()

    @pytest.mark.parametrize("late", [False, "false", 0, "0", None, ""])
    def test_not_late_is_not(self, late: object) -> None:
        assert cleaned(late=late) == cleaned()


HOSTNAMES = st.text(max_size=20) | st.integers() | st.sampled_from(["$HOSTNAME$", "x" * 5000])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters() | st.sampled_from("\0\r\n\t\ud800 $ß"))
    | st.sampled_from(
        ["x" * 20_000, " " * 20_000 + "x", "ß" * 9000, "\0" * 9000, "\N{POTATO}" * 5000]
    )
    | st.sampled_from(["$" + "x" * n + "$" for n in (0, 1, 254, 255, 1022, 1023, 4094, 4095, 4096)])
    | st.sampled_from(
        [*Event, "host", "service", "1795419144", "2026-11-23 20:32:24 +1300", "\r\r\n"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
NAMES = (*TEXTS, "notif_type", "event", "timestamp", "late")


def as_request(found: Fields) -> dict[str, object]:
    """The request that says exactly these fields."""
    raw: dict[str, object] = {name: getattr(found, name) for name in (*TEXTS, "event", "late")}
    raw["notif_type"] = "service" if found.is_service else "host"
    raw["timestamp"] = found.timestamp and found.timestamp.isoformat()
    return raw


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES) | st.dictionaries(st.text(), VALUES))
def test_any_object_can_be_cleaned_within_the_lengths_and_once_is_enough(
    raw: dict[str, object],
) -> None:
    result = clean(raw, AUCKLAND)
    assert (result.fields is None) == (result.refused is not None)
    if result.fields is None:
        return
    for name in TEXTS:
        text = getattr(result.fields, name)
        if text is not None:
            assert text.strip()
            assert len(text.encode("utf-8")) <= LIMITS.get(name, 4096)
            assert not any(
                char not in "\n\t" and (ord(char) < 32 or 127 <= ord(char) < 160) for char in text
            )
    again = clean(as_request(result.fields), AUCKLAND)
    assert again.fields == result.fields
    assert content_digest(result.fields) == content_digest(again.fields)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES), HOSTNAMES, HOSTNAMES)
def test_a_page_with_a_hostname_and_a_state_is_never_refused(
    raw: dict[str, object], hostname: object, state: object
) -> None:
    refused = clean({"hostname": hostname, "state": state}, AUCKLAND).refused
    assert clean({**raw, "hostname": hostname, "state": state}, AUCKLAND).refused == refused


PROBLEM_OR_RECOVERY = (Event.PROBLEM, Event.RECOVERY, None)
DOWNTIMES = (
    Event.DOWNTIMESTART,
    Event.DOWNTIMEEND,
    Event.DOWNTIMECANCELLED,
    Event.DOWNTIMEREMOVED,
)
FLAPPINGS = (
    Event.FLAPPINGSTART,
    Event.FLAPPINGEND,
    Event.FLAPPINGSTOP,
    Event.FLAPPINGDISABLED,
)
TABLE = [
    *((event, Effect.RESOLVE, Effect.OPEN) for event in PROBLEM_OR_RECOVERY),
    (Event.CUSTOM, Effect.ANNOUNCE, Effect.ANNOUNCE),
    (Event.ACKNOWLEDGEMENT, Effect.RECORD, Effect.ACKNOWLEDGE),
    *((event, Effect.RECORD, Effect.RECORD) for event in DOWNTIMES),
    *((event, Effect.RESOLVE, Effect.RECORD) for event in FLAPPINGS),
]
PROBLEM_STATES = ["WARNING", "CRITICAL", "UNKNOWN", "DOWN", "UNREACHABLE", "Down", "okay", "?"]


class TestEffect:
    @pytest.mark.parametrize(("event", "when_well", "when_not"), TABLE)
    def test_the_table_of_the_interface_holds(
        self, event: Event | None, when_well: Effect, when_not: Effect
    ) -> None:
        for state in ("OK", "UP", "ok", "Up"):
            assert effect(event, state) is when_well
        for state in PROBLEM_STATES:
            assert effect(event, state) is when_not

    def test_the_table_has_a_row_for_every_event(self) -> None:
        assert {event for event, _, _ in TABLE} == {None, *Event}

    @pytest.mark.parametrize("event", [None, *Event])
    @pytest.mark.parametrize("state", ["OK", "CRITICAL"])
    def test_what_is_late_is_recorded_and_does_nothing(
        self, event: Event | None, state: str
    ) -> None:
        assert effect(event, state, late=True) is Effect.RECORD

    @pytest.mark.parametrize("state", PROBLEM_STATES)
    def test_only_ok_and_up_are_recoveries(self, state: str) -> None:
        assert not is_recovery(state)


class TestDigests:
    def test_a_contents_digest_is_the_same_however_the_request_was_written(self) -> None:
        one = fields(timestamp="2026-11-23 20:32:24 +1300", trouble_code=17, service_name=None)
        two = fields(timestamp=1795419144, trouble_code="17", service_name="$SERVICEDESC$")
        assert content_digest(one) == content_digest(two)
        assert len(content_digest(one)) == 32

    @pytest.mark.parametrize("name", TEXTS)
    def test_any_other_text_is_another_content(self, name: str) -> None:
        assert content_digest(fields(**{name: "other"})) != content_digest(fields())

    def test_lateness_kind_event_and_time_are_part_of_the_content(self) -> None:
        variants = [
            fields(),
            fields(late=True),
            fields(notif_type="service"),
            fields(event="PROBLEM"),
            fields(timestamp=1795419144),
            fields(timestamp=1795419144.000001),
        ]
        assert len({content_digest(variant) for variant in variants}) == len(variants)

    def test_a_field_of_the_future_leaves_todays_digests_as_they_are(self) -> None:
        class Later(Fields, frozen=True, kw_only=True):
            added: str | None = None

        today = fields(output="down", timestamp=1795419144)
        assert content_digest(Later(**msgspec.structs.asdict(today))) == content_digest(today)

    @pytest.mark.parametrize(
        "other",
        [
            (2, "a", "b"),
            (1, "ab", None),
            (1, "ab", ""),
            (1, "a", None),
            (1, "a", ""),
            (1, "a", "host"),
            (1, "A", "b"),
            (1, "a", "B"),
            (1, "a:", "b"),
            (11, "a", "b"),
            (1, "1:a", "b"),
        ],
    )
    def test_another_server_host_or_service_is_another_alert(
        self, other: tuple[int, str, str | None]
    ) -> None:
        assert alert_digest(*other) != alert_digest(1, "a", "b")

    names = st.text(alphabet=st.sampled_from("ab:1hostservice\ud800ß"), max_size=12)
    alerts = st.tuples(st.integers(0, 2**63), names, st.none() | names)

    @given(alerts, alerts)
    @example((1, "ahost", None), (1, "a", "host"))
    @example((1, "a", "service:b"), (1, "aservice:", "b"))
    def test_alerts_are_equal_exactly_if_their_digests_are(
        self, one: tuple[int, str, str | None], two: tuple[int, str, str | None]
    ) -> None:
        assert (alert_digest(*one) == alert_digest(*two)) == (one == two)
        assert len(alert_digest(*one)) == 32


class TestShown:
    @pytest.mark.parametrize(
        ("output", "seen"),
        [
            (r"first\nsecond", "first\nsecond"),
            ("first\nsecond", "first\nsecond"),
            (r"ends\n", "ends\n"),
            (r"\\nas01\share is full", r"\\nas01\share is full"),
            (r"escaped \\name", r"escaped \\name"),
            (r"a backslash\\\nthen a line", "a backslash\\\\\nthen a line"),
            (r"tabs\tstay", r"tabs\tstay"),
        ],
    )
    def test_nagios_literal_line_breaks_become_real(self, output: str, seen: str) -> None:
        assert shown(output) == seen


BROKEN = [
    f'{{"apikey": "{KEY}", "output": "say "no""}}',
    f'{{"output": "say "no"", "apikey":"{KEY}"}}',
    f"{{'apikey': '{KEY}'}}",
    f'{{"apikey": "{KEY}", "output": "C:\\windows"}}',
    f'{{"apikey": "{KEY}\n", "state": "UP"}}',
    f'{{"apikey": "{KEY}',
    f'{{"apikey": "{KEY}, "hostname": "db1"}}',
    f'{{ "APIKEY" : "{KEY}" "state" }}',
    f"{{apikey: {KEY}, state: UP}}",
    f"apikey={KEY}&hostname=db1",
    f'"{{\\"apikey\\": \\"{KEY}\\"}}"',
    f"%7B%22apikey%22%3A%22{KEY}%22%7D",
    f"{{\u201capikey\u201d: \u201c{KEY}\u201d}}",
    f"{{'apikey' => '{KEY}'}}",
    f"<apikey>{KEY}</apikey>",
]


class TestUnreadableBodies:
    @pytest.mark.parametrize("text", BROKEN)
    def test_the_v1_key_is_found_in_a_broken_body(self, text: str) -> None:
        assert find_v1_key(text.encode()) == KEY

    @pytest.mark.parametrize("coding", ["utf-16", "utf-16-be", "utf-8-sig"])
    def test_and_in_other_encodings_too(self, coding: str) -> None:
        assert find_v1_key(BROKEN[0].encode(coding)) == KEY

    def test_and_beside_bytes_that_are_no_text(self) -> None:
        assert find_v1_key(b'{"output": "Gr\xf6\xdfe", "apikey": "' + KEY.encode() + b'"}') == KEY

    @pytest.mark.parametrize("body", [b"", b"{", b'{"hostname": "db1"', b'{"apikey": "', b"apikey"])
    def test_where_there_is_no_key_none_is_found(self, body: bytes) -> None:
        assert find_v1_key(body) is None

    @pytest.mark.parametrize("text", [*BROKEN, f"Authorization: Apikey {KEY}", f"Bearer {KEY}"])
    @pytest.mark.parametrize("coding", ["utf-8", "utf-16", "utf-16-be"])
    def test_an_excerpt_shows_no_key(self, text: str, coding: str) -> None:
        shown_text = excerpt(text.encode(coding))
        assert KEY not in shown_text
        assert KEY[:6] not in shown_text
        assert "***" in shown_text

    def test_an_excerpt_shows_what_broke(self) -> None:
        body = f'{{"apikey": "{KEY}", "output": "say "no""}}'.encode()
        assert excerpt(body) == '{"apikey": ***", "output": "say "no""}'

    def test_an_excerpt_is_200_safe_characters(self) -> None:
        assert excerpt(b"\x1b\xff" + b"x" * 10_000) == "\ufffd\ufffd" + "x" * 198

    def test_a_key_that_the_end_of_the_excerpt_cuts_is_blotted_out_too(self) -> None:
        for before in range(150, 210):
            assert KEY[:3] not in excerpt(b"x" * before + f' "apikey": "{KEY}"'.encode())

    @given(st.binary(max_size=400))
    def test_any_bytes_have_an_excerpt_that_is_safe_text(self, body: bytes) -> None:
        text = excerpt(body)
        assert len(text) <= 200
        assert all(char in "\n\t" or ord(char) >= 32 for char in text)
        text.encode("utf-8")

    @pytest.mark.parametrize(
        "piece", [b"\\", b"apikey", b'apikey"', b"apikey:", b" ", b"%22", b"api key =", b"'", b"\0"]
    )
    def test_a_hostile_megabyte_is_searched_in_no_time(self, piece: bytes) -> None:
        """The pattern never tries a stretch twice: a quadratic one would take hours here."""
        body = b"apikey" + piece * (2**20 // len(piece))
        started = time.process_time()
        find_v1_key(body)
        excerpt(body)
        assert time.process_time() - started < 20
