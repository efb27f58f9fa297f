"""Journal records: what happened in an incident, append-only, chained by hash; and the fold into a state.

Effects are written as an `Intent` before and an `Effect` after (G1). What to do next is `model.steps.next_step`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from model.canonical import Value, digest
from model.diagnosis import Diagnosis
from model.drill_records import (
    DrillBegan,
    DrillEnded,
    DrillIncidentOpened,
    DrillLease,
    DrillRecord,
    FaultPlanted,
    FaultPlanting,
    FaultRefused,
    FaultUndone,
    StagingLooked,
    StagingProven,
)
from model.errors import Damaged
from model.finding import CheckResult, Finding
from model.incident import Incident
from model.messages import MessageHeld, MessageReleased, Telling, Told
from model.outcome import Gate, RunVerdict, Stage
from model.proposal import Proposal
from model.review import (
    Item,
    ItemAdded,
    ItemAssigned,
    ItemClosed,
    Opinion,
    Said,
    added,
    changed,
    found,
)
from model.review import sentence as about_item
from model.severity import Severity
from model.signoff import Decision, Vote

GENESIS = "0" * 64
"""`previous` of the first record."""


class Opened(Value):
    """The incident was reported; the plan's text lies beside the journal under its digest."""

    type: Literal["opened"] = "opened"
    incident: Incident


class StageStarted(Value):
    """A stage began, or began again after a crash."""

    type: Literal["stage_started"] = "stage_started"
    stage: Stage
    run: str = ""


class StageEnded(Value):
    """A stage ended. `ok=False` is final for this stage: the run goes back or stops safe."""

    type: Literal["stage_ended"] = "stage_ended"
    stage: Stage
    ok: bool
    sentence: str
    remedy: str = ""
    code: str = ""


class Confirmed(Value):
    """Every check's result, the severity and the diagnosis (both None when nothing is damaged).

    Journals from before there was a diagnosis have none.
    """

    type: Literal["confirmed"] = "confirmed"
    results: tuple[CheckResult, ...]
    severity: Severity | None
    diagnosis: Diagnosis | None = None


class Proposed(Value):
    """A proposal was made; the newest one counts."""

    type: Literal["proposed"] = "proposed"
    proposal: Proposal
    digest: str


class GateOpened(Value):
    """People are asked to sign `digest`."""

    type: Literal["gate_opened"] = "gate_opened"
    gate: Gate
    digest: str
    deadline: AwareDatetime


class Voted(Value):
    """A verified vote."""

    type: Literal["voted"] = "voted"
    vote: Vote


class VoteRefused(Value):
    """Something claimed to be a vote and was not admitted; the gate stays open."""

    type: Literal["vote_refused"] = "vote_refused"
    gate: Gate
    person: str
    reason: str


class GateSettled(Value):
    """The votes settled the gate for this digest, or its deadline did; the first settlement of a digest counts.

    Attributes:
        timed_out: nobody did; the plan says what happens then.
    """

    type: Literal["gate_settled"] = "gate_settled"
    gate: Gate
    digest: str
    decision: Decision
    sentence: str
    timed_out: bool = Field(default=False, exclude_if=lambda value: not value)


class GateReminded(Value):
    """Nobody signed yet: those who may are reminded, others are told, or the deadline passed and the gate is held.

    Attributes:
        digest: of this opening of the gate.
        before: seconds before the deadline at which the plan asks for it.
    """

    type: Literal["gate_reminded"] = "gate_reminded"
    gate: Gate
    digest: str
    what: Literal["reminder", "escalation", "held"]
    before: float
    sentence: str


class GlassNeeded(Value):
    """The plan of this real incident was changed and not published: two people must break the glass.

    Attributes:
        newest: number of the newest published version.
        digest: SHA-256 of the text that is followed instead.
    """

    type: Literal["glass_needed"] = "glass_needed"
    newest: int
    digest: str
    sentence: str


class PlanProposed(Value):
    """A new version of a plan is put to the vote; its text lies beside the journal under its digest.

    Attributes:
        number: the number it gets.
        digest: SHA-256 of the new text.
        before: digest of the text it replaces; empty for the first.
    """

    type: Literal["plan_proposed"] = "plan_proposed"
    plan: str
    number: int
    version: str
    digest: str
    before: str

    @property
    def to_sign(self) -> str:
        """What people sign: this text after that one under this number."""
        return digest(self.model_dump(mode="json"))


