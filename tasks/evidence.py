"""Evidence, most volatile first (RFC 3227): what the host did, what is damaged; off the host, hashed at both ends.

Nothing here is interpreted: what the host says is tainted and lies in files beside a manifest (N5).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from blocks.durable import explained, make_folder, replace
from blocks.hosts.base import Connection
from checks.stat import collect
from model.canonical import Value, canonical_json, now
from model.command import printable
from model.errors import Damaged
from model.finding import Finding
from model.manifest import FileType
from model.plan import Plan
from tasks.evidence_items import ITEMS, Item, asset_items
from tasks.filestate import nul_list
from tasks.snapshot import TAR, tar_options
from tasks.staging import Progress, ask, sha256_of

MANIFEST = "manifest.json"
ITEM_LIMIT = 64 << 20
"""Bytes kept of one item; the rest stays on the host and the item says so."""

ITEM_SECONDS = 300.0
_REMEDY = "keep everything as it is: the chain of custody is broken here"

# The command's output passes once: to us, and through the host's own hashing. The last words come on stderr.
# /dev/fd/3 is a pipe of this script, never the socket an SSH server may give us.
_CAPTURE = r"""
limit=$1 words=$2; shift 2
command -v "$1" >/dev/null 2>&1 || { echo 'missing' >&2; exit 0; }
case $(printf abc | sha256sum 2>/dev/null) in
    ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad*) hash() { sha256sum; } ;;
    *) hash() { openssl dgst -sha256 -r; } ;;
esac
{
    {
        if [ "$words" = both ]; then "$@" 2>&1; else "$@" 2>/dev/null; fi 3>&- 4>&-
        echo "status $?" >&4
    } | head -c "$limit" | tee /dev/fd/3 | hash >&4
} 3>&1 4>&2 | cat
"""


class EvidenceItem(Value):
    """One piece of evidence.

    Attributes:
        file: name beside the manifest; empty when nothing was collected.
        status: `truncated`: the first 64 MiB are here.
        exit: how the host's command ended; None when that is not known.
        reason: why it was not collected.
    """

    name: str
    command: str
    file: str = ""
    sha256: str = Field(default="", pattern=r"^$|^[0-9a-f]{64}$")
    bytes: int = Field(default=0, ge=0)
    taken_at: AwareDatetime
    status: Literal["collected", "truncated", "not collected"]
    exit: int | None = None
    reason: str = ""


class EvidenceManifest(Value):
    """All pieces, in the order they were taken. `clock_skew`: seconds the host's clock is ahead of ours."""

    host: str
    findings: tuple[str, ...]
    clock_skew: float | None
    items: tuple[EvidenceItem, ...]


def collect_evidence(
    connection: Connection, plan: Plan, findings: Sequence[Finding], folder: Path, progress: Progress
) -> EvidenceManifest:
    """Collect what proves what happened, before anything is changed; what a host cannot give is recorded as such.

    Called again, it returns what was collected first: that is the nearer witness.

    Args:
        connection: the host.
        plan: names the assets of this host.
        findings: the damage; those of other hosts are left out.
        folder: where `NNN-name.txt` and `manifest.json` go.
        progress: told pieces, not bytes.

    Raises:
        Transient: the connection was lost; calling again starts over.
        Damaged: a piece does not have the hash the host gave it.
    """
    make_folder(folder)
    if (folder / MANIFEST).exists():
        return verify_evidence(folder)
    ours = [finding for finding in findings if finding.host == connection.name]
    paths = sorted({finding.subject for finding in ours if finding.subject.startswith("/")})
    assets = [asset for asset in plan.assets.values() if asset.host == connection.name]
    items = [*ITEMS, *asset_items(assets, paths)]
    skew = _clock_skew(connection)
    taken = []
    for number, item in enumerate(items, start=1):
        taken.append(_take(connection, item, folder, f"{number:03d}-{item.name}.txt"))
        progress(number, len(items) + 1)
    taken.append(_take_damaged(connection, paths, folder, f"{len(items) + 1:03d}-damaged-files.tar"))
    progress(1, 1)
    manifest = EvidenceManifest(
        host=connection.name, findings=tuple(f.id for f in ours), clock_skew=skew, items=tuple(taken)
    )
    replace(folder / MANIFEST, canonical_json(manifest), folder)
    return manifest


