"""What people read at each gate, as Markdown."""

from __future__ import annotations

from model.journal import State
from model.outcome import Gate
from model.plan_diff import PlanDiff, in_words
from tasks.publishing import difference
from tasks.readiness_page import blocked_before
from tasks.render import ROW_LIMIT, proposal_markdown, result_markdown, safe
from tasks.work import Work


def asked_markdown(work: Work, state: State, gate: Gate) -> str:
    """What is to be signed at a gate."""
    match gate:
        case Gate.PUBLISH:
            return _publication(work, state)
        case Gate.BREAK_GLASS:
            return _glass(work, state)
        case Gate.DECIDE if state.proposal is not None:
            assets = {action.asset for action in state.proposal.actions}
            blocked = blocked_before(work.store, work.plan.name, assets)
            known = [f"**⚠ {safe(line, 500)}**" for line in blocked]
            return "\n\n".join([*known, proposal_markdown(work.plan, state, state.proposal)])
        case _:
            return result_markdown(work.plan, state)


def _glass(work: Work, state: State) -> str:
    opened = state.gates.get(Gate.BREAK_GLASS)
    until = f" Their word holds until {opened.deadline:%Y-%m-%d %H:%M} UTC." if opened else ""
    parts = [
        "## Break the glass?",
        f"**{safe(state.glass.sentence, 500) if state.glass else ''}**",
        f"Approve to let this one incident follow the changed plan all the same.{until} The proposal below is signed "
        "afterwards, by the changed plan's own rule; the review looks at both. Deny to change nothing.",
    ]
    if state.proposal is not None:
        parts.append(proposal_markdown(work.plan, state, state.proposal))
    return "\n\n".join(parts)


def _publication(work: Work, state: State) -> str:
    asked = state.publication
    if asked is None:
        return ""
    parts = [
        f"## Publish version {asked.number} of plan {safe(asked.plan)}",
        f"Proposed by {safe(work.incident.reported_by)}; the plan calls it {safe(asked.version)}. Real incidents "
        "follow it from then on, and no other text. `reinstate plan check FILE` shows a file's digest.",
        f"Digest of its text: `{asked.digest[:12]}`",
    ]
    found = difference(work, state)
    if found is None:
        parts.append(
            "**It is the first version:** read the whole file (`reinstate plan show FILE`) before you sign."
        )
    else:
        parts += _difference(found)
    return "\n\n".join(parts)


def _difference(found: PlanDiff) -> list[str]:
    parts = [f"**⚠ {safe(warning, 500)}**" for warning in found.warnings]
    lines = []
    for one in found.changes[:ROW_LIMIT]:
        lines.append(f"- **{safe(one.path)}** {one.word}")
        lines += [f"  - was: {safe(in_words(one.before), 500)}"] if one.before is not None else []
        lines += [f"  - is: {safe(in_words(one.after), 500)}"] if one.after is not None else []
    if len(found.changes) > ROW_LIMIT:
        lines.append(f"- … and {len(found.changes) - ROW_LIMIT} more; `reinstate plan diff` shows all.")
    said = "\n".join(lines) or "Nothing but comments, order or defaults that are written out."
    return [*parts, f"### What changes: {len(found.changes)}", said]
