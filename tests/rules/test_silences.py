"""What a silence holds back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpotato.rules.silences import Silence, silencing


def silence(
    host: str = "*",
    service: str | None = None,
    server_id: int | None = None,
    id: int = 1,
    ends_in: float = 3600.0,
) -> Silence:
    return Silence(
        id=id,
        host=host,
        service=service,
        server_id=server_id,
        author="Anna",
        reason="new disks",
        ends_in=ends_in,
    )


@pytest.mark.parametrize(
    ("host", "service", "hostname", "service_name"),
    [
        ("db*", None, "db1", None),
        ("db*", None, "db1", "Postgres"),
        ("DB?", None, "db1", None),
        ("db[1-3]", None, "DB2", "Postgres"),
        ("*", "post*", "db1", "Postgres"),
        ("db1", "*", "db1", "Postgres"),
        ("stra\u00dfe*", None, "STRASSE1", None),
        ("*", "disk /var*", "db1", "Disk /var/lib"),
    ],
)
def test_what_matches_is_held_back(
    host: str, service: str | None, hostname: str, service_name: str | None
) -> None:
    given = silence(host, service)
    assert silencing([given], 7, hostname, service_name) is given


@pytest.mark.parametrize(
    ("host", "service", "hostname", "service_name"),
    [
        ("db*", None, "web1", None),
        ("db", None, "db1", None),
        ("db?", None, "db12", "Postgres"),
        ("db*", "Postgres", "db1", "Postgres replication"),
        ("db*", "Postgres", "web1", "Postgres"),
        ("db[1-3]", None, "db4", None),
        ("db.", None, "db1", None),
    ],
)
def test_what_does_not_match_is_not(
    host: str, service: str | None, hostname: str, service_name: str | None
) -> None:
    assert silencing([silence(host, service)], 7, hostname, service_name) is None


def test_a_silence_of_services_does_not_hold_back_their_host() -> None:
    assert silencing([silence("db1", "*")], 7, "db1", None) is None


def test_a_silence_of_one_server_holds_back_only_what_that_sends() -> None:
    given = silence("db*", server_id=7)
    assert silencing([given], 7, "db1", None) is given
    assert silencing([given], 8, "db1", None) is None
    assert silencing([given], None, "db1", None) is None


def test_of_several_the_one_that_lasts_longest_counts() -> None:
    short, long = silence(id=1, ends_in=60.0), silence("db*", id=2, ends_in=7200.0)
    other = silence("web*", id=3, ends_in=9999.0)
    assert silencing([short, long, other], 7, "db1", "Postgres") is long


names = st.text(min_size=1, max_size=20)
services = st.none() | names


@given(host=names, service=services, server_id=st.none() | st.integers(1, 3))
def test_everything_is_held_back_by_a_silence_of_everything_and_nothing_by_none(
    host: str, service: str | None, server_id: int | None
) -> None:
    every = silence("*")
    assert silencing([every], server_id, host, service) is every
    assert silencing([], server_id, host, service) is None


@given(host=names, service=names)
def test_case_never_matters(host: str, service: str) -> None:
    """A name without pattern characters silences itself, however it is written."""
    pattern = "".join(f"[{each}]" if each in "*?[" else each for each in host)
    held = silence(pattern.swapcase(), None)
    same = host.swapcase().casefold() == host.casefold()
    assert (silencing([held], 1, host, service) is held) or not same


@given(
    st.lists(
        st.builds(
            silence,
            host=st.sampled_from(["*", "db*", "web1"]),
            service=st.sampled_from([None, "*", "HTTP"]),
            server_id=st.sampled_from([None, 1, 2]),
            ends_in=st.floats(0, 1e6),
        ),
        max_size=6,
    ),
    st.sampled_from(["db1", "web1", "mail"]),
    st.sampled_from([None, "HTTP", "SMTP"]),
    st.sampled_from([None, 1, 2]),
)
def test_more_silences_hold_back_no_less_and_for_no_shorter_time(
    silences: list[Silence], host: str, service: str | None, server_id: int | None
) -> None:
    """Each alone holds back what it does, and together they last as long as the longest of them."""
    alone = [each for each in silences if silencing([each], server_id, host, service)]
    together = silencing(silences, server_id, host, service)
    assert (together is None) == (not alone)
    if together is not None:
        assert together in alone
        assert together.ends_in == max(each.ends_in for each in alone)
