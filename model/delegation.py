"""Someone signs in another's place for a while: given by that person, with an end (R-ORG-1). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field

from model.canonical import Value, digest
from model.outcome import Gate


class Delegation(Value):
    """A person's word that another signs in their place; the newest word of a person counts.

    Attributes:
        giver: id of the person in whose place it is signed.
        to: id of the other; empty: the giver takes it back.
        gates: at which gates; empty: at all of them.
        at: when it was given; it holds from then on.
        until: when it ends.
        proof: how the giver proved that it is them; see `model.signoff.Vote`.
    """

    giver: str
    to: str
    gates: tuple[Gate, ...] = ()
    at: AwareDatetime
    until: AwareDatetime
    reason: str = Field(default="", max_length=2000)
    proof: Literal["totp", "ssh"]
    proof_ref: str

    @property
    def to_sign(self) -> str:
        """What the giver's proof is bound to."""
        return digest([self.giver, self.to, sorted(self.gates), self.until.isoformat()])


def stand_ins(
    delegations: Iterable[Delegation],
    gate: Gate | None,
    at: datetime,
    revoked: Iterable[tuple[str, datetime]] = (),
) -> dict[str, str]:
    """Who signs in whose place at a moment: person → who stands in.

    Args:
        delegations: oldest first.
        gate: which gate; None: any.
        at: the moment.
        revoked: (person, moment) at which somebody's proofs were revoked; what they gave before ends then.
    """
    found: dict[str, str] = {}
    ended = tuple(revoked)
    for one in delegations:
        if one.at > at:
            continue
        found.pop(one.giver, None)
        over = at >= one.until or any(who == one.giver and one.at <= when <= at for who, when in ended)
        if one.to and not over and (gate is None or not one.gates or gate in one.gates):
            found[one.giver] = one.to
    return found
