"""Which proofs of a person count at a moment: enrolled, rotated, revoked (R-ORG-5). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field

from model.canonical import Value
from model.delegation import Delegation
from model.plan import Person


class ProofEvent(Value):
    """Something that happened to the proofs of a person.

    Attributes:
        code: it concerns the one-time code.
        keys: fingerprints of the SSH keys it concerns, as OpenSSH prints them.
        by: who did it, as they said.
    """

    person: str
    what: Literal["enrolled", "rotated", "revoked"]
    at: AwareDatetime
    code: bool = False
    keys: tuple[str, ...] = ()
    by: str = Field(default="", max_length=120)
    reason: str = Field(default="", max_length=2000)


class ProofBook(Value):
    """What happened to the proofs of a plan's people, and who stands in for whom; oldest first."""

    events: tuple[ProofEvent, ...] = ()
    delegations: tuple[Delegation, ...] = ()

    @property
    def revoked(self) -> tuple[tuple[str, datetime], ...]:
        """(person, moment) of every revocation."""
        return tuple((event.person, event.at) for event in self.events if event.what == "revoked")


def fingerprint(key: bytes) -> str:
    """The fingerprint of a public key as OpenSSH prints it: `SHA256:` and base64 without padding."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def key_fingerprint(key: str) -> str:
    """The fingerprint of a public key in OpenSSH's one-line form; empty when it is none."""
    words = key.split()
    try:
        return fingerprint(base64.b64decode(words[1], validate=True))
    except (IndexError, binascii.Error):
        return ""


def in_force(person: Person, ident: str, events: Iterable[ProofEvent], at: datetime) -> Person:
    """A person with those proofs only that counted at a moment.

    Args:
        person: as the plan has them.
        ident: their id in the plan.
        events: of the plan's people, oldest first.
        at: the moment.
    """
    mine = [event for event in events if event.person == ident and event.at <= at]
    code = [event.what for event in mine if event.code]
    lost = {key for event in mine if event.what == "revoked" for key in event.keys}
    return person.model_copy(
        update={
            "totp": None if code and code[-1] == "revoked" else person.totp,
            "ssh_keys": tuple(key for key in person.ssh_keys if key_fingerprint(key) not in lost),
        }
    )
