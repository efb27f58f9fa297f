"""The ledger of recovery points: nobody alters, removes or puts back what we expect without our noticing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.journals.directory import DirectoryJournal
from blocks.ledger import Ledger
from model.errors import Damaged
from model.manifest import Manifest, RecoveryPoint
from model.points import Proof

HASH = "a" * 64
AT = datetime(2026, 1, 2, 3, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Two assets with two points each."""
    journal = DirectoryJournal(tmp_path / "home")
    made = Ledger(journal, journal.key, "shop")
    for asset in ("files", "other"):
        for hour in (1, 2):
            made.record(*point(asset, hour))
    return made


def point(asset: str, hour: int) -> tuple[RecoveryPoint, Manifest]:
    name = f"2026010{hour}T030000Z"
    taken = AT.replace(day=hour)
    return (
        RecoveryPoint(
            id=name, asset=asset, source="disk", taken_at=taken, key="k", sha256=HASH, bytes=1, manifest_sha256=HASH
        ),
        Manifest(
            asset=asset, point=name, format="tar", host="web", machine_id="0" * 32, taken_at=taken, object_key="k",
            object_sha256=HASH, object_bytes=7,
        ),
    )  # fmt: skip


def test_points_are_remembered_once_each(ledger: Ledger) -> None:
    ledger.record(*point("files", 2), doubtful="so")
    inventory = ledger.inventory("files")
    assert inventory is not None
    assert [("20260101T030000Z", ""), ("20260102T030000Z", "so")] == [
        (p.id, p.doubtful) for p in inventory.points
    ]
    assert 7 == inventory.points[0].measure.bytes
    assert ledger.inventory("unknown") is None


def put_back(folder: Path, write: Callable[[], None]) -> None:
    """The inventory alone as it was before the last point."""
    before = (folder / "files.json").read_bytes()
    write()
    (folder / "files.json").write_bytes(before)


TAMPERINGS: dict[str, tuple[Callable[[Path, Ledger], object], str]] = {
    "one byte": (
        lambda folder, _: (folder / "files.json").write_bytes(
            (folder / "files.json").read_bytes().replace(b"20260102", b"20260103", 1)
        ),
        "signature does not fit",
    ),
    "no JSON": (lambda folder, _: (folder / "files.json").write_bytes(b"{"), "signature does not fit"),
    "removed": (lambda folder, _: (folder / "files.json").unlink(), "is gone"),
    "head removed": (lambda folder, _: (folder / "files.head.json").unlink(), "head .* is gone"),
    "another asset's": (
        lambda folder, _: (folder / "files.json").write_bytes((folder / "other.json").read_bytes()),
        "put in another place",
    ),
    "put back": (
        lambda folder, ledger: put_back(folder, lambda: ledger.forget("files", "20260101T030000Z")),
        "put back",
    ),
}


@pytest.mark.parametrize("case", TAMPERINGS)
def test_altered_inventory_is_named_and_never_taken_for_an_empty_one(
    ledger: Ledger, tmp_path: Path, case: str
) -> None:
    """G8: an inventory that lost a point says nothing is missing."""
    tamper, words = TAMPERINGS[case]
    tamper(tmp_path / "home" / "documents" / "inventory" / "shop", ledger)
    with pytest.raises(Damaged, match=words) as caught:
        ledger.inventory("files")
    assert "inventory/shop/files" in caught.value.where
    assert ledger.inventory("other") is not None


def test_altered_verdict_does_not_prove_anything(ledger: Ledger, tmp_path: Path) -> None:
    ledger.prove(
        "files", Proof(point="20260101T030000Z", manifest_sha256=HASH, at=AT, how="restored", ok=False)
    )
    assert [False] == [proof.ok for proof in ledger.verdicts("files").proofs]
    file = tmp_path / "home" / "documents" / "verdicts" / "shop" / "files.json"
    file.write_bytes(file.read_bytes().replace(b'"ok":false', b'"ok":true'))
    with pytest.raises(Damaged, match="signature"):
        ledger.verdicts("files")


def test_writer_killed_between_inventory_and_head_leaves_both_readable(
    ledger: Ledger, tmp_path: Path
) -> None:
    """G1: the inventory is at most one ahead of its head."""
    head = tmp_path / "home" / "documents" / "inventory" / "shop" / "files.head.json"
    before = head.read_bytes()
    ledger.forget("files", "20260101T030000Z")
    head.write_bytes(before)
    inventory = ledger.inventory("files")
    assert inventory is not None
    assert ["20260102T030000Z"] == [one.id for one in inventory.points]
    ledger.record(*point("files", 1))
    assert ledger.inventory("files") is not None
