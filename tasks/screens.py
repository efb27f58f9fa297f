"""What files were when they were last found whole, kept so that they need not be read again (`screen: ctime`)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from blocks.journals.base import JournalStore
from checks.fact import Fact
from checks.stat import Screen
from model.assets import FilesAsset
from model.canonical import from_host, now, storable
from model.manifest import FileType
from model.plan import Plan

_FORM = 2


@contextmanager
def screening(journal: JournalStore, plan: Plan, only: set[str] | None) -> Iterator[dict[str, Screen]]:
    """Screens of the file sets whose plan allows one; what a look found whole is kept at the end.

    Once in `rehash` a screen is empty: then every byte is read, and damage below the file system is found.

    Args:
        journal: where they are kept.
        plan: the plan.
        only: names of assets that are looked at; None: all.
    """
    begun = now()
    screens: dict[str, Screen] = {}
    since: dict[str, datetime] = {}
    for name, asset in plan.assets.items():
        if isinstance(asset, FilesAsset) and asset.screen == "ctime" and (only is None or name in only):
            known, read = _load(journal, plan, name)
            fresh = read is not None and begun - read < timedelta(seconds=asset.rehash)
            since[name] = read if read is not None and fresh else begun
            screens[name] = Screen(known if fresh else {})
    yield screens
    for name, screen in screens.items():
        if screen.clock_ns:
            _save(journal, plan, name, screen.whole, since[name])


def _key(plan: Plan, asset: str) -> str:
    return f"screens/{plan.kept_as}/{asset}.json.gz"


def _load(journal: JournalStore, plan: Plan, asset: str) -> tuple[dict[str, Fact], datetime | None]:
    """What is known, and since when it is known by reading; nothing where the record cannot be read."""
    data = journal.get(_key(plan, asset))
    if data is None:
        return {}, None
    try:
        said = json.loads(gzip.decompress(data))
        if said["form"] != _FORM:
            return {}, None
        facts = (_fact(row) for row in said["files"])
        return {fact.path: fact for fact in facts}, datetime.fromisoformat(said["read"])
    except (OSError, EOFError, ValueError, TypeError, KeyError):
        return {}, None  # then every byte is read


def _save(journal: JournalStore, plan: Plan, asset: str, whole: Mapping[str, Fact], read: datetime) -> None:
    said = {"form": _FORM, "read": read.isoformat(), "files": [_row(fact) for fact in whole.values()]}
    journal.put(_key(plan, asset), gzip.compress(json.dumps(said, separators=(",", ":")).encode(), 1))


def _row(fact: Fact) -> list[object]:
    return [
        storable(fact.path), fact.mode, fact.uid, fact.gid, fact.size, fact.mtime_ns, fact.sha256, fact.capabilities,
        fact.attributes and [[storable(name), value] for name, value in fact.attributes], fact.file, fact.names,
        fact.sparse, fact.ctime_ns, fact.xxh128,
    ]  # fmt: skip


def _fact(row: list[Any]) -> Fact:
    path, mode, uid, gid, size, mtime, sha256, capabilities, named, file, names, sparse, ctime, xxh128 = row
    return Fact(
        from_host(path), FileType.FILE, int(mode), int(uid), int(gid), int(size), int(mtime), "", "", str(sha256),
        None if capabilities is None else str(capabilities), "",
        None if named is None else tuple((from_host(name), str(value)) for name, value in named),
        (int(file[0]), int(file[1])), int(names), bool(sparse), int(ctime), str(xxh128),
    )  # fmt: skip
