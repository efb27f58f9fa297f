"""Enrolling people for one-time codes, rotating and revoking their proofs (R-ORG-5)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyotp

from blocks import durable
from blocks.home import home, signing_key
from blocks.journals.base import JournalStore
from blocks.journals.documents import seal, unseal
from blocks.people import matching_step, verify_ssh, verify_totp
from model.canonical import now
from model.errors import BadInput, Refused, ReinstateError
from model.plan import Person
from model.proofs import ProofBook, ProofEvent, in_force, key_fingerprint
from tasks.work import PlanFile

TRIES = 3
"""So often a person may type the first code."""


def _book_path(plan: str) -> str:
    return f"people/{plan}.json"


def proofs_kept(store: JournalStore, plan: str) -> bytes:
    """All that is kept about the proofs of a plan's people, as it lies there; empty when there is nothing."""
    return store.get(_book_path(plan)) or b""


def read_book(store: JournalStore, plan: str) -> ProofBook:
    """What happened to the proofs of a plan's people.

    Raises:
        Damaged: it was altered.
    """
    raw = store.get(_book_path(plan))
    return unseal(_book_path(plan), raw, ProofBook, signing_key()) if raw is not None else ProofBook()


def change_book(store: JournalStore, plan: str, change: Callable[[ProofBook], ProofBook]) -> None:
    """Write the book anew, one writer at a time.

    Raises:
        Damaged: it was altered.
    """
    with durable.locked(durable.make_folder(home() / "locks") / f"{plan}.people.lock"):
        book = change(read_book(store, plan))
        store.put(_book_path(plan), seal(_book_path(plan), book, signing_key()))


def _write(store: JournalStore, plan: str, event: ProofEvent) -> ProofEvent:
    change_book(store, plan, lambda book: book.model_copy(update={"events": (*book.events, event)}))
    return event


def require_proof(
    store: JournalStore, plan: str, ident: str, person: Person, at: datetime, *, by_key: bool
) -> Person:
    """A person with the proofs that counted at a moment.

    Args:
        store: the journal store.
        plan: name of the plan.
        ident: of the person.
        person: as the plan has them.
        at: the moment.
        by_key: they sign by SSH key; else by one-time code.

    Raises:
        Refused: what they sign by was revoked before. Damaged: what is known of it was altered.
    """
    valid = in_force(person, ident, read_book(store, plan).events, at)
    if by_key and person.ssh_keys and not valid.ssh_keys:
        raise Refused(
            f"every SSH key of {ident} was revoked.", remedy="publish a plan with a new key, or sign by code"
        )
    if not by_key and person.totp is not None and valid.totp is None:
        raise Refused(
            f"the one-time code of {ident} was revoked.",
            remedy=f"enrol again: `reinstate people enrol {plan} {ident}`",
        )
    return valid


def prove(
    store: JournalStore, file: PlanFile, ident: str, at: datetime, said: bytes, *, signature: str, code: str, claim: str
) -> str:  # fmt: skip
    """Prove that it is this person: by SSH signature over what they say, or else by one-time code.

    Args:
        store: the journal store.
        file: the plan.
        ident: of a person of the plan.
        at: the moment.
        said: what a signature signs.
        signature: armoured SSH signature; empty: by code.
        code: six-digit one-time code.
        claim: what the code is used up for.

    Returns:
        The proof as it is kept; see `Vote.proof_ref`.

    Raises:
        Refused: it is not right, was used before, or was revoked. Damaged: what is known of it was altered.
    """
    plan = file.plan
    who = require_proof(store, plan.name, ident, plan.people[ident], at, by_key=bool(signature))
    if signature:
        return verify_ssh(who, said, signature)
    return verify_totp(store, file.secrets.resolve, ident, who, code, claim, at)


def enrol(
    file: PlanFile, store: JournalStore, ident: str, show: Callable[[str, str], None], ask: Callable[[], str],
    *, again: bool = False,
) -> ProofEvent:  # fmt: skip
    """Make a person's one-time-code secret; it counts once they have proven that their phone has it.

    Args:
        file: the plan; the person's `totp` says where the secret goes.
        store: the journal store.
        ident: of the person.
        show: shows the provisioning address (for the QR code) and the secret.
        ask: asks for the code that the phone shows.
        again: rotate: replace the secret that is there, which counts until the new one is proven.

    Raises:
        BadInput: no such person, or the plan keeps the secret where we cannot put it.
        Refused: there is a secret (or none, to rotate), or the codes were wrong.
    """
    path = _secret_file(file, ident)
    what = "rotate" if again else "enrol"
    if path.exists() is not again:
        raise Refused(
            f"{ident} has no secret to rotate." if again else f"{ident} is enrolled.", str(path),
            f"`reinstate people {'enrol' if again else 'rotate'} {file.plan.name} {ident}`",
        )  # fmt: skip
    secret = pyotp.random_base32()
    show(pyotp.TOTP(secret).provisioning_uri(name=ident, issuer_name=f"Reinstate {file.plan.name}"), secret)
    for _ in range(TRIES):
        step = matching_step(secret, "".join(ask().split()), now(), ident)
        if step is not None:
            break
    else:
        raise Refused(
            f"{TRIES} wrong codes; nothing was changed.", ident,
            f"see that the phone's clock is right, then `reinstate people {what}` again",
        )  # fmt: skip
    store.use_code(ident, step, f"{what}/{file.plan.name}")  # the code that proved it signs nothing
    durable.make_folder(path.parent)
    if again:
        durable.replace(path, f"{secret}\n".encode(), path.parent)
    else:
        try:
            durable.create(path, f"{secret}\n".encode(), path.parent)
        except FileExistsError:
            raise Refused(
                f"{ident} was enrolled meanwhile.", str(path), "use what the other enrolment showed"
            ) from None
    event = ProofEvent(person=ident, what="rotated" if again else "enrolled", at=now(), code=True)
    return _write(store, file.plan.name, event)


