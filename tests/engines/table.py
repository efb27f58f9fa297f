"""The table of mutilated backups in the documentation, from what the restores were seen to do."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.engines.databases import WORLDS
from tests.engines.worlds import STORES

KINDS = (*STORES, *WORLDS, "mariabackup", "pgbackrest")
SEEN = Path(__file__).with_name("seen.json")
"""What a full run of each engine saw: `{engine: {"positions": N, "clean": N, "rows": {mutation: {outcome: N}}}}`."""

HEAD = """\
<!-- Written by tests/engines from what it saw:
     REINSTATE_POSITIONS=20 REINSTATE_WRITE_DOCS=1 pytest tests/engines/test_mutations.py -k "sqlite or page" -->

# Damaged backups that are found

Each cell is a number of restores from a backup that the tests had spoilt behind its tool's back: on the disk of a real
host, or on the disk of a real S3 server. **Found** means: refused before anything live was touched, with the source and
the snapshot, object or file named. **Whole** means: the mutilation did not touch what the restore needed (a rebuilt
index, another file's bytes), and every restored file had the content, mode, owner and time it was backed up with. There
is no third outcome. `directory` and `s3` are our own archives, which have neither an index nor a record of a tool;
`postgresql`, `mariadb` and `sqlite` are dumps and copies of databases in such an archive, `mariabackup` a server's
whole data directory there; `pgbackrest` is a whole cluster.

{count} restores from spoilt backups: {found} found, {whole} restored whole, 0 restored wrong. {clean} restores from
whole backups: 0 false alarms.
"""


def record(seen: dict[str, dict[str, Counter[str]]], positions: int, share: int = 1, shares: int = 1) -> None:
    """Put the engines of a run into `seen.json`; what was seen of others stays.

    Args:
        seen: counts by mutation (empty: clean runs) and engine.
        positions: of each mutation.
        share: which part of the positions this run took.
        shares: how many parts there are; an engine is in the table once all are there.
    """
    kept = json.loads(SEEN.read_text(encoding="utf-8")) if SEEN.exists() else {}
    for kind in {kind for kinds in seen.values() for kind in kinds}:
        rows = {name: dict(kinds[kind]) for name, kinds in seen.items() if name and kind in kinds}
        kept[f"{kind} {share}/{shares}"] = {"clean": seen[""][kind]["clean"], "rows": rows}
        parts = [f"{kind} {number}/{shares}" for number in range(1, shares + 1)]
        if all(part in kept for part in parts):
            kept[kind] = {"positions": positions, **_sum([kept.pop(part) for part in parts])}
    SEEN.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _sum(parts: list[dict[str, Any]]) -> dict[str, Any]:
    rows: dict[str, Counter[str]] = {}
    for part in parts:
        for name, counts in part["rows"].items():
            rows.setdefault(name, Counter()).update(counts)
    return {
        "clean": sum(part["clean"] for part in parts),
        "rows": {name: dict(counts) for name, counts in rows.items()},
    }


def page(names: list[str]) -> str:
    """The whole page, with a row for each mutation."""
    kept = json.loads(SEEN.read_text(encoding="utf-8"))
    seen = {kind: kept[kind] for kind in KINDS if kind in kept}
    every = [counts for one in seen.values() for counts in one["rows"].values()]
    found, whole = (sum(counts.get(what, 0) for counts in every) for what in ("found", "harmless"))
    kinds = list(seen)
    head = HEAD.format(
        count=found + whole, found=found, whole=whole, clean=sum(one["clean"] for one in seen.values())
    )  # fmt: skip
    lines = [f"| what was done | {' | '.join(kinds)} |", f"| --- |{' --- |' * len(kinds)}"]
    lines += [f"| positions of each | {' | '.join(str(seen[kind]['positions']) for kind in kinds)} |"]
    for name in names:
        cells = [_cell(seen[kind]["rows"].get(name, {})) for kind in kinds]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return head + "\n" + "\n".join(lines) + "\n"


def _cell(counts: dict[str, int]) -> str:
    words = {"found": "found", "harmless": "whole"}
    return ", ".join(f"{counts[what]} {word}" for what, word in words.items() if counts.get(what)) or "–"