class PlanPublished(Value):
    """How a publication ended: `number` of the version, None when it was not published."""

    type: Literal["plan_published"] = "plan_published"
    number: int | None
    sentence: str


class LeaseTaken(Value):
    """The host is ours under this fencing token (G3)."""

    type: Literal["lease_taken"] = "lease_taken"
    host: str
    token: int


class LeaseReleased(Value):
    """The host was given back."""

    type: Literal["lease_released"] = "lease_released"
    host: str
    token: int


class Preserved(Value):
    """Evidence or a snapshot lies off the host, read back and hashed (G4).

    Attributes:
        location: path below the evidence folder.
        sha256: hash of the manifest that lists every file with its own hash.
        action: for a snapshot: all actions' touched paths; empty.
    """

    type: Literal["preserved"] = "preserved"
    what: Literal["evidence", "snapshot"]
    host: str
    location: str
    sha256: str
    files: int
    bytes: int


class Intent(Value):
    """An effect is about to happen; durable before it does (G1).

    Attributes:
        step: the effect's name, unique in the incident: an action's id, or `undo-<id>`.
        attempt: 1-based.
        job: name of the job on the host, where the host keeps the durable result (G2).
    """

    type: Literal["intent"] = "intent"
    step: str
    attempt: int
    host: str
    token: int
    job: str


class Effect(Value):
    """How an effect ended: done by us, found already done by its probe, or failed."""

    type: Literal["effect"] = "effect"
    step: str
    attempt: int
    result: Literal["done", "already done", "failed"]
    sentence: str
    seconds: float = 0.0
    bytes: int = 0


class Verified(Value):
    """Checks after the repair: the damage check again, integrity checks, acceptance probes.

    Attributes:
        remarks: what people should know or do, that is no damage.
    """

    type: Literal["verified"] = "verified"
    stage: Literal[Stage.REPAIR, Stage.RESTORE, Stage.VERIFY, Stage.ACCEPT, Stage.ROLL_BACK]
    results: tuple[CheckResult, ...]
    remarks: tuple[str, ...] = ()


class Ended(Value):
    """The end was declared (R-RESP-9).

    Attributes:
        rto: seconds from detection to acceptance; None when the service did not come back.
        rpo: seconds of data lost: age of the oldest recovery point used when damage was detected; 0 when no
            data was restored.
        next_human_step: what a person must do, empty after RECOVERED.
    """

    type: Literal["ended"] = "ended"
    verdict: RunVerdict
    sentence: str
    next_human_step: str = ""
    rto: float | None = None
    rpo: float | None = None


class Reviewed(Value):
    """The report was written; items are what to improve (R-REV-1)."""

    type: Literal["reviewed"] = "reviewed"
    report: str
    sha256: str
    items: tuple[str, ...] = ()


class Noted(Value):
    """A sentence for the timeline without effect on what comes next."""

    type: Literal["noted"] = "noted"
    sentence: str


Payload = Annotated[
    Opened
    | StageStarted
    | StageEnded
    | Confirmed
    | Proposed
    | GateOpened
    | Voted
    | VoteRefused
    | GateSettled
    | GateReminded
    | GlassNeeded
    | PlanProposed
    | PlanPublished
    | LeaseTaken
    | LeaseReleased
    | Preserved
    | Intent
    | Effect
    | Verified
    | Ended
    | Reviewed
    | MessageHeld
    | MessageReleased
    | Telling
    | Told
    | ItemAdded
    | ItemAssigned
    | ItemClosed
    | Opinion
    | DrillBegan
    | StagingProven
    | StagingLooked
    | DrillLease
    | FaultPlanting
    | FaultPlanted
    | FaultRefused
    | FaultUndone
    | DrillIncidentOpened
    | DrillEnded
    | Noted,
    Field(discriminator="type"),
]


class Record(Value):
    """One record of the chain.

    Attributes:
        seq: 1-based, without gaps.
        previous: digest of the record before, GENESIS for the first.
        signature: Ed25519 over `digest`, base64; set by the store, so a re-made chain is found out.
    """

    seq: int = Field(ge=1)
    incident: str
    at: AwareDatetime
    previous: str
    payload: Payload
    signature: str = ""

    @property
    def digest(self) -> str:
        """Hash over everything but the signature."""
        return digest(self.model_dump(mode="json", exclude={"signature"}))


