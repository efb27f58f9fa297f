"""A valid plan, and the records of a good run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

from model.finding import CheckResult, Code, Degree, Finding, Verdict
from model.incident import Incident, Kind, Source
from model.journal import (
    GENESIS,
    Confirmed,
    Effect,
    Ended,
    GateOpened,
    GateSettled,
    Intent,
    LeaseReleased,
    LeaseTaken,
    Noted,
    Opened,
    Payload,
    Preserved,
    Proposed,
    Record,
    Reviewed,
    StageEnded,
    StageStarted,
    Verified,
    Voted,
    VoteRefused,
)  # fmt: skip
from model.outcome import Gate, RunVerdict, Stage
from model.plan import Plan
from model.planfile import read_plan
from model.proposal import Proposal, ReinstallPackage, Rung
from model.severity import Level, Scope, Severity
from model.signoff import Decision, Vote
from model.steps import Ask, Run, Step

ID = "inc-20250101-120000-00aa"
AT = datetime(2025, 1, 1, 12, tzinfo=UTC)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZ"

PLAN_TEXT = f"""\
reinstate: 1
name: shop
version: "1.0"
service:
  name: The shop
  owner: ann
people:
  ann: {{name: Ann, email: ann@example.org, totp: env:ANN}}
  bob: {{name: Bob, ssh_keys: ["{KEY}"]}}
  cyd: {{name: Cyd}}
  dan: {{name: Dan}}
roles:
  leading_group: [ann, bob, cyd]
  working_group: [dan]
objectives: {{rto: 4h, rpo: 1d}}
hosts:
  web-1:
    address: 192.0.2.10
    key: file:keys/web-1
    host_key: {KEY}
    machine_id: "0123456789abcdef0123456789abcdef"
backups:
  tree: {{kind: directory, path: backups}}
package_stores:
  wheels: {{kind: directory, path: wheels}}
assets:
  packages: {{kind: dpkg, host: web-1}}
  library: {{kind: pip, host: web-1, python: /opt/shop/bin/python, store: wheels}}
  files: {{kind: files, host: web-1, path: /srv/shop, backup: tree, depends_on: [packages]}}
  database: {{kind: postgresql, host: web-1, database: shop, backup: tree, service: web}}
  web: {{kind: service, host: web-1, unit: shop.service, depends_on: [database]}}
checks:
  soak: 30s
  probes:
    - {{name: home, url: "http://192.0.2.10/", from_host: web-1}}
  tables:
    - database: database
      table: orders
      expectations:
        - {{type: expect_table_row_count_to_be_between, kwargs: {{min_value: 1}}}}
signoff:
  decide: {{roles: [leading_group], quorum: 2}}
communication:
  channels:
    mail: {{url: env:MAIL_URL, reaches: email}}
    room: {{url: env:ROOM_URL}}
  fall_back: [mail, room]
  audiences:
    leaders: {{members: [ann], details: true, moments: [opened, decided, progress, ended], every: 10m}}
    users: {{members: [room], language: zh, templates: {{opened: "Down: {{{{ service }}}}"}}}}