def verify_evidence(folder: Path) -> EvidenceManifest:
    """Check collected evidence offline against its manifest.

    Raises:
        Damaged: naming the piece that was altered or is missing.
    """
    path = folder / MANIFEST
    try:
        manifest = EvidenceManifest.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        raise Damaged(f"the evidence's manifest cannot be read: {error}.", str(path), _REMEDY) from error
    for item in manifest.items:
        if item.file:
            _verify(folder / item.file, item.sha256)
    return manifest


def _verify(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise Damaged("this piece of evidence is missing.", str(path), _REMEDY)
    if sha256_of(path) != sha256:
        raise Damaged("this piece of evidence is not what the host sent.", str(path), _REMEDY)


def _take(
    connection: Connection,
    item: Item,
    folder: Path,
    file: str,
    stdin: bytes | None = None,
    words: str = "both",
) -> EvidenceItem:
    """Capture one command's output, hashed by the host as it leaves and by us from the disk."""
    path, moment = folder / file, now()
    shown = printable(" ".join(item.argv))[:400]
    with explained(path), path.open("wb") as output:

        def write(chunk: bytes) -> None:
            output.write(chunk)

        result = ask(
            connection, "sh", "-c", _CAPTURE, "reinstate-capture", str(ITEM_LIMIT), words, *item.argv, stdin=stdin,
            timeout=ITEM_SECONDS, on_stdout=write,
        )  # fmt: skip
        output.flush()
        os.fsync(output.fileno())
    size = path.stat().st_size
    said = result.stderr.decode("utf-8", "replace").split()
    sha256 = next((word for word in said if len(word) == 64 and not set(word) - set("0123456789abcdef")), "")
    ended = int(said[said.index("status") + 1]) if "status" in said[:-1] else None
    if not sha256:
        path.unlink()
        reason = (
            "the host has no such tool" if "missing" in said else f"it cannot be captured: {result.tail(2)}"
        )
        return _nothing(item.name, shown, moment, reason)
    _verify(path, sha256)
    if ended not in {0, None} and (size == 0 or (ended == 127 and size < 4096)):
        reason = (
            path.read_bytes().decode("utf-8", "replace").strip() or f"it gave nothing and ended with {ended}"
        )
        path.unlink()
        return _nothing(item.name, shown, moment, reason)
    return EvidenceItem(
        name=item.name, command=shown, file=file, sha256=sha256, bytes=size, taken_at=moment, exit=ended,
        status="truncated" if size >= ITEM_LIMIT else "collected",
    )  # fmt: skip


def _take_damaged(connection: Connection, paths: Sequence[str], folder: Path, file: str) -> EvidenceItem:
    """The damaged files themselves with their metadata; the smallest first, as many as fit."""
    name, moment = "damaged-files", now()
    options = tar_options(connection)
    if not paths or options is None:
        return _nothing(
            name, "tar", moment, "the host has no GNU tar" if paths else "no damaged path is named"
        )
    sizes = _sizes(connection, paths)
    chosen: list[str] = []
    room = ITEM_LIMIT - (1 << 20)
    for path in sorted(sizes, key=lambda one: (sizes[one], one)):
        room -= sizes[path] + 4096
        if room < 0:
            break
        chosen.append(path)
    if not chosen:
        return _nothing(
            name, "tar", moment, "none of the damaged paths is there, or all are larger than 64 MiB"
        )
    argv = (*TAR, "--ignore-failed-read", "--warning=no-failed-read", *options, "--files-from=-")
    item = _take(
        connection, Item(name, argv), folder, file, nul_list(path.lstrip("/") for path in chosen), "out"
    )
    left = len(sizes) - len(chosen)
    return (
        item.model_copy(update={"reason": f"{left} larger files are left to the snapshot"}) if left else item
    )


def _sizes(connection: Connection, paths: Sequence[str]) -> dict[str, int]:
    facts = collect(connection, paths, "none")
    return {path: fact.size for path, fact in facts.items() if fact.type is not FileType.ABSENT}


def _nothing(name: str, shown: str, moment: datetime, reason: str) -> EvidenceItem:
    return EvidenceItem(
        name=name, command=shown, taken_at=moment, status="not collected", reason=printable(reason)
    )


def _clock_skew(connection: Connection) -> float | None:
    before = now()
    result = ask(connection, "date", "-u", "+%s.%N")
    middle = before.timestamp() + (now() - before).total_seconds() / 2
    try:
        return round(float(result.text) - middle, 3)
    except ValueError:  # a host without a working `date` still gives the rest
        return None
