"""Published versions of a plan, and which of them a real incident may follow. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import AwareDatetime, Field

from model.canonical import Value, digest
from model.errors import Damaged


class Signed(Value):
    """One signature under a version.

    Attributes:
        role: the roles the person held by the plan whose rule was followed.
        proof: `totp` or `ssh`; the proof itself is in the publication's journal.
    """

    person: str
    role: str
    at: AwareDatetime
    proof: str


class PlanVersion(Value):
    """One published version.

    Attributes:
        number: 1, 2, …; given by us, without gaps.
        version: what the plan calls itself.
        digest: SHA-256 of the text.
        before: `seal` of the version before; empty for the first.
        publication: id of its publication, whose journal holds the votes.
    """

    plan: str
    number: int = Field(ge=1)
    version: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    text: str
    before: str
    publication: str
    proposed_by: str
    published_at: AwareDatetime
    signed: tuple[Signed, ...] = Field(min_length=1)

    @property
    def seal(self) -> str:
        """Hash over all of it; the next version names it."""
        return digest(self.model_dump(mode="json"))


def require_chain(versions: Sequence[PlanVersion]) -> None:
    """Refuse versions that do not follow one another.

    Raises:
        Damaged: naming the first that does not fit.
    """
    before = ""
    for number, one in enumerate(versions, start=1):
        if one.number != number or one.before != before:
            raise Damaged(
                "does not follow the version before it.", f"plan {one.plan}, published version {number}",
                "restore the journal store's documents from its backup",
            )  # fmt: skip
        before = one.seal


def followed(versions: Sequence[PlanVersion], text_digest: str, opened_at: datetime) -> PlanVersion | None:
    """The published version an incident follows: the newest of when it was opened, or one published since."""
    earlier = [one for one in versions if one.published_at <= opened_at]
    later = [one for one in versions if one.published_at > opened_at]
    return next((one for one in (*earlier[-1:], *later) if one.digest == text_digest), None)


def may_follow(versions: Sequence[PlanVersion], text_digest: str, opened_at: datetime) -> bool:
    """Whether a real incident may follow a plan without break-glass.

    Before the first version is published every plan may be followed; afterwards only the published one.
    """
    published_before = any(one.published_at <= opened_at for one in versions)
    return not published_before or followed(versions, text_digest, opened_at) is not None
