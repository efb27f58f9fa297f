"""Enrolling, rotating and revoking the proofs of people; what was signed before stays (R-ORG-5, G6)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest

from blocks.home import open_store
from blocks.people import sign_statement, statement
from flows import stages
from model.canonical import now
from model.errors import BadInput, Damaged, Refused
from model.outcome import Gate
from model.plan import Person
from model.proofs import ProofEvent, in_force, key_fingerprint
from model.signoff import Decision
from tasks.proofs import TRIES, enrol, people_of, read_book, revoke
from tasks.signed import require_signed
from tasks.voting import cast_vote, gate_digest, open_gate
from tasks.work import PlanFile, load_plan, open_work
from tests.support.keys import make_key
from tests.support.locally import begin
from tests.support.site import Later, Site, later, server, site

__all__ = ["later", "server", "site"]


class Phone:
    """An authenticator app that scans what it is shown."""

    def __init__(self, *wrong: str) -> None:
        self.secret, self.address, self.wrong, self.last = "", "", list(wrong), ""

    def scan(self, address: str, secret: str) -> None:
        self.address, self.secret = address, secret

    def code(self) -> str:
        self.last = self.wrong.pop(0) if self.wrong else phone_code(self)
        return self.last


def secret_of(site: Site, person: str) -> Path:
    return site.world.folder / "secrets" / f"totp-{person}"


def plan_of(site: Site) -> PlanFile:
    return load_plan(site.plan)


def test_person_is_enrolled_once_their_phone_has_proven_it(site: Site) -> None:
    secret_of(site, "lena").unlink()
    phone = Phone("000000")
    enrol(plan_of(site), site.store, "lena", phone.scan, phone.code)
    assert phone.secret == secret_of(site, "lena").read_text().strip()
    assert 0o600 == secret_of(site, "lena").stat().st_mode & 0o777
    assert 160 == len(phone.secret) * 5
    assert phone.address.startswith("otpauth://totp/Reinstate%20small:lena?secret=")
    assert ["enrolled"] == [event.what for event in read_book(site.store, "small").events]
    site.world.back_up()
    site.damage()
    incident = begin(site.plan)
    with pytest.raises(Refused, match="was used before"):  # the code that proved the phone signs nothing
        vote(incident, phone.last)
    later_code = str(pyotp.TOTP(phone.secret).at(now() + timedelta(seconds=30)))
    vote(incident, later_code)


def vote(incident: str, code: str, person: str = "lena", key: Path | None = None) -> None:
    work = open_work(incident)
    digest = gate_digest(open_gate(work, Gate.DECIDE), Gate.DECIDE)
    signature = ""
    if key is not None:
        text = statement(incident, "decide", digest, person, "approve", "yes", nonce="")
        signature = sign_statement(text, key)
    cast_vote(
        work, Gate.DECIDE, person=person, decision=Decision.APPROVE, reason="yes", signed_digest=digest, code=code,
        signature=signature,
    )  # fmt: skip


def test_wrong_codes_enrol_nobody(site: Site) -> None:
    secret_of(site, "lena").unlink()
    phone = Phone(*["000000"] * TRIES)
    with pytest.raises(Refused, match="3 wrong codes; nothing was changed"):
        enrol(plan_of(site), site.store, "lena", phone.scan, phone.code)
    assert not secret_of(site, "lena").exists()
    assert () == read_book(site.store, "small").events


def test_old_secret_counts_until_the_new_one_is_proven(site: Site) -> None:
    before, phone = secret_of(site, "lena").read_text(), Phone(*["000000"] * TRIES)
    with pytest.raises(Refused, match="wrong codes"):
        enrol(plan_of(site), site.store, "lena", phone.scan, phone.code, again=True)
    assert before == secret_of(site, "lena").read_text()
    enrol(plan_of(site), site.store, "lena", phone.scan, phone.code, again=True)
    assert phone.secret == secret_of(site, "lena").read_text().strip()


@pytest.mark.parametrize(
    ("change", "again", "words", "remedy"),
    [
        ({}, False, "lena is enrolled", "people rotate small lena"),
        ({"totp": "file:secrets/other"}, True, "no secret to rotate", "people enrol small lena"),
        ({"totp": None}, False, "names no place", "totp: file:secrets/totp-lena"),
        ({"totp": "env:LENA"}, False, "which Reinstate only reads", "file:PATH"),
    ],
)
def test_enrolment_that_cannot_be_says_what_to_do(
    site: Site, change: dict[str, str | None], again: bool, words: str, remedy: str
) -> None:
    site.write(people={**site.changes["people"], "lena": {**site.changes["people"]["lena"], **change}})
    with pytest.raises((BadInput, Refused), match=words) as caught:
        enrol(plan_of(site), site.store, "lena", lambda *_: None, lambda: "", again=again)
    assert remedy in caught.value.remedy
    with pytest.raises(BadInput, match="not a person of the plan"):
        enrol(plan_of(site), site.store, "eve", lambda *_: None, lambda: "", again=again)


def test_revoked_code_signs_nothing_until_the_person_enrols_again(site: Site, later: Later) -> None:
    """What was signed before stays: the repair goes on."""
    site.world.back_up()
    site.damage()
    incident = begin(site.plan)
    site.sign(incident, "lena")
    asyncio.run(stages.preserve.fn(incident))
    event = revoke(plan_of(site), site.store, "lena", "omar", "The phone was stolen.")
    assert event.code
    assert not secret_of(site, "lena").exists()
    work = open_work(incident)
    require_signed(work, work.state())
    begin(site.plan, incident)
    later(timedelta(minutes=2))
    with pytest.raises(Refused, match="the one-time code of lena was revoked") as caught:
        vote_at_accept(incident, "lena", "123456")
    assert "people enrol small lena" in caught.value.remedy
    phone = Phone()
    enrol(plan_of(site), site.store, "lena", phone.scan, lambda: phone_code(phone))
    later(timedelta(minutes=2))
    site.sign(incident, "lena")
    begin(site.plan, incident)
    assert open_work(incident).state().ended is not None


def phone_code(phone: Phone) -> str:
    return str(pyotp.TOTP(phone.secret).now())


def vote_at_accept(incident: str, person: str, code: str) -> None:
    work = open_work(incident)
    digest = gate_digest(open_gate(work, Gate.ACCEPT), Gate.ACCEPT)
    cast_vote(
        work,
        Gate.ACCEPT,
        person=person,
        decision=Decision.APPROVE,
        reason="yes",
        signed_digest=digest,
        code=code,
    )


def test_revoked_key_signs_nothing_though_the_plan_still_names_it(site: Site) -> None:
    line = make_key(site.world.folder, "lena")
    site.write(
        people={**site.changes["people"], "lena": {**site.changes["people"]["lena"], "ssh_keys": [line]}}
    )
    site.world.back_up()
    site.damage()
    incident = begin(site.plan)
    event = revoke(plan_of(site), site.store, "lena", "omar", "The laptop was stolen.")
    assert (key_fingerprint(line),) == event.keys
    with pytest.raises(Refused, match="every SSH key of lena was revoked"):
        vote(incident, "", key=site.world.folder / "lena")
    rows = {row["person"]: row for row in people_of(plan_of(site), site.store)}
    assert ("revoked", f"{key_fingerprint(line)} (revoked)") == (rows["lena"]["code"], rows["lena"]["keys"])
    assert ("ready", "–") == (rows["omar"]["code"], rows["omar"]["keys"])
    with pytest.raises(BadInput, match="no proof that counts"):
        revoke(plan_of(site), site.store, "lena", "omar", "Again.")


def test_revocations_that_were_tampered_with_are_found_out(site: Site) -> None:
    """Whoever wants a stolen phone to count again has to alter what is signed."""
    revoke(plan_of(site), site.store, "lena", "omar", "The phone was stolen.")
    raw = open_store().get("people/small.json")
    assert raw is not None
    open_store().put("people/small.json", raw.replace(b'"lena"', b'"nobo"'))
    site.world.back_up()
    site.damage()
    with pytest.raises(Damaged, match="was altered"):
        vote(begin(site.plan), "123456")


def test_proofs_count_by_the_moment() -> None:
    """Pure: before, between, after; another person's events are not mine."""
    at = now()
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDkf0Xn8JmGzK0b2Uo0hQ0y4e3aYk2nH4cXr0m1i5y7e lena"
    person = Person(name="Lena", totp="env:LENA", ssh_keys=(key,))
    hour = timedelta(hours=1)

    def event(what: str, when: int, who: str = "lena") -> ProofEvent:
        keys = (key_fingerprint(key),) if what == "revoked" else ()
        return ProofEvent.model_validate(
            {"person": who, "what": what, "at": at + hour * when, "code": True, "keys": keys}
        )

    events = [event("enrolled", 0), event("revoked", 1, "omar"), event("revoked", 2), event("enrolled", 4)]
    seen = [in_force(person, "lena", events, at + hour * n) for n in range(6)]
    assert ["env:LENA", "env:LENA", None, None, "env:LENA", "env:LENA"] == [one.totp for one in seen]
    assert [1, 1, 0, 0, 0, 0] == [len(one.ssh_keys) for one in seen], "a stolen key never counts again"