def verify_chain(records: Sequence[Record]) -> None:
    """Check order, gaps and hashes of one incident's records (signatures are the store's to check).

    Raises:
        Damaged: naming the first record that does not fit.
    """
    previous = GENESIS
    for position, record in enumerate(records, start=1):
        where = f"journal record {position}"
        if record.seq != position:
            raise Damaged(f"has number {record.seq}: a record is missing or out of order.", where)
        if record.previous != previous:
            raise Damaged("does not follow the record before it.", where)
        if records[0].incident != record.incident:
            raise Damaged(f"belongs to {record.incident}.", where)
        previous = record.digest


class State(Value):
    """What the records of one incident say together.

    Attributes:
        refusal: why the newest answer at a gate was refused; absent once a later answer was admitted.
        ended_stages: newest StageEnded of each stage.
        effects: newest Effect of each step.
        intents: newest Intent of each step.
        tokens: host → newest fencing token held by this incident.
        items: rectification items, by number, as people left them; owner and due date of the plan not filled in.
        opinions: what the leading group said of the report.
        reminded: what was done about gates that nobody signed.
        glass: why two people must break the glass before anything is changed.
        publication: what is put to the vote, when this is the journal of a plan's publication.
        published: how that ended.
    """

    incident: Incident | None = None
    confirmed: Confirmed | None = None
    proposal: Proposal | None = None
    gates: dict[Gate, GateOpened] = {}
    settled: dict[Gate, GateSettled] = {}
    votes: tuple[Vote, ...] = ()
    refused: tuple[VoteRefused, ...] = ()
    refusal: dict[Gate, str] = {}
    ended_stages: dict[Stage, StageEnded] = {}
    intents: dict[str, Intent] = {}
    effects: dict[str, Effect] = {}
    preserved: tuple[Preserved, ...] = ()
    verified: tuple[Verified, ...] = ()
    tokens: dict[str, int] = {}
    ended: Ended | None = None
    reviewed: Reviewed | None = None
    items: tuple[Item, ...] = ()
    opinions: tuple[Said, ...] = ()
    reminded: tuple[GateReminded, ...] = ()
    glass: GlassNeeded | None = None
    publication: PlanProposed | None = None
    published: PlanPublished | None = None

    def require_incident(self) -> Incident:
        """The incident.

        Raises:
            Damaged: the journal does not begin with a report.
        """
        if self.incident is None:
            raise Damaged(
                "the journal does not begin with a report.", remedy="run `reinstate journal verify`"
            )
        return self.incident

    def finding(self, finding_id: str) -> Finding | None:
        """The confirmed finding with this id."""
        results = self.confirmed.results if self.confirmed else ()
        return next((f for r in results for f in r.findings if f.id == finding_id), None)

    def done(self, action_id: str) -> bool:
        """Whether an action was carried out, and not undone again."""
        effect, back = self.effects.get(action_id), self.effects.get(f"undo-{action_id}")
        return effect is not None and effect.result != "failed" and (back is None or back.result == "failed")

    def asked(self, gate: Gate) -> int:
        """How many answers this gate has had, admitted or refused: the number in the form's key (prefect.md, 1)."""
        return sum(v.gate is gate for v in self.votes) + sum(r.gate is gate for r in self.refused)

    def questions(self, gate: Gate) -> tuple[Vote, ...]:
        """Every question at this gate, oldest first."""
        return tuple(v for v in self.votes if v.gate is gate and v.decision is Decision.ASK)

    def signed(self, gate: Gate) -> Decision | None:
        """The decision on what the gate asks now; None while open, or when what was signed has changed since."""
        opened, settled = self.gates.get(gate), self.settled.get(gate)
        if opened is None or settled is None or opened.digest != settled.digest:
            return None
        if settled.decision is Decision.ASK:  # a question settles nothing: whoever reads this must not go on
            return None
        if gate is Gate.DECIDE and (self.proposal is None or self.proposal.digest != settled.digest):
            return None
        return settled.decision

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the newest checks of the whole plan said beside their verdicts."""
        return next((one.remarks for one in reversed(self.verified) if one.stage is Stage.VERIFY), ())

    @property
    def changed(self) -> bool:
        """True once any effect on a host was intended and not known to be undone."""
        return any(
            not step.startswith("undo-")
            and not (f"undo-{step}" in self.effects and self.effects[f"undo-{step}"].result != "failed")
            for step in self.intents
        )


ASKED_AGAIN = {Gate.DECIDE: (Stage.CONFIRM, Stage.DECIDE), Gate.ACCEPT: (Stage.VERIFY, Stage.ACCEPT)}
"""What is done again when someone asks for more: the diagnosis, or the checks of the result."""


def _look_again(vote: Vote, stages: dict[Stage, StageEnded], settled: dict[Gate, GateSettled]) -> None:
    """A question leads back; an approval that is taken back before anything was changed opens its gate again."""
    if vote.decision is Decision.ASK:
        for stage in ASKED_AGAIN.get(vote.gate, ()):
            stages.pop(stage, None)
    elif vote.decision is Decision.WITHDRAW and vote.gate is not Gate.ACCEPT:
        settled.pop(vote.gate, None)


def fold(records: Sequence[Record]) -> State:  # noqa: C901 - one case for each type of record
    """Fold records, oldest first, into the state of the incident."""
    data: dict[str, object] = {}
    gates: dict[Gate, GateOpened] = {}
    settled: dict[Gate, GateSettled] = {}
    votes: list[Vote] = []
    refused: list[VoteRefused] = []
    refusals: dict[Gate, str] = {}
    stages: dict[Stage, StageEnded] = {}
    intents: dict[str, Intent] = {}
    effects: dict[str, Effect] = {}
    preserved: list[Preserved] = []
    verified: list[Verified] = []
    tokens: dict[str, int] = {}
    items: tuple[Item, ...] = ()
    opinions: list[Said] = []
    reminded: list[GateReminded] = []
    for record in records:
        match record.payload:
            case Opened(incident=incident):
                data["incident"] = incident
            case Confirmed() as confirmed:
                data["confirmed"] = confirmed
            case Proposed(proposal=proposal):
                data["proposal"] = proposal
                if not intents:  # what it touches is another set: nothing of it is kept yet
                    stages.pop(Stage.PRESERVE, None)
                    preserved = [one for one in preserved if one.what != "snapshot"]
            case GateOpened() as gate:
                gates[gate.gate] = gate
            case Voted(vote=vote):
                votes.append(vote)
                refusals.pop(vote.gate, None)
                if not (intents and vote.gate is not Gate.ACCEPT):
                    _look_again(vote, stages, settled)
            case VoteRefused() as refusal:
                refused.append(refusal)
                refusals[refusal.gate] = refusal.reason
            case GateSettled() as settlement:
                first = settled.get(settlement.gate)
                if first is None or first.digest != settlement.digest or first.decision is Decision.ASK:
                    settled[settlement.gate] = settlement
            case GateReminded() as reminder:
                reminded.append(reminder)
            case StageEnded() as ended:
                stages[ended.stage] = ended
            case Intent() as intent:
                intents[intent.step] = intent
            case Effect() as effect:
                effects[effect.step] = effect
            case Preserved() as kept:
                preserved.append(kept)
            case Verified() as checked:
                verified.append(checked)
            case LeaseTaken(host=host, token=token):
                tokens[host] = token
            case LeaseReleased(host=host):
                tokens.pop(host, None)
            case Ended() as end:
                data["ended"] = end
            case Reviewed() as review:
                data["reviewed"] = review
                items = found(items, record.incident, review.items, record.at)
            case ItemAdded(text=text) as addition:
                items = added(items, record.incident, text, record.at, about_item(addition))
            case ItemAssigned() | ItemClosed() as step:
                items = changed(items, step, record.at)
            case GlassNeeded() as glass:
                data["glass"] = glass
            case PlanProposed() as publication:
                data["publication"] = publication
            case PlanPublished() as published:
                data["published"] = published
            case Opinion() as opinion:
                opinions.append(Said(at=record.at, opinion=opinion))
            case StageStarted() | MessageHeld() | MessageReleased() | Telling() | Told() | Noted():
                pass
            case DrillRecord():  # of a journal of its own: `model.drill_journal`
                pass
    return State.model_validate(
        data
        | {
            "gates": gates, "settled": settled, "votes": tuple(votes), "refused": tuple(refused),
            "refusal": refusals,
            "ended_stages": stages, "intents": intents, "effects": effects, "preserved": tuple(preserved),
            "verified": tuple(verified), "tokens": tokens, "items": items, "opinions": tuple(opinions),
            "reminded": tuple(reminded),
        }
    )  # fmt: skip
