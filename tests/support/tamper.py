"""Altering a journal behind its back, in the ways a verifier must find."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from blocks.journals.verify import verify_incident


def _records(root: Path, incident: str) -> list[Path]:
    return sorted((root / "journal" / incident).glob("*.json"))


def flip_byte(root: Path, incident: str) -> None:
    """Flip one bit in the middle of the middle record."""
    records = _records(root, incident)
    record = records[len(records) // 2]
    data = bytearray(record.read_bytes())
    data[len(data) // 2] ^= 1
    record.write_bytes(data)


def remove_record(root: Path, incident: str) -> None:
    """Remove a record from the middle."""
    records = _records(root, incident)
    records[len(records) // 2].unlink()


def swap_records(root: Path, incident: str) -> None:
    """Let two neighbours change places."""
    records = _records(root, incident)
    one, other = records[len(records) // 2 : len(records) // 2 + 2]
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


ALTERATIONS: tuple[Callable[[Path, str], None], ...] = (flip_byte, remove_record, swap_records)


def unnoticed(root: Path, incident: str, scratch: Path) -> list[str]:
    """Names of the alterations the verifier does not find on a copy; it must find nothing wrong in the original.

    Args:
        root: the journal store's folder.
        incident: an incident in it.
        scratch: a folder for the copies.
    """
    if problems := verify_incident(root, incident):
        return [f"the untouched journal: {problem}" for problem in problems]
    missed = []
    for alter in ALTERATIONS:
        copy = scratch / alter.__name__
        for part in ("journal", "heads", "keys"):
            shutil.copytree(root / part, copy / part)
        alter(copy, incident)
        if not verify_incident(copy, incident):
            missed.append(alter.__name__)
    return missed
