"""The escalation's decisions played against a simulated world: phones, receipts, changing rotas."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpotato.rules.escalation import Decision, Facts, Paged, Person, Try, decide
from hotpotato.rules.policy import SHIPPED, Policy, Step, Whom
from hotpotato.vocabulary import AlertStatus

HOURS_TWO = 7200.0


class Phone(msgspec.Struct, frozen=True):
    """What becomes of a page to it, and after how many seconds; `delivers` None: never a word."""

    delivers: bool | None
    after: float


class Sent:
    """A page on its way."""

    def __init__(self, at: float, person: int, contact: int, number: int, phone: Phone) -> None:
        self.at, self.person, self.contact, self.round = at, person, contact, number
        self.heard_at = at + phone.after if phone.delivers is not None else None
        self.delivers = phone.delivers

    def seen(self, now: float) -> Try:
        """What is known of it."""
        heard = self.heard_at is not None and self.heard_at <= now
        return Try(
            contact=self.contact,
            delivered=heard and self.delivers is True,
            failed=heard and self.delivers is False,
            age=now - self.at,
        )


class Walk:
    """One alert that nobody answers."""

    def __init__(
        self,
        policy: Policy,
        people: Mapping[int, Person],
        phones: Mapping[int, Phone],
        rota: list[tuple[float, str, int | None]],
        repeats: list[float],
    ) -> None:
        self.policy, self.people, self.phones = policy, people, phones
        self.rota, self.repeats = rota, repeats
        self.now, self.round = 0.0, 0
        self.place: float | None = None
        self.place_at = 0.0
        self.sent: list[Sent] = []
        self.looks = 0

    def play(self, until: float) -> None:
        """Let things happen, each at its time."""
        news, failed, next_look = True, False, 0.0
        while self.now <= until:
            decision = self.look(news, failed)
            assert decision.look_in is not None
            next_look = self.now + decision.look_in
            coming = [at for at in self.repeats if at > self.now]
            failures = [
                one.heard_at
                for one in self.sent
                if one.delivers is False and one.heard_at is not None and one.heard_at > self.now
            ]
            before = self.now
            self.now = min([next_look, *coming, *failures])
            news = self.now in coming
            failed = any(one.heard_at == self.now and not one.delivers for one in self.sent)
            assert self.now > before
            self.looks += 1

    def look(self, news: bool, failed: bool) -> Decision:
        """Decide, and send what is decided."""
        decision = decide(self.facts(news, failed))
        self.round += decision.new_round
        if decision.place is not None:
            assert self.place is None or decision.place >= self.place
            self.place, self.place_at = decision.place, self.now
        for page in decision.pages:
            number = self.round if page.round is None else page.round
            phone = self.phones[page.contact]
            self.sent.append(Sent(self.now, page.person, page.contact, number, phone))
        return decision

    def facts(self, news: bool, failed: bool) -> Facts:
        """As the store knows them."""
        last = {one.person: one.round for one in sorted(self.sent, key=lambda one: one.round)}
        paged = tuple(
            Paged(
                person,
                number,
                tuple(
                    one.seen(self.now)
                    for one in self.sent
                    if (one.person, one.round) == (person, number)
                ),
            )
            for person, number in sorted(last.items())
        )
        on_call: dict[str, int] = {}
        for at, schedule, holder in self.rota:
            if at <= self.now:
                on_call.pop(schedule, None)
                if holder is not None:
                    on_call[schedule] = holder
        return Facts(
            status=AlertStatus.TRIGGERED,
            policy=self.policy,
            people=self.people,
            on_call=on_call,
            news=news,
            told_state=None if self.place is None else "CRITICAL",
            place=self.place,
            place_age=self.now - self.place_at,
            paged=paged,
            failed=failed,
        )


phones = st.builds(
    Phone, delivers=st.sampled_from([True, False, None]), after=st.integers(1, 90).map(float)
)
holders = st.none() | st.integers(1, 4)
steps = st.builds(
    Step,
    after=st.just(0.0),
    whom=st.just(Whom.ON_CALL),
    schedule=st.sampled_from(["primary", "secondary"]),
    again=st.none() | st.integers(60, 600).map(float),
    all_contacts=st.booleans(),
) | st.builds(
    Step,
    after=st.just(0.0),
    whom=st.just(Whom.EVERYONE),
    again=st.integers(60, 600).map(float),
)


@st.composite
def walks(draw: st.DrawFn) -> Walk:
    """A few people with one to three phones each, a rota that changes, and repetitions."""
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    people = {
        person: Person(f"person {person}", tuple(10 * person + n for n in range(count)))
        for person, count in enumerate(counts, start=1)
    }
    some = draw(st.lists(steps, min_size=1, max_size=3))
    policy = msgspec.structs.replace(
        SHIPPED,
        steps=tuple(
            msgspec.structs.replace(step, after=300.0 * number) for number, step in enumerate(some)
        ),
    )
    times = st.integers(0, int(HOURS_TWO)).map(float)
    changes = draw(
        st.lists(st.tuples(times, st.sampled_from(["primary", "secondary"]), holders), max_size=6)
    )
    return Walk(
        draw(st.sampled_from([SHIPPED, policy])),
        people,
        {contact: draw(phones) for each in people.values() for contact in each.contacts},
        sorted(changes, key=lambda change: change[0]),
        sorted(draw(st.sets(times, max_size=8))),
    )


@given(walks())
@settings(max_examples=60)
def test_while_nobody_answers_somebody_is_paged_within_the_policys_times(walk: Walk) -> None:
    walk.play(HOURS_TWO)
    longest = max(600.0, *(step.again or 0.0 for step in walk.policy.steps)) + 1.0
    times = [0.0, *(one.at for one in walk.sent), HOURS_TWO]
    assert walk.sent[0].at == 0.0
    assert all(after - before <= longest for before, after in pairwise(times))


@given(walks())
@settings(max_examples=60)
def test_a_failure_is_followed_by_another_page_at_once_while_somebody_is_left(walk: Walk) -> None:
    """Unless somebody else was paged who may have got it."""
    walk.play(HOURS_TWO)
    for failed in [one for one in walk.sent if one.delivers is False]:
        assert failed.heard_at is not None
        if failed.heard_at > HOURS_TWO:
            continue
        at = failed.heard_at
        of_round = [
            one for one in walk.sent if (one.person, one.round) == (failed.person, failed.round)
        ]
        newer = any(
            one.person == failed.person and one.round > failed.round and one.at <= at
            for one in walk.sent
        )
        delivered = any(one.seen(at).delivered for one in of_round)
        tried = {one.contact for one in of_round if one.at <= at}
        left = set(walk.people[failed.person].contacts) - tried
        last = max((one for one in of_round if one.at < at), key=lambda one: one.at)
        if left and last is failed and not newer and not delivered:
            assert any(one.at == at for one in walk.sent)


@given(walks())
@settings(max_examples=60)
def test_no_contact_gets_two_pages_in_one_moment_and_work_is_bounded(walk: Walk) -> None:
    walk.play(HOURS_TWO)
    sent = [(one.at, one.contact) for one in walk.sent]
    assert len(sent) == len(set(sent))
    assert walk.looks < 1000
    for one in walk.sent:
        assert one.contact in walk.people[one.person].contacts


def test_everybodys_phone_is_dead_but_the_last_ones() -> None:
    """It takes as long as the failures take to be told of, and no timer's time."""
    people = {n: Person(f"person {n}", (10 * n, 10 * n + 1)) for n in range(1, 5)}
    dead, alive = Phone(False, 2.0), Phone(True, 2.0)
    all_phones = {contact: dead for each in people.values() for contact in each.contacts}
    walk = Walk(
        SHIPPED,
        people,
        all_phones | {41: alive},
        [(0.0, "primary", 1), (0.0, "secondary", 2)],
        [],
    )
    walk.play(299.0)
    first = next(one for one in walk.sent if one.delivers)
    assert first.contact == 41
    assert first.at == 10.0  # 10, 11; 20, 21; 30 and 40 together; 31 and 41 together
