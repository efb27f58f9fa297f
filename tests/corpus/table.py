"""The table of damage cases in the documentation, from what the recoveries of the corpus were seen to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.corpus.cases import Case, families, load
from tests.corpus.outcome import GroupOutcome
from tests.lab.base import locked

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

TABLE = "| damage | kind | place | found as | cured by | result |\n| --- | --- | --- | --- | --- | --- |"


def line(case: Case, outcome: GroupOutcome) -> str:
    """A case's row, from what its recovery was seen to do."""
    finding = outcome.finding(case)
    action = outcome.action(finding) if finding else None
    cells = (
        case.name.replace("-", " "), case.kind, case.place, f"`{finding.code}`" if finding else "–",
        action.kind.replace("_", " ") if action else "–", result(case, outcome),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Damage → its family and row, of a page."""
    found, family = {}, ""
    for one in text.splitlines():
        if one.startswith("## "):
            family = next(name for name, title in FAMILIES.items() if title == one[3:])
        elif one.startswith("| ") and not one.startswith(("| damage ", "| --- ")):
            found[one.split(" | ")[0][2:]] = (family, one)
    return found


def arranged(text: str) -> str:
    """The page again from its own rows: in the order of the cases, without rows whose case is gone, counted."""
    known = rows(text)
    kept = {
        family: [known[name][1] for case in load(family) if (name := case.name.replace("-", " ")) in known]
        for family in families()
    }
    every = [row for its in kept.values() for row in its]
    ends = [row.rsplit(" | ", 1)[-1] for row in every]
    head = HEAD.format(
        count=len(every), repaired=sum(end.startswith("repaired") for end in ends),
        kept=sum(end.startswith("kept") for end in ends), refused=sum(end.startswith("refused") for end in ends),
    )  # fmt: skip
    parts = ["\n".join((f"## {FAMILIES[family]}\n", TABLE, *its)) for family, its in kept.items() if its]
    return "\n\n".join((head.rstrip(), *parts)) + "\n"


def write(page: Path, family: str, new: Sequence[str]) -> None:
    """Put rows into the page; other processes may write theirs at the same time."""
    with locked(page.with_suffix(".lock")):
        known = rows(page.read_text(encoding="utf-8") if page.exists() else "")
        known |= {row.split(" | ")[0][2:]: (family, row) for row in new}
        text = "\n".join(f"## {FAMILIES[its]}\n{row}" for its, row in known.values())
        page.write_text(arranged(text), encoding="utf-8")
    page.with_suffix(".lock").unlink(missing_ok=True)


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
