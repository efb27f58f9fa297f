"""`next_step`: every situation as a table, and every crash point of a good run (G1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.journal import (
    Confirmed,
    Ended,
    GateOpened,
    GateSettled,
    GlassNeeded,
    Noted,
    Payload,
    PlanProposed,
    PlanPublished,
    Proposed,
    Voted,
    fold,
)
from model.outcome import Gate, RunVerdict, Stage
from model.signoff import Decision
from model.steps import Ask, Finished, Publish, Run, Step, next_step

from .builders import (
    AT,
    ID,
    SEVERITY,
    chain,
    effect,
    failed,
    finding,
    gate,
    good_run,
    incident,
    intent,
    ok,
    proposal,
    result,
    vote,
)  # fmt: skip

GOOD = good_run()


def upto(what: Stage | Gate) -> list[Payload]:
    """The records of the good run before the first one written by this step."""
    found: list[Payload] = []
    for owner, payload in GOOD:
        if (isinstance(owner, Run) and owner.stage is what) or (
            isinstance(owner, Ask) and owner.gate is what
        ):
            return found
        found.append(payload)
    raise AssertionError(what)


def kind(step: Step) -> object:
    match step:
        case Run(stage=stage):
            return stage
        case Ask(gate=asked):
            return asked
        case Publish():
            return Publish
        case Finished(verdict=verdict):
            return verdict


STEPS: tuple[Stage | Gate, ...] = (*list(Stage)[:10], Gate.DECIDE, Gate.ACCEPT)
BEFORE = {what: upto(what) for what in STEPS}


def glass_cases() -> dict[str, tuple[list[Payload], object]]:
    """A plan that was changed: the glass comes before the proposal's own gate, and holds once something was done."""
    needed = GlassNeeded(newest=1, digest="a" * 64, sentence="It was changed.")
    waits = [*BEFORE[Gate.DECIDE], needed]
    asked = GateOpened(gate=Gate.BREAK_GLASS, digest="b" * 64, deadline=AT)

    def said(decision: Decision) -> list[Payload]:
        settled = GateSettled(gate=Gate.BREAK_GLASS, digest="b" * 64, decision=decision, sentence="So be it.")
        return [*waits, asked, settled]

    again = asked.model_copy(update={"digest": "c" * 64})
    return {
        "not asked yet": (waits, Gate.BREAK_GLASS),
        "asked": ([*waits, asked], Gate.BREAK_GLASS),
        "broken": (said(Decision.APPROVE), Gate.DECIDE),
        "kept whole": (said(Decision.DENY), Stage.CLOSE),
        "asked again after it ran out": ([*said(Decision.APPROVE), again], Gate.BREAK_GLASS),
    }


def publication_cases() -> dict[str, tuple[list[Payload], object]]:
    """A plan's new version is signed or denied, then written down."""
    asked = PlanProposed(plan="shop", number=2, version="2", digest="a" * 64, before="b" * 64)
    begun: list[Payload] = [GOOD[0][1], asked]
    opened = GateOpened(gate=Gate.PUBLISH, digest=asked.to_sign, deadline=AT)
    settled = GateSettled(gate=Gate.PUBLISH, digest=asked.to_sign, decision=Decision.DENY, sentence="No.")
    return {
        "put to the vote": (begun, Gate.PUBLISH),
        "denied": ([*begun, opened, settled], Publish),
        "written down": ([*begun, opened, settled, PlanPublished(number=None, sentence="No.")], None),
    }


ANOTHER = Proposed(proposal=proposal(1, 2), digest=proposal(1, 2).digest)
PROPOSED = proposal().digest
END = Ended(verdict=RunVerdict.STOPPED_SAFE, sentence="Stopped.", next_human_step="Call Ann.")