"""


@cache
def plan() -> Plan:
    return read_plan(PLAN_TEXT)


def plan_for(host: str, machine_id: str) -> Plan:
    """That plan with another host in place of its own."""
    (own,) = plan().hosts.values()
    return plan().model_copy(update={"hosts": {host: own.model_copy(update={"machine_id": machine_id})}})


def incident(kind: Kind = Kind.REAL) -> Incident:
    return Incident(
        id=ID, kind=kind, plan="shop", plan_version="1.0", plan_digest="0" * 64, summary="down",
        reported_by="dan", source=Source.CLI, detected_at=AT, opened_at=AT,
    )  # fmt: skip


def finding(subject: str = "/usr/bin/shop", degree: Degree = Degree.SERIOUS) -> Finding:
    return Finding(
        code=Code.FILE_CONTENT_DIFFERS, host="web-1", asset="packages", subject=subject, degree=degree
    )


def result(verdict: Verdict = Verdict.FAILED) -> CheckResult:
    return CheckResult(
        check="packages", host="web-1", asset="packages", verdict=verdict, examined=3,
        findings=(finding(),) if verdict is Verdict.FAILED else (), sentence="One of 3 files damaged.",
    )  # fmt: skip


def action(number: int = 1) -> ReinstallPackage:
    return ReinstallPackage(
        id=f"a{number:02d}", host="web-1", asset="packages", stage=Stage.REPAIR, rung=Rung.PACKAGE, reason="r",
        undo="u", package="shop", version="1", architecture="all", source="host-cache", filename="shop.deb",
        sha256="0" * 64, bytes=10, minutes=0.5,
    )  # fmt: skip


def proposal(*numbers: int) -> Proposal:
    return Proposal(
        incident=ID, plan_digest="0" * 64, hosts={"web-1": "0" * 32}, created_at=AT,
        actions=tuple(action(number) for number in numbers or (1,)), expires_at=AT + timedelta(hours=4),
    )  # fmt: skip


def vote(
    person: str = "ann", decision: Decision = Decision.APPROVE, digest: str = "", gate: Gate = Gate.DECIDE
) -> Vote:
    return Vote(
        gate=gate, digest=digest or proposal().digest, person=person, role="leading_group", decision=decision,
        reason="", proof="totp", proof_ref="totp:1", at=AT,
    )  # fmt: skip


SEVERITY = Severity(degree=Degree.SERIOUS, scope=Scope.SERVICE, level=Level.II, sentence="Level II.")


def ok(stage: Stage) -> StageEnded:
    return StageEnded(stage=stage, ok=True, sentence=f"{stage} is done.")


def failed(stage: Stage) -> StageEnded:
    return StageEnded(stage=stage, ok=False, sentence=f"{stage} did not work.")


def intent(step: str = "a01", attempt: int = 1) -> Intent:
    return Intent(step=step, attempt=attempt, host="web-1", token=1, job=f"{ID}-{step}-{attempt}")


def effect(step: str = "a01", how: str = "done") -> Effect:
    return Effect.model_validate({"step": step, "attempt": 1, "result": how, "sentence": f"{how}."})


def kept(what: str) -> Preserved:
    return Preserved.model_validate(
        {"what": what, "host": "web-1", "location": "x", "sha256": "0" * 64, "files": 1, "bytes": 1}
    )


def gate(which: Gate, digest: str, *people: str, decision: Decision = Decision.APPROVE) -> list[Payload]:
    """Asked, one refused answer, voted, settled."""
    return [
        GateOpened(gate=which, digest=digest, deadline=AT + timedelta(hours=4)),
        VoteRefused(gate=which, person="eve", reason="not a person of the plan"),
        *(Voted(vote=vote(person, decision, digest, which)) for person in people),
        GateSettled(gate=which, digest=digest, decision=decision, sentence=f"{decision} by {people[0]}."),
    ]


def good_run() -> list[tuple[Step, Payload]]:
    """Every record of a good run with the kind of step that writes it."""
    run: list[tuple[Step, Payload]] = []

    def at(step: Step, *payloads: Payload) -> None:
        run.extend((step, payload) for payload in payloads)

    def stage(stage: Stage, *payloads: Payload) -> None:
        at(Run(stage, ""), StageStarted(stage=stage), *payloads, ok(stage))

    at(Run(Stage.REPORT, ""), Opened(incident=incident()))
    stage(Stage.CONFIRM, Confirmed(results=(result(),), severity=SEVERITY))
    stage(Stage.DECIDE, Proposed(proposal=proposal(), digest=proposal().digest), Noted(sentence="Shown."))
    at(Ask(Gate.DECIDE, ""), *gate(Gate.DECIDE, proposal().digest, "ann", "bob"))
    stage(Stage.PRESERVE, LeaseTaken(host="web-1", token=1), kept("evidence"), kept("snapshot"))
    stage(Stage.REPAIR, intent(), effect(), Verified(stage=Stage.REPAIR, results=(result(Verdict.PASSED),)))
    stage(Stage.RESTORE)
    stage(Stage.VERIFY, Verified(stage=Stage.VERIFY, results=(result(Verdict.PASSED),)))
    stage(Stage.ACCEPT, Verified(stage=Stage.ACCEPT, results=(result(Verdict.PASSED),)))
    at(Ask(Gate.ACCEPT, ""), *gate(Gate.ACCEPT, "b" * 64, "cyd"))
    at(
        Run(Stage.CLOSE, ""),
        StageStarted(stage=Stage.CLOSE),
        LeaseReleased(host="web-1", token=1),
        Ended(verdict=RunVerdict.RECOVERED, sentence="The shop is back.", rto=60.0, rpo=0.0),
    )
    at(
        Run(Stage.REVIEW, ""),
        StageStarted(stage=Stage.REVIEW),
        Reviewed(report="reports/x.html", sha256="0" * 64),
    )
    return run


def chain(payloads: Sequence[Payload]) -> list[Record]:
    records: list[Record] = []
    for seq, payload in enumerate(payloads, start=1):
        previous = records[-1].digest if records else GENESIS
        records.append(Record(seq=seq, incident=ID, at=AT, previous=previous, payload=payload))
    return records
