"""What is done for each command that a reply may be, and what is said about it.

A phone may be in several tenants, or be shared by several people. What is about alerts is done in
the name of whom the newest message that told of them was for. `who` tells of every tenant of the
phone. `take` needs a word more where it could mean several pagers. `stop` and `start` are about the
phone, and so about all who have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from hotpotato import contacts, rota
from hotpotato.rules import answers
from hotpotato.rules import replies as rules
from hotpotato.rules.text import Subject, segments
from hotpotato.store import acknowledging, people, replies, schedules
from hotpotato.store.contacts import tell
from hotpotato.store.database import Transaction
from hotpotato.store.replies import DueReply, Phone, Told
from hotpotato.vocabulary import AlertStatus


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was made of a reply: a sentence for the history, an answer for the phone.

    `phone` is whose the reply was, `alerts` what it was about. `acknowledges`: it meant to
    acknowledge, and it is known what.
    """

    phone: Phone
    sentence: str
    answer: str
    alerts: Sequence[int] = ()
    acknowledges: bool = False


async def obey(
    transaction: Transaction, command: rules.Command, reply: DueReply, phones: Sequence[Phone]
) -> Verdict:
    """Do what a reply asks for; `phones`, at least one, are the contacts that it came from."""
    tenants = sorted({phone.tenant_id for phone in phones})
    match command:
        case rules.Acknowledge(code):
            told = await replies.of_code(transaction, reply, tenants, code)
            return await _acknowledge(transaction, told, phones) or _no_such_code(phones[0], code)
        case rules.AcknowledgeAll():
            told = await replies.of_last_digest(transaction, reply, tenants)
            return await _acknowledge(transaction, told, phones) or _no_digest(phones[0])
        case rules.AcknowledgeIt():
            return await _acknowledge_it(transaction, reply, tenants, phones)
        case rules.Resolve(code):
            told = await replies.of_code(transaction, reply, tenants, code)
            return await _resolve(transaction, told, phones) or _no_such_code(phones[0], code)
        case rules.Who():
            return await _who(transaction, phones)
        case rules.Take(whose):
            return await _take(transaction, whose, phones)
        case rules.Stop():
            return await _stop(transaction, phones)
        case rules.Start():
            return await _start(transaction, phones)
        case rules.Verify(code):
            return await _verify(transaction, code, phones)
        case rules.Help():
            return _said(phones[0], "asked what can be replied", answers.usage())
        case rules.NotUnderstood():
            return _not_understood(phones[0])


def _said(phone: Phone, what: str, answer: str) -> Verdict:
    """A verdict that is about no alert: «Anna» and what she did."""
    return Verdict(phone=phone, sentence=f"{phone.name} {what}", answer=answer)


def _not_understood(phone: Phone) -> Verdict:
    return _said(phone, "replied something that was not understood", answers.not_understood())


# --- alerts


async def _acknowledge(
    transaction: Transaction, told: Sequence[Told], phones: Sequence[Phone]
) -> Verdict | None:
    """Acknowledge what the phone was told of; None if that is nothing."""
    if not told:
        return None
    phone = _whose(told, phones)
    ids = [one.alert_id for one in told]
    done = set(await acknowledging.acknowledge(transaction, ids, phone.name, phone.person_id))
    if len(told) == 1:
        sentence, answer = _of_one(told[0], phone, done)
    else:
        sentence, answer = _of_several(told, phone, done)
    return Verdict(phone=phone, sentence=sentence, answer=answer, alerts=ids, acknowledges=True)


def _of_one(one: Told, phone: Phone, done: set[int]) -> tuple[str, str]:
    subject = _subject(one)
    if done:
        return f"{phone.name} acknowledged the alert by SMS", answers.acknowledged([subject])
    if one.status is AlertStatus.RESOLVED:
        sentence = f"{phone.name} acknowledged an alert that was over already"
        return sentence, answers.over_already(subject)
    by = one.acknowledged_by or "somebody"
    sentence = f"{phone.name} acknowledged the alert, which {by} had acknowledged already"
    return sentence, answers.taken_already(subject, by)


def _of_several(told: Sequence[Told], phone: Phone, done: set[int]) -> tuple[str, str]:
    over = sum(one.status is AlertStatus.RESOLVED for one in told)
    held = len(told) - over - len(done)
    sentence = (
        f"{phone.name} acknowledged {len(done)} of {len(told)} alerts by SMS;"
        f" {held} taken by others, {over} over already"
    )
    if not done:
        return sentence, answers.none_acknowledged(held)
    taken = [_subject(one) for one in told if one.alert_id in done]
    return sentence, answers.acknowledged(taken, held, over)


async def _acknowledge_it(
    transaction: Transaction, reply: DueReply, tenants: Sequence[int], phones: Sequence[Phone]
) -> Verdict:
    """Acknowledge the one alert that can be meant, or ask which."""
    told = await replies.since_acknowledged(transaction, reply, tenants, rules.JUST_OVER)
    if len(told) == 1:
        verdict = await _acknowledge(transaction, told, phones)
        assert verdict is not None, "there is one"
        return verdict
    meant = told or await replies.ever_told(transaction, reply, tenants)
    choices = [
        (one.code, _subject(one))
        for one in meant
        if one.code is not None and one.status is AlertStatus.TRIGGERED
    ]
    phone = _whose(meant, phones) if meant else phones[0]
    answer = answers.which(choices) if choices else answers.nothing_open()
    return _said(phone, "acknowledged without saying what, and it was not clear", answer)


