"""Publishing a version of a plan: put to the vote under the rule of the version before, then kept for ever."""

from __future__ import annotations

from blocks.journals.base import JournalStore
from model.canonical import now
from model.errors import BadInput, Damaged
from model.incident import Incident, Kind, Source, new_incident_id
from model.journal import PlanProposed, PlanPublished, State
from model.outcome import Gate
from model.plan_diff import PlanDiff, compare_plans
from model.planfile import plan_digest, read_plan
from model.signoff import Decision
from model.steps import Publish, next_step
from model.versions import PlanVersion, Signed
from tasks.versions import keep_version, versions_of
from tasks.voting import gate_standing
from tasks.work import PlanFile, Work, keep_incident, register_plan


def open_publication(file: PlanFile, store: JournalStore, proposed_by: str, source: Source) -> Work:
    """Put a plan file to the vote as the next version of its name.

    Args:
        file: the new text.
        store: where the journal lives.
        proposed_by: a person of the plan; may not sign it.
        source: where it was proposed.

    Raises:
        BadInput: it is the newest version already, or nobody of the plan proposes it.
        Damaged: an earlier version was altered.
    """
    versions = versions_of(store, file.plan.name)
    newest = versions[-1] if versions else None
    if newest is not None and newest.digest == file.digest:
        raise BadInput(
            f"this text is the published version {newest.number} already.", str(file.path), "nothing is to be done"
        )  # fmt: skip
    rules = file
    if newest is not None:
        rules = PlanFile(read_plan(newest.text, f"{newest.plan}@{newest.number}"), newest.text, file.path)
    if proposed_by not in rules.plan.people:
        raise BadInput(
            f"{proposed_by!r} is not a person of {'the published' if newest else 'the'} plan; who proposes may not "
            "sign, so it must be known who it is.", "--by", f"give one of {', '.join(rules.plan.people)}",
        )  # fmt: skip
    moment, number = now(), len(versions) + 1
    incident = Incident(
        id=new_incident_id(moment, "pub"), kind=Kind.REAL, plan=file.plan.name, plan_version=rules.plan.version,
        plan_digest=rules.digest, summary=f"Version {number} of plan {file.plan.name}: {file.plan.version}",
        reported_by=proposed_by, source=source, detected_at=moment, opened_at=moment,
        published=newest.number if newest else None,
    )  # fmt: skip
    store.put(_text_key(incident.id), file.text.encode())
    work = keep_incident(incident, rules, store)
    work.record(
        PlanProposed(
            plan=file.plan.name, number=number, version=file.plan.version, digest=file.digest,
            before=newest.digest if newest else "",
        )
    )  # fmt: skip
    return work


def _text_key(ident: str) -> str:
    return f"incidents/{ident}/proposed.yaml"


def proposed_text(work: Work, asked: PlanProposed) -> str:
    """The text that is put to the vote.

    Raises:
        Damaged: it is missing or was altered.
    """
    text = (work.store.get(_text_key(work.incident.id)) or b"").decode()
    if plan_digest(text) != asked.digest:
        raise Damaged(
            "is not the text that is put to the vote.",
            _text_key(work.incident.id),
            "propose the version again",
        )
    return text


def difference(work: Work, state: State) -> PlanDiff | None:
    """What the new version changes; None for a first version."""
    asked = state.publication
    if asked is None or not asked.before:
        return None
    return compare_plans(work.plan, read_plan(proposed_text(work, asked), asked.plan))


def publish(work: Work) -> str:
    """Write down how the vote ended: the version, or that there is none. Again and again gives the same.

    Raises:
        BadInput: it is not settled yet, or no publication at all.
        Damaged: text or an earlier version was altered.
    """
    state = work.state()
    asked, step = state.publication, next_step(state)
    if state.published is not None:
        return state.published.sentence
    if asked is None or not isinstance(step, Publish):
        raise BadInput("nothing is to be published here.", work.incident.id, "`reinstate plan publish FILE`")
    where = gate_standing(work, state, Gate.PUBLISH)
    if where.settled is not Decision.APPROVE:
        return _ended(
            work, None, f"Version {asked.version} of plan {asked.plan} was not published. {where.sentence}"
        )
    text = proposed_text(work, asked)
    versions = versions_of(work.store, asked.plan)
    before = versions[asked.number - 2] if asked.number > 1 else None
    version = PlanVersion(
        plan=asked.plan, number=asked.number, version=asked.version, digest=asked.digest, text=text,
        before=before.seal if before else "", publication=work.incident.id, proposed_by=work.incident.reported_by,
        published_at=now(), signed=tuple(
            Signed(person=vote.person, role=vote.role, at=vote.at, proof=vote.proof)
            for vote in state.votes
            if vote.gate is Gate.PUBLISH and vote.digest == asked.to_sign and vote.person in where.approvals
        ),
    )  # fmt: skip
    if not keep_version(work.store, version):
        there = versions_of(work.store, asked.plan)[asked.number - 1]
        if there.publication != work.incident.id:  # else we were killed before we could say so
            return _ended(
                work, None,
                f"Version {asked.number} of plan {asked.plan} was published by {there.publication} meanwhile: propose "
                "it again, so that people see what it changes.",
            )  # fmt: skip
    register_plan(PlanFile(read_plan(text, str(work.file.path)), text, work.file.path), work.store)
    return _ended(
        work, asked.number,
        f"Version {asked.number} of plan {asked.plan} ({asked.version}, {asked.digest[:12]}) is published. "
        f"{where.sentence}",
    )  # fmt: skip


def _ended(work: Work, number: int | None, sentence: str) -> str:
    work.record(PlanPublished(number=number, sentence=sentence))
    return sentence