TABLE: dict[str, tuple[list[Payload], object]] = {
    "nothing recorded": ([], Stage.REPORT),
    "only a note": ([Noted(sentence="x")], Stage.REPORT),
    **{f"before {what}": (records, what) for what, records in BEFORE.items() if what is not Stage.REPORT},
    "confirm failed": ([*BEFORE[Stage.CONFIRM], failed(Stage.CONFIRM)], Stage.CLOSE),
    "confirm ended without a diagnosis": ([*BEFORE[Stage.CONFIRM], ok(Stage.CONFIRM)], Stage.CONFIRM),
    "no damage": (
        [*BEFORE[Stage.CONFIRM], Confirmed(results=(), severity=None), ok(Stage.CONFIRM)], Stage.CLOSE,
    ),
    **{f"glass, {case}": (records, what) for case, (records, what) in glass_cases().items()},
    **{f"publication, {case}": (records, what) for case, (records, what) in publication_cases().items()},
    "decide failed": ([*BEFORE[Stage.DECIDE], failed(Stage.DECIDE)], Stage.CLOSE),
    "decide ended without a proposal": ([*BEFORE[Stage.DECIDE], ok(Stage.DECIDE)], Stage.DECIDE),
    "proposal denied": (
        [*BEFORE[Gate.DECIDE], *gate(Gate.DECIDE, PROPOSED, "ann", decision=Decision.DENY)], Stage.CLOSE,
    ),
    "settled by a question": (
        [*BEFORE[Gate.DECIDE], *gate(Gate.DECIDE, PROPOSED, "ann", decision=Decision.ASK)], Stage.CONFIRM,
    ),
    "asked for more, examined again": (
        [
            *BEFORE[Gate.DECIDE], *gate(Gate.DECIDE, PROPOSED, "ann", decision=Decision.ASK)[:-1],
            Confirmed(results=(result(),), severity=SEVERITY), ok(Stage.CONFIRM),
        ],
        Stage.DECIDE,
    ),
    "asked for more, examined and proposed again": (
        [
            *BEFORE[Gate.DECIDE], *gate(Gate.DECIDE, PROPOSED, "ann", decision=Decision.ASK)[:-1],
            Confirmed(results=(result(),), severity=SEVERITY), ok(Stage.CONFIRM), ANOTHER, ok(Stage.DECIDE),
        ],
        Gate.DECIDE,
    ),
    "asked for more about the result": (
        [*BEFORE[Gate.ACCEPT], *gate(Gate.ACCEPT, "b" * 64, "ann", decision=Decision.ASK)[:-1]], Stage.VERIFY,
    ),
    "asked for more when the repair had begun": (
        [*BEFORE[Stage.REPAIR], intent(), ANOTHER, Voted(vote=vote("ann", Decision.ASK, ANOTHER.digest))],
        Gate.DECIDE,
    ),
    "approval taken back": (
        [*BEFORE[Stage.PRESERVE], Voted(vote=vote("ann", Decision.WITHDRAW, PROPOSED))], Gate.DECIDE,
    ),
    "approval taken back when all was preserved": (
        [*BEFORE[Stage.REPAIR], Voted(vote=vote("ann", Decision.WITHDRAW, PROPOSED))], Gate.DECIDE,
    ),
    "approval taken back and given again": (
        [
            *BEFORE[Stage.REPAIR], Voted(vote=vote("ann", Decision.WITHDRAW, PROPOSED)),
            *gate(Gate.DECIDE, PROPOSED, "ann")[1:],
        ],
        Stage.REPAIR,
    ),
    "approval taken back, another proposal signed: it is preserved anew": (
        [
            *BEFORE[Stage.REPAIR], Voted(vote=vote("ann", Decision.WITHDRAW, PROPOSED)), ANOTHER,
            *gate(Gate.DECIDE, ANOTHER.digest, "ann"),
        ],
        Stage.PRESERVE,
    ),
    "approval taken back too late": (
        [*BEFORE[Stage.REPAIR], intent(), Voted(vote=vote("ann", Decision.WITHDRAW, PROPOSED))], Stage.REPAIR,
    ),
    "settled but never asked": (
        [*BEFORE[Gate.DECIDE], GateSettled(gate=Gate.DECIDE, digest=PROPOSED, decision=Decision.APPROVE, sentence="")],
        Gate.DECIDE,
    ),
    "another digest was signed": ([*BEFORE[Gate.DECIDE], *gate(Gate.DECIDE, "c" * 64, "ann")], Gate.DECIDE),
    "signed, then proposed anew": ([*BEFORE[Stage.PRESERVE], ANOTHER], Gate.DECIDE),
    "signed, then asked for another digest": (
        [*BEFORE[Stage.PRESERVE], GateOpened(gate=Gate.DECIDE, digest="d" * 64, deadline=AT)], Gate.DECIDE,
    ),
    "preserve failed": ([*BEFORE[Stage.PRESERVE], failed(Stage.PRESERVE)], Stage.CLOSE),
    "repair failed before any intent": ([*BEFORE[Stage.REPAIR], failed(Stage.REPAIR)], Stage.CLOSE),
    "repair crashed after an intent": ([*BEFORE[Stage.REPAIR], intent()], Stage.REPAIR),
    "repair failed after an intent": ([*BEFORE[Stage.REPAIR], intent(), failed(Stage.REPAIR)], Stage.ROLL_BACK),
    "repair failed after an effect": (
        [*BEFORE[Stage.REPAIR], intent(), effect(), failed(Stage.REPAIR)], Stage.ROLL_BACK,
    ),
    "repair failed, all undone": (
        [*BEFORE[Stage.REPAIR], intent(), failed(Stage.REPAIR), intent("undo-a01"), effect("undo-a01")], Stage.CLOSE,
    ),
    "repair failed, undo intended only": (
        [*BEFORE[Stage.REPAIR], intent(), failed(Stage.REPAIR), intent("undo-a01")], Stage.ROLL_BACK,
    ),
    "repair failed, undo failed": (
        [*BEFORE[Stage.REPAIR], intent(), failed(Stage.REPAIR), intent("undo-a01"), effect("undo-a01", "failed")],
        Stage.ROLL_BACK,
    ),
    "repair failed, undo found already done": (
        [*BEFORE[Stage.REPAIR], intent(), failed(Stage.REPAIR), effect("undo-a01", "already done")], Stage.CLOSE,
    ),
    "one of two undone": (
        [*BEFORE[Stage.REPAIR], intent(), intent("a02"), failed(Stage.REPAIR), effect("undo-a01")], Stage.ROLL_BACK,
    ),
    "repair failed, then ended well when run again": (
        [*BEFORE[Stage.REPAIR], intent(), failed(Stage.REPAIR), ok(Stage.REPAIR)], Stage.RESTORE,
    ),
    **{
        f"{stage} failed after the repair": ([*BEFORE[stage], failed(stage)], Stage.ROLL_BACK)
        for stage in (Stage.RESTORE, Stage.VERIFY, Stage.ACCEPT)
    },
    "a second proposal denied after the first was begun": (
        [*BEFORE[Stage.RESTORE], ANOTHER, *gate(Gate.DECIDE, ANOTHER.digest, "ann", decision=Decision.DENY)],
        Stage.ROLL_BACK,
    ),
    "acceptance denied": (
        [*BEFORE[Gate.ACCEPT], *gate(Gate.ACCEPT, "b" * 64, "ann", decision=Decision.DENY)], Stage.ROLL_BACK,
    ),
    "acceptance denied, rolled back": (
        [
            *BEFORE[Gate.ACCEPT], *gate(Gate.ACCEPT, "b" * 64, "ann", decision=Decision.DENY),
            ok(Stage.ROLL_BACK),
        ],
        Stage.CLOSE,
    ),
    "rollback failed": ([*BEFORE[Gate.ACCEPT], failed(Stage.ACCEPT), failed(Stage.ROLL_BACK)], Stage.CLOSE),
    "close failed after acceptance": ([*BEFORE[Stage.CLOSE], failed(Stage.CLOSE)], Stage.CLOSE),
    "ended": ([*BEFORE[Stage.CLOSE], END], Stage.REVIEW),
    "review failed": ([*BEFORE[Stage.REVIEW], failed(Stage.REVIEW)], Stage.REVIEW),
    "reviewed": ([payload for _, payload in GOOD], RunVerdict.RECOVERED),
    "reviewed after a stop": ([*BEFORE[Stage.CLOSE], END, GOOD[-1][1]], RunVerdict.STOPPED_SAFE),
}  # fmt: skip