async def _resolve(
    transaction: Transaction, told: Sequence[Told], phones: Sequence[Phone]
) -> Verdict | None:
    """Call over what the phone was told of; None if that is nothing."""
    if not told:
        return None
    phone = _whose(told, phones)
    ids = [one.alert_id for one in told]
    done = set(await acknowledging.resolve(transaction, ids, phone.name))
    if done:
        sentence = f"{phone.name} resolved {'the alert' if len(done) == 1 else len(done)} by SMS"
        answer = answers.resolved([_subject(one) for one in told if one.alert_id in done])
    else:
        sentence = f"{phone.name} resolved what was over already"
        answer = answers.over_already(_subject(told[0]))
    return Verdict(phone=phone, sentence=sentence, answer=answer, alerts=ids)


def _no_such_code(phone: Phone, code: str) -> Verdict:
    what = f"replied with the code {code}, which no message to that phone had"
    return _said(phone, what, answers.no_such_code(code))


def _no_digest(phone: Phone) -> Verdict:
    what = "acknowledged all of a digest, and no digest had gone to that phone"
    return _said(phone, what, answers.no_digest())


def _whose(told: Sequence[Told], phones: Sequence[Phone]) -> Phone:
    """The contact through which these were told: of that person, or at least of that tenant."""
    one = told[0]
    of_tenant = [phone for phone in phones if phone.tenant_id == one.tenant_id]
    return next((each for each in of_tenant if each.person_id == one.person_id), of_tenant[0])


def _subject(one: Told) -> Subject:
    return Subject(state=one.state, hostname=one.hostname, service_name=one.service_name)


# --- the pager


async def _who(transaction: Transaction, phones: Sequence[Phone]) -> Verdict:
    held = [
        (
            tenant,
            [
                answers.Held(schedule=each.schedule, person=each.person, until=each.until)
                for each in await people.on_call(transaction, tenant)
            ],
        )
        for tenant in dict.fromkeys(phone.tenant for phone in phones)
    ]
    answer = answers.on_call(held, phones[0].timezone)
    return _said(phones[0], "asked who is on call", answer)


async def _take(transaction: Transaction, whose: str, phones: Sequence[Phone]) -> Verdict:
    labels = {_label(phone, phones): phone for phone in phones}
    wanted = [phone for label, phone in labels.items() if not whose or rules.spoken(label) == whose]
    if len(phones) == 1 and not wanted:
        return _not_understood(phones[0])
    if len(wanted) != 1:
        what = "wanted to take the pager, without saying whose"
        return _said(phones[0], what, answers.take_which(labels))
    (phone,) = wanted
    if phone.stopped:
        what = "wanted to take the pager with a phone that is switched off"
        return _said(phone, what, answers.cannot_take())
    return await _taken(transaction, phone)


def _label(phone: Phone, phones: Sequence[Phone]) -> str:
    """What tells a pager that this phone could take from the others: the tenant, or the person."""
    alone = sum(other.tenant_id == phone.tenant_id for other in phones) == 1
    return phone.tenant if alone else phone.name


async def _taken(transaction: Transaction, phone: Phone) -> Verdict:
    """Give the phone's person the primary pager for what is left of the shift that runs."""
    (schedule,) = await schedules.find(transaction, name="primary", tenant_id=phone.tenant_id)
    await schedules.lock(transaction, schedule.id)
    holder, until = await _holder(transaction, phone)
    if holder == phone.name:
        answer = answers.had_pager(phone.tenant, until, phone.timezone)
        return _said(phone, "wanted to take the pager, and had it", answer)
    await rota.take(transaction, schedule.id, phone.person_id, f"{phone.name} by SMS")
    _, until = await _holder(transaction, phone)
    if holder is not None:
        words = answers.taken_from_you(phone.name, phone.tenant)
        (previous,) = await people.people(transaction, name=holder, tenant=phone.tenant)
        await tell(transaction, phone.tenant_id, words, segments(words), only=[previous.id])
    answer = answers.has_pager(phone.tenant, until, phone.timezone)
    return _said(phone, f"took the pager of {phone.tenant} by SMS", answer)


async def _holder(transaction: Transaction, phone: Phone) -> tuple[str | None, datetime | None]:
    """Who has the primary pager of the phone's tenant, and until when."""
    held = await people.on_call(transaction, phone.tenant)
    (primary,) = [each for each in held if each.schedule == "primary"]
    return primary.person, primary.until


# --- the phone itself


async def _stop(transaction: Transaction, phones: Sequence[Phone]) -> Verdict:
    switched = await contacts.stop(transaction, [phone.contact_id for phone in phones], None)
    if not switched:
        return _said(phones[0], "switched off a phone that was off", answers.stopped_already())
    answer = answers.stopped(any(map(contacts.stranded, switched)))
    return _said(phones[0], "switched off their phone by SMS", answer)


async def _start(transaction: Transaction, phones: Sequence[Phone]) -> Verdict:
    switched = await contacts.start(transaction, [phone.contact_id for phone in phones], None)
    if not switched:
        return _said(phones[0], "switched on a phone that was on", answers.started_already())
    return _said(phones[0], "switched on their phone by SMS", answers.started())


async def _verify(transaction: Transaction, code: str, phones: Sequence[Phone]) -> Verdict:
    right = await contacts.verify(transaction, [phone.contact_id for phone in phones], code)
    if right is None:
        what = "replied a verification code, and none was waited for"
        return _said(phones[0], what, answers.not_verified())
    if not right:
        return _said(phones[0], "replied a wrong verification code", answers.not_verified())
    return _said(phones[0], "verified their phone by SMS", answers.verified())