def revoke(file: PlanFile, store: JournalStore, ident: str, by: str, reason: str) -> ProofEvent:
    """Make every proof that a person has now worthless from this moment on; what they signed before stays.

    Raises:
        BadInput: no such person, no reason, or nothing to revoke.
    """
    person = _person(file, ident)
    if not reason.strip():
        raise BadInput("no reason is given.", "--reason", "say why; it is kept for ever")
    valid = in_force(person, ident, read_book(store, file.plan.name).events, now())
    keys = tuple(key_fingerprint(key) for key in valid.ssh_keys)
    if valid.totp is None and not keys:
        raise BadInput(f"{ident} has no proof that counts.", str(file.path), "nothing to do")
    event = ProofEvent(
        person=ident,
        what="revoked",
        at=now(),
        code=valid.totp is not None,
        keys=keys,
        by=by,
        reason=reason.strip(),
    )
    _write(store, file.plan.name, event)
    if valid.totp is not None and valid.totp.startswith("file:"):
        _secret_file(file, ident).unlink(missing_ok=True)
    return event


def people_of(file: PlanFile, store: JournalStore) -> list[dict[str, str]]:
    """The people of a plan in its order: id, name, roles, the state of their code, SSH keys, how they are reached."""
    events, at = read_book(store, file.plan.name).events, now()
    rows = []
    for ident, person in file.plan.people.items():
        valid = in_force(person, ident, events, at)
        keys = [
            key_fingerprint(key) + ("" if key in valid.ssh_keys else " (revoked)") for key in person.ssh_keys
        ]
        reached = [way for way, has in (("mail", person.email), ("telephone", person.phone)) if has]
        rows.append(
            {
                "person": ident, "name": person.name, "roles": ", ".join(file.plan.roles.of(ident)) or "–",
                "code": _code_state(file, person, valid), "keys": ", ".join(keys) or "–",
                "reached": ", ".join(reached) or "–",
            }
        )  # fmt: skip
    return rows


def unable(file: PlanFile, store: JournalStore) -> dict[str, str]:
    """People of a plan who cannot prove now that it is them, and why not.

    Raises:
        Damaged: what is known of their proofs was altered.
    """
    events, at = read_book(store, file.plan.name).events, now()
    found: dict[str, str] = {}
    for ident, person in file.plan.people.items():
        valid = in_force(person, ident, events, at)
        state = _code_state(file, person, valid)
        if not valid.ssh_keys and state != "ready":
            found[ident] = "revoked" if person.ssh_keys else state if person.totp else "no proof in the plan"
    return found


def _code_state(file: PlanFile, person: Person, valid: Person) -> str:
    if person.totp is None:
        return "–"
    if valid.totp is None:
        return "revoked"
    try:
        file.secrets.resolve(person.totp)
    except ReinstateError as error:
        return (
            "not enrolled" if person.totp.startswith("file:") and isinstance(error, BadInput) else error.what
        )
    return "ready"


def _person(file: PlanFile, ident: str) -> Person:
    person = file.plan.people.get(ident)
    if person is None:
        raise BadInput(
            f"{ident!r} is not a person of the plan.",
            str(file.path),
            f"give one of {', '.join(file.plan.people)}",
        )
    return person


def _secret_file(file: PlanFile, ident: str) -> Path:
    reference = _person(file, ident).totp
    if reference is None:
        raise BadInput(
            f"the plan names no place for the secret of {ident}.", f"people.{ident}",
            f"add `totp: file:secrets/totp-{ident}` to the person",
        )  # fmt: skip
    kind, _, place = reference.partition(":")
    if kind != "file":
        raise BadInput(
            f"the plan keeps it at {reference}, which Reinstate only reads.", f"people.{ident}.totp",
            "put a base32 secret of 160 bits there yourself, or write `file:PATH`",
        )  # fmt: skip
    return file.path.parent / Path(place).expanduser()
