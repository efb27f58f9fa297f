"""Leases of hosts in a folder: tokens only ever rise, two incidents never hold one host (G3).

`leases/KEY/00000007.json` is token 7. The number is claimed by exclusive create, so it rises even where locks do not
work; the lock makes "nobody holds it, so I take it" one step. Files of old tokens stay: the number must never fall.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

from pydantic import ValidationError

from blocks import durable
from blocks.journals import names
from blocks.journals.base import Lease
from model.canonical import Value, canonical_json
from model.errors import BadInput, Damaged, Refused


class _Held(Value):
    lease: Lease
    released: bool = False


class LeaseFolder:
    """Takes, renews and releases leases below a folder.

    Args:
        root: the folder `leases`.
        locks: folder for lock files.
        spool: folder for files being written, on the same file system.
    """

    def __init__(self, root: Path, locks: Path, spool: Path) -> None:
        self._root = root
        self._locks = locks
        self._spool = spool

    def take(self, key: str, incident: str, owner: str, seconds: float) -> Lease:
        """Take the host; see `JournalStore.lease`."""
        names.segment(key, "a lease's key")
        names.incident_id(incident)
        _positive(seconds)
        folder = durable.make_folder(self._root / key)
        while True:
            with durable.locked(self._locks / f"lease-{key}.lock"):
                newest = self._newest(folder)
                moment = time.time()
                if newest is not None and self._held_by_another(newest, incident, moment):
                    held = newest.lease
                    raise Refused(
                        f"{held.incident} holds it (token {held.token}, {held.owner}) "
                        f"for another {held.expires_at - moment:.0f} s.",
                        where=f"host {key}",
                        remedy=f"wait until {held.incident} ends, or close it",
                    )
                token = newest.lease.token + 1 if newest else 1
                lease = Lease(
                    key=key, token=token, incident=incident, owner=owner, expires_at=moment + seconds
                )
                try:
                    durable.create(self._file(folder, token), canonical_json(_Held(lease=lease)), self._spool)
                except FileExistsError:  # a file system on which locks do not lock: look again
                    continue
                return lease

    def renew(self, lease: Lease, seconds: float) -> Lease:
        """Hold it longer; see `JournalStore.renew`."""
        names.segment(lease.key, "a lease's key")
        _positive(seconds)
        folder = self._root / lease.key
        with durable.locked(self._locks / f"lease-{lease.key}.lock"):
            newest = self._newest(folder) if folder.is_dir() else None
            if newest is None or newest.lease.token != lease.token or newest.lease.incident != lease.incident:
                holder = (
                    f"{newest.lease.incident} has token {newest.lease.token}" if newest else "it is unknown"
                )
                raise Refused(
                    f"token {lease.token} is out of date: {holder}.",
                    where=f"host {lease.key}",
                    remedy="stop: another run went on with this host",
                )
            if newest.released:
                raise Refused(
                    f"token {lease.token} was given back.",
                    where=f"host {lease.key}",
                    remedy="take the host again",
                )
            longer = newest.lease.model_copy(update={"expires_at": time.time() + seconds})
            durable.replace(self._file(folder, lease.token), canonical_json(_Held(lease=longer)), self._spool)
            return longer

    def release(self, key: str, token: int) -> None:
        """Give the host back; see `JournalStore.release`."""
        folder = self._root / names.segment(key, "a lease's key")
        if not folder.is_dir():
            return
        with durable.locked(self._locks / f"lease-{key}.lock"):
            newest = self._newest(folder)
            if newest is not None and newest.lease.token == token and not newest.released:
                given_back = newest.model_copy(update={"released": True})
                durable.replace(self._file(folder, token), canonical_json(given_back), self._spool)

    @staticmethod
    def _held_by_another(newest: _Held, incident: str, moment: float) -> bool:
        return not newest.released and newest.lease.incident != incident and newest.lease.expires_at > moment

    @staticmethod
    def _file(folder: Path, token: int) -> Path:
        return folder / f"{token:08d}.json"

    def _newest(self, folder: Path) -> _Held | None:
        tokens = [int(file.stem) for file in folder.glob("*.json") if file.stem.isdecimal()]
        if not tokens:
            return None
        file = self._file(folder, max(tokens))
        try:
            held = _Held.model_validate_json(file.read_bytes())
        except ValidationError:
            held = None
        if held is None or (held.lease.key, held.lease.token) != (folder.name, max(tokens)):
            raise Damaged(
                "is not a lease as we write it.",
                where=str(file),
                remedy="make sure that no recovery of this host runs, then take the incident up again "
                "after putting this file back from a copy; never remove it: the number must not fall",
            )
        return held


def _positive(seconds: float) -> None:
    if not (math.isfinite(seconds) and seconds > 0):
        raise BadInput(f"a lease of {seconds} s cannot be given.", remedy="give a positive number of seconds")
