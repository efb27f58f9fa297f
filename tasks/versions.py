"""The published versions of a plan, read and proven; whether an incident may follow the text it was opened with."""

from __future__ import annotations

from blocks.home import signing_key
from blocks.journals.base import JournalStore
from blocks.journals.documents import seal, unseal
from model.canonical import now
from model.errors import Damaged
from model.incident import Incident, Kind
from model.journal import GlassNeeded, fold
from model.planfile import plan_digest
from model.versions import PlanVersion, followed, may_follow, require_chain

REMEDY = "restore the journal store's documents and journals from their backup"


def key_of(plan: str, number: int) -> str:
    """Where a published version lies in the store."""
    return f"plans/{plan}/{number}.json"


def versions_of(store: JournalStore, plan: str) -> tuple[PlanVersion, ...]:
    """All published versions of a plan, oldest first.

    Raises:
        Damaged: one was altered, removed or put there without a publication that was signed.
    """
    found: list[PlanVersion] = []
    while (raw := store.get(key_of(plan, len(found) + 1))) is not None:
        where = key_of(plan, len(found) + 1)
        one = unseal(where, raw, PlanVersion, signing_key())
        if plan_digest(one.text) != one.digest:
            raise Damaged("does not hold the text that was signed.", where, REMEDY)
        state = fold(store.read(one.publication))
        if (
            state.publication is None
            or state.publication.digest != one.digest
            or state.publication.number != one.number
        ):
            raise Damaged(f"is not what {one.publication} published.", where, REMEDY)
        found.append(one)
    require_chain(found)
    _require_all(store, plan, len(found))
    return tuple(found)


def _require_all(store: JournalStore, plan: str, count: int) -> None:
    """A version that was published and is no longer there would let an older one count again."""
    for ident in store.publications():
        state = fold(store.read(ident))
        done, asked = state.published, state.publication
        if (
            asked is not None
            and done is not None
            and asked.plan == plan
            and done.number is not None
            and done.number > count
        ):
            raise Damaged(
                f"version {done.number}, published by {ident}, is missing.", key_of(plan, done.number), REMEDY
            )


def keep_version(store: JournalStore, version: PlanVersion) -> bool:
    """Write a version down; False when another one has its number already."""
    where = key_of(version.plan, version.number)
    return store.put_new(where, seal(where, version, signing_key()))


def glass_needed(store: JournalStore, incident: Incident) -> GlassNeeded | None:
    """Why a real incident may not simply follow the text it was opened with; None when it may."""
    if incident.kind is not Kind.REAL:
        return None
    versions = versions_of(store, incident.plan)
    own = versions[incident.published - 1 : incident.published] if incident.published else ()
    if may_follow(versions, incident.plan_digest, incident.opened_at) or any(
        one.digest == incident.plan_digest for one in own
    ):
        return None
    newest = [one for one in versions if one.published_at <= incident.opened_at][-1]
    return GlassNeeded(
        newest=newest.number, digest=incident.plan_digest,
        sentence=f"This plan is not the published version {newest.number} ({newest.version}, {newest.digest[:12]}): it "
        f"was changed to {incident.plan_digest[:12]} and nobody signed that.",
    )  # fmt: skip


def published_number(store: JournalStore, plan: str, text_digest: str) -> int | None:
    """Number of the published version that has this text and is the newest; None when it is another one."""
    one = followed(versions_of(store, plan), text_digest, now())
    return one.number if one else None
