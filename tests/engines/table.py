"""The table of mutilated backups in the documentation, from what the restores were seen to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tests.engines.worlds import STORES

HEAD = """\
<!-- Written by tests/engines from what it saw:
     REINSTATE_POSITIONS=20 REINSTATE_WRITE_DOCS=1 pytest tests/engines/test_mutations.py -->

# Damaged backups that are found

Each cell is a number of restores from a backup that the tests had spoilt behind its tool's back: on the disk of a real
host, or on the disk of a real S3 server. **Found** means: refused before anything live was touched, with the source and
the snapshot, object or file named. **Whole** means: the mutilation did not touch what the restore needed (a rebuilt
index, another file's bytes), and every restored file had the content, mode, owner and time it was backed up with. There
is no third outcome. `directory` and `s3` are our own archives, which have neither an index nor a record of a tool.

{count} restores from spoilt backups, {positions} position{plural} each: {found} found, {whole} restored whole, 0
restored wrong. {clean} restores from whole backups: 0 false alarms.
"""


def page(seen: Mapping[str, Mapping[str, Counter[str]]], positions: int) -> str:
    """The whole page."""
    spoilt = {name: kinds for name, kinds in seen.items() if name}
    every = [counts for kinds in spoilt.values() for counts in kinds.values()]
    found, whole = (sum(counts[what] for counts in every) for what in ("found", "harmless"))
    head = HEAD.format(
        count=found + whole, positions=positions, plural="" if positions == 1 else "s", found=found, whole=whole,
        clean=sum(counts["clean"] for counts in seen.get("", {}).values()),
    )  # fmt: skip
    lines = [f"| what was done | {' | '.join(STORES)} |", f"| --- |{' --- |' * len(STORES)}"]
    for name, kinds in spoilt.items():
        lines.append(f"| {name} | {' | '.join(_cell(kinds.get(kind, Counter())) for kind in STORES)} |")
    return head + "\n" + "\n".join(lines) + "\n"


def names(text: str) -> list[str]:
    """What the table's rows are about."""
    return [
        line.split(" | ")[0][2:]
        for line in text.splitlines()
        if line.startswith("| ") and not line.startswith(("| what ", "| --- "))
    ]


def _cell(counts: Counter[str]) -> str:
    parts = [
        f"{counts['found']} found" if counts["found"] else "",
        f"{counts['harmless']} whole" if counts["harmless"] else "",
    ]
    return ", ".join(part for part in parts if part) or "–"
