"""The offline verifier of a journal folder: it needs the files and a public key, and believes nobody.

It shares no code with the store that wrote the journal. Give it a copy of the public key that was kept elsewhere: with
the key found beside the journal it proves that the journal fits that key, not whose key it is.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from blocks.journals.names import incident_id
from blocks.keys import PUBLIC_FOLDER, Verifier
from model.errors import ReinstateError

LOOKS = 20
"""How often a journal that grows meanwhile is looked at again before what was found is said."""


def verify_incident(root: Path, incident: str, key: Path | None = None) -> list[str]:
    """Everything wrong with one incident's journal.

    Args:
        root: the store's folder.
        incident: the id.
        key: a trusted public key file or a folder of them; default: the ones in the store's own key folder.

    Returns:
        One sentence for each problem, naming the file; empty when the journal is as it was written.

    Raises:
        BadInput: the id is not one.
    """
    incident_id(incident)
    try:
        keys = Verifier.load(key if key is not None else root / "keys" / PUBLIC_FOLDER)
    except ReinstateError as error:
        return [f"No public key to verify with: {error}"]
    folder = root / "journal" / incident
    problems: list[str] = []
    for _ in range(LOOKS):
        before = _count(folder)
        digests, problems = _records(folder, incident, keys)
        problems += _head(root / "heads" / f"{incident}.json", incident, keys, digests)
        if not problems or _count(folder) == before:
            break  # otherwise a writer was at work between two of the files
    return problems


def _count(folder: Path) -> int:
    try:
        return sum(1 for _ in folder.iterdir())
    except OSError:
        return 0


def _records(folder: Path, incident: str, keys: Verifier) -> tuple[dict[int, str], list[str]]:
    """Check every file of the folder: (record number → digest of the records that could be read, problems)."""
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    if not names:
        return {}, [f"{folder}: there is no record."]
    digests: dict[int, str] = {}
    problems: list[str] = []
    previous: str | None = "0" * 64
    for position in range(1, max((_number(name) for name in names), default=0) + 1):
        file = folder / f"{position:06d}.json"
        if not file.is_file():
            problems.append(f"{file}: record {position} is missing.")
            previous = None
            continue
        data, found = _signed_object(file)
        problems += found
        if data is None:
            previous = None
            continue
        signature = data.pop("signature", None)
        digests[position] = hashlib.sha256(_canonical(data)).hexdigest()
        if not isinstance(signature, str) or not keys.verify(digests[position].encode(), signature):
            problems.append(f"{file}: the signature does not fit: altered, or made without our key.")
        if data.get("seq") != position:
            problems.append(f"{file}: holds record {data.get('seq')}, not {position}.")
        if data.get("incident") != incident:
            problems.append(f"{file}: belongs to {data.get('incident')}.")
        if previous is not None and data.get("previous") != previous:
            problems.append(f"{file}: does not follow the record before it.")
        previous = digests[position]
    problems += [f"{folder / name}: is not a record's file." for name in names if not _number(name)]
    return digests, problems


def _number(name: str) -> int:
    """The record number of a file name; 0 when it is no record's name."""
    stem = name.removesuffix(".json")
    number = int(stem) if stem.isascii() and stem.isdecimal() and len(stem) <= 9 else 0
    return number if name == f"{number:06d}.json" else 0


def _head(file: Path, incident: str, keys: Verifier, digests: dict[int, str]) -> list[str]:
    count = max(digests, default=0)
    if not file.is_file():
        # A writer killed between the first record and its head leaves one record without a head, never more.
        return [f"{file}: the head is missing."] if count != 1 else []
    data, problems = _signed_object(file)
    if data is None:
        return problems
    signature = data.pop("signature", None)
    if not isinstance(signature, str) or not keys.verify(_canonical(data), signature):
        problems.append(f"{file}: the signature does not fit: altered, or made without our key.")
    number = data.get("seq")
    if data.get("incident") != incident or not isinstance(number, int):
        return [*problems, f"{file}: is not the head of {incident}."]
    if number > count:
        problems.append(
            f"{file}: names record {number}, the last one there is {count}: the tail was cut off."
        )
    elif number < count - 1:
        problems.append(
            f"{file}: names record {number}, the last one there is {count}: the head was put back."
        )
    if number in digests and digests[number] != data.get("digest"):
        problems.append(f"{file}: record {number} is not the one that was signed as the newest.")
    return problems


def _signed_object(file: Path) -> tuple[dict[str, object] | None, list[str]]:
    """Read canonical JSON; (None, problems) when it is not an object."""
    try:
        raw = file.read_bytes()
        data = json.loads(raw)
        canonical = _canonical(data)
    except OSError as error:
        return None, [f"{file}: cannot be read: {error.strerror}."]
    except (ValueError, RecursionError):
        return None, [f"{file}: is not JSON: altered."]
    if not isinstance(data, dict):
        return None, [f"{file}: is not a JSON object: altered."]
    return data, [] if canonical == raw else [f"{file}: is not in canonical form: altered."]


def _canonical(data: object) -> bytes:
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