@pytest.mark.parametrize(("payloads", "expected"), TABLE.values(), ids=TABLE)
def test_next_step_of_a_situation(payloads: list[Payload], expected: object) -> None:
    step = next_step(chain(payloads))
    assert expected == kind(step)
    assert step.reason
    assert step == next_step(fold(chain(payloads)))


@given(st.integers(0, len(GOOD) - 1))
def test_any_prefix_of_a_good_run_leads_to_the_step_of_the_next_record(length: int) -> None:
    """Killed at every journal boundary: the run goes on where it was."""
    owner, _ = GOOD[length]
    assert kind(owner) == kind(next_step(chain([payload for _, payload in GOOD[:length]])))


@given(st.lists(st.integers(0, len(GOOD)), max_size=5), st.integers(0, len(GOOD) - 1))
def test_notes_change_nothing(places: list[int], length: int) -> None:
    payloads = [payload for _, payload in GOOD[:length]]
    noisy = list(payloads)
    for place in sorted((p for p in places if p <= length), reverse=True):
        noisy.insert(place, Noted(sentence="x"))
    assert next_step(chain(payloads)) == next_step(chain(noisy))


@given(st.integers(1, len(GOOD)), st.sampled_from([stage for stage in Stage if stage is not Stage.REPORT]))
def test_a_failed_stage_after_any_prefix_never_goes_forward(length: int, stage: Stage) -> None:
    """G8: after a failure only the way back, the end, or what comes after the end."""
    if stage in {Stage.ROLL_BACK, Stage.CLOSE, Stage.REVIEW}:
        return
    payloads = [payload for _, payload in GOOD[:length]]
    step = next_step(chain([*payloads, failed(stage)]))
    assert kind(step) in {Stage.ROLL_BACK, Stage.CLOSE, Stage.REVIEW, *RunVerdict}
    if fold(chain(payloads)).changed and fold(chain(payloads)).ended is None:
        assert kind(step) is Stage.ROLL_BACK


def test_fold_keeps_what_the_records_say() -> None:
    state = fold(chain([payload for _, payload in GOOD]))
    assert incident() == state.require_incident()
    assert ID == state.require_incident().id
    assert finding() == state.finding(finding().id)
    assert state.finding("f-unknown") is None
    assert (3, 2) == (state.asked(Gate.DECIDE), state.asked(Gate.ACCEPT))
    assert (Decision.APPROVE, Decision.APPROVE) == (state.signed(Gate.DECIDE), state.signed(Gate.ACCEPT))
    assert {} == state.tokens
    assert ["evidence", "snapshot"] == [each.what for each in state.preserved]
    assert 3 == len(state.verified)
    assert state.changed
    assert vote("ann") in state.votes
