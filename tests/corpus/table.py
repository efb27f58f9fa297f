"""The table of damage cases in the documentation, from what the recoveries of the corpus were seen to do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from tests.corpus.cases import Case
from tests.corpus.outcome import GroupOutcome

FAMILIES = {
    "dpkg": "Debian packages",
    "python": "Python environments",
    "rpm": "RPM packages",
    "system": "The host's own state",
    "tools": "Damaged tools, package state and configuration",
}

HEAD = """\
<!-- Written by tests/corpus from what it saw: REINSTATE_WRITE_DOCS=1 pytest tests/corpus -->

# Damage that is found and repaired

Each row is damage that the tests do to a real host: a container with its own systemd, SSH server and packages.
Reinstate then examines the host, proposes, is signed, repairs and examines again; a witness outside compares every file
with what it was before. **{count} cases**, {repaired} repaired, {kept} left as they are on purpose,
{refused} refused with a remedy. Nothing that is not in this table was called damaged.
"""

Row = tuple[str, Case, GroupOutcome]


def page(rows: Sequence[Row]) -> str:
    """The whole page."""
    results = [result(case, outcome) for _, case, outcome in rows]
    head = HEAD.format(
        count=len(rows), repaired=sum(r.startswith("repaired") for r in results),
        kept=sum(r.startswith("kept") for r in results), refused=sum(r.startswith("refused") for r in results),
    )  # fmt: skip
    parts = [head]
    for family, its in groupby(rows, key=lambda row: row[0]):
        parts.append(f"## {FAMILIES.get(family, family)}\n")
        parts.append(
            "| damage | kind | place | found as | cured by | result |\n| --- | --- | --- | --- | --- | --- |"
        )
        parts += [_line(case, outcome) for _, case, outcome in its]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _line(case: Case, outcome: GroupOutcome) -> str:
    finding = outcome.finding(case)
    action = outcome.action(finding) if finding else None
    cells = (
        case.name.replace("-", " "), case.kind, case.place, f"`{finding.code}`" if finding else "–",
        action.kind.replace("_", " ") if action else "–", result(case, outcome),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def result(case: Case, outcome: GroupOutcome) -> str:
    """What became of it, as seen."""
    finding = outcome.finding(case)
    if finding is None:
        kept = all(outcome.damaged[path] == outcome.after[path] for path in (*case.survive, *case.paths))
        return "kept: a person's change" if kept else "NOT FOUND"
    if outcome.action(finding) is None:
        return (
            f"refused: {case.remedy}"
            if case.remedy and case.remedy in outcome.refused(finding)
            else "NOT CURED"
        )
    same = all(
        (b and b.facts) == (a and a.facts)
        for b, a in ((outcome.before[p], outcome.after[p]) for p in case.watched)
    )
    return "repaired, as before" if same and outcome.recovered else "NOT REPAIRED"
