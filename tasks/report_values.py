"""Everything a report of an incident says, as values (R-REV-1)."""

from __future__ import annotations

from model.canonical import Value
from model.diagnosis import Diagnosis
from model.finding import CheckResult, Finding
from model.incident import Incident
from model.journal import Ended, Preserved
from model.outcome import Stage
from model.proposal import Loss, PointChoice, Reimport
from model.review import Item, Said
from model.severity import Severity
from model.signoff import Vote
from tasks.report_measured import AssetTime, Bar


class TimelineLine(Value):
    """One moment: seconds since detection, clock time, sentence."""

    after: float
    at: str
    sentence: str


class StageTime(Value):
    """When a stage ran, in seconds since the incident was opened."""

    stage: Stage
    begin: float
    end: float


class ActionLine(Value):
    """One executed action and the findings it cured."""

    id: str
    kind: str
    host: str
    what: str
    reason: str
    undo: str
    result: str
    sentence: str
    seconds: float
    bytes: int
    findings: tuple[str, ...]


class MessageLine(Value):
    """One message over one channel to one recipient, and what became of it."""

    at: str
    message: str
    audience: str
    subject: str
    channel: str
    to: str
    result: str
    sentence: str
    sha256: str


class Report(Value):
    """Everything the report says.

    Attributes:
        rto: measured seconds from detection to acceptance, and `rto_target` of the plan; None when not recovered.
        rpo: measured seconds of data lost, and `rpo_target`.
        items: what to improve, as the journal says now.
        tracked: the rectification items of the report that was written, and those people added, as they stand.
        opinions: what the leading group said of it.
        next_drill: when the next one is, in a sentence.
        head: digest of the journal's newest record: an anchor outside the journal store.
    """

    incident: Incident
    service: str
    severity: Severity | None
    diagnosis: Diagnosis | None = None
    ended: Ended | None
    rto: float | None
    rto_target: float
    rpo: float | None
    rpo_target: float
    findings: tuple[Finding, ...]
    actions: tuple[ActionLine, ...]
    losses: tuple[Loss, ...]
    points: tuple[PointChoice, ...] = ()
    reimport: tuple[Reimport, ...] = ()
    user_service: str = ""
    checks: tuple[CheckResult, ...]
    votes: tuple[Vote, ...]
    messages: tuple[MessageLine, ...] = ()
    preserved: tuple[Preserved, ...]
    stages: tuple[StageTime, ...]
    bars: tuple[Bar, ...] = ()
    assets: tuple[AssetTime, ...] = ()
    well: tuple[str, ...] = ()
    badly: tuple[str, ...] = ()
    timeline: tuple[TimelineLine, ...]
    items: tuple[str, ...]
    tracked: tuple[Item, ...] = ()
    opinions: tuple[Said, ...] = ()
    next_drill: str = ""
    proposal_digest: str
    records: int
    head: str
